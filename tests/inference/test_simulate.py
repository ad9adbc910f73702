"""Draws of the whole model from its prior: against SciPy, the EPPF and the exact p(K+)."""

import numpy as np
import pytest
from scipy import stats

from bayesgmm.core import FAMILIES, FiniteMixture, NormalInverseWishart, PitmanYor, prior_n_clusters
from bayesgmm.core.concentration import ConcentrationPrior
from bayesgmm.core.forms import exact_form
from bayesgmm.core.independent import HierarchicalPrior, IndependentPrior
from bayesgmm.core.slots import SlotPrior
from bayesgmm.inference.gibbs import GibbsConfig, GibbsPrior
from bayesgmm.inference.simulate import STICKS, draw_concentration, simulate
from tests.conftest import assert_mean

pytestmark = pytest.mark.usefixtures("x64")

S, N = 20_000, 5
D = 2
MATRIX = np.array([[1.5, 0.4], [0.4, 0.9]])
ONE = NormalInverseWishart(np.array([[0.3, -0.2]]), np.array([0.5]), np.array([7.0]), MATRIX[None])
UP_TO_4 = np.log(np.array([0.1, 0.2, 0.3, 0.4]))


def drawn(
    kind="finite", weights=None, components=ONE, family="full", alpha=0.7, seed=0, size=S, **learned
):
    concentration = learned.get("concentration")
    family = FAMILIES[family]
    config = GibbsConfig(
        family, exact_form(family.axis_aligned), kind, learned=concentration is not None
    )
    weights = SlotPrior(np.zeros(1), 3) if weights is None else weights
    prior = GibbsPrior(weights, concentration, components)
    return simulate(np.random.default_rng(seed), prior, config, alpha, N, size)


PARTITIONS = {
    "finite": (SlotPrior(np.zeros(1), 3), lambda a: FiniteMixture.fixed(a, 3)),
    "static": (SlotPrior(UP_TO_4), lambda a: FiniteMixture.static(a, UP_TO_4, N)),
    "dynamic": (SlotPrior(UP_TO_4), lambda a: FiniteMixture.dynamic(a, UP_TO_4, N)),
    "process": (SlotPrior(np.zeros(1), 1, 0.25), lambda a: PitmanYor(a, 0.25)),
}


@pytest.mark.parametrize("kind", PARTITIONS)
def test_number_of_clusters_and_labels_given_weights(kind):
    weights, partitions = PARTITIONS[kind]
    found = drawn(kind, weights)
    number = (found.counts > 0).sum(1)
    exact = np.asarray(prior_n_clusters(partitions(0.7), N))
    assert_mean(number[:, None] == np.arange(1, N + 1), exact)
    w = np.exp(found.mixtures.log_weights)
    np.testing.assert_allclose(w.sum(1), 1.0, rtol=1e-12)
    own = np.take_along_axis(w, found.labels, 1)  # two points share a place with sum of w^2
    assert_mean(
        (found.labels[:, 0] == found.labels[:, 1]) - 1.0 * np.square(w).sum(1), 0.0
    ) if kind != "process" else assert_mean(own[:, 0] - own[:, 1], 0.0)


def test_weights_of_a_known_number_are_dirichlet():
    w = np.exp(drawn().mixtures.log_weights)
    assert stats.kstest(w[:, 0], stats.beta(0.7, 1.4).cdf).pvalue > 1e-3


def test_sticks_of_a_process_are_those_of_size_biased_order():
    """The cluster of the first point has weight Beta(1 - d, alpha + d) (Pitman 1996)."""
    found = drawn("process", PARTITIONS["process"][0])
    first = np.exp(found.mixtures.log_weights)[:, 0]
    assert stats.kstest(first, stats.beta(0.75, 0.95).cdf).pvalue > 1e-3
    w = np.exp(found.mixtures.log_weights)
    second = w[:, -STICKS] / (1 - first)  # the first stick of what is left
    alone = found.labels.max(1) == 0
    posterior = stats.beta(0.75, 0.7 + 0.25 + 0.25).cdf
    assert stats.kstest(second[alone], posterior).pvalue > 1e-3


