"""Figures and tables of the benchmarks in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from examples.benchmarks.evidence.statistics import interval


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


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, first column to the left and the others to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + "\n"


def listed(*parts: str) -> str:
    """Parts with commas between; empty ones are left out."""
    return ", ".join(part for part in parts if part)


def both(columns: Sequence[str]) -> list[str]:
    """Column names for plain embeddings, and the same for those with descriptors."""
    return [*columns, *(f"{c}, with descriptors" for c in columns)]
