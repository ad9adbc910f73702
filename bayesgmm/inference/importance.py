r"""How far to trust a variational posterior: importance weights against the exact joint.

Draws theta = (alpha, w, mu, Sigma) of q give log p(x, theta) - log q(theta), whose spread says how
far q is from the posterior (Pareto k-hat) and whose mean, of the exponentials, is the evidence.
Two things would spoil both, and are mended:

- q is about one labelling of the components, the posterior about all. The proposal is the sum
  over every order in which the K kept components may take the places of the prior, an order as
  probable as the prior over weights makes it: q(mu, Sigma) of a place is that of any of them, and

      q(w, order) = p(w | alpha) prod_k w_k^{n_order(k)} / sum_order E[prod_k w_k^{n_order(k)}].

  The sum over orders is that of a permanent, found by recursion over the sets of components that
  the first places hold: 2^K K terms, all of one sign, where the sum itself has K!.
- where a component may be empty its parameters are free to go where the prior lets them, and where
  points may be shared out otherwise there are other modes. A part of the draws is of the prior, so
  that no weight exceeds p(x | theta) / `PRIOR`, and of what lies between q and the prior.

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
from scipy import special, stats

from bayesgmm.core.arrays import (
    Array,
    Data,
    Key,
    cholesky,
    diagonal,
    inverse_scales,
    is_axis_aligned,
)
from bayesgmm.core.concentration import GammaConcentration, GridConcentration, Sticks
from bayesgmm.core.conjugate import Hyperparameters, NormalInverseWishart, draw, log_normalizer
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import exact_form
from bayesgmm.core.logs import before
from bayesgmm.core.mixture import LOG_2PI, Mixture
from bayesgmm.core.sweep import log_likelihood
from bayesgmm.core.weights import Dirichlet, StickBreaking
from bayesgmm.inference import devices
from bayesgmm.inference.vb import VBPrior, with_error

POWERS = (1.0, 0.5, 0.25, 0.125)
SHARES = (0.65, 0.1, 0.1, 0.1)
PRIOR = 0.05
"""Draws are of q, of the prior, and of what lies between them, prior^(1 - b) q^b for each power b:
these are their shares."""

SPARE, BEYOND = 4, 12
"""Sticks without points: those that may stand between others, and those after them."""

ORDERED = 12
"""Up to so many kept components all their orders are summed, beyond them only the one fitted."""

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
        [B, K + 1, ...], for each of the powers; of a pooled family two covariances, that of all
        and the prior's.
    counts : [B, K + 1]
    """

    components: NormalInverseWishart
    counts: np.ndarray


