"""Whether relabelled clusters are the same in all chains, and what to do where they are not.

References
----------
Vehtari, Gelman, Simpson, Carpenter and Burkner (2021), *Bayesian Analysis* 16, 667-718: R-hat.
"""

import numpy as np
from scipy.special import chdtri

from bayesgmm.posterior.selection import Kept

APART, CHANCE = 1.05, 0.001
"""R-hat above which the clusters of the chains are not the same, unless as many independent draws
came above it with more than this probability."""


def largest_r_hat(values: np.ndarray) -> float:
    """Of quantities [C, S, M]; NaN where there are too few draws or none varies."""
    from arviz_stats.base import array_stats

    if values.shape[1] < 4:
        return np.nan
    found = []
    for column in np.moveaxis(values, 2, 0):
        if np.ptp(column) > 0:
            stuck = (np.ptp(column, axis=1) == 0).all()
            found.append(np.inf if stuck else float(array_stats.rhat(column, method="rank")))
    return max(found, default=np.nan)


def largest_by_chance(C: int, n: int, M: int) -> float:
    """R-hat that M quantities of C chains of n independent draws seldom exceed; at least 1.05.

    With m = 2 C half chains of n / 2 draws, (m - 1) (1 + n / 2 (R-hat^2 - 1)) is about chi-squared
    with m - 1 degrees of freedom; twice, as ranks are taken of values and of their distances.
    """
    df = 2 * C - 1
    ratio = chdtri(df, CHANCE / (2 * M)) / df
    return max(APART, float(np.sqrt(1 + (ratio - 1) / max(n / 2, 1))))


def what_is_wrong(
    kept: Kept, method: str, r_hat: float, tried: dict[str, float], limit: float
) -> str:
    """That clusters are not the same in all chains, and what to do.

    Parameters
    ----------
    kept : Kept
    method : str
    r_hat : float
        Of the clusters by this method.
    tried : dict from method to float
        By the others.
    limit : float
        Above which R-hat is too large.
    """
    free = np.concatenate(
        [
            (kept.weights[..., None] * kept.means).sum(1),
            np.square(kept.weights).sum(1, keepdims=True),
        ],
        axis=1,
    )
    of_free = largest_r_hat(free.reshape(len(kept.chains), -1, free.shape[1]))
    better = min(tried, key=tried.get, default=None)
    K = kept.own.shape[1]
    said = f"relabelled by {method!r}, the {K} clusters have R-hat {r_hat:.2f}, above {limit:.2f}"
    if better is not None and tried[better] <= limit:
        return f"{said}; by method={better!r} {tried[better]:.2f}: use that."
    if of_free > limit:
        return (
            f"{said}, and what does not depend on labels (mean of the mixture, sum of squared "
            f"weights) {of_free:.2f}: the chains have not come to the same posterior. Run them "
            "longer, or more of them; no relabelling helps."
        )
    return (
        f"{said}, and no method makes it small, though what does not depend on labels agrees "
        f"({of_free:.2f}): there is more than one set of {K} clusters, and chains seldom change "
        "from one to another. Run them longer; report what needs no labels (the point partition, "
        "similarity, densities); or relabel with another n_clusters."
    )
