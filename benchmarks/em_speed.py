"""Time of an EM iteration beside scikit-learn's (and gmmx's, where it is installed).

    python benchmarks/em_speed.py            # the table of the README, some ten minutes
    python benchmarks/em_speed.py 2 5        # cases 2 and 5 alone

Every program starts from the same labels and takes the same iterations. An iteration is the
difference between a long and a short fit, so that starting, checking and compiling do not count.
The programs take turns within a round, and medians over the rounds are compared. scikit-learn runs
at the better of one and two BLAS threads, both measured; gmmx in its float32.
"""

import statistics
import sys
import time
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.mixture import GaussianMixture as ScikitLearn
from threadpoolctl import threadpool_limits

from bayesgmm import GaussianMixture

CASES = [  # N, D, K, covariance type, more iterations in the long fit, target over scikit-learn
    (100_000, 2, 10, "full", 60, 25),
    (100_000, 10, 20, "full", 5, 25),
    (1_000_000, 10, 10, "full", 2, 18),
    (10_000, 10, 10, "full", 120, 8),
    (100_000, 50, 10, "full", 2, 6),
    (20_000, 100, 10, "full", 3, 3),
    (100_000, 2, 10, "diag", 60, 9),
    (100_000, 10, 10, "diag", 40, 9),
]
ROUNDS = 3


class FromLabels(ScikitLearn):
    """scikit-learn's own class, started from given labels."""

    def _initialize_parameters(self, X, random_state, xp=None):
        self._initialize(X, np.eye(self.n_components)[self.labels].astype(X.dtype))


def simulate(N: int, D: int, K: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clusters, and labels that are half right to start from."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(K, D)) * 2
    labels = rng.integers(K, size=N)
    mixing = rng.normal(size=(K, D, D)) / np.sqrt(D)
    X = np.empty((N, D))
    for k in range(K):
        rows = labels == k
        X[rows] = centres[k] + rng.normal(size=(rows.sum(), D)) @ (mixing[k] + np.eye(D))
    wrong = rng.random(N) < 0.5
    labels[wrong] = rng.integers(K, size=wrong.sum())
    return X, labels


def fit_ours(X: np.ndarray, labels: np.ndarray, K: int, kind: str, n_iter: int) -> float:
    """Fit; returns the final mean log likelihood."""
    options = {"tol": 0.0, "max_iter": n_iter, "acceleration": None, "init_params": labels}
    return GaussianMixture(K, covariance_type=kind, **options).fit(X).lower_bounds_[-1]


def fit_scikit_learn(threads: int) -> Callable:
    """The same by scikit-learn with so many BLAS threads."""

    def fit(X: np.ndarray, labels: np.ndarray, K: int, kind: str, n_iter: int) -> float:
        with threadpool_limits(threads):
            model = FromLabels(K, covariance_type=kind, tol=0.0, max_iter=n_iter)
            model.labels = labels
            return model.fit(X).lower_bounds_[-1]

    return fit


def fit_gmmx(X: np.ndarray, labels: np.ndarray, K: int, kind: str, n_iter: int) -> float:
    """The same by gmmx, as it comes: float32."""
    from gmmx import EMFitter, GaussianMixtureModelJax

    resp = np.eye(K)[labels]
    start = ScikitLearn(K, covariance_type=kind)
    start._initialize(X, resp)
    model = GaussianMixtureModelJax.from_squeezed(
        means=jnp.asarray(start.means_),
        covariances=jnp.asarray(start.covariances_),
        weights=jnp.asarray(start.weights_),
        covariance_type=kind,
    )
    result = EMFitter(max_iter=n_iter, tol=0.0).fit(x=jnp.asarray(X), gmm=model)
    return float(jax.block_until_ready(result.log_likelihood))


def programs() -> dict[str, Callable]:
    """Who takes part."""
    found = {
        "bayesgmm": fit_ours,
        "scikit-learn, 1 thread": fit_scikit_learn(1),
        "scikit-learn, 2 threads": fit_scikit_learn(2),
    }
    try:
        import gmmx  # noqa: F401
    except ImportError:
        print("gmmx is not installed: pip install gmmx to compare with it", file=sys.stderr)
    else:
        found["gmmx"] = fit_gmmx
    return found


def per_iteration(case: tuple, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds an iteration, and the final log likelihood, of every program."""
    N, D, K, kind, more, _ = case
    X, labels = simulate(N, D, K)
    runs = programs()
    seconds: dict[str, list] = {name: [] for name in runs}
    final: dict[str, float] = {}
    for name, fit in runs.items():  # compile, both lengths
        fit(X, labels, K, kind, 1)
        final[name] = fit(X, labels, K, kind, 1 + more)
    for _ in range(rounds):
        for name, fit in runs.items():
            spent = []
            for n_iter in (1, 1 + more):
                begin = time.perf_counter()
                fit(X, labels, K, kind, n_iter)
                spent.append(time.perf_counter() - begin)
            seconds[name].append((spent[1] - spent[0]) / more)
    return {name: statistics.median(values) for name, values in seconds.items()}, final


def main() -> None:
    """Print a table row for every case asked for."""
    warnings.simplefilter("ignore")
    chosen = [int(argument) for argument in sys.argv[1:]] or range(1, len(CASES) + 1)
    print("| N, D, K, type | bayesgmm ms | scikit-learn ms | ratio | target | gmmx ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    for number in chosen:
        case = CASES[number - 1]
        spent, final = per_iteration(case, ROUNDS)
        ours = spent["bayesgmm"]
        peer = min(value for name, value in spent.items() if name.startswith("scikit"))
        gmmx = spent.get("gmmx")
        last = f"{1e3 * gmmx:.0f} | {gmmx / ours:.1f}" if gmmx else "- | -"
        label = ", ".join(map(str, case[:4]))
        row = f"| {label} | {1e3 * ours:.2f} | {1e3 * peer:.1f} | {peer / ours:.1f} | {case[5]} |"
        print(f"{row} {last} |", flush=True)
        gap = abs(final["bayesgmm"] - final["scikit-learn, 1 thread"])
        if gap > 1e-6:
            print(f"  log likelihoods differ by {gap:.1e}: not the same fit", file=sys.stderr)


if __name__ == "__main__":
    main()
