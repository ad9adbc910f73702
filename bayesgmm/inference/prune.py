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
from bayesgmm.inference.devices import QUICK
from bayesgmm.inference.loop import CONVERGED, FAILED, RUNNING, Progress
from bayesgmm.inference.vb import VBConfig, VBPrior, VBState, learn, read

EMPTY = 1.0
"""A component that expects fewer points than this may be removed."""

EVERY = 3
"""Iterations between two looks at the components."""


class Pruning:
    """A move of `drive.run`: runs do without their empty components where the bound allows it.

    A component that expects n points is worth about n nats to the bound, or less. While the bound
    rises by more than that in an iteration, those components are left out that it can afford;
    where a run stands still it tries to do without all that expect fewer than `EMPTY` points,
    without all of these but the largest, without the smallest. An attempt is an iteration, and
    is taken where the bound is not below the last one.

    Parameters
    ----------
    prior : VBPrior
    config : VBConfig
    R : int
    """

    def __init__(self, prior: VBPrior, config: VBConfig, R: int):
        self.prior, self.config = prior, config
        self.last = np.full(R, -np.inf)  # bound of each run when it was last seen
        self.tried = np.zeros(R, int)  # iteration of its last attempt where it stood still

    def __call__(self, progress: Progress, iterate: Callable) -> Progress:
        """The progress to go on from."""
        known = np.isfinite(self.last) & np.isfinite(progress.objective)
        gain = np.subtract(progress.objective, self.last, out=np.zeros(len(known)), where=known)
        gain = gain / EVERY
        still = (progress.status == CONVERGED) & (progress.n_iter > self.tried)
        rising = progress.status == RUNNING
        self.tried[still] = progress.n_iter[still]
        progress = progress._replace(history=np.full_like(progress.history, np.nan))
        progress, _ = self._attempt(progress, partial(_affordable, gain=gain), rising, iterate)
        for candidates in ATTEMPTS:
            progress, gained = self._attempt(progress, candidates, still, iterate)
            still = still & ~gained
        self.last = progress.objective
        return progress

    def first(self, states: VBState) -> VBState:
        """States R that have taken no step, without the components that start with no point."""
        leaving = _all_empty(_counts(states, self.prior))
        if not leaving.any():
            return states
        present = states.present & ~leaving
        return jax.tree.map(np.asarray, without(states, present, self.prior, self.config))

    def _attempt(
        self, progress: Progress, candidates: Callable, runs: np.ndarray, iterate: Callable
    ) -> tuple[Progress, np.ndarray]:
        """One iteration of `runs` [R] without the candidates, and which of them took it [R]."""
        leaving = candidates(_counts(progress.state, self.prior)) & runs[:, None]
        trying = leaving.any(1)
        if not trying.any():
            return progress, trying
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


@partial(jax.jit, static_argnames=("config",), compiler_options=QUICK)
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


def _affordable(counts: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """The emptiest, as long as they expect fewer points together than `gain` [R]."""
    order = np.argsort(counts, axis=1)
    running = np.take_along_axis(counts, order, axis=1).cumsum(1)
    within = np.zeros(counts.shape, bool)
    np.put_along_axis(within, order, running < gain[:, None], axis=1)
    return within & _all_empty(counts)


def _nearly_all_empty(counts: np.ndarray) -> np.ndarray:
    """All but the one that expects most points of them."""
    empty = _all_empty(counts)
    return empty & (counts < np.where(empty, counts, 0).max(1, keepdims=True))


def _emptiest(counts: np.ndarray) -> np.ndarray:
    return _all_empty(counts) & (np.arange(counts.shape[1]) == counts.argmin(1)[:, None])


ATTEMPTS = (_all_empty, _nearly_all_empty, _emptiest)
