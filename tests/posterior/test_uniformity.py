"""The test of uniformity: its level, its power, and ArviZ's band."""

import numpy as np
import pytest
from arviz_stats.ecdf_utils import ecdf_pit
from scipy import stats

from bayesgmm.posterior.uniformity import SIMULATIONS, band, holm, p_value
from tests.conftest import assert_close

R = 100


def test_p_values_of_uniform_numbers_are_uniform():
    rng = np.random.default_rng(0)
    found = np.array([p_value(rng.uniform(size=R)) for _ in range(400)])
    for level in (0.05, 0.25, 0.5):
        error = np.sqrt(level * (1 - level) / len(found))
        assert abs((found <= level).mean() - level) < 4 * error


@pytest.mark.parametrize("law", [stats.beta(1.6, 1.6), stats.beta(0.6, 0.6), stats.beta(1.7, 1.0)])
def test_what_is_not_uniform_is_found(law):
    """Posteriors that are too wide, too narrow, and to one side."""
    values = law.rvs(300, random_state=0)
    assert p_value(values) < 0.01
    assert not band(values).inside


def test_the_band_holds_what_it_says_and_agrees_with_the_p_value():
    rng = np.random.default_rng(1)
    sets = rng.uniform(size=(60, R))
    inside = np.array([band(values).inside for values in sets])
    points, ecdf, lower, upper = ecdf_pit(sets[0], ci_prob=0.95, n_simulations=SIMULATIONS)
    ours = band(sets[0])
    assert_close(ours.points, points)
    assert_close(tuple(ours[1:]), (ecdf - points, lower - points, upper - points))
    assert 0.85 <= inside.mean()  # 0.95: below that with probability 0.002
    p = np.array([p_value(values) for values in sets])
    assert inside[p > 0.08].all() and not inside[p < 0.03].any()


def test_holm_is_monotone_and_keeps_the_order_of_p_values():
    p = np.array([0.04, 0.001, 0.03, 0.9])
    found = holm(p)
    assert (np.diff(found[np.argsort(p)]) >= 0).all()
    assert found[1] == 4 * p[1] and found[3] == 0.9
    theirs = stats.false_discovery_control(p)  # another correction, never a stricter one
    assert (found >= theirs - 1e-12).all()
