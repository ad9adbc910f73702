"""New points under the posterior: densities and assignments averaged over draws of the mixture."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import Array, Data, power_of_two
from bayesgmm.core.forms import exact_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import density_of, joint_of
from bayesgmm.inference.devices import WIDE

# --- draws in few shapes, so that two samples share a program -------------------------------------


FEWEST = 8
"""Places of a draw at the least."""


def with_room(mixtures: Mixture) -> Mixture:
    """The same draws [S, T, ...] with absent components up to a power of two."""
    log_weights, means, scales = mixtures
    T = means.shape[1]
    more = power_of_two(T, FEWEST) - T
    wide = lambda leaf: np.concatenate([leaf, np.repeat(leaf[:, :1], more, axis=1)], 1)  # noqa: E731
    log_weights = np.pad(log_weights, ((0, 0), (0, more)), constant_values=-np.inf)
    return Mixture(log_weights, wide(means), wide(scales))


def with_shares(mixtures: Mixture, total: int) -> tuple[Mixture, np.ndarray]:
    """The same draws, filled up to `total` with such of no share, and the shares [total] of all."""
    S = len(mixtures.log_weights)
    more = np.zeros(total - S, int)
    wide = lambda leaf: np.concatenate([leaf, leaf[more]])  # noqa: E731
    return Mixture(*map(wide, mixtures)), np.append(np.full(S, 1 / S), more)


# --- one block of points --------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("axis_aligned",), compiler_options=WIDE)
def log_predictive(data: Data, mixtures: Mixture, axis_aligned: bool) -> Array:
    """Log of the mean density of the draws at each point, [N].

    Parameters
    ----------
    data : Data
    mixtures : Mixture
        [S, T, ...].
    axis_aligned : bool
    """
    form = exact_form(axis_aligned)

    def add(total: Array, mixture: Mixture) -> tuple[Array, None]:
        return jnp.logaddexp(total, density_of(data, mixture, form)), None

    nothing = jnp.full_like(data.weight, -jnp.inf)
    return jax.lax.scan(add, nothing, mixtures)[0] - jnp.log(len(mixtures.log_weights))


@partial(jax.jit, static_argnames=("axis_aligned",), compiler_options=WIDE)
def assignment(data: Data, mixtures: Mixture, axis_aligned: bool, shares: Array) -> Array:
    """Mean over the draws, with shares [S], of the probabilities of components, [N, K]."""
    form = exact_form(axis_aligned)

    def add(total: Array, one: tuple[Mixture, Array]) -> tuple[Array, None]:
        mixture, share = one
        return total + share * jax.nn.softmax(joint_of(data, mixture, form), axis=0), None

    K, dtype = mixtures.log_weights.shape[1], data.weight.dtype
    nothing = jnp.zeros((K, len(data.weight)), dtype)
    return jax.lax.scan(add, nothing, (mixtures, shares))[0].T


@partial(jax.jit, static_argnames=("axis_aligned",), compiler_options=WIDE)
def pointwise(data: Data, mixtures: Mixture, axis_aligned: bool) -> Array:
    """Log density of each draw at each point, labels summed out, [S, N]."""
    form = exact_form(axis_aligned)
    return jax.lax.map(lambda mixture: density_of(data, mixture, form), mixtures)


# --- draws of points ------------------------------------------------------------------------------


def sample(mixtures: Mixture, n: int, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """N points, each from a draw of its own taken at random, [n, D], and those draws' components.

    Parameters
    ----------
    mixtures : Mixture
        [S, T, ...], NumPy arrays with scales [S, T, D, D].
    n : int
    rng : numpy.random.RandomState
    """
    which = rng.randint(len(mixtures.log_weights), size=n)
    weights = np.exp(mixtures.log_weights[which])
    cumulative = np.cumsum(weights, axis=1)
    label = (cumulative < rng.uniform(size=n)[:, None] * cumulative[:, -1:]).sum(1)
    noise = rng.standard_normal((n, mixtures.means.shape[-1]))
    scales = mixtures.scales[which, label]
    return mixtures.means[which, label] + np.einsum("nij,nj->ni", scales, noise), label
