"""The conjugate update and its readings: quadrature, SciPy's densities, exact enumeration."""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import special, stats

from bayesgmm.core import (
    FAMILIES,
    Dirichlet,
    FiniteMixture,
    Hyperparameters,
    Moments,
    NormalInverseWishart,
    PitmanYor,
    draw,
    expectation,
    flat_prior,
    kl,
    log_eppf,
    log_evidence,
    log_joint,
    mode,
    update,
)
from tests.conftest import assert_close, assert_mean, matrices

pytestmark = pytest.mark.usefixtures("x64")

STRUCTURES = ("full", "tied", "diag", "EEI", "spherical", "E")
"""The families of the table in `core.conjugate`, each with its own shape of `scale`."""

K, D, N, S = 2, 3, 9, 10_000


def some_points(seed=0, n=N, dimension=D):
    rng = np.random.default_rng(seed)
    points = 1.5 * rng.normal(size=(n, dimension)) + 0.5
    return points, rng.dirichlet(np.ones(K), n)


def moments(points, resp, about, family):
    """Moments of points [N, D] with responsibilities [N, K], about `about` [K, D]."""
    gap = points[:, None, :] - about
    second = np.einsum("nk,nki,nkj->kij", resp, gap, gap)
    if family.axis_aligned:
        second = np.einsum("kii->ki", second)
    return Moments(resp.sum(0), np.einsum("nk,nki->ki", resp, gap), second, np.zeros(()))


def informative(family, K=K, D=D, seed=0):
    """A proper prior that no number of which is special."""
    rng = np.random.default_rng(seed)
    groups = 1 if family.pooled else K
    root = np.tril(rng.uniform(0.3, 0.8, (groups, D, D)))
    diagonal = rng.uniform(0.5, 2.0, (groups, 1 if family.isotropic else D))
    components = NormalInverseWishart(
        rng.normal(size=(K, D)),
        rng.uniform(0.5, 2.0, K),
        D + 6 + rng.uniform(0.0, 3.0, groups),
        diagonal if family.axis_aligned else root @ np.swapaxes(root, 1, 2),
    )
    return Hyperparameters(Dirichlet(rng.uniform(1.5, 3.0, K)), components)


@partial(jax.jit, static_argnames="family")
def describe(prior, found, about, family):
    posterior = update(prior, found, about, family)
    return {
        "posterior": posterior,
        "mode": mode(posterior, family),
        "expectation": expectation(posterior, family),
        "log_evidence": log_evidence(prior.components, posterior.components, family).sum(),
    }


divergence = jax.jit(kl, static_argnames="family")


def described(name, seed=0):
    """Prior, points, responsibilities and what the posterior has to say."""
    family = FAMILIES[name]
    prior, (points, resp) = informative(family, seed=seed), some_points(seed)
    about = np.random.default_rng(seed + 100).normal(size=(K, D))
    found = describe(prior, moments(points, resp, about, family), about, family)
    return family, prior, points, resp, jax.tree.map(np.asarray, found)


# ----------------------------------------------------------------- what the hyperparameters mean


def block_scale(components, k):
    """Scale of component k as an inverse Wishart matrix, columns or a number: [D, D] or [D]."""
    scale = components.scale[min(k, len(components.scale) - 1)]
    return np.broadcast_to(scale, components.mean.shape[1:]) if scale.ndim == 1 else scale


def block_dof(components, k):
    return components.dof[min(k, len(components.dof) - 1)]


