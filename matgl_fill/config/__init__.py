"""The settings of a run, in code and as a file."""

from __future__ import annotations

from matgl_fill.config.config import Choice, FillConfig, GuardConfig, ResolvedConfig, ResolvedTraining
from matgl_fill.config.file import settings_toml

__all__ = ["Choice", "FillConfig", "GuardConfig", "ResolvedConfig", "ResolvedTraining", "settings_toml"]
