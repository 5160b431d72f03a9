"""Files that contradict themselves are left out with the reason, where parsers would give another crystal."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp.inputs import Poscar

from matgl_fill import read_structures
from matgl_fill.errors import InputError
from matgl_fill.structures import read_frames
from matgl_fill.structures.xyz import parse_xyz

SALT = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CIF, POSCAR = str(CifWriter(SALT)), Poscar(SALT).get_str()
HEAD = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"'
ROWS = "Na 0 0 0\nCl 2 2 2\n"
FRAME = f"2\n{HEAD}\n{ROWS}"


def reason(path, text):
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_structures(path)
    return str(caught.value)


def test_what_is_consistent_is_read(tmp_path):
    for name, text in (("a.cif", CIF), ("POSCAR", POSCAR), ("a.extxyz", FRAME + FRAME)):
        path = tmp_path / name
        path.write_text(text)
        assert not read_structures(path).skipped


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("_cell_length_a   4.1", "_cell_length_a   4.9", "its volume is given as 68.921 A^3"),
        ("_cell_length_a   4.1", "_cell_length_a   4_4.1", "'4_4.10000000' is no number"),
        ("_cell_angle_beta   90.0", "_cell_angle_beta   -1e6", "-1"),
        (
            "0.50000000  0.50000000  0.50000000",
            "0.5  1e18  0.5",
            "1e18 is too large for a length, an angle or a coordinate",
        ),
        ("_cell_length_a", "\0" * 14, "not a text file (it holds NUL bytes)"),
        ("'x, y, z'", "'x, y, q'", "'x, y, q' is no symmetry operation"),
        ("'x, y, z'", "'x, y, x'", "'x, y, x' is no symmetry operation"),
        ("0.50000000  0.50000000  0.50000000", "0.5  0_0.5  0.5", "'0_0.5' is no number"),
    ],
)
def test_cif(tmp_path, old, new, words):
    assert old in CIF
    assert words in reason(tmp_path / "a.cif", CIF.replace(old, new))


def test_symmetry_operations_of_all_forms_are_read(tmp_path):
    s = Structure.from_spacegroup("P6_3/mmc", Lattice.hexagonal(3.2, 5.2), ["Mg"], [[1 / 3, 2 / 3, 0.25]])
    text = str(CifWriter(s, symprec=0.01))
    assert text.count("-x+y") > 1
    (tmp_path / "a.cif").write_text(text.replace("'x, y, z'", "'X,Y,Z'").replace(", z+1/2'", ", 0.5+z'"))
    assert len(read_structures(tmp_path / "a.cif").structures[0]) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: [*lines[:6], "1", *lines[7:]], "counts 1 atom, but line 10"),
        (lambda lines: [*lines[:5], "1 Cl", *lines[6:]], "'1 Cl' for elements"),
        (lambda lines: [*lines[:9], "0.5 0_0.5 0.5 Cl"], "'0_0.5' is no number"),
        (lambda lines: [*lines[:5], "Cs", "1", *lines[7:]], "counts 1 atom"),
    ],
)
def test_poscar(tmp_path, change, words):
    assert words in reason(tmp_path / "POSCAR", "\n".join(change(POSCAR.splitlines())) + "\n")


def test_poscar_with_velocities_is_read(tmp_path):
    for more in ("\n0 0 0\n0 0 0\n", "Cartesian\n0 0 0\n0 0 0\n", "  \n0.1 0.1 0.1\n0 0 0\n"):
        (tmp_path / "POSCAR").write_text(POSCAR + more)
        assert len(read_structures(tmp_path / "POSCAR").structures[0]) == 2


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (f"1\n{HEAD}\n{ROWS}", "line 5 announces 1 atom, but 2 follow"),
        (f"2\n{HEAD.replace('Lattice', 'LATTICE')}\n{ROWS}", "'LATTICE' is no key"),
        (f"2\n{HEAD[:-1]}\n{ROWS}", "a quote is not closed"),
        (f"2\n{HEAD.replace('R:3', 'R:1000000000')}\n{ROWS}", "line 7: 4 columns, but Properties announces 1000000001"),
        (f"2\n{HEAD.replace('R:3', 'R:3:q:R:1')}\n{ROWS}", "4 columns, but Properties announces 5"),
        (f"2\n{HEAD.replace('0 4', '0 4_4', 1)}\n{ROWS}", "'4_4' is no number"),
        (f"2\n{HEAD}\n{ROWS.replace('2 2 2', '2 2_2 2')}", "'2_2' is no number"),
        (f"{'9' * 5000}\n{HEAD}\n{ROWS}", "not a number of atoms"),
    ],
)
def test_extended_xyz(tmp_path, frame, words):
    """The frame is left out, and where it ends is seen again."""
    path = tmp_path / "a.extxyz"
    path.write_text(FRAME + frame + FRAME)
    found = read_structures(path)
    assert len(found) == (1 if words.startswith("not a number") else 2)
    assert words in found.skipped[0].reason
    for one in found:
        np.testing.assert_array_equal(one.lattice.matrix, 4 * np.eye(3))
    with pytest.raises(InputError, match="holds no frames"):
        read_frames(path)


def test_molecules_and_plain_xyz_are_read():
    plain = "3\nwater, as drawn\nO 0 0 0 -0.8\nH 0.76 0.59 0 0.4\nH -0.76 0.59 0 0.4\n"
    (atoms,) = parse_xyz(plain + "\n")
    assert atoms.get_chemical_formula() == "H2O"
