"""A Gaussian mixture as a NumPyro distribution, its labels summed out by the sweep.

`MultivariateNormalMixture` is the distribution of one point, with a log density for each;
`MixtureSample` that of all points together, whose log density and gradient are one sweep.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.util import lazy_property, validate_sample

from bayesgmm.core.arrays import Array, Data, Key, cholesky
from bayesgmm.core.forms import Form, exact_form
from bayesgmm.core.mixture import Mixture, mixture_moments, sample
from bayesgmm.core.sweep import density_of, joint_of, log_likelihood, pad


class MultivariateNormalMixture(Distribution):
    r"""Mixture of K multivariate normal distributions, p(x) = sum_k w_k N(x | mu_k, Sigma_k).

    The density passes over the points in chunks that stay in cache, and its gradient, in forward
    and in reverse mode, does so again: nothing of size N x K is kept. No matrix is factorised,
    unless covariances are given.

    Parameters
    ----------
    weights : array [..., K], optional
        On the simplex. Give these or `log_weights`.
    means : array [..., K, D]
    scale_tril : array [..., K, D, D], optional
        Lower Cholesky factors of the covariances, or [..., 1, D, D] for one that all share. Give
        these, or `covariances`, or `variances`.
    log_weights : array [..., K], optional
        Logarithms of the weights, whose exponentials sum to one; -inf for a component that is
        absent.
    covariances : array [..., K, D, D], optional
        Covariance matrices, or [..., 1, D, D].
    variances : array [..., K, D], optional
        Of components whose features are independent; [..., K, 1] if all have one variance.
    validate_args : bool, optional
        Whether NumPyro checks the arguments.

    Attributes
    ----------
    log_weights, means : as above
    scales : array [..., K or 1, D, D], or [..., K, D]
        Cholesky factors, or standard deviations.

    Raises
    ------
    ValueError
        If not exactly one of the two ways to give the weights, or of the three to give the
        covariances, is used.

    Examples
    --------
    In a model of one's own, beside anything else that NumPyro has:

    >>> import jax.numpy as jnp
    >>> import numpyro
    >>> import numpyro.distributions as dist
    >>> from bayesgmm import MultivariateNormalMixture
    >>> def model(x):
    ...     weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(2)))
    ...     with numpyro.plate("cluster", 2):
    ...         means = numpyro.sample("means", dist.Normal(0, 5).expand([1]).to_event(1))
    ...     mixture = MultivariateNormalMixture(weights, means, variances=jnp.ones((2, 1)))
    ...     with numpyro.plate("points", len(x)):
    ...         numpyro.sample("x", mixture, obs=x)

    The density of one point:

    >>> mixture = MultivariateNormalMixture(
    ...     jnp.array([0.25, 0.75]), jnp.array([[0.0], [4.0]]), variances=jnp.ones((2, 1)))
    >>> round(float(mixture.log_prob(jnp.array([0.5]))), 3)
    -2.423
    """

    log_weights: Array
    means: Array
    scales: Array
    axis_aligned: bool

    arg_constraints: ClassVar[dict[str, Any]] = {
        "weights": constraints.simplex,
        "means": constraints.independent(constraints.real, 2),
        "scale_tril": constraints.independent(constraints.lower_cholesky, 1),
        "covariances": constraints.independent(constraints.positive_definite, 1),
        "variances": constraints.independent(constraints.positive, 2),
    }
    support: Any = constraints.real_vector
    pytree_data_fields: tuple[str, ...] = ("log_weights", "means", "scales")
    pytree_aux_fields: tuple[str, ...] = ("axis_aligned",)

    def __init__(
        self,
        weights: Any = None,
        means: Any = None,
        scale_tril: Any = None,
        *,
        log_weights: Any = None,
        covariances: Any = None,
        variances: Any = None,
        validate_args: bool | None = None,
    ):
        given = {"weights": weights, "log_weights": log_weights}
        self.log_weights = _one_of(given, {"weights": jnp.log, "log_weights": jnp.asarray})
        given |= {"scale_tril": scale_tril, "covariances": covariances, "variances": variances}
        scales = _one_of(given, SCALES)
        if means is None:
            raise ValueError("means must be given, an array [..., K, D].")
        self.means, self.axis_aligned = jnp.asarray(means), variances is not None
        batch = self._broadcast(scales)
        for name in ("weights", "scale_tril", "covariances", "variances"):
            if given[name] is not None:  # for NumPyro to check
                setattr(self, name, jnp.asarray(given[name]))
        super().__init__(batch, self.means.shape[-1:], validate_args=validate_args)

    def _broadcast(self, scales: Array) -> tuple[int, ...]:
        """All parameters with the same leading axes, which are returned."""
        core = 2 if self.axis_aligned else 3
        K, D = self.means.shape[-2:]
        found = (self.log_weights.shape[-1:], scales.shape[-core:])
        wanted = [(K, 1), (K, D)] if self.axis_aligned else [(1, D, D), (K, D, D)]
        if found[0] != (K,) or found[1] not in wanted:
            raise ValueError(
                f"weights must be [..., {K}] and the covariances of {K} components in {D} features "
                f"to go with means [..., {K}, {D}]; got shapes {self.log_weights.shape} and "
                f"{scales.shape}."
            )
        batch = jnp.broadcast_shapes(
            self.log_weights.shape[:-1], self.means.shape[:-2], scales.shape[:-core]
        )
        self.log_weights = jnp.broadcast_to(self.log_weights, (*batch, K))
        self.means = jnp.broadcast_to(self.means, (*batch, K, D))
        tail = (K, D) if self.axis_aligned else scales.shape[-3:]
        self.scales = jnp.broadcast_to(scales, (*batch, *tail))
        return batch

    @lazy_property
    def weights(self) -> Array:
        """[..., K]."""
        return jnp.exp(self.log_weights)

    @lazy_property
    def scale_tril(self) -> Array:
        """Lower Cholesky factors [..., K or 1, D, D]."""
        if not self.axis_aligned:
            return self.scales
        return self.scales[..., None] * jnp.eye(self.means.shape[-1], dtype=self.scales.dtype)

    @lazy_property
    def covariances(self) -> Array:
        """[..., K or 1, D, D]."""
        return self.scale_tril @ jnp.swapaxes(self.scale_tril, -1, -2)

    @lazy_property
    def variances(self) -> Array:
        """Diagonals of the covariances, [..., K or 1, D]."""
        return jnp.square(self.scale_tril).sum(-1)

    @property
    def mixture(self) -> Mixture:
        """The parameters as a `core.Mixture`, with the leading axes of the batch."""
        return Mixture(self.log_weights, self.means, self.scales)

    @property
    def mean(self) -> Array:
        """Mean of the mixture, [..., D]."""
        return self._mapped(lambda mixture: mixture_moments(mixture)[0])

    @property
    def variance(self) -> Array:
        """Variances of its features, [..., D]."""
        return self._mapped(lambda mixture: jnp.diagonal(mixture_moments(mixture)[1]))

    @property
    def form(self) -> Form:
        """That of the sweep: the one that keeps its digits whatever the units."""
        return exact_form(self.axis_aligned)

    @validate_sample
    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """Log density of points [..., D], labels summed out."""
        value = jnp.asarray(value)
        return self._read(value, lambda data, mixture: density_of(data, mixture, self.form))

    def component_log_probs(self, value: Any) -> Array:
        """Log joint density log w_k + log N(x | k) of points [..., D] with each component."""
        read = lambda data, mixture: joint_of(data, mixture, self.form).T  # noqa: E731
        return self._read(jnp.asarray(value), read)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, with the axes of `sample_shape` first."""
        return self.sample_with_intermediates(key, sample_shape)[0]

    def sample_with_intermediates(
        self, key: Key, sample_shape: tuple[int, ...] = ()
    ) -> tuple[Array, list[Array]]:
        """Draws, and which component each came from."""
        n = 1
        for size in sample_shape:
            n *= size
        keys = jr.split(key, self.batch_shape)
        draw = lambda mixture, key: sample(key, mixture, n)  # noqa: E731
        points, labels = self._mapped(draw, keys)  # [*batch, n, ...]
        front = lambda leaf: jnp.moveaxis(leaf, len(self.batch_shape), 0)  # noqa: E731
        points = front(points).reshape(*sample_shape, *self.batch_shape, *self.event_shape)
        return points, [front(labels).reshape(*sample_shape, *self.batch_shape)]

    def _mapped(self, function: Any, *others: Any) -> Any:
        """What `function` makes of each mixture of the batch, and of others with its axes."""
        for _ in self.batch_shape:
            function = jax.vmap(function)
        return function(self.mixture, *others)

    def _read(self, value: Array, read: Any) -> Array:
        """What `read` makes of a sweep over the points of each mixture: [*sample, *batch, ...]."""
        rank, D = len(self.batch_shape), self.means.shape[-1]
        shape = jnp.broadcast_shapes(value.shape[:-1], self.batch_shape)
        sample_shape = shape[: len(shape) - rank]
        value = jnp.broadcast_to(value, (*shape, D)).reshape(-1, *self.batch_shape, D)
        n = value.shape[0]
        one = lambda mixture, points: read(pad(points), mixture)[:n]  # noqa: E731
        found = self._mapped(one, jnp.moveaxis(value, 0, -2))  # [*batch, n, ...]
        found = jnp.moveaxis(found, rank, 0)
        return found.reshape(*sample_shape, *found.shape[1:])


