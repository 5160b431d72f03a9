"""Embeddings kept on disk, keyed by model weights and structure."""

from __future__ import annotations

import hashlib
import sqlite3
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from matgl_fill.errors import InputError, MatglFillWarning

ASK = 500
"""Number of keys in one query; SQLite allows 999."""
PATIENCE = 60.0
"""Seconds for which a call waits while another one writes to the file."""
CHECK = 8
"""Number of bytes of the checksum behind every row."""


class EmbeddingCache:
    """Rows of float32 in one SQLite file; every :meth:`put` is a transaction, so that a killed run keeps them.

    Every row carries a checksum; one that does not have it, or whose length is not the one asked for, counts as not
    there. Several calls may use one file at once.

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
        self._path, self._keeps = path, True
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db = self._opened()
            except sqlite3.OperationalError:  # another call that used the file has just removed it
                self._db = self._opened()
        except (sqlite3.Error, OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{path} cannot be used as a cache of embeddings ({reason}); name another file."
            ) from error

    def _opened(self) -> sqlite3.Connection:
        """Connection to the file, whose table is made if it has none."""
        database = sqlite3.connect(self._path, timeout=PATIENCE)
        database.text_factory = bytes  # a damaged row may be a text of any bytes
        tables = {
            row[0].decode(errors="replace")
            for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if others := sorted(tables - {"embedding"}):
            raise sqlite3.DatabaseError(f"it holds the table '{others[0]}'")
        if not tables:
            database.execute("CREATE TABLE IF NOT EXISTS embedding (key BLOB PRIMARY KEY, row BLOB) WITHOUT ROWID")
        database.execute("SELECT key, row FROM embedding LIMIT 1").fetchone()
        return database

    def __enter__(self) -> EmbeddingCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """Look up the stored rows, each flat; keys without a row, or with a damaged one, are left out.

        Raises:
            InputError: The file is damaged.
        """
        found: dict[bytes, np.ndarray] = {}
        try:
            for start in range(0, len(keys), ASK):
                asked = keys[start : start + ASK]
                query = f"SELECT key, row FROM embedding WHERE key IN ({','.join('?' * len(asked))})"
                for key, row in self._db.execute(query, asked):
                    if isinstance(row, bytes) and row[-CHECK:] == _check(key, row[:-CHECK]):
                        found[key] = np.frombuffer(row[:-CHECK], dtype=np.float32)
        except (sqlite3.Error, OverflowError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"the cache {self._path} is damaged ({reason}); remove it.") from error
        return found

    def put(self, rows: Mapping[bytes, np.ndarray]) -> None:
        """Store rows under their keys; if that cannot be done, warn once and keep no more."""
        if not self._keeps:
            return
        items = [(key, np.asarray(row, dtype=np.float32).tobytes()) for key, row in rows.items()]
        try:
            with self._db:
                checked = [(key, data + _check(key, data)) for key, data in items]
                self._db.executemany("INSERT OR REPLACE INTO embedding VALUES (?, ?)", checked)
        except sqlite3.Error as error:
            self._keeps = False
            warnings.warn(
                f"embeddings are no longer kept in {self._path} ({error}); results stay the same, but a later "
                "call computes them again.",
                MatglFillWarning,
                stacklevel=2,
            )


def _check(key: bytes, data: bytes) -> bytes:
    """Checksum of a row, which also says whose it is."""
    return hashlib.sha256(key + data).digest()[:CHECK]
