"""Roughness of a latent space: how rough it is, where, and which barriers make it so.

Most of the room takes numbers and gives numbers. Only :mod:`~matgl_fill.roughness.responses`, which makes the response
of crystals, and :mod:`~matgl_fill.roughness.report`, which analyses a pool for the command line, deal with models and
structures.
"""

from matgl_fill.roughness.analysis import analyze_roughness, graph_roughness, landscape_roughness
from matgl_fill.roughness.landscape.explore import landscape_network
from matgl_fill.roughness.local import LocalRoughness
from matgl_fill.roughness.network import LENGTHSCALE, StationaryNetwork, persistence
from matgl_fill.roughness.result import RoughnessResult

__all__ = [
    "LENGTHSCALE",
    "LocalRoughness",
    "RoughnessResult",
    "StationaryNetwork",
    "analyze_roughness",
    "graph_roughness",
    "landscape_network",
    "landscape_roughness",
    "persistence",
]
