"""Moves that mix a crystal with another one of the pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from pymatgen.core import Composition, Structure
from pymatgen.core.structure_matcher import StructureMatcher

from matgl_fill.generation.moves.volumes import scaled_volume
from matgl_fill.structures import electronegativity

TRIES = 3
"""Number of partners tried before a move is given up."""
SMALL_CHANGE = 0.02
"""Change of cell vectors and atoms (Angstrom) below which a crystal is not new."""


def _element_mapping(composition: Composition, other: Composition) -> dict[str, str]:
    """Which element of ``composition`` replaces each element of ``other``."""
    new, old = (c.reduced_composition.get_el_amt_dict() for c in (composition, other))
    shared = {el for el, count in new.items() if old.get(el) == count}

    def ranked(amounts: Mapping[str, float]) -> list[str]:
        return sorted(amounts.keys() - shared, key=lambda el: (amounts[el], electronegativity(el), el))

    return dict(zip(ranked(old), ranked(new), strict=True)) | {el: el for el in shared}


def decorated(structure: Structure, partner: Structure, volumes: Mapping[str, float] | None = None) -> Structure:
    """Put the elements of ``structure`` on the sites of ``partner``, which must have the same anonymous formula.

    Elements replace those that occur as often. Among several, an element of both keeps its sites, and the more
    electronegative replace the more electronegative. The cell is scaled to the new atomic volumes.
    """
    mapping = _element_mapping(structure.composition, partner.composition)
    new = Structure(partner.lattice, [mapping[e.symbol] for e in partner.species], partner.frac_coords)
    new.scale_lattice(scaled_volume(partner, (e.symbol for e in new.species), volumes))
    return new


@dataclass(frozen=True, eq=False)
class _WithPartner:
    """Common part: finds pool crystals of a given anonymous formula."""

    pool: tuple[Structure, ...] = field(repr=False)
    volumes: Mapping[str, float] | None = field(default=None, kw_only=True, repr=False)
    keeps_symmetry: ClassVar[bool] = False

    @cached_property
    def _families(self) -> dict[str, list[int]]:
        families: dict[str, list[int]] = {}
        for k, s in enumerate(self.pool):
            families.setdefault(s.composition.anonymized_formula, []).append(k)
        return families

    def _partners(self, structure: Structure, rng: np.random.Generator) -> list[int]:
        """Rows of at most ``TRIES`` partners in random order."""
        family = self._families.get(structure.composition.anonymized_formula, [])
        return [family[k] for k in rng.permutation(len(family))[:TRIES]]


@dataclass(frozen=True, eq=False)
class Decorate(_WithPartner):
    """Decoration: the crystal's elements on the sites of another pool crystal of the same anonymous formula.

    Attributes:
        pool: Crystals that lend their sites.
        volumes: Volumes from :func:`~matgl_fill.generation.moves.atomic_volumes`; None rescales by covalent radii.
        max_atoms: Largest number of atoms of a prototype; larger ones are passed over.

    Example:
        >>> from pymatgen.core import Lattice
        >>> salt = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        >>> blende = Structure.from_spacegroup("F-43m", Lattice.cubic(5.4), ["Zn", "S"], [[0] * 3, [0.25] * 3])
        >>> new, record = Decorate((salt, blende))(salt, np.random.default_rng(0))
        >>> record, new.get_space_group_info()[0]
        ('on the sites of ZnS', 'F-43m')
    """

    max_atoms: int = 48

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """Decorate, or return None where the pool has no other crystal of the same anonymous formula."""
        for row in self._partners(structure, rng):
            partner = self.pool[row]
            if len(partner) <= self.max_atoms and partner != structure:
                new = decorated(structure, partner, self.volumes)
                return new, f"on the sites of {partner.composition.reduced_formula}"
        return None


@dataclass(frozen=True, eq=False)
class Interpolate(_WithPartner):
    """Interpolation: a crystal on the straight line to another pool crystal of like topology.

    The partner gets the crystal's elements; pymatgen's StructureMatcher finds which site becomes which. The cells
    are interpolated by their stretch, without the rotation between them.

    Attributes:
        pool: Crystals towards which a crystal is moved.
        volumes: Volumes from :func:`~matgl_fill.generation.moves.atomic_volumes`; None rescales by covalent radii.
        low: Smallest fraction of the line.
        high: Largest fraction of the line.

    Example:
        >>> from pymatgen.core import Lattice
        >>> sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
        >>> cubic = Structure(Lattice.cubic(3.9), ["Sr", "Ti", "O", "O", "O"], sites)
        >>> sites[1][2] = 0.54
        >>> polar = Structure(Lattice.tetragonal(3.9, 4.2), ["Pb", "Ti", "O", "O", "O"], sites)
        >>> new, record = Interpolate((polar,), low=0.5, high=0.5)(cubic, np.random.default_rng(0))
        >>> record, f"{new.lattice.c / new.lattice.a:.3f}"
        ('50 % of the way to TiPbO3', '1.041')
    """

    low: float = 0.25
    high: float = 0.75

    @cached_property
    def _matcher(self) -> StructureMatcher:
        return StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10, primitive_cell=False)

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """Interpolate, or return None where no partner matches or all are the same but for the volume."""
        share = rng.uniform(self.low, self.high)
        for row in self._partners(structure, rng):
            partner = self.pool[row]
            if len(partner) != len(structure) or partner == structure:
                continue
            end = self._matcher.get_s2_like_s1(structure, decorated(structure, partner, self.volumes))
            if end is None:
                continue
            new = structure.interpolate(end, nimages=[share], interpolate_lattices=True)[0]
            if _changed(structure, new):
                return new, f"{share:.0%} of the way to {partner.composition.reduced_formula}".replace("%", " %")
        return None


def _changed(old: Structure, new: Structure) -> bool:
    """Whether cell or atoms differ by more than ``SMALL_CHANGE``, whatever the volume."""
    same_volume = new.lattice.matrix * (old.volume / new.volume) ** (1 / 3)
    shift = new.frac_coords - old.frac_coords
    moved = (shift - np.round(shift)) @ old.lattice.matrix
    moved -= moved.mean(axis=0)
    return bool(max(np.abs(same_volume - old.lattice.matrix).max(), np.abs(moved).max()) > SMALL_CHANGE)
