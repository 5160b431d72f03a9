"""Long work in batches: shared among threads, resumed after an interruption, the same bits whatever the threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from matgl_fill.utils.checkpoint import Checkpoint
from matgl_fill.utils.console import track

Arrays = tuple[np.ndarray, ...]
Job = Callable[[slice], Arrays]
"""A function of a slice of the items to arrays with as many rows as it likes."""


class Batches:
    """Runner of stages of work, which keeps finished batches in a checkpoint.

    Args:
        checkpoint: File that is read first and rewritten after every batch; None keeps nothing.
        progress: Draw a progress bar for every stage.

    Raises:
        InputError: The file is of other work, or is not a checkpoint.
    """

    def __init__(self, checkpoint: Checkpoint | None = None, progress: bool = False) -> None:
        self.progress = progress
        self._checkpoint = checkpoint
        self._done: dict[str, list[np.ndarray]] = (checkpoint.load() or {}) if checkpoint else {}

    def run(self, stage: str, job: Job, count: int, size: int) -> Arrays:
        """Run a job over ``count`` items in batches of ``size``, and join the results in order.

        Args:
            stage: Name of the stage, on the bar and in the file.
            job: Function that does the work, called with slices of the items.
            count: Number of items.
            size: Size of a batch; it is part of the result's identity, unlike the number of threads.
        """
        slices = [slice(i, min(i + size, count)) for i in range(0, max(count, 1), size)]
        names = [f"{stage}/{i}" for i in range(len(slices))]
        results = {name: self._done[name] for name in names if name in self._done}
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            futures = {n: pool.submit(job, s) for n, s in zip(names, slices, strict=True) if n not in results}
            try:
                for name in track(list(futures), stage) if self.progress else futures:
                    results[name] = list(futures[name].result())
                    self._keep(name, results[name])
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return tuple(np.concatenate(parts) for parts in zip(*(results[n] for n in names), strict=True))

    def _keep(self, name: str, arrays: list[np.ndarray]) -> None:
        if self._checkpoint is not None:
            self._done[name] = arrays
            self._checkpoint.save(self._done)
