"""Draws of a mixture that have one number of clusters: chosen, as many of each chain, in order."""

from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from bayesgmm.arguments import check_number
from bayesgmm.posterior.matching import renamed
from bayesgmm.posterior.partitions import blocks
from bayesgmm.posterior.variables import Variables

# --- components and points ------------------------------------------------------------------------


def order_of(weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Components [S, M] of each draw from the largest weight down, equal ones by their means.

    So that nothing below depends on the order in which they came.
    """
    keys = [*np.moveaxis(means, 2, 0)[::-1], -weights]
    return np.lexsort(np.stack(keys), axis=-1)


def probabilities(
    weights: np.ndarray, means: np.ndarray, covariances: np.ndarray, points: np.ndarray
) -> np.ndarray:
    """Probability of each component for each point, [s, M, N]; 0 where the weight is.

    Raises
    ------
    ValueError
        If a covariance is not one.
    """
    there = weights > 0
    D, centre = means.shape[2], points.mean(0)
    points, means = points - centre, means - centre
    covariances = np.where(there[..., None, None], covariances, np.eye(D))
    means = np.where(there[..., None], means, 0.0)
    inverse = np.linalg.inv(_roots(covariances))
    shift = (inverse @ means[..., None])[..., 0]  # [s, M, D]
    log_det = np.log(np.diagonal(inverse, axis1=-2, axis2=-1)).sum(-1)
    with np.errstate(divide="ignore"):
        joint = np.repeat((np.log(weights) + log_det)[..., None], len(points), axis=2)
    for d in range(D):
        white = inverse[:, :, d] @ points.T - shift[:, :, d, None]
        joint -= 0.5 * white**2
    return softmax(joint, axis=1)


def _roots(covariances: np.ndarray) -> np.ndarray:
    try:
        found = np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        found = np.full(1, np.nan)
    if not np.isfinite(found).all():
        raise ValueError(
            "covariances (or what they are made of) must be positive definite wherever a weight is "
            "above 0; at some draw they are not."
        )
    return found


def drawn_labels(found: Variables, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels [S, N] given the parameters, which are those of the posterior."""
    S, M = found.weights.shape
    order = order_of(found.weights, found.means)
    weights, means, covariances = (
        np.take_along_axis(leaf, order.reshape(S, M, *[1] * (leaf.ndim - 2)), 1)
        for leaf in (found.weights, found.means, found.covariances)
    )
    labels = np.empty((S, len(points)), np.int32)
    for rows in blocks(S, M * len(points)):
        p = probabilities(weights[rows], means[rows], covariances[rows], points)
        total = p.cumsum(1)
        bound = rng.uniform(size=(len(p), 1, len(points))) * total[:, -1:]
        place = (total <= bound).sum(1)
        labels[rows] = np.take_along_axis(order[rows], place, 1)
    return labels


# --- draws that are alike -------------------------------------------------------------------------


class Kept(NamedTuple):
    """Draws with K+ clusters, as many of each chain kept, one after the other.

    Attributes
    ----------
    rows : ndarray [S]
        Which of all draws they are.
    chains : ndarray [C]
    left_out : ndarray
        Chains that are not among them.
    own : ndarray [S, K]
        Components that hold points, from the largest weight down.
    labels : ndarray [S, N]
        Places in that order.
    weights, means, covariances : ndarray [S, K, ...]
        In that order; weights sum to one.
    share : float
    """

    rows: np.ndarray
    chains: np.ndarray
    left_out: np.ndarray
    own: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray | None
    share: float


def kept(found: Variables, labels: np.ndarray, n_clusters: int | None) -> Kept:
    """Draws with so many clusters, or with the most frequent number of them.

    Raises
    ------
    ValueError
        If there is none, or a mean or weight of a cluster is not a number.
    """
    S, M = found.weights.shape
    holds = np.stack([(labels == k).any(1) for k in range(M)], axis=1)
    numbers = holds.sum(1)
    K = _chosen_number(numbers, n_clusters)
    alike = (numbers == K).reshape(found.shape)
    chains, rows = _evenly(alike)
    order = order_of(np.where(holds, found.weights, -1.0)[rows], found.means[rows])
    own = order[:, :K]
    cut = [
        None if leaf is None else leaf[rows[:, None], own]
        for leaf in (found.weights, found.means, found.covariances)
    ]
    lost = np.flatnonzero(~np.isfinite(cut[1]).all((1, 2)) | (cut[0] <= 0).any(1))
    if len(lost):
        raise ValueError(
            f"{found.names.means} and {found.names.weights} must be numbers wherever a component "
            f"holds points; they are not in {len(lost)} of {len(rows)} draws."
        )
    return Kept(
        rows,
        chains,
        np.setdiff1d(np.arange(len(alike)), chains),
        own,
        renamed(labels[rows], order),
        cut[0] / cut[0].sum(1, keepdims=True),
        cut[1],
        cut[2],
        float(alike.mean()),
    )


def _chosen_number(numbers: np.ndarray, n_clusters: int | None) -> int:
    counts = np.bincount(numbers)
    if n_clusters is None:
        return int(counts.argmax())
    check_number(n_clusters, "n_clusters", integer=True, low=1)
    if n_clusters >= len(counts) or not counts[n_clusters]:
        drawn = [f"{k} ({counts[k] / len(numbers):.1%})" for k in np.flatnonzero(counts)]
        raise ValueError(
            f"n_clusters={n_clusters}: no draw has so many clusters that hold points. Choose one "
            f"of those that were drawn: {', '.join(drawn)}."
        )
    return int(n_clusters)


def _evenly(alike: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chains kept, and draws [S], as many of each, of those marked [C, draws]."""
    counts = alike.sum(1)
    sizes = np.sort(counts)[::-1]
    each = int(sizes[(sizes * np.arange(1, len(sizes) + 1)).argmax()])
    chains = np.flatnonzero(counts >= each)
    rows = []
    for c in chains:
        own = np.flatnonzero(alike[c])
        rows.append(
            c * alike.shape[1] + own[np.linspace(0, len(own) - 1, each).round().astype(int)]
        )
    return chains, np.concatenate(rows)
