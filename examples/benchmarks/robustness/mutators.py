"""Small pure functions that damage bytes and JSON-like objects; each says what it did."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from examples.benchmarks.robustness.verdict import Right

Rng = np.random.Generator
Changed = tuple[bytes, str]
"""New bytes, and what was changed."""
EXTREMES: tuple[Any, ...] = (
    0, -1, 1, 2**31, -(2**63), 10**30, 1e300, -1e300, 1e-300, -0.5, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
RETYPED: tuple[Any, ...] = (None, True, "text", "", [], {}, [1, 2, 3], {"a": 1}, 3, 2.5, "5.0", [[]])
DEPTH = 100_000
"""Of nested brackets, far beyond what Python's parsers take."""


@dataclass(frozen=True)
class Mutant:
    """Bytes of a mutated file, what was changed, and what is right."""

    data: bytes
    what: str
    right: Right = Right.REFUSE


def dumped(thing: Any) -> bytes:
    """Bytes of a file that ``torch.save`` writes."""
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def flip(data: bytes, rng: Rng) -> Changed:
    """One bit is turned."""
    if not data:
        return data, "nothing to flip"
    at, bit = int(rng.integers(len(data))), int(rng.integers(8))
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :], f"bit {bit} flipped at byte {at}"


def truncate(data: bytes, rng: Rng) -> Changed:
    """The end is missing."""
    keep = int(rng.integers(len(data) + 1))
    return data[:keep], f"cut after {keep} of {len(data)} bytes"


def zero(data: bytes, rng: Rng) -> Changed:
    """A run of bytes is zero."""
    at, n = int(rng.integers(max(len(data), 1))), int(rng.choice([1, 16, 512]))
    return data[:at] + bytes(len(data[at : at + n])) + data[at + n :], f"{n} bytes zero at byte {at}"


def noise(data: bytes, rng: Rng) -> Changed:
    """A few bytes are others."""
    out, n = bytearray(data), int(rng.choice([1, 2, 5, 20]))
    places = sorted(int(k) for k in rng.integers(max(len(out), 1), size=n))
    for at in places if out else []:
        out[at] = int(rng.integers(256))
    return bytes(out), f"noise at bytes {places[:5]}"


def insert(data: bytes, rng: Rng) -> Changed:
    """Some bytes too many."""
    at, n = int(rng.integers(len(data) + 1)), int(rng.choice([1, 8, 64]))
    return data[:at] + rng.bytes(n) + data[at:], f"{n} bytes inserted at byte {at}"


def remove(data: bytes, rng: Rng) -> Changed:
    """Some bytes are missing."""
    at, n = int(rng.integers(max(len(data), 1))), int(rng.choice([1, 8, 64]))
    return data[:at] + data[at + n :], f"{n} bytes missing at byte {at}"


def repeat(data: bytes, rng: Rng) -> Changed:
    """A part comes twice."""
    at, n = int(rng.integers(max(len(data), 1))), int(rng.choice([4, 64, 1024]))
    return data[: at + n] + data[at : at + n] + data[at + n :], f"{n} bytes twice at byte {at}"


def append(data: bytes, rng: Rng) -> Changed:
    """Something follows."""
    return data + rng.bytes(100), "100 bytes appended"


def empty(_data: bytes, _rng: Rng) -> Changed:
    """Nothing is left."""
    return b"", "emptied"


def other_kind(_data: bytes, rng: Rng) -> Changed:
    """A file of another kind."""
    kinds = (
        b"%PDF-1.7\n",
        b"PK\x03\x04",
        b"\x1f\x8b\x08\x00",
        b"\x89PNG\r\n\x1a\n",
        b"SQLite format 3\x00",
        b"\x80\x05.",
    )
    kind = kinds[int(rng.integers(len(kinds)))]
    return kind + rng.bytes(200), f"a file that begins with {kind!r}"


