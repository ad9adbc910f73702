"""Weight priors: one contract for the table, then each against quadrature, scipy, enumeration."""

import itertools
import json
import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import integrate, special, stats

from bayesgmm.core.partitions import (
    PitmanYor,
    log_eppf,
    n_components_prior,
    prior_n_clusters,
)
from bayesgmm.core.weights import (
    WEIGHT_PRIORS,
    Dirichlet,
    FiniteMixture,
    StickBreaking,
)
from tests.conftest import assert_close, assert_mean, slow

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "prior_kplus.json").read_text(encoding="utf-8")
)


pytestmark = pytest.mark.usefixtures("x64")

# Compilation is what takes time here: so it does not optimize, and everything has six slots,
# padded with absent components, so that each kind of prior is compiled once.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SLOTS = 6
N_DRAWS = 5_000


def wide(values, fill=0.0):
    """Rows of numbers up to six of them."""
    values = np.asarray(values, float)
    return np.concatenate([values, np.broadcast_to(fill, (SLOTS - len(values), *values.shape[1:]))])


def dirichlet(*concentration):
    return Dirichlet(wide(concentration))


def sticks(*rows):
    return StickBreaking(wide(rows, fill=(0.0, 1.0)))


def mixture(probability, gamma):
    """A static mixture, in NumPy."""
    p = np.concatenate([probability, np.zeros(200 - len(probability))])
    log_prior = np.log(p, out=np.full(200, -np.inf), where=p > 0) - np.log(p.sum())
    return FiniteMixture(log_prior, np.full(200, gamma), np.zeros(SLOTS))


def description(prior, counts):
    posterior = prior.update(counts)
    return {
        "posterior": posterior,
        "mode": posterior.mode(),
        "log_mean": posterior.log_mean(),
        "expected_log": posterior.expected_log(),
        "kl": posterior.kl(prior),
        "log_evidence": prior.log_evidence(counts),
    }


READINGS = ("mode", "log_mean", "expected_log")
describe_wide = jit(description)
draw_many = jit(lambda prior, keys: jax.vmap(prior.draw)(keys))


@jit
@jax.value_and_grad
def value_and_slopes(prior, other, counts, chosen):
    posterior = prior.update(counts)
    expected = jnp.where(chosen, posterior.expected_log(), 0).sum()
    return expected + posterior.kl(other) + prior.log_evidence(counts)


def kl(posterior, prior):
    return value_and_slopes(posterior, prior, np.zeros(SLOTS), np.zeros(SLOTS, bool))[0]


def describe(prior, *counts):
    return jax.device_get(describe_wide(prior, wide(counts)))


def evidence_each(prior, counts):
    """Log evidence of every row of counts; equal rows are computed once."""
    rows, which = np.unique(counts, axis=0, return_inverse=True)
    return np.array([describe(prior, *row)["log_evidence"] for row in rows])[which]


def draws_of(prior, seed=0):
    return np.asarray(draw_many(prior, jr.split(jr.key(seed), N_DRAWS)))


def label_vectors(n, K):
    return np.array(list(itertools.product(range(K), repeat=n)))


def counts_of(labels):
    return (np.asarray(labels)[..., None] == np.arange(SLOTS)).sum(-2).astype(float)


def set_partitions(n):
    """All partitions of n points as labels in order of first appearance."""
    vectors = [(0,)]
    for _ in range(n - 1):
        vectors = [v + (k,) for v in vectors for k in range(max(v) + 2)]
    return np.array(vectors)


# ------------------------------------------------------------------------- one contract for all


def check_weight_prior(name):
    build = partial(WEIGHT_PRIORS[name], K=SLOTS)
    prior, counts = jit(build)(0.7), (5.0, 0.0, 2.0, 1.0)
    check_update(prior)
    check_evidence(prior, counts)
    check_readings(describe(prior, *counts))
    check_agreement(prior)
    check_slope(build, counts)
    check_dtype(build)


def check_update(prior):
    first, second = wide([1.0, 0.0, 4.0]), wide([2.0, 3.0, 1.0])
    once = describe(prior, *(first + second))["posterior"]
    twice = describe(describe(prior, *first)["posterior"], *second)["posterior"]
    assert type(once) is type(prior)
    assert [leaf.shape for leaf in once] == [leaf.shape for leaf in prior]
    assert_close(once, twice)


def check_evidence(prior, counts):
    """Evidence = E_q[log likelihood] - KL(q || p) at the exact posterior; and it sums to one."""
    found = describe(prior, *counts)
    likelihood = wide(counts) @ np.where(wide(counts) > 0, found["expected_log"], 0)
    assert_close(found["log_evidence"], likelihood - found["kl"])
    assert found["kl"] > 0
    assert_close(describe(prior)["kl"], 0)  # of no points
    assert_close(np.exp(evidence_each(prior, counts_of(label_vectors(3, SLOTS)))).sum(), 1)
    total = found["log_evidence"] + describe(found["posterior"], 1.0, 2.0)["log_evidence"]
    both = describe(prior, *(wide(counts) + wide([1.0, 2.0])))
    assert_close(both["log_evidence"], total)  # the chain rule


