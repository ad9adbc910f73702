"""bootstrap: how far the parameters of a fitted mixture would be other ones on other data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from bayesgmm.arguments import check_level, check_number
from bayesgmm.bars import progress
from bayesgmm.core.arrays import Data, Standardizer, float_scope
from bayesgmm.core.covariance import FAMILIES
from bayesgmm.core.forms import choose_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import padded_size
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.checks import warn_not_converged
from bayesgmm.estimators.em import ACCELERATIONS, SINGULAR, GaussianMixture, stored
from bayesgmm.estimators.points import (
    in_float64,
    standard_data,
    to_standard,
    to_user,
    weighted_mean,
)
from bayesgmm.inference import em
from bayesgmm.inference.replicated import Replicates, run
from bayesgmm.inference.resampling import KINDS, Kind, Source
from bayesgmm.messages import lookup, warn_user
from bayesgmm.shown import Shown

BEHIND = 0.1
"""Nats of the log likelihood that a fit may be below its maximum, before it is said."""


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap(Shown):
    """Parameters of a mixture as fitted to replicates of its data.

    Attributes
    ----------
    weights : ndarray [R, K]
    means : ndarray [R, K, D]
    covariances : ndarray [R, K, D, D]
        Of each replicate, in the components' order of the model; NaN where it failed.
    failed : ndarray [R] of bool
        A covariance became singular, or a component was left without points.
    converged : ndarray [R] of bool
    estimate : Mixture
        Of the model: float64, scales [K, D, D].
    kind : str
    feature_names : list of D str
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    failed: np.ndarray
    converged: np.ndarray
    estimate: Mixture
    kind: str
    feature_names: list[str]

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """`weights`, `means` and `covariances` by name."""
        return {name: getattr(self, name) for name in ("weights", "means", "covariances")}

    def _shown(self) -> Any:
        """How sure the parameters are."""
        return self.summary()

    def _headline(self) -> str:
        """What was drawn, and what of it can be used, in a line."""
        return (
            f"Bootstrap: {len(self.failed)} replicates ({self.kind}), {self.failed.sum()} failed, "
            f"{(~self.failed & ~self.converged).sum()} not converged"
        )

    def summary(self, level: float = 0.95) -> Any:
        """How sure the parameters are, one row each.

        Parameters
        ----------
        level : float, default 0.95
            Of the intervals, between 0 and 1.

        Returns
        -------
        DataFrame
            Index `component` and `parameter`: `weight`, then `mean(feature)` and `sd(feature)`.
            Columns `estimate` (of the model), `sd` and `bias` (standard deviation of the
            replicates, and their mean less the estimate), `lower` and `upper` (their quantiles).
            Replicates that failed do not count.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        """
        import pandas as pd

        check_level(level)
        sound = ~self.failed
        deviations = np.sqrt(np.diagonal(self.covariances[sound], axis1=-2, axis2=-1))
        draws = _in_rows(self.weights[sound], self.means[sound], deviations)
        weights, means, scales = self.estimate
        own = _in_rows(np.exp(weights), means, np.sqrt(np.square(scales).sum(-1)))
        ends = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
        columns = (own, draws.std(0, ddof=1), draws.mean(0) - own, *ends)
        names = ("estimate", "sd", "bias", "lower", "upper")
        parameters = ["weight"]
        parameters += [f"{of}({name})" for of in ("mean", "sd") for name in self.feature_names]
        rows = [range(len(weights)), parameters]
        index = pd.MultiIndex.from_product(rows, names=["component", "parameter"])
        flat = {name: column.ravel() for name, column in zip(names, columns, strict=True)}
        return pd.DataFrame(flat, index=index)


