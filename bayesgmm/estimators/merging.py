"""merge_components: components that together make one cluster, found by the entropy criterion."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.special import xlogy
from sklearn.utils.validation import check_is_fitted

from bayesgmm.arguments import check_number
from bayesgmm.estimators.checks import check_weight

ELBOW_FROM = 4
"""Two lines pass through three points whatever they are: an elbow shows in four at least."""


@dataclass(frozen=True, eq=False)
class MergedComponents:
    """The components of a mixture merged one pair at a time, until one cluster is left.

    Attributes
    ----------
    probabilities : ndarray [N, K]
        Of each component given each point: those of the model.
    sample_weight : ndarray [N]
    children : ndarray [K - 1, 2] of int
        The two that each step joins, as scikit-learn's `AgglomerativeClustering.children_` has
        them: component k is k, what step i made is K + i.
    entropy : ndarray [K]
        Entropy of the probabilities in nats, summed over the points: at place n - 1 that of n
        clusters. It grows with n.
    n_merged : ndarray [K - 1]
        Points (by weight) that the step to n clusters, at place n - 1, merged: those whose most
        probable cluster was one of the two.
    n_clusters : int
        The elbow of the entropy against the points merged so far; K where K < 4, for there is
        none to be seen.
    """

    probabilities: np.ndarray = field(repr=False)
    sample_weight: np.ndarray = field(repr=False)
    children: np.ndarray
    entropy: np.ndarray
    n_merged: np.ndarray
    n_clusters: int

    @property
    def n_components(self) -> int:
        """K."""
        return len(self.entropy)

    def __repr__(self) -> str:
        """What was found, in a few lines."""
        groups = ", ".join(str(group.tolist()) for group in self.components())
        return (
            f"MergedComponents: {self.n_clusters} clusters of {self.n_components} components\n"
            f"  {groups}"
        )

    def components(self, n_clusters: int | None = None) -> list[np.ndarray]:
        """Components of each of n clusters, in increasing order; a cluster lies at its smallest.

        Parameters
        ----------
        n_clusters : int, optional
            1 to K; that of the elbow when not given.

        Returns
        -------
        list of n ndarrays of int

        Raises
        ------
        ValueError
            If `n_clusters` is no number from 1 to K.
        """
        K = self.n_components
        n = self.n_clusters if n_clusters is None else n_clusters
        check_number(n, "n_clusters", integer=True, low=1)
        if n > K:
            raise ValueError(
                f"n_clusters must be at most {K}, the number of components, got {n}: merging makes "
                "no more clusters than there are components."
            )
        groups = {k: [k] for k in range(K)}
        for step, (a, b) in enumerate(self.children[: K - n].tolist()):
            groups[K + step] = sorted(groups.pop(a) + groups.pop(b))
        return [np.array(group) for group in sorted(groups.values())]

    def proba(self, n_clusters: int | None = None) -> np.ndarray:
        """Probability of each of n clusters given each point: sums over their components.

        Parameters
        ----------
        n_clusters : int, optional
            1 to K; that of the elbow when not given.

        Returns
        -------
        ndarray [N, n]
            Rows sum to one. Clusters are in the order of `components`.
        """
        groups = self.components(n_clusters)
        return np.stack([self.probabilities[:, group].sum(1) for group in groups], axis=1)

    def labels(self, n_clusters: int | None = None) -> np.ndarray:
        """Most probable of n clusters for each point.

        Parameters
        ----------
        n_clusters : int, optional
            1 to K; that of the elbow when not given.

        Returns
        -------
        ndarray [N] of int
        """
        return self.proba(n_clusters).argmax(axis=1)

    @cached_property
    def table(self) -> Any:
        """One row a number of clusters.

        Returns
        -------
        DataFrame [K]
            Columns `entropy`, `cumulated` (points merged on the way there) and `components`, those
            of each cluster.
        """
        import pandas as pd

        index = pd.RangeIndex(1, self.n_components + 1, name="n_clusters")
        groups = [[group.tolist() for group in self.components(n)] for n in index]
        columns = {"entropy": self.entropy, "cumulated": cumulated(self.n_merged)}
        return pd.DataFrame(columns | {"components": groups}, index=index)

    def plot(self, ax: Any = None) -> Any:
        """Entropy against the number of clusters, and against the points merged: see `plots`.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure when not given.

        Returns
        -------
        matplotlib Axes
        """
        from bayesgmm.plots import plot_merging

        return plot_merging(self.table, n_clusters=self.n_clusters, ax=ax)


def merge_components(model: Any, X: Any, sample_weight: Any = None) -> MergedComponents:
    r"""Clusters made of several components each, where one Gaussian is not enough for a cluster.

    A mixture needs several Gaussians for one cluster that is not Gaussian, and the points between
    them are then assigned with doubt. At every step those two clusters become one whose merging
    lowers most the entropy of the assignments,

    .. math::

        -\sum_i w_i \sum_k t_{ik} \log t_{ik},

    where :math:`t_{ik}` is the probability of cluster k given point i; the density stays as it was
    fitted. The number of clusters is left to you. Proposed is the elbow: of the entropy against
    the number of points merged so far, two straight lines that share a point fit best there.

    Parameters
    ----------
    model : fitted estimator
        Any with `predict_proba`: of this package or of scikit-learn.
    X : array-like [N, D]
        Points whose assignments count, as a rule those of the fit.
    sample_weight : array-like [N], optional
        1 when not given.

    Returns
    -------
    MergedComponents
        With `labels(n)` and `proba(n)` for every number of clusters n from 1 to K, `entropy`,
        `children`, `n_clusters`, `table` and `plot()`.

    Raises
    ------
    TypeError
        If the model has no `predict_proba`.
    NotFittedError
        If it is not fitted.
    ValueError
        If points or weights are not as described.

    Notes
    -----
    The number of components is to be that of a criterion for densities, such as `bic`. With three
    components or fewer no elbow can be seen, and `n_clusters` is their number. The ends of a tree
    say less than its first steps: to one cluster the entropy always falls to 0.

    References
    ----------
    Baudry, Raftery, Celeux, Lo and Gottardo (2010), *Journal of Computational and Graphical
    Statistics* 19, 332-353: the criterion, and the plots of entropy that show an elbow.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import GaussianMixture, merge_components
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.uniform(0, 4, 200), rng.normal(9, 0.5, 100)])[:, None]
    >>> start = np.digitize(X[:, 0], [1.3, 2.6, 6])  # three components for the uniform cluster
    >>> model = GaussianMixture(4, init_params=start, max_iter=50, tol=1e-3).fit(X)
    >>> merged = merge_components(model, X)
    >>> merged.n_clusters, [group.tolist() for group in merged.components()]
    (2, [[0, 1, 2], [3]])
    >>> np.bincount(merged.labels(2)).tolist()
    [200, 100]
    """
    if not hasattr(model, "predict_proba"):
        raise TypeError(
            "model must be a fitted mixture with predict_proba, such as GaussianMixture; got "
            f"{type(model).__name__}."
        )
    check_is_fitted(model)
    probabilities = np.asarray(model.predict_proba(X), np.float64)
    N, K = probabilities.shape
    weight = np.ones(N) if sample_weight is None else check_weight(sample_weight, N)
    found = _merged(probabilities, weight)
    n_clusters = elbow(cumulated(found.n_merged), found.entropy) if K >= ELBOW_FROM else K
    return MergedComponents(probabilities, weight, *found, n_clusters)


class _Merged(NamedTuple):
    """As in `MergedComponents`."""

    children: np.ndarray
    entropy: np.ndarray
    n_merged: np.ndarray


def _merged(probabilities: np.ndarray, weight: np.ndarray) -> _Merged:
    """The whole tree; of pairs that lower the entropy alike the first is taken."""
    K = probabilities.shape[1]

    def entropy_of(column: np.ndarray) -> float:
        return -float(weight @ xlogy(column, column))

    columns = dict(enumerate(probabilities.T))
    own = {k: entropy_of(column) for k, column in columns.items()}

    def falls(pairs: Iterable[tuple[int, int]]) -> dict[tuple[int, int], float]:
        return {(a, b): own[a] + own[b] - entropy_of(columns[a] + columns[b]) for a, b in pairs}

    fall = falls(combinations(range(K), 2))
    children, entropy, n_merged = np.empty((K - 1, 2), np.intp), np.empty(K), np.empty(K - 1)
    entropy[-1] = sum(own.values())
    for step in range(K - 1):
        children[step] = a, b = max(fall, key=fall.__getitem__)
        best = np.array(list(columns))[np.argmax(list(columns.values()), axis=0)]
        n_merged[K - 2 - step] = weight[(best == a) | (best == b)].sum()
        new = K + step
        columns[new] = columns.pop(a) + columns.pop(b)
        own = {k: value for k, value in own.items() if k in columns}
        fall = {pair: value for pair, value in fall.items() if a not in pair and b not in pair}
        own[new] = entropy_of(columns[new])
        fall |= falls((k, new) for k in columns if k != new)
        entropy[K - 2 - step] = sum(own.values())
    return _Merged(children, np.maximum(entropy, 0.0), n_merged)


def cumulated(n_merged: np.ndarray) -> np.ndarray:
    """Points merged on the way from K clusters to each number, [K]: 0 for K."""
    return np.append(np.cumsum(n_merged[::-1])[::-1], 0.0)


def elbow(x: np.ndarray, y: np.ndarray) -> int:
    """The number of clusters at which two straight lines through y against x [K] fit best.

    Each is fitted by least squares to its points; the one where they meet belongs to both.
    """
    squares = [
        _residual(x[:n], y[:n]) + _residual(x[n - 1 :], y[n - 1 :]) for n in range(2, len(x))
    ]
    return 2 + int(np.argmin(squares))


def _residual(x: np.ndarray, y: np.ndarray) -> float:
    """Sum of squares that a straight line leaves."""
    design = np.stack([np.ones_like(x), x - x.mean()], axis=1)
    found = np.linalg.lstsq(design, y)[0]
    return float(np.square(y - design @ found).sum())
