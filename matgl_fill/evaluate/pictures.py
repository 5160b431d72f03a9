"""Pictures of the report as SVG text: the same data give the same bytes, and no global plotting state is touched."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from matgl_fill.errors import InputError

WIDTH = 5.0  # inches; small, so that the text stays readable when a phone shrinks the picture
DOTS = 220  # per inch, of the one layer that is not drawn as vectors
NAME = 26  # characters of a task's name beside its bar; the table has all of it
BETTER, WORSE, DARK = "#0072b2", "#d55e00", "#222222"
LINES = (("#0072b2", "-"), ("#d55e00", "--"), ("#009e73", "-."), ("#222222", ":"), ("#cc79a7", (0, (5, 1, 1, 1, 1, 1))))
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names are not formulas: "$" must not be special
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": "#777777",
    "axes.labelcolor": DARK,
    "xtick.color": DARK,
    "ytick.color": DARK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 1.0,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}


def latent_map(pool: np.ndarray, roughness: np.ndarray, targets: np.ndarray, proposals: np.ndarray) -> str:
    """Plane of the first two principal components of the pool's embedding.

    Args:
        pool: (n, 2) pool crystals.
        roughness: (n,) local roughness of the pool, shown as colour.
        targets: (m, 2) points that were to be filled.
        proposals: (k, 2) generated crystals.

    Returns:
        SVG text.

    Raises:
        InputError: shapes that do not fit.
    """
    pool, targets, proposals = (np.asarray(p, dtype=float).reshape(-1, 2) for p in (pool, targets, proposals))
    roughness = np.asarray(roughness, dtype=float)
    if not len(pool) or roughness.shape != (len(pool),):
        raise InputError(f"latent map: {len(pool)} pool points and roughness of shape {roughness.shape}.")
    finite = roughness[np.isfinite(roughness)]
    low, high = np.percentile(finite, [2, 98]) if len(finite) else (0.0, 1.0)
    with _figure("latent-map", "Latent map of the pool", 4.2) as (figure, out):
        ax = figure.subplots()
        size = float(np.clip(24_000 / len(pool), 5, 30))
        x, y = pool.T
        points = ax.scatter(x, y, s=size, c=roughness, cmap="cividis", vmin=low, vmax=high, lw=0, rasterized=True)
        label = f"target ({len(targets)})"
        x, y = targets.T
        ax.scatter(x, y, s=38, c="#c2185b", marker="X", label=label, edgecolors="white", linewidths=0.7, zorder=3)
        label = f"generated crystal ({len(proposals)})"
        x, y = proposals.T
        ax.scatter(x, y, s=24, c="white", marker="^", label=label, edgecolors="black", linewidths=1.0, zorder=4)
        ax.set(xlabel="first principal component", ylabel="second principal component")
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.yaxis.set_major_locator(MaxNLocator(5))
        colours = figure.colorbar(points, ax=ax, extend="both", pad=0.02, aspect=28)
        colours.set_label("local roughness of the pool")
        colours.outline.set_visible(False)
        figure.legend(loc="outside upper left", ncols=2, handletextpad=0.3)
    return out[0]


def task_bars(
    names: Sequence[str], change_percent: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> str:
    """Change of the MAE per task with its 95 % interval; positive is better.

    Args:
        names: of the m tasks.
        change_percent: m reductions of the MAE, percent.
        low: m lower ends of the interval.
        high: m upper ends.

    Returns:
        SVG text.

    Raises:
        InputError: no task, or lists of different lengths.
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
        for row, v in enumerate(value):
            text, at = f"{v:+.1f} %".replace("-", "−"), ax.get_yaxis_transform()
            ax.text(1.16, row, text, transform=at, ha="right", va="center")
        ax.set_yticks(rows, [n if len(n) <= NAME else n[: NAME - 1] + "…" for n in map(_plain, names)])
        ax.set(ylim=(len(names) - 0.4, -0.6), xlabel="reduction of the MAE, % (bar: 95 % interval)")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.xaxis.set_major_locator(MaxNLocator(6))
        handles = [Patch(facecolor=BETTER, label="better")]
        if worse.any():
            handles.append(Patch(facecolor="#f7c9a8", edgecolor=WORSE, hatch="////", label="worse"))
        figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return out[0]


def loss_curves(history: Mapping[str, Sequence[float]]) -> str:
    """Loss terms against the progress of training.

    Args:
        history: values of every term, equally spaced over the run.

    Returns:
        SVG text.

    Raises:
        InputError: no term, or a term without values.
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
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
            ax.yaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.3g}"))
        ax.grid(axis="y", color="#dddddd", linewidth=0.7)
        figure.legend(loc="outside upper left", ncols=3)
    return out[0]


@contextmanager
def _figure(name: str, title: str, height: float) -> Iterator[tuple[Figure, list[str]]]:
    """A figure to draw on; afterwards the list holds its SVG text."""
    out: list[str] = []
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # not the reader's own style
        mpl.rcParams.update({**_STYLE, "svg.hashsalt": name})
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser draws the text, and has it
        figure = Figure((WIDTH, height), layout="constrained")
        yield figure, out
        text = io.StringIO()
        figure.savefig(text, format="svg", dpi=DOTS, metadata={"Date": None, "Creator": None})
    out.append(_inline(text.getvalue(), name, title))


def _inline(svg: str, name: str, title: str) -> str:
    """Fit for HTML: no prolog or metadata, ids of its own, a name for screen readers, size left to the page."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], count=1, flags=re.DOTALL)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    box = re.search(r'viewBox="[^"]+"', svg)
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head = f'<svg {spaces} {box[0] if box else ""} role="img" aria-label="{title}"><title>{html.escape(title)}</title>'
    return re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1).strip() + "\n"


def _plain(text: str) -> str:
    """Text without characters that XML forbids."""
    return "".join(c if c.isprintable() else " " for c in str(text)).lstrip("_")
