"""Errors of a potential's energies, forces and stresses on labelled crystals, and how they compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from pymatgen.core import Structure
from rich.table import Table

from matgl_fill.adapters import Adapter, get_adapter, predict
from matgl_fill.embedding import usable_crystals
from matgl_fill.errors import InputError
from matgl_fill.evaluation.intervals import ratio_interval
from matgl_fill.structures import Skipped, formulas_of

LARGE_FORCE = 1.0
"""Norm of the true force on an atom, eV/Angstrom, from which on it counts as large."""
REST_FORCE = 0.05
"""Largest true force on any atom, eV/Angstrom, below which a crystal counts as at rest."""
UNITS = {
    "energy": "eV/atom",
    "forces": "eV/A",
    "large forces": "eV/A",
    "forces at rest": "eV/A",
    "stress": "eV/A^3",
}
"""The measures of :class:`LabelErrors` with their units."""


class LabelArrays(Protocol):
    """Labels of n crystals; what was not calculated is NaN."""

    @property
    def energy(self) -> np.ndarray:
        """Energies of the cells, (n,), eV."""

    @property
    def forces(self) -> Sequence[np.ndarray]:
        """Forces, n arrays of shape (atoms, 3), eV/Angstrom."""

    @property
    def stress(self) -> np.ndarray:
        """dE/dstrain over the volume, (n, 3, 3), eV/Angstrom^3 (positive in tension, ASE's sign)."""


@dataclass(frozen=True)
class LabelErrors:
    """True and predicted labels of n crystals with N atoms in all, and the errors between them.

    A true value is NaN where there is no label. A prediction that is no number makes the mean error NaN.

    Attributes:
        rows: Row of each crystal in the list that was given, (n,).
        formulas: Reduced formula of each crystal, n.
        crystal: Crystal of each atom, (N,), 0 to n - 1.
        energy: True and predicted energies, (2, n), eV/atom.
        forces: True and predicted forces, (2, N, 3), eV/Angstrom.
        stress: True and predicted stresses, (2, n, 3, 3), eV/Angstrom^3.
        at_rest: Crystals that count as at rest, (n,).
        skipped: Crystals that the potential cannot take, with the reason; they are in none of the arrays.
    """

    rows: np.ndarray
    formulas: list[str]
    crystal: np.ndarray
    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray
    at_rest: np.ndarray
    skipped: list[Skipped]

    def __len__(self) -> int:
        """Number of crystals."""
        return len(self.formulas)

    @classmethod
    def joined(cls, parts: Sequence[LabelErrors]) -> LabelErrors:
        """Join errors on several lists of crystals, in which rows count on."""
        sizes = [len(part) for part in parts]
        first = np.cumsum([0, *sizes[:-1]])
        return cls(
            rows=np.concatenate([part.rows + k for part, k in zip(parts, first, strict=True)]),
            formulas=[formula for part in parts for formula in part.formulas],
            crystal=np.concatenate([part.crystal + k for part, k in zip(parts, first, strict=True)]),
            energy=np.concatenate([part.energy for part in parts], axis=1),
            forces=np.concatenate([part.forces for part in parts], axis=1),
            stress=np.concatenate([part.stress for part in parts], axis=1),
            at_rest=np.concatenate([part.at_rest for part in parts]),
            skipped=[left for part in parts for left in part.skipped],
        )

    def sums(self, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """Sum of the absolute errors of each crystal (n,) and the number of labels (n,) that it is over.

        Args:
            measure: One of ``UNITS``; for "large forces" only atoms count whose true force is at least
                ``LARGE_FORCE``, for "forces at rest" only crystals at rest.
        """
        if measure == "energy":
            true, error = self.energy[0], np.abs(self.energy[1] - self.energy[0])
            crystal = np.arange(len(self))
        elif measure == "stress":
            true, error = self.stress[0].ravel(), np.abs(self.stress[1] - self.stress[0]).ravel()
            crystal = np.repeat(np.arange(len(self)), 9)
        else:
            keep = self._atoms(measure)
            true, error = self.forces[0, keep].ravel(), np.abs(self.forces[1, keep] - self.forces[0, keep]).ravel()
            crystal = np.repeat(self.crystal[keep], 3)
        known = ~np.isnan(true)
        total = np.bincount(crystal[known], weights=error[known], minlength=len(self))
        return total, np.bincount(crystal[known], minlength=len(self))

    def _atoms(self, measure: str) -> np.ndarray:
        """Mask (N,) of the atoms whose forces a measure is over."""
        if measure == "large forces":
            return np.linalg.norm(self.forces[0], axis=1) >= LARGE_FORCE
        return self.at_rest[self.crystal] if measure == "forces at rest" else np.ones(len(self.crystal), dtype=bool)

    def crystal_errors(self, measure: str) -> np.ndarray:
        """Mean absolute error of each crystal (n,) by a measure of ``UNITS``; NaN where it has no such label."""
        total, count = self.sums(measure)
        return np.divide(total, count, out=np.full(len(self), np.nan), where=count > 0)

    def mae(self, measure: str) -> float:
        """Mean absolute error over all labels by a measure of ``UNITS``; NaN where there is no such label."""
        total, count = self.sums(measure)
        return float(total.sum() / count.sum()) if count.any() else float("nan")

    def slope_sums(self) -> tuple[np.ndarray, np.ndarray]:
        """For each crystal (n,), the sum of predicted times true forces, and that of true forces squared."""
        true, predicted = self.forces
        known = ~np.isnan(true)
        product = np.where(known, predicted * true, 0).sum(axis=1)
        square = np.where(known, true**2, 0).sum(axis=1)
        return tuple(np.bincount(self.crystal, weights=x, minlength=len(self)) for x in (product, square))  # type: ignore[return-value]

    @property
    def softening_slope(self) -> float:
        """Slope of predicted against true force components, by least squares through the origin.

        Universal potentials are too soft: away from equilibrium their forces are too small, and the slope is below 1
        (Deng et al., npj Comput. Mater. 2025, doi 10.1038/s41524-024-01500-6). NaN where there are no true forces but
        zero.
        """
        product, square = self.slope_sums()
        return float(product.sum() / square.sum()) if square.sum() > 0 else float("nan")


@dataclass(frozen=True)
class ErrorChange:
    """Change of a mean absolute error from one potential to another on the same crystals.

    Attributes:
        measure: What is wrong: one of ``UNITS``, or a property of crystals.
        unit: Unit of the errors.
        n: Number of crystals.
        before: Mean absolute error before.
        after: Mean absolute error after.
        change_percent: 100 (after / before - 1): negative is better; NaN where the error before is 0.
        low: Lower end of the bootstrap 95 % interval of that change over formulas; NaN with fewer than two formulas.
        high: Upper end of that interval.
    """

    measure: str
    unit: str
    n: int
    before: float
    after: float
    change_percent: float
    low: float
    high: float

    @classmethod
    def of(
        cls,
        measure: str,
        unit: str,
        before: np.ndarray,
        after: np.ndarray,
        formulas: Sequence[str],
        counts: np.ndarray | None = None,
    ) -> ErrorChange:
        """Compare summed absolute errors (n,) of n crystals over ``counts`` (n,) labels each, 1 unless given."""
        labels = np.ones(len(before), dtype=int) if counts is None else counts
        kept = labels > 0
        was, now = (float(x[kept].sum() / labels.sum()) if kept.any() else float("nan") for x in (before, after))
        low, high = ratio_interval(after[kept], before[kept], [f for f, k in zip(formulas, kept, strict=True) if k])
        change = 100 * (now / was - 1) if was > 0 else float("nan")
        return cls(measure, unit, int(kept.sum()), was, now, change, 100 * (low - 1), 100 * (high - 1))


@dataclass(frozen=True)
class LabelComparison:
    """Errors of two potentials on the same labelled crystals.

    Attributes:
        changes: Changes of the errors of all measures of ``UNITS`` for which there are labels.
        slope_before: Softening slope before, see :attr:`LabelErrors.softening_slope`; 1 is right.
        slope_after: Softening slope after.
        before: Errors before, with the values for a parity plot.
        after: Errors after.
    """

    changes: tuple[ErrorChange, ...]
    slope_before: float
    slope_after: float
    before: LabelErrors
    after: LabelErrors

    def change(self, measure: str) -> ErrorChange | None:
        """Change by one measure; None where there are no such labels."""
        return next((c for c in self.changes if c.measure == measure), None)

    def __rich__(self) -> Table:
        """Table for the terminal."""
        slopes = f"{self.slope_before:.3f} before, {self.slope_after:.3f} after"
        return change_table(f"Errors on {len(self.before)} labelled crystals; softening slope {slopes}", self.changes)


def change_table(title: str, changes: Sequence[Any]) -> Table:
    """Table for the terminal of changes, or of a report's rows with the same fields."""
    table = Table(title=title)
    table.add_column("mean absolute error of")
    for name in ("crystals", "before", "after", "unit", "change %", "95 % interval"):
        table.add_column(name, justify="right")
    for c in changes:
        interval = "" if np.isnan(c.low) else f"{c.low:+.1f} to {c.high:+.1f}"
        change = "" if np.isnan(c.change_percent) else f"{c.change_percent:+.1f}"
        table.add_row(c.measure, str(c.n), f"{c.before:.4g}", f"{c.after:.4g}", c.unit, change, interval)
    return table


def potential_errors(
    potential: Any,
    structures: Sequence[Structure],
    labels: LabelArrays,
    shifts: Mapping[str, float] | None = None,
    at_rest: np.ndarray | None = None,
) -> LabelErrors:
    """Measure the errors of a potential on labelled crystals.

    Args:
        potential: MatGL ``Potential``, or its adapter.
        structures: The n crystals.
        labels: Their true energies, forces and stresses; NaN where there is none.
        shifts: Elemental energies, eV/atom by symbol, that take the potential's energies to the labels' level of
            theory; they are added to what it predicts.
        at_rest: Crystals (n,) that count as at rest; unless given, those whose true forces are all smaller than
            ``REST_FORCE`` of this module.

    Raises:
        InputError: Labels and crystals do not fit, or the potential can take none of the crystals.
        ModelError: The model is no potential.
    """
    adapter = potential if isinstance(potential, Adapter) else get_adapter(potential)
    _check_shapes(structures, labels)
    formulas = formulas_of(structures)
    usable = usable_crystals(adapter, formulas, structures)
    if not usable.rows:
        reason = f"; {usable.skipped[0].where}: {usable.skipped[0].reason}" if usable.skipped else ""
        raise InputError(f"the potential can take 0 of {len(structures)} labelled crystals{reason}.")
    rows, crystals = np.array(usable.rows), [structures[i] for i in usable.rows]
    found = predict(adapter, adapter.graphs(crystals))
    n_atoms = np.array([len(s) for s in crystals])
    off = np.zeros(len(rows))
    if shifts is not None:
        off = np.array([np.mean([shifts[e.symbol] for e in s.species]) for s in crystals])
    forces = [np.asarray(labels.forces[i], dtype=float) for i in rows]
    if at_rest is None:
        resting = np.array([bool(np.linalg.norm(f, axis=1).max() < REST_FORCE) for f in forces])
    else:
        resting = np.asarray(at_rest, dtype=bool)[rows]
    return LabelErrors(
        rows=rows,
        formulas=[formulas[i] for i in rows],
        crystal=np.repeat(np.arange(len(rows)), n_atoms),
        energy=np.stack([np.asarray(labels.energy, dtype=float)[rows] / n_atoms, found.energy / n_atoms + off]),
        forces=np.stack([np.concatenate(forces), np.concatenate(found.forces)]),
        stress=np.stack([np.asarray(labels.stress, dtype=float)[rows], found.stress]),
        at_rest=resting,
        skipped=usable.skipped,
    )


def _check_shapes(structures: Sequence[Structure], labels: LabelArrays) -> None:
    """Check that there is a label of the right shape for every crystal."""
    n = len(structures)
    if np.shape(labels.energy) != (n,) or len(labels.forces) != n or np.shape(labels.stress) != (n, 3, 3):
        shapes = f"{np.shape(labels.energy)}, {len(labels.forces)} and {np.shape(labels.stress)}"
        raise InputError(f"{n} crystals need energies (n,), n arrays of forces and stresses (n, 3, 3), not {shapes}.")
    for i, (structure, forces) in enumerate(zip(structures, labels.forces, strict=True)):
        if np.shape(forces) != (len(structure), 3):
            raise InputError(f"forces {i} of {len(structure)} atoms have shape {np.shape(forces)}; give (atoms, 3).")


def compare_errors(before: LabelErrors, after: LabelErrors) -> LabelComparison:
    """Compare two potentials on the same labelled crystals, paired by crystal.

    Raises:
        InputError: They are not of the same crystals.
    """
    if not np.array_equal(before.rows, after.rows) or not np.array_equal(
        before.forces[0], after.forces[0], equal_nan=True
    ):
        raise InputError("errors on different crystals cannot be compared; measure both potentials on the same ones.")
    changes = []
    for measure, unit in UNITS.items():
        (was, counts), (now, _) = before.sums(measure), after.sums(measure)
        if counts.any():
            changes.append(ErrorChange.of(measure, unit, was, now, before.formulas, counts))
    return LabelComparison(tuple(changes), before.softening_slope, after.softening_slope, before, after)
