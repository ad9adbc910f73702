r"""How far to trust a variational posterior: importance weights against the exact joint.

Draws theta = (alpha, w, mu, Sigma) give log p(x, theta) - log q(theta), whose spread says how
far q is from the posterior (Pareto k-hat) and whose mean, of the exponentials, is the evidence.
Two things would spoil both, and are mended:

- q is about one labelling of the components, the posterior about all. The proposal is the sum
  over every order in which the K kept components may take the places of the prior, an order as
  probable as the prior over weights makes it: q(mu, Sigma) of a place is that of any of them, and

      q(w, order | alpha) = p(w | alpha) prod_k w_k^n / sum_order E[prod_k w_k^n], n = n_order(k).

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
from jax.scipy.special import gammaln, logsumexp
from scipy import special

from bayesgmm.core.arrays import (
    Array,
    Data,
    Key,
    cholesky,
    diagonal,
    inverse_scales,
    is_axis_aligned,
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
    places = _places(posterior, prior.components, family)
    K, S = places.counts.shape[1] - 1, BATCH * -(-n_draws // BATCH)
    sticks = isinstance(prior.weights, Sticks)
    n_places = K + SPARE if sticks else int(prior.weights.n_components)
    levels = np.digitize((np.arange(S) + 0.5) / S, np.cumsum(SHARES))  # the last: the prior
    alpha, log_ratio = _concentrations(rng, places.counts[0], prior, n_places, levels)
    keys = jr.split(jr.key(rng.integers(2**31)), S)
    draws = Draws(keys, levels, alpha, log_ratio)
    mixtures, ratios = _proposals(draws, places, prior, family, n_places)
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
    khat = float(array_stats.psislw(-of_q)[1])  # of log likelihoods, it says
    return Importance(float(log_evidence), float(spread), khat, S, left_out)


# --- the concentration ----------------------------------------------------------------------------


def _concentrations(
    rng: np.random.Generator, counts: np.ndarray, prior: VBPrior, n_places: int, levels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of alpha [S], of the prior where that is wanted, and log p(alpha) - log q(alpha).

    A learned one is drawn on a grid, as probable as the counts make it: more exact, and wider, than
    q(alpha), which does not know that weights depend on it.
    """
    S, known = len(levels), prior.concentration
    if isinstance(known, GammaConcentration):
        alpha, log_p = gamma_grid(float(known.shape), float(known.rate))
    elif isinstance(known, GridConcentration):
        alpha, log_p = (np.asarray(leaf, float) for leaf in known[:2])
    else:
        return np.full(S, float(known.mean())), np.zeros(S)
    plain = counts[_as_fitted(len(counts) - 1, n_places)]
    log_q = log_p + np.asarray(_log_evidences(alpha, plain, prior.weights))
    log_q = log_q - special.logsumexp(log_q)
    of_prior, of_q = (rng.choice(len(alpha), S, p=special.softmax(log)) for log in (log_p, log_q))
    index = np.where(levels == len(SHARES), of_prior, of_q)
    return alpha[index], (log_p - log_q)[index]


@jax.jit
def _log_evidences(alpha: Array, counts: Array, weights: Any) -> Array:
    present = jnp.ones(counts.shape, bool)
    return jax.vmap(lambda a: weights.given(a, present).log_evidence(counts))(alpha)


# --- the orders -----------------------------------------------------------------------------------


def _subsets(K: int) -> tuple[np.ndarray, np.ndarray]:
    """For every set S of K components and every one of them: S without it, and whether it is in."""
    sets, bits = np.arange(1 << K)[:, None], 1 << np.arange(K)
    return sets & ~bits, (sets & bits) > 0


def _ways(counts: Array, discount: Array, alpha: Array, n_places: int) -> tuple[Array, Array]:
    """E[prod w^n] of sticks summed over orders, counts [K + 1].

    By place k, log of the part in which the first k places hold the set S and a given component
    (or, in the last column, none) stands in the k-th, [P, 2^K, K + 1]; and log of the whole, [].
    A stick's part is a ratio of Beta functions, B(1 - d + n, b + later) / B(1 - d, b), b = alpha +
    k d, whose `later` are the points of who is not in S.
    """
    K = len(counts) - 1
    without, inside = _subsets(K)
    later = counts.sum() - inside @ counts[:K]

    def place(reached: Array, left: Array) -> tuple[Array, Array]:
        kept = 1 - discount
        none = gammaln(kept) + gammaln(left) - gammaln(kept + left)
        above, below = gammaln(left + later), gammaln(kept + left + later)
        own = reached[without] + gammaln(kept + counts[:K]) - below[without]
        empty = reached + gammaln(kept) - below
        steps = jnp.append(jnp.where(inside, own, -jnp.inf), empty[:, None], axis=1)
        steps = steps + above[:, None] - none
        return _logsumexp(steps), steps

    left = alpha + jnp.arange(1, n_places + 1) * discount
    reached, steps = jax.lax.scan(place, _nobody(K), left)
    return steps, reached[-1]


def _nobody(K: int) -> Array:
    return jnp.where(jnp.arange(1 << K) == 0, 0.0, -jnp.inf)


