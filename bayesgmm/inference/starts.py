"""Where fits begin: labels, or responsibilities, by the names of scikit-learn and a few more."""

from collections.abc import Callable, Sequence

import numpy as np

from bayesgmm.core.arrays import Data
from bayesgmm.inference.agglomerate import FLAT, allocate, gaussians, hierarchical

KMEANS_ROWS = 65_536
"""k-means sees at most this many points, drawn at random; the others join the nearest centre."""

WHITENINGS = 20
"""How often "kmeans-whitened" whitens at most; a few times are enough as a rule."""

AGGLOMERATED_ROWS = 2000
"""Agglomeration, quadratic in time and memory, sees at most this many points, drawn at random, as
in mclust; the others join the most probable Gaussian of the clusters found. (Quantiles of a single
feature are cheaper: they are taken of up to KMEANS_ROWS points.)"""


def starts(
    name: str,
    shards: Sequence[Data],
    n_rows: int,
    n_components: int,
    n_init: int,
    random_state: np.random.RandomState,
) -> np.ndarray:
    """Starting labels or responsibilities for every restart.

    Parameters
    ----------
    name : str
        A key of `STARTS`.
    shards : sequence of Data
        Standardised points, so that units do not mislead k-means; NumPy arrays.
    n_rows : int
        Number of points that are not padding; each shard has its padding last.
    n_components, n_init : int
    random_state : numpy.random.RandomState

    Returns
    -------
    ndarray [n_init, N] of int, -1 for none, or [n_init, K, N] of float
        Over the n_rows points.
    """
    points = _Points(shards, n_rows)
    start = STARTS[name]
    return np.stack([start(points, n_components, random_state, r) for r in range(n_init)])


def starts_by_number(
    name: str,
    shards: Sequence[Data],
    n_rows: int,
    numbers: Sequence[int],
    n_init: int,
    random_state: np.random.RandomState,
) -> dict[int, np.ndarray]:
    """`starts` for several numbers of components; one agglomeration serves all of them.

    Of one component there is one start.
    """
    points = _Points(shards, n_rows)
    cuts = _cuts(points, numbers, random_state) if name == "hierarchical" else {}
    found = {}
    for K in numbers:
        restarts = range(n_init if K > 1 else 1)
        own = [STARTS[name](points, K, random_state, r) for r in restarts if r or K not in cuts]
        found[K] = np.stack([cuts[K], *own] if K in cuts else own)
    return found


class _Points:
    """Rows of the shards by number, without a copy of all of them; seen as rows @ axes if given."""

    def __init__(self, shards: Sequence[Data], n_rows: int, axes: np.ndarray | None = None):
        sizes = np.array([np.count_nonzero(shard.weight) for shard in shards])
        self.shards, self.edges, self.n_rows = shards, np.concatenate([[0], sizes.cumsum()]), n_rows
        self.dtype, self.axes = shards[0].points.dtype, axes

    def rows(self, index: np.ndarray) -> np.ndarray:
        """Points [n, D] of sorted row numbers."""
        parts = [
            shard.points[:, index[(index >= low) & (index < high)] - low].T
            for shard, low, high in zip(self.shards, self.edges, self.edges[1:], strict=False)
        ]
        found = np.ascontiguousarray(np.concatenate(parts))
        return found if self.axes is None else found @ self.axes

    def weight(self, index: np.ndarray) -> np.ndarray:
        parts = [shard.weight[: high - low] for shard, low, high in self._spans()]
        return np.concatenate(parts)[index]

    def blocks(self):
        """Row numbers, some at a time."""
        for start in range(0, self.n_rows, KMEANS_ROWS):
            yield np.arange(start, min(start + KMEANS_ROWS, self.n_rows))

    def _spans(self):
        return zip(self.shards, self.edges, self.edges[1:], strict=False)


def _some(points: _Points, random_state: np.random.RandomState) -> np.ndarray:
    if points.n_rows <= KMEANS_ROWS:
        return np.arange(points.n_rows)
    return np.sort(random_state.choice(points.n_rows, KMEANS_ROWS, replace=False))


def _kmeans(
    points: _Points, K: int, random_state: np.random.RandomState, restart: int
) -> np.ndarray:
    from sklearn.cluster import KMeans

    index = _some(points, random_state)
    model = KMeans(K, n_init=1, random_state=random_state, copy_x=False)
    model.fit(points.rows(index), sample_weight=points.weight(index))
    if len(index) == points.n_rows:
        return model.labels_
    return np.concatenate([model.predict(points.rows(block)) for block in points.blocks()])


