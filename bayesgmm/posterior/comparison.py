r"""Models compared by their evidence, and how much a posterior depends on each part of its prior.

What else compares models is ArviZ's and works on `posterior_` as it is: `arviz_stats.loo` and
`compare` (with stacking weights) on its log likelihood, labels summed out, and predictive checks on
its replicas (docs/theory/evidence.md).

References
----------
Kass and Raftery (1995), *Journal of the American Statistical Association* 90, 773-795.
Kallioinen, Paananen, Burkner and Vehtari (2024), *Statistics and Computing* 34, 57: sensitivity to
powers of a prior.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import log_softmax, logsumexp

from bayesgmm.posterior.evidence import Evidence, EvidenceOverComponents


def compare_evidence(evidences: Any, prior: Any = None) -> Any:
    """Posterior probabilities and Bayes factors of models, with Monte Carlo errors.

    Parameters
    ----------
    evidences : EvidenceOverComponents, sequence of Evidence, or dict from name to Evidence
        As `log_evidence` gives them, of models of the same data in the same units.
    prior : array [R], optional
        Prior probability of each model, up to a factor; all alike when not given.

    Returns
    -------
    DataFrame
        Indexed by the number of components (by name, of a dict), in the order given: columns
        `log_evidence`, `standard_error`, `log_bayes_factor` (of the model against the one of most
        evidence, nats), `log_bayes_factor_error`, `prior`, `probability` and `probability_error`.
        The errors of an `EvidenceOverComponents` go together, those of other evidences are
        independent.

    Raises
    ------
    TypeError, ValueError
        If the evidences or the prior are not as described.

    Examples
    --------
    >>> from bayesgmm import compare_evidence
    >>> from bayesgmm.posterior.evidence import Evidence
    >>> pair = [Evidence(-10.0, 0.1, "bridge", 1), Evidence(-8.0, 0.1, "bridge", 2)]
    >>> compare_evidence(pair)["probability"].round(3).to_dict()
    {1: 0.119, 2: 0.881}
    """
    import pandas as pd

    index, logs, covariance = _read(evidences)
    log_prior = _log_prior(prior, len(logs))
    best = int(np.argmax(logs))
    probability = np.exp(log_softmax(logs + log_prior))
    slopes = np.diag(probability) - np.outer(probability, probability)
    contrast = np.eye(len(logs)) - np.eye(len(logs))[best]
    columns = {
        "log_evidence": logs,
        "standard_error": np.sqrt(np.diag(covariance)),
        "log_bayes_factor": logs - logs[best],
        "log_bayes_factor_error": _errors(contrast, covariance),
        "prior": np.exp(log_prior),
        "probability": probability,
        "probability_error": _errors(slopes, covariance),
    }
    return pd.DataFrame(columns, index=index)


def _errors(slopes: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", slopes, covariance, slopes), 0))


def _read(evidences: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """Index, log evidences [R], and the covariance of their errors [R, R]."""
    import pandas as pd

    if isinstance(evidences, EvidenceOverComponents):
        index = pd.Index(evidences.n_components, name="n_components")
        return index, evidences.log_evidence, evidences.covariance
    if isinstance(evidences, Mapping):
        index, found = pd.Index(list(evidences), name="model"), list(evidences.values())
    elif isinstance(evidences, Sequence) and not isinstance(evidences, str):
        found = list(evidences)
        numbers = [getattr(one, "n_components", None) for one in found]
        index = pd.Index(numbers, name="n_components")
    else:
        found, index = None, None
    if not found or not all(isinstance(one, Evidence) for one in found):
        kinds = sorted({type(one).__name__ for one in found}) if found else evidences
        raise TypeError(
            "evidences must be an EvidenceOverComponents, or one or more Evidence in a list or a "
            f"dict, as log_evidence gives them; got {kinds!r}."
        )
    if index.has_duplicates:
        raise ValueError(
            f"evidences must be of different models, got n_components {list(index)}: name them in "
            "a dict."
        )
    logs = np.array([one.log_evidence for one in found])
    return index, logs, np.diag(np.square([one.standard_error for one in found]))


def _log_prior(prior: Any, R: int) -> np.ndarray:
    if prior is None:
        return np.full(R, -np.log(R))
    found = np.asarray(prior, float)
    if found.shape != (R,) or not np.isfinite(found).all() or (found < 0).any() or not found.any():
        raise ValueError(
            f"prior must hold {R} probabilities, one for each model, up to a factor; got {prior!r}."
        )
    with np.errstate(divide="ignore"):
        logs = np.log(found)
    return logs - logsumexp(logs)


# --- sensitivity ----------------------------------------------------------------------------------

PARTS = {
    "weights": ("prior", "lp_weights"),
    "components": ("prior", "lp_components"),
    "likelihood": ("likelihood", None),
}
"""Columns of `prior_sensitivity`: ArviZ's group, and the variable of it."""


