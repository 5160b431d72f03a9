"""Results do not depend on global settings of torch that another package, or the caller, has made."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from helpers import DGL, LENIENT, load

import matgl_fill as mf
from matgl_fill.structures import bundled, bundled_pool

QUICK = LENIENT | {"steps": 3}


class Mace(EMT):
    """Oracle that sets torch's default dtype, as MACE does."""

    def calculate(self, *args, **kwargs):
        torch.set_default_dtype(torch.float64)
        super().calculate(*args, **kwargs)


@contextmanager
def dtype(of):
    torch.set_default_dtype(of)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def on_device(name):
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


def digest(*arrays) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:16]


def of_weights(model) -> str:
    state = model.state_dict()
    return digest(*(state[key].numpy() for key in sorted(state)))


def copper(n):
    frames = []
    for seed in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        frames.append(atoms)
    return frames


def model_of(name):
    return mf.load_model(bundled.MODEL) if name == "default" else load(name)


def embedded(name="default"):
    model = model_of(name)
    adapter = mf.get_adapter(model)
    pool = bundled_pool(adapter.element_types).subset(range(30))
    forces = adapter.forces(adapter.graphs(pool.structures[:3])) if adapter.is_potential else 0
    Z = mf.embed(model, pool, layers="all", descriptors=True)
    return of_weights(model), digest(Z, forces, mf.describe(pool.structures[0]))


def searched():
    model = mf.load_model(bundled.MODEL)
    pool = bundled_pool(model.element_types).subset(range(80))
    Z = mf.embed(model, pool)
    rough = mf.analyze_roughness(Z, "perturbation_sensitivity", pool, model=model)
    found = mf.propose(model, pool, rough, n=2)
    return digest(rough.local(Z.astype(float))), digest(*(p.structure.cart_coords for p in found))


def scored():
    model = mf.load_model(bundled.MODEL)
    crystals = bundled_pool(model.element_types).structures[:60]
    tasks = [{"structure": s, "volume": s.volume / len(s)} for s in crystals]
    return str(mf.evaluate(model, tasks))


def filled():
    model = mf.load_model(bundled.MODEL)
    pool = bundled_pool(model.element_types).subset(range(60))
    return of_weights(mf.fill_tune(model, pool, n=2, objective="descriptor+denoise", config=QUICK).model)


def simulated():
    potential = mf.load_model(bundled.POTENTIAL)
    pool = bundled_pool(potential.model.element_types).subset(range(60))
    calc, atoms = mf.FillCalculator(potential, pool=pool, stress_unit="eV/A3"), copper(9)[8]

    def results():
        return [calc.get_property(name, atoms) for name in ("energy", "forces", "stress", "novelty_per_atom")]

    before = digest(*results())
    assert calc.fill(Mace(), copper(5), config=LENIENT).accepted
    return before, of_weights(calc.potential), digest(*results())


CALLS = [embedded, searched, scored, filled] + ([] if DGL else [simulated])


@pytest.mark.parametrize("call", CALLS)
def test_the_default_dtype_makes_no_difference(call):
    """The same bits where float64 is the default, which is left as it was; an oracle sets it during the run too."""
    expected = call()
    assert torch.get_default_dtype() == torch.float32
    with dtype(torch.float64):
        assert call() == expected
        assert torch.get_default_dtype() == torch.float64


@pytest.mark.parametrize("name", ["fresh M3GNet potential", "fresh CHGNet potential", "fresh SO3Net potential"])
def test_the_default_dtype_makes_no_difference_to_any_architecture(name):
    model = load(name)
    adapter = mf.get_adapter(model)
    structures = bundled_pool(adapter.element_types).structures[:3]

    def values():
        graphs = adapter.graphs(structures)
        return digest(*adapter.embed_graphs(graphs), adapter.forces(graphs), mf.embed(model, structures, layers="all"))

    expected = values()
    with dtype(torch.float64):
        assert values() == expected


@pytest.mark.parametrize(
    ("call", "mode"),
    [
        (embedded, torch.inference_mode),
        (embedded, lambda: on_device("meta")),
        (searched, torch.no_grad),
        (filled, torch.inference_mode),
    ],
)
def test_modes_of_the_caller_make_no_difference(call, mode):
    expected = call()
    with mode():
        assert call() == expected


def test_a_double_model_is_embedded():
    model = mf.load_model(bundled.MODEL)
    pool = bundled_pool(model.element_types).structures[:5]
    Z = mf.embed(model, pool)
    np.testing.assert_allclose(mf.embed(model.double(), pool), Z, atol=1e-4)
