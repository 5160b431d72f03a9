from __future__ import annotations

import numpy as np
from helpers import networks, shared
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from matgl_fill.roughness import StationaryNetwork
from matgl_fill.roughness.tree import Tree

LATENT = (1178, 591)
"""Minima and transition states of the published network over 128 latent dimensions."""


def flooded(network: StationaryNetwork, threshold: float) -> set[frozenset[int]]:
    """Superbasins by walking from each minimum over what lies at or below the threshold."""
    low = network.minima_values <= threshold
    found = set()
    for start in np.flatnonzero(low).tolist():
        basin = {start}
        while True:
            edges = zip(network.pairs.tolist(), network.ts_values, strict=True)
            reached = {k for e, t in edges if t <= threshold and low[e].all() and set(e) & basin for k in e}
            if reached <= basin:
                break
            basin |= reached
        found.add(frozenset(basin))
    return found


def sets(basins: list[np.ndarray]) -> set[frozenset[int]]:
    return {frozenset(b.tolist()) for b in basins}


@given(networks())
@settings(max_examples=200, deadline=None)
def test_superbasins_at_every_threshold_are_those_of_flooding(network):
    tree = network.tree()
    for threshold in np.arange(-1, 17) / 8:
        assert sets(tree.superbasins(threshold)) == flooded(network, threshold)


@given(networks())
@settings(max_examples=100, deadline=None)
def test_nodes_are_the_distinct_superbasins_and_lie_above_their_branches(network):
    tree = network.tree()
    n, children = len(network.minima), tree.children()
    np.testing.assert_array_equal(tree.height[:n], network.minima_values)
    members = [{i} for i in range(n)]
    for node in range(n, len(tree.height)):
        assert len(children[node]) > 1
        assert max(children[node]) < node
        members.append(set().union(*(members[c] for c in children[node])))
        assert frozenset(members[node]) in flooded(network, tree.height[node])
        inner = [c for c in children[node] if c >= n]
        assert all(tree.height[c] < tree.height[node] for c in inner)
        assert all(tree.height[c] <= tree.height[node] for c in children[node])
    assert {frozenset(members[r]) for r in tree.roots} == flooded(network, np.inf)


@given(networks())
@settings(max_examples=100, deadline=None)
def test_persistence_is_the_rise_until_a_lower_minimum_is_reached(network):
    n, values = len(network.minima), network.minima_values
    rank = np.empty(n)
    rank[np.argsort(values, kind="stable")] = np.arange(n)
    levels = np.unique(np.concatenate([values, network.ts_values]))
    expected = []
    for i in range(n):
        rise, size = 0.0, 1
        for level in levels[levels >= values[i]]:
            basin = next(b for b in flooded(network, level) if i in b)
            if len(basin) > size:
                rise, size = level - values[i], len(basin)
            if min(rank[list(basin)]) < rank[i]:
                break
        expected.append(rise)
    np.testing.assert_allclose(network.tree().persistence(), expected)


@given(networks(), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_pruning_keeps_the_most_persistent_minima_and_where_they_join(network, n):
    tree = network.tree()
    pruned = tree.pruned(n)
    kept, lost = set(pruned.minima.tolist()), set(range(len(network.minima))) - set(pruned.minima.tolist())
    persistence = tree.persistence()
    assert len(kept) == min(n, len(network.minima))
    assert all(persistence[a] >= persistence[b] for a in kept for b in lost)
    for threshold in tree.height:
        expected = {b & kept for b in flooded(network, threshold)} - {frozenset()}
        assert sets(pruned.superbasins(threshold)) == expected


def test_long_chain_of_minima_is_no_recursion():
    n = 5000
    values = np.zeros(n)
    tree = Tree.of(values, np.arange(1.0, n), np.column_stack([np.arange(n - 1), np.arange(1, n)]))
    assert len(tree.roots) == 1
    assert tree.persistence().max() == n - 1
    assert len(tree.pruned(10).minima) == 10


def test_tree_of_the_published_latent_network():
    network = StationaryNetwork.from_topsearch(shared("reference/topsearch/latent"), "_all_dimensions")
    assert (len(network.minima), len(network.ts)) == LATENT
    tree = network.tree()
    for threshold in np.quantile(network.ts_values, [0.1, 0.5, 1.0]):
        edges = network.pairs[network.ts_values <= threshold]
        edges = edges[(network.minima_values[edges] <= threshold).all(axis=1)]
        graph = coo_array((np.ones(len(edges)), edges.T), (LATENT[0], LATENT[0]))
        label = connected_components(graph, directed=False)[1]
        low = network.minima_values <= threshold
        assert sets(tree.superbasins(threshold)) == sets([np.flatnonzero(low & (label == c)) for c in set(label[low])])
