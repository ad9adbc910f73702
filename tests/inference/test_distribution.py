"""The NumPyro distributions against the plain log density, SciPy, and NumPyro's own mixture."""

from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import special, stats

from bayesgmm.core import Mixture, log_density, log_joint
from bayesgmm.inference.distribution import MixtureSample, MultivariateNormalMixture
from tests.conftest import STORAGES, assert_close, assert_mean, matrices, random_mixture, slow

pytestmark = pytest.mark.usefixtures("x64")

K, D, N = 3, 2, 37


def distribution_of(mixture):
    log_weights, means, scales = mixture
    if scales.ndim == means.ndim:
        return MultivariateNormalMixture(
            log_weights=log_weights, means=means, variances=jnp.square(scales)
        )
    return MultivariateNormalMixture(log_weights=log_weights, means=means, scale_tril=scales)


def some(storage="full", seed=1):
    rng = np.random.default_rng(seed)
    return random_mixture(seed, K, D, storage), 3 * rng.normal(size=(N, D)), rng.uniform(0, 2, N)


def plain(mixture, points, weight):
    return weight @ log_density(points, mixture)


def by_points(mixture, points, weight):
    return weight @ distribution_of(mixture).log_prob(points)


def at_once(mixture, points, weight):
    return MixtureSample(distribution_of(mixture), N, weight).log_prob(points)


def everything(function, given, direction):
    """Value, reverse and forward mode, and the slope of a slope, in one program."""

    def curvature(*given):
        slopes = jax.grad(function, (0, 1, 2))(*given)
        pairs = zip(jax.tree.leaves(slopes), jax.tree.leaves(direction), strict=True)
        return sum(jnp.vdot(a, b) for a, b in pairs)

    slopes = jax.value_and_grad(function, (0, 1, 2))(*given)
    forward = jax.jvp(function, given, direction)[1]
    return slopes, forward, jax.jvp(curvature, given, direction)[1]


@pytest.mark.parametrize("storage", ["full", "axis", slow("tied")])
def test_gradients_are_those_of_the_plain_density(storage):
    """With respect to mixture, points and weights, each mode; the second slope forward."""
    given = some(storage)
    rng = np.random.default_rng(5)
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), given)
    if storage != "axis":
        direction = (direction[0]._replace(scales=np.tril(direction[0].scales)), *direction[1:])
    programs = [jax.jit(partial(everything, f)) for f in (plain, by_points, at_once)]
    expected, *found = (program(given, direction) for program in programs)
    for one in found:
        assert_close(one, expected, rtol=1e-9, atol=1e-9)


def test_forward_mode_by_finite_differences():
    """Of the density itself, which nothing of ours but its value enters."""
    given = some()
    rng = np.random.default_rng(6)
    direction = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), given)
    direction = (direction[0]._replace(scales=np.tril(direction[0].scales)), *direction[1:])
    value = jax.jit(at_once)
    h = 1e-5
    moved = [
        value(*jax.tree.map(lambda x, t, s=s: x + s * h * t, given, direction)) for s in (1, -1)
    ]
    found = jax.jit(lambda g, t: jax.jvp(at_once, g, t)[1])(given, direction)
    np.testing.assert_allclose((moved[0] - moved[1]) / (2 * h), found, rtol=1e-6)


@pytest.mark.parametrize("storage", STORAGES)
def test_the_density_is_scipys(storage):
    mixture, points, _ = some(storage)
    covariances, weights = matrices(mixture), np.exp(mixture.log_weights)
    joint = [
        np.log(w) + stats.multivariate_normal(m, c).logpdf(points)
        for w, m, c in zip(weights, mixture.means, covariances, strict=True)
    ]

    @jax.jit
    def read(mixture):
        found = distribution_of(mixture)
        return found.component_log_probs(points), found.log_prob(points), found.covariances

    expected = np.transpose(joint), np.logaddexp.reduce(joint), covariances
    for one, other in zip(read(mixture), expected, strict=True):
        np.testing.assert_allclose(one, other if one.shape[0] > 1 else other[:1])


def test_every_way_to_give_it():
    mixture, points, _ = some("axis")
    variances = np.square(mixture.scales)
    diagonal = variances[:, :, None] * np.eye(D)
    weights = np.exp(mixture.log_weights)
    ways = [
        MultivariateNormalMixture(weights, mixture.means, mixture.scales[:, :, None] * np.eye(D)),
        MultivariateNormalMixture(weights, mixture.means, covariances=diagonal),
        MultivariateNormalMixture(weights, mixture.means, variances=variances, validate_args=True),
    ]
    expected = log_density(points, mixture)
    for one in ways:
        np.testing.assert_allclose(one.log_prob(points), expected)
        np.testing.assert_allclose(one.weights, weights)
        np.testing.assert_allclose(one.variances, variances)
    round_ones = MultivariateNormalMixture(weights, mixture.means, variances=variances[:, :1])
    assert_close(round_ones.scales, np.broadcast_to(mixture.scales[:, :1], (K, D)))


