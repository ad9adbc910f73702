r"""How far to trust a variational posterior: importance weights against the exact joint.

Draws theta = (alpha, w, mu, Sigma) give log p(x, theta) - log q(theta), whose spread says how
far q is from the posterior (Pareto k-hat) and whose mean, of the exponentials, is the evidence.
Two things would spoil both, and are mended:

- q is about one labelling of the components, the posterior about all. The proposal is the sum
  over every order in which the K kept components may take the places of the prior, an order as
  probable as the prior over weights makes it: q(mu, Sigma) of a place is that of any of them, and

      q(w, order | alpha) = p(w | alpha) prod_k w_k^n / sum_order E[prod_k w_k^n], n = n_order(k).

  (`orders`).
- where a component may be empty its parameters are free to go where the prior lets them, and where
  points may be shared out otherwise there are other modes. A part of the draws is of the prior, so
  that no weight exceeds p(x | theta) / `PRIOR`, and of what lies between q and the prior; up to
  `FEW` kept components a part is of the posteriors given labellings that Gibbs chains from the
  prior have met (`labellings`).

Places beyond the kept components hold no points and have the prior's parameters: all the others of
a symmetric Dirichlet; of the sticks of a process `SPARE`, which orders may put between the others,
and `BEYOND` more that come after them, the last of which takes what is left.

References
----------
Yao, Vehtari, Simpson and Gelman (2018), *Proceedings of Machine Learning Research* 80, 5581-5590.
Vehtari, Simpson, Gelman, Yao and Gabry (2024), *Journal of Machine Learning Research* 25(72).
Nakajima, Watanabe and Sugiyama (2019), *Variational Bayesian Learning Theory*, for the log K!.
Hesterberg (1995), *Technometrics* 37, 185-194, for the share of the prior.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import logsumexp
from scipy import special

from bayesgmm.core.arrays import (
    Array,
    Data,
    Key,
    cholesky,
    diagonal,
    inverse_scales,
    is_axis_aligned,
    power_of_two,
)
from bayesgmm.core.concentration import (
    GammaConcentration,
    GridConcentration,
    Sticks,
    gamma_grid,
)
from bayesgmm.core.conjugate import Hyperparameters, NormalInverseWishart, draw, log_normalizer
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import exact_form
from bayesgmm.core.mixture import LOG_2PI, Mixture
from bayesgmm.core.sweep import log_likelihood
from bayesgmm.core.weights import StickBreaking
from bayesgmm.inference import devices
from bayesgmm.inference.labellings import met
from bayesgmm.inference.orders import ORDERED, as_fitted, draw_order, log_totals, sum_of_orders
from bayesgmm.inference.vb import VBPrior, with_error

POWERS = (1.0, 0.5, 0.25, 0.125)
SHARES = (0.45, 0.1, 0.1, 0.1)
LABELLED, PRIOR = 0.2, 0.05
"""Draws are of q and of what lies between it and the prior, prior^(1 - b) q^b for each power b; of
the posteriors given labellings; and of the prior: these are their shares."""

FEW, CHAINS = 6, 32
"""Up to so many kept components there are labellings, of so many chains."""

SPARE, BEYOND = 4, 12
"""Sticks without points: those that may stand between others, and those after them."""

BATCH = 16
"""Draws whose likelihoods are evaluated together."""


class Importance(NamedTuple):
    """What the weights say.

    Attributes
    ----------
    log_evidence : float
        Estimate, in nats for all points.
    standard_error : float
        Of it: the relative standard error of the evidence.
    khat : float
        Shape of the generalised Pareto distribution of the largest weights: up to 0.7 the estimate
        and its error can be relied on.
    n_draws : int
    left_out : str
        What of the posterior the proposal does not cover; empty if nothing.
    """

    log_evidence: float
    standard_error: float
    khat: float
    n_draws: int
    left_out: str


class Places(NamedTuple):
    """What may stand in a place: K kept components, and in the last row none of them.

    Attributes
    ----------
    components : NormalInverseWishart
        [B, K + 1, ...], for each of the powers and labellings; of a pooled family two covariances,
        that of all and the prior's.
    counts : [B, K + 1]
    log_shares : [B + 1]
        Of the draws, the last the prior's.
    """

    components: NormalInverseWishart
    counts: np.ndarray
    log_shares: np.ndarray


def check(
    shards: Sequence[Data],
    posterior: NormalInverseWishart,
    prior: VBPrior,
    family: Covariance,
    n_draws: int,
    seed: int,
) -> Importance:
    """The importance-weighted check of q.

    Parameters
    ----------
    shards : sequence of Data
        In float64.
    posterior : NormalInverseWishart
        q(mu, Sigma) of the K components that are kept, in the order of the fit.
    prior : VBPrior
        The same for every component.
    family : Covariance
    n_draws : int
        At least so many: it is rounded up.
    seed : int

    Returns
    -------
    Importance
    """
    rng = np.random.default_rng(seed)
    K, S = len(posterior.mean), BATCH * -(-n_draws // BATCH)
    sticks = isinstance(prior.weights, Sticks)
    n_places = K + SPARE if sticks else int(prior.weights.n_components)
    places = _places(posterior, prior.components, family)
    if K <= FEW:
        found = met(shards, prior, family, n_places, CHAINS, rng.integers(2**31))
        places = _with_labelled(places, found, prior.components, family)
    shares = np.cumsum(np.exp(places.log_shares[:-1]))
    levels = np.digitize((np.arange(S) + 0.5) / S, shares)  # the last: the prior
    of_prior = levels == len(shares)
    grid, index, log_ratio = _concentrations(rng, places.counts[0], prior, n_places, of_prior)
    alpha, which = _drawn(grid, index)
    keys = jr.split(jr.key(rng.integers(2**31)), S)
    totals = np.asarray(log_totals(alpha, places.counts, prior.weights, n_places))
    draws = Draws(keys, levels, alpha[which], log_ratio, totals[which])
    mixtures, ratios = _proposals(draws, places, prior, family, n_places)
    log_weights = np.asarray(ratios) + _likelihoods(mixtures, shards, family)[:, None]
    return _summary(log_weights[:, 0], log_weights[levels == 0, 1], _left_out(K, prior.weights))


def _places(
    posterior: NormalInverseWishart, prior: NormalInverseWishart, family: Covariance
) -> Places:
    """Of every power: the exponential family's, whose natural parameters are averages."""
    counts = np.asarray(posterior.mean_precision) - np.asarray(prior.mean_precision)[:1]
    first = jax.tree.map(lambda leaf: np.asarray(leaf)[:1], prior)
    levels = [_with_prior(_between(posterior, first, b, family), first) for b in POWERS]
    components = jax.tree.map(lambda *leaves: np.stack(leaves), *levels)
    counts = np.outer(POWERS, np.append(counts, 0.0))
    return Places(components, counts, _log_shares(()))