def _logsumexp(x: Array) -> Array:
    top = x.max(1, keepdims=True)
    top = jnp.where(top > -jnp.inf, top, 0.0)
    return jnp.log(jnp.exp(x - top).sum(1)) + top[:, 0]


def _log_total(counts: Array, weights: Any, alpha: Array, n_places: int) -> Array:
    """Log of the sum over orders of E[prod w^n], []."""
    K = len(counts) - 1
    if isinstance(weights, Sticks) and K <= ORDERED:
        return _ways(counts, weights.discount, alpha, n_places)[1]
    given = weights.given(alpha, jnp.ones(n_places, bool))
    one = given.log_evidence(counts[_as_fitted(K, n_places)])
    if K > ORDERED:
        return one
    return one + gammaln(n_places + 1.0) - gammaln(n_places - K + 1.0)  # all orders are alike


def _as_fitted(K: int, n_places: int) -> np.ndarray:
    return np.minimum(np.arange(n_places), K)


def _order(key: Key, counts: Array, weights: Any, alpha: Array, n_places: int) -> Array:
    """Who stands in each place [P], with the probability of the order.

    Where places are exchangeable the order as fitted does for all: what is made of it is the same.
    """
    K = len(counts) - 1
    if K > ORDERED or not isinstance(weights, Sticks):
        return jnp.asarray(_as_fitted(K, n_places))
    steps, _ = _ways(counts, weights.discount, alpha, n_places)
    noise = jr.gumbel(key, (n_places, K + 1), steps.dtype)

    def place(held: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        who = jnp.argmax(row[0][held] + row[1])
        return jnp.where(who < K, held & ~(1 << who), held), who

    return jax.lax.scan(place, jnp.array((1 << K) - 1), (steps, noise), reverse=True)[1]


def _sum_of_orders(terms: Array) -> Array:
    """Log of the sum over orders of exp(sum_k terms[k, who stands in k]), [], terms [P, K + 1].

    The last column is of those that are not kept, who may stand in any number of places.
    """
    K = terms.shape[1] - 1
    if K > ORDERED:
        return jnp.trace(terms[:K, :K]) + terms[K:, K].sum()
    without, inside = _subsets(K)

    def place(reached: Array, term: Array) -> tuple[Array, None]:
        own = jnp.where(inside, reached[without] + term[:K], -jnp.inf)
        return _logsumexp(jnp.append(own, (reached + term[K])[:, None], axis=1)), None

    return jax.lax.scan(place, _nobody(K), terms)[0][-1]


# --- the draws ------------------------------------------------------------------------------------


class Draws(NamedTuple):
    """What each of S draws is of.

    Attributes
    ----------
    key : [S]
    level : [S]
        Which of the powers; beyond them the prior.
    alpha : [S]
    log_ratio : [S]
        log p(alpha) - log q(alpha).
    """

    key: Key
    level: Array
    alpha: Array
    log_ratio: Array


@partial(jax.jit, static_argnames=("family", "n_places"))
def _proposals(
    draws: Draws, places: Places, prior: VBPrior, family: Covariance, n_places: int
) -> tuple[Mixture, Array]:
    """Mixtures [S, ...]; log p(theta) less log of the proposal, and less log q(theta), [S, 2]."""
    shares = jnp.log(jnp.array([*SHARES, PRIOR]))

    def one(drawn: Draws) -> tuple[Mixture, Array]:
        mixture = _draw_one(drawn, places, prior, family, n_places)

        def of_level(own: Places) -> tuple[Array, Array]:
            plain, terms, shared = _densities(mixture, n_places, own, family)
            total = _log_total(own.counts, prior.weights, drawn.alpha, n_places)
            return plain, _sum_of_orders(terms) - total + shared

        plain, log_q = jax.vmap(of_level)(places)
        log_p = plain[0] + drawn.log_ratio  # the density of w given alpha is in both
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
    drawn: Draws, places: Places, prior: VBPrior, family: Covariance, n_places: int
) -> Mixture:
    """A mixture, first the components in the P places and then those beyond them."""
    key, key_order, key_weights = jr.split(drawn.key, 3)
    is_prior = drawn.level == len(SHARES)
    places = jax.tree.map(lambda leaf: jnp.asarray(leaf)[drawn.level], places)
    K, P = len(places.counts) - 1, n_places
    order = _order(key_order, places.counts, prior.weights, drawn.alpha, P)
    order = jnp.where(is_prior, K, order)
    more = BEYOND if isinstance(prior.weights, Sticks) else 0
    weights = prior.weights.given(drawn.alpha, jnp.ones(P + more, bool))
    order = jnp.append(order, jnp.full(more, K, order.dtype))
    weights = weights.update(places.counts[order])
    if more:  # the last stick takes what is left
        weights = StickBreaking(weights.sticks.at[-1].set(jnp.array([1.0, 0.0])))
    log_weights = weights.draw(key_weights)
    mean, precision, dof, scale = places.components
    group = is_prior.astype(int)[None] if family.pooled else order
    components = NormalInverseWishart(mean[order], precision[order], dof[group], scale[group])
    return draw(key, Hyperparameters(Known(log_weights), components), family)


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