def check_readings(found):
    draws = draws_of(found["posterior"])
    for reading in (found["mode"], found["log_mean"], draws):
        assert not np.isnan(reading).any()
        assert_close(np.exp(reading).sum(-1), np.ones(reading.shape[:-1]))
    expected, mean = np.asarray(found["expected_log"]), np.exp(found["log_mean"])
    assert np.all(np.exp(expected) <= mean)  # Jensen
    assert_mean(np.exp(draws), mean)
    finite = np.isfinite(expected)
    assert finite[[0, 2, 3]].all()  # the occupied ones
    assert_mean(draws[:, finite], expected[finite])


def check_agreement(prior):
    """With many points the three readings are the observed proportions."""
    counts = np.array([5e7, 2e7, 3e7, 1e7, 4e7, 6e7])
    found = describe(prior, *counts)
    for name in READINGS:
        assert_close(found[name], np.log(counts / counts.sum()), rtol=1e-5)


def check_slope(build, counts):
    """Slope in the concentration, by reverse mode, against central differences."""
    built, h = jit(build), 1e-5
    chosen, prior, other = wide(counts) > 0, built(0.7), built(1.4)
    above, below = built(0.7 + h), built(0.7 - h)

    def value(prior):
        return value_and_slopes(prior, other, wide(counts), chosen)[0]

    # Leaves are linear in the concentration: their difference quotient is exact.
    direction = jax.tree.map(lambda a, b: np.asarray(a - b) / (2 * h), above, below)
    slopes = value_and_slopes(prior, other, wide(counts), chosen)[1]
    slope = sum(np.vdot(a, b) for a, b in zip(slopes, direction, strict=True))
    assert_close(slope, (value(above) - value(below)) / (2 * h), rtol=1e-6)
    found = describe(prior, *counts)
    readings = found["log_evidence"] + found["expected_log"][chosen].sum() + found["kl"]
    assert_close(value_and_slopes(prior, prior, wide(counts), chosen)[0], readings)


def check_dtype(build):
    def everything(key, alpha, counts):
        return description(build(alpha), counts), build(alpha).draw(key)

    for dtype in (jnp.float32, jnp.float64):
        inputs = [jax.ShapeDtypeStruct(shape, dtype) for shape in ((), (SLOTS,))]
        shapes = jax.eval_shape(everything, jr.key(0), *inputs)
        assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(dtype)}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if i % 2 else pytest.mark.slow)
        for i, name in enumerate(WEIGHT_PRIORS)
    ],
)
def test_contract(name):
    check_weight_prior(name)


def test_table_names_scikit_learns_two():
    assert {"dirichlet_distribution", "dirichlet_process"} <= set(WEIGHT_PRIORS)


# -------------------------------------------------------------------------------------- Dirichlet


log_density = jit(lambda prior, log_weights: prior.log_density(log_weights))


def test_dirichlet_density_is_scipys():
    concentration, weights = np.array([0.6, 2.5, 1.0, 4.0]), np.array([0.1, 0.4, 0.2, 0.3])
    found = log_density(dirichlet(*concentration), wide(np.log(weights), fill=-np.inf))
    assert_close(found, stats.dirichlet.logpdf(weights, concentration))


def test_dirichlet_density_of_an_absent_component():
    absent = wide(np.log([0.6, 0.4]), fill=-np.inf)
    flat = dirichlet(1.0, 1.0, 1.0)
    assert_close(log_density(flat, absent), math.log(2))  # 0 * inf is 0
    assert log_density(dirichlet(1.0, 1.0, 2.0), absent) == -jnp.inf
    assert_close(log_density(dirichlet(3.0, 2.0), absent), stats.beta.logpdf(0.6, 3, 2))
    assert log_density(dirichlet(3.0), absent) == -jnp.inf
    slope = jit(jax.grad(Dirichlet.log_density))(flat, absent)
    assert np.isfinite(slope.concentration).all()


def test_dirichlet_expectations_by_quadrature():
    concentration = np.array([0.5, 2.0, 3.5])
    found = describe(dirichlet(*concentration))
    for k, (a, b) in enumerate(zip(concentration, 6.0 - concentration, strict=True)):
        density = stats.beta(a, b)  # over log w: that of w itself is unbounded at 0

        def integrand(u, density=density):
            return u * density.pdf(np.exp(u)) * np.exp(u)

        value, _ = integrate.quad(integrand, -80.0, -1e-12, limit=200, epsabs=1e-12)
        assert_close(found["expected_log"][k], value, rtol=1e-8)
    assert_close(np.exp(found["log_mean"]), wide(stats.dirichlet.mean(concentration)))


def test_dirichlet_kl_by_quadrature():
    here, there = np.array([3.2, 2.4, 4.1]), np.array([1.5, 2.0, 1.2])
    node, weight = np.polynomial.legendre.leggauss(60)
    x, y = np.meshgrid((node + 1) / 2, (node + 1) / 2)
    points = np.stack([x, (1 - x) * y, (1 - x) * (1 - y)]).reshape(3, -1)
    cells = (np.outer(weight, weight) / 4 * (1 - x)).ravel()
    log_here = stats.dirichlet.logpdf(points, here)
    value = cells @ (np.exp(log_here) * (log_here - stats.dirichlet.logpdf(points, there)))
    assert_close(kl(dirichlet(*here), dirichlet(*there)), value, rtol=1e-7)


