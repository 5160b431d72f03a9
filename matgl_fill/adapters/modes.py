"""Modes in which a model gives the same bits for the same input: evaluation mode, deterministic algorithms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def deterministic() -> Iterator[None]:
    """Use PyTorch's deterministic algorithms inside the block.

    Otherwise the gradient of a gather adds in no fixed order on several CPU threads, and a seed does not fix the bits.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, deterministic, inside the block; every submodule's mode is restored after it."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        with deterministic():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
