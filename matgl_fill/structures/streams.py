"""Files of crystals that do not fit in memory, read section by section."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from matgl_fill.errors import InputError
from matgl_fill.structures.containers import CRYSTAL_KEYS, FLAT_KEYS, ID_KEYS, read_line
from matgl_fill.structures.sets import reason_of

STREAMABLE = ".parquet, .jsonl or .jsonl.gz"


@dataclass(frozen=True)
class Section:
    """Consecutive rows of a file, not yet read as crystals, so that another process can do it.

    Attributes:
        number: Place of the section in the file, from 0.
        first: Row of the file at which it begins; empty lines are no rows.
        count: Number of its rows.
        share: Share of the file that ends with it, 0 to 1.
        name: Name of the file.
        content: Hash that is another one where the rows are others.
        rows: The rows: lines of a JSONL file, or a table of Parquet as its stream of Arrow.
    """

    number: int
    first: int
    count: int
    share: float
    name: str
    content: str
    rows: list[str] | bytes

    def items(self) -> list[tuple[str, Any]]:
        """Name (``<file name>:<row>``) and object of every row; an exception stands for a row that is none."""
        if isinstance(self.rows, bytes):
            table = pa.ipc.open_stream(self.rows).read_all().to_pylist()
            objects: list[Any] = [{key: cell for key, cell in row.items() if cell is not None} for row in table]
        else:
            objects = list(map(read_line, self.rows))
        return [(f"{self.name}:{self.first + k}", item) for k, item in enumerate(objects)]


def sections(path: str | Path, size: int) -> Iterator[Section]:
    """Iterate over the sections of a file, none of which is read before it is asked for.

    Args:
        path: JSON lines, which may be gzipped, or Parquet. A row is one of :func:`matgl_fill.read_structures`.
        size: Number of rows of each but the last.

    Raises:
        InputError: There is no such file, it is of another kind, holds no row or no crystals, or is damaged; the
            sections before the damage come first.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{str(path)!r} is no file; give one of {STREAMABLE}.")
    is_table = path.suffix.lower() == ".parquet"
    if not is_table and not path.name.lower().removesuffix(".gz").endswith(".jsonl"):
        raise InputError(f"{path} cannot be read in parts; give a file of {STREAMABLE}.")
    read = 0
    try:
        for section in (_of_table if is_table else _of_lines)(path, size):
            read = section.first + section.count
            yield section
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        after = f" after row {read}" if read else ""
        raise InputError(f"{path} is damaged{after}: {reason_of(error)}; give a whole file.") from error
    if not read:
        raise InputError(f"{path} is empty; give a file with structures.")


def _of_lines(path: Path, size: int) -> Iterator[Section]:
    """Sections of a JSONL file; NUL bytes and letters of another encoding make a row unreadable, not the file."""
    whole, rows, first = path.stat().st_size, list[str](), 0
    with path.open("rb") as raw:
        packed: IO[bytes] = gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw  # type: ignore[assignment]
        for line in packed:
            text = line.decode("utf-8-sig" if first == 0 and not rows else "utf-8", errors="replace").strip()
            if not text:
                continue
            rows.append(text)
            if len(rows) == size:
                yield _section(path, first, size, rows, min(raw.tell() / whole, 1.0))
                first, rows = first + size, []
        if rows:
            yield _section(path, first, size, rows, 1.0)


def _section(path: Path, first: int, size: int, rows: list[str], share: float) -> Section:
    content = hashlib.sha256("\n".join(rows).encode(errors="replace")).hexdigest()
    return Section(first // size, first, len(rows), share, path.name, content, rows)


def _of_table(path: Path, size: int) -> Iterator[Section]:
    """Sections of a Parquet file, whatever its row groups; columns that say nothing of a crystal are not read."""
    with pq.ParquetFile(path, memory_map=True) as file:
        total, columns = file.metadata.num_rows, _columns(file.schema_arrow)
        if not {*CRYSTAL_KEYS, "lattice"} & set(columns):
            found = ", ".join(file.schema_arrow.names[:8])
            raise InputError(
                f"{path} has no column of crystals among {found}; name it one of {', '.join(CRYSTAL_KEYS)}."
            )
        groups = [file.metadata.row_group(k) for k in range(file.metadata.num_row_groups)]
        facts = [[(c.file_offset, c.total_compressed_size, c.num_values) for c in _chunks(group)] for group in groups]
        content = hashlib.sha256(f"{path.stat().st_size} {total} {columns} {facts}".encode()).hexdigest()
        held, first = file.schema_arrow.empty_table().select(columns), 0
        for batch in file.iter_batches(size, columns=columns):
            held = pa.concat_tables([held, pa.Table.from_batches([batch]).select(columns)])
            while len(held) >= size or (first + len(held) == total and len(held)):
                part, held = held.slice(0, size), held.slice(size)
                share = (first + len(part)) / total
                where = (first // size, first, len(part), share)
                yield Section(*where, path.name, f"{content} {first}", _stream(part))
                first += len(part)


def _chunks(group: Any) -> list[Any]:
    return [group.column(k) for k in range(group.num_columns)]


def _columns(schema: pa.Schema) -> list[str]:
    """Names of the columns that hold crystals, ids and labels."""
    wanted = {*CRYSTAL_KEYS, *FLAT_KEYS, *ID_KEYS}
    numbers = (pa.types.is_integer, pa.types.is_floating)
    return [field.name for field in schema if field.name in wanted or any(check(field.type) for check in numbers)]


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()
