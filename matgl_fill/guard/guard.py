"""The guard: hands over a tuned model only if it kept what it knew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from matgl_fill.adapters import Adapter, KernelCorrection
from matgl_fill.config import GuardConfig
from matgl_fill.embedding import Pool
from matgl_fill.guard.checks import DIVERGED, Check, HeldOutChecks, significant_loss

ALPHAS = (1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1)
"""Weights tried between the original (0) and the tuned model (1), largest first."""


@dataclass(frozen=True)
class Verdict:
    """Decision of the guard.

    Attributes:
        accepted: Whether the tuned model, possibly interpolated, is handed over.
        alpha: Weight of the tuned model; 0 means the original.
        checks: Measures at ``alpha``, or at the smallest weight tried if none passed.
        tried: Every weight tried, with the names of the measures that failed; those without one that are not ``alpha``
            passed and were no better.
    """

    accepted: bool
    alpha: float
    checks: tuple[Check, ...]
    tried: dict[float, tuple[str, ...]]

    def diverged(self, values: int) -> Verdict:
        """The verdict that refuses a model by which ``values`` values of the pool's embedding are not finite."""
        check, tried = Check.diverged(values), {self.alpha: (DIVERGED,)}
        return Verdict(False, 0.0, (*self.checks, check), self.tried | tried)


class Guard:
    """Judge of tuned models on held-out pool crystals.

    Args:
        adapter: Adapter of the original model.
        pool: The n held-out pool crystals, with the original's embedding and predictions; neither objectives nor replay
            saw them.
        budgets: Changes that are allowed.
        more: Further crystals that training did not see, on which embeddings are judged too.
        must_gain: Whether the embedding has to become better, and not only to lose nothing.
    """

    def __init__(
        self, adapter: Adapter, pool: Pool, budgets: GuardConfig, more: Pool | None = None, must_gain: bool = False
    ) -> None:
        self.held_out = HeldOutChecks(adapter, pool, budgets, more, must_gain)

    def checks(self, adapter: Adapter) -> tuple[Check, ...]:
        """Every measure of one candidate model; one alone where its training diverged."""
        return self.held_out.measure(adapter)[0]

    def judge(
        self,
        original: Adapter,
        tuned: Adapter | None,
        correction: KernelCorrection | None = None,
    ) -> tuple[Adapter, Verdict]:
        """Interpolate from the tuned model towards the original until every check passes (WiSE-FT, arXiv 2109.01903).

        The interpolation goes on from there as long as the errors of the proxy probes fall significantly: a change
        that spoils an embedding at a large weight may improve it at a small one. Where the embedding has to gain,
        every weight is tried, and of those that pass the one by which it gains most is taken: one among the large
        weights may pass by chance while those around it fail.

        Args:
            original: Adapter of the original model.
            tuned: Adapter of the tuned model, which replaces the original or, where it is a branch, is attached to it;
                None if only a correction is judged.
            correction: Correction of the energies, which is scaled by the same weight.

        Returns:
            The adapter of the accepted model (a copy of the original if none passed) and the verdict.
        """
        tried: dict[float, tuple[str, ...]] = {}
        checks: tuple[Check, ...] = ()
        best: tuple[Adapter, Verdict, np.ndarray] | None = None
        for alpha in ALPHAS:
            candidate = self._candidate(alpha, original, tuned, correction)
            checks, errors = self.held_out.measure(candidate)
            tried[alpha] = tuple(c.measure for c in checks if not c.passed)
            if not tried[alpha] and (best is None or self._better(errors, best[2])):
                best = candidate, Verdict(True, alpha, checks, tried), errors
                if tuned is None or not self.held_out.names:  # a correction alone leaves the embedding as it is
                    break
            elif best and not self.held_out.must_gain:
                break
        return best[:2] if best else (original.clone(), Verdict(False, 0.0, checks, tried))

    def _better(self, errors: np.ndarray, least: np.ndarray) -> bool:
        """Whether errors of the probes (2k, m) are lower than the lowest before: significantly, or most of all."""
        if self.held_out.must_gain:
            return self.held_out.gain(errors) > self.held_out.gain(least)
        return significant_loss(errors, least) > 0

    def _candidate(
        self, alpha: float, original: Adapter, tuned: Adapter | None, correction: KernelCorrection | None
    ) -> Adapter:
        """The model of one weight; arguments as of :meth:`judge`."""
        candidate = None if tuned is None else interpolate(original, tuned, alpha)
        if candidate is None or candidate.is_branch:
            return original.filled(candidate, correction.scaled(alpha) if correction else None)
        return candidate


def interpolate(original: Adapter, tuned: Adapter, alpha: float) -> Adapter:
    """Make a new model with weights (1 - alpha) original + alpha tuned; both inputs stay as they are."""
    new = original.tuned_branch() if tuned.is_branch else original.clone()
    if alpha == 0:
        return new
    weights = dict(tuned.core.named_parameters())
    with torch.no_grad():
        for name, p in new.core.named_parameters():
            p.copy_(weights[name] if alpha == 1 else torch.lerp(p, weights[name], alpha))
    return new


def averaged(copies: Sequence[Adapter]) -> Adapter:
    """Make a new model whose weights are the means of those of copies of one model, which stay as they are."""
    new = copies[0].clone()
    with torch.no_grad():
        for p, *weights in zip(new.core.parameters(), *(copy.core.parameters() for copy in copies), strict=True):
            p.copy_(torch.stack(weights).mean(dim=0))
    return new
