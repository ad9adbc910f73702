"""Random numbers by counter, written out so that XLA makes them where they are used.

A sweep of a sampler on a thousand points costs some ten microseconds, less than `jax.random` takes
on a processor for its uniforms. Here a number is a function of the key and its own place, and of
nothing else: an array that is made longer begins with the numbers it had, and `vmap` over keys
gives what a loop gives. Keys are pairs of 32-bit words [..., 2].

References
----------
Salmon, Moraes, Dror and Shaw (2011), *Parallel random numbers: as easy as 1, 2, 3*: Threefry-2x32,
which passes every test of theirs with 13 rounds. Marsaglia and Tsang (2000), *ACM Transactions on
Mathematical Software* 26, 363-372: gamma variates.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import erfinv

from bayesgmm.core.arrays import Array, Key

ROUNDS = 13
"""The fewest rounds without a known failure; `jax.random` has 20."""

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
PARITY = 0x1BD11BDA

KEYS, NUMBERS, BOOST, TRIALS = 1 << 31, 0, 1, 2
"""What the second word of the counter says: a child key, a number, of a gamma, a trial of one."""

SEVERAL = 20
"""Bits of a place within one of several arrays; above them stands which array."""


def words(key: Key) -> Array:
    """A key of `jax.random`, of whatever kind, as two words [2]."""
    return jr.bits(key, (2,), jnp.uint32)


@partial(jax.jit, static_argnames="rounds")  # traced once, where a sweep has twenty of them
def threefry(key: Array, first: Array, second: Array, rounds: int = ROUNDS) -> tuple[Array, Array]:
    """Two random words for each counter of two words.

    Parameters
    ----------
    key : uint32 [2]
    first, second : uint32 [...]
    rounds : int, default 13

    Returns
    -------
    uint32 [...], uint32 [...]
    """
    schedule = key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(PARITY)
    a, b = first + schedule[0], second + schedule[1]
    for i in range(rounds):
        turn = ROTATIONS[i % 8]
        a = a + b
        b = (b << turn | b >> (32 - turn)) ^ a
        if i % 4 == 3:
            n = i // 4 + 1
            a = a + schedule[n % 3]
            b = b + schedule[(n + 1) % 3] + jnp.uint32(n)
    return a, b


def fold(key: Array, number: Array | int) -> Array:
    """The child of a key [2] that has this number, [2]."""
    number = jnp.asarray(number).astype(jnp.uint32)
    return _made(jnp.stack(threefry(key, number, jnp.full_like(number, KEYS)), -1))


def _made(numbers: Any) -> Any:
    """The same numbers, made once: else XLA writes the code that makes them into every consumer.

    A sweep would hold Threefry a hundred times over, which is half of what there is to compile.
    """
    return jax.lax.optimization_barrier(numbers)


def _places(shape: tuple[int, ...]) -> Array:
    return jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)


def _unit(word: Array, dtype: Any, finer: Array | None = None) -> Array:
    """Words as numbers strictly between 0 and 1, on a grid that is symmetric about 1/2."""
    if jnp.dtype(dtype) == jnp.float32:
        return ((word >> 9).astype(dtype) + 0.5) * 2.0**-23
    if finer is None:
        return (word.astype(dtype) + 0.5) * 2.0**-32
    return (word.astype(dtype) * 2.0**20 + (finer >> 12).astype(dtype) + 0.5) * 2.0**-52


def uniform(key: Array, shape: tuple[int, ...], dtype: Any = float) -> Array:
    """Uniform numbers, never 0 and never 1.

    Parameters
    ----------
    key : uint32 [2]
    shape : tuple of int
        The numbers of a longer leading axis begin with those of a shorter one.
    dtype : float32 or float64, default what JAX computes in

    Returns
    -------
    [*shape]

    Examples
    --------
    >>> import jax
    >>> from bayesgmm.core import random
    >>> key = random.words(jax.random.key(0))
    >>> bool((random.uniform(key, (5,))[:3] == random.uniform(key, (3,))).all())
    True
    """
    places = _places(shape)
    first, second = threefry(key, places, jnp.full_like(places, NUMBERS))
    return _made(_unit(first, jax.dtypes.canonicalize_dtype(dtype), second))


def _probit(u: Array) -> Array:
    """Standard normal quantiles of numbers between 0 and 1."""
    return math.sqrt(2) * erfinv(2 * u - 1)


def normal(key: Array, shape: tuple[int, ...], dtype: Any = float) -> Array:
    """Standard normal numbers, with arguments as `uniform`."""
    return _probit(uniform(key, shape, dtype))


def above_diagonal(key: Array, like: Array) -> Array:
    """Standard normal numbers above the diagonals of [..., D, D], 0 elsewhere; 0 for rank 2."""
    if like.ndim < 3:
        return jnp.zeros_like(like)
    i, j = np.triu_indices(like.shape[-1], 1)
    packed = normal(key, (len(like), len(i)), like.dtype)
    return jnp.zeros_like(like).at[:, i, j].set(packed)


def log_gamma(key: Array, shape: Array) -> Array:
    """Logs of gamma variates of these shapes [...] and scale 1.

    All the digits of the log are right however small the shape. Shape 0 gives -inf, and a shape
    that is negative, infinite or NaN gives NaN.
    """
    return log_gammas(key, shape)[0]


def log_gammas(key: Array, *shapes: Array) -> list[Array]:
    """As `log_gamma`, of several arrays in one loop: it costs little more than for one.

    The numbers of an array depend on which of the arrays it is, not on the length of any. Up to a
    million numbers each.
    """
    places = [_places(shape.shape) + jnp.uint32(i << SEVERAL) for i, shape in enumerate(shapes)]
    drawn = _log_gamma_at(
        key,
        jnp.concatenate([place.ravel() for place in places]),
        jnp.concatenate([shape.ravel() for shape in shapes]),
    )
    ends = [0]
    for shape in shapes:
        ends.append(ends[-1] + shape.size)
    return [
        drawn[begin:end].reshape(shape.shape)
        for begin, end, shape in zip(ends, ends[1:], shapes, strict=False)
    ]


def _log_gamma_at(key: Array, places: Array, shape: Array) -> Array:
    """Marsaglia and Tsang's method on a vector: every place keeps the first trial that succeeds.

    A shape below 1 is raised by 1, and pays for it by log(u) / shape.
    """
    proper = (shape > 0) & jnp.isfinite(shape)
    safe = jnp.where(proper, shape, 1)
    small = safe < 1
    d = jnp.where(small, safe + 1, safe) - 1 / 3
    c = 1 / jnp.sqrt(9 * d)

    def attempt(carry: tuple) -> tuple:
        i, waiting, found = carry
        first, second = _made(threefry(key, places, jnp.full_like(places, TRIALS) + i))
        x = _probit(_unit(first, shape.dtype))
        stretch = 1 + c * x
        log_v = 3 * jnp.log(jnp.where(stretch > 0, stretch, 1))
        bound = 0.5 * x * x + d * (1 - stretch**3 + log_v)
        fits = (stretch > 0) & (jnp.log(_unit(second, shape.dtype)) < bound)
        return i + 1, waiting & ~fits, jnp.where(waiting & fits, log_v, found)

    start = jnp.uint32(0), proper, jnp.zeros_like(d)
    log_v = jax.lax.while_loop(lambda carry: carry[1].any(), attempt, start)[2]
    lift = threefry(key, places, jnp.full_like(places, BOOST))[0]
    raised = jnp.log(_unit(lift, shape.dtype)) / safe
    drawn = jnp.log(d) + log_v + jnp.where(small, raised, 0)
    return jnp.where(proper, drawn, jnp.where(shape == 0, -jnp.inf, jnp.nan))


def choose(u: Array, log_probability: Array) -> Array:
    """The place [] that a uniform number u [] picks by the inverse of the distribution function.

    Probabilities [J] up to a factor, not all 0; a place of probability 0 is never picked.
    """
    cumulative = jnp.cumsum(jnp.exp(log_probability - log_probability.max()))
    last = len(cumulative) - 1 - jnp.argmax(jnp.flip(log_probability) > -jnp.inf)
    return jnp.minimum((cumulative <= u * cumulative[-1]).sum(), last)
