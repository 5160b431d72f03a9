"""Labels that cannot be what they are said to be: other units, another sign, one crystal's results on all."""

from __future__ import annotations

import numpy as np

from matgl_fill.adapters import Adapter, predict
from matgl_fill.errors import InputError
from matgl_fill.training.labels import LabelledSet, elemental_shifts

FACTOR = 8.0
"""Ratio of labels to the potential's own values, in either direction, beyond which their unit is doubted."""
ALIKE = 0.5
"""Correlation from which labels and the potential's own values are taken for the same quantity."""
SPREAD = 0.1
"""Root mean square in eV/atom between labels and the potential's own energies, elemental shifts apart, from which their
unit is doubted."""
FEW = 6
"""Least number of values by which a unit can be told."""
FORCE_UNITS = {51.42: "Hartree/Bohr", 25.71: "Rydberg/Bohr", 0.0434: "kcal/mol/A", 0.0104: "kJ/mol/A", 1e-3: "meV/A"}
"""Units of forces that are met, by their value in eV/A."""
STRESS_UNITS = {0.006242: "GPa", 0.0006242: "kbar", 183.6: "Hartree/Bohr^3"}
"""Units of stresses that are met, by their value in eV/A^3."""
LARGE = 0.1, 0.005
"""Root mean square of the potential's own forces (eV/A) and stresses (eV/A^3) above which they can be compared."""


def check_labels(adapter: Adapter, labelled: LabelledSet, source: str) -> None:
    """Refuse labels whose unit or sign contradicts the potential's own forces, stresses and energies.

    A potential may be wrong by half, but not by a factor of eight, and not in the sign of most stresses.

    Args:
        adapter: Adapter of the potential.
        labelled: Crystals with labels as they came.
        source: Name of the source of the labels, for the message.

    Raises:
        InputError: The labels cannot be what they are said to be; the message says which, and what to do.
    """
    labels = labelled.labels
    _check_repeats(labelled, source)
    own = predict(adapter, adapter.graphs(labelled.structures), "comparing labels with the potential")
    _check_unit("forces", np.concatenate(labels.forces), np.concatenate(own.forces), FORCE_UNITS, LARGE[0], source)
    _check_unit("stresses", labels.stress, own.stress, STRESS_UNITS, LARGE[1], source)
    known = np.flatnonzero(np.isfinite(labels.energy))
    n_atoms = np.array([len(labelled.structures[i]) for i in known])

    def unexplained(energy: np.ndarray) -> float:
        crystals = [labelled.structures[i] for i in known]
        return elemental_shifts(crystals, energy - own.energy[known], adapter.element_types)[1]

    if len(known) >= FEW and (rest := unexplained(labels.energy[known])) > SPREAD:
        if unexplained(labels.energy[known] * n_atoms) < rest / FACTOR:
            raise InputError(f"energies of {source} are those of an atom; give the energy of the whole cell, in eV.")
        if rest > FACTOR * SPREAD:
            raise InputError(
                f"energies of {source} differ from the potential's by {rest:.1f} eV/atom after elemental shifts; "
                "give energies of the whole cell in eV."
            )


def _check_repeats(labelled: LabelledSet, source: str) -> None:
    """Refuse energies that are the same to the bit on most crystals; a few may be one crystal described twice."""
    energies, counts = np.unique(labelled.labels.energy, return_counts=True)
    if counts.max() > max(2, len(labelled) / 2):
        raise InputError(
            f"{counts.max()} of {len(labelled)} crystals of {source} have the energy {energies[counts.argmax()]!r}, to "
            "the last digit: one result was written on all of them; give each its own."
        )


def _check_unit(
    name: str, given: np.ndarray, own: np.ndarray, units: dict[float, str], large: float, source: str
) -> None:
    """Refuse labels of another unit or sign than the potential's own values of the same shape."""
    known = np.isfinite(given) & np.isfinite(own)
    x, y = own[known], given[known]
    if len(x) < FEW or np.sqrt(np.mean(x**2)) < large or not np.any(y):
        return
    ratio = float(np.sqrt(np.mean(y**2) / np.mean(x**2)))
    correlation = float(np.mean(x * y) / np.sqrt(np.mean(x**2) * np.mean(y**2)))
    if correlation < -ALIKE:
        what = "tension is positive in ASE's sign" if name == "stresses" else "forces are minus the gradient"
        raise InputError(f"{name} of {source} have the opposite sign of the potential's own; {what}: turn them.")
    if correlation > ALIKE and not 1 / FACTOR < ratio < FACTOR:
        nearest = min(units, key=lambda value: abs(np.log(ratio * value)))
        raise InputError(
            f"{name} of {source} are {ratio:.3g} times the potential's own; they look like {units[nearest]}: "
            f"give eV/A{'^3' if name == 'stresses' else ''}."
        )
