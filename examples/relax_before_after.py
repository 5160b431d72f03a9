"""
A relaxation before and after filling
=====================================

A small potential is relaxed on a crystal that it does not know, and ends at the wrong volume. The path of that
relaxation is what it did not know: its frames are labelled, learnt, and the relaxation is repeated.

Run it on your own with ``python relax_before_after.py POTENTIAL --crystal my.cif``; ``--oracle`` as in the example
of molecular dynamics: ``sevennet``, ``chgnet``, the directory of a MatGL potential, or ``module:factory``.
"""

import argparse
from pathlib import Path

import ase.io
import numpy as np
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE

import matgl_fill as mf
from matgl_fill.structures import bundled
from matgl_fill.training import resolve

parser = argparse.ArgumentParser()
parser.add_argument("potential", nargs="?", default=bundled.POTENTIAL)
parser.add_argument("--crystal", help="any file that ASE reads; default: Cu3Au, rattled and expanded")
parser.add_argument("--oracle", default="sevennet")
parser.add_argument("--picture", type=Path, help="file for the picture")
given = parser.parse_args()

name, oracle = resolve(given.oracle)

# %%
# Relaxing
# --------
#
# ASE's filters need the stress in eV/Å³. The watcher is attached to the optimiser like any observer.

if given.crystal:
    start = ase.io.read(given.crystal)
else:
    start = bulk("Cu", a=3.95, cubic=True)
    start.symbols[0] = "Au"
    start.rattle(0.1, seed=0)


def relax(calculator, watcher=None):
    """The relaxed crystal and the energies on the way."""
    atoms = start.copy()
    atoms.calc = calculator
    energies = []
    optimiser = FIRE(FrechetCellFilter(atoms), logfile=None)
    optimiser.attach(lambda: energies.append(atoms.get_potential_energy() / len(atoms)))
    if watcher is not None:
        optimiser.attach(lambda: watcher(atoms))
    optimiser.run(fmax=0.02, steps=100)
    return atoms, np.array(energies)


potential = mf.load_model(given.potential)
calc = mf.FillCalculator(potential, stress_unit="eV/A3")
watcher = calc.watch(novelty=0.01, per_atom=None, spacing=0.01, budget=20)
relaxed = {"before": relax(calc, watcher), name: relax(oracle)}
print(f"{watcher.calls} steps, {len(watcher.frames)} frames kept")

# %%
# Filling
# -------
#
# Around a relaxation the curvature counts. It is in the labels of a few copies of the path's frames that are pulled,
# pressed and rattled.

rng = np.random.default_rng(0)
frames = list(watcher.frames)
for frame in watcher.frames[-5:]:
    for _ in range(4):
        copy = frame.copy()
        copy.set_cell(copy.cell.array @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), scale_atoms=True)
        copy.positions += rng.normal(0, 0.05, copy.positions.shape)
        frames.append(copy)
result = calc.fill(oracle, frames=frames)
print(result.report.verdict.headline)
relaxed["after"] = relax(calc)

# %%
# What changed
# ------------

truth, _ = relaxed[name]
for key, (atoms, energies) in relaxed.items():
    off = 100 * (atoms.get_volume() / truth.get_volume() - 1)
    print(f"{key:10} {len(energies):4} steps, {atoms.get_volume() / len(atoms):.2f} A^3 per atom, {off:+.2f} % off")

# %%
# And undone
# ----------

calc.undo()
again, _ = relax(calc)
print("the same relaxation as before, to the bit:", np.array_equal(again.positions, relaxed["before"][0].positions))

# %%
# The picture
# -----------

from matplotlib.figure import Figure  # noqa: E402

figure = Figure(figsize=(5, 3), layout="constrained")
axes = figure.subplots()
for key, (_, energies) in relaxed.items():
    axes.plot(energies - energies[-1], label=key)
axes.set(xlabel="step", ylabel="energy over the last one (eV/atom)", yscale="symlog")
axes.legend()
if given.picture:
    figure.savefig(given.picture, dpi=150)
