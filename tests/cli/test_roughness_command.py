from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers import csv_rows, run_here
from pymatgen.core import Lattice, Structure

import matgl_fill as mf
from matgl_fill.roughness import RoughnessResult, StationaryNetwork, report

FILES = {"summary.json", "crystals.csv", "maxima.csv", "network.json", "roughness.npz"} | {
    f"{name}.{kind}" for name in ("map", "disconnectivity", "contributions") for kind in ("png", "svg")
}
N = 40


@pytest.fixture(scope="module")
def some(pool):
    return pool.subset(range(N))


@pytest.fixture(scope="module")
def written(some, tmp_path_factory):
    """A run on N good crystals and two bad ones, as a user starts it."""
    folder = tmp_path_factory.mktemp("rough")
    rows = [{"id": i, "structure": s.as_dict()} for i, s in zip(some.ids, some.structures, strict=True)]
    rows.insert(3, {"id": "exotic", "structure": Structure(Lattice.cubic(5), ["Fr"], [[0, 0, 0]]).as_dict()})
    rows.insert(5, {"id": "flat", "structure": {"lattice": [[0] * 3] * 3, "species": ["H"], "frac_coords": [[0] * 3]}})
    (folder / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = [sys.executable, "-m", "matgl_fill", "roughness", "default", "in.jsonl", "-o", "new/out", "--maxima", "4"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "new" / "out", done.stdout


def test_all_files_are_written_and_bad_crystals_told(written):
    out, text = written
    assert {p.name for p in out.iterdir()} == FILES
    assert "skipped exotic: element Fr is unknown to the model" in text
    assert "zero-volume cell" in text
    assert f"{N} crystals by MEGNet" in text
    assert "frustration" in text
    for name in FILES:
        start = (out / name).read_bytes()[:8]
        assert name.endswith(".png") == (start == b"\x89PNG\r\n\x1a\n")
    assert ">local roughness</text>" in (out / "map.svg").read_text()
    assert ">neighbour similarity</text>" in (out / "disconnectivity.svg").read_text()
    assert ">share of the frustration, %</text>" in (out / "contributions.svg").read_text()


def test_files_say_what_the_library_says(written, model, some):
    out, _ = written
    Z = mf.embed(model, some)
    expected = mf.analyze_roughness(Z, structures=some)
    saved = RoughnessResult.load(out / "roughness.npz")
    np.testing.assert_array_equal(saved.local(Z), expected.local(Z))
    network = StationaryNetwork.load(out / "network.json")
    for name, array in expected.network.arrays().items():
        np.testing.assert_array_equal(getattr(network, name), array)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frustration"] == expected.frustration > 0
    assert summary["minima"] == len(network.minima)
    assert summary["transition_states"] == len(network.ts)
    assert summary["connected_sets"] == len(network.tree().roots)
    assert {m["name"]: m["value"] for m in summary["measures"]}["frustration"] == expected.frustration
    assert [s["where"] for s in summary["skipped"]] == ["in.jsonl:5", "exotic"]
    asked = {"method": "graph", "response": "neighbour_similarity", "seed": 0, "state": None, "maxima": 4}
    assert summary["settings"] == asked | {"projection": "pca", "model": "default", "structures": "in.jsonl"}


def test_tables_are_ranked_and_complete(written, model, some):
    out, _ = written
    result, Z = RoughnessResult.load(out / "roughness.npz"), mf.embed(model, some)
    crystals = csv_rows(out / "crystals.csv")
    assert sorted(r["id"] for r in crystals) == sorted(some.ids)
    assert [int(r["rank"]) for r in crystals] == list(range(1, N + 1))
    index = [some.ids.index(r["id"]) for r in crystals]
    np.testing.assert_array_equal([float(r["local_roughness"]) for r in crystals], result.local(Z)[index])
    assert (np.diff(result.local(Z)[index]) <= 0).all()
    np.testing.assert_array_equal([float(r["response"]) for r in crystals], result.response[index])
    assert [r["formula"] for r in crystals] == [some.formulas[i] for i in index]
    points, values = result.maxima(4)
    maxima = csv_rows(out / "maxima.csv")
    assert [float(r["local_roughness"]) for r in maxima] == values.tolist()
    distance = np.linalg.norm(result.scale(points)[:, None] - result.scale(Z), axis=2)
    np.testing.assert_allclose([float(r["distance"]) for r in maxima], distance.min(axis=1))
    assert [r["nearest_id"] for r in maxima] == [some.ids[i] for i in distance.argmin(axis=1)]


def labelled(pool, path, n=25):
    """A file whose first crystal lacks the label that the others carry."""
    rows = [{"id": i, "structure": s.as_dict()} for i, s in zip(pool.ids[:n], pool.structures[:n], strict=True)]
    for k, row in enumerate(rows[1:]):
        row["hardness_GPa"] = (7 * k) % 11
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_label_or_the_prediction_can_be_the_response(pool, model, tmp_path, monkeypatch, capsys):
    source = labelled(pool, tmp_path / "in.jsonl")
    code, text, _ = run_here(
        monkeypatch, capsys, "roughness", "default", source, "-o", tmp_path / "a", "--response", "hardness_GPa"
    )
    assert code == 0
    assert f"skipped {pool.ids[0]}: has no hardness_GPa" in text
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert (summary["crystals"], summary["response"]["max"]) == (24, 10)
    assert (
        run_here(monkeypatch, capsys, "roughness", "default", source, "-o", tmp_path / "b", "--response", "prediction")[
            0
        ]
        == 0
    )
    found = {r["id"]: float(r["response"]) for r in csv_rows(tmp_path / "b" / "crystals.csv")}
    expected = mf.analyze_roughness(
        mf.embed(model, pool.subset(range(25))), "prediction", pool.subset(range(25)), model=model
    ).response
    np.testing.assert_allclose([found[i] for i in pool.ids[:25]], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["default", "nowhere.cif"], 2, "nowhere.cif"),
        (["default", "few.jsonl"], 2, "19 usable crystals, at least 20"),
        (["default", "in.jsonl", "--response", "colour"], 2, "no response 'colour'; there are neighbour_similarity"),
        (["{folder}/nothing", "in.jsonl"], 3, "does not exist"),
    ],
)
def test_bad_input_is_one_line_and_a_code(arguments, code, message, pool, tmp_path, monkeypatch, capsys):
    labelled(pool, tmp_path / "in.jsonl")
    labelled(pool, tmp_path / "few.jsonl", 19)
    monkeypatch.chdir(tmp_path)
    found, _, error = run_here(
        monkeypatch, capsys, "roughness", *(a.format(folder=tmp_path) for a in arguments), "-o", "out"
    )
    assert found == code
    assert error.startswith("error: ")
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "why"),
    [
        (["--maxima", "0"], "greater than or equal to"),
        (["--method", "guess"], "is not one of"),
        (["--projection", "tsne"], "is not one of"),
        (["--seed", "-1"], "greater than or equal to"),
    ],
)
def test_impossible_options_are_refused(option, why, tmp_path, monkeypatch, capsys):
    code, _, error = run_here(monkeypatch, capsys, "roughness", "default", "in.jsonl", "-o", tmp_path / "out", *option)
    assert code == 2
    assert option[0] in error
    assert why in " ".join(error.split())


