"""``bayesgmm predict``: new rows under a mixture that was saved."""

import argparse
import sys
from pathlib import Path

from bayesgmm.commands.options import (
    DATA_HELP,
    INDEX_HELP,
    Command,
    paragraphs,
)
from bayesgmm.commands.saved import read_model
from bayesgmm.commands.words import CommandError, in_words, noting
from bayesgmm.fitting import predictions
from bayesgmm.io.tables import columns_of_model, named_by, read_table

__all__ = ["COMMAND"]

DESCRIPTION = """\
    Say to which component each row of a table belongs, under a mixture that
    'bayesgmm fit --save' or 'select --save' has kept, or save() in Python.

    The columns are found by name, in whatever order; DATA may have others.
    Prints CSV with a row for each row of DATA: its name, the most probable
    component (label), the probability of each, the uncertainty (1 - the largest),
    the entropy of the probabilities and the log density of the mixture at the
    row, in nats. Where that is very low the row is like none that was fitted,
    whatever its label."""

EXAMPLES = """\
    examples:
      bayesgmm fit faithful -k 2 --save geyser.npz
      bayesgmm predict geyser.npz faithful > assigned.csv
          the most probable component of each eruption
      bayesgmm predict geyser.npz new.csv --index day --output assigned.csv
          rows of another file, by the names in one of its columns"""

OUTPUT_HELP = "the CSV file to write, instead of standard output"


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``bayesgmm predict``."""
    option = parser.add_argument
    option("model", metavar="MODEL", help="a saved mixture: a file that ends in .npz or .nc")
    option("data", metavar="DATA", help=DATA_HELP)
    option("--index", metavar="COLUMN", help=INDEX_HELP)
    option("--output", type=Path, metavar="FILE", help=OUTPUT_HELP)
    option("--quiet", action="store_true", help="no notes on stderr, only warnings and errors")


def run(arguments: argparse.Namespace) -> None:
    """Read both, and print or write what is found."""
    note = noting(arguments.quiet)
    model, scaling = read_model(arguments.model)
    _, table = read_table(arguments.data)
    table = named_by(table, arguments.index)
    names = getattr(model, "feature_names_in_", None) if scaling is None else scaling.columns
    X = columns_of_model(table, names, model.n_features_in_, note)
    with in_words():
        found = predictions(model, X if scaling is None else scaling.scores(X))
    if arguments.output is None:
        found.to_csv(sys.stdout, index_label=found.index.name or "row", lineterminator="\n")
        return
    try:
        found.to_csv(arguments.output, index_label=found.index.name or "row")
    except OSError as error:
        raise CommandError(f"--output: {error}") from error
    note(f"wrote {len(found)} rows to {arguments.output}")


def epilog() -> str:
    """Examples."""
    return paragraphs(EXAMPLES)


COMMAND = Command(
    "predict", "the components of new rows, under a saved mixture", DESCRIPTION, epilog, add, run
)
