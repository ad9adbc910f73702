"""The command ``bayesgmm``: arguments, warnings and interrupts; `commands` holds what it can do.

Results go to stdout, notes and warnings to stderr. What is wrong with a command is one line that
starts with ``bayesgmm: `` and exit status 2; an interrupt is exit status 130.
"""

import _thread
import argparse
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from textwrap import dedent
from typing import Any, NoReturn

from bayesgmm.commands import COMMANDS
from bayesgmm.commands.words import CommandError, say, spoken
from bayesgmm.compilation import enable_compilation_cache
from bayesgmm.io.tables import TableError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the name of the command. When not given they are those of the process,
        which is then the command's own: compiled programs are kept on disk
        (`bayesgmm.enable_compilation_cache`).

    Returns
    -------
    int
        The exit status: 0, 2 after an error of use, 130 after an interrupt.

    Examples
    --------
    >>> from bayesgmm.cli import main
    >>> main(["--version"])    # doctest: +ELLIPSIS
    bayesgmm ...
    0
    """
    try:
        arguments = _parser().parse_args(argv)
        if argv is None:
            enable_compilation_cache()
        arguments.given = list(sys.argv[1:] if argv is None else argv)
        with _one_line_warnings(arguments.command.words), _kept_interrupts():
            arguments.command.run(arguments)
        sys.stdout.flush()
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    except (CommandError, TableError) as error:
        say(f"bayesgmm: {error}")
        return 2
    except KeyboardInterrupt:
        say("bayesgmm: interrupted")
        return 130
    except BrokenPipeError:  # `bayesgmm ... | head`: nobody reads on, which is no error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


# --- what can be said on the command line ---------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Errors on one line, and an epilog that may be a function: JAX is not loaded to parse."""

    def format_help(self) -> str:
        if callable(self.epilog):
            self.epilog = self.epilog()
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} (see '{self.prog} --help')")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bayesgmm",
        description=dedent(_DESCRIPTION),
        epilog=dedent(_EPILOG),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"bayesgmm {version('bayesgmm')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        own = commands.add_parser(
            command.name,
            help=command.help,
            description=dedent(command.description),
            epilog=command.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add(own)
        own.set_defaults(command=command)
    return parser


_DESCRIPTION = """\
    Gaussian mixtures: the clusters of a table, and how sure of them one may be."""

_EPILOG = """\
    examples:
      bayesgmm fit faithful              the clusters of a bundled data set
      bayesgmm fit my.csv                those of a file, with figures in a folder
      bayesgmm select my.csv             how many there are, and of which kind
      bayesgmm report my.csv             all of it on one page, by three methods
      bayesgmm fit --help                the options of a command, with examples

    Results go to standard output, notes and progress to standard error. The exit
    status is 0, 2 if something is wrong with the command or its data, and 130
    after an interrupt."""


# --- warnings and interrupts ----------------------------------------------------------------------


@contextmanager
def _one_line_warnings(words: Mapping[str, str]) -> Iterator[None]:
    """Show warnings as they come, each text once, as one line."""
    said = set()

    def show(message: Any, category: type, *where: Any) -> None:
        line = f"bayesgmm: warning: {spoken(str(message), words)}"
        if line not in said:
            say(line)
        said.add(line)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for category in (UserWarning, RuntimeWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = show
        yield


@contextmanager
def _kept_interrupts() -> Iterator[None]:
    """Send an interrupt again that was lost: JAX's callback of the garbage collector drops them."""
    before, lost, over = sys.unraisablehook, threading.Event(), threading.Event()

    def show(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            lost.set()  # nothing here may wait: what is sent again too soon is lost again
        else:
            before(unraisable)

    def watch() -> None:
        while lost.wait() and not over.wait(0.1):  # until that callback has ended
            lost.clear()
            _interrupt()

    watcher = threading.Thread(target=watch, name="bayesgmm-interrupts", daemon=True)
    watcher.start()
    sys.unraisablehook = show
    try:
        yield
    finally:
        sys.unraisablehook = before
        over.set()
        lost.set()
        watcher.join()


def _interrupt() -> None:
    """Interrupt the main thread: by a signal where there are any, for that ends its waiting too."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    else:
        _thread.interrupt_main()


if __name__ == "__main__":
    sys.exit(main())
