"""Graph mode: stationary network of a response sampled at the data points."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from scipy.cluster.hierarchy import DisjointSet
from sklearn.neighbors import NearestNeighbors

from matgl_fill.roughness.landscape.batches import Batches
from matgl_fill.roughness.landscape.explore import explore, hull
from matgl_fill.roughness.landscape.surface import ThinPlateSurface, distinct
from matgl_fill.roughness.network import StationaryNetwork
from matgl_fill.utils.threads import one_blas_thread

NEIGHBOURS = 10
"""Number of neighbours of each point in the graph."""
LARGE = 10_000
"""Number of points above which neighbours are searched in single precision first, in more than ``FLAT`` dimensions."""
FLAT = 8
"""Number of dimensions up to which trees find neighbours faster."""
SPARE = 6
"""Number of candidates beyond those that are asked for."""
BLOCK = 2**24
"""Distances held in memory by each thread (64 MB in single precision)."""


def nearest_neighbours(X: np.ndarray, k: int = NEIGHBOURS, progress: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Find each point's k nearest other points.

    The result is exact at every size, to rounding in double precision: no approximate index is used. Above
    :data:`LARGE` points in more than :data:`FLAT` dimensions, a matrix product in single precision proposes a few more
    candidates than are asked for, and their distances are taken in double precision. Rows whose candidates are not
    provably complete by the rounding error of that product (clusters far tighter than the data, duplicates) are
    searched again in double precision. The time grows as n² d.

    Args:
        X: Points (n, d).
        k: Number of neighbours wanted; at most n - 1 are returned.
        progress: Draw a progress bar.

    Returns:
        Distances (n, k), rising, and indices (n, k).
    """
    k = min(k, len(X) - 1)
    if len(X) > LARGE and X.shape[1] > FLAT:
        return _blocked_neighbours(X, k, progress)
    distance, index = NearestNeighbors(n_neighbors=k + 1).fit(X).kneighbors(X)
    own = index == np.arange(len(X))[:, None]
    own[~own.any(axis=1), -1] = True  # duplicates of a point may push it out of its own list
    return distance[~own].reshape(len(X), k), index[~own].reshape(len(X), k)


def _blocked_neighbours(X: np.ndarray, k: int, progress: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours by matrix products, first in single precision, then in double where that was not enough.

    It is written here because scikit-learn's brute-force search takes about 1.4 times as long (30,000 points, 128
    dimensions) and loses all digits of the distances between points that nearly coincide.
    """
    X = X - X.mean(axis=0)
    norm = (X**2).sum(axis=1)
    square, index = np.empty((len(X), k)), np.empty((len(X), k), dtype=np.intp)
    rows = np.arange(len(X))
    for dtype in (np.float32, np.float64):
        x = X.astype(dtype)
        job = partial(_nearest_in, X, norm, x, rows, k)
        with one_blas_thread():
            found = Batches(progress=progress).run("nearest neighbours", job, len(rows), max(1, BLOCK // len(X)))
        square[rows], index[rows], sure = found
        rows = rows[~sure]
    return np.sqrt(square), index


def _nearest_in(
    X: np.ndarray, norm: np.ndarray, x: np.ndarray, all_rows: np.ndarray, k: int, part: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared distances and indices (m, k) of some points' neighbours, and whether they are certain (m,).

    Args:
        X: Centred points (n, d) in double precision.
        norm: Squared norms (n,) of these points.
        x: The points in the precision of the search.
        all_rows: Indices of all points whose neighbours are wanted.
        k: Number of neighbours.
        part: The m of those indices that are searched for here.
    """
    rows = all_rows[part]
    product = (-2 * x[rows]) @ x.T
    product += norm.astype(x.dtype)
    found = torch.from_numpy(product).topk(min(k + 1 + SPARE, len(X)), largest=False)
    candidate = np.sort(found.indices.numpy(), axis=1)
    square = ((X[rows, None] - X[candidate]) ** 2).sum(axis=2)
    square[candidate == rows[:, None]] = np.inf
    nearest = np.argsort(square, axis=1, kind="stable")[:, :k]
    square = np.take_along_axis(square, nearest, axis=1)
    unit = np.finfo(x.dtype).eps / 2
    error = (X.shape[1] + 8) * unit * (np.sqrt(norm[rows]) + np.sqrt(norm.max())) ** 2
    beyond = found.values[:, -1].numpy().astype(float) + norm[rows] - error
    return square, np.take_along_axis(candidate, nearest, axis=1), square[:, -1] < beyond


