"""Going round a fixed-point loop until its objective stands still: compiled, or with threads."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import Array

RUNNING, CONVERGED, FAILED = 0, 1, 2
"""Status of a run; FAILED: its last step was not sound and was not taken."""

SPAN = 128
"""Iterations a compiled call can record; longer runs make several calls."""


class Progress(NamedTuple):
    """R runs side by side.

    Attributes
    ----------
    state : named tuple with leaves [R, ...]
        Its fields `objective`, `remaining` and `kappa` [R] say how the run stands.
    n_iter : [R]
    status : [R]
    history : [R, SPAN]
        Objective per iteration of the last call; NaN where a run took no step.
    """

    state: Any
    n_iter: Array
    status: Array
    history: Array

    @property
    def objective(self) -> Array:
        """Of each run, [R]."""
        return self.state.objective


class Limits(NamedTuple):
    """When to stop; traced, so that no value of them compiles anew.

    Attributes
    ----------
    tol : []
        A run has converged when the gain that remains, as its state sees it, is less.
    max_iter : []
        Steps per run.
    kappa : []
        A step is sound while the condition of its mixture is at most this.
    """

    tol: Any
    max_iter: Any
    kappa: Any


def begin(state: Any) -> Progress:
    """Progress of runs that have taken no step; `state` has leaves [R, ...]."""
    R, dtype = len(state.objective), state.objective.dtype
    return Progress(
        state,
        np.zeros(R, np.int32),
        np.full(R, RUNNING, np.int32),
        np.full((R, SPAN), np.nan, dtype),
    )


def cleared(progress: Progress) -> Progress:
    """Progress with room for the history of another call."""
    return progress._replace(history=jnp.full_like(progress.history, jnp.nan))


def active(progress: Progress, limits: Limits) -> Array:
    """Which runs take another step, [R]."""
    return (progress.status == RUNNING) & (progress.n_iter < limits.max_iter)


def record(progress: Progress, new: Any, i: Array, limits: Limits) -> Progress:
    """Take the step to `new` where it is sound, and see who is done.

    Convergence is affirmed: a NaN compares False, and so is a failure and never an arrival.
    """
    moving = active(progress, limits)
    sound = jnp.isfinite(new.objective) & (new.kappa <= limits.kappa)
    taken = moving & sound
    arrived = new.remaining < limits.tol
    status = jnp.where(taken & arrived, CONVERGED, progress.status)
    choose = lambda a, b: jnp.where(taken.reshape(-1, *(1,) * (a.ndim - 1)), a, b)  # noqa: E731
    return Progress(
        jax.tree.map(choose, new, progress.state),
        progress.n_iter + taken,
        jnp.where(moving & ~sound, FAILED, status),
        progress.history.at[:, i].set(jnp.where(taken, new.objective, jnp.nan)),
    )


def run_until(
    step: Callable, progress: Progress, limits: Limits, span: Array, *given: Any, axes: tuple = ()
) -> Progress:
    """At most `span` <= SPAN steps of every run, in one compiled loop.

    Parameters
    ----------
    step : function
        From the state of one run, and `given`, to the next, with fields `objective`, `remaining`
        and `kappa`; it is mapped over the runs.
    progress : Progress
    limits : Limits
    span : []
    *given : pytrees
    axes : tuple
        Where each of `given` has an axis of runs, as `jax.vmap` takes it.

    Returns
    -------
    Progress
    """
    steps = jax.vmap(step, in_axes=(0, *axes))

    def proceed(carry):
        i, progress = carry
        return (i < span) & active(progress, limits).any()

    def advance(carry):
        i, progress = carry
        return i + 1, record(progress, steps(progress.state, *given), i, limits)

    return jax.lax.while_loop(proceed, advance, (0, cleared(progress)))[1]
