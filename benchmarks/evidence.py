"""Log marginal likelihoods: two estimators side by side, over seeds, and what they cost.

    python benchmarks/evidence.py [--data galaxies] [--seeds 5] [--largest 7] [--prior conjugate]

For every seed chains are run anew (of each K for bridge sampling, thin 5), and for every K and
method a row has the mean over the seeds, their spread (standard deviation), the standard error that
one run reports (its mean), and seconds of `log_evidence` (median; the first compiles). A spread
well over the standard error says that the latter is too small. Galaxies are standardised, with
kappa0 = 0.1, nu0 = 3, S0 = 0.25 and Dirichlet(1, ..., 1) weights; other data have the defaults of
the prior, those of the smallest K throughout.
"""

import argparse
import time
import warnings

import numpy as np

from bayesgmm import ConjugatePrior, MCMCGaussianMixture, datasets
from bayesgmm.estimators.evidence import log_evidence


def problem(name, kind):
    X = getattr(datasets, f"load_{name}")()[0].to_numpy()
    if name == "galaxies" and kind == "conjugate":
        return (X - X.mean(0)) / X.std(0), ConjugatePrior([0.0], 0.1, 3.0, [[0.25]])
    few = fitted(X, 2, kind, 0, n_samples=4, thin=1)
    return X, few.component_prior_


def fitted(X, K, prior, seed, **options):
    model = MCMCGaussianMixture(
        K,
        component_prior=prior,
        weight_concentration_prior=1.0,
        random_state=seed,
        progress_bar=False,
        **{"thin": 5, **options},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X)


def timed(*given, **options):
    start = time.perf_counter()
    found = log_evidence(*given, **options)
    return found, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="galaxies")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--largest", type=int, default=7)
    parser.add_argument("--prior", default="conjugate")
    args = parser.parse_args()
    X, prior = problem(args.data, args.prior)
    numbers, rows = range(2, args.largest + 1), {}
    for seed in range(args.seeds):
        for K in numbers:
            model = fitted(X, K, prior, seed)
            found, took = timed(model, random_state=seed)
            rows.setdefault(("bridge", K), []).append((*_pair(found), took))
        options = {"n_components": numbers, "random_state": seed, "progress_bar": False}
        found, took = timed(model, "mfm", **options)
        for K in numbers:
            rows.setdefault(("mfm", K), []).append((*_pair(found[K]), took))
    print("| K | method | mean | spread | standard error | s |\n|---|---|---|---|---|---|")
    for K in numbers:
        for method in ("bridge", "mfm"):
            logs, errors, seconds = np.array(rows[method, K]).T
            numbers_shown = logs.mean(), logs.std(ddof=1), errors.mean(), np.median(seconds)
            print(f"| {K} | {method} | {' | '.join(f'{n:.3f}' for n in numbers_shown)} |")


def _pair(found):
    return found.log_evidence, found.standard_error


if __name__ == "__main__":
    main()
