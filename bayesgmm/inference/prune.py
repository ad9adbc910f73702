"""Pruning: runs of variational Bayes give up the components that hold no points.

A component that the points have left does not vanish by itself: its q(mu, Sigma) is the prior
again, and goes on to explain a fraction of a point. It is removed where the bound does not fall.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import Array
from bayesgmm.core.conjugate import Hyperparameters, NormalInverseWishart
from bayesgmm.inference.loop import CONVERGED, FAILED, RUNNING, Progress
from bayesgmm.inference.vb import VBConfig, VBPrior, VBState, learn, read

EMPTY = 1.0
"""A component that expects fewer points than this may be removed."""

EVERY = 5
"""Iterations between two attempts at that."""


class Pruning:
    """A move of `drive.run`: runs try to do without their empty components.

    They try every `EVERY` iterations, while the bound still rises by more than such a component is
    worth, and where they stand still: without all that expect fewer than `EMPTY` points, without
    all of these but the largest, without the smallest. An attempt is an iteration, and is taken
    where the bound is not below the last one.

    Parameters
    ----------
    prior : VBPrior
    config : VBConfig
    R : int
    """

    def __init__(self, prior: VBPrior, config: VBConfig, R: int):
        self.prior, self.config = prior, config
        self.tried = np.zeros(R, int)  # the iteration at which each run last did

    def __call__(self, progress: Progress, iterate: Callable) -> Progress:
        """The progress to go on from."""
        since = progress.n_iter - self.tried
        due = (progress.status == CONVERGED) & (since > 0)
        due |= (progress.status == RUNNING) & (since >= EVERY)
        self.tried[due] = progress.n_iter[due]
        progress = progress._replace(history=np.full_like(progress.history, np.nan))
        for candidates in ATTEMPTS:
            leaving = candidates(_counts(progress.state, self.prior)) & due[:, None]
            if leaving.any():
                progress, gained = self._attempt(progress, leaving, iterate)
                due = due & ~gained
        return progress

    def _attempt(
        self, progress: Progress, leaving: np.ndarray, iterate: Callable
    ) -> tuple[Progress, np.ndarray]:
        """One iteration without the components `leaving` [R, K], and which runs took it [R]."""
        trying = leaving.any(1)
        present = progress.state.present & ~leaving
        states = without(progress.state, present, self.prior, self.config)
        status = np.where(trying, np.int32(RUNNING), np.int32(FAILED))  # the others stand aside
        trial = iterate(progress._replace(state=states, status=status))
        better = trying & (trial.n_iter > progress.n_iter) & (trial.objective >= progress.objective)

        def choose(new: np.ndarray, old: np.ndarray) -> np.ndarray:
            return np.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

        merged = jax.tree.map(choose, trial, progress)
        status = np.where(better, np.int32(RUNNING), progress.status)
        return merged._replace(status=status), better


@partial(jax.jit, static_argnames=("config",))
def without(states: VBState, present: Array, prior: VBPrior, config: VBConfig) -> VBState:
    """R states in which only the components `present` [R, K] may hold points.

    q(w) is that of the points of the components that stay; the points of the others are shared out
    by the next sweep.
    """

    def one(state: VBState, present: Array) -> VBState:
        counts = state.posterior.components.mean_precision - prior.components.mean_precision
        start = prior.weights.given(state.concentration.mean(), present)
        weights = start.update(jnp.where(present, counts, 0.0))
        components = _blank(state.posterior.components, prior.components, present)
        posterior = Hyperparameters(weights, components)
        mixture = read(posterior, present, prior.ridge, config.family)
        learned = learn(weights, present, prior)
        return state._replace(
            mixture=mixture, posterior=posterior, concentration=learned, present=present
        )

    return jax.vmap(one)(states, present)


def _blank(
    components: NormalInverseWishart, prior: NormalInverseWishart, present: Array
) -> NormalInverseWishart:
    """The posterior of the components present, and the prior for the others."""

    def choose(here: Array, there: Array) -> Array:
        own = len(here) == len(present)
        kept = present.reshape(-1, *(1,) * (here.ndim - 1))
        return jnp.where(kept, here, there) if own else here

    return jax.tree.map(choose, components, prior)


def _counts(state: VBState, prior: VBPrior) -> np.ndarray:
    """Expected points of every component of every run, [R, K]; inf where it is absent."""
    counts = state.posterior.components.mean_precision - np.asarray(prior.components.mean_precision)
    return np.where(state.present, counts, np.inf)


def _all_empty(counts: np.ndarray) -> np.ndarray:
    largest = np.where(np.isfinite(counts), counts, -1).argmax(1)
    return (counts < EMPTY) & (np.arange(counts.shape[1]) != largest[:, None])


def _nearly_all_empty(counts: np.ndarray) -> np.ndarray:
    """All but the one that expects most points of them."""
    empty = _all_empty(counts)
    return empty & (counts < np.where(empty, counts, 0).max(1, keepdims=True))


def _emptiest(counts: np.ndarray) -> np.ndarray:
    return _all_empty(counts) & (np.arange(counts.shape[1]) == counts.argmin(1)[:, None])


ATTEMPTS = (_all_empty, _nearly_all_empty, _emptiest)
