"""The command ``bayesgmm``: a mixture fitted to a table, as text, files and figures.

Results go to stdout, notes and warnings to stderr. What is wrong with a command is one line that
starts with ``bayesgmm: `` and exit status 2; an interrupt is exit status 130.
"""

import _thread
import argparse
import json
import math
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent, fill
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from bayesgmm.datasets import DATASETS, load

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["main"]

WIDTH = 80
"""Columns of the terminal that results are laid out for."""

LARGEST_AUTO = 6
"""The most components that ``--components auto`` tries."""

DOUBTFUL = 0.1
"""A point is called doubtful when its uncertainty, 1 - largest probability, is above this."""

LISTED = 5
"""So many of the least certain points are printed, and so many rows with missing values."""

PAIRED = 6
"""The most features of which pairs.png shows every pair."""


class CommandError(Exception):
    """What the user can put right, in one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the name of the command; those of the process when not given.

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
        with _one_line_warnings(), _kept_interrupts():
            arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    except CommandError as error:
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
        help="fit a mixture by maximum likelihood: clusters, probabilities, figures",
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
    add("-k", "--components", type=_components, default="auto", metavar="K", help=_COMPONENTS_HELP)
    add("--covariance", default="full", metavar="FAMILY", help="see below (default %(default)s)")
    add = fit.add_argument_group("computation").add_argument
    for flag, kind, default, metavar, text in _NUMBERS:
        text += " (default %(default)s)"
        add(flag, type=kind, default=default, metavar=metavar, help=text)
    add = fit.add_argument_group("output").add_argument
    add("--output", type=Path, metavar="DIR", help="folder to write to (default bayesgmm-NAME)")
    add("--no-figures", action="store_true", help="write no figures")
    add("--quiet", action="store_true", help="no notes on stderr, only warnings and errors")


def _fit_epilog() -> str:
    from bayesgmm.core import FAMILIES

    names = {"datasets": DATASETS, "families": FAMILIES}
    lines = {kind: fill(", ".join(table), WIDTH - 4) for kind, table in names.items()}
    wrapped = {kind: text.replace("\n", "\n  ") for kind, text in lines.items()}
    return dedent(_FIT_EPILOG).format(**wrapped)


_COLUMNS_HELP = """\
    the columns to use (default: all that are numbers, but constants and row numbers)"""

_COMPONENTS_HELP = f"""\
    number of components; auto (the default) takes the number of smallest BIC, of 1 to
    {LARGEST_AUTO}, among fits without a cluster of D + 1 points or fewer for D features"""

_FIT_DESCRIPTION = """\
    Fit a Gaussian mixture to the rows of a table by expectation-maximization.

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

    bundled data sets:
      {datasets}

    covariance families (--covariance):
      {families}
      By name, or by mclust's three letters for volume, shape and orientation:
      Equal, Variable or Identity. E and V are for one feature."""

# What the estimator calls it, and what the command line does.
_SPOKEN = {
    "Input X": "DATA",
    "n_components": "--components",
    "covariance_type": "--covariance",
    "n_init": "--n-init",
    "max_iter": "--max-iter",
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
    ("--n-init", _positive, 10, "N", "random starts, of which the best is kept"),
    ("--max-iter", _positive, 1000, "N", "most iterations of a start"),
    ("--tol", float, 1e-6, "GAIN", "stop at less than this gain in mean log density"),
    ("--ridge", float, 1e-6, "SHARE", "added to variances, as a share of each feature's variance"),
)


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
    before = sys.unraisablehook

    def show(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            before(unraisable)
            return
        threading.Timer(0.05, _thread.interrupt_main).start()  # once that callback has ended

    sys.unraisablehook = show
    try:
        yield
    finally:
        sys.unraisablehook = before


# ---- the table ----------------------------------------------------------------------------------


def _read(source: str) -> "tuple[str, pd.DataFrame]":
    """The name of a data set and its table, the index of which names the rows."""
    if source in DATASETS:
        return source, load(source)[0]
    from bayesgmm.estimators.checks import hint, listed

    path = Path(source)
    if not path.is_file():
        kind = "is a folder, not a file" if path.is_dir() else "is neither a file nor a data set"
        files = [str(file) for file in path.parent.glob(f"*{path.suffix}") if path.suffix]
        raise CommandError(
            f"{source!r} {kind}. The bundled data sets are {listed(DATASETS)}."
            f"{hint([*DATASETS, *files], source)}"
        )
    try:
        table = _READERS.get(path.suffix.lower(), _read_csv)(path)
    except ImportError as error:
        raise CommandError(
            f"reading {source!r} needs pyarrow, which is not installed: "
            "pip install 'bayesgmm[parquet]'"
        ) from error
    except (OSError, ValueError) as error:  # pandas' and pyarrow's errors of format are ValueErrors
        raise CommandError(f"cannot read {source!r}: {' '.join(str(error).split())}") from error
    return re.sub(r"\.(csv|tsv|tab|txt|parquet|pq)(\.\w+)?$", "", path.name, flags=re.I), table


def _read_csv(path: Path, separator: str = ",") -> "pd.DataFrame":
    import pandas as pd

    table = pd.read_csv(path, sep=separator)
    first = str(table.columns[0])
    if first.startswith("Unnamed:"):  # what R and pandas write above the names of rows
        table = table.set_index(first)
    return table


def _read_tabs(path: Path) -> "pd.DataFrame":
    return _read_csv(path, "\t")


def _read_parquet(path: Path) -> "pd.DataFrame":
    import pandas as pd

    table = pd.read_parquet(path, engine="pyarrow")
    return table.reset_index() if table.index.nlevels > 1 else table


_READERS: dict[str, Callable] = {
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".tsv": _read_tabs,
    ".tab": _read_tabs,
}
"""Readers by the end of a file's name; all else is read as CSV."""


