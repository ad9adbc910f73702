"""What the tests share: double precision, one comparison, mixtures to try things on."""

import gc
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from bayesgmm.compilation import THRESHOLDS, enable_compilation_cache
from bayesgmm.core import Mixture
from bayesgmm.inference.devices import FUSED

QUICK = "--xla_backend_optimization_level=0"
"""How programs are compiled here, where they compile longer than they run: the numbers are the same
but for rounding, in half the time. `XLA_FLAGS= pytest` tests them as users have them."""

if not FUSED:  # XLA ends the process over a flag it does not know
    QUICK += " --xla_cpu_use_fusion_emitters=false --xla_llvm_disable_expensive_passes=true"
    QUICK += " --xla_cpu_parallel_codegen_split_count=1"  # each worker has a core, and no more

os.environ.setdefault("XLA_FLAGS", QUICK)  # read when the first program is compiled

MAPS = Path("/proc/self/maps")
MOST_MAPS = 30_000
"""About half of what Linux lets a process have by default (vm.max_map_count)."""


gc.set_threshold(100_000, 20, 20)
"""JAX makes and keeps so many small objects that Python's collector, as it is set by default, took
a fifteenth of the time."""


def pytest_collection_modifyitems(items):
    """What needs the built documentation is first: no worker waits for the longest at the end."""
    items.sort(key=lambda item: "site" not in getattr(item, "fixturenames", ()))


@pytest.fixture(autouse=True, scope="module")
def room_for_programs():
    """Programs are let go before their pieces of memory are too many for another to compile.

    A program holds hundreds of mappings, and this process compiles more of them than any other.
    What is kept is out of the collector's sight: to look at all of it takes ten seconds, each time.
    """
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        gc.unfreeze()
        jax.clear_caches()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def shared_programs(tmp_path_factory):
    """What one worker has compiled, or let go, the others need not: they read it from a folder.

    Its value is the environment in which other processes do so, too.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    enable_compilation_cache(folder / "programs")
    settings = ("jax_compilation_cache_dir", *THRESHOLDS)
    return {name.upper(): str(getattr(jax.config, name)) for name in settings}


def slow(*values, id=None):
    """A case of a test that is one of those deselected unless asked for with ``-m slow``."""
    return pytest.param(*values, id=id, marks=pytest.mark.slow)


@pytest.fixture
def x64():
    """Double precision for the length of a test; the configuration itself stays as it is."""
    with jax.enable_x64(True):
        yield


def assert_close(found, expected, rtol=1e-10, atol=1e-12):
    """Arrays, or trees of arrays, equal leaf by leaf; NaN equals nothing."""
    found, expected = (_leaves(tree) for tree in (found, expected))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, equal_nan=False)


def _leaves(tree):
    leaves = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, list))
    return [np.asarray(leaf) for leaf in leaves]


def assert_mean(draws, expected, z=4.5):
    """Means of independent draws [S, ...] within z standard errors (two-sided p = 7e-6 each)."""
    draws = np.asarray(draws)
    error = draws.std(0) / np.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(0) - expected) <= z * error + 1e-12)


STORAGES = ("full", "tied", "axis")
"""How scales may be stored: [K, D, D], [1, D, D] or [K, D]."""


def random_mixture(seed, K, D, storage="full", spread=2.0):
    """A mixture of float64 NumPy arrays, no component tight or flat."""
    rng = np.random.default_rng(seed)
    n_scales = 1 if storage == "tied" else K
    below = np.tril(rng.normal(size=(n_scales, D, D)), -1) * 0.4
    sd = rng.uniform(0.5, 1.5, size=(n_scales, D))
    scales = sd if storage == "axis" else below + sd[:, :, None] * np.eye(D)
    log_weights = np.log(rng.dirichlet(np.full(K, 4.0)))
    return Mixture(log_weights, spread * rng.normal(size=(K, D)), scales)


def with_absent(mixture, at):
    """The same mixture with one more component, of log weight -inf, put in at place `at`."""
    log_weights, means, scales = mixture
    K, D = means.shape
    if len(scales) == K:
        scales = np.insert(scales, at, 0.1 * scales[0], axis=0)
    means = np.insert(means, at, np.full(D, 7.0), axis=0)
    return Mixture(np.insert(log_weights, at, -np.inf), means, scales)


def matrices(mixture):
    """Covariances [K, D, D], whatever the storage."""
    scales = np.asarray(mixture.scales)
    K, D = mixture.means.shape
    factors = scales[:, :, None] * np.eye(D) if scales.ndim == 2 else scales
    return np.broadcast_to(factors @ np.swapaxes(factors, 1, 2), (K, D, D))
