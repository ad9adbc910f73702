"""Effective draws a second beside NumPyro's own mixture, and a Gibbs sweep beside an EM iteration.

    python benchmarks/mcmc_speed.py          # the tables of the README, some ten minutes

Faithful with two components, four chains. NumPyro's model is `MixtureSameFamily` under NUTS, with
LKJ correlations, half-normal standard deviations and normal means, its chains vectorised, as its
documentation has it; ours is the default prior under Gibbs and, under LKJ, our own NUTS. What
counts is the least bulk effective sample size of the log likelihood, the largest weight and the sum
of squared weights. "All in" is the first fit of a process, "sampling" the fits after it (NumPyro:
its `run` less the compilation that each call repeats, timed by a run of one draw). Programs take
turns, and medians over the rounds are told. PyMC and nutpie take part where they are installed
(`pip install pymc nutpie`).

A sweep and an EM iteration are differences of a long and a short fit from the same labels.
"""

import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from arviz_stats import ess
from em_speed import simulate
from numpyro.infer import MCMC, NUTS
from nuts_gradient import naive

from bayesgmm import GaussianMixture, MCMCGaussianMixture
from bayesgmm.datasets import load_faithful

ROUNDS = 3
DRAWS = 1000
LONG = 120
"""A peer whose first fit takes more seconds is not run again: its row is of that one."""


def of_numpyro(X: np.ndarray, seed: int, draws: int = DRAWS) -> dict[str, np.ndarray]:
    """Label-free quantities [C, S]."""
    standard = (X - X.mean(0)) / X.std(0)
    with jax.enable_x64(True):
        mcmc = MCMC(
            NUTS(naive),
            num_warmup=DRAWS if draws > 1 else 1,
            num_samples=draws,
            num_chains=4,
            chain_method="vectorized",
            progress_bar=False,
        )
        mcmc.run(jax.random.key(seed), jnp.asarray(standard), 2, extra_fields=("potential_energy",))
        weights = np.asarray(mcmc.get_samples(group_by_chain=True)["weights"])
        energy = np.asarray(mcmc.get_extra_fields(group_by_chain=True)["potential_energy"])
    squares = np.square(weights).sum(-1)
    return {"lp": energy, "largest_weight": weights.max(-1), "sum_of_squared_weights": squares}


def of_ours(X: np.ndarray, seed: int, **options: object) -> dict[str, np.ndarray]:
    """Label-free quantities [C, S]."""
    model = MCMCGaussianMixture(
        2, n_samples=DRAWS, random_state=seed, progress_bar=False, **options
    ).fit(X)
    found = model.quantities()
    return {
        name: found[name] for name in ("log_likelihood", "largest_weight", "sum_of_squared_weights")
    }


def least(quantities: dict[str, np.ndarray]) -> float:
    """Least bulk effective sample size."""
    return min(float(ess(np.asarray(value, float), method="bulk")) for value in quantities.values())


def timed(run: Callable, *given: object) -> tuple[float, object]:
    """Seconds, and what came of it."""
    begin = time.perf_counter()
    found = run(*given)
    return time.perf_counter() - begin, found


def sampled_by_numpyro(X: np.ndarray, seed: int) -> tuple[float, dict[str, np.ndarray]]:
    """Seconds of sampling alone, and the quantities."""
    took, found = timed(of_numpyro, X, seed)
    return took - timed(of_numpyro, X, seed, 1)[0], found


def of_ours_by_nuts(X: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Our own NUTS under LKJ."""
    return of_ours(X, seed, sampler="nuts", component_prior="lkj")


PROGRAMS: dict[str, tuple[Callable, Callable]] = {
    "NumPyro, MixtureSameFamily, NUTS": (of_numpyro, sampled_by_numpyro),
    "bayesgmm, Gibbs": (of_ours, partial(timed, of_ours)),
    "bayesgmm, NUTS, LKJ": (of_ours_by_nuts, partial(timed, of_ours_by_nuts)),
}
"""A whole fit, and one that returns the seconds of its sampling and the quantities."""

if importlib.util.find_spec("pymc") and importlib.util.find_spec("nutpie"):
    import mcmc_peers

    for name, run in {"nutpie": mcmc_peers.of_nutpie, "PyMC": mcmc_peers.of_pymc}.items():
        PROGRAMS[name] = (partial(run, draws=DRAWS),) * 2


def effective(X: np.ndarray) -> None:
    """The first table."""
    whole = {name: timed(whole, X, 0) for name, (whole, _) in PROGRAMS.items()}
    first = {name: took for name, (took, _) in whole.items()}
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    sizes: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for name in [name for name, took in first.items() if took > LONG]:
        took, found = whole[name][1]
        seconds[name], sizes[name] = [took], [least(found)]
    for seed in range(1, ROUNDS + 1):
        for name, (_, run) in PROGRAMS.items():
            if first[name] > LONG:
                continue
            took, found = run(X, seed)
            seconds[name].append(took)
            sizes[name].append(least(found))
    print("| program | all in, s | sampling, s | least ESS | ESS / s | ESS / s all in |")
    print("|---|---|---|---|---|---|")
    for name in PROGRAMS:
        took, size = statistics.median(seconds[name]), statistics.median(sizes[name])
        print(
            f"| {name} | {first[name]:.1f} | {took:.2f} | {size:.0f} | {size / took:.0f} | "
            f"{size / first[name]:.0f} |"
        )


SIZES = [(100_000, 10, 20), (10_000, 10, 10), (100_000, 2, 10)]  # N, D, K


CHAINS = 2
"""Side by side, as EM has a thread a core: the time of a sweep is divided by their number."""


def of_sweep(X: np.ndarray, K: int, sweeps: int, prior: str) -> None:
    """A Gibbs run."""
    MCMCGaussianMixture(
        K,
        component_prior=prior,
        moves=False,
        n_chains=CHAINS,
        n_samples=4,
        thin=1,
        n_warmup=sweeps,
        random_state=0,
        progress_bar=False,
    ).fit(X)


def of_em(X: np.ndarray, K: int, iterations: int) -> None:
    """EM without acceleration that does not stop."""
    GaussianMixture(
        K, max_iter=iterations, tol=0, acceleration=None, init_params="random", random_state=0
    ).fit(X)


def sweeps() -> None:
    """The second table."""
    print("\n| N | D | K | prior | EM iteration, ms | sweep, ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    for N, D, K in SIZES:
        X, more = simulate(N, D, K)[0], 20 if N * D * K > 1e7 else 100
        runs = {
            "em": lambda n, X=X, K=K: of_em(X, K, n),
            "conjugate": lambda n, X=X, K=K: of_sweep(X, K, n, "conjugate"),
            "hierarchical": lambda n, X=X, K=K: of_sweep(X, K, n, "hierarchical"),
        }
        for run in runs.values():
            run(2)
        found: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                found[name].append((timed(run, 2 + more)[0] - timed(run, 2)[0]) / more)
        em = statistics.median(found["em"])
        for prior in ("conjugate", "hierarchical"):
            sweep = statistics.median(found[prior]) / CHAINS
            print(
                f"| {N} | {D} | {K} | {prior} | {1e3 * em:.2f} | {1e3 * sweep:.2f} | "
                f"{sweep / em:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    effective(load_faithful()[0].to_numpy())
    sweeps()
