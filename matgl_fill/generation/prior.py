"""Prior from the pool at a latent point: the likely elements of a crystal there, and its likely volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pymatgen.core import Structure
from scipy.linalg import solve
from scipy.spatial.distance import pdist, squareform

from matgl_fill.embedding import Pool
from matgl_fill.generation.candidate import Candidate
from matgl_fill.generation.moves import atomic_volumes, scaled_volume
from matgl_fill.structures import COMPOSITIONAL, electronegativity
from matgl_fill.utils.scaling import Scaling

NEAREST = 300
"""Number of the crystals nearest to a point that the regression there is made from."""
WIDTH = 0.7
"""Width of the kernel over the median distance of those crystals from each other."""
RIDGE = 1e-2
RESIZED_BY_ATOMS = 0.5
"""Share of altered crystals whose volume follows the elements' atomic volumes; the others take the likely one."""
ORDERED = 0.8
"""Share of decorations in the order of electronegativity."""


class CompositionPrior:
    r"""Local kernel ridge regression from latent points to composition and volume.

    .. math:: (c, \log v)(x) = k(x)^T (K + \lambda 1)^{-1} (C, \log V), \quad
        k_i(x) = \exp(-\|x - x_i\|^2 / 2 w^2)

    The sum runs over the crystals i nearest to x, with c the fraction of each element and v the volume per atom;
    structural descriptors, by which prototypes are found, are predicted likewise. Crystals that a search has embedded
    are added, so that the prior gets better where the search is. It is the part of the decoder that learns.

    Args:
        pool: The n crystals of the pool with their descriptors.
        X: Scaled latent points (n, d) of these crystals.
        elements: Symbols of the e elements that may be used.
    """

    def __init__(self, pool: Pool, X: np.ndarray, elements: Sequence[str]) -> None:
        self.elements = tuple(elements)
        self._column = {e: k for k, e in enumerate(self.elements)}
        self.volumes = atomic_volumes(pool.structures)
        self._pool = len(X)
        D = pool.D[:, COMPOSITIONAL:]
        self._D = Scaling.of(D)(D)
        self._X, self._Y = X, self._contents(pool.structures)

    def _contents(self, structures: Sequence[Structure]) -> np.ndarray:
        """Element fractions and the logarithm of the volume per atom (n, e + 1)."""
        Y = np.zeros((len(structures), len(self.elements) + 1))
        for row, s in zip(Y, structures, strict=True):
            for site in s.species:
                row[self._column[site.symbol]] += 1 / len(s)
            row[-1] = np.log(s.volume / len(s))
        return Y

    def learn(self, candidates: Sequence[Candidate]) -> None:
        """Learn from embedded candidates."""
        if candidates:
            self.restore(np.stack([c.x for c in candidates]), self._contents([c.structure for c in candidates]))

    def learnt(self) -> tuple[np.ndarray, np.ndarray]:
        """Points (m, d) and contents (m, e + 1) of all that :meth:`learn` added."""
        return self._X[self._pool :], self._Y[self._pool :]

    def restore(self, X: np.ndarray, Y: np.ndarray) -> None:
        """Add points and contents that :meth:`learnt` returned."""
        self._X, self._Y = np.vstack([self._X, X]), np.vstack([self._Y, Y])

    def predict(self, point: np.ndarray) -> Prediction:
        """Predict likely composition and volume of a crystal at a scaled latent point (d,)."""
        Y = _regression(self._X, self._Y, point)
        fractions = np.maximum(Y[:-1], 0.0)
        return Prediction(self.elements, fractions / max(fractions.sum(), 1e-12), float(np.exp(Y[-1])), self.volumes)

    def structural_distance(self, point: np.ndarray) -> np.ndarray:
        """Distance (n,) of each pool crystal's structure from the likely one at a scaled latent point (d,)."""
        return np.linalg.norm(self._D - _regression(self._X[: self._pool], self._D, point), axis=1)


