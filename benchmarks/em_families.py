"""Time of an EM iteration of each of the fourteen covariance families beside "full".

    python benchmarks/em_families.py            # the table of the README, some two minutes
    python benchmarks/em_families.py VEV VVE    # these families alone

Every family starts from the same labels. An iteration is the difference between a long and a short
fit, so that starting, checking and compiling do not count. Families take turns within a round, each
beside its own "full", and medians over the rounds are reported.
"""

import statistics
import sys
import time
import warnings

import numpy as np
from em_speed import simulate

from bayesgmm import GaussianMixture
from bayesgmm.core.covariance import MCLUST

CASES = [  # N, D, K, iterations in the short and in the long fit
    (100_000, 10, 10, 1, 11),
    (10_000, 5, 5, 1, 61),
]
INNER = ("VEI", "VEE", "VEV", "EVE", "VVE")
ROUNDS = 5


def seconds(X: np.ndarray, labels: np.ndarray, K: int, family: str, n_iter: int) -> float:
    """Of a fit of so many iterations."""
    options = {"tol": 0.0, "max_iter": n_iter, "acceleration": None, "init_params": labels}
    begin = time.perf_counter()
    GaussianMixture(K, covariance_type=family, **options).fit(X)
    return time.perf_counter() - begin


def ratios(case: tuple, families: list[str]) -> dict[str, tuple[float, float]]:
    """Median milliseconds an iteration, and median of the ratios to "full", of every family."""
    N, D, K, short, long = case
    X, labels = simulate(N, D, K)
    spent: dict[str, list] = {family: [] for family in families}

    def per_iteration(family: str) -> float:
        gap = seconds(X, labels, K, family, long) - seconds(X, labels, K, family, short)
        return 1e3 * gap / (long - short)

    for family in ("full", *families):  # compile
        per_iteration(family)
    for _ in range(ROUNDS):
        for family in families:
            own, full = per_iteration(family), per_iteration("full")
            spent[family].append((own, own / full))
    return {
        family: tuple(statistics.median(column) for column in zip(*pairs, strict=True))
        for family, pairs in spent.items()
    }


def main() -> None:
    """Print a table row for every family asked for."""
    warnings.simplefilter("ignore")
    families = sys.argv[1:] or MCLUST
    tables = [ratios(case, families) for case in CASES]
    heads = [f"{N}, {D}, {K}: ms | ratio to full" for N, D, K, *_ in CASES]
    print(f"| family | {' | '.join(heads)} | target |")
    print("|---" * (2 + 2 * len(CASES)) + "|")
    for family in families:
        cells = [f"{ms:.2f} | {ratio:.2f}" for ms, ratio in (table[family] for table in tables)]
        print(f"| {family} | {' | '.join(cells)} | {2.0 if family in INNER else 1.3} |")


if __name__ == "__main__":
    main()
