"""A mixture's densities against SciPy and quadrature; its sub-mixtures against the joint."""

from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import special, stats

from bayesgmm.core import (
    Mixture,
    change_units,
    conditional,
    log_density,
    log_joint,
    marginal,
    mixture_moments,
    responsibilities,
    sample,
)
from tests.conftest import (
    STORAGES,
    assert_close,
    assert_mean,
    matrices,
    random_mixture,
    with_absent,
)

pytestmark = pytest.mark.usefixtures("x64")

K, D, N = 3, 3, 7
PLACES = (0, 2, 3)
"""Where an absent component is put: first, in the middle, last."""


@jax.jit
def describe(points, mixture):
    return {
        "joint": log_joint(points, mixture),
        "density": log_density(points, mixture),
        "resp": responsibilities(points, mixture),
    }


def points_near(mixture, n=N, seed=1):
    return np.asarray(mixture.means).mean(0) + 2 * np.random.default_rng(seed).normal(
        size=(n, mixture.means.shape[1])
    )


def scipy_joint(points, mixture):
    """Log joint [N, K] by SciPy, term by term."""
    columns = [
        log_weight + stats.multivariate_normal(mean, covariance).logpdf(points)
        for log_weight, mean, covariance in zip(
            mixture.log_weights, mixture.means, matrices(mixture), strict=True
        )
    ]
    return np.stack(columns, axis=-1)


# -------------------------------------------------------------------------------------- densities


@pytest.mark.parametrize("storage", STORAGES)
def test_densities_are_scipys_and_an_absent_component_alters_nothing(storage):
    mixture = random_mixture(0, K, D, storage)
    points = np.vstack([points_near(mixture, N - 1), np.full(D, 7.0)])  # the absent one's mean
    expected = scipy_joint(points, mixture)
    for at in PLACES:
        found = describe(points, with_absent(mixture, at))
        keep = np.delete(np.arange(K + 1), at)
        assert_close(found["joint"][:, keep], expected)
        assert_close(found["density"], special.logsumexp(expected, axis=1))
        assert_close(found["resp"][:, keep], special.softmax(expected, axis=1))
        assert np.all(found["resp"][:, at] == 0) and np.all(found["joint"][:, at] == -np.inf)


