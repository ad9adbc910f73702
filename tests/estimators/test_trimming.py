"""`support_fraction`: the clean parameters from contaminated data, and what is said of the rows."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from bayesgmm import GaussianMixture
from bayesgmm.core import Standardizer

CLEAN, OUT = 450, 50


def clusters(seed):
    """Three clusters, unlike in size and form, and who belongs to which."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, CLEAN, p=[0.5, 0.3, 0.2])
    means = np.array([[0.0, 0.0], [6.0, 0.0], [2.0, 6.0]])[labels]
    factors = np.array([[[1, 0.5], [0, 1]], [[0.5, 0], [0, 1.5]], [[1, 0], [-0.8, 0.4]]])[labels]
    return means + np.einsum("nij,nj->ni", factors, rng.normal(size=(CLEAN, 2))), labels


def outliers(kind, seed):
    rng = np.random.default_rng(1000 + seed)
    return {
        "box": rng.uniform(-40, 40, (OUT, 2)),
        "far": rng.normal(size=(OUT, 2)) * 1e3,
        "clump": [30.0, -30.0] + 8 * rng.normal(size=(OUT, 2)),
        "sentinels": 1e20 * rng.choice([-1.0, 1.0], (OUT, 2)),
    }[kind]


def contaminated(kind, seed):
    X, labels = clusters(seed)
    return np.concatenate([X, outliers(kind, seed)]), X, labels


def trimmed(**options):
    given = {"support_fraction": 0.9, "tol": 1e-6, "max_iter": 500, "random_state": 0}
    return GaussianMixture(3, **given | options)


def sampling_errors(model):
    """Standard errors of a well-separated fit: of weights, means and covariances."""
    n = CLEAN * model.weights_
    variance = np.diagonal(model.covariances_, axis1=1, axis2=2)
    product = variance[:, :, None] * variance[:, None, :] + model.covariances_**2
    weight = np.sqrt(model.weights_ * (1 - model.weights_) / CLEAN)
    return weight, np.sqrt(variance / n[:, None]), np.sqrt(product / n[:, None, None])


@pytest.mark.parametrize("kind", ["box", "far", "clump", "sentinels"])
def test_the_clean_fit_is_recovered(kind):
    for seed in range(5):
        X, clean, labels = contaminated(kind, seed)
        wanted = GaussianMixture(3, init_params=labels, tol=1e-7, max_iter=500).fit(clean)
        found = trimmed(random_state=seed).fit(X)
        order = [int(np.abs(found.means_ - mean).sum(1).argmin()) for mean in wanted.means_]
        assert sorted(order) == [0, 1, 2]
        ours = (found.weights_[order], found.means_[order], found.covariances_[order])
        theirs = (wanted.weights_, wanted.means_, wanted.covariances_)
        for a, b, error in zip(ours, theirs, sampling_errors(wanted), strict=True):
            assert (np.abs(a - b) < 1.0 * error).all()
        assert found.support_.sum() == CLEAN
        assert found.support_[CLEAN:].sum() <= (3 if kind == "box" else 0)  # a box holds the data


def test_without_trimming_the_outliers_win():
    """The same data without `support_fraction`: what the test above would see fail."""
    X, clean, labels = contaminated("box", 0)
    plain = GaussianMixture(3, random_state=0, max_iter=500).fit(X)
    assert np.sqrt(np.linalg.det(plain.covariances_)).max() > 100


def test_support_is_the_densest_part():
    X, _, _ = contaminated("box", 1)
    model = trimmed().fit(X)
    density = model.score_samples(X)
    assert model.support_.dtype == bool and model.support_.shape == (CLEAN + OUT,)
    assert density[model.support_].min() > density[~model.support_].max()
    assert model.lower_bound_ == pytest.approx(density[model.support_].mean(), rel=1e-12)
    assert (model.labels_ == model.predict(X)).all()  # of the others too
    assert max(model.lower_bounds_) <= model.lower_bound_ + 1e-12


def test_keeping_all_is_the_plain_fit_and_leaves_no_support():
    X, _, _ = contaminated("far", 0)
    model = GaussianMixture(3, support_fraction=1, random_state=0).fit(X)
    plain = GaussianMixture(3, random_state=0).fit(X)
    assert (model.means_ == plain.means_).all() and not hasattr(model, "support_")
    model.set_params(support_fraction=0.9, max_iter=500).fit(X)
    assert hasattr(model, "support_")
    model.set_params(support_fraction=None).fit(X)
    assert not hasattr(model, "support_")


