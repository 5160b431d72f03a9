"""Any atoms that ASE can hold get the energy of the crystal that they are: slabs, molecules, atoms beside the cell."""

from __future__ import annotations

import copy
import time

import ase.calculators.calculator
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule, mx2
from ase.calculators.calculator import PropertyNotImplementedError
from helpers import DGL, shared
from hypothesis import given, settings
from hypothesis import strategies as st
from matgl.ext.ase import PESCalculator
from scipy.spatial.transform import Rotation

import matgl_fill as mf
from matgl_fill.errors import CalculationError, InputError
from matgl_fill.structures import bundled, bundled_pool, read_each

SLABS = {
    "graphene": lambda **kw: graphene(**kw),
    "MoS2": lambda **kw: mx2("MoS2", **kw),
    "Cu(111)": lambda **kw: fcc111("Cu", (1, 1, 3), **kw),
}
CLOSE = {"rtol": 0, "atol": 2e-5}


@pytest.fixture(scope="module")
def potential():
    return mf.load_model(bundled.POTENTIAL)


@pytest.fixture(scope="module")
def calc(potential):
    known = bundled_pool(mf.get_adapter(potential).element_types).subset(range(30))
    return mf.FillCalculator(potential, pool=known, stress_unit="eV/A3")


def results(atoms: Atoms, calc) -> tuple[float, np.ndarray]:
    atoms.calc = calc
    return atoms.get_potential_energy() / len(atoms), atoms.get_forces().copy()


@pytest.mark.parametrize(("name", "energy"), [("graphene", -9.144), ("MoS2", -7.226), ("Cu(111)", -3.453)])
def test_published_energies_of_slabs(name, energy):
    """Of the published TensorNet-MatPES; a free cluster of the same atoms would be 2 to 4 eV/atom higher."""
    if DGL:
        pytest.skip("the published TensorNet is for PyG")
    published = mf.load_model(shared("models/TensorNet-MatPES-PBE-v2025.1-PES"))
    pool = bundled_pool(mf.get_adapter(published).element_types).subset(range(20))
    slab = SLABS[name](vacuum=10)
    slab.pbc = [True, True, False]
    assert results(slab, mf.FillCalculator(published, pool=pool))[0] == pytest.approx(energy, abs=1e-3)


@pytest.mark.parametrize("name", SLABS)
def test_a_slab_is_periodic_along_two_axes(name, calc, potential):
    open_, bare, full = (SLABS[name](vacuum=vacuum) for vacuum in (10, None, 10))
    for atoms in (open_, bare, full):
        atoms.rattle(0.05, seed=1)
        atoms.pbc = [True, True, atoms is full]
    assert bare.cell.rank == 2
    energy, forces = results(full, calc)
    for atoms in (open_, bare):
        found = results(atoms, calc)
        assert found[0] == pytest.approx(energy, abs=2e-5)
        np.testing.assert_allclose(found[1], forces, **CLOSE)
        np.testing.assert_allclose(mf.embed(potential, [atoms]), mf.embed(potential, [full]), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(calc.embedding[0], mf.embed(potential, [atoms])[0], rtol=1e-4, atol=1e-5)
    assert atoms.calc.atoms == atoms  # what ASE compares the next call with


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), open_axis=st.integers(0, 2))
def test_a_slab_may_lie_anyhow(calc, seed, open_axis):
    rng = np.random.default_rng(seed)
    slab = fcc111("Cu", (1, 1, 3))
    slab.rattle(0.1, rng=rng)
    energy, forces = results(slab.copy(), calc)
    turn = Rotation.random(random_state=seed).as_matrix()
    roll = np.roll(np.arange(3), open_axis + 1)
    order = rng.permutation(3)
    turned = slab[order]
    turned.set_cell((slab.cell.array @ turn.T)[roll])
    turned.pbc = slab.pbc[roll]
    turned.positions = slab.positions[order] @ turn.T + rng.normal(size=3) * 5
    found = results(turned, calc)
    assert found[0] == pytest.approx(energy, abs=2e-5)
    np.testing.assert_allclose(found[1], forces[order] @ turn.T, rtol=0, atol=2e-4)


def test_a_molecule_is_no_crystal(calc, potential):
    ethanol = molecule("CH3CH2OH")
    energy, forces = results(ethanol, calc)
    matgl = results(ethanol.copy(), PESCalculator(potential, stress_unit="eV/A3"))
    assert energy == pytest.approx(matgl[0], abs=2e-5)
    np.testing.assert_allclose(forces, matgl[1], rtol=0, atol=2e-4)  # float32 in a box of 34 A
    np.testing.assert_allclose(calc.embedding[0], mf.embed(potential, [ethanol])[0], rtol=1e-4, atol=1e-5)


