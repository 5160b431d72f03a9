"""Batched ways downhill inside the unit box, on values and gradients alone."""

from __future__ import annotations

import numpy as np

from matgl_fill.roughness.landscape.surface import TINY, Surface, value_gradient

MEMORY = 8
"""Number of steps that the quasi-Newton model remembers."""
MINIMISE_STEPS = 400
"""Largest number of steps of a minimisation."""
SUFFICIENT = 1e-4
"""Fall demanded of a step, relative to what the slope promises."""
FIRST = 0.1
"""First step of a minimisation, relative to the longest."""
DESCENT_STEPS = 2000
"""Largest number of steps of a path of steepest descent."""
SHORTEST = 0.01
"""Step at which a path of steepest descent ends, relative to the longest."""


def free_coordinates(points: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Mask (m, d) that is false where a coordinate sits at a bound of the unit box and descent would leave the box."""
    return ~((points <= 0) & (gradient > 0) | (points >= 1) & (gradient < 0))


def minimise(
    surface: Surface, points: np.ndarray, longest: float, tolerance: float, steps: int = MINIMISE_STEPS
) -> np.ndarray:
    """Minimise from many points at once by projected L-BFGS (Nocedal, doi 10.1090/S0025-5718-1980-0572855-7).

    The model acts on the free coordinates, the step is cut to the box, and only falling values are accepted. It needs
    one value and gradient a step, where a Newton step needs the curvatures.

    Args:
        surface: The field.
        points: Points (m, d) to start from.
        longest: Length of the longest step.
        tolerance: Gradient norm over the free coordinates at which a point is left alone.
        steps: Largest number of steps.

    Returns:
        Ends (m, d); those that did not converge are near a minimum.
    """
    x = np.clip(points, 0.0, 1.0)
    value, gradient = value_gradient(surface, x)
    moves, changes = np.zeros((2, MEMORY, *x.shape))
    allowed = np.full(len(x), FIRST * longest)
    active = np.arange(len(x))
    for _ in range(steps):
        free = free_coordinates(x[active], gradient[active])
        unsettled = (np.linalg.norm(gradient[active] * free, axis=1) > tolerance) & (allowed[active] > 1e-13)
        active, free = active[unsettled], free[unsettled]
        if not len(active):
            break
        a, g = x[active], gradient[active]
        step = -_inverse_hessian(g * free, moves[:, active] * free, changes[:, active] * free) * free
        step = np.where((step * g).sum(axis=1, keepdims=True) < 0, step, -g * free)
        unlearned = ~moves[-1, active].any(axis=1)
        size = np.linalg.norm(step, axis=1)
        scale = np.where(unlearned, np.inf, 1.0)
        step *= np.minimum(scale, allowed[active] / np.maximum(size, TINY))[:, None]
        new = np.clip(a + step, 0.0, 1.0)
        step = new - a
        new_value, new_gradient = value_gradient(surface, new)
        falls = new_value <= value[active] + SUFFICIENT * np.minimum((g * step).sum(axis=1), 0.0)
        falls &= new_value < value[active]
        allowed[active] = np.where(falls, np.minimum(longest, 4 * allowed[active]), np.linalg.norm(step, axis=1) / 4)
        moved, stuck = active[falls], active[~falls]
        change = new_gradient[falls] - g[falls]
        _remember(moves, changes, moved, step[falls], change)
        forget = stuck[allowed[stuck] < 1e-4 * longest]
        moves[:, forget] = changes[:, forget] = 0.0
        x[moved], value[moved], gradient[moved] = new[falls], new_value[falls], new_gradient[falls]
    return x


def _remember(moves: np.ndarray, changes: np.ndarray, at: np.ndarray, move: np.ndarray, change: np.ndarray) -> None:
    """Shift the newest step into the memory of each point; forget everything where the surface bends downwards."""
    bends = (move * change).sum(axis=1) > 1e-10 * np.linalg.norm(move, axis=1) * np.linalg.norm(change, axis=1)
    for memory, newest in ((moves, move), (changes, change)):
        memory[:-1, at[bends]] = memory[1:, at[bends]]
        memory[-1, at[bends]] = newest[bends]
        memory[:, at[~bends]] = 0.0


def _inverse_hessian(g: np.ndarray, moves: np.ndarray, changes: np.ndarray) -> np.ndarray:
    """Two-loop product (m, d) of the inverse quasi-Newton Hessian with a vector (m, d); the identity at first."""
    curvature = (moves * changes).sum(axis=2)
    used = curvature > 1e-300
    rho = np.where(used, 1 / np.where(used, curvature, 1.0), 0.0)
    q = g.copy()
    alpha = np.zeros(rho.shape)
    for k in reversed(range(len(moves))):
        alpha[k] = rho[k] * (moves[k] * q).sum(axis=1)
        q -= alpha[k][:, None] * changes[k]
    square = (changes[-1] ** 2).sum(axis=1)
    q *= np.where(used[-1], curvature[-1] / np.where(used[-1], square, 1.0), 1.0)[:, None]
    for k in range(len(moves)):
        beta = rho[k] * (changes[k] * q).sum(axis=1)
        q += (alpha[k] - beta)[:, None] * moves[k]
    return q


def descend(surface: Surface, points: np.ndarray, longest: float) -> np.ndarray:
    """Follow paths of steepest descent inside the unit box until they no longer fall.

    Steps along the gradient never exceed ``longest`` and halve whenever the value would rise.

    Args:
        surface: The field.
        points: Points (m, d) to start from.
        longest: Length of the longest step.

    Returns:
        Feet (m, d) of the paths, near minima.
    """
    x = np.clip(points, 0.0, 1.0)
    value, gradient = value_gradient(surface, x)
    step = np.full(len(x), SHORTEST * longest * 10)
    active = np.arange(len(x))
    for _ in range(DESCENT_STEPS):
        if not len(active):
            break
        a = x[active]
        downhill = gradient[active] * free_coordinates(a, gradient[active])
        norm = np.linalg.norm(downhill, axis=1)
        new = np.clip(a - (step[active] / np.maximum(norm, TINY))[:, None] * downhill, 0.0, 1.0)
        new_value, new_gradient = value_gradient(surface, new)
        falls = new_value < value[active]
        moved = active[falls]
        x[moved], value[moved], gradient[moved] = new[falls], new_value[falls], new_gradient[falls]
        step[active] = np.where(falls, np.minimum(1.5 * step[active], longest), step[active] / 2)
        active = active[step[active] > SHORTEST * longest]
    return x
