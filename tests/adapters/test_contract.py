"""Contract suite: every adapter, real weights where they are there, fresh ones otherwise."""

from __future__ import annotations

from pathlib import Path

import matgl
import numpy as np
import pytest
import torch
from helpers import DGL, FRESH, MODELS, load, shared
from matgl.models import MEGNet, TensorNet

import matgl_fill as mf
from matgl_fill.adapters import TensorNetAdapter, core_of
from matgl_fill.errors import InputError, ModelError
from matgl_fill.testing import BATCHING, AdapterContract, relative


@pytest.fixture(scope="module", params=["bundled", *FRESH, *MODELS])
def adapted(request):
    return mf.get_adapter(load(request.param))


class TestAdapters(AdapterContract):
    """The contract, inherited: every architecture, real weights where they are there, fresh ones otherwise."""


@pytest.mark.skipif(DGL, reason="the multi-fidelity model of shared/ is for PyG")
def test_fidelity_changes_the_embedding(crystals):
    model = mf.load_model(shared("models/MEGNet-MP-2019.4.1-BandGap-mfi"))
    assert relative(mf.embed(model, crystals, state=1), mf.embed(model, crystals, state=0)) > 1e-3


@pytest.mark.parametrize("name", FRESH)
def test_every_architecture_is_fill_tuned_and_reloaded(name, tmp_path, pool):
    """The whole way on every architecture: the original stays to the bit, the file gives the same embedding."""
    model = load(name)
    quick = {"steps": 2, "copies": 1, "replay_size": 20, "max_proxy_loss": 100.0}
    result = mf.fill_tune(model, pool.subset(range(40)), n=3, config=quick, out=tmp_path)
    assert result.accepted
    some = pool.subset(range(20))
    Z, Z_tuned = mf.embed(model, some), mf.embed(result.model, some)
    np.testing.assert_array_equal(Z_tuned[:, : Z.shape[1]], Z)
    assert isinstance(core_of(result.model), type(core_of(model)))
    reloaded = matgl.load_model(str(tmp_path / "model"))
    np.testing.assert_array_equal(mf.embed(reloaded, some), Z_tuned)
    assert torch.equal(core_of(reloaded).tuned_branch.bounds, core_of(result.model).tuned_branch.bounds)


@pytest.mark.parametrize("name", ["bundled", *MODELS[:2]])
def test_saved_model_is_read_by_plain_matgl(name, tmp_path, crystals):
    model = load(name)
    model.save(tmp_path)
    Z = mf.embed(matgl.load_model(str(tmp_path)), crystals)
    np.testing.assert_array_equal(Z, mf.embed(model, crystals))


def test_unknown_element_is_an_input_error(crystals):
    model = MEGNet(element_types=("Na", "Cl"))
    with pytest.raises(InputError, match="O, Sr, Ti are unknown"):
        mf.embed(model, crystals)


def test_unknown_architecture_is_a_model_error():
    with pytest.raises(ModelError, match="Linear is not a model that matgl_fill supports"):
        mf.get_adapter(torch.nn.Linear(1, 1))


@pytest.mark.parametrize("name", ["default", Path("my_model")])
def test_a_name_in_place_of_a_model_is_a_model_error(name, crystals):
    with pytest.raises(ModelError, match=rf"'{name}' is a name, not a model; give matgl_fill\.load_model\('{name}'\)"):
        mf.embed(name, crystals)


def test_missing_model_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match="no MatGL model in"):
        mf.load_model(tmp_path)


@pytest.mark.parametrize("level", ["structure", "atom"])
def test_batch_size_changes_nothing_but_speed(crystals, level):
    model = load("fresh TensorNet")
    by_budget = mf.embed(model, crystals, level, progress=True)
    assert relative(mf.embed(model, crystals, level, batch_size=2), by_budget) < BATCHING
    with pytest.raises(InputError, match="batch_size is 0"):
        mf.embed(model, crystals, level, batch_size=0)


class Mine(TensorNet):
    """Architecture of somebody else's package."""


def test_a_third_party_registers_its_adapter(crystals):
    model = Mine(units=16, num_rbf=8, is_intensive=False)
    with pytest.raises(ModelError, match="Mine is not a model that matgl_fill supports"):
        mf.get_adapter(model)

    @mf.register_adapter
    class MineAdapter(TensorNetAdapter):
        core_class = Mine

    assert isinstance(mf.get_adapter(model), MineAdapter)
    assert mf.embed(model, crystals).shape == (3, 16)
