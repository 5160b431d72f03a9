"""Embeddings compared by every measure, and whether roughness tells where probes err."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from examples.benchmarks.common.printing import console, new_table
from matgl_fill import embed, get_adapter, load_model, read_structures
from matgl_fill.adapters import Adapter
from matgl_fill.embedding import Pool, prepare_pool
from matgl_fill.errors import InputError
from matgl_fill.evaluation import Task
from matgl_fill.evaluation.probes import folds, kernel_ridge, ridge
from matgl_fill.evaluation.tasks import read_tasks
from matgl_fill.roughness import RoughnessResult, graph_roughness
from matgl_fill.roughness.measures import OF_RESPONSE, Measure, measure
from matgl_fill.roughness.neighbours import NEIGHBOURS
from matgl_fill.roughness.responses import NAMES, sensitivity
from matgl_fill.roughness.similarity import standardise
from matgl_fill.structures import describe_structures
from matgl_fill.utils.console import track

app = typer.Typer(no_args_is_help=True, help="Measures of embeddings, and what roughness says about errors.")
REGIONS = 30
"""Clusters of latent space."""
MIN_REGION = 5
"""Crystals without which a region's mean says nothing."""
RESAMPLES = 300
"""Bootstrap resamples of a rank correlation."""
DISTANCE = "distance to nearest training crystal"
LABELS = "training labels (supervised)"
CENTRE = 0.75
"""Where on a (minimum -> transition state) vector its roughness sits, as in :class:`LocalRoughness`."""


def landscapes(adapter: Adapter, pool: Pool, seed: int = 0) -> dict[str, RoughnessResult]:
    """Roughness of a pool's embedding under every named response."""
    atoms = np.array([len(s) for s in pool.structures])
    responses = {
        "neighbour_similarity": pool.D,
        "perturbation_sensitivity": sensitivity(adapter, pool.structures, seed),
        "prediction": adapter.intensive(pool.y, atoms),
    }
    return {name: graph_roughness(pool.Z, responses[name]) for name in NAMES}


def measured(
    pool: Pool, found: Mapping[str, RoughnessResult], bootstrap: int = 0, seed: int = 0
) -> dict[tuple[str, str], Measure]:
    """Every measure under every response, by (measure, response); the response is empty where none enters."""
    table: dict[tuple[str, str], Measure] = {}
    for response, result in found.items():
        for m in measure(pool.Z, result.response, pool.D, seed=seed, bootstrap=bootstrap):
            table[m.name, response if m.name in OF_RESPONSE else ""] = m
    return dict(sorted(table.items(), key=lambda item: item[0][1] == ""))


def around(result: RoughnessResult, Z: np.ndarray, points: np.ndarray) -> dict[str, np.ndarray]:
    """What a landscape of points (n, d) says of other points (m, d): local roughness, and two that no density enters.

    Local roughness is a sum over vectors, so that it is also large where crystals are dense. Against it stand the mean
    barrier (distance-damped) of the nearest vectors, and the variance of the response over the nearest crystals.
    """
    X = result.scale(points)
    start, end, _ = result.network.vectors()
    barrier = np.zeros(len(X))
    if len(start):
        centres = start + CENTRE * (end - start)
        nearest = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(start))).fit(centres).kneighbors(X)[1]
        barrier = result.network.contributions()[nearest].mean(axis=1)
    index = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(result.scale(Z)).kneighbors(X)[1]
    return {
        "local roughness": result.local(points),
        "mean nearest barrier": barrier,
        "variance over neighbours": result.response[index].var(axis=1),
    }


@dataclass(frozen=True)
class HeldOut:
    """What one split into five folds says about each of n crystals while it is held out.

    Attributes:
        error: (n,) absolute error, mean of both probes.
        distance: (n,) to the nearest training crystal, in the probes' standardised coordinates.
        labels: (3, n) :func:`around` each crystal, of the training crystals' labels.
    """

    error: np.ndarray
    distance: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, Z: np.ndarray, task: Task, seed: int = 0) -> HeldOut:
        """Fit probes to embeddings (n, d) of a task's crystals, formulas kept on one side of each split."""
        found = np.empty((5, len(task)))
        Z = Z.astype(float)
        for train, test in folds(task.groups, seed):
            scaler = StandardScaler().fit(Z[train])
            X, X_test, y = scaler.transform(Z[train]), scaler.transform(Z[test]), task.y[train]
            errors = [np.abs(probe(X, y, X_test) - task.y[test]) for probe in (ridge, kernel_ridge)]
            nearest = NearestNeighbors(n_neighbors=1).fit(X).kneighbors(X_test)[0][:, 0]
            local = around(graph_roughness(Z[train], y), Z[train], Z[test])
            found[:, test] = np.vstack([np.mean(errors, axis=0), nearest, *local.values()])
        return cls(found[0], found[1], found[2:])


