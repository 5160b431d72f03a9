"""Whether a potential is still physics after tuning: forces, repulsion, equations of state, dynamics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import matgl
import numpy as np
import typer
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols, covalent_radii
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from matgl.apps.pes import Potential
from matgl.ext.ase import PESCalculator
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from examples.benchmarks.common.printing import console, new_table
from matgl_fill import get_adapter, load_model, read_structures
from matgl_fill.adapters import evaluation_mode
from matgl_fill.errors import InputError
from matgl_fill.structures import StructureSet, elements_of
from matgl_fill.training import label
from matgl_fill.utils.console import track

RATTLE = 0.05
"""Standard deviation in Angstrom by which atoms are displaced before forces are compared, so that there are some."""
STEP = 1e-3
"""Of the central differences, Angstrom."""
COMPONENTS = 6
"""Force components that are compared in every crystal."""
PAIRS = 20
"""Pairs of elements whose repulsion is followed ..."""
DIMER = np.linspace(0.35, 0.7, 15)
"""... at these distances over the sum of the covalent radii ..."""
BOX = 20.0
"""... in a cubic cell of this length in Angstrom."""
VOLUMES = 1 + np.linspace(-0.12, 0.12, 25)
"""Of the equation of state, over that of the crystal."""
MD_CRYSTALS, MD_ATOMS = 1, 32
"""Crystals whose dynamics is followed, and atoms of their 2 x 2 x 2 cells at most."""
MD_STEPS, TIME_STEP, TEMPERATURE = 2000, 1.0, 300.0
"""Steps, femtoseconds of each, and kelvin once half of the kinetic energy has gone into the potential one."""


@dataclass(frozen=True)
class Physics:
    """What is measured of one potential.

    Attributes:
        force_error: largest difference of a force from the central difference of the energy, eV/Angstrom.
        attractive: distances, over all pairs of elements, at which two atoms that come nearer lose energy.
        one_minimum: equations of state with one minimum ...
        no_minimum: ... with none ...
        more_minima: ... and with several.
        drift: of the total energy in dynamics, the largest of the crystals, meV per atom and ps.
    """

    force_error: float
    attractive: int
    one_minimum: int
    no_minimum: int
    more_minima: int
    drift: float


@contextmanager
def double_precision(model: Potential) -> Iterator[PESCalculator]:
    """A calculator on a float64 copy of a potential; MatGL's own default precision is raised inside the block."""
    twin = get_adapter(model).clone().model.double().eval()
    matgl.set_default_dtype("float", 64)
    try:
        yield PESCalculator(twin, stress_unit="eV/A3")
    finally:
        matgl.set_default_dtype("float", 32)


def force_error(structure: Structure, calculator: Calculator, seed: int = 0) -> float:
    """Largest difference in eV/Angstrom of some forces from central differences of the energy.

    Args:
        structure: whose atoms are displaced first, since by symmetry many crystals have no forces.
        calculator: of energy and forces.
        seed: of the displacements, and of which components are compared.
    """
    rng = np.random.default_rng(seed)
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    atoms.positions += RATTLE * rng.standard_normal(atoms.positions.shape)
    atoms.calc = calculator
    forces, positions = atoms.get_forces().ravel().copy(), atoms.positions.copy()
    errors = []
    for i in rng.permutation(len(forces))[:COMPONENTS]:
        energy = []
        for sign in (1, -1):
            moved = positions.copy()
            moved.flat[i] += sign * STEP
            atoms.positions[:] = moved
            energy.append(atoms.get_potential_energy())
        errors.append(abs(forces[i] + (energy[0] - energy[1]) / (2 * STEP)))
    return float(max(errors))


