"""Climbs from a partition to one of less expected loss: allocation, sweetening, zeal.

References
----------
Dahl, Johnson and Mueller (2022), *Journal of Computational and Graphical Statistics* 31,
1189-1201, section 3.
"""

from typing import Any, NamedTuple

import numpy as np

from bayesgmm.core.arrays import float_scope
from bayesgmm.posterior.draws import in_order
from bayesgmm.posterior.partitions import PartitionLoss
from bayesgmm.posterior.reallocate import (
    CLOSE,
    Place,
    Visited,
    placed,
    problem,
    room,
    visit,
)

Array = np.ndarray

PASSES, INNER, ROUNDS = 20, 10, 4
"""At most: visits of all points; of the undecided ones between them; rounds over all clusters."""

UNDECIDED = (64, 8)
"""Points that are visited between the visits of all: so many, or one of so many if that is more."""


PAIRED, DISSOLVED = 256, 30
"""Points of which, at most, two clusters at a time are dissolved, too; clusters in a round."""


class End(NamedTuple):
    """Where a climb has ended.

    Attributes
    ----------
    labels : ndarray [N]
        In order of first appearance.
    loss : float
        Expected over the climber's draws.
    gap : float
        How much more the best partition has that one move leads to; infinite if there is none.
    other : ndarray [N]
        That partition.
    """

    labels: Array
    loss: float
    gap: float
    other: Array


class Climber:
    """Climbs for one loss over distinct draws [S, N] with weights [S]."""

    def __init__(self, labels: Array, weights: Array, row: PartitionLoss, cost: float, limit: int):
        self.known = problem(labels, weights, row, cost, limit)
        self.combine, self.limit, self.N = row.combine, limit, labels.shape[1]
        self.usual = int(np.average(labels.max(1) + 1, weights=weights).round())

    def climb(self, start: Array, rng: np.random.Generator) -> End:
        """From labels [N], -1 of points to be allocated, to where no cluster need be dissolved."""
        with float_scope("float64"):
            found = self._sweeten(self._enter(start), rng)
            for _ in range(ROUNDS):
                before = float(found.loss)
                found = self._zeal(found, rng)
                if found.loss >= before - CLOSE:
                    break
            return self._end(found)

    def sweeten(self, start: Array, rng: np.random.Generator) -> End:
        """From labels [N] to where no point would move."""
        with float_scope("float64"):
            return self._end(self._sweeten(self._enter(start), rng))

    def _sweeten(self, place: Place, rng: np.random.Generator) -> Visited:
        out = rng.permutation(np.flatnonzero(np.asarray(place.labels)[: self.N] < 0))
        found = self._visit(place, np.append(out, rng.permutation(self.N)))
        for _ in range(PASSES):
            if not found.moves:
                break
            found = self._visit(self._undecided(found, rng).place, rng.permutation(self.N))
        return found

    def _undecided(self, found: Visited, rng: np.random.Generator) -> Visited:
        """Visits of the points alone that had almost as good a place elsewhere."""
        most = max(UNDECIDED[0], self.N // UNDECIDED[1])
        near = np.argsort(np.asarray(found.gaps)[: self.N])[:most]
        for _ in range(INNER if most < self.N else 0):
            found = self._visit(found.place, rng.permutation(near))
            if not found.moves:
                break
        return found

    def _zeal(self, found: Visited, rng: np.random.Generator) -> Visited:
        """Clusters dissolved and their points allocated anew, where that lowers the loss.

        Each cluster of two points or more once, and of few points as many pairs of clusters.
        """
        start = float(found.loss)
        labels = np.asarray(found.place.labels)[: self.N]
        sizes = np.bincount(labels)
        clusters = rng.permutation(np.flatnonzero(sizes > 1))[:DISSOLVED]
        others = np.flatnonzero(sizes > 0)
        able = self.N <= PAIRED and len(others) > 2
        pairs = [(k, rng.choice(others[others != k])) for k in clusters if able]
        for some in [*clusters[:, None], *pairs]:
            points = np.flatnonzero(np.isin(np.asarray(found.place.labels), some))
            order = np.append(rng.permutation(points), rng.permutation(points))
            trial = self._visit(found.place, order, some)
            if trial.loss < found.loss - CLOSE:
                found = trial
        return self._sweeten(found.place, rng) if found.loss < start else found

    def _visit(self, place: Place, order: Array, dissolved: Any = ()) -> Visited:
        padded = np.zeros(2 * len(self.known.rows), np.int32)
        padded[: len(order)] = order
        gone = np.isin(np.arange(place.cells.shape[1]), dissolved)
        count = np.int32(len(order))
        return self._widened(visit(place, gone, padded, count, self.known, combine=self.combine))

    def _enter(self, labels: Array) -> Place:
        taken = int(labels.max()) + 1
        return placed(labels, self.known, room(max(taken, self.usual) + 1, 8))

    def _widened(self, found: Visited) -> Visited:
        """The same with more columns, if none of them is free for one cluster more."""
        K = found.place.cells.shape[1]
        if len(_occupied(found.place)) < K or self.limit <= K:
            return found
        cells = np.pad(np.asarray(found.place.cells), ((0, 0), (0, room(K + 1, 8) - K)))
        # What was found had no place for one cluster more: it has not settled.
        return found._replace(place=Place(found.place.labels, cells), moves=np.int32(1))

    def _end(self, found: Visited) -> End:
        labels = np.asarray(found.place.labels)[: self.N]
        gaps = np.asarray(found.gaps)[: self.N]
        other, i = labels.copy(), gaps.argmin()
        other[i] = found.nexts[i]
        both = in_order(np.stack([labels, other]))
        gap = np.inf if found.moves else float(gaps[i])
        return End(both[0], float(found.loss), gap, both[1])


def _occupied(place: Any) -> Array:
    labels = np.asarray(place.labels)
    return np.unique(labels[labels >= 0])
