"""Trimmed likelihood: who is kept, that it climbs in every family, and FAST-MCD as its peer."""

import jax
import numpy as np
import pytest
from scipy import optimize, special, stats
from sklearn.covariance import MinCovDet

from bayesgmm.core import FAMILIES, Data, choose_form, exact_form, flat_prior
from bayesgmm.core.covariance import MCLUST
from bayesgmm.core.sweep import density_of
from bayesgmm.inference import em, squarem, trimmed
from bayesgmm.inference.subsets import subset_mixture
from tests.conftest import assert_close, matrices, random_mixture, slow

pytestmark = pytest.mark.usefixtures("x64")

N, SIZE, D, K, R = 90, 128, 2, 3, 2
"""Every fit here has these shapes, so that programs are compiled once."""


def some_points(seed=0):
    rng = np.random.default_rng(seed)
    centres = np.array([[-2.0, 0.0], [2.0, 0.5], [0.0, -2.5]])[np.arange(N) % K]
    points = centres + rng.normal(size=(N, D)) * [0.8, 0.6]
    points[:9] = rng.uniform(-30, 30, (9, D))
    return points, np.stack([np.arange(N) % K, rng.integers(0, K, N)])


def data_of(points, weight=None, size=SIZE):
    weight = np.ones(len(points)) if weight is None else weight
    fill = size - len(points)
    return Data(np.pad(points.T, ((0, 0), (0, fill))), np.pad(weight, (0, fill)))


def problem(name, share, n_components=K):
    family = FAMILIES[name]
    config = em.EMConfig(family, choose_form(D, family.axis_aligned))
    objective = em.Objective(flat_prior(family, n_components, D), np.zeros(D))
    return objective._replace(share=share), config


def fit(name, shards, starts, share, tol=1e-10, max_iter=1000):
    prior, config = problem(name, share)
    mixtures = em.start_all(shards, starts, prior, config, K)
    return trimmed.run(mixtures, shards, prior, config, tol, max_iter)


def of_run(run, r):
    """The mixture of one run."""
    return jax.tree.map(lambda leaf: leaf[r], run.state.mixture)


def best(run, shards, prior, config):
    return trimmed.best(run.state.mixture, ~run.failed, shards, prior, config)


# --- who is kept


def test_what_is_kept_is_the_best_there_is():
    """Against a linear program: the largest sum of v l with v between 0 and w, and of given sum."""
    rng = np.random.default_rng(1)
    for share in (0.6, 0.83, 1.0):
        density = np.round(rng.normal(size=40), 1)  # ties among them
        weight = rng.uniform(0, 2, 40)
        weight[::7] = 0
        kept = np.asarray(jax.jit(trimmed.concentrate)(density, weight, share))
        total = share * weight.sum()
        best = optimize.linprog(
            -density, A_eq=np.ones((1, 40)), b_eq=[total], bounds=np.stack([0 * weight, weight], 1)
        )
        assert (kept >= 0).all() and (kept <= weight).all()
        assert_close([kept.sum(), kept @ density], [total, -best.fun])


