"""What `select_model` returns: the table, its best cell, and how sure the choice is."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesgmm.estimators.bootstrap import Bootstrap, bootstrap
from bayesgmm.estimators.criteria import CRITERIA
from bayesgmm.estimators.likelihood_ratio import LikelihoodRatioTest, likelihood_ratio_test
from bayesgmm.messages import hint, listed

SHOWN = 6
"""So many of the best cells are shown in a notebook."""


@dataclass(frozen=True)
class ModelSelection:
    """What `select_model` returns.

    Attributes
    ----------
    table : DataFrame
        One row a cell, as `select_model` describes it.
    best_estimator_ : estimator
        Fitted to all points: the best cell by the criterion among those that are not singular.
    criterion : str
    method : {"em", "vb", "mcmc"}

    Examples
    --------
    >>> from bayesgmm import datasets, select_model
    >>> X, _ = datasets.load_faithful()
    >>> found = select_model(X, [1, 2], "EEE", random_state=0, progress_bar=False)
    >>> found.best_n_components_, found.probabilities("n_components").round(3).tolist()
    (2, [0.0, 1.0])
    """

    table: Any
    best_estimator_: Any
    criterion: str
    method: str = "em"

    @property
    def best_n_components_(self) -> int:
        """Number of components of the best cell."""
        return self.best_estimator_.n_components

    @property
    def best_covariance_type_(self) -> str:
        """Family of the best cell."""
        return self.best_estimator_.covariance_type

    def probabilities(self, by: str | None = None) -> Any:
        r"""Approximate posterior probabilities of the cells: their evidences over the sum of these.

        Every cell has the same prior probability, singular ones have none. The log evidence is
        estimated by -BIC / 2 for EM, which drops terms that do not grow with N (Kass and Raftery
        1995, section 4.1), by the lower bound for variational Bayes, and for MCMC by
        bridge sampling, with ``criterion="log_evidence"``. The probabilities know only the cells of
        the table.

        Parameters
        ----------
        by : {"n_components", "covariance_type"}, optional
            Summed over the other of the two. By default each cell has its own.

        Returns
        -------
        Series
            Indexed by `by`, or by covariance_type and n_components. They sum to one.

        Raises
        ------
        ValueError
            If `by` is neither, or the table has no column that estimates the evidence.

        References
        ----------
        Kass and Raftery (1995), *Journal of the American Statistical Association* 90, 773-795.
        """
        keys = ["covariance_type", "n_components"]
        if by is not None and by not in keys:
            raise ValueError(
                f"by must be None or one of {listed(keys)}; got {by!r}.{hint(keys, by)}"
            )
        known = self._evidence
        if known is None:
            raise ValueError(
                f"probabilities are of evidences, which {self.criterion!r} is not: select with "
                "criterion='log_evidence'."
            )
        evidence = CRITERIA[known].evidence * self.table[known]
        evidence = evidence.where(~self.table["singular"], -np.inf)
        weight = np.exp(evidence - evidence.max())
        found = self.table[keys].assign(probability=weight / weight.sum())
        return found.groupby(keys if by is None else by, sort=by is not None)["probability"].sum()

    def plot(self, *, ax: Any = None) -> Any:
        """The criterion over the number of components, a line a family: `plots.plot_selection`."""
        from bayesgmm.plots import plot_selection

        return plot_selection(self.table, self.criterion, ax=ax)

    def bootstrap(self, X: Any, n_bootstrap: int = 999, **options: Any) -> Bootstrap:
        """Standard errors and intervals of the best cell's parameters: `bayesgmm.bootstrap`.

        Parameters
        ----------
        X : array-like [N, D]
            The points that were selected on.
        n_bootstrap : int, default 999
        **options
            `kind`, `sample_weight`, `random_state`.

        Returns
        -------
        Bootstrap
            The choice of the cell adds to the uncertainty, and is not in it: see `probabilities`.

        Raises
        ------
        ValueError
            If the cells are not fits by EM.
        """
        self._check_likelihood("bootstrap")
        return bootstrap(self.best_estimator_, X, n_bootstrap, **options)

    def likelihood_ratio_test(
        self, X: Any, n_components: Any = None, **options: Any
    ) -> LikelihoodRatioTest:
        """Test the number of components against one more: `bayesgmm.likelihood_ratio_test`.

        Parameters
        ----------
        X : array-like [N, D]
            The points that were selected on.
        n_components : int or several, optional
            That of the best cell when not given.
        **options
            `n_bootstrap`, `level`, `n_init` and so on.

        Returns
        -------
        LikelihoodRatioTest
            In the family of the best cell.

        Raises
        ------
        ValueError
            If the cells are not fits by EM.
        """
        self._check_likelihood("likelihood_ratio_test")
        K = self.best_n_components_ if n_components is None else n_components
        return likelihood_ratio_test(X, K, covariance_type=self.best_covariance_type_, **options)

    def _check_likelihood(self, name: str) -> None:
        if self.method != "em":
            raise ValueError(
                f"{name} is of fits by maximum likelihood, and method={self.method!r} is not: its "
                "best_estimator_ has a posterior that says how sure it is."
            )

    def _ranked(self) -> Any:
        """The cells that can be chosen, best first."""
        sound = self.table[~self.table["singular"]]
        less = CRITERIA[self.criterion].sign > 0
        return sound.sort_values(self.criterion, ascending=less, kind="stable")

    @property
    def _evidence(self) -> str | None:
        """The column that is an evidence or near one."""
        return next((n for n, row in CRITERIA.items() if row.evidence and n in self.table), None)

    def _repr_html_(self) -> str:
        """The best cell in a sentence, and the best cells as a table."""
        best = self._ranked().head(SHOWN)
        return f"<p>{self}</p>{best.to_html(index=False, float_format='{:.2f}'.format)}"

    def __str__(self) -> str:
        """The best cell, in a sentence."""
        best, out = self.best_estimator_, int(self.table["singular"].sum())
        end = "least" if CRITERIA[self.criterion].sign > 0 else "largest"
        value = self._ranked()[self.criterion].iloc[0]
        singular = f", {out} of them singular" if "bic" in self.table else ""
        return (
            f"{best.covariance_type} with n_components={best.n_components}: {end} "
            f"{self.criterion} ({value:.2f}) of {len(self.table)} cells{singular}"
        )

    def __repr__(self) -> str:
        """Likewise."""
        return f"<ModelSelection: {self}>"
