"""Pictures of a posterior: numbers of clusters, densities, relabelled parameters, evidence."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from bayesgmm.arguments import check_level
from bayesgmm.drawing import (
    COLORS,
    Feature,
    Marginal,
    axes_or_new,
    check_chains,
    check_columns,
    draw_histogram,
    features_chosen,
    legend,
    line,
    log_joint,
    look,
    names_of,
    padded,
)

ERRORS = 2
"""Bars of Monte Carlo errors reach so many standard errors to each side."""

DRAWS = 4000
"""Draws that a band is made of; of more, so many, evenly taken."""

TAIL = 0.003
"""Share of the draws of each cluster that may lie outside the picture at each end."""

GRID = 400
"""Places along the axis at which a density is computed."""

BLOCK = 1 << 22
"""Densities of single components that are computed together."""


# ---- numbers ------------------------------------------------------------------------------------


def plot_n_clusters(posterior: BaseEstimator | pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Posterior of the number of clusters as bars with their errors, the prior beside.

    Parameters
    ----------
    posterior : fitted MCMCGaussianMixture, or DataFrame
        A model's `n_clusters_posterior()` is drawn. A table may be that of
        `n_components_posterior()`, or anyone's: indexed by the number, with a column `probability`,
        and with `mcse` and `prior` if there are such.
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given.

    Returns
    -------
    matplotlib Axes
        Error bars are two Monte Carlo standard errors to each side.

    Raises
    ------
    NotFittedError
        If a model is not fitted.
    ValueError, TypeError
        If a table has no such column or index, or `ax` is no ordinary axes.

    Examples
    --------
    >>> import pandas as pd
    >>> from bayesgmm import plots
    >>> from matplotlib.figure import Figure
    >>> table = pd.DataFrame(
    ...     {"probability": [0.7, 0.3], "mcse": [0.02, 0.02], "prior": [0.5, 0.25]},
    ...     index=pd.Index([2, 3], name="n_clusters"),
    ... )
    >>> plots.plot_n_clusters(table, ax=Figure().subplots()).get_xlabel()
    'number of clusters'
    """
    table = posterior
    if not isinstance(posterior, pd.DataFrame):
        check_chains(posterior, "n_clusters_posterior", "posterior, where it is no DataFrame,")
        table = posterior.n_clusters_posterior()
    numbers, values = _columns(table, "posterior", ("probability",), ("mcse", "prior"))
    ax = axes_or_new(ax)
    beside = "prior" in values
    width = 0.4 if beside else 0.7
    left = numbers - width / 2 if beside else numbers
    ax.bar(left, values["probability"], width, color=COLORS[0])
    handles = [Patch(facecolor=COLORS[0], label="posterior")]
    if "mcse" in values:
        bars = {"fmt": "none", "ecolor": "black", "elinewidth": 1.0, "capsize": 2.5}
        ax.errorbar(left, values["probability"], ERRORS * values["mcse"], **bars)
        handles += [_error_handle("Monte Carlo error (± 2)")]
    if beside:
        open_bars = {"facecolor": "0.9", "edgecolor": "0.45", "linewidth": 0.8}
        ax.bar(numbers + width / 2, values["prior"], width, **open_bars)
        handles += [Patch(**open_bars, label="prior")]
    _number_axis(ax, numbers)
    ax.set_ylim(bottom=0)
    ax.set(xlabel=_named(table.index.name, "number of clusters"), ylabel="probability")
    legend(ax, handles)
    return ax


def _number_axis(ax: Axes, numbers: np.ndarray) -> None:
    """Ticks at whole numbers alone, and room for those at the ends."""
    low, high = numbers.min(), numbers.max()
    ax.set_xlim(low - 0.75, high + 0.75)
    if high - low < 10:
        ax.set_xticks(np.arange(low, high + 1))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _named(name: Any, otherwise: str) -> str:
    """n_clusters as number of clusters."""
    if not isinstance(name, str):
        return otherwise
    return name.replace("n_", "number of ", 1) if name.startswith("n_") else name


