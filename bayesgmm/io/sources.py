"""The kinds of sources that points in pieces come from, and their pieces as numbers.

This file is the only door to pyarrow.
"""

import mmap
import os
from collections.abc import Callable, Iterator, Sequence
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
    for name in names:
        if name not in table.columns:
            raise ValueError(
                f"{where} has no column {name!r}. Its columns are {listed(table.columns)}."
                f"{hint(table.columns, name)}"
            )
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


# --- the kinds of sources -------------------------------------------------------------------------


def _of_array(
    source: Any, columns: Sequence | None, weight: str | None, size: int
) -> Iterator[Piece]:
    if source.ndim != 2:
        raise ValueError(f"X must be [rows, features], got an array of shape {source.shape}.")
    size = min(size, block_rows(source.shape[1]))
    for begin in range(0, len(source), size):
        yield Piece(source[begin : begin + size], "", begin)
        if begin >= LAG * size:
            _let_go(source[begin - LAG * size : begin - (LAG - 1) * size])
    _let_go(source)


LAG = 4
"""Pieces of a memory map after which one is let go: it has been read by then, as a rule."""


def _let_go(rows: Any) -> None:
    """Take pages of a memory map out of this process; where they are needed again they come back.

    Else a map that was read once would count as memory of the process until that runs short.
    """
    pages = getattr(rows, "_mmap", None)
    if not hasattr(pages, "madvise") or rows.mode == "c" or not rows.flags.c_contiguous:
        return  # what was written to a private copy ("c") would be lost
    begin = rows.ctypes.data - np.frombuffer(pages, np.uint8).ctypes.data
    first = begin // mmap.PAGESIZE * mmap.PAGESIZE
    pages.madvise(mmap.MADV_DONTNEED, first, begin + rows.nbytes - first)


def _of_pieces(
    source: Any, columns: Sequence | None, weight: str | None, size: int
) -> Iterator[Piece]:
    for i, values in enumerate(source):
        if np.ndim(values) != 2:
            raise ValueError(
                f"chunk {i} must be an array or DataFrame of [rows, features], got "
                f"{_described(values)}."
            )
        yield Piece(values if hasattr(values, "columns") else np.asarray(values), f"chunk {i}", 0)


def _of_function(
    source: Any, columns: Sequence | None, weight: str | None, size: int
) -> Iterator[Piece]:
    for piece in _of_pieces(_guarded(source), columns, weight, size):
        if isinstance(piece.values, np.ndarray):  # its maker may fill the same array again
            piece = piece._replace(values=piece.values.copy())
        yield piece


def _guarded(function: Callable) -> Iterator[Any]:
    """The pieces of a function, its errors with their place."""
    i = 0
    try:
        for values in iter(function()):
            yield values
            i += 1
    except Exception as error:
        raise ValueError(
            f"chunk {i} could not be read: {type(error).__name__}: {_one_line(error)}"
        ) from error


def _of_path(
    source: Any, columns: Sequence | None, weight: str | None, size: int
) -> Iterator[Piece]:
    path = os.fspath(source)
    if not os.path.exists(path):
        raise ValueError(f"X: there is no file or folder {path!r}.")
    if path.endswith(".npy"):
        try:
            array = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise ValueError(f"{path!r} could not be read: {_one_line(error)}") from error
        yield from _of_array(array, columns, weight, size)
        return
    dataset = _pyarrow_dataset()
    try:
        found = dataset.dataset(path, format="parquet")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path!r} could not be read as Parquet: {_one_line(error)} Other tables are read by "
            "a function: lambda: pandas.read_csv(path, chunksize=100_000)."
        ) from error
    yield from _of_dataset(found, columns, weight, size)


