from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import PAIRS, shared
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group, spearmanr

import matgl_fill as mf
from matgl_fill.errors import InputError
from matgl_fill.roughness import (
    LocalRoughness,
    StationaryNetwork,
    graph,
    graph_roughness,
    landscape_roughness,
    local,
    persistence,
)
from matgl_fill.roughness.graph import _blocked_neighbours, graph_network, nearest_neighbours

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


def line(values: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.linspace(0, 1, len(values))[:, None], np.array(values)


def test_double_well_on_a_line_is_exact():
    """Minima 0 and 0.2 at both ends, barrier 1 in the middle: both vectors have length 0.5."""
    Z, response = line([0.0, 0.3, 0.7, 1.0, 0.7, 0.4, 0.2])
    network = graph_network(Z, response, nearest_neighbours(Z, 2)[1])
    assert sorted(network.minima_values) == [0.0, 0.2]
    assert network.ts_values.tolist() == [1.0]
    expected = np.exp(-(0.5**2) / (2 * 0.8**2)) * (1.0 + 0.8) / 2
    assert network.frustration(0.8) == pytest.approx(expected, rel=1e-12)


def test_constant_response_has_no_frustration():
    Z = np.random.default_rng(0).normal(size=(60, 3))
    result = graph_roughness(Z, np.full(60, 0.7))
    assert result.frustration == 0.0
    assert not result.local(Z).any()
    assert len(result.maxima(5)[0]) == 0


def bumpy(n: int = 400, d: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    Z = rng.uniform(size=(n, d))
    return Z, np.sin(9 * Z[:, 0]) + np.cos(7 * Z[:, 1])


@given(shift=st.floats(-5, 5), scale=st.floats(0.1, 10), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_frustration_ignores_shift_scale_and_order_of_axes_and_points(shift, scale, seed):
    Z, response = bumpy()
    before = graph_roughness(Z, response).frustration
    rng = np.random.default_rng(seed)
    order, axes = rng.permutation(len(Z)), rng.permutation(Z.shape[1])
    after = graph_roughness(Z[order][:, axes] * scale + shift, 3 * response[order] - 1).frustration
    assert after == pytest.approx(before, rel=1e-6)


def test_more_bumps_are_rougher():
    Z = np.random.default_rng(0).uniform(size=(600, 2))
    smooth, rough = (graph_roughness(Z, np.sin(f * Z[:, 0])).frustration for f in (2, 25))
    assert rough > 2 * smooth


def test_local_gradient_is_finite_difference():
    surface = graph_roughness(*bumpy()).surface
    x = np.random.default_rng(1).uniform(size=(5, 3))
    step = 1e-6
    for axis in range(3):
        e = np.eye(3)[axis] * step
        difference = (surface(x + e) - surface(x - e)) / (2 * step)
        np.testing.assert_allclose(surface.gradient(x)[:, axis], difference, rtol=1e-5, atol=1e-8)


def test_local_roughness_is_the_dense_sum_of_gaussians():
    network = graph_roughness(*bumpy(80)).network
    surface = LocalRoughness(network, width=0.1)
    start, end, _ = network.vectors()
    x = np.array([[0.3, 0.4, 0.5]])
    total = 0.0
    for a, b, f in zip(start, end, network.contributions(), strict=True):
        v = b - a
        length = np.linalg.norm(v)
        u = v / length
        covariance = 0.1**2 * (np.eye(3) - np.outer(u, u)) + max(length / 2, 0.1) ** 2 * np.outer(u, u)
        r = x[0] - (a + 0.75 * v)
        total += f * np.exp(-0.5 * r @ np.linalg.solve(covariance, r))
    assert surface(x)[0] == pytest.approx(total, rel=1e-9)


def test_maxima_are_maxima_distinct_and_sorted():
    result = graph_roughness(*bumpy())
    points, values = result.maxima(5)
    assert len(points) == 5
    assert (np.diff(values) <= 0).all()
    around = np.random.default_rng(0).normal(0, 1e-3, (50, 3))
    for point, value in zip(points[:3], values[:3], strict=True):
        assert result.local(point + around).max() <= value * (1 + 1e-3)


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


def test_many_vectors_give_the_same_highest_maxima_from_the_highest_centres_only(monkeypatch):
    rng = np.random.default_rng(0)
    surface = graph_roughness(rng.uniform(size=(6000, 3)), rng.normal(size=6000)).surface
    assert 600 < len(surface.height) < local.EXHAUSTIVE
    _, every = surface.maxima(40)
    calls = []
    ascend = surface._ascend
    monkeypatch.setattr(surface, "_ascend", lambda x: (calls.append(len(x)), ascend(x))[1])
    monkeypatch.setattr(local, "EXHAUSTIVE", 100)
    monkeypatch.setattr(local, "BATCH", 64)
    _, some = surface.maxima(40)
    assert sum(calls) < 0.8 * len(surface.height)
    np.testing.assert_allclose(some, every, rtol=1e-6)


def test_bits_of_large_inputs_do_not_depend_on_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(local, "EXHAUSTIVE", 50)
    monkeypatch.setattr(local, "BLOCK", 20_000)
    rng = np.random.default_rng(0)
    Z, response = rng.normal(size=(2000, 20)), rng.normal(size=2000)
    surface = graph_roughness(Z, response).surface
    before, seen = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found = (*_blocked_neighbours(Z, 10), surface(Z), *surface.maxima(20))
            seen.append([a.tobytes() for a in found])
    finally:
        torch.set_num_threads(before)
    assert seen[0] == seen[1]


def test_blocks_do_not_change_local_roughness(monkeypatch):
    result = graph_roughness(*bumpy())
    points = np.random.default_rng(1).uniform(size=(777, 3))
    whole = result.local(points)
    monkeypatch.setattr(local, "BLOCK", 500)
    np.testing.assert_allclose(result.local(points), whole, rtol=1e-12)


@pytest.mark.parametrize("mode", ["graph", "landscape"])
def test_shift_positive_scale_and_order_of_axes_leave_local_roughness(mode):
    """Each axis is scaled to its range, so that these are exact up to rounding."""
    Z, response = bumpy(150)
    analyse = graph_roughness if mode == "graph" else landscape_roughness
    before = analyse(Z, response).local(Z)
    axes, scale, shift = [2, 0, 1], np.array([0.1, 3.0, 20.0]), np.array([5.0, -2.0, 0.3])
    moved = Z[:, axes] * scale + shift
    np.testing.assert_allclose(analyse(moved, response).local(moved), before, rtol=1e-3, atol=1e-6 * before.max())


def turned(quarter: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, a response, and the points after a quarter turn, which keeps the ranges, or another, which does not."""
    Z, response = bumpy()
    Q = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) if quarter else ortho_group.rvs(3, random_state=0)
    return Z, response, Z @ Q.T


def test_a_rotation_counts_only_if_it_changes_the_ranges():
    Z, response, same = turned(quarter=True)
    _, _, other = turned(quarter=False)
    before = graph_roughness(Z, response).frustration
    assert graph_roughness(same, response).frustration == pytest.approx(before, rel=1e-12)
    assert abs(graph_roughness(other, response).frustration / before - 1) > 1e-3


def test_graph_and_frustration_of_scaled_points_are_rotation_invariant():
    """What comes after the scaling knows distances only."""
    X, response, rotated = turned(quarter=False)
    networks = [graph_network(x, response, nearest_neighbours(x, 8)[1]) for x in (X, rotated)]
    assert networks[0].frustration() == pytest.approx(networks[1].frustration(), rel=1e-12)
    a, b = (LocalRoughness(n, width=0.05)(x) for n, x in zip(networks, (X, rotated), strict=True))
    np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


def test_refined_network_agrees_with_the_landscape_where_the_graph_does_not():
    rng = np.random.default_rng(0)
    Z = rng.uniform(size=(300, 2))
    response = np.sin(9 * Z[:, 0]) + np.cos(8 * Z[:, 1] + Z[:, 0])
    expected = landscape_roughness(Z, response)
    plain, refined = (graph_roughness(Z, response, refine=r) for r in (False, True))
    agreed = [spearmanr(expected.local(Z), result.local(Z))[0] for result in (plain, refined)]
    assert agreed[1] > 0.9 > agreed[0]
    assert refined.frustration == pytest.approx(expected.frustration, rel=0.05)


def test_refining_takes_duplicates_flat_axes_and_a_constant_response():
    Z, response = bumpy(120, 2)
    flat = np.column_stack([Z, np.ones(len(Z))])
    twice = np.concatenate([flat, flat[:5]]), np.concatenate([response, response[:5]])
    found = graph_roughness(*twice, refine=True)
    assert found.network.minima.shape[1] == 3
    assert len(found.network.ts) > 0
    assert graph_roughness(flat, np.ones(len(flat)), refine=True).frustration == 0.0


@pytest.mark.parametrize(
    ("Z", "response", "message"),
    [
        (np.zeros((2, 2)), np.zeros(2), "at least 3 points"),
        (np.zeros((5, 2)), np.zeros(4), "5 and 4"),
        (np.full((5, 2), np.nan), np.zeros(5), "finite"),
    ],
)
def test_unusable_points_are_input_errors(Z, response, message):
    with pytest.raises(InputError, match=message):
        graph_roughness(Z, response)


def test_public_call_makes_the_response_from_structures(model, pool):
    Z = mf.embed(model, pool)
    by_name = mf.analyze_roughness(Z, structures=pool)
    by_array = mf.analyze_roughness(Z, response=by_name.response)
    assert by_name.frustration == pytest.approx(by_array.frustration)
    assert -1 <= by_name.response.min() < by_name.response.max() <= 1
    with pytest.raises(InputError, match="needs the structures"):
        mf.analyze_roughness(Z)


def test_a_column_is_a_response_and_not_descriptors():
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(60, 3)), rng.normal(size=60)
    column = mf.analyze_roughness(Z, y[:, None])
    assert column.frustration == mf.analyze_roughness(Z, y).frustration
    np.testing.assert_array_equal(column.response, y)


@pytest.mark.parametrize(
    ("Z", "y"), [(np.zeros(9), np.zeros(9)), (np.zeros((9, 0)), np.zeros(9)), (np.zeros((9, 2)), np.array(["a"] * 9))]
)
def test_what_are_no_points_with_numbers_is_refused(Z, y):
    with pytest.raises(InputError, match="roughness needs"):
        mf.analyze_roughness(Z, y)
