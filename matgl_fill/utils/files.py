"""Files that are whole or not there."""

from __future__ import annotations

import io
import os
import secrets
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from matgl_fill.errors import InputError
from matgl_fill.utils.hashing import hash_state

CHECKSUM = "sha256"
"""Name of the checksum among the arrays of a file."""


def atomic_write(path: Path, text_or_bytes: str | bytes) -> None:
    """Write a whole file or nothing.

    The content goes to a temporary file in the same folder, which is synced and then takes the file's name.

    Args:
        path: File to write or replace; its folder is made if missing.
        text_or_bytes: Whole content; text is encoded as UTF-8.

    Raises:
        OSError: The folder or file cannot be written; an older file is then still whole.
    """
    data = text_or_bytes.encode() if isinstance(text_or_bytes, str) else text_or_bytes
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: str | Path) -> None:
    """Refuse a folder that can be neither made nor written to, before anything is computed for it.

    Raises:
        InputError: It cannot.
    """
    path = Path(folder).absolute()
    try:
        there = next(p for p in (path, *path.parents) if p.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(f"cannot write to '{folder}': {error.strerror}; give another place.") from error


def check_unused(folder: str | Path, names: Iterable[str]) -> None:
    """Refuse a folder that holds what would be replaced.

    Args:
        folder: Folder to write to.
        names: Names of the files and folders that will be written into it.

    Raises:
        InputError: It holds one of them.
    """
    there = [name for name in names if (Path(folder) / name).exists()]
    if there:
        raise InputError(
            f"'{folder}' holds {', '.join(there)} already, and nothing is replaced unasked; give another folder, or "
            "overwrite=True (--overwrite on the command line) to replace them."
        )


def atomic_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Write files of a folder that belong together.

    They are written into a temporary folder inside it and then moved out all at once.

    Args:
        path: Folder of the files, made if missing. Its other files stay.
        write: Function that makes the folder it is given and writes the files into it.

    Raises:
        OSError: The files cannot be written; older ones are then still whole. A process that dies in the moment
            between the older and the new ones leaves files missing, never some of each.
    """
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=path) as temporary:
        made = Path(temporary) / "files"
        try:
            write(made)
        except RuntimeError as error:  # which PyTorch raises where a file cannot be written
            raise OSError(f"cannot write the files of '{path}': {error}".splitlines()[0]) from error
        files = sorted(made.iterdir())
        for file in files:
            with file.open("rb") as written:
                os.fsync(written.fileno())
        for file in files:
            (path / file.name).unlink(missing_ok=True)
        for file in files:
            file.replace(path / file.name)


def write_arrays(path: str | Path, arrays: Mapping[str, object]) -> None:
    """Write named arrays, numbers or texts as a compressed ``.npz`` file with a checksum, whole or not at all.

    The suffix ``.npz`` is appended where the name has another or none.
    """
    data = io.BytesIO()
    plain = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(data, **plain, **{CHECKSUM: np.array(_checksum(plain))})  # type: ignore[arg-type]
    atomic_write(_npz(path), data.getvalue())


def read_arrays(path: str | Path, what: str, names: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Read all or the named arrays of an ``.npz`` file that :func:`write_arrays` wrote.

    Raises:
        InputError: There is no such file, it is damaged, or it lacks one of them; ``what`` says what it should be.
    """
    path = _npz(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        checksum = arrays.pop(CHECKSUM, None)  # files of version 0.1.0 have none
        if checksum is not None and checksum != _checksum(arrays):
            raise ValueError("its contents do not match its checksum")
        return {name: arrays[name] for name in names or arrays}
    except Exception as error:  # a damaged archive raises errors of many kinds
        raise InputError(f"{path} is missing or not {what}: {fault(error)}; remove it or give another.") from error


def fault(error: Exception) -> str:
    """What is wrong with a file that was read by names, by the error that it raised."""
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    return hash_state({name: arrays[name] for name in sorted(arrays)})


def _npz(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix == ".npz" else path.with_name(path.name + ".npz")


def remove_others(paths: Iterable[Path], names: Collection[str]) -> None:
    """Remove the files whose names, without their suffixes, are none of the given ones."""
    for path in paths:
        if path.stem not in names:
            path.unlink()
