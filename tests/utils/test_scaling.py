"""Scaled coordinates: zero and one where they should be, constant dimensions by rule, there and back, on tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from matgl_fill.utils.scaling import Scaling


@pytest.fixture
def points():
    points = np.random.default_rng(0).normal([3.0, -1.0, 0.0], [5.0, 0.1, 1.0], (40, 3))
    points[:, 2] = 7.0
    return points


def test_points_get_mean_zero_and_deviation_one(points):
    X = Scaling.of(points)(points)
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(X[:, :2].std(axis=0), 1)


def test_points_fill_the_unit_cube(points):
    X = Scaling.of_range(points)(points)
    assert (X.min(axis=0) == 0).all()
    np.testing.assert_allclose(X.max(axis=0), [1, 1, 0])


@pytest.mark.parametrize(("narrow", "extent"), [(None, 1e-9), (1.0, 1.0), (np.inf, np.inf)])
def test_constant_dimensions_get_the_extent_that_was_asked_for(points, narrow, extent):
    scaling = Scaling.of(points, narrow=narrow)
    assert scaling.extent[2] == extent
    assert (scaling(points)[:, 2] == 0).all()


@pytest.mark.parametrize("make", [Scaling.of, Scaling.of_range])
def test_there_and_back(points, make):
    scaling = make(points)
    np.testing.assert_allclose(scaling.inverse(scaling(points)), points, rtol=1e-12)


def test_single_precision_stays(points):
    scaling = Scaling.of(points.astype(np.float32))
    assert scaling(points.astype(np.float32)).dtype == np.float32


def test_tensors_are_scaled_alike(points):
    scaling, single = Scaling.of(points), torch.tensor(points, dtype=torch.float32)
    X = scaling.tensors(torch.float32)(single)
    assert X.dtype == torch.float32
    np.testing.assert_allclose(X[:, :2].numpy(), scaling(points)[:, :2], rtol=1e-4, atol=1e-5)