def _of_dataset(
    source: Any, columns: Sequence | None, weight: str | None, size: int
) -> Iterator[Piece]:
    """Batches of the files of a Parquet data set, one file after the other."""
    names, wanted = source.schema.names, columns
    if wanted is not None:
        wanted = list(wanted) if weight is None else [*wanted, weight]
        for name in wanted:
            if name not in names:
                raise ValueError(
                    f"X has no column {name!r}. Its columns are {listed(names)}.{hint(names, name)}"
                )
    size = min(size, block_rows(len(wanted or names)))
    options = {"batch_size": size, "batch_readahead": 1, "fragment_readahead": 0}
    for fragment in source.get_fragments():
        name, first = os.path.basename(getattr(fragment, "path", "")) or "X", 0
        try:
            for batch in fragment.to_batches(columns=wanted, **options):
                yield Piece(_Table(batch), name, first)
                first += batch.num_rows
        except (OSError, ValueError) as error:  # pyarrow's own are of these kinds
            raise ValueError(
                f"{name} could not be read after its row {first:,}: {_one_line(error)}"
            ) from error


class _Table:
    """A batch of Arrow with what is asked of a DataFrame here; columns lie one after the other."""

    def __init__(self, batch: Any):
        self.batch = batch

    def __len__(self) -> int:
        return self.batch.num_rows

    @property
    def columns(self) -> list[str]:
        return self.batch.schema.names

    @property
    def dtypes(self) -> dict:
        return {field.name: _dtype(field.type) for field in self.batch.schema}

    @property
    def loc(self) -> Any:
        return self

    def __getitem__(self, key: tuple) -> "_Table":
        return _Table(self.batch.select(key[1]))

    def to_numpy(self, dtype: Any, na_value: float) -> np.ndarray:
        rows = np.empty((len(self), self.batch.num_columns), dtype, order="F")
        for j, column in enumerate(self.batch.columns):
            rows[:, j] = column.to_numpy(zero_copy_only=False)  # nulls are NaN
        return rows


def _dtype(kind: Any) -> Any:
    try:
        return np.dtype(kind.to_pandas_dtype())
    except (NotImplementedError, TypeError):
        return kind


def _pyarrow_dataset() -> Any:
    try:
        import pyarrow.dataset
    except ImportError as error:
        raise ImportError(
            "reading Parquet needs pyarrow, which is not installed: pip install 'bayesgmm[parquet]'"
        ) from error
    return pyarrow.dataset


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if text.endswith(".") else f"{text}."


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__}" + (f" of shape {shape}" if shape is not None else "")


class Kind(NamedTuple):
    """A kind of source.

    Attributes
    ----------
    fits : function
        Whether an object is one.
    read : function of (source, columns, weight, rows)
        Its pieces.
    words : str
    """

    fits: Callable[[Any], bool]
    read: Callable[..., Iterator[Piece]]
    words: str


def _is_dataset(source: Any) -> bool:
    return type(source).__module__.startswith("pyarrow") and hasattr(source, "get_fragments")


def _is_list(source: Any) -> bool:
    return isinstance(source, list | tuple) and any(getattr(s, "ndim", 0) == 2 for s in source[:1])


KINDS = (
    Kind(lambda source: isinstance(source, str | os.PathLike), _of_path, "a path"),
    Kind(_is_dataset, _of_dataset, "a Parquet data set"),
    Kind(_is_list, _of_pieces, "a list of arrays"),
    Kind(lambda source: getattr(source, "ndim", 0) == 2, _of_array, "an array"),
    Kind(callable, _of_function, "a function that makes pieces"),
)
"""The first that fits is the kind of a source."""


def kind_of(source: Any) -> Kind:
    """The kind of a source.

    Raises
    ------
    ValueError
        If it is of no kind.
    """
    for kind in KINDS:
        if kind.fits(source):
            return kind
    if hasattr(source, "__next__"):
        raise ValueError(
            f"X is {_described(source)}, which can be gone through once only. Give a function "
            "without arguments that returns a new one: a fit reads the points many times."
        )
    words = ", ".join(kind.words for kind in KINDS)
    raise ValueError(f"X must be one of {words}; got {_described(source)}.")
