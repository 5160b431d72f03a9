"""Checks of what a user gives, each with an error that says what is wrong and what to give."""

from __future__ import annotations

import operator
from typing import Any

from matgl_fill.errors import InputError

SEEDS_END = 2**63
"""Seeds of PyTorch are below."""


def as_int(name: str, value: Any) -> int:
    """An int, from NumPy's too.

    Raises:
        InputError: it is none.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(f"{name} is {value!r}; give a whole number.") from None


def check_seed(seed: Any) -> int:
    """The seed as an int.

    Raises:
        InputError: it is none that generators take.
    """
    number = as_int("seed", seed)
    if not 0 <= number < SEEDS_END:
        raise InputError(f"seed is {seed}; give 0 or more, below 2^63.")
    return number
