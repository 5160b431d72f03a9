"""Tables and dictionaries of crystals, in every form that people have: all are read, with their ids."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from helpers import NACL, QUARTZ, assert_same_structure
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Structure
from pymatgen.core.entries import ComputedStructureEntry

from matgl_fill.errors import InputError
from matgl_fill.structures import read_structures

TEXT = st.characters(exclude_categories=["Cc", "Cs"])  # pandas cuts text at a zero character
IDS = ["mp-1", "mp-22"]
CRYSTALS = [NACL, QUARTZ]


def table(index: list, crystals: list, column: str = "structure") -> pd.DataFrame:
    return pd.DataFrame({column: crystals, "gap": np.arange(1.0, len(crystals) + 1)}, index=index)


DICTS = [one.as_dict() for one in CRYSTALS]
ENTRIES = [
    ComputedStructureEntry(s, energy, correction=0.5, entry_id=name)
    for s, energy, name in zip(CRYSTALS, (1.0, 2.0), IDS, strict=True)
]
ROWS = [{"material_id": name, "structure": d, "gap": gap} for name, d, gap in zip(IDS, DICTS, (1.0, 2.0), strict=True)]
FRAME = table(IDS, DICTS)
FILES = {
    f"to_json of orient {orient}": FRAME.to_json(orient=orient) for orient in ("columns", "index", "split", "table")
} | {
    "matbench": json.dumps({"index": IDS, "columns": ["structure", "gap"], "data": FRAME.to_numpy().tolist()}),
    "text in a column": table(IDS, [json.dumps(d) for d in DICTS]).to_json(),
    "REST": json.dumps({"data": ROWS, "meta": {"total_doc": 2}}),
    "old REST": json.dumps({"valid_response": True, "response": ROWS}),
    "ids": json.dumps(dict(zip(IDS, DICTS, strict=True))),
    "ids of rows": json.dumps(dict(zip(IDS, ROWS, strict=True))),
    "entries": json.dumps([entry.as_dict() for entry in ENTRIES]),
    "list of rows": json.dumps(ROWS),
}
OBJECTS = {
    "DataFrame": FRAME,
    "DataFrame of objects": table(IDS, CRYSTALS),
    "Series": table(IDS, CRYSTALS)["structure"],
    "ids": dict(zip(IDS, CRYSTALS, strict=True)),
    "ids of atoms": {name: s.to_ase_atoms() for name, s in zip(IDS, CRYSTALS, strict=True)},
    "entries": ENTRIES,
    "entries by id": dict(zip(IDS, ENTRIES, strict=True)),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("ending", [".json", ".json.gz"])
def test_a_file_is_read_with_its_ids(name, ending, tmp_path):
    path = tmp_path / f"a{ending}"
    text = FILES[name].encode()
    path.write_bytes(gzip.compress(text) if ending == ".json.gz" else text)
    for found in (read_structures(path), read_structures(json.loads(text))):
        assert found.ids == IDS
        assert found.skipped == []
        for one, expected in zip(found, CRYSTALS, strict=True):
            assert_same_structure(one, expected)
        if "ids" not in name or "rows" in name:
            assert next(iter(found.labels.values())).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_is_read_with_its_ids(name):
    found = read_structures(OBJECTS[name])
    assert found.ids == IDS
    for one, expected in zip(found, CRYSTALS, strict=True):
        assert_same_structure(one, expected)


def test_labels_of_entries_are_the_same_as_objects_and_written():
    as_objects, written = (read_structures(x).labels for x in (ENTRIES, [entry.as_dict() for entry in ENTRIES]))
    assert {k: v.tolist() for k, v in as_objects.items()} == {k: v.tolist() for k, v in written.items()}
    assert as_objects["energy"].tolist() == [1.0, 2.0]


@given(
    names=st.lists(st.text(TEXT, min_size=1, max_size=8), min_size=2, max_size=2, unique=True),
    orient=st.sampled_from(["columns", "index", "split", "records", "table"]),
)
def test_what_pandas_writes_is_read_back_whatever_the_ids(names, orient):
    frame = table(names, DICTS)
    found = read_structures(json.loads(frame.to_json(orient=orient)))
    assert found.ids == (["0", "1"] if orient == "records" else names)
    assert found.labels["gap"].tolist() == [1.0, 2.0]
    assert read_structures(frame).ids == names


def test_an_index_that_only_counts_is_no_id(tmp_path):
    plain = pd.DataFrame({"structure": DICTS})
    (tmp_path / "a.json").write_text(plain.to_json())
    assert read_structures(plain).ids == ["0", "1"]
    assert read_structures(tmp_path / "a.json").ids == ["a.json:0", "a.json:1"]
    assert read_structures(plain.iloc[[1]]).ids == ["1"]
    own = plain.assign(material_id=["x", "y"])
    assert read_structures(own.set_index(pd.Index([7, 8]))).ids == ["x", "y"]


def test_a_bad_row_is_skipped_and_the_others_keep_their_ids():
    rows = {"a": DICTS[0], "b": None, "c": {"structure": None}, "d": DICTS[1]}
    found = read_structures(rows)
    assert found.ids == ["a", "d"]
    assert [s.reason for s in found.skipped] == ["not a structure but NoneType"] * 2
    split = {"columns": ["structure"], "index": ["a", "b", "c"], "data": [[DICTS[0]], 5, []]}
    found = read_structures(split)
    assert found.ids == ["a"]
    assert len(found.skipped) == 2


def test_a_dictionary_of_something_else_is_refused_with_its_keys():
    with pytest.raises(
        InputError, match=r"not a structure: no lattice, species, frac_coords \(its keys: id, crystal\)"
    ):
        read_structures({"id": "a", "crystal": DICTS[0]})
    with pytest.raises(InputError, match="its keys: none"):
        read_structures({})
    assert isinstance(read_structures({"structure": NACL}).structures[0], Structure)
