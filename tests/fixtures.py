"""Fixtures of several rooms; a conftest.py imports those that its tests ask for."""

from __future__ import annotations

import pytest

import matgl_fill as mf
from matgl_fill.embedding import prepare_pool
from matgl_fill.structures import bundled
from matgl_fill.testing import low_symmetry_crystals


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


@pytest.fixture(scope="session")
def prepared(adapter, pool):
    """The bundled pool with its embedding and descriptors."""
    return prepare_pool(adapter, pool)
