"""Crystals in: every common file or object."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from pymatgen.core import Structure

from matgl_fill.errors import InputError, MatglFillWarning
from matgl_fill.structures.containers import is_crystal, rows_in
from matgl_fill.structures.convert import convert
from matgl_fill.structures.formats import frames_of_db, frames_of_xyz, has_one, items_in
from matgl_fill.structures.sets import Remark, Skipped, StructureSet, first_of, reason_of, unique


def read_structures(source: Any) -> StructureSet:
    """Read crystals or molecules from an object, a list or generator of them, a file or a folder.

    A bad structure never stops the reading: it is left out, and ``skipped`` says why. Oxidation states and site
    properties are dropped (deuterium becomes hydrogen). Molecules and non-periodic ``ase.Atoms`` get a cubic box
    with 15 Angstrom of vacuum on each side; so does each non-periodic direction of a slab whose cell leaves less than
    that between its faces. Atoms more than one cell beside the cell are wrapped into it. Left out are crystals with
    numbers that are not finite, with two atoms closer than 0.5 Angstrom, and those whose neighbours cannot be searched
    in reasonable time or memory (cells or molecules of thousands of Angstrom, faces thinner than an atom).

    Args:
        source: A pymatgen ``Structure``, ``Molecule`` or ``ComputedStructureEntry``, ``ase.Atoms``, ``StructureSet``
            (returned as is), a dict row, an iterable of any of these or of paths; a table or dictionary of many; or
            the path of a CIF, POSCAR/CONTCAR/``.vasp``, ``.xyz``/``.extxyz`` (all frames), ``.json``, ``.jsonl``
            (each also ``.gz``), ``.parquet``, ase ``.db``, or a folder of such files (recursive, sorted; a warning
            names other files). A row is a ``Structure.as_dict()``, or ``{"id": ..., "structure": <as_dict, or
            {"lattice": 3x3 Angstrom, "species": [...], "frac_coords": (atoms, 3)}, or the text of its JSON, of a CIF or
            of a POSCAR>, ...}`` whose other scalar numbers are labels; the crystal may be under ``"cif"`` or
            ``"poscar"`` as well.
            Tables are pandas' ``DataFrame`` and what its ``to_json`` writes (matbench, matminer); dictionaries are
            ``{id: row}``, and ``{"data": [rows]}`` of the Materials Project's REST interface. For ``ase.Atoms`` the
            labels are the scalars of ``info`` and of the results stored with the frame (extended XYZ ``energy``, in
            eV).

    Returns:
        The usable structures. Ids come from ``id``, ``material_id``, ``entry_id``, ``mp_id`` or ``mpid``, or from a
        table's index, else they are ``<file name>:<index>`` or ``<index>``. A warning says what parsers remark on.

    Raises:
        InputError: The path does not exist, the file is empty or of unknown type, a folder holds nothing readable, or
            no structure is usable.
    """
    if isinstance(source, StructureSet):
        return source
    structures: list[Structure] = []
    names: list[str] = []
    rows: list[dict[str, float]] = []
    skipped: list[Skipped] = []
    remarks: list[str] = []
    for where, item in _items(source):
        if isinstance(item, Remark):
            if not skipped or skipped[-1].where != _place(where):
                remarks.append(f"{_place(where)}: {item.text.removesuffix('.')}")
            continue
        try:
            structure, name, labels = convert(item)
        except Exception as error:  # one bad structure of any kind must not stop the others
            skipped.append(Skipped(_place(where), reason_of(error)))
            continue
        structures.append(structure)
        names.append(name or where.rsplit("/", 1)[-1])
        rows.append(labels)
    if not structures:
        what = source if isinstance(source, str | Path) else f"the given {type(source).__name__}"
        if not skipped:
            raise InputError(f"there is no structure in {what}; give at least one.")
        first = first_of([f"{s.where}: {s.reason}" for s in skipped])
        raise InputError(f"no usable structure in {what}: {first}. Correct these or give other structures.")
    if remarks:
        warnings.warn(f"read with remarks: {first_of(remarks)}.", MatglFillWarning, stacklevel=2)
    keys = dict.fromkeys(key for row in rows for key in row)
    labels_by_key = {key: np.array([row.get(key, np.nan) for row in rows], dtype=np.float64) for key in keys}
    return StructureSet(structures, unique(names), labels_by_key, skipped)


def read_aligned(source: Any) -> StructureSet:
    """Read crystals as :func:`read_structures` does, for callers whose rows have to be those of the input.

    A :class:`StructureSet` was read before: it says itself what it left out, and its ids name the rows.

    Raises:
        InputError: The source is refused as in :func:`read_structures`, or one structure cannot be used.
    """
    found = read_structures(source)
    if found.skipped and found is not source:
        raise InputError(
            f"{found.skipped[0].where}: {found.skipped[0].reason}; remove this crystal, or give"
            " read_structures(...), which leaves it out and names the rows by its ids."
        )
    return found


def read_each(items: Sequence[Any]) -> list[Structure | Skipped]:
    """Read each object as :func:`read_structures` does; one that cannot be read gives the reason and its index.

    The first index is ``"0"``.
    """
    found: list[Structure | Skipped] = []
    for k, item in enumerate(items):
        try:
            found.append(convert(item)[0])
        except Exception as error:  # as there
            found.append(Skipped(str(k), reason_of(error)))
    return found


def read_frames(source: str | Path | Atoms | Iterable[Atoms]) -> list[Atoms]:
    """Frames of a file with all that ASE reads from it, or the given frames as a list.

    Raises:
        InputError: There is no such file, or ASE cannot read it.
    """
    if isinstance(source, Atoms):
        return [source]
    if not isinstance(source, str | Path):
        return list(source)
    if not Path(source).is_file():
        raise InputError(f"no file '{source}'; give one that ASE reads, such as extended XYZ.")
    try:
        if Path(source).suffix.lower() == ".db":
            return list(frames_of_db(Path(source)))
        if Path(source).name.lower().removesuffix(".gz").endswith("xyz"):
            return list(frames_of_xyz(Path(source)))
        return ase.io.read(source, index=":")
    except Exception as error:  # ASE's readers raise whatever they meet
        raise InputError(f"'{source}' holds no frames that ASE can read: {error}.") from error


def _place(where: str) -> str:
    """A location for messages: a file that holds one crystal by its format needs no index."""
    name = where.removesuffix(":0")
    return name if name != where and has_one(Path(name)) else where


def _items(source: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten ``source`` into (where, object or the exception that stands for it)."""
    if isinstance(source, StructureSet):
        source = [{**row, "structure": one} for row, one in zip(source.rows, source, strict=True)]
    if (rows := rows_in(source)) is not None:
        source = rows
    if isinstance(source, str | Path):
        path = Path(source or "(empty path)").expanduser()
        yield from items_in(path, path.name or str(path))
    elif isinstance(source, Iterable) and not isinstance(source, Mapping | bytes) and not is_crystal(source):
        for i, item in enumerate(source):
            try:
                yield from _items(item, f"{where}{i}:")
            except InputError as error:  # a path in a list that leads nowhere
                yield f"{where}{i}", error
    else:
        yield where.rstrip(":") or "0", source
