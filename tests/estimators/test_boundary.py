"""What comes in: a right finite answer or a clear error, and nothing else is touched."""

import copy
import re
import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from bayesgmm import BayesianGaussianMixture, GaussianMixture
from bayesgmm.core import FAMILIES
from bayesgmm.estimators.priors import CONJUGATE
from bayesgmm.inference import em, squarem, stream, vb
from bayesgmm.inference.starts import STARTS
from tests.conftest import slow

TYPES = ("full", "tied", "diag", "spherical")
PARAMETERS = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    return rng.standard_normal((200, 4)) + 6 * (np.arange(200) % 2)[:, None]


LABELS = np.arange(200) % 2

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


BOTH = pytest.mark.parametrize("kind", [GaussianMixture, BayesianGaussianMixture])


def unfitted(kind=GaussianMixture, **options):
    """Short fits of two components; of more than two and fewer in variational Bayes, too."""
    own = dict(moves=False) if kind is BayesianGaussianMixture else {}
    return kind(**dict(n_components=2, init_params=LABELS, max_iter=5, tol=0.01) | own | options)


def fitted(X, kind=GaussianMixture, **options):
    return unfitted(kind, **options).fit(X)


def assert_finite(model, X):
    for name in PARAMETERS:
        assert np.isfinite(getattr(model, name)).all(), name
    assert np.isfinite(model.lower_bound_) and np.isfinite(model.lower_bounds_).all()
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-6)
    assert np.isfinite(model.score_samples(X)).all()
    np.testing.assert_allclose(model.weights_.sum(), 1, rtol=1e-6)


def refuses(call, *parts, error=ValueError):
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


# --- values -------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("value, name", [(np.nan, "NaN"), (np.inf, "infinity")])
def test_values_that_are_no_numbers_are_named(points, kind, value, name):
    X = points.copy()
    X[3, 1] = X[17, 2] = X[17, 0] = value
    place = "row 3 column 1, row 17 column 0, row 17 column 2 (2 of 200 rows)"
    way_out = {"NaN": "drop those rows or impute", "infinity": "give finite values"}[name]
    refuses(lambda: fitted(X, kind), f"Input X contains {name}: {place}", way_out)
    frame = pd.DataFrame(X, columns=list("abcd"))
    refuses(lambda: fitted(frame, kind), "row 3 column 'b', row 17 column 'a'")
    X[20:30] = -value
    place = "row 20 column 0, row 20 column 1 and 38 more (12 of 200 rows)"
    refuses(lambda: fitted(X, kind), place)
    model = fitted(points, kind)
    for ask in WITH_POINTS[kind]:
        refuses(lambda ask=ask: ask(model, X[:5]), "row 3 column 1 (1 of 5 rows)")


@BOTH
def test_values_that_are_large_but_finite_are_not_taken_for_infinite(kind):
    X = np.array([[1e300, 1.0], [1.0, 2.0], [3.0, -1.0], [1e300, 0.0]])
    refuses(lambda: kind().fit(X), "the spread of feature 'x0' is 5.0e+299", "float64")
    X = np.array([[3e38], [-3e38], [1.0]], np.float32)  # their squares and sums are not float32
    refuses(lambda: kind().fit(X), "the spread of feature 'x0' is 2.4e+38", "float32")


@BOTH
@pytest.mark.parametrize(
    "X, message",
    [
        (np.empty((0, 3)), "Found array with 0 sample(s)"),
        (np.empty((5, 0)), "0 feature(s)"),
        (np.ones((1, 2)), "a minimum of 2 is required"),
        (np.ones(5), "Expected 2D array, got 1D array instead"),
        (np.ones((2, 2, 2)), "dim 3"),
        ([["a", "b"], ["c", "d"]], "could not convert string to float"),
        (np.ones((4, 2)) * 1j, "Complex data not supported"),
    ],
    ids=["no rows", "no columns", "one row", "a vector", "a cube", "words", "complex"],
)
def test_shapes_and_types_that_are_no_table(kind, X, message):
    refuses(lambda: kind().fit(X), message)


@BOTH
def test_a_sparse_table_is_refused(kind):
    from scipy.sparse import csr_array

    refuses(lambda: kind().fit(csr_array(np.eye(3))), "parse", error=TypeError)


@BOTH
def test_fewer_points_than_components(points, kind):
    options = dict(moves=False, prune=False) if kind is BayesianGaussianMixture else {}
    message = "Expected n_samples >= n_components but got n_components = 9, n_samples = 4."
    refuses(lambda: kind(9, **options).fit(points[:4]), message, "Lower n_components")
    weight = np.r_[np.ones(3), np.zeros(197)]  # rows of weight 0 are none
    message = "n_components = 5, n_samples = 3"
    refuses(lambda: kind(5, **options).fit(points, sample_weight=weight), message)


