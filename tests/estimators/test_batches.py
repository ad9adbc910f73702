"""partial_fit: batch by batch to where the fit of all points ends."""

import pickle

import numpy as np
import pytest

from bayesgmm import BayesianGaussianMixture
from tests.conftest import slow
from tests.estimators.test_variational import D, table

CUTS = (90, 140)


def settings(X, **options):
    """A prior that does not depend on the batch."""
    prior = dict(mean_prior=X.mean(0), covariance_prior=np.cov(X.T))
    return dict(n_components=6, moves=False, random_state=0, tol=1e-5) | prior | options


def rounds(model, X, n, **options):
    for _ in range(n):
        for name, chunk in enumerate(np.split(X, CUTS)):
            model.partial_fit(chunk, batch=name, **options)
    return model


@pytest.mark.parametrize(
    "kind",
    [slow("dirichlet_process"), "dirichlet_distribution"],
)
def test_rounds_over_batches_end_where_the_whole_fit_does(kind):
    X, labels = table()
    options = settings(X, weight_concentration_prior_type=kind)
    model = rounds(BayesianGaussianMixture(**options), X, 12)
    whole = BayesianGaussianMixture(init_params=labels % 3, max_iter=500, **options).fit(X)
    assert model.converged_ and model.n_iter_ == 36 == len(model.lower_bounds_)
    assert model.n_components_ == whole.n_components_ == 3
    np.testing.assert_allclose(model.elbo_, whole.elbo_, rtol=1e-8)
    order, other = (np.argsort(m.means_[:, 0]) for m in (model, whole))
    np.testing.assert_allclose(model.means_[order], whole.means_[other], rtol=1e-4)
    np.testing.assert_allclose(model.covariances_[order], whole.covariances_[other], rtol=1e-3)
    np.testing.assert_allclose(model.weights_[order], whole.weights_[other], rtol=1e-4)
    # once every batch is known no visit lowers the bound of all points
    assert np.diff(model.lower_bounds_[2:]).min() > -1e-9 * abs(model.elbo_)
    np.testing.assert_array_equal(model.labels_, model.predict(X[CUTS[1] :]))
    held = model.mean_precision_ - model.mean_precision_prior_
    np.testing.assert_allclose(held.sum(), len(X), rtol=1e-9)
    assert model.elbo_ == model.summary().attrs["elbo"]
    if kind == "dirichlet_process":
        found = model.evidence(X, n_draws=100)
        assert found["elbo"] == model.elbo_
        assert found["log_evidence"] + 4 * found["standard_error"] > model.elbo_


def test_points_without_a_name_are_new_ones():
    X, _ = table()
    model = BayesianGaussianMixture(**settings(X))
    model.partial_fit(X[:100])
    model.partial_fit(X[100:], sample_weight=np.full(100, 2.0))
    held = model.mean_precision_ - model.mean_precision_prior_
    np.testing.assert_allclose(held.sum(), 300, rtol=1e-9)
    assert not model.converged_ and model.n_iter_ == 2
    before = model.elbo_
    model.partial_fit(X[:50])
    assert model.elbo_ < before  # there is more to explain
    copy = pickle.loads(pickle.dumps(model)).partial_fit(X[50:100], batch="last")
    model.partial_fit(X[50:100], batch="last")
    assert copy.elbo_ == model.elbo_


def test_a_fit_begins_anew():
    X, _ = table()
    options = settings(X)
    model = rounds(BayesianGaussianMixture(**options), X, 1).fit(X)
    alone = BayesianGaussianMixture(**options).fit(X)
    assert model.elbo_ == alone.elbo_
    model.partial_fit(X[:100], batch=0)
    held = model.mean_precision_ - model.mean_precision_prior_
    np.testing.assert_allclose(held.sum(), 100, rtol=1e-9)


def test_what_is_wrong_is_named_and_changes_nothing():
    X, _ = table()
    model = BayesianGaussianMixture(**settings(X)).partial_fit(X[:100], batch=0)
    means, bound = model.means_.copy(), model.elbo_
    with pytest.raises(ValueError, match="batch must be hashable, such as a number or a name"):
        model.partial_fit(X, batch=[1])
    with pytest.raises(ValueError, match=f"is expecting {D} features"):
        model.partial_fit(X[:, :1], batch=0)
    with pytest.raises(ValueError, match="covariance_type='tied' is not that of the batches"):
        model.set_params(covariance_type="tied").partial_fit(X[100:])
    model.set_params(covariance_type="full")
    with pytest.raises(ValueError, match=r"the fit is of 100 of them, got 200\."):
        model.evidence(X)
    with pytest.raises(ValueError, match="n_draws must be an integer of at least 100, got 5"):
        model.evidence(X[:100], n_draws=5)
    np.testing.assert_array_equal(model.means_, means)
    assert model.elbo_ == bound
