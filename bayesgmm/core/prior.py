r"""Log density of a whole mixture under its prior: what a maximum a posteriori fit adds.

Up to constants, and with one term for each of the G covariances that the family does not share,
it is

    -1/2 sum_g (d_g log |Sigma_g| + tr(S0_g Sigma_g^-1))
    -kappa0/2 sum_k (mu_k - m0)' Sigma_k^-1 (mu_k - m0) + sum_k (alpha_k - 1) log pi_k,

d the divisor that `core.mode` has before any point is seen: dof + p + 1 for the inverse Wishart and
one for the mean of each component that shares the covariance. Under the flat prior all of it is 0.
"""

import jax.numpy as jnp
from jax.scipy.special import gammaln

from bayesgmm.core.arrays import (
    Array,
    diagonal,
    inverse_lower,
    is_axis_aligned,
    log_determinant,
    safe_divide,
)
from bayesgmm.core.conjugate import (
    Hyperparameters,
    NormalInverseWishart,
    log_normalizer,
    prior_divisor,
)
from bayesgmm.core.covariance import FAMILIES, Covariance
from bayesgmm.core.mixture import LOG_2PI, Mixture


def log_prior(mixture: Mixture, prior: Hyperparameters, family: Covariance) -> Array:
    """Log density of the weights, means and covariances of a mixture, a scalar.

    Parameters
    ----------
    mixture : Mixture
        All of its components present.
    prior : Hyperparameters
        Proper; its weights are Dirichlet.
    family : Covariance
        One that is not conjugate has the density of "full" (or of "diag", along the axes) at its
        member: not normalised over the family.

    Returns
    -------
    []

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bayesgmm.core import (FAMILIES, Dirichlet, Hyperparameters, Mixture,
    ...                            NormalInverseWishart, log_prior)
    >>> one = jnp.ones((1, 1))
    >>> components = NormalInverseWishart(0 * one, one[0], 3 * one[0], one[:, :, None])
    >>> prior = Hyperparameters(Dirichlet(one[0]), components)
    >>> mixture = Mixture(0 * one[0], 0 * one, one[:, :, None])
    >>> found = log_prior(mixture, prior, FAMILIES["full"])
    >>> round(float(found), 3)  # log N(0; 0, 1) + log IG(1; 3/2, 1/2)
    -2.338
    """
    components = prior.components
    K, D = components.mean.shape
    constant = 0.5 * D * (jnp.log(components.mean_precision) - LOG_2PI).sum()
    whole = _unrestricted(family)
    constant = constant - log_normalizer(components, whole).sum()
    alpha = jnp.broadcast_to(prior.weights.concentration, (K,))
    constant = constant + gammaln(alpha.sum()) - gammaln(alpha).sum()
    return prior_kernel(mixture, prior, family) + constant


def prior_kernel(mixture: Mixture, prior: Hyperparameters, family: Covariance) -> Array:
    """`log_prior` without its constants: finite, and 0, under the flat prior, too.

    An absent component has no part in it.
    """
    components = prior.components
    present = ~jnp.isneginf(mixture.log_weights)
    powers = jnp.where(present, prior.weights.concentration - 1.0, 0.0)
    weights = jnp.where(present, mixture.log_weights, 0.0) @ powers
    log_det, trace = _volumes_and_traces(mixture.scales, components, family)
    spread = prior_divisor(components, family) * log_det + trace
    spread = spread if family.pooled else jnp.where(present, spread, 0.0)
    pull = components.mean_precision * _distances(mixture, components)
    return weights - 0.5 * (spread.sum() + jnp.where(present, pull, 0.0).sum())


def _unrestricted(family: Covariance) -> Covariance:
    if family.conjugate:
        return family
    return FAMILIES["diag" if family.axis_aligned else "full"]


def _volumes_and_traces(
    scales: Array, components: NormalInverseWishart, family: Covariance
) -> tuple[Array, Array]:
    """Log determinants and traces of S0 Sigma^-1, [G], in blocks of the side of the prior."""
    if family.axis_aligned:
        variance = jnp.square(scales[: len(components.scale), : components.scale.shape[1]])
        return jnp.log(variance).sum(-1), (components.scale / variance).sum(-1)
    inverse = inverse_lower(scales)
    product = inverse @ components.scale @ jnp.swapaxes(inverse, -1, -2)
    return log_determinant(scales), diagonal(product).sum(-1)


def _distances(mixture: Mixture, components: NormalInverseWishart) -> Array:
    """Squared Mahalanobis distances of the means from those of the prior, [K]."""
    gap = mixture.means - components.mean
    if is_axis_aligned(mixture.scales):
        return safe_divide(jnp.square(gap), jnp.square(mixture.scales)).sum(-1)
    inverse = inverse_lower(mixture.scales)
    inverse = jnp.broadcast_to(inverse, (len(gap), *inverse.shape[1:]))
    return jnp.square(jnp.einsum("kij,kj->ki", inverse, gap)).sum(-1)
