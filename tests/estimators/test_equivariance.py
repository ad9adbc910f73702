"""What a change of the data does to a fit: rows, columns, offsets, units, affine maps, precision.

Every example has the same shape, so that nothing compiles between them. What a tolerance may be is
computed from the rounding of the changed data: a number of size s is known to eps s, and a cluster
of width w then to eps s / w of its width.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bayesgmm import GaussianMixture

TYPES = ("full", "tied", "diag", "spherical")
N, D, K = 200, 4, 3
EPS = np.finfo(np.float64).eps
EXACT = 1e-10
"""What twenty iterations make of the rounding of sums taken in another order."""

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

few = settings(
    max_examples=6,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
seeds = st.integers(0, 2**16)
ridges = st.sampled_from([0.0, "relative", ("relative", 0.01)])


def table(seed):
    """Three overlapping clusters of width about 1, and labels of which a quarter is wrong."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, N)
    root = np.eye(D) + 0.3 * rng.standard_normal((K, D, D))
    noise = np.einsum("nij,nj->ni", root[labels], rng.standard_normal((N, D)))
    X = 3 * rng.standard_normal((K, D))[labels] + noise
    wrong = rng.random(N) < 0.25
    return X, np.where(wrong, rng.integers(0, K, N), labels)


def fit(X, labels, covariance_type, reg_covar, **options):
    options = dict(tol=0, acceleration=None, max_iter=20) | options
    model = GaussianMixture(
        K, covariance_type=covariance_type, reg_covar=reg_covar, init_params=labels, **options
    )
    return model.fit(X)


def matrices(model):
    """Covariances [K, D, D]."""
    found = model.covariances_
    if model.covariance_type == "spherical":
        found = np.repeat(found[:, None], D, axis=1)
    if found.ndim == 2 and model.covariance_type != "tied":
        found = found[:, :, None] * np.eye(D)
    return np.broadcast_to(found, (K, D, D))


def assert_maps(one, other, X, A=None, b=0.0, digits=EXACT):
    """`other`, of the rows A x + b, is what `one` becomes, to `digits` of each width.

    The map is undone before anything is compared, so that every direction counts alike.
    """
    A = np.eye(D) if A is None else A
    width = np.sqrt(np.diagonal(matrices(one), axis1=1, axis2=2).min(0))
    back = np.linalg.inv(A)
    means = np.linalg.solve(A, (other.means_ - b).T).T
    covariances = back @ matrices(other) @ back.T
    np.testing.assert_allclose((means - one.means_) / width, 0, atol=digits)
    gap = (covariances - matrices(one)) / np.outer(width, width)
    np.testing.assert_allclose(gap, 0, atol=digits * np.abs(matrices(one)).max() / width.min() ** 2)
    np.testing.assert_allclose(other.weights_, one.weights_, atol=digits)
    volume = np.linalg.slogdet(A)[1]
    np.testing.assert_allclose(other.lower_bounds_ + volume, one.lower_bounds_, atol=50 * digits)
    Y = X @ A.T + b
    np.testing.assert_allclose(other.predict_proba(Y), one.predict_proba(X), atol=50 * digits)


# --- rows and columns ---------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
@few
@given(seed=seeds, reg_covar=ridges)
def test_rows_in_another_order(covariance_type, seed, reg_covar):
    X, labels = table(seed)
    order = np.random.default_rng(seed).permutation(N)
    one = fit(X, labels, covariance_type, reg_covar)
    other = fit(X[order], labels[order], covariance_type, reg_covar)
    assert_maps(one, other, X)
    np.testing.assert_array_equal(other.labels_, one.labels_[order])


@pytest.mark.parametrize("covariance_type", TYPES)
@few
@given(seed=seeds, order=st.permutations(range(D)), reg_covar=ridges)
def test_columns_in_another_order(covariance_type, seed, order, reg_covar):
    X, labels = table(seed)
    one = fit(X, labels, covariance_type, reg_covar)
    other = fit(X[:, order], labels, covariance_type, reg_covar)
    assert_maps(one, other, X, np.eye(D)[order])


