r"""Trimmed likelihood: a share of the points is left out of the moments, those of least density.

With weights w and a share h, the objective of a mixture f is the largest mean log density of any
h of the points by weight,

    max_v  sum_n v_n log f(x_n) / sum_n v_n,   0 <= v_n <= w_n,   sum_n v_n = h sum_n w_n.

The largest v takes the points of highest density whole and the point on the edge in part (those
of the same density in equal parts), so that a row of weight 2 is two rows and no order of the rows
matters. A concentration step finds v under the current mixture and makes one EM step with it in
the place of w: neither half lets the objective fall.

References
----------
Rousseeuw and van Driessen (1999), *Technometrics* 41, 212-223, for one component (FAST-MCD).
Neykov, Filzmoser, Dimova and Neytchev (2007), *Computational Statistics and Data Analysis* 52,
299-308 (FAST-TLE). Garcia-Escudero, Gordaliza, Matran and Mayo-Iscar (2008), *Annals of Statistics*
36, 1324-1345 (TCLUST).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import Array, Data, safe_divide
from bayesgmm.core.forms import Form, exact_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import Moments, density_of, soft
from bayesgmm.inference import devices, drive, em
from bayesgmm.inference.loop import Progress
from bayesgmm.inference.restarts import TRIAL


class Best(NamedTuple):
    """The best of R runs.

    Attributes
    ----------
    run : int
    weight : ndarray [N]
        What is kept of the weight of each point that is not padding.
    """

    run: int
    weight: np.ndarray


# --- who is kept ----------------------------------------------------------------------------------


def concentrate(density: Array, weight: Array, share: Array) -> Array:
    """Weights [N] of the share of largest density; those on the edge count in part.

    Parameters
    ----------
    density : [N]
        Log densities; NaN, a distance beyond the floats, is the least.
    weight : [N]
    share : []

    Returns
    -------
    [N]
    """
    key, total = _ordinal(density), share * weight.sum()
    edge = _edge(key, weight, total)
    inside, on_edge = jnp.where(key > edge, weight, 0.0), jnp.where(key == edge, weight, 0.0)
    part = jnp.clip(safe_divide(total - inside.sum(), on_edge.sum()), 0.0, 1.0)
    return inside + part * on_edge


def _edge(key: Array, weight: Array, total: Array) -> Array:
    """The largest key such that it and all above hold this weight: bisected, bit by bit."""
    info = jnp.iinfo(key.dtype)

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low & high) + ((low ^ high) >> 1)  # rounded down, without an overflow
        enough = jnp.where(key >= middle, weight, 0.0).sum() >= total
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    ends = jnp.array(info.min, key.dtype), jnp.array(info.max, key.dtype)
    return jax.lax.fori_loop(0, info.bits, halve, ends)[0]


def _ordinal(values: Array) -> Array:
    """Integers in the order of these floats, as many bits wide."""
    kind = jnp.int64 if values.dtype == jnp.float64 else jnp.int32
    values = jnp.where(jnp.isnan(values), -jnp.inf, values)
    bits = jax.lax.bitcast_convert_type(values, kind)
    return jnp.where(bits < 0, bits ^ jnp.iinfo(kind).max, bits)


# --- the sweep of a concentration step ------------------------------------------------------------


def _of_one(data: Data, mixture: Mixture, objective: em.Objective, form: Form) -> Moments:
    density = density_of(data, mixture, form)
    kept = data._replace(weight=concentrate(density, data.weight, objective.share))
    return soft(kept, mixture, form)


@partial(jax.jit, static_argnames=("form",), compiler_options=devices.WIDE)
def _densities(mixtures: Mixture, data: Data, form: Form) -> Array:
    return jax.vmap(lambda mixture: density_of(data, mixture, form))(mixtures)  # [R, N]


@jax.jit
def _concentrate_all(densities: list[Array], weights: list[Array], share: Array) -> list[Array]:
    """What is kept of each point of each shard, [R, n] a shard: the edge is that of all."""
    joined = jnp.concatenate(weights)
    one = partial(concentrate, weight=joined, share=share)
    kept = jax.vmap(one)(jnp.concatenate(densities, axis=1))
    return jnp.split(kept, np.cumsum([len(weight) for weight in weights])[:-1], axis=1)


@partial(jax.jit, static_argnames=("form",), compiler_options=devices.WIDE)
def _expect_kept(mixtures: Mixture, data: Data, kept: Array, form: Form) -> Moments:
    one = lambda mixture, weight: soft(data._replace(weight=weight), mixture, form)  # noqa: E731
    return jax.vmap(one)(mixtures, kept)


def _kept_of(
    mixtures: Mixture, shards: Sequence[Data], share: Any, form: Form
) -> tuple[list[Array], list[Array]]:
    """Log densities and what is kept of every point, each [R, n] a shard."""
    dtype = shards[0].points.dtype
    densities = devices.each(lambda data: _densities(mixtures, data, form), shards, dtype)
    return densities, _concentrate_all(densities, [shard.weight for shard in shards], share)


def _of_several(
    mixtures: Mixture, shards: Sequence[Data], objective: em.Objective, form: Form
) -> list[Moments]:
    kept = _kept_of(mixtures, shards, objective.share, form)[1]
    pairs = list(zip(shards, kept, strict=True))
    expect = partial(_expect_kept, mixtures, form=form)
    return devices.each(lambda pair: expect(*pair), pairs, mixtures.means.dtype)


KEPT = drive.Sweep(_of_one, _of_several)
"""The share of the points that have the largest density under the mixture of the sweep."""


# --- until it stands still ------------------------------------------------------------------------


def run(
    mixtures: Mixture,
    shards: Sequence[Data],
    objective: em.Objective,
    config: em.EMConfig,
    tol: float,
    max_iter: int,
    last: tuple = (),
    watch: Callable[[Progress], None] | None = None,
    engine: Any = em,
) -> drive.Run:
    """Concentrate from each of R mixtures until little gain remains.

    Parameters
    ----------
    mixtures : Mixture
        With leading axis R.
    shards : sequence of Data
        One, or one a thread.
    objective : em.Objective
        With the share of the weight that is kept.
    config : em.EMConfig
    tol, max_iter : float, int
        As in `em.run`.
    last : tuple
        Objective, gain and gains to come of a fit that goes on, as `begin` takes them.
    watch : callable, optional
        Called with the progress after every compiled call.
    engine : module, default em
        `em` or `squarem`: its states and steps, and so their end.

    Returns
    -------
    drive.Run
    """
    share = np.dtype(mixtures.means.dtype).type(objective.share)
    given = (shards, objective._replace(share=share), config, engine.maximize, tol, max_iter)
    return drive.run(engine.begin(mixtures, *last), *given, watch, sweep=KEPT)


def best(
    mixtures: Mixture,
    sound: np.ndarray,
    shards: Sequence[Data],
    objective: em.Objective,
    config: em.EMConfig,
) -> Best | None:
    """The mixture of largest objective among those that are sound [R]; None if there is none.

    Those that end in a spike of the likelihood (`_spiked`) come after all others.
    """
    if not sound.any():
        return None
    dtype, form = shards[0].points.dtype, exact_form(config.form.axis_aligned)
    densities, kept = _kept_of(mixtures, shards, dtype.type(objective.share), form)
    kept = np.concatenate([np.asarray(part) for part in kept], axis=1)
    density = np.concatenate([np.asarray(part) for part in densities], axis=1)
    total = kept.sum(1)
    value = np.where(kept > 0, kept * density, 0.0).sum(1)
    if config.informative:
        value = value + em.kernels(mixtures, objective, config)
    value = np.where(~sound | np.isnan(value), -np.inf, value / total)
    whole = np.isfinite(value) & ~_spiked(mixtures, total, objective, config)
    chosen = int(np.argmax(np.where(whole, value, -np.inf) if whole.any() else value))
    padding = np.concatenate([np.asarray(shard.weight) for shard in shards]) == 0
    return Best(chosen, kept[chosen][~padding])


def _spiked(
    mixtures: Mixture, total: np.ndarray, objective: em.Objective, config: em.EMConfig
) -> np.ndarray:
    """Which of R mixtures have a component whose height means nothing, [R].

    One of D + 1 points or fewer, which a covariance of its own fits as closely as it likes; or one
    of equal points, such as a code for missing values, that only the ridge keeps from a point.
    A prior lets no covariance do either.
    """
    if config.informative:
        return np.zeros(len(mixtures.means), bool)
    weights = np.exp(np.asarray(mixtures.log_weights, np.float64))  # [R, K]
    scales = np.asarray(mixtures.scales)
    pivots = scales if config.family.axis_aligned else np.diagonal(scales, axis1=-2, axis2=-1)
    tight = (np.square(pivots) <= 2 * np.asarray(objective.ridge)).any(-1)  # [R, K] or [R, 1]
    thin = weights * np.reshape(total, (-1, 1)) <= scales.shape[-1] + 1
    thin = thin & (not config.family.pooled)
    return ((weights > 0) & (thin | tight)).any(-1)


def shortlist(
    mixtures: Mixture,
    shards: Sequence[Data],
    objective: em.Objective,
    config: em.EMConfig,
    group: int,
    n_kept: int,
    engine: Any = em,
) -> Mixture:
    """The best of many mixtures after a few steps: where runs to the end are to begin.

    Parameters
    ----------
    mixtures : Mixture
        With leading axis a multiple of `group`.
    shards : sequence of Data
        Some of the points are enough.
    objective : em.Objective
    config : em.EMConfig
    group : int
        Runs side by side, so that the longer runs to follow may share the program.
    n_kept : int
    engine : module, default em

    Returns
    -------
    Mixture
        With leading axis n_kept, as after the steps; the least first if they are too few.
    """
    total = objective.share * sum(np.asarray(shard.weight, np.float64).sum() for shard in shards)
    ends, ranks = [], []
    for low in range(0, len(mixtures.means), group):
        few = jax.tree.map(lambda leaf, low=low: leaf[low : low + group], mixtures)
        found = run(few, shards, objective, config, 0.0, TRIAL, engine=engine)
        mixtures_after = engine.outcome(found)
        spiked = _spiked(mixtures_after, total, objective, config)
        ranks.append(np.stack([found.failed, spiked, -found.objective]))
        ends.append(mixtures_after)
    order = np.lexsort(np.concatenate(ranks, axis=1)[::-1])[:n_kept]  # by the first row first
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *ends)
