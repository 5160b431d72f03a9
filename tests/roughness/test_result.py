from __future__ import annotations

import numpy as np
import pytest
from helpers import bumpy

import matgl_fill as mf
from matgl_fill.errors import InputError
from matgl_fill.roughness import RoughnessResult, StationaryNetwork


def test_network_and_result_survive_files(tmp_path):
    result = mf.analyze_roughness(*bumpy(200, 2), method="landscape")
    result.save(tmp_path / "r.npz")
    result.network.to_topsearch(tmp_path / "text", "_x")
    again = RoughnessResult.load(tmp_path / "r.npz")
    text = StationaryNetwork.from_topsearch(tmp_path / "text", "_x")
    for name, array in result.network.arrays().items():
        np.testing.assert_array_equal(getattr(again.network, name), array)
        np.testing.assert_array_equal(getattr(text, name), array)
    points, values = result.maxima(5)
    np.testing.assert_array_equal(again.maxima(5)[0], points)
    np.testing.assert_array_equal(again.local(points), values)
    assert again.frustration == result.frustration
    with pytest.raises(InputError, match="missing or not a roughness file"):
        RoughnessResult.load(tmp_path / "none.npz")