def graph_network(X: np.ndarray, response: np.ndarray, index: np.ndarray) -> StationaryNetwork:
    """Find the minima and saddles of ``response`` on the nearest-neighbour graph of ``X``.

    Points enter by rising response. A point without earlier neighbours starts a basin; a point whose earlier neighbours
    lie in several components merges them and is the saddle between the basins it touches (sublevel-set merge tree, by
    union-find). Ties are broken by index, so that the result is deterministic.

    Args:
        X: Scaled points (n, d).
        response: Scaled response (n,).
        index: Indices (n, k) of the nearest neighbours.

    Returns:
        The network; coordinates are rows of ``X``, minima and saddles come by rising response.
    """
    minima, saddle, pairs = _passes(response, index)
    basins = DisjointSet(range(len(minima)))
    joins = np.array([basins.merge(i, j) for i, j in pairs.tolist()], dtype=bool)
    at = saddle[joins]
    return StationaryNetwork(X[minima], response[minima], X[at], response[at], pairs[joins])


def refined_network(
    X: np.ndarray, response: np.ndarray, index: np.ndarray, seed: int = 0, progress: bool = False
) -> StationaryNetwork:
    """Find the stationary points of the thin-plate surface that lie near those of the graph.

    The graph's saddles sit on data points, and its tree has one per merge, not every pass between two basins. Here the
    minima and the lowest points on the borders of all touching basins are where the searches of landscape mode
    (:func:`matgl_fill.roughness.landscape.explore.explore`) start, in place of all the data.

    Args:
        X: Range-scaled points (n, d).
        response: Scaled response (n,), between 0 and 1.
        index: Indices (n, k) of the nearest neighbours.
        seed: Seed of the basin-hopping steps.
        progress: Show on the terminal what runs.

    Returns:
        The network, with minima inside the convex hull only; that of the graph if it has a single basin.

    Raises:
        InputError: The points span fewer dimensions than they have.
    """
    minima, saddle, _ = _passes(response, index)
    wide, kept = np.ptp(X, axis=0) > 0, distinct(X)
    starts = X[np.unique(np.concatenate([minima, saddle]))]
    starts = starts[distinct(starts)]
    if len(minima) < 2 or len(starts) < 2:
        return graph_network(X, response, index)
    surface = ThinPlateSurface(X[kept][:, wide], response[kept])
    found = explore(surface, starts[:, wide], seed, hull(X[kept][:, wide]), progress)
    points, ts = np.zeros((len(found.minima), len(wide))), np.zeros((len(found.ts), len(wide)))
    points[:, wide], ts[:, wide] = found.minima, found.ts
    return StationaryNetwork(points, found.minima_values, ts, found.ts_values, found.pairs)


def _passes(response: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Minima and passes of the response on the graph, as indices of points.

    Returns:
        Minima (m,), the lowest points (p,) between touching basins, rising, and which two basins these are (p, 2).
    """
    n = len(response)
    order = np.argsort(response, kind="stable")
    rank = np.empty(n, dtype=int)
    rank[order] = np.arange(n)
    ends = rank[np.repeat(np.arange(n), index.shape[1])], rank[index.ravel()]
    high, low = np.divmod(np.unique(np.maximum(*ends) * n + np.minimum(*ends)), n)
    down = np.arange(n)
    has_lower, first = np.unique(high, return_index=True)
    down[has_lower] = low[first]
    minima = np.flatnonzero(down == np.arange(n))
    while (down[down] != down).any():
        down = down[down]
    basin = np.searchsorted(minima, down)
    pairs = np.column_stack([basin[high], basin[low]])
    _, first = np.unique(np.sort(pairs, axis=1), axis=0, return_index=True)
    lowest = np.sort(first)
    lowest = lowest[pairs[lowest, 0] != pairs[lowest, 1]]
    return order[minima], order[high[lowest]], pairs[lowest]
