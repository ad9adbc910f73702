"""Time of one gradient of the NumPyro model beside that of NumPyro's own mixture distribution.

    python benchmarks/nuts_gradient.py       # the table of the README, some three minutes

Both models have LKJ correlations, half-normal standard deviations and normal means, and the same
log density, which is checked. The naive one is `MixtureSameFamily` of `Categorical` and
`MultivariateNormal`. Both are compiled with the options of our sampler; a call does so many
gradients that each depends on the last, for one chain and for four mapped over; programs take
turns, and medians are told.
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer.util import potential_energy

from bayesgmm.core import FAMILIES, float_scope
from bayesgmm.inference.devices import WIDE
from bayesgmm.inference.model import ModelConfig, ModelPrior, lkj_prior, mixture_model

CASES = [  # N, K, D, gradients a call
    (1000, 4, 2, 40),
    (1000, 4, 10, 10),
]
CHAINS = (1, 4)
ROUNDS = 7


def simulate(N: int, K: int, D: int) -> np.ndarray:
    """Clusters that overlap a little, each feature standardised."""
    rng = np.random.default_rng(0)
    X = 3 * rng.normal(size=(K, D))[rng.integers(K, size=N)] + rng.normal(size=(N, D))
    return (X - X.mean(0)) / X.std(0)


def naive(X: jax.Array, K: int) -> None:
    """The mixture as NumPyro's documentation writes it."""
    D = X.shape[1]
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(K)))
    with numpyro.plate("clusters", K):
        means = numpyro.sample("means", dist.Normal(jnp.zeros(D), 1.0).to_event(1))
        scales = numpyro.sample("scales", dist.HalfNormal(jnp.ones(D)).to_event(1))
        roots = numpyro.sample("correlations", dist.LKJCholesky(D, 1.0))
    parts = dist.MultivariateNormal(means, scale_tril=scales[..., None] * roots)
    with numpyro.plate("points", len(X)):
        mixture = dist.MixtureSameFamily(dist.Categorical(weights), parts)
        numpyro.sample("x", mixture, obs=X)


def ours(X: jax.Array, K: int) -> None:
    """The same by the sweep."""
    D = X.shape[1]
    prior = ModelPrior(
        lkj_prior(np.zeros(D), np.ones(D), FAMILIES["full"], scales="half-normal"), 1.0
    )
    mixture_model(X, prior, ModelConfig("full", K))


def program(model: Callable, K: int, n: int) -> Callable:
    """From positions of chains [C, ...] and points: `n` gradients, one after the other."""
    both = jax.value_and_grad(lambda z, X: potential_energy(model, (X, K), {}, z))
    both = jax.vmap(both, (0, None))

    def several(z, X):
        def move(z, _):
            value, slope = both(z, X)
            return jax.tree.map(lambda a, b: a - 1e-6 * b, z, slope), value

        return jax.lax.scan(move, z, None, length=n)[1]

    return jax.jit(several, compiler_options=WIDE)


def seconds(call: Callable, *arguments: object) -> float:
    """Of a call."""
    begin = time.perf_counter()
    jax.block_until_ready(call(*arguments))
    return time.perf_counter() - begin


def measured(N: int, K: int, D: int, n: int, C: int) -> dict[str, float]:
    """Median seconds of a gradient of all chains."""
    X, rng = jnp.asarray(simulate(N, K, D)), np.random.default_rng(1)
    shapes = {
        "weights": (K - 1,),
        "means": (K, D),
        "scales": (K, D),
        "correlations": (K, D * (D - 1) // 2),
    }
    z = {name: 0.3 * rng.normal(size=(C, *shape)) for name, shape in shapes.items()}
    programs = {"naive": program(naive, K, n), "ours": program(ours, K, n)}
    values = [call(z, X) for call in programs.values()]
    np.testing.assert_allclose(*values, rtol=1e-8)
    times = {name: [] for name in programs}
    for _ in range(ROUNDS):
        for name, call in programs.items():
            times[name].append(seconds(call, z, X) / n)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    """Print the table."""
    print("| N | K | D | chains | NumPyro, us | bayesgmm, us | ratio |")
    print("|---|---|---|---|---|---|---|")
    with float_scope("float64"):
        for N, K, D, n in CASES:
            for C in CHAINS:
                found = measured(N, K, D, n, C)
                us = [1e6 * found[name] for name in ("naive", "ours")]
                row = f"{us[0]:.0f} | {us[1]:.0f} | {us[0] / us[1]:.1f}"
                print(f"| {N} | {K} | {D} | {C} | {row} |", flush=True)


if __name__ == "__main__":
    main()
