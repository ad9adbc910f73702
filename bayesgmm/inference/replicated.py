"""Many fits side by side, each of its own data: their weights differ, or their points.

Blocks of a fixed number of runs share one compiled program, and a thread a core takes them in turn.
After some passes the runs that have ended are let go, and those left fill new blocks, so that no
block waits long for its slowest run.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from bayesgmm.core.arrays import Array, Data
from bayesgmm.inference import devices, drive, em

BLOCK = 32
"""Runs of one compiled program: more gain nothing, and wait longer for each other."""

NUMBERS = 1 << 21
"""Numbers that the weights, or a feature, of a block hold at most: 16 MB in float64."""

LEG = 48
"""Passes of the first leg; each later one has twice as many as the last."""


class Replicates(NamedTuple):
    """Data sets of one size, and how each is fitted.

    Attributes
    ----------
    drawn : callable
        From numbers of data sets [B] to `Data` whose points [B, D, N] or weights [B, N], or both,
        are theirs. It is asked again in every leg, by several threads.
    n_points : int
        N, with padding.
    objective : em.Objective
    config : em.EMConfig
    engine : module
        `em` or `squarem`.
    tol : float
        As `em.run` has it.
    watch : callable
        (begun, ended) -> None: told of runs that begin and of runs that end, by several threads.
    """

    drawn: Callable[[Array], Data]
    n_points: int
    objective: em.Objective
    config: em.EMConfig
    engine: Any
    tol: float
    watch: Callable[[int, int], None] = lambda begun, ended: None

    @property
    def block(self) -> int:
        """Runs in one program."""
        most = max(1, NUMBERS // self.n_points)
        return min(BLOCK, 1 << most.bit_length() - 1)


def run(states: Any, which: Array, replicates: Replicates, max_iter: int) -> drive.Run:
    """Iterate each of R states until little gain remains.

    Parameters
    ----------
    states : named tuple with leading axis R
        Of the engine's `begin`, or of a run that is to go on: NumPy arrays.
    which : ndarray [R] of int
        Numbers of their data sets.
    replicates : Replicates
    max_iter : int

    Returns
    -------
    drive.Run
        Without history.
    """
    R = len(which)
    none = np.zeros(R, bool)
    found = drive.Run(states, none, none, np.zeros(R, np.int64), states.objective, [])
    found = jax.tree.map(np.array, found)  # to be written to
    rows, passes, left = np.arange(R), LEG, max_iter
    replicates.watch(R, 0)
    while len(rows) and left > 0:
        passes = min(passes, left)
        leg = _leg(some(found.state, rows), which[rows], replicates, passes)
        put_in(found, rows, leg)
        rows = rows[~leg.converged & ~leg.failed]
        left, passes = left - passes, 2 * passes
    replicates.watch(0, len(rows))
    return found


def _leg(states: Any, which: Array, replicates: Replicates, passes: int) -> drive.Run:
    """At most so many passes of these runs, in blocks that threads take in turn."""
    R, n_lanes = len(which), devices.n_cores()
    rows = np.append(np.arange(R), np.full(-R % replicates.block, R - 1))
    blocks = list(enumerate(rows.reshape(-1, replicates.block)))
    real = [min(replicates.block, R - i * replicates.block) for i, _ in blocks]

    def advance(lane: list) -> list[tuple[int, drive.Run]]:
        found = []
        for i, block in lane:
            ended = _of_block(states, which, block, replicates, passes)
            replicates.watch(0, int((ended.converged | ended.failed)[: real[i]].sum()))
            found.append((i, ended))
        return found

    lanes = [blocks[i::n_lanes] for i in range(min(n_lanes, len(blocks)))]
    dtype = states.objective.dtype
    ended = dict(pair for lane in devices.each(advance, lanes, dtype) for pair in lane)
    in_order = (ended[i] for i, _ in blocks)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:R], *in_order)


def _of_block(
    states: Any, which: Array, block: Array, replicates: Replicates, passes: int
) -> drive.Run:
    given = replicates.objective, replicates.config, replicates.tol, passes
    data = replicates.drawn(which[block])
    return replicates.engine.run(some(states, block), [data], *given)._replace(history=[])


def some(states: Any, rows: Array) -> Any:
    """Some of what has leading axis R."""
    return jax.tree.map(lambda leaf: leaf[rows], states)


def put_in(found: drive.Run, rows: Array, more: drive.Run) -> None:
    """How some of the runs went on, written into the run of all."""

    def put(old: Array, new: Array) -> None:
        old[rows] = new

    jax.tree.map(put, found, more._replace(n_iter=found.n_iter[rows] + more.n_iter))
