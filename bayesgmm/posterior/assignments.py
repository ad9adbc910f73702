"""How sure the assignment of each point is: label draws held against one partition.

References
----------
Papastamoulis and Iliopoulos (2010), *Journal of Computational and Graphical Statistics* 19,
313-331: the clusters of a draw named by those of a partition they share most points with.
Hennig (2007), *Computational Statistics & Data Analysis* 52, 258-271: stability of a cluster by the
Jaccard coefficient.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import xlogy

from bayesgmm.arguments import check_number
from bayesgmm.posterior.draws import (
    LabelDraws,
    between,
    entered,
    label_vector,
    mean_and_mcse,
    parts,
)
from bayesgmm.posterior.partitions import blocks, overlaps
from bayesgmm.shown import Shown

NONE = "none"
"""What stands for a cluster that is none of the partition's."""


@dataclass(frozen=True, eq=False, repr=False)
class Assignments(Shown):
    """Probabilities of the clusters of a partition for each point.

    Attributes
    ----------
    labels : ndarray [N]
        The partition, as it was given.
    clusters : ndarray [K]
        Its labels in increasing order: rows and columns below are in that order.
    probabilities : ndarray [N, K + 1]
        The last is that of none of the clusters; rows sum to one.
    mcse : ndarray [N, K + 1]
        Monte Carlo standard errors of them.
    entropy : ndarray [N]
        Of the probabilities, in bits.
    stability : DataFrame
        A row each cluster: `size`; `kept`, mean probability of its points to be in it; `jaccard`,
        expected Jaccard coefficient of the cluster of a draw that is most like it; `together`, of
        two of its points the probability to be in one cluster (NaN for a single point); the last
        two with their Monte Carlo errors `mcse_jaccard` and `mcse_together`.
    confusion : DataFrame [K, K]
        Mean over the points of the cluster of the row of the probability of that of the column.
        What a row lacks to one is the probability of none.
    table : DataFrame
        A row each point, under its index: `label`, its `probability` and `mcse`, `entropy`,
        `hesitation`, the most probable of the other clusters ("none": none of them; missing where
        none has any), `hesitation_probability`, and `probability_k` of each cluster k and of none.
    """

    labels: np.ndarray
    clusters: np.ndarray
    probabilities: np.ndarray
    mcse: np.ndarray
    entropy: np.ndarray
    stability: Any
    confusion: Any
    table: Any

    def _headline(self) -> str:
        """How many points are in doubt."""
        N, K = len(self.labels), len(self.clusters)
        doubtful = int((self.table["probability"] < 0.95).sum())
        return f"Assignments of {N} points to {K} clusters; less than 95 % sure: {doubtful}"

    def _shown(self) -> Any:
        """The stability of each cluster."""
        return self.stability.round(3)

    def least_certain(self, n: int = 10) -> Any:
        """The n rows of `table` whose label is least probable, the least first.

        Parameters
        ----------
        n : int, default 10

        Raises
        ------
        ValueError
            If `n` is not a whole number of at least 1.
        """
        check_number(n, "n", integer=True, low=1)
        return self.table.sort_values("probability", kind="stable").head(n)


def assignment_probabilities(
    draws: Any, labels: Any = None, weights: Any = None, index: Any = None
) -> Assignments:
    """Probability of each cluster of a partition for each point, and of none of them.

    The clusters of each draw are matched one to one with those of the partition, so that they share
    as many points as they can. A point is in cluster k in those draws in which its cluster is
    matched with k, and in none where its cluster is matched with none of them, or with one that it
    shares no point with.

    Parameters
    ----------
    draws : array_like [S, N] or [C, S, N]
        Labels of N points in S draws (of C chains), ours or anyone's.
    labels : array_like [N], optional
        The partition. The one of least expected variation of information, as
        `point_partition` finds it from ``random_state=0``, when not given.
    weights : array_like [S] or [C, S], optional
        Of the draws; equal when not given.
    index : sequence [N], optional
        Of the points in the table. That of `labels` if it is a Series, else 0, 1, ..., N - 1.

    Returns
    -------
    Assignments
        Monte Carlo errors are between chains, or without chains between batches of about sqrt(S)
        draws; NaN for fewer than four draws, and for draws with weights but without chains.

    Raises
    ------
    ValueError, TypeError
        If the labels are no whole numbers, or the shapes do not fit.

    Examples
    --------
    >>> from bayesgmm import assignment_probabilities
    >>> draws = [[0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 2, 1]]
    >>> found = assignment_probabilities(draws, labels=[0, 0, 1, 1])
    >>> found.probabilities
    array([[1.  , 0.  , 0.  ],
           [1.  , 0.  , 0.  ],
           [0.25, 0.75, 0.  ],
           [0.  , 0.75, 0.25]])
    >>> found.least_certain(1)[["label", "probability", "hesitation"]]
       label  probability hesitation
    2      1         0.75          0
    """
    checked = entered(draws, weights)
    N = checked.labels.shape[1]
    if labels is None:
        from bayesgmm.posterior.search import point_partition

        labels = point_partition(checked, loss="vi", random_state=0).labels
    label_vector(labels, N)
    index = _index(labels if index is None and hasattr(labels, "index") else None, index, N)
    given = np.asarray(labels)
    clusters, own = np.unique(given, return_inverse=True)
    places, jaccard, together = _compared(checked, own, len(clusters))
    probabilities, mcse = _shares(places, checked, len(clusters) + 1)
    entropy = -xlogy(probabilities, probabilities).sum(1) / np.log(2) + 0.0
    return Assignments(
        given,
        clusters,
        probabilities,
        mcse,
        entropy,
        _stability(own, clusters, probabilities, checked, jaccard, together),
        _confusion(own, clusters, probabilities),
        _table(given, own, clusters, probabilities, mcse, entropy, index),
    )