SHARED_WITH_POINTS = [
    lambda m, X: m.predict(X),
    lambda m, X: m.predict_proba(X),
    lambda m, X: m.score(X),
    lambda m, X: m.score_samples(X),
    lambda m, X: m.uncertainty(X),
]
SHARED = [
    *SHARED_WITH_POINTS,
    lambda m, X: m.sample(),
    lambda m, X: m.summary(),
    lambda m, X: m.marginal([0]),
    lambda m, X: m.conditional({0: 1.0}),
    lambda m, X: m.mixture_,
]
OWN_WITH_POINTS = {
    GaussianMixture: [lambda m, X: m.bic(X), lambda m, X: m.aic(X), lambda m, X: m.icl(X)],
    BayesianGaussianMixture: [lambda m, X: m.evidence(X, n_draws=100)],
}
OWN = {
    GaussianMixture: OWN_WITH_POINTS[GaussianMixture],
    BayesianGaussianMixture: [
        lambda m, X: m.evidence(X, n_draws=100),
        lambda m, X: m.posterior_sample(),
    ],
}
WITH_POINTS = {kind: SHARED_WITH_POINTS + own for kind, own in OWN_WITH_POINTS.items()}


@BOTH
def test_a_wrong_number_of_features(points, kind):
    model = fitted(points, kind).partial_fit(points)
    message = f"X has 3 features, but {kind.__name__} is expecting 4 features as input"
    for ask in (*WITH_POINTS[kind], lambda m, X: m.partial_fit(X)):
        refuses(lambda ask=ask: ask(model, points[:, :3]), message)
    assert model.predict(points).shape == (200,)


@pytest.mark.parametrize(
    "kind, ask", [(kind, ask) for kind, own in OWN.items() for ask in SHARED + own]
)
def test_what_is_not_fitted_says_so(points, kind, ask):
    message = f"This {kind.__name__} instance is not fitted yet"
    with pytest.raises(NotFittedError, match=message):
        ask(kind(2), points)


def test_no_public_method_is_left_out_here():
    """A new one joins the lists above, or those that need no fit."""
    others = {"fit", "fit_predict", "partial_fit", "from_parameters", "prior_n_clusters"}
    others |= {"save", "report", *dir(BaseEstimator)}  # they write: see tests/io and tests/report
    for kind, own in OWN.items():
        asked = {name for ask in SHARED + own for name in ask.__code__.co_names}
        public = {name for name in dir(kind) if not name.startswith(("_", "set_", "get_"))}
        assert public - others == asked


# --- degenerate but legal -----------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
def test_a_constant_column(points, covariance_type):
    X = points.copy()
    X[:, 2] = 7.0
    model = fitted(X, covariance_type=covariance_type)
    assert_finite(model, X)
    np.testing.assert_allclose(model.means_[:, 2], 7.0, rtol=1e-12)
    rest = fitted(np.delete(X, 2, axis=1), covariance_type=covariance_type)
    if covariance_type != "spherical":  # the constant column has no say in the others
        np.testing.assert_allclose(np.delete(model.means_, 2, axis=1), rest.means_, rtol=1e-6)
        np.testing.assert_array_equal(model.labels_, rest.labels_)
        found = model.covariances_
        ridge = found[:, 2] if covariance_type == "diag" else found[..., 2, 2]
        np.testing.assert_allclose(ridge, 1e-6, rtol=1e-6)
        message = "some components have ill-defined empirical covariance"
        refuses(lambda: fitted(X, covariance_type=covariance_type, reg_covar=0), message)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_all_rows_equal(covariance_type):
    X = np.full((200, 4), 3.0)
    model = fitted(X, covariance_type=covariance_type)
    assert_finite(model, X)
    np.testing.assert_allclose(model.means_, 3.0, rtol=1e-12)
    full = fitted(X).covariances_
    np.testing.assert_allclose(full, np.broadcast_to(1e-6 * np.eye(4), full.shape), rtol=1e-9)
    message = "Try to decrease the number of components, increase reg_covar, or scale"
    refuses(lambda: fitted(X, covariance_type=covariance_type, reg_covar=0), message)


def test_all_rows_equal_from_the_named_starts():
    X = np.full((200, 4), 3.0)
    for init_params in ("k-means++", "random", "random_from_data", "kmeans"):
        with warnings.catch_warnings():  # k-means says that it found one point only
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = fitted(X, init_params=init_params, random_state=0)
        present = model.weights_ > 0
        assert present.any()
        np.testing.assert_allclose(model.means_[present], 3.0, rtol=1e-12)
        assert np.isfinite(model.predict_proba(X)).all() and np.isfinite(model.score(X))


def test_a_component_without_points(points):
    model = GaussianMixture(3, init_params=LABELS, max_iter=5, tol=0).fit(points)
    assert model.weights_[2] == 0
    for name in PARAMETERS:
        assert np.isfinite(getattr(model, name)).all(), name
    two = fitted(points, tol=0)
    np.testing.assert_allclose(model.means_[:2], two.means_, rtol=1e-10)
    np.testing.assert_allclose(model.score_samples(points), two.score_samples(points), rtol=1e-9)
    assert set(model.labels_) == {0, 1} and model.predict_proba(points).shape == (200, 3)


