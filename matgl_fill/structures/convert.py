"""One object of pymatgen, ASE or plain Python to a clean, ordered, fully periodic crystal."""

from __future__ import annotations

import functools
import json
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from pymatgen.core import Composition, DummySpecies, Element, IMolecule, IStructure, Lattice, Molecule, Structure
from pymatgen.core.periodic_table import get_el_sp

from matgl_fill.structures.cif import parse_cif
from matgl_fill.structures.containers import CRYSTAL_KEYS, ID_KEYS
from matgl_fill.structures.placement import MIN_VOLUME, SAME_PLACE, Placement, cell_volume, with_vacuum
from matgl_fill.structures.poscar import parse_poscar
from matgl_fill.structures.sets import Remark
from matgl_fill.utils.counting import counted

_NOT_LABELS = {*ID_KEYS, *CRYSTAL_KEYS}


def convert(item: Any) -> tuple[Structure, str | None, dict[str, float]]:
    """Convert one object to a clean crystal.

    Args:
        item: Object of a kind that :func:`matgl_fill.read_structures` names, or the exception that stands for one.

    Returns:
        The crystal, its id if it has one, and its labels in the unit of the source.

    Raises:
        Exception: The object is unusable; the exception is of any kind and gives the reason.
    """
    facts: dict[str, Any] = {}
    if isinstance(item, Atoms):
        fresh = isinstance(item.calc, SinglePointCalculator) and not item.calc.check_state(item)
        facts = item.info | (item.calc.results if fresh else {})
    elif isinstance(item, Mapping):
        facts = {} if "sites" in item else dict(item)
        item = next((item[key] for key in CRYSTAL_KEYS if key in item), item)
        item = _of_text(item) if isinstance(item, str) else item
    if hasattr(item, "structure"):  # an entry of pymatgen, a document of the Materials Project's client
        facts = (item.as_dict() if hasattr(item, "as_dict") else vars(item)) | facts
        item = item.structure
    name = next((str(facts[key]) for key in ID_KEYS if facts.get(key) is not None), None)
    values = {key: v for key, v in facts.items() if key not in _NOT_LABELS and not isinstance(v, bool)}
    return _to_structure(item), name, {key: float(v) for key, v in values.items() if isinstance(v, numbers.Real)}


def fully_periodic(atoms: Atoms) -> Atoms:
    """The atoms in the geometry that :func:`convert` gives them, for a calculator: same order, same orientation.

    A fully periodic crystal whose atoms lie in its cell is returned as it is. Atoms that overlap are left to the
    potential, because a search for structures may start from them; atoms at one place are refused.

    Raises:
        ValueError: The atoms are unusable; the message gives the reason and names the atom.
    """
    if len(atoms) == 0:
        raise ValueError("no atoms")
    cell, positions = with_vacuum(atoms.cell, atoms.pbc, atoms.positions)
    placed = Placement.of(cell, positions, cartesian=True)
    placed.check_overlaps(SAME_PLACE)
    if atoms.pbc.all() and not placed.shift.any():
        return atoms
    moved = atoms.copy()
    moved.set_constraint()
    moved.set_cell(cell)
    moved.pbc = True
    moved.positions = positions - placed.shift @ cell
    return moved


def volume_ratio(atoms: Atoms, cell: Any) -> float:
    """Volume of the fully periodic cell (3, 3) of atoms over that of their own; NaN if their own has none.

    A stress is an energy over a volume: that of the fully periodic crystal times this is that of the atoms.
    """
    own = cell_volume(atoms.cell)
    return cell_volume(cell) / own if own >= MIN_VOLUME else float("nan")


def _of_text(text: str) -> Any:
    """What a text in a row stands for: JSON that a crystal's ``to_json`` made, a CIF, or a POSCAR; else the text."""
    if text.lstrip().startswith("{"):
        return json.loads(text)
    if "\n" not in text.strip():
        return text
    crystals = [
        one for one in (parse_cif if "_atom_site_" in text else parse_poscar)(text) if not isinstance(one, Remark)
    ]
    if len(crystals) > 1:
        raise ValueError(f"a CIF of {len(crystals)} crystals; give each a row of its own")
    return crystals[0]


def _to_structure(item: Any) -> Structure:
    if isinstance(item, Exception):
        raise item
    if isinstance(item, Mapping) and "sites" in item:
        item = (Structure if "lattice" in item else Molecule).from_dict(dict(item))
    if isinstance(item, IStructure):
        species, matrix = [site.species for site in item], item.lattice.matrix
        if all(item.lattice.pbc):
            return _build(species, matrix, item.frac_coords)
        return _build(species, *with_vacuum(matrix, item.lattice.pbc, item.frac_coords @ matrix), cartesian=True)
    if isinstance(item, IMolecule):
        molecule = with_vacuum(np.eye(3), [False] * 3, item.cart_coords)
        return _build([site.species for site in item], *molecule, cartesian=True)
    if isinstance(item, Atoms):
        symbols = item.get_chemical_symbols()
        if any(abs(max(kind.values(), default=0) - 1) > 1e-3 for kind in (item.info.get("occupancy") or {}).values()):
            raise ValueError("partial occupancy (disordered)")
        return _build(symbols, *with_vacuum(item.cell, item.pbc, item.positions), cartesian=True)
    if not isinstance(item, Mapping):
        raise TypeError(f"not a structure but {type(item).__name__}")
    if missing := [key for key in ("lattice", "species", "frac_coords") if key not in item]:
        found = ", ".join(map(str, [*item][:6])) or "none"
        raise ValueError(f"not a structure: no {', '.join(missing)} (its keys: {found})")
    return _build(item["species"], item["lattice"], item["frac_coords"])


def _build(species: Sequence[Any], matrix: Any, coords: Any, cartesian: bool = False) -> Structure:
    """A new structure from a (3, 3) cell and (atoms, 3) coordinates; raises with the reason if they are unusable."""
    cell, xyz = np.array(matrix, dtype=float), np.array(coords, dtype=float)
    if len(species) == 0:
        raise ValueError("no atoms")
    if cell.shape != (3, 3) or xyz.shape != (len(species), 3):
        raise ValueError(f"cell {cell.shape} and coordinates {xyz.shape} do not fit {counted(len(species), 'atom')}")
    placed = Placement.of(cell, xyz, cartesian)
    elements = [_element(Composition(one) if isinstance(one, Mapping) else one) for one in species]
    placed.check_overlaps()
    return Structure(Lattice(placed.cell), elements, placed.frac)


@functools.lru_cache(maxsize=4096)
def _element(species: Any) -> Composition:
    """The bare element of a symbol, atomic number, species or the composition of a site."""
    if isinstance(species, Composition):
        if len(species) != 1 or abs(species.num_atoms - 1) > 1e-3:
            raise ValueError(f"partial occupancy (disordered): {species}")
        species = species.elements[0]
    found = get_el_sp(species)
    if isinstance(found, DummySpecies):
        raise ValueError(f"dummy species {species}")
    return Composition({Element.from_Z(found.Z): 1})
