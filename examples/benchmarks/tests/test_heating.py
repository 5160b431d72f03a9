from __future__ import annotations

import json

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.io import read
from helpers import LENIENT
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

import matgl_fill as mf
from examples.benchmarks.__main__ import app
from examples.benchmarks.potentials.heating import COLD, HOT, MEASURES, heat, heated
from matgl_fill.errors import InputError
from matgl_fill.structures import bundled


@pytest.fixture(scope="module")
def calc():
    potential = mf.load_model(bundled.POTENTIAL)
    known = bundled.bundled_pool(potential.model.element_types).subset(range(60))
    return mf.FillCalculator(potential, pool=known)


@pytest.fixture(scope="module")
def alloy():
    sites = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(3.75), ["Au", "Cu", "Cu", "Cu"], sites)


def test_a_heated_crystal_gets_newer_and_what_it_met_is_learnt(calc, alloy):
    watch = {"novelty": None, "per_atom": 1e-3, "spacing": 0.01, "budget": 8}
    result = heated(calc, alloy, EMT(), steps=120, watch=watch)
    first, test, errors = result.heating, result.test, result.errors
    assert len(first.frames[0]) == 32
    assert first.temperature[0] == pytest.approx(COLD)
    assert first.temperature[-1] == pytest.approx(HOT)
    assert first.correlation("max_novelty_per_atom") > 0.5
    assert len(result.collected) == 8
    assert (
        np.mean([f.info["max_novelty_per_atom"] for f in result.collected])
        > first.measures["max_novelty_per_atom"].mean()
    )
    assert len(test.structures) == len(test.labels.energy) == 24
    assert not np.allclose(test.structures[-1].cart_coords, first.frames[-1].positions)
    assert errors["watched"].mean() < 0.8 * errors["before"].mean()
    assert errors["control"].shape == errors["watched"].shape == errors["before"].shape
    assert all(result.guard[arm]["accepted"] for arm in ("watched", "control"))
    assert calc.potential is calc.original


def test_one_seed_gives_one_run(calc, alloy):
    a, b, c = (heat(calc, alloy, 10, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(a.frames[-1].positions, b.frames[-1].positions)
    assert np.abs(a.frames[-1].positions - c.frames[-1].positions).max() > 1e-3
    assert {len(v) for v in a.measures.values()} == {3}
    assert set(a.measures) == set(MEASURES)


def test_the_command_prints_a_table_and_appends_a_line(alloy, tmp_path):
    known = Structure(Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    mf.structures.write_structures([alloy], tmp_path / "crystals.extxyz")
    settings = [f"--set={k}={v}" for k, v in LENIENT.items()]
    short = ["-n", "1", "--steps", "20", "--budget", "2", "--novelty", "0.01", "--json", str(tmp_path / "line.jsonl")]
    oracle = ["--oracle", "ase.calculators.emt:EMT"]
    few = ["--pool", str(bundled.ASSETS / "crystals_pool.jsonl.gz"), "--known", "60"]
    command = ["heating", "potential", str(tmp_path / "crystals.extxyz"), *oracle, *short, *few, *settings]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    line = json.loads((tmp_path / "line.jsonl").read_text())
    assert line["collected"] == 2
    assert f"{line['force_error']['before']:.4f}" in done.output
    assert set(line["correlation"]) == set(MEASURES)
    mf.structures.write_structures([known * (3, 3, 3)], tmp_path / "crystals.extxyz")
    with pytest.raises(InputError, match="2 to 8 atoms"):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_frames_of_a_heated_crystal_come_with_the_oracles_labels(alloy, tmp_path):
    mf.structures.write_structures([alloy], tmp_path / "crystals.extxyz")
    words = ["frames", "potential", str(tmp_path / "crystals.extxyz"), "Cu3Au", "--oracle", "ase.calculators.emt:EMT"]
    out = tmp_path / "labelled.extxyz"
    done = CliRunner().invoke(app, [*words, "-n", "2", "-o", str(out)], catch_exceptions=False)
    assert "2 labelled frames of 16 atoms" in done.output
    first, second = read(out, ":")
    assert np.abs(first.positions - second.positions).max() > 1e-3
    energy = second.get_potential_energy()
    second.calc = EMT()
    assert second.get_potential_energy() == pytest.approx(energy, abs=1e-6)
    with pytest.raises(InputError, match="no crystal 'NaCl'"):
        CliRunner().invoke(app, [*words[:3], "NaCl", *words[4:]], catch_exceptions=False)