@pytest.mark.parametrize(
    "covariance_type",
    [
        pytest.param(name, marks=() if name in ("full", "diag") else pytest.mark.slow)
        for name in TYPES
    ],
)
def test_tables_that_say_little_under_a_prior(points, covariance_type):
    """A column that is constant, one that comes twice, rows that are all equal: a finite posterior.

    The prior keeps the covariances from becoming singular, also without a ridge.
    """
    flat, twice = points.copy(), points.copy()
    flat[:, 2], twice[:, 3] = 7.0, points[:, 0]
    for X in (flat, twice, np.full((200, 4), 3.0)):
        for reg_covar in (1e-6, 0):
            options = dict(covariance_type=covariance_type, reg_covar=reg_covar)
            model = fitted(X, BayesianGaussianMixture, **options)
            assert_finite(model, X)
            assert np.isfinite(model.elbo_) and np.isfinite(model.sample(5)[0]).all()
            constant = X.std(0) == 0
            np.testing.assert_allclose(
                model.means_[:, constant], X[:1, constant].repeat(model.n_components_, 0), rtol=1e-9
            )


@BOTH
@pytest.mark.parametrize("exponent", [-100, -12, 12, 100])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_huge_and_tiny_units(points, kind, covariance_type, exponent):
    unit = 2.0 ** (3 * exponent)  # a power of two: no rounding
    options = dict(kind=kind, covariance_type=covariance_type, reg_covar="relative")
    one, other = fitted(points, **options), fitted(unit * points, **options)
    assert_finite(other, unit * points)
    np.testing.assert_allclose(other.means_ / unit, one.means_, rtol=1e-12)
    np.testing.assert_allclose(other.covariances_ / unit / unit, one.covariances_, rtol=1e-12)
    np.testing.assert_array_equal(other.labels_, one.labels_)
    # a mean over the points, or their sum
    shift = -4 * np.log(unit) * (1 if kind is GaussianMixture else len(points))
    np.testing.assert_allclose(other.lower_bound_, one.lower_bound_ + shift, rtol=1e-12)


FAR = [
    *((np.float64, 1e200, name) for name in TYPES),
    (np.float32, 1e30, "full"),
    *(slow(np.float32, 1e30, name) for name in TYPES[1:]),
]


