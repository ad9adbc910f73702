"""The no-U-turn sampler against the exact posterior over partitions, and against Gibbs sampling.

All cases, with a table of their errors: ``pytest -m slow -s -k every_exact_posterior_of_nuts
tests/inference``.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.hmc_util import build_adaptation_schedule

from bayesgmm.core import FAMILIES, NormalInverseWishart, exact_form, log_density
from bayesgmm.core.concentration import ConcentrationPrior
from bayesgmm.core.independent import HierarchicalPrior, IndependentPrior
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.slots import SlotPrior
from bayesgmm.inference import chains, gibbs, nuts
from bayesgmm.inference.model import ModelConfig, ModelPrior, leftover
from tests.conftest import slow
from tests.inference.test_gibbs import (
    SIZE,
    begun,
    cases_of,
    compared,
    components_of,
    data_of,
    keys_of,
    reference,
)

pytestmark = pytest.mark.usefixtures("x64")

ENDS = 1e-3
"""Prior mean of the stick that a truncation leaves, in the comparisons."""


def model_of(prior, components, kind):
    """Model and prior of a case of the reference: a truncation where it is a process."""
    if prior["type"] == "mfm":
        return ModelConfig(kind, prior["K_prior"][1]), ModelPrior(components, prior["gamma"])
    alpha = prior.get("alpha", prior.get("concentration"))
    discount = prior.get("discount", 0.0)
    T = next(t for t in range(2, 1000) if leftover(alpha, discount, t) < ENDS)
    return ModelConfig(kind, T, "process"), ModelPrior(components, alpha, discount=discount)


def begun_nuts(data, prior, config, n_chains):
    labels = np.random.default_rng(0).integers(0, config.model.n_components, (n_chains, SIZE))
    labels[::2] = 0
    floats = ModelPrior(prior.components, *jax.tree.map(np.float64, tuple(prior[1:])))
    return nuts.start_all(keys_of(1, n_chains), data, labels, floats, config), floats


def sampled(data, prior, model, n_draws, n_chains=16, n_warmup=300, thin=1, **options):
    config = nuts.NutsConfig(model)
    states, prior = begun_nuts(data, prior, config, n_chains)
    return nuts.run(states, data, prior, config, n_draws, thin, n_warmup, **options)


def of_case(name, case, n_draws, **options):
    found = reference(name)
    given = found["component_priors"][case["component_prior"]]
    kind = "diag" if given["family"] == "nig_diag" else "full"
    model, prior = model_of(found["partition_priors"][case["prior"]], components_of(given), kind)
    return sampled(data_of(found["x"]), prior, model, n_draws, **options)


CI = [
    ("u6_indep", "finite_K3_gamma1", "indep"),
    slow("m6_collinear2d", "dp_alpha1", "nig_diag"),
]


@pytest.mark.parametrize("name, prior, component_prior", CI)
def test_the_exact_posterior(name, prior, component_prior):
    (case,) = cases_of(name, prior, component_prior=component_prior)
    found = of_case(name, case, 600)
    for error, z in compared(found.draws, case).values():
        assert error < 0.03 and z < 4
    assert found.stats.diverging.mean() < 0.01
    assert abs(found.stats.acceptance_rate.mean() - 0.85) < 0.1


# --- against Gibbs sampling -----------------------------------------------------------------------

POINTS = np.array(
    [-2.1, -1.8, -1.7, -1.5, -1.2, -0.4, 0.1, 0.3, 0.5, 0.6, 0.9, 1.4, 1.6, 1.7, 2.2, 2.6]
)[:, None]
PLANE = np.column_stack([POINTS[:, 0], np.sin(5 * POINTS[:, 0])])
GRID = np.linspace(-2.5, 2.5, 7)


def prior_of(name, kind, D):
    family = FAMILIES[kind]
    ones, matrix = np.ones(D), np.eye(D) + 0.2 * (np.ones((D, D)) - np.eye(D))
    form = lambda m: np.diag(m)[None] if family.axis_aligned else m[None]  # noqa: E731
    mean, dof = 0.1 * ones[None], np.array([D + 3.0])
    if name == "conjugate":
        return NormalInverseWishart(mean, np.array([0.5]), dof, form(matrix))
    if name == "independent":
        return IndependentPrior(mean, form(3 * matrix), dof, form(matrix))
    return HierarchicalPrior(mean, form(3 * matrix), dof, np.array([1.5]), form(2 * matrix))


def twelve(draws, D):
    """Label-free quantities [C, 12]: five of the sampler, and log densities at seven places."""
    found = draws.label_free()
    names = ("n_clusters", "log_likelihood", "entropy", "largest_weight", "sum_of_squared_weights")
    places = np.repeat(GRID[:, None], D, 1)
    mixtures = Mixture(draws.log_weights, draws.means, draws.scales)
    read = jax.jit(jax.vmap(jax.vmap(lambda m: log_density(places, m))))
    densities = np.asarray(read(jax.tree.map(jnp.asarray, mixtures)))
    return np.column_stack([*(found[name].mean(1) for name in names), densities.mean(1)])


SHARED = [
    slow("hierarchical", "full", 1, "finite"),
    slow("conjugate", "tied", 2, "finite"),
    slow("independent", "full", 2, "finite"),
    slow("hierarchical", "diag", 2, "process"),
]


@pytest.mark.parametrize("name, kind, D, weights", SHARED)
def test_it_has_the_target_of_gibbs(name, kind, D, weights):
    """Twelve quantities that do not depend on labels; a learned concentration of a process."""
    data = data_of(POINTS if D == 1 else PLANE)
    components, learned = prior_of(name, kind, D), weights == "process"
    concentration = ConcentrationPrior.gamma(2.0, 4.0)
    K = 24 if learned else 3
    model = ModelConfig(kind, K, weights, learned)
    found = sampled(data, ModelPrior(components, 1.0, concentration), model, 500)
    family = FAMILIES[kind]
    form = exact_form(family.axis_aligned)
    config = gibbs.GibbsConfig(family, form, weights, learned)
    scale = components.start(family) if isinstance(components, HierarchicalPrior) else None
    states = begun(data, 1.0, config, K if not learned else 16, n_chains=32, scale=scale)
    prior = gibbs.GibbsPrior(SlotPrior(np.zeros(1), K), concentration, components)
    other = chains.run(states, data, prior, config, 4000, n_warmup=500)
    one, two = twelve(found.draws, D), twelve(other, D)
    error = np.sqrt(one.var(0, ddof=1) / len(one) + two.var(0, ddof=1) / len(two))
    z = (one.mean(0) - two.mean(0)) / error
    assert z.shape == (12,) and np.abs(z).max() < 4, z
    if name == "hierarchical":
        logs = [
            np.log(np.abs(d.scale).reshape(*d.alpha.shape, -1)).mean((1, 2))
            for d in (found.draws, other)
        ]
        error = np.sqrt(sum(log.var(ddof=1) / len(log) for log in logs))
        assert abs(logs[0].mean() - logs[1].mean()) < 4 * error


# --- how a run goes on ----------------------------------------------------------------------------


def small_run(n_draws, states=None, n_warmup=0, thin=2, watch=None):
    """With the program of the comparison with enumeration."""
    (case,) = cases_of("u6_indep", "finite_K3_gamma1", component_prior="indep")
    found = reference("u6_indep")
    components = components_of(found["component_priors"][case["component_prior"]])
    model, prior = model_of(found["partition_priors"][case["prior"]], components, "full")
    data, config = data_of(found["x"]), nuts.NutsConfig(model)
    begin, prior = begun_nuts(data, prior, config, 16)
    states = begin if states is None else states
    return nuts.run(states, data, prior, config, n_draws, thin, n_warmup, watch)


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_two_runs_are_one():
    """In spite of the calls that they are cut into; and a draw of several iterations is one."""
    whole = small_run(30, n_warmup=40)
    first = small_run(11, n_warmup=40)
    second = small_run(19, first.draws.state)
    for one, two, both in zip(first.draws[:9], second.draws[:9], whole.draws[:9], strict=True):
        np.testing.assert_array_equal(np.concatenate([one, two], 1), both)
    same(second.draws.state, whole.draws.state)
    every = small_run(60, n_warmup=40, thin=1)
    np.testing.assert_array_equal(every.draws.means[:, 1::2], whole.draws.means)
    steps = every.stats.n_steps
    np.testing.assert_array_equal(steps[:, ::2] + steps[:, 1::2], whole.stats.n_steps)
    assert (whole.draws.state.sweep == 100).all() and (steps < 1 << 10).all()


def test_what_was_drawn_before_an_interrupt_is_kept():
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) >= 6:
            raise KeyboardInterrupt

    part = small_run(100_000, watch=stop)
    kept = part.draws.labels.shape[1]
    assert part.draws.interrupted and kept == seen[-1].done // 2 == part.stats.n_steps.shape[1]
    np.testing.assert_array_equal(part.draws.means, small_run(kept).draws.means)
    none = small_run(10, n_warmup=1_000_000, watch=stop)  # which interrupts at once
    assert none.draws.interrupted and none.draws.labels.shape == (16, 0, 6)


def test_other_values_compile_nothing(caplog):
    small_run(5)
    with jax.log_compiles(True), caplog.at_level("WARNING"):
        small_run(7, n_warmup=33, thin=3)
    said = [r.message for r in caplog.records]
    assert not [m for m in said if "Compiling" in m or "Finished XLA" in m]


@pytest.mark.parametrize("n", [0, 5, 100, 150, 1000])
def test_the_windows_of_the_warm_up_are_numpyros(n):
    phases, windows = nuts.schedule(n), build_adaptation_schedule(n)
    assert all(mark.shape == (n,) for mark in phases) and phases.adapting.all()
    ends = [window.end for window in windows[1:-1]]
    np.testing.assert_array_equal(np.flatnonzero(phases.ending), ends)
    inside = np.zeros(n, bool)
    if len(windows) > 2:
        inside[windows[1].start : windows[-2].end + 1] = True
    np.testing.assert_array_equal(phases.watching, inside)
    assert not n or (phases.last[-1] and phases.last.sum() == 1)


def test_a_start_without_density_is_told():
    state = small_run(4).draws.state
    lost = state._replace(potential=np.where(np.arange(16) == 3, np.inf, state.potential))
    with pytest.raises(ValueError, match="not finite where chain 3 begins"):
        small_run(4, lost)


# --- the full comparison --------------------------------------------------------------------------

WHERE = {
    ("u6", "nig"): ("finite", "dp", "py"),
    ("u6_indep", "indep"): ("finite", "dp", "py"),
    ("m6_collinear2d", "nig"): ("finite", "dp_alpha0.5", "dp_alpha1"),
    ("m7_3d", "nig"): ("finite", "dp_alpha0.5", "dp_alpha1"),
    ("m6_collinear2d", "niw"): ("finite_K2_gamma1", "finite_K3_gamma1"),
    ("m7_3d", "niw"): ("finite_K2_gamma1", "finite_K3_gamma1"),
}
"""Partition priors by points and component prior: under the others a case takes ten minutes and
more, for the covariances of many components without points are sampled, too."""


def within(name, case):
    kind = case["component_prior"].split("_")[0]
    priors = WHERE.get((name, kind), ())
    if kind == "niw":  # K3_gamma1/3 is another one
        return case["prior"] in priors
    return case["prior"].startswith(priors)


FULL = [
    (name, number)
    for name in ("u6", "u6_indep", "m6_collinear2d", "m7_3d")
    for number, case in enumerate(reference(name)["cases"])
    if within(name, case)
]


@pytest.mark.slow
@pytest.mark.parametrize("name, number", FULL)
def test_every_exact_posterior_of_nuts(name, number):
    """Known numbers of components, and truncated processes; those of many sticks take longest."""
    case = reference(name)["cases"][number]
    n_draws = 1_000 if case["prior"].startswith(("dp_alpha3", "py")) else 3_000
    found = of_case(name, case, n_draws, n_chains=64, n_warmup=500)
    T, diverged = found.draws.log_weights.shape[2], found.stats.diverging.mean()
    for quantity, (error, z) in compared(found.draws, case).items():
        row = f"{name} | {case['prior']} | {case['component_prior']} | {T} | {quantity}"
        print(f"| {row} | {error:.4f} | {z:.1f} | {diverged:.4f} |", flush=True)
        assert error < 0.01 and z < 4
