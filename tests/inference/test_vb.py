"""Variational Bayes: the bound climbs, is exact where it must be, and never above the evidence."""

import json
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from bayesgmm.core import (
    FAMILIES,
    Data,
    NormalInverseWishart,
    choose_form,
    exact_form,
)
from bayesgmm.core.concentration import (
    Fixed,
    GammaConcentration,
    Sticks,
    Symmetric,
    gamma_grid,
    learned_on_grid,
)
from bayesgmm.inference import prune, vb
from bayesgmm.inference.loop import CONVERGED
from tests.conftest import assert_close

pytestmark = pytest.mark.usefixtures("x64")

REFERENCE = Path(__file__).parent.parent / "reference"
FAMILY_NAMES = ("full", "tied", "diag", "spherical")
N, SIZE, D, K = 90, 128, 2, 4
EVERYONE = np.ones(K, bool)


def some_points(seed=0):
    """Three clusters that overlap, of different shapes, and labels that are half right."""
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % 3
    spread = np.array([[1.0, 0.3], [0.4, 0.9], [0.6, 0.6]])[labels]
    centres = np.array([[-1.6, 0.0], [1.6, 0.5], [0.0, -1.8]])[labels]
    start = np.where(rng.random(N) < 0.5, labels, rng.integers(0, K, N))
    return centres + spread * rng.normal(size=(N, D)), start


def data_of(points, weight=None, size=SIZE):
    weight = np.ones(len(points)) if weight is None else weight
    fill = size - len(points)
    return Data(np.pad(points.T, ((0, 0), (0, fill))), np.pad(weight, (0, fill)))


def components_of(name, n_components=K, D=D, precision=0.5, dof=3.5, scale=1.3):
    family = FAMILIES[name]
    groups = 1 if family.pooled else n_components
    matrix = scale * (np.eye(D) + 0.2)
    form = matrix[0, :1] if family.isotropic else np.diag(matrix) if family.axis_aligned else matrix
    return NormalInverseWishart(
        np.full((n_components, D), 0.3),
        np.full(n_components, precision),
        np.full(groups, dof),
        np.broadcast_to(form, (groups, *form.shape)),
    )


WEIGHTS = {"dp": Sticks(0.0), "py": Sticks(0.25), "dirichlet": Symmetric(K)}


def concentration_of(weights, learned):
    if not learned:
        return Fixed(0.7)
    if weights == "dp":
        return GammaConcentration(1.5, 2.0)
    rate = 2.0 if weights == "py" else 2.0 * K
    return learned_on_grid(WEIGHTS[weights], 1.5, rate, K)


def prior_of(name, weights="dp", learned=False, ridge=0.0, **options):
    concentration = concentration_of(weights, learned)
    ridge = np.full(D, float(ridge))
    return vb.VBPrior(components_of(name, **options), WEIGHTS[weights], concentration, ridge)


def config_of(name, by_size=False, form=None):
    family = FAMILIES[name]
    form = choose_form(D, family.axis_aligned) if form is None else form
    return vb.VBConfig(family, form, by_size)


def start_of(points, labels, prior, config, present=EVERYONE):
    states = vb.start_all([data_of(points)], labels[None], prior, config, present)
    return jax.tree.map(lambda leaf: leaf[0], states)


@partial(jax.jit, static_argnames="config")
def bound_and_step(state, data, prior, config):
    """The bound of a state at the best responsibilities, and the state after an iteration."""
    found = vb.expect(state, data, config)
    bound = vb.lower_bound(found.evidence, state, prior, config)
    return bound, vb.maximize(state, found, prior, config)


@partial(jax.jit, static_argnames="config")
def path_from(start, data, prior, config):
    """Bound and objective [60, 2] of as many iterations, as one program."""

    def once(state, _):
        bound, state = bound_and_step(state, data, prior, config)
        return state, jnp.stack([bound, state.objective])

    state = vb.init(data, start, prior, config, EVERYONE)
    return jax.lax.scan(once, state, length=60)[1]


