"""Gibbs sampling against the exact posterior over all partitions of a few points.

All cases, with a table of their errors: ``pytest -m slow -s -k every_exact tests/inference``.
"""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import special, stats

from bayesgmm.core import (
    FAMILIES,
    Data,
    FiniteMixture,
    Moments,
    NormalInverseWishart,
    PitmanYor,
    choose_form,
    log_eppf,
    log_evidence,
    n_components_prior,
    random,
)
from bayesgmm.core.concentration import ConcentrationPrior
from bayesgmm.core.forms import exact_form, kappa
from bayesgmm.core.independent import HierarchicalPrior, IndependentPrior
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.slots import SlotPrior
from bayesgmm.inference import chains, gibbs, splitmerge
from tests.conftest import slow

pytestmark = pytest.mark.usefixtures("x64")

REFERENCE = Path(__file__).parent.parent / "reference"
CHAINS, SIZE, KMAX = 64, 32, 100
ANY = ConcentrationPrior.gamma(1.0, 1.0)
"""A prior of a concentration that is not learned."""


def reference(name):
    return json.loads((REFERENCE / f"exact_{name}.json").read_text(encoding="utf-8"))


def components_of(given):
    """One component's prior of the reference in ours (see the README there)."""
    if given["family"] == "indep":
        leaves = given["b0"], given["B0"], 2 * given["c0"], 2 * given["C0"]
        mean, variance, dof, scale = (np.array([leaf], float) for leaf in leaves)
        return IndependentPrior(mean[None], variance[None, None], dof, scale[None, None])
    if given["family"] == "niw":
        dof, scale = given["nu0"], np.array(given["S0"])
    else:
        dof, scale = 2 * given["a0"], 2 * np.atleast_1d(given["b0"])
        scale = scale[:, None] if given["family"] == "nig" else scale
    mean = np.atleast_1d(given["m0"])[None].astype(float)
    return NormalInverseWishart(
        mean, np.array([given["k0"]], float), np.array([dof], float), scale[None]
    )


def weights_of(prior):
    """Kind of the weights, prior, concentration and slots to begin with."""
    if prior["type"] != "mfm":
        alpha = prior.get("alpha", prior.get("concentration"))
        return "process", SlotPrior(np.zeros(1), 1, prior.get("discount", 0.0)), alpha, 16
    name, parameters = prior["K_prior"]
    if name == "fixed":
        return "finite", SlotPrior(np.zeros(1), parameters), prior["gamma"], parameters
    name = {"poisson1": "poisson"}.get(name, name)
    log_prior = np.asarray(n_components_prior((name, *np.atleast_1d(parameters).tolist()), KMAX))
    kind = "static" if "gamma" in prior else "dynamic"
    return kind, SlotPrior(log_prior), prior.get("gamma", prior.get("alpha")), 16


def data_of(x):
    x = np.array(x, float).reshape(len(x), -1)
    fill = SIZE - len(x)
    return Data(np.pad(x.T, ((0, 0), (0, fill))), np.pad(np.ones(len(x)), (0, fill)))


def keys_of(seed, n=CHAINS):
    return jax.vmap(random.words)(jr.split(jr.key(seed), n))


def begun(data, alpha, config, T, seed=0, n_chains=CHAINS, scale=None):
    """Chains of which half begin with all points together and half with random labels."""
    labels = np.random.default_rng(seed).integers(0, T, (n_chains, SIZE))
    labels[::2] = 0
    return chains.start_all(keys_of(seed, n_chains), data, labels, float(alpha), config, T, scale)


