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
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from bayesgmm import GaussianMixture
from bayesgmm.core import FAMILIES
from bayesgmm.inference import em, squarem

TYPES = ("full", "tied", "diag", "spherical")
PARAMETERS = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    return rng.standard_normal((200, 4)) + 6 * (np.arange(200) % 2)[:, None]


LABELS = np.arange(200) % 2

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def fitted(X, **options):
    options = dict(n_components=2, init_params=LABELS, max_iter=5, tol=0.01) | options
    return GaussianMixture(**options).fit(X)


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


@pytest.mark.parametrize("value, kind", [(np.nan, "NaN"), (np.inf, "infinity")])
def test_values_that_are_no_numbers_are_named(points, value, kind):
    X = points.copy()
    X[3, 1] = X[17, 2] = X[17, 0] = value
    place = "row 3 column 1, row 17 column 0, row 17 column 2 (2 of 200 rows)"
    way_out = {"NaN": "drop those rows or impute", "infinity": "give finite values"}[kind]
    refuses(lambda: fitted(X), f"Input X contains {kind}: {place}", way_out)
    frame = pd.DataFrame(X, columns=list("abcd"))
    refuses(lambda: fitted(frame), "row 3 column 'b', row 17 column 'a'")
    X[20:30] = -value
    refuses(lambda: fitted(X), "row 20 column 0, row 20 column 1 and 38 more (12 of 200 rows)")
    model = fitted(points)
    for method in (model.predict, model.score, model.predict_proba, model.bic, model.uncertainty):
        refuses(lambda method=method: method(X[:5]), "row 3 column 1 (1 of 5 rows)")


def test_values_that_are_large_but_finite_are_not_taken_for_infinite():
    X = np.array([[1e300, 1.0], [1.0, 2.0], [3.0, -1.0], [1e300, 0.0]])
    refuses(lambda: GaussianMixture().fit(X), "the spread of feature 'x0' is 5.0e+299", "float64")
    X = np.array([[3e38], [-3e38], [1.0]], np.float32)  # their squares and sums are not float32
    refuses(lambda: GaussianMixture().fit(X), "the spread of feature 'x0' is 2.4e+38", "float32")


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
def test_shapes_and_types_that_are_no_table(X, message):
    refuses(lambda: GaussianMixture().fit(X), message)


def test_a_sparse_table_is_refused():
    from scipy.sparse import csr_array

    refuses(lambda: GaussianMixture().fit(csr_array(np.eye(3))), "parse", error=TypeError)


def test_fewer_points_than_components(points):
    message = "Expected n_samples >= n_components but got n_components = 9, n_samples = 4."
    refuses(lambda: GaussianMixture(9).fit(points[:4]), message, "Lower n_components")
    weight = np.r_[np.ones(3), np.zeros(197)]  # rows of weight 0 are none
    message = "n_components = 5, n_samples = 3"
    refuses(lambda: GaussianMixture(5).fit(points, sample_weight=weight), message)


def test_a_wrong_number_of_features(points):
    model = fitted(points)
    for method in (model.predict, model.score_samples, model.aic, model.uncertainty):
        message = "X has 3 features, but GaussianMixture is expecting 4 features as input"
        refuses(lambda method=method: method(points[:, :3]), message)


@pytest.mark.parametrize(
    "ask",
    [
        lambda m, X: m.predict(X),
        lambda m, X: m.predict_proba(X),
        lambda m, X: m.score(X),
        lambda m, X: m.score_samples(X),
        lambda m, X: m.uncertainty(X),
        lambda m, X: m.bic(X),
        lambda m, X: m.aic(X),
        lambda m, X: m.sample(),
        lambda m, X: m.summary(),
        lambda m, X: m.marginal([0]),
        lambda m, X: m.conditional({0: 1.0}),
        lambda m, X: m.mixture_,
    ],
)
def test_what_is_not_fitted_says_so(points, ask):
    with pytest.raises(NotFittedError, match="This GaussianMixture instance is not fitted yet"):
        ask(GaussianMixture(2), points)


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