def log_prior_density(components, means, covariances, family):
    """SciPy's log density [...] of means [..., K, D] and covariances [..., K, D, D]."""
    total = 0.0
    for k in range(components.mean.shape[0]):
        factor = np.linalg.cholesky(covariances[..., k, :, :])
        gap = (means[..., k, :] - components.mean[k])[..., None]
        white = np.sqrt(components.mean_precision[k]) * np.linalg.solve(factor, gap)[..., 0]
        log_det = np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(-1)
        log_det = log_det - 0.5 * means.shape[-1] * np.log(components.mean_precision[k])
        total = total + stats.norm.logpdf(white).sum(-1) - log_det
    for g, (dof, scale) in enumerate(zip(components.dof, components.scale, strict=True)):
        block = covariances[..., g, :, :]
        if family.axis_aligned:
            variance = np.diagonal(block, axis1=-2, axis2=-1)[..., : len(scale)]
            total = total + stats.invgamma.logpdf(variance, dof / 2, scale=scale / 2).sum(-1)
        else:
            total = total + stats.invwishart.logpdf(np.moveaxis(block, 0, -1), dof, scale)
    return total


# ------------------------------------------------------------------------------------ the update


@pytest.mark.parametrize("name", STRUCTURES)
def test_two_batches_in_turn_are_one(name):
    """Whatever each batch's moments are taken about."""
    family, prior, points, resp, found = described(name)
    rng, posterior = np.random.default_rng(3), prior
    for rows in (slice(0, 4), slice(4, N)):
        about = 3 * rng.normal(size=(K, D))
        part = moments(points[rows], resp[rows], about, family)
        posterior = describe(posterior, part, about, family)["posterior"]
    assert_close(posterior, found["posterior"])
    nothing = moments(points, 0 * resp, about, family)
    assert_close(describe(prior, nothing, about, family)["posterior"], prior)


def test_the_textbook_posterior():
    """Murphy (2007), equations 250 to 254, component by component."""
    family, prior, points, resp, found = described("full")
    m, precision, dof, scale = prior.components
    for k in range(K):
        r = resp[:, k]
        n, mean = r.sum(), r @ points / r.sum()
        spread = (points - mean).T * r @ (points - mean)
        gap = mean - m[k]
        outer = np.outer(gap, gap) * precision[k] * n / (precision[k] + n)
        expected = (
            (precision[k] * m[k] + n * mean) / (precision[k] + n),
            precision[k] + n,
            dof[k] + n,
            scale[k] + spread + outer,
        )
        assert_close(tuple(leaf[k] for leaf in found["posterior"].components), expected)
    assert_close(found["posterior"].weights.concentration, prior.weights[0] + resp.sum(0))


def test_no_digit_is_lost_far_from_the_origin():
    """About the current means, the posterior scale of a far and tight cluster keeps its digits."""
    family, (points, resp) = FAMILIES["full"], some_points()
    prior, shift = informative(family), 2.0**20
    far = prior._replace(components=prior.components._replace(mean=prior.components.mean + shift))
    about = np.zeros((K, D))
    near = describe(prior, moments(points, resp, about, family), about, family)["posterior"]
    found = describe(
        far, moments(points + shift, resp, about + shift, family), about + shift, family
    )
    assert_close(found["posterior"].components.scale, near.components.scale, rtol=1e-8)
    assert_close(found["posterior"].components.mean - shift, near.components.mean, rtol=1e-8)


# ------------------------------------------------------------------------------------- evidence


def predictive(components, k, x, family):
    """Log density of the next point of component k: Student's t, by SciPy."""
    grow = (components.mean_precision[k] + 1) / components.mean_precision[k]
    mean, dof, scale = components.mean[k], block_dof(components, k), block_scale(components, k)
    if family.isotropic:
        return stats.multivariate_t(mean, np.diag(scale) * grow / dof, df=dof).logpdf(x)
    if family.axis_aligned:
        return stats.t.logpdf(x, dof, mean, np.sqrt(scale * grow / dof)).sum()
    free = dof - len(x) + 1
    return stats.multivariate_t(mean, scale * grow / free, df=free).logpdf(x)


