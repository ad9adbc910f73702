r"""Priors under which the mean of a component is independent of its covariance: block by block.

mu ~ N(b0, B0) and Sigma ~ inverse Wishart(dof, scale), independently. Neither has the other's
conjugate form, but each has a known distribution given the other:

    Sigma | mu, x ~ inverse Wishart(dof + n, scale + sum_i (x_i - mu)(x_i - mu)'),
    mu | Sigma, x ~ N(V (B0^-1 b0 + n Sigma^-1 xbar), V),  V = (B0^-1 + n Sigma^-1)^-1.

In the hierarchical prior the scale is random and common to all components. With W(c, C) of density
proportional to |X|^(c - (D + 1) / 2) exp(-tr(C X)),

    Sigma_k^-1 ~ W(c0, C0), C0 ~ W(g0, G0):  dof = 2 c0, scale = 2 C0,
    C0 | Sigma_1, ..., Sigma_t ~ W(g0 + t c0, G0 + sum_k Sigma_k^-1),

which is an inverse Wishart's draw without the inverse. C0 is drawn given the clusters that hold
points alone, and the places without points afterwards, given C0: there may be any number of them.

References
----------
Richardson and Green (1997), *Journal of the Royal Statistical Society B* 59, 731-792 (one feature).
Fruhwirth-Schnatter, Malsiner-Walli and Grun (2021), *Bayesian Analysis* 16, 1279-1307, section 4.
Bensmail, Celeux, Raftery and Robert (1997), *Statistics and Computing* 7, 1-10: the blocks.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import (
    Array,
    cholesky,
    full_scales,
    inverse_lower,
    inverse_scales,
    is_axis_aligned,
)
from bayesgmm.core.conjugate import NormalInverseWishart, Variates, from_variates, gamma_shapes
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.sweep import Moments


class IndependentPrior(NamedTuple):
    """Prior of one component whose mean is independent of its covariance.

    Attributes
    ----------
    mean : [1, D]
        b0.
    covariance : [1, D, D], or variances [1, D] of an axis-aligned family
        B0.
    dof : [1]
    scale : [1, D, D], [1, D] or [1, 1], as `NormalInverseWishart` has it
        Twice the parameters of an inverse Gamma distribution in one feature.
    """

    mean: Any
    covariance: Any
    dof: Any
    scale: Any


class HierarchicalPrior(NamedTuple):
    """The same with a random scale 2 C0, C0 ~ W(g0, G0), common to all components.

    For families whose components have a covariance each.

    Attributes
    ----------
    mean, covariance, dof
        As in `IndependentPrior`; dof is 2 c0.
    shape : [1]
        g0, over (D - 1) / 2 for full matrices. In an axis-aligned family each entry of C0 is
        Gamma(g0, rate G0).
    rate : like `IndependentPrior.scale`
        G0.
    """

    mean: Any
    covariance: Any
    dof: Any
    shape: Any
    rate: Any

    def start(self, family: Covariance) -> np.ndarray:
        """The mean of C0, like the rate: where a chain begins."""
        rate = np.asarray(self.rate)
        return self.shape / rate if family.axis_aligned else self.shape * np.linalg.inv(rate)

    def given(self, C0: Array) -> IndependentPrior:
        """The prior of the components given C0."""
        return IndependentPrior(self.mean, self.covariance, self.dof, 2 * C0)


# --- the scale of the hierarchical prior ----------------------------------------------------------


def precision_of(scales: Array, family: Covariance) -> Array:
    """Sigma_k^-1 of each component, in the form of `IndependentPrior.scale`: what C0 sees."""
    inverse = inverse_scales(scales)
    if is_axis_aligned(scales):
        return jnp.square(inverse[:, :1] if family.isotropic else inverse)
    return jnp.swapaxes(inverse, -1, -2) @ inverse


def scale_shapes(prior: HierarchicalPrior, occupied: Array, family: Covariance) -> Array:
    """Shapes of the gamma variates of a draw of C0, one row like `gamma_shapes`."""
    occupied = jnp.ones(1, bool) if family.pooled else occupied
    return gamma_shapes(_as_wishart(prior, occupied, prior.rate), family)


def draw_scale(
    prior: HierarchicalPrior,
    scales: Array,
    occupied: Array,
    log_gamma: Array,
    above: Array,
    family: Covariance,
) -> Array:
    """C0 given the scales of the components that are `occupied` [T], like the rate.

    Parameters
    ----------
    prior : HierarchicalPrior
    scales : [T, D, D] or [T, D]
    occupied : [T] of bool
    log_gamma : like `scale_shapes`
    above : like the rate
        Standard normal, read above the diagonals.
    family : Covariance
    """
    seen = precision_of(scales, family)
    if family.pooled:  # they have one covariance
        seen, occupied = seen[:1], jnp.ones(1, bool)
    member = occupied.reshape(-1, *(1,) * (seen.ndim - 1))
    rate = prior.rate + jnp.where(member, seen, 0).sum(0, keepdims=True)
    if family.axis_aligned:
        return jnp.exp(log_gamma) / rate
    variates = Variates(log_gamma, above, jnp.zeros_like(prior.mean))
    inverse = from_variates(_as_wishart(prior, occupied, 2 * rate), variates, family)[1]
    upper = inverse_lower(inverse)  # of C0^-1 = L L' with C0 ~ W(nu / 2, R / 2), C0 = L^-T L^-1
    return jnp.swapaxes(upper, -1, -2) @ upper


def _as_wishart(prior: HierarchicalPrior, occupied: Array, scale: Array) -> NormalInverseWishart:
    """C0^-1 as an inverse Wishart: of 2 (g0 + t c0) degrees of freedom."""
    dof = 2 * prior.shape + occupied.sum() * prior.dof
    return NormalInverseWishart(prior.mean, jnp.ones_like(dof), dof, scale)


# --- the blocks -----------------------------------------------------------------------------------


def given_means(
    prior: IndependentPrior, found: Moments, about: Array, means: Array, family: Covariance
) -> NormalInverseWishart:
    """The covariances' posterior given the means [T, D]; its own means are these.

    Parameters
    ----------
    prior : IndependentPrior
    found : Moments
        About `about` [T, D].
    about, means : [T, D]
    family : Covariance
    """
    T, D = means.shape
    gap, counts = means - about, found.counts
    if family.axis_aligned:
        scatter = found.second - gap * (2 * found.first - counts[:, None] * gap)
    else:
        cross = gap[:, :, None] * found.first[:, None, :]
        outer = counts[:, None, None] * gap[:, :, None] * gap[:, None, :]
        scatter = found.second - cross - jnp.swapaxes(cross, 1, 2) + outer
    columns = family.n_shared(T, D)[1]
    points = counts.sum(keepdims=True) if family.pooled else counts
    return NormalInverseWishart(
        means,
        jnp.ones_like(counts),
        prior.dof + columns * points,
        prior.scale + family.reduce(scatter),
    )


def means_given(
    prior: IndependentPrior, found: Moments, about: Array, scales: Array, noise: Array
) -> Array:
    """A draw of the means [T, D] given the scales; `noise` [T, D] is standard normal."""
    total = found.first + found.counts[:, None] * about  # sums of the points
    if is_axis_aligned(scales):
        own, prior_own = jnp.square(1 / scales), 1 / prior.covariance
        precision = prior_own + found.counts[:, None] * own
        mean = (prior_own * prior.mean + own * total) / precision
        return mean + noise / jnp.sqrt(precision)
    inverse = inverse_lower(full_scales(scales))
    own = jnp.swapaxes(inverse, -1, -2) @ inverse
    root = inverse_lower(cholesky(prior.covariance))
    prior_own = jnp.swapaxes(root, -1, -2) @ root
    precision = prior_own + found.counts[:, None, None] * own
    pull = (prior_own @ prior.mean[..., None])[..., 0]
    every = jnp.broadcast_to(own, (len(total), *own.shape[1:]))
    pull = pull + jnp.einsum("kij,kj->ki", every, total)
    back = inverse_lower(cholesky(precision))  # P = G G', V = G^-T G^-1
    return jnp.einsum("kji,kj->ki", back, jnp.einsum("kij,kj->ki", back, pull) + noise)
