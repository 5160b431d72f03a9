"""Base of all moves, and chains of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from ase.data import covalent_radii
from pymatgen.core import Element, Structure


class Move(Protocol):
    """Random change of a structure."""

    @property
    def keeps_symmetry(self) -> bool:
        """Whether every symmetry operation of the structure is one of the changed copy."""

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """The changed copy and a record of what was done, or None where the move does not apply."""


def radius(symbol: str) -> float:
    """Covalent radius in Angstrom (Cordero et al., doi 10.1039/b801115j)."""
    return float(covalent_radii[Element(symbol).Z])


@dataclass(frozen=True)
class Chain:
    """Several moves one after the other.

    Attributes:
        moves: Moves in the order in which they are made.

    Example:
        >>> from pymatgen.core import Lattice
        >>> from matgl_fill.generation.moves import Rattle, Volume
        >>> salt = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        >>> Chain((Volume(0.05), Rattle(0.05, 0.05)))(salt, np.random.default_rng(0))[1]
        'volume x 1.01; rattle 0.05 A'
    """

    moves: tuple[Move, ...]

    @property
    def keeps_symmetry(self) -> bool:
        """Whether all of the moves keep the symmetry."""
        return all(move.keeps_symmetry for move in self.moves)

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """Apply all moves, or return None as soon as one does not apply."""
        records = []
        for move in self.moves:
            done = move(structure, rng)
            if done is None:
                return None
            structure, record = done
            records.append(record)
        return structure, "; ".join(records)
