"""select_model: the table of fits over numbers of components and families, and its best cell."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.arguments import check_number
from bayesgmm.bars import progress
from bayesgmm.estimators.cells import Fit, Limits, Problem
from bayesgmm.estimators.checks import check_components, check_univariate, warn_not_converged
from bayesgmm.estimators.choice import ModelSelection
from bayesgmm.estimators.criteria import CRITERIA, METHODS, Method
from bayesgmm.estimators.em import n_parameters
from bayesgmm.estimators.entry import enter
from bayesgmm.estimators.folds import LeftOut, splits
from bayesgmm.estimators.pieces import SAMPLED
from bayesgmm.io.chunks import Chunks, in_pieces
from bayesgmm.messages import hint, listed, lookup

LOOKED_AT = 2000
"""Points whose silhouettes are averaged, at most: each is compared with all others."""

MIN_EIGENVALUE = 1e-8
"""The least eigenvalue of a cell that is not singular, where `min_eigenvalue` is not given."""


def select_model(
    X: Any,
    n_components: Any = range(1, 10),
    covariance_type: Any = "all",
    criterion: str | None = None,
    method: str = "em",
    *,
    cv: Any = None,
    columns: Any = None,
    sample_weight: Any = None,
    min_eigenvalue: float | None = None,
    min_count: float | None = None,
    random_state: Any = None,
    progress_bar: bool = True,
    **options: Any,
) -> ModelSelection:
    """A table of fits over numbers of components and covariance families, and the best of them.

    By EM few points (up to 4,096) are fitted side by side: one compiled program a family serves all
    numbers of components and all starts. Each cell begins with the partition that mclust begins
    with, which is never dropped, and with k-means++ cells, of which the worse half is. Cells of the
    other methods, and of more points, are fitted one after the other.

    Parameters
    ----------
    X : array-like or DataFrame [N, D], or what `Chunks` takes
        Points in pieces are for "em" and "vb".
    n_components : int or iterable of int, default range(1, 10)
    covariance_type : str or iterable of str, default "all"
        Names that the estimator knows. "all" are the fourteen families of mclust with "em", those
        four with a conjugate prior with "vb" and "mcmc", and in one dimension "E" and "V".
    criterion : str, optional
        The best cell is that of

        - "bic" (the default of "em"), "aic", "icl": least. The signs are scikit-learn's; mclust
          states minus these.
        - "lower_bound" (the default of "vb"): largest.
        - "elpd_loo" (the default of "mcmc"), "log_evidence": largest.
        - "held_out", with `cv`: largest, for every method.
    method : {"em", "vb", "mcmc"}, default "em"
        Which estimator fits the cells: `GaussianMixture`, `BayesianGaussianMixture` or
        `MCMCGaussianMixture`, the latter two with exactly `n_components` components.
    cv : int or splitter, optional
        Every cell is fitted again without the rows of each fold, and judged by them. A number are
        so many folds of rows in random order.
    columns : sequence, optional
        Which columns of pieces to take.
    sample_weight : array-like [N], or the name of a column of pieces, optional
        A row of weight 2 counts as two rows.
    min_eigenvalue : float, optional
        With "em": a cell is singular if a covariance has a smaller eigenvalue, for points brought
        to variance one (each column, or all columns together, as the family allows). By default
        1e-8.
    min_count : float, optional
        With "em": it is singular, too, if a component that has a volume of its own has no more than
        so many points (its weight times N). By default D.
    random_state : int, RandomState or None
    progress_bar : bool, default True
        A bar of the fits, on terminals.
    **options
        Of the estimator, for every fit. Its defaults hold but for reg_covar=0 (as in mclust),
        init_params="hierarchical" and n_init=4 with "em"; with "vb" these last two, max_iter=1000,
        and uniform weights, weight_concentration_prior_type="dirichlet_distribution" and
        weight_concentration_prior=1.

    Returns
    -------
    ModelSelection
        Its `table` has one row a cell: `n_components`, `covariance_type`, then

        - "em": `log_likelihood` (nats), `n_parameters`, `bic`, `aic`, `icl`;
        - "vb": `elbo` (nats), `lower_bound`, which is `elbo` and the log of the number of orders of
          the components, as each order is a mode with this bound (with a Dirichlet
          distribution, whose components are alike), `n_clusters`, the components that are
          the most probable one of some point;
        - "mcmc": `elpd_loo` (nats, of all points together) with its standard error `elpd_loo_se`,
          `p_loo`, `n_high_k`, points whose Pareto k is too high for this estimate to be relied on,
          `n_clusters` (posterior mean); and `log_evidence`, `log_evidence_se`, estimated where it
          is the criterion;

        with `cv`, `held_out` (mean log density of a point left out, nats) and `held_out_se`, its
        standard error over the points; and for all `inertia` (sum of squared
        distances of the points to the mean of their cluster, columns brought to variance one: the
        elbow), `silhouette` (mean over the points, of more than 2,000 a random sample; weights do
        not count), `converged`, `singular` (never chosen; NaN where every run collapsed), `seconds`
        (compilation and folds included). Of points in pieces, `inertia` is that of the rows drawn
        at random with which fits begin, raised to the weight of all.

    Raises
    ------
    ValueError
        If an argument is not as described, or every cell is singular.

    Warns
    -----
    ConvergenceWarning
        If the best cell has not converged.

    References
    ----------
    Fraley and Raftery (2002), *Journal of the American Statistical Association* 97, 611-631;
    Scrucca et al. (2016), *The R Journal* 8, 289-317. Bishop (2006), *Pattern Recognition and
    Machine Learning*, section 10.2.4, for the orders. Vehtari, Gelman and Gabry (2017), *Statistics
    and Computing* 27, 1413-1432, for "elpd_loo".

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
    row = lookup(METHODS, method, "method")
    criterion = row.criteria[0] if criterion is None else criterion
    lookup(dict.fromkeys(row.criteria), criterion, f"criterion with method={method!r}")
    if criterion == "held_out" and cv is None:
        raise ValueError("criterion='held_out' needs folds: give cv, as in cv=5.")
    _check_options(row, method, options)
    options = {**row.defaults, **options, "random_state": random_state}
    model, X = row.load()(1, **options), in_pieces(X, columns) or X
    entered = _entered(model, X, sample_weight)
    N, D = entered.kept().shape
    numbers, families = _numbers(n_components, N), _families(row, covariance_type, D)
    limits = _limits(method, min_eigenvalue, min_count, D)
    problem = Problem(X, sample_weight, entered, model, numbers, families, options, limits)
    left_out = LeftOut(problem, splits(cv, entered, _seed(random_state)))
    fits = _watched(row, problem, left_out, progress_bar)
    judge = _Judge(row, problem, criterion, _Clusters.of(entered), left_out)
    return _chosen(fits, judge, criterion, method)


