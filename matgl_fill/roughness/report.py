"""Everything about the roughness of a pool of crystals as a folder of files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from rich.console import Group
from rich.table import Table
from scipy.spatial import cKDTree
from torch import nn

from matgl_fill.adapters import get_adapter
from matgl_fill.embedding.embed import embed
from matgl_fill.embedding.shards import ShardFolder
from matgl_fill.errors import InputError
from matgl_fill.roughness.analysis import analyze_roughness
from matgl_fill.roughness.measures import MIN_POINTS, Measure, measure
from matgl_fill.roughness.plots import Projection, figure_bytes, frustration_contributions, load_umap
from matgl_fill.roughness.responses import NAMES, predictions, sensitivity
from matgl_fill.roughness.result import RoughnessResult
from matgl_fill.structures import Skipped, StructureSet, csv_text, describe_structures
from matgl_fill.utils.files import atomic_write
from matgl_fill.utils.machine import machine_facts

SHOWN = 5
"""Number of the roughest points in the terminal's table."""
MEASURED = 10_000
"""Number of crystals on which the embedding is measured, drawn where there are more: all their pairs would be needed,
and no measure changes in a digit that matters."""
DRAWN = 20_000
"""Number of crystals on the map, drawn where there are more."""
CRYSTALS = ("rank", "id", "formula", "response", "local_roughness")
"""Columns of ``crystals.csv``."""
MAXIMA = ("rank", "local_roughness", "nearest_id", "nearest_formula", "distance")
"""Columns of ``maxima.csv``."""


@dataclass(frozen=True)
class RoughnessRequest:
    """Request for a report on roughness.

    Attributes:
        response: Response, one of :data:`matgl_fill.roughness.responses.NAMES`, or a label of the crystals; crystals
            without it are left out.
        method: Method as in :func:`matgl_fill.analyze_roughness`.
        state: Fidelity index of multi-fidelity models.
        seed: Seed of all random choices.
        maxima: Number of the roughest points to list and to mark, at most.
        projection: Projection of the map.
        model: Name of the model in the summary.
        structures: Name of the crystals in the summary.
    """

    response: str = "neighbour_similarity"
    method: Literal["graph", "landscape"] = "graph"
    state: int | None = None
    seed: int = 0
    maxima: int = 20
    projection: Projection = "pca"
    model: str = ""
    structures: str = ""


