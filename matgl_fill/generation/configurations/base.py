"""What a configuration is, and what makes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter


@dataclass(frozen=True)
class Configuration:
    """A crystal's atoms away from their places at rest.

    Attributes:
        structure: The configuration.
        record: Record of what was done to the crystal.
        displacement: Root mean square displacement of its atoms, Angstrom.
        strain: Largest principal strain of its cell, without sign.
    """

    structure: Structure
    record: str
    displacement: float
    strain: float


class Maker(Protocol):
    """Way to make configurations of one kind."""

    def __call__(
        self, adapter: Adapter, crystals: Sequence[Structure], rngs: Sequence[np.random.Generator], max_atoms: int
    ) -> list[Configuration | None]:
        """Make one configuration around each crystal.

        Args:
            adapter: Adapter of the potential.
            crystals: The m crystals, each of at most ``max_atoms`` atoms.
            rngs: The m generators of their random choices.
            max_atoms: Largest number of atoms of a configuration.

        Returns:
            The m configurations, None for a crystal that has none of this kind.
        """


def one_by_one(make: Callable[[Structure, np.random.Generator, int], Configuration | None]) -> Maker:
    """A maker from a function of one crystal, its generator and the largest number of atoms."""

    def maker(
        adapter: Adapter,  # noqa: ARG001, only molecular dynamics needs the potential
        crystals: Sequence[Structure],
        rngs: Sequence[np.random.Generator],
        max_atoms: int,
    ) -> list[Configuration | None]:
        return [make(crystal, rng, max_atoms) for crystal, rng in zip(crystals, rngs, strict=True)]

    return maker


def grown(structure: Structure, least: int, most: int) -> tuple[Structure, str]:
    """A cell repeated along its shortest vector until it holds ``least`` atoms, or one more repeat exceeds ``most``.

    Returns:
        The larger cell and the repeats in words; the crystal itself and no word if it holds enough atoms.

    Example:
        >>> from pymatgen.core import Lattice
        >>> copper = Structure(Lattice.tetragonal(2.0, 5.0), ["Cu"], [[0, 0, 0]])
        >>> [grown(copper, n, 8)[1] for n in (1, 2, 4, 6, 9)]
        ['', '2 x 1 x 1 cells', '2 x 2 x 1 cells', '3 x 2 x 1 cells', '3 x 2 x 1 cells']
    """
    times, lengths = np.ones(3, dtype=int), np.array(structure.lattice.abc)
    while len(structure) * times.prod() < least:
        larger = times.copy()
        larger[int(np.argmin(lengths * times))] += 1
        if len(structure) * larger.prod() > most:
            break
        times = larger
    if times.prod() == 1:
        return structure, ""
    return structure.make_supercell(times.tolist(), in_place=False), " x ".join(map(str, times)) + " cells"
