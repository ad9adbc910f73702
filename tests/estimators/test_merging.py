"""merge_components: against a naive implementation, by hand, and by what must hold of any tree."""

import warnings
from itertools import combinations

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.mixture import GaussianMixture as TheirMixture

from bayesgmm import (
    BayesianGaussianMixture,
    GaussianMixture,
    MCMCGaussianMixture,
    datasets,
    merge_components,
    plots,
)
from bayesgmm.estimators.merging import cumulated, elbow
from tests.conftest import assert_close, slow


class Given(BaseEstimator):
    """A fitted model whose probabilities are given."""

    def __init__(self, probabilities):
        self.probabilities = probabilities
        self.fitted_ = True

    def fit(self, X):
        return self

    def predict_proba(self, X):
        return np.asarray(self.probabilities, float)


def random_proba(seed, N, K, sharp=0.3):
    return np.random.default_rng(seed).dirichlet(np.full(K, sharp), N)


def naive(P, weight):
    """The whole algorithm over again at each step, from the definition: sets of components."""

    def entropy(groups):
        total = 0.0
        for w, row in zip(weight, P, strict=True):
            for group in groups:
                t = sum(row[k] for k in group)
                total -= w * t * np.log(t) if t > 0 else 0.0
        return total

    groups = [frozenset([k]) for k in range(P.shape[1])]
    path = [(groups, entropy(groups))]
    while len(groups) > 1:
        tried = []
        for a, b in combinations(groups, 2):
            new = [group for group in groups if group not in (a, b)] + [a | b]
            tried.append((entropy(new), new))
        best = min(tried, key=lambda pair: pair[0])
        groups = best[1]
        path.append((groups, best[0]))
    return {len(groups): (set(groups), value) for groups, value in path}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_as_the_naive_implementation(seed, weighted):
    P = random_proba(seed, 40, 6)
    weight = np.random.default_rng(seed).exponential(size=40) if weighted else np.ones(40)
    merged = merge_components(Given(P), P, sample_weight=weight if weighted else None)
    for n, (groups, value) in naive(P, weight).items():
        found = {frozenset(group.tolist()) for group in merged.components(n)}
        assert found == groups
        assert_close(merged.entropy[n - 1], value, atol=1e-12)


def test_by_hand():
    """Two components that share a point half and half, and one that stands alone."""
    P = [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.75, 0.25]]
    merged = merge_components(Given(P), P)
    own = np.log(2) - 0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    rest = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    assert_close(merged.entropy, [0.0, rest, own])
    assert merged.children.tolist() == [[0, 2], [1, 3]]
    assert [group.tolist() for group in merged.components(2)] == [[0, 2], [1]]
    assert merged.labels(2).tolist() == [0, 1, 0, 1]
    assert merged.labels(3).tolist() == [0, 1, 0, 1]
    assert merged.n_merged.tolist() == [4.0, 2.0]  # the last step, and the first
    assert merged.n_clusters == 3  # no elbow to be seen
    assert list(merged.table["cumulated"]) == [6.0, 2.0, 0.0]
    assert merged.table.loc[2, "components"] == [[0, 2], [1]]


@pytest.mark.parametrize("seed", range(5))
def test_what_holds_of_any_tree(seed):
    K = 8
    P = random_proba(10 + seed, 100, K, sharp=0.1)
    weight = np.random.default_rng(seed).integers(0, 4, 100)
    merged = merge_components(Given(P), P, weight)
    assert (np.diff(merged.entropy) >= -1e-9).all()
    assert merged.entropy[0] == pytest.approx(0, abs=1e-9)
    assert_close(merged.proba(K), P)
    for n in range(1, K + 1):
        assert_close(merged.proba(n).sum(1), np.ones(100))
        labels, coarse = merged.labels(n), merged.components(n)
        assert np.array_equal(labels, merged.proba(n).argmax(1))
        assert sorted(np.concatenate(coarse).tolist()) == list(range(K))
        if n < K:  # nested: every finer cluster lies in one of the coarser
            assert all(
                any(set(fine) <= set(group) for group in coarse)
                for fine in merged.components(n + 1)
            )
    assert sorted(merged.children.ravel().tolist()) == list(range(2 * K - 2))


