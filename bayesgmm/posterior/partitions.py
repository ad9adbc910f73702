"""Partitions as label vectors: contingency tables, distances, similarity.

References
----------
Meila (2007), *Journal of Multivariate Analysis* 98, 873-895: variation of information.
Wade and Ghahramani (2018), *Bayesian Analysis* 13, 559-626: its posterior expectation as the loss
of a point estimate.
"""

from collections.abc import Iterator

import numpy as np
from scipy.special import xlogy

BLOCK = 1 << 24
"""Numbers of a block of the similarity matrix that are worked on together."""


def contingency(a: np.ndarray, b: np.ndarray, K: int, L: int) -> np.ndarray:
    """How many points are in cluster k of `a` and l of `b`, [K, L]."""
    cells = np.bincount(a.astype(np.int64) * L + b, minlength=K * L)
    return cells.reshape(K, L)


def variation_of_information(table: np.ndarray) -> float:
    """Distance of two partitions from their contingency table, in bits."""
    shares = table / table.sum()
    logs = [xlogy(part, part).sum() for part in (shares.sum(0), shares.sum(1), shares)]
    return float(max(logs[0] + logs[1] - 2 * logs[2], 0.0) / np.log(2))


def expected_variation(candidates: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Mean distance of each candidate [M, N] from the draws [S, N], [M] bits."""
    K, L = int(candidates.max()) + 1, int(draws.max()) + 1
    return np.array(
        [
            np.mean([variation_of_information(contingency(a, b, K, L)) for b in draws])
            for a in candidates
        ]
    )


def _blocks(N: int) -> Iterator[slice]:
    rows = max(1, BLOCK // max(N, 1))
    for start in range(0, N, rows):
        yield slice(start, min(start + rows, N))


def similarity(draws: np.ndarray) -> np.ndarray:
    """Share of the draws [S, N] in which each two points are together, [N, N]."""
    S, N = draws.shape
    found = np.empty((N, N))
    for rows in _blocks(N):
        together = np.zeros((rows.stop - rows.start, N), np.int32)
        for labels in draws:
            together += labels[rows, None] == labels
        found[rows] = together / S
    return found
