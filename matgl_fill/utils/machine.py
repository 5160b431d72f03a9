"""Package versions and machine with which a result was made."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import matgl
import torch

PACKAGES = ("matgl", "torch", "pymatgen-core", "ase", "numpy", "scikit-learn")


def package_facts() -> dict[str, str]:
    """Version of the package and MatGL's backend, for ``model.json``; the direction of messages depends on both."""
    return {"version": version("matgl_fill"), "backend": getattr(matgl.config, "BACKEND", "PYG")}


def machine_facts() -> dict[str, Any]:
    """Versions of the packages that shape a result, and the machine."""
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}"
    return {"versions": {p: version(p) for p in PACKAGES}, "machine": machine}
