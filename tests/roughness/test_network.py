from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import PAIRS, line, networks, shared
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from matgl_fill.errors import InputError
from matgl_fill.roughness import StationaryNetwork, persistence
from matgl_fill.roughness.graph import graph_network
from matgl_fill.roughness.neighbours import nearest_neighbours

PUBLISHED = 1e-5
"""Relative: frustration of the published networks."""


@pytest.mark.parametrize("k", range(len(PAIRS)))
def test_published_frustration_is_reproduced(k):
    folder = shared("reference/topsearch/pairwise")
    published = np.loadtxt(folder / "frustration.txt")[k]
    network = StationaryNetwork.from_topsearch(folder, PAIRS[k])
    assert network.frustration(lengthscale=0.8) == pytest.approx(published, rel=PUBLISHED)


def test_missing_network_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no min\.data0_1"):
        StationaryNetwork.from_topsearch(tmp_path, "0_1")


def sublevel_components(response: np.ndarray, index: np.ndarray, level: float) -> int:
    """Connected components of the graph over the points up to a level."""
    n, k = index.shape
    i, j = np.repeat(np.arange(n), k), index.ravel()
    low = response <= level
    kept = low[i] & low[j]
    graph = coo_array((np.ones(kept.sum()), (i[kept], j[kept])), shape=(n, n))
    return connected_components(graph, directed=False)[0] - int((~low).sum())


@given(
    response=st.lists(st.integers(0, 12), min_size=6, max_size=40),
    seed=st.integers(0, 1000),
    k=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_persistence_counts_the_components_of_every_sublevel_set(response, seed, k):
    """Ties and graphs of several components included: at each level as many basins live as there are components."""
    values = np.array(response, dtype=float)
    X = np.random.default_rng(seed).uniform(size=(len(values), 2))
    index = nearest_neighbours(X, k)[1]
    network = graph_network(X, values, index)
    birth, death = persistence(network).T
    for level in np.unique(values):
        assert ((birth <= level) & (level < death)).sum() == sublevel_components(values, index, level)
    assert np.isfinite(death).sum() == len(network.ts)


def test_persistence_ends_the_higher_basin_at_each_saddle():
    """Wells 0, 0.2 and 0.5 along a line; the passes are 0.6 between the last two and 1 between the first two."""
    Z, response = line([0.0, 1.0, 0.2, 0.6, 0.5])
    chain = np.array([[1, 1], [0, 2], [1, 3], [2, 4], [3, 3]])
    network = graph_network(Z, response, chain)
    np.testing.assert_array_equal(persistence(network), [[0.0, np.inf], [0.2, 1.0], [0.5, 0.6]])


def test_persistence_ignores_a_second_pass_and_the_order_of_minima():
    shown = np.array([0.3, 0.0])
    ts = np.array([2.0, 1.0])
    network = StationaryNetwork(np.zeros((2, 1)), shown, np.zeros((2, 1)), ts, np.array([[0, 1], [0, 1]]))
    np.testing.assert_array_equal(persistence(network), [[0.3, 1.0], [0.0, np.inf]])


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
