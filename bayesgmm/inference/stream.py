"""Memoized variational Bayes: points that come in batches, each remembered by its moments.

What a batch contributes to the bound is its moments and the entropy of its responsibilities: sums,
so that those of all batches add, and those of one that is seen again take the place of its old
ones. Each visit is then a step of coordinate ascent on the bound of all points, of which it sees
but a few; a round of visits from one and the same state is exactly an iteration of `inference.vb`.

References
----------
Hughes and Sudderth (2013), *Advances in Neural Information Processing Systems* 26, 1133-1141.
Neal and Hinton (1998), *Learning in Graphical Models*, 355-368.
"""

from collections.abc import Hashable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import Array, Data
from bayesgmm.core.forms import exact_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import Moments, expected_joint, soft
from bayesgmm.inference.vb import VBConfig, VBPrior, VBState, from_moments


class Memory(NamedTuple):
    """What is remembered of the points seen, about centres that stay.

    Attributes
    ----------
    centres : ndarray [K, D]
    batches : dict from key to Moments
        Of the batches that may be seen again; `evidence` is the entropy of the responsibilities.
    rest : Moments
        Of all the others together.
    """

    centres: np.ndarray
    batches: dict[Hashable, Moments]
    rest: Moments

    @property
    def total(self) -> Moments:
        """Of all points."""
        return jax.tree.map(lambda *leaves: sum(leaves), self.rest, *self.batches.values())


def empty(state: VBState, axis_aligned: bool) -> Memory:
    """Memory of no points, about the means of a state."""
    means = np.asarray(state.mixture.means)
    K, D = means.shape
    second = np.zeros((K, D) if axis_aligned else (K, D, D))
    return Memory(means, {}, Moments(np.zeros(K), np.zeros((K, D)), second, np.zeros(())))


def remember(memory: Memory, key: Hashable | None, moments: Moments) -> Memory:
    """With the moments of a batch: in the place of the last under this key, added if it is None."""
    if key is None:
        return memory._replace(rest=jax.tree.map(np.add, memory.rest, moments))
    return memory._replace(batches={**memory.batches, key: moments})


def visit(memory: Memory, state: VBState, data: Data, config: VBConfig) -> Moments:
    """Moments of a batch about the centres, with the entropy of its responsibilities."""
    found = _visit(state.mixture, data, memory.centres, config.family.axis_aligned)
    return jax.tree.map(np.asarray, found)


@partial(jax.jit, static_argnames=("axis_aligned",))
def _visit(mixture: Mixture, data: Data, centres: Array, axis_aligned: bool) -> Moments:
    found = soft(data, mixture, exact_form(axis_aligned))
    entropy = found.evidence - expected_joint(mixture, found, mixture.means)
    return moved(found, mixture.means - centres)._replace(evidence=entropy)


def moved(found: Moments, shift: Array) -> Moments:
    """Moments about points that lie `shift` [K, D] below those about which they are given."""
    counts = found.counts[:, None]
    first = found.first + counts * shift
    if found.second.ndim == 2:
        second = found.second + 2 * shift * found.first + counts * jnp.square(shift)
        return found._replace(first=first, second=second)
    cross = shift[:, :, None] * found.first[:, None]
    square = counts[:, :, None] * shift[:, :, None] * shift[:, None]
    second = found.second + cross + jnp.swapaxes(cross, 1, 2) + square
    return found._replace(first=first, second=second)


def step(memory: Memory, state: VBState, prior: VBPrior, config: VBConfig) -> VBState:
    """q(w), q(mu, Sigma) and q(alpha) given all that is remembered.

    The objective is the bound at the responsibilities remembered, for all points.
    """
    new = _step(memory.total, memory.centres, state.concentration, state.present, prior, config)
    return jax.tree.map(np.asarray, new)


@partial(jax.jit, static_argnames=("config",))
def _step(
    total: Moments, centres: Array, learned: Any, present: Array, prior: VBPrior, config: VBConfig
) -> VBState:
    return from_moments(total, centres, learned, present, prior, config)


def by_size(memory: Memory, present: np.ndarray) -> tuple[Memory, np.ndarray]:
    """Components from the largest to the smallest, the best order of sticks; which are present."""
    order = np.argsort(np.where(present, -memory.total.counts, 1.0), kind="stable")

    def ordered(moments: Moments) -> Moments:
        sums = (leaf[order] for leaf in moments[:3])
        return Moments(*sums, moments.evidence)

    batches = {key: ordered(moments) for key, moments in memory.batches.items()}
    return Memory(memory.centres[order], batches, ordered(memory.rest)), present[order]
