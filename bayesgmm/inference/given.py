"""Priors of components that are given as distributions: their keys, their draws, their densities.

A dict has NumPyro distributions of one component by the names of its sites, ``means`` and what a
covariance is made of. NumPyro itself is not needed to read them: they draw (`sample`), have
densities (`log_prob`) and shapes of their own.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from bayesgmm.core.arrays import Array, cholesky, covariances, float_scope
from bayesgmm.core.covariance import FAMILIES, Covariance

# --- the sites ------------------------------------------------------------------------------------

GIVEN = {
    "scales": "standard deviations, [D], [] if all features have one",
    "correlations": "lower Cholesky factor of the correlation matrix, [D, D]",
    "scale_tril": "lower Cholesky factor of the covariance, [D, D]",
    "covariances": "covariance matrix, [D, D]",
    "variances": "variances, [D], [] if all features have one",
}
"""Beside ``means``, [D]: what may be given of one component, alone or the first two together."""

WAYS = {
    False: (("scales", "correlations"), ("scale_tril",), ("covariances",)),
    True: (("scales",), ("variances",)),
}
"""The keys that go together, by whether features are independent."""

READ: dict[tuple[str, ...], Callable] = {
    ("scales", "correlations"): lambda scales, roots: scales[..., None] * roots,
    ("scale_tril",): lambda roots: roots,
    ("covariances",): cholesky,
    ("scales",): lambda scales: scales,
    ("variances",): jnp.sqrt,
}
"""Scales of a mixture from sites that go together."""

SITES: dict[str, Callable[[Array], Array]] = {
    "scales": lambda roots: jnp.sqrt(SITES["variances"](roots)),
    "correlations": lambda roots: roots / SITES["scales"](roots)[..., None],
    "scale_tril": lambda roots: roots,
    "covariances": covariances,
    "variances": lambda roots: jnp.square(roots).sum(-1),
}
"""The other way: sites, but for their shapes, from lower Cholesky factors [..., D, D]."""


def way_of(distributions: dict[str, Any]) -> tuple[str, ...]:
    """The keys beside ``means``, in the order of `READ`."""
    return next(way for way in READ if {"means", *way} == set(distributions))


def one(distribution: Any) -> Any:
    """The distribution of one component, as one event."""
    return distribution.to_event(len(distribution.batch_shape))


def _check_kind(distributions: dict[str, Any]) -> None:
    for name, distribution in distributions.items():
        if not hasattr(distribution, "log_prob"):
            raise ValueError(
                f"component_prior[{name!r}] must be a NumPyro distribution of one component, got "
                f"{distribution!r}."
            )


def check_given(
    distributions: dict[str, Any], covariance_type: str, D: int | None = None
) -> tuple[str, ...]:
    """The keys beside ``means`` of a dict of distributions of one component, checked.

    D is that of ``means`` when not given.

    Raises
    ------
    ValueError
        If they are not keys that go together, or one is no distribution or has another shape.
    """
    _check_kind(distributions)
    family = FAMILIES[covariance_type]
    aligned, isotropic = family.axis_aligned, family.isotropic
    if D is None:
        D = int(np.prod(distributions["means"].shape())) if "means" in distributions else 0
    ways = [("scales",), *WAYS[False][1:]] if D == 1 and not aligned else WAYS[aligned]
    keys = set(distributions)
    way = next((way for way in ways if keys == {"means", *way}), None)
    if way is None:
        choices = "; or ".join(", ".join(f"'{name}'" for name in ("means", *way)) for way in ways)
        raise ValueError(
            f"component_prior, a dict, must have the keys {choices}; got "
            f"{sorted(distributions)}, for covariance_type={covariance_type!r}."
        )
    square = ("correlations", "scale_tril", "covariances")
    for name in ("means", *way):
        wanted = (D, D) if name in square else () if isotropic and name != "means" else (D,)
        found = tuple(distributions[name].shape())
        if found != wanted:
            raise ValueError(
                f"component_prior[{name!r}] must be a distribution of one component, of shape "
                f"{wanted}, got shape {found}."
            )
    return way


# --- draws ----------------------------------------------------------------------------------------


def check_draws(distributions: dict[str, Any]) -> None:
    """All of them can be drawn from.

    Raises
    ------
    ValueError
        If one cannot: an improper one, or one with a density alone.
    """
    _check_kind(distributions)
    for name, distribution in distributions.items():
        try:
            jax.eval_shape(distribution.sample, jr.key(0))
        except NotImplementedError:
            raise ValueError(
                f"component_prior[{name!r}] must be a distribution that can be drawn from, got "
                f"{type(distribution).__name__}, which has no `sample`. Give a proper one, however "
                "wide."
            ) from None


def drawn(
    rng: np.random.Generator,
    distributions: dict[str, Any],
    family: Covariance,
    size: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Means [S, T, D] and scales [S, T, D, D] of S draws of T components, from the prior."""
    S, T = size
    words = rng.integers(2**32, size=2, dtype=np.uint32)
    with float_scope("float64"):
        groups = (S, 1 if family.pooled else T)
        means, scales = map(np.asarray, _mixtures(words, distributions, size, groups))
    D = means.shape[-1]
    if scales.shape[2:] != (D, D):  # standard deviations, one for each feature or for all
        deviations = np.broadcast_to(scales.reshape(*groups, -1), (*groups, D))
        scales = deviations[..., None] * np.eye(D)
    return means, np.broadcast_to(scales, (S, T, D, D))


