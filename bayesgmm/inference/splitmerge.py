r"""Split-merge moves on the partition, every point of a proposal drawn at once.

The target is the partition's posterior with weights and components summed out,
EPPF(counts) prod_c m(X_c), given the concentration (and given Sigma, if all components share it).
One operation:

1. An anchor i, uniform over the points or over the clusters and then over its points; an anchor j,
   uniform over the others or over the points nearest to i, so that its law does not depend on the
   partition.
2. A launch, a function of i, j, of the points S of their one or two clusters and of auxiliary
   random numbers only, never of who is on which side: Gaussians at the anchors, of random sizes,
   and a few EM steps on S with the anchors held to their sides. It gives each point of S a
   probability of being on the side of i.
3. If the anchors are in one cluster, it is split by drawing all sides independently; if in two,
   they are merged, and q is the probability with which the reverse split draws the present sides.

With P(i) the probability of the first anchor, the ratio of a split is

    m(X_a) m(X_b) / m(X_S) / q * P_after(i) / P_before(i),

that of a merge its reciprocal (`inference.clusters` says what m is under a prior that is not
conjugate): the anchors stand on opposite sides in every split state, so that the merge is the one
inverse. A *path* is one operation or two, without an acceptance between them,
accepted with probability min(1, ratio * EPPF(end) / EPPF(start)); two keep the number of clusters
when one splits and the other merges, which is what a known K needs.

References
----------
Jain and Neal (2004), *Journal of Computational and Graphical Statistics* 13, 158-182: split-merge
proposals with a launch state. Theirs is reached by restricted Gibbs scans, point by point.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import cKDTree

from bayesgmm.core import random
from bayesgmm.core.arrays import Array, Data
from bayesgmm.core.forms import Form, frame_of, reference
from bayesgmm.core.logs import positive
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.slots import SlotPrior, Weighting
from bayesgmm.core.sweep import Moments
from bayesgmm.inference.clusters import Clusters

UNKNOWN, KNOWN = (1, 1), (0, 1)
"""Operations of a sweep, 1 where a path ends: for an unknown and for a known K."""

SEVERAL = 4 * UNKNOWN
"""Those for an unknown K where an operation costs less than the rest of the sweep does."""

NEAR = 32
"""Neighbours of a point among which its partner may be picked."""


class Moves(NamedTuple):
    """How operations are proposed; traced. Any values leave the target invariant.

    Attributes
    ----------
    near : [N, M] of int
        Neighbours of each point: see `neighbours`.
    by_cluster : []
        Probability that the first anchor is picked by way of its cluster.
    by_near : []
        Probability that the second one is a neighbour of the first.
    narrowest : []
        Log of the smallest size of a launch, in units of the scale of S.
    steps : []
        EM steps of a launch.
    """

    near: Any
    by_cluster: Any = 0.3
    by_near: Any = 0.5
    narrowest: Any = -2.3
    steps: Any = 6


def neighbours(data: Data, n_neighbours: int = NEAR) -> np.ndarray:
    """The nearest other points of each point in whitened coordinates, [N, M]; 0 for padding."""
    n = int(np.count_nonzero(np.asarray(data.weight)))
    x = np.asarray(data.points, float)[:, :n].T
    values, axes = np.linalg.eigh(np.atleast_2d(np.cov(x.T)) if n > 1 else np.eye(x.shape[1]))
    size = np.sqrt(np.maximum(values, 1e-12 * max(values.max(), 1e-300)))
    whitened, most = x @ axes / size, min(n_neighbours, n - 1)
    near = np.zeros((data.points.shape[1], max(most, 1)), np.int32)
    if most > 0:
        found = cKDTree(whitened).query(whitened, most + 1)[1]
        near[:n] = [[j for j in row if j != i][:most] for i, row in enumerate(found)]
    return near


# --- one operation --------------------------------------------------------------------------------


class Scene(NamedTuple):
    """What no operation changes."""

    points: Array  # [D, N]
    features: Array  # [F, N]
    rows: Array  # the same, [N, F]: sums over the points are faster
    weight: Array  # [N], 0 for padding
    n: Array  # points
    moves: Moves
    clusters: Clusters
    form: Form

    def moments(self, sums: Array) -> Moments:
        """Of sums of features [M, F]."""
        D, dtype = len(self.points), sums.dtype
        like = Mixture(jnp.zeros(len(sums), dtype), jnp.zeros((len(sums), D), dtype), None)
        return Moments(*frame_of(self.form).decode(sums, like), jnp.zeros((), dtype))


class Partition(NamedTuple):
    """Labels [N], sums of the features of each slot [T, F], scales [T, ...] if carried or None."""

    labels: Array
    sums: Array
    scales: Any

    @property
    def counts(self) -> Array:
        """Points of each slot, [T]."""
        return jnp.round(self.sums[:, 0])


class Numbers(NamedTuple):
    """Uniform numbers of one operation, all from one call."""

    anchors: Array  # [6]
    sizes: Array  # [2]
    height: Array  # [], of a path that ends here
    sides: Array  # [N]
    key: Array  # of new scales

    @classmethod
    def of(cls, key: Array, like: Array) -> "Numbers":
        """Of points like these [N]; those of more points begin with them."""
        u = random.uniform(key, (9 + len(like),), like.dtype)
        return cls(u[:6], u[6:8], u[8], u[9:], random.fold(key, 0))


def _anchors(u: Array, partition: Partition, scene: Scene) -> tuple[Array, Array]:
    n, occupied = scene.n, partition.counts > 0
    slot = _nth(occupied, jnp.floor(u[1] * occupied.sum()))
    members = (partition.labels == slot) & (scene.weight > 0)
    member = _nth(members, jnp.floor(u[2] * members.sum()))
    i = jnp.where(u[0] < scene.moves.by_cluster, member, jnp.floor(u[2] * n).astype(member.dtype))
    other = jnp.floor(u[4] * (n - 1)).astype(i.dtype)
    other = other + (other >= i)
    row = scene.moves.near[i]
    place = jnp.floor(u[5] * row.shape[0]).astype(i.dtype)
    return i, jnp.where(u[3] < scene.moves.by_near, row[place].astype(i.dtype), other)


ROW = 32
"""Entries of a long array that are taken together."""


def _nth(mask: Array, number: Array) -> Array:
    """Place of the true entry that has `number` others before it.

    Long masks are counted in rows first: a cumulative sum is no one pass on a processor.
    """
    if mask.size <= 2 * ROW:
        return jnp.argmax(jnp.cumsum(mask) > number)
    rows = jnp.pad(mask, (0, -mask.size % ROW)).reshape(-1, ROW)
    counts = rows.sum(1)
    row = jnp.argmax(jnp.cumsum(counts) > number)
    before = jnp.where(jnp.arange(len(rows)) < row, counts, 0).sum()
    return row * ROW + jnp.argmax(jnp.cumsum(rows[row]) > number - before)


def _sum_of_softplus(x: Array, where: Array) -> Array:
    """Sum of log(1 + exp(x)) where asked.

    A logarithm costs four times an exponential: one for each `ROW` numbers, whose product is at
    most 2^ROW.
    """
    width = -(-x.size // ROW)
    tail = jnp.where(where, jnp.exp(-jnp.abs(x)), 0)
    tail = jnp.pad(1 + tail, (0, ROW * width - x.size), constant_values=1)
    product = tail[:width]
    for k in range(1, ROW):
        product = product * tail[k * width : (k + 1) * width]
    return jnp.where(where, jnp.maximum(x, 0), 0).sum() + jnp.log(product).sum()


def _launch(
    u: Array, i: Array, j: Array, inside: Array, total: Array, scene: Scene
) -> tuple[Array, Array]:
    """Logits [N] that points of S are on the side of i, and which of S are no anchors."""
    place = jnp.arange(len(inside))
    is_i, is_j = place == i, place == j
    free = inside & ~is_i & ~is_j
    frame = frame_of(scene.form)
    scales = scene.clusters.fitted(scene.moments(total[None]))[1]
    size = jnp.exp(scene.moves.narrowest * u)
    at = jnp.stack([scene.points[:, i], scene.points[:, j]])
    sizes = size.reshape(2, *(1,) * (scales.ndim - 1))

    def logits(log_weights: Array, means: Array, scales: Array) -> Array:
        theta = frame.encode(Mixture(log_weights, means, scales))
        return (theta[0] - theta[1]) @ scene.features

    def improve(_, logit: Array) -> Array:
        share = jnp.where(free, jax.nn.sigmoid(logit), 0) + is_i
        first = share @ scene.rows
        found = scene.moments(jnp.stack([first, total - first]))
        return logits(jnp.log(found.counts), *scene.clusters.fitted(found))

    start = logits(jnp.zeros(2, total.dtype), at, sizes * scales)
    return jax.lax.fori_loop(0, scene.moves.steps, improve, start), free


class Change(NamedTuple):
    """What an operation makes of a partition."""

    partition: Partition
    log_ratio: Array
    wanting: Array  # whether a split found no free slot
    sizes: Array  # [3] points on the side of i, of j, and together
    split: Array  # whether it splits


def _operation(u: Numbers, partition: Partition, scene: Scene) -> Change:
    """Split or merge."""
    labels, sums, _ = partition
    counts, slots = partition.counts, jnp.arange(len(sums))
    i, j = _anchors(u.anchors, partition, scene)
    a, b = labels[i], labels[j]
    same = a == b
    inside = ((labels == a) | (labels == b)) & (scene.weight > 0)
    total = jnp.where(same, sums[a], sums[a] + sums[b])
    logit, free = _launch(u.sizes, i, j, inside, total, scene)
    drawn = jnp.where(jnp.arange(len(labels)) == i, True, u.sides < jax.nn.sigmoid(logit))
    drawn = drawn & (jnp.arange(len(labels)) != j)
    first = inside & jnp.where(same, drawn, labels == a)  # the side of i
    log_q = -_sum_of_softplus(jnp.where(first, -logit, logit), free)
    part = first.astype(total.dtype) @ scene.rows
    found = scene.moments(jnp.stack([part, total - part, total]))
    own = _scales_of(u.key, partition, jnp.stack([a, b, a]), same, found, scene)
    evidence = scene.clusters.log_marginal(found, own)
    sizes = jnp.round(found.counts)
    t = (counts > 0).sum() - ~same  # clusters of the merged state
    rho = scene.moves.by_cluster
    before = (1 - rho) / scene.n + rho / (t * sizes[2])
    after = (1 - rho) / scene.n + rho / ((t + 1) * sizes[0])
    ratio = evidence[0] + evidence[1] - evidence[2] - log_q + jnp.log(after) - jnp.log(before)
    spare = jnp.argmin(counts)  # a free slot, if there is one
    to = jnp.where(same, spare, b)  # the slot of the side of j when apart
    apart = jnp.where(inside & ~first, to, labels)
    labels = jnp.where(same, apart, jnp.where(inside, a, labels)).astype(labels.dtype)
    here, there = slots[:, None] == a, slots[:, None] == to
    kept = jnp.where(here, jnp.where(same, part, total), sums)
    sums = jnp.where(there, jnp.where(same, total - part, 0), kept)
    scales = _with_scales(partition.scales, own, slots == a, slots == to, same)
    ratio = jnp.where((i == j) | (j >= scene.n), -jnp.inf, jnp.where(same, ratio, -ratio))
    new = Partition(labels, sums, scales)
    return Change(new, ratio, same & (counts[spare] > 0), sizes, same)


def _scales_of(
    key: Array, partition: Partition, places: Array, same: Array, found: Moments, scene: Scene
) -> Any:
    """Scales of the sides of i and j and of both together: those there are, and new ones."""
    if scene.clusters.draw is None:
        return None
    fresh, now = scene.clusters.draw(key, found), partition.scales[places]
    new = jnp.stack([same, same, ~same]).reshape(3, *(1,) * (now.ndim - 1))
    return jnp.where(new, fresh, now)


def _with_scales(scales: Any, own: Any, here: Array, there: Array, same: Array) -> Any:
    """Scales of all slots after an operation: `there` is where the side of j is when apart."""
    if own is None:
        return None
    wide = lambda mask: mask.reshape(-1, *(1,) * (scales.ndim - 1))  # noqa: E731
    scales = jnp.where(wide(here), jnp.where(same, own[0], own[2]), scales)
    return jnp.where(wide(there & same), own[1], scales)


# --- paths ----------------------------------------------------------------------------------------


class Walk(NamedTuple):
    """Where a path stands, and where it began."""

    start: Partition
    joined: Array  # [J], see `Weighting`; of the start
    prior: Array  # log probability of the start
    now: Partition
    joined_now: Array
    log_ratio: Array
    possible: Array
    wanting: Array
    accepted: Array


RISEN, FALLEN, LEVEL = range(3)
"""Kinds of accepted paths: with more, fewer or as many clusters as before."""


class Walked(NamedTuple):
    """What the paths of a sweep leave.

    Attributes
    ----------
    labels : [N]
    found : Moments
        About the origin.
    scales : like the mixture's
        New for the clusters that are, where the clusters carry them.
    accepted : [3]
        Paths accepted, by kind: RISEN, FALLEN, LEVEL.
    wanting : [] of bool
        Whether a split found no free slot, and its path was rejected for that alone.
    joined : [J]
        `Weighting.joined_of` of the partition.
    """

    labels: Array
    found: Moments
    scales: Array
    accepted: Array
    wanting: Array
    joined: Array


def paths(
    key: Array,
    labels: Array,
    found: Moments,
    mixture: Mixture,
    alpha: Array,
    data: Data,
    clusters: Clusters,
    weighting: Weighting,
    weights: SlotPrior,
    moves: Moves,
    ends: tuple[int, ...],
    form: Form,
) -> Walked:
    """Operations on one chain's partition, accepted or not where `ends` is 1.

    Parameters
    ----------
    key : uint32 [2]
    labels : [N]
    found : Moments
        Of the labelled points, about `reference(mixture, form)`.
    mixture : Mixture
        Its scales go along where the clusters carry them.
    alpha : []
    data : Data
        With its padding last.
    clusters : Clusters
    weighting, weights
        See `core.slots`.
    moves : Moves
    ends : tuple of 0 and 1
    form : Form

    Returns
    -------
    Walked
    """
    natural = Form("natural", form.axis_aligned)
    features = frame_of(natural).joint(_nothing(natural, data), data.points)[1]
    sums = _sums_about_origin(found, reference(mixture, form), natural)
    n = data.weight.sum()
    scene = Scene(data.points, features, features.T, data.weight, n, moves, clusters, natural)

    def operate(walk: Walk, this: tuple[Numbers, Array]) -> tuple[Walk, None]:
        u, end = this
        change = _operation(u, walk.now, scene)
        new, log_ratio = change.partition, walk.log_ratio + change.log_ratio
        possible = walk.possible & ~change.wanting
        apart = weighting.joined(positive(change.sizes), alpha, weights)
        apart = apart[0] + apart[1] - apart[2]
        joined = walk.joined_now + jnp.where(change.split, apart, -apart)
        t = (new.counts > 0).sum()
        prior = weighting.log_probability(t, joined, common, alpha, weights)
        accept = possible & (jnp.log(u.height) < log_ratio + prior - walk.prior)  # never if NaN
        take = (end == 0) | accept
        proposed, begun = (new, joined), (walk.start, walk.joined)
        now = jax.tree.map(lambda x, y: jnp.where(take, x, y), proposed, begun)
        more = (now[0].counts > 0).sum() - (walk.start.counts > 0).sum()
        kind = jnp.where(more > 0, RISEN, jnp.where(more < 0, FALLEN, LEVEL))
        counted = (jnp.arange(3) == kind) & (end == 1) & accept
        start = jax.tree.map(lambda x, y: jnp.where(end == 1, x, y), now, begun)
        return Walk(
            *start,
            jnp.where((end == 1) & accept, prior, walk.prior),
            *now,
            jnp.where(end == 1, 0, log_ratio),
            (end == 1) | possible,
            walk.wanting | change.wanting,
            walk.accepted + counted,
        ), None

    begin = Partition(labels, sums, None if clusters.draw is None else mixture.scales)
    zero, yes = jnp.zeros((), sums.dtype), jnp.array(True)
    joined = weighting.joined_of(begin.counts, alpha, weights)
    t = (begin.counts > 0).sum()
    common = weighting.common(n, alpha, weights)
    prior = weighting.log_probability(t, joined, common, alpha, weights)
    start = begin, joined
    walk = Walk(*start, prior, *start, zero, yes, ~yes, jnp.zeros(3, jnp.int32))
    keys = random.fold(key, jnp.arange(len(ends)))
    numbers = jax.vmap(lambda own: Numbers.of(own, data.weight))(keys)
    walk, _ = jax.lax.scan(operate, walk, (numbers, jnp.asarray(ends)))
    labels, sums, scales = walk.now
    scales = mixture.scales if scales is None else scales
    found = scene.moments(sums)
    return Walked(labels, found, scales, walk.accepted, walk.wanting, walk.joined_now)


def _nothing(form: Form, data: Data) -> Array:
    """Coefficients of a mixture of no use: only the features are wanted."""
    D, dtype = len(data.points), data.points.dtype
    unit = jnp.ones((1, D), dtype) if form.axis_aligned else jnp.eye(D, dtype=dtype)[None]
    return frame_of(form).encode(Mixture(jnp.zeros(1, dtype), jnp.zeros((1, D), dtype), unit))


def _sums_about_origin(found: Moments, about: Array, form: Form) -> Array:
    """Sums of the natural features [T, F] from moments about any points."""
    counts, shift = found.counts, about
    first = found.first + counts[:, None] * shift
    if form.axis_aligned:
        second = found.second + shift * (found.first + first)
        return jnp.concatenate([counts[:, None], first, second], 1)
    cross = shift[:, :, None] * first[:, None, :] + found.first[:, :, None] * shift[:, None, :]
    top = jnp.concatenate([counts[:, None, None], first[:, None]], 2)
    bottom = jnp.concatenate([first[:, :, None], found.second + cross], 2)
    i, j = np.tril_indices(shift.shape[1] + 1)
    return jnp.concatenate([top, bottom], 1)[:, i, j]
