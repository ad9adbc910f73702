"""Pictures of a mixture and of a posterior: each takes `ax`, returns `ax` (but for calibration).

Those of a mixture read fitted attributes only, so every estimator of the package can be drawn by
each of them. Those of a posterior take draws, anyone's, or what the functions of `posterior` found
in them: a partition, a credible ball, a table. With ``ax=None`` a function makes a figure of its
own, of a size for print and with constrained layout. No style is set and nothing is shown: call
``matplotlib.pyplot.show()`` or ``ax.figure.savefig(...)``. Legends stand beside the axes, where
they cover no data: give a figure of your own ``layout="constrained"``, too, and it makes room for
them.

Component `k`, the label `k` of `predict`, has the same colour, marker and line in every plot; of a
partition it is the cluster at place `k` of its labels in increasing order. The colours are those of
M. Okabe and K. Ito, "Color Universal Design" (2008), which readers with any colour vision tell
apart. An absent component (log weight -inf) is not drawn.
"""

import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from bayesgmm import drawing
from bayesgmm.drawing import (
    COLORS,
    Feature,
    Marginal,
    axes_array,
    axes_or_new,
    check_chains,
    check_model,
    color_bar,
    draw_histogram,
    draw_points,
    features_chosen,
    legend,
    line,
    log_joint,
    look,
    names_of,
    padded,
)
from bayesgmm.merging_plots import plot_merging
from bayesgmm.partition_plots import plot_assignments, plot_credible_ball, plot_similarity
from bayesgmm.posterior_plots import (
    plot_evidence,
    plot_n_clusters,
    plot_predictive,
    plot_relabelled,
)
from bayesgmm.selection_plots import plot_selection

__all__ = [
    "plot_assignments",
    "plot_calibration",
    "plot_components",
    "plot_credible_ball",
    "plot_density",
    "plot_evidence",
    "plot_merging",
    "plot_n_clusters",
    "plot_objective",
    "plot_pairs",
    "plot_predictive",
    "plot_relabelled",
    "plot_selection",
    "plot_similarity",
    "plot_trace",
    "plot_uncertainty",
]

_PLANE = LinearSegmentedColormap.from_list("plane", ["white", "0.45"])
_UNCERTAINTY = "uncertainty (1 − largest probability)"


