"""The best of several starts on each of many data sets, all of them side by side."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from bayesgmm.core.arrays import Array
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.mixture import Mixture
from bayesgmm.inference import drive, em
from bayesgmm.inference.replicated import Replicates, put_in, run, some
from bayesgmm.inference.restarts import TRIAL, promises

KEPT = 4
"""Starts of a data set that go on after `TRIAL` passes; the others do where all of these fail."""

APART = 0.8
"""How far from its centre the halves of a component lie, in its standard deviations: their
spread is then what leaves that of both together as it was."""


FLAT = 1e-8
"""The smallest variance of a component, in standardised units, that is no collapse."""


class Bests(NamedTuple):
    """The best fit of each of S data sets, as NumPy arrays.

    Attributes
    ----------
    mixtures : Mixture
        With leading axis S.
    objective : ndarray [S]
        Mean log density of the points; -inf where every start failed.
    converged : ndarray [S] of bool
    """

    mixtures: Mixture
    objective: Array
    converged: Array


def cells(points: Array, K: int, T: int, rng: np.random.Generator) -> Array:
    """T labellings [T, N]: each point with the nearest of K of them, far from each other.

    They are drawn one after the other with a probability in proportion to the squared distance
    from the nearest of those before (k-means++), T draws at once.

    Parameters
    ----------
    points : [N, D]
        Standardised.
    K, T : int
    rng : numpy Generator
    """
    labels = np.zeros((T, len(points)), np.int32)
    chosen = rng.integers(len(points), size=T)
    nearest = _squared_distances(points, chosen)
    for k in range(1, K):
        reached = nearest.cumsum(axis=1)
        height = rng.uniform(size=(T, 1)) * reached[:, -1:]
        chosen = np.minimum((reached <= height).sum(1), len(points) - 1)
        distance = _squared_distances(points, chosen)
        labels[distance < nearest] = k
        nearest = np.minimum(nearest, distance)
    return labels


def _squared_distances(points: Array, rows: Array) -> Array:
    """Of all points from some of them, [T, N]."""
    columns = (np.square(np.subtract.outer(x[rows], x)) for x in points.T)
    return sum(columns)


def from_labels(
    labels: Callable[[int], Array], n_sets: int, replicates: Replicates, room: int
) -> Mixture:
    """M-steps from T labellings of each of S data sets, a mixture [S, T, ...].

    Parameters
    ----------
    labels : callable
        From the number of a data set to labels [T, N] of its points that are not padding.
    n_sets : int
        S.
    replicates : Replicates
    room : int
        Components of the mixtures.
    """
    T, mixtures = len(labels(0)), []
    sets = max(1, replicates.block // T)
    for first in range(0, n_sets, sets):
        which = np.minimum(np.arange(first, first + sets), n_sets - 1)
        data = replicates.drawn(np.repeat(which, T))
        starts = np.concatenate([labels(s) for s in which])
        given = replicates.objective, replicates.config
        moments = drive.moments_of_starts([data], starts, room, given[1].family.axis_aligned)
        found = jax.tree.map(np.asarray, em.first_all(*moments, *given))
        mixtures.append(jax.tree.map(lambda leaf: leaf.reshape(sets, T, *leaf.shape[1:]), found))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:n_sets], *mixtures)


def divided(mixtures: Mixture, K: int) -> Mixture:
    """Mixtures [S, K, ...] of one component more: each of K in turn cut in two, the halves alike.

    The cut is across the longest axis of the component (of those of the coordinates, where
    covariances are axis-aligned); under one covariance for all the halves keep theirs. What comes
    out need be of no family: it enters an EM step, and is not itself compared.

    Parameters
    ----------
    mixtures : Mixture
        With leading axis S, K components and room for another at least.
    K : int
    """
    log_weights, means, scales = (np.repeat(leaf[:, None], K, axis=1) for leaf in mixtures)
    own = np.arange(K)
    log_weights[:, own, own] -= np.log(2.0)
    log_weights[:, :, K] = log_weights[:, own, own]
    shift, narrow = _halves(mixtures, K)
    means[:, :, K] = means[:, own, own] + shift
    means[:, own, own] -= shift
    if scales.shape[2] > 1:  # else one for all
        scales[:, :, K] = scales[:, own, own] = narrow
    return Mixture(log_weights, means, scales)


def _halves(mixtures: Mixture, K: int) -> tuple[Array, Array]:
    """Steps [S, K, D] from each component to a half of it, and the halves' scales."""
    D = mixtures.means.shape[-1]
    if mixtures.scales.ndim == 3:  # standard deviations
        scales = mixtures.scales[:, :K]
        longest = np.arange(D) == scales.argmax(-1)[..., None]
        narrow = np.where(longest, np.sqrt(1 - APART**2), 1.0) * scales
        return APART * longest * scales, narrow
    scales = np.broadcast_to(mixtures.scales, (*mixtures.means.shape, D))[:, :K]
    covariances = scales @ np.swapaxes(scales, -1, -2)
    values, axes = np.linalg.eigh(covariances)
    shift = APART * np.sqrt(values[..., -1:]) * axes[..., -1]
    return shift, np.linalg.cholesky(covariances - shift[..., None] * shift[..., None, :])


