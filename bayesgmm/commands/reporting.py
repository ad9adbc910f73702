"""``bayesgmm report``: the clusters of a table as one HTML file, by one method or several."""

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bayesgmm.commands.options import (
    SEED,
    STANDARDIZE,
    THIN_HELP,
    Command,
    Table,
    add_table,
    datasets,
    names,
    paragraphs,
    positive,
    read,
    thin,
)
from bayesgmm.commands.words import CommandError, in_words, noting, watched
from bayesgmm.fitting import METHODS, fit_mixture
from bayesgmm.messages import count, hint, listed

__all__ = ["COMMAND"]

DESCRIPTION = """\
    Write a report of the clusters of a table: one HTML file that needs no network,
    to be read on a screen, a phone or paper.

    By default all three methods are fitted and put side by side: maximum likelihood
    over numbers of components and covariance families, variational Bayes, and draws
    of the posterior. The report says how many clusters there are and how sure that
    is, where the methods disagree, which points are uncertain and between what,
    what was checked and what of it failed, and holds a paragraph on the methods
    with its references. It takes a minute or some."""

EXAMPLES = """\
    examples:
      bayesgmm report faithful -o faithful.html
          all three methods on the bundled Old Faithful data
      bayesgmm report patients.csv --index patient -o patients.html
          rows by the names in a column
      bayesgmm report faithful --method mcmc --samples 4000
          the posterior alone, from more draws; writes bayesgmm-faithful.html"""

METHOD_HELP = "the methods, with commas between them, of em, vb and mcmc (default em,vb,mcmc)"

OUTPUT_HELP = "the file to write (default bayesgmm-NAME.html)"

SAMPLES_HELP = "draws kept of each chain of mcmc (default 1000)"


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``bayesgmm report``."""
    add_table(parser)
    option = parser.add_argument_group("methods").add_argument
    option("--method", type=_methods, default="em,vb,mcmc", metavar="A,B,C", help=METHOD_HELP)
    option("--samples", type=positive, metavar="N", help=SAMPLES_HELP)
    option("--thin", type=thin, metavar="N", help=f"{THIN_HELP} (default auto)")
    option("--seed", **SEED, help="seed of all random numbers (default %(default)s)")
    option = parser.add_argument_group("output").add_argument
    option("-o", "--output", type=Path, metavar="FILE", help=OUTPUT_HELP)
    option("--title", metavar="TITLE", help="the title of the report")
    option("--quiet", action="store_true", help="no notes on stderr, only warnings and errors")


def _methods(text: str) -> list[str]:
    found = names("methods")(text)
    for name in found:
        if name not in METHODS:
            raise argparse.ArgumentTypeError(
                f"must be of {listed(METHODS)}, got {name!r}.{hint(METHODS, name)}"
            )
    return found


def run(arguments: argparse.Namespace) -> None:
    """Fit by each method, and write the report."""
    from bayesgmm.report import write_report

    note, noted = noting(arguments.quiet), []
    sampled = {"n_samples": arguments.samples, "thin": arguments.thin}
    if "mcmc" not in arguments.method and any(sampled.values()):
        raise CommandError("--samples and --thin are of --method mcmc, which is not asked for.")
    table = read(arguments, _recording(note, noted))
    path = arguments.output or Path(f"bayesgmm-{table.name}.html")
    _check_file(path)
    with in_words():
        selection, models = _fitted(table, arguments, sampled, note)
        try:
            write_report(
                table.X,
                models,
                path,
                selection=selection,
                title=arguments.title,
                name=table.name,
                notes=[*noted, *_units(table)],
                command=shlex.join(["bayesgmm", *arguments.given]),
                progress=note,
            )
        except OSError as error:
            raise CommandError(f"cannot write to {str(path)!r}: {error}") from error
    note(f"wrote {path}")


def _recording(note: Callable, noted: list[str]) -> Callable:
    """Notes are said, and kept for the report."""

    def say(line: str) -> None:
        note(line)
        noted.append(line)

    return say


def _units(table: Table) -> list[str]:
    if table.scaling is None:
        return []
    return ["columns brought to mean 0 and standard deviation 1; z(column) is told"]


def _check_file(path: Path) -> None:
    """Before fits of some minutes: the report can be written there."""
    if path.is_dir():
        raise CommandError(f"--output: {str(path)!r} is a folder, not a file.")
    if not path.parent.is_dir():
        raise CommandError(f"--output: there is no folder {str(path.parent)!r}.")


def _fitted(
    table: Table, arguments: argparse.Namespace, sampled: dict[str, Any], note: Callable
) -> tuple[Any, list[Any]]:
    """The table of models by EM, if it is asked for, and the fits by other methods."""
    selection, models = None, []
    for method in arguments.method:
        if method == "em":
            from bayesgmm.estimators.selection import select_model

            note(f"comparing models of {count(len(table.X), 'row')} by EM")
            own = {"random_state": arguments.seed, "progress_bar": watched(arguments.quiet)}
            selection = select_model(table.X, **own)
            continue
        settings = {"random_state": arguments.seed, **(sampled if method == "mcmc" else {})}
        model, _ = fit_mixture(method, table.X, None, settings, note, watched(arguments.quiet))
        models.append(model)
    return selection, models


def epilog() -> str:
    """Examples, and the names that options take."""
    return paragraphs(EXAMPLES, datasets(), STANDARDIZE)


COMMAND = Command(
    "report", "all of it as one HTML file, by three methods", DESCRIPTION, epilog, add, run
)
