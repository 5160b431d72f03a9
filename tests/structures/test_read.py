"""Reading structures: every format, every kind of bad input, and nothing of the caller's is changed."""

from __future__ import annotations

import gzip
import json
import pickle
import time
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from helpers import NACL, QUARTZ, assert_same_structure, shared
from pymatgen.core import DummySpecies, Lattice, Molecule, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.spatial.distance import pdist

from matgl_fill.errors import InputError
from matgl_fill.structures import StructureSet, read_structures, write_cifs, write_structures

GOOD = {
    "lattice": [[3.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0]],
    "species": ["Cs", "Cl"],
    "frac_coords": [[0, 0, 0], [0.5] * 3],
}
GOOD_CIF = "data_x\n" + "".join(f"_cell_length_{a} 4\n" for a in "abc")
GOOD_CIF += "".join(f"_cell_angle_{a} 90\n" for a in ("alpha", "beta", "gamma"))
GOOD_CIF += (
    "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
)


def same_crystal(a: Structure, b: Structure) -> None:
    """Same up to the orientation and the order of sites, which a CIF does not keep."""
    np.testing.assert_allclose(a.lattice.parameters, b.lattice.parameters, atol=1e-5)
    assert len(a) == len(b)
    for site in a:
        delta = [(one.frac_coords - site.frac_coords + 0.5) % 1 - 0.5 for one in b if one.specie == site.specie]
        assert np.abs(delta).max(axis=1).min() < 1e-5


def jsonl(path: Path, rows: list) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def reason_of(bad: object) -> str:
    """The reason for which ``bad`` is left out beside a good structure, checked to leave the good one in."""
    data = read_structures([bad, NACL])
    assert len(data) == 1
    assert_same_structure(data.structures[0], NACL, 0)
    assert len(data.skipped) == 1
    assert data.skipped[0].where.startswith("0") or isinstance(bad, str | Path)
    return data.skipped[0].reason


# ---------------------------------------------------------------- formats


def to_cif(s: Structure, folder: Path) -> Path:
    write_cifs([s], folder, ["one"])
    return folder / "one.cif"


def to_poscar(s: Structure, folder: Path) -> Path:
    s.to(filename=str(folder / "POSCAR_1.5"), fmt="poscar")
    return folder / "POSCAR_1.5"


def to_vasp(s: Structure, folder: Path) -> Path:
    ase.io.write(folder / "a.vasp", s.to_ase_atoms(), format="vasp", direct=True)
    return folder / "a.vasp"


def to_extxyz(s: Structure, folder: Path) -> Path:
    write_structures([s], folder / "a.extxyz")
    return folder / "a.extxyz"


def to_xyz_gz(s: Structure, folder: Path) -> Path:
    write_structures([s], folder / "a.xyz.gz")
    return folder / "a.xyz.gz"


def to_ase_xyz(s: Structure, folder: Path) -> Path:
    ase.io.write(folder / "b.xyz", s.to_ase_atoms(), format="extxyz")
    return folder / "b.xyz"


def to_json(s: Structure, folder: Path) -> Path:
    (folder / "a.json").write_text(json.dumps(s.as_dict()))
    return folder / "a.json"


def to_json_gz(s: Structure, folder: Path) -> Path:
    (folder / "a.json.gz").write_bytes(gzip.compress(json.dumps([{"structure": s.as_dict()}]).encode()))
    return folder / "a.json.gz"


def to_jsonl(s: Structure, folder: Path) -> Path:
    compact = {
        "lattice": s.lattice.matrix.tolist(),
        "species": [site.specie.symbol for site in s],
        "frac_coords": s.frac_coords.tolist(),
    }
    return jsonl(folder / "a.jsonl", [{"structure": compact}])


def to_jsonl_gz(s: Structure, folder: Path) -> Path:
    path = folder / "b.jsonl.gz"
    path.write_bytes(gzip.compress(to_jsonl(s, folder).read_bytes()))
    return path


def to_db(s: Structure, folder: Path) -> Path:
    connect(folder / "a.db").write(s.to_ase_atoms())
    return folder / "a.db"


FORMATS = [to_poscar, to_vasp, to_extxyz, to_xyz_gz, to_ase_xyz, to_json, to_json_gz, to_jsonl, to_jsonl_gz, to_db]