def test_equal_points_are_kept_in_equal_parts():
    density, weight = np.array([1.0, 0.0, 0.0, 0.0, -1.0]), np.array([1.0, 1.0, 2.0, 1.0, 1.0])
    assert_close(trimmed.concentrate(density, weight, 0.5), [1, 0.5, 1.0, 0.5, 0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_points_beyond_the_floats_go_first(dtype):
    density = np.array([-np.inf, np.nan, -1e30, 3.0, -0.0, 0.0, -7.0], dtype)
    kept = trimmed.concentrate(density, np.ones(7, dtype), np.asarray(5 / 7, dtype))
    assert np.asarray(kept)[2:].sum() == pytest.approx(5, abs=1e-5)
    assert np.asarray(kept).dtype == dtype


def test_density_of_every_point():
    mixture = random_mixture(0, K, D)
    points, _ = some_points()
    expected = special.logsumexp(
        [
            log_weight + stats.multivariate_normal(mean, covariance).logpdf(points)
            for log_weight, mean, covariance in zip(
                mixture.log_weights, mixture.means, matrices(mixture), strict=True
            )
        ],
        axis=0,
    )
    for form in (choose_form(D), exact_form()):
        found = np.asarray(density_of(data_of(points), mixture, form))[:N]
        assert_close(found, expected, rtol=1e-9)


# --- the step and the run


COMMON = ("VVV", "EEE", "VVI", "VII", "VEV")


@pytest.mark.parametrize(
    "name",
    [name if name in COMMON else slow(name) for name in MCLUST],
)
def test_never_falls(name):
    points, starts = some_points()
    weight = np.random.default_rng(2).uniform(0.5, 1.5, N)
    run = fit(name, [data_of(points, weight)], starts, 0.85, max_iter=60)
    assert not run.failed.any()
    for history in run.history:
        assert len(history) > 1
        assert np.diff(history).min() > -1e-12 * abs(history[-1])


def test_step_is_one_of_em_on_those_kept():
    points, starts = some_points()
    data, share = data_of(points), 0.8
    prior, config = problem("full", share)
    mixtures = em.start_all([data], starts, prior, config, K)
    found = trimmed.run(mixtures, [data], prior, config, 0.0, 1)
    for r in range(R):
        mixture = jax.tree.map(lambda leaf, r=r: leaf[r], mixtures)
        density = np.asarray(density_of(data, mixture, exact_form()))[:N]
        rows = np.sort(np.argsort(-density)[: int(share * N)])
        few = data_of(points[rows])
        plain = em.run(em.begin(mixtures), [few], prior, config, 0.0, 1)
        assert_close(of_run(found, r), of_run(plain, r), rtol=1e-8)
        assert_close(found.objective[r], plain.objective[r])


def test_acceleration_climbs_to_the_same_height_in_fewer_passes():
    points, starts = some_points(4)
    data = [data_of(points)]
    prior, config = problem("full", 0.85)
    mixtures = em.start_all(data, starts, prior, config, K)
    plain = trimmed.run(mixtures, data, prior, config, 1e-9, 3000)
    fast = trimmed.run(mixtures, data, prior, config, 1e-9, 3000, engine=squarem)
    assert plain.converged.all() and fast.converged.all()
    for history in fast.history:
        assert np.diff(history).min() > -1e-12 * abs(history[-1])
    assert (fast.objective > plain.objective - 1e-6).all()
    assert fast.n_iter.sum() < plain.n_iter.sum()


@pytest.mark.parametrize("name", ["full", "diag"])
def test_keeping_all_is_em(name):
    points, starts = some_points()
    shards = [data_of(points[9:])]
    prior, config = problem(name, 1.0)
    mixtures = em.start_all(shards, starts[:, 9:], prior, config, K)
    all_kept = trimmed.run(mixtures, shards, prior, config, 1e-9, 200)
    plain = em.run(em.begin(mixtures), shards, prior, config, 1e-9, 200)
    assert_close(all_kept.state.mixture, plain.state.mixture, rtol=1e-7)
    assert (all_kept.n_iter == plain.n_iter).all()


def test_shards_are_the_whole():
    points, starts = some_points()
    halves = [data_of(points[:40], size=64), data_of(points[40:], size=64)]
    whole = fit("full", [data_of(points)], starts, 0.87, max_iter=15)
    parts = fit("full", halves, starts, 0.87, max_iter=15)
    assert_close(parts.state.mixture, whole.state.mixture, rtol=1e-7)
    prior, config = problem("full", 0.87)
    one = best(whole, [data_of(points)], prior, config)
    two = best(parts, halves, prior, config)
    assert one.run == two.run and len(one.weight) == N
    assert_close(two.weight, one.weight, atol=1e-6)
    assert one.weight.sum() == pytest.approx(0.87 * N)


def test_a_row_of_weight_two_is_two_rows():
    points, starts = some_points()
    points, starts = points[:60], starts[:, :60]
    weight = 1.0 + (np.arange(60) % 2)
    rows = np.repeat(np.arange(60), weight.astype(int))
    weighted = fit("full", [data_of(points, weight)], starts, 0.9, max_iter=20)
    doubled = fit("full", [data_of(points[rows])], starts[:, rows], 0.9, max_iter=20)
    assert_close(weighted.state.mixture, doubled.state.mixture, rtol=1e-7)
    assert_close(weighted.objective, doubled.objective)


def test_runs_with_a_spike_come_last():
    """The run of higher objective holds a component of three points in a plane: it is not taken."""
    points, starts = some_points()
    points[[20, 41, 62]] = [3.0, 3.0] + 1e-5 * np.array([[0, 0], [1, 0], [0, 1]])
    sound = np.arange(N) % K
    spiked = np.where(np.isin(np.arange(N), [20, 41, 62]), 2, np.arange(N) % 2)
    data = [data_of(points)]
    run = fit("full", data, np.stack([sound, spiked]), 0.9, max_iter=200)
    assert run.objective[1] > run.objective[0] + 0.1
    assert best(run, data, *problem("full", 0.9)).run == 0


def test_equal_points_are_no_cluster():
    """Twenty points with the value for "missing": higher the run that has a component for them."""
    points, starts = some_points()
    points[60:80] = 25.0
    code = (np.arange(N) >= 60) & (np.arange(N) < 80)
    prior, config = problem("full", 0.66)
    prior = prior._replace(ridge=np.full(D, 1e-6))
    spiked = np.where(code, 2, np.arange(N) % 2)
    sound = np.where(code, -1, np.arange(N) % K)
    data = [data_of(points)]
    mixtures = em.start_all(data, np.stack([sound, spiked]), prior, config, K)
    run = trimmed.run(mixtures, data, prior, config, 1e-8, 500)
    assert run.objective[1] > run.objective[0] + 0.1
    assert best(run, data, prior, config).run == 0


def test_all_failed():
    points, starts = some_points()
    points[:] = points[0]
    data = [data_of(points)]
    run = fit("full", data, starts, 0.9)
    assert run.failed.all() and best(run, data, *problem("full", 0.9)) is None


def test_one_component_is_the_minimum_covariance_determinant():
    """scikit-learn's FAST-MCD, from subsets: the determinant found is as small as its own."""
    points, _ = some_points(3)
    data, share, family = [data_of(points)], 0.75, FAMILIES["full"]
    h = share * N
    peer = MinCovDet(support_fraction=h / N, random_state=0).fit(points)
    assert peer.raw_support_.sum() == int(h) == 67
    prior, config = problem("full", 67 / N, 1)
    state = np.random.RandomState(0)
    drawn = [points[state.choice(N, 20, replace=False)] for _ in range(8)]
    starts = [subset_mixture(rows, 1, share, family, state) for rows in drawn]
    mixtures = jax.tree.map(lambda *leaves: np.stack(leaves), *starts)
    run = trimmed.run(mixtures, data, prior, config, 0.0, 100)
    chosen = best(run, data, prior, config)
    own = matrices(of_run(run, chosen.run))[0]
    theirs = np.cov(points[peer.raw_support_].T, bias=True)
    assert np.linalg.det(own) <= np.linalg.det(theirs) * (1 + 1e-9)
    assert (chosen.weight > 0).sum() == 67


# --- where it begins


@pytest.mark.parametrize("name", ["full", "tied", "diag"])
def test_subsets_leave_their_stragglers_out(name):
    points, _ = some_points()
    mixture = subset_mixture(points, K, 0.85, FAMILIES[name], np.random.RandomState(0))
    assert np.abs(mixture.means).max() < 5  # no outlier is a centre
    assert mixture.means.shape == (K, D) and len(mixture.scales) == K
    assert mixture.scales.ndim == (2 if name == "diag" else 3)
    assert np.exp(mixture.log_weights).sum() == pytest.approx(1)


def test_subset_of_as_many_points_as_components():
    mixture = subset_mixture(np.eye(2), 2, 0.9, FAMILIES["full"], np.random.RandomState(0))
    assert all(np.isfinite(leaf).all() for leaf in mixture)
    one = subset_mixture(np.zeros((1, 2)), 1, 0.9, FAMILIES["full"], np.random.RandomState(0))
    assert all(np.isfinite(leaf).all() for leaf in one)


def test_shortlist_is_in_order_and_drops_failures():
    points, _ = some_points()
    data = [data_of(points)]
    prior, config = problem("full", 0.9)
    state = np.random.RandomState(0)
    drawn = [
        subset_mixture(points[state.choice(N, 60)], K, 0.9, FAMILIES["full"], state)
        for _ in range(4)
    ]
    mixtures = jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)
    mixtures.scales[1] = np.nan
    found = trimmed.shortlist(mixtures, data, prior, config, R, 2)
    ahead = trimmed.run(found, data, prior, config, 0.0, 1)
    assert not ahead.failed.any() and ahead.objective[0] >= ahead.objective[1]
