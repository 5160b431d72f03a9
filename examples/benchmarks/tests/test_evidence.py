"""The standing benchmark: its statistics on known numbers, and its short form."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from helpers import shared
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from typer.testing import CliRunner

from examples.benchmarks.__main__ import app
from examples.benchmarks.common.rows import Lines, read_rows
from examples.benchmarks.evidence import measurement, overview
from examples.benchmarks.evidence.page import _learnable
from examples.benchmarks.evidence.pairs import pairs_of_arms, pairs_of_settings
from examples.benchmarks.evidence.sections import crystals_table, curves, learnable_table
from examples.benchmarks.evidence.statistics import (
    AS_IS,
    Arm,
    Group,
    correlation,
    differences,
    gains,
    groups,
    interval,
    sign_test,
)
from examples.benchmarks.evidence.suite import CHOOSING, REPORTING, TRAINED_ON, Suite, tasks_of
from examples.benchmarks.tests.commands import command
from matgl_fill.config.config import FillConfig
from matgl_fill.errors import InputError
from matgl_fill.evaluation.probes import FITS, PROBES

RUN = ["evidence", "run", "default", "default", "--tasks", "default", "-n", "3", "--rows", "60"]
FEW = ["--set", "steps=3", "--set", "copies=1", "--seeds", "0"]

ROOT = Path(__file__).resolve().parents[3]
KEPT = ROOT / "examples" / "benchmarks" / "results" / "results.jsonl"
"""The measurements that the documentation quotes."""


def arm(name, values, variant=AS_IS, seeds=None):
    values = np.asarray(values, dtype=float)
    seeds = tuple(range(values.shape[1])) if seeds is None else seeds
    return Arm(name, variant, seeds, {"plain": values}, ())


def line(name, errors, variant="", seed=None, described=None, **other):
    scores = [
        {"task": f"task {i}", "half": "", "unit": "", "n": 60, "median": 9.0, "plain": {p: [e] for p in PROBES}}
        for i, e in enumerate(errors)
    ]
    for row, e in zip(scores, described or [], strict=False):
        row["with descriptors"] = {p: [e] for p in PROBES}
    shared_by_all = {"model": "m", "tasks": "t", "half": "", "rows": 60, "folds": 1}
    filling = {"pool": None, "n": None, "oracle": None, "base": {}}
    return shared_by_all | filling | {"arm": name, "variant": variant, "seed": seed, "scores": scores} | other


def test_interval_covers_a_known_mean():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        effects = rng.normal(size=(17, 1)) + rng.normal(size=(1, 5)) / 2 + rng.normal(size=(17, 5))
        low, high = interval(3 + effects)
        covered += low <= 3 <= high
    assert 0.85 < covered / 200 <= 1


def test_a_seed_is_drawn_for_all_tasks_at_once():
    rng = np.random.default_rng(0)
    seeds = rng.normal(size=20)
    wide = interval(np.tile(seeds, (30, 1)))
    assert wide == pytest.approx(interval(seeds[None]), abs=0.03)
    expected = 2 * 1.96 * seeds.std() / np.sqrt(20)
    assert wide[1] - wide[0] == pytest.approx(expected, rel=0.1)
    tasks = rng.normal(size=30)[:, None]
    assert interval(np.tile(tasks, 20)) == pytest.approx(interval(tasks), abs=0.03)


def test_paired_interval_leaves_out_what_two_arms_share():
    rng = np.random.default_rng(1)
    common = 5 * rng.normal(size=(17, 1)) + 5 * rng.normal(size=(1, 5))
    one, other = (arm(n, common + x + 0.1 * rng.normal(size=(17, 5))) for n, x in (("roughness", 1.0), ("random", 0.0)))
    low, high = interval(differences(one, other, "plain"))
    assert 0.9 < low < 1.0 < high < 1.1
    assert np.ptp(interval(one.gains["plain"])) > 3


def test_differences_pair_seeds_by_name():
    one = arm("roughness", [[1.0, 2.0, 4.0]], seeds=(0, 1, 2))
    other = arm("random", [[10.0, 20.0]], seeds=(2, 0))
    assert differences(one, other, "plain").tolist() == [[1 - 20, 4 - 10]]
    assert differences(one, arm("layers", [[1.0]], "", (None,)), "plain").tolist() == [[0.0, 1.0, 3.0]]
    assert differences(one, arm("random", [[1.0]], seeds=(7,)), "plain").size == 0


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
@settings(deadline=None)
def test_sign_test_is_scipys_without_ties(values):
    up, down = sum(v > 0 for v in values), sum(v < 0 for v in values)
    expected = binomtest(up, up + down).pvalue if up + down else 1.0
    assert sign_test(np.array(values, dtype=float)[:, None]) == (up, down, expected)


def test_gain_is_the_mean_over_probes_of_the_relative_change():
    before, after = line("none", [2.0, 4.0])["scores"], line("layers", [1.0, 5.0])["scores"]
    after[0]["plain"] = {PROBES[0]: [1.0], PROBES[1]: [3.0]}
    assert gains(before, after, "plain", "plain") == pytest.approx([0.0, -25.0])


def test_a_probe_that_only_stands_apart_changes_no_mean():
    rows = [line("none", [2.0, 2.0]), line("descriptors", [2.0, 2.0]), line("random", [1.0, 1.0], AS_IS, 0)]
    for row, error in zip(rows, (4.0, 4.0, 3.0), strict=True):
        for score in row["scores"]:
            score["plain"]["MLP"] = [error]
    found = next(a for a in groups(rows)[0].arms if a.arm == "random")
    assert found.gains["plain"].tolist() == [[50.0], [50.0]]
    assert found.by_probe["MLP"].tolist() == [[25.0], [25.0]]


def test_curve_over_the_number_of_crystals():
    rows = [line("none", [2.0]), line("descriptors", [2.0])]
    for n, error, seconds in ((30, 1.0, 7.0), (10, 1.5, 5.0)):
        rows.append(line("random", [error], AS_IS, 0, n=n, fill={"seconds": seconds}))
    lines = crystals_table(curves(groups(rows))).markdown().splitlines()[2:]
    assert lines == [
        "| m, random | 10 | 1 | +25.0 [+25.0, +25.0] | +25.0 (task 0) | 1, 0 |  |  |  | 5 |",
        "| m, random | 30 | 1 | +50.0 [+50.0, +50.0] | +50.0 (task 0) | 1, 0 |  |  |  | 7 |",
    ]
    assert crystals_table(curves(groups(rows[:3]))).markdown() == ""


def test_runs_of_all_models_are_compared_in_pairs_settings_apart():
    fills = [arm("roughness", [[3.0, 5.0], [1.0, 1.0]]), arm("random", [[1.0, 1.0], [1.0, 3.0]])]
    today = {"model": "m", "pool": "p", "n": 100, "base": {}}
    one = Group(today, ("t", "u"), ("", ""), tuple(fills))
    lonely = Group(today | {"pool": "q"}, ("t",), ("",), (arm("roughness", [[9.0]]),))
    other = replace(lonely, arms=(arm("roughness", [[4.0]]), arm("random", [[0.0]], seeds=(0,))))
    before = (arm("roughness", [[1.0], [2.0]], seeds=(1,)), arm("random", [[1.0], [1.0]], seeds=(1,)))
    shorter = replace(one, facts=today | {"base": {"steps": 200}}, arms=before)
    found = [one, other, shorter]
    tables = [line for table in (pairs_of_arms, pairs_of_settings) for line in table(found).markdown().splitlines()]
    assert [line for line in tables if line.startswith(("| roughness", "| steps"))] == [
        "| roughness less random | all | 3 | +2.0 [+1.0, +4.0] | 3, 0 | 0.25 |  |  |  |",
        "| roughness less random | p | 2 | +1.0 [+1.0, +1.0] | 2, 0 | 0.5 |  |  |  |",
        "| roughness less random | q | 1 | +4.0 [+4.0, +4.0] | 1, 0 | 1 |  |  |  |",
        "| roughness less random, steps = 200 | p | 1 | +0.5 [+0.5, +0.5] | 1, 0 | 1 |  |  |  |",
        "| steps = 200 | m, p | 2 | −1.2 [−1.5, −1.0] | 0, 2 | 0.5 |  |  |  |",
    ]
    assert not pairs_of_arms([lonely]).rows
    assert not pairs_of_settings([lonely]).rows


def test_what_a_model_was_trained_for_is_no_downstream_task_of_its():
    own = TRAINED_ON["Eform"]
    rows = [line("none", [2.0, 4.0]), line("descriptors", [2.0, 4.0]), line("random", [1.0, 4.0], AS_IS, 0)]
    for row in rows:
        row["model"] = "MEGNet-MP-2018.6.1-Eform"
        row["scores"][1]["task"] = own
    (group,) = groups(rows)
    assert group.tasks == ("task 0",)
    assert group.arms[1].gains["plain"].tolist() == [[50.0]]
    assert group.aside is not None
    assert group.aside.tasks == (own,)
    assert group.aside.arms[1].gains["plain"].tolist() == [[0.0]]
    for row in rows:
        row["model"] = "m"
    (group,) = groups(rows)
    assert (group.tasks, group.aside) == (("task 0", own), None)


def test_tasks_where_one_value_is_a_better_guess_are_told_and_left_out_of_a_table():
    rows = [line("none", [2.0, 4.0]), line("descriptors", [2.0, 4.0]), line("random", [1.0, 5.0], AS_IS, 0)]
    for score, median in zip(rows[0]["scores"], (3.0, 3.9), strict=True):
        score["median"] = median
    (group,) = groups(rows)
    text = "\n".join(_learnable(group))
    assert "better guess than the original's probes make: task 1." in text
    lines = learnable_table(group, group.arms).markdown().splitlines()
    assert lines[-1] == "| random | +50.0 [+50.0, +50.0] | +50.0 (task 0) | 1, 0 |  |  |  |"
    rows[0]["scores"][1]["median"] = 4.1
    (group,) = groups(rows)
    assert not learnable_table(group, group.arms).rows
    assert not _learnable(group)


def test_controls_of_an_arm():
    fills = [arm(n, [[0.0]], v) for v in (AS_IS, "no copies") for n in ("roughness", "random", "farthest")]
    group = Group({}, ("t",), ("",), (arm("layers", [[0.0]], "", (None,)), *fills))
    of = {a.name: [c.name for c in group.controls(a)] for a in group.arms}
    assert of["layers"] == []
    assert of["roughness"] == ["layers", "random", "farthest"]
    assert of["random"] == ["layers"]
    assert of["random, no copies"] == ["random"]
    assert of["roughness, no copies"] == ["roughness", "random, no copies", "farthest, no copies"]


def test_only_what_was_measured_alike_is_compared():
    baseline = [line("none", [2.0, 4.0]), line("descriptors", [1.0, 2.0])]
    asked = {"variant": AS_IS, "described": [1.0, 1.0]}
    fills = [line("roughness", [1.0, 4.0], n=n, seed=s, **asked) for n in (3, 5) for s in (0, 1)]
    few, many = groups(baseline + fills)
    assert (few.facts["n"], many.facts["n"]) == (3, 5)
    assert [a.name for a in few.arms] == ["descriptors", "roughness"]
    assert few.arms[0].gains["plain"].tolist() == [[50.0], [50.0]]
    assert few.arms[1].gains["plain"].tolist() == [[50.0, 50.0], [0.0, 0.0]]
    assert few.arms[1].gains["with descriptors"].tolist() == [[0.0, 0.0], [50.0, 50.0]]
    with pytest.raises(InputError, match="two measurements of roughness as is, seed 0"):
        groups([*baseline, *fills, fills[0]])
    with pytest.raises(InputError, match="no measurement of the original"):
        groups(fills)


def test_correlation_needs_runs_that_differ():
    assert correlation([1, 2, 3], [1, 2, 3]) is None
    assert correlation([1, 1, 1, 1], [1, 2, 3, 4]) is None
    assert correlation([1, 2, 3, 4], [8, 6, 5, 1]) == pytest.approx((-1.0, 0.0))


def test_every_variant_is_a_config_that_differs():
    default = FillConfig().resolved(False, 16, 8e-3)
    changes = measurement.ABLATION
    assert len({(c.get("objective"), c.get("device"), c.get("form")) for c in changes.values()}) == 10
    found = {
        name: FillConfig.make(change).resolved(False, 16, 8e-3)
        for name, change in changes.items()
        if not {"objective", "device"} & change.keys()
    }
    assert found.pop(AS_IS) == default
    assert 2 * found["half the steps"].training.steps == default.training.steps
    alone = found["pool alone"].training
    assert alone.descriptor_weight * alone.pool_descriptor_weight == default.training.pool_descriptor_weight
    assert len({c.model_dump_json() for c in found.values()} | {default.model_dump_json()}) == len(found) + 1


def test_changes_that_are_none_are_refused():
    with pytest.raises(InputError, match="FIELD=VALUE"):
        measurement.changes_of(["steps"])
    with pytest.raises(InputError, match="stepz"):
        measurement.changes_of(["stepz=3"])
    with pytest.raises(InputError, match="no objective 'guess'"):
        measurement.changes_of(["objective=guess"])
    with pytest.raises(InputError, match="--arms"):
        measurement.changes_of(["choice=random"])


def test_a_line_left_in_part_is_cut_and_a_bad_one_refused(tmp_path):
    path = tmp_path / "r.jsonl"
    Lines(path).append({"a": 1})
    path.write_text(path.read_text() + '{"a": 2, "b')
    assert read_rows(path) == [{"a": 1}]
    Lines(path).append({"a": 3})
    assert read_rows(path) == [{"a": 1}, {"a": 3}]
    path.write_text('{"a": 1}\n{"a"\n')
    with pytest.raises(InputError, match="line 2"):
        read_rows(path)


def test_halves_are_the_17_standing_tasks():
    assert len(set(CHOOSING) | set(REPORTING)) == 17
    data = shared("data")
    suite = Suite.of_folder(data, "reporting", 30)
    assert {len(t) for t in suite.tasks} == {30}
    assert suite.halves == ["reporting"] * 9
    assert "log K_VRH_2015_GPa" in [t.name for t in suite.tasks]
    assert len(suite.structures) < 9 * 30
    assert suite.descriptors.shape[0] == len(suite.structures)
    assert set(TRAINED_ON.values()) < {t.name for t in suite.tasks}
    assert all(np.isfinite(t.y).all() for t in suite.tasks)


def test_a_folder_without_the_files_is_refused(tmp_path):
    with pytest.raises(InputError, match="mp_eval"):
        tasks_of(tmp_path, CHOOSING, 30)


def test_short_form_goes_on_and_becomes_tables(tmp_path):
    out, page = tmp_path / "r.jsonl", tmp_path / "page.md"
    command(*RUN, *FEW, "--out", out, "--arms", "layers,roughness,random")
    rows = read_rows(out)
    assert [r["arm"] for r in rows] == ["none", "descriptors", "layers", "roughness", "random"]
    fill = rows[3]["fill"]
    assert fill["generated"] == 3
    assert fill["config"]["steps"] == 3
    assert set(fill["stages"]) >= {"propose crystals", "train", "guard"}
    assert all(np.isfinite(fill["roughness"]["frustration"]))
    assert rows[3]["versions"]["matgl_fill"]
    assert all(score["median"] > 0 for score in rows[0]["scores"])
    whole = out.read_bytes()
    command(*RUN, *FEW, "--out", out, "--arms", "layers,roughness,random")
    assert out.read_bytes() == whole
    command(*RUN, *FEW, "--out", out, "--arms", "roughness", "--set", "lr=0.0")
    assert len(read_rows(out)) == 6
    variant = next(r for r in read_rows(out) if r["base"].get("lr") == 0.0)
    assert variant["fill"]["crystals"] == fill["crystals"]
    assert variant["fill"]["stages"]["propose crystals"] == fill["stages"]["propose crystals"]
    command("evidence", "table", out, "-o", page)
    text = page.read_text()
    for name in ("descriptors", "layers", "roughness", "random"):
        assert f"| {name} |" in text
    assert text.count("## default, default, steps = 3") == 2
    assert text.count("| default |  | none, descriptors added |") == 1
    assert "| roughness | random |" in text
    assert "| 3 at rough places, steps = 3, copies = 1, lr = 0.0 |" in text
    assert "<svg" in (tmp_path / "page-1.svg").read_text()
    assert json.loads(whole.splitlines()[0])["scores"][0]["plain"].keys() == set(FITS)


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory):
    """The page and the tables from the measurements that are kept."""
    folder = tmp_path_factory.mktemp("tables")
    command("evidence", "table", KEPT, "-o", folder / "benchmarks.md", "--csv", folder / "csv")
    return folder


def test_the_tables_of_the_documentation_say_what_was_measured(regenerated):
    made = {path.name: path.read_bytes() for path in (regenerated / "csv").iterdir()}
    assert len(made) == 12
    assert made == {name: (ROOT / "docs" / "results" / name).read_bytes() for name in made}
    assert not [row["commit"] for row in read_rows(KEPT) if "+" in row["commit"]]


def test_the_results_repeat_rows_of_the_summary(regenerated):
    page = (regenerated / "benchmarks.md").read_text().splitlines()
    shown = (ROOT / "docs/results/index.md").read_text().splitlines()
    first = next(i for i, line in enumerate(shown) if line.startswith("| model | pool |"))
    rows = list(takewhile(lambda line: line.startswith("|"), shown[first + 2 :]))
    assert any(line.startswith(shown[first]) for line in page)
    assert len(rows) >= 14
    assert [row for row in rows if not any(line.startswith(row) for line in page)] == []


def test_the_readme_says_what_the_tables_say(tmp_path):
    """The figures of its rows on features and on filled potentials, and its picture, are those of docs/results."""
    readme = (ROOT / "README.md").read_text()
    summary, filling = (overview.read(ROOT / "docs/results" / name) for name in ("summary.csv", "filling.csv"))
    gains = [
        row["mean"].split()[0][1:] for row in summary if (row["pool"], row["crystals"]) == ("mp_pool", overview.ARM)
    ]
    lowest, highest = (f"{f(float(gain) for gain in gains):.0f}" for f in (min, max))
    assert f"error −{lowest} to −{highest} %" in readme
    inside, outside = overview.potential(filling, "default")
    said = ", ".join(f"{measure} −{abs(bar.value - 100):.0f}" for measure, bar in inside.items())
    assert f"{said} %" in readme
    assert all(bar.high == 0 for bar in outside.values())
    command("picture", "-o", tmp_path / "overview.svg")
    assert (tmp_path / "overview.svg").read_bytes() == (ROOT / "docs/results/overview.svg").read_bytes()


def test_calls_that_cannot_be_run_say_why(tmp_path):
    for words, said in (
        (["--arms", "best"], "no arm best"),
        (["--seeds", "a"], "whole numbers"),
        (["--data", tmp_path], "either"),
        (["--ablation", "--label", "x"], "--label"),
    ):
        done = CliRunner().invoke(app, [str(w) for w in (*RUN, "--out", tmp_path / "r.jsonl", *words)])
        assert done.exit_code == 2
        assert said in done.output
    assert not (tmp_path / "r.jsonl").exists()
