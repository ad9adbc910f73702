"""Between the user's rows and the core's points: units, padding, threads, evaluation in blocks."""

from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any

import jax
import numpy as np

from bayesgmm.core.arrays import Data, Standardizer, float_scope, power_of_two
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import exact_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.predictive import StudentMixture, student_joint
from bayesgmm.core.sweep import SMALLEST, joint_of, padded_size
from bayesgmm.inference import devices
from bayesgmm.inference.devices import FEW, WIDE, Feed
from bayesgmm.io.rows import Columns

ROWS = 65_536
"""Rows evaluated at a time: what `predict` and its like need beside their answer."""

FEWEST = 256
"""Rows that a program of a fit or an evaluation holds at least: a fit of fewer takes microseconds
more, and folds and subsets of small data share a program."""


def aligned_empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An uninitialised array that JAX takes over without a copy: aligned to 64 bytes."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    buffer = np.empty(size + 64, np.uint8)
    offset = -buffer.ctypes.data % 64
    return buffer[offset : offset + size].view(dtype).reshape(shape)


def standard_data(
    X: np.ndarray | Columns,
    weight: np.ndarray | None,
    units: Standardizer,
    out: Data | None = None,
    least: int = SMALLEST,
) -> Data:
    """Rows as the core's `Data`: standardised, samples last, padded with weight 0.

    `out`, if given, is filled and returned; otherwise there is room for at least so many.
    """
    N, D = X.shape
    points, weights = out or empty_data(D, padded_size(N, least), X.dtype)
    if isinstance(X, Columns):
        transform_columns(X, units, points)
    else:
        units.transform(X, out=points[:, :N])
    weights[:N] = 1.0 if weight is None else weight
    points[:, N:], weights[N:] = 0.0, 0.0
    return Data(points, weights)


def transform_columns(X: Columns, units: Standardizer, out: np.ndarray) -> None:
    """`units.transform` of rows held by columns, into the beginning of `out` [D, N]."""
    first = 0
    for part in X.parts:
        end = first + len(part[0])
        for column, centre, scale, own in zip(
            part, units.centre, units.scale, out[:, first:end], strict=True
        ):
            if out.dtype == np.float64:
                np.subtract(column, centre, out=own)
                own /= scale
            else:
                own[:] = (column.astype(np.float64) - centre) / scale
        first = end


def empty_data(D: int, size: int, dtype: Any) -> Data:
    """`Data` to be filled."""
    return Data(aligned_empty((D, size), dtype), aligned_empty((size,), dtype))


def standard_shards(
    X: np.ndarray, weight: np.ndarray | None, units: Standardizer, n: int
) -> list[Data]:
    """`standard_data` of n parts of the rows, for as many threads."""
    edges = np.linspace(0, len(X), n + 1).astype(int)
    return [
        standard_data(
            X[low:high], None if weight is None else weight[low:high], units, least=FEWEST
        )
        for low, high in zip(edges, edges[1:], strict=False)
    ]


def placed(shards: Any, N: int) -> Any:
    """Shards of N points as the programs take them; a feed brings its own."""
    if isinstance(shards, Feed) or N <= FEW:
        return shards  # a small array gets there sooner as an argument of each call
    where = cycle(devices.places())
    return [  # on the processor this shares their memory
        jax.device_put(shard, place) for shard, place in zip(shards, where, strict=False)
    ]


def capacity(K: int, N: int) -> int:
    """Components that a compiled program holds for K of them, the rest absent.

    With few points a component more costs nothing and a compilation everything, so that fits of
    2, 3 and 4 components share one program, as do those of 5 to 8; with many points it is K.
    """
    return K if N > FEW else power_of_two(K, 4)


