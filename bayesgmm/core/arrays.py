"""Points as the core sees them, precision, and the small linear algebra that everything uses."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array
Key = jax.Array

TILE = 4096
"""Rows standardised at a time: rows become columns within the cache."""

UNROLLED = 3
"""Up to this many features, triangular algebra is written out: it compiles and starts faster."""


class Data(NamedTuple):
    """Points, samples last, and their weights; a point of weight 0 is padding.

    Attributes
    ----------
    points : [D, N]
    weight : [N]
    """

    points: Any
    weight: Any


def float_scope(dtype: Any = "float64") -> Any:
    """Context in which JAX computes in `dtype`, leaving the user's configuration as it is.

    Parameters
    ----------
    dtype : {"float64", "float32"} or numpy dtype, default "float64"

    Returns
    -------
    context manager
        It is bound to the thread that enters it: do not yield from inside it.

    Raises
    ------
    ValueError
        If `dtype` is neither float32 nor float64.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bayesgmm.core import float_scope
    >>> with float_scope("float64"):
    ...     str(jnp.ones(2).dtype)
    'float64'
    """
    name = np.dtype(dtype).name
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {name!r}.")
    return jax.enable_x64(name == "float64")


@dataclass(frozen=True)
class Standardizer:
    """The map between the user's units and the core's: (x - centre) / scale, column by column.

    Computed in float64 whatever the dtype of the points, so that neither an offset nor a unit
    costs digits. A column that does not vary has scale 1.

    Attributes
    ----------
    centre : ndarray [D]
    scale : ndarray [D]
        All equal when fitted with ``scaling="common"``.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.core import Standardizer
    >>> units = Standardizer.fit(np.array([[1.0, 10.0], [3.0, 50.0]]))
    >>> units.centre, units.scale
    (array([ 2., 30.]), array([ 1., 20.]))
    >>> units.transform(np.array([[3.0, 10.0]]))  # samples last
    array([[ 1.],
           [-1.]])
    """

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def identity(cls, n_features: int) -> Self:
        """The map that changes nothing."""
        return cls(np.zeros(n_features), np.ones(n_features))

    @classmethod
    def fit(
        cls, points: np.ndarray, weight: np.ndarray | None = None, scaling: str = "column"
    ) -> Self:
        """Mean and standard deviation of each column, or one common scale for all of them.

        Parameters
        ----------
        points : ndarray [N, D]
        weight : ndarray [N], optional
            Weights of the rows, 1 when not given.
        scaling : {"column", "common"}
            "common" is the root of the mean variance: for models that are not closed under
            a change of the units of single columns.

        Returns
        -------
        Standardizer

        Raises
        ------
        ValueError
            If `scaling` is neither "column" nor "common".
        """
        if scaling not in ("column", "common"):
            raise ValueError(f"scaling must be 'column' or 'common', got {scaling!r}.")
        columns = [_centre_and_scale(column, weight) for column in np.asarray(points).T]
        centre, scale = np.array(columns, dtype=np.float64).reshape(-1, 2).T
        return cls.of(centre, scale, scaling)

    @classmethod
    def of(cls, centre: np.ndarray, scale: np.ndarray, scaling: str = "column") -> Self:
        """From means and standard deviations of the columns [D]."""
        if scaling == "common":
            largest = scale.max() or 1.0  # squares of extreme units would leave the floats
            scale = np.full_like(scale, largest * np.sqrt(np.mean((scale / largest) ** 2)))
        return cls(centre, np.where(scale > 0, scale, 1.0))

    @classmethod
    def robust(
        cls, points: np.ndarray, weight: np.ndarray | None = None, scaling: str = "column"
    ) -> Self:
        """Median and normal-consistent median absolute deviation, that far outliers do not move.

        Parameters
        ----------
        points, weight, scaling
            As in `fit`. A column of which half the points are equal has the standard deviation
            for its scale.

        Returns
        -------
        Standardizer
        """
        usual = cls.fit(points, weight, scaling)
        columns = [_median_and_deviation(column, weight) for column in np.asarray(points).T]
        centre, scale = np.array(columns, dtype=np.float64).reshape(-1, 2).T
        scale = np.where(scale > 0, scale, usual.scale)
        if scaling == "common":
            scale = np.full_like(scale, scale.max() * np.sqrt(np.mean((scale / scale.max()) ** 2)))
        return cls(centre, scale)

    def transform(self, points: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Standardised points, samples last, in the dtype of `out` (float64 when not given).

        Parameters
        ----------
        points : ndarray [N, D]
        out : ndarray [D, N], optional
            Filled and returned.

        Returns
        -------
        ndarray [D, N]
        """
        out = np.empty(points.shape[::-1]) if out is None else out
        centre, scale = self.centre[:, None], self.scale[:, None]
        for begin in range(0, len(points), TILE):
            some, tile = points[begin : begin + TILE].T, out[:, begin : begin + TILE]
            if out.dtype == np.float64:  # in place
                np.subtract(some, centre, out=tile)
                tile /= scale
            else:
                tile[:] = (some.astype(np.float64) - centre) / scale
        return out

    @property
    def log_volume(self) -> float:
        """Log of the volume of one unit cell: what a log density loses on the way back."""
        return float(np.log(self.scale).sum())


