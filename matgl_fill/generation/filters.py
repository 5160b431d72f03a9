"""Filters: conditions that make a crystal worth an electronic-structure calculation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase.data import atomic_masses, covalent_radii
from ase.units import kg, m
from pymatgen.core import Structure
from pymatgen.core.structure_matcher import StructureMatcher
from scipy.spatial.distance import cdist

from matgl_fill.adapters import Adapter
from matgl_fill.errors import InputError
from matgl_fill.generation.charge import balance
from matgl_fill.structures import neighbour_pairs

MIN_DISTANCE = 0.7
"""Smallest distance of two atoms, as a fraction of the sum of their covalent radii."""
VOLUME_MARGIN = 0.15
"""Fraction by which packing and density may leave the range of the pool's middle 98 %."""
ANGLES = (30.0, 150.0)
"""Smallest and largest angle of the reduced cell, degrees."""
MAX_ASPECT = 20.0
"""Largest ratio of the longest to the shortest vector of the reduced cell; 99 % of Materials Project is below it."""
MAX_ATOMS = 64
"""Largest number of atoms per cell; more cost too much in an electronic-structure calculation."""
NAMES = ("elements", "atoms", "cell", "packing", "density", "distance", "isolated", "charge")
"""Names of the filters in the order in which they are applied."""


def covalent_volume(structure: Structure) -> float:
    """Total volume of the covalent spheres in cubic Angstrom."""
    return float((4 / 3 * np.pi * covalent_radii[list(structure.atomic_numbers)] ** 3).sum())


def density(structure: Structure) -> float:
    """Mass over volume in g/cm³, without pymatgen's slow unit objects."""
    grams = float(atomic_masses[list(structure.atomic_numbers)].sum()) / kg * 1e3
    return grams / (structure.volume / (m * 1e-2) ** 3)


def closest_pair(structure: Structure) -> tuple[float, str]:
    """Smallest distance between two atoms over the sum of their covalent radii, and their elements."""
    r = covalent_radii[list(structure.atomic_numbers)]
    i, j, _, d = neighbour_pairs(structure, float(2 * r.max()))
    if len(d) == 0:
        return np.inf, ""
    ratio = d / (r[i] + r[j])
    k = int(ratio.argmin())
    return float(ratio[k]), "-".join(sorted(structure.species[a].symbol for a in (i[k], j[k])))


def closest_ratio(structure: Structure) -> float:
    """Smallest distance between two atoms over the sum of their covalent radii; infinite if no two come that near.

    Example:
        >>> from pymatgen.core import Lattice
        >>> f"{closest_ratio(Structure(Lattice.cubic(2.5), ['Cu'], [[0, 0, 0]])):.2f}"
        '0.95'
    """
    return closest_pair(structure)[0]


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.01, 0.99])
    return float(low / (1 + VOLUME_MARGIN)), float(high * (1 + VOLUME_MARGIN))


