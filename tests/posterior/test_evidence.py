"""Log marginal likelihoods against exact ones, permanents and laws against their definitions."""

from itertools import permutations, product

import jax
import numpy as np
import pytest
from scipy import special, stats

from bayesgmm.core import FAMILIES, NormalInverseWishart, pad
from bayesgmm.core.mixture import Mixture
from bayesgmm.inference import tilting
from bayesgmm.posterior import bridge, comparison, evidence, laws
from bayesgmm.posterior.evidence import Evidence, EvidenceOverComponents
from tests.conftest import assert_close
from tests.posterior.test_prior import DOF, MEAN, prior_of, scale_of

pytestmark = pytest.mark.usefixtures("x64")

ALPHA = 0.7
SPREAD = np.array([[1.2, -0.3], [-0.3, 0.8]])
TYPES = ("full", "tied", "diag", "spherical")


def mixtures(family, M=3, K=2, seed=0):
    rng = np.random.default_rng(seed)
    drawn = stats.invwishart.rvs(9, 5 * np.eye(2), M * K, random_state=rng)
    scales = np.linalg.cholesky(drawn).reshape(M, K, 2, 2)
    if FAMILIES[family].axis_aligned:
        scales = np.diagonal(scales, axis1=-2, axis2=-1)
    if FAMILIES[family].isotropic:
        scales = np.repeat(scales[..., :1], 2, -1)
    if FAMILIES[family].pooled:
        scales = scales[:, :1]
    weights = np.log(rng.dirichlet(np.ones(K), M))
    return Mixture(weights, rng.normal(size=(M, K, 2)), scales)


def of_covariance(covariance, dof, scale, family):
    if family == "diag":
        return stats.invgamma.logpdf(np.diagonal(covariance), dof / 2, scale=scale / 2).sum()
    if family == "spherical":
        return stats.invgamma.logpdf(covariance[0, 0], dof / 2, scale=scale[0] / 2)
    return stats.invwishart.logpdf(covariance, dof, scale)


def covariance_of(scales, k):
    one = scales[min(k, len(scales) - 1)]
    return np.diag(one**2) if one.ndim == 1 else one @ one.T


def scipy_prior(mixture, kind, family, scale=None):
    """Log density of one mixture under the prior, given C0 if that is random."""
    log_weights, means, scales = mixture
    K, axis = len(means), FAMILIES[family].axis_aligned
    scale = scale_of(family) if scale is None else scale
    total = stats.dirichlet.logpdf(np.exp(log_weights), np.full(K, ALPHA))
    for k in range(K):
        covariance = covariance_of(scales, k)
        if k == 0 or not FAMILIES[family].pooled:
            total += of_covariance(covariance, DOF, scale, family)
        spread = covariance / 0.5 if kind == "conjugate" else SPREAD
        spread = np.diag(np.diagonal(spread)) if axis else spread
        total += stats.multivariate_normal.logpdf(means[k], MEAN, spread)
    return total


# --- permanents


@pytest.mark.parametrize("K", [1, 2, 3, 5])
def test_permanents_are_sums_over_all_orders(K):
    logs = np.random.default_rng(K).normal(size=(K, K, 4)) * 5
    orders = [sum(logs[k, o[k]] for k in range(K)) for o in permutations(range(K))]
    assert_close(bridge.log_permanent(logs), special.logsumexp(orders, axis=0))


def test_a_permanent_of_ones_is_a_factorial_even_far_from_one():
    logs = np.full((10, 10, 1), -3000.0)
    assert_close(bridge.log_permanent(logs), [special.gammaln(11) - 30000])


# --- laws


@pytest.mark.parametrize("family", TYPES)
@pytest.mark.parametrize("kind", ["conjugate", "independent"])
def test_the_prior_density_is_scipys(kind, family):
    some = mixtures(family)
    found = laws.log_prior(
        laws.features(some, FAMILIES[family]), prior_of(kind, family), ALPHA, FAMILIES[family]
    )
    expected = [scipy_prior(Mixture(*(leaf[i] for leaf in some)), kind, family) for i in range(3)]
    assert_close(found, expected)


