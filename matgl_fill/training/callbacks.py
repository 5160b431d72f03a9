"""Early stop on the guard's measure.

Lightning's ``EarlyStopping`` waits for a logged number that no longer improves. Here a training ends only where the
guard's probes are significantly worse than before the first step, and a training that merely stands still goes on. The
best weights have to come back from other processes and from a saved training. So this is no callback of Lightning's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from matgl_fill.guard import significant_loss

CHECKS = 5
"""Number of checks in a whole training, evenly spaced."""
PATIENCE = 2
"""Number of bad checks in a row that end a training."""


class EarlyStop:
    """Early stop of a training that spoils the embedding; the best weights are restored.

    The errors of the guard's probes are measured before the first step and :data:`CHECKS` times during training. A
    check is bad where they are significantly larger than before the first step
    (:func:`matgl_fill.guard.significant_loss`), or where embeddings are no longer finite. A training that merely gains
    nothing more goes on: its rate falls to zero over a fixed number of steps, of which half are worth less.

    Args:
        errors: Function that gives the errors (k, n) of the guard's probes with the present weights; (0, n) where an
            embedding is not finite.

    Attributes:
        after: Step after which training ended; None if it did not end early.
        best: Step whose weights were best, 0 before the first.
        weights: Weights of the best step, by name.
    """

    def __init__(self, errors: Callable[[], np.ndarray]) -> None:
        self._errors = errors
        self._first: Tensor | None = None
        self.weights: dict[str, Tensor] = {}
        self._least, self._bad = 1.0, 0
        self.after: int | None = None
        self.best = 0

    def state(self) -> dict[str, Any]:
        """The state, as tensors and numbers that :meth:`go_on` takes."""
        return {name: value for name, value in vars(self).items() if name != "_errors"}

    def go_on(self, state: dict[str, Any]) -> None:
        """Take over the saved state of another early stop."""
        vars(self).update(state)

    def begin(self, core: nn.Module) -> None:
        """Measure the errors with the weights before the first step."""
        self._first = torch.from_numpy(self._errors())
        self._keep(core)

    def check(self, core: nn.Module, step: int, steps: int) -> None:
        """Check the weights after a step, if a check is due: keep them if they are the best yet, or count a bad check.

        Args:
            core: Network that is trained.
            step: Number of steps that are done.
            steps: Number of steps of the whole training.
        """
        moments = [steps * k // CHECKS for k in range(1, CHECKS + 1)]
        if self._first is None or not len(self._first) or step not in moments:
            return
        first, now = self._first.cpu().numpy(), self._errors()
        self._bad = self._bad + 1 if not len(now) or significant_loss(first, now) > 0 else 0
        if len(now) and (mean := float((now.mean(axis=1) / first.mean(axis=1)).mean())) < self._least:
            self._least, self.best = mean, step
            self._keep(core)
        if self._bad == PATIENCE:
            self.after = step

    def _keep(self, core: nn.Module) -> None:
        self.weights = {name: p.detach().clone() for name, p in core.named_parameters()}
