"""Disks that are small, full or read-only, mounted for one process and its children alone."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000
READ_ONLY, REMOUNT, RECURSIVE, PRIVATE = 1, 32, 16384, 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(done: int) -> None:
    if done != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def own_mounts() -> None:
    """Give this process mounts of its own; without the right to, in a name space in which it has it.

    Raises:
        OSError: The system allows neither.
    """
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(NEW_MOUNTS) != 0:
        _checked(_libc.unshare(NEW_MOUNTS | NEW_USER))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _checked(_libc.mount(b"none", b"/", None, RECURSIVE | PRIVATE, None))


def small_disk(folder: Path, kilobytes: int) -> None:
    """Mount an empty disk of a size on a folder, which is made."""
    folder.mkdir(exist_ok=True)
    _checked(_libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={kilobytes}k".encode()))


def change_disk(folder: Path, kilobytes: int, read_only: bool = False) -> None:
    """Give the disk of a folder another size, or let it be read-only."""
    flags = REMOUNT | (READ_ONLY if read_only else 0)
    _checked(_libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", flags, f"size={kilobytes}k".encode()))


def mounts_allowed() -> bool:
    """Whether processes may have mounts of their own here, as tried in a process that ends then."""
    if pid := os.fork():
        return os.waitpid(pid, 0)[1] == 0
    code = 1
    try:
        own_mounts()
        code = 0
    except OSError:
        pass
    finally:
        os._exit(code)


def limit_files(kilobytes: int) -> None:
    """Let no file of this process grow beyond a size: writing fails with EFBIG, as it would with ENOSPC."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))