@pytest.mark.parametrize("family", TYPES)
def test_a_random_scale_is_integrated_out(family):
    """Bayes: p(theta) = p(theta | C0) p(C0) / p(C0 | theta), at any C0."""
    some, prior = mixtures(family), prior_of("hierarchical", family)
    row, rate = FAMILIES[family], scale_of(family)
    found = laws.log_prior(laws.features(some, row), prior, ALPHA, row)
    for i in range(3):
        one = Mixture(*(leaf[i] for leaf in some))
        n = 1 if row.pooled else 2
        seen = sum(np.linalg.inv(covariance_of(one.scales, k)) for k in range(n))
        C0 = scale_of(family) * 0.8
        given = scipy_prior(one, "independent", family, 2 * C0)
        if row.axis_aligned:
            after = rate + np.diagonal(seen)[: len(rate)]
            density = lambda a, b: stats.gamma.logpdf(C0, a, scale=1 / b).sum()  # noqa: B023, E731
        else:
            after = rate + seen
            density = lambda a, b: stats.wishart.logpdf(  # noqa: E731
                C0,  # noqa: B023
                2 * a,
                np.linalg.inv(2 * b),
            )
        expected = given + density(2.5, rate) - density(2.5 + n * DOF / 2, after)
        assert_close(found[i], expected, rtol=1e-9)


@pytest.mark.parametrize("family", TYPES)
@pytest.mark.parametrize("kind", ["conjugate", "independent", "hierarchical"])
def test_laws_have_the_densities_that_they_are_drawn_from(kind, family):
    """E_q[2 r / (q + r)] = E_r[2 q / (q + r)] for the laws q and r given two labellings."""
    row, prior = FAMILIES[family], prior_of(kind, family)
    rng, M = np.random.default_rng(1), 3000
    data = pad(rng.normal(size=(6, 2)))

    def law_of(labels):
        padded = np.pad([labels], [(0, 0), (0, data.weight.size - 6)]).astype(np.int32)
        C0 = (0.8 * scale_of(family))[None, None] if kind == "hierarchical" else np.zeros((1, 1))
        return laws.laws(laws.Given(padded, mixtures(family, 1, 2, 2), C0), data, prior, row)

    pair = law_of([0, 0, 1, 1, 1, 1]), law_of([0, 0, 1, 1, 0, 1])
    naturals = [laws.natural(law, ALPHA, row) for law in pair]
    means, variances = [], []
    for law, other in zip(pair, (1, 0), strict=True):
        many = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), M, 0), law)
        theta = laws.features(laws.draws(many, ALPHA, row, rng), row)
        logs = np.stack([bridge.log_density(theta, one) for one in naturals])
        shares = 2 * np.exp(logs[other] - special.logsumexp(logs, axis=0))
        means.append(shares.mean())
        variances.append(shares.var() / M)
    assert abs(means[0] - means[1]) < 4.5 * np.sqrt(sum(variances)), (means, variances)
    assert 0.05 < means[0] < 0.99  # so that it says something


# --- the bridge


def test_a_bridge_between_normals_is_their_ratio():
    """Z = 3 exactly: p = 3 N(0, 1), q = N(0.5, 1.5^2), with the error as it should be."""
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        log_ratio = lambda x: (  # noqa: E731
            np.log(3) + stats.norm.logpdf(x) - stats.norm.logpdf(x, 0.5, 1.5)
        )
        post, prop = rng.normal(size=(4, 250)), rng.normal(0.5, 1.5, 1000)
        found.append(bridge.bridged(log_ratio(post), log_ratio(prop)))
    logs, errors, overlaps = np.array(found).T
    scores = (logs - np.log(3)) / errors
    assert abs(scores.mean()) < 0.75 and 0.7 < scores.std() < 1.4
    assert errors.max() < 0.05 and (overlaps > 0.5).all()


# --- over the number of components


def urn(labels, K):
    """Probability of labels, one after the other, under Dirichlet(ALPHA) weights."""
    taken, total = np.zeros(K), 1.0
    for k in labels:
        total *= (taken[k] + ALPHA) / (taken.sum() + K * ALPHA)
        taken[k] += 1
    return total


def test_k_given_clusters_by_enumeration_of_labels():
    prior = np.array([0.1, 0.2, 0.3, 0.4])
    together = [
        sum(urn(z, K) for z in product(range(K), repeat=3) if z[0] == z[1] != z[2])
        for K in range(1, 5)
    ]
    expected = prior * together / (prior @ together)
    found = tilting.log_probability_of_number(np.array(2), 3, np.array(ALPHA), np.log(prior))
    assert_close(np.exp(found), expected)


