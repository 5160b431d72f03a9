"""Pictures of a rough latent space as matplotlib figures; no global plotting state is touched."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from matgl_fill.errors import InputError
from matgl_fill.roughness.network import LENGTHSCALE, StationaryNetwork
from matgl_fill.roughness.tree import Tree

WIDTH = 5.0
"""Width of a picture in inches; small, so that the text stays readable when a page or a phone shrinks it."""
DOTS = 300
"""Dots per inch of a PNG."""
BLUE, DARK, LIGHT = "#0072b2", "#222222", "#888888"
LEAVES = 200
"""A disconnectivity graph shows at most this many minima."""
TOP = 12
"""Number of bars, for the vectors that contribute most to the frustration."""
NAME = 30
"""Characters of a vector's name beside its bar."""
STYLE = {
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
MARKS: tuple[dict[str, Any], ...] = (
    {"s": 38, "c": "#c2185b", "marker": "X", "edgecolors": "white", "linewidths": 0.7, "zorder": 3},
    {"s": 24, "c": "white", "marker": "^", "edgecolors": "black", "linewidths": 1.0, "zorder": 4},
)
"""The two kinds of marks differ in shape and in brightness, in print without colour as well."""

Projection = Literal["pca", "umap"]


@contextmanager
def house_style(salt: str) -> Iterator[None]:
    """Use one style for all pictures inside the block; the same salt and data give the same SVG."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # not the reader's own style
        mpl.rcParams.update({**STYLE, "svg.hashsalt": salt})
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # whoever shows the SVG draws the text
        yield


def figure_bytes(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """Content of a figure's file; the same figure gives the same bytes."""
    data = io.BytesIO()
    with house_style("matgl_fill"):
        figure.savefig(data, format=kind, dpi=DOTS, metadata={"Date": None} if kind == "svg" else {})
    return data.getvalue()


def projected_map(
    points: np.ndarray,
    roughness: Callable[[np.ndarray], np.ndarray],
    marked: Mapping[str, np.ndarray],
    projection: Projection = "pca",
    seed: int = 0,
) -> Figure:
    """Draw a plane map of latent points coloured by local roughness, with some points marked.

    Args:
        points: Latent points (n, d) to show.
        roughness: Function of latent points to their local roughness.
        marked: Latent points (m, d) to mark, up to two kinds, by what they are.
        projection: Projection to the plane, ``"pca"`` or ``"umap"`` (extra ``plots``); it is fitted to the points.
        seed: Seed of UMAP.

    Returns:
        The figure.

    Raises:
        InputError: The points have no finite coordinates or another dimension, the projection is unknown, or UMAP is
            not installed.
    """
    plane, flat, labels = project(points, list(marked.values()), projection, seed)
    with house_style("map"):
        figure = Figure((WIDTH, 4.2), layout="constrained")
        draw_map(figure, plane, roughness(points), dict(zip(marked, flat, strict=True)), labels)
        figure.draw_without_rendering()  # ticks take the style that is on when they are first drawn
    return figure


def draw_map(
    figure: Figure,
    plane: np.ndarray,
    values: np.ndarray,
    marked: Mapping[str, np.ndarray],
    labels: tuple[str, str] = ("first principal component", "second principal component"),
) -> None:
    """Draw points coloured by local roughness, and up to two kinds of marked ones, which differ in shape.

    Args:
        figure: Empty figure to draw on.
        plane: Points (n, 2) of the plane.
        values: Local roughness (n,); the colours span its 2nd to 98th percentile.
        marked: Marked points (m, 2), by what they are.
        labels: Labels of the two axes.

    Raises:
        InputError: There are no points, or shapes do not fit.
    """
    if not len(plane) or values.shape != (len(plane),):
        raise InputError(
            f"a latent map of {len(plane)} points has roughness of shape {values.shape}; give one value a point."
        )
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, [2, 98]) if len(finite) else (0.0, 1.0)
    ax = figure.subplots()
    order = np.argsort(np.where(np.isfinite(values), values, -np.inf), kind="stable")  # rough ones on top
    x, y = plane[order].T
    size = float(np.clip(24_000 / len(plane), 5, 30))
    points = ax.scatter(x, y, s=size, c=values[order], cmap="cividis", vmin=low, vmax=high, lw=0, rasterized=True)
    for (what, xy), mark in zip(marked.items(), MARKS, strict=False):
        ax.scatter(xy[:, 0], xy[:, 1], label=f"{what} ({len(xy)})" if len(xy) else None, **mark)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    colours = figure.colorbar(points, ax=ax, extend="both", pad=0.02, aspect=28)
    colours.set_label("local roughness")
    colours.outline.set_visible(False)
    if any(map(len, marked.values())):
        figure.legend(loc="outside upper left", ncols=2, handletextpad=0.3)


