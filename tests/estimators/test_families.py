"""GaussianMixture with each of the fourteen covariance families: one contract for all.

Every example has the size of those of test_em.py and test_equivariance.py to the compiler.
"""

import numpy as np
import pytest

from bayesgmm import GaussianMixture
from bayesgmm.core.covariance import MCLUST, UNIVARIATE
from tests.core.test_covariance import is_member, mclust_n_parameters
from tests.core.test_families import MAPS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, D, K = 200, 4, 3
ROUNDING = 1e-12
"""What a sum over the points in the fast form may lose of a mean log density of about -5."""


def overlapping(seed):
    """Three clusters that overlap, and labels of which a half is wrong."""
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % K
    roots = np.eye(D) + 0.5 * rng.normal(size=(K, D, D))
    X = 1.5 * rng.normal(size=(K, D))[labels]
    X = X + np.einsum("nij,nj->ni", roots[labels], rng.normal(size=(N, D)))
    return X, np.where(rng.random(N) < 0.5, rng.integers(0, K, N), labels)


def fit(X, labels, name, **options):
    options = dict(reg_covar=0, tol=0, acceleration=None, max_iter=30) | options
    return GaussianMixture(K, covariance_type=name, init_params=labels, **options).fit(X)


@pytest.mark.parametrize("name", MCLUST)
def test_the_contract_of_a_family(name):
    """The objective never falls, covariances are members, and parameters are counted."""
    for seed in range(3):
        X, labels = overlapping(seed)
        model = fit(X, labels, name, max_iter=60)
        assert len(model.lower_bounds_) == 60 and np.diff(model.lower_bounds_).min() > -ROUNDING
        assert np.isclose(model.lower_bound_, model.score(X), rtol=1e-12)
        assert model.covariances_.shape == (K, D, D)
        assert is_member(name, model.covariances_, tol=1e-10)
        count = (model.aic(X) + 2 * N * model.score(X)) / 2
        assert np.isclose(count, K - 1 + K * D + mclust_n_parameters(name, D, K))


@pytest.mark.parametrize("name", MCLUST)
def test_a_fit_follows_the_maps_that_its_family_follows(name):
    X, labels = overlapping(3)
    one = fit(X, labels, name)
    rng = np.random.default_rng(0)
    maps = {
        "units": np.diag([1.0, 2.54, 1e-3, 1e4]),
        "rotation": np.linalg.qr(rng.normal(size=(D, D)))[0],
        "affine": rng.normal(size=(D, D)) + 2 * np.eye(D),
    }
    for kind, A in maps.items():
        if name in MAPS[kind].split():
            other = fit(X @ A.T, labels, name)
            back = np.linalg.inv(A)
            np.testing.assert_allclose(other.means_ @ back.T, one.means_, atol=1e-6)
            np.testing.assert_allclose(
                back @ other.covariances_ @ back.T, one.covariances_, atol=1e-6
            )
            volume = np.linalg.slogdet(A)[1]
            np.testing.assert_allclose(other.lower_bound_ + volume, one.lower_bound_, atol=1e-8)


@pytest.mark.parametrize("name", MCLUST)
def test_a_fit_goes_on_from_its_own_parameters(name):
    """They are of the family to the boundary too, which refuses all others."""
    X, labels = overlapping(4)
    model = fit(X, labels, name, reg_covar=1e-3)
    again = GaussianMixture(
        K,
        covariance_type=name,
        tol=0,
        max_iter=30,
        reg_covar=0,
        weights_init=model.weights_,
        means_init=model.means_,
        precisions_init=model.precisions_,
    ).fit(X)
    assert np.isclose(again.lower_bounds_[0], model.lower_bound_, rtol=1e-12)
    assert np.diff(again.lower_bounds_).min() > -ROUNDING
    assert is_member(name, model.covariances_, tol=1e-10)


@pytest.mark.parametrize("name", MCLUST)
def test_flat_data_end_in_an_error_or_a_sound_fit(name):
    """A column that repeats another one: singular unless the family cannot follow it."""
    X, labels = overlapping(5)
    X = np.column_stack([X[:, :3], X[:, 0]])
    if name.endswith("I"):
        assert np.isfinite(fit(X, labels, name).covariances_).all()
    else:
        with pytest.raises(ValueError, match="ill-defined empirical covariance"):
            fit(X, labels, name)
    ridged = fit(X, labels, name, reg_covar=1e-6)
    assert np.isfinite(ridged.lower_bound_) and is_member(name, ridged.covariances_, tol=1e-6)


@pytest.mark.parametrize("name", ["VEI", "EVE", "VEV"])  # each has its own way to find the axes
def test_one_feature(name):
    """E or V: a family of mclust is one of these if there is one feature."""
    X, labels = overlapping(6)
    like = "V" if name[0] == "V" else "E"
    assert like in UNIVARIATE
    one, other = (fit(X[:, :1], labels, each, max_iter=10) for each in (name, like))
    np.testing.assert_allclose(one.covariances_, other.covariances_, rtol=1e-8)
    np.testing.assert_allclose(one.bic(X[:, :1]), other.bic(X[:, :1]), rtol=1e-10)
