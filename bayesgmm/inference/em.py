"""Expectation-maximization (Dempster, Laird and Rubin 1977): the mode read off the update."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import Array, Data
from bayesgmm.core.conjugate import Hyperparameters, mode, update
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import Form, exact_form, kappa, reference
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.prior import prior_kernel
from bayesgmm.core.sweep import Moments, soft
from bayesgmm.inference import drive
from bayesgmm.inference.loop import Progress

FORESEEN = 1e-4
"""Nats that a run may leave. So few mean nothing in themselves, but a run that slows down as it
passes a saddle foresees little, too: with ten times as many, twice as many runs ended there."""

GROUP = 8
"""Starts that one program makes together: it serves any number of them above one."""

SLOW = 0.9
"""The rate of gains taken for the rest of a run, at least: a few gains can look faster than it."""


@dataclass(frozen=True)
class EMConfig:
    """What is fixed for a run, and compiled in.

    Attributes
    ----------
    family : Covariance
    form : Form
    informative : bool
        Whether the prior's density is part of the objective; of the flat one it is 0.
    """

    family: Covariance
    form: Form
    informative: bool = False


class EMState(NamedTuple):
    """One fit between two steps.

    Attributes
    ----------
    mixture : Mixture
    objective : []
        Mean log density of the points under the mixture that ENTERED the step, and under a prior
        its own log density (without constants) over the number of points.
    gain : []
        Of the objective in the last step.
    rest : []
        What the gains to come add up to, as the last two let expect.
    remaining : []
        What is compared with `tol`.
    kappa : []
        Condition the step had to bear: that of the mixture it entered with or made.
    """

    mixture: Mixture
    objective: Array
    gain: Array
    rest: Array
    remaining: Array
    kappa: Array


class Objective(NamedTuple):
    """What is maximised beside the likelihood, and when that is done.

    Attributes
    ----------
    prior : Hyperparameters
    ridge : [D]
        Added to every variance.
    foresee : [] of bool
        Whether a run ends by the gain that is still to come, and not by the last gain.
    share : []
        Of the weight of the points, in (0, 1]: how much a trimmed fit keeps.
    """

    prior: Hyperparameters
    ridge: Array
    foresee: Array | bool = False
    share: Array | float = 1.0


def init(data: Data, start: Array, objective: Objective, config: EMConfig, K: int) -> Mixture:
    """The M-step from labels [N] (-1 for none) or responsibilities [K, N]."""
    found = drive.moments_of_start(data, start, K, config.family.axis_aligned)
    return first(*found, objective, config)


def first(means: Array, found: Moments, objective: Objective, config: EMConfig) -> Mixture:
    """The M-step from moments about `means` that no mixture made."""
    posterior = update(objective.prior, _held(found, config), means, config.family)
    return mode(posterior, config.family, objective.ridge)


def _held(found: Moments, config: EMConfig) -> Moments:
    """The moments; under a prior no component is absent for want of points.

    Its parameters go on to have a density, and those of all take part in what the family shares: a
    component that no point is left to stays, with next to no weight, where the prior would have it.
    """
    if not config.informative:
        return found
    least = 64 * float(jnp.finfo(found.counts.dtype).eps)  # one more on a Dirichlet's 1 is seen
    return found._replace(counts=jnp.maximum(found.counts, least))


def expect(mixture: Mixture, data: Data, config: EMConfig) -> Moments:
    """Moments under the mixture, with the evidence; those of two shards add."""
    return soft(data, mixture, config.form)


def renew(
    mixture: Mixture, found: Moments, objective: Objective, config: EMConfig
) -> tuple[Mixture, Array, Array]:
    """The mode of the posterior given moments that `mixture` made; its objective; the condition."""
    about = reference(mixture, config.form)
    posterior = update(objective.prior, _held(found, config), about, config.family)
    new = mode(posterior, config.family, objective.ridge, mixture.scales)
    condition = jnp.maximum(kappa(mixture), kappa(new))
    return new, value_of(mixture, found, objective, config), condition


def value_of(mixture: Mixture, found: Moments, objective: Objective, config: EMConfig) -> Array:
    """The objective of the mixture that made these moments."""
    value = found.evidence
    if config.informative:
        value = value + prior_kernel(mixture, objective.prior, config.family)
    return value / found.counts.sum()


def maximize(state: EMState, found: Moments, objective: Objective, config: EMConfig) -> EMState:
    """The next state, given moments that the mixture of this one made."""
    new, value, condition = renew(state.mixture, found, objective, config)
    gain = value - state.objective
    rest = still_to_come(gain, state.gain, value)
    remaining = jnp.where(objective.foresee, jnp.maximum(rest, state.rest), jnp.abs(gain))
    return EMState(new, value, gain, rest, remaining, condition)


def still_to_come(gain: Array, last: Array, value: Array, rate: Array | float = SLOW) -> Array:
    """What all later gains add up to if they shrink as the last two did, or at `rate` if slower.

    Aitken's extrapolation of the objective (Boehning et al. 1994; McNicholas et al. 2010 for
    mixtures). Infinite while the gains grow; 0 where the gain is rounding error of `value`.
    """
    noise = 128 * rounding(value)
    gain, last = jnp.abs(gain), jnp.abs(last)
    rate = jnp.maximum(jnp.where(last > 0, gain / last, 0.0), rate)
    rest = jnp.where(rate < 1, gain * rate / (1.0 - jnp.minimum(rate, 1.0 - 1e-6)), jnp.inf)
    return jnp.where(gain <= noise, 0.0, rest)


def rounding(value: Array) -> Array:
    """The last digit of an objective, a mean over the points."""
    return jnp.finfo(value.dtype).eps * jnp.maximum(1.0, jnp.abs(value))


def step(state: EMState, data: Data, objective: Objective, config: EMConfig) -> EMState:
    """One iteration."""
    return maximize(state, expect(state.mixture, data, config), objective, config)


# --- the run --------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("config",))
def first_all(means: Array, found: Moments, objective: Objective, config: EMConfig) -> Mixture:
    """`first` of each of R starts."""
    return jax.vmap(lambda mean, sums: first(mean, sums, objective, config))(means, found)


def grouped(starts: np.ndarray, group: int = GROUP) -> Iterator[np.ndarray]:
    """Starts [R, ...] in groups of one size, the last one filled up by repeating the last start."""
    R = len(starts)
    rows = np.minimum(np.arange(-(-R // group) * group), R - 1)
    return (starts[some] for some in rows.reshape(-1, group))


def start_all(
    shards: Sequence[Data], starts: np.ndarray, objective: Objective, config: EMConfig, K: int
) -> Mixture:
    """`init` for every start.

    Parameters
    ----------
    shards : sequence of Data
        With their padding last.
    starts : ndarray [R, N] of labels or [R, K, N] of responsibilities
        Of the N points that are not padding.
    objective : Objective
    config : EMConfig
    K : int

    Returns
    -------
    Mixture
        NumPy arrays with leading axis R.
    """
    R, mixtures = len(starts), []
    for some in grouped(starts, 1 if R == 1 else GROUP):
        axis_aligned = config.family.axis_aligned
        means, found = drive.moments_of_starts(shards, some, K, axis_aligned)
        mixtures.append(first_all(means, found, objective, config))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:R], *mixtures)


def begin(
    mixtures: Mixture, objective: float = -np.inf, gain: float = np.inf, rest: float = np.inf
) -> EMState:
    """States [R] of mixtures that have taken no step, or go on from how a run stood."""
    R, dtype = len(mixtures.means), np.dtype(mixtures.means.dtype)
    stood = (np.full(R, value, dtype) for value in (objective, gain, rest, np.inf, 0.0))
    return EMState(mixtures, *stood)


def run(
    states: EMState,
    shards: Sequence[Data],
    objective: Objective,
    config: EMConfig,
    tol: float,
    max_iter: int,
    watch: Callable[[Progress], None] | None = None,
) -> drive.Run:
    """Iterate each of R states until little gain remains.

    Parameters
    ----------
    states : EMState
        With leading axis R.
    shards : sequence of Data
        One, or one a thread.
    objective : Objective
    config : EMConfig
    tol : float
        Compared with the last gain of the objective, or, where the objective says so, with what
        the gains to come are expected to add up to (twice in a row).
    max_iter : int
    watch : callable, optional
        Called with the progress after every compiled call.

    Returns
    -------
    drive.Run
    """
    return drive.run(states, shards, objective, config, maximize, tol, max_iter, watch)


def smallest_variances(scales: np.ndarray) -> np.ndarray:
    """Of each covariance of R mixtures, from scales [R, K, ...]; 0 where they are no numbers."""
    if scales.ndim == 3:  # standard deviations
        return np.square(scales).min(-1)
    sound = np.isfinite(scales).all((-1, -2), keepdims=True)
    return np.linalg.svd(np.where(sound, scales, 0.0), compute_uv=False)[..., -1] ** 2


def outcome(run: drive.Run) -> Mixture:
    """The mixtures that a run ends with, [R]."""
    return run.state.mixture


def best(
    mixtures: Mixture,
    sound: np.ndarray,
    shards: Sequence[Data],
    config: EMConfig,
    objective: Objective | None = None,
) -> int | None:
    """The mixture of largest likelihood among those that are sound [R]; None if there is none.

    Of largest objective, where that is given.
    """
    if not sound.any():
        return None
    if len(sound) == 1:
        return 0
    found = drive.moments(mixtures, shards, exact_form(config.form.axis_aligned))
    evidence = found.evidence
    if objective is not None and config.informative:
        evidence = evidence + kernels(mixtures, objective, config)
    return int(np.nanargmax(np.where(sound, evidence / found.counts.sum(-1), -np.inf)))


@partial(jax.jit, static_argnames=("config",))
def kernels(mixtures: Mixture, objective: Objective, config: EMConfig) -> Array:
    """Log densities of R mixtures under the prior, without constants, [R]."""
    one = lambda mixture: prior_kernel(mixture, objective.prior, config.family)  # noqa: E731
    return jax.vmap(one)(mixtures)
