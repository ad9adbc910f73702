"""BayesianGaussianMixture: scikit-learn's algorithm, an exact predictive, pruning, the boundary."""

import json
import pickle
import re
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.mixture import BayesianGaussianMixture as ScikitLearn

from bayesgmm import BayesianGaussianMixture
from bayesgmm.core import float_scope, log_density
from bayesgmm.estimators.tables import Summary, evidence_rows, trust
from bayesgmm.inference import vb
from tests.conftest import slow
from tests.estimators.test_boundary import assert_unchanged, world

REFERENCE = Path(__file__).parent.parent / "reference"
TYPES = ("full", "tied", "diag", "spherical")
KINDS = ("dirichlet_process", "pitman_yor", "dirichlet_distribution")
D, K = 2, 6

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def table(n=200, seed=0):
    """Three clusters in units of their own, far from the origin; labels that are mostly wrong."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    centres = np.array([[-4.0, 0.0], [3.0, 3.0], [2.0, -4.0]])
    X = centres[labels] + rng.normal(size=(n, D)) * np.array([1.0, 0.6])
    start = np.where(rng.random(n) < 0.6, rng.integers(0, K, n), labels)
    return X * [3.0, 0.5] + [10.0, -4.0], start


def fitted(X, start, **options):
    options = dict(init_params=start, max_iter=300, moves=False) | options
    return BayesianGaussianMixture(K, **options).fit(X)


class FromLabels(ScikitLearn):
    """scikit-learn's own class, started from given labels."""

    def _initialize_parameters(self, X, random_state, xp=None):
        self._initialize(X, np.eye(self.n_components)[self.labels].astype(X.dtype))


# --- in the place of scikit-learn's -------------------------------------------------------------

SHARED = (
    "weights_ means_ covariances_ precisions_ precisions_cholesky_ weight_concentration_ "
    "mean_precision_ degrees_of_freedom_ weight_concentration_prior_ mean_precision_prior_ "
    "mean_prior_ degrees_of_freedom_prior_ covariance_prior_ lower_bound_ lower_bounds_ n_iter_"
).split()


@pytest.mark.parametrize("reg_covar, digits", [(0.0, 1e-9), (1e-6, 1e-6)])
@pytest.mark.parametrize("kind", ["dirichlet_process", "dirichlet_distribution"])
def test_it_is_scikit_learns_algorithm(kind, reg_covar, digits):
    """From the same start, to rounding; a ridge enters ours as a model, and differs at its size."""
    X, start = table()
    options = dict(weight_concentration_prior_type=kind, reg_covar=reg_covar)
    options |= dict(weight_concentration_prior=None, mean_precision_prior=0.3)
    ours = fitted(X, start, prune=False, **options)
    theirs = FromLabels(n_components=K, max_iter=300, **options)
    theirs.labels = start
    theirs.fit(X)
    assert ours.converged_ and theirs.converged_
    size = np.abs(X).max() ** 2
    for name in SHARED:
        if name == "lower_bounds_" and reg_covar:
            continue  # on the way the ridge tells; where it ends it does not
        one, other = getattr(ours, name), getattr(theirs, name)
        one, other = (value if isinstance(value, tuple) else (value,) for value in (one, other))
        for a, b in zip(one, other, strict=True):
            assert np.shape(a) == np.shape(b), name
            np.testing.assert_allclose(a, b, rtol=digits, atol=digits * size / 100, err_msg=name)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=10 * digits)
    np.testing.assert_array_equal(ours.labels_, theirs.predict(X))


def test_constants_that_scikit_learn_leaves_out():
    """Its number differs from the bound by what does not depend on the data but their number."""
    X, start = table()
    gaps = []
    for rows in (slice(None), slice(None, None, -1), slice(0, 100)):
        model = fitted(X[rows], start[rows], prune=False, weight_concentration_prior=0.5, tol=1e-9)
        alone = dict(mean_prior=[0, 0], covariance_prior=np.eye(2))
        model = fitted(
            X[rows],
            start[rows],
            prune=False,
            weight_concentration_prior=0.5,
            tol=1e-9,
            max_iter=2000,
            **alone,
        )
        gaps.append(model.lower_bound_ - model.elbo_)
    np.testing.assert_allclose(gaps[0], gaps[1], atol=1e-6)
    half_log_2pi_a_number = 100 * D * 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(gaps[0] - gaps[2], half_log_2pi_a_number, atol=1e-6)