def predictors(
    Z: np.ndarray, task: Task, held: HeldOut, pool: Pool, found: Mapping[str, RoughnessResult]
) -> dict[str, np.ndarray]:
    """Everything (n,) that might tell where a probe errs; the last three see labels, of training crystals."""
    some = next(iter(found.values()))
    distance, index = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(some.scale(pool.Z)).kneighbors(some.scale(Z))
    X = standardise(np.vstack([pool.D, describe_structures(task.structures)]))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    likeness = np.einsum("nd,nkd->nk", X[len(pool.D) :], X[index]).mean(axis=1)
    local = {name: around(result, pool.Z, Z) for name, result in found.items()}
    local[LABELS] = dict(zip(local[next(iter(found))], held.labels, strict=True))
    return {
        DISTANCE: held.distance,
        "distance to pool neighbours (1 / density)": distance.mean(axis=1),
        "unlikeness to pool neighbours": -likeness,
        "atoms in the cell": np.array([len(s) for s in task.structures], dtype=float),
    } | {f"{kind}, {name}": value for name, kinds in local.items() for kind, value in kinds.items()}


def rank_correlation(a: np.ndarray, b: np.ndarray, given: np.ndarray | None = None) -> np.ndarray:
    """Spearman correlation (r,) of each row of a and b (r, n); partial, given a third quantity, where there is one.

    0 where a row is constant.
    """

    def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = (v - v.mean(axis=1, keepdims=True) for v in (x, y))
        scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
        return (x * y).sum(axis=1) / np.where(scale > 0, scale, np.inf)

    ranks = [rankdata(v, axis=1) for v in (a, b)]
    plain = pearson(*ranks)
    if given is None:
        return plain
    third = rankdata(given, axis=1)
    first, second = (pearson(r, third) for r in ranks)
    return (plain - first * second) / np.sqrt(np.maximum((1 - first**2) * (1 - second**2), 1e-12))


def resampled(n: int, seed: int) -> np.ndarray:
    """(1 + ``RESAMPLES``, n) rows: all in order first, then bootstrap resamples."""
    draws = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
    return np.vstack([np.arange(n), draws])


def region_means(Z: np.ndarray, columns: np.ndarray, seed: int = 0) -> np.ndarray:
    """Means (c, regions) of columns (c, n) over k-means clusters of the standardised embedding (n, d)."""
    label = KMeans(min(REGIONS, len(Z) // MIN_REGION), n_init=4, random_state=seed).fit_predict(
        StandardScaler().fit_transform(Z.astype(float))
    )
    members = [np.flatnonzero(label == r) for r in np.unique(label)]
    return np.stack([columns[:, m].mean(axis=1) for m in members if len(m) >= MIN_REGION], axis=1)


@dataclass(frozen=True)
class Ranking:
    """How well one quantity ranks where probes err, over tasks.

    Attributes:
        predictor: the quantity.
        by_task: (t, 1 + r) Spearman correlation with the held-out error on every task, and its bootstrap resamples.
        given_distance: (t, 1 + r) the same given the distance to the nearest training crystal.
        by_region: (t, 1 + r) as ``by_task``, of means over regions of latent space, regions resampled.
        by_region_given_distance: (t, 1 + r) as ``given_distance``, of the same means.
    """

    predictor: str
    by_task: np.ndarray
    given_distance: np.ndarray
    by_region: np.ndarray
    by_region_given_distance: np.ndarray


def rank_errors(
    adapter: Adapter, pool: Pool, found: Mapping[str, RoughnessResult], tasks: Sequence[Task], seed: int = 0
) -> list[Ranking]:
    """Rank correlation of every predictor with held-out probe errors on every task."""
    collected: dict[str, list[np.ndarray]] = {}
    for task in track(tasks, "probing downstream tasks"):
        Z = embed(adapter.model, task.structures)
        held = HeldOut.of(Z, task, seed)
        values = predictors(Z, task, held, pool, found)
        crystals = np.stack([held.error, *values.values()])
        parts = []
        for columns in (crystals, region_means(Z, crystals, seed)):
            error, distance, *others = columns[:, resampled(columns.shape[1], seed)]
            given = [np.zeros_like(error[:, 0]), *(rank_correlation(v, error, distance) for v in others)]
            parts += [[rank_correlation(v, error) for v in (distance, *others)], given]
        for name, *correlations in zip(values, *parts, strict=True):
            collected.setdefault(name, []).append(np.stack(correlations))
    return [Ranking(name, *np.stack(parts, axis=1)) for name, parts in collected.items()]


def interval(correlations: np.ndarray) -> tuple[float, float, float]:
    """Mean over tasks of correlations (t, 1 + r), and the 95 % interval of that mean."""
    mean = correlations.mean(axis=0)
    low, high = np.percentile(mean[1:], [2.5, 97.5])
    return float(mean[0]), float(low), float(high)


def _spread(value: float, low: float | None, high: float | None, form: str) -> str:
    return f"{value:{form}}" if low is None else f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _prepared(model: Path, structures: str, n: int, seed: int) -> tuple[Adapter, Pool]:
    adapter, crystals = get_adapter(load_model(model)), read_structures(structures)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(crystals))[:n])
    return adapter, prepare_pool(adapter, crystals.subset(drawn))


