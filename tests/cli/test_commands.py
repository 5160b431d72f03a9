"""The commands that look after others: config, evaluate, report, doctor; and what every command's help shows."""

from __future__ import annotations

import csv
import json
import re
import shutil
import tomllib
from importlib.metadata import version as real_version

import numpy as np
import pytest
from helpers import SAVED
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

import matgl_fill as mf
from matgl_fill import errors
from matgl_fill.cli import app, common, doctor
from matgl_fill.config.config import FillConfig
from matgl_fill.errors import InputError
from matgl_fill.evaluation import PROBES, read_tasks
from matgl_fill.structures import bundled

COMMANDS = (
    "run",
    "tune",
    "config",
    "embed",
    "roughness",
    "propose",
    "label",
    "evaluate",
    "report",
    "upgrade",
    "doctor",
)


def call(*arguments: object, code: int = 0) -> str:
    found = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False, env={"COLUMNS": "200"})
    assert found.exit_code == code, found.output
    return found.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_by_examples_that_name_real_options(command):
    text = " ".join(call(command, "--help").replace("│", " ").split())
    examples = text.partition("Examples")[2]
    assert f"matgl-fill {command}" in examples
    assert "`" not in text
    options = {word for word in examples.split() if word.startswith("--")}
    others = {word for name in COMMANDS if f"matgl-fill {name}" in examples for word in call(name, "--help").split()}
    assert options <= others


def test_help_names_all_commands_exit_codes_and_completion():
    text = call("--help")
    for command in COMMANDS:
        assert f" {command} " in text
    codes = [errors.MatglFillError, errors.InputError, errors.ModelError, errors.GenerationError, errors.OracleError]
    listed = text.partition("Exit codes")[2]
    assert all(f" {error.exit_code}: " in listed for error in codes)
    assert " 130: interrupted" in listed
    assert "--install-completion" in text


def test_shell_completion_lists_commands():
    asked = {"COMP_WORDS": "matgl-fill e", "COMP_CWORD": "1", "_MATGL_FILL_COMPLETE": "complete_bash"}
    done = CliRunner().invoke(app, env=asked, prog_name="matgl-fill")
    assert done.stdout.split() == ["embed", "evaluate"]