def _in_rows(weights: np.ndarray, means: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Numbers [..., K, 1 + 2 D] in the order of the summary."""
    return np.concatenate([weights[..., None], means, deviations], axis=-1)


def bootstrap(
    model: GaussianMixture,
    X: Any,
    n_bootstrap: int = 999,
    *,
    kind: str = "weighted",
    sample_weight: Any = None,
    random_state: Any = None,
    progress_bar: bool = True,
) -> Bootstrap:
    """Standard errors and intervals of the parameters of a fitted mixture.

    The mixture is fitted again to replicates of the data, each time from the parameters of the
    model and with its options: so the components keep their order, and it is the uncertainty at
    this maximum of the likelihood, whatever other maxima there may be. All replicates run side by
    side in one compiled program.

    Parameters
    ----------
    model : GaussianMixture
        Fitted to these points, best with `tol=None`.
    X : array-like [N, D]
    n_bootstrap : int, default 999
        Replicates R.
    kind : str, default "weighted"
        - "weighted": all points with random weights, N times a draw of Dirichlet(1, ..., 1). No
          point is ever left out, so that a small component seldom becomes singular.
        - "nonparametric": N points drawn with replacement.
        - "parametric": N points drawn from the model.
    sample_weight : array-like [N], optional
        As the model was fitted with. A row of weight w is w rows: its random weights are those of
        w rows together, the replicates of points have as many points as the weights add up to.
    random_state : int, RandomState or None
    progress_bar : bool, default True
        A bar of the replicates, on terminals.

    Returns
    -------
    Bootstrap
        With `weights`, `means` and `covariances` of every replicate, `summary(level)` and `failed`.

    Raises
    ------
    TypeError
        If the model is no GaussianMixture.
    NotFittedError
        If it is not fitted.
    ValueError
        If an argument is not as described, or every replicate fails.

    Warns
    -----
    UserWarning
        If replicates fail, or the model is not at a maximum of the likelihood of these points.
    ConvergenceWarning
        If replicates have not converged in `max_iter` passes of the model.

    Notes
    -----
    Intervals are quantiles of the replicates. What the choice of the number of components and of
    the family adds to the uncertainty is not in them.

    References
    ----------
    Newton and Raftery (1994), *Journal of the Royal Statistical Society B* 56, 3-48, for the
    weighted likelihood. O'Hagan, Murphy, Scrucca and Gormley (2019), *Computational Statistics* 34,
    1779-1813, for mixtures.

    Examples
    --------
    >>> from bayesgmm import GaussianMixture, bootstrap, datasets
    >>> X, _ = datasets.load_faithful()
    >>> model = GaussianMixture(2, random_state=0).fit(X)
    >>> found = bootstrap(model, X, n_bootstrap=99, random_state=0)
    >>> found.means.shape, found.failed.sum().item()
    ((99, 2, 2), 0)
    >>> found.summary().columns.tolist()
    ['estimate', 'sd', 'bias', 'lower', 'upper']
    """
    _check(model)
    check_number(n_bootstrap, "n_bootstrap", integer=True, low=2)
    row = lookup(KINDS, kind, "kind")
    task = _Task.of(model, X, sample_weight, row, check_random_state(random_state))
    with progress("replicates", progress_bar) as bar, float_scope("float64"):
        found = task.fitted(n_bootstrap, bar)
    return _published(task, found, kind)


def _check(model: Any) -> None:
    if not isinstance(model, GaussianMixture):
        raise TypeError(
            f"model must be a fitted GaussianMixture, got {type(model).__name__}: Bayesian "
            "estimators have a posterior that says how sure their parameters are."
        )
    check_is_fitted(model)
    if model.support_fraction is not None:
        raise ValueError(
            "model must be fitted to all of its points, got support_fraction="
            f"{model.support_fraction!r}. Fit those kept, X[model.support_], without it."
        )


# --- the replicates -------------------------------------------------------------------------------


class _Task(NamedTuple):
    """The model and its data in the core's units, and how to draw.

    Attributes
    ----------
    model : GaussianMixture
    kept : Entered
    units : Standardizer
    source : Source
    kind : Kind
    seed : int
    """

    model: GaussianMixture
    kept: Entered
    units: Standardizer
    source: Source
    kind: Kind
    seed: int

    @classmethod
    def of(cls, model: Any, X: Any, sample_weight: Any, kind: Kind, random_state: Any) -> Any:
        """With every check of the points."""
        entered = model._enter(X, sample_weight, reset=False)
        kept = Entered(entered.X.astype(np.float64), entered.weight).kept(relative=False)
        fewest = max(len(model.weights_), 2)
        if round(kept.total) < fewest:
            what = "X must have" if sample_weight is None else "sample_weight must add up to"
            raise ValueError(
                f"{what} at least {fewest} rows to draw replicates of {len(model.weights_)} "
                f"components from, got {kept.total:.3g}. (A row of weight w counts as w rows.)"
            )
        units = model._units(kept, FAMILIES[model.covariance_type].scaling)
        mixture = to_standard(in_float64(model.mixture_), units)
        source = Source(standard_data(*kept, units), kept.total, mixture)
        return cls(model, kept, units, source, kind, int(random_state.randint(2**31)))

    def drawn(self, which: np.ndarray) -> Data:
        """Data of replicates by number, weights [B, N] or points [B, D, N]; -1 is the data's."""
        draws = [self.one(r) for r in which]
        if self.kind.new_points:
            return Data(np.stack([draw.points for draw in draws]), draws[0].weight)
        return Data(self.source.data.points, np.stack([draw.weight for draw in draws]))

    def one(self, r: int) -> Data:
        """A replicate: it depends on nothing but the seed and its number."""
        if r < 0:
            return self.source.data
        return self.kind.draw(np.random.default_rng([self.seed, r]), self.source)

    def fitted(self, n_bootstrap: int, watch: Callable[[int, int], None]) -> "_Fitted":
        """Every replicate, from the model, in the scope of float64."""
        model, kept = self.model, self.kept
        family, (N, D) = FAMILIES[model.covariance_type], kept.X.shape
        room = model._room(N)
        objective = model._objective(self.units, family, room, kept.X.dtype)
        config = em.EMConfig(family, choose_form(D, family.axis_aligned), model.prior is not None)
        size = padded_size(round(kept.total) if self.kind.new_points else N)
        engine = ACCELERATIONS[model.acceleration]
        given = Replicates(self.drawn, size, objective, config, engine, model._tol(kept), watch)
        which = np.arange(0 if self.kind.new_points else -1, n_bootstrap)
        start = stored(self.source.mixture, family, kept.X.dtype, room)
        starts = jax.tree.map(lambda leaf: np.repeat(leaf, len(which), axis=0), start)
        ended = run(engine.begin(starts), which, given, model.max_iter)
        K = len(model.weights_)
        mixtures = to_user(engine.outcome(ended), self.units)
        mixtures = Mixture(*(leaf[:, :K] for leaf in mixtures))
        behind = 0.0 if self.kind.new_points else self.behind(ended.objective[0])
        failed = ended.failed | np.isneginf(mixtures.log_weights).any(1)
        rows = slice(-n_bootstrap, None)
        of_replicates = Mixture(*(leaf[rows] for leaf in mixtures))
        return _Fitted(of_replicates, failed[rows], ended.converged[rows], behind)

    def behind(self, objective: float) -> float:
        """Nats that EM gains on the data from the model."""
        total = self.kept.total
        height, constant = self.model._prior_height(self.units)
        began = weighted_mean(self.model._log_density(self.kept.X), self.kept.weight)
        return total * (objective - self.units.log_volume - began) + constant - height


class _Fitted(NamedTuple):
    """Mixtures of the replicates in the user's units, what became of them, and what of the data."""

    mixtures: Mixture
    failed: np.ndarray
    converged: np.ndarray
    behind: float


def _published(task: _Task, found: _Fitted, kind: str) -> Bootstrap:
    """The result, with what is to be said of it."""
    R, failed, model = len(found.failed), found.failed, task.model
    if failed.all():
        raise ValueError(f"Each of the {R} replicates failed. {SINGULAR}")
    if found.behind > BEHIND:
        warn_user(
            f"On these points EM gains {found.behind:.2g} nats from the parameters of the model: "
            "the replicates, too, go on from there, and `bias` holds what they gain. Fit the model "
            "to these points (and sample_weight) with tol=None."
        )
    if failed.any():
        other = "" if kind == "weighted" else "kind='weighted', or "
        warn_user(
            f"{failed.sum()} of {R} replicates failed, as a covariance became singular or a "
            "component was left without points. They are not in the summary, whose errors may be "
            f"too small. Try {other}fewer components."
        )
    left = (~failed & ~found.converged).sum()
    if left:
        warn_not_converged(
            f"{left} of {R} replicates did not converge in max_iter={model.max_iter} passes. "
            "Raise max_iter of the model."
        )
    log_weights, means, scales = found.mixtures
    covariances = scales @ np.swapaxes(scales, -1, -2)
    arrays = [np.exp(log_weights), means, covariances]
    for array in arrays:
        array[failed] = np.nan
    names = model._names(means.shape[-1])
    estimate = in_float64(model.mixture_)
    return Bootstrap(*arrays, failed, found.converged & ~failed, estimate, kind, names)
