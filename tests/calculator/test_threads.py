"""One model in several threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from ase.build import bulk
from helpers import DGL, load

import matgl_fill as mf

THREADS, ROUNDS = 4, 8
PROPERTIES = ("energy", "forces", "stress", "novelty", "roughness", "novelty_per_atom")
MODELS = ["fresh M3GNet potential"] if DGL else ["potential", "fresh CHGNet potential"]


def crystals():
    """A different crystal for every thread."""
    found = [bulk("NaCl", "rocksalt", a=5.6 + 0.05 * k, cubic=True) for k in range(THREADS)]
    for k, atoms in enumerate(found):
        atoms.rattle(0.1, seed=k)
    return found


@pytest.fixture(scope="module", params=MODELS)
def potential(request):
    return mf.load_model("potential") if request.param == "potential" else load(request.param)


@pytest.fixture(scope="module")
def pool(potential):
    return mf.structures.bundled_pool(potential.model.element_types).subset(range(40))


def values(calc, atoms):
    return [np.array(calc.get_property(name, atoms)) for name in PROPERTIES]


def in_threads(job, items):
    """Results of a job that all threads begin together."""
    with ThreadPoolExecutor(THREADS) as executor:
        return list(executor.map(job, items))


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_a_calculator_in_every_thread_on_one_potential(potential, pool):
    modules = {
        name: (m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in potential.named_modules()
    }
    calcs = [mf.FillCalculator(potential, pool=pool, stress_unit="eV/A3") for _ in range(THREADS)]
    expected = [values(calcs[0], atoms) for atoms in crystals()]
    for calc in calcs[1:]:
        calc.reference = calcs[0].reference

    def job(k):
        out = []
        for turn in range(ROUNDS):
            atoms = crystals()[(k + turn) % THREADS]
            out.append(((k + turn) % THREADS, values(calcs[k], atoms)))
        return out

    for part in in_threads(job, range(THREADS)):
        same([found for _, found in part], [expected[i] for i, _ in part])
    after = {
        name: (m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in potential.named_modules()
    }
    assert after == modules


def test_one_calculator_in_every_thread(potential, pool):
    calc = mf.FillCalculator(potential, pool=pool, stress_unit="eV/A3")
    watcher = calc.watch(novelty=1e-6, per_atom=None, spacing=0.0)
    expected = [values(calc, atoms) for atoms in crystals()]

    def job(k):
        watcher(crystals()[k])
        return [values(calc, crystals()[k]) for _ in range(ROUNDS)]

    for k, found in enumerate(in_threads(job, range(THREADS))):
        same(found, [expected[k]] * ROUNDS)
    kept = sorted(frame.info["novelty"] for frame in watcher.frames)
    np.testing.assert_allclose(kept, sorted(float(e[3]) for e in expected), rtol=1e-6)


def test_one_model_is_embedded_and_called_in_every_thread(potential, pool):
    potential.train()
    adapter, parts = mf.get_adapter(potential), [pool.structures[10 * k : 10 * k + 6] for k in range(THREADS)]
    batches = [adapter.collate(adapter.graphs(part)) for part in parts]
    modes = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()

    def job(k):
        with torch.no_grad():
            output = adapter.forward(batches[k])
        return [
            output.embedding.numpy(),
            output.prediction.numpy(),
            mf.embed(potential, parts[k]),
            mf.embed(potential, parts[k][:1]),
        ]

    expected = [job(k) for k in range(THREADS)]
    for _ in range(3):
        same(in_threads(job, range(THREADS)), expected)
    assert all(module.training for module in potential.modules())
    assert modes == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
