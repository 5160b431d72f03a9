"""Energies, forces and stresses of crystals, from an oracle or from DFT, and responses calculated from them."""

from __future__ import annotations

from matgl_fill.training.labels.keys import LabelKeys
from matgl_fill.training.labels.labelled import LabelledCrystals, read_labelled
from matgl_fill.training.labels.oracle import (
    LabelledSet,
    Labels,
    Oracle,
    Source,
    calculated,
    elemental_shifts,
    label,
    resolve,
)
from matgl_fill.training.labels.stiffness import Responses, responses

__all__ = [
    "LabelKeys",
    "LabelledCrystals",
    "LabelledSet",
    "Labels",
    "Oracle",
    "Responses",
    "Source",
    "calculated",
    "elemental_shifts",
    "label",
    "read_labelled",
    "resolve",
    "responses",
]
