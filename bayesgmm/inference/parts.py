"""Merges, divisions and births of components, each with its bound before any sweep.

The bound is a function of the moments of the components and of the entropy of the responsibilities
(`vb.from_moments`). Of a merge both follow from what is known of the two components; components
are divided among their own points alone, by a mixture of two that begins from a cut.

References
----------
Hughes and Sudderth (2013), *Advances in Neural Information Processing Systems* 26, 1133-1141.
Ueda, Nakano, Ghahramani and Hinton (2000), *Neural Computation* 12, 2109-2128.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayesgmm.core.arrays import Array, Data
from bayesgmm.core.conjugate import Hyperparameters, NormalInverseWishart, mode, update
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.forms import exact_form
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.sweep import Moments, expected_joint, gathered, joint_of, located, soft
from bayesgmm.core.weights import Dirichlet
from bayesgmm.inference.devices import QUICK
from bayesgmm.inference.drive import centres
from bayesgmm.inference.vb import VBConfig, VBPrior, VBState, from_moments

SIDE = 8
"""States or divisions that a compiled call makes side by side."""

LOCAL = 10
"""Iterations of the two halves of a component among its own points."""

SUMS = ("counts", "first", "second")


class Parts(NamedTuple):
    """The components that are present, as NumPy arrays.

    Attributes
    ----------
    resp : [K, N] or None
        Responsibilities; None where only their moments are known.
    weight : [N]
    about : [K, D]
    counts, first, second : [K], [K, D], [K, D, D] or [K, D]
        Moments about `about`.
    entropy : float
        Of the responsibilities.
    """

    resp: np.ndarray | None
    weight: np.ndarray
    about: np.ndarray
    counts: np.ndarray
    first: np.ndarray
    second: np.ndarray
    entropy: float


class Half(NamedTuple):
    """The points of one component, or of two together, divided into two.

    Attributes
    ----------
    which : tuple of two ints
        The two components, or the one twice.
    entropy : float
        Of the shares that the halves have in these points.
    about : [2, D]
    counts, first, second : [2, ...]
    """

    which: tuple
    entropy: float
    about: np.ndarray
    counts: np.ndarray
    first: np.ndarray
    second: np.ndarray


# --- what is known of a state ---------------------------------------------------------------------


@partial(jax.jit, static_argnames=("axis_aligned",), compiler_options=QUICK)
def _joint(mixture: Mixture, data: Data, axis_aligned: bool) -> Array:
    return joint_of(data, mixture, exact_form(axis_aligned))


def joint(state: VBState, data: Data, family: Covariance) -> np.ndarray:
    """Log joint of the components that are present and the points, [K, N]."""
    return np.asarray(_joint(state.mixture, data, family.axis_aligned))[state.present]


def parts_of(resp: np.ndarray, about: np.ndarray, data: Data, family: Covariance) -> Parts:
    """Components of responsibilities [K, N], and their moments about points [K, D]."""
    weight, points = np.asarray(data.weight), data.points
    sums = [
        _sums(points - m[:, None], r * weight, family) for m, r in zip(about, resp, strict=True)
    ]
    counts, first, second = (np.stack(leaves) for leaves in zip(*sums, strict=True))
    entropy = float(_entropy(resp, weight).sum())
    return Parts(resp, weight, about, counts, first, second, entropy)


def _sums(gap: np.ndarray, weight: np.ndarray, family: Covariance) -> tuple:
    weighted = gap * weight
    second = (weighted * gap).sum(1) if family.axis_aligned else weighted @ gap.T
    return weight.sum(), weighted.sum(1), second


def _entropy(resp: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """-sum of w r log r over the points, [...], of responsibilities [..., N]."""
    return -(resp * np.log(np.maximum(resp, np.finfo(resp.dtype).tiny))) @ weight


def _joint_entropy(parts: Parts, i: int, j: int) -> float:
    """Entropy where components i and j are one."""
    if i == j:
        return parts.entropy
    pair = parts.resp[[i, j]]
    return parts.entropy + float(
        _entropy(pair.sum(0), parts.weight) - _entropy(pair, parts.weight).sum()
    )


# --- edits ----------------------------------------------------------------------------------------


def merged(parts: Parts, i: int, j: int) -> Parts:
    """Component i takes the points of j, which goes."""
    centre = np.average(parts.about[[i, j]], axis=0, weights=parts.counts[[i, j]] + 1e-12)
    pair = zip(_about(parts, i, centre), _about(parts, j, centre), strict=True)
    rows = (parts.resp[[i, j]].sum(0), centre, *(a + b for a, b in pair))
    fields = {}
    for name, row in zip(("resp", "about", *SUMS), rows, strict=True):
        leaf = getattr(parts, name).copy()
        leaf[i] = row
        fields[name] = np.delete(leaf, j, axis=0)
    return parts._replace(entropy=_joint_entropy(parts, i, j), **fields)


def _about(parts: Parts, k: int, to: np.ndarray) -> tuple:
    """Moments of component k about another point [D]."""
    gap, n, first = parts.about[k] - to, parts.counts[k], parts.first[k]
    if parts.second.ndim == 2:
        return n, first + n * gap, parts.second[k] + 2 * gap * first + n * gap**2
    cross = np.outer(gap, first)
    return n, first + n * gap, parts.second[k] + cross + cross.T + n * np.outer(gap, gap)


def divided(parts: Parts, half: Half, lost: int | None = None) -> Parts:
    """Two halves in the place of the components they were made of; a new component comes last.

    Parameters
    ----------
    parts : Parts
    half : Half
    lost : int, optional
        The component that `parts` have lost since the halves were made.
    """
    i, j = (k if lost is None or k < lost else k - 1 for k in half.which)
    single, fields = i == j, {}
    for name in ("about", *SUMS):
        leaf, pair = getattr(parts, name), getattr(half, name)
        leaf = np.concatenate([leaf, pair[1:]]) if single else leaf.copy()
        leaf[[i, -1 if single else j]] = pair
        fields[name] = leaf
    entropy = _joint_entropy(parts, i, j) + half.entropy
    return parts._replace(entropy=entropy, resp=parts.resp if single else None, **fields)


def born(parts: Parts, chosen: np.ndarray, data: Data, family: Covariance) -> Parts:
    """The chosen points [N] become a component, which comes last."""
    points, own = np.asarray(data.points), chosen * parts.weight
    about = np.concatenate([parts.about, (points @ own / own.sum())[None]])
    resp = np.concatenate([np.where(chosen, 0.0, parts.resp), chosen[None]]).astype(points.dtype)
    return parts_of(resp, about, data, family)


def neighbourhoods(
    parts: Parts, data: Data, n: int, random_state: np.random.RandomState
) -> list[np.ndarray]:
    """The points nearest to some that are drawn at random, up to a quarter of all; n of [N].

    Distances are those of the pooled covariance of the components.
    """
    points, weight = np.asarray(data.points), parts.weight
    second = parts.second.sum(0) if parts.second.ndim == 3 else np.diag(parts.second.sum(0))
    values, axes = np.linalg.eigh(second / parts.counts.sum())
    white = (axes / np.sqrt(np.maximum(values, 1e-12 * values[-1] + 1e-30))).T @ points
    least, total, found = 2.0 * (len(points) + 1), weight.sum(), []
    for centre in random_state.choice(len(weight), n, p=weight / total):
        size = least * max(total / 4 / least, 1.0) ** random_state.uniform()
        order = np.argsort(np.square(white - white[:, [centre]]).sum(0) + 1e30 * (weight == 0))
        within = order[weight[order].cumsum() <= size]
        found.append(np.isin(np.arange(len(weight)), within))
    return [chosen for chosen in found if (chosen * weight).sum() > 0]


# --- their bound ----------------------------------------------------------------------------------


@partial(jax.jit, static_argnames=("config",), compiler_options=QUICK)
def _states(
    found: Moments, about: Array, present: Array, learned: Any, prior: VBPrior, config: VBConfig
) -> VBState:
    def one(found: Moments, about: Array, present: Array) -> VBState:
        return from_moments(found, about, learned, present, prior, config)

    return jax.vmap(one)(found, about, present)


def states_of(
    several: Sequence[Parts], learned: Any, prior: VBPrior, config: VBConfig
) -> list[VBState]:
    """The state of each, whose objective is the bound at its responsibilities.

    Parameters
    ----------
    several : sequence of Parts
    learned : Fixed, GammaConcentration or GridConcentration
        q(alpha) to begin with.
    prior : VBPrior
        With room for the components of each.
    config : VBConfig
    """
    room, states = len(prior.components.mean), []
    for low in range(0, len(several), SIDE):
        batch = [several[min(low + b, len(several) - 1)] for b in range(SIDE)]
        counts, first, second, about = (
            np.stack([_with_room(getattr(parts, name), room) for parts in batch])
            for name in (*SUMS, "about")
        )
        entropy = np.array([parts.entropy for parts in batch], counts.dtype)
        present = np.arange(room) < np.array([len(parts.counts) for parts in batch])[:, None]
        found = Moments(counts, first, second, entropy)
        made = jax.tree.map(np.asarray, _states(found, about, present, learned, prior, config))
        states += [jax.tree.map(lambda leaf: leaf[b], made) for b in range(SIDE)]  # noqa: B023
    return states[: len(several)]


def _with_room(leaf: np.ndarray, room: int) -> np.ndarray:
    return np.pad(leaf, [(0, room - len(leaf)), *[(0, 0)] * (leaf.ndim - 1)])


# --- divisions ------------------------------------------------------------------------------------


def cuts(
    points: np.ndarray, weight: np.ndarray, n: int, random_state: np.random.RandomState, new: bool
) -> np.ndarray:
    """Where divisions of weighted points [D, N] begin: 0 or 1 for each of them, [n, N].

    Across the longest axis; the outer two fifths from the rest (both only for points that are
    `new`); and between two points drawn at random. Distances are Mahalanobis distances.
    """
    total = weight.sum()
    gap = points - (points @ weight / total)[:, None]
    values, axes = np.linalg.eigh((gap * weight) @ gap.T / total)
    white = (axes / np.sqrt(np.maximum(values, 1e-12 * values[-1] + 1e-30))).T @ gap
    distance = np.square(white).sum(0)
    order = np.argsort(distance)
    inner = np.searchsorted(weight[order].cumsum(), 0.6 * total)
    outer = distance > distance[order][min(inner, len(order) - 1)]
    found = [white[-1] > 0, outer][:n] if new else []
    for _ in range(n - len(found)):
        a, b = white[:, random_state.choice(len(weight), 2, p=weight / total)].T
        found.append((b - a) @ (white - 0.5 * (a + b)[:, None]) > 0)
    return np.stack(found).astype(np.int32)


@partial(jax.jit, static_argnames=("family",), compiler_options=QUICK)
def _divide(
    points: Array,
    weights: Array,
    sides: Array,
    components: NormalInverseWishart,
    ridge: Array,
    family: Covariance,
) -> tuple[Moments, Array]:
    """Moments [B, 2, ...] of the halves that begin from `sides` [B, N], and about what.

    The evidence is the entropy. The mixture of two is the mode of its posterior, which costs no
    special function: the bound is computed where the halves are put to use.
    """
    form = exact_form(family.axis_aligned)
    flat = Hyperparameters(Dirichlet(jnp.ones(2, points.dtype)), components)

    def one(weight: Array, side: Array) -> tuple[Moments, Array]:
        own = Data(points, weight)

        def turn(_, carry: tuple[Moments, Array]) -> tuple[Moments, Array]:
            mixture = mode(update(flat, *carry, family), family, ridge)
            found = soft(own, mixture, form)
            entropy = found.evidence - expected_joint(mixture, found, mixture.means)
            return found._replace(evidence=entropy), mixture.means

        means = centres(*located(own, side, 2))
        first = gathered(own, side, means, family.axis_aligned)
        return jax.lax.fori_loop(0, LOCAL, turn, (first, means))

    return jax.vmap(one)(weights, sides)


def halves_of(
    parts: Parts,
    pairs: Sequence[tuple[int, int]],
    n: int,
    data: Data,
    prior: VBPrior,
    family: Covariance,
    random_state: np.random.RandomState,
    new: bool = True,
) -> list[Half]:
    """The points of each pair, or of one component named twice, divided in `n` ways (`cuts`).

    Where there are fewer than two points there is nothing to divide.
    """
    points, which, weights, sides = np.asarray(data.points), [], [], []
    for i, j in pairs:
        own = parts.weight * (parts.resp[i] if i == j else parts.resp[i] + parts.resp[j])
        if own.sum() >= 2:
            which += [(i, j)] * n
            weights += [own] * n
            sides += list(cuts(points, own, n, random_state, new))
    components, found = jax.tree.map(lambda leaf: leaf[:2], prior.components), []
    for low in range(0, len(which), SIDE):
        rows = [min(low + b, len(which) - 1) for b in range(SIDE)]
        given = np.stack([weights[b] for b in rows]), np.stack([sides[b] for b in rows])
        made = _divide(data.points, *given, components, prior.ridge, family)
        sums, means = jax.tree.map(np.asarray, made)
        rows = zip(sums.evidence, means, sums.counts, sums.first, sums.second, strict=True)
        found += [(float(entropy), *leaves) for entropy, *leaves in rows]
    return [Half(pair, *leaves) for pair, leaves in zip(which, found, strict=False)]