def check(
    shards: Sequence[Data],
    posterior: NormalInverseWishart,
    concentration: Any,
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
    concentration : Fixed, GammaConcentration or GridConcentration
        q(alpha).
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
    places = _places(posterior, prior.components, family)
    K, S = places.counts.shape[1] - 1, BATCH * -(-n_draws // BATCH)
    sticks = isinstance(prior.weights, Sticks)
    n_places = K + SPARE if sticks else int(prior.weights.n_components)
    levels = np.digitize((np.arange(S) + 0.5) / S, np.cumsum(SHARES))  # the last: the prior
    from_prior, mean = levels == len(SHARES), float(concentration.mean())
    alpha, log_ratio = _concentrations(rng, concentration, prior.concentration, from_prior)
    orders, log_totals = np.full((S, n_places), K), np.zeros(len(SHARES))
    for i, counts in enumerate(places.counts):
        rows = levels == i
        orders[rows], log_totals[i] = _orders(
            rng, counts, prior.weights, mean, n_places, rows.sum()
        )
    keys = jr.split(jr.key(rng.integers(2**31)), S)
    draws = Draws(keys, orders, levels, alpha, log_ratio)
    mixtures, ratios = _proposals(draws, places, prior, mean, log_totals, family)
    log_weights = np.asarray(ratios) + _likelihoods(mixtures, shards, family)[:, None]
    return _summary(log_weights[:, 0], log_weights[levels == 0, 1], _left_out(K, prior.weights))


def _places(
    posterior: NormalInverseWishart, prior: NormalInverseWishart, family: Covariance
) -> Places:
    """Of every power: the exponential family's, whose natural parameters are averages."""
    counts = np.asarray(posterior.mean_precision) - np.asarray(prior.mean_precision)[:1]
    first = jax.tree.map(lambda leaf: np.asarray(leaf)[:1], prior)
    levels = [_between(posterior, first, b, family) for b in POWERS]
    levels = [
        jax.tree.map(lambda old, new: np.concatenate([old, new]), level, first) for level in levels
    ]
    components = jax.tree.map(lambda *leaves: np.stack(leaves), *levels)
    counts = np.outer(POWERS, np.append(counts, 0.0))
    return Places(components, counts)


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
    khat = float(array_stats.psislw(of_q)[1])
    return Importance(float(log_evidence), float(spread), khat, S, left_out)


# --- the concentration ----------------------------------------------------------------------------


def _concentrations(
    rng: np.random.Generator, posterior: Any, prior: Any, from_prior: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of alpha, of the prior where that is wanted, and log p(alpha) - log q(alpha) [S]."""
    S, n = len(from_prior), int(from_prior.sum())
    if isinstance(posterior, GammaConcentration):
        q, p = (stats.gamma(float(g.shape), scale=1 / float(g.rate)) for g in (posterior, prior))
        alpha = np.append(p.rvs(n, random_state=rng), q.rvs(S - n, random_state=rng))
        return alpha, p.logpdf(alpha) - q.logpdf(alpha)
    if isinstance(posterior, GridConcentration):
        logs = [np.asarray(g.log_probability, float) for g in (prior, posterior)]
        sizes = (n, S - n)
        index = np.concatenate(
            [
                rng.choice(len(log), size, p=special.softmax(log))
                for log, size in zip(logs, sizes, strict=True)
            ]
        )
        return np.asarray(posterior.alpha, float)[index], (logs[0] - logs[1])[index]
    return np.full(S, float(posterior.mean())), np.zeros(S)


# --- the orders -----------------------------------------------------------------------------------


def _subsets(K: int) -> tuple[np.ndarray, np.ndarray]:
    """For every set S of K components and every one of them: S without it, and whether it is in."""
    sets, bits = np.arange(1 << K)[:, None], 1 << np.arange(K)
    return sets & ~bits, (sets & bits) > 0


def _orders(
    rng: np.random.Generator, counts: np.ndarray, weights: Any, alpha: float, n_places: int, S: int
) -> tuple[np.ndarray, float]:
    """Who stands in each place [S, P], by the probability of the order; and log of their sum."""
    K = len(counts) - 1
    plain = np.append(np.arange(K), np.full(n_places - K, K))
    log_one = float(weights.given(alpha, np.ones(n_places, bool)).log_evidence(counts[plain]))
    if K > ORDERED:
        return np.tile(plain, (S, 1)), log_one
    if not isinstance(weights, Sticks):  # all orders are alike, and so is what is made of them
        ways = special.gammaln(n_places + 1) - special.gammaln(n_places - K + 1)
        return np.tile(plain, (S, 1)), log_one + float(ways)
    steps, total = _ways(counts, weights.discount, alpha, n_places)
    orders, held = np.empty((S, n_places), int), np.full(S, (1 << K) - 1)
    for k in range(n_places)[::-1]:  # from the last place to the first
        orders[:, k] = np.argmax(steps[k][held] + rng.gumbel(size=(S, K + 1)), axis=1)
        held = np.where(orders[:, k] < K, held & ~(1 << orders[:, k]), held)
    return orders, total


def _ways(
    counts: np.ndarray, discount: float, alpha: float, n_places: int
) -> tuple[list[np.ndarray], float]:
    """E[prod w^n] of sticks summed over orders.

    By place k: log of the part, [2^K, K + 1], in which the first k places hold the set S and
    a given component (or, in the last column, none) stands in the k-th; and log of the whole sum.
    """
    K = len(counts) - 1
    without, inside = _subsets(K)
    later = counts.sum() - inside @ counts[:K]  # points of who is not in S
    reached, steps = np.where(np.arange(1 << K) == 0, 0.0, -np.inf), []
    for k in range(n_places):
        left = alpha + (k + 1) * discount
        stick = special.betaln(1 - discount + counts, left + later[:, None])
        stick = stick - special.betaln(1 - discount, left)
        before = np.where(inside, reached[without], -np.inf)
        steps.append(np.append(before, reached[:, None], axis=1) + stick)
        reached = special.logsumexp(steps[-1], axis=1)
    return steps, float(reached[-1])


def _sum_of_orders(terms: Array) -> Array:
    """Log of the sum over orders of exp(sum_k terms[k, who stands in k]), [], terms [P, K + 1].

    The last column is of those that are not kept, who may stand in any number of places.
    """
    K = terms.shape[1] - 1
    if K > ORDERED:
        return jnp.trace(terms[:K, :K]) + terms[K:, K].sum()
    without, inside = _subsets(K)

    def place(reached: Array, term: Array) -> tuple[Array, None]:
        before = jnp.where(inside, reached[without] + term[:K], -jnp.inf)
        both = jnp.append(before, (reached + term[K])[:, None], axis=1)
        top = both.max(1, keepdims=True)
        top = jnp.where(top > -jnp.inf, top, 0.0)
        return jnp.log(jnp.exp(both - top).sum(1)) + top[:, 0], None

    first = jnp.where(jnp.arange(1 << K) == 0, 0.0, -jnp.inf)
    return jax.lax.scan(place, first, terms)[0][-1]


# --- the draws ------------------------------------------------------------------------------------


class Draws(NamedTuple):
    """What each of S draws is of.

    Attributes
    ----------
    key : [S]
    order : [S, P]
        Who stands in each place.
    level : [S]
        Which of the powers; beyond them the prior.
    alpha : [S]
    log_ratio : [S]
        log p(alpha) - log q(alpha).
    """

    key: Key
    order: Array
    level: Array
    alpha: Array
    log_ratio: Array


@partial(jax.jit, static_argnames=("family",))
def _proposals(
    draws: Draws,
    places: Places,
    prior: VBPrior,
    mean_alpha: Array,
    log_totals: Array,
    family: Covariance,
) -> tuple[Mixture, Array]:
    """Mixtures [S, ...]; log p(theta) less log of the proposal, and less log q(theta), [S, 2]."""
    shares = jnp.log(jnp.array([*SHARES, PRIOR]))
    present = jnp.ones(draws.order.shape[1], bool)

    def one(drawn: Draws) -> tuple[Mixture, Array]:
        logs, mixture = _draw_one(drawn, places, prior, mean_alpha, family)
        at_mean, at_alpha = (prior.weights.given(a, present) for a in (mean_alpha, drawn.alpha))
        plain, terms, shared = jax.vmap(lambda own: _densities(mixture, len(present), own, family))(
            places
        )
        log_p = drawn.log_ratio + plain[0] + _log_density(logs, at_alpha)
        log_q = jax.vmap(_sum_of_orders)(terms) - log_totals + shared + _log_density(logs, at_mean)
        mixed = logsumexp(shares + jnp.append(log_q, log_p))
        return with_error(mixture, prior.ridge), log_p - jnp.stack([mixed, log_q[0]])

    return jax.lax.map(one, draws, batch_size=BATCH)


class Known(NamedTuple):
    """Weights that have been drawn."""

    log_weights: Array

    def draw(self, key: Key) -> Array:
        """Themselves."""
        return self.log_weights


def _draw_one(
    drawn: Draws, places: Places, prior: VBPrior, mean_alpha: Array, family: Covariance
) -> tuple[Array, Mixture]:
    """Logs of the weights of the P places or of the parts of their sticks, and the mixture."""
    key, key_weights = jr.split(drawn.key)
    order, alpha, is_prior = drawn.order, drawn.alpha, drawn.level == len(SHARES)
    places = jax.tree.map(lambda leaf: jnp.asarray(leaf)[drawn.level], places)
    P, K = len(order), len(places.counts) - 1
    own = prior.weights.given(jnp.where(is_prior, alpha, mean_alpha), jnp.ones(P, bool))
    own = own.update(places.counts[order])
    if isinstance(prior.weights, Sticks):
        beyond = prior.weights.given(alpha, jnp.ones(P + BEYOND, bool)).sticks[P:]
        beyond = beyond.at[-1].set(jnp.array([1.0, 0.0]))
        logs = Dirichlet(jnp.concatenate([own.sticks, beyond])).draw(key_weights)
        log_weights = logs[:, 0] + before(logs[:, 1])
        order = jnp.append(order, jnp.full(BEYOND, K))
    else:
        logs = log_weights = own.draw(key_weights)
    mean, precision, dof, scale = places.components
    group = is_prior.astype(int)[None] if family.pooled else order
    components = NormalInverseWishart(mean[order], precision[order], dof[group], scale[group])
    return logs[:P], draw(key, Hyperparameters(Known(log_weights), components), family)


def _log_density(logs: Array, weights: Any) -> Array:
    """Log density of weights, or of the parts of sticks, []."""
    if isinstance(weights, StickBreaking):
        return Dirichlet(weights.sticks).log_density(logs).sum()
    return weights.log_density(logs)


def _densities(
    mixture: Mixture, P: int, places: Places, family: Covariance
) -> tuple[Array, Array, Array]:
    """Of the components in the first P places.

    Returns their log prior [], log q of each as any of the kept ones with the log of its weight to
    the power of its points [P, K + 1], and what of log q all have in common [].
    """
    components, groups = places.components, 1 if family.pooled else P
    log_means = _log_means(mixture.means[:P], mixture.scales[:groups], components)
    log_scales = _log_scales(mixture.scales[:groups], components, family)
    terms = jnp.where(places.counts > 0, mixture.log_weights[:P, None] * places.counts, 0.0)
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
