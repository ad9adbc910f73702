r"""The whole model drawn from its prior: concentration, K, weights, labels, components and points.

Written for itself in NumPy, apart from the samplers, so that these can be held against it. A finite
mixture is drawn from the top down: K, weights, labels. A process has infinitely many weights, so
that its partition comes first, by the urn of Pitman (1995): after i points in t clusters the next
one opens a cluster with probability (alpha + t d) / (alpha + i), or joins cluster c with
probability (n_c - d) / (alpha + i). Given the partition the weights of the clusters and of what
is left are Dirichlet(n_1 - d, ..., n_t - d, alpha + t d), and the rest is broken stick by stick.
Components whose distributions are given are drawn by these.

References
----------
Pitman (1995), *Probability Theory and Related Fields* 102, 145-158. Pitman (1996), *Some
developments of the Blackwell-MacQueen urn scheme*, corollary 20.
"""

from typing import NamedTuple

import numpy as np

from bayesgmm.core.concentration import ConcentrationPrior
from bayesgmm.core.conjugate import NormalInverseWishart
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.independent import HierarchicalPrior
from bayesgmm.core.mixture import Mixture
from bayesgmm.inference import given
from bayesgmm.inference.gibbs import GibbsConfig, GibbsPrior

STICKS = 32
"""Components of a process that are drawn beside its clusters; the last one takes what is left."""