def _select(table: "pd.DataFrame", columns: list[str] | None, note: Callable) -> "pd.DataFrame":
    """The columns to fit, as float64 without gaps."""
    table = table.set_axis([str(name) for name in table.columns], axis=1)
    if not len(table):
        raise CommandError("DATA has no rows.")
    if all(re.fullmatch(r"[-+]?\.?\d[\d.eE+-]*", name) for name in table.columns):
        warnings.warn(
            f"the columns are called {', '.join(table.columns[:LISTED])}: if DATA begins without a "
            "line of names, its first row was taken for one",
            stacklevel=2,
        )
    chosen = _numeric(table, note) if columns is None else _named(table, columns)
    _check_complete(chosen)
    return chosen.astype(float)


def _numeric(table: "pd.DataFrame", note: Callable) -> "pd.DataFrame":
    reasons = {name: _unfit(table[name]) for name in table.columns}
    for reason in dict.fromkeys(filter(None, reasons.values())):
        left = [name for name, found in reasons.items() if found == reason]
        note(f"left out, {reason}: {', '.join(left)}")
    used = [name for name, reason in reasons.items() if not reason]
    if not used:
        found = ", ".join(f"{name!r} ({reason})" for name, reason in reasons.items())
        raise CommandError(f"DATA has no numeric columns to fit: {found or 'it has no columns'}.")
    return table.loc[:, used]


def _unfit(column: "pd.Series") -> str:
    """Why a column is left out unless asked for; nothing for one that is used."""
    from pandas.api.types import is_any_real_numeric_dtype

    if not is_any_real_numeric_dtype(column.dtype):
        return "not numbers"
    if len(column) > 1 and column.notna().all():
        if (column == column.iloc[0]).all():
            return "the same in every row"
        if len(column) > 2 and (column.diff().iloc[1:] == 1).all():
            return "counts the rows"
    return ""


def _named(table: "pd.DataFrame", columns: list[str]) -> "pd.DataFrame":
    from pandas.api.types import is_any_real_numeric_dtype

    from bayesgmm.estimators.checks import hint, listed

    for name in columns:
        if name not in table.columns:
            raise CommandError(
                f"--columns: there is no column {name!r}. The columns are {listed(table.columns)}."
                f"{hint(table.columns, name)}"
            )
        if not is_any_real_numeric_dtype(table[name].dtype):
            example = table[name].dropna().iloc[:1].tolist()
            raise CommandError(
                f"--columns: column {name!r} does not hold numbers"
                + (f", but such values as {example[0]!r}." if example else ".")
            )
    return table.loc[:, columns]


