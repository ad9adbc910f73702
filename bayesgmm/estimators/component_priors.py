"""`component_prior` of the sampler: by name or as an object, all of its numbers, and as drawn from.

Everything is in the user's units here; `in_core` changes them for the sampler's.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from bayesgmm.arguments import check_number
from bayesgmm.core import independent
from bayesgmm.core.arrays import Standardizer
from bayesgmm.core.covariance import Covariance
from bayesgmm.estimators import priors
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.checks import check_shape
from bayesgmm.estimators.conjugate import ConjugatePrior, held_components
from bayesgmm.messages import hint, listed, warn_user


@dataclass(frozen=True, eq=False)
class IndependentPrior:
    """Prior of a component whose mean is independent of its covariance.

    The mean ~ N(mean_prior, mean_covariance_prior), Sigma ~ inverse Wishart(
    degrees_of_freedom_prior, covariance_prior); along the axes an inverse Gamma
    (degrees_of_freedom_prior / 2, covariance_prior / 2) for each variance. In the units of the
    data. Whatever is None is made of the data.

    Parameters
    ----------
    mean_prior : array [D], optional
        The median of each feature.
    mean_covariance_prior : array, optional
        The squared range of each feature, on the diagonal. [D, D]; [D] for "diag" and "spherical".
    degrees_of_freedom_prior : float, optional
        D + 2; above D - 1 (above 0 along the axes).
    covariance_prior : array, optional
        The covariance of the data over K^(2 / D), as in the conjugate prior. [D, D]; [D] for
        "diag"; a number for "spherical".

    Examples
    --------
    >>> from bayesgmm import IndependentPrior, MCMCGaussianMixture
    >>> prior = IndependentPrior(mean_prior=[20.0], mean_covariance_prior=[[100.0]])
    >>> MCMCGaussianMixture(3, component_prior=prior).component_prior.mean_prior
    [20.0]
    """

    mean_prior: Any = None
    mean_covariance_prior: Any = None
    degrees_of_freedom_prior: float | None = None
    covariance_prior: Any = None


@dataclass(frozen=True, eq=False)
class HierarchicalPrior:
    """Prior of a component whose covariance has a random scale, common to all components.

    The mean ~ N(mean_prior, mean_covariance_prior), Sigma^-1 ~ W(c0, C0) and C0 ~ W(g0, G0), where
    W(c, C) has a density proportional to abs(X)^(c - (D + 1) / 2) exp(-tr(C X)): one feature's
    precision is Gamma(c0, rate C0) and C0 is Gamma(g0, rate G0). Along the axes each feature has
    such a pair. In the units of the data. Whatever is None is that of Fruhwirth-Schnatter,
    Malsiner-Walli and Grun (2021).

    Parameters
    ----------
    mean_prior : array [D], optional
        The median of each feature.
    mean_covariance_prior : array, optional
        The squared range R^2 of each feature, on the diagonal. [D, D]; [D] for "diag" and
        "spherical".
    covariance_shape_prior : float, optional
        c0: 2.5 + (D - 1) / 2, along the axes 2.5.
    scale_shape_prior : float, optional
        g0: 0.5 + (D - 1) / 2, along the axes 0.5.
    scale_rate_prior : array, optional
        G0: 100 g0 / c0 / R^2 on the diagonal. [D, D]; [D] for "diag"; a number for "spherical".

    References
    ----------
    Richardson and Green (1997), *Journal of the Royal Statistical Society B* 59, 731-792.
    Fruhwirth-Schnatter, Malsiner-Walli and Grun (2021), *Bayesian Analysis* 16, 1279-1307.

    Examples
    --------
    >>> from bayesgmm import HierarchicalPrior, MCMCGaussianMixture
    >>> prior = HierarchicalPrior(covariance_shape_prior=2.0, scale_shape_prior=0.2)
    >>> MCMCGaussianMixture(component_prior=prior).component_prior.scale_shape_prior
    0.2
    """

    mean_prior: Any = None
    mean_covariance_prior: Any = None
    covariance_shape_prior: float | None = None
    scale_shape_prior: float | None = None
    scale_rate_prior: Any = None


SEVERAL = 3
"""Clusters that the scale of the prior is made for, where their number is not known."""


class Seen(NamedTuple):
    """What a prior is scaled by: the points, the family, and the number of components if known."""

    kept: Entered
    units: Standardizer
    family: Covariance
    known: int | None

    @property
    def K(self) -> int:
        """Components that the scale is made for."""
        return self.known or SEVERAL

    @property
    def n_features(self) -> int:
        """D."""
        return len(self.units.scale)

    @property
    def side(self) -> int:
        """Side of the Wishart matrices."""
        return 1 if self.family.axis_aligned else self.n_features

    def range(self) -> np.ndarray:
        """Of each feature, [D]; the unit's where it is constant."""
        found = np.ptp(self.kept.X, axis=0)
        return np.where(found > 0, found, self.units.scale)

    def matrix(self, variances: np.ndarray, isotropic: bool) -> np.ndarray:
        """Variances [D] as the family has them: [D, D], [D], or their mean []."""
        if not self.family.axis_aligned:
            return np.diag(variances)
        return np.asarray(variances.mean()) if isotropic else variances


