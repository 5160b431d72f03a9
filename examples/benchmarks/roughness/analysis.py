"""What roughness costs with the number of points, and how far graph mode agrees with landscape mode."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import spearmanr
from sklearn.decomposition import PCA

from examples.benchmarks.embedding.throughput import peak_memory_mb
from matgl_fill.errors import InputError
from matgl_fill.roughness import (
    LocalRoughness,
    RoughnessResult,
    StationaryNetwork,
    graph_roughness,
    landscape_roughness,
    persistence,
)

Mode = Literal["graph", "landscape"]
WAVES = 64
"""Plane waves of a random field."""
FACTORS = 8
"""Hidden coordinates behind a synthetic embedding."""
HIDDEN = 64
SPREAD = 0.05
"""Deviation of what a synthetic embedding has besides its factors; its coordinates have about 0.7."""
NOISE = 0.3
"""Deviation of a synthetic response's noise; its smooth part has 1."""
MAXIMA = 100


def random_field(points: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth random field (n,) of unit variance at points (n, d).

    A sum of 64 plane waves with random phases and normal wave vectors of deviation 1 / length in every direction, so
    that the correlation falls with distance r as exp(-r² / 2 length²).
    """
    waves = rng.normal(size=(points.shape[1], WAVES)) / length
    phase = rng.uniform(0, 2 * np.pi, WAVES)
    return np.cos(points @ waves + phase).sum(axis=1) * np.sqrt(2 / WAVES)


def synthetic_embedding(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, d) and a response (n,) shaped like an embedding's.

    Eight normal factors through a random layer of 64 tanh units and a random linear one, plus 5 % noise: neighbours are
    at a third of the typical distance, as in the embeddings of pretrained models. The response is a random field of
    length 2 over the factors plus normal noise of deviation 0.3, so that one point in about 16 is a minimum.
    """
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, FACTORS))
    hidden = np.tanh(1.5 * factors @ rng.normal(size=(FACTORS, HIDDEN)) / np.sqrt(FACTORS))
    Z = hidden @ rng.normal(size=(HIDDEN, d)) / np.sqrt(HIDDEN) + SPREAD * rng.normal(size=(n, d))
    return Z, random_field(factors, 2.0, rng) + NOISE * rng.normal(size=n)


@dataclass(frozen=True)
class Cost:
    """One analysis in a process of its own.

    Attributes:
        mode: graph or landscape.
        n: points.
        d: their dimension.
        seconds: wall time of frustration, local roughness at all points and 100 maxima.
        cpu: processor time (s) of the same, over all threads.
        peak_mb: largest resident memory of the process, imports and data included.
        basins: minima found.
        vectors: terms of the local roughness.
        found: maxima returned.
    """

    mode: Mode
    n: int
    d: int
    seconds: float
    cpu: float
    peak_mb: float
    basins: int
    vectors: int
    found: int


def cost(mode: Mode, n: int, d: int = 128) -> Cost:
    """Cost of one analysis of a :func:`synthetic_embedding`, measured in a process of its own."""
    code = f"from examples.benchmarks.roughness.analysis import _measured; _measured({mode!r}, {n}, {d})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def _measured(mode: Mode, n: int, d: int) -> None:
    """Analyse and print the cost as JSON."""
    analyse = graph_roughness if mode == "graph" else landscape_roughness
    analyse(*synthetic_embedding(200, 2)).maxima(1)  # warm up
    Z, response = synthetic_embedding(n, d)
    start, cpu = time.perf_counter(), time.process_time()
    result = analyse(Z, response)
    result.local(Z)
    _, values = result.maxima(MAXIMA)
    spent = time.perf_counter() - start, time.process_time() - cpu
    sizes = len(result.network.minima), len(result.surface.height), len(values)
    print(json.dumps(asdict(Cost(mode, n, d, *spent, peak_memory_mb(), *sizes))))


def growth(costs: Sequence[Cost]) -> float:
    """Exponent a of seconds ~ n^a, by least squares on logarithms."""
    return float(np.polyfit(np.log([c.n for c in costs]), np.log([c.seconds for c in costs]), 1)[0])