@pytest.mark.parametrize("structure", [NACL, QUARTZ], ids=["NaCl", "triclinic"])
@pytest.mark.parametrize("write", FORMATS, ids=lambda f: f.__name__)
def test_every_format_reads_back_and_leaves_the_file_alone(write, structure, tmp_path):
    path = write(structure, tmp_path)
    before, listing = path.read_bytes(), sorted(tmp_path.iterdir())
    for source in (path, str(path)):
        data = read_structures(source)
        assert data.ids == [f"{path.name}:0"]
        assert data.skipped == []
        assert_same_structure(data.structures[0], structure)
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == listing


@pytest.mark.parametrize("structure", [NACL, QUARTZ], ids=["NaCl", "triclinic"])
def test_cif_reads_back(structure, tmp_path):
    path = to_cif(structure, tmp_path)
    same_crystal(read_structures(path).structures[0], structure)


def test_cif_of_several_blocks_keeps_the_good_ones(tmp_path):
    bad = GOOD_CIF.replace("data_x", "data_bad") + "A Zz nonsense 0 0\n"
    path = tmp_path / "many.cif"
    path.write_text("data_global\n_journal_name 'x'\n" + GOOD_CIF + "A Fe 0 0 0\n" + bad + GOOD_CIF + "A Ne 0 0 0\n")
    data = read_structures(path)
    assert data.ids == ["many.cif:0", "many.cif:2"]
    assert data.formulas == ["Fe", "Ne"]
    assert [s.where for s in data.skipped] == ["many.cif:1"]
    assert data.skipped[0].reason.startswith("unparsable CIF")


def test_all_frames_of_xyz_with_ids_labels_and_a_bad_frame(tmp_path):
    good = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3'
    text = f"1\n{good} id=one energy=-1.5 gap=2\nFe 0 0 0\n\n1\n{good}\nFe 0 zero 0\n"
    text += f"1\n{good} material_id=three\nAr 1 1 1\n"
    path = tmp_path / "a.xyz"
    path.write_text(text)
    data = read_structures(path)
    assert data.ids == ["one", "three"]
    assert data.labels["energy"].tolist()[0] == -1.5
    assert np.isnan(data.labels["energy"][1])
    assert data.labels["gap"][0] == 2
    assert [s.where for s in data.skipped] == ["a.xyz:1"]
    path.write_text(text + "7\ntruncated\nFe 0 0 0\n")
    assert read_structures(path).skipped[1].reason == "line 11 announces 7 atoms, but the file ends before the last"
    path.write_text(text + "garbage\n")
    assert "line 11: not a number of atoms" in read_structures(path).skipped[1].reason


def test_objects_lists_generators_and_nesting(tmp_path):
    atoms = bulk("Cu")
    atoms.info = {"id": "copper", "gap": 0.0, "note": "text", "metal": True}
    path = to_extxyz(QUARTZ, tmp_path)
    inner = read_structures([{"id": "x", "structure": NACL, "e": 1.0}])
    data = read_structures(x for x in [NACL, atoms, path, str(path), inner, (NACL,), {"structure": atoms, "e": 2}])
    assert data.ids == ["0", "copper", "a.extxyz:0", "a.extxyz:0_2", "x", "5:0", "6"]
    assert set(data.labels) == {"gap", "e"}
    np.testing.assert_array_equal(data.labels["e"], [np.nan] * 4 + [1.0, np.nan, 2.0])
    assert_same_structure(data.structures[1], Structure(atoms.cell.array, ["Cu"], [[0, 0, 0]]))
    assert_same_structure(read_structures(NACL).structures[0], NACL, 0)
    assert read_structures(inner) is inner


def test_folder_is_recursive_sorted_and_ignores_other_files(tmp_path):
    (tmp_path / "sub").mkdir()
    to_json(NACL, tmp_path)
    to_extxyz(QUARTZ, tmp_path / "sub")
    to_poscar(NACL, tmp_path / "sub")
    (tmp_path / "README.md").write_text("notes")
    (tmp_path / "sub" / "empty.cif").touch()
    (tmp_path / "sub" / "broken.jsonl.gz").write_bytes(b"not gzip")
    data = read_structures(tmp_path)
    assert data.ids == ["a.json:0", "POSCAR_1.5:0", "a.extxyz:0"]
    assert {s.where: s.reason for s in data.skipped} == {
        "sub/broken.jsonl.gz": "BadGzipFile: Not a gzipped file (b'no')",
        "sub/empty.cif": f"{tmp_path}/sub/empty.cif is empty; give a file with structures",
    }


