"""The files of a command: parameters, assignments and tables, and figures."""

import json
import math
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bayesgmm.fitting import METHODS, Fitted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = [
    "PAIRED",
    "finite_rows",
    "results",
    "write_artifacts",
    "write_calibration",
    "write_selection",
]

PAIRED = 6
"""The most features of which pairs.png shows every pair."""


def write_artifacts(fitted: Fitted, folder: Path, figures: bool, note: Callable) -> list[str]:
    """The names of the files written to the folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / _PARAMETERS).exists():  # figures of an earlier run must not pass for this one's
        for picture in _PICTURES:
            (folder / picture.file).unlink(missing_ok=True)
    text = json.dumps(_parameters(fitted), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / _PARAMETERS).write_text(text + "\n", encoding="utf-8")
    names = fitted.assignments.index.name or "row"
    fitted.assignments.to_csv(folder / _ASSIGNMENTS, index_label=names)
    return [_PARAMETERS, _ASSIGNMENTS, *(_draw(fitted, folder, note) if figures else ())]


_PARAMETERS, _ASSIGNMENTS = "parameters.json", "assignments.csv"


def _parameters(fitted: Fitted) -> dict[str, Any]:
    """What parameters.json holds; floats are written so that they are read back exactly."""
    model = fitted.model
    settings = model.get_params()
    method = METHODS[fitted.method]
    return {
        "version": version("bayesgmm"),
        "estimator": type(model).__name__,
        "data": fitted.name,
        "n_samples": len(fitted.X),
        "feature_names": list(fitted.X.columns),
        "standardized": None if fitted.scaling is None else fitted.scaling._asdict(),
        "n_components": model.n_components_,
        "covariance_type": model.covariance_type,
        "weights": model.weights_.tolist(),
        "means": model.means_.tolist(),
        "covariances": model.covariances_.tolist(),
        **fitted.measures,
        **{name: finite_rows(table.reset_index()) for name, (_, table) in fitted.tables.items()},
        "converged": model.converged_,
        "n_iter": model.n_iter_,
        "seed": model.random_state,
        "settings": {name: settings[name] for name in method.settings},
        **method.prior(model),
        "tried": [trial._asdict() for trial in fitted.trials],
    }


def results(fitted: Fitted) -> dict[str, Any]:
    """What --json prints: what parameters.json holds, and the assignment of every row."""
    found = fitted.assignments
    return {
        **_parameters(fitted),
        "rows": found.index.tolist(),
        "labels": found["label"].tolist(),
        "uncertainty": found["uncertainty"].tolist(),
    }


def finite_rows(table: Any) -> list[dict[str, Any]]:
    """The rows of a DataFrame as JSON has them: what is not a number is null."""
    missing = lambda value: isinstance(value, float) and not math.isfinite(value)  # noqa: E731
    rows = table.to_dict("records")
    return [{k: None if missing(v) else v for k, v in row.items()} for row in rows]


class _Picture(NamedTuple):
    """A figure: its file, whether D features and K components have it, who draws it, of what."""

    file: str
    wanted: Callable[[int, int], bool]
    draw: Callable[[Any, Any, Any, "Figure"], Any]  # of plots, model, X and the figure
    size: Callable[[int], tuple[float, float]] = lambda D: (5.0, 3.6)  # in inches
    of: tuple[str, ...] = tuple(METHODS)


_PICTURES = (
    _Picture(
        "components.png",
        lambda D, K: D == 1,
        lambda plots, model, X, figure: plots.plot_density(model, X, ax=figure.subplots()),
    ),
    _Picture(
        "components.png",
        lambda D, K: D > 1,
        lambda plots, model, X, figure: plots.plot_components(model, X, ax=figure.subplots()),
    ),
    _Picture(
        "uncertainty.png",
        lambda D, K: K > 1,
        lambda plots, model, X, figure: plots.plot_uncertainty(model, X, ax=figure.subplots()),
        lambda D: (5.0, 3.6 if D == 1 else 4.4),
    ),
    _Picture(
        "pairs.png",
        lambda D, K: D > 2,
        lambda plots, model, X, figure: plots.plot_pairs(model, X, **_pairs(X, figure)),
        lambda D: (1.6 + 1.4 * min(D, PAIRED), 1.2 + 1.2 * min(D, PAIRED)),
    ),
    _Picture(
        "objective.png",
        lambda D, K: True,
        lambda plots, model, X, figure: plots.plot_objective(model, ax=figure.subplots()),
        of=("em", "vb"),
    ),
    _Picture(
        "trace.png",
        lambda D, K: True,
        lambda plots, model, X, figure: plots.plot_trace(model, ax=figure.subplots()),
        lambda D: (7.0, 3.0),
        of=("mcmc",),
    ),
)


def _pairs(X: "pd.DataFrame", figure: "Figure") -> dict[str, Any]:
    F = min(X.shape[1], PAIRED)
    return {"features": range(F), "axes": figure.subplots(F, F)}


def _draw(fitted: Fitted, folder: Path, note: Callable) -> Iterator[str]:
    """Draw and name every figure, without pyplot, so that no display is asked for."""
    from matplotlib.figure import Figure

    from bayesgmm import plots

    D, K = fitted.X.shape[1], fitted.model.n_components_
    if D > PAIRED:
        shown = ", ".join(fitted.X.columns[:PAIRED])
        note(f"pairs.png shows the first {PAIRED} features: {shown}")
    for picture in _PICTURES:
        if fitted.method in picture.of and picture.wanted(D, K):
            figure = Figure(figsize=picture.size(D), layout="constrained")
            picture.draw(plots, fitted.model, fitted.X, figure)
            figure.savefig(folder / picture.file, dpi=150)
            yield picture.file


# --- the files of other commands ------------------------------------------------------------------


def write_selection(
    found: Any, spread: "pd.DataFrame | None", folder: Path, figures: bool
) -> list[str]:
    """The names of the files of a table of models, and of what a bootstrap made of the best."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [_TABLE]
    found.table.to_csv(folder / _TABLE, index=False)
    if spread is not None:
        written.append("bootstrap.csv")
        spread.to_csv(folder / written[-1])
    if figures:
        from matplotlib.figure import Figure

        written.append("selection.png")
        figure = Figure(figsize=(7.0, 4.4), layout="constrained")
        found.plot(ax=figure.subplots())
        figure.savefig(folder / written[-1], dpi=150)
    return written


def write_calibration(found: Any, folder: Path) -> list[str]:
    """The names of the files of a calibration."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    found.table.to_csv(folder / _TABLE)
    figure = found.plot(figure=Figure(layout="constrained"))
    figure.savefig(folder / "calibration.png", dpi=150)
    return [_TABLE, "calibration.png"]


_TABLE = "table.csv"
