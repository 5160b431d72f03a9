from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator

from matgl_fill.errors import InputError
from matgl_fill.roughness import landscape_network
from matgl_fill.roughness.landscape.surface import ThinPlateSurface, dense_hessian


def test_thin_plate_is_that_of_scipy_with_its_derivatives():
    rng = np.random.default_rng(0)
    X, y, x = rng.uniform(size=(60, 3)), rng.uniform(size=60), rng.uniform(size=(7, 3))
    surface = ThinPlateSurface(X, y)
    np.testing.assert_allclose(surface.value(x), RBFInterpolator(X, y, smoothing=1e-4)(x), rtol=1e-9)
    step = 1e-6 * np.eye(3)
    slope = np.stack([(surface.value(x + e) - surface.value(x - e)) / 2e-6 for e in step], axis=1)
    np.testing.assert_allclose(surface.gradient(x), slope, rtol=1e-5, atol=1e-6)
    bend = np.stack([(surface.gradient(x + e) - surface.gradient(x - e)) / 2e-6 for e in step], axis=1)
    np.testing.assert_allclose(dense_hessian(surface, x), bend, rtol=1e-5, atol=1e-4)


def test_thin_plate_of_high_dimension_is_exact_next_to_data_points():
    """There expanded distances would lose all digits."""
    rng = np.random.default_rng(0)
    X, y = rng.uniform(size=(300, 40)), rng.uniform(size=300)
    surface, reference = ThinPlateSurface(X, y), RBFInterpolator(X, y, smoothing=1e-4)
    directions = rng.normal(size=(300, 40))
    for distance in (0.0, 1e-9, 1e-6, 1e-3, 1e-1):
        x = X + distance * directions
        r = x[:, None] - X
        square = np.maximum((r**2).sum(axis=2), 1e-300)
        slope = np.einsum("mn,mnd->md", surface.weights * (np.log(square) + 1), r) + surface.slope
        np.testing.assert_allclose(surface.value(x), reference(x), rtol=1e-9)
        np.testing.assert_allclose(surface.gradient(x), slope, rtol=1e-9, atol=1e-11)
        np.testing.assert_array_equal(surface.value_gradient(x)[0], surface.value(x))


def test_thin_plate_needs_points_that_span_the_space():
    line = np.linspace(0, 1, 20)[:, None] * np.ones(3)
    with pytest.raises(InputError, match="fewer than 3 dimensions"):
        landscape_network(line, np.sin(9 * line[:, 0]))