def test_shapes_are_scikit_learns():
    X, start = table()
    for name in TYPES:
        ours = fitted(X, start, covariance_type=name, max_iter=9)
        kept = ours.n_components_
        theirs = ScikitLearn(n_components=kept, covariance_type=name, max_iter=2).fit(X)
        for attribute in SHARED[:13]:
            one, other = getattr(ours, attribute), getattr(theirs, attribute)
            assert np.shape(one) == np.shape(other), (name, attribute)
        assert 1 < kept <= K and len(ours.lower_bounds_) == ours.n_iter_


# --- the bound and pruning ----------------------------------------------------------------------


@pytest.mark.parametrize("kind, n_init", [*zip(KINDS, (2, 1, 1), strict=True)])
def test_components_without_points_go(kind, n_init):
    X, start = table()
    options = dict(weight_concentration_prior_type=kind, n_init=n_init, random_state=0)
    model = BayesianGaussianMixture(8, moves=False, max_iter=500, **options).fit(X)
    assert model.converged_ and model.n_components_ == 3
    sizes = [len(getattr(model, name)) for name in ("weights_", "means_", "mean_precision_")]
    assert sizes == [3, 3, 3] and set(model.labels_) == {0, 1, 2}
    np.testing.assert_allclose(model.weights_.sum(), 1, rtol=1e-12)
    for trace in model.restart_lower_bounds_:
        assert np.diff(trace).min() >= -1e-9 * abs(trace[-1])
    assert model.elbo_ >= model.lower_bounds_[-1] - 1e-9 and model.lower_bound_ == model.elbo_
    best = max(trace[-1] for trace in model.restart_lower_bounds_)
    assert model.elbo_ >= best - 1e-9 * abs(best)
    posterior = model.weight_concentration_posterior_
    np.testing.assert_allclose(posterior.mean(), model.weight_concentration_prior_, rtol=1e-3)
    low, high = posterior.interval(0.9)
    assert 0 < low < posterior.mean() < high
    assert model.prior_n_clusters(20).shape == (20,)


def test_small_samples_and_the_cap():
    """More components than points are only so many, unless exactly so many are asked for."""
    X, _ = table(6)
    options = dict(weight_concentration_prior_type="pitman_yor", moves=False, random_state=0)
    model = BayesianGaussianMixture(10, **options).fit(X)
    assert 1 <= model.n_components_ <= 6
    with pytest.raises(ValueError, match="n_components = 10, n_samples = 6"):
        BayesianGaussianMixture(10, prune=False, moves=False).fit(X)


