"""Points in the partitions of Dask: what is to be done with each goes where it lies.

A pass is one graph: a task for each partition, which cuts it into blocks and makes a small answer
of them, and tasks that add these up as a tree, in the order of the partitions. Nothing of it
depends on which worker does what, so that one that dies changes nothing. Tasks are run as Dask is
told to: by the `dask.distributed` client that is current, or else in threads.

This file is the only door to dask.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np

from bayesgmm.io.chunks import Block, Chunks, Layout, blocks_of, known_columns
from bayesgmm.io.parquet import Groups, pieces_of_groups, row_groups
from bayesgmm.io.rows import MOST_ROWS, Piece, one_line
from bayesgmm.io.sources import aligned, is_collection

FAN = 8
"""Answers that a task of the tree adds up."""


class Partition(NamedTuple):
    """One partition, where it lies.

    Attributes
    ----------
    values : Delayed or sources.Groups
        Rows that a worker holds or makes, or some row groups of a Parquet file.
    weight : Delayed or None
        Their weights, where these are a collection of their own.
    name : str
    begin : int
        Row of what bears that name where it begins.
    first : int
        Number of its first row; NaN where it is not known.
    n_rows : int
    """

    values: Any
    weight: Any
    name: str
    begin: int
    first: float = np.nan
    n_rows: int | None = None


class Reading(NamedTuple):
    """How partitions are read: what all tasks of a pass share.

    Attributes
    ----------
    columns : sequence or None
        Those that were chosen.
    weight : str or None
        The column of the weights.
    layout : Layout or None
        What is known of all of them.
    size : int or None
        Rows of a block.
    """

    columns: Sequence | None
    weight: str | None = None
    layout: Layout | None = None
    size: int | None = None


class Told(NamedTuple):
    """What is wrong in a partition: an answer, too, so that always the first one is told."""

    message: str


# --- in a worker ----------------------------------------------------------------------------------


def _answer(job: tuple, values: Any, weight: Any, place: tuple) -> Any:
    """What the function of a job makes of the blocks of a partition."""
    function, reading = job
    try:
        return function(_blocks(reading, values, weight, *place))
    except ValueError as error:
        return Told(str(error))


def _blocks(
    reading: Reading, values: Any, weight: Any, name: str, begin: int, first: int, n_rows: Any
) -> Any:
    columns, column, layout, size = reading
    if isinstance(values, Groups):
        pieces = pieces_of_groups(values, known_columns(columns, layout), column, size or MOST_ROWS)
    else:
        rows = values if hasattr(values, "columns") else np.asarray(values)
        pieces = iter([Piece(rows, name, begin)])
    layout = layout and layout._replace(n_rows=n_rows)
    weight = column if weight is None else np.asarray(weight)
    return blocks_of(pieces, weight, size, layout, columns, first, name)


def _joined(join: Callable, answers: Sequence) -> Any:
    """Answers, from the first to the last; what is wrong in one of them; None are passed over."""
    whole = None
    for answer in answers:
        if isinstance(answer, Told):
            return answer
        whole = answer if whole is None else whole if answer is None else join(whole, answer)
    return whole


def _answer_or_error(job: tuple, values: Any, weight: Any, place: tuple) -> np.ndarray:
    """As `_answer`, of a partition of an array that the user asks for: errors are raised."""
    function, reading = job
    return function(_blocks(reading, values, weight, *place))


def _first_row(blocks: Any) -> tuple | None:
    """A row [D] and the names of the columns; None of no rows."""
    for block in blocks:
        return block.rows[0], block.names
    return None


# --- where they lie -------------------------------------------------------------------------------


def partitions_of(chunks: Chunks, weight: Any = None, layout: Layout | None = None) -> list:
    """The partitions of a collection, or of Parquet files that workers are to read.

    Parameters
    ----------
    chunks : Chunks
        With `partitioned`.
    weight : str or collection of Dask, optional
        The name of a column, or weights in the partitions of the points.
    layout : Layout, optional
        What is known of the columns.

    Returns
    -------
    list of Partition
        Where the number of rows is not known, `n_rows` are None and `first` NaN.

    Raises
    ------
    ValueError
        If there are no such columns, or the weights lie otherwise.
    """
    column = weight if isinstance(weight, str) else None
    if not is_collection(chunks.source):
        return _of_files(chunks.source, weight)
    rows = aligned(chunks.source, known_columns(chunks.columns, layout), column)
    values = np.ravel(np.asarray(rows.to_delayed(), dtype=object)).tolist()
    weights = [None] * len(values)
    if weight is not None and column is None:
        weights = _weights(weight, len(values))
    sizes = getattr(rows, "chunks", [[np.nan] * len(values)])[0]
    if any(np.isnan(size) for size in sizes):
        sizes = [None] * len(values)
    return _numbered(
        [
            Partition(value, own, f"partition {i}", 0, n_rows=size)
            for i, (value, own, size) in enumerate(zip(values, weights, sizes, strict=True))
        ]
    )


def _weights(weight: Any, n: int) -> list:
    way_out = (
        "Give a Dask array [N] in the chunks of X (weight.rechunk(X.chunks[0])), or the name of a "
        "column."
    )
    if not is_collection(weight) or getattr(weight, "ndim", 0) != 1:
        raise ValueError(
            "sample_weight must lie where the points do, in partitions of Dask; got "
            f"{type(weight).__name__}. {way_out}"
        )
    found = list(weight.to_delayed())
    if len(found) != n:
        raise ValueError(
            f"sample_weight must have the {n} partitions of X, got {len(found)}. {way_out}"
        )
    return found


def _of_files(path: Any, weight: Any) -> list:
    if not (weight is None or isinstance(weight, str)):
        raise ValueError(
            "sample_weight must be the name of a column of the files that the workers read, got "
            f"{type(weight).__name__}."
        )
    return _numbered(
        [Partition(own, None, own.name, own.begin, n_rows=own.n_rows) for own in row_groups(path)]
    )


def _numbered(partitions: list) -> list:
    """With the numbers of their first rows, where those of all rows are known."""
    sizes = [partition.n_rows for partition in partitions]
    if None in sizes:
        return partitions
    firsts = accumulate(sizes, initial=0)
    return [own._replace(first=int(n)) for own, n in zip(partitions, firsts, strict=False)]


def counted(partitions: list, chunks: Chunks) -> list:
    """With numbers of rows, which are asked for where they are not known.

    Of a table one column is read for it.
    """
    if all(partition.n_rows is not None for partition in partitions):
        return partitions
    source, values = chunks.source, [partition.values for partition in partitions]
    if hasattr(source, "columns") and len(source.columns):
        values = list(source[[source.columns[0]]].to_delayed())
    from dask import delayed

    count = delayed(len)
    found = _computed(delayed(list)([count(value) for value in values]), partitions)
    sized = [own._replace(n_rows=int(n)) for own, n in zip(partitions, found, strict=True)]
    return _numbered(sized)


# --- passes ---------------------------------------------------------------------------------------


def total(partitions: list, reading: Reading, function: Callable, join: Callable) -> Any:
    """What a function makes of the blocks of each partition, joined in their order.

    Parameters
    ----------
    partitions : list of Partition
    reading : Reading
    function : callable
        From an iterator of blocks to an answer, or None for nothing. It travels: a function of a
        module, or a `functools.partial` of one and NumPy arrays.
    join : function of a module, (answer, answer) -> answer
        Of neighbours, in any bracketing.

    Raises
    ------
    ValueError
        What is wrong in the first partition where something is, with the place.
    """
    from dask import delayed

    answer, add = delayed(_answer), delayed(_joined)
    job = _shared((function, reading))
    parts = [answer(job, *_given(partition)) for partition in partitions]
    while len(parts) > 1:
        parts = [add(join, parts[i : i + FAN]) for i in range(0, len(parts), FAN)]
    found = _computed(parts[0], partitions)
    if isinstance(found, Told):
        raise ValueError(found.message)
    return found


def first_row(partitions: list, reading: Reading) -> tuple | None:
    """The first row [D] there is, and the names of the columns; None where there is no row."""
    for i, partition in enumerate(partitions):
        if partition.n_rows != 0:
            return total(partitions[i : i + 1], reading, _first_row, _neither)
    return None


def _neither(a: Any, b: Any) -> Any:
    raise AssertionError("one answer has nothing to be joined to")


# --- what a fitted mixture is asked ---------------------------------------------------------------


def sum_of(chunks: Chunks, weight: Any, layout: Layout, function: Callable) -> np.ndarray:
    """Sum of the arrays that a function, as `total` takes it, makes of the blocks."""
    partitions = counted(partitions_of(chunks, weight, layout), chunks)
    reading = _read_again(chunks, weight, layout)
    found = total(partitions, reading, partial(_summed, function), np.add)
    if found is None:
        raise ValueError(f"X has no rows: its {len(partitions)} partitions are empty.")
    return found


def _summed(function: Callable, blocks: Iterator[Block]) -> np.ndarray | None:
    found = [function(block) for block in blocks]
    return sum(found) if found else None


def lazily(chunks: Chunks, layout: Layout, function: Callable, example: np.ndarray) -> Any:
    """A Dask array [N, ...] of what a function makes of the blocks, computed when it is asked for.

    Parameters
    ----------
    chunks : Chunks
        With `partitioned`.
    layout : Layout
    function : callable
        As `total` takes it, from a block to an array [n, ...].
    example : ndarray [0, ...]
        An answer for no rows.

    Returns
    -------
    dask.array.Array
        In the chunks of the points.
    """
    import dask.array as da
    from dask import delayed

    job = _shared((partial(_laid_out, function, example), _read_again(chunks, None, layout)))
    answer, parts = delayed(_answer_or_error), []
    for partition in partitions_of(chunks, None, layout):
        shape = np.nan if partition.n_rows is None else partition.n_rows, *example.shape[1:]
        made = answer(job, *_given(partition))
        parts.append(da.from_delayed(made, shape, example.dtype))
    return da.concatenate(parts, allow_unknown_chunksizes=True)


def _laid_out(function: Callable, example: np.ndarray, blocks: Iterator[Block]) -> np.ndarray:
    found = [function(block) for block in blocks]
    return np.concatenate([example, *found]).astype(example.dtype, copy=False)


def _read_again(chunks: Chunks, weight: Any, layout: Layout) -> Reading:
    return Reading(chunks.columns, weight if isinstance(weight, str) else None, layout)


def dtype_of(chunks: Chunks, layout: Layout) -> Any:
    """float32 if all columns are known to be; float64."""
    source, single = chunks.source, False
    if is_collection(source):
        rows = aligned(source, known_columns(chunks.columns, layout), None)
        kinds = rows.dtypes if hasattr(rows, "columns") else [rows.dtype]
        single = all(kind == np.float32 for kind in kinds)
    return np.float32 if single else np.float64


# --- computing ------------------------------------------------------------------------------------


def _shared(value: Any) -> Any:
    """A value that is a task's answer of its own: it is in the graph once, for all tasks."""
    from dask import delayed

    return delayed(value, name=f"bayesgmm-{uuid4().hex}", traverse=False)


def _given(partition: Partition) -> tuple:
    return partition.values, partition.weight, tuple(partition[2:])


def _computed(answer: Any, partitions: list) -> Any:
    try:
        return answer.compute()
    except Exception as error:
        if (
            type(error).__module__.split(".")[0] != "distributed"
        ):  # no worker was lost, nor a client
            _tell_unreadable(partitions, error)
        raise


def _tell_unreadable(partitions: list, error: Exception) -> None:
    """Name the first partition that cannot be made, if that is it: by halves, a pass in all."""
    if _can_be_made(partitions):
        return
    while len(partitions) > 1:
        half = len(partitions) // 2
        sound = _can_be_made(partitions[:half])
        partitions = partitions[half:] if sound else partitions[:half]
    raise ValueError(
        f"{partitions[0].name} could not be read: {type(error).__name__}: {one_line(error)}"
    ) from error


def _can_be_made(partitions: list) -> bool:
    from dask import delayed

    touch = delayed(_touched)
    made = [touch(partition.values, partition.weight) for partition in partitions]
    try:
        delayed(_touched)(made).compute()
    except Exception:
        return False
    return True


def _touched(*values: Any) -> None:
    """Nothing, of values that are there."""
