"""The whole way as a user goes it: one call, the command line, real models, bad input."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import ase.io
import matgl
import numpy as np
import pytest
import torch
from helpers import MODELS, run_here, shared
from pymatgen.core import Structure
from typer.testing import CliRunner

import matgl_fill as mf
from matgl_fill.cli import app
from matgl_fill.errors import InputError, MatglFillError
from matgl_fill.evaluation import make_task, read_tasks
from matgl_fill.structures import Skipped, bundled, write_structures
from matgl_fill.training.run_state import WRITTEN

QUICK = "steps = 10\ncopies = 1\nreplay_size = 60\nalign_size = 20\n"


def digest(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "matgl_fill", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "quick.toml").write_text(QUICK)
    before = digest(bundled.MODEL)
    done = cli("run", "default", "-o", folder / "out", "--n", 6, "--config", folder / "quick.toml")
    assert done.returncode == 0, done.stderr
    assert digest(bundled.MODEL) == before
    return folder / "out", done


def test_command_writes_all_it_promises(finished):
    out, done = finished
    written = {p.name for p in out.iterdir()}
    assert written == {*WRITTEN}
    assert len(ase.io.read(out / "proposals.extxyz", ":")) == len(list((out / "cif").glob("*.cif"))) == 6
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    for word in ("frustration", "guard", "mean", "report.html", "phonon"):
        assert word in done.stdout


def test_report_holds_what_was_measured(finished):
    report = json.loads((finished[0] / "report.json").read_text())
    assert report["run"]["n_pool"] == 300
    assert [t["name"] for t in report["tasks"]] == [
        "log volume per atom",
        "log bulk modulus",
        "log max phonon frequency",
    ]
    assert {"prediction drift", "proxy probe: pair stiffness"} <= {c["measure"] for c in report["guard"]}
    assert set(report["history"]) == {"descriptor", "replay"}
    assert report["config"]["training"]["steps"] == 10
    assert len(report["proposals"]) == 6


def test_report_loads_nothing_from_the_network(finished):
    class Links(HTMLParser):
        found: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag, attrs):
            self.found += [
                v for k, v in attrs if k in ("src", "href", "xlink:href") and v and not v.startswith(("#", "data:"))
            ]

    html = (finished[0] / "report.html").read_text()
    parser = Links()
    parser.feed(html)
    assert parser.found == []
    assert "<script" not in html
    assert "@import" not in html


def test_saved_model_gives_identical_embeddings_in_a_fresh_process(finished, tmp_path):
    out, _ = finished
    code = (
        "import sys, numpy, matgl, matgl_fill as mf\n"
        "from matgl_fill.structures import bundled\n"
        f"model = matgl.load_model({str(out / 'model')!r})\n"
        f"numpy.save({str(tmp_path / 'Z.npy')!r}, mf.embed(model, bundled.ASSETS / 'crystals_pool.jsonl.gz'))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=300)
    here = mf.embed(matgl.load_model(str(out / "model")), bundled.ASSETS / "crystals_pool.jsonl.gz")
    np.testing.assert_array_equal(np.load(tmp_path / "Z.npy"), here)


@pytest.mark.parametrize("name", MODELS)
def test_every_shared_model_runs_on_the_shared_pool(name, tmp_path):
    """Model of every kind, real pool (a slice of it for time), tasks of shared/, files untouched."""
    folder, pool = shared(f"models/{name}"), mf.read_structures(shared("data/mp_pool.jsonl.gz"))
    tasks = mf.read_structures(shared("data/phonons_eval.jsonl.gz")).subset(range(80))
    before = digest(folder)
    model = mf.load_model(folder)
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    (tmp_path / "quick.toml").write_text(QUICK)
    config = tmp_path / "quick.toml"
    result = mf.fill_tune(model, pool.subset(range(200)), n=4, config=config, out=tmp_path / "out", tasks=tasks)
    assert digest(folder) == before
    assert all(torch.equal(weights[k], v) for k, v in model.state_dict().items())
    assert type(result.model) is type(model)
    assert [c.task for c in result.comparison.changes] == ["log last phdos peak"]
    assert result.report.run.objective == ["descriptor"]
    again = matgl.load_model(str(tmp_path / "out" / "model"))
    some = pool.subset(range(20))
    np.testing.assert_array_equal(mf.embed(again, some), mf.embed(result.model, some))


def test_tasks_of_shared_gain_without_any_label():
    """A short run on a slice of the real pool; the full figures are in the README."""
    model = mf.load_model(shared("models/MEGNet-MP-2018.6.1-Eform"))
    pool = mf.read_structures(shared("data/mp_pool.jsonl.gz")).subset(range(300))
    trained_on = ("formation_energy_mp2018_eV_per_atom", "formation_energy_2015_eV_per_atom")
    data = mf.read_structures(shared("data/mp_eval.jsonl.gz")).subset(range(800))
    labelled = {name: np.isfinite(y).sum() for name, y in data.labels.items() if name not in trained_on}
    found = read_tasks(data, [name for name, n in labelled.items() if n >= 80])[:8]
    tasks = [replace(t, structures=t.structures[:200], y=t.y[:200], groups=t.groups[:200]) for t in found]
    assert len(tasks) == 8
    result = mf.fill_tune(model, pool, n=10, config={"steps": 80, "copies": 5, "enlarge_pool": 0})
    assert result.accepted
    change = mf.compare(mf.evaluate(model, tasks, 1), mf.evaluate(result.model, tasks, 1))
    assert change.mean > 1.0


def test_matgl_potential_is_an_oracle_for_a_property_model(tmp_path, pool):
    oracle = shared("models/TensorNet-MatPES-PBE-v2025.1-PES")
    (tmp_path / "quick.toml").write_text(QUICK)
    write_structures(pool.structures[:60], tmp_path / "pool.extxyz")
    words = ["run", "default", tmp_path / "pool.extxyz", "-o", tmp_path / "out", "-n", 2, "--oracle", oracle]
    done = CliRunner().invoke(app, [str(w) for w in (*words, "--config", tmp_path / "quick.toml")])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["run"]["objective"] == ["descriptor", "oracle", "response"]
    assert report["run"]["oracle"] == oracle.name


CIF = """data_x
_cell_length_a 4
_cell_length_b 4
"""

ISOLATED = Structure(np.eye(3) * 30, ["Cs", "Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.59]])


def bad_pool(kind: str, folder: Path) -> Path:
    """A file or folder that cannot be used as it is."""
    if kind == "missing":
        return folder / "nowhere.cif"
    if kind == "empty":
        (folder / "empty.cif").write_text("")
        return folder / "empty.cif"
    if kind == "unparsable":
        (folder / "broken.cif").write_text(CIF)
        return folder / "broken.cif"
    (folder / "few.json").write_text(json.dumps([Structure(np.eye(3) * 3, ["Fe"], [[0, 0, 0]]).as_dict()] * 3))
    return folder / "few.json"


def one_line(code: int, monkeypatch, capsys, *words: object) -> str:
    """What the command line says of a call that ends with an exit code."""
    found, _, said = run_here(monkeypatch, capsys, *words)
    assert found == code
    assert len(said.strip().splitlines()) == 1
    assert said.startswith("error: ")
    return said


@pytest.mark.parametrize(
    ("kind", "message"),
    [("missing", "nowhere.cif"), ("empty", "empty"), ("unparsable", "broken.cif"), ("few", "at least 20 are needed")],
)
def test_bad_files_are_one_line_and_a_code(kind, message, tmp_path, monkeypatch, capsys):
    said = one_line(2, monkeypatch, capsys, "run", "default", bad_pool(kind, tmp_path), "-o", tmp_path / "out")
    assert message in said
    assert not (tmp_path / "out").exists()


def test_missing_model_is_one_line_and_a_code(tmp_path, monkeypatch, capsys):
    said = one_line(3, monkeypatch, capsys, "run", tmp_path / "nothing", "-o", tmp_path / "out")
    assert "does not exist" in said


def test_missing_oracle_is_one_line_and_a_code(tmp_path, monkeypatch, capsys):
    where = ("-o", tmp_path / "out")
    said = one_line(5, monkeypatch, capsys, "run", "default", "--oracle", "absent_module:make", *where)
    assert "oracle 'absent_module:make' cannot be made" in said
    assert not (tmp_path / "out").exists()


def test_interrupted_run_ends_with_its_code(monkeypatch, capsys, tmp_path):
    def interrupted(*_arguments, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("matgl_fill.pipeline.fill_tune", interrupted)
    assert run_here(monkeypatch, capsys, "run", "default", "-o", tmp_path / "out")[0] == 130


def test_tasks_lose_what_the_model_cannot_take_and_the_report_says_so(model, pool):
    crystals = [*pool.structures[:60], Structure(np.eye(3) * 3.3, ["Po"], [[0, 0, 0]])]
    task = make_task("volume", crystals, np.array([s.volume for s in crystals]))
    result = mf.fill_tune(model, pool, n=3, config={"steps": 1, "copies": 0, "replay_size": 20}, tasks=[task])
    assert [c.n for c in result.comparison.changes] == [60]
    lost = Skipped(f"task '{task.name}', Po1", "element Po is unknown to the model")
    assert result.report.skipped == [lost]


def test_bad_structures_among_good_ones_are_skipped_with_reasons(pool):
    nan = Structure(np.eye(3) * 4, ["Na", "Cl"], [[0, 0, 0], [np.nan, 0.5, 0.5]])
    model = mf.load_model(bundled.MODEL)
    unknown = Structure(np.eye(3) * 3.3, ["Po"], [[0, 0, 0]])
    mixed = [*pool.structures[:60], nan, unknown, ISOLATED]
    result = mf.fill_tune(model, mixed, n=3, config={"steps": 1, "copies": 0, "replay_size": 20})
    reasons = [s.reason for s in result.report.skipped]
    assert len(reasons) == 3
    assert any("coordinates" in r for r in reasons)
    assert "element Po is unknown to the model" in reasons
    assert any("atom 0 (Cs) has no neighbour within" in r for r in reasons)
    assert result.report.run.n_pool == 60


def test_default_call_needs_nothing_but_a_model():
    result = mf.fill_tune(mf.load_model(bundled.MODEL), n=3, config={"steps": 1, "copies": 0})
    assert result.report.run.n_pool == 300


def test_every_error_is_one_of_ours(pool):
    with pytest.raises(InputError, match="no objective 'labels'"):
        mf.fill_tune(mf.load_model(bundled.MODEL), pool, objective="labels")
    assert issubclass(InputError, MatglFillError)
