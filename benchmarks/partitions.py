"""Time and memory of the similarity matrix and of the point partition.

    python benchmarks/partitions.py                   # the table of docs/theory/partitions.md
    python benchmarks/partitions.py vi-1000 binder    # cases whose name has one of these words

Draws are of the labels of points of a mixture of eight overlapping Gaussians in the plane, given
weights, means and covariances that wander about the truth from draw to draw, with components split
or merged now and then: 4 to 12 clusters. Every case runs in a process of its own, with the
compilation in its time; the processor time of all threads is given beside the time on the clock,
since other work on the machine lengthens only the latter.
"""

import resource
import subprocess
import sys
import time

import numpy as np

CASES = {  # name: function, N, S, loss, target in seconds
    "similarity-5000": ("similarity", 5_000, 1_000, None, 5),
    "similarity-mcse-5000": ("similarity-mcse", 5_000, 1_000, None, None),
    "vi-1000": ("search", 1_000, 1_000, "vi", 5),
    "binder-1000": ("search", 1_000, 1_000, "binder", None),
    "omari-1000": ("search", 1_000, 1_000, "omari", None),
    "nid-1000": ("search", 1_000, 1_000, "nid", None),
    "vi-10000": ("search", 10_000, 500, "vi", 90),
    "binder-10000": ("search", 10_000, 500, "binder", None),
}


def simulate(N, S, seed=0, n_components=8):
    """Labels [S, N] of draws as the posterior of a mixture has them."""
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(n_components) / n_components
    centres = 4 * np.column_stack([np.cos(angle), np.sin(angle)])
    truth = rng.integers(0, n_components, N)
    points = centres[truth] + rng.normal(size=(N, 2)) * (0.6 + 0.15 * (truth % 4))[:, None]
    return np.stack([draw(points, centres, rng) for _ in range(S)])


def draw(points, centres, rng):
    means = centres + 0.1 * rng.normal(size=centres.shape)
    if rng.uniform() < 0.4:  # two that are neighbours as one
        k = rng.integers(len(means) - 1)
        means = np.vstack([np.delete(means, [k, k + 1], axis=0), means[k : k + 2].mean(0)])
    extra = rng.choice(len(means), rng.binomial(4, 0.3), replace=False)
    means = np.vstack([means, means[extra] + 0.7 * rng.normal(size=(len(extra), 2))])
    log_weights = np.log(rng.dirichlet(np.full(len(means), 20.0)))
    scale = np.exp(0.1 * rng.normal(size=len(means))) * 0.8
    squares = np.square(points[:, None] - means).sum(-1)
    log_joint = log_weights - 2 * np.log(scale) - squares / (2 * scale**2)
    return np.argmax(log_joint + rng.gumbel(size=log_joint.shape), axis=1)


def run(name):
    from bayesgmm.posterior.search import point_partition
    from bayesgmm.posterior.similarity import similarity_matrix

    what, N, S, loss, target = CASES[name]
    draws = simulate(N, S)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    clock, processor = time.perf_counter(), time.process_time()
    if what == "search":
        found = point_partition(draws, loss, random_state=0)
        ends = f"{found.hits} of {found.n_climbs} climbs"
        said = f"{found.expected_loss:.5f}, {found.n_clusters} clusters, {ends}"
    else:
        similarity_matrix(draws, return_mcse=what.endswith("mcse"))
        said = ""
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    goal = "" if target is None else target
    print(
        f"| {name} | {N} | {S} | {clock:.1f} | {processor:.1f} | {goal} | {before:.2f} | "
        f"{most:.2f} | {said} |",
        flush=True,
    )


def main(words):
    print("| case | N | S | s | processor s | target s | GB before | GB at most | found |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in CASES:
        if not words or any(word in name for word in words):
            subprocess.run([sys.executable, __file__, "--case", name], check=True)


if __name__ == "__main__":
    run(sys.argv[2]) if sys.argv[1:2] == ["--case"] else main(sys.argv[1:])