def test_bounds_of_covariance_types_can_be_compared():
    """Of round clusters the round model has the most evidence, of tilted ones the full."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 3
    noise = rng.normal(size=(200, D))
    round_ = 6 * np.array([[-1.0, 0.0], [1.0, 1.0], [0.0, -1.0]])[labels] + noise
    tilted = round_ - noise + noise @ np.array([[1.0, 0.9], [0.0, 0.3]])
    for X, best in ((round_, "spherical"), (tilted, "tied")):
        bounds = {}
        for name, unit in zip(TYPES, (np.eye(2), np.eye(2), np.ones(2), 1.0), strict=True):
            options = dict(covariance_type=name, covariance_prior=unit, mean_precision_prior=0.01)
            bounds[name] = fitted(X, labels, **options).elbo_
        assert max(bounds, key=bounds.get) == best


# --- the predictive -----------------------------------------------------------------------------


def on_the_plane(size=160):
    """Points [size^2, 2] and weights of a rule for the plane, x = tan(t) of the midpoints."""
    t = (np.arange(size) + 0.5) / size * np.pi - np.pi / 2
    points = np.stack(np.meshgrid(np.tan(t), np.tan(t)), -1).reshape(-1, 2)
    slopes = np.pi / size * (1 + np.tan(t) ** 2)
    return points, np.outer(slopes, slopes).ravel()


@pytest.mark.parametrize(
    "kind, n",
    [
        ("dirichlet_process", 10),
        ("dirichlet_distribution", 60),
        *(
            slow(*pair)
            for pair in (
                ("dirichlet_process", 60),
                ("dirichlet_process", 500),
                ("dirichlet_distribution", 10),
                ("dirichlet_distribution", 500),
            )
        ),
    ],
)
def test_the_density_integrates_to_one_on_the_line(kind, n):
    rng = np.random.default_rng(n)
    X = np.concatenate([rng.normal(-2, 0.5, n // 2), rng.normal(1, 1, n - n // 2)])[:, None]
    options = dict(weight_concentration_prior_type=kind, moves=False, random_state=0)
    model = BayesianGaussianMixture(4, **options).fit(X)
    t = (np.arange(4000) + 0.5) / 4000 * np.pi - np.pi / 2
    slopes = np.pi / 4000 * (1 + np.tan(t) ** 2)
    density = np.exp(model.score_samples(np.tan(t)[:, None]))
    np.testing.assert_allclose(slopes @ density, 1, atol=1e-3)


@pytest.mark.parametrize(
    "name, n",
    [
        ("full", 10),
        ("full", 60),
        slow("full", 500),
        *((name, 10) for name in TYPES[1:]),
    ],
)
def test_the_density_integrates_to_one_on_the_plane(name, n):
    X, start = table(n)
    X = (X - X.mean(0)) / X.std(0)
    model = fitted(X, start, covariance_type=name, weight_concentration_prior_type="pitman_yor")
    points, weight = on_the_plane()
    np.testing.assert_allclose(weight @ np.exp(model.score_samples(points)), 1, atol=1e-3)


@pytest.mark.parametrize(
    "name",
    ["full", *(slow(n) for n in ("tied", "diag")), "spherical"],
)
def test_the_predictive_is_the_mean_density_of_draws_and_the_density_of_samples(name):
    X, start = table()
    model = fitted(X, start, covariance_type=name, random_state=3)
    draws = model.posterior_sample(2000)
    kept = model.n_components_ + 1
    assert draws.scales.shape == (2000, kept, D, D) and draws.log_weights.shape == (2000, kept)
    np.testing.assert_allclose(np.exp(draws.log_weights).sum(1), 1, rtol=1e-9)
    with float_scope("float64"):
        at = jax.jit(jax.vmap(lambda mixture: log_density(X[:8], mixture)))
        densities = np.exp(np.asarray(at(draws)))
    error = densities.std(0) / np.sqrt(2000)
    assert (np.abs(densities.mean(0) - np.exp(model.score_samples(X[:8]))) < 4.5 * error).all()
    points, labels = model.sample(2000)
    again = model.sample(2000)[0]
    np.testing.assert_array_equal(points, again)  # random_state is a number
    assert set(labels) <= {-1, *range(model.n_components_)}
    share = [(labels == k).mean() for k in range(model.n_components_)]
    np.testing.assert_allclose(share, model.weights_, atol=0.05)
    # the log densities of samples: mean and spread of those by importance from the plane
    expected = model.score_samples(points).mean()
    scaled, weight = on_the_plane(300)
    middle, width = X.mean(0), X.std(0)
    logs = model.score_samples(middle + width * scaled)
    mass = weight * width.prod() * np.exp(logs)
    entropy = mass @ logs
    spread = np.sqrt(mass @ np.square(logs - entropy) / 2000)
    assert abs(expected - entropy) < 4.5 * spread + 2e-3


def test_one_component_predicts_as_a_student_t():
    X, _ = table()
    model = BayesianGaussianMixture(
        1, weight_concentration_prior_type="dirichlet_distribution", reg_covar=0, moves=False
    ).fit(X)
    k, v = model.mean_precision_[0], model.degrees_of_freedom_[0]
    shape = model.covariances_[0] * v * (k + 1) / (k * (v - D + 1))
    expected = stats.multivariate_t(model.means_[0], shape, v - D + 1).logpdf(X)
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-9)
    diag = BayesianGaussianMixture(
        1,
        covariance_type="diag",
        weight_concentration_prior_type="dirichlet_distribution",
        moves=False,
    ).fit(X)
    v, wide = diag.degrees_of_freedom_[0], np.sqrt(diag.covariances_[0] * (1 + 1 / k))
    expected = stats.t(v, diag.means_[0], wide).logpdf(X).sum(1)
    np.testing.assert_allclose(diag.score_samples(X), expected, rtol=1e-9)


@pytest.mark.parametrize(
    "features, clusters, n",
    [
        (2, 3, 20),
        slow(4, 4, 40),
        slow(4, 8, 60),
    ],
)
def test_held_out_density_beats_plug_in_and_scikit_learn(features, clusters, n):
    """Few points a cluster, so that what is not known of it matters."""
    gaps = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        centres = 2 * rng.normal(size=(clusters, features))
        shape = stats.wishart(features + 2, np.eye(features) / (features + 2))
        factors = np.linalg.cholesky(shape.rvs(clusters, random_state=rng))
        labels = rng.integers(0, clusters, n + 1000)
        noise = rng.normal(size=(n + 1000, features))
        X = centres[labels] + np.einsum("nij,nj->ni", factors[labels], noise)
        train, test = X[:n], X[n:]
        options = dict(n_components=8, random_state=seed)
        model = BayesianGaussianMixture(moves=False, **options).fit(train)
        plug_in = logsumexp(log_joint_of(model, test), axis=1).mean()
        theirs = ScikitLearn(**options).fit(train).score(test)
        gaps.append(model.score(test) - np.array([plug_in, theirs]))
    assert (np.mean(gaps, axis=0) > [0.03, 0.25]).all()


def log_joint_of(model, X):
    """Of the plug-in, [N, K]."""
    parts = zip(model.weights_, model.means_, model.covariances_, strict=True)
    return np.stack([np.log(w) + stats.multivariate_normal(m, c).logpdf(X) for w, m, c in parts], 1)


# --- the prior on the number of clusters --------------------------------------------------------


def test_prior_on_the_number_of_clusters():
    exact = json.loads((REFERENCE / "prior_kplus.json").read_text(encoding="utf-8"))["n"]["8"]
    cases = {
        "dp_alpha1": dict(weight_concentration_prior=1.0),
        "py_d0.25_theta0.5": dict(
            weight_concentration_prior=0.5, weight_concentration_prior_type="pitman_yor"
        ),
        "finite_K3_gamma1": dict(
            n_components=3,
            weight_concentration_prior=1.0,
            weight_concentration_prior_type="dirichlet_distribution",
        ),
    }
    for name, options in cases.items():
        found = BayesianGaussianMixture(**options).prior_n_clusters(8, 5)
        expected = [exact[name].get(str(t), 0) for t in range(1, 6)]
        np.testing.assert_allclose(found, expected, atol=1e-9)
    learned = BayesianGaussianMixture(weight_concentration_prior=("gamma", 2.0, 4.0))
    alpha = stats.gamma(2.0, scale=0.25).ppf((np.arange(400) + 0.5) / 400)
    # two points are together with probability 1 / (1 + alpha)
    np.testing.assert_allclose(learned.prior_n_clusters(2)[0], (1 / (1 + alpha)).mean(), rtol=1e-3)


# --- units, weights, dtype, starts --------------------------------------------------------------


@pytest.mark.parametrize("name", TYPES)
def test_units_and_offsets_do_not_matter(name):
    X, start = table()
    unit = 1e5 if name == "spherical" else np.array([1e5, 1e-4])
    offset = np.array([3e6, -2.0])
    options = dict(covariance_type=name, reg_covar="relative", tol=1e-6, max_iter=60)
    one, other = fitted(X, start, **options), fitted(X * unit + offset, start, **options)
    np.testing.assert_allclose((other.means_ - offset) / unit, one.means_, rtol=1e-7)
    volume = len(X) * np.log(unit * np.ones(D)).sum()
    np.testing.assert_allclose(other.elbo_ + volume, one.elbo_, rtol=1e-9)
    np.testing.assert_allclose(other.weights_, one.weights_, rtol=1e-7)
    shift = np.log(unit * np.ones(D)).sum()
    density = other.score_samples(X * unit + offset) + shift
    np.testing.assert_allclose(density, one.score_samples(X), rtol=1e-6)


def test_a_weight_is_so_many_rows():
    X, start = table()
    weight = np.random.default_rng(0).integers(0, 3, len(X))
    rows = np.repeat(np.arange(len(X)), weight)
    options = dict(weight_concentration_prior_type="pitman_yor")
    one = fitted(X, start, **options)
    weighted = BayesianGaussianMixture(K, init_params=start, max_iter=300, moves=False, **options)
    weighted.fit(X, sample_weight=weight)
    repeated = fitted(X[rows], start[rows], **options)
    for name in ("elbo_", "means_", "covariances_", "weights_", "mean_precision_"):
        found, expected = getattr(weighted, name), getattr(repeated, name)
        np.testing.assert_allclose(found, expected, rtol=1e-7, err_msg=name)
    np.testing.assert_allclose(weighted.covariance_prior_, np.cov(X[rows].T), rtol=1e-10)
    assert abs(one.elbo_ - weighted.elbo_) > 1
    # what all weigh is a number of points, and not nothing as in maximum likelihood
    double = BayesianGaussianMixture(K, init_params=start, max_iter=300, moves=False, **options)
    double.fit(X, sample_weight=2.0)
    np.testing.assert_allclose(double.degrees_of_freedom_.sum() - D * double.n_components_, 400)


def test_single_precision():
    X, start = table()
    single = fitted(X.astype(np.float32), start)
    double = fitted(X, start)
    assert single.means_.dtype == np.float32 == single.score_samples(X.astype(np.float32)).dtype
    assert single.converged_ and single.n_components_ == double.n_components_ == 3
    np.testing.assert_allclose(single.means_, double.means_, atol=1e-3)
    np.testing.assert_allclose(single.elbo_, double.elbo_, rtol=1e-4)


def test_warm_start_goes_on_where_it_was():
    X, start = table()
    whole = fitted(X, start, prune=False, weight_concentration_prior=0.5, tol=0, max_iter=6)
    parts = BayesianGaussianMixture(
        K,
        init_params=start,
        prune=False,
        moves=False,
        weight_concentration_prior=0.5,
        tol=0,
        max_iter=2,
        warm_start=True,
    )
    bounds = []
    for _ in range(3):
        bounds += parts.fit(X).lower_bounds_
    np.testing.assert_allclose(bounds, whole.lower_bounds_, rtol=1e-9)
    np.testing.assert_allclose(parts.means_, whole.means_, rtol=1e-8)
    learned = fitted(X, start, warm_start=True, max_iter=500)
    before = learned.elbo_
    learned.fit(X)
    assert learned.converged_ and learned.n_iter_ < 5 and learned.elbo_ >= before - 1e-6
    with pytest.raises(ValueError, match="warm_start=True goes on from the last fit"):
        learned.set_params(n_components=2).fit(X)


def test_hyperparameters():
    X, start = table()
    S = np.cov(X.T)
    scaled = fitted(X, start, covariance_prior="data-scaled", max_iter=1)
    np.testing.assert_allclose(scaled.covariance_prior_, S / K, rtol=1e-10)
    given = fitted(X, start, max_iter=1, mean_prior=[1, 2], degrees_of_freedom_prior=4.5)
    assert given.mean_prior_.tolist() == [1, 2] and given.degrees_of_freedom_prior_ == 4.5
    flat = X.copy()
    flat[:, 1] = 7.0  # a column without spread: the covariance of the points is no prior
    with_flat = fitted(flat, start)
    assert np.isfinite(with_flat.elbo_) and np.isfinite(with_flat.score_samples(flat)).all()
    assert with_flat.covariance_prior_[1, 1] > 0


@pytest.mark.parametrize(
    "name, same", [("VVV", "full"), ("EEE", "tied"), ("VVI", "diag"), ("VII", "spherical")]
)
def test_mclusts_names(name, same):
    X, start = table()
    one, other = (fitted(X, start, covariance_type=c, max_iter=3) for c in (name, same))
    assert one.elbo_ == other.elbo_ and one.covariances_.shape == (one.n_components_, D, D)


# --- the boundary -------------------------------------------------------------------------------

WRONG = [
    (dict(n_components=0), "n_components must be an integer of at least 1, got 0"),
    (
        dict(weight_concentration_prior=None),
        "n_components=None leaves their number to the moves",
        "weight_concentration_prior=None is 1 / n_components. Give n_components",
    ),
    (dict(weight_concentration_prior_type="dirichlet_distribution"), "a known number of them"),
    (dict(moves=False), "moves=False means that none of them is added or merged"),
    (dict(covariance_prior="data-scaled"), "divided by n_components^(2 / D)"),
    (dict(covariance_type="ful"), "covariance_type must be one of 'full'", "Did you mean 'full'?"),
    (dict(weight_concentration_prior_type="dp"), "'dirichlet_process', 'pitman_yor'"),
    (dict(weight_concentration_prior="gama"), "Did you mean 'gamma'?"),
    (
        dict(weight_concentration_prior=0),
        "weight_concentration_prior must be a finite number above",
    ),
    (dict(weight_concentration_prior=("gamma", 1)), "('gamma', shape, rate)"),
    (dict(weight_concentration_prior=("gamma", 1, 0)), "weight_concentration_prior[2]"),
    (dict(discount_prior=0.1), "discount_prior is for", "'dirichlet_process'"),
    (
        dict(discount_prior=1.0, weight_concentration_prior_type="pitman_yor"),
        "discount_prior must be less than 1, got 1.0",
    ),
    (dict(mean_precision_prior=0), "mean_precision_prior must be a finite number above 0"),
    (dict(mean_prior=[1.0]), "The parameter 'means' should have the shape of (2,), but got (1,)"),
    (dict(degrees_of_freedom_prior=1), "should be greater than 1, but got 1.000"),
    (
        dict(covariance_prior="data-scale"),
        "None, 'data-scaled' or an array",
        "Did you mean 'data-scaled'",
    ),
    (dict(covariance_prior=[1.0, 1.0]), "'covariance_prior' should have the shape of (2, 2)"),
    (dict(covariance_prior=[[1.0, 2.0], [2.0, 1.0]]), "the smallest eigenvalue is -1"),
    (dict(covariance_prior=[[1.0, 2.0], [0.0, 1.0]]), "should be symmetric"),
    (dict(covariance_prior=-1.0, covariance_type="spherical"), "should be positive; got -1"),
    (dict(prune="yes"), "prune must be True or False, got 'yes'"),
    (dict(moves=1), "moves must be True or False, got 1"),
    (dict(tol=-1), "tol must be a finite number of at least 0"),
    (dict(init_params="kmean"), "Did you mean 'kmeans'?"),
]


@pytest.mark.parametrize("options, parts", [(row[0], row[1:]) for row in WRONG])
def test_what_is_wrong_is_named(options, parts):
    X, _ = table(20)
    with pytest.raises(ValueError) as caught:
        BayesianGaussianMixture(**options).fit(X)
    for part in parts:
        assert part in str(caught.value)


def test_weights_that_are_too_light_for_a_default_prior():
    X, _ = table(20)
    with pytest.raises(ValueError, match=re.escape("It sums to 0.2. Give covariance_prior")):
        BayesianGaussianMixture().fit(X, sample_weight=0.01)
    options = dict(covariance_prior=np.eye(2), weight_concentration_prior_type="pitman_yor")
    light = BayesianGaussianMixture(K, random_state=0, moves=False, **options)
    assert np.isfinite(light.fit(X, sample_weight=0.01).elbo_)


def test_before_it_is_fitted():
    model = BayesianGaussianMixture()
    for method in (model.predict, model.predict_proba, model.score_samples, model.score):
        with pytest.raises(NotFittedError):
            method(np.zeros((3, 2)))
    for method in (model.sample, model.posterior_sample, model.summary):
        with pytest.raises(NotFittedError):
            method()
    assert np.isclose(model.prior_n_clusters(4).sum(), 1)


def test_an_interrupt_leaves_the_last_fit(monkeypatch):
    X, start = table()
    model = fitted(X, start)
    means, bound = model.means_.copy(), model.elbo_

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(vb, "run", interrupted)
    model.set_params(init_params="kmeans")
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[:50, :1])
    np.testing.assert_array_equal(model.means_, means)
    assert model.elbo_ == bound and model.n_features_in_ == 2
    assert np.isfinite(model.score_samples(X)).all()


def test_one_that_has_not_converged_says_so(capsys):
    X, start = table()
    with pytest.warns(ConvergenceWarning, match="Variational Bayes ended after 3 iterations") as w:
        model = fitted(X, start, max_iter=3, verbose=2, verbose_interval=1)
    assert w[0].filename == __file__ and not model.converged_
    assert "iteration 3  gain" in capsys.readouterr().out
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nothing = fitted(X, start, max_iter=0)
    assert nothing.n_iter_ == 0 and nothing.lower_bounds_ == [] and np.isfinite(nothing.elbo_)


def test_pickle_and_what_it_shows():
    X, start = table()
    model = fitted(X, start, random_state=3)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.score_samples(X), model.score_samples(X))
    np.testing.assert_array_equal(copy.posterior_sample(2).means, model.posterior_sample(2).means)
    assert copy.weight_concentration_posterior_.mean() == model.weight_concentration_prior_
    shown = model.summary()
    assert list(shown.index) == list(range(model.n_components_))
    bound = f"evidence lower bound  {model.elbo_:.3f} nats"
    not_yet = "log evidence          not estimated yet: ask evidence(X)"
    assert repr(shown).splitlines()[-2:] == [bound, not_yet]
    assert f"<td>{shown.weight[0]:.6f}</td>" in shown._repr_html_()
    assert "evidence lower bound</th>" in shown._repr_html_()
    assert model.conditional({0: 10.0}).n_features_in_ == 1
    assert (model.uncertainty(X)["uncertainty"] < 0.6).all()


@pytest.mark.slow
def test_the_summary_shows_what_is_known_of_the_evidence():
    start = np.arange(60) % 2
    X = np.random.default_rng(0).normal(size=(60, 2)) + 6 * start[:, None]
    model = BayesianGaussianMixture(2, init_params=start, moves=False, random_state=0).fit(X)
    before = world()
    found = model.evidence(X, n_draws=100)
    assert_unchanged(before)
    shown = repr(model.summary().round(1))
    estimate = f"{found['log_evidence']:.3f} nats, standard error {found['standard_error']:.3f}"
    assert f"log evidence          {estimate} (112 draws)" in shown
    assert f"Pareto k-hat          {trust(found['khat'])}" in shown
    assert trust(0.5) == "0.50: reliable"
    assert "not covered           more than 4 empty sticks before one with points" in shown
    assert model.summary().attrs == found.to_dict()
    assert estimate in model.summary()._repr_html_()
    assert not {"log_evidence"} & set(model.fit(X).summary().attrs)  # of the last fit
    rows = dict(evidence_rows({**found, "khat": 0.9, "left_out": ""}))
    assert rows["Pareto k-hat"] == "0.90: above 0.7, not reliable" and "not covered" not in rows
    assert trust(np.nan) == trust(None) == "not known: too few draws"
    assert evidence_rows({}) == [] and "evidence" not in repr(Summary({"weight": [1.0]}))
