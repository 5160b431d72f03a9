"""File formats: what a path holds, item by item, with an exception for each item that cannot be read."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ase.io

from matgl_fill.errors import InputError

READABLE = ".cif, POSCAR*/CONTCAR*/.vasp, .xyz/.extxyz, .json, .jsonl (each also .gz) or ase .db"


def items_in(path: Path, name: str) -> Iterator[tuple[str, Any]]:
    """Iterate over (location, object or the exception that stands for it) in a file or folder called ``name``."""
    if not os.path.exists(path):  # unlike Path.exists, never raises
        raise InputError(f"{str(path)[:200]!r} does not exist; give a file or folder of structures.")
    if path.is_dir():
        if not (files := sorted(file for file in path.rglob("*") if file.is_file() and _parser(file))):
            raise InputError(f"no readable structure file in {path}; it should hold {READABLE}.")
        for file in files:
            inner = file.relative_to(path).as_posix()
            try:
                yield from items_in(file, inner)
            except InputError as error:
                yield inner, error
        return
    if not (parser := _parser(path)):
        raise InputError(f"{path} is of unknown type; give {READABLE}.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; give a file with structures.")
    try:
        for i, item in enumerate(parser(path)):
            yield f"{name}:{i}", item
    except InputError:
        raise
    except Exception as error:  # third-party parsers raise anything
        yield name, error


def _text(path: Path) -> str:
    data = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
    if not data.strip():
        raise InputError(f"{path} is empty; give a file with structures.")
    return data.decode("utf-8-sig", errors="replace")  # older CIFs have Latin-1 names in them


def _parse_cif(path: Path) -> Iterator[Any]:
    """Each data block that holds atoms; pymatgen's warnings become part of the reason of a failure."""
    from pymatgen.io.cif import CifParser

    text = "\n".join(_text(path).splitlines())
    blocks = [block for block in re.split(r"(?mi)^\s*data_", text)[1:] if "_atom_site_" in block]
    if not blocks:
        yield ValueError("unparsable CIF: no data block with atom sites")
    for block in blocks:
        item: Any
        with warnings.catch_warnings(record=True, action="always") as caught:
            try:
                parser = CifParser.from_str(f"data_{block}")
                item = parser.parse_structures(primitive=False, on_error="raise")[0]
            except Exception as error:
                notes = "".join(f" ({w.message})" for w in caught[:2])
                item = ValueError(f"unparsable CIF: {reason_of(error)}{notes}")
        yield item


def _parse_poscar(path: Path) -> Iterator[Any]:
    from pymatgen.io.vasp.inputs import Poscar

    with warnings.catch_warnings(record=True, action="always") as caught:
        structure = Poscar.from_str(_text(path), read_velocities=False).structure
    guessed = any("cannot be determined" in str(w.message) for w in caught)
    yield ValueError("POSCAR names no elements; add a line with them") if guessed else structure


def _parse_xyz(path: Path) -> Iterator[Any]:
    """Each frame on its own, so that a bad one does not hide the others."""
    lines = _text(path).splitlines()
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        if not lines[start].strip().isdecimal():
            yield ValueError(f"line {start + 1}: not a number of atoms; the rest of the file is not read")
            return
        stop = start + 2 + int(lines[start])
        try:
            if stop > len(lines):
                raise ValueError(f"line {start + 1}: {lines[start].strip()} atoms announced, but the file ends before")
            yield ase.io.read(io.StringIO("\n".join(lines[start:stop]) + "\n"), format="extxyz")
        except Exception as error:
            yield error
        start = stop


def _parse_json(path: Path) -> Iterator[Any]:
    data = json.loads(_text(path))
    yield from data if isinstance(data, list) else [data]


def _parse_jsonl(path: Path) -> Iterator[Any]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                yield ValueError(f"line {number}: unreadable JSON: {error}")


def _parse_db(path: Path) -> Iterator[Any]:
    from ase.db import connect

    for row in connect(path, type="db", use_lock_file=False).select():
        atoms = row.toatoms()
        atoms.info.update(row.key_value_pairs)
        yield atoms


def _parser(path: Path) -> Callable[[Path], Iterator[Any]] | None:
    """The parser of a file by its name, None if there is none."""
    name = re.sub(r"\.gz$", "", path.name.lower())
    by_suffix = {".cif": _parse_cif, ".vasp": _parse_poscar, ".xyz": _parse_xyz, ".extxyz": _parse_xyz}
    by_suffix |= {".json": _parse_json, ".jsonl": _parse_jsonl}
    if path.suffix.lower() == ".db":
        return _parse_db
    return by_suffix.get(Path(name).suffix, _parse_poscar if name.startswith(("poscar", "contcar")) else None)


def reason_of(error: Exception) -> str:
    """The message of an exception in one line, at most 300 characters."""
    kind = "" if isinstance(error, ValueError | TypeError) else f"{type(error).__name__}: "
    return (kind + " ".join(str(error).split()))[:300] or type(error).__name__
