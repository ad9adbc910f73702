"""Mixture weights: Dirichlet, stick breaking, an unknown number of components.

A weight prior is a `NamedTuple` of arrays, prior and posterior alike, with five methods:
``update(counts)``, ``mode()``, ``expected_log()``, ``draw(key)`` and ``kl(prior)``. All three
readings are log weights, and an absent component has log weight -inf. Beside them each has
``log_mean()`` and ``log_evidence(counts)``, the log probability of a vector of labels with these
counts, for which ``log_evidence(n) == (n * q.expected_log()).sum() - q.kl(p)``, q = p.update(n).
"""

from collections.abc import Callable
from typing import NamedTuple, Self

import jax.numpy as jnp
import jax.random as jr
from jax.scipy.special import digamma, gammaln, logsumexp

from bayesgmm.core.arrays import Array, Key
from bayesgmm.core.logs import (
    after,
    before,
    finite,
    floating,
    guarded_log,
    log_falling,
    log_peak,
    log_rising,
    log_share,
    normalized,
    positive,
)
from bayesgmm.core.partitions import Urns, log_eppf, log_partition, n_components_prior

# ------------------------------------------------------------------------------ known number


class Dirichlet(NamedTuple):
    """Dirichlet weights. A component of concentration 0 is absent, and stays so.

    Attributes
    ----------
    concentration : [..., K]

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bayesgmm.core.weights import Dirichlet
    >>> posterior = Dirichlet.symmetric(1.0, 3).update(jnp.array([6.0, 2.0, 0.0]))
    >>> [f"{weight:.2f}" for weight in jnp.exp(posterior.mode())]
    ['0.75', '0.25', '0.00']
    >>> [f"{weight:.2f}" for weight in jnp.exp(posterior.log_mean())]
    ['0.64', '0.27', '0.09']
    """

    concentration: Array

    @classmethod
    def symmetric(cls, alpha: Array | float, K: int) -> Self:
        """Dirichlet(alpha, ..., alpha), as scikit-learn means ``weight_concentration_prior``."""
        return cls(jnp.full((K,), floating(alpha)))

    def update(self, counts: Array) -> "Dirichlet":
        """Posterior after `counts` [..., K] points, which need not be whole numbers."""
        return Dirichlet(jnp.where(self.concentration > 0, self.concentration + counts, 0))

    def mode(self) -> Array:
        """Log of the most probable weights [..., K], shares of max(concentration - 1, 0).

        Concentration 1 adds nothing to the counts: maximum likelihood. A component whose
        concentration is at most 1 is absent, the rule of Figueiredo and Jain (2002, eq. 17).
        Where that is so of all of them there is no mode, and the mean stands in.
        """
        return log_peak(self.concentration - 1, self.concentration)

    def log_mean(self) -> Array:
        """Log of the expected weights [..., K]."""
        return log_share(self.concentration)

    def expected_log(self) -> Array:
        """E[log w_k] [..., K]."""
        total = positive(self.concentration.sum(-1, keepdims=True))
        expected = digamma(positive(self.concentration)) - digamma(total)
        return jnp.where(self.concentration > 0, expected, -jnp.inf)

    def draw(self, key: Key) -> Array:
        """Log of one draw of the weights [..., K], with all its digits however small they are."""
        gammas = jr.loggamma(key, positive(self.concentration), dtype=self.concentration.dtype)
        return normalized(jnp.where(self.concentration > 0, gammas, -jnp.inf))

    def kl(self, prior: "Dirichlet") -> Array:
        """KL divergence [...] from `prior` to this; inf where only one has a component."""
        here, there = self.concentration, prior.concentration
        total = positive(here.sum(-1, keepdims=True))
        slope = digamma(positive(here)) - digamma(total)
        terms = gammaln(positive(there)) - gammaln(positive(here)) + (here - there) * slope
        unmatched = jnp.where(here == there, 0, jnp.inf)
        terms = jnp.where((here > 0) & (there > 0), terms, unmatched)
        return terms.sum(-1) + gammaln(total[..., 0]) - gammaln(positive(there.sum(-1)))

    def log_evidence(self, counts: Array) -> Array:
        """Log probability [...] of a vector of labels with these counts (Dirichlet-multinomial)."""
        total = positive(self.concentration.sum(-1))
        return log_rising(self.concentration, counts).sum(-1) - log_rising(total, counts.sum(-1))

    def log_density(self, log_weights: Array) -> Array:
        """Log density [...] of weights, with respect to all of them but one.

        A weight of 0 gives -inf where the concentration is over 1 and adds nothing elsewhere:
        below 1 the density is unbounded there, and its factor is left out.
        """
        exponents = self.concentration - 1
        terms = exponents * finite(log_weights)
        at_zero = jnp.where(exponents > 0, -jnp.inf, 0)
        terms = jnp.where(jnp.isfinite(log_weights), terms, at_zero)
        unwanted = jnp.isfinite(log_weights) & (self.concentration == 0)
        constants = gammaln(positive(self.concentration)).sum(-1)
        total = gammaln(positive(self.concentration.sum(-1)))
        return jnp.where(unwanted, -jnp.inf, terms).sum(-1) + total - constants


