"""Moves of the elements on fixed sites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from pymatgen.core import Element, Species, Structure
from pymatgen.core.structure_prediction.substitution_probability import SubstitutionProbability

from matgl_fill.generation.charge import ANIONS
from matgl_fill.generation.moves.base import radius
from matgl_fill.generation.moves.volumes import scaled_volume
from matgl_fill.structures import electronegativity

MAX_RADIUS_MISMATCH = 0.30
"""Largest relative difference of the radii of two elements that replace each other."""
MAX_ANION_MISMATCH = 0.45
"""Largest such difference of anions, as of O and S, F and Cl; their whole sublattice is replaced, the cell follows."""


def shared_states(old: str, new: str, anion: bool = False) -> tuple[int, ...]:
    """Common oxidation states other than zero that two elements share; of an anion only negative ones."""
    found = set(Element(old).common_oxidation_states) & set(Element(new).common_oxidation_states)
    return tuple(sorted(q for q in found if q < 0 or (q and not anion)))


@lru_cache(maxsize=256)
def ionic_radii(symbol: str) -> dict[int, float]:
    """Shannon's radius of each oxidation state in Angstrom, high spin where both are known."""
    data = Element(symbol).data
    both = {**data.get("Ionic radii ls", {}), **data.get("Ionic radii", {})}
    return {int(q): float(r) for q, r in both.items()}


@lru_cache(maxsize=16384)
def radius_mismatch(old: str, new: str, anion: bool = False) -> float | None:
    """Relative difference of two elements' radii, or None if they share no common oxidation state.

    The radii are the ionic ones (Shannon, doi 10.1107/S0567739476001551) of the shared state, of the closest if they
    share several. A state with a radius for one of the two only is rare for the other and does not count; where Shannon
    has none for either, the covalent radii are compared.

    Example:
        >>> f"{radius_mismatch('Na', 'Li'):.2f} {radius_mismatch('Na', 'Ag'):.2f}"
        '0.22 0.11'
        >>> radius_mismatch("Na", "Mg") is None
        True
    """
    a, b = Element(old), Element(new)
    states = shared_states(old, new, anion)
    if not states or a.is_noble_gas or b.is_noble_gas:
        return None
    known = [(ionic_radii(old).get(q), ionic_radii(new).get(q)) for q in states]
    pairs = [(x, y) if x and y else (radius(old), radius(new)) for x, y in known if bool(x) == bool(y)]
    return min((abs(y - x) / x for x, y in pairs), default=None)


@lru_cache(maxsize=1)
def _mined() -> SubstitutionProbability:
    """Pymatgen's table, read once."""
    return SubstitutionProbability()


def _mined_likelihood(old: str, new: str, states: tuple[int, ...]) -> float:
    table = _mined()
    pairs = [(Species(new, q), Species(old, q)) for q in states]
    return sum(table.cond_prob(b, a) for b, a in pairs if {a, b} <= table.species)


@lru_cache(maxsize=4096)
def replacements(
    symbol: str, allowed: tuple[str, ...], mined: bool = False, anion: bool = False
) -> tuple[tuple[str, float], ...]:
    """Find the elements of ``allowed`` that may replace ``symbol``, with probabilities, likeliest first.

    They must share a common oxidation state, with radii (:func:`radius_mismatch`) within ``MAX_RADIUS_MISMATCH``, of
    anions within ``MAX_ANION_MISMATCH``.

    Args:
        symbol: Element to be replaced.
        allowed: Elements that may replace it.
        mined: Take likelihoods from the substitutions found in the ICSD (Hautier et al., doi 10.1021/ic102031h), summed
            over shared oxidation states; else the closer in radius and electronegativity, the likelier.
        anion: Whether ``symbol`` has a negative state in the crystal.

    Example:
        >>> [el for el, p in replacements("Ca", ("Ba", "Cl", "Mg", "Sr", "Zn"))]
        ['Sr', 'Mg', 'Zn']
        >>> [el for el, p in replacements("S", ("Se", "Si", "O"), anion=True)]
        ['Se', 'O']
    """
    weights: dict[str, float] = {}
    for other in allowed:
        mismatch = radius_mismatch(symbol, other, anion)
        if other == symbol or mismatch is None or mismatch > (MAX_ANION_MISMATCH if anion else MAX_RADIUS_MISMATCH):
            continue
        if mined:
            weights[other] = _mined_likelihood(symbol, other, shared_states(symbol, other, anion))
        else:
            difference = abs(electronegativity(symbol) - electronegativity(other))
            weights[other] = float(np.exp(-mismatch / 0.15 - difference / 0.5))
    total = sum(weights.values())
    found = ((el, w / total) for el, w in weights.items() if w > 0)
    return tuple(sorted(found, key=lambda x: (-x[1], x[0])))


