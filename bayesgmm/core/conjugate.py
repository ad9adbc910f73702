r"""The conjugate update, and its three readings: the mode, the expectation and a draw.

Given its covariance, the mean of a component is normal about ``mean`` with covariance
Sigma / ``mean_precision``; the covariance is inverse Wishart with ``dof`` and ``scale``
(E[Sigma] = scale / (dof - D - 1)). One class serves every conjugate structure of the table of
families, since each is an inverse Wishart of some dimension p on scatter that is summed over what
the family shares:

=============  ===  =============  ================================================
family          p   ``scale``      prior
=============  ===  =============  ================================================
full            D   [K, D, D]      inverse Wishart per component
tied            D   [1, D, D]      one inverse Wishart
diagonal        1   [K, D]         inverse Gamma (dof / 2, scale / 2) per column
EEI             1   [1, D]         the same, one for all components
isotropic       1   [K, 1]         one inverse Gamma per component, D n_k terms
EII             1   [1, 1]         one inverse Gamma, D N terms
=============  ===  =============  ================================================

The other families have no conjugate prior. Theirs is that of "full", or of "diagonal" if they are
axis-aligned, restricted to the family: of their posterior only the mode is known
(`core.families.estimate`).

References
----------
Murphy (2007), *Conjugate Bayesian analysis of the Gaussian distribution*, sections 8 and 9.
Gelman et al. (2013), *Bayesian Data Analysis*, 3rd edition, section 3.6.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import digamma, gammaln

from bayesgmm.core.arrays import (
    Array,
    Key,
    cholesky,
    diagonal,
    inverse_lower,
    safe_divide,
    symmetric,
)
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.families import estimate
from bayesgmm.core.mixture import LOG_2PI, Mixture
from bayesgmm.core.sweep import Moments
from bayesgmm.core.weights import Dirichlet


class NormalInverseWishart(NamedTuple):
    """Prior, or posterior, of the means and covariances of K components.

    Attributes
    ----------
    mean : [K, D]
    mean_precision : [K]
    dof : [K], or [1] if the family is pooled
    scale : as in the table of this module
    """

    mean: Array
    mean_precision: Array
    dof: Array
    scale: Array


class Hyperparameters(NamedTuple):
    """A prior on a whole mixture, or the posterior that `update` makes of it.

    Attributes
    ----------
    weights : Dirichlet, StickBreaking or FiniteMixture
    components : NormalInverseWishart
    """

    weights: Any
    components: NormalInverseWishart


def _dimension(family: Covariance, D: int) -> int:
    """Side p of the inverse Wishart matrices."""
    return 1 if family.axis_aligned else D


def flat_prior(family: Covariance, K: int, D: int, dtype: Any = np.float64) -> Hyperparameters:
    """The improper prior under which the mode is the maximum likelihood estimate.

    Parameters
    ----------
    family : Covariance
    K, D : int
    dtype : numpy dtype, default float64

    Returns
    -------
    Hyperparameters
        NumPy arrays: constants, that cost no dispatch.
    """
    shared, columns = family.n_shared(K, D)
    groups = 1 if family.pooled else K
    dof = np.full(groups, -(_dimension(family, D) + 1.0) - shared * columns, dtype)
    tail = (1,) if family.isotropic else (D,) if family.axis_aligned else (D, D)
    scale = np.zeros((groups, *tail), dtype)
    components = NormalInverseWishart(np.zeros((K, D), dtype), np.zeros(K, dtype), dof, scale)
    return Hyperparameters(Dirichlet(np.ones(K, dtype)), components)


def update(
    prior: Hyperparameters, found: Moments, about: Array, family: Covariance
) -> Hyperparameters:
    """Posterior given moments about `about` [K, D]; prior and posterior have the same shape.

    Parameters
    ----------
    prior : Hyperparameters
    found : Moments
    about : [K, D]
        The reference of the sweep, `core.reference(mixture, form)`.
    family : Covariance

    Returns
    -------
    Hyperparameters
    """
    components = update_components(prior.components, found, about, family)
    return Hyperparameters(prior.weights.update(found.counts), components)


def alike(one: NormalInverseWishart, K: int, family: Covariance) -> NormalInverseWishart:
    """The prior of one component, leaves [1, ...], for K of them; a pooled covariance stays one."""
    wide = [jnp.broadcast_to(leaf, (K, *leaf.shape[1:])) for leaf in one]
    if family.pooled:
        wide[2:] = one[2:]
    return NormalInverseWishart(*wide)


def update_components(
    prior: NormalInverseWishart, found: Moments, about: Array, family: Covariance
) -> NormalInverseWishart:
    """The part of `update` that is of means and covariances."""
    precision = prior.mean_precision + found.counts
    pull = prior.mean_precision[:, None] * (prior.mean - about)
    shift = safe_divide(pull + found.first, precision[:, None])  # posterior mean, from `about`
    gap = prior.mean - about
    outer = _outer_diagonal if family.axis_aligned else _outer
    scatter = (
        found.second + outer(gap, prior.mean_precision) - outer(shift, precision)
    )  # about the posterior mean
    columns = family.n_shared(len(precision), gap.shape[1])[1]
    counts = found.counts.sum(keepdims=True) if family.pooled else found.counts
    return NormalInverseWishart(
        about + shift,
        precision,
        prior.dof + columns * counts,
        prior.scale + family.reduce(scatter),
    )


def _outer(vector: Array, weight: Array) -> Array:
    return weight[:, None, None] * vector[:, :, None] * vector[:, None, :]


def _outer_diagonal(vector: Array, weight: Array) -> Array:
    return weight[:, None] * jnp.square(vector)


# --- the readings -------------------------------------------------------------------------------


def mode(
    posterior: Hyperparameters,
    family: Covariance,
    ridge: Array | float = 0.0,
    previous: Array | None = None,
) -> Mixture:
    """The joint mode of weights, means and covariances: one EM step's mixture.

    Under a family that is not conjugate the density of its covariances is the inverse Wishart of
    each component (or the inverse Gammas of its columns) restricted to the family.

    Parameters
    ----------
    posterior : Hyperparameters
    family : Covariance
    ridge : [D] or float, default 0
        Added to the diagonal of each covariance, before the family's constraint: by its mean
        where all variances are one.
    previous : [K, D, D] or [K, D], optional
        Scales of the last mixture, from which the families that are iterated start.

    Returns
    -------
    Mixture
        Scales are NaN where a covariance is singular. A component without points (or without
        prior) is absent: it has no part in what the family shares, and its own scatter is that of
        the ridge, or else of the unit.
    """
    components = posterior.components
    K, D = components.mean.shape
    divisor = prior_divisor(components, family)
    log_weights = posterior.weights.mode()
    absent = divisor <= 0 if family.pooled else (divisor <= 0) | jnp.isneginf(log_weights)
    divisor = jnp.where(absent, 1.0, divisor)
    ridge = jnp.broadcast_to(jnp.asarray(ridge, divisor.dtype), (D,))
    unit = _spread(jnp.where(ridge > 0, ridge, 1.0), family)
    scatter = components.scale + _over(divisor, components.scale) * _spread(ridge, family)
    scatter = jnp.where(_over(absent, scatter), unit, scatter)
    scales = estimate(scatter, divisor, ~absent, family, previous)
    if family.axis_aligned:
        scales = jnp.broadcast_to(scales, (K, D))
    return Mixture(log_weights, components.mean, scales)


def prior_divisor(components: NormalInverseWishart, family: Covariance) -> Array:
    """What the scale is divided by at the joint mode, [K] (or [1] if pooled): 0 if it is flat."""
    K, D = components.mean.shape
    shared, columns = family.n_shared(K, D)
    return components.dof + _dimension(family, D) + 1.0 + shared * columns


def _spread(variance: Array, family: Covariance) -> Array:
    """Variances [D] of the columns as one entry of the scatter of a family."""
    if family.axis_aligned:
        return variance.mean(keepdims=True) if family.isotropic else variance
    return jnp.diag(variance)


def _over(divisor: Array, scale: Array) -> Array:
    return divisor.reshape(-1, *(1,) * (scale.ndim - 1))


def _only_conjugate(family: Covariance) -> None:
    if not family.conjugate:
        letters = family.volume + family.shape + family.orientation
        raise ValueError(
            "family must be one with a conjugate prior (EII, VII, EEI, VVI, EEE or VVV) to be "
            f"averaged over or drawn from, got {letters}: it has only a mode (core.mode)."
        )


def expectation(posterior: Hyperparameters, family: Covariance) -> Mixture:
    r"""The mixture whose log joint is the expected log joint under the posterior.

    Means m, scales chol(S / nu), log weights E[log pi_k] + (E log det Lambda_k
    + log det(S_k / nu_k)) / 2 - D / (2 kappa_k): the E-step of variational Bayes (Bishop 2006,
    *Pattern Recognition and Machine Learning*, equations 10.64 to 10.66, 10.71). The log weights
    are not normalised: only responsibilities and the bound may be read from this mixture.
    """
    mean, precision, dof, scale = posterior.components
    K, D = mean.shape
    average = scale / _over(dof, scale)
    correction = expected_log_det_precision(posterior.components, family)
    if family.axis_aligned:
        scales = jnp.broadcast_to(jnp.sqrt(average), (K, D))
        log_det = 2.0 * jnp.log(scales).sum(-1)
    else:
        scales = cholesky(average)
        log_det = 2.0 * jnp.log(diagonal(scales)).sum(-1)
    log_weights = posterior.weights.expected_log() + 0.5 * (correction + log_det)
    return Mixture(log_weights - 0.5 * D / precision, mean, scales)


def expected_log_det_precision(components: NormalInverseWishart, family: Covariance) -> Array:
    """E log det of the precision of each component, [K] (or [1] if pooled)."""
    _only_conjugate(family)
    D = components.mean.shape[1]
    p = _dimension(family, D)
    half = 0.5 * (components.dof[:, None] - jnp.arange(p))
    blocks = digamma(half).sum(-1) + p * jnp.log(2.0)
    if family.axis_aligned:
        repeats = D if family.isotropic else 1
        return repeats * (blocks[:, None] - jnp.log(components.scale)).sum(-1)
    return blocks - 2.0 * jnp.log(diagonal(cholesky(components.scale))).sum(-1)


def draw(key: Key, posterior: Hyperparameters, family: Covariance) -> Mixture:
    """One draw of weights, means and covariances."""
    _only_conjugate(family)
    key_weights, key_gamma, key_above, key_noise = jr.split(key, 4)
    shape, dtype = gamma_shapes(posterior.components, family), posterior.components.mean.dtype
    variates = Variates(
        jr.loggamma(key_gamma, shape, dtype=dtype),
        jr.normal(key_above, posterior.components.scale.shape, dtype),
        jr.normal(key_noise, posterior.components.mean.shape, dtype),
    )
    means, scales = from_variates(posterior.components, variates, family)
    return Mixture(posterior.weights.draw(key_weights), means, scales)


class Variates(NamedTuple):
    """The random numbers of one draw of means and covariances.

    Attributes
    ----------
    log_gamma : like `gamma_shapes`
        Logs of gamma variates of these shapes.
    above : like the scale
        Standard normal; what stands on and below the diagonals is not read, nor any of an
        axis-aligned family.
    noise : [K, D]
        Standard normal.
    """

    log_gamma: Array
    above: Array
    noise: Array


def gamma_shapes(components: NormalInverseWishart, family: Covariance) -> Array:
    """Shapes of the gamma variates that a draw of the covariances needs, [K, p] (or [1, p])."""
    half = 0.5 * components.dof[:, None]
    if family.axis_aligned:
        return jnp.broadcast_to(half, components.scale.shape)
    D = components.mean.shape[1]
    return half - 0.5 * jnp.arange(D)[::-1]  # the last column of A has all the freedom


def from_variates(
    components: NormalInverseWishart, variates: Variates, family: Covariance
) -> tuple[Array, Array]:
    """Means [K, D] and scales of one draw, a function of its random numbers.

    The inverse Wishart by a Bartlett factor A, upper triangular so that the Cholesky factor
    L A^-T of Sigma, with scale = L L', comes out lower triangular without another factorization.
    """
    mean, precision, _, scale = components
    noise = variates.noise / jnp.sqrt(precision)[:, None]
    if family.axis_aligned:
        variance = 0.5 * scale * jnp.exp(-variates.log_gamma)
        scales = jnp.broadcast_to(jnp.sqrt(variance), mean.shape)
        return mean + scales * noise, scales
    root = jnp.sqrt(2.0) * jnp.exp(0.5 * variates.log_gamma)
    bartlett = jnp.triu(variates.above, 1) + jax.vmap(jnp.diag)(root)  # A A' ~ W(dof, I)
    scales = cholesky(scale) @ inverse_lower(jnp.swapaxes(bartlett, -1, -2))
    every = jnp.broadcast_to(scales, (len(mean), *scales.shape[1:]))
    return mean + jnp.einsum("kij,kj->ki", every, noise), scales


# --- evidence and divergence --------------------------------------------------------------------


def log_normalizer(components: NormalInverseWishart, family: Covariance) -> Array:
    """Log normalisers of the inverse Wishart densities, summed over columns. [K] (or [1])."""
    _only_conjugate(family)
    D = components.mean.shape[1]
    p = _dimension(family, D)
    half = 0.5 * components.dof
    gamma = gammaln(half[:, None] - 0.5 * jnp.arange(p)).sum(-1)
    gamma = gamma + 0.25 * p * (p - 1) * jnp.log(jnp.pi) + half * p * jnp.log(2.0)
    if family.axis_aligned:
        return (gamma[:, None] - half[:, None] * jnp.log(components.scale)).sum(-1)
    return gamma - 2.0 * half * jnp.log(diagonal(cholesky(components.scale))).sum(-1)


def log_evidence(
    prior: NormalInverseWishart, posterior: NormalInverseWishart, family: Covariance
) -> Array:
    """Log marginal likelihood of the points of each component given who belongs to it.

    Parameters
    ----------
    prior, posterior : NormalInverseWishart
        The posterior as `update` made it from the prior.
    family : Covariance

    Returns
    -------
    [K], or [1] if the family is pooled: then the components are evaluated together.

    References
    ----------
    Murphy (2007), equation 266, for the full family.
    """
    D = prior.mean.shape[1]
    counts = posterior.mean_precision - prior.mean_precision
    ratio = jnp.log(prior.mean_precision) - jnp.log(posterior.mean_precision)
    own = -0.5 * counts * D * LOG_2PI + 0.5 * D * ratio
    own = own.sum(keepdims=True) if family.pooled else own
    return own + log_normalizer(posterior, family) - log_normalizer(prior, family)


def kl(posterior: NormalInverseWishart, prior: NormalInverseWishart, family: Covariance) -> Array:
    """Kullback-Leibler divergence KL(posterior || prior), a scalar, summed over components."""
    D = prior.mean.shape[1]
    p = _dimension(family, D)
    ratio = prior.mean_precision / posterior.mean_precision
    gap = posterior.mean - prior.mean
    distance = prior.mean_precision * _expected_form(posterior, gap, family)
    means = 0.5 * (D * (ratio - 1.0 - jnp.log(ratio)) + distance).sum()
    change = posterior.dof - prior.dof
    blocks = 1 if not family.axis_aligned else prior.scale.shape[-1]
    repeats = D if family.isotropic else 1
    log_det = expected_log_det_precision(posterior, family) / repeats
    trace = _expected_trace(posterior, prior.scale, family) - posterior.dof * p * blocks
    scales = log_normalizer(prior, family) - log_normalizer(posterior, family)
    return means + (scales + 0.5 * change * log_det + 0.5 * trace).sum()


def _expected_form(components: NormalInverseWishart, vector: Array, family: Covariance) -> Array:
    """E[v' Lambda v] of vectors [K, D], as [K]."""
    if family.axis_aligned:
        return (jnp.square(vector) * components.dof[:, None] / components.scale).sum(-1)
    inverse = inverse_lower(cholesky(components.scale))
    inverse = jnp.broadcast_to(inverse, (len(vector), *inverse.shape[1:]))
    return components.dof * jnp.square(jnp.einsum("kij,kj->ki", inverse, vector)).sum(-1)


def _expected_trace(components: NormalInverseWishart, scale: Array, family: Covariance) -> Array:
    """E[tr(scale Lambda)], as [K] (or [1])."""
    if family.axis_aligned:
        return (components.dof[:, None] * scale / components.scale).sum(-1)
    inverse = inverse_lower(cholesky(components.scale))
    product = inverse @ symmetric(scale) @ jnp.swapaxes(inverse, -1, -2)
    return components.dof * diagonal(product).sum(-1)