# ---------------------------------------------------------------------------- stick breaking


class StickBreaking(NamedTuple):
    """Weights w_k = v_k prod_{j<k} (1 - v_j), with independent sticks v_k ~ Beta(a_k, b_k).

    A stick is a Dirichlet of two parts, its share and what it leaves. Beta(a, 0) is v = 1, the
    stick that takes all that is left; Beta(0, b) is v = 0, an absent component.

    Attributes
    ----------
    sticks : [K, 2]
        Columns a and b.

    References
    ----------
    Ishwaran and James (2001), Journal of the American Statistical Association 96, 161-173.
    Blei and Jordan (2006), Bayesian Analysis 1, 121-144.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bayesgmm.core.weights import StickBreaking
    >>> prior = StickBreaking.dirichlet_process(1.0, 3)
    >>> [f"{weight:.2f}" for weight in jnp.exp(prior.log_mean())]
    ['0.50', '0.25', '0.25']
    >>> prior.update(jnp.array([5.0, 2.0, 1.0])).sticks.tolist()
    [[6.0, 4.0], [3.0, 2.0], [2.0, 0.0]]
    """

    sticks: Array

    @classmethod
    def dirichlet_process(cls, alpha: Array | float, K: int, truncated: bool = True) -> Self:
        """First K sticks of a Dirichlet process, v_k ~ Beta(1, alpha); see `pitman_yor`."""
        return cls.pitman_yor(0.0, alpha, K, truncated)

    @classmethod
    def pitman_yor(
        cls, discount: Array | float, alpha: Array | float, K: int, truncated: bool = True
    ) -> Self:
        """First K sticks of a Pitman-Yor process, v_k ~ Beta(1 - discount, alpha + k discount).

        Parameters
        ----------
        discount : float in [0, 1)
        alpha : float
            Over -discount.
        K : int
        truncated : bool, default True
            Whether v_K = 1, so that the weights sum to one. Otherwise what the K sticks leave
            belongs to components that are not held (scikit-learn's form).
        """
        k = jnp.arange(1, K + 1, dtype=jnp.result_type(1.0, alpha, discount))
        left = jnp.where(truncated & (k == K), 0, alpha + k * discount)
        return cls(jnp.stack([jnp.full_like(left, 1 - discount), left], -1))

    def update(self, counts: Array) -> "StickBreaking":
        """Posterior after `counts` [K] points, which need not be whole numbers."""
        return StickBreaking(Dirichlet(self.sticks).update(_split(counts)).concentration)

    def mode(self) -> Array:
        """Log weights [K] at the most probable sticks, each as `Dirichlet.mode` has it.

        The density is that of the sticks: the density of the weights has another mode, which
        moves with the truncation.
        """
        return _chain(Dirichlet(self.sticks).mode())

    def log_mean(self) -> Array:
        """Log of the expected weights [K]."""
        return _chain(Dirichlet(self.sticks).log_mean())

    def expected_log(self) -> Array:
        """E[log w_k] [K]."""
        return _chain(Dirichlet(self.sticks).expected_log())

    def draw(self, key: Key) -> Array:
        """Log of one draw of the weights [K], with all its digits however small they are."""
        return _chain(Dirichlet(self.sticks).draw(key))

    def kl(self, prior: "StickBreaking") -> Array:
        """KL divergence [] from `prior` to this."""
        return Dirichlet(self.sticks).kl(Dirichlet(prior.sticks)).sum(-1)

    def log_evidence(self, counts: Array) -> Array:
        """Log probability [] of a vector of labels with these counts: a product of Beta integrals.

        It depends on which label has which count: sticks are not exchangeable.
        """
        return Dirichlet(self.sticks).log_evidence(_split(counts)).sum(-1)


def _split(counts: Array) -> Array:
    """Points that each stick keeps and passes on, [K, 2]."""
    return jnp.stack([counts, after(counts)], -1)


def _chain(log_parts: Array) -> Array:
    """Log weights [K] from log v and log(1 - v), [K, 2]."""
    return log_parts[..., 0] + before(log_parts[..., 1])


# ----------------------------------------------------------------------------- unknown number


