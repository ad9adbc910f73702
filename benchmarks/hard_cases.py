"""The posterior where it is hard to sample: convergence from dispersed starts, and what it costs.

    python benchmarks/hard_cases.py [--seeds 3] [--case NAME ...] [--stuck 0]

A row for each case and seed: sweeps (`thin`, `n_warmup`, `n_samples`, of 4 chains), the largest
R-hat and the least bulk effective sample size of the label-free quantities, R-hat of K+, seconds of
`fit` with everything in it (for the first seed of a case its compilation too), and the entropy of
the partition, which is 0.447 nats for three galaxies. ``--stuck N`` counts, besides, in how
many of N seeds a fit without moves warns: on the galaxies, where its chains get stuck, and on
faithful with two components, where they do not.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bayesgmm import MCMCGaussianMixture, datasets


class Case(NamedTuple):
    """A fit: its points, its options, and the seconds that it may take."""

    points: Callable
    options: dict[str, Any]
    limit: float


def _points(name: str) -> Callable:
    return lambda: getattr(datasets, f"load_{name}")()[0].to_numpy()


GALAXIES = {
    "n_components": 3,
    "weight_concentration_prior": 1.0,
    "mean_prior": [20.0],
    "mean_precision_prior": 0.01,
    "degrees_of_freedom_prior": 4.0,
    "covariance_prior": [[2.0]],
}

STATIC = {"n_components": "mfm", "weight_prior": "static"}
DEFAULT = {"n_components": "mfm", "component_prior": "hierarchical"}
WIDE_MEANS = {"mean_precision_prior": 0.1}
"""Of overlap: as wide as the points themselves, means leave tens of clusters under each other."""

CASES = {
    "overlap-4": Case(
        _points("overlap"), {"n_components": 4, "thin": 100, "n_warmup": 10_000, "moves": False}, 20
    ),
    "overlap-static": Case(_points("overlap"), {**STATIC, **WIDE_MEANS, "thin": 40}, 60),
    "overlap-default": Case(_points("overlap"), {**DEFAULT, "thin": 40}, 60),
    "faithful-static": Case(_points("faithful"), {**STATIC, "thin": 8}, 20),
    "faithful-dynamic": Case(_points("faithful"), {"n_components": "mfm", "thin": 8}, 20),
    "faithful-dp": Case(_points("faithful"), {"n_components": "dp", "thin": 8}, 20),
    "faithful-default": Case(_points("faithful"), {**DEFAULT, "thin": 12}, 20),
    "galaxies-3": Case(_points("galaxies"), {**GALAXIES, "thin": 10}, 20),
    "galaxies-default": Case(_points("galaxies"), {**DEFAULT, "thin": 8}, 20),
}

USUAL = {"n_warmup": 2000, "component_prior": "conjugate"}
"""Options of all cases, unless they have their own."""


def fitted(case: Case, seed: int, **others: Any) -> tuple[MCMCGaussianMixture, bool, float]:
    """The fit, whether it warned, and its seconds."""
    model = MCMCGaussianMixture(
        **{**USUAL, **case.options, **others}, random_state=seed, progress_bar=False
    )
    begin = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(case.points())
    return model, bool(caught), time.perf_counter() - begin


def row(name: str, seed: int) -> str:
    """A line of the table."""
    model, warned, seconds = fitted(CASES[name], seed)
    table = model.diagnose()
    entropy = table.loc["entropy", "mean"]
    clusters = table.loc["n_clusters", "r_hat"]
    numbers = f"{table['r_hat'].max():.4f} | {clusters:.4f} | {table['ess_bulk'].min():.0f}"
    sweeps = f"{model.thin} | {model.n_warmup} | {model.n_samples}"
    limit = CASES[name].limit
    cost = f"{entropy:.4f} | {seconds:.1f} ({limit}) | {'yes' if warned else 'no'}"
    return f"| {name} | {seed} | {sweeps} | {numbers} | {cost} |"


STUCK = {
    "galaxies-3": Case(_points("galaxies"), GALAXIES, np.inf),
    "faithful-2": Case(_points("faithful"), {"n_components": 2}, np.inf),
}


COLUMNS = ("case", "seed", "thin", "n_warmup", "n_samples", "max R-hat", "R-hat K+", "min ESS")
COLUMNS += ("entropy", "s (limit)", "warned")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--case", nargs="*", choices=tuple(CASES), default=tuple(CASES))
    parser.add_argument("--stuck", type=int, default=0)
    arguments = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for name in arguments.case:
        for seed in range(arguments.seeds):
            print(row(name, seed), flush=True)
    for name, case in STUCK.items() if arguments.stuck else ():
        warned = sum(fitted(case, seed, moves=False)[1] for seed in range(arguments.stuck))
        print(f"{name} without moves: a warning in {warned} of {arguments.stuck} seeds", flush=True)


if __name__ == "__main__":
    main()