def _log_shares(labelled: tuple) -> np.ndarray:
    shares = np.array([*SHARES, *labelled, PRIOR])
    return np.log(shares / shares.sum())


def _with_prior(
    components: NormalInverseWishart, first: NormalInverseWishart
) -> NormalInverseWishart:
    """The prior in one more row, and in one more covariance of a pooled family."""
    return jax.tree.map(lambda leaf, row: np.concatenate([leaf, row]), components, first)


def _with_labelled(
    places: Places, found: NormalInverseWishart, prior: NormalInverseWishart, family: Covariance
) -> Places:
    """With what chains have met [C, P, ...], those that hold points in few enough components."""
    first = jax.tree.map(lambda leaf: np.asarray(leaf)[:1], prior)
    counts = np.maximum(found.mean_precision - first.mean_precision, 0.0)
    K = min(counts.shape[1], max(places.counts.shape[1] - 1, FEW))
    chains = np.flatnonzero((counts[:, K:] < 0.5).all(1))
    if not len(chains):
        return places
    chains = np.resize(chains, CHAINS)
    cut = (K, K, 1, 1) if family.pooled else (K,) * 4
    rows = [
        _with_prior(
            NormalInverseWishart(*(leaf[c, :n] for leaf, n in zip(found, cut, strict=True))), first
        )
        for c in chains
    ]
    more = K + 1 - places.counts.shape[1]  # the last row is the prior's
    room = (more, more, 0, 0) if family.pooled else (more,) * 4
    old = NormalInverseWishart(
        *(
            np.concatenate([leaf, *[leaf[:, -1:]] * n], axis=1)
            for leaf, n in zip(places.components, room, strict=True)
        )
    )
    components = jax.tree.map(
        lambda leaf, *others: np.concatenate([leaf, np.stack(others)]), old, *rows
    )
    counts = np.concatenate(
        [np.pad(places.counts, [(0, 0), (0, more)]), np.pad(counts[chains, :K], [(0, 0), (0, 1)])]
    )
    return Places(components, counts, _log_shares((LABELLED / CHAINS,) * CHAINS))


