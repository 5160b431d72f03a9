"""Files that are read section by section: every row once, in order, and no sooner than it is asked for."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

import matgl_fill as mf
from matgl_fill.errors import InputError
from matgl_fill.structures.streams import sections

NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def rows(n: int) -> list[dict]:
    return [{"id": f"r{i}", "structure": NACL.as_dict(), "e": float(i)} for i in range(n)]


def written(folder, kind, n, group=7):
    path = folder / f"big{kind}"
    if kind == ".parquet":
        cells = [r | {"structure": json.dumps(r["structure"])} for r in rows(n)]
        pq.write_table(pa.Table.from_pylist(cells), path, row_group_size=group)
    else:
        text = "\ufeff" + "\n\n".join(map(json.dumps, rows(n))) + "\n"  # with a mark of its encoding and empty lines
        path.write_bytes(gzip.compress(text.encode()) if kind.endswith("gz") else text.encode())
    return path


@pytest.mark.parametrize("kind", [".jsonl", ".jsonl.gz", ".parquet"])
@given(n=st.integers(1, 30), size=st.integers(1, 12), group=st.integers(1, 11))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sections_are_the_rows_of_the_file_whatever_its_form(kind, n, size, group, tmp_path):
    found = list(sections(written(tmp_path, kind, n, group), size))
    items = [item for section in found for item in section.items()]
    assert [item["id"] for _, item in items] == [f"r{i}" for i in range(n)]
    assert [where for where, _ in items] == [f"big{kind}:{i}" for i in range(n)]
    assert [(s.number, s.first, s.count) for s in found] == [
        (k, k * size, min(size, n - k * size)) for k in range(-(-n // size))
    ]
    assert found[-1].share == 1.0
    assert len({s.content for s in found}) == len(found)


@pytest.mark.parametrize("kind", [".jsonl", ".parquet"])
def test_one_changed_row_changes_the_hash_of_its_section(kind, tmp_path, monkeypatch):
    before = [s.content for s in sections(written(tmp_path, kind, 20), 5)]
    assert before == [s.content for s in sections(written(tmp_path, kind, 20), 5)]
    other = rows(20)
    other[7]["e"] = 70.0
    monkeypatch.setitem(globals(), "rows", lambda n: other)
    after = [s.content for s in sections(written(tmp_path, kind, 20), 5)]
    assert after[1] != before[1]
    if kind == ".jsonl":
        assert after[0] == before[0]


def test_parquet_holds_crystals_in_every_form_and_is_read_like_any_file(tmp_path):
    forms = {
        "structure": json.dumps(NACL.as_dict()),
        "cif": str(CifWriter(NACL)),
        "poscar": Poscar(NACL).get_str(),
    }
    for column, text in forms.items():
        table = pa.table({"material_id": ["mp-1", "bad"], column: [text, None], "gap": [5.0, None]})
        pq.write_table(table, tmp_path / "a.parquet")
        data = mf.read_structures(tmp_path / "a.parquet")
        assert (data.ids, data.formulas, len(data.structures[0])) == (["mp-1"], ["NaCl"], 8), column
        assert data.labels["gap"].tolist() == [5.0]
        assert [s.where for s in data.skipped] == ["a.parquet:1"]
    flat = pa.table(
        {
            "lattice": [NACL.lattice.matrix.tolist()],
            "species": [[s.symbol for s in NACL.species]],
            "frac_coords": [NACL.frac_coords.tolist()],
        }
    )
    pq.write_table(flat, tmp_path / "flat.parquet")
    found = mf.read_structures(tmp_path / "flat.parquet").structures[0]
    np.testing.assert_array_equal(found.frac_coords, NACL.frac_coords)


def test_a_row_that_is_no_text_of_a_crystal_gives_its_reason(tmp_path):
    table = pa.table({"structure": ["hello", "two\nlines", "{", json.dumps(NACL.as_dict())]})
    pq.write_table(table, tmp_path / "a.parquet")
    data = mf.read_structures(tmp_path / "a.parquet")
    assert len(data) == 1
    assert [s.where for s in data.skipped] == ["a.parquet:0", "a.parquet:1", "a.parquet:2"]
    assert all(s.reason and "\n" not in s.reason for s in data.skipped)


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    """A damage far behind is not met by those who do not go there, and says where it is to those who do."""
    path = written(tmp_path, ".jsonl.gz", 4000)
    path.write_bytes(path.read_bytes()[:-2000])
    found = sections(path, 100)
    assert next(found).share < 0.9
    with pytest.raises(InputError, match=r"is damaged after row \d+00: .*give a whole file"):
        list(found)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, "is no file"),
        ("a.cif", b"data_", "cannot be read in parts"),
        ("a.jsonl", b"\n \n", "is empty"),
        ("a.jsonl.gz", b"no gzip", "is damaged"),
        ("a.parquet", b"no parquet", "is damaged"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_line(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        list(sections(tmp_path / name, 10))
    assert "\n" not in str(caught.value)


def test_a_table_without_crystals_is_refused(tmp_path):
    pq.write_table(pa.table({"id": ["a"], "z0": [1.0]}), tmp_path / "Z.parquet")
    with pytest.raises(InputError, match=r"no column of crystals among id, z0"):
        list(sections(tmp_path / "Z.parquet", 10))
