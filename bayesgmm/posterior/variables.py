"""The variables of anyone's posterior of a mixture: which is which, as arrays of draws."""

import difflib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

SAMPLE = ["chain", "draw"]


class Names(NamedTuple):
    """What the user calls the parts of a mixture; None where nothing was said."""

    weights: str
    means: str
    covariances: str | None = None
    sds: str | None = None
    scale_trils: str | None = None
    labels: str | None = None

    @property
    def spread(self) -> str | None:
        """The variable that covariances are made of."""
        return self.covariances or self.sds or self.scale_trils


class Variables(NamedTuple):
    """Draws of a mixture, chains one after the other: S = C x draws, and M components.

    Attributes
    ----------
    names : Names
        With those found.
    shape : (int, int)
        C and draws a chain.
    weights : ndarray [S, M]
        Not negative; 0 where there is no such component.
    means : ndarray [S, M, D]
    covariances : ndarray [S, M, D, D] or None
    labels : ndarray [S, N] or None
        Below M.
    clustered : dict from name to DataArray
        Variables with a dimension for the components, [chain, draw, cluster, ...].
    """

    names: Names
    shape: tuple[int, int]
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray | None
    labels: np.ndarray | None
    clustered: dict[str, Any]


def dataset_of(tree: Any) -> Any:
    """The posterior of a DataTree.

    Raises
    ------
    ValueError
        If there is none, or it has no chain and draw.
    """
    if "posterior" not in tree.children:
        raise ValueError(
            "posterior must have a group 'posterior'; its groups are "
            f"{listed(tree.children) or 'none'}. Give a DataTree, InferenceData, Dataset, or a "
            "dict of arrays [chain, draw, ...]."
        )
    found = tree["posterior"].to_dataset()
    missing = [dim for dim in SAMPLE if dim not in found.dims]
    if missing:
        raise ValueError(
            f"posterior must have the dimensions 'chain' and 'draw'; it has {listed(found.dims)}. "
            "Draws of one chain get another axis: values[None]."
        )
    return found


def read(dataset: Any, names: Names, others: Iterable[str] | None) -> Variables:
    """The mixture in a posterior.

    Raises
    ------
    ValueError
        If a variable is not there, has no dimension for the clusters, or the shapes do not fit.
    """
    names = _found(dataset, names)
    dim = _cluster_dim(dataset, names)
    roles = [name for name in names if name is not None and name != names.labels]
    chosen = [*roles, *_others(dataset, dim, others, roles + [names.labels])]
    clustered = {}
    for name in chosen:
        own = _own_cluster_dim(dataset[name], dim)
        if own is not None:
            clustered[name] = dataset[name].transpose(*SAMPLE, own, ...)
    if names.means not in clustered:
        raise ValueError(_no_cluster(dataset[names.means], dim))
    weights = flat(clustered[names.weights])
    means = flat(clustered[names.means])
    if means.ndim > 3:
        raise ValueError(
            f"{names.means} must be means [chain, draw, cluster] or [chain, draw, cluster, "
            f"feature]; its dimensions are {listed(dataset[names.means].dims)}."
        )
    means = means.reshape(*means.shape[:2], -1)
    labels = None if names.labels is None else _labels(dataset, names.labels, weights.shape[1])
    held = np.isfinite(weights) & (weights > 0)
    if not held.any(1).all():
        raise ValueError(f"{names.weights} must be weights; a draw has none above 0.")
    return Variables(
        names,
        (dataset.sizes["chain"], dataset.sizes["draw"]),
        np.where(held, weights, 0.0),
        means,
        _covariances(dataset, names, clustered, means),
        labels,
        clustered,
    )


# --- words ----------------------------------------------------------------------------------------


def listed(names: Any) -> str:
    """Names as a message shows them."""
    return ", ".join(repr(str(name)) for name in names)


