"""Where fits begin: labels, or responsibilities, by the names scikit-learn gives them."""

from collections.abc import Callable, Sequence

import numpy as np

from bayesgmm.core.arrays import Data

KMEANS_ROWS = 65_536
"""k-means sees at most this many points, drawn at random; the others join the nearest centre."""


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
    found = [STARTS[name](points, n_components, random_state) for _ in range(n_init)]
    return np.stack(found)


class _Points:
    """Rows of the shards by number, without a copy of all of them."""

    def __init__(self, shards: Sequence[Data], n_rows: int):
        sizes = np.array([np.count_nonzero(shard.weight) for shard in shards])
        self.shards, self.edges, self.n_rows = shards, np.concatenate([[0], sizes.cumsum()]), n_rows
        self.dtype = shards[0].points.dtype

    def rows(self, index: np.ndarray) -> np.ndarray:
        """Points [n, D] of sorted row numbers."""
        parts = [
            shard.points[:, index[(index >= low) & (index < high)] - low].T
            for shard, low, high in zip(self.shards, self.edges, self.edges[1:], strict=False)
        ]
        return np.ascontiguousarray(np.concatenate(parts))

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


def _kmeans(points: _Points, K: int, random_state: np.random.RandomState) -> np.ndarray:
    from sklearn.cluster import KMeans

    index = _some(points, random_state)
    model = KMeans(K, n_init=1, random_state=random_state, copy_x=False)
    model.fit(points.rows(index), sample_weight=points.weight(index))
    if len(index) == points.n_rows:
        return model.labels_
    return np.concatenate([model.predict(points.rows(block)) for block in points.blocks()])


def _one_each(points: _Points, index: np.ndarray) -> np.ndarray:
    labels = np.full(points.n_rows, -1, np.int32)
    labels[index] = np.arange(len(index))
    return labels


def _kmeans_plusplus(points: _Points, K: int, random_state: np.random.RandomState) -> np.ndarray:
    from sklearn.cluster import kmeans_plusplus

    index = _some(points, random_state)
    weight = points.weight(index)
    _, chosen = kmeans_plusplus(
        points.rows(index), K, sample_weight=weight, random_state=random_state
    )
    return _one_each(points, index[chosen])


def _random_from_data(points: _Points, K: int, random_state: np.random.RandomState) -> np.ndarray:
    return _one_each(points, random_state.choice(points.n_rows, K, replace=False))


def _random(points: _Points, K: int, random_state: np.random.RandomState) -> np.ndarray:
    resp = random_state.uniform(size=(points.n_rows, K)).T.astype(points.dtype)
    return resp / resp.sum(0)


STARTS: dict[str, Callable] = {
    "kmeans": _kmeans,
    "k-means++": _kmeans_plusplus,
    "random": _random,
    "random_from_data": _random_from_data,
}
