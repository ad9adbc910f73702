"""Every order in which kept components may stand in the places of a prior: sums, and draws.

The sum over orders of a product over places is that of a permanent, found by recursion over the
sets of components that the first places hold: 2^K K terms, all of one sign, where the sum itself
has K!.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import gammaln

from bayesgmm.core.arrays import Array, Key
from bayesgmm.core.concentration import Sticks

ORDERED = 12
"""Up to so many kept components all their orders are summed, beyond them only the one fitted."""


def _subsets(K: int) -> tuple[np.ndarray, np.ndarray]:
    """For every set S of K components and every one of them: S without it, and whether it is in."""
    sets, bits = np.arange(1 << K)[:, None], 1 << np.arange(K)
    return sets & ~bits, (sets & bits) > 0


def _ways(counts: Array, discount: Array, alpha: Array, n_places: int) -> tuple[Array, Array]:
    """E[prod w^n] of sticks summed over orders, counts [K + 1].

    By place k, log of the part in which the first k places hold the set S and a given component
    (or, in the last column, none) stands in the k-th, [P, 2^K, K + 1]; and log of the whole, [].
    A stick's part is a ratio of Beta functions, B(1 - d + n, b + later) / B(1 - d, b), b = alpha +
    k d, whose `later` are the points of who is not in S.
    """
    K = len(counts) - 1
    without, inside = _subsets(K)
    later = counts.sum() - inside @ counts[:K]

    def place(reached: Array, left: Array) -> tuple[Array, Array]:
        kept = 1 - discount
        none = gammaln(kept) + gammaln(left) - gammaln(kept + left)
        above, below = gammaln(left + later), gammaln(kept + left + later)
        own = reached[without] + gammaln(kept + counts[:K]) - below[without]
        empty = reached + gammaln(kept) - below
        steps = jnp.append(jnp.where(inside, own, -jnp.inf), empty[:, None], axis=1)
        steps = steps + above[:, None] - none
        return _logsumexp(steps), steps

    left = alpha + jnp.arange(1, n_places + 1) * discount
    reached, steps = jax.lax.scan(place, _nobody(K), left)
    return steps, reached[-1]


def _nobody(K: int) -> Array:
    return jnp.where(jnp.arange(1 << K) == 0, 0.0, -jnp.inf)


def _logsumexp(x: Array) -> Array:
    top = x.max(1, keepdims=True)
    top = jnp.where(top > -jnp.inf, top, 0.0)
    return jnp.log(jnp.exp(x - top).sum(1)) + top[:, 0]


def log_total(counts: Array, weights: Any, alpha: Array, n_places: int) -> Array:
    """Log of the sum over orders of E[prod w^n], []."""
    K = len(counts) - 1
    if isinstance(weights, Sticks) and K <= ORDERED:
        return _ways(counts, weights.discount, alpha, n_places)[1]
    given = weights.given(alpha, jnp.ones(n_places, bool))
    one = given.log_evidence(counts[as_fitted(K, n_places)])
    if K > ORDERED:
        return one
    return one + gammaln(n_places + 1.0) - gammaln(n_places - K + 1.0)  # all orders are alike


@partial(jax.jit, static_argnames=("n_places",))
def log_totals(alpha: Array, counts: Array, weights: Any, n_places: int) -> Array:
    """`log_total` of each alpha and each row of counts, [G, B]."""

    def row(own: Array) -> Array:
        return jax.lax.map(lambda a: log_total(own, weights, a, n_places), alpha)

    return jax.lax.map(row, counts).T


def as_fitted(K: int, n_places: int) -> np.ndarray:
    """Who stands in each place: the K kept components as they come, then none of them (K)."""
    return np.minimum(np.arange(n_places), K)


def draw_order(key: Key, counts: Array, weights: Any, alpha: Array, n_places: int) -> Array:
    """Who stands in each place [P], with the probability of the order.

    Where places are exchangeable the order as fitted does for all: what is made of it is the same.
    """
    K = len(counts) - 1
    if K > ORDERED or not isinstance(weights, Sticks):
        return jnp.asarray(as_fitted(K, n_places))
    steps, _ = _ways(counts, weights.discount, alpha, n_places)
    noise = jr.gumbel(key, (n_places, K + 1), steps.dtype)

    def place(held: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        who = jnp.argmax(row[0][held] + row[1])
        return jnp.where(who < K, held & ~(1 << who), held), who

    return jax.lax.scan(place, jnp.array((1 << K) - 1), (steps, noise), reverse=True)[1]


def sum_of_orders(terms: Array) -> Array:
    """Log of the sum over orders of exp(sum_k terms[k, who stands in k]), [], terms [P, K + 1].

    The last column is of those that are not kept, who may stand in any number of places.
    """
    K = terms.shape[1] - 1
    if K > ORDERED:
        return jnp.trace(terms[:K, :K]) + terms[K:, K].sum()
    without, inside = _subsets(K)

    def place(reached: Array, term: Array) -> tuple[Array, None]:
        own = jnp.where(inside, reached[without] + term[:K], -jnp.inf)
        return _logsumexp(jnp.append(own, (reached + term[K])[:, None], axis=1)), None

    return jax.lax.scan(place, _nobody(K), terms)[0][-1]
