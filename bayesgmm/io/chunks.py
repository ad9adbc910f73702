"""Points in pieces, read as often as asked for: memory maps, Parquet, lists, functions.

The pieces of a source are as its maker left them. They are cut anew into blocks of even size, and
what is wrong in one of them is told with its place.
"""

import os
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.arguments import check_flag, check_number
from bayesgmm.bars import bar
from bayesgmm.io.rows import MOST_ROWS, Columns, Piece, block_rows, joined, values_of
from bayesgmm.io.sources import KINDS, is_collection, kind_of
from bayesgmm.messages import listed


class Layout(NamedTuple):
    """What is known of the points before a pass, and must be found again.

    Attributes
    ----------
    names : tuple of str or None
    n_features : int
    n_rows : int or None
        None if any number will do.
    origin : str
        Whence it is known.
    """

    names: tuple[Any, ...] | None
    n_features: int
    n_rows: int | None = None
    origin: str = "the chunks before it"


class Block(NamedTuple):
    """Consecutive rows.

    Attributes
    ----------
    rows : ndarray or Columns [n, D]
        float64 or float32. Not checked for missing values: see `check_complete`.
    weight : ndarray [n] or None
    first : int, or NaN
        Number of its first row; NaN where it is not known.
    places : tuple of (int, str, int)
        Where rows of a chunk begin in the block, the name of the chunk, and the row of it.
    names : tuple of str or None
    """

    rows: np.ndarray | Columns
    weight: np.ndarray | None
    first: int
    places: tuple
    names: tuple[Any, ...] | None

    def place(self, row: int) -> str:
        """Where a row of the block comes from, as a message says it."""
        offset, name, first = max(place for place in self.places if place[0] <= row)
        whole = "" if np.isnan(self.first) else f"row {self.first + row:,}"
        if not name:
            return whole
        return f"{name}, row {first + row - offset:,} of it" + (f" ({whole})" if whole else "")


