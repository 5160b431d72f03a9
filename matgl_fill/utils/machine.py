"""Which versions and which machine a result was made with."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import matgl
import torch

PACKAGES = ("matgl", "torch", "pymatgen-core", "ase", "numpy", "scikit-learn")


def package_facts() -> dict[str, str]:
    """What ``model.json`` says of the package that wrote it: version, and the backend, on which messages depend."""
    return {"version": version("matgl_fill"), "backend": getattr(matgl.config, "BACKEND", "PYG")}


def machine_facts() -> dict[str, Any]:
    """Versions of the packages that shape a result, and the machine."""
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, Python {platform.python_version()}"
    return {"versions": {p: version(p) for p in PACKAGES}, "machine": machine}
