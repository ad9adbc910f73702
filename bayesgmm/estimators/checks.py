"""The boundary: every check of an argument, once, with a message that says the way out."""

from functools import partial
from typing import Any

import numpy as np

from bayesgmm.arguments import check_flag, check_number
from bayesgmm.core.arrays import Standardizer
from bayesgmm.core.covariance import FAMILIES, UNIVARIATE, packed_shape
from bayesgmm.messages import warn_user


def check_finite(X: np.ndarray, names: list | None) -> None:
    """Every value is a number; if not, say where.

    Raises
    ------
    ValueError
        With the rows and columns of the first offenders.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(X.sum(dtype=np.float64)):  # one cheap pass settles the usual case
            return
    bad = ~np.isfinite(X)
    if not bad.any():
        return
    rows, columns = np.nonzero(bad)
    kind = "NaN" if np.isnan(X[bad]).any() else "infinity"
    label = [repr(names[j]) if names else str(j) for j in range(X.shape[1])]
    places = [f"row {i} column {label[j]}" for i, j in zip(rows[:5], columns[:5], strict=True)]
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    way_out = {
        "NaN": "Missing values are not modelled: drop those rows or impute them first.",
        "infinity": "Drop those rows or give finite values.",
    }
    raise ValueError(
        f"Input X contains {kind}: {', '.join(places)}{more} ({len(np.unique(rows))} of {len(X)} "
        f"rows). {way_out[kind]}"
    )


def check_weight(sample_weight: Any, N: int) -> np.ndarray:
    """Weights of N rows, [N] in float64, from one a row or one for all.

    Raises
    ------
    ValueError
        If they are not finite numbers of at least 0, or 0 throughout.
    """
    weight = np.asarray(sample_weight)
    if weight.ndim == 0:
        weight = np.full(N, weight)
    if weight.shape != (N,):
        raise ValueError(f"sample_weight must have shape ({N},), one a row, got {weight.shape}.")
    if weight.dtype.kind not in "buif":
        raise ValueError(f"sample_weight must be numbers, got an array of {weight.dtype}.")
    wrong = np.flatnonzero(~(weight >= 0) | ~np.isfinite(weight))
    if len(wrong):
        raise ValueError(
            "sample_weight must be finite numbers of at least 0; "
            f"row {wrong[0]} has {weight[wrong[0]]} ({len(wrong)} such rows)."
        )
    if not weight.any():
        raise ValueError("sample_weight must not be zero in every row: there is nothing to fit.")
    return weight.astype(np.float64)


def check_scale(units: Standardizer, dtype: Any, names: list[str]) -> None:
    """Variances in the user's units must be numbers of this dtype.

    Raises
    ------
    ValueError
        If a feature's spread is too large or too small for that.
    """
    room = np.sqrt(float(np.finfo(dtype).max)) / 1e4
    for name, scale in zip(names, units.scale, strict=True):
        if not 1 / room < scale < room:
            raise ValueError(
                f"the spread of feature {name!r} is {scale:.1e}: its variance cannot be held in "
                f"{np.dtype(dtype).name}. Give it in another unit."
            )


def check_flags(warm_start: Any, verbose: Any) -> None:
    """`warm_start` is a bool, `verbose` a bool or a whole number.

    Raises
    ------
    ValueError
        If they are not.
    """
    check_flag(warm_start, "warm_start")
    if not isinstance(verbose, bool | np.bool_):
        check_number(verbose, "verbose", integer=True, low=0)


def check_ridge(value: Any) -> None:
    """`reg_covar`: a number, "relative", or ("relative", number).

    Raises
    ------
    ValueError
        If it is none of these.
    """
    if isinstance(value, str) and value == "relative":
        return
    if isinstance(value, tuple) and len(value) == 2 and value[0] == "relative":
        check_number(value[1], "reg_covar[1]", low=0)
        return
    if isinstance(value, str | tuple):
        raise ValueError(
            "reg_covar must be a number of at least 0, 'relative' or ('relative', number), "
            f"got {value!r}."
        )
    check_number(value, "reg_covar", low=0)


def check_components(n_components: int, N: int) -> None:
    """There must be a point for every component.

    Raises
    ------
    ValueError
        If there is not.
    """
    if N < n_components:
        raise ValueError(
            "Expected n_samples >= n_components but got "
            f"n_components = {n_components}, n_samples = {N}. Lower n_components."
        )


def check_univariate(name: str, D: int) -> None:
    """The names "E" and "V" are for one feature.

    Raises
    ------
    ValueError
        If there are more.
    """
    if name in UNIVARIATE and D > 1:
        raise ValueError(
            f"covariance_type={name!r} is for one feature, got {D}. "
            "Choose 'spherical', 'diag', 'tied' or 'full'."
        )


def warn_not_converged(message: str) -> None:
    """A `ConvergenceWarning` that points at the caller of `fit`."""
    from sklearn.exceptions import ConvergenceWarning

    warn_user(message, ConvergenceWarning)


# --- where a fit begins -------------------------------------------------------------------------


def check_start(start: Any, N: int, K: int, dtype: Any) -> np.ndarray:
    """`init_params` given as an array: labels [N], or responsibilities as [K, N].

    Raises
    ------
    ValueError
        If it is neither.
    """
    start = np.asarray(start)
    if start.shape == (N,) and start.dtype.kind in "iu":
        if start.min() < -1 or start.max() >= K:
            raise ValueError(
                f"init_params must be labels from 0 to n_components - 1 = {K - 1}, or -1 for "
                f"none; got labels from {start.min()} to {start.max()}."
            )
        if start.max() < 0:
            raise ValueError("init_params must give at least one point a label, got -1 throughout.")
        return start.astype(np.int32)
    if start.shape == (N, K) and start.dtype.kind in "buif":
        sums = start.sum(axis=1)
        if not np.isfinite(sums).all() or (start < 0).any() or (sums > 1 + 1e-6).any():
            raise ValueError(
                "init_params as responsibilities must be finite, at least 0, and sum to at most 1 "
                f"in each row; the smallest is {start.min():g}, the largest sum {sums.max():g}."
            )
        if not sums.any():
            raise ValueError("init_params must hold at least one responsibility above 0.")
        return np.ascontiguousarray(start.T, dtype)
    raise ValueError(
        f"init_params must be a name, integer labels of shape ({N},) or responsibilities of shape "
        f"({N}, {K}); got {start.dtype} of shape {start.shape}."
    )


def check_shape(value: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """`value` as finite floats of this shape.

    Raises
    ------
    ValueError
        If it has another shape or an entry is not finite.
    """
    if value.shape != shape:
        raise ValueError(
            f"The parameter '{name}' should have the shape of {shape}, but got {value.shape}"
        )
    if not np.isfinite(value).all():
        raise ValueError(f"The parameter '{name}' should be finite, but holds NaN or infinity.")
    return value


def check_weights_init(weights: Any, K: int) -> np.ndarray:
    """Weights [K] that sum to one.

    Raises
    ------
    ValueError
        If they do not.
    """
    weights = check_shape(np.asarray(weights, np.float64), (K,), "weights")
    if (weights < 0).any() or (weights > 1).any():
        raise ValueError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.max():.5f}, min value {weights.min():.5f}"
        )
    if not np.isclose(weights.sum(), 1.0, rtol=0, atol=1e-6):
        raise ValueError(
            "The parameter 'weights' should be normalized, but got sum(weights) = "
            f"{weights.sum():.5f}"
        )
    return weights


def check_means_init(means: Any, K: int, D: int) -> np.ndarray:
    """Means [K, D].

    Raises
    ------
    ValueError
        If they are not.
    """
    return check_shape(np.asarray(means, np.float64), (K, D), "means")


def check_matrices(
    matrices: Any, covariance_type: str, K: int, D: int, kind: str = "precision"
) -> np.ndarray:
    """Precisions or covariances in the shape of the family, positive definite.

    Raises
    ------
    ValueError
        If they are not.
    """
    name = f"{covariance_type} {kind}"
    shape = packed_shape(covariance_type, K, D)
    matrices = check_shape(np.asarray(matrices, np.float64), shape, name)
    if matrices.shape[-2:] != (D, D) or covariance_type in ("diag", "spherical"):
        if (matrices <= 0).any():
            raise ValueError(f"'{name}' should be positive; the smallest is {matrices.min():g}")
        return matrices
    size = abs(matrices).max()  # a tolerance in their own units
    alike = partial(np.allclose, rtol=1e-6, atol=1e-6 * size)
    even = alike(matrices, np.swapaxes(matrices, -1, -2))
    smallest = np.linalg.eigvalsh(matrices).min()
    if not even or smallest <= 0:
        found = f"the smallest eigenvalue is {smallest:g}" if even else "it is not symmetric"
        raise ValueError(f"'{name}' should be symmetric, positive-definite; {found}")
    family = FAMILIES[covariance_type]
    if matrices.ndim == 3 and not alike(matrices, family.nearest(matrices)):
        raise ValueError(
            f"'{name}' should be of the family: {family.words()} for {covariance_type}"
        )
    return matrices
