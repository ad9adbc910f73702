"""Agglomeration: mclust's partitions, its criterion by brute force, quantiles, odd points."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from bayesgmm import GaussianMixture, datasets
from bayesgmm.inference.agglomerate import allocate, gaussians, hierarchical

REFERENCE = Path(__file__).parents[1] / "reference"


def read(name):
    return json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))


def table(name):
    """The columns as mclust had them: ours have one value corrected in two of the data sets."""
    if name in ("diabetes", "galaxies"):
        return np.reshape(read(f"mclust_{name}")["x"], (-1, 3 if name == "diabetes" else 1))
    return getattr(datasets, f"load_{name}")()[0].to_numpy()


def numbered(labels):
    """Labels in order of first appearance: equal for equal partitions."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def assert_all_used(labels, N, K):
    assert labels.shape == (N,) and labels.dtype.kind == "i"
    assert set(labels) == set(range(K))


# --- mclust -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["faithful", "iris", "diabetes", "galaxies"])
def test_partitions_are_mclusts(name):
    """Equal for every G, the tied rows of faithful and iris included."""
    X, expected = table(name), read("mclust_initialization")[name]["classification"]
    found = hierarchical(X, range(2, 10))
    assert list(found) == list(range(2, 10)) == [int(G) for G in expected]
    for G, labels in found.items():
        assert_all_used(labels, len(X), G)
        np.testing.assert_array_equal(numbered(labels), numbered(list(expected[str(G)])))


@pytest.mark.parametrize("name", ["faithful", "iris", "diabetes", "galaxies"])
def test_em_from_here_ends_where_mclust_does(name):
    X, expected = table(name), read("mclust_initialization")[name]["loglik"]
    options = dict(covariance_type="full", reg_covar=0, tol=1e-11, max_iter=3000, n_init=1)
    for G, loglik in expected.items():
        model = GaussianMixture(int(G), init_params="hierarchical", **options).fit(X)
        assert model.converged_
        np.testing.assert_allclose(len(X) * model.lower_bound_, loglik, rtol=1e-8)


# --- the criterion, from its definition ---------------------------------------------------------


def scaled_by_definition(points, weight):
    """Columns of unit variance, on principal axes of variance sqrt(eigenvalue / (N - 1))."""
    centred = points - np.average(points, axis=0, weights=weight)
    covariance = np.cov(centred.T, fweights=weight)
    centred = centred / np.sqrt(np.diagonal(covariance))
    variances, axes = np.linalg.eigh(np.corrcoef(np.repeat(centred, weight, axis=0).T))
    return centred @ axes / ((weight.sum() - 1) * variances) ** 0.25


def term(points, weight, alpha):
    """n log(|W / n| + (tr W + alpha) / n) of one cluster."""
    n = weight.sum()
    apart = points - np.average(points, axis=0, weights=weight)
    scatter = (weight[:, None] * apart).T @ apart
    inside = np.linalg.det(scatter / n) + (np.trace(scatter) + alpha) / n
    return n * np.log(inside)


def by_definition(points, weight):
    """Labels for each K of greedy merging of lists of rows, every pair computed anew each time."""
    Z = scaled_by_definition(points, weight)
    apart = Z - np.average(Z, axis=0, weights=weight)
    alpha = weight @ (apart**2).sum(1) / (weight.sum() * Z.shape[1])
    groups, found = [[i] for i in range(len(Z))], {}
    while len(groups) > 2:

        def cost(pair):
            i, j = pair
            one, other = groups[i], groups[j]
            terms = [term(Z[rows], weight[rows], alpha) for rows in (one + other, one, other)]
            return terms[0] - terms[1] - terms[2]

        i, j = min(combinations(range(len(groups)), 2), key=cost)
        groups[i] += groups.pop(j)
        labels = np.empty(len(Z), int)
        for k, rows in enumerate(groups):
            labels[rows] = k
        found[len(groups)] = numbered(labels)
    return found


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("D", [2, 3])
def test_each_merging_is_the_cheapest(D, weighted):
    rng = np.random.default_rng(D)
    points = rng.normal(size=(22, D)) * [1, 20, 0.1][:D] + 3 * rng.integers(0, 2, (22, 1))
    weight = rng.integers(1, 5, 22) if weighted else np.ones(22, int)
    found = hierarchical(points, range(1, 22), weight if weighted else None)
    expected = by_definition(points, weight)
    for K in range(2, 22):
        np.testing.assert_array_equal(found[K], expected[K])


def test_partitions_are_nested_and_independent_of_what_else_is_asked():
    points = np.random.default_rng(0).normal(size=(60, 3))
    found = hierarchical(points, [9, 2, 5, 60, 1])
    assert sorted(found) == [1, 2, 5, 9, 60]
    for K, labels in found.items():
        np.testing.assert_array_equal(labels, hierarchical(points, K))
        np.testing.assert_array_equal(labels, numbered(labels))
        coarser = found[max(L for L in found if L <= K)]
        assert len(set(zip(labels, coarser, strict=True))) == K


@pytest.mark.parametrize("D", [1, 3])
def test_neither_units_nor_order_nor_scale_of_weights_matter(D):
    rng = np.random.default_rng(1)
    points, weight = rng.normal(size=(80, D)), rng.uniform(0.2, 0.6, 80)
    labels = hierarchical(points, 5, weight)
    units = rng.uniform(1e-3, 1e3, D)
    np.testing.assert_array_equal(labels, hierarchical(points * units + 1e3 * units, 5, weight))
    order = rng.permutation(80)
    moved = hierarchical(points[order], 5, weight[order])
    np.testing.assert_array_equal(numbered(labels[order]), numbered(moved))
    np.testing.assert_array_equal(labels, hierarchical(points, 5, weight / weight.sum()))
    kept = points.copy(), weight.copy()
    hierarchical(points, 5, weight)
    assert np.array_equal(points, kept[0]) and np.array_equal(weight, kept[1])


