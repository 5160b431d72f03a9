"""From crystals to a judged model: the copy is trained, a potential corrected, and the guard decides."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from matgl_fill.adapters import Adapter
from matgl_fill.config.config import FillConfig
from matgl_fill.embedding.cost import training_seconds
from matgl_fill.embedding.pool import Pool
from matgl_fill.generation import Proposal
from matgl_fill.generation.augment import elements_of, training_augmentations
from matgl_fill.training import Guard, Labels, Replay, Source, Verdict, fit
from matgl_fill.training.build import Made, make_objectives
from matgl_fill.training.callbacks import EarlyStop
from matgl_fill.training.correction.solve import Corrected, can_correct, make_correction
from matgl_fill.training.run_state import TRAINING, RunState
from matgl_fill.utils.console import console

MAX_HOLDOUT = 400
"""Crystals that the guard judges on at most; more cost time and decide nothing."""


@dataclass(frozen=True)
class Trained:
    """What training leaves.

    Attributes:
        tuned: the tuned copy; None where only a correction was asked for.
        history: its losses.
        stop: what watched over the training, where the copy is added.
        made: its objectives.
        corrected: the correction of a potential's energies, where there were labels for one.
        guard: that is to judge it.
    """

    tuned: Adapter | None
    history: dict[str, list[float]]
    stop: EarlyStop | None
    made: Made
    corrected: Corrected | None
    guard: Guard

    @property
    def notes(self) -> list[str]:
        """What did not go as it should."""
        notes = []
        if self.stop and self.stop.after is not None:
            best = f"the weights of step {self.stop.best} were taken"
            notes.append(f"training spoiled the embedding and ended after step {self.stop.after}; {best}")
        if self.corrected and self.corrected.problem:
            notes.append(f"no correction: {self.corrected.problem}")
        return notes

    def judged(self, original: Adapter, pool: Pool) -> tuple[Adapter, Verdict, np.ndarray]:
        """The accepted model, the guard's verdict, and the pool's embedding, near which an added copy is kept.

        Where nothing was learnt there is nothing to judge.
        """
        correction = self.corrected.correction if self.corrected else None
        if self.tuned is None and correction is None:
            return original.clone(), Verdict(False, 0.0, (), {}), pool.Z
        accepted, verdict = self.guard.judge(original, self.tuned, correction)
        if not verdict.accepted:
            return accepted, verdict, pool.Z
        beside = len(accepted.cores) > 1
        Z = (accepted.tuned_branch() if beside else accepted).embed_graphs(pool.graphs)[0]
        if lost := int((~np.isfinite(Z)).sum()):
            return original.clone(), verdict.diverged(lost), pool.Z
        if not beside:
            return accepted, verdict, Z
        accepted.bound(Z)
        return accepted, verdict, np.hstack([pool.Z, Z])


def train_copy(
    adapter: Adapter,
    pool: Pool,
    proposals: list[Proposal],
    objective: str,
    oracle: tuple[str, Source] | None,
    config: FillConfig,
    seed: int,
    state: RunState,
    labels: Labels | None,
) -> Trained:
    """Train a copy on proposals, with the guard watching, and solve a potential's correction where there are labels.

    Args:
        adapter: of the original.
        pool: known crystals; a part of them is held out for the guard.
        proposals: crystals to learn from.
        objective: as in :func:`matgl_fill.fill_tune`.
        oracle: name and source of labels, if there is one.
        config: settings, resolved for the model.
        seed: of all random choices.
        state: where labels and the training are saved.
        labels: of the proposals, if they came with any.

    Raises:
        OracleError: the oracle fails on too many crystals.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pool.structures))
    cut = min(max(int(config.holdout * len(order)), 5), MAX_HOLDOUT)
    held, rest = order[:cut], order[cut:]
    guard = Guard(
        adapter,
        [pool.structures[i] for i in held],
        [pool.graphs[i] for i in held],
        pool.Z[held],
        pool.y[held],
        config,
    )
    crystals = [p.structure for p in proposals]
    copies = training_augmentations(
        crystals, [pool.structures[i] for i in rest], elements_of(pool.structures), config, rng
    )
    cut = config.oracle_copies * len(crystals) if labels is None else 0
    tuned = adapter.tuned_branch() if config.form == "add" else adapter.clone()
    Z = tuned.embed_graphs(pool.graphs)[0] if tuned.is_branch and tuned.reads_branch_apart else pool.Z
    known = (pool.structures, Z, pool.y, pool.D)
    teaching = (crystals + copies[:cut], copies[cut:])
    made = make_objectives(tuned, *known, *teaching, objective, oracle, config, rng, state.responses, labels)
    corrected = None
    if made.lesson is not None and can_correct(adapter) and config.form != "overwrite":
        apart = [pool.structures[i] for i in rest]
        corrected = make_correction(adapter, made.lesson, apart, config, seed, state.tangents)
    if config.form == "correct":
        return Trained(None, {}, None, made, corrected, guard)
    small = rest[np.argsort([pool.graphs[i].n_edges for i in rest], kind="stable")[: -(-len(rest) * 3 // 4)]]
    replayed = rng.permutation(small)[: config.replay_size]
    graphs = [pool.graphs[i] for i in replayed]
    atoms = np.array([len(pool.structures[i]) for i in replayed])
    weights = (config.replay_weight or 0.0, config.prediction_weight or 0.0)
    replay = Replay(Z, replayed, adapter.intensive(pool.y[replayed], atoms), weights)
    seconds = training_seconds(pool.seconds_per_edge, made.objectives, graphs, config)
    console.print(f"training for {config.steps} steps, about {seconds:.0f} s", highlight=False)
    stop = EarlyStop(partial(guard.errors_beside, tuned)) if tuned.is_branch else None
    history = fit(tuned, made.objectives, replay, graphs, config, seed, state.file(TRAINING), stop)
    return Trained(tuned, history, stop, made, corrected, guard)
