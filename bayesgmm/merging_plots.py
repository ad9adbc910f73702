"""The plot of merged components: where the entropy has its elbow."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bayesgmm.drawing import COLORS, axes_or_new, check_columns, legend


def plot_merging(
    table: pd.DataFrame, *, n_clusters: int | None = None, ax: Axes | None = None
) -> Axes:
    """Entropy of the assignments against the points merged, from all components to one cluster.

    Each place is a number of clusters, written beside it. Where the entropy falls steeply the
    components that were merged shared their points; where it falls no more, they were apart. Two
    straight lines, each fitted to the places on its side, meet about the number proposed.

    Parameters
    ----------
    table : DataFrame [K]
        What `merge_components(...).table` is: index the number of clusters, columns `entropy` and
        `cumulated`.
    n_clusters : int, optional
        The number proposed: ringed, and where the lines meet. None draws neither.
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the table has no such column, or no such number of clusters.
    TypeError
        If `table` is no DataFrame, or `ax` no ordinary axes.

    Examples
    --------
    >>> import pandas as pd
    >>> from bayesgmm import plots
    >>> from matplotlib.figure import Figure
    >>> table = pd.DataFrame(
    ...     {"entropy": [0.0, 1.0, 9.0, 21.0], "cumulated": [180, 90, 60, 0]},
    ...     index=pd.RangeIndex(1, 5, name="n_clusters"),
    ... )
    >>> plots.plot_merging(table, n_clusters=2, ax=Figure().subplots()).get_ylabel()
    'entropy (nats)'
    """
    numbers, x, y = _read(table, n_clusters)
    ax = axes_or_new(ax)
    ax.plot(x, y, "o", color=COLORS[0], zorder=3)
    for number, *place in zip(numbers, x, y, strict=True):
        ax.annotate(str(number), place, (5, 5), textcoords="offset points", fontsize="small")
    handles = [
        Line2D([], [], color=COLORS[0], marker="o", linestyle="", label="number of clusters")
    ]
    if n_clusters is not None:
        at = numbers == n_clusters
        ring = {"marker": "o", "markersize": 12, "markerfacecolor": "none", "linestyle": ""}
        ax.plot(x[at], y[at], color=COLORS[1], **ring)
        handles.append(Line2D([], [], color=COLORS[1], **ring, label="proposed"))
        handles += _draw_lines(ax, x, y, numbers, n_clusters)
    ax.margins(0.08)
    ax.set(xlabel="points merged", ylabel="entropy (nats)")
    legend(ax, handles)
    return ax


def _draw_lines(
    ax: Axes, x: np.ndarray, y: np.ndarray, numbers: np.ndarray, n_clusters: int
) -> list[Line2D]:
    """The lines on both sides, if each has an end beside the number itself."""
    sides = [side for side in (numbers <= n_clusters, numbers >= n_clusters) if side.sum() > 1]
    if len(sides) < 2 or len(numbers) < 4 or any(not np.ptp(x[side]) for side in sides):
        return []
    style = {"color": "0.45", "linewidth": 1.0, "linestyle": "--"}
    for side in sides:
        ends = np.array([x[side].min(), x[side].max()])
        ax.plot(ends, np.polyval(np.polyfit(x[side], y[side], 1), ends), **style)
    return [Line2D([], [], **style, label="least squares")]


def _read(table: Any, n_clusters: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of clusters, points merged and entropies."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(
            f"table must be the DataFrame that merge_components(...).table is, got "
            f"{type(table).__name__}."
        )
    check_columns(table, "table", ("entropy", "cumulated"))
    numbers = table.index.to_numpy()
    if n_clusters is not None and n_clusters not in numbers:
        raise ValueError(
            f"n_clusters must be one of the table's, {numbers.min()} to {numbers.max()}, got "
            f"{n_clusters!r}."
        )
    return numbers, table["cumulated"].to_numpy(float), table["entropy"].to_numpy(float)