def plot_components(
    model: BaseEstimator,
    X: ArrayLike | pd.DataFrame | None = None,
    *,
    features: Sequence[Feature] = (0, 1),
    radius: float | Sequence[float] = 2.0,
    support: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Ellipses of the components over two features, points by most probable component.

    Parameters
    ----------
    model : fitted estimator
    X : array or DataFrame [N, D], optional
        Points to draw, with all the features of the fit.
    features : two indices or names, default (0, 1)
        Horizontal and vertical axis. The ellipses are those of the marginal mixture of the two.
    radius : float or floats, default 2.0
        Mahalanobis radius of the ellipses. Radius r holds 1 - exp(-r^2 / 2) of a component:
        39 % for 1, 86 % for 2.
    support : array [N] of bool, optional
        Which points a trimmed fit has kept, its `support_`: the others are drawn as crosses.
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    NotFittedError
        If `model` is not fitted.
    ValueError
        If `features`, `radius` or `support` is not as above, or `X` does not fit the model.
    TypeError
        If `model` is no estimator of the package, or `ax` is no ordinary axes.

    Examples
    --------
    >>> from bayesgmm import GaussianMixture, datasets, plots
    >>> from matplotlib.figure import Figure
    >>> X, _ = datasets.load_faithful()
    >>> model = GaussianMixture(2, random_state=0).fit(X)
    >>> ax = plots.plot_components(model, X, radius=(1, 2), ax=Figure().subplots())
    >>> ax.get_ylabel()
    'waiting'
    """
    view = _enter(model, X)
    pair = features_chosen(features, view.names, range(2, 3))
    radii = _numbers("radius", radius, 0, math.inf)
    kept = _kept(support, view)
    ax = axes_or_new(ax)
    marginal = _marginal(model, pair)
    if view.points is not None:
        draw_points(ax, view.points[kept][:, pair], view.labels[kept])
        _draw_left_out(ax, view.points[~kept][:, pair])
    _draw_ellipses(ax, marginal, radii)
    _name_axes(ax, view, pair)
    left_out = _left_out_handles(kept)
    _legend_components(ax, marginal, points=view.points is not None, after=left_out)
    return ax


def plot_pairs(
    model: BaseEstimator,
    X: ArrayLike | pd.DataFrame,
    *,
    features: Sequence[Feature] | None = None,
    radius: float | Sequence[float] = 2.0,
    support: ArrayLike | None = None,
    axes: np.ndarray | None = None,
) -> np.ndarray:
    """Every pair of features: points and ellipses; on the diagonal the marginal densities.

    Parameters
    ----------
    model : fitted estimator
    X : array or DataFrame [N, D]
    features : two or more indices or names, optional
        F features in the order drawn. All D when not given, which is refused for more than 10.
    radius : float or floats, default 2.0
        Mahalanobis radius of the ellipses.
    support : array [N] of bool, optional
        Which points a trimmed fit has kept, its `support_`: the others are drawn as crosses,
        and are in no histogram.
    axes : array of matplotlib Axes [F, F], optional
        Where to draw; a new figure when not given. Those above the diagonal are switched off.

    Returns
    -------
    array of matplotlib Axes [F, F]

    Raises
    ------
    NotFittedError, ValueError, TypeError
        As in `plot_components`; ValueError too if `axes` is not [F, F].

    Examples
    --------
    >>> from bayesgmm import GaussianMixture, datasets, plots
    >>> from matplotlib.figure import Figure
    >>> X, _ = datasets.load_iris()
    >>> model = GaussianMixture(3, random_state=0).fit(X)
    >>> axes = Figure(layout="constrained").subplots(3, 3)
    >>> plots.plot_pairs(model, X, features=[0, 2, 3], axes=axes).shape
    (3, 3)
    """
    view = _enter(model, X, required=True)
    D = len(view.names)
    if features is None and D > 10:
        raise ValueError(
            f"features must be given for more than 10 features, got None for {D}. "
            "Name those to draw, e.g. features=[0, 1, 2]."
        )
    chosen = features_chosen(
        range(D) if features is None else features, view.names, range(2, max(D, 2) + 1)
    )
    radii = _numbers("radius", radius, 0, math.inf)
    kept = _kept(support, view)
    points, labels, left_out = view.points[kept], view.labels[kept], view.points[~kept]
    axes = _square(axes, len(chosen))
    for row, i in enumerate(chosen):
        for ax, j in zip(axes[row, :row], chosen, strict=False):
            draw_points(ax, points[:, [j, i]], labels, 0.6)
            _draw_left_out(ax, left_out[:, [j, i]])
            _draw_ellipses(ax, _marginal(model, [j, i]), radii)
        draw_histogram(axes[row, row], points[:, i])
        _draw_curves(axes[row, row], _marginal(model, [i]), view.points[:, i])
        for ax in axes[row, row + 1 :]:
            ax.set_axis_off()
    marginal = _marginal(model, chosen)
    _align(axes, [_span(marginal, f, view.points[:, j], 2.5) for f, j in enumerate(chosen)])
    _name_outer(axes, [view.names[j] for j in chosen])
    after = _left_out_handles(kept)
    _legend_components(axes[0, 1], marginal, points=True, after=after, anchor=(0, 1))
    return axes


def plot_density(
    model: BaseEstimator,
    X: ArrayLike | pd.DataFrame | None = None,
    *,
    features: Feature | Sequence[Feature] | None = None,
    masses: Sequence[float] = (0.5, 0.8, 0.95),
    ax: Axes | None = None,
) -> Axes:
    """Density of `mixture_`: a curve with its components over one feature, contours over two.

    The contours bound the regions of highest density that hold the stated mass of the (marginal)
    mixture: their levels are quantiles of the density at points of the mixture [1]_, here spread
    evenly over every component.

    Parameters
    ----------
    model : fitted estimator
    X : array or DataFrame [N, D], optional
        Points to draw: a rug under a curve, by most probable component; dots over contours.
    features : one or two indices or names, optional
        The first two when not given (the only one of D = 1).
    masses : floats between 0 and 1, default (0.5, 0.8, 0.95)
        Mass inside each contour; without effect on a curve.
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    NotFittedError, ValueError, TypeError
        As in `plot_components`; ValueError too if `masses` are not between 0 and 1.

    References
    ----------
    .. [1] R. J. Hyndman, "Computing and graphing highest density regions", The American
       Statistician 50 (1996), 120-126.

    Examples
    --------
    >>> from bayesgmm import GaussianMixture, datasets, plots
    >>> from matplotlib.figure import Figure
    >>> X, _ = datasets.load_galaxies()
    >>> model = GaussianMixture(4, random_state=0).fit(X)
    >>> plots.plot_density(model, X, ax=Figure().subplots()).get_ylabel()
    'density'
    """
    view = _enter(model, X)
    first = range(min(2, len(view.names)))
    chosen = features_chosen(first if features is None else features, view.names, range(1, 3))
    masses = np.sort(_numbers("masses", masses, 0, 1))[::-1]
    ax = axes_or_new(ax)
    marginal = _marginal(model, chosen)
    points = None if view.points is None else view.points[:, chosen]
    if len(chosen) == 2:
        _draw_contours(ax, marginal, masses)
        if points is not None:
            _draw_dots(ax, points)
    else:
        _draw_curves(ax, marginal, points)
        if points is not None:
            _draw_rug(ax, points[:, 0], view.labels)
        _legend_components(ax, marginal, after=[Line2D([], [], color="black", label="mixture")])
    _name_axes(ax, view, chosen, "density")
    return ax


def plot_uncertainty(
    model: BaseEstimator,
    X: ArrayLike | pd.DataFrame,
    *,
    features: Sequence[Feature] = (0, 1),
    n_ringed: int = 10,
    ax: Axes | None = None,
) -> Axes:
    """Map where the assignment to components is uncertain: 1 - largest probability.

    For D = 2 the plane is shaded by the uncertainty a point would have there, and the points,
    coloured by most probable component, grow with theirs. For D > 2 two features do not fix the
    uncertainty, so only the points carry it, by size and shade. For D = 1 the probabilities are
    curves, and the points lie on the uncertainty.

    Parameters
    ----------
    model : fitted estimator
    X : array or DataFrame [N, D]
    features : two indices or names, default (0, 1)
        Horizontal and vertical axis; without effect for D = 1.
    n_ringed : int, default 10
        Ring so many points of largest uncertainty (none below 0.01).
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given. A colour bar takes room from it if D > 1.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    NotFittedError, ValueError, TypeError
        As in `plot_components`; ValueError too if `n_ringed` is no integer of at least 0.

    Examples
    --------
    >>> from bayesgmm import GaussianMixture, datasets, plots
    >>> from matplotlib.figure import Figure
    >>> X, _ = datasets.load_faithful()
    >>> model = GaussianMixture(2, random_state=0).fit(X)
    >>> plots.plot_uncertainty(model, X, ax=Figure().subplots()).get_xlabel()
    'eruptions'
    """
    view = _enter(model, X, required=True)
    D = len(view.names)
    chosen = [0] if D == 1 else features_chosen(features, view.names, range(2, 3))
    if not isinstance(n_ringed, numbers.Integral) or n_ringed < 0:
        raise ValueError(f"n_ringed must be an integer of at least 0, got {n_ringed!r}.")
    ax = axes_or_new(ax, height=3.6 if D == 1 else 4.4)
    found = _uncertainty(model, view.points)
    at = np.column_stack([view.points[:, chosen], found])[:, :2]  # [N, 2]
    draw = {1: _draw_probabilities, 2: _draw_plane}.get(D, _draw_shaded)
    extra = draw(ax, model, view, chosen, found)
    ringed = np.argsort(-found, kind="stable")[:n_ringed]
    ringed = ringed[found[ringed] >= 0.01]
    if ringed.size:
        style = {"s": 60, "facecolors": "none", "edgecolors": "black", "linewidths": 1.0}
        extra += [ax.scatter(*at[ringed].T, **style, zorder=4, label="most uncertain")]
    _name_axes(ax, view, chosen, "probability")
    _legend_components(ax, _marginal(model, chosen), points=D > 1, lines=D == 1, after=extra)
    return ax


def plot_objective(model: BaseEstimator, *, ax: Axes | None = None) -> Axes:
    """Objective per iteration for every restart, the kept one emphasised.

    These are `restart_lower_bounds_` and, among them, `best_restart_`. First iterations far below
    all the rest are left outside the picture where they would flatten it.

    Parameters
    ----------
    model : fitted estimator
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    NotFittedError
        If `model` is not fitted.
    ValueError
        If `model` holds no iteration.
    TypeError
        If `model` is no estimator of the package, or `ax` is no ordinary axes.

    Examples
    --------
    >>> from bayesgmm import GaussianMixture, datasets, plots
    >>> from matplotlib.figure import Figure
    >>> X, _ = datasets.load_faithful()
    >>> model = GaussianMixture(2, init_params="kmeans", n_init=3, random_state=0).fit(X)
    >>> len(plots.plot_objective(model, ax=Figure().subplots()).get_lines())
    3
    """
    check_model(model)
    runs = [np.asarray(run, dtype=float) for run in getattr(model, "restart_lower_bounds_", ())]
    if not any(run.size for run in runs):
        raise ValueError(
            "model must hold the objective of at least one iteration, found none. "
            "Fit it to data, with max_iter of at least 1."
        )
    ax = axes_or_new(ax)
    kept = int(model.best_restart_)
    for r, run in enumerate(runs):
        _draw_run(ax, run, kept=r == kept)
    _crop(ax, [run for run in runs if run.size])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.ticklabel_format(axis="y", useOffset=False)
    ax.set(xlabel="iteration", ylabel="objective (lower bound)")
    handles = [Line2D([], [], **_run_style(True), label=f"restart {kept}, kept")]
    if len(runs) > 1:
        handles += [Line2D([], [], **_run_style(False), label="other restarts")]
    legend(ax, handles)
    return ax


def plot_trace(
    model: BaseEstimator, quantity: str = "log_likelihood", *, ax: Axes | None = None
) -> Axes:
    """A quantity at every draw of every chain: whether the chains went over the same values.

    ArviZ has the other pictures of convergence, and takes the draws as they are. With ``moving =
    list(model.diagnose().query("verdict != 'constant'").index)``, the quantities that vary,
    ``arviz_plots.plot_rank(model.posterior_, var_names=moving)`` compares the ranks of the chains
    with what is uniform; ``plot_trace_dist``, ``plot_ess`` and ``plot_autocorr`` are called alike.

    Parameters
    ----------
    model : fitted MCMCGaussianMixture
    quantity : str, default "log_likelihood"
        One of the rows of ``model.diagnose()``: such as do not depend on labels.
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    NotFittedError
        If `model` is not fitted.
    ValueError
        If there is no such quantity.
    TypeError
        If `model` holds no chains, or `ax` is no ordinary axes.

    Examples
    --------
    >>> from bayesgmm import MCMCGaussianMixture, datasets, plots
    >>> from matplotlib.figure import Figure
    >>> X, _ = datasets.load_faithful()
    >>> model = MCMCGaussianMixture(2, random_state=0).fit(X)
    >>> len(plots.plot_trace(model, ax=Figure().subplots()).get_lines())
    4
    """
    check_chains(model, "quantities")
    known = model.quantities()
    if quantity not in known:
        raise ValueError(f"quantity must be one of {', '.join(known)}; got {quantity!r}.")
    ax = axes_or_new(ax)
    for c, chain in enumerate(known[quantity]):
        style = {"color": COLORS[c % len(COLORS)], "linewidth": 0.6, "alpha": 0.7}
        ax.plot(np.arange(1, len(chain) + 1), chain, label=f"chain {c}", **style)
    ax.set(xlabel="draw", ylabel=quantity.replace("_", " "))
    ax.ticklabel_format(axis="y", useOffset=False)
    colors = [COLORS[c % len(COLORS)] for c in range(len(known[quantity]))]
    legend(ax, [Line2D([], [], color=own, label=f"chain {c}") for c, own in enumerate(colors)])
    return ax


# ---- what the plots read ------------------------------------------------------------------------


class _View(NamedTuple):
    names: list[str]  # of all D features
    points: np.ndarray | None  # [N, D]
    labels: np.ndarray | None  # [N]


def plot_calibration(bands: dict[str, Any], *, figure: Figure | None = None) -> Figure:
    """Distribution functions of calibration ranks less the uniform one, one panel a quantity.

    Parameters
    ----------
    bands : dict from the name of a quantity to posterior.uniformity.Band
        `bayesgmm.calibrate(...).plot()` makes them.
    figure : matplotlib Figure, optional
        An empty one to draw on, whose size is set; a new one when not given.

    Returns
    -------
    matplotlib Figure
        A curve that leaves its grey band is drawn in another colour, and thicker: that quantity
        is not calibrated. Above the line at the left: the truth is often among the smallest draws.
    """
    columns = min(4, len(bands))
    rows = -(-len(bands) // columns)
    figure = plt.figure(layout="constrained") if figure is None else figure
    figure.set_size_inches(2.3 * columns, 1.7 * rows + 0.3)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for ax, (name, band) in zip(axes.flat, bands.items(), strict=False):
        ax.fill_between(band.points, band.lower, band.upper, color="0.85", linewidth=0)
        ax.axhline(0.0, color="0.5", linewidth=0.8)
        color, width = (COLORS[0], 1.2) if band.inside else (COLORS[1], 2.0)
        ax.plot(band.points, band.difference, color=color, linewidth=width)
        ax.set_title(name.replace("_", " "), fontsize="medium")
        ax.set_xlim(0, 1)
        ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    for ax in axes.flat[len(bands) :]:
        ax.set_visible(False)
    for ax in axes.flat[len(bands) - columns : len(bands)]:
        ax.tick_params(labelbottom=True)  # the last of its column
    figure.supxlabel("rank of the truth among the draws, as a share", fontsize="medium")
    figure.supylabel("distribution − uniform", fontsize="medium")
    return figure


def _ask(model: Any, method: str, points: np.ndarray) -> Any:
    """Call the method with the names of the fit, which scikit-learn would miss."""
    names = getattr(model, "feature_names_in_", None)
    known = points if names is None else pd.DataFrame(points, columns=list(names))
    return getattr(model, method)(known)


def _uncertainty(model: Any, points: np.ndarray) -> np.ndarray:
    return _ask(model, "uncertainty", points)["uncertainty"].to_numpy()


def _marginal(model: Any, chosen: Sequence[int]) -> Marginal:
    log_weights, means, scales = (np.asarray(leaf, dtype=float) for leaf in model.mixture_)
    index = np.flatnonzero(log_weights > -np.inf)
    rows = scales[index][:, chosen]  # [K, d, D]
    # A factor of rows @ rows.T by QR: nothing is squared, so collinear features keep their digits.
    upper = np.linalg.qr(np.swapaxes(rows, 1, 2), mode="r")
    means = means[index][:, chosen]
    return Marginal(index, np.exp(log_weights[index]), means, np.swapaxes(upper, 1, 2))


def _density(marginal: Marginal, points: np.ndarray) -> np.ndarray:
    """Density [N] at points [N, d], some at a time so that nothing large is kept."""
    parts = np.array_split(points, 1 + points.shape[0] * marginal.index.size // 500_000)
    return np.concatenate([np.exp(log_joint(marginal, part)).sum(axis=0) for part in parts])


def _deviation(marginal: Marginal, feature: int) -> np.ndarray:
    return np.linalg.norm(marginal.scales[:, feature], axis=1)  # [K]


def _span(
    marginal: Marginal, feature: int, values: np.ndarray | None, reach: float
) -> tuple[float, float]:
    """From the smallest to the largest of the values and of the means -+ `reach` deviations."""
    mean, away = marginal.means[:, feature], reach * _deviation(marginal, feature)
    ends = np.concatenate([mean - away, mean + away, [] if values is None else np.ravel(values)])
    return padded(ends.min(), ends.max())


def _grid(marginal: Marginal, feature: int, span: tuple[float, float], n: int) -> np.ndarray:
    """`n` even values over `span`, the means, and values about them where even ones are too few."""
    mean, deviation = marginal.means[:, feature], _deviation(marginal, feature)
    tight = deviation < 6 * (span[1] - span[0]) / n
    reach = np.linspace(-6, 6, max(9, n // max(tight.sum(), 1)))
    near = mean[tight, None] + np.outer(deviation[tight], reach)
    values = np.unique(np.concatenate([np.linspace(*span, n), mean, near.ravel()]))
    return values[(values >= span[0]) & (values <= span[1])]


def _density_levels(marginal: Marginal, masses: np.ndarray) -> np.ndarray:
    """Density on the boundary of the highest-density region of each mass (two features)."""
    n = 4096
    turn = np.arange(n) * math.pi * (3 - math.sqrt(5))  # the golden angle: an even spiral
    spiral = np.sqrt(-2 * np.log((np.arange(n) + 0.5) / n)) * [np.cos(turn), np.sin(turn)]
    points = (marginal.means[:, :, None] + marginal.scales @ spiral).swapaxes(1, 2)  # [K, n, 2]
    density = _density(marginal, points.reshape(-1, 2))
    order = np.argsort(density)
    mass = np.repeat(marginal.weights, n)[order]
    below = np.cumsum(mass) - 0.5 * mass  # half of a point lies below it
    return np.interp(1 - masses, below / mass.sum(), density[order])


# ---- what is drawn ------------------------------------------------------------------------------


_LEFT_OUT = {"color": "black", "marker": "x", "linewidths": 0.8}


def _draw_left_out(ax: Axes, pairs: np.ndarray) -> None:
    if len(pairs):
        size = np.clip(5000 / len(pairs), 8, 20)
        ax.scatter(*pairs.T, s=size, **_LEFT_OUT, zorder=2, rasterized=len(pairs) > 5000)


def _left_out_handles(kept: np.ndarray) -> list:
    n = int((~kept).sum())
    style = {"linestyle": "", "marker": "x", "color": "black", "markersize": 5}
    return [Line2D([], [], **style, label=f"left out ({n})")] if n else []


def _draw_dots(ax: Axes, pairs: np.ndarray) -> None:
    N = len(pairs)
    size = np.clip(3000 / N, 2, 9)
    ax.scatter(*pairs.T, s=size, color="black", linewidths=0, zorder=2, rasterized=N > 5000)


def _draw_ellipses(ax: Axes, marginal: Marginal, radii: np.ndarray) -> None:
    turn = np.linspace(0, 2 * np.pi, 181)
    circle = np.stack([np.cos(turn), np.sin(turn)])
    for k, mean, scale in zip(marginal.index, marginal.means, marginal.scales, strict=True):
        for radius in radii:
            ellipse = mean[:, None] + radius * scale @ circle
            ax.plot(*ellipse, **line(k), linewidth=1.6, zorder=3)


def _draw_curves(ax: Axes, marginal: Marginal, values: np.ndarray | None) -> None:
    x = _grid(marginal, 0, _span(marginal, 0, values, 4.0), 400)
    joint = np.exp(log_joint(marginal, x[:, None]))
    total = joint.sum(axis=0)
    ax.plot(x, total, color="black", linewidth=1.2, zorder=2.5)
    for k, curve in zip(marginal.index, joint, strict=True):
        shown = np.where(curve > 1e-3 * total.max(), curve, np.nan)  # not all along the axis
        ax.plot(x, shown, **line(k), linewidth=1.4, zorder=3)
    ax.set_ylim(bottom=0)


def _draw_rug(ax: Axes, values: np.ndarray, labels: np.ndarray) -> None:
    for k in np.unique(labels):
        x, color = values[labels == k], line(k)["color"]
        ax.vlines(x, 0, 0.035, color, linewidth=0.8, transform=ax.get_xaxis_transform())


def _draw_contours(ax: Axes, marginal: Marginal, masses: np.ndarray) -> None:
    levels = _density_levels(marginal, masses)  # the masses fall, so the levels rise
    grids = [_grid(marginal, i, _span(marginal, i, None, 5.0), 200) for i in (0, 1)]
    density = _density(marginal, _plane(*grids)).reshape(grids[1].size, grids[0].size)  # [y, x]
    # No further than the outermost contour: the limits of the axes follow the grid.
    x, y = (_reached((density >= levels[0]).any(axis=i)) for i in (0, 1))
    shown = grids[0][x], grids[1][y], density[np.ix_(y, x)]
    shades = plt.get_cmap("Blues")(np.linspace(0.12, 0.6, levels.size))
    to_top = np.append(levels, 2 * density.max())
    area = ax.contourf(*shown, levels=to_top, colors=shades, zorder=1)
    lines = ax.contour(*shown, levels=levels, colors="black", linewidths=0.6, zorder=1.5)
    for drawn in (area, lines):  # leave a margin, as scatter does
        drawn.sticky_edges.x.clear()
        drawn.sticky_edges.y.clear()
    patches = [
        Patch(facecolor=shade, edgecolor="black", linewidth=0.6, label=f"{100 * mass:g} %")
        for shade, mass in zip(shades, masses, strict=True)
    ]
    legend(ax, patches[::-1], title="mass inside")


def _plane(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)  # [y x, 2]


def _reached(inside: np.ndarray) -> np.ndarray:
    first, last = np.flatnonzero(inside)[[0, -1]]
    return np.arange(max(first - 1, 0), min(last + 2, inside.size))


def _draw_probabilities(
    ax: Axes, model: Any, view: _View, chosen: list[int], found: np.ndarray
) -> list:
    marginal = _marginal(model, chosen)
    x = _grid(marginal, 0, _span(marginal, 0, view.points[:, 0], 3.0), 400)
    area = ax.fill_between(x, _uncertainty(model, x[:, None]), color="0.85", label="uncertainty")
    probabilities = np.asarray(_ask(model, "predict_proba", x[:, None]))  # [n, K]
    for k in marginal.index:
        ax.plot(x, probabilities[:, k], **line(k), linewidth=1.4)
    _draw_dots(ax, np.column_stack([view.points, found]))
    return [area]


def _draw_plane(ax: Axes, model: Any, view: _View, chosen: list[int], found: np.ndarray) -> list:
    marginal = _marginal(model, chosen)
    spans = [_span(marginal, f, view.points[:, j], 2.5) for f, j in enumerate(chosen)]
    x, y = (np.linspace(*span, 240) for span in spans)
    plane = _plane(x, y)[:, np.argsort(chosen)]  # in the order of the fit
    shade = _uncertainty(model, plane).reshape(y.size, x.size)
    scale = {"cmap": _PLANE, "vmin": 0, "vmax": max(shade.max(), 0.01)}
    mesh = ax.pcolormesh(x, y, shade, shading="gouraud", rasterized=True, **scale)
    color_bar(ax, mesh, _UNCERTAINTY)
    white = {"edgecolors": "white", "linewidths": min(0.4, 200 / found.size), "alpha": 1}
    draw_points(ax, view.points[:, chosen], view.labels, 0.9 + 2.5 * found, **white)
    return []


def _draw_shaded(ax: Axes, model: Any, view: _View, chosen: list[int], found: np.ndarray) -> list:
    drawing.draw_shaded(ax, view.points[:, chosen], view.labels, found, _UNCERTAINTY)
    return []


def _run_style(kept: bool) -> dict[str, Any]:
    emphasised = {"color": COLORS[0], "linewidth": 2.0, "zorder": 3}
    return emphasised if kept else {"color": "0.6", "linewidth": 0.9, "zorder": 2}


def _draw_run(ax: Axes, run: np.ndarray, kept: bool) -> None:
    end = {"marker": "o", "markersize": 4, "markevery": [-1] if run.size else None}
    ax.plot(np.arange(run.size) + 1, run, **_run_style(kept), **end)


def _crop(ax: Axes, runs: Sequence[np.ndarray]) -> None:
    """Leave out the lowest third of a long history, but no end of a run, where it flattens all."""
    far = 10 if max(map(len, runs)) >= 20 else 1e5  # in a short run every iteration counts
    lowest, third, high = np.quantile(np.concatenate(runs), [0, 0.35, 1])
    low = min(third, *(run[-1] for run in runs))
    if high - lowest > far * (high - low) > 0:
        ax.set_ylim(*padded(low, high))


def _align(axes: np.ndarray, spans: list[tuple[float, float]]) -> None:
    """Give every feature its one span, along columns and, left of the diagonal, along rows."""
    for row, column in zip(*np.tril_indices(len(spans)), strict=True):
        axes[row, column].set_xlim(spans[column])
        if column < row:
            axes[row, column].set_ylim(spans[row])


def _name_outer(axes: np.ndarray, names: Sequence[str]) -> None:
    last = len(names) - 1
    for row, column in zip(*np.tril_indices(len(names)), strict=True):
        ax = axes[row, column]
        ax.tick_params(labelbottom=row == last, labelleft=column == 0, labelsize="small")
        if row == column:
            ax.set_yticks([])
    for j, name in enumerate(names):
        axes[last, j].set_xlabel(name)
        axes[j, 0].set_ylabel(name if j else "density")


def _name_axes(ax: Axes, view: _View, chosen: Sequence[int], other: str = "") -> None:
    ax.set_xlabel(view.names[chosen[0]])
    ax.set_ylabel(view.names[chosen[1]] if len(chosen) == 2 else other)


def _legend_components(
    ax: Axes,
    marginal: Marginal,
    *,
    points: bool = False,
    lines: bool = True,
    after: Sequence[Any] = (),
    anchor: tuple[float, float] = (1.02, 1),
) -> None:
    handles = []
    for k, weight in zip(marginal.index, marginal.weights, strict=True):
        style = (line(k) if lines else {"linestyle": ""}) | (look(k) if points else {})
        rounded = f"{weight:.2f}" if weight >= 0.01 else f"{weight:.1g}"
        handles += [Line2D([], [], **style, markersize=5, label=f"{k} ({rounded})")]
    legend(ax, [*handles, *after], title="component (weight)", anchor=anchor)


# ---- what is refused ----------------------------------------------------------------------------


def _enter(model: Any, X: Any, *, required: bool = False) -> _View:
    """Check the model and, by asking it for labels, the points."""
    check_model(model)
    D = int(model.n_features_in_)
    fitted = getattr(model, "feature_names_in_", None)
    names = names_of(X, D) if fitted is None else [str(name) for name in fitted]
    if X is None and required:
        raise ValueError(f"X must be the points to draw, [N, {D}], got None.")
    if X is None:
        return _View(names, None, None)
    known = X if fitted is not None else np.asarray(X)
    return _View(names, np.asarray(X, dtype=float), np.asarray(model.predict(known)))


def _kept(support: Any, view: _View) -> np.ndarray:
    """`support` as a mask [N]; all of the points when it is not given."""
    N = 0 if view.points is None else len(view.points)
    if support is None:
        return np.ones(N, bool)
    found = np.asarray(support)
    if found.shape != (N,) or found.dtype != bool:
        wanted = f"one a point of X, ({N},)" if N else "given together with X"
        raise ValueError(
            f"support must be True or False for each point, {wanted}; got {found.dtype} of shape "
            f"{found.shape}. It is the support_ of a fit with support_fraction."
        )
    return found


def _numbers(name: str, value: Any, low: float, high: float) -> np.ndarray:
    try:
        found = np.unique(np.asarray(value, dtype=float))
    except (TypeError, ValueError):
        found = np.empty(0)
    if not found.size or not np.all((found > low) & (found < high)):
        raise ValueError(
            f"{name} must be one number or several between {low} and {high}, got {value!r}."
        )
    return found


def _square(axes: Any, F: int) -> np.ndarray:
    return axes_array(axes, (F, F), (1.6 + 1.4 * F, 1.2 + 1.2 * F))
