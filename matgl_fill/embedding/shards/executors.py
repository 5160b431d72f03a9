"""Where shards are made: in this process, in several of this machine, or by the workers of a dask cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

from matgl_fill.embedding.shards.work import Job, Shard, begin, begin_process, end, make_shard
from matgl_fill.errors import ExecutorError, InputError, MatglFillError
from matgl_fill.structures.sets import reason_of
from matgl_fill.structures.streams import Section

AHEAD = 2
"""Number of sections for each worker that are read and not yet embedded."""
BREAKS = 3
"""Number of times in a row that workers may die without having made a shard."""
PATIENCE = 30.0
"""Seconds for which a scheduler is waited for."""
FORMS = "'here', 'processes', 'processes:N' or 'dask://HOST:PORT'"


class Executor(ABC):
    """Executor of a job: gives the shards of sections as they are done, in any order."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    @abstractmethod
    def workers(self) -> int:
        """Number of shards that are made at the same time."""

    @abstractmethod
    def shards(self, sections: Iterable[Section]) -> Iterator[Shard]:
        """Make the shards of sections, which are asked for one at a time, no sooner than they can be made.

        Raises:
            ExecutorError: The workers or the scheduler were lost.
        """

    @abstractmethod
    def close(self) -> None:
        """End the work."""


class Here(Executor):
    """Executor in this process, one shard after the other, on as many threads as PyTorch may use."""

    workers = 1

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        begin(job)

    def shards(self, sections: Iterable[Section]) -> Iterator[Shard]:
        """Make the shards of sections in their order."""
        return (make_shard(self._job.manifest.key, section) for section in sections)

    def close(self) -> None:
        """Forget the job."""
        end(self._job.manifest.key)


class _Pooled(Executor):
    """Executor on futures; what was not done when its workers died is given to others."""

    def shards(self, sections: Iterable[Section]) -> Iterator[Shard]:
        """Make the shards of sections, :data:`AHEAD` for each worker at a time."""
        pending: dict[Future[Shard], Section] = {}
        self._breaks = 0
        for section in sections:
            pending[self._submitted(section)] = section
            while len(pending) >= AHEAD * self.workers:
                yield from self._done(pending)
        while pending:
            yield from self._done(pending)

    def _done(self, pending: dict[Future[Shard], Section]) -> list[Shard]:
        """Shards that are made by now, one at least unless workers died; their futures are no longer pending."""
        finished = self._waited(pending)
        made, lost = [], False
        for future in finished:
            if future.cancelled() or isinstance(future.exception(), BrokenProcessPool):
                lost = True
                continue
            made.append(_result(future, pending.pop(future)))
        self._breaks = 0 if made else self._breaks
        if lost:
            self._breaks += 1
            left = sorted(pending.values(), key=lambda section: section.number)
            if self._breaks > BREAKS:
                raise ExecutorError(
                    f"workers died {self._breaks} times at the shards {', '.join(str(s.number) for s in left)}, "
                    "perhaps for lack of memory; give the same call with fewer processes: what is written is kept."
                )
            self._renewed()
            pending.clear()
            pending.update({self._submitted(section): section for section in left})
        return made

    def _waited(self, pending: dict[Future[Shard], Section]) -> set[Future[Shard]]:
        return wait(pending, return_when=FIRST_COMPLETED).done

    @abstractmethod
    def _submitted(self, section: Section) -> Future[Shard]:
        """The future of a section's shard."""

    @abstractmethod
    def _renewed(self) -> None:
        """Replace workers that died."""


def _result(future: Future[Shard], section: Section) -> Shard:
    """Shard of a future that is done.

    Raises:
        ExecutorError: It could not be made: memory is short, a device fails, or dask gave up on it.
    """
    try:
        return future.result()
    except MatglFillError:
        raise
    except Exception as error:  # whatever a worker or its scheduler raises
        raise ExecutorError(
            f"shard {section.number} could not be made: {reason_of(error)}. Give the same call again; what is "
            "written is kept."
        ) from error


