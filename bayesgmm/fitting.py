"""The mixture that the command line fits: its method, its assignments, what is told of it."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from bayesgmm.messages import count, lookup

if TYPE_CHECKING:
    import pandas as pd

    from bayesgmm.io.tables import Scaling

__all__ = [
    "LARGEST_AUTO",
    "METHODS",
    "Fitted",
    "Method",
    "Trial",
    "assignments",
    "fit_mixture",
    "predictions",
    "told",
]

LARGEST_AUTO = 6
"""The most components that are tried where their number is not given."""


class Trial(NamedTuple):
    """A fit that ``--components auto`` compares with others.

    Attributes
    ----------
    n_components : int
    log_likelihood, bic : float or None
        None where every start ended in a singular covariance.
    verdict : str
        Why it is out of the running; empty if it is not.
    """

    n_components: int
    log_likelihood: float | None
    bic: float | None
    verdict: str


class Fitted(NamedTuple):
    """A fitted mixture and what is told of it.

    Attributes
    ----------
    name : str
        Of the data.
    X : DataFrame [N, D]
    model : GaussianMixture, BayesianGaussianMixture or MCMCGaussianMixture
    trials : list of Trial
        Empty when the number of components was given, or found by one fit.
    assignments : DataFrame [N]
        label, probability_0, ..., uncertainty, entropy; its index names the rows.
    method : str
        A key of `METHODS`.
    measures, tables : dict
        What that row makes of the model.
    scaling : Scaling or None
        By which the columns of X were standardised.
    """

    name: str
    X: "pd.DataFrame"
    model: Any
    trials: list[Trial]
    assignments: "pd.DataFrame"
    method: str
    measures: dict[str, Any]
    tables: dict[str, tuple[str, "pd.DataFrame"]]
    scaling: "Scaling | None" = None


class Method(NamedTuple):
    """A way to fit a mixture: one row of `METHODS`.

    Attributes
    ----------
    words : str
        As a sentence has it after "by".
    defaults : dict
        Settings that are this method's own unless they are given.
    measures : callable
        (model, X) -> the numbers by which the fit is judged, by the names of `MEASURES`, and an
        estimate of its `evidence`, if there is one, as `BayesianGaussianMixture.evidence` has it.
    settings : tuple of str
        Those that parameters.json repeats.
    fit : callable
        (X, n_components or None, settings, note, progress_bar) -> the model and its trials.
    tables : callable
        model -> what else is told of it: by its name in parameters.json, a title and a DataFrame.
    prior : callable
        model -> what parameters.json says of its prior, with all numbers as used.
    """

    words: str
    defaults: dict[str, Any]
    measures: Callable
    settings: tuple[str, ...]
    fit: Callable
    tables: Callable = lambda model: {}
    prior: Callable = lambda model: {}


MEASURES = {
    "log_likelihood": "log likelihood",
    "bic": "BIC",
    "elbo": "evidence lower bound",
    "log_predictive": "log predictive density",
}
"""What parameters.json calls a measure, and what a report does."""


def fit_mixture(
    method: str,
    X: "pd.DataFrame",
    n_components: int | None,
    settings: dict[str, Any],
    note: Callable,
    progress_bar: bool = False,
) -> tuple[Any, list[Trial]]:
    """The fitted mixture, and the trials by which its number of components was chosen.

    Settings that are None are the method's own.
    """
    row = METHODS[method]
    own = {name: value for name, value in settings.items() if value is not None}
    return row.fit(X, n_components, row.defaults | own, note, progress_bar)


def _size(X: "pd.DataFrame") -> str:
    return f"{count(len(X), 'row')}, {count(X.shape[1], 'feature')}"


def _fit_vb(
    X: "pd.DataFrame",
    n_components: int | None,
    settings: dict[str, Any],
    note: Callable,
    progress_bar: bool,
) -> tuple[Any, list[Trial]]:
    from bayesgmm.estimators.variational import BayesianGaussianMixture

    most = "" if n_components is None else f" with at most {count(n_components, 'component')}"
    note(f"fitting {_size(X)}{most}")
    model = BayesianGaussianMixture(n_components, **settings).fit(X)
    draws = max(FEWEST_DRAWS, min(MOST_DRAWS, LOOKS // len(X)))
    note(f"estimating its evidence with {count(draws, 'draw')} of the posterior")
    model.evidence(X, n_draws=draws)
    return model, []


FEWEST_DRAWS, MOST_DRAWS, LOOKS = 200, 2000, 20_000_000
"""Draws by which the evidence is estimated: so many that all together look at `LOOKS` points."""


def _fit_mcmc(
    X: "pd.DataFrame",
    n_components: int | None,
    settings: dict[str, Any],
    note: Callable,
    progress_bar: bool,
) -> tuple[Any, list[Trial]]:
    from bayesgmm.estimators.mcmc import MCMCGaussianMixture

    note(f"sampling the posterior of {_size(X)}")
    K = "mfm" if n_components is None else n_components
    return MCMCGaussianMixture(K, progress_bar=progress_bar, **settings).fit(X), []


def _prior_of_components(model: Any) -> dict[str, Any]:
    import numpy as np

    prior = model.component_prior_
    numbers = {name: np.asarray(value).tolist() for name, value in vars(prior).items()}
    return {"component_prior": {"kind": type(prior).__name__, **numbers}}


def _of_chains(model: Any) -> dict[str, tuple[str, "pd.DataFrame"]]:
    numbers = model.n_clusters_posterior()
    likely = numbers[numbers["probability"] >= UNLIKELY]
    diagnosis = model.diagnose()[["mean", "ess_bulk", "r_hat", "verdict"]]
    return {
        "n_clusters_posterior": ("Number of clusters, its posterior probability", likely),
        "diagnostics": ("Convergence of the chains", diagnosis),
    }


UNLIKELY = 0.001
"""Numbers of clusters of a smaller probability are not told."""


def _fit_em(
    X: "pd.DataFrame",
    n_components: int | None,
    settings: dict[str, Any],
    note: Callable,
    progress_bar: bool,
) -> tuple[Any, list[Trial]]:
    from bayesgmm.core import FAMILIES
    from bayesgmm.estimators.em import GaussianMixture
    from bayesgmm.estimators.selection import select_model

    N, D = X.shape
    if n_components is not None:
        note(f"fitting {_size(X)}")
        return GaussianMixture(n_components, **settings).fit(X), []
    largest = max(1, min(LARGEST_AUTO, N // (D + 1)))  # D + 1 points to a full covariance
    note(f"fitting {_size(X)} with 1 to {count(largest, 'component')}")
    family = settings.pop("covariance_type")
    lookup(FAMILIES, family, "covariance_type")  # select_model knows "all", too
    own = {**settings, "min_count": D + 1, "progress_bar": progress_bar}
    found = select_model(X, range(1, largest + 1), family, **own)
    model = found.best_estimator_
    _warn_of_short_fits(found.table, model)
    if model.n_components == largest > 1:
        note(f"BIC is smallest for the most components tried; for more than {largest} use -k")
    return model, [_trial(row) for row in found.table.to_dict("records")]


def _warn_of_short_fits(table: "pd.DataFrame", model: Any) -> None:
    """A BIC of a fit that has not converged is too large."""
    from bayesgmm.estimators.checks import warn_not_converged

    short = table.loc[~table["converged"] & table["bic"].notna(), "n_components"]
    short = short[short != model.n_components]  # of which select_model has said it
    if len(short):
        warn_not_converged(
            f"fits with n_components = {', '.join(map(str, short))} did not converge in max_iter="
            f"{model.max_iter} iterations, so that their BIC is too large: raise max_iter, or tol."
        )


def _trial(row: dict[str, Any]) -> Trial:
    """A row of the table of models.

    A covariance of its own fits D + 1 points or fewer as closely as the ridge lets it: such a
    component is a spike of the likelihood, and its BIC means nothing.
    """
    numbers = (row["log_likelihood"], row["bic"])
    known = [None if math.isnan(number) else number for number in numbers]
    return Trial(row["n_components"], *known, "singular" if row["singular"] else "")


def _of_vb(model: Any, X: "pd.DataFrame") -> dict[str, Any]:
    found = model.evidence_.drop("elbo").to_dict()
    if not math.isfinite(found["khat"]):
        found["khat"] = None  # too few draws to say, and no number of JSON
    return {"elbo": model.elbo_, "evidence": found}


def _of_em(model: Any, X: "pd.DataFrame") -> dict[str, float]:
    return {"log_likelihood": model.score(X) * len(X), "bic": model.bic(X)}


_SETTINGS = ("tol", "reg_covar", "max_iter", "n_init", "init_params")
_PRIOR = (
    "weight_concentration_prior_type",
    "weight_concentration_prior",
    "mean_precision_prior",
    "degrees_of_freedom_prior",
)

METHODS = {
    "em": Method(
        "EM",
        {"n_init": 4, "tol": None, "init_params": "cells", "max_iter": 1000},
        _of_em,
        (*_SETTINGS, "prior"),
        _fit_em,
    ),
    "vb": Method(
        "variational Bayes",
        {"n_init": 1, "tol": 1e-3, "init_params": "kmeans", "max_iter": 1000},
        _of_vb,
        _SETTINGS + _PRIOR,
        _fit_vb,
    ),
    "mcmc": Method(
        "Markov chain Monte Carlo",
        {"n_chains": 4, "n_samples": 1000, "n_warmup": None, "thin": "auto"},
        lambda model, X: {"log_predictive": model.score(X) * len(X)},
        ("n_chains", "n_samples", "n_warmup", "thin", "weight_concentration_prior"),
        _fit_mcmc,
        _of_chains,
        _prior_of_components,
    ),
}
"""What --method may be."""


def told(
    name: str,
    X: "pd.DataFrame",
    model: Any,
    trials: list[Trial],
    method: str,
    scaling: "Scaling | None" = None,
) -> Fitted:
    """A fitted model, with all that is told of it looked up once."""
    row, found = METHODS[method], assignments(model, X, model.labels_)
    measures, tables = row.measures(model, X), row.tables(model)
    return Fitted(name, X, model, trials, found, method, measures, tables, scaling)


def assignments(model: Any, X: "pd.DataFrame", labels: Any) -> "pd.DataFrame":
    """Of every row of X: label, probability of each component, uncertainty, entropy."""
    import pandas as pd

    names = [f"probability_{k}" for k in range(model.n_components_)]
    labels = pd.Series(labels, name="label", index=X.index)
    probabilities = pd.DataFrame(model.predict_proba(X), columns=names, index=X.index)
    return pd.concat([labels, probabilities, model.uncertainty(X)], axis=1)


def predictions(model: Any, X: "pd.DataFrame") -> "pd.DataFrame":
    """The same of new rows, and the log density of the mixture at each."""
    found = assignments(model, X, model.predict(X))
    return found.assign(log_density=model.score_samples(X))
