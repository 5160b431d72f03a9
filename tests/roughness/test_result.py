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


SPOILED = {
    "minima": [np.array(1.0), np.ones(3), np.full((4, 2), np.nan)],
    "pairs": [np.array([[0, 10**6]]), np.array([[0.5, 1.0]]), np.array([[-1, 0]])],
    "ts_values": [np.array(1.0), np.ones(1000)],
    "origin": [np.array(0.0), np.ones(7), np.array(["a", "b"])],
    "response": [np.array(0.0), np.array(["a"])],
    "width": [np.ones(3), np.array("wide")],
    "preset": [np.array("other"), np.ones(2)],
    "frustration": [np.ones(2)],
}


@pytest.mark.parametrize("name", SPOILED)
def test_arrays_that_are_no_result_are_input_errors(name, tmp_path):
    """Also in files of version 0.1.0, which have no checksum."""
    result = mf.analyze_roughness(*bumpy(60, 2))
    result.save(tmp_path / "r.npz")
    with np.load(tmp_path / "r.npz") as file:
        arrays = {key: file[key] for key in file.files if key != "sha256"}
    np.savez(tmp_path / "old.npz", **arrays)
    assert RoughnessResult.load(tmp_path / "old.npz").frustration == result.frustration
    for value in SPOILED[name]:
        np.savez(tmp_path / "bad.npz", **arrays | {name: value})
        with pytest.raises(InputError, match=r"^[^\n]*bad\.npz is (missing or )?not a roughness file[^\n]*$"):
            RoughnessResult.load(tmp_path / "bad.npz")
    np.savez(tmp_path / "bad.npz", **{key: value for key, value in arrays.items() if key != name})
    with pytest.raises(InputError, match=f"it lacks '{name}"):
        RoughnessResult.load(tmp_path / "bad.npz")


def test_a_network_in_json_is_whole_or_refused(tmp_path):
    network = mf.analyze_roughness(*bumpy(60, 2)).network
    network.save(tmp_path / "n.json")
    text, rng, refused = (tmp_path / "n.json").read_bytes(), np.random.default_rng(0), 0
    for place in rng.choice(len(text), 100, replace=False):
        damaged = bytearray(text)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "n.json").write_bytes(damaged)
        try:
            again = StationaryNetwork.load(tmp_path / "n.json")
            for key, array in network.arrays().items():
                np.testing.assert_array_equal(getattr(again, key), array)
        except InputError:
            refused += 1
    assert refused > 80