def test_oxidation_states_and_site_properties_are_stripped():
    rich = NACL.copy(site_properties={"magmom": [1.0] * 8})
    rich.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    for source in (rich, rich.as_dict(), {"structure": rich.as_dict()}):
        clean = read_structures(source).structures[0]
        assert clean.site_properties == {}
        assert_same_structure(clean, NACL, 1e-12)
    row = GOOD | {"species": ["Cs+", 17]}
    assert read_structures(row).formulas == ["CsCl"]
    assert read_structures(GOOD | {"species": ["D", "Cl"]}).formulas == ["HCl"]


# ---------------------------------------------------------------- ids and labels


def test_labels_are_scalar_numbers_with_nan_where_missing(tmp_path):
    rows = [
        {"id": 7, "structure": GOOD, "e": 1, "gap": None, "text": "x", "flag": True, "vector": [1.0]},
        {"material_id": "mp-1", "structure": GOOD, "gap": 0.5},
        {"structure": GOOD, "e": float("nan")},
    ]
    data = read_structures(jsonl(tmp_path / "a.jsonl", rows))
    assert data.ids == ["7", "mp-1", "a.jsonl:2"]
    assert set(data.labels) == {"e", "gap"}
    assert all(v.dtype == np.float64 and v.shape == (3,) for v in data.labels.values())
    np.testing.assert_array_equal(data.labels["e"], [1.0, np.nan, np.nan])
    np.testing.assert_array_equal(data.labels["gap"], [np.nan, 0.5, np.nan])


def test_stored_results_are_labels_only_while_they_belong_to_the_atoms():
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=-3.0, forces=np.zeros((1, 3)))
    assert read_structures(atoms).labels["energy"].tolist() == [-3.0]
    atoms.positions += 0.1
    assert read_structures(atoms).labels == {}
    atoms.calc = LennardJones()
    assert read_structures(atoms).labels == {}


def test_duplicate_ids_get_a_suffix_that_is_free():
    rows = [{"id": name, "structure": GOOD} for name in ("a", "a", "a_2", "a", "b")]
    ids = read_structures(rows).ids
    assert ids == ["a", "a_3", "a_2", "a_4", "b"]


def test_subset_len_iter_formulas(tmp_path):
    data = read_structures([{"id": "s", "structure": NACL, "e": 1.0}, None, QUARTZ, GOOD])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.formulas == ["NaCl", "FeSiO2", "CsCl"]
        assert read_structures(bulk("Ne")).formulas == ["Ne"]
    assert len(data) == len(list(data)) == 3
    some = data.subset([2, 0])
    assert (some.ids, some.formulas) == (["3", "s"], ["CsCl", "NaCl"])
    np.testing.assert_array_equal(some.labels["e"], [np.nan, 1.0])
    assert some.skipped == data.skipped
    assert data.subset(np.array([False, True, False])).ids == ["2"]
    assert len(data.subset([])) == 0
    with pytest.raises(IndexError):
        data.subset([3])


# ---------------------------------------------------------------- bad input


def row(**changes: object) -> dict:
    return GOOD | changes


