"""Starts from small random subsets of the points, their stragglers left out.

In a subset of a few points a component there are few outliers, and most of those lie far from
their neighbours: the points whose k-th nearest neighbour is farthest are dropped (Byers and Raftery
1998), the others joined with the nearest of K points that k-means++ chooses among them. As all of
this costs nothing beside a sweep, many subsets are tried (Rousseeuw and van Driessen 1999).

References
----------
Byers and Raftery (1998), Nearest-neighbor clutter removal for estimating features in spatial point
processes, *Journal of the American Statistical Association* 93, 577-584.
Rousseeuw and van Driessen (1999), *Technometrics* 41, 212-223.
"""

import numpy as np

from bayesgmm.core.covariance import Covariance
from bayesgmm.core.mixture import Mixture

POINTS = 20
"""Points of a subset for each component and degree of freedom (D + 1) of its place and spread."""


def subset_size(K: int, D: int, N: int) -> int:
    """Points in a subset."""
    return min(N, POINTS * K * (D + 1))


def subset_mixture(
    points: np.ndarray,
    K: int,
    share: float,
    family: Covariance,
    random_state: np.random.RandomState,
) -> Mixture:
    """A mixture from the points of one subset.

    Parameters
    ----------
    points : ndarray [m, D]
        Standardised; at least K.
    K : int
    share : float
        Of the points, which are kept.
    family : Covariance
    random_state : numpy.random.RandomState

    Returns
    -------
    Mixture
        float64, [K, D] scales for a family along the axes; the covariance is one for all, as a
        cell may be too small to have its own.
    """
    from sklearn.cluster import kmeans_plusplus

    kept = points[_crowded(points, share, K)]
    seed = random_state.randint(2**31 - 1)
    chosen = kmeans_plusplus(kept, K, random_state=seed)[0]
    gap = kept[:, None, :] - chosen  # [m, K, D]
    cell = np.square(gap).sum(-1).argmin(1)
    own = kept - chosen[cell]
    counts = 1.0 + np.bincount(cell, minlength=K)
    return Mixture(np.log(counts / counts.sum()), chosen, _shared_scales(own, K, family))


def _crowded(points: np.ndarray, share: float, K: int) -> np.ndarray:
    """Numbers of the points nearest to their neighbours: this share, and K at least."""
    from scipy.spatial import cKDTree

    m, D = points.shape
    neighbours = min(max(5, D + 1), m - 1)
    if neighbours < 1:
        return np.arange(m)
    away = cKDTree(points).query(points, k=[neighbours + 1])[0][:, 0]
    return np.argsort(away, kind="stable")[: max(K, int(np.ceil(share * m)))]


def _shared_scales(own: np.ndarray, K: int, family: Covariance) -> np.ndarray:
    """Scales of one covariance for all components, that of deviations [m, D] from centres."""
    D = own.shape[1]
    covariance = own.T @ own / len(own)
    floor = 1e-3 * max(np.trace(covariance) / D, 1e-12)
    covariance = covariance + floor * np.eye(D)
    if family.axis_aligned:
        return np.broadcast_to(np.sqrt(np.diag(covariance)), (K, D))
    return np.broadcast_to(np.linalg.cholesky(covariance), (K, D, D))
