"""Several devices: fits to points in memory and in pieces are those of one device."""

import json
import os
import subprocess
import sys

import numpy as np

SCRIPT = """
import json, re, warnings
from functools import partial
import jax, numpy as np
from bayesgmm import BayesianGaussianMixture, GaussianMixture
from bayesgmm.inference import devices, drive
from bayesgmm.io import rows
warnings.simplefilter("ignore")
rows.MOST_ROWS = 16_384
ALL = jax.local_devices()
rng = np.random.default_rng(0)
N, D, K = 120_000, 6, 6
X = rng.normal(size=(N, D)) + 6 * rng.integers(0, K, (N, 1))
start = {
    "weights_init": np.full(K, 1 / K),
    "means_init": np.arange(K)[:, None] * np.full(D, 6.0) + 0.5,
    "precisions_init": np.tile(np.eye(D), (K, 1, 1)),
}
used, programs, original = set(), set(), drive._expect_all
def expect(mixtures, data, form):
    found = original(mixtures, data, form)
    if not used:  # one of the devices: each has the same program
        program = drive._EXPECT[False].lower(mixtures, data, form).compile()
        programs.update(re.findall(r" ([a-z][a-z0-9-]*)\\(", program.as_text()))
    used.add(next(iter(found.counts.devices())).id)
    return found
drive._expect_all = expect
found = {}
for n in (1, 2, 4):
    devices.places = lambda: ALL[:n] if n > 1 else [None]
    used.clear(), programs.clear()
    model = GaussianMixture(K, **start).fit(X)
    found[n] = {
        "used": sorted(used),
        "programs": sorted(programs),
        "means": model.means_.tolist(),
        "covariances": model.covariances_.tolist(),
        "bound": model.lower_bound_,
    }
    if n in (1, 2):
        pieces = GaussianMixture(K, **start).fit([X[:9000], X[9000:]])
        labels = X[:, 0].clip(0, 30).round().astype(int) // 6
        options = {"init_params": labels, "moves": False, "prune": False, "max_iter": 20}
        variational = BayesianGaussianMixture(K, **options).fit(X)
        found[n] |= {
            "pieces": pieces.means_.tolist(),
            "vb": variational.means_.tolist(),
            "elbo": variational.elbo_,
        }
mesh = jax.make_mesh((jax.device_count(),), ("rows",))
rows, everywhere = (
    jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes)) for axes in (["rows"], [])
)
gather = jax.jit(lambda x: x + 1, out_shardings=everywhere).lower(jax.device_put(X, rows))
found["gathers"] = "all-gather" in gather.compile().as_text()
print(json.dumps(found))
"""

COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")


def test_several_devices_are_as_one():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("gathers"), "a program that gathers is seen to do so"
    found = {int(n): own for n, own in found.items()}
    one = found.pop(1)
    for n, own in found.items():
        program = own.pop("programs")
        assert "dot" in program and "while" in program, "what a sweep is made of"
        assert not [name for name in program if name.startswith(COLLECTIVES)], "each by itself"
        assert own.pop("used") == list(range(n)), "every device has its share"
        for name, value in own.items():
            np.testing.assert_allclose(value, one[name], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(one["pieces"], one["means"], rtol=1e-10)
