"""Analysis of roughness: from an embedding and a response to a :class:`~matgl_fill.roughness.RoughnessResult`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from matgl_fill.errors import InputError
from matgl_fill.roughness.graph import graph_network, refined_network
from matgl_fill.roughness.landscape.explore import landscape_network
from matgl_fill.roughness.local import LocalRoughness
from matgl_fill.roughness.neighbours import NEIGHBOURS, nearest_neighbours
from matgl_fill.roughness.network import LENGTHSCALE, StationaryNetwork
from matgl_fill.roughness.responses import ResponseFunction, make_response
from matgl_fill.roughness.result import RoughnessResult
from matgl_fill.roughness.similarity import neighbour_similarity
from matgl_fill.structures import read_structures
from matgl_fill.utils.modes import usual_autograd
from matgl_fill.utils.scaling import Scaling
from matgl_fill.utils.validation import check_seed

MIN_NEIGHBOURS = 3
"""Neighbours of each point in the graph of even the smallest pool."""


@usual_autograd()
def analyze_roughness(
    Z: np.ndarray,
    response: str | np.ndarray | ResponseFunction = "neighbour_similarity",
    structures: Any = None,
    method: Literal["graph", "landscape"] = "graph",
    seed: int = 0,
    model: nn.Module | None = None,
    *,
    refine: bool = False,
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> RoughnessResult:
    """Analyse how rough a latent space is, and where.

    Args:
        Z: Embedding (n, d), for example from :func:`matgl_fill.embed`.
        response: Quantity that varies over latent space. ``"neighbour_similarity"`` is the cosine (-1 to 1) between the
            descriptors of a crystal and of its latent neighbours. ``"perturbation_sensitivity"`` is the logarithm of
            latent over descriptor displacement of ten copies with atoms displaced by 0.05 A, both in standard
            deviations of the n crystals. ``"prediction"`` is what the model predicts, in its own unit, per atom for
            potentials. An (n,) array of any quantity, or a callable from the list of structures to such an array, is
            taken as well. The response is scaled to its range, so that its unit does not count.
        structures: The n crystals, anything :func:`matgl_fill.read_structures` takes; needed unless the response
            is an array.
        method: Method of the analysis: ``"graph"``, the sublevel merge tree on the nearest-neighbour graph, or
            ``"landscape"``, the stationary points of a smooth surface through the data, as published; the cost of the
            latter grows with the square of n.
        seed: Seed of the landscape's basin-hopping steps and of the displacements; graph mode draws nothing at random.
        model: Model behind the embedding, for ``"perturbation_sensitivity"`` (ten more embeddings a crystal) and
            ``"prediction"``.
        refine: In graph mode, move the graph's stationary points to those of the smooth surface nearby. Local roughness
            then agrees with landscape mode's; meant for a few thousand points.
        progress: Show on the terminal what runs.
        checkpoint: File from which an interrupted landscape analysis goes on.

    Raises:
        InputError: Structures or model are missing, lengths differ, a value is not finite, or the response is unknown.
    """
    if method not in ("graph", "landscape"):
        raise InputError(f"no roughness method '{method}'; there are 'graph' and 'landscape'.")
    seed = check_seed(seed)
    if isinstance(response, str) or callable(response):
        crystals = None if structures is None else read_structures(structures).structures
        response = make_response(response, crystals, model, seed)
    if method == "landscape":
        return landscape_roughness(Z, response, seed, progress, checkpoint=checkpoint)
    return graph_roughness(Z, response, refine=refine, progress=progress)


def graph_roughness(
    Z: np.ndarray, response: np.ndarray, k: int = NEIGHBOURS, refine: bool = False, progress: bool = False
) -> RoughnessResult:
    """Roughness of a response over latent points, in graph mode.

    Neighbours are exact at any size (:func:`~matgl_fill.roughness.neighbours.nearest_neighbours`), as are the network
    and the frustration. Where points times vectors exceed some hundred millions, ``local`` runs in single precision, as
    does the first part of the climb to the maxima (:class:`~matgl_fill.roughness.LocalRoughness`). Nothing is drawn at
    random unless the network is refined.

    Args:
        Z: Latent points (n, d), finite.
        response: Response (n,) at each point, or model-independent descriptors (n, c), from which
            :func:`~matgl_fill.roughness.similarity.neighbour_similarity` is made.
        k: Number of neighbours of each point; fewer are taken where there are less than 60 k points, which k neighbours
            would join to one basin.
        refine: Move the stationary points from data points to those of landscape mode's surface nearby
            (:func:`~matgl_fill.roughness.graph.refined_network`), for a few dimensions and up to a few thousand points.
            Local roughness then nearly agrees with landscape mode at a fraction of its cost; without, it does not.
        progress: Show on the terminal what runs.

    Returns:
        The :class:`~matgl_fill.roughness.RoughnessResult`.

    Raises:
        InputError: There are fewer than 3 points, lengths differ, or values are not finite; with ``refine``, the points
            span fewer dimensions than they have.
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
    """Roughness of a response over latent points, in landscape mode.

    The stationary network is that of :func:`~matgl_fill.roughness.landscape_network`.

    Args:
        Z: Latent points (n, d), finite, spanning d dimensions.
        response: Response as in :func:`graph_roughness`.
        seed: Seed of the basin-hopping steps.
        progress: Show on the terminal what runs.
        checkpoint: File that an interrupted run goes on from.

    Returns:
        The :class:`~matgl_fill.roughness.RoughnessResult`.

    Raises:
        InputError: The input is refused as in :func:`graph_roughness`, the points span fewer dimensions than they have,
            or the checkpoint is of another run.
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
        X: Points (n, d), each axis in [0, 1]; axes without any range are 0 and count for nothing. Distances between
            the points grow as the square root of d, so that the frustration's fixed length scale damps more in more
            dimensions: values compare between spaces of one dimension only.
        scaling: Scaling of the latent space to these coordinates; infinite in extent for an axis without any range.
        values: Response (n,), in its own unit.
        distance: Distances (n, k) to the k nearest neighbours, in coordinates of X.
        index: Indices (n, k) of these neighbours.
    """

    X: np.ndarray
    scaling: Scaling[np.ndarray]
    values: np.ndarray
    distance: np.ndarray
    index: np.ndarray

    @classmethod
    def of(cls, Z: np.ndarray, response: np.ndarray, k: int, progress: bool) -> _Sampled:
        """Scale the points; descriptors (n, c) become a response (n,) here.

        Args:
            Z: Latent points (n, d) in any unit, of any dimension d from 1 on.
            response: Response (n,) or descriptors (n, c), in any unit.
            k: Number of neighbours wanted; n / 60 are taken where that is less, but no less than
                :data:`MIN_NEIGHBOURS`.
            progress: Draw a progress bar.

        Raises:
            InputError: The input is refused as in :func:`graph_roughness`.
        """
        Z, response = _checked(Z, response)
        scaling = Scaling.of_range(Z)
        X = scaling(Z)
        distance, index = nearest_neighbours(X, min(k, max(MIN_NEIGHBOURS, len(X) // 60)), progress)
        values = neighbour_similarity(response, index) if response.ndim == 2 else response
        return cls(X, scaling, values, distance, index)

    def result(self, network: StationaryNetwork) -> RoughnessResult:
        """Frustration and local roughness of a network found in these data.

        The width of the Gaussians is half the median distance between nearest neighbours, in coordinates of X: it
        follows the sampling in any dimension and at any scale of the latent space.
        """
        width = max(float(np.median(self.distance[:, 0])) / 2, 1e-9)
        surface = LocalRoughness(network, width=width)
        frustration = network.frustration(LENGTHSCALE)
        origin, extent = self.scaling.origin, self.scaling.extent
        return RoughnessResult(frustration, network, self.values, surface, origin, extent)


def _checked(Z: np.ndarray, response: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, d) and a response (n,) or (n, c) as finite numbers; a column is a response, not descriptors."""
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
        raise InputError(f"roughness needs at least 3 points with a response each, got {len(Z)} and {len(response)}.")
    if not (np.isfinite(Z).all() and np.isfinite(response).all()):
        raise InputError("roughness needs finite latent points and responses; remove rows with NaN or infinity.")
    return Z, response
