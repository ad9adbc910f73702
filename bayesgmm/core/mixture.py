"""A Gaussian mixture as arrays, and what can be asked of one: densities, draws, sub-mixtures."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.scipy.special import logsumexp

from bayesgmm.core.arrays import (
    Array,
    Key,
    covariances,
    full_scales,
    is_axis_aligned,
    log_determinant,
    whiten,
)

LOG_2PI = 1.8378770664093453


class Mixture(NamedTuple):
    """A Gaussian mixture. A component with log weight -inf is absent.

    Attributes
    ----------
    log_weights : [K]
    means : [K, D]
    scales : [K, D, D]
        Lower Cholesky factors of the covariances; one leading entry if all components share it,
        or standard deviations [K, D] if the covariances are diagonal.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bayesgmm.core import Mixture, log_density
    >>> mixture = Mixture(jnp.log(jnp.array([0.5, 0.5])), jnp.array([[-1.0], [1.0]]),
    ...                   jnp.ones((2, 1, 1)))
    >>> float(jnp.exp(log_density(jnp.zeros((1, 1)), mixture))[0])  # doctest: +ELLIPSIS
    0.2419...
    """

    log_weights: Array
    means: Array
    scales: Array


def log_constants(mixture: Mixture) -> Array:
    """Log weight and normaliser of each component: its log joint at its own mean, [K]."""
    D = mixture.means.shape[-1]
    normaliser = 0.5 * (D * LOG_2PI + log_determinant(mixture.scales))
    return mixture.log_weights - normaliser


def log_joint(points: Array, mixture: Mixture) -> Array:
    r"""Log density of each point joined with each component, log pi_k + log N(x_n | mu_k, Sigma_k).

    Parameters
    ----------
    points : [N, D]
    mixture : Mixture
        An absent component (log weight -inf) gives a column of -inf.

    Returns
    -------
    [N, K]

    Examples
    --------
    A gradient with respect to a point, and one with respect to every parameter:

    >>> import jax, jax.numpy as jnp
    >>> from bayesgmm.core import Mixture, log_density
    >>> mixture = Mixture(jnp.log(jnp.array([0.25, 0.75])), jnp.array([[0.0], [4.0]]),
    ...                   jnp.ones((2, 1, 1)))
    >>> point = jnp.array([[0.5]])
    >>> slope = jax.grad(lambda x: log_density(x, mixture)[0])(point)
    >>> round(float(slope[0, 0]), 3)  # close to the first component: about -(0.5 - 0)
    -0.47
    >>> by_parameter = jax.grad(lambda m: log_density(point, m)[0])(mixture)
    >>> round(float(by_parameter.means[0, 0]), 3)
    0.496
    """
    whitened = whiten(points.T, mixture.means, mixture.scales)  # [K, D, N]
    return (log_constants(mixture)[:, None] - 0.5 * jnp.square(whitened).sum(1)).T


def log_density(points: Array, mixture: Mixture) -> Array:
    """Log density of the mixture at each of `points` [N, D], log sum_k pi_k N(x_n | k). [N]."""
    return logsumexp(log_joint(points, mixture), axis=-1)


def responsibilities(points: Array, mixture: Mixture) -> Array:
    """Probability of each component given each of `points` [N, D]. [N, K], rows sum to one."""
    return jax.nn.softmax(log_joint(points, mixture), axis=-1)


def sample(key: Key, mixture: Mixture, n_samples: int) -> tuple[Array, Array]:
    """Independent draws from the mixture.

    Parameters
    ----------
    key : jax PRNG key
    mixture : Mixture
    n_samples : int

    Returns
    -------
    points : [n_samples, D]
    labels : [n_samples]
        The component each point came from.
    """
    key_labels, key_points = jr.split(key)
    labels = jr.categorical(key_labels, mixture.log_weights, shape=(n_samples,))
    noise = jr.normal(key_points, (n_samples, mixture.means.shape[-1]), mixture.means.dtype)
    shared = mixture.scales.shape[0] == 1 and not is_axis_aligned(mixture.scales)
    scales = mixture.scales if shared else mixture.scales[labels]  # [N or 1, D, D] or [N, D]
    if is_axis_aligned(mixture.scales):
        return mixture.means[labels] + scales * noise, labels
    return mixture.means[labels] + jnp.einsum("nij,nj->ni", scales, noise), labels


def marginal(mixture: Mixture, features: tuple[int, ...]) -> Mixture:
    """The distribution of some of the features, in the order given; itself a mixture.

    Parameters
    ----------
    mixture : Mixture
    features : tuple of int, of length d

    Returns
    -------
    Mixture
        With means [K, d] and scales [K, d, d] (one leading entry if `mixture` shares it).
    """
    index = jnp.asarray(features)
    factor = full_scales(mixture.scales)[:, index, :]  # rows of L: factor factor' is the marginal
    return Mixture(mixture.log_weights, mixture.means[:, index], _triangularized(factor))


def conditional(mixture: Mixture, features: tuple[int, ...], values: Array) -> Mixture:
    """The distribution of the other features given the values of some; itself a mixture.

    With the features ordered (known, other), the Cholesky factor of a component is
    [[A, 0], [B, C]]: the mean of the others is m + B A^-1 (values - m_known), their factor C, and
    the log weight gains the log density of the values under the component.

    Parameters
    ----------
    mixture : Mixture
    features : tuple of int, of length d
        The known features, fewer than all.
    values : [d]

    Returns
    -------
    Mixture
        Over the other D - d features, in their order.
    """
    d, D = len(features), mixture.means.shape[-1]
    others = [j for j in range(D) if j not in features]
    joint = marginal(mixture, (*features, *others))
    known = Mixture(joint.log_weights, joint.means[:, :d], joint.scales[:, :d, :d])
    gap = whiten(values[:, None], known.means, known.scales)[..., 0]  # [K, d]
    log_weights = log_joint(values[None, :], known)[0]
    means = joint.means[:, d:] + jnp.einsum("kij,kj->ki", *_aligned(joint.scales[:, d:, :d], gap))
    return Mixture(jax.nn.log_softmax(log_weights), means, joint.scales[:, d:, d:])


def mixture_moments(mixture: Mixture) -> tuple[Array, Array]:
    """Mean [D] and covariance [D, D] of the whole mixture (law of total variance)."""
    weights = jnp.exp(mixture.log_weights)
    mean = weights @ mixture.means
    gap = mixture.means - mean
    K = weights.shape[0]
    within = jnp.broadcast_to(covariances(mixture.scales), (K, *mixture.means.shape[-1:] * 2))
    return mean, jnp.einsum("k,kij->ij", weights, within + gap[:, :, None] * gap[:, None, :])


def change_units(mixture: Mixture, centre: Array, scale: Array) -> Mixture:
    """The mixture of centre + scale * x, where x has the given one; `scale` [D] is positive."""
    across = scale if is_axis_aligned(mixture.scales) else scale[:, None]
    return Mixture(mixture.log_weights, centre + scale * mixture.means, across * mixture.scales)


def _triangularized(factor: Array) -> Array:
    """Lower Cholesky factors of F F' from factors F [K, d, D], without forming the product."""
    upper = jnp.linalg.qr(jnp.swapaxes(factor, -1, -2), mode="r")  # F F' = R' R
    sign = jnp.where(jnp.diagonal(upper, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return jnp.swapaxes(upper * sign[..., None], -1, -2)


def _aligned(matrix: Array, vector: Array) -> tuple[Array, Array]:
    """The same number of leading entries for both: a shared matrix serves every component."""
    return jnp.broadcast_to(matrix, (vector.shape[0], *matrix.shape[1:])), vector
