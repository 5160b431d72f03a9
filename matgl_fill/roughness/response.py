"""Responses: label-free quantities whose variation over latent space makes it rough."""

from __future__ import annotations

import numpy as np


def standardise(D: np.ndarray) -> np.ndarray:
    """Columns with zero mean and unit deviation; constant columns become 0."""
    deviation = D.std(axis=0)
    return (D - D.mean(axis=0)) / np.where(deviation > 1e-12, deviation, np.inf)


def neighbour_similarity(D: np.ndarray, index: np.ndarray) -> np.ndarray:
    """How alike a crystal and its latent neighbours are.

    The encoder-side twin of decoding the neighbourhood and comparing fingerprints (arXiv 2502.13886): the mean cosine
    between the standardised descriptors of a crystal and of its k nearest latent neighbours. Between -1 and 1; low
    where the model puts unlike crystals together.

    Args:
        D: (n, k) model-independent descriptors.
        index: (n, k) nearest latent neighbours.

    Returns:
        (n,) similarity.
    """
    X = standardise(D)
    X = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
    return np.einsum("nd,nkd->nk", X, X[index]).mean(axis=1)