def _between(
    posterior: NormalInverseWishart, prior: NormalInverseWishart, b: float, family: Covariance
) -> NormalInverseWishart:
    outer = np.square if family.axis_aligned else lambda m: m[:, :, None] * m[:, None, :]

    def sums(of: NormalInverseWishart) -> Any:
        precision = np.broadcast_to(of.mean_precision, len(posterior.mean))
        mean = np.broadcast_to(of.mean, posterior.mean.shape)
        weight = precision.reshape(-1, *(1,) * (1 if family.axis_aligned else 2))
        return precision, precision[:, None] * mean, weight * outer(mean)

    pairs = zip(sums(prior), sums(posterior), strict=True)
    precision, first, second = ((1 - b) * old + b * new for old, new in pairs)
    mean = first / precision[:, None]
    own = precision.reshape(-1, *(1,) * (second.ndim - 1)) * outer(mean)
    scatter = np.asarray(family.reduce(second - own))
    dof = (1 - b) * prior.dof + b * posterior.dof
    return NormalInverseWishart(
        mean, precision, dof, (1 - b) * prior.scale + b * posterior.scale + scatter
    )


def _left_out(K: int, weights: Any) -> str:
    said = []
    if K > ORDERED:
        said.append(f"orders of the components other than that of the fit, of {K}! there are")
    if isinstance(weights, Sticks):
        said.append(f"more than {SPARE} empty sticks before one with points")
    return "; ".join(said)


def _summary(log_weights: np.ndarray, of_q: np.ndarray, left_out: str) -> Importance:
    from arviz_stats.base import array_stats

    S = len(log_weights)
    log_evidence = special.logsumexp(log_weights) - np.log(S)
    spread = np.exp(log_weights - log_evidence).std(ddof=1) / np.sqrt(S)
    khat = float(array_stats.psislw(-of_q)[1])  # of log likelihoods, it says
    return Importance(float(log_evidence), float(spread), khat, S, left_out)


# --- the concentration ----------------------------------------------------------------------------


