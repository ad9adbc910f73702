"""Covariance families: what a component's covariance may be, as a constraint on the reading."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

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
    >>> FAMILIES["full"].n_parameters(K=3, D=2), FAMILIES["tied"].n_parameters(K=3, D=2)
    (9, 3)
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
        """Matrices [K, D, D] with what the family shares averaged: themselves if they are of it."""
        if self.pooled:
            matrices = np.broadcast_to(matrices.mean(0), matrices.shape)
        if not self.axis_aligned:
            return matrices
        eye = np.eye(matrices.shape[-1])
        if self.isotropic:
            return np.trace(matrices, axis1=1, axis2=2)[:, None, None] * eye / len(eye)
        return matrices * eye

    def words(self) -> str:
        """What its matrices are, in words."""
        kind = "a multiple of the identity" if self.isotropic else "diagonal"
        kind = kind if self.axis_aligned else "any"
        return f"{kind}, {'one for all components' if self.pooled else 'one a component'}"

    def n_shared(self, K: int, D: int) -> tuple[int, int]:
        """How many components, and how many features, stand behind one entry of `reduce`."""
        return (K if self.pooled else 1), (D if self.isotropic else 1)


# The families whose every covariance has a conjugate prior of its own: full, diagonal or isotropic,
# by component or shared.
VVV = Covariance("V", "V", "V")
EEE = Covariance("E", "E", "E")
VVI = Covariance("V", "V", "I")
VII = Covariance("V", "I", "I")
EII = Covariance("E", "I", "I")

FAMILIES: dict[str, Covariance] = {
    "full": VVV,
    "tied": EEE,
    "diag": VVI,
    "spherical": VII,
    "VVV": VVV,
    "EEE": EEE,
    "VVI": VVI,
    "VII": VII,
    "E": EII,
    "V": VII,
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
        lambda matrices: np.diagonal(matrices, axis1=1, axis2=2),
        lambda packed, K, D: packed[:, :, None] * np.eye(D, dtype=packed.dtype),
        lambda K, D: (K, D),
    ),
    "spherical": Packing(
        lambda matrices: matrices[:, 0, 0],
        lambda packed, K, D: packed[:, None, None] * np.eye(D, dtype=packed.dtype),
        lambda K, D: (K,),
    ),
}