# --- what is None ---------------------------------------------------------------------------------


def _of_means(seen: Seen, centre: np.ndarray) -> dict[str, Any]:
    spread = seen.matrix(seen.range() ** 2, isotropic=False)
    return {"mean_prior": centre, "mean_covariance_prior": spread}


def _conjugate(seen: Seen) -> dict[str, Any]:
    D = seen.n_features
    return {
        "mean_prior": seen.units.centre,
        "mean_precision_prior": seen.K ** (-2.0 / D),
        "degrees_of_freedom_prior": D + 2.0,
        "covariance_prior": partial(
            priors.empirical, seen.kept, seen.units, seen.family, seen.K, "data-scaled"
        ),
    }


def _independent(seen: Seen) -> dict[str, Any]:
    found = _conjugate(seen)
    del found["mean_precision_prior"]
    return {**found, **_of_means(seen, np.median(seen.kept.X, axis=0))}


def _hierarchical(seen: Seen) -> dict[str, Any]:
    more = (seen.side - 1) / 2
    c0, g0 = 2.5 + more, 0.5 + more
    squares = seen.matrix(seen.range() ** 2, seen.family.isotropic)
    return {
        **_of_means(seen, np.median(seen.kept.X, axis=0)),
        "covariance_shape_prior": c0,
        "scale_shape_prior": g0,
        "scale_rate_prior": _over(100 * g0 / c0, squares),
    }


def _richardson_green(seen: Seen) -> dict[str, Any]:
    more = (seen.side - 1) / 2
    X = seen.kept.X
    squares = seen.matrix(seen.range() ** 2, seen.family.isotropic)
    return {
        **_of_means(seen, (X.min(0) + X.max(0)) / 2),
        "covariance_shape_prior": 2.0 + more,
        "scale_shape_prior": 0.2 + more,
        "scale_rate_prior": _over(10.0, squares),
    }


def _over(number: float, matrix: np.ndarray) -> np.ndarray:
    """Number / matrix, entry by entry of a diagonal one."""
    return np.diag(number / np.diag(matrix)) if matrix.ndim == 2 else number / matrix


# --- checks ---------------------------------------------------------------------------------------


def _mean(value: Any, name: str, seen: Seen) -> np.ndarray:
    return check_shape(np.asarray(value, np.float64), (seen.n_features,), name)


def _positive(value: Any, name: str, seen: Seen) -> float:
    return float(check_number(value, name, low=0, strict=True))


def _mean_covariance(value: Any, name: str, seen: Seen) -> np.ndarray:
    """[D, D], or [D] of an axis-aligned family, the isotropic one too."""
    D = seen.n_features
    return priors.checked_matrix(value, (D,) if seen.family.axis_aligned else (D, D), name)


def _scale(value: Any, name: str, seen: Seen) -> np.ndarray:
    if callable(value):  # it is found, and not checked
        return np.atleast_1d(value())
    shape = priors.shape_of_scale(seen.family, seen.n_features)
    return np.atleast_1d(priors.checked_matrix(value, shape, name))


def _above(least: Callable) -> Callable:
    """A check that a number is above what it must be for a Wishart density."""

    def check(value: Any, name: str, seen: Seen) -> float:
        return priors.check_above(value, name, least(seen.side))

    return check


