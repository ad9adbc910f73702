"""Several chains in compiled calls: what is kept of them, more slots when needed, an interrupt.

A call (`inference.calls`) is `gibbs.step` mapped over the chains, and keeps the last sweep of each
draw. When a sweep needs more slots than there are, or makes a cluster too flat for the fast form,
the call stops before it; the sweep is done in more slots or in the exact form, with the same random
numbers, and the chains go back to the slots and the form they had.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import Array, Data
from bayesgmm.core.forms import exact_form, kappa
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import Moments
from bayesgmm.inference.calls import (
    Asked,
    Lane,
    Plan,
    Progress,
    collected,
    end_to_end,
    lanes_of,
    own_axis,
    planned,
    room_for,
    rounds,
    side_by_side,
    taken,
)
from bayesgmm.inference.devices import STEPS, for_sizes
from bayesgmm.inference.gibbs import (
    GibbsConfig,
    GibbsPrior,
    GibbsState,
    Kept,
    init,
    kept,
    recounted,
    step,
)


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
    scale : [C, S, ...]
        C0 of a hierarchical prior, otherwise 0 [C, S, 1].
    accepted : [C, 3]
        Split-merge paths accepted with more, fewer and as many clusters, since the chains began.
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
    scale: np.ndarray
    accepted: np.ndarray
    crowded: np.ndarray
    state: GibbsState
    interrupted: bool

    def label_free(self) -> dict[str, np.ndarray]:
        """Quantities [C, S] that do not depend on which slot holds what.

        Number of clusters, their entropy -sum n_c / N log n_c / N (nats), log likelihood, largest
        weight and sum of squared weights, and the concentration.
        """
        found = label_free(self.counts, self.log_weights, self.log_likelihood)
        return {**found, "alpha": self.alpha}


def label_free(
    counts: np.ndarray, log_weights: np.ndarray, log_likelihood: np.ndarray
) -> dict[str, np.ndarray]:
    """What does not depend on labels, [C, S], of draws with counts and log weights [C, S, T]."""
    shares = counts / counts.sum(-1, keepdims=True)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    weights = np.exp(log_weights)
    return {
        "n_clusters": (counts > 0).sum(-1),
        "log_likelihood": log_likelihood,
        "entropy": -(shares * logs).sum(-1),
        "largest_weight": weights.max(-1),
        "sum_of_squared_weights": np.square(weights).sum(-1),
    }


def _own(data: Data, prior: GibbsPrior) -> tuple[Any, Any]:
    """Axes of data and prior over which chains are mapped, where each has points of its own."""
    axis = own_axis(data)
    if axis is None or prior.moves is None:
        return axis, None
    moves = prior.moves._replace(**dict.fromkeys(prior.moves._fields) | {"near": axis})
    return axis, GibbsPrior(None, None, None, moves)


CROWDED, FLAT = 1, 2
"""Why a sweep must be done again: it needs more slots, or the exact form."""

LOSS = 1e10
"""Largest `core.forms.kappa` of a mixture whose labels are drawn in a fast form.

