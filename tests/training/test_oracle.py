"""Oracles and their labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.calculators.espresso import Espresso, EspressoProfile
from helpers import fresh_tensornet
from matgl.ext.ase import PESCalculator
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

import matgl_fill as mf
from matgl_fill.errors import MatglFillWarning, OracleError
from matgl_fill.structures import bundled
from matgl_fill.training import elemental_shifts, label, resolve

LABELS = 1e-4
"""Absolute: batched oracle labels against MatGL's own ASE calculator."""


def test_potential_labels_are_those_of_matgls_calculator(crystals):
    potential = fresh_tensornet()
    labels = label(crystals, resolve(potential).source)
    for i, structure in enumerate(crystals):
        atoms = AseAtomsAdaptor.get_atoms(structure)
        atoms.calc = PESCalculator(potential, stress_unit="eV/A3")
        assert labels.energy[i] == pytest.approx(atoms.get_potential_energy(), abs=LABELS)
        np.testing.assert_allclose(labels.forces[i], atoms.get_forces(), atol=LABELS)
        np.testing.assert_allclose(labels.stress[i], atoms.get_stress(voigt=False), atol=LABELS)


@pytest.mark.parametrize("unit", ["GPa", "eV/A3"])
def test_matgls_calculator_is_an_oracle_in_either_unit_of_stress(crystals, unit):
    potential = mf.load_model(bundled.POTENTIAL)
    calculator = PESCalculator(potential, stress_unit=unit)
    found, own = label(crystals, resolve(calculator).source), label(crystals, resolve(potential).source)
    np.testing.assert_allclose(found.stress, own.stress, atol=1e-6)
    assert np.abs(own.stress).max() > 1e-3


@pytest.mark.filterwarnings("ignore:No Pauling electronegativity")
def test_a_potential_gives_no_label_for_an_element_that_it_does_not_know(crystals):
    potential = mf.load_model(bundled.POTENTIAL)
    strange = Structure(Lattice.cubic(3), ["Og"], [[0, 0, 0]])
    with pytest.warns(MatglFillWarning, match="failed on Og1: element Og is unknown"):
        labels = label([crystals[0], strange, crystals[1]], resolve(potential).source)
    assert labels.usable().tolist() == [True, False, True]
    alone = label(crystals[:2], resolve(potential).source)
    np.testing.assert_allclose(labels.energy[[0, 2]], alone.energy, atol=LABELS)
    np.testing.assert_allclose(labels.forces[2], alone.forces[1], atol=LABELS)


def test_calculators_of_external_codes_are_oracles():
    profile = EspressoProfile("pw.x", ".")
    assert resolve(Espresso(profile=profile)).name == "Espresso"


def test_an_oracle_that_is_none_is_refused_before_anything_is_computed(model, monkeypatch):
    monkeypatch.setattr("matgl_fill.pipeline.prepare_pool", lambda *_: pytest.fail("the pool was embedded"))
    with pytest.raises(OracleError, match="cannot be made"):
        mf.fill_tune(model, oracle="absent_module:make")


def test_elemental_shifts_are_recovered(pool):
    rng = np.random.default_rng(0)
    elements = tuple(sorted({e.symbol for s in pool for e in s.elements}))
    true = dict(zip(elements, rng.normal(size=len(elements)), strict=True))
    difference = np.array([sum(true[e.symbol] for e in s.species) for s in pool])
    shifts, rest = elemental_shifts(pool.structures, difference, elements)
    assert rest < 0.01
    assert np.median([abs(shifts[e] - true[e]) for e in elements]) < 0.01


@pytest.mark.parametrize("oracle", [3.5, torch.nn.Linear(1, 1)])
def test_what_is_no_oracle_is_an_oracle_error(oracle):
    with pytest.raises(OracleError, match="give an ASE calculator, a MatGL Potential"):
        resolve(oracle)


def test_a_name_that_no_oracle_has_is_an_oracle_error(tmp_path):
    with pytest.raises(OracleError, match="neither the name of a calculator nor a MatGL potential"):
        resolve(str(tmp_path))
