"""What the plots share: colours and shapes of clusters, axes, legends, the features named.

Colours are those of M. Okabe and K. Ito, "Color Universal Design" (2008).
"""

import math
import numbers
from collections.abc import Iterable
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from bayesgmm.messages import hint, listed

Feature = int | str

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, without black (a whole mixture) and yellow (too light for lines on paper)."""

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", "-.", ":")
_POINTS = LinearSegmentedColormap.from_list("points", ["0.93", "0.6", "black"])


# ---- how a cluster looks ------------------------------------------------------------------------


def line(k: int) -> dict[str, str]:
    """Colour and line style of component k: 24 differ."""
    return {
        "color": COLORS[k % len(COLORS)],
        "linestyle": _LINES[k // len(COLORS) % len(_LINES)],
    }


def look(k: int) -> dict[str, str]:
    """Colour and marker of component k: 42 differ."""
    return {"color": COLORS[k % len(COLORS)], "marker": _MARKERS[k % len(_MARKERS)]}


def draw_points(
    ax: Axes,
    pairs: np.ndarray,
    labels: np.ndarray,
    size: ArrayLike = 1.0,
    n_points: int | None = None,
    **style: Any,
) -> None:
    """Points [N, 2] in the look of their labels [N], smaller the more there are in all."""
    N = labels.size
    sizes = np.broadcast_to(np.clip(5000 / (n_points or N), 4, 14) * np.asarray(size), N)
    fixed = {"alpha": 0.6, "linewidths": 0, "zorder": 2, "rasterized": N > 5000} | style
    for k in np.unique(labels):
        of_k = labels == k
        ax.scatter(*pairs[of_k].T, s=sizes[of_k], **look(k), **fixed)


def draw_shaded(
    ax: Axes, pairs: np.ndarray, labels: np.ndarray, found: np.ndarray, name: str
) -> None:
    """Points that grow and darken with what was found [N], with a colour bar of that name."""
    N = found.size
    scale = {"cmap": _POINTS, "vmin": 0, "vmax": max(found.max(), 0.01)}
    for k in np.unique(labels):
        of_k = np.flatnonzero(labels == k)
        of_k = of_k[np.argsort(found[of_k], kind="stable")]  # the most uncertain on top
        style = {"marker": look(k)["marker"], "edgecolors": look(k)["color"], "linewidths": 0.7}
        size = np.clip(5000 / N, 6, 14) * (1 + 2 * found[of_k])
        drawn = ax.scatter(
            *pairs[of_k].T, s=size, c=found[of_k], rasterized=N > 5000, **style, **scale
        )
    color_bar(ax, drawn, name)


def draw_histogram(ax: Axes, values: np.ndarray) -> None:
    """Histogram of values [N], of area one, behind what else is drawn."""
    ax.hist(values, bins="auto", density=True, color="0.88", edgecolor="white", linewidth=0.5)


# ---- beside the picture -------------------------------------------------------------------------


def color_bar(ax: Axes, drawn: Any, name: str) -> None:
    """A colour bar below the axes."""
    ax.figure.colorbar(drawn, ax=ax, location="bottom", label=name, shrink=0.8, aspect=30)


def legend(
    ax: Axes,
    handles: list,
    *,
    title: str | None = None,
    anchor: tuple[float, float] = (1.02, 1),
) -> None:
    """A legend that stands beside the axes, in columns of at most 15."""
    place = {"loc": "upper left", "bbox_to_anchor": anchor, "borderaxespad": 0, "frameon": False}
    fonts = {"fontsize": "small", "title_fontsize": "small", "handlelength": 2.4}
    ncols = math.ceil(len(handles) / 15)
    ax.legend(handles=handles, title=title, alignment="left", ncols=ncols, **place, **fonts)


def padded(low: float, high: float) -> tuple[float, float]:
    """The same span with some room at both ends."""
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


# ---- densities ----------------------------------------------------------------------------------


class Marginal(NamedTuple):
    """The components that are present, over d of the features."""

    index: np.ndarray  # [K], their labels
    weights: np.ndarray  # [K]
    means: np.ndarray  # [K, d]
    scales: np.ndarray  # [K, d, d]


def log_joint(marginal: Marginal, points: np.ndarray) -> np.ndarray:
    """Log of weight times density, [K, N], at points [N, d]."""
    white = np.linalg.solve(marginal.scales, points.T - marginal.means[:, :, None])  # [K, d, N]
    log_det = np.log(np.abs(np.diagonal(marginal.scales, axis1=1, axis2=2))).sum(axis=1)
    constant = np.log(marginal.weights) - log_det - 0.5 * points.shape[1] * math.log(2 * math.pi)
    return constant[:, None] - 0.5 * (white**2).sum(axis=1)


# ---- what is refused ----------------------------------------------------------------------------


def check_model(model: Any, name: str = "model") -> None:
    """Whether it is a fitted estimator of ours.

    Raises
    ------
    NotFittedError, TypeError
        If not.
    """
    if hasattr(model, "fit"):
        check_is_fitted(model)
    if not hasattr(model, "mixture_"):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise TypeError(f"{name} must be a fitted estimator of bayesgmm, got {kind}.")


def check_chains(model: Any, method: str, name: str = "model") -> None:
    """Whether it is a fitted estimator with draws, which have the method.

    Raises
    ------
    NotFittedError, TypeError
        If not.
    """
    check_model(model, name)
    if not hasattr(model, method):
        raise TypeError(
            f"{name} must hold chains, as MCMCGaussianMixture does; got {type(model).__name__}."
        )


def check_columns(table: Any, name: str, needed: Iterable[str]) -> None:
    """Whether a DataFrame has these columns.

    Raises
    ------
    ValueError
        If not.
    """
    for column in needed:
        if column not in table:
            raise ValueError(f"{name} must have a column {column!r}; it has {listed(table)}.")


def names_of(X: Any, D: int) -> list[str]:
    """Names of the columns of X if all have one, else x0, x1, ... as in summary()."""
    names = [name for name in getattr(X, "columns", ()) if isinstance(name, str)]
    return names if len(names) == D else [f"x{j}" for j in range(D)]


def points_of(X: Any, N: int) -> np.ndarray:
    """Points [N, D] that nothing was fitted to here, one feature as a vector or a column.

    Raises
    ------
    ValueError, TypeError
        If they are not finite numbers of that shape.
    """
    try:
        found = np.asarray(X, dtype=float)
    except (TypeError, ValueError) as error:
        raise TypeError(f"X must be numbers, the points [{N}, D]; {error}.") from error
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or len(found) != N or not found.shape[1]:
        raise ValueError(
            f"X must have shape ({N}, D), a row for each point that has a label; got {np.shape(X)}."
        )
    if not np.isfinite(found).all():
        raise ValueError(f"X must be finite; {int((~np.isfinite(found)).sum())} values are not.")
    return found


def features_chosen(
    features: Any, names: list[str], sizes: range, name: str = "features"
) -> list[int]:
    """Find the features by index or name, as many as `sizes` allows.

    Raises
    ------
    ValueError, TypeError
        If there are none such, or another number of them.
    """
    if len(names) < sizes[0]:
        raise ValueError(
            f"model must have at least {sizes[0]} features for this plot, got {len(names)}. "
            "Use plot_density."
        )
    several = isinstance(features, Iterable) and not isinstance(features, str)
    chosen = [_feature(one, names, name) for one in (features if several else [features])]
    if len(chosen) not in sizes:
        wanted = " to ".join(map(str, sorted({sizes[0], sizes[-1]})))
        wanted = "one feature" if wanted == "1" else f"{wanted} features"
        raise ValueError(f"{name} must name {wanted}, got {len(chosen)}: {features!r}.")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{name} must differ from each other, got {features!r}.")
    return chosen


def _feature(one: Any, names: list[str], name: str) -> int:
    D = len(names)
    if isinstance(one, str):
        if one in names:
            return names.index(one)
        raise ValueError(f"{name} must be among {names}, got {one!r}.{hint(names, one)}")
    if isinstance(one, bool) or not isinstance(one, numbers.Integral):
        raise TypeError(f"{name} must be indices or names, got {one!r}.")
    if not -D <= one < D:
        raise ValueError(f"{name} must be indices from 0 to {D - 1}, got {one}.")
    return int(one) % D


def axes_or_new(ax: Any, height: float = 3.6) -> Axes:
    """The axes given, or those of a new figure of its own.

    Raises
    ------
    TypeError
        If it is no ordinary axes.
    """
    if ax is None:
        return plt.subplots(figsize=(5.0, height), layout="constrained")[1]
    if not isinstance(ax, Axes) or ax.name != "rectilinear":
        kind = f"{ax.name} axes" if isinstance(ax, Axes) else type(ax).__name__
        raise TypeError(
            f"ax must be one ordinary matplotlib Axes, got {kind}. "
            "Pass what plt.subplots() gives, or one entry of it if it is an array."
        )
    return ax


def axes_array(
    axes: Any, shape: tuple[int, int], size: tuple[float, float], **options: Any
) -> np.ndarray:
    """The axes given, in this shape, or those of a new figure of this size.

    Raises
    ------
    ValueError
        If they have another shape.
    TypeError
        If one is no ordinary axes.
    """
    if axes is None:
        return plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False, **options)[1]
    if np.shape(axes) != shape:
        rows, columns = shape
        raise ValueError(
            f"axes must be an array of {rows} x {columns} matplotlib Axes, got shape "
            f"{np.shape(axes)}."
        )
    for ax in np.ravel(axes):
        axes_or_new(ax)
    return np.asarray(axes)
