"""The kinds of sources that points in pieces come from."""

import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.io.parquet import batches, dataset_of
from bayesgmm.io.rows import Piece, block_rows, check_names, one_line


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
            f"chunk {i} could not be read: {type(error).__name__}: {one_line(error)}"
        ) from error


def is_collection(source: Any) -> bool:
    """Whether it is an array or a table of Dask; told without importing that."""
    module = type(source).__module__.split(".")[0]
    return module in ("dask", "dask_expr") and hasattr(source, "partitions")


def aligned(source: Any, columns: Sequence | None, weight: str | None) -> Any:
    """A collection whose partitions have whole rows; of a table the columns asked for.

    Raises
    ------
    ValueError
        If there are no such columns, or rows of one.
    """
    if source.ndim != 2:
        raise ValueError(
            f"X must be [rows, features], got a Dask {type(source).__name__} of "
            f"{source.ndim} dimension{'s' * (source.ndim != 1)}."
        )
    if not hasattr(source, "columns"):
        return source if source.numblocks[1] == 1 else source.rechunk({1: -1})
    if columns is None:
        return source
    wanted = list(columns) if weight is None else [*columns, weight]
    check_names(wanted, list(source.columns))
    return source[wanted]


def _of_collection(
    source: Any, columns: Sequence | None, weight: str | None, size: int
) -> Iterator[Piece]:
    """Its partitions, brought here one after the other."""
    source = aligned(source, columns, weight)
    for i in range(source.npartitions):
        try:
            values = source.partitions[i].compute()
        except Exception as error:
            raise ValueError(
                f"partition {i} could not be read: {type(error).__name__}: {one_line(error)}"
            ) from error
        yield Piece(values, f"partition {i}", 0)


def _of_path(
    source: Any, columns: Sequence | None, weight: str | None, size: int
) -> Iterator[Piece]:
    path = os.fspath(source)
    if not path.endswith(".npy"):
        yield from batches(dataset_of(path), columns, weight, size)
        return
    if not os.path.exists(path):
        raise ValueError(f"X: there is no file or folder {path!r}.")
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise ValueError(f"{path!r} could not be read: {one_line(error)}") from error
    yield from _of_array(array, columns, weight, size)


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
    Kind(is_collection, _of_collection, "a Dask collection"),
    Kind(_is_dataset, batches, "a Parquet data set"),
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
