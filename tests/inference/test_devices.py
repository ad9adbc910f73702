"""Sums over shards in threads: the same numbers, the right precision, errors that come home."""

import os
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayesgmm.core import Data
from bayesgmm.inference.devices import n_cores, sum_over
from tests.conftest import assert_close


@jax.jit
def totals(data):
    return {"weight": data.weight.sum(), "moment": (data.points * data.weight).sum(1)}


def shards_of(data, n):
    points, weight = np.array_split(data.points, n, 1), np.array_split(data.weight, n)
    return [Data(*pair) for pair in zip(points, weight, strict=True)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_sums_over_shards(n, dtype):
    rng = np.random.default_rng(0)
    data = Data(rng.normal(size=(2, 12)).astype(dtype), rng.uniform(size=12).astype(dtype))
    before = jax.config.jax_enable_x64
    found = sum_over(totals, shards_of(data, n), np.dtype(dtype))
    assert jax.config.jax_enable_x64 == before
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    moment = (data.points.astype(float) * data.weight).sum(1)
    expected = {"moment": moment, "weight": data.weight.sum(dtype=float)}
    assert_close(found, expected, rtol=tolerance, atol=tolerance)
    for leaf in found.values():
        assert isinstance(leaf, np.ndarray | np.generic) and leaf.dtype == dtype


def test_each_shard_has_a_thread_and_each_thread_the_precision():
    meet = threading.Barrier(3, timeout=60)  # passed only by three threads at once

    def work(shard):
        meet.wait()
        return np.array([jnp.ones(1).dtype == np.float64, 1]), np.array([threading.get_ident()])

    for _ in range(2):  # a thread that is used again as well
        flags, _ = sum_over(work, [1, 2, 3], np.float64)
        assert flags.tolist() == [3, 3]
    with jax.enable_x64(True):
        flags, _ = sum_over(work, [1, 2, 3], np.float32)
    assert flags.tolist() == [0, 3]


@pytest.mark.parametrize("bad", [0, 1])
def test_an_error_in_a_thread_is_raised(bad):
    def work(shard):
        if shard == bad:
            raise FloatingPointError(f"shard {shard}")
        return np.ones(1)

    with pytest.raises(FloatingPointError, match=f"shard {bad}"):
        sum_over(work, [0, 1], np.float64)
    assert sum_over(work, [2, 3], np.float64) == 2  # the pool goes on


def test_number_of_cores():
    assert 1 <= n_cores() <= os.cpu_count()