def test_dirichlet_variances_of_draws():
    concentration = np.array([0.3, 1.0, 2.7])
    weights = np.exp(draws_of(dirichlet(*concentration)))[:, :3]
    assert_mean((weights - concentration / 4) ** 2, stats.dirichlet.var(concentration))


def test_dirichlet_mode_maximizes_the_density():
    concentration = np.array([3.0, 1.5, 6.0])
    mode = np.exp(describe(dirichlet(*concentration))["mode"])[:3]
    others = np.random.default_rng(0).dirichlet(20 * mode, size=500).T
    best = stats.dirichlet.logpdf(mode / mode.sum(), concentration)
    assert np.all(best >= stats.dirichlet.logpdf(others, concentration))
    assert_close((concentration - 1) / mode, np.full(3, 7.5))  # one multiplier for all: stationary


def test_dirichlet_mode_is_maximum_likelihood_at_one_and_prunes_below():
    flat = describe(dirichlet(1.0, 1.0, 1.0), 6.0, 0.0, 2.0)["mode"]
    assert_close(np.exp(flat), wide([0.75, 0.0, 0.25]))
    assert flat[1] == -jnp.inf
    sparse = describe(dirichlet(0.2, 0.2, 0.2), 6.0, 0.5, 2.0)["mode"]
    assert_close(np.exp(sparse), wide(np.array([5.2, 0, 1.2]) / 6.4))
    assert_close(
        np.exp(describe(dirichlet(0.2, 0.6))["mode"]), wide([0.25, 0.75])
    )  # none: the mean


def test_tiny_concentrations_keep_their_digits():
    draws = draws_of(dirichlet(1e-6, 1e-6))
    assert draws[:, :2].min() < -1e6  # exp() of it would be 0
    assert not np.isnan(draws).any() and np.isfinite(draws[:, :2]).all()
    assert_close(np.exp(draws).sum(-1), np.ones(N_DRAWS))
    # -a log Gamma(a) is Exponential(1) as a -> 0, and so is the gap between two of them
    assert_mean(-1e-6 * draws[:, :2].min(-1, keepdims=True), 1.0)


def test_absent_components_leave_no_trace():
    small = describe(dirichlet(0.5, 2.0, 3.0), 4.0, 0.0, 1.0)
    padded = dirichlet(0.5, 0.0, 2.0, 3.0)
    found = describe(padded, 4.0, 0.0, 0.0, 1.0)
    for name in READINGS:
        assert_close(found[name][np.array([0, 2, 3])], small[name][:3])
        assert np.all(found[name][np.array([1, 4, 5])] == -np.inf)
    assert_close(found["kl"], small["kl"])
    assert_close(found["log_evidence"], small["log_evidence"])
    assert describe(padded, 4.0, 1.0, 0.0, 1.0)["log_evidence"] == -jnp.inf
    assert kl(padded, Dirichlet(np.ones(6))) == jnp.inf
    assert kl(Dirichlet(np.ones(6)), padded) == jnp.inf
    draws = draws_of(dirichlet(0.5, 0.0, 2.0))
    assert np.all(draws[:, 1] == -np.inf)
    assert_mean(np.exp(draws), wide([0.2, 0.0, 0.8]))


def check_finite_slopes(prior, present):
    """Reverse mode is finite where components are absent."""
    counts = np.where(present, 4.0, 0.0)
    value, slopes = value_and_slopes(prior, prior, counts, present)
    assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in slopes)


def test_slopes_with_absent_components_are_finite():
    check_finite_slopes(dirichlet(0.5, 0.0, 1.5), wide([1, 0, 1]) > 0)


def test_slopes_of_dirichlet_draws():
    """Draws move with the concentration, and stay on the simplex: sum of w dlog(w) is 0."""

    def move(concentration):
        draw = Dirichlet(concentration).draw(jr.key(0))
        return draw, draw

    slopes, draw = jit(jax.jacfwd(move, has_aux=True))(jnp.array([0.5, 0.0, 1.5]))
    present = np.array([0, 2])
    slopes, weights = np.asarray(slopes)[np.ix_(present, present)], np.exp(draw)[present]
    assert np.all(np.diag(slopes) > 0)
    assert_close(weights @ slopes, 0)


def test_nothing_present_is_absent_and_not_nan():
    found = describe(dirichlet())
    for name in READINGS:
        assert np.all(np.asarray(found[name]) == -np.inf)
    assert np.all(draws_of(dirichlet()) == -np.inf)
    assert found["kl"] == 0 and found["log_evidence"] == 0


# --------------------------------------------------------------------------------- stick breaking


def test_dirichlet_is_stick_breaking():
    """Sticks Beta(c_k, c_{k+1} + ...) make a Dirichlet: every reading but the mode agrees."""
    here, there = np.array([0.5, 2.0, 1.2]), np.array([1.0, 1.5, 2.0])

    def as_sticks(c):
        return sticks((c[0], c[1] + c[2]), (c[1], c[2]), (c[2], 0.0))

    found = describe(as_sticks(here), 3.0, 0.0, 2.5)
    expected = describe(dirichlet(*here), 3.0, 0.0, 2.5)
    for name in ("log_mean", "expected_log", "kl", "log_evidence"):
        assert_close(found[name], expected[name])
    assert_close(kl(as_sticks(here), as_sticks(there)), kl(dirichlet(*here), dirichlet(*there)))
    weights = np.exp(draws_of(as_sticks(here)))[:, :3]
    assert_mean(weights, stats.dirichlet.mean(here))
    assert_mean((weights - here / here.sum()) ** 2, stats.dirichlet.var(here))


