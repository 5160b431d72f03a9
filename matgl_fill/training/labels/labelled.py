"""Labels that the user supplies: energies, forces and stresses from DFT."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from pymatgen.core import Structure

from matgl_fill.errors import InputError
from matgl_fill.structures import Skipped, read_each, read_frames
from matgl_fill.training.labels.oracle import MAX_FORCE, Labels, stress_unit


@dataclass(frozen=True)
class LabelledCrystals:
    """The n labelled crystals of a source.

    Attributes:
        structures: The crystals.
        ids: Names of the crystals.
        labels: Labels of the crystals; NaN where a crystal has no forces or no stress.
        skipped: Crystals that were left out, and why.
    """

    structures: list[Structure]
    ids: list[str]
    labels: Labels
    skipped: list[Skipped]


def read_labelled(source: str | Path | Atoms | Iterable[Atoms]) -> LabelledCrystals:
    """Read crystals with energies, and with forces and stresses where there are any.

    Args:
        source: Extended XYZ or any other file from which ASE reads results, or ``Atoms`` with calculators that hold
            them. Energy in eV of the cell, forces in eV/Angstrom, stress in eV/Angstrom^3 with ASE's sign (positive
            in tension); the GPa of MatGL's calculators are converted, but a file written from them has lost its unit.

    Raises:
        InputError: There is no such file, ASE cannot read it, an object is no ``Atoms``, or no crystal has an energy.
    """
    crystals = read_frames(source)
    where = str(source) if isinstance(source, str | Path) else "what was given"
    if wrong := [x for x in crystals if not isinstance(x, Atoms)]:
        raise InputError(f"labelled holds a {type(wrong[0]).__name__}; give ase.Atoms with calculators, or a file.")
    structures, ids, energy, forces, stress, skipped = [], [], [], [], [], []
    keys = [_results_key(atoms) for atoms in crystals]
    last = dict(zip(keys, crystals, strict=True))
    for k, (atoms, crystal) in enumerate(zip(crystals, read_each(crystals), strict=True)):
        name = str(atoms.info.get("id", f"labelled-{k + 1:04d}"))
        e = _result(atoms, "energy")
        problem = crystal.reason if isinstance(crystal, Skipped) else _problem(atoms, e, last[keys[k]])
        if problem is not None:
            skipped.append(Skipped(name, problem))
            continue
        assert isinstance(crystal, Structure)
        structures.append(crystal)
        ids.append(name)
        energy.append(float(e))
        forces.append(_result(atoms, "forces", (len(atoms), 3)))
        stress.append(_result(atoms, "stress", (3, 3)))
    if not structures:
        first = f" First: {skipped[0].where}: {skipped[0].reason}." if skipped else ""
        raise InputError(f"{where} holds no crystal with an energy; label it first.{first}")
    return LabelledCrystals(structures, ids, Labels(np.array(energy), forces, np.array(stress)), skipped)


def _result(atoms: Atoms, name: str, shape: tuple[int, ...] = ()) -> Any:
    """A stored result, NaN where there is none; nothing is calculated."""
    results = {} if atoms.calc is None else atoms.calc.results
    if name not in results:
        return np.full(shape, np.nan)
    try:
        if name == "stress":
            return stress_unit(atoms.calc) * atoms.get_stress(voigt=False)
        return np.asarray(results[name], dtype=float)
    except PropertyNotImplementedError:
        return np.full(shape, np.nan)


def _results_key(atoms: Atoms) -> bytes:
    """Key that is the same for crystals whose energy and forces are the same to the bit."""
    return _result(atoms, "energy").tobytes() + _result(atoms, "forces", (len(atoms), 3)).tobytes()


def _problem(atoms: Atoms, energy: Any, last: Atoms) -> str | None:
    """Why a crystal cannot be learnt from, or None; ``last`` is the last crystal with the same energy and forces."""
    if not np.isfinite(energy):
        return "no energy"
    forces = _result(atoms, "forces", (len(atoms), 3))
    worst = np.abs(forces).max(initial=0.0)
    if worst > 0 and not np.array_equal(atoms.positions, last.positions):
        return (
            "energy and forces are to the bit those of a later crystal with other positions: frames that share a "
            "calculator are written with its last results; give each a SinglePointCalculator"
        )
    if atoms.calc.check_state(atoms):
        return "its energy is of another crystal or of other positions; calculate it again"
    return f"a force of {worst:.0f} eV/A, more than {MAX_FORCE:g}" if worst > MAX_FORCE else None
