r"""Priors of components as NumPyro distributions of triangular factors, without a factorization.

A covariance is held by W, lower triangular with W Sigma W' = I, so that no matrix is factorised on
the way to the density. Without its constraints W is diag(exp(a)) (I + B), B strictly lower
triangular: row j of -B has the coefficients of the regression of feature j on those before it, and
exp(-a_j) is the standard deviation that they leave, which hardly depend on each other given points
however collinear these are (Pourahmadi 1999, *Biometrika* 86, 677-690). With P = Sigma^-1 = W'W the
change of variables is |dP / dW| = 2^D prod_j w_jj^j, and for a lower Cholesky factor A of X = AA'
it is 2^D prod_j a_jj^(D - j + 1) (Muirhead 1982, *Aspects of Multivariate Statistical Theory*,
theorem 2.1.9; for W with its rows and columns in reverse order).
"""

from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.scipy.special import gammaln, multigammaln
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.transforms import LowerCholeskyTransform, biject_to
from numpyro.distributions.util import matrix_to_tril_vec, validate_sample, vec_to_tril_matrix

from bayesgmm.core.arrays import Array, Key, cholesky, diagonal, inverse_lower
from bayesgmm.core.concentration import ConcentrationPrior
from bayesgmm.core.mixture import LOG_2PI

LOG_2 = float(np.log(2.0))


class _Whitening(type(constraints.lower_cholesky)):
    """Lower triangular matrices of positive diagonal, without constraints as regressions."""


whitening = _Whitening()


class RegressionTransform(LowerCholeskyTransform):
    """From B below its diagonal, row by row, and a [D], to diag(exp(a)) (I + B)."""

    codomain = whitening

    def __call__(self, x: Array) -> Array:
        """[..., D (D + 1) / 2] to [..., D, D]."""
        D = self.forward_shape(x.shape)[-1]
        below = vec_to_tril_matrix(x[..., :-D], diagonal=-1)
        return jnp.exp(x[..., -D:, None]) * (below + jnp.eye(D, dtype=x.dtype))

    def _inverse(self, y: Array) -> Array:
        scale = diagonal(y)
        below = matrix_to_tril_vec(y / scale[..., None], diagonal=-1)
        return jnp.concatenate([below, jnp.log(scale)], axis=-1)

    def log_abs_det_jacobian(self, x: Array, y: Array, intermediates: Any = None) -> Array:
        """Row j scales j entries beside its own."""
        D = y.shape[-1]
        return (jnp.arange(1, D + 1) * x[..., -D:]).sum(-1)


@biject_to.register(whitening)
def _to_whitening(constraint: Any) -> RegressionTransform:
    return RegressionTransform()


