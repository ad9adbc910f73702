"""Covariance families: what a component's covariance may be, as a constraint on the reading."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from bayesgmm.core.arrays import Array

Letter = Literal["E", "V", "I"]

COMMON_SCALE = ("EII", "VII", "EEV", "VEV", "EVE", "VVE")
"""Families whose meaning depends on the units of the columns: not closed under a change of one."""


@dataclass(frozen=True)
class Covariance:
    r"""Sigma_k = lambda_k Q_k A_k Q_k^T, each factor Equal, Variable or Identity.

    Volume lambda_k, shape A_k (of determinant 1) and orientation Q_k in the parameterization of
    Celeux and Govaert (1995), *Pattern Recognition* 28, 781-793.

    Attributes
    ----------
    volume, shape, orientation : {"E", "V", "I"}

    Examples
    --------
    >>> from bayesgmm.core import FAMILIES
    >>> FAMILIES["full"].n_parameters(K=3, D=2), FAMILIES["VEV"].n_parameters(K=3, D=2)
    (9, 7)
    """

    volume: Letter
    shape: Letter
    orientation: Letter

    @property
    def axis_aligned(self) -> bool:
        """Whether covariances are diagonal, so that standard deviations [K, D] say it all."""
        return self.orientation == "I"

    @property
    def isotropic(self) -> bool:
        """Whether covariances are multiples of the identity."""
        return self.shape == "I"

    @property
    def pooled(self) -> bool:
        """Whether all components share one covariance, and so one scatter."""
        return "V" not in (self.volume, self.shape, self.orientation)

    @property
    def conjugate(self) -> bool:
        """Whether scatter over a divisor is the estimate: all is shared, or nothing is.

        Then, and only then, an inverse Wishart (or inverse Gamma) prior is conjugate.
        """
        return len({self.volume, self.shape, self.orientation} - {"I"}) == 1

    @property
    def scaling(self) -> str:
        """How points may be scaled without changing the model: by "column", or by one "common"."""
        letters = self.volume + self.shape + self.orientation
        return "common" if letters in COMMON_SCALE else "column"

    def n_parameters(self, K: int, D: int) -> int:
        """Number of free parameters of the covariances of K components in D dimensions."""
        copies = {"E": 1, "V": K, "I": 0}
        return (
            copies[self.volume]
            + copies[self.shape] * (D - 1)
            + copies[self.orientation] * D * (D - 1) // 2
        )

    def reduce(self, scatter: Array) -> Array:
        """Scatter matrices summed over what the family shares.

        Parameters
        ----------
        scatter : [K, D, D], or [K, D] if axis-aligned

        Returns
        -------
        [K, D, D], [K, D], or [K, 1] if isotropic; with one leading entry if pooled.
        """
        if self.isotropic:
            scatter = scatter.sum(-1, keepdims=True)
        return scatter.sum(0, keepdims=True) if self.pooled else scatter

    def nearest(self, matrices: np.ndarray) -> np.ndarray:
        """Matrices [K, D, D] with what the family shares averaged: themselves if they are of it.

        Parameters
        ----------
        matrices : ndarray [K, D, D]
            Symmetric, positive definite.

        Returns
        -------
        ndarray [K, D, D]
        """
        eye = np.eye(matrices.shape[-1])
        if self.axis_aligned:
            matrices = matrices * eye
        if self.isotropic:
            matrices = np.trace(matrices, axis1=1, axis2=2)[:, None, None] * eye / len(eye)
        if self.conjugate:
            return np.broadcast_to(matrices.mean(0), matrices.shape) if self.pooled else matrices
        volume = _volumes(matrices)
        forms = AVERAGES[self.shape + self.orientation](matrices / volume)
        return forms / _volumes(forms) * (volume.mean() if self.volume == "E" else volume)

    def words(self) -> str:
        """What its matrices are, in words."""
        if not self.conjugate:
            said = {"E": "equal", "V": "variable", "I": "axis-aligned"}
            volume, shape, turn = said[self.volume], said[self.shape], said[self.orientation]
            return f"{volume} volume, {shape} shape, {turn} orientation"
        kind = "a multiple of the identity" if self.isotropic else "diagonal"
        kind = kind if self.axis_aligned else "any"
        return f"{kind}, {'one for all components' if self.pooled else 'one a component'}"

    def n_shared(self, K: int, D: int) -> tuple[int, int]:
        """How many components, and how many features, stand behind one entry of `reduce`."""
        return (K if self.pooled else 1), (D if self.isotropic else 1)


def _volumes(matrices: np.ndarray) -> np.ndarray:
    return np.exp(np.linalg.slogdet(matrices)[1] / matrices.shape[-1])[:, None, None]


def blend(matrices: Any) -> Any:
    """A combination [D, D] of matrices [K, D, D] that has the axes common to all, if they have any.

    The factors are irrational multiples of each other, so that axes which differ in a single
    matrix differ in the combination.
    """
    K, D = matrices.shape[0], matrices.shape[-1]
    factors = (1.0 + np.arange(1, K + 1) * GOLDEN % 1.0).astype(matrices.dtype)
    sizes = matrices.trace(axis1=1, axis2=2)
    return ((factors / sizes)[:, None, None] * matrices).sum(0) / D


GOLDEN = (5**0.5 - 1) / 2


def _one_spectrum(forms: np.ndarray) -> np.ndarray:
    values, axes = np.linalg.eigh(forms)
    return (axes * values.mean(0)) @ np.swapaxes(axes, 1, 2)


def _one_set_of_axes(forms: np.ndarray) -> np.ndarray:
    axes = np.linalg.eigh(blend(forms))[1]
    return (axes * np.einsum("ji,kjl,li->ki", axes, forms, axes)[:, None, :]) @ axes.T


AVERAGES: dict[str, Callable] = {
    "EI": lambda forms: np.broadcast_to(forms.mean(0), forms.shape),
    "EE": lambda forms: np.broadcast_to(forms.mean(0), forms.shape),
    "VI": lambda forms: forms,
    "VV": lambda forms: forms,
    "EV": _one_spectrum,
    "VE": _one_set_of_axes,
}
"""By the letters of shape and orientation: averages of what matrices of determinant 1 share."""

MCLUST = "EII VII EEI VEI EVI VVI EEE VEE EVE VVE EEV VEV EVV VVV".split()
"""The names of mclust, which are their letters: volume, shape, orientation."""

FAMILIES: dict[str, Covariance] = {
    "full": Covariance(*"VVV"),
    "tied": Covariance(*"EEE"),
    "diag": Covariance(*"VVI"),
    "spherical": Covariance(*"VII"),
    **{name: Covariance(*name) for name in MCLUST},
    "E": Covariance(*"EII"),
    "V": Covariance(*"VII"),
}

UNIVARIATE = ("E", "V")
"""Names that mclust keeps for data with one feature."""


def pack(name: str, matrices: np.ndarray) -> np.ndarray:
    """Covariances [K, D, D] in the shape in which the family of this name is published.

    Parameters
    ----------
    name : str
        A key of `FAMILIES`. scikit-learn's four names have scikit-learn's shapes: "full"
        [K, D, D], "tied" [D, D], "diag" [K, D], "spherical" [K]; all others [K, D, D].
    matrices : ndarray [K, D, D]

    Returns
    -------
    ndarray
    """
    return PACKING[name].pack(matrices) if name in PACKING else matrices


def unpack(name: str, packed: np.ndarray, K: int, D: int) -> np.ndarray:
    """Covariances [K, D, D] from the shape of `pack`."""
    return PACKING[name].unpack(packed, K, D) if name in PACKING else packed


def packed_shape(name: str, K: int, D: int) -> tuple[int, ...]:
    """The shape of `pack(name, ...)`."""
    return PACKING[name].shape(K, D) if name in PACKING else (K, D, D)


class Packing(NamedTuple):
    """How covariances are published under one name."""

    pack: Callable
    unpack: Callable
    shape: Callable


PACKING = {
    "tied": Packing(
        lambda matrices: matrices[0],
        lambda packed, K, D: np.broadcast_to(packed, (K, D, D)),
        lambda K, D: (D, D),
    ),
    "diag": Packing(
        lambda matrices: matrices.diagonal(axis1=1, axis2=2),
        lambda packed, K, D: packed[:, :, None] * np.eye(D, dtype=packed.dtype),
        lambda K, D: (K, D),
    ),
    "spherical": Packing(
        lambda matrices: matrices[:, 0, 0],
        lambda packed, K, D: packed[:, None, None] * np.eye(D, dtype=packed.dtype),
        lambda K, D: (K,),
    ),
}
