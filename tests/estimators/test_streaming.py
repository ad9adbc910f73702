"""`partial_fit`: EM on one batch, the likelihood of a full fit after many, and the way on."""

import pickle

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from bayesgmm import GaussianMixture
from bayesgmm.core import FAMILIES
from bayesgmm.estimators.streaming import units_of
from bayesgmm.inference import stepwise

K, SIZE = 4, 1000


@pytest.fixture(scope="module")
def points():
    """100,000 points of four clusters that touch, and the likelihood of their best fit."""
    rng = np.random.default_rng(0)
    labels = rng.choice(K, 100 * SIZE, p=[0.4, 0.3, 0.2, 0.1])
    means = np.array([[0.0, 0.0], [4.0, 1.0], [0.0, 5.0], [-4.0, -2.0]])
    factors = np.array([[[1, 0.5], [0, 1]], [[0.5, 0], [0, 1.5]], [[1, 0], [0.5, 0.4]], np.eye(2)])
    X = means[labels] + np.einsum("nij,nj->ni", factors[labels], rng.normal(size=(len(labels), 2)))
    full = GaussianMixture(K, init_params=labels, tol=1e-9, max_iter=500).fit(X)
    return X, full.lower_bound_


def streamed(X, size=SIZE, **options):
    model = GaussianMixture(K, **{"random_state": 0, "n_init": 3} | options)
    for batch in X.reshape(-1, size, X.shape[1]):
        model.partial_fit(batch)
    return model


@pytest.mark.parametrize("covariance_type", ["full", "spherical"])
def test_whole_data_with_step_one_is_an_iteration(points, covariance_type):
    """learning_offset=0: the second batch has step size 1."""
    X = points[0][:SIZE]
    options = {"covariance_type": covariance_type, "init_params": np.arange(SIZE) % K}
    model = GaussianMixture(K, max_iter=0, learning_offset=0.0, **options)
    model.partial_fit(X).partial_fit(X)
    plain = GaussianMixture(K, max_iter=1, tol=0, **options)
    with pytest.warns(match="did not converge"):
        plain.fit(X)
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_allclose(getattr(model, name), getattr(plain, name), rtol=1e-8)


def test_a_stream_reaches_the_likelihood_of_the_full_fit(points):
    """One pass over 1e5 points in batches of 1,000: within 5e-4 nats a point of the full fit."""
    X, full = points
    model = streamed(X)
    assert model.n_batch_iter_ == model.n_iter_ == 100 and not model.converged_
    first = GaussianMixture(K, random_state=0, n_init=3).fit(X[:SIZE])
    assert full - 5e-4 < model.score(X) <= full + 1e-9
    assert first.score(X) < full - 2e-3  # what the first batch alone gives


def test_many_passes_come_closer(points):
    """Thirty passes over 10 batches: within 2e-5 nats a point of their full fit."""
    X = points[0][: 10 * SIZE]
    model = streamed(np.tile(X, (30, 1)))
    full = GaussianMixture(K, means_init=model.means_, tol=1e-10, max_iter=2000).fit(X)
    assert full.lower_bound_ - 2e-5 < model.score(X) <= full.lower_bound_ + 1e-12


def test_full_passes_polish_a_stream(points):
    X, full = points
    model = streamed(X[: 20 * SIZE])
    before = model.score(X)
    model.set_params(warm_start=True, tol=1e-9, max_iter=500).fit(X)
    assert model.converged_ and before < full - 1e-5
    assert model.lower_bound_ == pytest.approx(full, abs=1e-7)
    assert not hasattr(model, "n_batch_iter_")
    model.partial_fit(X[:SIZE])  # and on with the stream
    assert model.n_batch_iter_ == 2


def test_first_batch_is_a_fit(points):
    X = points[0][:SIZE]
    model = GaussianMixture(K, random_state=0, n_init=3, max_iter=3, tol=0).partial_fit(X)
    with pytest.warns(match="did not converge"):
        plain = GaussianMixture(K, random_state=0, n_init=3, max_iter=3, tol=0).fit(X)
    assert (model.means_ == plain.means_).all() and (model.labels_ == plain.labels_).all()
    assert model.lower_bounds_ == [model.lower_bound_] == [plain.lower_bound_]


def test_what_is_told_of_each_batch(points):
    X = points[0][: 4 * SIZE]
    model, met = GaussianMixture(K, random_state=0, n_init=3), []
    for batch in X.reshape(4, SIZE, 2):
        met.append(model.score(batch) if met else None)
        model.partial_fit(batch)
        assert model.lower_bound_ == pytest.approx(model.score(batch), rel=1e-12)
        assert (model.labels_ == model.predict(batch)).all()
    np.testing.assert_allclose(model.lower_bounds_[1:], met[1:], rtol=1e-9)


