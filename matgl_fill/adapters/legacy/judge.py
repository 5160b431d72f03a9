"""Which reading of a file's weights is right, by what the model predicts, where the file does not say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase.collections import g2
from pymatgen.core import Lattice, Structure
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from matgl_fill.adapters.base import Adapter
from matgl_fill.adapters.registry import get_adapter
from matgl_fill.errors import InputError
from matgl_fill.structures import describe_structures
from matgl_fill.structures.bundled import bundled_pool

AT_REST, SAMPLE = (20, 60), (150, 200)
"""Least and largest number of structures on which potentials are judged, and other models."""
FORCE_GAIN = 2.0
"""A reading of a potential is right if every other one has at least this times its mean force on structures at rest.

2.3 to 20 for published potentials, at most 1.8 for random weights.
"""
VARIANCE_GAIN = 1.08
"""A reading of another model is right if every other one has at least this times its unexplained variance.

1.1 to 1.6 for trained models, at most 1.03 for random weights; on fewer crystals these reach 1.3.
"""
BOX = 30.0
"""Edge of the cell (Angstrom) in which a molecule stands alone."""


def the_right_one(models: Sequence[nn.Module]) -> int | None:
    """Index of the model whose predictions make sense; None if they do not tell.

    Potentials should have small forces on structures that are at rest. Of other models composition and structure
    should explain the predictions, by cross-validated ridge regression on plain descriptors. The structures are the
    bundled crystals, which are relaxed, or relaxed molecules (ASE's set G2) if the model knows too few of their
    elements.

    Args:
        models: Readings of the same weights.
    """
    adapters = [get_adapter(model) for model in models]
    first = adapters[0]
    least, most = AT_REST if first.is_potential else SAMPLE
    structures = structures_at_rest(first.element_types)[:most]
    if len(structures) < least:
        return None
    fault: Callable[[Adapter, Sequence[Structure]], float] = mean_force if first.is_potential else unexplained_variance
    faults = np.array([fault(adapter, structures) for adapter in adapters])
    best = int(faults.argmin())
    others = np.delete(faults, best)
    gain = FORCE_GAIN if first.is_potential else VARIANCE_GAIN
    return best if np.isfinite(faults).all() and (others > gain * faults[best]).all() else None


def structures_at_rest(element_types: Sequence[str]) -> list[Structure]:
    """Relaxed crystals, or molecules in a box if there are too few crystals, that hold only ``element_types``."""
    try:
        crystals = bundled_pool(element_types).structures
    except InputError:
        crystals = []
    return crystals if len(crystals) >= AT_REST[0] else molecules(element_types)


def molecules(element_types: Sequence[str]) -> list[Structure]:
    """Molecules of ASE's set G2 of at least two atoms that hold only ``element_types``, each in a box."""
    known, cell = set(element_types), Lattice.cubic(BOX)
    found = [g2[name] for name in g2.names]
    return [
        Structure(cell, atoms.get_chemical_symbols(), atoms.positions + BOX / 2, coords_are_cartesian=True)
        for atoms in found
        if len(atoms) > 1 and set(atoms.get_chemical_symbols()) <= known
    ]


def mean_force(adapter: Adapter, structures: Sequence[Structure]) -> float:
    """Mean absolute component (eV/Angstrom) of a potential's forces."""
    return float(np.abs(adapter.forces(adapter.graphs(structures))).mean())


def unexplained_variance(adapter: Adapter, structures: Sequence[Structure]) -> float:
    """Share of the variance of a model's predictions that plain descriptors do not explain."""
    D, y = describe_structures(structures), adapter.embed_graphs(adapter.graphs(structures))[1]
    ridge = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-2, 5, 15)))
    predicted = cross_val_predict(ridge, D, y, cv=KFold(5, shuffle=True, random_state=0))
    return float(((predicted - y) ** 2).sum() / max(((y - y.mean()) ** 2).sum(), 1e-12))
