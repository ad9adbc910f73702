r"""Coordinate-ascent variational Bayes: the expectation read off the update, and its bound.

The posterior of labels, weights, components and concentration is approximated by a product
q(z) q(w) q(mu, Sigma) q(alpha). A sweep under the `expectation` of q(w) q(mu, Sigma) makes q(z),
and the update makes the rest from its moments. With r the responsibilities, H(r) = -sum r log r
their entropy and q(w) q(mu, Sigma) q(alpha) made from them, the evidence lower bound is

    H(r) + sum_k n_k E[log w_k] + sum_k log p(x | r_k) - KL(q(w) q(alpha) || p),

p(x | r_k) the marginal likelihood of a component's moments: a function of entropy and moments
alone, `VBState.objective`. Before any update, at the best r, it is

    sum_n log sum_k exp(E[log w_k N(x_n | mu_k, Sigma_k)]) - KL(q || p)

(`lower_bound`), never less than the objective of the step that made q. Every constant is in both.

References
----------
Attias (2000), *Advances in Neural Information Processing Systems* 12, 209-215.
Bishop (2006), *Pattern Recognition and Machine Learning*, section 10.2.
Blei and Jordan (2006), *Bayesian Analysis* 1, 121-144.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import Array, Data, inverse_scales, is_axis_aligned
from bayesgmm.core.concentration import (
    Fixed,
    GammaConcentration,
    GridConcentration,
    Sticks,
    Symmetric,
)
from bayesgmm.core.conjugate import (
    Hyperparameters,
    NormalInverseWishart,
    expectation,
    kl,
    log_evidence,
    update,
)
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import Form, exact_form, kappa, reference
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import Moments, expected_joint, gathered, located, soft
from bayesgmm.inference import devices, drive
from bayesgmm.inference.loop import SPAN, Progress


@dataclass(frozen=True)
class VBConfig:
    """What is fixed for a run, and compiled in.

    Attributes
    ----------
    family : Covariance
    form : Form
    by_size : bool
        Whether components are put in order of size at every update. Sticks are not exchangeable,
        and from the largest to the smallest is the order of largest bound.
    """

    family: Covariance
    form: Form
    by_size: bool = False


class VBPrior(NamedTuple):
    """The prior of a run.

    Attributes
    ----------
    components : NormalInverseWishart
    weights : Sticks or Symmetric
    concentration : Fixed, GammaConcentration or GridConcentration
    ridge : [D]
        Variance of the measurement error of each point, whose part in the expected log joint is
        -1/2 sum_d ridge_d E[Lambda_dd]: each component's scatter grows by n_k ridge.
    """

    components: NormalInverseWishart
    weights: Sticks | Symmetric
    concentration: Fixed | GammaConcentration | GridConcentration
    ridge: Array


class VBState(NamedTuple):
    """One approximation between two steps.

    Attributes
    ----------
    mixture : Mixture
        The expectation of `posterior`, which the next sweep takes.
    posterior : Hyperparameters
        q(w) and q(mu, Sigma).
    concentration : Fixed, GammaConcentration or GridConcentration
        q(alpha).
    present : [K] of bool
        Which components may hold points; the others are absent from the mixture.
    objective : []
        Bound at the responsibilities that made this posterior: see the top of the module.
    remaining : []
        What is compared with `tol`: the change of the objective in the last step.
    kappa : []
        Condition the step had to bear: that of the mixture it entered with or made.
    """

    mixture: Mixture
    posterior: Hyperparameters
    concentration: Any
    present: Array
    objective: Array
    remaining: Array
    kappa: Array


# --- the step -------------------------------------------------------------------------------------


def init(data: Data, start: Array, prior: VBPrior, config: VBConfig, present: Array) -> VBState:
    """The update from labels [N] (-1 for none) or responsibilities [K, N]."""
    counts, first = located(data, start, len(present))
    means = drive.centres(counts, first)
    return first_state(
        means, gathered(data, start, means, config.family.axis_aligned), prior, config, present
    )


def first_state(
    means: Array, found: Moments, prior: VBPrior, config: VBConfig, present: Array
) -> VBState:
    """The update from moments about `means` that no mixture made; the objective is -inf."""
    learned = prior.concentration
    state = _updated(found, means, learned, present, prior, config)
    nothing = jnp.zeros_like(found.evidence)
    return state._replace(objective=nothing - jnp.inf, remaining=nothing + jnp.inf)


def from_moments(
    found: Moments,
    about: Array,
    concentration: Any,
    present: Array,
    prior: VBPrior,
    config: VBConfig,
) -> VBState:
    """The update from moments about `about`, whose `evidence` holds the entropy of what made them.

    The objective is the bound at those responsibilities.
    """
    state = _updated(found, about, concentration, present, prior, config)
    objective = found.evidence + state.objective
    return state._replace(objective=objective, remaining=jnp.inf + jnp.zeros_like(objective))


def expect(state: VBState, data: Data, config: VBConfig) -> Moments:
    """Moments under q(z), with the sum of the log normalisers; those of two shards add."""
    return soft(data, state.mixture, config.form)


def maximize(state: VBState, found: Moments, prior: VBPrior, config: VBConfig) -> VBState:
    """q(w), q(mu, Sigma), q(alpha) given moments that the mixture of `state` made."""
    about = reference(state.mixture, config.form)
    entropy = found.evidence - expected_joint(state.mixture, found, about)
    new = _updated(found, about, state.concentration, state.present, prior, config)
    objective = entropy + new.objective
    return new._replace(
        objective=objective,
        remaining=jnp.abs(objective - state.objective),
        kappa=jnp.maximum(kappa(state.mixture), new.kappa),
    )


def step(state: VBState, data: Data, prior: VBPrior, config: VBConfig) -> VBState:
    """One iteration."""
    return maximize(state, expect(state, data, config), prior, config)


def _updated(
    found: Moments,
    about: Array,
    concentration: Any,
    present: Array,
    prior: VBPrior,
    config: VBConfig,
) -> VBState:
    """The state made of moments; its objective lacks the entropy of the responsibilities."""
    if config.by_size:
        order = jnp.argsort(jnp.where(present, -found.counts, 1.0))
        about, present = about[order], jnp.asarray(present)[order]
        sums = (leaf[order] for leaf in (found.counts, found.first, found.second))
        found = Moments(*sums, found.evidence)
    weights = prior.weights.given(concentration.mean(), present)
    start = Hyperparameters(weights, prior.components)
    posterior = update(start, with_ridge(found, prior.ridge), about, config.family)
    learned = learn(posterior.weights, present, prior)
    mixture = read(posterior, present, prior.ridge, config.family)
    logs = jnp.where(present, posterior.weights.expected_log(), 0.0)
    likelihood = log_evidence(prior.components, posterior.components, config.family).sum()
    bound = (
        likelihood + found.counts @ logs - weights_kl(posterior.weights, learned, present, prior)
    )
    blank = jnp.zeros_like(bound)
    return VBState(mixture, posterior, learned, present, bound, blank, kappa(mixture))


def with_ridge(found: Moments, ridge: Array) -> Moments:
    """Moments of points measured with an error of variance `ridge` [D]."""
    spread = found.counts[:, None] * ridge
    spread = spread if found.second.ndim == 2 else jax.vmap(jnp.diag)(spread)
    return found._replace(second=found.second + spread)


def learn(weights: Any, present: Array, prior: VBPrior) -> Any:
    """q(alpha) given q(w)."""
    return prior.concentration.update(prior.weights.statistic(weights), present.sum())


def read(posterior: Hyperparameters, present: Array, ridge: Array, family: Covariance) -> Mixture:
    """The mixture of a sweep: `expectation`, less what the measurement error costs."""
    mixture = with_error(expectation(posterior, family), ridge)
    return mixture._replace(log_weights=jnp.where(present, mixture.log_weights, -jnp.inf))


def with_error(mixture: Mixture, ridge: Array) -> Mixture:
    """The mixture of points that are measured with an error of variance `ridge` [D]."""
    inverse = inverse_scales(mixture.scales)
    squares = jnp.square(inverse)
    precision = squares if is_axis_aligned(mixture.scales) else squares.sum(-2)
    return mixture._replace(log_weights=mixture.log_weights - 0.5 * precision @ ridge)


# --- the bound ------------------------------------------------------------------------------------


def weights_kl(weights: Any, concentration: Any, present: Array, prior: VBPrior) -> Array:
    """KL(q(w) q(alpha) || p(w | alpha) p(alpha)), []."""
    mean = concentration.mean()
    at_mean = prior.weights.log_normalizer(mean, present)
    expected = concentration.expected_normalizer(at_mean, present.sum())
    given_mean = weights.kl(prior.weights.given(mean, present))
    return given_mean + at_mean - expected + concentration.kl(prior.concentration)


def lower_bound(evidence: Array, state: VBState, prior: VBPrior, config: VBConfig) -> Array:
    """Evidence lower bound of q, in nats for all points, every constant included; [].

    Parameters
    ----------
    evidence : []
        Of a sweep under ``state.mixture``: the sum of the log normalisers of the responsibilities.
    state : VBState
    prior : VBPrior
    config : VBConfig
    """
    components = kl(state.posterior.components, prior.components, config.family)
    weights = weights_kl(state.posterior.weights, state.concentration, state.present, prior)
    return evidence - components - weights


@partial(jax.jit, static_argnames=("config",), compiler_options=devices.QUICK)
def _bounds(evidence: Array, states: VBState, prior: VBPrior, config: VBConfig) -> Array:
    return jax.vmap(lambda e, s: lower_bound(e, s, prior, config))(evidence, states)


def lower_bounds(
    states: VBState, shards: Sequence[Data], prior: VBPrior, config: VBConfig
) -> np.ndarray:
    """`lower_bound` of each of R states, by a sweep of the exact form, [R]."""
    form = exact_form(config.family.axis_aligned)
    evidence = drive.moments(states.mixture, shards, form).evidence
    return np.asarray(_bounds(evidence, states, prior, config))


# --- the run --------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("config",), compiler_options=devices.QUICK)
def _first_all(
    means: Array, found: Moments, prior: VBPrior, config: VBConfig, present: Array
) -> VBState:
    return jax.vmap(lambda mean, sums: first_state(mean, sums, prior, config, present))(
        means, found
    )


def start_all(
    shards: Sequence[Data],
    starts: np.ndarray,
    prior: VBPrior,
    config: VBConfig,
    present: np.ndarray,
) -> VBState:
    """`init` for every start.

    Parameters
    ----------
    shards : sequence of Data
        With their padding last.
    starts : ndarray [R, N] of labels or [R, K, N] of responsibilities
        Of the N points that are not padding.
    prior : VBPrior
    config : VBConfig
    present : ndarray [K] of bool

    Returns
    -------
    VBState
        NumPy arrays with leading axis R.
    """
    aligned = config.family.axis_aligned
    means, found = drive.moments_of_starts(shards, starts, len(present), aligned)
    return jax.tree.map(np.asarray, _first_all(means, found, prior, config, present))


def run(
    states: VBState,
    shards: Sequence[Data],
    prior: VBPrior,
    config: VBConfig,
    tol: float,
    max_iter: int,
    watch: Callable[[Progress], None] | None = None,
    move: Callable[[Progress, Callable], Progress] | None = None,
    most: int = SPAN,
) -> drive.Run:
    """Iterate each of R states until its bound gains less than `tol` nats.

    Parameters
    ----------
    states : VBState
        With leading axis R; the first bound is compared with their objectives.
    shards : sequence of Data
        One, or one a thread.
    prior : VBPrior
    config : VBConfig
    tol, max_iter : float, int
    watch : callable, optional
        Called with the progress after every compiled call.
    move, most : see `drive.run`

    Returns
    -------
    drive.Run
    """
    return drive.run(states, shards, prior, config, maximize, tol, max_iter, watch, move, most)
