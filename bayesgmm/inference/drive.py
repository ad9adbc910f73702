"""Round and round: an engine's two halves driven over shards, in the form that bears the mixture.

An engine whose iteration is a sweep and a `maximize` says only what `maximize` is: a module-level
function of (state, moments, prior, config), the state holding the `mixture` of the next sweep.
The runs see the same points, or a single shard has points [R, D, N] or weights [R, N] for each.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from bayesgmm.core.arrays import Array, Data, safe_divide
from bayesgmm.core.forms import Form, exact_form, kappa_limit
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import Moments, gathered, located, soft
from bayesgmm.inference import devices
from bayesgmm.inference.loop import (
    CONVERGED,
    FAILED,
    RUNNING,
    SPAN,
    Limits,
    Progress,
    active,
    begin,
    cleared,
    record,
    run_until,
)


class Run(NamedTuple):
    """R finished fits, as NumPy arrays.

    Attributes
    ----------
    state : pytree with leading axis R
    converged, failed : ndarray [R] of bool
        Failed: a covariance became singular; the state is the last sound one.
    n_iter : ndarray [R] of int
    objective : ndarray [R]
        Of the last step.
    history : list of R ndarrays
        Objective per iteration.
    """

    state: Any
    converged: np.ndarray
    failed: np.ndarray
    n_iter: np.ndarray
    objective: np.ndarray
    history: list


def one_run(run: Run, r: int) -> Run:
    """Fit r alone, with leading axis 1."""
    only = slice(r, r + 1)
    leaves = run.converged[only], run.failed[only], run.n_iter[only], run.objective[only]
    state = jax.tree.map(lambda leaf: np.asarray(leaf)[only], run.state)
    return Run(state, *leaves, run.history[only])


class Sweep(NamedTuple):
    """How moments are made of points: module-level functions, for they are compiled in.

    Attributes
    ----------
    one : (data, mixture, prior, form) -> Moments
        Of one shard; mapped over runs.
    several : (mixtures, shards, prior, form) -> list of Moments
        Of each of several shards, with leading axis R; what they share is found between them.
    """

    one: Callable
    several: Callable


def axes_of(data: Data) -> Data:
    """Where points and weights have an axis of runs, as `jax.vmap` takes it."""
    return Data(0 if data.points.ndim == 3 else None, 0 if data.weight.ndim == 2 else None)


# --- where it begins ------------------------------------------------------------------------------


def per_shard(starts: np.ndarray, shards: Sequence[Data]) -> Iterator[np.ndarray]:
    """Starts [..., N] cut to the shards, filled up with "none" where these are padded."""
    none = -1 if starts.dtype.kind == "i" else 0
    begin = 0
    for shard in shards:
        size, rows = len(shard.weight), np.count_nonzero(shard.weight)
        own = np.full((*starts.shape[:-1], size), none, starts.dtype)
        own[..., :rows] = starts[..., begin : begin + rows]
        begin += rows
        yield own


def centres(counts: Array, first: Array) -> Array:
    """Means [K, D] from counts and sums; 0 where there is nothing."""
    return safe_divide(first, counts[:, None])


@partial(jax.jit, static_argnames=("K",))
def _locate_all(data: Data, starts: Array, K: int) -> tuple[Array, Array]:
    return jax.vmap(lambda start: located(data, start, K))(starts)


@partial(jax.jit, static_argnames=("axis_aligned",))
def _gather_all(data: Data, starts: Array, means: Array, axis_aligned: bool) -> Moments:
    return jax.vmap(lambda start, mean: gathered(data, start, mean, axis_aligned))(starts, means)


def moments_of_start(data: Data, start: Array, K: int, axis_aligned: bool) -> tuple[Array, Moments]:
    """Means of the components of a start, and moments about them."""
    means = centres(*located(data, start, K))
    return means, gathered(data, start, means, axis_aligned)


@partial(jax.jit, static_argnames=("K", "axis_aligned"))
def _given_all(data: Data, starts: Array, K: int, axis_aligned: bool) -> tuple[Array, Moments]:
    one = lambda data, start: moments_of_start(data, start, K, axis_aligned)  # noqa: E731
    return jax.vmap(one, in_axes=(axes_of(data), 0))(data, starts)


def moments_of_starts(
    shards: Sequence[Data], starts: np.ndarray, K: int, axis_aligned: bool
) -> tuple[np.ndarray, Moments]:
    """`moments_of_start` of every start, as NumPy arrays.

    Parameters
    ----------
    shards : sequence of Data
        With their padding last.
    starts : ndarray [R, N] of labels (-1 for none) or [R, K, N] of responsibilities
        Of the N points that are not padding.
    K : int
    axis_aligned : bool

    Returns
    -------
    means : ndarray [R, K, D]
    moments : Moments
        With leading axis R.
    """
    own = list(per_shard(starts, shards))
    if len(shards) == 1:
        return jax.tree.map(np.asarray, _given_all(shards[0], own[0], K, axis_aligned))
    dtype, pairs = shards[0].points.dtype, list(zip(shards, own, strict=True))
    totals = devices.sum_over(lambda pair: _locate_all(*pair, K), pairs, dtype)
    means = np.asarray(jax.vmap(centres)(*totals))
    return means, devices.sum_over(
        lambda pair: _gather_all(*pair, means, axis_aligned), pairs, dtype
    )


# --- an iteration, or a span of them --------------------------------------------------------------


def _of_one(data: Data, mixture: Mixture, prior: Any, form: Form) -> Moments:
    return soft(data, mixture, form)


def _few(data: Data) -> bool:
    return data.weight.shape[-1] <= devices.FEW


def _expect(mixtures: Mixture, data: Data, form: Form) -> Moments:
    return jax.vmap(lambda mixture: soft(data, mixture, form))(mixtures)


_EXPECT = devices.for_sizes(_expect, "form")


def _expect_all(mixtures: Mixture, data: Data, form: Form) -> Moments:
    return _EXPECT[_few(data)](mixtures, data, form)


def _sweeping(mixtures: Mixture, shards: Sequence[Data] | devices.Feed, form: Form) -> Callable:
    """From a shard to its moments; to be sent to where the shards are, where these are a feed."""
    if isinstance(shards, devices.Feed):
        mixtures = jax.tree.map(np.asarray, mixtures)
    return partial(_expect_all, mixtures, form=form)


def _of_several(mixtures: Mixture, shards: Sequence[Data], prior: Any, form: Form) -> list[Moments]:
    expect = _sweeping(mixtures, shards, form)
    return devices.each(expect, shards, mixtures.means.dtype)


WHOLE = Sweep(_of_one, _of_several)
"""Every point counts by its weight."""


def _advance(
    progress: Progress,
    data: Data,
    prior: Any,
    limits: Limits,
    span: Array,
    maximize: Callable,
    config: Any,
    sweep: Sweep,
) -> Progress:
    """A compiled span of iterations over one shard."""

    def step(state: Any, data: Data) -> Any:
        found = sweep.one(data, state.mixture, prior, config.form)
        return maximize(state, found, prior, config)

    return run_until(step, progress, limits, span, data, axes=(axes_of(data),))


ADVANCE = devices.for_sizes(_advance, "maximize", "config", "sweep")


@partial(jax.jit, static_argnames=("maximize", "config"))
def _absorb(
    progress: Progress,
    parts: list[Moments],
    i: Array,
    prior: Any,
    limits: Limits,
    maximize: Callable,
    config: Any,
) -> Progress:
    """The second half of iteration i of a call: the shards' moments are added, and read."""
    found = jax.tree.map(lambda *leaves: sum(leaves), *parts)
    new = jax.vmap(lambda state, sums: maximize(state, sums, prior, config))(progress.state, found)
    return record(progress, new, i, limits)


