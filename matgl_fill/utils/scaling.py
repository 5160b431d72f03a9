"""Coordinates in which every dimension counts alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)


@dataclass(frozen=True)
class Scaling(Generic[Array]):
    """The change of coordinates x = (z - origin) / extent, one origin and one extent for every dimension.

    Attributes:
        origin: Point (d,) that becomes zero.
        extent: Length (d,) that becomes one; infinite for a dimension that is to be zero throughout.
    """

    origin: Array
    extent: Array

    @staticmethod
    def of(Z: np.ndarray, floor: float = 1e-9, narrow: float | None = None) -> Scaling[np.ndarray]:
        """Scale points to mean 0 and standard deviation 1.

        Args:
            Z: Points (n, d).
            floor: Deviation up to which a dimension counts as constant.
            narrow: Extent of constant dimensions; ``floor`` if not given.
        """
        return Scaling(Z.mean(axis=0), _raised(Z.std(axis=0), floor, narrow))

    @staticmethod
    def of_range(Z: np.ndarray, floor: float = 1e-12, narrow: float | None = np.inf) -> Scaling[np.ndarray]:
        """Scale the range of points to the unit cube.

        Args:
            Z: Points (n, d).
            floor: Range up to which a dimension counts as constant.
            narrow: Extent of constant dimensions, which are zero throughout by default; None for ``floor``.
        """
        return Scaling(Z.min(axis=0), _raised(np.ptp(Z, axis=0), floor, narrow))

    def __call__(self, Z: Array) -> Array:
        """Points (..., d) in the scaled coordinates."""
        return (Z - self.origin) / self.extent

    def inverse(self: Scaling[np.ndarray], X: np.ndarray) -> np.ndarray:
        """Points (..., d) in the original coordinates; they lie at the origin where the extent is infinite."""
        return X * np.where(np.isfinite(self.extent), self.extent, 0.0) + self.origin

    def like(self: Scaling[Tensor], points: Tensor) -> Scaling[Tensor]:
        """The same scaling on the device of some points."""
        return Scaling(self.origin.to(points.device), self.extent.to(points.device))

    def tensors(
        self: Scaling[np.ndarray], dtype: torch.dtype, device: torch.device | str | None = None
    ) -> Scaling[Tensor]:
        """The same scaling for tensors of a given precision and device."""
        return Scaling(
            torch.as_tensor(self.origin, dtype=dtype, device=device),
            torch.as_tensor(self.extent, dtype=dtype, device=device),
        )


def _raised(extent: np.ndarray, floor: float, narrow: float | None) -> np.ndarray:
    """Extents (d,), those that are not above ``floor`` replaced."""
    extent[~(extent > floor)] = floor if narrow is None else narrow
    return extent
