"""How a model is to be called so that the same input gives the same bits: evaluation mode, deterministic algorithms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def deterministic() -> Iterator[None]:
    """PyTorch's deterministic algorithms inside the block.

    On several CPU threads the gradient of a gather adds in no fixed order otherwise, and a seed would not fix the bits.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block, deterministic; every submodule's own mode is restored after it."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        with deterministic():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
