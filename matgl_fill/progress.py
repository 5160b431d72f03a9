"""Progress on the terminal, silent elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

T = TypeVar("T")
console = Console(stderr=True)


def track(items: Iterable[T], description: str) -> Iterator[T]:
    """Iterate with a progress bar and time left; nothing is drawn unless stderr is a terminal."""
    return iter(rich_track(items, description, console=console, disable=not console.is_terminal, transient=True))
