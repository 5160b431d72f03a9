"""Counts in words."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """A number with its noun, in the singular or the plural.

    >>> counted(1, "usable crystal"), counted(3, "usable crystal")
    ('1 usable crystal', '3 usable crystals')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
