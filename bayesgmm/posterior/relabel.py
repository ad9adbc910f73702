"""Undoing label switching in a posterior of parameters, ours or anyone's.

References
----------
Stephens (2000), *Journal of the Royal Statistical Society B* 62, 795-809: label switching, and why
summaries of components need it undone.
Papastamoulis (2016), *Journal of Statistical Software* 69, code snippet 1: the methods compared.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.messages import hint, listed, warn_user
from bayesgmm.posterior import selection, variables
from bayesgmm.posterior.matching import METHODS, Alike, renamed
from bayesgmm.posterior.modes import largest_by_chance, largest_r_hat, what_is_wrong
from bayesgmm.posterior.partitions import blocks
from bayesgmm.posterior.selection import Kept
from bayesgmm.posterior.variables import Names, Variables

MOST = 20_000_000
"""Probabilities of single draws that are kept; of more, their mean."""

ORDER = "from the largest mean weight down"


def relabel(
    posterior: Any,
    method: str = "ecr",
    n_clusters: int | None = None,
    *,
    X: Any = None,
    weights: str = "weights",
    means: str = "means",
    covariances: str | None = None,
    sds: str | None = None,
    scale_trils: str | None = None,
    labels: str | None = None,
    others: Iterable[str] | None = None,
    random_state: Any = None,
) -> Any:
    """A posterior with a group `relabelled`, in which a cluster is the same one in every draw.

    The components of a mixture may change places from draw to draw and from chain to chain, so
    that means over draws mean nothing. Here the draws with one number of clusters K+ (components
    that hold points) are taken, their clusters matched, and numbered from the largest mean weight
    down.

    Parameters
    ----------
    posterior : DataTree, InferenceData, Dataset or dict of arrays [chain, draw, ...]
        `MCMCGaussianMixture.posterior_`, or draws of any sampler. It stays as it is.
    method : {"ecr", "ecr-iterative", "stephens", "data-based"}, default "ecr"
        "ecr" matches the clusters of each draw with those of one draw, the pivot, by the points
        they share; "ecr-iterative" with the most frequent cluster of each point, anew until nothing
        changes. "stephens" makes the allocation probabilities of the draws as much alike as can
        be, in Kullback-Leibler divergence; it needs covariances and `X`. "data-based" brings the
        points of a cluster together over the draws; it needs `X`.
    n_clusters : int, optional
        K+; the most frequent number when not given.
    X : array_like [N, D] or [N], optional
        The points. When not given, the only variable of the group observed_data, or its `x`.
    weights, means : str
        What the posterior calls the weights [chain, draw, cluster] and the means [chain, draw,
        cluster, feature], or [chain, draw, cluster] of one feature.
    covariances, sds, scale_trils : str, optional
        One of them: covariances [.., feature, feature] (of one feature, or the same for all, the
        variance), standard deviations [.., feature] or [..], or lower Cholesky factors, of each
        cluster or of all. "covariances" when not given, if there is such a variable.
    labels : str, optional
        The component of each point, 0, 1, ... [chain, draw, point]; "labels" when not given, if
        there is such a variable. Without it they are drawn given the parameters, from `X`.
    others : list of str, optional
        Other variables that go with the clusters: when not given, all with the dimension of the
        weights; or, where dimensions have no names of their own, with a first one as long.
    random_state : int, Generator or None
        Of the labels, where they are drawn.

    Returns
    -------
    DataTree
        All that the posterior had, and the group `relabelled`: the weights (they sum to one over
        the clusters that hold points), means, covariances and others under their own names with
        the dimension `cluster`; the labels; and, where there are `X` and covariances,
        `probabilities` [chain, draw, point, cluster], or where these would be more than 2e7
        numbers their mean, the coordinate `mean_probabilities` [point, cluster].
        Each chain has as many draws, evenly taken from those that have K+ clusters: as many as
        keep most draws in all, and a chain with fewer is left out. The coordinate `source` [chain,
        draw] says which draws they were. Attributes: `method`, `n_clusters`, `share` (of all draws
        that have K+ clusters), `n_draws` kept, `order`, `r_hat` (the largest of the weights and
        means), `left_out` (chains), and the names of `weights`, `means`, ...

    Raises
    ------
    ValueError
        If a variable or what the method needs is missing, or no draw has so many clusters.
    TypeError
        If `posterior` is none.

    Warns
    -----
    UserWarning
        If R-hat of the weights or means of the clusters is above 1.05 (or what short chains have by
        chance): what the other methods make of it, and what to do. If a chain is left out.

    References
    ----------
    Papastamoulis and Iliopoulos (2010), *Journal of Computational and Graphical Statistics* 19,
    313-331. Rodriguez and Walker (2014), the same 23, 25-45. Stephens (2000), *Journal of the Royal
    Statistical Society B* 62, 795-809.

    Examples
    --------
    Two chains that call the same two clusters by other numbers:

    >>> import numpy as np
    >>> from bayesgmm import relabel
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-4, 1, 60), rng.normal(4, 1, 40)])
    >>> draws = {
    ...     "w": np.array([[[0.6, 0.4]], [[0.4, 0.6]]]) + rng.normal(0, 0.01, (2, 50, 1)) * [1, -1],
    ...     "mu": np.array([[[-4.0, 4.0]], [[4.0, -4.0]]]) + rng.normal(0, 0.1, (2, 50, 2)),
    ...     "sigma": np.ones((2, 50, 2)),
    ... }
    >>> tree = relabel(draws, X=X, weights="w", means="mu", sds="sigma", random_state=0)
    >>> tree["relabelled"]["mu"].mean(["chain", "draw"]).values.round(1)
    array([-4.,  4.])

    ArviZ summarises it: ``arviz_stats.summary(tree, group="relabelled", var_names=["w", "mu"])``.
    """
    from arviz_base import convert_to_datatree

    if method not in METHODS:
        raise ValueError(
            f"method must be one of {listed(METHODS)}; got {method!r}.{hint(METHODS, method)}"
        )
    try:
        tree = convert_to_datatree(posterior)
    except (TypeError, ValueError, AttributeError) as error:
        raise TypeError(
            "posterior must be a DataTree, InferenceData, Dataset or dict of arrays [chain, draw, "
            f"...]; got {type(posterior).__name__}: {error}"
        ) from error
    dataset = variables.dataset_of(tree)
    names = Names(weights, means, covariances, sds, scale_trils, labels)
    found = variables.read(dataset, names, others)
    points = _points(X, tree, found)
    _check_needs(method, found, points)
    drawn = found.labels
    if drawn is None:
        drawn = selection.drawn_labels(found, points, np.random.default_rng(random_state))
    kept = selection.kept(found, drawn, n_clusters)
    matching = _matched(kept, points, method)
    out = tree.copy()
    out["relabelled"] = _group(dataset, found, kept, matching)
    return out


# --- what there is --------------------------------------------------------------------------------


def _points(X: Any, tree: Any, found: Variables) -> np.ndarray | None:
    """The points [N, D]: those given, else observed, if they fit."""
    D, N = found.means.shape[2], None if found.labels is None else found.labels.shape[1]
    if X is None:
        observed = tree["observed_data"].to_dataset() if "observed_data" in tree.children else {}
        names = list(observed)
        name = names[0] if len(names) == 1 else "x"
        X = np.asarray(observed[name]) if name in names else None
        if X is None or X.dtype.kind not in "buif" or X.size % D or N not in (None, X.size // D):
            return None
    points = np.asarray(X)
    if points.dtype.kind not in "buif":
        raise TypeError(f"X must be numbers [N, D]; got an array of {points.dtype}.")
    points = points.astype(float)
    points = points[:, None] if points.ndim == 1 else points
    if points.ndim != 2 or points.shape[1] != D:
        raise ValueError(f"X must have shape [N, {D}], as the means have; got {np.shape(X)}.")
    if N not in (None, len(points)):
        raise ValueError(
            f"X must have a row for each of the {N} points that have labels; got {len(points)}."
        )
    if not np.isfinite(points).all():
        raise ValueError(f"X must be finite; {int((~np.isfinite(points)).sum())} values are not.")
    return points


def _check_needs(method: str, found: Variables, points: np.ndarray | None) -> None:
    """What the method needs, and the labels if there are none."""
    missing = [] if points is not None else ["X"]
    if found.covariances is None:
        missing.append("covariances (covariances=, sds= or scale_trils=)")
    lacking = {None: [], "points": [m for m in missing if m == "X"], "probabilities": missing}
    lacks = lacking[METHODS[method].needs]
    if found.labels is None and missing:
        raise ValueError(
            "the posterior has no labels (labels='...' names them), and to draw them there lacks "
            f"{' and '.join(missing)}."
        )
    if lacks:
        raise ValueError(
            f"method={method!r} needs {' and '.join(lacks)}; 'ecr' needs labels alone."
        )


# --- their clusters matched -----------------------------------------------------------------------


class _Matching(NamedTuple):
    """How the clusters are ordered, [S, K], and what is said of it."""

    method: str
    order: np.ndarray
    r_hat: float
    probabilities: Callable[[slice], np.ndarray] | None


def _matched(kept: Kept, points: np.ndarray | None, method: str) -> _Matching:
    """Orders by this method; where it fails the others are tried, and it is said."""
    draws = _draws(kept, points)
    order, r_hat = _ordered(kept, draws, method)
    C, K, D = len(kept.chains), *kept.means.shape[1:]
    limit = largest_by_chance(C, len(order) // C, K * (1 + D))
    if r_hat > limit:
        given = {None: True, "points": points is not None}
        given["probabilities"] = draws.probabilities is not None
        possible = [name for name, row in METHODS.items() if given[row.needs] and name != method]
        tried = {name: _ordered(kept, draws, name)[1] for name in possible}
        text = what_is_wrong(kept, method, r_hat, tried, limit)
        warn_user(text)
    if len(kept.left_out):
        warn_user(
            f"chains {', '.join(map(str, kept.left_out))} are left out: they have too few draws "
            f"with {K} clusters. The chains have not come to the same number of clusters; run them "
            "longer."
        )
    return _Matching(method, order, r_hat, draws.probabilities)


def _draws(kept: Kept, points: np.ndarray | None) -> Alike:
    """With probabilities, computed once if they have room."""
    S, K = kept.own.shape
    if points is None or kept.covariances is None:
        return Alike(kept.labels, None, points, K)

    def compute(rows: slice) -> np.ndarray:
        return selection.probabilities(
            kept.weights[rows], kept.means[rows], kept.covariances[rows], points
        )

    held: list[np.ndarray] = []

    def read(rows: slice) -> np.ndarray:
        if S * K * len(points) > MOST:
            return compute(rows)
        if not held:
            held.append(np.concatenate([compute(block) for block in draws.blocks()]))
        return held[0][rows]

    draws = Alike(kept.labels, read, points, K)  # read by itself, once
    return draws


def _ordered(kept: Kept, draws: Alike, method: str) -> tuple[np.ndarray, float]:
    """The order of the clusters of each draw by this method, and R-hat of what it leaves."""
    order = METHODS[method].order(draws)
    weights = np.take_along_axis(kept.weights, order, 1)
    means = np.take_along_axis(kept.means, order[..., None], 1)
    key = [*means.mean(0).T[::-1], -weights.mean(0)]
    places = np.lexsort(key)
    values = np.concatenate([weights[..., None], means], axis=2)
    return order[:, places], largest_r_hat(values.reshape(len(kept.chains), -1, values[0].size))


# --- the group ------------------------------------------------------------------------------------


def _group(dataset: Any, found: Variables, kept: Kept, matching: _Matching) -> Any:
    import xarray

    (S, K), names, sample = kept.own.shape, found.names, variables.SAMPLE
    chains = lambda values: values.reshape(len(kept.chains), -1, *values.shape[1:])  # noqa: E731
    point = _dim_of_points(dataset, names)
    made = {
        name: (dims, chains(values)) for name, dims, values in _cut(dataset, found, kept, matching)
    }
    labels = renamed(kept.labels, matching.order)
    made[names.labels or "labels"] = (*sample, point), chains(labels)
    coords = {
        "chain": dataset["chain"].values[kept.chains],
        "draw": np.arange(S // len(kept.chains)),
        "cluster": np.arange(K),
        "source": (sample, chains(dataset["draw"].values[kept.rows % found.shape[1]])),
    }
    used = {dim for dims, _ in made.values() for dim in dims} - set(coords)
    coords |= {dim: dataset[dim].values for dim in used if dim in dataset.coords}
    ordered = _ordered_probabilities(matching, kept)
    if ordered is not None and ordered.ndim == 2:
        coords["mean_probabilities"] = (point, "cluster"), ordered
    elif ordered is not None:
        made.setdefault("probabilities", ((*sample, point, "cluster"), chains(ordered)))
    attrs = {
        "method": matching.method,
        "n_clusters": K,
        "share": kept.share,
        "n_draws": S,
        "order": ORDER,
        "r_hat": matching.r_hat,
        "left_out": ", ".join(map(str, dataset["chain"].values[kept.left_out])),
        **{role: name for role, name in names._asdict().items() if name is not None},
        "labels": names.labels or "labels",
    }
    return xarray.DataTree(xarray.Dataset(made, coords, attrs))


def _dim_of_points(dataset: Any, names: Names) -> Any:
    if names.labels is None:
        return "obs_id"
    return next(dim for dim in dataset[names.labels].dims if dim not in variables.SAMPLE)


def _cut(
    dataset: Any, found: Variables, kept: Kept, matching: _Matching
) -> Iterator[tuple[str, tuple, np.ndarray]]:
    """Name, dimensions and draws [S, ...] of what goes with clusters, or of a spread they share."""
    take = np.take_along_axis(kept.own, matching.order, 1)
    for name, variable in found.clustered.items():
        values = variables.flat(variable)[kept.rows[:, None], take]
        if name == found.names.weights:
            values = values / values.sum(1, keepdims=True)
        yield name, (*variables.SAMPLE, "cluster", *variable.dims[3:]), values
    spread = found.names.spread
    if spread is not None and spread not in found.clustered:
        variable = dataset[spread].transpose(*variables.SAMPLE, ...)
        yield spread, variable.dims, variables.flat(variable)[kept.rows]


def _ordered_probabilities(matching: _Matching, kept: Kept) -> np.ndarray | None:
    """Probabilities [S, N, K] of the clusters in order, or their mean [N, K] if they are many."""
    if matching.probabilities is None:
        return None
    (S, K), N = kept.own.shape, kept.labels.shape[1]
    many = S * N * K > MOST
    found = np.zeros((N, K)) if many else np.empty((S, N, K))
    for rows in blocks(S, N * K):
        p = np.take_along_axis(matching.probabilities(rows), matching.order[rows, :, None], 1)
        if many:
            found += p.sum(0).T / S
        else:
            found[rows] = np.swapaxes(p, 1, 2)
    return found
