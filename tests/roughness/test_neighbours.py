from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from matgl_fill.roughness import neighbours
from matgl_fill.roughness.neighbours import Cells, nearest_neighbours, neighbours_by_cells


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
def testneighbours_by_cells_are_exact_even_in_clusters_and_among_duplicates(seed, d, tight):
    """Far from the origin, groups of ten points closer than single precision resolves; copies where tight is 0."""
    rng = np.random.default_rng(seed)
    X = 3 + np.repeat(rng.uniform(size=(25, d)), 10, axis=0)
    X += tight * rng.normal(size=X.shape)
    distance, index = neighbours_by_cells(X, 12)
    np.testing.assert_allclose(distance, brute_force_neighbours(X, 12), rtol=1e-7, atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(X[:, None] - X[index], axis=2), distance, rtol=1e-7, atol=1e-13)
    assert not (index == np.arange(len(X))[:, None]).any()
    assert all(len(set(row)) == 12 for row in index.tolist())


def test_large_inputs_take_the_search_by_cells_and_agree_with_the_trees(monkeypatch):
    X = np.random.default_rng(0).normal(size=(1500, 10))
    expected = nearest_neighbours(X, 10)
    taken = []
    monkeypatch.setattr(neighbours, "LARGE", 1000)
    monkeypatch.setattr(
        neighbours, "neighbours_by_cells", lambda *a: (taken.append(len(a[0])), neighbours_by_cells(*a))[1]
    )
    distance, index = nearest_neighbours(X, 10)
    np.testing.assert_array_equal(index, expected[1])
    np.testing.assert_allclose(distance, expected[0], rtol=1e-12)
    assert taken == [1500]


def embedding_like(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Points (n, d) near a curved surface of three dimensions."""
    rng = np.random.default_rng(seed)
    return np.tanh(rng.normal(size=(n, 3)) @ rng.normal(size=(3, d))) + 0.02 * rng.normal(size=(n, d))


def test_most_cells_are_passed_over_and_none_that_holds_a_neighbour(monkeypatch):
    X = embedding_like(4000, 24)
    reached = []
    search = neighbours._Search._reached
    monkeypatch.setattr(neighbours._Search, "_reached", lambda *a: (reached.append(search(*a)), reached[-1])[1])
    distance, _ = neighbours_by_cells(X, 10)
    np.testing.assert_allclose(distance, brute_force_neighbours(X, 10), rtol=1e-12)
    assert np.mean([r.mean() for r in reached]) < 0.25


@pytest.mark.parametrize("n", [30, 700])
def test_points_that_are_all_alike_or_equally_far_have_neighbours(n):
    """All distances are zero, or all are the square root of two: there are more candidates than can be kept."""
    for X in (np.ones((n, 12)), np.eye(n)):
        distance, index = neighbours_by_cells(X, 5)
        np.testing.assert_allclose(distance, np.full((n, 5), np.sqrt(2) * (X[0, -1] == 0)), atol=1e-12)
        assert not (index == np.arange(n)[:, None]).any()
        assert all(len(set(row)) == 5 for row in index.tolist())


def test_more_neighbours_than_a_few_cells_hold():
    X = embedding_like(600, 12)
    distance, _ = neighbours_by_cells(X, 599)
    np.testing.assert_allclose(distance, brute_force_neighbours(X, 599), rtol=1e-7)


def test_every_point_is_in_the_cell_of_its_nearest_centre():
    X = embedding_like(3000, 16)
    X -= X.mean(axis=0)
    cells = Cells.of(X)
    own = np.linalg.norm(X - cells.centre[cells.cell], axis=1)
    assert (own <= cdist(X, cells.centre).min(axis=1) + 1e-5).all()
    np.testing.assert_allclose(np.maximum.reduceat(own[cells.order], cells.start[:-1]), cells.radius)
    assert (cells.apart >= cdist(cells.centre, cells.centre)).all()
