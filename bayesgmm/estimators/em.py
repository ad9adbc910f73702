"""GaussianMixture: maximum likelihood by expectation-maximization."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Self

import jax
import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from bayesgmm.core.arrays import Data, Standardizer, float_scope
from bayesgmm.core.conjugate import flat_prior
from bayesgmm.core.covariance import FAMILIES, Covariance, packed_shape, unpack
from bayesgmm.core.forms import choose_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.estimators.base import Entered, MixtureEstimator, print_progress
from bayesgmm.estimators.checks import (
    check_components,
    check_matrices,
    check_means_init,
    check_number,
    check_univariate,
    check_weights_init,
    lookup,
    warn_not_converged,
)
from bayesgmm.estimators.points import (
    FEW,
    capacity,
    evaluate,
    logsumexp,
    most_probable,
    n_shards,
    standard_shards,
    to_standard,
    to_user,
    weighted_mean,
    with_room,
    without_room,
)
from bayesgmm.inference import em, squarem
from bayesgmm.inference.drive import Run
from bayesgmm.inference.restarts import TRIAL, best, put_in, race
from bayesgmm.inference.starts import CANDIDATES


class Optimum(NamedTuple):
    """The best of several restarts.

    Attributes
    ----------
    run : Run
        Of all restarts.
    best : int
    mixture : Mixture
        Of the best one, with a leading axis of 1.
    """

    run: Run
    best: int
    mixture: Mixture


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
        0.001 nats of the log likelihood of all points (Aitken's extrapolation, twice in a row).
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
    acceleration : "squarem" or None, default "squarem"
        Squared extrapolation of pairs of EM steps once a run has settled in its basin: the same
        maximum in fewer passes. None is EM, iteration by iteration; with `tol=1e-3` and
        `max_iter=100` it is scikit-learn's fit.
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
        Most probable component of each row that was fitted.
    mixture_ : core.Mixture
    converged_ : bool
    n_iter_ : int
    lower_bound_ : float
        Mean log density of the points under the fitted parameters: `score(X)`.
    lower_bounds_ : list of float
        Mean log density before each iteration of the run that was kept. A pass that tries an
        extrapolation repeats the last one.
    restart_lower_bounds_ : list of ndarray
        The same for every restart and candidate, over the sample that chose where there was one.
    best_restart_ : int
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
        self.acceleration = acceleration
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : array-like or DataFrame [N, D]
            float32 is fitted in float32, all else in float64.
        y : ignored
        sample_weight : array-like [N], optional
            A row of weight 2 counts as two rows, one of weight 0 as none.

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
        return self._fit_or_stay(X, sample_weight)

    def _fit(self, X: Any, sample_weight: Any) -> None:
        self._check_options()
        family = lookup(FAMILIES, self.covariance_type, "covariance_type")
        resume = self.warm_start and hasattr(self, "converged_")
        entered = self._enter(X, sample_weight)
        kept = entered.kept()
        N, D = kept.X.shape
        check_components(self.n_components, N)
        check_univariate(self.covariance_type, D)
        units = self._units(kept, family.scaling)
        start = self._last if resume else partial(self._begin, entered)
        objective, *gains = self._last_gains if resume else NONE_YET
        last = (objective + units.log_volume, *gains)
        with float_scope(kept.X.dtype):
            fit = self._optimize(kept, units, family, start, last, resume)
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
        if resume or self._n_starts() == 1 or len(kept.X) <= SCREENED:
            return self._compete(kept, units, family, start, last)
        sample = kept.some(SCREENED, check_random_state(self.random_state))
        found = self._compete(sample, units, family, start, last)
        chosen = self._compete(kept, units, family, lambda *_: found.mixture, last)
        return chosen._replace(run=put_in(found.run, found.best, chosen.run), best=found.best)

    def _n_starts(self) -> int:
        """How many mixtures to begin with."""
        given = (self.weights_init, self.means_init, self.precisions_init)
        if not isinstance(self.init_params, str) or all(part is not None for part in given):
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
        (N, D), dtype = kept.X.shape, kept.X.dtype
        config = em.EMConfig(family, choose_form(D, family.axis_aligned))
        threads = n_shards(N, D, self.n_components, family.axis_aligned)
        shards = standard_shards(kept.X, kept.weight, units, threads)
        prior = flat_prior(family, capacity(self.n_components, N), D, dtype)
        ridge = self._ridge(units, dtype)
        objective = em.Objective(prior, ridge, np.bool_(self.tol is None))
        # shares their memory; a small array gets there sooner as an argument of each call
        placed = shards if N <= FEW else jax.device_put(shards)
        mixtures = start(kept, shards, placed, units, objective, config)
        engine = ACCELERATIONS[self.acceleration]
        tol = em.FORESEEN / N if self.tol is None else self.tol

        def advance(state: Any, passes: int, restart: int, before: int) -> Run:
            watch = partial(print_progress, self, restart=restart, before=before)
            return engine.run(state, placed, objective, config, tol, passes, watch)

        run = race(engine.begin(mixtures, *last), advance, self.max_iter, N)
        mixtures = engine.outcome(run)
        chosen = best(run)
        if chosen is None:
            raise ValueError(SINGULAR)
        if len(run.failed) > 1 and run.n_iter[chosen] == self.max_iter:
            chosen = self._likeliest(mixtures, run, units, kept)
        return Optimum(run, chosen, jax.tree.map(lambda leaf: leaf[chosen : chosen + 1], mixtures))

    def _likeliest(self, mixtures: Mixture, run: Run, units: Standardizer, kept: Entered) -> int:
        """Of restarts cut short, whose last step has gained what their objectives lack."""
        scores = np.full(len(run.failed), -np.inf)
        for r in np.flatnonzero(~run.failed & (run.converged | (run.n_iter == self.max_iter))):
            mixture = to_user(jax.tree.map(lambda leaf, r=r: leaf[r], mixtures), units)
            density = evaluate(kept.X, mixture, False, logsumexp)[0]
            scores[r] = weighted_mean(density, kept.weight)
        return int(scores.argmax())

    def _check_options(self) -> None:
        check_number(self.n_components, "n_components", integer=True, low=1)
        lookup(ACCELERATIONS, self.acceleration, "acceleration")
        if self.tol is not None:
            check_number(self.tol, "tol", low=0)
        self._check_common()

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
        parts = (self.weights_init, self.means_init, self.precisions_init)
        given = [part is not None for part in parts]
        own = self._given(units, config.family, kept) if any(given) else None
        if all(given):
            return own
        start = self._start(entered, kept, shards, self.n_components, self._n_starts())
        room = capacity(self.n_components, len(kept.X))
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
        return stored(to_standard(mixture, units), family, kept.X)

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
        K, D = self.n_components, len(units.scale)
        wanted = ((K, D), packed_shape(self.covariance_type, K, D))
        found = (np.shape(self.means_), np.shape(self.covariances_))
        if found != wanted:
            raise ValueError(
                "warm_start=True goes on from the last fit, whose means_ and covariances_ have "
                f"shapes {found[0]} and {found[1]}; now they are to have {wanted[0]} and "
                f"{wanted[1]}. Set warm_start=False to start anew."
            )
        return stored(to_standard(self.mixture_, units), config.family, kept.X)

    # --- where it ends

    def _leave(self, fit: Optimum, units: Standardizer, entered: Entered) -> None:
        dtype, (run, chosen, mixture) = entered.X.dtype, fit
        mixture = jax.tree.map(lambda leaf: leaf[0], mixture)
        self._publish(without_room(mixture, self.n_components), units, dtype)
        traces = [trace - units.log_volume for trace in run.history]
        self.labels_, density = self._read(entered.X, most_probable, logsumexp)
        self.n_components_ = self.n_components
        self.converged_ = bool(run.converged[chosen])
        self.n_iter_ = int(run.n_iter[chosen])
        self.lower_bound_ = weighted_mean(density, entered.weight)
        self.lower_bounds_ = traces[chosen].tolist()
        self.restart_lower_bounds_ = traces
        self.best_restart_ = chosen
        objective = float(run.objective[chosen]) - units.log_volume
        self._last_gains = objective, float(run.state.gain[chosen]), float(run.state.rest[chosen])
        if not self.converged_ and self.max_iter > 0:
            gain = np.diff(traces[chosen])[-1:]
            last = f"a last gain of {gain[0]:.1e}" if len(gain) else "no gain to judge by"
            warn_not_converged(
                "Best performing initialization did not converge. Try different init parameters, "
                "or increase max_iter, tol, or check for degenerate data. (EM ended after "
                f"{self.n_iter_} iterations with {last}; max_iter={self.max_iter}, "
                f"tol={self.tol}.)"
            )

    # --- model choice

    def _n_parameters(self) -> int:
        K, D = np.shape(self.means_)
        return K - 1 + K * D + FAMILIES[self.covariance_type].n_parameters(K, D)

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
            -2 log likelihood + (number of parameters) log N. mclust states the negative.

        References
        ----------
        Schwarz (1978), *Annals of Statistics* 6, 461-464.
        """
        total = self._total(X, sample_weight)
        penalty = self._n_parameters() * np.log(total)
        return float(-2 * total * self.score(X, sample_weight=sample_weight) + penalty)

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Akaike information criterion, -2 log likelihood + 2 (number of parameters).

        Parameters
        ----------
        X : array-like [N, D]
        sample_weight : array-like [N], optional

        Returns
        -------
        float
            Lower is better.
        """
        total = self._total(X, sample_weight)
        score = self.score(X, sample_weight=sample_weight)
        return float(-2 * total * score + 2 * self._n_parameters())

    def _total(self, X: Any, sample_weight: Any) -> float:
        check_is_fitted(self)
        entered = self._enter(X, sample_weight, reset=False)
        return float(len(entered.X) if entered.weight is None else entered.weight.sum())

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
        model._publish(mixture, Standardizer(np.zeros(D), np.ones(D)), np.float64)
        model.n_features_in_, model.n_components_ = D, K
        model.n_iter_, model.converged_, model._last_gains = 0, False, NONE_YET
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


def stored(mixture: Mixture, family: Covariance, X: np.ndarray) -> Mixture:
    """A mixture [K, D, D] as a fit of X by this family holds it, with a leading axis of one run."""
    mixture = with_room(mixture, capacity(len(mixture.means), len(X)))
    scales = mixture.scales
    if family.axis_aligned:
        scales = np.diagonal(scales, axis1=1, axis2=2)
    elif family.pooled:
        scales = scales[:1]
    leaves = mixture._replace(scales=scales)
    return Mixture(*(np.array(leaf, X.dtype)[None] for leaf in leaves))
