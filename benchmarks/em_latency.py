"""Milliseconds of a fit of iris in a process that has fitted it before.

    python benchmarks/em_latency.py

The programs take turns; medians of 100 turns.
"""

import statistics
import time
import warnings

from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture as ScikitLearn

from bayesgmm import GaussianMixture


def main() -> None:
    """Print a line for each."""
    warnings.simplefilter("ignore")
    X = load_iris().data
    labels = ScikitLearn(3, random_state=0).fit_predict(X)
    runs = {
        "bayesgmm, from labels": lambda: GaussianMixture(3, init_params=labels).fit(X),
        "bayesgmm, k-means start": lambda: GaussianMixture(
            3, init_params="kmeans", random_state=0
        ).fit(X),
        "bayesgmm, default start": lambda: GaussianMixture(3, random_state=0).fit(X),
        "scikit-learn, default start": lambda: ScikitLearn(3, random_state=0).fit(X),
        "scikit-learn, n_init=10": lambda: ScikitLearn(3, n_init=10, random_state=0).fit(X),
    }
    spent: dict[str, list] = {name: [] for name in runs}
    for turn in range(101):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            if turn:  # the first compiles
                spent[name].append(time.perf_counter() - begin)
    for name, seconds in spent.items():
        print(f"{name:30s} {1e3 * statistics.median(seconds):8.2f} ms")


if __name__ == "__main__":
    main()
