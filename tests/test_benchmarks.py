"""Short form of the measurements, so that they cannot rot."""

from __future__ import annotations

import subprocess
import sys

from matgl_fill import bundled
from matgl_fill.benchmarks.throughput import ONE_BY_ONE, throughput


def test_throughput_times_the_same_crystals_three_ways(model, pool):
    rates = throughput(model, pool.structures[:80])
    assert [r.crystals for r in rates] == [80, 80, min(80, ONE_BY_ONE)]
    ours, loader, single = (r.per_second for r in rates)
    assert ours > 2 * single
    assert loader > single


def test_command_prints_the_table():
    crystals = bundled.ASSETS / "crystals_pool.jsonl.gz"
    command = [sys.executable, "-m", "matgl_fill.benchmarks", "embed", str(bundled.MODEL), str(crystals), "--n", "70"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "MEGNet: 70 crystals" in done.stdout
    assert "peak memory" in done.stdout
