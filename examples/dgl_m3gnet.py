"""
A M3GNet model of MatGL's DGL time
==================================

The pretrained M3GNet models were made with MatGL 2 on DGL. They run as exactly on PyG; for those who stay on DGL the
calls are the same, and the environment is another one::

    pip install torch==2.13.0
    pip install ".[dgl]"  # in a clone of the repository
    MATGL_BACKEND=DGL DGLBACKEND=pytorch python dgl_m3gnet.py M3GNet-MP-2021.2.8-PES STRUCTURES

MODEL is a model directory. Without it a small M3GNet with **random weights** shows the way: what it prints is real, but
such a model has no knowledge to keep or to improve.
"""

import argparse

import numpy as np
import torch
from matgl.apps.pes import Potential
from matgl.ext.ase import PESCalculator
from matgl.models import M3GNet
from pymatgen.io.ase import AseAtomsAdaptor

import matgl_fill as mf
from matgl_fill.adapters import backend
from matgl_fill.structures import bundled

parser = argparse.ArgumentParser()
parser.add_argument("model", nargs="?", help="directory of a M3GNet model; default: a small one with random weights")
parser.add_argument("structures", nargs="?", help="default: 80 crystals of the package")
given = parser.parse_args()
print("MatGL runs on", backend.NAME)

# %%
# The model
# ---------
#
# On MatGL 4 ``mf.load_model`` runs old M3GNet checkpoints as exactly, on PyG; this is for those who stay on DGL.

torch.manual_seed(0)
model = mf.load_model(given.model) if given.model else Potential(M3GNet(units=16, is_intensive=False))
adapter = mf.get_adapter(model)
pool = mf.read_structures(given.structures) if given.structures else bundled.bundled_pool(adapter.element_types)
pool = pool if given.structures else pool.subset(range(80))
print(f"{adapter.name}, {adapter.dim} dimensions, {len(pool)} crystals")

# %%
# Embedding and roughness
# -----------------------

Z = mf.embed(model, pool)
rough = mf.analyze_roughness(Z, structures=pool)
print(f"frustration {rough.frustration:.4f}, {len(rough.network.minima)} minima")

# %%
# Fill-tuning
# -----------
#
# Short, for M3GNet's three-body terms take their time: 5 crystals and 15 steps here.

settings = {"steps": 15, "copies": 3, "batch_size": 8, "replay_batch": 4, "replay_size": 40}
result = mf.fill_tune(model, pool, n=5, seed=0, config=settings)
print(result.report.verdict.headline, *result.report.verdict.reasons)
for p in result.proposals:
    print(f"{p.id}: {p.structure.composition.reduced_formula} from {p.parent}, {p.moves}")

# %%
# Energies and forces are what they were
# --------------------------------------
#
# The tuned copy only adds to the embedding. With MatGL's own calculator:

atoms = AseAtomsAdaptor.get_atoms(pool.structures[0], msonable=False)
atoms.rattle(0.05, seed=0)
values = []
for potential in (model, result.model):
    atoms.calc = PESCalculator(potential, stress_unit="eV/A3")
    values.append((atoms.get_potential_energy(), atoms.get_forces()))
print("same energy and forces to the bit:", all(np.array_equal(a, b) for a, b in zip(*values, strict=True)))
