from __future__ import annotations

import numpy as np
from helpers import Bowl

from matgl_fill.roughness.landscape.stationary import EXACT_DIMENSIONS, follow


def test_above_exact_hessians_the_krylov_space_finds_the_minimum():
    d = EXACT_DIMENSIONS + 20
    bowl = Bowl(np.geomspace(1, 1000, d), np.linspace(0.2, 0.8, d))
    end = follow(bowl, np.random.default_rng(0).uniform(size=(3, d)), 0, 1.0, 1e-8)
    np.testing.assert_allclose(end.points, np.tile(bowl.at, (3, 1)), atol=1e-7)
    assert end.of_index(0, 1e-8, 1e-6).all()


def test_curvatures_are_those_of_the_free_coordinates():
    """With two of five coordinates held the second lowest of the other three counts, and held ones have no share."""
    bowl = Bowl(np.array([5.0, -3.0, 2.0, -4.0, 7.0]), np.array([1.5, 0.5, 0.5, 0.2, 0.5]))
    end = follow(bowl, np.array([[1.0, 0.5, 0.5, 1.0, 0.5]]), 1, 0.1, 1e-10)
    np.testing.assert_allclose(end.points, [[1.0, 0.5, 0.5, 1.0, 0.5]])
    np.testing.assert_allclose(end.curvature, [[-3.0, 2.0]])
    np.testing.assert_allclose(np.abs(end.mode), [[0, 1, 0, 0, 0]], atol=1e-12)
    assert end.of_index(1, 1e-10, 1e-10).all()
