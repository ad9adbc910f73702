"""``bayesgmm fit``: a mixture fitted to a table, as text, files and figures."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from bayesgmm.artifacts import results, write_artifacts
from bayesgmm.commands.options import (
    SEED,
    STANDARDIZE,
    THIN_HELP,
    Command,
    add_table,
    check_folder,
    components,
    datasets,
    paragraphs,
    positive,
    read,
    thin,
    wrapped,
)
from bayesgmm.commands.saved import check_saved, save
from bayesgmm.commands.words import CommandError, in_words, noting, say, say_json, watched
from bayesgmm.fitting import LARGEST_AUTO, METHODS, fit_mixture, told
from bayesgmm.text import report

__all__ = ["COMMAND"]

RIDGE = 1e-6
"""As a share of each feature's variance, where neither --ridge nor --prior is given."""

DESCRIPTION = """\
    Fit a Gaussian mixture to the rows of a table, by expectation-maximization,
    variational Bayes or Markov chain Monte Carlo.

    Prints the clusters (size, mean and standard deviation of each feature), how
    sure the assignment of points to them is, and the points it is least sure of.
    Writes parameters.json, assignments.csv (a row for each row of DATA: its most
    probable component and the probability of each) and figures as PNG.

    A file named like a bundled data set is ./faithful; one that ends in .parquet
    or .pq is read as Parquet, in .tsv or .tab by tabs, any other as CSV."""

EXAMPLES = """\
    examples:
      bayesgmm fit faithful
          the bundled Old Faithful data; BIC chooses the number of components
      bayesgmm fit flowers.csv --columns length,width -k 3 --output flowers-3
          three components for two columns of a file; writes to flowers-3/
      bayesgmm fit patients.csv --index patient --save patients.npz
          rows by the names in a column; keeps the mixture for bayesgmm predict
      bayesgmm fit faithful --method vb
          variational Bayes finds the number of components, with its evidence
      bayesgmm fit faithful --method mcmc
          the posterior of the number of clusters, and whether the chains agree
      bayesgmm datasets iris | bayesgmm fit - -k 3 --json
          from standard input to one JSON object on standard output"""

FAMILY_HELP = """\
    covariance families (--covariance):
      {families}
      By name, or by mclust's three letters for volume, shape and orientation:
      Equal, Variable or Identity. E and V are for one feature. With --method vb
      and mcmc: full, tied, diag and spherical, by these or by mclust's names."""

START_HELP = """\
    starts (--start):
      {starts}
      cells tries eight partitions a start; hierarchical is mclust's."""

METHOD_HELP = """\
    em (the default): maximum likelihood by expectation-maximization; vb: variational Bayes, a
    Dirichlet-process mixture that finds its number of components; mcmc: draws of the posterior"""

PRIOR_HELP = (
    "with em, data-scaled: a fit that no few points can spoil; with mcmc that of the components, "
    "hierarchical (default), independent, conjugate or richardson-green"
)

COMPONENTS_HELP = f"""\
    number of components, with vb the most there may be; auto (the default) leaves it to vb, is a
    prior over it (a mixture of finite mixtures) with mcmc, and for em takes the number of smallest
    BIC, of 1 to {LARGEST_AUTO}, among fits without a cluster of D + 1 points or fewer for D
    features"""

SAVE_HELP = """\
    keep the fitted estimator for bayesgmm predict and bayesgmm.load: a file that ends in .npz, or
    with mcmc in .nc (netCDF, for ArviZ)"""

JSON_HELP = "print one JSON object instead of text, and write files only where --output says"