def test_a_light_point_founds_no_cluster():
    """Weights count: a far point of hardly any weight joins the others, a heavy one does not."""
    rng = np.random.default_rng(2)
    points = np.concatenate([rng.normal(size=(40, 2)), [[8.0, 8.0]]])
    for last, alone in ((1e-9, False), (50.0, True)):
        labels = hierarchical(points, 2, np.append(np.ones(40), last))
        assert (np.count_nonzero(labels == labels[-1]) == 1) == alone


# --- one dimension ------------------------------------------------------------------------------


def test_one_feature_is_cut_at_quantiles():
    values = np.random.default_rng(3).normal(size=101)
    for K, labels in hierarchical(values[:, None], range(1, 12)).items():
        edges = np.quantile(values, np.arange(1, K) / K)
        np.testing.assert_array_equal(labels, np.searchsorted(edges, values, side="right"))


def test_points_on_a_line_are_cut_along_it():
    values = np.random.default_rng(4).normal(size=50)
    points = np.outer(values, [1.0, -2.0, 1e-3]) + [5.0, 0.0, 1.0]
    for K, labels in hierarchical(values[:, None], [2, 3, 7]).items():
        np.testing.assert_array_equal(numbered(labels), numbered(hierarchical(points, K)))


def test_weights_of_one_feature_are_repeated_values():
    rng = np.random.default_rng(5)
    values, weight = rng.normal(size=40), rng.integers(1, 6, 40)
    for K in (2, 3, 5, 8):
        labels = hierarchical(values[:, None], K, weight)
        repeated = hierarchical(np.repeat(values, weight)[:, None], K)
        np.testing.assert_array_equal(np.repeat(labels, weight), repeated)


def test_equal_values_stay_together_and_no_class_is_empty():
    values = np.array([0.0] * 30 + [1.0, 2.0, 2.0, 3.0, 3.0])
    for K in (2, 3, 4):
        labels = hierarchical(values[:, None], K)
        assert_all_used(labels, len(values), K)
        assert len(set(zip(values, labels, strict=True))) == 4
        assert (np.diff(labels) >= 0).all()
    assert_all_used(hierarchical(values[:, None], 7), len(values), 7)


# --- degenerate points --------------------------------------------------------------------------

_rng = np.random.default_rng(6)
DEGENERATE = {
    "all equal": np.full((12, 3), 0.3),
    "three different rows": np.repeat(_rng.normal(size=(3, 2)), 5, axis=0),
    "a grid": np.stack(np.meshgrid(range(5), range(4)), -1).reshape(-1, 2).astype(float),
    "a constant column": np.column_stack([_rng.normal(size=(20, 2)), np.full(20, 0.1 * 3)]),
    "collinear columns": _rng.normal(size=(20, 2)) @ [[1.0, 0.0, 1.0], [0.0, 1.0, -1.0]],
    "fewer points than features": _rng.normal(size=(4, 7)),
    "one point": np.ones((1, 2)),
    "a far point": np.vstack([_rng.normal(size=(20, 2)), [[1e9, 0.0]]]),
    "a far origin": _rng.normal(size=(20, 2)) + 1e9,
    "single precision": _rng.normal(size=(20, 3)).astype(np.float32),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_labels_are_valid(name, recwarn):
    points = DEGENERATE[name]
    for K, labels in hierarchical(points, range(1, min(len(points), 9) + 1)).items():
        assert_all_used(labels, len(points), K)
        found = gaussians(_standard(points), labels, np.ones(len(points)))
        assert all(np.isfinite(leaf).all() for leaf in found)
        assert set(allocate(_standard(points), found)) <= set(range(K))
    assert not recwarn.list


def _standard(points):
    spread = points.std(axis=0)
    return (points - points.mean(axis=0)) / np.where(spread > 1e-9, spread, 1)


def test_columns_that_say_nothing_change_nothing():
    points = np.random.default_rng(7).normal(size=(50, 2))
    labels = hierarchical(points, [2, 3, 6])
    more = hierarchical(np.column_stack([points, np.full(50, 1 / 3)]), [2, 3, 6])
    for K in labels:
        np.testing.assert_array_equal(labels[K], more[K])


# --- other points -------------------------------------------------------------------------------


def test_others_join_the_most_probable_gaussian():
    """Against the densities of SciPy, with covariances shrunk as described."""
    from scipy.stats import multivariate_normal

    rng = np.random.default_rng(8)
    points, labels, weight = rng.normal(size=(60, 3)), rng.integers(0, 3, 60), rng.uniform(1, 2, 60)
    points += 2 * labels[:, None]
    others = rng.normal(size=(200, 3)) * 3
    weight /= weight.mean()
    parts = [(points[labels == k], weight[labels == k]) for k in range(3)]
    covariances = [np.cov(x.T, aweights=w, ddof=0) for x, w in parts]
    counts = [w.sum() for _, w in parts]
    pooled = np.average(covariances, axis=0, weights=counts) + 1e-6 * np.eye(3)
    joint = [
        np.log(n / 60)
        + multivariate_normal(
            np.average(x, axis=0, weights=w), (n * S + 4 * pooled) / (n + 4)
        ).logpdf(others)
        for (x, w), S, n in zip(parts, covariances, counts, strict=True)
    ]
    found = gaussians(points, labels, 7 * weight)
    np.testing.assert_array_equal(allocate(others, found), np.argmax(joint, axis=0))
