"""The state of a search in a file, so that an interrupted one goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Structure

from matgl_fill.adapters import Adapter
from matgl_fill.errors import InputError
from matgl_fill.utils.files import read_arrays, write_arrays
from matgl_fill.utils.hashing import hash_model

if TYPE_CHECKING:
    from matgl_fill.generation.decoder import Candidate, Search
    from matgl_fill.generation.prior import Guide


def search_key(adapter: Adapter, X: np.ndarray, T: np.ndarray, settings: tuple[int, ...]) -> str:
    """What a search depends on: model, pool (n, d), targets (m, d) and settings."""
    digest = hashlib.sha256(f"{hash_model(adapter.model)} {settings}".encode())
    for array in (X, T):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def save_search(path: Path, key: str, steps: int, searches: list[Search], guide: Guide, refused: Counter[str]) -> None:
    """Write the state after some steps; a reader sees the old file or the new one, never a part."""
    state = {
        "key": key,
        "steps": steps,
        "refused": dict(refused),
        "tried": [sorted(s.tried) for s in searches],
        "found": [[_row(c) for c in s.found] for s in searches],
    }
    X, Y = guide.learnt()
    x = np.array([c.x for s in searches for c in s.found])
    write_arrays(path, {"state": json.dumps(state), "x": x, "X": X, "Y": Y})


def load_search(path: Path, key: str, searches: list[Search], guide: Guide, refused: Counter[str]) -> int:
    """Put a saved state into searches, guide and counts.

    Returns:
        steps done, 0 where there is no file.

    Raises:
        InputError: the file is of another search, or not of this kind.
    """
    from matgl_fill.generation.decoder import Candidate

    if not path.exists():
        return 0
    saved = read_arrays(path, "the state of a search", ("state", "x", "X", "Y"))
    state = json.loads(saved["state"].item())
    if state["key"] != key:
        raise InputError(f"{path} belongs to another model, pool or seed; remove it or give another folder.")
    guide.restore(saved["X"], saved["Y"])
    refused.update(state["refused"])
    rows = iter(saved["x"])
    for search, tried, found in zip(searches, state["tried"], state["found"], strict=True):
        search.tried = {(int(parent), formula) for parent, formula in tried}
        search.found = [
            Candidate(Structure.from_dict(c["structure"]), c["parent"], c["moves"], c["distance"], next(rows))
            for c in found
        ]
    return int(state["steps"])


def _row(c: Candidate) -> dict[str, Any]:
    return {"structure": c.structure.as_dict(), "parent": c.parent, "moves": c.moves, "distance": c.distance}
