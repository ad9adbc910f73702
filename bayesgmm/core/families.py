r"""The M-step of every covariance family: from scatter matrices to scales.

Writing Sigma_k = lambda_k Q_k A_k Q_k^T, with volume lambda_k, shape A_k and orientation Q_k, each
family minimises

    sum_k d_k log |Sigma_k| + tr(W_k Sigma_k^-1)

over its members, W_k the scatter and d_k the divisor (the count, under the flat prior). Volume
and shape are two short updates, each in an equal and a variable form, applied in turn to the
scatter along the axes; the orientation says where these come from: the coordinates (..I), each
scatter's own eigenvectors (EEV, VEV), or rotations that lower the objective (EVE, VVE). If shape
and orientation have the same letter, no axes are needed (VEE, EVV).

One round is exact for all but five families. VEI, VEE and VEV repeat theirs until the volumes
stand still, and EVE and VVE turn their axes by Jacobi rotations until nothing is gained; both
start from the scales of the last mixture, and no round raises the objective.

References
----------
Celeux and Govaert (1995), Gaussian parsimonious clustering models, *Pattern Recognition* 28,
781-793. Flury and Gautschi (1986), *SIAM Journal on Scientific and Statistical Computing* 7,
169-184, for rotations plane by plane. Browne and McNicholas (2014), *Advances in Data Analysis and
Classification* 8, 217-226, for EVE and VVE.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import (
    Array,
    cholesky,
    diagonal,
    full_scales,
    inverse_lower,
    log_determinant,
    safe_divide,
)
from bayesgmm.core.covariance import Covariance, blend

ROUNDS = 500
"""Rounds (or sweeps of rotations) in one M-step at most: a step cut short still gains."""

TURNS = 50
"""Likewise of sweeps over the planes of common axes: the few near-singular covariances that need
more go on in the next M-step from where they are, and no step lowers the likelihood."""


class Groups(NamedTuple):
    """How much stands behind each component.

    Attributes
    ----------
    divisor : [K]
    present : [K] of bool
        Those that are not have no part in what is shared.
    """

    divisor: Array
    present: Array

    def pool(self, values: Array) -> Array:
        """Sum of values [K, ...] over the components that are present."""
        present = self.present.reshape(-1, *(1,) * (values.ndim - 1))
        return jnp.where(present, values, 0.0).sum(0)


def estimate(
    scatter: Array,
    divisor: Array,
    present: Array,
    family: Covariance,
    previous: Array | None = None,
) -> Array:
    """Scales of the covariances that minimise the objective of this module within the family.

    Parameters
    ----------
    scatter : [K, D, D], [K, D] if axis-aligned, [K, 1] if isotropic
        With one leading entry if the family is pooled (see `Covariance.reduce`).
    divisor : [K], or [1] if pooled
    present : as `divisor`, of bool
        The others have no part in what is shared; their scatter must be positive definite.
    family : Covariance
    previous : [K, D, D] or [K, D], optional
        Scales to start from, where the estimate is iterated.

    Returns
    -------
    [K, D, D] lower Cholesky factors or [K, D] standard deviations
        With the leading entry of the scatter. NaN where a covariance is singular.
    """
    if family.conjugate:
        covariance = scatter / divisor.reshape(-1, *(1,) * (scatter.ndim - 1))
        return root(covariance) if family.axis_aligned else factor(covariance)
    groups = Groups(divisor, present)
    volume = jnp.ones_like(divisor)
    if family.volume == "V" and previous is not None:
        volume = jnp.exp(log_determinant(previous) / scatter.shape[-1])
    if family.axis_aligned:
        return root(_variances(scatter, groups, family, volume))
    form = FORMS[family.shape + family.orientation]
    return form(scatter, groups, family, volume, previous)


def root(variance: Array) -> Array:
    """Square root, NaN where there is no spread: a collapsed component is an error, not a peak."""
    return jnp.sqrt(jnp.where(variance > 0, variance, jnp.nan))


def factor(covariance: Array) -> Array:
    """Cholesky factors, NaN where a pivot is rounding error: flat in some direction."""
    found = cholesky(covariance)
    sound = (jnp.square(diagonal(found)) > _smallest(covariance) * diagonal(covariance)).all(-1)
    return jnp.where(sound[..., None, None], found, jnp.nan)


def _smallest(array: Array) -> float:
    """The least share of a variance [..., D] that is not rounding error."""
    return 4 * array.shape[-1] * float(jnp.finfo(array.dtype).eps)


# --- volume and shape along given axes ----------------------------------------------------------


def _variances(spectra: Array, groups: Groups, family: Covariance, volume: Array) -> Array:
    """Variances lambda_k A_k [K, D] from scatter along the axes [K, D], beginning with volumes."""

    def turn(volume: Array) -> tuple[Array, Array]:
        shape, size = SHAPES[family.shape](spectra, volume, groups)
        return shape, VOLUMES[family.volume](size, groups)

    if family.volume + family.shape == "VE":
        volume = _settle(lambda volume: turn(volume)[1], volume)
    shape, volume = turn(volume)
    return volume[:, None] * shape


def _equal_shape(spectra: Array, volume: Array, groups: Groups) -> tuple[Array, Array]:
    """Shape [1, D] up to a factor, which the volume makes good; sizes mean_j(W_kj / A_j) [K]."""
    shape = groups.pool(safe_divide(spectra, volume[:, None])) / groups.pool(groups.divisor)
    return shape[None], safe_divide(spectra, shape).mean(-1)


def _variable_shape(spectra: Array, volume: Array, groups: Groups) -> tuple[Array, Array]:
    """Shapes [K, D] of determinant 1; the sizes are the geometric means."""
    size = jnp.exp(jnp.log(spectra).mean(-1))
    return spectra / jnp.where(size > 0, size, jnp.nan)[:, None], jnp.where(size > 0, size, 0.0)


def _equal_volume(size: Array, groups: Groups) -> Array:
    return jnp.broadcast_to(groups.pool(size) / groups.pool(groups.divisor), size.shape)


def _variable_volume(size: Array, groups: Groups) -> Array:
    return size / groups.divisor


SHAPES: dict[str, Callable] = {"E": _equal_shape, "V": _variable_shape}
VOLUMES: dict[str, Callable] = {"E": _equal_volume, "V": _variable_volume}


def _settle(update: Callable, start: Array) -> Array:
    """The volumes [K] that `update` leaves alone, to two thirds of the digits."""
    tol = jnp.finfo(start.dtype).eps ** (2 / 3)

    def moving(carry: tuple) -> Array:
        i, old, new = carry
        return (i < ROUNDS) & (jnp.abs(new - old) > tol * old).any()

    def advance(carry: tuple) -> tuple:
        i, _, new = carry
        return i + 1, new, update(new)

    return jax.lax.while_loop(moving, advance, (0, start, update(start)))[2]


# --- orientation --------------------------------------------------------------------------------


def _equal_form(scatter: Array, groups: Groups, family: Covariance, volume: Array, _: Any) -> Array:
    """VEE: Sigma_k = lambda_k C."""
    D = scatter.shape[-1]

    def form(volume: Array) -> Array:
        return groups.pool(safe_divide(scatter, volume[:, None, None])) / groups.pool(
            groups.divisor
        )

    def turn(volume: Array) -> Array:
        inverse = inverse_lower(cholesky(form(volume)))
        precision = inverse.T @ inverse
        return _variable_volume(jnp.einsum("kij,ij->k", scatter, precision) / D, groups)

    volume = _settle(turn, volume)
    return root(volume)[:, None, None] * factor(form(volume))


def _own_forms(scatter: Array, groups: Groups, family: Covariance, *_: Any) -> Array:
    """EVV: Sigma_k = lambda C_k, where |C_k| = 1."""
    own = factor(scatter)
    size = jnp.exp(log_determinant(own) / scatter.shape[-1])
    volume = _equal_volume(jnp.where(size > 0, size, 0.0), groups)
    return jnp.sqrt(volume / size)[:, None, None] * own


def _own_axes(scatter: Array, groups: Groups, family: Covariance, volume: Array, _: Any) -> Array:
    """EEV, VEV: each scatter's eigenvectors, in the order of its eigenvalues."""
    spectra, axes = jnp.linalg.eigh(scatter)
    return _assemble(_variances(jnp.maximum(spectra, 0.0), groups, family, volume), axes)


