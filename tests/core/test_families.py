"""The M-step of the fourteen families: against a general optimiser, and by what each is closed to.

Every scatter has K = 3 components, so that a family compiles once a dimension.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from bayesgmm.core import (
    FAMILIES,
    Dirichlet,
    Hyperparameters,
    Moments,
    NormalInverseWishart,
    flat_prior,
    mode,
    update,
)
from bayesgmm.core.families import estimate
from tests.conftest import assert_close, matrices, slow
from tests.core.test_conjugate import log_prior_density
from tests.core.test_covariance import COUPLED, FOURTEEN, is_member, random_member

pytestmark = pytest.mark.usefixtures("x64")

K = 3
ITERATED = ("VEI", "VEE", "VEV", "EVE", "VVE")


def some_scatter(D, seed=0, counts=(9.0, 14.0, 30.0)):
    """Scatter [K, D, D] of so many points in each of three unlike clusters."""
    rng = np.random.default_rng(seed)
    points = [rng.normal(size=(int(n), D)) @ rng.normal(size=(D, D)) for n in counts]
    return np.stack([x.T @ x for x in points]), np.array(counts)


estimate_of = jax.jit(estimate, static_argnames="family")


def m_step(name, scatter, counts, present=(True,) * K, previous=None):
    """Covariances [K, D, D] of the M-step."""
    family = FAMILIES[name]
    sums = np.einsum("kii->ki", scatter) if family.axis_aligned else scatter
    sums, divisor = family.reduce(sums), np.array(counts)
    if family.pooled:
        divisor, present = divisor.sum(keepdims=True), [True]
    divisor = divisor * family.n_shared(K, scatter.shape[-1])[1]
    scales = np.asarray(estimate_of(sums, divisor, np.array(present), family, previous))
    D = scatter.shape[-1]
    full = scales[..., None] * np.eye(D) if scales.ndim == 2 else scales
    return np.broadcast_to(full @ np.swapaxes(full, 1, 2), (K, D, D))


def objective(covariances, scatter, counts):
    """sum_k n_k log |Sigma_k| + tr(W_k Sigma_k^-1)."""
    traces = np.trace(np.linalg.solve(covariances, scatter), axis1=1, axis2=2)
    return counts @ np.linalg.slogdet(covariances)[1] + traces.sum()


# ------------------------------------------------------------------- against a general optimiser


def letter_sizes(name, D):
    copies = {"E": 1, "V": K, "I": 0}
    sizes = (1, D, D * (D - 1) // 2)
    return [(copies[letter], size) for letter, size in zip(name, sizes, strict=True)]


def n_coordinates(name, D):
    return sum(copies * size for copies, size in letter_sizes(name, D))


def member(coordinates, name, D):
    """Covariances from log volumes, log shapes (their mean taken off) and angles of rotations."""
    parts, begin = [], 0
    for copies, size in letter_sizes(name, D):
        part = coordinates[begin : begin + copies * size].reshape(copies, size)
        begin += copies * size
        parts.append(np.broadcast_to(part if copies else np.zeros((1, size)), (K, size)))
    volumes, shapes, angles = parts
    shapes = shapes - shapes.mean(1, keepdims=True)
    axes = np.broadcast_to(np.eye(D), (K, D, D))
    for (i, j), angle in zip(zip(*np.triu_indices(D, 1), strict=True), angles.T, strict=True):
        turn = np.tile(np.eye(D), (K, 1, 1))
        turn[:, i, i] = turn[:, j, j] = np.cos(angle)
        turn[:, i, j], turn[:, j, i] = -np.sin(angle), np.sin(angle)
        axes = axes @ turn
    return (axes * np.exp(volumes + shapes)[:, None, :]) @ np.swapaxes(axes, 1, 2)


def best_member(function, name, D, starts=4):
    """The least of `function(covariances)` over the family, by BFGS from several starts."""
    rng = np.random.default_rng(1)
    found = [
        optimize.minimize(
            lambda x: function(member(x, name, D)), rng.normal(size=n_coordinates(name, D))
        )
        for _ in range(starts)
    ]
    best = min(found, key=lambda result: result.fun)
    return best.fun, member(best.x, name, D)


@pytest.mark.parametrize("D", [2, slow(3)])
@pytest.mark.parametrize("name", FOURTEEN)
def test_no_member_of_the_family_is_better(name, D):
    scatter, counts = some_scatter(D)
    found = m_step(name, scatter, counts)
    least, covariances = best_member(partial(objective, scatter=scatter, counts=counts), name, D)
    assert abs(objective(found, scatter, counts) - least) < 1e-7 * counts.sum()
    np.testing.assert_allclose(found, covariances, atol=2e-4 * abs(covariances).max())


@pytest.mark.parametrize("name", COUPLED)
def test_the_mode_under_a_proper_prior(name):
    """The density of each component's inverse Wishart, times that of its mean, by SciPy."""
    D, rng, family = 2, np.random.default_rng(3), FAMILIES[name]
    root = np.tril(rng.uniform(0.5, 1.5, (K, D, D)))
    scale = np.einsum("kij,klj->kil", root, root)
    scale = np.einsum("kii->ki", scale) if family.axis_aligned else scale
    components = NormalInverseWishart(
        rng.normal(size=(K, D)), rng.uniform(1, 3, K), rng.uniform(6, 9, K), scale
    )
    posterior = Hyperparameters(Dirichlet(np.full(K, 2.0)), components)
    found = jax.jit(mode, static_argnames="family")(posterior, family)

    def loss(covariances):
        return -log_prior_density(components, components.mean, covariances, family)

    least, covariances = best_member(loss, name, D, starts=2)
    assert_close(found.means, components.mean)
    assert abs(loss(matrices(found)) - least) < 1e-7
    np.testing.assert_allclose(matrices(found), covariances, atol=2e-4)


