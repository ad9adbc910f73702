"""The summary of a variational fit: a table that shows its bound and its evidence below it."""

import math
from collections.abc import Mapping
from html import escape
from typing import Any

import pandas as pd

RELIABLE = 0.7
"""Pareto k-hat up to which importance weights say something."""


class Summary(pd.DataFrame):
    """A data frame whose `attrs` belong to the fit as a whole, and are shown below it."""

    @property
    def _constructor(self) -> type["Summary"]:
        """Rounded, sorted or cut it is one still."""
        return Summary

    def __repr__(self) -> str:
        """The table, and below it what belongs to the fit as a whole."""
        rows = evidence_rows(self.attrs)
        if not rows:
            return super().__repr__()
        width = max(len(title) for title, _ in rows)
        lines = (f"{title:<{width}}  {value}" for title, value in rows)
        return "\n".join([super().__repr__(), "", *lines])

    def _repr_html_(self) -> str | None:
        table, rows = super()._repr_html_(), evidence_rows(self.attrs)
        if table is None or not rows:
            return table
        cells = "".join(
            f'<tr><th style="text-align: left">{escape(title)}</th>'
            f'<td style="text-align: left">{escape(value)}</td></tr>'
            for title, value in rows
        )
        return f'{table}<table class="dataframe"><tbody>{cells}</tbody></table>'


def evidence_rows(found: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """What is known of the evidence in words, a title and a value each; nothing without a bound."""
    if "elbo" not in found:
        return []
    rows = [("evidence lower bound", f"{found['elbo']:.3f} nats")]
    if "log_evidence" not in found:
        return [*rows, ("log evidence", "not estimated yet: ask evidence(X)")]
    value = f"{found['log_evidence']:.3f} nats, standard error {found['standard_error']:.3f}"
    rows.append(("log evidence", f"{value} ({found['n_draws']} draws)"))
    rows.append(("Pareto k-hat", trust(found["khat"])))
    if found["left_out"]:
        rows.append(("not covered", found["left_out"]))
    return rows


def trust(khat: float | None) -> str:
    """Whether Pareto k-hat lets an estimate be relied on, in words."""
    if khat is None or not math.isfinite(khat):
        return "not known: too few draws"
    return f"{khat:.2f}: {'reliable' if khat <= RELIABLE else f'above {RELIABLE}, not reliable'}"