# --- it climbs ----------------------------------------------------------------------------------


CLIMBS = [
    pytest.param(
        name,
        weights,
        learned,
        id=f"{name}-{weights}-{'learned' if learned else 'fixed'}",
        marks=() if (i + j) % 3 == (1 if learned else 0) else pytest.mark.slow,
    )
    for i, name in enumerate(FAMILY_NAMES)
    for j, weights in enumerate(WEIGHTS)
    for learned in (False, True)
]
"""Each family with two priors of the weights, one of them learned; all by ``-m slow``."""


@pytest.mark.parametrize("name, weights, learned", CLIMBS)
def test_the_bound_never_falls(name, weights, learned):
    """Every half step raises it: the objective of a step, then the bound of what the step made.

    They are two formulas: entropy and marginal likelihoods, and normalisers and divergences.
    """
    points, labels = some_points()
    ridge = 0.01 if learned else 0.0
    prior = prior_of(name, weights, learned, ridge)
    config = config_of(name, by_size=learned)
    start = np.pad(labels, (0, SIZE - N), constant_values=-1)
    path = np.ravel(path_from(start, data_of(points), prior, config))
    assert np.diff(path).min() > -1e-9 * abs(path[-1])
    assert path[-1] - path[0] > 10
    still = np.diff(path[-20:])
    assert still.max() < 0.5 * np.diff(path)[:20].max()


def test_they_meet_where_it_stands_still():
    points, labels = some_points()
    prior, config = prior_of("full", "dp", True), config_of("full")
    state, data = start_of(points, labels, prior, config), data_of(points)
    for _ in range(600):
        bound, state = bound_and_step(state, data, prior, config)
    np.testing.assert_allclose(state.objective, bound, rtol=0, atol=1e-8)


# --- it is right --------------------------------------------------------------------------------


def plain_step(points, resp, prior):
    """q after an update, by Bishop's equations 10.58 to 10.63; full covariances, fixed sticks."""
    m0, k0, v0, S0 = (leaf[0] for leaf in prior.components)
    alpha = prior.concentration.alpha
    counts = resp.sum(0)
    sticks = np.stack([1 + counts, alpha + counts[::-1].cumsum()[::-1] - counts], 1)
    found = []
    for r, n in zip(resp.T, counts, strict=True):
        centre = r @ points / n
        gap = points - centre
        scatter = (r[:, None] * gap).T @ gap
        shift = np.outer(centre - m0, centre - m0) * k0 * n / (k0 + n)
        found.append(((k0 * m0 + n * centre) / (k0 + n), k0 + n, v0 + n, S0 + scatter + shift))
    return sticks, found


def plain_joint(points, sticks, found):
    """Expected log joint, equations 10.46 with 10.64, 10.65 and the sticks of Blei and Jordan."""
    total = special.digamma(sticks.sum(1))
    log_v, log_left = special.digamma(sticks.T) - total
    logs = log_v + np.concatenate([[0], log_left.cumsum()[:-1]])
    columns = []
    for k, (m, kappa, nu, S) in enumerate(found):
        log_det = special.digamma((nu - np.arange(D)) / 2).sum() + D * np.log(2)
        log_det -= np.linalg.slogdet(S)[1]
        gap = points - m
        form = D / kappa + nu * np.einsum("ni,ij,nj->n", gap, np.linalg.inv(S), gap)
        columns.append(logs[k] + 0.5 * (log_det - D * np.log(2 * np.pi) - form))
    return np.stack(columns, 1)


def test_iterations_are_bishops():
    points, labels = some_points()
    prior, config = prior_of("full"), config_of("full")
    state, resp = start_of(points, labels, prior, config), np.eye(K)[labels]
    for _ in range(3):
        sticks, found = plain_step(points, resp, prior)
        posterior = state.posterior
        assert_close(posterior.weights.sticks, sticks, rtol=1e-10)
        for k, leaves in enumerate(found):
            assert_close(tuple(leaf[k] for leaf in posterior.components), leaves, rtol=1e-9)
        joint = plain_joint(points, sticks, found)
        resp = special.softmax(joint, axis=1)
        evidence = vb.expect(state, data_of(points), config).evidence
        np.testing.assert_allclose(evidence, special.logsumexp(joint, axis=1).sum(), rtol=1e-10)
        _, state = bound_and_step(state, data_of(points), prior, config)


