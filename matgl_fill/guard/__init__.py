"""The guard: hands over a tuned model only if it kept what it knew."""

from __future__ import annotations

from matgl_fill.guard.guard import Check, Guard, Verdict, significant_loss

__all__ = ["Check", "Guard", "Verdict", "significant_loss"]
