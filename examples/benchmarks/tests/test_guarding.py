"""Short form of the grid of runs that guards judge."""

from __future__ import annotations

from examples.benchmarks.common.rows import read_rows
from examples.benchmarks.evidence.guarding import GUARDS, summary
from examples.benchmarks.tests.commands import command


def test_every_run_is_judged_by_every_guard_and_none_is_made_twice(tmp_path):
    file, table = tmp_path / "grid.jsonl", tmp_path / "guard.csv"
    words = ["guard", "--out", file, "--models", "potential", "--steps", 5, "--pools", 60, "--seeds", 0, "--csv", table]
    command(*words, "--rates", 1)
    text = command(*words, "--rates", "1,30")
    assert text.count("Cell(") == 1
    rows = read_rows(file)
    assert [row["rate"] for row in rows] == [1, 30]
    for row in rows:
        assert [row[name]["crystals"] for name in GUARDS] == [30, 200, 200]
        for name in GUARDS:
            assert row[name]["worst"] <= row[name]["mean"]
            assert bool(row[name]["alpha"]) == (row[name]["mean"] != 0)
    assert [line.split(",")[:3] for line in table.read_text().splitlines()[1::3]] == [
        ["potential", rate, GUARDS[0]] for rate in ("1 x", "30 x")
    ]


def test_a_run_that_is_refused_changes_nothing_and_one_that_loses_is_counted():
    lost, refused = {"alpha": 1.0, "mean": -3.0, "worst": -9.0}, {"alpha": 0.0, "mean": 0.0, "worst": 0.0}
    gained = {"alpha": 0.4, "mean": 5.0, "worst": -1.0}
    lines = summary([dict(zip(GUARDS, (lost, gained, refused), strict=True)), dict.fromkeys(GUARDS, gained)])
    assert [line["accepted"] for line in lines] == ["2", "2", "1"]
    assert [line["of these below -1 %"] for line in lines] == ["1", "0", "0"]
    assert [line["mean, %"] for line in lines] == ["+1.0", "+5.0", "+2.5"]
    assert [line["worst task, %"] for line in lines] == ["-9.0", "-1.0", "-1.0"]
