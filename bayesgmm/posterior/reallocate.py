"""Points of a partition taken out and put where the expected loss is least: the compiled part.

The contingency tables of the partition with every draw lie below one another, one row for each
cluster of each draw, one column for each place of a cluster. A point that moves changes two cells
in one row of every table; no other number of points has to be looked at.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import Array
from bayesgmm.posterior.partitions import PartitionLoss, blocks

CLOSE = 1e-12
"""Losses that differ by less are one: a point stays where it is."""


CELLS = 1 << 26
"""Cells that the tables of a partition may have."""


class Problem(NamedTuple):
    """The draws as the search reads them, in sizes that few programs serve.

    Attributes
    ----------
    rows : [N, S]
        Which row of the tables each point is in, draw by draw. What fills S up are draws of one
        cluster and no weight.
    owner : [R]
        Which draw each row is of.
    weights : [S]
    tally : [N + 2]
        Phi of 0, 1, ... points; `steps` is by how much each point more raises it.
    steps : [N + 2]
    level, scale : [N + 2]
        With n points in, a sum of phi over shares is (sum over counts - level[n]) * scale[n].
    cost : []
    limit : []
        Clusters that the partition may have.
    """

    rows: Any
    owner: Any
    weights: Any
    tally: Any
    steps: Any
    level: Any
    scale: Any
    cost: Any
    limit: Any


class Place(NamedTuple):
    """A partition on its way: labels [N], -1 of points that are out, and its tables [R, K]."""

    labels: Any
    cells: Any


class Sums(NamedTuple):
    """What follows from a place: sizes [K], points of the rows [R], sums of phi, points in."""

    sizes: Any
    points: Any
    of_clusters: Any
    of_draws: Any
    of_cells: Any
    n: Any


class Visited(NamedTuple):
    """What a visit leaves.

    Attributes
    ----------
    place : Place
    loss : []
        Expected loss of the points that are in.
    moves : []
        How many points went from one cluster into another.
    gaps : [N]
        By how much the loss was higher with each point in the next best place, when it was visited;
        infinite for others.
    nexts : [N]
        Which place that was.
    """

    place: Place
    loss: Any
    moves: Any
    gaps: Any
    nexts: Any


class Choice(NamedTuple):
    """One point outside of its cluster: the loss with it in each place, and the parts of that."""

    losses: Any
    sizes: Any
    own: Any
    inside: Any
    of_clusters: Any
    of_draws: Any
    of_cells: Any


# --- sizes ----------------------------------------------------------------------------------------


def room(n: int, least: int = 64) -> int:
    """The next size that programs come in: powers of two, and those halfway between."""
    power = max(least, 1 << max(n - 1, 0).bit_length())
    return power * 3 // 4 if n <= power * 3 // 4 and power > least else power


def problem(
    labels: np.ndarray, weights: np.ndarray, row: PartitionLoss, cost: float, limit: int
) -> Problem:
    """Draws [S, N], clusters 0, 1, ..., and their weights as a `Problem`."""
    S, N = labels.shape
    clusters = labels.max(1).astype(np.int64) + 1
    some = room(S)
    clusters = np.append(clusters, np.ones(some - S, np.int64))
    first = np.concatenate([[0], np.cumsum(clusters)])
    rows = np.zeros((room(N), some), np.int32)
    rows[:N, :S] = labels.T
    rows += first[:-1].astype(np.int32)
    owner = np.full(room(int(first[-1]), 1024), some, np.int32)  # rows of no draw are left out
    owner[: first[-1]] = np.repeat(np.arange(some), clusters)
    n = np.arange(room(N + 2), dtype=np.float64)
    tally = row.phi.of(n)
    whole = np.maximum(n, 1)
    return Problem(
        rows=rows,
        owner=owner,
        weights=np.append(weights, np.zeros(some - S)),
        tally=tally,
        steps=np.diff(tally, append=0.0),
        level=row.phi.at(n),
        scale=1 / whole**row.phi.power,
        cost=np.float64(cost),
        limit=np.int32(limit),
    )


def placed(labels: np.ndarray, known: Problem, K: int) -> Place:
    """A partition [N], -1 of points that are out, with its tables of K columns."""
    R, S = len(known.owner), known.rows.shape[1]
    cells = np.zeros(R * K, np.int64)
    inside = np.flatnonzero(labels >= 0)
    for some in blocks(len(inside), S):
        points = inside[some]
        index = known.rows[points] * np.int64(K) + labels[points, None]
        cells += np.bincount(index.ravel(), minlength=R * K)
    whole = np.full(len(known.rows), -1, np.int32)
    whole[: len(labels)] = labels
    return Place(whole, cells.reshape(R, K).astype(np.int32))


def most_clusters(labels: np.ndarray) -> int:
    """Clusters of a partition whose tables with draws [S, N] fit in memory."""
    rows = int(labels.max(1).astype(np.int64).sum()) + len(labels)
    return max(8, CELLS // rows)


# --- one point after the other --------------------------------------------------------------------


def _at(table: Array, *index: Array) -> Array:
    """Entries of a table whose indices are known to be in it."""
    return table.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _sums(place: Place, known: Problem) -> Sums:
    S = known.rows.shape[1]
    by_draw = partial(jax.ops.segment_sum, segment_ids=known.owner, num_segments=S)
    points = place.cells.sum(1, dtype=place.cells.dtype)
    sizes = ((known.owner == 0) @ place.cells).astype(place.cells.dtype)
    return Sums(
        sizes=sizes,
        points=points,
        of_clusters=known.tally[sizes].sum(),
        of_draws=by_draw(known.tally[points]),
        of_cells=by_draw(known.tally[place.cells].sum(1)),
        n=sizes.sum(dtype=sizes.dtype),
    )


def _expected(
    of_clusters: Array, of_draws: Array, of_cells: Array, n: Array, known: Problem, combine: Any
) -> Array:
    """Expected loss from sums of phi over counts of clusters [K], draws [S] and cells [S, K]."""
    level, scale = _at(known.level, n), _at(known.scale, n)
    share = lambda total: (total - level) * scale  # noqa: E731
    a, b, both = share(of_clusters), share(of_draws)[:, None], share(of_cells)
    return known.weights @ combine(a, b, both, n.astype(a.dtype), known.cost)


def _weigh(i: Array, place: Place, sums: Sums, known: Problem, combine: Any) -> Choice:
    slots = jnp.arange(len(sums.sizes), dtype=place.labels.dtype)
    k, rows = jax.lax.optimization_barrier(place.labels[i]), known.rows[i]  # read once
    inside, mine = k >= 0, slots == k
    sizes = sums.sizes - mine
    to_cells = _at(known.steps, _at(place.cells, rows) - mine)  # [S, K]
    to_clusters = _at(known.steps, sizes)
    own = jnp.maximum(k, 0)
    without = lambda total, steps: total - jnp.where(inside, steps[..., own], 0)  # noqa: E731
    of_clusters = without(sums.of_clusters, to_clusters) + to_clusters
    of_cells = without(sums.of_cells, to_cells)[:, None] + to_cells
    of_draws = sums.of_draws + jnp.where(inside, 0, _at(known.steps, _at(sums.points, rows)))
    n = sums.n + ~inside
    losses = _expected(of_clusters, of_draws, of_cells, n, known, combine)
    taken = sizes > 0
    allowed = taken | (taken.sum() < known.limit)
    losses = jnp.where(allowed, losses, jnp.inf)
    return Choice(losses, sizes, k, inside, of_clusters, of_draws, of_cells)


def _put(rows: Array, j: Array, choice: Choice, cells: Array, sums: Sums) -> tuple[Array, Sums]:
    inside = choice.inside
    out = jnp.where(inside, -1, 0).astype(cells.dtype)
    cells = cells.at[rows, jnp.maximum(choice.own, 0)].add(out, unique_indices=True)
    cells = cells.at[rows, j].add(1, unique_indices=True)
    sums = Sums(
        sizes=choice.sizes.at[j].add(1),
        points=sums.points.at[rows].add((~inside).astype(cells.dtype), unique_indices=True),
        of_clusters=choice.of_clusters[j],
        of_draws=choice.of_draws,
        of_cells=choice.of_cells[:, j],
        n=sums.n + ~inside,
    )
    return cells, sums


@partial(jax.jit, static_argnames=("combine",))
def visit(
    place: Place, destroyed: Array, order: Array, count: Array, known: Problem, combine: Any
) -> Visited:
    """Put the points of an order, one by one, where the expected loss of all that are in is least.

    Parameters
    ----------
    place : Place
    destroyed : [K] of bool
        Clusters whose points are taken out beforehand.
    order : [M] of int
    count : []
        How many of the order count.
    known : Problem
    combine : callable
        Of the `PartitionLoss`.
    """
    out = (place.labels >= 0) & destroyed[place.labels]
    place = Place(jnp.where(out, -1, place.labels), jnp.where(destroyed, 0, place.cells))

    def body(t: Array, carry: tuple) -> tuple:
        (place, loss, moves, gaps, nexts), sums = carry
        i = order[t]
        choice = _weigh(i, place, sums, known, combine)
        best = jnp.argmin(choice.losses).astype(place.labels.dtype)
        stays = choice.inside & (choice.losses[choice.own] <= choice.losses[best] + CLOSE)
        best = jnp.where(stays, choice.own, best)
        gap, other = _next_best(best, choice)
        # A loop of one turn or none: it works in place, where a conditional copies the tables.
        put = lambda _, now: _put(known.rows[i], best, choice, *now)  # noqa: E731
        turns = (~stays).astype(jnp.int32)
        cells, sums = jax.lax.fori_loop(0, turns, put, (place.cells, sums))
        place = Place(place.labels.at[i].set(best), cells)
        moves += choice.inside & ~stays
        return Visited(place, loss, moves, gaps.at[i].set(gap), nexts.at[i].set(other)), sums

    gaps = jnp.full(place.labels.shape, jnp.inf)
    start = Visited(place, jnp.zeros(()), jnp.int32(0), gaps, jnp.zeros_like(place.labels))
    found, _ = jax.lax.fori_loop(0, count, body, (start, _sums(place, known)))
    sums = _sums(found.place, known)
    of_cells = sums.of_cells[:, None]
    loss = _expected(sums.of_clusters, sums.of_draws, of_cells, sums.n, known, combine)
    return found._replace(loss=loss[0])


def _next_best(best: Array, choice: Choice) -> tuple[Array, Array]:
    """How much more the point would cost elsewhere, and where."""
    slots = jnp.arange(len(choice.losses), dtype=best.dtype)
    free = choice.sizes == 0  # any of these is the same
    same = (slots == best) | (free[best] & free)
    losses = jnp.where(same, jnp.inf, choice.losses)
    other = jnp.argmin(losses).astype(best.dtype)
    return losses[other] - choice.losses[best], other
