from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from helpers import bumpy, shared

import matgl_fill as mf
from matgl_fill.errors import InputError
from matgl_fill.roughness import LocalRoughness, StationaryNetwork, graph_roughness, local
from matgl_fill.roughness.neighbours import neighbours_by_cells

ROUGHEST = 642.9967
ROUGHEST_WITHIN = 1e-3


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


def test_many_vectors_give_the_same_highest_maxima_from_the_highest_centres_only(monkeypatch):
    rng = np.random.default_rng(0)
    surface = graph_roughness(rng.uniform(size=(6000, 3)), rng.normal(size=6000)).surface
    assert 600 < len(surface.height) < local.EXHAUSTIVE
    _, every = surface.maxima(40)
    calls = []
    ascend = surface._single._ascend
    monkeypatch.setattr(surface._single, "_ascend", lambda x: (calls.append(len(x)), ascend(x))[1])
    monkeypatch.setattr(local, "EXHAUSTIVE", 100)
    monkeypatch.setattr(local, "BATCH", 64)
    _, some = surface.maxima(40)
    assert 0 < sum(calls) < 0.8 * len(surface.height)
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
            found = (*neighbours_by_cells(Z, 10), surface(Z), *surface.maxima(20))
            seen.append([a.tobytes() for a in found])
    finally:
        torch.set_num_threads(before)
    assert seen[0] == seen[1]


def test_maps_of_many_points_agree_with_double_precision_to_single(monkeypatch):
    rng = np.random.default_rng(0)
    Z, response = rng.normal(size=(2000, 20)), rng.normal(size=2000)
    result = graph_roughness(Z, response)
    exact = result.local(Z)
    monkeypatch.setattr(local, "MANY", 1000)
    single = result.local(Z)
    assert single.dtype == float
    assert not np.array_equal(single, exact)
    np.testing.assert_allclose(single, exact, rtol=2e-5)


def test_blocks_do_not_change_local_roughness(monkeypatch):
    result = graph_roughness(*bumpy())
    points = np.random.default_rng(1).uniform(size=(777, 3))
    whole = result.local(points)
    monkeypatch.setattr(local, "BLOCK", 500)
    np.testing.assert_allclose(result.local(points), whole, rtol=1e-12)


def test_script_preset_has_the_published_highest_maximum():
    folder = shared("reference/topsearch/latent")
    surface = LocalRoughness(StationaryNetwork.from_topsearch(folder, "_all_dimensions"), preset="script")
    start = time.perf_counter()
    _, values = surface.maxima(10)
    assert time.perf_counter() - start < 60
    assert values[0] == pytest.approx(ROUGHEST, abs=ROUGHEST_WITHIN)
    published = np.sort(-np.loadtxt(folder / "min.data.roughness")[:, 1])[::-1]
    assert values[0] >= published[0]
    assert np.abs(published - values[1]).min() < 0.01


def test_unknown_preset_and_method_say_what_there_is():
    network = StationaryNetwork(*[np.zeros((0, 2)), np.zeros(0)] * 2, np.zeros((0, 2), dtype=int))
    with pytest.raises(InputError, match="default, script, readme"):
        LocalRoughness(network, preset="wide")
    with pytest.raises(InputError, match="own widths"):
        LocalRoughness(network, preset="script", width=0.1)
    with pytest.raises(InputError, match="'graph' and 'landscape'"):
        mf.analyze_roughness(np.zeros((5, 2)), np.zeros(5), method="tree")
