"""Points that are read in pieces, as a fit sees them: one pass to know them, and a feed of blocks.

The first pass finds their number, means and covariance, checks all of them, and draws the rows that
a fit begins with. In every pass after it each block is read, standardised and swept, and let go.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from bayesgmm.core.arrays import Data, Standardizer, float_scope
from bayesgmm.core.forms import exact_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import padded_size
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.points import empty_data, standard_data
from bayesgmm.inference import devices, drive
from bayesgmm.io.chunks import Block, Chunks, Layout, Reservoir, check_complete, shown
from bayesgmm.io.rows import block_rows

SAMPLED = 32_768
"""Rows, drawn at random, with which a fit begins."""


SHARED = 16_384
"""Rows that are worth a thread of their own."""


class Spread(NamedTuple):
    """Weighted mean and squares of rows; those of two blocks are `joined`.

    Attributes
    ----------
    n : int
        Rows of weight above 0.
    weight : float
    centre : ndarray [D]
        From the origin of the pass: so near that its rounding does not matter to the squares.
    size : ndarray [D]
        Units in which the squares are held, so that those of no column leave the floats.
    second : ndarray [D, D], or [D] for the columns alone
        About the centre.
    single : bool
        Whether the rows are float32.
    """

    n: int
    weight: float
    centre: np.ndarray
    size: np.ndarray
    second: np.ndarray
    single: bool


def spread_of(block: Block, origin: np.ndarray, pairs: bool) -> Spread:
    """Of one block, in two passes from an origin among the points: exact for any offset or unit."""
    (rows, weight), single = _of_weight(block), block.rows.dtype == np.float32
    D = rows.shape[1]
    if not len(rows):
        return Spread(0, 0.0, np.zeros(D), np.ones(D), np.zeros((D, D) if pairs else D), single)
    with np.errstate(over="ignore", invalid="ignore"):  # what is no number is told by its place
        gap = np.subtract(rows, origin, dtype=np.float64)
        size = np.abs(gap).max(0)
        size = np.where(size > 0, size, 1.0)
        gap /= size
        total = float(len(rows) if weight is None else weight.sum())
        mean = (gap.sum(0) if weight is None else weight @ gap) / total
        gap -= mean
        weighted = gap if weight is None else gap * weight[:, None]
        second = weighted.T @ gap if pairs else np.einsum("nd,nd->d", weighted, gap)
    return Spread(len(rows), total, mean * size, size, second, single)


def checked_spread(block: Block, origin: np.ndarray, pairs: bool) -> Spread:
    """`spread_of` a block of which every value is a number.

    Raises
    ------
    ValueError
        If one is not, with its place.
    """
    found = spread_of(block, origin, pairs)
    if not (np.isfinite(found.centre).all() and np.isfinite(found.size).all()):
        check_complete(block)
    return found


def joined(a: Spread, b: Spread) -> Spread:
    """Of the rows of both."""
    single = bool(a.single and b.single)
    if not (a.n and b.n):
        return (a if a.n else b)._replace(single=single)
    shift, total = b.centre - a.centre, a.weight + b.weight
    size = np.maximum(np.maximum(a.size, b.size), np.abs(shift))
    share, pairs = b.weight / total, a.second.ndim == 2
    outer = (lambda x: np.outer(x, x)) if pairs else np.square
    second = outer(a.size / size) * a.second + outer(b.size / size) * b.second
    second = second + a.weight * share * outer(shift / size)
    return Spread(a.n + b.n, total, a.centre + share * shift, size, second, single)


@dataclass(frozen=True, eq=False)
class Pieces:
    """Points and weights that passed the boundary in pieces: as `base.Entered` to a fit.

    Attributes
    ----------
    feed : (pieces, units) -> devices.Feed
        How they are read.
    chunks : Chunks
    weight : str, array [N] or None
        A column of the chunks, or the weights of all rows.
    layout : Layout
    spread : Spread
        Of all rows.
    drawn : Entered
        Up to `SAMPLED` rows of them.
    bar : bool
        Whether passes show how far they are.
    factor : float
        By which the weights are multiplied.
    """

    feed: Callable[["Pieces", Standardizer], devices.Feed]
    chunks: Chunks
    weight: Any
    layout: Layout
    spread: Spread
    drawn: Entered
    bar: bool = False
    factor: float = 1.0

    in_memory = False

    @property
    def shape(self) -> tuple[int, int]:
        """Of the points of weight above 0, (N, D)."""
        return int(self.spread.n), len(self.spread.centre)

    @property
    def dtype(self) -> np.dtype:
        """float32 if all pieces are."""
        return np.dtype(np.float32 if self.spread.single else np.float64)

    @property
    def total(self) -> float:
        """Number of points, a weight counted as so many."""
        return float(self.factor * self.spread.weight)

    def kept(self, relative: bool = True) -> "Pieces":
        """The same; where only the ratios of weights matter, with weights of mean 1."""
        return replace(self, factor=self.shape[0] / self.spread.weight) if relative else self

    def units(self, scaling: str, robust: bool = False) -> Standardizer:
        """The core's units."""
        _, weight, centre, size, second, _ = self.spread
        squares = np.diag(second) if second.ndim == 2 else second
        return Standardizer.of(centre, size * np.sqrt(squares / weight), scaling)

    def covariance(self, units: Standardizer) -> np.ndarray:
        """Sum over the points of the squares in these units, [D, D], over their number less 1."""
        ratio = self.spread.size / units.scale
        return np.outer(ratio, ratio) * self.spread.second * (self.factor / (self.total - 1))

    def some(self, n: int, random_state: np.random.RandomState) -> Entered:
        """So many of the rows that were drawn, of the weight of all."""
        rows = self.drawn if n >= len(self.drawn.X) else self.drawn.some(n, random_state)
        return rows._replace(weight=rows.weight * (self.total / rows.weight.sum()))

    def shards(self, units: Standardizer, n: int = 1) -> devices.Feed:
        """The points in these units, read anew in every pass."""
        return self.feed(self, units)


