"""What became of one mutant, and what may become of one."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from matgl_fill.errors import MatglFillError, MatglFillWarning

SHOWN = 240
"""Characters of a reason that are kept."""


class Outcome(StrEnum):
    """What became of a mutant; the first four are right."""

    TYPED = "typed"
    """An error of ``matgl_fill.errors`` in one line while it was used, a structure that was skipped with a reason, or
    a result with a warning of this package."""
    SAME = "same"
    """The result of the file before it was changed, to the bit, or what the changed file says by another reader."""
    REFUSED = "refused"
    """An error of ``matgl_fill.errors`` in one line before anything was computed."""
    NEEDLESS = "needless"
    """Refused, though the file still says all that it said: no wrong number, but not what people want either."""
    RAW = "raw"
    """Any other exception, a message of several lines, a traceback on the terminal, or a process that died."""
    HANG = "hang"
    """No answer within the time limit."""
    SILENT = "silent"
    """Another result without a word."""
    RAN = "ran"
    """A command that the file holds was run."""


BAD = (Outcome.RAW, Outcome.HANG, Outcome.SILENT, Outcome.RAN)
"""Outcomes of which there may be none."""


class Right(StrEnum):
    """What is right for a mutant beside a refusal and beside the bits of the original."""

    REFUSE = "refuse"
    """Nothing: what the file said is lost or makes no sense."""
    SAYS = "says"
    """What the changed file says, which is another valid one."""
    SAME = "same"
    """Only the bits of the original; a refusal is needless."""


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant.

    Attributes:
        outcome: The class.
        detail: The message in one line, or what differs.
    """

    outcome: Outcome
    detail: str = ""

    @property
    def bad(self) -> bool:
        """Whether there may be none like it."""
        return self.outcome in BAD


def one_line(text: object) -> str:
    """A text in one line, cut after :data:`SHOWN` characters."""
    return " ".join(str(text).split())[:SHOWN]


def of_error(error: BaseException, early: bool, right: Right) -> Verdict:
    """Verdict of an exception that reached the caller.

    Args:
        error: The exception.
        early: Whether nothing had been computed yet.
        right: What would have been right.
    """
    text = f"{type(error).__name__}: {one_line(error)}"
    if not isinstance(error, MatglFillError):
        return Verdict(Outcome.RAW, text + _place(error))
    if not str(error).strip() or "\n" in str(error).strip():
        return Verdict(Outcome.RAW, f"several lines or none: {text}")
    if right is Right.SAME:
        return Verdict(Outcome.NEEDLESS, text)
    return Verdict(Outcome.REFUSED if early else Outcome.TYPED, text)


def _place(error: BaseException) -> str:
    """The last line of the package or of the standing campaign that an exception passed."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if "/matgl_fill/" in file:
            place = f" [{Path(file).name}:{trace.tb_lineno}]"
        trace = trace.tb_next
    return place


class Warned:
    """Warnings of the package that were given, by their texts without numbers."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def beside(self, usual: set[str]) -> str:
        """The first warning that the unchanged input does not give; empty if there is none."""
        return next((text for text in self.texts if _plain(text) not in usual), "")

    @property
    def plain(self) -> set[str]:
        """Texts without paths and numbers, to compare with."""
        return set(map(_plain, self.texts))


def _plain(text: str) -> str:
    return re.sub(r"'[^']*'|\d+", "", text)


@contextmanager
def warned() -> Iterator[Warned]:
    """Collect the package's warnings and drop all others."""
    found = Warned()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield found
        finally:
            found.texts += [str(w.message) for w in caught if issubclass(w.category, MatglFillWarning)]


@dataclass(frozen=True)
class Case:
    """One mutant and its judge.

    Attributes:
        suite: Group of mutants in the table of counts.
        name: What is mutated and by which mutator; with suite and seed it names the case.
        seed: Of its random numbers.
        judge: Function of an empty folder, which is the working folder, and of a function to which it tells what it
            changed before it starts.
    """

    suite: str
    name: str
    seed: int
    judge: Callable[[Path, Callable[[str], None]], Verdict]

    @property
    def key(self) -> str:
        """Name of the case in files of results."""
        return f"{self.suite} | {self.name} | seed {self.seed}"
