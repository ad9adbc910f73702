"""Log prior densities of draws, against SciPy's."""

import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from bayesgmm.core import FAMILIES, FiniteMixture, NormalInverseWishart, PitmanYor, log_eppf
from bayesgmm.core.concentration import ConcentrationPrior
from bayesgmm.core.forms import exact_form
from bayesgmm.core.independent import HierarchicalPrior, IndependentPrior
from bayesgmm.core.slots import SlotPrior
from bayesgmm.inference.gibbs import GibbsConfig, GibbsPrior
from bayesgmm.inference.simulate import simulate
from bayesgmm.posterior import prior as densities
from tests.conftest import assert_close, assert_mean

pytestmark = pytest.mark.usefixtures("x64")

S, N = 6, 5
MATRIX = np.array([[1.5, 0.4], [0.4, 0.9]])
MEAN, DOF = np.array([0.3, -0.2]), 7.0
UP_TO_4 = np.log(np.array([0.1, 0.2, 0.3, 0.4]))


def scale_of(family):
    whole = {"diag": np.diagonal(MATRIX), "spherical": np.array([1.3])}
    return np.asarray(whole.get(family, MATRIX))


def prior_of(kind, family):
    scale, dof = scale_of(family)[None], np.array([DOF])
    if kind == "conjugate":
        return NormalInverseWishart(MEAN[None], np.array([0.5]), dof, scale)
    axis = FAMILIES[family].axis_aligned
    spread = np.array([1.2, 0.8]) if axis else np.array([[1.2, -0.3], [-0.3, 0.8]])
    if kind == "independent":
        return IndependentPrior(MEAN[None], spread[None], dof, scale)
    return HierarchicalPrior(MEAN[None], spread[None], dof, np.array([2.5]), scale)


def drawn(components, family, S=S):
    family = FAMILIES[family]
    config = GibbsConfig(family, exact_form(family.axis_aligned))
    prior = GibbsPrior(SlotPrior(np.zeros(1), 3), None, components)
    return simulate(np.random.default_rng(0), prior, config, 0.7, N, S)


def of_covariance(covariance, scale, family):
    if family == "diag":
        return stats.invgamma.logpdf(np.diagonal(covariance), DOF / 2, scale=scale / 2).sum()
    if family == "spherical":
        return stats.invgamma.logpdf(covariance[0, 0], DOF / 2, scale=scale[0] / 2)
    return stats.invwishart.logpdf(covariance, DOF, scale)


def of_scale(C0, rate, family):
    if FAMILIES[family].axis_aligned:
        return stats.gamma.logpdf(C0, 2.5, scale=1 / rate).sum()
    return stats.wishart.logpdf(C0, 5.0, np.linalg.inv(2.0 * rate))


