r"""Whether numbers between 0 and 1 are uniform: their distribution function against its band.

The statistic is that of Sailynoja, Burkner and Vehtari: at each of the points i / R the number of
values below is binomial if the R values are uniform; the least tail probability over all points,
doubled, is compared with what uniform values give.

References
----------
Sailynoja, Burkner and Vehtari (2022), *Graphical test for discrete uniformity and its applications
in goodness-of-fit evaluation and multiple sample comparison*, Statistics and Computing 32, 32.
Holm (1979), *Scandinavian Journal of Statistics* 6, 65-70.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import bdtr

SIMULATIONS = 2000
"""Sets of uniform numbers that a p-value, or a band, is found from."""


class Band(NamedTuple):
    """A distribution function less that of the uniform, and where it may be.

    Attributes
    ----------
    points : ndarray [R - 1]
    difference, lower, upper : ndarray [R - 1]
        At these points; a band that holds all of a uniform one with the probability asked for.
    """

    points: np.ndarray
    difference: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @property
    def inside(self) -> bool:
        """Whether it nowhere leaves the band."""
        rounding = 1e-12
        low, high = self.lower - rounding, self.upper + rounding
        return bool(((self.difference >= low) & (self.difference <= high)).all())


def band(values: np.ndarray, prob: float = 0.95) -> Band:
    """ArviZ's simultaneous band about the distribution function of values [R]."""
    points, lower, upper = _limits(len(values), prob)
    ecdf = np.searchsorted(np.sort(values), points, side="right") / len(values)
    return Band(points, ecdf - points, lower - points, upper - points)


@lru_cache(maxsize=8)
def _limits(R: int, prob: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """They do not depend on the values, and are found by simulation."""
    from arviz_stats.ecdf_utils import ecdf_pit

    even = (np.arange(R) + 0.5) / R
    points, _, lower, upper = ecdf_pit(even, ci_prob=prob, n_simulations=SIMULATIONS)
    return points, lower, upper


def p_value(values: np.ndarray) -> float:
    """Probability that uniform numbers are at least as far from the diagonal as values [R].

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.posterior.uniformity import p_value
    >>> even = (np.arange(100) + 0.5) / 100
    >>> p_value(even) > 0.5, p_value(even**1.5) < 0.01
    (True, True)
    """
    null = _null(len(values))
    return float((1 + (null <= _least_tail(np.asarray(values)[None])[0]).sum()) / (1 + len(null)))


def _least_tail(values: np.ndarray) -> np.ndarray:
    """The statistic, [B], of sets [B, R]."""
    R = values.shape[1]
    points = np.arange(1, R) / R
    counts = np.stack([np.searchsorted(row, points, side="right") for row in np.sort(values, 1)])
    below, above = bdtr(counts, R, points), bdtr(counts - 1.0, R, points)
    return 2.0 * np.minimum(below, 1.0 - np.where(counts > 0, above, 0.0)).min(1)


@lru_cache(maxsize=8)
def _null(R: int) -> np.ndarray:
    rng = np.random.default_rng(R)
    return np.concatenate(
        [_least_tail(rng.uniform(size=(50, R))) for _ in range(SIMULATIONS // 50)]
    )


def holm(p_values: np.ndarray) -> np.ndarray:
    """P-values [Q] that are fit to be compared with one level, however many there are.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.posterior.uniformity import holm
    >>> holm(np.array([0.01, 0.5, 0.02])).tolist()
    [0.03, 0.5, 0.04]
    """
    order = np.argsort(p_values)
    scaled = p_values[order] * np.arange(len(order), 0, -1)
    found = np.empty(len(order))
    found[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return found