SCALES = {
    "scale_tril": jnp.asarray,
    "covariances": lambda given: cholesky(jnp.asarray(given)),
    "variances": lambda given: jnp.sqrt(jnp.asarray(given)),
}
"""Scales from each way to give covariances."""


def _one_of(given: dict[str, Any], ways: dict[str, Any]) -> Array:
    """The one that is given of some ways to give something, as it is used."""
    names = [name for name in ways if given[name] is not None]
    if len(names) != 1:
        raise ValueError(
            f"exactly one of {', '.join(ways)} must be given, got {', '.join(names) or 'none'}."
        )
    return ways[names[0]](given[names[0]])


class MixtureSample(Distribution):
    r"""N independent points of a mixture as one event, each with a weight.

    The log density is the weighted sum_n s_n log p(x_n). One sweep gives it and its gradient, with
    respect to mixture, points and weights: in a sampler two thirds of the work that
    ``numpyro.plate`` and `MultivariateNormalMixture` take.

    Parameters
    ----------
    mixture : MultivariateNormalMixture
        Of no batch shape.
    n_points : int
    sample_weight : array [N], optional
        Powers of the points' likelihoods, at least 0; 1 when not given.
    form : core.Form, optional
        That of the sweep; the exact one when not given.
    validate_args : bool, optional

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from bayesgmm.inference.distribution import MixtureSample, MultivariateNormalMixture
    >>> mixture = MultivariateNormalMixture(jnp.ones(1), jnp.zeros((1, 1)), jnp.ones((1, 1, 1)))
    >>> sample = MixtureSample(mixture, 2, sample_weight=jnp.array([1.0, 0.5]))
    >>> slope = jax.grad(sample.log_prob)(jnp.array([[1.0], [2.0]]))
    >>> slope.tolist()
    [[-1.0], [-1.0]]
    """

    arg_constraints = {"sample_weight": constraints.independent(constraints.nonnegative, 1)}
    pytree_data_fields = ("mixture", "sample_weight")
    pytree_aux_fields = ("n_points", "form")
    support = constraints.independent(constraints.real, 2)

    def __init__(
        self,
        mixture: MultivariateNormalMixture,
        n_points: int,
        sample_weight: Any = None,
        form: Form | None = None,
        *,
        validate_args: bool | None = None,
    ):
        if mixture.batch_shape:
            raise ValueError(
                f"mixture must be one, without batch axes; got batch_shape={mixture.batch_shape}. "
                "Use jax.vmap, or MultivariateNormalMixture itself."
            )
        self.mixture, self.n_points = mixture, n_points
        self.form = mixture.form if form is None else form
        dtype = mixture.means.dtype
        self.sample_weight = (
            jnp.ones(n_points, dtype) if sample_weight is None else jnp.asarray(sample_weight)
        )
        super().__init__((), (n_points, *mixture.event_shape), validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: Any, intermediates: Any = None) -> Array:
        """Weighted sum of the log densities of points [N, D] (or of several such sets)."""
        value = jnp.asarray(value)
        if value.ndim > 2:
            return jax.vmap(self.log_prob)(value)
        data: Data = pad(value, self.sample_weight)
        return log_likelihood(data, self.mixture.mixture, self.form)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws of all points [N, D], with the axes of `sample_shape` first."""
        return self.mixture.sample(key, (*sample_shape, self.n_points))

    @property
    def mean(self) -> Array:
        """[N, D]."""
        return jnp.broadcast_to(self.mixture.mean, self.event_shape)

    @property
    def variance(self) -> Array:
        """[N, D]."""
        return jnp.broadcast_to(self.mixture.variance, self.event_shape)
