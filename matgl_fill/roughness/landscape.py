"""Landscape mode: the stationary points of a smooth surface through the data, as in the published analysis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import Delaunay, cKDTree

from matgl_fill.progress import console
from matgl_fill.roughness.network import StationaryNetwork
from matgl_fill.roughness.stationary import Stationary, descend, follow
from matgl_fill.roughness.surface import Surface, ThinPlateSurface, distinct

SAME_DISTANCE = 0.02
"""Two stationary points are one if within this distance (range-scaled) ..."""
SAME_VALUE = 5e-2
"""... and this difference in value."""
CONVERGED = 1e-5
"""Largest gradient norm of a stationary point, relative to the median gradient norm at the starts."""
POLISHED = 1e-6
"""Gradient norm that the searches aim at, relative likewise."""
REACHED = 0.1
"""Largest distance from the exact stationary point, in search radii."""
HOP = 0.1
"""Shortest basin-hopping step (range-scaled); sparse data take the distance between neighbours."""
NEAREST = 12
"""Transition states are sought between each minimum and this many nearest others."""
IMAGES = 40
"""Points on the line between two minima."""
DESCENT = 0.1
"""Longest step downhill from a transition state, in search radii: longer ones leave the path of steepest descent."""
PUSH = 0.01
"""Displacement from a transition state along its descending mode, in search radii."""
HULL_DIMENSIONS = 6
"""Convex hulls are computed up to this dimension."""

Inside = Callable[[np.ndarray], np.ndarray]


def landscape_network(Z: np.ndarray, response: np.ndarray, seed: int = 0, progress: bool = False) -> StationaryNetwork:
    """Stationary network of the thin-plate surface through a response over latent points.

    Follows Dicks et al. (doi 10.1039/D3ME00189J): data and response scaled to [0, 1], smoothing 1e-4, minima by local
    minimisation from every data point and from basin-hopping steps, minima outside the convex hull of the data left
    out unless a transition state leads to them. Derivatives are analytic, and all searches of a stage run together.

    Args:
        Z: (n, d) latent points, finite. Dimensions without any range are ignored.
        response: (n,) response; of points that coincide the first counts.
        seed: of the basin-hopping steps.
        progress: say on the terminal what runs.

    Returns:
        The network in range-scaled coordinates, values in units of the response's range.

    Raises:
        InputError: the points span fewer dimensions than they have.
    """
    Z, response = np.asarray(Z, dtype=float), np.asarray(response, dtype=float)
    extent = np.ptp(Z, axis=0)
    wide = extent >= 1e-12
    X = (Z - Z.min(axis=0))[:, wide] / extent[wide]
    kept = distinct(X)
    X, y = X[kept], response[kept] - response[kept].min()
    if y.max() > 0:
        surface = ThinPlateSurface(X, y / y.max())
        network = explore(surface, X, seed, hull(X), progress)
    else:
        network = StationaryNetwork(X[:1], y[:1], X[:0], y[:0], np.zeros((0, 2), dtype=int))
    minima, ts = (np.zeros((len(points), len(wide))) for points in (network.minima, network.ts))
    minima[:, wide], ts[:, wide] = network.minima, network.ts
    return StationaryNetwork(minima, network.minima_values, ts, network.ts_values, network.pairs)


def hull(points: np.ndarray) -> Inside | None:
    """Test of membership in the convex hull of the points; None where it is not computable."""
    if not 2 <= points.shape[1] <= HULL_DIMENSIONS:
        return None
    simplices = Delaunay(points)
    return lambda x: simplices.find_simplex(x) >= 0


def explore(
    surface: Surface, starts: np.ndarray, seed: int = 0, inside: Inside | None = None, progress: bool = False
) -> StationaryNetwork:
    """Minima of any surface in the unit box, the transition states between them, and what they connect.

    Stationary points have a gradient norm of at most :data:`CONVERGED` times the median at the starts, over the
    coordinates not held by a bound of the box, and no (minima) or one (transition states) descending mode there.

    Args:
        surface: the field.
        starts: (n, d) points in the unit box from which to search; for data, all of them.
        seed: of the basin-hopping steps.
        inside: membership (m,) of points (m, d) in the trusted region; minima elsewhere are left out unless a
            transition state leads to them.
        progress: say on the terminal what runs.

    Returns:
        The network. The same seed gives the same one.
    """
    search = Search.over(surface, starts)
    _say(progress, f"minima from {len(starts)} points")
    minima = search.minima(starts, np.random.default_rng(seed))
    if inside is not None:
        minima = minima.take(inside(minima.points))
    candidates = np.concatenate([search.lines(minima), starts])
    _say(progress, f"transition states from {len(candidates)} candidates between {len(minima.points)} minima")
    return search.connect(minima, search.transition_states(candidates))


@dataclass(frozen=True)
class Search:
    """A surface with the scales of a search on it.

    Attributes:
        surface: the field.
        radius: longest step.
        hop: length of a basin-hopping step.
        scale: median gradient norm.
    """

    surface: Surface
    radius: float
    hop: float
    scale: float

    @classmethod
    def over(cls, surface: Surface, starts: np.ndarray) -> Search:
        """Scales from the spacing of the starts and the gradients there."""
        spacing = float(np.median(cKDTree(starts).query(starts, 2)[0][:, 1]))
        scale = float(np.median(np.linalg.norm(surface.gradient(starts), axis=1)))
        return cls(surface, max(SAME_DISTANCE / 2, spacing / 4), max(HOP, spacing), scale)

    def _stationary(self, points: np.ndarray, index: int) -> Stationary:
        """Distinct stationary points of an index near the points, by rising value."""
        end = follow(self.surface, points, index, self.radius, POLISHED * self.scale)
        end = end.take(self._valid(end, index))
        return end.take(_distinct_stationary(end.points, end.values))

    def _valid(self, end: Stationary, index: int) -> np.ndarray:
        return end.of_index(index, CONVERGED * self.scale, REACHED * self.radius)

    def minima(self, starts: np.ndarray, rng: np.random.Generator) -> Stationary:
        """Minima from every start and from one basin-hopping step beyond where it ended."""
        first = follow(self.surface, starts, 0, self.radius, POLISHED * self.scale)
        step = rng.normal(size=starts.shape)
        step *= self.hop / np.linalg.norm(step, axis=1, keepdims=True)
        return self._stationary(np.concatenate([first.points, first.points + step]), 0)

    def transition_states(self, candidates: np.ndarray) -> Stationary:
        """Transition states by eigenvector following from candidates (m, d)."""
        return self._stationary(candidates, 1)

    def lines(self, minima: Stationary) -> np.ndarray:
        """Highest places (m, d) of the straight lines between each minimum and its nearest others."""
        points = minima.points
        near = cKDTree(points).query(points, min(NEAREST + 1, len(points)))[1].reshape(len(points), -1)[:, 1:]
        pairs = np.column_stack([np.repeat(np.arange(len(points)), near.shape[1]), near.ravel()])
        a, b = np.unique(np.sort(pairs, axis=1), axis=0).T
        w = np.linspace(0, 1, IMAGES)[:, None]
        line = points[a][:, None] * (1 - w) + points[b][:, None] * w
        value = self.surface.value(line.reshape(-1, points.shape[1])).reshape(len(a), IMAGES)
        top = (value[:, 1:-1] > value[:, :-2]) & (value[:, 1:-1] >= value[:, 2:])
        return line[:, 1:-1][top]

    def connect(self, minima: Stationary, ts: Stationary) -> StationaryNetwork:
        """Network of the minima and of those transition states from which both ways downhill end in a minimum.

        Minima that only these descents found are added.
        """
        push = PUSH * self.radius * ts.mode
        foot = descend(self.surface, np.concatenate([ts.points + push, ts.points - push]), DESCENT * self.radius)
        ends = follow(self.surface, foot, 0, DESCENT * self.radius, POLISHED * self.scale)
        valid = self._valid(ends, 0)
        points, values = list(minima.points), list(minima.values)
        which = np.full(len(ends.points), -1)
        for i in np.flatnonzero(valid):
            known = np.array(points).reshape(-1, ends.points.shape[1])
            same = _same(known, np.array(values), ends.points[i], ends.values[i])
            if same.any():
                distance = np.linalg.norm(known - ends.points[i], axis=1)
                which[i] = np.argmin(np.where(same, distance, np.inf))
            else:
                which[i] = len(points)
                points.append(ends.points[i])
                values.append(ends.values[i])
        pairs = np.sort(which.reshape(2, -1).T, axis=1)
        both = pairs[:, 0] >= 0
        coordinates = np.array(points).reshape(-1, ts.points.shape[1])
        return StationaryNetwork(coordinates, np.array(values), ts.points[both], ts.values[both], pairs[both])


def _same(points: np.ndarray, values: np.ndarray, point: np.ndarray, value: float) -> np.ndarray:
    """(m,) which stationary points are the same as one."""
    return (np.linalg.norm(points - point, axis=1) <= SAME_DISTANCE) & (np.abs(values - value) < SAME_VALUE)


def _distinct_stationary(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Indices, by rising value, of stationary points that differ from every lower one kept."""
    kept: list[int] = []
    for i in np.argsort(values, kind="stable"):
        if not _same(points[kept], values[kept], points[i], values[i]).any():
            kept.append(int(i))
    return np.array(kept, dtype=int)


def _say(progress: bool, text: str) -> None:
    if progress:
        console.print(text, highlight=False)