CHECKS = {
    "mean_prior": _mean,
    "mean_precision_prior": _positive,
    "degrees_of_freedom_prior": _above(lambda p: p - 1),
    "covariance_prior": _scale,
    "mean_covariance_prior": _mean_covariance,
    "covariance_shape_prior": _above(lambda p: (p - 1) / 2),
    "scale_shape_prior": _above(lambda p: (p - 1) / 2),
    "scale_rate_prior": _scale,
}
"""How each hyperparameter is checked."""


# --- the table ------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A named prior.

    Attributes
    ----------
    of : type
        Of the object that has its numbers.
    defaults : callable
        Seen -> the numbers that are not given, by name.
    """

    of: type
    defaults: Callable


KINDS = {
    "conjugate": Kind(ConjugatePrior, _conjugate),
    "independent": Kind(IndependentPrior, _independent),
    "hierarchical": Kind(HierarchicalPrior, _hierarchical),
    "richardson-green": Kind(HierarchicalPrior, _richardson_green),
}
"""`component_prior` by name. An object stands for the first kind of its class."""

SKLEARN = (
    "mean_prior",
    "mean_precision_prior",
    "degrees_of_freedom_prior",
    "covariance_prior",
)
"""The estimator's own hyperparameters, which are those of the conjugate prior."""


OWN_TYPES = "'lkj' or a dict of NumPyro distributions"
"""Component priors that only the no-U-turn sampler has."""


def is_numpyros(component_prior: Any) -> bool:
    """Whether a component prior is one of `OWN_TYPES`."""
    return isinstance(component_prior, dict) or (
        isinstance(component_prior, str) and component_prior == "lkj"
    )


def kind_of(component_prior: Any) -> Kind:
    """The row of the table.

    Raises
    ------
    ValueError
        If there is none.
    """
    if isinstance(component_prior, str) and component_prior in KINDS:
        return KINDS[component_prior]
    for kind in KINDS.values():
        if isinstance(component_prior, kind.of):
            return kind
    raise ValueError(
        f"component_prior must be one of {listed([*KINDS, 'lkj'])}, a ConjugatePrior, an "
        f"IndependentPrior or a HierarchicalPrior, or a dict of NumPyro distributions; got "
        f"{component_prior!r}.{hint(KINDS, component_prior)}"
    )


def check_given(component_prior: Any, given: dict[str, Any]) -> None:
    """There is such a prior, and the estimator's own hyperparameters go with it.

    Raises
    ------
    ValueError
        If there is none, or one is given that has no meaning.
    """
    instead = _instead(component_prior)
    wrong = [name for name in SKLEARN if given[name] is not None]
    if wrong and not (isinstance(component_prior, str) and component_prior == "conjugate"):
        raise ValueError(
            f"{listed(wrong)} belong to component_prior='conjugate', and have no meaning with "
            f"component_prior={component_prior!r}: {instead}."
        )


def _instead(component_prior: Any) -> str:
    """Where such hyperparameters are to be given."""
    if is_numpyros(component_prior):
        return "leave them None, and say it in a dict of NumPyro distributions"
    of = kind_of(component_prior).of
    names = ", ".join(field.name for field in fields(of))
    return f"give them to an object instead, such as component_prior={of.__name__}({names})"


def resolved(component_prior: Any, given: dict[str, Any], seen: Seen) -> Any:
    """The prior with all of its numbers, checked.

    Parameters
    ----------
    component_prior : str or object
    given : dict
        The estimator's own hyperparameters.
    seen : Seen

    Returns
    -------
    ConjugatePrior, IndependentPrior or HierarchicalPrior

    Raises
    ------
    ValueError
        If a number, a shape or a matrix is not as it must be.
    """
    check_given(component_prior, given)
    kind = kind_of(component_prior)
    names = [field.name for field in fields(kind.of)]
    if not isinstance(component_prior, str):
        given = {name: getattr(component_prior, name) for name in names}
    own = {name: given.get(name) for name in names}
    if any(value is None for value in own.values()):
        defaults = kind.defaults(seen)
        own = {name: defaults[name] if value is None else value for name, value in own.items()}
    checked = {name: CHECKS[name](value, name, seen) for name, value in own.items()}
    found = _packed(kind.of, checked, seen.family)
    if kind.of is HierarchicalPrior and is_without_scale(found, seen):
        return held(found, component_prior, seen)
    return found


def _packed(of: type, numbers: dict[str, Any], family: Covariance) -> Any:
    last = fields(of)[-1].name
    return of(**{**numbers, last: priors.packed(numbers[last], family)})


# --- points in a flat -----------------------------------------------------------------------------

