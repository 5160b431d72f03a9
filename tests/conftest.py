from __future__ import annotations

import csv
import sys
import warnings
from pathlib import Path

import pytest

import matgl_fill as mf
from matgl_fill import bundled, cli
from matgl_fill.adapters.backend import backend
from matgl_fill.testing import low_symmetry_crystals
from matgl_fill.train import checkpoint as checkpoint_module
from matgl_fill.train import fit

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


PAIRS = ("0_1", "0_2", "0_3", "1_2", "1_3", "2_3")
"""Published two-dimensional landscapes of shared/, by their latent dimensions."""


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_here(monkeypatch, capsys, *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line in this process."""
    monkeypatch.setattr(sys, "argv", ["matgl-fill", *map(str, words)])
    with warnings.catch_warnings(), pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0), *capsys.readouterr()


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


@pytest.fixture(scope="session")
def adapter(model):
    return mf.get_adapter(model)


@pytest.fixture
def stop_after(monkeypatch):
    """Trains until a step has been saved, every step being saved, and no further."""
    monkeypatch.setattr(checkpoint_module, "SAVE_SECONDS", 0.0)

    def stop(steps, parts, path, *more):
        class Interrupted(checkpoint_module.TrainingCheckpoint):
            def save(self, state):
                super().save(state)
                if state["step"] == steps:
                    raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("matgl_fill.train.module.TrainingCheckpoint", Interrupted)
            with pytest.raises(KeyboardInterrupt):
                fit(*parts, path, *more)

    return stop
