r"""Blocked Gibbs sampling of a Gaussian mixture with a known, unknown or unbounded number of parts.

The target is the joint posterior of labels, number of components, concentration, weights and
components. A sweep draws, each given all that was drawn before it and nothing that is out of date,

1. K | partition, alpha, the weights and components summed out (telescoping: Fruhwirth-Schnatter,
   Malsiner-Walli and Grun 2021, *Bayesian Analysis* 16, 1279-1307, algorithm 1);
2. alpha | partition, K, where it is learned (`core.concentration.redraw`; the density of Escobar
   and West 1995 for a Dirichlet process);
3. weights and components | partition, K, alpha, all afresh, those without points from the prior;
4. all labels at once | weights and components: the hard sweep.

The labels are those of slots, and mean nothing: slots are never sorted. `core.slots` says how a
kind of weights is drawn, and when its slots were too few: the sweep is then done again from the
state before it with more slots and the same random numbers, those of a slot being a function of
the slot. That only breaks the sticks further, and so biases nothing, as new numbers would.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core import random
from bayesgmm.core.arrays import Array, Data
from bayesgmm.core.concentration import ConcentrationPrior, redraw
from bayesgmm.core.conjugate import (
    Hyperparameters,
    NormalInverseWishart,
    Variates,
    from_variates,
    gamma_shapes,
    update,
)
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import Form, reference
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.slots import WEIGHTINGS, SlotPrior
from bayesgmm.core.sweep import Moments, allocate, gathered
from bayesgmm.core.weights import Dirichlet
from bayesgmm.inference.devices import WIDE


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
    """

    family: Covariance
    form: Form
    weights: str = "finite"
    learned: bool = False


class GibbsPrior(NamedTuple):
    """The prior; every number in it is traced.

    Attributes
    ----------
    weights : SlotPrior
    concentration : ConcentrationPrior
        Of alpha, read where it is learned.
    components : NormalInverseWishart
        Of one component: leaves [1, ...].
    """

    weights: SlotPrior
    concentration: ConcentrationPrior
    components: Any


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
    crowded : []
        Sweeps in which more slots would have been needed than there were.
    """

    key: Array
    sweep: Array
    labels: Array
    found: Moments
    mixture: Mixture
    n_components: Array
    alpha: Array
    crowded: Array


# --- one chain ------------------------------------------------------------------------------------


def init(
    key: Array, data: Data, labels: Array, alpha: Array | float, T: int, config: GibbsConfig
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
        Slots. For a known K, K are enough.
    config : GibbsConfig

    Returns
    -------
    GibbsState
        Its mixture is not one yet: the first sweep draws it.
    """
    D, dtype = len(data.points), data.points.dtype
    means = jnp.zeros((T, D), dtype)
    axis_aligned = config.family.axis_aligned
    unit = jnp.ones(D, dtype) if axis_aligned else jnp.eye(D, dtype=dtype)
    rows = 1 if config.family.pooled and not axis_aligned else T
    return GibbsState(
        jnp.asarray(key),
        jnp.uint32(0),
        jnp.asarray(labels, jnp.int32),
        gathered(data, labels, means, axis_aligned),
        Mixture(jnp.full(T, -jnp.inf, dtype), means, jnp.broadcast_to(unit, (rows, *unit.shape))),
        jnp.int32(0),
        jnp.asarray(alpha, dtype),
        jnp.int32(0),
    )


NUMBER, CONCENTRATION, GAMMAS, NOISE, SHARED, LABELS = range(6)
"""Numbers of the keys of one sweep."""


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
    key = random.fold(state.key, state.sweep)
    counts, weighting = jnp.round(state.found.counts), WEIGHTINGS[config.weights]
    K, alpha = _number_and_concentration(key, state, counts, prior, config)
    log_weights, means, scales = _parameters(key, state, counts, K, alpha, prior, config)
    mixture = Mixture(log_weights, means, scales)
    uniform = random.uniform(random.fold(key, LABELS), data.weight.shape, data.weight.dtype)
    labels, found = allocate(uniform, data, mixture, config.form)
    crowded = weighting.crowded(counts, K, prior.weights, found.counts)
    return GibbsState(
        state.key,
        state.sweep + jnp.uint32(1),
        labels.astype(jnp.int32),
        found,
        mixture,
        K,
        alpha,
        state.crowded + crowded,
    )


