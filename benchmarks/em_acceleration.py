"""Passes over the points that SQUAREM takes beside plain EM, and where each of them ends.

    python benchmarks/em_acceleration.py            # the table of the README, some ten minutes
    python benchmarks/em_acceleration.py overlap    # these problems alone
    python benchmarks/em_acceleration.py --seed 180 # from 30 other starts

From each of 30 starts (k-means, cells of random points) both run until less than
0.0001 nats are expected to come. A run is worse or better where its final log likelihood differs by
0.05 nats from that of EM; EM itself is short where it ends so far below its own limit, the end of a
run on until an iteration gains nothing.
"""

import argparse
import statistics
import warnings

import numpy as np

from bayesgmm import GaussianMixture, datasets

STARTS = 30
SAME = 0.05  # nats


def blobs(N: int, D: int, K: int, spread: float, seed: int) -> np.ndarray:
    """Clusters of random shapes whose centres have this standard deviation."""
    rng = np.random.default_rng(seed)
    labels, centres = rng.integers(0, K, N), spread * rng.standard_normal((K, D))
    roots = rng.standard_normal((K, D, D)) / np.sqrt(D) + np.eye(D)
    return centres[labels] + np.einsum("nij,nj->ni", roots[labels], rng.standard_normal((N, D)))


def table(name: str) -> np.ndarray:
    """A bundled data set."""
    return np.asarray(datasets.load(name)[0], float)


# problem: points, K, family
PROBLEMS = {
    "overlap": (lambda: table("overlap"), 4, "full"),
    "close 2-D": (lambda: blobs(2000, 2, 5, 1.0, 1), 5, "full"),
    "close 3-D": (lambda: blobs(1000, 3, 8, 0.7, 3), 8, "full"),
    "faithful, one too many": (lambda: table("faithful"), 3, "full"),
    "galaxies": (lambda: table("galaxies"), 5, "full"),
    "iris, two too many": (lambda: table("iris"), 5, "full"),
    "thyroid": (lambda: table("thyroid"), 4, "full"),
    "close, tied": (lambda: blobs(1000, 2, 4, 1.0, 4), 4, "tied"),
    "close, diag": (lambda: blobs(1000, 3, 5, 1.0, 5), 5, "diag"),
    "close, VEE": (lambda: blobs(600, 2, 4, 1.0, 6), 4, "VEE"),
    "clusters of a few points": (lambda: table("wine")[:, :6], 8, "full"),
}


def starts(X: np.ndarray, K: int, first: int = 0) -> list[np.ndarray]:
    """Labels: k-means, and centres drawn at random, from seeds that begin with the first."""
    from sklearn.cluster import KMeans

    found = []
    scaled = (X - X.mean(0)) / X.std(0)
    for seed in range(first, first + STARTS):
        init = "k-means++" if seed % 2 else "random"
        model = KMeans(K, init=init, n_init=1, max_iter=100 if seed % 2 else 1, random_state=seed)
        found.append(model.fit(scaled).labels_)
    return found


def fit(
    X: np.ndarray, K: int, family: str, labels: np.ndarray, **options
) -> GaussianMixture | None:
    """From these labels; None if it collapses."""
    options |= {"covariance_type": family, "reg_covar": "relative", "max_iter": 100_000}
    try:
        return GaussianMixture(K, init_params=labels, **options).fit(X)
    except ValueError:
        return None


def main() -> None:
    """Print a line for each problem."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", nargs="*", metavar="problem", help=", ".join(PROBLEMS))
    parser.add_argument("--seed", type=int, default=0, help="of the first of the 30 starts")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| problem | K | EM passes | SQUAREM passes | ratio | same | better | worse | EM short |")
    print("|---|---|---|---|---|---|---|---|---|")
    everything = []
    for name in options.problems or PROBLEMS:
        make, K, family = PROBLEMS[name]
        X, passes, ends, short = make(), [], [], 0
        for labels in starts(X, K, options.seed):
            plain = fit(X, K, family, labels, acceleration=None)
            fast = fit(X, K, family, labels)
            limit = fit(X, K, family, labels, acceleration=None, tol=1e-12)
            if plain is None or fast is None or limit is None:
                ends.append(0.0 if plain is fast is limit else np.nan)
                continue
            passes.append((plain.n_iter_, fast.n_iter_))
            ends.append(len(X) * (fast.lower_bound_ - plain.lower_bound_))
            short += len(X) * (limit.lower_bound_ - plain.lower_bound_) > SAME
        everything += [em / squarem for em, squarem in passes]
        em, squarem = (statistics.median(column) for column in zip(*passes, strict=True))
        ratio = statistics.median(one / other for one, other in passes)
        ends = np.array(ends)
        better, worse = (ends > SAME).sum(), (ends < -SAME).sum() + np.isnan(ends).sum()
        same = len(ends) - better - worse
        line = (name, K, f"{em:.0f}", f"{squarem:.0f}", f"{ratio:.2f}", same, better, worse, short)
        print("| " + " | ".join(map(str, line)) + " |", flush=True)
    print(f"median of all ratios: {statistics.median(everything):.2f}")


if __name__ == "__main__":
    main()
