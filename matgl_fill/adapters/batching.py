"""How crystals are shared among batches, and batches among threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, Self, TypeVar

import torch
from pymatgen.core import Lattice, Structure
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from matgl_fill.utils.modes import one_thread, usual_autograd

CACHE = 4 * 2**20
"""Largest tensor of a batch on a CPU, in bytes; larger ones are fetched from memory again and again."""
ACCELERATOR = 256 * 2**20
"""Largest tensor of a batch on an accelerator, in bytes; large batches are faster there."""
PEAK = {False: 8, True: 20}
"""Peak memory of a pass over its largest tensor, without and with gradients (measured with MEGNet and TensorNet)."""
FEW_EDGES = 10**5
"""A crystal with fewer edges is not too large for any machine."""
GPU_THREADS = 2
"""Number of threads on an accelerator: one builds graphs while the other waits for the accelerator."""


class Replicable(Protocol):
    """An object that can work in several threads, as an :class:`~matgl_fill.adapters.base.Adapter` can."""

    @property
    def device(self) -> torch.device:
        """Device on which it computes."""

    def replica(self) -> Self:
        """Copy it for another thread; both share the weights."""


Worker = TypeVar("Worker", bound=Replicable)
Item = TypeVar("Item")
Result = TypeVar("Result")


def packed(order: Iterable[int], size: Callable[[int], float], limit: float, most: float) -> list[list[int]]:
    """Pack indices in order into groups of at most ``most`` whose sizes sum to at most ``limit``.

    An index whose size exceeds the limit goes alone.
    """
    groups: list[list[int]] = []
    held = 0.0
    for i in order:
        held += size(i)
        if not groups or held > limit or len(groups[-1]) >= most:
            groups.append([])
            held = size(i)
        groups[-1].append(i)
    return groups


def probe_crystal(element: str, cutoff: float) -> Structure:
    """Make the 27-atom crystal on which the memory of a model with a cutoff (Angstrom) is measured."""
    return Structure(Lattice.cubic(cutoff * 0.6), [element], [[0, 0, 0]]) * (3, 3, 3)


def edges_within_budget(forward: Callable[[], Any], n_edges: int, device: torch.device) -> int:
    """Number of edges at which the largest tensor of a forward pass fills the budget of a device.

    Sizes are measured, not times: the answer, and with it the composition of every batch, is the same on every run.

    Args:
        forward: Function that makes one pass.
        n_edges: Number of edges of that pass.
        device: Device of the model.
    """
    with torch.no_grad(), _Largest() as largest:
        forward()
    return max(1, tensor_budget(device) * n_edges // largest.bytes)


def tensor_budget(device: torch.device) -> int:
    """Bytes of the largest tensor of a batch."""
    return CACHE if device.type == "cpu" else ACCELERATOR


class _Largest(TorchDispatchMode):
    """Remembers the bytes of the largest tensor that any operator made."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = [t.untyped_storage().nbytes() for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        self.bytes = max(self.bytes, *made, 0)
        return out


def in_threads(worker: Worker, job: Callable[[Worker, Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Run ``job(worker, item)`` for every item, on as many threads as PyTorch may use; results come in order.

    Every thread has a replica of the worker (an adapter as a rule) that shares its weights, and runs PyTorch on a
    single thread: small operators gain nothing from being split, and the result does not depend on the number of
    threads. Graphs are built in one thread while another computes. The worker itself does a single item, in this
    thread.
    """
    local = threading.local()

    def start() -> None:
        torch.set_num_threads(1)
        local.worker = worker.replica()

    def run(item: Item) -> Result:
        return job(local.worker, item)

    with one_thread() as threads:
        if len(items) == 1:
            with usual_autograd():  # as in the threads below
                only = job(worker, items[0])
            yield only
            return
        workers = threads if worker.device.type == "cpu" else GPU_THREADS
        with ThreadPoolExecutor(min(workers, max(len(items), 1)), initializer=start) as pool:
            yield from pool.map(run, items)
