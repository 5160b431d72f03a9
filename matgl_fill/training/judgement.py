"""What the guard made of a training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from matgl_fill.adapters import Adapter
from matgl_fill.evaluation import LabelComparison
from matgl_fill.guard import Verdict


@dataclass(frozen=True)
class Judgement:
    """Judgement of the guard on a training.

    Attributes:
        adapter: Adapter of the model that is handed over: the accepted one, or a copy of the original.
        verdict: Verdict of the guard.
        Z: Embedding of the pool by the model that is handed over, (n, dim).
        comparison: Errors on labels held out before and after, where a potential learnt from labels.
        notes: What could not be judged.
    """

    adapter: Adapter
    verdict: Verdict
    Z: np.ndarray
    comparison: LabelComparison | None = None
    notes: tuple[str, ...] = ()

    @property
    def accepted(self) -> Adapter | None:
        """The adapter if the guard accepted the model, otherwise None."""
        return self.adapter if self.verdict.accepted else None
