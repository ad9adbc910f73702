"""Replicates of a data set: its points with other weights, or new points of a mixture."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bayesgmm.core.arrays import Data
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import padded_size


class Source(NamedTuple):
    """What replicates are drawn from.

    Attributes
    ----------
    data : Data
        The points in the core's units, padded.
    total : float
        Sum of the weights.
    mixture : Mixture
        The model in the core's units, scales [K, D, D].
    """

    data: Data
    total: float
    mixture: Mixture


def weighted(rng: np.random.Generator, source: Source) -> Data:
    """Dirichlet weights: those of w rows are gamma variables with w for their shape."""
    own = rng.standard_gamma(source.data.weight)
    return source.data._replace(weight=own * (source.total / own.sum()))


def nonparametric(rng: np.random.Generator, source: Source) -> Data:
    """Multinomial counts, adding up to the sum of the weights or next to it."""
    weight = source.data.weight
    counts = rng.multinomial(round(source.total), weight / weight.sum())
    return source.data._replace(weight=counts.astype(weight.dtype))


def parametric(rng: np.random.Generator, source: Source) -> Data:
    """Points drawn from the mixture."""
    n, (log_weights, means, scales) = round(source.total), source.mixture
    weights = np.exp(log_weights)
    counts = rng.multinomial(n, weights / weights.sum())
    labels = np.repeat(np.arange(len(counts)), counts)
    noise = rng.standard_normal((n, means.shape[1]))
    points = means[labels] + np.einsum("nij,nj->ni", scales[labels], noise)
    padding = padded_size(n) - n
    return Data(np.pad(points.T, [(0, 0), (0, padding)]), np.pad(np.ones(n), (0, padding)))


class Kind(NamedTuple):
    """One way to draw replicates.

    Attributes
    ----------
    draw : callable
        From random numbers and a source to the `Data` of a replicate, padded.
    new_points : bool
        Whether it draws points, and not weights of those there are.
    """

    draw: Callable
    new_points: bool = False


KINDS = {
    "weighted": Kind(weighted),
    "nonparametric": Kind(nonparametric),
    "parametric": Kind(parametric, new_points=True),
}
