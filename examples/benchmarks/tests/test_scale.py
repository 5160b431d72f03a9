"""Short form of the cost of pools of any size, so that it cannot rot."""

from __future__ import annotations

import numpy as np
from helpers import csv_rows
from typer.testing import CliRunner

from examples.benchmarks.__main__ import app
from examples.benchmarks.embedding.scale import DIMENSIONS, write_synthetic
from examples.benchmarks.roughness.analysis import synthetic_embedding
from matgl_fill.embedding.shards import ShardFolder


def test_the_synthetic_folder_holds_the_synthetic_embedding(tmp_path):
    write_synthetic(5000, tmp_path)
    folder, (Z, response) = ShardFolder(tmp_path), synthetic_embedding(5000, DIMENSIONS)
    assert folder.shards == 2
    np.testing.assert_array_equal(folder.embedding, Z.astype(np.float32))
    np.testing.assert_array_equal(folder.label("response"), response)


def test_command_appends_every_cost_to_its_file(tmp_path):
    csv = tmp_path / "scale.csv"
    for sizes in (["--embed", "", "--roughness", "1200"], ["--embed", "300", "--roughness", ""]):
        done = CliRunner().invoke(app, ["scale", *sizes, "--csv", str(csv)])
        assert done.exit_code == 0, done.output
    rows = csv_rows(csv)
    assert [row["rows"] for row in rows] == ["1200"] * 4 + ["300"] * 2
    assert all(float(row["seconds"]) > 0 and 100 < float(row["peak_mb"]) < 5000 for row in rows)
    assert float(rows[5]["seconds"]) < float(rows[4]["seconds"])