def test_weights_of_the_rows():
    """A row of weight 2 is two rows, one of 0 is none: from the same start the same fit."""
    X, _, labels = contaminated("box", 2)
    start = np.append(labels, np.full(OUT, -1))
    weight = np.arange(len(X)) % 3
    rows = np.repeat(np.arange(len(X)), weight)
    options = {"tol": 1e-10, "max_iter": 2000}
    weighted = trimmed(init_params=start, **options).fit(X, sample_weight=weight)
    doubled = trimmed(init_params=start[rows], **options).fit(X[rows])
    np.testing.assert_allclose(weighted.means_, doubled.means_, rtol=1e-6)
    assert not weighted.support_[weight == 0].any()
    assert (weighted.support_[rows] == doubled.support_).all()
    np.testing.assert_allclose(weighted.lower_bound_, doubled.lower_bound_, rtol=1e-9)


def test_a_given_start_is_the_only_one():
    X, _, labels = contaminated("clump", 0)
    start = np.append(labels, np.full(OUT, 2))
    model = trimmed(init_params=start).fit(X)
    assert len(model.restart_lower_bounds_) == 1
    assert len(trimmed().fit(X).restart_lower_bounds_) == 4  # the best of all
    again = trimmed(warm_start=True, tol=1e-3).fit(X)
    before = again.lower_bound_
    again.set_params(tol=1e-9).fit(X)
    assert len(again.restart_lower_bounds_) == 1 and again.lower_bound_ >= before
    assert len(trimmed(max_iter=0, n_init=2).fit(X).restart_lower_bounds_) == 2


def test_covariances_are_those_of_the_points_kept():
    """Of clean points the trimmed covariance is too small, by the factor that the guide states."""
    X = np.random.default_rng(0).normal(size=(5000, 2))
    model = GaussianMixture(1, support_fraction=0.9, random_state=0, tol=1e-8, max_iter=500).fit(X)
    factor = stats.chi2(4).cdf(stats.chi2(2).ppf(0.9)) / 0.9
    np.testing.assert_allclose(model.covariances_[0], factor * np.eye(2), atol=0.04)
    assert factor == pytest.approx(0.744, abs=1e-3)


def test_float32():
    X, _, _ = contaminated("far", 3)
    model = trimmed(tol=1e-4).fit(X.astype(np.float32))
    assert model.means_.dtype == np.float32 and not model.support_[CLEAN:].any()


def test_rows_that_are_many():
    """Above 4,096 rows short runs see some of them."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(4500, 2)), rng.uniform(-90, 90, (500, 2))])
    model = GaussianMixture(1, support_fraction=0.9, random_state=0).fit(X)
    assert model.support_[4500:].sum() <= 10
    np.testing.assert_allclose(model.covariances_[0], np.eye(2), atol=0.1)


@pytest.mark.parametrize("share", [0.5, 0.2, -1, 1.1, "most", np.nan])
def test_support_fraction_is_a_share(share):
    X, _ = clusters(0)
    with pytest.raises(ValueError, match=r"support_fraction must be .*, got"):
        GaussianMixture(2, support_fraction=share).fit(X)


def test_fewer_points_kept_than_components():
    with pytest.raises(ValueError, match=r"keeps 2.4 of n_samples = 4 points, fewer than"):
        GaussianMixture(3, support_fraction=0.6).fit(np.arange(8.0).reshape(4, 2))


def test_singular_whatever_the_start():
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        trimmed(reg_covar=0, init_params="random").fit(np.ones((CLEAN + OUT, 2)))


def test_too_few_iterations_are_said():
    X, _, _ = contaminated("box", 0)
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        trimmed(max_iter=1, tol=1e-9).fit(X)


def test_nothing_is_modified():
    X, _, _ = contaminated("sentinels", 0)
    before = X.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trimmed().fit(X)
    assert (X == before).all()


# --- units that outliers do not move


def test_robust_units():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2001, 2)) * [1.0, 50.0] + [3.0, -7.0]
    units = Standardizer.robust(X)
    assert np.allclose(units.centre, np.median(X, axis=0), rtol=1e-14)
    assert np.allclose(units.scale, stats.median_abs_deviation(X, scale="normal"), rtol=1e-4)
    common = Standardizer.robust(X, scaling="common").scale
    assert np.allclose(common, np.sqrt(np.mean(units.scale**2)))
    X[:900] = 1e200
    assert (Standardizer.robust(X).scale < 500).all()


def test_robust_units_of_weighted_rows():
    X, weight = np.array([[0.0], [1.0], [2.0], [9.0]]), np.array([1, 3, 0, 1])
    rows = np.repeat(X, weight, axis=0)
    found, expected = Standardizer.robust(X, weight), Standardizer.robust(rows)
    assert found.centre == expected.centre == 1.0
    assert found.scale == expected.scale == Standardizer.fit(rows).scale  # half of them are equal
