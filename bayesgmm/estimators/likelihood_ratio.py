"""likelihood_ratio_test: whether one component more is more than chance."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from sklearn.utils import check_random_state

from bayesgmm.arguments import check_level, check_number
from bayesgmm.bars import progress
from bayesgmm.core.arrays import Data, Standardizer, float_scope
from bayesgmm.core.covariance import FAMILIES, Covariance
from bayesgmm.core.forms import choose_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.checks import check_components, check_univariate, warn_not_converged
from bayesgmm.estimators.em import ACCELERATIONS, SINGULAR, GaussianMixture
from bayesgmm.estimators.points import capacity, standard_data, to_user, without_room
from bayesgmm.inference import em
from bayesgmm.inference.contests import Bests, bests, cells, divided, from_labels
from bayesgmm.inference.replicated import Replicates
from bayesgmm.inference.resampling import Source, parametric
from bayesgmm.messages import lookup, warn_user
from bayesgmm.shown import Shown

CANDIDATES = 8
"""Starts of each fit, times `n_init`."""


@dataclass(frozen=True, eq=False, repr=False)
class LikelihoodRatioTest(Shown):
    """Tests of K components against K + 1, for one K or several.

    Attributes
    ----------
    table : DataFrame
        One row a K that was tested, its index. Columns `statistic`, twice the gain of the log
        likelihood; `p_value`; `mcse`, its Monte Carlo standard error; `rejected` (p at most
        the level); `log_likelihood`, of K components, in nats; `n_bootstrap`, the replicates that
        count, and `n_failed`, those that do not.
    n_components : int
        The first K that was not rejected; if all were, the last and one.
    level : float or None
        As given.
    null : dict from K to ndarray
        Statistics of the replicates, NaN where one failed.
    """

    table: Any
    n_components: int
    level: float | None
    null: dict[int, np.ndarray]

    def _headline(self) -> str:
        """What the table says."""
        return f"LikelihoodRatioTest: n_components={self.n_components}"

    def _shown(self) -> Any:
        return self.table


def likelihood_ratio_test(
    X: Any,
    n_components: Any,
    *,
    covariance_type: str = "full",
    n_bootstrap: int = 99,
    level: float | None = 0.05,
    n_init: int = 4,
    reg_covar: Any = 0.0,
    tol: float | None = None,
    max_iter: int = 1000,
    random_state: Any = None,
    progress_bar: bool = True,
) -> LikelihoodRatioTest:
    r"""Test of K Gaussians against K + 1, of one covariance family, by a parametric bootstrap.

    The statistic is twice the gain of the maximised log likelihood. Its distribution under K
    components is no chi-square, as the smaller model lies on the edge of the larger one, so it is
    simulated: data sets of the same size are drawn from the fit of K components, and everything
    done to the data is done to them.

    Parameters
    ----------
    X : array-like [N, D]
    n_components : int or several
        K of the only test, or consecutive numbers, as `range(1, 6)`: K is raised until a test does
        not reject.
    covariance_type : str, default "full"
        As `GaussianMixture` has it.
    n_bootstrap : int, default 99
        Data sets drawn for each test, B. The least p-value there can be is 1 / (B + 1).
    level : float or None, default 0.05
        A test rejects where its p-value is at most this. None makes all tests, and says of each
        whether it rejects at 0.05.
    n_init : int, default 4
        Each fit begins from eight times as many starts. With few of them the fit of K is now and
        then not the best there is, and both statistics are as large as that makes them.
    reg_covar : float or "relative" or ("relative", float), default 0
        As `GaussianMixture` has it. Without it a component that collapses ends its run; with it
        tied values, which the replicates have not, can look like components.
    tol : float or None, default None
    max_iter : int, default 1000
        As `GaussianMixture` has them.
    random_state : int, RandomState or None
    progress_bar : bool, default True
        A bar of the fits, on terminals.

    Returns
    -------
    LikelihoodRatioTest
        With `table`, one row a K, and `n_components`.

    Raises
    ------
    ValueError
        If an argument is not as described, or the data cannot be fitted.

    Warns
    -----
    UserWarning
        If replicates fail; they do not count.
    ConvergenceWarning
        If fits have not converged in `max_iter` passes.

    Notes
    -----
    p = (1 + the number of replicates whose statistic is as large or larger) / (B + 1).

    Each fit begins with every point in the cell of the nearest of K points that k-means++ draws, in
    the units of its own data set; that of K + 1 from the fit of K, too, with each component in turn
    cut in two. After ten passes the four most promising go on. The starts of a replicate do not
    know what it was drawn from: a fit that did would be better than that of the data, and the
    statistics of the replicates too small. In both, fits are set aside with a component of D points
    or fewer (where the family lets single ones shrink) or flatter than 1e-8 of the variance of
    the data.

    A small p-value says that K Gaussians do not suffice; clusters that are not Gaussian have that
    effect, too.

    References
    ----------
    McLachlan (1987), *Journal of the Royal Statistical Society C* 36, 318-324. McLachlan and Peel
    (2000), *Finite Mixture Models*, section 6.4.

    Examples
    --------
    >>> from bayesgmm import datasets, likelihood_ratio_test
    >>> X, _ = datasets.load_faithful()
    >>> found = likelihood_ratio_test(X, 1, n_bootstrap=19, random_state=0)
    >>> float(found.table.loc[1, "p_value"]), found.n_components
    (0.05, 2)
    """
    numbers = _numbers(n_components)
    check_number(n_bootstrap, "n_bootstrap", integer=True, low=1)
    check_number(max_iter, "max_iter", integer=True, low=1)
    if level is not None:
        check_level(level)
    options = {"reg_covar": reg_covar, "tol": tol, "max_iter": max_iter, "n_init": n_init}
    model = GaussianMixture(numbers[-1] + 1, covariance_type=covariance_type, **options)
    entered = _entered(model, X)
    random_state = check_random_state(random_state)
    tests = []
    for K in numbers:
        seed = int(random_state.randint(2**31))
        with progress(f"{K} against {K + 1}", progress_bar) as bar, float_scope("float64"):
            tests.append(_Task.of(model, entered, K, seed, bar).test(n_bootstrap))
        if level is not None and tests[-1].p_value > level:
            break
    return _published(tests, level, max_iter)


def _numbers(n_components: Any) -> list[int]:
    """Consecutive numbers of components, checked."""
    several = isinstance(n_components, Iterable) and not isinstance(n_components, str)
    numbers = list(n_components) if several else [n_components]
    for K in numbers:
        check_number(K, "n_components", integer=True, low=1)
    if not numbers or any(b != a + 1 for a, b in zip(numbers, numbers[1:], strict=False)):
        raise ValueError(
            "n_components must be a number, or consecutive ones as range(1, 6) gives them; got "
            f"{n_components!r}."
        )
    return [int(K) for K in numbers]


def _entered(model: GaussianMixture, X: Any) -> Entered:
    """The points in float64, and every check of them and of the options."""
    lookup(FAMILIES, model.covariance_type, "covariance_type")
    model._check_options()
    entered = Entered(model._enter(X).X.astype(np.float64), None)
    check_components(model.n_components, len(entered.X))
    check_univariate(model.covariance_type, entered.X.shape[1])
    return entered


# --- one test -------------------------------------------------------------------------------------


class _Test(NamedTuple):
    """One test of K against K + 1.

    Attributes
    ----------
    K : int
    statistic : float
    log_likelihood : float
        Of K components, in the user's units.
    null : ndarray [B]
    n_unconverged : int
        Fits that were cut short, of those that count.
    """

    K: int
    statistic: float
    log_likelihood: float
    null: np.ndarray
    n_unconverged: int

    @property
    def p_value(self) -> float:
        """With the data as one of the data sets."""
        null = self.null[np.isfinite(self.null)]
        return float((1 + (null >= self.statistic).sum()) / (1 + len(null)))


class _Compared(NamedTuple):
    """Fits of K and K + 1 components to each of S data sets."""

    smaller: Bests
    statistic: np.ndarray
    n_unconverged: int


class _Task(NamedTuple):
    """One test of a family, in the core's units of the data.

    Attributes
    ----------
    model : GaussianMixture
        The options.
    entered : Entered
    units : Standardizer
    family : Covariance
    K : int
    seed : int
    watch : callable
        As `Replicates` has it.
    """

    model: GaussianMixture
    entered: Entered
    units: Standardizer
    family: Covariance
    K: int
    seed: int
    watch: Callable[[int, int], None]

    @classmethod
    def of(
        cls,
        model: GaussianMixture,
        entered: Entered,
        K: int,
        seed: int,
        watch: Callable[[int, int], None],
    ) -> Any:
        """With the units of the data."""
        family = FAMILIES[model.covariance_type]
        return cls(model, entered, model._units(entered, family.scaling), family, K, seed, watch)

    def test(self, n_bootstrap: int) -> _Test:
        """In the scope of float64."""
        data = standard_data(self.entered.X, None, self.units)
        own = self.compared(lambda r: data, 1, self.seed)
        if not np.isfinite(own.statistic[0]):
            raise ValueError(
                f"Of {self.K} components, or of one more, every fit ended in a component without "
                f"volume or with too few points. {SINGULAR}"
            )
        N = len(self.entered.X)
        fitted = jax.tree.map(lambda leaf: leaf[0], own.smaller.mixtures)
        whole = to_user(fitted, Standardizer.identity(self.entered.X.shape[1]))
        source = Source(data, float(N), without_room(whole, self.K))
        draw = lambda r: parametric(np.random.default_rng([self.seed, r]), source)  # noqa: E731
        null = self.compared(draw, n_bootstrap, self.seed + 1)
        log_likelihood = N * float(own.smaller.objective[0] - self.units.log_volume)
        cut_short = own.n_unconverged + null.n_unconverged
        return _Test(self.K, float(own.statistic[0]), log_likelihood, null.statistic, cut_short)

    def compared(self, data: Callable[[int], Data], n_sets: int, seed: int) -> _Compared:
        """What is done to the data, and to every replicate."""
        (N, D), model, K = self.entered.X.shape, self.model, self.K
        room = capacity(K + 1, N)
        config = em.EMConfig(self.family, choose_form(D, self.family.axis_aligned))
        objective = model._objective(self.units, self.family, room, self.entered.X.dtype)

        def drawn(which: np.ndarray) -> Data:
            sets = {r: data(r) for r in set(which.tolist())}
            points = np.stack([sets[r].points for r in which.tolist()])
            return Data(points, sets[which[0]].weight)

        size = data(0).weight.size
        engine = ACCELERATIONS[model.acceleration]
        tol = model._tol(self.entered)
        replicates = Replicates(drawn, size, objective, config, engine, tol, self.watch)
        labels = partial(self.labels, data, seed)
        best = partial(bests, replicates=replicates, total=N, max_iter=model.max_iter)
        begin = partial(from_labels, n_sets=n_sets, replicates=replicates, room=room)
        smaller = best(begin(partial(labels, K)))
        more, halves = begin(partial(labels, K + 1)), divided(smaller.mixtures, K)
        together = Mixture(
            *(np.concatenate(pair, axis=1) for pair in zip(more, halves, strict=True))
        )
        larger = best(together)
        both = np.isfinite(smaller.objective) & np.isfinite(larger.objective)
        gain = np.where(both, larger.objective, 0.0) - np.where(both, smaller.objective, 0.0)
        statistic = np.where(both, 2 * N * np.maximum(gain, 0.0), np.nan)
        ended = smaller.converged & larger.converged
        return _Compared(smaller, statistic, int((both & ~ended).sum()))

    def labels(self, data: Callable[[int], Data], seed: int, K: int, r: int) -> np.ndarray:
        """Starts [T, N] of a data set, found in its own units."""
        N, found = len(self.entered.X), data(r)
        points = found.points[:, :N].T
        own = Standardizer.fit(points, None, self.family.scaling).transform(points)
        rng = np.random.default_rng([seed, r, K])
        return cells(own.T, K, CANDIDATES * self.model.n_init if K > 1 else 1, rng)


# --- the tests together ---------------------------------------------------------------------------


def _published(tests: list[_Test], level: float | None, max_iter: int) -> LikelihoodRatioTest:
    import pandas as pd

    rows, bar = [], 0.05 if level is None else level
    for test in tests:
        count, p = int(np.isfinite(test.null).sum()), test.p_value
        rows.append(
            {
                "statistic": test.statistic,
                "p_value": p,
                "mcse": np.sqrt(p * (1 - p) / (count + 1)),
                "rejected": p <= bar,
                "log_likelihood": test.log_likelihood,
                "n_bootstrap": count,
                "n_failed": len(test.null) - count,
            }
        )
    index = pd.Index([test.K for test in tests], name="n_components")
    table = pd.DataFrame(rows, index=index)
    _warn(table, tests, max_iter)
    kept = table.index[~table["rejected"]]
    n_components = int(kept[0] if len(kept) else table.index[-1] + 1)
    return LikelihoodRatioTest(table, n_components, level, {test.K: test.null for test in tests})


def _warn(table: Any, tests: list[_Test], max_iter: int) -> None:
    failed = table.index[table["n_failed"] > 0].tolist()
    if failed:
        warn_user(
            f"Replicates failed in the tests of n_components={failed}, every fit of theirs ending "
            "in a component without volume or with too few points; they do not count, and "
            "`n_failed` says how many they were. Fewer components, another covariance_type, or "
            "n_init above 1 may help."
        )
    left = sum(test.n_unconverged for test in tests)
    if left:
        warn_not_converged(
            f"{left} data sets have a fit that did not converge in max_iter={max_iter} passes. "
            "Raise max_iter."
        )
