from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import PAIRS, shared
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from matgl_fill.errors import InputError
from matgl_fill.roughness import StationaryNetwork
from matgl_fill.roughness.tree import Tree

LATENT = (1178, 591)
"""Minima and transition states of the published network over 128 latent dimensions."""


@st.composite
def networks(draw) -> StationaryNetwork:
    """Any graph: ties, self-loops, several states between two minima, and states below their minima."""
    n, m = draw(st.integers(1, 12)), draw(st.integers(0, 25))
    level = st.integers(0, 8).map(lambda k: k / 4)
    values = [draw(st.lists(level, min_size=k, max_size=k)) for k in (n, m)]
    end = st.integers(0, n - 1)
    pairs = draw(st.lists(st.tuples(end, end), min_size=m, max_size=m))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return StationaryNetwork(
        rng.normal(size=(n, 3)),
        np.array(values[0], dtype=float),
        rng.normal(size=(m, 3)),
        np.array(values[1], dtype=float),
        np.array(pairs, dtype=int).reshape(m, 2),
    )


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


@pytest.mark.parametrize("pair", PAIRS)
def test_published_networks_survive_every_format(pair, tmp_path):
    network = StationaryNetwork.from_topsearch(shared("reference/topsearch/pairwise"), pair)
    network.save(tmp_path / "n.json")
    network.save(tmp_path / "n.npz")
    network.to_topsearch(tmp_path / "text", pair)
    copies = [StationaryNetwork.load(tmp_path / name) for name in ("n.json", "n.npz")]
    copies.append(StationaryNetwork.from_topsearch(tmp_path / "text", pair))
    for copy in copies:
        for name, array in network.arrays().items():
            np.testing.assert_array_equal(getattr(copy, name), array)
            assert getattr(copy, name).dtype == array.dtype


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


@given(networks())
@settings(max_examples=20, deadline=None)
def test_json_is_exact_for_any_network(tmp_path_factory, network):
    path = tmp_path_factory.mktemp("json") / "network.json"
    network.save(path)
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(getattr(StationaryNetwork.load(path), name), array)


def test_failed_write_leaves_the_older_file_whole(tmp_path):
    one = StationaryNetwork(np.zeros((1, 2)), np.zeros(1), np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2), dtype=int))
    one.save(tmp_path / "n.json")
    before = (tmp_path / "n.json").read_bytes()
    with pytest.raises(TypeError, match="JSON serializable"):
        replace(one, minima_values=np.array([object()])).save(tmp_path / "n.json")
    (tmp_path / "n.npz").mkdir()
    with pytest.raises(OSError, match=r"n\.npz"):
        one.save(tmp_path / "n.npz")
    assert (tmp_path / "n.json").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n.json", "n.npz"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.json", None),
        ("none.npz", None),
        ("cut.json", b'{"minima": [[0'),
        ("empty.npz", b""),
        ("cut.npz", b"PK\x03\x04cut"),
        ("list.json", b"[1, 2]"),
        ("other.json", b'{"a": 1}'),
        ("short.json", json.dumps({"dimension": 2, "minima": [[0, 0]], "ts": [], "ts_values": []}).encode()),
        (
            "ragged.json",
            json.dumps(
                {"dimension": 2, "minima": [[0, 0]], "minima_values": [0, 1], "ts": [], "ts_values": [], "pairs": []}
            ).encode(),
        ),
    ],
)
def test_unreadable_network_files_are_input_errors(name, content, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} is missing or not"):
        StationaryNetwork.load(tmp_path / name)
