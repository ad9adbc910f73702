"""Expectation-maximization (Dempster, Laird and Rubin 1977): the mode read off the update."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import Array, Data, safe_divide
from bayesgmm.core.conjugate import Hyperparameters, mode, update
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import Form, exact_form, kappa, kappa_limit, reference
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


@dataclass(frozen=True)
class EMConfig:
    """What is fixed for a run, and compiled in.

    Attributes
    ----------
    family : Covariance
    form : Form
    """

    family: Covariance
    form: Form


class EMState(NamedTuple):
    """One fit between two steps.

    Attributes
    ----------
    mixture : Mixture
    objective : []
        Mean log density of the points under the mixture that ENTERED the step.
    kappa : []
        Condition the step had to bear: that of the mixture it entered with or made.
    """

    mixture: Mixture
    objective: Array
    kappa: Array


class Objective(NamedTuple):
    """What is maximised beside the likelihood.

    Attributes
    ----------
    prior : Hyperparameters
    ridge : [D]
        Added to every variance.
    """

    prior: Hyperparameters
    ridge: Array


class Run(NamedTuple):
    """R finished fits, as NumPy arrays.

    Attributes
    ----------
    mixture : Mixture
        With leading axis R.
    converged, failed : ndarray [R] of bool
        Failed: a covariance became singular; the mixture is the last sound one.
    n_iter : ndarray [R] of int
    objective : ndarray [R]
        Of the mixture that entered the last step.
    history : list of R ndarrays
        Objective per iteration.
    """

    mixture: Mixture
    converged: np.ndarray
    failed: np.ndarray
    n_iter: np.ndarray
    objective: np.ndarray
    history: list


def init(data: Data, start: Array, objective: Objective, config: EMConfig, K: int) -> Mixture:
    """The M-step from labels [N] (-1 for none) or responsibilities [K, N]."""
    means = _centres(*located(data, start, K))
    found = gathered(data, start, means, config.family.axis_aligned)
    return _first(means, found, objective, config)


def _centres(counts: Array, first: Array) -> Array:
    return safe_divide(first, counts[:, None])


def _first(means: Array, found: Moments, objective: Objective, config: EMConfig) -> Mixture:
    posterior = update(objective.prior, found, means, config.family)
    return mode(posterior, config.family, objective.ridge)


def expect(mixture: Mixture, data: Data, config: EMConfig) -> Moments:
    """Moments under the mixture, with the evidence; those of two shards add."""
    return soft(data, mixture, config.form)


def maximize(mixture: Mixture, found: Moments, objective: Objective, config: EMConfig) -> EMState:
    """The mode of the posterior given moments that `mixture` made."""
    about = reference(mixture, config.form)
    posterior = update(objective.prior, found, about, config.family)
    new = mode(posterior, config.family, objective.ridge, mixture.scales)
    condition = jnp.maximum(kappa(mixture), kappa(new))
    return EMState(new, found.evidence / found.counts.sum(), condition)


def step(state: EMState, data: Data, objective: Objective, config: EMConfig) -> EMState:
    """One iteration."""
    return maximize(state.mixture, expect(state.mixture, data, config), objective, config)


@partial(jax.jit, static_argnames=("config", "K"))
def _init_all(data: Data, starts: Array, objective: Objective, config: EMConfig, K: int) -> Mixture:
    return jax.vmap(lambda start: init(data, start, objective, config, K))(starts)


@partial(jax.jit, static_argnames=("K",))
def _locate_all(data: Data, starts: Array, K: int) -> tuple[Array, Array]:
    return jax.vmap(lambda start: located(data, start, K))(starts)


@partial(jax.jit, static_argnames=("axis_aligned",))
def _gather_all(data: Data, starts: Array, means: Array, axis_aligned: bool) -> Moments:
    return jax.vmap(lambda start, mean: gathered(data, start, mean, axis_aligned))(starts, means)


@partial(jax.jit, static_argnames=("config",))
def _first_all(means: Array, found: Moments, objective: Objective, config: EMConfig) -> Mixture:
    return jax.vmap(lambda mean, sums: _first(mean, sums, objective, config))(means, found)


def start_all(
    shards: Sequence[Data], starts: np.ndarray, objective: Objective, config: EMConfig, K: int
) -> Mixture:
    """`init` for every start.

    Parameters
    ----------
    shards : sequence of Data
        With their padding last.
    starts : ndarray [R, N] of labels or [R, K, N] of responsibilities
        Of the N points that are not padding.
    objective : Objective
    config : EMConfig
    K : int

    Returns
    -------
    Mixture
        NumPy arrays with leading axis R.
    """
    own = list(_per_shard(starts, shards))
    if len(shards) == 1:
        mixtures = _init_all(shards[0], own[0], objective, config, K)
        return jax.tree.map(np.asarray, mixtures)
    dtype, pairs = shards[0].points.dtype, list(zip(shards, own, strict=True))
    totals = devices.sum_over(lambda pair: _locate_all(*pair, K), pairs, dtype)
    means = np.asarray(jax.vmap(_centres)(*totals))
    axis_aligned = config.family.axis_aligned
    found = devices.sum_over(lambda pair: _gather_all(*pair, means, axis_aligned), pairs, dtype)
    return jax.tree.map(np.asarray, _first_all(means, found, objective, config))


def _per_shard(starts: np.ndarray, shards: Sequence[Data]) -> Iterator[np.ndarray]:
    """Starts [..., N] cut to the shards, filled up with "none" where these are padded."""
    none = -1 if starts.dtype.kind == "i" else 0
    begin = 0
    for shard in shards:
        size, rows = len(shard.weight), np.count_nonzero(shard.weight)
        own = np.full((*starts.shape[:-1], size), none, starts.dtype)
        own[..., :rows] = starts[..., begin : begin + rows]
        begin += rows
        yield own


@partial(jax.jit, static_argnames=("config",), compiler_options=devices.WIDE)
def _advance(
    progress: Progress,
    data: Data,
    objective: Objective,
    limits: Limits,
    span: Array,
    config: EMConfig,
) -> Progress:
    """A compiled span of iterations over one shard."""
    once = partial(step, data=data, objective=objective, config=config)
    return run_until(once, progress, limits, span)


@partial(jax.jit, static_argnames=("config",), compiler_options=devices.WIDE)
def _expect_all(mixtures: Mixture, data: Data, config: EMConfig) -> Moments:
    return jax.vmap(lambda mixture: expect(mixture, data, config))(mixtures)


@partial(jax.jit, static_argnames=("config",))
def _absorb(
    progress: Progress,
    parts: list[Moments],
    i: Array,
    objective: Objective,
    limits: Limits,
    config: EMConfig,
) -> Progress:
    """The second half of iteration i of a call: the shards' moments are added, and read."""
    found = jax.tree.map(lambda *leaves: sum(leaves), *parts)
    once = partial(maximize, objective=objective, config=config)
    new = jax.vmap(once)(progress.state.mixture, found)
    return record(progress, new, i, limits)