def dimer_energies(pair: tuple[str, str], calculator: Calculator) -> np.ndarray:
    """Energies (15,) in eV of two atoms at the distances :data:`DIMER`."""
    contact = sum(covalent_radii[chemical_symbols.index(e)] for e in pair)
    energies = []
    for x in DIMER:
        atoms = Atoms(pair, [[0, 0, 0], [x * contact, 0, 0]], cell=[BOX] * 3, pbc=True, calculator=calculator)
        energies.append(float(atoms.get_potential_energy()))
    return np.array(energies)


def count_rising(energies: np.ndarray) -> int:
    """Points at which an energy does not fall with the distance.

    >>> count_rising(np.array([9.0, 4.0, 5.0, 1.0]))
    1
    """
    return int((np.diff(energies) >= 0).sum())


def volume_energies(structure: Structure, calculator: Calculator) -> np.ndarray:
    """Energies (25,) in eV at :data:`VOLUMES`, the fractional coordinates kept."""
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    atoms.calc = calculator
    energies = []
    for volume in VOLUMES:
        atoms.set_cell(structure.lattice.matrix * volume ** (1 / 3), scale_atoms=True)
        energies.append(float(atoms.get_potential_energy()))
    return np.array(energies)


def count_minima(energies: np.ndarray) -> int:
    """Minima of a curve inside its range.

    >>> count_minima(np.array([3.0, 1.0, 2.0, 0.0, 4.0]))
    2
    """
    step = np.sign(np.diff(energies))
    step = step[step != 0]
    return int(((step[:-1] < 0) & (step[1:] > 0)).sum())


