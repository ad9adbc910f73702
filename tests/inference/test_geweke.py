"""Geweke's joint test of the samplers: two simulators of parameters and data agree.

The whole table: ``pytest -m slow -s -k every_joint tests/inference/test_geweke.py``.
"""

import gc
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayesgmm.core import FAMILIES, NormalInverseWishart, random
from bayesgmm.core.arrays import Data
from bayesgmm.core.concentration import ConcentrationPrior
from bayesgmm.core.forms import exact_form
from bayesgmm.core.independent import HierarchicalPrior, IndependentPrior
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.slots import SlotPrior
from bayesgmm.inference import nuts
from bayesgmm.inference.geweke import (
    DATA,
    Joint,
    Model,
    averages,
    every_scale,
    joint_test,
    points_given,
)
from bayesgmm.inference.gibbs import GibbsConfig, GibbsPrior
from bayesgmm.inference.model import ModelConfig, ModelPrior, Start
from bayesgmm.inference.splitmerge import KNOWN, UNKNOWN
from tests.conftest import slow

FAR = 4.5
"""Standard errors that two simulators of one distribution may be apart: of the 2,400 numbers of the
whole table one is beyond that with probability 0.02."""


class Weights(NamedTuple):
    kind: str
    prior: SlotPrior
    concentration: ConcentrationPrior | None
    slots: int


GAMMA = ConcentrationPrior.gamma(2.0, 4.0)
UP_TO_6 = np.log(np.full(6, 1 / 6))
"""Of K: few, so that every component has a slot."""

WEIGHTS = {
    "finite": Weights("finite", SlotPrior(np.zeros(1), 3), None, 4),
    "finite, alpha drawn": Weights("finite", SlotPrior(np.zeros(1), 3), GAMMA, 4),
    "static": Weights("static", SlotPrior(UP_TO_6), None, 8),
    "dynamic": Weights("dynamic", SlotPrior(UP_TO_6), ConcentrationPrior.f(6.0, 3.0), 8),
    "dp": Weights("process", SlotPrior(np.zeros(1)), GAMMA, 32),
    "py": Weights("process", SlotPrior(np.zeros(1), 1, 0.25), GAMMA, 32),
}


def components_of(name, family, D):
    """Priors of a component whose numbers are all different from each other, and not special."""
    matrix = 1.2 * np.eye(D) + 0.3
    tail = {True: np.array([1.1]), False: np.linspace(0.8, 1.4, D)}
    square = lambda a: tail[family.isotropic] * a if family.axis_aligned else a * matrix  # noqa: E731
    mean, dof = np.linspace(0.3, -0.2, D)[None], np.array([D + 3.0])
    if name == "conjugate":
        return NormalInverseWishart(mean, np.array([0.5]), dof, square(1.5)[None])
    spread = np.linspace(1.5, 2.0, D) if family.axis_aligned else 1.5 * matrix
    if name == "independent":
        return IndependentPrior(mean, spread[None], dof, square(1.5)[None])
    return HierarchicalPrior(mean, spread[None], dof, np.array([D / 2 + 1.0]), square(2.0)[None])


def model_of(weights, components, family, D=2, N=5, moves=True):
    kind, prior, concentration, slots = WEIGHTS[weights]
    family = FAMILIES[family]
    moves = (KNOWN if kind == "finite" else UNKNOWN) if moves else ()
    config = GibbsConfig(
        family, exact_form(family.axis_aligned), kind, concentration is not None, moves
    )
    concentration = concentration or ConcentrationPrior.gamma(1.0, 1.0)
    own = components_of(components, family, D)
    return Model(GibbsPrior(prior, concentration, own), config, 1.2, N, slots)


def farthest(found):
    name = max(found, key=lambda name: abs(found[name][2]))
    return name, found[name][2]


CASES = {
    "dynamic, with moves": model_of("dynamic", "conjugate", "full"),
    "Pitman-Yor, hierarchical": model_of("py", "hierarchical", "full"),
}
"""What is tested always: programs that the tests of the test share."""


@pytest.mark.parametrize(
    "name",
    ["dynamic, with moves", slow("Pitman-Yor, hierarchical")],
)
def test_both_simulators_agree(name):
    found = joint_test(np.random.default_rng(1), CASES[name], 1000, 40)
    assert abs(farthest(found)[1]) < FAR, farthest(found)


def wrong(prior, **changes):
    """The prior with leaves of its parts changed."""
    parts = {
        part: getattr(prior, part)._replace(**{leaf: change(getattr(getattr(prior, part), leaf))})
        for part, (leaf, change) in changes.items()
    }
    return prior._replace(**parts)


ERRORS = {
    "degrees of freedom": ("dynamic, with moves", {"components": ("dof", lambda v: v + 1)}),
    "factor of the scale": ("dynamic, with moves", {"components": ("scale", lambda v: 2 * v)}),
    "prior of K": (
        "dynamic, with moves",
        {"weights": ("log_n_components", lambda v: v - 0.5 * np.arange(6))},
    ),
    "Jacobian of alpha": ("dynamic, with moves", {"concentration": ("power", lambda v: v - 1)}),
    "discount": ("Pitman-Yor, hierarchical", {"weights": ("discount", lambda v: 0.0 * v)}),
    "shape of C0": ("Pitman-Yor, hierarchical", {"components": ("shape", lambda v: v + 0.5)}),
}


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(name, marks=() if name == "factor of the scale" else pytest.mark.slow)
        for name in ERRORS
    ],
)
def test_an_error_of_the_sampler_is_found(error):
    name, changes = ERRORS[error]
    model = CASES[name]
    found = joint_test(np.random.default_rng(2), model, 1000, 40, wrong(model.prior, **changes))
    assert abs(farthest(found)[1]) > 6, farthest(found)


