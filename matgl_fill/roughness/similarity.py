"""Responses: label-free quantities whose variation over latent space makes it rough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from matgl_fill.errors import InputError
from matgl_fill.utils.console import track
from matgl_fill.utils.scaling import Scaling

PERTURBATIONS = 10
"""Number of perturbations of each crystal."""

BLOCK = 2**22
"""Number of descriptors of neighbours held in memory (32 MB)."""

Item = TypeVar("Item")
Features = Callable[[Sequence[Item]], np.ndarray]
"""A function of n items to an (n, k) array."""


def standardise(D: np.ndarray) -> np.ndarray:
    """Scale columns to zero mean and unit deviation; constant columns become 0."""
    return _scaling(D)(D)


def _scaling(D: np.ndarray) -> Scaling[np.ndarray]:
    return Scaling.of(D, floor=1e-12, narrow=np.inf)


def neighbour_similarity(D: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Similarity of each crystal and its latent neighbours.

    It is the mean cosine between the standardised descriptors of a crystal and of its k nearest latent neighbours, the
    counterpart for an encoder of decoding the neighbourhood and comparing fingerprints (arXiv 2502.13886). It lies
    between -1 and 1, and is low where the model puts unlike crystals together.

    Args:
        D: Model-independent descriptors (n, c).
        index: Indices (n, k) of the nearest latent neighbours.

    Returns:
        Similarity (n,).
    """
    X = standardise(D)
    X = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
    size = max(1, BLOCK // max(1, index.shape[1] * X.shape[1]))
    parts = [slice(first, first + size) for first in range(0, len(X), size)]
    return np.concatenate([np.einsum("nd,nkd->nk", X[part], X[index[part]]).mean(axis=1) for part in parts])


def perturbation_sensitivity(
    embed: Features[Item],
    describe: Features[Item],
    perturb: Callable[[Item, np.random.Generator], Item],
    items: Sequence[Item],
    perturbations: int = PERTURBATIONS,
    seed: int = 0,
) -> np.ndarray:
    r"""Compute how far each crystal moves in latent space when it moves a little in descriptor space.

    .. math:: s = \log \frac{\sum_c \|\Delta z_c\| / \sqrt{d}}{\sum_c \|\Delta x_c\| / \sqrt{k}}

    The sums run over perturbations c, with embeddings z and descriptors x in units of each column's standard deviation
    over the items. The sensitivity is dimensionless and free of the widths d and k of both spaces. It is 0 where a
    perturbation moves both by the same share of their spread, high where the model overreacts, and low where it is
    blind to what the descriptors see. Columns that are constant over the items do not count.

    Args:
        embed: Function of the items to embeddings (n, d).
        describe: Function of the items to model-independent descriptors (n, k).
        perturb: Function of an item to a perturbed one, by a fixed amplitude in a random direction.
        items: The n crystals.
        perturbations: Number of perturbations of each item, which are embedded n at a time.
        seed: Seed of the perturbations.

    Returns:
        Sensitivity (n,).

    Raises:
        InputError: The perturbation leaves an item's embedding or descriptors as they were.

    Example:
        >>> import numpy as np
        >>> numbers = list(np.linspace(0.5, 2, 50))
        >>> square, plain = (lambda xs: np.array(xs)[:, None] ** 2), (lambda xs: np.array(xs)[:, None])
        >>> s = perturbation_sensitivity(square, plain, lambda x, rng: x + 0.01 * rng.normal(), numbers)
        >>> bool(s[-1] > s[0])
        True
    """
    rng = np.random.default_rng(seed)
    moved = np.zeros((2, len(items)))
    spaces = [(features, base, _scaling(base).extent) for features in (embed, describe) for base in [features(items)]]
    for _ in track(range(perturbations), "perturbing"):
        perturbed = [perturb(item, rng) for item in items]
        for total, (features, base, deviation) in zip(moved, spaces, strict=True):
            step = (features(perturbed) - base) / deviation
            total += np.linalg.norm(step, axis=1) / np.sqrt(max(np.isfinite(deviation).sum(), 1))
    still = np.flatnonzero((moved <= 0).any(axis=0))
    if len(still):
        raise InputError(
            f"the perturbation does not change item {still[0]} in latent or in descriptor space; "
            "give a larger amplitude or another response."
        )
    return np.log(moved[0] / moved[1])
