"""What a table of models is judged by: criteria, and the methods whose fits have them, as rows."""

from collections.abc import Callable, Iterator, Mapping
from math import lgamma
from typing import Any, NamedTuple

from bayesgmm.core.covariance import FAMILIES, MCLUST, UNIVARIATE
from bayesgmm.estimators.cells import Fit, Problem, fit_em, in_turn
from bayesgmm.estimators.em import GaussianMixture, aic_of, bic_of, n_parameters
from bayesgmm.estimators.points import logsumexp, sureness
from bayesgmm.estimators.priors import CONJUGATE
from bayesgmm.posterior.summary import leave_one_out

RESTARTS = 4
"""Starts of each cell where `n_init` is not given."""


class Criterion(NamedTuple):
    """A column by which a cell can be chosen.

    Attributes
    ----------
    sign : {1, -1}
        1 if less is better.
    label : str
        As an axis has it.
    evidence : float
        What the column times this is: the log evidence of the cell, or an approximation of it; 0
        if it is neither.
    """

    sign: int
    label: str
    evidence: float = 0.0

    @property
    def order(self) -> str:
        """Which end of it is the better one."""
        return "less is better" if self.sign > 0 else "more is better"


CRITERIA = {
    "bic": Criterion(1, "BIC", -0.5),
    "aic": Criterion(1, "AIC"),
    "icl": Criterion(1, "ICL"),
    "held_out": Criterion(-1, "held-out log density of a point, nats"),
    "lower_bound": Criterion(-1, "lower bound of the log evidence, nats", 1.0),
    "elpd_loo": Criterion(-1, "expected log predictive density (LOO), nats"),
    "log_evidence": Criterion(-1, "log evidence, nats", 1.0),
}
"""By the names of the columns."""


class Method(NamedTuple):
    """A way to fit the cells: one row of `METHODS`.

    Attributes
    ----------
    load : callable
        () -> the class of the estimator, imported when it is asked for.
    criteria : tuple of str
        Keys of `CRITERIA`; the first is the default.
    defaults : dict
        Options that are not those of the estimator unless they are given.
    own : tuple of str
        Options that are not passed on.
    families : mapping
        By the names of the covariance types.
    everything : tuple of str
        What "all" are in two dimensions or more.
    fits : callable
        (problem) -> the cells as they are ready.
    columns : tuple of str
        Of the table, that are this method's alone.
    measures : callable
        (model, problem, number of clusters, criterion) -> their values, those that there are.
    """

    load: Callable[[], Any]
    criteria: tuple
    defaults: Mapping[str, Any]
    own: tuple
    families: Mapping
    everything: tuple
    fits: Callable[[Problem], Iterator[Fit]]
    columns: tuple
    measures: Callable

    def all_families(self, D: int) -> tuple:
        """What "all" are in D dimensions."""
        return UNIVARIATE if D == 1 else self.everything


# --- expectation-maximization ---------------------------------------------------------------------


def _of_em(model: Any, problem: Problem, n_clusters: int, criterion: str) -> dict[str, float]:
    total, own, sure = model._sums(problem.X, problem.weight, logsumexp, sureness)
    free = n_parameters(model.covariance_type, model.n_components, problem.entered.shape[1])
    return {
        "log_likelihood": own,
        "bic": bic_of(own, free, total),
        "aic": aic_of(own, free),
        "icl": bic_of(own + sure, free, total),
    }


# --- variational Bayes ----------------------------------------------------------------------------


def _bayesian() -> Any:
    from bayesgmm.estimators.variational import BayesianGaussianMixture

    return BayesianGaussianMixture


def _of_vb(model: Any, problem: Problem, n_clusters: int, criterion: str) -> dict[str, float]:
    K, alike = model.n_components, model.weight_concentration_prior_type == "dirichlet_distribution"
    orders = lgamma(K + 1) - lgamma(K - n_clusters + 1) if alike else 0.0
    return {
        "elbo": model.elbo_,
        "lower_bound": model.elbo_ + orders,
        "n_clusters": float(n_clusters),
    }


# --- Markov chain Monte Carlo ---------------------------------------------------------------------


def _sampled() -> Any:
    from bayesgmm.estimators.mcmc import MCMCGaussianMixture

    return MCMCGaussianMixture


def _of_mcmc(model: Any, problem: Problem, n_clusters: int, criterion: str) -> dict[str, float]:
    numbers = model.n_clusters_posterior()
    found = leave_one_out(model.posterior_)
    found["n_clusters"] = float(numbers.index.to_numpy() @ numbers["probability"].to_numpy())
    if criterion == "log_evidence":
        evidence = model.log_evidence()
        found |= {"log_evidence": evidence.log_evidence, "log_evidence_se": evidence.standard_error}
    return found


METHODS = {
    "em": Method(
        lambda: GaussianMixture,
        ("bic", "aic", "icl", "held_out"),
        {"reg_covar": 0.0, "init_params": "hierarchical", "n_init": RESTARTS},
        (
            *("weights_init", "means_init", "precisions_init", "learning_decay"),
            *("learning_offset", "warm_start", "verbose", "verbose_interval"),
        ),
        FAMILIES,
        tuple(MCLUST),
        fit_em,
        ("log_likelihood", "n_parameters", "bic", "aic", "icl"),
        _of_em,
    ),
    "vb": Method(
        _bayesian,
        ("lower_bound", "held_out"),
        {
            "weight_concentration_prior_type": "dirichlet_distribution",
            "weight_concentration_prior": 1.0,
            "init_params": "hierarchical",
            "n_init": RESTARTS,
            "max_iter": 1000,
            "prune": False,
            "moves": False,
        },
        ("prune", "moves", "warm_start", "verbose", "verbose_interval"),
        CONJUGATE,
        ("spherical", "diag", "tied", "full"),
        in_turn,
        ("elbo", "lower_bound", "n_clusters"),
        _of_vb,
    ),
    "mcmc": Method(
        _sampled,
        ("elpd_loo", "log_evidence", "held_out"),
        {"progress_bar": False},
        ("progress_bar", "warm_start"),
        CONJUGATE,
        ("spherical", "diag", "tied", "full"),
        in_turn,
        ("elpd_loo", "elpd_loo_se", "p_loo", "n_high_k", "n_clusters"),
        _of_mcmc,
    ),
}
"""What `select_model` knows as `method`."""
