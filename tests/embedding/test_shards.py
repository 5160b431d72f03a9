"""Folders of shards: the same bits wherever they are made, nothing lost to a kill, nothing read too early."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from embedding.shard_workers import SERVED, dask_worker, embed_until
from helpers import run_here
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

import matgl_fill as mf
from matgl_fill.cli import app
from matgl_fill.embedding.shards import ShardFolder, embed_shards, executors, run
from matgl_fill.embedding.shards.executors import Here, Processes, check_executor
from matgl_fill.embedding.shards.manifest import BLOCK
from matgl_fill.errors import ExecutorError, InputError
from matgl_fill.structures import Skipped, describe_structures
from matgl_fill.testing import BATCHING, relative

EXOTIC = {"id": "exotic", "structure": Structure(Lattice.cubic(5), ["Fr"], [[0, 0, 0]]).as_dict()}
FLAT = {"id": "flat", "structure": {"lattice": [[0, 0, 0]] * 3, "species": ["H"], "frac_coords": [[0] * 3]}}
BAD = {7: EXOTIC, 300: FLAT, 301: '{"id": "torn", "struc'}
"""Rows that cannot be used."""


@pytest.fixture(scope="module")
def known(pool):
    """Small crystals, so that a shard is made in a moment."""
    return sorted(pool.structures, key=len)[:60]


@pytest.fixture(scope="module")
def big(tmp_path_factory, known):
    """Three shards of 256 rows and a rest, three rows of which are no crystals that the model can take."""
    rows = [{"id": f"c{i}", "structure": known[i % len(known)].as_dict(), "e": i / 2} for i in range(3 * BLOCK + 40)]
    lines = [json.dumps(row) for row in rows]
    for place, bad in BAD.items():
        lines[place] = bad if isinstance(bad, str) else json.dumps(bad)
    path = tmp_path_factory.mktemp("big") / "big.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


@pytest.fixture(scope="module")
def here(model, big, tmp_path_factory):
    """What one undisturbed process makes."""
    return embed_shards(model, big, tmp_path_factory.mktemp("here") / "Z", shard_size=BLOCK)


def same(one: ShardFolder, other: ShardFolder) -> bool:
    """Whether two folders hold the same rows, to the bit."""
    return (
        one.embedding.tobytes() == other.embedding.tobytes()
        and one.descriptors.tobytes() == other.descriptors.tobytes()
        and one.ids == other.ids
        and one.skipped == other.skipped
    )


def shards(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.glob("shard-*.parquet"))


def when(condition, then) -> threading.Thread:
    """Do something in another thread, once."""

    def watch() -> None:
        limit = time.monotonic() + 60
        while not condition() and time.monotonic() < limit:
            time.sleep(0.002)
        then()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_shards_hold_what_embed_gives_and_say_what_was_left_out(model, here, known):
    n = 3 * BLOCK + 40 - len(BAD)
    assert (len(here), here.shards, here.width) == (n, 4, mf.get_adapter(model).dim)
    assert here.ids[:8] == ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c8"]
    assert [s.where for s in here.skipped] == [f"big.jsonl.gz:{row}" for row in BAD]
    assert [s.reason.split(":")[0] for s in here.skipped] == [
        "element Fr is unknown to the model", "zero-volume cell (0 A^3)", "unreadable JSON",
    ]  # fmt: skip
    few = here.structures([20, 3, n - 1])
    assert relative(here.embedding[[20, 3, n - 1]], mf.embed(model, few)) < 10 * BATCHING
    np.testing.assert_array_equal(here.descriptors[[20, 3]], describe_structures(few[:2]).astype(np.float32))
    assert few[1].lattice == known[3].lattice
    np.testing.assert_array_equal(few[1].frac_coords, mf.read_structures(known[3]).structures[0].frac_coords)
    assert here.labels == ["e"]
    assert here.label("e")[:8].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 4]
    assert here.n_atoms[:3].tolist() == [len(s) for s in known[:3]]
    with pytest.raises(IndexError):
        here.structures([n])


def test_bits_do_not_depend_on_the_size_of_shards(model, big, here, tmp_path):
    larger = embed_shards(model, big, tmp_path / "Z", shard_size=3 * BLOCK)
    assert larger.shards == 2
    assert same(larger, here)


def test_a_killed_process_is_replaced_and_its_shard_is_made_again(model, big, here, tmp_path, monkeypatch):
    pools: list[Processes] = []
    renewed = Processes._renewed
    monkeypatch.setattr(Processes, "_renewed", lambda self: pools.append(self) or renewed(self))
    killed = []

    def kill() -> None:
        killed.append(next(iter(pools[0]._pool._processes)))
        os.kill(killed[0], signal.SIGKILL)

    when(lambda: shards(tmp_path / "Z"), kill)
    made = embed_shards(model, big, tmp_path / "Z", "processes:2", shard_size=BLOCK)
    assert len(killed) == 1
    assert len(pools) == 2
    assert same(made, here)


def test_a_killed_call_goes_on_and_does_no_shard_twice(model, big, here, tmp_path, monkeypatch):
    """The call is a process of its own, which is killed between two shards."""
    out = tmp_path / "Z"
    call = SERVED.Process(target=embed_until, args=(1, big, out, BLOCK))
    call.start()
    call.join(300)
    assert call.exitcode == -signal.SIGKILL
    assert shards(out) == ["shard-000000.parquet", "shard-000001.parquet"]
    with pytest.raises(InputError, match="is not finished; give the same call of embed again"):
        ShardFolder(out)
    times = {name: (out / name).stat().st_mtime_ns for name in shards(out)}
    (out / "shard-000001.parquet").write_bytes((out / "shard-000001.parquet").read_bytes()[:-100])  # and torn
    assert same(embed_shards(model, big, out, shard_size=BLOCK), here)
    after = {name: (out / name).stat().st_mtime_ns for name in times}
    assert after["shard-000000.parquet"] == times["shard-000000.parquet"]
    assert after["shard-000001.parquet"] != times["shard-000001.parquet"]
    monkeypatch.setattr(run, "executor_of", lambda *_: pytest.fail("nothing is left to do"))
    assert same(embed_shards(model, big, out, "processes", shard_size=BLOCK), here)


def test_the_file_is_read_no_further_than_workers_need(model, big, tmp_path, monkeypatch):
    """Sections that are read and not yet made into shards, at most."""
    read, most = [], []
    sections = run.sections

    def counted(path, size):
        for section in sections(path, size):
            read.append(section.number)
            yield section

    write = run._Work.write
    monkeypatch.setattr(run, "sections", counted)
    monkeypatch.setattr(
        run._Work, "write", lambda self, shard: most.append(len(read) - len(self.facts)) or write(self, shard)
    )
    embed_shards(model, big, tmp_path / "Z", shard_size=BLOCK)
    assert max(most) <= 2  # the one that is made, and the one that the executor begins with
    assert read == list(range(4))


def test_futures_are_not_begun_ahead_of_the_workers():
    """Of a long file only a few sections for each worker are pending."""

    class Instant(executors._Pooled):
        workers = 3
        begun = 0

        def _submitted(self, section):
            self.begun += 1
            future = executors.Future()
            future.set_result(section)
            return future

        def _renewed(self):
            pytest.fail("nothing died")

        def close(self):
            pass

    engine = Instant(None)
    for taken, _ in enumerate(engine.shards(range(1000))):
        assert engine.begun - taken <= executors.AHEAD * engine.workers
        if taken == 50:
            break


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": "mean"}, "pooling 'model' there, 'mean' now"),
        ({"shard_size": 2 * BLOCK}, "size 256 there, 512 now"),
        ({"layers": "all"}, "layers 'last' there, 'all' now"),
    ],
)
def test_a_folder_of_another_call_is_refused(model, big, here, change, message):
    with pytest.raises(InputError, match=f"holds the shards of another call .*{message}.*give another folder"):
        embed_shards(model, big, here.path, **({"shard_size": BLOCK} | change))


def test_another_model_and_a_changed_file_are_refused(model, big, here, tmp_path):
    other = mf.load_model("potential")
    with pytest.raises(InputError, match=r"holds the shards of another call .model "):
        embed_shards(other, big, here.path, shard_size=BLOCK)
    lines = gzip.decompress(big.read_bytes()).decode().split("\n")
    first, second = tmp_path / "a" / "x.jsonl", tmp_path / "b" / "x.jsonl"
    for path, digit in ((first, "1"), (second, "2")):  # of the same name and size
        path.parent.mkdir()
        path.write_text("\n".join([line.replace('"c2"', f'"d{digit}"') for line in lines[:4]]))
    embed_shards(model, first, tmp_path / "Z", shard_size=BLOCK)
    with pytest.raises(InputError, match=r"was changed since shard-000000.parquet was made"):
        embed_shards(model, second, tmp_path / "Z", shard_size=BLOCK)
    (tmp_path / "Z" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"holds shards but no manifest.json"):
        embed_shards(model, first, tmp_path / "Z", shard_size=BLOCK)


@pytest.mark.parametrize("text", ["process", "processes:0", "processes:-1", "dask://host", "dask:host:1", ""])
def test_an_executor_that_is_none_is_refused_before_anything_is_written(model, big, tmp_path, text):
    with pytest.raises(InputError, match="give 'here', 'processes'"):
        embed_shards(model, big, tmp_path / "Z", text)
    assert not (tmp_path / "Z").exists()
    assert check_executor("processes:3") == ("processes", 3)


@pytest.mark.parametrize("size", [255, 257, 0, 2.5])
def test_shards_are_whole_blocks(model, big, tmp_path, size):
    with pytest.raises(InputError, match="shard_size is"):
        embed_shards(model, big, tmp_path / "Z", shard_size=size)


@pytest.mark.parametrize("other", ["default", "", "x" * 5000, "a\0b", 5, None, ["shard-000000.parquet"]])
def test_what_is_no_folder_of_shards_is_none(here, other):
    assert ShardFolder.is_one(str(here.path))
    assert not ShardFolder.is_one(other)


def test_one_crystal_on_which_a_model_fails_does_not_end_the_others(model, big, here, tmp_path, monkeypatch):
    """The crystals of its block are embedded alone then; short memory is no crystal's fault."""
    path = tmp_path / "few.jsonl"
    path.write_text("\n".join(gzip.decompress(big.read_bytes()).decode().split("\n")[:30]))
    adapter = type(mf.get_adapter(model))
    graphs, formula, failure = adapter.graphs, here.formulas[0], ZeroDivisionError("no triplet")

    def failing(self, structures):
        if any(s.composition.reduced_formula == formula for s in structures):
            raise failure
        return graphs(self, structures)

    monkeypatch.setattr(adapter, "graphs", failing)
    made = embed_shards(model, path, tmp_path / "Z", shard_size=BLOCK)
    assert made.skipped[0] == Skipped("few.jsonl:0", "ZeroDivisionError: no triplet")
    assert set(made.formulas) == set(here.formulas[:29]) - {formula}
    failure = MemoryError("no")
    with pytest.raises(MemoryError):
        embed_shards(model, path, tmp_path / "other", shard_size=BLOCK)


