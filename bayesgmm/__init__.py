"""Bayesian Gaussian mixtures: clusters, densities, and how sure of them one may be."""

from importlib.metadata import version as _version

from bayesgmm import core, datasets
from bayesgmm.estimators.em import GaussianMixture

__version__ = _version("bayesgmm")

__all__ = ["GaussianMixture", "core", "datasets", "plots"]


def __getattr__(name: str):
    # plots brings matplotlib: loaded when first used
    if name == "plots":
        from importlib import import_module

        return import_module("bayesgmm.plots")
    raise AttributeError(f"module 'bayesgmm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
