"""Bayesian Gaussian mixtures: clusters, densities, and how sure of them one may be."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayesgmm import core, datasets, plots
    from bayesgmm.calibration import calibrate
    from bayesgmm.compilation import enable_compilation_cache
    from bayesgmm.estimators.bootstrap import bootstrap
    from bayesgmm.estimators.choice import ModelSelection
    from bayesgmm.estimators.component_priors import HierarchicalPrior, IndependentPrior
    from bayesgmm.estimators.conjugate import ConjugatePrior
    from bayesgmm.estimators.em import GaussianMixture
    from bayesgmm.estimators.evidence import log_evidence
    from bayesgmm.estimators.likelihood_ratio import likelihood_ratio_test
    from bayesgmm.estimators.loading import load
    from bayesgmm.estimators.mcmc import MCMCGaussianMixture
    from bayesgmm.estimators.merging import merge_components
    from bayesgmm.estimators.nuts import numpyro_model
    from bayesgmm.estimators.selection import select_model
    from bayesgmm.estimators.variational import BayesianGaussianMixture
    from bayesgmm.inference.distribution import MultivariateNormalMixture
    from bayesgmm.io.chunks import Chunks
    from bayesgmm.posterior.assignments import assignment_probabilities
    from bayesgmm.posterior.balls import credible_ball
    from bayesgmm.posterior.clusters import cluster_summary
    from bayesgmm.posterior.comparison import compare_evidence, prior_sensitivity
    from bayesgmm.posterior.expectation import posterior_expectation
    from bayesgmm.posterior.partitions import expected_loss
    from bayesgmm.posterior.relabel import relabel
    from bayesgmm.posterior.search import point_partition
    from bayesgmm.posterior.similarity import similarity_matrix

__all__ = [
    "BayesianGaussianMixture",
    "Chunks",
    "ConjugatePrior",
    "GaussianMixture",
    "HierarchicalPrior",
    "IndependentPrior",
    "MCMCGaussianMixture",
    "ModelSelection",
    "MultivariateNormalMixture",
    "assignment_probabilities",
    "bootstrap",
    "calibrate",
    "cluster_summary",
    "compare_evidence",
    "core",
    "credible_ball",
    "datasets",
    "enable_compilation_cache",
    "expected_loss",
    "likelihood_ratio_test",
    "load",
    "log_evidence",
    "merge_components",
    "numpyro_model",
    "plots",
    "point_partition",
    "posterior_expectation",
    "prior_sensitivity",
    "relabel",
    "select_model",
    "similarity_matrix",
]

__version__ = version("bayesgmm")

_HOMES = {
    "BayesianGaussianMixture": "bayesgmm.estimators.variational",
    "Chunks": "bayesgmm.io.chunks",
    "ConjugatePrior": "bayesgmm.estimators.conjugate",
    "GaussianMixture": "bayesgmm.estimators.em",
    "HierarchicalPrior": "bayesgmm.estimators.component_priors",
    "IndependentPrior": "bayesgmm.estimators.component_priors",
    "MCMCGaussianMixture": "bayesgmm.estimators.mcmc",
    "ModelSelection": "bayesgmm.estimators.choice",
    "MultivariateNormalMixture": "bayesgmm.inference.distribution",
    "assignment_probabilities": "bayesgmm.posterior.assignments",
    "bootstrap": "bayesgmm.estimators.bootstrap",
    "cluster_summary": "bayesgmm.posterior.clusters",
    "compare_evidence": "bayesgmm.posterior.comparison",
    "credible_ball": "bayesgmm.posterior.balls",
    "expected_loss": "bayesgmm.posterior.partitions",
    "likelihood_ratio_test": "bayesgmm.estimators.likelihood_ratio",
    "load": "bayesgmm.estimators.loading",
    "log_evidence": "bayesgmm.estimators.evidence",
    "merge_components": "bayesgmm.estimators.merging",
    "numpyro_model": "bayesgmm.estimators.nuts",
    "point_partition": "bayesgmm.posterior.search",
    "posterior_expectation": "bayesgmm.posterior.expectation",
    "prior_sensitivity": "bayesgmm.posterior.comparison",
    "relabel": "bayesgmm.posterior.relabel",
    "select_model": "bayesgmm.estimators.selection",
    "similarity_matrix": "bayesgmm.posterior.similarity",
    "calibrate": "bayesgmm.calibration",
    "enable_compilation_cache": "bayesgmm.compilation",
}


def __getattr__(name: str) -> Any:
    # Loaded when first used: JAX, scikit-learn and matplotlib take seconds between them.
    if name not in __all__:
        raise AttributeError(f"module 'bayesgmm' has no attribute {name!r}")
    home = import_module(_HOMES.get(name, f"bayesgmm.{name}"))
    value = getattr(home, name) if name in _HOMES else home
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