@dataclass(frozen=True)
class Agreement:
    """Agreement with landscape mode's local roughness at the data points.

    Attributes:
        correlation: Spearman's, by name. ``graph`` and ``refined``: the two graph modes. What limits the first:
            ``tree``, landscape mode's own network without the transition states that join no two components, which a
            merge tree lacks; ``snapped``, that network with every stationary point moved to the nearest data point;
            ``resampled``, landscape mode given as many further points of the same field. All are smoothed with
            landscape mode's width. NaN where there is a single basin.
        seconds: wall time of landscape, graph and refined graph mode.
        minima: found by them.
    """

    correlation: dict[str, float]
    seconds: list[float]
    minima: list[int]


def agreement(Z: np.ndarray, response: np.ndarray, more: tuple[np.ndarray, np.ndarray] | None = None) -> Agreement:
    """Agreement of graph with landscape mode on one field.

    Args:
        Z: (n, d) points.
        response: (n,) response there.
        more: further points of the same field and the response there.
    """
    clock, results = [time.perf_counter()], []
    for analyse in (landscape_roughness, graph_roughness, _refined):
        results.append(analyse(Z, response))
        clock.append(time.perf_counter())
    reference, graph, refined = results
    networks = {
        "graph": graph.network,
        "refined": refined.network,
        "tree": _tree_of(reference.network),
        "snapped": _snapped(reference.network, reference.scale(Z)),
    }
    if more is not None:
        denser = landscape_roughness(np.concatenate([Z, more[0]]), np.concatenate([response, more[1]]))
        networks["resampled"] = _in_scale_of(reference, denser)
    X, width = reference.scale(Z), reference.surface.width
    expected = reference.surface(X)
    rho = {name: _rank_correlation(expected, LocalRoughness(x, width=width)(X)) for name, x in networks.items()}
    return Agreement(rho, np.diff(clock).tolist(), [len(r.network.minima) for r in results])


def _refined(Z: np.ndarray, response: np.ndarray) -> RoughnessResult:
    return graph_roughness(Z, response, refine=True)


def _tree_of(network: StationaryNetwork) -> StationaryNetwork:
    """A network without the transition states at which no basin ends."""
    ending = np.isin(network.ts_values, persistence(network)[:, 1])
    return StationaryNetwork(
        network.minima, network.minima_values, network.ts[ending], network.ts_values[ending], network.pairs[ending]
    )


def _snapped(network: StationaryNetwork, X: np.ndarray) -> StationaryNetwork:
    """A network with its points moved to the nearest of X."""
    nearest = cKDTree(X)
    minima, ts = (X[nearest.query(points)[1]] for points in (network.minima, network.ts))
    return StationaryNetwork(minima, network.minima_values, ts, network.ts_values, network.pairs)


def _in_scale_of(reference: RoughnessResult, other: RoughnessResult) -> StationaryNetwork:
    """The other's network in the coordinates of the reference."""
    minima, ts = (reference.scale(other.unscale(points)) for points in (other.network.minima, other.network.ts))
    return StationaryNetwork(minima, other.network.minima_values, ts, other.network.ts_values, other.network.pairs)


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's; NaN where one is constant, as with a single basin."""
    return float(spearmanr(a, b)[0]) if np.ptp(a) > 0 and np.ptp(b) > 0 else np.nan


def field_agreements(d: int, n: int, seeds: int) -> Iterator[Agreement]:
    """Agreement on random fields: one for each seed.

    Args:
        d: dimension; the n points, and as many further ones, are uniform in the unit cube, the fields of length
            sqrt(d) / 8, a third of the typical distance.
        n: points.
        seeds: how many fields.
    """
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        Z = rng.uniform(size=(2 * n, d))
        response = random_field(Z, np.sqrt(d) / 8, rng)
        yield agreement(Z[:n], response[:n], (Z[n:], response[n:]))


def projected_agreement(Z: np.ndarray, response: np.ndarray, d: int) -> Agreement:
    """Agreement over the first d principal components of an embedding.

    Args:
        Z: (n, dim) embedding.
        response: (n,) response.
        d: components.

    Raises:
        InputError: the embedding has fewer dimensions, or fewer points.
    """
    if d > min(Z.shape):
        raise InputError(f"an embedding of {len(Z)} points in {Z.shape[1]} dimensions has no {d} components.")
    return agreement(PCA(d, svd_solver="full").fit_transform(Z), response)
