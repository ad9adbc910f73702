"""``bayesgmm calibrate``: whether a posterior sample under a prior can be relied on."""

import argparse
import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from textwrap import fill
from typing import Any

from bayesgmm.artifacts import finite_rows, write_calibration
from bayesgmm.commands.options import (
    COLUMNS_HELP,
    SEED,
    Command,
    check_folder,
    components,
    names,
    paragraphs,
    positive,
)
from bayesgmm.commands.words import (
    WORDS,
    CommandError,
    in_words,
    noting,
    say,
    say_json,
    spoken,
    watched,
)
from bayesgmm.io.tables import read_table, select_columns
from bayesgmm.messages import count
from bayesgmm.text import WIDTH, small, titled

__all__ = ["COMMAND"]

WORDS_OF_CALIBRATE = WORDS | {
    "n_points": "--points",
    "n_replicates": "--replicates",
    "n_samples": "--samples",
}

DESCRIPTION = """\
    Check the sampler of 'bayesgmm fit --method mcmc' under a prior, at one size of
    data: simulation-based calibration.

    Many times, parameters are drawn from the prior and data given these, and the
    posterior of the data is sampled: the rank of each true quantity among its draws
    must then be uniform. Prints a p-value of that for each quantity; a small one
    says that sampler, prior and likelihood do not belong together, or that the
    chains are too short. It takes minutes: begin with few --replicates."""

EXAMPLES = """\
    examples:
      bayesgmm calibrate --points 50 --features 2 -k 3
          three components, fifty points in two dimensions, the default prior
      bayesgmm calibrate galaxies --replicates 200 --output calibration
          at the size and scale of a data set, with a figure of all the ranks
      bayesgmm calibrate --points 40 --prior conjugate --json
          one JSON object, for a script: its "calibrated" is true or false"""

DATA_HELP = """\
    a table that says how many points there are and scales the prior, as DATA of bayesgmm fit;
    or give --points"""

FEATURES_HELP = "their features, of mean 0 and standard deviation 1 (default 1)"

COMPONENTS_HELP = "number of components; auto (the default): a mixture of finite mixtures"

PRIOR_HELP = "hierarchical (default), independent, conjugate or richardson-green"

THIN_HELP = "sweeps a draw (default: as many as make draws nearly independent, at most 50)"