@pytest.mark.parametrize("truncated", [True, False])
def test_sticks_of_a_pitman_yor_process(truncated):
    d, alpha = 0.25, 0.5
    prior = StickBreaking.pitman_yor(d, alpha, 3, truncated)
    last = 0.0 if truncated else alpha + 3 * d
    assert_close(prior.sticks, [[0.75, alpha + d], [0.75, alpha + 2 * d], [0.75, last]])
    found = describe(sticks(*prior.sticks), 4.0, 0.0, 2.0)
    assert_close(found["posterior"].sticks[:3], [[4.75, 2.75], [0.75, 3.0], [2.75, last]])
    beyond = 2.75 / 7.5 * 3.0 / 3.75 * last / (2.75 + last)  # what the last stick leaves
    assert_close(np.exp(found["log_mean"]).sum(), 1 - beyond)


def test_untruncated_sticks_are_scikit_learns():
    """Expectations as BayesianGaussianMixture computes them, digamma by digamma."""
    counts, alpha = np.array([4.0, 2.0, 1.0]), 0.3
    a, b = 1 + counts, alpha + np.array([3.0, 1.0, 0.0])
    passed = special.digamma(b) - special.digamma(a + b)
    expected = special.digamma(a) - special.digamma(a + b) + np.append(0, np.cumsum(passed)[:-1])
    prior = StickBreaking.dirichlet_process(alpha, 3, truncated=False)
    assert_close(describe(sticks(*prior.sticks), *counts)["expected_log"][:3], expected)


def test_mode_of_sticks():
    log_v = np.log([5 / 10, 2 / 5, 1.0])  # a - 1 = n_k and b - 1 = alpha - 1 + later points
    prior = StickBreaking.dirichlet_process(3.0, 3)
    found = describe(sticks(*prior.sticks), 5.0, 2.0, 1.0)
    assert_close(found["mode"][:3], log_v + np.log([1, 0.5, 0.5 * 0.6]))
    flat = StickBreaking.dirichlet_process(1.0, SLOTS)
    found = describe(flat, 6.0, 2.0)
    assert_close(np.exp(found["mode"]), wide([0.75, 0.25]))  # maximum likelihood


def test_absent_sticks_leave_no_trace():
    prior = StickBreaking.pitman_yor(0.25, 1.0, 3)
    small = describe(sticks(*prior.sticks), 3.0, 1.0, 2.0)
    padded = sticks(prior.sticks[0], (0.0, 1.0), *prior.sticks[1:])
    found = describe(padded, 3.0, 0.0, 1.0, 2.0)
    for name in READINGS:
        assert_close(found[name][np.array([0, 2, 3])], small[name][:3])
        assert np.all(found[name][np.array([1, 4, 5])] == -np.inf)
    assert_close(found["kl"], small["kl"])
    assert_close(found["log_evidence"], small["log_evidence"])
    draws = draws_of(sticks((2.0, 1.0), (0.0, 1.0), (1.0, 0.0)))
    assert np.all(draws[:, 1] == -np.inf)
    assert_mean(np.exp(draws), wide([2 / 3, 0, 1 / 3]))
    check_finite_slopes(padded, wide([1, 0, 1, 1]) > 0)


# Exact evidence of six points on a line, x, by enumeration of every vector of labels: the Normal
# with m0 = 0, k0 = 0.1, a0 = 2, b0 = 1 as component prior. (K, weights, log evidence.)
POINTS = np.array([-2.1, -1.9, -0.2, 0.1, 2.0, 2.3])
LABELLED = [
    (2, "dirichlet", (1.0,), -14.48095272147),
    (2, "dirichlet", (0.5,), -14.70554034022),
    (2, "sticks", (0.0, 1.0), -14.48095272147),
    (2, "sticks", (0.25, 0.5), -14.56777258343),
    (3, "dirichlet", (1.0,), -13.8776717287),
    (3, "dirichlet", (1 / 3,), -14.37625529904),
    (3, "sticks", (0.0, 1.0), -14.01642139319),
    (3, "sticks", (0.25, 0.5), -14.11755823327),
]


def log_marginal(x, k0=0.1, a0=2.0, b0=1.0):
    """Normal points with a Normal-inverse-Gamma prior of mean 0, integrated out."""
    n, k, a = len(x), k0 + len(x), a0 + len(x) / 2
    b = b0 + 0.5 * (np.sum(x**2) - np.sum(x) ** 2 / k)
    scale = special.gammaln(a) - special.gammaln(a0) + a0 * np.log(b0) - a * np.log(b)
    return scale + 0.5 * np.log(k0 / k) - n / 2 * np.log(2 * np.pi) if n else 0.0


def log_likelihoods(vectors):
    return np.array([sum(log_marginal(POINTS[z == k]) for k in range(max(z) + 1)) for z in vectors])