def sampled(x, prior, family, weights, alpha, T, n_draws, thin=1, **options):
    data, family = data_of(x), FAMILIES[family]
    if options.get("moves"):
        prior = prior._replace(moves=splitmerge.Moves(splitmerge.neighbours(data, 3)))
    form = choose_form(len(data.points), family.axis_aligned)
    config = gibbs.GibbsConfig(family, form, weights, **options)
    hierarchical = isinstance(prior.components, HierarchicalPrior)
    states = begun(
        data, alpha, config, T, scale=prior.components.start(family) if hierarchical else None
    )
    return chains.run(states, data, prior, config, n_draws, thin, n_warmup=n_draws // 20)


def of_case(name, case, n_draws, **options):
    """Draws of one case of the reference."""
    found = reference(name)
    given = found["component_priors"][case["component_prior"]]
    kind, weights, alpha, T = weights_of(found["partition_priors"][case["prior"]])
    prior = gibbs.GibbsPrior(weights, ANY, components_of(given))
    family = "diag" if given["family"] == "nig_diag" else "full"
    if kind == "finite" and "moves" in options:
        T += 1
    return sampled(found["x"], prior, family, kind, alpha, T, n_draws, **options)


# --- means of chains against exact values ---------------------------------------------------------


def together(labels):
    """How often each pair i < j is together in each chain, from labels [C, S, N]."""
    i, j = np.triu_indices(labels.shape[-1], 1)
    return (labels[..., i] == labels[..., j]).mean(1)


def frequencies(numbers, most):
    """How often each number 1 to `most` came in each chain, from numbers [C, S]."""
    return (numbers[..., None] == np.arange(1, most + 1)).mean(1)


def errors(found, exact):
    """Largest absolute error of means of chains [C, ...], and largest z of those that are rare."""
    exact = np.asarray(exact)
    gap = found.mean(0) - exact
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    often = (exact > 0.002) & (exact < 0.998)
    z = np.abs(gap[often]) / np.maximum(error[often], 1e-5)
    return float(np.abs(gap).max()), float(z.max(initial=0.0))


def compared(draws, case):
    """Errors of p(K+), of the similarities and, where K is random, of p(K)."""
    n = draws.labels.shape[-1]
    p = [case["p_Kplus"].get(str(t), 0.0) for t in range(1, n + 1)]
    found = {
        "p(K+)": errors(frequencies(draws.label_free()["n_clusters"], n), p),
        "similarity": errors(together(draws.labels), case["psm_pairs"]),
    }
    if "p_K" in case:
        found["p(K)"] = errors(frequencies(draws.n_components, 10), case["p_K"])
    return found


def cases_of(name, *priors, component_prior=None):
    return [
        case
        for case in reference(name)["cases"]
        if case["prior"] in priors and component_prior in (None, case["component_prior"])
    ]


CI = [
    ("m6_collinear2d", "finite_K3_gamma1", "niw_unit", 6_000),
    slow("m6_collinear2d", "py_d0.25_theta0.5", "niw_data", 1_500),
    slow("m6_collinear2d", "mfm_poisson1_gamma1", "nig_diag", 1_500),
    slow("m6_collinear2d", "mfm_bnb143_dynamic_alpha1", "nig_diag", 1_500),
    slow("u6", "dp_alpha1", "nig_unit", 1_500),
    slow("u6_indep", "finite_K3_gamma1", "indep", 1_500),
    ("u6_indep", "mfm_poisson1_gamma1", "indep", 1_500),
]
"""A set, a prior over partitions, a component prior, and draws a chain that are enough for it."""


@pytest.mark.parametrize("name, prior, component_prior, n_draws", CI)
def test_the_exact_posterior(name, prior, component_prior, n_draws):
    (case,) = cases_of(name, prior, component_prior=component_prior)
    for error, z in compared(of_case(name, case, n_draws), case).values():
        assert error < 0.02 and z < 4


# --- families, and a concentration that is learned: enumerated here ------------------------------


def partitions_of(n):
    """All partitions of n points, as labels [B, n] in order of appearance."""
    rows = [[0]]
    for _ in range(n - 1):
        rows = [[*row, k] for row in rows for k in range(max(row) + 2)]
    return np.array(rows)


def counts_of(partitions):
    n = partitions.shape[1]
    return (partitions[..., None] == np.arange(n)).sum(1).astype(float)


def log_likelihoods(x, partitions, components, family):
    """Log marginal likelihood of the points given each partition, [B]."""
    n, D = x.shape
    member = (partitions[:, None] == np.arange(n)[:, None]).astype(float)  # [B, n, N]

    def one(resp):
        second = jnp.einsum("kn,ni,nj->kij", resp, x, x)
        if family.axis_aligned:
            second = jnp.diagonal(second, axis1=1, axis2=2)
        found = Moments(resp.sum(1), resp @ x, second, jnp.zeros(()))
        posterior = gibbs.posterior_of(components, found, jnp.zeros((n, D)), family)
        wide = [jnp.broadcast_to(leaf, (n, *leaf.shape[1:])) for leaf in components]
        wide[2:] = components[2:] if family.pooled else wide[2:]
        return log_evidence(NormalInverseWishart(*wide), posterior, family).sum()

    return np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(member)))


