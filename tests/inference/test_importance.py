"""The importance-weighted check: sums over orders, densities, exact evidences of few points."""

import itertools
import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import integrate, special, stats

from bayesgmm.core import FAMILIES, NormalInverseWishart, exact_form
from bayesgmm.core.concentration import Fixed, GammaConcentration, Sticks, Symmetric
from bayesgmm.core.weights import StickBreaking
from bayesgmm.inference import importance, orders, vb
from tests.conftest import slow
from tests.inference.test_vb import data_of, exact_cases, exact_components, reference

pytestmark = pytest.mark.usefixtures("x64")


# --- sums over orders ---------------------------------------------------------------------------


def orders_of(K, P):
    """Every way in which K components and P - K times none (number K) stand in P places."""
    return sorted(set(itertools.permutations([*range(K), *[K] * (P - K)])))


@pytest.mark.parametrize("K, P", [(1, 1), (2, 5), (4, 4)])
def test_the_sum_of_orders_is_that_of_all_of_them(K, P):
    terms = 30 * np.random.default_rng(K).normal(size=(P, K + 1))
    each = [terms[np.arange(P), order].sum() for order in orders_of(K, P)]
    found = orders.sum_of_orders(jnp.asarray(terms))
    np.testing.assert_allclose(found, special.logsumexp(each), rtol=1e-12)


@pytest.mark.parametrize("discount", [0.0, 0.25])
def test_orders_of_sticks_come_with_their_probability(discount):
    counts, alpha, P = np.array([5.0, 1.5, 0.0]), 0.7, 4
    ways = orders_of(2, P)
    prior = StickBreaking.pitman_yor(discount, alpha, P, truncated=False)
    each = np.array([float(prior.log_evidence(counts[list(order)])) for order in ways])
    found = orders.log_total(counts, Sticks(discount), alpha, P)
    np.testing.assert_allclose(found, special.logsumexp(each), rtol=1e-12)
    keys = jr.split(jr.key(0), 4000)
    drawn = jax.vmap(lambda key: orders.draw_order(key, counts, Sticks(discount), alpha, P))(keys)
    seen = (np.asarray(drawn)[:, None] == np.array(ways)).all(2).mean(0)
    expected = special.softmax(each)
    assert (abs(seen - expected) < 4.5 * np.sqrt(expected / 4000) + 1e-12).all()


def test_orders_of_a_dirichlet_are_alike():
    counts = np.array([4.0, 2.0, 0.0])
    found = orders.log_total(counts, Symmetric(5), 0.3, 5)
    one = special.gammaln([4.3, 2.3]).sum() - 2 * special.gammaln(0.3)
    one += special.gammaln(1.5) - special.gammaln(7.5)
    np.testing.assert_allclose(found, one + np.log(len(orders_of(2, 5))), rtol=1e-12)


# --- densities ----------------------------------------------------------------------------------


