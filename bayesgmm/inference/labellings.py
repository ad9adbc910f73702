"""Labellings that short Gibbs chains meet, and the posteriors of the components given them.

An approximation climbs one hill and does not see the others. Chains that begin at draws of the
prior do, where points are few: what a check of the approximation must know of.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from bayesgmm.core.arrays import Array, Data, Key
from bayesgmm.core.conjugate import Hyperparameters, NormalInverseWishart, alike, draw, update
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import exact_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import Moments, hard
from bayesgmm.inference import devices
from bayesgmm.inference.vb import VBPrior, with_error, with_ridge

SWEEPS = 30
"""Of each chain."""


def met(
    shards: Sequence[Data],
    prior: VBPrior,
    family: Covariance,
    n_places: int,
    n_chains: int,
    seed: int,
) -> NormalInverseWishart:
    """Posterior of the components given the labels that each chain ends with.

    Parameters
    ----------
    shards : sequence of Data
        In float64.
    prior : VBPrior
        The same for every component.
    family : Covariance
    n_places : int
        Components of a chain.
    n_chains, seed : int

    Returns
    -------
    NormalInverseWishart
        [n_chains, n_places, ...], the components with most points first.
    """
    start = _start(prior, family, n_places)
    posterior = jax.tree.map(lambda leaf: np.stack([np.asarray(leaf)] * n_chains), start)
    keys = jr.split(jr.key(seed), (SWEEPS, n_chains))
    for row in keys:
        mixtures = _draws(row, posterior, prior.ridge, family)
        allocated = partial(_allocated, row, mixtures, family)
        found = devices.sum_over(allocated, list(enumerate(shards)), np.float64)
        posterior = _posteriors(start, found, mixtures, prior.ridge, family)
    return _by_size(jax.tree.map(np.asarray, posterior.components), family)


def _start(prior: VBPrior, family: Covariance, n_places: int) -> Hyperparameters:
    """The prior of `n_places` components at the mean of the concentration."""
    weights = prior.weights.given(prior.concentration.mean(), jnp.ones(n_places, bool))
    one = jax.tree.map(lambda leaf: leaf[:1], prior.components)
    return Hyperparameters(weights, alike(one, n_places, family))


@partial(jax.jit, static_argnames=("family",), compiler_options=devices.HURRIED)
def _draws(keys: Key, posterior: Hyperparameters, ridge: Array, family: Covariance) -> Mixture:
    def one(key: Key, own: Hyperparameters) -> Mixture:
        return with_error(draw(key, own, family), ridge)

    return jax.vmap(one)(keys, posterior)


@partial(jax.jit, static_argnames=("family",), compiler_options=devices.WIDE)
def _allocated(
    keys: Key, mixtures: Mixture, family: Covariance, shard: tuple[int, Data]
) -> Moments:
    number, data = shard

    def one(key: Key, mixture: Mixture) -> Moments:
        key = jr.fold_in(key, number + 1)
        return hard(key, data, mixture, exact_form(family.axis_aligned))[1]

    return jax.vmap(one)(keys, mixtures)


@partial(jax.jit, static_argnames=("family",))
def _posteriors(
    start: Hyperparameters, found: Moments, mixtures: Mixture, ridge: Array, family: Covariance
) -> Hyperparameters:
    """Given the moments of each chain, about its means."""

    def one(found: Moments, mixture: Mixture) -> Hyperparameters:
        return update(start, with_ridge(found, ridge), mixture.means, family)

    return jax.vmap(one)(found, mixtures)


def _by_size(found: NormalInverseWishart, family: Covariance) -> NormalInverseWishart:
    """Components of each chain in order of the points that they hold."""
    order = np.argsort(-found.mean_precision, axis=1, kind="stable")

    def sort(leaf: np.ndarray) -> np.ndarray:
        return np.stack([rows[own] for rows, own in zip(leaf, order, strict=True)])

    mean, precision, dof, scale = found
    shared = (dof, scale) if family.pooled else (sort(dof), sort(scale))
    return NormalInverseWishart(sort(mean), sort(precision), *shared)
