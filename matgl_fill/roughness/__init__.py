"""Roughness of a latent space: numbers in, numbers out; knows neither models nor structures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from matgl_fill.errors import InputError
from matgl_fill.roughness.graph import NEIGHBOURS, graph_network, nearest_neighbours, persistence, refined_network
from matgl_fill.roughness.landscape.explore import landscape_network
from matgl_fill.roughness.local import LocalRoughness
from matgl_fill.roughness.network import LENGTHSCALE, StationaryNetwork, read_arrays, write_arrays
from matgl_fill.roughness.plots import disconnectivity_graph, roughness_map
from matgl_fill.roughness.similarity import neighbour_similarity

MIN_NEIGHBOURS = 3
"""Neighbours in the graph of even the smallest pool."""


@dataclass(frozen=True)
class RoughnessResult:
    """Roughness of a latent space.

    Attributes:
        frustration: of the whole landscape (``LENGTHSCALE`` 0.8 in range-scaled coordinates).
        network: stationary network in range-scaled coordinates.
        response: (n,) response before scaling.
        surface: local roughness in range-scaled coordinates.
        origin: (d,) lower corner of the data, in latent coordinates.
        extent: (d,) range of the data; dimensions without any are ignored.
    """

    frustration: float
    network: StationaryNetwork
    response: np.ndarray
    surface: LocalRoughness
    origin: np.ndarray
    extent: np.ndarray

    def scale(self, points: np.ndarray) -> np.ndarray:
        """Latent points (m, d) in range-scaled coordinates."""
        return (points - self.origin) / self.extent

    def check_width(self, width: int) -> None:
        """Refuse an embedding of another width than the one that was analysed.

        Raises:
            InputError: it is.
        """
        if len(self.origin) != width:
            raise InputError(
                f"the roughness is of an embedding of width {len(self.origin)}, this model's has {width}; "
                "analyse the roughness of mf.embed(model, pool)."
            )

    def local(self, points: np.ndarray) -> np.ndarray:
        """Local roughness (m,) at latent points (m, d)."""
        return self.surface(self.scale(points))

    def maxima(self, n: int, progress: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The (at most n) roughest places, :meth:`LocalRoughness.maxima`.

        Args:
            n: how many.
            progress: draw a bar.

        Returns:
            latent points (<= n, d) and their local roughness, falling.
        """
        points, values = self.surface.maxima(n, progress)
        span = np.where(np.isfinite(self.extent), self.extent, 0.0)
        return points * span + self.origin, values

    def plot_map(
        self, points: np.ndarray | None = None, proposals: np.ndarray | None = None, **settings: Any
    ) -> Figure:
        """Latent map coloured by local roughness, see :func:`matgl_fill.roughness.plots.roughness_map`."""
        return roughness_map(self, points, proposals, **settings)

    def plot_disconnectivity(self, label: str = "response") -> Figure:
        """Disconnectivity graph, see :func:`matgl_fill.roughness.plots.disconnectivity_graph`, in response units."""
        return disconnectivity_graph(self.network.tree(), label, self.response.min(), self.response.max())

    def save(self, path: str | Path) -> None:
        """Write everything to one ``.npz`` file, atomically."""
        facts = {name: getattr(self, name) for name in ("frustration", "response", "origin", "extent")}
        shape = {"preset": self.surface.preset, "width": self.surface.width}
        write_arrays(path, facts | shape | self.network.arrays())

    @classmethod
    def load(cls, path: str | Path) -> RoughnessResult:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: there is no such file, or it is not of this kind.
        """
        facts = read_arrays(path, ("frustration", "response", "origin", "extent", "preset", "width"))
        network = StationaryNetwork.load(path)
        surface = LocalRoughness(network, facts["preset"].item(), facts["width"].item())
        return cls(facts["frustration"].item(), network, facts["response"], surface, facts["origin"], facts["extent"])


def graph_roughness(
    Z: np.ndarray, response: np.ndarray, k: int = NEIGHBOURS, refine: bool = False, progress: bool = False
) -> RoughnessResult:
    """Roughness of a response over latent points, in graph mode.

    Neighbours are exact at any size (:func:`nearest_neighbours`); 100,000 points of 128 dimensions take one to two
    minutes on two cores and under 2 GB, with ``local`` at all of them and 100 maxima (``python -m examples.benchmarks
    roughness``). Nothing is drawn at random unless refined.

    Args:
        Z: (n, d) latent points, finite.
        response: (n,) response at each point, or (n, c) model-independent descriptors, from which
            :func:`neighbour_similarity` is made.
        k: neighbours of each point; fewer for less than 60 k points, where they would join everything to one basin.
        refine: move the stationary points from data points to those of landscape mode's surface nearby
            (:func:`refined_network`), for a few dimensions and up to a few thousand points. Local roughness then
            nearly agrees with landscape mode at a fraction of its cost; without, it does not.
        progress: say on the terminal what runs.

    Returns:
        The :class:`RoughnessResult`.

    Raises:
        InputError: fewer than 3 points, lengths that differ, or values that are not finite; with ``refine``, points
            that span fewer dimensions than they have.
    """
    data = _Sampled.of(Z, response, k, progress)
    span = np.ptp(data.values)
    scaled = (data.values - data.values.min()) / (span if span > 0 else 1.0)
    if refine:
        return data.result(refined_network(data.X, scaled, data.index, progress=progress))
    return data.result(graph_network(data.X, scaled, data.index))


def landscape_roughness(
    Z: np.ndarray,
    response: np.ndarray,
    seed: int = 0,
    progress: bool = False,
    *,
    checkpoint: str | Path | None = None,
) -> RoughnessResult:
    """Roughness of a response over latent points, in landscape mode (:func:`landscape_network`).

    Args:
        Z: (n, d) latent points, finite, spanning d dimensions.
        response: as in :func:`graph_roughness`.
        seed: of the basin-hopping steps.
        progress: say on the terminal what runs.
        checkpoint: file that an interrupted run goes on from, as in :func:`landscape_network`.

    Returns:
        The :class:`RoughnessResult`.

    Raises:
        InputError: as in :func:`graph_roughness`, the points span fewer dimensions than they have, or the checkpoint
            is of another run.
    """
    data = _Sampled.of(Z, response, NEIGHBOURS, progress)
    return data.result(landscape_network(data.X, data.values, seed, progress, checkpoint=checkpoint))


@dataclass(frozen=True)
class _Sampled:
    """A response at range-scaled points, and the neighbours of each.

    Every axis is scaled to [0, 1] by itself, as in the published analysis. Shifts, positive scales and permutations
    of the axes therefore change nothing; a rotation of the latent space changes the ranges, and with them distances,
    neighbours and roughness, unless the data's ranges stay equal (or in the same ratio) along the rotated axes.

    Attributes:
        X: (n, d) points, each axis in [0, 1]; axes without any range are 0 and count for nothing. Distances between
            them grow as the square root of d, so that the frustration's fixed length scale damps more in more
            dimensions: values compare between spaces of one dimension only.
        origin: (d,) lower corner, in latent coordinates.
        extent: (d,) range, in latent coordinates; infinite for an axis without any.
        values: (n,) response, in its own unit.
        distance: (n, k) to the k nearest neighbours, in coordinates of X.
        index: (n, k) which they are.
    """

    X: np.ndarray
    origin: np.ndarray
    extent: np.ndarray
    values: np.ndarray
    distance: np.ndarray
    index: np.ndarray

    @classmethod
    def of(cls, Z: np.ndarray, response: np.ndarray, k: int, progress: bool) -> _Sampled:
        """Check and scale; descriptors (n, c) become a response (n,) here.

        Args:
            Z: (n, d) latent points in any unit, any d from 1 on.
            response: (n,) or (n, c), in any unit.
            k: neighbours wanted; n / 60 where that is less, but no less than :data:`MIN_NEIGHBOURS`.
            progress: draw a bar.

        Raises:
            InputError: as in :func:`graph_roughness`.
        """
        try:
            Z, response = np.asarray(Z, dtype=float), np.asarray(response, dtype=float)
        except (TypeError, ValueError) as error:
            raise InputError(f"roughness needs numbers: {error}.") from None
        if response.ndim == 2 and response.shape[1] == 1:
            response = response[:, 0]
        if Z.ndim != 2 or not Z.shape[1] or response.ndim not in (1, 2):
            raise InputError(
                f"roughness needs points (n, d) and a response (n,) or (n, c), got {Z.shape} and {response.shape}."
            )
        if len(Z) < 3 or len(Z) != len(response):
            raise InputError(
                f"roughness needs at least 3 points with a response each, got {len(Z)} and {len(response)}."
            )
        if not (np.isfinite(Z).all() and np.isfinite(response).all()):
            raise InputError("roughness needs finite latent points and responses; remove rows with NaN or infinity.")
        extent = np.ptp(Z, axis=0)
        extent[extent < 1e-12] = np.inf
        origin = Z.min(axis=0)
        X = (Z - origin) / extent
        distance, index = nearest_neighbours(X, min(k, max(MIN_NEIGHBOURS, len(X) // 60)), progress)
        values = neighbour_similarity(response, index) if response.ndim == 2 else response
        return cls(X, origin, extent, values, distance, index)

    def result(self, network: StationaryNetwork) -> RoughnessResult:
        """Frustration and local roughness of a network found in these data.

        The width of the Gaussians is half the median distance between nearest neighbours, in coordinates of X: it
        follows the sampling in any dimension and at any scale of the latent space.
        """
        width = max(float(np.median(self.distance[:, 0])) / 2, 1e-9)
        surface = LocalRoughness(network, width=width)
        frustration = network.frustration(LENGTHSCALE)
        return RoughnessResult(frustration, network, self.values, surface, self.origin, self.extent)


__all__ = [
    "LENGTHSCALE",
    "LocalRoughness",
    "RoughnessResult",
    "StationaryNetwork",
    "graph_roughness",
    "landscape_network",
    "landscape_roughness",
    "persistence",
]