@app.command()
def models(
    structures: Annotated[str, typer.Argument(help="Pool of crystals.")],
    paths: Annotated[list[Path], typer.Argument(help="Model directories.")],
    n: Annotated[int, typer.Option(help="Crystals drawn from the pool.")] = 4000,
    bootstrap: Annotated[int, typer.Option(help="Half-samples of the intervals.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the draw, the displacements and the half-samples.")] = 0,
) -> None:
    """Every measure of every model's embedding of a pool, under every response, with 95 % intervals."""
    columns = []
    for path in paths:
        adapter, pool = _prepared(path, structures, n, seed)
        columns.append(measured(pool, landscapes(adapter, pool, seed), bootstrap, seed))
        console.print(f"{path.name}: {len(pool)} crystals, {adapter.dim} dimensions", highlight=False)
    title = f"measures, 95 % intervals from {bootstrap} half-samples"
    table = new_table(title, ("measure", "response", "better", *(p.name for p in paths)))
    for key, first in columns[0].items():
        shown = [_spread(c[key].value, c[key].low, c[key].high, ".3g") for c in columns]
        table.add_row(key[0], key[1], first.better, *shown)
    console.print(table)


@app.command()
def errors(
    structures: Annotated[str, typer.Argument(help="Pool of crystals, from which the landscapes are made.")],
    paths: Annotated[list[Path], typer.Argument(help="Model directories.")],
    task: Annotated[list[str], typer.Option(help="FILE:LABEL of labelled crystals; ':log' behind it for its log10.")],
    n: Annotated[int, typer.Option(help="Crystals drawn from the pool.")] = 4000,
    rows: Annotated[int, typer.Option(help="Crystals per task at most.")] = 1600,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
) -> None:
    """Does roughness rank crystals and regions by where frozen-embedding probes err, and do simpler quantities."""
    tasks = [_drawn(text, rows) for text in task]
    for path in paths:
        adapter, pool = _prepared(path, structures, n, seed)
        rankings = rank_errors(adapter, pool, landscapes(adapter, pool, seed), tasks, seed)
        title = f"{path.name}, landscapes of {len(pool)} crystals: Spearman correlation with held-out error"
        kinds = ("mean over tasks", "tasks + / -", "given distance", "by region", "by region, given distance")
        table = new_table(title, ("quantity", *kinds))
        each = new_table("on each task", ("quantity", *(t.name for t in tasks)))
        for r in rankings:
            low, high = np.percentile(r.by_task[:, 1:], [2.5, 97.5], axis=1)
            columns = (r.by_task, r.given_distance, r.by_region, r.by_region_given_distance)
            shown = [_spread(*interval(c), "+.2f") for c in columns]
            table.add_row(r.predictor, shown[0], f"{(low > 0).sum()} / {(high < 0).sum()}", *shown[1:])
            each.add_row(r.predictor, *(f"{v:+.2f}" for v in r.by_task[:, 0]))
        console.print(table)
        console.print(each)


def _drawn(text: str, rows: int) -> Task:
    """The task of ``FILE:LABEL`` or ``FILE:LABEL:log``, cut to at most ``rows`` random crystals."""
    file, *label = text.split(":")
    if len(label) not in (1, 2) or label[1:] not in ([], ["log"]):
        raise InputError(f"task '{text}' is neither FILE:LABEL nor FILE:LABEL:log.")
    whole = read_tasks(file, label[:1])[0]
    kept = np.random.default_rng(0).permutation(len(whole))[:rows]
    part = whole.subset(kept)
    if len(label) == 1 or part.name.startswith("log "):
        return part
    return replace(part, name=f"log {part.name}", unit=f"log10 {part.unit}", y=np.log10(part.y))
