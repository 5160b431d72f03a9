"""
Molecular dynamics that finds its own gaps and fills them
=========================================================

A potential is trusted where it was trained. In a simulation it goes elsewhere, and nothing tells. Here an alloy that
the potential has never seen is heated. The calculator says at every step how new the place is, a watcher collects the
newest frames, an oracle labels these few, and the potential is corrected there and nowhere else. A second
simulation, with another seed, shows what that brought.

Run it on your own with ``python md_fills_its_gaps.py POTENTIAL --crystal my.cif``. The oracle is SevenNet
(``pip install 'matgl_fill[sevennet]'``); ``--oracle`` takes another: ``chgnet``, the directory of a MatGL potential, or
``module:factory`` for any ASE calculator, such as ``ase.calculators.emt:EMT``.
"""

import argparse
import tempfile
from pathlib import Path

import ase.io
import numpy as np
from ase import units
from ase.build import bulk
from ase.md.langevin import Langevin

import matgl_fill as mf
from matgl_fill.structures import bundled
from matgl_fill.training import resolve

parser = argparse.ArgumentParser()
parser.add_argument("potential", nargs="?", default=bundled.POTENTIAL)
parser.add_argument("--crystal", help="any file that ASE reads; default: Cu3Au, 32 atoms")
parser.add_argument("--oracle", default="sevennet")
parser.add_argument("--picture", type=Path, help="file for the picture")
given = parser.parse_args()

name, oracle = resolve(given.oracle)

# %%
# A calculator that knows what it knows
# -------------------------------------
#
# ``FillCalculator`` is MatGL's own ASE calculator, with the same energies, forces and stresses. From the same forward
# pass it reads how far the structure, and every atom, is from the crystals that are known: a novelty of 0 is a known
# crystal, 1 is as far as known crystals are from each other. The known crystals are the pool; without one it is the
# package's.

potential = mf.load_model(given.potential)
calc = mf.FillCalculator(potential, stress_unit="eV/A3")

if given.crystal:
    crystal = ase.io.read(given.crystal)
else:
    crystal = bulk("Cu", a=3.76, cubic=True)
    crystal.symbols[0] = "Au"
    crystal = crystal * (2, 2, 2)
crystal.calc = calc
crystal.get_potential_energy()
print(f"{crystal.get_chemical_formula()} at rest: novelty {crystal.info['novelty']:.2f}")
print(f"its newest atom: {crystal.arrays['novelty_per_atom'].max():.2f}")

# %%
# Heating
# -------
#
# Langevin dynamics from 300 K to 1500 K in 0.3 ps. The watcher keeps at most 16 frames, those whose atoms are furthest
# from what is known, and no two that are alike. A plain function records the rest.

STEPS, EVERY = 150, 5


def heat(seed, watch=False):
    """Temperature, novelty and frames of one run."""
    atoms = crystal.copy()
    atoms.calc = calc
    rng = np.random.RandomState(seed)
    thermostat = {"temperature_K": 300, "friction": 0.02 / units.fs, "fixcm": False, "rng": rng}
    dynamics = Langevin(atoms, 2 * units.fs, **thermostat)
    rows, frames = [], []

    def look():
        temperature = 300 + 1200 * dynamics.get_number_of_steps() / STEPS
        dynamics.set_temperature(temperature_K=temperature)
        rows.append((temperature, calc.get_property("novelty_per_atom", atoms).max()))
        frames.append(atoms.copy())

    dynamics.attach(look, interval=EVERY)
    if watch:
        dynamics.attach(calc.watch(atoms, novelty=None, per_atom=0.3, budget=16, path=gaps), interval=EVERY)
    dynamics.run(STEPS)
    return np.array(rows), frames


folder = tempfile.TemporaryDirectory()
gaps = Path(folder.name) / "gaps.extxyz"
first, _ = heat(0, watch=True)
watcher = calc.watchers[0]
for low in (300, 700, 1100):
    part = first[(first[:, 0] >= low) & (first[:, 0] < low + 400)]
    print(f"{low} to {low + 400} K: newest atom {part[:, 1].mean():.2f}")
print(f"{watcher.seen} of {watcher.calls} frames were new, {len(watcher.frames)} kept in {gaps.name}")

# %%
# What is it worth?
# -----------------
#
# The error is only known by asking. A second run with another seed is the test: the oracle labels every third frame.

_, frames = heat(1)
frames = frames[::3]
truth = []
for frame in frames:
    frame.calc = oracle
    truth.append(frame.get_forces())


def errors():
    """Mean absolute error of a force component in each frame of the second run, eV/A."""
    out = []
    for frame, forces in zip(frames, truth, strict=True):
        frame.calc = calc
        out.append(np.abs(frame.get_forces() - forces).mean())
    return np.array(out)


before = errors()
print(f"force error against {name}: {before.mean():.3f} eV/A, mean force {np.abs(truth).mean():.3f} eV/A")

# %%
# Filling
# -------
#
# One call labels the collected frames, solves a correction of the potential in closed form, and lets the guard judge:
# if energies or forces of known crystals moved by more than their budgets, the correction is scaled down until they do
# not. The calculator then goes on with the model that was accepted.

result = calc.fill(oracle)
after = errors()
print(result.report.verdict.headline)
for check in result.report.guard:
    if check.measure in ("force drift", "mean energy shift"):
        print(f"{check.measure} {check.value:.4f} of {check.budget:g} {check.unit}")
print(f"force error against {name}: {after.mean():.3f} eV/A, {100 * (after.mean() / before.mean() - 1):+.0f} %")

# %%
# The frames count as known from now on.

crystal.get_potential_energy()
print(f"the crystal at rest: novelty {crystal.info['novelty']:.2f}")

# %%
# ``undo`` brings back the potential that was given. It was never changed.

print("undo gives the caller's own model back:", calc.undo() is potential)
print("the same errors as before, to the bit:", np.array_equal(errors(), before))

# %%
# The picture
# -----------

from matplotlib.figure import Figure  # noqa: E402

figure = Figure(figsize=(7, 3), layout="constrained")
left, right = figure.subplots(1, 2)
left.plot(first[:, 0], first[:, 1], ".", color="0.3")
left.set(xlabel="temperature (K)", ylabel="novelty of the newest atom", title="first run")
at = np.linspace(300, 1500, len(before))
right.plot(at, before, label="before")
right.plot(at, after, label="after filling")
right.set(xlabel="temperature (K)", ylabel="force error (eV/Å)", title="second run", ylim=0)
right.legend()
if given.picture:
    figure.savefig(given.picture, dpi=150)
folder.cleanup()
