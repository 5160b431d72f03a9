"""Smooth surfaces over latent space, with derivatives for many points at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from scipy.linalg import solve
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from matgl_fill.errors import InputError

SMOOTHING = 1e-4
"""Smoothing of the thin-plate surface, as in the published analysis."""
SAME_POINT = 1e-7
"""Data points closer than this (range-scaled) count once: the first stays."""
BLOCK = 1_000_000
"""Number of kernel entries held in memory at a time (8 MB in double precision)."""
DIRECT = 16
"""Distances are summed from differences up to this dimension, and expanded to a matrix product above."""
EXACT = 1e-4
"""Expanded squared distances below this, relative to the squared size of the data, are summed from differences."""
TINY = 1e-300


class Surface(Protocol):
    """A twice differentiable field, evaluated at m points of dimension d at once."""

    def value(self, points: np.ndarray) -> np.ndarray:
        """Values (m,) at points (m, d)."""

    def gradient(self, points: np.ndarray) -> np.ndarray:
        """Gradients (m, d) at points (m, d)."""

    def hvp(self, points: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Products (m, k, d) of the Hessian at each point (m, d) with k vectors of its own (m, k, d)."""


def value_gradient(surface: Surface, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (m,) and gradients (m, d) at points (m, d), in one pass where the surface has one."""
    if isinstance(surface, ThinPlateSurface):
        return surface.value_gradient(points)
    return surface.value(points), surface.gradient(points)


def dense_hessian(surface: Surface, points: np.ndarray) -> np.ndarray:
    """Hessians (m, d, d) at points (m, d); meant for low dimension."""
    m, d = points.shape
    return surface.hvp(points, np.broadcast_to(np.eye(d), (m, d, d)))


def distinct(points: np.ndarray, within: float = SAME_POINT) -> np.ndarray:
    """Indices, rising, of the points that have no earlier one within a distance of them."""
    later = cKDTree(points).query_pairs(within, output_type="ndarray").max(axis=1, initial=-1)
    return np.setdiff1d(np.arange(len(points)), later)


class ThinPlateSurface:
    r"""Thin-plate spline through scattered values.

    .. math:: f(x) = \sum_j w_j \|x - x_j\|^2 \log\|x - x_j\| + a + b \cdot x

    with a smoothing term on the diagonal: the function of ``scipy.interpolate.RBFInterpolator`` (kernel
    ``"thin_plate_spline"``, polynomial of degree 1), which has no derivatives. The Hessian has a logarithmic pole at
    every data point, where minima and maxima therefore gather.

    Args:
        points: Distinct data points (n, d), range-scaled.
        values: Values (n,) there.
        smoothing: Weight of the smoothing.

    Raises:
        InputError: The points span fewer than d dimensions.

    Example:
        >>> import numpy as np
        >>> x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> plane = ThinPlateSurface(x, x @ np.array([2.0, 3.0]))
        >>> plane.value(np.array([[0.5, 0.5]])).round(6), plane.gradient(np.array([[0.2, 0.7]])).round(6)
        (array([2.5]), array([[2., 3.]]))
    """

    def __init__(self, points: np.ndarray, values: np.ndarray, smoothing: float = SMOOTHING) -> None:
        n, d = points.shape
        square = np.maximum(cdist(points, points, "sqeuclidean"), TINY)
        if np.linalg.matrix_rank(points - points.mean(axis=0), tol=1e-9) < d:
            raise InputError(f"{n} points span fewer than {d} dimensions; give more points, or method='graph'.")
        system = np.zeros((n + d + 1, n + d + 1))
        system[:n, :n] = square * np.log(square) / 2
        system[np.arange(n), np.arange(n)] += smoothing
        system[:n, n:] = np.column_stack([np.ones(n), points])
        system[n:, :n] = system[:n, n:].T
        solution = solve(system, np.concatenate([values, np.zeros(d + 1)]), overwrite_a=True, check_finite=False)
        self.points = points
        self.weights = solution[:n]
        self.constant, self.slope = solution[n], solution[n + 1 :]
        self._centre = points.mean(axis=0)
        self._centred = np.ascontiguousarray((points - self._centre).T)
        self._norms = (self._centred**2).sum(axis=0)

    def _blocks(self, count: int, vectors: int = 1) -> Iterator[slice]:
        size = max(1, BLOCK // (len(self.points) * vectors))
        return (slice(i, i + size) for i in range(0, count, size))

    def _square(self, x: np.ndarray) -> np.ndarray:
        """Squared distances (m, n), exact also next to a data point."""
        if x.shape[1] <= DIRECT:
            return np.maximum(cdist(x, self.points, "sqeuclidean"), TINY)
        y = x - self._centre
        norms = (y**2).sum(axis=1)
        square = y @ self._centred
        square *= -2
        square += norms[:, None]
        square += self._norms
        i, j = np.nonzero(square < EXACT * (norms.max(initial=0.0) + self._norms.max()))
        square[i, j] = np.maximum(((x[i] - self.points[j]) ** 2).sum(axis=1), TINY)
        return square

    def value(self, points: np.ndarray) -> np.ndarray:
        """Values (m,) at points (m, d)."""
        out = self.constant + points @ self.slope
        for b in self._blocks(len(points)):
            square = self._square(points[b])
            square *= np.log(square)
            out[b] += square @ self.weights / 2
        return out

    def gradient(self, points: np.ndarray) -> np.ndarray:
        """Gradients (m, d) at points (m, d)."""
        return self.value_gradient(points)[1]

    def value_gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (m,) and gradients (m, d) at points (m, d)."""
        values, gradients = self.constant + points @ self.slope, np.tile(self.slope, (len(points), 1))
        for b in self._blocks(len(points)):
            square = self._square(points[b])
            pull = np.log(square)
            square *= pull
            values[b] += square @ self.weights / 2
            pull += 1
            pull *= self.weights
            gradients[b] += pull.sum(axis=1, keepdims=True) * points[b] - pull @ self.points
        return values, gradients

    def hvp(self, points: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Products (m, k, d) of the Hessian at each point (m, d) with k vectors of its own (m, k, d)."""
        out = np.empty(vectors.shape)
        for b in self._blocks(*vectors.shape[:2]):
            x, v = points[b], vectors[b]
            square = self._square(x)
            isotropic = (np.log(square) + 1) @ self.weights
            along = np.einsum("md,mkd->mk", x, v)[:, :, None] - v @ self.points.T
            along *= (2 * self.weights / square)[:, None, :]
            out[b] = isotropic[:, None, None] * v + along.sum(axis=2)[:, :, None] * x[:, None, :] - along @ self.points
        return out
