"""Progress on the terminal, silent elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

T = TypeVar("T")
console = Console(stderr=True)


def track(items: Iterable[T], description: str) -> Iterator[T]:
    """Iterate with a progress bar and the time left; nothing is drawn unless stderr is a terminal."""
    return iter(rich_track(items, description, console=console, disable=not console.is_terminal, transient=True))


@dataclass
class Clock:
    """Clock of the wall time of each stage."""

    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the time of a block, and print its name on the terminal."""
        console.print(f"[bold]{name}[/bold]", highlight=False) if console.is_terminal else None
        start = time.perf_counter()
        yield
        self.stages[name] = round(time.perf_counter() - start, 2)