@pytest.mark.parametrize("name", STRUCTURES)
def test_evidence_is_the_product_of_predictive_densities(name):
    family, prior, points, _, _ = described(name)
    labels = np.arange(N) % K
    about = np.zeros((K, D))
    total, posterior = 0.0, jax.tree.map(np.asarray, prior)
    for point, label in zip(points, labels, strict=True):
        total += predictive(posterior.components, label, point, family)
        own = np.eye(K)[[label]]
        step = describe(posterior, moments(point[None], own, about, family), about, family)
        posterior = jax.tree.map(np.asarray, step["posterior"])
    found = describe(prior, moments(points, np.eye(K)[labels], about, family), about, family)
    assert_close(found["log_evidence"], total)


@jax.jit
def evidences_in_one_dimension(prior, moments_of):
    """Of one component, by the code of every structure."""
    found = {}
    for name in STRUCTURES:
        family = FAMILIES[name]
        mean, precision, dof, scale = prior
        scale = scale[:, None] if family.axis_aligned else scale[:, None, None]
        own = NormalInverseWishart(mean, precision, dof, scale)
        second = moments_of.second if not family.axis_aligned else moments_of.second[..., 0]
        given = Hyperparameters(Dirichlet(jnp.ones(1)), own)
        posterior = update(given, moments_of._replace(second=second), mean, family)
        found[name] = log_evidence(own, posterior.components, family)[0]
    return found


def test_evidence_by_quadrature():
    """Over mean and log variance of one normal, on a grid; all structures are the same one."""
    points, weight = np.array([[0.3], [1.9], [-0.4], [1.1]]), np.array([1.0, 0.5, 2.0, 1.0])
    m, precision, dof, scale = np.array([[0.4]]), np.array([0.7]), np.array([3.5]), np.array([1.6])
    found = evidences_in_one_dimension(
        (m, precision, dof, scale), moments(points, weight[:, None], m, FAMILIES["full"])
    )
    u = np.linspace(-9, 14, 1201)  # log variance
    variance = np.exp(u)[:, None]
    mean = 0.4 + np.sqrt(variance) * np.linspace(-12, 12, 801)  # in its own standard deviations
    joint = stats.norm.logpdf(mean, m[0, 0], np.sqrt(variance / precision[0]))
    joint += stats.invgamma.logpdf(variance, dof[0] / 2, scale=scale[0] / 2) + np.log(variance)
    for x, w in zip(points[:, 0], weight, strict=True):
        joint += w * stats.norm.logpdf(x, mean, np.sqrt(variance))
    cells = np.sqrt(variance) * (24 / 800) * (23 / 1200)
    expected = np.log(np.sum(np.exp(joint) * cells))
    for name in STRUCTURES:
        assert_close(found[name], expected, rtol=1e-7)


# --- against the exact posterior over all partitions


REFERENCE = Path(__file__).parents[1] / "reference"
COMPONENT_PRIORS = [
    ("u6", "nig_unit", ("full", "diag", "spherical")),
    ("u6", "nig_data", ("full",)),
    ("m6_collinear2d", "niw_unit", ("full",)),
    ("m6_collinear2d", "niw_data", ("full",)),
    ("m6_collinear2d", "nig_diag", ("diag",)),
    ("m7_3d", "niw_unit", ("full",)),
    ("m7_3d", "niw_data", ("full",)),
    ("m7_3d", "nig_diag", ("diag",)),
]
NUMBERS = {
    "poisson1": lambda rate: stats.poisson(rate, loc=1),
    "geometric": stats.geom,
    "uniform": lambda largest: stats.randint(1, largest + 1),
    "bnb": lambda parameters: stats.betanbinom(*parameters, loc=1),
    "fixed": lambda number: stats.randint(number, number + 1),
}
"""Priors on the number of components, by SciPy."""

LARGEST, BLOCKS, SLOTS, SIZES = 2000, 127, 7, 15
"""Sums over K end here; shapes are padded to those of seven points, so that they compile once."""