WAYS = [
    (components, moves)
    for components in ("conjugate", "independent", "hierarchical")
    for moves in (True, False)
]
EVERY = [
    (weights, *way, family, 2)
    for weights in WEIGHTS
    if weights != "finite, alpha drawn"
    for way in WAYS
    for family in ("full", "tied", "diag", "spherical")
] + [
    *((weights, "conjugate", True, "full", 1) for weights in WEIGHTS),
    ("finite, alpha drawn", "conjugate", True, "full", 2),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", EVERY, ids=lambda case: "-".join(map(str, case)))
def test_every_joint(case):
    weights, components, moves, family, D = case
    model = model_of(weights, components, family, D, 4 if D == 1 else 5, moves)
    found = joint_test(np.random.default_rng(3), model, 1500, 40)
    name, z = farthest(found)
    zs = np.array([row[2] for row in found.values() if row[2] != 0])
    print(
        f"\n| {weights} | {components} | {'yes' if moves else 'no'} | {family} | {D} | {len(zs)} "
        f"| {np.sqrt(np.square(zs).mean()):.2f} | {z:+.2f} ({name}) |"
    )
    jax.clear_caches()  # each program is used once, and there are many
    gc.collect()
    assert abs(z) < FAR


# --- the no-U-turn sampler ------------------------------------------------------------------------


STILL = nuts.Phase(*np.zeros((4, 1), bool)[:, 0])
STEP_SIZE = 0.3
"""Neither it nor the masses are adapted: the transition must leave the target alone as it is."""


def by_nuts(family, keys, draws, model, n_rounds):
    """The second simulator with a trajectory of NUTS, and labels drawn given where it ends."""
    own = model.prior
    K = int(own.weights.n_components)
    config = nuts.NutsConfig(ModelConfig(family, K, "finite", model.config.learned))
    prior = ModelPrior(own.components, np.float64(model.alpha), own.concentration, np.float64(0))
    return _by_nuts(keys, draws, prior, n_rounds, config)


@partial(jax.jit, static_argnames="config")
def _by_nuts(keys, draws, prior, n_rounds, config):
    K = config.model.n_components
    hierarchical = isinstance(prior.components, HierarchicalPrior)

    def begun(key, draw):
        scales = draw.mixture.scales[: 1 if config.model.family.pooled else K]
        common = draw.scale[0] if hierarchical else None
        covariances = scales @ jnp.swapaxes(scales, 1, 2)
        weights = jnp.exp(draw.mixture.log_weights[:K])
        start = Start(
            weights, draw.mixture.means[:K], covariances, draw.alpha, common, config.model
        )
        data = Data(draw.points.T, jnp.ones(len(draw.points)))
        state = nuts.init(key, data, draw.labels, prior, config)
        position = nuts.position_of(start, prior, config.model)
        state = state._replace(position=position, inverse_mass=jnp.ones_like(position))
        return state._replace(step_size=jnp.asarray(STEP_SIZE)), data

    def advance(state, data):
        density = jax.value_and_grad(nuts.potential_of)
        potential, slope = density(state.position, data, prior, config.model)
        state = state._replace(potential=potential, slope=slope)
        state = nuts.step(state, STILL, data, prior, config)[0]
        draw = nuts.kept(state, data, prior, config)
        mixture = Mixture(draw.log_weights, draw.means, draw.scales)
        mixture = mixture._replace(scales=every_scale(mixture))
        key = random.fold(random.fold(state.key, state.sweep), DATA)
        points = points_given(key, draw.labels.astype(int), mixture, data.points)
        numbers = draw.n_components, draw.alpha, draw.scale
        joint = Joint(draw.labels.astype(int), mixture, *numbers, points.T)
        return state, data._replace(points=points), joint

    states, data = jax.vmap(begun)(keys, draws)
    return averages(advance, states, data, n_rounds)


OF_NUTS = [
    (weights, components, family, 2)
    for weights in ("finite", "finite, alpha drawn")
    for components in ("conjugate", "independent", "hierarchical")
    for family in ("full", "tied", "diag", "spherical")
    if weights == "finite" or components == "hierarchical"
]


@pytest.mark.slow
@pytest.mark.parametrize("weights, components, family, D", OF_NUTS)
def test_every_joint_of_nuts(weights, components, family, D):
    model = model_of(weights, components, family, D, moves=False)._replace(n_slots=3)
    found = joint_test(np.random.default_rng(4), model, 600, 30, simulator=partial(by_nuts, family))
    name, z = farthest(found)
    zs = np.array([row[2] for row in found.values() if row[2] != 0])
    print(
        f"\n| {weights} | {components} | NUTS | {family} | {D} | {len(zs)} "
        f"| {np.sqrt(np.square(zs).mean()):.2f} | {z:+.2f} ({name}) |"
    )
    assert abs(z) < FAR


@pytest.mark.slow
def test_an_error_of_nuts_is_found():
    model = model_of("finite", "conjugate", "full", moves=False)._replace(n_slots=3)
    other = wrong(model.prior, components=("dof", lambda v: v + 1))
    found = joint_test(np.random.default_rng(4), model, 600, 30, other, partial(by_nuts, "full"))
    assert abs(farthest(found)[1]) > 6, farthest(found)