def _number_and_concentration(
    key: Array, state: GibbsState, counts: Array, prior: GibbsPrior, config: GibbsConfig
) -> tuple[Array, Array]:
    weighting, dtype = WEIGHTINGS[config.weights], counts.dtype
    uniform = random.uniform(random.fold(key, NUMBER), (), dtype)
    K = weighting.number(uniform, counts, state.alpha, prior.weights)
    if not config.learned:
        return K, state.alpha

    def log_density(alpha: Array) -> Array:
        given = jax.vmap(lambda a: weighting.partition_given(counts, K, a, prior.weights))
        return prior.concentration.log_density(alpha) + given(alpha)

    uniforms = random.uniform(random.fold(key, CONCENTRATION), (3,), dtype)
    return K, redraw(uniforms, state.alpha, log_density)


def _parameters(
    key: Array,
    state: GibbsState,
    counts: Array,
    K: Array,
    alpha: Array,
    prior: GibbsPrior,
    config: GibbsConfig,
) -> tuple[Array, Array, Array]:
    """Log weights, means and scales; all gamma variates of the sweep come from one call."""
    weighting, family = WEIGHTINGS[config.weights], config.family
    found = state.found._replace(counts=counts)
    posterior = posterior_of(prior.components, found, reference(state.mixture, config.form), family)
    of_weights = weighting.shapes(counts, K, alpha, prior.weights)
    of_scales = gamma_shapes(posterior, family)
    *gammas, spread = random.log_gammas(random.fold(key, GAMMAS), *of_weights, of_scales)
    log_weights = weighting.log_weights(gammas, counts, alpha, prior.weights)
    above, noise = _normals(key, posterior, family)
    return log_weights, *from_variates(posterior, Variates(spread, above, noise), family)


def posterior_of(
    components: NormalInverseWishart, found: Moments, about: Array, family: Covariance
) -> NormalInverseWishart:
    """Posterior of T components from the prior of one, leaves [1, ...]."""
    T = len(found.counts)
    wide = [jnp.broadcast_to(leaf, (T, *leaf.shape[1:])) for leaf in components]
    if family.pooled:
        wide[2:] = components[2:]
    given = Hyperparameters(Dirichlet(found.counts), NormalInverseWishart(*wide))
    return update(given, found, about, family).components


def _normals(
    key: Array, posterior: NormalInverseWishart, family: Covariance
) -> tuple[Array, Array]:
    """The normal numbers of a draw, what stands above the diagonals [T, D, D] and [T, D]."""
    (T, D), dtype = posterior.mean.shape, posterior.mean.dtype
    noise = random.normal(random.fold(key, NOISE), (T, D), dtype)
    if family.axis_aligned:
        return posterior.scale, noise  # which nobody reads
    i, j = np.triu_indices(D, 1)
    packed = random.normal(random.fold(key, SHARED), (len(posterior.scale), len(i)), dtype)
    return jnp.zeros_like(posterior.scale).at[:, i, j].set(packed), noise


# --- several chains, kept draws -------------------------------------------------------------------


class Draws(NamedTuple):
    """What C chains kept of S sweeps, as NumPy arrays, and where they stand.

    Attributes
    ----------
    labels : [C, S, N] of the smallest unsigned type
    log_weights : [C, S, T]
        -inf for a slot that holds no component.
    means : [C, S, T, D]
    scales : [C, S, T, D, D], [C, S, 1, D, D] if tied, [C, S, T, D] if axis-aligned
    counts : [C, S, T]
    n_components : [C, S]
        K, 0 where it is infinite.
    alpha : [C, S]
    log_likelihood : [C, S]
        sum_n log sum_k w_k N(x_n | k) over the slots. The last free slot stands, at one place
        drawn from the prior, for all components that have no slot of their own.
    crowded : [C]
        Sweeps that needed more slots than they could get, since the chains began.
    state : GibbsState
        With leading axis C: what goes on from here.
    interrupted : bool
    """

    labels: np.ndarray
    log_weights: np.ndarray
    means: np.ndarray
    scales: np.ndarray
    counts: np.ndarray
    n_components: np.ndarray
    alpha: np.ndarray
    log_likelihood: np.ndarray
    crowded: np.ndarray
    state: GibbsState
    interrupted: bool

    def label_free(self) -> dict[str, np.ndarray]:
        """Quantities [C, S] that do not depend on which slot holds what.

        Number of clusters, their entropy -sum n_c / N log n_c / N (nats), log likelihood, largest
        weight and sum of squared weights, and the concentration.
        """
        shares = self.counts / self.counts.sum(-1, keepdims=True)
        logs = np.log(np.where(shares > 0, shares, 1.0))
        weights = np.exp(self.log_weights)
        return {
            "n_clusters": (self.counts > 0).sum(-1),
            "entropy": -(shares * logs).sum(-1),
            "log_likelihood": self.log_likelihood,
            "largest_weight": weights.max(-1),
            "sum_of_squared_weights": np.square(weights).sum(-1),
            "alpha": self.alpha,
        }