def test_a_weight_counts_as_so_many_rows():
    P = random_proba(3, 30, 5)
    weight = np.random.default_rng(0).integers(0, 4, 30)
    once = merge_components(Given(P), P, sample_weight=weight)
    rows = np.repeat(P, weight, axis=0)
    again = merge_components(Given(rows), rows)
    assert np.array_equal(once.children, again.children)
    assert_close(once.entropy, again.entropy)
    assert_close(once.n_merged, again.n_merged)
    assert once.n_clusters == again.n_clusters


def test_elbow_of_two_straight_lines():
    x = cumulated(np.array([50.0, 40.0, 30.0, 20.0, 10.0]))  # 150, 100, 60, 30, 10, 0
    assert x.tolist() == [150.0, 100.0, 60.0, 30.0, 10.0, 0.0]
    for n in (2, 3, 4, 5):  # flat up to n clusters, steep beyond
        y = np.maximum(x[n - 1] - x, 0.0) * 3.0 + 1.0
        assert elbow(x, y) == n


def test_clusters_that_are_not_gaussian():
    """A ring and a blob: many components, two clusters; points are put with the right one."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 400)
    ring = 5 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.4 * rng.normal(size=(400, 2))
    X = np.concatenate([ring, 0.5 * rng.normal(size=(200, 2))])
    truth = np.repeat([0, 1], [400, 200])
    model = GaussianMixture(9, n_init=2, random_state=0).fit(X)
    merged = merge_components(model, X)
    labels = merged.labels(2)
    assert max((labels == truth).mean(), (labels != truth).mean()) == 1.0
    assert merged.n_clusters == 2
    assert np.array_equal(merged.labels(), labels)


@pytest.mark.parametrize(
    "model",
    [
        GaussianMixture(4, random_state=0),
        TheirMixture(4, random_state=0),
        slow(BayesianGaussianMixture(4, random_state=0)),
        slow(MCMCGaussianMixture(4, n_samples=200, random_state=0, progress_bar=False)),
    ],
    ids=lambda model: type(model).__module__.partition(".")[0] + type(model).__name__,
)
def test_every_estimator(model):
    X, _ = datasets.load_faithful()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X)
    merged = merge_components(model, X)
    K = merged.n_components
    assert_close(merged.proba(K), model.predict_proba(X))
    assert merged.entropy[K - 1] >= merged.entropy[1] >= 0
    assert np.array_equal(merged.labels(1), np.zeros(len(X)))


def test_one_component():
    merged = merge_components(Given(np.ones((3, 1))), np.ones((3, 1)))
    assert merged.n_clusters == 1
    assert merged.children.shape == (0, 2)
    assert merged.labels().tolist() == [0, 0, 0]


def test_what_is_refused():
    P = random_proba(0, 10, 4)
    merged = merge_components(Given(P), P)
    with pytest.raises(ValueError, match="n_clusters must be at most 4.*got 5"):
        merged.labels(5)
    with pytest.raises(ValueError, match="n_clusters must be an integer of at least 1, got 0"):
        merged.proba(0)
    with pytest.raises(TypeError, match="predict_proba.*got int"):
        merge_components(3, P)
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(10,\)"):
        merge_components(Given(P), P, sample_weight=[1.0, 2.0])
    with pytest.raises(ValueError, match="NaN"):
        model = GaussianMixture.from_parameters([1.0], [[0.0]], [[[1.0]]])
        merge_components(model, [[0.0], [np.nan]])
    with pytest.raises(NotFittedError):
        merge_components(GaussianMixture(2), P)


def test_plot():
    from matplotlib.figure import Figure

    P = random_proba(0, 50, 6)
    merged = merge_components(Given(P), P)
    ax = merged.plot(ax=Figure().subplots())
    shown = ax.lines[0].get_xydata()
    assert_close(shown, np.stack([cumulated(merged.n_merged), merged.entropy], 1))
    assert [text.get_text() for text in ax.texts] == list("123456")
    ring = ax.lines[1].get_xydata()
    assert_close(ring[0], shown[merged.n_clusters - 1])
    assert ax.get_xlabel() == "points merged"
    with pytest.raises(ValueError, match="n_clusters must be one of the table's, 1 to 6, got 7"):
        plots.plot_merging(merged.table, n_clusters=7)
    with pytest.raises(ValueError, match="must have a column 'cumulated'"):
        plots.plot_merging(merged.table[["entropy"]])
    with pytest.raises(TypeError, match="got list"):
        plots.plot_merging([1, 2])
