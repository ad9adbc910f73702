"""ConjugatePrior: the prior of a maximum a posteriori fit, given or scaled by the data."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bayesgmm.core.arrays import Standardizer, float_scope
from bayesgmm.core.conjugate import Hyperparameters, NormalInverseWishart, flat_prior
from bayesgmm.core.covariance import Covariance
from bayesgmm.core.mixture import Mixture
from bayesgmm.core.prior import log_prior, prior_kernel
from bayesgmm.estimators.base import Entered
from bayesgmm.estimators.points import in_float64, in_form, to_standard
from bayesgmm.estimators.priors import (
    ComponentPrior,
    component_prior,
    covariance_of,
    held_prior,
    lifted,
    packed,
)
from bayesgmm.messages import hint

SHRINKAGE = 0.01
"""Points that the prior mean counts for, in the data-scaled prior."""


@dataclass(frozen=True, eq=False)
class ConjugatePrior:
    """Normal-inverse-Wishart prior of the mean and covariance of each component.

    Sigma ~ inverse Wishart(degrees_of_freedom_prior, covariance_prior), and given Sigma the mean
    ~ N(mean_prior, Sigma / mean_precision_prior); along the axes an inverse Gamma
    (degrees_of_freedom_prior / 2, covariance_prior / 2) for each variance. Whatever is None is
    that of the data-scaled prior of Fraley and Raftery (2007). All in the units of the data, with
    scikit-learn's names.

    Parameters
    ----------
    mean_prior : array [D], optional
        The weighted mean of the data.
    mean_precision_prior : float, optional
        0.01: how many points the prior mean counts for.
    degrees_of_freedom_prior : float, optional
        D + 2; above D - 1 (above 0 along the axes).
    covariance_prior : array, optional
        The covariance S of the data over K^(2 / D), the volume of S shared out among K
        components; for a family along the axes its mean variance, tr(S) / D over K^(2 / D).
        [D, D]; [D] for VVI ("diag"), EEI, VEI and EVI; a number for VII ("spherical") and EII.

    References
    ----------
    Fraley and Raftery (2007), *Journal of Classification* 24, 155-181.

    Examples
    --------
    >>> import numpy as np
    >>> from bayesgmm import ConjugatePrior, GaussianMixture
    >>> X = np.array([[0.0], [0.1], [5.0], [5.0]])  # two points are one: no likelihood is largest
    >>> model = GaussianMixture(2, prior=ConjugatePrior(covariance_prior=[[0.5]]), random_state=0)
    >>> model.fit(X).covariances_.ravel().round(2).tolist()
    [0.07, 0.07]
    >>> model.prior_.degrees_of_freedom_prior
    3.0
    """

    mean_prior: Any = None
    mean_precision_prior: float | None = None
    degrees_of_freedom_prior: float | None = None
    covariance_prior: Any = None


def check_prior(prior: Any, reg_covar: Any) -> None:
    """`prior` is None, "data-scaled" or a ConjugatePrior, and the only regularization.

    Raises
    ------
    ValueError
        If it is not.
    """
    if prior is None:
        return
    if not isinstance(prior, ConjugatePrior) and prior != "data-scaled":
        raise ValueError(
            f"prior must be None, 'data-scaled' or a ConjugatePrior, got {prior!r}."
            f"{hint(['data-scaled'], prior)}"
        )
    if isinstance(reg_covar, str | tuple) or reg_covar not in (0, 1e-6):
        raise ValueError(
            f"reg_covar has no part beside a prior, got reg_covar={reg_covar!r}: leave it out, and "
            "put what is to be added to the covariances into ConjugatePrior(covariance_prior=...)."
        )


def resolved(
    prior: Any, kept: Entered, units: Standardizer, family: Covariance, K: int, robust: bool
) -> ConjugatePrior:
    """The prior with all of its numbers.

    Parameters
    ----------
    prior : "data-scaled" or ConjugatePrior
    kept : Entered
        With weights that count points.
    units : Standardizer
    family : Covariance
    K : int
    robust : bool
        Whether medians and median deviations (the units) stand for mean and covariance.

    Returns
    -------
    ConjugatePrior

    Raises
    ------
    ValueError
        If a number, a shape or a matrix is not as it must be.
    """
    given = ConjugatePrior() if isinstance(prior, str) else prior
    mean, precision, dof, scale = (
        given.mean_prior,
        given.mean_precision_prior,
        given.degrees_of_freedom_prior,
        given.covariance_prior,
    )
    D = len(units.scale)
    own = component_prior(
        D,
        family,
        mean=units.centre if mean is None else mean,
        mean_precision=SHRINKAGE if precision is None else precision,
        dof=D + 2.0 if dof is None else dof,
        scale=partial(_shared_out, kept, units, family, K, robust) if scale is None else scale,
    )
    return ConjugatePrior(own.mean, own.mean_precision, own.dof, packed(own.scale, family))


def _shared_out(
    kept: Entered, units: Standardizer, family: Covariance, K: int, robust: bool
) -> Any:
    """Covariance of the points over K^(2 / D), in the family's form and the user's units.

    Along the axes it is the mean variance in every column. Where the points span less than all D
    directions the others get a trifle of the mean variance, without which there is no density.
    """
    D, size = len(units.scale), units.scale
    matrix = np.eye(D) if robust else covariance_of(kept, units, "the data-scaled prior takes")
    if family.axis_aligned:
        variance = np.full(D, np.mean(np.diag(matrix) * size**2))
        variance = np.where(variance > 0, variance, np.mean(size**2)) / K ** (2 / D)
        return variance[:1] if family.isotropic else variance
    return lifted(matrix, kept.dtype) * np.outer(size, size) / K ** (2 / D)


def hyperparameters(
    prior: ConjugatePrior, units: Standardizer, family: Covariance, K: int, dtype: Any
) -> Hyperparameters:
    """A resolved prior in the core's units, for each of K components."""
    components = held_components(prior, units, family, K)
    leaves = [np.asarray(leaf, dtype) for leaf in components]
    weights = flat_prior(family, K, len(units.scale), dtype).weights
    return Hyperparameters(weights, type(components)(*leaves))


