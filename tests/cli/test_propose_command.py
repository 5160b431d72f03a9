from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from helpers import csv_rows, run_here
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

import matgl_fill as mf
from matgl_fill.config.config import SearchConfig
from matgl_fill.generation.filters import NAMES
from matgl_fill.generation.report import WRITTEN

N = 3
SIZE = 60
FILES = {"proposals.extxyz", "proposals.csv", "targets.csv", "map.png", "map.svg", "summary.json", "cif", "poscar"}
COLUMNS = "id formula n_atoms space_group parent moves target target_nearest distance roughness charge nearest"


def command(out, *arguments):
    return [sys.executable, "-m", "matgl_fill", "propose", "default", "in.jsonl", "-n", str(N), "-o", out, *arguments]


def environment(threads):
    return os.environ | {"OMP_NUM_THREADS": str(threads)}


def run(folder, out, threads=1):
    done = subprocess.run(
        command(out), cwd=folder, env=environment(threads), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def some(pool):
    return pool.subset(range(SIZE))


@pytest.fixture(scope="module")
def folder(some, tmp_path_factory):
    """Where a user has crystals, one of them unknown to the model."""
    folder = tmp_path_factory.mktemp("propose")
    rows = [{"id": i, "structure": s.as_dict()} for i, s in zip(some.ids, some.structures, strict=True)]
    rows.insert(3, {"id": "exotic", "structure": Structure(Lattice.cubic(5), ["Fr"], [[0, 0, 0]]).as_dict()})
    (folder / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module")
def written(folder):
    text = run(folder, "out")
    return folder / "out", text


@pytest.fixture(scope="module")
def proposals(model, some):
    return mf.propose(model, some, n=N, seed=0)


def contents(out):
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def scaled(points, Z):
    return (points - Z.mean(axis=0)) / Z.std(axis=0)


def test_all_files_are_written_and_the_call_tells_cost_and_skipped(written):
    out, text = written
    assert {p.name for p in out.iterdir()} == FILES == {*WRITTEN}
    assert {p.stem for p in (out / "cif").iterdir()} == {"fill-0001", "fill-0002", "fill-0003"}
    assert f"{SIZE} crystals by MEGNet: embedding about" in text
    assert "skipped exotic: element Fr is unknown to the model" in text
    assert f"{N} crystals in out" in text
    assert ">target (" in (out / "map.svg").read_text()
    assert f">proposal ({N})" in (out / "map.svg").read_text()


def test_every_format_holds_the_crystals_of_the_library(written, proposals):
    out, _ = written
    frames = ase.io.read(out / "proposals.extxyz", ":")
    for p, frame in zip(proposals, frames, strict=True):
        expected = p.structure.get_sorted_structure()
        cif = Structure.from_file(out / "cif" / f"{p.id}.cif")
        poscar = out / "poscar" / f"{p.id}.vasp"
        assert poscar.read_text().splitlines()[5].split() == [
            e.symbol for e in sorted(p.structure.elements, key=lambda e: e.X)
        ]
        for s in (cif, Structure.from_file(poscar), mf.read_structures(frame).structures[0]):
            assert [x.specie.symbol for x in s] == [x.specie.symbol for x in expected]
            np.testing.assert_allclose(s.distance_matrix, expected.distance_matrix, atol=1e-6)


def test_provenance_survives_ase_and_our_own_reader(written, proposals, tmp_path):
    out, _ = written
    frames = ase.io.read(out / "proposals.extxyz", ":")
    ase.io.write(tmp_path / "again.extxyz", frames)
    for p, frame in zip(proposals, ase.io.read(tmp_path / "again.extxyz", ":"), strict=True):
        told = {"id": p.id, "parent": p.parent, "moves": p.moves, "distance": p.distance, "roughness": p.roughness}
        assert frame.info == told | {"model": "default", "seed": 0}
    read = mf.read_structures(out / "proposals.extxyz")
    assert read.ids == [p.id for p in proposals]
    assert read.labels["distance"].tolist() == [p.distance for p in proposals]
    assert read.labels["roughness"].tolist() == [p.roughness for p in proposals]
    assert read.labels["seed"].tolist() == [0] * N


def test_labels_come_back_as_the_documentation_says(written, tmp_path):
    frames = ase.io.read(written[0] / "proposals.extxyz", ":")
    rng = np.random.default_rng(0)
    for atoms in frames:
        forces, stress = rng.normal(size=(len(atoms), 3)), rng.normal(size=6)
        atoms.calc = SinglePointCalculator(atoms, energy=rng.normal(), forces=forces, stress=stress)
    ase.io.write(tmp_path / "labelled.extxyz", frames)
    labelled = mf.read_structures(tmp_path / "labelled.extxyz")
    assert labelled.ids == [a.info["id"] for a in frames]
    np.testing.assert_allclose(labelled.labels["energy"], [a.get_potential_energy() for a in frames], atol=1e-8)


def test_tables_say_what_can_be_computed_again(written, model, some, proposals):
    out, _ = written
    table, targets = csv_rows(out / "proposals.csv"), csv_rows(out / "targets.csv")
    assert list(table[0]) == [*COLUMNS.split(), "nearest_distance"]
    Z = mf.embed(model, some)
    X = scaled(Z, Z)
    pairs = np.linalg.norm(X[:, None] - X, axis=2)
    unit = np.median(np.sort(pairs, axis=1)[:, 1])
    points = np.array([[float(t[f"z{j}"]) for j in range(Z.shape[1])] for t in targets])
    far = np.linalg.norm(scaled(points, Z)[:, None] - X, axis=2) / unit
    assert [t["nearest"] for t in targets] == [some.ids[i] for i in far.argmin(axis=1)]
    np.testing.assert_allclose([float(t["distance"]) for t in targets], far.min(axis=1), rtol=1e-4)
    assert [float(t["roughness"]) for t in targets] == sorted((float(t["roughness"]) for t in targets), reverse=True)
    made = scaled(mf.embed(model, [p.structure for p in proposals]), Z)
    for row, p, x in zip(table, proposals, made, strict=True):
        target = int(row["target"])
        np.testing.assert_allclose(points[target], p.target, rtol=1e-6)
        achieved = np.linalg.norm(x - scaled(points[target], Z)) / unit
        assert float(row["distance"]) == pytest.approx(achieved, rel=1e-3)
        assert row["target_nearest"] == targets[target]["nearest"]
        assert row["roughness"] == targets[target]["roughness"]
        known = np.linalg.norm(X - x, axis=1) / unit
        assert row["nearest"] == some.ids[known.argmin()]
        assert float(row["nearest_distance"]) == pytest.approx(known.min(), rel=1e-3)
        assert row["parent"] in some.ids
        assert (row["formula"], int(row["n_atoms"])) == (p.structure.composition.reduced_formula, len(p.structure))
        assert row["space_group"] == SpacegroupAnalyzer(p.structure, 0.01).get_space_group_symbol()
        assert row["charge"] in ("balanced", "no oxidation states")


def test_the_summary_counts_what_every_filter_refused(written, proposals):
    summary = json.loads((written[0] / "summary.json").read_text())
    assert summary["proposals"] == N
    assert tuple(summary["refused"]) == NAMES
    assert sum(summary["refused"].values()) > N
    assert set(summary["passed_over"]) <= {"parent", "formula", "known", "alloys"}
    assert summary["median_distance"] == np.median([p.distance for p in proposals])
    assert summary["skipped"] == [{"where": "exotic", "reason": "element Fr is unknown to the model"}]
    asked = {"model": "default", "structures": "in.jsonl", "n": N, "seed": 0, "state": None}
    asked |= {"choice": "roughness", "neighbours": 10, "exclude_elements": [], "max_atoms": 24}
    assert summary["settings"] == asked | {"shares": SearchConfig().shares}
    assert {"matgl", "torch", "ase"} <= set(summary["versions"])


def test_a_killed_call_goes_on_to_the_same_files_byte_for_byte(folder, written):
    started = subprocess.Popen(command("killed"), cwd=folder, env=environment(1), stdout=subprocess.DEVNULL)
    partial = folder / "killed" / "search.partial"
    try:
        while not partial.exists():
            assert started.poll() is None, "ended without a checkpoint"
            time.sleep(0.01)
    finally:
        started.kill()
        started.wait()
    assert {p.name for p in (folder / "killed").iterdir()} <= {"search.partial", "search.partial.part"}
    assert "going on from killed/search.partial" in run(folder, "killed")
    assert contents(folder / "killed") == contents(folder / "out")


def test_one_seed_gives_one_set_of_crystals_in_another_process_with_two_threads(folder, written):
    def digest(out):
        files = {k: v for k, v in contents(out).items() if k.endswith((".extxyz", ".cif", ".vasp"))}
        assert len(files) == 1 + 2 * N
        return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()

    run(folder, "again", threads=2)
    assert digest(folder / "again") == digest(written[0])


def test_files_of_an_earlier_call_do_not_stay_among_the_new(folder, written, tmp_path, monkeypatch, capsys):
    for name in ("cif/fill-0009.cif", "poscar/fill-0009.vasp", "cif/mine.cif"):
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    monkeypatch.chdir(folder)
    arguments = ["default", "in.jsonl", "-n", 1, "--choice", "random", "--seed", 5, "-o", tmp_path / "out"]
    code, _, error = run_here(monkeypatch, capsys, "propose", *arguments)
    assert code == 2
    assert "holds cif, poscar already" in error
    assert set(contents(tmp_path / "out")) == {"cif/fill-0009.cif", "poscar/fill-0009.vasp", "cif/mine.cif"}
    code, _, error = run_here(monkeypatch, capsys, "propose", *arguments, "--overwrite")
    assert code == 0, error
    left = {k for k in contents(tmp_path / "out") if "/" in k}
    assert left == {"cif/fill-0001.cif", "cif/mine.cif", "poscar/fill-0001.vasp"}
    row = csv_rows(tmp_path / "out" / "targets.csv")[0]
    assert float(row["distance"]) < 1e-3  # a control takes pool crystals as targets
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["settings"]["choice"] == "random"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["default", "nowhere.cif"], 2, "nowhere.cif"),
        (["default", "few.jsonl"], 2, "19 usable crystals, at least 20"),
        (["default", "in.jsonl", "-n", "0"], 2, "--n"),
        (["default", "in.jsonl", "--choice", "smooth"], 2, "--choice"),
        (["{folder}/nothing", "in.jsonl"], 3, "does not exist"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing(folder, arguments, code, message, monkeypatch, capsys):
    lines = (folder / "in.jsonl").read_text().splitlines()
    (folder / "few.jsonl").write_text("\n".join(lines[4:23]))
    monkeypatch.chdir(folder)
    found, _, error = run_here(
        monkeypatch, capsys, "propose", *(a.format(folder=folder) for a in arguments), "-o", "nowhere"
    )
    assert found == code
    assert message in error
    assert not (folder / "nowhere").exists()


@pytest.mark.parametrize("content", [b"something else", b"", b"PK\x03\x04 cut off"])
def test_a_checkpoint_that_is_none_is_refused_and_kept(folder, monkeypatch, capsys, content):
    partial = folder / "foreign" / "search.partial"
    partial.parent.mkdir(exist_ok=True)
    partial.write_bytes(content)
    monkeypatch.chdir(folder)
    code, _, error = run_here(monkeypatch, capsys, "propose", "default", "in.jsonl", "-n", N, "-o", "foreign")
    assert code == 2
    assert "the search cannot be resumed" in error
    assert "search.partial is not a saved state" in error
    assert partial.read_bytes() == content


def test_help_names_every_file_and_shows_a_call(monkeypatch, capsys):
    code, text, _ = run_here(monkeypatch, capsys, "propose", "--help")
    assert code == 0
    words = " ".join(text.replace("│", " ").split())
    for expected in ("proposals.extxyz", "proposals.csv", "targets.csv", "summary.json", "search.partial", "farthest"):
        assert expected in words
    assert "matgl-fill propose default" in words