def project(
    points: np.ndarray, others: Sequence[np.ndarray], projection: Projection = "pca", seed: int = 0
) -> tuple[np.ndarray, list[np.ndarray], tuple[str, str]]:
    """Project points to two coordinates that show them well, and other points to the same coordinates.

    Args:
        points: Latent points (n, d), finite.
        others: Arrays of further points (m, d).
        projection: Projection, ``"pca"`` or ``"umap"``.
        seed: Seed of UMAP.

    Returns:
        The points (n, 2), the arrays of further points (m, 2), and the names of the axes, of PCA with their share of
        the variance.

    Raises:
        InputError: The points cannot be projected, the projection is unknown, or UMAP is not installed.
    """
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or not points.size or not np.isfinite(points).all():
        raise InputError(f"a map needs finite points of shape (n, d), got shape {points.shape}.")
    for other in others:
        if other.shape[1:] != points.shape[1:]:
            raise InputError(f"a map of {points.shape[1]}-dimensional points cannot show points {other.shape}.")
    if projection == "pca":
        mean = points.mean(axis=0)
        _, size, axes = np.linalg.svd(points - mean, full_matrices=False)
        axes, share = axes[:2], np.append(size**2, 0.0)[:2] / max(float((size**2).sum()), 1e-300)
        axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]
        flat = [np.pad((x - mean) @ axes.T, ((0, 0), (0, 2 - len(axes)))) for x in (points, *others)]
        first, second = (
            f"{k} principal component ({100 * s:.0f} %)" for k, s in zip(("1st", "2nd"), share, strict=True)
        )
        return flat[0], flat[1:], (first, second)
    if projection != "umap":
        raise InputError(f"no projection '{projection}'; there are 'pca' and 'umap'.")
    if len(points) < 5:
        raise InputError(f"projection 'umap' needs at least 5 points, got {len(points)}; use 'pca'.")
    mapper = load_umap()(n_neighbors=min(15, len(points) - 1), random_state=seed, n_jobs=1).fit(points)
    flat = [mapper.transform(x) if len(x) else np.zeros((0, 2)) for x in others]
    return mapper.embedding_, flat, ("1st UMAP coordinate", "2nd UMAP coordinate")


def load_umap() -> Any:
    """Import the class ``umap.UMAP``.

    Raises:
        InputError: The package umap-learn is not installed.
    """
    try:
        return import_module("umap").UMAP
    except ImportError as error:
        raise InputError(
            "projection 'umap' needs umap-learn: pip install 'matgl_fill[plots]', or use 'pca'."
        ) from error


def disconnectivity_graph(
    tree: Tree, label: str = "response", zero: float = 0.0, one: float = 1.0, leaves: int = LEAVES
) -> Figure:
    """Draw a disconnectivity graph: one line for each minimum, up to where it joins that of a lower one.

    Args:
        tree: Disconnectivity tree of a stationary network.
        label: Label of the vertical axis.
        zero: Position on the axis, in its unit, of the tree's value 0.
        one: Position on the axis of the tree's value 1.
        leaves: Number of minima to show at most; those of largest persistence are shown.

    Returns:
        The figure.
    """
    shown = tree.pruned(leaves)
    height = zero + (one - zero) * shown.height
    x, rising, joining = _branches(shown, height)
    caption = f"dots: minima, {len(tree.minima)} in {len(tree.roots)} connected set{'s' if len(tree.roots) > 1 else ''}"
    if lost := len(tree.minima) - len(shown.minima):
        alone = min(lost, int((tree.persistence() == 0).sum()))
        caption += f"\nshown: the {len(shown.minima)} of largest persistence; left out: {lost}"
        caption += f", of them without any barrier: {alone}" if alone else ""
    with house_style("disconnectivity"):
        figure = Figure((WIDTH, 4.2), layout="constrained")
        ax = figure.subplots()
        width = float(np.clip(100 / max(len(x), 1), 0.7, 1.5))
        ax.add_collection(LineCollection(joining, colors=LIGHT, linewidths=width / 2))
        ax.add_collection(LineCollection(rising, colors=DARK, linewidths=width))
        ax.plot(x, height[: len(x)], "o", color=BLUE, markersize=float(np.clip(240 / max(len(x), 1), 1.5, 6)))
        ax.set_xlim(-1, len(x))
        ax.margins(y=0.04)
        ax.autoscale_view(scalex=False)
        ax.set(ylabel=label, xticks=[])
        ax.spines["bottom"].set_visible(False)
        figure.supxlabel(caption, fontsize=8, color=DARK)
        figure.draw_without_rendering()
    return figure


