"""Latent targets -> valid new crystals."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from matgl_fill.adapters import Adapter
from matgl_fill.config.config import Choice
from matgl_fill.embedding.pool import Pool
from matgl_fill.errors import GenerationError, InputError, MatglFillWarning
from matgl_fill.generation.decoder import Decoder
from matgl_fill.generation.select import Proposal, Selection, select
from matgl_fill.roughness import RoughnessResult
from matgl_fill.utils.validation import as_int, check_seed


@dataclass(frozen=True)
class SearchRequest:
    """What a search is asked for.

    Attributes:
        n: Number of crystals wanted.
        seed: Seed of all random choices.
        choice: How the targets are chosen, see :func:`choose_targets`.
        checkpoint: File to which the search is saved, and from which an interrupted one goes on.
    """

    n: int
    seed: int
    choice: Choice = "roughness"
    checkpoint: Path | None = None


def choose_targets(
    Z: np.ndarray, roughness: RoughnessResult, n: int, choice: Choice, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Latent points to fill.

    Args:
        Z: (m, dim) embedding of the pool.
        roughness: of that embedding.
        n: targets wanted.
        choice: ``"roughness"`` takes the maxima of the local roughness and, where there are fewer than n, the roughest
            crystals of regions without one (:func:`rough_places`); the controls take pool points at random or
            by farthest-point sampling, ``"dissimilar"`` those whose response is lowest: with the usual one the crystals
            that resemble their latent neighbours least.
        seed: of the controls.

    Returns:
        (<= n, dim) targets and the local roughness there.
    """
    if choice == "roughness":
        return rough_places(Z, roughness, n)
    if choice == "dissimilar":
        lowest = np.argsort(roughness.response, kind="stable")[:n]
        return Z[lowest], roughness.local(Z[lowest])
    rng = np.random.default_rng(seed)
    picked = [int(rng.integers(len(Z)))]
    if choice == "random":
        picked = rng.permutation(len(Z))[:n].tolist()
    else:
        X = _standardised(Z, Z)
        distance = np.linalg.norm(X - X[picked[0]], axis=1)
        while len(picked) < min(n, len(Z)):
            picked.append(int(distance.argmax()))
            distance = np.minimum(distance, np.linalg.norm(X - X[picked[-1]], axis=1))
    return Z[picked], roughness.local(Z[picked])


def _standardised(points: np.ndarray, Z: np.ndarray) -> np.ndarray:
    """Latent points (m, dim) in standard deviations of the pool's."""
    return (points.astype(float) - Z.mean(axis=0)) / np.maximum(Z.std(axis=0), 1e-9)


def rough_places(Z: np.ndarray, roughness: RoughnessResult, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The maxima of the local roughness; where there are fewer than n, also the roughest crystals of other regions.

    A small pool has one or two maxima, and a hundred crystals around these say little about all the rest of latent
    space. The pool is therefore parted into n regions (k-means); each that holds no maximum gives its roughest crystal.

    Args:
        Z: (m, dim) embedding of the pool.
        roughness: of that embedding.
        n: places wanted.

    Returns:
        (<= n, dim) places, the maxima first, then the others, and the local roughness there, falling in both parts.
    """
    points, height = roughness.maxima(n)
    if not 0 < len(points) < min(n, len(Z)):
        return points, height
    local, X = roughness.local(Z), _standardised(Z, Z)
    with threadpool_limits(1):  # more threads would sum in another order
        regions = KMeans(min(n, len(Z)), n_init=1, random_state=0).fit(X)
        filled = regions.predict(_standardised(points, Z))
    falling = np.argsort(-local, kind="stable")
    falling = falling[~np.isin(regions.labels_[falling], filled)]
    first = np.sort(np.unique(regions.labels_[falling], return_index=True)[1])
    more = falling[first][: n - len(points)]
    return np.vstack([points, Z[more]]), np.concatenate([height, local[more]])


def propose_from(adapter: Adapter, pool: Pool, roughness: RoughnessResult, request: SearchRequest) -> Selection:
    """New crystals near chosen latent points, and what became of the others; see :func:`matgl_fill.propose`."""
    n, seed, choice = as_int("n", request.n), check_seed(request.seed), request.choice
    if choice not in get_args(Choice):
        raise InputError(f"no choice '{choice}'; there are {', '.join(get_args(Choice))}.")
    if n < 1:
        raise GenerationError(f"asked for {n} crystals; give n of at least 1.")
    targets, local = choose_targets(pool.Z, roughness, n, choice, seed)
    if len(targets) == 0:
        raise GenerationError("the latent space has no rough place (constant response); give a more varied pool.")
    decoder = Decoder(adapter, pool, seed, checkpoint=request.checkpoint)
    selection = select(decoder, targets, local, n)
    if not selection.proposals:
        reasons = ", ".join(f"{k} ({v})" for k, v in decoder.refused.most_common(3))
        raise GenerationError(f"no valid crystal could be generated; candidates failed on: {reasons or 'duplicates'}.")
    if len(selection.proposals) < n:
        warnings.warn(
            f"only {len(selection.proposals)} of {n} crystals could be generated from a pool of "
            f"{len(pool.structures)}; give a larger pool or a smaller n.",
            MatglFillWarning,
            stacklevel=2,
        )
    return selection


__all__ = ["Proposal", "SearchRequest", "Selection", "choose_targets", "propose_from"]
