"""Two host threads: XLA runs a loop over chunks on one core, so each thread takes a shard."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, reduce
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


def each(function: Callable, shards: Sequence[Any], dtype: Any) -> list[Any]:
    """What `function` returns for each shard, each computed in a thread of its own.

    Parameters
    ----------
    function : callable
        From a shard to a pytree of arrays; compiled JAX code releases the interpreter lock.
    shards : sequence
    dtype : numpy dtype
        Precision in force: `float_scope` belongs to a thread, so each enters it anew.

    Returns
    -------
    list of pytrees of arrays that are ready
    """

    def work(shard: Any) -> Any:
        with float_scope(dtype):
            return jax.block_until_ready(function(shard))

    first, *others = shards
    futures = [_pool(len(others)).submit(work, shard) for shard in others]
    return [work(first), *(future.result() for future in futures)]


def sum_over(function: Callable, shards: Sequence[Any], dtype: Any) -> Any:
    """Sum of what `each` returns, as a pytree of ndarray."""
    parts = [jax.tree.map(np.asarray, part) for part in each(function, shards, dtype)]
    return reduce(lambda a, b: jax.tree.map(np.add, a, b), parts)
