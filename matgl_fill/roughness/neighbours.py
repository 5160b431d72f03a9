"""Nearest neighbours of all points of a latent space, exact at any size."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors

from matgl_fill.roughness.landscape.batches import Batches
from matgl_fill.utils.threads import one_blas_thread

NEIGHBOURS = 10
"""Number of neighbours of each point in the graph."""
LARGE = 10_000
"""Number of points above which neighbours are searched cell by cell, in more than ``FLAT`` dimensions."""
FLAT = 8
"""Number of dimensions up to which trees find neighbours faster."""
CELLS = 6
"""Number of cells over the square root of the number of points."""
SAMPLE = 10
"""Points per cell from which its centre is found."""
PIECE = 512
"""Largest number of points of a cell that are compared at once."""
FIRST = 12
"""Number of cells, the nearest ones, that give a first bound of each distance."""
SPARE = 6
"""Number of candidates beyond those that are asked for."""
BLOCK = 2**23
"""Numbers held in memory by each thread (64 MB in double precision), in each of a few arrays."""
MANY = 64
"""Number of candidates per point, on average, above which only the nearest of them are kept."""
MARGIN = 100
"""Factor by which a squared distance has to exceed its rounding error for the search in single precision."""


def nearest_neighbours(X: np.ndarray, k: int = NEIGHBOURS, progress: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Find each point's k nearest other points.

    The result is exact at every size, to rounding in double precision: no approximate index is used. Above
    :data:`LARGE` points in more than :data:`FLAT` dimensions, the points are parted into cells (k-means). The nearest
    cells bound the distance of a point's k-th neighbour, and a cell is passed over where the triangle inequality says
    that all of its points are farther than that. Distances to the points of the others are taken by matrix products in
    single precision, with a bound of their rounding; what remains is measured in double precision. Points whose
    neighbours are too close for single precision (duplicates, clusters far tighter than the data) are searched in
    double precision altogether. The cost grows as n² d at worst, for points that fill all dimensions alike; in an
    embedding most cells are passed over, and it grows as about n to the 1.5.

    Args:
        X: Points (n, d).
        k: Number of neighbours wanted; at most n - 1 are returned.
        progress: Draw a progress bar.

    Returns:
        Distances (n, k), rising, and indices (n, k); of points equally far the first are taken.
    """
    k = min(k, len(X) - 1)
    if len(X) > LARGE and X.shape[1] > FLAT:
        return neighbours_by_cells(X, k, progress)
    distance, index = NearestNeighbors(n_neighbors=k + 1).fit(X).kneighbors(X)
    own = index == np.arange(len(X))[:, None]
    own[~own.any(axis=1), -1] = True  # duplicates of a point may push it out of its own list
    return distance[~own].reshape(len(X), k), index[~own].reshape(len(X), k)


