"""``bayesgmm datasets``: the data sets that come with the package, and one of them as CSV."""

import argparse
import sys
from textwrap import wrap

from bayesgmm.commands.options import Command, paragraphs
from bayesgmm.commands.words import CommandError, say
from bayesgmm.datasets import DATASETS, load
from bayesgmm.messages import hint, listed
from bayesgmm.text import WIDTH

__all__ = ["COMMAND"]

DESCRIPTION = """\
    List the data sets that come with the package: rows, columns, and what they are
    of. With a NAME, print that one as CSV, to be read by any program. Their
    sources and units are in the documentation of bayesgmm.datasets."""

EXAMPLES = """\
    examples:
      bayesgmm datasets
          the list
      bayesgmm datasets faithful > faithful.csv
          one of them as a file
      bayesgmm datasets iris --labels > iris.csv
          with the species of each flower as a last column"""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``bayesgmm datasets``."""
    option = parser.add_argument
    option("name", nargs="?", metavar="NAME", help="the one to print (default: list them)")
    option("--labels", action="store_true", help="with the known groups as a last column, if any")


def run(arguments: argparse.Namespace) -> None:
    """Print the list, or one data set."""
    if arguments.name is None:
        if arguments.labels:
            raise CommandError("--labels is of one data set: name it.")
        say("\n".join(_listing()), sys.stdout)
        return
    if arguments.name not in DATASETS:
        raise CommandError(
            f"there is no data set {arguments.name!r}. They are {listed(DATASETS)}."
            f"{hint(DATASETS, arguments.name)}"
        )
    X, labels = load(arguments.name)
    if arguments.labels:
        if labels is None:
            raise CommandError(f"--labels: no groups are known of {arguments.name!r}.")
        X = X.assign(**{labels.name: labels})
    X.to_csv(sys.stdout, index=False, lineterminator="\n")


def _listing() -> list[str]:
    """The header, and of each data set its shape, its groups and its first sentence."""
    rows = [("name", "rows", "columns", "groups", "what it is")]
    for name, loader in DATASETS.items():
        X, labels = loader()
        groups = "" if labels is None else str(labels.nunique())
        about = (loader.__doc__ or "").partition("\n")[0].rstrip(".")
        rows.append((name, str(len(X)), str(X.shape[1]), groups, about))
    *short, _ = zip(*rows, strict=True)
    widths = [max(map(len, column)) for column in short]
    lines = []
    for name, *numbers, about in rows:
        cells = [name.ljust(widths[0]), *map(str.rjust, numbers, widths[1:])]
        start = "  ".join(cells) + "  "
        lines += wrap(about, WIDTH, initial_indent=start, subsequent_indent=" " * len(start))
    return lines


def epilog() -> str:
    """Examples."""
    return paragraphs(EXAMPLES)


COMMAND = Command(
    "datasets", "the data sets that come with the package", DESCRIPTION, epilog, add, run
)
