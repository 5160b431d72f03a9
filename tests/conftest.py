from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

import matgl_fill as mf
from matgl_fill import bundled
from matgl_fill.adapters.backend import backend

SHARED = Path(__file__).resolve().parents[2] / "shared"
DGL = backend.NAME == "DGL"
FOLDER = "models_legacy" if DGL else "models"
"""Of shared/: MatGL 4 reads the upgraded copies, MatGL 2.2.1 on DGL the checkpoints of its own time."""
PYG_MODELS = ("MEGNet-MP-2018.6.1-Eform", "MEGNet-MP-2019.4.1-BandGap-mfi", "TensorNet-MatPES-PBE-v2025.1-PES")
DGL_MODELS = (
    "MEGNet-MP-2018.6.1-Eform",
    "M3GNet-MP-2018.6.1-Eform",
    "M3GNet-MP-2021.2.8-PES",
    "M3GNet-MatPES-PBE-v2025.1-PES",
)
MODELS = DGL_MODELS if DGL else PYG_MODELS


def shared(relative: str) -> Path:
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs {path}, which only the developers' machines have")
    return path


@pytest.fixture(scope="session")
def model():
    return mf.load_model(bundled.MODEL)


@pytest.fixture(scope="session")
def pool():
    return bundled.bundled_pool(mf.load_model(bundled.MODEL).element_types)


@pytest.fixture(scope="session")
def crystals() -> list[Structure]:
    """Low-symmetry crystals, so that no invariance holds by accident."""
    rng = np.random.default_rng(0)
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    perovskite = Structure(
        Lattice.cubic(3.9),
        ["Sr", "Ti", "O", "O", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )
    silicon = Structure(Lattice([[0, 2.7, 2.7], [2.7, 0, 2.7], [2.7, 2.7, 0]]), ["Si", "Si"], [[0, 0, 0], [0.25] * 3])
    out = []
    for s in (salt, perovskite, silicon):
        strained = Structure(s.lattice.matrix @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), s.species, s.frac_coords)
        moved = strained.cart_coords + rng.normal(0, 0.05, strained.cart_coords.shape)
        out.append(Structure(strained.lattice, s.species, moved, coords_are_cartesian=True))
    return out
