"""Objectives on labelled crystals, built for a request ("auto", with or without an oracle)."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pymatgen.core import Structure

from matgl_fill.errors import MatglFillWarning, OracleError
from matgl_fill.structures import elements_of
from matgl_fill.training.labels import LabelledSet, Oracle, Responses, Source, elemental_shifts
from matgl_fill.training.labels.oracle import MAX_FORCE
from matgl_fill.training.objectives import Objective, OracleObjective, ReadoutObjective
from matgl_fill.training.registry import ObjectiveContext, label_free

ALIGN_ATOMS = 12
"""Largest number of atoms of the pool crystals that align the oracle and start its head."""
SUPPLIED = "labelled crystals"
"""Name of the oracle where the labels came with the crystals."""
COVERED = 3
"""Least number of these pool crystals that hold each element of the crystals that are learnt from."""


class Ask(Protocol):
    """Function that asks a source about crystals, such as :func:`matgl_fill.training.labels.responses`."""

    def __call__(self, structures: Sequence[Structure], source: Source, *, plain: bool = False) -> Responses:
        """Responses and labels of the source; only the labels if ``plain``."""


@dataclass(frozen=True)
class Alignment:
    """Alignment of an oracle's level of theory to the model's.

    Attributes:
        unexplained_eV_per_atom: Root mean square of what elemental energies leave unexplained.
        shifts_eV_per_atom: Elemental energies that were subtracted, by symbol.
        crystals: Number of crystals that the elemental energies were fitted to.
    """

    unexplained_eV_per_atom: float  # noqa: N815, the unit is part of the name in the report
    shifts_eV_per_atom: dict[str, float]  # noqa: N815
    crystals: int


@dataclass(frozen=True)
class ObjectiveSet:
    """Objectives, and the source of their labels.

    Attributes:
        objectives: Terms of the loss.
        oracle: Name of the oracle, if one was used.
        alignment: Alignment of the oracle's level of theory, if one was used.
        labelled: Crystals with aligned labels, if there are any.
    """

    objectives: list[Objective]
    oracle: str | None = None
    alignment: Alignment | None = None
    labelled: LabelledSet | None = None


def build_objectives(context: ObjectiveContext, objective: str, oracle: Oracle | None, ask: Ask) -> ObjectiveSet:
    """Build the objectives for a training set.

    Args:
        context: Context of the copy that is trained.
        objective: Name of the objective, as in :func:`matgl_fill.fill_tune`.
        oracle: Oracle that labels, if there is one.
        ask: Function that asks the oracle.

    Raises:
        OracleError: The oracle fails on more than half of the crystals.
    """
    form, labels = context.settings.form, context.training_set.labels
    if form == "correct":
        return _labels_alone(context, oracle, ask)
    objectives = label_free(objective, context)
    if labels is not None:
        supplied = LabelledSet(context.training_set.crystals, labels)
        term, alignment = _supplied_term(context, supplied)
        return ObjectiveSet([*objectives, term], SUPPLIED, alignment, LabelledSet(supplied.structures, term.labels))
    if oracle is not None:
        return _with_oracle(context, objectives, oracle, ask)
    if context.adapter.is_potential and form == "overwrite":
        return ObjectiveSet([*objectives, *_held_terms(context, ask)])
    return ObjectiveSet(objectives)


def _labels_alone(context: ObjectiveContext, oracle: Oracle | None, ask: Ask) -> ObjectiveSet:
    """Aligned labels without objectives, for a correction; arguments as of :func:`build_objectives`."""
    crystals, labels = context.training_set.crystals, context.training_set.labels
    if labels is not None:
        own = context.adapter.embed_graphs(context.adapter.graphs(crystals))[1]
        supplied = LabelledSet(crystals, labels)
        aligned, _, alignment = _aligned(context, supplied, own, supplied)
        return ObjectiveSet([], SUPPLIED, alignment, aligned)
    assert oracle is not None
    new, reference, rows = _asked(context, oracle.name, oracle.source, ask, plain=True)
    aligned, _, alignment = _aligned(context, reference.labelled, context.pool.y[rows], new.labelled)
    return ObjectiveSet([], oracle.name, alignment, aligned)


def _with_oracle(context: ObjectiveContext, objectives: list[Objective], oracle: Oracle, ask: Ask) -> ObjectiveSet:
    """Label-free objectives, the oracle's labels, and the responses that it gives."""
    new, reference, rows = _asked(context, oracle.name, oracle.source, ask)
    aligned, known, alignment = _aligned(context, reference.labelled, context.pool.y[rows], new.labelled)
    head = None if context.adapter.is_potential else (context.pool.Z[rows], known.energy_per_atom)
    term = OracleObjective(
        "oracle", aligned.structures, aligned.labels, context.settings.oracle_weight, context.scale, head
    )
    Y = np.column_stack([new.values, aligned.energy_per_atom])
    Y_known = np.column_stack([reference.values, known.energy_per_atom])
    response = _response_term(context, rows, Y_known, aligned.structures, Y)
    return ObjectiveSet([*objectives, term, response], oracle.name, alignment, aligned)


def _held_terms(context: ObjectiveContext, ask: Ask) -> list[Objective]:
    """Objectives that hold an overwritten potential to its own energies, forces, stresses and responses."""
    new, reference, rows = _asked(context, "model itself", context.adapter, ask)
    labels, weight = new.labelled.labels, context.settings.force_replay_weight
    held = OracleObjective("force replay", new.labelled.structures, labels, weight, context.scale, None)
    return [held, _response_term(context, rows, reference.values, new.labelled.structures, new.values)]


