"""Candidate crystals: structure types decorated with elements so that charges balance."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from pymatgen.core import Element, Lattice, Structure

PROTOTYPES = Path(__file__).resolve().parents[2] / "matgl_fill" / "structures" / "assets" / "prototypes.txt"
PRIMITIVE = {
    "P": np.eye(3),
    "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
}
ANIONS = {"O": (-2, 4), "S": (-2, 3), "Se": (-2, 2), "Te": (-2, 2), "F": (-1, 3), "Cl": (-1, 3), "Br": (-1, 2)}
ANIONS |= {"I": (-1, 2), "H": (-1, 1.5), "N": (-3, 2), "P": (-3, 1.5), "As": (-3, 1), "Sb": (-3, 1), "C": (-4, 1)}
STEP_LNV, STEP_RATIO, STEP_SITE = 0.03, 0.03, 0.008


def read_table() -> tuple[list[Prototype], dict[str, list[str]]]:
    """The structure types and the classes of elements."""
    lines = [line for line in PROTOTYPES.read_text().splitlines() if line[0] != "#"]
    classes = {name[1:]: elements for name, *elements in (line.split() for line in lines if line[0] == "@")}
    return [Prototype.parse(line) for line in lines if line[0] != "@"], classes


@dataclass(frozen=True)
class Prototype:
    """A structure type: sites are affine in the free coordinates, the shape is given by ``ln(c/a)``."""

    name: str
    lattice: str
    weight: float
    start: tuple[float, ...]
    labels: tuple[str, ...]
    classes: dict[str, str]
    const: np.ndarray
    coef: np.ndarray

    @classmethod
    def parse(cls, line: str) -> Prototype:
        """Read one line of the table."""
        head, *groups = line.split("|")
        name, lattice, weight, *free = head.split()
        values = {k: float(v) for k, v in (f.split("=") for f in free)}
        letters = [k for k in values if k != "c"]
        labels, classes, const, coef = [], {}, [], []
        for group in groups:
            (label, kind), *sites = group.split()
            classes[label] = kind
            for site in sites:
                labels.append(label)
                terms = [_affine(axis, letters) for axis in site.split(",")]
                const.append([t[0] for t in terms])
                coef.append([t[1] for t in terms])
        start = ([math.log(values["c"])] if "c" in values else []) + [values[k] for k in letters]
        shape = (len(labels), 3, len(letters))
        coef_array = np.array(coef, dtype=float).reshape(shape)
        return cls(name, lattice, float(weight), tuple(start), tuple(labels), classes, np.array(const), coef_array)


def _affine(text: str, letters: Sequence[str]) -> tuple[float, list[float]]:
    """Split ``.5+u`` into its constant and its coefficients of ``letters``."""
    const, coef = 0.0, [0.0] * len(letters)
    for sign, term in re.findall(r"([+-]?)([^+-]+)", text):
        factor = -1.0 if sign == "-" else 1.0
        if term in letters:
            coef[letters.index(term)] += factor
        else:
            const += factor * float(Fraction(term))
    return const, coef


@cache
def radius(element: str) -> float:
    """Slater's atomic radius (A); the sum of two is close to a bond length of any kind."""
    return float(Element(element).atomic_radius)


