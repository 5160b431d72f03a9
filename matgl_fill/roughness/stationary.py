"""Batched search for minima and index-1 saddles of a surface inside the unit box."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from matgl_fill.roughness.surface import TINY, Surface

SUBSPACE = 24
"""Dimension of the Krylov space that stands for the Hessian; below it, the Hessian is exact."""
STEPS = 150
DESCENT_STEPS = 2000
SHORTEST = 0.01
"""Step at which a path of steepest descent ends, relative to the longest."""
FLAT = 1e-9
"""Curvature floor relative to the steepest curvature of the point."""
TRUST = (0.25, 0.75)
"""Relative error of the predicted change below which the trust radius grows, and above which it shrinks."""


@dataclass(frozen=True)
class Stationary:
    """Where a search ended.

    Attributes:
        points: (m, d) inside the unit box.
        values: (m,).
        slope: (m,) gradient norm over the free coordinates, those not held by a bound.
        distance: (m,) length of the next Newton step: about how far the stationary point still is.
        curvature: (m, 2) the two lowest curvatures over the free coordinates; inf where there are none.
        mode: (m, d) direction of the lowest curvature.
    """

    points: np.ndarray
    values: np.ndarray
    slope: np.ndarray
    distance: np.ndarray
    curvature: np.ndarray
    mode: np.ndarray

    def of_index(self, index: int, tolerance: float, within: float) -> np.ndarray:
        """Which points are stationary, with ``index`` descending modes.

        Args:
            index: 0 or 1.
            tolerance: largest gradient norm.
            within: largest distance from the stationary point; without it, flat tails would pass.

        Returns:
            (m,) mask.
        """
        low, second = self.curvature.T
        bends = (low > 0) if index == 0 else ((low < 0) & (second > 0))
        return bends & (self.slope <= tolerance) & (self.distance <= within)

    def take(self, chosen: np.ndarray) -> Stationary:
        """The chosen points."""
        return Stationary(*(getattr(self, f.name)[chosen] for f in fields(self)))


def free_coordinates(points: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """(m, d) false where a coordinate sits at a bound of the unit box and descent would leave the box."""
    return ~((points <= 0) & (gradient > 0) | (points >= 1) & (gradient < 0))


def modes(
    surface: Surface, points: np.ndarray, gradient: np.ndarray, free: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Curvatures and directions over the free coordinates.

    Exact up to :data:`SUBSPACE` dimensions; above, Ritz pairs of the Krylov space grown from gradient and guess.

    Args:
        surface: the field.
        points: (m, d).
        gradient: (m, d).
        free: (m, d) mask.
        guess: (m, d) directions near the lowest mode.

    Returns:
        curvatures (m, k), rising, inf for fixed coordinates, and directions (m, d, k).
    """
    m, d = points.shape
    if d <= SUBSPACE:
        hessian = surface.hvp(points, np.broadcast_to(np.eye(d), (m, d, d)))
        hessian = np.where(free[:, :, None] & free[:, None, :], (hessian + hessian.transpose(0, 2, 1)) / 2, 0.0)
        held = 2 * np.abs(hessian).sum(axis=(1, 2)) + 1
        hessian += np.where(free, 0.0, held[:, None])[:, :, None] * np.eye(d)
        curvature, direction = np.linalg.eigh(hessian)
        return np.where(curvature > 0.999 * held[:, None], np.inf, curvature), direction
    return _krylov(surface, points, np.where(free, gradient, 0.0), free, np.where(free, guess, 0.0))


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
        surface: the field.
        points: (m, d) starts.
        index: 0 or 1.
        radius: first and longest step; about the size of the smallest basin.
        tolerance: gradient norm at which a point is left alone.
        steps: at most.

    Returns:
        Where each search ended, converged or not.
    """
    x = np.clip(points, 0.0, 1.0)
    m, d = x.shape
    value, gradient = surface.value(x), surface.gradient(x)
    trust = np.full(m, radius)
    guess = gradient.copy()
    active = np.arange(m)
    for _ in range(steps):
        free = free_coordinates(x[active], gradient[active])
        active = active[np.linalg.norm(gradient[active] * free, axis=1) > tolerance]
        active = active[trust[active] > 1e-13]
        if not len(active):
            break
        a, g = x[active], gradient[active]
        curvature, direction = modes(surface, a, g, free_coordinates(a, g), guess[active])
        guess[active] = direction[:, :, 0]
        step, predicted = _step(a, g, curvature, direction, index, trust[active])
        new = a + step
        new_value = surface.value(new)
        error = np.abs((new_value - value[active]) / np.where(predicted == 0, TINY, predicted) - 1)
        noise = np.abs(new_value - value[active]) <= 1e-12 * (1 + np.abs(new_value))
        length = np.linalg.norm(step, axis=1)
        good, bad = noise | (error < TRUST[0]), ~noise & (error > TRUST[1])
        trust[active] = np.select([bad, good], [length / 3, np.minimum(2 * trust[active], radius)], trust[active])
        accepted = noise | (new_value < value[active]) if index == 0 else np.ones(len(active), dtype=bool)
        moved = active[accepted]
        x[moved], value[moved] = new[accepted], new_value[accepted]
        gradient[moved] = surface.gradient(x[moved])
    free = free_coordinates(x, gradient)
    curvature, direction = modes(surface, x, gradient, free, guess)
    slope = np.linalg.norm(gradient * free, axis=1)
    newton = np.einsum("md,mdk->mk", gradient * free, direction) / np.where(curvature == 0, TINY, curvature)
    if d == 1:
        curvature = np.column_stack([curvature, np.full(m, np.inf)])
    return Stationary(x, value, slope, np.linalg.norm(newton, axis=1), curvature[:, :2], direction[:, :, 0])


def descend(surface: Surface, points: np.ndarray, longest: float) -> np.ndarray:
    """Paths of steepest descent inside the unit box, followed until they no longer fall.

    Steps along the gradient never exceed ``longest`` and halve whenever the value would rise.

    Args:
        surface: the field.
        points: (m, d) starts.
        longest: step.

    Returns:
        Feet (m, d) of the paths, near minima.
    """
    x = np.clip(points, 0.0, 1.0)
    value = surface.value(x)
    step = np.full(len(x), SHORTEST * longest * 10)
    active = np.arange(len(x))
    for _ in range(DESCENT_STEPS):
        if not len(active):
            break
        a = x[active]
        gradient = surface.gradient(a)
        gradient *= free_coordinates(a, gradient)
        norm = np.linalg.norm(gradient, axis=1)
        new = np.clip(a - (step[active] / np.maximum(norm, TINY))[:, None] * gradient, 0.0, 1.0)
        new_value = surface.value(new)
        falls = new_value < value[active]
        moved = active[falls]
        x[moved], value[moved] = new[falls], new_value[falls]
        step[active] = np.where(falls, np.minimum(1.5 * step[active], longest), step[active] / 2)
        active = active[step[active] > SHORTEST * longest]
    return x


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
