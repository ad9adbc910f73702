"""Number of components that variational Bayes ends with, from 1, 10 and 50 to begin with.

    python benchmarks/vb_moves.py                  # the table of the README, a few minutes
    python benchmarks/vb_moves.py iris overlap     # these data sets alone

Five seeds from each number. The bound is that of the evidence, in nats; the moves have done their
work where a run ends within 0.01 nats per thousand points (at least 0.1) of the best of the
fifteen. Adjusted Rand indices are medians over the seeds. scikit-learn's class, with its defaults,
keeps the components that it is given: in use are those that are the most probable one of a point.
"""

import statistics
import sys
import time
import warnings
from typing import NamedTuple

import numpy as np
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import BayesianGaussianMixture as ScikitLearn

from bayesgmm import BayesianGaussianMixture, datasets

STARTS = (1, 10, 50)
SEEDS = range(5)
BLOBS = {3: 600, 8: 1600, 20: 4000}
UNIT = "-unit"
OF_THEIR_SIZE = {"covariance_prior": np.eye(2), "mean_precision_prior": 0.01}
"""The prior of data whose names end so: of the blobs' own size, and far apart. Else the default."""

REAL = ("faithful", "iris", "banknote", "thyroid")
NAMES = [*(f"blobs{K}" for K in BLOBS), "blobs20-unit", *REAL, "overlap"]


class Fit(NamedTuple):
    """One fit: components, bound, adjusted Rand index (None without labels), seconds."""

    K: int
    bound: float
    rand: float | None
    seconds: float


def points(name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Points [N, D] and the classes they come from, if these are known."""
    if name.startswith("blobs"):
        K = int(name.removeprefix("blobs").removesuffix(UNIT))
        return make_blobs(BLOBS[K], centers=K, center_box=(-20, 20), random_state=K)
    X, labels = datasets.load(name)
    return X.to_numpy(float), None if labels is None else labels.astype(str).to_numpy()


def fit(model: object, X: np.ndarray, classes: np.ndarray | None) -> Fit:
    """Fit a model of either package."""
    begin = time.perf_counter()
    labels = model.fit(X).predict(X)
    seconds = time.perf_counter() - begin
    rand = None if classes is None else adjusted_rand_score(classes, labels)
    ours = isinstance(model, BayesianGaussianMixture)
    K = model.n_components_ if ours else len(np.unique(labels))
    return Fit(K, model.elbo_ if ours else model.lower_bound_, rand, seconds)


def moved(X: np.ndarray, K: int, seed: int, **options: object) -> BayesianGaussianMixture:
    """Ours with no limit to the number of components, from k-means with K of them."""
    from sklearn.cluster import KMeans

    scaled = (X - X.mean(0)) / X.std(0)
    start = KMeans(K, n_init=1, random_state=seed).fit(scaled).labels_.astype(int)
    options = options | {"max_iter": 1000, "random_state": seed}
    return BayesianGaussianMixture(init_params=start, **options)


def rows(name: str) -> list[str]:
    """Lines of the table, one for each number of components to begin with."""
    X, classes = points(name)
    given = OF_THEIR_SIZE if name.endswith(UNIT) else {}
    ours = {}
    for K in STARTS:
        fit(moved(X, K, 0, **given), X, classes)  # compiles
        ours[K] = [fit(moved(X, K, seed, **given), X, classes) for seed in SEEDS]
    best = max(one.bound for fits in ours.values() for one in fits)
    margin = max(0.1, 0.01 * len(X) / 1000)
    lines = []
    for K, fits in ours.items():
        common = given | {"max_iter": 1000}
        peers = [ScikitLearn(n_components=K, random_state=seed, **common) for seed in SEEDS]
        theirs = [fit(peer, X, classes) for peer in peers]
        plain = BayesianGaussianMixture(K, moves=False, random_state=0, **common)
        alone = [fit(plain, X, classes) for _ in range(4)][1:]  # the first one compiles
        arrived = sum(one.bound > best - margin for one in fits)
        bounds = f"{min(one.bound for one in fits):.2f} | {max(one.bound for one in fits):.2f}"
        cells = [
            f"{name} | {K} | {several([one.K for one in fits])} | {bounds}",
            f"{arrived} of {len(fits)} | {median([one.rand for one in fits])}",
            f"{1e3 * statistics.median(one.seconds for one in fits):.0f}",
            f"{alone[0].K} | {alone[0].bound:.2f}",
            f"{1e3 * statistics.median(one.seconds for one in alone):.0f}",
            f"{several([one.K for one in theirs])} | {median([one.rand for one in theirs])}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def several(values: list[int]) -> str:
    """A number, or the range of several."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}-{high}"


def median(values: list[float | None]) -> str:
    """Of indices, a dash where there are none."""
    return "-" if values[0] is None else f"{statistics.median(values):.2f}"


def main() -> None:
    """Print the table, a data set at a time."""
    warnings.simplefilter("ignore")
    print(
        "| data | from K | K found | lowest bound | highest bound | at the best | Rand | ms "
        "| without moves: K | bound | ms | scikit-learn: K in use | Rand |"
    )
    print("|---" * 13 + "|")
    for name in sys.argv[1:] or NAMES:
        for line in rows(name):
            print(line, flush=True)


if __name__ == "__main__":
    main()
