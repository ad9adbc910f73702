"""A fitted mixture in words and tables, as a terminal shows them."""

import math
from collections.abc import Iterator, Sequence
from numbers import Integral
from textwrap import fill
from typing import TYPE_CHECKING, Any

from bayesgmm.fitting import MEASURES, METHODS, Fitted
from bayesgmm.messages import count

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DOUBTFUL", "LISTED", "WIDTH", "heading", "report", "small", "titled"]

WIDTH = 80
"""Columns of the terminal that results are laid out for."""

DOUBTFUL = 0.1
"""A point is called doubtful when its uncertainty, 1 - largest probability, is above this."""

LISTED = 5
"""So many of the least certain points are printed."""


def report(fitted: Fitted) -> Iterator[str]:
    """The paragraphs of the report."""
    yield _heading(fitted)
    if fitted.trials:
        yield _trials(fitted)
    for title, table in fitted.tables.values():
        yield titled(title, table)
    yield _clusters(fitted)
    if fitted.model.n_components_ > 1:
        yield _least_certain(fitted)


def heading(name: str, X: "pd.DataFrame") -> list[str]:
    """Lines that say what the data are; that features are standardised is in their names."""
    N, D = X.shape
    points = f"{count(N, 'point')}, {count(D, 'feature')}: {', '.join(X.columns)}"
    return fill(f"{name}: {points}", WIDTH, subsequent_indent="  ").splitlines()


def _heading(fitted: Fitted) -> str:
    model = fitted.model
    ended = "converged" if model.converged_ else "NOT converged"
    method = METHODS[fitted.method]
    measures = fitted.measures
    judged = ", ".join(
        f"{words} {measures[name]:.3f}" for name, words in MEASURES.items() if name in measures
    )
    return "\n".join(
        [
            *heading(fitted.name, fitted.X),
            fill(_fitted_by(model, method.words), WIDTH, subsequent_indent="  "),
            f"{judged}, {ended} in {count(model.n_iter_, 'iteration')}",
            *([_evidence(measures["evidence"])] if "evidence" in measures else []),
        ]
    )


def _fitted_by(model: Any, words: str) -> str:
    components = count(model.n_components_, "component")
    return (
        f"Gaussian mixture of {components}, {model.covariance_type} covariance, fitted by {words}"
    )


def _evidence(found: dict[str, Any]) -> str:
    """The log evidence and how far it can be relied on."""
    from bayesgmm.estimators.tables import trust

    error = f"standard error {found['standard_error']:.3f}, {count(found['n_draws'], 'draw')}"
    khat = f"Pareto k-hat {trust(found['khat'])}"
    text = f"log evidence {found['log_evidence']:.3f} by importance sampling ({error}; {khat})"
    return fill(text, WIDTH, subsequent_indent="  ")


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
    if "singular" in verdicts:
        lines.append(fill(SINGULAR.format(fitted.X.shape[1] + 1), WIDTH))
    return "\n".join(["Number of components, by the smallest BIC", *lines])


SINGULAR = (
    "singular: a component collapses, or holds no more than {} points, which a covariance of its "
    "own fits as closely as the ridge lets it; such a BIC means nothing"
)


def titled(title: str, table: "pd.DataFrame") -> str:
    """A table under its title, numbers to three digits."""
    columns = [[table.index.name or "", *map(str, table.index)]]
    for name, values in table.items():
        columns.append([str(name), *(v if isinstance(v, str) else _digits(v) for v in values)])
    return "\n".join([title, *_lines(columns)])


def _digits(value: float) -> str:
    if isinstance(value, Integral):
        return str(value)
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < LONG else f"{value:.0f}"


LONG = 1000
"""Numbers as large as this have no decimals in a table."""


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
        ["uncertainty", *map(small, sums["uncertainty"] / sums["points"])],
        ["doubtful", *map(str, sums["doubtful"])],
    ]


def _least_certain(fitted: Fitted) -> str:
    found = fitted.assignments
    doubtful = (found["uncertainty"] > DOUBTFUL).sum()
    least = found.sort_values("uncertainty", ascending=False, kind="stable").head(LISTED)
    name = least.index.name or "row"
    columns = [
        [str(name), *map(str, least.index)],
        ["uncertainty", *map(small, least["uncertainty"])],
    ]
    ranked = least.filter(regex=r"^probability_\d+$").to_numpy()
    order = (-ranked).argsort(axis=1, kind="stable")
    for place, title in enumerate(["most probable", "next"]):
        pairs = [(k, p[k]) for k, p in zip(order[:, place], ranked, strict=True)]
        columns.append([title, *(f"{k} ({small(p)})" for k, p in pairs)])
    title = (
        f"Least certain points ({doubtful} of {len(found)} doubtful), "
        "clusters with their probabilities"
    )
    return "\n".join([title, *_lines(columns)])


def small(value: float) -> str:
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
