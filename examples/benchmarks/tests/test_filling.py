"""Filling a potential by labelled crystals of a class, in short: all arms and choices, on tiny crystals."""

from __future__ import annotations

import gzip
import json
import math
import re

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from helpers import DGL, csv_rows, fresh_tensornet
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

import matgl_fill as mf
from examples.benchmarks.potentials.filling import Study
from examples.benchmarks.potentials.filling_arms import ARMS, Lesson, naive
from examples.benchmarks.potentials.filling_data import CHOICES, Labelled, order
from examples.benchmarks.tests.commands import command
from matgl_fill.adapters import predict
from matgl_fill.errors import InputError
from matgl_fill.structures import bundled
from matgl_fill.training.potential import crystals, tune

pytestmark = pytest.mark.skipif(DGL, reason="the bundled potential is for PyG")
METALS = ("Al", "Cu", "Ni", "Pd", "Ag")
SHORT = ["--set", "steps=3", "--set", "batch_size=2", "--set", "replay_batch=1"]


def alloys(count, seed):
    """Displaced CsCl cells of pairs of metals, labelled by EMT."""
    rng, frames = np.random.default_rng(seed), []
    for k in range(count):
        pair = [METALS[k % 5], METALS[(k + 1 + k // 5 % 4) % 5]]
        cell = Lattice.cubic(2.9 + 0.1 * rng.normal())
        atoms = AseAtomsAdaptor.get_atoms(Structure(cell, pair, [[0, 0, 0], [0.5, 0.5, 0.5]]), msonable=False)
        atoms.rattle(0.15, rng=rng)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alloys")
    write(folder / "train.extxyz", alloys(24, 0))
    write(folder / "test.extxyz", alloys(10, 1))
    elsewhere = [s for s in bundled.bundled_pool((*METALS, "O", "Mg")).structures if "O" in s.symbol_set]
    mf.structures.write_structures(elsewhere, folder / "elsewhere.extxyz")
    return folder


@pytest.fixture(scope="module")
def words(files):
    parts = ("train", "test", "elsewhere")
    return ["filling", "potential", *(w for p in parts for w in (f"--{p}", files / f"{p}.extxyz")), "--second", ""]


@pytest.fixture(scope="module")
def few():
    """Fewer crystals to hold the potential by, so that all arms take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in ((tune, "GENERAL", 40), (tune, "ELSEWHERE", 20), (crystals, "MEMBERS", 6)):
            patch.setattr(module, name, value)
        for name, value in (("KNOWN", 4), ("RELAX_STEPS", 3), ("ROUNDS", 1)):
            patch.setattr(crystals, name, value)
        yield


@pytest.fixture(scope="module")
def rows(files, words, few):
    out = files / "rows.jsonl"
    arms = ["-n", "24", "--seeds", "0", "--arms", ",".join(ARMS)]
    assert "8 of 8 measurements to be made" in command(*words, *arms, *SHORT, "-o", out)
    return out


def test_every_arm_is_measured_across_the_class_and_elsewhere(rows, files):
    found = {row["arm"]: row for row in map(json.loads, rows.read_text().splitlines())}
    assert set(found) == set(ARMS)
    for arm, row in found.items():
        assert {"energy", "forces", "stress"} <= set(row["changes"]), arm
        assert row["changes"]["forces"]["before"] == found["default"]["changes"]["forces"]["before"]
        assert row["worst"]["distance"]["forces"]["n"] == 5
        assert set(row["elsewhere"]) == {"at rest", "displaced"}
        changed = row["changes"]["forces"]["change_percent"] != 0
        assert changed == (row["weight"] > 0), arm
    for drift in found["default"]["elsewhere"].values():
        assert drift["forces"] < 1e-5  # oxides are not among the elements of the class
    assert found["naive"]["elsewhere"]["displaced"]["forces"] > 1e-3
    assert found["general"]["elsewhere"] != found["both"]["elsewhere"] != found["l2sp"]["elsewhere"]
    assert found["both"]["accepted"] is None


def test_rows_that_are_there_are_not_made_again_and_come_as_a_table(rows, words, tmp_path):
    before = rows.read_text()
    done = command(*words, "-n", "24", "--seeds", "0", "--arms", "default,naive", *SHORT, "-o", rows)
    assert "0 of 2 measurements to be made" in done
    assert rows.read_text() == before
    shown = command("filling-table", rows, "--csv", tmp_path / "filling.csv")
    assert "potential" in shown
    table = csv_rows(tmp_path / "filling.csv")
    assert [line["arm"] for line in table] == list(ARMS)
    forces = json.loads(before.splitlines()[0])["changes"]["forces"]
    assert float(table[0]["forces before"]) == pytest.approx(forces["before"], abs=1e-5)
    assert all(float(line["seconds"]) > 0 for line in table)


def test_choices_are_orders_of_all_crystals_that_look_at_no_label(files):
    adapter = mf.get_adapter(mf.load_model("potential"))
    labelled = Labelled.read(files / "train.extxyz", adapter)
    wrong = Labelled(labelled.frames, labelled.structures, labelled.labels.subset(np.arange(24)[::-1]))
    second = mf.get_adapter(fresh_tensornet())
    assert len(labelled) == 24
    for name in CHOICES:
        found = order(name, adapter, second, labelled, 0)
        assert sorted(found.tolist()) == list(range(24)), name
        np.testing.assert_array_equal(found, order(name, adapter, second, wrong, 0))
    assert order("random", adapter, None, labelled, 0).tolist() != order("random", adapter, None, labelled, 1).tolist()
    with pytest.raises(InputError, match="another potential"):
        order("disagreement", adapter, None, labelled, 0)


def test_farthest_crystals_lie_farther_apart_than_random_ones(files):
    adapter = mf.get_adapter(mf.load_model("potential"))
    labelled = Labelled.read(files / "train.extxyz", adapter)
    Z = adapter.embed_graphs(adapter.graphs(labelled.structures))[0]
    X = (Z - Z.mean(0)) / Z.std(0).clip(1e-9)

    def least(choice):
        chosen = X[order(choice, adapter, None, labelled, 0)[:5]]
        apart = np.linalg.norm(chosen[:, None] - chosen, axis=2)
        return apart[~np.eye(5, dtype=bool)].min()

    assert least("farthest") > least("random")


def test_the_worst_by_distance_are_those_far_from_what_was_calculated(files):
    adapter = mf.get_adapter(mf.load_model("potential"))
    labelled = Labelled.read(files / "train.extxyz", adapter)
    study = Study(adapter, None, labelled, labelled, None)
    score = study.scores(labelled.subset(np.arange(12)))["distance"]
    assert score[:12].max() < 1e-3 < score[12:].min()


def test_naive_training_starts_from_the_potential_itself(files, capsys):
    """References, scale, units and the sign of the stress are right: its own labels leave it nothing to learn."""
    model = mf.load_model("potential")
    adapter = mf.get_adapter(model)
    labelled = Labelled.read(files / "train.extxyz", adapter)
    own = predict(adapter, adapter.graphs(labelled.structures))
    same = Labelled(labelled.frames, labelled.structures, mf.training.Labels(own.energy, own.forces, own.stress))
    found = naive(Lesson(model, same, 0, {"steps": 0}))
    left = {name: float(value) for name, value in re.findall(r"test_(\w+)_MAE\s+│\s+(\S+)", capsys.readouterr().out)}
    assert found.notes == ("0 epochs",)
    assert left["Energy"] < 1e-5
    assert left["Force"] < 1e-5
    assert left["Stress"] < 1e-3  # GPa
    after = predict(mf.get_adapter(found.potential), adapter.graphs(labelled.structures))
    np.testing.assert_allclose(after.energy, own.energy, atol=1e-4)


def test_lines_of_the_study_become_files_of_labels_with_their_sign(tmp_path):
    """Both forms of lines, and held out as the file says or by a seed."""
    atoms = alloys(6, 2)
    stress = [a.get_stress(voigt=False) for a in atoms]
    rows = [
        {"id": f"a-{k}", "split": "test" if k == 5 else "train", "numbers": a.numbers.tolist()}
        | {"cell": a.cell.tolist(), "positions": a.positions.tolist(), "energy_eV": a.get_potential_energy()}
        | {"forces_eV_per_A": a.get_forces().tolist(), "stress_eV_per_A3": stress[k].tolist()}
        for k, a in enumerate(atoms)
    ]
    torn = rows[0] | {"forces_eV_per_A": [[40.0, 0.0, 0.0], [-40.0, 0.0, 0.0]]}  # more than the package learns from
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write(json.dumps(torn) + "\n")
        file.writelines(json.dumps(row) + "\n" for row in rows)
    assert "5 labelled crystals to learn from, 1 to test on" in command(
        "filling-data", tmp_path / "a.jsonl.gz", "-o", tmp_path
    )
    labelled = mf.training.read_labelled(tmp_path / "train.extxyz")
    np.testing.assert_allclose(labelled.labels.stress, stress[:5], atol=1e-7)
    np.testing.assert_allclose(labelled.labels.forces[3], atoms[3].get_forces(), atol=1e-7)
    for row, a in zip(rows, atoms, strict=True):
        made = {
            "lattice": row.pop("cell"),
            "species": a.get_chemical_symbols(),
            "frac_coords": a.get_scaled_positions().tolist(),
        }
        row["structure"] = made
        del row["split"], row["stress_eV_per_A3"], row["numbers"], row["positions"]
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    assert "4 labelled crystals to learn from, 2 to test on" in command(
        "filling-data", tmp_path / "b.jsonl.gz", "-o", tmp_path / "b", "--test", "2"
    )
    assert len(read(tmp_path / "b" / "test.extxyz", ":")) == 2
    assert all(math.isnan(s) for s in mf.training.read_labelled(tmp_path / "b" / "test.extxyz").labels.stress.ravel())


def test_of_extended_xyz_whole_formulas_are_held_out(tmp_path):
    write(tmp_path / "labelled.extxyz", alloys(12, 2))
    command("filling-data", tmp_path / "labelled.extxyz", "-o", tmp_path / "parts")
    train, test = (read(tmp_path / "parts" / f"{name}.extxyz", ":") for name in ("train", "test"))
    assert len(train) + len(test) == 12
    assert test
    assert not {str(a.symbols) for a in train} & {str(a.symbols) for a in test}
