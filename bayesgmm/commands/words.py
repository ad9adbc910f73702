"""How the command line speaks: results on stdout, all else on stderr, in the words of its options.

What is wrong with a command is a `CommandError`, one line.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["WORDS", "CommandError", "in_words", "noting", "say", "say_json", "spoken", "watched"]


class CommandError(Exception):
    """What the user can put right, in one line."""


WORDS = {
    "Input X": "DATA",
    "n_components": "--components",
    "covariance_type": "--covariance",
    "n_init": "--n-init",
    "init_params": "--start",
    "prior": "--prior",
    "component_prior": "--prior",
    "max_iter": "--max-iter",
    "n_warmup": "--warmup",
    "thin": "--thin",
    "thin='auto'": "--thin auto",
    "tol": "--tol",
    "reg_covar[1]": "--ridge",
    "reg_covar": "--ridge",
    "n_samples": "rows",
    "go on with warm_start=True": "take more --samples",
    "max_iter, or n_samples and thin with 'mcmc'": "--max-iter; with mcmc --samples, --thin",
    "sample(s)": "row(s)",
}
"""What the library calls it, and what the command line does; a subcommand may differ from it."""


def spoken(message: str, words: Mapping[str, str] = WORDS) -> str:
    """A message of the library in the words of the command line, on one line."""
    longest_first = sorted(words, key=len, reverse=True)
    names = "|".join(map(re.escape, longest_first))
    message = re.sub(rf"(?<![\w'-])({names})(?![\w'])", lambda found: words[found[1]], message)
    return " ".join(message.split())


@contextmanager
def in_words(words: Mapping[str, str] = WORDS) -> Iterator[None]:
    """What the library refuses in here is an error of use."""
    try:
        yield
    except ValueError as error:
        raise CommandError(spoken(str(error), words)) from error


def say(line: str, stream: Any = None) -> None:
    """Print a line on `stream` (stderr), whatever characters that can show."""
    stream = stream or sys.stderr
    encoding = stream.encoding or "utf-8"
    print(line.encode(encoding, "replace").decode(encoding), file=stream)


def say_json(found: Any) -> None:
    """Print one JSON object on stdout; floats are read back as they were."""
    say(json.dumps(found, indent=2, allow_nan=False), sys.stdout)


def note(line: str) -> None:
    """Say on stderr what is going on."""
    say(f"bayesgmm: {line}")


def silent(line: str) -> None:
    """Say nothing."""


def noting(quiet: bool) -> Callable[[str], None]:
    """How notes are said, or not."""
    return silent if quiet else note


def watched(quiet: bool) -> bool:
    """Whether progress is shown: on terminals, for a bar fills a file with its steps."""
    return not quiet and sys.stderr.isatty()
