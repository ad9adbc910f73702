"""A fit that goes on from batch to batch, in the units and under the prior of the first."""

from collections.abc import Hashable
from typing import NamedTuple

import jax
import numpy as np

from bayesgmm.core.arrays import Standardizer, float_scope
from bayesgmm.core.concentration import Sticks
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import exact_form
from bayesgmm.estimators.ascent import resumed
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.fitted import Fitted
from bayesgmm.estimators.points import standard_data
from bayesgmm.inference import stream
from bayesgmm.inference.vb import VBConfig, VBPrior, VBState


class Stream(NamedTuple):
    """Where a fit to batches stands; in the core's units and float64.

    Attributes
    ----------
    units : Standardizer
    prior : VBPrior
    config : VBConfig
    state : VBState
    memory : stream.Memory
    gains : tuple of float
        Of the last visits to batches that had been seen before; emptied by one that had not.
    """

    units: Standardizer
    prior: VBPrior
    config: VBConfig
    state: VBState
    memory: stream.Memory
    gains: tuple = ()

    @property
    def log_volume(self) -> float:
        """What the bound of all the points loses in the user's units."""
        return float(self.memory.total.counts.sum()) * self.units.log_volume

    def converged(self, tol: float) -> bool:
        """Whether a round of visits to all the batches has gained less than `tol` at each."""
        n = len(self.memory.batches)
        last = self.gains[-n:] if n else ()
        return self.memory.rest.counts.sum() == 0 and len(last) == n > 0 and max(last) < tol


def begun(left: Fitted, units: Standardizer, family: Covariance) -> Stream:
    """A stream that has seen no points, at the posterior of a fit."""
    sticks = isinstance(left.prior.weights, Sticks)
    room = len(left.log_weights) if sticks else int(left.prior.weights.n_components)
    prior = left.core_prior(units, family, room)
    config = VBConfig(family, exact_form(family.axis_aligned))
    with float_scope("float64"):
        states = resumed(left, units, prior, config)
    state = jax.tree.map(lambda leaf: leaf[0], states)
    return Stream(units, prior, config, state, stream.empty(state, family.axis_aligned))


def visited(now: Stream, kept: Entered, key: Hashable | None, ordered: bool) -> Stream:
    """The stream after a visit to a batch; `ordered`: components are kept in order of size."""
    data = standard_data(kept.X.astype(np.float64), kept.weight, now.units)
    with float_scope("float64"):
        moments = stream.visit(now.memory, now.state, data, now.config)
        memory = stream.remember(now.memory, key, moments)
        state = now.state
        if ordered:
            memory, present = stream.by_size(memory, state.present)
            state = state._replace(present=present)
        new = stream.step(memory, state, now.prior, now.config)
    seen = key is not None and key in now.memory.batches
    gain = abs(float(new.objective) - float(now.state.objective))
    gains = (*now.gains, gain)[-len(memory.batches) :] if seen else ()
    return now._replace(state=new, memory=memory, gains=gains)
