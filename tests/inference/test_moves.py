"""Moves: wherever they start, runs end at one bound, which never falls on the way."""

import json
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import special

from bayesgmm.core import FAMILIES, Data, NormalInverseWishart, choose_form
from bayesgmm.core.concentration import (
    Fixed,
    GammaConcentration,
    Sticks,
    Symmetric,
    learned_on_grid,
)
from bayesgmm.inference import drive, moves, parts, proposals, prune, vb
from tests.conftest import assert_close, slow

pytestmark = pytest.mark.usefixtures("x64")

REFERENCE = Path(__file__).parent.parent / "reference"
N, SIZE, D = 120, 128, 2
CENTRES = np.array([[-2.0, -1.5], [-1.2, 1.4], [0.1, -0.2], [1.3, 1.5], [1.8, -1.3]])
RIGHT = np.arange(N) % 5


def clusters(seed=0, spread=0.22):
    """Five clusters of different shapes that no one would mistake for others."""
    rng = np.random.default_rng(seed)
    shape = np.array([[1.0, 0.4], [0.5, 1.0], [0.7, 0.7], [1.0, 0.8], [0.4, 0.6]])[RIGHT]
    return CENTRES[RIGHT] + spread * shape * rng.normal(size=(N, D))


def data_of(points, weight=None, size=SIZE):
    weight = np.ones(len(points)) if weight is None else weight
    fill = size - len(points)
    return Data(np.pad(points.T, ((0, 0), (0, fill))), np.pad(weight, (0, fill)))


def components_of(name, room, scale=0.1, dof=4.0):
    family = FAMILIES[name]
    groups = 1 if family.pooled else room
    tail = (1,) if family.isotropic else (D,) if family.axis_aligned else (D, D)
    matrix = scale * (np.ones(tail) if family.axis_aligned else np.eye(D))
    given = np.zeros((room, D)), np.full(room, 0.2), np.full(groups, dof)
    return NormalInverseWishart(*given, np.broadcast_to(matrix, (groups, *tail)))


def prior_of(name="full", kind="dp"):
    """A function of the room, as `Search` wants it."""

    def prior(room):
        if kind == "dp":
            weights, concentration = Sticks(0.0), GammaConcentration(1.0, 1.0)
        elif kind == "py":
            weights = Sticks(0.25)
            concentration = learned_on_grid(weights, 1.0, 1.0, room)
        else:
            weights, concentration = Symmetric(7), Fixed(0.3)
        return vb.VBPrior(components_of(name, room), weights, concentration, np.full(D, 1e-6))

    return prior


def config_of(name="full"):
    family = FAMILIES[name]
    return vb.VBConfig(family, choose_form(D, family.axis_aligned), by_size=True)


def first_run(labels, shards, prior_of, config, room=None):
    """The run before any move."""
    room = moves.room_for(labels.max() + 1) if room is None else room
    prior, present = prior_of(room), np.arange(room) <= labels.max()
    states = vb.start_all(shards, labels[None], prior, config, present)
    move = prune.Pruning(prior, config, 1)
    return vb.run(states, shards, prior, config, 1e-4, 500, None, move, prune.EVERY)


def searched(
    labels, points, name="full", kind="dp", cap=None, seed=0, shards=None, watch=None, room=None
):
    shards = [data_of(points)] if shards is None else shards
    prior, config = prior_of(name, kind), config_of(name)
    before = first_run(labels, shards, prior, config, room)
    rng = np.random.RandomState(seed)
    search = moves.Search(shards, prior, config, 1e-4, 500, cap, rng)
    after = search(before, watch)
    check(before, after)
    bound = vb.lower_bounds(after.state, shards, prior(after.state.present.shape[1]), config)[0]
    assert bound >= after.objective[0] - 1e-9
    return int(after.state.present.sum()), bound, after, before


