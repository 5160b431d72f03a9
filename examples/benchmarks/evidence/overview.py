"""The picture of the README: errors after filling, of features and of a potential, and what changes elsewhere."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from matgl_fill.roughness.plots import DARK, figure_bytes, house_style
from matgl_fill.utils.files import atomic_write

RESULTS = Path("docs/results")
MODELS = {
    "MEGNet-MP-2018.6.1-Eform": "MEGNet formation energy",
    "MEGNet-MP-2019.4.1-BandGap-mfi": "MEGNet band gap",
    "M3GNet-MP-2018.6.1-Eform": "M3GNet formation energy",
    "TensorNet-MatPES-PBE-v2025.1-PES": "TensorNet MatPES",
    "M3GNet-MatPES-PBE-v2025.1-PES": "M3GNet MatPES",
}
"""Models of the left panel, and how the picture calls them."""
ARM, POTENTIAL, CLASS, LABELS = "100 at rough places", "M3GNet-MP-2021.2.8-PES", "alloys_7net", "100"
MEASURES = ("forces", "large forces", "stress", "energy")
WAYS = {"default": ("filled", "#0072b2"), "naive": ("MatGL's trainer", "#e69f00")}
TUNED = "#0072b2"
ELSEWHERE = {"at rest": "forces elsewhere, at rest (%)", "displaced": "forces elsewhere, displaced (%)"}
"""Crystals outside of the class, and the columns of what changes there."""


@dataclass(frozen=True)
class Bar:
    """A value in percent with the ends of its interval."""

    value: float
    low: float
    high: float


def features(rows: list[dict[str, str]]) -> dict[str, Bar]:
    """Errors of probes on the tuned embedding by model, from the table of all models."""
    found = {}
    for row in rows:
        if row["pool"] == "mp_pool" and row["crystals"] == ARM and row["model"] in MODELS:
            gain, low, high = (float(x.replace("−", "-")) for x in re.findall(r"[+−]?\d+\.\d+", row["mean"]))
            found[MODELS[row["model"]]] = Bar(100 - gain, 100 - high, 100 - low)
    return found


def potential(rows: list[dict[str, str]], way: str) -> tuple[dict[str, Bar], dict[str, Bar]]:
    """Errors on other formulas, and change of forces elsewhere: mean, lowest and highest of the seeds."""
    wanted = {"model": POTENTIAL, "data": CLASS, "arm": way, "n": LABELS, "choice": "random", "settings": ""}
    lines = [row for row in rows if wanted.items() <= row.items()]

    def bar(column: str, base: float) -> Bar:
        values = [base + float(r[column]) for r in lines]
        return Bar(float(np.mean(values)), min(values), max(values))

    return {m: bar(m, 100) for m in MEASURES}, {name: bar(column, 0) for name, column in ELSEWHERE.items()}


def draw_bars(ax: Axes, bars: dict[str, Bar], colour: str, label: str, offset: float, height: float) -> None:
    """Draw a group of horizontal bars with their intervals."""
    for k, bar in enumerate(bars.values()):
        ax.barh(k + offset, bar.value, height, color=colour, label=label if k == 0 else None)
        ax.hlines(k + offset, bar.low, bar.high, color=DARK, linewidth=1)
    ax.set_yticks(range(len(bars)), list(bars))
    ax.tick_params(axis="y", length=0)


def write_values(ax: Axes, bars: dict[str, Bar], offset: float, base: float) -> None:
    """Write what the bars of values differ from a base by beside them."""
    for k, bar in enumerate(bars.values()):
        words = f"{bar.value - base:+.0f} %" if base else f"{bar.value:.0f} %"
        ax.text(max(base, bar.high) + 2, k + offset, words, va="center", fontsize=8)


def overview(summary: list[dict[str, str]], filling: list[dict[str, str]]) -> Figure:
    """Three panels: probes on features, errors of a potential, and its forces elsewhere."""
    with house_style("overview"):
        figure = Figure((10.5, 3.0), layout="constrained")
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.0, 1.0, 0.7))
        found = features(summary)
        draw_bars(left, found, TUNED, "fill-tuned", 0.0, 0.6)
        write_values(left, found, 0.0, 100)
        left.set_title("features: probes on 16 or 17 tasks", fontsize=9)
        for k, (way, (name, colour)) in enumerate(WAYS.items()):
            inside, outside = potential(filling, way)
            offset = 0.4 * (k - 0.5)
            draw_bars(middle, inside, colour, name, offset, 0.36)
            write_values(middle, inside, offset, 100)
            draw_bars(right, outside, colour, name, offset, 0.36)
            write_values(right, outside, offset, 0)
        middle.set_title("potential: 100 labels of alloys, other formulas", fontsize=9)
        right.set_title("elsewhere", fontsize=9)
        right.legend(fontsize=8, loc="center right")
        for ax in (left, middle):
            ax.axvline(100, color=DARK, linewidth=1, linestyle="--")
            ax.set(xlim=(0, 140), xlabel="mean absolute error, % of that before")
        right.set(xlim=(0, 190), xlabel="change of forces, %")
        for ax in (left, middle, right):
            ax.invert_yaxis()
        return figure


def read(path: Path) -> list[dict[str, str]]:
    """Rows of a table of the results."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def picture(
    out: Annotated[Path, typer.Option("--out", "-o", help="SVG file of the picture.")] = RESULTS / "overview.svg",
) -> None:
    """The picture of the README, from the tables of docs/results."""
    figure = overview(read(RESULTS / "summary.csv"), read(RESULTS / "filling.csv"))
    atomic_write(out, figure_bytes(figure, "svg"))
