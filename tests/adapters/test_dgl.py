"""The DGL backend (matgl 2.2.1): published predictions, one whole run, agreement with PyG; ``make test-dgl``."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import nullcontext

import matgl
import numpy as np
import pytest
import torch
from helpers import DGL, DGL_MODELS, PYG_MODELS, shared
from matgl.models import M3GNet
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

import matgl_fill as mf
from matgl_fill.adapters import backend
from matgl_fill.errors import ModelError
from matgl_fill.testing import relative

pytestmark = pytest.mark.skipif(not DGL, reason="needs the extra 'dgl' and MATGL_BACKEND=DGL; make test-dgl has both")
ENERGY, FORCE = 1e-5, 1e-4
"""eV/atom and eV/Angstrom: agreement with the published predictions."""
BACKENDS = 1e-5
"""Relative: embedding on DGL against the upgraded copy on PyG."""


@pytest.fixture(scope="module")
def pool():
    return mf.read_structures(shared("data/mp_pool.jsonl.gz"))


@pytest.mark.parametrize("name", DGL_MODELS)
def test_published_predictions_in_one_batch(name, pool):
    rows = json.loads(shared("reference/legacy_predictions.json").read_text())[name]
    model = mf.load_model(shared(f"models_legacy/{name}"))
    adapter = mf.get_adapter(model)
    index = {name: i for i, name in enumerate(pool.ids)}
    crystals = [pool.structures[index[r["id"]]] for r in rows]
    _, y = adapter.embed_graphs(adapter.graphs(crystals))
    for value, row, crystal in zip(y, rows, crystals, strict=True):
        per = len(crystal) if adapter.is_potential else 1
        assert value / per == pytest.approx(row.get("energy_eV", row.get("prediction")) / per, abs=ENERGY)
    if adapter.is_potential:
        from matgl.ext.ase import PESCalculator

        atoms = AseAtomsAdaptor.get_atoms(crystals[0])
        atoms.calc = PESCalculator(model, stress_unit="eV/A3")
        np.testing.assert_allclose(atoms.get_forces(), rows[0]["forces_eV_per_A"], atol=FORCE)


@pytest.mark.parametrize("cutoff", [4.0, 5.0])
def test_m3gnet_in_a_batch_is_what_matgl_makes_of_every_crystal_alone(crystals, cutoff, monkeypatch):
    """MatGL's own batch is not: its three-body terms count bonds over all of it."""
    torch.manual_seed(0)
    adapter = mf.get_adapter(M3GNet(is_intensive=False, units=16, cutoff=5.0, threebody_cutoff=cutoff))
    pair = Structure(Lattice.cubic(12), ["H", "H"], [[0, 0, 0], [0, 0, 0.07]])  # one bond an atom, no term
    alone = Structure(Lattice.cubic(12), ["He"], [[0, 0, 0]])
    graphs = adapter.graphs([crystals[0], pair, crystals[1], alone, crystals[2]])

    def energies_and_forces(batch):
        moving = batch.movable()
        energy = adapter.forward(moving).prediction
        return energy.detach(), torch.autograd.grad(energy.sum(), moving.displacement)[0]

    batch = adapter.collate(graphs)
    ours = energies_and_forces(batch)
    monkeypatch.setattr(backend, "counting_by_crystal", lambda core: nullcontext())  # MatGL's own from here on
    singles = [energies_and_forces(adapter.collate([graph])) for graph in graphs]
    for got, parts in zip(ours, zip(*singles, strict=True), strict=True):
        assert relative(got.numpy(), torch.cat(parts).numpy()) < BACKENDS
    theirs = energies_and_forces(batch)[1]
    assert relative(theirs.numpy(), ours[1].numpy()) > BACKENDS


def test_m3gnet_potential_is_fill_tuned_end_to_end(pool, tmp_path):
    model = mf.load_model(shared("models_legacy/M3GNet-MP-2021.2.8-PES"))
    tasks = mf.read_structures(shared("data/phonons_eval.jsonl.gz")).subset(range(300))  # of 80, one says -4, one +7 %
    config = {"steps": 20, "copies": 8, "batch_size": 12, "replay_batch": 8, "enlarge_pool": 0}
    result = mf.fill_tune(model, pool.subset(range(100)), n=4, config=config, tasks=tasks, out=tmp_path)
    assert result.accepted
    assert result.comparison.mean > 0
    some = pool.subset(range(30))
    Z, Z_tuned = mf.embed(model, some), mf.embed(result.model, some)
    np.testing.assert_array_equal(Z_tuned[:, : Z.shape[1]], Z)
    np.testing.assert_array_equal(mf.embed(matgl.load_model(str(tmp_path / "model")), some), Z_tuned)


def test_megnet_embeds_the_same_on_dgl_and_on_pyg(pool, tmp_path):
    python = os.environ.get("PYG_PYTHON")
    if python is None:
        pytest.skip("needs PYG_PYTHON, the interpreter of an environment with matgl 4; make test-dgl sets it")
    name = PYG_MODELS[0]
    code = (
        "import sys, numpy, matgl_fill as mf\n"
        "pool = mf.read_structures(sys.argv[2]).subset(range(40))\n"
        "numpy.save(sys.argv[3], mf.embed(mf.load_model(sys.argv[1]), pool))\n"
    )
    command = [python, "-c", code, shared(f"models/{name}"), shared("data/mp_pool.jsonl.gz"), tmp_path / "Z.npy"]
    environment = {k: v for k, v in os.environ.items() if k not in ("MATGL_BACKEND", "DGLBACKEND")}
    subprocess.run([str(c) for c in command], check=True, env=environment, capture_output=True, timeout=300)
    Z_pyg = np.load(tmp_path / "Z.npy")
    Z = mf.embed(mf.load_model(shared(f"models_legacy/{name}")), pool.subset(range(40)))
    assert np.abs(Z - Z_pyg).max() / np.abs(Z_pyg).max() < BACKENDS


def test_checkpoint_of_the_other_backend_is_a_model_error():
    with pytest.raises(ModelError, match="PyG"):
        mf.load_model(shared("models/TensorNet-MatPES-PBE-v2025.1-PES"))
