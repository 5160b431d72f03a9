"""A second device on machines that have none: tensors that compute on the CPU and say that they are elsewhere.

Inside :func:`second_device` the device ``meta`` is such a one. As on an accelerator, an operation on tensors of two
devices raises, a tensor is brought there and back by ``to`` and ``cpu`` alone, and ``numpy`` refuses it. Numbers
without dimensions may be on the CPU, and so may indices, as PyTorch allows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

ELSEWHERE = torch.device("meta")
MIXING = ("aten::index.Tensor", "aten::index_put", "aten::_index_put_impl", "aten::copy_", "aten::_unsafe_index")
"""Operators that take tensors of two devices."""


class Elsewhere(torch.Tensor):
    """A tensor of the second device around one of the CPU."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.size(), inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=ELSEWHERE
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert a tensor of the second device to numpy; use Tensor.cpu() first")

    def tolist(self) -> Any:
        return self.inner.tolist()

    def __repr__(self) -> str:
        return f"Elsewhere({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operator on the CPU; its result is where its arguments are, or where it is told to be."""
    given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    there = [isinstance(t, Elsewhere) for t in given]
    here = [t for t in given if not isinstance(t, Elsewhere) and t.dim()]
    if any(there) and here and not func.name().startswith(MIXING):
        raise RuntimeError(f"Expected all tensors to be on the same device: {func.name()}, {[*map(type, given)]}")
    if any(t.is_meta and not isinstance(t, Elsewhere) for t in given):
        raise RuntimeError(f"a tensor without data came to {func.name()}: the stand-in does not know how it was made")
    asked = kwargs.get("device")
    goes = any(there) if asked is None else torch.device(asked).type == ELSEWHERE.type
    plain = {name: "cpu" if name == "device" and value is not None else value for name, value in kwargs.items()}
    unwrapped, words = tree_map(lambda x: x.inner if isinstance(x, Elsewhere) else x, (args, plain))
    out = func(*unwrapped, **words)
    if not goes:
        return out
    wrapped = tree_map(lambda x: Elsewhere(x) if isinstance(x, torch.Tensor) else x, out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if any(there) else wrapped


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Make the second device inside the block, for this thread."""
    with _Mode(), pytest.MonkeyPatch.context() as patch:
        for name in ("tensor", "as_tensor"):  # PyTorch makes these of lists without a call of an operator
            patch.setattr(torch, name, partial(_made, getattr(torch, name)))
        yield ELSEWHERE


def _made(make: Any, data: Any, device: Any = None, requires_grad: bool = False, **how: Any) -> torch.Tensor:
    """A tensor of numbers, made on the CPU and brought to a device."""
    made = make(data, **how)
    made = made if device is None else made.to(device)
    return made.requires_grad_() if requires_grad else made
