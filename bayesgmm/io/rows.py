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


class Columns:
    """Rows [n, D] as a reader of columns has them: an array for each column of each part.

    It is an array to `np.asarray`, which copies; what can take columns need not copy.

    Parameters
    ----------
    parts : list of lists of D ndarrays
        Columns of consecutive rows.
    dtype : numpy dtype
        float32 or float64: what the rows are as numbers; columns may be of others.
    """

    ndim = 2

    def __init__(self, parts: list, dtype: Any):
        self.parts, self.dtype = parts, np.dtype(dtype)
        self.shape = sum(len(part[0]) for part in parts), len(parts[0])

    def __len__(self) -> int:
        """Number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Any:
        """A slice of consecutive rows without a copy, anything else as an array."""
        if not isinstance(rows, slice):
            return np.asarray(self)[rows]
        begin, end, _ = rows.indices(len(self))
        if (begin, end) == (0, len(self)):
            return self
        found, first = [], 0
        for part in self.parts:
            low, high = max(begin - first, 0), min(end - first, len(part[0]))
            if low < high or not found:
                found.append([column[low:high] for column in part])
            first += len(part[0])
        return Columns(found, self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The rows as an array, columns one after the other."""
        rows = np.empty(self.shape, self.dtype, order="F")
        first = 0
        for part in self.parts:
            for j, column in enumerate(part):
                rows[first : first + len(column), j] = column
            first += len(part[0])
        return rows if dtype is None else rows.astype(dtype, copy=False)

    @classmethod
    def joined(cls, several: Sequence["Columns"]) -> "Columns":
        """One after the other, without a copy."""
        dtype = np.result_type(*(rows.dtype for rows in several))
        return cls([part for rows in several for part in rows.parts], dtype)


def joined(several: Sequence) -> Any:
    """Rows of several pieces, one after the other."""
    if all(isinstance(rows, Columns) for rows in several):
        return Columns.joined(several)
    return np.concatenate([np.asarray(rows) for rows in several])


def block_rows(n_features: int) -> int:
    """Rows of a block: a power of two."""
    rows = max(1, BLOCK_BYTES // (8 * max(1, n_features)))
    return int(np.clip(1 << (rows.bit_length() - 1), LEAST_ROWS, MOST_ROWS))


# --- a piece as numbers ---------------------------------------------------------------------------


def values_of(
    piece: Piece, columns: Sequence | None, weight: str | None
) -> tuple[Any, np.ndarray | None, tuple | None]:
    """Rows of a piece as floats, the weights that stand in a column of it, names of its columns."""
    values, where = piece.values, piece.name or "X"
    if hasattr(values, "columns"):
        wanted = columns or [name for name in values.columns if name != weight]
        rows, own = _numbers(_chosen(values, wanted, where), where), None
        if weight is not None:
            own = np.asarray(_numbers(_chosen(values, [weight], where), where))[:, 0]
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


def _numbers(table: Any, where: str) -> Any:
    for name, dtype in table.dtypes.items():
        if getattr(dtype, "kind", "O") not in "buif":
            numeric = [n for n, d in table.dtypes.items() if getattr(d, "kind", "O") in "buif"]
            raise ValueError(
                f"{where}: column {name!r} holds no numbers but {dtype}. Choose by columns=[...]; "
                f"those with numbers are {listed(numeric)}."
            )
    single = all(dtype == np.float32 for _, dtype in table.dtypes.items())
    dtype = np.float32 if single else np.float64
    if hasattr(table, "in_columns"):
        return Columns([table.in_columns()], dtype)
    return table.to_numpy(dtype, na_value=np.nan)


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
