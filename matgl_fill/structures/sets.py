"""Sets of crystals with their ids and labels, and what was left out of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymatgen.core import Structure

from matgl_fill.structures.elements import formulas_of


@dataclass(frozen=True)
class Skipped:
    """One input that could not be used: where it was found, and why it was left out."""

    where: str
    reason: str


@dataclass(frozen=True)
class Remark:
    """What a parser says of an input that it could read."""

    text: str


def reason_of(error: Exception) -> str:
    """The message of an exception in one line, at most 300 characters, without a full stop."""
    kind = "" if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: "
    return (kind + " ".join(str(error).split()))[:300].removesuffix(".") or type(error).__name__


def first_of(texts: Sequence[str]) -> str:
    """The first three of several texts, and how many more there are."""
    return "; ".join(texts[:3]) + (f" (and {len(texts) - 3} more)" if len(texts) > 3 else "")


@dataclass(frozen=True, eq=False)
class StructureSet:
    """Clean, ordered, fully periodic structures with their ids and labels.

    Attributes:
        structures: The n pymatgen structures, with plain elements (no oxidation states, no site properties).
        ids: The n unique names of the structures.
        labels: Labels (n,) of float64 by name, in the unit of the source; NaN where a row has none.
        skipped: Inputs that were left out while reading, each with its reason.
    """

    structures: list[Structure]
    ids: list[str]
    labels: dict[str, np.ndarray]
    skipped: list[Skipped]

    def __len__(self) -> int:
        return len(self.structures)

    def __iter__(self) -> Iterator[Structure]:
        return iter(self.structures)

    def subset(self, indices: Sequence[int] | np.ndarray) -> StructureSet:
        """Select the structures at ``indices`` (integers, or a boolean mask of shape (n,)), in that order.

        Args:
            indices: Rows to take; an empty list gives an empty set.

        Returns:
            A new set; ``skipped`` still says what the whole reading left out.

        Raises:
            IndexError: An index is out of range, or the mask has another length.
        """
        wanted = np.asarray(indices) if len(indices) else np.zeros(0, dtype=int)
        rows = np.arange(len(self))[wanted]
        labels = {key: values[rows] for key, values in self.labels.items()}
        return StructureSet([self.structures[i] for i in rows], [self.ids[i] for i in rows], labels, self.skipped)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Id of each structure with the labels that it has."""
        labels = self.labels.items()
        return [{"id": one} | {k: v[i] for k, v in labels if v[i] == v[i]} for i, one in enumerate(self.ids)]

    @property
    def formulas(self) -> list[str]:
        """Reduced formula of each structure, such as ``"Fe2O3"``."""
        return formulas_of(self.structures)


def unique(names: Sequence[str]) -> list[str]:
    """Make names unique: a repeated one gets a number.

    >>> unique(["a", "a", "a_2"])
    ['a', 'a_3', 'a_2']
    """
    taken, result = set(names), dict[str, None]()
    for name in names:
        new, k = name, 1
        while new in result or (k > 1 and new in taken):
            k += 1
            new = f"{name}_{k}"
        result[new] = None
    return list(result)
