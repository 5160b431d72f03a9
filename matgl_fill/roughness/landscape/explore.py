"""Landscape mode: the stationary points of a smooth surface through the data, as in the published analysis."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import Delaunay, cKDTree

from matgl_fill.roughness.landscape import descent, stationary
from matgl_fill.roughness.landscape.batches import Arrays, Batches
from matgl_fill.roughness.landscape.descent import descend, free_coordinates, minimise
from matgl_fill.roughness.landscape.stationary import Stationary, follow
from matgl_fill.roughness.landscape.surface import Surface, ThinPlateSurface, distinct, value_gradient
from matgl_fill.roughness.network import StationaryNetwork
from matgl_fill.utils.checkpoint import Checkpoint
from matgl_fill.utils.console import console
from matgl_fill.utils.hashing import hash_parts
from matgl_fill.utils.scaling import Scaling
from matgl_fill.utils.threads import one_blas_thread

SAME_DISTANCE = 0.02
"""Largest distance (range-scaled) of two stationary points that count as one, see also ``SAME_VALUE``."""
SAME_VALUE = 5e-2
"""Largest difference in value of two stationary points that count as one."""
CONVERGED = 1e-5
"""Largest gradient norm of a stationary point, relative to the median gradient norm at the starts."""
POLISHED = 1e-6
"""Gradient norm that the searches aim at, relative to the median gradient norm at the starts."""
REACHED = 0.1
"""Largest distance from the exact stationary point, in search radii."""
HOP = 0.1
"""Shortest basin-hopping step (range-scaled); sparse data take the distance between neighbours."""
NEWTON_DIMENSIONS = 3
"""Up to this many dimensions every search steps by curvatures, for the tiny wells at data points; above, minimisations
go by L-BFGS and curvatures only polish the distinct ends."""
NEAREST = 12
"""Number of nearest other minima between which and each minimum transition states are sought."""
PAIRS = 256_000
"""Largest number of pairs of minima times the dimension; the nearest neighbours of all minima come first."""
IMAGES = 40
"""Number of points on the line between two minima."""
DESCENT = 0.1
"""Longest step downhill from a transition state, in search radii: longer ones leave the path of steepest descent."""
PUSH = 0.01
"""Displacement from a transition state along its descending mode, in search radii."""
LOW_DIMENSIONS = 6
"""Up to this many dimensions convex hulls are computed, and transition states are sought from the data points too."""
BATCH = 256
"""Number of searches that run together; a checkpoint is written after each batch."""
MINIMISATION, FOLLOWING = 60, 40
"""Steps of a minimisation and of an eigenvector following, for estimates of time."""
FORMAT = 2
"""Version of the checkpoints."""

Inside = Callable[[np.ndarray], np.ndarray]
"""A function of points (m, d) to their membership (m,) in a region."""


def landscape_network(
    Z: np.ndarray,
    response: np.ndarray,
    seed: int = 0,
    progress: bool = False,
    *,
    checkpoint: str | Path | None = None,
) -> StationaryNetwork:
    """Find the stationary network of the thin-plate surface through a response over latent points.

    The method follows Dicks et al. (doi 10.1039/D3ME00189J): data and response are scaled to [0, 1], the smoothing is
    1e-4, minima come by local minimisation from every data point and from basin-hopping steps, and minima outside the
    convex hull of the data are left out unless a transition state leads to them. Derivatives are analytic, and searches
    run in batches on as many threads as ``torch.get_num_threads()``; the network does not depend on their number.

    Args:
        Z: Latent points (n, d), finite. Dimensions without any range are ignored.
        response: Response (n,); of points that coincide the first counts.
        seed: Seed of the basin-hopping steps.
        progress: Show on the terminal what runs and about how long, and draw progress bars.
        checkpoint: File that is written after every batch of searches. A run that finds it there goes on from it and
            ends with the bits of an uninterrupted one.

    Returns:
        The network in range-scaled coordinates, values in units of the response's range.

    Raises:
        InputError: The points span fewer dimensions than they have, or the checkpoint is of other data, another seed
            or other settings.
    """
    Z, response = np.asarray(Z, dtype=float), np.asarray(response, dtype=float)
    scaling = Scaling.of_range(Z)
    wide = np.isfinite(scaling.extent)
    X = scaling(Z)[:, wide]
    kept = distinct(X)
    X, y = X[kept], response[kept] - response[kept].min()
    if y.max() > 0:
        with one_blas_thread():
            surface = ThinPlateSurface(X, y / y.max())
        network = explore(surface, X, seed, hull(X), progress, checkpoint=checkpoint)
    else:
        network = StationaryNetwork(X[:1], y[:1], X[:0], y[:0], np.zeros((0, 2), dtype=int))
    minima, ts = (np.zeros((len(points), len(wide))) for points in (network.minima, network.ts))
    minima[:, wide], ts[:, wide] = network.minima, network.ts
    return StationaryNetwork(minima, network.minima_values, ts, network.ts_values, network.pairs)


def hull(points: np.ndarray) -> Inside | None:
    """Make a test of membership in the convex hull of points (n, d); None where the hull is not computable."""
    if not 2 <= points.shape[1] <= LOW_DIMENSIONS:
        return None
    simplices = Delaunay(points)
    return lambda x: simplices.find_simplex(x) >= 0


def explore(
    surface: Surface,
    starts: np.ndarray,
    seed: int = 0,
    inside: Inside | None = None,
    progress: bool = False,
    *,
    checkpoint: str | Path | None = None,
) -> StationaryNetwork:
    """Find the minima of any surface in the unit box, and the transition states that connect them.

    Stationary points have a gradient norm of at most :data:`CONVERGED` times the median at the starts, over the
    coordinates not held by a bound of the box, and no (minima) or one (transition states) descending mode there.
    Transition states are sought from the highest points of straight lines between near minima: relaxing the lines to
    strings of images first found one more of the 620 published ones, and at most 3 % more in 128 dimensions, at 2.5
    to 14 times the processor time.

    Args:
        surface: The field.
        starts: Points (n, d) in the unit box from which to search; for data, all of them.
        seed: Seed of the basin-hopping steps.
        inside: Membership in the trusted region; minima elsewhere are left out unless a transition state leads to them.
        progress: Show on the terminal what runs and about how long, and draw progress bars.
        checkpoint: File as in :func:`landscape_network`.

    Returns:
        The network. The same seed gives the same one.

    Raises:
        InputError: The checkpoint is of another surface, other starts, another seed or other settings.
    """
    with one_blas_thread():
        field = value_gradient(surface, starts)
        key = hash_parts(starts.shape, starts, *field, seed, inside is None, _settings())
        batches = Batches(Checkpoint(checkpoint, key, "the analysis of the landscape"), progress)
        search = Search.over(surface, starts, field[1], batches)
        search.say(f"minima from {len(starts)} points in {starts.shape[1]} dimensions", starts, 2 * MINIMISATION, 1)
        minima = search.minima(starts, np.random.default_rng(seed))
        if inside is not None:
            minima = minima.take(inside(minima.points))
        candidates = search.lines(minima)
        if starts.shape[1] <= LOW_DIMENSIONS:
            candidates = np.concatenate([candidates, starts])
        between = f"transition states from {len(candidates)} candidates between {len(minima.points)} minima"
        search.say(between, candidates, FOLLOWING, 2)
        return search.connect(minima, search.transition_states(candidates))


@dataclass(frozen=True)
class Search:
    """A surface with the scales of a search on it.

    Attributes:
        surface: The field.
        radius: Length of the longest step.
        hop: Length of a basin-hopping step.
        scale: Median gradient norm at the starts.
        batches: Runner of the searches.
    """

    surface: Surface
    radius: float
    hop: float
    scale: float
    batches: Batches

    @classmethod
    def over(cls, surface: Surface, starts: np.ndarray, gradient: np.ndarray, batches: Batches) -> Search:
        """Take the scales from the spacing of the starts and the gradients there."""
        spacing = float(np.median(cKDTree(starts).query(starts, 2)[0][:, 1]))
        scale = float(np.median(np.linalg.norm(gradient, axis=1)))
        return cls(surface, max(SAME_DISTANCE / 2, spacing / 4), max(HOP, spacing), scale, batches)

    def _follow(self, points: np.ndarray, index: int, radius: float) -> Stationary:
        return follow(self.surface, points, index, radius, POLISHED * self.scale)

    def _valid(self, end: Stationary, index: int) -> np.ndarray:
        return end.of_index(index, CONVERGED * self.scale, REACHED * self.radius)

    def _stationary(self, points: np.ndarray, index: int) -> Stationary:
        """Distinct stationary points of an index near the points, by rising value."""
        end = self._follow(points, index, self.radius)
        return _distinct(end.take(self._valid(end, index)))

    def _lowest(self, points: np.ndarray) -> np.ndarray:
        """Where minimisations from the points end."""
        if points.shape[1] <= NEWTON_DIMENSIONS:
            return self._follow(points, 0, self.radius).points
        return minimise(self.surface, points, self.radius, POLISHED * self.scale)

    def minima(self, starts: np.ndarray, rng: np.random.Generator) -> Stationary:
        """Find minima from every start, and from one basin-hopping step beyond where that search ended."""
        step = rng.normal(size=starts.shape)
        step *= self.hop / np.linalg.norm(step, axis=1, keepdims=True)

        def job(batch: slice) -> Arrays:
            first = self._lowest(starts[batch])
            ends = np.concatenate([first, self._lowest(first + step[batch])])
            return self._stationary(ends[_distinct_points(ends, self.surface.value(ends))], 0).arrays()

        return _distinct(Stationary(*self.batches.run("minima", job, len(starts), BATCH)))

    def transition_states(self, candidates: np.ndarray) -> Stationary:
        """Find transition states by eigenvector following from candidates (m, d)."""
        job = lambda batch: self._stationary(candidates[batch], 1).arrays()  # noqa: E731
        return _distinct(Stationary(*self.batches.run("transition states", job, len(candidates), BATCH)))

    def lines(self, minima: Stationary) -> np.ndarray:
        """Highest points (m, d) of the straight lines between each minimum and its nearest others."""
        pairs = near_pairs(minima.points)
        w = np.linspace(0, 1, IMAGES)[:, None]

        def job(batch: slice) -> Arrays:
            a, b = minima.points[pairs[batch].T]
            line = a[:, None] * (1 - w) + b[:, None] * w
            value = self.surface.value(line.reshape(-1, line.shape[2])).reshape(line.shape[:2])
            top = (value[:, 1:-1] > value[:, :-2]) & (value[:, 1:-1] >= value[:, 2:])
            return (line[:, 1:-1][top],)

        return self.batches.run("lines", job, len(pairs), BATCH)[0]

    def connect(self, minima: Stationary, ts: Stationary) -> StationaryNetwork:
        """Network of the minima and of those transition states from which both ways downhill end in a minimum.

        Minima that only these descents found are added.
        """
        push = PUSH * self.radius * ts.mode
        sides = np.concatenate([ts.points + push, ts.points - push])

        def job(batch: slice) -> Arrays:
            foot = descend(self.surface, sides[batch], DESCENT * self.radius)
            end = self._follow(foot, 0, DESCENT * self.radius)
            return end.points, end.values, self._valid(end, 0)

        points, values, valid = self.batches.run("paths", job, len(sides), BATCH)
        found = _Growing(minima.points, minima.values, len(sides))
        ends = zip(points, values, valid, strict=True)
        which = np.array([found.add(point, value) if v else -1 for point, value, v in ends], dtype=int)
        pairs = np.sort(which.reshape(2, -1).T, axis=1)
        both = pairs[:, 0] >= 0
        return StationaryNetwork(found.points, found.values, ts.points[both], ts.values[both], pairs[both])

    def say(self, text: str, points: np.ndarray, steps: int, order: int) -> None:
        """Announce searches from points, with their estimated time for ``steps`` steps of derivatives of ``order``."""
        if not self.batches.progress:
            return
        probe = points[:BATCH]
        start = time.perf_counter()
        gradient = value_gradient(self.surface, probe)[1]
        each = (time.perf_counter() - start) / max(len(probe), 1)
        free = free_coordinates(probe, gradient).sum() / max(len(probe), 1)
        seconds = each * (free if order == 2 else 1) * steps * len(points) / torch.get_num_threads()
        console.print(f"{text}: about {seconds:.0f} s", highlight=False)


def near_pairs(points: np.ndarray) -> np.ndarray:
    """Pairs (p, 2) of each point and its nearest others: :data:`NEAREST`, or as many as :data:`PAIRS` admits."""
    count, d = points.shape
    if count < 2:
        return np.zeros((0, 2), dtype=int)
    near = cKDTree(points).query(points, min(NEAREST + 1, count))[1].reshape(count, -1)[:, 1:]
    pairs = np.column_stack([np.tile(np.arange(count), near.shape[1]), near.T.ravel()])
    _, first = np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)
    return np.sort(pairs[np.sort(first)[: PAIRS // d]], axis=1)


def _settings() -> list[dict[str, object]]:
    """The constants that shape a search."""
    modules = (sys.modules[__name__], descent, stationary)
    return [{name: value for name, value in vars(module).items() if name.isupper()} for module in modules]


class _Growing:
    """Distinct stationary points, looked up and extended one at a time."""

    def __init__(self, points: np.ndarray, values: np.ndarray, capacity: int) -> None:
        self.count = len(points)
        self._points = np.concatenate([points, np.empty((capacity, points.shape[1]))])
        self._values = np.concatenate([values, np.empty(capacity)])

    @property
    def points(self) -> np.ndarray:
        return self._points[: self.count]

    @property
    def values(self) -> np.ndarray:
        return self._values[: self.count]

    def add(self, point: np.ndarray, value: float) -> int:
        """Look up the index of the nearest point that is the same; a new point is put at the end."""
        distance = np.linalg.norm(self.points - point, axis=1)
        same = (distance <= SAME_DISTANCE) & (np.abs(self.values - value) < SAME_VALUE)
        if same.any():
            return int(np.argmin(np.where(same, distance, np.inf)))
        self._points[self.count], self._values[self.count] = point, value
        self.count += 1
        return self.count - 1


def _distinct_points(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Indices, by rising value, of points that differ from every lower one kept."""
    kept = _Growing(points[:0], values[:0], len(points))
    chosen: list[int] = []
    for i in np.argsort(values, kind="stable"):
        if kept.add(points[i], values[i]) == len(chosen):
            chosen.append(int(i))
    return np.array(chosen, dtype=int)


def _distinct(found: Stationary) -> Stationary:
    return found.take(_distinct_points(found.points, found.values))
