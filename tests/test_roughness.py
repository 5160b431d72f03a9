from __future__ import annotations

import numpy as np
import pytest
from conftest import shared
from hypothesis import given, settings
from hypothesis import strategies as st

import matgl_fill as mf
from matgl_fill.errors import InputError
from matgl_fill.roughness import LocalRoughness, StationaryNetwork, graph_roughness
from matgl_fill.roughness.graph import graph_network, nearest_neighbours

PUBLISHED = 1e-5
"""Relative: frustration of the published networks."""
PAIRS = ("0_1", "0_2", "0_3", "1_2", "1_3", "2_3")


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
