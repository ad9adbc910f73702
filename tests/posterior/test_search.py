"""The search against all partitions, other software, and a plain search written here."""

import itertools
import warnings
from functools import cache

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from bayesgmm import MCMCGaussianMixture, datasets
from bayesgmm.posterior import reallocate, search
from bayesgmm.posterior.draws import in_order
from bayesgmm.posterior.partitions import LOSSES, expected_loss, losses, partition_loss
from bayesgmm.posterior.search import point_partition
from tests.conftest import slow

EVERY_LOSS = [*LOSSES, ("vi", 0.3), ("vi", 1.8), ("binder", 0.5), ("binder", 1.7)]


def as_labels(text):
    return np.array([int(one) for one in text], np.int32)


def noisy(S, N, K, noise, seed):
    """Draws around one partition, as a posterior has them."""
    rng = np.random.default_rng(seed)
    centre = np.sort(rng.integers(0, K, N))
    moved = rng.uniform(size=(S, N)) < noise
    return np.where(moved, rng.integers(0, K + 1, (S, N)), centre)


# --- all partitions -------------------------------------------------------------------------------


def least(draws, weights, loss, partitions, most=None):
    """The two least expected losses over all partitions, of at most so many clusters."""
    row, cost = partition_loss(loss)
    able = partitions if most is None else partitions[partitions.max(1) < most]
    shares = np.full(len(draws), 1 / len(draws)) if weights is None else weights / weights.sum()
    return np.sort(losses(able, in_order(draws), row, cost) @ shares)[:2]


@pytest.mark.parametrize("loss", EVERY_LOSS)
@pytest.mark.parametrize(
    "N, K, noise",
    [
        (8, 4, 0.9),
        slow(9, 3, 0.4),
        slow(6, 2, 1.0),
    ],
)
def test_the_exhaustive_optimum(all_partitions, loss, N, K, noise):
    """Noise 1: draws that have nothing in common."""
    draws = noisy(12, N, K, noise, seed=N)
    found = point_partition(draws, loss, random_state=0)
    best, second = least(draws, None, loss, all_partitions(N))
    assert found.expected_loss == pytest.approx(best, abs=1e-10)
    assert found.expected_loss == pytest.approx(expected_loss(found.labels, draws, loss))
    other = found.runner_up
    assert other.expected_loss >= second - 1e-10 and other.runner_up is None
    assert other.expected_loss == pytest.approx(expected_loss(other.labels, draws, loss))
    assert (other.labels != found.labels).any() and other.n_clusters == other.labels.max() + 1


@pytest.mark.slow
@pytest.mark.parametrize("loss", EVERY_LOSS)
@pytest.mark.parametrize("seed", range(20))
def test_the_exhaustive_optimum_of_many(all_partitions, loss, seed):
    rng = np.random.default_rng(seed)
    N = int(rng.integers(1, 10))
    draws = noisy(int(rng.integers(1, 60)), N, int(rng.integers(1, 5)), rng.uniform(), seed)
    weights = rng.dirichlet(np.ones(len(draws))) if seed % 2 else None
    most = int(rng.integers(1, N + 1)) if seed % 3 == 0 else None
    found = point_partition(draws, loss, most, weights=weights, random_state=seed)
    best = least(draws, weights, loss, all_partitions(N), most)[0]
    assert found.expected_loss == pytest.approx(best, abs=1e-10)
    assert most is None or found.n_clusters <= most


@pytest.mark.parametrize("loss", EVERY_LOSS)
@pytest.mark.parametrize("most", [1, 2, 3])
def test_at_most_so_many_clusters(all_partitions, loss, most):
    draws = noisy(20, 7, 4, 0.3, seed=1)
    found = point_partition(draws, loss, max_clusters=most, random_state=0)
    assert found.n_clusters <= most
    best = least(draws, None, loss, all_partitions(7), most)[0]
    assert found.expected_loss == pytest.approx(best, abs=1e-10)
    assert found.runner_up is None or found.runner_up.n_clusters <= most


