r"""The Gaussian mixture as a NumPyro model, its labels summed out.

    w ~ Dirichlet(alpha, ..., alpha), or truncated sticks of a Dirichlet or Pitman-Yor process,
    (mu_k, Sigma_k) ~ one of the priors of the components, the same as Gibbs sampling has,
    x_n ~ sum_k w_k N(mu_k, Sigma_k), with the power s_n.

=================  ==================================================================
site               what
=================  ==================================================================
``concentration``  alpha, where it is learned
``sticks``         [T - 1] of a process; v_T = 1: the last component takes what is left
``weights``        [K]
``common_factor``  lower Cholesky factor of C0 of a hierarchical prior (``common_scale``: C0 itself
                   where features are independent)
``inverse_scales`` W, lower triangular with W Sigma W' = I, [K, D, D] ([1, D, D] if tied)
``variances``      where features are independent: [K, D], [K, 1] if all have one
``means``          [K, D], centred
``covariances``    in the shapes of scikit-learn
``x``              the points [N, D], as one event
=================  ==================================================================

Under a prior that is a dict of distributions its keys are sites in the place of ``inverse_scales``
and ``variances`` (`given.GIVEN`). ``weights`` of a process, ``common_scale`` of full matrices and
``covariances`` are deterministic.

References
----------
Ishwaran and James (2001), *Journal of the American Statistical Association* 96, 161-173: the
truncation, and the mass that it leaves. Lewandowski, Kurowicka and Joe (2009), *Journal of
Multivariate Analysis* 100, 1989-2001: LKJ correlations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from bayesgmm.core.arrays import Array, cholesky, diagonal, inverse_lower
from bayesgmm.core.arrays import covariances as covariances_of
from bayesgmm.core.concentration import ConcentrationPrior
from bayesgmm.core.conjugate import NormalInverseWishart
from bayesgmm.core.covariance import FAMILIES, Covariance, pack
from bayesgmm.core.forms import Form, exact_form
from bayesgmm.core.independent import HierarchicalPrior, IndependentPrior
from bayesgmm.core.mixture import Mixture
from bayesgmm.inference import given
from bayesgmm.inference.distribution import MixtureSample, MultivariateNormalMixture
from bayesgmm.inference.factors import (
    Concentration,
    InverseWishartFactor,
    NormalOfFactor,
    WishartFactor,
)


@dataclass(frozen=True)
class ModelConfig:
    """What is fixed of a model (static under `jit`).

    Attributes
    ----------
    covariance_type : str
        A name of a family with a conjugate prior.
    n_components : int
        K, or the truncation T of a process.
    weights : {"finite", "process"}
    learned : bool
        Whether the concentration is a site.
    """

    covariance_type: str
    n_components: int
    weights: str = "finite"
    learned: bool = False

    @property
    def family(self) -> Covariance:
        """That of the name."""
        return FAMILIES[self.covariance_type]

    @property
    def form(self) -> Form:
        """That of the sweep."""
        return exact_form(self.family.axis_aligned)

    @property
    def n_covariances(self) -> int:
        """One a component, or one for all."""
        return 1 if self.family.pooled else self.n_components


class ModelPrior(NamedTuple):
    """The prior; every number in it is traced.

    Attributes
    ----------
    components : NormalInverseWishart, IndependentPrior, HierarchicalPrior, or dict
        Of one component: leaves [1, ...]; or NumPyro distributions of one component, by the names
        of `given.GIVEN`.
    alpha : []
        The concentration, or where it begins if it is learned.
    concentration : ConcentrationPrior
        Read where it is learned.
    discount : []
        Of a Pitman-Yor process.
    """

    components: Any
    alpha: Any = 1.0
    concentration: ConcentrationPrior = ConcentrationPrior(0.0, 0.0, 0.0, 1.0)
    discount: Any = 0.0


def mixture_model(
    X: Any, prior: ModelPrior, config: ModelConfig, sample_weight: Any = None, n_points: int = 0
) -> MultivariateNormalMixture:
    """The NumPyro model of points: what `bayesgmm.numpyro_model` calls, in any units.

    Parameters
    ----------
    X : array [N, D] or None
        Points; None draws them.
    prior : ModelPrior
        In their units.
    config : ModelConfig
    sample_weight : array [N], optional
        Powers of the points' likelihoods, 1 when not given.
    n_points : int
        How many, where they are drawn.

    Returns
    -------
    MultivariateNormalMixture
        What the points are from.
    """
    mixture = latent(prior, config)
    known = MultivariateNormalMixture(log_weights=mixture.log_weights, **_spread_of(mixture))
    N = n_points if X is None else X.shape[0]
    numpyro.sample("x", MixtureSample(known, N, sample_weight, config.form), obs=X)
    return known


def _spread_of(mixture: Mixture) -> dict[str, Array]:
    if mixture.scales.ndim == 2:
        return {"means": mixture.means, "variances": jnp.square(mixture.scales)}
    return {"means": mixture.means, "scale_tril": mixture.scales}


def latent(prior: ModelPrior, config: ModelConfig) -> Mixture:
    """All sites but the points; returns the mixture that they make."""
    alpha = prior.alpha
    if config.learned:
        alpha = numpyro.sample("concentration", Concentration(*prior.concentration))
    log_weights = WEIGHTS[config.weights](alpha, prior.discount, config.n_components)
    means, scales = COMPONENTS[type(prior.components)](prior.components, config)
    if "covariances" not in _keys(prior.components):
        D = means.shape[-1]
        shape = (config.n_components, D, D)
        matrices = jnp.broadcast_to(covariances_of(scales), shape)
        numpyro.deterministic("covariances", pack(config.covariance_type, matrices))
    return Mixture(log_weights, means, scales)


def _keys(components: Any) -> Any:
    return components if isinstance(components, dict) else ()


# --- weights --------------------------------------------------------------------------------------


def _dirichlet(alpha: Array, discount: Array, K: int) -> Array:
    if K == 1:
        return jnp.log(numpyro.deterministic("weights", jnp.ones(1)))
    return jnp.log(numpyro.sample("weights", dist.Dirichlet(jnp.full(K, alpha))))


def _sticks(alpha: Array, discount: Array, T: int) -> Array:
    """v_k ~ Beta(1 - discount, alpha + k discount), w_k = v_k prod_{j<k} (1 - v_j), v_T = 1."""
    if T == 1:
        return _dirichlet(alpha, discount, 1)
    rank = jnp.arange(1, T)
    each = dist.Beta(jnp.full(T - 1, 1.0 - discount), alpha + rank * discount)
    sticks = numpyro.sample("sticks", each.to_event(1))
    kept = jnp.append(jnp.log(sticks), 0.0)
    left = jnp.concatenate([jnp.zeros(1), jnp.cumsum(jnp.log1p(-sticks))])
    numpyro.deterministic("weights", jnp.exp(kept + left))
    return kept + left


WEIGHTS: dict[str, Callable] = {"finite": _dirichlet, "process": _sticks}
"""Log weights [K] from alpha, discount and K."""


def leftover(alpha: float, discount: float, T: int) -> float:
    """Prior mean of the weight of component T of a process: what T - 1 sticks leave.

    The product of (alpha + k d) / (alpha + 1 + (k - 1) d); under a learned alpha, at its value.

    Examples
    --------
    >>> round(leftover(1.0, 0.0, 11), 6)  # 2^-10
    0.000977
    """
    rank = np.arange(1, T)
    return float(np.prod((alpha + rank * discount) / (alpha + 1 + (rank - 1) * discount)))


# --- components -----------------------------------------------------------------------------------


def _covariances(dof: Array, scale: Array, config: ModelConfig) -> tuple[Array, Array]:
    """Scales of a mixture, and their inverses, of inverse Wishart (inverse Gamma) covariances.

    `scale` is [p] or, of full matrices, the Cholesky factor [D, D] of the scale.
    """
    G = config.n_covariances
    if config.family.axis_aligned:
        one = dist.InverseGamma(0.5 * dof, 0.5 * scale)
        variances = numpyro.sample("variances", one.expand([G, len(scale)]).to_event(2))
        deviations = jnp.sqrt(variances)
        return deviations, 1 / deviations
    each = InverseWishartFactor(dof, scale).expand([G]).to_event(1)
    inverse = numpyro.sample("inverse_scales", each)
    return inverse_lower(inverse), inverse


def _wide(deviations: Array, config: ModelConfig, D: int) -> Array:
    """Scales as a `Mixture` holds them."""
    if config.family.axis_aligned:
        return jnp.broadcast_to(deviations, (config.n_components, D))
    return deviations


def _root(scale: Array, config: ModelConfig) -> Array:
    return scale if config.family.axis_aligned else cholesky(scale)


def _conjugate(prior: NormalInverseWishart, config: ModelConfig) -> tuple[Array, Array]:
    K, D = config.n_components, prior.mean.shape[-1]
    mean, precision, dof, scale = (jnp.asarray(leaf)[0] for leaf in prior)
    scales, inverse = _covariances(dof, _root(scale, config), config)
    if config.family.axis_aligned:
        spread = jnp.broadcast_to(scales / jnp.sqrt(precision), (K, D))
        of_means = dist.Normal(mean, spread).to_event(2)
    else:
        of_means = NormalOfFactor(mean, jnp.broadcast_to(inverse, (K, D, D)), precision).to_event(1)
    return numpyro.sample("means", of_means), _wide(scales, config, D)


def _independent(prior: IndependentPrior, config: ModelConfig) -> tuple[Array, Array]:
    scale = jnp.asarray(prior.scale)[0]
    scales, _ = _covariances(jnp.asarray(prior.dof)[0], _root(scale, config), config)
    return _free_means(prior, config), _wide(scales, config, prior.mean.shape[-1])


def _free_means(prior: Any, config: ModelConfig) -> Array:
    """Means that are independent of the covariances."""
    K, D = config.n_components, prior.mean.shape[-1]
    mean, covariance = jnp.asarray(prior.mean)[0], jnp.asarray(prior.covariance)[0]
    if config.family.axis_aligned:
        each = dist.Normal(mean, jnp.sqrt(covariance)).expand([K, D]).to_event(2)
    else:
        each = NormalOfFactor(mean, inverse_lower(cholesky(covariance))).expand([K]).to_event(1)
    return numpyro.sample("means", each)


def _hierarchical(prior: HierarchicalPrior, config: ModelConfig) -> tuple[Array, Array]:
    """The scale is 2 C0, C0 ~ W(g0, G0)."""
    shape, rate, dof = (jnp.asarray(leaf)[0] for leaf in (prior.shape, prior.rate, prior.dof))
    if config.family.axis_aligned:
        each = dist.Gamma(shape, rate).to_event(1)
        scale = 2 * numpyro.sample("common_scale", each)
    else:
        factor = numpyro.sample("common_factor", WishartFactor(shape, cholesky(rate)))
        numpyro.deterministic("common_scale", factor @ factor.T)
        scale = jnp.sqrt(2.0) * factor
    scales, _ = _covariances(dof, scale, config)
    return _free_means(prior, config), _wide(scales, config, prior.mean.shape[-1])


# --- components whose distributions are given -----------------------------------------------------


def _given(distributions: dict[str, Any], config: ModelConfig) -> tuple[Array, Array]:
    way = given.check_given(distributions, config.covariance_type)
    means = numpyro.sample("means", _repeated(distributions["means"], config.n_components))
    D = means.shape[-1]
    if config.family.pooled:  # one event, so that "covariances" has the shape of scikit-learn
        sites = [numpyro.sample(name, given.one(distributions[name]))[None] for name in way]
    else:
        each = {name: _repeated(distributions[name], config.n_components) for name in way}
        sites = [numpyro.sample(name, each[name]) for name in way]
    scales = given.READ[way](*sites)
    if not config.family.axis_aligned:
        return means, scales.reshape(-1, D, D)
    return means, _wide(scales.reshape(len(scales), -1), config, D)


def _repeated(distribution: Any, times: int) -> Any:
    return given.one(distribution).expand([times]).to_event(1)


LKJ = 1.0
"""Concentration of LKJ correlations when not given: uniform over correlation matrices."""

HALF_NORMAL, LOG_NORMAL = "half-normal", "log-normal"


def lkj_prior(
    mean: Any,
    spread: Any,
    family: Covariance,
    concentration: float = LKJ,
    scales: str = LOG_NORMAL,
) -> dict[str, Any]:
    """LKJ correlations, log-normal or half-normal standard deviations, normal means.

    Parameters
    ----------
    mean, spread : array [D]
        Location and spread of the points, feature by feature: mu_k ~ N(mean, diag(spread^2)), and
        standard deviations are log-normal about half of `spread` with standard deviation 1 of
        their logarithm, or half-normal of scale `spread`.
    family : Covariance
    concentration : float, default 1
        Of the LKJ distribution; there are no correlations where features are independent, or only
        one.
    scales : {"log-normal", "half-normal"}
        The half-normal density is not 0 at 0, where a component sits on one point: chains stay
        there.

    Returns
    -------
    dict
        Distributions of one component, as `given.GIVEN` names them.
    """
    mean, spread = np.asarray(mean), np.asarray(spread)
    size = np.sqrt(np.mean(np.square(spread))) if family.isotropic else spread
    found = {"means": dist.Normal(mean, spread), "scales": DEVIATIONS[scales](size)}
    if not family.axis_aligned and len(mean) > 1:
        found["correlations"] = dist.LKJCholesky(len(mean), concentration)
    return found


DEVIATIONS: dict[str, Callable] = {
    HALF_NORMAL: dist.HalfNormal,
    LOG_NORMAL: lambda size: dist.LogNormal(np.log(0.5 * size), 1.0),
}

COMPONENTS: dict[type, Callable] = {
    NormalInverseWishart: _conjugate,
    IndependentPrior: _independent,
    HierarchicalPrior: _hierarchical,
    dict: _given,
}
"""Means [K, D] and scales from each kind of prior."""


# --- where a sampler begins -----------------------------------------------------------------------


class Start(NamedTuple):
    """A mixture to begin at, before it is read as values of sites.

    Attributes
    ----------
    weights : [K]
    means : [K, D]
    covariances : [G, D, D]
    alpha : []
    common : C0 of a hierarchical prior, else None
    config : ModelConfig
    """

    weights: Array
    means: Array
    covariances: Array
    alpha: Array
    common: Any
    config: ModelConfig

    @property
    def variances(self) -> Array:
        """[G, D], or [G, 1] if all features have one."""
        found = diagonal(self.covariances)
        return found.mean(-1, keepdims=True) if self.config.family.isotropic else found


def _start_of_sticks(start: Start) -> Array:
    before = jnp.cumsum(start.weights) - start.weights
    return jnp.clip(start.weights / (1 - before), 1e-3, 1 - 1e-3)[:-1]


STARTS: dict[str, Callable[[Start], Array]] = {
    "concentration": lambda start: start.alpha,
    "weights": lambda start: start.weights,
    "sticks": _start_of_sticks,
    "means": lambda start: start.means,
    "inverse_scales": lambda start: inverse_lower(cholesky(start.covariances)),
    "variances": lambda start: start.variances,
    "common_factor": lambda start: cholesky(start.common),
    "common_scale": lambda start: start.common,
    "scales": lambda start: jnp.sqrt(start.variances),
    "correlations": lambda start: given.SITES["correlations"](cholesky(start.covariances)),
    "scale_tril": lambda start: cholesky(start.covariances),
    "covariances": lambda start: start.covariances,
}
"""Values of sites from a mixture, but for their shapes."""
