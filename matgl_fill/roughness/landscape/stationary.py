"""Batched search for minima and index-1 saddles of a surface inside the unit box."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from matgl_fill.roughness.landscape.descent import free_coordinates
from matgl_fill.roughness.landscape.surface import TINY, Surface, value_gradient

EXACT_DIMENSIONS = 256
"""Number of dimensions up to which the Hessian is exact."""
SUBSPACE = 24
"""Dimension of the Krylov space that stands for the Hessian in more dimensions."""
STEPS = 150
"""Largest number of Newton steps of a search."""
FLAT = 1e-9
"""Curvature floor relative to the steepest curvature of the point."""
QUIET = 1e-10
"""Predicted change of the value, relative to 1 + value, below which rounding hides it and the slope judges a step."""
TRUST = (0.25, 0.75)
"""Relative error of the predicted change below which the trust radius grows, and above which it shrinks."""


@dataclass(frozen=True)
class Stationary:
    """Points at which searches ended.

    Attributes:
        points: End points (m, d) inside the unit box.
        values: Values (m,) there.
        slope: Gradient norm (m,) over the free coordinates, those not held by a bound.
        distance: Length (m,) of the next Newton step: about how far the stationary point still is.
        curvature: The two lowest curvatures (m, 2) over the free coordinates; inf where there are none.
        mode: Direction (m, d) of the lowest curvature.
    """

    points: np.ndarray
    values: np.ndarray
    slope: np.ndarray
    distance: np.ndarray
    curvature: np.ndarray
    mode: np.ndarray

    def of_index(self, index: int, tolerance: float, within: float) -> np.ndarray:
        """Find which points are stationary with ``index`` descending modes.

        Args:
            index: Number of descending modes, 0 or 1.
            tolerance: Largest gradient norm.
            within: Largest distance from the stationary point; without it, flat tails would pass.

        Returns:
            Mask (m,).
        """
        low, second = self.curvature.T
        bends = (low > 0) if index == 0 else ((low < 0) & (second > 0))
        return bends & (self.slope <= tolerance) & (self.distance <= within)

    def arrays(self) -> tuple[np.ndarray, ...]:
        """Arrays in the order of the attributes."""
        return tuple(getattr(self, f.name) for f in fields(self))

    def take(self, chosen: np.ndarray) -> Stationary:
        """Select the chosen points."""
        return Stationary(*(array[chosen] for array in self.arrays()))


def modes(
    surface: Surface, points: np.ndarray, gradient: np.ndarray, free: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute curvatures and directions over the free coordinates.

    They are exact up to :data:`EXACT_DIMENSIONS`; above, they are Ritz pairs of the Krylov space grown from gradient
    and guess.

    Args:
        surface: The field.
        points: Points (m, d).
        gradient: Gradients (m, d) there.
        free: Mask (m, d) of the free coordinates.
        guess: Directions (m, d) near the lowest mode.

    Returns:
        Curvatures (m, k), rising, inf for fixed coordinates, and directions (m, d, k).
    """
    if points.shape[1] <= EXACT_DIMENSIONS:
        return _exact(surface, points, free)
    return _krylov(surface, points, np.where(free, gradient, 0.0), free, np.where(free, guess, 0.0))


