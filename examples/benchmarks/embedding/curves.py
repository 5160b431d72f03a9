"""The picture of the learning curves: error of frozen features against the number of labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullLocator

from examples.benchmarks.common.rows import Row
from matgl_fill.evaluation.intervals import mean_interval
from matgl_fill.roughness.plots import house_style

TASKS = {
    "log bulk_modulus_vrh_GPa": "bulk modulus (log GPa)",
    "log last_phdos_peak_per_cm": "highest phonon frequency (log cm⁻¹)",
    "heat_of_formation_eV": "heat of formation, perovskites (eV)",
}
WAYS = {
    "descriptors": ("descriptors alone", "#999999", ":"),
    "CHGNet + descriptors": ("CHGNet", "#e69f00", "-"),
    "SevenNet + descriptors": ("SevenNet", "#cc79a7", "-"),
    "MEGNet, original + descriptors": ("MEGNet, original", "#0072b2", "--"),
    "MEGNet, filled + descriptors": ("MEGNet, filled", "#0072b2", "-"),
    "TensorNet, original + descriptors": ("TensorNet", "#009e73", "--"),
    "joined, filled + descriptors": ("filled MEGNet and TensorNet", "#000000", "-"),
}
"""Ways that are drawn, all with descriptors: their names there, colours and lines."""
LABELLED = (50, 100, 200, 400, 800, 1200)
"""Numbers of labels."""


def draw_curves(rows: Sequence[Row]) -> Figure:
    """Draw a panel a task: the mean error of every way over draws of the labelled crystals, with its 95 % interval."""
    with house_style("curves"):
        figure = Figure((10.5, 3.8), layout="constrained")
        panels = figure.subplots(1, len(TASKS))
        for ax, (task, title) in zip(panels, TASKS.items(), strict=True):
            _draw_task(ax, [row for row in rows if row["task"] == task])
            ax.set_title(title, fontsize=9)
            ax.set_xlabel("labels")
        panels[0].set_ylabel("mean absolute error")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_task(ax: Axes, rows: Sequence[Row]) -> None:
    for way, (name, colour, line) in WAYS.items():
        errors = {n: [r["error"] for r in rows if (r["way"], r["labels"]) == (way, n)] for n in LABELLED}
        sizes = [n for n, found in errors.items() if found]
        means = [float(np.mean(errors[n])) for n in sizes]
        ends = np.array([mean_interval(np.array(errors[n])) for n in sizes]).T
        ax.plot(sizes, means, line, color=colour, label=name, marker="o", markersize=3, linewidth=1.2)
        ax.vlines(sizes, *ends, color=colour, linewidth=1)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(LABELLED, [str(n) for n in LABELLED], fontsize=7)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_formatter(FormatStrFormatter("%g"))
    ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.tick_params(axis="y", which="both", labelsize=7)
