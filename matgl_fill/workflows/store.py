"""Results of jobs in one JSON file that is whole whenever a process ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from matgl_fill.errors import InputError
from matgl_fill.utils.files import atomic_write

if TYPE_CHECKING:
    from jobflow import JobStore


def open_store(path: Path) -> JobStore:
    """Open a file of results, or make it; its place does not change with the working folder.

    Raises:
        InputError: The file is no list of documents. (maggma would begin a new one in its place.)
        OSError: The file cannot be written.
    """
    import orjson
    from jobflow import JobStore
    from maggma.stores import JSONStore

    class WholeJSONStore(JSONStore):
        """maggma's JSON file, which is replaced at once where maggma would write it anew from its beginning."""

        def update_json_file(self) -> None:
            documents = [{key: value for key, value in one.items() if key != "_id"} for one in self.query()]
            atomic_write(Path(self.paths[0]), orjson.dumps(documents, option=orjson.OPT_SERIALIZE_NUMPY))

    path = path.absolute()
    if path.exists():
        try:
            documents = json.loads(path.read_text())
        except ValueError:
            documents = None
        if not isinstance(documents, list):
            raise InputError(f"'{path}' holds no results of jobs; remove it, or give another place.")
    else:
        atomic_write(path, "[]")
    store = JobStore(WholeJSONStore(str(path), read_only=False))
    store.connect()
    return store
