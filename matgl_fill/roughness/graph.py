"""Graph mode: stationary network of a response sampled at the data points."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from matgl_fill.roughness.network import StationaryNetwork

NEIGHBOURS = 10
"""Neighbours of each point in the graph."""


def nearest_neighbours(X: np.ndarray, k: int = NEIGHBOURS) -> tuple[np.ndarray, np.ndarray]:
    """Distances (n, k) and indices (n, k) of each point's k nearest other points."""
    k = min(k, len(X) - 1)
    distance, index = NearestNeighbors(n_neighbors=k + 1).fit(X).kneighbors(X)
    own = index == np.arange(len(X))[:, None]
    own[~own.any(axis=1), -1] = True  # duplicates of a point may push it out of its own list
    return distance[~own].reshape(len(X), k), index[~own].reshape(len(X), k)


def _find(parent: list[int], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


def _adjacency(index: np.ndarray) -> list[set[int]]:
    neighbours: list[set[int]] = [set(row) for row in index.tolist()]
    for i, row in enumerate(index.tolist()):
        for j in row:
            neighbours[j].add(i)
    return neighbours


def graph_network(X: np.ndarray, response: np.ndarray, index: np.ndarray) -> StationaryNetwork:
    """Minima and saddles of ``response`` on the nearest-neighbour graph of ``X``.

    Points enter by rising response. One without earlier neighbours starts a basin; one whose earlier neighbours lie
    in several components merges them and is the saddle between the basins it touches (sublevel-set merge tree, by
    union-find). Ties are broken by index, so that the result is deterministic.

    Args:
        X: (n, d) scaled points.
        response: (n,) scaled response.
        index: (n, k) nearest neighbours.

    Returns:
        The network; coordinates are rows of ``X``.
    """
    neighbours = _adjacency(index)
    order = np.argsort(response, kind="stable")
    rank = np.empty(len(X), dtype=int)
    rank[order] = np.arange(len(X))
    parent = list(range(len(X)))
    basin = np.full(len(X), -1)
    minima: list[int] = []
    saddles: list[tuple[int, int, int]] = []
    for i in order.tolist():
        lower = sorted((j for j in neighbours[i] if rank[j] < rank[i]), key=lambda j: rank[j])
        if not lower:
            basin[i] = len(minima)
            minima.append(i)
            continue
        basin[i] = basin[lower[0]]
        parent[i] = _find(parent, lower[0])
        for j in lower[1:]:
            a, b = _find(parent, i), _find(parent, j)
            if a != b:
                saddles.append((i, basin[i], basin[j]))
                parent[b] = a
    at = np.array([s[0] for s in saddles], dtype=int)
    pairs = np.array([s[1:] for s in saddles], dtype=int).reshape(-1, 2)
    return StationaryNetwork(X[minima], response[minima], X[at], response[at], pairs)