class Simulated(NamedTuple):
    """S draws of the whole model from its prior, NumPy arrays in float64.

    Attributes
    ----------
    labels : ndarray [S, N]
        Places of the mixture. In a process the clusters take the first, in order of appearance.
    mixtures : Mixture
        Log weights [S, T], -inf where there is no component; means [S, T, D]; scales [S, T, D, D].
    n_components : ndarray [S]
        K, 0 where it is infinite.
    alpha : ndarray [S]
    scale : ndarray [S, 1, ...]
        C0 of a hierarchical prior, as the sampler has it; 0 [S, 1] under another.
    points : ndarray [S, N, D]
    """

    labels: np.ndarray
    mixtures: Mixture
    n_components: np.ndarray
    alpha: np.ndarray
    scale: np.ndarray
    points: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Points of each place, [S, T]."""
        places = np.arange(self.mixtures.log_weights.shape[1])
        return (self.labels[:, :, None] == places).sum(1)


def simulate(
    rng: np.random.Generator,
    prior: GibbsPrior,
    config: GibbsConfig,
    alpha: float,
    n_points: int,
    n_draws: int,
    n_slots: int = 0,
) -> Simulated:
    """Draws of the model from its prior, each with points of its own.

    Parameters
    ----------
    rng : numpy.random.Generator
    prior : GibbsPrior
        In the units that the draws are to have.
    config : GibbsConfig
        Its family, kind of weights, and whether the concentration is learned.
    alpha : float
        The concentration, read where it is not learned.
    n_points, n_draws : int
        N and S.
    n_slots : int, default 0
        The least T that there is to be, absent components having a mean and a covariance too.

    Returns
    -------
    Simulated

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm.core import FAMILIES, NormalInverseWishart, choose_form
    >>> from bayesgmm.core.slots import SlotPrior
    >>> from bayesgmm.inference.gibbs import GibbsConfig, GibbsPrior
    >>> from bayesgmm.inference.simulate import simulate
    >>> one = np.ones(1)
    >>> components = NormalInverseWishart(0 * one[None], one, 3 * one, one[None, None])
    >>> prior = GibbsPrior(SlotPrior(np.zeros(1), n_components=3), None, components)
    >>> config = GibbsConfig(FAMILIES["full"], choose_form(1, np.float64))
    >>> draws = simulate(np.random.default_rng(0), prior, config, 1.0, n_points=5, n_draws=2)
    >>> draws.points.shape, draws.mixtures.means.shape
    ((2, 5, 1), (2, 3, 1))
    """
    S, N = n_draws, n_points
    concentration = np.full(S, float(alpha))
    if config.learned:
        concentration = draw_concentration(rng, prior.concentration, S)
    draw = _process if config.weights == "process" else _finite
    K, log_weights, labels = draw(rng, prior.weights, config.weights, concentration, N)
    room = max(n_slots - log_weights.shape[1], 0)
    log_weights = np.pad(log_weights, [(0, 0), (0, room)], constant_values=-np.inf)
    means, scales, scale = _components(rng, prior.components, config.family, log_weights.shape)
    mixtures = Mixture(log_weights, means, scales)
    noise = rng.standard_normal((S, N, means.shape[2]))
    rows = np.arange(S)[:, None], labels
    points = means[rows] + np.einsum("snij,snj->sni", scales[rows], noise)
    return Simulated(labels, mixtures, K, concentration, scale, points)


# --- weights and labels ---------------------------------------------------------------------------


def draw_concentration(rng: np.random.Generator, prior: ConcentrationPrior, S: int) -> np.ndarray:
    """Concentrations [S]: Gamma variates, or ratios of two of them under an F."""
    shape = np.asarray(prior.power) + 1.0
    if np.all(np.asarray(prior.tail) == 0):
        return rng.standard_gamma(shape, S) / np.asarray(prior.rate)
    below = np.asarray(prior.tail) - shape
    ratio = rng.standard_gamma(shape, S) / rng.standard_gamma(below, S)
    return ratio / np.asarray(prior.scale)


def _log_gamma_variates(rng: np.random.Generator, shape: np.ndarray) -> np.ndarray:
    """Their logs, with all digits however small the shape; -inf for shape 0."""
    proper = shape > 0
    safe = np.where(proper, shape, 1.0)
    lift = -rng.standard_exponential(shape.shape) / safe  # log U / shape
    return np.where(proper, np.log(rng.standard_gamma(safe + 1.0)) + lift, -np.inf)


def _normalized(log_parts: np.ndarray) -> np.ndarray:
    return log_parts - np.logaddexp.reduce(log_parts, axis=-1, keepdims=True)


def _pick(rng: np.random.Generator, weights: np.ndarray, size: int) -> np.ndarray:
    """Places [S, size] drawn with probabilities proportional to weights [S, T]."""
    cumulative = np.cumsum(weights, axis=1)
    heights = rng.uniform(size=(len(weights), size)) * cumulative[:, -1:]
    return (cumulative[:, None] <= heights[:, :, None]).sum(2)


def _finite(rng: np.random.Generator, prior, kind: str, alpha: np.ndarray, N: int) -> tuple:
    S = len(alpha)
    if kind == "finite":
        K = np.full(S, int(prior.n_components))
    else:
        probability = np.exp(np.asarray(prior.log_n_components, float))
        K = 1 + _pick(rng, probability[None], S)[0]
    each = alpha / K if kind == "dynamic" else alpha
    present = np.arange(K.max()) < K[:, None]
    log_weights = _normalized(_log_gamma_variates(rng, np.where(present, each[:, None], 0.0)))
    return K, log_weights, _pick(rng, np.exp(log_weights), N)


def _process(rng: np.random.Generator, prior, kind: str, alpha: np.ndarray, N: int) -> tuple:
    S, d = len(alpha), float(prior.discount)
    counts, labels, t = np.zeros((S, N)), np.zeros((S, N), int), np.zeros(S, int)
    rows, places = np.arange(S), np.arange(N)
    for i in range(N):
        odds = np.where(places < t[:, None], counts - d, 0.0)
        odds[rows, t] = (alpha + t * d) if i else 1.0
        labels[:, i] = _pick(rng, odds, 1)[:, 0]
        t = np.maximum(t, labels[:, i] + 1)
        counts[rows, labels[:, i]] += 1
    log_weights = _weights_given(rng, counts[:, : t.max()], t, alpha, d)
    return np.zeros(S, int), log_weights, labels


def _weights_given(
    rng: np.random.Generator, counts: np.ndarray, t: np.ndarray, alpha: np.ndarray, d: float
) -> np.ndarray:
    """Log weights [S, t_max + STICKS] of a process given its clusters, which come first."""
    own = np.where(counts > 0, counts - d, 0.0)
    rest = (alpha + t * d)[:, None]
    kept = _normalized(_log_gamma_variates(rng, np.concatenate([own, rest], 1)))
    after = rest + d * np.arange(1, STICKS)  # sticks Beta(1 - d, alpha + (t + r) d)
    share = _log_gamma_variates(rng, np.full(after.shape, 1.0 - d))
    left = _log_gamma_variates(rng, after)
    both = np.logaddexp(share, left)
    log_left = np.cumsum(np.pad(left - both, [(0, 0), (1, 0)]), 1)
    sticks = log_left + np.pad(share - both, [(0, 0), (0, 1)])
    return np.concatenate([kept[:, :-1], kept[:, -1:] + sticks], 1)


# --- components -----------------------------------------------------------------------------------


def _components(
    rng: np.random.Generator, prior, family: Covariance, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means [S, T, D] and scales [S, T, D, D] of S draws of T components, and C0 [S, 1, ...]."""
    S, T = size
    C0 = np.zeros((S, 1))
    if isinstance(prior, dict):
        return *given.drawn(rng, prior, family, size), C0
    leaf = lambda name: np.asarray(getattr(prior, name), float)  # noqa: E731
    random_scale = isinstance(prior, HierarchicalPrior)
    if random_scale:
        C0 = _wishart(rng, leaf("shape")[0], leaf("rate")[0], S, family)[:, None]
    scale = 2.0 * C0 if random_scale else leaf("scale")[0]
    groups = 1 if family.pooled else T
    scales = _inverse_wishart(rng, leaf("dof")[0], scale, (S, groups), prior.mean.shape[1], family)
    scales = np.broadcast_to(scales, (S, T, *scales.shape[2:]))
    noise = rng.standard_normal((S, T, scales.shape[-1]))
    if isinstance(prior, NormalInverseWishart):
        spread = np.einsum("stij,stj->sti", scales, noise) / np.sqrt(leaf("mean_precision")[0])
    else:
        B0 = leaf("covariance")[0]
        spread = noise * np.sqrt(B0) if B0.ndim == 1 else noise @ np.linalg.cholesky(B0).T
    return leaf("mean")[0] + spread, scales, C0


