from __future__ import annotations

import pytest
from fixtures import adapter, crystals, model, pool, prepared  # noqa: F401

from matgl_fill.training import fit, module
from matgl_fill.utils.checkpoint import Checkpoint

LONG = (
    "test_contract", "test_examples", "test_pipeline", "test_training", "test_dgl", "test_heating",
    "test_potentials",
)  # fmt: skip
"""Files that start first when several processes share the suite, so that none ends alone."""


def pytest_collection_modifyitems(items):
    """Longest files first; pytest-xdist's loadfile keeps a file's tests in one process."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture
def stop_after(monkeypatch):
    """Trains until a step has been saved, every step being saved, and no further."""
    monkeypatch.setattr(module, "SAVE_SECONDS", 0.0)

    def stop(steps, parts, path, *more):
        class Interrupted(Checkpoint):
            def save(self, state):
                super().save(state)
                if state["step"] == steps:
                    raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("matgl_fill.training.module.Checkpoint", Interrupted)
            with pytest.raises(KeyboardInterrupt):
                fit(*parts, path, *more)

    return stop
