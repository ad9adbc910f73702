"""The partition of least expected loss, found by a search with many starts.

References
----------
Dahl, Johnson and Mueller (2022), *Journal of Computational and Graphical Statistics* 31,
1189-1201: sequential allocation, sweetening, zealous reallocation.
Rastelli and Friel (2018), *Statistics and Computing* 28, 1169-1186: greedy search on the tables.
Medvedovic and Sivaganesan (2002), *Bioinformatics* 18, 1194-1206: cuts of the tree of the
similarity matrix.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.arguments import check_number
from bayesgmm.inference.devices import each, n_cores
from bayesgmm.messages import warn_user
from bayesgmm.posterior.climb import Climber, End
from bayesgmm.posterior.draws import LabelDraws, distinct, entered, in_order, mean_and_mcse
from bayesgmm.posterior.partitions import Loss, PartitionLoss, losses, partition_loss
from bayesgmm.posterior.reallocate import most_clusters
from bayesgmm.posterior.similarity import similarity_matrix

Array = np.ndarray

SCREEN, KEPT = 32, 16
"""All draws are compared on so many of them; so many of the best are then compared on all."""

LINKED = 2000
"""Points of which a tree is made; more are put into a cut of some, one after the other."""

ROUGH, FINALISTS = 256, 4
"""Of more than twice as many draws the starts see so many; the best ends go on with all."""


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
        How many of the climbs over all draws ended at this partition: if one alone did, more starts
        may find a better.
    n_climbs : int
        How many those were: all starts, or of many draws the most promising.
    """

    labels: Array
    expected_loss: float
    mcse: float
    loss: Loss
    n_clusters: int
    runner_up: "PointPartition | None" = field(default=None, repr=False)
    hits: int = 0
    n_climbs: int = 0

    def __repr__(self) -> str:
        """What was found, in a few lines."""
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
        if self.n_climbs:
            lines.append(f"found by {self.hits} of {self.n_climbs} climbs")
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
    >>> from bayesgmm import point_partition
    >>> draws = [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 2]]
    >>> point_partition(draws, loss="binder", random_state=0).labels
    array([0, 0, 1, 1], dtype=int32)

    References
    ----------
    Those of this module, and Wade and Ghahramani (2018), *Bayesian Analysis* 13, 559-626.
    """
    row, cost = partition_loss(loss)
    known = entered(draws, weights)
    check_number(n_starts, "n_starts", integer=True, low=1)
    N = known.labels.shape[1]
    limit = N
    if max_clusters is not None:
        limit = min(check_number(max_clusters, "max_clusters", integer=True, low=1), N)
    rng = _generator(random_state)
    parted, weight, which = distinct(known)
    labels, shares = parted[weight > 0], weight[weight > 0]
    most = most_clusters(labels)
    found = _Search(labels, shares, row, cost, min(limit, most), rng).run(n_starts)
    if most < limit and found.labels[0].max() + 1 == most:
        warn_user(
            f"The search was held to {most} clusters, the most whose tables with draws of so many "
            "fit in memory. Give fewer draws, or max_clusters to say that it is enough."
        )
    values = losses(found.labels, parted, row, cost)[:, which]
    return _published(found, known, loss, values)


def _published(found: "_Found", known: LabelDraws, loss: Loss, values: Array) -> PointPartition:
    """The best partition and its runner-up, with their losses [1 or 2, S] at the draws."""
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
    return PointPartition(**first, runner_up=runner_up, hits=found.hits, n_climbs=found.n_climbs)


def _generator(random_state: Any) -> np.random.Generator:
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(2**31, size=4)
    return np.random.default_rng(random_state)


# --- the search -----------------------------------------------------------------------------------


class _Found(NamedTuple):
    """Partitions [1 or 2, N], the best first; how many climbs ended at that, and of how many."""

    labels: Array
    hits: int
    n_climbs: int


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
        self.met: dict[bytes, float] = {}

    def run(self, n_starts: int) -> _Found:
        starts = self._given(n_starts)
        starts += [np.full(self.N, -1, np.int32)] * (n_starts - len(starts))
        everything = self._climber(self.labels, self.weights)
        some = self._thinned()
        ends = self._climb(starts, everything if some is None else self._climber(*some))
        self._compare(np.unique(ends, axis=0))
        if some is not None:
            ends = self._climb(self._best(ends, FINALISTS), everything)
            self._compare(np.unique(ends, axis=0))
        best = _labels(self._ranked()[0])
        end = everything.sweeten(best, self.rng)  # a pass in which nothing moves
        return self._with_other(end, ends)

    def _climber(self, labels: Array, weights: Array) -> Climber:
        return Climber(labels, weights, self.row, self.cost, self.limit)

    def _thinned(self) -> tuple[Array, Array] | None:
        """A few of the draws, taken by their weights at even distances; None if all are few."""
        if len(self.labels) <= 2 * ROUGH:
            return None
        at = (np.arange(ROUGH) + self.rng.uniform()) / ROUGH
        chosen = np.searchsorted(np.cumsum(self.weights), at).clip(max=len(self.weights) - 1)
        rows, counts = np.unique(chosen, return_counts=True)
        return self.labels[rows], counts / ROUGH

    def _unequal(self) -> Array | None:
        return None if np.ptp(self.weights) < 1e-12 else self.weights

    # What has been met.

    def _meet(self, own: Array, loss: float) -> None:
        self.met.setdefault(in_order(own[None])[0].tobytes(), float(loss))

    def _compare(self, some: Array) -> list[tuple[float, Array]]:
        """Partitions [M, N] with their expected losses over all draws, remembered, best first."""
        values = losses(some, self.labels, self.row, self.cost) @ self.weights
        for own, value in zip(some, values, strict=True):
            self._meet(own, value)
        return [(values[i], some[i]) for i in np.argsort(values, kind="stable")]

    def _ranked(self) -> list[bytes]:
        return sorted(self.met, key=lambda own: self.met[own])

    def _best(self, some: list[Array], n: int) -> list[Array]:
        distinct = {own.tobytes() for own in some}
        return [_labels(own) for own in sorted(distinct, key=lambda own: self.met[own])[:n]]

    def _with_other(self, end: End, ends: list[Array]) -> _Found:
        """Where the search has ended, and the next best that has been met or is a move away."""
        self._meet(end.labels, end.loss)
        if np.isfinite(end.gap):
            self._meet(end.other, end.loss + end.gap)
        best = end.labels.tobytes()
        others = [own for own in self._ranked() if own != best][:1]
        hits = sum(own.tobytes() == best for own in ends)
        both = np.stack([_labels(own) for own in [best, *others]])
        return _Found(both, max(hits, 1), len(ends))

    # Climbs.

    def _climb(self, starts: list[Array], climber: Climber) -> list[Array]:
        """Where the climbs from these starts end, with a thread for each core."""
        jobs = list(enumerate(zip(starts, self.rng.spawn(len(starts)), strict=True)))
        shards = [shard for c in range(n_cores()) if (shard := jobs[c :: n_cores()])]
        ends: dict[int, Array] = {}

        def work(shard: list) -> tuple:
            for i, (start, rng) in shard:
                ends[i] = climber.climb(start, rng).labels
            return ()

        each(work, shards, np.float64)
        return [ends[i] for i in range(len(starts))]

    # Starts.

    def _given(self, n_starts: int) -> list[Array]:
        """The best cut of each tree and the best draws, best first; -1 for points left out."""
        kinds = [*self._cuts(), self._draws()]
        heads, seconds = (
            sorted((pair for kind in kinds for pair in kind[i : i + 1]), key=lambda pair: pair[0])
            for i in (0, 1)
        )
        unique = {own.tobytes(): own for _, own in heads + seconds}
        return list(unique.values())[: max(1, min(4, n_starts // 2))]

    def _draws(self) -> list[tuple[float, Array]]:
        able = self.labels[self.labels.max(1) < self.limit]
        if len(able) > KEPT:
            some = self.rng.choice(len(self.labels), SCREEN, p=self.weights)
            rough = losses(able, self.labels[some], self.row, self.cost).mean(1)
            able = able[np.argsort(rough, kind="stable")[:KEPT]]
        return self._compare(able)

    def _cuts(self) -> list[list[tuple[float, Array]]]:
        """The cuts of each tree, best first."""
        n = min(self.N, LINKED)
        if n < 2:
            return []
        some = np.sort(self.rng.choice(self.N, n, replace=False))
        few = self.labels[:, some]
        most = min(n, self.limit, 2 * int(self.labels.max()) + 6)
        found = []
        for cuts in _cuts_of_trees(similarity_matrix(few, self._unequal()), most):
            whole = np.full((len(cuts), self.N), -1, np.int32)
            whole[:, some] = cuts
            if n == self.N:
                found.append(self._compare(whole))
                continue
            values = losses(cuts, few, self.row, self.cost) @ self.weights
            found.append([(values[i], whole[i]) for i in np.argsort(values, kind="stable")])
        return found


def _cuts_of_trees(similarity: Array, most: int) -> list[Array]:
    """Cuts into 1, ..., `most` clusters of the average and the complete linkage tree, [M, N]."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    distance = np.maximum(1 - similarity, 0)
    np.fill_diagonal(distance, 0)
    trees = [linkage(squareform(distance, checks=False), name) for name in ("average", "complete")]
    cuts = [[fcluster(tree, k, "maxclust") for k in range(1, most + 1)] for tree in trees]
    return [in_order(np.unique(own, axis=0)) for own in cuts]


def _labels(own: bytes) -> Array:
    return np.frombuffer(own, np.int32)
