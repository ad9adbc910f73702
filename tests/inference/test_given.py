"""Distributions of a component that are given: draws and densities against SciPy's."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from bayesgmm.core import FAMILIES
from bayesgmm.inference import given
from tests.conftest import assert_close, assert_mean

S, T = 4_000, 2
MEAN, SPREAD = np.array([0.3, -0.2]), np.array([1.2, 0.8])
MATRIX = np.array([[1.5, 0.4], [0.4, 0.9]])
MEANS = dist.Normal(MEAN, SPREAD)
LOG_NORMAL = stats.lognorm(0.5, scale=np.exp([0.0, 1.0]))
ETA = 2.5


def of_correlated(C):
    """Of two features, (r + 1) / 2 ~ Beta(eta, eta), and r is the entry of the factor."""
    scales = np.sqrt(np.diagonal(C))
    r = C[1, 0] / scales.prod()
    return LOG_NORMAL.logpdf(scales).sum() + stats.beta.logpdf((r + 1) / 2, ETA, ETA) - np.log(2)


def of_wishart(C):
    return stats.wishart.logpdf(C, 6.0, MATRIX)


def of_root(C):
    """C = L L', dC = 2^D prod L_jj^(D - j + 1) dL."""
    L = np.diagonal(np.linalg.cholesky(C))
    return of_wishart(C) + 2 * np.log(2) + 2 * np.log(L[0]) + np.log(L[1])


with jax.enable_x64(True):  # their parameters are arrays
    WISHARTS = dist.WishartCholesky(6.0, MATRIX), dist.Wishart(6.0, MATRIX)

CASES = {
    "correlated": (
        "full",
        {
            "scales": dist.LogNormal(np.array([0.0, 1.0]), 0.5),
            "correlations": dist.LKJCholesky(2, ETA),
        },
        of_correlated,
    ),
    "roots": ("full", {"scale_tril": WISHARTS[0]}, of_root),
    "matrices": ("tied", {"covariances": WISHARTS[1]}, of_wishart),
    "scales": (
        "diag",
        {"scales": dist.LogNormal(np.array([0.0, 1.0]), 0.5)},
        lambda C: LOG_NORMAL.logpdf(np.sqrt(np.diagonal(C))).sum(),
    ),
    "variance": (
        "spherical",
        {"variances": dist.InverseGamma(3.0, 2.0)},
        lambda C: stats.invgamma.logpdf(C[0, 0], 3.0, scale=2.0),
    ),
}


def drawn(name, seed=0, size=(S, T)):
    family, own, _ = CASES[name]
    own = {"means": MEANS, **own}
    return own, *given.drawn(np.random.default_rng(seed), own, FAMILIES[family], size)


@pytest.mark.parametrize("name", CASES)
def test_density_of_the_sites_is_scipys(name):
    own, means, scales = drawn(name)
    assert means.shape == (S, T, 2) and scales.shape == (S, T, 2, 2)
    assert means.dtype == scales.dtype == np.float64
    of_covariance, of_means = (leaf[:9] for leaf in given.log_densities(means, scales, own))
    assert_close(of_means, stats.norm.logpdf(means[:9], MEAN, SPREAD).sum(-1), rtol=1e-9)
    matrices = scales[:9] @ np.swapaxes(scales[:9], -1, -2)
    expected = [[CASES[name][2](C) for C in row] for row in matrices]
    assert_close(of_covariance, np.array(expected), rtol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_draws_are_those_of_the_distributions(name):
    """Means and log densities as SciPy's draws have them; a tied covariance is one."""
    own, means, scales = drawn(name, 1)
    assert_mean(means[:, 1], MEAN)
    assert stats.kstest(means[:, 0, 1], stats.norm(MEAN[1], SPREAD[1]).cdf).pvalue > 1e-3
    assert (np.ptp(scales, axis=1) == 0).all() == (name == "matrices")
    matrices = scales[:, 0] @ np.swapaxes(scales[:, 0], -1, -2)
    deviations = np.sqrt(np.diagonal(matrices, axis1=1, axis2=2))
    if name in ("correlated", "scales"):
        assert stats.kstest(deviations[:, 1], stats.lognorm(0.5, scale=np.e).cdf).pvalue > 1e-3
    if name == "correlated":
        r = matrices[:, 0, 1] / deviations.prod(1)
        assert stats.kstest((r + 1) / 2, stats.beta(ETA, ETA).cdf).pvalue > 1e-3
    if name in ("roots", "matrices"):
        assert_mean(matrices, 6.0 * MATRIX)
    if name == "variance":
        law = stats.invgamma(3.0, scale=2.0)
        assert stats.kstest(matrices[:, 1, 1], law.cdf).pvalue > 1e-3


def test_one_feature_has_no_correlations():
    own = {"means": dist.Normal(np.zeros(1), 1.0), "scales": dist.LogNormal(np.zeros(1), 0.5)}
    means, scales = given.drawn(np.random.default_rng(0), own, FAMILIES["full"], (5, 3))
    assert means.shape == (5, 3, 1) and scales.shape == (5, 3, 1, 1)
    found = given.log_densities(means, scales, own)[0]
    assert_close(found, stats.lognorm.logpdf(scales[..., 0, 0], 0.5), rtol=1e-9)


@pytest.mark.parametrize("name", ["correlated", "matrices"])
def test_mean_of_the_log_density_is_that_under_the_prior(name):
    """Minus the entropy; two averages over draws, each with its error."""
    own, means, scales = drawn(name, 2)
    found = given.mean_log_densities(own, FAMILIES[CASES[name][0]])
    entropy = [stats.norm(MEAN, SPREAD).entropy().sum()]
    if name == "correlated":
        entropy.append(LOG_NORMAL.entropy().sum() + stats.beta(ETA, ETA).entropy() + np.log(2))
    else:
        entropy.append(stats.wishart(6.0, MATRIX).entropy())
    of_covariance, of_means = given.log_densities(means, scales, own)
    for value, draws, exact in zip(found, (of_covariance, of_means), entropy[::-1], strict=True):
        assert abs(value + exact) < 4.5 * draws[:, 0].std() / np.sqrt(given.MEAN_OF)
    again = given.mean_log_densities(own, FAMILIES[CASES[name][0]])
    assert found == again


def test_the_same_generator_gives_the_same_draws():
    one, two, other = (drawn("correlated", seed, (7, 1))[2] for seed in (3, 3, 4))
    assert (one == two).all() and (one != other).any()


def test_what_cannot_be_drawn_is_refused():
    flat = dist.ImproperUniform(dist.constraints.real_vector, (), (2,))
    given.check_draws({"means": MEANS})
    with pytest.raises(ValueError, match=r"\['means'\] must be .* drawn from, got ImproperUniform"):
        given.check_draws({"means": flat})
