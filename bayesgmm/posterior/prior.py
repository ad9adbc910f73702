r"""How probable draws are under the prior: of the weights, and of the components.

What ArviZ calls `log_prior`, in two parts that may be raised to powers one by one (Kallioinen,
Paananen, Burkner and Vehtari 2024, *Statistics and Computing* 34, 57).

Where the number of components is known, the weights have the density of their Dirichlet, and all
components count. Where it is not, densities of different numbers of weights or of components
cannot be compared, as they are in units that depend on the number. There the prior of the weights
is the probability of the partition, weights and K summed out (Pitman 1995); and of the components
those that hold points count, each relative to the mean of its log density, so that to first order a
power of the density integrates to one and leaves the number of clusters alone. That mean is in
closed form; of distributions that are given it is estimated, once, from 10,000 draws with a seed of
their own.
"""

from functools import partial
from typing import Any

import jax
import numpy as np
from scipy import special

from bayesgmm.core.arrays import Array, float_scope
from bayesgmm.core.concentration import ConcentrationPrior
from bayesgmm.core.conjugate import NormalInverseWishart
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.independent import HierarchicalPrior
from bayesgmm.core.mixture import LOG_2PI
from bayesgmm.core.slots import WEIGHTINGS, SlotPrior
from bayesgmm.inference import given
from bayesgmm.inference.gibbs import GibbsConfig, GibbsPrior

# --- weights --------------------------------------------------------------------------------------


def log_weights(
    log_w: np.ndarray, counts: np.ndarray, alpha: np.ndarray, prior: GibbsPrior, config: GibbsConfig
) -> np.ndarray:
    """Log prior of the weights, and of the concentration where it is learned, [S].

    Parameters
    ----------
    log_w : ndarray [S, T]
        Of a known K, the first K places hold the components.
    counts : ndarray [S, T]
    alpha : ndarray [S]
    prior : GibbsPrior
    config : GibbsConfig

    Returns
    -------
    ndarray [S]
    """
    own = log_concentration(alpha, prior.concentration) if config.learned else 0.0
    if config.weights == "finite":
        return own + _log_dirichlet(log_w[:, : int(prior.weights.n_components)], alpha)
    return own + _log_partition(counts, alpha, prior, config.weights)


def log_concentration(alpha: np.ndarray, prior: ConcentrationPrior) -> np.ndarray:
    """Log density of concentrations [S], with its constant."""
    shape, tail = np.asarray(prior.power) + 1.0, np.asarray(prior.tail)
    scale, rate = np.asarray(prior.scale), np.asarray(prior.rate)
    if np.all(tail == 0):
        constant = shape * np.log(rate) - special.gammaln(shape)
    else:
        constant = shape * np.log(scale) - special.betaln(shape, tail - shape)
    heavy = tail * np.log1p(scale * alpha)
    return constant + prior.power * np.log(alpha) - heavy - rate * alpha


