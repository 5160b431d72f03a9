"""What a folder of shards is made of and by, by which an interrupted call is known to be the same."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from matgl_fill.errors import InputError
from matgl_fill.structures.streams import Section
from matgl_fill.utils.files import atomic_write, fault
from matgl_fill.utils.hashing import hash_state

FILE = "manifest.json"
SUMMARY = "summary.json"
BLOCK = 256
"""Number of rows that are embedded together: the first so many of the file, the next, and so on. Batches never reach
from one block to another, so that neither shards nor workers change a bit of a row."""


@dataclass(frozen=True)
class ShardSettings:
    """What is computed, see :func:`matgl_fill.embed_shards`; bits depend on all of it but ``size``."""

    pooling: str
    layers: str
    state: int | None
    device: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """Content of ``manifest.json``.

    Attributes:
        model: Hash of the model's classes, weights and backend.
        source: Name of the file of crystals.
        source_bytes: Its size.
        version: Version of this package.
        pooling: Pooling of atoms to a crystal.
        layers: Layers that were read.
        state: Fidelity index of multi-fidelity models.
        device: Kind of device.
        size: Number of rows of a shard.
    """

    model: str
    source: str
    source_bytes: int
    version: str
    pooling: str
    layers: str
    state: int | None
    device: str
    size: int

    @property
    def key(self) -> str:
        """Hash of all of it, which every shard carries."""
        return hash_state([asdict(self), BLOCK])

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read the manifest of a folder.

        Raises:
            InputError: There is none, or it is damaged.
        """
        try:
            facts = json.loads((folder / FILE).read_text(encoding="utf-8"))
            key = facts.pop("key")
            found = cls(**{field.name: facts[field.name] for field in fields(cls)})
            if key != found.key:
                raise ValueError("its contents do not match its checksum")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"'{folder}' is no folder of shards: {FILE} is missing or damaged ({fault(error)}); give one that "
                "'matgl-fill embed' wrote."
            ) from error
        return found

    def enter(self, folder: Path) -> None:
        """Write the manifest into a new folder, or check that the one there says the same.

        Raises:
            InputError: The folder holds shards of another call.
        """
        if not (folder / FILE).exists():
            if any(folder.glob("shard-*.parquet")):
                raise InputError(f"'{folder}' holds shards but no {FILE}; give another folder.")
            atomic_write(folder / FILE, json.dumps(asdict(self) | {"key": self.key}, indent=2) + "\n")
            return
        there, here = asdict(Manifest.load(folder)), asdict(self)
        if other := [name for name in here if here[name] != there[name]]:
            told = "; ".join(f"{name} {there[name]!r} there, {here[name]!r} now" for name in other)
            raise InputError(f"'{folder}' holds the shards of another call ({told}); give another folder.")

    def done(self, path: Path, section: Section) -> ShardFacts | None:
        """What a shard says of itself if it is whole and of this section; None if it has to be made.

        Raises:
            InputError: It is of other rows: the file of crystals was changed.
        """
        facts = ShardFacts.of(path)
        if facts is None or facts.manifest != self.key:
            return None
        if facts.content != section.content:
            raise InputError(
                f"'{self.source}' was changed since {path.name} was made of its rows from {section.first} on; give "
                "another folder."
            )
        return facts


@dataclass(frozen=True)
class ShardFacts:
    """What a shard says of itself, in the metadata of its file.

    Attributes:
        manifest: Key of its manifest.
        content: Hash of the rows it was made of.
        rows: Number of rows.
        skipped: Number of rows that were left out.
    """

    manifest: str
    content: str
    rows: int
    skipped: int

    @staticmethod
    def of(path: Path) -> ShardFacts | None:
        """Facts of a file; None if it is missing or no whole shard."""
        try:
            return ShardFacts(**json.loads(pq.read_schema(path).metadata[b"matgl_fill"]))
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            return None

    def metadata(self) -> dict[str, str]:
        """Metadata of the file."""
        return {"matgl_fill": json.dumps(asdict(self))}


def shard_path(folder: Path, number: int) -> Path:
    """File of a shard."""
    return folder / f"shard-{number:06d}.parquet"
