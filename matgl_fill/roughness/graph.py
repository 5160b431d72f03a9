"""Graph mode: stationary network of a response sampled at the data points."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from matgl_fill.roughness.landscape.explore import explore, hull
from matgl_fill.roughness.landscape.surface import ThinPlateSurface, distinct
from matgl_fill.roughness.network import StationaryNetwork


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
