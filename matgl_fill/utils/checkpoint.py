"""The state of long work in a file, so that interrupted work goes on where it was."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from matgl_fill.errors import InputError
from matgl_fill.utils.archive import read_archive
from matgl_fill.utils.files import atomic_write


class Checkpoint:
    """One file in which long work keeps its state: a search, an analysis, a training or labels.

    A reader sees the old file or the new one, never a part. Reading a file runs nothing that it holds.

    Args:
        path: Path of the file; None keeps nothing.
        key: Hash of all that the work depends on; a file with another key is refused.
        what: Name of the work for errors, for example ``"a search"``.
    """

    def __init__(self, path: str | Path | None, key: str, what: str) -> None:
        self.path = None if path is None else Path(path)
        self._key, self._what = key, what

    def load(self) -> dict[str, Any] | None:
        """Read the saved state; None where there is none.

        Raises:
            InputError: The file is of other work, or not of this kind.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            saved = read_archive(self.path.read_bytes())
            key, state = saved["key"], dict(saved["state"])
        except Exception as error:  # a file of another kind may raise anything while it is read
            raise InputError(f"{self.path} is not the state of {self._what}; remove it or give another.") from error
        if key != self._key:
            raise InputError(f"{self.path} belongs to another model, data, settings or seed; remove it.")
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Write a state of arrays, tensors, numbers, texts, and lists and dictionaries of these.

        Raises:
            OSError: The file cannot be written; an older one is then still whole.
        """
        if self.path is not None:
            data = io.BytesIO()
            torch.save({"key": self._key, "state": state}, data)
            atomic_write(self.path, data.getvalue())

    def remove(self) -> None:
        """Remove the file, if it is there."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
