"""Disconnectivity trees: which minima are joined below which threshold."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from scipy.cluster.hierarchy import DisjointSet


@dataclass(frozen=True)
class Tree:
    """Disconnectivity tree of a stationary network (Becker and Karplus, doi 10.1063/1.473299).

    A leaf is a minimum and starts at its value; an inner node is the lowest threshold at which its branches are one
    superbasin. Branches that meet at the same threshold meet in one node. Minima that no sequence of transition states
    joins have separate roots. The leaves are the first nodes, and every node comes before its parent.

    Attributes:
        height: Value (k,) of each node.
        parent: Node (k,) above each node; -1 for a root.
        minima: Index (n,) of the network's minimum that each leaf stands for.

    Example:
        >>> import numpy as np
        >>> tree = Tree.of(np.array([0.0, 0.2, 0.1]), np.array([1.0, 0.7]), np.array([[0, 1], [1, 2]]))
        >>> tree.height, tree.parent
        (array([0. , 0.2, 0.1, 0.7, 1. ]), array([ 4,  3,  3,  4, -1]))
        >>> tree.superbasins(0.8)
        [array([0]), array([1, 2])]
    """

    height: np.ndarray
    parent: np.ndarray
    minima: np.ndarray

    @classmethod
    def of(cls, minima_values: np.ndarray, barriers: np.ndarray, pairs: np.ndarray) -> Tree:
        """Join minima by union-find over rising barriers.

        Args:
            minima_values: Values (n,) of the minima.
            barriers: Values (m,) at which minima are joined.
            pairs: Indices (m, 2) of the two minima that each barrier joins.
        """
        height, parent = list(map(float, minima_values)), [-1] * len(minima_values)
        basins = DisjointSet(range(len(height)))
        top = list(range(len(height)))
        order = np.argsort(barriers, kind="stable")
        for level, states in groupby(order.tolist(), key=lambda t: float(barriers[t])):
            edges = [pairs[t].tolist() for t in states]
            ends = {basins[i] for edge in edges for i in edge}
            for i, j in edges:
                basins.merge(i, j)
            joined = defaultdict(list)
            for end in sorted(ends):
                joined[basins[end]].append(top[end])
            for basin, nodes in joined.items():
                if len(nodes) > 1:
                    for node in nodes:
                        parent[node] = len(height)
                    top[basin] = len(height)
                    height.append(level)
                    parent.append(-1)
        return cls(np.array(height, dtype=float), np.array(parent, dtype=int), np.arange(len(minima_values)))

    @property
    def roots(self) -> np.ndarray:
        """Nodes without a parent: one for each set of connected minima."""
        return np.flatnonzero(self.parent < 0)

    def children(self) -> list[list[int]]:
        """Nodes right below each node; none for a leaf."""
        below: list[list[int]] = [[] for _ in self.height]
        for node, above in enumerate(self.parent.tolist()):
            if above >= 0:
                below[above].append(node)
        return below

    def superbasins(self, threshold: float) -> list[np.ndarray]:
        """Find the sets of minima that are joined at or below a threshold; minima above it are in none.

        Returns:
            Indices of the network's minima, rising, one array for each superbasin.
        """
        basin = np.arange(len(self.height))
        for node in reversed(range(len(self.height))):
            above = self.parent[node]
            if above >= 0 and self.height[above] <= threshold:
                basin[node] = basin[above]
        leaves = np.flatnonzero(self.height[: len(self.minima)] <= threshold)
        return [self.minima[leaves[basin[leaves] == one]] for one in dict.fromkeys(basin[leaves].tolist())]

    def lowest(self) -> np.ndarray:
        """Leaf (k,) of the lowest minimum below each node; of equal minima the first."""
        leaf = np.arange(len(self.height))
        for node, below in enumerate(self.children()):
            if below:
                leaf[node] = min((leaf[child] for child in below), key=lambda i: (self.height[i], i))
        return leaf

    def ends(self) -> np.ndarray:
        """Threshold (n,) at which each leaf's branch joins that of a lower minimum; infinite where it joins none."""
        leaf, ends = self.lowest(), np.full(len(self.minima), np.inf)
        for node, above in enumerate(self.parent.tolist()):
            if above >= 0 and leaf[above] != leaf[node]:
                ends[leaf[node]] = self.height[above]
        return ends

    def persistence(self) -> np.ndarray:
        """Height (n,) by which the threshold must rise above each minimum until a lower one is reached.

        Where there is none to reach, it rises up to the root; it is 0 for a minimum without transition states.
        """
        ends, roots = self.ends(), self.roots
        ends[self.lowest()[roots]] = self.height[roots]
        return ends - self.height[: len(self.minima)]

    def pruned(self, n: int) -> Tree:
        """Reduce the tree to the (at most) n minima of largest persistence; of equal minima the first are kept."""
        leaves = np.sort(np.argsort(-self.persistence(), kind="stable")[:n])
        branches = np.zeros(len(self.height), dtype=int)
        branches[leaves] = 2
        for node, above in enumerate(self.parent.tolist()):
            if branches[node] and above >= 0:
                branches[above] += 1
        kept = branches > 1
        number = np.cumsum(kept) - 1
        parent = np.full(len(self.height), -1)
        for node in reversed(range(len(self.height))):
            above = self.parent[node]
            if above >= 0:
                parent[node] = number[above] if kept[above] else parent[above]
        return Tree(self.height[kept], parent[kept], self.minima[leaves])