class FiniteMixture(NamedTuple):
    """Mixture of finite mixtures: K ~ p(K), weights given K ~ Dirichlet(gamma_K, ..., gamma_K).

    The components sit in T slots, and which slots is a label without meaning (every choice is
    equally probable): a slot that owns points is occupied, the components without points take
    the first of the others, the rest are absent. Components that find no slot share the last
    free one, or, if none is free, are left out, and the weights then sum to less than one: hold
    more slots than that. Counts are whole numbers.

    Attributes
    ----------
    log_prior : [Kmax]
        log p(K = k) at entry k - 1, normalized: see `n_components_prior`.
    concentration : [Kmax]
        gamma_k at entry k - 1.
    counts : [T]
        Points of each slot; zeros make the prior.

    References
    ----------
    Miller and Harrison (2018), Journal of the American Statistical Association 113, 340-356
    (static). Fruhwirth-Schnatter, Malsiner-Walli and Grun (2021), Bayesian Analysis 16,
    1279-1307 (dynamic, and the steps K | counts and weights | K, counts).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bayesgmm.core import FiniteMixture, n_components_prior
    >>> prior = FiniteMixture.static(1.0, n_components_prior(("uniform", 4), Kmax=4), 6)
    >>> posterior = prior.update(jnp.array([0.0, 9.0, 0.0, 3.0, 0.0, 0.0]))
    >>> [f"{probability:.2f}" for probability in jnp.exp(posterior.log_n_components())]
    ['0.00', '0.62', '0.27', '0.11']
    """

    log_prior: Array
    concentration: Array
    counts: Array

    @classmethod
    def static(cls, gamma: Array | float, log_prior: Array, T: int) -> Self:
        """Weights given K ~ Dirichlet(gamma, ..., gamma), in T slots."""
        concentration = jnp.full_like(log_prior, gamma, dtype=jnp.result_type(log_prior, gamma))
        return cls(log_prior, concentration, jnp.zeros(T, concentration.dtype))

    @classmethod
    def dynamic(cls, alpha: Array | float, log_prior: Array, T: int) -> Self:
        """Weights given K ~ Dirichlet(alpha / K, ..., alpha / K), in T slots."""
        prior = cls.static(alpha, log_prior, T)
        return prior._replace(concentration=prior.concentration / prior._each())

    @classmethod
    def fixed(cls, gamma: Array | float, K: int) -> Self:
        """Exactly K components, in K slots: a symmetric Dirichlet as a prior over partitions."""
        log_prior = jnp.where(jnp.arange(1, K + 1) == K, 0, jnp.full(K, -jnp.inf))
        return cls.static(gamma, log_prior.astype(floating(gamma).dtype), K)

    def update(self, counts: Array) -> "FiniteMixture":
        """Posterior after `counts` [T] points."""
        return self._replace(counts=self.counts + counts)

    def log_n_components(self) -> Array:
        """Log p(K | counts) [Kmax]; -inf throughout if no K has a place for them."""
        return normalized(self.log_prior + log_partition(self.counts, self.urns()))

    def mode(self) -> Array:
        """Log weights [T] at the most probable K, and given that K as `Dirichlet.mode` has it."""
        best = jnp.argmax(self.log_n_components())
        gamma, owners = jnp.take(self.concentration, best), self.owners(best + 1)
        exponents = self._with_outside() + owners * (gamma - 1)
        return log_peak(exponents, self._with_outside() + owners * gamma)[:-1]

    def log_mean(self) -> Array:
        """Log of the expected weights [T], absent components counted as 0."""
        shares = jnp.exp(self._given_each().log_mean()[:, :-1])  # [Kmax, T]
        return guarded_log((jnp.exp(self.log_n_components())[:, None] * shares).sum(0))

    def expected_log(self) -> Array:
        """E[log w_k] [T]: -inf for a slot that may hold no component."""
        probability = jnp.exp(self.log_n_components())[:, None]
        given = self._given_each().expected_log()[:, :-1]  # [Kmax, T]
        missing = ((probability > 0) & jnp.isinf(given)).any(0)
        return jnp.where(missing, -jnp.inf, (probability * finite(given)).sum(0))

    def draw(self, key: Key) -> Array:
        """Log of one draw of the weights [T], K drawn before them."""
        key_number, key_weights = jr.split(key)
        return self.draw_weights(key_weights, self.draw_n_components(key_number))

    def draw_n_components(self, key: Key) -> Array:
        """One draw of K given the counts, []."""
        cumulative = jnp.cumsum(jnp.exp(self.log_n_components()))
        height = jr.uniform(key, dtype=cumulative.dtype) * cumulative[-1]
        return 1 + (cumulative <= height).sum()

    def draw_weights(self, key: Key, n_components: Array | int) -> Array:
        """Log of one draw of the weights [T] given K = `n_components` [] and the counts."""
        K = jnp.asarray(n_components)
        owned = self.owners(K) * jnp.take(self.concentration, K - 1)
        return Dirichlet(self._with_outside() + owned).draw(key)[:-1]

    def kl(self, prior: "FiniteMixture") -> Array:
        """KL divergence [] from `prior` to this, over K, the slots taken and the weights.

        Both have the same slots, and the slots that `prior` occupies are occupied here too.
        """
        log_q, log_p = self.log_n_components(), prior.log_n_components()
        K = self._each()
        T, t, was = self.counts.size, self._n_occupied(), prior._n_occupied()
        places = log_falling(T - was, t - was) - log_falling(K - was, t - was)
        weights = self._given_each().kl(prior._given_each(self.counts > 0))
        possible = jnp.isfinite(log_q)
        inside = jnp.where(possible, finite(log_q) - log_p + places + weights, 0)
        return (jnp.exp(log_q) * inside).sum()

    def log_evidence(self, counts: Array) -> Array:
        """Log probability [] of a vector of slot labels with these counts.

        That is `log_eppf`, shared out among the T! / (T - t)! ways to label t clusters.
        """
        after = self.update(counts)
        return after._log_labelling() - self._log_labelling()

    def log_vn(self, n: Array | int, t: Array) -> Array:
        """Log V_n(t) of the static form, for any number of clusters t [...].

        V_n(t) = sum_K p(K) K! / (K - t)! Gamma(gamma K) / Gamma(gamma K + n), so that a partition
        has probability V_n(t) prod_c Gamma(n_c + gamma) / Gamma(gamma) (Miller and Harrison 2018).
        """
        K = self._each()
        terms = self.log_prior - log_rising(K * self.concentration, n)
        return logsumexp(terms + log_falling(K, jnp.asarray(t)[..., None]), axis=-1)

    def urns(self) -> Urns:
        """Prior over partitions, an Ewens-Pitman partition for each K."""
        K = self._each()
        return Urns(self.log_prior, -self.concentration, K * self.concentration, K)

    def _each(self) -> Array:
        return jnp.arange(1, self.log_prior.size + 1, dtype=self.concentration.dtype)

    def _n_occupied(self) -> Array:
        return (self.counts > 0).sum(dtype=self.counts.dtype)

    def _log_labelling(self) -> Array:
        return log_eppf(self, self.counts) - log_falling(self.counts.size, self._n_occupied())

    def _with_outside(self) -> Array:
        return jnp.pad(self.counts, (0, 1))

    def owners(self, K: Array, occupied: Array | None = None) -> Array:
        """How many of K [...] components each slot holds, then those without one, [..., T + 1]."""
        occupied = self.counts > 0 if occupied is None else occupied
        rank = jnp.cumsum(~occupied)  # of a free slot, from 1
        spare = K[..., None] - occupied.sum()
        over = jnp.maximum(spare - rank[-1], 0)
        free = (rank <= spare) + jnp.where(rank == rank[-1], over, 0)
        outside = jnp.where(rank[-1] > 0, 0, over)
        owners = jnp.concatenate([jnp.where(occupied, 1, free), outside], -1)
        return owners.astype(self.concentration.dtype)

    def _given_each(self, occupied: Array | None = None) -> Dirichlet:
        """Weights of the slots for each K, a Dirichlet [Kmax, T+1]; last what has no slot."""
        owners = self.owners(self._each(), occupied)
        return Dirichlet(self._with_outside() + owners * self.concentration[:, None])


# -------------------------------------------------------------------------------------- table


def _pitman_yor(alpha: Array | float, K: int, discount: Array | float = 0.25) -> StickBreaking:
    return StickBreaking.pitman_yor(discount, alpha, K)


def _mfm(alpha: Array | float, K: int, log_prior: Array | None = None) -> FiniteMixture:
    if log_prior is None:
        log_prior = n_components_prior(("bnb", 1, 4, 3)).astype(floating(alpha).dtype)
    return FiniteMixture.dynamic(alpha, log_prior, K)


WEIGHT_PRIORS: dict[str, Callable] = {
    "dirichlet_distribution": Dirichlet.symmetric,
    "dirichlet_process": StickBreaking.dirichlet_process,
    "pitman_yor": _pitman_yor,
    "mfm": _mfm,
}
"""Weight priors by name: each is called with a concentration `alpha` and the capacity `K`.

Further keywords: `truncated` (dirichlet_process), `discount` (pitman_yor), `log_prior` (mfm).
"""
