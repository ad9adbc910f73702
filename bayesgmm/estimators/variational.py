"""BayesianGaussianMixture: the posterior of a mixture by variational Bayes."""

import warnings
from collections.abc import Hashable
from functools import partial
from typing import Any, Self

import jax
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from bayesgmm.arguments import check_flag, check_number
from bayesgmm.core.arrays import Standardizer, float_scope
from bayesgmm.core.concentration import Fixed, RandomConcentration, Sticks, gamma_grid
from bayesgmm.core.conjugate import NormalInverseWishart, log_normalizer
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.mixture import LOG_2PI, Mixture
from bayesgmm.core.partitions import prior_n_clusters
from bayesgmm.estimators import priors
from bayesgmm.estimators.ascent import Ascent, Ends, Weights, climb
from bayesgmm.estimators.base import Entered, MixtureEstimator, check_n_samples, print_progress
from bayesgmm.estimators.batches import begun, visited
from bayesgmm.estimators.checks import (
    check_components,
    check_shape,
    check_univariate,
    warn_not_converged,
)
from bayesgmm.estimators.em import GaussianMixture
from bayesgmm.estimators.entry import enter
from bayesgmm.estimators.fitted import evidence_of, fitted, mixture_draws, student_draws
from bayesgmm.estimators.points import (
    evaluate,
    evaluate_student,
    logsumexp,
    most_probable,
    n_shards,
    standard_shards,
)
from bayesgmm.inference import vb
from bayesgmm.io.chunks import in_pieces
from bayesgmm.messages import lookup

HANDFUL = 4
"""Components that a fit begins with where their number is left to the moves."""

NUMBERED = {
    "moves": (False, "means that none of them is added or merged"),
    "weight_concentration_prior": (None, "is 1 / n_components"),
    "weight_concentration_prior_type": (
        "dirichlet_distribution",
        "is a prior over a known number of them",
    ),
    "covariance_prior": ("data-scaled", "is a covariance divided by n_components^(2 / D)"),
}
"""What asks for a number of components, and why."""


