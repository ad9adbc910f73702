"""Chains dealt out to lanes: what they draw does not depend on how many there are, or where."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from bayesgmm import MCMCGaussianMixture
from bayesgmm.core.arrays import Data
from bayesgmm.inference import calls
from tests.conftest import slow


def points():
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(-3, 1, 30), rng.normal(3, 1, 20)])[:, None]


def labels_of(sampler="gibbs", n_chains=4, **options):
    options = {"n_samples": 20, "n_warmup": 20, "progress_bar": False, "random_state": 0, **options}
    model = MCMCGaussianMixture(2, sampler=sampler, n_chains=n_chains, **options)
    return model.fit(points()).posterior_["posterior"]["labels"].to_numpy()


def test_lanes_have_as_many_chains_each(monkeypatch):
    states, own, shared = np.arange(12.0).reshape(6, 2), np.arange(6), np.ones(3)
    for n, expected in ((1, 1), (2, 2), (4, 3), (5, 3), (8, 6)):
        monkeypatch.setattr(calls, "places", lambda n=n: [None] * n)
        lanes = calls.lanes_of(states, Data(own, shared), shared, (Data(0, None), None))
        assert len(lanes) == expected
        np.testing.assert_array_equal(calls.side_by_side([lane.states for lane in lanes]), states)
        np.testing.assert_array_equal(np.concatenate([lane.data[0] for lane in lanes]), own)
        assert all(lane.data[1] is shared and lane.prior is shared for lane in lanes)


@pytest.mark.filterwarnings("ignore:The posterior sample cannot be relied on yet")
@pytest.mark.parametrize(
    "sampler, moves",
    [
        ("gibbs", False),
        slow("gibbs", True),
        slow("nuts", False),
    ],
)
def test_draws_do_not_depend_on_the_lanes(sampler, moves, monkeypatch):
    found = []
    for n in (1, 4):
        monkeypatch.setattr(calls, "places", lambda n=n: [None] * n)
        found.append(labels_of(sampler, n_samples=5, n_warmup=5, moves=moves))
    np.testing.assert_array_equal(found[1], found[0])


def test_an_error_in_a_lane_is_not_lost(monkeypatch):
    monkeypatch.setattr(calls, "places", lambda: [None] * 2)
    lanes = calls.lanes_of(np.zeros((2, 1)), None, None)

    def through(lane, done, until):
        if done and lane.states is lanes[1].states:
            raise OSError("of the second")
        return lane, []

    rounds = calls.rounds(lanes, through, calls.Asked(9, 1, 0), np.float64)
    next(rounds)
    with pytest.raises(OSError, match="of the second"):
        list(rounds)


SCRIPT = """
    import warnings
    warnings.simplefilter("ignore")
    import jax
    from bayesgmm.inference import calls
    assert len(jax.devices()) == 2
    lanes = calls.lanes_of(*([jax.numpy.zeros((4, 1))] * 3))
    assert [lane.states.devices() for lane in lanes] == [{d} for d in jax.devices()]
    import test_calls
    print(*test_calls.labels_of(n_samples=5, n_warmup=5).ravel(), sep="")
"""


@pytest.mark.slow
def test_every_device_has_a_lane():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    here = os.path.dirname(__file__)
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": here, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = labels_of(n_samples=5, n_warmup=5)
    assert found.stdout.strip() == "".join(map(str, expected.ravel()))