def check_exact(cases, loss):
    for name, case, partitions, weights, _ in cases:
        reference = case[f"{loss}_opt"]
        unit = 1 if loss == "vi" else 2 / partitions.shape[1] ** 2
        found = point_partition(partitions, loss, weights=weights, random_state=0)
        best, second = reference["expected_loss"] * unit, reference["runner_up_loss"] * unit
        assert found.expected_loss == pytest.approx(best, abs=1e-9), name
        if second > best + 1e-9:
            np.testing.assert_array_equal(found.labels, as_labels(reference["labels"]), name)
        assert np.isnan(found.mcse)


@pytest.mark.parametrize("loss", ["vi", "binder"])
def test_exact_posteriors(exact_cases, loss):
    check_exact(exact_cases[::15], loss)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["vi", "binder"])
def test_every_exact_posterior(exact_cases, loss):
    check_exact(exact_cases, loss)


def test_other_software(peers):
    """The true optimum, and at most the loss of every estimate of mcclust and mcclust.ext."""
    reference, draws = peers
    vi = point_partition(draws, random_state=0)
    pairs = point_partition(draws, "binder", random_state=0)
    assert vi.labels.tolist() == as_labels(reference["exhaustive_VI"]["labels"]).tolist()
    assert pairs.labels.tolist() == as_labels(reference["exhaustive_binder"]["labels"]).tolist()
    known = vi.expected_loss, pairs.expected_loss * 32
    assert vi.runner_up.expected_loss == pytest.approx(reference["exhaustive_VI"]["second_best"])
    second = reference["exhaustive_binder"]["second_best"]
    assert pairs.runner_up.expected_loss * 32 == pytest.approx(second)
    for estimate in reference.values():
        if isinstance(estimate, dict) and "reported_value" in estimate:
            assert known[0] <= estimate["expected_VI_bits"] + 1e-12
            assert known[1] <= estimate["expected_binder_pairs"] + 1e-12


# --- more points: draws, cuts, a plain search -----------------------------------------------------


class PlainSearch:
    """Greedy search on contingency tables in NumPy, one start at a time: random order, sweeps."""

    def __init__(self, draws, phi, K):
        self.draws, self.K = draws, K
        self.S, self.N = draws.shape
        self.L = draws.max() + 1
        self.gain = np.diff(phi(np.arange(self.N + 2.0)))

    def run(self, rng, sweeps=30):
        labels = np.full(self.N, -1)
        tables = np.zeros((self.S, self.L, self.K), int)
        sizes = np.zeros(self.K, int)
        draw = np.arange(self.S)
        for sweep in range(sweeps):
            moves = 0
            for i in rng.permutation(self.N):
                own, k = self.draws[:, i], labels[i]
                if k >= 0:
                    tables[draw, own, k] -= 1
                    sizes[k] -= 1
                loss = self.gain[sizes] - 2 * self.gain[tables[draw, own]].mean(0)
                best = loss.argmin() if k < 0 or loss.min() < loss[k] - 1e-10 else k
                labels[i] = best
                tables[draw, own, best] += 1
                sizes[best] += 1
                moves += best != k
            if sweep and not moves:
                break
        return labels


def xlog2x(x):
    return x * np.log2(np.maximum(x, 1))


def check_larger(draws, loss, starts, seed=0):
    draws = in_order(draws)
    found = point_partition(draws, loss, random_state=seed)
    value = expected_loss(found.labels, draws, loss)
    assert found.expected_loss == pytest.approx(value, abs=1e-12)
    assert found.runner_up.expected_loss >= value - 1e-12
    distinct = np.unique(draws, axis=0)
    rivals = {"a draw": distinct}
    similar = np.mean(draws[:, :, None] == draws[:, None], axis=0)
    far = squareform(1 - similar, checks=False)
    most = min(len(similar), 30)
    for method in ("average", "complete"):
        tree = linkage(far, method)
        rivals[method] = np.array([fcluster(tree, k, "maxclust") for k in range(1, most + 1)])
    plain = PlainSearch(draws, xlog2x if loss == "vi" else np.square, 20)
    rngs = np.random.default_rng(1).spawn(starts)
    rivals["a plain search"] = np.array([plain.run(rng) for rng in rngs])
    for name, some in rivals.items():
        assert value <= expected_loss(some, draws, loss).min() + 1e-10, name


