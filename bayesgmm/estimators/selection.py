"""select_model: the table of fits over numbers of components and families, and its best cell."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.arguments import check_flag, check_number
from bayesgmm.core.covariance import FAMILIES, MCLUST, UNIVARIATE
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.bootstrap import Bootstrap, bootstrap
from bayesgmm.estimators.cells import Fit, Limits, Problem, fit_em
from bayesgmm.estimators.checks import check_components, check_univariate
from bayesgmm.estimators.em import GaussianMixture, aic_of, bic_of, n_parameters
from bayesgmm.estimators.likelihood_ratio import LikelihoodRatioTest, likelihood_ratio_test
from bayesgmm.estimators.points import logsumexp, sureness
from bayesgmm.messages import hint, listed, lookup

CRITERIA = ("bic", "aic", "icl")
"""Columns by which a cell can be chosen: the least is the best."""

RESTARTS = 4
"""Starts of each cell where `n_init` is not given."""

DEFAULTS = {"reg_covar": 0.0, "init_params": "hierarchical", "n_init": RESTARTS}
"""Options that are not those of `GaussianMixture` unless they are given."""

LOOKED_AT = 2000
"""Points whose silhouettes are averaged, at most: each is compared with all others."""

SHOWN = 6
"""So many of the best cells are shown in a notebook."""

OWN = ("n_components", "covariance_type", "warm_start", "verbose", "verbose_interval")
PARTS = ("weights_init", "means_init", "precisions_init")
STREAMS = ("learning_decay", "learning_offset")


@dataclass(frozen=True)
class ModelSelection:
    """What `select_model` returns.

    Attributes
    ----------
    table : DataFrame
        One row a cell, as `select_model` describes it.
    best_estimator_ : GaussianMixture
        Fitted to all points: the cell of least criterion among those that are not singular.
    criterion : str

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

    @property
    def best_n_components_(self) -> int:
        """Number of components of the best cell."""
        return self.best_estimator_.n_components

    @property
    def best_covariance_type_(self) -> str:
        """Family of the best cell."""
        return self.best_estimator_.covariance_type

    def probabilities(self, by: str | None = None) -> Any:
        r"""Approximate posterior probabilities of the cells, exp(-BIC / 2) over their sum.

        Every cell has the same prior probability, singular ones have none. The approximation
        drops terms that do not grow with N (Kass and Raftery 1995, section 4.1), and knows only
        the cells of the table.

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
            If `by` is neither.

        References
        ----------
        Kass and Raftery (1995), *Journal of the American Statistical Association* 90, 773-795.
        """
        keys = ["covariance_type", "n_components"]
        if by is not None and by not in keys:
            raise ValueError(
                f"by must be None or one of {listed(keys)}; got {by!r}.{hint(keys, by)}"
            )
        bic = self.table["bic"].where(~self.table["singular"], np.inf)
        weight = np.exp(-0.5 * (bic - bic.min()))
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
        """
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
        """
        K = self.best_n_components_ if n_components is None else n_components
        return likelihood_ratio_test(X, K, covariance_type=self.best_covariance_type_, **options)

    def _repr_html_(self) -> str:
        """The best cell in a sentence, and the best cells as a table."""
        best = self.table[~self.table["singular"]].sort_values(self.criterion).head(SHOWN)
        return f"<p>{self}</p>{best.to_html(index=False, float_format='{:.2f}'.format)}"

    def __str__(self) -> str:
        """The best cell, in a sentence."""
        best, out = self.best_estimator_, int(self.table["singular"].sum())
        value = self.table[self.criterion].where(~self.table["singular"]).min()
        return (
            f"{best.covariance_type} with n_components={best.n_components}: least {self.criterion} "
            f"({value:.2f}) of {len(self.table)} cells, {out} of them singular"
        )

    def __repr__(self) -> str:
        """Likewise."""
        return f"<ModelSelection: {self}>"