BAD = [
    (None, "not a structure but NoneType"),
    (3.5, "not a structure but float"),
    (b"POSCAR", "not a structure but bytes"),
    ({"id": "x"}, "not a structure: no lattice, species, frac_coords"),
    ("no/such/file.cif", "'no/such/file.cif' does not exist"),
    ("", "'(empty path)' does not exist"),
    (GOOD_CIF + "A Fe 0 0 0\n" * 400, "does not exist"),  # the text of a CIF in place of its path
    (row(frac_coords=[[0, 0, float("nan")], [0.5] * 3]), "NaN or infinite coordinates"),
    (row(frac_coords=[[0, 0, None], [0.5] * 3]), "NaN or infinite coordinates"),
    (row(lattice=[[float("inf"), 0, 0], [0, 3, 0], [0, 0, 3]]), "NaN or infinite lattice"),
    (row(lattice=[[3, 0, 0], [3, 0, 0], [0, 0, 3]]), "zero-volume cell (0 A^3)"),
    (row(lattice=[[3, 0, 0], [0, 0, 3]]), "cell (2, 3) and coordinates (2, 3) do not fit 2 atoms"),
    (row(species=["Cs"]), "do not fit 1 atom"),
    (row(species=[], frac_coords=[]), "no atoms"),
    (row(species=["Cs", "Zz"]), "Zz"),
    (row(species=["Cs", "X"]), "dummy species X"),
    (row(species=["Cs", {"Cl": 0.5, "Br": 0.5}]), "partial occupancy (disordered)"),
    (row(frac_coords=[[0, 0, 0], [1.0, 0.01, -1.0]]), "atoms 0 and 1 overlap (0.03 A apart)"),
    (row(frac_coords=[[0.5, 0, 0], [0.5, 0.999, 1e-17]]), "atoms 0 and 1 overlap (0.003 A apart)"),
    (Structure(Lattice.cubic(3), [DummySpecies("X")], [[0, 0, 0]]), "dummy species X"),
    (Structure(Lattice.cubic(3), [{"Fe": 0.5, "Mn": 0.5}], [[0, 0, 0]]), "partial occupancy (disordered): Fe0.5 Mn0.5"),
    (Structure(Lattice.cubic(3), [{"Fe": 0.9}], [[0, 0, 0]]), "partial occupancy (disordered): Fe0.9"),
    (Structure(Lattice.cubic(3), ["Fe"], [[0, np.inf, 0]]), "NaN or infinite coordinates"),
    (Structure(Lattice.cubic(3), [], []), "no atoms"),
    (Atoms(), "no atoms"),
    (Atoms(cell=[3, 3, 0], pbc=[True, True, False]), "no atoms"),
    (Atoms("X", cell=[3, 3, 3], pbc=True), "dummy species X"),
    (Atoms("H", cell=[3, 3, 0], pbc=True), "zero-volume cell (0 A^3)"),
    (Atoms("H", cell=[3, np.nan, 0], pbc=[True, True, False]), "NaN or infinite lattice"),
    (Atoms("H", positions=[[0, 0, np.nan]]), "NaN or infinite coordinates"),
    (Atoms("H", positions=[[0, 0, np.nan]], cell=[3, 3, 0], pbc=[True, True, False]), "NaN or infinite"),
    (Molecule(["H", "H"], [[0, 0, 0], [0, 0, np.inf]]), "NaN or infinite coordinates"),
    (Molecule(["H", "H"], [[0, 0, 0], [0, 0, 0.05]]), "overlap (0.05 A apart)"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD, ids=range(len(BAD)))
def test_bad_item_is_left_out_with_its_reason(bad, reason):
    assert reason in reason_of(bad)


def test_no_pair_is_missed_or_invented_at_any_size_or_skew():
    rng = np.random.default_rng(0)
    for _ in range(20):
        lattice = np.eye(3) * 40 + rng.normal(size=(3, 3)) * 12
        lattice[2] = lattice[0] * 3 + lattice[1] + rng.normal(size=3) * 10
        frac = (np.stack(np.meshgrid(*[np.arange(6)] * 3), -1).reshape(-1, 3) + rng.uniform(0, 0.3, (216, 3))) / 6
        structure = Structure(lattice, ["H"] * 216, frac)
        closest = np.min(structure.distance_matrix + np.eye(216) * 9)
        if closest < 0.5:
            assert f"overlap ({closest:.2g} A apart)" in reason_of(structure)
            continue
        assert len(read_structures(structure)) == 1
        near = rng.normal(size=3)
        near *= 0.49 / np.linalg.norm(near)
        structure.append("He", frac[7] + near @ np.linalg.inv(lattice) + rng.integers(-2, 3, 3))
        assert reason_of(structure) == "atoms 7 and 216 overlap (0.49 A apart)"


def test_bad_files_give_their_reason(tmp_path, recwarn):
    cases = {
        "garbage.cif": ("this is no CIF", "unparsable CIF: no data block with atom sites"),
        "bad.cif": (GOOD_CIF + "A Fe 0 zero 0\n", "unparsable CIF"),
        "partial.cif": (
            GOOD_CIF.replace("fract_z\n", "fract_z\n_atom_site_occupancy\n") + "A Fe 0 0 0 0.5\nB Mn 0 0 0 0.5\n",
            "partial occupancy (disordered): Fe0.5 Mn0.5",
        ),
        "rounded.cif": (GOOD_CIF + "A Fe 0.3333 0 0\nB X 0.6667 0 0\n", ""),
        "POSCAR": ("c\n1\n3 0 0\n0 3 0\n0 0 3\n1\ndirect\n0 0 0\n", "POSCAR names no elements"),
        "CONTCAR.flat": ("c\n1\n3 0 0\n3 0 0\n0 0 3\nFe\n1\ndirect\n0 0 0\n", "zero-volume cell"),
        "short.vasp": ("c\n1\n3 0 0\n", ""),
        "bad.json": ('{"a": ', "Expecting value"),
        "list.json": ("[1]", "not a structure but int"),
        "bad.db": ("this is no database, for it is only text. " * 30, "DatabaseError"),
        "x.xyz": ("1\n\nQq 0 0 0\n", "Qq"),
    }
    for name, (text, reason) in cases.items():
        (tmp_path / name).write_text(text)
        data = read_structures([tmp_path / name, NACL])
        assert len(data) == 1, name
        assert len(data.skipped) == 1, name
        assert reason in data.skipped[0].reason, (name, data.skipped)
        assert data.skipped[0].reason
        assert "\n" not in data.skipped[0].reason
    assert [str(w.message) for w in recwarn] == []


def test_unreadable_json_line_is_told_by_number(tmp_path):
    path = jsonl(
        tmp_path / "a.jsonl", [{"id": "a", "structure": GOOD}, "", '{"id": "b", "struc', {"id": "c", "structure": GOOD}]
    )
    data = read_structures(path)
    assert data.ids == ["a", "c"]
    assert data.skipped[0].where == "a.jsonl:1"
    assert data.skipped[0].reason.startswith("line 3: unreadable JSON: ")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: d / "none.cif", "does not exist; give a file or folder"),
        (lambda d: d, "no readable structure file in "),
        (lambda d: (d / "a.cif").touch() or d / "a.cif", "a.cif is empty; give a file"),
        (lambda d: (d / "a.db").touch() or d / "a.db", "a.db is empty; give a file"),
        (lambda d: (d / "b.json").write_text(" \n") and d / "b.json", "b.json is empty; give a file"),
        (lambda d: (d / "a.txt").write_text("x") and d / "a.txt", "a.txt is of unknown type; give .cif"),
        (lambda d: [], "there is no structure in the given list; give at least one"),
        (lambda d: 5, "no usable structure in the given int: 0: not a structure but int"),
        (lambda d: [None] * 5, "(and 2 more). Correct these"),
        (lambda d: ["NaCl"], "'NaCl' does not exist; give a file or folder of structures. Correct these"),
        (lambda d: (d / "d.cif").write_text("x") and d / "d.cif", "d.cif: unparsable CIF"),
        (lambda d: (d / "POSCAR").write_text("x") and [d / "POSCAR"], "POSCAR: "),
        (lambda d: jsonl(d / "c.jsonl", ["{"]), "c.jsonl:0: line 1: unreadable JSON"),
    ],
    ids=range(13),
)
def test_nothing_usable_is_an_input_error_in_one_line(make, message, tmp_path):
    source = make(tmp_path)
    with pytest.raises(InputError) as caught:
        read_structures(source)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- molecules and slabs


