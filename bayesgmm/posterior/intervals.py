"""Draws of numbers as a table: mean, credible interval, Monte Carlo error."""

from typing import Any

import numpy as np

from bayesgmm.arguments import check_level
from bayesgmm.messages import hint, listed
from bayesgmm.posterior import summary


def _equal_tailed(values: np.ndarray, level: float) -> tuple[float, float]:
    return tuple(np.quantile(values, [(1 - level) / 2, (1 + level) / 2]))


def _shortest(values: np.ndarray, level: float) -> tuple[float, float]:
    """The shortest interval that holds the share of the draws."""
    ordered = np.sort(values, axis=None)
    held = min(int(np.ceil(level * ordered.size)), ordered.size)
    widths = ordered[held - 1 :] - ordered[: ordered.size - held + 1]
    start = widths.argmin()
    return ordered[start], ordered[start + held - 1]


INTERVALS = {"equal-tailed": _equal_tailed, "hdi": _shortest}

LEAST = 4
"""Draws a chain that diagnostics need."""


def check_options(level: Any, interval: Any) -> None:
    """Whether there is such an interval.

    Raises
    ------
    ValueError
        If not.
    """
    if interval not in INTERVALS:
        raise ValueError(
            f"interval must be one of {listed(INTERVALS)}; got {interval!r}."
            f"{hint(INTERVALS, interval)}"
        )
    check_level(level)


def described(draws: list[np.ndarray], level: float, interval: str) -> Any:
    """A row for each of some draws [C, S].

    Parameters
    ----------
    draws : list of ndarray [C, S]
    level, interval
        Checked.

    Returns
    -------
    DataFrame
        Columns `mean`, `sd`, `lower`, `upper`, `mcse`, `ess_bulk`, `ess_tail` and `r_hat`; the last
        four NaN for fewer than four draws a chain.
    """
    import pandas as pd

    columns = ["mean", "sd", "mcse_mean", "ess_bulk", "ess_tail", "r_hat"]
    if draws and draws[0].shape[1] >= LEAST:
        numbers = summary.diagnostics(dict(enumerate(draws)))[columns]
    else:
        numbers = pd.DataFrame(np.nan, index=range(len(draws)), columns=columns)
        numbers["mean"] = [values.mean() for values in draws]
        numbers["sd"] = [values.std(ddof=1) if values.size > 1 else np.nan for values in draws]
    bounds = [INTERVALS[interval](values, level) for values in draws]
    numbers.insert(2, "lower", [low for low, _ in bounds])
    numbers.insert(3, "upper", [high for _, high in bounds])
    return numbers.rename(columns={"mcse_mean": "mcse"}).reset_index(drop=True)