class PiecesFeed(devices.Feed):
    """Points that are read anew in every pass.

    Parameters
    ----------
    pieces : Pieces
    units : Standardizer
    """

    def __init__(self, pieces: Pieces, units: Standardizer):
        self.pieces, self.units = pieces, units
        self.shape, self.dtype = pieces.shape[::-1], pieces.dtype

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return self.pieces.total

    def sample(self, n: int, random_state: np.random.RandomState) -> Data:
        """`Data` of n points that stand for all."""
        some = self.pieces.some(n, random_state)
        return standard_data(*some, self.units)


class BlockFeed(PiecesFeed):
    """Blocks of points that are read here, one after the other, and swept several at a time."""

    def __init__(self, pieces: Pieces, units: Standardizer):
        super().__init__(pieces, units)
        n_rows, n_features = pieces.layout.n_rows, pieces.layout.n_features
        several = min(len(devices.places()), -(-n_rows // SHARED))
        n_blocks = -(-n_rows // (several * block_rows(n_features))) * several
        self.rows = -(-n_rows // n_blocks)
        self.size = padded_size(self.rows)
        self.spare: list[Data] = []  # memory that is new costs more than all that is done in it

    def sum_over(self, function: Callable) -> Any:
        """Sum over the blocks of what `function` makes of each, as a pytree of ndarray.

        Raises
        ------
        ValueError
            If the points are not what they were in the first pass.
        """

        def work(block: Block) -> Any:
            try:
                out = self.spare.pop()
            except IndexError:  # of this thread there is none yet
                out = empty_data(len(self.units.scale), self.size, self.dtype)
            # without a copy: the memory may be filled again when the sums are there
            found = sums_of_block(function, block, self.units, self.pieces.factor, out)
            self.spare.append(out)
            return found

        return devices.total(devices.in_turn(work, self._blocks(), self.dtype))

    def _blocks(self) -> Iterator[Block]:
        chunks, weight, layout = self.pieces.chunks, self.pieces.weight, self.pieces.layout
        blocks = chunks.blocks(weight, self.rows, layout)
        return shown(blocks, layout.n_rows) if self.pieces.bar else blocks


def sums_of_block(
    function: Callable, block: Block, units: Standardizer, factor: float, out: Data
) -> Any:
    """What `function` makes of the `Data` of a block, as a pytree of ndarray.

    To be called inside the float scope of the fit. `out` is filled, and may be filled again.

    Raises
    ------
    ValueError
        If a value is missing, with its place.
    """
    rows, weight = _of_weight(block)
    weight = None if weight is None else weight * factor
    with np.errstate(over="ignore", invalid="ignore"):
        data = standard_data(rows, weight, units, out)
    found = jax.tree.map(np.asarray, function(jax.device_put(data)))
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found)):
        check_complete(block)  # looked at only if a sum shows that it may not be
    return found


def _of_weight(block: Block) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows of weight above 0, and their weights."""
    rows, weight = block.rows, block.weight
    if weight is None or weight.all():
        return rows, weight
    return rows[weight > 0], weight[weight > 0]


def survey(
    chunks: Chunks,
    weight: Any,
    pairs: bool,
    random_state: np.random.RandomState,
    bar: Any = False,
) -> Pieces:
    """One pass over all rows.

    Raises
    ------
    ValueError
        If a value is missing, or as `Chunks.blocks` has it.
    """
    if not (weight is None or isinstance(weight, str)):
        weight = _weights(weight)
    drawn = Reservoir(SAMPLED, random_state.randint(2**31))

    def work(block: Block) -> tuple[Spread, tuple]:
        return checked_spread(block, seen[0].astype(np.float64), pairs), drawn.draw(block)

    whole, seen = None, []

    def passing() -> Iterator[Block]:
        blocks = chunks.blocks(weight)
        for block in shown(blocks, None) if bar else blocks:
            origin = seen[0] if seen else block.rows[0]
            seen[:] = [origin, block.names, block.first + len(block.rows)]
            yield block

    for own, rows in devices.in_turn(work, passing(), np.float64):
        whole = own if whole is None else joined(whole, own)
        drawn.add(rows)
    origin, names, n_rows = seen
    layout = Layout(names, len(origin), n_rows, "the first pass found")
    return known(BlockFeed, chunks, weight, layout, shifted(whole, origin), drawn, bool(bar))


def shifted(spread: Spread, origin: np.ndarray) -> Spread:
    """With the centre as the user has it."""
    return spread._replace(centre=origin + spread.centre)


def known(
    feed: Callable,
    chunks: Chunks,
    weight: Any,
    layout: Layout,
    whole: Spread,
    drawn: Reservoir,
    bar: bool = False,
) -> Pieces:
    """`Pieces` of what a first pass has found.

    Raises
    ------
    ValueError
        If that is too little for a fit.
    """
    if whole.weight == 0:
        raise ValueError("sample_weight must not be zero in every row: there is nothing to fit.")
    if whole.n < 2:
        raise ValueError(f"a fit needs a minimum of 2 rows of weight above 0, X has {whole.n}.")
    rows, weights = drawn.rows()
    dtype = np.float32 if whole.single else np.float64
    sample = Entered(rows.astype(dtype, copy=False), weights.astype(np.float64))
    return Pieces(feed, chunks, weight, layout, whole, sample, bar)


def _weights(weight: Any) -> np.ndarray:
    """Weights of all rows, whatever may be read as such; one that is no array becomes one."""
    weight = weight if hasattr(weight, "shape") else np.asarray(weight)
    if len(weight.shape) != 1:
        raise ValueError(
            "sample_weight must be one weight a row or the name of a column, got an array of "
            f"shape {weight.shape}."
        )
    return weight


def mean_log_density(
    mixture: Mixture, pieces: Pieces, units: Standardizer, axis_aligned: bool
) -> float:
    """Of a mixture in the core's units [1, K, ...], by a sweep of the exact form."""
    feed = pieces.shards(units)
    with float_scope(pieces.dtype):
        found = drive.moments(mixture, feed, exact_form(axis_aligned))
    return float(found.evidence[0]) / feed.total - units.log_volume
