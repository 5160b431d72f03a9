"""How right a potential's physics is: relaxed volume, elastic moduli and heat capacity of crystals against DFT."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from matgl_fill.adapters import Adapter, evaluation_mode, get_adapter
from matgl_fill.embedding import usable_crystals
from matgl_fill.errors import InputError, ModelError
from matgl_fill.evaluation.crystal_properties import PROPERTIES, load_matcalc, measure
from matgl_fill.evaluation.potential import ErrorChange, change_table
from matgl_fill.structures import Skipped, StructureSet, formulas_of, read_structures
from matgl_fill.utils.checkpoint import Checkpoint
from matgl_fill.utils.console import track
from matgl_fill.utils.hashing import hash_model, hash_parts, hash_structure
from matgl_fill.utils.modes import single_precision, usual_autograd
from matgl_fill.utils.validation import as_int

SAVE_SECONDS = 10.0
"""Time between two savings of what has been calculated."""


@dataclass(frozen=True)
class PhysicsRow:
    """A property of one crystal by a potential and by reference.

    Attributes:
        id: Id of the crystal.
        formula: Reduced formula of the crystal.
        property: One of ``PROPERTIES``.
        unit: Unit of both values.
        reference: Value of the reference, DFT as a rule.
        predicted: Value of the potential; None where its calculation failed.
        remark: Why there is no value, or what speaks against the one there is; empty otherwise.
    """

    id: str
    formula: str
    property: str
    unit: str
    reference: float
    predicted: float | None
    remark: str


@dataclass(frozen=True)
class PhysicsResult:
    """Properties of crystals by a potential and by reference.

    Attributes:
        rows: A row for each property of each crystal that has a reference.
        skipped: Crystals that were left out before anything was calculated, and why.
    """

    rows: tuple[PhysicsRow, ...]
    skipped: list[Skipped]

    @property
    def properties(self) -> list[str]:
        """Names of the properties that have a reference."""
        return [name for name in PROPERTIES if any(row.property == name for row in self.rows)]

    @property
    def failed(self) -> list[PhysicsRow]:
        """Rows whose calculation failed."""
        return [row for row in self.rows if row.predicted is None]

    def errors(self, name: str) -> np.ndarray:
        """Absolute errors of a property, over the crystals whose calculation did not fail."""
        pairs = [(r.predicted, r.reference) for r in self.rows if r.property == name and r.predicted is not None]
        return np.abs([a - b for a, b in pairs])

    def mae(self, name: str) -> float:
        """Mean absolute error of a property over the crystals whose calculation did not fail; NaN without any."""
        errors = self.errors(name)
        return float(errors.mean()) if len(errors) else float("nan")

    def __rich__(self) -> Table:
        """Table for the terminal."""
        table = Table(title="Physics against the reference")
        table.add_column("property")
        for name in ("crystals", "failed", "mean absolute error", "median", "unit"):
            table.add_column(name, justify="right")
        for name in self.properties:
            errors, failed = self.errors(name), sum(row.property == name for row in self.failed)
            figures = [f"{f(errors):.4g}" if len(errors) else "" for f in (np.mean, np.median)]
            table.add_row(words(name), str(len(errors)), str(failed), *figures, PROPERTIES[name])
        return table


@dataclass(frozen=True)
class PhysicsComparison:
    """Errors of two potentials' properties, paired by crystal.

    Attributes:
        changes: Change of the error of each property, over the crystals for which both potentials gave a value.
        failed_before: Number of crystals for which only the calculation before failed, by property.
        failed_after: Number of crystals for which only the calculation after failed, by property.
        failed_both: Number of crystals for which both failed, by property.
    """

    changes: tuple[ErrorChange, ...]
    failed_before: dict[str, int]
    failed_after: dict[str, int]
    failed_both: dict[str, int]

    def __rich__(self) -> Table:
        """Table for the terminal."""
        lost = (sum(counts.values()) for counts in (self.failed_before, self.failed_after, self.failed_both))
        caption = "calculations that failed: {} only before, {} only after, {} in both".format(*lost)
        table = change_table("Physics against the reference", self.changes)
        table.caption = caption
        return table


def words(name: str) -> str:
    """Name of a property in words.

    >>> words("bulk_modulus_vrh")
    'bulk modulus'
    """
    return name.removesuffix("_vrh").replace("_", " ")


def made_of(references: StructureSet, elements: Collection[str], others: bool = False) -> StructureSet:
    """The crystals that are made of some elements only.

    Args:
        references: Crystals with their labels.
        elements: Symbols of the elements.
        others: Give all the other crystals instead.
    """
    allowed = set(elements)
    inside = [structure.chemical_system_set <= allowed for structure in references]
    return references.subset(np.array(inside, dtype=bool) != others)


def evaluate_physics(
    potential: Any, references: Any, limit: int | None = None, state: str | Path | None = None
) -> PhysicsResult:
    """Calculate relaxed volumes, elastic moduli and heat capacities by a potential, beside their references.

    Calculations are matcalc's (the extra ``physics``). Every crystal is relaxed first, its symmetry kept. A crystal
    whose calculation fails is reported in its row and does not stop the others.

    Args:
        potential: MatGL ``Potential``.
        references: Anything that :func:`matgl_fill.read_structures` reads, such as the files of matcalc's benchmarks.
            Labels of these names are references: ``bulk_modulus_vrh`` and ``shear_modulus_vrh`` in GPa,
            ``heat_capacity`` of a mole of cells at 300 K in J/(mol K), ``volume`` of the cell in cubic Angstrom.
            Without a ``volume`` the crystal is taken for relaxed by the reference, and the volume of its cell is one.
        limit: Largest number of crystals; they are drawn at random from those that the potential can take, always the
            same, and those of a smaller limit are among them.
        state: File that keeps what has been calculated: the same call goes on from it. It stays when all is done.

    Raises:
        InputError: matcalc is not installed, no crystal can be used, or the file is of other work.
        ModelError: The model is no potential.
    """
    adapter = potential if isinstance(potential, Adapter) else get_adapter(potential)
    if not adapter.is_potential:
        raise ModelError(f"{adapter.name} is a property model and has no forces; give a MatGL Potential.")
    load_matcalc()
    chosen, skipped = _chosen(adapter, read_structures(references), limit)
    targets = [_references(chosen, k) for k in range(len(chosen))]
    key = hash_parts(hash_model(adapter.model), *map(hash_structure, chosen), targets)
    checkpoint = Checkpoint(state, key, "an evaluation of physics")
    rows = [PhysicsRow(**row) for row in (checkpoint.load() or {"rows": []})["rows"]]
    done, saved = {row.id for row in rows}, time.monotonic()
    with evaluation_mode(adapter.model):
        for k in track(range(len(chosen)), "relaxing crystals, elasticity and phonons"):
            if chosen.ids[k] in done:
                continue
            rows += _rows(adapter, chosen, k, targets[k])
            if time.monotonic() - saved > SAVE_SECONDS:
                checkpoint.save({"rows": [asdict(row) for row in rows]})
                saved = time.monotonic()
    checkpoint.save({"rows": [asdict(row) for row in rows]})
    return PhysicsResult(tuple(rows), skipped)


def _chosen(adapter: Adapter, references: StructureSet, limit: int | None) -> tuple[StructureSet, list[Skipped]]:
    """The crystals to calculate, and those that cannot be used, with the reason."""
    if limit is not None and as_int("limit", limit) < 1:
        raise InputError(f"limit is {limit}; give at least 1.")
    usable = usable_crystals(adapter, references.ids, references.structures)
    skipped = references.skipped + usable.skipped
    if not usable.rows:
        why = f"; first: {skipped[0].where}: {skipped[0].reason}" if skipped else ""
        raise InputError(f"the potential can take 0 of {len(references)} crystals{why}.")
    rows = np.array(usable.rows)
    if limit is not None and limit < len(rows):
        rows = rows[np.sort(np.random.default_rng(0).permutation(len(rows))[:limit])]
    return replace(references.subset(rows), skipped=[]), skipped


def _references(crystals: StructureSet, k: int) -> dict[str, float]:
    """References of one crystal in the units of ``PROPERTIES``."""
    found = {name: float(crystals.labels[name][k]) for name in PROPERTIES if name in crystals.labels}
    structure = crystals.structures[k]
    if not np.isfinite(found.get("volume", np.nan)):
        found["volume"] = structure.volume
    found["volume"] /= len(structure)
    return {name: found[name] for name in PROPERTIES if np.isfinite(found.get(name, np.nan))}


@usual_autograd()
def _rows(adapter: Adapter, crystals: StructureSet, k: int, references: dict[str, float]) -> list[PhysicsRow]:
    """Rows of one crystal."""
    structure = crystals.structures[k]
    with single_precision(adapter.model):
        found = measure(adapter.model, structure, list(references))
    formula = formulas_of([structure])[0]
    return [
        PhysicsRow(crystals.ids[k], formula, name, PROPERTIES[name], reference, found[name].value, found[name].remark)
        for name, reference in references.items()
    ]


def compare_physics(before: PhysicsResult, after: PhysicsResult) -> PhysicsComparison:
    """Compare the physics of two potentials, paired by crystal.

    Raises:
        InputError: They are not of the same crystals and references.
    """
    if [(r.id, r.property, r.reference) for r in before.rows] != [(r.id, r.property, r.reference) for r in after.rows]:
        raise InputError("physics of different crystals cannot be compared; evaluate both potentials on the same ones.")
    changes, lost = [], []
    for name in before.properties:
        pairs = [(a, b) for a, b in zip(before.rows, after.rows, strict=True) if a.property == name]
        both = [(a, b) for a, b in pairs if a.predicted is not None and b.predicted is not None]
        was, now = (np.array([_error(pair[side]) for pair in both]) for side in (0, 1))
        changes.append(ErrorChange.of(words(name), PROPERTIES[name], was, now, [a.formula for a, _ in both]))
        lost.append([(a.predicted is None, b.predicted is None) for a, b in pairs])
    failed = [
        {name: marks.count(kind) for name, marks in zip(before.properties, lost, strict=True)}
        for kind in ((True, False), (False, True), (True, True))
    ]
    return PhysicsComparison(tuple(changes), *failed)


def _error(row: PhysicsRow) -> float:
    """Absolute error of a row that has a value."""
    assert row.predicted is not None
    return abs(row.predicted - row.reference)


def physics_rows(results: Sequence[tuple[str, PhysicsResult]]) -> list[dict[str, Any]]:
    """Rows of a table of results, each with the name of its potential.

    Args:
        results: Name of each potential, with its result.
    """
    return [{"potential": name} | asdict(row) for name, result in results for row in result.rows]
