"""What ``bayesgmm select`` tells of a table of models: paragraphs, and one object."""

import argparse
import shlex
from collections.abc import Iterator
from importlib.metadata import version
from textwrap import fill
from typing import Any, NamedTuple

from bayesgmm.artifacts import finite_rows
from bayesgmm.commands.options import Table
from bayesgmm.fitting import METHODS
from bayesgmm.messages import count
from bayesgmm.text import WIDTH, heading, small, titled

__all__ = ["SHOWN", "Compared", "paragraphs_of", "results_of"]

BEST = 10
"""So many of the best models are printed."""


class Compared(NamedTuple):
    """What is told: the models, and what was asked of the best of them."""

    table: Table
    found: Any
    bootstrap: Any
    test: Any


def paragraphs_of(compared: Compared, arguments: argparse.Namespace) -> Iterator[str]:
    """The paragraphs."""
    found, table = compared.found, compared.table
    from bayesgmm.estimators.criteria import CRITERIA

    judged, words = CRITERIA[found.criterion], METHODS[found.method].words
    tried = f"{count(len(found.table), 'Gaussian mixture')} fitted by {words}"
    if found.method == "em":
        tried += f", {int(found.table['singular'].sum())} of them singular"
    yield "\n".join([*heading(table.name, table.X), tried])
    yield titled(f"Best by {judged.label}: {judged.order}", _best(found))
    title = "Number of components"
    title += "" if _shares(found) is None else ", its approximate probability"
    yield titled(title, _by_number(found))
    if compared.bootstrap is not None:
        failed = compared.bootstrap.failed
        counted = f"{count(len(failed), 'replicate')}, {failed.sum()} of them failed"
        yield titled(f"Parameters of the best, 95 % intervals ({counted})", _spread(compared))
    if compared.test is not None:
        yield f"{titled(TITLE_OF_TEST, _tested(compared))}\n{fill(ABOUT_TEST, WIDTH)}"
    if found.method != "vb":  # whose best has other weights than a fit, and is kept by --save
        yield f"To fit the best with its figures:\n  {_command(found, arguments)}"


def _shares(found: Any, by: str | None = "n_components") -> Any:
    """Probabilities, where something in the table is an evidence or near one."""
    return None if found._evidence is None else found.probabilities(by)


SHOWN = {
    "em": ("n_parameters", "log_likelihood", "bic", "icl"),
    "vb": ("n_clusters", "lower_bound"),
    "mcmc": ("n_clusters", "elpd_loo", "elpd_loo_se", "log_evidence", "log_evidence_se"),
}
"""What is printed of a model, by the method."""

TITLES = {
    "n_parameters": ("parameters", "{}"),
    "log_likelihood": ("log lik.", "{:.2f}"),
    "bic": ("BIC", "{:.2f}"),
    "aic": ("AIC", "{:.2f}"),
    "icl": ("ICL", "{:.2f}"),
    "n_clusters": ("clusters", "{:.1f}"),
    "lower_bound": ("lower bound", "{:.2f}"),
    "elpd_loo": ("elpd (LOO)", "{:.2f}"),
    "elpd_loo_se": ("its error", "{:.2f}"),
    "log_evidence": ("log evidence", "{:.2f}"),
    "log_evidence_se": ("its error", "{:.2f}"),
    "held_out": ("held out", "{:.4f}"),
    "held_out_se": ("its error", "{:.4f}"),
}
"""Columns of the table as they are printed."""


def _shown(table: Any, names: Any) -> Any:
    """Some of the columns, as they are printed; those that there are."""
    import pandas as pd

    there = [name for name in names if name in table]
    columns = [table[name].map(TITLES[name][1].format) for name in there]
    shown = pd.concat([table["n_components"], *columns], axis=1)
    return shown.set_axis(["components", *(TITLES[name][0] for name in there)], axis=1)


