"""What was analysed: the table, and the model with its priors."""

import hashlib
from typing import Any

import numpy as np

from bayesgmm.report.html import Html, bullets, joined, para, table, tag
from bayesgmm.report.mathml import math
from bayesgmm.report.priors import wishart_words
from bayesgmm.report.reading import Reading
from bayesgmm.report.section import Context, Section
from bayesgmm.report.words import count, listed, number, probability, upper_first

SHOWN = 30
"""Columns of the table of columns, at most."""

PRIOR_TO = 8
"""Numbers of clusters for which the prior is told."""


# --- the data -------------------------------------------------------------------------------------


def data(context: Context) -> Section:
    """Rows, columns, what was done to them."""
    own = context.data
    N, D = own.shape
    blocks = [
        para(f"{upper_first(own.name)}: {count(N, 'row')} and {count(D, 'column')}, no gaps."),
        bullets([*own.notes, *_noticed(own.table), _units(context)]),
        _columns(own.table),
    ]
    if D > SHOWN:
        blocks.append(para(f"The first {SHOWN} of {D} columns are shown.", class_="note"))
    return Section("data", "Data", blocks)


def fingerprint(values: np.ndarray) -> str:
    """SHA-256 of the numbers, row by row, as little-endian float64."""
    plain = np.ascontiguousarray(values, dtype="<f8")
    return hashlib.sha256(plain.tobytes()).hexdigest()


def _noticed(points: Any) -> list[str]:
    said = []
    repeats = int(points.duplicated().sum())
    if repeats:
        said.append(f"{count(repeats, 'row')} repeat an earlier one.")
    flat = [name for name in points if np.ptp(points[name].to_numpy()) == 0]
    if flat:
        said.append(f"The same value in every row: {listed(flat)}.")
    return said


def _units(context: Context) -> str:
    scalings = {reading.family.scaling for reading in context.readings}
    how = {
        "column": "each column divided by a scale of its own",
        "common": "all columns divided by one common scale, as the covariance family asks",
    }
    if len(scalings) == 1:
        done = how[scalings.pop()]
    else:
        done = "by a scale of each column or by one common scale, as the covariance family allows"
    return (
        f"For the computation the columns were centred and {done}; everything below is in the "
        "units of the table."
    )


def _columns(points: Any) -> Html:
    head = ["column", "mean", "standard deviation", "least", "median", "largest"]
    rows = []
    for name in points.columns[:SHOWN]:
        values = points[name].to_numpy(float)
        found = (values.mean(), values.std(ddof=1), values.min(), np.median(values), values.max())
        rows.append([name, *map(number, found)])
    return table(head, rows, "Columns of the table")


# --- the model ------------------------------------------------------------------------------------


def model(context: Context) -> Section:
    """Each method's model in words and in symbols, with its priors."""
    blocks: list[Any] = [
        para(
            "Each row ",
            math("x_n"),
            " is thought to come from one of several groups, and the rows of a group to be "
            "normally distributed: a Gaussian mixture with weights ",
            math("π_k"),
            ", means ",
            math("μ_k"),
            " and covariances ",
            math("Σ_k"),
            " of the groups.",
        )
    ]
    for reading in context.readings:
        blocks += [context.heading(reading, "model"), *_of(reading)]
    blocks += _implied(context)
    return Section("model", "Model and priors", [block for block in blocks if block is not None])


def _of(reading: Reading) -> list[Html]:
    lines = tag("div", *(para(math(line)) for line in reading.formulas()), class_="formulas")
    blocks = [para(" ".join(reading.model_words())), lines]
    words = wishart_words(reading.formulas())
    blocks += [para(words, class_="note")] if words else []
    rows = [[math(symbol), value, what] for symbol, value, what in reading.prior_rows()]
    if rows:
        caption = f"{reading.title}: numbers of the prior, as used"
        blocks.append(table(["", "value", "what it is"], rows, caption))
    return blocks


def _implied(context: Context) -> list[Html]:
    """What the priors say of the number of clusters."""
    N = len(context.data.table)
    most = min(PRIOR_TO, N)
    found = [(reading, reading.prior_n_clusters(most)) for reading in context.readings]
    found = [(reading, prior) for reading, prior in found if prior is not None]
    if not found:
        return []
    rows = [[str(k + 1), *(probability(prior[k]) for _, prior in found)] for k in range(most)]
    if N > most:
        rest = [probability(max(0.0, 1 - float(prior.sum()))) for _, prior in found]
        rows.append([f"more than {most}", *rest])
    words = joined(
        [
            "Before any row is seen, these priors say of the number of clusters ",
            math("K_+"),
            f" that {count(N, 'row')} fall into:",
        ]
    )
    head = ["clusters", *(reading.title for reading, _ in found)]
    title = "Implied prior of the number of clusters"
    return [tag("h3", title, id="implied-prior"), para(words), table(head, rows, title)]
