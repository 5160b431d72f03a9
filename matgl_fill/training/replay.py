"""Replay of pool crystals, which keeps the model's embedding and predictions there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from matgl_fill.adapters import Adapter, Batch, Output
from matgl_fill.embedding import Pool
from matgl_fill.training.objectives import standard_scaling

FLOOR = 0.05
"""Least variance by which directions of the pool's standardised embedding are scaled."""


class Replay:
    """Term of the loss that holds embedding and prediction of pool crystals to the original's.

    The change of the embedding is measured in the pool's own metric: standardised, rotated to principal directions
    and divided by each one's deviation. Directions in which crystals differ little hold the fine distinctions that
    downstream probes of small energy differences live on; here they count as much as the large ones.

    Args:
        adapter: Adapter of the original model.
        pool: The m pool crystals, with the embedding and predictions that are held; the metric is that of the whole
            embedding.
        rows: Rows of the replayed crystals in the pool, (n,).
        embedding_weight: Weight of changes of the embedding.
        prediction_weight: Weight of changes of the prediction (per atom where it is extensive), over its deviation.
    """

    def __init__(
        self, adapter: Adapter, pool: Pool, rows: np.ndarray, embedding_weight: float, prediction_weight: float
    ) -> None:
        self._weights = embedding_weight, prediction_weight
        self.graphs = [pool.graphs[i] for i in rows]
        scale = standard_scaling(pool.Z)
        X = scale(torch.tensor(pool.Z))
        variance, directions = torch.linalg.eigh(torch.cov(X.T))
        self._metric = directions / torch.sqrt(variance.clamp_min(FLOOR)) / scale.extent[:, None]
        self.rows = torch.tensor(rows)
        self._Z = torch.tensor(pool.Z[rows])
        self._y = torch.tensor(adapter.intensive(pool.y[rows], pool.n_atoms[rows]), dtype=torch.float32)
        self._y_scale = max(float(self._y.std()), 1e-6) if len(rows) > 1 else 1.0

    def loss(self, adapter: Adapter, output: Output, batch: Batch, rows: Tensor) -> Tensor:
        """Weighted mean squared changes of embedding and prediction of the replayed crystals ``rows`` (B,)."""
        device = output.embedding.device
        moved = (output.embedding - self._Z[rows].to(device)) @ self._metric.to(device)
        own = (adapter.intensive(output.prediction, batch.n_atoms) - self._y[rows].to(device)) / self._y_scale
        return self._weights[0] * moved.square().mean() + self._weights[1] * own.square().mean()