def exact(log_joint, partitions):
    """As a case of the reference, from the log joint of all partitions [B] (or [A, B])."""
    posterior = special.softmax(log_joint)
    posterior = posterior.reshape(-1, len(partitions)).sum(0)
    i, j = np.triu_indices(partitions.shape[1], 1)
    number = partitions.max(1) + 1
    p = {str(t): posterior[number == t].sum() for t in np.unique(number)}
    return {"p_Kplus": p, "psm_pairs": posterior @ (partitions[:, i] == partitions[:, j])}


FEW = np.array([[-1.4, -0.2], [-1.0, 0.3], [0.1, 0.4], [1.1, -0.9], [1.5, 0.2]])


def components_for(family, D=2):
    groups = np.array([[0.8, 0.2], [0.2, 0.6]])[:D, :D]
    scale = (
        groups[:1, 0] if family.isotropic else np.diag(groups) if family.axis_aligned else groups
    )
    return NormalInverseWishart(np.full((1, D), 0.2), np.array([0.3]), np.array([4.0]), scale[None])


@pytest.mark.parametrize("name", ["tied", "spherical"])
def test_families_that_share(name):
    """A covariance for all components, and one number for all features."""
    family, partitions = FAMILIES[name], partitions_of(len(FEW))
    components, alpha, K = components_for(family), 0.8, 3
    fixed = FiniteMixture.fixed(alpha, K)
    log_joint = log_likelihoods(FEW, partitions, components, family)
    log_joint = log_joint + np.asarray(jax.vmap(partial(log_eppf, fixed))(counts_of(partitions)))
    prior = gibbs.GibbsPrior(SlotPrior(np.zeros(1), K), ANY, components)
    draws = sampled(FEW, prior, name, "finite", alpha, K, 1_500)
    for error, z in compared(draws, exact(log_joint, partitions)).values():
        assert error < 0.02 and z < 4
    assert draws.scales.shape[2:] == ((1, 2, 2) if name == "tied" else (3, 2))


def dynamic(alpha, log_prior):
    return FiniteMixture.dynamic(alpha, log_prior, len(FEW))


def process(alpha, discount):
    return PitmanYor(alpha, discount)


