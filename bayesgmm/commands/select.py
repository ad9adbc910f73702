"""``bayesgmm select``: numbers of components and covariance families compared on a table."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

from bayesgmm.artifacts import finite_rows, write_selection
from bayesgmm.commands.options import (
    SEED,
    STANDARDIZE,
    Command,
    Table,
    add_table,
    check_folder,
    datasets,
    names,
    numbers,
    paragraphs,
    positive,
    read,
    wrapped,
)
from bayesgmm.commands.saved import check_saved, save
from bayesgmm.commands.words import WORDS, CommandError, in_words, noting, say, say_json, watched
from bayesgmm.fitting import count
from bayesgmm.text import WIDTH, heading, small, titled

__all__ = ["COMMAND"]

WORDS_OF_SELECT = WORDS | {
    "covariance_type": "--families",
    "criterion": "--criterion",
    "n_bootstrap": "--bootstrap",
    "points: `failed` says which. They": "points. They",
    "Try kind='weighted', or fewer components": "Try fewer components",
}

BEST = 10
"""So many of the best models are printed."""

DESCRIPTION = """\
    Fit Gaussian mixtures with different numbers of components and covariance
    families by expectation-maximization, and compare them.

    Prints the best models, how probable each number of components is, and the
    command that fits the best one. All criteria are the less the better; BIC is
    -2 log likelihood + parameters x log rows (mclust states minus that). The
    probabilities are exp(-BIC / 2) over their sum: approximate, for the models of
    the table alone, each as probable as the others beforehand. A model in which
    a component collapses on a few points is singular, and is never chosen."""

EXAMPLES = """\
    examples:
      bayesgmm select faithful
          1 to 9 components, all fourteen families
      bayesgmm select flowers.csv --components 2:5 --families EEE,VVV
          four numbers of components, two families
      bayesgmm select faithful --output faithful-models --save best.npz
          the whole table and its figure, and the best mixture for bayesgmm predict
      bayesgmm select galaxies --bootstrap 999 --test 99
          standard errors of the best mixture, and whether one component more than
          it has is more than chance"""

FAMILY_HELP = """\
    covariance families (--families):
      {families}
      mclust's letters for volume, shape and orientation: Equal, Variable or
      Identity. E and V are for one feature; full, tied, diag and spherical are
      VVV, EEE, VVI and VII."""

COMPONENTS_HELP = "numbers of components: 4, 2,3,5 or 1:9, both ends included (default 1:9)"

CRITERION_HELP = """\
    the model of its least value is the best: bic (the default), aic, or icl, which is BIC for
    clusters that are well apart"""

PRIOR_HELP = "data-scaled: fits that no few points can spoil"

RIDGE_HELP = "added to variances, as a share of each feature's variance (default 0)"

BOOTSTRAP_HELP = """\
    standard errors and 95 %% intervals of the best mixture's parameters, from so many replicates
    of the data"""

TEST_HELP = """\
    test the best number of components against one more, by so many data sets drawn from the best
    mixture"""

OUTPUT_HELP = "folder to write to: table.csv, selection.png, bootstrap.csv (default: write nothing)"

SAVE_HELP = "keep the best mixture for bayesgmm predict and bayesgmm.load, as an .npz file"


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``bayesgmm select``."""
    add_table(parser)
    option = parser.add_argument_group("models").add_argument
    option(
        "-k", "--components", type=numbers, default="1:9", metavar="NUMBERS", help=COMPONENTS_HELP
    )
    option("--families", type=names("families"), metavar="A,B,C", help="see below (default: all)")
    option("--criterion", default="bic", metavar="NAME", help=CRITERION_HELP)
    option("--prior", metavar="PRIOR", help=PRIOR_HELP)
    option("--ridge", type=float, metavar="SHARE", help=RIDGE_HELP)
    option = parser.add_argument_group("computation").add_argument
    option("--seed", **SEED, help="seed of the random starts (default %(default)s)")
    option("--n-init", type=positive, metavar="N", help="starts of each model (default 4)")
    option("--max-iter", type=positive, metavar="N", help="most iterations (default 1000)")
    option("--bootstrap", type=positive, metavar="N", help=BOOTSTRAP_HELP)
    option("--test", type=positive, metavar="N", help=TEST_HELP)
    option = parser.add_argument_group("output").add_argument
    option("--output", type=Path, metavar="DIR", help=OUTPUT_HELP)
    option("--save", type=Path, metavar="FILE", help=SAVE_HELP)
    option("--json", action="store_true", help="print one JSON object instead of text")
    option("--no-figures", action="store_true", help="write no figure")
    option("--quiet", action="store_true", help="no notes on stderr, only warnings and errors")


