"""The page: its sections in order, its summary, its contents, and the file."""

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from bayesgmm.drawing import names_of
from bayesgmm.messages import listed
from bayesgmm.report import about, checks, clusters, doubt, methods, numbers, predictive
from bayesgmm.report.em import EM
from bayesgmm.report.html import Html, bullets, joined, para, tag
from bayesgmm.report.mcmc import MCMC
from bayesgmm.report.reading import Data, Reading
from bayesgmm.report.section import Context, Section
from bayesgmm.report.vb import VB
from bayesgmm.report.words import upper_first

READINGS: dict[str, type[Reading]] = {
    "GaussianMixture": EM,
    "BayesianGaussianMixture": VB,
    "MCMCGaussianMixture": MCMC,
}
"""What reads each estimator, in the order of the page."""

SECTIONS: tuple[Callable[[Context], Section], ...] = (
    about.data,
    about.model,
    numbers.numbers,
    clusters.clusters,
    doubt.doubt,
    checks.checks,
    predictive.predictive,
    checks.sensitivity,
    methods.methods,
    methods.reproduce,
)
"""The sections, in order."""


@dataclass(frozen=True)
class Report:
    """A page that stands by itself.

    Attributes
    ----------
    html : str
        All of it: style and figures are inside.
    title : str
    """

    html: str
    title: str

    def save(self, path: Any) -> None:
        """Write the page to a file, in UTF-8.

        Parameters
        ----------
        path : str or path
        """
        Path(path).write_text(self.html, encoding="utf-8")

    def __repr__(self) -> str:
        """What it is and how large."""
        return (
            f"<Report {self.title!r}: {len(self.html) / 1e6:.1f} MB of HTML; save(path) writes it>"
        )

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that its style is not that of the notebook."""
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="{escape(self.title)}" '
            'style="width: 100%; height: 40rem; border: 1px solid #d5d5d5"></iframe>'
        )


def write_report(
    X: Any,
    models: Any,
    path: Any = None,
    *,
    selection: Any = None,
    title: str | None = None,
    name: str | None = None,
    notes: Iterable[str] = (),
    command: str | None = None,
    progress: Callable[[str], Any] | None = None,
) -> Report:
    """A page about fitted mixtures of one table, that needs no network and runs no script.

    It has the data and the models in words and symbols with their priors; how many clusters there
    are and how sure that is; the clusters with intervals; who is uncertain; what was checked;
    predictive checks; the prior's part; a methods paragraph with its references; and what remakes
    it. Of each method what it has; of several, where they disagree.

    Parameters
    ----------
    X : array-like or DataFrame [N, D]
        The points that were fitted; the index of a DataFrame names the rows.
    models : fitted estimator, or list of them
        At most one of each class.
    path : str or path, optional
        Where to write the page, too.
    selection : ModelSelection, optional
        What `select_model` found for these points: its table is shown, and its best estimator
        joins `models` if they have none of its class.
    title : str, optional
    name : str, optional
        What the data are called.
    notes : list of str
        What was done to the table before.
    command : str, optional
        The command that remakes the page; Python lines when not given.
    progress : callable, optional
        Called with a few words before each slow step.

    Returns
    -------
    Report

    Raises
    ------
    NotFittedError, TypeError, ValueError
        If a model is none of ours or not fitted, two are of one class, or `X` is not what was
        fitted.
    FileNotFoundError
        If there is no folder for `path`; nothing is computed then.
    """
    tell = progress or _silent
    target = _checked_path(path)
    readings = _readings(X, models, selection, name, notes, tell)
    data = readings[0].data
    title = title or f"Clusters of {data.name}"
    context = Context(data, readings, selection, command, tell)
    sections = []
    for make in SECTIONS:
        tell(f"report: {make.__name__}")
        sections.append(make(context))
    report = Report(_page(title, context, sections), title)
    if target is not None:
        report.save(target)
    return report


def _silent(words: str) -> None:
    pass


# --- the way in -----------------------------------------------------------------------------------


def _checked_path(path: Any) -> Path | None:
    """A path in a folder that is there."""
    if path is None:
        return None
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"path: there is no folder {str(target.parent)!r} to write to.")
    if target.is_dir():
        raise IsADirectoryError(f"path must name a file, got the folder {str(target)!r}.")
    return target


def _readings(
    X: Any, models: Any, selection: Any, name: Any, notes: Iterable[str], tell: Callable
) -> list[Reading]:
    given = list(models) if isinstance(models, list | tuple) else [models]
    kinds = [_kind(model) for model in given]
    if selection is not None:
        best = getattr(selection, "best_estimator_", None)
        if best is None:
            raise TypeError(
                f"selection must be what select_model returns, got {type(selection).__name__}."
            )
        if _kind(best) not in kinds:
            given, kinds = [best, *given], [_kind(best), *kinds]
    if not given:
        raise ValueError("models must hold at least one fitted estimator, got none.")
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"models must be of different classes, got {', '.join(kinds)}.")
    data = _data(X, name, notes)
    by_kind = dict(zip(kinds, given, strict=True))
    found = []
    for kind, reads in READINGS.items():
        if kind in by_kind:
            model = by_kind[kind]
            if model.n_features_in_ != data.shape[1]:
                raise ValueError(
                    f"X must have the {model.n_features_in_} features that {kind} was fitted to, "
                    f"got {data.shape[1]}."
                )
            own = selection if getattr(selection, "method", None) == reads.key else None
            found.append(reads(model, data, own, tell))
            _check_points(found[-1], kind)
    return found


def _kind(model: Any) -> str:
    """The class, ours or a child of ours."""
    for ancestor in type(model).__mro__:
        if ancestor.__name__ in READINGS and ancestor.__module__.startswith("bayesgmm."):
            check_is_fitted(model)
            return ancestor.__name__
    raise TypeError(
        f"models must be fitted estimators of bayesgmm ({listed(READINGS)}), got "
        f"{type(model).__module__}.{type(model).__qualname__}."
    )


def _data(X: Any, name: Any, notes: Iterable[str]) -> Data:
    import pandas as pd

    frame = X if isinstance(X, pd.DataFrame) else None
    try:
        values = np.asarray(X)
        if values.dtype.kind not in "fiub":
            values = values.astype(float)
    except (TypeError, ValueError) as error:
        raise TypeError(
            "X must be the points that were fitted, numbers [N, D] in memory; got "
            f"{type(X).__name__} ({error}). Of points in pieces give a sample: "
            "bayesgmm.Chunks(X).sample(20_000)."
        ) from error
    if values.ndim != 2 or not values.size:
        raise ValueError(
            f"X must be the points that were fitted, [N, D]; got shape {values.shape}."
        )
    columns = names_of(X, values.shape[1])
    if len(set(columns)) < len(columns):
        columns = [f"{name} ({j})" for j, name in enumerate(columns)]
    table = pd.DataFrame(values, columns=columns, index=None if frame is None else frame.index)
    if not np.isfinite(table.to_numpy(float)).all():
        raise ValueError("X must be finite, as the points that were fitted are.")
    return Data(table, "the data" if name is None else str(name), tuple(map(str, notes)))


def _check_points(reading: Reading, kind: str) -> None:
    """These are the points of the fit, as far as that can be seen."""
    model, N = reading.model, len(reading.data.table)
    labels = getattr(model, "labels_", None)
    if labels is None:  # read in pieces, or made from parameters
        return
    if len(labels) != N or not np.array_equal(model.predict(reading.given), labels):
        raise ValueError(
            f"X must be the points that {kind} was fitted to: it has {len(labels):,} rows, X has "
            f"{N:,}, and their labels must be labels_."
        )
    if not np.isclose(reading.n_fitted, N, rtol=1e-3):
        raise ValueError(
            f"X must be the points that {kind} was fitted to, each of weight 1: the fit does not "
            f"count {N:,} rows. Fits with sample_weight have no report: repeat the rows, where "
            "weights are whole numbers, and fit those."
        )


# --- the page -------------------------------------------------------------------------------------


def _page(title: str, context: Context, sections: list[Section]) -> str:
    style = files("bayesgmm.report").joinpath("style.css").read_text(encoding="utf-8")
    today = datetime.date.today()
    what = " · ".join(reading.title for reading in context.readings)
    made = f"{what} · bayesgmm {version('bayesgmm')} · {today.day} {today:%B %Y}"
    body = [
        tag("header", tag("h1", title), para(made, class_="byline")),
        tag("main", _summary(context), _contents(sections), *map(_section, sections)),
        tag("footer", para("Made by bayesgmm. This page is one file: it loads nothing.")),
    ]
    head = joined(
        [
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="generator", content=f"bayesgmm {version('bayesgmm')}"),
            tag("title", title),
            tag("style", Html(style)),
        ]
    )
    page = tag("html", tag("head", head), tag("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _summary(context: Context) -> Html:
    lead = context.lead
    whose, of = (f"{lead.title}: ", f" of {lead.title}") if context.several else ("", "")
    lines = [
        numbers.disagreement(context) if context.several else upper_first(numbers.verdict(context)),
        f"{whose}{clusters.sizes_words(lead)}",
        f"{whose}{doubt.doubt_words(lead)}",
        f"Diagnostics: {checks.checks_words(context)}",
        f"Predictive checks{of}: {predictive.predictive_words(predictive.compared(lead))}",
    ]
    if context.several:
        lines.insert(0, numbers.verdict(context))
    title = tag("h2", "In short", id="short", style="border:0;margin:.6rem 0 0;padding:0")
    return tag("section", title, bullets(lines), class_="summary", aria_labelledby="short")


def _contents(sections: list[Section]) -> Html:
    links = [tag("li", tag("a", section.title, href=f"#{section.id}")) for section in sections]
    return tag("nav", tag("strong", "Contents"), tag("ol", *links), aria_label="Contents")


def _section(section: Section) -> Html:
    link = tag("a", section.title, href=f"#{section.id}")
    blocks = [tag("h2", link, id=section.id), *section.blocks]
    return tag("section", *blocks, aria_labelledby=section.id)
