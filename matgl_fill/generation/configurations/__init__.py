"""Configurations: atoms of a potential's crystals away from their places at rest, as simulations bring them there.

Each kind is a module, with a function that makes one configuration around a crystal. How far atoms and cells go is the
rule of :mod:`~matgl_fill.generation.configurations.amplitudes`.
"""

from matgl_fill.config.config import Kind
from matgl_fill.generation.configurations.base import Configuration, Maker
from matgl_fill.generation.configurations.displacements import displaced
from matgl_fill.generation.configurations.langevin import dynamics
from matgl_fill.generation.configurations.strains import strained
from matgl_fill.generation.configurations.supercells import supercell
from matgl_fill.generation.configurations.surfaces import surface
from matgl_fill.generation.configurations.vacancies import vacancy

MAKERS: dict[Kind, Maker] = {
    "strained": strained,
    "supercell": supercell,
    "vacancy": vacancy,
    "surface": surface,
    "dynamics": dynamics,
    "displaced": displaced,
}
"""The maker of each kind. Displaced crystals come last: they stand in for those of other kinds that cannot be made."""

__all__ = ["MAKERS", "Configuration", "Maker"]