@dataclass(frozen=True, eq=False, repr=False)
class Chunks:
    """Points of any size, read in pieces as often as a fit goes through them.

    What `fit` and its like take may be given as it is; this class is for what they cannot tell, and
    to read the pieces oneself.

    Parameters
    ----------
    source : array, path, list or function
        - an array or `np.memmap` [N, D], or the path of a ``.npy`` file
        - the path of a Parquet file, or of a folder of them; a `pyarrow.dataset.Dataset`
        - a list of arrays or DataFrames [n, D]
        - an array or a table of Dask: passes are made by its workers, partition by partition
        - a function without arguments that returns an iterator of such pieces, the same in every
          call: ``lambda: pandas.read_csv(path, chunksize=100_000)``
    columns : sequence of str or int, optional
        Which to take: names of a table, or positions in arrays. All when not given.
    dask : bool, default False
        The source is the path of Parquet files that all workers of Dask can read: row groups are
        then its partitions.

    Raises
    ------
    ValueError
        If the source is none of these. What is wrong inside is found when it is read.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import Chunks, GaussianMixture
    >>> def halves():
    ...     rng = np.random.default_rng(0)
    ...     yield rng.normal(0, 1, (600, 1))
    ...     yield rng.normal(9, 2, (400, 1))
    >>> model = GaussianMixture(2, random_state=0).fit(halves)
    >>> sorted(model.weights_.round(2).tolist())
    [0.4, 0.6]
    >>> [len(model.predict(rows)) for rows in Chunks(halves)]  # block by block
    [1000]
    >>> Chunks(halves).sample(5, random_state=0).shape
    (5, 1)
    """

    source: Any
    columns: Sequence[Hashable] | None = None
    dask: bool = False

    def __post_init__(self) -> None:
        """Look at the source, without reading it."""
        kind = kind_of(self.source)
        check_flag(self.dask, "dask")
        is_path = isinstance(self.source, str | os.PathLike)
        if self.dask and (not is_path or os.fspath(self.source).endswith(".npy")):
            raise ValueError(
                "dask=True has the workers of Dask read Parquet files, and needs the path of a "
                f"file or of a folder of them; got {self.source if is_path else kind.words}. (An "
                "array or table of Dask is read by them anyway.)"
            )
        if self.columns is not None:
            columns = [self.columns] if isinstance(self.columns, str) else list(self.columns)
            if not columns or len(set(columns)) < len(columns):
                raise ValueError(f"columns must name columns once each, got {columns}.")
            object.__setattr__(self, "columns", columns)

    def __repr__(self) -> str:
        """What kind of source it is."""
        return f"Chunks({kind_of(self.source).words})"

    @property
    def partitioned(self) -> bool:
        """Whether workers of Dask have the points, or read them."""
        return self.dask or is_collection(self.source)

    def __iter__(self) -> Iterator[Any]:
        """Blocks of rows [n, D], checked for missing values; DataFrames where columns have names.

        The index of a DataFrame is the number of the row, where that is known.
        """
        for block in self.blocks():
            check_complete(block)
            yield _named(np.asarray(block.rows), block.names, block.first)

    def sample(self, n: int, random_state: Any = None) -> Any:
        """Rows drawn at random without replacement, in one pass.

        Parameters
        ----------
        n : int
        random_state : int, numpy.random.Generator or None

        Returns
        -------
        ndarray or DataFrame [min(n, N), D]
            In the order of the source.
        """
        check_number(n, "n", integer=True, low=1)
        drawn, names = Reservoir(n, int(np.random.default_rng(random_state).integers(2**31))), None
        for block in self.blocks():
            check_complete(block)
            drawn.add(drawn.draw(block))
            names = block.names
        return _named(drawn.rows()[0], names)

    def blocks(
        self, weight: Any = None, size: int | None = None, layout: Layout | None = None
    ) -> Iterator[Block]:
        """The rows, cut into blocks of `size` rows, of which the last may be smaller.

        Parameters
        ----------
        weight : str or array [N], optional
            Name of a column that is left out of the points, or weights of all rows.
        size : int, optional
            About `BLOCK_BYTES` when not given.
        layout : Layout, optional
            What is known. Of a table without chosen columns those of its names are taken.

        Raises
        ------
        ValueError
            If a piece is no table of numbers, does not go with the others or with the layout, a
            weight is not at least 0, or there are no rows; with the place.
        """
        column, empty = weight if isinstance(weight, str) else None, True
        known = known_columns(self.columns, layout)
        pieces = kind_of(self.source).read(self.source, known, column, size or MOST_ROWS)
        for block in blocks_of(pieces, weight, size, layout, self.columns):
            empty = False
            yield block
        if empty:
            raise ValueError(f"X has no rows: {kind_of(self.source).words} is empty.")


def known_columns(columns: Sequence | None, layout: Layout | None) -> Sequence | None:
    """Columns to be taken of a table; None for all."""
    return layout.names if layout is not None and columns is None else columns


def blocks_of(
    pieces: Iterator[Piece],
    weight: Any = None,
    size: int | None = None,
    layout: Layout | None = None,
    columns: Sequence | None = None,
    begin: float = 0,
    whole: str = "X",
) -> Iterator[Block]:
    """Pieces cut into blocks: `Chunks.blocks` of a part of the points.

    Parameters
    ----------
    pieces : iterator of Piece
    weight, size, layout
        As `Chunks.blocks` has them; weights and the layout's number of rows are of these pieces.
    columns : sequence, optional
        Those that were chosen.
    begin : int or NaN
        Number of their first row; NaN where it is not known.
    whole : str
        What they are together, for messages.

    Raises
    ------
    ValueError
        As `Chunks.blocks`, but where there are no rows and none are expected.
    """
    column = weight if isinstance(weight, str) else None
    known = known_columns(columns, layout)
    n_rows, buffer, first, names = 0, [], layout, None
    for piece in pieces:
        if len(piece.values) == 0:
            continue
        wanted = known if hasattr(piece.values, "columns") else columns
        rows, own, names = values_of(piece, wanted, column)
        if weight is not None:
            own = _weights_of(weight, n_rows, len(rows), whole) if column is None else own
            _check_weight(own, piece)
        first = first or Layout(names, rows.shape[1])
        _check_alike(piece, names, rows.shape[1], first)
        size = size or block_rows(rows.shape[1])
        part = rows, own, (piece.name, piece.first)
        yield from _cut(buffer, part, size, begin + n_rows, names)
        n_rows += len(rows)
        if first.n_rows is not None and n_rows > first.n_rows:
            break
    if buffer:
        yield _block(buffer, begin + n_rows - sum(len(part[0]) for part in buffer), names)
    if layout is not None and layout.n_rows not in (None, n_rows):
        more = "more than " if n_rows > layout.n_rows else ""
        raise ValueError(
            f"{whole} had {layout.n_rows:,} rows in the first pass, and now {more}"
            f"{min(n_rows, layout.n_rows):,}. The source must give the same rows in every pass."
        )
    if weight is not None and column is None and len(weight) > n_rows:
        raise ValueError(
            f"sample_weight must have one weight a row: it has {len(weight):,}, and {whole} has "
            f"{n_rows:,} rows."
        )


