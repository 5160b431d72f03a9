"""Targets: the latent points at which new crystals are wanted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from matgl_fill.config.config import Choice
from matgl_fill.roughness import RoughnessResult
from matgl_fill.utils.scaling import Scaling


class Targets(NamedTuple):
    """Latent points to fill.

    Attributes:
        points: Latent points (m, dim), the most wanted first.
        roughness: Local roughness (m,) there.
    """

    points: np.ndarray
    roughness: np.ndarray


def choose_targets(Z: np.ndarray, roughness: RoughnessResult, n: int, choice: Choice, seed: int) -> Targets:
    """Choose the latent points to fill.

    Args:
        Z: Embedding (m, dim) of the pool.
        roughness: Roughness of that embedding.
        n: Number of targets wanted.
        choice: Way of choosing. ``"roughness"`` takes the maxima of the local roughness and, where there are fewer than
            n, the roughest crystals of regions without one (:func:`rough_targets`). The controls take pool crystals at
            random (``"random"``), by farthest-point sampling (``"farthest"``), or those whose response is lowest
            (``"dissimilar"``): with the usual response the crystals that resemble their latent neighbours least.
        seed: Seed of the controls.

    Returns:
        At most n targets.
    """
    if choice == "roughness":
        return rough_targets(Z, roughness, n)
    if choice == "dissimilar":
        lowest = np.argsort(roughness.response, kind="stable")[:n]
        return Targets(Z[lowest], roughness.local(Z[lowest]))
    rng = np.random.default_rng(seed)
    picked = [int(rng.integers(len(Z)))]
    if choice == "random":
        picked = rng.permutation(len(Z))[:n].tolist()
    else:
        X = Scaling.of(Z)(Z.astype(float))
        distance = np.linalg.norm(X - X[picked[0]], axis=1)
        while len(picked) < min(n, len(Z)):
            picked.append(int(distance.argmax()))
            distance = np.minimum(distance, np.linalg.norm(X - X[picked[-1]], axis=1))
    return Targets(Z[picked], roughness.local(Z[picked]))


def rough_targets(Z: np.ndarray, roughness: RoughnessResult, n: int) -> Targets:
    """Find the maxima of local roughness; where there are fewer than n, also the roughest crystals of other regions.

    A small pool has one or two maxima, and a hundred crystals around these say little about the rest of latent space.
    The pool is therefore parted into n regions (k-means); each that holds no maximum gives its roughest crystal.

    Args:
        Z: Embedding (m, dim) of the pool.
        roughness: Roughness of that embedding.
        n: Number of targets wanted.

    Returns:
        At most n targets, the maxima first, then the others; the local roughness falls in both parts.
    """
    points, height = roughness.maxima(n)
    if not 0 < len(points) < min(n, len(Z)):
        return Targets(points, height)
    local, scaling = roughness.local(Z), Scaling.of(Z)
    with threadpool_limits(1):  # more threads would sum in another order
        regions = KMeans(min(n, len(Z)), n_init=1, random_state=0).fit(scaling(Z.astype(float)))
        filled = regions.predict(scaling(points.astype(float)))
    falling = np.argsort(-local, kind="stable")
    falling = falling[~np.isin(regions.labels_[falling], filled)]
    first = np.sort(np.unique(regions.labels_[falling], return_index=True)[1])
    more = falling[first][: n - len(points)]
    return Targets(np.vstack([points, Z[more]]), np.concatenate([height, local[more]]))