# --------------------------------------------------------------------------- within the family


@pytest.mark.parametrize("name", FOURTEEN)
def test_every_estimate_is_a_member(name):
    for D, seed in ((3, 1), (3, 2), (4, 3)):
        scatter, counts = some_scatter(D, seed)
        assert is_member(name, m_step(name, scatter, counts), tol=1e-10)


@pytest.mark.parametrize("name", FOURTEEN)
def test_a_member_is_its_own_estimate(name):
    """Of scatter n_k Sigma_k: it cannot be fitted better than exactly."""
    counts = np.array([9.0, 14.0, 30.0])
    for D in (3, 4):
        covariances = random_member(name, K, D, seed=D)
        found = m_step(name, counts[:, None, None] * covariances, counts)
        assert_close(found, covariances, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", FOURTEEN)
def test_one_feature_has_a_variance_for_all_or_for_each(name):
    scatter, counts = some_scatter(1)
    shared = np.full_like(scatter, scatter.sum() / counts.sum())
    expected = shared if name[0] == "E" else scatter / counts[:, None, None]
    if name[:2] == "EV":  # shapes have determinant 1: there is nothing left to vary
        expected = shared
    assert_close(m_step(name, scatter, counts), expected)


# ----------------------------------------------------------------------------------- invariances

MAPS = {
    "units": "EEI VEI EVI VVI EEE VEE EVV VVV",
    "rotation": "EII VII EEE VEE EVE VVE EEV VEV EVV VVV",
    "affine": "EEE VEE EVV VVV",
}


def some_map(kind, D):
    rng = np.random.default_rng(4)
    return {
        "units": np.diag([1.0, 0.3, 4.0][:D]),
        "rotation": np.linalg.qr(rng.normal(size=(D, D)))[0],
        "affine": rng.normal(size=(D, D)) + np.eye(D),
    }[kind]


@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("name", FOURTEEN)
def test_maps_of_the_points_that_the_family_follows(name, kind):
    """And those that it does not follow: the table of invariances is sharp."""
    scatter, counts = some_scatter(3, seed=5)
    A = some_map(kind, 3)
    mapped = m_step(name, A @ scatter @ A.T, counts)
    expected = A @ m_step(name, scatter, counts) @ A.T
    if name in MAPS[kind].split():
        assert_close(mapped, expected, rtol=1e-7, atol=1e-7)
    else:
        assert abs(mapped - expected).max() > 1e-2


# ------------------------------------------------------------------------------ where it starts


def similar_scatter(D, seed):
    """The scatter of the next EM step: a little of each point has gone elsewhere."""
    scatter, counts = some_scatter(D, seed)
    flow = 0.9 * np.eye(K) + 0.1 / K
    return np.einsum("jk,kab->jab", flow, scatter), flow @ counts


@pytest.mark.parametrize("name", ITERATED)
def test_never_worse_than_what_it_starts_from(name):
    for seed in range(20):
        covariances = m_step(name, *some_scatter(3, seed))
        scatter, counts = similar_scatter(3, seed)
        previous = np.linalg.cholesky(covariances)
        if FAMILIES[name].axis_aligned:
            previous = np.einsum("kii->ki", previous)
        found = m_step(name, scatter, counts, previous=previous)
        before, after = (objective(each, scatter, counts) for each in (covariances, found))
        assert after <= before + 1e-12 * abs(before)


@pytest.mark.parametrize("name", ("EVE", "VVE"))
def test_axes_that_the_last_mixture_exchanges(name):
    """Its covariances add up to a multiple of the identity, and are still found to share axes."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    spectra = np.array([[1.0, 4.0, 4.0], [4.0, 1.0, 4.0], [4.0, 4.0, 1.0]])
    covariances = (turn * spectra[:, None, :]) @ turn.T
    counts = np.full(K, 20.0)
    found = m_step(name, 20.0 * covariances, counts, previous=np.linalg.cholesky(covariances))
    assert_close(found, covariances, rtol=1e-8, atol=1e-9)


# ------------------------------------------------- moments: absent, flat, ridged and in float32


@partial(jax.jit, static_argnames="family")
def most_likely(points, resp, family, ridge):
    """The mode under the flat prior, of moments about the means."""
    counts = resp.sum(0)
    means = resp.T @ points / jnp.maximum(counts, 1e-30)[:, None]
    gap = points[:, None, :] - means
    second = jnp.einsum("nk,nki,nkj->kij", resp, gap, gap)
    second = jnp.einsum("kii->ki", second) if family.axis_aligned else second
    found = Moments(counts, jnp.zeros_like(means), second, jnp.zeros(()))
    prior = flat_prior(family, *means.shape, points.dtype)
    return mode(update(prior, found, means, family), family, ridge)


def some_points(N=40, D=3):
    rng = np.random.default_rng(6)
    points = rng.normal(size=(N, D)) @ rng.normal(size=(D, D))
    return points * rng.uniform(0.5, 2.0, (N, 1)), rng.dirichlet(np.ones(K), N)


@pytest.mark.parametrize("name", FOURTEEN)
def test_an_absent_component_has_no_part(name):
    """Two components and an absent one are two: as three of which two are halves of one."""
    points, resp = some_points()
    halves = np.stack([resp[:, 0], 0.5 * (1 - resp[:, 0]), 0.5 * (1 - resp[:, 0])], axis=1)
    halved = matrices(most_likely(points, halves, FAMILIES[name], 0.0))
    padded = halves * [1, 0, 2]
    found = most_likely(points, padded, FAMILIES[name], 0.0)
    assert found.log_weights[1] == -np.inf
    assert_close(matrices(found)[[0, 2]], halved[[0, 2]], rtol=1e-8, atol=1e-9)
    assert is_member(name, matrices(found), tol=1e-10)


@pytest.mark.parametrize("name", FOURTEEN)
def test_a_ridge_stays_within_the_family(name):
    """It is that of points with so much more scatter in each direction."""
    points, resp = some_points()
    ridged = matrices(most_likely(points, resp, FAMILIES[name], 0.3))
    assert is_member(name, ridged, tol=1e-10)
    means = resp.T @ points / resp.sum(0)[:, None]
    gap = points[:, None, :] - means
    scatter = np.einsum("nk,nki,nkj->kij", resp, gap, gap)
    scatter = scatter + 0.3 * resp.sum(0)[:, None, None] * np.eye(3)
    assert_close(ridged, m_step(name, scatter, resp.sum(0)), rtol=1e-7, atol=1e-8)
    zero = matrices(most_likely(0 * points, resp, FAMILIES[name], 0.3))
    assert_close(zero, np.stack([0.3 * np.eye(3)] * K))


def alone(points, resp):
    """Component 0 owns one point."""
    own = resp.copy()
    own[:, 0] = 0.0
    own[0] = [1.0, 0.0, 0.0]
    return points, own


def constant(points, resp):
    return np.column_stack([points[:, :2], np.zeros(len(points))]), resp


def collinear(points, resp):
    return np.column_stack([points[:, :2], points[:, 0] + 0.5 * points[:, 1]]), resp


def one_flat(points, resp):
    """The points of component 0 lie on a plane, those of the others do not."""
    own = resp.copy()
    own[:20, 0] = 0.0
    own[20:] = [1.0, 0.0, 0.0]
    points = points.copy()
    points[20:, 2] = points[20:, 0] + 0.5 * points[20:, 1]
    return points, own


SINGULAR = {
    alone: {name: [True, False, False] for name in FOURTEEN if name[:2] not in ("EI", "EE")},
    constant: {name: [True] * K for name in FOURTEEN if name[1] != "I"},
    collinear: {name: [True] * K for name in FOURTEEN if not name.endswith("I")},
    one_flat: {name: [True, False, False] for name in ("EVV", "VVV")},
}
"""Which covariances are singular; none of the families left out."""


@pytest.mark.parametrize(
    "name, flat",
    [
        pytest.param(name, flat, id=f"{name}-{flat.__name__}")
        for name in FOURTEEN
        for flat in SINGULAR
        if (name, flat) not in (("EVE", one_flat), ("VVE", one_flat))  # see the next test
    ],
)
def test_a_singular_covariance_is_nan(name, flat):
    """Never a peak, nor a number made of rounding errors; the sound ones stay."""
    points, resp = flat(*some_points())
    scales = np.asarray(most_likely(points, resp, FAMILIES[name], 0.0).scales)
    bad = np.isnan(scales).any(axis=tuple(range(1, scales.ndim)))
    expected = SINGULAR[flat].get(name, [False] * K)
    assert np.broadcast_to(bad, K).tolist() == expected
    sound = scales[~bad]
    assert np.isfinite(sound).all()


@pytest.mark.parametrize("name", ("EVE", "VVE"))
def test_axes_of_a_flat_component(name):
    """NaN, or sound to the last digit: nothing between."""
    points, resp = one_flat(*some_points())
    found = most_likely(points, resp, FAMILIES[name], 0.0)
    for scale in np.asarray(found.scales):
        assert np.isnan(scale).all() or np.linalg.cond(scale) < 1e6


@pytest.mark.parametrize("name", COUPLED)
def test_in_float32(name):
    points, resp = some_points()
    double = matrices(most_likely(points, resp, FAMILIES[name], 0.0))
    single = most_likely(np.float32(points), np.float32(resp), FAMILIES[name], np.float32(0))
    assert single.scales.dtype == np.float32
    np.testing.assert_allclose(matrices(single), double, atol=1e-3 * abs(double).max())
    assert is_member(name, np.float64(matrices(single)), tol=1e-4)


def test_restarts_side_by_side():
    """Mapped over, each comes to where it would alone: rounds of volumes, sweeps of rotations."""
    for name in ("VEV", "VVE"):
        family, seeds = FAMILIES[name], range(4)
        pairs = [some_scatter(3, seed) for seed in seeds]
        sums = np.stack([scatter for scatter, _ in pairs])
        sums = np.einsum("rkii->rki", sums) if family.axis_aligned else sums
        counts = np.stack([counts for _, counts in pairs])
        every = partial(estimate, present=np.ones(K, bool), family=family)
        together = np.asarray(jax.jit(jax.vmap(every))(sums, counts))
        for scales, scatter, n in zip(together, sums, counts, strict=True):
            one = estimate_of(scatter, n, np.ones(K, bool), family)
            assert_close(scales, one, rtol=1e-8, atol=1e-9)
