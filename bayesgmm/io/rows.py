"""Rows as they were read, and as numbers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.messages import hint, listed

BLOCK_BYTES = 16 << 20
"""A block holds about so much: a few of them are in memory at a time."""

LEAST_ROWS, MOST_ROWS = 1024, 131_072
"""Rows of a block, whatever its number of columns."""


class Piece(NamedTuple):
    """Some rows of a source, as they were read.

    Attributes
    ----------
    values : array or DataFrame [n, D]
    name : str
        Of the chunk or file that they are from; "" if the whole is one array.
    first : int
        Row of that chunk where these begin.
    """

    values: Any
    name: str
    first: int


def block_rows(n_features: int) -> int:
    """Rows of a block: a power of two."""
    rows = max(1, BLOCK_BYTES // (8 * max(1, n_features)))
    return int(np.clip(1 << (rows.bit_length() - 1), LEAST_ROWS, MOST_ROWS))


# --- a piece as numbers ---------------------------------------------------------------------------


def values_of(
    piece: Piece, columns: Sequence | None, weight: str | None
) -> tuple[np.ndarray, np.ndarray | None, tuple | None]:
    """Rows of a piece as floats, the weights that stand in a column of it, names of its columns."""
    values, where = piece.values, piece.name or "X"
    if hasattr(values, "columns"):
        wanted = columns or [name for name in values.columns if name != weight]
        rows = _numbers(_chosen(values, wanted, where), where)
        own = None if weight is None else _numbers(_chosen(values, [weight], where), where)[:, 0]
        return rows, own, tuple(wanted)
    if weight is not None:
        raise ValueError(
            f"sample_weight={weight!r} names a column, but {where} is an array, which has no "
            "names. Give the weights of all rows as an array, or tables with that column."
        )
    if values.dtype.kind not in "buif":
        raise ValueError(f"{where} must hold numbers, got an array of {values.dtype}.")
    rows = values if columns is None else values[:, _positions(columns, values.shape[1], where)]
    if rows.dtype != np.float32:
        rows = rows.astype(np.float64, copy=False)
    return rows, None, None


def _chosen(table: Any, names: Sequence, where: str) -> Any:
    check_names(names, table.columns, where)
    return table.loc[:, list(names)]


def _numbers(table: Any, where: str) -> np.ndarray:
    for name, dtype in table.dtypes.items():
        if getattr(dtype, "kind", "O") not in "buif":
            numeric = [n for n, d in table.dtypes.items() if getattr(d, "kind", "O") in "buif"]
            raise ValueError(
                f"{where}: column {name!r} holds no numbers but {dtype}. Choose by columns=[...]; "
                f"those with numbers are {listed(numeric)}."
            )
    single = all(dtype == np.float32 for dtype in table.dtypes)
    return table.to_numpy(np.float32 if single else np.float64, na_value=np.nan)


def _positions(columns: Sequence, D: int, where: str) -> list:
    for column in columns:
        if not isinstance(column, int | np.integer) or not -D <= column < D:
            raise ValueError(
                f"columns of {where}, an array, must be positions from 0 to {D - 1}, "
                f"got {column!r}."
            )
    return list(columns)


def check_names(wanted: Sequence, names: Sequence, where: str = "X") -> None:
    """The columns asked for are there.

    Raises
    ------
    ValueError
        If one is not.
    """
    for name in wanted:
        if name not in names:
            raise ValueError(
                f"{where} has no column {name!r}. Its columns are {listed(names)}."
                f"{hint(names, name)}"
            )


def one_line(error: BaseException) -> str:
    """The message of an error as a sentence of one line."""
    text = " ".join(str(error).split())
    return text if text.endswith(".") else f"{text}."
