"""The concentration of a weight prior, given or learned, and the prior's dependence on it.

Given its concentration alpha every weight prior here is of the form

    p(w | alpha) = h(w) exp(alpha t(w) + c(alpha)),

t(w) = sum_k log(1 - v_k) for the sticks of a Dirichlet or Pitman-Yor process, sum_k log w_k for a
symmetric Dirichlet. `Sticks` and `Symmetric` give the prior, t and c; `Fixed`, `GammaConcentration`
and `GridConcentration` are what may be believed of alpha, each with its exact mean-field update
q(alpha) ~ p(alpha) exp(alpha E[t] + c(alpha)). The first is conjugate: c(alpha) = K log alpha for
the sticks of a Dirichlet process. The others are one-dimensional, and are held on a grid.

References
----------
Blei and Jordan (2006), *Bayesian Analysis* 1, 121-144, appendix B.
Escobar and West (1995), *Journal of the American Statistical Association* 90, 577-588.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln

from bayesgmm.core.arrays import Array
from bayesgmm.core.logs import finite, normalized
from bayesgmm.core.partitions import Urns
from bayesgmm.core.random import choose
from bayesgmm.core.weights import Dirichlet, StickBreaking

# --- the weights given the concentration ----------------------------------------------------------


class Sticks(NamedTuple):
    """Sticks of a Pitman-Yor process, v_k ~ Beta(1 - discount, alpha + k discount); none is forced.

    What the present sticks leave belongs to components that are not held. With discount 0 it is
    a Dirichlet process.

    Attributes
    ----------
    discount : []
    """

    discount: Array | float

    def given(self, alpha: Array, present: Array) -> StickBreaking:
        """The prior of the sticks of the components that are present [K]; 0 for the others."""
        left = alpha + self._rank(present) * self.discount
        kept = jnp.where(present, 1 - self.discount, 0).astype(left.dtype)
        return StickBreaking(jnp.stack([kept, jnp.where(present, left, 1)], -1))

    def statistic(self, posterior: StickBreaking) -> Array:
        """E[t], the sum of E[log(1 - v_k)]."""
        return finite(Dirichlet(posterior.sticks).expected_log()[..., 1]).sum(-1)

    def log_normalizer(self, alpha: Array, present: Array) -> Array:
        """c(alpha) []: the sum of -log B(1 - discount, alpha + k discount)."""
        kept, left = 1 - self.discount, alpha + self._rank(present) * self.discount
        terms = gammaln(kept + left) - gammaln(left) - gammaln(kept)
        return jnp.where(present, terms, 0).sum(-1)

    def _rank(self, present: Array) -> Array:
        return jnp.cumsum(present, -1).astype(jnp.result_type(self.discount, 1.0))


class Symmetric(NamedTuple):
    """A symmetric Dirichlet over a known number of components, of which some may hold no point.

    Attributes
    ----------
    n_components : []
        Components of the prior. Those that are not present keep their share of it.
    """

    n_components: Array | int

    def given(self, alpha: Array, present: Array) -> Dirichlet:
        """The prior of the weights [K], 0 beyond the `n_components` first."""
        member = jnp.arange(present.shape[-1]) < self.n_components
        return Dirichlet(jnp.where(member, alpha, 0))

    def statistic(self, posterior: Dirichlet) -> Array:
        """E[t], the sum of E[log w_k]."""
        return finite(posterior.expected_log()).sum(-1)

    def log_normalizer(self, alpha: Array, present: Array) -> Array:
        """c(alpha) []."""
        return gammaln(self.n_components * alpha) - self.n_components * gammaln(alpha)


# --- the concentration ----------------------------------------------------------------------------


class Fixed(NamedTuple):
    """A concentration that is known.

    Attributes
    ----------
    alpha : []
    """

    alpha: Array | float

    def mean(self) -> Array:
        """E[alpha]."""
        return jnp.asarray(self.alpha)

    def update(self, statistic: Array, n_present: Array) -> "Fixed":
        """Itself."""
        return self

    def expected_normalizer(self, at_mean: Array, n_present: Array) -> Array:
        """E[c(alpha)], given c at the mean of alpha."""
        return at_mean

    def kl(self, prior: "Fixed") -> Array:
        """0."""
        return jnp.zeros(())


class GammaConcentration(NamedTuple):
    """Gamma(shape, rate): conjugate to the sticks of a Dirichlet process.

    Attributes
    ----------
    shape, rate : []
    """

    shape: Array | float
    rate: Array | float

    def mean(self) -> Array:
        """E[alpha]."""
        return self.shape / jnp.asarray(self.rate)

    def update(self, statistic: Array, n_present: Array) -> "GammaConcentration":
        """Posterior given E[t] and the number of sticks."""
        return GammaConcentration(self.shape + n_present, self.rate - statistic)

    def expected_normalizer(self, at_mean: Array, n_present: Array) -> Array:
        """E[c(alpha)] = K E[log alpha]."""
        return n_present * (digamma(jnp.asarray(self.shape)) - jnp.log(self.rate))

    def kl(self, prior: "GammaConcentration") -> Array:
        """KL divergence [] from `prior` to this."""
        shape, rate = jnp.asarray(self.shape), jnp.asarray(self.rate)
        slope = (shape - prior.shape) * digamma(shape) - gammaln(shape)
        constant = gammaln(jnp.asarray(prior.shape)) + prior.shape * jnp.log(rate / prior.rate)
        return slope + constant + shape * (prior.rate - rate) / rate


class GridConcentration(NamedTuple):
    """Any distribution of alpha, as probabilities on a grid that is even in log alpha.

    The trapezoid rule on such a grid is exact to many digits for a density that is smooth and
    falls off on both sides.

    Attributes
    ----------
    alpha : [G]
    log_probability : [G]
    log_normalizers : [M, G]
        c(alpha) for each number of present components, or one row for any number.
    """

    alpha: Array
    log_probability: Array
    log_normalizers: Array

    def mean(self) -> Array:
        """E[alpha]."""
        return jnp.exp(self.log_probability) @ self.alpha

    def update(self, statistic: Array, n_present: Array) -> "GridConcentration":
        """Posterior given E[t] and the number of components present."""
        weight = self.log_probability + self._normalizer(n_present) + self.alpha * statistic
        return self._replace(log_probability=normalized(weight))

    def expected_normalizer(self, at_mean: Array, n_present: Array) -> Array:
        """E[c(alpha)]."""
        return jnp.exp(self.log_probability) @ self._normalizer(n_present)

    def kl(self, prior: "GridConcentration") -> Array:
        """KL divergence [] from `prior` to this."""
        gap = self.log_probability - prior.log_probability
        return jnp.exp(self.log_probability) @ gap

    def _normalizer(self, n_present: Array) -> Array:
        row = jnp.minimum(n_present, len(self.log_normalizers)) - 1
        return jnp.take(self.log_normalizers, row, axis=0)


GRID = 1024
"""Points of a grid of concentrations."""


def gamma_grid(shape: float, rate: float, size: int = GRID) -> tuple[np.ndarray, np.ndarray]:
    """Concentrations [size], even in their logarithm, and their log probabilities under a Gamma.

    They are those of the density itself, not made to sum to one: the little beyond the ends is
    left out, and a bound computed from them stays a lower bound.
    """
    place = np.linspace(-30.0, 5.0, size) + math.log(max(shape, 1.0))  # log(alpha rate)
    log_density = shape * place - np.exp(place) - math.lgamma(shape)
    return np.exp(place) / rate, log_density + np.log(place[1] - place[0])


def learned_on_grid(
    weights: Sticks | Symmetric, shape: float, rate: float, K: int
) -> GridConcentration:
    """A Gamma(shape, rate) prior on the grid, for weights of at most K components."""
    alpha, log_probability = gamma_grid(shape, rate)
    alpha = jnp.asarray(alpha)
    counts = jnp.arange(1, K + 1) if isinstance(weights, Sticks) else jnp.array([K])
    masks = jnp.arange(K) < counts[:, None]
    at = jax.vmap(jax.vmap(weights.log_normalizer, (0, None)), (None, 0))
    return GridConcentration(alpha, jnp.asarray(log_probability), at(alpha, masks))


# --- draws ----------------------------------------------------------------------------------------


class ConcentrationPrior(NamedTuple):
    """Density of a concentration, a^power (1 + a scale)^-tail exp(-a rate) up to a factor.

    Attributes
    ----------
    power, scale, tail, rate : []
    """

    power: Array | float
    scale: Array | float
    tail: Array | float
    rate: Array | float

    @classmethod
    def gamma(cls, shape: Array | float, rate: Array | float) -> "ConcentrationPrior":
        """Gamma(shape, rate), of mean shape / rate."""
        return cls(shape - 1.0, 0.0, 0.0, rate)

    @classmethod
    def f(cls, d1: Array | float, d2: Array | float) -> "ConcentrationPrior":
        """Snedecor's F with these degrees of freedom.

        F(6, 3) is the choice of Fruhwirth-Schnatter, Malsiner-Walli and Grun (2021, section 2)
        for dynamic mixtures of finite mixtures.
        """
        return cls(0.5 * d1 - 1.0, d1 / d2, 0.5 * (d1 + d2), 0.0)

    def log_density(self, alpha: Array) -> Array:
        """Its logarithm [...], up to a constant."""
        heavy = self.tail * jnp.log1p(self.scale * alpha)
        return self.power * jnp.log(alpha) - heavy - self.rate * alpha


LATTICE = 32
"""Points of the lattices on which a concentration is drawn."""

SPACINGS = (0.02, 0.3)
"""Least and greatest distance of their points, in log alpha."""


def redraw(uniforms: Array, alpha: Array, log_density: Callable[[Array], Array]) -> Array:
    """A Markov step of alpha that leaves a density invariant, without tuning or rejection.

    A lattice in log alpha is laid through the present value: its spacing, and the place of the
    present value among its `LATTICE` points, are random and do not depend on it. One of the points
    is drawn with probability proportional to the density, of log alpha. Each of the points would
    have led to this lattice with the same probability, so that the step is reversible (the
    proposals of Tjelmeland 2004, *Using all Metropolis-Hastings proposals*, with equal weights).

    Parameters
    ----------
    uniforms : [3]
    alpha : []
        Positive.
    log_density : function
        Of alpha [...], up to a constant.

    Returns
    -------
    []
    """
    low, high = math.log(SPACINGS[0]), math.log(SPACINGS[1])
    spacing = jnp.exp(low + (high - low) * uniforms[0])
    steps = jnp.arange(LATTICE) - jnp.floor(LATTICE * uniforms[1])
    lattice = alpha * jnp.exp(steps.astype(spacing.dtype) * spacing)
    log_probability = log_density(lattice) + jnp.log(lattice)
    found = lattice[choose(uniforms[2], log_probability)]
    return jnp.where(jnp.isfinite(found), found, alpha)


class RandomConcentration(NamedTuple):
    """A prior over partitions whose concentration is random: one urn for each value of it.

    Attributes
    ----------
    alpha : [J]
    log_probability : [J]
    discount : float
    n_components : int or None
        Of a symmetric Dirichlet; None for a Dirichlet or Pitman-Yor process.
    """

    alpha: Array
    log_probability: Array
    discount: float = 0.0
    n_components: int | None = None

    def urns(self) -> Urns:
        """Its Ewens-Pitman partitions."""
        alpha, log_weight = jnp.asarray(self.alpha), normalized(jnp.asarray(self.log_probability))
        if self.n_components is None:
            like = jnp.full_like(alpha, self.discount)
            return Urns(log_weight, like, alpha, jnp.full_like(alpha, jnp.inf))
        K = jnp.full_like(alpha, self.n_components)
        return Urns(log_weight, -alpha, K * alpha, K)