def _centre_and_scale(column: np.ndarray, weight: np.ndarray | None) -> tuple[float, float]:
    """Weighted mean and standard deviation, in two passes about the first value."""
    origin = np.float64(column[0])
    shifted = np.subtract(column, origin, dtype=np.float64)
    spread = max(shifted.max(), -shifted.min()) or 1.0  # exact for offsets and for any unit
    shifted /= spread
    mean = np.average(shifted, weights=weight)
    shifted -= mean
    np.square(shifted, out=shifted)
    return origin + mean * spread, spread * np.sqrt(np.average(shifted, weights=weight))


def _median_and_deviation(column: np.ndarray, weight: np.ndarray | None) -> tuple[float, float]:
    """Weighted median, and the median distance from it times 1.4826 (1 / 0.6745, normal)."""
    column = column.astype(np.float64)
    centre = _median(column, weight)
    return centre, 1.4826 * _median(np.abs(column - centre), weight)


def _median(values: np.ndarray, weight: np.ndarray | None) -> float:
    if weight is None:
        return float(np.median(values))
    order = np.argsort(values)
    below = np.cumsum(weight[order])
    middle = values[order][np.searchsorted(below, 0.5 * below[-1])]
    return float(middle)


def power_of_two(n: int, least: int = 1) -> int:
    """The smallest that is at least `n` and `least`: sizes come in few, so that programs do."""
    return max(least, 1 << (int(n) - 1).bit_length())


def safe_divide(numerator: Array, denominator: Array) -> Array:
    """Quotient, 0 where the denominator is 0: an absent component yields no NaN, nor its slope."""
    empty = denominator == 0
    return jnp.where(empty, 0.0, numerator / jnp.where(empty, 1.0, denominator))


def symmetric(matrix: Array) -> Array:
    """Mean of a matrix and its transpose."""
    return 0.5 * (matrix + jnp.swapaxes(matrix, -1, -2))


def diagonal(matrix: Array) -> Array:
    """Diagonals of [..., D, D] as [..., D]."""
    return jnp.diagonal(matrix, axis1=-2, axis2=-1)


def cholesky(matrix: Array) -> Array:
    """Lower Cholesky factors of [..., D, D]; NaN where a matrix is not positive definite."""
    D = matrix.shape[-1]
    if D > UNROLLED:
        return _cholesky_by_columns(matrix)
    columns: list[Array] = []  # entry j is column j, from its diagonal down
    for j in range(D):
        column = matrix[..., j:, j]
        for i, left in enumerate(columns):
            column = column - left[..., j - i :] * left[..., j - i, None]
        columns.append(column / jnp.sqrt(column[..., :1]))
    pad = [(0, 0)] * (matrix.ndim - 2)
    return jnp.stack([jnp.pad(c, [*pad, (j, 0)]) for j, c in enumerate(columns)], axis=-1)


def _cholesky_by_columns(matrix: Array) -> Array:
    """Lower Cholesky factors of [..., D, D], a column from those before it.

    A batch of LAPACK's calls waits inside XLA's pool of threads for its parts, and in jaxlib before
    0.11.2 as many batches at a time as the pool has threads wait for ever: no program has any. Up
    to a hundred features this costs a sixtieth of an iteration on the points of a large sample.
    """
    rows = jnp.arange(matrix.shape[-1])

    def fill(j: Array, factor: Array) -> Array:
        known = factor @ jnp.take(factor, j, axis=-2)[..., None]  # columns from j on are 0
        column = jnp.take(matrix, j, axis=-1) - known[..., 0]
        column = (
            jnp.where(rows >= j, column, 0.0) / jnp.sqrt(jnp.take(column, j, axis=-1))[..., None]
        )
        return factor.at[..., j].set(column)

    return jax.lax.fori_loop(0, len(rows), fill, jnp.zeros_like(matrix))


