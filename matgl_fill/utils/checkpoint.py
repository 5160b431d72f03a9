"""The state of long work in a file, so that interrupted work goes on where it was."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from matgl_fill.errors import InputError
from matgl_fill.utils.archive import read_archive
from matgl_fill.utils.files import atomic_write, fault
from matgl_fill.utils.hashing import hash_state


class Checkpoint:
    """One file in which long work keeps its state: a search, an analysis, a training or labels.

    A reader sees the old file or the new one, never a part. Reading a file runs nothing that it holds, and a file whose
    contents do not have the checksum that was written with them is refused.

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
            InputError: The file is of other work, of another kind, or damaged.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            saved = read_archive(self.path.read_bytes())
            key, checksum, state = saved["key"], saved["sha256"], saved["state"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(self._refusal(f"is not a saved state ({fault(error)})")) from error
        if key != self._key:
            raise InputError(self._refusal("belongs to another model, data, settings or seed"))
        if not isinstance(state, dict) or checksum != hash_state(state):
            raise InputError(self._refusal("is damaged (its contents do not match its checksum)"))
        return state

    def _refusal(self, reason: str) -> str:
        return f"{self._what} cannot be resumed: {self.path} {reason}; remove this file to start over."

    def save(self, state: dict[str, Any]) -> None:
        """Write a state of arrays, tensors, numbers, texts, and lists and dictionaries of these.

        Raises:
            OSError: The file cannot be written; an older one is then still whole.
        """
        if self.path is not None:
            data = io.BytesIO()
            torch.save({"key": self._key, "sha256": hash_state(state), "state": state}, data)
            atomic_write(self.path, data.getvalue())

    def remove(self) -> None:
        """Remove the file, if it is there."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
