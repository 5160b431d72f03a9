"""Copies of a potential that are trained side by side, each in a process of its own."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from loky import ProcessPoolExecutor, wait
from loky.process_executor import TerminatedWorkerError
from rich.progress import Progress

from matgl_fill.adapters import Adapter
from matgl_fill.config import ResolvedTraining
from matgl_fill.errors import ExecutorError
from matgl_fill.training.module import FillModule, run
from matgl_fill.training.objectives import Objective
from matgl_fill.utils.console import console

WORTH = 30.0
"""Estimated time of a training, s, from which on processes are begun for it; to begin them takes several seconds."""
LOOK = 0.5
"""Time between two looks at how far the copies are, s."""

History = dict[str, list[float]]
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Copy:
    """A copy of a potential, and what it is to learn.

    Attributes:
        adapter: Adapter of the copy, which is trained in place.
        lesson: Terms of its loss.
        seed: Seed of its training.
        file: File in which its training is saved; None saves nothing.
    """

    adapter: Adapter
    lesson: list[Objective]
    seed: int
    file: Path | None

    def learn(self, settings: ResolvedTraining, on_step: Callable[[int], None] | None = None) -> History:
        """Train the copy, and return the losses."""
        module = FillModule(self.adapter, self.lesson, None, settings, self.seed, self.file)
        module.on_step = on_step
        return run(module, self.seed)


def train_copies(copies: Sequence[Copy], settings: ResolvedTraining, seconds: float) -> list[History]:
    """Train copies in place, side by side where that is worth it, to the same bits in any case; say what it will take.

    The threads that PyTorch may use are shared out among the copies, for a second thread hardly speeds up steps of
    small crystals.

    Args:
        copies: The copies.
        settings: Steps, rates and weights, the same for all.
        seconds: Estimated time of training all of them one after the other, s.

    Returns:
        Losses of each copy.

    Raises:
        InputError: The file of a copy is of another training.
        ExecutorError: A process died.
    """
    threads = torch.get_num_threads()
    each, processes = max(1, threads // len(copies)), min(threads, len(copies))
    on_cpu = all(copy.adapter.device.type == "cpu" for copy in copies)
    together = on_cpu and processes > 1 and settings.processes == 1 and seconds >= WORTH
    what = f"{len(copies)} copies, {settings.steps} steps each" if len(copies) > 1 else f"{settings.steps} steps"
    how = f", {processes} at a time" if together else ""
    console.print(f"training {what}{how}: about {seconds / (processes if together else 1):.0f} s", highlight=False)
    if together:
        return _side_by_side(copies, settings, processes, each)
    torch.set_num_threads(each)
    try:
        return [copy.learn(settings) for copy in copies]
    finally:
        torch.set_num_threads(threads)


def _side_by_side(copies: Sequence[Copy], settings: ResolvedTraining, processes: int, threads: int) -> list[History]:
    """Train copies in processes of this machine, and take over their weights."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "steps"
        steps = np.memmap(file, np.int64, "w+", shape=(len(copies),))
        executor = ProcessPoolExecutor(processes, initializer=_begin, initargs=(threads, os.getpid()))
        try:
            futures = [executor.submit(_trained, copy, settings, file, k) for k, copy in enumerate(copies)]
            with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
                task = progress.add_task("training", total=len(copies) * settings.steps)
                while not any(f.done() and f.exception() for f in futures) and wait(futures, LOOK).not_done:
                    progress.update(task, completed=int(steps.sum()))
            for future in futures:
                if future.done():
                    future.result()  # one that failed is told before the others have ended
            outcomes = [future.result() for future in futures]
        except TerminatedWorkerError as error:
            raise ExecutorError(
                "a process that trained a copy of the potential died: is memory short? With OMP_NUM_THREADS=1 the "
                "copies are trained one after the other, in one process; a run with an output folder goes on."
            ) from error
        finally:
            executor.shutdown(wait=True, kill_workers=True)
    for copy, (_, weights) in zip(copies, outcomes, strict=True):
        copy.adapter.core.load_state_dict(weights)
    return [history for history, _ in outcomes]


def _begin(threads: int, parent: int) -> None:
    """Prepare a process: its threads, no output, Ctrl-C left to the process that began it, and no life beyond that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    console.quiet = True
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when the one that began it is gone."""
    while os.getppid() == parent:
        time.sleep(LOOK)
    os._exit(1)


def _trained(copy: Copy, settings: ResolvedTraining, file: Path, number: int) -> tuple[History, Weights]:
    """Train a copy in this process."""
    steps = np.memmap(file, np.int64, "r+")
    history = copy.learn(settings, lambda step: steps.__setitem__(number, step))
    return history, copy.adapter.core.state_dict()
