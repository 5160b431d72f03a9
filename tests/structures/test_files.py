"""What parsers warn of is a reason or a remark, and no file is passed over without a word."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from helpers import NACL, QUARTZ, assert_same_structure
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.inputs import Poscar

from matgl_fill.errors import InputError, MatglFillWarning
from matgl_fill.structures import read_structures
from matgl_fill.structures.poscar import parse_poscar

CELL = "data_x\n_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n"
CELL += "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
LOOP = "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
FEO = "Fe1 Fe 0 0 0{}\nO1 O 0.5 0.5 0.5{}\n"


def cif(head: str = "", column: str = "", sites: str = FEO, values: tuple[str, str] = ("", "")) -> str:
    return CELL + head + LOOP + (f"{column}\n" if column else "") + sites.format(*(f" {v}" for v in values))


INCOMPLETE = {
    "no hydrogen": (
        cif("_chemical_formula_sum 'Al1 H3 O3'\n", sites="Al1 Al 0 0 0\nO1 O 0.5 0.5 0.5\nO2 O 0.5 0 0\nO3 O 0 .5 0\n"),
        "Missing elements H from PMG structure composition",
    ),
    "another ratio": (cif("_chemical_formula_sum 'Fe2 O3'\n"), "Incorrect stoichiometry"),
    "an element too many": (cif("_chemical_formula_sum 'Fe1'\n"), "Missing elements O from CIF-reported composition"),
    "no occupancy": (cif("_chemical_formula_sum 'Fe1 O1'\n", "_atom_site_occupancy", values=("1", ".")), "Missing"),
    "no occupancy, no formula": (
        cif("", "_atom_site_occupancy", FEO + "O2 O 0.5 0 0 1\n", ("1", ".")),
        "the occupancy '.' of O1 is no number",
    ),
    "unknown occupancy": (cif("", "_atom_site_occupancy", values=("1", "?")), "the occupancy '?' of O1 is no number"),
    "attached hydrogens": (cif("", "_atom_site_attached_hydrogens", values=("0", "2")), "implicit hydrogens"),
    "unknown space group": (
        cif("_symmetry_space_group_name_H-M 'F d -3 q'\n"),
        "space group 'F d -3 q' is unknown",
    ),
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_a_cif_that_pymatgen_cannot_read_whole_is_skipped_with_its_reason(name, tmp_path):
    text, reason = INCOMPLETE[name]
    (tmp_path / "a.cif").write_text(text)
    found = read_structures([tmp_path / "a.cif", NACL])
    assert len(found) == 1
    assert reason in found.skipped[0].reason


GOOD = {
    "plain": cif("_chemical_formula_sum 'Fe1 O1'\nloop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'\n"),
    "several formula units": cif("_chemical_formula_sum 'Fe4 O4'\n"),
    "occupancies with errors": cif("", "_atom_site_occupancy", values=("1.00(2)", "1")),
    "no hydrogens attached": cif("", "_atom_site_attached_hydrogens", values=("0", "0")),
    "unknown formula": cif("_chemical_formula_sum ?\n"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_whole_cif_is_kept_and_remarks_are_said(name, tmp_path):
    (tmp_path / "a.cif").write_text(GOOD[name])
    with warnings.catch_warnings(record=True, action="always") as caught:
        assert read_structures(tmp_path / "a.cif").formulas == ["FeO"]
    said = [str(w.message) for w in caught]
    assert all(issubclass(w.category, MatglFillWarning) for w in caught)
    assert any("a.cif: No _symmetry_equiv_pos_as_xyz" in text for text in said) == (name != "plain")


def test_rounded_thirds_are_no_remark_and_the_crystal_is_whole(tmp_path):
    text = cif("_symmetry_space_group_name_H-M 'P 63/m m c'\n", sites="Mg Mg 0.3333 0.6667 0.25\n")
    text = text.replace("_length_a 4", "_length_a 3.2").replace("_length_b 4", "_length_b 3.2")
    text = text.replace("_gamma 90", "_gamma 120").replace("_length_c 4", "_length_c 5.2")
    (tmp_path / "a.cif").write_text(text)
    with warnings.catch_warnings(record=True, action="always") as caught:
        assert len(read_structures(tmp_path / "a.cif").structures[0]) == 2
    assert not [w for w in caught if "rounded" in str(w.message)]


def test_the_folder_that_one_is_in_has_a_name(tmp_path, monkeypatch):
    (tmp_path / "a.cif").write_text(GOOD["plain"])
    (tmp_path / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.warns(MatglFillWarning, match=r"read with remarks: \.: files of unknown type are ignored: notes\.txt"):
        assert read_structures(".").ids == ["a.cif:0"]


def test_all_remarks_on_a_poscar_are_said(tmp_path):
    """Fluorine beside flags, flags that are none, and no atom that is fixed."""
    lines = ["c", "1", "4 0 0", "0 4 0", "0 0 4", "Na F", "1 1", "Selective", "Direct", "0 0 0 T T T F"]
    (tmp_path / "POSCAR").write_text("\n".join([*lines, "0.5 0.5 0.5 T T T F", ""]))
    with pytest.warns(MatglFillWarning) as caught:
        assert read_structures(tmp_path / "POSCAR").formulas == ["NaF"]
    (warning,) = caught
    for words in ("Fluorine element detected", "no ionic degrees of freedom were fixed"):
        assert words in str(warning.message)


@given(
    factors=st.one_of(
        st.tuples(st.floats(0.5, 2)), st.tuples(st.floats(-900, -100)), st.tuples(*[st.floats(0.5, 2)] * 3)
    ),
    cartesian=st.booleans(),
)
def test_any_scale_factors_of_a_poscar_mean_what_vasp_means(factors, cartesian):
    """One factor, minus the volume, or one for each of x, y and z; Cartesian coordinates are scaled as well."""
    text = Poscar(QUARTZ).get_str(direct=not cartesian, significant_figures=14).splitlines()
    matrix = QUARTZ.lattice.matrix
    scale = np.array(factors) if factors[0] > 0 else (-factors[0] / QUARTZ.volume) ** (1 / 3)
    text[1] = " ".join(map(repr, factors))
    (found,) = parse_poscar("\n".join(text))
    assert_same_structure(found, Structure(Lattice(matrix * scale), QUARTZ.species, QUARTZ.frac_coords), 1e-9)


@pytest.mark.parametrize("line", ["1 1", "1 0 1", "1 -1 1", "a"])
def test_other_scale_factors_are_refused(line, tmp_path):
    text = Poscar(NACL).get_str().splitlines()
    text[1] = line
    (tmp_path / "POSCAR").write_text("\n".join(text))
    assert read_structures([tmp_path / "POSCAR", NACL]).skipped


@pytest.mark.parametrize(
    "name",
    ["POSCAR", "CONTCAR", "POSCAR.relaxed", "a.poscar", "a.vasp", "Si_POSCAR", "1-contcar", "A.VASP", "b.CONTCAR"],
)
def test_a_folder_finds_every_name_of_a_poscar(name, tmp_path):
    NACL.to(filename=str(tmp_path / name), fmt="poscar")
    assert read_structures(tmp_path).ids == [f"{name}:0"]


def test_a_folder_says_which_files_it_passes_over(tmp_path):
    NACL.to(filename=str(tmp_path / "POSCAR"), fmt="poscar")
    for name in ("INCAR", "KPOINTS", "OUTCAR", "make_poscar.py", ".hidden"):
        (tmp_path / name).write_text("x")
    with pytest.warns(MatglFillWarning, match="ignored: INCAR, KPOINTS, OUTCAR and 1 more"):
        assert len(read_structures(tmp_path)) == 1
    (tmp_path / "POSCAR").unlink()
    with pytest.raises(InputError, match="no readable structure file"):
        read_structures(tmp_path)
