r"""EM accelerated by squared extrapolation, with a monotone fall-back (SQUAREM).

Two EM steps from theta_0 lead to theta_1 and theta_2. With r = theta_1 - theta_0 and
v = theta_2 - 2 theta_1 + theta_0, the next EM step enters at

    theta_0 + 2 a r + a^2 v,    a = |r| / |v|,

which for a = 1 is theta_2. The coordinates are log weights, means, and covariances relative to
theta_1's; the norm is that of the Fisher information of labelled points at theta_1; both, and so
the whole path, go along with any affine map of the points. An extrapolated mixture need not be of
the family and is never compared or kept: it only enters an EM step, whose outcome is kept once it
is seen to have at least the objective of theta_1. Else the run goes on from theta_2.

So the objective never falls. Two rules more make it likely that the maximum is that of EM. Near a
saddle a little decides into which basin EM goes on. Where EM is linear a leap multiplies the part
of a step that leads away from a saddle by a positive number, so that its side stays the same: leaps
are kept short (`REACH`) for EM to be nearly linear over their length. And a saddle holds a leaping
run up: leaps use up the other directions in few passes, in which the one that leads away grows less
than in the many that EM would take. What the gains just after a leap foresee is not believed, then:
a run ends only after some EM steps without leaps (`WALK`), in which the slow gains outlast the
others.

References
----------
Varadhan and Roland (2008), *Scandinavian Journal of Statistics* 35, 335-353: scheme S3.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import Array, Data, cholesky, inverse_scales, is_axis_aligned
from bayesgmm.core.forms import kappa_limit
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import Moments
from bayesgmm.inference import drive, em
from bayesgmm.inference.loop import Progress

FIRST, SECOND, LEAP, TRIAL = 0, 1, 2, 3
"""What enters the next sweep: theta_0; theta_1; an extrapolation; what EM made of one."""

SETTLED = 0.3
"""A leap is allowed once an EM step gains less than so many nats in all. Before that a run changes
its direction, and leaps may end in another basin than EM."""

REACH = 0.1
"""No component is moved further than this in a leap: in standard deviations, or in the relative
change of its weight or of a variance. With five times as much, half as many runs again ended in
another basin than EM; with half of it next to none did, in a seventh more passes."""

WALK = 3
"""EM steps after a leap before a run may end; none leaps that would end if these confirm it."""

MEMORY = 0.97
"""How much of the longest length of late the next one remembers."""


class Leaping(NamedTuple):
    """One accelerated fit between two passes.

    Attributes
    ----------
    mixture : Mixture
        Enters the next sweep.
    objective : []
        Of the last mixture known to be no worse than those before; it never falls.
    remaining, kappa : [], []
        As in `EMState`.
    gain, rest : [], []
        Of the last EM step; what is expected after it.
    kept : Mixture
        Comes out of an EM step that entered at `objective` or above.
    base : Mixture
        theta_0.
    phase : []
        FIRST, SECOND, LEAP or TRIAL.
    entered : []
        Objective of the extrapolated mixture.
    length, longest : [], []
        a of the last leap; the longest that is allowed.
    slowest : []
        The longest a of late, 1 / (1 - the rate of the slowest direction).
    walked : []
        EM steps since the last leap; infinite before the first.
    """

    mixture: Mixture
    objective: Array
    remaining: Array
    kappa: Array
    gain: Array
    rest: Array
    kept: Mixture
    base: Mixture
    phase: Array
    entered: Array
    length: Array
    longest: Array
    slowest: Array
    walked: Array


def begin(
    mixtures: Mixture, objective: float = -np.inf, gain: float = np.inf, rest: float = np.inf
) -> Leaping:
    """States [R] of mixtures that have taken no step, or go on from how a run stood."""
    R, dtype = len(mixtures.means), np.dtype(mixtures.means.dtype)
    return begun(mixtures, lambda value: np.full(R, value, dtype), objective, gain, rest)


def begun(
    mixtures: Mixture,
    fill: Callable[[float], Array],
    objective: float,
    gain: float = np.inf,
    rest: float = np.inf,
) -> Leaping:
    """States that have taken no step; `fill` makes the array of a number of each."""
    return Leaping(
        mixture=mixtures,
        objective=fill(objective),
        remaining=fill(np.inf),
        kappa=fill(0.0),
        gain=fill(gain),
        rest=fill(rest),
        kept=mixtures,
        base=mixtures,
        phase=fill(FIRST).astype(np.int32),
        entered=fill(objective),
        length=fill(1.0),
        longest=fill(1.0),
        slowest=fill(1.0),
        walked=fill(np.inf),
    )


def run(
    states: Leaping,
    shards: Sequence[Data],
    objective: em.Objective,
    config: em.EMConfig,
    tol: float,
    max_iter: int,
    watch: Callable[[Progress], None] | None = None,
) -> drive.Run:
    """As `em.run`; an iteration is a pass over the points."""
    return drive.run(states, shards, objective, config, maximize, tol, max_iter, watch)


def outcome(run: drive.Run) -> Mixture:
    """The mixtures that a run ends with, [R]."""
    return run.state.kept


def maximize(
    state: Leaping, found: Moments, objective: em.Objective, config: em.EMConfig
) -> Leaping:
    """The next state, given moments that the mixture of this one made."""
    new, value, condition = em.renew(state.mixture, found, objective, config)
    limit = np.inf if config.form.about_means else kappa_limit(value.dtype)
    sound = jnp.isfinite(value) & (condition <= limit)
    noise = 16 * em.rounding(value)
    risky = state.phase >= LEAP
    # an extrapolation may lie a little lower: what EM makes of it is what counts
    slack = jnp.where(state.phase == LEAP, SETTLED / found.counts.sum(), noise)
    fallen = risky & ~(sound & (value >= state.objective - slack))
    ahead = _ahead(state, new, value, found.counts.sum(), objective.foresee)
    return _either(fallen, _back(state), ahead)._replace(kappa=jnp.where(fallen, 0.0, condition))


def _either(condition: Array, a: Any, b: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def _back(state: Leaping) -> Leaping:
    """The leap failed: from theta_2 on, with shorter ones."""
    return state._replace(
        mixture=state.kept,
        remaining=jnp.full_like(state.remaining, jnp.inf),
        rest=jnp.full_like(state.rest, jnp.inf),
        phase=jnp.full_like(state.phase, FIRST),
        longest=jnp.maximum(1.0, 0.5 * state.length),
        walked=jnp.zeros_like(state.walked),
    )


def _ahead(
    state: Leaping, new: Mixture, value: Array, total: Array, foresee: Array | bool
) -> Leaping:
    """The pass was sound."""
    leap, trial, second = state.phase == LEAP, state.phase == TRIAL, state.phase == SECOND
    gain = value - jnp.where(trial, state.entered, state.objective)
    length, further = _extrapolate(state.base, state.mixture, new)
    allowed = jnp.minimum(length, state.longest)
    slowest = jnp.where(second, jnp.maximum(length, MEMORY * state.slowest), state.slowest)
    rate = jnp.square(1.0 - 1.0 / jnp.maximum(slowest, 1.0))
    last = jnp.where(second, state.gain, 0.0)  # of one EM step after another
    rest = em.still_to_come(gain, last, value, jnp.maximum(em.SLOW, rate))
    walked = jnp.where(trial, 0.0, state.walked + 1.0)
    unsure = (rest * total >= em.FORESEEN) | (walked >= WALK)  # not about to end
    jump = second & (allowed > 1.0) & (jnp.abs(gain) * total < SETTLED) & unsure
    full = (trial & (state.length >= state.longest)) | (second & (length > state.longest) & ~jump)
    foreseen = jnp.where(walked >= WALK, jnp.maximum(rest, state.rest), jnp.inf)
    remaining = jnp.where(foresee, foreseen, jnp.abs(gain))
    return Leaping(
        mixture=_either(jump, further(allowed), new),
        objective=jnp.where(leap, state.objective, value),
        remaining=jnp.where(leap, jnp.inf, remaining),
        kappa=state.kappa,
        gain=jnp.where(leap, state.gain, gain),
        rest=jnp.where(leap, state.rest, rest),
        kept=_either(leap, state.kept, new),
        base=_either(leap, state.base, state.mixture),
        phase=jnp.where(leap, TRIAL, jnp.where(jump, LEAP, SECOND)),
        entered=jnp.where(leap, value, state.entered),
        length=jnp.where(jump, allowed, state.length),
        longest=jnp.where(full, 4.0 * state.longest, state.longest),
        slowest=slowest,
        walked=walked,
    )


# --- the extrapolation ----------------------------------------------------------------------------


class Tangent(NamedTuple):
    """A mixture as seen from another: what is added to it, in its own units.

    Attributes
    ----------
    log_weights : [K]
    means : [K, D]
        In the coordinates in which the other's covariances are unit matrices.
    covariances : [K, D, D] or [K, D]
        There, less the unit matrix.
    """

    log_weights: Array
    means: Array
    covariances: Array


def _extrapolate(base: Mixture, middle: Mixture, new: Mixture) -> tuple[Array, Any]:
    """The length a, and a function from a length to the extrapolated mixture."""
    inverse = inverse_scales(middle.scales)
    r = jax.tree.map(jnp.negative, _seen(base, middle, inverse))
    after = _seen(new, middle, inverse)
    v = jax.tree.map(jnp.subtract, after, r)
    weights = jnp.exp(middle.log_weights)
    squares_r, squares_v = _squares(r), _squares(v)
    size_r, size_v = (jnp.sqrt(weights @ squares) for squares in (squares_r, squares_v))
    length = size_r / jnp.where(size_v > 0, size_v, jnp.inf)
    widest = jnp.sqrt(jnp.where(weights > 0, squares_r, 0.0).max())
    length = jnp.minimum(length, REACH / jnp.where(widest > 0, widest, jnp.inf))

    def further(a: Array) -> Mixture:
        # theta_0 + 2 a r + a^2 v, from theta_1
        return _moved(middle, jax.tree.map(lambda x, y: (2 * a - 1) * x + a * a * y, r, v))

    return length, further


def _seen(mixture: Mixture, middle: Mixture, inverse: Array) -> Tangent:
    logs = jnp.where(
        jnp.isneginf(middle.log_weights), 0.0, mixture.log_weights - middle.log_weights
    )
    shift = mixture.means - middle.means
    if is_axis_aligned(mixture.scales):
        return Tangent(logs, inverse * shift, jnp.square(inverse * mixture.scales) - 1.0)
    relative = inverse @ mixture.scales
    eye = jnp.eye(shift.shape[-1], dtype=shift.dtype)
    turned = (inverse @ shift[..., None])[..., 0]
    return Tangent(logs, turned, relative @ jnp.swapaxes(relative, -1, -2) - eye)


def _squares(step: Tangent) -> Array:
    """Squared length of the step of each component, [K]: Fisher information of one point of it."""
    axes = tuple(range(1, step.covariances.ndim))
    spread = 0.5 * jnp.square(step.covariances).sum(axes)
    return jnp.square(step.log_weights) + jnp.square(step.means).sum(1) + spread


def _moved(middle: Mixture, step: Tangent) -> Mixture:
    """The mixture that is seen from `middle` as this step; (I + S / 2)^2 stands for exp(S)."""
    log_weights = jax.nn.log_softmax(middle.log_weights + step.log_weights)
    if is_axis_aligned(middle.scales):
        means = middle.means + middle.scales * step.means
        return Mixture(log_weights, means, middle.scales * jnp.abs(1.0 + 0.5 * step.covariances))
    means = middle.means + (middle.scales @ step.means[..., None])[..., 0]
    half = jnp.eye(means.shape[-1], dtype=means.dtype) + 0.5 * step.covariances
    return Mixture(log_weights, means, middle.scales @ cholesky(half @ half))
