"""Names under which frames have their labels, and the values under them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from matgl_fill.errors import InputError, MatglFillWarning
from matgl_fill.training.labels.oracle import stress_unit

PREFIXES = ("ref_", "dft_", "")
"""Prefixes of the names of labels, in any case; the first under which there is an energy is taken. ``REF_`` is that of
MACE, where ``energy`` may be what another potential predicted."""
ENERGY = ("energy", "free_energy")
FORCES = ("forces", "force")
STRESS = ("stress", "virial", "virials")
"""GAP has the virial in eV: minus the stress times the volume."""
LIKE_A_LABEL = re.compile(r"(?<!free_)energy$|forces?$|stress$|virials?$", re.IGNORECASE)


@dataclass(frozen=True)
class LabelKeys:
    """Names under which frames have their labels.

    Attributes:
        energy: Name of the energy, in eV of the cell; None to look for it.
        forces: Name of the forces, (atoms, 3) in eV/Angstrom; None for the one that goes with the energy's name:
            ``vasp_forces`` with ``vasp_energy``.
        stress: Name of the stress in eV/Angstrom^3, or of the virial in eV if it ends so; None as for the forces.
    """

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None

    def found_in(self, frames: Sequence[Atoms]) -> LabelKeys:
        """The names that are used for frames; None for what they do not have.

        A warning says which names are used if others look like labels too.

        Raises:
            InputError: No frame has anything under a name that was given, or no name of an energy is known; the
                message lists the names that are there.
        """
        names = list(dict.fromkeys(name for atoms in frames for name in stored(atoms)))
        there = f"the frames have {', '.join(names[:20]) or 'no labels'}"
        for given in (self.energy, self.forces, self.stress):
            if given is not None and given not in names:
                raise InputError(f"no frame has '{given}'; {there}.")
        energy = self.energy or _first(names, (p + kind for p in PREFIXES for kind in ENERGY))
        if energy is None:
            known = ", ".join(prefix.upper() + kind for prefix in PREFIXES for kind in ENERGY)
            raise InputError(
                f"no frame has an energy under a usual name ({known}, in any case); {there}. Give the energy's name as "
                "energy_key (--energy-key on the command line), or label the frames first."
            )
        before = re.fullmatch(r"(.*?)(free_)?energy", energy, re.IGNORECASE)
        prefix = before.group(1) if before else ""
        found = LabelKeys(
            energy,
            self.forces or _first(names, (prefix + kind for kind in FORCES)),
            self.stress or _first(names, (prefix + kind for kind in STRESS)),
        )
        used = [name for name in (found.energy, found.forces, found.stress) if name]
        unused = [name for name in names if LIKE_A_LABEL.search(name) and name not in used]
        if unused:
            chosen = f"labels are read from {', '.join(used)}, not from {', '.join(unused)}"
            warnings.warn(
                f"{chosen}; set energy_key, forces_key or stress_key (--energy-key, ...) to choose.",
                MatglFillWarning,
                stacklevel=4,
            )
        return found


def _first(names: Iterable[str], wanted: Iterable[str]) -> str | None:
    """The first of the wanted names that is there, in any case."""
    by_lower = {name.lower(): name for name in reversed(list(names))}
    return next((by_lower[one.lower()] for one in wanted if one.lower() in by_lower), None)


def stored(atoms: Atoms) -> dict[str, Any]:
    """Everything that is stored with a frame, by its name; the results of its calculator go first."""
    results = {} if atoms.calc is None else atoms.calc.results
    arrays = {k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions")}
    return atoms.info | arrays | results


def energy_of(atoms: Atoms, keys: LabelKeys) -> float:
    """Energy of a frame in eV, NaN if it has none."""
    value = _numbers(stored(atoms).get(keys.energy or ""), keys.energy, (1,))
    return float(value[0])


def forces_of(atoms: Atoms, keys: LabelKeys) -> np.ndarray:
    """Forces (atoms, 3) of a frame in eV/Angstrom, NaN if it has none."""
    return _numbers(stored(atoms).get(keys.forces or ""), keys.forces, (len(atoms), 3))


def stress_of(atoms: Atoms, keys: LabelKeys, volume: float, ratio: float) -> np.ndarray:
    """Stress (3, 3) of the fully periodic crystal of a frame in eV/Angstrom^3, NaN if it has none.

    Args:
        atoms: The frame.
        keys: Names of the labels.
        volume: Volume of the fully periodic crystal, cubic Angstrom.
        ratio: That over the volume of the frame's own cell, NaN if it has none: a stress is an energy over a volume.
    """
    value = stored(atoms).get(keys.stress or "")
    size = 6 if value is not None and np.size(value) == 6 else 9
    tensor = _numbers(value, keys.stress, (size,))
    voigt = tensor if size == 6 else full_3x3_to_voigt_6_stress(tensor.reshape(3, 3))
    full = voigt_6_to_full_3x3_stress(voigt)
    if keys.stress is not None and keys.stress.lower().endswith(STRESS[1:]):
        return -full / volume
    calculated = atoms.calc is not None and keys.stress in atoms.calc.results
    return (stress_unit(atoms.calc) if calculated else 1.0) * full / ratio


def _numbers(value: Any, name: str | None, shape: tuple[int, ...]) -> np.ndarray:
    """A value as an array of numbers of a shape, NaN if there is none.

    Raises:
        ValueError: It is something else.
    """
    if value is None:
        return np.full(shape, np.nan)
    try:
        return np.asarray(value, dtype=float).reshape(shape)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is no array of {' x '.join(map(str, shape))} numbers") from None
