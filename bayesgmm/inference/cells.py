"""Fits of one covariance family with any number of components, side by side in one program.

Fits of few points take less time than their compilation, so that there is to be one for all: every
run has room for the largest number of components, those beyond its own being absent, and runs pass
through a fixed number of lanes, a few iterations at a time, whoever is next taking a lane that is
free. A run begins with the M-step from a start, in the same program.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import Array, Data
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import Moments, soft
from bayesgmm.inference import devices, drive, em, loop, squarem
from bayesgmm.inference.restarts import TRIAL, promises

LANES = 4
"""Runs that the program takes on at once: with more, they wait for the slowest among them."""

TURN = 16
"""Iterations of each in one call."""

LOWEST = -1e300
"""The objective of a run that has taken no step: a number, for the loop takes no other."""


class Cell(NamedTuple):
    """One run between two passes.

    Attributes
    ----------
    run : squarem.Leaping
    start : Moments
        Of the start, about the means of `run.mixture`.
    fresh : [] of bool
        Whether the next step is the M-step from the start.
    """

    run: squarem.Leaping
    start: Moments
    fresh: Array

    @property
    def mixture(self) -> Mixture:
        """Enters the next sweep."""
        return self.run.mixture

    @property
    def objective(self) -> Array:
        """As the loop asks for it."""
        return self.run.objective

    @property
    def remaining(self) -> Array:
        """Likewise."""
        return self.run.remaining

    @property
    def kappa(self) -> Array:
        """Likewise."""
        return self.run.kappa


def maximize(cell: Cell, found: Moments, objective: em.Objective, config: em.EMConfig) -> Cell:
    """The next state; the first step is that from the moments of the start."""
    either = lambda a, b: jnp.where(cell.fresh, a, b)  # noqa: E731
    found = jax.tree.map(either, cell.start, found)
    new = squarem.maximize(cell.run, found, objective, config)
    fill = lambda value: jnp.full_like(new.objective, value)  # noqa: E731
    begun = squarem.begun(new.kept, fill, LOWEST)._replace(kappa=new.kappa)
    return Cell(jax.tree.map(either, begun, new), cell.start, jnp.zeros_like(cell.fresh))


def _advance(
    progress: loop.Progress,
    data: Data,
    objective: em.Objective,
    limits: loop.Limits,
    span: Array,
    config: em.EMConfig,
) -> loop.Progress:
    def step(cell: Cell) -> Cell:
        found = soft(data, cell.mixture, config.form)
        return maximize(cell, found, objective, config)

    return loop.run_until(step, progress, limits, span)


ADVANCE = jax.jit(_advance, static_argnames=("config",), compiler_options=devices.HURRIED)


def begin(data: Data, starts: Sequence[np.ndarray], family: Covariance, room: int) -> Cell:
    """States [R] that have taken no step.

    Parameters
    ----------
    data : Data
        With its padding last.
    starts : sequence of arrays [R, N] of labels or [R, K, N] of responsibilities
        Of the N points that are not padding; each with its own K.
    family : Covariance
    room : int
        The largest K, at least.

    Returns
    -------
    Cell
        NumPy arrays.
    """
    found = [_moments(data, start, room, family.axis_aligned) for start in starts]
    means, sums = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
    R, _, D = means.shape
    dtype = means.dtype
    scales = np.stack([_within(one, family) for one in _each(sums)]).astype(dtype)
    log_weights = np.full((R, room), -np.log(room), dtype)
    states = squarem.begin(Mixture(log_weights, means, scales), objective=LOWEST)
    return Cell(states, sums._replace(evidence=np.zeros(R, dtype)), np.ones(R, bool))


def _moments(
    data: Data, starts: np.ndarray, room: int, axis_aligned: bool
) -> tuple[np.ndarray, Moments]:
    """Means and moments of starts of one kind, in groups so that one program serves any number."""
    if starts.ndim == 3:
        starts = np.pad(starts, [(0, 0), (0, room - starts.shape[1]), (0, 0)])
    groups = em.grouped(starts)
    parts = [drive.moments_of_starts([data], some, room, axis_aligned) for some in groups]
    R = len(starts)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:R], *parts)


def _each(sums: Moments) -> list[Moments]:
    return [Moments(*leaves) for leaves in zip(*sums, strict=True)]


def _within(one: Moments, family: Covariance) -> np.ndarray:
    """Scales [K or 1, ...] of the pooled scatter: axes to turn from, for families that do."""
    K = 1 if family.pooled and not family.axis_aligned else len(one.counts)
    pooled = one.second.sum(0) / max(one.counts.sum(), 1.0)
    if family.axis_aligned:
        return np.broadcast_to(np.sqrt(pooled + FLOOR), (K, len(pooled)))
    return np.broadcast_to(
        np.linalg.cholesky(pooled + FLOOR * np.eye(len(pooled))), (K, *pooled.shape)
    )


FLOOR = 1e-6
"""Added to the variances of `_within`, in which a cluster may have no spread."""


class Field(NamedTuple):
    """Who runs against whom.

    Attributes
    ----------
    group : ndarray [R] of int
        The cell of each run: those of one compete.
    favourite : ndarray [R] of bool
        Those that are never dropped.
    """

    group: np.ndarray
    favourite: np.ndarray


def run(
    cells: Cell,
    field: Field,
    data: Data,
    objective: em.Objective,
    config: em.EMConfig,
    tol: float,
    max_iter: int,
    regular: Callable[[Mixture], np.ndarray],
    stopped: Callable[[], bool] = lambda: False,
) -> drive.Run:
    """Every run for `TRIAL` passes, then the favourites and the better half of each group.

    Where none of those ends regular, or one that was dropped still leads, that goes on too.

    Parameters
    ----------
    cells : Cell
        With leading axis R; `config.form` must be one that bears any mixture.
    field : Field
    data : Data
    objective : em.Objective
    config : em.EMConfig
    tol, max_iter : float, int
    regular : callable
        From mixtures [R] to which of them may win, [R] of bool.
    stopped : callable
        Asked between calls: whether to give up.

    Returns
    -------
    drive.Run
        Its `state` is the runs' `squarem.Leaping`. Runs that were dropped have not converged.
    """
    heat = _Heat(cells, data, objective, config, tol, stopped)
    heat.go_on(np.arange(len(field.group)), min(TRIAL, max_iter))
    heat.go_on(_promising(heat, field), max_iter)
    while len(more := _overlooked(heat, field, regular, max_iter)):
        heat.go_on(more, max_iter)
    return heat.ended()


class _Heat:
    """All runs, and how far each is: what the lanes take from and give back to."""

    def __init__(self, cells, data, objective, config, tol, stopped):
        self.progress = jax.tree.map(np.array, loop.begin(cells))  # each its own, to be written in
        dtype = cells.run.objective.dtype
        self.limits = partial(loop.Limits, dtype.type(tol), kappa=dtype.type(np.inf))
        self.given, self.config, self.stopped = (data, objective), config, stopped
        self.history: list[list[float]] = [[] for _ in cells.fresh]
        self.total = float(np.sum(data.weight))

    def waiting(self, passes: int) -> np.ndarray:
        """Which runs have neither ended nor made so many passes; the start is no pass."""
        return (self.progress.status == loop.RUNNING) & (self.progress.n_iter <= passes)

    def go_on(self, runs: np.ndarray, passes: int) -> None:
        """Take these runs to their end, or to so many passes in all."""
        limits = self.limits(max_iter=np.int32(min(passes + 1, 2**31 - 1)))
        while len(left := runs[self.waiting(passes)[runs]]):
            if self.stopped():
                return
            self._call(left[:LANES], limits)

    def _call(self, some: np.ndarray, limits: loop.Limits) -> None:
        lanes = np.resize(some, LANES)  # repeated where there are fewer
        part = jax.tree.map(lambda leaf: leaf[lanes], self.progress)
        part.status[len(some) :] = loop.CONVERGED
        part = ADVANCE(part, *self.given, limits, np.int32(TURN), self.config)
        part = jax.tree.map(lambda leaf: np.asarray(leaf)[: len(some)], part)
        for whole, leaf in zip(jax.tree.leaves(self.progress), jax.tree.leaves(part), strict=True):
            whole[some] = leaf
        for r, values in zip(some, part.history, strict=True):
            self.history[r].extend(values[np.isfinite(values) & (values > LOWEST)].tolist())

    def ended(self) -> drive.Run:
        progress = self.progress
        return drive.Run(
            progress.state.run,
            progress.status == loop.CONVERGED,
            (progress.status == loop.FAILED) | progress.state.fresh,
            np.maximum(progress.n_iter - 1, 0),
            progress.objective,
            [np.array(trace) for trace in self.history],
        )


def _promising(heat: _Heat, field: Field) -> np.ndarray:
    """The favourites, and of each group the better half as they may end."""
    promise = promises(heat.ended(), heat.total)
    chosen = field.favourite.copy()
    for cell in np.unique(field.group):
        own = np.flatnonzero(field.group == cell)
        best = own[np.argsort(-promise[own], kind="stable")]
        chosen[best[: (len(own) + 1) // 2]] = True
    return np.flatnonzero(chosen)


def _overlooked(heat: _Heat, field: Field, regular: Callable, max_iter: int) -> np.ndarray:
    """Of each group the run that leads, of those that may win, if it was dropped."""
    waiting = heat.waiting(max_iter)
    run = heat.ended()
    objective = np.where(run.failed | ~regular(run.state.kept), -np.inf, run.objective)
    more = []
    for cell in np.unique(field.group[waiting]):
        own = np.flatnonzero(field.group == cell)
        leader = own[objective[own].argmax()]
        if waiting[leader] and np.isfinite(objective[leader]):
            more.append(leader)
    return np.array(more, int)