def with_room(mixture: Mixture, room: int) -> Mixture:
    """The mixture with absent components up to `room`; it has a scale for each."""
    log_weights, means, scales = mixture
    K, D = means.shape
    unit = np.ones(D, scales.dtype) if scales.ndim == 2 else np.eye(D, dtype=scales.dtype)
    scales = np.concatenate([scales, np.broadcast_to(unit, (room - K, *unit.shape))])
    none = np.full(room - K, -np.inf, log_weights.dtype)
    extra = np.zeros((room - K, D), means.dtype)
    return Mixture(np.concatenate([log_weights, none]), np.concatenate([means, extra]), scales)


def without_room(mixture: Mixture, K: int) -> Mixture:
    """The first K components."""
    return Mixture(*(leaf if len(leaf) == 1 else leaf[:K] for leaf in mixture))


def n_shards(N: int, D: int, K: int, axis_aligned: bool) -> int:
    """Threads (or devices) worth using: one, unless an iteration gives each enough to do."""
    squares = D if axis_aligned else D * D
    work = N * K * (16 + squares)
    return int(np.clip(work // THREAD_WORK, 1, min(len(devices.places()), MOST_THREADS)))


THREAD_WORK = 4e6
"""Elementary operations an iteration must hold for each thread, or waking it does not pay."""

MOST_THREADS = 8
"""Beyond these the sweeps of one machine wait for its memory."""


def in_form(mixture: Mixture, family: Covariance) -> Mixture:
    """A mixture [K, D, D] with the scales that a fit holds: [K, D] along the axes, one pooled."""
    if family.axis_aligned:
        return mixture._replace(scales=np.diagonal(mixture.scales, axis1=1, axis2=2))
    return mixture._replace(scales=mixture.scales[:1]) if family.pooled else mixture


def in_float64(tree: Any) -> Any:
    """The same named tuple, of float64 NumPy arrays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def to_standard(mixture: Mixture, units: Standardizer) -> Mixture:
    """A mixture [K, D, D] of the user's units in the core's."""
    means = (mixture.means - units.centre) / units.scale
    return Mixture(mixture.log_weights, means, mixture.scales / units.scale[:, None])


def to_user(mixture: Mixture, units: Standardizer) -> Mixture:
    """Mixtures [..., K, D] of the core's units in the user's: float64, scales [..., K, D, D]."""
    D, scales = mixture.means.shape[-1], np.asarray(mixture.scales, np.float64)
    if scales.ndim == mixture.means.ndim:
        scales = scales[..., None] * np.eye(D)
    means = units.centre + units.scale * np.asarray(mixture.means, np.float64)
    log_weights = np.asarray(mixture.log_weights, np.float64)
    scales = np.broadcast_to(units.scale[:, None] * scales, (*means.shape, D))
    return Mixture(log_weights, means, scales)


@partial(jax.jit, static_argnames="axis_aligned", compiler_options=WIDE)
def _joint(data: Data, mixture: Mixture, axis_aligned: bool) -> jax.Array:
    return joint_of(data, mixture, exact_form(axis_aligned)).T


def evaluate(
    X: np.ndarray, mixture: Mixture, axis_aligned: bool, *read: Callable
) -> tuple[np.ndarray, ...]:
    """What each of `read` makes of the log joint of the points, by the exact form, in blocks.

    Parameters
    ----------
    X : ndarray [N, D]
        In the mixture's own units.
    mixture : Mixture
    axis_aligned : bool
    *read : functions
        From a log joint [n, K] to an array [n, ...], such as `logsumexp` or `most_probable`:
        nothing of size N x K is kept unless one of them returns it.

    Returns
    -------
    tuple of ndarray [N, ...]
    """
    K = len(mixture.means)
    mixture = jax.tree.map(lambda leaf: np.asarray(leaf, X.dtype), mixture)
    mixture = with_room(mixture, capacity(K, len(X)))
    return in_blocks(X, lambda data: np.asarray(_joint(data, mixture, axis_aligned))[:, :K], *read)


def in_blocks(
    X: np.ndarray, joint_of_rows: Callable, *read: Callable, most: int = ROWS
) -> tuple[np.ndarray, ...]:
    """What each of `read` makes of `joint_of_rows(Data)` [n, K], for at most so many rows at once.

    Parameters
    ----------
    X : ndarray [N, D]
    joint_of_rows : callable
        From `Data`, padded, to a log joint.
    *read : functions
    most : int

    Returns
    -------
    tuple of ndarray [N, ...]
    """
    units = Standardizer.identity(X.shape[1])
    blocks, least = [], min(FEWEST, padded_size(most))
    with float_scope(X.dtype):
        for start in range(0, len(X), most):
            rows = X[start : start + most]
            data = standard_data(rows, None, units, least=least)
            joint = np.asarray(joint_of_rows(data))[: len(rows)]
            joint = np.where(np.isnan(joint), -np.inf, joint)  # distances beyond the floats
            blocks.append([make(joint) for make in read])
    return tuple(np.concatenate(parts) for parts in zip(*blocks, strict=True))


@partial(jax.jit, static_argnames="family", compiler_options=WIDE)
def _student(data: Data, mixture: StudentMixture, family: Covariance) -> jax.Array:
    return student_joint(data.points.T, mixture, family)


def evaluate_student(
    X: np.ndarray, mixture: StudentMixture, family: Covariance, *read: Callable
) -> tuple[np.ndarray, ...]:
    """As `evaluate`, of a mixture of Student t distributions."""
    K, D = mixture.means.shape
    extra = capacity(K, len(X)) - K
    shared = len(mixture.scales) == 1 < K
    widths = StudentMixture(extra, extra, 0 if shared else extra, extra)
    padded = [
        np.concatenate([leaf, np.repeat(leaf[-1:], width, axis=0)])
        for leaf, width in zip(mixture, widths, strict=True)
    ]
    padded[0][K:] = -np.inf
    mixture = StudentMixture(*(leaf.astype(X.dtype) for leaf in padded))
    most = max(1024, ROWS * 16 // (len(padded[0]) * D))  # [K, D, n] is kept of each block
    return in_blocks(
        X, lambda data: np.asarray(_student(data, mixture, family))[:, :K], *read, most=most
    )


def most_probable(joint: np.ndarray) -> np.ndarray:
    """Number of the most probable component, [N]."""
    return joint.argmax(axis=1)


def proba(joint: np.ndarray) -> np.ndarray:
    """Probability of each component, [N, K]."""
    return np.exp(log_proba(joint))


def logsumexp(joint: np.ndarray) -> np.ndarray:
    """Log of the row sums of exp(joint), [N]; -inf where no component reaches."""
    top = joint.max(axis=1)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return top + np.log(np.exp(joint - top[:, None]).sum(axis=1))


def log_proba(joint: np.ndarray) -> np.ndarray:
    """Log probability of each component, [N, K]; where no component reaches, all are alike."""
    beyond = np.isneginf(joint).all(axis=1)
    if beyond.any():
        joint = np.where(beyond[:, None], 0.0, joint).astype(joint.dtype)
    return joint - logsumexp(joint)[:, None]


def doubt(joint: np.ndarray) -> np.ndarray:
    """One minus the largest probability, [N]: the sum of the others, right when it is tiny."""
    others = proba(joint)
    others[np.arange(len(others)), others.argmax(axis=1)] = 0.0
    return others.sum(axis=1)


def sureness(joint: np.ndarray) -> np.ndarray:
    """Log of the largest probability, [N]."""
    return np.log1p(-doubt(joint))


def entropy(joint: np.ndarray) -> np.ndarray:
    """Entropy of the probabilities in nats, [N]."""
    logs = log_proba(joint)
    return -(np.exp(logs) * np.where(np.isfinite(logs), logs, 0.0)).sum(axis=1)


def weighted_mean(values: np.ndarray, weight: np.ndarray | None) -> float:
    """Mean of `values` [N]; no scale of the weights overflows."""
    return float(np.average(values, weights=None if weight is None else weight / weight.max()))
