r"""What a split-merge move asks of a cluster, under each prior of the components.

Under the conjugate prior a cluster X_c has its marginal likelihood m(X_c) in closed form. Where all
clusters share a covariance it is given, and m(X_c | Sigma) closed too. Under a prior whose mean is
independent of its covariance there is none for a covariance of its own; the move then carries
Sigma_c (Jain and Neal 2007), the mean summed out. A new one is drawn from

    q(Sigma | X_c): inverse Wishart(dof + n - 1, scale + sum_i (x_i - xbar)(x_i - xbar)'),

which is the posterior of Sigma if the prior of the mean is flat, and in the place of m(X_c) stands
r = p(Sigma) p(X_c | Sigma) / q(Sigma | X_c), whose mean over q is m(X_c). With Z the normaliser of
an inverse Wishart density, n points and the prior N(b0, B0) of the mean,

    r = (2 pi)^(-n D / 2) Z(dof + n - 1, scale + ...) / Z(dof, scale) |Sigma + n B0|^(-1/2)
        exp(-(xbar - b0)' (B0 + Sigma / n)^-1 (xbar - b0) / 2),

all but constant in Sigma where n B0 is large. One variance for D features counts D times.

References
----------
Jain and Neal (2007), *Bayesian Analysis* 2, 445-472: splitting and merging without conjugacy.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from bayesgmm.core import random
from bayesgmm.core.arrays import (
    Array,
    cholesky,
    full_scales,
    inverse_lower,
    inverse_scales,
    is_axis_aligned,
    log_determinant,
    safe_divide,
)
from bayesgmm.core.conjugate import (
    NormalInverseWishart,
    Variates,
    alike,
    from_variates,
    gamma_shapes,
    log_evidence,
    log_normalizer,
    update_components,
)
from bayesgmm.core.covariance import FAMILIES, Covariance
from bayesgmm.core.independent import IndependentPrior, given_means
from bayesgmm.core.mixture import LOG_2PI
from bayesgmm.core.sweep import Moments

LOOSE = 0.1
"""Points that the prior of a mean is worth in a launch, under a prior that does not say so."""


class Clusters(NamedTuple):
    """What is known of clusters from their moments about the origin.

    Attributes
    ----------
    log_marginal : (Moments of M clusters, scales [M, ...] or None) -> [M]
        log m, or log r where scales are carried.
    fitted : Moments -> means [M, D], scales [M, ...]
        Of a launch: any that are reasonable.
    draw : (key, Moments) -> scales [M, ...], optional
        From q, where scales are carried.
    """

    log_marginal: Callable
    fitted: Callable
    draw: Callable | None = None


def _updated(
    prior: NormalInverseWishart, found: Moments, family: Covariance
) -> NormalInverseWishart:
    return update_components(prior, found, jnp.zeros_like(prior.mean), family)


# --- the conjugate prior --------------------------------------------------------------------------


def conjugate(components: NormalInverseWishart, scales: Array, family: Covariance) -> Clusters:
    """Clusters under the conjugate prior; `scales` are those of the state, read if shared."""
    return _sharing(components, scales) if family.pooled else _own(components, family)


def _own(components: NormalInverseWishart, family: Covariance) -> Clusters:
    """Clusters with a covariance each, which is summed out."""

    def posterior(found: Moments) -> tuple[NormalInverseWishart, NormalInverseWishart]:
        prior = alike(components, len(found.counts), family)
        return prior, _updated(prior, found, family)

    def log_marginal(found: Moments, scales: None = None) -> Array:
        return log_evidence(*posterior(found), family)

    def fitted(found: Moments) -> tuple[Array, Array]:
        _, after = posterior(found)
        average = after.scale / after.dof.reshape(-1, *(1,) * (after.scale.ndim - 1))
        if family.axis_aligned:
            return after.mean, jnp.broadcast_to(jnp.sqrt(average), after.mean.shape)
        return after.mean, cholesky(average)

    return Clusters(log_marginal, fitted)


def _sharing(components: NormalInverseWishart, scales: Array) -> Clusters:
    """Clusters that share a covariance, which is given: one row of `scales`.

    With Sigma summed out the clusters would not be independent.
    """
    family = FAMILIES["diag" if is_axis_aligned(scales) else "full"]
    scales = scales[:1]

    def posterior(found: Moments) -> NormalInverseWishart:
        M, D = len(found.counts), components.mean.shape[1]
        mean = jnp.broadcast_to(components.mean, (M, D))
        precision = jnp.broadcast_to(components.mean_precision, (M,))
        none = jnp.zeros(M, mean.dtype)
        nothing = jnp.zeros((M, *scales.shape[1:]), mean.dtype)
        return _updated(NormalInverseWishart(mean, precision, none, nothing), found, family)

    def log_marginal(found: Moments, _: None = None) -> Array:
        after = posterior(found)
        ratio = jnp.log(components.mean_precision) - jnp.log(after.mean_precision)
        D = components.mean.shape[1]
        return 0.5 * D * ratio + _log_density_at(found.counts, after.scale, scales)

    def fitted(found: Moments) -> tuple[Array, Array]:
        return posterior(found).mean, _for_all(scales, found)

    return Clusters(log_marginal, fitted)


def _for_all(scales: Array, found: Moments) -> Array:
    return jnp.broadcast_to(scales, (len(found.counts), *scales.shape[1:]))


def _log_density_at(counts: Array, scatter: Array, scales: Array) -> Array:
    """Log density of the points of clusters [M] given a covariance, from their scatter."""
    inverse = inverse_scales(scales)
    if is_axis_aligned(scales):
        distance = (scatter * jnp.square(inverse)).sum(-1)
    else:
        distance = ((inverse @ scatter) * inverse).sum((1, 2))
    log_det = log_determinant(scales)
    return -0.5 * counts * (scales.shape[-1] * LOG_2PI + log_det) - 0.5 * distance


# --- a mean that is independent of its covariance -------------------------------------------------


def independent(prior: IndependentPrior, scales: Array, family: Covariance) -> Clusters:
    """Clusters under such a prior; `scales` are those of the state, read if shared."""
    alone = NormalInverseWishart(prior.mean, jnp.full(1, LOOSE), prior.dof, prior.scale)
    launch = conjugate(alone, scales, family).fitted
    if family.pooled:
        return Clusters(_marginal_sharing(prior, scales[:1], family), launch)

    def given(found: Moments) -> NormalInverseWishart:
        means = safe_divide(found.first, found.counts[:, None])
        about_mean = given_means(prior, found, jnp.zeros_like(means), means, family)
        return about_mean._replace(dof=about_mean.dof - family.n_shared(*means.shape)[1])

    def log_marginal(found: Moments, own: Array) -> Array:
        D = prior.mean.shape[1]
        ratio = log_normalizer(given(found), family) - log_normalizer(alone, family)
        return ratio - 0.5 * found.counts * D * LOG_2PI + _log_of_mean(prior, found, own)

    def draw(key: Array, found: Moments) -> Array:
        posterior = given(found)
        above = random.above_diagonal(random.fold(key, 0), posterior.scale)
        gamma = random.log_gamma(random.fold(key, 1), gamma_shapes(posterior, family))
        noise = jnp.zeros_like(posterior.mean)
        return from_variates(posterior, Variates(gamma, above, noise), family)[1]

    return Clusters(log_marginal, launch, draw)


def _marginal_sharing(prior: IndependentPrior, scales: Array, family: Covariance) -> Callable:
    """Log marginal likelihood given the covariance that all clusters share."""
    apart = FAMILIES["diag" if family.axis_aligned else "full"]
    flat = prior._replace(dof=jnp.zeros(1), scale=jnp.zeros_like(scales))

    def log_marginal(found: Moments, _: None = None) -> Array:
        means = safe_divide(found.first, found.counts[:, None])
        scatter = given_means(flat, found, jnp.zeros_like(means), means, apart).scale
        at_mean = _log_density_at(found.counts, scatter, scales)
        at_mean = at_mean + 0.5 * log_determinant(scales)
        return at_mean + _log_of_mean(prior, found, _for_all(scales, found))

    return log_marginal


def _log_of_mean(prior: IndependentPrior, found: Moments, scales: Array) -> Array:
    """-log|Sigma + n B0| / 2 - (xbar - b0)' (B0 + Sigma / n)^-1 (xbar - b0) / 2, [M]."""
    n = jnp.maximum(found.counts, 1)[:, None]
    gap = found.first / n - prior.mean
    if is_axis_aligned(scales):
        spread = prior.covariance + jnp.square(scales) / n
        return -0.5 * (jnp.log(n * spread) + jnp.square(gap) / spread).sum(-1)
    square = full_scales(scales)
    root = cholesky(prior.covariance + square @ jnp.swapaxes(square, 1, 2) / n[..., None])
    log_det = gap.shape[1] * jnp.log(n[:, 0]) + log_determinant(root)
    away = jnp.einsum("kij,kj->ki", inverse_lower(root), gap)
    return -0.5 * (log_det + jnp.square(away).sum(-1))
