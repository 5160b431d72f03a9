"""Training on crystals up to a judged model: a copy is trained, a potential corrected, and the guard decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from matgl_fill.adapters import Adapter
from matgl_fill.embedding import Pool
from matgl_fill.generation import Proposal
from matgl_fill.guard import Guard, Verdict, package_crystals
from matgl_fill.training.build import ObjectiveSet, build_objectives
from matgl_fill.training.callbacks import EarlyStop
from matgl_fill.training.correction.solve import CorrectionOutcome, make_correction
from matgl_fill.training.cost import seconds_per_step
from matgl_fill.training.judgement import Judgement
from matgl_fill.training.labels import Labels
from matgl_fill.training.module import fit
from matgl_fill.training.registry import ObjectiveContext
from matgl_fill.training.replay import Replay
from matgl_fill.training.request import FillRequest
from matgl_fill.training.run_state import TRAINING, RunState
from matgl_fill.training.training_set import make_training_set
from matgl_fill.utils.console import console

MAX_HOLDOUT = 400
"""Largest number of crystals that the guard judges on; more cost time and decide nothing."""
FEW = 60
"""Number of crystals below which a guard has few to judge by: as many are held out of a small pool, up to half of it,
and where fewer can judge the probes have to gain."""
LEAST_JUDGED = 200
"""Number of crystals up to which the guard judges by the package's own too where fewer are held out."""


@dataclass(frozen=True)
class TrainingOutcome:
    """Outcome of a training, before the guard judges it.

    Attributes:
        tuned: Adapter of the tuned copy; None where only a correction was asked for.
        history: Losses of the training, by term.
        stop: Early stop of the training, where the copy is a branch.
        objectives: Objectives of the training.
        correction: Correction of a potential's energies, where there were labels for one.
        guard: Guard that is to judge the outcome.
    """

    tuned: Adapter | None
    history: dict[str, list[float]]
    stop: EarlyStop | None
    objectives: ObjectiveSet
    correction: CorrectionOutcome | None
    guard: Guard

    @property
    def notes(self) -> list[str]:
        """Notes on anything that did not go as it should."""
        notes = []
        if self.stop and self.stop.after is not None:
            best = f"the weights of step {self.stop.best} are used"
            notes.append(f"training spoiled the embedding and ended after step {self.stop.after}; {best}")
        if self.correction and self.correction.unsupported_reason:
            notes.append(f"no correction: {self.correction.unsupported_reason}")
        return notes

    def judged(self, original: Adapter, pool: Pool) -> Judgement:
        """Let the guard judge the outcome; where nothing was learnt, the original is handed over.

        An attached branch is kept near its embedding of the pool's crystals.

        Args:
            original: Adapter of the original model.
            pool: Pool of the run.
        """
        correction = self.correction.correction if self.correction else None
        if self.tuned is None and correction is None:
            return Judgement(original.clone(), Verdict(False, 0.0, (), {}), pool.Z)
        accepted, verdict = self.guard.judge(original, self.tuned, correction)
        if not verdict.accepted:
            return Judgement(accepted, verdict, pool.Z)
        attached = len(accepted.cores) > 1
        Z = (accepted.tuned_branch() if attached else accepted).embed_graphs(pool.graphs)[0]
        if lost := int((~np.isfinite(Z)).sum()):
            return Judgement(original.clone(), verdict.diverged(lost), pool.Z)
        if not attached:
            return Judgement(accepted, verdict, Z)
        accepted.bound(Z)
        return Judgement(accepted, verdict, np.hstack([pool.Z, Z]))


def train_copy(
    request: FillRequest, pool: Pool, proposals: list[Proposal], labels: Labels | None, state: RunState
) -> TrainingOutcome:
    """Train a copy on proposals, with the guard watching, and solve a potential's correction where there are labels.

    Args:
        request: Checked request of the run.
        pool: Pool of the run; a part of it is held out for the guard.
        proposals: Crystals to learn from.
        labels: Labels of the proposals, if they came with any.
        state: State of the run, in which labels and the training are saved.

    Raises:
        OracleError: The oracle fails on too many crystals.
    """
    adapter, settings, rng = request.adapter, request.settings.training, np.random.default_rng(request.seed)
    budgets = request.settings.guard
    held, rest = parted(len(pool), budgets.holdout, rng)
    guard = make_guard(request, pool, held)
    training_set = make_training_set(proposals, labels, pool, rest, settings, rng)
    tuned = adapter.tuned_branch() if settings.form == "add" else adapter.clone()
    read = pool
    if tuned.is_branch and tuned.reads_branch_apart:
        read = replace(pool, Z=tuned.embed_graphs(pool.graphs)[0])
    context = ObjectiveContext(tuned, read, training_set, settings, rng)
    objectives = build_objectives(context, request.objective, request.oracle, state.responses)
    correction = None
    if objectives.labelled is not None and settings.form == "correct":
        known = [pool.structures[i] for i in rest]
        correction = make_correction(adapter, objectives.labelled, known, budgets, request.seed, state.tangents)
    if settings.form == "correct":
        return TrainingOutcome(None, {}, None, objectives, correction, guard)
    replay = _replay(context, adapter, rest)
    seconds = settings.steps * seconds_per_step(tuned, objectives.objectives, replay, settings)
    console.print(f"training for {settings.steps} steps, about {seconds:.0f} s", highlight=False)
    stop = EarlyStop(partial(guard.held_out.errors_with, tuned)) if tuned.is_branch else None
    history = fit(tuned, objectives.objectives, replay, settings, request.seed, state.file(TRAINING), stop)
    return TrainingOutcome(tuned, history, stop, objectives, correction, guard)


def parted(n: int, holdout: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are held out for the guard, and those that training may see."""
    order = rng.permutation(n)
    cut = min(max(int(holdout * n), min(FEW, n // 2)), MAX_HOLDOUT)
    return order[:cut], order[cut:]


def make_guard(request: FillRequest, pool: Pool, held: np.ndarray) -> Guard:
    """The guard of a run; it asks for a gain where the training is unusual, or where few crystals can tell a loss.

    A correction leaves the embedding as it is, and nothing is asked of that.

    Args:
        request: Checked request of the run.
        pool: Pool of the run.
        held: Rows of the pool that are held out.
    """
    budgets, corrects = request.settings.guard, request.settings.training.form == "correct"
    more = None if corrects else package_crystals(request.adapter, pool, LEAST_JUDGED - len(held))
    few = len(held) + len(more or ()) < FEW
    must_gain = (request.beyond_defaults or few) if budgets.must_gain is None else budgets.must_gain
    return Guard(request.adapter, pool.subset(held), budgets, more, must_gain and not corrects)


def _replay(context: ObjectiveContext, original: Adapter, rest: np.ndarray) -> Replay:
    """Replay of pool crystals that training may see, without the quarter with most edges."""
    pool, settings = context.pool, context.settings
    small = rest[np.argsort(pool.n_edges[rest], kind="stable")[: -(-len(rest) * 3 // 4)]]
    rows = context.rng.permutation(small)[: settings.replay_size]
    return Replay(original, pool, rows, settings.replay_weight, settings.prediction_weight)
