"""Log density of a mixture under its prior: SciPy's densities, quadrature, 0 where it is flat."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bayesgmm.core import (
    FAMILIES,
    Dirichlet,
    Hyperparameters,
    Mixture,
    NormalInverseWishart,
    flat_prior,
    log_prior,
    mode,
    update,
)
from bayesgmm.core.covariance import MCLUST
from bayesgmm.core.prior import prior_kernel
from bayesgmm.core.sweep import expected_joint
from tests.conftest import assert_close, matrices
from tests.core.test_conjugate import STRUCTURES, D, K, informative, log_prior_density, moments

pytestmark = pytest.mark.usefixtures("x64")

density_of = jax.jit(log_prior, static_argnames="family")


@partial(jax.jit, static_argnames="family")
def mode_of(prior, found, about, family):
    return mode(update(prior, found, about, family), family)


kernel_of = jax.jit(prior_kernel, static_argnames="family")


def of_moments(family, prior, seed=0):
    """The mode after some points, a mixture of the family, and the moments it came from."""
    rng = np.random.default_rng(seed)
    points, resp = rng.normal(size=(9, D)), rng.dirichlet(np.ones(K), 9)
    about = np.zeros((K, D))
    found = moments(points, resp, about, family)
    return mode_of(prior, found, about, family), found


@pytest.mark.parametrize("name", STRUCTURES)
def test_it_is_the_product_of_scipys_densities(name):
    family = FAMILIES[name]
    prior = informative(family)
    mixture, _ = of_moments(family, prior)
    weights = np.exp(np.asarray(mixture.log_weights))
    expected = log_prior_density(
        jax.tree.map(np.asarray, prior.components), np.asarray(mixture.means), matrices(mixture),
        family,
    )  # fmt: skip
    expected = expected + stats.dirichlet(prior.weights.concentration).logpdf(weights)
    assert_close(density_of(mixture, prior, family=family), expected)


def test_it_integrates_to_one():
    """One component in one dimension, over its mean and the log of its variance."""
    family = FAMILIES["full"]
    components = NormalInverseWishart(
        np.array([[0.3]]), np.array([0.7]), np.array([4.0]), np.array([[[1.3]]])
    )
    prior = Hyperparameters(Dirichlet(np.ones(1)), components)
    log_variance, mean = np.linspace(-6, 8, 561), np.linspace(-60, 60, 2001)

    def density(mean, log_variance):
        scale = jnp.exp(0.5 * log_variance).reshape(1, 1, 1)
        mixture = Mixture(jnp.zeros(1), mean.reshape(1, 1), scale)
        return jnp.exp(log_prior(mixture, prior, family) + log_variance)

    grid = jax.jit(jax.vmap(jax.vmap(density, (0, None)), (None, 0)))(mean, log_variance)
    cell = (mean[1] - mean[0]) * (log_variance[1] - log_variance[0])
    assert_close(np.asarray(grid).sum() * cell, 1.0, rtol=2e-4)


@pytest.mark.parametrize("name", MCLUST)
def test_flat_prior_adds_nothing(name):
    family = FAMILIES[name]
    mixture, _ = of_moments(family, informative(family))
    assert float(kernel_of(mixture, flat_prior(family, K, D), family=family)) == 0.0


def test_absent_components_have_no_part():
    family = FAMILIES["full"]
    one = informative(family, K=1)
    two = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf]), one)
    two = two._replace(weights=Dirichlet(np.ones(2)))
    one = one._replace(weights=Dirichlet(np.ones(1)))
    scales = np.stack([np.eye(D), 7 * np.eye(D)])
    both = Mixture(np.array([0.0, -np.inf]), np.ones((2, D)), scales)
    alone = Mixture(np.zeros(1), np.ones((1, D)), scales[:1])
    assert_close(kernel_of(both, two, family=family), kernel_of(alone, one, family=family))


@pytest.mark.parametrize("name", ["full", "tied", "VEI", "EVV"])
def test_the_mode_is_where_it_and_the_points_are_largest(name):
    """The sum has no slope at the mode, and is lower after every step within the family."""
    family = FAMILIES[name]
    prior = informative(family)
    best, found = of_moments(family, prior)
    about = np.zeros((K, D))

    @partial(jax.vmap, in_axes=(0,))
    def height(mixture):
        return prior_kernel(mixture, prior, family) + expected_joint(mixture, found, about)

    rng, others = np.random.default_rng(0), []
    for _ in range(30):
        noise = jax.tree.map(lambda leaf: 1 + 0.02 * rng.normal(size=leaf.shape), found)
        other = mode_of(prior, jax.tree.map(np.multiply, found, noise), about, family)
        others.append(jax.tree.map(np.asarray, other))
    others = jax.tree.map(lambda *leaves: np.stack(leaves), *others)
    top = height(jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], best))[0]
    assert (np.asarray(height(others)) < float(top)).all()
