r"""Log marginal likelihood by bridge sampling, the proposal summed over every order of components.

The posterior of the parameters is the mean, over the posterior of the labels, of their law given
the labels. So the mean over drawn labellings z_s, made blind to labels as the posterior is,

    q(theta) = 1 / S sum_s 1 / K! sum_order p(theta_order | z_s, x),

is close to the posterior, can be drawn from, and has a density: the sum over the K! orders of a
product over components is a permanent, which takes 2^(K - 1) K products. With draws of both, the
bridge (Meng and Wong 1996) solves

    Z = mean_q [p(x, theta) / (s1 p(x, theta) / Z + s2 q(theta))] / mean_post [q(theta) / (same)],

whatever q is: a poor one costs accuracy, not truth. The labellings come from one half of each chain
and the posterior draws from the other half, then the other way round.

References
----------
Meng and Wong (1996), *Statistica Sinica* 6, 831-860.
Fruhwirth-Schnatter (2004), *Econometrics Journal* 7, 143-167: mixtures, and the error.
Celeux, Fruhwirth-Schnatter and Robert (2019), *Handbook of Mixture Analysis*, chapter 7.
Lee and Robert (2016), *Bayesian Analysis* 11, 573-597: which orders matter.
"""

from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import gammaln, logsumexp

from bayesgmm.core.arrays import Array, Data
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import exact_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import log_likelihood
from bayesgmm.posterior import laws
from bayesgmm.posterior.laws import Given, Natural
from bayesgmm.posterior.summary import error_of_mean

LARGEST = 10
"""Components whose orders are summed over: beyond, this would take minutes."""

LABELLINGS, DRAWS = 500, 1000
"""Of each half: labellings that make q, and draws from the posterior and from q."""

PRODUCTS = LABELLINGS * (1 << 7) * 8
"""Products that the orders of all labellings may take for one draw: beyond, these are fewer."""

PIECE = 8192
"""Pairs of a draw and a labelling that are worked on together: they stay in the cache."""


class Chains(NamedTuple):
    """Posterior draws of C chains in the core's units.

    Attributes
    ----------
    labels : [C, S, N]
        N with padding.
    mixtures : Mixture
        [C, S, K, ...], scales in the rank of the family.
    scale : [C, S, ...]
        C0, or 0.
    log_likelihood : [C, S]
    """

    labels: np.ndarray
    mixtures: Mixture
    scale: np.ndarray
    log_likelihood: np.ndarray


class Bridged(NamedTuple):
    """Log evidence, its standard error, and the overlap of q and the posterior.

    The last is the mean over q of p / (s1 p + s2 q) with p the posterior: 1 if they are the same.
    """

    log_evidence: float
    standard_error: float
    overlap: float


def bridge(
    chains: Chains,
    data: Data,
    prior: Any,
    alpha: float,
    family: Covariance,
    rng: np.random.Generator,
) -> Bridged:
    """Log marginal likelihood of the data in the core's units.

    Parameters
    ----------
    chains : Chains
        At least four draws a chain, of a posterior with K components, K up to `LARGEST`.
    data : Data
    prior : NormalInverseWishart, IndependentPrior or HierarchicalPrior
        Of one component.
    alpha : float
        Of the Dirichlet weights.
    family : Covariance
    rng : numpy.random.Generator

    Returns
    -------
    Bridged
    """
    S = chains.log_likelihood.shape[1] // 2
    first, second = (_rows(chains, part) for part in (slice(S), slice(-S, None)))
    pairs = (first, second), (second, first)
    found = [_one_half(*pair, data, prior, alpha, family, rng) for pair in pairs]
    mean, error, overlap = (np.array(part) for part in zip(*found, strict=True))
    return Bridged(
        float(mean.mean()), float(np.sqrt(np.square(error).sum()) / 2), float(overlap.min())
    )