def test_weights_of_the_rows(points):
    """A row of weight 2 is two rows, in a batch as in a fit; a batch of one weight has none."""
    X = points[0][: 2 * SIZE]
    weight = np.arange(SIZE) % 3
    rows = np.repeat(np.arange(SIZE), weight)
    options = {"random_state": 0, "n_init": 3}
    one = GaussianMixture(K, **options).partial_fit(X[:SIZE])
    two = pickle.loads(pickle.dumps(one))
    one.partial_fit(X[SIZE:], sample_weight=weight)
    two.partial_fit(X[SIZE:][rows])
    np.testing.assert_allclose(one.covariances_, two.covariances_, rtol=1e-9)
    three = GaussianMixture(K, **options).partial_fit(X[:SIZE])
    four = pickle.loads(pickle.dumps(three))
    three.partial_fit(X[SIZE:], sample_weight=0.25)
    four.partial_fit(X[SIZE:])
    np.testing.assert_allclose(three.means_, four.means_, rtol=1e-12)


def test_goes_on_from_given_parameters(points):
    """From the truth, or nearly so, a batch of step size 0.1 does not lead far away."""
    X, full = points
    fitted = GaussianMixture(K, random_state=0, n_init=3).fit(X[: 10 * SIZE])
    model = GaussianMixture.from_parameters(fitted.weights_, fitted.means_, fitted.covariances_)
    model.set_params(learning_offset=9.0, learning_decay=1.0)
    for batch in X[10 * SIZE : 20 * SIZE].reshape(-1, SIZE, 2):
        model.partial_fit(batch)
    assert model.n_batch_iter_ == 11
    assert fitted.score(X) < model.score(X) <= full


def test_batches_of_one_size_share_a_program(points):
    X = points[0]
    model = streamed(X[: 3 * SIZE])
    before = stepwise.step._cache_size()
    for batch in X[3 * SIZE : 8 * SIZE].reshape(-1, SIZE, 2):
        model.partial_fit(batch)
    model.set_params(learning_decay=0.9).partial_fit(X[:SIZE])
    assert stepwise.step._cache_size() == before


def test_float32_batches(points):
    X = points[0][: 5 * SIZE].astype(np.float32)
    model = streamed(X)
    assert model.means_.dtype == np.float32
    assert model.score(X) == pytest.approx(streamed(X.astype(float)).score(X), abs=1e-3)


def test_units_of_a_mixture():
    """They are the mean and deviation of what it describes."""
    model = GaussianMixture.from_parameters(
        [0.25, 0.75], [[0.0, 10.0], [4.0, 10.0]], [np.diag([1.0, 9.0])] * 2
    )
    units = units_of(model.mixture_, FAMILIES["full"].scaling)
    np.testing.assert_allclose(units.centre, [3.0, 10.0])
    np.testing.assert_allclose(units.scale, [2.0, 3.0])  # 1 + 0.25 * 0.75 * 4**2 = 4
    np.testing.assert_allclose(units_of(model.mixture_, "common").scale, np.sqrt(6.5))


def test_a_bad_batch_leaves_the_fit_whole(points):
    X = points[0][:SIZE]
    model = GaussianMixture(K, random_state=0, n_init=3).partial_fit(X)
    before = model.means_
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.partial_fit(np.full((5, 2), np.nan))
    with pytest.raises(ValueError, match="X has 3 features, but GaussianMixture is expecting 2"):
        model.partial_fit(np.ones((5, 3)))
    assert model.means_ is before and model.n_batch_iter_ == 1
    fresh = GaussianMixture(K)
    with pytest.raises(ValueError, match="Expected n_samples >= n_components"):
        fresh.partial_fit(X[:3])
    with pytest.raises(NotFittedError):
        fresh.predict(X)


def test_singular_batch_is_refused():
    X = np.random.default_rng(0).normal(size=(SIZE, 2))
    options = {"reg_covar": 0, "learning_offset": 0.0}
    model = GaussianMixture(1, **options).partial_fit(X)
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        model.partial_fit(np.ones((SIZE, 2)))
    assert model.n_batch_iter_ == 1


def test_another_number_of_components_is_another_stream(points):
    X = points[0][:SIZE]
    model = GaussianMixture(K, random_state=0).partial_fit(X)
    with pytest.raises(ValueError, match=r"partial_fit goes on .*\(4, 2\).*\(5, 2\).*Call fit to"):
        model.set_params(n_components=5).partial_fit(X)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"learning_decay": 0.5}, "learning_decay must be a finite number above 0.5, got 0.5"),
        ({"learning_decay": 1.2}, "learning_decay must be above 0.5 and at most 1, got 1.2"),
        ({"learning_offset": -1}, "learning_offset must be a finite number of at least 0, got -1"),
        ({"support_fraction": 0.9}, "which share of them all is to be left out: got support_frac"),
    ],
)
def test_options_that_do_not_fit(option, message, points):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(K, **option).partial_fit(points[0][:SIZE])
