"""How many clusters, and how sure: the three methods side by side, and where they disagree."""

from typing import Any, NamedTuple

import numpy as np

from bayesgmm.report.figures import picture
from bayesgmm.report.html import Html, para, table, tag
from bayesgmm.report.reading import LEVEL, Reading
from bayesgmm.report.section import Context, Section
from bayesgmm.report.words import count, fixed, listed, number, probability

BEST = 6
"""Rows of the table of models."""


class Evidence(NamedTuple):
    """What stands for the evidence of a model: in a title, and in a sentence."""

    name: str
    formula: str


EVIDENCE = {
    "em": Evidence("BIC", "exp(−BIC/2)"),
    "vb": Evidence("bound", "exp(lower bound)"),
    "mcmc": Evidence("evidence", "the evidence of each model"),
}
"""By the method of the table of models."""

WEIGHT = (
    "Weight: {}, scaled so that all models together have 1: approximately the posterior "
    "probability of these numbers if all models were equally probable before."
)


def numbers(context: Context) -> Section:
    """The verdict, the table, and the figures behind it."""
    blocks = [para(verdict(context), class_="lead")]
    if context.several:
        blocks.append(para(disagreement(context)))
    side = _side_by_side(context)
    blocks += [side] if side is not None else []
    if side is not None and _weights(context) is not None:
        blocks.append(
            para(WEIGHT.format(EVIDENCE[context.selection.method].formula), class_="note")
        )
    blocks += [*_posterior(context), *_models(context), *_bound(context)]
    return Section("number", "How many clusters, and how sure", blocks)


# --- in sentences ---------------------------------------------------------------------------------


def verdict(context: Context) -> str:
    """What each method says."""
    said = [f"{reading.title} {reading.answer}" for reading in context.readings]
    return f"{'; '.join(said)}."


def answers(context: Context) -> dict[str, int]:
    """The number that each method gives, by its key; none where it was given."""
    found = {}
    for reading in context.readings:
        if reading.selection is not None:
            found[reading.key] = int(reading.selection.best_n_components_)
        elif reading.key == "vb":
            found["vb"] = int(reading.model.n_components_)
        elif reading.key == "mcmc" and reading.options.known is None:
            found["mcmc"] = reading.most_probable
    return found


def disagreement(context: Context) -> str:
    """Whether the methods agree, and what it means if they do not."""
    found, titles = answers(context), {r.key: r.title for r in context.readings}
    if len(found) < 2:
        return "Only one of the methods chooses a number, so that there is nothing to compare."
    if len(set(found.values())) == 1:
        K = next(iter(found.values()))
        which = "All three methods" if len(found) == 3 else "Both methods"
        return f"{which} agree on {count(K, 'cluster')}."
    groups: dict[int, list[str]] = {}
    for key, K in found.items():
        groups.setdefault(K, []).append(titles[key])
    parts = [f"{count(K, 'cluster')} by {listed(names)}" for K, names in sorted(groups.items())]
    said = [f"The methods disagree: {listed(parts)}."]
    if "mcmc" in found and context.by_key["mcmc"].selection is None:
        said += [
            f"{context.by_key['mcmc'].chance_of(K)}, the number of {listed(names)}."
            for K, names in sorted(groups.items())
            if K != found["mcmc"]
        ]
    if "em" in found:
        said.append(
            "EM counts components: two that overlap may describe one group that is not normal, and "
            "BIC rewards the density, not the clustering."
        )
    if "vb" in found:
        fewer = ", and tends to keep fewer components where they overlap"
        said.append(
            "Variational Bayes gives one number without its uncertainty"
            f"{fewer if found['vb'] == min(found.values()) else ''}."
        )
    return " ".join(said)


# --- in a table -----------------------------------------------------------------------------------


def _side_by_side(context: Context) -> Html | None:
    """Numbers of clusters, a row each; what each method says of it."""
    columns: list[tuple[str, dict[int, str]]] = []
    weights = _weights(context, "n_components")
    if weights is not None:
        title = f"{_chosen(context).title}: {EVIDENCE[context.selection.method].name} weight"
        columns.append((title, {int(k): probability(p) for k, p in weights.items()}))
    if "vb" in context.by_key and context.by_key["vb"].selection is None:
        K = int(context.by_key["vb"].model.n_components_)
        columns.append(("Variational Bayes", {K: "kept"}))
    if "mcmc" in context.by_key:
        own = context.by_key["mcmc"].numbers
        kept = likely(own)
        columns += [
            ("MCMC: p(K+)", {k: probability(own.loc[k, "probability"]) for k in kept}),
            ("Monte Carlo error", {k: fixed(own.loc[k, "mcse"]) for k in kept}),
            ("prior", {k: probability(own.loc[k, "prior"]) for k in kept}),
        ]
    if not columns or (len(columns) == 1 and not context.selection):
        return None
    rows = sorted(set().union(*(values for _, values in columns)))
    cells = [[str(k), *(values.get(k, "") for _, values in columns)] for k in rows]
    head = ["clusters", *(name for name, _ in columns)]
    return table(head, cells, "The number of clusters, method by method")


def _chosen(context: Context) -> Reading:
    """The reading that the table of models is of."""
    return context.by_key[context.selection.method]


