"""Short form of the cost and agreement tables, so that they cannot rot."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from matgl_fill.benchmarks.roughness import (
    cost,
    field_agreements,
    growth,
    projected_agreement,
    random_field,
    synthetic_embedding,
)
from matgl_fill.errors import InputError
from matgl_fill.roughness.graph import nearest_neighbours


def test_random_field_has_unit_variance_and_the_stated_length():
    rng = np.random.default_rng(0)
    points = np.repeat(rng.uniform(0, 100, size=(4000, 2)), 2, axis=0)
    points[1::2, 0] += 0.7
    values = np.array([random_field(points, 0.7, np.random.default_rng(s)) for s in range(10)])
    assert values.var() == pytest.approx(1, abs=0.1)
    assert np.mean(values[:, ::2] * values[:, 1::2]) == pytest.approx(np.exp(-0.5), abs=0.1)


def test_synthetic_embedding_has_neighbours_nearer_than_white_noise_has():
    Z, response = synthetic_embedding(1500, 128)
    again = synthetic_embedding(1500, 128)
    np.testing.assert_array_equal(Z, again[0])
    np.testing.assert_array_equal(response, again[1])
    nearest = np.median(nearest_neighbours(Z, 1)[0])
    typical = np.median(np.linalg.norm(Z[:750] - Z[750:], axis=1))
    assert nearest < 0.45 * typical


def test_cost_of_graph_mode_grows_slower_than_cubically_and_in_a_process_of_its_own():
    costs = [cost("graph", n) for n in (1250, 5000)]
    assert costs[1].seconds < 60
    assert growth(costs) < 3
    assert all(200 < c.peak_mb < 3000 for c in costs)
    assert costs[0].basins < costs[1].basins


def test_refined_graph_mode_agrees_with_landscape_mode_and_plain_graph_mode_does_not():
    found = [a.correlation for d in (2, 3) for a in field_agreements(d, 200, 2)]
    means = {name: np.mean([f[name] for f in found]) for name in found[0]}
    assert means["refined"] > 0.9
    assert means["graph"] < means["snapped"] < 1
    assert means["tree"] < 1


def test_projection_needs_as_many_dimensions():
    Z, response = synthetic_embedding(120, 6)
    assert projected_agreement(Z, response, 2).minima[0] > 0
    with pytest.raises(InputError, match="no 7 components"):
        projected_agreement(Z, response, 7)


def test_command_prints_both_tables():
    options = ["--graph", "300,600", "--landscape", "60,120", "--dimensions", "2", "--points", "100", "--fields", "1"]
    command = [sys.executable, "-m", "matgl_fill.benchmarks", "roughness", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.count("seconds grow as n^") == 2
    assert "fields, 2-d" in done.stdout