LEARNED = {
    "dynamic": (ConcentrationPrior.f(6.0, 3.0), stats.f(6, 3), dynamic),
    "process": (ConcentrationPrior.gamma(2.0, 1.5), stats.gamma(2.0, scale=1 / 1.5), process),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dynamic", "process"])
def test_a_concentration_that_is_learned(kind):
    """The posterior of partition and alpha, by enumeration and quadrature over log alpha."""
    family, partitions = FAMILIES["diag"], partitions_of(len(FEW))
    concentration, distribution, eppf = LEARNED[kind]
    components, discount = components_for(family), 0.2
    log_prior = np.asarray(n_components_prior(("bnb", 1, 4, 3), KMAX))
    given = log_prior if kind == "dynamic" else discount
    at = np.exp(np.linspace(-7, 7, 281))
    counts, inverse = np.unique(np.sort(counts_of(partitions)), axis=0, return_inverse=True)
    priors = jax.jit(
        jax.vmap(lambda a: jax.vmap(lambda n: log_eppf(eppf(a, given), n))(jnp.asarray(counts)))
    )
    log_joint = np.asarray(priors(at))[:, inverse] + (distribution.logpdf(at) + np.log(at))[:, None]
    log_joint = log_joint + log_likelihoods(FEW, partitions, components, family)
    prior = gibbs.GibbsPrior(SlotPrior(log_prior, 1, discount), concentration, components)
    draws = sampled(FEW, prior, "diag", kind, 1.0, 32, 1_000, learned=True)
    for error, z in compared(draws, exact(log_joint, partitions)).values():
        assert error < 0.02 and z < 4
    log_alpha = np.log(draws.alpha).mean(1)
    expected = special.softmax(log_joint).sum(1) @ np.log(at)
    assert abs(log_alpha.mean() - expected) < 4 * log_alpha.std() / np.sqrt(CHAINS) < 0.15


def log_marginals_given_scale(x, prior, at):
    """Log marginal likelihood of every subset [2^N] of points on a line for each C0 [A]."""
    n, c0 = len(x), prior.dof[0] / 2
    subsets = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    mu, step = np.linspace(-14, 14, 4001, retstep=True)
    distance = subsets @ np.square(x[:, None] - mu) / 2  # [2^N, M]
    size = subsets.sum(1)
    log_prior = stats.norm(prior.mean[0, 0], np.sqrt(prior.covariance[0, 0, 0])).logpdf(mu)
    constant = special.gammaln(c0 + size / 2) - special.gammaln(c0) - size / 2 * np.log(2 * np.pi)
    values = []
    for C0 in at:
        inside = log_prior - (c0 + size[:, None] / 2) * np.log(C0 + distance)
        values.append(special.logsumexp(inside, axis=1) + np.log(step) + constant + c0 * np.log(C0))
    return np.array(values)


@pytest.mark.parametrize(
    "kind, moves",
    [("finite", ()), slow("process", splitmerge.UNKNOWN)],
    ids=["finite", "process"],
)
def test_a_random_scale_common_to_all(kind, moves):
    """Enumeration and quadrature over C0, and over the mean of every cluster."""
    x = np.array([-2.0, -1.7, 0.1, 1.6, 2.4])
    one = np.ones((1, 1))
    prior = HierarchicalPrior(0 * one, 4.0 * one[None], np.array([5.0]), np.array([0.8]), one[None])
    at = np.exp(np.linspace(-9, 4, 131))
    by_subset = log_marginals_given_scale(x, prior, at)
    partitions = partitions_of(len(x))
    codes = ((partitions[:, None] == np.arange(5)[:, None]) * 2 ** np.arange(5)).sum(2)  # [B, n]
    eppf = FiniteMixture.fixed(0.9, 3) if kind == "finite" else PitmanYor(0.9, 0.2)
    log_joint = by_subset[:, codes].sum(2) + (
        np.asarray(jax.vmap(partial(log_eppf, eppf))(counts_of(partitions)))
    )
    log_joint = log_joint + (stats.gamma(0.8).logpdf(at) + np.log(at))[:, None]
    weights = SlotPrior(np.zeros(1), 3, 0.2)
    T = 3 if kind == "finite" else 32
    given = gibbs.GibbsPrior(weights, ANY, prior)
    draws = sampled(x, given, "full", kind, 0.9, T, 1_500, moves=moves)
    for error, z in compared(draws, exact(log_joint, partitions)).values():
        assert error < 0.02 and z < 4
    log_scale = np.log(draws.scale[..., 0, 0, 0]).mean(1)
    expected = special.softmax(log_joint).sum(1) @ np.log(at)
    assert abs(log_scale.mean() - expected) < 4 * log_scale.std() / np.sqrt(CHAINS) < 0.15


# --- how a run goes on ----------------------------------------------------------------------------


def small_run(n_draws, states=None, T=16, watch=None, thin=3, alpha=3.0, **options):
    """A Pitman-Yor process, which needs more slots sooner or later."""
    (case,) = cases_of("u6", "dp_alpha3", component_prior="nig_unit")
    given = reference("u6")["component_priors"]["nig_unit"]
    prior = gibbs.GibbsPrior(SlotPrior(np.zeros(1), 1, 0.25), ANY, components_of(given))
    data, family = data_of(reference("u6")["x"]), FAMILIES["full"]
    config = gibbs.GibbsConfig(family, choose_form(1), "process")
    states = begun(data, alpha, config, T, n_chains=2) if states is None else states
    return chains.run(states, data, prior, config, n_draws, thin, watch=watch, **options)


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_two_runs_are_one():
    whole, first = small_run(600), small_run(250)
    second = small_run(350, first.state)
    assert first.log_weights.shape[2] == second.log_weights.shape[2] == whole.log_weights.shape[2]
    joined = one_after_the_other(first, second)
    for name in gibbs.Kept._fields:
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    same(second.state, whole.state)


def test_slots_grow_when_two_points_take_the_last():
    """And what a hard limit leaves undone is counted."""
    few, many = small_run(300, T=4), small_run(300, T=4, max_slots=4)
    assert few.log_weights.shape[2] > 4 and many.log_weights.shape[2] == 4
    assert (few.crowded == 0).all() and (many.crowded > 0).all()
    np.testing.assert_allclose(np.exp(few.log_weights).sum(-1), 1.0)
    assert (few.labels < few.log_weights.shape[2]).all() and few.labels.shape == (2, 300, 6)


def test_a_sweep_done_again_breaks_the_sticks_further():
    """With more slots and the same numbers the slots that were not last stay what they were."""
    draws = small_run(5, alpha=0.5)
    more = chains.grown(draws.state, 32)
    data = data_of(reference("u6")["x"])
    given = reference("u6")["component_priors"]["nig_unit"]
    prior = gibbs.GibbsPrior(SlotPrior(np.zeros(1), 1, 0.25), ANY, components_of(given))
    config = gibbs.GibbsConfig(FAMILIES["full"], choose_form(1), "process")
    step = jax.jit(jax.vmap(partial(gibbs.step, data=data, prior=prior, config=config)))
    small, large = step(draws.state).mixture, step(more).mixture
    free = np.flatnonzero(np.asarray(draws.state.found.counts[0]) == 0)
    np.testing.assert_allclose(small.log_weights[0, : free[-1]], large.log_weights[0, : free[-1]])
    np.testing.assert_allclose(small.means[0], large.means[0, :16])
    rest = np.logaddexp.reduce(large.log_weights[0, free[-1] :])
    np.testing.assert_allclose(small.log_weights[0, free[-1]], rest)


def tight_run(n_draws, form, state=None, width=1e-7):
    """Three groups of four points, each so narrow that no fast form has the digits."""
    x = np.repeat([-1.0, 0.1, 0.9], 4) + width * np.tile([-1.5, -0.5, 0.5, 1.5], 3)
    scale = np.full((1, 1, 1), width**2)
    components = NormalInverseWishart(
        np.zeros((1, 1)), np.array([width**2]), np.array([4.0]), scale
    )
    prior = gibbs.GibbsPrior(SlotPrior(np.zeros(1)), ANY, components)
    config = gibbs.GibbsConfig(FAMILIES["full"], form, "process")
    data = data_of(x)
    labels = np.tile(np.append(np.repeat([3, 1, 0], 4), np.zeros(SIZE - 12, int)), (2, 1))
    start = chains.start_all(keys_of(0, 2), data, labels, 1.0, config, 16)
    return chains.run(start if state is None else state, data, prior, config, n_draws)


def alike(one, other):
    for name in ("labels", "counts", "alpha"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("log_weights", "means", "scales", "log_likelihood"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6)


def test_clusters_too_flat_for_a_fast_form_are_drawn_in_the_exact_one():
    """Sweep by sweep at first, and for good when there are many."""
    exact, fast = tight_run(60, exact_form()), tight_run(60, choose_form(1))
    assert (exact.state.exact == 0).all() and (fast.state.exact == chains.OFTEN).all()
    alike(fast, exact)
    assert (fast.counts[:, -1].max(-1) == 4).all()  # the groups are found
    first = tight_run(7, choose_form(1))
    assert (first.state.exact == 7).all()
    second = tight_run(53, choose_form(1), first.state)
    alike(one_after_the_other(first, second), exact)


def one_after_the_other(first, second):
    """Draws of two runs as those of one."""
    pair = lambda name: [getattr(first, name), getattr(second, name)]  # noqa: E731
    return first._replace(**{name: np.concatenate(pair(name), 1) for name in gibbs.Kept._fields})


@pytest.mark.slow
def test_now_and_then_a_flat_cluster(monkeypatch):
    """Whatever the limit, the draws are the same but for rounding."""
    exact = tight_run(80, exact_form(), width=0.1)
    every = jax.vmap(jax.vmap(kappa))(Mixture(exact.log_weights, exact.means, exact.scales))
    monkeypatch.setattr(chains, "LOSS", float(np.quantile(every.max(0), 0.9)))
    jax.clear_caches()
    fast = tight_run(80, choose_form(1), width=0.1)
    jax.clear_caches()
    assert (0 < fast.state.exact).all() and (fast.state.exact < chains.OFTEN).all()
    alike(fast, exact)


def test_what_was_drawn_before_an_interrupt_is_kept():
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) == 4:
            raise KeyboardInterrupt

    part = small_run(100_000, watch=stop)
    assert part.interrupted and [p.done for p in seen] == sorted(p.done for p in seen)
    kept = part.labels.shape[1]
    assert kept == seen[-1].done // 3 < 100_000 and seen[-1].total == 300_000
    np.testing.assert_array_equal(part.labels, small_run(kept).labels)


def test_other_values_compile_nothing(caplog):
    small_run(40)
    with jax.log_compiles(True), caplog.at_level("WARNING"):
        small_run(55, thin=2, alpha=0.7)
    compiled = [
        r for r in caplog.records if "Compiling" in r.message or "Finished XLA" in r.message
    ]
    assert not compiled


def test_label_free_quantities():
    counts = np.array([[[3, 0, 1]]])
    log_weights = np.log([[[0.5, 0.25, 0.25]]])
    none = np.zeros(0)
    kept = gibbs.Kept(none, log_weights, none, none, counts, none, none, np.array([[-4.0]]), none)
    draws = chains.Draws(*kept, none, none, none, False)
    found = draws.label_free()
    expected = {
        "n_clusters": 2,
        "entropy": stats.entropy([0.75, 0.25]),
        "log_likelihood": -4.0,
        "largest_weight": 0.5,
        "sum_of_squared_weights": 0.375,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], [[value]])


# --- the full comparison --------------------------------------------------------------------------

FULL = [
    (name, number)
    for name in ("u6", "u6_indep", "m6_collinear2d", "m7_3d")
    for number in range(len(reference(name)["cases"]))
]

LONGER = {("m7_3d", 5): 8, ("m7_3d", 28): 8}
"""Sweeps a draw where one is not enough for an error below 0.01."""


@pytest.mark.slow
@pytest.mark.parametrize("name, number", FULL)
def test_every_exact_posterior(name, number):
    """All cases of the reference: with split-merge paths where the prior allows them."""
    case = reference(name)["cases"][number]
    independent = case["component_prior"] == "indep"
    options = {} if independent else {"moves": (1, 0, 1, 1)}
    options["thin"] = LONGER.get((name, number), 1)
    draws = of_case(name, case, 10_000 if independent else 2_000, **options)
    for quantity, (error, z) in compared(draws, case).items():
        print(f"| {name} | {case['prior']} | {quantity} | {error:.4f} | {z:.1f} |")
        assert error < 0.01 and z < 4
