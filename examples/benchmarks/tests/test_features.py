"""Features beside each other: the short form on the package's crystals, and what the tables say."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from helpers import SAVED

from examples.benchmarks.embedding import features
from examples.benchmarks.evidence.suite import CHOOSING, REPORTING
from examples.benchmarks.tests.commands import command
from matgl_fill import read_structures
from matgl_fill.errors import InputError

FILLED = SAVED / "run" / "model"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(pool, tmp_path_factory):
    """Files of the standing tasks with the package's crystals, whose labels are made of their volumes."""
    made = tmp_path_factory.mktemp("data")
    some = pool.subset(range(60))
    volumes = [s.volume / len(s) for s in some]
    for file in {name for name, _ in CHOOSING + REPORTING}:
        labels = [label for name, label in CHOOSING + REPORTING if name == file]
        rows = [
            {"id": i, "structure": s.as_dict()} | {label: v * (k + 1) for k, label in enumerate(labels)}
            for i, s, v in zip(some.ids, some.structures, volumes, strict=True)
        ]
        with gzip.open(made / f"{file}.jsonl.gz", "wt") as out:
            out.write("\n".join(map(json.dumps, rows)))
    return made


def test_short_form(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "LEFT", 20)
    monkeypatch.setattr(features, "SEEDS", 2)
    written, rival, rows, table = (tmp_path / name for name in ("all.xyz", "rival.npz", "rows.jsonl", "table.csv"))
    command("features", "crystals", "--data", folder, "-o", written, "--rows", 60)
    crystals = read_structures(written).structures
    ids = [frame.info["id"] for frame in ase.io.read(written, index=":")]
    assert 3 * len(set(ids)) == len(crystals) == 180, "three files of the same crystals"
    np.savez(rival, features=np.array([[s.volume / len(s)] for s in crystals])[::-1], ids=ids[::-1])
    words = ["--data", folder, "-o", rows, "--rows", 60, "--labels", "20,50", "--cache", tmp_path / "kept.sqlite"]
    words += ["--rival", f"volume={rival}", "--model", f"A={FILLED}", "--model", "B=potential"]
    command("features", "run", *words)
    measured = rows.read_text()
    assert "volume" in command("features", "table", rows, "--against", "volume", "--csv", table)
    command("features", "run", *words)
    assert rows.read_text() == measured
    with table.open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 16 + 3
    forms = {"original", "original + descriptors", "filled", "filled + descriptors"}
    ways = {f"{name}, {form}" for name in ("A", "joined") for form in forms}
    ways |= {f"B, {form}" for form in ("original", "original + descriptors")}
    assert lines[0].keys() == {"task", "labels", "volume", "volume + descriptors", "descriptors"} | ways
    folded = [line for line in lines if line["labels"] == features.FOLDED]
    linear = [line for line in folded if not line["task"].startswith("log")]
    assert all(float(line["volume"]) < float(line["A, original"]) for line in linear), "it is the label itself"
    assert all("[" in line["volume"] for line in lines if line["labels"] == "20")


def test_crystals_without_features_are_refused(pool, tmp_path):
    ids = [features._id(s) for s in pool.structures[:3]]
    np.savez(tmp_path / "rival.npz", features=np.arange(3)[:, None], ids=ids)
    assert features.rival(tmp_path / "rival.npz", pool.structures[2:0:-1]).tolist() == [[2], [1]]
    with pytest.raises(InputError, match="lacks 1 crystals"):
        features.rival(tmp_path / "rival.npz", pool.structures[1:4])


def test_ahead_counts_tasks_and_says_the_worst(tmp_path):
    errors = {"a": {"x": 1.0, "y": 2.0, "z": 1.0}, "b": {"x": 0.5, "y": 3.0, "z": 0.9}}
    rows = [
        {"way": way, "task": task, "labels": features.FOLDED, "seed": 0, "error": error}
        for way, own in errors.items()
        for task, error in own.items()
    ]
    shown = {line[0]: line[1:] for line in features.ahead(rows, "a")}
    assert shown["a"][0] == "0 of 3"
    assert shown["b"][0] == "2 of 3"
    assert shown["b"][1].startswith("+3.3 [")
    assert shown["b"][2] == "-50.0 (y)"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    printed = command("features", "table", tmp_path / "rows.jsonl", "--against", "a")
    assert "-50.0 (y)" in printed, "also without a curve"


def test_the_picture_is_drawn_from_the_kept_rows(tmp_path):
    command("features", "picture", ROOT / "examples/benchmarks/results/features.jsonl", "-o", tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_bytes() == (ROOT / "docs/results/curves.svg").read_bytes()
