"""The partition of least expected loss, found by a search with many starts.

References
----------
Dahl, Johnson and Mueller (2022), *Journal of Computational and Graphical Statistics* 31,
1189-1201: sequential allocation, sweetening, zealous reallocation.
Rastelli and Friel (2018), *Statistics and Computing* 28, 1169-1186: greedy search on the tables.
Medvedovic and Sivaganesan (2002), *Bioinformatics* 18, 1194-1206: cuts of the tree of the
similarity matrix.
"""

import warnings
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.core.arrays import float_scope
from bayesgmm.inference.devices import each, n_cores
from bayesgmm.posterior.draws import LabelDraws, distinct, entered, in_order, mean_and_mcse
from bayesgmm.posterior.partitions import Loss, PartitionLoss, losses, partition_loss
from bayesgmm.posterior.reallocate import (
    CLOSE,
    Place,
    Problem,
    best_neighbour,
    most_places,
    placed,
    problem,
    room,
    visit,
)
from bayesgmm.posterior.similarity import similarity

Array = np.ndarray

SCREEN, KEPT = 32, 16
"""All draws are compared on so many of them; so many of the best are then compared on all."""

LINKED = 2000
"""Points of which a tree is made; more are put into a cut of some, one after the other."""

PASSES, ZEAL = 20, 50
"""Times that all points are visited from a start, or a cluster is destroyed, at most."""


@dataclass(frozen=True, eq=False)
class PointPartition:
    """A partition that stands for a posterior of partitions.

    Attributes
    ----------
    labels : ndarray [N]
        Clusters 0, 1, ... in order of first appearance.
    expected_loss : float
        Mean over the draws.
    mcse : float
        Its Monte Carlo standard error; NaN where the draws are weighted and without chains, or
        fewer than four.
    loss : str or (str, float)
    n_clusters : int
    runner_up : PointPartition or None
        Another partition: of the ends of all starts, the draws and cuts compared and what one move
        from the best leads to, that of least loss. Its own runner-up is None.
    hits : int
        How many of the starts ended at this partition: of one alone, more starts may find a better.
    n_starts : int
    """

    labels: Array
    expected_loss: float
    mcse: float
    loss: Loss
    n_clusters: int
    runner_up: "PointPartition | None" = field(default=None, repr=False)
    hits: int = 0
    n_starts: int = 0

    def __repr__(self) -> str:
        sizes = np.sort(np.bincount(self.labels))[::-1]
        shown = ", ".join(map(str, sizes[:8])) + (", ..." if len(sizes) > 8 else "")
        unit = partition_loss(self.loss)[0].unit
        lines = [
            f"PointPartition of {len(self.labels)} points: clusters of {shown} ({len(sizes)})",
            f"expected loss {self.loss!r}: {self.expected_loss:.4g} {unit}".rstrip()
            + (f" (Monte Carlo error {self.mcse:.2g})" if self.mcse == self.mcse else ""),
        ]
        if self.runner_up is not None:
            other = self.runner_up
            lines.append(f"runner-up: {other.expected_loss:.4g}, {other.n_clusters} clusters")
        if self.n_starts:
            lines.append(f"found from {self.hits} of {self.n_starts} starts")
        return "\n  ".join(lines)


