"""Tables and dictionaries that hold many crystals, as rows with their ids."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ase import Atoms
from pymatgen.core import IMolecule, IStructure

ID_KEYS = ("id", "material_id", "entry_id", "mp_id", "mpid")
"""Names under which rows have their id, the first that is there."""
CRYSTAL_KEYS = ("structure", "cif", "poscar")
"""Names under which rows have their crystal, the first that is there."""
FLAT_KEYS = ("lattice", "species", "frac_coords")
"""Names of the parts of a crystal in a row that has it under no other."""
LISTS = ("data", "response", "entries")
"""Names under which an answer of a database has its rows: the Materials Project's REST interfaces, new and old."""


def rows_in(data: Any) -> list[Any] | None:
    """The rows of a table or of a dictionary of crystals; None if ``data`` is none of these.

    A table is a pandas ``DataFrame`` or ``Series``, or what ``DataFrame.to_json`` makes of it with any ``orient``
    that keeps the columns' names (that of matbench and matminer is ``"split"``). A dictionary gives crystals by their
    ids, or has the list of its rows under ``"data"``. The index is the id of the rows that have none, unless it only
    counts them.
    """
    if hasattr(data, "to_dict") and hasattr(data, "index"):
        rows = data.to_dict("records") if hasattr(data, "columns") else list(data)
        return _named(data.index, rows)
    if not isinstance(data, Mapping) or _is_row(data):
        return None
    for name in LISTS:
        if isinstance(rows := data.get(name), list):
            return _rows_of_table(data, rows)
    crystals = data.get("structure")
    if isinstance(crystals, Mapping) and any(map(_may_be_crystal, crystals.values())):
        columns = {name: column for name, column in data.items() if isinstance(column, Mapping)}
        return _named(crystals, [{name: c.get(key) for name, c in columns.items()} for key in crystals])
    if any(_is_row(one) for one in data.values()) and all(_may_be_row(one) for one in data.values()):
        return _named(data, list(data.values()))
    return None


def _rows_of_table(table: Mapping[str, Any], rows: list[Any]) -> list[Any]:
    """Rows that are dictionaries already, or that get their keys from the table's columns."""
    if isinstance(columns := table.get("columns"), list):  # orient="split"
        named = [dict(zip(columns, row, strict=False)) if isinstance(row, list) else row for row in rows]
        index = table.get("index")
        return _named(index, named) if isinstance(index, list) and len(index) == len(rows) else named
    schema = table.get("schema")
    if isinstance(schema, Mapping) and schema.get("primaryKey") and all(isinstance(row, Mapping) for row in rows):
        return _named([row.get(schema["primaryKey"][0]) for row in rows], rows)  # orient="table"
    return rows


def read_line(text: str) -> Any:
    """The object of one line of JSON, or the exception that stands for it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return ValueError(f"unreadable JSON: {error}")


def is_crystal(item: Any) -> bool:
    """Whether an object is meant as one crystal, as an object or written as a dictionary."""
    if isinstance(item, Mapping):
        return "sites" in item or "lattice" in item
    return isinstance(item, IStructure | IMolecule | Atoms) or hasattr(item, "structure")


def _is_row(item: Any) -> bool:
    """Whether an object is one crystal, or a dictionary that has one under ``"structure"``."""
    if is_crystal(item) or not isinstance(item, Mapping):
        return is_crystal(item)
    return "structure" in item and (is_crystal(item["structure"]) or not isinstance(item["structure"], Mapping))


def _may_be_crystal(item: Any) -> bool:
    """Whether an object is a crystal, or text that may be one."""
    return is_crystal(item) or (isinstance(item, str) and item.startswith("{"))


def _may_be_row(item: Any) -> bool:
    """Whether an object among the rows of a dictionary may be a row, good or bad."""
    return item is None or isinstance(item, Mapping) or is_crystal(item)


def _named(index: Iterable[Any], rows: list[Any]) -> list[Any]:
    """Rows with their index as the id of those that have none; as they are where the index only counts them."""
    names = [str(name) for name in index]
    if names == [str(k) for k in range(len(rows))]:
        return rows
    named: list[Any] = []
    for name, row in zip(names, rows, strict=True):
        if not isinstance(row, Mapping) or is_crystal(row):
            named.append({"id": name, "structure": row})
        else:
            named.append(row if any(row.get(key) is not None for key in ID_KEYS) else {"id": name, **row})
    return named