def set_partitions(n):
    """All partitions of n points, as lists of blocks; a block is a number in binary."""
    partitions = [[]]
    for i in range(n):
        bit = 1 << i
        partitions = [
            [*blocks[:j], blocks[j] | bit, *blocks[j + 1 :]] if j < len(blocks) else [*blocks, bit]
            for blocks in partitions
            for j in range(len(blocks) + 1)
        ]
    return partitions


def on_one(prior, D, structure):
    """A reference's component prior as the core has it, for each of BLOCKS components."""
    if "k0" in prior and "nu0" in prior:
        dof, scale = prior["nu0"], np.array(prior["S0"])
    else:
        dof = 2 * prior["a0"]
        scale = 2 * np.broadcast_to(prior["b0"], D)
        scale = scale if structure != "full" else np.diag(scale)
    mean = np.broadcast_to(np.atleast_1d(prior["m0"]), (BLOCKS, D))
    each = np.full(BLOCKS, prior["k0"]), np.full(BLOCKS, dof)
    return NormalInverseWishart(mean, *each, np.broadcast_to(scale, (BLOCKS, *scale.shape)))


@partial(jax.jit, static_argnames="family")
def evidence_of_blocks(prior, found, about, family):
    given = Hyperparameters(Dirichlet(jnp.ones(BLOCKS)), prior)
    return log_evidence(prior, update(given, found, about, family).components, family)


def log_marginals(points, prior, structure):
    """Log marginal likelihood of every block of points, by its number."""
    n, D = points.shape
    member = (np.arange(1, BLOCKS + 1)[None, :] >> np.arange(n)[:, None]) & 1  # [n, BLOCKS]
    about, family = np.zeros((BLOCKS, D)), FAMILIES[structure]
    found = moments(points, member.astype(float), about, family)
    evidence = evidence_of_blocks(on_one(prior, D, structure), found, about, family)
    return np.append(0.0, evidence)


def partition_prior(options):
    """A reference's partition prior as the core has it."""
    if options["type"] != "mfm":
        alpha = options["concentration" if "discount" in options else "alpha"]
        return PitmanYor(alpha, options.get("discount", 0.0))
    kind, parameters = options["K_prior"]
    number = np.arange(1, LARGEST + 1)
    each = np.full(LARGEST, options["gamma"]) if "gamma" in options else options["alpha"] / number
    return FiniteMixture(NUMBERS[kind](parameters).logpmf(number), each, np.zeros(SLOTS))


eppf_each = jax.jit(jax.vmap(log_eppf, (None, 0)))


def log_priors(options, partitions):
    """Log prior probability of each partition, by the sizes of its blocks."""
    sizes = [sorted(block.bit_count() for block in blocks) for blocks in partitions]
    kinds = sorted({tuple(s) for s in sizes})
    counts = np.array([[*kind, *[0] * (SLOTS - len(kind))] for kind in kinds], float)
    counts = np.pad(counts, ((0, SIZES - len(counts)), (0, 0)), mode="edge")
    values = dict(zip(kinds, np.asarray(eppf_each(partition_prior(options), counts)), strict=False))
    return np.array([values[tuple(s)] for s in sizes])


