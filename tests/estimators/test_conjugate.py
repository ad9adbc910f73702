"""Maximum a posteriori: the formulas, a general optimiser, and data sets too small for anything."""

import pickle
import warnings

import jax
import numpy as np
import pytest
from scipy import optimize, special, stats
from sklearn.base import clone

from bayesgmm import ConjugatePrior, GaussianMixture
from bayesgmm.core import Standardizer
from bayesgmm.core.covariance import FAMILIES, MCLUST, unpack
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.conjugate import resolved
from tests.conftest import slow

N, D, K = 24, 2, 2
"""Most fits here have these sizes, so that programs are compiled once."""


def some_points(seed=0, n=N):
    rng = np.random.default_rng(seed)
    centres = np.array([[0.0, 0.0], [40.0, 3.0]])[np.arange(n) % 2]
    return centres + rng.normal(size=(n, D)) @ [[12.0, 1.0], [0.0, 1.5]], np.arange(n) % 2


def fitted(X, labels, name="full", **options):
    given = {"prior": "data-scaled", "init_params": labels, "tol": 1e-11, "max_iter": 3000}
    return GaussianMixture(K, covariance_type=name, **given | options).fit(X)


def matrices(model):
    return unpack(model.covariance_type, model.covariances_, *np.shape(model.means_))


def log_prior(prior, name, means, covariances):
    """SciPy's density of means and covariances; of a family without a prior, that of the whole."""
    family, total = FAMILIES[name], 0.0
    for mean, covariance in zip(means, covariances, strict=True):
        spread = covariance / prior.mean_precision_prior
        total += stats.multivariate_normal(prior.mean_prior, spread).logpdf(mean)
    dof, scale = prior.degrees_of_freedom_prior, np.asarray(prior.covariance_prior)
    for covariance in covariances[:1] if family.pooled else covariances:
        if family.axis_aligned:
            variance = np.diag(covariance)[: scale.size]
            total += stats.invgamma(dof / 2, scale=scale / 2).logpdf(variance).sum()
        else:
            total += stats.invwishart(dof, scale).logpdf(covariance)
    return total + special.gammaln(len(means))  # of the flat Dirichlet


def penalised(X, prior, name, weights, means, covariances):
    joint = [
        np.log(weight) + stats.multivariate_normal(mean, covariance).logpdf(X)
        for weight, mean, covariance in zip(weights, means, covariances, strict=True)
    ]
    likelihood = special.logsumexp(joint, axis=0).sum()
    return likelihood + log_prior(prior, name, means, covariances)


# --- the prior itself


def numbers(X, name, prior="data-scaled"):
    """The prior with all of its numbers, without a fit."""
    family = FAMILIES[name]
    units = Standardizer.fit(X, None, family.scaling)
    return resolved(prior, Entered(X, None), units, family, K, robust=False)


def test_data_scaled_is_that_of_fraley_and_raftery():
    X, labels = some_points()
    S = np.cov(X.T)
    for name, scale in {
        "full": S / K,  # K ** (2 / D)
        "EEV": S / K,
        "diag": np.full(D, np.trace(S) / D / K),
        "VEI": np.full(D, np.trace(S) / D / K),
        "spherical": np.trace(S) / D / K,
    }.items():
        prior = numbers(X, name)
        np.testing.assert_allclose(prior.mean_prior, X.mean(0))
        np.testing.assert_allclose(prior.covariance_prior, scale)
        assert (prior.mean_precision_prior, prior.degrees_of_freedom_prior) == (0.01, D + 2)
    published = fitted(X, labels, max_iter=0).prior_
    np.testing.assert_allclose(published.covariance_prior, S / K)


def test_columns_that_say_nothing_get_a_trifle():
    X = np.column_stack([np.arange(6.0), 2e3 * np.arange(6.0), np.full(6, 1e-3)])
    scale = numbers(X, "full").covariance_prior
    size = np.sqrt(np.diag(scale))
    assert np.linalg.eigvalsh(scale / np.outer(size, size)).min() > 1e-7
    assert (numbers(X, "diag").covariance_prior > 0).all()