@dataclass(frozen=True)
class Candidate:
    """A decorated prototype. Coordinates ``x`` are (ln volume per atom, [ln c/a], free coordinates)."""

    proto: Prototype
    species: dict[str, str]

    @property
    def key(self) -> str:
        """A name that no other candidate has."""
        return self.proto.name + ":" + "-".join(self.species.values())

    @cached_property
    def elements(self) -> list[str]:
        """The element on every site."""
        return [self.species[label] for label in self.proto.labels]

    def build(self, x: np.ndarray) -> Structure:
        """The primitive cell at ``x``."""
        proto, shift = self.proto, 2 if self.proto.lattice[0] != "c" else 1
        conventional = np.diag([1.0, 1.0, math.exp(x[1]) if proto.lattice[0] != "c" else 1.0])
        if proto.lattice[0] == "h":
            conventional[1] = [-0.5, math.sqrt(3) / 2, 0]
        cell = PRIMITIVE[proto.lattice[1]]
        matrix = cell @ conventional
        matrix *= (math.exp(x[0]) * len(proto.labels) / abs(np.linalg.det(matrix))) ** (1 / 3)
        frac = (proto.const + proto.coef @ x[shift:]) @ np.linalg.inv(cell)
        return Structure(Lattice(matrix), self.elements, np.round(frac % 1.0, 9) % 1.0)

    @property
    def steps(self) -> np.ndarray:
        """Finite-difference steps of ``x``."""
        ratio = [STEP_RATIO] if self.proto.lattice[0] != "c" else []
        return np.array([STEP_LNV, *ratio, *[STEP_SITE] * self.proto.coef.shape[2]])

    def first_guess(self) -> np.ndarray:
        """The cell in which the nearest pair touches, by atomic radii, but not denser than 6 A^3/atom."""
        x = np.array([0.0, *self.proto.start])
        x[0] = max(-3 * math.log(contact_ratio(self.build(x))), math.log(6.0))
        return x


def contact_ratio(structure: Structure) -> float:
    """The smallest distance of two atoms, in sums of their atomic radii."""
    images = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T
    frac = structure.frac_coords
    delta = (frac[None, :, None] - frac[:, None, None] + images) @ structure.lattice.matrix
    radii = np.array([radius(site.specie.symbol) for site in structure])
    ratio = np.linalg.norm(delta, axis=-1) / (radii[:, None, None] + radii[None, :, None])
    return float(ratio[ratio > 1e-6].min())


def draw(proto: Prototype, classes: dict[str, list[str]], rng: np.random.Generator) -> dict[str, str] | None:
    """One random decoration, or None where it is not charge-balanced or breaks a rule of size."""
    chosen: dict[str, str] = {}
    charge = 0
    for label, kind in proto.classes.items():
        if not (options := classes[kind]):
            return None
        weights = np.array([ANIONS[el][1] for el in options]) if kind in "-y" else None
        el = str(rng.choice(options, p=None if weights is None else weights / weights.sum()))
        if kind in "+s":
            state = int(rng.choice([q for q in Element(el).common_oxidation_states if q > 0]))
        else:
            state = ANIONS[el][0] if kind in "-y" else int(kind == "u")
        too_large = kind == "s" and radius(el) > radius(chosen["A"])
        if el in chosen.values() or too_large or (kind == "y" and radius(el) < radius(chosen["X"])):
            return None
        chosen[label] = el
        charge += state * proto.labels.count(label)
    return chosen if charge == 0 else None


def candidates(quick: bool, seed: int, total: int) -> tuple[list[Candidate], list[Candidate]]:
    """Elemental crystals, and decorations of the other prototypes in a random order, with each prototype's weight."""
    protos, classes = read_table()
    protos = [p for p in protos if not quick or len(p.labels) <= 5]
    pool = set(classes["quick" if quick else "*"])
    classes = {k: [el for el in elements if el in pool] for k, elements in classes.items()}
    nonmetals = set(ANIONS) - {"As", "Te"}
    cations = [el for el in classes["*"] if el not in nonmetals and max(Element(el).common_oxidation_states) > 0]
    classes |= {"+": cations, "s": cations} | {key: [el for el in ANIONS if el in pool] for key in "-y"}
    pure = [Candidate(p, {"A": el}) for p in protos if len(p.classes) == 1 for el in classes[p.classes["A"]]]
    mixed: list[Candidate] = []
    protos = [p for p in protos if len(p.classes) > 1]
    for number, proto in enumerate(protos):
        wanted = proto.weight * total / sum(p.weight for p in protos)
        rng = np.random.default_rng([seed, number])
        unique: dict[str, Candidate] = {}  # one of each prototype and composition
        for _ in range(20 * int(wanted) + 400):
            if (species := draw(proto, classes, rng)) is not None:
                candidate = Candidate(proto, species)
                unique.setdefault("".join(sorted(candidate.elements)), candidate)
            if len(unique) >= wanted:
                break
        mixed.extend(unique.values())
    return pure, [mixed[i] for i in np.random.default_rng(seed).permutation(len(mixed))]
