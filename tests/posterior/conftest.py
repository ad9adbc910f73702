"""Exact posteriors over all partitions of a few points, apart from the package."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.special import beta, gammaln, logsumexp, multigammaln, poch
from scipy.stats import invgamma, multivariate_normal, poisson

REFERENCE = Path(__file__).parents[1] / "reference"


@cache
def every_partition(n):
    """All partitions of n points in order of first appearance, [B, n]."""
    rows = [[0]]
    for _ in range(n - 1):
        rows = [[*row, k] for row in rows for k in range(max(row) + 2)]
    return np.array(rows, np.int32)


@cache
def exact_partitions():
    return json.loads((REFERENCE / "exact_partitions.json").read_text())


# --- a cluster alone: its log marginal likelihood -------------------------------------------------


def niw(x, m0, k0, nu0, S0):
    n, d = x.shape
    S0, away = np.atleast_2d(S0), x.mean(0) - m0
    scatter = (x - x.mean(0)).T @ (x - x.mean(0)) + k0 * n / (k0 + n) * np.outer(away, away)
    before, after = (nu / 2 * np.linalg.slogdet(S)[1] for nu, S in _both(nu0, S0, n, scatter))
    constants = multigammaln((nu0 + n) / 2, d) - multigammaln(nu0 / 2, d)
    return constants + before - after + d / 2 * np.log(k0 / (k0 + n)) - n * d / 2 * np.log(np.pi)


def _both(nu0, S0, n, scatter):
    return (nu0, S0), (nu0 + n, S0 + scatter)


def nig(x, m0, k0, a0, b0):
    return niw(x, m0, k0, 2 * a0, 2 * b0)


def nig_diag(x, m0, k0, a0, b0):
    return sum(nig(x[:, [j]], m0[j], k0, a0, b0[j]) for j in range(x.shape[1]))


def normal_known(x, m0, t2, s2):
    n = len(x)
    return multivariate_normal(np.full(n, m0), s2 * np.eye(n) + t2).logpdf(x[:, 0])


def indep(x, b0, B0, c0, C0):
    """The mean integrated out in closed form, the variance by the trapezoidal rule in its log."""
    x, n = x[:, 0], len(x)
    u = np.linspace(-9, 16, 2001)
    s2 = np.exp(u)
    away, spread = x.mean() - b0, np.square(x - x.mean()).sum()
    wide = s2 + n * B0
    squares = spread / s2 + n * away**2 / wide
    log_density = -(n * np.log(2 * np.pi) + (n - 1) * u + np.log(wide) + squares) / 2
    log_density += invgamma(c0, scale=C0).logpdf(s2) + u
    return logsumexp(log_density) + np.log(u[1] - u[0])


CLUSTERS = {
    "niw": niw,
    "nig": nig,
    "nig_diag": nig_diag,
    "normal_known": normal_known,
    "indep": indep,
}


# --- the partition: its prior ---------------------------------------------------------------------

K = np.arange(1, 2001)
NUMBERS = {  # log p(K)
    "poisson1": lambda rate: poisson(rate).logpmf(K - 1),
    "geometric": lambda p: np.log(p) + (K - 1) * np.log1p(-p),
    "uniform": lambda most: np.where(most >= K, -np.log(most), -np.inf),
    "fixed": lambda known: np.where(known == K, 0.0, -np.inf),
    "bnb": lambda p: (
        gammaln(p[0] + K - 1)
        - gammaln(p[0])
        - gammaln(K)
        + gammaln(p[0] + p[1])
        + gammaln(K - 1 + p[2])
        - gammaln(p[0] + p[1] + K - 1 + p[2])
        - np.log(beta(p[1], p[2]))
    ),
}


def log_prior(sizes, prior):
    n, t = sum(sizes), len(sizes)
    if prior["type"] == "mfm":
        name, parameter = prior["K_prior"]
        gamma = prior["gamma"] if "gamma" in prior else prior["alpha"] / K
        ways = gammaln(K + 1) - gammaln(np.maximum(K - t, 0) + 1)
        given = ways + gammaln(gamma * K) - gammaln(gamma * K + n)
        given = given + sum(gammaln(size + gamma) - gammaln(gamma) for size in sizes)
        return logsumexp(np.where(t > K, -np.inf, NUMBERS[name](parameter) + given))
    d = prior.get("discount", 0.0)
    a = prior.get("alpha", prior.get("concentration"))
    opened = sum(np.log(a + i * d) for i in range(1, t))
    return opened + sum(np.log(poch(1 - d, m - 1)) for m in sizes) - np.log(poch(a + 1, n - 1))


@cache
def log_likelihoods(data, component_prior):
    """Log p(x | partition) of all partitions [B]."""
    found = exact_partitions()["data"][data]
    x = np.array(found["x"], float).reshape(len(found["x"]), -1)
    parameters = dict(found["component_priors"][component_prior])
    family = CLUSTERS[parameters.pop("family")]
    cluster = cache(lambda points: family(x[list(points)], **parameters))
    groups = [
        [tuple(np.flatnonzero(row == k)) for k in range(row.max() + 1)]
        for row in every_partition(len(x))
    ]
    return np.array([sum(map(cluster, own)) for own in groups])


@cache
def log_priors(n, name):
    """Log p(partition) of all partitions [B]."""
    prior = exact_partitions()["partition_priors"][name]
    by_sizes = cache(lambda sizes: log_prior(sizes, prior))
    sizes = [tuple(sorted(np.bincount(row).tolist())) for row in every_partition(n)]
    with np.errstate(divide="ignore"):
        return np.array([by_sizes(own) for own in sizes])


def exact_posterior(data, case):
    """All partitions [B, n], their probabilities, and the log marginal likelihood."""
    log_joint = log_likelihoods(data, case["component_prior"])
    n = len(exact_partitions()["data"][data]["x"])
    log_joint = log_joint + log_priors(n, case["prior"])
    total = logsumexp(log_joint)
    return every_partition(n), np.exp(log_joint - total), total


@pytest.fixture(scope="session")
def exact_cases():
    """The reference by data and case, with all partitions and their exact probabilities."""
    return [
        (f"{name}-{case['prior']}-{case['component_prior']}", case, *exact_posterior(name, case))
        for name, data in exact_partitions()["data"].items()
        for case in data["cases"]
    ]


@pytest.fixture(scope="session")
def peers():
    """Draws of eight points, and what other software makes of them."""
    found = json.loads((REFERENCE / "partitions_m8.json").read_text())
    return found, np.array([digits(row) for row in found["draws"]])


@pytest.fixture(scope="session")
def all_partitions():
    return every_partition


def digits(text):
    """Labels written as digits."""
    return np.array([int(one) for one in text], np.int32)
