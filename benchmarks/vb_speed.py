"""Time of an iteration of variational Bayes beside EM's and scikit-learn's, and of whole fits.

    python benchmarks/vb_speed.py            # the tables of the README, some ten minutes
    python benchmarks/vb_speed.py 1 3        # cases 1 and 3 alone

As `em_speed.py`: the same labels to start from, programs that take turns, differences between a
long and a short fit. Ours is without moves and pruning and with scikit-learn's fixed concentration,
so that all do the same. A whole fit is timed to the bound at which scikit-learn's ends with its
default tolerance.
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
from em_speed import simulate
from sklearn.mixture import BayesianGaussianMixture as ScikitLearn
from threadpoolctl import threadpool_limits

from bayesgmm import BayesianGaussianMixture, GaussianMixture

CASES = [  # N, D, K, covariance type, more iterations in the long fit, target over scikit-learn
    (100_000, 2, 10, "full", 60, None),
    (100_000, 10, 20, "full", 15, 20),
    (1_000_000, 10, 10, "full", 4, None),
    (10_000, 10, 10, "full", 120, None),
    (100_000, 10, 10, "diag", 40, None),
]
ROUNDS = 3
EXACTLY = {"weight_concentration_prior": None, "prune": False, "moves": False}


class FromLabels(ScikitLearn):
    """scikit-learn's own class, started from given labels."""

    def _initialize_parameters(self, X, random_state, xp=None):
        self._initialize(X, np.eye(self.n_components)[self.labels].astype(X.dtype))


def fit_ours(X: np.ndarray, labels: np.ndarray, K: int, kind: str, n_iter: int) -> object:
    """Variational Bayes."""
    options = {"covariance_type": kind, "tol": 0.0, "max_iter": n_iter, "init_params": labels}
    return BayesianGaussianMixture(K, **options, **EXACTLY).fit(X)


def fit_em(X: np.ndarray, labels: np.ndarray, K: int, kind: str, n_iter: int) -> object:
    """EM on the same sweep, plain: an extrapolation is no iteration."""
    options = {"covariance_type": kind, "tol": 0.0, "max_iter": n_iter, "init_params": labels}
    return GaussianMixture(K, acceleration=None, **options).fit(X)


def fit_scikit_learn(threads: int) -> Callable:
    """scikit-learn's variational Bayes with so many BLAS threads."""

    def fit(X: np.ndarray, labels: np.ndarray, K: int, kind: str, n_iter: int) -> object:
        with threadpool_limits(threads):
            model = FromLabels(n_components=K, covariance_type=kind, tol=0.0, max_iter=n_iter)
            model.labels = labels
            return model.fit(X)

    return fit


PROGRAMS = {
    "bayesgmm": fit_ours,
    "EM": fit_em,
    "scikit-learn, 1 thread": fit_scikit_learn(1),
    "scikit-learn, 2 threads": fit_scikit_learn(2),
}


def timed(call: Callable, *arguments: object) -> float:
    """Seconds of a call."""
    begin = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - begin


def per_iteration(case: tuple) -> dict[str, float]:
    """Median seconds an iteration of every program."""
    N, D, K, kind, more, _ = case
    X, labels = simulate(N, D, K)
    seconds: dict[str, list] = {name: [] for name in PROGRAMS}
    for fit in PROGRAMS.values():  # compile, both lengths
        fit(X, labels, K, kind, 1)
        fit(X, labels, K, kind, 1 + more)
    for _ in range(ROUNDS):
        for name, fit in PROGRAMS.items():
            short, long = (timed(fit, X, labels, K, kind, n) for n in (1, 1 + more))
            seconds[name].append((long - short) / more)
    return {name: statistics.median(values) for name, values in seconds.items()}


def whole_fit(case: tuple) -> tuple[float, float, int]:
    """Seconds of ours and of scikit-learn's to one bound, and the iterations it takes."""
    N, D, K, kind, _, _ = case
    X, labels = simulate(N, D, K)
    theirs = FromLabels(n_components=K, covariance_type=kind, max_iter=500)
    theirs.labels = labels
    spent = timed(theirs.fit, X)
    n_iter = theirs.n_iter_
    fit_ours(X, labels, K, kind, n_iter)
    return timed(fit_ours, X, labels, K, kind, n_iter), spent, n_iter


def main() -> None:
    """Print a table row for every case asked for."""
    warnings.simplefilter("ignore")
    chosen = [int(argument) for argument in sys.argv[1:]] or range(1, len(CASES) + 1)
    print("| N, D, K, type | VB ms | EM ms | VB / EM | scikit-learn ms | ratio | whole fit ratio |")
    print("|---|---|---|---|---|---|---|")
    for number in chosen:
        case = CASES[number - 1]
        spent = per_iteration(case)
        ours, em = spent["bayesgmm"], spent["EM"]
        peer = min(value for name, value in spent.items() if name.startswith("scikit"))
        label = ", ".join(map(str, case[:4]))
        row = f"| {label} | {1e3 * ours:.2f} | {1e3 * em:.2f} | {ours / em:.2f} "
        whole = "-"
        if case[3] == "full":  # elsewhere scikit-learn's is another algorithm
            seconds, theirs, n_iter = whole_fit(case)
            whole = f"{theirs / seconds:.1f} ({n_iter} iterations)"
        print(f"{row}| {1e3 * peer:.1f} | {peer / ours:.1f} | {whole} |", flush=True)


if __name__ == "__main__":
    main()