def test_config_prints_and_writes_the_defaults_and_keeps_what_is_there(tmp_path):
    assert FillConfig(**tomllib.loads(call("config"))) == FillConfig()
    path = tmp_path / "settings.toml"
    call("config", "--write", path)
    assert FillConfig.make(path) == FillConfig()
    path.write_text("steps = 3\n")
    with pytest.raises(InputError, match="exists already"):
        call("config", "--write", path)
    assert path.read_text() == "steps = 3\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("embed default x/ -o Z1.csv", "-o Z1.csv: embeddings are written as Parquet; name it Z1.parquet."),
        ("embed default x/ -o a/Z", "-o a/Z: embeddings are written as Parquet; name it a/Z.parquet."),
        ("embed default x.jsonl -o Z.parquet --executor here", "a folder of several files is written; name it Z."),
        ("roughness default x/ -o map.svg", "-o map.svg: a folder of several files is written; name it map."),
        ("propose default x/ -o new.extxyz", "-o new.extxyz: a folder of several files is written; name it new."),
        ("run default x/ -o report.html", "a folder of several files is written; name it report."),
        ("tune default x/ --oracle potential -o tuned.pt", "a folder of several files is written; name it tuned."),
        ("label x.cif --oracle chgnet -o y.json", "labelled crystals are written as extended XYZ; name it y.extxyz."),
        ("evaluate default x.jsonl -o t.xlsx", "-o t.xlsx: the table is written as CSV; name it t.csv."),
    ],
)
def test_a_name_that_tells_another_format_is_refused_before_any_work(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        call(*words.split())
    assert str(refused.value).endswith(said)
    assert not [*tmp_path.iterdir()]


def test_a_folder_may_have_any_name_when_it_is_there(tmp_path):
    (tmp_path / "Li0.5.json").mkdir()
    assert common.check_folder_name(tmp_path / "Li0.5.json")
    assert common.check_folder_name(tmp_path / "Li0.5")


@pytest.mark.parametrize(("option", "setting"), [("--steps", "steps"), ("--nsteps", "steps"), ("--lr", "lr")])
def test_an_option_like_a_setting_is_told_where_settings_go(option, setting):
    text = " ".join(call("run", "default", option, "3", code=2).replace("│", " ").split())
    assert f"No such option: {option}" in text
    assert f"settings go into the file of --config FILE, such as a line '{setting} = ...'." in text
    assert "--config FILE" not in call("embed", "default", "x.cif", option, "3", code=2)
    assert "--config FILE" not in call("run", "default", "--quickly", code=2)


def test_words_lead_to_bundled_models():
    assert bundled.MODELS["default"] == bundled.MODEL
    assert bundled.MODELS["potential"] == bundled.POTENTIAL


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Sixty crystals with a label that is a property of the elements, and one that no model can take."""
    pool = mf.read_structures(bundled.EVALUATION).subset(range(60))
    rows = [{"id": i, "structure": s.as_dict()} for i, s in zip(pool.ids, pool.structures, strict=True)]
    for row, s in zip(rows, pool.structures, strict=True):
        row["hardness_GPa"] = float(s.composition.weight / s.composition.num_atoms)
    exotic = Structure(Lattice.cubic(5), ["Fr"], [[0, 0, 0]]).as_dict()
    rows.insert(3, {"id": "exotic", "structure": exotic, "hardness_GPa": 223.0})
    path = tmp_path_factory.mktemp("tasks") / "labelled.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_evaluate_says_what_the_library_says(labelled, model, tmp_path):
    text = call("evaluate", "default", labelled, "--seeds", 2, "-o", tmp_path / "new" / "t.csv")
    assert "skipped exotic: element Fr is unknown to the model" in text
    with (tmp_path / "new" / "t.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    data = mf.read_structures(labelled)
    keep = [i for i, name in enumerate(data.ids) if name != "exotic"]
    scores = mf.evaluate(model, read_tasks(data.subset(keep)), seeds=2)
    assert [r["task"] for r in rows] == [s.task for s in scores] == ["hardness"]
    row, score = rows[0], scores[0]
    both = np.mean([score.mae[p] for p in PROBES], axis=0)
    assert float(row["mae"]) == pytest.approx(both.mean())
    assert both.min() <= float(row["mae_low"]) < float(row["mae"]) < float(row["mae_high"]) <= both.max()
    assert float(row["mae_kernel_ridge"]) == pytest.approx(score.mae["kernel ridge"].mean())
    assert "change_percent" not in row
    assert f"{float(row['mae']):.4g}" in text


def test_evaluate_against_another_model_gives_the_change_towards_the_first(labelled, model, tmp_path):
    """The other model is this one with noise on its weights: the change has the sign of a gain."""
    import torch

    other = mf.get_adapter(model).clone()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in other.core.parameters():
            p.add_(0.3 * p.std() * torch.randn(p.shape, generator=generator) if p.numel() > 1 else 0.0)
    other.model.save(tmp_path / "noisy")
    call("evaluate", "default", labelled, "--seeds", 1, "--against", tmp_path / "noisy", "-o", tmp_path / "t.csv")
    row = next(csv.DictReader((tmp_path / "t.csv").open(newline="", encoding="utf-8")))
    change = 100 * (1 - float(row["mae"]) / float(row["mae_against"]))
    assert float(row["change_percent"]) == pytest.approx(change, abs=5)
    assert np.sign(float(row["change_percent"])) == np.sign(change)


def test_report_wants_the_folder_of_a_run(tmp_path):
    with pytest.raises(InputError, match="give the folder that"):
        call("report", tmp_path)


def test_report_is_drawn_again_without_a_model(tmp_path):
    """Of a run that version 0.1.0 saved."""
    shutil.copy(SAVED / "run" / "report.json", tmp_path)
    assert str(tmp_path / "report.html") in call("report", tmp_path).replace("\n", "")
    assert "Accepted" in (tmp_path / "report.html").read_text()


def test_doctor_tries_what_is_here_and_says_how_to_get_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda _name: None)
    monkeypatch.setattr(common.console, "width", 200)  # no cell is wrapped
    text = call("doctor", bundled.MODEL, tmp_path / "nothing", code=0 if bundled.POTENTIAL.exists() else 1)
    for remedy in ("'matgl_fill[sevennet]'", "'matgl_fill[chgnet]'", "'.[dgl]'", "'matgl_fill[plots]'"):
        assert f"pip install {remedy}" in text
    lines = {line.split()[2]: line for line in text.splitlines() if line[:1] in "✓✗–" and len(line.split()) > 2}
    assert lines["PyG"].startswith("✓")
    assert lines["default"].startswith("✓")
    assert "160 dimensions" in lines["default"]
    assert lines["sevennet"].startswith("–")
    assert "does not exist" in text
    assert real_version("matgl") in lines["matgl"]


def test_doctor_tells_speed_and_fails_for_a_device_that_was_asked_for(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda _name: None)
    monkeypatch.setattr(common.console, "width", 200)
    text = call("doctor", "--device", "cuda:77", code=1)
    assert re.search(r"✓ +device +cpu +threads: \d+; \d+ crystals/s", text)
    assert "basics do not work: cuda:77" in text
    assert "device is 'cuda:77', which cannot be used" in text


def test_doctor_fails_where_the_basics_do(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda _name: None)
    monkeypatch.setattr(common.console, "width", 200)  # no cell is wrapped
    monkeypatch.setattr(doctor, "version", lambda name: "2.6.3" if name == "lightning" else real_version(name))
    text = call("doctor", code=1)
    assert "carried malware" in text
    assert "basics do not work: lightning" in text


def test_a_model_that_predicts_nonsense_is_found_out(model, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(doctor, "find_spec", lambda _name: None)
    monkeypatch.setattr(common.console, "width", 200)  # no cell is wrapped
    broken = mf.get_adapter(model).clone()
    with torch.no_grad():
        next(broken.core.parameters()).fill_(torch.nan)
    broken.model.save(tmp_path / "broken")
    finding = next(f for f in doctor.examine([tmp_path / "broken"]) if f.name == str(tmp_path / "broken"))
    assert finding.works is False
    assert "NaN" in finding.detail