def _log_dirichlet(log_w: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    K, powers = log_w.shape[1], alpha[:, None] - 1.0
    kernel = np.multiply(powers, log_w, out=np.zeros_like(log_w), where=powers != 0)
    return kernel.sum(1) + special.gammaln(K * alpha) - K * special.gammaln(alpha)


def _log_partition(
    counts: np.ndarray, alpha: np.ndarray, prior: GibbsPrior, kind: str
) -> np.ndarray:
    with float_scope("float64"):
        given = counts.astype(float), np.asarray(alpha, float)
        return np.asarray(_log_partitions(*given, prior.weights, kind))


@partial(jax.jit, static_argnames="kind")
def _log_partitions(counts: Array, alpha: Array, prior: SlotPrior, kind: str) -> Array:
    return jax.vmap(lambda n, a: WEIGHTINGS[kind].log_eppf(n, a, prior))(counts, alpha)


# --- components -----------------------------------------------------------------------------------


def log_components(
    means: np.ndarray,
    scales: np.ndarray,
    member: np.ndarray,
    prior: Any,
    family: Covariance,
    C0: np.ndarray | None = None,
    relative: bool = False,
) -> np.ndarray:
    """Log prior density of the components that are `member`, and of C0, [S].

    The density is that of the means and of the entries of the covariances on and below the
    diagonal, or of the variances of an axis-aligned family; of distributions that are given, that
    of their own sites (standard deviations and the Cholesky factor of the correlations, for
    example). A covariance that all share counts once.

    Parameters
    ----------
    means : ndarray [S, T, D]
    scales : ndarray [S, T, D, D]
    member : ndarray [S, T] of bool
    prior : NormalInverseWishart, IndependentPrior, HierarchicalPrior, or dict of distributions
        Of one component.
    family : Covariance
    C0 : ndarray [S, 1, ...], optional
        Of a hierarchical prior.
    relative : bool, default False
        Whether each component's log density is taken relative to its mean under the prior, given
        C0.

    Returns
    -------
    ndarray [S]
    """
    densities = _of_distributions if isinstance(prior, dict) else _in_closed_form
    of_covariance, of_mean = densities(means, scales, prior, family, C0, relative)
    counted = np.arange(means.shape[1]) == 0 if family.pooled else member
    found = np.where(counted, of_covariance, 0).sum(1) + np.where(member, of_mean, 0).sum(1)
    if isinstance(prior, HierarchicalPrior):
        shape, rate = (np.asarray(leaf, float)[0] for leaf in (prior.shape, prior.rate))
        found = found + _log_wishart(C0[:, 0], shape, rate, family)
    return found


def _of_distributions(
    means: np.ndarray, scales: np.ndarray, prior: dict, family: Covariance, C0: Any, relative: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Log densities [S, T] of the covariances and of the means."""
    found = given.log_densities(means, scales, prior)
    if not relative:
        return found
    mean_of_it, mean_of_that = given.mean_log_densities(prior, family)
    return found[0] - mean_of_it, found[1] - mean_of_that


def _in_closed_form(
    means: np.ndarray, scales: np.ndarray, prior: Any, family: Covariance, C0: Any, relative: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Log densities [S, T] of the covariances and of the means."""
    scale = 2.0 * C0 if isinstance(prior, HierarchicalPrior) else np.asarray(prior.scale, float)[0]
    dof = np.asarray(prior.dof, float)[0]
    of_covariance, mean_of_it = _log_inverse_wishart(scales, dof, scale, family)
    of_mean, mean_of_that = _log_normal(means, scales, dof, scale, prior, family)
    if relative:
        return of_covariance - mean_of_it, of_mean - mean_of_that
    return of_covariance, of_mean


def _log_det(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.slogdet(matrix)[1]


def _expected_log_det(dof: float, scale: np.ndarray, family: Covariance, D: int) -> np.ndarray:
    """E log |Sigma^-1| under the inverse Wishart, or the inverse Gammas."""
    if family.axis_aligned:
        each = special.digamma(0.5 * dof) - np.log(0.5 * scale)
        return (D if family.isotropic else 1) * each.sum(-1)
    digammas = special.digamma(0.5 * (dof - np.arange(D))).sum()
    return digammas + D * np.log(2.0) - _log_det(scale)


def _log_inverse_wishart(
    scales: np.ndarray, dof: float, scale: np.ndarray, family: Covariance
) -> tuple[np.ndarray, np.ndarray]:
    """Log density [S, T] of the covariances, and its mean under the prior."""
    D = scales.shape[-1]
    if family.axis_aligned:
        entries = scale.shape[-1]
        variance = np.square(np.diagonal(scales, axis1=-2, axis2=-1))[..., :entries]
        a, b = 0.5 * dof, 0.5 * scale
        constant = a * np.log(b) - special.gammaln(a)
        density = (constant - (a + 1) * np.log(variance) - b / variance).sum(-1)
        mean = constant + (a + 1) * (special.digamma(a) - np.log(b)) - a
        return density, mean.sum(-1)
    half = 0.5 * dof
    constant = half * _log_det(scale) - half * D * np.log(2.0) - special.multigammaln(half, D)
    log_det = -2.0 * np.log(np.diagonal(scales, axis1=-2, axis2=-1)).sum(-1)  # of Sigma^-1
    inverse = np.linalg.inv(scales)
    trace = (inverse @ scale * inverse).sum((-1, -2))
    power = half + 0.5 * (D + 1)
    expected = _expected_log_det(dof, scale, family, D)
    return constant + power * log_det - 0.5 * trace, constant + power * expected - half * D


def _log_normal(
    means: np.ndarray,
    scales: np.ndarray,
    dof: float,
    scale: np.ndarray,
    prior: Any,
    family: Covariance,
) -> tuple[np.ndarray, np.ndarray]:
    """Log density [S, T] of the means given the covariances, and its mean under the prior."""
    D = means.shape[-1]
    gap = means - np.asarray(prior.mean, float)[0]
    if isinstance(prior, NormalInverseWishart):
        precision = float(np.asarray(prior.mean_precision)[0])
        log_det = -2.0 * np.log(np.diagonal(scales, axis1=-2, axis2=-1)).sum(-1)
        log_det = log_det + D * np.log(precision)
        white = np.linalg.solve(scales, gap[..., None])[..., 0] * np.sqrt(precision)
        expected = _expected_log_det(dof, scale, family, D) + D * np.log(precision)
    else:
        B0 = np.asarray(prior.covariance, float)[0]
        root = np.diag(np.sqrt(B0)) if B0.ndim == 1 else np.linalg.cholesky(B0)
        log_det = expected = -2.0 * np.log(np.diagonal(root)).sum()
        white = np.linalg.solve(root, gap[..., None])[..., 0]
    density = 0.5 * (log_det - D * LOG_2PI - np.square(white).sum(-1))
    return density, 0.5 * (expected - D * LOG_2PI - D)


def _log_wishart(C0: np.ndarray, shape: float, rate: np.ndarray, family: Covariance) -> np.ndarray:
    """Log density [S] of C0 ~ W(g0, G0), or of Gamma(g0, G0) entries."""
    if family.axis_aligned:
        each = shape * np.log(rate) - special.gammaln(shape)
        return (each + (shape - 1) * np.log(C0) - rate * C0).sum(-1)
    D = rate.shape[-1]
    constant = shape * _log_det(rate) - special.multigammaln(shape, D)
    return constant + (shape - 0.5 * (D + 1)) * _log_det(C0) - (rate * C0).sum((-1, -2))