FLAT = 1e-6
"""Points whose spread in some direction is so small, relative to the largest, lie in a flat."""


def is_without_scale(prior: HierarchicalPrior, seen: Seen) -> bool:
    """Whether C0 has no posterior, as all points lie in a flat: its density has no integral at 0.

    In m dimensions that the points do not fill, one cluster of N points has a likelihood
    proportional to C0^(-m (N - 1) / 2), and the prior has C0^(m g0) / C0: together they can be
    integrated where N - 1 < 2 g0. An isotropic scale is that of N D numbers.
    """
    X = seen.kept.X / seen.units.scale
    X = X - X.mean(0)
    isotropic = seen.family.isotropic
    degrees = (len(X) - 1) * (X.shape[1] if isotropic else 1)
    if degrees < 2 * prior.scale_shape_prior:
        return False
    spread = np.linalg.norm(X, axis=0) if seen.side == 1 else np.linalg.svd(X, compute_uv=False)
    least = spread.max() if isotropic else spread.min()
    return bool(len(X) < seen.side or least <= FLAT * max(spread.max(), 1e-300))


def has_shrunk(scales: np.ndarray) -> bool:
    """Whether draws of C0 in the sampler's units, [C, S, ...], became those of a flat, or NaN.

    Clusters of points that are equal, or lie in flats that are parallel, do that: it is seen
    only when a chain comes to such a partition.
    """
    some = scales[:, :: max(1, scales.shape[1] // 100)]
    if not np.isfinite(some).all():
        return True
    least = np.linalg.eigvalsh(some)[..., 0] if some.ndim == 5 else some
    return bool((least < FLAT**2).any())


def held(prior: HierarchicalPrior, asked: Any, seen: Seen) -> IndependentPrior:
    """The prior given C0 at its mean, with a warning; for an object that was given an error."""
    flat = (
        "the points, or clusters that they have, do not fill the space (columns that are constant "
        "or combinations of others, rows that come many times): the random scale of this prior has "
        "no posterior there, as the covariances would shrink without end"
    )
    if not isinstance(asked, str):
        raise ValueError(
            f"component_prior={type(asked).__name__}(...): {flat}. Leave such columns out, or use "
            "an IndependentPrior or component_prior='conjugate'."
        )
    warn_user(
        f"component_prior={asked!r}: {flat}. The scale is held at its prior mean. Leave such "
        "columns out, or set component_prior='conjugate'."
    )
    plain = in_core(prior, Standardizer.identity(seen.n_features), seen.family)
    given = plain.given(plain.start(seen.family))
    numbers = given.mean[0], given.covariance[0], float(given.dof[0]), given.scale[0]
    names = (field.name for field in fields(IndependentPrior))
    return _packed(IndependentPrior, dict(zip(names, numbers, strict=True)), seen.family)


# --- in the sampler's units -----------------------------------------------------------------------


def in_core(prior: Any, units: Standardizer, family: Covariance) -> Any:
    """A prior with all of its numbers as the core has it: leaves [1, ...], standardised units."""
    return CORE[type(prior)](prior, units, family)


def _core_mean(prior: Any, units: Standardizer, family: Covariance) -> tuple[Any, Any]:
    size = units.scale
    area = size**2 if family.axis_aligned else np.outer(size, size)
    mean = (prior.mean_prior - units.centre) / size
    return mean[None], (prior.mean_covariance_prior / area)[None]


def _core_independent(prior: IndependentPrior, units: Standardizer, family: Covariance) -> Any:
    scale = np.atleast_1d(prior.covariance_prior) / priors.area_of(units, family)
    dof = np.array([prior.degrees_of_freedom_prior])
    return independent.IndependentPrior(*_core_mean(prior, units, family), dof, scale[None])


def _core_hierarchical(prior: HierarchicalPrior, units: Standardizer, family: Covariance) -> Any:
    rate = np.atleast_1d(prior.scale_rate_prior) * priors.area_of(units, family)
    dof, shape = np.array([2 * prior.covariance_shape_prior]), np.array([prior.scale_shape_prior])
    means = _core_mean(prior, units, family)
    return independent.HierarchicalPrior(*means, dof, shape, rate[None])


CORE = {
    ConjugatePrior: partial(held_components, K=1),
    IndependentPrior: _core_independent,
    HierarchicalPrior: _core_hierarchical,
}
