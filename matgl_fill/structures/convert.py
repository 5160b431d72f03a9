"""One object of pymatgen, ASE or plain Python to a clean, ordered, fully periodic crystal."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import complete_cell
from pymatgen.core import Composition, DummySpecies, Element, IMolecule, IStructure, Lattice, Molecule, Structure
from pymatgen.core.periodic_table import get_el_sp
from scipy.spatial import cKDTree

VACUUM = 15.0  # Angstrom on each side of a molecule or a cell-less slab; more than any MatGL cutoff
MIN_DISTANCE = 0.1  # Angstrom; two atoms closer than this share a site
MIN_VOLUME = 0.1  # Angstrom^3; a smaller cell has no volume
_NOT_LABELS = {"id", "material_id", "structure"}


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
        item = item.get("structure", item)
    name = next((str(facts[key]) for key in ("id", "material_id") if facts.get(key) is not None), None)
    values = {key: v for key, v in facts.items() if key not in _NOT_LABELS and not isinstance(v, bool)}
    return _to_structure(item), name, {key: float(v) for key, v in values.items() if isinstance(v, numbers.Real)}


def _to_structure(item: Any) -> Structure:
    if isinstance(item, Exception):
        raise item
    if isinstance(item, Mapping) and "sites" in item:
        item = (Structure if "lattice" in item else Molecule).from_dict(dict(item))
    if isinstance(item, IStructure):
        species, matrix = [site.species for site in item], item.lattice.matrix
        if all(item.lattice.pbc):
            return _build(matrix, species, item.frac_coords)
        return _build(*_with_vacuum(matrix, item.lattice.pbc, species, item.frac_coords @ matrix), cartesian=True)
    if isinstance(item, IMolecule):
        return _build(*_in_box([site.species for site in item], item.cart_coords), cartesian=True)
    if isinstance(item, Atoms):
        symbols = item.get_chemical_symbols()
        if any(abs(max(kind.values(), default=0) - 1) > 1e-3 for kind in (item.info.get("occupancy") or {}).values()):
            raise ValueError("partial occupancy (disordered)")
        return _build(*_with_vacuum(item.cell, item.pbc, symbols, item.positions), cartesian=True)
    if not isinstance(item, Mapping):
        raise TypeError(f"not a structure but {type(item).__name__}")
    if missing := [key for key in ("lattice", "species", "frac_coords") if key not in item]:
        raise ValueError(f"not a structure: no {', '.join(missing)}")
    return _build(item["lattice"], item["species"], item["frac_coords"])


def _build(matrix: Any, species: Sequence[Any], coords: Any, cartesian: bool = False) -> Structure:
    """A new structure from a (3, 3) cell and (atoms, 3) coordinates; raises with the reason if they are unusable."""
    cell, xyz = np.array(matrix, dtype=float), np.array(coords, dtype=float)
    if len(species) == 0:
        raise ValueError("no atoms")
    if cell.shape != (3, 3) or xyz.shape != (len(species), 3):
        raise ValueError(f"cell {cell.shape} and coordinates {xyz.shape} do not fit {len(species)} atoms")
    for what, values in (("lattice", cell), ("coordinates", xyz)):
        if not np.isfinite(values).all():
            raise ValueError(f"NaN or infinite {what}")
    if (volume := abs(np.linalg.det(cell))) < MIN_VOLUME:
        raise ValueError(f"zero-volume cell ({volume:.2g} A^3)")
    elements = [_element(Composition(one) if isinstance(one, Mapping) else one) for one in species]
    frac = xyz @ np.linalg.inv(cell) if cartesian else xyz
    _check_distances(cell, frac)
    return Structure(Lattice(cell), elements, frac)


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


def _check_distances(cell: np.ndarray, frac: np.ndarray) -> None:
    """Find pairs on one site in a periodic tree whose axes are scaled so that the distance bound is 1."""
    reach = MIN_DISTANCE * np.linalg.norm(np.linalg.inv(cell), axis=0)  # in fractional units, per axis
    points = (frac - np.floor(frac)) / reach
    points[points >= 1 / reach] = 0.0
    pairs = cKDTree(points, boxsize=1 / reach).query_pairs(1.0, np.inf, output_type="ndarray")
    if len(pairs):
        delta = frac[pairs[:, 0]] - frac[pairs[:, 1]]
        distances = np.linalg.norm((delta - np.round(delta)) @ cell, axis=1)
        k = int(distances.argmin())
        if distances[k] < MIN_DISTANCE:
            raise ValueError(f"atoms {pairs[k, 0]} and {pairs[k, 1]} on the same site ({distances[k]:.3f} A apart)")


def _in_box(species: list[Any], positions: np.ndarray) -> tuple[np.ndarray, list[Any], np.ndarray]:
    """Centre a molecule in a cubic box with vacuum on each side."""
    if not species or not np.isfinite(positions).all():
        return np.eye(3), species, positions  # refused later, with the reason
    low, high = positions.min(axis=0), positions.max(axis=0)
    size = float((high - low).max()) + 2 * VACUUM
    return np.eye(3) * size, species, positions + (size - low - high) / 2


def _with_vacuum(
    matrix: Any, pbc: Sequence[bool], species: list[Any], coords: np.ndarray
) -> tuple[np.ndarray, list[Any], np.ndarray]:
    """Vacuum in each non-periodic direction, where the cell has no vector there or one that leaves less."""
    if not any(pbc):
        return _in_box(species, coords)
    cell, positions = np.array(matrix, dtype=float), np.array(coords, dtype=float)
    if not species or not np.isfinite(cell).all():
        return cell, species, positions  # refused later, with the reason
    for axis in np.flatnonzero(~np.asarray(pbc)):
        full = complete_cell(cell)
        normal = np.cross(full[axis - 2], full[axis - 1])
        normal /= max(float(np.linalg.norm(normal)), 1e-12)
        along = positions @ normal
        if abs(cell[axis] @ normal) - np.ptp(along) < VACUUM:
            cell[axis] = normal * (np.ptp(along) + 2 * VACUUM)
            positions += normal * (VACUUM - along.min())
    return cell, species, positions
