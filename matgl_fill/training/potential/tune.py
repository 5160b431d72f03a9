"""A potential learns from labelled crystals of a class, and stays as it was elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter
from matgl_fill.config.config import ResolvedTraining
from matgl_fill.embedding import Pool, usable_crystals
from matgl_fill.errors import OracleError
from matgl_fill.generation import Proposal
from matgl_fill.guard import CrystalClass, LabelGuard, folds_by_formula
from matgl_fill.structures import formulas_of
from matgl_fill.training.build import SUPPLIED, Alignment, ObjectiveSet, usable_answers
from matgl_fill.training.cost import seconds_per_step
from matgl_fill.training.judgement import Judgement
from matgl_fill.training.labels import LabelledSet, Labels, elemental_shifts
from matgl_fill.training.objectives import Objective
from matgl_fill.training.potential.copies import Copy, train_copies
from matgl_fill.training.potential.crystals import crystals_at_rest, general_crystals, own_labels
from matgl_fill.training.potential.objective import EVEN, PotentialObjective, Shares
from matgl_fill.training.potential.plausible import check_labels
from matgl_fill.training.request import FillRequest
from matgl_fill.training.run_state import TRAINING, RunState

AT_REST: Shares = (1.0, 4.0, 1.0)
"""Weights of energies, forces and stresses on the class at rest, where forces are small and matter most."""
BATCH_ATOMS = 100
"""Number of atoms in a step, of labelled crystals and of others, about, at most: large crystals are taken singly."""
GENERAL, ELSEWHERE = 1000, 200
"""Number of general crystals among which those to replay are found, and number of those that the guard judges on."""

OPEN = 0.1
"""Share of general crystals made of the class's elements alone, up to which no general crystals are replayed."""


@dataclass(frozen=True)
class PotentialOutcome:
    """Outcome of training a potential on labels, before the guard judges it.

    Attributes:
        copies: Adapters of the trained copies, each of which lacks one fold of the labels; one alone where there are
            too few labels for folds. Their mean is what is handed over.
        history: Losses of the training, by term, mean over the copies.
        objectives: Terms of the loss, alignment, and the labels that were learnt from.
        guard: Guard that is to judge the outcome.
        gate: Elements among whose atoms alone the trained weights act; None if they replace the original's.
        correction: None: the weights themselves were trained.
        notes: None.
    """

    copies: tuple[Adapter, ...]
    history: dict[str, list[float]]
    objectives: ObjectiveSet
    guard: LabelGuard
    gate: tuple[str, ...] | None
    correction: None = None
    notes: tuple[str, ...] = ()

    def placed(self, original: Adapter, weights: Adapter) -> Adapter:
        """Put the weights of a copy to use: gated, or as they are."""
        return weights if self.gate is None else original.with_tuned_core(weights, self.gate)

    def judged(self, original: Adapter, pool: Pool) -> Judgement:
        """Let the guard judge the outcome.

        Args:
            original: Adapter of the original potential.
            pool: Pool of the run.
        """
        accepted, found = self.guard.judge(original, self.copies, partial(self.placed, original))
        kept = self.gate is not None or not found.verdict.accepted
        Z = pool.Z if kept else accepted.embed_graphs(pool.graphs)[0]
        return Judgement(accepted, found.verdict, Z, found.comparison, found.unjudged)


def tune_potential(
    request: FillRequest, pool: Pool, proposals: list[Proposal], labels: Labels | None, state: RunState
) -> PotentialOutcome:
    """Train copies of a potential on labelled crystals, and hold them to it where it should stay as it was.

    Each of :data:`~matgl_fill.guard.labels.FOLDS` copies learns from all labels but those of one fold, which judges it,
    and the mean of their weights is handed over (bagging): it has learnt from all labels, and varies less than one
    training. Energies are moved to the potential's own elemental references first (ridge regression). The original's
    own energies, forces and stresses are replayed on crystals of the class at rest, and on crystals outside of the
    class too where the trained weights act on these: where they replace the original's, or the class has many elements.

    Args:
        request: Checked request of the run.
        pool: Pool of the run.
        proposals: Crystals to learn from.
        labels: Labels of the proposals, if they came with any; otherwise the request's oracle labels them.
        state: State of the run, in which labels and the training are saved.

    Raises:
        InputError: The labels are in other units, have another sign, or are one crystal's results on all.
        OracleError: The oracle fails on too many crystals.
    """
    adapter, settings = request.adapter, request.settings.training
    name, labelled = _labelled(request, [p.structure for p in proposals], labels, state)
    if labels is not None:
        check_labels(adapter, labelled, name)
    folds = folds_by_formula(labelled.structures, request.seed)
    own = adapter.embed_graphs(adapter.graphs(labelled.structures))[1]
    alignment, aligned = _aligned(adapter, labelled, own, np.arange(len(labelled)))
    kind = CrystalClass(adapter, aligned.structures)
    gate = kind.elements if settings.form == "add" else None
    judged = outside(adapter, kind, general_crystals(adapter.element_types, ELSEWHERE, request.seed + 1))
    held = [
        held_to_itself(
            "class at rest", adapter, crystals_at_rest(adapter, pool, aligned, request.seed), settings, AT_REST
        )
    ]
    if gate is None or sum(kind.has_elements_of(s) for s in judged) > OPEN * len(judged):
        general = outside(adapter, kind, general_crystals(adapter.element_types, GENERAL, request.seed))
        known = set(formulas_of(judged))
        replayed = [s for s, formula in zip(general, formulas_of(general), strict=True) if formula not in known]
        held.append(held_to_itself("outside of the class", adapter, replayed, settings))
    held = [term for term in held if len(term.structures)]
    # what judges must not have fitted the elemental shifts by which it is judged
    apart = [(fold, _aligned(adapter, labelled, own, fold.taught)[1]) for fold in folds]
    guard = LabelGuard(adapter, [known.subset(fold.judged) for fold, known in apart], judged, request.settings.guard)
    batch = crystals_per_step(aligned, settings.batch_size)
    taught = [known.subset(fold.taught) for fold, known in apart] or [aligned]
    lessons: list[list[Objective]] = [[PotentialObjective("labels", x, 1.0, batch), *held] for x in taught]
    copies, history = _trained(request, lessons, state)
    whole = ObjectiveSet([PotentialObjective("labels", aligned, 1.0, batch), *held], name, alignment, aligned)
    return PotentialOutcome(copies, history, whole, guard, gate)


