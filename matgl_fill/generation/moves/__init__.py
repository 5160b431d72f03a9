"""Moves: small random changes that turn a known crystal into a new one.

Every move is called with a structure and a random generator. It leaves the structure as it is and returns the changed
copy with a record in words, or None where it does not apply.
"""

from matgl_fill.generation.moves.base import Chain, Move, radius
from matgl_fill.generation.moves.cell import Gap, Strain, SymmetricStrain, Volume
from matgl_fill.generation.moves.displace import MonteCarloRattle, Rattle
from matgl_fill.generation.moves.partners import Decorate, Interpolate
from matgl_fill.generation.moves.sites import Interstitial, Supercell, Vacancy
from matgl_fill.generation.moves.species import (
    MAX_ANION_MISMATCH,
    MAX_RADIUS_MISMATCH,
    Antisite,
    Substitute,
    radius_mismatch,
    replacements,
)
from matgl_fill.generation.moves.volumes import atomic_volumes, scaled_volume

__all__ = [
    "MAX_ANION_MISMATCH",
    "MAX_RADIUS_MISMATCH",
    "Antisite",
    "Chain",
    "Decorate",
    "Gap",
    "Interpolate",
    "Interstitial",
    "MonteCarloRattle",
    "Move",
    "Rattle",
    "Strain",
    "Substitute",
    "Supercell",
    "SymmetricStrain",
    "Vacancy",
    "Volume",
    "atomic_volumes",
    "radius",
    "radius_mismatch",
    "replacements",
    "scaled_volume",
]
