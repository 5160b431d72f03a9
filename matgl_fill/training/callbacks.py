"""Early stop on the guard's measure.

Lightning's ``EarlyStopping`` waits for a logged number that no longer improves. Here a training ends only where the
guard's probes are significantly worse than before the first step, a training that merely stands still goes on, and what
was best has to come back from other processes and from a saved training: so it is no callback of Lightning's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from matgl_fill.guard import significant_loss

CHECKS = 5
"""In a whole training, evenly spaced."""
PATIENCE = 2
"""Checks in a row that have to be bad."""


class EarlyStop:
    """Ends a training that spoils the embedding, and goes back to where it was best.

    The guard's probes are taken before the first step and :data:`CHECKS` times during training. A check is bad where
    they err more than before the first step, significantly (:func:`matgl_fill.guard.significant_loss`), or
    where embeddings are no numbers any more. A training that merely gains nothing more goes on: its rate falls to zero
    over a fixed number of steps, of which half are worth less.

    Args:
        errors: gives the errors (k, n) of the guard's probes with the weights as they are; (0, n) where an embedding is
            not finite.

    Attributes:
        after: step after which training ended; None if it did not end early.
        best: step whose weights were best, 0 before the first.
        weights: those of that step, by name.
    """

    def __init__(self, errors: Callable[[], np.ndarray]) -> None:
        self._errors = errors
        self._first: Tensor | None = None
        self.weights: dict[str, Tensor] = {}
        self._least, self._bad = 1.0, 0
        self.after: int | None = None
        self.best = 0

    def state(self) -> dict[str, Any]:
        """Tensors and numbers that :meth:`go_on` takes."""
        return {name: value for name, value in vars(self).items() if name != "_errors"}

    def go_on(self, state: dict[str, Any]) -> None:
        """Be where another one was."""
        vars(self).update(state)

    def begin(self, core: nn.Module) -> None:
        """Take the measure of the weights before the first step."""
        self._first = torch.from_numpy(self._errors())
        self._keep(core)

    def check(self, core: nn.Module, step: int, steps: int) -> None:
        """After a step: at a check, keep the weights if they are the best yet, or count a bad one."""
        moments = [steps * k // CHECKS for k in range(1, CHECKS + 1)]
        if self._first is None or not len(self._first) or step not in moments:
            return
        first, now = self._first.numpy(), self._errors()
        self._bad = self._bad + 1 if not len(now) or significant_loss(first, now) > 0 else 0
        if len(now) and (mean := float((now.mean(axis=1) / first.mean(axis=1)).mean())) < self._least:
            self._least, self.best = mean, step
            self._keep(core)
        if self._bad == PATIENCE:
            self.after = step

    def _keep(self, core: nn.Module) -> None:
        self.weights = {name: p.detach().clone() for name, p in core.named_parameters()}