def chain_of_predictives(points, prior):
    """Log marginal likelihood of points of one component: each given those before it."""
    (m, k, v, S), total = (leaf[0] for leaf in prior.components), 0.0
    for x in points:
        shape = S * (k + 1) / (k * (v - D + 1))
        total += stats.multivariate_t(m, shape, v - D + 1).logpdf(x)
        S = S + k / (k + 1) * np.outer(x - m, x - m)
        m, k, v = (k * m + x) / (k + 1), k + 1, v + 1
    return total


@pytest.mark.parametrize("name", ["full", "tied"])
def test_with_one_component_the_bound_is_the_evidence(name):
    """Its posterior is no approximation: of the points, and that all are of the first stick."""
    points, _ = some_points()
    prior, config = prior_of(name), config_of(name)
    alone = np.arange(K) < 1
    state = start_of(points, np.zeros(N, int), prior, config, alone)
    bound, state = bound_and_step(state, data_of(points), prior, config)
    all_first = special.betaln(1 + N, 0.7) - special.betaln(1, 0.7)
    expected = chain_of_predictives(points, prior) + all_first
    np.testing.assert_allclose([bound, state.objective], expected, rtol=1e-11)


def test_the_measurement_error_is_the_expected_log_likelihood_of_blurred_points():
    """Of points x + e, e of variance `ridge`: by quadrature over q, for one component."""
    points, _ = some_points()
    ridge = 0.3
    prior, config = prior_of("full", ridge=ridge), config_of("full")
    alone = np.arange(K) < 1
    state = start_of(points, np.zeros(N, int), prior, config, alone)
    plain = vb.read(state.posterior, alone, np.zeros(D), config.family)
    rule, weight = np.polynomial.hermite_e.hermegauss(3)
    blurred = [points + np.sqrt(ridge) * np.array([a, b]) for a in rule for b in rule]
    shares = np.outer(weight, weight).ravel() / weight.sum() ** 2
    each = [vb.expect(state._replace(mixture=plain), data_of(X), config).evidence for X in blurred]
    found = vb.expect(state, data_of(points), config).evidence
    np.testing.assert_allclose(found, shares @ np.array(each), rtol=1e-11)


# --- it is at most the evidence -----------------------------------------------------------------


@cache
def reference(name):
    return json.loads((REFERENCE / name).read_text(encoding="utf-8"))


def exact_components(given, D, n_components):
    """The reference's component priors in ours (see the README there)."""
    mean = np.broadcast_to(np.atleast_1d(given["m0"]), (n_components, D))
    if given["family"] == "niw":
        dof, scale = given["nu0"], np.array(given["S0"])
    else:
        dof, scale = 2 * given["a0"], 2 * np.atleast_1d(given["b0"])
        scale = scale[:, None] if given["family"] == "nig" else scale
    scale = np.broadcast_to(scale, (n_components, *scale.shape))
    precision, dof = (np.full(n_components, value, float) for value in (given["k0"], dof))
    return NormalInverseWishart(mean, precision, dof, scale)


@partial(jax.jit, static_argnames="config")
def bounds_from(starts, data, prior, config, present):
    def one(start):
        state = vb.init(data, start, prior, config, present)
        step = lambda _, state: vb.step(state, data, prior, config)  # noqa: E731
        state = jax.lax.fori_loop(0, 100, step, state)
        evidence = vb.expect(state, data, config).evidence
        return vb.lower_bound(evidence, state, prior, config), state.objective

    return jax.vmap(one)(starts)


SLOTS = 10


