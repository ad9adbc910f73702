"""Several devices: fits to points in memory and in pieces are those of one device."""

import json
import os
import subprocess
import sys

import numpy as np

SCRIPT = """
import json, warnings
from functools import partial
import jax, numpy as np
from bayesgmm import BayesianGaussianMixture, GaussianMixture
from bayesgmm.inference import devices, drive
from bayesgmm.io import sources
warnings.simplefilter("ignore")
sources.MOST_ROWS = 16_384
ALL = jax.local_devices()
rng = np.random.default_rng(0)
N, D, K = 120_000, 6, 6
X = rng.normal(size=(N, D)) + 6 * rng.integers(0, K, (N, 1))
start = {
    "weights_init": np.full(K, 1 / K),
    "means_init": np.arange(K)[:, None] * np.full(D, 6.0) + 0.5,
    "precisions_init": np.tile(np.eye(D), (K, 1, 1)),
}
used, original = set(), drive._expect_all
def expect(mixtures, data, form):
    found = original(mixtures, data, form)
    used.add(next(iter(found.counts.devices())).id)
    return found
drive._expect_all = expect
found = {}
for n in (1, 2, 4):
    devices.places = lambda: ALL[:n] if n > 1 else [None]
    used.clear()
    model = GaussianMixture(K, **start).fit(X)
    found[n] = {
        "used": sorted(used),
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
print(json.dumps(found))
"""


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
    found = {int(n): own for n, own in json.loads(done.stdout).items()}
    one = found.pop(1)
    for n, own in found.items():
        assert own.pop("used") == list(range(n)), "every device has its share"
        for name, value in own.items():
            np.testing.assert_allclose(value, one[name], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(one["pieces"], one["means"], rtol=1e-10)
