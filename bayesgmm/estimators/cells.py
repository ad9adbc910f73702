"""The fits of a table of models: every number of components, every family."""

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from sklearn.utils import check_random_state

from bayesgmm.core.arrays import Standardizer, float_scope
from bayesgmm.core.covariance import FAMILIES, Covariance
from bayesgmm.core.forms import exact_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import snug_size
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.em import SINGULAR, GaussianMixture, Optimum
from bayesgmm.estimators.points import empty_data, standard_data, to_standard
from bayesgmm.inference import cells, em
from bayesgmm.inference.devices import FEW, n_cores
from bayesgmm.inference.drive import Run
from bayesgmm.inference.starts import starts_by_number


class Limits(NamedTuple):
    """What is singular.

    Attributes
    ----------
    min_eigenvalue : float
        Of each covariance, of points brought to variance one (by the family's scaling).
    min_count : float
        Of points a component with a volume of its own must have more than so many.
    """

    min_eigenvalue: float
    min_count: float

    def regular(self, mixtures: Mixture, total: float, family: Covariance) -> np.ndarray:
        """Which of R mixtures in the core's units, [R, K, ...], are not singular, [R] of bool."""
        weights = np.exp(np.asarray(mixtures.log_weights))
        present = weights > 0
        least = em.smallest_variances(np.asarray(mixtures.scales, np.float64))
        flat = (least < self.min_eigenvalue) & (present if least.shape[1] > 1 else True)
        few = present & (weights * total <= self.min_count) & (family.volume == "V")
        return ~(flat.any(1) | few.any(1))


class Fit(NamedTuple):
    """One cell of the table.

    Attributes
    ----------
    n_components : int
    covariance_type : str
    model : estimator or None
        Fitted; None where every run ended in a singular covariance.
    singular : bool
    seconds : float
        Compilation included.
    """

    n_components: int
    covariance_type: str
    model: Any
    singular: bool
    seconds: float

    @property
    def cell(self) -> tuple[str, int]:
        """Family and number of components."""
        return self.covariance_type, self.n_components


class Problem(NamedTuple):
    """What is to be fitted.

    Attributes
    ----------
    X, weight : array-like [N, D] or Chunks, array-like [N], str or None
        As the user gave them.
    entered : Entered or Pieces
        The same, checked.
    model : estimator
        Of one component, with the options: it knows the features.
    n_components : tuple of int
    families : tuple of str
    options : dict
        Of the estimator.
    limits : Limits or None
        None where no cell can be singular.
    """

    X: Any
    weight: Any
    entered: Entered
    model: GaussianMixture
    n_components: tuple
    families: tuple
    options: dict
    limits: Limits | None


def fit_em(problem: Problem) -> Iterator[Fit]:
    """The cells by EM, in the order in which they are ready."""
    model = problem.model
    model._check_options()
    kept = problem.entered.kept(relative=model.prior is None)
    together = model.prior is None and model.support_fraction is None and kept.in_memory
    if together and kept.shape[0] <= FEW and model.acceleration == "squarem":
        return _side_by_side(problem, kept)
    return in_turn(problem)


# --- one after the other --------------------------------------------------------------------------


def in_turn(problem: Problem) -> Iterator[Fit]:
    """Each cell by a fit of its own: many points, options or methods that the other way has not."""
    kept = problem.entered.kept(relative=getattr(problem.model, "prior", None) is None)
    for name in problem.families:
        units = kept.units(FAMILIES[name].scaling)
        for K in problem.n_components:
            began = time.perf_counter()
            model = type(problem.model)(K, covariance_type=name, **problem.options)
            found = _fitted(model, problem)
            regular = found is not None and (
                problem.limits is None or _is_regular(model, units, kept.total, problem.limits)
            )
            yield Fit(K, name, found, not regular, time.perf_counter() - began)


