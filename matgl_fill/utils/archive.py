"""Files of ``torch.save`` that hold data only: their checksums are verified, and nothing that they name is called."""

from __future__ import annotations

import io
import pickle
import re
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import _reconstruct

SAFE_NUMPY = (
    np.ndarray,
    np.dtype,
    _reconstruct,
    bytes,  # of which NumPy makes an empty array
    *(getattr(np.dtypes, f"{t}DType") for t in ("Bool", "Float32", "Float64", "Int32", "Int64")),
)
"""Types that a file of arrays may hold besides tensors, numbers and texts."""
LOCAL_HEADER = struct.Struct("<4s5H3L2H")
"""Header before every record of a zip archive: mark, ..., lengths of its name and of its extra field."""
ENCRYPTED = 0x1
_allowlist = threading.Lock()


def read_archive(data: bytes, types: Sequence[Any] = ()) -> Any:
    """Read what ``torch.save`` wrote, after every record's checksum was verified.

    ``torch.load`` does not verify checksums, so that a flipped bit would change a weight without a word.

    Args:
        data: Whole content of the file.
        types: Types that the file may hold besides tensors, NumPy's arrays, numbers, texts and containers.

    Raises:
        ValueError: The file is damaged, of another kind, or holds anything else; the text is the reason.
    """
    _verify(data)
    try:
        with _allowed([*SAFE_NUMPY, *types]):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as err:  # a file of another kind may raise anything while it is read
        if found := re.search(r"GLOBAL ([\w.]+)", str(err)):
            raise ValueError(f"it names {found[1]}, but may hold only numbers, texts and tensors") from err
        if isinstance(err, pickle.UnpicklingError):
            raise ValueError("it holds more than numbers, texts and tensors") from err
        raise ValueError(f"it is damaged ({type(err).__name__})") from err


def record_names(data: bytes) -> set[str]:
    """Names of the records of a file that ``torch.save`` wrote, without the folder that they are in."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name.partition("/")[2] for name in archive.namelist()}


def _verify(data: bytes) -> None:
    """Compare the checksum of every record of a zip archive; the records are stored as they are, as by torch.save."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as err:
        raise ValueError("it is not whole, or torch.save of PyTorch 1.6 or newer did not write it") from err
    view = memoryview(data)
    names = {record.filename for record in records}
    if len(names) != len(records) or sum(record.file_size for record in records) > len(data):
        raise ValueError("it is damaged (its list of records is wrong)")
    for record in records:
        if record.compress_type != zipfile.ZIP_STORED or record.flag_bits & ENCRYPTED:
            raise ValueError("it is damaged, or torch.save did not write it (its records are compressed)")
        header = view[record.header_offset : record.header_offset + LOCAL_HEADER.size]
        if len(header) < LOCAL_HEADER.size:
            raise ValueError(f"it is damaged (record {record.filename})")
        mark, *_, name_length, extra_length = LOCAL_HEADER.unpack(header)
        start = record.header_offset + LOCAL_HEADER.size
        name = bytes(view[start : start + name_length])
        content = view[start + name_length + extra_length :][: record.file_size]
        if mark != b"PK\x03\x04" or name != record.orig_filename.encode() or zlib.crc32(content) != record.CRC:
            raise ValueError(f"it is damaged (the checksum of its record {record.filename} is wrong)")


@contextmanager
def _allowed(types: Sequence[Any]) -> Iterator[None]:
    """Let the restricted unpickler read ``types`` inside the block; its list is as before after it.

    PyTorch's own ``safe_globals`` also takes types off the list that had been on it before, such as MatGL's.
    """
    with _allowlist:
        before = torch.serialization.get_safe_globals()
        torch.serialization.add_safe_globals(list(types))
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)
