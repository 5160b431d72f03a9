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
from matgl_fill.errors import InputError
from matgl_fill.pipeline import analyze_roughness
from matgl_fill.roughness import RoughnessResult
from matgl_fill.roughness.measures import MIN_POINTS, Measure, measure
from matgl_fill.roughness.plots import Projection, figure_bytes, frustration_contributions, load_umap
from matgl_fill.roughness.responses import NAMES, predictions, sensitivity
from matgl_fill.structures import Skipped, StructureSet, csv_text, describe_structures
from matgl_fill.utils.files import atomic_write
from matgl_fill.utils.machine import machine_facts

SHOWN = 5
"""Roughest places in the terminal's table."""
CRYSTALS = ("rank", "id", "formula", "response", "local_roughness")
MAXIMA = ("rank", "local_roughness", "nearest_id", "nearest_formula", "distance")


@dataclass(frozen=True)
class RoughnessReport:
    """Roughness of a pool, ready to be written and shown.

    Attributes:
        pool: n crystals.
        Z: (n, d) their embedding.
        result: its roughness.
        measures: of the embedding.
        skipped: crystals that were left out.
        settings: what was asked for; ``response`` names the response, ``maxima`` and ``projection`` shape the files.
    """

    pool: StructureSet
    Z: np.ndarray
    result: RoughnessResult
    measures: list[Measure]
    skipped: list[Skipped]
    settings: dict[str, Any]

    @cached_property
    def _formulas(self) -> list[str]:
        return self.pool.formulas

    @property
    def crystals(self) -> list[tuple[Any, ...]]:
        """Rows of ``CRYSTALS``, the roughest first."""
        values = self.result.local(self.Z).tolist()
        order = np.argsort(np.negative(values), kind="stable").tolist()
        ids, formulas, response = self.pool.ids, self._formulas, self.result.response.tolist()
        return [(rank, ids[i], formulas[i], response[i], values[i]) for rank, i in enumerate(order, 1)]

    @cached_property
    def maxima(self) -> list[tuple[Any, ...]]:
        """Rows of ``MAXIMA``, the roughest first; distances in coordinates scaled to the range of the data."""
        points, values = self.result.maxima(self.settings["maxima"])
        distance, nearest = self._nearest(self.result.scale(points))
        names = [(self.pool.ids[i], self._formulas[i]) for i in nearest]
        rows = zip(values.tolist(), names, distance.tolist(), strict=True)
        return [(rank, value, *name, d) for rank, (value, name, d) in enumerate(rows, 1)]

    def _nearest(self, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances (m,) and indices (m,) of the crystals nearest to scaled points (m, d)."""
        return cKDTree(self.result.scale(self.Z)).query(scaled)

    def _names(self, scaled: np.ndarray) -> list[str]:
        """Formulas of the crystals nearest to scaled points (m, d)."""
        return [self._formulas[i] for i in self._nearest(scaled)[1]]

    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` says."""
        network, response = self.result.network, self.result.response
        local = self.result.local(self.Z)
        return {
            "frustration": self.result.frustration,
            "minima": len(network.minima),
            "transition_states": len(network.ts),
            "connected_sets": len(network.tree().roots),
            "response": {"name": self.settings["response"]} | _spread(response),
            "local_roughness": _spread(local),
            "measures": [asdict(m) for m in self.measures],
            "crystals": len(self.pool),
            "skipped": [asdict(s) for s in self.skipped],
            "settings": self.settings,
        } | machine_facts()

    def pictures(self) -> dict[str, Figure]:
        """The pictures by file name."""
        network, how = self.result.network, self.settings
        shape = {name: how[name] for name in ("maxima", "projection", "seed")}
        return {
            "map": self.result.plot_map(self.Z, **shape),
            "disconnectivity": self.result.plot_disconnectivity(how["response"].replace("_", " ")),
            "contributions": frustration_contributions(network, self._names(network.minima), self._names(network.ts)),
        }

    def save(self, folder: str | Path) -> None:
        """Write ``summary.json``, tables, network and pictures; every file is written whole or not at all.

        Raises:
            InputError: the projection is not to be had.
            OSError: a file cannot be written.
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
            return Group(measures, "no rough place: no minimum has a transition state above it")
        places = Table("local roughness", "nearest crystal", "formula", "distance", title="roughest places")
        for _, value, name, formula, distance in self.maxima[:SHOWN]:
            places.add_row(f"{value:.4g}", name, formula, f"{distance:.3g}")
        return Group(measures, places)


def report_roughness(
    model: nn.Module,
    pool: StructureSet,
    response: str = "neighbour_similarity",
    method: Literal["graph", "landscape"] = "graph",
    state: int | None = None,
    seed: int = 0,
    maxima: int = 20,
    projection: Projection = "pca",
) -> RoughnessReport:
    """Embed crystals and find where their embedding is rough.

    Args:
        model: any MatGL model that :func:`matgl_fill.get_adapter` serves.
        pool: crystals that the model can take.
        response: one of :data:`matgl_fill.roughness.responses.NAMES`, or a label of the pool; crystals without it are
            left out.
        method: as in :func:`matgl_fill.analyze_roughness`.
        state: fidelity index of multi-fidelity models.
        seed: of all random choices.
        maxima: roughest places to list and to mark, at most.
        projection: of the map.

    Raises:
        InputError: fewer than 20 crystals, no such response, or no umap-learn.
    """
    settings = {"response": response, "method": method, "state": state, "seed": seed}
    settings |= {"maxima": maxima, "projection": projection}
    skipped = list(pool.skipped)
    if projection == "umap":
        load_umap()
    if response in pool.labels:
        known = np.isfinite(pool.labels[response])
        skipped += [Skipped(pool.ids[i], f"has no {response}") for i in np.flatnonzero(~known)]
        pool = pool.subset(known)
    elif response not in NAMES:
        raise InputError(f"no response '{response}'; there are {', '.join([*NAMES, *pool.labels])}.")
    if len(pool) < MIN_POINTS:
        raise InputError(f"{len(pool)} usable crystals, at least {MIN_POINTS} are needed; give more structures.")
    Z = embed(model, replace(pool, skipped=[]), progress=True, state=state)
    D = describe_structures(pool.structures)
    values = _response(model, pool, D, response, state, seed)
    result = analyze_roughness(Z, values, method=method, seed=seed)
    return RoughnessReport(pool, Z, result, measure(Z, result.response, D, seed=seed), skipped, settings)


def _response(
    model: nn.Module, pool: StructureSet, D: np.ndarray, name: str, state: int | None, seed: int
) -> np.ndarray:
    """(n,) response, or the descriptors (n, k) that stand for neighbour similarity."""
    if name in pool.labels:
        return pool.labels[name]
    if name == "neighbour_similarity":
        return D
    adapter = get_adapter(model, state)
    if name == "prediction":
        return predictions(adapter, pool.structures)
    return sensitivity(adapter, pool.structures, seed)


def _spread(values: np.ndarray) -> dict[str, float]:
    """Mean, least and largest value."""
    return {"mean": float(values.mean()), "min": float(values.min()), "max": float(values.max())}
