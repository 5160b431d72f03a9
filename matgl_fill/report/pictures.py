"""Pictures of the report as SVG text.

The same data give the same bytes, and no global plotting state is changed. Text and axes take the colours ``--ink``,
``--soft`` and ``--line`` of the page around, where it defines them.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from matgl_fill.errors import InputError
from matgl_fill.report.model import LatentMap, ParityPoints, RunReport
from matgl_fill.roughness.plots import BLUE, DARK, WIDTH, draw_map, house_style

DOTS = 220  # per inch, of the one layer that is not drawn as vectors
NAME = 26  # characters of a task's name beside its bar; the table has all of it
BETTER, WORSE = BLUE, "#d55e00"
AXES = ("first principal component", "second principal component")
THEME = {DARK: "ink", "#777777": "soft", "#dddddd": "line"}
"""Colours that a dark page has to change, with the names that it gives them."""
PANEL = "#eef1f4"
"""Background of a map's dots, the darkest of which would vanish on a dark page."""
LINES = (("#0072b2", "-"), ("#d55e00", "--"), ("#009e73", "-."), ("#222222", ":"), ("#cc79a7", (0, (5, 1, 1, 1, 1, 1))))


def draw_pictures(report: RunReport) -> dict[str, str]:
    """Draw every picture that a report has the data for; the SVG texts are given by name."""
    pictures = {}
    for when, plane in report.maps or ():
        if plane is not None:
            pictures[f"map_{when}"] = latent_map(**_marked(report, plane), when=when)
    if tasks := report.tasks:
        columns = [[getattr(t, k) for t in tasks] for k in ("name", "change_percent", "low", "high")]
        pictures["task_bars"] = task_bars(*columns)
    if labels := report.label_errors:
        if labels.energy.true:
            pictures["energy_parity"] = parity(labels.energy, "energy", "eV/atom")
        if labels.forces.true:
            slopes = labels.slope_before, labels.slope_after
            pictures["force_parity"] = parity(labels.forces, "force", "eV/Å", slopes)
    if report.history:
        pictures["loss_curves"] = loss_curves(report.history)
    return pictures


def _marked(report: RunReport, plane: LatentMap) -> dict[str, Any]:
    """What a latent map shows: crystals that came with labels were made for no target."""
    shown = dict(plane)
    if report.call and report.call.labelled is not None:
        shown |= {"targets": [], "crystals": "labelled crystal"}
    return shown


def latent_map(
    pool: Any,
    roughness: Any,
    targets: Any,
    proposals: Any,
    axes: tuple[str, str] = AXES,
    when: str = "before",
    crystals: str = "generated crystal",
) -> str:
    """Draw crystals in the plane of the first two principal components of the pool's embedding.

    Args:
        pool: Coordinates of the pool crystals, (n, 2).
        roughness: Local roughness of the pool, (n,), shown as colour.
        targets: Points that were to be filled, (m, 2); may be empty.
        proposals: Coordinates of the generated crystals, (k, 2).
        axes: Names of the two axes.
        when: ``"before"`` or ``"after"``, for the picture's title.
        crystals: What a crystal that was learnt from is called in the legend.

    Returns:
        SVG text.

    Raises:
        InputError: The shapes do not fit.
    """
    pool, targets, proposals = (np.asarray(p, dtype=float).reshape(-1, 2) for p in (pool, targets, proposals))
    roughness = np.asarray(roughness, dtype=float)
    marked = {"target": targets, crystals: proposals}
    title = f"Latent map of the pool {when} fill-tuning"
    with _figure(f"map-{when}", title, 4.2) as (figure, out):
        draw_map(figure, pool, roughness, marked, axes)
        figure.axes[0].set_facecolor(PANEL)
    return out[0]