def _chosen(fits: list[Fit], judge: "_Judge", criterion: str, method: str) -> ModelSelection:
    import pandas as pd

    table = pd.DataFrame([judge.row_of(fit) for fit in fits])
    values = table[criterion].where(~table["singular"]) * CRITERIA[criterion].sign
    if values.isna().all():
        raise ValueError(
            f"all {len(fits)} cells are singular: some component collapses on a few points in "
            "each. Lower n_components, choose simpler families (EII, EEE), or give reg_covar or "
            "prior='data-scaled'."
        )
    best = fits[int(values.argmin())].model
    if not best.converged_:
        warn_not_converged(
            f"The best cell ({best.covariance_type}, n_components={best.n_components}) has not "
            "converged: let its fits run longer (max_iter, or n_samples and thin with 'mcmc')."
        )
    return ModelSelection(table, best, criterion, method)


class _Judge(NamedTuple):
    """All that a row of the table is made of, but for the fit.

    Attributes
    ----------
    method : Method
    problem : Problem
    criterion : str
    clusters : _Clusters
    left_out : LeftOut
    """

    method: Method
    problem: Problem
    criterion: str
    clusters: "_Clusters"
    left_out: LeftOut

    def row_of(self, fit: Fit) -> dict[str, Any]:
        """One row of the table."""
        model = fit.model
        own: dict[str, Any] = dict.fromkeys(self.method.columns, np.nan)
        if "n_parameters" in own:
            D = self.problem.entered.shape[1]
            own["n_parameters"] = n_parameters(*fit.cell, D)
        shape = {"inertia": np.nan, "silhouette": np.nan}
        if model is not None:
            labels = self.clusters.labels(model)
            n_clusters = len(np.unique(labels))
            own |= self.method.measures(model, self.problem, n_clusters, self.criterion)
            shape = {name: getattr(self.clusters, name)(labels) for name in shape}
        return {
            "n_components": fit.n_components,
            "covariance_type": fit.covariance_type,
            **own,
            **self.left_out.measures(fit.cell),
            **shape,
            "converged": model is not None and model.converged_,
            "singular": bool(fit.singular),
            "seconds": fit.seconds + self.left_out.seconds[fit.cell],
        }


