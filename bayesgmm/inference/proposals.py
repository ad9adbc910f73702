"""What to merge, delete, split, divide anew or add: the proposals of a round, best first."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax

from bayesgmm.core.arrays import Data
from bayesgmm.inference.parts import (
    SIDE,
    Half,
    Parts,
    born,
    divided,
    halves_of,
    joint,
    merged,
    neighbourhoods,
    parts_of,
    states_of,
)
from bayesgmm.inference.vb import VBConfig, VBPrior, VBState

WAYS = 8
"""Cuts from which the points of a component, or of two, are divided."""

CLOSE = 32
"""Pairs of components that might be merged: those that share most points."""

DELETED = 2
"""Components that might be deleted: those whose points are explained best by the others."""

MERGES, SPLITS, EXCHANGES, AGAIN = 4, 8, 8, 16
"""Proposals of each kind that are tried although they lose at once."""

SPARSE = (0.05, 0.15)
"""Shares of the points, those of lowest density, that might be a component of their own."""

BIRTHS = 6
"""Components of points of several others that are tried."""

SAME = 1e-3
"""Divisions whose bounds differ by less are taken for the same."""


class Proposal(NamedTuple):
    """What may become of the parts of a view.

    Attributes
    ----------
    parts : Parts
    gain : float
        At once, before any iteration.
    which : tuple
        The two components that are merged, or divided anew, or one that is split, twice.
    half : Half or None
        Of a division.
    """

    parts: Parts
    gain: float
    which: tuple
    half: Half | None = None


class View:
    """A state as its proposals see it.

    Parameters
    ----------
    state : VBState
    data : Data
    prior : VBPrior
        With room for one component more.
    learned : Fixed, GammaConcentration or GridConcentration
        q(alpha) of the state, with as much room.
    config : VBConfig
    cap : float
        The most components.
    random_state : numpy.random.RandomState
    new : bool
        Whether the state has not been seen before; if it has, only new cuts are of use.
    """

    def __init__(
        self,
        state: VBState,
        data: Data,
        prior: VBPrior,
        learned: Any,
        config: VBConfig,
        cap: float,
        random_state: np.random.RandomState,
        new: bool,
    ):
        self.data, self.prior, self.learned, self.config = data, prior, learned, config
        self.cap, self.random_state, self.new = cap, random_state, new
        self.log_joint = joint(state, data, config.family)
        about = state.mixture.means[state.present]
        self.parts = parts_of(softmax(self.log_joint, axis=0), about, data, config.family)
        [self.here] = self.states([self.parts])

    def states(self, several: Sequence[Parts]) -> list[VBState]:
        """A state of each."""
        return states_of(several, self.learned, self.prior, self.config)

    def batches(self, gain: float) -> Iterator[list[Parts]]:
        """Parts to go on from, to be tried side by side: at most `SIDE` at a time.

        First all together that gain at once; then those that may gain in some iterations.

        Parameters
        ----------
        gain : float
            What a component more must bring.
        """
        merges = self._merges()
        if merges and merges[0].gain > 0:
            yield [self._all_merged([merge for merge in merges if merge.gain > 0])]
        K = len(self.parts.counts)
        splits = self._divisions([(k, k) for k in range(K)])
        best = _best_of_each(splits, 1)
        most = min(len(self.prior.components.mean), self.cap) - K
        together = [split for split in best if split.gain > gain][: int(most)]
        if together:
            yield [self._all_split(together)]
        climbing = [*merges[:MERGES], *self._deletions()] if self.new else []
        if K < self.cap:
            climbing += _best_of_each(splits, 2)[:SPLITS]
            climbing += self._births()
        climbing += self._exchanges(merges, best)
        pairs = [merge.which for merge in merges[:MERGES]]
        climbing += _best_of_each(self._divisions(pairs), 3)[:AGAIN]
        for low in range(0, len(climbing), SIDE):
            yield [proposal.parts for proposal in climbing[low : low + SIDE]]

    def _proposals(self, several: Sequence[Parts], how: Sequence[tuple]) -> list[Proposal]:
        """The largest gain first."""
        bounds = [float(state.objective) for state in self.states(several)]
        found = [
            Proposal(parts, bound - float(self.here.objective), *given)
            for parts, bound, given in zip(several, bounds, how, strict=True)
        ]
        return sorted(found, key=lambda proposal: -proposal.gain)

    # --- fewer

    def _merges(self) -> list[Proposal]:
        """Of the `CLOSE` pairs that share most points."""
        rooted = self.parts.resp * np.sqrt(self.parts.weight)
        shared = rooted @ rooted.T
        size = np.sqrt(np.maximum(np.diag(shared), np.finfo(shared.dtype).tiny))
        first, second = np.triu_indices(len(shared), 1)
        share = shared[first, second] / size[first] / size[second]
        pairs = [(first[p], second[p]) for p in np.argsort(-share, kind="stable")[:CLOSE]]
        return self._proposals([merged(self.parts, *pair) for pair in pairs], [(p,) for p in pairs])

    def _all_merged(self, merges: Sequence[Proposal]) -> Parts:
        """The best merges of which no two share a component, together."""
        parts, names = self.parts, list(range(len(self.parts.counts)))
        free = set(names)
        for merge in merges:
            if free.issuperset(merge.which):
                free -= set(merge.which)
                i, j = map(names.index, merge.which)
                parts = merged(parts, i, j)
                del names[j]
        return parts

    def _deletions(self) -> list[Proposal]:
        """Without one of the components whose points the others explain best."""
        K, (resp, weight) = len(self.parts.counts), self.parts[:2]
        if K == 1:
            return []
        loss = -np.log1p(-np.minimum(resp, 1 - np.finfo(resp.dtype).eps)) @ weight
        given, several = (self.data, self.config.family), []
        for k in np.argsort(loss)[:DELETED]:
            rows = np.delete(np.arange(K), k)
            resp = softmax(self.log_joint[rows], axis=0)
            several.append(parts_of(resp, self.parts.about[rows], *given))
        return self._proposals(several, [((),)] * len(several))

    # --- more, or as many

    def _divisions(self, pairs: Sequence[tuple]) -> list[Proposal]:
        """Divisions of each pair, or of a component named twice."""
        cutting = self.data, self.prior, self.config.family, self.random_state, self.new
        halves = halves_of(self.parts, pairs, WAYS, *cutting)
        several = [divided(self.parts, half) for half in halves]
        return self._proposals(several, [(half.which, half) for half in halves])

    def _all_split(self, splits: Sequence[Proposal]) -> Parts:
        parts = self.parts
        for split in splits:
            parts = divided(parts, split.half)
        return parts

    def _births(self) -> list[Proposal]:
        """Components of points that no component explains well, or that lie together."""
        given, weight = (self.data, self.config.family), self.parts.weight
        chosen = []
        if self.new:
            density = logsumexp(self.log_joint, axis=0)
            order = np.argsort(np.where(weight > 0, density, np.inf))
            below = weight[order].cumsum()
            for share in SPARSE:
                chosen.append(np.isin(np.arange(len(weight)), order[below <= share * below[-1]]))
        n = BIRTHS - len(chosen)
        chosen += neighbourhoods(self.parts, self.data, n, self.random_state)
        several = [born(self.parts, those, *given) for those in chosen if those.any()]
        return self._proposals(several, [((),)] * len(several))

    def _exchanges(self, merges: Sequence[Proposal], splits: Sequence[Proposal]) -> list[Proposal]:
        """Two components merged and a third one split: the largest sums of gains."""
        pairs = [
            (merge.gain + split.gain, merge, split)
            for merge in merges[: 2 * MERGES]
            for split in splits
            if split.which[0] not in merge.which
        ]
        pairs.sort(key=lambda pair: -pair[0])
        return [
            Proposal(divided(merge.parts, split.half, merge.which[1]), gain, ())
            for gain, merge, split in pairs[:EXCHANGES]
        ]


def _best_of_each(divisions: Sequence[Proposal], n: int) -> list[Proposal]:
    """At most n different ones of each component or pair, the largest gain first."""
    kept: dict[tuple, list[Proposal]] = {}
    for division in divisions:
        own = kept.setdefault(division.which, [])
        if len(own) < n and all(abs(division.gain - other.gain) > SAME for other in own):
            own.append(division)
    found = [division for own in kept.values() for division in own]
    return sorted(found, key=lambda division: -division.gain)
