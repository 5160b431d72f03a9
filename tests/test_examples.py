"""Every example of the gallery runs as a reader would run it and prints what matters."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import DGL, shared

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NUMBER = r"([-+]?\d+\.?\d*(?:e[-+]?\d+)?)"
ON_DGL = "dgl_m3gnet"
EMT = "ase.calculators.emt:EMT"
"""An oracle that comes with ASE; SevenNet, the examples' own, is not installed everywhere."""


def run(name: str, folder: Path, *arguments: str | Path) -> str:
    """What an example prints, in a folder of its own; it must end well and must not bring a warning of our own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8", "TMPDIR": str(folder)}
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr.replace("DGLWarning", ""), done.stderr
    return done.stdout


def values(pattern: str, text: str) -> np.ndarray:
    """The numbers of a pattern's only group, wherever it occurs."""
    found = re.findall(pattern, text, re.MULTILINE)
    assert found, f"nothing like {pattern!r} in:\n{text}"
    return np.array(found, dtype=float)


@pytest.mark.skipif(DGL, reason="runs on PyG")
class TestExamples:
    def test_drop_in(self, tmp_path):
        text = run("drop_in", tmp_path)
        assert "guard: accepted" in text
        assert values(rf"MAE change: mean {NUMBER} %", text)[0] > 2
        assert values(rf"original ⊕ descriptors +{NUMBER} %", text)[0] > 0
        assert "the first half is the original, to the bit: True" in text
        assert "gives the caller's own model back: True" in text
        assert "read by plain MatGL, same embedding: True" in text

    def test_features_for_random_forest(self, tmp_path):
        text = run("features_for_random_forest", tmp_path)
        deviation = values(rf"mean deviation {NUMBER}", text)[0]
        ways = ("descriptors", "original", "tuned", r"tuned \+ descriptors", "joined with a potential")
        curves = np.array([[values(rf"^{way} +.*\b{n}: {NUMBER}", text)[0] for n in (50, 100, 200)] for way in ways])
        assert (curves[:, 0] < deviation).all()
        assert (np.diff(curves) < 0).all()
        assert curves[:, -1].argmin() == 0, "its text says that descriptors are best"
        assert values(rf"^best of 8: .* error {NUMBER}$", text)[0] < curves[:, 1].max()
        assert list(tmp_path.rglob("curves.png"))

    def test_roughness_of_your_model(self, tmp_path):
        text = run("roughness_of_your_model", tmp_path)
        assert len(values(rf"frustration {NUMBER}", text)) == 3
        height = values(rf"local roughness {NUMBER} beside", text)
        assert (np.diff(height) <= 0).all()
        assert height[-1] > 0
        assert {p.name for p in tmp_path.rglob("*.png")} == {"map.png", "disconnectivity.png"}

    def test_propose_for_dft(self, tmp_path):
        text = run("propose_for_dft", tmp_path)
        assert len(re.findall("^fill-", text, re.M)) == 20
        kinds = re.findall(r"^fill-\d+: (displaced|strained|supercell|vacancy|surface|dynamics|member) ", text, re.M)
        assert len(kinds) == 10
        assert kinds.count("displaced") == 4
        assert "10 crystals labelled" in text
        assert "accepted" in text
        first = values(rf"labels +weighted loss {NUMBER}", text)[0]
        assert values(rf"labels.* {NUMBER} at last", text)[0] < first

    def test_tune_on_real_dft(self, tmp_path):
        text = run("tune_on_real_dft", tmp_path)
        assert "21 crystals show the class; 10 labels to learn from, 19 to judge" in text
        rows = re.findall(rf"(energy|forces|stress) +│ +19 │ +{NUMBER} │ +{NUMBER} │", text)
        assert [name for name, _, _ in rows] == ["energy", "forces", "stress"]
        before, after = np.array([row[1:] for row in rows], dtype=float).T
        np.testing.assert_allclose(before, [0.1277, 0.8871, 0.03426], rtol=0.01)
        assert np.isfinite(after).all()

    def test_md_fills_its_gaps(self, tmp_path):
        text = run("md_fills_its_gaps", tmp_path, "--oracle", EMT)
        before, after = values(rf"force error against {EMT}: {NUMBER} eV/A", text)
        assert after < before
        assert "accepted" in text
        assert values(r"(\d+) kept in gaps.extxyz", text)[0] > 5
        assert values(rf"force drift {NUMBER} of", text)[0] <= 0.02
        assert "undo gives the caller's own model back: True" in text

    def test_relax_before_after(self, tmp_path):
        text = run("relax_before_after", tmp_path, "--oracle", EMT)
        before, after = (abs(values(rf"^{when} .* {NUMBER} % off", text)[0]) for when in ("before", "after"))
        assert after < before / 2
        assert "accepted" in text
        assert "the same relaxation as before, to the bit: True" in text

    def test_add_an_architecture(self, tmp_path):
        text = run("add_an_architecture", tmp_path)
        assert "the contract: OK" in text
        assert values(r"(\d+) passed", text)[0] >= 20
        assert values(rf"it was trained on {NUMBER} eV/atom", text)[0] < 0.3
        assert "FilledPairNet, guard: accepted" in text
        assert values(rf"error of probes {NUMBER} %", text).mean() > 0

    def test_upgrade_old_checkpoint(self, tmp_path):
        text = run("upgrade_old_checkpoint", tmp_path)
        assert values(rf"it is wrong by {NUMBER} eV/atom on average", text)[0] > 0.01
        assert "was made before MatGL 3 (MatGL until 2.1)" in text
        assert values(rf"when it was made by {NUMBER} eV/atom", text)[0] == 0
        assert values(rf"differs from the upgraded model by {NUMBER}", text)[0] == 0

    def test_no_example_is_forgotten(self):
        tested = {name.removeprefix("test_") for name in dir(type(self)) if name.startswith("test_")}
        assert {p.stem for p in EXAMPLES.glob("*.py")} <= tested | {ON_DGL}


@pytest.mark.skipif(not DGL, reason="runs on the DGL backend; make test-dgl")
@pytest.mark.parametrize("model", [None, "M3GNet-MP-2021.2.8-PES"])
def test_dgl_m3gnet(tmp_path, model):
    text = run(ON_DGL, tmp_path, *([shared(f"models_legacy/{model}")] if model else []))
    assert "MatGL runs on DGL" in text
    assert "accepted" in text
    assert len(re.findall("^fill-", text, re.M)) == 5
    assert "same energy and forces to the bit: True" in text