def _concentrations(
    rng: np.random.Generator,
    counts: np.ndarray,
    prior: VBPrior,
    n_places: int,
    from_prior: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of alpha [S], of the prior where that is wanted, and log p(alpha) - log q(alpha).

    A learned one is drawn on a grid, as probable as the counts make it: more exact, and wider, than
    q(alpha), which does not know that weights depend on it.
    """
    S, known = len(from_prior), prior.concentration
    if isinstance(known, GammaConcentration):
        alpha, log_p = gamma_grid(float(known.shape), float(known.rate))
    elif isinstance(known, GridConcentration):
        alpha, log_p = (np.asarray(leaf, float) for leaf in known[:2])
    else:
        return np.full(1, float(known.mean())), np.zeros(S, int), np.zeros(S)
    plain = counts[as_fitted(len(counts) - 1, n_places)]
    log_q = log_p + np.asarray(_log_evidences(alpha, plain, prior.weights))
    log_q = log_q - special.logsumexp(log_q)
    of_prior, of_q = (rng.choice(len(alpha), S, p=special.softmax(log)) for log in (log_p, log_q))
    index = np.where(from_prior, of_prior, of_q)
    return alpha, index, (log_p - log_q)[index]


def _drawn(grid: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of a grid that are drawn, up to a power of two, and of each draw [S] which."""
    found, which = np.unique(index, return_inverse=True)
    alpha = grid[found]
    return np.pad(alpha, (0, power_of_two(len(alpha)) - len(alpha)), mode="edge"), which


@jax.jit
def _log_evidences(alpha: Array, counts: Array, weights: Any) -> Array:
    present = jnp.ones(counts.shape, bool)
    return jax.vmap(lambda a: weights.given(a, present).log_evidence(counts))(alpha)


# --- the draws ------------------------------------------------------------------------------------


class Draws(NamedTuple):
    """What each of S draws is of.

    Attributes
    ----------
    key : [S]
    level : [S]
        Which of the powers or labellings; beyond them the prior.
    alpha : [S]
    log_ratio : [S]
        log p(alpha) - log q(alpha).
    log_totals : [S, B]
        `orders.log_totals` at this alpha.
    """

    key: Key
    level: Array
    alpha: Array
    log_ratio: Array
    log_totals: Array


@partial(jax.jit, static_argnames=("family", "n_places"), compiler_options=devices.STEPS)
def _proposals(
    draws: Draws,
    places: Places,
    prior: VBPrior,
    family: Covariance,
    n_places: int,
) -> tuple[Mixture, Array]:
    """Mixtures [S, ...]; log p(theta) less log of the proposal, and less log q(theta), [S, 2]."""

    def one(drawn: Draws) -> tuple[Mixture, Array]:
        mixture = _draw_one(drawn, places, prior, family, n_places)

        def of_level(components: NormalInverseWishart, counts: Array) -> tuple[Array, Array]:
            plain, terms, shared = _densities(mixture, n_places, components, counts, family)
            return plain, sum_of_orders(terms) + shared

        plain, log_q = jax.vmap(of_level)(places.components, places.counts)
        log_q = log_q - drawn.log_totals
        log_p = plain[0] + drawn.log_ratio  # the density of w given alpha is in both
        mixed = logsumexp(places.log_shares + jnp.append(log_q, log_p))
        return with_error(mixture, prior.ridge), log_p - jnp.stack([mixed, log_q[0]])

    return jax.lax.map(one, draws, batch_size=BATCH)


class Known(NamedTuple):
    """Weights that have been drawn."""

    log_weights: Array

    def draw(self, key: Key) -> Array:
        """Themselves."""
        return self.log_weights


def _draw_one(
    drawn: Draws, places: Places, prior: VBPrior, family: Covariance, n_places: int
) -> Mixture:
    """A mixture, first the components in the P places and then those beyond them."""
    key, key_order, key_weights = jr.split(drawn.key, 3)
    is_prior = drawn.level == len(places.counts)
    own = lambda leaf: jnp.asarray(leaf)[drawn.level]  # noqa: E731
    components, counts = jax.tree.map(own, places.components), own(places.counts)
    K, P = len(counts) - 1, n_places
    order = draw_order(key_order, counts, prior.weights, drawn.alpha, P)
    order = jnp.where(is_prior, K, order)
    more = BEYOND if isinstance(prior.weights, Sticks) else 0
    weights = prior.weights.given(drawn.alpha, jnp.ones(P + more, bool))
    order = jnp.append(order, jnp.full(more, K, order.dtype))
    weights = weights.update(counts[order])
    if more:  # the last stick takes what is left
        weights = StickBreaking(weights.sticks.at[-1].set(jnp.array([1.0, 0.0])))
    log_weights = weights.draw(key_weights)
    mean, precision, dof, scale = components
    group = is_prior.astype(int)[None] if family.pooled else order
    components = NormalInverseWishart(mean[order], precision[order], dof[group], scale[group])
    return draw(key, Hyperparameters(Known(log_weights), components), family)


def _densities(
    mixture: Mixture, P: int, components: NormalInverseWishart, counts: Array, family: Covariance
) -> tuple[Array, Array, Array]:
    """Of the components in the first P places.

    Returns their log prior [], log q of each as any of the kept ones with the log of its weight to
    the power of its points [P, K + 1], and what of log q all have in common [].
    """
    groups = 1 if family.pooled else P
    log_means = _log_means(mixture.means[:P], mixture.scales[:groups], components)
    log_scales = _log_scales(mixture.scales[:groups], components, family)
    terms = jnp.where(counts > 0, mixture.log_weights[:P, None] * counts, 0.0)
    if family.pooled:
        plain = log_means[:, -1].sum() + log_scales[0, 1]
        return plain, terms + log_means, log_scales[0, 0]
    own = log_means + log_scales
    return own[:, -1].sum(), terms + own, jnp.zeros(())


def _log_means(means: Array, scales: Array, components: NormalInverseWishart) -> Array:
    """Log density of each of P means given its covariance, for each of J priors, [P, J]."""
    D = means.shape[1]
    gap = means[:, None] - components.mean
    inverse = jnp.broadcast_to(inverse_scales(scales), (len(means), *scales.shape[1:]))
    if is_axis_aligned(scales):
        whitened, log_det = inverse[:, None] * gap, -jnp.log(inverse).sum(-1)
    else:
        whitened = jnp.einsum("pij,pkj->pki", inverse, gap)
        log_det = -jnp.log(diagonal(inverse)).sum(-1)
    precision = components.mean_precision
    form = precision * jnp.square(whitened).sum(-1)
    return 0.5 * (D * (jnp.log(precision) - LOG_2PI) - form) - log_det[:, None]


def _log_scales(scales: Array, components: NormalInverseWishart, family: Covariance) -> Array:
    """Log density of each of G covariances for each of J priors, [G, J].

    With respect to the measure under which the density has no power of the determinant but dof / 2.
    """
    dof = components.dof
    if family.axis_aligned:
        variance = jnp.square(scales[:, : components.scale.shape[1]])
        log_det = jnp.log(variance).sum(-1)
        trace = (1.0 / variance) @ components.scale.T
    else:
        inverse, root = inverse_scales(scales), cholesky(components.scale)
        log_det = -2.0 * jnp.log(diagonal(inverse)).sum(-1)
        trace = jnp.square(jnp.einsum("gij,kjl->gkil", inverse, root)).sum((-1, -2))
    return -log_normalizer(components, family) - 0.5 * (dof * log_det[:, None] + trace)


# --- the likelihood -------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("family",), compiler_options=devices.WIDE)
def _likelihood(mixtures: Mixture, data: Data, family: Covariance) -> Array:
    form = exact_form(family.axis_aligned)
    return jax.vmap(lambda mixture: log_likelihood(data, mixture, form))(mixtures)


def _likelihoods(mixtures: Mixture, shards: Sequence[Data], family: Covariance) -> np.ndarray:
    """Log likelihood of each of S mixtures, a batch at a time."""
    mixtures, found = jax.tree.map(np.asarray, mixtures), []
    for start in range(0, len(mixtures.means), BATCH):
        part = jax.tree.map(lambda leaf: leaf[start : start + BATCH], mixtures)  # noqa: B023
        of_shard = partial(_likelihood, part, family=family)
        found.append(devices.sum_over(of_shard, shards, np.float64))
    return np.concatenate(found)
