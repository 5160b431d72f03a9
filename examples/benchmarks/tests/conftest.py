from __future__ import annotations

from fixtures import adapter, crystals, model, pool  # noqa: F401