def test_densities_are_scipys():
    """Of covariances up to a measure, that is the same for every prior."""
    rng = np.random.default_rng(0)
    D, P, J = 2, 3, 2
    roots = np.linalg.cholesky(stats.wishart(5, np.eye(D)).rvs(P, random_state=rng))
    means, centres = rng.normal(size=(P, D)), rng.normal(size=(J, D))
    dofs, scales = np.array([3.0, 7.5]), stats.wishart(6, np.eye(D)).rvs(J, random_state=rng)
    priors = NormalInverseWishart(centres, np.array([0.5, 4.0]), dofs, scales)
    sigmas = roots @ np.swapaxes(roots, 1, 2)
    found = importance._log_means(means, roots, priors)
    expected = [
        [
            stats.multivariate_normal(centres[j], sigmas[p] / priors.mean_precision[j]).logpdf(
                means[p]
            )
            for j in range(J)
        ]
        for p in range(P)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    found = importance._log_scales(roots, priors, FAMILIES["full"])
    expected = np.array(
        [
            [stats.invwishart(dofs[j], scales[j]).logpdf(sigmas[p]) for j in range(J)]
            for p in range(P)
        ]
    )
    np.testing.assert_allclose(np.diff(found), np.diff(expected), rtol=1e-9)
    deviations = np.sqrt(np.diagonal(sigmas, axis1=1, axis2=2))
    for name, columns in (("diag", D), ("spherical", 1)):
        own = priors._replace(scale=np.abs(centres)[:, :columns])
        found = importance._log_scales(deviations, own, FAMILIES[name])
        variances = deviations[:, None, :columns] ** 2
        gamma = stats.invgamma(dofs[:, None] / 2, scale=own.scale / 2)
        np.testing.assert_allclose(np.diff(found), np.diff(gamma.logpdf(variances).sum(-1)))


# --- the evidence -------------------------------------------------------------------------------

STICKS = 3


def checked(x, given, n_components, discount, concentration, n_draws):
    """The best bound of twelve starts, and the check of its posterior."""
    n, D = x.shape
    family = FAMILIES["diag" if given["family"] == "nig_diag" else "full"]
    config = vb.VBConfig(family, exact_form(family.axis_aligned), by_size=n_components is None)
    weights = Sticks(discount) if n_components is None else Symmetric(n_components)
    K = n_components or STICKS
    prior = vb.VBPrior(exact_components(given, D, K), weights, concentration, np.zeros(D))
    data = [data_of(x, size=32)]
    starts = np.random.default_rng(0).integers(0, K, (12, n))
    states = vb.start_all(data, starts, prior, config, np.ones(K, bool))
    run = vb.run(states, data, prior, config, 1e-9, 500)
    bounds = vb.lower_bounds(run.state, data, prior, config)
    posterior = jax.tree.map(lambda leaf: leaf[bounds.argmax()], run.state.posterior.components)
    return bounds.max(), importance.check(data, posterior, prior, family, n_draws, 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dirichlet", "dp", "py"])
def test_the_exact_evidence_on_the_line(kind):
    x = np.array(reference("exact_u6.json")["x"], float)[:, None]
    rows = list(exact_cases("u6", kind))
    for given, n_components, discount, alpha, log_evidence in rows:
        concentration = Fixed(float(alpha))
        bound, found = checked(x, given, n_components, discount, concentration, 2000)
        assert abs(found.log_evidence - log_evidence) < 3 * found.standard_error < 0.6
        assert bound < log_evidence and found.n_draws == 2000
        assert bool(found.left_out) == (kind != "dirichlet")
    assert len(rows) >= 2


@pytest.mark.parametrize(
    "name, every",
    [
        ("m6_collinear2d", 16),
        slow("m6_collinear2d", 1),
        slow("m7_3d", 1),
    ],
)
def test_the_exact_evidence_in_several_dimensions(name, every):
    """Points that nearly lie on a line or in a plane can be shared out in ways that no one q knows:
    labellings do. Four standard errors, as there are two dozen cases."""
    x = np.array(reference(f"exact_{name}.json")["x"], float)
    cases = list(exact_cases(name, "dirichlet"))
    assert len(cases) >= 12
    for given, n_components, _, alpha, log_evidence in cases[::every]:
        bound, found = checked(x, given, n_components, 0.0, Fixed(float(alpha)), 4000)
        gap = found.log_evidence - log_evidence
        assert abs(gap) < 4 * found.standard_error < 0.5
        assert bound < log_evidence and not found.left_out


@pytest.mark.slow
def test_a_concentration_that_is_learned():
    """p(x | alpha) of a Dirichlet process is a polynomial in alpha over a rising factorial, known
    from the exact posterior of the number of clusters at one alpha."""
    exact = reference("exact_u6.json")
    x = np.array(exact["x"], float)[:, None]
    case = next(c for c in exact["cases"] if c["prior"] == "dp_alpha1")
    given = exact["component_priors"][case["component_prior"]]
    shares = {int(t): p for t, p in case["p_Kplus"].items()}
    n = len(x)

    def evidence(alpha):
        rising = np.exp(special.gammaln(alpha) - special.gammaln(alpha + n))
        powers = sum(p * alpha**t for t, p in shares.items())
        return np.exp(case["log_marginal_likelihood"]) * math.factorial(n) * rising * powers

    other = next(
        c
        for c in exact["cases"]
        if c["prior"] == "dp_alpha3" and c["component_prior"] == case["component_prior"]
    )
    np.testing.assert_allclose(np.log(evidence(3.0)), other["log_marginal_likelihood"], atol=1e-8)
    gamma = stats.gamma(1.5, scale=0.5)
    whole = integrate.quad(lambda a: gamma.pdf(a) * evidence(a), 0, np.inf)[0]
    bound, found = checked(x, given, None, 0.0, GammaConcentration(1.5, 2.0), 4000)
    assert abs(found.log_evidence - np.log(whole)) < 3 * found.standard_error < 0.6
    assert bound < np.log(whole)


def test_many_components_are_taken_in_the_order_of_the_fit():
    K = orders.ORDERED + 1
    counts = np.append(np.arange(1.0, K + 1), 0.0)
    terms = np.random.default_rng(0).normal(size=(K + 2, K + 1))
    plain = np.minimum(np.arange(K + 2), K)
    found = orders.sum_of_orders(jnp.asarray(terms))
    np.testing.assert_allclose(found, terms[np.arange(K + 2), plain].sum(), rtol=1e-12)
    for weights in (Sticks(0.25), Symmetric(K + 2)):
        given = weights.given(jnp.array(0.5), np.ones(K + 2, bool))
        found = orders.log_total(counts, weights, jnp.array(0.5), K + 2)
        np.testing.assert_allclose(found, given.log_evidence(counts[plain]), rtol=1e-12)
        assert f"of {K}! there are" in importance._left_out(K, weights)
