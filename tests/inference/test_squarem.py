"""SQUAREM: the maximum of EM in fewer passes, and never a fall; on slow and failing problems."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayesgmm.core import FAMILIES, Data, Mixture, choose_form, flat_prior, log_density
from bayesgmm.datasets import load_faithful, load_galaxies
from bayesgmm.inference import em, squarem
from tests.conftest import assert_close, random_mixture, slow

pytestmark = pytest.mark.usefixtures("x64")

D, K, N = 2, 3, 240
STUCK = "2222222223333333333333333330000000000000000444444444444444444444111111111111111111"
"""Labels of the galaxies."""


def overlapping(seed=0, spread=1.0):
    """Three clusters so close that EM takes hundreds of steps."""
    rng = np.random.default_rng(seed)
    centres = spread * np.array([[-1.2, 0.0], [1.0, 0.4], [0.2, -1.0]])
    points = centres[np.arange(N) % K] + rng.normal(size=(N, D)) * [1.0, 0.8]
    return points, rng.integers(0, K, N)


def fit(engine, points, labels, name="full", tol=1e-6, max_iter=5000, ridge=0.0):
    family = FAMILIES[name]
    (N, D), K = points.shape, labels.max() + 1
    data = [Data(np.pad(points.T, ((0, 0), (0, 256 - N))), np.pad(np.ones(N), (0, 256 - N)))]
    objective = em.Objective(flat_prior(family, K, D), np.full(D, ridge), True)
    config = em.EMConfig(family, choose_form(D, family.axis_aligned))
    begin = em.start_all(data, labels[None], objective, config, K)
    run = engine.run(engine.begin(begin), data, objective, config, tol, max_iter)
    return run, jax.tree.map(lambda leaf: leaf[0], engine.outcome(run))


def likelihood(points, mixture):
    return float(log_density(points, mixture).mean())


@pytest.mark.parametrize(
    "name",
    [
        "full",
        "diag",
        "VEE",
        *(slow(name) for name in ("tied", "spherical", "EVI")),
    ],
)
def test_the_maximum_of_em_in_fewer_passes(name):
    passes = []
    for seed in range(4):
        points, labels = overlapping(seed)
        plain, theirs = fit(em, points, labels, name, tol=1e-11)
        fast, ours = fit(squarem, points, labels, name)
        slow, _ = fit(em, points, labels, name)
        assert plain.converged.all() and fast.converged.all() and slow.converged.all()
        assert likelihood(points, ours) > likelihood(points, theirs) - 1e-5
        passes.append(slow.n_iter[0] / fast.n_iter[0])
        trace = fast.history[0]
        assert len(trace) == fast.n_iter[0] and (np.diff(trace) >= -1e-12).all()
    assert np.median(passes) > 1.3


@pytest.mark.parametrize("name", ["full", "tied", "diag"])
def test_what_is_kept_has_come_out_of_an_em_step(name):
    """After any number of passes, also of those that tried an extrapolation."""
    points, labels = overlapping(1)
    whole, _ = fit(squarem, points, labels, name)
    assert len(set(whole.history[0])) < whole.n_iter[0]  # there were some
    for n in range(1, int(whole.n_iter[0])):
        run, mixture = fit(squarem, points, labels, name, max_iter=n)
        value = likelihood(points, mixture)
        assert value >= run.objective[0] - 1e-12
        if name == "tied":
            assert mixture.scales.shape == (1, D, D)


def test_a_run_ends_with_em_steps():
    """What the gains just after a leap foresee is no end yet."""
    ended = 0
    for seed in range(4):
        run, _ = fit(squarem, *overlapping(seed))
        trace = run.history[0]
        assert run.converged.all() and run.state.walked[0] >= squarem.WALK
        assert (np.diff(trace[-squarem.WALK - 1 :]) != 0).all()  # a leap repeats the last one
        ended += np.isfinite(run.state.walked[0])
    assert ended > 0  # there were leaps


def test_a_saddle_that_em_leaves_is_left():
    """Velocities of galaxies, five components: EM takes a thousand passes, most of them there.

    With longer leaps, and without EM steps at the end, the run ended at the saddle.
    """
    labels = np.array(list(STUCK), int)
    points = load_galaxies()[0].to_numpy()
    points = (points - points.mean(0)) / points.std(0)
    given = points, labels, "full", em.FORESEEN / len(points), 10_000, 1e-6
    plain, theirs = fit(em, *given)
    fast, ours = fit(squarem, *given)
    assert plain.converged.all() and fast.converged.all()
    assert fast.n_iter[0] < plain.n_iter[0] / 4
    assert len(points) * (likelihood(points, ours) - likelihood(points, theirs)) > -0.01


def test_a_leap_that_leads_down_is_taken_back():
    """Where the objective is not what EM climbs (a wide ridge), no leap is believed."""
    points, labels = overlapping(2)
    plain, theirs = fit(em, points, labels, ridge=0.5, tol=1e-11)
    fast, ours = fit(squarem, points, labels, ridge=0.5)
    assert fast.converged.all()
    assert_close(likelihood(points, ours), likelihood(points, theirs), atol=2e-5)


def test_a_collapse_fails_as_in_em():
    points, labels = overlapping(3)
    points[:6] = [6.0, 6.0]  # a cluster without extent, which begins with two points beside it
    labels = np.where(np.arange(N) < 6, 0, 1 + labels % 2)
    labels[np.argsort(((points - 6.0) ** 2).sum(1))[6:8]] = 0
    plain, _ = fit(em, points, labels)
    fast, ours = fit(squarem, points, labels)
    assert (
        plain.n_iter[0] > 1
        and plain.failed.all()
        and fast.failed.all()
        and not fast.converged.any()
    )
    assert all(np.isfinite(leaf).all() for leaf in ours)


# --- the extrapolation ----------------------------------------------------------------------------


def affine(mixture, matrix, shift):
    scales = np.linalg.cholesky(
        matrix @ mixture.scales @ np.swapaxes(mixture.scales, 1, 2) @ matrix.T
    )
    return Mixture(mixture.log_weights, mixture.means @ matrix.T + shift, scales)


def near(mixture, size, seed):
    rng = np.random.default_rng(seed)
    logs = mixture.log_weights + size * rng.normal(size=K)
    scales = mixture.scales @ (np.eye(D) + size * np.tril(rng.normal(size=(K, D, D))))
    means = mixture.means + size * rng.normal(size=(K, D))
    return Mixture(logs - np.log(np.exp(logs).sum()), means, scales)


def three(seed=0):
    middle = jax.tree.map(np.asarray, random_mixture(seed, K, D))
    return near(middle, 0.02, 1), middle, near(middle, 0.01, 2)


def test_the_extrapolation_goes_along_with_affine_maps():
    mixtures = three()
    matrix, shift = np.array([[2.0, 0.3], [-1.0, 0.7]]), np.array([3.0, -5.0])
    length, further = squarem._extrapolate(*mixtures)
    mapped = [affine(mixture, matrix, shift) for mixture in mixtures]
    length_there, further_there = squarem._extrapolate(*mapped)
    assert_close(length_there, length, rtol=1e-10)
    there, here = further_there(1.7), affine(further(1.7), matrix, shift)
    assert_close(there.means, here.means, rtol=1e-10)
    assert_close(there.log_weights, here.log_weights, rtol=1e-10)
    covariance = lambda scales: scales @ np.swapaxes(scales, 1, 2)  # noqa: E731
    assert_close(covariance(there.scales), covariance(here.scales), rtol=1e-10)


def test_a_sequence_that_shrinks_by_a_factor_is_extrapolated_to_its_limit():
    """Means that close in at one rate: a = 1 / (1 - rate), and the limit itself."""
    limit = jax.tree.map(np.asarray, random_mixture(0, K, D))
    rate, apart = 0.95, 0.01 * np.array([[1.0, 2.0], [-1.0, 0.5], [0.3, 0.4]])
    path = [limit._replace(means=limit.means + apart * rate**n) for n in range(3)]
    length, further = squarem._extrapolate(*path)
    assert_close(length, 1 / (1 - rate), rtol=1e-9)
    assert_close(further(length).means, limit.means, rtol=1e-9)
    assert_close(further(length).log_weights, limit.log_weights, rtol=1e-9)


def test_a_leap_stays_near():
    far = three()[0]._replace(means=three()[1].means + 40.0)
    length, _ = squarem._extrapolate(far, three()[1], three()[2])
    assert 0 < length < 0.1


def test_absent_components_stay_absent():
    mixtures = [
        mixture._replace(log_weights=jnp.append(mixture.log_weights[:-1], -jnp.inf))
        for mixture in three()
    ]
    length, further = squarem._extrapolate(*mixtures)
    found = further(length)
    assert np.isneginf(found.log_weights[-1]) and np.isfinite(length)
    assert all(np.isfinite(leaf[:-1]).all() for leaf in found)


# --- the criterion of convergence ---------------------------------------------------------------


def test_gains_that_shrink_by_a_factor_add_up_as_foreseen():
    total = partial(em.still_to_come, value=jnp.asarray(-3.0), rate=0.5)
    for rate in (0.6, 0.9, 0.99):
        rest = 0.1 * rate / (1 - rate)
        assert_close(total(jnp.asarray(0.1), jnp.asarray(0.1 / rate)), rest, rtol=1e-9)
    assert total(jnp.asarray(0.2), jnp.asarray(0.1)) == np.inf  # they grow
    assert total(jnp.asarray(1e-16), jnp.asarray(1e-16)) == 0  # rounding error
    assert total(jnp.asarray(np.inf), jnp.asarray(np.inf)) == np.inf  # none yet


def test_a_slow_run_is_not_stopped_early():
    """scikit-learn's criterion leaves nats behind where ours leaves next to nothing."""
    points = load_faithful()[0].to_numpy()
    rng = np.random.default_rng(0)
    points = (points - points.mean(0)) / points.std(0)
    points = points[rng.permutation(len(points))[:N]]
    labels = rng.integers(0, K, N)
    best = likelihood(points, fit(em, points, labels, tol=1e-13)[1])
    for engine in (em, squarem):
        found = likelihood(points, fit(engine, points, labels, tol=em.FORESEEN / N)[1])
        assert N * (best - found) < 0.01