def held_to_itself(
    name: str, adapter: Adapter, crystals: list[Structure], settings: ResolvedTraining, shares: Shares = EVEN
) -> PotentialObjective:
    """Term that holds a potential to its own energies, forces and stresses on crystals."""
    known = own_labels(adapter, crystals)
    batch = crystals_per_step(known, settings.replay_batch)
    return PotentialObjective(name, known, settings.force_replay_weight, batch, shares)


def _trained(
    request: FillRequest, lessons: Sequence[list[Objective]], state: RunState
) -> tuple[tuple[Adapter, ...], dict[str, list[float]]]:
    """One trained copy for each lesson, and the mean of their losses."""
    settings = request.settings.training
    copies = [
        Copy(request.adapter.clone(), lesson, request.seed + k, state.file(f"{k}-{TRAINING}"))
        for k, lesson in enumerate(lessons)
    ]
    seconds = len(copies) * settings.steps * seconds_per_step(request.adapter, lessons[0], None, settings)
    histories = train_copies(copies, settings, seconds)
    means = {name: np.mean([history[name] for history in histories], axis=0).tolist() for name in histories[0]}
    return tuple(copy.adapter for copy in copies), means


def crystals_per_step(labelled: LabelledSet, largest: int) -> int:
    """Number of labelled crystals in a step: at most ``largest``, and fewer where they have many atoms."""
    atoms = float(np.mean([len(s) for s in labelled.structures])) if len(labelled) else 1.0
    return max(1, min(largest, round(BATCH_ATOMS / atoms)))


def _labelled(
    request: FillRequest, crystals: list[Structure], labels: Labels | None, state: RunState
) -> tuple[str, LabelledSet]:
    """Name of the source of the labels, and the crystals that it labelled."""
    if labels is not None:
        return SUPPLIED, LabelledSet(crystals, labels)
    oracle = request.oracle
    if oracle is None:
        raise OracleError("a potential learns from labels: give labelled crystals or an oracle.")
    answers, rows = usable_answers(state.responses(crystals, oracle.source, plain=True), oracle.name)
    return oracle.name, LabelledSet([crystals[i] for i in rows], answers.labels)


def _aligned(
    adapter: Adapter, labelled: LabelledSet, own: np.ndarray, rows: np.ndarray
) -> tuple[Alignment, LabelledSet]:
    """Elemental shifts fitted to the crystals of some rows, and all crystals with energies that lack them.

    Args:
        adapter: Adapter of the original potential.
        labelled: The n labelled crystals.
        own: Energies (n,) that the potential gives them, eV.
        rows: Rows to which the shifts are fitted.
    """
    fitted = [i for i in rows if np.isfinite(labelled.labels.energy[i])]
    known = labelled.subset(fitted)
    shifts, rest = elemental_shifts(known.structures, known.labels.energy - own[fitted], adapter.element_types)
    used = {e.symbol: round(shifts[e.symbol], 4) for s in known.structures for e in s.elements}
    return Alignment(rest, dict(sorted(used.items())), len(fitted)), labelled.shifted(shifts)


def outside(adapter: Adapter, kind: CrystalClass, crystals: list[Structure]) -> list[Structure]:
    """Crystals that the potential can take and that are not of a class."""
    usable = usable_crystals(adapter, formulas_of(crystals), crystals, graphs=True)
    kept = [crystals[i] for i in usable.rows]
    if not kept:
        return []
    return [s for s, out in zip(kept, kind.outside(adapter, kept, usable.graphs), strict=True) if out]