def _check_complete(table: "pd.DataFrame") -> None:
    """Every value is there; if not, name the rows as assignments.csv would."""
    missing = table.isna()
    bad = missing[missing.any(axis=1)]
    if not len(bad):
        return
    places = [
        f"row {row} ({', '.join(table.columns[gaps])})"
        for row, gaps in zip(bad.index[:LISTED], bad.to_numpy(), strict=False)
    ]
    more = f" and {len(bad) - LISTED} more" if len(bad) > LISTED else ""
    raise CommandError(
        f"values are missing in {len(bad)} of {len(table)} rows{_counted(table)}: "
        f"{'; '.join(places)}{more}. Missing values are not modelled: drop or impute them, or "
        "choose complete columns with --columns."
    )


def _counted(table: "pd.DataFrame") -> str:
    import pandas as pd

    return " (the first is row 0)" if isinstance(table.index, pd.RangeIndex) else ""


# ---- bayesgmm fit -------------------------------------------------------------------------------


class Trial(NamedTuple):
    """A fit that ``--components auto`` compares with others.

    Attributes
    ----------
    n_components : int
    log_likelihood, bic : float or None
        None where the fit was singular.
    verdict : str
        Why it is out of the running; empty if it is not.
    """

    n_components: int
    log_likelihood: float | None = None
    bic: float | None = None
    verdict: str = "singular"


class Fitted(NamedTuple):
    """A fitted mixture and what is told of it.

    Attributes
    ----------
    name : str
        Of the data.
    X : DataFrame [N, D]
    model : GaussianMixture
    trials : list of Trial
        Empty when the number of components was given.
    assignments : DataFrame [N]
        label, probability_0, ..., uncertainty, entropy; its index names the rows.
    """

    name: str
    X: "pd.DataFrame"
    model: Any
    trials: list[Trial]
    assignments: "pd.DataFrame"


def _fit(arguments: argparse.Namespace) -> None:
    note = _silent if arguments.quiet else _note
    name, table = _read(arguments.data)
    X = _select(table, arguments.columns, note)
    folder = arguments.output or Path(f"bayesgmm-{name}")
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"--output: {str(folder)!r} is a file, not a folder.")
    try:
        model, trials = _model(X, arguments, note)
    except ValueError as error:
        raise CommandError(_spoken(str(error))) from error
    fitted = Fitted(name, X, model, trials, _assignments(model, X))
    try:
        written = _write(fitted, folder, not arguments.no_figures, note)
    except OSError as error:
        raise CommandError(f"cannot write to {str(folder)!r}: {error}") from error
    _say("\n\n".join(_report(fitted)), sys.stdout)
    note(f"wrote to {folder}{os.sep}: {', '.join(written)}")


def _note(line: str) -> None:
    _say(f"bayesgmm: {line}")


def _silent(line: str) -> None:
    pass