Line = list[tuple[float, float]]


def _branches(tree: Tree, height: np.ndarray) -> tuple[np.ndarray, list[Line], list[Line]]:
    """Position (n,) of each leaf, the lines that rise from leaves, and those to the line that each joins at its end.

    Branches of a node lie side by side around the one with the lowest minimum, so that nothing crosses.
    """
    children, lowest, n = tree.children(), tree.lowest(), len(tree.minima)
    order: list[int] = []
    stack = sorted(tree.roots.tolist(), key=lambda r: height[lowest[r]], reverse=True)
    while stack:
        node = stack.pop()
        if node < n:
            order.append(node)
            continue
        trunk, *rest = sorted(children[node], key=lambda c: (lowest[c] != lowest[node], c))
        left, right = rest[node % 2 :: 2], rest[1 - node % 2 :: 2]
        stack += [*reversed(right), trunk, *left]
    x = np.empty(n)
    x[order] = np.arange(n)
    rising, joining = [], []
    for node, above in enumerate(tree.parent.tolist()):
        own = lowest[node]
        end = node if above < 0 else above
        if above < 0 or lowest[above] != own:
            rising.append([(x[own], height[own]), (x[own], height[end])])
        if above >= 0 and lowest[above] != own:
            joining.append([(x[own], height[above]), (x[lowest[above]], height[above])])
    return x, rising, joining


def frustration_contributions(
    network: StationaryNetwork,
    minima_names: Sequence[str] | None = None,
    ts_names: Sequence[str] | None = None,
    lengthscale: float = LENGTHSCALE,
) -> Figure:
    """Draw which (minimum -> transition state) vectors contribute most to the frustration.

    Args:
        network: Stationary network.
        minima_names: Names of the n minima; numbers if none are given.
        ts_names: Names of the m transition states; numbers if none are given.
        lengthscale: Length scale of the frustration.

    Returns:
        The figure: the sum of the shares over the vectors by falling share, and bars of the largest.
    """
    minimum, ts = network.links()
    part = network.contributions(lengthscale)
    part *= 100 / (part.sum() or 1.0)
    order = np.argsort(-part, kind="stable")
    largest = order[:TOP][part[order[:TOP]] > 0]
    start = minima_names or [f"minimum {i}" for i in range(len(network.minima))]
    end = ts_names or [f"state {t}" for t in range(len(network.ts))]
    heights = (1.9, 0.24 * max(len(largest), 3))
    with house_style("contributions"):
        figure = Figure((WIDTH, 1.0 + sum(heights)), layout="constrained")
        share, bars = figure.subplots(2, height_ratios=heights)
        share.set(
            ylabel="sum of shares, %", xlabel="vectors from the largest share on, %", xlim=(0, 100), ylim=(0, 103)
        )
        bars.set(xlabel="share of the frustration, %", yticks=[])
        if not len(largest):
            bars.text(0.5, 0.5, "no vector has a share", ha="center", va="center", transform=bars.transAxes)
        else:
            x, total = np.linspace(0, 100, len(part) + 1), np.append(0.0, np.cumsum(part[order]))
            half = int(np.searchsorted(total, 50))
            share.plot(x, total, color=BLUE, linewidth=1.6)
            share.plot(x[half], total[half], "o", color=DARK, markersize=5)
            note = f"half of it in {half} of {len(part)} vectors"
            share.text(0.98, 0.06, note, ha="right", transform=share.transAxes)
            rows = np.arange(len(largest))
            bars.barh(rows, part[largest], height=0.62, color=BLUE, linewidth=0)
            bars.set_yticks(rows, [_short(f"{start[minimum[v]]} → {end[ts[v]]}") for v in largest])
            bars.set_ylim(len(largest) - 0.4, -0.6)
            bars.tick_params(axis="y", length=0, labelsize=8.5)
            bars.xaxis.set_major_locator(MaxNLocator(5))
        figure.draw_without_rendering()
    return figure


def _short(name: str) -> str:
    return name if len(name) <= NAME else name[: NAME - 1] + "…"
