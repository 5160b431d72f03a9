"""Local roughness: a smooth surface over latent space whose maxima are the places to fill."""

from __future__ import annotations

import numpy as np

from matgl_fill.roughness.network import LENGTHSCALE, StationaryNetwork

CENTRE = 0.75
"""Each Gaussian sits at this fraction of its minimum -> transition-state vector."""
ASCENT_STEPS = 200
BLOCK = 2048


class LocalRoughness:
    r"""Sum of anisotropic Gaussians, one per (minimum -> transition state) vector.

    .. math:: r(x) = \sum_v f_v \exp\left(-\tfrac12 (x - c_v)^T \Lambda_v (x - c_v)\right), \quad
        \Lambda_v = \frac{1}{w^2}(1 - u_v u_v^T) + \frac{1}{s_v^2} u_v u_v^T

    with the vector's frustration contribution f, direction u and centre c at 0.75 of its length L; s = max(L/2, w).
    The width w across the vector is the typical distance between neighbouring data points: below it the surface
    would only see single points, above it neighbouring basins blur. Only the rank-1 part of the precision is ever
    formed, so the cost is linear in the dimension.

    Args:
        network: stationary network in scaled coordinates.
        width: w, in scaled coordinates.

    Example:
        >>> import numpy as np
        >>> net = StationaryNetwork(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([0.0, 0.2]), np.array([[0.5, 0.0]]),
        ...                         np.array([1.0]), np.array([[0, 1]]))
        >>> points, values = LocalRoughness(net, width=0.05).maxima(1)
        >>> points.round(2)
        array([[0.48, 0.  ]])
    """

    def __init__(self, network: StationaryNetwork, width: float) -> None:
        start, end, _ = network.vectors()
        self.height = network.contributions(LENGTHSCALE)
        keep = self.height > 0
        start, end, self.height = start[keep], end[keep], self.height[keep]
        vector = end - start
        length = np.linalg.norm(vector, axis=1)
        self.direction = vector / np.maximum(length, 1e-12)[:, None]
        self.centre = start + CENTRE * vector
        self.along = 1 / np.maximum(length / 2, width) ** 2
        self.across = 1 / width**2

    def _terms(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gaussian terms and projections on the vectors, both (m, v)."""
        square = (x**2).sum(1)[:, None] + (self.centre**2).sum(1) - 2 * x @ self.centre.T
        t = x @ self.direction.T - (self.centre * self.direction).sum(1)
        return self.height * np.exp(-0.5 * (self.across * (square - t**2) + self.along * t**2)), t

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Roughness (m,) at scaled points (m, d)."""
        blocks = np.array_split(points, max(1, len(points) // BLOCK))
        return np.concatenate([self._terms(b)[0].sum(axis=1) for b in blocks])

    def gradient(self, points: np.ndarray) -> np.ndarray:
        """Gradient (m, d) at scaled points (m, d)."""
        g, t = self._terms(points)
        pull = g @ self.centre - g.sum(axis=1, keepdims=True) * points
        return self.across * pull + (g * t * (self.across - self.along)) @ self.direction

    def maxima(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The n highest distinct maxima.

        Ascends from every centre by mean-shift steps (gradient of the logarithm times the squared width), then keeps
        the highest that are further apart than the width; where there are fewer than n, fewer are returned.

        Returns:
            (<= n, d) scaled points and their values, falling.
        """
        x = self.centre.copy()
        for _ in range(ASCENT_STEPS):
            value = np.maximum(self(x), 1e-300)[:, None]
            x = x + self.gradient(x) / (value * self.across)
        value = self(x)
        kept: list[int] = []
        for i in np.argsort(-value, kind="stable"):
            if len(kept) == n:
                break
            if not kept or np.linalg.norm(x[kept] - x[i], axis=1).min() > 1 / np.sqrt(self.across):
                kept.append(int(i))
        return x[kept], value[kept]
