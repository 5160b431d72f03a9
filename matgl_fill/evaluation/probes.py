"""Probes: simple regressors that predict a property from a frozen embedding."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

FOLDS = 5
"""Number of folds of every cross-validation."""
ALPHAS = np.logspace(-2, 5, 15)
"""Penalties among which ridge regression chooses."""
KERNEL_ALPHAS = np.logspace(-4, 1, 11)
"""Penalties among which kernel ridge regression chooses."""
KERNEL_WIDTHS = (0.5, 1.0, 2.0)
"""Kernel widths, over the median distance, among which kernel ridge regression chooses."""
PROBES = ("ridge", "kernel ridge")
"""Names of the probes that scores are made of."""
MLP_WIDTH, MLP_PENALTY, MLP_STEPS = 32, 30.0, 200
"""Hidden units, penalty and optimiser steps of the network."""


def folds(groups: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shuffled 5-fold splits that keep every group (formula) in one fold."""
    return iter(GroupKFold(FOLDS, shuffle=True, random_state=seed).split(groups, groups=groups))


def ridge(X: np.ndarray, y: np.ndarray, X_test: np.ndarray) -> np.ndarray:
    """Predict by ridge regression on standardised features.

    Generalised cross-validation on the training part chooses the penalty.
    """
    return RidgeCV(alphas=ALPHAS).fit(X, y).predict(X_test)


def _squared_distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    d = (A**2).sum(1)[:, None] + (B**2).sum(1) - 2 * A @ B.T
    return np.maximum(d, 0)


def kernel_ridge(X: np.ndarray, y: np.ndarray, X_test: np.ndarray) -> np.ndarray:
    """Predict by Gaussian kernel ridge regression.

    Leave-one-out on the training part chooses the width (times the median distance) and the penalty, for each property.

    With K = V diag(e) V', the leave-one-out residuals are ((K + aI)^-1 y)_i / ((K + aI)^-1)_ii.

    Args:
        X: Features of the training part, (n, d).
        y: One property (n,) or several (n, k).
        X_test: Features of the m crystals to predict, (m, d).

    Returns:
        Predictions, (m,) or (m, k).
    """
    D, D_test = _squared_distances(X, X), _squared_distances(X_test, X)
    median = np.median(D[np.triu_indices(len(X), 1)]) or 1.0
    scales = [1 / (2 * median * width**2) for width in KERNEL_WIDTHS]
    spectra = [(scale, *np.linalg.eigh(np.exp(-D * scale))) for scale in scales]
    kernels = {scale: np.exp(-D_test * scale) for scale in scales}

    def predicted(column: np.ndarray) -> np.ndarray:
        mean = column.mean()
        best = (np.inf, np.zeros(len(X)), scales[0])
        for scale, e, V in spectra:
            Vy, V2 = V.T @ (column - mean), V**2
            for alpha in KERNEL_ALPHAS:
                inverse = 1 / (np.maximum(e, 0) + alpha)
                weights = V @ (inverse * Vy)
                error = float(np.mean(np.abs(weights / (V2 @ inverse))))
                if error < best[0]:
                    best = (error, weights, scale)
        return mean + kernels[best[2]] @ best[1]

    return predicted(y) if y.ndim == 1 else np.column_stack([predicted(column) for column in y.T])


def mlp(X: np.ndarray, y: np.ndarray, X_test: np.ndarray) -> np.ndarray:
    """Predict by a network with one hidden layer of 32 units.

    It is trained by L-BFGS, with a fixed penalty, on the standardised property.
    """
    net = MLPRegressor(
        hidden_layer_sizes=(MLP_WIDTH,), alpha=MLP_PENALTY, solver="lbfgs", max_iter=MLP_STEPS, random_state=0
    )
    mean, deviation = y.mean(), max(y.std(), 1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is part of the probe
        return net.fit(X, (y - mean) / deviation).predict(X_test) * deviation + mean


FITS = {"ridge": ridge, "kernel ridge": kernel_ridge, "MLP": mlp}
"""Probes by name; :data:`PROBES` are those that scores are made of."""


def cross_validated_mae(
    Z: np.ndarray, y: np.ndarray, groups: np.ndarray, seed: int, probes: Sequence[str] = PROBES
) -> dict[str, float]:
    """Mean absolute error of each probe over 5 formula-grouped folds.

    Args:
        Z: Embedding (n, d).
        y: Target (n,).
        groups: Group (n,) of each crystal; no split parts a group.
        seed: Seed of the fold shuffle.
        probes: Names of probes in :data:`FITS`.

    Returns:
        MAE of each probe by its name, in the unit of ``y``.
    """
    errors: dict[str, list[float]] = {p: [] for p in probes}
    for train, test in folds(groups, seed):
        scaler = StandardScaler().fit(Z[train].astype(float))
        X, X_test = scaler.transform(Z[train].astype(float)), scaler.transform(Z[test].astype(float))
        for name in probes:
            errors[name].extend(np.abs(FITS[name](X, y[train], X_test) - y[test]))
    return {name: float(np.mean(e)) for name, e in errors.items()}


def median_mae(y: np.ndarray, groups: np.ndarray, seed: int) -> float:
    """Mean absolute error of one value for all crystals, the training part's median, over the folds of the probes.

    Args:
        y: Target (n,).
        groups: Group (n,) of each crystal; no split parts a group.
        seed: Seed of the fold shuffle.
    """
    errors = [np.abs(np.median(y[train]) - y[test]) for train, test in folds(groups, seed)]
    return float(np.mean(np.concatenate(errors)))
