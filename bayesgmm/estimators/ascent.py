"""Runs of variational Bayes on a table: prior and start in the core's units, the way up, bounds."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from bayesgmm.core.arrays import Data, Standardizer, float_scope
from bayesgmm.core.concentration import Fixed
from bayesgmm.core.conjugate import Hyperparameters, NormalInverseWishart
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import choose_form
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.fitted import Fitted
from bayesgmm.estimators.pieces import SAMPLED, Pieces
from bayesgmm.estimators.points import capacity, n_shards, placed
from bayesgmm.estimators.priors import (
    WEIGHTS,
    ComponentPrior,
    change_units,
    held_prior,
    weight_prior,
)
from bayesgmm.inference import drive, vb
from bayesgmm.inference.moves import Search, room_for
from bayesgmm.inference.prune import EVERY, Pruning, without

SINGULAR = (
    "Fitting the mixture failed because a covariance became singular. Try a larger "
    "covariance_prior or reg_covar, fewer components, or scale the input data."
)


class Weights(NamedTuple):
    """The options of the weights, checked.

    Attributes
    ----------
    kind : str
        A row of `priors.WEIGHTS`.
    concentration : float, None, "gamma" or ("gamma", shape, rate)
    discount : float
    """

    kind: str
    concentration: Any
    discount: float

    @property
    def sticks(self) -> bool:
        """Whether more components may follow those that are held."""
        return WEIGHTS[self.kind].sticks


class Ascent(NamedTuple):
    """What a fit climbs, and how far it goes.

    Attributes
    ----------
    own : ComponentPrior
        In the user's units.
    weights : Weights
    family : Covariance
    units : Standardizer
    ridge : ndarray [D]
        In the core's units and the dtype of the fit.
    cap : int
        The most components.
    tol, max_iter : float, int
    prune, moves : bool
    random_state : numpy.random.RandomState
        Of the moves.
    """

    own: ComponentPrior
    weights: Weights
    family: Covariance
    units: Standardizer
    ridge: np.ndarray
    cap: int
    tol: float
    max_iter: int
    prune: bool
    moves: bool
    random_state: np.random.RandomState

    def prior(self, room: int) -> vb.VBPrior:
        """The prior in the core's units with room for so many components.

        To be called inside the float scope of the fit.
        """
        dtype = self.ridge.dtype
        weights, concentration = weight_prior(*self.weights, self.cap, room)
        components = held_prior(self.own, self.units, self.family, room)
        components = jax.tree.map(lambda leaf: leaf.astype(dtype), components)
        concentration = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), concentration)
        return vb.VBPrior(components, weights, concentration, self.ridge)

    def room(self, K: int, N: int) -> int:
        """Components that the compiled programs hold for K of them."""
        K = K if self.weights.sticks else self.cap
        return room_for(K) if self.moves else capacity(K, N)


class Ends(NamedTuple):
    """Where the restarts have ended.

    Attributes
    ----------
    runs : list of drive.Run
        One of leading axis 1 for each restart.
    bounds : ndarray [R]
        Evidence lower bound in the core's units; -inf of a run that failed.
    prior : vb.VBPrior
        Of the core's units, with the room that the fit began with.
    """

    runs: list
    bounds: np.ndarray
    prior: vb.VBPrior


def climb(
    ascent: Ascent,
    kept: Entered | Pieces,
    K: int,
    start: Fitted | vb.VBState | Callable[[Entered, list[Data]], np.ndarray],
    watch: Callable,
) -> Ends:
    """A run of every restart; the standardised points are gone when it returns.

    Parameters
    ----------
    ascent : Ascent
    kept : Entered or Pieces
    K : int
        Components to begin with.
    start : Fitted, VBState or callable
        A fit or a state [1, ...] to go on from, or a function from points and their shards to
        labels [R, N] or responsibilities [R, K, N]. Of points in pieces a sample is fitted first.
    watch : callable
        (progress, restart=0) is called as the runs go on.

    Raises
    ------
    ValueError
        If every run ends in a singular covariance.
    """
    if not (kept.in_memory or isinstance(start, Fitted | vb.VBState)):
        start = _stood(climb(ascent, kept.some(SAMPLED, ascent.random_state), K, start, watch))
    (N, D), dtype, family = kept.shape, kept.dtype, ascent.family
    room, rounding = ascent.room(K, N), np.finfo(dtype).eps * kept.total * D
    room = start.present.shape[1] if isinstance(start, vb.VBState) else room
    shards = kept.shards(ascent.units, n_shards(N, D, K, family.axis_aligned))
    config = vb.VBConfig(family, choose_form(D, family.axis_aligned), ascent.prune)
    with float_scope(dtype):
        prior = ascent.prior(room)
        ready = placed(shards, N)
        if isinstance(start, Fitted):
            last = start.objective + kept.total * ascent.units.log_volume
            states = resumed(start, ascent.units, prior, config, last)
        elif isinstance(start, vb.VBState):
            states = start
        else:
            states = _begun(ready, start(kept, shards), prior, config, np.arange(room) < K)
        runs = _runs(ascent, states, ready, prior, config, rounding, watch)
        bounds = [
            vb.lower_bounds(run.state, ready, ascent.prior(run.state.present.shape[1]), config)
            for run in runs
        ]
    failed, bounds = np.concatenate([run.failed for run in runs]), np.concatenate(bounds)
    bounds = np.where(failed | np.isnan(bounds), -np.inf, bounds)
    if np.isneginf(bounds).all():
        raise ValueError(SINGULAR)
    return Ends(runs, bounds, prior)


def _runs(
    ascent: Ascent,
    states: vb.VBState,
    shards: list,
    prior: vb.VBPrior,
    config: vb.VBConfig,
    rounding: float,
    watch: Callable,
) -> list[drive.Run]:
    """A run from each of the states [R, ...], first side by side, then the moves of each."""
    ends = max(ascent.tol, rounding), ascent.max_iter  # no finer than its rounding
    pruning = Pruning(prior, config, len(states.objective)) if ascent.prune else None
    states = states if pruning is None else pruning.first(states)
    most = EVERY if ascent.prune else vb.SPAN
    run = vb.run(states, shards, prior, config, *ends, watch, pruning, most)
    runs = [drive.one_run(run, r) for r in range(len(run.objective))]
    if not ascent.moves or ascent.max_iter == 0:
        return runs
    tries = ascent.random_state, ascent.prune, rounding
    search = Search(shards, ascent.prior, config, *ends, ascent.cap, *tries)
    return [search(own, partial(watch, restart=r)) for r, own in enumerate(runs)]


# --- where it begins ------------------------------------------------------------------------------


def _begun(
    shards: list, start: np.ndarray, prior: vb.VBPrior, config: vb.VBConfig, present: np.ndarray
) -> vb.VBState:
    """States [R, ...] from labels or responsibilities."""
    if start.ndim == 3:
        start = np.pad(start, [(0, 0), (0, len(present) - start.shape[1]), (0, 0)])
    return vb.start_all(shards, start, prior, config, present)


def _stood(ends: Ends) -> vb.VBState:
    """The best state [1, ...] of a sample, to go on from with all points."""
    state = ends.runs[int(ends.bounds.argmax())].state
    never = np.full_like(state.objective, np.inf)
    return state._replace(objective=-never, remaining=never, kappa=np.zeros_like(state.kappa))


def resumed(
    left: Fitted,
    units: Standardizer,
    prior: vb.VBPrior,
    config: vb.VBConfig,
    objective: float = -np.inf,
) -> vb.VBState:
    """The posterior of a fit as a state [1, ...] in these units, under a prior that has the room.

    To be called inside the float scope of the fit that goes on.
    """
    K, room, dtype = len(left.log_weights), len(prior.components.mean), prior.ridge.dtype
    last = change_units(left.posterior.components, units, config.family, to_core=True)

    def extended(leaf: np.ndarray, default: np.ndarray) -> np.ndarray:
        shared = len(leaf) == 1
        leaf = leaf if shared else np.concatenate([leaf[:K], default[K:]])
        return leaf.astype(dtype)[None]

    components = NormalInverseWishart(*map(extended, last, prior.components))
    blank = vb.VBState(
        mixture=None,
        posterior=Hyperparameters(None, components),
        concentration=Fixed(np.full(1, left.alpha, dtype)),
        present=None,
        objective=np.full(1, objective, dtype),
        remaining=np.full(1, np.inf, dtype),
        kappa=np.zeros(1, dtype),
    )
    present = (np.arange(room) < K)[None]
    return jax.tree.map(np.asarray, without(blank, present, prior, config))