@pytest.mark.parametrize("K, kind, parameters, log_evidence", LABELLED)
def test_evidence_by_enumeration_of_labels(K, kind, parameters, log_evidence):
    prior = {
        "dirichlet": lambda alpha: dirichlet(*Dirichlet.symmetric(alpha, K).concentration),
        "sticks": lambda d, alpha: sticks(*StickBreaking.pitman_yor(d, alpha, K).sticks),
    }[kind](*parameters)
    vectors = label_vectors(6, K)
    log_prior = evidence_each(prior, counts_of(vectors))
    assert_close(special.logsumexp(np.asarray(log_prior) + log_likelihoods(vectors)), log_evidence)


# ------------------------------------------------------------------ finite mixtures and partitions

MIXTURES = {  # K_prior, then gamma (static) or alpha (dynamic)
    "mfm_poisson1_gamma1": (("poisson", 1.0), "static", 1.0),
    "mfm_geometric0.1_gamma1": (("geometric", 0.1), "static", 1.0),
    "mfm_geometric0.5_gamma0.5": (("geometric", 0.5), "static", 0.5),
    "mfm_uniform30_gamma1": (("uniform", 30), "static", 1.0),
    "mfm_bnb143_gamma1": (("bnb", 1, 4, 3), "static", 1.0),
    "mfm_bnb143_dynamic_alpha1": (("bnb", 1, 4, 3), "dynamic", 1.0),
    "mfm_poisson1_dynamic_alpha0.5": (("poisson", 1.0), "dynamic", 0.5),
    "finite_K3_gamma1": ([0, 0, 1], "static", 1.0),
    "finite_K3_gamma1/3": ([0, 0, 1], "static", 1 / 3),
    "finite_K2_gamma1": ([0, 1], "static", 1.0),
    "finite_K10_gamma0.1": ([0] * 9 + [1], "static", 0.1),
}
PROCESSES = {
    "dp_alpha0.5": (0.5, 0.0),
    "dp_alpha1": (1.0, 0.0),
    "dp_alpha3": (3.0, 0.0),
    "py_d0.25_theta0.5": (0.5, 0.25),
}
# Log evidence of POINTS by enumeration of all 203 partitions, and E[K | x] of the mixtures.
EVIDENCE = {
    "dp_alpha0.5": (-14.32543565968, None),
    "dp_alpha1": (-13.86033950178, None),
    "dp_alpha3": (-13.26756061529, None),
    "py_d0.25_theta0.5": (-13.84561147615, None),
    "mfm_poisson1_gamma1": (-14.4648396511, 2.707070648385),
    "mfm_geometric0.1_gamma1": (-13.34135303099, 13.4904423192),
    "mfm_geometric0.5_gamma0.5": (-14.72385653792, 3.175062164005),
    "mfm_uniform30_gamma1": (-13.09208537801, 17.61674599866),
    "mfm_bnb143_gamma1": (-14.57325937678, 3.827957082862),
    "mfm_bnb143_dynamic_alpha1": (-14.98024339473, 3.08319414236),
    "mfm_poisson1_dynamic_alpha0.5": (-15.08695400096, 2.371996269995),
    "finite_K3_gamma1": (-13.8776717287, 3.0),
    "finite_K3_gamma1/3": (-14.37625529904, 3.0),
    "finite_K2_gamma1": (-14.48095272147, 2.0),
    "finite_K10_gamma0.1": (-13.99890568931, 10.0),
}


def partition_prior(name):
    if name in PROCESSES:
        return PitmanYor(*map(jnp.asarray, PROCESSES[name]))
    probability, form, concentration = MIXTURES[name]
    log_prior = n_components_prior(probability, 2000)
    return getattr(FiniteMixture, form)(concentration, log_prior, SLOTS)


# Sizes are sorted and each multiset is computed once: 29 of them up to n = 6.
eppf_of_many = jit(jax.vmap(log_eppf, in_axes=(None, 0)))
numbers_of_many = jit(
    jax.vmap(lambda prior, counts: prior.update(counts).log_n_components(), in_axes=(None, 0))
)
n_clusters = jax.jit(prior_n_clusters, static_argnums=(1, 2))
log_n_components = jit(FiniteMixture.log_n_components)
log_vn = jit(lambda prior, n, t: prior.log_vn(n, t))


def eppf_each(prior, counts):
    """Log probability of every row of counts."""
    return _each_multiset(eppf_of_many, prior, counts)


def numbers_each(prior, counts):
    """Log p(K | counts) for every row of counts."""
    return _each_multiset(numbers_of_many, prior, counts)


def _each_multiset(function, prior, counts):
    sizes, which = np.unique(np.sort(counts)[:, ::-1], axis=0, return_inverse=True)
    padded = np.concatenate([sizes, np.zeros((29 - len(sizes), SLOTS))])
    return np.asarray(function(prior, padded))[which]


@pytest.mark.parametrize("name", [*PROCESSES, *MIXTURES])
def test_eppf_sums_to_one_over_all_partitions(name):
    prior, partitions = partition_prior(name), [set_partitions(n) for n in range(1, 7)]
    counts = np.concatenate([counts_of(vectors) for vectors in partitions])
    probability = np.exp(eppf_each(prior, counts))
    n = counts.sum(1).astype(int)
    assert_close(np.bincount(n, probability)[1:], np.ones(6))
    by_number = np.bincount((counts[n == 6] > 0).sum(1), probability[n == 6])[1:]
    assert_close(n_clusters(prior, 6, None)[: len(by_number)], by_number)