def draw_replacement(
    symbol: str, structure: Structure, allowed: tuple[str, ...], mined: bool, rng: np.random.Generator
) -> str | None:
    """Draw one of the :func:`replacements` of an element of ``structure``; None if it has none."""
    anion = symbol in ANIONS and symbol == max((e.symbol for e in structure.elements), key=electronegativity)
    options = replacements(symbol, allowed, mined, anion and len(structure.elements) > 1)
    return str(rng.choice([el for el, _ in options], p=[w for _, w in options])) if options else None


@dataclass(frozen=True)
class Substitute:
    """Substitution: one to all elements are replaced by similar ones, and the cell follows the new atomic volumes.

    Different elements stay different, so the crystal keeps its prototype and its space group.

    Attributes:
        elements: Elements that may be put in.
        mined: Take likelihoods from the ICSD; see :func:`replacements`.
        volumes: Volumes from :func:`~matgl_fill.generation.moves.atomic_volumes`; None rescales by covalent radii.

    Example:
        >>> from pymatgen.core import Lattice
        >>> salt = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        >>> new, record = Substitute(("Rb", "Br"))(salt, np.random.default_rng(0))
        >>> new.formula, record
        ('Rb1 Br1', 'Cl->Br, Cs->Rb')
    """

    elements: tuple[str, ...]
    mined: bool = False
    volumes: Mapping[str, float] | None = None
    keeps_symmetry: ClassVar[bool] = True

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """Substitute, or return None if no element has a replacement."""
        present = sorted({s.symbol for s in structure.elements})
        taken = set(present)
        mapping: dict[str, str] = {}
        for symbol in rng.permutation(present)[: rng.integers(1, len(present) + 1)].tolist():
            chosen = draw_replacement(symbol, structure, self.elements, self.mined, rng)
            if chosen is not None and chosen not in taken:
                mapping[symbol] = chosen
                taken.add(chosen)
        if not mapping:
            return None
        new = structure.copy()
        new.replace_species(mapping)
        new.scale_lattice(scaled_volume(structure, (e.symbol for e in new.species), self.volumes))
        return new, ", ".join(f"{a}->{b}" for a, b in sorted(mapping.items()))


@dataclass(frozen=True)
class Antisite:
    """Antisite defect: two atoms of different elements are swapped.

    Attributes:
        max_difference: Largest difference of the Pauling electronegativities, so that cations are not swapped with
            anions.

    Example:
        >>> from pymatgen.core import Lattice
        >>> bronze = Structure(Lattice.tetragonal(2.8, 7.6), ["Cu", "Au", "Cu", "Au"],
        ...                    [[0, 0, 0], [0.5, 0.5, 0.25], [0, 0, 0.5], [0.5, 0.5, 0.75]])
        >>> new, record = Antisite()(bronze, np.random.default_rng(0))
        >>> record, new.formula
        ('Cu 3 and Au 4 swapped', 'Cu2 Au2')
    """

    max_difference: float = 1.0
    keeps_symmetry: ClassVar[bool] = False

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """Swap, or return None where no pair is alike enough or there are two atoms, which inversion swaps as well."""
        X = np.array([electronegativity(e.symbol) for e in structure.species])
        z = np.array(structure.atomic_numbers)
        alike = np.abs(X[:, None] - X) <= self.max_difference
        pairs = np.argwhere((z[:, None] < z) & alike)
        if len(structure) == 2 or len(pairs) == 0:
            return None
        i, j = pairs[int(rng.integers(len(pairs)))].tolist()
        species = list(structure.species)
        species[i], species[j] = species[j], species[i]
        new = Structure(structure.lattice, species, structure.frac_coords)
        return new, f"{species[j].symbol} {i + 1} and {species[i].symbol} {j + 1} swapped"