def _weights(context: Context, by: str | None = None) -> Any:
    """Probabilities of the models, or of numbers of components; None where there are none."""
    if context.selection is None:
        return None
    try:
        found = context.selection.probabilities(by)
    except ValueError:  # the criterion is no evidence
        return None
    return found.clip(lower=np.finfo(float).tiny)  # too small for a number is not zero


def _posterior(context: Context) -> list[Html]:
    """The figure of p(K+)."""
    reading = context.by_key.get("mcmc")
    if reading is None or len(reading.numbers) < 2:
        return []
    from bayesgmm.plots import plot_n_clusters

    own = reading.numbers
    K = reading.most_probable
    kept = own.loc[min(likely(own)) : max(likely(own))]
    alt = (
        f"Bars of the posterior probability of each number of clusters: the highest is "
        f"{probability(own.loc[K, 'probability'])} at {K}; the prior stands beside."
    )
    words = (
        "MCMC: posterior of the number of clusters that hold rows, with two Monte Carlo standard "
        f"errors to each side, and its prior. At least 95 % of it is on {likely_words(own)}."
    )
    draw = lambda figure: plot_n_clusters(kept, ax=figure.subplots())  # noqa: E731
    return [picture(draw, alt, words, size=(5.6, 3.0))]


def _models(context: Context) -> list[Html]:
    """The best rows of the table of models, and its figure."""
    if context.selection is None:
        return _criteria(context)
    from bayesgmm.plots import plot_selection

    found, reading = context.selection, _chosen(context)
    row, name = reading.criterion, reading.criterion.label
    shown = found._ranked().head(BEST)
    chances = _weights(context)
    also = [column for column in ALSO if column in shown]
    least = shown[found.criterion].iloc[0]
    rows = []
    for _, cell in shown.iterrows():
        key = cell["covariance_type"], cell["n_components"]
        values = [fixed(cell[column]) if column in FIXED else str(cell[column]) for column in also]
        values += [fixed(cell[found.criterion]), fixed(cell[found.criterion] - least)]
        values += [] if chances is None else [probability(chances[key])]
        rows.append([key[0], str(key[1]), *values])
    head = ["family", "components", *(ALSO[column] for column in also), name, "less the best"]
    head += [] if chances is None else ["weight"]
    caption = f"{reading.title}: the {len(rows)} best of {count(len(found.table), 'model')}"
    best = found.best_estimator_
    alt = (
        f"{name} over the number of components, a line for each covariance family; the best is at "
        f"{best.n_components} components of family {best.covariance_type}."
    )
    order = "less" if row.sign > 0 else "more"
    words = f"{reading.title}: {name} of every model that is not singular; {order} is better."
    draw = lambda f: plot_selection(found.table, found.criterion, ax=f.subplots())  # noqa: E731
    several = found.table["n_components"].nunique() > 1
    return [
        tag("h3", f"{reading.title}: the table of models", id="models"),
        table(head, rows, f"{caption} by {name}"),
        *([picture(draw, alt, words)] if several else []),
    ]


ALSO = {"log_likelihood": "log likelihood", "n_parameters": "parameters"}
FIXED = {"log_likelihood"}
"""Columns of the table of models that are shown with the criterion; those of them with decimals."""


def _criteria(context: Context) -> list[Html]:
    """BIC, AIC and ICL of a fit whose number of components was given."""
    reading = context.by_key.get("em")
    if reading is None or reading.selection is not None:
        return []
    model, X = reading.model, reading.given
    values = [("log likelihood", reading.total), ("BIC", model.bic(X))]
    values += [("AIC", model.aic(X)), ("ICL", model.icl(X))]
    rows = [[name, fixed(value)] for name, value in values]
    words = (
        "Nothing here says how well other numbers would do: bayesgmm.select_model compares them, "
        "and its result may be given to the report as selection."
    )
    return [table(["criterion", "value"], rows, "EM: the fit in numbers"), para(words)]


def _bound(context: Context) -> list[Html]:
    """The bound, and what is known of the evidence."""
    reading = context.by_key.get("vb")
    if reading is None:
        return []
    rows = [["evidence lower bound", fixed(reading.model.elbo_)]]
    words = (
        "The bound is at most the log evidence of the model. It says how good this number of "
        "components is, and gives other numbers no probability: MCMCGaussianMixture does."
    )
    found = reading.evidence
    if found is not None:
        rows += [
            ["log evidence", fixed(found["log_evidence"])],
            ["its standard error", fixed(found["standard_error"])],
            ["Pareto k-hat", _khat(found["khat"])],
        ]
        if found["left_out"]:
            words += f" Not covered by the estimate: {found['left_out']}."
    return [table(["", "nats"], rows, "Variational Bayes: the bound"), para(words, class_="note")]


def _khat(value: Any) -> str:
    return number(value) if np.isfinite(value) else "not known"


def likely(numbers: Any, least: float = 0.001) -> list[int]:
    """Numbers of clusters of at least this probability."""
    return [int(k) for k in numbers.index[numbers["probability"] >= least]]


def likely_words(numbers: Any) -> str:
    """Those that hold 95 % of the posterior together, as a sentence has them."""
    ordered = numbers["probability"].sort_values(ascending=False, kind="stable")
    held = ordered.cumsum()
    some = sorted(int(k) for k in ordered.index[: int(np.searchsorted(held, LEVEL)) + 1])
    return listed(some)