def _best(found: Any) -> Any:
    """The best models, one a row."""
    best, names = found._ranked().head(BEST), SHOWN[found.method]
    if found.criterion == "aic":
        names = [{"icl": "aic"}.get(name, name) for name in names]
    if "held_out" in best:
        names = [name for name in names if name not in ("n_parameters", "log_likelihood")]
        names += ["held_out", "held_out_se"]
    shown, shares = _shown(best, names), _shares(found, None)
    if shares is not None:
        cells = zip(best["covariance_type"], best["n_components"], strict=True)
        shown["probability"] = [small(shares[cell]) for cell in cells]
    return shown.set_axis(best["covariance_type"]).rename_axis("family")


def _by_number(found: Any) -> Any:
    """Of each number of components its best model, and the probability of all its models."""
    best = found._ranked().drop_duplicates("n_components").sort_values("n_components")
    shown, shares = _shown(best, [found.criterion]), _shares(found)
    shown.insert(1, "best family", best["covariance_type"])
    if shares is not None:
        shown["probability"] = shares[best["n_components"]].map(small).to_numpy()
    return shown.set_index("components")


def _spread(compared: Compared) -> Any:
    table = compared.bootstrap.summary().reset_index("parameter")
    return table.rename(columns={"sd": "standard error"})


TITLE_OF_TEST = "One component more than the best, by a likelihood ratio test"

ABOUT_TEST = (
    "p-value: how often data drawn from the best mixture gain as much from one component more as "
    "these do; a small one speaks for it, or against Gaussian clusters"
)


def _tested(compared: Compared) -> Any:
    names = {
        "statistic": "statistic",
        "p_value": "p-value",
        "mcse": "its error",
        "n_bootstrap": "replicates",
    }
    table = compared.test.table.rename(columns=names)[list(names.values())]
    return table.set_axis([f"{K} against {K + 1}" for K in table.index]).rename_axis("components")


def _command(found: Any, arguments: argparse.Namespace) -> str:
    """The command that fits the best model."""
    given = {
        "--method": None if found.method == "em" else found.method,
        "--columns": arguments.columns and ",".join(arguments.columns),
        "--index": arguments.index,
        "--prior": arguments.prior,
        "--seed": arguments.seed or None,
        "--n-init": arguments.n_init,
        "--max-iter": arguments.max_iter,
        "--samples": arguments.samples,
        "--thin": arguments.thin,
    }
    if found.method == "em":
        given["--start"] = "hierarchical"
        if arguments.prior is None:
            given["--ridge"] = f"{arguments.ridge or 0:g}"
    words = ["bayesgmm", "fit", arguments.data, "-k", str(found.best_n_components_)]
    words += ["--covariance", found.best_covariance_type_]
    words += ["--standardize"] if arguments.standardize else []
    for flag, value in given.items():
        words += [] if value is None else [flag, str(value)]
    return shlex.join(words)


def results_of(compared: Compared) -> dict[str, Any]:
    """All of it, for --json."""
    (name, X, scaling), found = compared.table, compared.found
    best, shares = found.best_estimator_, _shares(found)
    asked = {}
    if compared.bootstrap is not None:
        asked["bootstrap"] = finite_rows(compared.bootstrap.summary().reset_index())
    if compared.test is not None:
        asked["likelihood_ratio_test"] = finite_rows(compared.test.table.reset_index())
    return {
        "version": version("bayesgmm"),
        "data": name,
        "n_samples": len(X),
        "feature_names": list(X.columns),
        "standardized": None if scaling is None else scaling._asdict(),
        "method": found.method,
        "criterion": found.criterion,
        "n_components": found.best_n_components_,
        "covariance_type": found.best_covariance_type_,
        "weights": best.weights_.tolist(),
        "means": best.means_.tolist(),
        "covariances": best.covariances_.tolist(),
        "probabilities": None if shares is None else finite_rows(shares.reset_index()),
        "seed": best.random_state,
        **asked,
        "table": finite_rows(found.table),
    }