def test_workers_with_another_matgl_are_refused(model, big, here):
    other = dataclasses.replace(here.manifest, model="0" * 64)
    settings = run.ShardSettings("model", "last", None, "cpu", BLOCK)
    with pytest.raises(ExecutorError, match="another version or backend of MatGL"):
        Here(run.Job.of(model, settings, other))


def test_a_damaged_shard_is_no_other_embedding(here, tmp_path):
    folder = tmp_path / "Z"
    folder.mkdir()
    for file in here.path.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    shard = folder / "shard-000002.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 16
    shard.write_bytes(data)
    with pytest.raises(InputError, match=r"shard-000002.parquet is missing or damaged"):
        _ = [getattr(ShardFolder(folder), name) for name in ("embedding", "descriptors")]


def test_command_makes_the_same_and_says_the_cost(model, big, here, tmp_path, monkeypatch, capsys):
    words = "embed", "default", big, "-o", tmp_path / "Z", "--executor", "here", "--shard-size", BLOCK
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    assert "about 808 crystals" in done.stdout
    assert "skipped big.jsonl.gz:7: element Fr" in done.stdout
    assert same(ShardFolder(tmp_path / "Z"), here)
    summary = json.loads((tmp_path / "Z" / "summary.json").read_text())
    assert (summary["rows"], summary["skipped"], summary["shards"]) == (808, 3, 4)
    columns = pq.read_schema(tmp_path / "Z" / "shard-000000.parquet").names
    assert columns[:5] == ["row", "id", "skipped", "formula", "z0"]
    words = "embed", "default", tmp_path / "x.cif", "-o", tmp_path / "no", "--executor", "here"
    code, _, error = run_here(monkeypatch, capsys, *words)
    assert (code, "is no file" in error) == (2, True)


