"""Which cluster of a draw is which: the ways to match the clusters of draws with each other.

References
----------
Papastamoulis and Iliopoulos (2010), *Journal of Computational and Graphical Statistics* 19,
313-331: equivalence classes representatives (ECR), here with the draw of least expected variation
of information as the pivot.
Papastamoulis (2016), *Journal of Statistical Software* 69, code snippet 1: its iterative version.
Rodriguez and Walker (2014), *Journal of Computational and Graphical Statistics* 23, 25-45: the
points of a cluster, rather than its label or parameters, say which one it is.
Stephens (2000), *Journal of the Royal Statistical Society B* 62, 795-809: Kullback-Leibler
divergence from mean allocation probabilities.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from bayesgmm.posterior.partitions import blocks, contingency, expected_variation, overlaps

COMPARISONS = 10**8
"""Labels that may be looked at to find the pivot."""

CANDIDATES = 100
"""Draws that are compared with each other, at most."""

ROUNDS = 100
"""Rounds of an iterative method, at most; they are settled in a few."""

LEAST = 1e-100
"""A mean probability below this counts as this."""

FLAT = 1e-12
"""Least variance of a cluster, as a share of that of all points."""


# --- clusters of a draw and of one partition ------------------------------------------------------


def pivot(labels: np.ndarray, n_clusters: np.ndarray) -> np.ndarray:
    """The draw that lies in the middle of the others, labels [N].

    Of the draws with the most frequent number of clusters, some at equal distances are compared
    with as many of all; the one of least expected variation of information is taken.

    Parameters
    ----------
    labels : ndarray [S, N]
    n_clusters : ndarray [S]
    """
    S, N = labels.shape
    most = int(np.clip(np.sqrt(COMPARISONS / N), 2, CANDIDATES))
    modal = np.flatnonzero(n_clusters == np.bincount(n_clusters).argmax())
    some = labels[np.linspace(0, S - 1, min(most, S)).astype(int)]
    candidates = modal[np.linspace(0, len(modal) - 1, min(most, len(modal))).astype(int)]
    best = expected_variation(labels[candidates], some).argmin()
    return labels[candidates[best]]


def matched(labels: np.ndarray, reference: np.ndarray, n_places: int) -> np.ndarray:
    """For each draw, which of its clusters takes each place, [S, P]; -1 where none does.

    The places of the clusters of the reference come first, and share as many points with what is
    put there as they can; clusters that are left over take the places after them.

    Parameters
    ----------
    labels : ndarray [S, N]
        Clusters 0, 1, ..., those with points first.
    reference : ndarray [N]
        Likewise.
    n_places : int
        At least the number of clusters of any draw.
    """
    K, sizes = int(reference.max()) + 1, labels.max(1).astype(int) + 1
    tables = overlaps(labels, reference, K, int(sizes.max()))
    found = np.full((len(labels), n_places), -1)
    for row, table, t in zip(found, tables, sizes, strict=True):
        places, clusters = linear_sum_assignment(-table[:, :t])
        row[places] = clusters
        others = np.setdiff1d(np.arange(t), clusters)
        row[K : K + len(others)] = others
    return found


# --- draws of one number of clusters --------------------------------------------------------------


class Alike(NamedTuple):
    """Draws that all have K clusters.

    Attributes
    ----------
    labels : ndarray [S, N]
        Below K.
    probabilities : callable
        From a slice of draws to the probabilities [s, K, N] of their clusters.
    points : ndarray [N, D] or None
    n_clusters : int
        K.
    """

    labels: np.ndarray
    probabilities: Callable[[slice], np.ndarray] | None
    points: np.ndarray | None
    n_clusters: int

    def blocks(self) -> Iterator[slice]:
        """Draws that are worked on together."""
        S, N = self.labels.shape
        return blocks(S, N * self.n_clusters)


def ecr(draws: Alike) -> np.ndarray:
    """Orders [S, K] by which the clusters of each draw share most points with the pivot's."""
    number = np.full(len(draws.labels), draws.n_clusters)
    return _by_reference(draws, pivot(draws.labels, number))[0]


def ecr_iterative(draws: Alike) -> np.ndarray:
    """Orders [S, K] that share most points with the most frequent cluster of each point."""
    K, N = draws.n_clusters, draws.labels.shape[1]

    def improve(order: np.ndarray) -> tuple[np.ndarray, float]:
        counts = np.zeros((K, N), np.int64)
        for rows in draws.blocks():
            labels = renamed(draws.labels[rows], order[rows])
            for k in range(K):
                counts[k] += (labels == k).sum(0)
        return _by_reference(draws, counts.argmax(0))

    return _settled(ecr(draws), improve)


