"""The guard, which hands over a tuned model only if it keeps what the original could do."""

from __future__ import annotations

from matgl_fill.guard.guard import Check, Guard, Verdict, significant_loss

__all__ = ["Check", "Guard", "Verdict", "significant_loss"]
