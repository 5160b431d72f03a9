"""Short form of the cost and agreement tables, so that they cannot rot."""

from __future__ import annotations

import re

import numpy as np
import pytest
from typer.testing import CliRunner

from examples.benchmarks.__main__ import app
from examples.benchmarks.roughness.analysis import (
    Cost,
    field_agreements,
    growth,
    projected_agreement,
    random_field,
    synthetic_embedding,
)
from matgl_fill.errors import InputError
from matgl_fill.roughness.neighbours import nearest_neighbours


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


def test_command_prints_cost_with_its_growth_and_agreement():
    options = ["--graph", "1250,5000", "--landscape", "100", "--dimensions", "2", "--points", "100", "--fields", "2"]
    done = CliRunner().invoke(app, ["roughness", *options])
    assert done.exit_code == 0, done.output
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.output.splitlines() if "│" in line]
    numbers = {int(row[0]): [float(x) for x in row[1:]] for row in rows if row[0].isdigit()}
    assert set(numbers) == {1250, 5000, 100}
    seconds, _, peak_mb, minima, vectors, maxima = numbers[5000]
    assert seconds < 60
    assert 200 < peak_mb < 3000
    assert numbers[1250][3] < minima < vectors
    assert maxima == 100
    exponent = re.search(r"seconds grow as n\^([\d.]+)", done.output)
    assert exponent
    assert float(exponent.group(1)) == pytest.approx(np.log(seconds / numbers[1250][0]) / np.log(4), abs=0.1)
    assert any(row[0] == "fields, 2-d" for row in rows)


def test_growth_is_the_exponent():
    costs = [Cost("graph", n, 1, 3e-6 * n**1.7, 0, 0, 0, 0, 0) for n in (10, 100, 500)]
    assert growth(costs) == pytest.approx(1.7, rel=1e-9)
