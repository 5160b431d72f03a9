"""Crystals in and out: reading, conversion, writing, plain descriptors, and bundled crystals and models."""

from matgl_fill.structures.bundled import bundled_pool, pool_named
from matgl_fill.structures.convert import fully_periodic, volume_ratio
from matgl_fill.structures.descriptors import COMPOSITIONAL, describe, describe_structures
from matgl_fill.structures.elements import electronegativity, elements_of, formulas_of
from matgl_fill.structures.geometry import rattled, rebuilt
from matgl_fill.structures.neighbours import neighbour_pairs
from matgl_fill.structures.read import read_aligned, read_each, read_frames, read_structures
from matgl_fill.structures.sets import Skipped, StructureSet, first_of, unique
from matgl_fill.structures.write import csv_text, file_names, write_cifs, write_embedding, write_structures

__all__ = [
    "COMPOSITIONAL",
    "Skipped",
    "StructureSet",
    "bundled_pool",
    "csv_text",
    "describe",
    "describe_structures",
    "electronegativity",
    "elements_of",
    "file_names",
    "first_of",
    "formulas_of",
    "fully_periodic",
    "neighbour_pairs",
    "pool_named",
    "rattled",
    "read_aligned",
    "read_each",
    "read_frames",
    "read_structures",
    "rebuilt",
    "unique",
    "volume_ratio",
    "write_cifs",
    "write_embedding",
    "write_structures",
]
