"""From a request ("auto", with or without an oracle) to objectives on labelled crystals."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter
from matgl_fill.config.config import FillConfig
from matgl_fill.errors import MatglFillWarning, OracleError
from matgl_fill.training.labels.oracle import Labels, Source, elemental_shifts
from matgl_fill.training.labels.stiffness import responses
from matgl_fill.training.objectives import Objective, OracleObjective, ReadoutObjective, Standardiser
from matgl_fill.training.registry import Material, label_free

ALIGN_ATOMS = 12
"""Pool crystals up to this size align the oracle and start its head."""
GIVEN = "labelled crystals"
"""What the oracle is called where the labels came with the crystals."""
COVERED = 3
"""Of them at least so many hold each element of the crystals that are learnt from."""


@dataclass(frozen=True)
class Made:
    """Objectives, and where their labels come from.

    Attributes:
        objectives: terms of the loss.
        oracle: name of the oracle, if one was used.
        alignment: what aligning the oracle's level of theory found, if one was used.
        lesson: labelled crystals and their aligned labels, if there are any.
    """

    objectives: list[Objective]
    oracle: str | None = None
    alignment: dict[str, Any] | None = None
    lesson: tuple[list[Structure], Labels] | None = None


def make_objectives(
    adapter: Adapter,
    pool: Sequence[Structure],
    Z: np.ndarray,
    y: np.ndarray,
    D: np.ndarray,
    fill: list[Structure],
    copies: list[Structure],
    objective: str,
    oracle: tuple[str, Source] | None,
    config: FillConfig,
    rng: np.random.Generator,
    respond: Callable[..., tuple[np.ndarray, Labels]] = responses,
    labels: Labels | None = None,
) -> Made:
    """Objectives for the crystals ``fill``.

    Args:
        adapter: of the original model.
        pool: (n) known crystals.
        Z: (n, dim) their embedding.
        y: (n,) their predictions.
        D: (n, k) their descriptors.
        fill: crystals that an oracle labels.
        copies: altered copies of them, which only label-free terms see besides.
        objective: as in :func:`matgl_fill.fill_tune`.
        oracle: its name and what labels, from :func:`matgl_fill.training.resolve`, if there is one.
        config: weights and sizes, resolved.
        rng: draws the pool crystals that align the oracle.
        respond: asks the oracle, as :func:`matgl_fill.training.labels.stiffness.responses` does.
        labels: of ``fill``, where they are known already; then no oracle is asked.

    Raises:
        OracleError: the oracle fails on more than half of the crystals.
    """
    if config.form == "correct":
        return _lesson(adapter, pool, y, fill, oracle, config, rng, respond, labels)
    scale = Standardiser(Z)
    objectives = label_free(objective, Material(adapter, scale, pool, Z, D, fill, copies, config, rng))
    if labels is not None:
        term, unexplained = _labelled(adapter, scale, fill, labels, config)
        return Made([*objectives, term], GIVEN, unexplained, (fill, term.labels))
    if oracle is None and not (adapter.is_potential and config.form == "overwrite"):
        return Made(objectives)
    name, source = oracle or (None, adapter)
    sample = alignment_sample(pool, fill, config.align_size, rng)
    usable, Y, labels = _usable(*respond(fill, source), name or "model itself")
    good, Y_known, known_labels = _usable(*respond([pool[i] for i in sample], source), name or "model itself")
    sample = [sample[i] for i in good]
    crystals, alignment, lesson = [fill[i] for i in usable], None, None
    if oracle is not None:
        known_crystals = [pool[i] for i in sample]
        energy, known_energy, alignment = _aligned(adapter, known_crystals, known_labels, y[sample], crystals, labels)
        aligned = Labels(energy, labels.forces, labels.stress)
        lesson = (crystals, aligned)
        head = None if adapter.is_potential else (Z[sample], _per_atom(known_energy, known_crystals))
        objectives.append(OracleObjective("oracle", crystals, aligned, config.oracle_weight or 0.0, scale, head))
        Y, Y_known = (
            np.column_stack([Y, _per_atom(energy, crystals)]),
            np.column_stack([Y_known, _per_atom(known_energy, known_crystals)]),
        )
    else:
        held = OracleObjective("force replay", crystals, labels, config.force_replay_weight, scale, None)
        objectives.append(held)
    objectives.append(
        ReadoutObjective("response", scale, (Z[sample], Y_known), crystals, Y, config.response_weight or 0.0)
    )
    return Made(objectives, name, alignment, lesson)


def _lesson(
    adapter: Adapter,
    pool: Sequence[Structure],
    y: np.ndarray,
    fill: list[Structure],
    oracle: tuple[str, Source] | None,
    config: FillConfig,
    rng: np.random.Generator,
    respond: Callable[..., tuple[np.ndarray, Labels]],
    labels: Labels | None,
) -> Made:
    """Aligned labels alone, for a correction without objectives; arguments as of :func:`make_objectives`."""
    if labels is not None:
        own = adapter.embed_graphs(adapter.graphs(fill))[1]
        energy, _, alignment = _aligned(adapter, fill, labels, own, fill, labels)
        return Made([], GIVEN, alignment, (fill, Labels(energy, labels.forces, labels.stress)))
    assert oracle is not None
    name, source = oracle
    sample = alignment_sample(pool, fill, config.align_size, rng)
    usable, _, labels = _usable(*respond(fill, source, plain=True), name)
    good, _, known_labels = _usable(*respond([pool[i] for i in sample], source, plain=True), name)
    sample, crystals = [sample[i] for i in good], [fill[i] for i in usable]
    known = [pool[i] for i in sample]
    energy, _, alignment = _aligned(adapter, known, known_labels, y[sample], crystals, labels)
    return Made([], name, alignment, (crystals, Labels(energy, labels.forces, labels.stress)))


def _labelled(
    adapter: Adapter, scale: Standardiser, crystals: list[Structure], labels: Labels, config: FillConfig
) -> tuple[OracleObjective, dict[str, Any]]:
    """The term of crystals that came with labels, whose own energies align the level of theory and start the head."""
    Z, y = adapter.embed_graphs(adapter.graphs(crystals))
    energy, _, alignment = _aligned(adapter, crystals, labels, y, crystals, labels)
    head = None if adapter.is_potential else (Z, _per_atom(energy, crystals))
    aligned = Labels(energy, labels.forces, labels.stress)
    return OracleObjective("labels", crystals, aligned, config.oracle_weight or 0.0, scale, head), alignment


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


def _per_atom(energy: np.ndarray, structures: Sequence[Structure]) -> np.ndarray:
    return energy / np.array([len(s) for s in structures])


def _usable(Y: np.ndarray, labels: Labels, name: str) -> tuple[np.ndarray, np.ndarray, Labels]:
    """Indices of the crystals that could be labelled, their responses and their labels."""
    good = np.flatnonzero(labels.usable() & np.isfinite(Y).all(axis=1))
    if len(good) < len(Y) / 2:
        raise OracleError(f"the oracle {name} gave usable labels for {len(good)} of {len(Y)} crystals only.")
    if len(good) < len(Y):
        lost = len(Y) - len(good)
        warnings.warn(
            f"{lost} of {len(Y)} crystals dropped: {name} failed on them or its forces are extreme.",
            MatglFillWarning,
            stacklevel=2,
        )
    return good, Y[good], labels.subset(good)


def _aligned(
    adapter: Adapter,
    known: list[Structure],
    known_labels: Labels,
    own: np.ndarray,
    crystals: list[Structure],
    labels: Labels,
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Energies (eV per cell) of both sets without elemental shifts, and what the shifts leave unexplained.

    For potentials the shifts take the oracle to the potential's level of theory; otherwise they take out what the
    elements alone explain.
    """
    reference = own if adapter.is_potential else np.zeros(len(known))
    shifts, rest = elemental_shifts(known, known_labels.energy - reference, adapter.element_types)
    moved = [
        lab.energy - np.array([sum(shifts[e.symbol] for e in s.species) for s in group])
        for lab, group in ((labels, crystals), (known_labels, known))
    ]
    present = sorted({e.symbol for s in known for e in s.elements})
    alignment = {
        "unexplained_eV_per_atom": rest,
        "shifts_eV_per_atom": {e: round(shifts[e], 4) for e in present},
        "crystals": len(known),
    }
    return moved[0], moved[1], alignment
