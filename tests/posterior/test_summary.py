"""Convergence as it is judged, and numbers with their Monte Carlo errors."""

import numpy as np
import pytest

from bayesgmm.posterior import summary


def chains(seed=0, C=4, S=1000):
    return np.random.default_rng(seed).normal(size=(C, S))


def verdicts(**quantities):
    return summary.diagnostics({"log_likelihood": chains(), **quantities})["verdict"]


def test_verdicts():
    sticky = np.repeat(chains(1, S=50), 20, axis=1)
    apart = chains(2) + np.array([0, 0, 0, 0.5])[:, None]
    stuck = np.tile(np.array([2.0, 2.0, 3.0, 2.0])[:, None], 1000)
    found = verdicts(
        good=chains(3), sticky=sticky, apart=apart, still=np.full((4, 1000), 2.0), stuck=stuck
    )
    assert found["good"] == summary.CONVERGED
    assert found["sticky"] in (summary.FEW, summary.APART)
    assert found["apart"] == found["stuck"] == summary.APART
    assert found["still"] == summary.CONSTANT


def test_diagnostics_are_arvizs():
    from arviz_stats.base import array_stats

    values = chains(4)
    row = summary.diagnostics({"x": values}).loc["x"]
    assert row["mean"] == values.mean()
    np.testing.assert_allclose(row["r_hat"], array_stats.rhat(values))
    np.testing.assert_allclose(row["ess_bulk"], array_stats.ess(values, method="bulk"))
    np.testing.assert_allclose(row["mcse_mean"], array_stats.mcse(values, method="mean"))


def test_a_constant_is_no_convergence():
    """R-hat of a log likelihood that never moves is not a number: nothing has been shown."""
    still = summary.diagnostics({"log_likelihood": np.ones((4, 100))})
    assert not summary.has_converged(still)
    fine = summary.diagnostics({"log_likelihood": chains(), "n_clusters": np.full((4, 1000), 2)})
    assert summary.has_converged(fine)


def test_advice_names_the_worst_and_the_way_out():
    log_likelihood = chains()
    assert (
        summary.advice(summary.diagnostics({"log_likelihood": log_likelihood}), log_likelihood)
        == []
    )
    lost = log_likelihood.copy()
    lost[2] -= 30
    said = summary.advice(summary.diagnostics({"log_likelihood": lost}), lost)
    assert any("R-hat" in line and "n_warmup" in line for line in said)
    assert any(line.startswith("chain 2 stays in another mode, ") for line in said)
    lost[3] -= 40
    said = summary.advice(summary.diagnostics({"log_likelihood": lost}), lost)
    assert any(line.startswith("chains 2, 3 stay in another mode, 3") for line in said)
    short = summary.diagnostics({"log_likelihood": chains(S=40)})
    assert any("warm_start=True" in line for line in summary.advice(short, chains(S=40)))


def test_number_table():
    numbers = np.random.default_rng(0).choice([2, 4], p=[0.75, 0.25], size=(4, 1000))
    table = summary.number_table(numbers, np.array([0.5, 0.3, 0.2]), "n_clusters")
    assert table.index.tolist() == [2, 3, 4] and table.index.name == "n_clusters"
    assert table["probability"].sum() == pytest.approx(1.0)
    assert table["prior"].tolist()[:2] == [0.3, 0.2] and np.isnan(table.loc[4, "prior"])
    np.testing.assert_allclose(table.loc[2, "mcse"], np.sqrt(0.75 * 0.25 / 4000), rtol=0.15)
    assert table.loc[3, "mcse"] == 0  # never seen