def exact_cases(name, kind):
    """Component prior, K or None, discount, concentration and exact log evidence of each case."""
    found = reference(f"exact_{name}.json")
    if kind == "dirichlet":
        for row in reference("exact_allocations.json")[name]:
            given = row["K"], 0.0, row["prior_parameters"], row["log_evidence"]
            yield found["component_priors"][row["component_prior"]], *given
    for row in found["cases"]:
        prior = found["partition_priors"][row["prior"]]
        if prior["type"] == kind:
            alpha = prior.get("alpha", prior.get("concentration"))
            given = None, prior.get("discount", 0.0), alpha, row["log_marginal_likelihood"]
            yield found["component_priors"][row["component_prior"]], *given


BELOW = [
    pytest.param(name, kind, marks=() if i == j < 2 else pytest.mark.slow)
    for i, name in enumerate(("u6", "m6_collinear2d", "m7_3d"))
    for j, kind in enumerate(("dp", "py", "dirichlet"))
]


@pytest.mark.parametrize("name, kind", BELOW)
def test_never_above_the_exact_evidence(name, kind):
    x = np.array(reference(f"exact_{name}.json")["x"], float)
    x = x[:, None] if x.ndim == 1 else x
    n, D = x.shape
    data, rng, checked = data_of(x, size=32), np.random.default_rng(0), 0
    for given, n_components, discount, alpha, log_evidence in exact_cases(name, kind):
        family = FAMILIES["diag" if given["family"] == "nig_diag" else "full"]
        config = vb.VBConfig(family, exact_form(family.axis_aligned))
        weights = Sticks(discount) if n_components is None else Symmetric(n_components)
        present = np.arange(SLOTS) < (n_components or SLOTS)
        components = exact_components(given, D, SLOTS)
        prior = vb.VBPrior(components, weights, Fixed(float(alpha)), np.zeros(D))
        most = min(n, n_components or SLOTS)
        starts = np.pad(rng.integers(0, most, (12, n)), ((0, 0), (0, 32 - n)), constant_values=-1)
        found = np.array(bounds_from(starts, data, prior, config, present))
        assert found.max() <= log_evidence + 1e-9
        assert found.max() > log_evidence - 10  # and it is a bound worth having
        checked += 1
    assert checked == len(list(exact_cases(name, kind))) >= 2


# --- the concentration --------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["py", "dirichlet"])
def test_the_concentration_on_the_grid_is_that_of_quadrature(weights):
    grid = learned_on_grid(WEIGHTS[weights], 1.5, 2.0, K)
    statistic, n = -7.3, K - 1
    found = grid.update(statistic, n)
    present = np.arange(K) < n

    def log_density(alpha):
        normalizer = WEIGHTS[weights].log_normalizer(alpha, present)
        return float(stats.gamma(1.5, scale=0.5).logpdf(alpha) + alpha * statistic + normalizer)

    density = lambda x, power: np.exp(x * (power + 1) + log_density(np.exp(x)))  # noqa: E731
    whole, first = (
        integrate.quad(density, -18, 4, args=(power,), epsabs=1e-13, limit=200)[0]
        for power in (0, 1)
    )
    np.testing.assert_allclose(found.mean(), first / whole, rtol=1e-7)
    # E[log likelihood] - KL is the log of the integral, at the exact posterior
    at_mean = WEIGHTS[weights].log_normalizer(found.mean(), present)
    expected = found.expected_normalizer(at_mean, n) + found.mean() * statistic - found.kl(grid)
    np.testing.assert_allclose(expected, np.log(whole), rtol=1e-7)


