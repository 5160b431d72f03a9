"""
Propose crystals for DFT and bring the labels back
==================================================

Fill-tuning can propose crystals, leave the calculations to you, and learn from what comes back. This example goes the
whole way with files as they would go to a cluster and return.

**No DFT is run here.** The small potential that the package carries stands in for it, so that the example takes less
than a minute; put your own code where ``standing_in_for_dft`` is. Run it on your own with
``python propose_for_dft.py MODEL STRUCTURES``.
"""

import argparse
import tempfile
from pathlib import Path

import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from matgl.ext.ase import PESCalculator

import matgl_fill as mf
from matgl_fill.structures import bundled, write_structures

parser = argparse.ArgumentParser()
parser.add_argument("model", nargs="?", default=bundled.MODEL)
parser.add_argument("structures", nargs="?", default=bundled.ASSETS / "crystals_pool.jsonl.gz")
given = parser.parse_args()
folder = Path(tempfile.mkdtemp())

# %%
# Propose
# -------
#
# Crystals beside the roughest places of the model's embedding. Ten here, a hundred by default; none of more than 16
# atoms, and none with an element for which the code has no pseudopotential. On the command line: ``matgl-fill propose
# MODEL STRUCTURES -n 100 --exclude Tc,Po --max-atoms 16 -o new`` writes CIF, POSCAR and a table too.

model = mf.load_model(given.model)
possible = {"exclude_elements": "Tc, Po, At, Fr, Ra, Ac, Th, Pa, U, Np, Pu", "max_atoms": 16}
proposals = mf.propose(model, given.structures, n=10, seed=0, config=possible)
for p in proposals:
    print(f"{p.id}: {p.structure.composition.reduced_formula:10} from {p.parent}, {p.moves}; distance {p.distance:.2f}")
write_structures([p.structure for p in proposals], folder / "proposals.extxyz", info=[{"id": p.id} for p in proposals])

# %%
# For a potential most of them are configurations of the known crystals: displaced, strained, with a vacancy or a
# surface, or from molecular dynamics by the potential itself.

potential = mf.load_model("potential")
for p in mf.propose(potential, given.structures, n=10, seed=0, config=possible):
    print(f"{p.id}: {p.kind:10} {p.structure.formula:12} from {p.parent}, {p.moves}")

# %%
# Label
# -----
#
# Energy of the cell in eV, forces in eV/Å, stress in eV/Å³ with ASE's sign: what ``ase.io.read("vasprun.xml")`` gives.
# Keep the ``id``. Crystals without stress, or without forces, are welcome too.

standing_in_for_dft = PESCalculator(mf.load_model(bundled.POTENTIAL), stress_unit="eV/A3")
done = []
for atoms in ase.io.read(folder / "proposals.extxyz", ":"):
    atoms.calc = standing_in_for_dft
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    done.append(atoms)
ase.io.write(folder / "labelled.extxyz", done)
largest = max(np.abs(a.get_forces()).max() for a in done)
print(f"{len(done)} crystals labelled, largest force {largest:.1f} eV/A")

# %%
# Bring them back
# ---------------
#
# A formation-energy model has no forces of its own, and learns them all the same: a linear head on its embedding
# gives an energy whose gradients are forces and stress. Energies may be of another level of theory than the model's;
# elemental references are fitted. On the command line: ``matgl-fill tune MODEL STRUCTURES --labelled labelled.extxyz
# -o tuned``.

result = mf.fill_tune(
    model, given.structures, labelled=folder / "labelled.extxyz", seed=0, config={"steps": 60, "copies": 5}
)
print(result.report.verdict.headline)
for name, losses in result.report.history.items():
    print(f"{name:12} weighted loss {losses[0]:.4f} at first, {losses[-1]:.4f} at last")

# %%
# These are losses on the labelled crystals themselves, and say nothing of others.
#
# The crystals stay what they are: proposals, not stable compounds. What a hundred labels bring, measured, is told in
# :doc:`/guides/training`: on the models tried, not more than the label-free objective.