@pytest.mark.parametrize("loss", ["vi", "binder"])
def test_no_draw_no_cut_and_no_plain_search_is_better(loss):
    check_larger(noisy(120, 60, 5, 0.35, seed=0), loss, starts=10)


@cache
def posterior(name):
    """Four chains of 100 draws, thinned to where they hardly depend on each other."""
    model = MCMCGaussianMixture(n_samples=100, thin=10, random_state=0, progress_bar=False)
    X, _ = datasets.load(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few draws: that is not what is tested
        model.fit(X)
    return np.asarray(model._draws.flat().labels)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["vi", "binder"])
@pytest.mark.parametrize("name", ["galaxies", "faithful", "iris", "thyroid"])
def test_our_own_posteriors(name, loss):
    check_larger(posterior(name), loss, starts=200)


@pytest.mark.parametrize("loss", EVERY_LOSS)
def test_nothing_is_a_move_away(loss):
    """No point could go elsewhere, and no two clusters could be one."""
    draws = noisy(80, 40, 4, 0.3, seed=3)
    found = point_partition(draws, loss, n_starts=4, random_state=0)
    labels, t = found.labels, found.n_clusters
    moved = np.repeat(labels[None], 40 * (t + 1), axis=0)
    for row, (i, k) in zip(moved, itertools.product(range(40), range(t + 1)), strict=True):
        row[i] = k
    pairs = itertools.combinations(range(t), 2)
    joined = np.array([np.where(labels == a, b, labels) for a, b in pairs])
    for some in (moved, joined):
        if len(some):
            assert found.expected_loss <= expected_loss(some, draws, loss).min() + 1e-11
    others = moved[[(row != labels).any() for row in in_order(moved)]]
    assert found.runner_up.expected_loss <= expected_loss(others, draws, loss).min() + 1e-11


# --- what it is given -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", EVERY_LOSS)
def test_draws_that_are_all_one_partition(loss):
    for draws in ([[3, 3, 1, 2]] * 6, [[0, 1, 2, 3]], [[5, 5, 5, 5]] * 2):
        found = point_partition(draws, loss, random_state=0)
        np.testing.assert_array_equal(found.labels, in_order(np.array(draws[:1]))[0])
        assert found.expected_loss == 0 and found.runner_up.expected_loss > 0
    alone = point_partition([[0], [4]], loss)
    assert alone.labels.tolist() == [0] and alone.runner_up is None


def test_many_singletons():
    """Tables of as many columns as points, and a partition that wants them all."""
    draws = np.tile(np.arange(100), (5, 1))
    draws[1:3, :2] = 0
    found = point_partition(draws, "binder", random_state=0)
    assert found.n_clusters == 100 and found.expected_loss == pytest.approx(2 / 100**2 * 2 / 5)


def test_more_clusters_than_any_draw():
    """Each pair is together in a third of the draws: Binder's loss parts them all."""
    found = point_partition([[0, 0, 1], [0, 1, 0], [0, 1, 1]], "binder", random_state=0)
    assert found.labels.tolist() == [0, 1, 2]


def test_tables_grow():
    """Draws of three clusters whose optimum has more than the tables begin with."""
    draws = np.random.default_rng(0).integers(0, 3, (50, 30))
    found = point_partition(draws, ("binder", 0.5), random_state=0, n_starts=2)
    alone = expected_loss(np.arange(30), draws, ("binder", 0.5))
    assert found.n_clusters > 12 and found.expected_loss <= alone + 1e-12


