"""Local roughness: a smooth surface over latent space whose maxima are the points to fill."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree

from matgl_fill.errors import InputError
from matgl_fill.roughness.landscape.batches import Batches
from matgl_fill.roughness.network import LENGTHSCALE, StationaryNetwork
from matgl_fill.utils.console import track
from matgl_fill.utils.threads import one_blas_thread

ASCENT_STEPS = 200
"""Largest number of steps of an ascent."""
SETTLED = 1e-6
"""An ascent ends when its step is shorter than this times the surface's separation."""
NEARLY = 1e-2
"""The same of an ascent in single precision, which one in double precision ends."""
BLOCK = 2**21
"""Number of terms held in memory by each thread (16 MB each array)."""
PART = 64
"""Number of ascents that each thread runs together beyond :data:`EXHAUSTIVE` vectors; up to it, all run at once."""
EXHAUSTIVE = 1024
"""Number of vectors up to which ascents start from every one of them; beyond, they start from the highest centres."""
BATCH = 256
"""Number of those centres that are taken at a time."""
GAIN = 2.0
"""Factor by which the next centres must be lower than the last maximum wanted, to end the ascents."""
MANY = 2**28
"""Number of terms above which a surface is summed in single precision."""
STARTS = 2048
"""Largest number of starts, or ten for each maximum wanted if that is more."""

PresetName = Literal["default", "script", "readme"]


