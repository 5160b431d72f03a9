"""The state of a search in a file, so that an interrupted search goes on where it was."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pymatgen.core import Structure

from matgl_fill.generation.candidate import Candidate, Search
from matgl_fill.generation.prior import CompositionPrior


@dataclass
class SearchState:
    """State of a search for several targets.

    Attributes:
        searches: Search of each target.
        prior: Prior of the composition at a latent point; it learns from the search.
        refused: Number of candidates that each filter refused.
        steps: Number of steps that are done.
    """

    searches: list[Search]
    prior: CompositionPrior
    refused: Counter[str] = field(default_factory=Counter)
    steps: int = 0

    def saved(self) -> dict[str, Any]:
        """State as :class:`~matgl_fill.utils.checkpoint.Checkpoint` keeps it."""
        X, Y = self.prior.learnt()
        return {
            "steps": self.steps,
            "refused": dict(self.refused),
            "tried": [sorted(s.tried) for s in self.searches],
            "found": [[_row(c) for c in s.found] for s in self.searches],
            "learnt_points": X,
            "learnt_contents": Y,
        }

    def restore(self, saved: dict[str, Any] | None) -> None:
        """Restore a saved state; without one the search starts anew."""
        if saved is None:
            return
        self.steps = saved["steps"]
        self.refused.update(saved["refused"])
        self.prior.restore(saved["learnt_points"], saved["learnt_contents"])
        for search, tried, found in zip(self.searches, saved["tried"], saved["found"], strict=True):
            search.tried = {(parent, formula) for parent, formula in tried}
            search.found = [Candidate(Structure.from_dict(c.pop("structure")), **c) for c in found]


def _row(c: Candidate) -> dict[str, Any]:
    """A candidate in numbers, texts and arrays."""
    return {
        "structure": c.structure.as_dict(),
        "parent": c.parent,
        "moves": c.moves,
        "distance": c.distance,
        "x": c.x,
    }