def select_model(
    X: Any,
    n_components: Any = range(1, 10),
    covariance_type: Any = "all",
    criterion: str = "bic",
    *,
    sample_weight: Any = None,
    min_eigenvalue: float = 1e-8,
    min_count: float | None = None,
    random_state: Any = None,
    progress_bar: bool = True,
    **options: Any,
) -> ModelSelection:
    """A table of EM fits over numbers of components and covariance families, and the best of them.

    Few points (up to 4,096) are fitted side by side: one compiled program a family serves all
    numbers of components and all starts. Each cell begins with the partition that mclust begins
    with, which is never dropped, and with k-means++ cells, of which the worse half is.

    Parameters
    ----------
    X : array-like or DataFrame [N, D]
    n_components : int or iterable of int, default range(1, 10)
    covariance_type : str or iterable of str, default "all"
        Names that `GaussianMixture` knows. "all" are the fourteen families of mclust, in one
        dimension "E" and "V".
    criterion : {"bic", "aic", "icl"}, default "bic"
        The cell of its least value is chosen. The signs are scikit-learn's, less is better;
        mclust states minus these.
    sample_weight : array-like [N], optional
        A row of weight 2 counts as two rows.
    min_eigenvalue : float, default 1e-8
        A cell is singular if a covariance has a smaller eigenvalue, for points brought to variance
        one (each column, or all columns together, as the family allows).
    min_count : float, optional
        It is singular, too, if a component that has a volume of its own has no more than so many
        points (its weight times N). By default D.
    random_state : int, RandomState or None
    progress_bar : bool, default True
        A bar of the cells, on terminals.
    **options
        Of `GaussianMixture`, for every fit. Its defaults hold but for reg_covar=0 (as in mclust),
        init_params="hierarchical" and n_init=4.

    Returns
    -------
    ModelSelection
        Its `table` has one row a cell: `n_components`, `covariance_type`, `log_likelihood` (nats),
        `n_parameters`, `bic`, `aic`, `icl`, `inertia` (sum of squared distances of the points to
        the mean of their cluster, columns brought to variance one: the elbow), `silhouette` (mean
        over the points, of more than 2,000 a random sample; weights do not count), `converged`,
        `singular` (never chosen; NaN where every run collapsed), `seconds` (compilation included).

    Raises
    ------
    ValueError
        If an argument is not as described, or every cell is singular.

    References
    ----------
    Fraley and Raftery (2002), *Journal of the American Statistical Association* 97, 611-631;
    Scrucca et al. (2016), *The R Journal* 8, 289-317.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import select_model
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(0, 1, (50, 1)), rng.normal(9, 1, (50, 1))])
    >>> found = select_model(X, range(1, 4), "E", random_state=0, progress_bar=False)
    >>> found.best_n_components_
    2
    """
    lookup(dict.fromkeys(CRITERIA), criterion, "criterion")
    check_number(min_eigenvalue, "min_eigenvalue", low=0)
    if min_count is not None:
        check_number(min_count, "min_count", low=0)
    _check_options(options)
    options = DEFAULTS | options | {"random_state": random_state}
    model = GaussianMixture(1, **options)
    entered = model._enter(X, sample_weight)
    N, D = entered.kept().X.shape
    numbers, families = _numbers(n_components, N), _families(covariance_type, D)
    limits = Limits(min_eigenvalue, D if min_count is None else min_count)
    problem = Problem(X, sample_weight, entered, model, numbers, families, options, limits)
    fits = _watched(fit_em(problem), len(numbers) * len(families), progress_bar)
    order = {name: i for i, name in enumerate(families)}
    fits = sorted(fits, key=lambda fit: (order[fit.covariance_type], fit.n_components))
    return _chosen(fits, problem, criterion)


def _chosen(fits: list[Fit], problem: Problem, criterion: str) -> ModelSelection:
    import pandas as pd

    clusters = _Clusters.of(problem.entered, problem.model)
    table = pd.DataFrame([_row(fit, problem, clusters) for fit in fits])
    values = table[criterion].where(~table["singular"])
    if values.isna().all():
        raise ValueError(
            f"all {len(fits)} cells are singular: some component collapses on a few points in "
            "each. Lower n_components, choose simpler families (EII, EEE), or give reg_covar or "
            "prior='data-scaled'."
        )
    return ModelSelection(table, fits[int(values.argmin())].model, criterion)