def test_a_dask_cluster_gives_the_same_and_survives_a_killed_worker(model, big, here, tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra 'scale'")
    with distributed.LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        workers = [SERVED.Process(target=dask_worker, args=(cluster.scheduler_address,), daemon=True) for _ in range(2)]
        for worker in workers:
            worker.start()
        address = cluster.scheduler_address.replace("tcp://", "dask://")
        when(lambda: shards(tmp_path / "Z"), workers[0].kill)
        assert same(embed_shards(model, big, tmp_path / "Z", address, shard_size=BLOCK), here)
        assert not workers[0].is_alive()
        when(lambda: shards(tmp_path / "lost"), lambda: cluster.sync(cluster.scheduler.close))
        with pytest.raises(ExecutorError, match="is gone; start it and give the same call again"):
            embed_shards(model, big, tmp_path / "lost", address, shard_size=BLOCK)
        workers[1].kill()
    assert 0 < len(shards(tmp_path / "lost")) < 4
    assert same(embed_shards(model, big, tmp_path / "lost", shard_size=BLOCK), here)


def test_a_scheduler_that_is_not_there_is_told(model, big, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="needs the extra 'scale'")
    monkeypatch.setattr(executors, "PATIENCE", 0.5)
    with pytest.raises(ExecutorError, match=r"no scheduler of dask answers at tcp://127.0.0.1:9"):
        embed_shards(model, big, tmp_path / "Z", "dask://127.0.0.1:9", shard_size=BLOCK)
