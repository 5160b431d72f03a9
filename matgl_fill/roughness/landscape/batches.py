"""Long work in batches: shared among threads, resumed after an interruption, the same bits whatever the threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from matgl_fill.errors import InputError
from matgl_fill.utils.console import track
from matgl_fill.utils.files import read_arrays, write_arrays

Arrays = tuple[np.ndarray, ...]
Job = Callable[[slice], Arrays]
IDENTITY = "identity"


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Matrix products on one thread: batches are what is shared, and splitting products would change their bits."""
    with threadpool_limits(1, "blas"):
        yield


class Batches:
    """Runs stages of work and keeps what is done.

    Args:
        path: ``.npz`` file that is rewritten after every batch, and read first if it exists; None keeps nothing.
        identity: of the data and settings; a file that carries another is refused.
        progress: draw a bar for every stage.

    Raises:
        InputError: the file is of other data or settings, or is not a checkpoint.
    """

    def __init__(self, path: str | Path | None, identity: str, progress: bool = False) -> None:
        self.path = None if path is None else Path(path)
        self.identity = identity
        self.progress = progress
        self.done = {} if self.path is None or not self.path.exists() else self._read(self.path)

    def _read(self, path: Path) -> dict[str, np.ndarray]:
        done = read_arrays(path, "a checkpoint of a landscape")
        if IDENTITY not in done or done.pop(IDENTITY).item() != self.identity:
            raise InputError(f"{path} is a checkpoint of other data, seed or settings; remove it or give another path.")
        return done

    def _keep(self, name: str, arrays: Arrays) -> None:
        self.done |= {f"{name}/{k}": array for k, array in enumerate(arrays)}
        if self.path is not None:
            write_arrays(self.path, {IDENTITY: np.array(self.identity)} | self.done)

    def _kept(self, name: str) -> Arrays:
        count = sum(key.startswith(f"{name}/") for key in self.done)
        return tuple(self.done[f"{name}/{k}"] for k in range(count))

    def run(self, stage: str, job: Job, count: int, size: int) -> Arrays:
        """Results of a job over ``count`` items, in batches of ``size``, joined in order.

        Args:
            stage: its name, on the bar and in the file.
            job: results (arrays with as many rows as it likes) of the items of a slice.
            count: of items.
            size: of a batch; part of the result's identity, unlike the number of threads.
        """
        slices = [slice(i, min(i + size, count)) for i in range(0, max(count, 1), size)]
        names = [f"{stage}/{i}" for i in range(len(slices))]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            futures = {n: pool.submit(job, s) for n, s in zip(names, slices, strict=True) if not self._kept(n)}
            try:
                for name in track(list(futures), stage) if self.progress else futures:
                    self._keep(name, futures[name].result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return tuple(np.concatenate(parts) for parts in zip(*map(self._kept, names), strict=True))
