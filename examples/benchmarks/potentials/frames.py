"""Labelled frames of a heated crystal, as a user would make them, on which a correction's physics is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import ase.io
import numpy as np
import typer
from ase import Atoms, units
from ase.calculators.calculator import BaseCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from torch import nn

from examples.benchmarks.common.printing import console
from matgl_fill import FillCalculator, load_model, read_structures
from matgl_fill.errors import InputError
from matgl_fill.training import resolve

CELL = (2, 2, 1)
"""Cells that are repeated."""
TIME_STEP, FRICTION, EVERY = 2.0, 0.02, 5
"""Of the Langevin dynamics, fs and 1/fs, and steps between two frames."""
COLD, WARMER = 300, 40
"""Kelvin at the first frame, and how much more at each further one."""


def labelled_frames(potential: nn.Module, crystal: Structure, oracle: BaseCalculator, n: int) -> list[Atoms]:
    """Frames of a crystal that is heated by a potential, with energy, forces and stress of an oracle.

    Args:
        potential: that drives the dynamics.
        crystal: repeated by :data:`CELL`.
        oracle: labels the frames.
        n: how many frames.
    """
    atoms = AseAtomsAdaptor.get_atoms(crystal * CELL, msonable=False)
    atoms.calc = FillCalculator(potential, stress_unit="eV/A3")
    thermostat = {"temperature_K": COLD, "friction": FRICTION / units.fs, "rng": np.random.RandomState(0)}
    dynamics = Langevin(atoms, TIME_STEP * units.fs, **thermostat)
    frames = []
    for k in range(n):
        dynamics.set_temperature(temperature_K=COLD + WARMER * k)
        dynamics.run(EVERY)
        frame = atoms.copy()
        frame.calc = oracle
        energy, forces = frame.get_potential_energy(), frame.get_forces()
        frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces, stress=frame.get_stress())
        frames.append(frame)
    return frames


def frames_command(
    model: Annotated[str, typer.Argument(help="Directory or hub name of a potential.")],
    crystals: Annotated[str, typer.Argument(help="Crystals, of which one is heated.")],
    formula: Annotated[str, typer.Argument(help="Its reduced formula; the first such crystal is taken.")],
    oracle: Annotated[str, typer.Option(help="sevennet, chgnet or module:factory.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Extended XYZ.")] = Path("labelled.extxyz"),
    n: Annotated[int, typer.Option("-n", min=1, help="Frames.")] = 30,
) -> None:
    """Heat a crystal from 300 K and write labelled frames of it."""
    source = resolve(oracle).source
    if not isinstance(source, BaseCalculator):
        raise InputError(f"oracle '{oracle}' is no ASE calculator.")
    found = [s for s in read_structures(crystals) if s.composition.reduced_formula == formula]
    if not found:
        raise InputError(f"no crystal '{formula}' in {crystals}.")
    frames = labelled_frames(load_model(model), found[0], source, n)
    ase.io.write(out, frames)
    console.print(f"{len(frames)} labelled frames of {len(frames[0])} atoms written to {out}", highlight=False)