def hint(names: Any, name: Any) -> str:
    """The name that was probably meant, as a sentence, or nothing."""
    close = difflib.get_close_matches(str(name), [str(each) for each in names], n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


# --- which is which -------------------------------------------------------------------------------


def _found(dataset: Any, names: Names) -> Names:
    """With the names that the house uses where none was given and there is such a variable."""
    for role, name in names._asdict().items():
        if name is not None and name not in dataset:
            raise ValueError(
                f"{role}={name!r}: the posterior has no such variable; it has "
                f"{listed(dataset.data_vars)}.{hint(dataset.data_vars, name)} Say what it calls "
                f"them: {role}='...'."
            )
    spreads = [role for role in SPREADS if getattr(names, role) is not None]
    if len(spreads) > 1:
        raise ValueError(f"give one of {listed(SPREADS)}, not {' and '.join(spreads)}.")
    if not spreads and "covariances" in dataset:
        names = names._replace(covariances="covariances")
    if names.labels is None and "labels" in dataset:
        names = names._replace(labels="labels")
    return names


def _own(variable: Any) -> list:
    """Its dimensions beside chain and draw."""
    return [dim for dim in variable.dims if dim not in SAMPLE]


def _automatic(variable: Any) -> bool:
    """Whether its first dimension has the name that ArviZ gives where nobody does."""
    own = _own(variable)
    return bool(own) and re.fullmatch(r".*_dim_\d+", str(own[0])) is not None


class _Dim(NamedTuple):
    name: Any
    size: int
    n_features: int


def _cluster_dim(dataset: Any, names: Names) -> _Dim:
    weights, means = dataset[names.weights], dataset[names.means]
    own = _own(weights)
    if len(own) != 1:
        raise ValueError(
            f"{names.weights} must be weights [chain, draw, cluster], with one dimension beside "
            f"chain and draw; its dimensions are {listed(weights.dims)}."
        )
    size = weights.sizes[own[0]]
    features = [means.sizes[dim] for dim in _own(means)[1:]]
    return _Dim(own[0], size, features[0] if features else 1)


def _own_cluster_dim(variable: Any, dim: _Dim) -> Any:
    """The dimension of a variable that is the clusters', or None."""
    own = _own(variable)
    if dim.name in own:
        return dim.name
    if _automatic(variable) and variable.sizes[own[0]] == dim.size:
        return own[0]
    return None


def _others(dataset: Any, dim: _Dim, others: Iterable[str] | None, taken: list) -> list[str]:
    """Other variables that go with the clusters."""
    if others is not None:
        if isinstance(others, str):
            others = [others]
        others = [name for name in others if name not in taken]
        for name in others:
            if name not in dataset:
                raise ValueError(
                    f"others: the posterior has no variable {name!r}; it has "
                    f"{listed(dataset.data_vars)}.{hint(dataset.data_vars, name)}"
                )
            if _own_cluster_dim(dataset[name], dim) is None:
                raise ValueError(_no_cluster(dataset[name], dim))
        return others
    free = [str(name) for name in dataset.data_vars if name not in taken]
    found = [name for name in free if _own_cluster_dim(dataset[name], dim) is not None]
    unclear = [name for name in found if dim.name not in dataset[name].dims]
    if unclear and dim.size == dim.n_features > 1:
        raise ValueError(
            f"there are {dim.size} clusters and as many features: whether {listed(unclear)} goes "
            f"with the clusters cannot be seen. Name those that do: others=[...]."
        )
    return found


def _no_cluster(variable: Any, dim: _Dim) -> str:
    return (
        f"{variable.name} has no dimension for the clusters: its dimensions are "
        f"{listed(variable.dims)}, of sizes {tuple(variable.shape)}, and that of the weights is "
        f"{str(dim.name)!r}, of size {dim.size}. Rename it: "
        f"posterior.rename({{...: {str(dim.name)!r}}})."
    )


# --- arrays ---------------------------------------------------------------------------------------


def flat(variable: Any) -> np.ndarray:
    """Values [S, ...] of a variable with chain and draw in front."""
    values = np.asarray(variable.values)
    return values.reshape(-1, *values.shape[2:])


def _labels(dataset: Any, name: str, M: int) -> np.ndarray:
    variable = dataset[name]
    if len(_own(variable)) != 1:
        raise ValueError(
            f"{name} must be labels [chain, draw, point]; its dimensions are "
            f"{listed(variable.dims)}."
        )
    found = flat(variable.transpose(*SAMPLE, ...))
    if found.dtype.kind not in "iu" and not np.array_equal(found, np.round(found)):
        raise ValueError(f"{name} must be labels, whole numbers; got an array of {found.dtype}.")
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= M:
        out = f" Subtract 1: posterior.assign({name}=posterior.{name} - 1)." if high == M else ""
        raise ValueError(
            f"{name} must be components 0, ..., {M - 1}, the places of the weights; got {low} to "
            f"{high}.{out}"
        )
    return found.astype(np.int32)


def _from_covariances(values: np.ndarray, D: int) -> np.ndarray:
    return values if values.ndim == 4 else values.reshape(*values.shape[:2], 1, 1) * np.eye(D)


def _from_sds(values: np.ndarray, D: int) -> np.ndarray:
    wide = np.broadcast_to(values.reshape(*values.shape[:2], -1), (*values.shape[:2], D))
    return np.square(wide)[..., None] * np.eye(D)


def _from_scale_trils(values: np.ndarray, D: int) -> np.ndarray:
    return values @ np.swapaxes(values, -1, -2)


SPREADS = {
    "covariances": (_from_covariances, ((), ("D", "D"))),
    "sds": (_from_sds, ((), ("D",))),
    "scale_trils": (_from_scale_trils, (("D", "D"),)),
}
"""Ways to give covariances: how they are made of it, and the shapes it may have for a cluster."""


def _covariances(
    dataset: Any, names: Names, clustered: dict[str, Any], means: np.ndarray
) -> np.ndarray | None:
    """Covariances [S, M, D, D]; those that all clusters share are repeated."""
    role = next((role for role in SPREADS if getattr(names, role) is not None), None)
    if role is None:
        return None
    name, D = names.spread, means.shape[2]
    make, shapes = SPREADS[role]
    shared = name not in clustered
    own = _own(dataset[name])
    if not shared and len(own) == 1 and D == means.shape[1] > 1 and _automatic(dataset[name]):
        raise ValueError(
            f"there are {D} clusters and as many features: whether {name} is of the ones or the "
            f"others cannot be seen. Rename its dimension {str(own[0])!r}: to that of "
            f"{names.weights}, or to 'feature'."
        )
    values = flat(dataset[name].transpose(*SAMPLE, ...) if shared else clustered[name])
    values = values[:, None] if shared else values
    fits = [tuple(D if d == "D" else d for d in shape) for shape in shapes]
    if values.shape[2:] not in fits:
        raise ValueError(
            f"{name} must be {role} of shape {' or '.join(map(str, fits))} for each cluster, or "
            f"for all; its dimensions are {listed(dataset[name].dims)}, of sizes "
            f"{tuple(dataset[name].shape)}."
        )
    return np.broadcast_to(make(values, D), (*means.shape, D))