def check_complete(block: Block) -> None:
    """Every value of a block is a number.

    Raises
    ------
    ValueError
        With the place of the first that is not.
    """
    rows = np.asarray(block.rows)
    bad = ~np.isfinite(rows)
    if not bad.any():
        return
    row, column = np.argwhere(bad)[0]
    name = repr(block.names[column]) if block.names else str(column)
    n_bad = int(bad.any(axis=1).sum())
    missing = np.isnan(rows[row, column])
    others = f" ({n_bad} such rows within {len(rows):,})" if n_bad > 1 else ""
    raise ValueError(
        f"Input X contains {'NaN' if missing else 'infinity'}: {block.place(row)}, column {name}"
        f"{others}. Missing values are not modelled: drop those rows or impute them first."
    )


def _named(rows: np.ndarray, names: tuple | None, first: float = 0) -> Any:
    """Rows as they were given: a DataFrame if they have names, numbered from `first` on."""
    if names is None:
        return rows
    import pandas as pd

    begin = int(np.nan_to_num(first))
    index = pd.RangeIndex(begin, begin + len(rows))
    return pd.DataFrame(rows, columns=list(names), index=index, copy=False)


class Reservoir:
    """Rows drawn at random from a stream of blocks: those with the least of random keys.

    The keys depend on the seed and the numbers of the rows alone, however these are cut.

    Parameters
    ----------
    n : int
    seed : int
    bound : float
        Keys, uniform between 0 and 1, from which no row is taken.
    """

    def __init__(self, n: int, seed: int, bound: float = np.inf):
        self.n, self.seed, self.bound = n, seed, bound
        self.kept: list[tuple] = []  # (keys, numbers, rows, weights)

    def draw(self, block: Block) -> tuple:
        """What of a block may be drawn, to be given to `add`; in any thread."""
        generator = np.random.PCG64(self.seed).advance(block.first)  # a step of it is a key
        keys = np.random.Generator(generator).random(len(block.rows))
        if block.weight is not None:
            keys = np.where(block.weight > 0, keys, np.inf)
        low = np.flatnonzero(keys < self.bound)
        weight = np.ones(len(low)) if block.weight is None else block.weight[low]
        return keys[low], block.first + low, np.ascontiguousarray(block.rows[low]), weight

    def add(self, drawn: tuple) -> None:
        """Take what `draw` has found."""
        self.kept.append(drawn)
        if sum(len(part[0]) for part in self.kept) > 2 * self.n:
            self._thin()

    def join(self, other: "Reservoir") -> None:
        """Take what another, of the same seed, has drawn from other blocks."""
        for drawn in other.kept:
            self.add(drawn)

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows [n, D] and their weights [n], in the order of the source."""
        self._thin()
        _, numbers, rows, weight = self.kept[0]
        order = np.argsort(numbers)
        return rows[order], weight[order]

    def _thin(self) -> None:
        leaves = [np.concatenate(parts) for parts in zip(*self.kept, strict=True)]
        if len(leaves[0]) > self.n:
            least = np.argpartition(leaves[0], self.n - 1)[: self.n]
            leaves = [leaf[least] for leaf in leaves]
            self.bound = leaves[0].max()
        self.kept = [tuple(leaves)]


def shown(blocks: Iterator[Block], n_rows: int | None) -> Iterator[Block]:
    """The same blocks, beside a bar of the rows read, on standard error."""
    with bar(total=n_rows, unit=" rows", unit_scale=True, leave=False) as own:
        for block in blocks:
            yield block
            own.update(len(block.rows))


# --- cutting --------------------------------------------------------------------------------------


def _cut(buffer: list, part: tuple, size: int, n_rows: int, names: tuple | None) -> Iterator[Block]:
    """Blocks of `size` rows from what is left of the last pieces and a part (rows, weight, place).

    What does not fill a block stays in the buffer.
    """
    rows, weight, (name, row) = part
    begin = 0
    while begin < len(rows):
        held = sum(len(left[0]) for left in buffer)
        end = min(begin + size - held, len(rows))
        some = rows[begin:end], None if weight is None else weight[begin:end], (name, row + begin)
        buffer.append(some)
        begin = end
        if held + len(some[0]) == size:
            yield _block(buffer, n_rows + end - size, names)
            buffer.clear()


def _block(parts: list, first: int, names: tuple | None) -> Block:
    rows, weights, places = zip(*parts, strict=True)
    offsets = np.cumsum([0, *map(len, rows)]).tolist()
    places = tuple((o, *place) for o, place in zip(offsets, places, strict=False))
    if len(parts) == 1:
        return Block(rows[0], weights[0], first, places, names)
    weight = None if weights[0] is None else np.concatenate(weights)
    return Block(joined(rows), weight, first, places, names)


def _check_alike(piece: Piece, names: tuple | None, n_features: int, layout: Layout) -> None:
    where = piece.name or "X"
    if n_features == 0:
        raise ValueError(f"{where} has no columns.")
    if n_features != layout.n_features:
        raise ValueError(
            f"{where} has {n_features} features, and {layout.origin} {layout.n_features}. All "
            "must have the same columns."
        )
    if None not in (names, layout.names) and names != layout.names:
        raise ValueError(
            f"{where} has the columns {listed(names)}, and {layout.origin} {listed(layout.names)}. "
            "All must have the same columns, in the same order."
        )


def _weights_of(weight: Any, first: int, n: int, whole: str) -> np.ndarray:
    own = np.asarray(weight[first : first + n], np.float64)
    if len(own) < n:
        raise ValueError(
            f"sample_weight must have one weight a row: it has {len(weight):,}, and {whole} "
            "has more."
        )
    return own


def _check_weight(weight: np.ndarray, piece: Piece) -> None:
    wrong = np.flatnonzero(~((weight >= 0) & (weight < np.inf)))
    if len(wrong):
        row = piece.first + wrong[0]
        raise ValueError(
            "sample_weight must be finite numbers of at least 0; "
            f"{piece.name + ', ' if piece.name else ''}row {row:,} has {weight[wrong[0]]}."
        )


def in_pieces(X: Any, columns: Sequence | None = None) -> Chunks | None:
    """`Chunks` of what is to be read in pieces; None for what is an array or a table in memory.

    A `np.memmap` and what is a Dask collection are, however small; other arrays if they stand in a
    `Chunks`.

    Raises
    ------
    ValueError
        If columns are named of something in memory, or of a `Chunks` that has its own.
    """
    if isinstance(X, Chunks):
        if columns is not None and X.columns is not None:
            raise ValueError(f"columns are named twice: {X.columns} by X, and now {columns}.")
        return X if columns is None else replace(X, columns=columns)
    streamed = isinstance(X, np.memmap) and X.ndim == 2 if hasattr(X, "ndim") else _streams(X)
    if streamed or is_collection(X):
        return Chunks(X, columns)
    if columns is not None:
        raise ValueError(
            "columns choose from what is read in pieces (a path, Chunks); of a table in memory "
            "take them yourself: X[columns]."
        )
    return None


def _streams(X: Any) -> bool:
    """Whether something that is no array is a source, or meant to be one (an iterator)."""
    return any(kind.fits(X) for kind in KINDS) or hasattr(X, "__next__")
