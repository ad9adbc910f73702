"""bootstrap: exact variances of one component, single replicates fitted alone, stated failures."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from bayesgmm import BayesianGaussianMixture, ConjugatePrior, GaussianMixture, bootstrap
from bayesgmm.core.covariance import FAMILIES, UNIVARIATE
from bayesgmm.estimators.bootstrap import _Task
from bayesgmm.inference import replicated
from bayesgmm.inference.resampling import KINDS
from tests.conftest import assert_close, slow


def two_clusters(N=120, D=2, seed=0):
    rng = np.random.default_rng(seed)
    shift = rng.choice([0.0, 4.0], N)[:, None]
    return 100.0 + 10.0 * (rng.normal(size=(N, D)) * np.linspace(0.5, 1.5, D) + shift)


def fitted(X, K=2, **options):
    return GaussianMixture(K, **{"random_state": 0, "reg_covar": 0.0} | options).fit(X)


def weights_of(model, X, kind, seed, n, sample_weight=None):
    """What the replicates of this seed have for weights, [n, N]."""
    state = np.random.RandomState(seed)
    task = _Task.of(model, X, sample_weight, KINDS[kind], state)
    return np.stack([task.one(r).weight[: len(X)] for r in range(n)])


def covariances_of(model):
    scales = model.mixture_.scales
    return scales @ np.swapaxes(scales, 1, 2)


# --- one component: everything is known


@pytest.mark.parametrize("kind", ["weighted", "nonparametric"])
def test_one_component_has_weighted_moments(kind):
    X = two_clusters()
    model = fitted(X, 1)
    found = bootstrap(model, X, 30, kind=kind, random_state=5)
    for r, w in enumerate(weights_of(model, X, kind, 5, 30)):
        assert w.sum() == pytest.approx(len(X), rel=1e-12)
        mean = np.average(X, axis=0, weights=w)
        assert_close(found.means[r, 0], mean, rtol=1e-9)
        assert_close(found.covariances[r, 0], np.cov(X.T, aweights=w, ddof=0), rtol=1e-8)
    assert (found.weights == 1).all()


@pytest.mark.parametrize("kind", list(KINDS))
def test_one_component_has_the_exact_variance(kind):
    """Of the mean: s^2 / (N + 1) under Dirichlet weights, s^2 / N under the others."""
    X, R = two_clusters(60), 3000
    found = bootstrap(fitted(X, 1), X, R, kind=kind, random_state=1)
    exact = X.var(0) / (len(X) + (kind == "weighted"))
    ratio = found.means[:, 0].var(0, ddof=1) / exact
    assert (np.abs(ratio - 1) < 4.5 * np.sqrt(2 / R)).all()
    assert (np.abs(found.means[:, 0].mean(0) - X.mean(0)) < 4.5 * np.sqrt(exact / R)).all()


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_weight_counts_as_so_many_rows(kind):
    X, R = two_clusters(40), 3000
    counts = np.random.default_rng(0).integers(0, 4, 40)
    model = GaussianMixture(1, reg_covar=0.0).fit(X, sample_weight=counts)
    found = bootstrap(model, X, R, kind=kind, sample_weight=counts, random_state=1)
    exact = np.repeat(X, counts, axis=0).var(0) / (counts.sum() + (kind == "weighted"))
    ratio = found.means[:, 0].var(0, ddof=1) / exact
    assert (np.abs(ratio - 1) < 4.5 * np.sqrt(2 / R)).all()


# --- every family: a replicate is the fit to its weights, from the model


QUICK = ("full", "diag", "tied", "E")
"""One of each storage, and one of a single feature."""

SLOW = [name for name in FAMILIES if name not in (*QUICK, "VVV", "VVI", "EEE")]


@pytest.mark.parametrize("name", [*QUICK, *(slow(name) for name in SLOW)])
def test_a_replicate_is_a_weighted_fit(name):
    X = two_clusters(D=1 if name in UNIVARIATE else 3)
    model = fitted(X, covariance_type=name)
    found = bootstrap(model, X, 3, random_state=2)
    start = {
        "weights_init": model.weights_,
        "means_init": model.means_,
        "precisions_init": model.precisions_,
    }
    for r, w in enumerate(weights_of(model, X, "weighted", 2, 3)):
        alone = GaussianMixture(2, covariance_type=name, reg_covar=0.0, **start)
        alone.fit(X, sample_weight=w)
        assert_close(found.weights[r], alone.weights_, rtol=2e-3)
        assert_close(found.means[r], alone.means_, rtol=2e-3)
        size = np.abs(covariances_of(alone)).max()
        assert_close(found.covariances[r], covariances_of(alone), rtol=0, atol=1e-2 * size)
        ours = GaussianMixture.from_parameters(
            found.weights[r] / found.weights[r].sum(), found.means[r], found.covariances[r]
        )
        nats = (ours.score(X, sample_weight=w) - alone.score(X, sample_weight=w)) * len(X)
        assert abs(nats) < 1e-3  # which of them ends a little sooner is rounding
    assert not found.failed.any()
    assert found.converged.all()


def test_a_replicate_of_drawn_points():
    X = two_clusters()
    model = fitted(X)
    found = bootstrap(model, X, 3, kind="parametric", random_state=2)
    task = _Task.of(model, X, None, KINDS["parametric"], np.random.RandomState(2))
    for r in range(3):
        data = task.one(r)
        points = data.points[:, : len(X)].T * task.units.scale + task.units.centre
        assert np.count_nonzero(data.weight) == len(X)
        alone = GaussianMixture(
            2,
            reg_covar=0.0,
            weights_init=model.weights_,
            means_init=model.means_,
            precisions_init=model.precisions_,
        ).fit(points)
        assert_close(found.means[r], alone.means_, rtol=1e-3)


def test_under_a_prior():
    X = two_clusters()
    prior = ConjugatePrior(mean_precision_prior=2.0)
    model = GaussianMixture(2, prior=prior, random_state=0).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the model is at its own maximum
        found = bootstrap(model, X, 4, random_state=3)
    w = weights_of(model, X, "weighted", 3, 1)[0]
    alone = GaussianMixture(
        2,
        prior=model.prior_,
        weights_init=model.weights_,
        means_init=model.means_,
        precisions_init=model.precisions_,
    ).fit(X, sample_weight=w)
    assert_close(found.means[0], alone.means_, rtol=1e-4)


# --- what must not matter


def test_blocks_legs_and_seeds(monkeypatch):
    X = two_clusters()
    model = fitted(X)
    before = X.copy()
    one = bootstrap(model, X, 40, random_state=7)
    assert np.array_equal(X, before)
    again = bootstrap(model, X, 40, random_state=7)
    assert np.array_equal(one.means, again.means)
    assert np.array_equal(bootstrap(model, X, 20, random_state=7).means, one.means[:20])
    assert not np.array_equal(bootstrap(model, X, 20, random_state=8).means, one.means[:20])
    monkeypatch.setattr(replicated, "LEG", 3)
    shorter = bootstrap(model, X, 40, random_state=7)
    assert_close(shorter.means, one.means, rtol=1e-9)
    assert np.array_equal(shorter.converged, one.converged)


def test_components_keep_their_order():
    X = two_clusters()
    model = fitted(X)
    found = bootstrap(model, X, 50, random_state=0)
    nearest = np.abs(found.means[:, :, None, 0] - model.means_[None, None, :, 0]).argmin(2)
    assert (nearest == [0, 1]).all()


# --- the table


def test_summary():
    X = two_clusters()
    model = fitted(X)
    found = bootstrap(model, X, 200, random_state=0)
    table = found.summary(level=0.8)
    assert list(table.loc[0].index) == ["weight", "mean(x0)", "mean(x1)", "sd(x0)", "sd(x1)"]
    assert_close(table.loc[(1, "mean(x1)"), "estimate"], model.means_[1, 1])
    draws = np.sqrt(found.covariances[:, 0, 1, 1])
    row = table.loc[(0, "sd(x1)")]
    assert_close(row["estimate"], np.sqrt(model.covariances_[0, 1, 1]))
    assert_close(row["sd"], draws.std(ddof=1))
    assert_close(row["bias"], draws.mean() - np.sqrt(model.covariances_[0, 1, 1]))
    assert_close([row["lower"], row["upper"]], np.quantile(draws, [0.1, 0.9]))
    assert set(found.parameters) == {"weights", "means", "covariances"}
    assert "200 replicates (weighted), 0 failed" in repr(found) and "mean(x1)" in repr(found)


# --- what is said


def test_failures_are_reported():
    """Of a far cluster of three points in the plane, a sample without one of them is singular."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(40, 2)), [[50.0, 50.0], [51.0, 50.5], [50.2, 52.0]]])
    labels = np.repeat([0, 1], [40, 3])
    model = GaussianMixture(2, init_params=labels, reg_covar=0.0).fit(X)
    with pytest.warns(UserWarning, match="replicates failed.*not in the summary"):
        found = bootstrap(model, X, 60, kind="nonparametric", random_state=0)
    counts = weights_of(model, X, "nonparametric", 0, 60)
    assert np.array_equal(found.failed, (counts[:, 40:] == 0).any(1))
    assert np.isnan(found.means[found.failed]).all()
    assert np.isfinite(found.means[~found.failed]).all()
    assert np.isfinite(found.summary().to_numpy()).all()
    assert not bootstrap(model, X, 60, random_state=0).failed.any()  # weights leave none out


