"""Measurements that are on the disk as soon as they are made, so that a long run goes on after an interruption."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from matgl_fill.errors import InputError
from matgl_fill.utils.files import atomic_write

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Rows of a file of one JSON object a line; a last line without its end, which an interruption left, is no row.

    Raises:
        InputError: the file is not there, or another line is not JSON.
    """
    if not path.is_file():
        raise InputError(f"no file '{path}' of measurements.")
    rows = []
    for number, line in enumerate(_whole(path).splitlines(), 1):
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}, line {number} is no measurement: {error}; remove the line.") from error
    return rows


def _whole(path: Path) -> str:
    """Text up to the end of the last whole line."""
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1]


class Lines:
    """A file of one JSON object a line, to which rows are appended.

    Args:
        path: the file, made with the first row; what an interruption left of a last line is cut off.

    Raises:
        InputError: another line is not JSON.

    Attributes:
        rows: all of them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows = read_rows(path) if path.exists() else []
        if path.exists() and len(whole := _whole(path)) < len(path.read_text(encoding="utf-8")):
            atomic_write(path, whole)

    def append(self, row: Row) -> None:
        """One more line, on the disk when this returns."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)