def _row(fit: Fit, problem: Problem, clusters: "_Clusters") -> dict[str, Any]:
    """One row of the table."""
    model, names = fit.model, ("log_likelihood", *CRITERIA, "inertia", "silhouette")
    numbers = dict.fromkeys(names, np.nan)
    free = n_parameters(fit.covariance_type, fit.n_components, clusters.points.shape[1])
    if model is not None:
        total, own, sure = model._sums(problem.X, problem.weight, logsumexp, sureness)
        criteria = bic_of(own, free, total), aic_of(own, free), bic_of(own + sure, free, total)
        shape = clusters.inertia(model.labels_), clusters.silhouette(model.labels_)
        numbers = dict(zip(names, (own, *criteria, *shape), strict=True))
    return {
        "n_components": fit.n_components,
        "covariance_type": fit.covariance_type,
        "log_likelihood": numbers.pop("log_likelihood"),
        "n_parameters": free,
        **numbers,
        "converged": model is not None and model.converged_,
        "singular": bool(fit.singular),
        "seconds": fit.seconds,
    }


class _Clusters(NamedTuple):
    """Points whose clusters are judged by their distances, in standard deviations of the columns.

    Attributes
    ----------
    points : ndarray [N, D]
    weight : ndarray [N]
    looked_at : ndarray of int
        Rows that the silhouette is of.
    """

    points: np.ndarray
    weight: np.ndarray
    looked_at: np.ndarray

    @classmethod
    def of(cls, entered: Entered, model: GaussianMixture) -> Any:
        """Of points that passed the boundary."""
        points = model._units(entered.kept(), "column").transform(entered.X).T
        weight = np.ones(len(points)) if entered.weight is None else entered.weight
        rows = np.flatnonzero(weight > 0)
        if len(rows) > LOOKED_AT:
            rows = np.sort(np.random.default_rng(0).choice(rows, LOOKED_AT, replace=False))
        return cls(points, weight, rows)

    def inertia(self, labels: np.ndarray) -> float:
        """Sum of squares about the means of the clusters."""
        own = np.eye(labels.max() + 1)[labels] * self.weight[:, None]
        counts, sums = own.sum(0), own.T @ self.points
        between = np.square(sums).sum(1) / np.where(counts > 0, counts, 1.0)
        return float(self.weight @ np.square(self.points).sum(1) - between.sum())

    def silhouette(self, labels: np.ndarray) -> float:
        """Mean over the points looked at; NaN where they are in one cluster, or each in its own."""
        from sklearn.metrics import silhouette_score

        own = labels[self.looked_at]
        if not 1 < len(np.unique(own)) < len(own):
            return np.nan
        return float(silhouette_score(self.points[self.looked_at], own))


# --- checks ---------------------------------------------------------------------------------------


def _numbers(n_components: Any, N: int) -> tuple[int, ...]:
    given = n_components if isinstance(n_components, Iterable) else [n_components]
    numbers = sorted({check_number(K, "n_components", integer=True, low=1) for K in given})
    if not numbers:
        raise ValueError("n_components must hold at least one number, got none.")
    check_components(numbers[-1], N)
    return tuple(int(K) for K in numbers)


def _families(covariance_type: Any, D: int) -> tuple[str, ...]:
    if isinstance(covariance_type, str) and covariance_type == "all":
        return UNIVARIATE if D == 1 else tuple(MCLUST)
    names = [covariance_type] if isinstance(covariance_type, str) else list(covariance_type)
    if not names:
        raise ValueError("covariance_type must hold at least one name, got none.")
    for name in names:
        lookup(FAMILIES if len(names) > 1 else {"all": None} | FAMILIES, name, "covariance_type")
        check_univariate(name, D)
    return tuple(dict.fromkeys(names))


def _check_options(options: dict[str, Any]) -> None:
    known = sorted(set(GaussianMixture().get_params()) - {*OWN, *PARTS, *STREAMS, "random_state"})
    for name in options:
        if name not in known:
            raise ValueError(
                f"select_model has no option {name!r}; those of GaussianMixture that it passes on "
                f"are {listed(known)}.{hint(known, name)}"
            )
    if not isinstance(options.get("init_params", ""), str):
        raise ValueError(
            "init_params must be a name, for every number of components needs a start of its own; "
            f"got {type(options['init_params']).__name__}."
        )


def _watched(fits: Any, total: int, progress_bar: bool) -> list[Fit]:
    """All of them, with a bar on terminals."""
    from tqdm import tqdm

    check_flag(progress_bar, "progress_bar")
    bar = tqdm(fits, total=total, desc="cells", leave=False, disable=None if progress_bar else True)
    return list(bar)