def point_partition(
    draws: Any,
    loss: Loss = "vi",
    max_clusters: int | None = None,
    n_starts: int = 16,
    weights: Any = None,
    random_state: Any = None,
) -> PointPartition:
    """The partition of least posterior expected loss.

    The expected loss itself is minimised, not a bound of it. Starts are cuts of the average and the
    complete linkage tree of one minus the similarity, the best of the draws, and points allocated
    one by one in random orders; from each, points are moved where the loss is least as long as that
    lowers it, and whole clusters are dissolved and their points allocated anew. Up to some dozen
    points that finds the optimum; no search can promise it for more.

    Parameters
    ----------
    draws : array_like [S, N] or [C, S, N]
        Labels of each draw: of one sampler, or of C chains.
    loss : str or (str, float), default "vi"
        As `expected_loss` has it: "vi", "binder", "omari", "nvi", "id", "nid", or ("vi", cost) and
        ("binder", cost) with what it costs to part two points that belong together.
    max_clusters : int, optional
        Clusters that it may have. Default: any number.
    n_starts : int, default 16
        About half of them, four at most, are cuts and draws.
    weights : array_like [S] or [C, S], optional
        Of the draws. An exact posterior is given as every partition with its probability.
    random_state : int, numpy Generator or RandomState, optional

    Returns
    -------
    PointPartition
        With `labels`, `expected_loss`, `mcse`, `n_clusters` and `runner_up`.

    Raises
    ------
    TypeError, ValueError
        If labels are no whole numbers, shapes do not fit, there is no such loss, or a number is not
        at least 1.

    Examples
    --------
    >>> from bayesgmm.posterior.search import point_partition
    >>> draws = [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 2]]
    >>> point_partition(draws, loss="binder", random_state=0).labels
    array([0, 0, 1, 1], dtype=int32)

    References
    ----------
    Those of this module, and Wade and Ghahramani (2018), *Bayesian Analysis* 13, 559-626.
    """
    row, cost = partition_loss(loss)
    known = entered(draws, weights)
    n_starts = _whole(n_starts, "n_starts")
    N = known.labels.shape[1]
    limit = N if max_clusters is None else min(_whole(max_clusters, "max_clusters"), N)
    rng = _generator(random_state)
    labels, shares, _ = distinct(known)
    labels, shares = labels[shares > 0], shares[shares > 0]
    found = _Search(labels, shares, row, cost, limit, rng).run(n_starts)
    return _published(found, known, loss, row, cost, n_starts)


def _published(
    found: "_Found", known: LabelDraws, loss: Loss, row: PartitionLoss, cost: float, n_starts: int
) -> PointPartition:
    parted, _, which = distinct(known)
    values = losses(found.labels, parted, row, cost)[:, which]
    means, errors = (part.tolist() for part in mean_and_mcse(values.T, known))
    first, *others = (
        dict(
            labels=own,
            expected_loss=mean,
            mcse=error,
            loss=loss,
            n_clusters=int(own.max()) + 1,
        )
        for own, mean, error in zip(found.labels, means, errors, strict=True)
    )
    runner_up = PointPartition(**others[0]) if others else None
    return PointPartition(**first, runner_up=runner_up, hits=found.hits, n_starts=n_starts)


def _whole(value: Any, name: str) -> int:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")
    return int(value)


def _generator(random_state: Any) -> np.random.Generator:
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(2**31, size=4)
    return np.random.default_rng(random_state)


# --- the search -----------------------------------------------------------------------------------


class _Found(NamedTuple):
    """Partitions [1 or 2, N], the best first, and how many starts ended at that."""

    labels: Array
    hits: int


class _End(NamedTuple):
    """Where a climb has come to."""

    place: Place
    loss: float