def neighbours_by_cells(X: np.ndarray, k: int, progress: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours cell by cell, first in single precision, then in double where that was not enough."""
    X = X - X.mean(axis=0)
    square, index = np.empty((len(X), k)), np.empty((len(X), k), dtype=np.intp)
    with one_blas_thread():
        cells = Cells.of(X)
        rows = cells.order
        for dtype in (np.float32, np.float64):
            if len(rows):
                search = _Search(cells, X, dtype, rows, k)
                size = max(1, BLOCK // len(cells.centre))
                found = Batches(progress=progress).run("nearest neighbours", search, len(rows), size)
                square[rows], index[rows], sure = found
                rows = rows[~sure]
    return np.sqrt(square), index


@dataclass(frozen=True)
class Cells:
    """Points in cells around centres; each point is in the cell of its nearest centre, to rounding.

    Attributes:
        centre: Centres (c, d).
        radius: Largest distance (c,) of a cell's points from its centre.
        cell: Cell (n,) of each point.
        order: Points (n,), cell by cell.
        start: Where in that order each cell starts (c + 1,).
        apart: Distances (c, c) between the centres, not less than they are.
    """

    centre: np.ndarray
    radius: np.ndarray
    cell: np.ndarray
    order: np.ndarray
    start: np.ndarray
    apart: np.ndarray

    @classmethod
    def of(cls, X: np.ndarray) -> Cells:
        """Part points (n, d) into cells; the sample for k-means is drawn with a fixed seed."""
        count = max(1, min(int(CELLS * np.sqrt(len(X))), len(X) // SAMPLE))
        some = X[np.random.default_rng(0).permutation(len(X))[: SAMPLE * count]].astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer distinct points than cells
            means = KMeans(count, init=some[:count], n_init=1, max_iter=3).fit(some).cluster_centers_.astype(float)
        nearest = Batches().run("", partial(_nearest_centre, X, means), len(X), max(1, BLOCK // count))[0]
        used, cell = np.unique(nearest, return_inverse=True)
        centre, order = means[used], np.argsort(cell, kind="stable")
        start = np.searchsorted(cell[order], np.arange(len(used) + 1))
        ends = zip(start[:-1].tolist(), start[1:].tolist(), centre, strict=True)
        radius = np.sqrt([((X[order[a:b]] - c) ** 2).sum(axis=1).max() for a, b, c in ends])
        norm = (centre**2).sum(axis=1)
        between = norm[:, None] + norm - 2 * centre @ centre.T
        between += rounding(np.float64, X.shape[1]) * 4 * norm.max()
        return cls(centre, radius, cell, order, start, np.sqrt(np.maximum(between, 0.0)))


def rounding(dtype: DTypeLike, d: int) -> float:
    """Bound of the error of |x|² + |y|² - 2 x·y in d dimensions, over (|x| + |y|)²."""
    return (d + 10) * float(np.finfo(dtype).eps) / 2


def _columns(X: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """The right side (y, 1, |y|²) of the products that are squared distances to points y (n, d)."""
    columns = np.ones((len(X), X.shape[1] + 2), dtype)
    columns[:, :-2], columns[:, -1] = X, np.einsum("nd,nd->n", X, X)
    return columns


def _nearest_centre(X: np.ndarray, centre: np.ndarray, part: slice) -> tuple[np.ndarray]:
    """Nearest of the centres (c, d) for some of the points (n, d), in single precision."""
    x, c = X[part].astype(np.float32), centre.astype(np.float32)
    square = -2 * x @ c.T
    square += (c**2).sum(axis=1)
    return (square.argmin(axis=1),)


class _Search:
    """Search of the neighbours of some points in one precision.

    A squared distance is one product (-2 x, |x|², 1) · (y, 1, |y|²).

    Args:
        cells: Cells of the points.
        X: Centred points (n, d) in double precision.
        dtype: Precision of the search.
        rows: Points (r,) whose neighbours are wanted, cell by cell.
        k: Number of neighbours.
    """

    def __init__(self, cells: Cells, X: np.ndarray, dtype: type[np.floating[Any]], rows: np.ndarray, k: int) -> None:
        self.cells, self.X, self.rows, self.k = cells, X, rows, k
        self.double = dtype is np.float64
        self.norm = np.einsum("nd,nd->n", X, X)
        self.left = _columns(X, dtype)[:, [*range(X.shape[1]), -1, -2]]
        self.left[:, :-2] *= -2
        self.right = _columns(X[cells.order], dtype)
        self.centres = _columns(cells.centre, dtype)
        self.unit = rounding(dtype, X.shape[1])
        self.largest = float(np.sqrt(self.norm.max()))

    def __call__(self, part: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Squared distances and indices (m, k) of the neighbours of ``rows[part]``, and whether they are certain (m,).

        In single precision those are not certain whose distances are not far above its rounding.
        """
        rows = self.rows[part]
        error = self.unit * (np.sqrt(self.norm[rows]) + self.largest) ** 2
        bound = self._first_bound(rows) + error
        sure = np.full(len(rows), self.double) | (bound > MARGIN * error)
        square, index = np.zeros((len(rows), self.k)), np.zeros((len(rows), self.k), dtype=np.intp)
        if sure.any():
            query, point, beyond = self._candidates(rows[sure], bound[sure], error[sure])
            square[sure], index[sure] = self._nearest(rows[sure], query, point)
            sure[sure] = self.double | (square[sure, -1] < beyond - error[sure])
        return square, index, sure

    def _first_bound(self, rows: np.ndarray) -> np.ndarray:
        """Bound (m,) of the squared distance of the k-th neighbour: the k-th among the points of a few cells."""
        bound, cell = np.full(len(rows), np.inf), self.cells.cell[rows]
        size = np.minimum(np.diff(self.cells.start), PIECE)
        for one in np.unique(cell).tolist():
            here = np.flatnonzero(cell == one)
            near = np.argsort(self.cells.apart[one], kind="stable")
            enough = int(np.searchsorted(np.cumsum(size[near]), self.k + 1)) + 1
            start = self.cells.start
            right = [self.right[start[c] : start[c + 1]][:PIECE] for c in near[: max(FIRST, enough)].tolist()]
            square = self.left[rows[here]] @ np.concatenate(right).T
            if square.shape[1] > self.k:
                bound[here] = np.partition(square, self.k, axis=1)[:, self.k]
        return bound

    def _reached(self, rows: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """Which cells may hold a point within a squared distance (m,) of some points, (c, m).

        A cell is out of reach where all of its points are farther, by two bounds. Points of a cell lie within its
        radius of its centre c. And they are no nearer to the centre b of the point's own cell than to c: the point x is
        farther than (|x - c|² - |x - b|²) / 2 |c - b| from any of them.
        """
        square = self.centres @ self.left[rows].T
        slack = 16 * rounding(np.float32, self.X.shape[1]) * self.largest**2  # cells are found in single precision
        reach, cell = np.sqrt(bound), self.cells.cell[rows]
        near = square <= (reach + self.cells.radius[:, None]) ** 2 + slack
        square -= square[cell, np.arange(len(rows))]
        near &= square <= 2 * self.cells.apart[:, cell] * reach + slack
        return near

    def _candidates(
        self, rows: np.ndarray, bound: np.ndarray, error: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All that may be a neighbour of some points.

        Args:
            rows: Points (m,).
            bound: Bound (m,) of the squared distance of the k-th neighbour of each.
            error: Bound (m,) of the rounding of a squared distance.

        Returns:
            Row (p,) of the point and index (p,) of each candidate, and the squared distance (m,) beyond which
            candidates of a point were dropped because there were too many; infinite where none were.
        """
        limit, beyond = (bound + error).astype(self.left.dtype), np.full(len(rows), np.inf)
        kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        count = 0
        left, starts = self.left[rows], self.cells.start.tolist()
        for near, start, end in zip(self._reached(rows, bound), starts, starts[1:], strict=False):
            query = np.flatnonzero(near)
            for first in range(start, end if len(query) else start, PIECE):
                right = self.right[first : min(first + PIECE, end)]
                square = left[query] @ right.T
                found = np.flatnonzero(square <= limit[query, None])
                i, j = np.divmod(found, len(right))
                kept.append((query[i], self.cells.order[first + j], square.ravel()[found]))
                count += len(found)
                if count > MANY * len(rows):
                    kept = [self._fewer(kept, limit, beyond)]
                    count = len(kept[0][0])
        query, point, _ = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        return query, point, beyond

    def _fewer(
        self, kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]], limit: np.ndarray, beyond: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The nearest candidates of every point; what is as far as those dropped is out of its limit from now on."""
        query, point, square = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        order = np.lexsort((square, query))
        query, point, square = query[order], point[order], square[order]
        place = np.arange(len(query)) - np.searchsorted(query, query)
        most = self.k + 1 + SPARE
        last = place == most - 1
        full = query[last][np.bincount(query, minlength=len(limit))[query[last]] > most]
        cut = square[last][np.bincount(query, minlength=len(limit))[query[last]] > most]
        limit[full] = np.minimum(limit[full], cut)
        beyond[full] = np.minimum(beyond[full], cut)
        few = place < most
        return query[few], point[few], square[few]

    def _nearest(self, rows: np.ndarray, query: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances and indices (m, k) of the nearest candidates, in double precision."""
        other = rows[query] != point
        query, point = query[other], point[other]
        size = max(1, BLOCK // self.X.shape[1])
        pieces = [slice(first, first + size) for first in range(0, len(query), size)]
        square = np.concatenate([((self.X[rows[query[p]]] - self.X[point[p]]) ** 2).sum(axis=1) for p in pieces])
        order = np.lexsort((point, square, query))
        first = np.searchsorted(query[order], np.arange(len(rows)))
        chosen = order[first[:, None] + np.arange(self.k)]
        return square[chosen], point[chosen]
