"""MatGL potentials in ASE that recognise structures unlike the known crystals, and learn from them."""

from __future__ import annotations

from matgl_fill.calculator.pes import FillCalculator
from matgl_fill.calculator.reference import LatentReference
from matgl_fill.calculator.watch import Watcher

__all__ = ["FillCalculator", "LatentReference", "Watcher"]
