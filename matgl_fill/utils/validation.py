"""Checks of what a user gives, each with an error that says what is wrong and what to give."""

from __future__ import annotations

import operator
from typing import Any

from matgl_fill.errors import InputError

SEEDS_END = 2**63
"""Seeds of PyTorch are smaller than this."""


def as_int(name: str, value: Any) -> int:
    """Convert a Python or NumPy integer to an int.

    Raises:
        InputError: The value is not an integer.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(f"{name} is {value!r}; give a whole number.") from None


def check_seed(seed: Any) -> int:
    """Convert a seed to an int.

    Raises:
        InputError: The seed is not one that random generators take.
    """
    number = as_int("seed", seed)
    if not 0 <= number < SEEDS_END:
        raise InputError(f"seed is {seed}; give 0 or more, below 2^63.")
    return number
