"""Structures in and out: every common file or object in, extended XYZ and CIF out."""

from __future__ import annotations

import copy
import gzip
import io
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from pymatgen.core import IMolecule, IStructure, Structure

from matgl_fill.errors import InputError
from matgl_fill.structures.convert import convert
from matgl_fill.structures.formats import items_in, reason_of
from matgl_fill.utils.files import atomic_write

UNSAFE = re.compile(r"[^\w.+-]")
"""Characters that no file name should have."""
_RESERVED = {"Lattice", "Properties", "pbc", "stress", "virial"}  # keys with a fixed meaning in extended XYZ


@dataclass(frozen=True)
class Skipped:
    """One input that could not be used: where it was, and why it was left out."""

    where: str
    reason: str


@dataclass(frozen=True, eq=False)
class StructureSet:
    """Clean, ordered, fully periodic structures with their ids and labels.

    Attributes:
        structures: n pymatgen structures with plain elements (no oxidation states, no site properties).
        ids: n unique names.
        labels: float64 arrays of shape (n,) by name, in the unit of the source; NaN where a row has none.
        skipped: what was left out while reading, each with its reason.
    """

    structures: list[Structure]
    ids: list[str]
    labels: dict[str, np.ndarray]
    skipped: list[Skipped]

    def __len__(self) -> int:
        return len(self.structures)

    def __iter__(self) -> Iterator[Structure]:
        return iter(self.structures)

    def subset(self, indices: Sequence[int] | np.ndarray) -> StructureSet:
        """The structures at ``indices`` (integers, or a boolean mask of shape (n,)), in that order.

        Args:
            indices: which to take; an empty list gives an empty set.

        Returns:
            A new set; ``skipped`` still tells what the whole reading left out.

        Raises:
            IndexError: an index is out of range or the mask has another length.
        """
        wanted = np.asarray(indices) if len(indices) else np.zeros(0, dtype=int)
        rows = np.arange(len(self))[wanted]
        labels = {key: values[rows] for key, values in self.labels.items()}
        return StructureSet([self.structures[i] for i in rows], [self.ids[i] for i in rows], labels, self.skipped)

    @property
    def formulas(self) -> list[str]:
        """Reduced formula of each structure, such as ``"Fe2O3"``."""
        with warnings.catch_warnings(action="ignore"):  # of noble gases having no electronegativity
            return [structure.composition.reduced_formula for structure in self.structures]


def read_structures(source: Any) -> StructureSet:
    """Read crystals or molecules from an object, a list or generator of them, a file or a folder.

    A bad structure never stops the reading: it is left out and told in ``skipped``. Oxidation states and site
    properties are dropped (deuterium becomes hydrogen). Molecules and non-periodic ``ase.Atoms`` get a cubic box
    with 15 Angstrom of vacuum on each side; so does each non-periodic direction of a slab whose cell leaves less than
    that between its faces.

    Args:
        source: pymatgen ``Structure`` or ``Molecule``, ``ase.Atoms``, ``StructureSet`` (returned as is), a dict row,
            an iterable of any of these or of paths; a pandas ``DataFrame`` of rows; or the path of a CIF,
            POSCAR/CONTCAR/``.vasp``, ``.xyz``/``.extxyz`` (all frames), ``.json``, ``.jsonl`` (each also ``.gz``),
            ase ``.db``, or a folder of such files (recursive, sorted; other files are ignored). A row is a
            ``Structure.as_dict()``, or ``{"id": ..., "structure": <as_dict, or {"lattice": 3x3 Angstrom, "species":
            [...], "frac_coords": (atoms, 3)}>, ...}`` whose other scalar numbers are labels. For ``ase.Atoms`` the
            labels are the scalars of ``info`` and of the results stored with the frame (extended XYZ ``energy``, in
            eV).

    Returns:
        The usable structures. Ids come from ``id`` or ``material_id``, else ``<file name>:<index>`` or ``<index>``.

    Raises:
        InputError: the path does not exist, the file is empty or of unknown type, a folder holds nothing readable, or
            no structure is usable.
    """
    if isinstance(source, StructureSet):
        return source
    structures: list[Structure] = []
    names: list[str] = []
    rows: list[dict[str, float]] = []
    skipped: list[Skipped] = []
    for where, item in _items(source):
        try:
            structure, name, labels = convert(item)
        except Exception as error:  # one bad structure of any kind must not stop the others
            skipped.append(Skipped(where, reason_of(error)))
            continue
        structures.append(structure)
        names.append(name or where.rsplit("/", 1)[-1])
        rows.append(labels)
    if not structures:
        first = "; ".join(f"{s.where}: {s.reason}" for s in skipped[:3]) or "it holds none"
        more = f" (and {len(skipped) - 3} more)" if len(skipped) > 3 else ""
        what = source if isinstance(source, str | Path) else f"the given {type(source).__name__}"
        raise InputError(f"no usable structure in {what}: {first}{more}. Fix these or give other structures.")
    keys = dict.fromkeys(key for row in rows for key in row)
    labels_by_key = {key: np.array([row.get(key, np.nan) for row in rows], dtype=np.float64) for key in keys}
    return StructureSet(structures, unique(names), labels_by_key, skipped)


