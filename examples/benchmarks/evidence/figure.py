"""The figure of one group of measurements."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from examples.benchmarks.evidence.sections import main_arms
from examples.benchmarks.evidence.statistics import Group
from examples.benchmarks.evidence.suite import PLAIN
from matgl_fill.roughness.plots import DARK, house_style

STYLES = {
    "roughness": ("#d55e00", "o"),
    "random": ("#0072b2", "s"),
    "farthest": ("#009e73", "D"),
    "dissimilar": ("#e69f00", "P"),
    "layers": ("#cc79a7", "^"),
    "descriptors": ("#222222", "v"),
}
"""Colour and marker of the arms in the figure, told apart by either."""


def task_dots(group: Group) -> Figure:
    """Change on every task: mean over seeds as a dot, lowest to highest seed as a line; without the ablation."""
    arms = main_arms(group)
    with house_style("evidence"):
        figure = Figure((8.0, 1.2 + (0.085 * len(arms) + 0.1) * len(group.tasks)), layout="constrained")
        ax = figure.subplots()
        for k, arm in enumerate(arms):
            colour, marker = STYLES[arm.arm]
            values, row = arm.gains[PLAIN], np.arange(len(group.tasks)) + 0.8 * ((k + 0.5) / len(arms) - 0.5)
            ax.hlines(row, values.min(axis=1), values.max(axis=1), color=colour, linewidth=1.2)
            ax.plot(values.mean(axis=1), row, marker, color=colour, markersize=4, label=arm.name)
        for i in range(0, len(group.tasks), 2):
            ax.axhspan(i - 0.5, i + 0.5, color="#f2f2f2", linewidth=0, zorder=0)
        ax.axvline(0, color=DARK, linewidth=1)
        ax.set_yticks(range(len(group.tasks)), group.tasks)
        ax.set(ylim=(len(group.tasks) - 0.5, -0.5), xlabel="reduction of the MAE, % (dot: mean, line: all seeds)")
        ax.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper left", ncols=5)
    return figure
