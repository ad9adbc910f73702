"""Split-merge paths: the exact posterior with them and one Gibbs scan a sweep, and their parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from bayesgmm.core import FAMILIES, FiniteMixture, PitmanYor, choose_form, log_eppf
from bayesgmm.core.forms import exact_form
from bayesgmm.core.independent import IndependentPrior
from bayesgmm.core.slots import WEIGHTINGS, SlotPrior
from bayesgmm.inference import chains, clusters, gibbs, splitmerge
from tests.conftest import assert_close, slow
from tests.inference.test_gibbs import (
    ANY,
    FEW,
    begun,
    cases_of,
    compared,
    components_for,
    counts_of,
    data_of,
    exact,
    log_likelihoods,
    of_case,
    partitions_of,
    sampled,
)

pytestmark = pytest.mark.usefixtures("x64")

ENDS = (1, 0, 1, 1)
"""Two paths of one operation and one of two."""

CASES = [
    ("m6_collinear2d", "finite_K3_gamma1", "niw_unit", 1_500),
    slow("m6_collinear2d", "mfm_bnb143_dynamic_alpha1", "nig_diag", 1_000),
    slow("u6", "dp_alpha1", "nig_unit", 1_000),
    slow("u6", "mfm_poisson1_gamma1", "nig_unit", 1_000),
]


@pytest.mark.parametrize("name, prior, component_prior, n_draws", CASES)
def test_the_exact_posterior(name, prior, component_prior, n_draws):
    (case,) = cases_of(name, prior, component_prior=component_prior)
    draws = of_case(name, case, n_draws, moves=ENDS)
    for error, z in compared(draws, case).values():
        assert error < 0.02 and z < 4
    up, down, level = draws.accepted.sum(0)
    assert min(up, down, level) > 0.05 * n_draws * len(draws.accepted)
    assert abs(up - down) <= 8 * len(draws.accepted)  # no more than starts and ends differ by


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tied", "spherical"])
def test_families_that_share(name):
    """Clusters with one covariance are conditioned on it: it is no product once summed out."""
    family, partitions = FAMILIES[name], partitions_of(len(FEW))
    components, alpha, K = components_for(family), 0.8, 3
    fixed = FiniteMixture.fixed(alpha, K)
    log_joint = log_likelihoods(FEW, partitions, components, family)
    log_joint = log_joint + np.asarray(
        jax.vmap(lambda n: log_eppf(fixed, n))(counts_of(partitions))
    )
    prior = gibbs.GibbsPrior(SlotPrior(np.zeros(1), K), ANY, components)
    draws = sampled(FEW, prior, name, "finite", alpha, K + 1, 1_500, moves=ENDS)
    for error, z in compared(draws, exact(log_joint, partitions)).values():
        assert error < 0.02 and z < 4
    assert (draws.accepted > 0).all() and (draws.counts > 0).sum(-1).max() == K


def independent_for(family, D):
    """A prior whose mean and covariance are independent, and its numbers for SciPy."""
    covariance = 2.0 * np.eye(D) + 0.5
    scale = 0.5 * np.eye(D) + 0.1
    if family.axis_aligned:
        covariance, scale = np.diag(covariance), np.diag(scale)
    scale = scale[:1] if family.isotropic else scale
    return IndependentPrior(
        np.full((1, D), 0.3), covariance[None], np.array([D + 2.5]), scale[None]
    )


def log_inverse_wishart_mass(dof, scale):
    """Log of the integral of |S|^-(dof+p+1)/2 exp(-tr(scale S^-1)/2), for matrices [..., p, p]."""
    p = scale.shape[-1]
    log_det = np.linalg.slogdet(scale)[1]
    return special.multigammaln(dof / 2, p) + dof * p / 2 * np.log(2) - dof / 2 * log_det


def log_marginal_by_quadrature(x, prior, family):
    """Of one cluster [n, D]: the covariance integrated given the mean, the mean on a grid."""
    n, D = x.shape
    axes = np.meshgrid(*[np.linspace(-9, 9, 241)] * D, indexing="ij")
    mu, cell = np.stack([axis.ravel() for axis in axes], 1), (18 / 240) ** D
    scatter = np.einsum("mni,mnj->mij", x - mu[:, None], x - mu[:, None])
    dof, covariance, scale = prior.dof[0], prior.covariance[0], prior.scale[0]
    if family.axis_aligned:
        covariance, columns = np.diag(covariance), np.diagonal(scatter, axis1=1, axis2=2)
        if family.isotropic:
            dof_n, columns = dof + n * D, columns.sum(1, keepdims=True)
        else:
            dof_n = dof + n
        after = log_inverse_wishart_mass(dof_n, (scale + columns)[..., None, None]).sum(1)
        before = log_inverse_wishart_mass(dof, scale[:, None, None]).sum()
    else:
        after = log_inverse_wishart_mass(dof + n, scale + scatter)
        before = log_inverse_wishart_mass(dof, scale)
    log_prior = stats.multivariate_normal(prior.mean[0], covariance).logpdf(mu)
    inside = log_prior + after - before - n * D / 2 * np.log(2 * np.pi)
    return special.logsumexp(inside) + np.log(cell)


def log_likelihood_sharing(x, labels, prior):
    """Of a partition of points on a line, the variance common to all clusters on a grid."""
    dof, scale = prior.dof[0], prior.scale[0, 0, 0]
    log_v = np.linspace(-7, 6, 400)
    v = np.exp(log_v)
    found = stats.invgamma(dof / 2, scale=scale / 2).logpdf(v) + log_v
    for label in np.unique(labels):
        own = x[labels == label, 0]
        for i, var in enumerate(v):
            spread = var * np.eye(len(own)) + prior.covariance[0, 0, 0]
            found[i] += stats.multivariate_normal(
                np.full(len(own), prior.mean[0, 0]), spread
            ).logpdf(own)
    return special.logsumexp(found) + np.log(log_v[1] - log_v[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "tied", "spherical", "diag"])
def test_a_mean_independent_of_its_covariance(name):
    """Enumeration, with every mean or (if shared, of one feature) the variance by quadrature."""
    family, x = FAMILIES[name], FEW[:5]
    x = x[:, :1] if family.pooled else x
    prior, partitions = independent_for(family, x.shape[1]), partitions_of(len(x))
    if family.pooled:
        log_joint = np.array([log_likelihood_sharing(x, z, prior) for z in partitions])
    else:
        sets = [frozenset(np.flatnonzero(z == k)) for z in partitions for k in np.unique(z)]
        own = {s: log_marginal_by_quadrature(x[sorted(s)], prior, family) for s in set(sets)}
        log_joint = np.array(
            [sum(own[frozenset(np.flatnonzero(z == k))] for k in np.unique(z)) for z in partitions]
        )
    process = PitmanYor(0.9, 0.2)
    log_joint = log_joint + np.asarray(
        jax.vmap(lambda n: log_eppf(process, n))(counts_of(partitions))
    )
    given = gibbs.GibbsPrior(SlotPrior(np.zeros(1), 1, 0.2), ANY, prior)
    draws = sampled(x, given, name, "process", 0.9, 32, 800, moves=ENDS)
    for error, z in compared(draws, exact(log_joint, partitions)).values():
        assert error < 0.02 and z < 4
    assert (draws.accepted.sum(0) > 0.02 * 800 * len(draws.accepted)).all()


@pytest.mark.parametrize("name", ["full", "diag"])
def test_moments_are_carried_along(name):
    """What comes back is the moments of the labels, from moments about any reference."""
    family, data = FAMILIES[name], jax.tree.map(jnp.asarray, data_of(FEW))
    config = gibbs.GibbsConfig(family, exact_form(family.axis_aligned), "process")
    prior = gibbs.GibbsPrior(SlotPrior(np.zeros(1)), ANY, components_for(family))
    state = chains.run(begun(data, 1.0, config, 16, n_chains=1), data, prior, config, 3).state
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), state)
    moves = splitmerge.Moves(jnp.asarray(splitmerge.neighbours(data, 3)))
    walked = jax.jit(
        lambda: splitmerge.paths(
            state.key,
            state.labels,
            state.found,
            state.mixture,
            state.alpha,
            data,
            clusters.conjugate(prior.components, state.mixture.scales, family),
            WEIGHTINGS["process"],
            prior.weights,
            moves,
            (1,) * 12,
            config.form,
        )
    )()
    member = (np.asarray(walked.labels)[: len(FEW)] == np.arange(16)[:, None]).astype(float)
    second = np.einsum("kn,ni,nj->kij", member, FEW, FEW)
    second = np.diagonal(second, axis1=1, axis2=2) if name == "diag" else second
    assert_close(walked.found[:3], (member.sum(1), member @ FEW, second), atol=1e-9)
    assert walked.accepted.sum() > 0 and not walked.wanting
    counts = jnp.asarray(walked.found.counts)
    whole = WEIGHTINGS["process"].joined_of(counts, state.alpha, prior.weights)
    assert_close(walked.joined, whole, rtol=1e-9)


@pytest.mark.slow
def test_a_split_without_a_free_slot_is_counted():
    """Four points in two slots, under a prior that has each of them on its own."""
    x = np.array([[-3.0], [-1.0], [1.0], [3.0]])
    data, family = data_of(x), FAMILIES["full"]
    components = components_for(family, 1)
    prior = gibbs.GibbsPrior(
        SlotPrior(np.zeros(1)),
        ANY,
        components,
        splitmerge.Moves(splitmerge.neighbours(data)),
    )
    config = gibbs.GibbsConfig(family, choose_form(1), "process", moves=splitmerge.UNKNOWN)
    states = begun(data, 20.0, config, 2, n_chains=4)
    limited = chains.run(states, data, prior, config, 50, max_slots=2)
    free = chains.run(states, data, prior, config, 50)
    assert (limited.crowded > 0).all() and (free.crowded == 0).all()
    assert free.counts.shape[2] > 2 and (free.counts > 0).sum(-1).max() == 4


def test_neighbours():
    x = np.random.default_rng(0).normal(size=(40, 2)) * [1.0, 50.0]
    x[7] = x[3]
    near = splitmerge.neighbours(data_of(x[:30]), 5)
    white = (x[:30] - x[:30].mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x[:30].T))).T
    distance = np.linalg.norm(white[:, None] - white, axis=2) + np.diag(np.full(30, np.inf))
    for i in range(30):
        expected = np.sort(distance[i])[:5]
        np.testing.assert_allclose(np.sort(distance[i, near[i]]), expected, atol=1e-9)
    assert splitmerge.neighbours(data_of(x[:1])).shape == (32, 1)
    assert (splitmerge.neighbours(data_of(np.zeros((5, 2))))[:5] != np.arange(5)[:, None]).all()


@pytest.mark.parametrize("N", [5, 64, 65, 1000])
def test_one_of_many_and_a_sum_of_logarithms(N):
    rng = np.random.default_rng(N)
    mask, x = rng.random(N) < 0.6, 30 * rng.normal(size=N)
    places = np.flatnonzero(mask)
    for number in range(0, len(places), max(1, len(places) // 20)):
        assert splitmerge._nth(jnp.asarray(mask), jnp.float64(number)) == places[number]
    found = splitmerge._sum_of_softplus(jnp.asarray(x), jnp.asarray(mask))
    np.testing.assert_allclose(found, np.logaddexp(0, x)[mask].sum(), rtol=1e-13)
