from __future__ import annotations

from pathlib import Path

import pytest

import matgl_fill as mf
from matgl_fill import bundled
from matgl_fill.adapters.backend import backend
from matgl_fill.testing import low_symmetry_crystals

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


LONG = (
    "test_adapters", "test_examples", "test_pipeline", "test_train", "test_dgl", "test_heating",
    "test_benchmarks_potentials",
)  # fmt: skip
"""Files that start first when several processes share the suite, so that none ends alone."""


def pytest_collection_modifyitems(items):
    """Longest files first; pytest-xdist's loadfile keeps a file's tests in one process."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(scope="session")
def model():
    return mf.load_model(bundled.MODEL)


@pytest.fixture(scope="session")
def pool():
    return bundled.bundled_pool(mf.load_model(bundled.MODEL).element_types)


@pytest.fixture(scope="session")
def crystals():
    return low_symmetry_crystals()
