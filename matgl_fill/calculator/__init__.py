"""MatGL potentials in ASE that know where they are on unknown ground, and learn there."""

from __future__ import annotations

from matgl_fill.calculator.pes import FillCalculator
from matgl_fill.calculator.reference import LatentReference
from matgl_fill.calculator.watch import Watcher

__all__ = ["FillCalculator", "LatentReference", "Watcher"]