@pytest.mark.parametrize("name", EVIDENCE)
def test_evidence_by_enumeration_of_partitions(name):
    prior, (log_evidence, mean_K) = partition_prior(name), EVIDENCE[name]
    vectors = set_partitions(6)
    counts = counts_of(vectors)
    log_joint = eppf_each(prior, counts) + log_likelihoods(vectors)
    assert_close(special.logsumexp(log_joint), log_evidence)
    if mean_K is not None:
        p = np.exp(numbers_each(prior, counts))
        assert_close(
            p.sum(1), np.isfinite(log_joint)
        )  # nothing where there are more clusters than K
        mean = p @ np.arange(1, p.shape[1] + 1)
        assert_close(special.softmax(log_joint) @ mean, mean_K, rtol=1e-9)


@pytest.mark.parametrize("n", [82, *(slow(n) for n in (8, 272))])
@pytest.mark.parametrize("name", [*PROCESSES, *MIXTURES])
def test_prior_n_clusters_against_the_reference(name, n):
    found = np.asarray(n_clusters(partition_prior(name), n, None))
    expected = np.zeros(n)
    for t, probability in REFERENCE["n"][str(n)][name].items():
        expected[int(t) - 1] = probability
    assert_close(found, expected, rtol=0, atol=1e-9)
    assert_close(found.sum(), 1)
    if name in PROCESSES or name.startswith("finite"):  # where the reference is not truncated
        listed = expected > 0
        assert_close(found[listed], expected[listed])


@pytest.mark.parametrize("name", REFERENCE["log_Vn"])
def test_log_vn_against_the_reference(name):
    prior = partition_prior(name)
    for n, expected in REFERENCE["log_Vn"][name].items():
        found = log_vn(prior, int(n), np.arange(1, 13))[: len(expected)]
        assert list(expected) == [str(t) for t in range(1, len(expected) + 1)]
        assert_close(found, list(expected.values()), rtol=0, atol=1e-9)


def test_log_vn_makes_the_eppf():
    gamma = 0.5
    prior = partition_prior("mfm_geometric0.5_gamma0.5")
    counts = np.array([4.0, 3.0, 1.0, 0.0, 0.0, 0.0])
    blocks = special.gammaln(counts[:3] + gamma) - special.gammaln(gamma)
    expected = log_vn(prior, 8, np.arange(1, 13))[2] + blocks.sum()
    assert_close(eppf_each(prior, counts[None]), [expected])


@pytest.mark.parametrize("alpha, discount", [(0.7, 0.0), (1.5, 0.3), (-0.1, 0.3)])
def test_eppf_of_a_process_is_its_urn(alpha, discount):
    labels, total = [0, 0, 1, 0, 2, 1, 3], 0.0
    for i, label in enumerate(labels):
        before = labels[:i]
        size, t = before.count(label), len(set(before))
        mass = size - discount if size else (alpha + t * discount if t else alpha + i)
        total += math.log(mass / (alpha + i)) if i else 0.0
    process = PitmanYor(jnp.asarray(alpha), jnp.asarray(discount))
    assert_close(eppf_each(process, wide([3.0, 2.0, 0.0, 1.0, 1.0])[None]), [total])


def test_impossible_partitions_have_probability_zero():
    third = partition_prior("finite_K3_gamma1/3")  # K gamma - K gamma is 0, whatever the rounding
    assert eppf_each(third, wide([1.0, 1, 0, 1, 1])[None]) == -jnp.inf
    vectors = counts_of(set_partitions(6))
    log_p = np.asarray(numbers_each(third, vectors))
    possible = (vectors > 0).sum(1) <= 3
    assert np.all(log_p[possible, 2] == 0)
    assert np.isneginf(log_p[~possible]).all()


def test_fewer_clusters_have_the_same_probabilities():
    process = PitmanYor(jnp.asarray(2.5), jnp.asarray(0.2))
    assert_close(n_clusters(process, 50, 7), n_clusters(process, 50, None)[:7])


def test_mean_number_of_clusters_of_a_dirichlet_process():
    p = n_clusters(PitmanYor(jnp.asarray(2.5)), 50, None)
    assert_close(p @ np.arange(1, 51), (2.5 / (2.5 + np.arange(50))).sum())
    assert n_clusters(PitmanYor(jnp.asarray(2.5)), 1, None).tolist() == [1.0]


def test_predictive_weights_are_ratios_of_the_evidence():
    """Chain rule: an old cluster's expected weight, and that of all free slots for a new one."""
    for p in (stats.betanbinom(1, 4, 3).pmf(np.arange(200)), stats.geom(0.1).pmf(range(1, 201))):
        prior = mixture(p, 0.6)
        counts = np.array([0, 0, 0, 4.0, 2.0, 0])
        mean = np.exp(describe(prior, *counts)["log_mean"])
        log_p = evidence_each(prior, np.vstack([counts, counts + np.eye(6)]))
        ratios = np.exp(log_p[1:] - log_p[0])
        assert_close(mean[3:5], ratios[3:5])
        assert_close(mean[[0, 1, 2, 5]].sum(), ratios[[0, 1, 2, 5]].sum())