def test_one_number_given_the_others_scaled():
    X, _ = some_points()
    given = ConjugatePrior(mean_precision_prior=2.0)
    prior, scaled = numbers(X, "full", given), numbers(X, "full")
    assert prior.mean_precision_prior == 2.0 and given.covariance_prior is None
    assert (prior.covariance_prior == scaled.covariance_prior).all()


def test_it_is_a_parameter_like_others():
    prior = ConjugatePrior(degrees_of_freedom_prior=7.0)
    model = GaussianMixture(2, prior=prior)
    assert model.get_params()["prior"] is prior
    assert clone(model).prior.degrees_of_freedom_prior == 7.0
    assert pickle.loads(pickle.dumps(model)).prior.degrees_of_freedom_prior == 7.0
    with pytest.raises(AttributeError):
        prior.degrees_of_freedom_prior = 3.0


# --- the mode


@pytest.mark.parametrize("name", ["full", "tied", "diag", "spherical", "EII"])
def test_one_m_step_by_its_published_formula(name):
    """Fraley and Raftery (2007), table 2 as corrected in 2009: the divisors, and the means."""
    X, labels = some_points()
    model = fitted(X, labels, name, max_iter=0)
    m0, k0 = model.prior_.mean_prior, model.prior_.mean_precision_prior
    nu, S0 = model.prior_.degrees_of_freedom_prior, model.prior_.covariance_prior
    n, W, means = N / 2, [], []
    for k in range(K):
        own = X[labels == k]
        gap = own.mean(0) - m0
        W.append(
            (own - own.mean(0)).T @ (own - own.mean(0)) + k0 * n / (k0 + n) * np.outer(gap, gap)
        )
        means.append((k0 * m0 + n * own.mean(0)) / (k0 + n))
    expected = {
        "full": lambda: [(S0 + w) / (nu + n + D + 2) for w in W],
        "tied": lambda: [(S0 + sum(W)) / (nu + N + D + K + 1)] * K,
        "diag": lambda: [np.diag(S0 + np.diag(w)) / (nu + n + 3) for w in W],
        "spherical": lambda: [(S0 + np.trace(w)) / (nu + (n + 1) * D + 2) * np.eye(D) for w in W],
        "EII": lambda: [(S0 + np.trace(sum(W))) / (nu + (N + K) * D + 2) * np.eye(D)] * K,
    }[name]()
    np.testing.assert_allclose(matrices(model), expected, rtol=1e-9)
    np.testing.assert_allclose(model.means_, means, rtol=1e-9)


def unpacked(theta, name):
    """Weights, means and covariances of the family from any numbers."""
    weights = special.softmax([0.0, theta[0]])
    means, rest = theta[1 : 1 + K * D].reshape(K, D), theta[1 + K * D :]
    if name in ("full", "tied"):
        factors = []
        for part in np.split(rest, K if name == "full" else 1):
            factor = np.array([[np.exp(part[0]), 0.0], [part[1], np.exp(part[2])]])
            factors.append(factor @ factor.T)
        return weights, means, factors if name == "full" else factors * K
    if name == "VEI":
        shape = np.exp(np.array([rest[2], -rest[2]]))
        return weights, means, [np.diag(np.exp(size) * shape) for size in rest[:2]]
    return weights, means, [np.exp(size) * np.eye(D) for size in rest]  # spherical


NUMBERS = {"full": 6, "tied": 3, "VEI": 3, "spherical": 2}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_general_optimiser_finds_nothing_higher(name):
    X, labels = some_points(1)
    scale = X.std(0)
    X = X / (scale if name in ("full", "tied", "VEI") else scale.mean())  # for SciPy's sake
    model = fitted(X, labels, name)
    height = penalised(X, model.prior_, name, model.weights_, model.means_, matrices(model))
    assert model.lower_bound_ == pytest.approx(height / N, rel=1e-9)
    start = np.concatenate([[0.1], model.means_.ravel() + 0.05, np.full(NUMBERS[name], -0.7)])
    found = optimize.minimize(
        lambda theta: -penalised(X, model.prior_, name, *unpacked(theta, name)), start,
        options={"gtol": 1e-6},
    )  # fmt: skip
    assert height == pytest.approx(-found.fun, abs=1e-6)


COMMON = ("VVV", "EEE", "VVI", "EII", "VEV")


