"""A methods paragraph to paste, with its references; and what remakes the page."""

import platform
from importlib.metadata import version
from typing import Any

from bayesgmm.report.about import fingerprint
from bayesgmm.report.html import Html, bullets, code, para, table, tag
from bayesgmm.report.mcmc import MCMC
from bayesgmm.report.reading import Reading
from bayesgmm.report.section import Context, Section
from bayesgmm.report.words import count

MOST = 2000
"""Characters of an estimator's line that are shown."""


def methods(context: Context) -> Section:
    """Sentences on what was done, and only that."""
    lines = [_opening(context)]
    for reading in context.readings:
        lines += reading.methods(context.cite)
    lines += _closing(context)
    text = tag("div", para(" ".join(lines)), class_="paste")
    references = [
        tag("h3", "References", id="references"),
        bullets(context.cite.listed),
    ]
    return Section("methods", "Methods paragraph, to paste", [text, *references])


def _opening(context: Context) -> str:
    N, D = context.data.shape
    return (
        f"The data were {count(N, 'row')} of {count(D, 'variable')}, analysed with bayesgmm "
        f"{version('bayesgmm')}."
    )


def _closing(context: Context) -> list[str]:
    cite, lead = context.cite, context.lead
    R = len(lead.replicas)
    said = [f"Fit was checked on {R} data sets replicated from the model {cite('gelman1996')}."]
    if isinstance(lead, MCMC) and not isinstance(lead.sensitivity, str):
        said.append(
            f"Sensitivity to the prior was judged by power-scaling {cite('kallioinen2024')}."
        )
    if context.several:
        said.append(
            "Partitions of the methods were compared by the adjusted Rand index "
            f"{cite('hubert1985')}."
        )
    if context.selection is not None and context.selection.method == "em":
        said.append(
            "Weights exp(−BIC/2) of the models were read as approximate posterior probabilities "
            f"{cite('kass1995')}."
        )
    return said


# --- what remakes it ------------------------------------------------------------------------------


def reproduce(context: Context) -> Section:
    """Command or lines, seed, versions, and the fingerprint of the data."""
    blocks: list[Any] = []
    if context.command is not None:
        blocks += [para("This command remakes the report:"), code(context.command)]
        blocks += [para("It fitted:"), code(_estimators(context))]
    else:
        blocks += [para("These lines remake the report:"), code(_script(context))]
    blocks += [*_seeds(context), _versions(context)]
    digest = fingerprint(context.data.table.to_numpy())
    blocks.append(
        para(
            "SHA-256 of the numbers of the table, row by row as little-endian float64: ",
            tag("code", digest),
            class_="note",
        )
    )
    return Section("reproduce", "To reproduce this", blocks)


def _constructor(reading: Reading) -> str:
    line = reading.model.__repr__(N_CHAR_MAX=10 * MOST)
    return line if len(line) <= MOST else line[:MOST] + " …"


def _estimators(context: Context) -> str:
    return "\n".join(_constructor(reading) for reading in context.readings)


def _script(context: Context) -> str:
    """Python lines; `X` is the reader's."""
    readings, lead = context.readings, context.lead
    classes = [type(reading.model).__name__ for reading in readings]
    chosen = context.selection is not None
    imported = [*classes, *(["select_model"] if chosen else [])]
    lines = [
        f"from bayesgmm import {', '.join(imported)}",
        "",
        f"X = ...  # {context.data.name}: {lead.rows_words}",
    ]
    if chosen:
        lines.append(_selected(context.selection))
    for reading in readings:
        fitted = f"{_constructor(reading)}.fit(X)"
        best = reading.model is getattr(context.selection, "best_estimator_", None)
        lines.append(f"{reading.key} = {'selection.best_estimator_' if best else fitted}")
    more = [f"others=[{', '.join(r.key for r in readings[:-1])}]"] if len(readings) > 1 else []
    more += ["selection=selection"] if chosen else []
    asked = "".join(f", {option}" for option in more)
    vb = context.by_key.get("vb")
    if vb is not None and vb.evidence is not None:
        lines.append(f"vb.evidence(X, n_draws={int(vb.evidence['n_draws'])})")
    lines.append(f'{lead.key}.report(X, "report.html"{asked})')
    return "\n".join(lines)


def _selected(selection: Any) -> str:
    """The line of `select_model`, with what of it can be read from the table."""
    table, best = selection.table, selection.best_estimator_
    numbers = sorted({int(K) for K in table["n_components"]})
    families = list(dict.fromkeys(table["covariance_type"]))
    given = f"{numbers}, {families}, {selection.criterion!r}, {selection.method!r}"
    return f"selection = select_model(X, {given}, random_state={best.random_state!r})"


def _seeds(context: Context) -> list[Html]:
    seeds = {reading.title: reading.model.random_state for reading in context.readings}
    if all(seed is None for seed in seeds.values()):
        return [para("No seed was set (random_state=None): another run differs by chance.")]
    shown = "; ".join(
        f"{title} {'none' if seed is None else seed if isinstance(seed, int) else 'a generator'}"
        for title, seed in seeds.items()
    )
    return [para(f"Seed (random_state): {shown}. The report itself draws with seed 0.")]


def _versions(context: Context) -> Html:
    names = ["bayesgmm", "jax", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib"]
    if "mcmc" in context.by_key:
        names += ["arviz-stats", "arviz-base", "xarray"]
        if context.by_key["mcmc"].model.sampler_ == "nuts":
            names.append("numpyro")
    rows = [["Python", platform.python_version()], *([name, version(name)] for name in names)]
    return table(["package", "version"], rows, "Versions")