def test_the_gamma_of_a_dirichlet_process_is_the_optimum_on_the_grid():
    weights = Sticks(0.0)
    closed = GammaConcentration(1.5, 2.0)
    grid = learned_on_grid(weights, 1.5, 2.0, K)
    one, other = closed.update(-3.1, 3), grid.update(-3.1, 3)
    present = np.arange(K) < 3
    np.testing.assert_allclose(one.mean(), other.mean(), rtol=1e-9)
    np.testing.assert_allclose(one.kl(closed), other.kl(grid), rtol=1e-7)
    at_mean = weights.log_normalizer(one.mean(), present)
    expected = [q.expected_normalizer(at_mean, 3) for q in (one, other)]
    np.testing.assert_allclose(*expected, rtol=1e-7)
    # without a normaliser of its own a grid holds what its Gamma holds
    alpha, log_probability = gamma_grid(1.5, 2.0)
    np.testing.assert_allclose(np.exp(log_probability).sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(np.exp(log_probability) @ alpha, 0.75, rtol=1e-9)


@pytest.mark.parametrize("weights", [Sticks(0.0), Sticks(0.25), Symmetric(K)])
def test_the_normalizer_is_that_of_the_density(weights):
    """log p(w | alpha) = log h(w) + alpha t(w) + c(alpha): differences in alpha, by SciPy."""
    present, rng = EVERYONE, np.random.default_rng(1)
    if isinstance(weights, Sticks):
        v = rng.beta(1, 1, K)
        t = np.log1p(-v).sum()
        k = np.arange(1, K + 1)

        def log_density(alpha):
            beta = stats.beta(1 - weights.discount, alpha + k * weights.discount)
            return beta.logpdf(v).sum()
    else:
        w = rng.dirichlet(np.ones(K))
        t = np.log(w).sum()
        log_density = lambda alpha: stats.dirichlet(np.full(K, alpha)).logpdf(w)  # noqa: E731
    gap = log_density(2.3) - log_density(0.4)
    found = weights.log_normalizer(2.3, present) - weights.log_normalizer(0.4, present)
    np.testing.assert_allclose(found + (2.3 - 0.4) * t, gap, rtol=1e-12)


# --- order, absence, pruning, shards ------------------------------------------------------------


@pytest.mark.parametrize("weights", ["dp", "py"])
def test_the_largest_stick_first_is_the_best_order(weights):
    points, labels = some_points()
    labels = (K - 1) - np.minimum(labels, np.arange(N) % 2)  # the largest are last
    prior = prior_of("full", weights)
    data = data_of(points)
    as_is = start_of(points, labels, prior, config_of("full"))
    sorted_ = start_of(points, labels, prior, config_of("full", by_size=True))
    counts = [s.posterior.components.mean_precision - 0.5 for s in (as_is, sorted_)]
    assert_close(counts[1], np.sort(counts[0])[::-1])
    bounds = [bound_and_step(s, data, prior, config_of("full"))[0] for s in (as_is, sorted_)]
    assert bounds[1] > bounds[0] + 1


def test_absent_components_change_nothing():
    points, labels = some_points()
    labels = labels % 3
    data, config = data_of(points), config_of("full")
    prior = prior_of("full")._replace(components=components_of("full", 3))
    padded = prior_of("full")
    small = start_of(points, labels, prior, config, np.ones(3, bool))
    large = start_of(points, labels, padded, config, np.arange(K) < 3)
    for _ in range(5):
        (one, small), (other, large) = (
            bound_and_step(small, data, prior, config),
            bound_and_step(large, data, padded, config),
        )
        np.testing.assert_allclose(one, other, rtol=1e-12)
        np.testing.assert_allclose(small.objective, large.objective, rtol=1e-12)
    assert np.isneginf(large.mixture.log_weights[3])
    assert_close(large.mixture.means[:3], small.mixture.means)


@pytest.mark.parametrize(
    "weights",
    [pytest.param(name, marks=() if name == "py" else pytest.mark.slow) for name in WEIGHTS],
)
def test_pruning_removes_what_holds_no_points_and_the_bound_does_not_fall(weights):
    points, _ = some_points(3)
    points = points + 6 * np.array([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]])[np.arange(N) % 3]
    starts = np.stack([np.random.default_rng(s).integers(0, K, N) for s in range(3)])
    starts[1] = np.arange(N) % 3  # nothing for the last one
    prior, config = prior_of("full", weights, learned=True), config_of("full", by_size=True)
    states = vb.start_all([data_of(points)], starts, prior, config, EVERYONE)
    move = prune.Pruning(prior, config, 3)
    states = move.first(states)
    assert states.present.sum(1).tolist() == [4, 3, 4]
    run = vb.run(states, [data_of(points)], prior, config, 1e-8, 500, move=move, most=prune.EVERY)
    assert run.converged.all()
    assert all(np.diff(trace).min() >= -1e-9 * abs(trace[-1]) for trace in run.history)
    assert [len(trace) for trace in run.history] == run.n_iter.tolist()
    counts = run.state.posterior.components.mean_precision - 0.5
    for n, present in zip(counts, run.state.present, strict=True):
        assert present.sum() < K and n[present].min() > prune.EMPTY
        np.testing.assert_allclose(n.sum(), N, rtol=1e-12)
    bounds = vb.lower_bounds(run.state, [data_of(points)], prior, config)
    assert (bounds >= run.objective - 1e-9).all()
    np.testing.assert_allclose(bounds, run.objective, atol=1e-6)


