"""What a variational fit leaves: a posterior in the user's units, and what is read off it."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from bayesgmm.core.arrays import Standardizer, float_scope, full_scales, power_of_two
from bayesgmm.core.concentration import GammaConcentration, GridConcentration
from bayesgmm.core.conjugate import Hyperparameters, NormalInverseWishart, draw
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.predictive import StudentMixture, predictive
from bayesgmm.core.weights import Dirichlet, StickBreaking
from bayesgmm.estimators.points import capacity, logsumexp, to_user
from bayesgmm.estimators.priors import ComponentPrior, change_units, held_prior, spread
from bayesgmm.inference.importance import Importance, check
from bayesgmm.inference.vb import VBPrior, VBState


class Fitted(NamedTuple):
    """The posterior of a fit, NumPy arrays in float64 and the user's units.

    Attributes
    ----------
    posterior : core.Hyperparameters
        Of the components that are kept, and after them of one that stands for all others: it has
        the weight that they leave, and the prior for its parameters.
    predictive : core.StudentMixture
        Of the next point: Student t of each component of `posterior`.
    expected : core.Mixture
        Its log joint is the expected one; kept components only.
    log_weights : [K]
        Of the expected weights, made to sum to one.
    shown : tuple of ndarray, or ndarray
        `weight_concentration_`.
    alpha : float
        Expected concentration.
    concentration : frozen SciPy distribution, or None
    objective : float
        Of the last step.
    prior : VBPrior
        Of one component, and of all the weights.
    """

    posterior: Hyperparameters
    predictive: StudentMixture
    expected: Mixture
    log_weights: np.ndarray
    shown: Any
    alpha: float
    concentration: Any
    objective: float
    prior: VBPrior

    @property
    def component_prior(self) -> ComponentPrior:
        """The prior of a component."""
        return ComponentPrior(*(leaf[0] for leaf in self.prior.components))

    def core_prior(self, units: Standardizer, family: Covariance, room: int) -> VBPrior:
        """The prior in the core's units with room for so many components, float64."""
        components = held_prior(self.component_prior, units, family, room)
        return self.prior._replace(components=components, ridge=self.prior.ridge / units.scale**2)


def fitted(
    state: VBState,
    prior: VBPrior,
    own: ComponentPrior,
    units: Standardizer,
    family: Covariance,
    objective: float,
) -> Fitted:
    """What the state of one run leaves, within a float scope of float64."""
    rows = np.flatnonzero(state.present)
    weights, shown = _with_rest(state.posterior.weights, rows)
    components = _with_prior(state.posterior.components, rows, own, units, family)
    expected = to_user(jax.tree.map(lambda leaf: _rows(leaf, rows), state.mixture), units)
    posterior = Hyperparameters(weights, components)
    following = _predictive(posterior, family)
    log_weights = following.log_weights[:-1]
    return Fitted(
        posterior,
        following,
        expected,
        log_weights - logsumexp(log_weights[None]),
        shown,
        float(state.concentration.mean()),
        _distribution(state.concentration),
        float(objective),
        VBPrior(
            spread(own, family, 1),
            prior.weights,
            _double(prior.concentration),
            np.asarray(prior.ridge, np.float64) * units.scale**2,
        ),
    )


def evidence_of(
    left: Fitted, shards: list, units: Standardizer, family: Covariance, n_draws: int, seed: int
) -> Importance:
    """The importance-weighted check of a fit, given its points in shards of float64 and `units`.

    The estimate is of the density of the points in the user's units.
    """
    K = len(left.log_weights)
    kept = jax.tree.map(lambda leaf: _rows(leaf, slice(K)), left.posterior.components)
    kept = change_units(kept, units, family, to_core=True)
    prior = left.core_prior(units, family, 1)
    with float_scope("float64"):
        found = check(shards, kept, prior, family, n_draws, seed)
    total = sum(float(shard.weight.sum()) for shard in shards)
    return found._replace(log_evidence=found.log_evidence - total * units.log_volume)