def _one_half(
    of_labels: Chains,
    of_draws: Chains,
    data: Data,
    prior: Any,
    alpha: float,
    family: Covariance,
    rng: np.random.Generator,
) -> Bridged:
    """The bridge between q, made of some draws, and others."""
    K = of_draws.mixtures.means.shape[2]
    some = min(LABELLINGS, max(PRODUCTS // ((1 << (K - 1)) * K), 1))
    given = jax.tree.map(_merged, _thinned(of_labels, some))
    law = jax.tree.map(
        np.asarray,
        laws.laws(Given(given.labels, given.mixtures, given.scale), data, prior, family),
    )
    proposal = laws.natural(law, alpha, family)
    own = _thinned(of_draws, DRAWS)
    C, S = own.log_likelihood.shape
    posterior = laws.features(jax.tree.map(_merged, own.mixtures), family)
    which = np.resize(rng.permutation(len(law.counts)), DRAWS)
    drawn = laws.draws(jax.tree.map(lambda leaf: leaf[which], law), alpha, family, rng)
    proposed = laws.features(drawn, family)
    likelihoods = own.log_likelihood.ravel(), _log_likelihoods(data, drawn, family)
    ratios = [
        likelihood + laws.log_prior(theta, prior, alpha, family) - log_density(theta, proposal)
        for theta, likelihood in zip((posterior, proposed), likelihoods, strict=True)
    ]
    return bridged(ratios[0].reshape(C, S), ratios[1])


def _merged(leaf: np.ndarray) -> np.ndarray:
    return leaf.reshape(-1, *leaf.shape[2:])


def _thinned(chains: Chains, most: int) -> Chains:
    """Evenly spaced draws of each chain, at most so many in all."""
    C, S = chains.log_likelihood.shape
    rows = np.linspace(0, S - 1, max(min(S, most // C), 1)).astype(int)
    return _rows(chains, rows)


def _rows(chains: Chains, rows: Any) -> Chains:
    return jax.tree.map(lambda leaf: leaf[:, rows], chains)


@partial(jax.jit, static_argnames=("family",))
def _all_likelihoods(data: Data, mixtures: Mixture, family: Covariance) -> Array:
    form = exact_form(family.axis_aligned)
    return jax.lax.map(lambda one: log_likelihood(data, one, form), mixtures)


def _log_likelihoods(data: Data, mixtures: Mixture, family: Covariance) -> np.ndarray:
    return np.asarray(_all_likelihoods(data, mixtures, family))


# --- the proposal ---------------------------------------------------------------------------------


def log_density(theta: np.ndarray, proposal: Natural) -> np.ndarray:
    """Log q [M] of mixtures with features [M, K, F], the mean over labellings and orders."""
    M, K, _ = theta.shape
    S = len(proposal.pairs)
    clusters = np.ascontiguousarray(proposal.pairs.swapaxes(0, 1))  # [K, S, F]
    found, step = np.empty(M), max(PIECE // S, 1)
    for start in range(0, M, step):
        part = theta[start : start + step].transpose(1, 2, 0)  # [K, F, m]
        pairs = clusters[None] @ part[:, None]  # of component and cluster, [K, K, S, m]
        orders = log_permanent(pairs.reshape(K, K, -1)).reshape(S, -1)
        found[start : start + step] = logsumexp(orders + proposal.shared @ part[0], axis=0)
    return found - np.log(S) - gammaln(K + 1)


def log_permanent(logs: np.ndarray) -> np.ndarray:
    """Log of the permanents [B] of matrices exp(logs), [K, K, B].

    By recursion over the columns that the first rows take: all terms are positive, so no digit is
    lost. What is exp(-700) of the product of the largest entries of the rows counts as 0.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.posterior.bridge import log_permanent
    >>> np.exp(log_permanent(np.log([[[1.0], [2.0]], [[3.0], [4.0]]]))).round(6)  # 1 4 + 2 3
    array([10.])
    """
    K = len(logs)
    top = logs.max(1)
    entries = np.exp(logs - top[:, None])
    reached = {0: np.ones_like(top[0])}
    for k in range(K):
        after = {}
        for columns in combinations(range(K), k + 1):
            taken = sum(1 << j for j in columns)
            total = reached[taken & ~(1 << columns[0])] * entries[k, columns[0]]
            for j in columns[1:]:
                total += reached[taken & ~(1 << j)] * entries[k, j]
            after[taken] = total
        reached = after
    with np.errstate(divide="ignore"):
        return np.log(reached[(1 << K) - 1]) + top.sum(0)


# --- the bridge -----------------------------------------------------------------------------------


def bridged(of_posterior: np.ndarray, of_proposal: np.ndarray) -> Bridged:
    """From log p(x, theta) - log q(theta) at draws of the posterior [C, S], and of q [M]."""
    middle = np.median(of_posterior)
    ahead, behind = of_posterior - middle, of_proposal - middle
    shares = _effective(ahead), float(behind.size)
    s1, s2 = (share / sum(shares) for share in shares)
    log_z = 0.0
    for _ in range(1000):
        above = _log_mean(behind - np.logaddexp(np.log(s1) + behind - log_z, np.log(s2)))
        below = _log_mean(-np.logaddexp(np.log(s1) + ahead - log_z, np.log(s2)))
        log_z, before = above - below, log_z
        if abs(log_z - before) < 1e-10:
            break
    of_q = np.exp(behind - log_z - np.logaddexp(np.log(s1) + behind - log_z, np.log(s2)))
    of_p = np.exp(-np.logaddexp(np.log(s1) + ahead - log_z, np.log(s2)))
    first = of_q.var(ddof=1) / of_q.size / of_q.mean() ** 2
    second = (error_of_mean(of_p) / of_p.mean()) ** 2
    overlap = float(of_q.mean())
    return Bridged(float(log_z + middle), float(np.sqrt(first + second)), overlap)


def _log_mean(logs: np.ndarray) -> float:
    return float(logsumexp(logs) - np.log(logs.size))


def _effective(values: np.ndarray) -> float:
    """Effective number of draws [C, S] for the mean."""
    from arviz_stats.base import array_stats

    if np.ptp(values) == 0:
        return float(values.size)
    found = array_stats.ess(np.clip(values, -1e3, 1e3), method="mean")
    return float(np.clip(np.nan_to_num(found, nan=1.0), 1, values.size))
