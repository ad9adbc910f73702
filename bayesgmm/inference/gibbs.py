r"""Blocked Gibbs sampling of a Gaussian mixture with a known, unknown or unbounded number of parts.

The target is the joint posterior of labels, number of components, concentration, weights and
components. A sweep draws, each given all that was drawn before it and nothing that is out of date,

0. (where there are moves) the partition | alpha, K and the weights summed out, and of the
   components all that has a closed form (`inference.splitmerge`, `inference.clusters`); what is
   summed out is drawn anew after it;
1. K | partition, alpha, the weights and components summed out (telescoping: Fruhwirth-Schnatter,
   Malsiner-Walli and Grun 2021, *Bayesian Analysis* 16, 1279-1307, algorithm 1);
2. alpha | partition, K, where it is learned (`core.concentration.redraw`; the density of Escobar
   and West 1995 for a Dirichlet process);
3. weights and components | partition, K, alpha, all afresh, those without points from the prior
   (block by block under a prior that is not conjugate: `core.independent`);
4. all labels at once | weights and components: the hard sweep.

The labels are those of slots, and mean nothing: slots are never sorted. `core.slots` says how a
kind of weights is drawn, and when its slots were too few: the sweep is then done again from the
state before it with more slots and the same random numbers, those of a slot being a function of
the slot. That only breaks the sticks further, where new numbers would be biased. An error remains
of the order of the square of the weight in the last slot, one place for many components.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp

from bayesgmm.core import random
from bayesgmm.core.arrays import Array, Data, safe_divide
from bayesgmm.core.concentration import ConcentrationPrior, redraw
from bayesgmm.core.conjugate import (
    NormalInverseWishart,
    Variates,
    alike,
    from_variates,
    gamma_shapes,
    update_components,
)
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import Form, reference
from bayesgmm.core.independent import (
    HierarchicalPrior,
    IndependentPrior,
    draw_scale,
    given_means,
    means_given,
    scale_shapes,
)
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.slots import WEIGHTINGS, SlotPrior
from bayesgmm.core.sweep import Moments, allocate, gathered, located
from bayesgmm.inference.clusters import conjugate, independent
from bayesgmm.inference.splitmerge import paths


@dataclass(frozen=True)
class GibbsConfig:
    """What is fixed for a run (static under `jit`).

    Attributes
    ----------
    family : Covariance
        One with a conjugate prior.
    form : Form
    weights : {"finite", "static", "dynamic", "process"}
        See `core.slots`.
    learned : bool
        Whether the concentration is drawn; otherwise it stays what it was at the start.
    moves : tuple of 0 and 1
        Split-merge operations of a sweep, 1 where a path ends (`splitmerge.KNOWN`), or
        none.
    """

    family: Covariance
    form: Form
    weights: str = "finite"
    learned: bool = False
    moves: tuple[int, ...] = ()


class GibbsPrior(NamedTuple):
    """The prior; every number in it is traced.

    Attributes
    ----------
    weights : SlotPrior
    concentration : ConcentrationPrior
        Of alpha, read where it is learned.
    components : NormalInverseWishart, IndependentPrior or HierarchicalPrior
        Of one component: leaves [1, ...].
    moves : splitmerge.Moves, optional
        How they are proposed, read where there are moves.
    """

    weights: SlotPrior
    concentration: ConcentrationPrior
    components: Any
    moves: Any = None


class GibbsState(NamedTuple):
    """One chain, of T slots, at the end of a sweep.

    Attributes
    ----------
    key : uint32 [2]
        Of the chain; a sweep's own key is that of its number.
    sweep : []
        Sweeps done.
    labels : [N]
    found : Moments
        Of the points as labelled, about `reference(mixture, form)`; the evidence is the log
        likelihood of the mixture, labels summed out.
    mixture : Mixture
        That the labels were drawn from.
    n_components : []
        K, or 0 where it is infinite.
    alpha : []
    scale : like `HierarchicalPrior.rate`
        C0; 0 [1] under another prior.
    accepted : [3]
        Split-merge paths accepted with more, fewer and as many clusters, since the start.
    crowded : []
        Sweeps in which more slots would have been needed than there were.
    regrown : []
        The last sweep that was done again with more slots, 0 if none was.
    exact : []
        Sweeps that were done again in the exact form.
    """

    key: Array
    sweep: Array
    labels: Array
    found: Moments
    mixture: Mixture
    n_components: Array
    alpha: Array
    scale: Array
    accepted: Array
    crowded: Array
    regrown: Array
    exact: Array


# --- one chain ------------------------------------------------------------------------------------


def init(
    key: Array,
    data: Data,
    labels: Array,
    alpha: Array | float,
    T: int,
    config: GibbsConfig,
    scale: Array | None = None,
) -> GibbsState:
    """A chain that begins with the labels given.

    Parameters
    ----------
    key : uint32 [2]
        `core.random.words` makes it.
    data : Data
        With weights of 1, and 0 for padding.
    labels : [N] of integers
        0 to T - 1.
    alpha : float
        Concentration: the value, or where it begins if it is learned.
    T : int
        Slots. For a known K, K are enough, with moves K + 1.
    config : GibbsConfig
    scale : optional
        C0 of a hierarchical prior: `HierarchicalPrior.start`.

    Returns
    -------
    GibbsState
        Its mixture is not one yet: the first sweep draws it, given the means if the prior has
        blocks.
    """
    D, dtype = len(data.points), data.points.dtype
    counts, first = located(data, labels, T)
    means = safe_divide(first, counts[:, None])
    axis_aligned = config.family.axis_aligned
    unit = jnp.ones(D, dtype) if axis_aligned else jnp.eye(D, dtype=dtype)
    rows = 1 if config.family.pooled and not axis_aligned else T
    scales = jnp.broadcast_to(unit, (rows, *unit.shape))
    mixture = Mixture(jnp.full(T, -jnp.inf, dtype), means, scales)
    return GibbsState(
        jnp.asarray(key),
        jnp.uint32(0),
        jnp.asarray(labels, jnp.int32),
        gathered(data, labels, reference(mixture, config.form), axis_aligned),
        mixture,
        jnp.int32(0),
        jnp.asarray(alpha, dtype),
        jnp.zeros(1, dtype) if scale is None else jnp.asarray(scale, dtype),
        jnp.zeros(3, jnp.int32),
        jnp.int32(0),
        jnp.uint32(0),
        jnp.int32(0),
    )


NUMBER, CONCENTRATION, GAMMAS, NOISE, SHARED, LABELS, MOVES, TOP = range(8)
"""Numbers of the keys of one sweep, all made at once."""

SETTLE = 1 << 16
"""Number of a key among those of the moves, which are numbered from 0."""


def step(state: GibbsState, data: Data, prior: GibbsPrior, config: GibbsConfig) -> GibbsState:
    """One sweep: parameters given the labels, then labels given the parameters.

    Parameters
    ----------
    state : GibbsState
    data : Data
    prior : GibbsPrior
    config : GibbsConfig

    Returns
    -------
    GibbsState
    """
    keys = random.fold(random.fold(state.key, state.sweep), jnp.arange(TOP + 1))
    weighting, about = WEIGHTINGS[config.weights], reference(state.mixture, config.form)
    if config.moves:
        state, wanting, joined = _moved(keys[MOVES], state, data, prior, config)
        about = jnp.zeros_like(about)
    counts = jnp.round(state.found.counts)
    if not config.moves:
        wanting, joined = False, weighting.joined_of(counts, state.alpha, prior.weights)
    K, alpha = _number_and_concentration(keys, state, counts, joined, prior, config)
    found = state.found._replace(counts=counts)
    mixture, scale = _parameters(keys, state._replace(found=found), about, K, alpha, prior, config)
    uniform = random.uniform(keys[LABELS], data.weight.shape, data.weight.dtype)
    labels, found = allocate(uniform, data, mixture, config.form)
    crowded = wanting | weighting.crowded(counts, K, prior.weights, found.counts)
    return GibbsState(
        state.key,
        state.sweep + jnp.uint32(1),
        labels.astype(jnp.int32),
        found,
        mixture,
        K,
        alpha,
        scale,
        state.accepted,
        state.crowded + crowded,
        state.regrown,
        state.exact,
    )


def recounted(state: GibbsState, data: Data, config: GibbsConfig) -> GibbsState:
    """The state with its moments taken from the points, about the reference of this form."""
    about = reference(state.mixture, config.form)
    found = gathered(data, state.labels, about, config.family.axis_aligned)
    return state._replace(found=found._replace(evidence=state.found.evidence))


def _moved(
    key: Array, state: GibbsState, data: Data, prior: GibbsPrior, config: GibbsConfig
) -> tuple[GibbsState, Array, Array]:
    """The state after the moves, its moments about the origin.

    And whether a slot was wanting, and `Weighting.joined_of` of its partition.
    """
    found = state.found._replace(counts=jnp.round(state.found.counts))
    blocks = BLOCKS[type(prior.components)]
    walked = paths(
        key,
        state.labels,
        found,
        state.mixture,
        state.alpha,
        data,
        blocks.clusters(prior.components, state, config.family),
        WEIGHTINGS[config.weights],
        prior.weights,
        prior.moves,
        config.moves,
        config.form,
    )
    state = state._replace(
        labels=walked.labels,
        found=walked.found,
        mixture=state.mixture._replace(scales=walked.scales),
        accepted=state.accepted + walked.accepted,
    )
    means = blocks.settle(random.fold(key, SETTLE), prior.components, state)
    state = state._replace(mixture=state.mixture._replace(means=means))
    return state, walked.wanting & (config.weights != "finite"), walked.joined


def _number_and_concentration(
    keys: Array,
    state: GibbsState,
    counts: Array,
    joined: Array,
    prior: GibbsPrior,
    config: GibbsConfig,
) -> tuple[Array, Array]:
    weighting, dtype = WEIGHTINGS[config.weights], counts.dtype
    uniform = random.uniform(keys[NUMBER], (), dtype)
    t, N = (counts > 0).sum(), counts.sum()
    K = weighting.number(uniform, t, N, joined, state.alpha, prior.weights)
    if not config.learned:
        return K, state.alpha

    def log_density(alpha: Array) -> Array:
        given = weighting.partition_given(counts, K, alpha, prior.weights)
        return prior.concentration.log_density(alpha) + given

    uniforms = random.uniform(keys[CONCENTRATION], (3,), dtype)
    return K, redraw(uniforms, state.alpha, log_density)


def _parameters(
    keys: Array,
    state: GibbsState,
    about: Array,
    K: Array,
    alpha: Array,
    prior: GibbsPrior,
    config: GibbsConfig,
) -> tuple[Mixture, Array]:
    """Weights and components, and C0; all gamma variates of the sweep come from one call."""
    weighting, family, counts = WEIGHTINGS[config.weights], config.family, state.found.counts
    blocks = BLOCKS[type(prior.components)]
    of_weights = weighting.shapes(counts, K, alpha, prior.weights)
    of_scales = blocks.shapes(prior.components, state, about, family)
    gammas = random.log_gammas(keys[GAMMAS], *of_weights, *of_scales)
    split = len(of_weights)
    log_weights = weighting.log_weights(gammas[:split], counts, alpha, prior.weights)
    means, scales, scale = blocks.draw(keys, gammas[split:], prior.components, state, about, family)
    return Mixture(log_weights, means, scales), scale


def posterior_of(
    components: NormalInverseWishart, found: Moments, about: Array, family: Covariance
) -> NormalInverseWishart:
    """Posterior of T components from the prior of one, leaves [1, ...]."""
    return update_components(alike(components, len(found.counts), family), found, about, family)


def _noise(keys: Array, like: Array) -> Array:
    return random.normal(keys[NOISE], like.shape, like.dtype)


# --- components of each kind of prior -------------------------------------------------------------


class Blocks(NamedTuple):
    """How components are drawn under one kind of prior.

    Attributes
    ----------
    shapes : (prior, state, about, family) -> list of arrays
        Of the gamma variates.
    draw : (keys, log_gammas, prior, state, about, family) -> means, scales, C0
    clusters : (prior, state, family) -> Clusters
        As the moves see them.
    settle : (key, prior, state) -> means
        After the moves, moments about the origin: drawn anew where those summed them out and the
        next block is given them.
    """

    shapes: Callable
    draw: Callable
    clusters: Callable
    settle: Callable


def _shapes_conjugate(prior: Any, state: GibbsState, about: Array, family: Covariance) -> list:
    return [gamma_shapes(posterior_of(prior, state.found, about, family), family)]


def _draw_conjugate(
    keys: Array, gammas: list, prior: Any, state: GibbsState, about: Array, family: Covariance
) -> tuple[Array, Array, Array]:
    posterior = posterior_of(prior, state.found, about, family)
    above = random.above_diagonal(keys[SHARED], posterior.scale)
    variates = Variates(gammas[0], above, _noise(keys, posterior.mean))
    return *from_variates(posterior, variates, family), state.scale


def _shapes_independent(prior: Any, state: GibbsState, about: Array, family: Covariance) -> list:
    given = given_means(prior, state.found, about, state.mixture.means, family)
    return [gamma_shapes(given, family)]


def _draw_independent(
    keys: Array, gammas: list, prior: Any, state: GibbsState, about: Array, family: Covariance
) -> tuple[Array, Array, Array]:
    scales = _scales_given_means(keys, gammas[0], prior, state, about, family)
    noise = _noise(keys, state.mixture.means)
    return means_given(prior, state.found, about, scales, noise), scales, state.scale


def _scales_given_means(
    keys: Array, gamma: Array, prior: Any, state: GibbsState, about: Array, family: Covariance
) -> Array:
    given = given_means(prior, state.found, about, state.mixture.means, family)
    above = random.above_diagonal(keys[SHARED], given.scale)
    return from_variates(given, Variates(gamma, above, jnp.zeros_like(given.mean)), family)[1]


def _shapes_hierarchical(prior: Any, state: GibbsState, about: Array, family: Covariance) -> list:
    of_scale = scale_shapes(prior, state.found.counts > 0, family)
    return [of_scale, *_shapes_independent(prior.given(state.scale), state, about, family)]


def _draw_hierarchical(
    keys: Array, gammas: list, prior: Any, state: GibbsState, about: Array, family: Covariance
) -> tuple[Array, Array, Array]:
    """Covariances of the clusters, C0 given these, what has no points given C0; then the means."""
    occupied = state.found.counts > 0
    scales = _scales_given_means(keys, gammas[1], prior.given(state.scale), state, about, family)
    above = random.above_diagonal(keys[TOP], prior.rate)
    scale = draw_scale(prior, scales, occupied, gammas[0], above, family)
    if not family.pooled:
        free = _scales_given_means(keys, gammas[1], prior.given(scale), state, about, family)
        scales = jnp.where(occupied.reshape(-1, *(1,) * (scales.ndim - 1)), scales, free)
    noise = _noise(keys, state.mixture.means)
    means = means_given(prior.given(scale), state.found, about, scales, noise)
    return means, scales, scale


def _settle_independent(key: Array, prior: Any, state: GibbsState) -> Array:
    like = state.mixture.means
    noise = random.normal(key, like.shape, like.dtype)
    about = jnp.zeros_like(noise)
    return means_given(prior, state.found, about, state.mixture.scales, noise)


BLOCKS: dict[type, Blocks] = {
    NormalInverseWishart: Blocks(
        _shapes_conjugate,
        _draw_conjugate,
        lambda prior, state, family: conjugate(prior, state.mixture.scales, family),
        lambda key, prior, state: state.mixture.means,
    ),
    IndependentPrior: Blocks(
        _shapes_independent,
        _draw_independent,
        lambda prior, state, family: independent(prior, state.mixture.scales, family),
        _settle_independent,
    ),
    HierarchicalPrior: Blocks(
        _shapes_hierarchical,
        _draw_hierarchical,
        lambda prior, state, family: independent(
            prior.given(state.scale), state.mixture.scales, family
        ),
        lambda key, prior, state: _settle_independent(key, prior.given(state.scale), state),
    ),
}
"""Kinds of priors of the components."""


# --- what is kept ---------------------------------------------------------------------------------


class Kept(NamedTuple):
    """What is kept of one sweep of one chain; `chains.Draws` has it with leading axes [C, S]."""

    labels: Array
    log_weights: Array
    means: Array
    scales: Array
    counts: Array
    n_components: Array
    alpha: Array
    log_likelihood: Array
    scale: Array


def kept(state: GibbsState) -> Kept:
    """What is kept of a sweep."""
    T = len(state.mixture.log_weights)
    labels = state.labels.astype(jnp.uint8 if T <= 256 else jnp.uint16)
    counts = jnp.round(state.found.counts).astype(jnp.int32)
    number, evidence = state.n_components, state.found.evidence
    return Kept(labels, *state.mixture, counts, number, state.alpha, evidence, state.scale)
