"""Parquet files batch by batch, and the row groups that they are made of.

This file is the only door to pyarrow.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.io.rows import Piece, block_rows, check_names, one_line

GROUP_BYTES = 32 << 20
"""Row groups of a file are read by one task up to about so much of it."""


BUFFER = 1 << 20
"""Bytes of each column that are read from a file at a time."""


class Groups(NamedTuple):
    """Consecutive row groups of a file.

    Attributes
    ----------
    path : str
    groups : tuple of int
    name : str
        Of the file.
    begin : int
        Row of the file where they begin.
    n_rows : int
    """

    path: str
    groups: tuple
    name: str
    begin: int
    n_rows: int


def dataset_of(path: str) -> Any:
    """The data set of a file or a folder.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not os.path.exists(path):
        raise ValueError(f"X: there is no file or folder {path!r}.")
    dataset = _pyarrow_dataset()
    try:
        return dataset.dataset(path, format="parquet")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path!r} could not be read as Parquet: {one_line(error)} Other tables are read by "
            "a function: lambda: pandas.read_csv(path, chunksize=100_000)."
        ) from error


def batches(
    source: Any, columns: Sequence | None, weight: str | None, size: int
) -> Iterator[Piece]:
    """The rows of a data set of at most `size` at a time, one file after the other.

    Raises
    ------
    ValueError
        If a file cannot be read, or has no such column.
    """
    wanted = _wanted(columns, weight, source.schema.names)
    for fragment in source.get_fragments():
        yield from _read(fragment, _name(fragment), 0, wanted, size)


def row_groups(path: Any) -> list[Groups]:
    """The row groups of all files of a path, some of a file together.

    Raises
    ------
    ValueError
        If a file cannot be read.
    """
    found = []
    for fragment in dataset_of(os.path.abspath(path)).get_fragments():
        name, begin = _name(fragment), 0
        try:
            parts = fragment.split_by_row_group()
        except (OSError, ValueError) as error:
            raise ValueError(f"{name} could not be read: {one_line(error)}") from error
        held: list[Any] = []
        for group in (info for part in parts for info in part.row_groups):
            if held and sum(own.total_byte_size for own in (*held, group)) > GROUP_BYTES:
                found.append(_groups(fragment.path, name, held, begin))
                begin, held = begin + found[-1].n_rows, []
            held.append(group)
        if held:
            found.append(_groups(fragment.path, name, held, begin))
    return found


def _groups(path: str, name: str, held: list, begin: int) -> Groups:
    n_rows = sum(group.num_rows for group in held)
    return Groups(path, tuple(group.id for group in held), name, begin, n_rows)


def pieces_of_groups(
    groups: Groups, columns: Sequence | None, weight: str | None, size: int
) -> Iterator[Piece]:
    """Their rows, of at most `size` at a time.

    Raises
    ------
    ValueError
        If they cannot be read, or have no such column.
    """
    try:
        (whole,) = dataset_of(groups.path).get_fragments()
        fragment = whole.subset(row_group_ids=list(groups.groups))
        names = fragment.physical_schema.names
    except (OSError, ValueError) as error:
        raise ValueError(f"{groups.name} could not be read: {one_line(error)}") from error
    wanted = _wanted(columns, weight, names)
    yield from _read(fragment, groups.name, groups.begin, wanted, size)


def _wanted(columns: Sequence | None, weight: str | None, names: Sequence) -> Sequence:
    """Columns that are read: all, or those chosen with that of the weights."""
    wanted = names if columns is None else columns if weight is None else [*columns, weight]
    check_names(wanted, names)
    return list(wanted)


def _read(fragment: Any, name: str, first: int, columns: Sequence, size: int) -> Iterator[Piece]:
    try:
        for batch in _batches(fragment, columns, min(size, block_rows(len(columns)))):
            yield Piece(_Table(batch), name, first)
            first += batch.num_rows
    except (OSError, ValueError) as error:  # pyarrow's own are of these kinds
        raise ValueError(
            f"{name} could not be read after its row {first:,}: {one_line(error)}"
        ) from error


def _batches(fragment: Any, columns: Sequence, size: int) -> Iterator[Any]:
    """Of record batches, decoded as they are asked for.

    What a data set does of its own runs ahead by up to a GB where the rows are not taken as fast.
    """
    if not hasattr(fragment, "row_groups"):  # of another format
        return fragment.to_batches(columns=columns, batch_size=size, batch_readahead=1)
    from pyarrow.parquet import ParquetFile

    options = {"pre_buffer": False, "buffer_size": BUFFER, "filesystem": fragment.filesystem}
    groups = [group.id for group in fragment.row_groups]
    return ParquetFile(fragment.path, **options).iter_batches(size, groups, columns)


def _name(fragment: Any) -> str:
    return os.path.basename(getattr(fragment, "path", "")) or "X"


class _Table:
    """A batch of Arrow with what is asked of a DataFrame here; columns lie where they were read."""

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

    def in_columns(self) -> list[np.ndarray]:
        """Each column as an array: where no value is missing, without a copy; NaN for those."""
        return [column.to_numpy(zero_copy_only=False) for column in self.batch.columns]


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