def bests(starts: Mixture, replicates: Replicates, total: float, max_iter: int) -> Bests:
    """The best fit of each data set.

    Each start takes a few passes, and the most promising go on to the end. A fit counts only if it
    is `sound`.

    Parameters
    ----------
    starts : Mixture
        With leading axes S, T.
    replicates : Replicates
    total : float
        Points of a data set.
    max_iter : int

    Returns
    -------
    Bests
    """
    S, T = starts.means.shape[:2]
    flat = jax.tree.map(lambda leaf: leaf.reshape(S * T, *leaf.shape[2:]), starts)
    which, few = np.repeat(np.arange(S), T), min(TRIAL, max_iter)
    found = run(replicates.engine.begin(flat), which, replicates, few)
    order = np.argsort(-promises(found, total).reshape(S, T), axis=1, kind="stable")
    order += T * np.arange(S)[:, None]
    ended = np.full(S * T, max_iter == few)
    for columns in (slice(0, KEPT), slice(KEPT, None)):
        undecided = np.isneginf(_values(found, ended, replicates, total).reshape(S, T).max(1))
        rows = order[undecided, columns].ravel()
        ended[rows] = True
        rows = rows[~found.failed[rows] & ~found.converged[rows]]
        if len(rows) and max_iter > few:
            put_in(
                found, rows, run(some(found.state, rows), which[rows], replicates, max_iter - few)
            )
    values = _values(found, ended, replicates, total).reshape(S, T)
    best = np.arange(S) * T + values.argmax(1)
    mixtures = some(replicates.engine.outcome(found), best)
    return Bests(mixtures, values.max(1), found.converged[best])


def _values(found: drive.Run, ended: Array, replicates: Replicates, total: float) -> Array:
    """Objectives of the runs that have ended well, -inf of the others."""
    well = ended & ~found.failed
    well[well] = sound(
        some(replicates.engine.outcome(found), well), replicates.config.family, total
    )
    return np.where(well, found.objective, -np.inf)


def sound(mixtures: Mixture, family: Covariance, total: float) -> Array:
    """Which of R mixtures are not on the way to a covariance of no volume, [R].

    The likelihood of a family in which single components can shrink has no upper limit. Every
    component must hold more than D points, and its smallest variance be above `FLAT` in the
    standardised units; of one covariance for all, or one shape and volume, the latter alone.
    """
    log_weights, _, scales = mixtures
    D = mixtures.means.shape[-1]
    fits = em.smallest_variances(scales) > FLAT
    if "V" in (family.volume, family.shape):
        fits = fits & (total * np.exp(log_weights) > D)
    return (fits | np.isneginf(log_weights)).all(1)
