"""Short form of the measurements, so that they cannot rot."""

from __future__ import annotations

from helpers import shared
from typer.testing import CliRunner

from examples.benchmarks.__main__ import app
from examples.benchmarks.embedding.checkpoints import check_checkpoints
from examples.benchmarks.embedding.throughput import ONE_BY_ONE, bounds, throughput
from matgl_fill import read_structures
from matgl_fill.structures import bundled


def test_throughput_times_the_same_crystals_three_ways(model, pool):
    rates = throughput(model, pool.subset(range(80)))
    assert [r.crystals for r in rates] == [80, 80, min(80, ONE_BY_ONE)]
    ours, loader, single = (r.per_second for r in rates)
    assert ours > 2 * single
    assert loader > single


def test_profile_names_graph_building_and_the_largest_operators(model, pool):
    parts = dict(bounds(model, pool.structures[:60]))
    assert 0 < parts["graph building"] < sum(parts.values()) / 2
    assert "aten::addmm" in parts


def test_command_prints_the_tables():
    crystals = bundled.ASSETS / "crystals_pool.jsonl.gz"
    done = CliRunner().invoke(app, ["embed", str(bundled.MODEL), str(crystals), "--n", "70"])
    assert done.exit_code == 0, done.output
    assert "MEGNet: 70 crystals" in done.stdout
    assert "after 70 crystals" in done.stdout


def test_every_old_checkpoint_is_upgraded_exactly_or_refused():
    reference, pool = shared("reference/legacy_predictions.json"), shared("data/mp_pool.jsonl.gz")
    found = read_structures(pool)
    crystals = dict(zip(found.ids, found.structures, strict=True))
    results = check_checkpoints(shared("models_legacy"), reference, crystals)
    assert len(results) == 5
    for result in results:
        assert (result.outcome == "refused") == result.name.startswith("M3GNet"), result
        assert "matgl_fill[dgl]" in result.reason if result.reason else result.energy < 1e-5
