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


DENSE_FROM = 128
"""With this many features or more the products of points beat those of their features."""

CACHED = 64_000
"""Numbers of a chunk's features that stay in cache: about 0.5 MB in float64."""


def choose_form(D: int, axis_aligned: bool = False) -> Form:
    """The form that is fastest for D features, where it has the digits (see `kappa`)."""
    if D >= DENSE_FROM and not axis_aligned:
        return Form("dense", False, 256)
    features = 2 * D + 1 if axis_aligned else (D + 1) * (D + 2) // 2
    fitting = 1 << (CACHED // features).bit_length() - 1
    return Form("natural", axis_aligned, min(max(fitting, 128), 1024))


def exact_form(axis_aligned: bool = False) -> Form:
    """The form that keeps its digits whatever the mixture."""
    return Form("whitened", axis_aligned, 256)


def kappa_limit(dtype: Any) -> float:
    """Largest `kappa` (see `conjugate.mode`) at which the fast forms keep half their digits."""
    return 1e7 if np.dtype(dtype) == np.float64 else 1e3


def reference(mixture: Mixture, form: Form) -> Array:
    """The point about which a sweep takes the moments of each component, [K, D]."""
    return mixture.means if form.about_means else jnp.zeros_like(mixture.means)


# --- the forms: encode a mixture once, evaluate chunks, decode the sums -------------------------


class Frame(NamedTuple):
    """One form: its four functions."""

    encode: Callable  # mixture -> coefficients
    joint: Callable  # coefficients, points [D, n] -> log joint [K, n], features
    sums: Callable  # resp [K, n], features -> sums in the frame's coordinates, a pytree
    decode: Callable  # sums, mixture -> counts, first, second about the reference


def _products(points: Array, i: np.ndarray, j: np.ndarray) -> Array:
    """Features y_i y_j of y = [1, x], [F, n]: one gather, which XLA makes where it is used."""
    y = jnp.concatenate([jnp.ones_like(points[:1]), points])
    return y[i] * y[j]


def _feature_sums(resp: Array, features: Array) -> Array:
    return resp @ features.T  # [K, F]


def _natural_pairs(D: int) -> tuple[np.ndarray, np.ndarray]:
    return np.tril_indices(D + 1)


def _natural_encode(mixture: Mixture) -> Array:
    """Theta [K, F]: the log joint is a quadratic form y' Q y in y = [1, x]."""
    inverse = jnp.broadcast_to(
        inverse_scales(mixture.scales), (len(mixture.means), *mixture.scales.shape[1:])
    )
    whitened = jnp.einsum("kij,kj->ki", inverse, mixture.means)
    constant = log_constants(mixture) - 0.5 * jnp.square(whitened).sum(-1)
    border = 0.5 * jnp.einsum("kij,ki->kj", inverse, whitened)[:, None]
    corner = -0.5 * jnp.swapaxes(inverse, -1, -2) @ inverse
    top = jnp.concatenate([constant[:, None, None], border], axis=2)
    bottom = jnp.concatenate([jnp.swapaxes(border, 1, 2), corner], axis=2)
    i, j = _natural_pairs(mixture.means.shape[-1])
    form = jnp.concatenate([top, bottom], axis=1)[:, i, j]
    return jnp.where(i == j, 1.0, 2.0).astype(form.dtype) * form  # i > j stands for j > i too


def _natural_joint(theta: Array, points: Array) -> tuple[Array, Array]:
    features = _products(points, *_natural_pairs(len(points)))
    return theta @ features, features


def _natural_decode(sums: Array, mixture: Mixture) -> Any:
    D = mixture.means.shape[-1]
    i, j = _natural_pairs(D)
    place = np.empty((D + 1, D + 1), dtype=int)
    place[i, j] = place[j, i] = np.arange(len(i))
    second = sums[:, place]  # [K, D + 1, D + 1], of y y'
    return second[:, 0, 0], second[:, 0, 1:], second[:, 1:, 1:]


def _axis_pairs(D: int) -> tuple[np.ndarray, np.ndarray]:
    own, one = np.arange(D + 1), np.zeros(D + 1, dtype=int)
    return np.append(own, own[1:]), np.append(one, own[1:])  # 1, x, x^2


def _axis_encode(mixture: Mixture) -> Array:
    precision = jnp.square(inverse_scales(mixture.scales))
    linear = precision * mixture.means
    constant = log_constants(mixture) - 0.5 * (linear * mixture.means).sum(-1)
    return jnp.concatenate([constant[:, None], linear, -0.5 * precision], axis=1)


def _axis_joint(theta: Array, points: Array) -> tuple[Array, Array]:
    features = _products(points, *_axis_pairs(len(points)))
    return theta @ features, features


def _axis_decode(sums: Array, mixture: Mixture) -> Any:
    D = mixture.means.shape[-1]
    return sums[:, 0], sums[:, 1 : D + 1], sums[:, D + 1 :]


def _identity(sums: Any, mixture: Mixture) -> Any:
    return sums


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


def whitened_sums(resp: Array, whitened: Array) -> tuple[Array, Array, Array]:
    """Counts, first and full second sums of points [K, D, n] of each component's own."""
    weighted = resp[:, None, :] * whitened
    return resp.sum(1), weighted.sum(2), weighted @ jnp.swapaxes(whitened, 1, 2)


def _whitened_decode(sums: Any, mixture: Mixture) -> Any:
    counts, first, second = sums
    scales = full_scales(mixture.scales)
    second = scales @ second @ jnp.swapaxes(scales, -1, -2)
    return counts, jnp.einsum("kij,kj->ki", jnp.broadcast_to(scales, second.shape), first), second


def standard_sums(resp: Array, whitened: Array) -> tuple[Array, Array, Array]:
    """As `whitened_sums`, of the second moments the diagonals."""
    weighted = resp[:, None, :] * whitened
    return resp.sum(1), weighted.sum(2), (weighted * whitened).sum(2)


def _standard_decode(sums: Any, mixture: Mixture) -> Any:
    counts, first, second = sums
    return counts, mixture.scales * first, jnp.square(mixture.scales) * second


def _dense_joint(coefficients: Any, points: Array) -> tuple[Array, Array]:
    inverse, means, constants = coefficients
    K, D, _ = inverse.shape
    offset = jnp.einsum("kij,kj->ki", inverse, means).reshape(K * D, 1)
    whitened = (inverse.reshape(K * D, D) @ points - offset).reshape(K, D, -1)
    return constants[:, None] - 0.5 * jnp.square(whitened).sum(1), points


def _dense_sums(resp: Array, points: Array) -> tuple[Array, Array, Array]:
    D = len(points)
    weighted = (resp[:, None, :] * points).reshape(-1, points.shape[1])  # [K D, n]
    second = (weighted @ points.T).reshape(-1, D, D)
    return resp.sum(1), (points @ resp.T).T, second


FRAMES = {
    ("natural", False): Frame(_natural_encode, _natural_joint, _feature_sums, _natural_decode),
    ("natural", True): Frame(_axis_encode, _axis_joint, _feature_sums, _axis_decode),
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
