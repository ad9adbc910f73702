"""Weights over slots given a partition: what a blocked Gibbs sampler draws for every prior.

T slots hold the clusters and the components without points; which slot holds what is a label
without meaning. Given the partition (and K, where the prior has one) the weights are normalized
gamma variates, in the exact posterior of the infinite model: no order of sticks is needed, and no
truncation but that of the last free slot, which stands for all components that found none. Where
there may be more components than slots, those without points have slots in the order of a
size-biased pick, so that the last one holds little. Two
points that take it in one sweep might have taken two components: then more slots are needed
(`Weighting.crowded`).

=========  ===================================================================
finite     K known, w ~ Dirichlet(alpha, ..., alpha)
static     K ~ p(K), w | K ~ Dirichlet(alpha, ..., alpha)
dynamic    K ~ p(K), w | K ~ Dirichlet(alpha / K, ..., alpha / K)
process    the Dirichlet process, and with a discount the Pitman-Yor process
=========  ===================================================================

References
----------
Fruhwirth-Schnatter, Malsiner-Walli and Grun (2021), *Bayesian Analysis* 16, 1279-1307: K, alpha
and the weights of mixtures of finite mixtures. Miller and Harrison (2018), *Journal of the American
Statistical Association* 113, 340-356. Pitman (1996), *Some developments of the Blackwell-MacQueen
urn scheme*, corollary 20: the weights of a process given a partition.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, logsumexp

from bayesgmm.core.arrays import Array
from bayesgmm.core.logs import (
    log_falling,
    log_gamma_from_one,
    log_rising_whole,
    normalized,
    positive,
)
from bayesgmm.core.partitions import PitmanYor
from bayesgmm.core.random import choose
from bayesgmm.core.weights import FiniteMixture


class SlotPrior(NamedTuple):
    """Prior of the weights, but for the concentration.

    Attributes
    ----------
    log_n_components : [Kmax]
        log p(K = k) at entry k - 1 (static, dynamic); any length otherwise.
    n_components : []
        K (finite).
    discount : []
        Of a process.
    """

    log_n_components: Any
    n_components: Any = 1
    discount: Any = 0.0


class Weighting(NamedTuple):
    """How one kind of weights is drawn: functions of the counts [T] of a partition.

    Attributes
    ----------
    joined : (counts [...], alpha, prior) -> [..., J]
        What a cluster with this many points adds to the log probability of a partition.
    opened : (t, alpha, prior) -> [J]
        What t clusters add.
    common : (N, alpha, prior) -> [J]
        What N points add, whatever the partition; log p(partition) is the logsumexp over J of the
        sum of the three. A `joined` of length 1 belongs to every entry of `opened`.
    number : (uniform [], t, N, joined [J], alpha, prior) -> []
        K, with `joined` that of the whole partition, as `joined_of` gives it.
    partition_given : (counts, K, alpha [J], prior) -> [J]
        log p(partition | K, alpha), up to a constant in alpha.
    shapes : (counts, K, alpha, prior) -> list of arrays
        Of the gamma variates of the weights.
    log_weights : (log_gammas, counts, alpha, prior) -> [T]
    several : (counts, K, prior) -> [T] of bool, [] of bool
        Which slot stands for several components, and whether some have no slot at all.
    """

    joined: Callable
    opened: Callable
    common: Callable
    number: Callable
    partition_given: Callable
    shapes: Callable
    log_weights: Callable
    several: Callable

    def log_eppf(self, counts: Array, alpha: Array, prior: SlotPrior) -> Array:
        """Log probability [] of a partition with these counts [T], K summed out."""
        joined = self.joined_of(counts, alpha, prior)
        common = self.common(counts.sum(), alpha, prior)
        return self.log_probability((counts > 0).sum(), joined, common, alpha, prior)

    def joined_of(self, counts: Array, alpha: Array, prior: SlotPrior) -> Array:
        """What all clusters of a partition with these counts [T] add, [J]."""
        return _total(lambda n: self.joined(n, alpha, prior), counts)

    def log_probability(
        self, t: Array, joined: Array, common: Array, alpha: Array, prior: SlotPrior
    ) -> Array:
        """`log_eppf` of t clusters that add `joined` [J], beside what is `common` [J] to all."""
        return logsumexp(self.opened(t, alpha, prior) + joined + common)

    def crowded(self, counts: Array, K: Array, prior: SlotPrior, after: Array) -> Array:
        """Whether an allocation that made counts `after` of `counts` [T] needs more slots."""
        lump, left_out = self.several(counts, K, prior)
        return left_out | (lump & (after > 1.5)).any()


BLOCK = 8
"""Clusters that are summed over at once."""


def _total(each: Callable, counts: Array) -> Array:
    """Sum [J] over the clusters of counts [T] of `each`, from sizes [m] to [m, J].

    Clusters come in blocks, those that hold points first: free slots, of which there are many,
    cost nothing where J is large.
    """
    T = len(counts)
    shape = jax.eval_shape(each, counts).shape
    add = lambda n: jnp.where((n > 0)[:, None], each(positive(n)), 0).sum(0)  # noqa: E731
    if T <= BLOCK or shape[-1] == 1:
        return add(counts)
    occupied = counts > 0
    place = jnp.where(occupied, jnp.cumsum(occupied) - 1, T + BLOCK)
    packed = (place == jnp.arange(T + BLOCK)[:, None]) @ counts  # room for a last, partial block
    cut = lambda i: jax.lax.dynamic_slice_in_dim(packed, i * BLOCK, BLOCK)  # noqa: E731
    blocks = (occupied.sum() + BLOCK - 1) // BLOCK
    nothing = jnp.zeros(shape[-1], counts.dtype)
    return jax.lax.fori_loop(0, blocks, lambda i, total: total + add(cut(i)), nothing)


# --- a finite number, known or not ----------------------------------------------------------------


def _each(prior: SlotPrior, dtype: Any) -> Array:
    return jnp.arange(1, len(prior.log_n_components) + 1, dtype=dtype)


def _log_places(prior: SlotPrior, t: Array, dtype: Any) -> Array:
    """Log of K! / (K - t)!, the ways to label t clusters, for every K; -inf for t > K."""
    J = len(prior.log_n_components)
    left = np.arange(1, J + 1) - np.arange(J + 1)[:, None]  # of K components after so many clusters
    steps = np.where(left > 0, np.log(np.maximum(left, 1)), -np.inf)
    table = np.concatenate([np.zeros((1, J)), steps.cumsum(0)])
    return jnp.asarray(table, dtype)[jnp.minimum(t, J + 1)]


def _joined_alike(counts: Array, alpha: Array, prior: SlotPrior) -> Array:
    return log_rising_whole(alpha, counts)[..., None]


def _joined_shared(counts: Array, alpha: Array, prior: SlotPrior) -> Array:
    return log_rising_whole(alpha / _each(prior, alpha.dtype), counts[..., None])


def _opened_known(t: Array, alpha: Array, prior: SlotPrior) -> Array:
    K = jnp.asarray(prior.n_components, alpha.dtype)
    return log_falling(K, t.astype(alpha.dtype))[None]


def _opened_unknown(t: Array, alpha: Array, prior: SlotPrior) -> Array:
    return _log_places(prior, t, alpha.dtype)


def _common_known(N: Array, alpha: Array, prior: SlotPrior) -> Array:
    return -log_rising_whole(jnp.asarray(prior.n_components, alpha.dtype) * alpha, N)[None]


def _common_static(N: Array, alpha: Array, prior: SlotPrior) -> Array:
    K = _each(prior, alpha.dtype)
    return prior.log_n_components - log_rising_whole(K * alpha, N)


def _common_dynamic(N: Array, alpha: Array, prior: SlotPrior) -> Array:
    return prior.log_n_components - log_rising_whole(alpha, N)


def _number_known(
    uniform: Array, t: Array, N: Array, joined: Array, alpha: Array, prior: SlotPrior
) -> Array:
    return jnp.asarray(prior.n_components, jnp.int32)


def _drawn_number(uniform: Array, log_probability: Array) -> Array:
    return 1 + choose(uniform, log_probability).astype(jnp.int32)


def _number_static(
    uniform: Array, t: Array, N: Array, joined: Array, alpha: Array, prior: SlotPrior
) -> Array:
    """The sizes of the clusters say nothing of K beyond their number."""
    opened = _opened_unknown(t, alpha, prior)
    return _drawn_number(uniform, opened + _common_static(N, alpha, prior))


def _number_dynamic(
    uniform: Array, t: Array, N: Array, joined: Array, alpha: Array, prior: SlotPrior
) -> Array:
    opened = _opened_unknown(t, alpha, prior)
    return _drawn_number(uniform, opened + joined + _common_dynamic(N, alpha, prior))


def _given_alike(counts: Array, K: Array, alpha: Array, prior: SlotPrior) -> Array:
    joined = _total(lambda n: log_rising_whole(alpha, n[:, None]), counts)
    return joined - log_rising_whole(K * alpha, counts.sum())


def _given_shared(counts: Array, K: Array, alpha: Array, prior: SlotPrior) -> Array:
    return _given_alike(counts, K, alpha / K, prior)


def _owners(counts: Array, K: Array) -> Array:
    """Components of each slot, and of none, [T + 1]: see `FiniteMixture`."""
    one = jnp.ones(1, counts.dtype)
    return FiniteMixture(one, one, counts).owners(K)


def _shapes_of(counts: Array, K: Array, concentration: Array) -> list[Array]:
    """All components that have points share a gamma each with what the others have together.

    That is broken over the free slots in the order of a size-biased pick: the stick of rank r takes
    a share Beta(1 + c, (M - r) c) of what M components without points have left, as a process of
    discount -c does (Pitman 1996). So the last slot, which stands for all that found none, holds
    far less than as many components as it stands for would have on average.
    """
    occupied = counts > 0
    rank, spare = jnp.cumsum(~occupied), K - occupied.sum()
    kept = jnp.where(occupied, counts, 1) + concentration
    broken = jnp.where(rank == rank[-1], 0, jnp.maximum(spare - rank, 0) * concentration)
    return [(spare * concentration)[None], jnp.stack([kept, broken], 1)]


def _shapes_known(counts: Array, K: Array, alpha: Array, prior: SlotPrior) -> list[Array]:
    return [counts + _owners(counts, K)[:-1] * alpha]


def _shapes_alike(counts: Array, K: Array, alpha: Array, prior: SlotPrior) -> list[Array]:
    return _shapes_of(counts, K, alpha)


def _shapes_shared(counts: Array, K: Array, alpha: Array, prior: SlotPrior) -> list[Array]:
    return _shapes_of(counts, K, alpha / K)


def _shares(log_gammas: list[Array], counts: Array, alpha: Array, prior: SlotPrior) -> Array:
    return normalized(log_gammas[0])


def _several_of_k(counts: Array, K: Array, prior: SlotPrior) -> tuple[Array, Array]:
    owners = _owners(counts, K)
    return (owners[:-1] > 1) & (counts == 0), owners[-1] > 0


# --- an infinite number ---------------------------------------------------------------------------


def _joined_process(counts: Array, alpha: Array, prior: SlotPrior) -> Array:
    kept = counts - prior.discount  # Gamma(n - d) / Gamma(1 - d)
    joined = log_gamma_from_one(kept + 1) - jnp.log(kept)
    return (joined - gammaln(jnp.asarray(1 - prior.discount, alpha.dtype)))[..., None]


def _opened_process(t: Array, alpha: Array, prior: SlotPrior) -> Array:
    d = jnp.asarray(prior.discount, alpha.dtype)
    steps = alpha / positive(d) + 1
    several = gammaln(steps + (t - 1)) - gammaln(steps) + (t - 1) * jnp.log(positive(d))
    return jnp.where(d > 0, several, (t - 1) * jnp.log(positive(alpha)))[None]


def _common_process(N: Array, alpha: Array, prior: SlotPrior) -> Array:
    return (jnp.log(alpha + N) - log_rising_whole(alpha + 1, N))[None]


def _given_process(counts: Array, K: Array, alpha: Array, prior: SlotPrior) -> Array:
    opened = _opened_process((counts > 0).sum(), alpha, prior)
    return (opened + _common_process(counts.sum(), alpha, prior))[0]


def _number_process(
    uniform: Array, t: Array, N: Array, joined: Array, alpha: Array, prior: SlotPrior
) -> Array:
    return jnp.zeros((), jnp.int32)


def _process(alpha: Array, prior: SlotPrior) -> PitmanYor:
    return PitmanYor(alpha, prior.discount)


def _shapes_process(counts: Array, K: Array, alpha: Array, prior: SlotPrior) -> list[Array]:
    kept, broken, rest = _process(alpha, prior).shapes(counts)
    return [rest[None], jnp.stack([kept, broken], 1)]


def _sticks(log_gammas: list[Array], counts: Array, alpha: Array, prior: SlotPrior) -> Array:
    rest, slots = log_gammas
    return _process(alpha, prior).log_weights(counts, slots[:, 0], slots[:, 1], rest)


def _several_of_process(counts: Array, K: Array, prior: SlotPrior) -> tuple[Array, Array]:
    free = counts == 0
    rank = jnp.cumsum(free)
    return free & (rank == rank[-1]), rank[-1] == 0


WEIGHTINGS: dict[str, Weighting] = {
    "finite": Weighting(
        _joined_alike,
        _opened_known,
        _common_known,
        _number_known,
        _given_alike,
        _shapes_known,
        _shares,
        _several_of_k,
    ),
    "static": Weighting(
        _joined_alike,
        _opened_unknown,
        _common_static,
        _number_static,
        _given_alike,
        _shapes_alike,
        _sticks,
        _several_of_k,
    ),
    "dynamic": Weighting(
        _joined_shared,
        _opened_unknown,
        _common_dynamic,
        _number_dynamic,
        _given_shared,
        _shapes_shared,
        _sticks,
        _several_of_k,
    ),
    "process": Weighting(
        _joined_process,
        _opened_process,
        _common_process,
        _number_process,
        _given_process,
        _shapes_process,
        _sticks,
        _several_of_process,
    ),
}
"""Kinds of weights by name."""
