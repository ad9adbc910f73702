r"""Laws of the parameters given labels, as natural parameters: many densities by one product.

Given the labels of the points the parameters of a mixture have a law of closed form; of S
labellings and M parameters, M x S x K x K densities are wanted, of component k of the one under
cluster j of the other. Each is an inner product of features of (w_k, mu_k, Sigma_k) and natural
parameters of the cluster:

    [1, log w, log|Lambda|, Lambda, Lambda mu, mu' Lambda mu, mu, mu mu'],  Lambda = Sigma^-1,

along the axes with an entry of the middle three for each of them. Densities are with respect to
the means, the entries of the covariances on and below the diagonal (the variances) and all weights
but one; that of a covariance that all components share counts once.

Under the conjugate prior the law is the posterior given the labels. Where mean and covariance are
independent it is that of each given the labels and the other as it was drawn with them (and given
the scale C0, if that is random): a product, which is not the law of both, but covers it. C0 itself
is integrated out of the prior.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from bayesgmm.core.arrays import Array, Data, full_scales, inverse_lower, safe_divide
from bayesgmm.core.conjugate import (
    NormalInverseWishart,
    Variates,
    from_variates,
    gamma_shapes,
    log_normalizer,
)
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.independent import (
    HierarchicalPrior,
    IndependentPrior,
    given_means,
    means_given,
)
from bayesgmm.core.mixture import LOG_2PI, Mixture
from bayesgmm.core.sweep import gathered, located
from bayesgmm.inference.gibbs import posterior_of


class Law(NamedTuple):
    """Laws of K components, leaves [S, K, ...] (of a shared covariance [S, 1, ...]).

    Attributes
    ----------
    components : NormalInverseWishart
        Of the covariances; and of the means given these, if the prior is conjugate.
    precision : [S, K, D, D], [S, K, D], or None
        Of the means, where they are independent of the covariances.
    shapes : as `gamma_shapes`
    log_normalizer : [S, K]
    counts : [S, K]
    """

    components: NormalInverseWishart
    precision: Any
    shapes: Any
    log_normalizer: Any
    counts: Any


class Given(NamedTuple):
    """Labels [S, N] (N with padding), and what was drawn with them; all in the core's units.

    Attributes
    ----------
    labels : [S, N]
    mixtures : Mixture
        [S, K, ...], scales in the rank of the family.
    scale : [S, ...]
        C0 of a hierarchical prior.
    """

    labels: Any
    mixtures: Mixture
    scale: Any


# --- the laws -------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("family",))
def laws(given: Given, data: Data, prior: Any, family: Covariance) -> Law:
    """The law of the parameters given each of the labellings."""
    return jax.lax.map(lambda one: _law(one, data, prior, family), given)  # N x K for one of them


def _law(given: Given, data: Data, prior: Any, family: Covariance) -> Law:
    K = len(given.mixtures.means)
    counts, first = located(data, given.labels, K)
    about = safe_divide(first, counts[:, None])
    found = gathered(data, given.labels, about, family.axis_aligned)
    components, precision = BLOCKS[type(prior)](prior, found, about, given, family)
    shapes = gamma_shapes(components, family)
    return Law(components, precision, shapes, log_normalizer(components, family), counts)


def _conjugate(prior: Any, found: Any, about: Array, given: Given, family: Covariance) -> tuple:
    return posterior_of(prior, found, about, family), None


def _independent(prior: Any, found: Any, about: Array, given: Given, family: Covariance) -> tuple:
    _, means, scales = given.mixtures
    components = given_means(prior, found, about, means, family)
    centre = means_given(prior, found, about, scales, jnp.zeros_like(means))
    if family.axis_aligned:
        precision = 1 / prior.covariance + found.counts[:, None] / jnp.square(scales)
    else:
        inverse = inverse_lower(full_scales(scales))
        own = found.counts[:, None, None] * (jnp.swapaxes(inverse, -1, -2) @ inverse)
        precision = jnp.linalg.inv(prior.covariance) + own
    return components._replace(mean=centre), precision


BLOCKS: dict[type, Callable] = {
    NormalInverseWishart: _conjugate,
    IndependentPrior: _independent,
    HierarchicalPrior: lambda prior, found, about, given, family: _independent(
        prior.given(given.scale), found, about, given, family
    ),
}
"""Laws of the components under each kind of prior."""


def draws(law: Law, alpha: float, family: Covariance, rng: np.random.Generator) -> Mixture:
    """One mixture of each of the laws, [S, K, ...]."""
    mean, *_ = law.components
    shapes, noise = law.shapes, rng.standard_normal(mean.shape)
    above = rng.standard_normal(law.components.scale.shape)
    means, scales = _from_variates(
        law.components, Variates(_log_gamma(rng, shapes), above, noise), family
    )
    means, scales = np.asarray(means), np.asarray(scales)
    if law.precision is not None:
        means = mean + _spread(law.precision, noise)
    weights = _log_gamma(rng, law.counts + alpha)
    return Mixture(weights - special.logsumexp(weights, axis=-1, keepdims=True), means, scales)


@partial(jax.jit, static_argnames=("family",))
def _from_variates(
    components: NormalInverseWishart, variates: Variates, family: Covariance
) -> tuple[Array, Array]:
    return jax.vmap(lambda *one: from_variates(*one, family))(components, variates)


def _log_gamma(rng: np.random.Generator, shape: np.ndarray) -> np.ndarray:
    """Logs of gamma variates, however small their shapes."""
    return np.log(rng.standard_gamma(shape + 1.0)) + np.log1p(-rng.random(shape.shape)) / shape


def _spread(precision: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Normal noise of these precisions."""
    if precision.ndim == noise.ndim:
        return noise / np.sqrt(precision)
    root = np.swapaxes(np.linalg.cholesky(precision), -1, -2)
    return np.linalg.solve(root, noise[..., None])[..., 0]