def dynamics(
    atoms: Atoms, calculator: Calculator, steps: int = MD_STEPS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Times in ps and total energies in eV/atom, both (steps + 1,), of Verlet dynamics at constant energy.

    Args:
        atoms: near a minimum; moved in place. They start with twice the temperature wanted, of which half goes into
            potential energy.
        calculator: of energy and forces.
        steps: of :data:`TIME_STEP` fs.
        seed: of the velocities.
    """
    atoms.calc = calculator
    deviation = np.sqrt(2 * TEMPERATURE * units.kB * atoms.get_masses())[:, None]
    atoms.set_momenta(deviation * np.random.default_rng(seed).standard_normal(atoms.positions.shape))
    Stationary(atoms)
    run = VelocityVerlet(atoms, timestep=TIME_STEP * units.fs)
    energies = [atoms.get_total_energy() / len(atoms)]
    for _ in track(range(steps), "molecular dynamics"):
        run.run(1)
        energies.append(atoms.get_total_energy() / len(atoms))
    return np.arange(steps + 1) * TIME_STEP / 1000, np.array(energies)


def drift(times: np.ndarray, energies: np.ndarray) -> float:
    """Slope of the least-squares line, meV per atom and ps, from times in ps and energies in eV/atom.

    >>> round(drift(np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.003, 1.006])), 6)
    3.0
    """
    return float(1000 * np.polyfit(times, energies, 1)[0])


def _pairs(structures: Sequence[Structure], seed: int) -> list[tuple[str, str]]:
    """Random pairs of the elements in crystals."""
    elements = elements_of(structures)
    every = [(a, b) for i, a in enumerate(elements) for b in elements[i:]]
    return [every[i] for i in np.random.default_rng(seed).permutation(len(every))[:PAIRS]]


def _calmest(structures: Sequence[Structure], model: Potential) -> list[Structure]:
    """The crystals with the smallest forces, from which dynamics starts."""
    forces = label(structures, get_adapter(model)).forces
    order = sorted(range(len(structures)), key=lambda i: float(np.abs(forces[i]).max()))
    return [structures[i] for i in order[:MD_CRYSTALS]]


def measure(
    model: Potential,
    crystals: Sequence[Structure],
    pairs: Sequence[tuple[str, str]],
    moving: Sequence[Structure],
    steps: int = MD_STEPS,
) -> Physics:
    """Everything of one potential.

    Forces, dimers and equations of state are those of a float64 copy, in which rounding cannot be taken for physics;
    dynamics is that of the model as it is.

    Args:
        model: MatGL potential.
        crystals: of forces and equations of state.
        pairs: elements of the dimers.
        moving: crystals whose 2 x 2 x 2 cells move.
        steps: of the dynamics.
    """
    with double_precision(model) as exact:
        errors = [force_error(s, exact) for s in track(crystals, "forces")]
        rising = [count_rising(dimer_energies(p, exact)) for p in track(pairs, "dimers")]
        minima = [count_minima(volume_energies(s, exact)) for s in track(crystals, "equations of state")]
    cells = [AseAtomsAdaptor.get_atoms(s * (2, 2, 2), msonable=False) for s in moving]
    with evaluation_mode(model):
        calculator = PESCalculator(model, stress_unit="eV/A3")
        drifts = [drift(*dynamics(atoms, calculator, steps)) for atoms in cells]
    return Physics(
        force_error=max(errors),
        attractive=sum(rising),
        one_minimum=minima.count(1),
        no_minimum=minima.count(0),
        more_minima=sum(k > 1 for k in minima),
        drift=max(drifts, key=abs) if drifts else np.nan,
    )


def compare_physics(
    before: Any, after: Any, structures: StructureSet, n: int = 10, steps: int = MD_STEPS
) -> tuple[Physics, Physics]:
    """The same measurements of two potentials.

    Args:
        before: MatGL ``Potential``.
        after: the same after tuning.
        structures: near equilibrium; the first ``n`` that both can take are used.
        n: how many of them.
        steps: of the dynamics, 1 fs each.

    Raises:
        InputError: a model is no potential, or no crystal can be used.
    """
    for model in (before, after):
        if not isinstance(model, Potential):
            raise InputError(f"{type(model).__name__} has no forces; give a MatGL Potential.")
    adapters = [get_adapter(before), get_adapter(after)]
    known = [s for s in structures if not any(a.unsupported_reason(s) for a in adapters)]
    bound = (s for s in known if not adapters[0].graph(s).isolated_atoms())
    if not (crystals := list(islice(bound, n))):
        raise InputError("no crystal that both models can take; give others.")
    small = list(islice((s for s in known if 8 * len(s) <= MD_ATOMS), n))
    chosen = crystals, _pairs(known, seed=0), _calmest(small, before), steps
    return measure(before, *chosen), measure(after, *chosen)


ROWS = {
    "force_error": "largest force error against differences (eV/A)",
    "attractive": "dimer points without repulsion",
    "one_minimum": "equations of state with one minimum",
    "no_minimum": "with none",
    "more_minima": "with several",
    "drift": "energy drift in dynamics (meV/atom/ps)",
}
"""What each measure is called."""


def physics(
    before: Annotated[str, typer.Argument(help="Directory or hub name of a potential.")],
    after: Annotated[str, typer.Argument(help="The same after tuning.")],
    structures: Annotated[str, typer.Argument(help="Crystals near equilibrium.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many of them.")] = 10,
    steps: Annotated[int, typer.Option(min=1, help="Of molecular dynamics, 1 fs each.")] = MD_STEPS,
) -> None:
    """Forces, repulsion, equations of state and energy conservation, before and after tuning."""
    found = compare_physics(load_model(before), load_model(after), read_structures(structures), n, steps)
    table = new_table(f"{Path(before).name} and {Path(after).name}", ("measure", "before", "after"))
    for field in fields(Physics):
        values = [getattr(p, field.name) for p in found]
        table.add_row(ROWS[field.name], *(f"{v:.4g}" for v in values))
    console.print(table)
    console.print(
        f"{COMPONENTS} forces a crystal; {PAIRS} pairs of elements from {DIMER[0]:g} to {DIMER[-1]:g} of the covalent "
        f"sum, {len(DIMER) - 1} points each; volumes within 12 %: all in float64. Dynamics of the calmest small "
        f"crystal, 2 x 2 x 2 cells, {steps} fs at {TEMPERATURE:g} K: the model as it is.",
        highlight=False,
    )
