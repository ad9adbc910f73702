"""``bayesgmm select``: numbers of components and covariance families compared on a table."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bayesgmm.artifacts import write_selection
from bayesgmm.commands.comparison import SHOWN, Compared, paragraphs_of, results_of
from bayesgmm.commands.options import (
    SEED,
    STANDARDIZE,
    THIN_HELP,
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
    thin,
    wrapped,
)
from bayesgmm.commands.saved import check_saved, save
from bayesgmm.commands.words import WORDS, CommandError, in_words, noting, say, say_json, watched
from bayesgmm.messages import count

__all__ = ["COMMAND"]

WORDS_OF_SELECT = WORDS | {
    "with method": "with --method",
    "cv": "--cv",
    "covariance_type": "--families",
    "criterion": "--criterion",
    "n_bootstrap": "--bootstrap",
}

DESCRIPTION = """\
    Fit Gaussian mixtures with different numbers of components and covariance
    families, and compare them.

    Prints the best models, how probable each number of components is, and the
    command that fits the best one. With em, BIC is -2 log likelihood + parameters
    x log rows, the less the better (mclust states minus that); with vb it is the
    lower bound of the log evidence, with mcmc the density that is expected at new
    points (leave-one-out), the more the better. The probabilities are approximate,
    exp(-BIC / 2) or the exponential of the bound over the sum of these: for the
    models of the table alone, each as probable as the others beforehand. A model
    in which a component collapses on a few points is singular, and is never
    chosen."""

EXAMPLES = """\
    examples:
      bayesgmm select faithful
          1 to 9 components, all fourteen families
      bayesgmm select flowers.csv --components 2:5 --families EEE,VVV
          four numbers of components, two families
      bayesgmm select faithful --method vb --components 1:6
          by the bound of the log evidence, of variational Bayes
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

METHOD_HELP = "the fits: em (the default), vb or mcmc, of which each takes longer than the last"

CRITERION_HELP = """\
    what the best is the best by: with em bic (the default), aic or icl, which is BIC for clusters
    that are well apart; with vb lower_bound; with mcmc elpd_loo (the default) or log_evidence;
    with any, and --cv, held_out"""

CV_HELP = """\
    fit each model N times more, without a part of the rows each time, and print the mean log
    density of a row left out"""

PRIOR_HELP = """\
    with em, data-scaled: fits that no few points can spoil; with mcmc that of the components, as
    bayesgmm fit has it"""

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
    option("--method", choices=tuple(SHOWN), default="em", help=METHOD_HELP)
    option(
        "-k", "--components", type=numbers, default="1:9", metavar="NUMBERS", help=COMPONENTS_HELP
    )
    option("--families", type=names("families"), metavar="A,B,C", help="see below (default: all)")
    option("--criterion", metavar="NAME", help=CRITERION_HELP)
    option("--cv", type=positive, metavar="N", help=CV_HELP)
    option("--prior", metavar="PRIOR", help=PRIOR_HELP)
    option("--ridge", type=float, metavar="SHARE", help=RIDGE_HELP)
    option = parser.add_argument_group("computation").add_argument
    option("--seed", **SEED, help="seed of the random starts (default %(default)s)")
    option(
        "--n-init", type=positive, metavar="N", help="starts of each model (default 4; em and vb)"
    )
    option(
        "--max-iter", type=positive, metavar="N", help="most iterations (default 1000; em and vb)"
    )
    option("--samples", type=positive, metavar="N", help="draws of each chain (default 1000; mcmc)")
    option("--thin", type=thin, metavar="N", help=f"{THIN_HELP} (default 1; with mcmc)")
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


def run(arguments: argparse.Namespace) -> None:
    """Fit the models, print and write."""
    note = noting(arguments.quiet)
    options = _options(arguments)
    check_saved(arguments.save, arguments.method)
    if arguments.output is not None:
        check_folder(arguments.output)
    table = read(arguments, note)
    with in_words(WORDS_OF_SELECT):
        compared = _compare(table, arguments, options, note)
    written = _write(compared, arguments)
    if arguments.json:
        say_json(results_of(compared))
    else:
        say("\n\n".join(paragraphs_of(compared, arguments)), sys.stdout)
    for line in written:
        note(line)


OF_METHODS = {
    "ridge": ("em", "vb"),
    "prior": ("em", "mcmc"),
    "n_init": ("em", "vb"),
    "max_iter": ("em", "vb"),
    "samples": ("mcmc",),
    "thin": ("mcmc",),
    "bootstrap": ("em",),
    "test": ("em",),
}
"""Options that only some of the methods have."""


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Of `select_model`, those that were given."""
    method = arguments.method
    given = {name: getattr(arguments, name) for name in OF_METHODS}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if method not in OF_METHODS[name]:
            flag, theirs = f"--{name.replace('_', '-')}", " and ".join(OF_METHODS[name])
            raise CommandError(f"{flag} has no part in --method {method}: it is of {theirs}.")
    for other in ("ridge", "test"):
        if method == "em" and "prior" in given and other in given:
            raise CommandError(f"--{other} has no part beside --prior: leave one of them out.")
    options = {name: given[name] for name in ("n_init", "max_iter", "thin") if name in given}
    if "ridge" in given:
        options["reg_covar"] = ("relative", given["ridge"])
    if "prior" in given:
        options["component_prior" if method == "mcmc" else "prior"] = given["prior"]
    if "samples" in given:
        options["n_samples"] = given["samples"]
    return options


def _compare(
    table: Table, arguments: argparse.Namespace, options: dict[str, Any], note: Callable
) -> Compared:
    from bayesgmm.estimators.selection import select_model

    K, families = arguments.components, arguments.families or "all"
    kinds = "all families" if families == "all" else count(len(families), "family", "families")
    note(f"fitting {K[0]} to {K[-1]} components of {kinds} to {count(len(table.X), 'row')}")
    own = dict(random_state=arguments.seed, progress_bar=watched(arguments.quiet), **options)
    given = (arguments.criterion, arguments.method)
    found = select_model(table.X, K, families, *given, cv=arguments.cv, **own)
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


COMMAND = Command(
    "select",
    "compare numbers of components and covariance families",
    DESCRIPTION,
    epilog,
    add,
    run,
    WORDS_OF_SELECT,
)