def _wishart(
    rng: np.random.Generator, shape: float, rate: np.ndarray, S: int, family: Covariance
) -> np.ndarray:
    """C0 ~ W(g0, G0), [S, ...]: of density ~ |X|^(g0 - (D + 1) / 2) exp(-tr(G0 X))."""
    if family.axis_aligned:
        return rng.standard_gamma(shape, (S, *rate.shape)) / rate
    factor = np.linalg.cholesky(np.linalg.inv(2.0 * rate)) @ _bartlett(rng, 2.0 * shape, S, rate)
    return factor @ np.swapaxes(factor, -1, -2)


def _bartlett(rng: np.random.Generator, dof: float, size, like: np.ndarray) -> np.ndarray:
    """Lower triangular A [*size, D, D] with A A' ~ Wishart(dof, I)."""
    D = like.shape[-1]
    size = np.atleast_1d(size)
    below = np.tril(rng.standard_normal((*size, D, D)), -1)
    squares = 2.0 * rng.standard_gamma(0.5 * (dof - np.arange(D)), (*size, D))
    return below + np.sqrt(squares)[..., None] * np.eye(D)


def _inverse_wishart(
    rng: np.random.Generator, dof: float, scale: np.ndarray, size, D: int, family: Covariance
) -> np.ndarray:
    """Cholesky factors [*size, D, D]; the scale is one for all, or has leading axes [S, 1]."""
    if family.axis_aligned:
        entries = scale.shape[-1:]
        variance = 0.5 * scale / rng.standard_gamma(0.5 * dof, (*size, *entries))
        return np.sqrt(np.broadcast_to(variance, (*size, D)))[..., None] * np.eye(D)
    factor = np.linalg.inv(_bartlett(rng, dof, size, scale))  # (A A')^-1 is inverse Wishart(dof, I)
    root = np.linalg.cholesky(scale) @ np.swapaxes(factor, -1, -2)
    return np.linalg.cholesky(root @ np.swapaxes(root, -1, -2))