class Kept(NamedTuple):
    """What is kept of one sweep of one chain; `Draws` has it with leading axes [C, S]."""

    labels: Array
    log_weights: Array
    means: Array
    scales: Array
    counts: Array
    n_components: Array
    alpha: Array
    log_likelihood: Array


def _kept(state: GibbsState) -> Kept:
    T = len(state.mixture.log_weights)
    labels = state.labels.astype(jnp.uint8 if T <= 256 else jnp.uint16)
    counts = jnp.round(state.found.counts).astype(jnp.int32)
    number, evidence = state.n_components, state.found.evidence
    return Kept(labels, *state.mixture, counts, number, state.alpha, evidence)


class Progress(NamedTuple):
    """How a run stands: sweeps done and asked for, and slots."""

    done: int
    total: int
    n_slots: int


class Plan(NamedTuple):
    """Sweeps of one compiled call; traced.

    Attributes
    ----------
    span : []
        How many.
    phase : []
        How many sweeps of the next draw have been done before.
    thin : []
        Sweeps a draw.
    growing : []
        Whether to stop before a sweep that needs more slots.
    """

    span: Any
    phase: Any
    thin: Any
    growing: Any


@partial(jax.jit, static_argnames=("config", "room"), compiler_options=WIDE)
def _advance(
    states: GibbsState, data: Data, prior: GibbsPrior, plan: Plan, config: GibbsConfig, room: int
) -> tuple[GibbsState, Kept, Array, Array]:
    """Sweeps of every chain, until `plan.span` are done or there are too few slots.

    Returns the states, the last sweep of each draw [room, C, ...], how many sweeps were done, and
    whether the next one needs more slots.
    """
    sweeps = jax.vmap(lambda state: step(state, data, prior, config))
    shapes = jax.eval_shape(jax.vmap(_kept), states)
    buffers = jax.tree.map(lambda leaf: jnp.zeros((room, *leaf.shape), leaf.dtype), shapes)

    def proceed(carry):
        i, _, _, stuck = carry
        return (i < plan.span) & ~stuck

    def advance(carry):
        i, states, buffers, _ = carry
        new = sweeps(states)
        stuck = plan.growing & (new.crowded > states.crowded).any()
        if config.weights != "finite":  # which never needs more
            new = jax.tree.map(lambda a, b: jnp.where(stuck, a, b), states, new)
        states = new
        place = (plan.phase + i) // plan.thin
        keep = lambda buffer, leaf: jax.lax.dynamic_update_index_in_dim(buffer, leaf, place, 0)  # noqa: E731
        buffers = jax.tree.map(keep, buffers, jax.vmap(_kept)(states))
        return i + ~stuck, states, buffers, stuck

    start = jnp.int32(0), states, buffers, jnp.array(False)
    done, states, buffers, stuck = jax.lax.while_loop(proceed, advance, start)
    return states, buffers, done, stuck


@partial(jax.jit, static_argnames=("config", "T"))
def start_all(
    keys: Array, data: Data, labels: Array, alpha: Array, config: GibbsConfig, T: int
) -> GibbsState:
    """`init` of C chains, from keys [C, 2], labels [C, N] and alpha []."""
    begin = lambda key, start: init(key, data, start, alpha, T, config)  # noqa: E731
    return jax.vmap(begin)(keys, labels)


SLOTS = (16, 32, 64, 128, 256, 512, 1024)
"""Numbers of slots of a run that may need more of them."""


def grown(states: GibbsState, T: int) -> GibbsState:
    """The same chains in T slots, more than they have."""
    mixture, old = states.mixture, states.mixture.log_weights.shape[1]
    widen = partial(_widen, axis=1, more=T - old)
    found = Moments(*map(widen, states.found[:3]), states.found.evidence)
    scales = mixture.scales if mixture.scales.shape[1] < old else widen(mixture.scales, fill=None)
    mixture = Mixture(widen(mixture.log_weights, fill=-np.inf), widen(mixture.means), scales)
    return states._replace(mixture=mixture, found=found)


def _widen(leaf: Any, axis: int, more: int, fill: float | None = 0) -> np.ndarray:
    """More entries along an axis: copies of the first one, or of a number."""
    leaf = np.asarray(leaf)
    first = np.take(leaf, [0], axis)
    room = np.repeat(first if fill is None else np.full_like(first, fill), more, axis)
    return np.concatenate([leaf, room], axis)


ROOM = 256
"""Draws that a compiled call can hold, if they are not too large."""

SECONDS = 0.4
"""How long a compiled call should take: an interrupt waits for it."""