def held_components(
    prior: ConjugatePrior, units: Standardizer, family: Covariance, K: int
) -> NormalInverseWishart:
    """The part of `hyperparameters` that is of means and covariances, in float64."""
    own = ComponentPrior(
        np.asarray(prior.mean_prior, np.float64),
        prior.mean_precision_prior,
        prior.degrees_of_freedom_prior,
        np.atleast_1d(np.asarray(prior.covariance_prior, np.float64)),
    )
    return held_prior(own, units, family, K)


def log_density(mixture: Mixture, prior: ConjugatePrior, family: Covariance) -> float:
    """Log density of a mixture [K, D, D] of the user's units.

    Parameters
    ----------
    mixture : Mixture
    prior : ConjugatePrior
        With all of its numbers.
    family : Covariance

    Returns
    -------
    float
    """
    D = mixture.means.shape[1]
    return _density(log_prior, mixture, prior, Standardizer.identity(D), family)


def constant(
    mixture: Mixture, prior: ConjugatePrior, units: Standardizer, family: Covariance
) -> float:
    """What the log density in the user's units has beyond the objective's term in the core's.

    It is the same for every mixture: the normalizing constants and the change of units.
    """
    return log_density(mixture, prior, family) - _density(
        prior_kernel, mixture, prior, units, family
    )


def _density(
    function: Callable,
    mixture: Mixture,
    prior: ConjugatePrior,
    units: Standardizer,
    family: Covariance,
) -> float:
    mixture = in_form(to_standard(in_float64(mixture), units), family)
    with float_scope("float64"):
        whole = hyperparameters(prior, units, family, len(mixture.means), np.float64)
        return float(function(mixture, whole, family))
