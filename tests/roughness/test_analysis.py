from __future__ import annotations

import numpy as np
import pytest
from helpers import bumpy, turned
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

import matgl_fill as mf
from matgl_fill.errors import InputError
from matgl_fill.roughness import graph_roughness, landscape_roughness


def test_constant_response_has_no_frustration():
    Z = np.random.default_rng(0).normal(size=(60, 3))
    result = graph_roughness(Z, np.full(60, 0.7))
    assert result.frustration == 0.0
    assert not result.local(Z).any()
    assert len(result.maxima(5)[0]) == 0


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


@pytest.mark.parametrize("mode", ["graph", "landscape"])
def test_shift_positive_scale_and_order_of_axes_leave_local_roughness(mode):
    """Each axis is scaled to its range, so that these are exact up to rounding."""
    Z, response = bumpy(150)
    analyse = graph_roughness if mode == "graph" else landscape_roughness
    before = analyse(Z, response).local(Z)
    axes, scale, shift = [2, 0, 1], np.array([0.1, 3.0, 20.0]), np.array([5.0, -2.0, 0.3])
    moved = Z[:, axes] * scale + shift
    np.testing.assert_allclose(analyse(moved, response).local(moved), before, rtol=1e-3, atol=1e-6 * before.max())


def test_a_rotation_counts_only_if_it_changes_the_ranges():
    Z, response, same = turned(quarter=True)
    _, _, other = turned(quarter=False)
    before = graph_roughness(Z, response).frustration
    assert graph_roughness(same, response).frustration == pytest.approx(before, rel=1e-12)
    assert abs(graph_roughness(other, response).frustration / before - 1) > 1e-3


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


def test_constant_field_has_no_frustration():
    Z = np.random.default_rng(0).uniform(size=(50, 2))
    result = mf.analyze_roughness(Z, np.full(50, 3.0), method="landscape")
    assert result.frustration == 0.0
    assert not result.local(Z).any()