def check(before, after):
    """What holds of any search: it goes on from the run that was, and the bound never falls."""
    [old], [trace] = before.history, after.history
    np.testing.assert_array_equal(trace[: len(old)], old)
    assert np.diff(trace).min(initial=0.0) >= -1e-9 * abs(trace[-1])
    assert after.n_iter[0] == len(trace) and after.objective[0] == trace[-1]
    assert after.converged.all() and not after.failed.any()


def starts(K, seed=0):
    return np.random.default_rng(seed).integers(0, K, N)


# --- one answer from any start --------------------------------------------------------------------


@pytest.fixture(scope="module")
def best():
    """Bound of the run that starts from the clusters themselves."""
    with jax.enable_x64(True):
        return searched(RIGHT, clusters())[:2]


@pytest.mark.parametrize("K", [10, *(slow(K) for K in (1, 50))])
def test_the_same_from_any_start(K, best):
    found = searched(starts(K), clusters(), seed=K, room=64)
    assert best[0] == found[0] == 5
    np.testing.assert_allclose(found[1], best[1], atol=0.01)


TRAP = np.array([0, 1, 1, 2, 3])[RIGHT]
"""One component for two of the clusters; the first cluster is cut in two."""


@pytest.mark.parametrize(
    "name, kind",
    [
        ("full", "dp"),
        slow("tied", "py"),
        slow("spherical", "dirichlet"),
    ],
)
def test_out_of_a_trap(name, kind, best):
    """Families and weight priors: what coordinate ascent leaves as it is, moves put right."""
    trap = np.where((TRAP == 0) & (np.arange(N) % 2 == 0), 4, TRAP)
    points = clusters()
    K, bound, _, before = searched(trap, points, name, kind)
    right = searched(RIGHT, points, name, kind)
    assert before.state.present.sum() <= 5 and bound > before.objective[0] + 5
    assert K == right[0] and (name == "spherical" or K == 5)  # round ones take two for a long one
    np.testing.assert_allclose(bound, right[1], atol=0.01)


def test_no_more_than_may_be():
    points = clusters()
    bounds = []
    for cap in (1, 2, 4):
        K, bound, _, _ = searched(np.zeros(N, int), points, cap=cap)
        assert K == cap
        bounds.append(bound)
    assert np.all(np.diff(bounds) > 5)


def test_one_cluster_stays_one():
    points = np.random.default_rng(1).normal(size=(N, D))
    for K in (1, 5):
        found = searched(starts(K), points, seed=K)
        assert found[0] == 1
        alone = searched(np.zeros(N, int), points)[1]
        np.testing.assert_allclose(found[1], alone, atol=1e-6)


def test_weights_are_repeated_points():
    points, labels = clusters()[:80], np.zeros(80, int)
    weight = np.where(np.arange(80) < 40, 2.0, 1.0)
    repeated = np.repeat(np.arange(80), weight.astype(int))
    found = searched(labels, None, shards=[data_of(points, weight)])
    other = searched(labels[repeated], points[repeated])
    assert found[0] == other[0] == 5
    np.testing.assert_allclose(found[1], other[1], atol=0.01)


def test_shards_and_a_sample(best, monkeypatch):
    """Proposals are made on some of the points, and taken by the bound of all."""
    points = clusters()
    halves = [data_of(points[:60], size=64), data_of(points[60:], size=64)]
    found = searched(np.zeros(N, int), None, shards=halves)
    assert found[0] == 5
    np.testing.assert_allclose(found[1], best[1], atol=0.01)
    monkeypatch.setattr(moves, "ROWS", 60)
    found = searched(np.zeros(N, int), points)
    assert found[0] == 5
    np.testing.assert_allclose(found[1], best[1], atol=0.01)


def test_seeds_and_no_second_compilation(best):
    points, labels = clusters(), starts(6)
    first = searched(labels, points, seed=3)
    programs = (drive.ADVANCE[True], parts._states, parts._divide, parts._joint)
    sizes = [program._cache_size() for program in programs]
    again, other = searched(labels, points, seed=3), searched(starts(6, 9), points, seed=4)
    assert sizes == [program._cache_size() for program in programs]
    assert_close(first[2].state, again[2].state, rtol=0)
    np.testing.assert_array_equal(first[2].history[0], again[2].history[0])
    np.testing.assert_allclose([first[1], other[1]], best[1], atol=0.01)


