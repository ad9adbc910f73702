"""A subcommand as a row, and what several of them have: types of options, the table they read."""

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent, fill
from typing import TYPE_CHECKING, Any, NamedTuple

from bayesgmm.commands.words import WORDS, CommandError
from bayesgmm.datasets import DATASETS
from bayesgmm.io.tables import Scaling, named_by, read_table, select_columns, standardized
from bayesgmm.text import WIDTH

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "SEED",
    "STANDARDIZE",
    "THIN_HELP",
    "Command",
    "Table",
    "add_table",
    "check_folder",
    "components",
    "datasets",
    "names",
    "numbers",
    "paragraphs",
    "positive",
    "read",
    "thin",
    "wrapped",
]


class Command(NamedTuple):
    """A subcommand: one row of `COMMANDS`.

    Attributes
    ----------
    name, help : str
        As the list of commands shows them.
    description : str
    epilog : callable
        () -> examples and what else the end of its help says; made only to be shown.
    add : callable
        Gives a parser its arguments.
    run : callable
        Of the parsed arguments.
    words : mapping
        What the library calls it, and what this command does.
    """

    name: str
    help: str
    description: str
    epilog: Callable[[], str]
    add: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]
    words: Mapping[str, str] = WORDS


# --- types ----------------------------------------------------------------------------------------


def components(text: str) -> int | None:
    """A number of components, None for auto."""
    if text == "auto":
        return None
    return _whole(text, 1, math.inf, "an integer of at least 1 or auto")


def seed(text: str) -> int:
    """The seed of a random state."""
    return _whole(text, 0, 2**32 - 1, f"an integer from 0 to {2**32 - 1}")


def positive(text: str) -> int:
    """How many of something."""
    return _whole(text, 1, math.inf, "an integer of at least 1")


def thin(text: str) -> int | str:
    """Sweeps a draw: how many, or auto."""
    return text if text == "auto" else _whole(text, 1, math.inf, "an integer of at least 1 or auto")


def _whole(text: str, low: float, high: float, expected: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise argparse.ArgumentTypeError(f"must be {expected}, got {text!r}")
    return value


def numbers(text: str) -> list[int]:
    """Whole numbers and ranges of them, both ends included: 1:9, or 2,4:6."""
    found = []
    for part in text.split(","):
        low, colon, high = (piece.strip() for piece in part.partition(":"))
        ends = [low, high] if colon else [low]
        if not all(end.isdecimal() and int(end) > 0 for end in ends) or int(ends[0]) > int(
            ends[-1]
        ):
            raise argparse.ArgumentTypeError(
                f"must be numbers of at least 1 and ranges, such as 1:9 or 2,4:6, got {text!r}"
            )
        found += range(int(ends[0]), int(ends[-1]) + 1)
    return sorted(set(found))


def names(of: str) -> Callable[[str], list[str]]:
    """Names (of columns, of families) with commas between them."""

    def parse(text: str) -> list[str]:
        found = [name.strip() for name in text.split(",")]
        if not all(found) or len(set(found)) < len(found):
            raise argparse.ArgumentTypeError(
                f"must be names of {of} with commas between them, each once, got {text!r}"
            )
        return found

    return parse


THIN_HELP = """\
    sweeps a draw, or auto: doubled until the chains have converged, up to 64 or a minute or two"""

SEED = dict(type=seed, default=0, metavar="SEED")


# --- the table ------------------------------------------------------------------------------------

DATA_HELP = "a bundled data set, the path of a CSV or Parquet file, or - for CSV on standard input"

COLUMNS_HELP = "the columns to use (default: all that are numbers, but constants and row numbers)"

INDEX_HELP = """\
    the column that names the rows, in what is printed and written; it is never a feature"""

STANDARDIZE_HELP = """\
    bring each column to mean 0 and standard deviation 1 first, and tell all results in these
    units, as z(column); see below (default --no-standardize)"""

STANDARDIZE = """\
units of the columns (--standardize):
  They matter to EII, VII (spherical), EEV, VEV, EVE and VVE, which find other
  clusters in standardised columns. Under the other families, and the default
  priors of vb and mcmc, which are scaled by the data, the clusters stay the
  same, told in other units."""


class Table(NamedTuple):
    """What a command works on.

    Attributes
    ----------
    name : str
    X : DataFrame [N, D]
        float64 without gaps; its index names the rows.
    scaling : Scaling or None
        By which the columns of X were standardised.
    """

    name: str
    X: "pd.DataFrame"
    scaling: Scaling | None


def add_table(parser: argparse.ArgumentParser) -> None:
    """DATA, and what is read of it."""
    add = parser.add_argument
    add("data", metavar="DATA", help=DATA_HELP)
    add("--columns", type=names("columns"), metavar="A,B,C", help=COLUMNS_HELP)
    add("--index", metavar="COLUMN", help=INDEX_HELP)
    add("--standardize", action=argparse.BooleanOptionalAction, help=STANDARDIZE_HELP)


def read(arguments: argparse.Namespace, note: Callable[[str], None]) -> Table:
    """The table that was asked for."""
    if arguments.index in (arguments.columns or ()):
        raise CommandError(f"--index: column {arguments.index!r} is among the --columns, too.")
    name, table = read_table(arguments.data)
    table = named_by(table, arguments.index)
    X = select_columns(table, arguments.columns, note)
    if not arguments.standardize:
        return Table(name, X, None)
    return Table(name, *standardized(X))


# --- files and help -------------------------------------------------------------------------------


def check_folder(folder: Path) -> Path:
    """The folder of --output, which is made when it is needed."""
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"--output: {str(folder)!r} is a file, not a folder.")
    return folder


def wrapped(words: Any, indent: int) -> str:
    """Names with commas between them, as lines of a help text indented by so much."""
    lines = fill(", ".join(words), WIDTH - indent, break_on_hyphens=False)
    return lines.replace("\n", "\n" + " " * indent)


def datasets() -> str:
    """The end of a help text that lists the bundled data sets."""
    return f"bundled data sets:\n  {wrapped(DATASETS, 2)}"


def paragraphs(*texts: str) -> str:
    """An epilog of several parts."""
    return "\n\n".join(dedent(text).strip("\n") for text in texts)