def stephens(draws: Alike) -> np.ndarray:
    """Orders [S, K] of least Kullback-Leibler divergence from the mean probabilities.

    Sum over draws and points of sum_k p_nk log(p_nk / q_nk) with q the mean of the ordered p: it
    falls with either given the other.
    """
    K, N = draws.n_clusters, draws.labels.shape[1]

    def improve(order: np.ndarray) -> tuple[np.ndarray, float]:
        mean = np.zeros((K, N))
        for rows in draws.blocks():
            p = draws.probabilities(rows)
            mean += np.take_along_axis(p, order[rows, :, None], 1).sum(0)
        log_q = np.log(np.maximum(mean / len(order), LEAST))
        costs = [-log_q @ np.swapaxes(draws.probabilities(rows), 1, 2) for rows in draws.blocks()]
        return assigned(np.concatenate(costs))

    return _settled(ecr(draws), improve)


def data_based(draws: Alike) -> np.ndarray:
    """Orders [S, K] by which the points of a place are closest to each other over all draws.

    Least sum, over draws, points and features, of (x - m_k)^2 / s_k^2 + log s_k^2, the point being
    in place k, and m_k and s_k^2 the mean and variance of all points of all draws there.
    """
    X, K = draws.points, draws.n_clusters
    X = (X - X.mean(0)) / np.where(np.ptp(X, axis=0) > 0, X.std(0), 1.0)
    features = np.concatenate([np.ones((len(X), 1)), X, X**2], axis=1)
    D = X.shape[1]
    sums = np.empty((len(draws.labels), K, 1 + 2 * D))  # counts, sums and squares of the clusters
    for rows in draws.blocks():
        for k in range(K):
            sums[rows, k] = (draws.labels[rows] == k).astype(float) @ features

    def improve(order: np.ndarray) -> tuple[np.ndarray, float]:
        total = np.take_along_axis(sums, order[..., None], 1).sum(0)  # [K, 1 + 2 D]
        mean, square = np.split(total[:, 1:] / total[:, :1], [D], axis=1)
        variance = np.maximum(square - mean**2, FLAT)
        constant = (mean**2 / variance + np.log(variance)).sum(1, keepdims=True)
        coefficients = np.concatenate([constant, -2 * mean / variance, 1 / variance], axis=1)
        return assigned(coefficients @ np.swapaxes(sums, 1, 2))

    return _settled(ecr(draws), improve)


class Method(NamedTuple):
    """A way to match clusters, and what it needs beside labels."""

    order: Callable[[Alike], np.ndarray]
    needs: str | None = None


METHODS = {
    "ecr": Method(ecr),
    "ecr-iterative": Method(ecr_iterative),
    "stephens": Method(stephens, "probabilities"),
    "data-based": Method(data_based, "points"),
}


# --- their parts ----------------------------------------------------------------------------------


def renamed(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Labels [S, N] of clusters that are put in this order [S, K]."""
    return np.take_along_axis(np.argsort(order, axis=1).astype(labels.dtype), labels, 1)


def names_by_overlap(labels: np.ndarray, reference: np.ndarray, n_clusters: int) -> np.ndarray:
    """What a reference calls each of the clusters of labels with which it shares most, one to one.

    Parameters
    ----------
    labels, reference : ndarray [N] of int
    n_clusters : int
        T: the labels are below it.

    Returns
    -------
    ndarray [T] of int
        Those that share nothing with the one left for them follow after all of the reference.
    """
    K = int(reference.max()) + 1
    table = contingency(reference, labels, K, n_clusters)
    rows, columns = linear_sum_assignment(-table)
    shares = table[rows, columns] > 0
    names = np.full(n_clusters, -1)
    names[columns[shares]] = rows[shares]
    names[names < 0] = K + np.arange((names < 0).sum())
    return names


def assigned(costs: np.ndarray) -> tuple[np.ndarray, float]:
    """Which cluster takes each place at least cost [S, place, cluster], [S, K], and the sum."""
    order = np.array([linear_sum_assignment(cost)[1] for cost in costs])
    return order, float(np.take_along_axis(costs, order[..., None], 2).sum())


def _by_reference(draws: Alike, reference: np.ndarray) -> tuple[np.ndarray, float]:
    K = draws.n_clusters
    return assigned(-overlaps(draws.labels, reference, K, K))


def _settled(
    order: np.ndarray, improve: Callable[[np.ndarray], tuple[np.ndarray, float]]
) -> np.ndarray:
    """Orders after rounds of `improve`, which returns better ones and their loss, until it ends."""
    least = np.inf
    for _ in range(ROUNDS):
        proposed, loss = improve(order)
        if loss >= least or np.array_equal(proposed, order):
            break
        order, least = proposed, loss
    return order