def _index(labels: Any, index: Any, N: int) -> Any:
    import pandas as pd

    if index is None:
        return pd.RangeIndex(N) if labels is None or callable(labels.index) else labels.index
    found = index if isinstance(index, pd.Index) else pd.Index(index)
    if len(found) != N:
        raise ValueError(f"index must have an entry for each of the {N} points; got {len(found)}.")
    return found


# --- each draw held against the partition ---------------------------------------------------------


def _compared(
    draws: LabelDraws, own: np.ndarray, K: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cluster of the partition, or K, of each point in each draw, [S, N]; and how each one stays.

    The largest Jaccard coefficient and the share of pairs that are together, [S, K].
    """
    S, N = draws.labels.shape
    T = int(draws.labels.max()) + 1
    places = np.empty((S, N), np.min_scalar_type(K))
    jaccard, together = np.empty((S, K)), np.empty((S, K))
    sizes = np.bincount(own, minlength=K)
    for rows in blocks(S, K * T):
        tables = overlaps(draws.labels[rows], own, K, T)
        places[rows] = np.take_along_axis(_names(tables), draws.labels[rows], 1)
        either = sizes[:, None] + tables.sum(1, keepdims=True) - tables
        jaccard[rows] = (tables / either).max(2)
        with np.errstate(invalid="ignore"):
            together[rows] = (tables * (tables - 1)).sum(2) / (sizes * (sizes - 1))
    return places, jaccard, together


def _names(tables: np.ndarray) -> np.ndarray:
    """Cluster of the partition that each cluster of the draws is, or K, [s, T]."""
    s, K, T = tables.shape
    found = np.full((s, T), K)
    for row, table in zip(found, tables, strict=True):
        rows, columns = linear_sum_assignment(-table)
        shares = table[rows, columns] > 0
        row[columns[shares]] = rows[shares]
    return found


def _shares(places: np.ndarray, draws: LabelDraws, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Weighted share of draws in which a point is in each of n places, [N, n], and its error.

    As `mean_and_mcse` of indicators, one place at a time.
    """
    N, starts = places.shape[1], parts(draws)
    bounds = np.append(0 if starts is None else starts, len(places))
    runs = [slice(a, b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    mass = np.array([draws.weights[run].sum() for run in runs])[:, None]
    found, error = np.empty((N, n)), np.full((N, n), np.nan)
    for k in range(n):
        there = places == k
        totals = np.array([draws.weights[run] @ there[run] for run in runs])  # [B, N]
        found[:, k] = totals.sum(0)
        if starts is not None:
            away = np.square(totals - found[:, k] * mass).sum(0)
            error[:, k] = between(away, len(runs))
    return found, error


# --- tables ---------------------------------------------------------------------------------------


def _stability(
    own: np.ndarray,
    clusters: np.ndarray,
    probabilities: np.ndarray,
    draws: LabelDraws,
    jaccard: np.ndarray,
    together: np.ndarray,
) -> Any:
    import pandas as pd

    sizes = np.bincount(own)
    columns = {
        "size": sizes,
        "kept": np.bincount(own, probabilities[np.arange(len(own)), own]) / sizes,
    }
    for name, values in (("jaccard", jaccard), ("together", together)):
        columns[name], columns[f"mcse_{name}"] = mean_and_mcse(values, draws)
    return pd.DataFrame(columns, index=pd.Index(clusters, name="cluster"))


def _confusion(own: np.ndarray, clusters: np.ndarray, probabilities: np.ndarray) -> Any:
    import pandas as pd

    sizes = np.bincount(own)[:, None]
    sums = np.stack([np.bincount(own, column) for column in probabilities[:, :-1].T], axis=1)
    index, columns = pd.Index(clusters, name="cluster"), pd.Index(clusters, name="assigned")
    return pd.DataFrame(sums / sizes, index=index, columns=columns)


def _table(
    labels: np.ndarray,
    own: np.ndarray,
    clusters: np.ndarray,
    probabilities: np.ndarray,
    mcse: np.ndarray,
    entropy: np.ndarray,
    index: Any,
) -> Any:
    import pandas as pd

    rows = np.arange(len(own))
    others = probabilities.copy()
    others[rows, own] = -1.0
    place = others.argmax(1)
    most = others[rows, place]
    names = np.array([*clusters.tolist(), NONE], dtype=object)
    columns = {
        "label": labels,
        "probability": probabilities[rows, own],
        "mcse": mcse[rows, own],
        "entropy": entropy,
        "hesitation": np.where(most > 0, names[place], None),
        "hesitation_probability": most,
        **{f"probability_{name}": probabilities[:, k] for k, name in enumerate(names)},
    }
    return pd.DataFrame(columns, index=index)