def load(name):
    return json.loads((REFERENCE / f"exact_{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def priors_over_partitions():
    """Log prior of every partition of 6 and of 7 points, under every partition prior."""
    options = load("u6")["partition_priors"]
    assert options == load("m7_3d")["partition_priors"] and len(options) == 15
    with jax.enable_x64(True):
        return {
            (name, n): log_priors(own, set_partitions(n))
            for name, own in options.items()
            for n in (6, 7)
        }


@pytest.mark.parametrize(("dataset", "component_prior", "structures"), COMPONENT_PRIORS)
def test_evidence_summed_over_all_partitions(
    dataset, component_prior, structures, priors_over_partitions
):
    """Marginal likelihood, number of clusters and who is with the first point, exactly."""
    reference = load(dataset)
    points = np.array(reference["x"], float)
    points = points.reshape(len(points), -1)
    partitions = set_partitions(len(points))
    n_clusters = np.array([len(blocks) for blocks in partitions])
    with_first = np.array([next(b for b in blocks if b & 1) for blocks in partitions])
    together = (with_first[:, None] >> np.arange(len(points))) & 1
    cases = [c for c in reference["cases"] if c["component_prior"] == component_prior]
    assert len(cases) == 15
    for structure in structures:
        prior = reference["component_priors"][component_prior]
        block = log_marginals(points, prior, structure)
        likelihood = np.array([block[blocks].sum() for blocks in partitions])
        for case in cases:
            joint = likelihood + priors_over_partitions[case["prior"], len(points)]
            total = special.logsumexp(joint)
            assert_close(total, case["log_marginal_likelihood"], rtol=1e-10)
            posterior = np.exp(joint - total)
            for t, p in case["p_Kplus"].items():
                assert_close(posterior[n_clusters == int(t)].sum(), p, rtol=1e-7, atol=1e-11)
            assert_close(posterior @ together, case["psm_first_row"], rtol=1e-9)


# ------------------------------------------------------------------------------------- the mode


@pytest.mark.parametrize("name", STRUCTURES)
def test_mode_is_the_maximum_of_the_posterior_density(name):
    """Stationary along random directions, and lower all around."""
    family, _, _, _, found = described(name)
    components, best = found["posterior"].components, found["mode"]
    rng, covariances = np.random.default_rng(1), matrices(best)

    def moved(step, by_mean, by_shape):
        """Means and covariances a step away, of the same structure."""
        factor = np.eye(D) + step * by_shape
        turned = np.linalg.cholesky(covariances) @ factor
        return best.means + step * by_mean, turned @ np.swapaxes(turned, -1, -2)

    n = 100
    by_mean = rng.normal(size=(n, K, D))
    groups = 1 if family.pooled else K
    by_shape = rng.normal(size=(n, groups, D, D)) / 2
    if family.axis_aligned:
        by_shape = by_shape[..., :1, :1] if family.isotropic else by_shape
        by_shape = by_shape * np.eye(D)
    top = log_prior_density(components, best.means, covariances, family)
    for step in (1e-4, 0.3):
        ahead, behind = (
            log_prior_density(components, *moved(sign * step, by_mean, by_shape), family)
            for sign in (1, -1)
        )
        assert np.all(ahead < top) and np.all(behind < top)
        if step == 1e-4:
            assert np.abs((ahead - behind) / (2 * step)).max() < 1e-5
            assert np.min(2 * top - ahead - behind) > 1e-8  # curved: the slope could be seen
    assert_close(np.exp(best.log_weights).sum(), 1.0)


def maximum_likelihood(points, resp, name):
    """Weights, means and covariances of weighted points, by their formulas."""
    counts = resp.sum(0)
    means = resp.T @ points / counts[:, None]
    gap = points[:, None, :] - means
    scatter = np.einsum("nk,nki,nkj->kij", resp, gap, gap)
    each, eye = scatter / counts[:, None, None], np.eye(points.shape[1])
    pooled = scatter.sum(0) / counts.sum()
    trace = np.trace(each, axis1=1, axis2=2)[:, None, None] / points.shape[1]
    covariances = {
        "full": each,
        "tied": np.stack([pooled] * len(counts)),
        "diag": each * eye,
        "EEI": np.stack([pooled * eye] * len(counts)),
        "spherical": trace * eye,
        "E": np.stack([np.trace(pooled) / points.shape[1] * eye] * len(counts)),
    }[name]
    return counts / counts.sum(), means, covariances


mode_of = jax.jit(mode, static_argnames="family")


@partial(jax.jit, static_argnames="family")
def most_likely(found, about, family, ridge):
    posterior = update(flat_prior(family, K + 1, D), found, about, family)
    return mode(posterior, family, ridge)


@pytest.mark.parametrize("name", STRUCTURES)
def test_flat_prior_is_maximum_likelihood(name):
    """With a component that owns nothing, and with a ridge."""
    family, (points, resp) = FAMILIES[name], some_points()
    about = np.random.default_rng(5).normal(size=(K + 1, D))
    weights, means, covariances = maximum_likelihood(points, resp, name)
    for at, ridge in ((0, np.zeros(D)), (1, np.zeros(D)), (2, np.array([0.1, 0.2, 0.3]))):
        padded = np.insert(resp, at, 0.0, axis=1)
        found = most_likely(moments(points, padded, about, family), about, family, ridge)
        assert found.log_weights[at] == -np.inf
        assert all(np.isfinite(leaf).all() for leaf in found[1:])
        keep = np.delete(np.arange(K + 1), at)
        found_keep = found.log_weights[keep], found.means[keep], matrices(found)[keep]
        own = np.full(D, ridge.mean()) if family.isotropic else ridge
        expected = np.log(weights), means, covariances + np.diag(own)
        assert_close(found_keep, expected)
    assert flat_prior(family, K, D, np.float32).components.scale.dtype == np.float32


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_collapsed_covariance_is_nan(name):
    """Never a peak, nor a number made of rounding errors; the sound ones stay."""
    family, (points, resp) = FAMILIES[name], some_points()
    padded = np.insert(resp, 2, 0.0, axis=1)
    for flat in (collinear, constant, alone):
        own_points, own_resp = flat(points, padded)
        about = own_resp.T @ own_points / np.maximum(own_resp.sum(0), 1e-300)[:, None]
        found = moments(own_points, own_resp, about, family)
        scales = np.asarray(most_likely(found, about, family, np.zeros(D)).scales)
        bad = np.isnan(scales).any(axis=tuple(range(1, scales.ndim)))
        assert bad.tolist() == expected_collapse(name, flat, len(scales))


def collinear(points, resp):
    """The third feature is a sum of the first two, in component 0's points and all others."""
    return np.column_stack([points[:, :2], points[:, 0] + 0.5 * points[:, 1]]), resp


def constant(points, resp):
    return np.column_stack([points[:, :2], np.full(len(points), 0.75)]), resp


def alone(points, resp):
    """Component 0 owns one point, the others the rest."""
    own = np.zeros_like(resp)
    own[0, 0] = own[1:, 1] = 1.0
    return points, own


def expected_collapse(name, flat, n):
    """Which covariances must be NaN; the last component is absent and never is."""
    if flat is alone:
        return [False] * n if name in ("tied", "EEI", "E") else [True, False, False]
    collapses = {collinear: ("full", "tied"), constant: ("full", "tied", "diag", "EEI")}[flat]
    absent = K if name in ("full", "diag", "spherical") else n  # unless it shares their covariance
    return [name in collapses and k < absent for k in range(n)]


# ---------------------------------------------------------------------------------- expectation


def expected_log_det(components, k, family):
    """E log det of the precision of component k, by Bishop (2006), equation 10.65."""
    dof, scale, D = block_dof(components, k), block_scale(components, k), components.mean.shape[1]
    if family.axis_aligned:
        return (special.digamma(dof / 2) - np.log(scale / 2)).sum()
    terms = special.digamma((dof - np.arange(D)) / 2).sum()
    return terms + D * np.log(2) - np.linalg.slogdet(scale)[1]


def expected_log_normal(points, components, family):
    """E log N(x | mu_k, Sigma_k) [N, K], by Bishop (2006), equations 10.64 and 10.65."""
    columns, D = [], points.shape[1]
    for k, (mean, precision) in enumerate(
        zip(components.mean, components.mean_precision, strict=True)
    ):
        scale = block_scale(components, k)
        average = (np.diag(scale) if scale.ndim == 1 else scale) / block_dof(components, k)
        gap = points - mean
        distance = np.einsum("ni,ij,nj->n", gap, np.linalg.inv(average), gap) + D / precision
        log_det = expected_log_det(components, k, family)
        columns.append(0.5 * (log_det - D * np.log(2 * np.pi) - distance))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("name", STRUCTURES)
def test_expectation_is_the_mixture_of_the_expected_log_joint(name):
    family, _, points, _, found = described(name)
    posterior = found["posterior"]
    concentration = posterior.weights.concentration
    log_weights = special.digamma(concentration) - special.digamma(concentration.sum())
    expected = log_weights + expected_log_normal(points, posterior.components, family)
    assert_close(jax.jit(log_joint)(points, found["expectation"]), expected)


@pytest.mark.parametrize("name", STRUCTURES)
def test_evidence_splits_into_fit_and_divergence(name):
    """log p(x) = E_q log p(x | theta) - KL(q || p) at the exact posterior: Bayes' theorem."""
    family, prior, points, resp, found = described(name)
    fit = (resp * expected_log_normal(points, found["posterior"].components, family)).sum()
    ours = divergence(found["posterior"].components, prior.components, family)
    assert_close(found["log_evidence"], fit - ours)


@pytest.mark.parametrize("name", ["VEI", "EVI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV"])
def test_only_conjugate_families_are_averaged_over_or_drawn_from(name):
    family, prior = FAMILIES[name], informative(FAMILIES[name])
    own = prior.components
    for read in (
        lambda: draw(jr.key(0), prior, family),
        lambda: expectation(prior, family),
        lambda: log_evidence(own, own, family),
        lambda: kl(own, own, family),
    ):
        with pytest.raises(ValueError, match=f"conjugate prior .* got {name}"):
            read()


# ---------------------------------------------------------------------------------------- draws


class Known(NamedTuple):
    """Weights without doubt: how those of a Dirichlet are drawn is for the tests of weights."""

    log_weights: np.ndarray

    def draw(self, key):
        return self.log_weights


@partial(jax.jit, static_argnames="family")
def draws(keys, posterior, family):
    return jax.lax.map(lambda key: draw(key, posterior, family), keys)


@pytest.mark.parametrize("name", STRUCTURES)
def test_draws_have_the_posteriors_moments(name):
    """Within 4.5 standard errors of S draws; and the divergence as the mean of its definition."""
    family, prior, _, _, found = described(name)
    posterior = found["posterior"]
    components = posterior.components
    known = posterior._replace(weights=Known(np.array([-0.5, -np.inf])))
    drawn = jax.tree.map(np.asarray, draws(jr.split(jr.key(1), S), known, family))
    assert np.all(drawn.log_weights == known.weights.log_weights)
    covariances = check_scales(drawn, components, family)
    check_means(drawn, covariances, components)
    some = drawn.means[:2000], covariances[:2000]  # SciPy takes its time
    ratio = log_prior_density(components, *some, family)
    ratio -= log_prior_density(prior.components, *some, family)
    assert_mean(ratio, divergence(components, prior.components, family))


def check_scales(drawn, components, family):
    """Moments of the precisions, E Lambda = nu S^-1; the covariances [S, K, D, D]."""
    scales = drawn.scales
    if family.axis_aligned:
        assert scales.shape == (S, K, D) and np.all(scales > 0)
        scales = scales[..., None] * np.eye(D)
    else:
        assert scales.shape == (S, 1 if family.pooled else K, D, D)
        assert not np.triu(scales, 1).any()
        assert np.all(np.diagonal(scales, axis1=-2, axis2=-1) > 0)
    covariances = np.broadcast_to(scales @ np.swapaxes(scales, -1, -2), (S, K, D, D))
    precisions = np.linalg.inv(covariances)
    for k in range(K):
        dof, scale = block_dof(components, k), block_scale(components, k)
        inverse = np.linalg.inv(np.diag(scale) if scale.ndim == 1 else scale)
        assert_mean(precisions[:, k], dof * inverse)
        assert_mean(np.linalg.slogdet(precisions[:, k])[1], expected_log_det(components, k, family))
        diagonal = np.einsum("sii->si", precisions[:, k])
        spread = 2 * dof * np.diag(inverse) ** 2  # the variance of a Wishart's diagonal
        assert_mean((diagonal - dof * np.diag(inverse)) ** 2, spread)
    if family.pooled or family.isotropic:
        assert np.array_equal(
            covariances[:, 0] == covariances[:, 1], covariances[:, 0] == covariances[:, 1]
        )
    return covariances


def check_means(drawn, covariances, components):
    """Given its covariance a mean is normal: whitened by its own, and independent of it."""
    for k in range(K):
        gap = drawn.means[:, k] - components.mean[k]
        white = np.linalg.solve(np.linalg.cholesky(covariances[:, k]), gap[..., None])[..., 0]
        white = white * np.sqrt(components.mean_precision[k])
        assert_mean(white, 0.0)
        assert_mean(white[:, :, None] * white[:, None, :], np.eye(D))
        log_det = np.linalg.slogdet(covariances[:, k])[1]
        assert_mean((log_det - log_det.mean())[:, None] * white**2, 0.0)


@pytest.mark.parametrize("name", STRUCTURES)
def test_divergence(name):
    """Zero to itself, positive otherwise, both ways."""
    for seed in range(5):
        family, prior, _, _, found = described(name, seed)
        here, there = found["posterior"].components, prior.components
        assert_close(divergence(here, here, family), 0.0, atol=1e-12)
        assert divergence(here, there, family) > 0.01 < divergence(there, here, family)


# ------------------------------------------------------------------------------ transformations


def test_slopes_of_the_evidence():
    """With respect to every hyperparameter and moment, against central differences."""
    family = FAMILIES["full"]
    prior, (points, resp) = informative(family), some_points()
    about = np.zeros((K, D))
    arguments = prior.components, moments(points, resp, about, family)
    rng, h = np.random.default_rng(2), 1e-5
    direction = jax.tree.map(lambda leaf: rng.normal(size=np.shape(leaf)), arguments)
    direction = jax.tree.map(
        lambda leaf: leaf + np.swapaxes(leaf, 1, 2) if leaf.ndim == 3 else leaf, direction
    )

    def total(components, found):
        posterior = update(prior._replace(components=components), found, about, family)
        return log_evidence(components, posterior.components, family).sum()

    along = jax.tree.map(lambda x, d: np.stack([x - h * d, x, x + h * d]), arguments, direction)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(total, (0, 1))))(*along)
    slope = sum(
        np.vdot(leaf[1], d)
        for leaf, d in zip(jax.tree.leaves(slopes), jax.tree.leaves(direction), strict=True)
    )
    assert_close(slope, (values[2] - values[0]) / (2 * h), rtol=1e-6)


@pytest.mark.parametrize("name", STRUCTURES)
def test_dtype_follows_the_input(name):
    """Under x64 too: float32 in, float32 out."""
    family, (points, resp) = FAMILIES[name], some_points()
    about = np.zeros((K, D))
    single = jax.tree.map(
        np.float32, (informative(family), moments(points, resp, about, family), about)
    )
    shapes = jax.eval_shape(partial(describe.__wrapped__, family=family), *single)
    components = single[0].components
    kl_shape = jax.eval_shape(partial(kl, family=family), components, components)
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((shapes, kl_shape))}
    assert dtypes == {np.dtype("float32")}


@pytest.mark.parametrize("name", STRUCTURES)
def test_dtype_of_draws_follows_the_input(name):
    single = jax.tree.map(np.float32, informative(FAMILIES[name]))
    drawn = jax.eval_shape(partial(draw, family=FAMILIES[name]), jr.key(0), single)
    assert {leaf.dtype for leaf in drawn} == {np.dtype("float32")}