def test_molecules_get_a_cubic_box_with_vacuum_on_every_side(tmp_path):
    water = molecule("CH3CH2OH")
    ase.io.write(tmp_path / "w.xyz", water, format="xyz")
    mol = Molecule(water.get_chemical_symbols(), water.positions)
    for source in (water, mol, mol.as_dict(), tmp_path / "w.xyz"):
        boxed = read_structures(source).structures[0]
        size = np.ptp(water.positions, axis=0).max() + 30
        np.testing.assert_allclose(boxed.lattice.matrix, np.eye(3) * size, atol=1e-5)
        assert boxed.cart_coords.min() >= 15 - 1e-5
        assert boxed.cart_coords.max() <= size - 15 + 1e-5
        np.testing.assert_allclose(boxed.distance_matrix, water.get_all_distances(), atol=1e-5)
    assert read_structures(Atoms("He")).structures[0].lattice.a == 30


def test_slabs_get_vacuum_only_where_the_cell_is_missing():
    slab = fcc111("Al", (2, 1, 3))
    assert not slab.cell[2].any()
    filled = read_structures(slab).structures[0]
    np.testing.assert_allclose(filled.lattice.matrix[:2], slab.cell[:2])
    np.testing.assert_allclose(filled.lattice.matrix[2], [0, 0, np.ptp(slab.positions[:, 2]) + 30], atol=1e-9)
    np.testing.assert_allclose(np.sort(filled.cart_coords[:, 2])[[0, -1]], [15, filled.lattice.c - 15])
    slab.cell[2] = [0, 0, 20.0]
    kept = read_structures(slab).structures[0]
    np.testing.assert_allclose(kept.lattice.matrix, slab.cell.array)
    np.testing.assert_allclose(kept.cart_coords, slab.positions, atol=1e-9)
    wire = Atoms("Cu2", positions=[[0, 0, 0], [1, 0, 1.5]], cell=[0, 0, 3], pbc=[False, False, True])
    box = read_structures(wire).structures[0]
    np.testing.assert_allclose(box.lattice.matrix[2], [0, 0, 3])
    np.testing.assert_allclose(np.sort(np.array(box.lattice.angles)), [90, 90, 90])
    assert box.lattice.a >= 30
    assert box.lattice.b >= 30
    np.testing.assert_allclose(box.get_distance(0, 1), np.hypot(1, 1.5))