def grid(mixture, n):
    """Points [n^D, D] twelve standard deviations around, and the volume of a cell."""
    mean, sd = np.asarray(mixture.means), np.sqrt(np.einsum("kii->ki", matrices(mixture)))
    low, high = (mean - 12 * sd).min(0), (mean + 12 * sd).max(0)
    axes = [np.linspace(a, b, n) for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(n ** len(axes), -1)
    return points, np.prod((high - low) / (n - 1))


@pytest.mark.parametrize(("dimension", "n"), [(1, 2001), (2, 301)])
def test_density_integrates_to_one_and_has_the_mixtures_moments(dimension, n):
    mixture = random_mixture(1, K, dimension)
    points, cell = grid(mixture, n)
    mass = np.exp(describe(points, mixture)["density"]) * cell
    assert_close(mass.sum(), 1.0)
    mean, covariance = jax.jit(mixture_moments)(mixture)
    assert_close(mean, mass @ points)
    gap = points - mass @ points
    assert_close(covariance, (gap.T * mass) @ gap)


@pytest.mark.parametrize("storage", ["tied", "axis"])
def test_moments_of_every_storage(storage):
    mixture = random_mixture(1, K, D, storage)
    weights, means = np.exp(mixture.log_weights), mixture.means
    mean = weights @ means
    squares = matrices(mixture) + means[:, :, None] * means[:, None, :]
    expected = np.tensordot(weights, squares, 1) - np.outer(mean, mean)  # E xx' - E x E x'
    assert_close(jax.jit(mixture_moments)(mixture), (mean, expected))


def test_units():
    centre, scale = np.array([1e3, -2.0, 0.0]), np.array([1e-3, 5.0, 40.0])
    for storage in STORAGES:
        mixture = with_absent(random_mixture(0, K, D, storage), 1)
        points = points_near(mixture)
        moved = change_units(mixture, centre, scale)
        assert moved.scales.shape == mixture.scales.shape
        found = describe(centre + scale * points, moved)["density"]
        expected = describe(points, mixture)["density"] - np.log(scale).sum()
        assert_close(found, expected, rtol=1e-8)


# ----------------------------------------------------------------------------------- sub-mixtures

SUBSETS = [("full", (0,)), ("full", (2, 0)), ("tied", (1,)), ("axis", (2, 1))]


@partial(jax.jit, static_argnames="features")
def split(points, mixture, features):
    """Density of the marginal at each point and of the conditional given it, and both."""
    others = np.setdiff1d(np.arange(D), features)
    known = points[:, np.array(features)]
    part = marginal(mixture, features)
    rest = jax.vmap(lambda value: conditional(mixture, features, value))(known)
    given = jax.vmap(lambda x, mixture: log_density(x[None], mixture)[0])(points[:, others], rest)
    return log_density(known, part), given, part, rest


def textbook_conditional(mixture, features, value):
    """Log weights, means and covariances of the others, by Schur complements."""
    a, b = np.array(features), np.setdiff1d(np.arange(D), features)
    covariances = matrices(mixture)
    inverse = np.linalg.inv(covariances[:, a[:, None], a])
    cross = covariances[:, b[:, None], a] @ inverse
    means = mixture.means[:, b] + np.einsum("kij,kj->ki", cross, value - mixture.means[:, a])
    schur = covariances[:, b[:, None], b] - cross @ covariances[:, a[:, None], b]
    known = Mixture(mixture.log_weights, mixture.means[:, a], None)
    joint = [
        log_weight + stats.multivariate_normal(mean, covariance).logpdf(value)
        for log_weight, mean, covariance in zip(
            known.log_weights, known.means, covariances[:, a[:, None], a], strict=True
        )
    ]
    return special.log_softmax(joint), means, schur


@pytest.mark.parametrize(("storage", "features"), SUBSETS)
def test_sub_mixtures(storage, features):
    mixture = random_mixture(0, K, D, storage)
    points = points_near(mixture)
    for at in PLACES:
        known, given, part, rest = split(points, with_absent(mixture, at), features)
        assert_close(known + given, special.logsumexp(scipy_joint(points, mixture), axis=1))
        keep = np.delete(np.arange(K + 1), at)
        assert np.all(part.log_weights[at] == -np.inf)
        assert np.all(rest.log_weights[:, at] == -np.inf)
        assert all(np.isfinite(leaf).all() for leaf in (*part[1:], *rest[1:]))
        check_marginal(part, keep, mixture, features)
        check_conditionals(rest, keep, mixture, features, points)


def check_marginal(part, keep, mixture, features):
    index = np.array(features)
    assert_close(part.log_weights[keep], mixture.log_weights)
    assert_close(part.means[keep], mixture.means[:, index])
    assert_close(matrices(part)[keep], matrices(mixture)[:, index[:, None], index])
    assert len(part.scales) == (1 if len(mixture.scales) == 1 else K + 1)
    check_factors(part.scales)


def check_conditionals(rest, keep, mixture, features, points):
    for n, point in enumerate(points):
        found = jax.tree.map(lambda leaf, n=n: np.asarray(leaf[n]), rest)
        found = found.log_weights[keep], found.means[keep], matrices(found)[keep]
        assert_close(found, textbook_conditional(mixture, features, point[np.array(features)]))
    check_factors(rest.scales)


def check_factors(scales):
    assert np.all(np.triu(scales, 1) == 0)
    assert np.all(np.diagonal(scales, axis1=-2, axis2=-1) > 0)


# ------------------------------------------------------------------------------------------ draws


@pytest.mark.parametrize("storage", STORAGES)
def test_draws_have_the_mixtures_moments(storage):
    mixture = with_absent(random_mixture(0, K, 2, storage), 1)
    points, labels = jax.jit(sample, static_argnums=2)(jr.key(0), mixture, 20_000)
    points, labels = np.asarray(points), np.asarray(labels)
    assert not np.any(labels == 1)  # absent
    indicator = labels[:, None] == np.arange(K + 1)
    assert_mean(indicator, np.exp(mixture.log_weights))
    for k in (0, 2, 3):
        gap = points[labels == k] - mixture.means[k]
        assert_mean(gap, 0.0)
        assert_mean(gap[:, :, None] * gap[:, None, :], matrices(mixture)[k])
        white = np.linalg.solve(np.linalg.cholesky(matrices(mixture)[k]), gap.T).ravel()
        assert stats.kstest(white, "norm").pvalue > 1e-5


# --------------------------------------------------------------------------------- transformations


def loss(points, mixture):
    """Two features; `conditional` asks `marginal` and `log_joint` in its turn."""
    rest = conditional(mixture, (1,), points[0, 1:])
    inside = log_density(points[:, :1], rest).sum() + log_density(points, mixture).sum()
    return inside + sum(jnp.sin(moment).sum() for moment in mixture_moments(mixture))


value_and_slopes = jax.jit(jax.vmap(jax.value_and_grad(loss, (0, 1))))


@pytest.mark.parametrize("storage", ["full", "axis"])
def test_slopes_with_an_absent_component(storage):
    """The gradient along a direction against central differences, under jit and vmap."""
    mixture = with_absent(random_mixture(0, K, 2, storage), 1)
    points, rng, h = points_near(mixture), np.random.default_rng(2), 1e-5
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), (points, mixture))
    if storage != "axis":
        direction[1].scales[:] = np.tril(direction[1].scales)
    along = jax.tree.map(
        lambda x, d: np.stack([x - h * d, x, x + h * d]), (points, mixture), direction
    )
    values, slopes = value_and_slopes(*along)
    slopes = jax.tree.map(lambda leaf: np.asarray(leaf[1]), slopes)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    reverse = sum(map(np.vdot, jax.tree.leaves(slopes), jax.tree.leaves(direction)))
    assert_close(reverse, (values[2] - values[0]) / (2 * h), rtol=1e-6)
    assert slopes[1].log_weights[1] == 0
    assert not slopes[1].scales[1].any()


@pytest.mark.parametrize("storage", STORAGES)
def test_dtype_follows_the_input(storage):
    """Under x64 too: float32 in, float32 out."""
    mixture = random_mixture(0, K, D, storage)

    def everything(points, mixture, key):
        units = change_units(mixture, points[0], jnp.abs(points[0]))
        draws = sample(key, mixture, 5)[0]
        parts = marginal(mixture, (1, 0)), conditional(mixture, (1,), points[0, 1:2])
        return describe(points, mixture), units, draws, parts, mixture_moments(mixture)

    single = jax.tree.map(np.float32, (np.zeros((N, D)), mixture))
    shapes = jax.eval_shape(everything, *single, jr.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {np.dtype("float32")}
