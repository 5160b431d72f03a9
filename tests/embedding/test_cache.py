"""The cache of embeddings: what it gives is what was put there, whatever happens to its file or beside it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers import DGL, run_here
from hypothesis import given
from hypothesis import strategies as st

import matgl_fill as mf
from matgl_fill.embedding.cache import EmbeddingCache
from matgl_fill.errors import InputError, MatglFillError, MatglFillWarning
from matgl_fill.structures import write_structures
from matgl_fill.testing import BATCHING, relative

WRITERS = int(os.environ.get("MATGL_FILL_WRITERS", "2"))
"""Number of command lines at once; give more by hand."""
DAMAGE = {
    "short": "substr(row, 1, 40)",
    "one byte less": "substr(row, 1, length(row) - 1)",
    "empty": "x''",
    "NULL": "NULL",
    "text": "'text'",
    "a number": "3.5",
    "zeros": "zeroblob(length(row))",
    "longer": "row || row",
    "another crystal's": "(SELECT row FROM embedding ORDER BY key DESC LIMIT 1)",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("level", ["structure", "atom"])
def test_damaged_rows_are_computed_again(model, pool, level, damage, tmp_path):
    some, cache = pool.subset(range(6)), tmp_path / "z.sqlite"
    Z = mf.embed(model, some, level, cache=cache)
    with sqlite3.connect(cache) as database:
        first = "(SELECT key FROM embedding ORDER BY key LIMIT 3)"
        database.execute(f"UPDATE embedding SET row = {DAMAGE[damage]} WHERE key IN {first}")
    assert relative(mf.embed(model, some, level, cache=cache), Z) < BATCHING
    with EmbeddingCache(cache) as again:
        keys = [row[0] for row in sqlite3.connect(cache).execute("SELECT key FROM embedding")]
        assert len(again.get(keys)) == 6


@given(st.dictionaries(st.binary(max_size=8), st.lists(st.floats(width=32), max_size=5), max_size=8))
def test_rows_come_back_as_they_were(rows):
    arrays = {key: np.array(row, dtype=np.float32) for key, row in rows.items()}
    with EmbeddingCache(":memory:") as cache:
        cache.put(arrays)
        found = cache.get([*arrays, b"a key that is too long"])
    assert found.keys() == arrays.keys()
    assert all(found[key].tobytes() == arrays[key].tobytes() for key in arrays)


def test_a_damaged_file_gives_the_same_rows_or_one_line(model, pool, tmp_path):
    some, cache = pool.subset(range(20)), tmp_path / "z.sqlite"
    Z = mf.embed(model, some, cache=cache)
    whole, rng = cache.read_bytes(), np.random.default_rng(0)
    for _ in range(25):
        damaged = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.3 else whole)
        for place in rng.integers(0, len(damaged), 40):
            damaged[place] ^= 1 << int(rng.integers(8))
        cache.write_bytes(damaged)
        try:
            assert relative(mf.embed(model, some, cache=cache), Z) < BATCHING
        except MatglFillError as error:
            assert "\n" not in str(error)  # noqa: PT017 either outcome is right
        for name in ("z.sqlite-journal", "z.sqlite-wal"):
            (tmp_path / name).unlink(missing_ok=True)


@pytest.mark.parametrize("schema", ["CREATE TABLE embedding (a, b)", "CREATE TABLE mine (key, row)"])
def test_another_database_is_refused(tmp_path, schema):
    sqlite3.connect(tmp_path / "z.sqlite").execute(schema)
    with pytest.raises(InputError, match="cannot be used as a cache of embeddings"):
        EmbeddingCache(tmp_path / "z.sqlite")


def test_a_cache_that_cannot_be_written_any_more_costs_nothing_but_itself(model, pool, tmp_path, monkeypatch):
    """The file may grow no further, as on a full disk; the embedding comes with one warning."""
    some, cache = pool.subset(range(30)), tmp_path / "z.sqlite"
    Z = mf.embed(model, some)
    mf.embed(model, some.subset(range(2)), cache=cache)
    opened = EmbeddingCache._opened

    def full(self):
        database = opened(self)
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
        return database

    monkeypatch.setattr(EmbeddingCache, "_opened", full)
    with pytest.warns(MatglFillWarning, match="no longer kept in .*full") as warned:
        assert relative(mf.embed(model, some, cache=cache), Z) < BATCHING
    assert len([w for w in warned if isinstance(w.message, MatglFillWarning)]) == 1


@pytest.mark.skipif(DGL, reason="what is tested knows nothing of the backend")
def test_a_full_disk_is_said_in_one_line(pool, tmp_path):
    """No file may grow beyond 10 kB in this process: the table cannot be written, and says so."""
    write_structures(pool.structures[:30], tmp_path / "in.extxyz")
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))\n"
        "from matgl_fill.cli import main\n"
        "sys.argv = ['matgl-fill', 'embed', 'default', 'in.extxyz', '-o', 'Z.parquet']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "no longer kept" in done.stderr
    assert not (tmp_path / "Z.parquet").exists()


def test_eight_writers_of_one_new_file_lose_nothing(tmp_path):
    path = tmp_path / "z.sqlite"

    def write(writer: int) -> None:
        with EmbeddingCache(path) as cache:
            for k in range(20):
                cache.put({f"{writer} {k}".encode(): np.full(4, k), f"all {k}".encode(): np.full(4, k)})

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    keys = [f"{name} {k}".encode() for name in (*range(8), "all") for k in range(20)]
    with EmbeddingCache(path) as cache:
        found = cache.get(keys)
    assert found.keys() == set(keys)
    assert all((found[key] == int(key.split()[1])).all() for key in keys)


@pytest.mark.skipif(DGL, reason="what is tested knows nothing of the backend")
def test_many_calls_at_once_all_end_well(model, pool, tmp_path):
    write_structures(pool.structures[:40], tmp_path / "in.extxyz")
    command = [sys.executable, "-m", "matgl_fill", "embed", "default", "in.extxyz", "-o", "Z.parquet"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    calls = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(WRITERS)
    ]
    for call in calls:
        _, errors = call.communicate(timeout=600)
        assert call.returncode == 0, errors.decode()
    table = pq.read_table(tmp_path / "Z.parquet").drop(["id"])
    Z = np.column_stack([table[name] for name in table.column_names])
    np.testing.assert_array_equal(Z, mf.embed(model, mf.read_structures(tmp_path / "in.extxyz")))


@pytest.mark.parametrize("verb", ["embed", "roughness", "propose"])
def test_a_place_that_cannot_be_written_to_is_said_before_anything_is_computed(verb, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("matgl_fill.adapters.load_model", lambda name: pytest.fail("computed first"))
    (tmp_path / "file").touch()
    name = "y.parquet" if verb == "embed" else "y"
    code, _, error = run_here(monkeypatch, capsys, verb, "default", "default", "-o", tmp_path / "file" / "x" / name)
    assert code == 2
    assert "cannot write to" in error
