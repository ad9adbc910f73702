"""Two host threads: XLA runs a loop over chunks on one core, so each thread takes a shard."""

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache, reduce
from itertools import cycle
from typing import Any

import jax
import numpy as np

from bayesgmm.core.arrays import float_scope

WIDE = {"xla_cpu_prefer_vector_width": 512}
"""Compiler options of a sweep: the exponentials take a quarter less time where the processor has
vectors as wide, and as much where it has not."""

FUSED = jax.__version_info__ >= (0, 11)
"""Whether XLA has only its newer way to compile loops, and refuses the option of the older one."""

QUICK = WIDE | (
    {"xla_backend_optimization_level": 1} if FUSED else {"xla_cpu_use_fusion_emitters": False}
)
"""Compiler options of a large program on few points: compiled in two thirds of the time (in five
sixths, if newer), it runs up to a fifth slower."""

STEPS = QUICK | {"xla_backend_optimization_level": 1}
"""Of one that takes thousands of small steps, whatever is asked of other programs: at level 0 it
runs for twice as long, above 1 for no less."""

HURRIED = QUICK | {"xla_backend_optimization_level": 0}
"""Compiler options where many programs are compiled for a short run each: in a third of the time of
`QUICK` (where XLA has the older way), they run half as fast."""

FEW = 4096
"""Up to this many points a fit takes less time than its compilation."""


def for_sizes(function: Callable, *static: str, quick: dict = QUICK) -> dict[bool, Callable]:
    """`function` compiled for few points (True), in a hurry, and for many (False), to run fast.

    Which of the two a caller takes must depend on nothing but the number of points: programs
    compiled with other options round differently.
    """
    pairs = ((True, quick), (False, WIDE))
    return {
        few: jax.jit(function, static_argnames=static, compiler_options=options)
        for few, options in pairs
    }


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="bayesgmm")


def n_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def places() -> list[Any]:
    """Where work can be done side by side: a device each; None is a thread on the only one.

    The CPU, as one device, has a place for each core.
    """
    devices = jax.local_devices()
    if len(devices) > 1:
        return devices
    return [None] * (n_cores() if devices[0].platform == "cpu" else 1)


class Feed(ABC):
    """Shards that are too many to be held: each is made when a pass comes to it, swept, let go.

    A subclass says how in `sum_over`. An engine takes a feed in the place of a list of shards.

    Attributes
    ----------
    shape : tuple (D, N)
        Of all points.
    dtype : numpy dtype
    """

    shape: tuple[int, int]
    dtype: Any

    @abstractmethod
    def sum_over(self, function: Callable) -> Any:
        """Sum, over all shards, of what `function` makes of each, as a pytree of ndarray."""

    @abstractmethod
    def sample(self, n: int, random_state: np.random.RandomState) -> Any:
        """`Data` of n points or so that stand for all: NumPy arrays, weights of the same sum."""

    @property
    @abstractmethod
    def total(self) -> float:
        """Sum of the weights."""


def each(function: Callable, shards: Sequence[Any] | Feed, dtype: Any) -> list[Any]:
    """What `function` returns for each shard, each computed in a thread of its own, at its place.

    Parameters
    ----------
    function : callable
        From a shard to a pytree of arrays; compiled JAX code releases the interpreter lock.
    shards : sequence or Feed
        Of a feed the sum over all its shards is the only entry.
    dtype : numpy dtype
        Precision in force: `float_scope` belongs to a thread, so each enters it anew.

    Returns
    -------
    list of pytrees of arrays that are ready
    """
    if isinstance(shards, Feed):
        return [shards.sum_over(function)]

    where = places()

    def work(shard: Any, place: Any) -> Any:
        with float_scope(dtype), jax.default_device(place):
            found = jax.block_until_ready(function(shard))
            return found if place is None else jax.tree.map(np.asarray, found)  # to meet the others

    first, *others = zip(shards, cycle(where), strict=False)
    futures = [_pool(len(others)).submit(work, *other) for other in others]
    return [work(*first), *(future.result() for future in futures)]


def in_turn(function: Callable, items: Iterable[Any], dtype: Any) -> Iterator[Any]:
    """What `function` returns for each item, in their order, while the next ones are made.

    The items are made one after the other in the thread that asks for the results, and are worked
    on beside that, one at each place; there are never more than one more of them.

    Parameters
    ----------
    function : callable
        From an item to a pytree of arrays.
    items : iterable
    dtype : numpy dtype
        Precision in force.

    Yields
    ------
    pytree of ndarray
    """

    def work(item: Any, place: Any) -> Any:
        with float_scope(dtype), jax.default_device(place):
            return jax.tree.map(np.asarray, function(item))

    where = places()
    waiting: deque[Future] = deque()
    try:
        for item, place in zip(items, cycle(where), strict=False):
            waiting.append(_pool(len(where)).submit(work, item, place))
            del item  # it belongs to the thread that has it
            if len(waiting) > len(where):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # after an error or an interrupt, too, nobody goes on reading
        for future in waiting:
            future.cancel()
        wait(waiting)


def sum_over(function: Callable, shards: Sequence[Any] | Feed, dtype: Any) -> Any:
    """Sum of what `each` returns, as a pytree of ndarray."""
    return total(jax.tree.map(np.asarray, part) for part in each(function, shards, dtype))


def total(parts: Iterable[Any]) -> Any:
    """Sum of pytrees of ndarray, from the first to the last."""
    return reduce(lambda a, b: jax.tree.map(np.add, a, b), parts)