# --- as natural parameters ------------------------------------------------------------------------


def features(mixtures: Mixture, family: Covariance) -> np.ndarray:
    """Of each component, [M, K, F]."""
    log_weights, means, scales = (np.asarray(leaf) for leaf in mixtures)
    if family.axis_aligned:
        precision = 1 / np.square(scales)
        log_det, cross, outer = np.log(precision), precision * means, np.square(means)
        form = cross * means
    else:
        inverse = np.linalg.inv(np.broadcast_to(scales, (*means.shape, means.shape[-1])))
        square = np.swapaxes(inverse, -1, -2) @ inverse
        log_det = 2 * np.log(np.diagonal(inverse, axis1=-2, axis2=-1)).sum(-1, keepdims=True)
        cross = (square @ means[..., None])[..., 0]
        form = (cross * means).sum(-1, keepdims=True)
        precision, outer = _flat(square), _flat(means[..., :, None] * means[..., None, :])
    ones = np.ones_like(log_weights)[..., None]
    parts = ones, log_weights[..., None], log_det, precision, cross, form, means, outer
    return np.concatenate(parts, -1)


def _flat(matrices: np.ndarray) -> np.ndarray:
    return matrices.reshape(*matrices.shape[:-2], -1)


class Natural(NamedTuple):
    """Natural parameters of S laws.

    Attributes
    ----------
    pairs : [S, K, F]
        Of a component under a cluster.
    shared : [S, F]
        Of a covariance that all share, else 0; and what the weights add.
    """

    pairs: np.ndarray
    shared: np.ndarray


def natural(law: Law, alpha: float, family: Covariance) -> Natural:
    """The laws as natural parameters, their constants and those of the weights included."""
    mean, precision, dof, scale = (np.asarray(leaf) for leaf in law.components)
    spread = _of_covariance(dof, scale, law.log_normalizer, family, mean.shape[-1])
    if law.precision is None:
        place = _of_mean_given(mean, precision, family)
    else:
        place = _of_mean(mean, law.precision, family)
    shared = spread[:, 0] if family.pooled else np.zeros_like(spread[:, 0])
    pairs = place if family.pooled else place + spread
    concentration = law.counts + alpha
    pairs[..., 1] += concentration - 1
    constant = special.gammaln(concentration.sum(-1)) - special.gammaln(concentration).sum(-1)
    shared[:, 0] += constant
    return Natural(pairs, shared)


def _places(D: int, family: Covariance) -> list[slice]:
    """Where the features stand, but for the first two."""
    sizes = (D, D, D, D, D, D) if family.axis_aligned else (1, D * D, D, 1, D, D * D)
    ends = 2 + np.cumsum((0, *sizes))
    return [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]


def _nothing(shape: tuple, D: int, family: Covariance) -> tuple[np.ndarray, list[slice]]:
    places = _places(D, family)
    return np.zeros((*shape, places[-1].stop)), places


def _of_covariance(
    dof: np.ndarray, scale: np.ndarray, log_norm: np.ndarray, family: Covariance, D: int
) -> np.ndarray:
    found, (log_det, precision, *_) = _nothing(dof.shape, D, family)
    found[..., 0] = -log_norm
    if family.axis_aligned:
        own = scale.shape[-1]  # of an isotropic family the first entry stands for all
        found[..., log_det][..., :own] = 0.5 * dof[..., None] + 1
        found[..., precision][..., :own] = -0.5 * scale
        return found
    found[..., log_det] = 0.5 * (dof[..., None] + D + 1)
    found[..., precision] = -0.5 * _flat(scale)
    return found


