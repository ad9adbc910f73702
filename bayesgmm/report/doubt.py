"""Who is uncertain, and between what."""

from typing import Any

import numpy as np

from bayesgmm.report.figures import picture
from bayesgmm.report.html import Html, joined, para, stacked, table, tag
from bayesgmm.report.mcmc import MCMC
from bayesgmm.report.reading import DOUBTFUL, Reading
from bayesgmm.report.section import Context, Section, cluster_name
from bayesgmm.report.words import count, number, percent, probability

LISTED = 12
"""Rows that are listed, at most."""

VALUES = 4
"""Columns whose values are listed with them, at most."""

CERTAIN = 0.999
"""Rows of a larger probability are not listed."""


NOBODY = (
    "None of them: in so many draws the row is in a cluster that is none of the partition’s, such "
    "as one more between two of these."
)


def doubt(context: Context) -> Section:
    """Each method's count of doubtful rows; those of the leading one, row by row."""
    lead = context.lead
    blocks: list[Any] = [para(doubt_words(lead), class_="lead")]
    if context.several:
        blocks.append(_counts(context))
    if lead.n_clusters > 1 or (lead.doubt["probability"] < CERTAIN).any():
        blocks += [_rows(lead), *_pairs(lead), *_pictures(lead)]
    return Section("doubt", "Who is uncertain, and between what", blocks)


def doubt_words(reading: Reading) -> str:
    """How many rows are in doubt."""
    n, N = int(reading.doubtful.sum()), len(reading.data.table)
    if reading.n_clusters == 1 and not n:
        return "There is one cluster, and no row is in doubt."
    if not n:
        return f"Every row is in its cluster with a probability of {1 - DOUBTFUL:g} or more."
    some = f"{count(n, 'row')} of {N:,} ({percent(n / N)})"
    have = "has" if n == 1 else "have"
    return (
        f"{some} {have} a probability below {1 - DOUBTFUL:g} to be in the cluster where the "
        "partition puts them."
    )


def _counts(context: Context) -> Html:
    rows = []
    for reading in context.readings:
        own = reading.doubt["probability"].to_numpy()
        n = int(reading.doubtful.sum())
        rows.append([reading.title, f"{n:,}", probability(1 - own.mean())])
    head = ["method", f"rows below {1 - DOUBTFUL:g}", "mean of 1 − probability"]
    return table(head, rows, "How many rows are in doubt, method by method")


def _rows(reading: Reading) -> Html:
    """The least certain of them."""
    found = reading.doubt
    order = np.argsort(found["probability"].to_numpy(), kind="stable")
    order = [i for i in order[:LISTED] if found["probability"].iloc[i] < CERTAIN]
    shown = reading.data.names[:VALUES]
    rows = []
    for i in order:
        row, values = found.iloc[i], reading.data.table.iloc[i]
        nobody = row["other"] is None or row["other_probability"] == 0
        other = "–" if nobody else _with(row["other"], row["other_probability"])
        own = _with(row["label"], row["probability"])
        rows.append([str(found.index[i]), own, other, *(number(values[name]) for name in shown)])
    if not rows:
        return para("No row has a probability below 0.999.")
    head = ["row", "its cluster", "or else", *shown]
    box = table(head, rows, f"{reading.title}: the least certain rows, with their probabilities")
    if not (found["other"].iloc[order] == "none").any():
        return box
    return joined([box, para(NOBODY, class_="note")])


def _with(k: Any, p: float) -> Html:
    name = "none of them" if k == "none" else cluster_name(k)
    return stacked(name, probability(p))


def _pairs(reading: Reading) -> list[Html]:
    """Between which clusters the doubtful rows are."""
    found = reading.doubt[reading.doubtful]
    if not len(found):
        return []
    between: dict[tuple, int] = {}
    for one, other in zip(found["label"], found["other"], strict=True):
        if other is None:
            continue
        pair = (int(one), "none") if other == "none" else tuple(sorted((int(one), int(other))))
        between[pair] = between.get(pair, 0) + 1
    ordered = sorted(between.items(), key=lambda item: (-item[1], str(item[0])))[:LISTED]
    rows = [[_pair(pair), f"{n:,}"] for pair, n in ordered]
    title = f"{reading.title}: between which clusters the rows in doubt are"
    return [table(["clusters", "rows"], rows, title)] if rows else []


def _pair(pair: tuple) -> Html:
    one, other = pair
    name = "none of them" if other == "none" else cluster_name(other)
    return tag("span", cluster_name(one), " and ", name)


def _pictures(reading: Reading) -> list[Html]:
    """Where they lie."""
    from bayesgmm import plots

    if reading.n_clusters == 1:
        return []
    N, D = reading.data.shape
    over = "" if D < 3 else f", over {reading.data.names[0]} and {reading.data.names[1]}"
    size = (5.6, 3.6 if D == 1 else 4.6)
    if isinstance(reading, MCMC):
        found, X = reading.assignments, reading.data.table
        draw = lambda f: plots.plot_assignments(found, X, ax=f.subplots())  # noqa: E731
        words = f"MCMC: one minus the probability of its cluster, for each row{over}."
    else:
        model, X = reading.model, reading.given
        draw = lambda f: plots.plot_uncertainty(model, X, ax=f.subplots())  # noqa: E731
        words = f"{reading.title}: one minus the largest probability{over}; the highest are ringed."
    alt = (
        f"Rows that grow and darken with their uncertainty{over}; "
        f"{count(int(reading.doubtful.sum()), 'row')} above {DOUBTFUL:g}."
    )
    return [picture(draw, alt, words, size=size, n_points=N)]