# ---------------------------------------------------------------- the caller's own


def test_callers_objects_are_unchanged_and_not_shared(tmp_path):
    oxide = NACL.copy(site_properties={"magmom": [1.0] * 8})
    oxide.add_oxidation_state_by_guess()
    slab = fcc111("Al", (1, 1, 2))
    slab.info["id"] = "slab"
    objects = [oxide, QUARTZ.copy(), slab, molecule("H2O"), Molecule(["H"], [[0, 0, 0]]), json.loads(json.dumps(GOOD))]
    before = [pickle.dumps(one) for one in objects]
    data = read_structures(objects)
    assert len(data) == len(objects)
    write_structures(data, tmp_path / "a.xyz")
    write_structures([oxide], tmp_path / "b.xyz")
    write_cifs([oxide], tmp_path, ["c"])
    for structure in data:
        structure.perturb(0.1)
        structure.scale_lattice(50)
        structure.replace_species({site.specie.symbol: "Xe" for site in structure})
    assert [pickle.dumps(one) for one in objects] == before


def test_real_pool_reads_fast():
    path = shared("data/mp_pool.jsonl.gz")
    start = time.perf_counter()
    data = read_structures(path)
    seconds = time.perf_counter() - start
    assert isinstance(data, StructureSet)
    assert len(data) == len(set(data.ids)) == 3833
    assert data.skipped == []
    assert data.ids[0] == "mp-867189"
    assert data.formulas[0] == "Pm3Pb"
    assert seconds < 5


def test_a_slab_whose_cell_leaves_no_vacuum_is_no_bulk_crystal():
    """The vector of a direction that is not periodic says nothing of the crystal; in a skew cell neither."""
    for cell in ([0, 0, 3.61 * 2], [1.0, 0.5, 3.61 * 2]):
        slab = bulk("Cu", cubic=True) * (1, 1, 2)
        slab.set_cell([*slab.cell[:2], cell])
        slab.pbc = [True, True, False]
        read = read_structures(slab).structures[0]
        height = np.ptp(slab.positions[:, 2])
        np.testing.assert_allclose(read.lattice.matrix, [*slab.cell[:2], [0, 0, height + 30]], atol=1e-9)
        np.testing.assert_allclose(pdist(read.cart_coords), pdist(slab.positions), atol=1e-9)  # nothing is torn
        by_pymatgen = read_structures(AseAtomsAdaptor.get_structure(slab)).structures[0]
        np.testing.assert_allclose(by_pymatgen.lattice.matrix, read.lattice.matrix, atol=1e-9)
        np.testing.assert_allclose(by_pymatgen.cart_coords, read.cart_coords, atol=1e-9)


