"""Several starts of one fit: each runs a little, the worse half is dropped, the others go on."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from bayesgmm.inference.drive import Run

TRIAL = 10
"""Passes of every start before some are dropped."""

HOPE = 20.0
"""Nats to come that a start is credited with at most: a forecast from ten passes is not better."""


def race(states: Any, advance: Callable[..., Run], max_iter: int, total: float) -> Run:
    """Runs from R starts, of which the better half go on after `TRIAL` passes.

    The best are those of largest objective together with the gain that is still expected. Which
    start leads after ten passes says little about small differences, so that half of them go on.
    One program serves any number of starts, as they run one after the other.

    Parameters
    ----------
    states : named tuple with leading axis R
        Its fields `objective` and `rest` say how a run stands.
    advance : callable
        (state, passes, number of the start, passes before) -> `Run` of that one.
    max_iter : int
        Passes of each start.
    total : float
        Nats to one unit of the objective: the number of points.

    Returns
    -------
    Run
        With leading axis R. Those that were dropped have not converged.
    """
    starts = [_one(states, r) for r in range(len(states.rest))]
    first = max_iter if len(starts) == 1 else min(TRIAL, max_iter)
    runs = [advance(start, first, r, 0) for r, start in enumerate(starts)]
    waiting = {r for r, run in enumerate(runs) if not run.converged[0] and not run.failed[0]}
    promising = np.argsort([-promises(run, total)[0] for run in runs])[: (len(runs) + 1) // 2]
    queue = [r for r in promising if r in waiting] if max_iter > first else []
    while queue:
        r = queue.pop(0)
        runs[r] = _joined(runs[r], advance(runs[r].state, max_iter - first, r, first))
        waiting.discard(r)
        if not queue:
            objective = np.concatenate([run.objective for run in runs])
            leader = _largest(objective, np.concatenate([run.failed for run in runs]))
            queue += {leader} & waiting  # the others have not kept their promise
    return _side_by_side(runs)


def best(run: Run) -> int | None:
    """The run of largest objective; None if every one has failed."""
    return _largest(run.objective, run.failed)


def _largest(objective: np.ndarray, failed: np.ndarray) -> int | None:
    if failed.all():
        return None
    kind = np.finfo(objective.dtype)
    values = np.where(failed, -np.inf, np.maximum(objective, kind.min))  # min: no step taken yet
    equal = values.max() - 64 * kind.eps * np.abs(values[values > kind.min]).max(initial=0.0)
    return int((values >= max(equal, kind.min)).argmax())  # of equals the first


def _one(states: Any, r: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[r : r + 1], states)


def promises(run: Run, total: float) -> np.ndarray:
    """The objectives [R] that runs may reach, in nats; minus infinity of one that has failed."""
    rest = np.where(run.converged, 0.0, run.state.rest)
    hoped = total * run.objective + np.minimum(total * rest, HOPE)
    return np.where(run.failed, -np.inf, hoped)


def _joined(one: Run, more: Run) -> Run:
    """One run and what came after it."""
    history = [np.concatenate(pair) for pair in zip(one.history, more.history, strict=True)]
    return more._replace(n_iter=one.n_iter + more.n_iter, history=history)


def _side_by_side(runs: list[Run]) -> Run:
    history = [run.history[0] for run in runs]
    bare = [run._replace(history=[]) for run in runs]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *bare)._replace(history=history)


def put_in(whole: Run, r: int, one: Run) -> Run:
    """R runs, of which number r is replaced by a run of its own."""

    def replaced(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        old = np.array(old)
        old[r] = new[0]
        return old

    history = [one.history[0] if i == r else trace for i, trace in enumerate(whole.history)]
    bare = whole._replace(history=[]), one._replace(history=[])
    return jax.tree.map(replaced, *bare)._replace(history=history)
