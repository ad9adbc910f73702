"""Diagnostics in plain language: what was looked at, passed, is to do; the part of the prior."""

from typing import Any

from bayesgmm.report.figures import picture
from bayesgmm.report.html import Html, bullets, para, table, tag
from bayesgmm.report.mcmc import MCMC
from bayesgmm.report.reading import Check, Reading
from bayesgmm.report.section import Context, Section
from bayesgmm.report.words import count, fixed, listed, number, quantity, upper_first

SENSITIVE = 0.05
"""Power-scaling sensitivity above which a quantity depends on a part of the model."""

PASSED, FAILED, KNOWN = ("✓ passed", "yes"), ("✗ look here", "no"), ("– to know", "known")
"""What stands in the column of verdicts, and its class."""


# --- diagnostics ----------------------------------------------------------------------------------


def checks(context: Context) -> Section:
    """What was checked of each fit."""
    blocks: list[Any] = [para(checks_words(context), class_="lead"), *_advice(context)]
    for reading in context.readings:
        blocks += [context.heading(reading, "checks"), _table(reading)]
        if isinstance(reading, MCMC):
            blocks += [_diagnosis(reading), _trace(reading)]
        else:
            blocks += _objective(reading)
    blocks = [block for block in blocks if block is not None]
    return Section("checks", "Diagnostics", blocks)


def failed(context: Context) -> list[tuple[Reading, Check]]:
    """Checks that did not pass."""
    pairs = [(reading, check) for reading in context.readings for check in reading.checks]
    return [(reading, check) for reading, check in pairs if check.passed is False]


def checks_words(context: Context) -> str:
    """How many passed."""
    judged = [c for reading in context.readings for c in reading.checks if c.passed is not None]
    wrong = failed(context)
    if not wrong:
        return f"All {count(len(judged), 'check')} passed." if judged else "Nothing was to check."
    titles = dict.fromkeys(reading.title for reading, _ in wrong)
    whose = f" ({listed(list(titles))})" if context.several else ""
    return f"{len(wrong)} of {count(len(judged), 'check')} did not pass{whose}: those marked ✗."


def _advice(context: Context) -> list[Html]:
    wrong = failed(context)
    if not wrong:
        return []
    lines = [
        f"{reading.title}: {check.what}? {upper_first(check.found)}. What to do: {check.advice}."
        for reading, check in wrong
    ]
    return [bullets(lines)]


def _table(reading: Reading) -> Html:
    rows = []
    for check in reading.checks:
        words, kind = {True: PASSED, False: FAILED, None: KNOWN}[check.passed]
        verdict = tag("span", words, class_=kind)
        todo = check.advice if check.passed is not True else ""
        rows.append([upper_first(check.what), verdict, upper_first(check.found), upper_first(todo)])
    head = ["check", "verdict", "found", "what to do"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table(head, rows, f"{reading.title}: what was checked", wordy=True)


def _diagnosis(reading: MCMC) -> Html:
    rows = [
        [
            quantity(name),
            number(row["mean"], 4),
            number(row["mcse_mean"], 2),
            f"{row['ess_bulk']:,.0f}" if row["ess_bulk"] == row["ess_bulk"] else "–",
            f"{row['ess_tail']:,.0f}" if row["ess_tail"] == row["ess_tail"] else "–",
            fixed(row["r_hat"]),
            row["verdict"],
        ]
        for name, row in reading.diagnosis.iterrows()
    ]
    head = ["quantity", "mean", "Monte Carlo error", "bulk ESS", "tail ESS", "R-hat", "verdict"]
    return table(head, rows, "MCMC: quantities that do not depend on labels")


def _trace(reading: MCMC) -> Html:
    from bayesgmm.plots import plot_trace

    draw = lambda f: plot_trace(reading.model, ax=f.subplots())  # noqa: E731
    C = reading.model.n_chains
    alt = f"Log likelihood at every draw of {count(C, 'chain')}."
    words = "MCMC: log likelihood at every draw; chains that agree cover the same range."
    n = reading.model.n_draws_
    return picture(draw, alt, words, size=(6.4, 2.8), n_points=n)


def _objective(reading: Reading) -> list[Html]:
    from bayesgmm.plots import plot_objective

    runs = getattr(reading.model, "restart_lower_bounds_", None)
    if not runs or not any(len(run) > 1 for run in runs):
        return []
    what = "evidence lower bound" if reading.key == "vb" else "mean log density"
    draw = lambda f: plot_objective(reading.model, ax=f.subplots())  # noqa: E731
    alt = f"The {what} over the iterations of {count(len(runs), 'start')}, rising to a plateau."
    words = f"{reading.title}: {what} over the iterations."
    if getattr(reading.model, "moves", False):
        words += " A leap late in it is a component split, merged or removed."
    return [picture(draw, alt, words, size=(5.6, 2.8))]


# --- sensitivity ----------------------------------------------------------------------------------


def sensitivity(context: Context) -> Section:
    """How far the posterior depends on each part of the prior."""
    blocks = [block for reading in context.readings for block in _sensitivity(reading)]
    return Section("sensitivity", "Sensitivity to the prior", blocks)


def _sensitivity(reading: Reading) -> list[Html]:
    if not isinstance(reading, MCMC):
        return [para(WHY_NOT[reading.key if reading.prior_rows() else "none"])]
    found = reading.sensitivity
    if isinstance(found, str):
        return [para(found)]
    rows = []
    for name, row in found.iterrows():
        parts = [part for part in ("weights", "components") if row[part] > SENSITIVE]
        said = (
            f"depends on the prior of {listed(parts)}" if parts else "hardly depends on the prior"
        )
        rows.append([quantity(name), *(fixed(v) for v in row), said])
    head = ["quantity", "prior of weights", "prior of components", "likelihood", "verdict"]
    moved = [row[0] for row in rows if row[-1].startswith("depends")]
    if moved:
        words = (
            f"MCMC: {listed(moved)} {'depends' if len(moved) == 1 else 'depend'} on the prior by "
            f"more than {SENSITIVE:g}: fit again with another prior that is as plausible before "
            "much is made of them."
        )
    else:
        words = f"MCMC: no quantity depends on the prior by more than {SENSITIVE:g}."
    note = (
        "How much the distribution of a quantity changes as the prior, or the likelihood, is "
        "raised to a power near one. A quantity that depends on both prior and likelihood is where "
        "they disagree."
    )
    caption = "MCMC: power-scaling sensitivity"
    return [para(words), table(head, rows, caption), para(note, class_="note")]


WHY_NOT = {
    "none": "EM: there is no prior whose part could be looked at.",
    "em": (
        "EM: not looked at. The fit is the mode under one prior; fit again with another to compare."
    ),
    "vb": (
        "Variational Bayes: not looked at. It would take a fit for each other prior; what the "
        "prior says of the number of clusters stands under Model and priors."
    ),
}
