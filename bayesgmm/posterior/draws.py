"""Draws of partitions as they enter: label arrays of anyone's sampler, checked once.

References
----------
Flegal and Jones (2010), *Annals of Statistics* 38, 1034-1070: batch means.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray


class LabelDraws(NamedTuple):
    """Partitions of N points with their weights.

    Attributes
    ----------
    labels : ndarray [S, N] of int32
        Clusters of each draw 0, 1, ... in order of first appearance.
    weights : ndarray [S]
        They sum to one.
    chain : ndarray [S] of int, or None
        Which chain each draw is of; None if there are not two.
    weighted : bool
        Whether somebody gave the weights.
    """

    labels: Array
    weights: Array
    chain: Array | None
    weighted: bool


def entered(draws: Any, weights: Any = None, name: str = "draws") -> LabelDraws:
    """Label draws, checked, chains one after the other.

    Parameters
    ----------
    draws : array_like [S, N] or [C, S, N], LabelDraws
        Cluster of each of N points in each of S draws, of C chains: whole numbers, which need not
        begin at 0 nor mean the same from draw to draw. NumPy arrays, lists, DataFrames with a draw
        a row, DataArrays with `chain` and `draw` among their dimensions in any order.
    weights : array_like [S] or [C, S], optional
        Not negative, up to a factor. An exact posterior is given by every partition once with its
        probability. Default: equal.
    name : str, default "draws"
        What the user calls the first argument.

    Raises
    ------
    TypeError
        If labels are not numbers.
    ValueError
        If they are not whole, or the shapes do not fit.
    """
    if isinstance(draws, LabelDraws):
        return draws
    found = _whole(_chains_first(draws), name, "[S, N], one draw a row, or [C, S, N] with chains")
    if found.ndim not in (2, 3):
        out = f" One draw is {name}[None]." if found.ndim == 1 else ""
        raise ValueError(
            f"{name} must be labels [S, N], one draw a row, or [C, S, N] with chains; got an array "
            f"of shape {found.shape}.{out}"
        )
    if not found.size:
        raise ValueError(f"{name} must hold a draw and a point, got shape {found.shape}.")
    share = _shares(weights, found.shape[:-1])
    chain = None
    if found.ndim == 3 and len(found) > 1:
        chain = np.repeat(np.arange(len(found)), found.shape[1])
    labels = in_order(found.reshape(-1, found.shape[-1]))
    return LabelDraws(labels, share, chain, weights is not None)


def label_vector(labels: Any, n: int, name: str = "labels") -> Array:
    """One partition of n points, checked, [N] of int32 in order of first appearance.

    Raises
    ------
    TypeError, ValueError
        As `entered`, and if it is not one vector of n labels.
    """
    found = _whole(labels, name, f"[{n}], one a point")
    if found.shape != (n,):
        raise ValueError(
            f"{name} must have shape ({n},), a label for each point of the draws; got "
            f"{found.shape}."
        )
    return in_order(found[None])[0]


def label_rows(labels: Any, n: int, name: str = "labels") -> tuple[Array, bool]:
    """One partition [N] or several [M, N], as [M, N] in order, and whether it was one.

    Raises
    ------
    TypeError, ValueError
        As `label_vector`.
    """
    found = _whole(labels, name, f"[{n}], one a point, or [M, {n}]")
    if found.ndim not in (1, 2) or found.shape[-1] != n:
        raise ValueError(
            f"{name} must have shape ({n},) or (M, {n}), a label for each point of the draws; got "
            f"{found.shape}."
        )
    return in_order(np.atleast_2d(found)), found.ndim == 1


def in_order(labels: Array) -> Array:
    """The same partitions [S, N], clusters 0, 1, ... in order of first appearance, of int32."""
    S, N = labels.shape
    low = labels.min(1, initial=0, keepdims=True) if labels.size else 0
    high = int((labels - low).max(initial=0))
    if high > 4 * N + 64:  # far apart: numbered by size first
        labels = np.stack([np.unique(row, return_inverse=True)[1] for row in labels])
        low, high = 0, N
    found = np.empty((S, N), np.int32)
    points = np.arange(N)
    first, place = np.empty(high + 1, np.int64), np.empty(high + 1, np.int32)
    for row, out in zip(labels - low, found, strict=True):
        first[row[::-1]] = points[::-1]  # of equal labels, the one written last stays
        heads = np.flatnonzero(first[row] == points)
        place[row[heads]] = np.arange(len(heads))
        out[:] = place[row]
    return found


def distinct(draws: LabelDraws) -> tuple[Array, Array, Array]:
    """Partitions [U, N] that occur, the weight [U] of each, and which one [S] every draw is."""
    seen: dict[bytes, int] = {}
    which = np.array([seen.setdefault(row.tobytes(), len(seen)) for row in draws.labels])
    heads = np.unique(which, return_index=True)[1]
    return draws.labels[heads], np.bincount(which, draws.weights), which


def mean_and_mcse(values: Array, draws: LabelDraws) -> tuple[Array, Array]:
    """Weighted mean [...] of values [S, ...] of the draws, and its Monte Carlo standard error.

    With chains the error is between them: the standard deviation of their means over the square
    root of their number. Without, it is so between about sqrt(S) batches of draws that follow one
    another, as long as makes their number a whole one; fewer than four draws have none. Parts of
    unequal weight count as in a ratio estimate. Draws with weights but no chains are no time
    series (an exact posterior has no such error at all): theirs is NaN.

    Parameters
    ----------
    values : ndarray [S, ...]
    draws : LabelDraws
    """
    weights = draws.weights.reshape(-1, *[1] * (values.ndim - 1))
    mean = (weights * values).sum(0)
    starts = parts(draws)
    if starts is None:
        return mean, np.full_like(mean, np.nan, dtype=float)
    away = np.add.reduceat(weights * (values - mean), starts, axis=0)  # [B, ...]
    return mean, between(np.square(away).sum(0), len(starts))


def parts(draws: LabelDraws) -> Array | None:
    """Where each chain or batch of the draws begins, [B]; None where there are not two."""
    S = len(draws.labels)
    if draws.chain is not None:
        return np.flatnonzero(np.diff(draws.chain, prepend=-1))
    batches = int(np.sqrt(S))
    if draws.weighted or batches < 2:
        return None
    return np.arange(batches) * S // batches


def between(squares: Array, n_parts: int) -> Array:
    """Standard error of a mean, from the squares of the parts' shares of it about the mean."""
    return np.sqrt(squares * n_parts / (n_parts - 1))


