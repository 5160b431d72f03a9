"""
How rough is your model on your crystals?
=========================================

An embedding is smooth where neighbours are alike and rough where a small step in latent space leads to another kind of
crystal. This example measures that, finds the roughest places and the crystals beside them, and draws both pictures.
It needs no label and trains nothing.

Run it on your own with ``python roughness_of_your_model.py MODEL STRUCTURES``. Without arguments it looks at the model
and the crystals that the package carries.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import matgl_fill as mf
from matgl_fill.structures import bundled

parser = argparse.ArgumentParser()
parser.add_argument("model", nargs="?", default=bundled.MODEL)
parser.add_argument("structures", nargs="?", default=bundled.ASSETS / "crystals_pool.jsonl.gz")
given = parser.parse_args()

# %%
# Embed
# -----
#
# One row per crystal. The model is left as it was, and batches are made as large as is quickest.

model = mf.load_model(given.model)
crystals = mf.read_structures(given.structures)
Z = mf.embed(model, crystals)
print(f"{Z.shape[0]} crystals, {Z.shape[1]} dimensions")

# %%
# Analyse
# -------
#
# The response is what is to vary smoothly. ``neighbour_similarity`` asks whether latent neighbours are alike to plain
# descriptors of composition and structure; ``perturbation_sensitivity`` asks whether the model overreacts when atoms
# move by 0.05 Å; ``prediction`` is the model's own. An array or a function of the crystals will do as well.
#
# The frustration sums the barriers between basins of the response. It compares between responses and between models
# of one width, not between embeddings of different width.

for response in ("neighbour_similarity", "perturbation_sensitivity", "prediction"):
    found = mf.analyze_roughness(Z, response, crystals, model=model)
    print(f"{response:26} frustration {found.frustration:.4f}, {len(found.network.minima)} minima")

rough = mf.analyze_roughness(Z, "neighbour_similarity", crystals)

# %%
# Where
# -----
#
# The maxima of the local roughness are what fill-tuning fills. Each lies beside some known crystal, the nearest in
# units of standard deviation.

points, height = rough.maxima(10)
X, targets = (Z - Z.mean(axis=0)) / Z.std(axis=0), (points - Z.mean(axis=0)) / Z.std(axis=0)
nearest = np.linalg.norm(targets[:, None] - X, axis=2).argmin(axis=1)
for value, i in zip(height, nearest, strict=True):
    print(f"local roughness {value:.4f} beside {crystals.structures[i].composition.reduced_formula}")

# %%
# The same for every crystal: which are the roughest places to be, and the smoothest?

local = rough.local(Z)
order = np.argsort(-local)
formulas = [s.composition.reduced_formula for s in crystals.structures]
print("roughest: ", ", ".join(formulas[i] for i in order[:8]))
print("smoothest:", ", ".join(formulas[i] for i in order[-8:]))

# %%
# A map
# -----
#
# Principal components of the embedding, coloured by local roughness, with the maxima marked.

folder = Path(tempfile.mkdtemp())
latent_map = rough.plot_map(Z)
latent_map.savefig(folder / "map.png")

# %%
# The disconnectivity graph tells how basins of the response join as the level rises: long single lines are what
# frustrates.

tree = rough.plot_disconnectivity("neighbour similarity")
tree.savefig(folder / "disconnectivity.png")
print("pictures in", folder)

# %%
# What it does not tell
# ---------------------
#
# Local roughness is high where crystals are dense, so it does not say where regressions on the embedding err: on the
# models measured (:doc:`/results/index`) its rank correlation with held-out errors is slightly negative. Distance to
# the nearest training crystal says that better:

distance = np.sort(np.linalg.norm(X[:, None] - X, axis=2), axis=1)[:, 1]
rank = [np.argsort(np.argsort(v)) for v in (local, distance)]
print(f"rank correlation of local roughness with distance to the nearest crystal: {np.corrcoef(*rank)[0, 1]:+.2f}")