def task_bars(
    names: Sequence[str], change_percent: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> str:
    """Draw the change of the MAE per task with its 95 % interval; positive is better.

    Args:
        names: Names of the m tasks.
        change_percent: Reductions of the MAE, m values in percent.
        low: Lower ends of the m intervals.
        high: Upper ends of the m intervals.

    Returns:
        SVG text.

    Raises:
        InputError: There is no task, or the lists differ in length.
    """
    if not names or not len(names) == len(change_percent) == len(low) == len(high):
        raise InputError("task bars: needs at least one task, and a name, a change and an interval for each.")
    rows, value = np.arange(len(names)), np.asarray(change_percent, dtype=float)
    worse = value < 0
    with _figure("task-bars", "Change of the error per task", 1.3 + 0.36 * len(names)) as (figure, out):
        ax = figure.subplots()
        bars = ax.barh(rows, value, height=0.62, color=np.where(worse, "#f7c9a8", BETTER), linewidth=0)
        for bar in (b for b, w in zip(bars, worse, strict=True) if w):
            bar.set(hatch="////", edgecolor=WORSE, linewidth=1.0)
        ax.hlines(rows, low, high, color=DARK, linewidth=1.3)
        for end in (low, high):
            ax.plot(end, rows, "|", color=DARK, markersize=6, markeredgewidth=1.3)
        ax.axvline(0, color=DARK, linewidth=1)
        ax.set_yticks(rows, [n if len(n) <= NAME else n[: NAME - 1] + "…" for n in map(_plain, names)])
        ax.set(ylim=(len(names) - 0.4, -0.6), xlabel="reduction of the MAE, % (bar: 95 % interval)")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        numbers = ax.secondary_yaxis("right")
        numbers.set_yticks(rows, [f"{v:+.1f} %".replace("-", "−") for v in value])
        numbers.tick_params(length=0)
        numbers.spines["right"].set_visible(False)
        ax.xaxis.set_major_locator(MaxNLocator(6))
        handles = [Patch(facecolor=BETTER, label="better")]
        if worse.any():
            handles.append(Patch(facecolor="#f7c9a8", edgecolor=WORSE, hatch="////", label="worse"))
        figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return out[0]


def loss_curves(history: Mapping[str, Sequence[float | None]]) -> str:
    """Draw the loss terms against the progress of training.

    Args:
        history: Values of every term, equally spaced over the run; None where one was not finite.

    Returns:
        SVG text.

    Raises:
        InputError: There is no term, or a term has no values.
    """
    if not history or not all(len(v) for v in history.values()):
        raise InputError("loss curves: needs at least one term, and at least one value of each.")
    with _figure("loss-curves", "Loss during training", 3.2) as (figure, out):
        ax = figure.subplots()
        positive = False
        for k, (name, values) in enumerate(history.items()):
            loss = np.array(values, dtype=float)
            loss[~np.isfinite(loss)] = np.nan
            positive |= bool((loss > 0).any())
            colour, style = LINES[k % len(LINES)]
            marker = "o" if len(loss) == 1 else ""
            progress = 100 * np.arange(1, len(loss) + 1) / len(loss)
            ax.plot(progress, loss, color=colour, linestyle=style, marker=marker, linewidth=1.6, label=_plain(name))
        ax.set(xlabel="progress of training, %", ylabel="weighted loss")
        ax.set_xlim(0, 101)
        if positive:
            ax.set_yscale("log", nonpositive="mask")
            low, high = ax.get_ylim()
            subs = (1, 2, 5) if high < 1e3 * low else (1,)  # labels of more decades would cover each other
            ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
            ax.yaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.3g}"))
        ax.grid(axis="y", color="#dddddd", linewidth=0.7)
        figure.legend(loc="outside upper left", ncols=3)
    return out[0]


def parity(points: ParityPoints, quantity: str, unit: str, slopes: tuple[float, float] | None = None) -> str:
    """Draw predicted against true values, before and after side by side on the same axes.

    Args:
        points: True values and both predictions.
        quantity: What the values are, for the axes.
        unit: Unit of the values.
        slopes: Slopes of lines through the origin, before and after, which are drawn and written; None draws none.

    Returns:
        SVG text.

    Raises:
        InputError: There are no values, or the lists differ in length.
    """
    true, *predicted = (np.asarray(v, dtype=float) for v in (points.true, points.before, points.after))
    if not len(true) or any(len(v) != len(true) for v in predicted):
        raise InputError("parity plot: needs at least one true value, and both predictions of each.")
    finite = np.concatenate([v[np.isfinite(v)] for v in (true, *predicted)])
    low, high = finite.min(), finite.max()
    margin = 0.04 * (high - low or 1.0)
    ends = np.array([low - margin, high + margin])
    with _figure(f"{quantity}-parity", f"Predicted and true {quantity} before and after", 3.4) as (figure, out):
        for k, (ax, values) in enumerate(zip(figure.subplots(1, 2, sharey=True), predicted, strict=True)):
            ax.plot(ends, ends, color="#777777", linewidth=1)
            ax.scatter(true, values, s=7, color=(WORSE, BETTER)[k], alpha=0.5, linewidth=0, rasterized=True)
            title = ("before", "after")[k]
            if slopes is not None and np.isfinite(slopes[k]):
                ax.plot(ends, slopes[k] * ends, color=DARK, linestyle="--", linewidth=1.2)
                title += f": slope {slopes[k]:.3f}"
            ax.set(xlim=ends, ylim=ends, title=title, xlabel=f"true {quantity}, {unit}", aspect="equal")
            ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.yaxis.set_major_locator(MaxNLocator(4))
        figure.axes[0].set_ylabel(f"predicted, {unit}")
    return out[0]


@contextmanager
def _figure(name: str, title: str, height: float) -> Iterator[tuple[Figure, list[str]]]:
    """A figure to draw on; afterwards the list holds its SVG text."""
    out: list[str] = []
    with house_style(name):
        mpl.rcParams.update({"figure.facecolor": "none", "axes.facecolor": "none", "text.color": DARK})
        figure = Figure((WIDTH, height), layout="constrained")
        yield figure, out
        text = io.StringIO()
        figure.savefig(text, format="svg", dpi=DOTS, metadata={"Date": None, "Creator": None})
    out.append(_inline(text.getvalue(), name, title))


def _inline(svg: str, name: str, title: str) -> str:
    """SVG fit for HTML: no prolog or metadata, ids of its own, a name for screen readers, size left to the page."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], count=1, flags=re.DOTALL)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    for colour, name_there in THEME.items():
        svg = svg.replace(f": {colour}", f": var(--{name_there}, {colour})")
    box = re.search(r'viewBox="[^"]+"', svg)
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = f'<svg {spaces} {box[0] if box else ""} role="img" aria-label="{title}"><title>{html.escape(title)}</title>'
    return re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1).strip() + "\n"


def _plain(text: str) -> str:
    """Text without characters that XML forbids."""
    return "".join(c if c.isprintable() else " " for c in str(text)).lstrip("_")
