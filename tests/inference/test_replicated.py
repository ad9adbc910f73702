"""Runs side by side on data of their own: each as it would be alone."""

import jax
import numpy as np
import pytest

from bayesgmm.core.arrays import Data, float_scope
from bayesgmm.core.conjugate import flat_prior
from bayesgmm.core.covariance import FAMILIES
from bayesgmm.core.forms import choose_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.inference import em, replicated, squarem
from bayesgmm.inference.replicated import Replicates
from tests.conftest import assert_close, random_mixture

K, D, N, R = 2, 2, 64, 11


def start():
    log_weights, means, scales = random_mixture(3, K, D)
    return Mixture(*(np.repeat(leaf[None], R, axis=0) for leaf in (log_weights, means, scales)))


def sets(kind):
    """Data of every run: weights or points of its own."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(R, D, N)) + 2 * rng.choice([-1, 1], size=(R, 1, N))
    if kind == "points":
        return [Data(own, np.ones(N)) for own in points]
    return [Data(points[0], rng.exponential(size=N)) for _ in range(R)]


def stacked(own, kind):
    if kind == "points":
        return Data(np.stack([data.points for data in own]), own[0].weight)
    return Data(own[0].points, np.stack([data.weight for data in own]))


@pytest.mark.parametrize("kind", ["points", "weights"])
@pytest.mark.parametrize("engine", [em, squarem])
def test_each_run_is_as_it_is_alone(kind, engine, monkeypatch):
    monkeypatch.setattr(replicated, "BLOCK", 4)
    monkeypatch.setattr(replicated, "LEG", 5)
    own, family, tol = sets(kind), FAMILIES["full"], 1e-9
    objective = em.Objective(flat_prior(family, K, D), np.zeros(D), np.bool_(True))
    config = em.EMConfig(family, choose_form(D))
    which = np.random.default_rng(1).permutation(R)
    asked = []

    def drawn(numbers):
        asked.append(len(numbers))
        return stacked([own[r] for r in numbers], kind)

    given = Replicates(drawn, N, objective, config, engine, tol)
    with float_scope("float64"):
        found = replicated.run(engine.begin(start()), which, given, 400)
        ended = engine.outcome(found)
        assert set(asked) == {4}  # one program
        for row in (0, 5, R - 1):
            first = jax.tree.map(lambda leaf: leaf[:1], start())
            data = [own[which[row]]]
            alone = engine.run(engine.begin(first), data, objective, config, tol, 400)
            mixture = jax.tree.map(lambda leaf: leaf[0], engine.outcome(alone))
            assert found.n_iter[row] == alone.n_iter[0]
            assert found.converged[row] == alone.converged[0]
            assert_close(found.objective[row], alone.objective[0], rtol=1e-9)
            mine = jax.tree.map(lambda leaf: leaf[row], ended)  # noqa: B023
            assert_close(mine, mixture, rtol=1e-6, atol=1e-8)


def test_passes_are_counted_over_the_legs(monkeypatch):
    monkeypatch.setattr(replicated, "BLOCK", 4)
    monkeypatch.setattr(replicated, "LEG", 3)
    own, family = sets("weights"), FAMILIES["full"]
    objective = em.Objective(flat_prior(family, K, D), np.zeros(D), np.bool_(False))
    given = Replicates(
        lambda numbers: stacked([own[r] for r in numbers], "weights"),
        N,
        objective,
        em.EMConfig(family, choose_form(D)),
        em,
        0.0,
    )
    with float_scope("float64"):
        found = replicated.run(em.begin(start()), np.arange(R), given, 8)
        none = replicated.run(em.begin(start()), np.arange(R), given, 0)
    assert (found.n_iter == 8).all()
    assert not found.converged.any()
    assert (none.n_iter == 0).all()
    assert_close(none.state.mixture, start())


def test_large_data_sets_make_small_blocks():
    sizes = [Replicates(None, N, None, None, em, 0.0).block for N in (512, 10**5, 10**6, 10**8)]
    assert sizes == [32, 16, 2, 1]
