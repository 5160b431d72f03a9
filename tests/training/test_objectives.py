from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV

import matgl_fill as mf
from matgl_fill.config.config import FillConfig
from matgl_fill.errors import InputError
from matgl_fill.generation.augment import training_augmentations
from matgl_fill.training import ReadoutObjective, objective_names, register_objective, standard_scaling
from matgl_fill.training.denoise import DRAWS, NOISE, STIFFNESS, denoising
from matgl_fill.training.registry import _MAKERS

LENIENT = {
    "steps": 60, "copies": 1, "enlarge_pool": 0, "replay_size": 60,
    "max_prediction_drift": 9.0, "max_proxy_loss": 900.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def crystals(pool):
    return [s for s in pool.structures if 3 <= len(s) <= 8][:6]


@pytest.fixture(scope="module")
def proposals(model, pool):
    return mf.propose(model, pool, n=4)


def test_denoising_is_springs_to_where_the_atoms_were(model, pool, crystals):
    adapter = mf.get_adapter(model)
    scale = standard_scaling(mf.embed(model, pool))
    term = denoising(adapter, scale, crystals, 1.0, np.random.default_rng(0))
    assert len(term.structures) == DRAWS * len(crystals)
    for k, noisy in enumerate(term.structures):
        rest = crystals[k % len(crystals)]
        moved = noisy.cart_coords - rest.cart_coords
        energy, forces, stress = term.labels.gather(torch.tensor([k]))
        np.testing.assert_allclose(forces, -STIFFNESS * moved, atol=1e-5)
        np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-4)
        assert float(energy) == pytest.approx(STIFFNESS / 2 * (moved**2).sum(), rel=1e-5)
        assert torch.isnan(stress).all()
    spread = np.concatenate(
        [(a.cart_coords - crystals[k % len(crystals)].cart_coords).ravel() for k, a in enumerate(term.structures)]
    ).std()
    assert spread == pytest.approx(NOISE, rel=0.2)


def test_denoising_is_learnt(model, pool, proposals):
    config = LENIENT | {"steps": 160, "denoise_weight": 1.0, "prediction_weight": 0.0, "lr": 3e-3}
    result = mf.fill_tune(model, pool, proposals=proposals, objective="denoise", config=config)
    losses = result.report.history["denoise"]
    assert result.report.run.objective == ["denoise"]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:2])


def test_objectives_are_summed(model, pool, proposals):
    result = mf.fill_tune(
        model, pool, proposals=proposals, objective="descriptor+denoise", config=LENIENT | {"steps": 3}
    )
    assert set(result.report.history) == {"descriptor", "denoise", "replay"}


def test_another_package_adds_one(model, pool, proposals):
    @register_objective("packing")
    def packing(context):
        new = context.training_set.crystals
        known, targets = (np.array([[s.volume / len(s)] for s in x]) for x in (context.pool.structures, new))
        return ReadoutObjective("packing", context.scale, (context.pool.Z, known), new, targets, 0.5)

    try:
        result = mf.fill_tune(
            model, pool, proposals=proposals, objective="descriptor+packing", config=LENIENT | {"steps": 3}
        )
        assert "packing" in result.report.history
        with pytest.raises(InputError, match="cannot be named 'packing'"):
            register_objective("packing")(packing)
    finally:
        del _MAKERS["packing"]


@pytest.mark.parametrize("name", ["nonsense", "descriptor+nonsense", "auto+denoise", ""])
def test_an_unknown_objective_is_refused_at_once(model, pool, name):
    with pytest.raises(InputError, match="no objective"):
        mf.fill_tune(model, pool, objective=name)
    assert {"auto", "oracle", "descriptor", "denoise"} <= set(objective_names())


@pytest.mark.parametrize("steps", [1, 5, 6])
def test_the_shortest_runs_train_too(model, pool, proposals, steps):
    result = mf.fill_tune(model, pool, proposals=proposals, config=LENIENT | {"steps": steps})
    assert len(result.report.history["descriptor"]) == steps
    assert np.isfinite(result.report.history["descriptor"]).all()


def test_the_pool_teaches_descriptors_too(model, pool, proposals):
    """A readout of the tuned copy knows more of the replayed crystals' descriptors if the pool taught."""
    Z, D = mf.embed(model, pool), mf.describe(pool)
    known = np.arange(len(pool)) % 2 == 0
    losses = {}
    for weight in (0.0, 1.0):
        config = LENIENT | {"steps": 120, "replay_batch": 16, "pool_descriptor_weight": weight}
        result = mf.fill_tune(model, pool.subset(np.flatnonzero(known)), proposals=proposals, seed=1, config=config)
        tuned = mf.embed(result.model, pool)
        assert tuned.shape[1] > Z.shape[1]
        Y = (D - D[known].mean(axis=0)) / np.maximum(D[known].std(axis=0), 1e-6)
        head = RidgeCV(np.logspace(-1, 3, 9)).fit(tuned[known], Y[known])
        losses[weight] = np.abs(head.predict(tuned[known]) - Y[known]).mean()
    assert losses[1.0] < losses[0.0], losses


def test_a_small_pool_is_made_up_by_augmentations(pool):
    made, known = pool.structures[:3], pool.structures[10:60]
    elements = tuple(sorted({e.symbol for s in pool.structures for e in s.elements}))

    def count(**changes):
        config = FillConfig.make({"copies": 4, **changes}).resolved(False, 1, 8e-3).training
        copies = training_augmentations(made, known, elements, config, np.random.default_rng(0))
        assert [len(c) for c in copies[:12]] == [len(s) for s in made] * 4
        return len(copies) - 12

    assert count() == 4 * len(known)
    assert count(enlarge_pool=150) == 2 * len(known)
    assert count(enlarge_pool=149) == len(known)
    assert count(enlarge_pool=99) == count(enlarge_pool=0) == count(form="overwrite") == 0
