"""From a request ("auto", with or without an oracle) to objectives on labelled crystals."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pymatgen.core import Structure

from matgl_fill.errors import MatglFillWarning, OracleError
from matgl_fill.training.labels import LabelledSet, Oracle, Responses, Source, elemental_shifts
from matgl_fill.training.objectives import Objective, OracleObjective, ReadoutObjective
from matgl_fill.training.registry import ObjectiveContext, label_free

ALIGN_ATOMS = 12
"""Pool crystals up to this size align the oracle and start its head."""
SUPPLIED = "labelled crystals"
"""What the oracle is called where the labels came with the crystals."""
COVERED = 3
"""Of them at least so many hold each element of the crystals that are learnt from."""


class Ask(Protocol):
    """Asks a source about crystals, as :func:`matgl_fill.training.labels.responses` does."""

    def __call__(self, structures: Sequence[Structure], source: Source, *, plain: bool = False) -> Responses:
        """What the source says; only its labels, without responses, if ``plain``."""


@dataclass(frozen=True)
class Alignment:
    """How an oracle's level of theory was aligned to the model's.

    Attributes:
        unexplained_eV_per_atom: root mean square of what elemental energies leave unexplained.
        shifts_eV_per_atom: elemental energies that were taken off, by symbol.
        crystals: that they were fitted to.
    """

    unexplained_eV_per_atom: float  # noqa: N815, the unit is part of the name in the report
    shifts_eV_per_atom: dict[str, float]  # noqa: N815
    crystals: int


@dataclass(frozen=True)
class ObjectiveSet:
    """Objectives, and where their labels come from.

    Attributes:
        objectives: terms of the loss.
        oracle: name of the oracle, if one was used.
        alignment: of the oracle's level of theory, if one was used.
        labelled: crystals with aligned labels, if there are any.
    """

    objectives: list[Objective]
    oracle: str | None = None
    alignment: Alignment | None = None
    labelled: LabelledSet | None = None


def build_objectives(context: ObjectiveContext, objective: str, oracle: Oracle | None, ask: Ask) -> ObjectiveSet:
    """Objectives for a training set.

    Args:
        context: of the copy that is trained.
        objective: as in :func:`matgl_fill.fill_tune`.
        oracle: that labels, if there is one.
        ask: asks it.

    Raises:
        OracleError: the oracle fails on more than half of the crystals.
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
    """What holds an overwritten potential: its own energies, forces, stresses and responses."""
    new, reference, rows = _asked(context, "model itself", context.adapter, ask)
    labels, weight = new.labelled.labels, context.settings.force_replay_weight
    held = OracleObjective("force replay", new.labelled.structures, labels, weight, context.scale, None)
    return [held, _response_term(context, rows, reference.values, new.labelled.structures, new.values)]


def _response_term(
    context: ObjectiveContext, rows: np.ndarray, known: np.ndarray, crystals: list[Structure], values: np.ndarray
) -> ReadoutObjective:
    """The objective of responses: of the pool crystals ``rows`` (n, k), to start the head, and of new ones (m, k)."""
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
    """What a source said of the crystals that it could label."""

    labelled: LabelledSet
    values: np.ndarray


def _asked(
    context: ObjectiveContext, name: str, source: Source, ask: Ask, plain: bool = False
) -> tuple[_Answer, _Answer, np.ndarray]:
    """What a source says of the training set and of pool crystals to align it by, and the rows of these in the pool."""
    pool, crystals = context.pool.structures, context.training_set.crystals
    sample = np.array(alignment_sample(pool, crystals, context.settings.align_size, context.rng))
    new, usable = _usable(ask(crystals, source, plain=plain), name)
    reference, good = _usable(ask([pool[i] for i in sample], source, plain=plain), name)
    rows = sample[good]
    return (
        _Answer(LabelledSet([crystals[i] for i in usable], new.labels), new.values),
        _Answer(LabelledSet([pool[i] for i in rows], reference.labels), reference.values),
        rows,
    )


def _usable(responses: Responses, name: str) -> tuple[Responses, np.ndarray]:
    """What was said of the crystals that could be labelled, and their indices."""
    good, n = np.flatnonzero(responses.usable()), len(responses)
    if len(good) < n / 2:
        raise OracleError(f"the oracle {name} gave usable labels for {len(good)} of {n} crystals only.")
    if len(good) < n:
        warnings.warn(
            f"{n - len(good)} of {n} crystals dropped: {name} failed on them or its forces are extreme.",
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
        context: of the model.
        reference: crystals that the shifts are fitted to.
        own: (n,) the model's energies of them, eV per cell.
        new: crystals to be shifted too.
    """
    adapter = context.adapter
    zero = own if adapter.is_potential else np.zeros(len(reference))
    difference = reference.labels.energy - zero
    shifts, rest = elemental_shifts(reference.structures, difference, adapter.element_types)
    present = sorted({e.symbol for s in reference.structures for e in s.elements})
    alignment = Alignment(rest, {e: round(shifts[e], 4) for e in present}, len(reference))
    return new.shifted(shifts), reference.shifted(shifts), alignment


def covering(
    pool: Sequence[Structure], order: Sequence[int], elements: set[str], times: int, seen: Counter[str] | None = None
) -> list[int]:
    """Rows of crystals, taken in an order, by which each element occurs a number of times, as far as it does at all.

    Args:
        pool: crystals.
        order: rows of those that may be taken.
        elements: that have to occur.
        times: how often.
        seen: how often they occur already.
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

    An element that the sample lacks would get no reference energy, and the crystals that hold it labels that are wrong
    by electronvolts.

    Args:
        pool: (n) known crystals.
        crystals: those whose elements have to occur :data:`COVERED` times each, as far as they do in the pool.
        size: of the random part.
        rng: draws it.
    """
    small = [i for i, s in enumerate(pool) if len(s) <= ALIGN_ATOMS] or list(range(len(pool)))
    order = [small[i] for i in rng.permutation(len(small))]
    chosen, rest = order[:size], order[size:] + sorted(set(range(len(pool))) - set(small))
    wanted = {e.symbol for s in crystals for e in s.elements}
    seen = Counter(e.symbol for i in chosen for e in pool[i].elements)
    return chosen + covering(pool, rest, wanted, COVERED, seen)