def test_concentrations():
    rng = np.random.default_rng(1)
    gamma = draw_concentration(rng, ConcentrationPrior.gamma(2.0, 4.0), S)
    assert stats.kstest(gamma, stats.gamma(2.0, scale=0.25).cdf).pvalue > 1e-3
    f = draw_concentration(rng, ConcentrationPrior.f(6.0, 3.0), S)
    assert stats.kstest(f, stats.f(6.0, 3.0).cdf).pvalue > 1e-3


def test_learned_concentration_and_number_of_components():
    found = drawn("static", SlotPrior(UP_TO_4), concentration=ConcentrationPrior.gamma(2.0, 4.0))
    assert_mean(found.n_components[:, None] == np.arange(1, 5), np.exp(UP_TO_4))
    assert (np.isfinite(found.mixtures.log_weights).sum(1) == found.n_components).all()
    assert stats.kstest(found.alpha, stats.gamma(2.0, scale=0.25).cdf).pvalue > 1e-3


def inverse_wishart(found):
    scales = found.mixtures.scales
    return scales @ np.swapaxes(scales, -1, -2)


def test_conjugate_components_and_points():
    found = drawn()
    covariances = inverse_wishart(found)
    assert_mean(covariances[:, 0], MATRIX / (7.0 - D - 1))
    precision = np.linalg.inv(covariances[:, 1])
    assert_mean(precision, 7.0 * np.linalg.inv(MATRIX))
    theirs = stats.invwishart(7.0, MATRIX).rvs(S, random_state=0)
    ours, other = (np.linalg.slogdet(c)[1] for c in (covariances[:, 2], theirs))
    assert stats.ks_2samp(ours, other).pvalue > 1e-3
    white = np.linalg.solve(found.mixtures.scales, (found.mixtures.means - ONE.mean)[..., None])
    assert stats.kstest(np.sqrt(0.5) * white[:, 0, 1, 0], stats.norm.cdf).pvalue > 1e-3
    rows = np.arange(S)[:, None], found.labels
    gap = found.points - found.mixtures.means[rows]
    distance = np.square(np.linalg.solve(found.mixtures.scales[rows], gap[..., None])).sum((2, 3))
    assert stats.kstest(distance[:, 0], stats.chi2(D).cdf).pvalue > 1e-3


def test_families_share_what_they_share():
    tied = drawn(family="tied")
    assert (np.ptp(tied.mixtures.scales, axis=1) == 0).all()
    for family, scale in (("diag", np.array([[1.5, 0.9]])), ("spherical", np.array([[1.5]]))):
        found = drawn(family=family, components=ONE._replace(scale=scale))
        variances = np.square(np.diagonal(found.mixtures.scales, axis1=2, axis2=3))
        for j, b in enumerate(np.broadcast_to(scale[0], 2)):
            law = stats.invgamma(3.5, scale=b / 2)
            assert stats.kstest(variances[:, 0, j], law.cdf).pvalue > 1e-3
        assert (np.ptp(variances, axis=2) == 0).all() == (family == "spherical")


def test_independent_and_hierarchical_components():
    spread = np.array([[1.2, -0.3], [-0.3, 0.8]])
    own = IndependentPrior(ONE.mean, spread[None], ONE.dof, ONE.scale)
    means = drawn(components=own).mixtures.means[:, 0]
    assert_mean(means, ONE.mean[0])
    assert_mean(np.einsum("si,sj->sij", means - ONE.mean, means - ONE.mean), spread)
    rate = MATRIX
    own = HierarchicalPrior(ONE.mean, spread[None], ONE.dof, np.array([2.5]), rate[None])
    found = drawn(components=own)
    assert_mean(found.scale[:, 0], 2.5 * np.linalg.inv(rate))
    given = inverse_wishart(found)[:, 0] * (7.0 - D - 1)  # E[Sigma | C0] = 2 C0 / (dof - D - 1)
    assert_mean(given - 2.0 * found.scale[:, 0], 0.0)
    theirs = stats.wishart(5.0, np.linalg.inv(2.0 * rate)).rvs(S, random_state=1)
    ours, other = (np.linalg.slogdet(c)[1] for c in (found.scale[:, 0], theirs))
    assert stats.ks_2samp(ours, other).pvalue > 1e-3


def test_the_same_seed_gives_the_same_draws():
    one, two, other = (
        drawn("process", PARTITIONS["process"][0], seed=s, size=9) for s in (3, 3, 4)
    )
    assert (one.points == two.points).all() and (one.points != other.points).all()