def prior_sensitivity(posterior: Any, var_names: Sequence[str] | None = None) -> Any:
    """How much quantities change with powers of each part of the prior, and of the likelihood.

    `arviz_stats.psense` on the parts apart. A part whose density is the same at all draws, as that
    of the weights is under a Dirichlet(1, ..., 1), is none that a power changes: 0, where ArviZ
    has an error.

    Parameters
    ----------
    posterior : DataTree
        `posterior_` of an `MCMCGaussianMixture`, with the groups log_prior and log_likelihood.
    var_names : sequence of str, optional
        Quantities; when not given, all that do not depend on labels and vary. Those of labelled
        components mean nothing here.

    Returns
    -------
    DataFrame
        Indexed by the quantity; columns `weights`, `components` and `likelihood`: above 0.05 it
        depends on that part.

    Raises
    ------
    ValueError
        If a group is missing, or a quantity is not one of them.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import MCMCGaussianMixture, prior_sensitivity
    >>> X = np.random.default_rng(0).normal(size=(50, 1))
    >>> model = MCMCGaussianMixture(1, random_state=0).fit(X)
    >>> prior_sensitivity(model.posterior_, ["log_likelihood"])["weights"].to_dict()
    {'log_likelihood': 0.0}
    """
    import pandas as pd
    from arviz_stats import psense

    names = _quantities(posterior, var_names)
    columns = {}
    for column, (group, variable) in PARTS.items():
        if variable and np.ptp(posterior["log_prior"][variable].values) == 0:
            columns[column] = np.zeros(len(names))
            continue
        own = None if variable is None else [variable]
        found = psense(posterior, var_names=names, group=group, group_var_names=own)
        columns[column] = [float(found[name]) for name in names]
    return pd.DataFrame(columns, index=pd.Index(names, name="quantity"))


def _quantities(posterior: Any, var_names: Sequence[str] | None) -> list[str]:
    groups = getattr(posterior, "children", ())
    missing = [name for name in ("posterior", "log_prior", "log_likelihood") if name not in groups]
    if missing:
        raise ValueError(
            "posterior must be the posterior_ of an MCMCGaussianMixture, a DataTree with the "
            f"groups posterior, log_prior and log_likelihood; {', '.join(missing)} missing. (The "
            "last is left out of very large fits, the one before for priors of NumPyro's.)"
        )
    variables = posterior["posterior"].data_vars
    plain = [name for name, values in variables.items() if values.dims == ("chain", "draw")]
    if var_names is None:
        return [name for name in plain if np.ptp(variables[name].values) > 0]
    names = [var_names] if isinstance(var_names, str) else list(var_names)
    wrong = [name for name in names if name not in plain]
    if wrong:
        raise ValueError(
            f"var_names must be of quantities that do not depend on labels, {', '.join(plain)}; "
            f"got {', '.join(map(str, wrong))}."
        )
    return names
