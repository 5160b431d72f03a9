"""Moves: small random changes that turn a known crystal into a new one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from ase.data import covalent_radii
from pymatgen.core import Element, Lattice, Structure

MAX_RADIUS_MISMATCH = 0.30
"""Elements whose covalent radii differ by more than this fraction do not replace each other."""


class Move(Protocol):
    """A random change of a structure."""

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """The changed copy and a record of what was done, or None where the move does not apply."""


def radius(symbol: str) -> float:
    """Covalent radius in Angstrom (Cordero et al., doi 10.1039/b801115j)."""
    return float(covalent_radii[Element(symbol).Z])


def rebuilt(structure: Structure, lattice: np.ndarray, cartesian: np.ndarray | None = None) -> Structure:
    """Same species in a new lattice (3, 3), with the old fractional or given Cartesian coordinates (n, 3)."""
    coords = structure.frac_coords if cartesian is None else cartesian
    return Structure(Lattice(lattice), structure.species, coords, coords_are_cartesian=cartesian is not None)


@dataclass(frozen=True)
class Rattle:
    """Gaussian displacement of every atom.

    Attributes:
        low, high: range the standard deviation is drawn from, Angstrom.

    Example:
        >>> import numpy as np
        >>> from pymatgen.core import Lattice, Structure
        >>> salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.7), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        >>> new, record = Rattle(0.05, 0.05)(salt, np.random.default_rng(0))
        >>> record
        'rattle 0.05 A'
    """

    low: float = 0.02
    high: float = 0.15

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str]:
        """Displace; the centre of mass is not corrected, since crystals are translation invariant."""
        sigma = rng.uniform(self.low, self.high)
        coords = structure.cart_coords + rng.normal(0, sigma, structure.cart_coords.shape)
        return rebuilt(structure, structure.lattice.matrix, coords), f"rattle {sigma:.2g} A"


@dataclass(frozen=True)
class Strain:
    """Random symmetric strain, all six components Gaussian.

    Attributes:
        sigma: standard deviation of each component.
    """

    sigma: float = 0.03

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str]:
        """Strain the cell at fixed fractional coordinates."""
        e = rng.normal(0, self.sigma, (3, 3))
        e = np.clip((e + e.T) / 2, -3 * self.sigma, 3 * self.sigma)
        return rebuilt(structure, structure.lattice.matrix @ (np.eye(3) + e)), f"strain {np.linalg.norm(e):.2g}"


@lru_cache(maxsize=1024)
def replacements(symbol: str, allowed: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Elements of ``allowed`` that may stand for ``symbol``, with probabilities, likeliest first.

    They must share a common oxidation state and have a covalent radius within ``MAX_RADIUS_MISMATCH``; the closer
    in radius and electronegativity, the likelier.
    """
    old = Element(symbol)
    if old.is_noble_gas:
        return ()
    weights: dict[str, float] = {}
    for other in allowed:
        new = Element(other)
        if (
            other == symbol
            or new.is_noble_gas
            or not set(old.common_oxidation_states) & set(new.common_oxidation_states)
        ):
            continue
        mismatch = abs(radius(other) - radius(symbol)) / radius(symbol)
        if mismatch <= MAX_RADIUS_MISMATCH:
            weights[other] = float(np.exp(-mismatch / 0.15 - abs(float(new.X) - float(old.X)) / 0.5))
    total = sum(weights.values())
    return tuple(sorted(((el, w / total) for el, w in weights.items()), key=lambda x: (-x[1], x[0])))


@dataclass(frozen=True)
class Substitute:
    """Replace one to all elements by similar ones and rescale the cell to the new atomic volumes.

    Attributes:
        elements: elements that may be put in.
    """

    elements: tuple[str, ...]

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """Substitute, or None if no element has a replacement."""
        present = sorted({s.symbol for s in structure.elements})
        chosen = rng.permutation(present)[: rng.integers(1, len(present) + 1)]
        mapping: dict[str, str] = {}
        for symbol in chosen.tolist():
            options = replacements(symbol, self.elements)
            if options:
                names, p = zip(*options, strict=True)
                mapping[symbol] = str(rng.choice(names, p=np.array(p)))
        if not mapping:
            return None
        new = structure.copy()
        new.replace_species(mapping)
        old_volume = sum(radius(s.symbol) ** 3 for s in structure.species)
        new_volume = sum(radius(s.symbol) ** 3 for s in new.species)
        new.scale_lattice(structure.volume * new_volume / old_volume)
        return new, ", ".join(f"{a}->{b}" for a, b in sorted(mapping.items()))


@dataclass(frozen=True)
class Chain:
    """Several moves one after the other."""

    moves: tuple[Move, ...]

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """Apply all; None as soon as one does not apply."""
        records = []
        for move in self.moves:
            done = move(structure, rng)
            if done is None:
                return None
            structure, record = done
            records.append(record)
        return structure, "; ".join(records)
