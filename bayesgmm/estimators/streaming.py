"""`partial_fit`: batches as the core sees them, and what a fit keeps between two of them."""

from typing import Any, NamedTuple

import jax
import numpy as np

from bayesgmm.arguments import check_number
from bayesgmm.core.arrays import Data, Standardizer, float_scope
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import exact_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.points import in_float64, in_form, standard_data, to_standard
from bayesgmm.inference import em, stepwise


class Streamed(NamedTuple):
    """What is kept between two batches.

    Attributes
    ----------
    stream : stepwise.Stream
        float64 NumPy arrays in `units`.
    units : Standardizer
        Fixed where the stream begins.
    n_batches : int
    total : float
        Sum of the weights of all rows seen.
    trace : list of float
        Mean log density of each batch under the mixture that met it, in the user's units.
    """

    stream: stepwise.Stream
    units: Standardizer
    n_batches: int
    total: float
    trace: list


def check_steps(decay: Any, offset: Any) -> None:
    """`learning_decay` and `learning_offset`: numbers for which the step sizes come to rest.

    Raises
    ------
    ValueError
        If they are not.
    """
    if check_number(decay, "learning_decay", low=0.5, strict=True) > 1:
        raise ValueError(
            f"learning_decay must be above 0.5 and at most 1, got {decay!r}: other step sizes do "
            "not settle, or settle too soon."
        )
    check_number(offset, "learning_offset", low=0)


def units_of(mixture: Mixture, scaling: str) -> Standardizer:
    """Units in which a whole mixture [K, D, D] has mean 0 and deviation 1."""
    weights = np.exp(np.asarray(mixture.log_weights, np.float64))
    weights /= weights.sum()
    means = np.asarray(mixture.means, np.float64)
    centre = weights @ means
    within = np.square(np.asarray(mixture.scales, np.float64)).sum(-1)
    scale = np.sqrt(weights @ (within + np.square(means - centre)))
    if scaling == "common":
        scale = np.full_like(scale, scale.max() * np.sqrt(np.mean((scale / scale.max()) ** 2)))
    return Standardizer(centre, scale)


def began(mixture: Mixture, kept: Entered, family: Covariance, trace: list) -> Streamed:
    """The stream of a mixture that was fitted to a first batch."""
    units = units_of(mixture, family.scaling)
    data = _batch(kept, units)
    with float_scope(kept.X.dtype):
        stream = stepwise.begin(_held(mixture, units, family, kept.X.dtype), data)
        stream = in_float64(stream)
    return Streamed(stream, units, 1, kept.total, trace)


def resumed(mixture: Mixture, ridge: Any, family: Covariance, total: float) -> Streamed:
    """The stream of a mixture whose points are not there; `ridge` gives that of some units."""
    units = units_of(mixture, family.scaling)
    with float_scope("float64"):
        held = _held(mixture, units, family, np.float64)
        stream = in_float64(stepwise.resumed(held, ridge(units, np.float64)))
    return Streamed(stream, units, 1, total, [])


def follow(
    streamed: Streamed,
    kept: Entered,
    objective: em.Objective,
    family: Covariance,
    decay: float,
    offset: float,
) -> Streamed | None:
    """After another batch; None if a covariance became singular."""
    stream, units, n_batches, total, trace = streamed
    dtype, total = kept.X.dtype, total + kept.total
    config = em.EMConfig(family, exact_form(family.axis_aligned))
    size = dtype.type(stepwise.rate(n_batches, decay, offset))
    with float_scope(dtype):
        stream = jax.tree.map(lambda leaf: leaf.astype(dtype), stream)
        found = stepwise.step(
            stream, _batch(kept, units), objective, size, dtype.type(total), config
        )
        found = jax.tree.map(np.asarray, found)
    if not found.sound:
        return None
    trace = [*trace, float(found.objective) - units.log_volume]
    return Streamed(in_float64(found.stream), units, n_batches + 1, total, trace)


def _batch(kept: Entered, units: Standardizer) -> Data:
    return standard_data(kept.X, kept.weight, units)


def _held(mixture: Mixture, units: Standardizer, family: Covariance, dtype: Any) -> Mixture:
    """A mixture [K, D, D] of the user's units as a stream holds it."""
    held = in_form(to_standard(mixture, units), family)
    return jax.tree.map(lambda leaf: np.array(leaf, dtype), held)
