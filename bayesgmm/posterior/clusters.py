"""What relabelled draws say of each cluster and of each two of them.

References
----------
Kailath (1967), *IEEE Transactions on Communication Technology* 15, 52-60: the Bhattacharyya
distance, and the bounds it gives on the error of telling two classes apart.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from bayesgmm.messages import hint, listed
from bayesgmm.posterior import variables
from bayesgmm.posterior.intervals import check_options, described
from bayesgmm.posterior.variables import Names, Variables

Rows = Iterator[tuple[dict[str, Any], np.ndarray]]
"""Keys of a row of the table, and its draws [S]."""


def cluster_summary(
    posterior: Any,
    quantities: Iterable[str] | None = None,
    *,
    level: float = 0.95,
    interval: str = "equal-tailed",
) -> Any:
    """Posterior of the parameters of each cluster and of how far clusters lie apart, as a table.

    Parameters
    ----------
    posterior : DataTree
        As `relabel` returns it.
    quantities : list of str, optional
        Some of "weight"; "size", the number of points; "mean"; "sd"; "correlation"; "covariance";
        and of each two clusters "separation", their Bhattacharyya distance,
        B = d' S^-1 d / 8 + (log det S - (log det S_k + log det S_l) / 2) / 2 with d the difference
        of their means and S = (S_k + S_l) / 2, and "overlap", exp(-B), from 0 to 1: two clusters of
        equal weight are told apart with an error between (1 - sqrt(1 - overlap^2)) / 2 and
        overlap / 2. All that the posterior has when not given.
    level : float, default 0.95
        Probability of the credible interval.
    interval : {"equal-tailed", "hdi"}, default "equal-tailed"
        As much probability below it as above; or the shortest.

    Returns
    -------
    DataFrame
        A row each number: `quantity`, `cluster`, `other` (the second cluster), `feature`,
        `feature_bis` (missing where they do not apply), `mean`, `sd`, `lower`, `upper`, `mcse`,
        `ess_bulk`, `ess_tail`, `r_hat`. They are of the draws with this number of clusters. The
        last four are NaN for fewer than four draws a chain.

    Raises
    ------
    ValueError
        If there is no group `relabelled`, or a quantity or option is not known or lacks what it
        needs.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import cluster_summary
    >>> from bayesgmm import relabel
    >>> rng = np.random.default_rng(0)
    >>> draws = {
    ...     "weights": np.full((2, 100, 2), 0.5) + rng.normal(0, 0.01, (2, 100, 1)) * [1, -1],
    ...     "means": np.array([-4.0, 4.0]) + rng.normal(0, 0.1, (2, 100, 2)),
    ...     "labels": np.tile([0, 0, 1], (2, 100, 1)),
    ... }
    >>> table = cluster_summary(relabel(draws), ["mean", "size"])
    >>> table.loc[table["quantity"] == "size", ["cluster", "mean"]].reset_index(drop=True)
       cluster  mean
    0        0   2.0
    1        1   1.0
    """
    import pandas as pd

    check_options(level, interval)
    if "relabelled" not in getattr(posterior, "children", ()):
        raise ValueError(
            "posterior must have a group 'relabelled': relabel(posterior) returns it with one."
        )
    dataset = posterior["relabelled"].to_dataset()
    roles = {role: dataset.attrs.get(role) for role in Names._fields}
    found = variables.read(dataset, Names(**roles), [])
    wanted = _wanted(quantities, found)
    features = _features(dataset, found)
    rows = [row for name in wanted for row in QUANTITIES[name](found, features)]
    draws = [values.reshape(found.shape) for _, values in rows]
    # as objects: features that are numbers would turn into floats beside what is missing
    index = pd.DataFrame([key for key, _ in rows], columns=["quantity", *KEYS], dtype=object)
    index = index.astype({"cluster": "Int64", "other": "Int64"})
    return pd.concat([index, described(draws, level, interval)], axis=1)


# --- of clusters ----------------------------------------------------------------------------------

KEYS = ("cluster", "other", "feature", "feature_bis")


def _features(dataset: Any, found: Variables) -> list:
    """Names of the features."""
    D, dims = found.means.shape[2], found.clustered[found.names.means].dims
    named = len(dims) > 3 and dims[3] in dataset.coords
    return dataset[dims[3]].values.tolist() if named else list(range(D))


def _wanted(quantities: Iterable[str] | None, found: Variables) -> list[str]:
    lacking = {} if found.covariances is not None else dict.fromkeys(OF_COVARIANCES, "covariances")
    if quantities is None:
        return [name for name in QUANTITIES if name not in lacking]
    names = [quantities] if isinstance(quantities, str) else list(quantities)
    for name in names:
        if name not in QUANTITIES:
            raise ValueError(
                f"quantities must be of {listed(QUANTITIES)}; got {name!r}.{hint(QUANTITIES, name)}"
            )
        if name in lacking:
            raise ValueError(
                f"{name!r} needs {lacking[name]}, which the posterior lacks: give relabel "
                "covariances=, sds= or scale_trils=."
            )
    return names


def _weights(found: Variables, features: list) -> Rows:
    for k, values in enumerate(found.weights.T):
        yield {"quantity": "weight", "cluster": k}, values


def _sizes(found: Variables, features: list) -> Rows:
    for k in range(found.weights.shape[1]):
        yield {"quantity": "size", "cluster": k}, (found.labels == k).sum(1).astype(float)


def _means(found: Variables, features: list) -> Rows:
    for k in range(found.weights.shape[1]):
        for name, values in zip(features, found.means[:, k].T, strict=True):
            yield {"quantity": "mean", "cluster": k, "feature": name}, values


def _sds(found: Variables, features: list) -> Rows:
    for key, values in _covariances(found, features):
        if key["feature"] == key["feature_bis"]:
            yield {**key, "quantity": "sd", "feature_bis": None}, np.sqrt(values)


def _correlations(found: Variables, features: list) -> Rows:
    sds = {(key["cluster"], key["feature"]): values for key, values in _sds(found, features)}
    for key, values in _covariances(found, features):
        k, one, other = key["cluster"], key["feature"], key["feature_bis"]
        if one != other:
            yield {**key, "quantity": "correlation"}, values / (sds[k, one] * sds[k, other])


def _covariances(found: Variables, features: list) -> Rows:
    for k in range(found.weights.shape[1]):
        for i, one in enumerate(features):
            for j in range(i, len(features)):
                key = {"quantity": "covariance", "cluster": k, "feature": one}
                yield {**key, "feature_bis": features[j]}, found.covariances[:, k, i, j]


def _separations(found: Variables, features: list) -> Rows:
    covariances, means = found.covariances, found.means
    log_det = np.linalg.slogdet(covariances)[1]
    for k in range(means.shape[1]):
        for other in range(k + 1, means.shape[1]):
            middle = (covariances[:, k] + covariances[:, other]) / 2
            gap = means[:, k] - means[:, other]
            far = (gap * np.linalg.solve(middle, gap[..., None])[..., 0]).sum(1)
            between = np.linalg.slogdet(middle)[1] - (log_det[:, k] + log_det[:, other]) / 2
            yield {"quantity": "separation", "cluster": k, "other": other}, far / 8 + between / 2


def _overlaps(found: Variables, features: list) -> Rows:
    for key, values in _separations(found, features):
        yield {**key, "quantity": "overlap"}, np.exp(-values)


QUANTITIES = {
    "weight": _weights,
    "size": _sizes,
    "mean": _means,
    "sd": _sds,
    "correlation": _correlations,
    "covariance": _covariances,
    "separation": _separations,
    "overlap": _overlaps,
}

OF_COVARIANCES = {"sd", "correlation", "covariance", "separation", "overlap"}