@pytest.mark.parametrize(
    "name",
    [name if name in COMMON else slow(name) for name in MCLUST],
)
@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_never_falls(name):
    X, _ = some_points(2)
    labels = np.random.default_rng(0).integers(0, K, N)
    model = fitted(X, labels, name, tol=0, max_iter=60)
    trace = np.append(model.lower_bounds_, model.lower_bound_)
    assert len(trace) > 3 and np.diff(trace).min() > -1e-12 * np.abs(trace).max()


def test_units_do_not_matter_to_the_full_family():
    X, labels = some_points()
    size, shift = np.array([1e-3, 1e4]), np.array([5.0, -1e5])
    one, two = fitted(X, labels), fitted(X * size + shift, labels)
    np.testing.assert_allclose(two.covariances_, one.covariances_ * np.outer(size, size), rtol=1e-6)
    volume = np.log(size).sum()
    density = -(1 + (D + 2) * K / N) * volume  # each mean D, each covariance D + 1 powers of it
    assert two.lower_bound_ - one.lower_bound_ == pytest.approx(density, rel=1e-6)


def test_weights_count_points():
    X, labels = some_points()
    single = fitted(X, labels)
    rows = np.repeat(np.arange(N), 2)
    weighted = GaussianMixture(
        K, prior="data-scaled", init_params=labels, tol=1e-11, max_iter=3000
    ).fit(X, sample_weight=np.full(N, 2))
    doubled = fitted(X[rows], labels[rows])
    np.testing.assert_allclose(weighted.covariances_, doubled.covariances_, rtol=1e-7)
    assert weighted.lower_bound_ == pytest.approx(doubled.lower_bound_, rel=1e-9)
    assert not np.allclose(weighted.covariances_, single.covariances_, rtol=1e-3)


def test_the_criteria_take_the_likelihood_alone():
    X, labels = some_points()
    model = fitted(X, labels)
    assert model.bic(X) == pytest.approx(-2 * N * model.score(X) + 11 * np.log(N))
    height = log_prior(model.prior_, "full", model.means_, model.covariances_)
    assert model.lower_bound_ - model.score(X) == pytest.approx(height / N, rel=1e-9)


