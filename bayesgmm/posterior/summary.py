"""What a sample of the posterior says: convergence, the number of clusters, ArviZ's DataTree.

References
----------
Vehtari, Gelman, Simpson, Carpenter and Burkner (2021), *Bayesian Analysis* 16, 667-718: rank-
normalised R-hat, bulk and tail effective sample size, and their thresholds.
"""

import warnings
from typing import Any

import numpy as np

RHAT, ESS = 1.01, 400
"""A quantity has converged when its R-hat is at most this and its bulk ESS at least this."""

TAILS = (0.05, 0.95)
"""Quantiles whose effective sample size is that of the tails."""

ASTRAY = 4.0
"""A chain is in another mode if its mean log likelihood lies so many standard deviations of its
draws below that of the best chain."""

CONVERGED, CONSTANT, APART, FEW = "converged", "constant", "chains disagree", "too few draws"
"""Verdicts on a quantity."""


def diagnostics(quantities: dict[str, np.ndarray]) -> Any:
    """Mean, Monte Carlo error, effective sample size and R-hat of quantities [C, S].

    Parameters
    ----------
    quantities : dict from name to ndarray [C, S]
        Such as do not depend on labels: of one that does, R-hat means nothing.

    Returns
    -------
    DataFrame
        Columns `mean`, `sd`, `mcse_mean`, `ess_bulk`, `ess_tail`, `r_hat` and `verdict`.
    """
    import pandas as pd

    rows = {name: _row(np.asarray(values, float)) for name, values in quantities.items()}
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.rename_axis("quantity")


def _row(values: np.ndarray) -> dict[str, Any]:
    from arviz_stats.base import array_stats

    row = {"mean": values.mean(), "sd": values.std(ddof=1)}
    if np.ptp(values) == 0:
        nothing = dict.fromkeys(("ess_bulk", "ess_tail", "r_hat"), np.nan)
        return {**row, "mcse_mean": 0.0, **nothing, "verdict": CONSTANT}
    if (np.ptp(values, axis=1) == 0).all():  # every chain at a value of its own
        C = float(len(values))
        found = {"mcse_mean": np.nan, "ess_bulk": C, "ess_tail": C, "r_hat": np.inf}
        return {**row, **found, "verdict": APART}
    found = {
        "mcse_mean": error_of_mean(values),
        "ess_bulk": float(array_stats.ess(values, method="bulk")),
        "ess_tail": float(array_stats.ess(values, method="tail", prob=TAILS)),
        "r_hat": float(array_stats.rhat(values, method="rank")),
    }
    return {**row, **found, "verdict": _verdict(found["r_hat"], found["ess_bulk"])}


def error_of_mean(values: np.ndarray) -> float:
    """Monte Carlo standard error of the mean of values [C, S]; 0 if they never change."""
    from arviz_stats.base import array_stats

    return float(array_stats.mcse(values, method="mean")) if np.ptp(values) > 0 else 0.0


def _verdict(r_hat: float, ess: float) -> str:
    if not r_hat <= RHAT:  # NaN is no convergence
        return APART
    return CONVERGED if ess >= ESS else FEW


def has_converged(table: Any) -> bool:
    """Whether every quantity has, and the log likelihood is not one of those that never move."""
    good = table["verdict"].isin([CONVERGED, CONSTANT]).all()
    return bool(good and table.loc["log_likelihood", "verdict"] == CONVERGED)


UNSTUCK = "raise n_warmup, sample with moves=True, or raise n_chains to see how often that happens"
"""What to do about chains in other modes."""


def advice(table: Any, log_likelihood: np.ndarray) -> list[str]:
    """What is wrong, in sentences, with what to do about it; empty if nothing is.

    Parameters
    ----------
    table : DataFrame
        As `diagnostics` gives it.
    log_likelihood : ndarray [C, S]
    """
    said = []
    apart = table[table["verdict"] == APART]
    if len(apart):
        worst = apart["r_hat"].fillna(np.inf)
        name = worst.idxmax()
        said.append(
            f"the chains have not come to the same posterior (R-hat {worst[name]:.3f} for {name}, "
            f"above {RHAT}): raise n_warmup and thin (thin='auto' finds how far), and compare the "
            "chains by their log likelihood"
        )
    few = table[table["verdict"] == FEW]
    if len(few):
        name = few["ess_bulk"].idxmin()
        said.append(
            f"{name} has an effective sample size of {few.loc[name, 'ess_bulk']:.0f}, below {ESS}: "
            "raise thin (thin='auto' finds how far), or go on with warm_start=True"
        )
    said += _astray(log_likelihood)
    return said


