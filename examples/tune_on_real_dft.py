"""
Tune a potential on ten real DFT calculations
=============================================

Ten configurations of a small class of materials, light borides, carbides, phosphides, silicides and sulfides, were
proposed by ``matgl-fill propose`` and labelled with PBE by GPAW. Here a potential learns from them and is judged on
other compounds of the class, which it has not seen.

**The DFT was run once**; its results lie in ``examples/real_dft`` beside the script that made them, so that this page
needs no DFT code. The guide :doc:`/guides/real_dft` tells how. Run it on your own potential with
``python tune_on_real_dft.py POTENTIAL``.
"""

import argparse
from pathlib import Path

import ase.io
from rich.console import Console

import matgl_fill as mf
from matgl_fill.evaluation import compare_errors, potential_errors
from matgl_fill.structures import bundled
from matgl_fill.training import elemental_shifts, read_labelled

parser = argparse.ArgumentParser()
parser.add_argument("potential", nargs="?", default=bundled.POTENTIAL)
given = parser.parse_args()
folder = Path(__file__).parent / "real_dft"

# %%
# The class and its labels
# ------------------------
#
# The pool says what the class is: crystals at rest, of the Materials Project. The labelled frames say in ``split`` what
# they are for.

pool = mf.read_structures(folder / "pool.extxyz")
frames = ase.io.read(folder / "labels.extxyz", ":")
train, test = (read_labelled([a for a in frames if a.info["split"] == name]) for name in ("train", "test"))
print(f"{len(pool)} crystals show the class; {len(train.ids)} labels to learn from, {len(test.ids)} to judge")
assert not {s.reduced_formula for s in train.structures} & {s.reduced_formula for s in test.structures}

# %%
# Tune
# ----
#
# On the command line: ``matgl-fill tune POTENTIAL pool.extxyz --labelled labelled.extxyz -o tuned``. Here with a
# quarter of the usual steps, so that this page takes minutes.

potential = mf.load_model(given.potential)
learnt = [a for a in frames if a.info["split"] == "train"]
result = mf.fill_tune(potential, pool, labelled=learnt, seed=0, config={"steps": 200})
print(result.report.verdict.headline)

# %%
# Before and after
# ----------------
#
# GPAW's energies have another zero for every element than the potential's, so that elemental energies are fitted before
# energies are compared, for both potentials alike.


def errors(model):
    """Errors of a potential on the test crystals, after elemental shifts."""
    found = potential_errors(model, test.structures, test.labels)
    counts = [len(s) for s in test.structures]
    difference = (found.energy[0] - found.energy[1]) * counts
    shifts, _ = elemental_shifts(test.structures, difference, mf.get_adapter(potential).element_types)
    return potential_errors(model, test.structures, test.labels, shifts=shifts)


# %%
# Read this table and not the verdict: ten labels are too few to hold any out, so that the guard could not judge by
# them. The small potential of the package gains nothing; give twenty labels at least, better a hundred.

Console(width=100).print(compare_errors(errors(result.original), errors(result.model)))
