"""Settings of a model that its files may have: plausible, and bounded by the weights that came with them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pymatgen.core import Element
from torch import Tensor

from matgl_fill.adapters.classes import Entry

MAX_CUTOFF = 100.0
"""Largest cutoff in Angstrom."""
SMALL = 256
"""Size that a setting may have in a model of any size."""
LENGTHS = ("cutoff", "threebody_cutoff", "gauss_width", "width")
"""Settings that are lengths in Angstrom."""
DEGREES = ("max_n", "max_l", "max_f", "nmax")
"""Settings that are numbers of basis functions, of which MatGL tabulates the roots."""
BLOCKS = ("nblocks", "num_blocks")
MATRICES = 64
"""Number of square matrices in a block, and more than any architecture has."""
MAX_DEGREE = {"lmax": 8} | dict.fromkeys(DEGREES, 64)


def check_settings(entry: Entry, state: Mapping[str, Tensor]) -> None:
    """Refuse settings that no model has, and those that would make a larger one than the weights are for.

    A network of width w holds w x w weights, and every block holds tensors of its own; both bound the integers.

    Args:
        entry: Class of the model with its settings.
        state: Weights and buffers of the model by name.

    Raises:
        ValueError: A setting is refused; the text says which.
    """
    widest = max(SMALL, math.isqrt(4 * sum(tensor.numel() for tensor in state.values())))
    for key, value in _settings(entry):
        name = key.rsplit("/", 1)[-1]
        if name in LENGTHS and not (_is_number(value) and 0 < value <= MAX_CUTOFF):
            raise ValueError(f"the setting {key} is {value!r:.40}; a length between 0 and {MAX_CUTOFF:g} A is needed")
        if "dropout" in name and not (value is None or (_is_number(value) and 0 <= value < 1)):
            raise ValueError(f"the setting {key} is {value!r:.40}; a share between 0 and 1 is needed")
        if name in BLOCKS and not (type(value) is int and 1 <= value <= len(state)):
            raise ValueError(
                f"the setting {key} is {value!r:.40}; with {len(state)} tensors in state.pt it is 1 to {len(state)}"
            )
        if name in ("std", "data_std") and not (_is_number(value) and value > 0):
            raise ValueError(f"the setting {key} is {value!r:.40}; a positive number is needed")
        limit = MAX_DEGREE.get(name, widest)
        if type(value) is int and abs(value) > limit:
            raise ValueError(f"the setting {key} is {value}; for weights of this size it is at most {limit}")
    for inner in (entry, *entry.nested):
        _check_elements(inner.args.get("element_types"))


def largest_size(entry: Entry) -> int:
    """Number of weights that no model with these settings exceeds: a few dozen square matrices a block or layer."""
    whole = [(key.rsplit("/", 1)[-1], abs(value)) for key, value in _settings(entry) if type(value) is int]
    blocks = sum(value for name, value in whole if name in BLOCKS or name.startswith("nlayers"))
    return MATRICES * max(1, blocks) * max([SMALL // 2, *(value for _, value in whole)]) ** 2


def _settings(entry: Entry, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings and their names, those of nested classes and the elements of sequences included."""
    for key, value in entry.args.items():
        if isinstance(value, Entry):
            yield from _settings(value, f"{prefix}{key}/")
        else:
            yield from _flat(f"{prefix}{key}", value)


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _flat(key, item)
    elif isinstance(value, Tensor) and value.numel() == 1:
        yield key, value.item()
    elif isinstance(value, bool | int | float | str | None):
        yield key, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(f"{key}/{name}", item)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _check_elements(symbols: Any) -> None:
    """Refuse a list of elements that holds anything else, or one twice."""
    if symbols is None:
        return
    texts = isinstance(symbols, list | tuple) and all(isinstance(symbol, str) for symbol in symbols)
    if not texts or len(set(symbols)) != len(symbols) or not all(map(Element.is_valid_symbol, symbols)) or not symbols:
        raise ValueError("the setting element_types is not a list of different elements")
