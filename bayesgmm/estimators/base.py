"""What the estimators share: points in, parameters out, and asking a fitted mixture."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, NamedTuple, Self

import jax
import numpy as np
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from bayesgmm.arguments import check_number
from bayesgmm.core.arrays import Data, Standardizer, float_scope
from bayesgmm.core.covariance import FAMILIES, pack, unpack
from bayesgmm.core.mixture import Mixture, conditional, marginal
from bayesgmm.estimators.checks import (
    check_finite,
    check_flags,
    check_ridge,
    check_scale,
    check_start,
    check_weight,
)
from bayesgmm.estimators.points import (
    doubt,
    entropy,
    evaluate,
    in_float64,
    logsumexp,
    most_probable,
    proba,
    standard_shards,
    to_user,
    weighted_mean,
)
from bayesgmm.inference.devices import in_turn
from bayesgmm.inference.loop import CONVERGED
from bayesgmm.inference.starts import STARTS, starts
from bayesgmm.io import saving, workers
from bayesgmm.io.chunks import Block, Layout, check_complete, in_pieces
from bayesgmm.messages import hint, listed, lookup

RELATIVE = 1e-6
"""The ridge of `reg_covar="relative"`, as a share of the variance of each feature."""


class Entered(NamedTuple):
    """Points and weights that passed the boundary, as the user gave them (never written to).

    Attributes
    ----------
    X : ndarray [N, D]
        float64 or float32.
    weight : ndarray [N] or None
    """

    X: np.ndarray
    weight: np.ndarray | None

    in_memory = True
    """Whether the points are here; `pieces.Pieces` are not, and can do what else is below."""

    @property
    def shape(self) -> tuple[int, int]:
        """Of the points, (N, D)."""
        return self.X.shape

    @property
    def dtype(self) -> np.dtype:
        """Of the points."""
        return self.X.dtype

    def units(self, scaling: str, robust: bool = False) -> Standardizer:
        """The core's units; `robust` ones do not follow outliers."""
        return (Standardizer.robust if robust else Standardizer.fit)(self.X, self.weight, scaling)

    def covariance(self, units: Standardizer) -> np.ndarray:
        """Sum over the points of the squares in these units, [D, D], over their number less 1."""
        standard = (self.X - units.centre) / units.scale  # float64
        weighted = standard if self.weight is None else standard * self.weight[:, None]
        return weighted.T @ standard / (self.total - 1)

    def shards(self, units: Standardizer, n: int) -> list[Data]:
        """The points in these units for so many threads."""
        return standard_shards(self.X, self.weight, units, n)

    def kept(self, relative: bool = True) -> "Entered":
        """Without the rows of weight 0.

        Where only the ratios of weights matter (`relative`), their mean is made 1.
        """
        if self.weight is None:
            return self
        weight = self.weight / self.weight.max() if relative else self.weight
        rows = slice(None) if weight.all() else weight > 0
        weight = weight[rows]
        return Entered(self.X[rows], weight / weight.mean() if relative else weight)

    def some(self, n: int, random_state: np.random.RandomState) -> "Entered":
        """So many of the rows, drawn at random without replacement."""
        rows = np.sort(random_state.choice(len(self.X), n, replace=False))
        return Entered(self.X[rows], None if self.weight is None else self.weight[rows])

    @property
    def total(self) -> float:
        """Number of points, a weight counted as so many."""
        return float(len(self.X) if self.weight is None else self.weight.sum())

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values of the rows that are kept, [n], for all rows, [N]: 0 at the others."""
        found = np.zeros(len(self.X), values.dtype)
        found[slice(None) if self.weight is None else self.weight > 0] = values
        return found


class MixtureEstimator(DensityMixin, BaseEstimator):
    """Base of the estimators: a fitted one has weights_, means_, covariances_ and all below."""

    _caches: tuple[str, ...] = ()  # attributes that are made again when they are asked for
    _plug_in: Any  # the class of a mixture without uncertainty of its own; set where it is defined

    n_features_in_: int
    feature_names_in_: np.ndarray
    n_components_: int
    weights_: np.ndarray
    means_: np.ndarray
    covariances_: np.ndarray
    precisions_: np.ndarray
    precisions_cholesky_: np.ndarray
    labels_: np.ndarray
    n_iter_: int
    converged_: bool

    # --- the way in

    def _enter(self, X: Any, sample_weight: Any = None, reset: bool = True) -> Entered:
        """Check points and weights in memory."""
        if in_pieces(X) is not None and not isinstance(X, np.memmap):
            raise ValueError(
                f"X is points in pieces, and {type(self).__name__} looks at all of them at once "
                "here. Give an array: bayesgmm.Chunks(X).sample(20_000) draws rows at random."
            )
        names = list(X.columns) if hasattr(X, "columns") else None
        checked = validate_data(
            self,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            ensure_min_samples=2 if reset else 1,
        )
        check_finite(checked, names)
        if sample_weight is None:
            return Entered(checked, None)
        return Entered(checked, check_weight(sample_weight, len(checked)))

    def _units(self, entered: Entered, scaling: str, robust: bool = False) -> Standardizer:
        """The core's units for these points; `robust` ones do not follow outliers."""
        units = entered.units(scaling, robust)
        check_scale(units, entered.dtype, self._names(len(units.scale)))
        return units

    def _fit_or_stay(self, X: Any, sample_weight: Any, fit: Callable | None = None) -> Self:
        """Fit, or stay as it was: an interrupt, too, leaves the last fit whole."""
        before = dict(self.__dict__)
        try:
            (fit or self._fit)(X, sample_weight)
        except BaseException:
            self.__dict__ = before
            raise
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Fit the mixture and return the most probable component of each row, [N]."""
        fitted = self.fit(X, sample_weight=sample_weight)
        return fitted.labels_ if in_pieces(X) is None else fitted.predict(X)

    def _check_common(self) -> None:
        """The options that every fit by iteration has."""
        check_number(self.max_iter, "max_iter", integer=True, low=0)
        check_number(self.n_init, "n_init", integer=True, low=1)
        check_number(self.verbose_interval, "verbose_interval", integer=True, low=1)
        if isinstance(self.init_params, str):
            lookup(STARTS, self.init_params, "init_params")
        check_ridge(self.reg_covar)
        check_flags(self.warm_start, self.verbose)

    def _ridge(self, units: Standardizer, dtype: Any) -> np.ndarray:
        """`reg_covar` in the core's units, [D]."""
        value = ("relative", RELATIVE) if self.reg_covar == "relative" else self.reg_covar
        if not isinstance(value, tuple):
            return (value / units.scale**2).astype(dtype)
        return np.full(len(units.scale), value[1], dtype)

    def _start(
        self, entered: Entered, kept: Entered, shards: list[Data], K: int, R: int
    ) -> np.ndarray:
        """Labels [R, N] or responsibilities [R, K, N] of the rows that are kept; R=1 if given."""
        if isinstance(self.init_params, str):
            random_state = check_random_state(self.random_state)
            return starts(self.init_params, shards, len(kept.X), K, R, random_state)
        N = len(entered.X)
        start = check_start(self.init_params, N, K, kept.dtype)
        if len(kept.X) < N:
            start = start[..., entered.weight > 0]
        return start[None]

    # --- the way out

    def _publish(self, mixture: Mixture, units: Standardizer, dtype: Any) -> None:
        """Parameters of a mixture in the core's units, in the user's and scikit-learn's shapes."""
        mixture = to_user(mixture, units)
        name = self.covariance_type
        self.weights_ = np.exp(mixture.log_weights).astype(dtype)
        self.means_ = mixture.means.astype(dtype)
        matrices = mixture.scales @ np.swapaxes(mixture.scales, 1, 2)
        inverse = np.linalg.inv(mixture.scales)
        self.covariances_ = np.asarray(pack(name, matrices), dtype)
        self.precisions_ = np.asarray(pack(name, np.swapaxes(inverse, 1, 2) @ inverse), dtype)
        self.precisions_cholesky_ = np.asarray(pack(name, np.swapaxes(inverse, 1, 2)), dtype)

    # --- the fitted mixture

    @property
    def mixture_(self) -> Mixture:
        """The fitted `core.Mixture`, NumPy arrays in the user's units: scales are [K, D, D]."""
        check_is_fitted(self)
        with np.errstate(divide="ignore"):
            log_weights = np.log(self.weights_)
        return Mixture(log_weights, np.asarray(self.means_), self._scales())

    def _scales(self) -> np.ndarray:
        """Lower Cholesky factors from `precisions_cholesky_`, which a user may have set."""
        K, D = np.shape(self.means_)
        root = unpack(self.covariance_type, np.asarray(self.precisions_cholesky_), K, D)
        upper = np.linalg.qr(np.linalg.inv(np.asarray(root)), mode="r")
        sign = np.where(np.diagonal(upper, axis1=1, axis2=2) < 0, -1, 1).astype(upper.dtype)
        return np.swapaxes(upper * sign[:, :, None], 1, 2)

    def _read(self, X: np.ndarray, *read: Callable) -> tuple[np.ndarray, ...]:
        """What each of `read` makes of the log joint [N, K] of checked points."""
        mixture = self.mixture_
        axis_aligned = FAMILIES[self.covariance_type].axis_aligned
        if axis_aligned:
            mixture = mixture._replace(scales=np.diagonal(mixture.scales, axis1=1, axis2=2))
        return evaluate(X, mixture, axis_aligned, *read)

    def _log_density(self, X: np.ndarray) -> np.ndarray:
        """Log density of the mixture at checked points, [N]."""
        return self._read(X, logsumexp)[0]

    # --- points in pieces

    def _learn_features(self, layout: Layout) -> None:
        """The features of points in pieces become those of the fit."""
        self.n_features_in_ = layout.n_features
        self.__dict__.pop("feature_names_in_", None)
        if layout.names is not None and all(isinstance(name, str) for name in layout.names):
            self.feature_names_in_ = np.asarray(layout.names, dtype=object)

    def _layout(self) -> Layout:
        """The features of the fit."""
        names = getattr(self, "feature_names_in_", None)
        names = None if names is None else tuple(names)
        return Layout(names, self.n_features_in_, origin=f"{type(self).__name__} was fitted to")

    def _of_rows(self, X: Any, read: Callable) -> Any:
        """What `read` makes of the estimator and checked rows, [N, ...]; pieces block by block.

        Of a collection of Dask it is one, too, and not yet computed.
        """
        check_is_fitted(self)
        chunks = in_pieces(X)
        if chunks is None:
            return read(self, self._enter(X, reset=False).X)[0]
        work = partial(_read_block, self._bare(), read)
        if chunks.partitioned:
            layout = self._layout()
            dtype = workers.dtype_of(chunks, layout)
            example = read(self, np.zeros((1, layout.n_features), dtype))[0][:0]
            return workers.lazily(chunks, layout, work, example)
        blocks = chunks.blocks(layout=self._layout())
        return np.concatenate(list(in_turn(work, blocks, np.float64)))

    def _means(self, X: Any, sample_weight: Any, read: Callable) -> tuple[float, ...]:
        """Sum of the weights, and means of what `read` makes of the estimator and checked rows."""
        check_is_fitted(self)
        chunks = in_pieces(X)
        if chunks is None:
            X, weight = self._enter(X, sample_weight, reset=False)
            found = (weighted_mean(values, weight) for values in read(self, X))
            return Entered(X, weight).total, *found
        work, layout = partial(_sums_of_block, self._bare(), read), self._layout()
        if chunks.partitioned:
            total, *sums = workers.sum_of(chunks, sample_weight, layout, work)
        else:
            blocks = chunks.blocks(sample_weight, layout=layout)
            total, *sums = sum(in_turn(work, blocks, np.float64))
        if total == 0:
            raise ValueError("sample_weight must not be zero in every row.")
        return float(total), *(float(value / total) for value in sums)

    def _bare(self) -> Self:
        """The same without what is as long as the points: it may have a way to go."""
        bare = copy(self)
        for name in ("labels_", "restart_lower_bounds_", "support_"):
            bare.__dict__.pop(name, None)
        return bare

    # --- what can be asked

    def predict(self, X: Any) -> np.ndarray:
        """Most probable component of each point.

        Parameters
        ----------
        X : array-like [N, D], or what `Chunks` takes

        Returns
        -------
        ndarray [N] of int
            For points of Dask a Dask array that is not computed yet, as of the two methods below.
        """
        return self._of_rows(X, partial(read_joint, (most_probable,)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each component given each point (the responsibilities).

        Parameters
        ----------
        X : array-like [N, D]

        Returns
        -------
        ndarray [N, K]
            Rows sum to one.
        """
        return self._of_rows(X, partial(read_joint, (proba,)))

    def score_samples(self, X: Any) -> np.ndarray:
        """Log density of the mixture at each point, in nats.

        Parameters
        ----------
        X : array-like [N, D]

        Returns
        -------
        ndarray [N]
        """
        return self._of_rows(X, _read_density)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Mean log density of the points, in nats.

        Parameters
        ----------
        X : array-like [N, D]
        y : ignored
        sample_weight : array-like [N], optional
            Weights of the points; 1 when not given.

        Returns
        -------
        float
        """
        return self._means(X, sample_weight, _read_density)[1]

    def uncertainty(self, X: Any) -> Any:
        """How unsure the assignment of each point is.

        Parameters
        ----------
        X : array-like or DataFrame [N, D]

        Returns
        -------
        DataFrame [N]
            Columns `uncertainty`, one minus the largest probability, and `entropy` of the
            probabilities, in nats. The index is that of `X`.

        Examples
        --------
        >>> import numpy as np
        >>> from bayesgmm import GaussianMixture
        >>> model = GaussianMixture.from_parameters([0.5, 0.5], [[-1.0], [1.0]], [[[1.0]], [[1.0]]])
        >>> model.uncertainty(np.array([[0.0], [3.0]])).round(3)
           uncertainty  entropy
        0        0.500    0.693
        1        0.002    0.017
        """
        import pandas as pd

        check_is_fitted(self)
        found = self._read(self._enter(X, reset=False).X, doubt, entropy)
        columns = dict(zip(("uncertainty", "entropy"), found, strict=True))
        return pd.DataFrame(columns, index=X.index if hasattr(X, "columns") else None)

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Random points from the fitted mixture.

        Parameters
        ----------
        n_samples : int, default 1

        Returns
        -------
        X : ndarray [n_samples, D]
            Ordered by component.
        y : ndarray [n_samples]
            Their components.

        Raises
        ------
        ValueError
            If `n_samples` is less than 1.
        """
        check_is_fitted(self)
        check_n_samples(n_samples)
        random_state = check_random_state(self.random_state)
        mixture = self.mixture_
        weights = np.asarray(self.weights_, np.float64)
        counts = random_state.multinomial(n_samples, weights / weights.sum())
        labels = np.repeat(np.arange(len(counts)), counts)
        noise = random_state.standard_normal((n_samples, mixture.means.shape[1]))
        draws = mixture.means[labels] + np.einsum("nij,nj->ni", mixture.scales[labels], noise)
        return draws.astype(self.means_.dtype), labels

    def summary(self) -> Any:
        """One row a component: its weight, and the mean and standard deviation of each feature.

        Returns
        -------
        DataFrame [K]
            Columns `weight`, then `mean(feature)` and `sd(feature)` in the features' own units.
        """
        import pandas as pd

        mixture = self.mixture_
        names = self._names(mixture.means.shape[1])
        deviations = np.sqrt(np.square(mixture.scales).sum(-1))
        columns = {"weight": self.weights_}
        columns |= {f"mean({name})": mixture.means[:, j] for j, name in enumerate(names)}
        columns |= {f"sd({name})": deviations[:, j] for j, name in enumerate(names)}
        index = pd.RangeIndex(len(self.weights_), name="component")
        return pd.DataFrame(columns, index=index)

    def marginal(self, features: Sequence[int | str]) -> Any:
        """The distribution of some of the features, in the order given.

        Parameters
        ----------
        features : sequence of int or str
            Positions, or names if the model was fitted to a DataFrame.

        Returns
        -------
        GaussianMixture
            Fitted, with `covariance_type="full"`. Of a Bayesian fit it is the marginal of the point
            estimate (`weights_`, `means_`, `covariances_`), not of the posterior predictive density
            that `score_samples` has.

        Raises
        ------
        ValueError
            If a feature is unknown or comes twice.
        """
        index = self._features(features)
        with float_scope("float64"):
            found = jax.tree.map(np.asarray, marginal(in_float64(self.mixture_), index))
        return self._sub_mixture(found, index)

    def conditional(self, known: Mapping[int | str, float]) -> Any:
        """The distribution of the other features given the values of some.

        Parameters
        ----------
        known : mapping from feature (name or position) to value

        Returns
        -------
        GaussianMixture
            Over the features not named, fitted, with `covariance_type="full"`. Its weights are
            the probabilities of the components given what is known. Of a Bayesian fit it is that
            of the point estimate, see `marginal`.

        Raises
        ------
        ValueError
            If a feature is unknown, a value is not finite, or no feature is left.

        Examples
        --------
        >>> from bayesgmm import GaussianMixture
        >>> model = GaussianMixture.from_parameters(
        ...     [1.0], [[0.0, 0.0]], [[[1.0, 0.8], [0.8, 1.0]]], feature_names=["height", "weight"])
        >>> taller = model.conditional({"height": 2.0})
        >>> taller.means_.round(3), taller.covariances_.round(3)
        (array([[1.6]]), array([[[0.36]]]))
        """
        D = np.shape(self.mixture_.means)[1]
        index = self._features(list(known), argument="known")
        if len(index) == D:
            raise ValueError(f"known must leave a feature out, got values for all {D}.")
        values = np.array([check_number(v, f"known[{k!r}]") for k, v in known.items()], float)
        with float_scope("float64"):
            found = conditional(in_float64(self.mixture_), index, values)
            found = jax.tree.map(np.asarray, found)
        return self._sub_mixture(found, [j for j in range(D) if j not in index])

    def save(self, path: Any) -> None:
        """Write the fitted estimator to a file, for `bayesgmm.load`.

        Parameters
        ----------
        path : str or path
            Ends in .npz: named arrays and JSON. For a posterior sample it may end in .nc: netCDF
            that ArviZ reads, with `posterior_` and what else the estimator is in the group
            "bayesgmm"; it needs the extra `netcdf`. A file that is there is replaced once the new
            one is whole.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the name ends otherwise.
        TypeError
            If an argument of the estimator is neither arrays nor numbers nor text, such as
            distributions of NumPyro.

        Notes
        -----
        All fitted attributes are kept to the last bit, with the seed, and the points that a
        posterior sample is of. The file says in which format it was written: a version of the
        package that keeps other things refuses it by name.

        Examples
        --------
        >>> import numpy as np
        >>> import bayesgmm
        >>> X = np.random.default_rng(0).normal(size=(50, 2))
        >>> model = bayesgmm.GaussianMixture(2, random_state=0).fit(X)
        >>> model.save("mixture.npz")
        >>> bool((bayesgmm.load("mixture.npz").predict(X) == model.predict(X)).all())
        True
        """
        check_is_fitted(self)
        saving.save(self, path)

    def report(
        self,
        X: Any,
        path: Any = None,
        *,
        others: Sequence[Any] = (),
        selection: Any = None,
        title: str | None = None,
        name: str | None = None,
    ) -> Any:
        """A page about the fit, one HTML file that needs no network: for reading, and to attach.

        The model with its priors, how many clusters and how sure, the clusters with intervals, who
        is uncertain, diagnostics, predictive checks, the part of the prior, a methods paragraph
        with references, and what remakes it; of this what the method has.

        Parameters
        ----------
        X : array-like or DataFrame [N, D]
            The points that were fitted, without sample_weight.
        path : str or path, optional
            Where to write the page, too.
        others : sequence of fitted estimators, optional
            Of the other classes, fitted to the same points: they are put side by side.
        selection : ModelSelection, optional
            What `select_model` found for these points; its best estimator joins the others if none
            is of its class.
        title : str, optional
        name : str, optional
            What the data are called.

        Returns
        -------
        Report
            With `html`, and `save(path)`; in a notebook it shows the page.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            If an estimator is not fitted or none of ours, two are of one class, or `X` is not what
            was fitted.
        FileNotFoundError
            If there is no folder for `path`.

        Examples
        --------
        >>> import numpy as np
        >>> from bayesgmm import GaussianMixture
        >>> X = np.random.default_rng(0).normal(size=(50, 1))
        >>> page = GaussianMixture(1, random_state=0).fit(X).report(X, "report.html")
        >>> page.title
        'Clusters of the data'
        """
        from bayesgmm.report import write_report

        check_is_fitted(self)
        more = {"selection": selection, "title": title, "name": name}
        return write_report(X, [self, *others], path, **more)

    def _kept_state(self) -> dict[str, Any]:
        """All that makes this estimator what it is."""
        return {name: value for name, value in vars(self).items() if name not in self._caches}

    def _sub_mixture(self, mixture: Mixture, index: Sequence[int]) -> Any:
        names = getattr(self, "feature_names_in_", None)
        weights = np.exp(mixture.log_weights)
        return self._plug_in.from_parameters(
            weights / weights.sum(),
            mixture.means,
            mixture.scales @ np.swapaxes(mixture.scales, 1, 2),
            feature_names=None if names is None else names[list(index)],
            random_state=self.random_state,
        )

    def _names(self, D: int) -> list[str]:
        """Names of the features, x0, x1, ... where there are none."""
        return [str(name) for name in getattr(self, "feature_names_in_", default_names(D))]

    def _features(self, features: Any, argument: str = "features") -> tuple[int, ...]:
        """Positions of features given by name or position, in the order given."""
        check_is_fitted(self)
        D = np.shape(self.means_)[1]
        names = list(getattr(self, "feature_names_in_", []))
        features = [features] if isinstance(features, str | int) else list(features)
        index = tuple(_position(feature, names, D, argument) for feature in features)
        if not index or len(set(index)) < len(index):
            raise ValueError(f"{argument} must name features once each, got {features}.")
        return index


# --- what a block of rows is asked, by whoever has it ---------------------------------------------


def read_joint(read: tuple, model: MixtureEstimator, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """What each of `read` makes of the log joint [n, K] of checked rows."""
    return model._read(rows, *read)


def _read_density(model: MixtureEstimator, rows: np.ndarray) -> tuple[np.ndarray]:
    return (model._log_density(rows),)


def _read_block(model: MixtureEstimator, read: Callable, block: Block) -> np.ndarray:
    check_complete(block)
    return read(model, block.rows)[0]


def _sums_of_block(model: MixtureEstimator, read: Callable, block: Block) -> np.ndarray:
    """Of the weights, and of what `read` makes of the rows times these."""
    check_complete(block)
    weight = np.ones(len(block.rows)) if block.weight is None else block.weight
    found = (np.where(weight > 0, values, 0.0) for values in read(model, block.rows))
    return np.array([weight.sum(), *(weight @ values for values in found)])


def check_n_samples(n_samples: Any) -> None:
    """A whole number of draws, at least 1.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not isinstance(n_samples, int | np.integer) or n_samples < 1:
        raise ValueError(
            f"Invalid value for 'n_samples': {n_samples}. It must be an integer of at least 1."
        )


def default_names(D: int) -> list[str]:
    """What features without names are called."""
    return [f"x{j}" for j in range(D)]


def _position(feature: Any, names: list, D: int, argument: str) -> int:
    if isinstance(feature, str):
        if feature in names:
            return names.index(feature)
        known = listed(names) if names else "none: the model was fitted without feature names"
        raise ValueError(
            f"{argument}: there is no feature {feature!r}. The features are {known}."
            f"{hint(names, feature)}"
        )
    if isinstance(feature, int | np.integer) and -D <= feature < D:
        return int(feature) % D
    raise ValueError(f"{argument} must be positions from 0 to {D - 1} or names, got {feature!r}.")


def print_progress(
    model: MixtureEstimator, progress: Any, restart: int = 0, before: int = 0
) -> None:
    """What `verbose` shows of the iterations just made, `before` of which others went."""
    if not model.verbose:
        return
    for run, trace in enumerate(progress.history, restart):
        values = trace[np.isfinite(trace)]
        last = before + int(progress.n_iter[run - restart])
        for i, value in enumerate(values):
            iteration = last - len(values) + 1 + i
            if iteration % model.verbose_interval == 0:
                gain = f"  gain {value - values[i - 1]:.2e}" if model.verbose > 1 and i else ""
                print(f"restart {run}  iteration {iteration}{gain}")
        if progress.status[run - restart] == CONVERGED and len(values):
            print(f"restart {run}  converged after {last} iterations")
