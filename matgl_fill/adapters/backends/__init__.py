"""The graph library that MatGL runs on here."""

from __future__ import annotations

from types import ModuleType

import matgl


def _choose() -> ModuleType:
    """DGL where matgl 2.2.1 is to use it (``MATGL_BACKEND=DGL``), else PyG."""
    if getattr(matgl.config, "BACKEND", "PYG") == "DGL":
        from matgl_fill.adapters.backends import dgl

        return dgl
    from matgl_fill.adapters.backends import pyg

    return pyg


backend = _choose()
