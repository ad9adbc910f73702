"""The plot of a table of models: a criterion over the number of components, a line a family."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bayesgmm.drawing import axes_or_new, check_columns, legend, look
from bayesgmm.estimators.criteria import CRITERIA, Criterion

__all__ = ["plot_selection"]


def plot_selection(table: pd.DataFrame, criterion: str = "bic", *, ax: Axes | None = None) -> Axes:
    """A criterion over the number of components, one line a family.

    Parameters
    ----------
    table : DataFrame
        That of `select_model`, or anyone's with columns `n_components`, `covariance_type`, the
        criterion, and `singular` if there are such cells: they are left out.
    criterion : str, default "bic"
        A column. Less is better, but for "held_out", "lower_bound", "elpd_loo" and "log_evidence".
    ax : matplotlib Axes, optional
        Where to draw; a new figure when not given.

    Returns
    -------
    matplotlib Axes
        The best cell is ringed. The worst quarter of the cells may lie outside of the axes, so that
        the curves are apart where it matters.

    Raises
    ------
    ValueError
        If the table has no such column, or no cell that is not singular; `ax` is no axes.

    Examples
    --------
    >>> import pandas as pd
    >>> from bayesgmm import plots
    >>> from matplotlib.figure import Figure
    >>> table = pd.DataFrame(
    ...     {"n_components": [1, 2], "covariance_type": ["VVV", "VVV"], "bic": [9.0, 7.0]}
    ... )
    >>> plots.plot_selection(table, ax=Figure().subplots()).get_xlabel()
    'number of components'
    """
    check_columns(table, "table", ("n_components", "covariance_type", criterion))
    values = table[criterion]
    if "singular" in table:
        values = values.where(~table["singular"])
    if values.isna().all():
        raise ValueError(f"table has no cell with a number in {criterion!r} that is not singular.")
    ax, row = axes_or_new(ax), CRITERIA.get(criterion, Criterion(1, criterion))
    for k, (name, rows) in enumerate(table.groupby("covariance_type", sort=False)):
        ax.plot(rows["n_components"], values[rows.index], label=name, markersize=5, **look(k))
    loss = row.sign * values
    best = loss.idxmin()
    at = table.loc[best, "n_components"], values[best]
    ax.plot(*at, "o", color="black", fillstyle="none", markersize=13)
    ax.annotate(
        f"{table.loc[best, 'covariance_type']}, {at[0]}",
        at,
        xytext=(0, -18 * row.sign),
        textcoords="offset points",
        ha="center",
        va="top" if row.sign > 0 else "bottom",
    )
    height = loss.quantile(0.75) - loss.min() or 1.0
    ends = loss.min() - 0.25 * height, loss.min() + 1.1 * height
    ax.set_ylim(*sorted(row.sign * end for end in ends))
    ax.set_xticks(np.unique(table["n_components"]))
    ax.set_xlabel("number of components")
    ax.set_ylabel(f"{row.label} ({row.order})")
    if table["covariance_type"].nunique() > 1:
        legend(ax, ax.get_legend_handles_labels()[0])
    return ax