def _astray(log_likelihood: np.ndarray) -> list[str]:
    means, spread = log_likelihood.mean(1), log_likelihood.std(1).max()
    lost = np.flatnonzero(means < means.max() - ASTRAY * spread)
    if not len(lost) or spread == 0:
        return []
    subject = "chain {} stays" if len(lost) == 1 else "chains {} stay"
    return [
        f"{subject.format(', '.join(map(str, lost)))} in another mode, "
        f"{means.max() - means[lost].max():.1f} nats of log likelihood below the best: {UNSTUCK}"
    ]


def number_table(numbers: np.ndarray, prior: np.ndarray, name: str) -> Any:
    """Posterior of a whole number, from its draws.

    Parameters
    ----------
    numbers : ndarray [C, S] of int
    prior : ndarray [m]
        Prior probability of 1, 2, ..., m.
    name : str
        Of the index.

    Returns
    -------
    DataFrame
        One row for each number that was drawn, or lies between two such: `probability`, its Monte
        Carlo standard error `mcse` (by ArviZ, from all chains; NaN if each chain stays at one
        number of its own) and the `prior` probability.
    """
    import pandas as pd

    low, high = int(numbers.min()), int(numbers.max())
    index = pd.RangeIndex(low, high + 1, name=name)
    columns = {
        "probability": [np.mean(numbers == k) for k in index],
        "mcse": [_row((numbers == k).astype(float))["mcse_mean"] for k in index],
        "prior": [prior[k - 1] if 1 <= k <= len(prior) else np.nan for k in index],
    }
    return pd.DataFrame(columns, index=index)


DIMS = {
    "weights": ["cluster"],
    "means": ["cluster", "feature"],
    "covariances": ["cluster", "feature", "feature_bis"],
    "scale": ["feature", "feature_bis"],
    "labels": ["obs_id"],
    "x": ["obs_id", "feature"],
}
"""Dimensions of the variables beside chain and draw; of a scale as many as it has."""


def leave_one_out(posterior: Any) -> dict[str, float]:
    """Expected log predictive density of points left out one at a time, by ArviZ's PSIS-LOO.

    Parameters
    ----------
    posterior : DataTree
        With the group log_likelihood.

    Returns
    -------
    dict
        `elpd_loo`, its standard error `elpd_loo_se`, `p_loo`, and `n_high_k`, the number of points
        for which the estimate cannot be relied on.
    """
    from arviz_stats import loo

    with warnings.catch_warnings():  # of the points that are counted below
        warnings.simplefilter("ignore")
        found = loo(posterior, pointwise=True)
    return {
        "elpd_loo": float(found.elpd),
        "elpd_loo_se": float(found.se),
        "p_loo": float(found.p),
        "n_high_k": float((found.pareto_k > found.good_k).sum()),
    }


def tree(
    groups: dict[str, dict[str, np.ndarray]], feature: list[str], obs_id: Any, attrs: dict
) -> Any:
    """Groups of draws as an xarray DataTree in ArviZ's schema.

    Parameters
    ----------
    groups : dict from group to dict from variable to ndarray
        Variables named in `DIMS` have those dimensions, after chain and draw if the group is a
        sample; log likelihoods are of `x`.
    feature : list of str
    obs_id : array [N]
        Labels of the rows.
    attrs : dict
    """
    from arviz_base import from_dict

    coords = {"feature": feature, "feature_bis": feature, "obs_id": obs_id}
    rank = np.ndim(groups["posterior"].get("scale", 0)) - 2
    dims = {**DIMS, "scale": DIMS["scale"][: max(rank, 0)]}
    groups = {name: _with_signed_labels(group) for name, group in groups.items()}
    return from_dict(groups, coords=coords, dims=dims, attrs={"/": attrs})


def _with_signed_labels(group: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Labels in the shortest type that has room for twice their negative: ArviZ turns them round.

    Numbers of the sampler's type, without a sign, make it fail.
    """
    if "labels" not in group:
        return group
    labels = np.asarray(group["labels"])
    signed = np.min_scalar_type(-2 * int(labels.max(initial=0)) - 1)
    return {**group, "labels": labels.astype(signed)}
