from __future__ import annotations

import matgl
import numpy as np
import pytest
import torch
from matgl.ext.ase import PESCalculator
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

import matgl_fill as mf
from matgl_fill.adapters import make_savable, predict
from matgl_fill.adapters.gate import INNER, fall
from tests.helpers import DGL, FRESH, load, salt, with_noise

pytestmark = pytest.mark.skipif(DGL, reason="a potential learns from labels on PyG")
POTENTIALS = [name for name in FRESH if name.endswith("potential")] + ["potential"]
CLASS = ("Al", "Ni")


def alloy() -> Structure:
    return Structure(Lattice.cubic(2.9), ["Ni", "Al"], [[0, 0, 0], [0.5, 0.48, 0.52]])


def interface() -> Structure:
    """Eight layers of NiAl, one atom of which is magnesium: open, half-open and shut gates in one crystal."""
    layers = alloy()
    layers.make_supercell([1, 1, 4])
    layers.replace(0, "Mg")
    rng = np.random.default_rng(0)
    return Structure(layers.lattice, layers.species, layers.frac_coords + 0.003 * rng.normal(size=(8, 3)))


@pytest.fixture(scope="module", params=POTENTIALS)
def gated(request):
    original = mf.get_adapter(mf.load_model("potential") if request.param == "potential" else load(request.param))
    tuned = with_noise(original.clone(), 0.05)
    return original, tuned, original.with_tuned_core(tuned, CLASS)


def energy(adapter, structure: Structure) -> float:
    return float(adapter.embed_graphs([adapter.graph(structure)])[1][0])


def test_the_gate_is_open_within_the_class_and_shut_elsewhere_to_the_bit(gated):
    original, tuned, both = gated
    assert energy(both, alloy()) == energy(tuned, alloy()) != energy(original, alloy())
    assert energy(both, salt()) == energy(original, salt()) != energy(tuned, salt())
    assert len({energy(a, interface()) for a in (original, tuned, both)}) == 3


def test_a_batch_of_both_gives_what_single_crystals_give(gated):
    _, _, both = gated
    crystals = [alloy(), salt(), interface()]
    together = both.embed_graphs(both.graphs(crystals))[1]
    np.testing.assert_allclose(together, [energy(both, s) for s in crystals], rtol=1e-5)


def test_the_embedding_stays_the_originals(gated):
    original, _, both = gated
    for structure in (alloy(), salt(), interface()):
        found, kept = (a.embed_graphs([a.graph(structure)])[0] for a in (both, original))
        np.testing.assert_allclose(found, kept, rtol=1e-5, atol=1e-6)


def test_two_copies_of_an_interface_have_twice_its_energy(gated):
    _, _, both = gated
    twice = interface()
    twice.make_supercell([2, 1, 1])
    assert energy(both, twice) == pytest.approx(2 * energy(both, interface()), rel=1e-5)


def test_forces_and_stress_of_an_interface_are_gradients(gated):
    _, _, both = gated
    structure, h = interface(), 0.02
    found = predict(both, [both.graph(structure)])
    scale = float(max(np.abs(found.forces[0]).max(), 1e-3))
    for axis in range(3):
        ends = []
        for sign in (1, -1):
            moved = structure.copy()
            moved.translate_sites([1], np.eye(3)[axis] * sign * h, frac_coords=False)
            ends.append(energy(both, moved))
        assert found.forces[0][1, axis] == pytest.approx((ends[1] - ends[0]) / (2 * h), abs=0.05 * scale)


def test_it_is_saved_and_loaded_by_plain_matgl(gated, tmp_path):
    _, _, both = gated
    make_savable(both.model)
    both.model.save(tmp_path)
    for again in (mf.load_model(tmp_path), matgl.load_model(tmp_path)):
        found = mf.get_adapter(again)
        assert found.tuned_elements == CLASS
        assert energy(found, interface()) == energy(both, interface())


def test_matgls_calculator_gives_the_adapters_forces(gated):
    _, _, both = gated
    atoms = AseAtomsAdaptor.get_atoms(interface())
    atoms.calc = PESCalculator(both.model, stress_unit="eV/A3")
    found = predict(both, [both.graph(interface())])
    np.testing.assert_allclose(atoms.get_forces(), found.forces[0], atol=1e-4 * np.abs(found.forces[0]).max() + 1e-6)


def test_the_gate_falls_smoothly():
    x = torch.linspace(0, 1.2, 2401, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(fall(x).sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    assert torch.all(fall(x)[x <= INNER] == 1)
    assert torch.all(fall(x)[x >= 1] == 0)
    assert bend.diff().abs().max() < 0.5  # no step in the second derivative, which goes from -23 to 23
