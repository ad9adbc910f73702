"""Points in the partitions of Dask, as a fit sees them: passes that the workers make.

As with points that are read in pieces here, the first pass finds their number, means and
covariance, checks them and draws the rows that a fit begins with; in every pass after it the
mixture goes to the workers, and the moments come back.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from bayesgmm.core.arrays import Standardizer, float_scope
from bayesgmm.core.sweep import padded_size
from bayesgmm.estimators import pieces
from bayesgmm.estimators.pieces import Pieces, PiecesFeed, Spread
from bayesgmm.estimators.points import empty_data
from bayesgmm.io import workers
from bayesgmm.io.chunks import Block, Chunks, Layout, Reservoir
from bayesgmm.io.rows import block_rows
from bayesgmm.io.workers import Partition, Reading


def survey(chunks: Chunks, weight: Any, pairs: bool, random_state: np.random.RandomState) -> Pieces:
    """One pass over all rows, after one that counts them where their number is not known.

    Raises
    ------
    ValueError
        If a value is missing, the partitions do not go together, or there are no rows.
    """
    partitions = workers.counted(workers.partitions_of(chunks, weight), chunks)
    n_rows = sum(partition.n_rows for partition in partitions)
    column = weight if isinstance(weight, str) else None
    reading = Reading(chunks.columns, column)
    first = workers.first_row(partitions, reading)
    if first is None:
        raise ValueError(f"X has no rows: its {len(partitions)} partitions are empty.")
    origin, names = first
    layout = Layout(names, len(origin), None, "the first partition with rows")
    reading = reading._replace(layout=layout)
    seed = random_state.randint(2**31)
    for bound in (_enough(n_rows), np.inf):  # where many weights are 0 the first may be too low
        work = partial(_surveyed, origin.astype(np.float64), pairs, pieces.SAMPLED, seed, bound)
        whole, drawn = workers.total(partitions, reading, work, _joined_surveys)
        if len(drawn.rows()[0]) >= min(pieces.SAMPLED, whole.n):
            break
    layout = layout._replace(n_rows=n_rows, origin="the first pass found")
    feed = partial(WorkersFeed, partitions)
    return pieces.known(feed, chunks, weight, layout, pieces.shifted(whole, origin), drawn)


def _enough(n_rows: int) -> float:
    """A bound of keys below which those of the sample lie, unless weights are 0."""
    n = pieces.SAMPLED
    return np.inf if n_rows <= n else min(1.0, (n + 10 * np.sqrt(n)) / n_rows)


def _surveyed(
    origin: np.ndarray, pairs: bool, n: int, seed: int, bound: float, blocks: Iterator[Block]
) -> tuple[Spread, Reservoir] | None:
    """What is to be known of a partition, and the rows drawn of it."""
    whole, drawn = None, Reservoir(n, seed, bound)
    for block in blocks:
        own = pieces.checked_spread(block, origin, pairs)
        whole = own if whole is None else pieces.joined(whole, own)
        drawn.add(drawn.draw(block))
    return None if whole is None else (whole, drawn)


def _joined_surveys(a: tuple, b: tuple) -> tuple:
    drawn = Reservoir(a[1].n, a[1].seed)
    drawn.join(a[1])
    drawn.join(b[1])
    return pieces.joined(a[0], b[0]), drawn


class WorkersFeed(PiecesFeed):
    """Partitions, standardised and swept in every pass by the worker that has or reads them.

    Parameters
    ----------
    partitions : list of Partition
    pieces : Pieces
    units : Standardizer
    """

    def __init__(self, partitions: list[Partition], pieces: Pieces, units: Standardizer):
        super().__init__(pieces, units)
        self.partitions, layout = partitions, pieces.layout
        self.size = even_size([own.n_rows for own in partitions], layout.n_features)
        column = pieces.weight if isinstance(pieces.weight, str) else None
        self.reading = Reading(pieces.chunks.columns, column, layout, self.size)

    def sum_over(self, function: Callable) -> Any:
        """Sum over the partitions of what `function` makes of their blocks.

        Raises
        ------
        ValueError
            If the points are not what they were in the first pass.
        """
        options = self.units, self.pieces.factor, self.size, self.dtype
        work = partial(_swept, function, *options)
        return workers.total(self.partitions, self.reading, work, _added)


def _swept(
    function: Callable,
    units: Standardizer,
    factor: float,
    size: int,
    dtype: Any,
    blocks: Iterator[Block],
) -> Any:
    """Sum over the blocks of a partition, one after the other; None of none."""
    out, found = empty_data(len(units.scale), size, dtype), None
    with float_scope(dtype):
        for block in blocks:
            own = pieces.sums_of_block(function, block, units, factor, out)
            found = own if found is None else _added(found, own)
    return found


def _added(a: Any, b: Any) -> Any:
    return jax.tree.map(np.add, a, b)


def even_size(counts: list[int], n_features: int) -> int:
    """Rows of a block, so that one program serves all partitions and little of it is padding."""
    largest = max(counts)
    fewest = -(-largest // block_rows(n_features))  # blocks of the largest partition
    sizes = [padded_size(-(-largest // n)) for n in range(fewest, fewest + 4)]
    return min(sizes, key=lambda size: sum(-(-n // size) * size for n in counts))