def _error_handle(label: str) -> Line2D:
    return Line2D([], [], color="black", linestyle="", marker="|", markersize=9, label=label)


def _columns(
    table: pd.DataFrame, name: str, needed: Sequence[str], also: Sequence[str] = ()
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The index and the columns of a table as numbers."""
    check_columns(table, name, needed)
    if not len(table):
        raise ValueError(f"{name} must have a row for each number, got none.")
    kept = [*needed, *(column for column in also if column in table)]
    try:
        index = np.asarray(table.index, dtype=float)
        values = {column: np.asarray(table[column], dtype=float) for column in kept}
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must hold numbers, indexed by the number of clusters or components; {error}."
        ) from error
    return index, values


def plot_evidence(evidence: Any, *, ax: Axes | None = None) -> Axes:
    """Log evidence over the number of components, with its errors.

    Parameters
    ----------
    evidence : EvidenceOverComponents, Evidence, list of Evidence, DataFrame, or dict of such
        As `log_evidence` and `compare_evidence` give them; a table is indexed by the number of
        components and has the columns `log_evidence` and `standard_error`. A dict has one for each
        method, by name: they are drawn side by side.
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given.

    Returns
    -------
    matplotlib Axes
        Error bars are two standard errors to each side. What is not finite is left out.

    Raises
    ------
    ValueError, TypeError
        If `evidence` is none, or nothing of it is finite, or `ax` is no ordinary axes.

    Examples
    --------
    >>> import pandas as pd
    >>> from bayesgmm import plots
    >>> from matplotlib.figure import Figure
    >>> index = pd.Index([1, 2, 3], name="n_components")
    >>> columns = {"log_evidence": [-240.1, -231.0, -226.8], "standard_error": [0.0, 0.05, 0.1]}
    >>> table = pd.DataFrame(columns, index=index)
    >>> plots.plot_evidence(table, ax=Figure().subplots()).get_ylabel()
    'log evidence (nats)'
    """
    named = isinstance(evidence, Mapping)
    given = dict(evidence) if named else {"log evidence": evidence}
    if not given:
        raise ValueError("evidence must hold at least one method, got an empty dict.")
    tables = {name: _evidence_table(one) for name, one in given.items()}
    series = [
        _columns(table, "evidence", ("log_evidence", "standard_error")) for table in tables.values()
    ]
    if not any(np.isfinite(values["log_evidence"]).any() for _, values in series):
        raise ValueError("evidence must hold a finite log_evidence, found none.")
    ax = axes_or_new(ax)
    apart = 0.12 * (np.arange(len(series)) - (len(series) - 1) / 2)
    for k, (numbers, values) in enumerate(series):
        shown = np.isfinite(values["log_evidence"]) & np.isfinite(values["standard_error"])
        at, height = numbers[shown] + apart[k], values["log_evidence"][shown]
        style = {**look(k), "markersize": 5, "linewidth": 1.0, "capsize": 3, "elinewidth": 1.2}
        ax.errorbar(at, height, ERRORS * values["standard_error"][shown], **style)
    _number_axis(ax, np.concatenate([numbers for numbers, _ in series]))
    ax.ticklabel_format(axis="y", useOffset=False)
    index = next(iter(tables.values())).index.name
    ax.set(xlabel=_named(index, "number of components"), ylabel="log evidence (nats)")
    points = [Line2D([], [], **look(k), markersize=5, label=name) for k, name in enumerate(tables)]
    legend(ax, [*(points if named else []), _error_handle("standard error (± 2)")])
    return ax


def _evidence_table(found: Any) -> pd.DataFrame:
    if isinstance(found, pd.DataFrame):
        return found
    if hasattr(found, "table"):
        return found.table()
    parts = ("n_components", "log_evidence", "standard_error")
    several = list(found) if isinstance(found, Sequence) and not isinstance(found, str) else [found]
    if not several or not all(hasattr(one, part) for one in several for part in parts):
        raise TypeError(
            "evidence must be what log_evidence or compare_evidence gives, a list of such for "
            "several numbers of components, or a DataFrame of log_evidence and standard_error; got "
            f"{type(found).__name__}."
        )
    rows = [[getattr(one, part) for part in parts] for one in several]
    return pd.DataFrame(rows, columns=list(parts)).set_index("n_components").sort_index()


# ---- densities ----------------------------------------------------------------------------------


def plot_predictive(
    model: BaseEstimator,
    X: ArrayLike | pd.DataFrame | None = None,
    *,
    feature: Feature = 0,
    level: float = 0.9,
    ax: Axes | None = None,
) -> Axes:
    """Posterior predictive density of one feature, with a band over the draws.

    The curve is the mean over the draws of the density of the feature; the band holds, place by
    place, the middle `level` of their densities.

    Parameters
    ----------
    model : fitted MCMCGaussianMixture
    X : array or DataFrame [N, D], optional
        Points to draw as a histogram, with all the features of the fit.
    feature : index or name, default 0
    level : float in (0, 1), default 0.9
        Credibility of the band.
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given.

    Returns
    -------
    matplotlib Axes
        Of more than 4,000 draws so many are taken, evenly.

    Raises
    ------
    NotFittedError
        If `model` is not fitted.
    ValueError
        If there is no such feature, `level` is not between 0 and 1, or `X` does not fit the model.
    TypeError
        If `model` holds no chains, or `ax` is no ordinary axes.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import MCMCGaussianMixture, plots
    >>> from matplotlib.figure import Figure
    >>> X = np.random.default_rng(0).normal(size=(40, 1))
    >>> model = MCMCGaussianMixture(1, n_samples=500, random_state=0).fit(X)
    >>> plots.plot_predictive(model, X, ax=Figure().subplots()).get_ylabel()
    'density'
    """
    check_chains(model, "mixtures")
    D = int(model.n_features_in_)
    fitted = getattr(model, "feature_names_in_", None)
    names = names_of(X, D) if fitted is None else [str(name) for name in fitted]
    (chosen,) = features_chosen(feature, names, range(1, 2), "feature")
    check_level(level)
    values = None if X is None else _column(X, names, chosen)
    ax = axes_or_new(ax)
    weights, means, deviations = _of_one_feature(model.mixtures(), chosen)
    x = _grid(weights, means, deviations, values)
    densities = _densities(weights, means, deviations, x)
    low, high = np.quantile(densities, [(1 - level) / 2, (1 + level) / 2], axis=0)
    handles = [Line2D([], [], color="black", linewidth=1.4, label="predictive density")]
    handles += [Patch(facecolor=COLORS[0], alpha=0.35, label=f"{100 * level:g} % of the draws")]
    if values is not None:
        draw_histogram(ax, values)
        handles += [Patch(facecolor="0.88", label="points")]
    ax.fill_between(x, low, high, color=COLORS[0], alpha=0.35, linewidth=0, zorder=2)
    ax.plot(x, densities.mean(0), color="black", linewidth=1.4, zorder=3)
    ax.set_ylim(bottom=0)
    ax.set(xlabel=names[chosen], ylabel="density")
    legend(ax, handles)
    return ax


def _column(X: Any, names: list[str], chosen: int) -> np.ndarray:
    """One feature of the points [N, D]."""
    found, D = np.asarray(X, dtype=float), len(names)
    if found.ndim != 2 or found.shape[1] != D or not len(found) or not np.isfinite(found).all():
        raise ValueError(
            f"X must be finite points with the features of the fit, [N, {D}]; got shape "
            f"{found.shape}."
        )
    own = names_of(X, D)
    if own != names and own != names_of(None, D):
        raise ValueError(f"X must have the columns of the fit, {names}; got {own}.")
    return found[:, chosen]


def _of_one_feature(mixtures: Any, j: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and deviations [S, T] of the components of some draws, over one feature."""
    log_weights, means, scales = (np.asarray(leaf, dtype=float) for leaf in mixtures)
    T = log_weights.shape[-1]
    deviations = np.linalg.norm(scales[..., j, :], axis=-1)
    parts = [part.reshape(-1, T) for part in (np.exp(log_weights), means[..., j], deviations)]
    S = len(parts[0])
    rows = np.linspace(0, S - 1, min(S, DRAWS)).round().astype(int)
    return tuple(part[rows] for part in parts)


def _grid(
    weights: np.ndarray, means: np.ndarray, deviations: np.ndarray, values: np.ndarray | None
) -> np.ndarray:
    """Even places over the points and all but a thousandth of each tail of what is predicted."""
    present = weights > 0
    share = weights[present] / weights.sum()
    away = np.outer([-1, 0, 1], 2.5 * deviations[present])  # three places for each component
    places = (means[present] + away).ravel()
    order = np.argsort(places)
    held = np.cumsum(np.tile(share / 3, 3)[order])
    ends = places[order][np.searchsorted(held, [2e-3, 1 - 2e-3]).clip(max=len(places) - 1)]
    ends = ends if values is None else np.append(ends, values)
    return np.linspace(*padded(ends.min(), ends.max()), GRID)


def _densities(
    weights: np.ndarray, means: np.ndarray, deviations: np.ndarray, x: np.ndarray
) -> np.ndarray:
    """Density of each draw at places [G] of one feature, [S, G]."""
    S, T = weights.shape
    step = max(1, BLOCK // (T * len(x)))
    found = np.empty((S, len(x)))
    for start in range(0, S, step):
        rows = slice(start, start + step)
        present = weights[rows] > 0
        which, _ = np.nonzero(present)
        parts = [part[rows][present] for part in (weights, means, deviations)]
        components = Marginal(which, parts[0], parts[1][:, None], parts[2][:, None, None])
        joint = np.exp(log_joint(components, x[:, None]))
        found[rows] = np.add.reduceat(joint, np.flatnonzero(np.diff(which, prepend=-1)), axis=0)
    return found


def plot_relabelled(
    posterior: Any,
    variable: str = "means",
    *,
    feature: Feature | Sequence[Feature] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Densities of the relabelled draws of a parameter, one for each cluster.

    Parameters
    ----------
    posterior : DataTree with a group `relabelled`, or that group
        As `relabel` gives it.
    variable : str, default "means"
        A variable [chain, draw, cluster, ...] of the group; "weights", "means" and "covariances"
        stand for what the posterior calls them.
    feature : index or name, or two, optional
        Of a variable with one dimension of features, which of them; of one with two, as
        covariances, an entry, or one feature for its variance. The first when not given; without
        effect where there are none.
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given.

    Returns
    -------
    matplotlib Axes
        Each density has area one; a cluster at one value alone is a vertical line. The picture
        holds all but 0.3 % of each end of every cluster. Clusters have the numbers that `relabel`
        gave them, from the largest weight down: others than in a partition.

    Raises
    ------
    ValueError
        If there is no group `relabelled`, no such variable with a dimension `cluster`, or no such
        feature.
    TypeError
        If `posterior` is no DataTree, or `ax` is no ordinary axes.

    Notes
    -----
    Kernel density estimates of ArviZ, which end where the draws do.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import plots
    >>> from bayesgmm.posterior.relabel import relabel
    >>> from matplotlib.figure import Figure
    >>> rng = np.random.default_rng(0)
    >>> draws = {
    ...     "weights": np.full((2, 50, 2), 0.5),
    ...     "means": np.array([[[-4.0, 4.0]], [[4.0, -4.0]]]) + rng.normal(0, 0.1, (2, 50, 2)),
    ...     "labels": np.array([[[0, 0, 1, 1]], [[1, 1, 0, 0]]]).repeat(50, axis=1),
    ... }
    >>> ax = plots.plot_relabelled(relabel(draws), ax=Figure().subplots())
    >>> len(ax.get_lines())
    2
    """
    dataset = _relabelled(posterior)
    name = dataset.attrs.get(variable, variable)
    able = [key for key, values in dataset.data_vars.items() if _is_clustered(values)]
    if name not in able:
        raise ValueError(
            f"variable must be one of {', '.join(map(repr, able))}, the variables of the group "
            f"relabelled that clusters have; got {variable!r}."
        )
    draws, title = _entry(dataset[name], feature)
    ax = axes_or_new(ax)
    clusters = dataset["cluster"].values if "cluster" in dataset.coords else range(draws.shape[-1])
    for k, values in enumerate(np.moveaxis(draws, -1, 0)):
        _draw_density(ax, values.ravel(), k)
    ends = np.quantile(draws, [TAIL, 1 - TAIL], axis=(0, 1))
    if np.ptp(ends) > 0:
        ax.set_xlim(*padded(ends.min(), ends.max()))
    ax.set_ylim(bottom=0)
    ax.set(xlabel=title, ylabel="density")
    handles = [Line2D([], [], **line(k), label=str(own)) for k, own in enumerate(clusters)]
    legend(ax, handles, title="cluster")
    return ax


def _relabelled(posterior: Any) -> Any:
    """The group relabelled as a Dataset."""
    children = getattr(posterior, "children", {})
    group = posterior["relabelled"] if "relabelled" in children else posterior
    if not hasattr(group, "data_vars"):
        raise TypeError(
            f"posterior must be a DataTree with a group relabelled, got {type(group).__name__}. "
            "relabel(posterior) gives one."
        )
    if not any(_is_clustered(values) for values in group.data_vars.values()):
        groups = ", ".join(children) or "none"
        raise ValueError(
            f"posterior must have a group relabelled, found groups: {groups}. relabel(posterior) "
            "gives one."
        )
    return group


def _is_clustered(values: Any) -> bool:
    return values.dims[:3] == ("chain", "draw", "cluster")


def _entry(variable: Any, feature: Any) -> tuple[np.ndarray, str]:
    """Draws [C, S, K] of one entry of a variable, and what it is called."""
    dims = variable.dims[3:]
    if not dims:
        if feature is not None:
            raise ValueError(f"feature must be left out for {variable.name!r}, which has none.")
        return variable.values, variable.name
    names = [_names_along(variable, dim) for dim in dims]
    given = 0 if feature is None else feature
    alone = isinstance(given, str) or not isinstance(given, Sequence)
    given = [given] * len(dims) if alone else list(given)
    if len(given) != len(dims):
        raise ValueError(
            f"feature must be one, or one for each of {', '.join(map(str, dims))} of "
            f"{variable.name!r}; got {feature!r}."
        )
    places = [
        features_chosen(one, own, range(1, 2), "feature")[0]
        for one, own in zip(given, names, strict=True)
    ]
    called = ", ".join(dict.fromkeys(own[i] for own, i in zip(names, places, strict=True)))
    return variable.values[(..., *places)], f"{variable.name} ({called})"


def _names_along(variable: Any, dim: Any) -> list[str]:
    if dim in variable.coords:
        return [str(value) for value in variable[dim].values]
    return [f"x{j}" for j in range(variable.sizes[dim])]


def _draw_density(ax: Axes, values: np.ndarray, k: int) -> None:
    from arviz_stats.base import array_stats

    if np.ptp(values) == 0:
        ax.axvline(values[0], **line(k), linewidth=1.4)
        return
    x, density, _ = array_stats.kde(values)
    ax.plot(x, density, **line(k), linewidth=1.4)
    ax.fill_between(x, density, color=line(k)["color"], alpha=0.15, linewidth=0)
