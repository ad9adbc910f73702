"""What the sections read of a fitted estimator: one class for the three, and what they share."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.report.references import Citations
from bayesgmm.report.words import count

DOUBTFUL = 0.1
"""A row is called doubtful when the probability of its own cluster is below 1 less this."""

REPLICAS, FEWEST, NUMBERS = 200, 20, 20_000_000
"""Replicated data sets: most, least, and numbers that all of them together may hold."""

LEVEL = 0.95
"""Of all intervals."""


CITED = {"bic": ("schwarz1978",)}
"""Works that a criterion is cited with."""


class Data(NamedTuple):
    """The table of a report.

    Attributes
    ----------
    table : DataFrame [N, D]
        Columns are str.
    name : str
    notes : tuple of str
        What was done to it before.
    """

    table: Any
    name: str
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return self.table.shape

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return list(self.table.columns)


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes
    ----------
    what, found : str
    passed : bool or None
        None: neither good nor bad, but to be known.
    advice : str
        What to do where it did not pass.
    """

    what: str
    found: str
    passed: bool | None
    advice: str = ""


class Reading(ABC):
    """A fitted estimator as the report sees it.

    Attributes
    ----------
    key, title, words : str
        "em", "vb" or "mcmc"; a heading; and what a sentence has after "by".
    """

    key: str
    title: str
    words: str

    def __init__(self, model: Any, data: Data, selection: Any, progress: Callable[[str], Any]):
        self.model = model
        self.data = data
        self.selection = selection
        self.progress = progress
        self.said: list[str] = []  # warnings on the way

    @cached_property
    def given(self) -> Any:
        """The points as the estimator was given them: with names if it knows any."""
        table, names = self.data.table, getattr(self.model, "feature_names_in_", None)
        return table.to_numpy() if names is None else table.set_axis(names, axis=1)

    @property
    def n_fitted(self) -> float:
        """How many rows the fit counts, weights included, as far as that can be seen."""
        return float(len(self.data.table))

    @cached_property
    def family(self) -> Any:
        """Of the covariances."""
        from bayesgmm.core.covariance import FAMILIES

        return FAMILIES[self.model.covariance_type]

    @cached_property
    def labels(self) -> np.ndarray:
        """Cluster of each row, [N]."""
        return np.asarray(self.model.predict(self.given))

    @property
    def n_clusters(self) -> int:
        """Clusters that hold rows."""
        return len(np.unique(self.labels))

    @cached_property
    def sizes(self) -> np.ndarray:
        """Rows of each cluster, [K]."""
        return np.bincount(self.labels, minlength=self.model.n_components_)

    @cached_property
    def doubt(self) -> Any:
        """Of each row: `label`, its `probability`, the next one `other`, `other_probability`."""
        import pandas as pd

        found = np.asarray(self.model.predict_proba(self.given), float)
        rows = np.arange(len(found))
        order = np.argsort(-found, axis=1, kind="stable")
        alone = found.shape[1] == 1
        columns = {
            "label": order[:, 0],
            "probability": found[rows, order[:, 0]],
            "other": None if alone else order[:, 1],
            "other_probability": 0.0 if alone else found[rows, order[:, min(1, len(order[0]) - 1)]],
        }
        return pd.DataFrame(columns, index=self.data.table.index)

    @property
    def doubtful(self) -> np.ndarray:
        """Which rows are, [N]."""
        return self.doubt["probability"].to_numpy() < 1 - DOUBTFUL

    @cached_property
    def replicas(self) -> np.ndarray:
        """Data sets like this one, drawn from what was fitted, [R, N, D]."""
        from bayesgmm.posterior.predictive import sample

        N, D = self.data.shape
        R = int(np.clip(NUMBERS // (N * D), FEWEST, REPLICAS))
        mixtures, rng = self.mixtures(R), np.random.RandomState(0)
        one = lambda r: type(mixtures)(*(leaf[r : r + 1] for leaf in mixtures))  # noqa: E731
        return np.stack([sample(one(r), N, rng)[0] for r in range(R)])

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Warnings are kept for the page."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        ours = (UserWarning, RuntimeWarning)
        texts = [str(one.message) for one in caught if issubclass(one.category, ours)]
        self.said += [text for text in dict.fromkeys(texts) if text not in self.said]

    # --- the table of models that it was chosen from, if there is one

    @property
    def criterion(self) -> Any:
        """The row of the criterion: its sign and its label."""
        from bayesgmm.estimators.criteria import CRITERIA

        return CRITERIA[self.selection.criterion]

    @property
    def criterion_words(self) -> str:
        """``smallest BIC``."""
        best = "smallest" if self.criterion.sign > 0 else "largest"
        return f"{best} {self.criterion.label.removesuffix(', nats')}"

    def selection_checks(self) -> list[Check]:
        """The edge of the table, and what collapsed."""
        if self.selection is None:
            return []
        table = self.selection.table
        most, best = int(table["n_components"].max()), int(self.selection.best_n_components_)
        edge = Check(
            "more components were tried than chosen",
            f"{best} chosen of up to {most}",
            best < most,
            "raise n_components in select_model: the best number may be larger",
        )
        singular = int(table["singular"].sum())
        if not singular:
            return [edge]
        cells = f"{singular} of {count(len(table), 'model')} collapsed on a few rows"
        return [edge, Check("singular models are not chosen", f"{cells}, none was chosen", True)]

    def selected(self, cite: Citations) -> list[str]:
        """How the model was chosen, for the methods paragraph."""
        if self.selection is None:
            return []
        table = self.selection.table
        numbers, families = table["n_components"], list(table["covariance_type"].unique())
        cited = CITED.get(self.selection.criterion, ())
        some = f"{families[0]}" if len(families) == 1 else f"one of {len(families)}"
        said = (
            f"The number of components, from {numbers.min()} to {numbers.max()}, and the "
            f"covariance family, {some}, were chosen by the {self.criterion_words}"
            + (f" {cite(*cited)}" if cited else "")
            + f" of {count(len(table), 'model')} {cite('fraley2002')}"
        )
        if table["singular"].any():
            said += "; models with a singular covariance were left out"
        return [said + "."]

    @property
    def rows_words(self) -> str:
        """``272 rows and 2 columns``."""
        N, D = self.data.shape
        return f"{count(N, 'row')} and {count(D, 'column')}"

    # --- what each of them says in its own way

    @property
    @abstractmethod
    def answer(self) -> str:
        """How many clusters there are, as a sentence has it after the name of the method."""

    @property
    @abstractmethod
    def clusters(self) -> tuple[Any, str]:
        """Table of `cluster`, `quantity`, `feature`, `estimate`, `lower`, `upper`; its words."""

    @property
    @abstractmethod
    def checks(self) -> list[Check]:
        """What was looked at."""

    @abstractmethod
    def mixtures(self, R: int) -> Any:
        """A stack of R mixtures that stand for what was fitted."""

    @property
    @abstractmethod
    def replica_words(self) -> str:
        """Where the replicas are from."""

    @abstractmethod
    def model_words(self) -> list[str]:
        """The model in sentences."""

    @abstractmethod
    def formulas(self) -> list[str]:
        """The model in symbols, a line each for `mathml.math`."""

    def prior_rows(self) -> list[tuple[str, str, str]]:
        """Numbers of the prior: a formula, its value, and what it is."""
        return []

    def prior_n_clusters(self, most: int) -> np.ndarray | None:
        """Prior probability of 1, 2, ..., `most` clusters, if there is such a prior."""
        return None

    @abstractmethod
    def methods(self, cite: Citations) -> list[str]:
        """Sentences of the methods paragraph."""


# --- the family -----------------------------------------------------------------------------------


def family_words(model: Any, family: Any) -> str:
    """What the covariances may be, in words."""
    D = int(model.n_features_in_)
    if D == 1:
        own = "a variance of its own for each component"
        return "one variance for all components" if family.pooled else own
    if family.pooled and not family.axis_aligned:
        return "one covariance matrix, the same for all components"
    letters = family.volume + family.shape + family.orientation
    return FAMILY_WORDS[letters]


FAMILY_WORDS = {
    "VVV": "a covariance matrix of its own for each component, without restrictions",
    "EEE": "one covariance matrix for all components",
    "VVI": "a variance for each column in each component, and no correlations",
    "VII": "one variance in all directions, of its own for each component (spheres)",
    "EII": "one variance in all directions, the same for all components (equal spheres)",
    "EEI": "a variance for each column, the same for all components, and no correlations",
    "VEI": "diagonal covariances of one shape, with a volume of their own",
    "EVI": "diagonal covariances of one volume, with shapes of their own",
    "VEE": "one covariance matrix times a volume for each component",
    "EVV": "covariances of one volume, with shapes and orientations of their own",
    "EEV": "ellipsoids of one volume and shape, turned for each component",
    "VEV": "ellipsoids of one shape, with volumes and orientations of their own",
    "EVE": "ellipsoids of one volume with common axes, with shapes of their own",
    "VVE": "ellipsoids with common axes, with volumes and shapes of their own",
}
"""Covariance families by mclust's letters."""


def interval_table(rows: list[tuple]) -> Any:
    """Rows of (cluster, quantity, feature, estimate, lower, upper) as a DataFrame."""
    import pandas as pd

    return pd.DataFrame(
        rows, columns=["cluster", "quantity", "feature", "estimate", "lower", "upper"]
    )