def _common_axes(
    scatter: Array, groups: Groups, family: Covariance, volume: Array, previous: Array | None
) -> Array:
    """EVE, VVE: one set of axes, turned plane by plane until nothing is gained.

    In the plane of two axes the objective, at given variances, is a cos(2 t) + b sin(2 t) plus a
    constant in the angle t, so that the best angle has a closed form (Flury and Gautschi repeat
    it until the variances agree, here they follow in the next round). Planes without a common
    axis do not touch each other, and are turned together. Sweeps close in on their limit by a
    factor each, and every second one is followed by what the next ones would add at that factor,
    if it lowers the objective.
    """
    dtype, D = scatter.dtype, scatter.shape[-1]
    pooled = groups.pool(scatter) if previous is None else blend(_covariances(previous))
    axes = jnp.linalg.eigh(pooled)[1]
    rounds = jnp.asarray(_tournament(D))
    total = groups.pool(groups.divisor)
    tol = jnp.finfo(dtype).eps * total  # all digits of the objective, half of those of an angle

    def rotate(i: Array, carry: tuple) -> tuple:
        axes, turned, gain = carry
        variances = _variances(_floored(diagonal(turned)), groups, family, volume)
        weight = jnp.where(groups.present[:, None] & (variances > 0), 1.0 / variances, 0.0)
        turn, more = _rotation(turned, weight, rounds[i], total)
        return axes @ turn, turn.T @ turned @ turn, gain + more

    def level(turned: Array) -> Array:
        variances = _variances(_floored(diagonal(turned)), groups, family, volume)
        return groups.pool(groups.divisor * jnp.log(variances).sum(-1))

    def sweep(carry: tuple) -> tuple:
        i, old, turned, last = carry
        zero = jnp.zeros((), dtype)
        axes, turned, gain = jax.lax.fori_loop(0, len(rounds), rotate, (old, turned, zero))
        ahead = _ahead(old.T @ axes, gain / last)
        further = ahead.T @ turned @ ahead
        lower = (i % 2 == 1) & (level(further) < level(turned))
        axes = jnp.where(lower, axes @ ahead, axes)
        return i + 1, axes, jnp.where(lower, further, turned), gain

    def gaining(carry: tuple) -> Array:
        return (carry[0] < TURNS) & (carry[3] > tol)

    start = (0, axes, axes.T @ scatter @ axes, jnp.asarray(jnp.inf, dtype))
    axes = jax.lax.while_loop(gaining, sweep, start)[1]
    spectra = _floored(jnp.einsum("ji,kjl,li->ki", axes, scatter, axes))
    return _assemble(_variances(spectra, groups, family, volume), axes)