def _regression(X: np.ndarray, Y: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Kernel ridge prediction (k,) at a point (d,) from the nearest of the points (n, d) with values (n, k)."""
    square = ((X - point) ** 2).sum(axis=1)
    near = np.argsort(square, kind="stable")[:NEAREST]
    between = pdist(X[near], "sqeuclidean")
    width = max(WIDTH**2 * float(np.median(between)), 1e-12)
    K = squareform(np.exp(-between / (2 * width))) + (1 + RIDGE) * np.eye(len(near))
    mean = Y[near].mean(axis=0)
    return np.exp(-square[near] / (2 * width)) @ solve(K, Y[near] - mean, assume_a="pos") + mean


@dataclass(frozen=True)
class Prediction:
    """Likely composition and volume of a crystal at a latent point.

    Attributes:
        elements: Symbols of the e elements.
        fractions: Likely fraction (e,) of each.
        volume: Likely volume per atom, cubic Angstrom.
        volumes: Atomic volumes of the elements, cubic Angstrom.
    """

    elements: tuple[str, ...]
    fractions: np.ndarray
    volume: float
    volumes: Mapping[str, float]

    def likely(self) -> dict[str, float]:
        """Likely fraction of each element."""
        return dict(zip(self.elements, self.fractions.tolist(), strict=True))

    def draw(self, rng: np.random.Generator, count: int, but: frozenset[str] = frozenset()) -> list[str]:
        """Draw up to ``count`` different elements, likelier ones more often, none of those in ``but``."""
        p = np.where([e in but for e in self.elements], 0.0, self.fractions**0.5)
        count = min(count, int((p > 0).sum()))
        return [] if count == 0 else rng.choice(self.elements, count, replace=False, p=p / p.sum()).tolist()

    def resized(self, new: Structure, old: Structure, rng: np.random.Generator) -> Structure:
        """Scale ``new`` to the likely volume, or as often to that of ``old`` with its atoms replaced."""
        volume = self.volume * len(new)
        if rng.random() < RESIZED_BY_ATOMS:
            volume = scaled_volume(old, [e.symbol for e in new.species], self.volumes)
        new.scale_lattice(volume)
        return new


@dataclass(frozen=True)
class ReplaceLikely:
    """Replacement of one element of the crystal by a likely one.

    Attributes:
        prediction: Likely composition and volume at the target.
    """

    prediction: Prediction
    keeps_symmetry: ClassVar[bool] = True

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """Replace, or return None if no other element is likely."""
        present = sorted({e.symbol for e in structure.elements})
        old = str(rng.choice(present))
        chosen = self.prediction.draw(rng, 1, frozenset(present))
        if not chosen:
            return None
        new = structure.copy()
        new.replace_species({old: chosen[0]})
        return self.prediction.resized(new, structure, rng), f"{old}->{chosen[0]}"


@dataclass(frozen=True)
class MixLikely:
    """Replacement of one element on some of its sites by a likely one; the cell is doubled where it has one site only.

    This is the finest step in composition that an ordered crystal can take: what lies between two crystals in latent
    space often is a mixture of them.

    Attributes:
        prediction: Likely composition and volume at the target.
        largest: Largest number of atoms of the mixed crystal.
    """

    prediction: Prediction
    largest: int
    keeps_symmetry: ClassVar[bool] = False

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """Mix, or return None if the cell would be too large or no element is likely."""
        symbols = np.array([e.symbol for e in structure.species])
        old = str(rng.choice(np.unique(symbols)))
        chosen = self.prediction.draw(rng, 1, frozenset([old]))
        times = np.ones(3, dtype=int)
        times[rng.integers(3)] += (symbols == old).sum() == 1
        base = structure.make_supercell(times.tolist(), in_place=False)
        new = base.copy()
        sites = np.flatnonzero([e.symbol == old for e in new.species])
        if not chosen or len(new) > self.largest:
            return None
        part = rng.permutation(sites)[: rng.integers(1, len(sites))]
        for i in part.tolist():
            new.replace(i, chosen[0])
        return self.prediction.resized(new, base, rng), f"{len(part)} of {len(sites)} {old}->{chosen[0]}"


@dataclass(frozen=True)
class DecorateLikely:
    """Decoration of a prototype with given elements, in the order of electronegativity; now and then in any order.

    Attributes:
        prediction: Likely composition and volume at the target; it gives the volume, and the elements where none are
            given.
        symbols: Elements to put in, one for each of the prototype; likely ones are drawn if their number differs.
    """

    prediction: Prediction
    symbols: tuple[str, ...] = ()
    keeps_symmetry: ClassVar[bool] = True

    def __call__(self, structure: Structure, rng: np.random.Generator) -> tuple[Structure, str] | None:
        """Decorate, or return None if there are too few likely elements."""
        present = sorted({e.symbol for e in structure.elements}, key=_negativity)
        chosen = list(self.symbols)
        if len(chosen) != len(present):
            chosen = self.prediction.draw(rng, len(present))
        if len(chosen) != len(present):
            return None
        chosen = sorted(chosen, key=_negativity) if rng.random() < ORDERED else rng.permutation(chosen).tolist()
        new = structure.copy()
        new.replace_species(dict(zip(present, chosen, strict=True)))
        record = ", ".join(f"{a}->{b}" for a, b in zip(present, chosen, strict=True) if a != b)
        return self.prediction.resized(new, structure, rng), record or "resized"


def _negativity(symbol: str) -> tuple[float, str]:
    return electronegativity(symbol), symbol