def _model(
    X: "pd.DataFrame", arguments: argparse.Namespace, note: Callable
) -> tuple[Any, list[Trial]]:
    """The fitted mixture, and the trials by which its number of components was chosen."""
    from tqdm import tqdm

    from bayesgmm.estimators.em import GaussianMixture

    N, D = X.shape
    size = f"{_count(N, 'row')}, {_count(D, 'feature')}"
    settings = {
        "covariance_type": arguments.covariance,
        "tol": arguments.tol,
        "reg_covar": ("relative", arguments.ridge),
        "max_iter": arguments.max_iter,
        "n_init": arguments.n_init,
        "random_state": arguments.seed,
    }
    if arguments.components is not None:
        note(f"fitting {size}")
        return GaussianMixture(arguments.components, **settings).fit(X), []
    largest = max(1, min(LARGEST_AUTO, N // (D + 1)))  # D + 1 points to a full covariance
    note(f"fitting {size} with 1 to {_count(largest, 'component')}")
    models = [GaussianMixture(K, **settings) for K in range(1, largest + 1)]
    bar = tqdm(models, desc="components", leave=False, disable=arguments.quiet or None)
    fits = [_try(model, X) for model in bar]  # a bar on terminals only
    candidates = [fit for fit in fits if not fit[1].verdict]  # with one component at least
    model, kept = min(candidates, key=lambda fit: float(fit[1].bic))
    if kept.n_components == largest > 1:
        note(f"BIC is smallest for the most components tried; for more than {largest} use -k")
    return model, [trial for _, trial in fits]


def _try(model: Any, X: "pd.DataFrame") -> tuple[Any, Trial]:
    """Fit; a singular fit of several components is no candidate, of one it is an error."""
    from bayesgmm.estimators.em import SINGULAR

    K = model.n_components
    try:
        with warnings.catch_warnings(record=True) as caught:
            model.fit(X)
    except ValueError as error:
        if K == 1 or str(error) != SINGULAR:
            raise
        return model, Trial(K)
    for warning in caught:
        text = f"{_count(K, 'component')}: {warning.message}"
        warnings.warn(text, warning.category, stacklevel=2)
    log_likelihood = model.lower_bound_ * len(X)
    return model, Trial(K, log_likelihood, model.bic(X), _verdict(model, X.shape))


def _verdict(model: Any, shape: tuple[int, int]) -> str:
    """Why the likelihood of a fit should not be believed, if so.

    A covariance of its own fits D + 1 points or fewer as closely as the ridge lets it: such a
    component is a spike of the likelihood, and its BIC means nothing.
    """
    from bayesgmm.core import FAMILIES

    N, D = shape
    fewest = model.weights_.min() * N
    if model.n_components == 1 or FAMILIES[model.covariance_type].pooled or fewest > D + 1:
        return ""
    return f"out: a cluster of {fewest:.1f} points"


def _assignments(model: Any, X: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    names = [f"probability_{k}" for k in range(model.n_components_)]
    labels = pd.Series(model.labels_, name="label", index=X.index)
    probabilities = pd.DataFrame(model.predict_proba(X), columns=names, index=X.index)
    return pd.concat([labels, probabilities, model.uncertainty(X)], axis=1)


# ---- what is printed ----------------------------------------------------------------------------


def _report(fitted: Fitted) -> Iterator[str]:
    """The paragraphs of the report."""
    yield _heading(fitted)
    if fitted.trials:
        yield _trials(fitted)
    yield _clusters(fitted)
    if fitted.model.n_components_ > 1:
        yield _least_certain(fitted)


def _heading(fitted: Fitted) -> str:
    model, (N, D) = fitted.model, fitted.X.shape
    points = f"{_count(N, 'point')}, {_count(D, 'feature')}: {', '.join(fitted.X.columns)}"
    ended = "converged" if model.converged_ else "NOT converged"
    return "\n".join(
        [
            fill(f"{fitted.name}: {points}", WIDTH, subsequent_indent="  "),
            f"Gaussian mixture of {_count(model.n_components_, 'component')}, "
            f"{model.covariance_type} covariance, fitted by EM",
            f"log likelihood {model.lower_bound_ * N:.3f}, BIC {model.bic(fitted.X):.3f}, "
            f"{ended} in {_count(model.n_iter_, 'iteration')}",
        ]
    )


def _trials(fitted: Fitted) -> str:
    rows = [["components", "log likelihood", "BIC"]]
    verdicts = [""]
    for trial in fitted.trials:
        numbers = (trial.log_likelihood, trial.bic)
        rows.append([str(trial.n_components), *("-" if x is None else f"{x:.3f}" for x in numbers)])
        kept = trial.n_components == fitted.model.n_components_
        verdicts.append("kept" if kept else trial.verdict)
    lines = _lines(list(zip(*rows, strict=True)))
    lines = [f"{line}  {verdict}".rstrip() for line, verdict in zip(lines, verdicts, strict=True)]
    return "\n".join(["Number of components, by the smallest BIC", *lines])


def _clusters(fitted: Fitted) -> str:
    columns = _cluster_columns(fitted)
    lines = _lines(columns)
    if max(map(len, lines)) > WIDTH:
        lines = _transposed(columns)
    about = (
        "uncertainty: mean over the points of a cluster of 1 - their largest probability; "
        f"doubtful: its points of uncertainty above {DOUBTFUL:g}"
    )
    title = "Clusters (features: mean ± standard deviation of the component)"
    return "\n".join([title, *lines, fill(about, WIDTH)])


def _cluster_columns(fitted: Fitted) -> list[list[str]]:
    """Columns of text, each below its title: one row a cluster."""
    index = range(fitted.model.n_components_)
    doubtful = fitted.assignments["uncertainty"] > DOUBTFUL
    of_points = fitted.assignments.assign(points=1, doubtful=doubtful)
    sums = of_points.groupby("label").aggregate("sum").reindex(index, fill_value=0)
    summary = fitted.model.summary()
    features = [
        [name, *_plus_minus(summary[f"mean({name})"], summary[f"sd({name})"])]
        for name in fitted.X.columns
    ]
    return [
        ["cluster", *map(str, index)],
        ["points", *map(str, sums["points"])],
        ["weight", *(f"{weight:.3f}" for weight in summary["weight"])],
        *features,
        ["uncertainty", *map(_small, sums["uncertainty"] / sums["points"])],
        ["doubtful", *map(str, sums["doubtful"])],
    ]


def _least_certain(fitted: Fitted) -> str:
    found = fitted.assignments
    doubtful = (found["uncertainty"] > DOUBTFUL).sum()
    least = found.sort_values("uncertainty", ascending=False, kind="stable").head(LISTED)
    columns = [["row", *map(str, least.index)], ["uncertainty", *map(_small, least["uncertainty"])]]
    ranked = least.filter(regex=r"^probability_\d+$").to_numpy()
    order = (-ranked).argsort(axis=1, kind="stable")
    for place, title in enumerate(["most probable", "next"]):
        pairs = [(k, p[k]) for k, p in zip(order[:, place], ranked, strict=True)]
        columns.append([title, *(f"{k} ({_small(p)})" for k, p in pairs)])
    title = (
        f"Least certain points ({doubtful} of {len(found)} are doubtful), "
        "clusters with their probabilities"
    )
    return "\n".join([title, *_lines(columns)])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _small(value: float) -> str:
    """A number from 0 to 1 with three decimals; tiny is not zero."""
    if math.isnan(value):
        return "-"
    return "<0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def _plus_minus(means: Sequence[float], deviations: Sequence[float]) -> list[str]:
    """Mean ± deviation, the latter with two significant digits, the former with as many places."""
    cells = [_rounded(*pair) for pair in zip(means, deviations, strict=True)]
    left, right = (max(len(cell[side]) for cell in cells) for side in (0, 1))
    return [f"{mean:>{left}} ± {deviation:<{right}}" for mean, deviation in cells]


def _rounded(mean: float, deviation: float) -> tuple[str, str]:
    largest = max(abs(mean), deviation)
    size, last = (math.floor(math.log10(value)) for value in (largest, deviation))
    if not -4 < size < 7:
        return f"{mean:.{max(size - last + 1, 1)}e}", f"{deviation:.1e}"
    places = max(1 - last, 0)
    return f"{round(mean, places) + 0.0:.{places}f}", f"{deviation:.{places}f}"


def _lines(columns: Sequence[Sequence[str]], stub: bool = False) -> list[str]:
    """Rows of text, columns aligned on the right; the first on the left if it is a stub."""
    padded = []
    for j, column in enumerate(columns):
        width = max(map(len, column))
        pad = str.ljust if stub and j == 0 else str.rjust
        padded.append([pad(cell, width) for cell in column])
    return ["  " + "  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]


def _transposed(columns: list[list[str]]) -> list[str]:
    """One row a feature; as many clusters side by side as there is room for."""
    names, *clusters = zip(*columns, strict=True)
    names = [name if len(name) <= 36 else f"{name[:35]}…" for name in names]
    lines, block = [], []
    for cluster in clusters:
        if block and len(_lines([names, *block, cluster], stub=True)[0]) > WIDTH:
            lines += [*_lines([names, *block], stub=True), ""]
            block = []
        block.append(cluster)
    return lines + _lines([names, *block], stub=True)


# ---- what is written ----------------------------------------------------------------------------


def _write(fitted: Fitted, folder: Path, figures: bool, note: Callable) -> list[str]:
    """The names of the files written to the folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / _PARAMETERS).exists():  # figures of an earlier run must not pass for this one's
        for picture in _PICTURES:
            (folder / picture.file).unlink(missing_ok=True)
    text = json.dumps(_parameters(fitted), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / _PARAMETERS).write_text(text + "\n", encoding="utf-8")
    fitted.assignments.to_csv(folder / _ASSIGNMENTS, index_label="row")
    return [_PARAMETERS, _ASSIGNMENTS, *(_draw(fitted, folder, note) if figures else ())]


_PARAMETERS, _ASSIGNMENTS = "parameters.json", "assignments.csv"


def _parameters(fitted: Fitted) -> dict[str, Any]:
    """What parameters.json holds; floats are written so that they are read back exactly."""
    model = fitted.model
    settings = model.get_params()
    names = ("tol", "reg_covar", "max_iter", "n_init", "init_params")
    return {
        "version": version("bayesgmm"),
        "estimator": type(model).__name__,
        "data": fitted.name,
        "n_samples": len(fitted.X),
        "feature_names": list(fitted.X.columns),
        "n_components": model.n_components_,
        "covariance_type": model.covariance_type,
        "weights": model.weights_.tolist(),
        "means": model.means_.tolist(),
        "covariances": model.covariances_.tolist(),
        "log_likelihood": model.lower_bound_ * len(fitted.X),
        "bic": model.bic(fitted.X),
        "converged": model.converged_,
        "n_iter": model.n_iter_,
        "seed": model.random_state,
        "settings": {name: settings[name] for name in names},
        "tried": [trial._asdict() for trial in fitted.trials],
    }


class _Picture(NamedTuple):
    """A figure: its file, whether D features and K components have it, and who draws it."""

    file: str
    wanted: Callable[[int, int], bool]
    draw: Callable[[Any, Any, Any, "Figure"], Any]  # of plots, model, X and the figure
    size: Callable[[int], tuple[float, float]] = lambda D: (5.0, 3.6)  # in inches


_PICTURES = (
    _Picture(
        "components.png",
        lambda D, K: D == 1,
        lambda plots, model, X, figure: plots.plot_density(model, X, ax=figure.subplots()),
    ),
    _Picture(
        "components.png",
        lambda D, K: D > 1,
        lambda plots, model, X, figure: plots.plot_components(model, X, ax=figure.subplots()),
    ),
    _Picture(
        "uncertainty.png",
        lambda D, K: K > 1,
        lambda plots, model, X, figure: plots.plot_uncertainty(model, X, ax=figure.subplots()),
        lambda D: (5.0, 3.6 if D == 1 else 4.4),
    ),
    _Picture(
        "pairs.png",
        lambda D, K: D > 2,
        lambda plots, model, X, figure: plots.plot_pairs(model, X, **_pairs(X, figure)),
        lambda D: (1.6 + 1.4 * min(D, PAIRED), 1.2 + 1.2 * min(D, PAIRED)),
    ),
    _Picture(
        "objective.png",
        lambda D, K: True,
        lambda plots, model, X, figure: plots.plot_objective(model, ax=figure.subplots()),
    ),
)


def _pairs(X: "pd.DataFrame", figure: "Figure") -> dict[str, Any]:
    F = min(X.shape[1], PAIRED)
    return {"features": range(F), "axes": figure.subplots(F, F)}


def _draw(fitted: Fitted, folder: Path, note: Callable) -> Iterator[str]:
    """Draw and name every figure, without pyplot, so that no display is asked for."""
    from matplotlib.figure import Figure

    from bayesgmm import plots

    D, K = fitted.X.shape[1], fitted.model.n_components_
    if D > PAIRED:
        shown = ", ".join(fitted.X.columns[:PAIRED])
        note(f"pairs.png shows the first {PAIRED} features: {shown}")
    for picture in _PICTURES:
        if picture.wanted(D, K):
            figure = Figure(figsize=picture.size(D), layout="constrained")
            picture.draw(plots, fitted.model, fitted.X, figure)
            figure.savefig(folder / picture.file, dpi=150)
            yield picture.file


if __name__ == "__main__":
    sys.exit(main())
