"""Counter-based random numbers: known answers, distributions, and what does not change them."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import special, stats

from bayesgmm.core import float_scope, random
from tests.conftest import assert_close

KEY = np.array([7, 11], np.uint32)
SHAPES = np.array([1e-3, 0.02, 0.3, 1.0, 1.7, 12.0, 900.0])

# Random123's file kat_vectors: rounds, counter, key, answer.
KNOWN = [
    (13, "00000000 00000000", "00000000 00000000", "9d1c5ec6 8bd50731"),
    (13, "ffffffff ffffffff", "ffffffff ffffffff", "fd36d048 2d17272c"),
    (13, "243f6a88 85a308d3", "13198a2e 03707344", "ba3e4725 f27d669e"),
    (20, "00000000 00000000", "00000000 00000000", "6b200159 99ba4efe"),
    (20, "ffffffff ffffffff", "ffffffff ffffffff", "1cb996fc bb002be7"),
    (20, "243f6a88 85a308d3", "13198a2e 03707344", "c4923a9c 483df7a0"),
]


def parsed(text):
    return np.array([int(word, 16) for word in text.split()], np.uint32)


@pytest.mark.parametrize("rounds, counter, key, answer", KNOWN)
def test_known_answers_of_threefry(rounds, counter, key, answer):
    found = random.threefry(jnp.asarray(parsed(key)), *jnp.asarray(parsed(counter)), rounds)
    np.testing.assert_array_equal(np.array(found), parsed(answer))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_distributions(dtype):
    """Kolmogorov and Smirnov's distance of 20,000 numbers, of chance 1e-4 to be as large."""
    n, limit = 20_000, stats.kstwo(20_000).isf(1e-4)
    with float_scope(dtype):
        u = np.asarray(random.uniform(KEY, (n,)))
        x = np.asarray(random.normal(random.fold(KEY, 1), (n // 2, 2)))
        shapes = jnp.asarray(np.broadcast_to(SHAPES, (n, len(SHAPES))), dtype)
        gammas = np.asarray(random.log_gamma(random.fold(KEY, 2), shapes))
    assert u.dtype == x.dtype == gammas.dtype == dtype and 0 < u.min() and u.max() < 1
    assert stats.kstest(u, "uniform").statistic < limit
    assert stats.kstest(x.ravel(), "norm").statistic < limit
    assert abs(np.corrcoef(x.T)[0, 1]) < 4 / np.sqrt(n / 2)
    for shape, drawn in zip(SHAPES, gammas.T, strict=True):
        assert np.isfinite(drawn).all()
        mean, variance = special.digamma(shape), special.polygamma(1, shape)
        assert abs(drawn.mean() - mean) < 4 * np.sqrt(variance / n)
        assert abs(drawn.var() / variance - 1) < 0.2
        if shape > 0.1:  # the distribution function of exp(log g) underflows below
            cdf = stats.gamma(shape).cdf
            assert stats.kstest(np.exp(drawn.astype(float)), cdf).statistic < limit
        else:  # log g is about log(u) / shape
            exact = 1 - np.exp(shape * np.minimum(drawn - special.digamma(shape + 1), 0))
            assert stats.kstest(exact, "uniform").statistic < limit + 2 * shape
    correlation = np.corrcoef(gammas.T) - np.eye(len(SHAPES))
    assert abs(correlation).max() < 5 / np.sqrt(n)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_extreme_words_stay_inside(dtype):
    with float_scope(dtype):
        ends = jnp.array([0, 2**32 - 1], jnp.uint32)
        for finer in (None, ends):
            u = random._unit(ends, jnp.dtype(dtype), finer)
            assert 0 < u[0] < 1e-6 and u[1] < 1 and u[0] == 1 - u[1]
            assert np.isfinite(random._probit(u)).all()


def test_numbers_depend_on_key_and_place_only():
    shapes = jnp.asarray(SHAPES)
    for draw in (random.uniform, random.normal):
        long, short = draw(KEY, (9, 3)), draw(KEY, (5, 3))
        np.testing.assert_array_equal(long[:5], short)
        assert not np.any(draw(random.fold(KEY, 1), (5, 3)) == short)
    first, second = random.log_gammas(KEY, shapes, shapes[:4])
    longer, same = random.log_gammas(KEY, jnp.append(shapes, 3.0), shapes[:4])
    assert_close(first, longer[:-1], rtol=1e-5)  # up to the rounding of other vector lengths
    assert_close(second, same, rtol=1e-5)
    assert_close(first, random.log_gamma(KEY, shapes), rtol=1e-5)
    assert not np.any(first[:4] == second)


def test_vmap_is_a_loop(x64):
    keys = np.stack([random.fold(KEY, i) for i in range(20)])
    shapes = jnp.asarray(SHAPES)
    mapped = jax.jit(jax.vmap(lambda key: random.log_gamma(key, shapes)))(keys)
    one = jax.jit(lambda key: random.log_gamma(key, shapes))
    assert_close(mapped, np.stack([one(key) for key in keys]), rtol=1e-12)
    assert len(np.unique(mapped[:, 0])) == 20


def test_shapes_that_are_none():
    shapes = jnp.array([0.0, -1.0, jnp.nan, jnp.inf, 2.0])
    found = np.asarray(random.log_gamma(KEY, shapes))
    assert found[0] == -np.inf and np.isnan(found[1:4]).all() and np.isfinite(found[4])


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
def test_words_of_any_key(kind):
    found = random.words(jr.key(3, impl=kind))
    assert found.dtype == jnp.uint32 and found.shape == (2,)
    assert (found != random.words(jr.key(4, impl=kind))).all()
