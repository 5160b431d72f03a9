"""Properties of one crystal by a potential, calculated by matcalc: relaxed volume, elastic moduli, heat capacity."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import matgl
import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from matgl.ext.ase import PESCalculator
from pymatgen.core import Structure

from matgl_fill.errors import CalculationError, InputError
from matgl_fill.structures.sets import reason_of

PROPERTIES = {
    "volume": "A^3/atom",
    "bulk_modulus_vrh": "GPa",
    "shear_modulus_vrh": "GPa",
    "heat_capacity": "J/(mol K)",
}
"""The properties with their units, under the names of matcalc's benchmarks; heat capacities are of a mole of cells."""
MODULI = ("bulk_modulus_vrh", "shear_modulus_vrh")
MAX_FORCE = 0.005
"""Force (eV/Angstrom), and virial per atom (eV), at which a relaxation ends.

At the 0.05 of matcalc's benchmarks the volume of a crystal with a bulk modulus of 20 GPa may still be wrong by 2 %, at
this by 0.2 %.
"""
MAX_STEPS = 500
"""Largest number of steps of a relaxation, as in matcalc's benchmark of elasticity."""
TEMPERATURE = 300.0
"""Temperature (K) of heat capacities, as in matcalc's benchmark."""
SUPERCELL = 20.0
"""Smallest length (Angstrom) of the supercells in which phonons are calculated, as in matcalc's benchmark."""
SYMMETRY = 1e-3
"""Distance (Angstrom) within which atoms count as equivalent; relaxations keep the symmetry, as those of DFT do."""
LARGEST_RATIO = 3.0
"""Ratio of volumes, either way, beyond which a crystal counts as collapsed or torn apart by its relaxation."""
SOFT = -0.05
"""Frequency (THz) below which a mode counts as imaginary; noise at the zone centre stays above it."""


@dataclass(frozen=True)
class Measurement:
    """A property that a potential gives.

    Attributes:
        value: Value in the unit of :data:`PROPERTIES`; None where the calculation failed.
        remark: Why there is no value, or what speaks against the one there is; empty otherwise.
    """

    value: float | None
    remark: str = ""


class _WatchedCalculator(PESCalculator):
    """MatGL's calculator, which refuses crystals that have collapsed: their neighbours may be too many to search."""

    def __init__(self, potential: Any, volume: float) -> None:
        super().__init__(potential, stress_unit="eV/A3")
        self.volume_per_atom = volume

    def calculate(
        self, atoms: Atoms | None = None, properties: list[str] | None = None, system_changes: list[str] | None = None
    ) -> None:
        assert atoms is not None
        ratio = atoms.get_volume() / len(atoms) / self.volume_per_atom
        if not (np.isfinite(atoms.positions).all() and 1 / LARGEST_RATIO < ratio < LARGEST_RATIO):
            raise CalculationError(f"the crystal does not hold together: its volume changes by a factor of {ratio:.3g}")
        super().calculate(atoms, properties, all_changes if system_changes is None else system_changes)


def load_matcalc() -> ModuleType:
    """Import matcalc, which is the extra ``physics``, without the list of models that it asks the hub for.

    Raises:
        InputError: It is not installed.
    """
    asked = matgl.get_available_pretrained_models
    matgl.get_available_pretrained_models = list
    try:
        import matcalc
    except ImportError as error:
        raise InputError(f"physics needs matcalc ({error}); pip install 'matgl_fill[physics]'.") from error
    finally:
        matgl.get_available_pretrained_models = asked
    return matcalc


def measure(potential: Any, structure: Structure, properties: Collection[str]) -> dict[str, Measurement]:
    """Calculate properties of one crystal, which is relaxed first.

    Args:
        potential: MatGL ``Potential`` in evaluation mode.
        structure: The crystal.
        properties: Some of :data:`PROPERTIES`.

    Returns:
        A measurement for each of them; where a calculation fails it says why.

    Raises:
        InputError: matcalc is not installed.
    """
    matcalc = load_matcalc()
    calculator = _WatchedCalculator(potential, structure.volume / len(structure))

    crystal = _tried(lambda: _relaxed(matcalc, calculator, structure))
    if isinstance(crystal, str):
        return dict.fromkeys(properties, Measurement(None, crystal))
    results: dict[str, Measurement] = {}
    if "volume" in properties:
        results["volume"] = _finite(crystal.volume / len(crystal))
    if wanted := [name for name in MODULI if name in properties]:
        moduli = _tried(lambda: _moduli(matcalc, calculator, crystal))
        results |= {n: Measurement(None, moduli) if isinstance(moduli, str) else moduli[n] for n in wanted}
    if "heat_capacity" in properties:
        found = _tried(lambda: _heat_capacity(matcalc, calculator, crystal))
        results["heat_capacity"] = Measurement(None, found) if isinstance(found, str) else found
    return {name: results[name] for name in properties}


def _relaxed(matcalc: ModuleType, calculator: PESCalculator, structure: Structure) -> Structure:
    """The crystal with relaxed atoms and cell.

    Raises:
        CalculationError: It is not at rest after the last step. matcalc looks at forces alone, which in many crystals
            are zero by symmetry in any cell.
    """
    relaxation = matcalc.RelaxCalc(calculator, fmax=MAX_FORCE, max_steps=MAX_STEPS, fix_symmetry=True, symprec=SYMMETRY)
    found = relaxation.calc(structure)
    virial = np.linalg.norm(found["stress"], axis=1).max() * found["volume"] / len(structure)
    if not max(found["max_force"], virial) < 2 * MAX_FORCE:  # the cell filter's own measure differs from both a little
        raise CalculationError(
            f"the relaxation did not end in {MAX_STEPS} steps: forces up to {found['max_force']:.2g} eV/A, "
            f"virials up to {virial:.2g} eV/atom"
        )
    return found["final_structure"]


def _moduli(matcalc: ModuleType, calculator: PESCalculator, crystal: Structure) -> dict[str, Measurement]:
    """Voigt-Reuss-Hill moduli of a relaxed crystal."""
    found = matcalc.ElasticityCalc(calculator, relax_structure=False, units_GPa=True).calc(crystal)
    return {name: _finite(found[name], "" if found[name] > 0 else "the crystal is unstable") for name in MODULI}


def _heat_capacity(matcalc: ModuleType, calculator: PESCalculator, crystal: Structure) -> Measurement:
    """Heat capacity of a mole of cells of a relaxed crystal, from its harmonic phonons."""
    found = matcalc.PhononCalc(
        calculator,
        relax_structure=False,
        write_phonon=False,
        min_length=SUPERCELL,
        t_min=TEMPERATURE,
        t_max=TEMPERATURE,
        symprec=SYMMETRY,
    ).calc(crystal)
    soft = float((found["frequencies"] < SOFT).mean())
    remark = f"{100 * soft:.2g} % of the modes are imaginary and left out" if soft else ""
    return _finite(found["thermal_properties"]["heat_capacity"][0], remark)


def _finite(value: Any, remark: str = "") -> Measurement:
    """A value, or none where it is no number."""
    return Measurement(float(value), remark) if np.isfinite(value) else Measurement(None, f"the value is {value}")


def _tried(job: Callable[[], Any]) -> Any:
    """What a calculation gives, or in one line why it failed."""
    try:
        with warnings.catch_warnings():  # what they warn of is said in a remark
            warnings.simplefilter("ignore")
            return job()
    except Exception as error:  # one crystal of any kind must not stop the others
        return reason_of(error)