# --- what was given -------------------------------------------------------------------------------


def _chains_first(draws: Any) -> Any:
    """A DataArray with chain and draw in front; anything else as it is."""
    dims = getattr(draws, "dims", None)
    if not isinstance(dims, tuple) or not {"chain", "draw"} & set(dims):
        return draws
    front = [dim for dim in ("chain", "draw") if dim in dims]
    return draws.transpose(*front, ...)


def _whole(labels: Any, name: str, shape: str) -> Array:
    try:
        found = np.asarray(labels)
    except ValueError as error:
        raise ValueError(f"{name} must be labels {shape}; got {_ragged(labels)}.") from error
    if found.dtype == object and all(
        isinstance(value, Integral) and not isinstance(value, bool) for value in found.flat
    ):
        found = found.astype(np.int64)
    if found.dtype.kind not in "iuf":
        what = "missing values" if _missing(found) else f"an array of {found.dtype}"
        raise TypeError(
            f"{name} must be whole numbers, the cluster of each point; got {what}. Number other "
            "labels with numpy.unique(labels, return_inverse=True)[1]."
        )
    if found.dtype.kind == "f":
        bad = ~np.isfinite(found) | (found != np.round(found))
        if bad.any():
            place = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(
                f"{name} must be whole numbers, the cluster of each point; got "
                f"{found[place]} at {list(place)} ({bad.sum()} such)."
            )
    return found.astype(np.int64)


def _missing(found: Array) -> bool:
    return found.dtype == object and any(value is None or value != value for value in found.flat)


def _ragged(labels: Sequence) -> str:
    try:
        lengths = sorted({len(row) for row in labels})
    except TypeError:
        return "rows of unlike kind"
    if len(lengths) == 1:
        return "an array that is ragged further in"
    return f"ragged rows, of {lengths[0]} to {lengths[-1]} points"


def _shares(weights: Any, shape: tuple[int, ...]) -> Array:
    """Weights of the draws, which sum to one, [S]."""
    size = int(np.prod(shape))
    if weights is None:
        return np.full(size, 1 / size)
    try:
        found = np.asarray(weights, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"weights must be numbers, one a draw; got {weights!r}.") from error
    if found.shape != shape:
        raise ValueError(f"weights must have shape {shape}, one a draw; got {found.shape}.")
    found = found.ravel()
    wrong = np.flatnonzero(~(found >= 0) | ~np.isfinite(found))
    if len(wrong):
        raise ValueError(
            f"weights must be finite numbers of at least 0; draw {wrong[0]} has "
            f"{found[wrong[0]]} ({len(wrong)} such draws)."
        )
    if not found.any():
        raise ValueError("weights must not be zero for every draw.")
    found = found / found.max()  # so that no sum overflows
    return found / found.sum()