def _room(states: GibbsState) -> int:
    numbers = states.labels.size + 8 * states.mixture.scales.size
    return int(np.clip(1 << max((1 << 26) // numbers, 1).bit_length() - 1, 2, ROOM))


def run(
    states: GibbsState,
    data: Data,
    prior: GibbsPrior,
    config: GibbsConfig,
    n_draws: int,
    thin: int = 1,
    n_warmup: int = 0,
    max_slots: int = SLOTS[-1],
    watch: Callable[[Progress], Any] | None = None,
) -> Draws:
    """Keep `n_draws` sweeps of each chain, every `thin`-th, after `n_warmup` that are not kept.

    What is drawn does not depend on how the sweeps are shared out among calls: a run of a thousand
    draws is one of five hundred and, from its state, another.

    Parameters
    ----------
    states : GibbsState with leading axis C
    data : Data
        With its padding last.
    prior : GibbsPrior
    config : GibbsConfig
    n_draws, thin, n_warmup : int
    max_slots : int
        Slots are added when they are needed, up to this many; then `Draws.crowded` counts.
    watch : callable, optional
        Called with a `Progress` after every compiled call, about twice a second. A
        KeyboardInterrupt ends the run, and what was kept so far is returned.

    Returns
    -------
    Draws
    """
    pieces: list[Kept] = []
    n_points = int(np.count_nonzero(np.asarray(data.weight)))
    interrupted = False
    try:
        for states, kept, progress in _calls(
            states, data, prior, config, (n_draws, thin, n_warmup), max_slots
        ):
            if kept is not None:
                pieces.append(kept._replace(labels=kept.labels[:, :, :n_points]))
            if watch is not None:
                watch(progress)
    except KeyboardInterrupt:
        interrupted = True
    return _joined(pieces, states, n_points, interrupted)


def _calls(states, data, prior, config, asked, max_slots):
    """Compiled calls, one after the other: states, draws or None, progress."""
    n_draws, thin, n_warmup = asked
    total, done, span = n_warmup + n_draws * thin, 0, 1
    room = _room(states)
    while done < total:
        kept_from = max(done - n_warmup, 0)
        warm = done < n_warmup
        most = n_warmup - done if warm else min(total - done, (room - 1) * thin)
        phase, T = kept_from % thin, states.mixture.log_weights.shape[1]
        growing = T < max_slots
        asked_now = min(span, most)
        pace = max(thin, asked_now) if warm else thin
        plan = Plan(np.int32(asked_now), np.int32(phase), np.int32(pace), np.bool_(growing))
        begin = time.perf_counter()
        states, buffers, advanced, stuck = _advance(states, data, prior, plan, config, room)
        advanced, stuck = int(advanced), bool(stuck)
        took = time.perf_counter() - begin
        done += advanced
        complete = 0 if warm else (phase + advanced) // thin
        yield states, _taken(buffers, complete), Progress(done, total, T)
        if stuck:
            states = grown(states, min(next((t for t in SLOTS if t > T), 2 * T), max_slots))
            room = min(room, _room(states))
        elif advanced == asked_now:
            span = int(np.clip(asked_now * SECONDS / max(took, 1e-6), span / 2, 8 * span)) or 1


def _taken(buffers: Kept, complete: int) -> Kept | None:
    """The first draws of the buffers, copied, with chains first."""
    if not complete:
        return None
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:complete].swapaxes(0, 1).copy(), buffers)


def _joined(pieces: list[Kept], states: GibbsState, n_points: int, interrupted: bool) -> Draws:
    """All draws in as many slots as the last ones have."""
    state = jax.tree.map(np.asarray, states)
    T, C = state.mixture.log_weights.shape[1], len(state.labels)
    if not pieces:
        shapes = jax.tree.map(np.asarray, jax.vmap(_kept)(states))
        shapes = shapes._replace(labels=shapes.labels[:, :n_points])
        pieces = [jax.tree.map(lambda leaf: leaf[:, None][:, :0], shapes)]
    wide = [_widened(piece, T) for piece in pieces]
    kept = Kept(*(np.concatenate(leaves, 1) for leaves in zip(*wide, strict=True)))
    return Draws(*kept, state.crowded.reshape(C), state, interrupted)


def _widened(piece: Kept, T: int) -> Kept:
    """Draws in T slots, the new ones absent."""
    old = piece.log_weights.shape[2]
    if old == T:
        return piece

    widen = partial(_widen, axis=2, more=T - old)
    scales = piece.scales if piece.scales.shape[2] < old else widen(piece.scales, fill=None)
    return piece._replace(
        labels=piece.labels.astype(np.uint8 if T <= 256 else np.uint16),
        log_weights=widen(piece.log_weights, fill=-np.inf),
        means=widen(piece.means),
        counts=widen(piece.counts),
        scales=scales,
    )
