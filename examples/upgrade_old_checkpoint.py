"""
Upgrade a checkpoint from before MatGL 3
========================================

Since MatGL 3 a message is summed at the other end of its bond. Checkpoints from before load without an error and
predict wrong values. The way back is exact: in MEGNet and in TensorNet of PyG, the weights that read the two ends of a
bond change places.

No old checkpoint is needed to run this: exchanging those weights in a new model makes one, for the exchange is its own
inverse. With ``python upgrade_old_checkpoint.py MODEL`` it looks at a checkpoint of yours instead.
"""

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np

import matgl_fill as mf
from matgl_fill.adapters import core_of
from matgl_fill.adapters.legacy.messages import turn_messages
from matgl_fill.errors import MatglFillWarning
from matgl_fill.structures import bundled

parser = argparse.ArgumentParser()
parser.add_argument("model", nargs="?", help="directory of a MEGNet or TensorNet checkpoint")
given = parser.parse_args()
folder = Path(tempfile.mkdtemp())

# %%
# An old checkpoint
# -----------------
#
# What it predicted when it was made is known here, because it is made from a model of today.

old, then = given.model, None


def predictions(model):
    """Of 100 crystals of the package, in the model's own unit, per atom for potentials."""
    adapter = mf.get_adapter(model)
    crystals = bundled.bundled_pool(adapter.element_types).structures[:100]
    y = adapter.embed_graphs(adapter.graphs(crystals))[1]
    return adapter.intensive(y, np.array([len(s) for s in crystals]))


if old is None:
    model = mf.load_model(bundled.MODEL)
    then = predictions(model)
    turn_messages(core_of(model))
    model.save(folder / "old")
    old = folder / "old"

# %%
# Plain MatGL
# -----------
#
# No error, no warning, other values. ``legacy=False`` reads the file as plain MatGL does.

plain = predictions(mf.load_model(old, legacy=False))
if then is not None:
    print(f"read as it is, it is wrong by {np.abs(plain - then).mean():.3f} eV/atom on average")

# %%
# ``matgl_fill.load_model``
# -------------------------
#
# This file does not say when it was made; others do, by names, versions and settings. So the loader asks which way
# round the predictions on known crystals make sense, upgrades in memory, and says so. ``legacy=True`` or ``False``
# decides for it.

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", MatglFillWarning)
    model = mf.load_model(old)
upgraded = predictions(model)
for warning in caught:
    print("warning:", str(warning.message).replace(str(folder), "..."))
print(f"upgraded, it differs by {np.abs(upgraded - plain).mean():.3f} from what it was read as before")
if then is not None:
    print(f"and from what it predicted when it was made by {np.abs(upgraded - then).max():.1e} eV/atom at most")

# %%
# For good
# --------
#
# Saved, it is a copy that plain MatGL reads. ``matgl-fill upgrade OLD NEW`` does both.

model.save(folder / "new")
again = predictions(mf.load_model(folder / "new", legacy=False))
print(f"the upgraded copy, read as it is, differs from the upgraded model by {np.abs(again - upgraded).max():.1e}")

# %%
# M3GNet, QET and TensorNet of DGL
# --------------------------------
#
# More than two weights changed places there. They are loaded as a class of this package that computes as MatGL did
# then, and are used, fill-tuned and saved in the same way; plain MatGL reads the copy where this package is installed.
