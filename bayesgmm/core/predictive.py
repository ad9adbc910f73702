"""The next point under a posterior of a mixture: a mixture of Student t distributions, exactly.

With mean and covariance integrated out over a Normal-inverse-Wishart, a point of a component is
Student t about ``mean``: with nu = dof - D + 1 degrees of freedom and the shape matrix
S (kappa + 1) / (kappa nu) where the family has matrices (its own or a shared one); a product of D
of them, of dof degrees, where every column has its own Gamma; one in D dimensions with dof degrees
where one Gamma is behind all columns.

References
----------
Murphy (2007), *Conjugate Bayesian analysis of the Gaussian distribution*, equations 110 and 258.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.special import gammaln, logsumexp

from bayesgmm.core.arrays import Array, cholesky, log_determinant, whiten
from bayesgmm.core.conjugate import NormalInverseWishart
from bayesgmm.core.covariance import Covariance


class StudentMixture(NamedTuple):
    """A mixture of Student t distributions; a component of log weight -inf is absent.

    Attributes
    ----------
    log_weights : [K]
    means : [K, D]
    scales : [K, D, D]
        Lower Cholesky factors of the shape matrices; or their roots [K, D] if these are diagonal.
    dof : [K]
    """

    log_weights: Array
    means: Array
    scales: Array
    dof: Array


def predictive(
    log_weights: Array, components: NormalInverseWishart, family: Covariance
) -> StudentMixture:
    """Distribution of the next point of components whose parameters are uncertain.

    Parameters
    ----------
    log_weights : [K]
        Log of the expected weights.
    components : NormalInverseWishart
        Proper.
    family : Covariance

    Returns
    -------
    StudentMixture

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bayesgmm.core import FAMILIES, NormalInverseWishart, log_predictive, predictive
    >>> one = NormalInverseWishart(jnp.zeros((1, 1)), jnp.ones(1), jnp.ones(1), jnp.ones((1, 1, 1)))
    >>> density = log_predictive(jnp.zeros((1, 1)), predictive(jnp.zeros(1), one, FAMILIES["full"]),
    ...                          FAMILIES["full"])
    >>> round(float(jnp.exp(density[0])), 3)  # a Cauchy density of scale root 2, at its middle
    0.225
    """
    mean, precision, dof, scale = components
    K, D = mean.shape
    freedom = dof if family.axis_aligned else dof - D + 1.0
    shape = (freedom / (1.0 + 1.0 / precision)).reshape(-1, *(1,) * (scale.ndim - 1))
    shape = scale / shape
    if family.axis_aligned:
        scales = jnp.broadcast_to(jnp.sqrt(shape), (K, D))
    else:
        scales = cholesky(shape)
    return StudentMixture(log_weights, mean, scales, jnp.broadcast_to(freedom, (K,)))


def student_joint(points: Array, mixture: StudentMixture, family: Covariance) -> Array:
    """Log density of each of `points` [N, D] joined with each component, [N, K]."""
    D = points.shape[1]
    squares = jnp.square(whiten(points.T, mixture.means, mixture.scales))  # [K, D, N]
    dof = mixture.dof[:, None]
    constants = mixture.log_weights - 0.5 * log_determinant(mixture.scales)
    if family.axis_aligned and not family.isotropic:  # every column by itself
        kernels = -0.5 * (dof + 1) * jnp.log1p(squares / dof[:, None]).sum(1)
        return (constants[:, None] + D * _normalizer(dof, 1) + kernels).T
    kernels = -0.5 * (dof + D) * jnp.log1p(squares.sum(1) / dof)
    return (constants[:, None] + _normalizer(dof, D) + kernels).T


def _normalizer(dof: Array, D: int) -> Array:
    """Log of the height of a standard t in D dimensions."""
    return gammaln(0.5 * (dof + D)) - gammaln(0.5 * dof) - 0.5 * D * jnp.log(dof * jnp.pi)


def log_predictive(points: Array, mixture: StudentMixture, family: Covariance) -> Array:
    """Log density of a mixture of Student t distributions at each of `points` [N, D]; [N]."""
    return logsumexp(student_joint(points, mixture, family), axis=-1)
