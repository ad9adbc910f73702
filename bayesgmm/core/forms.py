"""The forms a sweep can take: how a chunk's log joint is evaluated, and its moments are summed.

Each form encodes a mixture once, evaluates chunks, sums, and decodes the sums into moments about
its reference. `kappa` says how many digits the fast ones lose.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import Array, full_scales, inverse_scales, is_axis_aligned, whiten_with
from bayesgmm.core.mixture import Mixture, log_constants


@dataclass(frozen=True)
class Form:
    """How a chunk is evaluated (static under `jit`).

    Attributes
    ----------
    name : {"natural", "dense", "whitened"}
        "natural": one product with the features [1, x, x_i x_j], about the origin. "dense": the
        points themselves, for many features, about the origin. "whitened": about the current
        means; exact for tight and collinear clusters, and what the others are tested against.
    axis_aligned : bool
        Whether covariances are diagonal.
    chunk : int
        Points per chunk.
    """

    name: str = "whitened"
    axis_aligned: bool = False
    chunk: int = 512

    @property
    def about_means(self) -> bool:
        """Whether moments are about the means of the mixture rather than about the origin."""
        return self.name == "whitened"


DENSE_FROM = 40
"""With this many features or more the products of points beat those of their features."""


def choose_form(D: int, axis_aligned: bool = False) -> Form:
    """The fastest form for D features; `Form("whitened", axis_aligned)` is the exact one."""
    if axis_aligned:
        return Form("natural", True, 1024 if D < 16 else 512)
    if D >= DENSE_FROM:
        return Form("dense", False, 256)
    return Form("natural", False, 1024 if D < 4 else 512)


def exact_form(axis_aligned: bool = False) -> Form:
    """The form that keeps its digits whatever the mixture."""
    return Form("whitened", axis_aligned, 256)


def kappa_limit(dtype: Any) -> float:
    """Largest `kappa` (see `conjugate.mode`) at which the fast forms keep half their digits."""
    return 1e6 if np.dtype(dtype) == np.float64 else 1e3


def reference(mixture: Mixture, form: Form) -> Array:
    """The point about which a sweep takes the moments of each component, [K, D]."""
    return mixture.means if form.about_means else jnp.zeros_like(mixture.means)


# --- the forms: encode a mixture once, evaluate chunks, decode the sums -------------------------


class Frame(NamedTuple):
    """One form: its four functions."""

    encode: Callable  # mixture -> coefficients
    joint: Callable  # coefficients, points [D, n] -> log joint [K, n], features
    sums: Callable  # resp [K, n], features -> counts, first, second in the frame's coordinates
    decode: Callable  # counts, first, second, mixture -> the same about the reference


def _pairs(D: int) -> tuple[np.ndarray, np.ndarray]:
    return np.tril_indices(D)


def _natural_features(points: Array) -> Array:
    i, j = _pairs(points.shape[0])
    return jnp.concatenate([jnp.ones_like(points[:1]), points, points[i] * points[j]])  # [F, n]


def _natural_encode(mixture: Mixture) -> Array:
    """Theta [K, F]: log joint = Theta @ [1, x, x_i x_j]."""
    inverse = jnp.broadcast_to(
        inverse_scales(mixture.scales), (len(mixture.means), *mixture.scales.shape[1:])
    )
    precision = jnp.swapaxes(inverse, -1, -2) @ inverse
    whitened = jnp.einsum("kij,kj->ki", inverse, mixture.means)
    linear = jnp.einsum("kij,ki->kj", inverse, whitened)
    i, j = _pairs(mixture.means.shape[-1])
    quadratic = jnp.where(i == j, -0.5, -1.0) * precision[:, i, j]  # i < j stands for j < i too
    constant = log_constants(mixture) - 0.5 * jnp.square(whitened).sum(-1)
    return jnp.concatenate([constant[:, None], linear, quadratic], axis=1)


def _natural_joint(theta: Array, points: Array) -> tuple[Array, Array]:
    features = _natural_features(points)
    return theta @ features, features


def _feature_sums(resp: Array, features: Array, D: int) -> tuple[Array, Array, Array]:
    total = (features @ resp.T).T  # [K, F]: in this order XLA's product is twice as fast
    return total[:, 0], total[:, 1 : D + 1], total[:, D + 1 :]


def _natural_decode(counts: Array, first: Array, second: Array, mixture: Mixture) -> Any:
    D = mixture.means.shape[-1]
    i, j = _pairs(D)
    place = np.empty((D, D), dtype=int)
    place[i, j] = place[j, i] = np.arange(len(i))
    return counts, first, second[:, place]


def _axis_features(points: Array) -> Array:
    return jnp.concatenate([jnp.ones_like(points[:1]), points, jnp.square(points)])


def _axis_encode(mixture: Mixture) -> Array:
    precision = jnp.square(inverse_scales(mixture.scales))
    linear = precision * mixture.means
    constant = log_constants(mixture) - 0.5 * (linear * mixture.means).sum(-1)
    return jnp.concatenate([constant[:, None], linear, -0.5 * precision], axis=1)


def _axis_joint(theta: Array, points: Array) -> tuple[Array, Array]:
    features = _axis_features(points)
    return theta @ features, features


def _identity(counts: Array, first: Array, second: Array, mixture: Mixture) -> Any:
    return counts, first, second


def local_encode(mixture: Mixture) -> tuple[Array, Array, Array]:
    """Inverse scales, means and log constants: what the forms by component need."""
    inverse = jnp.broadcast_to(
        inverse_scales(mixture.scales), (len(mixture.means), *mixture.scales.shape[1:])
    )
    return inverse, mixture.means, log_constants(mixture)


def whitened_joint(coefficients: Any, points: Array) -> tuple[Array, Array]:
    """Log joint [K, n] and whitened points [K, D, n]."""
    inverse, means, constants = coefficients
    whitened = whiten_with(points, means, inverse)  # [K, D, n]
    return constants[:, None] - 0.5 * jnp.square(whitened).sum(1), whitened


def whitened_sums(resp: Array, whitened: Array, D: int) -> tuple[Array, Array, Array]:
    """Counts, first and full second sums of points [K, D, n] of each component's own."""
    weighted = resp[:, None, :] * whitened
    return resp.sum(1), weighted.sum(2), weighted @ jnp.swapaxes(whitened, 1, 2)


