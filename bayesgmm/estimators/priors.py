"""Hyperparameters of the components: what the user gave, checked, and in the core's units."""

from typing import Any, NamedTuple

import numpy as np

from bayesgmm.core.arrays import Standardizer
from bayesgmm.core.conjugate import NormalInverseWishart
from bayesgmm.core.covariance import Covariance
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.checks import check_number, check_shape


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
    least = 0 if family.axis_aligned else D - 1
    dof = float(check_number(dof, "degrees_of_freedom_prior"))
    if dof <= least:
        raise ValueError(
            "The parameter 'degrees_of_freedom_prior' should be greater than "
            f"{least}, but got {dof:.3f}."
        )
    check_number(mean_precision, "mean_precision_prior", low=0, strict=True)
    mean = check_shape(np.asarray(mean, np.float64), (D,), "mean_prior")
    scale = scale() if callable(scale) else _given_scale(scale, family, D)
    return ComponentPrior(mean, float(mean_precision), dof, np.atleast_1d(scale))


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
    standard = (kept.X - units.centre) / units.scale  # float64
    weighted = standard if kept.weight is None else standard * kept.weight[:, None]
    return weighted.T @ standard / (kept.total - 1)


def lifted(matrix: np.ndarray, dtype: Any) -> np.ndarray:
    """A covariance in standardised units, a trifle added to its diagonal where it is singular."""
    eps, D = np.finfo(dtype).eps, len(matrix)
    if np.linalg.eigvalsh(matrix)[0] < D * eps**0.75:  # a column that is constant, or repeated
        return matrix + eps**0.375 * np.eye(D)
    return matrix


def _given_scale(scale: Any, family: Covariance, D: int) -> np.ndarray:
    shape = () if family.isotropic else (D,) if family.axis_aligned else (D, D)
    scale = check_shape(np.asarray(scale, np.float64), shape, "covariance_prior")
    if family.axis_aligned:
        if (scale <= 0).any():
            raise ValueError(f"'covariance_prior' should be positive; got {scale.min():g}")
        return np.atleast_1d(scale)
    if not np.allclose(scale, scale.T, rtol=1e-6, atol=1e-6 * abs(scale).max()):
        raise ValueError("'covariance_prior' should be symmetric, positive-definite; it is not")
    smallest = np.linalg.eigvalsh(scale)[0]
    if smallest <= 0:
        raise ValueError(
            "'covariance_prior' should be symmetric, positive-definite; the smallest eigenvalue "
            f"is {smallest:g}"
        )
    return scale


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


def change_units(
    components: NormalInverseWishart, units: Standardizer, family: Covariance, to_core: bool
) -> NormalInverseWishart:
    """Hyperparameters of the user's units in the core's, or the other way round; float64."""
    mean, precision, dof, scale = (np.asarray(leaf, np.float64) for leaf in components)
    size = units.scale
    area = size[:1] ** 2 if family.isotropic else size**2
    area = area if family.axis_aligned else np.outer(size, size)
    if to_core:
        return NormalInverseWishart((mean - units.centre) / size, precision, dof, scale / area)
    return NormalInverseWishart(units.centre + size * mean, precision, dof, scale * area)
