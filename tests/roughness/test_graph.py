from __future__ import annotations

import numpy as np
import pytest
from helpers import line, turned
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from matgl_fill.roughness import LocalRoughness, graph
from matgl_fill.roughness.graph import _blocked_neighbours, graph_network, nearest_neighbours


def test_double_well_on_a_line_is_exact():
    """Minima 0 and 0.2 at both ends, barrier 1 in the middle: both vectors have length 0.5."""
    Z, response = line([0.0, 0.3, 0.7, 1.0, 0.7, 0.4, 0.2])
    network = graph_network(Z, response, nearest_neighbours(Z, 2)[1])
    assert sorted(network.minima_values) == [0.0, 0.2]
    assert network.ts_values.tolist() == [1.0]
    expected = np.exp(-(0.5**2) / (2 * 0.8**2)) * (1.0 + 0.8) / 2
    assert network.frustration(0.8) == pytest.approx(expected, rel=1e-12)


def test_neighbours_leave_out_the_point_itself_even_among_duplicates():
    X = np.repeat(np.arange(4.0)[:, None], 5, axis=0)
    _, index = nearest_neighbours(X, 3)
    assert not (index == np.arange(20)[:, None]).any()


def brute_force_neighbours(X: np.ndarray, k: int) -> np.ndarray:
    """Distances (n, k) from differences in double precision."""
    distance = cdist(X, X)
    np.fill_diagonal(distance, np.inf)
    return np.sort(distance, axis=1)[:, :k]


@given(seed=st.integers(0, 1000), d=st.integers(1, 40), tight=st.sampled_from([0.0, 1e-9, 1e-5, 1e-2]))
@settings(max_examples=30, deadline=None)
def test_blocked_neighbours_are_exact_even_in_clusters_and_among_duplicates(seed, d, tight):
    """Far from the origin, groups of ten points closer than single precision resolves; copies where tight is 0."""
    rng = np.random.default_rng(seed)
    X = 3 + np.repeat(rng.uniform(size=(25, d)), 10, axis=0)
    X += tight * rng.normal(size=X.shape)
    distance, index = _blocked_neighbours(X, 12)
    np.testing.assert_allclose(distance, brute_force_neighbours(X, 12), rtol=1e-7, atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(X[:, None] - X[index], axis=2), distance, rtol=1e-7, atol=1e-13)
    assert not (index == np.arange(len(X))[:, None]).any()
    assert all(len(set(row)) == 12 for row in index.tolist())


def test_large_inputs_take_the_blocked_search_and_agree_with_the_trees(monkeypatch):
    X = np.random.default_rng(0).normal(size=(1500, 10))
    expected = nearest_neighbours(X, 10)
    taken = []
    monkeypatch.setattr(graph, "LARGE", 1000)
    monkeypatch.setattr(graph, "_blocked_neighbours", lambda *a: (taken.append(len(a[0])), _blocked_neighbours(*a))[1])
    distance, index = nearest_neighbours(X, 10)
    np.testing.assert_array_equal(index, expected[1])
    np.testing.assert_allclose(distance, expected[0], rtol=1e-12)
    assert taken == [1500]


def test_graph_and_frustration_of_scaled_points_are_rotation_invariant():
    """What comes after the scaling knows distances only."""
    X, response, rotated = turned(quarter=False)
    networks = [graph_network(x, response, nearest_neighbours(x, 8)[1]) for x in (X, rotated)]
    assert networks[0].frustration() == pytest.approx(networks[1].frustration(), rel=1e-12)
    a, b = (LocalRoughness(n, width=0.05)(x) for n, x in zip(networks, (X, rotated), strict=True))
    np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)
