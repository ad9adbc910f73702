"""Undoing label switching: the clusters of every draw matched with those of one partition.

References
----------
Papastamoulis and Iliopoulos (2010), *Journal of Computational and Graphical Statistics* 19,
313-331: equivalence classes representatives, here with the draw of least expected variation of
information as the pivot.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from bayesgmm.posterior.partitions import contingency, expected_variation

COMPARISONS = 10**8
"""Labels that may be looked at to find the pivot."""

CANDIDATES = 100
"""Draws that are compared with each other, at most."""


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
    K = int(reference.max()) + 1
    found = np.full((len(labels), n_places), -1)
    for row, own in zip(found, labels, strict=True):
        t = int(own.max()) + 1
        table = contingency(reference, own, K, t)
        places, clusters = linear_sum_assignment(-table)
        row[places] = clusters
        others = np.setdiff1d(np.arange(t), clusters)
        row[K : K + len(others)] = others
    return found
