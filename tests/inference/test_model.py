"""The NumPyro model: its joint density against SciPy's, and what can be done with it."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, autoguide
from scipy import special, stats

from bayesgmm.core import FAMILIES, NormalInverseWishart, pad
from bayesgmm.core.concentration import ConcentrationPrior
from bayesgmm.core.independent import HierarchicalPrior, IndependentPrior
from bayesgmm.inference import nuts
from bayesgmm.inference.factors import (
    Concentration,
    InverseWishartFactor,
    NormalOfFactor,
    WishartFactor,
)
from bayesgmm.inference.model import (
    ModelConfig,
    ModelPrior,
    latent,
    leftover,
    lkj_prior,
    mixture_model,
)
from tests.conftest import assert_mean, slow

pytestmark = pytest.mark.usefixtures("x64")

K, D = 3, 2
TYPES = ("full", "tied", "diag", "spherical")
S0 = np.array([[0.9, 0.3], [0.3, 0.6]])
B0 = np.array([[2.0, 0.5], [0.5, 1.5]])
M0, DOF, KAPPA, SHAPE = np.array([0.2, -0.3]), 4.5, 0.4, 1.7
X = np.array([[-1.4, -0.2], [-1.0, 0.3], [0.1, 0.4], [1.1, -0.9], [1.5, 0.2]])
WEIGHT = np.array([1.0, 0.5, 2.0, 1.0, 0.25])


def formed(matrix, kind):
    """A matrix as the prior of a family holds it, for one component."""
    family = FAMILIES[kind]
    if not family.axis_aligned:
        return matrix[None]
    return np.diag(matrix)[None, :1] if family.isotropic else np.diag(matrix)[None]


def variances(matrix, kind):
    return np.diag(matrix)[None] if FAMILIES[kind].axis_aligned else matrix[None]


def conjugate(kind):
    return NormalInverseWishart(M0[None], np.array([KAPPA]), np.array([DOF]), formed(S0, kind))


def independent(kind):
    return IndependentPrior(M0[None], variances(B0, kind), np.array([DOF]), formed(S0, kind))


def hierarchical(kind):
    return HierarchicalPrior(
        M0[None], variances(B0, kind), np.array([DOF]), np.array([SHAPE]), formed(S0, kind)
    )


PRIORS = {"conjugate": conjugate, "independent": independent, "hierarchical": hierarchical}


# --- the joint density ----------------------------------------------------------------------------


def log_scale_density(covariance, scale, kind):
    """log p of one covariance [D, D] by SciPy."""
    family = FAMILIES[kind]
    if not family.axis_aligned:
        return stats.invwishart(DOF, scale).logpdf(covariance)
    each = np.diag(covariance)[:1] if family.isotropic else np.diag(covariance)
    return stats.invgamma(DOF / 2, scale=scale / 2).logpdf(each).sum()


def expected_components(name, kind, values):
    """log p(C0, Sigma, mu) by SciPy."""
    family, total = FAMILIES[kind], 0.0
    scale = formed(S0, kind)[0]
    if name == "hierarchical":
        common = np.asarray(values["common_scale"])
        if family.axis_aligned:
            total += stats.gamma(SHAPE, scale=1 / scale).logpdf(common).sum()
        else:
            total += stats.wishart(2 * SHAPE, np.linalg.inv(2 * scale)).logpdf(common)
        scale = 2 * common
    matrices = values["matrices"]
    for covariance in matrices[: 1 if family.pooled else K]:
        total += log_scale_density(covariance, scale, kind)
    for mean, covariance in zip(values["means"], matrices, strict=True):
        wide = B0 * np.eye(D) if family.axis_aligned else B0
        spread = covariance / KAPPA if name == "conjugate" else wide
        total += stats.multivariate_normal(M0, spread).logpdf(mean)
    return total


def log_likelihood(values):
    joint = [
        np.log(w) + stats.multivariate_normal(mean, covariance).logpdf(X)
        for w, mean, covariance in zip(
            values["weights"], values["means"], values["matrices"], strict=True
        )
    ]
    return WEIGHT @ special.logsumexp(joint, axis=0)


def read(position, prior, config, coordinates):
    """Density, values of all sites, and the log volume of the map to free coordinates."""
    data = pad(jnp.asarray(X), jnp.asarray(WEIGHT))

    def values_of(position):
        values = nuts.values_of(position, prior, config)
        trace = numpyro.handlers.trace(numpyro.handlers.substitute(latent, data=values))
        found = {k: site["value"] for k, site in trace.get_trace(prior, config).items()}
        scales = latent_of(values, prior, config).scales
        factors = jax.vmap(jnp.diag)(scales) if scales.ndim == 2 else scales
        matrices = factors @ jnp.swapaxes(factors, 1, 2)
        return {**found, "matrices": jnp.broadcast_to(matrices, (K, D, D))}

    free = lambda position: jnp.concatenate(coordinates(values_of(position)))  # noqa: E731
    jacobian = jax.jacfwd(free)(position)
    density = -nuts.potential_of(position, data, prior, config)
    return density, values_of(position), jnp.linalg.slogdet(jacobian)[1]


def latent_of(values, prior, config):
    return numpyro.handlers.substitute(latent, data=values)(prior, config)


def lower(matrices):
    i, j = np.tril_indices(D)
    return matrices[..., i, j].ravel()


def coordinates_of(values, kind, name="", weights="weights"):
    """As many free numbers as there are unconstrained ones."""
    family = FAMILIES[kind]
    found = [values["means"].ravel(), values[weights][: K - 1]]
    matrices = values["matrices"][: 1 if family.pooled else K]
    if not family.axis_aligned:
        found.append(lower(matrices))
    else:
        each = jnp.diagonal(matrices, axis1=1, axis2=2)
        found.append((each[:, :1] if family.isotropic else each).ravel())
    if name == "hierarchical":
        common = values["common_scale"]
        found.append(common if family.axis_aligned else lower(common))
    if "concentration" in values:
        found.append(values["concentration"][None])
    return found


FIRST = [
    ("conjugate", "full"),
    ("conjugate", "spherical"),
    ("independent", "tied"),
    ("hierarchical", "full"),
    ("hierarchical", "diag"),
]
EVERY = [
    pytest.param(*pair, marks=() if pair in FIRST else pytest.mark.slow)
    for pair in itertools.product(PRIORS, TYPES)
]


@pytest.mark.parametrize("name, kind", EVERY)
def test_the_joint_density_is_scipys(name, kind):
    """With its Jacobians: those of the whole map, by derivative."""
    prior, config = ModelPrior(PRIORS[name](kind), 0.8), ModelConfig(kind, K)
    size = sum(np.size(leaf) for leaf in sizes(prior, config))
    program = jax.jit(
        lambda z: read(z, prior, config, partial(coordinates_of, kind=kind, name=name))
    )
    for position in np.random.default_rng(3).normal(size=(2, size)) * 0.7:
        density, values, volume = program(position)
        expected = expected_components(name, kind, values) + log_likelihood(values)
        expected += stats.dirichlet(np.full(K, 0.8)).logpdf(values["weights"])
        np.testing.assert_allclose(density, expected + volume, rtol=1e-10)


def sizes(prior, config):
    """Free numbers of each site, counted."""
    G, family = (1 if FAMILIES[config.covariance_type].pooled else K), config.family
    each = D * (D + 1) // 2 if not family.axis_aligned else 1 if family.isotropic else D
    found = [np.zeros(K * D), np.zeros(K - 1), np.zeros(G * each)]
    if isinstance(prior.components, HierarchicalPrior):
        found.append(np.zeros(each))
    return [*found, np.zeros(1)] if config.learned else found


LEARNED = {
    "gamma": (ConcentrationPrior.gamma(2.0, 4.0), stats.gamma(2.0, scale=0.25)),
    "f": (ConcentrationPrior.f(6.0, 3.0), stats.f(6.0, 3.0)),
}


@pytest.mark.parametrize("name", LEARNED)
def test_sticks_and_a_concentration_that_is_learned(name):
    given, distribution = LEARNED[name]
    discount = 0.25
    prior = ModelPrior(conjugate("diag"), 1.0, given, discount)
    config = ModelConfig("diag", K, "process", True)
    size = sum(np.size(leaf) for leaf in sizes(prior, config))
    free = partial(coordinates_of, kind="diag", weights="sticks")
    position = np.random.default_rng(3).normal(size=size) * 0.7
    density, values, volume = jax.jit(lambda z: read(z, prior, config, free))(position)
    sticks, alpha = values["sticks"], values["concentration"]
    left = np.append(1.0, np.cumprod(1 - sticks))
    np.testing.assert_allclose(values["weights"], left * np.append(sticks, 1.0))
    expected = expected_components("conjugate", "diag", values) + log_likelihood(values)
    rank = np.arange(1, K)
    expected += stats.beta(1 - discount, alpha + rank * discount).logpdf(sticks).sum()
    expected += distribution.logpdf(alpha)
    np.testing.assert_allclose(density, expected + volume, rtol=1e-10)


def correlations(matrices):
    deviations = jnp.sqrt(jnp.diagonal(matrices, axis1=1, axis2=2))
    return deviations, matrices[:, 1, 0] / deviations.prod(1)


@pytest.mark.parametrize("scales", ["half-normal", slow("log-normal")])
def test_lkj_correlations(scales):
    """In two dimensions (1 + r) / 2 ~ Beta(eta, eta)."""
    eta, spread = 1.8, np.array([1.2, 0.7])
    prior = ModelPrior(lkj_prior(M0, spread, FAMILIES["full"], eta, scales), 0.8)
    config = ModelConfig("full", K)

    def free(values):
        deviations, r = correlations(values["matrices"])
        return values["means"].ravel(), values["weights"][:-1], deviations.ravel(), r

    position = np.random.default_rng(3).normal(size=K * (2 * D + 1) + K - 1) * 0.7
    density, values, volume = jax.jit(lambda z: read(z, prior, config, free))(position)
    deviations, r = correlations(values["matrices"])
    expected = log_likelihood(values) + stats.dirichlet(np.full(K, 0.8)).logpdf(values["weights"])
    expected += stats.norm(M0, spread).logpdf(values["means"]).sum()
    of_scales = {
        "half-normal": stats.halfnorm(scale=spread),
        "log-normal": stats.lognorm(1.0, scale=spread / 2),
    }
    expected += of_scales[scales].logpdf(deviations).sum()
    expected += (stats.beta(eta, eta).logpdf((1 + r) / 2) - np.log(2)).sum()
    np.testing.assert_allclose(density, expected + volume, rtol=1e-10)


GIVEN = {
    "covariances": (
        "tied",
        lambda: {"covariances": dist.InverseWishart(DOF, scale_matrix=S0)},
        lambda m: stats.invwishart(DOF, S0).logpdf(m[0]),
    ),
    "variances": (
        "spherical",
        lambda: {"variances": dist.InverseGamma(DOF / 2, 0.3)},
        lambda m: stats.invgamma(DOF / 2, scale=0.3).logpdf(m[:, 0, 0]).sum(),
    ),
    "scales": (
        "diag",
        lambda: {"scales": dist.Gamma(jnp.array([2.0, 3.0]), 1.5)},
        lambda m: (
            stats.gamma([2.0, 3.0], scale=1 / 1.5).logpdf(np.sqrt(m[:, [0, 1], [0, 1]])).sum()
        ),
    ),
}


@pytest.mark.parametrize("key", GIVEN)
def test_distributions_of_ones_own(key):
    kind, components, log_density = GIVEN[key]
    means = dist.StudentT(5.0, jnp.asarray(M0), 2.0)
    prior = ModelPrior({"means": means, **components()}, 0.8)
    config = ModelConfig(kind, K)

    def free(values):
        found = coordinates_of(values, kind)
        return [*found[:2], jnp.sqrt(found[2]) if key == "scales" else found[2]]

    size = sum(np.size(leaf) for leaf in sizes(prior, config))
    position = np.random.default_rng(3).normal(size=size) * 0.7
    density, values, volume = jax.jit(lambda z: read(z, prior, config, free))(position)
    expected = log_likelihood(values) + stats.dirichlet(np.full(K, 0.8)).logpdf(values["weights"])
    expected += stats.t(5.0, M0, 2.0).logpdf(values["means"]).sum()
    expected += log_density(np.asarray(values["matrices"]))
    np.testing.assert_allclose(density, expected + volume, rtol=1e-10)


# --- draws of the prior ---------------------------------------------------------------------------


def test_draws_of_factors_have_the_moments_of_their_matrices():
    many = (20_000,)
    normal = NormalOfFactor(M0, np.linalg.inv(np.linalg.cholesky(S0)), KAPPA)

    @jax.jit
    def drawn(keys):
        W = InverseWishartFactor(8.0, np.linalg.cholesky(S0)).sample(keys[0], many)
        A = WishartFactor(SHAPE, np.linalg.cholesky(S0)).sample(keys[1], many)
        alphas = [Concentration(*prior).sample(keys[3], many) for prior, _ in LEARNED.values()]
        return W, A, normal.sample(keys[2], many), alphas

    W, A, points, alphas = jax.tree.map(np.asarray, drawn(jr.split(jr.key(0), 4)))
    precision = W.swapaxes(1, 2) @ W
    assert_mean(precision, 8.0 * np.linalg.inv(S0))
    assert_mean(np.linalg.inv(precision), S0 / (8.0 - D - 1))
    assert_mean(A @ A.swapaxes(1, 2), SHAPE * np.linalg.inv(S0))
    assert_mean(points, M0)
    assert_mean((points - M0)[:, :, None] * (points - M0)[:, None], S0 / KAPPA)
    for draws, (_, distribution) in zip(alphas, LEARNED.values(), strict=True):
        assert stats.kstest(draws[:2_000], distribution.cdf).pvalue > 1e-4


def test_what_the_sticks_leave():
    rng = np.random.default_rng(0)
    for alpha, discount, T in ((1.0, 0.0, 6), (0.5, 0.25, 4)):
        sticks = [rng.beta(1 - discount, alpha + k * discount, 50_000) for k in range(1, T)]
        assert_mean(np.prod(1 - np.array(sticks), 0), leftover(alpha, discount, T))


# --- an ordinary model ----------------------------------------------------------------------------


def test_it_can_be_taken_apart():
    """Draws of the prior predictive distribution, conditioning, posterior predictive draws."""
    prior, config = ModelPrior(conjugate("tied"), 0.8), ModelConfig("tied", K)
    draw = jax.jit(
        lambda key, values: Predictive(mixture_model, values or None, num_samples=7)(
            key, None, prior, config, n_points=4
        )
    )
    draws = draw(jr.key(0), {})
    shapes = {"x": (4, D), "weights": (K,), "means": (K, D), "covariances": (D, D)}
    assert {name: draws[name].shape for name in shapes} == {k: (7, *v) for k, v in shapes.items()}
    values = {name: draws[name] for name in ("weights", "means", "inverse_scales")}
    again = draw(jr.key(1), {**values, "means": values["means"] + 1000.0})
    assert again["x"].shape == (7, 4, D) and (np.abs(again["x"] - 1000) < 500).all()
    np.testing.assert_allclose(again["covariances"], draws["covariances"])
    known = numpyro.handlers.condition(mixture_model, {"weights": jnp.array([0.2, 0.3, 0.5])})
    trace = numpyro.handlers.trace(numpyro.handlers.seed(known, 0)).get_trace(X, prior, config)
    assert trace["weights"]["is_observed"] and trace["x"]["is_observed"]


@pytest.mark.slow
def test_other_algorithms_run_on_it():
    """NumPyro's MCMC and SVI."""
    prior, config = ModelPrior(conjugate("tied"), 0.8), ModelConfig("tied", K)
    known = numpyro.handlers.condition(mixture_model, {"weights": jnp.full(K, 1 / K)})
    mcmc = MCMC(NUTS(known), num_warmup=100, num_samples=100, progress_bar=False)
    mcmc.run(jr.key(1), jnp.asarray(X), prior, config)
    found = mcmc.get_samples()
    assert found["covariances"].shape == (100, D, D) and "weights" not in found
    guide = autoguide.AutoNormal(known)
    svi = SVI(known, guide, numpyro.optim.Adam(0.05), Trace_ELBO())
    result = svi.run(jr.key(3), 150, jnp.asarray(X), prior, config, progress_bar=False)
    assert result.losses[-30:].mean() < result.losses[:30].mean()
