"""GaussianMixture: maximum likelihood by expectation-maximization."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Self

import jax
import numpy as np
from sklearn.utils import check_random_state

from bayesgmm.arguments import check_number
from bayesgmm.core.arrays import Data, Standardizer, float_scope
from bayesgmm.core.conjugate import flat_prior
from bayesgmm.core.covariance import FAMILIES, Covariance, packed_shape, unpack
from bayesgmm.core.forms import choose_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.estimators import conjugate, pieces, streaming, trimming
from bayesgmm.estimators.base import Entered, MixtureEstimator, print_progress, read_joint
from bayesgmm.estimators.checks import (
    check_components,
    check_matrices,
    check_means_init,
    check_univariate,
    check_weights_init,
    warn_not_converged,
)
from bayesgmm.estimators.entry import enter
from bayesgmm.estimators.points import (
    capacity,
    in_form,
    logsumexp,
    most_probable,
    n_shards,
    placed,
    sureness,
    to_standard,
    weighted_mean,
    with_room,
    without_room,
)
from bayesgmm.inference import em, squarem
from bayesgmm.inference.drive import Run
from bayesgmm.inference.restarts import TRIAL, best, put_in, race
from bayesgmm.inference.starts import CANDIDATES
from bayesgmm.io.chunks import in_pieces
from bayesgmm.messages import lookup


class Optimum(NamedTuple):
    """The best of several restarts.

    Attributes
    ----------
    run : Run
        Of all restarts.
    best : int
    mixture : Mixture
        Of the best one, with a leading axis of 1.
    support : ndarray [N] or None
        What a trimmed fit keeps of the weight of each row.
    """

    run: Run
    best: int
    mixture: Mixture
    support: np.ndarray | None = None


class Task(NamedTuple):
    """What is to be maximised, and over which points.

    Attributes
    ----------
    shards, placed : list of Data
        In NumPy's memory, and as the programs take them.
    units : Standardizer
    objective : em.Objective
    config : em.EMConfig
    """

    shards: list
    placed: list
    units: Standardizer
    objective: em.Objective
    config: em.EMConfig


NONE_YET = (-np.inf, np.inf, np.inf)
"""Objective, gain and gains to come of a fit that has not begun."""

SCREENED = 32_768
"""Of more points than these so many, drawn at random, choose among the restarts."""

ACCELERATIONS = {"squarem": squarem, None: em}
"""The modules that fit a mixture: `begin`, `run` and `outcome`."""


class GaussianMixture(MixtureEstimator):
    r"""Gaussian mixture fitted by expectation-maximization.

    Takes the place of `sklearn.mixture.GaussianMixture`: the same parameters, attributes and
    results, and beyond them sample weights, given starts, restarts run together, sub-mixtures
    and assignment uncertainty.

    Parameters
    ----------
    n_components : int, default 1
    covariance_type : str, default "full"
        What the components' covariances may be, by scikit-learn's name or by mclust's letters for
        volume, shape and orientation (E: equal, V: variable, I: round, or along the axes). Under
        scikit-learn's names `covariances_` has scikit-learn's shape, under the others [K, D, D].

        - "full", "VVV": any covariance for each component
        - "tied", "EEE": any covariance, one for all
        - "diag", "VVI": diagonal for each
        - "spherical", "VII": a multiple of the identity for each
        - "EII": a multiple of the identity, one for all
        - "EEI": diagonal, one for all
        - "VEI": diagonal, of one shape and volumes of their own
        - "EVI": diagonal, of one volume and shapes of their own
        - "VEE": one matrix, times a volume for each
        - "EVV": any covariances of one volume
        - "EEV": one volume and shape, turned for each
        - "VEV": one shape, a volume for each, turned for each
        - "EVE": one volume and common axes, a shape for each
        - "VVE": common axes, a volume and shape for each (common principal components)
        - "E", "V": for one feature, one variance or one for each
    tol : float or None, default None
        None: a run has converged when the gains to come are expected to add up to less than
        0.0001 nats of the log likelihood of all points (Aitken's extrapolation, twice in a row).
        A number is scikit-learn's criterion: the mean log density gains less than this in an
        iteration. At its default of 0.001 a slow run can end 200 nats below the maximum.
    reg_covar : float or "relative" or ("relative", float), default 1e-6
        Added to each variance: in the square of the features' units, or as a share (1e-6 unless
        given) of the variance of each feature, which no change of units alters.
    max_iter : int, default 1000
        Passes over the points. 0 gives the parameters of the start.
    n_init : int, default 1
        Restarts; under "cells" each tries eight candidates. After ten passes the worse half is
        dropped, and of those that go on the one of largest likelihood is kept; of more than
        32,768 points a random sample of so many chooses. A start that is given is the only one.
    init_params : str or array, default "cells"
        How starting responsibilities are found, on standardised points: "cells", each point with
        the nearest of K points that k-means++ draws; "kmeans", "k-means++", "random" and
        "random_from_data" as in scikit-learn; "kmeans-whitened", k-means in the metric of the
        covariance within the clusters, for long ones (Friedman and Rubin 1967); "hierarchical",
        Gaussian model-based agglomeration as mclust's `hc`, in one dimension quantiles: the same
        from every seed, restarts beyond the first being cells. Or labels [N] (-1 for none) or
        responsibilities [N, K] to start from.
    weights_init : array [K], optional
    means_init : array [K, D], optional
    precisions_init : array, optional
        In the shape of `precisions_`. What is given replaces that part of the start.
    prior : None or "data-scaled" or ConjugatePrior, default None
        With a prior the fit is maximum a posteriori: a covariance cannot become singular, however
        few the points. "data-scaled" is the prior of Fraley and Raftery (2007), worth a hundredth
        of a point; a `ConjugatePrior` sets any of its numbers. `reg_covar` is not added then.
    support_fraction : float, optional
        For data with outliers: the share of the points (by weight) that the fit keeps, above 0.5
        and at most 1. The others, of least density, have no part in it; `support_` says which.
        A share for the outliers or a little more is right: the covariances are those of the
        points kept, and become too small where points of the clusters are left out, too.
        Beside the `n_init` starts (unless they are given) the best of many small subsets are
        tried. None, and 1, leave no point out.
    learning_decay, learning_offset : float, default 0.7 and 2.0
        Step sizes of `partial_fit`, (t + learning_offset) ** -learning_decay for the batch of
        number t after the first; the decay is above 0.5 and at most 1.
    acceleration : "squarem" or None, default "squarem"
        Squared extrapolation of pairs of EM steps once these gain little: but for one start in
        hundreds the same maximum, in fewer passes. None is EM, iteration by iteration; with
        `tol=1e-3` and `max_iter=100` it is scikit-learn's fit.
    random_state : int, RandomState or None
    warm_start : bool, default False
        Whether `fit` goes on from the last fit.
    verbose : int, default 0
        1 prints the iterations, 2 their gains too.
    verbose_interval : int, default 10

    Attributes
    ----------
    weights_ : ndarray [K]
    means_ : ndarray [K, D]
    covariances_, precisions_, precisions_cholesky_ : ndarray
        [K, D, D], or scikit-learn's shape: [D, D] "tied", [K, D] "diag", [K] "spherical".
    labels_ : ndarray [N]
        Most probable component of each row that was fitted, unless these were read in pieces.
    mixture_ : core.Mixture
    converged_ : bool
    n_iter_ : int
    lower_bound_ : float
        Mean log density of the points under the fitted parameters: `score(X)`. With
        `support_fraction`, of the points that are kept. Under a prior, plus the log density of
        the parameters over the number of points: what is maximised.
    lower_bounds_ : list of float
        The same before each iteration of the run that was kept. A pass that tries an
        extrapolation repeats the last one.
    restart_lower_bounds_ : list of ndarray
        The same for every restart and candidate, over the sample that chose where there was one.
    best_restart_ : int
    support_ : ndarray [N] of bool
        With `support_fraction`: which rows are kept, the one on the edge included.
    prior_ : ConjugatePrior
        Under a prior: with all of its numbers, in the units of the data.
    n_batch_iter_ : int
        Batches that `partial_fit` has seen.
    n_components_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray [D]
        When `X` was a DataFrame.

    References
    ----------
    Dempster, Laird and Rubin (1977), *Journal of the Royal Statistical Society B* 39, 1-38.
    Celeux and Govaert (1995), *Pattern Recognition* 28, 781-793, for the families of covariances.
    Boehning et al. (1994), *Annals of the Institute of Statistical Mathematics* 46, 373-388, for
    the criterion of convergence; Varadhan and Roland (2008), *Scandinavian Journal of Statistics*
    35, 335-353, for the acceleration.
    Starts: Fraley (1998), *SIAM Journal on Scientific Computing* 20, 270-281; Friedman and Rubin
    (1967), *Journal of the American Statistical Association* 62, 1159-1178.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import GaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> sorted(model.means_[:, 0].round(6).tolist())
    [1.0, 10.0]
    >>> bool(model.predict([[0, 0]]) == model.labels_[0])
    True
    """

    # those of the base class that are set here, again: type checkers ask for it
    n_components_: int
    labels_: np.ndarray
    n_iter_: int
    converged_: bool
    lower_bound_: float
    lower_bounds_: list[float]
    restart_lower_bounds_: list[np.ndarray]
    best_restart_: int
    support_: np.ndarray
    prior_: conjugate.ConjugatePrior
    n_batch_iter_: int

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float | None = None,
        reg_covar: Any = 1e-6,
        max_iter: int = 1000,
        n_init: int = 1,
        init_params: Any = "cells",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        prior: Any = None,
        support_fraction: float | None = None,
        learning_decay: float = 0.7,
        learning_offset: float = 2.0,
        acceleration: str | None = "squarem",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.prior = prior
        self.support_fraction = support_fraction
        self.learning_decay = learning_decay
        self.learning_offset = learning_offset
        self.acceleration = acceleration
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, columns: Any = None) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : array-like or DataFrame [N, D], or what `Chunks` takes
            float32 is fitted in float32, all else in float64. A `np.memmap`, the path of a Parquet
            file or folder, a list of arrays and a function that returns an iterator of arrays are
            read in pieces, of which a few are in memory at a time. The fit then begins with that
            of up to 32,768 rows drawn at random, goes on by passes over all rows, and leaves no
            `labels_`: ask ``predict(X)``. Of an array or a table of Dask the passes are made by its
            workers.
        y : ignored
        sample_weight : array-like [N], or the name of a column of pieces, optional
            Beside a Dask array, one in its chunks.
            A row of weight 2 counts as two rows, one of weight 0 as none.
        columns : sequence, optional
            Which columns of pieces to take; all when not given.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an argument is not as described, a value is missing or infinite, or every restart
            ends in a singular covariance.

        Warns
        -----
        ConvergenceWarning
            If the run that is kept has not converged in `max_iter` iterations.
        """
        return self._fit_or_stay(in_pieces(X, columns) or X, sample_weight)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Follow one more batch of a stream: stepwise EM.

        The first batch is fitted as `fit` would (from `n_init` starts, for `max_iter` iterations).
        Each later one is seen once: its moments are mixed into the running ones by a step size
        that falls, (t + learning_offset) ** -learning_decay for the batch of number t after the
        first. A batch counts by its step, whatever its number of rows. After `fit`, or
        `from_parameters`, the stream goes on from those parameters.

        One pass over a stream gains what a few passes of `fit` gain, and then little more: where
        the data can be read again, polish it by `set_params(warm_start=True).fit(X)`.

        Parameters
        ----------
        X : array-like or DataFrame [n, D]
            One program serves all batches of one size. The first must hold a row a component, and
            should show every cluster: the batches to come are seen in its light.
        y : ignored
        sample_weight : array-like [n], optional

        Returns
        -------
        self
            `labels_` and `lower_bound_` are of this batch, `lower_bounds_` has for each batch the
            mean log density that it had before it was followed (of the first one, after).

        Raises
        ------
        ValueError
            If an argument is not as described, or a covariance becomes singular: the estimator
            then stays as it was before the batch.

        References
        ----------
        Cappe and Moulines (2009), *Journal of the Royal Statistical Society B* 71, 593-613. Liang
        and Klein (2009), *Proceedings of NAACL HLT*, 611-619.

        Examples
        --------
        >>> import numpy as np
        >>> from bayesgmm import GaussianMixture
        >>> rng = np.random.default_rng(0)
        >>> model = GaussianMixture(2, random_state=0)
        >>> for _ in range(20):
        ...     batch = rng.normal(size=(200, 1)) + rng.choice([0, 8], (200, 1))
        ...     model = model.partial_fit(batch)
        >>> sorted(model.means_[:, 0].round(0).tolist()), model.n_batch_iter_
        ([0.0, 8.0], 20)
        """
        return self._fit_or_stay(X, sample_weight, self._follow)

    def _fit(self, X: Any, sample_weight: Any) -> None:
        self._fit_all(X, sample_weight)
        self._say_if_not_converged()

    def _fit_all(self, X: Any, sample_weight: Any) -> None:
        self._check_options()
        family = lookup(FAMILIES, self.covariance_type, "covariance_type")
        resume = self.warm_start and hasattr(self, "converged_")
        entered = enter(self, X, sample_weight, pairs=self.prior is not None)
        kept = entered.kept(relative=self.prior is None)
        N, D = kept.shape
        check_components(self.n_components, N)
        check_univariate(self.covariance_type, D)
        trims = trimming.check_support(self.support_fraction, self.n_components, N)
        if trims and not entered.in_memory:
            raise ValueError(
                "support_fraction is for points in memory, whose densities can be ranked; X is read"
                f" in pieces. Got support_fraction={self.support_fraction!r}: leave it out."
            )
        units = self._units(kept, family.scaling, robust=trims)
        self._resolve(kept, units, family, robust=trims)
        start = self._last if resume else partial(self._begin, entered)
        last = self._previous(units, family, kept.total) if resume else NONE_YET
        with float_scope(kept.dtype):
            search = self._trim if trims else self._optimize
            fit = search(kept, units, family, start, last, resume)
        self._leave(fit, units, entered)

    def _optimize(
        self,
        kept: Entered,
        units: Standardizer,
        family: Covariance,
        start: Callable,
        last: tuple,
        resume: bool,
    ) -> Optimum:
        """All restarts and the best of them; for many points it is chosen on a sample of them."""
        few = kept.in_memory and (self._n_starts() == 1 or kept.shape[0] <= SCREENED)
        if resume or few or all(self._parts_given()):
            return self._compete(kept, units, family, start, last)
        sample = kept.some(SCREENED, check_random_state(self.random_state))
        found = self._compete(sample, units, family, start, last)
        chosen = self._compete(kept, units, family, lambda *_: found.mixture, last)
        return chosen._replace(run=put_in(found.run, found.best, chosen.run), best=found.best)

    def _n_starts(self) -> int:
        """How many mixtures to begin with."""
        if not isinstance(self.init_params, str) or all(self._parts_given()):
            return 1
        # none can be dropped in fewer passes than a trial takes
        return self.n_init * (CANDIDATES.get(self.init_params, 1) if self.max_iter >= TRIAL else 1)

    def _compete(
        self,
        kept: Entered,
        units: Standardizer,
        family: Covariance,
        start: Callable,
        last: tuple,
    ) -> Optimum:
        """Restarts over these points; the standardised ones are gone when it returns."""
        task = self._task(kept, units, family)
        mixtures = start(kept, *task)
        engine = ACCELERATIONS[self.acceleration]

        def advance(state: Any, passes: int, restart: int, before: int) -> Run:
            watch = partial(print_progress, self, restart=restart, before=before)
            given = (task.placed, task.objective, task.config, self._tol(kept))
            return engine.run(state, *given, passes, watch)

        run = race(engine.begin(mixtures, *last), advance, self.max_iter, kept.shape[0])
        mixtures = engine.outcome(run)
        chosen = best(run)
        if chosen is None:
            raise ValueError(SINGULAR)
        if len(run.failed) > 1 and run.n_iter[chosen] == self.max_iter:
            # cut short: the last step of each has gained what its objective lacks
            ended = ~run.failed & (run.converged | (run.n_iter == self.max_iter))
            chosen = em.best(mixtures, ended, task.placed, task.config, task.objective)
        return Optimum(run, chosen, jax.tree.map(lambda leaf: leaf[chosen : chosen + 1], mixtures))

    def _task(self, kept: Entered, units: Standardizer, family: Covariance) -> Task:
        (N, D), dtype = kept.shape, kept.dtype
        config = em.EMConfig(family, choose_form(D, family.axis_aligned), self.prior is not None)
        threads = n_shards(N, D, self.n_components, family.axis_aligned)
        shards = kept.shards(units, threads)
        if self.support_fraction is not None:
            trimming.tame(shards)
        objective = self._objective(units, family, self._room(N), dtype)
        return Task(shards, placed(shards, N), units, objective, config)

    def _tol(self, kept: Entered) -> float:
        """`tol`, or what stands for None."""
        return em.FORESEEN / kept.shape[0] if self.tol is None else self.tol

    def _trim(
        self,
        kept: Entered,
        units: Standardizer,
        family: Covariance,
        start: Callable,
        last: tuple,
        resume: bool,
    ) -> Optimum:
        """A trimmed fit: the starts, and unless they are given those of small subsets."""
        task = self._task(kept, units, family)
        mixtures, engine = start(kept, *task), ACCELERATIONS[self.acceleration]
        problem = trimming.Problem(
            kept, units, self.n_components, task.placed, task.objective, task.config, engine
        )
        if not (resume or self._is_given()) and self.max_iter > 0:
            random_state = check_random_state(self.random_state)
            mixtures = trimming.with_subsets(mixtures, problem, random_state)
        watch = partial(print_progress, self)
        run, found = trimming.run(mixtures, problem, self._tol(kept), self.max_iter, last, watch)
        if found is None:
            raise ValueError(SINGULAR)
        r = found.run
        mixture = jax.tree.map(lambda leaf: leaf[r : r + 1], engine.outcome(run))
        return Optimum(run, r, mixture, found.weight)

    def _check_options(self) -> None:
        check_number(self.n_components, "n_components", integer=True, low=1)
        lookup(ACCELERATIONS, self.acceleration, "acceleration")
        if self.tol is not None:
            check_number(self.tol, "tol", low=0)
        conjugate.check_prior(self.prior, self.reg_covar)
        streaming.check_steps(self.learning_decay, self.learning_offset)
        self._check_common()

    def _room(self, N: int) -> int:
        """Components of the program that fits N points.

        Under a prior there are no more than K: a component without points has parameters, too.
        """
        return capacity(self.n_components, N) if self.prior is None else self.n_components

    # --- the prior

    def _resolve(
        self, kept: Entered, units: Standardizer, family: Covariance, robust: bool = False
    ) -> None:
        """`prior_`, with all of its numbers."""
        self.__dict__.pop("prior_", None)
        if self.prior is not None:
            given = (self.prior, kept, units, family, self.n_components)
            self.prior_ = conjugate.resolved(*given, robust=robust)

    def _objective(
        self, units: Standardizer, family: Covariance, room: int, dtype: Any
    ) -> em.Objective:
        """What is maximised beside the likelihood, in the core's units."""
        D, K = len(units.scale), self.n_components
        if self.prior is None:
            prior, ridge = flat_prior(family, room, D, dtype), self._ridge(units, dtype)
        else:
            prior = conjugate.hyperparameters(self.prior_, units, family, K, dtype)
            ridge = np.zeros(D, dtype)
        share = 1.0 if self.support_fraction is None else self.support_fraction
        return em.Objective(prior, ridge, np.bool_(self.tol is None), share)

    def _prior_height(self, units: Standardizer) -> tuple[float, float]:
        """Log density of the fitted parameters under the prior, and what the objective lacks of it.

        Both in the user's units, and 0 without a prior.
        """
        if self.prior is None:
            return 0.0, 0.0
        given = (self.mixture_, self.prior_)
        family = FAMILIES[self.covariance_type]
        return conjugate.log_density(*given, family), conjugate.constant(*given, units, family)

    def _previous(self, units: Standardizer, family: Covariance, total: float) -> tuple:
        """Where the last fit ended: its objective in the core's units, and its gains."""
        objective, *gains = self._last_gains
        objective += units.log_volume
        if self.prior is not None:
            constant = conjugate.constant(self.mixture_, self.prior_, units, family)
            objective -= constant / (total * (self.support_fraction or 1.0))
        return objective, *gains

    def _is_given(self) -> bool:
        """Whether some of the start was given, so that there is to be no other."""
        return any(self._parts_given()) or not isinstance(self.init_params, str)

    def _parts_given(self) -> list[bool]:
        """Whether weights, means and precisions of the start were given."""
        parts = (self.weights_init, self.means_init, self.precisions_init)
        return [part is not None for part in parts]

    # --- where it begins

    def _begin(
        self,
        entered: Entered,
        kept: Entered,
        shards: list[Data],
        placed: list[Data],
        units: Standardizer,
        objective: em.Objective,
        config: em.EMConfig,
    ) -> Mixture:
        """Mixtures [R, ...] to begin with: from a start, and from what the user gave of it."""
        given = self._parts_given()
        own = self._given(units, config.family, kept) if any(given) else None
        if all(given):
            return own
        start = self._start(entered, kept, shards, self.n_components, self._n_starts())
        room = self._room(kept.shape[0])
        if start.ndim == 3:
            start = np.pad(start, [(0, 0), (0, room - start.shape[1]), (0, 0)])
        found = em.start_all(placed, start, objective, config, room)
        if own is None:
            return found
        return Mixture(
            *(
                np.broadcast_to(new, np.shape(old)) if is_given else np.asarray(old)
                for old, new, is_given in zip(found, own, given, strict=True)
            )
        )

    def _given(self, units: Standardizer, family: Covariance, kept: Entered) -> Mixture:
        """The part of a start that the user gave, in the core's units; anything for the rest."""
        K, D = self.n_components, len(units.scale)
        weights, means, scales = (
            np.full(K, 1 / K),
            np.zeros((K, D)),
            np.broadcast_to(np.eye(D), (K, D, D)),
        )
        if self.weights_init is not None:
            weights = check_weights_init(self.weights_init, K)
        if self.means_init is not None:
            means = check_means_init(self.means_init, K, D)
        if self.precisions_init is not None:
            packed = check_matrices(self.precisions_init, self.covariance_type, K, D)
            precisions = np.asarray(unpack(self.covariance_type, packed, K, D))
            scales = np.linalg.cholesky(np.linalg.inv(precisions))
        with np.errstate(divide="ignore"):
            mixture = Mixture(np.log(weights), means, scales)
        room = self._room(kept.shape[0])
        return stored(to_standard(mixture, units), family, kept.dtype, room)

    def _last(
        self,
        kept: Entered,
        shards: list[Data],
        placed: list[Data],
        units: Standardizer,
        objective: em.Objective,
        config: em.EMConfig,
    ) -> Mixture:
        """The last fit, in the units of this one: the other way to begin."""
        self._check_last(len(units.scale), "warm_start=True", "Set warm_start=False")
        last = to_standard(self.mixture_, units)
        return stored(last, config.family, kept.dtype, self._room(kept.shape[0]))

    def _check_last(self, D: int, what: str, way_out: str) -> None:
        """The last fit has the shapes of the next one."""
        K = self.n_components
        wanted = ((K, D), packed_shape(self.covariance_type, K, D))
        found = (np.shape(self.means_), np.shape(self.covariances_))
        if found != wanted:
            raise ValueError(
                f"{what} goes on from the last fit, whose means_ and covariances_ have "
                f"shapes {found[0]} and {found[1]}; now they are to have {wanted[0]} and "
                f"{wanted[1]}. {way_out} to start anew."
            )

    # --- where it ends

    def _leave(self, fit: Optimum, units: Standardizer, entered: Entered) -> None:
        dtype, (run, chosen, mixtures, support) = entered.dtype, fit
        mixture = jax.tree.map(lambda leaf: leaf[0], mixtures)
        self._publish(without_room(mixture, self.n_components), units, dtype)
        self.n_components_ = self.n_components
        self.converged_ = bool(run.converged[chosen])
        self.n_iter_ = int(run.n_iter[chosen])
        weight = entered.weight if support is None else entered.spread(support)
        total = entered.total if support is None else float(weight.sum())
        height, constant = self._prior_height(units)
        if entered.in_memory:
            self.labels_, density = self._read(entered.X, most_probable, logsumexp)
            mean = weighted_mean(density, weight)
        else:
            self.__dict__.pop("labels_", None)
            aligned = FAMILIES[self.covariance_type].axis_aligned
            mean = pieces.mean_log_density(mixtures, entered, units, aligned)
        self.lower_bound_ = mean + height / total
        shift = constant / total - units.log_volume
        traces = [trace + shift for trace in run.history]
        for of_another_fit in ("support_", "n_batch_iter_"):
            self.__dict__.pop(of_another_fit, None)
        if support is not None:
            self.support_ = weight > 0
        self.lower_bounds_ = traces[chosen].tolist()
        self.restart_lower_bounds_ = traces
        self.best_restart_ = chosen
        objective = float(run.objective[chosen]) + shift
        self._last_gains = objective, float(run.state.gain[chosen]), float(run.state.rest[chosen])
        self._streamed, self._n_seen = None, entered.total

    def _say_if_not_converged(self) -> None:
        if not self.converged_ and self.max_iter > 0:
            gain = np.diff(self.lower_bounds_)[-1:]
            last = f"a last gain of {gain[0]:.1e}" if len(gain) else "no gain to judge by"
            warn_not_converged(
                "Best performing initialization did not converge. Try different init parameters, "
                "or increase max_iter, tol, or check for degenerate data. (EM ended after "
                f"{self.n_iter_} iterations with {last}; max_iter={self.max_iter}, "
                f"tol={self.tol}.)"
            )

    # --- a stream

    def _follow(self, X: Any, sample_weight: Any) -> None:
        self._check_options()
        if self.support_fraction is not None:
            raise ValueError(
                "partial_fit sees one batch at a time, and cannot know which share of them all is "
                f"to be left out: got support_fraction={self.support_fraction!r}. Leave it out."
            )
        if not hasattr(self, "converged_"):
            return self._first_batch(X, sample_weight)
        family = lookup(FAMILIES, self.covariance_type, "covariance_type")
        entered = self._enter(X, sample_weight, reset=False)
        self._check_last(entered.X.shape[1], "partial_fit", "Call fit")
        kept, dtype = entered.kept(relative=False), self.means_.dtype
        old = self._streamed or streaming.resumed(self.mixture_, self._ridge, family, self._n_seen)
        if self.prior is not None and not hasattr(self, "prior_"):
            self._resolve(kept, self._units(kept, family.scaling), family)
        objective = self._objective(old.units, family, self.n_components, kept.X.dtype)
        steps = (self.learning_decay, self.learning_offset)
        streamed = streaming.follow(old, kept, objective, family, *steps)
        if streamed is None:
            raise ValueError(SINGULAR)
        self._publish(streamed.stream.mixture, streamed.units, dtype)
        self._leave_batch(streamed, entered)

    def _first_batch(self, X: Any, sample_weight: Any) -> None:
        self._fit_all(X, sample_weight)
        family = FAMILIES[self.covariance_type]
        entered = self._enter(X, sample_weight, reset=False)
        kept = entered.kept(relative=False)
        score = self.score(X, sample_weight=sample_weight)
        streamed = streaming.began(self.mixture_, kept, family, [score])
        self._leave_batch(streamed, entered)

    def _leave_batch(self, streamed: streaming.Streamed, entered: Entered) -> None:
        self.labels_, density = self._read(entered.X, most_probable, logsumexp)
        self.lower_bound_ = weighted_mean(density, entered.weight)
        self.lower_bounds_ = list(streamed.trace)
        self.restart_lower_bounds_, self.best_restart_ = [np.array(streamed.trace)], 0
        self.converged_, self._last_gains = False, NONE_YET
        self.n_components_ = self.n_components
        self.n_batch_iter_ = self.n_iter_ = streamed.n_batches
        self._streamed, self._n_seen = streamed, streamed.total

    # --- model choice

    def _n_parameters(self) -> int:
        K, D = np.shape(self.means_)
        return n_parameters(self.covariance_type, K, D)

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """Bayesian information criterion, lower is better.

        Parameters
        ----------
        X : array-like [N, D]
        sample_weight : array-like [N], optional
            N in the criterion is the sum of the weights.

        Returns
        -------
        float
            -2 log likelihood + (number of parameters) log N. mclust states the negative. Under a
            prior the likelihood is that of the mode, without the prior's density (Fraley and
            Raftery 2007); after a trimmed fit give it the points to judge by, `X[support_]`.

        References
        ----------
        Schwarz (1978), *Annals of Statistics* 6, 461-464.
        """
        total, log_likelihood = self._sums(X, sample_weight, logsumexp)
        return bic_of(log_likelihood, self._n_parameters(), total)

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Akaike information criterion, -2 log likelihood + 2 (number of parameters).

        Parameters
        ----------
        X : array-like [N, D]
        sample_weight : array-like [N], optional

        Returns
        -------
        float
            Lower is better. The likelihood is that of the fitted parameters, as in `bic`.
        """
        _, log_likelihood = self._sums(X, sample_weight, logsumexp)
        return aic_of(log_likelihood, self._n_parameters())

    def icl(self, X: Any, sample_weight: Any = None) -> float:
        """Integrated completed likelihood, by its BIC: `bic` and a penalty for unsure assignments.

        Parameters
        ----------
        X : array-like [N, D]
        sample_weight : array-like [N], optional

        Returns
        -------
        float
            Lower is better: `bic` - 2 sum_n log max_k p(k | x_n), as in mclust, which states the
            negative.

        References
        ----------
        Biernacki, Celeux and Govaert (2000), *IEEE Transactions on Pattern Analysis and Machine
        Intelligence* 22, 719-725.
        """
        total, log_likelihood, sure = self._sums(X, sample_weight, logsumexp, sureness)
        return bic_of(log_likelihood + sure, self._n_parameters(), total)

    def _sums(self, X: Any, sample_weight: Any, *read: Callable) -> tuple[float, ...]:
        """Number of points, and sums over them of what each of `read` makes of the log joint."""
        total, *means = self._means(X, sample_weight, partial(read_joint, read))
        return total, *(total * mean for mean in means)

    @classmethod
    def from_parameters(
        cls,
        weights: Any,
        means: Any,
        covariances: Any,
        *,
        covariance_type: str = "full",
        feature_names: Any = None,
        random_state: Any = None,
    ) -> Self:
        """A fitted mixture from given parameters.

        Parameters
        ----------
        weights : array-like [K]
        means : array-like [K, D]
        covariances : array-like
            In the shape of `covariances_` for this `covariance_type`.
        covariance_type : str, default "full"
        feature_names : sequence of str, optional
        random_state : int, RandomState or None

        Returns
        -------
        GaussianMixture

        Raises
        ------
        ValueError
            If shapes do not agree, weights do not sum to one, or a covariance is not positive
            definite.

        Examples
        --------
        >>> from bayesgmm import GaussianMixture
        >>> model = GaussianMixture.from_parameters([0.3, 0.7], [[0.0], [5.0]], [[[1.0]], [[4.0]]])
        >>> float(round(model.score([[0.0]]), 3))
        -2.073
        """
        lookup(FAMILIES, covariance_type, "covariance_type")
        means = np.asarray(means, np.float64)
        if means.ndim != 2:
            raise ValueError(f"means must have shape (K, D), got {means.shape}.")
        K, D = means.shape
        check_univariate(covariance_type, D)
        weights, means = check_weights_init(weights, K), check_means_init(means, K, D)
        packed = check_matrices(covariances, covariance_type, K, D, "covariance")
        model = cls(K, covariance_type=covariance_type, random_state=random_state)
        matrices = np.asarray(unpack(covariance_type, packed, K, D))
        with np.errstate(divide="ignore"):
            mixture = Mixture(np.log(weights), means, np.linalg.cholesky(matrices))
        model._publish(mixture, Standardizer.identity(D), np.float64)
        model.n_features_in_, model.n_components_ = D, K
        model.n_iter_, model.converged_, model._last_gains = 0, False, NONE_YET
        model._streamed, model._n_seen = None, 0.0
        if feature_names is not None:
            names = np.asarray(feature_names, dtype=object)
            if names.shape != (D,):
                raise ValueError(f"feature_names must name {D} features, got {names.tolist()}.")
            model.feature_names_in_ = names
        return model


MixtureEstimator._plug_in = GaussianMixture  # what the marginals of any estimator are

SINGULAR = (
    "Fitting the mixture model failed because some components have ill-defined empirical "
    "covariance (for instance caused by singleton or collapsed samples). Try to decrease the "
    "number of components, increase reg_covar, or scale the input data."
)


def n_parameters(covariance_type: str, K: int, D: int) -> int:
    """Free parameters of a mixture: weights, means, covariances."""
    return K - 1 + K * D + FAMILIES[covariance_type].n_parameters(K, D)


def bic_of(log_likelihood: float, n_parameters: int, total: float) -> float:
    """Bayesian information criterion of so many points; of the completed likelihood it is ICL."""
    return float(-2 * log_likelihood + n_parameters * np.log(total))


def aic_of(log_likelihood: float, n_parameters: int) -> float:
    """Akaike information criterion."""
    return float(-2 * log_likelihood + 2 * n_parameters)


def stored(mixture: Mixture, family: Covariance, dtype: Any, room: int) -> Mixture:
    """A mixture [K, D, D] as a fit by this family holds it, with a leading axis of one run."""
    leaves = in_form(with_room(mixture, room), family)
    return Mixture(*(np.array(leaf, dtype)[None] for leaf in leaves))