@dataclass(frozen=True)
class Preset:
    """Shape of the Gaussians of a vector of length L.

    Attributes:
        centre: Where the Gaussian sits, as a fraction of the vector.
        lengthscale: Length scale of the frustration that scales the height.
        prefactor: Factor of the height.
        ends: Value at half a vector from the centre, relative to the top; None for a deviation of L / 2.
        across: Variance across the vector; None for the square of the width.
        across_per_length: Variance across the vector that is added per length of the vector.
    """

    centre: float = 0.75
    lengthscale: float = LENGTHSCALE
    prefactor: float = 1.0
    ends: float | None = None
    across: float | None = None
    across_per_length: float = 0.0

    def variances(self, length: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
        """Variances (v,) along and across vectors of lengths (v,)."""
        across = (width**2 if self.across is None else self.across) + self.across_per_length * length
        if self.ends is None:
            return np.maximum(length / 2, width) ** 2, across
        return (length / 2) ** 2 / (-2 * np.log(self.ends)), across


PRESETS: dict[str, Preset] = {
    "default": Preset(),
    "script": Preset(lengthscale=80, prefactor=10, ends=0.99, across=0.0, across_per_length=0.25),
    "readme": Preset(ends=0.1, across=1e-4),
}
"""``script`` and ``readme`` are what the published roughness sampling does and what its description says."""


class LocalRoughness:
    r"""Local roughness as a sum of anisotropic Gaussians, one per (minimum -> transition state) vector.

    .. math:: r(x) = \sum_v f_v \exp\left(-\tfrac12 (x - c_v)^T \Lambda_v (x - c_v)\right), \quad
        \Lambda_v = \frac{1}{w_v^2}(1 - u_v u_v^T) + \frac{1}{s_v^2} u_v u_v^T

    with the vector's frustration contribution f, direction u and centre c. Only the rank-1 part of the precision is
    ever formed, so the cost is linear in the dimension; sums run over all vectors in blocks, in double precision up to
    :data:`MANY` terms a call. Beyond, as for a map of 100,000 points, they run in single precision: no term is left
    out, and values differ by up to 3e-5 of themselves, for half of the time.

    The default preset puts c at 0.75 of the vector's length L, as both published ones do: on the climb, where the
    response changes, but on the side of its own minimum, so that the two vectors of a saddle stay apart. Along the
    vector the deviation is s = max(L/2, w). Across it, w is half the typical distance between neighbouring data points:
    two equal Gaussians have two maxima if they are more than 2 w apart, so that the surface resolves what the data
    resolve. A narrower surface would see single points, a wider one blurs neighbouring basins. In many dimensions
    distances concentrate: where the nearest neighbour is nearly as far as any point (white noise in 128), the surface
    has a single maximum and says so; embeddings, with neighbours at a third of the typical distance, have many.

    Args:
        network: Stationary network in range-scaled coordinates.
        preset: Name of the preset: ``"default"``, or the published ``"script"`` (Gaussians at 0.99 half a vector from
            their centre, variance L/4 across, 10 times the frustration at length scale 80) or ``"readme"`` (Gaussians
            at 0.1 half a vector from their centre, variance 1e-4 across).
        width: Width w of the default preset, range-scaled; half the median distance between neighbouring stationary
            points if it is not given.

    Raises:
        InputError: There is no such preset, or a width is given for a published one.

    Example:
        >>> import numpy as np
        >>> net = StationaryNetwork(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([0.0, 0.2]), np.array([[0.5, 0.0]]),
        ...                         np.array([1.0]), np.array([[0, 1]]))
        >>> points, values = LocalRoughness(net, width=0.05).maxima(1)
        >>> points.round(2)
        array([[0.48, 0.  ]])
    """

    def __init__(self, network: StationaryNetwork, preset: PresetName = "default", width: float | None = None) -> None:
        if preset not in PRESETS:
            raise InputError(f"no preset '{preset}' of local roughness; there are {', '.join(PRESETS)}.")
        if width is not None and preset != "default":
            raise InputError(f"preset '{preset}' has its own widths; leave width out.")
        self.preset = preset
        self.width = _spacing(network) / 2 if width is None and preset == "default" else width
        shape = PRESETS[preset]
        start, end, _ = network.vectors()
        self.height = shape.prefactor * network.contributions(shape.lengthscale)
        keep = self.height > 0
        start, end, self.height = start[keep], end[keep], self.height[keep]
        vector = end - start
        length = np.linalg.norm(vector, axis=1)
        along, across = shape.variances(length, self.width or 0.0)
        self.direction = vector / np.maximum(length, 1e-12)[:, None]
        self.centre = start + shape.centre * vector
        self.along = 1 / along
        self.across = 1 / across
        self.separation = float(np.median(np.sqrt(across))) if len(across) else 0.0
        self._origin, self._settled = np.zeros(self.centre.shape[1]), SETTLED

    @cached_property
    def _single(self) -> LocalRoughness:
        """The same surface in single precision, around the mean of its centres."""
        other = copy.copy(self)
        other._origin, other._settled = self.centre.mean(axis=0).astype(np.float32), NEARLY
        other.centre = (self.centre - other._origin).astype(np.float32)
        for name in ("direction", "height", "along", "across"):
            setattr(other, name, getattr(self, name).astype(np.float32))
        return other

    def _terms(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gaussian terms and projections on the vectors, both (m, v)."""
        t = x @ self.direction.T
        t -= (self.centre * self.direction).sum(1)
        q = (x**2).sum(1)[:, None] + (self.centre**2).sum(1)
        q -= 2 * x @ self.centre.T
        t_square = t**2
        q -= t_square
        q *= self.across
        t_square *= self.along
        q += t_square
        q *= -0.5
        np.exp(q, out=q)
        q *= self.height
        return q, t

    def _sums(self, points: np.ndarray) -> np.ndarray:
        return self._terms(points)[0].sum(axis=1)

    def _shifted_sums(self, points: np.ndarray) -> np.ndarray:
        return self._sums((points - self._origin).astype(self.centre.dtype)).astype(float)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Roughness (m,) at scaled points (m, d), summed over all vectors in double precision."""
        size = max(1, BLOCK // max(1, len(self.height)))
        if len(points) * len(self.height) > MANY:
            return _by_parts(self._single._shifted_sums, points, size)
        return self._sums(points) if len(points) <= size else _by_parts(self._sums, points, size)

    def _slope(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradient (m, d), and a bound (m, 1) of the downward curvature of the terms taken as parabolas."""
        g, t = self._terms(points)
        a = g * self.across
        gradient = a @ self.centre - a.sum(axis=1, keepdims=True) * points
        gradient += (g * t * (self.across - self.along)) @ self.direction
        return gradient, (g @ np.maximum(self.across, self.along))[:, None]

    def gradient(self, points: np.ndarray) -> np.ndarray:
        """Gradient (m, d) at scaled points (m, d)."""
        return self._slope(points)[0]

    def _ascend(self, x: np.ndarray) -> np.ndarray:
        """Where mean-shift steps from points (m, d) lead inside the unit box; a step never goes down."""
        low, high = 0 - self._origin, 1 - self._origin
        x = np.clip(x, low, high)
        active = np.arange(len(x))
        for _ in range(ASCENT_STEPS):
            if not len(active):
                break
            gradient, steepness = self._slope(x[active])
            new = np.clip(x[active] + gradient / np.maximum(steepness, np.finfo(x.dtype).tiny), low, high)
            moved = np.linalg.norm(new - x[active], axis=1)
            x[active] = new
            active = active[moved > self._settled * self.separation]
        return x

    def maxima(self, n: int, progress: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Find the n highest distinct maxima inside the unit box, the range of the data.

        Points ascend from the centres of vectors; the highest maxima are kept that are further apart than the (median)
        width of the Gaussians. Where there are fewer than n, fewer are returned.

        Up to :data:`EXHAUSTIVE` vectors, ascents start from every one. With more, they start from the centres where
        the surface is highest, and end once the next centres are lower than the n-th maximum so far by a factor of
        :data:`GAIN`, or after :data:`STARTS` or 10 n of them. They climb in single precision, and the 2 n highest end
        in double precision. That the n highest are found is then no theorem: an
        ascent may gain more. Against all ascents it gave at least 99 of the 100 highest on five synthetic fields of
        over a thousand vectors, and all 100 on 7,764 vectors of 100,000 points in 128 dimensions.

        Args:
            n: Number of maxima wanted.
            progress: Draw a progress bar.

        Returns:
            Scaled points (<= n, d) and their values, falling.
        """
        if len(self.height) <= EXHAUSTIVE:
            x = self._ascend(self.centre)
            return self._distinct(x, self(x), n)
        surface, batches = self._single, self._starts(n)
        points, values = surface.centre[:0], surface.height[:0]
        for first, starts in track(batches, "maxima") if progress else batches:
            if len(values) >= n and first * GAIN < values[n - 1]:
                break
            x = _by_parts(surface._ascend, surface.centre[starts], PART)
            points, values = np.concatenate([points, x]), np.concatenate([values, surface._sums(x)])
            points, values = surface._distinct(points, values, 2 * n)
        x = _by_parts(self._ascend, points + surface._origin, PART)
        return self._distinct(x, self(x), n)

    def _starts(self, n: int) -> list[tuple[float, np.ndarray]]:
        """Batches of vectors from which to ascend, highest centres first, and the highest value of each."""
        value = self(self.centre)
        order = np.argsort(-value, kind="stable")[: max(STARTS, 10 * n)]
        return [(value[b[0]], b) for b in np.split(order, range(BATCH, len(order), BATCH))]

    def _distinct(self, x: np.ndarray, value: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The n highest of points (m, d) that are further apart than the separation, and their values."""
        kept: list[int] = []
        for i in np.argsort(-value, kind="stable"):
            if len(kept) == n:
                break
            if not kept or np.linalg.norm(x[kept] - x[i], axis=1).min() > self.separation:
                kept.append(int(i))
        return x[kept], value[kept]


def _by_parts(job: Callable[[np.ndarray], np.ndarray], points: np.ndarray, size: int) -> np.ndarray:
    """Results of a job for points (m, d), shared among threads in parts of a size."""
    with one_blas_thread():
        return Batches().run("", lambda part: (job(points[part]),), len(points), size)[0]


def _spacing(network: StationaryNetwork) -> float:
    """Median distance between neighbouring stationary points; 1 where there are fewer than two."""
    points = np.unique(np.concatenate([network.minima, network.ts]), axis=0)
    return float(np.median(cKDTree(points).query(points, 2)[0][:, 1])) if len(points) > 1 else 1.0