@BOTH
@pytest.mark.parametrize("dtype, far, covariance_type", FAR)
def test_a_point_too_far_for_the_square_of_its_distance(points, kind, covariance_type, dtype, far):
    model = fitted(points.astype(dtype), kind, covariance_type=covariance_type)
    X = np.full((2, 4), far, dtype)
    X[1] = points[0]
    proba, found = model.predict_proba(X), model.uncertainty(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    assert not found.isna().any(axis=None)
    density = model.score_samples(X)
    # a Gaussian's falls with the square of the distance, a Student t's with its logarithm
    least = -1e30 if kind is GaussianMixture else -500
    assert not np.isnan(density).any() and density[0] < least < density[1]
    np.testing.assert_array_equal(proba[1], model.predict_proba(X[1:])[0])


@BOTH
def test_units_whose_squares_are_no_floats(points, kind):
    message = "the spread of feature 'x0' is 3."
    refuses(lambda: fitted(1e200 * points, kind), message, "in another unit")
    refuses(lambda: fitted(1e-200 * points, kind), message)
    frame = pd.DataFrame(points * [1, 1e180, 1, 1], columns=list("abcd"))
    refuses(lambda: fitted(frame, kind), "the spread of feature 'b' is 3.", "e+180", "float64")


# --- options ------------------------------------------------------------------------------------

AXES = np.diag([0.5, 0, 0], 1) + np.diag([0.5, 0, 0], -1)
BAD_OPTIONS = [
    (dict(n_components=0), "n_components must be an integer of at least 1, got 0."),
    (dict(n_components=2.0), "n_components must be an integer of at least 1, got 2.0."),
    (dict(n_components=True), "n_components must be an integer of at least 1, got True."),
    (dict(covariance_type="ful"), "'spherical', ", "got 'ful'. Did you mean 'full'?"),
    (dict(covariance_type=None), "covariance_type must be one of 'full'", "got None."),
    (dict(covariance_type="E"), "covariance_type='E' is for one feature, got 4.", "Choose"),
    (dict(tol=-1e-3), "tol must be a finite number of at least 0, got -0.001."),
    (dict(tol=np.nan), "tol must be a finite number of at least 0, got nan."),
    (dict(tol="small"), "tol must be a finite number of at least 0, got 'small'."),
    (dict(reg_covar=-1), "reg_covar must be a finite number of at least 0, got -1."),
    (dict(reg_covar=np.inf), "reg_covar must be a finite number of at least 0, got inf."),
    (dict(reg_covar="relativ"), "'relative' or ('relative', number), got 'relativ'."),
    (dict(reg_covar=("relative", -1)), "reg_covar[1] must be a finite number of at least 0"),
    (dict(reg_covar=("absolute", 1)), "reg_covar must be", "got ('absolute', 1)."),
    (dict(max_iter=-1), "max_iter must be an integer of at least 0, got -1."),
    (dict(max_iter=1.5), "max_iter must be an integer of at least 0, got 1.5."),
    (dict(n_init=0), "n_init must be an integer of at least 1, got 0."),
    (
        dict(init_params="kmean"),
        "init_params must be one of 'cells', 'kmeans'",
        "Did you mean 'kmeans'?",
    ),
    (dict(init_params=LABELS[:50]), "labels of shape (200,)", "got int64 of shape (50,)."),
    (dict(init_params=LABELS + 1.0), "(200, 2); got float64 of shape (200,)."),
    (dict(init_params=LABELS + 1), "n_components - 1 = 1", "got labels from 1 to 2."),
    (dict(init_params=LABELS - 2), "or -1 for none; got labels from -2 to -1."),
    (dict(init_params=np.full((200, 2), 0.6)), "the smallest is 0.6, the largest sum 1.2."),
    (dict(init_params=np.full((200, 2), np.nan)), "must be finite", "the largest sum nan."),
    (dict(init_params=np.full((200, 2), -0.1)), "the smallest is -0.1"),
    (dict(init_params=np.full((200, 3), 0.1)), "(200, 2); got float64 of shape (200, 3)."),
    (dict(init_params=np.full(200, -1)), "init_params must", "at least one"),
    (dict(init_params=np.zeros((200, 2))), "init_params must", "at least one"),
    (dict(init_params=None), "init_params must be a name, integer labels of shape (200,)"),
    (dict(random_state="seed"), "cannot be used to seed"),
    (dict(warm_start="no"), "warm_start must be"),
    (dict(verbose=-1), "verbose must be"),
    (dict(verbose="yes"), "verbose must be"),
    (dict(verbose_interval=0), "verbose_interval must be an integer of at least 1, got 0."),
]
"""Options of both classes."""

OF_EM = [
    (dict(covariance_type="ful"), "'spherical', 'EII', 'VII'"),
    (dict(acceleration="squarm"), "one of 'squarem', None;", "Did you mean 'squarem'?"),
    (dict(acceleration=3), "acceleration must be one of 'squarem', None; got 3."),
    (dict(prior="data-scald"), "prior must be None", "Did you mean 'data-scaled'?"),
    (dict(support_fraction=0.5), "support_fraction must be a finite number above 0.5, got 0.5."),
    (dict(support_fraction=1.5), "support_fraction must be at most 1, got 1.5."),
    (dict(learning_decay=2), "learning_decay must be above 0.5 and at most 1, got 2:"),
    (dict(learning_offset=-1), "learning_offset must be a finite number of at least 0, got -1."),
    (dict(weights_init=[0.5, 0.6]), "'weights' should be normalized", "= 1.10000"),
    (dict(weights_init=[1.0]), "'weights' should have the shape of (2,), but got (1,)"),
    (dict(weights_init=[1.5, -0.5]), "max value 1.50000, min value -0.50000"),
    (dict(weights_init=[np.nan, 1.0]), "'weights' should be finite"),
    (dict(means_init=np.ones((2, 3))), "'means' should have the shape of (2, 4), but got (2, 3)"),
    (dict(means_init=np.full((2, 4), np.nan)), "'means' should be finite"),
    (dict(precisions_init=np.eye(4)), "the shape of (2, 4, 4), but got (4, 4)"),
    (dict(precisions_init=[np.eye(4), -np.eye(4)]), "the smallest eigenvalue is -1"),
    (dict(precisions_init=[np.tri(4)] * 2), "positive-definite; it is not symmetric"),
    (dict(covariance_type="diag", precisions_init=np.zeros((2, 4))), "the smallest is 0"),
    # under mclust's names [K, D, D], but not every such array is one of the family
    (dict(covariance_type="VVI", precisions_init=[np.eye(4) + 0.5] * 2), "VVI precision"),
    (dict(covariance_type="VII", precisions_init=[np.diag([1.0, 1, 1, 2])] * 2), "VII precision"),
    (dict(covariance_type="EEE", precisions_init=[np.eye(4), 2 * np.eye(4)]), "EEE precision"),
    (
        dict(covariance_type="EVE", precisions_init=[np.eye(4), 2 * np.eye(4)]),
        "'EVE precision' should be of the family: equal volume, variable shape, equal orientation",
    ),
    (
        dict(covariance_type="VVE", precisions_init=[np.diag([1.0, 2, 3, 4]), np.eye(4) + AXES]),
        "variable volume, variable shape, equal orientation for VVE",
    ),
    (dict(covariance_type="VEI", precisions_init=[np.eye(4), -np.eye(4)]), "eigenvalue is -1"),
]

PITMAN_YOR = dict(weight_concentration_prior_type="pitman_yor")
OF_VARIATIONAL_BAYES = [
    (
        dict(covariance_type="EVE"),
        "covariance_type must be one of 'full', 'tied', 'diag', 'spherical', 'VVV', 'EEE', 'VVI', "
        "'VII', 'E', 'V'; got 'EVE'.",
    ),
    (
        dict(n_components=None, weight_concentration_prior=None, moves=True),
        "n_components=None leaves their number to the moves",
        "weight_concentration_prior=None is 1 / n_components. Give n_components",
    ),
    (
        dict(
            n_components=None,
            moves=True,
            weight_concentration_prior_type="dirichlet_distribution",
        ),
        "a known number of them",
    ),
    (dict(n_components=None), "moves=False means that none of them is added or merged"),
    (
        dict(n_components=None, moves=True, covariance_prior="data-scaled"),
        "divided by n_components^(2 / D)",
    ),
    (dict(weight_concentration_prior_type="dp"), "'dirichlet_process', 'pitman_yor'"),
    (dict(weight_concentration_prior_type=None), "weight_concentration_prior_type", "got None."),
    (dict(weight_concentration_prior="gama"), "Did you mean 'gamma'?"),
    (
        dict(weight_concentration_prior=0),
        "weight_concentration_prior must be a finite number above 0, got 0.",
    ),
    (dict(weight_concentration_prior=np.inf), "must be a finite number above 0, got inf."),
    (dict(weight_concentration_prior=[1.0, 1.0]), "weight_concentration_prior must be"),
    (dict(weight_concentration_prior=("gamma", 1)), "('gamma', shape, rate), got ('gamma', 1)."),
    (dict(weight_concentration_prior=("gamma", 1, 0)), "weight_concentration_prior[2] must be"),
    (dict(weight_concentration_prior=("gamma", -1, 1)), "weight_concentration_prior[1] must be"),
    (dict(discount_prior=0.1), "discount_prior is for", "got discount_prior=0.1 with 'dirichlet"),
    (PITMAN_YOR | dict(discount_prior=1.0), "discount_prior must be less than 1, got 1.0"),
    (
        PITMAN_YOR | dict(discount_prior=-0.1),
        "discount_prior must be a finite number of at least 0, got -0.1.",
    ),
    (PITMAN_YOR | dict(discount_prior="0.5"), "discount_prior must be", "got '0.5'."),
    (dict(mean_precision_prior=0), "mean_precision_prior must be a finite number above 0, got 0."),
    (dict(mean_precision_prior="1"), "mean_precision_prior must be", "got '1'."),
    (dict(mean_prior=[1.0]), "'means' should have the shape of (4,), but got (1,)"),
    (dict(mean_prior=[1, 2, 3, np.nan]), "'means' should be finite, but holds NaN or infinity"),
    (
        dict(degrees_of_freedom_prior=3),
        "'degrees_of_freedom_prior' should be greater than 3, but got 3.000.",
    ),
    (
        dict(degrees_of_freedom_prior=0, covariance_type="diag"),
        "'degrees_of_freedom_prior' should be greater than 0, but got 0.000.",
    ),
    (dict(degrees_of_freedom_prior=np.nan), "degrees_of_freedom_prior must be a finite number"),
    (dict(covariance_prior="data-scale"), "None, 'data-scaled' or an array", "Did you mean"),
    (
        dict(covariance_prior=np.ones(4)),
        "'covariance_prior' should have the shape of (4, 4), but got (4,)",
    ),
    (dict(covariance_prior=np.eye(4) * np.nan), "'covariance_prior' should be finite"),
    (dict(covariance_prior=np.eye(4) + 1.5 * (1 - np.eye(4))), "the smallest eigenvalue is -0.5"),
    (dict(covariance_prior=np.tri(4)), "'covariance_prior' should be symmetric", "it is not"),
    (
        dict(covariance_type="spherical", covariance_prior=np.ones(4)),
        "'covariance_prior' should have the shape of (), but got (4,)",
    ),
    (dict(covariance_type="spherical", covariance_prior=-1.0), "should be positive; got -1"),
    (
        dict(covariance_type="diag", covariance_prior=np.eye(4)),
        "'covariance_prior' should have the shape of (4,), but got (4, 4)",
    ),
    (dict(covariance_type="diag", covariance_prior=[1, 1, 0, 1]), "should be positive; got 0"),
    (dict(prune="yes"), "prune must be True or False, got 'yes'."),
    (dict(moves=1), "moves must be True or False, got 1."),
]

BAD = {
    GaussianMixture: BAD_OPTIONS + OF_EM,
    BayesianGaussianMixture: BAD_OPTIONS + OF_VARIATIONAL_BAYES,
}


@pytest.mark.parametrize(
    "kind, options, parts",
    [(kind, row[0], row[1:]) for kind, table in BAD.items() for row in table],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_options(points, kind, options, parts):
    # a start is needed for random_state to matter
    options = dict(init_params="random") | options if "random_state" in options else options
    refuses(lambda: fitted(points, kind, **options), *parts)


@BOTH
def test_every_option_has_its_bad_values(kind):
    tested = {name for row in BAD[kind] for name in row[0]}
    assert tested == set(kind().get_params())


@BOTH
def test_options_of_numpys_types(points, kind):
    one = fitted(points, kind)
    options = dict(n_components=np.int64(2), max_iter=np.int32(5), tol=np.float32(0.01))
    options |= dict(n_init=np.int16(1), reg_covar=np.float64(1e-6), warm_start=np.bool_(False))
    if kind is BayesianGaussianMixture:
        options |= dict(prune=np.bool_(True), moves=np.bool_(False))
    other = fitted(points, kind, verbose=np.int64(0), verbose_interval=np.uint8(10), **options)
    np.testing.assert_array_equal(other.means_, one.means_)
    assert fitted(points, kind, max_iter=10**12).converged_


def test_hyperparameters_of_other_types_give_the_same(points):
    given = dict(mean_prior=np.arange(4), covariance_prior=2 * np.eye(4, dtype=int))
    given |= dict(weight_concentration_prior=np.float32(0.5), mean_precision_prior=np.int64(2))
    given |= dict(degrees_of_freedom_prior=np.float32(5))
    one = fitted(points, BayesianGaussianMixture, **given)
    plain = {name: np.asarray(value, float).tolist() for name, value in given.items()}
    other = fitted(points, BayesianGaussianMixture, **plain)
    assert one.elbo_ == other.elbo_
    np.testing.assert_array_equal(one.means_, other.means_)


WARM = [(dict(), 3, "fewer features"), (dict(n_components=3), 4, "more components")]
WARM += [(dict(n_components=1), 4, "fewer components")]


@pytest.mark.parametrize(
    "kind, changed, columns",
    [pytest.param(GaussianMixture, *row[:2], id=f"GaussianMixture {row[2]}") for row in WARM]
    # n_components is the most that there may be
    + [
        pytest.param(BayesianGaussianMixture, *row[:2], id=f"BayesianGaussianMixture {row[2]}")
        for row in (WARM[0], WARM[2])
    ],
)
def test_warm_start_from_a_fit_of_another_size(points, kind, changed, columns):
    model = fitted(points, kind, warm_start=True, max_iter=50)
    model.set_params(**changed)
    refuses(lambda: model.fit(points[:, :columns]), "warm_start=True goes on from the last fit")
    model.set_params(n_components=2).fit(points)  # and the last fit is still there
    assert model.n_iter_ == 1


@BOTH
@pytest.mark.parametrize("covariance_type", TYPES)
def test_warm_start_from_a_fit_of_another_family(points, kind, covariance_type):
    """The mixture is what is gone on from, or a clear error says that it cannot be."""
    model = fitted(points, kind, warm_start=True)
    try:
        model.set_params(covariance_type=covariance_type).fit(points)
    except ValueError as error:
        assert "warm_start" in str(error)
    else:
        assert_finite(model, points)


def test_warm_start_from_given_parameters(points):
    fit = fitted(points)
    model = GaussianMixture.from_parameters(fit.weights_, fit.means_, fit.covariances_)
    model.set_params(warm_start=True).fit(points)
    np.testing.assert_allclose(model.means_, fit.means_, rtol=1e-6)


@pytest.mark.parametrize(
    "kind, table", [(GaussianMixture, FAMILIES), (BayesianGaussianMixture, CONJUGATE)]
)
def test_names_in_a_message_come_from_the_table(kind, table):
    with pytest.raises(ValueError) as caught:
        fitted(np.eye(4), kind, covariance_type="no such")
    assert all(repr(name) in str(caught.value) for name in table)


@BOTH
def test_the_documentation_names_every_start(kind):
    options = kind.__doc__.partition("init_params :")[2].partition("\n    weight")[0]
    assert all(f'"{name}"' in options for name in STARTS)


@BOTH
def test_options_are_checked_by_fit_and_not_before(points, kind):
    model = kind(n_components=-3, tol="x", covariance_type=7)
    assert model.n_components == -3
    with pytest.raises(ValueError, match="n_components"):
        model.fit(points)
    assert not hasattr(model, "means_") and model.get_params()["tol"] == "x"


BAD_WEIGHTS = [
    (np.ones(7), "sample_weight must have shape (200,), one a row, got (7,)."),
    (np.ones((200, 1)), "sample_weight must have shape (200,), one a row, got (200, 1)."),
    (np.where(np.arange(200) == 5, -1.5, 1.0), "at least 0; row 5 has -1.5 (1 such rows)."),
    (np.where(np.arange(200) > 197, np.nan, 1.0), "row 198 has nan (2 such rows)."),
    (np.where(np.arange(200) == 0, np.inf, 1.0), "row 0 has inf"),
    (["a"] * 200, "sample_weight must be numbers"),
    (-1, "at least 0; row 0 has -1 (200 such rows)."),
]


@BOTH
@pytest.mark.parametrize("weight, message", BAD_WEIGHTS)
def test_bad_weights(points, kind, weight, message):
    model = fitted(points, kind)
    own = ["bic", "aic", "icl"] if kind is GaussianMixture else ["evidence"]
    calls = [getattr(model, name) for name in ("score", "partial_fit", *own)]
    for call in (kind(2).fit, kind(2).partial_fit, *calls):
        refuses(lambda call=call: call(points, sample_weight=weight), message)


@BOTH
def test_weights_of_zero_throughout(points, kind):
    for call in (kind(2).fit, fitted(points, kind).score):
        with pytest.raises(ValueError, match=r"sample_weight .*zero.* every row"):
            call(points, sample_weight=np.zeros(200))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_only_the_ratios_of_weights_matter(points, dtype):
    X, digits = points.astype(dtype), 1e-9 if dtype == np.float64 else 1e-4
    one = fitted(X, tol=0)
    for total in (1.0, 1e-12, 1e-60, 1e60, 1e-300, 1e305):  # 1: weights that were normalised
        weight = np.full(200, total / 200)
        other = fitted(X, tol=0, max_iter=5).fit(X, sample_weight=weight)
        assert_finite(other, X)
        np.testing.assert_allclose(other.covariances_, one.covariances_, rtol=digits, atol=digits)
        np.testing.assert_allclose(other.score(X, sample_weight=weight), one.score(X), rtol=digits)


# --- nothing else is touched --------------------------------------------------------------------


def world():
    """The global state that a library might be tempted to change."""
    return SimpleNamespace(
        jax={name: jax.config._read(name) for name in jax.config.values},
        dtype=str(jnp.ones(1).dtype),
        random=np.random.get_state(),  # noqa: NPY002
        filters=list(warnings.filters),
        errors=np.geterr(),
        printing=np.get_printoptions(),
        pandas=pd.get_option("display.max_rows"),
        style=dict(mpl.rcParams),
        backend=mpl.rcParams._get("backend"),
    )


QUICK = {**OWN, BayesianGaussianMixture: OWN[BayesianGaussianMixture][1:]}
"""The evidence, which compiles longest, is asked in test_variational.py: nothing changes there."""


def assert_unchanged(before):
    after = world()
    for name, value in vars(before).items():
        if name == "random":
            assert all(np.array_equal(a, b) for a, b in zip(value, after.random, strict=True))
        else:
            assert getattr(after, name) == value, name


@pytest.mark.parametrize(
    "kind, x64",
    [
        (GaussianMixture, False),
        (GaussianMixture, True),
        (BayesianGaussianMixture, False),
        slow(BayesianGaussianMixture, True),
    ],
)
def test_nothing_global_changes(points, kind, x64):
    with jax.enable_x64(x64):
        before = world()
        model = fitted(points, kind, init_params="kmeans", random_state=0, n_init=2)
        fitted(points.astype(np.float32), kind)
        for ask in (*SHARED, *QUICK[kind]):
            ask(model, points)
        unfitted(kind).partial_fit(points), repr(model)
        with pytest.raises(ValueError, match="NaN"):
            fitted(points * np.nan, kind)
        if kind is GaussianMixture:
            with pytest.raises(ValueError, match="ill-defined"):
                fitted(np.zeros((200, 4)), reg_covar=0)
        assert_unchanged(before)
        assert jax.config.jax_enable_x64 == x64


@BOTH
def test_the_default_of_random_state_draws_from_numpys_own(kind):
    """As scikit-learn: None means the global state of NumPy, so that np.random.seed has effect."""
    X = np.random.default_rng(0).standard_normal((200, 4))
    state = np.random.get_state()  # noqa: NPY002
    try:
        found = []
        for _ in range(2):
            np.random.seed(3)  # noqa: NPY002
            options = dict(init_params="random_from_data", max_iter=0, reg_covar=1.0)
            model = fitted(X, kind, **options)
            found.append(model.means_)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    np.testing.assert_array_equal(*found)


def frozen(array):
    array = np.array(array)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("order", ["C", "F"])
def test_no_input_is_written_to(points, dtype, order):
    X = np.asarray(points, dtype, order=order)
    given = dict(
        weights_init=frozen([0.5, 0.5]),
        means_init=frozen(points[:2]),
        precisions_init=frozen([np.eye(4)] * 2),
        init_params=frozen(LABELS),
    )
    weight = np.linspace(0, 2, 200)
    kept = copy.deepcopy((X, weight, given))
    X.flags.writeable = weight.flags.writeable = False
    prior = dict(mean_prior=frozen(points[0]), covariance_prior=frozen(np.eye(4)))
    given_of = {GaussianMixture: given, BayesianGaussianMixture: prior}
    for kind, own in given_of.items():
        for options in (own, dict(init_params=frozen(np.eye(2)[LABELS])), dict(random_state=0)):
            model = unfitted(kind, max_iter=3, **options).fit(X, sample_weight=weight)
            for ask in WITH_POINTS[kind][:5]:
                ask(model, X)
            model.score(X, sample_weight=weight)
            unfitted(kind, **options).partial_fit(X, sample_weight=weight)
    np.testing.assert_array_equal(X, kept[0])
    np.testing.assert_array_equal(weight, kept[1])
    for name, value in given.items():
        np.testing.assert_array_equal(value, kept[2][name])
    np.testing.assert_array_equal(prior["mean_prior"], points[0])
    np.testing.assert_array_equal(prior["covariance_prior"], np.eye(4))


@BOTH
def test_other_tables_and_orders_give_the_same(points, kind):
    one = fitted(points, kind)
    strided = np.repeat(points, 2, axis=1)[:, ::2]
    backwards = points[::-1].copy()[::-1]
    frame = pd.DataFrame(points)
    for X in (strided, backwards, np.asfortranarray(points), frame, points.tolist()):
        np.testing.assert_array_equal(fitted(X, kind).means_, one.means_)
    whole = np.round(points * 100).astype(int)
    floats = fitted(whole.astype(float), kind)
    np.testing.assert_array_equal(fitted(whole, kind).means_, floats.means_)
    big_endian = points.astype(">f8")
    np.testing.assert_array_equal(fitted(big_endian, kind).means_, one.means_)


# --- interrupted --------------------------------------------------------------------------------


def stop(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "kind, module, where",
    [
        (GaussianMixture, em, "start_all"),
        (GaussianMixture, squarem, "run"),
        (GaussianMixture, squarem, "outcome"),
        (BayesianGaussianMixture, vb, "start_all"),
        (BayesianGaussianMixture, vb, "run"),
        (BayesianGaussianMixture, vb, "lower_bounds"),
    ],
)
def test_an_interrupted_fit_leaves_the_last_one(points, monkeypatch, kind, module, where):
    model = fitted(points, kind)
    before = copy.deepcopy(model.__dict__)
    proba = model.predict_proba(points)
    with monkeypatch.context() as patch:
        patch.setattr(module, where, stop)
        with pytest.raises(KeyboardInterrupt):
            model.fit(pd.DataFrame(3 * points[:, :2], columns=["a", "b"]))
    assert model.__dict__.keys() == before.keys()  # no names of features, and four of them
    assert model.n_features_in_ == 4
    np.testing.assert_array_equal(model.predict_proba(points), proba)
    again = model.fit(points)
    np.testing.assert_array_equal(again.means_, before["means_"])


def test_an_interrupted_batch_leaves_the_last_ones(points, monkeypatch):
    options = dict(init_params="kmeans", random_state=0)
    model = unfitted(BayesianGaussianMixture, **options).partial_fit(points[:100], batch=0)
    bound, means = model.elbo_, model.means_
    with monkeypatch.context() as patch:
        patch.setattr(stream, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            model.partial_fit(points[100:], batch=1)
    assert model.elbo_ == bound and model.n_iter_ == 1
    np.testing.assert_array_equal(model.means_, means)
    whole = unfitted(BayesianGaussianMixture, **options).partial_fit(points[:100], batch=0)
    for found in (model, whole):
        found.partial_fit(points[100:], batch=1)
    assert model.elbo_ == whole.elbo_ and model.n_iter_ == 2


@BOTH
def test_an_interrupt_between_iterations(points, monkeypatch, kind):
    model = unfitted(kind, tol=0, max_iter=300, verbose=1)
    said = []

    def impatient(text):
        said.append(text)
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.print", impatient)
    with pytest.raises(KeyboardInterrupt):
        model.fit(points)
    assert re.fullmatch(r"restart 0  iteration 10", said[0])
    with pytest.raises(NotFittedError):
        model.predict(points)
    monkeypatch.undo()
    model.set_params(verbose=0, max_iter=5, tol=0.01).fit(points)
    np.testing.assert_array_equal(model.means_, fitted(points, kind).means_)
    assert not jax.config.jax_enable_x64 and jnp.ones(1).dtype == jnp.float32


@BOTH
def test_a_failed_fit_leaves_the_last_one(points, kind):
    model = fitted(points, kind)
    before = model.means_.copy()
    for X in (1e200 * points, points[:, :2] * np.nan):
        with pytest.raises(ValueError):
            model.set_params(reg_covar=0).fit(X)
        np.testing.assert_array_equal(model.means_, before)
        assert model.n_features_in_ == 4 and model.predict(points).shape == (200,)
