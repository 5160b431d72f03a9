"""Embeddings kept on disk, keyed by model weights and structure."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from matgl_fill.errors import InputError

ASK = 500
"""Number of keys in one query; SQLite allows 999."""


class EmbeddingCache:
    """Rows of float32 in one SQLite file; every :meth:`put` is a transaction, so that a killed run keeps them.

    Args:
        path: Path of the file; it is made if missing.

    Raises:
        InputError: The file is not a cache, or cannot be made.

    Example:
        >>> import numpy as np, tempfile
        >>> with tempfile.TemporaryDirectory() as folder, EmbeddingCache(f"{folder}/z.sqlite") as cache:
        ...     cache.put({b"a": np.array([1.0, 2.0])})
        ...     cache.get([b"a", b"b"])
        {b'a': array([1., 2.], dtype=float32)}
    """

    def __init__(self, path: str | Path) -> None:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path)
            others = self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'embedding'")
            if other := others.fetchone():
                raise sqlite3.DatabaseError(f"it holds the table '{other[0]}'")
            self._db.execute("CREATE TABLE IF NOT EXISTS embedding (key BLOB PRIMARY KEY, row BLOB) WITHOUT ROWID")
        except (sqlite3.Error, OSError) as error:
            raise InputError(f"{path} cannot be used as a cache of embeddings ({error}); name another file.") from error

    def __enter__(self) -> EmbeddingCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """Look up the stored rows, each flat; keys without a row are left out."""
        found: dict[bytes, np.ndarray] = {}
        for start in range(0, len(keys), ASK):
            asked = keys[start : start + ASK]
            query = f"SELECT key, row FROM embedding WHERE key IN ({','.join('?' * len(asked))})"
            found |= {key: np.frombuffer(row, dtype=np.float32) for key, row in self._db.execute(query, asked)}
        return found

    def put(self, rows: Mapping[bytes, np.ndarray]) -> None:
        """Store rows under their keys."""
        items = [(key, np.asarray(row, dtype=np.float32).tobytes()) for key, row in rows.items()]
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO embedding VALUES (?, ?)", items)