def _advance_sharded(
    progress: Progress,
    shards: Sequence[Data],
    prior: Any,
    limits: Limits,
    span: int,
    maximize: Callable,
    config: Any,
    sweep: Sweep,
) -> Progress:
    """A span of iterations over several shards, each swept by its own thread."""
    progress = jax.device_put(cleared(progress))
    for i in range(span):
        if not active(jax.tree.map(np.asarray, progress._replace(state=())), limits).any():
            break
        parts = sweep.several(progress.state.mixture, shards, prior, config.form)
        progress = _absorb(progress, parts, np.int32(i), prior, limits, maximize, config)
    return progress


def moments(mixtures: Mixture, shards: Sequence[Data] | devices.Feed, form: Form) -> Moments:
    """Moments of all the points under each of R mixtures, as NumPy arrays."""
    expect_shard = _sweeping(mixtures, shards, form)
    return devices.sum_over(expect_shard, shards, np.asarray(mixtures.means).dtype)


def _size(data: Data) -> tuple[int, int]:
    """Features, and points: those of every run, where each has its own."""
    D = data.points.shape[-2]
    return D, max(data.points.size // D, np.size(data.weight))


def iterations_a_call(shards: Sequence[Data] | devices.Feed, K: int, form: Form) -> int:
    """How many iterations about half a second holds: an interrupt must not wait longer."""
    D, N = shards.shape if isinstance(shards, devices.Feed) else _size(shards[0])
    squares = D if form.axis_aligned else D * D
    seconds = 1e-9 * N * K * (8 + squares) * (1 if form.name == "natural" else 4)
    return int(np.clip(0.5 / seconds, 1, SPAN))


def _call(
    progress: Progress,
    limits: Limits,
    config: Any,
    most: int = SPAN,
    *,
    shards: Sequence[Data],
    prior: Any,
    maximize: Callable,
    sweep: Sweep,
) -> Progress:
    K = progress.state.mixture.means.shape[1]
    span = min(most, iterations_a_call(shards, K, config.form))
    how = (prior, limits, span, maximize, config, sweep)
    if isinstance(shards, devices.Feed) or len(shards) > 1:
        progress = _advance_sharded(progress, shards, *how)
    else:
        progress = ADVANCE[_few(shards[0])](progress, shards[0], *how)
    return jax.tree.map(np.asarray, progress)


# --- until it stands still ------------------------------------------------------------------------


def run(
    states: Any,
    shards: Sequence[Data],
    prior: Any,
    config: Any,
    maximize: Callable,
    tol: float,
    max_iter: int,
    watch: Callable[[Progress], None] | None = None,
    move: Callable[[Progress, Callable], Progress] | None = None,
    most: int = SPAN,
    sweep: Sweep = WHOLE,
) -> Run:
    """Iterate each of R states until the gain that remains is less than `tol`.

    A run whose mixture becomes too tight for the fast form is taken up in the exact one, from
    the state before the step that went too far.

    Parameters
    ----------
    states : pytree with leading axis R
        Named tuples with fields `mixture`, `objective`, `remaining` and `kappa`.
    shards : sequence of Data, or Feed
        One, or one a thread.
    prior : pytree
    config : hashable dataclass with a field `form`
    maximize : module-level function (state, moments, prior, config) -> state
    tol, max_iter : float, int
    watch : callable, optional
        Called with the progress after every compiled call.
    move : callable, optional
        Called with the progress after every compiled call, and with a function that takes a
        progress through one iteration; returns the progress to go on from, with runs that are to
        be taken up again marked as running. What it adds to the history is kept.
    most : int, default SPAN
        Iterations a compiled call may take, at most SPAN.
    sweep : Sweep
        What the moments of an iteration are made by.

    Returns
    -------
    Run
    """
    R = len(states.objective)
    dtype = np.dtype(states.objective.dtype)
    progress = begin(states)
    history: list[list[float]] = [[] for _ in range(R)]
    for form, limit in _forms(config.form, dtype):
        config = replace(config, form=form)
        limits = Limits(dtype.type(tol), np.int32(min(max_iter, 2**31 - 1)), dtype.type(limit))
        given = {"shards": shards, "prior": prior, "maximize": maximize, "sweep": sweep}
        ahead = partial(_call, limits=limits, config=config, **given)
        progress = progress._replace(
            status=np.where(progress.status == FAILED, np.int32(RUNNING), progress.status)
        )
        while np.any(active(progress, limits)):
            progress = ahead(progress, most=most)
            _keep(progress, history)
            if watch is not None:
                watch(progress)
            if move is not None:
                before = progress
                progress = move(progress, partial(ahead, most=1))
                if progress is not before:
                    _keep(progress, history)
        if not np.any(progress.status == FAILED):
            break
    return Run(
        progress.state,
        progress.status == CONVERGED,
        progress.status == FAILED,
        progress.n_iter,
        progress.objective,
        [np.array(trace) for trace in history],
    )


def _keep(progress: Progress, history: list[list[float]]) -> None:
    for trace, values in zip(history, progress.history, strict=True):
        trace.extend(values[np.isfinite(values)].tolist())


def _forms(form: Form, dtype: np.dtype) -> list[tuple[Form, float]]:
    """The form to begin with and the one to end with, each with the condition it can bear."""
    exact = exact_form(form.axis_aligned), np.inf
    return [exact] if form.about_means else [(form, kappa_limit(dtype)), exact]
