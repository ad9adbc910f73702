"""A trimmed fit: the starts that were asked for beside those of small subsets, the best of all."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from bayesgmm.arguments import check_number
from bayesgmm.core.arrays import Data, Standardizer
from bayesgmm.core.mixture import Mixture
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.points import standard_shards, with_room
from bayesgmm.inference import em, trimmed
from bayesgmm.inference.devices import FEW
from bayesgmm.inference.drive import Run
from bayesgmm.inference.subsets import subset_mixture, subset_size

TRIED, CONTINUED = 32, 4
"""Subsets from which short runs begin, and how many of all starts go on to the end."""


def check_support(share: Any, K: int, N: int) -> bool:
    """`support_fraction`: None, or a share; whether it leaves anything out.

    Raises
    ------
    ValueError
        If it is not above 0.5 and at most 1, or keeps fewer points than components.
    """
    if share is None:
        return False
    if check_number(share, "support_fraction", low=0.5, strict=True) > 1:
        raise ValueError(f"support_fraction must be at most 1, got {share!r}.")
    if share * N < K:
        raise ValueError(
            f"support_fraction = {share} keeps {share * N:g} of n_samples = {N} points, fewer than "
            f"n_components = {K}. Raise support_fraction or lower n_components."
        )
    return share < 1


def tame(shards: list[Data]) -> None:
    """Standardised points too far out to be squared are brought to that edge, in place."""
    for shard in shards:
        most = float(np.finfo(shard.points.dtype).max) ** 0.25
        np.clip(shard.points, -most, most, out=shard.points)


class Problem(NamedTuple):
    """What is to be fitted.

    Attributes
    ----------
    kept : Entered
    units : Standardizer
    n_components : int
    shards : list of Data
    objective : em.Objective
        With the share of the weight that is kept.
    config : em.EMConfig
    engine : module
        `em` or `squarem`: its `begin`, `maximize` and `outcome`.
    """

    kept: Entered
    units: Standardizer
    n_components: int
    shards: list
    objective: em.Objective
    config: em.EMConfig
    engine: Any


def with_subsets(
    mixtures: Mixture, problem: Problem, random_state: np.random.RandomState
) -> Mixture:
    """The best after short runs from the mixtures [R, ...] and from small subsets.

    To be called inside the float scope of the fit.
    """
    R, group = len(mixtures.means), CONTINUED  # short runs and those to the end: one program
    tried = _from_subsets(problem, -(-(R + TRIED) // group) * group - R, random_state)
    together = jax.tree.map(lambda *leaves: np.concatenate(leaves), mixtures, tried)
    given = (problem.objective, problem.config, group, CONTINUED, problem.engine)
    return trimmed.shortlist(together, _some(problem, random_state), *given)


def run(
    mixtures: Mixture,
    problem: Problem,
    tol: float,
    max_iter: int,
    last: tuple,
    watch: Callable,
) -> tuple[Run, trimmed.Best | None]:
    """Runs to the end, and the best of them."""
    shards, config, engine = problem.shards, problem.config, problem.engine
    given = (shards, problem.objective, config, tol, max_iter)
    found = trimmed.run(mixtures, *given, last, watch, engine)
    ends = engine.outcome(found)
    return found, trimmed.best(ends, ~found.failed, shards, problem.objective, config)


def _from_subsets(problem: Problem, n: int, random_state: np.random.RandomState) -> Mixture:
    """Mixtures [n, ...] as the fit holds them."""
    X, K, family = problem.kept.X, problem.n_components, problem.config.family
    (N, D), dtype = X.shape, X.dtype
    room = len(problem.objective.prior.components.mean)
    found = []
    for _ in range(n):
        rows = _drawn(problem.kept, subset_size(K, D, N), random_state)
        points = problem.units.transform(X[rows]).T
        mixture = subset_mixture(points, K, problem.objective.share, family, random_state)
        found.append(with_room(mixture, room))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves).astype(dtype), *found)
    if family.pooled and not family.axis_aligned:
        return stacked._replace(scales=stacked.scales[:, :1])
    return stacked


def _drawn(kept: Entered, size: int, random_state: np.random.RandomState) -> np.ndarray:
    """Rows drawn without replacement, in proportion to their weights."""
    N, weight = len(kept.X), kept.weight
    if size == N:
        return np.arange(N)
    share = None if weight is None else weight / weight.sum()
    return np.sort(random_state.choice(N, size, replace=False, p=share))


def _some(problem: Problem, random_state: np.random.RandomState) -> list[Data]:
    """The points that short runs see: all of a few, some of many."""
    if len(problem.kept.X) <= FEW:
        return problem.shards
    some = standard_shards(*problem.kept.some(FEW, random_state), problem.units, 1)
    tame(some)
    return some