def inverse_lower(factor: Array) -> Array:
    """Inverses of lower triangular factors [..., D, D]."""
    D = factor.shape[-1]
    if D > UNROLLED:
        return _inverse_by_halves(factor)
    eye = jnp.eye(D, dtype=factor.dtype)
    rows: list[Array] = []  # forward substitution, row by row
    for i in range(D):
        row = jnp.broadcast_to(eye[i], factor.shape[:-1])
        for j, above in enumerate(rows):
            row = row - factor[..., i, j, None] * above
        rows.append(row / factor[..., i, i, None])
    return jnp.stack(rows, axis=-2)


def _inverse_by_halves(factor: Array) -> Array:
    """Inverses of lower triangular [..., D, D], from blocks of 1, 2, 4... rows.

    That of [[A, 0], [B, C]] is [[A^-1, 0], [-C^-1 B A^-1, C^-1]]: products of matrices only.
    LAPACK is not called, for the reason given in `_cholesky_by_columns`.
    """
    D, batch = factor.shape[-1], factor.shape[:-2]
    size = power_of_two(D)
    room = jnp.zeros((*batch, size, size), factor.dtype)
    padded = room.at[..., :D, :D].set(factor)
    ends = jnp.concatenate([diagonal(factor), jnp.ones((*batch, size - D), factor.dtype)], axis=-1)
    found, side = (1.0 / ends)[..., None, None], 1  # [..., blocks, side, side]
    while side < size:
        n = size // (2 * side)
        blocks = jnp.diagonal(padded.reshape(*batch, n, 2 * side, n, 2 * side), axis1=-4, axis2=-2)
        below = jnp.moveaxis(blocks, -1, -3)[..., side:, :side]
        upper, lower = found[..., ::2, :, :], found[..., 1::2, :, :]
        top = jnp.concatenate([upper, jnp.zeros_like(upper)], axis=-1)
        bottom = jnp.concatenate([-(lower @ below @ upper), lower], axis=-1)
        found, side = jnp.concatenate([top, bottom], axis=-2), 2 * side
    return found[..., 0, :D, :D]


def inverse_scales(scales: Array) -> Array:
    """Inverses of scales: of Cholesky factors [..., D, D], or of standard deviations [..., D]."""
    return 1.0 / scales if is_axis_aligned(scales) else inverse_lower(scales)


def is_axis_aligned(scales: Array) -> bool:
    """Whether these scales of ONE mixture are standard deviations [K, D] and not factors."""
    return scales.ndim == 2


def full_scales(scales: Array) -> Array:
    """Scales as lower triangular matrices [K, D, D], whatever the rank they are stored with."""
    return jax.vmap(jnp.diag)(scales) if is_axis_aligned(scales) else scales


def covariances(scales: Array) -> Array:
    """Covariance matrices [K, D, D] of scales of either rank."""
    factor = full_scales(scales)
    return factor @ jnp.swapaxes(factor, -1, -2)


def log_determinant(scales: Array) -> Array:
    """Log determinants of the covariances, [K] (or [1] for a shared one)."""
    return 2.0 * jnp.log(scales if is_axis_aligned(scales) else diagonal(scales)).sum(-1)


def whiten(points: Array, means: Array, scales: Array) -> Array:
    """Points as each component sees them, L_k^-1 (x_n - mu_k), by products of matrices only.

    Parameters
    ----------
    points : [D, n]
    means : [K, D]
    scales : [K, D, D] or [1, D, D] lower Cholesky factors, or [K, D] standard deviations

    Returns
    -------
    [K, D, n]
    """
    return whiten_with(points, means, inverse_scales(scales))


def whiten_with(points: Array, means: Array, inverse: Array) -> Array:
    """As `whiten`, from scales already inverted."""
    centred = points - means[:, :, None]  # before the product, or the digits are lost
    return centred * inverse[:, :, None] if is_axis_aligned(inverse) else inverse @ centred