def _whitened_decode(counts: Array, first: Array, second: Array, mixture: Mixture) -> Any:
    scales = full_scales(mixture.scales)
    second = scales @ second @ jnp.swapaxes(scales, -1, -2)
    return counts, jnp.einsum("kij,kj->ki", jnp.broadcast_to(scales, second.shape), first), second


def standard_sums(resp: Array, whitened: Array, D: int) -> tuple[Array, Array, Array]:
    """As `whitened_sums`, of the second moments the diagonals."""
    weighted = resp[:, None, :] * whitened
    return resp.sum(1), weighted.sum(2), (weighted * whitened).sum(2)


def _standard_decode(counts: Array, first: Array, second: Array, mixture: Mixture) -> Any:
    return counts, mixture.scales * first, jnp.square(mixture.scales) * second


def _dense_joint(coefficients: Any, points: Array) -> tuple[Array, Array]:
    inverse, means, constants = coefficients
    K, D, _ = inverse.shape
    offset = jnp.einsum("kij,kj->ki", inverse, means).reshape(K * D, 1)
    whitened = (inverse.reshape(K * D, D) @ points - offset).reshape(K, D, -1)
    return constants[:, None] - 0.5 * jnp.square(whitened).sum(1), points


def _dense_sums(resp: Array, points: Array, D: int) -> tuple[Array, Array, Array]:
    weighted = (resp[:, None, :] * points).reshape(-1, points.shape[1])  # [K D, n]
    second = (weighted @ points.T).reshape(-1, D, D)
    return resp.sum(1), (points @ resp.T).T, second


FRAMES = {
    ("natural", False): Frame(_natural_encode, _natural_joint, _feature_sums, _natural_decode),
    ("natural", True): Frame(_axis_encode, _axis_joint, _feature_sums, _identity),
    ("dense", False): Frame(local_encode, _dense_joint, _dense_sums, _identity),
    ("whitened", False): Frame(local_encode, whitened_joint, whitened_sums, _whitened_decode),
    ("whitened", True): Frame(local_encode, whitened_joint, standard_sums, _standard_decode),
}


def frame_of(form: Form) -> Frame:
    """The functions of a form."""
    return FRAMES[form.name, form.axis_aligned]


def kappa(mixture: Mixture) -> Array:
    """Largest sum_i P_k,ii (Sigma_k,ii + m_k,i^2): how many digits the fast forms lose.

    About 2 D for round clusters near the origin of standardised points; it grows when a cluster
    is tight, far out, or nearly flat in some direction. An absent component does not count.
    """
    inverse = inverse_scales(mixture.scales)
    if is_axis_aligned(mixture.scales):
        precision, variance = jnp.square(inverse), jnp.square(mixture.scales)
    else:
        precision, variance = jnp.square(inverse).sum(-2), jnp.square(mixture.scales).sum(-1)
    condition = (precision * (variance + jnp.square(mixture.means))).sum(-1)
    return jnp.where(jnp.isneginf(mixture.log_weights), 0.0, condition).max()