def _sites(
    words: Array, distributions: dict[str, Any], size: tuple[int, ...], groups: tuple[int, ...]
) -> dict[str, Array]:
    keys = jr.split(jr.wrap_key_data(words, impl="threefry2x32"), len(distributions))
    return {
        name: distributions[name].sample(key, size if name == "means" else groups)
        for name, key in zip(sorted(distributions), keys, strict=True)
    }


@partial(jax.jit, static_argnames=("size", "groups"))
def _mixtures(
    words: Array, distributions: dict[str, Any], size: tuple[int, ...], groups: tuple[int, ...]
) -> tuple[Array, Array]:
    sites, way = _sites(words, distributions, size, groups), way_of(distributions)
    return sites["means"], READ[way](*(sites[name] for name in way))


# --- densities ------------------------------------------------------------------------------------

MEAN_OF, SEED = 10_000, 0
"""Draws over which a log density is averaged, and their seed."""


def log_densities(
    means: np.ndarray, scales: np.ndarray, distributions: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Log densities [S, T] of the covariances, and of the means.

    Those of a covariance are of the sites as they are given: of standard deviations and the factor
    of the correlations, say, and not of the entries of the matrix.

    Parameters
    ----------
    means : ndarray [S, T, D]
    scales : ndarray [S, T, D, D]
        Lower Cholesky factors.
    distributions : dict
    """
    with float_scope("float64"):
        of_covariance, of_means = _log_densities(means, scales, distributions)
        return np.asarray(of_covariance), np.asarray(of_means)


@jax.jit
def _log_densities(
    means: Array, scales: Array, distributions: dict[str, Any]
) -> tuple[Array, Array]:
    of_covariance = jnp.zeros(means.shape[:2])
    for name in way_of(distributions):
        value = SITES[name](scales)
        if distributions[name].shape() == ():  # all features have one
            value = value[..., 0]
        of_covariance += one(distributions[name]).log_prob(value)
    return of_covariance, one(distributions["means"]).log_prob(means)


def mean_log_densities(distributions: dict[str, Any], family: Covariance) -> tuple[float, float]:
    """`log_densities` on average under the prior: a mean over `MEAN_OF` draws of a fixed seed."""
    draws = drawn(np.random.default_rng(SEED), distributions, family, (MEAN_OF, 1))
    of_covariance, of_means = log_densities(*draws, distributions)
    return float(of_covariance.mean()), float(of_means.mean())
