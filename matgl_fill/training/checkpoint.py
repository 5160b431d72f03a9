"""The state of a training in a file, so that an interrupted one goes on where it was."""

from __future__ import annotations

import io
import pickle
import time
from pathlib import Path
from typing import Any

import torch

from matgl_fill.errors import InputError
from matgl_fill.utils.files import atomic_write

SAVE_SECONDS = 20.0
"""Between two saves: what an interruption costs at most."""


class TrainingCheckpoint:
    """Where a training is saved every :data:`SAVE_SECONDS`, and from where it goes on.

    Args:
        path: the file; None saves nothing.
        key: what the training depends on; a file with another key is refused.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self._path, self._key = path, key
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return self._path is not None and time.monotonic() - self._last >= SAVE_SECONDS

    def save(self, state: dict[str, Any]) -> None:
        """Write the state of tensors, numbers and texts; a reader sees the old file or the new one, never a part."""
        if self._path is None:
            return
        data = io.BytesIO()
        torch.save(state | {"key": self._key}, data)
        atomic_write(self._path, data.getvalue())
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved state, None where there is none.

        Raises:
            InputError: the file is of another training, or not of this kind.
        """
        if self._path is None or not self._path.exists():
            return None
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
            key = state["key"]
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
            raise InputError(f"{self._path} is not the state of a training; remove it.") from error
        if key != self._key:
            raise InputError(f"{self._path} belongs to another model, pool, settings or seed; remove it.")
        return state
