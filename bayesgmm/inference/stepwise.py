r"""Stepwise EM: a mixture that follows a stream of batches, each seen once.

The moments that a sweep would sum over all points are a running mean instead. Batch t, of mean
moments s_t under the mixture that meets it, moves it by a step size,

    s <- (1 - rho_t) s + rho_t s_t,   rho_t = (t + t_0)^-a,   1/2 < a <= 1,

and the M-step reads the next mixture off s. For such a, sum rho_t is infinite and sum rho_t^2 is
not: the mixture comes to rest at a stationary point of the likelihood of the source. With
rho = 1 a batch of all points is one iteration of EM.

The running moments are about the means of their own mixture, and move along with these: a
translation of sums, which costs nothing and keeps the digits of a tight cluster wherever the
stream carries it. (About a reference that stays where it was, a cluster that has moved 10^k of its
standard deviations away would have lost 2k digits.)

References
----------
Cappe and Moulines (2009), *Journal of the Royal Statistical Society B* 71, 593-613.
Liang and Klein (2009), Online EM for unsupervised models, *Proceedings of NAACL HLT*, 611-619.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bayesgmm.core.arrays import Array, Data, covariances, is_axis_aligned
from bayesgmm.core.forms import exact_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import Moments, soft
from bayesgmm.inference import devices, em


class Stream(NamedTuple):
    """Between two batches.

    Attributes
    ----------
    mixture : Mixture
    moments : Moments
        Running means, about the means of the mixture: the counts sum to 1.
    """

    mixture: Mixture
    moments: Moments


class Step(NamedTuple):
    """What a batch leaves.

    Attributes
    ----------
    stream : Stream
    objective : []
        Mean log density of the batch under the mixture that met it.
    sound : [] of bool
        Whether every covariance is sound.
    """

    stream: Stream
    objective: Array
    sound: Array


def rate(t: int, decay: float, offset: float) -> float:
    """Step size of batch t; the batch that a stream begins with is t = 0."""
    return float(t + offset) ** -decay


@partial(jax.jit, compiler_options=devices.WIDE)
def begin(mixture: Mixture, data: Data) -> Stream:
    """A stream that begins with the batch from which the mixture has come."""
    return Stream(mixture, _mean_moments(data, mixture))


def resumed(mixture: Mixture, ridge: Any) -> Stream:
    """A stream from a mixture alone: its moments are those that it expects.

    Parameters
    ----------
    mixture : Mixture
    ridge : [D]
        Part of every variance that is no spread of points.
    """
    counts = jnp.exp(mixture.log_weights)
    own = covariances(mixture.scales) - jnp.diag(jnp.asarray(ridge))
    spread = jnp.diagonal(own, axis1=1, axis2=2) if is_axis_aligned(mixture.scales) else own
    second = counts.reshape(-1, *(1,) * (spread.ndim - 1)) * spread
    return Stream(mixture, Moments(counts, 0 * mixture.means, second, jnp.zeros(())))


@partial(jax.jit, static_argnames=("config",), compiler_options=devices.WIDE)
def step(
    stream: Stream,
    data: Data,
    objective: em.Objective,
    rate: Array,
    total: Array,
    config: em.EMConfig,
) -> Step:
    """Follow a batch.

    Parameters
    ----------
    stream : Stream
    data : Data
    objective : em.Objective
    rate : []
        Step size, in (0, 1].
    total : []
        Number of points that the running moments stand for, beside a prior.
    config : em.EMConfig
        Its form must be the exact one.

    Returns
    -------
    Step
    """
    batch = _mean_moments(data, stream.mixture)
    blend = jax.tree.map(lambda old, new: (1 - rate) * old + rate * new, stream.moments, batch)
    whole = jax.tree.map(lambda leaf: total * leaf, blend)
    new, _, _ = em.renew(stream.mixture, whole, objective, config)
    moments = _moved(blend, new.means - stream.mixture.means)
    present = ~jnp.isneginf(new.log_weights)
    finite = jnp.isfinite(new.scales).reshape(len(new.scales), -1).all(1)
    return Step(Stream(new, moments), batch.evidence, (finite | ~present).all())


def _mean_moments(data: Data, mixture: Mixture) -> Moments:
    found = soft(data, mixture, exact_form(is_axis_aligned(mixture.scales)))
    return jax.tree.map(lambda leaf: leaf / found.counts.sum(), found)


def _moved(moments: Moments, gap: Array) -> Moments:
    """The same moments about references that lie further by `gap` [K, D]."""
    counts, first, second, evidence = moments
    if second.ndim == 2:
        second = second - 2 * gap * first + counts[:, None] * jnp.square(gap)
    else:
        cross = first[:, :, None] * gap[:, None, :]
        square = counts[:, None, None] * gap[:, :, None] * gap[:, None, :]
        second = second - cross - jnp.swapaxes(cross, 1, 2) + square
    return Moments(counts, first - counts[:, None] * gap, second, evidence)