@dataclass(frozen=True)
class NamedCrystals:
    """Names of crystals that need not be in memory.

    Attributes:
        ids: The n unique names.
        formulas: The n reduced formulas.
    """

    ids: list[str]
    formulas: list[str]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class RoughnessReport:
    """Roughness of a pool, ready to be written and shown.

    Attributes:
        pool: The n crystals.
        Z: Embedding (n, d) of the crystals.
        result: Roughness of the embedding.
        measures: Measures of the embedding, on :data:`MEASURED` crystals at most.
        skipped: Crystals that were left out, with the reasons.
        request: Request for this report.
    """

    pool: NamedCrystals
    Z: np.ndarray
    result: RoughnessResult
    measures: list[Measure]
    skipped: list[Skipped]
    request: RoughnessRequest

    @cached_property
    def _local(self) -> np.ndarray:
        return self.result.local(self.Z)

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self.result.scale(self.Z))

    @property
    def crystals(self) -> list[tuple[Any, ...]]:
        """Rows of ``CRYSTALS``, the roughest first."""
        values = self._local.tolist()
        order = np.argsort(np.negative(values), kind="stable").tolist()
        ids, formulas, response = self.pool.ids, self.pool.formulas, self.result.response.tolist()
        return [(rank, ids[i], formulas[i], response[i], values[i]) for rank, i in enumerate(order, 1)]

    @cached_property
    def maxima(self) -> list[tuple[Any, ...]]:
        """Rows of ``MAXIMA``, the roughest first; distances in coordinates scaled to the range of the data."""
        points, values = self.result.maxima(self.request.maxima)
        distance, nearest = self._nearest(self.result.scale(points))
        names = [(self.pool.ids[i], self.pool.formulas[i]) for i in nearest]
        rows = zip(values.tolist(), names, distance.tolist(), strict=True)
        return [(rank, value, *name, d) for rank, (value, name, d) in enumerate(rows, 1)]

    def _nearest(self, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances (m,) and indices (m,) of the crystals nearest to scaled points (m, d)."""
        return self._tree.query(scaled)

    def _names(self, scaled: np.ndarray) -> list[str]:
        """Formulas of the crystals nearest to scaled points (m, d)."""
        return [self.pool.formulas[i] for i in self._nearest(scaled)[1]]

    def summary(self) -> dict[str, Any]:
        """Content of ``summary.json``."""
        network, response = self.result.network, self.result.response
        return {
            "frustration": self.result.frustration,
            "minima": len(network.minima),
            "transition_states": len(network.ts),
            "connected_sets": len(network.tree().roots),
            "response": {"name": self.request.response} | _spread(response),
            "local_roughness": _spread(self._local),
            "measures": [asdict(m) for m in self.measures],
            "measured_on": min(len(self.pool), MEASURED),
            "crystals": len(self.pool),
            "skipped": [asdict(s) for s in self.skipped],
            "settings": asdict(self.request),
        } | machine_facts()

    def pictures(self) -> dict[str, Figure]:
        """Pictures by file name."""
        network, asked = self.result.network, self.request
        points = self.Z[_drawn(len(self.Z), DRAWN, asked.seed)]
        return {
            "map": self.result.plot_map(points, None, asked.maxima, asked.projection, asked.seed),
            "disconnectivity": self.result.plot_disconnectivity(asked.response.replace("_", " ")),
            "contributions": frustration_contributions(network, self._names(network.minima), self._names(network.ts)),
        }

    def save(self, folder: str | Path) -> None:
        """Write ``summary.json``, tables, network and pictures; every file is written whole or not at all.

        Raises:
            InputError: The projection is not available.
            OSError: A file cannot be written.
        """
        out = Path(folder)
        pictures = self.pictures()
        out.mkdir(parents=True, exist_ok=True)
        self.result.save(out / "roughness.npz")
        self.result.network.save(out / "network.json")
        for name, columns, rows in (("crystals", CRYSTALS, self.crystals), ("maxima", MAXIMA, self.maxima)):
            table = [dict(zip(columns, row, strict=True)) for row in rows]
            atomic_write(out / f"{name}.csv", csv_text(table, columns))
        for name, figure in pictures.items():
            atomic_write(out / f"{name}.png", figure_bytes(figure, "png"))
            atomic_write(out / f"{name}.svg", figure_bytes(figure, "svg"))
        atomic_write(out / "summary.json", json.dumps(self.summary(), indent=2) + "\n")

    def __rich__(self) -> Group:
        """Summary for the terminal."""
        measures = Table("measure", "value", "better", title="embedding")
        for m in self.measures:
            measures.add_row(m.name, f"{m.value:.4g}", m.better)
        if not self.maxima:
            return Group(measures, "no rough point: no minimum has a transition state above it")
        points = Table("local roughness", "nearest crystal", "formula", "distance", title="roughest points")
        for _, value, name, formula, distance in self.maxima[:SHOWN]:
            points.add_row(f"{value:.4g}", name, formula, f"{distance:.3g}")
        return Group(measures, points)


def report_roughness(model: nn.Module, pool: StructureSet, request: RoughnessRequest) -> RoughnessReport:
    """Embed crystals and find where their embedding is rough.

    Args:
        model: Any MatGL model that :func:`matgl_fill.get_adapter` serves.
        pool: Crystals that the model can take.
        request: Request for the report.

    Raises:
        InputError: There are fewer than 20 crystals, no such response, or no umap-learn.
    """
    if request.projection == "umap":
        load_umap()
    name, skipped = request.response, list(pool.skipped)
    if name in pool.labels:
        has_label = np.isfinite(pool.labels[name])
        skipped += [Skipped(pool.ids[i], f"has no {name}") for i in np.flatnonzero(~has_label)]
        pool = pool.subset(has_label)
    elif name not in NAMES:
        raise InputError(f"no response '{name}'; there are {', '.join([*NAMES, *pool.labels])}.")
    if len(pool) < MIN_POINTS:
        raise InputError(f"{len(pool)} usable crystals, at least {MIN_POINTS} are needed; give more structures.")
    Z = embed(model, replace(pool, skipped=[]), progress=True, state=request.state)
    D = describe_structures(pool.structures)
    values = _response(model, pool, D, request)
    return _reported(NamedCrystals(pool.ids, pool.formulas), Z, values, D, request, skipped)


def report_shards(model: nn.Module, folder: ShardFolder, request: RoughnessRequest) -> RoughnessReport:
    """Find where the embedding of a folder of shards is rough; none of its crystals is read.

    Args:
        model: Model that embedded them.
        folder: The folder.
        request: Request for the report; its response is neighbour similarity or one of the crystals' labels.

    Raises:
        InputError: The folder is of another model, the response needs the crystals, or fewer than 20 have it.
    """
    folder.check_model(model, request.state)
    name, skipped, labels = request.response, folder.skipped, folder.labels
    if name not in labels and name != "neighbour_similarity":
        possible = ", ".join(["neighbour_similarity", *labels])
        raise InputError(f"the response '{name}' needs the crystals; of a folder of shards there are {possible}.")
    rows = np.arange(len(folder))
    if name in labels:
        values = folder.label(name)
        rows = np.flatnonzero(np.isfinite(values))
        skipped += [Skipped(folder.ids[i], f"has no {name}") for i in np.flatnonzero(~np.isfinite(values))]
    if len(rows) < MIN_POINTS:
        raise InputError(f"{len(rows)} usable crystals, at least {MIN_POINTS} are needed; give more structures.")
    D, every = folder.descriptors, len(rows) == len(folder)
    response = values[rows] if name in labels else D
    Z = folder.embedding if every else folder.embedding[rows]
    names = NamedCrystals([folder.ids[i] for i in rows], [folder.formulas[i] for i in rows])
    return _reported(names, Z, response, D if every else D[rows], request, skipped)


def _reported(
    names: NamedCrystals,
    Z: np.ndarray,
    values: np.ndarray,
    D: np.ndarray,
    request: RoughnessRequest,
    skipped: list[Skipped],
) -> RoughnessReport:
    """Report on an embedding (n, d) by a response (n,), or by descriptors (n, k) that stand for it."""
    result = analyze_roughness(Z, values, method=request.method, seed=request.seed)
    some = _drawn(len(Z), MEASURED, request.seed)
    measures = measure(Z[some], result.response[some], D[some], seed=request.seed)
    return RoughnessReport(names, Z, result, measures, skipped, request)


def _drawn(n: int, most: int, seed: int) -> np.ndarray | slice:
    """Rows of n, all or as many as a limit says, drawn by a seed."""
    return slice(None) if n <= most else np.sort(np.random.default_rng(seed).permutation(n)[:most])


def _response(model: nn.Module, pool: StructureSet, D: np.ndarray, request: RoughnessRequest) -> np.ndarray:
    """Response (n,), or the descriptors (n, k) that stand for neighbour similarity."""
    if request.response in pool.labels:
        return pool.labels[request.response]
    if request.response == "neighbour_similarity":
        return D
    adapter = get_adapter(model, request.state)
    if request.response == "prediction":
        return predictions(adapter, pool.structures)
    return sensitivity(adapter, pool.structures, request.seed)


def _spread(values: np.ndarray) -> dict[str, float]:
    """Mean, least and largest value."""
    return {"mean": float(values.mean()), "min": float(values.min()), "max": float(values.max())}
