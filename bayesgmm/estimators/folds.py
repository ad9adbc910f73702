"""Cross-validation of a table of models: what each cell says of points that it has not seen."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import KFold, check_cv

from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.cells import Fit, Problem
from bayesgmm.estimators.points import weighted_mean


def splits(cv: Any, entered: Any, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit to and rows left out, of each fold.

    Parameters
    ----------
    cv : int, splitter or iterable, or None for no folds
        A number are so many folds of rows in random order.
    entered : Entered or Pieces
    seed : int

    Raises
    ------
    ValueError
        If `cv` is none of these, or the points are not in memory.
    """
    if cv is None:
        return []
    if not entered.in_memory:
        raise ValueError(
            "cv needs points in memory, and X is read in pieces: leave it out, or give rows that "
            "are drawn at random, bayesgmm.Chunks(X).sample(20_000)."
        )
    if isinstance(cv, (int, np.integer)) and not isinstance(cv, (bool, np.bool_)):
        if not 2 <= cv <= len(entered.X):
            raise ValueError(
                f"cv must be at least 2 and at most the number of rows, {len(entered.X)}; got {cv}."
            )
        cv = KFold(int(cv), shuffle=True, random_state=seed)
    elif isinstance(cv, (str, bytes, float, bool, np.bool_)):
        raise ValueError(f"cv must be a number of folds or a splitter of scikit-learn, got {cv!r}.")
    return list(check_cv(cv).split(entered.X))


class LeftOut:
    """The fits of a table made again without the rows of each fold, and what they say of these.

    Parameters
    ----------
    problem : Problem
        In memory, if there are folds.
    folds : list of pairs of rows
        Of `splits`.
    """

    def __init__(self, problem: Problem, folds: list):
        self.problem, self.folds = problem, folds
        self.densities: dict[tuple[str, int], np.ndarray] = {}
        self.seconds: dict[tuple[str, int], float] = defaultdict(float)

    def fits(self, fits: Callable[[Problem], Iterator[Fit]]) -> Iterator[Fit]:
        """Make the fits, one table a fold."""
        X, weight = self.problem.entered if self.folds else (None, None)
        model = clone(self.problem.model)  # of rows without names, as they are from here on
        model.n_features_in_ = self.problem.entered.shape[1]
        for train, test in self.folds:
            part = Entered(X[train], None if weight is None else weight[train])
            given = dict(X=part.X, weight=part.weight, entered=part, model=model)
            for fit in fits(self.problem._replace(**given)):
                own = self.densities.setdefault(fit.cell, np.full(len(X), np.nan))
                if fit.model is not None:
                    own[test] = fit.model.score_samples(X[test])
                self.seconds[fit.cell] += fit.seconds
                yield fit

    def measures(self, cell: tuple[str, int]) -> dict[str, float]:
        """Mean log density of the rows left out, and its standard error over the rows.

        NaN where a fold's fits of the cell collapsed; nothing where there are no folds.
        """
        if not self.folds:
            return {}
        rows, weight = np.concatenate([test for _, test in self.folds]), self.problem.entered.weight
        values, weight = self.densities[cell][rows], None if weight is None else weight[rows]
        mean, total = weighted_mean(values, weight), len(rows) if weight is None else weight.sum()
        error = np.sqrt(weighted_mean(np.square(values - mean), weight) / total)
        return {"held_out": mean, "held_out_se": float(error)}
