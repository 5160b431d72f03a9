"""Label crystals with PBE by GPAW: energy, forces and stress, one crystal after the other.

It needs ASE, NumPy and GPAW alone, so that GPAW stays in an environment of its own:

    gpaw python label_with_gpaw.py proposals.extxyz labelled.extxyz
    mpirun -n 4 gpaw python label_with_gpaw.py proposals.extxyz labelled.extxyz

The same call goes on where it was interrupted. A crystal that fails is reported and left out; the next call tries it
again. Where GPAW and matgl_fill are in one environment, :func:`calculator` is an oracle too, under the name
``label_with_gpaw:calculator``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import minkowski_reduce
from gpaw import GPAW, PW, FermiDirac
from gpaw.mpi import world

CUTOFF = 600.0
"""Plane-wave cutoff in eV; it is right for compounds of Be, B, C, Mg, Al, Si, P and S: the stress of SiC is wrong by
0.0007 eV/A^3. Oxides and nitrides need 800: that of MgO is wrong by 0.015 here, and by 0.19 at 400 eV."""
DENSITY = 2.0
"""k-points per reciprocal Angstrom along each axis; 3.0 changes the forces of displaced SiC by 0.5 %."""
WIDTH = 0.1
"""Width of the Fermi-Dirac smearing in eV; energies are extrapolated to none."""


class PlaneWavePBE(Calculator):
    """Energy, forces and stress of a periodic crystal with PBE in plane waves, without spin.

    The lattice vectors are replaced by the shortest that span the same lattice, since grids of acute cells are bad. The
    crystal is not turned, so that forces and stress are those of the atoms that were given.
    """

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012, as ASE has it
    default_parameters = {"cutoff": CUTOFF, "density": DENSITY, "width": WIDTH}  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Fill ``results``: energy in eV, forces in eV/Angstrom, stress in eV/Angstrom^3 (positive in tension)."""
        super().calculate(atoms, properties, system_changes)
        settings = self.parameters
        short, _ = minkowski_reduce(self.atoms.cell)
        crystal = Atoms(self.atoms.numbers, self.atoms.positions, cell=short, pbc=True)
        crystal.wrap()
        crystal.calc = GPAW(
            mode=PW(settings["cutoff"]),
            xc="PBE",
            kpts={"density": settings["density"], "gamma": True},
            occupations=FermiDirac(settings["width"]),
            symmetry={"point_group": False},
            convergence={"density": 1e-5},
            txt=None,
        )
        self.results = {
            "energy": crystal.get_potential_energy(),
            "forces": crystal.get_forces(),
            "stress": crystal.get_stress(),
        }


def calculator() -> PlaneWavePBE:
    """The calculator with its default settings."""
    return PlaneWavePBE()


def finished(path: Path, frames: list[Atoms]) -> dict[str, Atoms]:
    """Labelled frames of an earlier call, by id; it ends if one of them is another crystal than the given one."""
    done = {a.info["id"]: a for a in ase.io.read(path, ":")} if path.exists() else {}
    for atoms in frames:
        before = done.get(atoms.info["id"])
        if before is not None and not (len(before) == len(atoms) and np.allclose(before.positions, atoms.positions)):
            sys.exit(f"{path} holds another crystal under the id {atoms.info['id']}; give another file.")
    return done


def main() -> None:
    """Label all frames of a file that are not in the other file yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("proposals", type=Path, help="extended XYZ; each frame has an id")
    parser.add_argument("labelled", type=Path, help="extended XYZ with energy, forces and stress")
    given = parser.parse_args()
    frames = ase.io.read(given.proposals, ":")
    done = finished(given.labelled, frames)
    for atoms in frames:
        name, start = atoms.info["id"], time.perf_counter()
        if name in done:
            continue
        atoms.calc = calculator()
        try:
            results = {
                "energy": atoms.get_potential_energy(),
                "forces": atoms.get_forces(),
                "stress": atoms.get_stress(),
            }
        except Exception as error:  # one crystal that does not converge must not end the others
            print(f"{name} ({atoms.symbols}) failed and is left out: {error}", flush=True) if world.rank == 0 else None
            continue
        atoms.calc = SinglePointCalculator(atoms, **results)
        done[name] = atoms
        if world.rank == 0:
            new = given.labelled.with_name(f".{given.labelled.name}.new")
            ase.io.write(new, list(done.values()), format="extxyz")
            new.replace(given.labelled)  # at once, so that a file is whole whenever the call ends
            seconds, largest = time.perf_counter() - start, np.abs(results["forces"]).max()
            print(f"{name} ({atoms.symbols}): largest force {largest:.2f} eV/A, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