def read_aligned(source: Any) -> StructureSet:
    """As :func:`read_structures`, for callers whose rows have to be those of the input.

    What was read before, a :class:`StructureSet`, has told what it left out, and its ids name the rows.

    Raises:
        InputError: as there, or one structure cannot be used.
    """
    found = read_structures(source)
    if found.skipped and found is not source:
        raise InputError(
            f"{found.skipped[0].where}: {found.skipped[0].reason}; remove it to keep rows aligned, or give"
            " read_structures(...), which leaves it out and whose ids name the rows."
        )
    return found


def read_frames(source: str | Path | Atoms | Iterable[Atoms]) -> list[Atoms]:
    """Frames of a file with all that ASE reads from it, or those that were given.

    Raises:
        InputError: there is no such file, or ASE cannot read it.
    """
    if isinstance(source, Atoms):
        return [source]
    if not isinstance(source, str | Path):
        return list(source)
    if not Path(source).is_file():
        raise InputError(f"no file '{source}'; give one that ASE reads, such as extended XYZ.")
    try:
        return ase.io.read(source, index=":")
    except Exception as error:  # ASE's readers raise whatever they meet
        raise InputError(f"'{source}' holds no frames that ASE can read: {error}.") from error


def write_structures(
    structures: Iterable[Structure], path: str | Path, info: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Write structures as extended XYZ (gzipped if ``path`` ends in ``.gz``), atomically.

    Args:
        structures: ordered structures; of a ``StructureSet`` the ids and labels are written too, unless ``info`` is
            given. Positions are written in Angstrom with 8 decimals.
        path: the file to write; its folder is made if missing.
        info: what to say of each frame (same length); None values are left out.

    Raises:
        InputError: ``info`` has another length, or uses a key that extended XYZ reserves.
        OSError: the file cannot be written.
    """
    frames = list(structures)
    if info is None:
        info = _rows(structures) if isinstance(structures, StructureSet) else [{}] * len(frames)
    if len(info) != len(frames):
        raise InputError(f"{len(info)} info rows for {len(frames)} structures; give one for each.")
    if reserved := _RESERVED & {key for row in info for key in row}:
        raise InputError(f"info key {sorted(reserved)} has a fixed meaning in extended XYZ; rename it.")
    if unsafe := {key for row in info for key in row if "=" in key}:
        raise InputError(f"info key {sorted(unsafe)} cannot be written to extended XYZ; leave '=' out of it.")
    buffer = io.StringIO()
    for structure, row in zip(frames, info, strict=True):
        cell = structure.lattice.matrix  # cart_coords would leave a cache in the caller's object
        atoms = Atoms(structure.atomic_numbers, structure.frac_coords @ cell, cell=cell, pbc=True)
        atoms.info = {key: _info_value(v) for key, v in row.items() if v is not None}
        ase.io.write(buffer, atoms, format="extxyz")
    data = buffer.getvalue().encode()
    atomic_write(Path(path), gzip.compress(data, mtime=0) if Path(path).suffix == ".gz" else data)


def read_each(items: Sequence[Any]) -> list[Structure | Skipped]:
    """Each object as :func:`read_structures` reads it, or why it cannot be read and which one it is (``"0"`` first)."""
    found: list[Structure | Skipped] = []
    for k, item in enumerate(items):
        try:
            found.append(convert(item)[0])
        except Exception as error:  # as there
            found.append(Skipped(str(k), reason_of(error)))
    return found


def write_cifs(structures: Iterable[Structure], folder: str | Path, names: Sequence[str]) -> None:
    """Write each structure to ``folder/<name>.cif`` (P1, 8 decimals, sites sorted by element), atomically.

    Args:
        structures: n structures.
        folder: made if missing.
        names: n file names, with or without ``.cif``; characters unsafe in a file name become ``_``.

    Raises:
        InputError: the number of names differs, or two names give the same file.
        OSError: a file cannot be written.
    """
    from pymatgen.io.cif import CifWriter

    frames = list(structures)
    safe = [UNSAFE.sub("_", name.removesuffix(".cif")) for name in names]
    if len(safe) != len(frames):
        raise InputError(f"{len(safe)} names for {len(frames)} structures; give one for each.")
    if len(set(safe)) < len(safe) or "" in safe:
        raise InputError("names for CIF files must be non-empty and differ from each other (as file names).")
    for structure, name in zip(frames, safe, strict=True):
        with warnings.catch_warnings(action="ignore"):
            text = str(CifWriter(copy.deepcopy(structure)))
        atomic_write(Path(folder) / f"{name}.cif", text)


def _items(source: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten ``source`` into (where, object or the exception that stands for it)."""
    if isinstance(source, StructureSet):
        source = [{**row, "structure": one} for row, one in zip(_rows(source), source, strict=True)]
    if hasattr(source, "columns") and hasattr(source, "to_dict"):  # a table of pandas
        source = source.to_dict("records")
    if isinstance(source, str | Path):
        path = Path(source or "(empty path)").expanduser()
        yield from items_in(path, path.name)
    elif isinstance(source, Iterable) and not isinstance(source, IStructure | IMolecule | Atoms | Mapping | bytes):
        for i, item in enumerate(source):
            try:
                yield from _items(item, f"{where}{i}:")
            except InputError as error:  # a path in a list that leads nowhere
                yield f"{where}{i}", error
    else:
        yield where.rstrip(":") or "0", source


def _rows(structures: StructureSet) -> list[dict[str, Any]]:
    """The id and the labels of each structure, as ``info`` of its frame."""
    labels = structures.labels.items()
    return [{"id": one} | {k: v[i] for k, v in labels if v[i] == v[i]} for i, one in enumerate(structures.ids)]


def _info_value(value: Any) -> Any:
    """Text that extended XYZ would read back as something else goes in as JSON (ase strips one level of backslash)."""
    words = {"t", "f", "true", "false", "nan", "inf", "infinity"}
    if not isinstance(value, str) or (re.fullmatch(r"[A-Za-z][\w.:+-]*", value, re.A) and value.lower() not in words):
        return value
    return "_JSON " + json.dumps(value).replace("\\", "\\\\")


def file_names(names: Sequence[str]) -> list[str]:
    """Names as files can have them, all different: characters unsafe in a file name become ``_``.

    >>> file_names(["a/b", "a_b", "c"])
    ['a_b', 'a_b_2', 'c']
    """
    return unique([UNSAFE.sub("_", name) for name in names])


def unique(names: Sequence[str]) -> list[str]:
    """Names that are all different: a repeated one gets a number.

    >>> unique(["a", "a", "a_2"])
    ['a', 'a_3', 'a_2']
    """
    taken, result = set(names), dict[str, None]()
    for name in names:
        new, k = name, 1
        while new in result or (k > 1 and new in taken):
            k += 1
            new = f"{name}_{k}"
        result[new] = None
    return list(result)