def test_goes_on_where_it_was():
    X, labels = some_points()
    whole = fitted(X, labels)
    model = GaussianMixture(
        K, prior="data-scaled", init_params=labels, warm_start=True, max_iter=1, tol=1e-8
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        n_fits = 0
        while not getattr(model, "converged_", False) and n_fits < 500:
            model.fit(X)
            n_fits += 1
    assert n_fits < 500
    np.testing.assert_allclose(model.means_, whole.means_, rtol=1e-2)
    plain = model.set_params(prior=None, reg_covar=0, max_iter=100).fit(X)
    assert not hasattr(plain, "prior_")


# --- with the other ways to fit


def test_the_best_restart_is_that_of_the_highest_mode():
    X, _ = some_points(3)
    model = GaussianMixture(K, prior="data-scaled", init_params="random", n_init=4, random_state=0)
    model.set_params(tol=1e-9, max_iter=2000).fit(X)
    ends = [trace[-1] for trace in model.restart_lower_bounds_]
    assert model.lower_bound_ >= max(ends) - 1e-8


def test_trimmed():
    X, labels = some_points(n=220)
    X[:20] = np.random.default_rng(0).normal(size=(20, D)) * 1e6
    model = GaussianMixture(K, prior="data-scaled", support_fraction=0.9, random_state=0).fit(X)
    assert not model.support_[:20].any() and np.sqrt(model.covariances_).max() < 30
    height = log_prior(model.prior_, "full", model.means_, model.covariances_)
    kept = model.score_samples(X)[model.support_].mean()
    assert model.lower_bound_ == pytest.approx(kept + height / 198, rel=1e-9)


def test_streamed():
    """With step size 1 the second batch, the same one again, weighs as much as both."""
    X, labels = some_points()
    model = GaussianMixture(
        K, prior="data-scaled", init_params=labels, max_iter=0, learning_offset=0.0
    )
    model.partial_fit(X)
    prior = model.prior_
    model.partial_fit(X)
    assert model.prior_ is prior
    again = GaussianMixture(
        K, prior=prior, init_params=GaussianMixture(
            K, prior=prior, init_params=labels, max_iter=0
        ).fit(X).predict_proba(X), max_iter=0,
    ).fit(X, sample_weight=np.full(N, 2.0))  # fmt: skip
    np.testing.assert_allclose(model.covariances_, again.covariances_, rtol=1e-8)


def test_float32():
    X, labels = some_points()
    model = fitted(X.astype(np.float32), labels, tol=1e-5)
    np.testing.assert_allclose(model.means_, fitted(X, labels).means_, rtol=0.1, atol=0.5)
    assert model.covariances_.dtype == np.float32


# --- data sets too small for anything


def tiny(i, name, features, components, least=2):
    """A data set of 2 to 12 points, some repeated or rounded, and the fit that it must survive."""
    rng = np.random.default_rng(i)
    n, d = int(rng.integers(least, 13)), int(rng.choice(features))
    k = min(int(rng.choice(components)), n)
    X = rng.normal(size=(n, d)) * 10 ** rng.uniform(-3, 3, d) + 10 * rng.normal(size=d)
    X = np.round(X) if i % 7 == 0 else X
    if i % 5 == 0:
        X[: n // 2 + 1] = X[0]
    start = ("k-means++", "random")[i % 2]
    model = GaussianMixture(
        k, covariance_type=name, prior="data-scaled", init_params=start,
        tol=1e-8, max_iter=200, random_state=0,
    )  # fmt: skip
    return model, X


def survives(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X)
    for values in (
        model.weights_, model.means_, model.covariances_, model.precisions_, model.lower_bound_,
        model.score_samples(X), model.lower_bounds_,
    ):  # fmt: skip
        assert np.isfinite(values).all()
    found = matrices(model)
    deviation = np.sqrt(
        np.diagonal(found, axis1=1, axis2=2)
    )  # columns differ by factors of a million
    assert np.linalg.eigvalsh(found / (deviation[:, :, None] * deviation[:, None, :])).min() > 0
    trace = np.append(model.lower_bounds_, model.lower_bound_)
    assert (np.diff(trace) > -1e-8 * np.maximum(1, np.abs(trace[1:]))).all()


@pytest.mark.slow
def test_tiny_data_sets():
    for i in range(8):
        survives(*tiny(i, ("VVV", "EEE")[i % 2], (5,), (4,), least=4))


@pytest.mark.slow
def test_a_thousand_tiny_data_sets():
    for j, name in enumerate(MCLUST):
        for i in range(j, 1000, len(MCLUST)):
            survives(*tiny(i, name, (1, 2, 3, 4, 5), (1, 2, 3, 4)))
        jax.clear_caches()  # Linux has no mappings for the programs of all families


# --- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "data-scald"}, "prior must be .* got 'data-scald'. Did you mean 'data-scaled'"),
        ({"prior": 3}, "prior must be None, 'data-scaled' or a ConjugatePrior, got 3"),
        ({"reg_covar": 0.1}, "reg_covar has no part beside a prior, got reg_covar=0.1"),
        ({"reg_covar": "relative"}, "reg_covar has no part beside a prior"),
        ({"prior": ConjugatePrior(mean_prior=[1.0])}, r"'mean_prior' should have the shape of \(2"),
        ({"prior": ConjugatePrior(degrees_of_freedom_prior=1.0)}, "greater than 1, but got 1.000"),
        ({"prior": ConjugatePrior(mean_precision_prior=0)}, "mean_precision_prior must be a fin"),
        ({"prior": ConjugatePrior(covariance_prior=[1.0, 2.0])}, "should have the shape"),
        ({"prior": ConjugatePrior(covariance_prior=-np.eye(2))}, "positive-definite"),
    ],
)
def test_priors_that_are_none(options, message):
    X, labels = some_points()
    with pytest.raises(ValueError, match=message):
        fitted(X, labels, **options)


def test_weights_that_do_not_count():
    X, labels = some_points()
    model = GaussianMixture(K, prior="data-scaled", init_params=labels)
    with pytest.raises(ValueError, match="sample_weight must sum to more than 1.*It sums to 0.24"):
        model.fit(X, sample_weight=np.full(N, 0.01))
