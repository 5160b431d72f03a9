"""
Features for a random forest
============================

A hundred labelled crystals are too few to train a graph network and enough for a random forest, if its features are
good. This example puts the features of a fill-tuned model into scikit-learn and asks, as a matbench task does: how does
the error fall with the number of labels, and what does each part of the features bring?

Run it on your own with ``python features_for_random_forest.py MODEL STRUCTURES TASKS``: a model directory or hub name,
a folder or file of unlabelled crystals like yours, and a file of crystals with numeric labels.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import GridSearchCV, GroupKFold, GroupShuffleSplit, learning_curve
from sklearn.pipeline import make_pipeline

import matgl_fill as mf
from matgl_fill.evaluation import read_tasks
from matgl_fill.structures import bundled

parser = argparse.ArgumentParser()
parser.add_argument("model", nargs="?", default=bundled.MODEL)
parser.add_argument("structures", nargs="?", help="default: the 300 crystals of the package")
parser.add_argument("tasks", nargs="?", help="default: bulk moduli of 300 other crystals")
given = parser.parse_args()

# %%
# The task, and a model
# ---------------------
#
# A task has crystals, one property and the formula of each crystal: no formula should be in both the training and the
# test part. Fill-tuning sees no label. This is a short version, 10 crystals and 80 steps; leave ``n`` and ``config``
# out for a full run.

task = read_tasks(given.tasks)[0] if given.tasks else read_tasks(bundled.EVALUATION, ["bulk_modulus_GPa"])[0]
print(f"{task.name} ({task.unit}): {len(task)} crystals, mean deviation {np.abs(task.y - task.y.mean()).mean():.3f}")

folder = Path(tempfile.mkdtemp())
mf.fill_tune(mf.load_model(given.model), given.structures, n=10, seed=0, config={"steps": 80}, out=folder / "filled")
filled = folder / "filled" / "model"

# %%
# Features
# --------
#
# :class:`matgl_fill.FillFeaturizer` is a transformer: what it is given are crystals, and what it gives are columns with
# names. Several models are joined by giving several; a property model and a potential know different things. Without
# any part of a model the plain descriptors alone are left. Their first columns are statistics of elemental properties
# as in Magpie; the whole of it, by matminer, is in :doc:`/results/index`.

cache = folder / "features.sqlite"
ways = {
    "descriptors": mf.FillFeaturizer(parts=(), cache=cache),
    "original": mf.FillFeaturizer(filled, parts=("original",), descriptors=False, cache=cache),
    "tuned": mf.FillFeaturizer(filled, descriptors=False, cache=cache),
    "tuned + descriptors": mf.FillFeaturizer(filled, cache=cache),
    "joined with a potential": mf.FillFeaturizer([filled, "potential"], cache=cache, on_error="nan"),
}
table = ways["joined with a potential"].set_output(transform="pandas").fit_transform(list(task.structures))
print(f"joined: {table.shape[1]} features, such as {', '.join(table.columns[[0, -80, -1]])}")

# %%
# Error against the number of labels
# ----------------------------------
#
# Three draws of training and test crystals for each point. Thanks to the cache each crystal's features are made once.

forest = RandomForestRegressor(100, max_features=1 / 3, random_state=0)
draws = GroupShuffleSplit(3, test_size=0.25, random_state=0)
sizes = [n for n in (50, 100, 200, 400, 800, 1600) if n <= 0.7 * len(task)]
errors = {}
for name, features in ways.items():
    curve = learning_curve(
        make_pipeline(features.set_output(transform="default"), forest), list(task.structures), task.y,
        groups=task.groups, train_sizes=sizes, cv=draws, scoring="neg_mean_absolute_error", error_score="raise",
    )  # fmt: skip
    errors[name] = -curve[2]
    print(f"{name:24}", "  ".join(f"{n}: {e:.4f}" for n, e in zip(sizes, errors[name].mean(axis=1), strict=True)))

figure = Figure(figsize=(5, 3.5), layout="constrained")
axes = figure.subplots()
for name, values in errors.items():
    axes.errorbar(sizes, values.mean(axis=1), values.std(axis=1), marker="o", capsize=3, label=name)
axes.set(xscale="log", xlabel="labelled crystals", ylabel=f"mean absolute error ({task.unit})")
axes.set_xticks(sizes, map(str, sizes))
axes.legend(frameon=False, fontsize="small")
figure.savefig(folder / "curves.png")

# %%
# For a forest and so few labels, the descriptors alone are the best features here: the small model of the package,
# tuned for a minute, has nothing to add to them, and each further column hides the good ones. :doc:`/results/index`
# has published models, full runs, ridge regression, and what one would install instead.
#
# Which features?
# ---------------
#
# That is a question for your labels, and scikit-learn's to answer:

parts = [("original",), ("tuned",), ("original", "tuned"), ()]
search = GridSearchCV(
    make_pipeline(mf.FillFeaturizer(filled, cache=cache), forest),
    {"fillfeaturizer__parts": parts, "fillfeaturizer__layers": ["last", "all"]},
    cv=GroupKFold(3), scoring="neg_mean_absolute_error", error_score="raise",
)  # fmt: skip
search.fit(list(task.structures), task.y, groups=task.groups)
best = {name.removeprefix("fillfeaturizer__"): value for name, value in search.best_params_.items()}
print(f"best of {len(search.cv_results_['params'])}: {best}, error {-search.best_score_:.4f}")