def brute_mixture(log_prior, concentration, counts, T):
    """Log p(K, counts) by definition: K random slots of T, then the Dirichlet-multinomial."""
    occupied = counts[counts > 0]
    log_p = np.full(len(log_prior), -np.inf)
    for K, a in enumerate(concentration, start=1):
        if K >= len(occupied):
            places = math.comb(T - len(occupied), K - len(occupied)) / math.comb(T, K)
            shapes = np.append(occupied, np.zeros(K - len(occupied))) + a
            log_p[K - 1] = log_prior[K - 1] + math.log(places)
            log_p[K - 1] += log_beta(shapes) - log_beta(np.full(K, a))
    return log_p


def log_beta(shapes):
    return special.gammaln(shapes).sum() - special.gammaln(shapes.sum())


def kl_dirichlet(here, there):
    slope = special.digamma(here) - special.digamma(here.sum())
    return log_beta(there) - log_beta(here) + ((here - there) * slope).sum()


NUMBERS = np.array([0.1, 0.3, 0.2, 0.2, 0.15, 0.05])


def dynamic(probability, alpha):
    return mixture(probability, alpha)._replace(concentration=alpha / np.arange(1, 201))


def test_constructors_of_finite_mixtures():
    log_prior = n_components_prior(NUMBERS, 6)
    static = FiniteMixture.static(0.8, log_prior, 9)
    assert_close(static.concentration, np.full(6, 0.8))
    assert_close(static.counts, np.zeros(9))
    assert_close(FiniteMixture.dynamic(0.8, log_prior, 9).concentration, 0.8 / np.arange(1, 7))
    fixed = FiniteMixture.fixed(0.4, 3)
    assert fixed.log_prior.tolist() == [-jnp.inf, -jnp.inf, 0.0] and fixed.counts.shape == (3,)


@pytest.mark.parametrize(
    "make, concentration",
    [(mixture, np.full(6, 0.8)), (dynamic, 0.8 / np.arange(1, 7))],
    ids=["static", "dynamic"],
)
def test_number_of_components_given_counts(make, concentration):
    counts = np.array([0, 6.0, 0, 0, 1, 3])
    brute = brute_mixture(np.log(NUMBERS), concentration, counts, SLOTS)
    found = describe(make(NUMBERS, 0.8), *counts)
    log_p = log_n_components(found["posterior"])
    assert_close(np.exp(log_p)[:6], special.softmax(brute))
    assert_close(found["log_evidence"], special.logsumexp(brute))


def test_kl_of_finite_mixtures_by_definition():
    """Posterior under one concentration against the prior under another, K by K."""
    counts = np.array([0, 4.0, 0, 2.0, 0, 0])
    q = special.softmax(brute_mixture(np.log(NUMBERS), 1.5 / np.arange(1, 7), counts, SLOTS))
    expected = 0.0
    for K in range(2, 7):
        shapes = np.append([4.0, 2.0], np.zeros(K - 2)) + 1.5 / K
        places = math.log(math.comb(6, K) / math.comb(4, K - 2))
        weights = kl_dirichlet(shapes, np.full(K, 0.6))
        expected += q[K - 1] * (math.log(q[K - 1] / NUMBERS[K - 1]) + places + weights)
    posterior = dynamic(NUMBERS, 1.5)._replace(counts=counts)
    assert_close(kl(posterior, mixture(NUMBERS, 0.6)), expected)


def test_draws_of_a_finite_mixture():
    found = describe(mixture([0.2, 0.5, 0.3], 0.7), 0.0, 5.0)
    draws = draws_of(found["posterior"])
    K = np.isfinite(draws).sum(1)  # absent: log weight -inf
    p = special.softmax(brute_mixture(np.log([0.2, 0.5, 0.3]), np.full(3, 0.7), wide([5.0]), 6))
    assert_mean(K[:, None] == np.arange(1, 4), p)
    assert np.all(np.isfinite(draws[:, 0]) == (K >= 2))  # free slots fill from the first
    weight, total = np.exp(draws[:, 1]), 5 + 0.7 * K
    assert_mean((weight - 5.7 / total)[:, None], 0.0)
    assert_mean((weight**2 - 5.7 * 6.7 / (total * (total + 1)))[:, None], 0.0)
    given = jax.eval_shape(lambda key: found["posterior"].draw_weights(key, 4), jr.key(0))
    assert given.shape == (SLOTS,) and given.dtype == jnp.float64


def test_mode_of_a_finite_mixture():
    fixed = describe(mixture([0, 0, 1], 2.0), 5.0, 0.0, 2.0)
    assert_close(np.exp(fixed["mode"]), wide([6 / 10, 1 / 10, 3 / 10]))
    flat = describe(mixture([0.4, 0.3, 0.2, 0.1], 1.0), 0.0, 5.0, 3.0)
    assert_close(np.exp(flat["mode"]), wide([0, 5 / 8, 3 / 8]))
    empty = describe(mixture([0.6, 0.4], 1.0))
    assert_close(np.exp(empty["mode"]), wide([1.0]))  # K = 1


