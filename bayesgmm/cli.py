"""The command ``bayesgmm``: a mixture fitted to a table, as text, files and figures.

Results go to stdout, notes and warnings to stderr. What is wrong with a command is one line that
starts with ``bayesgmm: `` and exit status 2; an interrupt is exit status 130.
"""

import _thread
import argparse
import math
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent, fill
from typing import Any, NoReturn

from bayesgmm.artifacts import write_artifacts
from bayesgmm.compilation import enable_compilation_cache
from bayesgmm.datasets import DATASETS
from bayesgmm.fitting import LARGEST_AUTO, METHODS, fit_mixture, told
from bayesgmm.io.tables import TableError, read_table, select_columns
from bayesgmm.text import WIDTH, report

__all__ = ["main"]


class CommandError(Exception):
    """What the user can put right, in one line."""


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
        with _one_line_warnings(), _kept_interrupts():
            arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    except (CommandError, TableError) as error:
        _say(f"bayesgmm: {error}")
        return 2
    except KeyboardInterrupt:
        _say("bayesgmm: interrupted")
        return 130
    except BrokenPipeError:  # `bayesgmm ... | head`: nobody reads on, which is no error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


# ---- what can be said on the command line -------------------------------------------------------


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
        description="Gaussian mixtures: the clusters of a table, and how sure of them one may be.",
        epilog="'bayesgmm fit --help' shows the options of a command, with examples.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"bayesgmm {version('bayesgmm')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_fit(commands)
    return parser


def _add_fit(commands: Any) -> None:
    fit = commands.add_parser(
        "fit",
        help="fit a mixture: clusters, probabilities, figures",
        description=dedent(_FIT_DESCRIPTION),
        epilog=_fit_epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    fit.set_defaults(run=_fit)
    add = fit.add_argument
    add("data", metavar="DATA", help="a bundled data set, or the path of a CSV or Parquet file")
    add("--columns", type=_names, metavar="A,B,C", help=_COLUMNS_HELP)
    add = fit.add_argument_group("model").add_argument
    add("--method", choices=tuple(METHODS), default="em", help=_METHOD_HELP)
    add("-k", "--components", type=_components, default="auto", metavar="K", help=_COMPONENTS_HELP)
    add("--covariance", default="full", metavar="FAMILY", help="see below (default %(default)s)")
    add("--prior", metavar="PRIOR", help=_PRIOR_HELP)
    add = fit.add_argument_group("computation").add_argument
    add("--start", metavar="START", help=f"see below (default {_default('init_params')})")
    for flag, kind, default, metavar, text in _NUMBERS:
        text += "" if "default" in text else f" (default {_shown(flag, default)})"
        add(flag, type=kind, default=default, metavar=metavar, help=text)
    add = fit.add_argument_group("output").add_argument
    add("--output", type=Path, metavar="DIR", help="folder to write to (default bayesgmm-NAME)")
    add("--no-figures", action="store_true", help="write no figures")
    add("--quiet", action="store_true", help="no notes on stderr, only warnings and errors")


def _fit_epilog() -> str:
    from bayesgmm.core import FAMILIES
    from bayesgmm.inference.starts import STARTS

    names = {"datasets": DATASETS, "families": FAMILIES, "starts": STARTS}
    lines = {kind: fill(", ".join(table), WIDTH - 4) for kind, table in names.items()}
    wrapped = {kind: text.replace("\n", "\n  ") for kind, text in lines.items()}
    return dedent(_FIT_EPILOG).format(**wrapped)


_COLUMNS_HELP = """\
    the columns to use (default: all that are numbers, but constants and row numbers)"""

_METHOD_HELP = """\
    em (the default): maximum likelihood by expectation-maximization; vb: variational Bayes, a
    Dirichlet-process mixture that finds its number of components; mcmc: draws of the posterior"""

_PRIOR_HELP = (
    "with em, data-scaled: a fit that no few points can spoil; with mcmc that of the components, "
    "hierarchical (default), independent, conjugate or richardson-green"
)
_COMPONENTS_HELP = f"""\
    number of components, with vb the most there may be; auto (the default) leaves it to vb, is a
    prior over it (a mixture of finite mixtures) with mcmc, and for em takes the number of smallest
    BIC, of 1 to {LARGEST_AUTO}, among fits without a cluster of D + 1 points or fewer for D
    features"""

_FIT_DESCRIPTION = """\
    Fit a Gaussian mixture to the rows of a table, by expectation-maximization,
    variational Bayes or Markov chain Monte Carlo.

    Prints the clusters (size, mean and standard deviation of each feature), how
    sure the assignment of points to them is, and the points it is least sure of.
    Writes parameters.json, assignments.csv (a row for each row of DATA: its most
    probable component and the probability of each) and figures as PNG.

    A file named like a bundled data set is ./faithful; one that ends in .parquet
    or .pq is read as Parquet, in .tsv or .tab by tabs, any other as CSV."""

_FIT_EPILOG = """\
    examples:
      bayesgmm fit faithful
          the bundled Old Faithful data; BIC chooses the number of components
      bayesgmm fit flowers.csv --columns length,width -k 3 --output flowers-3
          three components for two columns of a file; writes to flowers-3/
      bayesgmm fit faithful --method vb
          variational Bayes finds the number of components, with its evidence
      bayesgmm fit faithful --method mcmc --thin 10
          the posterior of the number of clusters, and whether the chains agree

    bundled data sets:
      {datasets}

    covariance families (--covariance):
      {families}
      By name, or by mclust's three letters for volume, shape and orientation:
      Equal, Variable or Identity. E and V are for one feature. With --method vb
      and mcmc: full, tied, diag and spherical, by these or by mclust's names.

    starts (--start):
      {starts}
      cells tries eight partitions a start; hierarchical is mclust's."""

# What the estimator calls it, and what the command line does.
_SPOKEN = {
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
    "tol": "--tol",
    "reg_covar[1]": "--ridge",
    "reg_covar": "--ridge",
    "n_samples": "rows",
    "sample(s)": "row(s)",
}


def _spoken(message: str) -> str:
    """A message of the estimator in the words of the command line, on one line."""
    names = "|".join(re.escape(name) for name in _SPOKEN)
    message = re.sub(rf"(?<![\w'-])({names})(?![\w'])", lambda found: _SPOKEN[found[1]], message)
    return " ".join(message.split())


def _components(text: str) -> int | None:
    if text == "auto":
        return None
    return _whole(text, 1, math.inf, "an integer of at least 1 or auto")


def _seed(text: str) -> int:
    return _whole(text, 0, 2**32 - 1, f"an integer from 0 to {2**32 - 1}")


def _positive(text: str) -> int:
    return _whole(text, 1, math.inf, "an integer of at least 1")


def _whole(text: str, low: float, high: float, expected: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or not low <= value <= high:
        raise argparse.ArgumentTypeError(f"must be {expected}, got {text!r}")
    return value


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(
            f"must be names of columns with commas between them, each once, got {text!r}"
        )
    return names


# A row an option: itself, its type, its default, and words for it.
_NUMBERS = (
    ("--seed", _seed, 0, "SEED", "seed of the random starts"),
    ("--n-init", _positive, None, "N", "starts, of which the best is kept"),
    ("--max-iter", _positive, None, "N", "most iterations of a start"),
    (
        "--tol",
        float,
        None,
        "GAIN",
        "stop at less than this gain in an iteration: with em in mean log density (default: when "
        "the gains to come are expected to add up to less than 0.0001 nats), with vb in nats "
        "(default 0.001)",
    ),
    (
        "--ridge",
        float,
        None,
        "SHARE",
        "added to variances, as a share of each feature's variance (default 1e-06 without --prior)",
    ),
    ("--chains", _positive, None, "N", "chains"),
    ("--samples", _positive, None, "N", "draws kept of each chain"),
    (
        "--warmup",
        _positive,
        None,
        "N",
        "sweeps of each chain before its first draw (default: as many as then follow)",
    ),
    ("--thin", _positive, None, "N", "sweeps a draw"),
)


def _shown(flag: str, default: Any) -> str:
    """What stands for an option that is not given: its default, or that of each method."""
    if default is not None:
        return str(default)
    return _default(_SETTING.get(flag, flag.removeprefix("--").replace("-", "_")))


def _default(name: str) -> str:
    rows = [(row.defaults[name], method) for method, row in METHODS.items() if name in row.defaults]
    values = {str(value) for value, _ in rows}
    if len(values) > 1:
        return ", ".join(f"{value} with {method}" for value, method in rows)
    return f"{values.pop()}; with {' and '.join(method for _, method in rows)}"


_SETTING = {"--chains": "n_chains", "--samples": "n_samples"}
"""What the estimator calls an option, where that is another word."""


# ---- what is said -------------------------------------------------------------------------------


def _say(line: str, stream: Any = None) -> None:
    """Print a line on `stream` (stderr), whatever characters that can show."""
    stream = stream or sys.stderr
    encoding = stream.encoding or "utf-8"
    print(line.encode(encoding, "replace").decode(encoding), file=stream)


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Show warnings as they come, each text once, as one line."""
    said = set()

    def show(message: Any, category: type, *where: Any) -> None:
        line = f"bayesgmm: warning: {_spoken(str(message))}"
        if line not in said:
            _say(line)
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


# ---- bayesgmm fit -------------------------------------------------------------------------------


def _fit(arguments: argparse.Namespace) -> None:
    note = _silent if arguments.quiet else _note
    name, table = read_table(arguments.data)
    X = select_columns(table, arguments.columns, note)
    folder = arguments.output or Path(f"bayesgmm-{name}")
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"--output: {str(folder)!r} is a file, not a folder.")
    try:
        model, trials = fit_mixture(
            arguments.method, X, arguments.components, _settings(arguments), note, arguments.quiet
        )
    except ValueError as error:
        raise CommandError(_spoken(str(error))) from error
    fitted = told(name, X, model, trials, arguments.method)
    try:
        written = write_artifacts(fitted, folder, not arguments.no_figures, note)
    except OSError as error:
        raise CommandError(f"cannot write to {str(folder)!r}: {error}") from error
    _say("\n\n".join(report(fitted)), sys.stdout)
    note(f"wrote to {folder}{os.sep}: {', '.join(written)}")


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the estimator is called with, besides the number of components; None: as its method."""
    method = arguments.method
    common = {"covariance_type": arguments.covariance, "random_state": arguments.seed}
    own = {
        "n_init": ("--n-init", arguments.n_init),
        "max_iter": ("--max-iter", arguments.max_iter),
        "tol": ("--tol", arguments.tol),
        "init_params": ("--start", arguments.start),
        "n_chains": ("--chains", arguments.chains),
        "n_samples": ("--samples", arguments.samples),
        "n_warmup": ("--warmup", arguments.warmup),
        "thin": ("--thin", arguments.thin),
    }
    for name, (flag, value) in own.items():
        if value is not None and name not in METHODS[method].defaults:
            theirs = " and ".join(m for m, row in METHODS.items() if name in row.defaults)
            raise CommandError(f"{flag} has no part in --method {method}: it is of {theirs}.")
    settings = common | {name: value for name, (_, value) in own.items() if value is not None}
    if method == "mcmc":
        _refuse(arguments, method, "--ridge")
        chosen = {} if arguments.prior is None else {"component_prior": arguments.prior}
        return settings | chosen
    if arguments.prior is None:
        ridge = _RIDGE if arguments.ridge is None else arguments.ridge
        return settings | {"reg_covar": ("relative", ridge)}
    if method != "em":
        _refuse(arguments, method, "--prior")
    if arguments.ridge is not None:
        raise CommandError("--ridge has no part beside --prior: leave one of them out.")
    return settings | {"prior": arguments.prior}


def _refuse(arguments: argparse.Namespace, method: str, *flags: str) -> None:
    for flag in flags:
        if getattr(arguments, flag.removeprefix("--")) is not None:
            raise CommandError(
                f"{flag} is of the fit by --method em; {method} always has a prior of its own."
            )


_RIDGE = 1e-6


def _note(line: str) -> None:
    _say(f"bayesgmm: {line}")


def _silent(line: str) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
