"""What the prior of the covariances does to the number of components that variational Bayes finds.

    python benchmarks/vb_priors.py                  # the table of the guide, some minutes
    python benchmarks/vb_priors.py blobs20 iris     # these data sets alone

Clusters of 50 points each, of unit variance in a square of side 40, and two sets of real data;
five seeds for each prior. "data-scaled" is the covariance of the points divided by
n_components^(2/D), so that it depends on the number that is given. In brackets is the adjusted Rand
index beside the known classes, the median over the seeds.
"""

import statistics
import sys
import warnings

import numpy as np
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from bayesgmm import BayesianGaussianMixture, datasets

SEEDS = range(5)
EACH = 50
"""Points of a cluster."""

PRIORS = {
    "None": dict(),
    '"data-scaled", at most 20': dict(n_components=20, covariance_prior="data-scaled"),
    '"data-scaled", at most 50': dict(n_components=50, covariance_prior="data-scaled"),
}
NAMES = ("blobs3", "blobs8", "blobs20", "faithful", "iris")


def points(name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Points [N, D] and the classes they come from, if these are known."""
    if name.startswith("blobs"):
        K = int(name.removeprefix("blobs"))
        return make_blobs(EACH * K, centers=K, center_box=(-20, 20), random_state=K)
    X, labels = datasets.load(name)
    return X.to_numpy(float), None if labels is None else labels.to_numpy()


def cell(X: np.ndarray, classes: np.ndarray | None, options: dict) -> str:
    """Numbers of components found, and the adjusted Rand index where the classes are known."""
    fits = [
        BayesianGaussianMixture(max_iter=1000, random_state=seed, **options).fit(X)
        for seed in SEEDS
    ]
    found = sorted({fit.n_components_ for fit in fits})
    numbers = str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}"
    if classes is None:
        return numbers
    index = statistics.median(adjusted_rand_score(classes, fit.labels_) for fit in fits)
    return f"{numbers} ({index:.2f})"


def main() -> None:
    """Print the table, a data set at a time."""
    warnings.simplefilter("ignore")
    print(f"| data | {' | '.join(PRIORS)} |")
    print("|---" * (1 + len(PRIORS)) + "|")
    for name in sys.argv[1:] or NAMES:
        X, classes = points(name)
        cells = [cell(X, classes, options) for options in PRIORS.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
