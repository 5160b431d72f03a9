"""Work on crystals shared among threads: graphs are built in one while another computes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from matgl_fill.adapters.base import Adapter

Item = TypeVar("Item")
Result = TypeVar("Result")
GPU_THREADS = 2
"""One builds graphs while the other waits for the accelerator."""


def in_threads(adapter: Adapter, job: Callable[[Adapter, Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """``job(adapter, item)`` of every item, in order, on as many threads as PyTorch may use.

    Every thread has a replica of the adapter that shares the weights, and runs PyTorch on itself alone: small
    operators gain nothing from being split, and the result does not depend on the number of threads. A single item
    is done here and by the adapter itself.
    """
    threads = torch.get_num_threads()
    workers = threads if adapter.device.type == "cpu" else GPU_THREADS
    local = threading.local()

    def start() -> None:
        torch.set_num_threads(1)
        local.adapter = adapter.replica()

    def run(item: Item) -> Result:
        return job(local.adapter, item)

    try:
        if len(items) == 1:
            torch.set_num_threads(1)
            yield job(adapter, items[0])
            return
        with ThreadPoolExecutor(min(workers, max(len(items), 1)), initializer=start) as pool:
            yield from pool.map(run, items)
    finally:
        torch.set_num_threads(threads)
