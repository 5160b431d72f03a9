"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

console = Console(width=150)


def new_table(title: str, columns: Sequence[str], left: Sequence[int] = (0,)) -> Table:
    """An empty table.

    Args:
        title: above it.
        columns: their names.
        left: columns that are flush left; numbers are flush right.
    """
    table = Table(title=title, title_justify="left")
    for k, name in enumerate(columns):
        table.add_column(name, justify="left" if k in left else "right", overflow="fold")
    return table


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table with its rows, the first column flush left."""
    table = new_table(title, columns)
    for row in rows:
        table.add_row(*row)
    console.print(table)
