"""Embedding many crystals: threads, chunks, cache, and the command that writes a table."""

from __future__ import annotations

import json
import sqlite3

import ase.db
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from ase import Atoms
from matgl.models import TensorNet
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner, Result

import matgl_fill as mf
from matgl_fill.cli import app
from matgl_fill.embedding.cache import EmbeddingCache
from matgl_fill.errors import InputError
from matgl_fill.structures import bundled
from matgl_fill.structures.descriptors import names
from matgl_fill.testing import BATCHING, CHANGES, relative
from matgl_fill.utils.hashing import hash_model

POOL = bundled.ASSETS / "crystals_pool.jsonl.gz"


@pytest.mark.parametrize("level", ["structure", "atom"])
def test_bits_do_not_depend_on_the_number_of_threads(model, pool, level):
    before = torch.get_num_threads()
    Z = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            Z.append(mf.embed(model, pool, level))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(Z[0], Z[1])
    np.testing.assert_array_equal(Z[0], Z[2])


@pytest.mark.parametrize("level", ["structure", "atom"])
def test_cache_gives_the_same_bits_and_computes_only_what_is_new(model, pool, level, tmp_path, monkeypatch):
    cache, some = tmp_path / "z.sqlite", pool.subset(range(40))
    Z = mf.embed(model, some, level)
    n = 25 if level == "structure" else sum(map(len, some.structures[:25]))
    np.testing.assert_array_equal(mf.embed(model, some.subset(range(25)), level, cache=cache), Z[:n])
    adapter = type(mf.get_adapter(model))
    built = []
    graphs = adapter.graphs
    monkeypatch.setattr(adapter, "graphs", lambda self, s: built.extend(s) or graphs(self, s))
    np.testing.assert_array_equal(mf.embed(model, some, level, cache=cache), Z)
    assert len(built) == 15


def test_cache_knows_weights_settings_and_structures_apart(model, pool, tmp_path):
    cache, some = tmp_path / "z.sqlite", pool.subset(range(5))
    Z = mf.embed(model, some, cache=cache)
    other = mf.get_adapter(model).clone().model
    with torch.no_grad():
        next(other.parameters()).add_(0.01)
    assert hash_model(other) != hash_model(model)
    np.testing.assert_array_equal(mf.embed(other, some, cache=cache), mf.embed(other, some))
    np.testing.assert_array_equal(
        mf.embed(model, some, pooling="mean", cache=cache), mf.embed(model, some, pooling="mean")
    )
    moved = some.structures[0].copy()
    moved.translate_sites([0], [0.01, 0, 0])
    assert not np.array_equal(mf.embed(model, moved, cache=cache)[0], Z[0])


def test_a_file_that_is_no_cache_is_an_input_error(tmp_path):
    (tmp_path / "text").write_text("not a database, and longer than a header " * 10)
    with pytest.raises(InputError, match="cannot be used as a cache"):
        EmbeddingCache(tmp_path / "text")


def test_a_database_of_something_else_is_left_alone(model, crystals, tmp_path):
    with ase.db.connect(tmp_path / "mine.db", append=False) as mine:
        mine.write(Atoms("H"))
    before = (tmp_path / "mine.db").read_bytes()
    with pytest.raises(InputError, match="cannot be used as a cache"):
        mf.embed(model, crystals, cache=tmp_path / "mine.db")
    assert (tmp_path / "mine.db").read_bytes() == before


def test_batches_of_wider_models_have_fewer_edges():
    narrow, wide = (mf.get_adapter(TensorNet(units=u, num_rbf=8, is_intensive=False)) for u in (16, 64))
    again = mf.get_adapter(TensorNet(units=64, num_rbf=8, is_intensive=False))
    assert wide.edges_per_batch == again.edges_per_batch
    assert narrow.edges_per_batch > 3 * wide.edges_per_batch


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["embed", *map(str, words)])


def test_command_writes_a_table_and_leaves_bad_crystals_out(model, pool, tmp_path):
    some = pool.subset(range(10))
    rows = [{"id": i, "structure": s.as_dict()} for i, s in zip(some.ids, some.structures, strict=True)]
    rows.insert(3, {"id": "exotic", "structure": Structure(Lattice.cubic(5), ["Fr"], [[0, 0, 0]]).as_dict()})
    flat = {"lattice": [[0, 0, 0]] * 3, "species": ["H"], "frac_coords": [[0] * 3]}
    rows.insert(5, {"id": "broken", "structure": flat})
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "new" / "Z.parquet"
    done = run("default", tmp_path / "in.jsonl", "-o", out)
    assert done.exit_code == 0, done.output
    assert "skipped exotic: element Fr is unknown to the model" in done.stdout
    assert "zero-volume cell" in done.stdout
    table = pq.read_table(out)
    assert table.column("id").to_pylist() == some.ids
    Z = np.column_stack([table.column(f"z{j}") for j in range(table.num_columns - 1)])
    np.testing.assert_array_equal(Z, mf.embed(model, some))
    assert json.loads(table.schema.metadata[b"matgl_fill"])["level"] == "structure"
    assert [p.name for p in out.parent.iterdir()] == ["Z.parquet"]