def test_the_stress_is_of_the_atoms_own_cell(calc):
    """The strain derivative of the energy over the volume of the cell that ASE knows; without one there is none."""
    slab = fcc111("Cu", (1, 1, 3), vacuum=2)  # too little vacuum: the calculation has more
    slab.rattle(0.05, seed=1)
    slab.calc = calc
    stress, h, energies = slab.get_stress(voigt=False), 5e-3, []
    for sign in (1, -1):
        strained = slab.copy()
        strained.set_cell(slab.cell.array * [1 + sign * h, 1, 1], scale_atoms=True)
        strained.calc = calc
        energies.append(strained.get_potential_energy())
    slope = (energies[0] - energies[1]) / (2 * h) / slab.get_volume()
    assert stress[0, 0] == pytest.approx(slope, rel=0.02)
    for bare in (fcc111("Cu", (1, 1, 3)), molecule("H2O")):
        bare.calc = calc
        with pytest.raises(PropertyNotImplementedError):
            bare.get_stress()
        assert np.isfinite(bare.get_potential_energy())


@settings(max_examples=10, deadline=None)
@given(vectors=st.lists(st.tuples(*[st.integers(-(10**6), 10**6)] * 3), min_size=16, max_size=16))
def test_whole_lattice_vectors_change_nothing(calc, potential, vectors):
    salt = bulk("NaCl", "rocksalt", a=5.69, cubic=True) * (2, 1, 1)
    salt.rattle(0.05, seed=0)
    moved = salt.copy()
    moved.positions += np.array(vectors) @ salt.cell.array
    energy, forces = results(salt, calc)
    start = time.perf_counter()
    found = results(moved, calc)
    assert time.perf_counter() - start < 5
    assert found[0] == pytest.approx(energy, abs=2e-5)
    np.testing.assert_allclose(found[1], forces, rtol=0, atol=2e-4)
    np.testing.assert_allclose(mf.embed(potential, [moved]), mf.embed(potential, [salt]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "NaN or infinite coordinates of atom 3"),
        (np.inf, "NaN or infinite coordinates of atom 3"),
        (1e18, "a coordinate of atom 3 is 1e+18, too far outside of the cell"),
    ],
)
def test_an_atom_without_a_place_is_an_error_of_ours_and_of_ases(calc, value, reason):
    salt = bulk("NaCl", "rocksalt", a=5.69, cubic=True)
    salt.calc = calc
    salt.positions[3, 1] = value
    for kind in (CalculationError, InputError, ase.calculators.calculator.CalculatorError):
        with pytest.raises(kind, match=reason.replace("+", r"\+")):
            salt.get_potential_energy()
    (skipped,) = read_each([salt])
    assert reason in skipped.reason


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (Atoms("Cu", cell=[1e-6, 1e4, 1e4], pbc=True), "the cell is too thin"),
        (Atoms("Cu", cell=[1e-3, 1e3, 1e3], pbc=True), "overlap (0.001 A apart)"),
        (Atoms("Cu2", [[0, 0, 0], [5e3] * 3], cell=[1e4] * 3, pbc=True), "5e+03 x 5e+03 x 5e+03 A"),
        (Atoms("H2", [[0, 0, 0], [1e4] * 3]), "the atoms are spread too widely"),
        (Atoms("H5000", np.random.default_rng(0).normal(size=(5000, 3)) * 0.1), "pairs of atoms within 6 A"),
        (Atoms("Cu", cell=[3, 3, 0], pbc=True), "zero-volume cell"),
        (Atoms(), "no atoms"),
    ],
    ids=range(7),
)
def test_what_would_not_end_is_refused_at_once(calc, atoms, reason):
    start = time.perf_counter()
    atoms.calc = calc
    with pytest.raises(CalculationError) as caught:
        calc.calculate(atoms)
    assert reason in str(caught.value)
    (skipped,) = read_each([atoms])
    assert reason in skipped.reason
    assert time.perf_counter() - start < 2


def test_two_atoms_at_one_place_have_no_energy(calc):
    twice = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 0]], cell=[4, 4, 4], pbc=True, calculator=calc)
    with pytest.raises(CalculationError, match=r"atoms 0 and 1 overlap \(0 A apart\)"):
        twice.get_potential_energy()


def test_a_potential_without_a_finite_energy_is_an_error(potential, calc):
    broken = mf.FillCalculator(copy.deepcopy(potential), pool=calc.pool)
    assert broken.reference
    with torch.no_grad():
        next(broken.potential.parameters()).fill_(torch.nan)
    salt = bulk("NaCl", "rocksalt", a=5.69)
    salt.calc = broken
    with pytest.raises(CalculationError, match="energy or forces of these atoms are NaN or infinite"):
        salt.get_potential_energy()
    assert broken.results == {}