WARMUP_HELP = "sweeps before the first draw (default: 20 times those of a draw, at least 200)"


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``bayesgmm calibrate``."""
    option = parser.add_argument
    option("data", nargs="?", metavar="DATA", help=DATA_HELP)
    option("--columns", type=names("columns"), metavar="A,B,C", help=COLUMNS_HELP)
    option("--points", type=positive, metavar="N", help="points of each data set")
    option("--features", type=positive, metavar="D", help=FEATURES_HELP)
    option = parser.add_argument_group("model").add_argument
    option("-k", "--components", type=components, default="auto", metavar="K", help=COMPONENTS_HELP)
    option("--covariance", default="full", metavar="FAMILY", help="full, tied, diag or spherical")
    option("--prior", default="hierarchical", metavar="PRIOR", help=PRIOR_HELP)
    option = parser.add_argument_group("computation").add_argument
    option("--replicates", type=positive, default=500, metavar="N", help="data sets (default 500)")
    option("--samples", type=positive, default=99, metavar="N", help="draws of each (default 99)")
    option("--thin", type=positive, metavar="N", help=THIN_HELP)
    option("--warmup", type=positive, metavar="N", help=WARMUP_HELP)
    option("--seed", **SEED, help="seed of all random numbers (default %(default)s)")
    option = parser.add_argument_group("output").add_argument
    option("--output", type=Path, metavar="DIR", help="folder for table.csv and calibration.png")
    option("--json", action="store_true", help="print one JSON object instead of text")
    option("--quiet", action="store_true", help="no notes on stderr, only warnings and errors")


def run(arguments: argparse.Namespace) -> None:
    """Simulate, print and write."""
    note = noting(arguments.quiet)
    if arguments.output is not None:
        check_folder(arguments.output)
    scale = _scale(arguments, note)
    note(f"sampling {count(arguments.replicates, 'posterior')} of {_data(scale)}")
    with in_words(WORDS_OF_CALIBRATE):
        found = _calibrate(arguments, scale)
    if arguments.json:
        say_json(_results(found, arguments))
    else:
        say("\n\n".join(_text(found)), sys.stdout)
    if arguments.output is not None:
        try:
            files = write_calibration(found, arguments.output)
        except OSError as error:
            raise CommandError(f"cannot write to {str(arguments.output)!r}: {error}") from error
        note(f"wrote to {arguments.output}{os.sep}: {', '.join(files)}")


def _scale(arguments: argparse.Namespace, note: Any) -> dict[str, Any]:
    """What `calibrate` is told of the data."""
    if arguments.data is None:
        if arguments.points is None:
            raise CommandError("give DATA, or how many --points there are, of how many --features.")
        if arguments.columns is not None:
            raise CommandError("--columns has no part without DATA.")
        D = arguments.features or 1
        return {"means": [0.0] * D, "sds": [1.0] * D, "n_points": arguments.points}
    if arguments.features is not None:
        raise CommandError("--features has no part beside DATA, which has its own.")
    _, table = read_table(arguments.data)
    X = select_columns(table, arguments.columns, note)
    return {"X": X, "n_points": arguments.points or len(X)}


def _data(scale: dict[str, Any]) -> str:
    D = scale["X"].shape[1] if "X" in scale else len(scale["means"])
    return f"{count(scale['n_points'], 'point')}, {count(D, 'feature')}"


def _calibrate(arguments: argparse.Namespace, scale: dict[str, Any]) -> Any:
    from bayesgmm.calibration import calibrate
    from bayesgmm.estimators.mcmc import MCMCGaussianMixture

    estimator = MCMCGaussianMixture(
        "mfm" if arguments.components is None else arguments.components,
        covariance_type=arguments.covariance,
        component_prior=arguments.prior,
    )
    return calibrate(
        estimator,
        n_replicates=arguments.replicates,
        n_samples=arguments.samples,
        thin=arguments.thin,
        n_warmup=arguments.warmup,
        random_state=arguments.seed,
        progress_bar=watched(arguments.quiet),
        **scale,
    )


def _text(found: Any) -> Iterator[str]:
    """The paragraphs."""
    said, _, *warned = found.summary().split("\n\n")
    yield fill(said, WIDTH)
    columns = {"p_value": "p-value", "adjusted": "adjusted", "correlation": "correlation"}
    table = found.table
    for name in ("p_value", "adjusted"):
        table[name] = table[name].map(small)
    shown = table.rename(columns=columns)[[*columns.values(), "verdict"]]
    about = (
        "p-value: of ranks as far from uniform, if all is well; adjusted: for all quantities "
        "together (Holm), below 0.05 is not uniform; correlation: of draws one after the other"
    )
    yield f"{titled('Ranks of the truth among the draws', shown)}\n{fill(about, WIDTH)}"
    for text in warned:
        yield fill(spoken(text, WORDS_OF_CALIBRATE), WIDTH)


def _results(found: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """All of it, for --json."""
    return {
        "version": version("bayesgmm"),
        "calibrated": found.calibrated,
        "n_replicates": len(found.ranks),
        "n_samples": found.n_samples,
        "thin": found.thin,
        "n_warmup": found.n_warmup,
        "seed": arguments.seed,
        "table": finite_rows(found.table.reset_index()),
        "coverage": finite_rows(found.coverage().reset_index()),
        "ranks": {name: ranks.tolist() for name, ranks in found.ranks.items()},
    }


def epilog() -> str:
    """Examples."""
    return paragraphs(EXAMPLES)


COMMAND = Command(
    "calibrate",
    "whether the sampler can be relied on, under a prior",
    DESCRIPTION,
    epilog,
    add,
    run,
    WORDS_OF_CALIBRATE,
)