@pytest.mark.parametrize("exponent", [-100, -12, 12, 100])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_huge_and_tiny_units(points, covariance_type, exponent):
    unit = 2.0 ** (3 * exponent)  # a power of two: no rounding
    options = dict(covariance_type=covariance_type, reg_covar="relative")
    one, other = fitted(points, **options), fitted(unit * points, **options)
    assert_finite(other, unit * points)
    np.testing.assert_allclose(other.means_ / unit, one.means_, rtol=1e-12)
    np.testing.assert_allclose(other.covariances_ / unit / unit, one.covariances_, rtol=1e-12)
    np.testing.assert_array_equal(other.labels_, one.labels_)
    shift = -4 * np.log(unit)
    np.testing.assert_allclose(other.lower_bound_, one.lower_bound_ + shift, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("dtype, far", [(np.float64, 1e200), (np.float32, 1e30)])
def test_a_point_too_far_for_the_square_of_its_distance(points, covariance_type, dtype, far):
    model = fitted(points.astype(dtype), covariance_type=covariance_type)
    X = np.full((2, 4), far, dtype)
    X[1] = points[0]
    proba, found = model.predict_proba(X), model.uncertainty(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    assert not found.isna().any(axis=None)
    density = model.score_samples(X)
    assert not np.isnan(density).any() and density[0] < -1e30 < density[1]
    np.testing.assert_array_equal(proba[1], model.predict_proba(X[1:])[0])


def test_units_whose_squares_are_no_floats(points):
    refuses(lambda: fitted(1e200 * points), "the spread of feature 'x0' is 3.", "in another unit")
    refuses(lambda: fitted(1e-200 * points), "the spread of feature 'x0' is 3.")
    frame = pd.DataFrame(points * [1, 1e180, 1, 1], columns=list("abcd"))
    refuses(lambda: fitted(frame), "the spread of feature 'b' is 3.", "e+180", "float64")


# --- options ------------------------------------------------------------------------------------

AXES = np.diag([0.5, 0, 0], 1) + np.diag([0.5, 0, 0], -1)
BAD_OPTIONS = [
    (dict(n_components=0), "n_components must be an integer of at least 1, got 0."),
    (dict(n_components=2.0), "n_components must be an integer of at least 1, got 2.0."),
    (dict(n_components=True), "n_components must be an integer of at least 1, got True."),
    (dict(covariance_type="ful"), "'spherical', 'EII', 'VII'", "got 'ful'. Did you mean 'full'?"),
    (dict(covariance_type=None), "covariance_type must be one of 'full'", "got None."),
    (dict(covariance_type="E"), "covariance_type='E' is for one feature, got 4.", "Choose"),
    (dict(tol=-1e-3), "tol must be a finite number of at least 0, got -0.001."),
    (dict(tol=np.nan), "tol must be a finite number of at least 0, got nan."),
    (dict(tol="small"), "tol must be a finite number of at least 0, got 'small'."),
    (dict(acceleration="squarm"), "one of 'squarem', None;", "Did you mean 'squarem'?"),
    (dict(acceleration=3), "acceleration must be one of 'squarem', None; got 3."),
    (dict(reg_covar=-1), "reg_covar must be a finite number of at least 0, got -1."),
    (dict(reg_covar=np.inf), "reg_covar must be a finite number of at least 0, got inf."),
    (dict(reg_covar="relativ"), "'relative' or ('relative', number), got 'relativ'."),
    (dict(reg_covar=("relative", -1)), "reg_covar[1] must be a finite number of at least 0"),
    (dict(reg_covar=("absolute", 1)), "reg_covar must be", "got ('absolute', 1)."),
    (dict(prior="data-scald"), "prior must be None", "Did you mean 'data-scaled'?"),
    (dict(support_fraction=0.5), "support_fraction must be a finite number above 0.5, got 0.5."),
    (dict(support_fraction=1.5), "support_fraction must be at most 1, got 1.5."),
    (dict(learning_decay=2), "learning_decay must be above 0.5 and at most 1, got 2:"),
    (dict(learning_offset=-1), "learning_offset must be a finite number of at least 0, got -1."),
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
    (dict(init_params=np.full(200, -1)), "init_params must", "at least one"),
    (dict(init_params=np.zeros((200, 2))), "init_params must", "at least one"),
    (dict(init_params=None), "init_params must be a name, integer labels of shape (200,)"),
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
    (dict(random_state="seed"), "cannot be used to seed"),
    (dict(warm_start="no"), "warm_start must be"),
    (dict(verbose=-1), "verbose must be"),
    (dict(verbose="yes"), "verbose must be"),
    (dict(verbose_interval=0), "verbose_interval must be an integer of at least 1, got 0."),
]


@pytest.mark.parametrize(
    "options, parts", [(row[0], row[1:]) for row in BAD_OPTIONS], ids=lambda value: ""
)
def test_bad_options(points, options, parts):
    # a start is needed for random_state to matter
    options = dict(init_params="random") | options if "random_state" in options else options
    refuses(lambda: fitted(points, **options), *parts)


def test_every_option_has_its_bad_values():
    tested = {name for row in BAD_OPTIONS for name in row[0]}
    assert tested == set(GaussianMixture().get_params())


def test_options_of_numpys_types(points):
    one = fitted(points)
    options = dict(n_components=np.int64(2), max_iter=np.int32(5), tol=np.float32(0.01))
    options |= dict(n_init=np.int16(1), reg_covar=np.float64(1e-6), warm_start=np.bool_(False))
    other = fitted(points, verbose=np.int64(0), verbose_interval=np.uint8(10), **options)
    np.testing.assert_array_equal(other.means_, one.means_)
    assert fitted(points, max_iter=10**12).converged_


@pytest.mark.parametrize(
    "changed, columns",
    [(dict(), 3), (dict(n_components=3), 4), (dict(n_components=1), 4)],
    ids=["fewer features", "more components", "fewer components"],
)
def test_warm_start_from_a_fit_of_another_size(points, changed, columns):
    model = fitted(points, warm_start=True)
    model.set_params(**changed)
    refuses(lambda: model.fit(points[:, :columns]), "warm_start")
    model.set_params(n_components=2).fit(points)  # and the last fit is still there
    assert model.n_iter_ == 1


@pytest.mark.parametrize("covariance_type", TYPES)
def test_warm_start_from_a_fit_of_another_family(points, covariance_type):
    """The mixture is what is gone on from, or a clear error says that it cannot be."""
    model = fitted(points, warm_start=True)
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


def test_names_in_a_message_come_from_the_table():
    with pytest.raises(ValueError) as caught:
        fitted(np.eye(4), covariance_type="no such")
    assert all(repr(name) in str(caught.value) for name in FAMILIES)


def test_options_are_checked_by_fit_and_not_before(points):
    model = GaussianMixture(n_components=-3, tol="x", covariance_type=7)
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


@pytest.mark.parametrize("weight, message", BAD_WEIGHTS)
def test_bad_weights(points, weight, message):
    model = fitted(points)
    for call in (GaussianMixture(2).fit, model.score, model.bic, model.aic):
        refuses(lambda call=call: call(points, sample_weight=weight), message)


def test_weights_of_zero_throughout(points):
    for call in (GaussianMixture(2).fit, fitted(points).score):
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


def assert_unchanged(before):
    after = world()
    for name, value in vars(before).items():
        if name == "random":
            assert all(np.array_equal(a, b) for a, b in zip(value, after.random, strict=True))
        else:
            assert getattr(after, name) == value, name


@pytest.mark.parametrize("x64", [False, True])
def test_nothing_global_changes(points, x64):
    with jax.enable_x64(x64):
        before = world()
        model = fitted(points, init_params="kmeans", random_state=0, n_init=2)
        fitted(points.astype(np.float32))
        model.predict(points), model.uncertainty(points), model.sample(3), model.summary()
        model.marginal([0]), model.conditional({0: 1.0}), model.bic(points), repr(model)
        with pytest.raises(ValueError, match="ill-defined"):
            fitted(np.zeros((200, 4)), reg_covar=0)
        assert_unchanged(before)
        assert jax.config.jax_enable_x64 == x64


def test_the_default_of_random_state_draws_from_numpys_own():
    """As scikit-learn: None means the global state of NumPy, so that np.random.seed has effect."""
    X = np.random.default_rng(0).standard_normal((200, 4))
    state = np.random.get_state()  # noqa: NPY002
    try:
        found = []
        for _ in range(2):
            np.random.seed(3)  # noqa: NPY002
            model = fitted(X, init_params="random_from_data", max_iter=0, reg_covar=1.0)
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
    for options in (given, dict(init_params=frozen(np.eye(2)[LABELS])), dict(random_state=0)):
        model = GaussianMixture(2, max_iter=3, tol=1, **options).fit(X, sample_weight=weight)
        model.predict(X), model.score(X, sample_weight=weight), model.uncertainty(X)
    np.testing.assert_array_equal(X, kept[0])
    np.testing.assert_array_equal(weight, kept[1])
    for name, value in given.items():
        np.testing.assert_array_equal(value, kept[2][name])


def test_other_tables_and_orders_give_the_same(points):
    one = fitted(points)
    strided = np.repeat(points, 2, axis=1)[:, ::2]
    backwards = points[::-1].copy()[::-1]
    frame = pd.DataFrame(points)
    for X in (strided, backwards, np.asfortranarray(points), frame, points.tolist()):
        np.testing.assert_array_equal(fitted(X).means_, one.means_)
    whole = np.round(points * 100).astype(int)
    np.testing.assert_array_equal(fitted(whole).means_, fitted(whole.astype(float)).means_)
    big_endian = points.astype(">f8")
    np.testing.assert_array_equal(fitted(big_endian).means_, one.means_)


# --- interrupted --------------------------------------------------------------------------------


def stop(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "module, where", [(em, "start_all"), (squarem, "run"), (squarem, "outcome")]
)
def test_an_interrupted_fit_leaves_the_last_one(points, monkeypatch, module, where):
    model = fitted(points)
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


def test_an_interrupt_between_iterations(points, monkeypatch):
    model = GaussianMixture(2, init_params=LABELS, tol=0, max_iter=300, verbose=1)
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
    np.testing.assert_array_equal(model.means_, fitted(points).means_)
    assert not jax.config.jax_enable_x64 and jnp.ones(1).dtype == jnp.float32


def test_a_failed_fit_leaves_the_last_one(points):
    model = fitted(points)
    before = model.means_.copy()
    for X in (np.zeros((200, 4)), points[:, :2] * np.nan):
        with pytest.raises(ValueError):
            model.set_params(reg_covar=0).fit(X)
        np.testing.assert_array_equal(model.means_, before)
        assert model.n_features_in_ == 4 and model.predict(points).shape == (200,)