@dataclass
class Filters:
    """Filters that accept or refuse candidates, with a reason for each refusal.

    :meth:`refuse` judges a crystal by itself. What is accepted already decides the rest: :meth:`duplicate` asks for
    novelty, :meth:`surplus` for the share of crystals whose charge cannot be judged, and :meth:`accept` adds one.

    Args:
        adapter: Adapter of the model; it gives the elements and the cutoff.
        pool: Known crystals, for the bounds of packing and density and for novelty.
        max_atoms: Largest number of atoms per cell.
        unassignable: Share of the accepted crystals that may have no oxidation states to balance
            (:func:`~matgl_fill.generation.charge.charge_balanced` gives None: elements, alloys). It holds after every
            :meth:`accept`, so also for the final set, whatever its size.
        excluded: Elements that no crystal may hold.
        others: Function of a reduced formula to known crystals of it that are not in the pool; they count for novelty.

    Attributes:
        packing: Bounds of the covalent spheres' share of the volume.
        density: Bounds of the density in g/cm³.

    Raises:
        InputError: The pool is empty, or ``unassignable`` is not a share.
    """

    adapter: Adapter
    pool: Sequence[Structure]
    max_atoms: int = MAX_ATOMS
    unassignable: float = 1.0
    excluded: tuple[str, ...] = ()
    others: Callable[[str], Sequence[Structure]] | None = None
    packing: tuple[float, float] = field(init=False)
    density: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        if not self.pool:
            raise InputError("the filters take their bounds from the pool, which is empty; give some crystals.")
        if not 0 <= self.unassignable <= 1:
            raise InputError(f"unassignable is a share between 0 and 1, not {self.unassignable}.")
        self.packing = _bounds([covalent_volume(s) / s.volume for s in self.pool])
        self.density = _bounds([density(s) for s in self.pool])
        self._known: dict[str, list[Structure]] = {}
        self._reduced: dict[str, list[Structure]] = {}
        self._asked: set[str] = set()
        for s in self.pool:
            self._known.setdefault(s.composition.reduced_formula, []).append(s)
        self._accepted = self._unassigned = 0
        self._latent = np.empty((0, 0))
        self._least = 0.0
        self._matcher = StructureMatcher()

    def refuse(self, structure: Structure) -> str | None:
        """Judge the crystal by itself.

        Returns:
            None if it is acceptable; otherwise a name of ``NAMES``, a colon and the reason. Cheap filters come first.
        """
        for name in NAMES:
            if reason := getattr(self, f"_{name}")(structure):
                return f"{name}: {reason}"
        return None

    def _elements(self, structure: Structure) -> str | None:
        found = sorted({e.symbol for e in structure.elements} & set(self.excluded))
        if not found:
            return self.adapter.unsupported_reason(structure)
        return f"{', '.join(found)} {'is' if len(found) == 1 else 'are'} excluded"

    def _atoms(self, structure: Structure) -> str | None:
        return f"{len(structure)}, more than {self.max_atoms}" if len(structure) > self.max_atoms else None

    def _cell(self, structure: Structure) -> str | None:
        cell = structure.lattice.get_lll_reduced_lattice()
        aspect = max(cell.abc) / min(cell.abc)
        if aspect > MAX_ASPECT:
            return f"longest over shortest vector {aspect:.1f}, more than {MAX_ASPECT:g}"
        odd = [a for a in cell.angles if not ANGLES[0] <= a <= ANGLES[1]]
        return f"angle of {odd[0]:.0f} degrees outside {ANGLES[0]:g} to {ANGLES[1]:g}" if odd else None

    def _packing(self, structure: Structure) -> str | None:
        low, high = self.packing
        share = covalent_volume(structure) / structure.volume
        if low <= share <= high:
            return None
        return f"covalent spheres fill {share:.2f} of the cell, outside {low:.2f} to {high:.2f}"

    def _density(self, structure: Structure) -> str | None:
        low, high = self.density
        found = density(structure)
        return None if low <= found <= high else f"{found:.2f} g/cm³ outside {low:.2f} to {high:.2f}"

    def _distance(self, structure: Structure) -> str | None:
        ratio, pair = closest_pair(structure)
        return f"{pair} at {ratio:.2f} of the sum of covalent radii" if ratio < MIN_DISTANCE else None

    def _isolated(self, structure: Structure) -> str | None:
        alone = np.bincount(neighbour_pairs(structure, self.adapter.cutoff)[0], minlength=len(structure)) == 0
        if not alone.any():
            return None
        return f"{structure.species[int(alone.argmax())].symbol} without a neighbour within {self.adapter.cutoff:g} A"

    def _charge(self, structure: Structure) -> str | None:
        balanced = balance(structure)
        return f"{structure.composition.reduced_formula} cannot be balanced" if balanced is False else None

    def surplus(self, structure: Structure) -> bool:
        """Whether accepting a crystal without oxidation states would exceed the share of such crystals in the set."""
        return balance(structure) is None and self._unassigned + 1 > self.unassignable * (self._accepted + 1)

    def set_latent(self, X: np.ndarray, least: float) -> None:
        """Judge novelty by latent distance as well.

        Args:
            X: Latent vectors (n, d) of the known crystals, scaled like those that :meth:`duplicate` will get.
            least: Distance under which two crystals count as the same.
        """
        self._latent, self._least = np.asarray(X, dtype=float), least

    def latent_duplicates(self, X: np.ndarray) -> np.ndarray:
        """Find which (m,) of latent vectors (m, d) are too near to a known or accepted crystal.

        Raises:
            InputError: The method :meth:`set_latent` was not called.
        """
        return cdist(np.atleast_2d(X), self._known_latent()).min(axis=1) < self._least

    def _known_latent(self) -> np.ndarray:
        if not len(self._latent):
            raise InputError("no latent vectors of known crystals were given; call set_latent first.")
        return self._latent

    def duplicate(self, structure: Structure, x: np.ndarray | None = None) -> bool:
        """Whether the crystal matches one of the pool or one accepted before.

        Matching is that of pymatgen's StructureMatcher. Only crystals of the same reduced formula whose primitive
        cells hold as many atoms can match, so only those are compared; each known crystal is reduced once.

        Args:
            structure: A candidate.
            x: Its latent vector (d,), if latent distance counts too.
        """
        if x is not None and self.latent_duplicates(x)[0]:
            return True
        formula = structure.composition.reduced_formula
        if self.others is not None and formula not in self._asked:
            self._asked.add(formula)
            self._known.setdefault(formula, []).extend(self.others(formula))
        if not self._known.get(formula):
            return False
        reduced = _reduced(structure)
        return any(
            self._matcher.fit(reduced, other, skip_structure_reduction=True)
            for other in self._reduced_known(formula)
            if len(other) == len(reduced)
        )

    def _reduced_known(self, formula: str) -> list[Structure]:
        done = self._reduced.setdefault(formula, [])
        done += [_reduced(s) for s in self._known[formula][len(done) :]]
        return done

    def accept(self, structure: Structure, x: np.ndarray | None = None) -> None:
        """Add the crystal, and its latent vector (d,) if given, to the known ones."""
        self._known.setdefault(structure.composition.reduced_formula, []).append(structure)
        self._accepted += 1
        self._unassigned += balance(structure) is None
        if x is not None:
            self._latent = np.vstack([self._known_latent(), x])


def _reduced(structure: Structure) -> Structure:
    """Niggli-reduced primitive cell, as StructureMatcher makes it."""
    return structure.get_reduced_structure().get_primitive_structure()
