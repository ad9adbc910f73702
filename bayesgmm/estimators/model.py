"""The model that a fit is of: its prior in the user's units, and draws of everything from it."""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from bayesgmm.core.arrays import Standardizer
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.independent import HierarchicalPrior
from bayesgmm.core.mixture import LOG_2PI, Mixture
from bayesgmm.estimators.chains import Sample, in_order
from bayesgmm.estimators.priors import area_of
from bayesgmm.estimators.sampling import WeightOptions
from bayesgmm.inference import given
from bayesgmm.inference.chains import Draws
from bayesgmm.inference.gibbs import GibbsConfig, GibbsPrior
from bayesgmm.inference.simulate import Simulated, simulate
from bayesgmm.posterior import prior as densities

MIDDLE = 1001
"""Draws of means whose median stands for where they are."""


class Specification(NamedTuple):
    """The prior of a fit, with every default settled, and how the sampler goes on after warm-up.

    Attributes
    ----------
    prior : GibbsPrior
        Of one component, in the user's units; without its moves, which depend on the points.
    config : GibbsConfig
    options : WeightOptions
    units : Standardizer
        Those that the sampler computes in.
    components : NormalInverseWishart, IndependentPrior, HierarchicalPrior, or dict
        Of one component, in those units; NumPyro distributions if a dict.
    """

    prior: GibbsPrior
    config: GibbsConfig
    options: WeightOptions
    units: Standardizer
    components: Any

    @property
    def family(self) -> Covariance:
        """Of the covariances."""
        return self.config.family

    @property
    def hierarchical(self) -> bool:
        """Whether the covariances have a random scale C0."""
        return isinstance(self.components, HierarchicalPrior)

    @property
    def n_features(self) -> int:
        """D."""
        return len(self.units.scale)

    @property
    def centre(self) -> np.ndarray:
        """Where the means of the components are in the prior, [D]: of draws, if it is a dict."""
        own = self.prior.components
        if isinstance(own, dict):
            draws = given.drawn(np.random.default_rng(0), own, self.family, (MIDDLE, 1))
            return np.median(draws[0][:, 0], axis=0)
        return np.asarray(own.mean, float)[0]

    def simulate(self, rng: np.random.Generator, n_points: int, n_draws: int) -> Simulated:
        """Draws of the whole model from the prior, in the user's units."""
        return simulate(rng, self.prior, self.config, self.options.alpha, n_points, n_draws)


def label_free(sample: Sample, options: WeightOptions) -> dict[str, np.ndarray]:
    """Quantities [C, S] that do not depend on labels, those of them that are drawn."""
    found = sample.label_free()
    if options.kind.weights in ("static", "dynamic"):
        found["n_components"] = sample.n_components
    if options.learned is not None:
        found["concentration"] = sample.alpha
    if sample.hierarchical:
        found["log_det_scale"] = _log_determinant(sample.scale)
    return found


def _log_determinant(scale: np.ndarray) -> np.ndarray:
    """Of scales [C, S, D, D], [C, S, D] or [C, S]."""
    if scale.ndim == 4:
        return np.linalg.slogdet(scale)[1]
    return np.log(scale).sum(-1) if scale.ndim == 3 else np.log(scale)


def sample_of(draws: Simulated, family: Covariance) -> Sample:
    """Draws from the prior as a `Sample` [S, 1, ...], with the log likelihood of their points."""
    N, D = draws.points.shape[1:]
    identity = Standardizer.identity(D)
    one = lambda leaf: np.asarray(leaf)[:, None]  # noqa: E731
    return in_order(
        Draws(
            labels=one(draws.labels),
            log_weights=one(draws.mixtures.log_weights),
            means=one(draws.mixtures.means),
            scales=one(draws.mixtures.scales),
            counts=one(draws.counts),
            n_components=one(draws.n_components),
            alpha=one(draws.alpha),
            log_likelihood=one(log_density(draws.mixtures, draws.points).sum(1)),
            scale=one(draws.scale),
            accepted=np.zeros(0),
            crowded=np.zeros(0),
            state=None,
            interrupted=False,
        ),
        identity,
        N,
        area_of(identity, family),
    )


def log_density(mixtures: Mixture, points: np.ndarray) -> np.ndarray:
    """Log densities [..., N] of stacked mixtures [..., T] at points [..., N, D] or [N, D]."""
    log_weights, means, scales = mixtures
    D = means.shape[-1]
    inverse = np.linalg.inv(scales)
    white = np.einsum(
        "...tij,...ntj->...nti", inverse, points[..., :, None, :] - means[..., None, :, :]
    )
    log_det = np.log(np.diagonal(scales, axis1=-2, axis2=-1)).sum(-1)
    height = log_weights - log_det - 0.5 * D * LOG_2PI
    return logsumexp(height[..., None, :] - 0.5 * np.square(white).sum(-1), axis=-1)


# --- groups of the DataTree -----------------------------------------------------------------------

PRIOR_DRAWS = 500
"""Draws of the groups prior and prior_predictive."""


def prior_groups(spec: Specification, n_points: int, most: int) -> dict[str, dict[str, np.ndarray]]:
    """The groups prior and prior_predictive, of one chain, in at most so many numbers."""
    rng = np.random.default_rng(0)
    size = int(np.clip(most // (n_points * spec.n_features), 1, PRIOR_DRAWS))
    drawn = spec.simulate(rng, n_points, size)
    sample = sample_of(drawn, spec.family)
    free = label_free(sample, spec.options)
    del free["log_likelihood"]  # it is of other points than those observed
    found = {**clusters(sample), "labels": sample.labels, **free}
    if spec.hierarchical:
        found["scale"] = sample.scale
    found = {name: np.swapaxes(values, 0, 1) for name, values in found.items()}
    return {"prior": found, "prior_predictive": {"x": drawn.points[None]}}


def clusters(sample: Sample) -> dict[str, np.ndarray]:
    """Weights, means and covariances [C, S, K, ...] of the clusters; 0 and NaN where none is."""
    K = int(sample.n_clusters.max())
    log_weights, means, scales = (leaf[:, :, :K] for leaf in sample.mixtures)
    held = sample.counts[:, :, :K] > 0
    covariances = scales @ np.swapaxes(scales, -1, -2)
    return {
        "weights": np.where(held, np.exp(log_weights), 0.0),
        "means": np.where(held[..., None], means, np.nan),
        "covariances": np.where(held[..., None, None], covariances, np.nan),
    }


def log_prior_group(spec: Specification, sample: Sample) -> dict[str, np.ndarray]:
    """Log prior of the draws, [C, S], in two parts: `posterior.prior` says which."""
    flat, shape = sample.flat(), sample.alpha.shape
    known = spec.options.known
    log_w, means, scales = flat.mixtures
    if known:
        log_w, means, scales = log_w[:, :known], means[:, :known], scales[:, :known]
    member = np.ones(means.shape[:2], bool) if known else flat.counts > 0
    weights = densities.log_weights(log_w, flat.counts, flat.alpha, spec.prior, spec.config)
    C0 = None
    if spec.hierarchical:
        C0 = flat.scale.reshape(-1, *np.shape(spec.components.rate))
    components = densities.log_components(
        means, scales, member, spec.prior.components, spec.family, C0, relative=not known
    )
    return {
        "lp_weights": weights.reshape(shape),
        "lp_components": components.reshape(shape),
    }
