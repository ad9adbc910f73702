"""Moves: a run of variational Bayes that stands still goes on with more, fewer or other components.

Every bound of a labelling is a hill of its own, and coordinate ascent climbs the one it starts on.
A move proposes states on other hills, lets them climb side by side, and goes over to one whose
bound has become larger than that of the run: so the bound never falls. The search is over when no
proposal of a full round, nor of another one with new cuts, has got that far.

References
----------
Hughes and Sudderth (2013), *Advances in Neural Information Processing Systems* 26, 1133-1141.
Ueda, Nakano, Ghahramani and Hinton (2000), *Neural Computation* 12, 2109-2128.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np

from bayesgmm.core.arrays import Data, power_of_two
from bayesgmm.core.concentration import Symmetric
from bayesgmm.core.sweep import pad
from bayesgmm.inference import drive, vb
from bayesgmm.inference.devices import Feed
from bayesgmm.inference.loop import Progress
from bayesgmm.inference.parts import SIDE
from bayesgmm.inference.proposals import View
from bayesgmm.inference.prune import Pruning
from bayesgmm.inference.vb import VBConfig, VBPrior, VBState

ROWS = 8192
"""Proposals are made and first tried on at most so many points, drawn at random."""

LEAST = 8
"""Components that the smallest program has room for."""

GAIN = 0.01
"""Nats that a component more, or another place for as many, must bring."""

TRIAL, TRIALS = 25, 12
"""Iterations between two looks at states that climb, and looks at most."""

COARSE = 1e-6
"""Nats a point: between two moves a run stands still when an iteration gains less than this."""

ROUNDS = 2
"""Rounds without a gain after which the search is over."""


def room_for(K: int) -> int:
    """Components that the programs for K of them hold: a power of two, so that few compile."""
    return power_of_two(K, LEAST)


class Standing(NamedTuple):
    """A run that stands still.

    Attributes
    ----------
    state : VBState
    bound : float
        The objective of the step that made the state.
    history : list of float
        Bound after each iteration, those of a move from where they pass the bound before it.
    converged, failed : bool
    """

    state: VBState
    bound: float
    history: list
    converged: bool
    failed: bool

    @property
    def K(self) -> int:
        """Components present."""
        return int(self.state.present.sum())


class Search:
    """Moves of runs on the same points under the same prior.

    Parameters
    ----------
    shards : sequence of Data, or Feed
    prior_of : callable
        The prior with room for so many components.
    config : VBConfig
    tol, max_iter : float, int
        As `vb.run` has them, for the iterations between two moves.
    cap : int or None
        The most components.
    random_state : numpy.random.RandomState
    prune : bool, default True
    rounding : float, default 0
        Differences of bounds that mean nothing.
    """

    def __init__(
        self,
        shards: Sequence[Data] | Feed,
        prior_of: Callable[[int], VBPrior],
        config: VBConfig,
        tol: float,
        max_iter: int,
        cap: int | None,
        random_state: np.random.RandomState,
        prune: bool = True,
        rounding: float = 0.0,
    ):
        if not isinstance(shards, Feed):
            shards = jax.tree.map(np.asarray, list(shards))
        self.shards, self.config, self.random_state = shards, config, random_state
        self.tol, self.max_iter, self.prune = tol, max_iter, prune
        self.coarse = max(tol, COARSE * _total(shards))
        self.cap = np.inf if cap is None else cap
        self.gain = max(GAIN, tol, rounding)
        self.prior_of = cache(prior_of)
        self.sample = _sample(shards, random_state)
        self.whole = self.sample is shards
        self.watch: Callable[[Progress], None] | None = None

    def __call__(
        self, run: drive.Run, watch: Callable[[Progress], None] | None = None
    ) -> drive.Run:
        """The one run that `vb.run` has left, taken up again until no move gains.

        Parameters
        ----------
        run : drive.Run
            With leading axis 1.
        watch : callable, optional
            Called with the progress of the iterations after each move.

        Returns
        -------
        drive.Run
            With leading axis 1, and room for as many components as were tried.
        """
        state, self.watch = _row(run.state, 0), watch
        symmetric = isinstance(self.prior_of(len(state.present)).weights, Symmetric)
        self.least = len(state.present) if symmetric else LEAST  # its prior is over all the slots
        end = bool(run.converged[0]), bool(run.failed[0])
        standing = Standing(state, float(run.objective[0]), list(run.history[0]), *end)
        idle = 0
        while idle < ROUNDS and not standing.failed:
            better = self._round(standing, new=idle == 0)
            idle, standing = (idle + 1, standing) if better is None else (0, better)
        if self.coarse > self.tol and not standing.failed:
            standing = self._settled(standing.state, standing, self.tol)
        return drive.Run(
            _stack([standing.state]),
            np.array([standing.converged]),
            np.array([standing.failed]),
            np.array([len(standing.history)]),
            np.array([standing.bound]),
            [np.array(standing.history)],
        )

    def _round(self, standing: Standing, new: bool) -> Standing | None:
        """The run after the first move that gains; None if there is none."""
        state, K, whole = standing.state, standing.K, self.whole
        prior = self.prior_of(self._room(K + 1))
        learned = _learned(state.concentration, prior)
        given = prior, learned, self.config, self.cap, self.random_state, new
        view = View(state, self.sample[0], *given)
        bar = standing.bound if whole else self._bar(view)
        for batch in view.batches(self.gain):
            better = self._climb(view.states(batch), self.sample, bar, K)
            if better is not None and not whole:
                better = self._climb([better], self.shards, standing.bound, K)
            if better is not None:
                return self._settled(better, standing, self.coarse)
        return None

    def _bar(self, view: View) -> float:
        """What the run itself comes to on the sample."""
        states = _stack([view.here], SIDE)
        return float(self._iterate(states, self.sample, self.coarse, TRIAL * TRIALS).objective[0])

    def _room(self, K: int) -> int:
        return max(self.least, room_for(min(K, self.cap)))

    # --- from state to state

    def _iterate(
        self, states: VBState, shards: Sequence[Data], tol: float, max_iter: int, *options: Any
    ) -> drive.Run:
        prior = self.prior_of(states.present.shape[1])
        return vb.run(states, shards, prior, self.config, tol, max_iter, *options)

    def _climb(
        self, states: Sequence[VBState], shards: Sequence[Data], bar: float, K: int
    ) -> VBState | None:
        """The best of the states that come to the bar side by side; None if none does."""
        P = len(states)
        bars = np.array([bar + (self.gain if s.present.sum() >= K else 0) for s in states])
        stacked = _stack(states, 1 if P == 1 else SIDE)
        traces: list[list[float]] = [[] for _ in states]
        for _ in range(TRIALS):
            run = self._iterate(stacked, shards, self.coarse, min(TRIAL, self.max_iter))
            for trace, new in zip(traces, run.history[:P], strict=True):
                trace.extend(new)
            ahead = np.where(run.failed, -np.inf, run.objective)[:P] - bars
            if ahead.max() >= 0:
                return _row(run.state, int(ahead.argmax()))
            going = ~(run.converged | run.failed)[:P]
            if not any(_may_reach(traces[p], bars[p]) for p in np.flatnonzero(going)):
                return None
            stacked = run.state
        return None

    def _settled(self, state: VBState, standing: Standing, tol: float) -> Standing:
        """The run goes on from a state that has passed its bound.

        If it can, without the components that hold no point: one may be worth a little, but less
        than a move must bring.
        """
        prior, done = self.prior_of(len(state.present)), len(standing.history)
        move = Pruning(prior, self.config, 1) if self.prune else None

        def watch(progress: Progress) -> None:
            if self.watch is not None:
                self.watch(progress._replace(n_iter=progress.n_iter + np.int32(done)))

        whole = _stack([state])
        pruned = whole if move is None else move.first(whole)
        for start in (pruned, whole):
            run = self._iterate(start, self.shards, tol, self.max_iter, watch, move, TRIAL)
            if run.objective[0] >= standing.bound and not run.failed[0]:
                break
        bound, end = float(run.objective[0]), (bool(run.converged[0]), bool(run.failed[0]))
        above = [value for value in run.history[0] if value > standing.bound]
        return Standing(_row(run.state, 0), bound, standing.history + (above or [bound]), *end)


def _row(states: VBState, r: int) -> VBState:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[r], states)


def _stack(states: Sequence[VBState], size: int = 1) -> VBState:
    """Side by side, filled up to `size` with copies of the last."""
    states = [*states, *[states[-1]] * (size - len(states))]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *states)


def _learned(concentration: Any, prior: VBPrior) -> Any:
    """q(alpha), with the normalisers of the prior's number of components."""

    def choose(own: Any, new: Any) -> np.ndarray:
        return np.asarray(own if np.shape(own) == np.shape(new) else new)

    return jax.tree.map(choose, concentration, prior.concentration)


