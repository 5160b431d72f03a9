"""Writing structures: what is written reads back, names stay safe, and what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from helpers import NACL, QUARTZ, assert_same_structure
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Structure

from matgl_fill.errors import InputError
from matgl_fill.structures import read_structures, write_cifs, write_structures


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    lattice = np.diag(draw(st.lists(st.floats(2, 30), min_size=3, max_size=3)))
    lattice[np.tril_indices(3, -1)] = draw(st.lists(st.floats(-3, 3), min_size=3, max_size=3))
    cells = draw(
        st.lists(
            st.tuples(*[st.integers(-2, 3)] * 3), min_size=1, max_size=8, unique_by=lambda t: tuple(i % 3 for i in t)
        )
    )
    shift = np.array(draw(st.lists(st.floats(0, 1), min_size=3, max_size=3)))
    species = draw(st.lists(st.integers(1, 103), min_size=len(cells), max_size=len(cells)))
    return Structure(lattice, species, np.array(cells) / 3 + shift)


@settings(max_examples=60, deadline=None)
@given(st.lists(structures(), min_size=1, max_size=3), st.lists(st.text(), min_size=3, max_size=3, unique=True))
def test_any_structures_and_ids_survive_extxyz(tmp_path_factory, many, names):
    path = tmp_path_factory.mktemp("h") / "a.extxyz"
    names = [name or "x" for name in names][: len(many)]
    write_structures(many, path, [{"id": name, "v": i} for i, name in enumerate(names)])
    data = read_structures(path)
    assert data.skipped == []
    assert [a[: len(b)] for a, b in zip(data.ids, names, strict=True)] == names
    assert data.labels["v"].tolist() == list(range(len(many)))
    for a, b in zip(data, many, strict=True):
        moved = np.round(b.frac_coords - a.frac_coords)  # atoms far beside the cell come back wrapped
        assert_same_structure(a, Structure(b.lattice, b.species, b.frac_coords - moved))
        assert not moved[(b.frac_coords > -1) & (b.frac_coords < 2)].any()


def test_a_structure_set_is_written_with_ids_and_labels(tmp_path):
    rows = [{"id": name, "structure": NACL} for name in ("007", "T", 'a "b"\\c', "1e5", "two\nlines", "mp-1:2")]
    rows[1] |= {"energy": -1.25, "gap (eV)": 0.1 + 0.2}
    data = read_structures(rows)
    write_structures(data, tmp_path / "a.xyz.gz")
    back = read_structures(tmp_path / "a.xyz.gz")
    assert back.ids == data.ids == [row["id"] for row in rows]
    assert back.labels.keys() == data.labels.keys()
    for key in data.labels:
        np.testing.assert_array_equal(back.labels[key], data.labels[key])


def test_writers_refuse_what_does_not_fit(tmp_path):
    with pytest.raises(InputError, match="1 info rows for 2 structures"):
        write_structures([NACL, NACL], tmp_path / "a.xyz", [{}])
    with pytest.raises(InputError, match=r"'stress'.*rename"):
        write_structures([NACL], tmp_path / "a.xyz", [{"stress": 1.0}])
    with pytest.raises(InputError, match="1 names for 2 structures"):
        write_cifs([NACL, NACL], tmp_path, ["a"])
    with pytest.raises(InputError, match="differ"):
        write_cifs([NACL, NACL], tmp_path, ["a/b", "a:b"])
    assert list(tmp_path.iterdir()) == []


def test_cif_names_stay_inside_the_folder(tmp_path, recwarn):
    write_cifs([NACL, QUARTZ, bulk_neon()], tmp_path / "new", ["../up", "b.cif", "mp-1"])
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [".._up.cif", "b.cif", "mp-1.cif"]
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
    assert len(recwarn) == 0


def bulk_neon() -> Structure:
    return read_structures(bulk("Ne")).structures[0]


def test_a_key_that_extended_xyz_cannot_hold_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"info key \['a=b'\] cannot be written"):
        write_structures([NACL], tmp_path / "x.extxyz", info=[{"a=b": 2.0}])