def _response_term(
    context: ObjectiveContext, rows: np.ndarray, known: np.ndarray, crystals: list[Structure], values: np.ndarray
) -> ReadoutObjective:
    """The objective of responses: ``values`` (m, k) of new crystals; ``known`` (n, k) of pool rows start the head."""
    weight = context.settings.response_weight
    return ReadoutObjective("response", context.scale, (context.pool.Z[rows], known), crystals, values, weight)


def _supplied_term(context: ObjectiveContext, supplied: LabelledSet) -> tuple[OracleObjective, Alignment]:
    """The term of crystals that came with labels, whose own energies align the level of theory and start the head."""
    adapter = context.adapter
    Z, y = adapter.embed_graphs(adapter.graphs(supplied.structures))
    aligned, _, alignment = _aligned(context, supplied, y, supplied)
    head = None if adapter.is_potential else (Z, aligned.energy_per_atom)
    weight = context.settings.oracle_weight
    return OracleObjective("labels", aligned.structures, aligned.labels, weight, context.scale, head), alignment


@dataclass(frozen=True)
class _Answer:
    """Labels and responses of the crystals that a source could label."""

    labelled: LabelledSet
    values: np.ndarray


def _asked(
    context: ObjectiveContext, name: str, source: Source, ask: Ask, plain: bool = False
) -> tuple[_Answer, _Answer, np.ndarray]:
    """Answers of a source for the training set and for pool crystals to align it by, and the latter's rows."""
    pool, crystals = context.pool.structures, context.training_set.crystals
    sample = np.array(alignment_sample(pool, crystals, context.settings.align_size, context.rng))
    new, usable = usable_answers(ask(crystals, source, plain=plain), name)
    reference, good = usable_answers(ask([pool[i] for i in sample], source, plain=plain), name)
    rows = sample[good]
    return (
        _Answer(LabelledSet([crystals[i] for i in usable], new.labels), new.values),
        _Answer(LabelledSet([pool[i] for i in rows], reference.labels), reference.values),
        rows,
    )


def usable_answers(responses: Responses, name: str) -> tuple[Responses, np.ndarray]:
    """Responses of the crystals that could be labelled, and their indices."""
    good, n = np.flatnonzero(responses.usable()), len(responses)
    if len(good) < n / 2:
        raise OracleError(
            f"the oracle {name} gave usable labels for {len(good)} of {n} crystals; try it on one of them first."
        )
    if len(good) < n:
        warnings.warn(
            f"{n - len(good)} of {n} crystals left out: {name} failed, or gave forces above {MAX_FORCE:g} eV/A.",
            MatglFillWarning,
            stacklevel=2,
        )
    return responses.subset(good), good


def _aligned(
    context: ObjectiveContext, reference: LabelledSet, own: np.ndarray, new: LabelledSet
) -> tuple[LabelledSet, LabelledSet, Alignment]:
    """New crystals and the reference's without elemental energies, and what these leave unexplained.

    For potentials the shifts take the oracle to the potential's level of theory; otherwise they take out what the
    elements alone explain.

    Args:
        context: Context of the model.
        reference: Crystals that the shifts are fitted to.
        own: Energies of these crystals by the model, (n,), eV per cell.
        new: Crystals that are shifted too.
    """
    adapter = context.adapter
    zero = own if adapter.is_potential else np.zeros(len(reference))
    difference = reference.labels.energy - zero
    shifts, rest = elemental_shifts(reference.structures, difference, adapter.element_types)
    alignment = Alignment(rest, {e: round(shifts[e], 4) for e in elements_of(reference.structures)}, len(reference))
    return new.shifted(shifts), reference.shifted(shifts), alignment


def covering(
    pool: Sequence[Structure], order: Sequence[int], elements: set[str], times: int, seen: Counter[str] | None = None
) -> list[int]:
    """Rows of crystals, taken in order, in which each element occurs often enough, as far as the pool allows.

    Args:
        pool: Crystals to choose from.
        order: Rows of the crystals that may be taken, in the order in which they are tried.
        elements: Elements that have to occur.
        times: Number of crystals in which each element has to occur.
        seen: Number of crystals in which each element occurs already.
    """
    count, rows = Counter(seen), []
    for i in order:
        present = {e.symbol for e in pool[i].elements} & elements
        if any(count[e] < times for e in present):
            rows.append(i)
            count.update(present)
    return rows


def alignment_sample(
    pool: Sequence[Structure], crystals: Sequence[Structure], size: int, rng: np.random.Generator
) -> list[int]:
    """Rows of small pool crystals, on which an oracle is cheap: random ones, and those that cover all elements.

    An element that the sample lacks would get no reference energy, and crystals that hold it would get labels that are
    wrong by electronvolts.

    Args:
        pool: The n crystals of the pool.
        crystals: Crystals whose elements have to occur :data:`COVERED` times each, as far as they do in the pool.
        size: Size of the random part.
        rng: Generator that draws the random part.
    """
    small = [i for i, s in enumerate(pool) if len(s) <= ALIGN_ATOMS] or list(range(len(pool)))
    order = [small[i] for i in rng.permutation(len(small))]
    chosen, rest = order[:size], order[size:] + sorted(set(range(len(pool))) - set(small))
    wanted = set(elements_of(crystals))
    seen = Counter(e.symbol for i in chosen for e in pool[i].elements)
    return chosen + covering(pool, rest, wanted, COVERED, seen)
