"""Package versions and machine with which a result was made."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matgl
import torch

USUAL_MEMORY = 16 * 2**30
"""Memory in bytes that is assumed where the system does not tell it (Windows)."""
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
PACKAGES = ("matgl", "torch", "pymatgen-core", "ase", "numpy", "scikit-learn")


def package_facts() -> dict[str, str]:
    """Version of the package and MatGL's backend, for ``model.json``; the direction of messages depends on both."""
    return {"version": version("matgl_fill"), "backend": getattr(matgl.config, "BACKEND", "PYG")}


def memory_bytes(device: torch.device) -> int:
    """Memory of an accelerator, of this machine, or of the container if that may use less."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else USUAL_MEMORY]
    if CONTAINER_LIMIT.is_file() and (limit := CONTAINER_LIMIT.read_text().strip()).isdigit():
        sizes.append(int(limit))
    return min(sizes)


def machine_facts() -> dict[str, Any]:
    """Versions of the packages that shape a result, and the machine."""
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}"
    return {"versions": {p: version(p) for p in PACKAGES}, "machine": machine}