class Processes(_Pooled):
    """Executor on processes of this machine, one thread each.

    They are forked from a server that has imported this package and nothing else has happened in, where the system
    has such a thing, so that one that dies is soon replaced; else each is begun anew.

    Args:
        job: The job.
        workers: Number of processes.
    """

    workers = 0

    def __init__(self, job: Job, workers: int) -> None:
        super().__init__(job)
        self.workers = workers
        served = "forkserver" in multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if served else "spawn")
        if served:
            self._context.set_forkserver_preload([make_shard.__module__])
        self._renewed()

    def _renewed(self) -> None:
        self._pool = ProcessPoolExecutor(self.workers, self._context, begin_process, (self._job,))

    def _submitted(self, section: Section) -> Future[Shard]:
        try:
            return self._pool.submit(make_shard, self._job.manifest.key, section)
        except BrokenProcessPool as error:  # it died since the last look; what waits for it comes out so, too
            future: Future[Shard] = Future()
            future.set_exception(error)
            return future

    def close(self) -> None:
        """End the processes, whatever they do."""
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        for process in processes:
            process.join()


class DaskCluster(_Pooled):
    """Executor on the workers of a dask scheduler, which replaces those that die by itself.

    Args:
        job: The job; every worker gets it once, also one that joins later.
        address: Address of the scheduler.

    Raises:
        ExecutorError: There is no such scheduler, or its workers cannot take the job.
    """

    def __init__(self, job: Job, address: str) -> None:
        super().__init__(job)
        if find_spec("distributed") is None:
            raise ExecutorError("dask is not installed; pip install 'matgl_fill[scale]'.")
        from distributed import Client

        from matgl_fill.embedding.shards.plugin import JobPlugin

        self._address, self._plugin = address, JobPlugin(job)
        try:
            self._client: Any = Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ExecutorError(
                f"no scheduler of dask answers at {address} ({error}); start one, or give its address."
            ) from error
        try:
            self._client.register_plugin(self._plugin)
        except Exception as error:  # whatever the workers raise
            self.close()
            raise ExecutorError(f"the workers at {address} cannot start: {error}.") from error
        self._engine = self._client.get_executor(pure=False)

    @property
    def workers(self) -> int:
        """Number of workers there are now, at least 1: more may join."""
        return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    def _submitted(self, section: Section) -> Future[Shard]:
        return self._engine.submit(make_shard, self._job.manifest.key, section)

    def _waited(self, pending: dict[Future[Shard], Section]) -> set[Future[Shard]]:
        while not (finished := wait(pending, 1.0, FIRST_COMPLETED).done):
            if self._client.status != "running":
                break
        if not finished or any(future.cancelled() for future in finished):
            raise ExecutorError(
                f"the scheduler at {self._address} is gone; start it and give the same call again, which goes on from "
                "what is written."
            )
        return finished

    def _renewed(self) -> None:
        """Nothing: the scheduler does."""

    def close(self) -> None:
        """Take the job from the workers and leave the cluster as it was."""
        with contextlib.suppress(Exception):  # the scheduler may be gone
            if self._client.status == "running":
                self._client.unregister_worker_plugin(self._plugin.name)
        self._client.close(timeout=5)


def executor_of(text: str, job: Job) -> Executor:
    """Begin the executor that a text stands for.

    Args:
        text: ``"here"``, ``"processes"`` (as many as this process may use cores), ``"processes:N"``, or
            ``"dask://HOST:PORT"``.
        job: The job.

    Raises:
        InputError: It stands for none.
        ExecutorError: There is no such scheduler.
    """
    kind, number = check_executor(text)
    if kind == "dask":
        return DaskCluster(job, f"tcp://{text.removeprefix('dask://')}")
    return Here(job) if kind == "here" else Processes(job, number)


def check_executor(text: str) -> tuple[str, int]:
    """Kind of the executor that a text stands for, and its number of processes (0 where that is not known before).

    Raises:
        InputError: It stands for none.
    """
    if text == "here":
        return "here", 1
    if re.fullmatch(r"dask://[^\s/]+:\d+", text):
        return "dask", 0
    if found := re.fullmatch(r"processes(?::([1-9]\d*))?", text):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return "processes", int(found[1] or cores)
    raise InputError(f"executor is '{text}'; give {FORMS}.")
