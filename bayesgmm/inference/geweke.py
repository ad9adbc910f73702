r"""Geweke's joint test: a sampler must leave the joint distribution of parameters and data alone.

Two simulators of that distribution are compared. The first draws parameters from the prior and data
given these (`inference.simulate`, which shares no code with the sampler). The second goes on from
there: a sweep of the sampler given the data, new data given labels and components, and so on. If
the sweep leaves the posterior invariant for every data set, both have the same distribution after
any number of rounds; an error in a conditional, a constant of the prior or a Jacobian makes the
second one drift away.

Many short chains that begin in draws of the first simulator are independent of each other, so that
the standard errors are those of independent numbers; and statistics are bounded, so that
they have them whatever the tails of the prior.

References
----------
Geweke (2004), *Getting it right: joint distribution tests of posterior simulators*, Journal of the
American Statistical Association 99, 799-804.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core import random
from bayesgmm.core.arrays import Array, Data, float_scope, full_scales
from bayesgmm.core.mixture import Mixture
from bayesgmm.inference.gibbs import GibbsConfig, GibbsPrior, GibbsState, init, recounted, step
from bayesgmm.inference.simulate import simulate
from bayesgmm.inference.splitmerge import Moves

DATA = 100
"""Number of the key of new data; the sweep has smaller ones."""

DIRECT = 20
"""Draws of the first simulator for each chain of the second."""


ROUNDING = 1e-9
"""A standard error below this is that of a number that does not vary."""


class Model(NamedTuple):
    """What is tested.

    Attributes
    ----------
    prior : GibbsPrior
    config : GibbsConfig
    alpha : float
        The concentration where it is not learned.
    n_points : int
    n_slots : int
        T, so many that none is wanting.
    """

    prior: GibbsPrior
    config: GibbsConfig
    alpha: float
    n_points: int
    n_slots: int


def joint_test(
    rng: np.random.Generator,
    model: Model,
    n_chains: int = 2000,
    n_rounds: int = 40,
    sampled: GibbsPrior | None = None,
    simulator: Callable | None = None,
) -> dict[str, tuple[float, float, float]]:
    """Means of label-free statistics under both simulators, and how far they are apart.

    Parameters
    ----------
    rng : numpy.random.Generator
    model : Model
    n_chains, n_rounds : int
        Of the second simulator. The mean of a chain is over the second half of its rounds.
    sampled : GibbsPrior, optional
        The prior that the sampler is given, where it is not the model's: a test of the test.
    simulator : callable, optional
        The second one, `by_gibbs` if not given: from keys [C, 2], draws of the first [C, ...], the
        model and the number of rounds to the `averages` of each chain.

    Returns
    -------
    dict from name to (mean of the first simulator, mean of the second, z)
        z is their difference in standard errors.
    """
    prior, config, alpha, N, T = model
    draw = partial(simulate, rng, prior, config, alpha, N)
    begun, direct = draw(n_chains, n_slots=T), draw(DIRECT * n_chains)
    keys = rng.integers(2**32, size=(n_chains, 2), dtype=np.uint32)
    used = model if sampled is None else model._replace(prior=sampled)
    with float_scope("float64"):
        second = (simulator or by_gibbs)(keys, Joint(*begun), used, np.int32(n_rounds))
        first = _statistics_of(Joint(*direct))
    return {name: _compared(np.asarray(first[name]), np.asarray(second[name])) for name in second}


def _compared(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    error = np.sqrt(first.var() / len(first) + second.var() / len(second))
    gap = second.mean() - first.mean()
    z = gap / error if error > ROUNDING else 0.0
    return float(first.mean()), float(second.mean()), float(z)


def _with_neighbours(prior: GibbsPrior, N: int) -> GibbsPrior:
    """Every other point is a neighbour: the data change, and these must not."""
    near = np.array([[j for j in range(N) if j != i] for i in range(N)], np.int32)
    return prior._replace(moves=Moves(near))


# --- the second simulator -------------------------------------------------------------------------


class Joint(NamedTuple):
    """One draw of everything: as `Simulated`, without the leading axis."""

    labels: Array
    mixture: Mixture
    n_components: Array
    alpha: Array
    scale: Array
    points: Array


def averages(advance: Callable, states: Any, data: Data, n_rounds: Array) -> dict[str, Array]:
    """Means [C] of the statistics over the second half of the rounds of each chain.

    Parameters
    ----------
    advance : callable
        From a state and data to the next ones, and a `Joint`, of one chain.
    states, data : trees of arrays [C, ...]
    n_rounds : []
    """

    def seen(state: Any, data: Data) -> tuple[Any, Data, dict]:
        state, data, draw = advance(state, data)
        return state, data, statistics(draw)

    def body(i: Array, carry: tuple) -> tuple:
        states, data, total = carry
        states, data, found = jax.vmap(seen)(states, data)
        share = jnp.where(i < n_rounds // 2, 0.0, 1.0 / (n_rounds - n_rounds // 2))
        return states, data, jax.tree.map(lambda a, b: a + share * b, total, found)

    shapes = jax.eval_shape(jax.vmap(seen), states, data)[2]
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    return jax.lax.fori_loop(0, n_rounds, body, (states, data, nothing))[2]


def points_given(key: Array, labels: Array, mixture: Mixture, like: Array) -> Array:
    """New points [D, N] given labels [N] and components."""
    noise = random.normal(key, like.T.shape, like.dtype)
    scales = every_scale(mixture)
    points = mixture.means[labels] + jnp.einsum("nij,nj->ni", scales[labels], noise)
    return points.T


def every_scale(mixture: Mixture) -> Array:
    """Scales [T, D, D] of all slots."""
    T, D = mixture.means.shape
    return jnp.broadcast_to(full_scales(mixture.scales), (T, D, D))


def by_gibbs(keys: Array, draws: Joint, model: Model, n_rounds: Array) -> dict[str, Array]:
    """The second simulator with a sweep of `inference.gibbs`."""
    states, data = _begin(keys, draws, model.config, model.n_slots)
    prior = _with_neighbours(model.prior, model.n_points)
    return _by_gibbs(states, data, prior, n_rounds, model.config)


@partial(jax.jit, static_argnames=("config", "T"))
def _begin(keys: Array, draws: Joint, config: GibbsConfig, T: int) -> tuple[GibbsState, Data]:
    def one(key: Array, draw: Joint) -> tuple[GibbsState, Data]:
        data = Data(draw.points.T, jnp.ones(len(draw.points)))
        state = init(key, data, draw.labels, draw.alpha, T, config, draw.scale)
        state = state._replace(mixture=_stored(draw.mixture, T, config))
        return recounted(state, data, config), data

    return jax.vmap(one)(keys, draws)


def _stored(mixture: Mixture, T: int, config: GibbsConfig) -> Mixture:
    """The first T components as the sampler stores them: priors with blocks read all of them."""
    log_weights, means, scales = (leaf[:T] for leaf in mixture)
    if config.family.axis_aligned:
        scales = jnp.diagonal(scales, axis1=1, axis2=2)
    elif config.family.pooled:
        scales = scales[:1]
    return Mixture(log_weights, means, scales)


def _renewed(state: GibbsState, data: Data, config: GibbsConfig) -> tuple[GibbsState, Data]:
    """New points given the labels and the components."""
    key = random.fold(random.fold(state.key, state.sweep), DATA)
    data = data._replace(points=points_given(key, state.labels, state.mixture, data.points))
    return recounted(state, data, config), data


@partial(jax.jit, static_argnames=("config",))
def _by_gibbs(
    states: GibbsState, data: Data, prior: GibbsPrior, n_rounds: Array, config: GibbsConfig
) -> dict[str, Array]:
    def advance(state: GibbsState, data: Data) -> tuple[GibbsState, Data, Joint]:
        state, data = _renewed(step(state, data, prior, config), data, config)
        mixture = state.mixture._replace(scales=every_scale(state.mixture))
        numbers = state.n_components, state.alpha, state.scale
        return state, data, Joint(state.labels, mixture, *numbers, data.points.T)

    return averages(advance, states, data, n_rounds)


# --- what is compared -----------------------------------------------------------------------------


def statistics(draw: Joint) -> dict[str, Array]:
    """Bounded numbers [] that do not depend on which label is which."""
    labels, mixture, K, alpha, scale, x = draw
    N, T = len(x), len(mixture.log_weights)
    counts = (labels[:, None] == jnp.arange(T)).sum(0)
    shares, weights = counts / N, jnp.exp(mixture.log_weights)
    means, scales = mixture.means[labels], mixture.scales[labels]
    covariances = scales @ jnp.swapaxes(scales, 1, 2)
    sizes = 0.5 * jnp.log(jnp.einsum("nii->ni", covariances))
    every = 0.5 * jnp.log(jnp.square(mixture.scales[:, 0, 0]))
    gap = means - x
    return {
        "clusters": (counts > 0).sum() / N,
        "entropy": -jnp.where(shares > 0, shares * jnp.log(jnp.maximum(shares, 0.1 / N)), 0).sum(),
        "largest cluster": shares.max(),
        "largest weight": weights.max(),
        "squared weights": jnp.square(weights).sum(),
        "weight of a point's": weights[labels].mean(),
        "1 / K": 1.0 / jnp.maximum(K, 1),
        "concentration": alpha / (1.0 + alpha),
        "mean, first": jnp.tanh(means[:, 0]).mean(),
        "mean, last": jnp.tanh(means[:, -1]).mean(),
        "size, first": jnp.tanh(sizes[:, 0]).mean(),
        "size, last": jnp.tanh(sizes[:, -1]).mean(),
        "size, any": (weights * jnp.tanh(every)).sum(),
        "covariance": jnp.tanh(covariances[:, 0, -1]).mean(),
        "mean x size": jnp.tanh(means[:, 0] * sizes[:, 0]).mean(),
        "point": jnp.tanh(x[:, 0]).mean(),
        "point squared": jnp.tanh(jnp.square(x)).mean(),
        "two points": jnp.tanh(x[0, 0] * x[1, 0]),
        "distance": jnp.tanh(jnp.square(gap).sum(1)).mean(),
        "C0": jnp.tanh(jnp.log(jnp.where(scale > 0, scale, 1.0)).mean()),
    }


_statistics_of = jax.jit(jax.vmap(statistics))
