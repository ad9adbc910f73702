r"""A mixture of finite mixtures whose prior on K is tilted until all K are visited alike.

The number of components is 1 to M, and its prior is made, by short pilot runs, such that its
posterior is flat: simulated tempering with K for the temperature. What the posterior of K then is,
less the tilt, are ratios of marginal likelihoods,

    log Z_K - log Z_1 = log p(K | x) / p(1 | x) - (tilt_K - tilt_1).

Given the number of clusters t (and the concentration) K has a known law under static weights, whose
mean over the draws has far less noise than frequencies of K.

References
----------
Geyer and Thompson (1995), *Journal of the American Statistical Association* 90, 909-920: tilts.
Miller and Harrison (2018), *Journal of the American Statistical Association* 113, 340-356: K given
the number of clusters.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaln, logsumexp

from bayesgmm.core.arrays import Data
from bayesgmm.core.slots import SlotPrior
from bayesgmm.inference import chains
from bayesgmm.inference.gibbs import GibbsConfig, GibbsPrior, GibbsState

PILOTS, PILOT = 40, 200
"""Pilot runs at the most, and sweeps of each."""

EVEN = 3.0
"""The posterior of K is flat if its largest probability is at most so many times its smallest."""

STEP = 4.0
"""Nats by which the tilt of a K that was not visited grows first; then twice that, and so on."""

KEPT = 20_000_000
"""Labels that are kept of all chains: beyond, draws are thinned."""


class Tilted(NamedTuple):
    """A run at a tilt.

    Attributes
    ----------
    log_probability : [C, S, M]
        Of K = 1, ..., M, given the clusters and the concentration of each draw.
    tilt : [M]
    even : bool
        Whether the pilot runs made the posterior of K flat.
    interrupted : bool
    """

    log_probability: np.ndarray
    tilt: np.ndarray
    even: bool
    interrupted: bool


def slots_for(most: int) -> int:
    """Slots, and entries of the prior of K, for up to so many components: few sizes."""
    return max(8, 1 << int(most).bit_length())


def log_probability_of_number(
    t: np.ndarray, N: int, alpha: np.ndarray, tilt: np.ndarray
) -> np.ndarray:
    """Log p(K | t clusters, alpha), [..., M] of t and alpha [...], under static weights.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.inference.tilting import log_probability_of_number
    >>> np.exp(log_probability_of_number(np.array(2), 2, np.array(1.0), np.zeros(3))).round(3)
    array([0. , 0.4, 0.6])
    """
    K = np.arange(1, len(tilt) + 1)
    left, a = K - np.asarray(t)[..., None], K * np.asarray(alpha)[..., None]
    places = np.where(left >= 0, gammaln(K + 1) - gammaln(np.maximum(left, 0) + 1), -np.inf)
    logs = tilt + places + gammaln(a) - gammaln(a + N)
    return logs - logsumexp(logs, axis=-1, keepdims=True)


def run(
    states: GibbsState,
    data: Data,
    prior: GibbsPrior,
    config: GibbsConfig,
    most: int,
    n_sweeps: int,
    watch: Callable[..., Any] | None = None,
) -> Tilted:
    """A tilted run, its tilt found by pilot runs that are not kept.

    Parameters
    ----------
    states : GibbsState with leading axis C
        Of `slots_for(most)` slots.
    data : Data
    prior : GibbsPrior
        Its prior of K is not read.
    config : GibbsConfig
        Of static weights.
    most : int
        M.
    n_sweeps : int
        Of each chain, after the pilot runs.
    watch : callable, optional
        Called with a `calls.Progress` of the last run.

    Returns
    -------
    Tilted
    """
    N = int(np.count_nonzero(data.weight))
    tilt, step, even = np.zeros(most), np.full(most, STEP), False
    for _ in range(PILOTS):
        draws = _run(states, data, prior, config, tilt, PILOT, 1)
        states = draws.state
        found = _mean(_given_clusters(draws, N, tilt))
        even = np.ptp(found) <= np.log(EVEN)
        tilt, step = _flatter(tilt, found, step)
        if even or draws.interrupted:
            break
    thin = 1 + int(n_sweeps * states.labels.size // KEPT)
    draws = _run(states, data, prior, config, tilt, n_sweeps, thin, watch)
    return Tilted(_given_clusters(draws, N, tilt), tilt, bool(even), draws.interrupted)


def _run(
    states: GibbsState,
    data: Data,
    prior: GibbsPrior,
    config: GibbsConfig,
    tilt: np.ndarray,
    n_sweeps: int,
    thin: int,
    watch: Callable[..., Any] | None = None,
) -> chains.Draws:
    T = states.mixture.log_weights.shape[1]
    number = np.full(T, -np.inf)
    number[: len(tilt)] = tilt - logsumexp(tilt)
    tilted = prior._replace(weights=SlotPrior(number, np.float64(1), np.float64(0)))
    n_draws = -(-n_sweeps // thin)
    return chains.run(states, data, tilted, config, n_draws, thin, max_slots=T, watch=watch)


def _given_clusters(draws: chains.Draws, N: int, tilt: np.ndarray) -> np.ndarray:
    return log_probability_of_number((draws.counts > 0).sum(-1), N, draws.alpha, tilt)


def _mean(logs: np.ndarray) -> np.ndarray:
    """Log of the mean probability over chains and draws, [M]."""
    return logsumexp(logs, axis=(0, 1)) - np.log(logs.shape[0] * logs.shape[1])


def _flatter(
    tilt: np.ndarray, found: np.ndarray, step: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The tilt after a pilot run, with the largest change of each K in the next one."""
    wanted = found.max() - found
    seen = wanted <= step
    tilt = tilt + np.minimum(wanted, step)
    return tilt - tilt.mean(), np.where(seen, STEP, 2 * step)