def test_batches_of_mixtures():
    """Leading axes of the parameters, of the points, and of both."""
    mixtures = [some(seed=s)[0] for s in range(4)]
    points = some()[1].reshape(N, 1, 1, D)
    stacked = Mixture(
        *(
            np.stack(leaves).reshape(2, 2, *leaves[0].shape)
            for leaves in zip(*mixtures, strict=True)
        )
    )

    @jax.jit
    def read(stacked):
        found = distribution_of(stacked)
        assert found.batch_shape == (2, 2) and found.event_shape == (D,)
        draws, (labels,) = found.sample_with_intermediates(jr.key(1), (4, 1000))
        again = found.log_prob(points.reshape(1, *points.shape))
        densities = found.log_prob(points), again[0], found.component_log_probs(points)
        return densities, (found.mean, found.variance), draws, labels

    (density, again, components), (mean, variance), draws, labels = read(stacked)
    joint = np.stack([log_joint(points[:, 0, 0], m) for m in mixtures], 1)  # [N, 4, K]
    np.testing.assert_allclose(components, joint.reshape(N, 2, 2, K))
    np.testing.assert_allclose(density, special.logsumexp(components, -1))
    np.testing.assert_allclose(again, density)
    means = [np.exp(m.log_weights) @ m.means for m in mixtures]
    np.testing.assert_allclose(mean, np.reshape(means, (2, 2, D)))
    draws = np.reshape(draws, (-1, 2, 2, D))
    assert_mean(draws, mean)
    assert_mean(np.square(draws - mean), variance)
    for k in range(K):
        assert_mean(np.reshape(labels, (-1, 2, 2)) == k, np.exp(stacked.log_weights[..., k]))


def test_an_absent_component_has_no_part_and_no_slope():
    (log_weights, means, scales), points, _ = some()
    with_one = Mixture(
        np.append(log_weights, -np.inf),
        np.vstack([means, means[:1]]),
        np.append(scales, scales[:1], 0),
    )
    both = jax.jit(jax.value_and_grad(lambda m: distribution_of(m).log_prob(points).sum()))
    value, slope = both(with_one)
    expected = log_density(points, Mixture(log_weights, means, scales)).sum()
    np.testing.assert_allclose(value, expected)
    assert np.isfinite(np.concatenate([np.ravel(leaf) for leaf in slope[1:]])).all()
    assert not np.any(slope.means[-1]) and not np.any(slope.scales[-1])


def test_in_models():
    """In a plate, scaled, masked, under vmap, as a pytree: as NumPyro's own mixture."""
    mixture, points, weight = some()
    weights, covariances = np.exp(mixture.log_weights), matrices(mixture)
    theirs = dist.MixtureSameFamily(
        dist.Categorical(weights), dist.MultivariateNormal(mixture.means, covariances)
    )
    ours = MultivariateNormalMixture(weights, mixture.means, covariances=covariances)

    def model(of):
        with numpyro.plate("points", N), numpyro.handlers.scale(scale=weight):
            numpyro.sample("x", of, obs=points)

    densities = [numpyro.infer.util.log_density(model, (d,), {}, {})[0] for d in (ours, theirs)]
    np.testing.assert_allclose(*densities)
    sample = MixtureSample(ours, N, weight)
    np.testing.assert_allclose(sample.log_prob(points), densities[1])
    leaves, tree = jax.tree.flatten(sample)
    again = jax.tree.unflatten(tree, leaves)
    np.testing.assert_allclose(jax.jit(lambda d: d.log_prob(points))(again), densities[1])
    drawn = sample.sample(jr.key(0), (2,))
    assert drawn.shape == (2, N, D) and sample.log_prob(drawn).shape == (2,)
    assert sample.mean.shape == sample.variance.shape == (N, D)


def test_single_precision_far_from_the_origin():
    """The form keeps its digits: a user's model is seldom standardised."""
    mixture, points, _ = some()
    far = Mixture(mixture.log_weights, mixture.means + 300.0, mixture.scales)
    expected = log_density(np.float32(points + 300.0).astype(float), far)
    single = jax.tree.map(np.float32, far)
    with jax.enable_x64(False):
        found = distribution_of(single).log_prob(np.float32(points + 300.0))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_what_is_refused():
    mixture, *_ = some()
    weights = np.exp(mixture.log_weights)
    with pytest.raises(ValueError, match="exactly one of weights, log_weights .* got none"):
        MultivariateNormalMixture(means=mixture.means, scale_tril=mixture.scales)
    with pytest.raises(ValueError, match="one of scale_tril, .* got scale_tril, variances"):
        MultivariateNormalMixture(weights, mixture.means, mixture.scales, variances=weights)
    with pytest.raises(ValueError, match="means must be given"):
        MultivariateNormalMixture(weights, scale_tril=mixture.scales)
    with pytest.raises(ValueError, match=r"3 components in 2 .* got shapes \(2,\)"):
        MultivariateNormalMixture(weights[:2], mixture.means, mixture.scales)
    with pytest.raises(ValueError, match="invalid weights"):
        MultivariateNormalMixture(2 * weights, mixture.means, mixture.scales, validate_args=True)
    stacked = distribution_of(jax.tree.map(lambda leaf: leaf[None], mixture))
    with pytest.raises(ValueError, match=r"batch_shape=\(1,\)"):
        MixtureSample(stacked, N)
