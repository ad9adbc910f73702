"""The no-U-turn sampler behind MCMCGaussianMixture, and its NumPyro model in the user's units.

Imported when it is used: NumPyro takes a second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.utils import check_random_state

from bayesgmm.core.arrays import Data, Standardizer, float_scope
from bayesgmm.core.covariance import Covariance
from bayesgmm.estimators import component_priors, priors
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.chains import Bar, Sampled, first_labels
from bayesgmm.estimators.checks import (
    check_finite,
    check_univariate,
    check_weight,
)
from bayesgmm.estimators.model import Specification
from bayesgmm.estimators.points import standard_data
from bayesgmm.estimators.replicates import dispersed, keys_of, stacked
from bayesgmm.estimators.sampling import (
    WeightOptions,
    check_most,
    sampler_of,
    values_of_concentration,
    weight_options,
)
from bayesgmm.inference import nuts
from bayesgmm.inference.calls import Asked, Lane
from bayesgmm.inference.chains import Draws
from bayesgmm.inference.distribution import MultivariateNormalMixture
from bayesgmm.inference.given import check_draws, check_given
from bayesgmm.inference.model import (
    ModelConfig,
    ModelPrior,
    leftover,
    lkj_prior,
    mixture_model,
)
from bayesgmm.messages import lookup

LEFT = 1e-3
"""Prior mean of the last stick of a process, where `max_components` is not given."""

MOST = 64
"""Components to which a process is cut then, at most."""


# --- the model ------------------------------------------------------------------------------------


def truncation(options: WeightOptions, max_components: int | None) -> int:
    """Components of the model: those known, or as many of a process as leave next to nothing."""
    if options.known is not None:
        return options.known
    if max_components is not None:
        return max_components
    return next((T for T in range(2, MOST) if left_by(options, T) < LEFT), MOST)


def left_by(options: WeightOptions, T: int) -> float:
    """Prior mean of the weight of the last of T components of a process."""
    discount = float(options.prior.discount)
    return float(np.mean([leftover(a, discount, T) for a in values_of_concentration(options)]))


def model_config(options: WeightOptions, kind: str, max_components: int | None) -> ModelConfig:
    """What is fixed of the model."""
    weights = "finite" if options.known else "process"
    learned = options.learned is not None
    return ModelConfig(kind, truncation(options, max_components), weights, learned)


def model_prior(
    component_prior: Any, options: WeightOptions, units: Standardizer, config: ModelConfig
) -> ModelPrior:
    """The prior in the units of the sampler.

    Parameters
    ----------
    component_prior : "lkj", dict, or a prior with all of its numbers
    options : WeightOptions
    units : Standardizer
    config : ModelConfig
    """
    core = given_in_core if component_priors.is_numpyros(component_prior) else _in_core
    return _with_weights(core(component_prior, units, config.covariance_type), options)


def _with_weights(components: Any, options: WeightOptions) -> ModelPrior:
    """The prior, of components in the units of the sampler."""
    discount = np.float64(options.prior.discount)
    return ModelPrior(components, np.float64(options.alpha), options.concentration, discount)


def _in_core(component_prior: Any, units: Standardizer, covariance_type: str) -> Any:
    return component_priors.in_core(component_prior, units, priors.CONJUGATE[covariance_type])


def given_in_core(component_prior: Any, units: Standardizer, covariance_type: str) -> dict:
    """Distributions of a component in the units of the sampler (`settled`), a dict checked."""
    if isinstance(component_prior, dict):
        check_given(component_prior, covariance_type, len(units.scale))
        return component_prior
    zero, one = np.zeros_like(units.centre), np.ones_like(units.scale)
    return lkj_prior(zero, one, priors.CONJUGATE[covariance_type])


def as_distributions(component_prior: Any, units: Standardizer, family: Covariance) -> Any:
    """A prior in the units of the user, "lkj" as the distributions that it is."""
    if isinstance(component_prior, str):
        return lkj_prior(units.centre, units.scale, family)
    return component_prior


def settled(
    component_prior: Any, units: Standardizer, family: Covariance
) -> tuple[Any, Standardizer]:
    """A prior in the units of the user, and the units of the sampler.

    These are the user's, if distributions are given in them.

    Raises
    ------
    ValueError
        If one of the distributions cannot be drawn from.
    """
    if not isinstance(component_prior, dict):
        return as_distributions(component_prior, units, family), units
    check_draws(component_prior)
    return component_prior, Standardizer.identity(len(units.scale))


# --- chains ---------------------------------------------------------------------------------------


def sampled(
    estimator: Any,
    kept: Entered,
    units: Standardizer,
    own: Any,
    options: WeightOptions,
    last: tuple | None,
) -> Sampled | None:
    """The chains of an MCMCGaussianMixture.

    Parameters
    ----------
    estimator : MCMCGaussianMixture
        Its options are read.
    kept : Entered
    units : Standardizer
    own : "lkj", dict, or a prior with all of its numbers, in the user's units
    options : WeightOptions
    last : tuple of NutsState and NutsConfig, optional
        Chains to go on with.

    Returns
    -------
    Sampled, or None if the chains are not those of this model
    """
    model = model_config(options, estimator.covariance_type, estimator.max_components)
    full, units = settled(own, units, model.family)
    config, prior = nuts.NutsConfig(model), model_prior(own, options, units, model)
    data = standard_data(kept.X, kept.weight, units)
    asked = estimator.n_samples, estimator.thin_, _n_warmup(estimator)
    if last is None:
        rng = check_random_state(estimator.random_state)
        states = begun(data, len(kept.X), prior, config, estimator.n_chains, rng)
    else:
        states, before = last
        if before != config or len(states.position) != estimator.n_chains:
            return None
        asked = *asked[:2], 0
    with Bar(estimator.progress_bar) as bar:
        found = nuts.run(states, data, prior, config, *asked, bar)
    return Sampled(found.draws, config, units, full, said_of(found, model), found.stats._asdict())


def _n_warmup(estimator: Any) -> int:
    if estimator.n_warmup is None:
        return estimator.n_samples * estimator.thin_
    return estimator.n_warmup


def begun(
    data: Data,
    n_rows: int,
    prior: ModelPrior,
    config: nuts.NutsConfig,
    n_chains: int,
    rng: np.random.RandomState,
) -> nuts.NutsState:
    """Chains at dispersed starts."""
    K = config.model.n_components
    known = K if config.model.weights == "finite" else None
    labels = first_labels(data, n_rows, known, K, n_chains, rng)
    keys = rng.randint(2**32, size=(n_chains, 2), dtype=np.uint32)
    return nuts.start_all(keys, data, labels, prior, config)


OCCUPIED = 0.01
"""Share of draws whose last stick may hold points."""


def said_of(found: nuts.NutsDraws, model: ModelConfig) -> list[str]:
    """What is wrong with a run, in sentences, with what to do about it."""
    said = []
    diverged, size = int(found.stats.diverging.sum()), max(1, found.stats.diverging.size)
    if diverged:
        said.append(
            f"{diverged} of {size} draws diverged, so that a part of the posterior may be missing: "
            "raise n_warmup, give a component_prior with lighter tails, or use sampler='gibbs'"
        )
    occupied = found.draws.crowded.sum() / size
    if occupied > OCCUPIED:
        said.append(
            f"the last of {model.n_components} components, which stands for all that the process "
            f"has beyond, holds points in {occupied:.0%} of the draws: raise max_components, or "
            "use sampler='gibbs', which needs no truncation"
        )
    return said


# --- calibration ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class NutsEngine:
    """NUTS in a calibration: an `estimators.replicates.Engine`."""

    spec: Specification
    config: nuts.NutsConfig
    warmup: int = 500

    @classmethod
    def of(cls, spec: Specification, kind: str, most: int | None) -> Self:
        """That of a covariance type, a process cut to at most so many components."""
        return cls(spec, nuts.NutsConfig(model_config(spec.options, kind, most)))

    def begun(self, each: list[Data], n_points: int, rng: np.random.Generator) -> Lane:
        """Chains at the beginning."""
        prior = _with_weights(self.spec.components, self.spec.options)
        known, K = self.spec.options.known, self.config.model.n_components
        labels = dispersed(each, n_points, known, K, rng)
        keys, data = keys_of(each, rng), stacked(each)
        with float_scope("float64"):
            return Lane(nuts.start_all(keys, data, labels, prior, self.config), data, prior)

    def run(self, begin: Lane, asked: Asked, watch: Callable | None) -> Draws:
        """So many draws of each chain."""
        with float_scope("float64"):
            return nuts.run(*begin, self.config, *asked, watch).draws

    def crowded(self, draws: Draws) -> float:
        """Share of the draws whose last stick holds points."""
        return float(draws.crowded.sum() / max(draws.alpha.size, 1))


# --- the model as the user's own ------------------------------------------------------------------


def numpyro_model(
    X: Any = None,
    n_components: Any = 2,
    *,
    covariance_type: str = "full",
    component_prior: Any = "hierarchical",
    weight_concentration_prior: Any = None,
    discount_prior: float | None = None,
    max_components: int | None = None,
    sample_weight: Any = None,
    like: Any = None,
) -> MultivariateNormalMixture:
    r"""A Gaussian mixture as a NumPyro model, its labels summed out, in the units of the points.

    What ``MCMCGaussianMixture(sampler="nuts")`` samples, to be taken apart, extended, and run with
    any kernel of NumPyro, SVI or handler. Its sites are ``weights`` [K], ``means`` [K, D],
    ``covariances`` in scikit-learn's shapes, and ``x``, all points as one event; ``concentration``
    where it is learned; ``sticks`` [T - 1] of a process; and what the covariances are made of:
    ``inverse_scales``, lower triangular with W Sigma W' = I, or ``variances``, or the keys of a
    dict of distributions; ``common_factor`` and ``common_scale`` of a hierarchical prior.

    Parameters
    ----------
    X : array-like [N, D], optional
        When not given, points are drawn, as many as `like` has.
    n_components : int, "dp" or "py", default 2
        A number of components, or a process, truncated.
    covariance_type : str, default "full"
        "full", "tied", "diag", "spherical", or mclust's names of these.
    component_prior : str, object or dict, default "hierarchical"
        As in `MCMCGaussianMixture`. What is not given is scaled by the data.
    weight_concentration_prior : float or tuple, optional
        As in `MCMCGaussianMixture`.
    discount_prior : float, optional
        Of "py".
    max_components : int, optional
        T, to which a process is truncated; when not given the least T that leaves a prior mean
        weight below 0.001, at most 64. The last component takes all that is left.
    sample_weight : array-like [N], optional
        Powers of the likelihoods of the points: any numbers of at least 0.
    like : array-like, optional
        Points that the prior is scaled by; `X` when not given. Needed where `X` is not given or is
        traced by JAX, unless the prior has all of its numbers.

    Returns
    -------
    MultivariateNormalMixture
        The mixture that the points are from, for what else a model of one's own makes of it.

    Raises
    ------
    ValueError
        If an argument is not as described.

    References
    ----------
    Phan, Pradhan and Jankowiak (2019), *Composable effects for flexible and accelerated
    probabilistic programming in NumPyro*, arXiv:1912.11554.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from numpyro import handlers
    >>> from bayesgmm import numpyro_model
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> seeded = handlers.seed(numpyro_model, jax.random.key(0))
    >>> trace = handlers.trace(seeded).get_trace(X, 3)
    >>> {name: trace[name]["value"].shape for name in ("weights", "means", "covariances", "x")}
    {'weights': (3,), 'means': (3, 2), 'covariances': (3, 2, 2), 'x': (50, 2)}

    With the sampler of NumPyro:

    >>> from numpyro.infer import MCMC, NUTS
    >>> mcmc = MCMC(NUTS(numpyro_model), num_warmup=500, num_samples=500)
    >>> mcmc.run(jax.random.key(1), X, 3)  # doctest: +SKIP
    """
    options = _options(n_components, weight_concentration_prior, discount_prior, max_components)
    family = lookup(priors.CONJUGATE, covariance_type, "covariance_type")
    seen = _numbers(X if like is None else like)
    check_univariate(covariance_type, seen.shape[1])
    config = model_config(options, covariance_type, max_components)
    units = Standardizer.identity(seen.shape[1])
    own = _own(component_prior, seen, family, options)
    weight = None if sample_weight is None else check_weight(sample_weight, len(seen))
    points = X if X is None or isinstance(X, jax.Array) else jnp.asarray(_numbers(X))
    prior = model_prior(own, options, units, config)
    return mixture_model(points, prior, config, weight, len(seen))


def _options(
    n_components: Any, concentration: Any, discount: Any, max_components: Any
) -> WeightOptions:
    sampler_of("nuts", None, n_components)
    options = weight_options(n_components, None, concentration, discount, None)
    check_most(max_components, options.known, "the truncation of a process")
    return options


def _numbers(points: Any) -> np.ndarray:
    """Points that the prior is scaled by, [N, D] in float64."""
    if points is None or isinstance(points, jax.core.Tracer):
        what = "not given" if points is None else "traced by JAX"
        raise ValueError(
            f"like must be given, points [N, D] that the prior is scaled by, where X is {what}."
        )
    found = np.asarray(points, np.float64)
    if found.ndim != 2:
        raise ValueError(f"X must be points [N, D], got an array of shape {found.shape}.")
    check_finite(found, None)
    return found


def _own(component_prior: Any, X: np.ndarray, family: Covariance, options: WeightOptions) -> Any:
    """The prior with all of its numbers, in the units of the points."""
    kept = Entered(X, None)
    units = Standardizer.fit(X, None, family.scaling)
    if component_priors.is_numpyros(component_prior):
        return as_distributions(component_prior, units, family)
    seen = component_priors.Seen(kept, units, family, options.known)
    given = dict.fromkeys(component_priors.SKLEARN)
    return component_priors.resolved(component_prior, given, seen)
