"""The one loop over the points: from a mixture to the moments of its components.

Every method goes round the same loop, and this is its expensive half. The points pass in chunks
that stay in cache, and nothing of size N x K is kept. A `Form` says how the log joint of a chunk
is evaluated and about which reference its moments are summed; the rest is written once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from bayesgmm.core.arrays import Array, Data, Key, inverse_scales, is_axis_aligned, power_of_two
from bayesgmm.core.forms import (
    Form,
    Frame,
    exact_form,
    frame_of,
    local_encode,
    reference,
    standard_sums,
    whitened_joint,
    whitened_sums,
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


# --- the loop -----------------------------------------------------------------------------------


def chunk_size(N: int, form: Form) -> int:
    """Points per chunk for N of them: `form.chunk`, or the most below that N is a multiple of."""
    most = min(form.chunk, N)
    chunk = next(size for size in range(most, 0, -1) if N % size == 0)
    if 2 * chunk < most:
        raise ValueError(
            f"the number of points must be a multiple of a chunk of {-(-most // 2)} to {most}, got "
            f"{N}: pad them with points of weight 0 (core.pad does)."
        )
    return chunk


SMALLEST = 32
"""Points that few are padded to, unless more are asked for."""


def padded_size(N: int, least: int = SMALLEST) -> int:
    """The size to which N points are padded, at most a sixteenth more above 16,384 points.

    Few sizes, so that fits of different N share one compiled program: powers of two from `least` to
    1,024, then multiples of 1,024 whose factor has five significant bits.
    """
    if N <= BLOCK:
        return power_of_two(N, least)
    return _rounded_up(-(-N // BLOCK), 5) * BLOCK


def snug_size(N: int) -> int:
    """A size for N points that is at most a quarter above it (from `SMALLEST` on).

    With two bits after the first: four programs where `padded_size` has one, for runs that are long
    beside their compilation.
    """
    return _rounded_up(max(N, SMALLEST), 3)


def _rounded_up(n: int, bits: int) -> int:
    """The least number from n on that has so many significant bits."""
    unit = 1 << max(0, n.bit_length() - bits)
    return -(-n // unit) * unit


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


def _least(dtype: Any) -> float:
    """Log of the smallest responsibility kept.

    Less is nothing beside rounding, and in a product the processor takes a hundred times as long
    for numbers that are no longer normal.
    """
    return 0.9 * float(np.log(np.finfo(dtype).tiny))


def _softmax(joint: Array) -> tuple[Array, Array, Array]:
    """Responsibilities [K, n] before they are divided by their sums [n], and log densities [n].

    The division is left to the caller, who joins it with the weights: one a point, not one an
    entry.
    """
    top = jax.lax.stop_gradient(joint.max(0))  # it cancels
    top = jnp.where(top > -jnp.inf, top, 0.0)  # no component at all: density 0, not NaN
    below = joint - top
    power = jnp.where(below < _least(joint.dtype), 0.0, jnp.exp(below))
    total = power.sum(0)
    return power, total, top + jnp.log(total)


def _collect(sums: Any, evidence: Array, mixture: Mixture, frame: Frame) -> Moments:
    """Moments from sums over chunks, and evidence from its sums over places in the chunk [n]."""
    return Moments(*frame.decode(sums, mixture), evidence.sum())


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
    frame = frame_of(form)
    coefficients = frame.encode(mixture)

    def body(part: Data, _):
        joint, features = frame.joint(coefficients, part.points)
        power, total, density = _softmax(joint)
        resp = power * (part.weight / total)
        return (frame.sums(resp, features), part.weight * density), ()

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
    return allocate(jr.uniform(key, data.weight.shape, data.weight.dtype), data, mixture, form)


def allocate(uniform: Array, data: Data, mixture: Mixture, form: Form) -> tuple[Array, Moments]:
    """As `hard`, from a number between 0 and 1 for each point [N]."""
    frame = frame_of(form)
    coefficients = frame.encode(mixture)
    K = mixture.means.shape[0]

    def body(part: Data, uniform: Array):
        joint, features = frame.joint(coefficients, part.points)
        power, _, density = _softmax(joint)
        labels = _inverse_cdf(power, uniform)
        sums = frame.sums(_indicator(labels, K, part.weight), features)
        return (sums, part.weight * density), labels

    chunk = chunk_size(data.weight.shape[0], form)
    (sums, evidence), labels = _over_chunks(data, uniform, chunk, body)
    return labels, _collect(sums, evidence, mixture, frame)


UNROLLED = 64
"""Components up to which a pass over them is written out."""


def _inverse_cdf(power: Array, uniform: Array) -> Array:
    """Label [n] per column of [K, n]: never one of probability 0, even where u rounds to 1.

    Row by row: `cumsum` is no one pass on a processor, and takes up to ten times as long.
    """
    K, n = power.shape
    height = uniform * power.sum(0)

    def add(k: Any, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        passed, label, last = carry
        passed = passed + power[k]
        return passed, label + (passed <= height), jnp.where(power[k] > 0, k, last)

    none = jnp.zeros(n, jnp.int32)
    carry = jnp.zeros(n, power.dtype), none, none
    if K > UNROLLED:
        carry = jax.lax.fori_loop(0, K, add, carry)
    else:
        for k in range(K):
            carry = add(k, carry)
    return jnp.minimum(carry[1], carry[2])


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
    sums = standard_sums if axis_aligned else whitened_sums

    def body(part: Data, start: Array):
        resp = _given_resp(start, len(means), part.weight)
        return sums(resp, part.points - means[:, :, None]), ()

    chunk = chunk_size(data.weight.shape[0], exact_form())
    found, _ = _over_chunks(data, start, chunk, body)
    return Moments(*found, jnp.zeros((), means.dtype))


def _given_resp(start: Array, n_components: int, weight: Array) -> Array:
    return _indicator(start, n_components, weight) if start.ndim == 1 else start * weight


def joint_of(data: Data, mixture: Mixture, form: Form) -> Array:
    """Log joint of every point, [K, N]: `log_joint` in chunks and without its intermediates."""
    frame = frame_of(form)
    coefficients = frame.encode(mixture)

    def body(part: Data, _):
        return (), frame.joint(coefficients, part.points)[0]

    return _over_chunks(data, (), chunk_size(data.weight.shape[0], form), body)[1]


def density_of(data: Data, mixture: Mixture, form: Form) -> Array:
    """Log density of every point, [N], in chunks; that of padding means nothing.

    Its derivatives pass in the same chunks, each evaluated anew, so that nothing of size N x K is
    kept for them.
    """
    frame = frame_of(form)
    coefficients = frame.encode(mixture)

    @partial(jax.checkpoint, prevent_cse=False)
    def body(part: Data, _):
        return (), _softmax(frame.joint(coefficients, part.points)[0])[2]

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
        Any; the fast ones are made for this.

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
    inverse, means, constants = local_encode(mixture)
    back = inverse if is_axis_aligned(mixture.scales) else jnp.swapaxes(inverse, -1, -2)

    def body(part: Data, _):
        joint, whitened = whitened_joint((inverse, means, constants), part.points)
        power, total, density = _softmax(joint)
        resp = power / total
        pull = back[:, :, None] * whitened if back.ndim == 2 else back @ whitened
        return (), (-part.weight * (resp[:, None, :] * pull).sum(0), density)

    _, slopes = _over_chunks(data, (), chunk_size(data.weight.shape[0], form), body)
    return Data(*slopes)
