"""Hyperparameters of the components: what the user gave, checked, and in the core's units."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.arguments import check_number
from bayesgmm.core.arrays import Standardizer
from bayesgmm.core.concentration import (
    Fixed,
    GammaConcentration,
    Sticks,
    Symmetric,
    learned_on_grid,
)
from bayesgmm.core.conjugate import NormalInverseWishart
from bayesgmm.core.covariance import FAMILIES, Covariance
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.checks import check_shape
from bayesgmm.messages import hint

CONJUGATE = {
    name: FAMILIES[name]
    for name in ("full", "tied", "diag", "spherical", "VVV", "EEE", "VVI", "VII", "E", "V")
}
"""The covariance types of which a component's mean and covariance have a conjugate prior."""

# --- weights --------------------------------------------------------------------------------------


class WeightPrior(NamedTuple):
    """One row of `WEIGHTS`.

    Attributes
    ----------
    build : callable
        (discount, K) -> the prior of the weights given their concentration.
    learn : callable
        (weights, shape, rate, K) -> the prior of a concentration that is learned.
    sticks : bool
        Whether the weights are those of sticks, of which more may follow.
    """

    build: Callable
    learn: Callable
    sticks: bool


def _gamma(weights: Any, shape: float, rate: float, K: int) -> GammaConcentration:
    return GammaConcentration(shape, rate)


def _total(weights: Any, shape: float, rate: float, K: int) -> Any:
    """The Gamma is of the sum over components, so that the cap does not matter much."""
    return learned_on_grid(weights, shape, rate * K, K)


WEIGHTS = {
    "dirichlet_process": WeightPrior(lambda discount, K: Sticks(0.0), _gamma, True),
    "pitman_yor": WeightPrior(lambda discount, K: Sticks(float(discount)), learned_on_grid, True),
    "dirichlet_distribution": WeightPrior(lambda discount, K: Symmetric(K), _total, False),
}
"""Weight priors by scikit-learn's names, and Pitman-Yor."""

DISCOUNT = 0.25
"""`discount_prior=None`."""

LEARNED = (1.0, 1.0)
"""Shape and rate of `weight_concentration_prior="gamma"`."""


def check_concentration(value: Any) -> None:
    """`weight_concentration_prior`: None, a number above 0, "gamma" or ("gamma", shape, rate).

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if value is None or (isinstance(value, str) and value == "gamma"):
        return
    if isinstance(value, tuple) and len(value) == 3 and value[0] == "gamma":
        for i in (1, 2):
            check_number(value[i], f"weight_concentration_prior[{i}]", low=0, strict=True)
        return
    if isinstance(value, str | tuple):
        raise ValueError(
            "weight_concentration_prior must be a number above 0, None (1 / n_components), "
            f"'gamma' or ('gamma', shape, rate), got {value!r}.{hint(['gamma'], value)}"
        )
    check_number(value, "weight_concentration_prior", low=0, strict=True)


def check_discount(value: Any, kind: str) -> float:
    """The discount of a Pitman-Yor process, 0 for the other priors.

    Raises
    ------
    ValueError
        If it is not in [0, 1), or was given for another prior.
    """
    if kind != "pitman_yor":
        if value is not None:
            raise ValueError(
                "discount_prior is for weight_concentration_prior_type='pitman_yor', got "
                f"discount_prior={value!r} with {kind!r}. Leave it out."
            )
        return 0.0
    discount = check_number(DISCOUNT if value is None else value, "discount_prior", low=0)
    if discount >= 1:
        raise ValueError(f"discount_prior must be less than 1, got {discount}.")
    return float(discount)


def weight_prior(
    kind: str, concentration: Any, discount: float, K: int, room: int
) -> tuple[Any, Any]:
    """Prior of the weights given their concentration, and of the concentration.

    Of at most K components, of which `room` are held.

    To be called inside the float scope of the fit.
    """
    row = WEIGHTS[kind]
    weights = row.build(discount, K)
    if concentration is None:
        return weights, Fixed(1.0 / K)
    if isinstance(concentration, str | tuple):
        shape, rate = concentration[1:] if isinstance(concentration, tuple) else LEARNED
        return weights, row.learn(weights, float(shape), float(rate), room if row.sticks else K)
    return weights, Fixed(float(concentration))


# --- components -----------------------------------------------------------------------------------


class ComponentPrior(NamedTuple):
    """The prior of one component, in the user's units.

    Attributes
    ----------
    mean : ndarray [D]
    mean_precision, dof : float
    scale : ndarray
        [D, D], [D] of a diagonal family, [1] of an isotropic one.
    """

    mean: np.ndarray
    mean_precision: float
    dof: float
    scale: np.ndarray


def component_prior(
    D: int,
    family: Covariance,
    *,
    mean: Any,
    mean_precision: Any,
    dof: Any,
    scale: Any,
) -> ComponentPrior:
    """The prior with these numbers; a scale that is a function is found by it, and not checked.

    Raises
    ------
    ValueError
        If a number, a shape or a matrix is not as it must be.
    """
    dof = check_above(dof, "degrees_of_freedom_prior", 0 if family.axis_aligned else D - 1)
    check_number(mean_precision, "mean_precision_prior", low=0, strict=True)
    mean = check_shape(np.asarray(mean, np.float64), (D,), "mean_prior")
    shape = shape_of_scale(family, D)
    scale = scale() if callable(scale) else checked_matrix(scale, shape, "covariance_prior")
    return ComponentPrior(mean, float(mean_precision), dof, np.atleast_1d(scale))


def check_above(value: Any, name: str, low: float) -> float:
    """A number for which a Wishart density exists.

    Raises
    ------
    ValueError
        If it is not above `low`.
    """
    value = float(check_number(value, name))
    if value <= low:
        raise ValueError(
            f"The parameter '{name}' should be greater than {low:g}, but got {value:.3f}."
        )
    return value


def covariance_of(kept: Entered, units: Standardizer, what: str) -> np.ndarray:
    """Covariance of points in standardised units, [D, D]; `what` takes it, as a message says.

    Raises
    ------
    ValueError
        If the weights do not sum to more than one point.
    """
    if kept.total <= 1:
        raise ValueError(
            f"{what} the covariance of the points, for which sample_weight must sum to more than "
            f"1: a row of weight 2 counts as two. It sums to {kept.total:g}. Give "
            "covariance_prior, or weights that are counts."
        )
    return kept.covariance(units)


def empirical(
    kept: Entered, units: Standardizer, family: Covariance, K: int, name: str | None
) -> np.ndarray:
    """Covariance of the points in the family's form, divided by K^(2/D) if "data-scaled"."""
    if name not in (None, "data-scaled"):
        raise ValueError(
            "covariance_prior must be None, 'data-scaled' or an array, got "
            f"{name!r}.{hint(['data-scaled'], name)}"
        )
    matrix, D = covariance_of(kept, units, "covariance_prior=None is"), len(units.scale)
    if family.axis_aligned:
        matrix = np.diag(np.diag(matrix))
    if family.isotropic:
        matrix = np.trace(matrix) / D * np.eye(D)
    matrix = lifted(matrix, kept.dtype) * np.outer(units.scale, units.scale)
    return _form(matrix if name is None else matrix / K ** (2 / D), family)


