"""The ASE calculator against MatGL's own: the same results, and what roughness and novelty cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import typer
from ase import Atoms
from ase.calculators.calculator import Calculator
from matgl.ext.ase import PESCalculator
from pymatgen.io.ase import AseAtomsAdaptor

from examples.benchmarks.common.printing import console, new_table
from matgl_fill import FillCalculator, get_adapter, load_model, read_structures
from matgl_fill.embedding import graph_or_reason

RATTLE = 0.05
"""Standard deviation of displacements, Angstrom, so that there are forces."""
REPEATS = 9
"""Calculations of each kind, in turns; the median counts."""


def largest_differences(ours: Calculator, theirs: Calculator, frames: Sequence[Atoms]) -> dict[str, float]:
    """Largest difference of any component of each result that both calculators give, in its own unit."""
    worst: dict[str, float] = {}
    for atoms in frames:
        for calculator in (ours, theirs):
            calculator.calculate(atoms)
        for name, value in theirs.results.items():
            change = float(np.abs(np.asarray(ours.results[name]) - value).max())
            worst[name] = max(worst.get(name, 0.0), change)
    return worst


def seconds(calculators: Sequence[Calculator], atoms: Atoms) -> list[float]:
    """Median processor time of one calculation by each calculator, taken in turns on displaced copies."""
    times: list[list[float]] = [[] for _ in calculators]
    for seed in range(REPEATS + 1):
        moved = atoms.copy()
        moved.rattle(RATTLE, seed=seed)
        for taken, calculator in zip(times, calculators, strict=True):
            start = time.process_time()
            calculator.calculate(moved)
            taken.append(time.process_time() - start)
    return [float(np.median(taken[1:])) for taken in times]  # the first one warms up


def calculator(
    model: Annotated[
        str, typer.Argument(help="Directory or hub name of a potential, or 'potential', the bundled one.")
    ],
    structures: Annotated[str, typer.Argument(help="Crystals that are compared.")],
    pool: Annotated[str, typer.Option(help="Known crystals; 'default' are the package's own.")] = "default",
    n: Annotated[int, typer.Option("-n", help="Crystals.")] = 20,
    cells: Annotated[int, typer.Option(help="Largest supercell that is timed, n x n x n of the first one.")] = 3,
) -> None:
    """FillCalculator against MatGL's PESCalculator: largest differences of the results, and the time it takes more."""
    loaded = load_model(model)
    ours = FillCalculator(loaded, pool=None if pool == "default" else pool, stress_unit="eV/A3")
    theirs = PESCalculator(loaded, stress_unit="eV/A3")
    adapter = get_adapter(loaded)
    frames: list[Atoms] = []
    for structure in read_structures(structures).structures:
        if len(frames) < n and not isinstance(graph_or_reason(adapter, structure), str):
            frames.append(AseAtomsAdaptor.get_atoms(structure, msonable=False))
            frames[-1].rattle(RATTLE, seed=len(frames))
    worst = largest_differences(ours, theirs, frames)
    text = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    console.print(f"largest differences on {len(frames)} crystals (eV, A): {text}", highlight=False)
    known = ours.reference
    title = f"{adapter.name}, {len(known.crystals.points)} known crystals, {len(known.atoms.points)} known atoms"
    columns = ("atoms", "PESCalculator (ms)", "FillCalculator (ms)", "overhead")
    table = new_table(f"{title}; processor time of all threads", columns, left=())
    for k in range(1, cells + 1):
        atoms = frames[0].repeat(k)
        plain, full = seconds((theirs, ours), atoms)
        table.add_row(str(len(atoms)), f"{1e3 * plain:.1f}", f"{1e3 * full:.1f}", f"{full / plain - 1:+.1%}")
    console.print(table)
