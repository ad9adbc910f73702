"""PyMC and nutpie on a mixture of normals with its labels summed out, for `mcmc_speed.py`.

Not run by itself: `mcmc_speed.py` adds these where both are installed (`pip install pymc nutpie`).
The model is that of NumPyro's there: LKJ correlations, half-normal standard deviations, normal
means, four chains on two cores. Points are whitened by the inverse of each factor, which samples
many times faster than `pymc.MvNormal`.
"""

import time

import numpy as np
import nutpie
import pymc as pm
import pytensor.tensor as pt


def model_of(X: np.ndarray, K: int) -> pm.Model:
    """The mixture as someone who knows PyMC writes it."""
    standard, D = (X - X.mean(0)) / X.std(0), X.shape[1]
    with pm.Model() as model:
        weights = pm.Dirichlet("weights", np.ones(K))
        means = pm.Normal("means", 0.0, 1.0, shape=(K, D))
        logs = []
        for k in range(K):
            deviations = pm.HalfNormal.dist(1.0, shape=D)
            root = pm.LKJCholeskyCov(f"root_{k}", n=D, eta=1.0, sd_dist=deviations)[0]
            inverse = pt.linalg.solve_triangular(root, np.eye(D), lower=True)
            white = (standard - means[k]) @ inverse.T
            height = pt.log(weights[k]) + pt.log(pt.diag(inverse)).sum()
            logs.append(height - 0.5 * pt.sqr(white).sum(1))
        pm.Potential("x", pt.logsumexp(pt.stack(logs), axis=0).sum())
    return model


def of_pymc(X: np.ndarray, seed: int, draws: int) -> tuple[float, dict[str, np.ndarray]]:
    """Seconds of sampling alone, and label-free quantities [C, S]."""
    with model_of(X, 2):
        found = pm.sample(draws, tune=draws, chains=4, cores=2, random_seed=seed, progressbar=False)
    return float(found.posterior.attrs["sampling_time"]), _quantities(found, "lp")


def of_nutpie(X: np.ndarray, seed: int, draws: int) -> tuple[float, dict[str, np.ndarray]]:
    """Seconds of sampling alone, and label-free quantities [C, S]."""
    compiled = nutpie.compile_pymc_model(model_of(X, 2))
    begin = time.perf_counter()
    found = nutpie.sample(
        compiled, draws=draws, tune=draws, chains=4, cores=2, seed=seed, progress_bar=False
    )
    return time.perf_counter() - begin, _quantities(found, "logp")


def _quantities(found, energy: str) -> dict[str, np.ndarray]:
    weights = np.asarray(found.posterior["weights"])
    return {
        "lp": np.asarray(found.sample_stats[energy]),
        "largest_weight": weights.max(-1),
        "sum_of_squared_weights": np.square(weights).sum(-1),
    }
