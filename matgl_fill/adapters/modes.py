"""Evaluation mode, in which a model gives the same bits for the same input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from matgl_fill.adapters.wrappers import core_of
from matgl_fill.utils.modes import deterministic, held


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, deterministic, inside the block; every submodule's mode is restored after it."""

    def begin() -> list[tuple[nn.Module, bool]]:
        before = [(m, m.training) for m in model.modules()]
        model.eval()
        return before

    def end(before: list[tuple[nn.Module, bool]]) -> None:
        for module, mode in before:
            module.training = mode

    with held(("evaluation mode", id(core_of(model))), begin, end), deterministic():
        yield