class BayesianGaussianMixture(MixtureEstimator):
    r"""Gaussian mixture with priors, its posterior approximated by variational Bayes.

    Takes the place of `sklearn.mixture.BayesianGaussianMixture`: the same attributes, and with
    ``prune=False, moves=False, weight_concentration_prior=None`` its algorithm (for "full"
    covariances; its updates for the other types are not the ascent of any bound, ours are exact).
    Beyond it: components are merged, split and removed, the concentration is learned, the bound
    has every constant, and the density of new points is the exact posterior predictive.

    Parameters
    ----------
    n_components : int, optional
        The most components that may be used, with which the fit begins; when not given it begins
        with a handful and there is no other limit than the points. More than there are points are
        only so many, unless ``prune=False, moves=False``, which asks for exactly `n_components`.
    covariance_type : str, default "full"
        "full" (VVV), "tied" (EEE), "diag" (VVI), "spherical" (VII), by scikit-learn's name or
        mclust's; "E" (shared variance) and "V" for one feature. Under scikit-learn's names
        `covariances_` has scikit-learn's shape, under the others [K, D, D].
    tol : float, default 1e-3
        A run has converged when the bound gains less than this in an iteration, in nats for all
        points.
    reg_covar : float or "relative" or ("relative", float), default 1e-6
        Variance of the measurement error of each point, in the square of the features' units or
        as a share (1e-6 unless given) of the variance of each feature. As in scikit-learn it is
        added to the scatter of every point; its part is in the bound.
    max_iter : int, default 100
        Iterations before the moves, and again after each of them; 0 gives the parameters of the
        start.
    n_init : int, default 1
        Restarts, run side by side; the one of largest bound is kept.
    init_params : str or array, default "kmeans"
        How starting responsibilities are found, on standardised points: "cells" (of centres drawn
        by k-means++), "kmeans", "kmeans-whitened" (in the metric of the covariance within the
        clusters), "hierarchical" (the agglomeration of mclust), "k-means++", "random",
        "random_from_data"; or labels [N] (-1 for none) or responsibilities [N, K] to start from.
    weight_concentration_prior_type : str, default "dirichlet_process"
        "dirichlet_process", "pitman_yor" or "dirichlet_distribution" (a symmetric Dirichlet over
        exactly `n_components`). The processes are held as so many sticks as there are components,
        none of them forced to take all that is left.
    weight_concentration_prior : float, None, "gamma" or ("gamma", shape, rate), default "gamma"
        A number is fixed, None is 1 / n_components, and with "gamma" the concentration is learned
        under a Gamma prior, Gamma(1, 1) unless given; for a Dirichlet it is the prior of the
        sum over the components.
    discount_prior : float in [0, 1), optional
        Of the Pitman-Yor process; 0.25 when not given.
    mean_precision_prior : float, optional
        Number of points that the prior of a mean is worth; 1 when not given.
    mean_prior : array [D], optional
        The mean of the points when not given.
    degrees_of_freedom_prior : float, optional
        Of the (inverse) Wishart, or twice the shape of the Gamma; D when not given.
    covariance_prior : array or "data-scaled", optional
        Scale of the inverse Wishart: [D, D], [D] for "diag", a number for "spherical". The
        covariance of the points in that form when not given (a little is added to its diagonal
        where it is singular); "data-scaled" is that divided by n_components^(2/D), which suits
        many small clusters (Fraley and Raftery 2007).
    prune : bool, default True
        Whether components that expect less than one point are removed where the bound does not
        fall by that, and sticks kept in order of size.
    moves : bool, default True
        Whether a run that stands still tries to merge, delete, split and exchange components, and
        goes on from what raises the bound: so that what is found hardly depends on the start. The
        number of tries is limited, not that of components: with overlapping clusters the last few
        tenths of a nat may still depend on the random state.
    random_state : int, RandomState or None
    warm_start : bool, default False
        Whether `fit` goes on from the last fit.
    verbose : int, default 0
        1 prints the iterations, 2 their gains too.
    verbose_interval : int, default 10

    Attributes
    ----------
    n_components_ : int
        Components kept: the K of the shapes below.
    weights_ : ndarray [K]
        Expected weights, made to sum to one.
    means_ : ndarray [K, D]
    covariances_, precisions_, precisions_cholesky_ : ndarray
        Of the expected precision. [K, D, D], or scikit-learn's shape: [D, D] "tied", [K, D] "diag",
        [K] "spherical".
    weight_concentration_ : tuple of ndarray [K], or ndarray [K]
        Both parameters of each stick's Beta, or the Dirichlet's of each component.
    mean_precision_ : ndarray [K]
    degrees_of_freedom_ : ndarray [K], or float if the covariance is shared
    weight_concentration_prior_, mean_precision_prior_, degrees_of_freedom_prior_ : float
        The concentration, if learned, by its posterior mean.
    mean_prior_ : ndarray [D]
    covariance_prior_ : ndarray or float
    weight_concentration_posterior_ : frozen SciPy distribution, or None
        Of a concentration that was learned.
    elbo_ : float
        Evidence lower bound in nats for all points, with every constant: at most the log evidence,
        and comparable between covariance types and priors.
    lower_bound_ : float
        `elbo_`; or scikit-learn's number, which leaves constants out, where the algorithm is
        scikit-learn's ("full", no discount, fixed concentration, ``prune=False, moves=False``).
    lower_bounds_ : list of float
        The bound after each iteration of the run that was kept, with or without constants likewise.
        It never falls.
    restart_lower_bounds_ : list of ndarray
        The same for every restart.
    best_restart_ : int
    evidence_ : Series
        What `evidence` has found, once it has been asked.
    labels_ : ndarray [N]
        Most probable component of each row that was fitted, unless these were read in pieces.
    mixture_ : core.Mixture
        `weights_`, `means_` and `covariances_`: the plug-in.
    converged_ : bool
    n_iter_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray [D]
        When `X` was a DataFrame.

    References
    ----------
    Attias (2000), *Advances in Neural Information Processing Systems* 12, 209-215.
    Blei and Jordan (2006), *Bayesian Analysis* 1, 121-144.
    Fraley and Raftery (2007), *Journal of Classification* 24, 155-181.
    Hughes and Sudderth (2013), *Advances in Neural Information Processing Systems* 26, 1133-1141.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import BayesianGaussianMixture
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(-4, 1, 60), rng.normal(4, 1, 40)])[:, None]
    >>> model = BayesianGaussianMixture(random_state=0).fit(X)
    >>> model.n_components_, model.weights_.round(1)
    (2, array([0.6, 0.4]))
    """

    _plug_in = GaussianMixture

    # those of the base class that are set here, again: type checkers ask for it
    n_components_: int
    labels_: np.ndarray
    n_iter_: int
    converged_: bool
    weight_concentration_: tuple[np.ndarray, ...] | np.ndarray
    weight_concentration_prior_: float
    weight_concentration_posterior_: Any
    mean_precision_: np.ndarray
    mean_precision_prior_: float
    mean_prior_: np.ndarray
    degrees_of_freedom_: np.ndarray | float
    degrees_of_freedom_prior_: float
    covariance_prior_: np.ndarray | float
    elbo_: float
    lower_bound_: float
    lower_bounds_: list[float]
    restart_lower_bounds_: list[np.ndarray]
    best_restart_: int
    evidence_: Any

    def __init__(
        self,
        n_components: int | None = None,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: Any = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: Any = "kmeans",
        weight_concentration_prior_type: str = "dirichlet_process",
        weight_concentration_prior: Any = "gamma",
        discount_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: Any = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: Any = None,
        prune: bool = True,
        moves: bool = True,
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
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.discount_prior = discount_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.prune = prune
        self.moves = moves
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

    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, batch: Hashable = None
    ) -> Self:
        """Go on with a batch of points: memoized variational Bayes.

        The first call fits its batch, as `fit` does, and what it finds is the start: units, the
        prior where it is read from points, and the number of components are those of that batch.
        Every later call is one step for all the points seen so far, of which only the moments are
        kept: K (1 + D + D^2) numbers for each batch. Rounds over the batches under their keys end
        where a fit to all the points at once would, from the same start.

        Parameters
        ----------
        X : array-like or DataFrame [N, D]
        y : ignored
        sample_weight : array-like [N], optional
            A row of weight 2 counts as two rows, one of weight 0 as none.
        batch : hashable, optional
            The name of the batch. What is remembered of the last batch under this name is
            replaced; without a name the points are new, and count from then on as they are now.

        Returns
        -------
        self
            `elbo_` is the bound for all the points seen, `lower_bounds_` has it after each call,
            of which there were `n_iter_`, and `labels_` are those of this batch. `converged_` says
            that all batches have names, and the last visit to each gained less than `tol`.

        Raises
        ------
        ValueError
            As `fit`, or if the covariance type is not that of the first call.

        Examples
        --------
        >>> import numpy as np
        >>> from bayesgmm import BayesianGaussianMixture
        >>> X = np.random.default_rng(0).normal(size=(300, 1)) + np.repeat([0, 9, 9], 100)[:, None]
        >>> model = BayesianGaussianMixture(random_state=0)
        >>> for _ in range(5):
        ...     for name, chunk in enumerate(np.split(X[::7], [20])):
        ...         model = model.partial_fit(chunk, batch=name)
        >>> model.n_components_, model.n_iter_
        (2, 10)
        """
        return self._fit_or_stay(X, sample_weight, partial(self._partial_fit, batch=batch))

    def _partial_fit(self, X: Any, sample_weight: Any, batch: Hashable) -> None:
        if not isinstance(batch, Hashable):
            raise ValueError(f"batch must be hashable, such as a number or a name, got {batch!r}.")
        now = getattr(self, "_stream", None)
        if now is None:
            with warnings.catch_warnings():  # of a start it need not be said
                warnings.simplefilter("ignore", ConvergenceWarning)
                self._fit(X, sample_weight)
            self.lower_bounds_ = []
        self._check_options()
        entered = self._enter(X, sample_weight, reset=False)
        kept = entered.kept(relative=False)
        if now is None:
            now = begun(self._fitted, self._units(kept, self._family.scaling), self._family)
        elif now.config.family != self._family:
            raise ValueError(
                f"covariance_type={self.covariance_type!r} is not that of the batches before. Call "
                "fit, or partial_fit on a new estimator, to begin anew."
            )
        sticks = isinstance(now.prior.weights, Sticks)
        self._stream = visited(now, kept, batch, ordered=bool(self.prune) and sticks)
        self._leave_batch(entered)

    def _leave_batch(self, entered: Entered) -> None:
        now, dtype = self._stream, entered.X.dtype
        self.elbo_ = self.lower_bound_ = float(now.state.objective) - now.log_volume
        own = self._fitted.component_prior
        with float_scope("float64"):
            self._fitted = fitted(now.state, now.prior, own, now.units, self._family, self.elbo_)
            self._publish_state(now.state, now.units, dtype)
        self.lower_bounds_ = [*self.lower_bounds_, self.lower_bound_]
        self.restart_lower_bounds_ = [np.array(self.lower_bounds_)]
        self.best_restart_, self.n_iter_ = 0, len(self.lower_bounds_)
        self.labels_ = self._read(entered.X, most_probable)[0]
        self.converged_ = now.converged(self.tol)

    def _fit(self, X: Any, sample_weight: Any) -> None:
        self.__dict__.pop("_stream", None)
        self._check_options()
        family = self._family
        resume = self.warm_start and hasattr(self, "converged_")
        entered = enter(self, X, sample_weight)
        kept = entered.kept(relative=False)
        cap = self._cap(kept.shape[0])
        check_univariate(self.covariance_type, kept.shape[1])
        units = self._units(kept, family.scaling)
        own = self._own_prior(kept, units, cap)
        if resume:
            self._check_last(own, cap)
            K, start = self.n_components_, self._fitted
        else:
            K = self._first_number(cap)
            start = partial(self._start, entered, K=K, R=self.n_init)
        task = self._ascent(own, units, cap, kept.dtype)
        ends = climb(task, kept, K, start, partial(print_progress, self))
        self._leave(ends, own, units, entered)

    def _own_prior(self, kept: Entered, units: Standardizer, cap: int) -> priors.ComponentPrior:
        """The prior of a component: what was given of it, and the values that stand for None."""
        D, scale = len(units.scale), self.covariance_prior
        if scale is None or isinstance(scale, str):
            scale = partial(priors.empirical, kept, units, self._family, cap, scale)
        mean, precision = self.mean_prior, self.mean_precision_prior
        if mean is not None:  # by the name that scikit-learn's message has
            mean = check_shape(np.asarray(mean, np.float64), (D,), "means")
        dof = self.degrees_of_freedom_prior
        return priors.component_prior(
            D,
            self._family,
            mean=units.centre if mean is None else mean,
            mean_precision=1.0 if precision is None else precision,
            dof=float(D) if dof is None else dof,
            scale=scale,
        )

    def _ascent(
        self, own: priors.ComponentPrior, units: Standardizer, cap: int, dtype: Any
    ) -> Ascent:
        return Ascent(
            own=own,
            weights=self._check_weights(),
            family=self._family,
            units=units,
            ridge=self._ridge(units, dtype),
            cap=cap,
            tol=self.tol,
            max_iter=self.max_iter,
            prune=bool(self.prune),
            moves=bool(self.moves),
            random_state=check_random_state(self.random_state),
        )

    def _check_options(self) -> None:
        self._check_number_of_components()
        check_number(self.tol, "tol", low=0)
        self._check_common()
        lookup(priors.CONJUGATE, self.covariance_type, "covariance_type")
        self._check_weights()
        for name in ("prune", "moves"):
            check_flag(getattr(self, name), name)

    def _check_number_of_components(self) -> None:
        if self.n_components is not None:
            check_number(self.n_components, "n_components", integer=True, low=1)
            return
        for name, (value, why) in NUMBERED.items():
            given = getattr(self, name)
            if given is value or (isinstance(given, str) and given == value):
                raise ValueError(
                    f"n_components=None leaves their number to the moves, but {name}={given!r} "
                    f"{why}. Give n_components, the most that may be used."
                )

    def _cap(self, N: int) -> int:
        """The most components for N points."""
        if self.n_components is None:
            return N
        if self.prune or self.moves:
            return min(self.n_components, N)
        check_components(self.n_components, N)
        return self.n_components

    def _first_number(self, cap: int) -> int:
        """Components that a fit begins with."""
        if self.n_components is not None:
            return cap
        if isinstance(self.init_params, str):
            return min(HANDFUL, cap)
        start = np.asarray(self.init_params)
        several = start.shape[1] if start.ndim == 2 else int(start.max(initial=0)) + 1
        return min(max(several, 1), cap)

    def _check_weights(self) -> Weights:
        """The options of the weights."""
        kind, given = self.weight_concentration_prior_type, self.weight_concentration_prior
        lookup(priors.WEIGHTS, kind, "weight_concentration_prior_type")
        priors.check_concentration(given)
        return Weights(kind, given, priors.check_discount(self.discount_prior, kind))

    @property
    def _family(self) -> Covariance:
        return priors.CONJUGATE[self.covariance_type]

    def _check_last(self, own: priors.ComponentPrior, cap: int) -> None:
        scale = self._fitted.posterior.components.scale
        K, D = np.shape(self.means_)
        last = D, _covariances(len(scale) == 1, scale.shape[1:])
        now = len(own.mean), _covariances(self._family.pooled, own.scale.shape)
        flexible = self.prune or self.moves
        fits = K <= cap if flexible else K == cap
        if not fits or last != now:
            raise ValueError(
                f"warm_start=True goes on from the last fit, of {K} components in {last[0]} "
                f"features with {last[1]}; now there are to be {'at most ' if flexible else ''}"
                f"{cap} in {now[0]} features with {now[1]}. Set warm_start=False to start anew."
            )

    # --- where it ends

    def _leave(
        self,
        ends: Ends,
        own: priors.ComponentPrior,
        units: Standardizer,
        entered: Entered,
    ) -> None:
        (runs, bounds, prior), best = ends, int(ends.bounds.argmax())
        run = runs[best]
        state = jax.tree.map(lambda leaf: np.asarray(leaf[0]), run.state)
        volume = entered.total * units.log_volume
        self._publish_prior(own)
        with float_scope("float64"):
            objective = run.objective[0] - volume
            self._fitted = fitted(state, prior, own, units, self._family, objective)
            self._publish_state(state, units, entered.dtype)
            constant = self._left_out(entered.total, prior)
        self.elbo_ = float(bounds[best]) - volume
        traces = [trace - (volume + constant) for run in runs for trace in run.history]
        self.lower_bounds_ = traces[best].tolist()
        as_theirs = constant != 0 and len(traces[best])
        self.lower_bound_ = self.lower_bounds_[-1] if as_theirs else self.elbo_ - constant
        self.restart_lower_bounds_ = traces
        self.best_restart_ = best
        self.__dict__.pop("labels_", None)
        if entered.in_memory:
            self.labels_ = self._read(entered.X, most_probable)[0]
        self.converged_ = bool(run.converged[0])
        self.n_iter_ = int(run.n_iter[0])
        if not self.converged_ and self.max_iter > 0:
            gain = np.diff(traces[best])[-1:]
            last = f"a last gain of {gain[0]:.1e} nats" if len(gain) else "no gain to judge by"
            warn_not_converged(
                "Best performing initialization did not converge. Try different init parameters, "
                "or increase max_iter, tol, or check for degenerate data. (Variational Bayes "
                f"ended after {self.n_iter_} iterations with {last}; max_iter={self.max_iter},"
                f" tol={self.tol:g}.)"
            )

    def _publish_prior(self, own: priors.ComponentPrior) -> None:
        self.mean_precision_prior_ = own.mean_precision
        self.mean_prior_ = own.mean
        self.degrees_of_freedom_prior_ = own.dof
        self.covariance_prior_ = priors.packed(own.scale, self._family)

    def _publish_state(
        self,
        state: vb.VBState,
        units: Standardizer,
        dtype: Any,
    ) -> None:
        """Everything that is read off q, in the user's units."""
        left = self._fitted
        components = left.posterior.components
        rows = np.flatnonzero(state.present)
        scales = state.mixture.scales
        scales = scales if len(scales) == 1 else scales[rows]
        self.n_components_ = len(rows)
        self._publish(Mixture(left.log_weights, state.mixture.means[rows], scales), units, dtype)
        self.weight_concentration_ = jax.tree.map(lambda leaf: leaf.astype(dtype), left.shown)
        self.mean_precision_ = components.mean_precision[:-1].astype(dtype)
        dof = components.dof.astype(dtype)
        self.degrees_of_freedom_ = float(dof[0]) if self._family.pooled else dof[:-1]
        self.weight_concentration_prior_ = left.alpha
        self.weight_concentration_posterior_ = left.concentration
        self.__dict__.pop("evidence_", None)  # of the last fit

    def _left_out(self, total: float, prior: vb.VBPrior) -> float:
        """What scikit-learn's bound lacks, where its algorithm is ours; 0 elsewhere."""
        theirs = ("dirichlet_process", "dirichlet_distribution")
        same = self.weight_concentration_prior_type in theirs
        same = same and not (self.prune or self.moves)
        full = not (self._family.pooled or self._family.axis_aligned)
        if not (same and full and isinstance(prior.concentration, Fixed)):
            return 0.0
        K, D = self.n_components, len(self.mean_prior_)
        scale = np.asarray(self.covariance_prior_)[None]
        one = NormalInverseWishart(
            self.mean_prior_[None],
            np.array([self.mean_precision_prior_]),
            np.array([self.degrees_of_freedom_prior_]),
            scale,
        )
        alpha, everyone = prior.concentration.mean(), np.ones(K, bool)
        found = _log_normalizers(one, prior.weights, alpha, everyone, self._family)
        wishart, weights = map(float, found)
        wishart -= 0.25 * D * (D - 1) * np.log(np.pi)
        means = 0.5 * D * np.log(self.mean_precision_prior_)
        return weights - 0.5 * total * D * LOG_2PI + K * (means - wishart)

    # --- what can be asked

    def _read(self, X: np.ndarray, *read: Any) -> tuple[np.ndarray, ...]:
        """What each of `read` makes of the expected log joint [N, K] of checked points."""
        mixture, aligned = self._fitted.expected, self._family.axis_aligned
        if aligned:
            mixture = mixture._replace(scales=np.diagonal(mixture.scales, axis1=1, axis2=2))
        return evaluate(X, mixture, aligned, *read)

    def _log_density(self, X: np.ndarray) -> np.ndarray:
        """Log density of the posterior predictive."""
        return evaluate_student(X, self._fitted.predictive, self._family, logsumexp)[0]

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Random points from the posterior predictive.

        Parameters
        ----------
        n_samples : int, default 1

        Returns
        -------
        X : ndarray [n_samples, D]
            Ordered by component.
        y : ndarray [n_samples]
            Their components; -1, at the end, for a component that the fit does not hold.

        Raises
        ------
        ValueError
            If `n_samples` is less than 1.
        """
        check_is_fitted(self)
        check_n_samples(n_samples)
        random_state = check_random_state(self.random_state)
        mixture = self._fitted.predictive
        draws, labels = student_draws(random_state, mixture, n_samples, self._family)
        beyond = labels == len(mixture.means) - 1
        return draws.astype(self.means_.dtype), np.where(beyond, -1, labels)

    def posterior_sample(self, n_draws: int = 1, random_state: Any = None) -> Mixture:
        """Whole mixtures drawn from the variational posterior.

        Parameters
        ----------
        n_draws : int, default 1
        random_state : int, RandomState or None
            That of the estimator when not given.

        Returns
        -------
        core.Mixture
            NumPy arrays in the user's units: log_weights [S, K + 1], means [S, K + 1, D], scales
            [S, K + 1, D, D]. The last component has the weight of all that the fit does not hold,
            and parameters drawn from the prior (for a Dirichlet without pruning there is no such
            weight, and it is absent: log weight -inf).

        Examples
        --------
        >>> import numpy as np
        >>> from bayesgmm import BayesianGaussianMixture
        >>> X = np.random.default_rng(0).normal(size=(50, 1))
        >>> model = BayesianGaussianMixture(random_state=0).fit(X)
        >>> model.posterior_sample(100).means.shape[0]
        100
        """
        check_is_fitted(self)
        check_number(n_draws, "n_draws", integer=True, low=1)
        source = self.random_state if random_state is None else random_state
        seed = check_random_state(source).randint(2**31)
        return mixture_draws(seed, self._fitted.posterior, n_draws, self._family)

    def evidence(
        self,
        X: Any,
        sample_weight: Any = None,
        *,
        n_draws: int = 2000,
        random_state: Any = None,
    ) -> Any:
        """The log evidence by importance sampling, and how far the posterior can be trusted.

        Draws of the variational posterior, of the prior and of what lies between them are weighted
        by the exact joint density with the points. Every order of the components counts (the bound
        knows one labelling, which may cost it up to log K!), for up to 12 of them.

        Parameters
        ----------
        X : array-like [N, D]
            The points that were fitted.
        sample_weight : array-like [N], optional
            Their weights.
        n_draws : int, default 2000
            At least 100. Each costs a look at all the points.
        random_state : int, RandomState or None
            That of the estimator when not given.

        Returns
        -------
        Series
            `elbo`, the bound; `log_evidence`, the estimate, with its `standard_error`, in nats for
            all points; `khat`, the Pareto shape of the weights of the posterior's own draws, up to
            0.7 where they say something (a mode that no draw has met is not seen by it); `n_draws`;
            `left_out`, what the draws do not cover, if anything. Kept as `evidence_`, and beside
            the table that `summary` returns.

        Raises
        ------
        ValueError
            If `X` cannot be the points that were fitted.

        References
        ----------
        Yao, Vehtari, Simpson and Gelman (2018), *Proceedings of Machine Learning Research* 80,
        5581-5590.

        Examples
        --------
        >>> import numpy as np
        >>> from bayesgmm import BayesianGaussianMixture
        >>> X = np.random.default_rng(0).normal(size=(50, 1))
        >>> model = BayesianGaussianMixture(random_state=0).fit(X)
        >>> found = model.evidence(X, n_draws=500)
        >>> bool(found["log_evidence"] + 3 * found["standard_error"] > found["elbo"])
        True
        """
        import pandas as pd

        check_is_fitted(self)
        check_number(n_draws, "n_draws", integer=True, low=100)
        kept = self._enter(X, sample_weight, reset=False).kept(relative=False)
        family, prior = self._family, self._fitted.prior
        held = self._fitted.posterior.components.mean_precision[:-1] - self.mean_precision_prior_
        if not np.isclose(held.sum(), kept.total, rtol=1e-3):
            raise ValueError(
                "X must be the points that were fitted, with their weights: the fit is of "
                f"{held.sum():g} of them, got {kept.total:g}."
            )
        kept = kept._replace(X=kept.X.astype(np.float64))
        units = self._units(kept, family.scaling)
        room = int(getattr(prior.weights, "n_components", self.n_components_))
        threads = n_shards(*kept.X.shape, room, family.axis_aligned)
        shards = standard_shards(kept.X, kept.weight, units, threads)
        source = self.random_state if random_state is None else random_state
        seed = check_random_state(source).randint(2**31)
        found = evidence_of(self._fitted, shards, units, family, int(n_draws), seed)
        self.evidence_ = pd.Series({"elbo": self.elbo_, **found._asdict()}, name="evidence")
        return self.evidence_.copy()

    def summary(self) -> Any:
        """One row a component: its weight, and the mean and standard deviation of each feature.

        Returns
        -------
        DataFrame [K]
            Columns `weight`, then `mean(feature)` and `sd(feature)` in the features' own units.
            Where it is shown, the bound stands below it and, once `evidence` has been asked, what
            that found; as numbers they are in its `attrs`: `elbo`, and `log_evidence`,
            `standard_error`, `khat`, `n_draws`, `left_out`.

        Examples
        --------
        >>> import numpy as np
        >>> from bayesgmm import BayesianGaussianMixture
        >>> X = np.random.default_rng(0).normal(size=(50, 1))
        >>> BayesianGaussianMixture(random_state=0).fit(X).summary().round(2)
                   weight  mean(x0)  sd(x0)
        component
        0             1.0      0.13    0.91
        <BLANKLINE>
        evidence lower bound  -72.441 nats
        log evidence          not estimated yet: ask evidence(X)
        """
        from bayesgmm.estimators.tables import Summary

        table = Summary(super().summary())
        table.attrs = {"elbo": self.elbo_, **getattr(self, "evidence_", {})}
        return table

    def prior_n_clusters(self, n: int, max_clusters: int | None = None) -> np.ndarray:
        """What the prior says of the number of clusters among n points, before any is seen.

        Parameters
        ----------
        n : int
            Number of points.
        max_clusters : int, optional
            Stop at this many; default n.

        Returns
        -------
        ndarray [max_clusters]
            Probability of t clusters at entry t - 1, the concentration integrated out if it is
            learned. The processes are not truncated here.

        Examples
        --------
        >>> from bayesgmm import BayesianGaussianMixture
        >>> model = BayesianGaussianMixture(weight_concentration_prior=1.0)
        >>> model.prior_n_clusters(3).round(3)
        array([0.333, 0.5  , 0.167])
        """
        self._check_number_of_components()
        discount = self._check_weights().discount
        check_number(n, "n", integer=True, low=1)
        if max_clusters is not None:
            check_number(max_clusters, "max_clusters", integer=True, low=1)
        given, K = self.weight_concentration_prior, self.n_components
        sticks = priors.WEIGHTS[self.weight_concentration_prior_type].sticks
        alpha, log_probability = np.array([1.0 / K if given is None else 0.0]), np.zeros(1)
        if isinstance(given, str | tuple):
            shape, rate = given[1:] if isinstance(given, tuple) else priors.LEARNED
            alpha, log_probability = gamma_grid(shape, rate if sticks else rate * K, 128)
        elif given is not None:
            alpha = np.array([float(given)])
        with float_scope("float64"):
            prior = RandomConcentration(alpha, log_probability, discount, None if sticks else K)
            return np.asarray(prior_n_clusters(prior, int(n), max_clusters))


def _covariances(shared: bool, shape: tuple[int, ...]) -> str:
    return f"{'one covariance' if shared else 'covariances'} of shape {shape}"


@partial(jax.jit, static_argnames="family")
def _log_normalizers(
    one: NormalInverseWishart, weights: Any, alpha: Any, present: Any, family: Covariance
) -> tuple[Any, Any]:
    """Of the prior of one component [] and of the weights []: compiled once, not in every fit."""
    return log_normalizer(one, family)[0], weights.log_normalizer(alpha, present)
