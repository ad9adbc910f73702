"""Triangular algebra against NumPy, standardisation against long double, precision as a scope."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_triangular

from bayesgmm.core import Standardizer, float_scope
from bayesgmm.core.arrays import (
    UNROLLED,
    cholesky,
    covariances,
    full_scales,
    inverse_lower,
    inverse_scales,
    log_determinant,
    safe_divide,
    symmetric,
    whiten,
)
from tests.conftest import STORAGES, assert_close, matrices, random_mixture

pytestmark = pytest.mark.usefixtures("x64")


def positive_definite(seed, B, D):
    root = np.random.default_rng(seed).normal(size=(B, D, 2 * D))
    return root @ np.swapaxes(root, 1, 2) / D


# ------------------------------------------------------------------------------ triangular algebra


def both(matrix):
    factor = cholesky(matrix)
    return factor, inverse_lower(factor)


@jax.jit
def factorize(matrix, direction):
    """Factor and inverse; their slope along a direction, and the transpose of that map."""
    values, slopes = jax.jvp(both, (matrix,), (direction,))
    pulled = jax.vjp(both, matrix)[1](values)[0]
    return values, slopes, pulled


@pytest.mark.parametrize("D", [2, UNROLLED, UNROLLED + 1, 13])
def test_factors_of_a_batch(D):
    matrix = positive_definite(0, 5, D)
    direction = symmetric(np.random.default_rng(1).normal(size=matrix.shape))
    (factor, inverse), slopes, pulled = factorize(matrix, direction)
    expected = np.linalg.cholesky(matrix)
    assert_close(factor, expected, rtol=1e-11)
    assert np.all(np.triu(factor, 1) == 0) and np.all(np.triu(inverse, 1) == 0)
    assert_close(inverse, np.linalg.inv(expected), rtol=1e-10)
    h = 1e-5
    ahead, behind = (np.linalg.cholesky(matrix + s * direction) for s in (h, -h))
    assert_close(slopes[0], (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-7)
    difference = (np.linalg.inv(ahead) - np.linalg.inv(behind)) / (2 * h)
    assert_close(slopes[1], difference, rtol=1e-6, atol=1e-6)
    forward = np.vdot(factor, slopes[0]) + np.vdot(inverse, slopes[1])
    assert_close(np.vdot(pulled, direction), forward)


@pytest.mark.parametrize("D", [2, UNROLLED, UNROLLED + 1])
def test_not_positive_definite_is_nan(D):
    matrix = positive_definite(0, 5, D)
    matrix[1] = -np.eye(D)
    matrix[2, -1, -1] = -1.0  # only the last pivot fails
    matrix[3] = 0.0
    (factor, inverse), *_ = factorize(matrix, np.zeros_like(matrix))
    assert_close(factor[::4], np.linalg.cholesky(matrix[::4]), rtol=1e-11)
    for found in (factor, inverse):
        assert np.isnan(np.asarray(found)[1:4]).any(axis=(1, 2)).all()
        assert np.isnan(np.asarray(found)[1:4, -1, -1]).all()  # so the log determinant is too


@pytest.mark.parametrize("D", [1, 2])
def test_leading_axes_are_free(D):
    matrix = positive_definite(0, 6, D).reshape(2, 3, D, D)
    factor, inverse = jax.jit(lambda matrix: (cholesky(matrix), inverse_lower(matrix)))(matrix)
    assert_close(factor, np.linalg.cholesky(matrix))
    assert_close(inverse, np.linalg.inv(np.tril(matrix)))


@pytest.mark.parametrize("D", [5, 8, 33])
def test_inverses_of_nearly_singular_factors_keep_their_digits(D):
    factor = np.linalg.cholesky(positive_definite(0, 4, D))
    factor[:, -1] *= 1e-9
    inverse = jax.jit(inverse_lower)(factor)
    assert_close(inverse @ factor, np.broadcast_to(np.eye(D), factor.shape), atol=1e-13)


@pytest.mark.parametrize("storage", STORAGES)
def test_scales_of_every_rank(storage):
    mixture = random_mixture(0, 3, 2, storage)
    scales = np.asarray(mixture.scales)
    expected = matrices(mixture)[: len(scales)]
    found = jax.jit(describe_scales)(mixture.scales)
    assert_close(found["covariances"], expected)
    assert_close(found["log_determinant"], np.linalg.slogdet(expected)[1])
    factor = np.asarray(found["full"])
    assert_close(factor @ np.swapaxes(factor, 1, 2), expected)
    if storage == "axis":
        assert_close(scales * found["inverse"], np.ones((3, 2)))
    else:
        assert_close(scales @ found["inverse"], [np.eye(2)] * len(scales))


def describe_scales(scales):
    return {
        "covariances": covariances(scales),
        "log_determinant": log_determinant(scales),
        "full": full_scales(scales),
        "inverse": inverse_scales(scales),
    }


whitened = jax.jit(whiten)


@pytest.mark.parametrize("storage", STORAGES)
def test_whitened_points_solve_the_triangular_system(storage):
    mixture = random_mixture(0, 3, 2, storage)
    points = np.random.default_rng(0).normal(size=(2, 6))
    expected = [
        solve_triangular(factor, points - mean[:, None], lower=True)
        for factor, mean in zip(
            np.linalg.cholesky(matrices(mixture)), np.asarray(mixture.means), strict=True
        )
    ]
    assert_close(whitened(points, mixture.means, mixture.scales), expected)


def test_whitening_keeps_the_digits_of_tight_clusters():
    """Powers of two, so that every product is exact: nothing may be lost to the offset."""
    means, scales = np.array([[2.0**26, -(2.0**26)]]), np.full((1, 2), 2.0**-20)
    steps = np.array([[1.0, -3.0], [5.0, 2.0]])
    points = means.T + 2.0**-20 * steps
    assert np.array_equal(whitened(points, means, scales)[0], steps)
    assert np.array_equal(whitened(points, means, scales[:, :, None] * np.eye(2))[0], steps)


def test_nothing_over_nothing_is_nothing():
    top, bottom = np.array([1.0, 0.0, 3.0]), np.array([2.0, 0.0, 0.0])
    assert_close(safe_divide(top, bottom), [0.5, 0.0, 0.0])
    slopes = jax.jit(jax.grad(lambda a, b: safe_divide(a, b).sum(), (0, 1)))(top, bottom)
    assert_close(slopes, (np.array([0.5, 0, 0]), np.array([-0.25, 0, 0])))


# --------------------------------------------------------------------------------- standardisation


def long_double(X, weight=None):
    """Mean and standard deviation of each column with about 19 digits."""
    X = np.asarray(X, np.longdouble)
    weight = np.ones(len(X), np.longdouble) if weight is None else np.asarray(weight, np.longdouble)
    weight = weight / weight.sum()
    mean = weight @ X
    return mean, np.sqrt(weight @ (X - mean) ** 2)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    unit=st.floats(-12, 12).map(lambda power: 10.0**power),
    offset=st.sampled_from([0.0, 1.0, -1e4, 1e8]),
)
def test_neither_offset_nor_unit_costs_digits(seed, unit, offset):
    X = unit * (offset + np.random.default_rng(seed).normal(size=(40, 2)))
    found = Standardizer.fit(X)
    mean, sd = long_double(X)
    assert np.all(np.abs(found.centre - mean) <= 1e-15 * np.abs(mean) + 1e-14 * sd)
    assert np.all(np.abs(found.scale / sd - 1) < 1e-13)
    standard = found.transform(X)
    gaps = ((X - X[0]) / sd).T  # what the points are to each other
    assert np.all(np.abs(standard - standard[:, :1] - gaps) < 1e-13 * (1 + np.abs(gaps)))
    assert np.all(np.abs(standard.mean(1)) < 1e-15 * abs(offset) + 1e-14)
    assert_close(found.log_volume, float(np.log(sd).sum()))


def test_extreme_units():
    X = np.array([[1.0, -2.0], [2.0, 2.0], [4.0, 3.0]]) * [1e-200, 1e200]
    units = Standardizer.fit(X)
    sd = np.array([1.0, -2.0, 2.0, 2.0, 4.0, 3.0]).reshape(3, 2).std(0)
    assert_close(units.scale / [1e-200, 1e200], sd)
    common = Standardizer.fit(X, scaling="common")
    assert_close(common.scale / 1e200, np.full(2, sd[1] / np.sqrt(2)))


def test_common_scale_is_the_root_of_the_mean_variance():
    X = np.random.default_rng(0).normal(size=(30, 3)) * [1.0, 5.0, 20.0] + [0, 1e6, 0]
    units = Standardizer.fit(X, scaling="common")
    assert_close(units.scale, np.full(3, np.sqrt(X.var(0).mean())), rtol=1e-9)
    assert_close(units.centre, X.mean(0))
    assert_close((units.transform(X) ** 2).mean(), 1.0)


@pytest.mark.parametrize("scaling", ["column", "common"])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e300, 1e-300])
def test_a_column_that_does_not_vary_has_scale_one(value, scaling):
    X = np.full((37, 2), value)
    units = Standardizer.fit(X, scaling=scaling)
    assert np.array_equal(units.scale, [1, 1]) and np.array_equal(units.centre, X[0])
    assert not units.transform(X).any()
    beside = Standardizer.fit(np.column_stack([X[:, 0], np.arange(37.0)]))
    assert_close(beside.scale, [1, np.arange(37).std()])


def test_weights_are_repetitions():
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(20, 2)) + 100, rng.integers(0, 4, 20)
    for scaling in ("column", "common"):
        found = Standardizer.fit(X, weight.astype(float), scaling)
        expected = Standardizer.fit(np.repeat(X, weight, axis=0), scaling=scaling)
        assert_close(found.centre, expected.centre)
        assert_close(found.scale, expected.scale)
    fraction = Standardizer.fit(X, weight / 7.0)
    assert_close(fraction.scale, Standardizer.fit(X, weight.astype(float)).scale)


def test_points_are_read_only_and_float32_is_measured_in_float64():
    X = (1e4 + np.random.default_rng(0).normal(size=(500, 2))).astype(np.float32)
    X.flags.writeable = False
    units = Standardizer.fit(X)
    mean, sd = long_double(X)
    assert units.centre.dtype == units.scale.dtype == np.float64
    assert np.all(np.abs(units.centre / mean - 1) < 1e-14)
    assert np.all(np.abs(units.scale / sd - 1) < 1e-12)
    out = np.empty((2, 500), np.float32)
    assert units.transform(X, out) is out
    assert np.array_equal(out, units.transform(X).astype(np.float32))
    double = X.astype(np.float64)
    kept = double.copy()
    Standardizer.fit(double).transform(double)
    assert np.array_equal(double, kept)


def test_unknown_scaling():
    with pytest.raises(ValueError, match="must be 'column' or 'common', got 'rows'"):
        Standardizer.fit(np.eye(2), scaling="rows")


# --------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize("outside", [False, True])
def test_float_scope_is_a_scope(outside):
    with jax.enable_x64(outside):
        before = jax.config.values["jax_enable_x64"], jax.config.jax_enable_x64
        with float_scope("float64"):
            assert jnp.ones(1).dtype == np.float64
            with float_scope(np.float32):
                assert jnp.ones(1).dtype == np.float32
            assert jnp.ones(1).dtype == np.float64
        with pytest.raises(KeyError), float_scope(np.dtype("float64")):
            raise KeyError
        assert before == (jax.config.values["jax_enable_x64"], jax.config.jax_enable_x64)
        assert jnp.ones(1).dtype == (np.float64 if outside else np.float32)


def test_float_scope_belongs_to_its_thread():
    found = []
    with float_scope("float64"):
        thread = threading.Thread(target=lambda: found.append(jnp.ones(1).dtype))
        thread.start()
        thread.join()
    assert found == [np.float32]


@pytest.mark.parametrize("dtype", ["float16", int, "complex128"])
def test_float_scope_refuses_other_dtypes(dtype):
    name = np.dtype(dtype).name
    with pytest.raises(ValueError, match=f"'float32' or 'float64', got '{name}'"):
        float_scope(dtype)