def _of_mean_given(mean: np.ndarray, kappa: np.ndarray, family: Covariance) -> np.ndarray:
    """N(mean, Sigma / kappa)."""
    D = mean.shape[-1]
    found, (log_det, precision, cross, form, *_) = _nothing(kappa.shape, D, family)
    own = np.square(mean) if family.axis_aligned else _flat(mean[..., :, None] * mean[..., None, :])
    found[..., 0] = 0.5 * D * (np.log(kappa) - LOG_2PI)
    found[..., log_det] = 0.5
    found[..., precision] = -0.5 * kappa[..., None] * own
    found[..., cross] = kappa[..., None] * mean
    found[..., form] = -0.5 * kappa[..., None]
    return found


def _of_mean(mean: np.ndarray, precision: np.ndarray, family: Covariance) -> np.ndarray:
    """N(mean, precision^-1)."""
    D = mean.shape[-1]
    precision = np.asarray(precision)
    found, (*_, linear, outer) = _nothing(mean.shape[:-1], D, family)
    if family.axis_aligned:
        pull, log_det, flat = precision * mean, np.log(precision).sum(-1), precision
    else:
        pull = (precision @ mean[..., None])[..., 0]
        log_det, flat = np.linalg.slogdet(precision)[1], _flat(precision)
    found[..., 0] = 0.5 * (log_det - D * LOG_2PI - (pull * mean).sum(-1))
    found[..., linear] = pull
    found[..., outer] = -0.5 * flat
    return found


# --- the prior ------------------------------------------------------------------------------------


def log_prior(found: np.ndarray, prior: Any, alpha: float, family: Covariance) -> np.ndarray:
    """Log prior density [M] of mixtures with these features [M, K, F], C0 integrated out."""
    K = found.shape[1]
    D = np.asarray(prior.mean).shape[-1]
    given = prior
    if isinstance(prior, HierarchicalPrior):  # what depends on the scale is put right below
        given = prior.given(np.zeros_like(prior.rate))
    one = jax.tree.map(lambda leaf: np.asarray(leaf, float)[None], given)
    unit = NormalInverseWishart(one.mean, np.ones_like(one.dof), one.dof, one.scale)
    random_scale = isinstance(prior, HierarchicalPrior)
    log_norm = np.zeros_like(one.dof) if random_scale else np.asarray(_log_normalizer(unit, family))
    if isinstance(prior, NormalInverseWishart):
        place = _of_mean_given(one.mean, one.mean_precision, family)
    else:
        held = one.covariance
        place = _of_mean(one.mean, 1 / held if family.axis_aligned else np.linalg.inv(held), family)
    spread = _of_covariance(one.dof, one.scale, log_norm, family, D)
    place[..., 1] += alpha - 1
    constant = special.gammaln(K * alpha) - K * special.gammaln(alpha)
    total = (found @ place[0, 0]).sum(1) + constant
    covariances = found[:, :1] if family.pooled else found
    total = total + (covariances @ spread[0, 0]).sum(1)
    if random_scale:
        precision = covariances[..., _places(D, family)[1]].sum(1)
        total = total + _log_scale_integral(precision, covariances.shape[1], prior, family, D)
    return total


@partial(jax.jit, static_argnames=("family",))
def _log_normalizer(components: NormalInverseWishart, family: Covariance) -> Array:
    return jax.vmap(lambda one: log_normalizer(one, family))(components)


def _log_scale_integral(
    precision: np.ndarray, n: int, prior: HierarchicalPrior, family: Covariance, D: int
) -> np.ndarray:
    """What C0 ~ W(g0, G0) leaves of n inverse Wishart densities with precisions of this sum [M, .].

    The integral of prod_k |C0|^c0 exp(-tr(C0 Lambda_k)) / Gamma_D(c0) over the prior of C0.
    """
    c0, g0 = 0.5 * float(np.asarray(prior.dof)[0]), float(np.asarray(prior.shape)[0])
    rate = np.asarray(prior.rate, float)[0]
    after = g0 + n * c0
    if family.axis_aligned:
        own = precision[..., : len(rate)]
        each = special.gammaln(after) - special.gammaln(g0) - n * special.gammaln(c0)
        return (each + g0 * np.log(rate) - after * np.log(rate + own)).sum(-1)
    each = special.multigammaln(after, D) - special.multigammaln(g0, D)
    each = each - n * special.multigammaln(c0, D)
    total = rate + precision.reshape(-1, D, D)
    return each + g0 * np.linalg.slogdet(rate)[1] - after * np.linalg.slogdet(total)[1]
