"""Starts: valid labels by every name, the same from any cut into shards, scikit-learn's draws."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans, kmeans_plusplus

from bayesgmm.core import Data
from bayesgmm.inference import starts as module
from bayesgmm.inference.agglomerate import hierarchical
from bayesgmm.inference.starts import STARTS, starts
from tests.conftest import assert_close

N, K, D = 200, 3, 2


def some_points(seed=0):
    """Three clusters far apart, and which is which."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, N)
    return rng.normal(size=(N, D)) + 12.0 * np.array([[0, 0], [1, 0], [0, 1]])[labels], labels


def shards_of(points, weight=None, cuts=(), pad=5):
    """Rows cut into shards, each with padding at its end."""
    weight = np.ones(len(points)) if weight is None else weight
    parts = zip(np.split(points, cuts), np.split(weight, cuts), strict=True)
    return [Data(np.pad(p.T, ((0, 0), (0, pad))), np.pad(w, (0, pad))) for p, w in parts]


def start(name, shards, n_init=2, seed=0, n_rows=N):
    return starts(name, shards, n_rows, K, n_init, np.random.RandomState(seed))


def same_partition(a, b):
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


def check_start(name):
    points, _ = some_points()
    found = start(name, shards_of(points))
    assert len(found) == 2 and not np.array_equal(found[0], found[1])  # restarts differ
    assert np.array_equal(found, start(name, shards_of(points)))  # the seed is all there is
    assert not np.array_equal(found, start(name, shards_of(points), seed=1))
    (check_labels if found.dtype.kind == "i" else check_resp)(found)
    kept = points.copy()
    for cuts in ([60], [10, 150]):
        assert np.array_equal(start(name, shards_of(points, cuts=cuts)), found)
    assert np.array_equal(points, kept)
    single = start(name, shards_of(points.astype(np.float32)))
    assert single.dtype == found.dtype or single.dtype == np.float32


def check_labels(found):
    """Every component has a point; -1 stands for none."""
    assert found.shape == (2, N)
    for labels in found:
        assert set(labels) - {-1} == set(range(K))


def check_resp(found):
    assert found.shape == (2, K, N) and found.min() >= 0
    assert_close(found.sum(1), np.ones((2, N)))


@pytest.mark.parametrize("name", STARTS)
def test_contract(name):
    check_start(name)


@pytest.mark.parametrize("name", ["kmeans", "kmeans-whitened", "hierarchical"])
def test_clusters_far_apart_are_found(name):
    points, labels = some_points()
    for found in start(name, shards_of(points)):
        assert same_partition(found, labels)


def test_one_point_a_component_from_the_data_or_by_k_means_plus_plus():
    points, labels = some_points()
    for name in ("k-means++", "random_from_data"):
        for found in start(name, shards_of(points)):
            assert np.count_nonzero(found >= 0) == K
    spread = start("k-means++", shards_of(points), n_init=20)
    covered = [len(set(labels[found >= 0])) == K for found in spread]
    assert np.mean(covered) > 0.9  # chosen far from each other


def test_draws_are_scikit_learns():
    """From the same random state, so that fits can be compared run by run."""
    points, _ = some_points()
    resp = start("random", shards_of(points), n_init=1)[0].T
    expected = np.random.RandomState(0).uniform(size=(N, K))
    assert_close(resp, expected / expected.sum(1, keepdims=True))
    labels = start("kmeans", shards_of(points), n_init=1)[0]
    model = KMeans(K, n_init=1, random_state=np.random.RandomState(0)).fit(points)
    assert np.array_equal(labels, model.labels_)
    chosen = start("k-means++", shards_of(points), n_init=1)[0]
    _, index = kmeans_plusplus(points, K, random_state=np.random.RandomState(0))
    assert np.array_equal(chosen[index], np.arange(K))
    chosen = start("random_from_data", shards_of(points), n_init=1)[0]
    index = np.random.RandomState(0).choice(N, K, replace=False)
    assert np.array_equal(chosen[index], np.arange(K))


@pytest.mark.parametrize("name", ["kmeans", "k-means++", "kmeans-whitened"])
def test_weights_count(name):
    """Points of next to no weight found no cluster."""
    points, labels = some_points()
    light = np.where(labels == 2, 1e-12, 1.0)
    heavy_only = 0
    for found in start(name, shards_of(points, light), n_init=10):
        if name.startswith("kmeans"):
            heavy_only += len(set(found[labels < 2])) == K
        else:
            heavy_only += not np.any(found[labels == 2] >= 0)
    assert heavy_only == 10