def _advance_sharded(
    progress: Progress,
    shards: Sequence[Data],
    objective: Objective,
    limits: Limits,
    span: int,
    config: EMConfig,
) -> Progress:
    """A span of iterations over several shards, each swept by its own thread."""
    progress = jax.device_put(cleared(progress))
    for i in range(span):
        if not active(jax.tree.map(np.asarray, progress._replace(state=())), limits).any():
            break
        expect_shard = partial(_expect_all, progress.state.mixture, config=config)
        parts = devices.each(expect_shard, shards, progress.objective.dtype)
        progress = _absorb(progress, parts, np.int32(i), objective, limits, config)
    return progress


def iterations_a_call(shards: Sequence[Data], K: int, config: EMConfig) -> int:
    """How many iterations about half a second holds: an interrupt must not wait longer."""
    D, N = shards[0].points.shape
    squares = D if config.form.axis_aligned else D * D
    seconds = 1e-9 * N * K * (8 + squares) * (1 if config.form.name == "natural" else 4)
    return int(np.clip(0.5 / seconds, 1, SPAN))


def run(
    mixtures: Mixture,
    shards: Sequence[Data],
    objective: Objective,
    config: EMConfig,
    tol: float,
    max_iter: int,
    previous: float = -np.inf,
    watch: Callable[[Progress], None] | None = None,
) -> Run:
    """Iterate each of R mixtures until its objective gains less than `tol`.

    A run whose mixture becomes too tight for the fast form is taken up in the exact one, from
    the state before the step that went too far.

    Parameters
    ----------
    mixtures : Mixture
        With leading axis R.
    shards : sequence of Data
        One, or one a thread.
    objective : Objective
    config : EMConfig
    tol, max_iter : float, int
    previous : float
        Objective to compare the first one with.
    watch : callable, optional
        Called with the progress after every compiled call.

    Returns
    -------
    Run
    """
    R, K, _ = mixtures.means.shape
    dtype = np.dtype(mixtures.means.dtype)
    blank = EMState(mixtures, np.zeros(R, dtype), np.zeros(R, dtype))
    progress = begin(blank, previous, dtype)
    history: list[list[float]] = [[] for _ in range(R)]
    for form, limit in _forms(config.form, dtype):
        config = replace(config, form=form)
        limits = Limits(dtype.type(tol), np.int32(min(max_iter, 2**31 - 1)), dtype.type(limit))
        progress = progress._replace(
            status=np.where(progress.status == FAILED, np.int32(RUNNING), progress.status)
        )
        while np.any(active(progress, limits)):
            progress = _call(progress, shards, objective, limits, config)
            for trace, values in zip(history, progress.history, strict=True):
                trace.extend(values[np.isfinite(values)].tolist())
            if watch is not None:
                watch(progress)
        if not np.any(progress.status == FAILED):
            break
    return Run(
        progress.state.mixture,
        progress.status == CONVERGED,
        progress.status == FAILED,
        progress.n_iter,
        progress.objective,
        [np.array(trace) for trace in history],
    )