class _Search:
    """One search: distinct draws [S, N] with weights [S], a loss, and what has been met so far."""

    def __init__(
        self,
        labels: Array,
        weights: Array,
        row: PartitionLoss,
        cost: float,
        limit: int,
        rng: np.random.Generator,
    ):
        self.labels, self.weights, self.row, self.cost = labels, weights, row, cost
        self.limit, self.rng, self.N = limit, rng, labels.shape[1]
        self.known: Problem = problem(labels, weights, row, cost, limit)
        self.met: dict[bytes, float] = {}

    def run(self, n_starts: int) -> _Found:
        starts = self._given(n_starts)
        nothing = np.full(self.N, -1, np.int32)
        starts += [nothing] * (n_starts - len(starts))
        ends = self._climb(starts, self._settle)
        again = sorted(set(ends), key=lambda labels: self.met[labels])
        better = self._climb([_labels(own) for own in again[: _half(len(again))]], self._zeal)
        met = sorted(self.met, key=lambda labels: self.met[labels])
        best = met[0]
        hits = sum(own == best for own in ends) or sum(own == best for own in better)
        other = self._other(best)
        both = [best] if other is None else [best, other]
        return _Found(np.stack([_labels(own) for own in both]), max(hits, 1))

    def _meet(self, labels: Array, loss: float) -> bytes:
        """Remember a partition and its loss."""
        own = in_order(labels[None])[0].tobytes()
        self.met[own] = min(loss, self.met.get(own, np.inf))
        return own

    # Starts.

    def _given(self, n_starts: int) -> list[Array]:
        """The best cut of each tree and the best draws, best first."""
        most = max(1, min(4, n_starts // 2))
        kinds = [*self._cuts(), self._best_draws()]
        heads = [(value, own) for kind in kinds for value, own in kind[:1]]
        tails = [(value, own) for kind in kinds for value, own in kind[1:2]]
        order = sorted(heads, key=lambda pair: pair[0]) + sorted(tails, key=lambda pair: pair[0])
        unique = {own.tobytes(): own for _, own in order}
        return list(unique.values())[:most]

    def _best_draws(self) -> list[tuple[float, Array]]:
        able = self.labels[self.labels.max(1) < self.limit]
        if len(able) > KEPT:
            some = self.rng.choice(
                len(self.labels), SCREEN, p=self.weights
            )  # the same for all of them
            rough = losses(able, self.labels[some], self.row, self.cost).mean(1)
            able = able[np.argsort(rough, kind="stable")[:KEPT]]
        return self._valued(able)

    def _valued(self, some: Array) -> list[tuple[float, Array]]:
        values = losses(some, self.labels, self.row, self.cost) @ self.weights
        for own, value in zip(some, values, strict=True):
            self._meet(own, value)
        return [(values[i], some[i]) for i in np.argsort(values, kind="stable")[:2]]

    def _cuts(self) -> list[list[tuple[float, Array]]]:
        """Of each tree the best cuts, as labels [N] that are -1 for points left out."""
        from scipy.cluster.hierarchy import fcluster, linkage
        from scipy.spatial.distance import squareform

        n = min(self.N, LINKED)
        if n < 2:
            return []
        some = np.sort(self.rng.choice(self.N, n, replace=False))
        parts = self.labels[:, some]
        repeated = parts[self.rng.choice(len(parts), 1000, p=self.weights)]
        far = 1 - (self._exact_similarity(parts) if len(parts) <= 1000 else similarity(repeated))
        np.fill_diagonal(far, 0)
        far = squareform(np.maximum(far, 0), checks=False)
        ks = range(1, min(n, self.limit, 2 * int(self.labels.max()) + 6) + 1)
        found = []
        for method in ("average", "complete"):
            tree = linkage(far, method)
            cuts = np.unique([fcluster(tree, k, "maxclust") for k in ks], axis=0)
            cuts = in_order(cuts)
            values = losses(cuts, parts, self.row, self.cost) @ self.weights
            order = np.argsort(values, kind="stable")[:2]
            whole = np.full((len(order), self.N), -1, np.int32)
            whole[:, some] = cuts[order]
            if n == self.N:
                for own, value in zip(cuts, values, strict=True):
                    self._meet(own, value)
            found.append(list(zip(values[order], whole, strict=True)))
        return found

    def _exact_similarity(self, parts: Array) -> Array:
        from bayesgmm.posterior.similarity import similarity_matrix

        return similarity_matrix(parts, self.weights)

    # Climbs.

    def _climb(self, starts: list[Array], kind: Any) -> list[bytes]:
        """Where a kind of climb from each start ends, with all cores; all ends are remembered."""
        seeds = self.rng.spawn(len(starts))
        jobs = list(enumerate(zip(starts, seeds, strict=True)))
        shards = [shard for c in range(n_cores()) if (shard := jobs[c :: n_cores()])]
        ends: dict[int, _End] = {}

        def work(shard: list) -> tuple:
            for i, (start, rng) in shard:
                ends[i] = kind(start, rng)
            return ()

        each(work, shards, np.float64)
        return [self._meet(np.asarray(ends[i].place.labels)[: self.N], ends[i].loss) for i in ends]

    def _settle(self, start: Array, rng: np.random.Generator) -> _End:
        """Points that are out are allocated, then all moved for as long as that lowers the loss."""
        return self._sweeten(self._enter(start), rng)

    def _sweeten(self, place: Place, rng: np.random.Generator) -> _End:
        for _ in range(PASSES):
            place, loss, moves = self._visit(place, _order(place, self.N, rng))
            place = self._widened(place)
            if not moves:
                break
        return _End(place, loss)

    def _zeal(self, start: Array, rng: np.random.Generator) -> _End:
        """From where a climb has ended: clusters dissolved, their points allocated anew."""
        end = self._sweeten(self._enter(start), rng)
        left = ZEAL
        while left > 0:
            before = end.loss
            for k in rng.permutation(_occupied(end.place)):
                end = self._dissolved(end, int(k), rng)
                left -= 1
            if end.loss >= before - CLOSE:
                break
        return end

    def _dissolved(self, end: _End, k: int, rng: np.random.Generator) -> _End:
        points = np.flatnonzero(np.asarray(end.place.labels) == k)
        order = np.concatenate([rng.permutation(points), rng.permutation(points)])
        place, loss, _ = self._visit(end.place, order, k)
        return self._sweeten(place, rng) if loss < end.loss - CLOSE else end

    def _visit(self, place: Place, order: Array, destroyed: int = -1) -> tuple[Place, float, int]:
        padded = np.zeros(2 * len(self.known.rows), np.int32)
        padded[: len(order)] = order
        place, loss, moves = visit(
            place,
            np.int32(destroyed),
            padded,
            np.int32(len(order)),
            self.known,
            combine=self.row.combine,
        )
        return place, float(loss), int(moves)

    def _enter(self, labels: Array) -> Place:
        usual = int(np.average(self.labels.max(1) + 1, weights=self.weights).round())
        K = max(usual, int(labels.max()) + 1) + 1
        return placed(labels, self.known, min(room(K), most_places(self.known)))

    def _widened(self, place: Place) -> Place:
        """The same with more columns, if none of them is free for one cluster more."""
        R, K = place.cells.shape
        if len(_occupied(place)) < K or self.limit <= K:
            return place
        more = min(room(K + 1), most_places(self.known)) - K
        if more <= 0:
            warnings.warn(
                f"The search was held to {K} clusters, the most whose tables fit in memory with "
                "draws of so many. Give fewer draws, or max_clusters to say that it is enough.",
                UserWarning,
                stacklevel=2,
            )
            return place
        cells = np.asarray(place.cells)
        return Place(place.labels, np.pad(cells, ((0, 0), (0, more))))

    # The runner-up.

    def _other(self, best: bytes) -> bytes | None:
        """The next best partition that has been met, or is a move away."""
        if self.N == 1:
            return None
        with float_scope("float64"):
            place = self._enter(_labels(best))
            loss, i, j = best_neighbour(
                place, np.int32(self.N), self.known, combine=self.row.combine
            )
        if np.isfinite(loss):
            moved = _labels(best).copy()
            moved[int(i)] = int(j)
            self._meet(moved, float(loss))
        others = [own for own in self.met if own != best]
        return min(others, key=lambda own: self.met[own], default=None)


def _labels(own: bytes) -> Array:
    return np.frombuffer(own, np.int32)


def _half(n: int) -> int:
    return (n + 1) // 2


def _occupied(place: Place) -> Array:
    labels = np.asarray(place.labels)
    return np.unique(labels[labels >= 0])


def _order(place: Place, N: int, rng: np.random.Generator) -> Array:
    """Points that are out, in a random order, then all of them in another."""
    out = np.flatnonzero(np.asarray(place.labels)[:N] < 0)
    return np.concatenate([rng.permutation(out), rng.permutation(N)])