def cigars(seed=2):
    """Three long clusters side by side, turned, and which is which."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, N)
    along, across = 30 * rng.normal(size=N), 12.0 * labels + rng.normal(size=N)
    points = np.column_stack([along, across]) @ [[0.8, 0.6], [-0.6, 0.8]]
    return points / points.std(axis=0), labels


def test_whitened_k_means_finds_cigars():
    """Which k-means of standardised columns cuts across."""
    points, labels = cigars()
    found = start("kmeans-whitened", shards_of(points), n_init=10)
    assert np.mean([same_partition(own, labels) for own in found]) > 0.5
    plain = start("kmeans", shards_of(points), n_init=10)
    assert not any(same_partition(own, labels) for own in plain)


def test_whitened_k_means_knows_neither_units_nor_axes():
    points, _ = cigars()
    image = points @ [[300.0, -1.0], [290.0, 1.0]] + 5
    one, other = (start("kmeans-whitened", shards_of(x), n_init=5) for x in (points, image))
    assert np.array_equal(one, other)


def test_whitened_k_means_is_settled():
    """Each point is nearest to its own centre, by the pooled covariance within the clusters."""
    rng = np.random.default_rng(3)
    points, weight = rng.normal(size=(N, D)) @ [[1.0, 0.9], [0.0, 0.3]], rng.uniform(1, 2, N)
    for labels in start("kmeans-whitened", shards_of(points, weight), n_init=5):
        members = [labels == k for k in range(K)]
        centres = [np.average(points[own], axis=0, weights=weight[own]) for own in members]
        apart = points - np.array(centres)[labels]
        precision = np.linalg.inv(np.cov(apart.T, aweights=weight, ddof=0))
        distance = cdist(points, centres, "mahalanobis", VI=precision)
        assert np.mean(labels == distance.argmin(1)) == 1


@pytest.mark.parametrize("name", ["kmeans-whitened", "hierarchical"])
def test_collinear_and_constant_columns(name):
    points, labels = some_points()
    more = np.column_stack([points, points.sum(1), np.zeros(N)])
    for dtype in (np.float64, np.float32):
        for found in start(name, shards_of(more.astype(dtype))):
            assert same_partition(found, labels)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("name", ["kmeans-whitened", "hierarchical"])
def test_equal_points(name):
    found = start(name, shards_of(np.full((N, D), 0.5)))
    assert found.min() == 0 and found.max() < K
    assert name != "hierarchical" or set(found[0]) == set(range(K))


def test_restarts_beside_the_hierarchical_one_are_cells_of_k_means_plus_plus():
    """The first start depends on no seed; each other point goes with the nearest chosen one."""
    points, _ = some_points()
    points = points * 0.1  # clusters that overlap
    shards = shards_of(points, cuts=[90])
    found = start("hierarchical", shards, n_init=4)
    assert np.array_equal(found[0], start("hierarchical", shards, n_init=1, seed=7)[0])
    assert np.array_equal(found[0], hierarchical(points, K))
    random_state = np.random.RandomState(0)
    for labels in found[1:]:
        centres, _ = kmeans_plusplus(points, K, random_state=random_state)
        apart = ((points[:, None] - centres) ** 2).sum(-1)
        assert np.array_equal(labels, apart.argmin(1))


def test_weights_count_in_agglomeration():
    points, labels = some_points()
    light = np.where(labels == 2, 1e-9, 1.0)
    found = start("hierarchical", shards_of(points, light), n_init=1)[0]
    assert np.array_equal(found, hierarchical(points, K, light))
    assert len(set(found[labels < 2])) == K


@pytest.mark.parametrize("name", ["kmeans", "k-means++", "kmeans-whitened"])
def test_many_points_are_judged_by_some(name, monkeypatch):
    """Above KMEANS_ROWS the others join the nearest centre, block by block."""
    monkeypatch.setattr(module, "KMEANS_ROWS", 40)
    points, labels = some_points()
    seen = []

    def rows(self, index):
        seen.append(len(index))
        return original(self, index)

    original = module._Points.rows
    monkeypatch.setattr(module._Points, "rows", rows)
    found = start(name, shards_of(points, cuts=[90]))
    assert max(seen) == 40
    check_labels(found)
    if name.startswith("kmeans"):
        assert all(same_partition(own, labels) for own in found)
        assert sum(seen) == 2 * (40 + N)


@pytest.mark.parametrize("cuts", [(), (90,)])
def test_many_points_join_the_clusters_of_some(cuts, monkeypatch):
    """Above AGGLOMERATED_ROWS; a single feature can afford KMEANS_ROWS."""
    monkeypatch.setattr(module, "AGGLOMERATED_ROWS", 60)
    monkeypatch.setattr(module, "KMEANS_ROWS", 70)
    seen = []

    def agglomerate(points, K, weight):
        seen.append(len(points))
        return hierarchical(points, K, weight)

    monkeypatch.setattr(module, "hierarchical", agglomerate)
    points, labels = some_points()
    found = start("hierarchical", shards_of(points, cuts=cuts), n_init=1)
    assert same_partition(found[0], labels)
    line = points[:, :1] + 2 * points[:, 1:]
    found = start("hierarchical", shards_of(line, cuts=cuts), n_init=1)[0]
    assert np.mean(found == labels) > 0.9
    assert seen == [60, 70]


def test_more_components_than_agglomeration_would_see(monkeypatch):
    monkeypatch.setattr(module, "AGGLOMERATED_ROWS", 50)
    points = np.random.default_rng(3).normal(size=(N, D))
    found = starts("hierarchical", shards_of(points), N, 80, 1, np.random.RandomState(0))[0]
    assert set(found) == set(range(80))
