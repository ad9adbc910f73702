"""Which of several starts go on: on runs that are made up."""

from typing import NamedTuple

import numpy as np

from bayesgmm.inference.drive import Run
from bayesgmm.inference.restarts import TRIAL, best, put_in, race


class State(NamedTuple):
    number: np.ndarray
    objective: np.ndarray
    rest: np.ndarray


class Course:
    """Runs whose objective after n passes is given; those of `ends` converge there."""

    def __init__(self, *paths, rests=None, failing=()):
        self.paths, self.calls = paths, []
        self.rests = np.zeros(len(paths)) if rests is None else np.array(rests, float)
        self.failing = failing

    def states(self):
        R = len(self.paths)
        return State(np.arange(R), np.full(R, -np.inf), self.rests)

    def advance(self, state, passes, restart, before):
        assert state.number.tolist() == [restart]
        self.calls.append((restart, passes, before))
        path = self.paths[restart]
        trace = np.array(path[before : before + passes], float)
        value = trace[-1] if len(trace) else -np.inf
        failed = np.array([restart in self.failing])
        ended = np.array([before + passes >= len(path)]) & ~failed
        objective, n_iter = np.array([value]), np.array([len(trace)])
        new = state._replace(objective=objective)
        return Run(new, ended, failed, n_iter, objective, [trace])


def rising(end, start=-100.0, n=30):
    """To its end at an even pace."""
    return np.linspace(start, end, n)


def test_the_worse_half_is_dropped_after_the_trial():
    course = Course(rising(-5), rising(-50), rising(-60), rising(-7), rising(-70))
    run = race(course.states(), course.advance, 1000, 1.0)
    assert run.n_iter.tolist() == [30, 30, TRIAL, 30, TRIAL]
    assert run.converged.tolist() == [True, True, False, True, False]
    assert [len(trace) for trace in run.history] == run.n_iter.tolist()
    np.testing.assert_array_equal(run.history[3], course.paths[3])
    assert best(run) == 0 and run.state.number.tolist() == [0, 1, 2, 3, 4]


def test_what_a_run_promises_counts_up_to_a_limit():
    late = np.concatenate([np.full(TRIAL, -30.0), np.full(20, -1.0)])
    flat, low = np.full(30, -20.0), np.full(30, -60.0)
    course = Course(flat, late, low, rests=[0, 29, 1e3])
    run = race(course.states(), course.advance, 1000, 1.0)
    assert run.n_iter.tolist() == [30, 30, TRIAL] and best(run) == 1


def test_a_promise_that_is_not_kept():
    """The one of the others that has the largest objective goes on, so that the best has ended."""
    idle, modest = np.full(30, -30.0), np.concatenate([np.full(TRIAL, -25.0), np.full(20, -24.0)])
    course = Course(idle, modest, rests=[15, 0])
    run = race(course.states(), course.advance, 1000, 1.0)
    assert best(run) == 1 and run.converged.all()


def test_a_run_that_has_ended_needs_no_more():
    course = Course(rising(-5, n=4), rising(-5))
    run = race(course.states(), course.advance, 1000, 1.0)
    assert course.calls == [(0, TRIAL, 0), (1, TRIAL, 0)]
    assert run.n_iter.tolist() == [4, TRIAL] and best(run) == 0


def test_one_start_has_no_trial():
    course = Course(rising(-5))
    assert race(course.states(), course.advance, 25, 1.0).n_iter.tolist() == [25]
    assert course.calls == [(0, 25, 0)]


def test_no_more_passes_than_were_asked_for():
    for max_iter in (0, 3, TRIAL, 17):
        course = Course(rising(-5), rising(-6), rising(-7))
        run = race(course.states(), course.advance, max_iter, 1.0)
        assert run.n_iter.max() == max_iter and best(run) is not None


def test_failed_runs():
    course = Course(rising(-5), rising(-6), rising(-7), failing=(0, 1))
    run = race(course.states(), course.advance, 1000, 1.0)
    assert best(run) == 2 and run.converged.tolist() == [False, False, True]
    course = Course(rising(-5), rising(-6), failing=(0, 1))
    assert best(race(course.states(), course.advance, 1000, 1.0)) is None


def test_put_in():
    course, other = Course(rising(-5), rising(-6), rising(-7)), Course(rising(-1, n=12))
    run = race(course.states(), course.advance, 1000, 1.0)
    one = race(other.states(), other.advance, 1000, 1.0)
    found = put_in(run, 1, one)
    assert found.objective.tolist() == [run.objective[0], -1.0, run.objective[2]]
    assert [len(trace) for trace in found.history] == [30, 12, TRIAL]
    assert run.objective[1] != -1.0  # the first one is as it was