class _Clusters(NamedTuple):
    """Points whose clusters are judged by their distances, in standard deviations of the columns.

    Attributes
    ----------
    rows : ndarray [N, D]
    weight : ndarray [N]
    points : ndarray [N, D]
        The rows, standardised.
    looked_at : ndarray of int
        Rows that the silhouette is of.
    whole : bool
        Whether the rows are all that there are.
    """

    rows: np.ndarray
    weight: np.ndarray
    points: np.ndarray
    looked_at: np.ndarray
    whole: bool

    @classmethod
    def of(cls, entered: Any) -> Any:
        """Of points that passed the boundary; of pieces, those that were drawn."""
        units, whole = entered.kept().units("column"), entered.in_memory
        X, weight = entered if whole else entered.some(SAMPLED, np.random.RandomState(0))
        weight = np.ones(len(X)) if weight is None else weight
        rows = np.flatnonzero(weight > 0)
        if len(rows) > LOOKED_AT:
            rows = np.sort(np.random.default_rng(0).choice(rows, LOOKED_AT, replace=False))
        return cls(X, weight, units.transform(X).T, rows, whole)

    def labels(self, model: Any) -> np.ndarray:
        """Clusters of the rows, [N]."""
        return model.labels_ if self.whole else model.predict(self.rows)

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


def _families(method: Method, covariance_type: Any, D: int) -> tuple[str, ...]:
    if isinstance(covariance_type, str) and covariance_type == "all":
        return method.all_families(D)
    single = isinstance(covariance_type, str)
    names = [covariance_type] if single else list(covariance_type)
    if not names:
        raise ValueError("covariance_type must hold at least one name, got none.")
    known = {"all": None, **method.families} if single else method.families
    for name in names:
        lookup(known, name, "covariance_type")
        check_univariate(name, D)
    return tuple(dict.fromkeys(names))


def _check_options(method: Method, name: str, options: dict[str, Any]) -> None:
    estimator = method.load()
    own = {*method.own, "n_components", "covariance_type", "random_state"}
    known = sorted(set(estimator().get_params()) - own)
    for option in options:
        if option not in known:
            raise ValueError(
                f"select_model with method={name!r} has no option {option!r}; those of "
                f"{estimator.__name__} that it passes on are {listed(known)}.{hint(known, option)}"
            )
    if not isinstance(options.get("init_params", ""), str):
        raise ValueError(
            "init_params must be a name, for every number of components needs a start of its own; "
            f"got {type(options['init_params']).__name__}."
        )


def _limits(method: str, min_eigenvalue: Any, min_count: Any, D: int) -> Limits | None:
    given = {"min_eigenvalue": min_eigenvalue, "min_count": min_count}
    for name, value in given.items():
        if value is None:
            continue
        if method != "em":
            raise ValueError(f"{name} is of method='em': under a prior no cell is singular.")
        check_number(value, name, low=0)
    if method != "em":
        return None
    return Limits(
        MIN_EIGENVALUE if min_eigenvalue is None else min_eigenvalue,
        D if min_count is None else min_count,
    )


def _entered(model: Any, X: Any, sample_weight: Any) -> Any:
    """Points that passed the boundary; those in pieces, after one pass over them."""
    if isinstance(X, Chunks) and hasattr(model, "init_params"):
        return enter(model, X, sample_weight, pairs=False)
    return model._enter(X, sample_weight)


def _seed(random_state: Any) -> int:
    """For the order of the rows, without a draw from a stream that the fits use."""
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return 0


def _watched(method: Method, problem: Problem, left_out: LeftOut, progress_bar: bool) -> list[Fit]:
    """All fits in the order of the table, and those of the folds, with a bar on terminals."""
    cells = len(problem.n_components) * len(problem.families)
    fits: list[Fit] = []
    with progress("fits", progress_bar) as bar:
        bar(begun=cells * (1 + len(left_out.folds)))
        for fit in method.fits(problem):
            fits.append(fit)
            bar(ended=1)
        for _ in left_out.fits(method.fits):
            bar(ended=1)
    order = {name: i for i, name in enumerate(problem.families)}
    return sorted(fits, key=lambda fit: (order[fit.covariance_type], fit.n_components))