def _forms(form: Form, dtype: np.dtype) -> list[tuple[Form, float]]:
    """The form to begin with and the one to end with, each with the condition it can bear."""
    exact = exact_form(form.axis_aligned), np.inf
    return [exact] if form.about_means else [(form, kappa_limit(dtype)), exact]


def _call(
    progress: Progress, shards: Sequence[Data], objective: Objective, limits: Limits, config: Any
) -> Progress:
    span = iterations_a_call(shards, progress.state.mixture.means.shape[1], config)
    if len(shards) > 1:
        progress = _advance_sharded(progress, shards, objective, limits, span, config)
    else:
        progress = _advance(progress, shards[0], objective, limits, np.int32(span), config)
    return jax.tree.map(np.asarray, progress)


@partial(jax.jit, static_argnames=("config",))
def _evidence_all(mixtures: Mixture, data: Data, config: EMConfig) -> tuple[Array, Array]:
    found = jax.vmap(lambda mixture: expect(mixture, data, config))(mixtures)
    return found.evidence, found.counts.sum(-1)


def best(run: Run, shards: Sequence[Data], config: EMConfig) -> int | None:
    """The run whose final mixture has the largest likelihood; None if every run has failed."""
    sound = ~run.failed
    if not sound.any():
        return None
    if len(sound) == 1:
        return 0
    exact = replace(config, form=exact_form(config.form.axis_aligned))
    dtype = run.mixture.means.dtype
    sums = devices.sum_over(lambda data: _evidence_all(run.mixture, data, exact), shards, dtype)
    evidence = np.where(sound, sums[0] / sums[1], -np.inf)
    return int(np.nanargmax(evidence))
