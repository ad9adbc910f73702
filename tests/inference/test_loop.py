"""The fixed-point loop on a step simple enough to follow by hand: Newton's square root of two."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayesgmm.inference.loop import (
    CONVERGED,
    FAILED,
    RUNNING,
    SPAN,
    Limits,
    active,
    begin,
    run_until,
)
from tests.conftest import assert_close

pytestmark = pytest.mark.usefixtures("x64")


class Guess(NamedTuple):
    x: jax.Array
    objective: jax.Array
    remaining: jax.Array
    kappa: jax.Array


def newton(guess):
    """One step; the objective is that of the guess that entered."""
    new = 0.5 * (guess.x + 2.0 / guess.x)
    condition = jnp.maximum(jnp.abs(guess.x), jnp.abs(new))
    objective = -jnp.abs(guess.x**2 - 2.0)
    return Guess(new, objective, jnp.abs(objective - guess.objective), condition)


advance = jax.jit(lambda progress, limits, span: run_until(newton, progress, limits, span))


def started(*guesses, objective=-np.inf):
    x = np.array(guesses)
    blank = np.zeros(len(x))
    return begin(Guess(x, np.full(len(x), objective), blank, blank))


def limits(tol=1e-12, max_iter=50, kappa=1e6):
    return Limits(np.float64(tol), np.int32(max_iter), np.float64(kappa))


def newton_by_hand(x, n):
    path = [x]
    for _ in range(n):
        path.append(0.5 * (path[-1] + 2.0 / path[-1]))
    return np.array(path)


def test_runs_side_by_side_go_their_own_ways():
    progress = advance(started(3.0, 1.5, 1e9, np.nan, 0.0), limits(), np.int32(SPAN))
    assert progress.status.tolist() == [CONVERGED, CONVERGED, FAILED, FAILED, FAILED]
    assert_close(progress.state.x[:2], np.sqrt([2.0, 2.0]))
    for run, start in ((0, 3.0), (1, 1.5)):
        n = int(progress.n_iter[run])
        path = newton_by_hand(start, n)
        assert_close(progress.state.x[run], path[n])
        objectives = -np.abs(path**2 - 2)
        assert_close(progress.history[run, :n], objectives[:n], atol=1e-15)
        assert np.isnan(progress.history[run, n:]).all()
        gains = np.abs(np.diff(objectives))
        assert gains[n - 2] < 1e-12 <= gains[n - 3]  # it stopped as soon as it could


def test_a_step_that_is_not_sound_is_not_taken():
    """NaN never converges, whatever the tolerance; the last sound state stays."""
    for tol in (1e-12, np.inf):
        progress = advance(started(1e9, np.nan, 0.0), limits(tol), np.int32(SPAN))
        assert progress.status.tolist() == [FAILED] * 3
        assert progress.n_iter.tolist() == [0] * 3
        assert np.array_equal(progress.state.x, [1e9, np.nan, 0.0], equal_nan=True)
        assert progress.objective.tolist() == [-np.inf] * 3
        assert np.isnan(progress.history).all()


def test_an_infinite_objective_is_not_sound():
    """However well conditioned the step: 1e200 squared is beyond the floats."""
    progress = advance(started(1e200, 1.5, 3.0), limits(kappa=np.inf), np.int32(SPAN))
    assert progress.status.tolist() == [FAILED, CONVERGED, CONVERGED]
    assert progress.n_iter[0] == 0 and progress.state.x[0] == 1e200


def test_it_fails_where_the_condition_is_passed_and_not_before():
    progress = advance(started(1e-3, 1.0, 1.0), limits(kappa=100), np.int32(SPAN))
    assert progress.status.tolist() == [FAILED, CONVERGED, CONVERGED]
    assert progress.state.x[0] == 1e-3  # the next guess would have been 1,000


def test_a_run_that_has_failed_leaves_the_others_alone():
    together = advance(started(3.0, np.nan, 1.5), limits(), np.int32(SPAN))
    alone = advance(started(3.0, 3.0, 1.5), limits(), np.int32(SPAN))
    for run in (0, 2):
        found, expected = (jax.tree.map(lambda leaf, r=run: leaf[r], p) for p in (together, alone))
        np.testing.assert_array_equal(found.state, expected.state)
        assert (found.n_iter, found.status) == (expected.n_iter, expected.status)


def test_spans_add_up():
    """Interrupted every other step, or not at all: the same."""
    whole = advance(started(30.0, 1.5, 2.0), limits(), np.int32(SPAN))
    progress, traces = started(30.0, 1.5, 2.0), [[], [], []]
    while np.any(active(progress, limits())):
        progress = advance(progress, limits(), np.int32(2))
        assert np.isnan(progress.history[:, 2:]).all()
        for trace, values in zip(traces, np.asarray(progress.history), strict=True):
            trace.extend(values[~np.isnan(values)])
    np.testing.assert_array_equal(progress.state, whole.state)
    assert progress.n_iter.tolist() == whole.n_iter.tolist() == [len(t) for t in traces]
    for trace, values in zip(traces, np.asarray(whole.history), strict=True):
        assert_close(trace, values[: len(trace)])


@pytest.mark.parametrize("max_iter", [0, 1, 4])
def test_at_most_max_iter_steps(max_iter):
    progress = advance(started(3.0, 30.0, np.nan), limits(max_iter=max_iter), np.int32(SPAN))
    assert progress.n_iter.tolist() == [max_iter, max_iter, 0]
    running = [RUNNING, RUNNING, FAILED if max_iter else RUNNING]
    assert progress.status.tolist() == running
    assert_close(progress.state.x[0], newton_by_hand(3.0, max_iter)[-1])


def test_a_tolerance_of_zero_never_arrives():
    progress = advance(started(np.sqrt(2), 1.5, 3.0), limits(tol=0, max_iter=20), np.int32(SPAN))
    assert progress.status.tolist() == [RUNNING] * 3
    assert progress.n_iter.tolist() == [20] * 3


def test_the_first_objective_has_one_to_be_compared_with():
    guesses = 3.0, 1.5, 1.5
    assert (
        advance(started(*guesses), limits(0.1, 1), np.int32(SPAN)).status.tolist() == [RUNNING] * 3
    )
    resumed = advance(started(*guesses, objective=-0.2), limits(0.1, 1), np.int32(SPAN))
    assert resumed.status.tolist() == [RUNNING, CONVERGED, CONVERGED]  # -7 and -0.25
    unknown = advance(started(*guesses, objective=np.nan), limits(0.1, 1), np.int32(SPAN))
    assert unknown.status.tolist() == [RUNNING] * 3  # arrival is affirmed


def test_limits_are_traced():
    advance(started(3.0, 1.5, 2.0), limits(), np.int32(SPAN))
    size = advance._cache_size()
    for given in (limits(1e-3), limits(max_iter=7), limits(kappa=np.inf)):
        advance(started(4.0, 1.0, 2.5), given, np.int32(3))
    assert advance._cache_size() == size