def test_a_model_below_its_maximum_is_told():
    X = two_clusters()
    model = fitted(X)
    moved = GaussianMixture.from_parameters(
        model.weights_, model.means_ + 3.0, model.covariances_, random_state=0
    )
    with pytest.warns(UserWarning, match="EM gains .* nats from the parameters of the model"):
        bootstrap(moved, X, 2, random_state=0)


def test_replicates_that_have_not_converged():
    X = two_clusters()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = fitted(X, max_iter=3)
    with pytest.warns(ConvergenceWarning, match="did not converge in max_iter=3 passes"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("always", ConvergenceWarning)
            bootstrap(model, X, 4, random_state=0)


def test_what_is_refused():
    X = two_clusters()
    model = fitted(X)
    with pytest.raises(ValueError, match="n_bootstrap must be an integer of at least 2, got 1"):
        bootstrap(model, X, 1)
    with pytest.raises(ValueError, match="kind must be one of 'weighted'.*Did you mean 'weighted'"):
        bootstrap(model, X, kind="weigthed")
    with pytest.raises(TypeError, match="fitted GaussianMixture, got BayesianGaussianMixture"):
        bootstrap(BayesianGaussianMixture(), X)
    with pytest.raises(NotFittedError):
        bootstrap(GaussianMixture(), X)
    with pytest.raises(ValueError, match="X has 1 features"):
        bootstrap(model, X[:, :1])
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(120,\)"):
        bootstrap(model, X, sample_weight=[1.0])
    with pytest.raises(ValueError, match="sample_weight must add up to at least 2 rows"):
        bootstrap(model, X, sample_weight=1e-4)
    with pytest.raises(ValueError, match="level must be a number between 0 and 1, got 95"):
        bootstrap(model, X, 2).summary(level=95)
    trimmed = GaussianMixture(2, support_fraction=0.9, random_state=0).fit(X)
    with pytest.raises(ValueError, match="support_fraction=0.9.*X\\[model.support_\\]"):
        bootstrap(trimmed, X)
