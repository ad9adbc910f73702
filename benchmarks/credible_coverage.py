"""Do 90 % credible intervals cover the truth in 90 % of data sets drawn from the prior?

    python benchmarks/credible_coverage.py              # the table of docs/theory/calibration.md
    python benchmarks/credible_coverage.py finite dp    # these alone

A thousand data sets of 20 points with one feature, under the prior whose defaults are scaled by
mean 0 and standard deviation 1. Beside the quantities of `calibrate`: the means of the components
from the lowest up, where their number is known, and the probability, at the parameters, that the
first two points are of one component.
"""

import sys

import numpy as np
from scipy.special import softmax
from scipy.stats import norm

from bayesgmm import MCMCGaussianMixture, calibrate

STATED = dict(means=[0.0], sds=[1.0], n_points=20)
CASES = {
    "finite": dict(n_components=3, component_prior="conjugate"),
    "hierarchical": dict(n_components=3),
    "dynamic": dict(n_components_prior=("uniform", 10)),
    "static": dict(n_components_prior=("uniform", 10), weight_prior="static"),
    "dp": dict(n_components="dp"),
    "py": dict(n_components="py"),
}


def together(draws) -> np.ndarray:
    """Probability at the parameters that the first two points are of one component, [R, S]."""
    means = draws.means[..., 0]
    deviations = np.sqrt(draws.covariances[..., 0, 0])
    with np.errstate(divide="ignore"):
        log_weights = np.log(draws.weights)
    first, second = (
        softmax(log_weights + norm.logpdf(x[:, None, None], means, deviations), axis=-1)
        for x in draws.X[:, :2, 0].T
    )
    return (first * second).sum(-1)


def mean_of_rank(k: int):
    """The k-th lowest of the means, [R, S]."""
    return lambda draws: np.sort(draws.means[..., 0], axis=-1)[..., k - 1]


def covered(name: str, n_replicates: int = 1000, n_samples: int = 99):
    """Table of the coverage of each quantity."""
    options = {"n_components": "mfm", **CASES[name]}
    own = {"together": together}
    if isinstance(options["n_components"], int):
        own |= {f"mean_{k}": mean_of_rank(k) for k in range(1, options["n_components"] + 1)}
    found = calibrate(
        MCMCGaussianMixture(**options),
        **STATED,
        n_replicates=n_replicates,
        n_samples=n_samples,
        quantities=own,
        random_state=0,
        progress_bar=False,
    )
    return found.coverage(0.9)


def main(names: list[str]) -> None:
    """A row a case, of the share of data sets whose 90 % interval holds the truth."""
    print("| case | quantities | least coverage | of | largest | of | largest deviation, z |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        table = covered(name)
        share, off = table["coverage"], table["z"].abs().max()
        print(
            f"| {name} | {len(table)} | {share.min():.3f} | {share.idxmin()} | {share.max():.3f} | "
            f"{share.idxmax()} | {off:.1f} |",
            flush=True,
        )
        print(table.round(3).to_string(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(CASES))