These lose about so many times the rounding: in float64 a share of 1e-6 of a variance, at the
flattest cluster there may be. A sweep that makes a flatter one is done again in the exact form.
"""


def _advance(
    states: GibbsState, data: Data, prior: GibbsPrior, plan: Plan, config: GibbsConfig, room: int
) -> tuple[GibbsState, Kept, Array, Array]:
    """Sweeps of every chain, until `plan.span` are done or there are too few slots.

    Returns the states, the last sweep of each draw [room, C, ...], how many sweeps were done, and
    why the next one was not: 0, `CROWDED` or `FLAT`.
    """
    mapped = jax.vmap(
        lambda state, *given: step(state, *given, config), in_axes=(0, *_own(data, prior))
    )
    sweeps = lambda states: mapped(states, data, prior)  # noqa: E731
    shapes = jax.eval_shape(jax.vmap(kept), states)
    buffers = jax.tree.map(lambda leaf: jnp.zeros((room, *leaf.shape), leaf.dtype), shapes)

    def proceed(carry):
        i, _, _, stuck = carry
        return (i < plan.span) & (stuck == 0)

    def advance(carry):
        i, states, buffers, _ = carry
        new = sweeps(states)
        crowded = plan.growing & (new.crowded > states.crowded).any()
        stuck = jnp.where(crowded, jnp.int32(CROWDED), 0)
        if not config.form.about_means:
            flat = (jax.vmap(kappa)(new.mixture) > LOSS).any()
            stuck = jnp.where(flat, jnp.int32(FLAT), stuck)
        states = jax.tree.map(lambda a, b: jnp.where(stuck > 0, a, b), states, new)
        place = (plan.phase + i) // plan.thin
        keep = lambda buffer, leaf: jax.lax.dynamic_update_index_in_dim(buffer, leaf, place, 0)  # noqa: E731
        buffers = jax.tree.map(keep, buffers, jax.vmap(kept)(states))
        return i + (stuck == 0).astype(jnp.int32), states, buffers, stuck

    start = jnp.int32(0), states, buffers, jnp.int32(0)
    done, states, buffers, stuck = jax.lax.while_loop(proceed, advance, start)
    return states, buffers, done, stuck


FEW = 512
"""Points up to which compiling takes longer than a run of some thousand sweeps."""

_PROGRAMS = for_sizes(_advance, "config", "room", quick=STEPS)


@partial(jax.jit, static_argnames=("config", "T"))
def start_all(
    keys: Array,
    data: Data,
    labels: Array,
    alpha: Array,
    config: GibbsConfig,
    T: int,
    scale: Array | None = None,
) -> GibbsState:
    """`init` of C chains, from keys [C, 2], labels [C, N], alpha [] and C0 of one component."""
    begin = lambda key, start, own: init(key, own, start, alpha, T, config, scale)  # noqa: E731
    return jax.vmap(begin, in_axes=(0, 0, own_axis(data)))(keys, labels, data)


# --- slots ----------------------------------------------------------------------------------------

SLOTS = (16, 32, 64, 128, 256, 512, 1024)
"""Numbers of slots of a run that may need more of them."""

PATIENCE = 100
"""Sweeps between two that need more slots, under which the chains stay in more."""


FEWEST, CHEAP = 16, 8192
"""Slots that a run begins with at the least, and points x slots under which more cost little."""


def first_slots(data: Data) -> int:
    """Slots to begin with where more may be needed: so many that few points seldom need more.

    Another number of slots is another program to compile.
    """
    return next(T for T in SLOTS if T >= max(FEWEST, min(64, CHEAP // data.weight.size)))


def _slots(states: GibbsState) -> int:
    return states.mixture.log_weights.shape[1]


def grown(states: GibbsState, T: int) -> GibbsState:
    """The same chains in T slots, more than they have."""
    mixture, old = states.mixture, _slots(states)
    widen = partial(_widen, axis=1, more=T - old)
    found = Moments(*map(widen, states.found[:3]), states.found.evidence)
    scales = mixture.scales if mixture.scales.shape[1] < old else widen(mixture.scales, fill=None)
    mixture = Mixture(widen(mixture.log_weights, fill=-np.inf), widen(mixture.means), scales)
    return states._replace(mixture=mixture, found=found)


def packed_state(states: GibbsState, T: int) -> GibbsState:
    """The same chains in T slots, fewer than they have and more than hold points.

    Free slots beyond the T - 1 first join in the last, as if its stick had not been broken.
    """
    order = _occupied_first(np.asarray(states.found.counts))
    mixture = _packed_mixture(Mixture(*map(np.asarray, states.mixture)), order, T)
    found = Moments(*(_first(leaf, order, T) for leaf in states.found[:3]), states.found.evidence)
    labels = _relabelled(states.labels, order, T)
    return states._replace(mixture=mixture, found=found, labels=labels)


def packed_draw(kept: Kept, T: int) -> Kept:
    """As `packed_state`, of one draw with leading axes [1, C]."""
    one = Kept(*(leaf[0] for leaf in kept))
    order = _occupied_first(one.counts)
    mixture = _packed_mixture(Mixture(one.log_weights, one.means, one.scales), order, T)
    labels = _relabelled(one.labels, order, T)
    one = one._replace(
        labels=labels.astype(_label_type(T)),
        log_weights=mixture.log_weights,
        means=mixture.means,
        scales=mixture.scales,
        counts=_first(one.counts, order, T),
    )
    return Kept(*(leaf[None] for leaf in one))


def _occupied_first(counts: np.ndarray) -> np.ndarray:
    """Slots in their order, those with points before the others, [C, T]."""
    return np.argsort(counts == 0, axis=1, kind="stable")


def _first(leaf: Any, order: np.ndarray, T: int) -> np.ndarray:
    leaf = np.asarray(leaf)
    return np.take_along_axis(leaf, order[:, :T].reshape(-1, T, *(1,) * (leaf.ndim - 2)), 1)


def _packed_mixture(mixture: Mixture, order: np.ndarray, T: int) -> Mixture:
    every = np.take_along_axis(mixture.log_weights, order, 1)
    rest = np.logaddexp.reduce(every[:, T - 1 :], axis=1, keepdims=True)
    shared = mixture.scales.shape[1] < order.shape[1]
    scales = mixture.scales if shared else _first(mixture.scales, order, T)
    log_weights = np.concatenate([every[:, : T - 1], rest], 1)
    return Mixture(log_weights, _first(mixture.means, order, T), scales)


def _relabelled(labels: Any, order: np.ndarray, T: int) -> np.ndarray:
    """Labels [C, N] of slots in the new order; those of padding may be any."""
    places = np.argsort(order, axis=1)
    found = np.take_along_axis(places, np.asarray(labels).astype(int), 1)
    return np.minimum(found, T - 1).astype(np.int32)


def _label_type(T: int) -> Any:
    return np.uint8 if T <= 256 else np.uint16


def _widen(leaf: Any, axis: int, more: int, fill: float | None = 0) -> np.ndarray:
    """More entries along an axis: copies of the first one, or of a number."""
    leaf = np.asarray(leaf)
    first = np.take(leaf, [0], axis)
    room = np.repeat(first if fill is None else np.full_like(first, fill), more, axis)
    return np.concatenate([leaf, room], axis)


# --- runs -----------------------------------------------------------------------------------------


def _room(states: GibbsState) -> int:
    numbers = states.labels.size + 8 * states.mixture.scales.size
    return room_for(numbers)


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
        With its padding last; with a leading axis C, every chain has as many points of its own (and
        neighbours of its own, if there are moves).
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
    n_points = int(np.count_nonzero(data.weight, axis=-1).max())
    asked = Asked(n_draws, thin, n_warmup)
    through = partial(_through, config=config, asked=asked, most=max_slots)
    lanes = lanes_of(states, data, prior, _own(data, prior))
    calls = rounds(lanes, through, asked, data.weight.dtype)
    lanes, pieces, interrupted = collected(calls, lanes, watch)
    return _joined(pieces, [lane.states for lane in lanes], n_points, interrupted)


def _through(
    lane: Lane, done: int, until: int, config: GibbsConfig, asked: Asked, most: int
) -> tuple[Lane, list[Kept | None]]:
    """One lane from `done` sweeps to `until`, and what was taken on the way."""
    states, *given = lane
    pieces = []
    while done < until:
        now = _exact(config) if _often_flat(states) else config
        plan = planned(done, until - done, _room(states), asked)
        states, buffers, advanced, stuck = _advanced(
            states, *given, now, plan, _slots(states) < most
        )
        done += advanced
        pieces.append(taken(buffers, plan, advanced, asked, done))
        if stuck:
            plan = planned(done, 1, _room(states), asked)
            states, buffers = AGAIN[stuck](states, *given, now, plan, most)
            done += 1
            pieces.append(taken(buffers, plan, 1, asked, done))
    return lane._replace(states=states), pieces


def _advanced(
    states: GibbsState,
    data: Data,
    prior: GibbsPrior,
    config: GibbsConfig,
    plan: Plan,
    growing: bool,
) -> tuple[GibbsState, Kept, int, int]:
    plan = plan._replace(growing=np.bool_(growing))
    program = _PROGRAMS[data.weight.shape[-1] <= FEW]
    states, buffers, done, stuck = program(states, data, prior, plan, config, _room(states))
    return states, buffers, int(done), int(stuck)


def _in_more_slots(
    states: GibbsState, data: Data, prior: GibbsPrior, config: GibbsConfig, plan: Plan, most: int
) -> tuple[GibbsState, Kept]:
    """One sweep in as many slots as it needs, up to `most`, and back to those there were.

    The chains stay in more slots if they fill half of the old ones, or if the last sweep of this
    kind was not long ago.
    """
    old, T, stuck = _slots(states), _slots(states), True
    while stuck:
        T = min(next((t for t in SLOTS if t > T), 2 * T), most)
        growing = T < most
        after, buffers, _, stuck = _advanced(grown(states, T), data, prior, config, plan, growing)
        if stuck == FLAT:
            return _in_exact_form(states, data, prior, config, plan, most)
    now = np.asarray(after.sweep)
    often = (now - np.asarray(after.regrown) < PATIENCE).any() & (
        np.asarray(after.regrown) > 0
    ).any()
    full = (np.asarray(after.found.counts) > 0).sum(1).max() > old // 2
    after = after._replace(regrown=now)
    if often or full:
        return after, buffers
    first = jax.tree.map(lambda leaf: np.asarray(leaf)[:1], buffers)
    return packed_state(after, old), packed_draw(first, old)


OFTEN = 20
"""Sweeps that were done again in the exact form, from which on all are done in it."""


def _often_flat(states: GibbsState) -> bool:
    return bool((np.asarray(states.exact) >= OFTEN).any())


def _exact(config: GibbsConfig) -> GibbsConfig:
    return dataclasses.replace(config, form=exact_form(config.family.axis_aligned))


@partial(jax.jit, static_argnames=("config",))
def _recounted(states: GibbsState, data: Data, config: GibbsConfig) -> GibbsState:
    one = lambda state, own: recounted(state, own, config)  # noqa: E731
    return jax.vmap(one, in_axes=(0, own_axis(data)))(states, data)


def _in_exact_form(
    states: GibbsState, data: Data, prior: GibbsPrior, config: GibbsConfig, plan: Plan, most: int
) -> tuple[GibbsState, Kept]:
    """One sweep in the exact form, and back to the fast one if such sweeps are few."""
    exact = _exact(config)
    states = _recounted(states, data, exact)
    growing = _slots(states) < most
    after, buffers, _, stuck = _advanced(states, data, prior, exact, plan, growing)
    if stuck:
        after, buffers = _in_more_slots(states, data, prior, exact, plan, most)
    after = after._replace(exact=np.asarray(after.exact) + 1)
    return after if _often_flat(after) else _recounted(after, data, config), buffers


AGAIN = {CROWDED: _in_more_slots, FLAT: _in_exact_form}
"""How a sweep is done again, from the state before it and with the same random numbers."""


def _joined(
    pieces: list[list[Kept]], states: list[GibbsState], n_points: int, interrupted: bool
) -> Draws:
    """All draws of all lanes, in as many slots as the last ones of any lane have."""
    T = max(map(_slots, states))
    some = [own or [_none_of(end)] for own, end in zip(pieces, states, strict=True)]
    every = side_by_side([end_to_end([_widened(one, T) for one in own]) for own in some])
    every = every._replace(labels=every.labels[:, :, :n_points])
    state = side_by_side([end if _slots(end) == T else grown(end, T) for end in states])
    return Draws(*every, state.accepted, state.crowded, state, interrupted)


def _none_of(states: GibbsState) -> Kept:
    """No draws of these chains."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:, None][:, :0], jax.vmap(kept)(states))


def _widened(piece: Kept, T: int) -> Kept:
    """Draws in T slots, the new ones absent."""
    old = piece.log_weights.shape[2]
    if old == T:
        return piece

    widen = partial(_widen, axis=2, more=T - old)
    scales = piece.scales if piece.scales.shape[2] < old else widen(piece.scales, fill=None)
    return piece._replace(
        labels=piece.labels.astype(_label_type(T)),
        log_weights=widen(piece.log_weights, fill=-np.inf),
        means=widen(piece.means),
        counts=widen(piece.counts),
        scales=scales,
    )