def _rotation(turned: Array, weight: Array, partner: Array, total: Array) -> tuple[Array, Array]:
    """The best turn [D, D] in the planes of each axis and its partner, and twice what it gains.

    Of sum_kj weight_kj (turn' turned_k turn)_jj. Planes in which it is level are left alone.
    """
    index = jnp.arange(len(partner))
    spectra = diagonal(turned)
    lean = weight - weight[:, partner]
    a = 0.5 * (lean * (spectra - spectra[:, partner])).sum(0)
    b = (lean * turned[:, index, partner]).sum(0)
    size = jnp.hypot(a, b)
    level = (size <= _smallest(a) * total) | (partner == index)
    angle = jnp.where(level, 0.0, 0.5 * jnp.arctan2(-b, -a))
    gain = jnp.where(a < 0, jnp.square(b) / (size - a), size + a)
    swap = (index[:, None] == partner) & (partner != index)
    turn = jnp.diag(jnp.cos(angle)) + swap * jnp.sin(angle)
    return turn, jnp.where(level, 0.0, gain).sum()


def _ahead(turn: Array, ratio: Array) -> Array:
    """The turns [D, D] to come after `turn`, if each gains `ratio` times what the last one did."""
    factor = jnp.sqrt(jnp.clip(ratio, 0.0, 0.99))
    half = 0.25 * factor / (1.0 - factor) * (turn - turn.T)
    eye = jnp.eye(len(turn), dtype=turn.dtype)
    return jnp.linalg.solve(eye - half, eye + half)


def _tournament(D: int) -> np.ndarray:
    """Rounds [n, D] in which every axis meets every other once; it sits out as its own partner."""
    size = D + D % 2
    order, rounds = np.arange(size), []
    for _ in range(max(size - 1, 1)):
        partner = np.empty(size, int)
        partner[order] = order[::-1]
        rounds.append(np.where(partner < D, partner, np.arange(size))[:D])
        order = np.concatenate([order[:1], np.roll(order[1:], 1)])
    return np.array(rounds)


def _floored(spectra: Array) -> Array:
    """Spectra [K, D] without rounding errors below 0; `_assemble` will not take the floor."""
    eps = jnp.finfo(spectra.dtype).eps
    return jnp.maximum(spectra, eps * spectra.max(-1, keepdims=True))


def _covariances(scales: Array) -> Array:
    found = full_scales(scales)
    return found @ jnp.swapaxes(found, -1, -2)


def _assemble(variances: Array, axes: Array) -> Array:
    """Cholesky factors of covariances with variances [K, D] along axes [..., D, D] (columns)."""
    largest = variances.max(-1, keepdims=True)
    sound = (variances > _smallest(variances) * largest).all(-1)
    found = cholesky((axes * variances[:, None, :]) @ jnp.swapaxes(axes, -1, -2))
    return jnp.where(sound[:, None, None], found, jnp.nan)


FORMS: dict[str, Callable] = {
    "EE": _equal_form,
    "VV": _own_forms,
    "EV": _own_axes,
    "VE": _common_axes,
}
"""By the letters of shape and orientation."""
