"""Labels that the user supplies: energies, forces and stresses from DFT."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from pymatgen.core import Structure

from matgl_fill.errors import InputError
from matgl_fill.structures import Skipped, read_each, read_frames, volume_ratio
from matgl_fill.training.labels.keys import LabelKeys, energy_of, forces_of, stored, stress_of
from matgl_fill.training.labels.oracle import MAX_FORCE, Labels

WITHOUT_LABELS = re.compile(r"\.(cif|vasp|poscar)$|^(poscar|contcar)|[._-](poscar|contcar)$", re.IGNORECASE)
"""Names of files that hold no energies by their format."""
WITH_LABELS = "extended XYZ with energies, or another file of results that ASE reads (.db, .traj, vasprun.xml, OUTCAR)"
"""What else may be given."""


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


def read_labelled(source: str | Path | Atoms | Iterable[Atoms], keys: LabelKeys | None = None) -> LabelledCrystals:
    """Read crystals with energies, and with forces and stresses where there are any.

    Labels are looked for under the names that :class:`~matgl_fill.training.LabelKeys` knows: ``REF_energy`` and its
    like before ``dft_energy`` and plain ``energy``; ``forces`` or ``force``; ``stress`` or the ``virial``. Forces and
    stress come under the prefix of the energy. A crystal that gets vacuum (a slab, a molecule) has the stress of its
    new volume, and none where its own cell has no volume and there is no virial.

    Args:
        source: Extended XYZ or any other file from which ASE reads results, or ``Atoms`` with calculators that hold
            them, or with labels in ``info`` and ``arrays``. Energy in eV of the cell, forces in eV/Angstrom, stress in
            eV/Angstrom^3 with ASE's sign (positive in tension), virial in eV with the opposite sign; the GPa of
            MatGL's calculators are converted, but a file written from them has lost its unit.
        keys: Names of the labels; those that are None are looked for.

    Raises:
        InputError: There is no such file, it is a CIF or POSCAR, ASE cannot read it, an object is no ``Atoms``, no
            frame has a name that was given, or no crystal has an energy.
    """
    where = str(source) if isinstance(source, str | Path) else f"the given {type(source).__name__}"
    if isinstance(source, str | Path) and WITHOUT_LABELS.search(Path(source).name):
        raise InputError(f"{where}: CIF and POSCAR files hold no energies; give {WITH_LABELS}.")
    frames = read_frames(source)
    if wrong := [x for x in frames if not isinstance(x, Atoms)]:
        raise InputError(f"labelled holds a {type(wrong[0]).__name__}; give ase.Atoms with calculators, or a file.")
    try:
        names = (keys or LabelKeys()).found_in(frames)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    results = [_results_key(atoms, names) for atoms in frames]
    last = dict(zip(results, frames, strict=True))
    found, ids, skipped = [], [], []
    for k, (atoms, crystal) in enumerate(zip(frames, read_each(frames), strict=True)):
        name = str(atoms.info.get("id", f"labelled-{k + 1:04d}"))
        try:
            if isinstance(crystal, Skipped):
                raise ValueError(crystal.reason)
            found.append(_labelled(atoms, crystal, names, last[results[k]]))
            ids.append(name)
        except ValueError as error:
            skipped.append(Skipped(name, str(error)))
    if not found:
        first = f" First: {skipped[0].where}: {skipped[0].reason}." if skipped else ""
        raise InputError(f"{where} holds no crystal with an energy; label it first.{first}")
    structures, energy, forces, stress = zip(*found, strict=True)
    labels = Labels(np.array(energy), list(forces), np.array(stress))
    return LabelledCrystals(list(structures), ids, labels, skipped)


def _labelled(
    atoms: Atoms, crystal: Structure, keys: LabelKeys, last: Atoms
) -> tuple[Structure, float, np.ndarray, np.ndarray]:
    """A crystal with its energy, forces and stress; ``last`` is the last frame with the same energy and forces.

    Raises:
        ValueError: The crystal cannot be learnt from; the message says why.
    """
    energy, forces = energy_of(atoms, keys), forces_of(atoms, keys)
    if not np.isfinite(energy):
        raise ValueError("no energy" + ("" if keys.energy == "energy" else f" under {keys.energy}"))
    worst = np.abs(forces).max(initial=0.0)
    if worst > 0 and not np.array_equal(atoms.positions, last.positions):
        raise ValueError(
            "energy and forces equal those of a later crystal with other positions: frames that share a calculator are "
            "written with its last results; give each frame its own SinglePointCalculator"
        )
    if atoms.calc is not None and keys.energy in atoms.calc.results and atoms.calc.check_state(atoms):
        raise ValueError("its energy is of another crystal or of other positions; calculate it again")
    if worst > MAX_FORCE:
        raise ValueError(f"a force of {worst:.0f} eV/A, more than {MAX_FORCE:g} eV/A")
    ratio = volume_ratio(atoms, crystal.lattice.matrix)
    return crystal, energy, forces, stress_of(atoms, keys, crystal.volume, ratio)


def _results_key(atoms: Atoms, keys: LabelKeys) -> bytes:
    """Key that is the same for frames whose energy and forces are the same to the bit."""
    return b"".join(np.asarray(stored(atoms).get(name or "", np.nan)).tobytes() for name in (keys.energy, keys.forces))
