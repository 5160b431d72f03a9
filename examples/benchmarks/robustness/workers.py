"""Processes that judge mutants: forked after the imports, killed when one takes too long or too much memory."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path

import torch

from examples.benchmarks.robustness.verdict import Case, Outcome, Verdict, one_line

LIMIT = 30.0
"""Seconds after which a case is a hang; good input takes less than two, on a busy machine perhaps six."""
MEMORY = 4 * 2**30
"""Bytes that a case may allocate beyond what the imports took."""
CANARY = "CANARY"
"""Name of the file in a case's folder that commands in mutants make; it must never be there."""


@dataclass
class Judged:
    """A case with what became of it."""

    case: Case
    what: str
    verdict: Verdict
    seconds: float


def judge_all(cases: Sequence[Case], jobs: int = 1, limit: float = LIMIT) -> Iterator[Judged]:
    """Judge cases in worker processes; a case that hangs or kills its worker costs that worker alone.

    A hang is one that comes twice, since a machine may stand still for reasons of its own.

    Args:
        cases: The cases; workers inherit them.
        jobs: Number of worker processes.
        limit: Seconds a case.
    """
    todo, hung = list(range(len(cases)))[::-1], set[int]()
    workers = [_Worker(cases) for _ in range(min(jobs, len(cases)))]
    try:
        for worker in workers:
            worker.begin(todo.pop())
        while busy := [w for w in workers if w.busy]:
            wait([w.answers for w in busy], timeout=0.2)
            for worker in busy:
                if (done := worker.poll(limit)) is None:
                    continue
                index = cases.index(done.case)
                if done.verdict.outcome is Outcome.HANG and index not in hung:
                    hung.add(index)
                    todo.append(index)
                else:
                    yield done
                if todo:
                    worker.begin(todo.pop())
    finally:
        for worker in workers:
            worker.kill()


class _Worker:
    """A process that judges one case after the other."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = cases
        self._process: ForkProcess | None = None
        self._index = -1

    @property
    def busy(self) -> bool:
        return self._index >= 0

    def begin(self, index: int) -> None:
        """Start on a case, in a new process if the last one was killed."""
        if self._process is None or not self._process.is_alive():
            context = multiprocessing.get_context("fork")
            self.answers, theirs = context.Pipe()
            self._process = context.Process(target=_work, args=(theirs, self._cases), daemon=False)
            self._process.start()
            theirs.close()
        self._index, self._what, self._began = index, "", time.monotonic()
        self._folder = tempfile.mkdtemp(prefix="robustness-")
        self.answers.send((index, self._folder))

    def poll(self, limit: float) -> Judged | None:
        """What became of the case, if it is over or has to be."""
        assert self._process is not None
        verdict: Verdict | None = None
        try:
            while verdict is None and self.answers.poll():
                answer = self.answers.recv()
                if isinstance(answer, str):
                    self._what = answer
                else:
                    verdict = answer
        except EOFError:
            self._process.join(5)
            verdict = Verdict(Outcome.RAW, f"the process died, exit code {self._process.exitcode}")
            self.kill()
        seconds = time.monotonic() - self._began
        if verdict is None and seconds > limit:
            self.kill()
            verdict = Verdict(Outcome.HANG, f"no answer in {limit:.0f} s")
        if verdict is None:
            return None
        if Path(self._folder, CANARY).exists():
            verdict = Verdict(Outcome.RAN, f"a command in the file ran; {verdict.outcome}: {verdict.detail}")
        shutil.rmtree(self._folder, ignore_errors=True)
        done = Judged(self._cases[self._index], self._what, verdict, seconds)
        self._index = -1
        return done

    def kill(self) -> None:
        """End the process."""
        if self._process is not None and self._process.pid:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.join()
            self.answers.close()
        self._process = None


def _work(pipe: Connection, cases: Sequence[Case]) -> None:
    """Judge the cases that come through the pipe, for ever."""
    os.setpgrp()  # what a case started ends with it
    torch.set_num_threads(1)
    limit_memory()
    while True:
        try:
            index, folder = pipe.recv()
        except EOFError:
            os._exit(0)
        os.chdir(folder)
        with Path(folder, "output").open("wb") as output:
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
        try:
            verdict = cases[index].judge(Path(folder), pipe.send)
        except BaseException as error:  # a defect of the judge itself, which has to be seen
            traceback.print_exc()
            verdict = Verdict(Outcome.RAW, f"the judge failed: {type(error).__name__}: {one_line(error)}")
        pipe.send(verdict)


def limit_memory() -> None:
    """Let this process allocate :data:`MEMORY` more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def forked(action: Callable[[], object], output: Path, seconds: float) -> int | None:
    """Exit code of an action in a process of its own, whose terminal is a file; None if it was killed for its time.

    Args:
        action: What to do; an exception is printed as Python does, with exit code 1.
        output: File that takes its standard output and error.
        seconds: Time limit.
    """
    pid = start(action, output)
    return finish(pid, seconds)


def start(action: Callable[[], object], output: Path) -> int:
    """Process id of a fork that does ``action``, see :func:`forked`."""
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        with output.open("wb") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
        torch.set_num_threads(1)
        action()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def finish(pid: int, seconds: float) -> int | None:
    """Exit code of a forked process, negative for a signal; None if it had to be killed for its time."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            return None
        time.sleep(0.01)