def test_tables_that_do_not_fit(monkeypatch):
    monkeypatch.setattr(reallocate, "CELLS", 8 * 900)
    draws = np.random.default_rng(0).integers(0, 3, (300, 40))
    with pytest.warns(UserWarning, match="held to 8 clusters"):
        point_partition(draws, "binder", random_state=0, n_starts=2)


def test_weights_are_repetitions():
    draws = noisy(12, 10, 3, 0.4, seed=5)
    counts = np.arange(12) % 3
    weighted = point_partition(draws, weights=counts, random_state=0)
    repeated = point_partition(np.repeat(draws, counts, axis=0), random_state=0)
    assert weighted.labels.tolist() == repeated.labels.tolist()
    assert weighted.expected_loss == pytest.approx(repeated.expected_loss)


def test_chains_give_the_error():
    draws = noisy(60, 10, 3, 0.3, seed=6)
    chains = point_partition(draws.reshape(3, 20, 10), random_state=0)
    flat = point_partition(draws, random_state=0)
    assert chains.labels.tolist() == flat.labels.tolist()
    expected = expected_loss(chains.labels, draws.reshape(3, 20, 10), return_mcse=True)
    assert (chains.expected_loss, chains.mcse) == pytest.approx(expected)
    assert flat.mcse != chains.mcse and flat.mcse > 0


def test_seeds():
    draws = noisy(50, 30, 4, 0.6, seed=7)
    a, b = (point_partition(draws, random_state=3) for _ in range(2))
    assert a.labels.tolist() == b.labels.tolist() and a.hits == b.hits
    assert a.runner_up.labels.tolist() == b.runner_up.labels.tolist()
    state = np.random.RandomState(3)
    point_partition(draws, random_state=state)
    assert state.randint(10**6) != np.random.RandomState(3).randint(10**6)
    point_partition(draws, random_state=np.random.default_rng(0))


def test_many_draws_are_thinned_for_the_starts(monkeypatch):
    draws = noisy(300, 25, 3, 0.3, seed=8)
    whole = point_partition(draws, random_state=0)
    monkeypatch.setattr(search, "ROUGH", 64)
    found = point_partition(draws, random_state=0)
    assert found.labels.tolist() == whole.labels.tolist()
    assert found.expected_loss == pytest.approx(whole.expected_loss)


def test_many_points_are_cut_by_a_sample(monkeypatch):
    draws = noisy(40, 60, 3, 0.2, seed=9)
    whole = point_partition(draws, random_state=0)
    monkeypatch.setattr(search, "LINKED", 20)
    found = point_partition(draws, random_state=0)
    assert found.expected_loss == pytest.approx(whole.expected_loss)


def test_how_it_looks():
    shown = repr(point_partition(noisy(50, 20, 2, 0.1, seed=10), random_state=0))
    assert shown.startswith("PointPartition of 20 points: clusters of ")
    assert "bits (Monte Carlo error" in shown and "runner-up: " in shown
    assert "found by" in shown and "of 16 climbs" in shown
    exact = point_partition([[0, 0], [0, 1]], "nid", weights=[0.4, 0.6])
    assert "Monte Carlo" not in repr(exact)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"max_clusters": 0}, "max_clusters must be an integer of at least 1, got 0"),
        ({"max_clusters": 2.0}, r"max_clusters must be an integer of at least 1, got 2\.0"),
        ({"n_starts": 0}, "n_starts must be an integer of at least 1, got 0"),
        ({"n_starts": True}, "n_starts must be an integer"),
        ({"loss": "v"}, "Did you mean 'vi'"),
        ({"weights": [1, 2, 3]}, r"weights must have shape \(2,\)"),
        ({"weights": [-1, 2]}, "at least 0; draw 0 has -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        point_partition([[0, 1, 1], [0, 0, 1]], **options)


def test_bad_draws():
    with pytest.raises(ValueError, match="ragged rows, of 1 to 2 points"):
        point_partition([[0, 1], [0]])
    with pytest.raises(ValueError, match=r"One draw is draws\[None\]"):
        point_partition([0, 1])
