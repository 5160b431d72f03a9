"""Tables of the evidence: the same cells in Markdown, for reading, and as CSV, to be kept."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from examples.benchmarks.evidence.statistics import interval, sign_test
from examples.benchmarks.evidence.suite import DESCRIBED

COMPARED = ("difference", "up, down", "p")
"""What a table says of differences, see :func:`compared`."""


@dataclass(frozen=True)
class Table:
    """Cells under column names.

    Attributes:
        columns: k different names.
        rows: of k cells each.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """As Markdown, first column to the left and the others to the right; empty without a row."""
        if not self.rows:
            return ""
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)], *self.rows]
        return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + "\n"

    def csv(self) -> str:
        """As CSV, with a header."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([self.columns, *self.rows])
        return text.getvalue()

    def labelled(self, **labels: str) -> Table:
        """The same rows behind columns that are alike in all of them."""
        return Table([*labels, *self.columns], [[*labels.values(), *row] for row in self.rows])


def joined(tables: Sequence[Table]) -> Table:
    """All rows under all columns, in order of appearance; a cell that a table does not have stays empty."""
    columns = list(dict.fromkeys(name for table in tables for name in table.columns))
    cells = [dict(zip(table.columns, row, strict=True)) for table in tables for row in table.rows]
    return Table(columns, [[row.get(name, "") for name in columns] for row in cells])


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign.

    Example:
        >>> signed(-0.04), signed(2)
        ('+0.0', '+2.0')
    """
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def mean_text(values: np.ndarray) -> str:
    """Mean of values (tasks, seeds) with its bootstrap interval."""
    return f"{signed(values.mean())} [{', '.join(map(signed, interval(values)))}]"


def compared(values: np.ndarray) -> list[str]:
    """Mean, ups and downs and p of differences (t, s), empty where there are none."""
    if not values.size:
        return [""] * len(COMPARED)
    signs = sign_test(values)
    return [mean_text(values), f"{signs.up}, {signs.down}", f"{signs.p:.2g}"]


def listed(*parts: str) -> str:
    """Parts with commas between; empty ones are left out."""
    return ", ".join(part for part in parts if part)


def both(columns: Sequence[str]) -> list[str]:
    """Column names for plain embeddings, and the same for those with descriptors."""
    return [*columns, *(f"{c}, {DESCRIBED}" for c in columns)]