def _form(matrix: np.ndarray, family: Covariance) -> np.ndarray:
    if family.isotropic:
        return np.diag(matrix)[:1]
    return np.diag(matrix) if family.axis_aligned else matrix


def lifted(matrix: np.ndarray, dtype: Any) -> np.ndarray:
    """A covariance in standardised units, a trifle added to its diagonal where it is singular."""
    eps, D = np.finfo(dtype).eps, len(matrix)
    if np.linalg.eigvalsh(matrix)[0] < D * eps**0.75:  # a column that is constant, or repeated
        return matrix + eps**0.375 * np.eye(D)
    return matrix


def shape_of_scale(family: Covariance, D: int) -> tuple[int, ...]:
    """Shape of the scale of one component, as the user gives it."""
    return () if family.isotropic else (D,) if family.axis_aligned else (D, D)


def checked_matrix(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """A covariance, variances or a variance, by its shape.

    Raises
    ------
    ValueError
        If it has another shape, or is not positive (definite).
    """
    matrix = check_shape(np.asarray(value, np.float64), shape, name)
    if len(shape) < 2:
        if (matrix <= 0).any():
            raise ValueError(f"'{name}' should be positive; got {matrix.min():g}")
        return matrix
    if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-6 * abs(matrix).max()):
        raise ValueError(f"'{name}' should be symmetric, positive-definite; it is not")
    smallest = np.linalg.eigvalsh(matrix)[0]
    if smallest <= 0:
        raise ValueError(
            f"'{name}' should be symmetric, positive-definite; the smallest eigenvalue "
            f"is {smallest:g}"
        )
    return matrix


def packed(scale: np.ndarray, family: Covariance) -> Any:
    """`covariance_prior_`: as the user gives it, a number for an isotropic family."""
    return float(scale[0]) if family.isotropic else scale


# --- units ----------------------------------------------------------------------------------------


def spread(prior: ComponentPrior, family: Covariance, K: int) -> NormalInverseWishart:
    """The same prior for each of K components (one covariance if the family is pooled)."""
    groups = 1 if family.pooled else K
    return NormalInverseWishart(
        np.tile(prior.mean, (K, 1)),
        np.full(K, prior.mean_precision),
        np.full(groups, prior.dof),
        np.broadcast_to(prior.scale, (groups, *prior.scale.shape)),
    )


def held_prior(
    prior: ComponentPrior, units: Standardizer, family: Covariance, room: int
) -> NormalInverseWishart:
    """The same prior for each of `room` components, in the core's units and float64."""
    return change_units(spread(prior, family, room), units, family, to_core=True)


def area_of(units: Standardizer, family: Covariance) -> np.ndarray:
    """What a scale of the user's units is divided by in the core's: [D, D], [D] or [1]."""
    size = units.scale
    area = size[:1] ** 2 if family.isotropic else size**2
    return area if family.axis_aligned else np.outer(size, size)


def change_units(
    components: NormalInverseWishart, units: Standardizer, family: Covariance, to_core: bool
) -> NormalInverseWishart:
    """Hyperparameters of the user's units in the core's, or the other way round; float64."""
    mean, precision, dof, scale = (np.asarray(leaf, np.float64) for leaf in components)
    size, area = units.scale, area_of(units, family)
    if to_core:
        return NormalInverseWishart((mean - units.centre) / size, precision, dof, scale / area)
    return NormalInverseWishart(units.centre + size * mean, precision, dof, scale * area)