def _may_reach(trace: list, bar: float) -> bool:
    """Whether a bound that rises more and more slowly could come to the bar."""
    if len(trace) < 3:
        return False
    before, last = trace[-2] - trace[-3], trace[-1] - trace[-2]
    rate = np.clip(last / max(before, 1e-12), 0.9, 0.995)
    return trace[-1] + 2 * last * rate / (1 - rate) > bar


def _total(shards: Sequence[Data] | Feed) -> float:
    if isinstance(shards, Feed):
        return shards.total
    return sum(float(shard.weight.sum()) for shard in shards)


def _sample(shards: Sequence[Data] | Feed, random_state: np.random.RandomState) -> Sequence[Data]:
    """The points themselves if there are few; else some of them, each for several."""
    if isinstance(shards, Feed):
        return [shards.sample(ROWS, random_state)]
    counts = [np.count_nonzero(shard.weight) for shard in shards]
    if sum(counts) <= ROWS and len(shards) == 1:
        return shards
    share = min(1.0, ROWS / sum(counts))
    points, weight = [], []
    for shard, n in zip(shards, counts, strict=True):
        rows = np.sort(random_state.choice(n, int(share * n), replace=False))
        points.append(shard.points[:, rows])
        weight.append(shard.weight[rows] * (n / max(len(rows), 1)))
    whole = pad(np.concatenate(points, axis=1).T, np.concatenate(weight))
    return [jax.tree.map(np.asarray, whole)]