def _kmeans_whitened(
    points: _Points, K: int, random_state: np.random.RandomState, restart: int
) -> np.ndarray:
    """k-means of points whitened by their covariance, then by that within the clusters found.

    Repeated until nothing moves, it lowers the determinant of the pooled scatter within clusters
    (Friedman and Rubin 1967), which no affine map of the points alters.
    """
    from sklearn.cluster import KMeans

    index = _some(points, random_state)
    rows, weight = points.rows(index).astype(np.float64), points.weight(index)
    apart, centres, labels = rows - np.average(rows, axis=0, weights=weight), None, None
    for _ in range(WHITENINGS):
        axes = _whitening(apart, weight)
        init = "k-means++" if centres is None else centres @ axes
        model = KMeans(K, init=init, n_init=1, random_state=random_state)
        model.fit(rows @ axes, sample_weight=weight)
        if np.array_equal(model.labels_, labels):
            break
        labels, centres = model.labels_, model.cluster_centers_ @ np.linalg.inv(axes)
        apart = rows - centres[labels]
    if len(index) == points.n_rows:
        return model.labels_
    turned = _Points(points.shards, points.n_rows, axes)
    return np.concatenate([model.predict(turned.rows(block)) for block in points.blocks()])


def _whitening(apart: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Axes [D, D] along which these deviations have variance one; flat ones less."""
    covariance = (weight[:, None] * apart).T @ apart / weight.sum()
    variances, axes = np.linalg.eigh(covariance)
    if not variances[-1] > 0:  # no deviation at all
        return axes
    return axes / np.sqrt(np.maximum(variances, FLAT**2 * variances[-1]))


def _hierarchical(
    points: _Points, K: int, random_state: np.random.RandomState, restart: int
) -> np.ndarray:
    """Clusters found from the points up, which depend on no draw; restarts draw k-means++ cells."""
    if restart > 0:
        return _cells(points, K, random_state, restart)
    return _cuts(points, [K], random_state)[K]


def _cuts(
    points: _Points, numbers: Sequence[int], random_state: np.random.RandomState
) -> dict[int, np.ndarray]:
    """One agglomeration cut at several numbers of components: labels [N] by number."""
    N = points.n_rows
    index = _agglomerated(points, max(numbers), random_state)
    sample, weight = points.rows(index).astype(np.float64), points.weight(index)
    found = hierarchical(sample, numbers, weight)
    return {
        K: own if len(index) == N else _joined(points, index, own, sample, weight)
        for K, own in found.items()
    }


def _joined(
    points: _Points, index: np.ndarray, own: np.ndarray, sample: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Labels of all points, given those of a sample."""
    found = gaussians(sample, own, weight)
    labels = np.concatenate([allocate(points.rows(block), found) for block in points.blocks()])
    labels[index] = own
    return labels


def _agglomerated(points: _Points, K: int, random_state: np.random.RandomState) -> np.ndarray:
    D, N = len(points.shards[0].points), points.n_rows
    limit = max(KMEANS_ROWS if D == 1 else AGGLOMERATED_ROWS, K)
    return np.arange(N) if N <= limit else np.sort(random_state.choice(N, limit, replace=False))


def _cells(
    points: _Points, K: int, random_state: np.random.RandomState, restart: int
) -> np.ndarray:
    """Each point by the nearest of K points that k-means++ chose."""
    centres, _ = _plusplus(points, K, random_state)
    level = 0.5 * np.square(centres).sum(1)
    nearest = [(points.rows(rows) @ centres.T - level).argmax(1) for rows in points.blocks()]
    return np.concatenate(nearest).astype(np.int32)


def _one_each(points: _Points, index: np.ndarray) -> np.ndarray:
    labels = np.full(points.n_rows, -1, np.int32)
    labels[index] = np.arange(len(index))
    return labels


def _kmeans_plusplus(
    points: _Points, K: int, random_state: np.random.RandomState, restart: int
) -> np.ndarray:
    return _one_each(points, _plusplus(points, K, random_state)[1])


def _plusplus(
    points: _Points, K: int, random_state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """K points [K, D] far from each other, and their numbers."""
    from sklearn.cluster import kmeans_plusplus

    index = _some(points, random_state)
    weight = points.weight(index)
    centres, chosen = kmeans_plusplus(
        points.rows(index), K, sample_weight=weight, random_state=random_state
    )
    return centres, index[chosen]


def _random_from_data(
    points: _Points, K: int, random_state: np.random.RandomState, restart: int
) -> np.ndarray:
    return _one_each(points, random_state.choice(points.n_rows, K, replace=False))


def _random(
    points: _Points, K: int, random_state: np.random.RandomState, restart: int
) -> np.ndarray:
    resp = random_state.uniform(size=(points.n_rows, K)).T.astype(points.dtype)
    return resp / resp.sum(0)


CANDIDATES = {"cells": 8}
"""How many a restart tries, 1 unless it is here: of cheap ones that differ, the best of several."""

STARTS: dict[str, Callable] = {
    "cells": _cells,
    "kmeans": _kmeans,
    "kmeans-whitened": _kmeans_whitened,
    "hierarchical": _hierarchical,
    "k-means++": _kmeans_plusplus,
    "random": _random,
    "random_from_data": _random_from_data,
}
"""Each makes one start from the points, K, the random state and the number of the restart."""
