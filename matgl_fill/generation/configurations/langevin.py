"""Snapshots of molecular dynamics by the potential itself, of several crystals at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import units
from ase.data import atomic_masses
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter
from matgl_fill.generation.configurations.amplitudes import LEAST_ATOMS, STRAIN, least_ratio, strain_of
from matgl_fill.generation.configurations.base import Configuration, grown
from matgl_fill.generation.filters import closest_ratio
from matgl_fill.structures import rebuilt
from matgl_fill.utils.console import track

TEMPERATURES = (300.0, 1500.0)
"""Lowest and highest temperature that is drawn, K: most simulations of solids run between these."""
STEPS = 120
"""Number of steps of a run, about two periods of an optical phonon."""
TIME_STEP = 2.0
"""Time of a step in fs, where all atoms are heavy."""
LIGHT = 10.0
"""Where an atom has less mass than this (u), the step is half as long."""
FRICTION_TIME = 100.0
"""Time in fs in which the thermostat forgets a velocity."""
CHECKED = 10
"""Number of steps after which it is seen whether atoms have come too close."""
FASTEST = 0.3
"""Longest way of an atom in one step, Angstrom; beyond it a run has exploded."""


@dataclass
class Run:
    """One run of Langevin dynamics at a fixed cell.

    Attributes:
        crystal: The crystal at the start, its atoms at rest, its cell strained.
        temperature: Temperature of the thermostat, K.
        rng: Generator of the thermostat's random forces.
        x: Positions (n, 3), Angstrom.
        v: Velocities (n, 3) in ASE's unit.
        kept: Positions (n, 3) at the last check, and the number of steps until then.
        exploded: Whether the run was cut.
    """

    crystal: Structure
    temperature: float
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.mass = atomic_masses[list(self.crystal.atomic_numbers)][:, None]
        self.dt = TIME_STEP * units.fs / (2 if self.mass.min() < LIGHT else 1)
        self.floor = least_ratio(self.crystal)
        self.x = self.crystal.cart_coords.copy()
        self.thermal = np.sqrt(units.kB * self.temperature / self.mass)
        # Atoms at rest have no potential energy yet, half of what they get goes there.
        self.v = np.sqrt(2) * self.thermal * self.rng.standard_normal(self.x.shape)
        self.v -= (self.mass * self.v).sum(axis=0) / self.mass.sum()
        self.kept, self.exploded = (self.x.copy(), 0), False

    @property
    def structure(self) -> Structure:
        """The crystal as it is now."""
        return rebuilt(self.crystal, self.crystal.lattice.matrix, self.x)

    def kick(self, forces: np.ndarray) -> None:
        """Half a step of the velocities by forces (n, 3), eV/Angstrom."""
        self.v += self.dt / 2 * forces / self.mass

    def drift(self, friction_time: float) -> None:
        """A step of the positions, with the thermostat in its middle (BAOAB, doi 10.1093/amrx/abs010)."""
        self.x += self.dt / 2 * self.v
        left = np.exp(-self.dt / (friction_time * units.fs))
        self.v = left * self.v + np.sqrt(1 - left**2) * self.thermal * self.rng.standard_normal(self.x.shape)
        self.x += self.dt / 2 * self.v

    def check(self, step: int) -> None:
        """Cut the run if it has exploded; otherwise, from time to time, keep the positions."""
        if not np.isfinite(self.v).all() or np.abs(self.v * self.dt).max() > FASTEST:
            self.exploded = True
        elif step % CHECKED == 0:
            self.exploded = closest_ratio(self.structure) < self.floor
            self.kept = self.kept if self.exploded else (self.x.copy(), step)


def forces_of(adapter: Adapter, structures: Sequence[Structure]) -> list[np.ndarray]:
    """Forces (n, 3) on the atoms of each crystal, eV/Angstrom."""
    graphs = adapter.graphs(structures)
    order = [i for group in adapter.groups(graphs) for i in group]
    parts = np.split(adapter.forces(graphs).astype(float), np.cumsum([len(structures[i]) for i in order])[:-1])
    return [part for _, part in sorted(zip(order, parts, strict=True), key=lambda pair: pair[0])]


def simulate(adapter: Adapter, runs: Sequence[Run], steps: int = STEPS, friction_time: float = FRICTION_TIME) -> None:
    """Move all runs together, one pass of the potential a step; those that explode are cut.

    Args:
        adapter: Adapter of the potential.
        runs: Runs to move, at least one.
        steps: Number of steps.
        friction_time: Time in fs in which the thermostat forgets a velocity; it does not act if that is infinite.
    """
    forces = dict(zip(map(id, runs), forces_of(adapter, [run.structure for run in runs]), strict=True))
    going = list(runs)
    for step in track(range(1, steps + 1), "molecular dynamics"):
        for run in going:
            run.kick(forces[id(run)])
            run.drift(friction_time)
            run.check(step)
        going = [run for run in going if not run.exploded]
        if not going:
            return
        forces = dict(zip(map(id, going), forces_of(adapter, [run.structure for run in going]), strict=True))
        for run in going:
            run.kick(forces[id(run)])


def dynamics(
    adapter: Adapter, crystals: Sequence[Structure], rngs: Sequence[np.random.Generator], max_atoms: int
) -> list[Configuration | None]:
    """Last snapshots of short runs at random temperatures, in randomly strained cells.

    Of a run that explodes it is the last snapshot before that; None if there is none.
    """
    runs, records, strains = [], [], []
    for crystal, rng in zip(crystals, rngs, strict=True):
        cell, repeats = grown(crystal, 2 * LEAST_ATOMS, max_atoms)
        largest, temperature = rng.uniform(0, STRAIN), rng.uniform(*TEMPERATURES)
        start = rebuilt(cell, cell.lattice.matrix @ (np.eye(3) + strain_of(largest, rng)))
        runs.append(Run(start, temperature, rng))
        strains.append(largest)
        records.append(repeats)
    if several := [run for run in runs if len(run.x) > 1]:
        simulate(adapter, several)
    return [_snapshot(*each) for each in zip(runs, records, strains, strict=True)]


def _snapshot(run: Run, repeats: str, strain: float) -> Configuration | None:
    """The last positions that a run kept, with a record of it."""
    x, step = run.kept
    if step == 0:
        return None
    u = x - run.crystal.cart_coords
    size = float(np.sqrt(((u - u.mean(axis=0)) ** 2).sum(axis=1).mean()))
    time = f"{step * run.dt / units.fs:.0f} fs at {run.temperature:.0f} K" + (", then exploded" if run.exploded else "")
    words = [repeats, f"strain {strain:.2g}", time, f"displaced {size:.2g} A"]
    structure = rebuilt(run.crystal, run.crystal.lattice.matrix, x)
    return Configuration(structure, "; ".join(word for word in words if word), size, float(strain))
