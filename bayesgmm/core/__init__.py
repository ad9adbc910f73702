"""The mathematics of Gaussian mixtures as pure functions of arrays.

They work under `jit`, `vmap`, `grad` and `jvp`, and compute in the dtype that JAX gives their
input: float32, unless the user has enabled x64 or works inside `float_scope("float64")`.
"""

from bayesgmm.core.arrays import Data, Standardizer, float_scope
from bayesgmm.core.conjugate import (
    Hyperparameters,
    NormalInverseWishart,
    draw,
    expectation,
    flat_prior,
    kl,
    log_evidence,
    mode,
    update,
)
from bayesgmm.core.covariance import FAMILIES, Covariance
from bayesgmm.core.forms import Form, choose_form, exact_form, kappa, reference
from bayesgmm.core.mixture import (
    Mixture,
    change_units,
    conditional,
    log_density,
    log_joint,
    marginal,
    mixture_moments,
    responsibilities,
    sample,
)
from bayesgmm.core.partitions import (
    PitmanYor,
    log_eppf,
    n_components_prior,
    prior_n_clusters,
)
from bayesgmm.core.predictive import StudentMixture, log_predictive, predictive
from bayesgmm.core.prior import log_prior
from bayesgmm.core.sweep import Moments, hard, joint_of, log_likelihood, pad, soft
from bayesgmm.core.weights import WEIGHT_PRIORS, Dirichlet, FiniteMixture, StickBreaking

__all__ = [
    "FAMILIES",
    "WEIGHT_PRIORS",
    "Covariance",
    "Data",
    "Dirichlet",
    "FiniteMixture",
    "Form",
    "Hyperparameters",
    "Mixture",
    "Moments",
    "NormalInverseWishart",
    "PitmanYor",
    "Standardizer",
    "StickBreaking",
    "StudentMixture",
    "change_units",
    "choose_form",
    "conditional",
    "draw",
    "exact_form",
    "expectation",
    "flat_prior",
    "float_scope",
    "hard",
    "joint_of",
    "kappa",
    "kl",
    "log_density",
    "log_eppf",
    "log_evidence",
    "log_joint",
    "log_likelihood",
    "log_predictive",
    "log_prior",
    "marginal",
    "mixture_moments",
    "mode",
    "n_components_prior",
    "pad",
    "predictive",
    "prior_n_clusters",
    "reference",
    "responsibilities",
    "sample",
    "soft",
    "update",
]
