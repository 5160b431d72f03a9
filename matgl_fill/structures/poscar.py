"""Crystals of POSCAR files by pymatgen's parser."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from pymatgen.core import Lattice, Structure

from matgl_fill.structures.numerals import check_numerals, number_in
from matgl_fill.structures.sets import Remark
from matgl_fill.utils.counting import counted


def parse_poscar(text: str) -> Iterator[Structure | Remark | Exception]:
    """The crystal of a POSCAR, or why there is none, and what pymatgen remarks on it."""
    from pymatgen.io.vasp.inputs import Poscar

    lines = text.splitlines()
    _check(lines)
    factors = _scale_factors(lines)
    if factors is not None:
        lines[1] = "1.0"
    with warnings.catch_warnings(record=True, action="always") as caught:
        structure = Poscar.from_str("\n".join(lines), read_velocities=False).structure
    if factors is not None:  # they scale Cartesian coordinates as well, so that fractional ones stay
        lattice = Lattice(structure.lattice.matrix * factors)
        structure = Structure(lattice, structure.species, structure.frac_coords)
    notes = [" ".join(str(w.message).split()) for w in caught if issubclass(w.category, UserWarning)]
    if any("cannot be determined" in note for note in notes):
        yield ValueError("POSCAR names no elements; add a line with them")
        return
    yield structure
    yield from map(Remark, dict.fromkeys(notes))


def _check(lines: list[str]) -> None:
    """Check what pymatgen does not.

    Raises:
        ValueError: Elements are numbers, a number has an underscore, or a coordinate follows that no count counts.
    """
    check_numerals(word for line in [*lines[1:5], *lines[7:]] for word in line.split())
    counts = next((k for k in (5, 6) if _are_counts(lines[k : k + 1])), None)
    if counts is None:
        return  # pymatgen says what is wrong
    if counts == 6 and any(word[0].isdigit() for word in lines[5].split()):
        raise ValueError(f"POSCAR has '{lines[5].strip()}' for elements; write their symbols")
    first = counts + (3 if lines[counts + 1 : counts + 2] and lines[counts + 1].strip()[:1] in ("s", "S") else 2)
    total = sum(int(word) for word in lines[counts].split())
    if more := [
        word for word in "".join(lines[first + total : first + total + 1]).split() if number_in(word) is not None
    ]:
        raise ValueError(
            f"POSCAR counts {counted(total, 'atom')}, but line {first + total + 1} follows with {' '.join(more)}"
        )


def _are_counts(line: list[str]) -> bool:
    words = "".join(line).split()
    return bool(words) and all(word.isdecimal() for word in words)


def _scale_factors(lines: list[str]) -> np.ndarray | None:
    """Factors (3,) of x, y and z where the second line gives three, or minus the volume; None for a plain factor.

    pymatgen reads neither three factors nor Cartesian coordinates beside a volume.
    """
    try:
        given = [float(word) for word in lines[1].split()]
        cell = np.array([[float(word) for word in line.split()[:3]] for line in lines[2:5]])
    except (IndexError, ValueError):
        return None  # pymatgen says what is wrong
    if len(given) == 3:
        if min(given) <= 0:
            raise ValueError(f"POSCAR has scale factors {lines[1].strip()}; all three have to be positive")
        return np.array(given)
    if len(given) == 1 and given[0] < 0 and cell.shape == (3, 3) and np.linalg.det(cell):
        return np.full(3, (-given[0] / abs(np.linalg.det(cell))) ** (1 / 3))
    return None