BYTES: tuple[Callable[[bytes, Rng], Changed], ...] = (
    flip, truncate, zero, noise, insert, remove, repeat, append, empty, other_kind,
)  # fmt: skip
"""All of them."""


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all entries of nested dictionaries and lists."""
    found: list[tuple[Any, ...]] = []
    items: Sequence[tuple[Any, Any]] = ()
    if isinstance(tree, dict):
        items = list(tree.items())
    elif isinstance(tree, list | tuple):
        items = list(enumerate(tree))
    for key, value in items:
        found.append((*path, key))
        found += places(value, (*path, key))
    return found


def at(tree: Any, path: Sequence[Any]) -> Any:
    """The entry of a path."""
    for key in path:
        tree = tree[key]
    return tree


def with_entry(tree: Any, path: Sequence[Any], value: Any) -> Any:
    """A copy with another entry; tuples on the way become lists."""
    if not path:
        return value
    new = list(tree) if isinstance(tree, tuple) else copy.copy(tree)
    new[path[0]] = with_entry(tree[path[0]] if _has(tree, path[0]) else {}, path[1:], value)
    return new


def without_entry(tree: Any, path: Sequence[Any]) -> Any:
    """A copy without an entry."""
    parent = at(tree, path[:-1])
    new = list(parent) if isinstance(parent, tuple) else copy.copy(parent)
    del new[path[-1]]
    return with_entry(tree, path[:-1], new)


def _has(tree: Any, key: Any) -> bool:
    return key in tree if isinstance(tree, dict) else isinstance(key, int) and 0 <= key < len(tree)


def named(path: Sequence[Any]) -> str:
    """A path in words."""
    return ".".join(map(str, path)) or "all of it"


def a_place(tree: Any, rng: Rng) -> tuple[Any, ...]:
    """Path of a random entry, shallow ones being as likely as all others together."""
    paths = places(tree)
    shallow = [p for p in paths if len(p) <= 2]
    chosen = shallow if shallow and rng.random() < 0.5 else paths
    return chosen[int(rng.integers(len(chosen)))] if chosen else ()


def retype(tree: Any, rng: Rng) -> tuple[Any, str]:
    """An entry is of another type."""
    path = a_place(tree, rng)
    value = RETYPED[int(rng.integers(len(RETYPED)))]
    return with_entry(tree, path, value), f"{named(path)} is {value!r}"


def extreme(tree: Any, rng: Rng) -> tuple[Any, str]:
    """A number, if there is one, is extreme."""
    paths = [p for p in places(tree) if isinstance(at(tree, p), int | float) and not isinstance(at(tree, p), bool)]
    path = paths[int(rng.integers(len(paths)))] if paths else a_place(tree, rng)
    value = EXTREMES[int(rng.integers(len(EXTREMES)))]
    return with_entry(tree, path, value), f"{named(path)} is {value!r}"


def delete(tree: Any, rng: Rng) -> tuple[Any, str]:
    """An entry is missing."""
    path = a_place(tree, rng)
    return (without_entry(tree, path), f"no {named(path)}") if path else (None, "nothing in it")


def add(tree: Any, rng: Rng) -> tuple[Any, str]:
    """An entry more."""
    path = a_place(tree, rng)
    while path and not isinstance(at(tree, path), dict):
        path = path[:-1]
    if not isinstance(at(tree, path), dict):
        return tree, "nothing added"
    value = RETYPED[int(rng.integers(len(RETYPED)))]
    return with_entry(tree, (*path, "unheard_of"), value), f"{named((*path, 'unheard_of'))} is {value!r} more"


def swap(tree: Any, rng: Rng) -> tuple[Any, str]:
    """Two entries have changed places."""
    one, two = a_place(tree, rng), a_place(tree, rng)
    if one == two[: len(one)] or two == one[: len(two)]:
        return retype(tree, rng)
    return with_entry(
        with_entry(tree, one, at(tree, two)), two, at(tree, one)
    ), f"{named(one)} and {named(two)} swapped"


TREES: tuple[Callable[[Any, Rng], tuple[Any, str]], ...] = (retype, extreme, delete, add, swap)
"""Mutators of JSON-like objects."""


def json_text(data: bytes, rng: Rng) -> Changed:
    """JSON that parsers may stumble over."""
    text = data.decode()
    forms: tuple[tuple[bytes, str], ...] = (
        (b"[" * DEPTH, f"{DEPTH} brackets open"),
        (b"[" * DEPTH + b"]" * DEPTH, f"{DEPTH} brackets nested"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "5000 objects nested"),
        (text.encode("utf-16"), "written as UTF-16"),
        (data[:-2] + b"\xff\xfe" + data[-2:], "bytes that are no UTF-8"),
        (b"null", "null"),
        (b"[]", "an empty list"),
        (b"{}", "an empty object"),
        (b'"text"', "a text"),
        (b"1e999", "a number beyond all"),
        (b"9" * 5000, "an integer of 5000 digits"),
        (b"[" + data + b"]", "in a list"),
        (data + data, "twice"),
    )
    return forms[int(rng.integers(len(forms)))]


HOSTILE: tuple[dict[str, Any], ...] = (
    {"@class": "system", "@module": "os", "init_args": {"command": "touch CANARY"}},
    {"@class": "call", "@module": "subprocess", "init_args": {"args": ["touch", "CANARY"]}},
    {"@class": "run", "@module": "subprocess", "init_args": {"args": "touch CANARY", "shell": True}},
    {"@class": "open", "@module": "builtins", "init_args": {"file": "CANARY", "mode": "w"}},
    {"@class": "run_path", "@module": "runpy", "init_args": {"path_name": "canary_module.py"}},
    {"@class": "anything", "@module": "canary_module", "init_args": {}},
    {"@class": "savetxt", "@module": "numpy", "init_args": {"fname": "CANARY", "X": [1.0]}},
    {"@class": "copyfile", "@module": "shutil", "init_args": {"src": "canary_module.py", "dst": "CANARY"}},
    {"@class": "FileHandler", "@module": "logging", "init_args": {"filename": "CANARY"}},
    {"@class": "Popen", "@module": "subprocess", "init_args": {"args": ["touch", "CANARY"]}},
    {"@class": "json.os.system", "@module": "matgl.utils.io", "init_args": {"command": "touch CANARY"}},
    {"@class": "system", "@module": "matgl.utils.io.os", "init_args": {"command": "touch CANARY"}},
    {"@class": "NamedTemporaryFile", "@module": "tempfile", "init_args": {"dir": ".", "prefix": "CANARY"}},
)
"""Entries that make the canary when what they name is called, or its module imported."""
MODULE = "from pathlib import Path\nPath(__file__).with_name('CANARY').touch()\n"
"""A module that makes the canary when it is imported, which lies in the working folder."""


def hostile(tree: Any, rng: Rng) -> tuple[Any, str]:
    """An entry at any depth names a command."""
    entry = HOSTILE[int(rng.integers(len(HOSTILE)))]
    path = a_place(tree, rng)
    style = int(rng.integers(4))
    if style == 0 and isinstance(tree, dict):
        return tree | {"extra": entry}, f"extra is {entry['@module']}.{entry['@class']}"
    value = [entry] if style == 1 else {"inner": entry} if style == 2 else entry
    return with_entry(tree, path, value), f"{named(path)} holds {entry['@module']}.{entry['@class']}"


class Command:
    """An object whose pickle runs a command when it is read."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> Any:
        import os
        import subprocess

        return {
            "os.system": (os.system, ("touch CANARY",)),
            "subprocess.call": (subprocess.call, (["touch", "CANARY"],)),
            "builtins.exec": (exec, ("open('CANARY', 'w').close()",)),
            "builtins.eval": (eval, ("open('CANARY', 'w').close()",)),
            "pathlib.Path": (Path, (".",)),
            "builtins.open": (open, ("CANARY", "w")),
        }[self.name]


COMMANDS = ("os.system", "subprocess.call", "builtins.exec", "builtins.eval", "pathlib.Path", "builtins.open")
"""Names of what :class:`Command` calls."""


def as_json(tree: Any) -> bytes:
    """A tree as JSON, NaN and infinity in Python's way."""
    return json.dumps(tree, default=str, indent=1).encode()