def test_command_pools_as_it_is_told(model, tmp_path):
    assert run("default", POOL, "-o", tmp_path / "z.parquet", "--pooling", "max").exit_code == 0
    table = pq.read_table(tmp_path / "z.parquet").drop(["id"])
    Z = np.column_stack([table[name] for name in table.column_names])
    known = bundled.bundled_pool(model.element_types)
    assert relative(Z, mf.embed(model, known, pooling="max")) < BATCHING


def test_command_goes_on_from_a_cache(tmp_path):
    cache, out = tmp_path / "kept.sqlite", tmp_path / "Z.parquet"
    for _ in range(2):
        assert run("default", POOL, "-o", out, "--level", "atom", "--cache", cache).exit_code == 0
    assert sqlite3.connect(cache).execute("SELECT count(*) FROM embedding").fetchone() == (300,)
    assert pq.read_table(out).column_names[:2] == ["id", "atom"]


def test_a_crystal_that_pymatgen_strained_is_taken(model, crystals):
    """Its lattice is a transposed array, which pymatgen's own neighbour search refuses."""
    strained = crystals[0].copy().apply_strain([0.02, 0.0, -0.01])
    assert not strained.lattice.matrix.flags.c_contiguous
    same = Structure(Lattice(np.ascontiguousarray(strained.lattice.matrix)), strained.species, strained.frac_coords)
    np.testing.assert_array_equal(mf.embed(model, [strained]), mf.embed(model, [same]))


@pytest.mark.parametrize("word", [{"level": "atoms"}, {"pooling": "average"}, {"layers": "every"}])
def test_a_word_that_is_no_choice_is_refused(model, crystals, word):
    with pytest.raises(InputError, match=f"{next(iter(word))} is '{next(iter(word.values()))}'; there are '"):
        mf.embed(model, crystals, **word)


def test_a_model_that_was_just_used_is_embedded_in_small_batches(model, pool):
    """Its features of the last pass hold a graph that cannot be copied for the other threads."""
    model.predict_structure(pool.structures[0])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Z = mf.embed(model, pool.structures[:20], batch_size=4)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(Z, mf.embed(model, pool.structures[:20]), rtol=1e-5, atol=1e-6)


def test_descriptors_are_the_last_columns(model, crystals):
    Z = mf.embed(model, crystals, descriptors=True)
    described = mf.describe(crystals).astype(np.float32)
    np.testing.assert_array_equal(Z, np.hstack([mf.embed(model, crystals), described]))


@pytest.mark.parametrize("change", CHANGES)
def test_descriptors_are_invariant(crystals, change):
    changed = mf.describe([CHANGES[change](s) for s in crystals])
    np.testing.assert_allclose(changed, mf.describe(crystals), rtol=1e-6, atol=1e-8)


def test_descriptors_say_what_their_names_say():
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    column = dict(zip(names(), mf.describe(salt)[0], strict=True))
    expected = {
        "Z mean": 14.0, "Z deviation": 3.0, "Z min": 11.0, "Z max": 17.0, "elements": 2.0, "mixing entropy": np.log(2),
        "volume per atom": 5.64**3 / 8, "coordination": 6.0, "coordination deviation": 0.0,
        "bond polarity": 3.16 - 0.93, "bond polarity deviation": 0.0, "p deviation": 2.5,
    }  # fmt: skip
    assert {name: column[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert column["density"] == pytest.approx(float(salt.density) / 1.66053907, rel=1e-5)


def test_descriptors_keep_rows_aligned(crystals):
    with pytest.raises(InputError, match="remove this crystal, or give read_structures"):
        mf.describe([crystals[0], "absent.cif", crystals[1]])


def test_rows_of_what_was_read_before_are_those_of_its_ids(model, crystals):
    read = mf.read_structures([crystals[0], "absent.cif", crystals[1]])
    assert [s.where for s in read.skipped] == ["1"]
    assert read.ids == ["0", "2"]
    assert np.array_equal(mf.embed(model, read), mf.embed(model, [crystals[0], crystals[1]]))
    assert np.array_equal(mf.describe(read), mf.describe([crystals[0], crystals[1]]))