def test_partial_occupancy_in_ases_way_is_refused():
    mixed = bulk("Cu", cubic=True)
    mixed.info["occupancy"] = {"0": {"Cu": 0.5, "Au": 0.5}}
    whole = bulk("Cu", cubic=True)
    whole.info["occupancy"] = {"0": {"Cu": 1.0}}
    found = read_structures([mixed, whole])
    assert len(found) == 1
    assert [s.reason for s in found.skipped] == ["partial occupancy (disordered)"]


def test_cif_keywords_in_capitals_and_old_line_ends_are_read(tmp_path):
    write_cifs(
        [Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])], tmp_path, ["a"]
    )
    text = (tmp_path / "a.cif").read_text().replace("data_", "DATA_", 1)
    (tmp_path / "b.cif").write_bytes(text.replace("\n", "\r").encode())
    assert read_structures(tmp_path / "b.cif").formulas == ["NaCl"]


def test_a_table_of_pandas_is_read_by_rows():
    frame = pytest.importorskip("pandas").DataFrame(
        [{"id": name, "structure": bulk_structure().as_dict(), "gap": gap} for name, gap in (("a", 1.0), ("b", 2.0))]
    )
    found = read_structures(frame)
    assert found.ids == ["a", "b"]
    np.testing.assert_array_equal(found.labels["gap"], [1.0, 2.0])


def bulk_structure() -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.61), ["Cu"], [[0, 0, 0]])


@pytest.mark.parametrize("a", [3.2, 12.2, 30.0])
def test_a_rounded_special_position_overlaps_whatever_the_cell(tmp_path, a):
    """Mg at 0.33, 0.67, 0.25 of P6_3/mmc: the true position is a third, and every atom is there three times."""
    text = GOOD_CIF.replace("_length_a 4", f"_length_a {a}").replace("_length_b 4", f"_length_b {a}")
    text = text.replace("_angle_gamma 90", "_angle_gamma 120").replace("_length_c 4", f"_length_c {1.62 * a}")
    (tmp_path / "mg.cif").write_text(
        text.replace("loop_", "_symmetry_space_group_name_H-M 'P 63/m m c'\nloop_", 1) + "Mg Mg 0.33 0.67 0.25\n"
    )
    assert "overlap" in reason_of(tmp_path / "mg.cif")


def test_an_overlap_with_an_image_is_found_in_thin_and_skew_cells():
    assert "atom 0 and its own image overlap (0.4 A apart)" in reason_of(Atoms("Cu", cell=[0.4, 5, 5], pbc=True))
    rng = np.random.default_rng(0)
    for _ in range(20):  # the same lattice in skew vectors, faces of which are close
        skew = np.array([[1, 0, 0], rng.integers(-9, 10, 3) * [1, 0, 0] + [0, 1, 0], [*rng.integers(-9, 10, 2), 1]])
        lattice = skew @ (np.eye(3) * 3 + rng.normal(size=(3, 3)) * 0.2)
        pair = Structure(lattice, ["Na", "Cl"], [[0, 0, 0], rng.uniform(size=3)])
        frac = np.array([0.0, 0.0, 0.0]) + rng.integers(-3, 4, 3)
        assert len(read_structures(Structure(lattice, ["Na"], [frac]))) == 1
        near = rng.normal(size=3)
        pair = Structure(lattice, ["Na"], [frac])
        pair.append("Cl", frac + 0.45 * near / np.linalg.norm(near) @ np.linalg.inv(lattice))
        assert reason_of(pair) == "atoms 0 and 1 overlap (0.45 A apart)"


def test_dense_hydrogen_is_no_overlap():
    """H2 at hundreds of GPa, and atomic hydrogen at 500 GPa (I4_1/amd, a = 1.20, c = 3.10 A)."""
    dense = Structure.from_spacegroup("I4_1/amd", Lattice.tetragonal(1.2, 3.1), ["H"], [[0, 0, 0]])
    molecule_ = Structure(Lattice.cubic(1.6), ["H", "H"], [[0, 0, 0], [0.45, 0, 0]])
    assert len(read_structures([dense, dense.get_primitive_structure(), molecule_])) == 3
