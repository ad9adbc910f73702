"""How often the default start ends in the best maximum known, beside scikit-learn's best of ten.

    python benchmarks/em_starts.py            # the table of the README, some ten minutes
    python benchmarks/em_starts.py iris wine  # these problems alone

Fits take turns. The best likelihood known is the largest of any fit of the run, also of 30 further
starts of each kind. A fit has reached it within 0.1 nats; for scikit-learn, whose criterion ends
fits early, the maximum is also counted to which EM leads from its answer.
"""

import statistics
import sys
import time
import warnings

import numpy as np
from sklearn.datasets import make_blobs
from sklearn.mixture import GaussianMixture as ScikitLearn

from bayesgmm import GaussianMixture, datasets

SAME = 0.1  # nats
SEEDS = 5
BLOBS = 40


def table(name: str) -> np.ndarray:
    """A bundled data set."""
    return np.asarray(datasets.load(name)[0], float)


REFERENCE = {
    "faithful": 2,
    "iris": 3,
    "wine": 3,
    "thyroid": 3,
    "banknote": 2,
    "diabetes": 3,
    "penguins": 3,
    "overlap": 4,
    "galaxies": 3,
    "acidity": 2,
}


def ours(X: np.ndarray, K: int, seed: int, **options) -> float:
    """Log likelihood."""
    return len(X) * GaussianMixture(K, random_state=seed, **options).fit(X).lower_bound_


def theirs(X: np.ndarray, K: int, seed: int) -> tuple[float, ScikitLearn]:
    """Log likelihood, and the model."""
    model = ScikitLearn(K, n_init=10, random_state=seed).fit(X)
    return len(X) * model.score(X), model


def polished(X: np.ndarray, K: int, model: ScikitLearn) -> float:
    """Log likelihood of the maximum to which EM leads from there."""
    given = {
        "weights_init": model.weights_,
        "means_init": model.means_,
        "precisions_init": model.precisions_,
    }
    return len(X) * GaussianMixture(K, max_iter=10_000, **given).fit(X).lower_bound_


def compare(X: np.ndarray, K: int, seeds: range, more: int) -> np.ndarray:
    """Rows (ours, theirs, theirs polished, seconds of ours and theirs); each as gap to the best."""
    rows = []
    ours(X, K, 0)  # compiles
    for seed in seeds:
        begin = time.perf_counter()
        found = ours(X, K, seed)
        between = time.perf_counter()
        value, model = theirs(X, K, seed)
        end = time.perf_counter()
        rows.append((found, value, polished(X, K, model), between - begin, end - between))
    rows = np.array(rows)
    best = rows[:, :3].max()
    for init_params in ("kmeans", "cells", "kmeans-whitened"):
        options = {"init_params": init_params, "n_init": more}
        best = max(best, ours(X, K, 99, **options))
    rows[:, :3] = best - rows[:, :3]
    return rows


def show(name: str, K: int, rows: np.ndarray) -> None:
    """A line of the table."""
    share = (rows[:, :3] < SAME).mean(0)
    own, their = (1e3 * statistics.median(column) for column in rows[:, 3:].T)
    gaps = np.median(rows[:, :3], axis=0)
    cells = [name, K, *(f"{s:.2f} ({g:.1f})" for s, g in zip(share, gaps, strict=True))]
    print("| " + " | ".join(map(str, [*cells, f"{own:.1f}", f"{their:.1f}"])) + " |", flush=True)


def main() -> None:
    """Print a line for each data set."""
    warnings.simplefilter("ignore")
    print("| data | K | bayesgmm | scikit-learn, n_init=10 | and polished | ms | ms |")
    print("|---|---|---|---|---|---|---|")
    chosen = sys.argv[1:] or [*REFERENCE, "blobs", "tight blobs"]
    for name in chosen:
        if name in REFERENCE:
            show(name, REFERENCE[name], compare(table(name), REFERENCE[name], range(SEEDS), 30))
            continue
        spread = 1.0 if name == "blobs" else 0.5
        rows = [
            compare(
                make_blobs(1000, centers=12, cluster_std=spread, random_state=seed)[0],
                12,
                [seed],
                10,
            )
            for seed in range(BLOBS)
        ]
        show(name, 12, np.concatenate(rows))


if __name__ == "__main__":
    main()
