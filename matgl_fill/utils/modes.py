"""Global settings of PyTorch: what the package needs of them, and how they are put back as they were."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import matgl
import torch
from torch import nn

Before = TypeVar("Before")


@dataclass
class _Held:
    """A setting while blocks hold it: what it was before the first of them, and their number."""

    before: Any
    blocks: int = 0


_held: dict[Hashable, _Held] = {}
_lock = threading.Lock()


@contextmanager
def held(key: Hashable, begin: Callable[[], Before], end: Callable[[Before], None]) -> Iterator[Before]:
    """Hold a setting that all threads share: the first of the blocks that hold it changes it, the last restores it.

    If every block put back what it found, one that ends first would take the setting from the others, and one that
    begins later would leave the changed setting behind.

    Args:
        key: Name of the setting.
        begin: Function that changes the setting and gives what it was before.
        end: Function that puts that back.
    """
    with _lock:
        if key not in _held:
            _held[key] = _Held(begin())
        setting = _held[key]
        setting.blocks += 1
    try:
        yield setting.before
    finally:
        with _lock:
            setting.blocks -= 1
            if not setting.blocks:
                end(_held.pop(key).before)


@contextmanager
def deterministic() -> Iterator[None]:
    """Use PyTorch's deterministic algorithms inside the block.

    Otherwise the gradient of a gather adds in no fixed order on several CPU threads, and a seed does not fix the bits.
    """

    def begin() -> tuple[bool, bool]:
        before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        torch.use_deterministic_algorithms(True, warn_only=True)
        return before

    with held(
        "deterministic", begin, lambda before: torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    ):
        yield


@contextmanager
def single_precision(model: nn.Module | None = None) -> Iterator[None]:
    """Let float32 be the default of torch and MatGL inside the block, unless a model is given that has another dtype.

    The default belongs to the whole process, and other packages set it to float64 (MACE does) and need it there. This
    package's own tensors have a dtype that is given. Where MatGL makes some of the default, the block is as short as
    one call of it.
    """
    if model is not None and next(model.parameters()).dtype != torch.float32:
        yield
        return

    def begin() -> tuple[torch.dtype, Any, Any]:
        before = torch.get_default_dtype(), matgl.float_th, matgl.float_np
        matgl.set_default_dtype("float", 32)
        return before

    def end(before: tuple[torch.dtype, Any, Any]) -> None:
        torch.set_default_dtype(before[0])
        matgl.float_th, matgl.float_np = before[1:]

    with held("default dtype", begin, end):
        yield


@contextmanager
def default_dtype_kept() -> Iterator[None]:
    """Put torch's default dtype back after the block, in which others' code, such as an oracle, may have changed it."""
    before = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def usual_autograd() -> Iterator[None]:
    """Record gradients and make tensors on the CPU inside the block, whatever modes the calling thread is in.

    These are ``torch.no_grad``, ``torch.inference_mode`` and ``torch.set_default_device``, all of one thread.
    """
    with torch.inference_mode(False):
        if torch.get_default_device().type == "cpu":  # the mode below costs microseconds at every operation
            yield
        else:
            with torch.device("cpu"):
                yield


@contextmanager
def one_thread() -> Iterator[int]:
    """Run PyTorch on one thread inside the block; gives the number of threads before it."""
    with held("threads", torch.get_num_threads, lambda _: None) as threads:
        torch.set_num_threads(1)  # of the calling thread, and of those that begin later
        try:
            yield threads
        finally:
            torch.set_num_threads(threads)