def test_ratios_of_a_tilted_run_and_their_errors():
    """Independent draws of K+ from known probabilities."""
    tilt = np.array([2.0, 0.5, 0.0])
    rng, N = np.random.default_rng(0), 10
    given = tilting.log_probability_of_number(np.array([1, 2, 3]), N, np.array(1.0), tilt)
    of_t = np.array([0.3, 0.5, 0.2])
    exact = np.log(of_t @ np.exp(given))
    exact = exact - exact[0] - (tilt - tilt[0])
    scores = []
    for _ in range(30):
        t = rng.choice(3, size=(8, 500), p=of_t)
        run = tilting.Tilted(given[t], tilt, True, False)
        found = evidence.over_components(run, Evidence(-5.0, 0.0, "closed form", 1), (1, 2, 3))
        assert found.log_evidence[0] == -5 and found.standard_error[0] == 0
        scores.append((found.log_evidence + 5 - exact)[1:] / found.standard_error[1:])
    assert np.abs(np.mean(scores, 0)).max() < 0.85 and 0.6 < np.std(scores) < 1.5
    assert found[2].n_components == 2 and found.table().index.tolist() == [1, 2, 3]
    assert "EvidenceOverComponents" in repr(found) and "n_components=2" in repr(found[2])
    with pytest.raises(KeyError):
        found[4]


def test_without_one_component_there_is_no_anchor():
    given = tilting.log_probability_of_number(np.full((2, 50), 2), 10, np.array(1.0), np.zeros(3))
    found = evidence.over_components(
        tilting.Tilted(given, np.zeros(3), False, False), Evidence(-5.0, 0.0, "x", 1), (1, 2, 3)
    )
    assert found.standard_error.tolist() == [0.0, np.inf, np.inf]


@pytest.mark.parametrize("family", TYPES)
def test_one_component_by_the_chain_rule_of_student_t(family):
    """p(x) = prod p(x_n | before): one feature, so that all families are the same but for names."""
    x, prior = np.array([0.3, -1.2, 0.8, 2.0]), (0.2, 0.5, 4.0, 1.5)
    m0, k0, nu0, S0 = prior
    row = FAMILIES[family]
    scale = np.array([[S0]]) if row.axis_aligned else np.array([[[S0]]])
    components = NormalInverseWishart(np.array([[m0]]), np.array([k0]), np.array([nu0]), scale)
    total, m, k, nu, S = 0.0, m0, k0, nu0, S0
    for value in x:
        total += stats.t.logpdf(value, nu, m, np.sqrt(S * (k + 1) / (k * nu)))
        S, m = S + k / (k + 1) * (value - m) ** 2, (k * m + value) / (k + 1)
        k, nu = k + 1, nu + 1
    assert_close(evidence.of_one_component(pad(x[:, None]), components, row), total)


# --- comparison


def test_probabilities_and_their_errors():
    logs, prior = np.array([-10.0, -8.0, -9.0]), np.array([0.5, 0.2, 0.3])
    rng = np.random.default_rng(0)
    root = 0.02 * rng.normal(size=(3, 3))
    both = EvidenceOverComponents(
        (1, 2, 3), logs, np.sqrt(np.diag(root @ root.T)), root @ root.T, "mfm"
    )
    table = comparison.compare_evidence(both, prior)
    weights = prior * np.exp(logs)
    assert_close(table["probability"], weights / weights.sum())
    assert_close(table["log_bayes_factor"], logs - logs[1])
    draws = logs + rng.normal(size=(100_000, 3)) @ root.T  # the errors by simulation
    simulated = special.softmax(draws + np.log(prior), axis=1).std(0)
    assert_close(table["probability_error"], simulated, rtol=0.03)
    assert_close(table["log_bayes_factor_error"], (draws - draws[:, [1]]).std(0), rtol=0.02)


def test_models_by_name_and_bad_input():
    one, two = Evidence(-10.0, 0.3, "bridge", 2), Evidence(-9.0, 0.4, "bridge", 2)
    table = comparison.compare_evidence({"full": one, "tied": two})
    assert table.index.tolist() == ["full", "tied"]
    assert table.loc["full", "log_bayes_factor_error"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"different models, got n_components \[2, 2\]: name them"):
        comparison.compare_evidence([one, two])
    with pytest.raises(TypeError, match=r"as log_evidence gives them; got \['float'\]"):
        comparison.compare_evidence([1.0, 2.0])
    for nothing in (one, [], {}):
        with pytest.raises(TypeError, match="evidences must be"):
            comparison.compare_evidence(nothing)
    with pytest.raises(ValueError, match="prior must hold 2 probabilities"):
        comparison.compare_evidence({"full": one, "tied": two}, [1.0])