def test_it_can_be_watched_and_interrupted():
    seen = []
    _, _, after, before = searched(np.zeros(N, int), clusters(), watch=seen.append)
    numbers = [int(progress.n_iter[0]) for progress in seen]
    assert numbers == sorted(numbers) and numbers[-1] == after.n_iter[0] > before.n_iter[0]

    def interrupt(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        searched(np.zeros(N, int), clusters(), watch=interrupt)


# --- the bound of a proposal ----------------------------------------------------------------------


def seen(name="full", K=4):
    """Parts of a state on its way, and what it takes to make states of them."""
    data, prior, config = data_of(clusters(spread=0.6)), prior_of(name)(8), config_of(name)
    states = vb.start_all([data], starts(K)[None], prior, config, np.arange(8) < K)
    run = vb.run(states, [data], prior, config, 0.0, 12)
    state = moves._row(run.state, 0)
    log_joint = parts.joint(state, data, config.family)
    found = parts.parts_of(
        special.softmax(log_joint, axis=0), state.mixture.means[:K], data, config.family
    )
    return found, log_joint, state, data, prior, config


def bound_of(several, state, prior, config):
    return [s.objective for s in parts.states_of(several, state.concentration, prior, config)]


@pytest.mark.parametrize("name", ["full", "diag"])
def test_the_bound_of_parts_is_that_of_an_iteration(name):
    found, _, state, data, prior, config = seen(name)
    run = vb.run(jax.tree.map(lambda leaf: leaf[None], state), [data], prior, config, 0.0, 1)
    [bound] = bound_of([found], state, prior, config)
    np.testing.assert_allclose(bound, run.objective[0], rtol=1e-12)


@pytest.mark.parametrize("name", ["full", "diag"])
def test_a_merge_is_the_sum_of_responsibilities(name):
    found, _, state, data, prior, config = seen(name)
    resp = found.resp.copy()
    resp[0] += resp[2]
    resp = np.delete(resp, 2, axis=0)
    about = np.zeros((3, D))
    direct = parts.parts_of(resp, about, data, config.family)
    edit = parts.merged(found, 0, 2)
    np.testing.assert_allclose(edit.entropy, direct.entropy, rtol=1e-12)
    np.testing.assert_allclose(*bound_of([edit, direct], state, prior, config), rtol=1e-12)


@pytest.mark.parametrize("name", ["full", "diag"])
def test_halves_are_what_they_were_made_of(name):
    """Their moments add up to those of the component; an iteration raises the bound from there."""
    found, _, state, data, prior, config = seen(name)
    rng = np.random.RandomState(0)
    given = data, prior, config.family, rng
    halves = parts.halves_of(found, [(1, 1), (0, 3)], 3, *given)
    assert [half.which for half in halves] == [(1, 1)] * 3 + [(0, 3)] * 3
    several = [parts.divided(found, half) for half in halves]
    assert [len(edit.counts) for edit in several] == [5] * 3 + [4] * 3
    for half, edit in zip(halves, several, strict=True):
        rows = [1, 4] if half.which == (1, 1) else [0, 3]
        total = found.counts[sorted(set(half.which))].sum()
        np.testing.assert_allclose(edit.counts[rows].sum(), total, rtol=1e-12)
        np.testing.assert_allclose(edit.counts.sum(), N, rtol=1e-12)
        moved = [parts._about(edit, k, np.zeros(D))[1:] for k in rows]
        were = [parts._about(found, k, np.zeros(D))[1:] for k in set(half.which)]
        for one, other in zip(zip(*moved, strict=True), zip(*were, strict=True), strict=True):
            np.testing.assert_allclose(sum(one), sum(other), rtol=1e-9, atol=1e-9)
        assert 0 <= half.entropy <= total * np.log(2)
    made = parts.states_of(several, state.concentration, prior, config)
    after = vb.run(moves._stack(made, parts.SIDE), [data], prior, config, 0.0, 1).objective
    assert (after[:6] >= np.array([s.objective for s in made]) - 1e-9).all()


def test_a_birth_takes_the_points_whole():
    """Moments are those of the points; no other point moves; an iteration raises the bound."""
    found, _, state, data, prior, config = seen()
    given = 4, np.random.RandomState(0)
    several = parts.neighbourhoods(found, data, *given)
    edits = [parts.born(found, chosen, data, config.family) for chosen in several]
    for chosen, edit in zip(several, edits, strict=True):
        own = data.points[:, chosen].T
        assert 5 < len(own) <= N / 4 and not chosen[N:].any()
        np.testing.assert_allclose(edit.about[4], own.mean(0), rtol=1e-12)
        np.testing.assert_allclose(edit.second[4], len(own) * np.cov(own.T, ddof=0), rtol=1e-9)
        np.testing.assert_allclose(edit.resp[:4, ~chosen], found.resp[:, ~chosen])
        np.testing.assert_allclose(edit.resp.sum(0), 1)
    made = parts.states_of(edits, state.concentration, prior, config)
    after = vb.run(moves._stack(made, parts.SIDE), [data], prior, config, 0.0, 1).objective
    assert (after[:4] >= np.array([s.objective for s in made]) - 1e-9).all()


def test_every_proposal_is_a_state_with_its_bound():
    """Also those that lose a component: all points are somewhere, and an iteration gains."""
    _, _, state, data, prior, config = seen()
    given = data, prior, state.concentration, config
    sizes = []
    for new in (True, False):
        view = proposals.View(state, *given, 5, np.random.RandomState(0), new)
        for batch in view.batches(0.01):
            assert len(batch) <= parts.SIDE
            made = view.states(batch)
            states = moves._stack(made, parts.SIDE)
            after = vb.run(states, [data], prior, config, 0.0, 1).objective[: len(made)]
            assert (after >= np.array([s.objective for s in made]) - 1e-9).all()
            np.testing.assert_allclose([edit.counts.sum() for edit in batch], N, rtol=1e-9)
            sizes += [len(edit.counts) for edit in batch]
    assert set(sizes) == {3, 4, 5}  # fewer, as many, more, and not more than may be


# --- never above the evidence ---------------------------------------------------------------------


@cache
def reference(name):
    return json.loads((REFERENCE / name).read_text(encoding="utf-8"))


def test_never_above_the_exact_evidence():
    """Dirichlet processes whose evidence is a sum over all partitions, in two dimensions."""
    found = reference("exact_m6_collinear2d.json")
    x, checked = np.array(found["x"], float), 0
    data, config = data_of(x), config_of()
    for row in found["cases"]:
        process = found["partition_priors"][row["prior"]]
        given = found["component_priors"][row["component_prior"]]
        if process["type"] != "dp" or given["family"] != "niw":
            continue

        def prior(room, given=given, process=process):
            mean = np.broadcast_to(np.atleast_1d(given["m0"]), (room, D))
            scale = np.broadcast_to(np.array(given["S0"]), (room, D, D))
            sizes = (np.full(room, float(given[name])) for name in ("k0", "nu0"))
            components = NormalInverseWishart(mean, *sizes, scale)
            alpha = Fixed(np.float64(process.get("alpha", process.get("concentration"))))
            return vb.VBPrior(components, Sticks(0.0), alpha, np.zeros(D))

        bounds = []
        for labels in (np.zeros(len(x), int), np.arange(len(x))):
            before = first_run(labels, [data], prior, config)
            rng = np.random.RandomState(0)
            after = moves.Search([data], prior, config, 1e-6, 500, None, rng)(before)
            check(before, after)
            bounds.append(vb.lower_bounds(after.state, [data], prior(8), config)[0])
        assert max(bounds) <= row["log_marginal_likelihood"] + 1e-9
        np.testing.assert_allclose(*bounds, atol=0.1)
        checked += 1
    assert checked >= 1
