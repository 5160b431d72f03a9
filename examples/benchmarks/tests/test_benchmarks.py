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


def test_every_published_model_predicts_what_it_did():
    references = [shared(f"reference/legacy_predictions{end}.json") for end in ("", "_matgl206")]
    found = read_structures(shared("data/mp_pool.jsonl.gz"))
    crystals = dict(zip(found.ids, found.structures, strict=True))
    results = check_checkpoints([shared("models"), shared("models_legacy")], references, crystals)
    assert len(results) == 11
    for result in results:
        old = result.name.startswith("models_legacy")
        assert result.outcome == ("upgraded" if old else "as it is"), result
        assert result.energy is None or result.energy < 1e-5
        assert result.force is None or result.force < 1e-4
    assert [r.name for r in results if r.energy is None] == ["models/MEGNet-MP-2019.4.1-BandGap-mfi"]
