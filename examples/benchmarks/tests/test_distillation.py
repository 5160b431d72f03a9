"""Distilled potentials, of architectures that no pretrained model is at hand of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import DGL
from typer.testing import CliRunner

import matgl_fill as mf
from examples.benchmarks.__main__ import app
from examples.benchmarks.potentials.distillation import Distillation, LabelledSet, distil, fresh, labelled_set
from matgl_fill.errors import InputError
from matgl_fill.structures import bundled
from matgl_fill.training import label

pytestmark = pytest.mark.skipif(DGL, reason="the bundled potential is for PyG")


@pytest.fixture(scope="module")
def reference():
    return mf.get_adapter(mf.load_model(bundled.POTENTIAL))


@pytest.fixture(scope="module")
def data(reference, pool):
    return labelled_set(reference, pool.structures, 4, seed=0)


def test_a_crystal_and_its_augmentation_train_or_test_together(data):
    formulas = [s.reduced_formula for s in data.structures]
    tested = {formulas[i] for i in data.test}
    trained = {f for i, f in enumerate(formulas) if i not in set(data.test)}
    assert tested
    assert not tested & trained
    assert len(data.structures) == len(data.labels.energy) == len(data.labels.forces)


def test_a_pool_that_the_reference_does_not_know_is_refused(reference, pool):
    with pytest.raises(InputError, match="at most 1 atoms"):
        labelled_set(reference, [s for s in pool.structures if len(s) > 1], 1, seed=0)


def test_a_potential_learns_its_labels_and_repeats_to_the_bit(data, reference):
    rows = list(range(36))
    few = LabelledSet([data.structures[i] for i in rows], data.labels.subset(rows), test=[34, 35])
    distilled = [fresh("CHGNet", reference.element_types, few, seed=0) for _ in range(2)]

    def error():
        forces = label(few.structures[:34], distilled[0]).forces
        return np.mean([np.abs(f - labelled).mean() for f, labelled in zip(forces, few.labels.forces, strict=False)])

    untrained = error()
    errors = [distil(adapter, few, epochs=20, seed=0) for adapter in distilled]
    assert errors[0] == errors[1]
    assert error() < 0.5 * untrained
    for mine, other in zip(distilled[0].model.parameters(), distilled[1].model.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_an_interrupted_distillation_goes_on_to_the_same_bits(data, reference, tmp_path, monkeypatch):
    rows = list(range(36))
    few = LabelledSet([data.structures[i] for i in rows], data.labels.subset(rows), test=[34, 35])
    whole, killed, later = (fresh("CHGNet", reference.element_types, few, seed=0) for _ in range(3))
    errors = distil(whole, few, epochs=4, seed=0)
    saved, step, batches = tmp_path / "state.ckpt", Distillation.step, []

    def die(self, batch):
        batches.append(batch)
        if len(batches) == 8:  # the second of the third epoch
            raise RuntimeError("killed")
        return step(self, batch)

    monkeypatch.setattr(Distillation, "step", die)
    with pytest.raises(RuntimeError, match="killed"):
        distil(killed, few, 4, 0, saved)
    monkeypatch.undo()
    assert torch.load(saved, weights_only=True)["epoch"] == 1
    assert distil(later, few, 4, 0, saved) == errors
    for mine, other in zip(whole.model.parameters(), later.model.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("architecture", ["CHGNet", "QET", "SO3Net", "TensorNet"])
def test_the_command_saves_a_potential_with_the_error_that_it_prints(architecture, tmp_path, data):
    where = tmp_path / "distilled"
    words = ["distil", architecture, "potential", "default", "-o", str(where), "--epochs", "1", "--max-atoms", "4"]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    assert f"{len(data.structures)} crystals, {len(data.test)} of them to test" in found.output
    assert sorted(p.name for p in where.iterdir()) == ["model.json", "model.pt", "state.pt"]
    adapter = mf.get_adapter(mf.load_model(where))
    crystals = [data.structures[i] for i in data.test]
    atoms = np.array([len(s) for s in crystals])
    energy = adapter.embed_graphs(adapter.graphs(crystals))[1]
    error = np.abs((energy - data.labels.energy[data.test]) / atoms).mean()
    assert f"{1000 * error:.0f} meV/atom" in found.output
