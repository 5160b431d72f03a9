"""What ASE's own tools make of the calculator's results."""

from __future__ import annotations

import copy
import pickle

import ase.db
import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError, all_properties
from ase.calculators.mixing import LinearCombinationCalculator, SumCalculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory
from ase.optimize import FIRE
from helpers import lennard_jones
from matgl.apps.pes import Potential

import matgl_fill as mf

STRUCTURE, ATOMS = ("roughness", "novelty"), ("roughness_per_atom", "novelty_per_atom")


@pytest.fixture(scope="module")
def calc():
    potential = mf.load_model("potential")
    pool = mf.structures.bundled_pool(potential.model.element_types).subset(range(60))
    return mf.FillCalculator(potential, pool=pool, stress_unit="eV/A3")


@pytest.fixture
def salt(calc):
    atoms = bulk("NaCl", "rocksalt", a=5.69, cubic=True)
    atoms.rattle(0.1, seed=0)
    atoms.calc = calc
    return atoms


def test_results_are_those_that_ase_knows(salt):
    salt.get_potential_energy()
    assert set(salt.calc.results) <= set(all_properties)
    assert {np.asarray(value).dtype for value in salt.calc.results.values()} == {np.dtype(float)}
    copied = salt.copy()
    copied.calc = SinglePointCalculator(copied, **salt.calc.results)
    assert copied.get_potential_energy() == salt.get_potential_energy()
    np.testing.assert_array_equal(copied.get_forces(), salt.get_forces())
    np.testing.assert_array_equal(copied.get_stress(), salt.get_stress())
    exported = salt.calc.export_properties()
    np.testing.assert_array_equal(exported["stress"], salt.get_stress())


def test_the_other_properties_are_asked_for_and_go_with_the_atoms(salt):
    calc = salt.calc
    calc.reset()
    assert calc.get_property("novelty", salt, allow_calculation=False) is None
    values = {name: calc.get_property(name, salt) for name in (*STRUCTURE, *ATOMS)}
    copied = salt.copy()
    for name in STRUCTURE:
        assert copied.info[name] == values[name]
    for name in ATOMS:
        np.testing.assert_array_equal(copied[[3, 1]].arrays[name], values[name][[3, 1]])
    values["novelty_per_atom"][:] = 0  # a copy, as ASE's own results are
    assert calc.get_property("novelty_per_atom", salt).max() > 0
    with pytest.raises(PropertyNotImplementedError):
        calc.get_property("dipole", salt)
    with pytest.raises(PropertyNotImplementedError):
        calc.get_property("hessian", salt)  # this potential was not asked for one


def test_a_hessian_is_beside_the_results(salt):
    potential = salt.calc.potential
    options = {"element_refs": potential.element_refs.property_offset, "calc_hessian": True}
    asked = Potential(potential.model, data_std=potential.data_std, **options)
    other = mf.FillCalculator(asked, pool=salt.calc.pool, stress_unit="eV/A3")
    assert other.get_property("hessian", salt).shape == (24, 24)
    SinglePointCalculator(salt, **other.results)


def test_files_of_ase_hold_the_results(salt, tmp_path):
    FIRE(salt, trajectory=str(tmp_path / "path.traj"), logfile=None).run(steps=2)
    energy, forces = salt.get_potential_energy(), salt.get_forces()
    ase.io.write(tmp_path / "one.extxyz", salt)
    with ase.db.connect(tmp_path / "one.db") as database:
        database.write(salt)
    read = [
        ase.io.read(tmp_path / "one.extxyz"),
        Trajectory(tmp_path / "path.traj")[-1],
        ase.db.connect(tmp_path / "one.db").get_atoms(1),
    ]
    for atoms in read:
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-8)
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-7)
        np.testing.assert_allclose(atoms.get_stress(), salt.get_stress(), atol=1e-7)
    for atoms in read[:2]:
        assert atoms.info["novelty"] == pytest.approx(salt.info["novelty"], abs=1e-7)
    np.testing.assert_allclose(read[0].arrays["novelty_per_atom"], salt.arrays["novelty_per_atom"], atol=1e-7)


def test_calculators_that_add_others(salt):
    alone, other = salt.get_potential_energy(), lennard_jones()
    novelty = salt.info["novelty"]
    expected = alone + other.get_potential_energy(salt)
    salt.calc = SumCalculator([salt.calc, other])
    assert salt.get_potential_energy() == pytest.approx(expected)
    assert salt.info["novelty"] == novelty
    calc = salt.calc.mixer.calcs[0]
    salt.calc = LinearCombinationCalculator([calc, calc], [0.5, 0.5])
    assert salt.get_potential_energy() == pytest.approx(alone)


def test_copies_of_a_calculator_give_the_same(salt):
    energy = salt.get_potential_energy()
    for other in (copy.deepcopy(salt.calc), pickle.loads(pickle.dumps(salt.calc))):
        other.reset()
        assert other.get_potential_energy(salt) == energy
