"""File formats: what a path holds, item by item, with an exception for each item that cannot be read."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ase import Atoms

from matgl_fill.errors import InputError
from matgl_fill.structures.cif import parse_cif
from matgl_fill.structures.containers import read_line, rows_in
from matgl_fill.structures.poscar import parse_poscar
from matgl_fill.structures.sets import Remark
from matgl_fill.structures.streams import sections
from matgl_fill.structures.xyz import parse_xyz

READABLE = ".cif, POSCAR*/CONTCAR*/.vasp/.poscar, .xyz/.extxyz, .json, .jsonl (each also .gz), .parquet or ase .db"
SECTION = 1024
"""Number of rows of a Parquet file that are read at a time."""


def items_in(path: Path, name: str) -> Iterator[tuple[str, Any]]:
    """Iterate over (location, object) in a file or folder called ``name``.

    An exception stands for an object that cannot be read. A :class:`Remark` is about the object before it, or about
    the folder.
    """
    if not os.path.exists(path):  # unlike Path.exists, never raises
        raise InputError(f"{str(path)[:200]!r} does not exist; give a file or folder of structures.")
    if path.is_dir():
        everything = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        files = [file for file in everything if _parser(file)]
        others = [file.relative_to(path).as_posix() for file in everything if not _parser(file)]
        if not files:
            raise InputError(f"no readable structure file in {path}; it should hold {READABLE}.")
        if others:
            yield name, Remark(f"files of unknown type are ignored: {_first(others)}")
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
        i = -1
        for item in parser(path):
            i += not isinstance(item, Remark)
            yield f"{name}:{i}", item
    except InputError:
        raise
    except Exception as error:  # third-party parsers raise anything
        yield name, error


def _first(names: list[str]) -> str:
    """The first three of several names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _text(path: Path) -> str:
    data = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
    if not data.strip():
        raise InputError(f"{path} is empty; give a file with structures.")
    if b"\0" in data:
        raise InputError(
            f"{path} is not a text file (it holds NUL bytes); it is damaged, or has another type or encoding."
        )
    return data.decode("utf-8-sig", errors="replace")  # older CIFs have Latin-1 names in them


def _parse_cif(path: Path) -> Iterator[Any]:
    yield from parse_cif(_text(path))


def _parse_poscar(path: Path) -> Iterator[Any]:
    yield from parse_poscar(_text(path))


def _parse_xyz(path: Path) -> Iterator[Any]:
    yield from parse_xyz(_text(path))


def _parse_json(path: Path) -> Iterator[Any]:
    data = json.loads(_text(path))
    rows = data if isinstance(data, list) else rows_in(data)
    yield from [data] if rows is None else rows


def _parse_jsonl(path: Path) -> Iterator[Any]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            item = read_line(line)
            yield ValueError(f"line {number}: {item}") if isinstance(item, ValueError) else item


def _parse_parquet(path: Path) -> Iterator[Any]:
    for section in sections(path, SECTION):
        yield from (item for _, item in section.items())


def frames_of_xyz(path: Path) -> Iterator[Atoms]:
    """Frames of an extended XYZ file.

    Raises:
        Exception: A frame cannot be read.
    """
    for frame in parse_xyz(_text(path)):
        if isinstance(frame, Exception):
            raise frame
        yield frame


def frames_of_db(path: Path) -> Iterator[Atoms]:
    """Frames of an ase.db with their results, and with their key-value pairs and data in ``info``."""
    from ase.db import connect

    for row in connect(path, type="db", use_lock_file=False).select():
        atoms = row.toatoms()
        atoms.info.update(row.key_value_pairs | row.data)
        yield atoms


def has_one(path: Path) -> bool:
    """Whether a file holds one crystal as a rule, by its name."""
    return _parser(path) in (_parse_cif, _parse_poscar)


def _parser(path: Path) -> Callable[[Path], Iterator[Any]] | None:
    """The parser of a file by its name, None if there is none."""
    name = re.sub(r"\.gz$", "", path.name.lower())
    by_suffix = {".cif": _parse_cif, ".vasp": _parse_poscar, ".xyz": _parse_xyz, ".extxyz": _parse_xyz}
    by_suffix |= {".json": _parse_json, ".jsonl": _parse_jsonl}
    whole = {".db": frames_of_db, ".parquet": _parse_parquet}
    if path.suffix.lower() in whole:
        return whole[path.suffix.lower()]
    is_poscar = re.match("poscar|contcar", name) or re.search("[._-](poscar|contcar)$", name)
    return by_suffix.get(Path(name).suffix, _parse_poscar if is_poscar else None)
