"""Priors over partitions: how many components, and who is with whom, all weights integrated out.

Every one is a mixture of Ewens-Pitman partitions (`Urns`): Dirichlet and Pitman-Yor processes of
one, a finite mixture with a prior on K of one for each K.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.special import gammaln, logsumexp, xlogy

from bayesgmm.core.arrays import Array, Key
from bayesgmm.core.logs import (
    before,
    floating,
    guarded_log,
    log_rising,
    normalized,
    positive,
)

# --- the number of components ---------------------------------------------------------------------


def _poisson(K: Array, rate: Array | float) -> Array:
    return xlogy(K - 1, rate) - rate - gammaln(K)


def _geometric(K: Array, p: Array | float) -> Array:
    return jnp.log(p) + xlogy(K - 1, 1 - floating(p))


def _uniform(K: Array, largest: Array | int) -> Array:
    return jnp.where(K <= largest, -jnp.log(floating(largest)), -jnp.inf)


def _beta_negative_binomial(
    K: Array, size: Array | float, a: Array | float, b: Array | float
) -> Array:
    ways = log_rising(floating(size), K - 1) - gammaln(K)
    failures = log_rising(floating(b), K - 1) - log_rising(floating(a + b), size + K - 1)
    return ways + failures + log_rising(floating(a), floating(size))


N_COMPONENTS_PRIORS: dict[str, Callable] = {
    "poisson": _poisson,
    "geometric": _geometric,
    "uniform": _uniform,
    "bnb": _beta_negative_binomial,
}
"""Priors on the number of components: a name, and log p(K) as a function of K and parameters."""


def n_components_prior(prior: Sequence | Array, Kmax: int = 200) -> Array:
    """Log p(K) of the number of components K = 1, ..., Kmax, given that K is at most Kmax.

    Parameters
    ----------
    prior : tuple ``(name, *parameters)``, or array of probabilities [k]
        ``("poisson", rate)``: K - 1 ~ Poisson(rate). ``("geometric", p)``: P(K) = p (1 - p)^(K-1).
        ``("uniform", largest)``: 1 to `largest`. ``("bnb", size, a, b)``: K - 1 is beta negative
        binomial, P(K) = Gamma(size + K - 1) B(size + a, K - 1 + b) / (Gamma(size) Gamma(K)
        B(a, b)). An array holds P(K) for K = 1, 2, ..., up to a factor.
    Kmax : int, default 200

    Returns
    -------
    [Kmax]
        Normalized.

    Raises
    ------
    ValueError
        If the name is none of these.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bayesgmm.core import n_components_prior
    >>> jnp.exp(n_components_prior([1.0, 1.0], Kmax=4)).round(2).tolist()
    [0.5, 0.5, 0.0, 0.0]
    """
    if not isinstance(prior[0], str):
        probability = floating(jnp.asarray(prior))[:Kmax]
        return normalized(guarded_log(jnp.pad(probability, (0, Kmax - probability.size))))
    name, *parameters = prior
    if name not in N_COMPONENTS_PRIORS:
        names = ", ".join(map(repr, N_COMPONENTS_PRIORS))
        raise ValueError(f"n_components_prior must start with one of {names}; got {name!r}.")
    dtype = jnp.result_type(1.0, *parameters)
    return normalized(N_COMPONENTS_PRIORS[name](jnp.arange(1, Kmax + 1, dtype=dtype), *parameters))


# --- partitions -----------------------------------------------------------------------------------


class PartitionPrior(Protocol):
    """What a prior over partitions can say: `PitmanYor`, or `FiniteMixture`."""

    def urns(self) -> "Urns":
        """The Ewens-Pitman partitions it mixes."""
        ...


class PitmanYor(NamedTuple):
    """Pitman-Yor process as a prior over partitions; with discount 0, a Dirichlet process.

    Nothing is truncated here: `StickBreaking.pitman_yor` holds its first sticks.

    Attributes
    ----------
    alpha : []
        Over -discount.
    discount : [], default 0
        In [0, 1).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bayesgmm.core import PitmanYor, log_eppf
    >>> process = PitmanYor(alpha=1.0)  # two points together and one alone: 1/2 * 1/3
    >>> f"{jnp.exp(log_eppf(process, jnp.array([2.0, 1.0]))):.4f}"
    '0.1667'
    """

    alpha: Array | float
    discount: Array | float = 0.0

    def urns(self) -> "Urns":
        """Prior over partitions, one Ewens-Pitman partition."""
        zero = floating(0 * self.alpha + 0 * self.discount)[None]
        return Urns(zero, zero + self.discount, zero + self.alpha, zero + jnp.inf)

    def draw(self, key: Key, counts: Array) -> Array:
        """Log of one draw of the weights [T] of T slots, given the counts [T] of a partition.

        The clusters keep their slots. What they leave is broken, stick by stick, over the free
        slots; the last free slot takes all that is left, and if none is free it is left out, so
        that the weights sum to less than one (Pitman 1996, corollary 20).
        """
        kept, broken, rest = self.shapes(counts)
        drawn = _log_gammas(key, jnp.concatenate([kept, broken, floating(rest)[None]]))
        log_kept, log_broken, log_rest = jnp.split(drawn, [counts.size, 2 * counts.size])
        return self.log_weights(counts, log_kept, log_broken, log_rest)

    def shapes(self, counts: Array) -> tuple[Array, Array, Array]:
        """Shapes of the gamma variates of a draw: of the slots [T], of their rests [T], of all."""
        occupied = counts > 0
        t, rank = occupied.sum(), jnp.cumsum(~occupied)
        rest = self.alpha + t * self.discount
        broken = jnp.where(rank == rank[-1], 0, rest + rank * self.discount)
        kept = jnp.where(occupied, counts - self.discount, 1 - self.discount)
        return kept, broken, rest

    def log_weights(
        self, counts: Array, log_kept: Array, log_broken: Array, log_rest: Array
    ) -> Array:
        """Log weights [T] from logs of gamma variates with these `shapes`, the last one of [1]."""
        occupied = counts > 0
        log_rest = jnp.where(occupied.any(), log_rest, 0)  # all there is, whatever its shape
        total = logsumexp(jnp.append(jnp.where(occupied, log_kept, -jnp.inf), log_rest))
        both = jnp.logaddexp(log_kept, log_broken)
        passed = before(jnp.where(occupied, 0, log_broken - both))
        free = log_rest + log_kept - both + passed
        return jnp.where(occupied, log_kept, free) - total


def _log_gammas(key: Key, shapes: Array) -> Array:
    """Log of gamma variates, -inf for shape 0."""
    drawn = jr.loggamma(key, positive(shapes), dtype=shapes.dtype)
    return jnp.where(shapes > 0, drawn, -jnp.inf)


class Urns(NamedTuple):
    """A mixture of J Ewens-Pitman partitions, what every prior here is to a partition.

    After i points in t clusters the next one opens a cluster with probability
    (concentration + t discount) / (concentration + i), never beyond `limit` clusters, and joins
    cluster c with probability (n_c - discount) / (concentration + i). K components with
    Dirichlet(gamma) weights have discount -gamma, concentration K gamma and limit K (Pitman 1995,
    Probability Theory and Related Fields 102, 145-158).

    Attributes
    ----------
    log_weight, discount, concentration, limit : [J]
    """

    log_weight: Array
    discount: Array
    concentration: Array
    limit: Array


def log_partition(counts: Array, urns: Urns) -> Array:
    """Log probability [J] under each urn of one partition with these counts [T]."""
    n, t = counts.sum(), (counts > 0).sum()
    i = jnp.arange(1, counts.size)
    opening = urns.concentration[:, None] + i * urns.discount[:, None]  # [J, T-1]
    opening = jnp.where(i < urns.limit[:, None], opening, 0)  # exactly, whatever the rounding
    opened = jnp.where(i < t, guarded_log(opening), 0).sum(-1)
    joined = log_rising(1 - urns.discount[:, None], positive(counts) - 1).sum(-1)
    return opened + joined - log_rising(urns.concentration + 1, jnp.maximum(n - 1, 0))


def log_eppf(prior: PartitionPrior, counts: Array) -> Array:
    """Log probability of a partition, its exchangeable partition probability function.

    Parameters
    ----------
    prior : PitmanYor or FiniteMixture
        `FiniteMixture.fixed` is a Dirichlet with a known number of components.
    counts : [T]
        Sizes of the clusters, whole numbers in any order; zeros are skipped.

    Returns
    -------
    []
        With every constant: it sums to one over all partitions of the points.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bayesgmm.core import FiniteMixture, log_eppf
    >>> fair = FiniteMixture.fixed(1.0, 2)  # three points, one of them alone
    >>> f"{jnp.exp(log_eppf(fair, jnp.array([2.0, 1.0]))):.4f}"
    '0.1667'
    """
    urns = prior.urns()
    return logsumexp(urns.log_weight + log_partition(counts, urns))


def prior_n_clusters(prior: PartitionPrior, n: int, max_clusters: int | None = None) -> Array:
    """Prior probability that n points fall into t = 1, 2, ... clusters, exactly.

    Parameters
    ----------
    prior : PitmanYor or FiniteMixture
    n : int
        Number of points, at least 1.
    max_clusters : int, optional
        Stop at this many clusters; the probabilities up to there are the same. The work is n
        times this, times Kmax for a `FiniteMixture`. Default: n.

    Returns
    -------
    [min(n, max_clusters)]
        p(K+ = t) at entry t - 1.

    Examples
    --------
    >>> from bayesgmm.core import PitmanYor, prior_n_clusters
    >>> [f"{probability:.3f}" for probability in prior_n_clusters(PitmanYor(1.0), 3)]
    ['0.333', '0.500', '0.167']
    """
    weight, discount, concentration, limit = (leaf[:, None] for leaf in prior.urns())
    t = jnp.arange(1, (n if max_clusters is None else min(n, max_clusters)) + 1)
    opening = jnp.where(t < limit, concentration + t * discount, 0)  # [J, T]

    # Given the urn, the number of clusters is a Markov chain: sums of positive terms, no logs.
    def add_point(i, probability):
        joined = probability * (i - t * discount)
        opened = jnp.pad((probability * opening)[:, :-1], [(0, 0), (1, 0)])
        return (joined + opened) / (concentration + i)

    start = jnp.where(t == 1, jnp.ones_like(opening), 0)
    chains = jax.lax.fori_loop(1, n, add_point, start)
    return (jnp.exp(weight) * chains).sum(0)