def test_shards_add_up():
    points, labels = some_points()
    prior, config = prior_of("full", "dp", learned=True), config_of("full")
    halves = [data_of(points[:40], size=64), data_of(points[40:], size=64)]
    runs = []
    for shards in ([data_of(points)], halves):
        states = vb.start_all(shards, labels[None], prior, config, EVERYONE)
        runs.append(vb.run(states, shards, prior, config, 0.0, 7))
    assert_close(runs[0].state, runs[1].state, rtol=1e-9)
    assert_close(runs[0].history, runs[1].history, rtol=1e-12)
    bounds = [vb.lower_bounds(runs[0].state, s, prior, config) for s in ([data_of(points)], halves)]
    assert_close(*bounds, rtol=1e-12)


def test_tight_clusters_are_taken_up_in_the_exact_form():
    points, labels = some_points()
    labels = np.arange(N) % 3
    points = np.array([[-1.6, 0.0], [1.6, 0.5], [0.0, -1.8]])[labels] + 1e-5 * points
    prior = prior_of("full", precision=1e-4, scale=1e-11)
    found = []
    for form in (None, exact_form()):
        config = config_of("full", form=form)
        states = vb.start_all([data_of(points)], labels[None], prior, config, EVERYONE)
        found.append(vb.run(states, [data_of(points)], prior, config, 1e-6, 50))
    assert found[0].converged.all() and not found[0].failed.any()
    assert_close(found[0].state, found[1].state, rtol=1e-9)
    assert_close(found[0].history, found[1].history, rtol=1e-9)


def test_weights_are_repeated_points():
    points, labels = some_points()
    prior, config = prior_of("full", "py", learned=True), config_of("full")
    weight = np.where(np.arange(N) < 30, 2.0, 1.0)
    repeated = np.repeat(np.arange(N), weight.astype(int))
    runs = []
    for data, start in (
        (data_of(points, weight), labels),
        (data_of(points[repeated]), labels[repeated]),
    ):
        states = vb.start_all([data], start[None], prior, config, EVERYONE)
        runs.append(vb.run(states, [data], prior, config, 0.0, 5))
    assert_close(runs[0].state, runs[1].state, rtol=1e-9)


def test_a_converged_run_says_so_and_a_cut_one_does_not():
    points, labels = some_points()
    prior, config = prior_of("full", "dp", learned=True), config_of("full")
    states = vb.start_all([data_of(points)], labels[None], prior, config, EVERYONE)
    seen = []
    run = vb.run(states, [data_of(points)], prior, config, 1e-3, 400, watch=seen.append)
    assert run.converged.all() and seen[-1].status[0] == CONVERGED
    cut = vb.run(states, [data_of(points)], prior, config, 1e-3, 3)
    assert not cut.converged.any() and cut.n_iter[0] == 3
    assert abs(np.diff(run.history[0])[-1]) < 1e-3 <= abs(np.diff(run.history[0])[-2])
    assert jnp.isfinite(run.objective).all()