def _exact(surface: Surface, points: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (m, k) and vectors (m, d, k) of the Hessian over the free coordinates, k of them at most."""
    m, d = points.shape
    k = int(free.sum(axis=1).max(initial=1))
    chosen = np.argsort(~free, axis=1, kind="stable")[:, :k]
    used = np.take_along_axis(free, chosen, axis=1)
    units = np.zeros((m, k, d))
    np.put_along_axis(units, chosen[:, :, None], used[:, :, None].astype(float), axis=2)
    hessian = np.take_along_axis(surface.hvp(points, units), chosen[:, None, :].repeat(k, axis=1), axis=2)
    hessian = np.where(used[:, :, None] & used[:, None, :], (hessian + hessian.transpose(0, 2, 1)) / 2, 0.0)
    held = 2 * np.abs(hessian).sum(axis=(1, 2)) + 1
    hessian += np.where(used, 0.0, held[:, None])[:, :, None] * np.eye(k)
    curvature, rotation = np.linalg.eigh(hessian)
    return np.where(curvature > 0.999 * held[:, None], np.inf, curvature), units.transpose(0, 2, 1) @ rotation


def _krylov(
    surface: Surface, points: np.ndarray, gradient: np.ndarray, free: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ritz values (m, k) and vectors (m, d, k) of the block Krylov space of gradient and guess."""
    m, d = points.shape
    basis, image = np.zeros((m, SUBSPACE, d)), np.zeros((m, SUBSPACE, d))
    for k in range(SUBSPACE):
        vector = (gradient, guess)[k] if k < 2 else image[:, k - 2]
        for _ in range(2):
            vector = vector - np.einsum("mkd,mk->md", basis[:, :k], np.einsum("mkd,md->mk", basis[:, :k], vector))
            norm = np.linalg.norm(vector, axis=1, keepdims=True)
            vector = vector / np.maximum(norm, TINY)
        basis[:, k] = vector
        image[:, k] = np.where(free, surface.hvp(points, basis[:, k : k + 1])[:, 0], 0.0)
    small = np.einsum("mkd,mld->mkl", basis, image)
    curvature, rotation = np.linalg.eigh((small + small.transpose(0, 2, 1)) / 2)
    return curvature, np.einsum("mkd,mkl->mdl", basis, rotation)


def follow(
    surface: Surface, points: np.ndarray, index: int, radius: float, tolerance: float, steps: int = STEPS
) -> Stationary:
    """Go to nearby stationary points: downhill along every mode (index 0) or uphill along the lowest one (index 1).

    Newton steps over the modes with a trust radius per point. Coordinates at a bound with descent pointing outwards
    are held, so that stationary points of the box's faces are found as well. Minimisation never accepts a rise.

    Args:
        surface: The field.
        points: Points (m, d) to start from.
        index: Number of descending modes, 0 or 1.
        radius: Length of the first and of the longest step; about the size of the smallest basin.
        tolerance: Gradient norm at which a point is left alone.
        steps: Largest number of steps.

    Returns:
        Where each search ended, converged or not.
    """
    x = np.clip(points, 0.0, 1.0)
    m = len(x)
    value, gradient = value_gradient(surface, x)
    trust = np.full(m, radius)
    guess = gradient.copy()
    active = np.arange(m)
    for _ in range(steps):
        active = active[(_slope(x[active], gradient[active]) > tolerance) & (trust[active] > 1e-13)]
        if not len(active):
            break
        a, g = x[active], gradient[active]
        curvature, direction = modes(surface, a, g, free_coordinates(a, g), guess[active])
        guess[active] = direction[:, :, 0]
        step, predicted = _step(a, g, curvature, direction, index, trust[active])
        new = a + step
        new_value, new_gradient = value_gradient(surface, new)
        error = np.abs((new_value - value[active]) / np.where(predicted == 0, TINY, predicted) - 1)
        quiet = np.abs(predicted) <= QUIET * (1 + np.abs(value[active]))
        quiet &= _slope(new, new_gradient) < _slope(a, g)
        length = np.linalg.norm(step, axis=1)
        good, bad = quiet | (error < TRUST[0]), ~quiet & (error > TRUST[1])
        trust[active] = np.select([bad, good], [length / 3, np.minimum(2 * trust[active], radius)], trust[active])
        accepted = quiet | (new_value < value[active]) if index == 0 else np.ones(len(active), dtype=bool)
        moved = active[accepted]
        x[moved], value[moved], gradient[moved] = new[accepted], new_value[accepted], new_gradient[accepted]
    free = free_coordinates(x, gradient)
    curvature, direction = modes(surface, x, gradient, free, guess)
    slope = np.linalg.norm(gradient * free, axis=1)
    newton = np.einsum("md,mdk->mk", gradient * free, direction) / np.where(curvature == 0, TINY, curvature)
    if curvature.shape[1] == 1:
        curvature = np.column_stack([curvature, np.full(m, np.inf)])
    return Stationary(x, value, slope, np.linalg.norm(newton, axis=1), curvature[:, :2], direction[:, :, 0])


def _slope(points: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Gradient norm (m,) over the free coordinates."""
    return np.linalg.norm(gradient * free_coordinates(points, gradient), axis=1)


def _step(
    x: np.ndarray, g: np.ndarray, curvature: np.ndarray, direction: np.ndarray, index: int, trust: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Newton step (m, d) over the modes, cut to the trust radius and the box, and the change it predicts (m,)."""
    finite = np.isfinite(curvature)
    size = np.where(finite, np.abs(curvature), 0.0)
    size = np.where(finite, np.maximum(size, FLAT * size.max(axis=1, keepdims=True) + TINY), np.inf)
    along = np.einsum("md,mdk->mk", g, direction)
    coefficient = -along / size
    if index == 1:
        coefficient[:, 0] *= -1
    length = np.linalg.norm(coefficient, axis=1)
    coefficient *= np.minimum(1.0, trust / np.maximum(length, TINY))[:, None]
    step = np.clip(x + np.einsum("mk,mdk->md", coefficient, direction), 0.0, 1.0) - x
    taken = np.einsum("md,mdk->mk", step, direction)
    bend = 0.5 * (np.where(finite, curvature, 0.0) * taken**2).sum(axis=1)
    return step, (g * step).sum(axis=1) + bend
