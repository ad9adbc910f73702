"""Blocks of the priors with independent means: matrices against dense formulas and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bayesgmm.core import FAMILIES, Moments, random
from bayesgmm.core.independent import (
    HierarchicalPrior,
    IndependentPrior,
    draw_scale,
    given_means,
    means_given,
    scale_shapes,
)
from tests.conftest import assert_close, assert_mean

pytestmark = pytest.mark.usefixtures("x64")

D, N = 2, 9
RNG = np.random.default_rng(1)
X = RNG.normal(size=(N, D)) + 1
LABELS = np.arange(N) % 2  # of three slots, one empty
MEANS, ABOUT = RNG.normal(size=(3, D)), RNG.normal(size=(3, D))
B0 = np.array([[2.0, 0.7], [0.7, 1.0]])
SCALES = np.array([[[1.0, 0.0], [0.4, 0.8]], [[0.5, 0.0], [-0.3, 1.2]], [[2.0, 0.0], [0.0, 1.0]]])
PRIOR = IndependentPrior(np.array([[0.3, -0.2]]), B0[None], np.array([5.0]), np.eye(D)[None])


def moments(axis_aligned=False):
    own = [X[LABELS == k] - ABOUT[k] for k in range(3)]
    second = np.array([x.T @ x for x in own])
    second = np.diagonal(second, axis1=1, axis2=2) if axis_aligned else second
    first = np.array([x.sum(0) for x in own])
    return Moments(np.array([len(x) for x in own], float), first, second, np.zeros(()))


def test_scatter_about_given_means():
    for name in ("full", "tied", "diag", "spherical"):
        family = FAMILIES[name]
        scale = np.ones((1, 1)) if family.isotropic else np.ones((1, D))
        prior = PRIOR._replace(scale=scale) if family.axis_aligned else PRIOR
        found = moments(family.axis_aligned)
        given = given_means(prior, found, ABOUT, MEANS, family)
        own = [X[LABELS == k] - MEANS[k] for k in range(3)]
        scatter = np.array([x.T @ x for x in own])
        if family.axis_aligned:
            scatter = np.diagonal(scatter, axis1=1, axis2=2)
        assert_close(given.scale, prior.scale + family.reduce(scatter))
        size = found.counts.sum(keepdims=True) if name == "tied" else found.counts
        assert_close(given.dof, 5 + size * (D if name == "spherical" else 1))


def test_means_have_their_mean_and_covariance():
    keys = jax.vmap(lambda i: random.fold(jnp.array([1, 2], jnp.uint32), i))(jnp.arange(20_000))
    draw = jax.jit(
        jax.vmap(
            lambda key: means_given(
                PRIOR,
                moments(),
                jnp.asarray(ABOUT),
                jnp.asarray(SCALES),
                random.normal(key, (3, D)),
            )
        )
    )
    drawn = np.asarray(draw(keys))
    for k in range(3):
        own, precision = X[LABELS == k], np.linalg.inv(SCALES[k] @ SCALES[k].T)
        covariance = np.linalg.inv(np.linalg.inv(B0) + len(own) * precision)
        pull = np.linalg.solve(B0, PRIOR.mean[0]) + precision @ own.sum(0)
        gap = drawn[:, k] - covariance @ pull
        assert_mean(gap, 0.0)
        assert_mean(gap[:, :, None] * gap[:, None, :], covariance)


@pytest.mark.parametrize("name", ["full", "diag", "spherical"])
def test_the_common_scale_is_wisharts(name):
    family = FAMILIES[name]
    rate = np.array([[1.5, 0.4], [0.4, 0.9]])
    tail = np.array([1.5]) if family.isotropic else np.array([1.5, 0.9])
    scales = np.array([[1.0, 1.0], [0.5, 0.5], [9.0, 9.0]]) if family.axis_aligned else SCALES
    prior = HierarchicalPrior(
        PRIOR.mean,
        PRIOR.covariance,
        np.array([5.0]),
        np.array([1.2]),
        (tail if family.axis_aligned else rate)[None],
    )
    occupied = jnp.array([True, True, False])

    def one(key):
        gamma = random.log_gamma(random.fold(key, 0), scale_shapes(prior, occupied, family))
        above = random.normal(random.fold(key, 1), prior.rate.shape)
        return draw_scale(prior, jnp.asarray(scales), occupied, gamma, above, family)[0]

    keys = jax.vmap(lambda i: random.fold(jnp.array([3, 4], jnp.uint32), i))(jnp.arange(20_000))
    drawn = np.asarray(jax.jit(jax.vmap(one))(keys))
    shape = 1.2 + 2 * 2.5
    if family.axis_aligned:
        total = tail + (1 / np.square(scales[:2, : len(tail)])).sum(0)
        for j, column in enumerate(drawn.T):
            assert stats.kstest(column, stats.gamma(shape, scale=1 / total[j]).cdf).pvalue > 1e-4
        assert_close(prior.start(family), 1.2 / tail[None])
        return
    total = rate + sum(np.linalg.inv(s @ s.T) for s in scales[:2])
    wishart = stats.wishart(2 * shape, np.linalg.inv(2 * total))
    assert_mean(drawn, wishart.mean())
    second = np.square(drawn)
    assert_mean(second, wishart.var() + np.square(wishart.mean()))
    assert_close(prior.start(family), 1.2 * np.linalg.inv(rate)[None])