def _fitted(model: Any, problem: Problem) -> Any:
    """The model, fitted in silence (the table says what is to be said); None if singular."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(problem.X, sample_weight=problem.weight)
    except ValueError as error:
        if str(error) != SINGULAR:
            raise
        return None


def _is_regular(model: Any, units: Standardizer, total: float, limits: Limits) -> bool:
    mixture = to_standard(model.mixture_, units)
    family = FAMILIES[model.covariance_type]
    return bool(limits.regular(jax.tree.map(lambda leaf: leaf[None], mixture), total, family)[0])


# --- side by side ---------------------------------------------------------------------------------


def _side_by_side(problem: Problem, kept: Entered) -> Iterator[Fit]:
    """Few points: one program a family, compiled and run in threads, for all its cells."""
    stop = threading.Event()
    with float_scope(kept.X.dtype):
        starts = _starts(problem, kept)
    pool = ThreadPoolExecutor(n_cores(), thread_name_prefix="bayesgmm-cells")
    try:
        futures = {}
        for name in problem.families:
            job = _Job(problem, kept, name, starts, stop.is_set)
            futures[pool.submit(job.run)] = job
        for future in as_completed(futures):
            yield from futures[future].fits(future.result())
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def _starts(problem: Problem, kept: Entered) -> dict[int, np.ndarray]:
    """Of each number of components, [R, N]: the same for every family."""
    model = problem.model
    units = model._units(kept, "column")
    data = standard_data(*kept, units)
    random_state = check_random_state(model.random_state)
    given = (len(kept.X), problem.n_components, model._n_starts(), random_state)
    return starts_by_number(model.init_params, [data], *given)


class _Job:
    """One family: its data, its runs and what comes of them."""

    def __init__(
        self,
        problem: Problem,
        kept: Entered,
        name: str,
        starts: dict[int, np.ndarray],
        stopped: Callable[[], bool],
    ):
        self.problem, self.model, self.kept, self.name = problem, problem.model, kept, name
        self.family, self.starts, self.stopped = FAMILIES[name], starts, stopped
        self.units = self.model._units(kept, self.family.scaling)
        sizes = [len(starts[K]) for K in problem.n_components]
        group = np.repeat(np.arange(len(sizes)), sizes)
        self.field = cells.Field(group, np.append(True, group[1:] > group[:-1]))

    def run(self) -> tuple[Run, float]:
        """Every run of the family, and the seconds that they took."""
        began = time.perf_counter()
        model, dtype = self.model, self.kept.X.dtype
        room = max(self.problem.n_components)
        starts = [self.starts[K] for K in self.problem.n_components]
        regular = partial(self.problem.limits.regular, total=self.kept.total, family=self.family)
        with float_scope(dtype):
            N, D = self.kept.shape
            data = standard_data(*self.kept, self.units, empty_data(D, snug_size(N), dtype))
            objective = model._objective(self.units, self.family, room, dtype)
            config = em.EMConfig(self.family, exact_form(self.family.axis_aligned))
            states = cells.begin(data, starts, self.family, room)
            given = (data, objective, config, model._tol(self.kept), model.max_iter)
            found = cells.run(states, self.field, *given, regular, self.stopped)
        return found, time.perf_counter() - began

    def fits(self, found: tuple[Run, float]) -> Iterator[Fit]:
        """The best of each cell, as models."""
        run, seconds = found
        family, total = self.family, self.kept.total
        regular = ~run.failed & self.problem.limits.regular(run.state.kept, total, family)
        passes = np.maximum(run.n_iter, 1)
        for cell, K in enumerate(self.problem.n_components):
            own = np.flatnonzero(self.field.group == cell)
            share = seconds * passes[own].sum() / passes.sum()
            chosen = _best(run.objective[own], run.failed[own], regular[own])
            if chosen is None:
                yield Fit(K, self.name, None, True, share)
                continue
            optimum = _optimum(run, own, chosen)
            yield Fit(K, self.name, self._model(K, optimum), not regular[own[chosen]], share)

    def _model(self, K: int, optimum: Optimum) -> GaussianMixture:
        model = GaussianMixture(K, covariance_type=self.name, **self.problem.options)
        for learned in ("n_features_in_", "feature_names_in_"):
            if hasattr(self.model, learned):
                setattr(model, learned, getattr(self.model, learned))
        model._leave(optimum, self.units, self.problem.entered)
        return model


def _best(objective: np.ndarray, failed: np.ndarray, regular: np.ndarray) -> int | None:
    """The best of the regular runs, or else of those that have not failed."""
    candidates = regular if regular.any() else ~failed
    return int(np.where(candidates, objective, -np.inf).argmax()) if candidates.any() else None


def _optimum(run: Run, own: np.ndarray, chosen: int) -> Optimum:
    """The runs of one cell, and the best of them."""
    state = jax.tree.map(lambda leaf: leaf[own], run.state)
    leaves = run.converged[own], run.failed[own], run.n_iter[own], run.objective[own]
    part = Run(state, *leaves, [run.history[r] for r in own])
    mixture = jax.tree.map(lambda leaf: leaf[chosen : chosen + 1], state.kept)
    return Optimum(part, chosen, mixture)
