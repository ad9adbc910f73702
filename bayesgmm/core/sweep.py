"""The one loop over the points: from a mixture to the moments of its components.

Every method goes round the same loop, and this is its expensive half. The points pass in chunks
that stay in cache, and nothing of size N x K is kept. A `Form` says how the log joint of a chunk
is evaluated and about which reference its moments are summed; the rest is written once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from bayesgmm.core.arrays import (
    Array,
    Data,
    Key,
    full_scales,
    inverse_scales,
    is_axis_aligned,
    whiten_with,
)
from bayesgmm.core.mixture import Mixture, log_constants

BLOCK = 1024
"""Points are padded to a multiple of this many (to a power of two below)."""


class Moments(NamedTuple):
    """Weighted sums over the points, about the reference of the sweep that made them.

    Those of two chunks, threads or devices add leaf by leaf.

    Attributes
    ----------
    counts : [K]
    first : [K, D]
    second : [K, D, D], or [K, D] for an axis-aligned family
    evidence : []
        Weighted sum of the log densities under the mixture that entered the sweep.
    """

    counts: Array
    first: Array
    second: Array
    evidence: Array


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


class _Frame(NamedTuple):
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


def _local_encode(mixture: Mixture) -> tuple[Array, Array, Array]:
    inverse = jnp.broadcast_to(
        inverse_scales(mixture.scales), (len(mixture.means), *mixture.scales.shape[1:])
    )
    return inverse, mixture.means, log_constants(mixture)


def _whitened_joint(coefficients: Any, points: Array) -> tuple[Array, Array]:
    inverse, means, constants = coefficients
    whitened = whiten_with(points, means, inverse)  # [K, D, n]
    return constants[:, None] - 0.5 * jnp.square(whitened).sum(1), whitened


def _whitened_sums(resp: Array, whitened: Array, D: int) -> tuple[Array, Array, Array]:
    weighted = resp[:, None, :] * whitened
    return resp.sum(1), weighted.sum(2), weighted @ jnp.swapaxes(whitened, 1, 2)


def _whitened_decode(counts: Array, first: Array, second: Array, mixture: Mixture) -> Any:
    scales = full_scales(mixture.scales)
    second = scales @ second @ jnp.swapaxes(scales, -1, -2)
    return counts, jnp.einsum("kij,kj->ki", jnp.broadcast_to(scales, second.shape), first), second


def _standard_sums(resp: Array, whitened: Array, D: int) -> tuple[Array, Array, Array]:
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
    ("natural", False): _Frame(_natural_encode, _natural_joint, _feature_sums, _natural_decode),
    ("natural", True): _Frame(_axis_encode, _axis_joint, _feature_sums, _identity),
    ("dense", False): _Frame(_local_encode, _dense_joint, _dense_sums, _identity),
    ("whitened", False): _Frame(_local_encode, _whitened_joint, _whitened_sums, _whitened_decode),
    ("whitened", True): _Frame(_local_encode, _whitened_joint, _standard_sums, _standard_decode),
}


def _frame(form: Form) -> _Frame:
    return FRAMES[form.name, form.axis_aligned]


# --- the loop -----------------------------------------------------------------------------------


def chunk_size(N: int, form: Form) -> int:
    """Points per chunk for N of them; N must be a multiple of it (see `padded_size`)."""
    chunk = min(form.chunk, N)
    if N % chunk:
        raise ValueError(
            f"the number of points must be a multiple of the chunk of {chunk}, got {N}: pad them "
            "with points of weight 0 (core.pad does)."
        )
    return chunk


def padded_size(N: int) -> int:
    """The size to which N points are padded, at most a sixteenth more above 16,384 points.

    Few sizes, so that fits of different N share one compiled program: powers of two from 32 to
    1,024, then multiples of 1,024 whose factor has five significant bits.
    """
    if N <= BLOCK:
        return max(32, 1 << (N - 1).bit_length())
    blocks = -(-N // BLOCK)
    unit = 1 << max(0, blocks.bit_length() - 5)
    return -(-blocks // unit) * unit * BLOCK


def pad(points: Array, weight: Array | None = None) -> Data:
    """Points [N, D] as `Data`, filled up with copies of the origin of weight 0.

    Parameters
    ----------
    points : [N, D]
    weight : [N], optional
        1 when not given.

    Returns
    -------
    Data
    """
    N = points.shape[0]
    extra = padded_size(N) - N
    weight = jnp.ones(N, points.dtype) if weight is None else weight
    return Data(jnp.pad(points.T, ((0, 0), (0, extra))), jnp.pad(weight, (0, extra)))


def _over_chunks(data: Data, extra: Any, chunk: int, body: Callable) -> Any:
    """Sum over chunks of what `body(chunk of Data, chunk of extra)` returns, and stack the rest.

    `body` gives (sums, columns): sums are added, columns [..., n] are joined to [..., N].
    """
    N = data.weight.shape[0]
    cut = partial(jax.lax.dynamic_slice_in_dim, slice_size=chunk, axis=-1)

    def step(total, start):
        part, more = jax.tree.map(lambda leaf: cut(leaf, start), (data, extra))
        sums, columns = body(part, more)
        return jax.tree.map(jnp.add, total, sums), columns

    zero, _ = jax.eval_shape(lambda: step_shapes(body, cut, data, extra))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), zero)
    total, columns = jax.lax.scan(step, zero, jnp.arange(0, N, chunk))
    join = lambda leaf: jnp.moveaxis(leaf, 0, -2).reshape(*leaf.shape[1:-1], N)  # noqa: E731
    return total, jax.tree.map(join, columns)


def step_shapes(body: Callable, cut: Callable, data: Data, extra: Any) -> Any:
    """What `body` returns for the first chunk: traced for its shapes only."""
    return body(*jax.tree.map(lambda leaf: cut(leaf, 0), (data, extra)))


def _softmax(joint: Array) -> tuple[Array, Array, Array]:
    """Responsibilities [K, n] before they are divided by their sums [n], and log densities [n].

    The division is left to the caller, who joins it with the weights: one a point, not one an
    entry.
    """
    top = joint.max(0)
    top = jnp.where(top > -jnp.inf, top, 0.0)  # no component at all: density 0, not NaN
    power = jnp.exp(joint - top)
    total = power.sum(0)
    return power, total, top + jnp.log(total)


def _collect(sums: Any, evidence: Array, mixture: Mixture, frame: _Frame) -> Moments:
    return Moments(*frame.decode(*sums, mixture), evidence)


def soft(data: Data, mixture: Mixture, form: Form) -> Moments:
    """Moments under the responsibilities of `mixture`: the E-step, in one pass.

    Parameters
    ----------
    data : Data
    mixture : Mixture
        [K, D, D] scales, or [K, D] for an axis-aligned form.
    form : Form

    Returns
    -------
    Moments
        About `reference(mixture, form)`.
    """
    frame, D = _frame(form), data.points.shape[0]
    coefficients = frame.encode(mixture)

    def body(part: Data, _):
        joint, features = frame.joint(coefficients, part.points)
        power, total, density = _softmax(joint)
        resp = power * (part.weight / total)
        return (frame.sums(resp, features, D), part.weight @ density), ()

    (sums, evidence), _ = _over_chunks(data, (), chunk_size(data.weight.shape[0], form), body)
    return _collect(sums, evidence, mixture, frame)


def hard(key: Key, data: Data, mixture: Mixture, form: Form) -> tuple[Array, Moments]:
    """Labels drawn from the responsibilities (inverse CDF, one uniform a point), and their moments.

    Parameters
    ----------
    key : jax PRNG key
    data : Data
    mixture : Mixture
    form : Form

    Returns
    -------
    labels : [N]
        Those of padding mean nothing.
    moments : Moments
        Of the points as labelled; the evidence is the marginal one, as `soft` gives it.
    """
    frame, D = _frame(form), data.points.shape[0]
    coefficients = frame.encode(mixture)
    K = mixture.means.shape[0]
    uniform = jr.uniform(key, data.weight.shape, data.weight.dtype)

    def body(part: Data, uniform: Array):
        joint, features = frame.joint(coefficients, part.points)
        power, _, density = _softmax(joint)
        labels = _inverse_cdf(power, uniform)
        sums = frame.sums(_indicator(labels, K, part.weight), features, D)
        return (sums, part.weight @ density), labels

    chunk = chunk_size(data.weight.shape[0], form)
    (sums, evidence), labels = _over_chunks(data, uniform, chunk, body)
    return labels, _collect(sums, evidence, mixture, frame)


def _inverse_cdf(power: Array, uniform: Array) -> Array:
    """Label [n] per column of [K, n]: never one of probability 0, even where u rounds to 1."""
    cumulative = jnp.cumsum(power, axis=0)
    last = len(power) - 1 - jnp.argmax(power[::-1] > 0, axis=0)
    return (cumulative <= uniform * cumulative[-1]).sum(0).clip(max=last)


def _indicator(labels: Array, K: int, weight: Array) -> Array:
    return (labels == jnp.arange(K)[:, None]) * weight  # [K, n]; a label of -1 belongs to none


def located(data: Data, start: Array, n_components: int) -> tuple[Array, Array]:
    """Counts [K] and sums [K, D] of components whose points are given: where a fit begins.

    Parameters
    ----------
    data : Data
    start : [N] integer labels, -1 for none, or [K, N] responsibilities
    n_components : int
    """

    def body(part: Data, start: Array):
        resp = _given_resp(start, n_components, part.weight)
        return (resp.sum(1), resp @ part.points.T), ()

    chunk = chunk_size(data.weight.shape[0], exact_form())
    return _over_chunks(data, start, chunk, body)[0]


def gathered(data: Data, start: Array, means: Array, axis_aligned: bool = False) -> Moments:
    """Moments of components whose points are given, about `means`, so that they keep their digits.

    Parameters
    ----------
    data : Data
    start : [N] integer labels, -1 for none, or [K, N] responsibilities
    means : [K, D]
    axis_aligned : bool

    Returns
    -------
    Moments
        The evidence is 0.
    """
    sums = _standard_sums if axis_aligned else _whitened_sums

    def body(part: Data, start: Array):
        resp = _given_resp(start, len(means), part.weight)
        return sums(resp, part.points - means[:, :, None], data.points.shape[0]), ()

    chunk = chunk_size(data.weight.shape[0], exact_form())
    found, _ = _over_chunks(data, start, chunk, body)
    return Moments(*found, jnp.zeros((), means.dtype))


def _given_resp(start: Array, n_components: int, weight: Array) -> Array:
    return _indicator(start, n_components, weight) if start.ndim == 1 else start * weight


def joint_of(data: Data, mixture: Mixture, form: Form) -> Array:
    """Log joint of every point, [K, N]: `log_joint` in chunks and without its intermediates."""
    frame = _frame(form)
    coefficients = frame.encode(mixture)

    def body(part: Data, _):
        return (), frame.joint(coefficients, part.points)[0]

    return _over_chunks(data, (), chunk_size(data.weight.shape[0], form), body)[1]


# --- value and gradient -------------------------------------------------------------------------


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def log_likelihood(data: Data, mixture: Mixture, form: Form) -> Array:
    r"""Weighted sum of the log densities of the points, whose gradient is one sweep.

    The derivative with respect to the natural parameters Theta of a mixture is its moments, so
    that value and gradient cost one pass and nothing of size N x K is kept; points and weights
    have their own term, evaluated only when they are differentiated. Forward and reverse mode.

    Parameters
    ----------
    data : Data
    mixture : Mixture
    form : Form
        A natural or dense form.

    Returns
    -------
    []

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from bayesgmm.core import Form, Mixture, log_likelihood, pad
    >>> data = pad(jnp.array([[-1.0], [0.0], [4.0]]))
    >>> mixture = Mixture(jnp.zeros(1), jnp.zeros((1, 1)), jnp.ones((1, 1, 1)))
    >>> slope = jax.grad(log_likelihood, argnums=1)(data, mixture, Form("natural"))
    >>> slope.means  # the sum of x - mu
    Array([[3.]], dtype=float32)
    """
    return soft(data, mixture, form).evidence


def _log_likelihood_jvp(form: Form, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (data, mixture), (d_data, d_mixture) = primals, tangents
    found = soft(data, mixture, form)
    tangent = _mixture_slope(mixture, d_mixture, found, form)
    if any(not _is_zero(t) for t in d_data):
        slopes = _point_slopes(data, mixture, form)
        pairs = [(s, t) for s, t in zip(slopes, d_data, strict=True) if not _is_zero(t)]
        tangent = tangent + sum((jnp.vdot(s, t) for s, t in pairs), start=0.0)
    return found.evidence, tangent


log_likelihood.defjvp(_log_likelihood_jvp, symbolic_zeros=True)


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


def _mixture_slope(mixture: Mixture, d_mixture: Any, found: Moments, form: Form) -> Array:
    """<moments, d Theta>, as the slope of the log joint at fixed moments: JAX derives d Theta."""
    d_mixture = jax.tree.map(
        lambda x, t: jnp.zeros_like(x) if _is_zero(t) else t, mixture, d_mixture, is_leaf=None
    )
    about = reference(mixture, form)
    expected = partial(expected_joint, found=found, about=about)
    return jax.jvp(expected, (mixture,), (d_mixture,))[1]


def expected_joint(mixture: Mixture, found: Moments, about: Array) -> Array:
    """Sum over points and components of resp x log joint, from moments about `about`.

    Its gradient with respect to the mixture is that of the log likelihood (Fisher's identity).
    """
    inverse = inverse_scales(mixture.scales)
    gap = mixture.means - about  # [K, D]
    constants = log_constants(mixture)
    constant = jnp.where(jnp.isneginf(mixture.log_weights), 0.0, constants) @ found.counts
    if is_axis_aligned(mixture.scales):
        spread = found.second - 2 * gap * found.first + found.counts[:, None] * jnp.square(gap)
        return constant - 0.5 * (jnp.square(inverse) * spread).sum()
    cross = gap[:, :, None] * found.first[:, None, :]
    spread = found.second - cross - jnp.swapaxes(cross, 1, 2)
    spread = spread + found.counts[:, None, None] * gap[:, :, None] * gap[:, None, :]
    precision = jnp.swapaxes(inverse, -1, -2) @ inverse
    return constant - 0.5 * (precision * spread).sum()


def _point_slopes(data: Data, mixture: Mixture, form: Form) -> Data:
    """Slopes of the log likelihood with respect to the points [D, N] and the weights [N]."""
    exact = exact_form(form.axis_aligned)
    inverse, means, constants = _local_encode(mixture)
    back = inverse if is_axis_aligned(mixture.scales) else jnp.swapaxes(inverse, -1, -2)

    def body(part: Data, _):
        joint, whitened = _whitened_joint((inverse, means, constants), part.points)
        power, total, density = _softmax(joint)
        resp = power / total
        pull = back[:, :, None] * whitened if back.ndim == 2 else back @ whitened
        return (), (-part.weight * (resp[:, None, :] * pull).sum(0), density)

    _, slopes = _over_chunks(data, (), chunk_size(data.weight.shape[0], exact), body)
    return Data(*slopes)


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
