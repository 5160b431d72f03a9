"""What comes with the package: a small pretrained model and small crystals, made by examples/make_assets."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from matgl_fill.errors import InputError
from matgl_fill.structures.read import read_structures
from matgl_fill.structures.sets import StructureSet

ASSETS = Path(str(files("matgl_fill.structures") / "assets"))
MODEL = ASSETS / "default_model"
"""MEGNet trained on CHGNet formation energies; read it with :func:`matgl_fill.load_model`."""
POTENTIAL = ASSETS / "potential"
"""Small TensorNet potential trained on SevenNet labels of altered pool crystals, made by examples/make_assets."""
MODELS = {"default": MODEL, "potential": POTENTIAL}
"""Names of the bundled models for :func:`matgl_fill.load_model` and the command line."""
POOL = ASSETS / "crystals_pool.jsonl.gz"
"""Unlabelled crystals."""
EVALUATION = ASSETS / "crystals_eval.jsonl.gz"
"""Crystals with three downstream labels, formula-disjoint from the pool."""
TASKS = ("volume_per_atom_A3", "bulk_modulus_GPa", "max_phonon_frequency_THz")
"""The downstream labels of :data:`EVALUATION`; the model's own target is not among them."""


def bundled_pool(element_types: Sequence[str] | None = None) -> StructureSet:
    """Unlabelled crystals of the package: all of them, or those that hold only ``element_types``.

    Raises:
        InputError: No crystal is left.
    """
    pool = read_structures(POOL)
    if element_types is None:
        return pool
    covered = set(element_types)
    keep = [i for i, s in enumerate(pool.structures) if s.chemical_system_set <= covered]
    if not keep:
        raise InputError("the model knows no element of the bundled crystals; give structures of your own.")
    return pool.subset(keep)


def pool_named(source: str, element_types: Sequence[str]) -> StructureSet:
    """Crystals of a file or folder; for ``default``, the bundled ones that hold only ``element_types``.

    Raises:
        InputError: The source is refused as in :func:`matgl_fill.read_structures` or :func:`bundled_pool`.
    """
    return bundled_pool(element_types) if source == "default" else read_structures(source)