def epilog() -> str:
    """Examples, and the names that options take."""
    from bayesgmm.core import FAMILIES

    families = FAMILY_HELP.format(families=wrapped(FAMILIES, 6))
    return paragraphs(EXAMPLES, datasets(), families, STANDARDIZE)


# --- run ------------------------------------------------------------------------------------------


class Compared(NamedTuple):
    """What is told: the models, and what was asked of the best of them."""

    table: Table
    found: Any
    bootstrap: Any
    test: Any


def run(arguments: argparse.Namespace) -> None:
    """Fit the models, print and write."""
    note = noting(arguments.quiet)
    options = _options(arguments)
    check_saved(arguments.save, "em")
    if arguments.output is not None:
        check_folder(arguments.output)
    table = read(arguments, note)
    with in_words(WORDS_OF_SELECT):
        compared = _compare(table, arguments, options, note)
    written = _write(compared, arguments)
    if arguments.json:
        say_json(_results(compared))
    else:
        say("\n\n".join(_text(compared, arguments)), sys.stdout)
    for line in written:
        note(line)


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Of `select_model`, those that were given."""
    options = {name: getattr(arguments, name) for name in ("n_init", "max_iter", "prior")}
    if arguments.test is not None and arguments.prior is not None:
        raise CommandError("--test has no part beside --prior: it compares likelihoods.")
    if arguments.ridge is not None:
        if arguments.prior is not None:
            raise CommandError("--ridge has no part beside --prior: leave one of them out.")
        options["reg_covar"] = ("relative", arguments.ridge)
    return {name: value for name, value in options.items() if value is not None}


def _compare(
    table: Table, arguments: argparse.Namespace, options: dict[str, Any], note: Callable
) -> Compared:
    from bayesgmm.estimators.selection import select_model

    K, families = arguments.components, arguments.families or "all"
    kinds = "all families" if families == "all" else count(len(families), "family", "families")
    note(f"fitting {K[0]} to {K[-1]} components of {kinds} to {count(len(table.X), 'row')}")
    own = dict(random_state=arguments.seed, progress_bar=watched(arguments.quiet), **options)
    found = select_model(table.X, K, families, arguments.criterion, **own)
    spread = test = None
    if arguments.bootstrap is not None:
        note(f"fitting the best to {count(arguments.bootstrap, 'replicate')} of the data")
        spread = found.bootstrap(table.X, arguments.bootstrap, random_state=arguments.seed)
    if arguments.test is not None:
        more = found.best_n_components_ + 1
        note(f"testing {count(more - 1, 'component')} against {more}")
        fitted = {name: options[name] for name in ("reg_covar", "max_iter") if name in options}
        fitted["random_state"] = arguments.seed
        test = found.likelihood_ratio_test(table.X, n_bootstrap=arguments.test, **fitted)
    return Compared(table, found, spread, test)


def _write(compared: Compared, arguments: argparse.Namespace) -> list[str]:
    """What was written where, in a line each."""
    lines = []
    if arguments.output is not None:
        try:
            spread = None if compared.bootstrap is None else compared.bootstrap.summary()
            files = write_selection(
                compared.found, spread, arguments.output, not arguments.no_figures
            )
        except OSError as error:
            raise CommandError(f"cannot write to {str(arguments.output)!r}: {error}") from error
        lines.append(f"wrote to {arguments.output}{os.sep}: {', '.join(files)}")
    if arguments.save is not None:
        lines.append(save(compared.found.best_estimator_, arguments.save, compared.table.scaling))
    return lines


# --- what is told ---------------------------------------------------------------------------------


def _text(compared: Compared, arguments: argparse.Namespace) -> Iterator[str]:
    """The paragraphs."""
    found, table = compared.found, compared.table
    out = int(found.table["singular"].sum())
    tried = f"{count(len(found.table), 'Gaussian mixture')} fitted by EM, {out} of them singular"
    yield "\n".join([*heading(table.name, table.X), tried])
    yield titled(f"Best by {found.criterion.upper()}, less is better", _best(found))
    yield titled("Number of components, its approximate probability", _by_number(found))
    if compared.bootstrap is not None:
        failed = compared.bootstrap.failed
        counted = f"{count(len(failed), 'replicate')}, {failed.sum()} of them failed"
        yield titled(f"Parameters of the best, 95 % intervals ({counted})", _spread(compared))
    if compared.test is not None:
        yield f"{titled(TITLE_OF_TEST, _tested(compared))}\n{fill(ABOUT_TEST, WIDTH)}"
    yield f"To fit the best with its figures:\n  {_command(found, arguments)}"


def _ranked(found: Any) -> Any:
    """The cells that are not singular, best first, with their probabilities."""
    table = found.table.join(found.probabilities(), on=["covariance_type", "n_components"])
    return table[~table["singular"]].sort_values(found.criterion, kind="stable")


def _best(found: Any) -> Any:
    best = _ranked(found).head(BEST)
    criteria = ("bic", "aic" if found.criterion == "aic" else "icl")
    columns = {
        "components": best["n_components"],
        "parameters": best["n_parameters"],
        "log lik.": best["log_likelihood"].map("{:.2f}".format),
        **{name.upper(): best[name].map("{:.2f}".format) for name in criteria},
        "probability": best["probability"].map(small),
    }
    return (
        best.assign(**columns)[list(columns)]
        .set_axis(best["covariance_type"])
        .rename_axis("family")
    )


def _by_number(found: Any) -> Any:
    """Of each number of components its best model, and the probability of all its models."""
    best = _ranked(found).drop_duplicates("n_components").set_index("n_components").sort_index()
    columns = {
        "best family": best["covariance_type"],
        found.criterion.upper(): best[found.criterion].map("{:.2f}".format),
        "probability": found.probabilities("n_components")[best.index].map(small),
    }
    return best.assign(**columns)[list(columns)].rename_axis("components")


def _spread(compared: Compared) -> Any:
    table = compared.bootstrap.summary().reset_index("parameter")
    return table.rename(columns={"sd": "standard error"})


TITLE_OF_TEST = "One component more than the best, by a likelihood ratio test"

ABOUT_TEST = (
    "p-value: how often data drawn from the best mixture gain as much from one component more as "
    "these do; a small one speaks for it, or against Gaussian clusters"
)


def _tested(compared: Compared) -> Any:
    names = {
        "statistic": "statistic",
        "p_value": "p-value",
        "mcse": "its error",
        "n_bootstrap": "replicates",
    }
    table = compared.test.table.rename(columns=names)[list(names.values())]
    return table.set_axis([f"{K} against {K + 1}" for K in table.index]).rename_axis("components")


def _command(found: Any, arguments: argparse.Namespace) -> str:
    """The command that fits the best model."""
    given = {
        "--columns": arguments.columns and ",".join(arguments.columns),
        "--index": arguments.index,
        "--prior": arguments.prior,
        "--seed": arguments.seed or None,
        "--n-init": arguments.n_init,
        "--max-iter": arguments.max_iter,
    }
    if arguments.prior is None:
        given["--ridge"] = f"{arguments.ridge or 0:g}"
    words = ["bayesgmm", "fit", arguments.data, "-k", str(found.best_n_components_)]
    words += ["--covariance", found.best_covariance_type_, "--start", "hierarchical"]
    words += ["--standardize"] if arguments.standardize else []
    for flag, value in given.items():
        words += [] if value is None else [flag, str(value)]
    return shlex.join(words)


def _results(compared: Compared) -> dict[str, Any]:
    """All of it, for --json."""
    (name, X, scaling), found = compared.table, compared.found
    best = found.best_estimator_
    asked = {}
    if compared.bootstrap is not None:
        asked["bootstrap"] = finite_rows(compared.bootstrap.summary().reset_index())
    if compared.test is not None:
        asked["likelihood_ratio_test"] = finite_rows(compared.test.table.reset_index())
    return {
        "version": version("bayesgmm"),
        "data": name,
        "n_samples": len(X),
        "feature_names": list(X.columns),
        "standardized": None if scaling is None else scaling._asdict(),
        "criterion": found.criterion,
        "n_components": found.best_n_components_,
        "covariance_type": found.best_covariance_type_,
        "weights": best.weights_.tolist(),
        "means": best.means_.tolist(),
        "covariances": best.covariances_.tolist(),
        "probabilities": finite_rows(found.probabilities("n_components").reset_index()),
        "seed": best.random_state,
        **asked,
        "table": finite_rows(found.table),
    }


COMMAND = Command(
    "select",
    "compare numbers of components and covariance families",
    DESCRIPTION,
    epilog,
    add,
    run,
    WORDS_OF_SELECT,
)