def test_umap_is_looked_for_before_the_work(pool, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "umap", None)
    source = labelled(pool, tmp_path / "in.jsonl")
    monkeypatch.setattr("matgl_fill.roughness.report.embed", lambda *a, **k: pytest.fail("embedded all the same"))
    code, _, error = run_here(
        monkeypatch, capsys, "roughness", "default", source, "-o", tmp_path / "out", "--projection", "umap"
    )
    assert code == 2
    assert "pip install 'matgl_fill[plots]'" in error


def test_help_names_every_file_and_response(monkeypatch, capsys):
    code, text, _ = run_here(monkeypatch, capsys, "roughness", "--help")
    assert code == 0
    words = " ".join(text.replace("│", " ").split())
    for expected in ("summary.json", "crystals.csv", "roughness.npz", "perturbation_sensitivity", "landscape", "umap"):
        assert expected in words


@pytest.fixture(scope="module")
def shards(some, model, tmp_path_factory):
    """The same crystals with a label and a bad one, embedded into a folder of shards."""
    folder = tmp_path_factory.mktemp("shards")
    rows = [{"id": i, "structure": s.as_dict()} for i, s in zip(some.ids, some.structures, strict=True)]
    rows = [row | ({"gap": k / 7} if k else {}) for k, row in enumerate(rows)] + [{"id": "none", "structure": None}]
    (folder / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return mf.embed_shards(model, folder / "in.jsonl", folder / "Z")


@pytest.mark.parametrize("response", ["neighbour_similarity", "gap"])
def test_a_folder_of_shards_gives_what_its_crystals_give(shards, response, tmp_path, monkeypatch, capsys):
    source = shards.path.parent / "in.jsonl"
    for name, structures in (("a", source), ("b", shards.path)):
        run_here(monkeypatch, capsys, "roughness", "default", structures, "-o", tmp_path / name, "--response", response)
    one, other = (RoughnessResult.load(tmp_path / name / "roughness.npz") for name in "ab")
    assert one.frustration == pytest.approx(other.frustration, rel=1e-4)
    np.testing.assert_allclose(one.response, other.response, rtol=1e-4, atol=1e-5)
    facts = [json.loads((tmp_path / name / "summary.json").read_text()) for name in "ab"]
    assert [f["crystals"] for f in facts] == [N - (response == "gap")] * 2
    assert len(facts[0]["skipped"]) == len(facts[1]["skipped"]) == 1 + (response == "gap")
    ids = [{row["id"]: row["formula"] for row in csv_rows(tmp_path / name / "crystals.csv")} for name in "ab"]
    assert ids[0] == ids[1]


def test_a_folder_of_another_model_or_a_response_that_needs_crystals_is_refused(shards, tmp_path, monkeypatch, capsys):
    words = "roughness", "default", shards.path, "-o", tmp_path, "--response", "prediction"
    code, _, error = run_here(monkeypatch, capsys, *words)
    assert (code, "there are neighbour_similarity, gap" in error) == (2, True)
    code, _, error = run_here(monkeypatch, capsys, "roughness", "potential", shards.path, "-o", tmp_path)
    assert (code, "was embedded by another model" in error) == (2, True)


def test_large_pools_are_measured_and_drawn_on_a_part(some, model, monkeypatch, tmp_path):
    monkeypatch.setattr(report, "MEASURED", 30)
    monkeypatch.setattr(report, "DRAWN", 25)
    drawn = []
    plot = RoughnessResult.plot_map
    monkeypatch.setattr(
        RoughnessResult, "plot_map", lambda self, *args: drawn.append(len(args[0])) or plot(self, *args)
    )
    found = report.report_roughness(model, some, report.RoughnessRequest())
    found.save(tmp_path)
    facts = json.loads((tmp_path / "summary.json").read_text())
    assert (drawn, facts["measured_on"], facts["crystals"]) == ([25], 30, N)
    assert len(csv_rows(tmp_path / "crystals.csv")) == N