# A row an option: itself, its type, the setting of the estimator, and words for it.
NUMBERS = (
    ("--n-init", positive, "n_init", "N", "starts, of which the best is kept"),
    ("--max-iter", positive, "max_iter", "N", "most iterations of a start"),
    (
        "--tol",
        float,
        "tol",
        "GAIN",
        "stop at less than this gain in an iteration: with em in mean log density (default: when "
        "the gains to come are expected to add up to less than 0.0001 nats), with vb in nats "
        "(default 0.001)",
    ),
    ("--chains", positive, "n_chains", "N", "chains"),
    ("--samples", positive, "n_samples", "N", "draws kept of each chain"),
    (
        "--warmup",
        positive,
        "n_warmup",
        "N",
        "sweeps of each chain before its first draw (default: as many as then follow)",
    ),
    ("--thin", thin, "thin", "N", THIN_HELP),
)


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``bayesgmm fit``."""
    add_table(parser)
    option = parser.add_argument_group("model").add_argument
    option("--method", choices=tuple(METHODS), default="em", help=METHOD_HELP)
    option("-k", "--components", type=components, default="auto", metavar="K", help=COMPONENTS_HELP)
    option("--covariance", default="full", metavar="FAMILY", help="see below (default %(default)s)")
    option("--prior", metavar="PRIOR", help=PRIOR_HELP)
    option = parser.add_argument_group("computation").add_argument
    option("--start", metavar="START", help=f"see below (default {_default('init_params')})")
    option("--seed", **SEED, help="seed of the random starts (default %(default)s)")
    for flag, kind, setting, metavar, text in NUMBERS:
        text += "" if "default" in text else f" (default {_default(setting)})"
        option(flag, type=kind, metavar=metavar, help=text)
    option("--ridge", type=float, metavar="SHARE", help=RIDGE_HELP)
    option = parser.add_argument_group("output").add_argument
    option("--output", type=Path, metavar="DIR", help="folder to write to (default bayesgmm-NAME)")
    option("--save", type=Path, metavar="FILE", help=SAVE_HELP)
    option("--json", action="store_true", help=JSON_HELP)
    option("--no-figures", action="store_true", help="write no figures")
    option("--quiet", action="store_true", help="no notes on stderr, only warnings and errors")


RIDGE_HELP = (
    f"added to variances, as a share of each feature's variance (default {RIDGE:g} without --prior)"
)


def _default(setting: str) -> str:
    """What stands for an option that is not given: the default of each method."""
    rows = [(row.defaults[setting], m) for m, row in METHODS.items() if setting in row.defaults]
    values = {str(value) for value, _ in rows}
    if len(values) > 1:
        return ", ".join(f"{value} with {method}" for value, method in rows)
    return f"{values.pop()}; with {' and '.join(method for _, method in rows)}"


def epilog() -> str:
    """Examples, and the names that options take."""
    from bayesgmm.core import FAMILIES
    from bayesgmm.inference.starts import STARTS

    families = FAMILY_HELP.format(families=wrapped(FAMILIES, 6))
    starts = START_HELP.format(starts=wrapped(STARTS, 6))
    return paragraphs(EXAMPLES, datasets(), families, starts, STANDARDIZE)


# --- run ------------------------------------------------------------------------------------------


def run(arguments: argparse.Namespace) -> None:
    """Fit, print and write."""
    note = noting(arguments.quiet)
    settings = _settings(arguments)
    check_saved(arguments.save, arguments.method)
    table = read(arguments, note)
    folder = None if arguments.json else Path(f"bayesgmm-{table.name}")
    folder = arguments.output or folder
    if folder is not None:
        check_folder(folder)
    with in_words():
        model, trials = fit_mixture(
            arguments.method,
            table.X,
            arguments.components,
            settings,
            note,
            watched(arguments.quiet),
        )
    fitted = told(table.name, table.X, model, trials, arguments.method, table.scaling)
    written = _write(fitted, folder, arguments, note)
    if arguments.json:
        say_json(results(fitted))
    else:
        say("\n\n".join(report(fitted)), sys.stdout)
    for line in written:
        note(line)


def _write(fitted: Any, folder: Path | None, arguments: argparse.Namespace, note: Any) -> list[str]:
    """What was written where, in a line each."""
    lines = []
    if folder is not None:
        try:
            files = write_artifacts(fitted, folder, not arguments.no_figures, note)
        except OSError as error:
            raise CommandError(f"cannot write to {str(folder)!r}: {error}") from error
        lines.append(f"wrote to {folder}{os.sep}: {', '.join(files)}")
    if arguments.save is not None:
        lines.append(save(fitted.model, arguments.save, fitted.scaling))
    return lines


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the estimator is called with, besides the number of components; None: as its method."""
    method = arguments.method
    settings = {"covariance_type": arguments.covariance, "random_state": arguments.seed}
    flags = {setting: flag for flag, _, setting, *_ in NUMBERS} | {"init_params": "--start"}
    for setting, flag in flags.items():
        value = getattr(arguments, flag.removeprefix("--").replace("-", "_"))
        if value is None:
            continue
        if setting not in METHODS[method].defaults:
            theirs = " and ".join(m for m, row in METHODS.items() if setting in row.defaults)
            raise CommandError(f"{flag} has no part in --method {method}: it is of {theirs}.")
        settings[setting] = value
    return settings | _prior(arguments)


def _prior(arguments: argparse.Namespace) -> dict[str, Any]:
    method, prior, ridge = arguments.method, arguments.prior, arguments.ridge
    if method == "mcmc":
        _refuse("--ridge", ridge, method)
        return {} if prior is None else {"component_prior": prior}
    if prior is None:
        return {"reg_covar": ("relative", RIDGE if ridge is None else ridge)}
    if method != "em":
        _refuse("--prior", prior, method)
    if ridge is not None:
        raise CommandError("--ridge has no part beside --prior: leave one of them out.")
    return {"prior": prior}


def _refuse(flag: str, value: Any, method: str) -> None:
    if value is not None:
        raise CommandError(
            f"{flag} is of the fit by --method em; {method} always has a prior of its own."
        )


COMMAND = Command(
    "fit", "fit a mixture: clusters, probabilities, figures", DESCRIPTION, epilog, add, run
)