def test_fixed_number_of_components_is_a_dirichlet():
    found = describe(mixture([0, 0, 0, 0, 0, 1], 0.4), 3.0, 0.0, 1.0)
    expected = describe(Dirichlet(np.full(6, 0.4)), 3.0, 0.0, 1.0)
    for name in (*READINGS, "kl", "log_evidence"):
        assert_close(found[name], expected[name])


def test_components_beyond_the_slots():
    """Nine in six slots: the last free slot holds the rest; with none free it is left out."""
    nine = mixture([0] * 8 + [1], 0.5)
    assert_close(np.exp(describe(nine)["log_mean"]), np.array([1, 1, 1, 1, 1, 4]) / 9)
    found = describe(nine, 4.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    assert_close(np.exp(found["log_mean"]), np.array([4.5, 0.5, 0.5, 0.5, 2.0, 1.5]) / 9.5)
    assert_mean(np.exp(draws_of(found["posterior"])), np.exp(found["log_mean"]))
    counts = np.array([4.0, 1, 2, 3, 1, 1])
    full = describe(nine, *counts)
    assert_close(np.exp(full["log_mean"]), (counts + 0.5) / 16.5)
    draws = np.exp(draws_of(full["posterior"]))
    assert_mean(draws, np.exp(full["log_mean"]))
    assert np.all(draws.sum(1) < 1)


draw_given = jit(jax.vmap(PitmanYor.draw, (None, 0, None)))


@pytest.mark.parametrize("alpha, discount", [(1.2, 0.0), (0.8, 0.3), (-0.1, 0.3)])
def test_weights_of_a_process_given_a_partition(alpha, discount):
    process = PitmanYor(jnp.asarray(alpha), jnp.asarray(discount))
    counts = jnp.array([0.0, 6.0, 0.0, 0.0, 2.0, 0.0])
    draws = np.exp(draw_given(process, jr.split(jr.key(5), N_DRAWS), counts))
    assert_close(draws.sum(1), np.ones(N_DRAWS))
    total, rest = 8 + alpha, alpha + 2 * discount
    shapes = np.array([6 - discount, 2 - discount, rest])
    groups = np.stack([draws[:, 1], draws[:, 4], np.delete(draws, [1, 4], 1).sum(1)], 1)
    assert_mean(groups, shapes / total)
    assert_mean((groups - shapes / total) ** 2, stats.dirichlet.var(shapes))
    kept, broken = 1 - discount, rest + discount * np.arange(1, 4)
    v = kept / (kept + broken)  # of the free slots 0, 2, 3; slot 5 takes what is left
    free = rest / total * np.append(v, 1) * np.append(1, np.cumprod(1 - v))
    assert_mean(draws[:, [0, 2, 3, 5]], free)


def test_weights_of_a_process_at_the_ends():
    process = PitmanYor(jnp.asarray(-0.1), jnp.asarray(0.3))
    keys = jr.split(jr.key(0), N_DRAWS)
    sticks = StickBreaking.pitman_yor(0.3, -0.1, 6)  # no points: the prior's own sticks
    assert_mean(np.exp(draw_given(process, keys, jnp.zeros(6))), np.exp(sticks.log_mean()))
    full = np.exp(draw_given(process, keys, jnp.array([3.0, 1, 1, 1, 1, 1])))
    assert_mean(full, (np.array([3.0, 1, 1, 1, 1, 1]) - 0.3) / 7.9)
    assert np.all(full.sum(1) < 1)


# ----------------------------------------------------------------------- priors on the number of K


@pytest.mark.parametrize(
    "prior, law",
    [
        (("poisson", 3.0), stats.poisson(3.0, loc=1)),
        (("geometric", 0.3), stats.geom(0.3)),
        (("uniform", 30), stats.randint(1, 31)),
        (("bnb", 1, 4, 3), stats.betanbinom(1, 4, 3, loc=1)),
        (("bnb", 2, 5, 1.5), stats.betanbinom(2, 5, 1.5, loc=1)),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else "law",
)
def test_priors_on_the_number_of_components(prior, law):
    p = law.pmf(np.arange(1, 2001))
    assert_close(np.exp(n_components_prior(prior, 2000)), p / p.sum(), rtol=1e-9)


def test_a_vector_of_probabilities():
    found = np.exp(n_components_prior([1, 3], 2000))
    assert_close(found[:2], [0.25, 0.75])
    assert not found[2:].any()
    many = np.exp(n_components_prior(np.append(np.zeros(1999), [0.5, 0.5]), 2000))
    assert many[-1] == 1 and not many[:-1].any()


def test_unknown_prior_names_what_there_is():
    with pytest.raises(ValueError, match=r"one of 'poisson', .*'bnb'; got 'binomial'"):
        n_components_prior(("binomial", 0.5))


def test_float32_outside_the_scope():
    prior = Dirichlet(np.full(SLOTS, 0.5))
    exact = describe(prior, 30.0, 0.0, 12.0)
    with jax.enable_x64(False):
        found = describe(Dirichlet(np.float32(prior.concentration)), 30.0, 0.0, 12.0)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    for name in (*READINGS, "kl", "log_evidence"):
        assert_close(found[name], exact[name], rtol=2e-5)