class InverseWishartFactor(Distribution):
    """W, lower triangular, of Sigma = (W'W)^-1 ~ inverse Wishart(dof, S), S = L L'.

    E[Sigma] = S / (dof - D - 1).

    Parameters
    ----------
    dof : []
        Over D - 1.
    scale_tril : [D, D]
        L.
    validate_args : bool, optional
    """

    arg_constraints = {"dof": constraints.positive, "scale_tril": constraints.lower_cholesky}
    support = whitening

    def __init__(self, dof: Any, scale_tril: Any, *, validate_args: bool | None = None):
        self.dof, self.scale_tril = jnp.asarray(dof), jnp.asarray(scale_tril)
        super().__init__((), self.scale_tril.shape, validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """Log density of W [..., D, D]."""
        D = self.event_shape[0]
        powers = self.dof - D + jnp.arange(D)
        logs = (powers * jnp.log(diagonal(value))).sum(-1)
        trace = jnp.square(value @ self.scale_tril).sum((-1, -2))
        half = 0.5 * self.dof
        constant = self.dof * jnp.log(diagonal(self.scale_tril)).sum() - multigammaln(half, D)
        return logs - 0.5 * trace + constant + D * LOG_2 * (1 - half)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws [*sample_shape, D, D], by Bartlett's decomposition."""
        D = self.event_shape[0]
        half = 0.5 * (self.dof - jnp.arange(D)[::-1])  # the last row has all the freedom
        return _bartlett(key, half, 2.0, sample_shape) @ inverse_lower(self.scale_tril)


class WishartFactor(Distribution):
    """A, lower triangular, of X = AA' with density ~ |X|^(c - (D + 1) / 2) exp(-tr(R X)).

    The Wishart distribution of 2 c degrees of freedom and scale (2 R)^-1; in one dimension the
    Gamma distribution of shape c and rate R.

    Parameters
    ----------
    concentration : []
        c, over (D - 1) / 2.
    rate_tril : [D, D]
        Lower Cholesky factor of R.
    validate_args : bool, optional
    """

    arg_constraints = {
        "concentration": constraints.positive,
        "rate_tril": constraints.lower_cholesky,
    }
    support = constraints.lower_cholesky

    def __init__(self, concentration: Any, rate_tril: Any, *, validate_args: bool | None = None):
        self.concentration, self.rate_tril = jnp.asarray(concentration), jnp.asarray(rate_tril)
        super().__init__((), self.rate_tril.shape, validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """Log density of A [..., D, D]."""
        D, c = self.event_shape[0], self.concentration
        powers = 2 * c - jnp.arange(1, D + 1)
        logs = (powers * jnp.log(diagonal(value))).sum(-1)
        trace = jnp.square(self.rate_tril.T @ value).sum((-1, -2))
        constant = 2 * c * jnp.log(diagonal(self.rate_tril)).sum() - multigammaln(c, D)
        return logs - trace + constant + D * LOG_2

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws [*sample_shape, D, D]."""
        half = self.concentration - 0.5 * jnp.arange(self.event_shape[0])
        back = jnp.swapaxes(inverse_lower(self.rate_tril), -1, -2)
        root = back @ _bartlett(key, half, 1.0, sample_shape)
        return cholesky(root @ jnp.swapaxes(root, -1, -2))


def _bartlett(key: Key, half: Array, unit: float, sample_shape: tuple[int, ...]) -> Array:
    """Lower triangular factors [..., D, D] of Wishart variates of `half` [D] the freedom a row."""
    D = len(half)
    key_diagonal, key_below = jr.split(key)
    squares = unit * jr.gamma(key_diagonal, half, (*sample_shape, D))
    below = jnp.sqrt(0.5 * unit) * jr.normal(key_below, (*sample_shape, D, D))
    eye = jnp.eye(D)
    return jnp.tril(below, -1) + eye * jnp.sqrt(squares)[..., None]


class NormalOfFactor(Distribution):
    """N(loc, Sigma / precision) with Sigma held by W, W Sigma W' = I.

    Parameters
    ----------
    loc : [..., D]
        The mean.
    inverse_scale : [..., D, D]
        W, lower triangular.
    precision : [], default 1
    validate_args : bool, optional
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "inverse_scale": constraints.lower_cholesky,
        "precision": constraints.positive,
    }
    support = constraints.real_vector

    def __init__(
        self,
        loc: Any,
        inverse_scale: Any,
        precision: Any = 1.0,
        *,
        validate_args: bool | None = None,
    ):
        inverse_scale = jnp.asarray(inverse_scale)
        batch = jnp.broadcast_shapes(jnp.shape(loc)[:-1], inverse_scale.shape[:-2])
        D = inverse_scale.shape[-1]
        self.loc = jnp.broadcast_to(loc, (*batch, D))
        self.inverse_scale = jnp.broadcast_to(inverse_scale, (*batch, D, D))
        self.precision = jnp.broadcast_to(precision, batch)
        super().__init__(batch, (D,), validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """Log density of points [..., D]."""
        D = self.event_shape[0]
        whitened = (self.inverse_scale @ (value - self.loc)[..., None])[..., 0]
        volume = jnp.log(diagonal(self.inverse_scale)).sum(-1) + 0.5 * D * jnp.log(self.precision)
        return volume - 0.5 * (self.precision * jnp.square(whitened).sum(-1) + D * LOG_2PI)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws [*sample_shape, ..., D]."""
        noise = jr.normal(key, (*sample_shape, *self.batch_shape, *self.event_shape))
        noise = noise / jnp.sqrt(self.precision)[..., None]
        return self.loc + (inverse_lower(self.inverse_scale) @ noise[..., None])[..., 0]


class Concentration(Distribution):
    """A learned concentration: the Gamma, or F, of a `core.concentration.ConcentrationPrior`.

    Parameters
    ----------
    power, scale, tail, rate : []
        Density ~ a^power (1 + a scale)^-tail exp(-a rate): rate 0 (F) or tail 0 (Gamma).
    validate_args : bool, optional
    """

    arg_constraints = {
        "power": constraints.greater_than(-1.0),
        "scale": constraints.nonnegative,
        "tail": constraints.nonnegative,
        "rate": constraints.nonnegative,
    }
    support = constraints.positive

    def __init__(
        self, power: Any, scale: Any, tail: Any, rate: Any, *, validate_args: bool | None = None
    ):
        self.power, self.scale, self.tail, self.rate = map(jnp.asarray, (power, scale, tail, rate))
        super().__init__((), (), validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """Log density."""
        prior = ConcentrationPrior(self.power, self.scale, self.tail, self.rate)
        shape, second = self.power + 1, self._second
        factor = jnp.log(jnp.where(self._heavy, self.scale, self.rate))
        of_f = gammaln(self._safe(self.tail)) - gammaln(second)
        return prior.log_density(value) + shape * factor - gammaln(shape) + of_f * self._heavy

    @property
    def _heavy(self) -> Array:
        return self.tail > 0

    def _safe(self, value: Array) -> Array:
        return jnp.where(self._heavy, value, 1.0)

    @property
    def _second(self) -> Array:
        """Half the second degrees of freedom of the F; 1 for a Gamma."""
        return self._safe(self.tail - self.power - 1)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws: a gamma variate over another for the F."""
        first, second = jr.split(key)
        above = jr.gamma(first, self.power + 1, sample_shape)
        below = jr.gamma(second, self._second, sample_shape)
        scaled = above / below / jnp.where(self._heavy, self.scale, 1.0)
        return jnp.where(self._heavy, scaled, above / jnp.where(self._heavy, 1.0, self.rate))
