"""The no-U-turn sampler on the NumPyro model, as an engine: init, step, run.

The transition is NumPyro's (`build_tree`: multinomial NUTS, Hoffman and Gelman 2014, Betancourt
2017), and so are dual averaging and Welford's variances. What is written here is their schedule,
as arrays: data, prior, numbers of draws and of warm-up iterations are traced, and chains mapped
over, so that a second fit of the same shape compiles nothing. Labels are drawn afterwards, each
draw's from their conditional given its parameters.

References
----------
Hoffman and Gelman (2014), *Journal of Machine Learning Research* 15, 1593-1623. Stan Development
Team, *Stan Reference Manual*, section 15.2: the windows of the warm-up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from numpyro import handlers
from numpyro.infer.hmc_util import (
    IntegratorState,
    build_adaptation_schedule,
    build_tree,
    dual_averaging,
    euclidean_kinetic_energy,
    velocity_verlet,
    welford_covariance,
)
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from bayesgmm.core import random
from bayesgmm.core.arrays import Array, Data, cholesky, inverse_lower, safe_divide
from bayesgmm.core.independent import HierarchicalPrior
from bayesgmm.core.sweep import allocate, gathered, located, log_likelihood
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
from bayesgmm.inference.chains import Draws
from bayesgmm.inference.devices import WIDE
from bayesgmm.inference.gibbs import Kept
from bayesgmm.inference.model import STARTS, ModelConfig, ModelPrior, Start, latent, mixture_model


@dataclass(frozen=True)
class NutsConfig:
    """What is fixed for a run (static under `jit`).

    Attributes
    ----------
    model : ModelConfig
    target_accept : float
        Mean acceptance that the step size is adapted to.
    max_tree_depth : int
        At most 2^depth - 1 steps an iteration.
    """

    model: ModelConfig
    target_accept: float = 0.8
    max_tree_depth: int = 10


class Info(NamedTuple):
    """What one iteration was like; as the statistics of a run, [C, S].

    Attributes
    ----------
    acceptance_rate, step_size, energy : []
    n_steps, tree_depth : []
        Of a draw that is one of several iterations the sum, and the largest.
    diverging : [] of bool
        Whether one of them diverged.
    """

    acceptance_rate: Any
    step_size: Any
    energy: Any
    n_steps: Any
    tree_depth: Any
    diverging: Any


class NutsState(NamedTuple):
    """One chain.

    Attributes
    ----------
    key : uint32 [2]
        Of the chain; an iteration's own key is that of its number.
    sweep : []
        Iterations done.
    position : [P]
        Unconstrained values of all sites, joined.
    potential : []
    slope : [P]
        Of the potential.
    step_size : []
    inverse_mass : [P]
    averaging : tuple
        Of dual averaging.
    spread : tuple
        Of Welford's variances.
    info : Info
        Of the last iteration, and those before it that belong to the same draw.
    """

    key: Array
    sweep: Array
    position: Array
    potential: Array
    slope: Array
    step_size: Array
    inverse_mass: Array
    averaging: Any
    spread: Any
    info: Info


class Phase(NamedTuple):
    """Where in the warm-up an iteration is.

    Attributes
    ----------
    adapting : whether the step size is adapted
    watching : whether the variances are
    ending : whether a window of them ends
    last : whether the warm-up does
    """

    adapting: Any
    watching: Any
    ending: Any
    last: Any


class NutsDraws(NamedTuple):
    """What a run leaves.

    Attributes
    ----------
    draws : chains.Draws
        Its `state` is a NutsState; `crowded` counts draws [C] whose last stick holds points.
    stats : Info
        [C, S].
    """

    draws: Draws
    stats: Info


# --- the density ----------------------------------------------------------------------------------


def _arguments(data: Data, prior: ModelPrior, config: ModelConfig) -> tuple:
    return data.points.T, prior, config, data.weight


def _sites(prior: ModelPrior, config: ModelConfig) -> dict[str, Any]:
    """The sites that a sampler moves, as `numpyro.handlers.trace` describes them."""
    traced = handlers.trace(handlers.seed(latent, jr.key(0))).get_trace(prior, config)
    return {name: site for name, site in traced.items() if site["type"] == "sample"}


def _unravel(prior: ModelPrior, config: ModelConfig) -> Callable[[Array], dict[str, Array]]:
    """From a position [P] to unconstrained values of sites."""

    def zeros() -> dict[str, Array]:
        values = {name: site["value"] for name, site in _sites(prior, config).items()}
        return unconstrain_fn(latent, (prior, config), {}, values)

    shapes = jax.eval_shape(zeros)
    return ravel_pytree({name: jnp.zeros(leaf.shape) for name, leaf in shapes.items()})[1]


def potential_of(position: Array, data: Data, prior: ModelPrior, config: ModelConfig) -> Array:
    """Minus the log joint density of a position [P], with the Jacobians of its transformations."""
    values = _unravel(prior, config)(position)
    return potential_energy(mixture_model, _arguments(data, prior, config), {}, values)


def values_of(position: Array, prior: ModelPrior, config: ModelConfig) -> dict[str, Array]:
    """Values of the sites of a position [P], without the deterministic ones."""
    return constrain_fn(latent, (prior, config), {}, _unravel(prior, config)(position))


def position_of(start: Start, prior: ModelPrior, config: ModelConfig) -> Array:
    """The position [P] of a mixture."""
    sites = _sites(prior, config)
    values = {name: STARTS[name](start).reshape(jnp.shape(s["value"])) for name, s in sites.items()}
    return ravel_pytree(unconstrain_fn(latent, (prior, config), {}, values))[0]


# --- one chain ------------------------------------------------------------------------------------

MOMENTUM, TREE, LABELS, BEGIN = range(4)
"""Numbers of the keys of one iteration."""

JITTER = 0.1
"""Standard deviation of what is added to a start, so that no two components are alike."""


def init(key: Array, data: Data, labels: Array, prior: ModelPrior, config: NutsConfig) -> NutsState:
    """A chain that begins at a mixture with the labels given.

    Parameters
    ----------
    key : uint32 [2]
        `core.random.words` makes it.
    data : Data
        With any weights.
    labels : [N] of integers
        Below the number of components.
    prior : ModelPrior
    config : NutsConfig

    Returns
    -------
    NutsState
        Its potential is not finite if a distribution of the prior does not allow this start.
    """
    model = config.model
    start = _start(random.fold(key, BEGIN), data, labels, prior, model)
    position = position_of(start, prior, model)
    position = position + JITTER * random.normal(key, position.shape, position.dtype)
    potential, slope = jax.value_and_grad(potential_of)(position, data, prior, model)
    unit = jnp.full_like(position, model.n_components / jnp.maximum(data.weight.sum(), 1.0))
    step_size = jnp.asarray(0.5, position.dtype)
    averaging = dual_averaging()[0](jnp.log(10 * step_size))
    spread = welford_covariance()[0](position.size)
    return NutsState(
        jnp.asarray(key),
        jnp.uint32(0),
        position,
        potential,
        slope,
        step_size,
        unit,
        averaging,
        spread,
        Info(*jnp.zeros(3, position.dtype), *jnp.zeros(2, jnp.int32), jnp.array(False)),
    )


def _start(key: Array, data: Data, labels: Array, prior: ModelPrior, config: ModelConfig) -> Start:
    """A mixture with these labels, its covariances drawn towards that of all points.

    Components without points begin at a point each.
    """
    K, (D, _) = config.n_components, data.points.shape
    counts, first = located(data, labels, K)
    centre = (data.points * data.weight).sum(1) / data.weight.sum()
    gap = data.points - centre[:, None]
    whole = (gap * data.weight) @ gap.T / data.weight.sum() / K ** (2 / D)
    whole = whole + 1e-6 * jnp.trace(whole) * jnp.eye(D)
    points = random.uniform(key, (K,), centre.dtype)
    place = jnp.searchsorted(jnp.cumsum(data.weight), points * data.weight.sum())
    means = jnp.where(
        (counts > 0)[:, None], safe_divide(first, counts[:, None]), data.points.T[place]
    )
    scatter = gathered(data, labels, means).second
    if config.family.pooled:
        scatter, own = scatter.sum(0, keepdims=True), counts.sum(keepdims=True)
    else:
        own = counts
    worth = D + 2.0
    covariances = (scatter + worth * whole) / (own + worth)[:, None, None]
    common = _start_of_scale(prior.components, config)
    weights = (counts + 1) / (counts.sum() + K)
    return Start(weights, means, covariances, jnp.asarray(prior.alpha, whole.dtype), common, config)


def _start_of_scale(components: Any, config: ModelConfig) -> Array | None:
    """The mean of C0, g0 G0^-1."""
    if not isinstance(components, HierarchicalPrior):
        return None
    shape, rate = jnp.asarray(components.shape)[0], jnp.asarray(components.rate)[0]
    if config.family.axis_aligned:
        return shape / rate
    root = inverse_lower(cholesky(rate))
    return shape * root.T @ root


def step(
    state: NutsState, phase: Phase, data: Data, prior: ModelPrior, config: NutsConfig
) -> tuple[NutsState, Info]:
    """One iteration: a trajectory, and what the warm-up learns from it.

    Parameters
    ----------
    state : NutsState
    phase : Phase
    data : Data
    prior : ModelPrior
    config : NutsConfig

    Returns
    -------
    state : NutsState
    info : Info
    """
    key, size = random.fold(state.key, state.sweep), state.position.shape
    noise = random.normal(random.fold(key, MOMENTUM), size, state.position.dtype)
    density = partial(potential_of, data=data, prior=prior, config=config.model)
    begin = IntegratorState(
        state.position, noise / jnp.sqrt(state.inverse_mass), state.potential, state.slope
    )
    tree = build_tree(
        velocity_verlet(density, euclidean_kinetic_energy)[1],
        euclidean_kinetic_energy,
        begin,
        state.inverse_mass,
        state.step_size,
        jr.wrap_key_data(random.fold(key, TREE), impl="threefry2x32"),
        max_tree_depth=config.max_tree_depth,
    )
    accepted = tree.sum_accept_probs / tree.num_proposals
    info = Info(
        accepted,
        state.step_size,
        tree.z_proposal_energy,
        jnp.asarray(tree.num_proposals, jnp.int32),
        jnp.asarray(tree.depth, jnp.int32),
        tree.diverging,
    )
    state = state._replace(
        sweep=state.sweep + jnp.uint32(1),
        position=tree.z_proposal,
        potential=tree.z_proposal_pe,
        slope=tree.z_proposal_grad,
    )
    return _adapted(state, accepted, phase, config), info


def _adapted(state: NutsState, accepted: Array, phase: Phase, config: NutsConfig) -> NutsState:
    """Step size and masses after an iteration of the warm-up; as they were after it."""
    begin, update = dual_averaging()
    averaging = update(config.target_accept - accepted, state.averaging)
    step_size = jnp.exp(jnp.where(phase.last, averaging[1], averaging[0]))
    watch, see, conclude = welford_covariance()
    spread = _where(phase.watching, see(state.position, state.spread), state.spread)
    found = conclude(spread, regularize=True)[0]
    inverse_mass = jnp.where(phase.ending, found, state.inverse_mass)
    spread = _where(phase.ending, watch(state.position.size), spread)
    averaging = _where(phase.ending, begin(jnp.log(10 * step_size)), averaging)
    tiny = jnp.finfo(step_size.dtype).tiny
    return state._replace(
        step_size=jnp.where(phase.adapting, jnp.maximum(step_size, tiny), state.step_size),
        averaging=_where(phase.adapting, averaging, state.averaging),
        inverse_mass=inverse_mass,
        spread=spread,
    )


def _where(condition: Array, one: Any, other: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)


def schedule(n_warmup: int) -> Phase:
    """The phases of a warm-up, [n_warmup] each: windows of variances, doubled from 25 on."""
    marks = Phase(*np.zeros((4, n_warmup), bool))
    marks.adapting[:] = True
    marks.last[-1:] = True
    for window in build_adaptation_schedule(n_warmup)[1:-1]:
        marks.watching[window.start : window.end + 1] = True
        marks.ending[window.end] = True
    return marks


# --- draws ----------------------------------------------------------------------------------------


def kept(state: NutsState, data: Data, prior: ModelPrior, config: NutsConfig) -> Kept:
    """What is kept of a draw: its mixture, and labels from their conditional given it."""
    model = config.model
    values = values_of(state.position, prior, model)
    mixture = handlers.substitute(latent, data=values)(prior, model)
    key = random.fold(random.fold(state.key, state.sweep), LABELS)
    uniform = random.uniform(key, data.weight.shape, data.weight.dtype)
    held = data._replace(weight=(data.weight > 0).astype(data.weight.dtype))
    labels, found = allocate(uniform, held, mixture, model.form)
    counts = jnp.round(found.counts).astype(jnp.int32)
    K = model.n_components
    number = jnp.int32(K if model.weights == "finite" else 0)
    likelihood = log_likelihood(data, mixture, model.form)
    alpha = values.get("concentration", jnp.asarray(prior.alpha, mixture.means.dtype))
    labels = labels.astype(jnp.uint8 if K <= 256 else jnp.uint16)
    return Kept(labels, *mixture, counts, number, alpha, likelihood, _common(values))


def _common(values: dict[str, Array]) -> Array:
    """C0 of a hierarchical prior, as `gibbs.Kept` has it."""
    if "common_factor" in values:
        return (values["common_factor"] @ values["common_factor"].T)[None]
    return values["common_scale"][None] if "common_scale" in values else jnp.zeros(1)


# --- runs -----------------------------------------------------------------------------------------

SPAN = 256
"""Iterations of one compiled call, at most."""


@partial(jax.jit, static_argnames="config")
def start_all(
    keys: Array, data: Data, labels: Array, prior: ModelPrior, config: NutsConfig
) -> NutsState:
    """`init` of C chains, from keys [C, 2] and labels [C, N]."""
    begin = lambda key, start, own: init(key, own, start, prior, config)  # noqa: E731
    return jax.vmap(begin, in_axes=(0, 0, own_axis(data)))(keys, labels, data)


@partial(jax.jit, static_argnames=("config", "room"), compiler_options=WIDE)
def _advance(
    states: NutsState,
    data: Data,
    prior: ModelPrior,
    plan: Plan,
    phases: Phase,
    config: NutsConfig,
    room: int,
) -> tuple[NutsState, tuple[Kept, Info]]:
    """`plan.span` iterations of every chain; the draws among them, [room, C, ...]."""
    axis = own_axis(data)
    moved = jax.vmap(lambda *given: step(*given, prior, config), in_axes=(0, None, axis))
    held = jax.vmap(lambda state, own: kept(state, own, prior, config), in_axes=(0, axis))
    move, read = lambda states, phase: moved(states, phase, data), lambda states: held(states, data)
    shapes = jax.eval_shape(read, states), states.info
    buffers = jax.tree.map(lambda leaf: jnp.zeros((room, *leaf.shape), leaf.dtype), shapes)

    def advance(i, carry):
        before, buffers = carry
        states, info = move(before, jax.tree.map(lambda leaf: leaf[i], phases))
        place, within = jnp.divmod(plan.phase + i, plan.thin)
        states = states._replace(info=_where(within > 0, _both(before.info, info), info))

        def write(buffers):
            put = lambda buffer, leaf: buffer.at[place].set(leaf)  # noqa: E731
            return jax.tree.map(put, buffers, (read(states), states.info))

        whole = within == plan.thin - 1
        return states, jax.lax.cond(whole, write, lambda buffers: buffers, buffers)

    return jax.lax.fori_loop(0, plan.span, advance, (states, buffers))


def _both(before: Info, info: Info) -> Info:
    """Two iterations of one draw."""
    return info._replace(
        n_steps=before.n_steps + info.n_steps,
        tree_depth=jnp.maximum(before.tree_depth, info.tree_depth),
        diverging=before.diverging | info.diverging,
    )


def run(
    states: NutsState,
    data: Data,
    prior: ModelPrior,
    config: NutsConfig,
    n_draws: int,
    thin: int = 1,
    n_warmup: int = 0,
    watch: Callable[[Progress], Any] | None = None,
) -> NutsDraws:
    """Keep `n_draws` iterations of each chain, every `thin`-th, after a warm-up.

    Parameters
    ----------
    states : NutsState with leading axis C
    data : Data
        With its padding last; with a leading axis C, every chain has as many points of its own.
    prior : ModelPrior
    config : NutsConfig
    n_draws, thin : int
    n_warmup : int
        Iterations that adapt step size and masses, and are not kept; of none the chains go on as
        they are.
    watch : callable, optional
        Called with a `Progress` after every compiled call, about twice a second. A
        KeyboardInterrupt ends the run, and what was kept so far is returned.

    Returns
    -------
    NutsDraws

    Raises
    ------
    ValueError
        If the density is not finite where a chain begins.
    """
    lost = np.flatnonzero(~np.isfinite(np.asarray(states.potential)))
    if len(lost):
        raise ValueError(
            f"the log density is not finite where chain {lost[0]} begins, at a mixture that is "
            "near the points: a distribution of component_prior does not allow it. Widen it."
        )
    asked = Asked(n_draws, thin, n_warmup)
    through = partial(_through, config=config, asked=asked, marks=schedule(n_warmup))
    lanes = lanes_of(states, data, prior, (own_axis(data), None))
    calls = rounds(lanes, through, asked, data.weight.dtype)
    lanes, pieces, interrupted = collected(calls, lanes, watch)
    return _joined(pieces, lanes, config, interrupted)


def _through(
    lane: Lane, done: int, until: int, config: NutsConfig, asked: Asked, marks: Phase
) -> tuple[Lane, list[tuple[Kept, Info] | None]]:
    """One lane from `done` iterations to `until`, and what was taken on the way."""
    states, *given = lane
    room, pieces = _room(states, lane.data, config), []
    while done < until:
        plan = planned(done, min(until - done, SPAN), room, asked)
        advanced = int(plan.span)
        phases = Phase(*(_padded(mark[done : done + advanced]) for mark in marks))
        states, buffers = _advance(states, *given, plan, phases, config, room)
        done += advanced
        pieces.append(taken(buffers, plan, advanced, asked, done))
    jax.block_until_ready(states)
    return lane._replace(states=states), pieces


def _room(states: NutsState, data: Data, config: NutsConfig) -> int:
    C, D = len(states.position), data.points.shape[-2]
    return room_for(C * (data.weight.shape[-1] + 8 * config.model.n_components * (D + 1) ** 2))


def _padded(mark: np.ndarray) -> np.ndarray:
    return np.pad(mark, (0, SPAN - len(mark)))


def _joined(pieces: list, lanes: list[Lane], config: NutsConfig, interrupted: bool) -> NutsDraws:
    some = [own or [_none_of(lane, config)] for own, lane in zip(pieces, lanes, strict=True)]
    every, stats = side_by_side([end_to_end(own) for own in some])
    state = side_by_side([lane.states for lane in lanes])
    weight, C = np.asarray(lanes[0].data.weight), len(state.position)
    n_points = int(np.count_nonzero(weight, axis=-1).max())
    every = every._replace(labels=every.labels[:, :, :n_points])
    process = config.model.weights == "process"
    full = (every.counts[:, :, -1] > 0).sum(1) if process else np.zeros(C, int)
    draws = Draws(*every, np.zeros((C, 3), np.int32), full, state, interrupted)
    return NutsDraws(draws, stats)


def _none_of(lane: Lane, config: NutsConfig) -> tuple[Kept, Info]:
    """No draws of these chains."""
    plan = Plan(np.int32(0), np.int32(0), np.int32(1), np.bool_(False))
    phases = Phase(*np.zeros((4, SPAN), bool))
    room = _room(lane.states, lane.data, config)
    _, buffers = _advance(*lane, plan, phases, config, room)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:0].swapaxes(0, 1), buffers)
