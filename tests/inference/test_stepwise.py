"""Stepwise EM: with step size 1 it is EM, and its running moments lose nothing on the way."""

from functools import partial

import jax
import numpy as np
import pytest

from bayesgmm.core import FAMILIES, Data, Mixture, exact_form, flat_prior
from bayesgmm.inference import em, stepwise
from tests.conftest import assert_close, matrices, random_mixture

pytestmark = pytest.mark.usefixtures("x64")

N, D, K = 128, 2, 3


def some_data(seed, at=0.0):
    rng = np.random.default_rng(seed)
    centres = np.array([[-2.0, 0.0], [2.0, 0.5], [0.0, -2.5]])[np.arange(N) % K]
    return Data((at + centres + rng.normal(size=(N, D))).T, rng.uniform(0.5, 1.5, N))


def of_family(name):
    family = FAMILIES[name]
    config = em.EMConfig(family, exact_form(family.axis_aligned))
    return config, em.Objective(flat_prior(family, K, D), np.zeros(D))


def a_mixture(name):
    family = FAMILIES[name]
    return random_mixture(
        1, K, D, "axis" if family.axis_aligned else "tied" if family.pooled else "full"
    )


@pytest.mark.parametrize("name", ["full", "tied", "diag", "VEV"])
def test_step_of_size_one_is_em(name):
    config, objective = of_family(name)
    data, mixture = some_data(0), a_mixture(name)
    plain = jax.jit(partial(em.renew, config=config))(
        mixture, em.expect(mixture, data, config), objective
    )
    stream = stepwise.begin(mixture, some_data(5))  # of which nothing is to be left
    found = stepwise.step(stream, data, objective, 1.0, 77.0, config)
    assert_close(found.stream.mixture, plain[0], rtol=1e-9)
    assert_close(found.objective, plain[1])
    assert bool(found.sound)


def test_running_moments_are_the_weighted_sum_of_all_batches():
    """Three steps of one size, against moments kept about the origin; the mixture is M of them."""
    config, objective = of_family("full")
    mixture, size = a_mixture("full"), 0.3
    stream = stepwise.begin(mixture, some_data(0))
    sums = about_origin(stream.moments, mixture.means)
    for seed in (1, 2, 3):
        batch = stepwise.begin(stream.mixture, some_data(seed)).moments
        new = about_origin(batch, np.asarray(stream.mixture.means))
        sums = [(1 - size) * a + size * b for a, b in zip(sums, new, strict=True)]
        stream = stepwise.step(stream, some_data(seed), objective, size, 1.0, config).stream
    counts, first, second = sums
    assert_close(np.exp(stream.mixture.log_weights), counts)
    assert_close(stream.mixture.means, first / counts[:, None])
    means = first / counts[:, None]
    scatter = second / counts[:, None, None] - means[:, :, None] * means[:, None, :]
    assert_close(matrices(stream.mixture), scatter, rtol=1e-9)
    assert_close(stream.moments.counts.sum(), 1.0)
    assert_close(stream.moments.first, np.zeros((K, D)), atol=1e-12)


def about_origin(moments, means):
    counts, first, second, _ = (np.asarray(leaf) for leaf in moments)
    cross = first[:, :, None] * means[:, None, :]
    square = counts[:, None, None] * means[:, :, None] * means[:, None, :]
    return counts, first + counts[:, None] * means, second + cross + cross.swapaxes(1, 2) + square


def test_digits_survive_a_stream_that_wanders():
    """A tight cluster carried 1e6 deviations away: its variance keeps nine digits or more.

    About a reference that stayed behind, no digit of it would be left.
    """
    config, objective = of_family("full")
    tight = random_mixture(2, K, D)
    stream = stepwise.begin(tight, some_data(0))
    far = Mixture(tight.log_weights, tight.means + 1e6, tight.scales)
    moved = stepwise.Stream(far, stream.moments)
    data = some_data(1)
    away = Data(data.points + 1e6, data.weight)
    here = stepwise.step(stream, data, objective, 0.4, 1.0, config).stream
    there = stepwise.step(moved, away, objective, 0.4, 1.0, config).stream
    assert_close(there.mixture.scales, here.mixture.scales, rtol=1e-9)
    gap = np.asarray(there.mixture.means) - 1e6 - np.asarray(here.mixture.means)
    assert np.abs(gap).max() < 1e-9


@pytest.mark.parametrize("name", ["full", "tied", "diag"])
def test_a_mixture_is_the_mode_of_the_moments_it_expects(name):
    config, objective = of_family(name)
    ridge = np.array([0.01, 0.02])
    objective = objective._replace(ridge=ridge)
    mixture = a_mixture(name)
    stream = stepwise.resumed(mixture, ridge)
    renew = jax.jit(partial(em.renew, config=config))
    again, _, _ = renew(mixture, stream.moments, objective)
    assert_close(again[:2], mixture[:2])
    assert_close(matrices(again), matrices(mixture), rtol=1e-9)


def test_singular_covariances_are_seen():
    config, objective = of_family("full")
    flat = Data(np.stack([np.arange(128.0), np.zeros(128)]), np.ones(128))
    stream = stepwise.begin(a_mixture("full"), flat)
    assert not stepwise.step(stream, flat, objective, 1.0, 1.0, config).sound


def test_step_sizes():
    sizes = [stepwise.rate(t, 0.7, 2.0) for t in range(1, 5)]
    assert_close(sizes, np.array([3.0, 4.0, 5.0, 6.0]) ** -0.7)
    assert stepwise.rate(1, 0.9, 0.0) == 1.0