@pytest.mark.parametrize("family", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("kind", ["conjugate", "independent", "hierarchical"])
def test_density_of_components_is_scipys(kind, family):
    prior = prior_of(kind, family)
    found = drawn(prior, family)
    _, means, scales = found.mixtures
    covariances = scales @ np.swapaxes(scales, -1, -2)
    expected = np.zeros(S)
    for s in range(S):
        scale = 2.0 * found.scale[s, 0] if kind == "hierarchical" else scale_of(family)
        for k in range(3):
            if k == 0 or family != "tied":
                expected[s] += of_covariance(covariances[s, k], scale, family)
            if kind == "conjugate":
                spread = covariances[s, k] / 0.5
            else:
                spread = prior.covariance[0] * (np.eye(2) if prior.covariance.ndim == 2 else 1.0)
            expected[s] += stats.multivariate_normal.logpdf(means[s, k], MEAN, spread)
        if kind == "hierarchical":
            expected[s] += of_scale(found.scale[s, 0], scale_of(family), family)
    member = np.ones((S, 3), bool)
    given = means, scales, member, prior, FAMILIES[family], found.scale
    assert_close(densities.log_components(*given), expected)


@pytest.mark.parametrize("family", ["full", "diag", "spherical"])
@pytest.mark.parametrize("kind", ["conjugate", "independent", "hierarchical"])
def test_relative_density_has_mean_zero(kind, family):
    prior = prior_of(kind, family)
    found = drawn(prior, family, 20_000)
    _, means, scales = found.mixtures
    member = np.arange(3) == np.zeros((20_000, 1))
    given = means, scales, member, prior, FAMILIES[family], found.scale
    values = densities.log_components(*given, relative=True)
    if kind == "hierarchical":
        nobody = densities.log_components(means, scales, member & False, *given[3:])
        values = values - nobody  # the density of C0 itself
    assert_mean(values, 0.0)


@pytest.mark.parametrize("family", ["full", "tied"])
def test_density_under_distributions_that_are_given(family):
    """Of their sites; that of a covariance all share counts once, and relative ones have mean 0."""
    dof, scale = 5.0, np.array([0.5, 1.0])
    own = {"means": dist.Normal(MEAN, scale), "scales": dist.LogNormal(np.zeros(2), 0.5)}
    own["correlations"] = dist.LKJCholesky(2, dof)
    found = drawn(own, family, 20_000)
    assert found.scale.shape == (20_000, 1)
    _, means, scales = found.mixtures
    sds = np.sqrt(np.square(scales).sum(-1))
    r = scales[..., 1, 0] / sds[..., 1]
    of_covariance = stats.lognorm.logpdf(sds, 0.5).sum(-1)
    of_covariance += stats.beta.logpdf((r + 1) / 2, dof, dof) - np.log(2.0)
    of_mean = stats.norm.logpdf(means, MEAN, scale).sum(-1)
    counted = 1 if family == "tied" else 3
    expected = of_covariance[:, :counted].sum(1) + of_mean.sum(1)
    member = np.ones((20_000, 3), bool)
    given = means, scales, member, own, FAMILIES[family]
    values = densities.log_components(*given)
    assert_close(values, expected, rtol=1e-8)
    relative = densities.log_components(*given, relative=True)
    shift = values - relative  # the mean, which is estimated from 10,000 draws
    assert np.ptp(shift) < 1e-9
    error = np.hypot(1 / np.sqrt(20_000), 3 / np.sqrt(10_000)) * values.std()
    assert abs(relative.mean()) < 4.5 * error


def test_members_alone_count():
    prior = prior_of("conjugate", "full")
    found = drawn(prior, "full")
    _, means, scales = found.mixtures
    some = np.array([True, False, True])
    whole = densities.log_components(
        means[:, some], scales[:, some], np.ones((S, 2), bool), prior, FAMILIES["full"]
    )
    member = np.broadcast_to(some, (S, 3))
    assert_close(densities.log_components(means, scales, member, prior, FAMILIES["full"]), whole)


def config_of(kind, learned=False):
    return GibbsConfig(FAMILIES["full"], exact_form(False), kind, learned)


@pytest.mark.parametrize(
    ("prior", "law"),
    [
        (ConcentrationPrior.gamma(2.0, 4.0), stats.gamma(2.0, scale=0.25)),
        (ConcentrationPrior.f(6.0, 3.0), stats.f(6.0, 3.0)),
    ],
)
def test_density_of_concentrations_is_scipys(prior, law):
    alpha = np.array([0.01, 0.3, 1.0, 8.0])
    assert_close(densities.log_concentration(alpha, prior), law.logpdf(alpha))


def test_density_of_known_weights_is_scipys():
    rng = np.random.default_rng(0)
    alpha = np.array([0.4, 1.0, 3.0])
    w = np.stack([rng.dirichlet(np.full(3, 2.0)) for _ in alpha])
    gamma = ConcentrationPrior.gamma(2.0, 4.0)
    prior = GibbsPrior(SlotPrior(np.zeros(1), 3), gamma, None)
    found = densities.log_weights(
        np.log(w), np.ones((3, 3)), alpha, prior, config_of("finite", True)
    )
    own = [stats.dirichlet.logpdf(row, np.full(3, a)) for row, a in zip(w, alpha, strict=True)]
    assert_close(found, own + stats.gamma(2.0, scale=0.25).logpdf(alpha))


PARTITIONS = {
    "static": (SlotPrior(UP_TO_4), lambda a: FiniteMixture.static(a, UP_TO_4, 4)),
    "dynamic": (SlotPrior(UP_TO_4), lambda a: FiniteMixture.dynamic(a, UP_TO_4, 4)),
    "process": (SlotPrior(np.zeros(1), 1, 0.25), lambda a: PitmanYor(a, 0.25)),
}


@pytest.mark.parametrize("kind", PARTITIONS)
def test_weights_of_an_unknown_number_are_judged_by_their_partition(kind):
    weights, partitions = PARTITIONS[kind]
    counts = np.array([[3.0, 2.0, 0.0, 0.0], [2.0, 1.0, 1.0, 1.0]])
    alpha = np.array([0.4, 2.0])
    prior = GibbsPrior(weights, ConcentrationPrior.gamma(1.0, 1.0), None)
    found = densities.log_weights(np.zeros((2, 4)), counts, alpha, prior, config_of(kind))
    expected = [log_eppf(partitions(a), c) for a, c in zip(alpha, counts, strict=True)]
    assert_close(found, np.array(expected), rtol=1e-8)