def _double(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def _predictive(posterior: Hyperparameters, family: Covariance) -> StudentMixture:
    K = len(posterior.components.mean)
    found = _predictive_with_room(_with_room(posterior), family)
    return jax.tree.map(lambda leaf: _rows(np.asarray(leaf), slice(K)), found)


@partial(jax.jit, static_argnames=("family",))
def _predictive_with_room(posterior: Hyperparameters, family: Covariance) -> StudentMixture:
    weights, components = posterior
    return predictive(weights.log_mean(), components, family)


def _with_room(posterior: Hyperparameters) -> Hyperparameters:
    """With absent components up to a power of two: few sizes, few programs."""
    weights, components = posterior
    K = len(components.mean)
    extra = capacity(K, 0) - K
    if isinstance(weights, StickBreaking):
        weights = StickBreaking(np.concatenate([weights.sticks, np.tile([0.0, 1.0], (extra, 1))]))
    else:
        weights = Dirichlet(np.append(weights.concentration, np.zeros(extra)))
    repeats = np.minimum(np.arange(K + extra), K - 1)
    return Hyperparameters(weights, jax.tree.map(lambda leaf: _rows(leaf, repeats), components))


def student_draws(
    random_state: np.random.RandomState, mixture: StudentMixture, n: int, family: Covariance
) -> tuple[np.ndarray, np.ndarray]:
    """Points [n, D], ordered by component, and their components [n]."""
    K, D = mixture.means.shape
    weights = np.exp(mixture.log_weights)
    labels = np.repeat(np.arange(K), random_state.multinomial(n, weights / weights.sum()))
    columns = D if family.axis_aligned and not family.isotropic else 1
    dof = mixture.dof[labels][:, None]
    chi_square = random_state.chisquare(dof, (n, columns))
    noise = random_state.standard_normal((n, D)) / np.sqrt(chi_square / dof)
    scales = np.broadcast_to(mixture.scales, (K, *mixture.scales.shape[1:]))[labels]
    shift = scales * noise if scales.ndim == 2 else np.einsum("nij,nj->ni", scales, noise)
    return mixture.means[labels] + shift, labels


def mixture_draws(seed: int, posterior: Hyperparameters, n: int, family: Covariance) -> Mixture:
    """Draws of whole mixtures [n, ...], scales as matrices."""
    room = power_of_two(n)  # few sizes, few programs
    with float_scope("float64"):
        drawn = _draw_all(jr.split(jr.key(seed), room), _with_room(posterior), family)
    K = len(posterior.components.mean)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:n, :K], drawn)


@partial(jax.jit, static_argnames=("family",))
def _draw_all(keys: Any, posterior: Hyperparameters, family: Covariance) -> Mixture:
    def one(key: Any) -> Mixture:
        mixture = draw(key, posterior, family)
        K, D = mixture.means.shape
        scales = jnp.broadcast_to(full_scales(mixture.scales), (K, D, D))
        return mixture._replace(scales=scales)

    return jax.vmap(one)(keys)


def _rows(leaf: np.ndarray, rows: Any) -> np.ndarray:
    return leaf if len(leaf) == 1 else leaf[rows]


def _with_rest(weights: Any, rows: np.ndarray) -> tuple[Any, Any]:
    """The weights of these components and of all others together; and as scikit-learn has them."""
    if isinstance(weights, StickBreaking):
        sticks = np.asarray(weights.sticks, np.float64)[rows]
        shown = (sticks[:, 0], sticks[:, 1])
        return StickBreaking(np.concatenate([sticks, [[1.0, 0.0]]])), shown
    concentration = np.asarray(weights.concentration, np.float64)
    rest = np.delete(concentration, rows).sum()
    return Dirichlet(np.append(concentration[rows], rest)), concentration[rows]


def _with_prior(
    components: NormalInverseWishart,
    rows: np.ndarray,
    own: ComponentPrior,
    units: Standardizer,
    family: Covariance,
) -> NormalInverseWishart:
    """The posterior of these components in the user's units, and after them the prior of one more.

    A shared covariance is shared by that one, too.
    """
    found = jax.tree.map(lambda leaf: _rows(leaf, rows), components)
    found = change_units(found, units, family, to_core=False)
    more = spread(own, family, 1)
    pairs = zip(found, more, (False, False, family.pooled, family.pooled), strict=True)
    return NormalInverseWishart(
        *(old if shared else np.concatenate([old, new]) for old, new, shared in pairs)
    )


def _distribution(concentration: Any) -> Any:
    """The posterior of a learned concentration as SciPy has distributions; None of a fixed one."""
    from scipy import stats

    if isinstance(concentration, GammaConcentration):
        return stats.gamma(float(concentration.shape), scale=1 / float(concentration.rate))
    if isinstance(concentration, GridConcentration):
        alpha = np.asarray(concentration.alpha, np.float64)
        edges = np.sqrt(alpha[1:] * alpha[:-1])
        ends = alpha[[0]] ** 2 / edges[:1], alpha[[-1]] ** 2 / edges[-1:]
        probability = np.exp(np.asarray(concentration.log_probability, np.float64))
        edges = np.concatenate([ends[0], edges, ends[1]])
        return stats.rv_histogram((probability, edges), density=False)
    return None
