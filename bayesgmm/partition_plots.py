"""Pictures of a posterior of partitions: similarity, credible ball, assignments."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from bayesgmm.drawing import (
    COLORS,
    Feature,
    axes_array,
    axes_or_new,
    color_bar,
    draw_points,
    draw_shaded,
    features_chosen,
    legend,
    look,
    names_of,
    points_of,
)
from bayesgmm.posterior.assignments import Assignments
from bayesgmm.posterior.balls import CredibleBall
from bayesgmm.posterior.draws import LabelDraws, entered, label_vector
from bayesgmm.posterior.matching import names_by_overlap
from bayesgmm.posterior.partitions import partition_loss
from bayesgmm.posterior.search import point_partition
from bayesgmm.posterior.similarity import similarity_matrix

LARGEST = 2000
"""Points that a similarity is drawn of; of more, so many."""

MANY = 300
"""Things whose tree is not put into the best order: that takes the cube of their number."""

NONE = "0.7"
"""The grey of no cluster."""


# ---- similarity ---------------------------------------------------------------------------------


def plot_similarity(draws: Any, labels: Any = None, *, ax: Axes | None = None) -> Axes:
    """Probability that each two points are in one cluster, as a picture ordered by a partition.

    The clusters are squares along the diagonal: dark inside and light outside where the data
    know them. Similar clusters stand side by side, and so do similar points within a cluster
    (leaves of average linkage trees).

    Parameters
    ----------
    draws : array_like [S, N] or [C, S, N], or similarity matrix [N, N]
        Labels of each draw; or the probabilities themselves, floats with ones on the diagonal, or a
        sparse matrix. Of more than 2,000 points so many are drawn, evenly taken from each cluster.
    labels : array_like [N], optional
        The partition. When not given, the one of least expected variation of information, as
        `point_partition` finds it from ``random_state=0``; of a similarity none is known, and the
        points are ordered by their average linkage tree.
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given. A colour bar takes room from it.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError, TypeError
        If the labels are no whole numbers, the shapes do not fit, a similarity is no matrix of
        probabilities, or `ax` is no ordinary axes.

    Examples
    --------
    >>> from bayesgmm import plots
    >>> from matplotlib.figure import Figure
    >>> draws = [[0, 0, 1, 1, 2], [0, 0, 1, 1, 1], [0, 0, 0, 1, 1], [0, 0, 1, 1, 1]]
    >>> ax = plots.plot_similarity(draws, labels=[0, 0, 1, 1, 1], ax=Figure().subplots())
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['0', '1']
    """
    known = _similarity_given(draws)
    given = entered(draws) if known is None else known
    N = (given.labels if known is None else given).shape[1]
    if labels is None and known is None:
        labels = point_partition(given, random_state=0).labels
    if labels is not None:
        label_vector(labels, N)
    names, own = np.unique(np.zeros(N) if labels is None else labels, return_inverse=True)
    some = _some(own)
    shown = _part(given, some)
    ax = axes_or_new(ax, height=5.4)
    order, places = _ordered(shown, own[some], known=labels is not None)
    image = ax.imshow(shown[np.ix_(order, order)], cmap="Greys", vmin=0, vmax=1)
    color_bar(ax, image, "probability to be in one cluster")
    points = "points" if len(some) == N else f"{len(some):,} of {N:,} points"
    how = "by cluster" if labels is not None else "by their average linkage tree"
    ax.set(xlabel=f"{points}, {how}", xticks=[], yticks=[])
    if labels is not None:
        _mark_clusters(ax, own[some][order], places, names)
    return ax


def _similarity_given(draws: Any) -> Any:
    """The similarity matrix if that is what was given: sparse, or floats with ones on the diagonal.

    None if it is labels, or nothing that is known here.
    """
    if isinstance(draws, LabelDraws):
        return None
    if sparse.issparse(draws):
        found = draws.tocsr()
    else:
        try:
            found = np.asarray(draws)
        except ValueError:  # ragged
            return None
        if found.dtype.kind != "f":
            return None
    square = found.ndim == 2 and found.shape[0] == found.shape[1] > 0
    if square and np.allclose(found.diagonal(), 1):
        return found
    if sparse.issparse(draws) or (square and (found != np.round(found)).any()):
        raise ValueError(
            "draws must be labels [S, N], or a similarity matrix [N, N] with ones on its "
            f"diagonal; got floats of shape {found.shape}"
            + (f" with {found.diagonal().min():.4g} there." if square else ".")
        )
    return None


def _check_similarity(shown: np.ndarray) -> None:
    away = np.abs(shown - shown.T).max()
    if not (shown.min() >= -1e-9 and shown.max() <= 1 + 1e-9 and away <= 1e-6):
        raise ValueError(
            "a similarity matrix must be symmetric with probabilities from 0 to 1; got values "
            f"from {shown.min():.4g} to {shown.max():.4g} that differ by up to {away:.4g} across "
            "its diagonal."
        )


def _some(own: np.ndarray) -> np.ndarray:
    """All points, or `LARGEST` of them, of each cluster its share."""
    N = len(own)
    if N <= LARGEST:
        return np.arange(N)
    by_cluster = np.argsort(own, kind="stable")
    return by_cluster[np.linspace(0, N - 1, LARGEST).round().astype(int)]


def _part(given: Any, some: np.ndarray) -> np.ndarray:
    """The similarity of some of the points."""
    if isinstance(given, LabelDraws):
        weights = given.weights if given.weighted else None
        return similarity_matrix(given.labels[:, some], weights)
    shown = given[some][:, some]
    shown = shown.toarray() if sparse.issparse(shown) else shown
    _check_similarity(shown)
    return shown


def _ordered(shown: np.ndarray, own: np.ndarray, known: bool) -> tuple[np.ndarray, np.ndarray]:
    """Order of the points, and of the clusters, similar ones side by side."""
    if not known:
        return _leaves(shown), np.zeros(1, int)
    present, own = np.unique(own, return_inverse=True)
    belongs = sparse.csr_array((np.ones(len(own)), (np.arange(len(own)), own)))  # [n, K]
    sums = (belongs.T @ shown).T  # [n, K]
    sizes = np.bincount(own)
    places = _leaves(belongs.T @ sums / np.outer(sizes, sizes))
    towards = sums @ np.argsort(places) / sums.sum(1)  # mean place of what a point is with
    order = []
    for k in places:
        (rows,) = np.nonzero(own == k)
        rows = rows[_leaves(shown[np.ix_(rows, rows)])]
        slope = (np.arange(len(rows)) - (len(rows) - 1) / 2) @ towards[rows]
        order.append(rows[::-1] if slope < 0 else rows)
    return np.concatenate(order), present[places]


def _leaves(similarity: np.ndarray) -> np.ndarray:
    """The order of the leaves of the average linkage tree."""
    if len(similarity) < 3:
        return np.arange(len(similarity))
    distance = np.clip(1 - (similarity + similarity.T) / 2, 0, 1)
    np.fill_diagonal(distance, 0)
    few = len(similarity) <= MANY
    return leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=few))


def _mark_clusters(ax: Axes, own: np.ndarray, places: np.ndarray, names: np.ndarray) -> None:
    """A square of its colour around each cluster, and its label where there is room for it."""
    n, middles, labels = len(own), [], []
    for k in places:
        (rows,) = np.nonzero(own == k)
        start, size = rows[0] - 0.5, len(rows)
        style = {"edgecolor": COLORS[k % len(COLORS)], "linewidth": 1.6, "facecolor": "none"}
        ax.add_patch(Rectangle((start, start), size, size, **style, zorder=3))
        if size >= 0.03 * n:
            middles.append(start + size / 2)
            labels.append(str(names[k]))
    ax.set_xticks(middles, labels)
    ax.set_yticks(middles, labels)
    ax.tick_params(length=0)


# ---- credible ball ------------------------------------------------------------------------------

_BOUNDS = {
    "horizontal": "horizontal bound (farthest)",
    "upper": "upper bound (fewest clusters)",
    "lower": "lower bound (most clusters)",
}


def plot_credible_ball(
    ball: CredibleBall,
    X: ArrayLike | pd.DataFrame,
    *,
    features: Sequence[Feature] = (0, 1),
    axes: np.ndarray | None = None,
) -> np.ndarray:
    """The estimate beside the bounds of its credible ball, points by cluster, in four panels.

    A cluster of a bound has the look of the estimate's cluster with which it is matched, one to
    one, so that they share as many points as they can; one that is left over, or shares none, has
    a look of its own. Points in another cluster than the estimate has them in are ringed. Of
    several bounds that are equally extreme the first is drawn.

    Parameters
    ----------
    ball : CredibleBall
        As `credible_ball` finds it.
    X : array or DataFrame [N, D]
        The points. Of one feature (a vector will do) each cluster is a row of ticks.
    features : two indices or names, default (0, 1)
        Horizontal and vertical axis; without effect for D = 1.
    axes : array of matplotlib Axes [2, 2], optional
        Where to draw; a new figure when not given.

    Returns
    -------
    array of matplotlib Axes [2, 2]
        Estimate and horizontal bound, below them upper and lower bound.

    Raises
    ------
    ValueError, TypeError
        If `ball` is none, `X` does not fit it, `features` are not there, or `axes` are not [2, 2]
        ordinary axes.

    References
    ----------
    Wade and Ghahramani (2018), *Bayesian Analysis* 13, 559-626, section 4.

    Examples
    --------
    >>> from bayesgmm import plots
    >>> from bayesgmm.posterior.balls import credible_ball
    >>> from matplotlib.figure import Figure
    >>> draws = [[0, 0, 1, 1]] * 17 + [[0, 0, 0, 0], [0, 0, 1, 2], [0, 1, 2, 3]]
    >>> ball = credible_ball(draws, [0, 0, 1, 1], level=0.9)
    >>> axes = plots.plot_credible_ball(ball, [1.0, 1.1, 4.0, 4.4], axes=Figure().subplots(2, 2))
    >>> print(axes[1, 1].get_title())
    lower bound (most clusters): 3
    at 0.5 bits
    """
    if not isinstance(ball, CredibleBall):
        raise TypeError(
            f"ball must be a CredibleBall, as credible_ball finds it; got {type(ball).__name__}."
        )
    points = points_of(X, len(ball.labels))
    D = points.shape[1]
    names = names_of(X, D)
    chosen = [0] if D == 1 else features_chosen(features, names, range(2, 3))
    axes = axes_array(axes, (2, 2), (8.0, 6.4 if D > 1 else 5.0), sharex=True, sharey=True)
    unit = f" {partition_loss(ball.loss)[0].unit}".rstrip()
    titles = [
        f"estimate: {ball.labels.max() + 1} clusters\n"
        f"{100 * ball.level:g} % ball of radius {ball.radius:.3g}{unit}"
    ]
    panels = [ball.labels]
    for name, title in _BOUNDS.items():
        bound = getattr(ball, name)
        ties = f", the first of {ball.ties[name]}" if ball.ties[name] > 1 else ""
        titles += [f"{title}: {bound[0].max() + 1}\nat {ball.distances[name]:.3g}{unit}{ties}"]
        called = names_by_overlap(bound[0], ball.labels, int(bound[0].max()) + 1)
        panels += [called[bound[0]]]
    rows = max(map(np.max, panels)) + 1
    for ax, labels, title in zip(axes.flat, panels, titles, strict=True):
        ax.set_title(title, fontsize="medium")
        if D == 1:
            _draw_strips(ax, points[:, 0], labels, rows)
        else:
            _draw_moved(ax, points[:, chosen], labels, labels != ball.labels)
    for ax in axes[1]:
        ax.set_xlabel(names[chosen[0]])
    for ax in axes[:, 0]:
        ax.set_ylabel("cluster" if D == 1 else names[chosen[1]])
    return axes


def _draw_moved(ax: Axes, pairs: np.ndarray, labels: np.ndarray, moved: np.ndarray) -> None:
    """Points by cluster, with a black edge where they are in another one than before."""
    if not moved.all():
        draw_points(ax, pairs[~moved], labels[~moved], n_points=len(moved))
    if moved.any():
        edge = {"alpha": 1.0, "edgecolors": "black", "linewidths": 0.7, "zorder": 3}
        draw_points(ax, pairs[moved], labels[moved], 2.0, n_points=len(moved), **edge)


def _draw_strips(ax: Axes, values: np.ndarray, labels: np.ndarray, n_rows: int) -> None:
    """A row of ticks for each cluster, the first on top."""
    for k in np.unique(labels):
        color = look(k)["color"]
        ax.vlines(values[labels == k], k - 0.38, k + 0.38, color, linewidth=0.9)
    ax.set_ylim(n_rows - 0.4, -0.6)
    ax.set_yticks(range(n_rows))


# ---- assignments --------------------------------------------------------------------------------


def plot_assignments(
    assignments: Assignments,
    X: ArrayLike | pd.DataFrame | None = None,
    *,
    features: Sequence[Feature] = (0, 1),
    ax: Axes | None = None,
) -> Axes:
    """Probability of each cluster for each point, as bars; with `X`, where the doubtful ones lie.

    Parameters
    ----------
    assignments : Assignments
        As `assignment_probabilities` finds them.
    X : array or DataFrame [N, D], optional
        When given, the points lie over two of the features, or for D = 1 on their uncertainty, and
        grow and darken with it: one minus the probability of the cluster that the partition puts
        them in. When not, each is a bar: at the bottom its own cluster, above it the others, on
        top none of them, in grey; sorted by cluster, the most certain first.
    features : two indices or names, default (0, 1)
        Horizontal and vertical axis with `X`; without effect for D = 1.
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given. A colour bar takes room from it with `X`.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError, TypeError
        If `assignments` are none, `X` does not fit them, `features` are not there, or `ax` is no
        ordinary axes.

    Examples
    --------
    >>> from bayesgmm import plots
    >>> from bayesgmm.posterior.assignments import assignment_probabilities
    >>> from matplotlib.figure import Figure
    >>> draws = [[0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 2, 1]]
    >>> found = assignment_probabilities(draws, labels=[0, 0, 1, 1])
    >>> ax = plots.plot_assignments(found, ax=Figure().subplots())
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['0 (2)', '1 (2)', 'none of them']
    """
    if not isinstance(assignments, Assignments):
        raise TypeError(
            "assignments must be what assignment_probabilities finds; got "
            f"{type(assignments).__name__}."
        )
    own = np.searchsorted(assignments.clusters, assignments.labels)
    if X is None:
        ax = axes_or_new(ax)
        _draw_bars(ax, assignments.probabilities, own, assignments.clusters)
        kind = {"facecolor": NONE, "edgecolor": "none"}
        _legend_clusters(ax, assignments, own, [Patch(**kind, label="none of them")])
        return ax
    points = points_of(X, len(own))
    D = points.shape[1]
    names = names_of(X, D)
    chosen = [0] if D == 1 else features_chosen(features, names, range(2, 3))
    ax = axes_or_new(ax, height=3.6 if D == 1 else 4.4)
    found = 1 - assignments.probabilities[np.arange(len(own)), own]
    pairs = np.column_stack([points[:, chosen], found])[:, :2]
    draw_shaded(ax, pairs, own, found, "uncertainty (1 − probability of its cluster)")
    ax.set(xlabel=names[chosen[0]], ylabel="uncertainty" if D == 1 else names[chosen[1]])
    _legend_clusters(ax, assignments, own)
    return ax


def _draw_bars(ax: Axes, probabilities: np.ndarray, own: np.ndarray, clusters: np.ndarray) -> None:
    N, K = len(own), len(clusters)
    order = np.lexsort([-probabilities[np.arange(N), own], own])
    own, shares = own[order], probabilities[order]
    lowest = np.arange(K + 1) == own[:, None]  # its own cluster below all others
    below = np.cumsum(np.where(lowest, 0, shares), axis=1) - np.where(lowest, 0, shares)
    first = np.where(lowest, 0, below + shares[np.arange(N), own][:, None])
    colors = [*(look(k)["color"] for k in range(K)), NONE]
    for start, share, color in zip(first.T, shares.T, colors, strict=True):
        ax.stairs(start + share, np.arange(N + 1), baseline=start, fill=True, color=color)
    ends = np.flatnonzero(np.diff(own, prepend=-1, append=K))
    ax.vlines(ends[1:-1], 0, 1, "white", linewidth=1.2)
    large = np.diff(ends) >= 0.03 * N
    ax.set_xticks(((ends[1:] + ends[:-1]) / 2)[large], clusters[large].astype(str))
    ax.tick_params(axis="x", length=0)
    ax.set(xlim=(0, N), ylim=(0, 1), ylabel="probability")
    ax.set_xlabel("points by cluster, the most certain first")


def _legend_clusters(
    ax: Axes, assignments: Assignments, own: np.ndarray, after: Sequence[Any] = ()
) -> None:
    bars = bool(after)
    handles = []
    for k, (cluster, size) in enumerate(zip(assignments.clusters, np.bincount(own), strict=True)):
        style, label = look(k), f"{cluster} ({size})"
        if bars:
            handles.append(Patch(facecolor=style["color"], edgecolor="none", label=label))
        else:
            face = {"linestyle": "", "markersize": 5, "markerfacecolor": "0.93"}
            handles.append(Line2D([], [], **style, **face, label=label))
    legend(ax, [*handles, *after], title="cluster (points)")
