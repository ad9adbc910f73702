"""The posterior similarity matrix: how probable it is that two points are in one cluster."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from bayesgmm.inference.devices import each, n_cores
from bayesgmm.posterior.draws import LabelDraws, between, entered, parts

Array = np.ndarray

LARGEST = 8 * 20_000**2
"""Bytes that a matrix may take unless more are asked for: those of 20,000 points."""

TILE = 1 << 18
"""Pairs of points that are counted together."""


def similarity_matrix(
    draws: Any,
    weights: Any = None,
    *,
    points: Any = None,
    threshold: float | None = None,
    return_mcse: bool = False,
    max_memory: float = LARGEST,
) -> Any:
    """Posterior probability that each two points are in one cluster, [N, N].

    Parameters
    ----------
    draws : array_like [S, N] or [C, S, N]
        Labels of each draw: of one sampler, or of C chains.
    weights : array_like [S] or [C, S], optional
        Of the draws. An exact posterior is given as every partition with its probability.
    points : array_like [P] of int, optional
        The rows and columns that are wanted, in this order: a sample of many points.
    threshold : float in (0, 1], optional
        Keep the probabilities of at least this alone, in a sparse matrix.
    return_mcse : bool, default False
        Also the Monte Carlo standard errors: between chains, or without them between about sqrt(S)
        batches of draws; NaN for weights without chains and for fewer than four draws.
    max_memory : float, default 3.2e9
        Bytes that the result may take; those of 20,000 points without errors. The work besides is
        done in blocks of some megabytes.

    Returns
    -------
    ndarray [N, N], or scipy.sparse.csr_array with a threshold
        Or two of them; the errors of a sparse matrix have its pattern, zeros included.

    Raises
    ------
    MemoryError
        If it would take more than `max_memory`.
    TypeError, ValueError
        If labels are no whole numbers, or shapes do not fit.

    Examples
    --------
    >>> from bayesgmm import similarity_matrix
    >>> similarity_matrix([[0, 0, 1], [0, 0, 1], [0, 1, 1], [0, 0, 0]])
    array([[1.  , 0.75, 0.25],
           [0.75, 1.  , 0.5 ],
           [0.25, 0.5 , 1.  ]])
    """
    known = entered(draws, weights)
    if points is not None:
        known = known._replace(labels=known.labels[:, _points(points, known.labels.shape[1])])
    if threshold is None:
        return _dense(known, return_mcse, max_memory)
    number = isinstance(threshold, int | float | np.number) and not isinstance(threshold, bool)
    if not number or not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a number in (0, 1], got {threshold!r}.")
    return _sparse(known, threshold, return_mcse, max_memory)


# --- the result in its two forms ------------------------------------------------------------------


def _dense(draws: LabelDraws, with_mcse: bool, max_memory: float) -> Any:
    N = draws.labels.shape[1]
    _check_memory(8.0 * N * N * (1 + with_mcse), N, max_memory)
    mean = np.empty((N, N))
    mcse = np.empty((N, N)) if with_mcse else None

    def fill(rows: slice, shares: Array, errors: Array | None) -> None:
        for whole, part in ((mean, shares), (mcse, errors)):
            if whole is not None:
                whole[rows, rows.start :] = part
                whole[rows.start :, rows] = part.T

    _tiles(draws, with_mcse, fill)
    return mean if mcse is None else (mean, mcse)


def _sparse(draws: LabelDraws, threshold: float, with_mcse: bool, max_memory: float) -> Any:
    N = draws.labels.shape[1]
    found: dict[int, tuple] = {}

    def fill(rows: slice, shares: Array, errors: Array | None) -> None:
        i, j = np.nonzero(np.triu(shares >= threshold - 1e-12))
        values = [part[i, j] for part in (shares, errors) if part is not None]
        found[rows.start] = (i + rows.start, j + rows.start, *values)
        kept = sum(len(part[0]) for part in found.values())
        _check_memory((16.0 + 8 * with_mcse) * 2 * kept, N, max_memory)

    _tiles(draws, with_mcse, fill)
    i, j, *values = (np.concatenate(part) for part in zip(*found.values(), strict=True))
    off = i != j
    ends = np.append(i, j[off]), np.append(j, i[off])
    whole = [sparse.csr_array((np.append(v, v[off]), ends), shape=(N, N)) for v in values]
    return tuple(whole) if with_mcse else whole[0]


def _check_memory(size: float, N: int, most: float) -> None:
    if size > most:
        raise MemoryError(
            f"The similarity of {N} points would take {size / 1e9:.3g} GB, above "
            f"max_memory={most:.3g} bytes. Give threshold= (a sparse matrix of the probabilities "
            "above it, higher if there is one), points= (a sample of the points), or more memory."
        )


def _points(points: Any, N: int) -> Array:
    found = np.asarray(points)
    if found.ndim != 1 or found.dtype.kind not in "iu" or not found.size:
        raise ValueError(
            f"points must be a vector of row numbers, got shape {found.shape} of {found.dtype}."
        )
    if found.min() < 0 or found.max() >= N:
        raise ValueError(f"points must be in 0, ..., {N - 1}, got {found.min()} to {found.max()}.")
    return found


# --- counting -------------------------------------------------------------------------------------


def _tiles(draws: LabelDraws, with_mcse: bool, fill: Any) -> None:
    """Call `fill` for blocks of rows with their shares, and errors, from the diagonal rightwards.

    Threads take the blocks in turn: NumPy's loops let go of the interpreter.
    """
    labels = _narrow(draws.labels)
    tiles = list(_rows(labels.shape[1]))
    shards = [tiles[start :: n_cores()] for start in range(n_cores())]

    def work(shard: list[slice]) -> tuple:
        for rows in shard:
            fill(rows, *_tile(labels, draws, rows, with_mcse))
        return ()

    each(work, [shard for shard in shards if shard], np.float64)


def _narrow(labels: Array) -> Array:
    """The same labels in as few bytes as hold them: the counting is bound by memory."""
    return labels.astype(np.min_scalar_type(int(labels.max())))


def _rows(N: int) -> Iterator[slice]:
    start = 0
    while start < N:
        stop = min(N, start + max(1, TILE // (N - start)))
        yield slice(start, stop)
        start = stop


def _tile(labels: Array, draws: LabelDraws, rows: slice, with_mcse: bool) -> tuple:
    """Shares [n, N - start], and their errors, of the pairs of these rows with those from them."""
    starts = parts(draws) if with_mcse else None
    edges = [0, len(labels)] if starts is None else [*starts, len(labels)]
    totals = [
        _count(labels[a:b], draws.weights[a:b] if draws.weighted else None, rows)
        for a, b in zip(edges[:-1], edges[1:], strict=True)
    ]
    S = 1 if draws.weighted else len(labels)
    mean = np.minimum(np.sum(totals, axis=0) / S, 1.0)
    if not with_mcse:
        return mean, None
    if starts is None:
        return mean, np.full(mean.shape, np.nan)
    weight = np.add.reduceat(draws.weights, starts)
    away = sum(np.square(t / S - w * mean) for t, w in zip(totals, weight, strict=True))
    return mean, between(away, len(starts))


def _count(labels: Array, weights: Array | None, rows: slice) -> Array:
    """In how many draws (with what weight) each pair is together."""
    shape = (rows.stop - rows.start, labels.shape[1] - rows.start)
    total = np.zeros(shape, np.int64 if weights is None else np.float64)
    together = np.empty(shape, bool)
    if weights is not None:
        for own, weight in zip(labels, weights, strict=True):
            np.equal(own[rows, None], own[rows.start :], out=together)
            total += weight * together
        return total
    for start in range(0, len(labels), 255):  # as many as a byte can count
        some = np.zeros(shape, np.uint8)
        for own in labels[start : start + 255]:
            np.equal(own[rows, None], own[rows.start :], out=together)
            np.add(some, together.view(np.uint8), out=some)
        total += some
    return total