@pytest.mark.parametrize("covariance_type", TYPES)
@few
@given(seed=seeds, order=st.permutations(range(K)), reg_covar=ridges)
def test_components_in_another_order(covariance_type, seed, order, reg_covar):
    X, labels = table(seed)
    one = fit(X, labels, covariance_type, reg_covar)
    other = fit(X, np.argsort(order)[labels], covariance_type, reg_covar)
    np.testing.assert_allclose(other.means_, one.means_[order], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(matrices(other), matrices(one)[order], rtol=1e-8, atol=1e-9)


# --- offsets and units --------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
@few
@given(
    seed=seeds,
    offset=st.lists(st.sampled_from([0.0, 1.0, -3e4, 1e8, -1e8]), min_size=D, max_size=D),
    reg_covar=ridges,
)
def test_offset(covariance_type, seed, offset, reg_covar):
    X, labels = table(seed)
    offset = np.array(offset)
    # points that the offset does not round, so that both fits see the same ones
    X = np.round(X * 2**20) / 2**20
    one = fit(X, labels, covariance_type, reg_covar)
    other = fit(X + offset, labels, covariance_type, reg_covar)
    # what is left is the rounding of the means, which carry the offset, to their own digits
    digits = max(EXACT, 4 * EPS * np.abs(offset).max() / np.sqrt(matrices(one)[:, 0, 0].min()))
    assert_maps(one, other, X, b=offset, digits=digits)
    np.testing.assert_allclose(matrices(other), matrices(one), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("covariance_type", TYPES)
@few
@given(seed=seeds, exponent=st.floats(-12, 12), reg_covar=ridges)
def test_common_unit(covariance_type, seed, exponent, reg_covar):
    X, labels = table(seed)
    unit = 10.0**exponent
    one = fit(X, labels, covariance_type, reg_covar)
    other = fit(unit * X, labels, covariance_type, reg_covar)
    assert_maps(one, other, X, unit * np.eye(D))


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
@few
@given(
    seed=seeds,
    exponents=st.lists(st.floats(-12, 12), min_size=D, max_size=D),
    signs=st.lists(st.sampled_from([-1, 1]), min_size=D, max_size=D),
    reg_covar=ridges,
)
def test_units_per_column(covariance_type, seed, exponents, signs, reg_covar):
    X, labels = table(seed)
    units = 10.0 ** np.array(exponents) * signs
    one = fit(X, labels, covariance_type, reg_covar)
    other = fit(X * units, labels, covariance_type, reg_covar)
    assert_maps(one, other, X, np.diag(units))


# --- affine maps --------------------------------------------------------------------------------


def orthogonal(seed):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((D, D)))[0]


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
@few
@given(
    seed=seeds,
    rotation=st.tuples(seeds, seeds),
    exponents=st.lists(st.floats(-1.5, 1.5), min_size=D, max_size=D),
    unit=st.floats(-6, 6),
    shift=st.floats(-10, 10),
)
def test_affine_map(covariance_type, seed, rotation, exponents, unit, shift):
    """Without a ridge: a share of the variance of each column is not that of their mixtures."""
    X, labels = table(seed)
    stretch = 10.0 ** np.array(exponents)
    A = 10.0**unit * orthogonal(rotation[0]) @ np.diag(stretch) @ orthogonal(rotation[1])
    b = shift * A.sum(axis=1)
    one = fit(X, labels, covariance_type, 0.0)
    other = fit(X @ A.T + b, labels, covariance_type, 0.0)
    # rounding of A x + b, magnified by the condition of A when it is undone
    condition = stretch.max() / stretch.min()
    assert_maps(one, other, X, A, b, digits=max(EXACT, 4e3 * EPS * condition))


@few
@given(seed=seeds, rotation=seeds)
def test_spherical_clusters_may_be_turned(seed, rotation):
    X, labels = table(seed)
    Q = orthogonal(rotation)
    one = fit(X, labels, "spherical", 0.0)
    assert_maps(one, fit(X @ Q.T, labels, "spherical", 0.0), X, Q)


# --- precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("width", [1.0, 1e-3])
def test_single_precision_gives_the_double_answer(covariance_type, width):
    """Also where clusters are a thousandth of the spread of the data.

    The points are single numbers already, so that both fits see the same ones; a mean of size 3
    is then known to 1e-7 times its own size, and a width to 3e-7 / width of itself.
    """
    rng = np.random.default_rng(4)
    labels = np.arange(N) % K
    root = np.eye(D) + 0.3 * rng.standard_normal((K, D, D))
    noise = np.einsum("nij,nj->ni", root[labels], rng.standard_normal((N, D)))
    X = (3 * rng.standard_normal((K, D))[labels] + width * noise).astype(np.float32)
    options = dict(covariance_type=covariance_type, reg_covar=0.0, max_iter=10)
    double = fit(X.astype(np.float64), labels, **options)
    single = fit(X, labels, **options)
    for name in ("means_", "covariances_", "weights_"):
        assert getattr(single, name).dtype == np.float32
    near = np.finfo(np.float32).eps * 3 / width  # of the width of a cluster
    spread = np.sqrt(np.diagonal(matrices(double), axis1=1, axis2=2))
    np.testing.assert_allclose(single.weights_, double.weights_, atol=1e-5)
    np.testing.assert_allclose((single.means_ - double.means_) / spread, 0, atol=1e-5 + 4 * near)
    scale = spread[:, :, None] * spread[:, None, :]
    gap = (matrices(single) - matrices(double)) / scale
    np.testing.assert_allclose(gap, 0, atol=1e-4 + 4 * near)
    np.testing.assert_allclose(single.lower_bounds_, double.lower_bounds_, atol=1e-3)
    np.testing.assert_array_equal(single.labels_, double.labels_)


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_nearly_collinear_columns_keep_their_digits(covariance_type):
    """Columns of correlation 1 - 1e-9, against the exact map of a fit that is well conditioned.

    The second column becomes the first plus 4.5e-5 of itself, in integers, so that the map of the
    points is without rounding; what rounding the covariances then have, when the map is undone, is
    that of their own entries: eps / (1 - r^2), about 1e-7 of the small direction.
    """
    X, labels = table(11)
    X = np.round(X * 2**20)  # integers below 2^24
    step = 2**14  # 1 / step = 6.1e-5
    A = np.eye(D)
    A[1, 0], A[1, 1] = step, 1.0
    A[0, 0] = step
    Y = X @ A.T  # (step x0, step x0 + x1, x2, x3): below 2^38, exact
    worst = 1 - np.corrcoef(Y[:, 0], Y[:, 1])[0, 1]
    assert 1e-10 < worst < 1e-8
    one = fit(X, labels, covariance_type, 0.0)
    other = fit(Y, labels, covariance_type, 0.0)
    np.testing.assert_allclose(other.weights_, one.weights_, rtol=1e-6)
    volume = np.linalg.slogdet(A)[1]
    np.testing.assert_allclose(
        np.array(other.lower_bounds_) + volume, one.lower_bounds_, rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(other.predict_proba(Y), one.predict_proba(X), atol=1e-5)
    np.testing.assert_array_equal(other.labels_, one.labels_)
    # the variance of the small direction, x1 = y1 - y0, from the published factors
    scale = other.mixture_.scales
    small = np.square(scale[:, 1] - scale[:, 0]).sum(-1)
    np.testing.assert_allclose(small, matrices(one)[:, 1, 1], rtol=1e-5)


def test_tight_clusters_far_apart_keep_their_digits():
    """Widths of 1e-9 of the spread: the fast forms lose all, and must not be what is published."""
    rng = np.random.default_rng(5)
    labels = np.arange(N) % K
    unit = 2.0**-30
    inner = np.round(rng.standard_normal((N, D)) * 2**10) / 2**10
    far = np.array([[0, 0, 0, 0], [1, 2, 0, 1], [-1, 1, 3, 0]], float)
    X = far[labels] + unit * inner  # exact: 43 binary digits
    for covariance_type in TYPES:
        model = fit(X, labels, covariance_type, 0.0, max_iter=3)
        expected = np.stack([inner[labels == k].mean(axis=0) for k in range(K)])
        np.testing.assert_allclose((model.means_ - far) / unit, expected, atol=1e-5)
        own = inner - expected[labels]
        share = np.bincount(labels) / N
        if covariance_type == "full":
            spread = np.stack([np.cov(inner[labels == k].T, ddof=0) for k in range(K)])
        elif covariance_type == "tied":
            spread = np.broadcast_to(own.T @ own / N, (K, D, D))
        else:
            variance = np.stack([inner[labels == k].var(axis=0) for k in range(K)])
            if covariance_type == "spherical":
                variance = np.repeat(variance.mean(axis=1)[:, None], D, axis=1)
            spread = variance[:, :, None] * np.eye(D)
        np.testing.assert_allclose(matrices(model) / unit**2, spread, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(model.weights_, share, rtol=1e-12)
