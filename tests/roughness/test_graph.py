from __future__ import annotations

import numpy as np
import pytest
from helpers import line, turned

from matgl_fill.roughness import LocalRoughness
from matgl_fill.roughness.graph import graph_network
from matgl_fill.roughness.neighbours import nearest_neighbours


def test_double_well_on_a_line_is_exact():
    """Minima 0 and 0.2 at both ends, barrier 1 in the middle: both vectors have length 0.5."""
    Z, response = line([0.0, 0.3, 0.7, 1.0, 0.7, 0.4, 0.2])
    network = graph_network(Z, response, nearest_neighbours(Z, 2)[1])
    assert sorted(network.minima_values) == [0.0, 0.2]
    assert network.ts_values.tolist() == [1.0]
    expected = np.exp(-(0.5**2) / (2 * 0.8**2)) * (1.0 + 0.8) / 2
    assert network.frustration(0.8) == pytest.approx(expected, rel=1e-12)


def test_graph_and_frustration_of_scaled_points_are_rotation_invariant():
    """What comes after the scaling knows distances only."""
    X, response, rotated = turned(quarter=False)
    networks = [graph_network(x, response, nearest_neighbours(x, 8)[1]) for x in (X, rotated)]
    assert networks[0].frustration() == pytest.approx(networks[1].frustration(), rel=1e-12)
    a, b = (LocalRoughness(n, width=0.05)(x) for n, x in zip(networks, (X, rotated), strict=True))
    np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)
