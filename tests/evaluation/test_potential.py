"""Errors of a potential on labelled crystals, and the comparison of two potentials."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from helpers import with_noise
from matgl.ext.ase import PESCalculator
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

import matgl_fill as mf
from matgl_fill.adapters import predict
from matgl_fill.errors import InputError, ModelError
from matgl_fill.evaluation import compare_errors, potential_errors
from matgl_fill.evaluation.intervals import ratio_interval
from matgl_fill.evaluation.potential import LARGE_FORCE, UNITS
from matgl_fill.structures import bundled, rattled

ROUNDING = 2e-5
"""Two passes of float32 over other batches."""


@dataclass
class Labels:
    energy: np.ndarray
    forces: list[np.ndarray]
    stress: np.ndarray


@pytest.fixture(scope="module")
def potential():
    return mf.load_model(bundled.POTENTIAL)


@pytest.fixture(scope="module")
def moved(pool):
    """Ten crystals of at most eight atoms, the last five displaced by 0.1 A."""
    small = [s for s in pool.structures if len(s) <= 8][:10]
    return [s if k < 5 else rattled(s, 0.1, 0.1, np.random.default_rng(k))[0] for k, s in enumerate(small)]


@pytest.fixture(scope="module")
def own(potential, moved):
    """The labels that the potential itself gives."""
    adapter = mf.get_adapter(potential)
    found = predict(adapter, adapter.graphs(moved))
    return Labels(found.energy, found.forces, found.stress)


def test_predictions_are_those_of_matgls_calculator(potential, moved, own):
    for k in (0, 7):
        atoms = AseAtomsAdaptor.get_atoms(moved[k])
        atoms.calc = PESCalculator(potential, stress_unit="eV/A3")
        assert own.energy[k] == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
        np.testing.assert_allclose(own.forces[k], atoms.get_forces(), atol=1e-4)
        np.testing.assert_allclose(own.stress[k], atoms.get_stress(voigt=False), atol=1e-4)


def test_a_property_model_has_no_forces(adapter, moved):
    with pytest.raises(ModelError, match="is a property model and has no forces"):
        predict(adapter, adapter.graphs(moved))


def test_a_potential_is_right_on_its_own_labels(potential, moved, own):
    errors = potential_errors(potential, moved, own)
    assert all(errors.mae(measure) < ROUNDING for measure in UNITS if errors.sums(measure)[1].any())
    assert errors.softening_slope == pytest.approx(1, abs=1e-4)
    assert len(errors) == 10
    assert errors.skipped == []


def test_each_measure_is_the_mean_error_of_its_own_labels(potential, moved, own):
    rng = np.random.default_rng(0)
    off = Labels(
        own.energy + rng.normal(size=10),
        [f + rng.normal(scale=0.6, size=f.shape) for f in own.forces],
        own.stress + rng.normal(scale=0.02, size=(10, 3, 3)),
    )
    rest = np.arange(10) < 5
    errors = potential_errors(potential, moved, off, at_rest=rest)
    difference = [np.abs(a - b) for a, b in zip(off.forces, own.forces, strict=True)]
    large = [np.linalg.norm(f, axis=1) >= LARGE_FORCE for f in off.forces]
    expected = {
        "energy": np.mean([abs(a - b) / len(s) for a, b, s in zip(off.energy, own.energy, moved, strict=True)]),
        "forces": np.concatenate(difference).mean(),
        "large forces": np.concatenate([d[keep] for d, keep in zip(difference, large, strict=True)]).mean(),
        "forces at rest": np.concatenate(difference[:5]).mean(),
        "stress": np.abs(off.stress - own.stress).mean(),
    }
    assert {m: errors.mae(m) for m in UNITS} == pytest.approx(expected, abs=ROUNDING)
    np.testing.assert_allclose(errors.crystal_errors("forces"), [d.mean() for d in difference], atol=ROUNDING)
    assert np.isnan(errors.crystal_errors("forces at rest")[5:]).all()


def test_a_potential_whose_forces_are_too_small_has_a_slope_below_one(potential, moved, own):
    stiffer = replace(own, forces=[f / 0.8 for f in own.forces])
    assert potential_errors(potential, moved, stiffer).softening_slope == pytest.approx(0.8, abs=1e-4)


def test_labels_that_are_not_there_are_left_out(potential, moved, own):
    energy, stress = own.energy + 1.0, own.stress.copy()
    stress[0, 2, :], stress[1:] = np.nan, np.nan  # a slab's open axis
    forces = [np.full_like(f, np.nan) for f in own.forces]
    errors = potential_errors(potential, moved, Labels(energy, forces, stress))
    assert errors.sums("stress")[1].tolist() == [6] + [0] * 9
    assert errors.mae("energy") == pytest.approx(np.mean([1 / len(s) for s in moved]), abs=ROUNDING)
    assert np.isnan(errors.mae("forces"))
    assert np.isnan(errors.softening_slope)
    assert [c.measure for c in compare_errors(errors, errors).changes] == ["energy", "stress"]


def test_elemental_shifts_bring_the_potential_to_the_labels_level(potential, moved, own):
    shifts = {e: 0.1 * k for k, e in enumerate(mf.get_adapter(potential).element_types)}
    far = replace(own, energy=own.energy + [sum(shifts[e.symbol] for e in s.species) for s in moved])
    assert potential_errors(potential, moved, far).mae("energy") > 0.5
    assert potential_errors(potential, moved, far, shifts).mae("energy") < 1e-4


def test_a_prediction_that_is_no_number_is_no_small_error(potential, moved, own):
    errors = potential_errors(potential, moved, own)
    broken = errors.forces.copy()
    broken[1, 0] = np.nan
    diverged = replace(errors, forces=broken)
    assert np.isnan(diverged.mae("forces"))
    change = compare_errors(errors, diverged).change("forces")
    assert np.isnan([change.after, change.change_percent, change.low, change.high]).all()


@pytest.mark.filterwarnings("ignore:No Pauling electronegativity")
def test_crystals_of_unknown_elements_are_named_and_left_out(potential, moved, own):
    strange = Structure(Lattice.cubic(3), ["Og"], [[0, 0, 0]])
    labels = Labels(
        np.append(0.0, own.energy), [np.zeros((1, 3)), *own.forces], np.vstack([own.stress[:1], own.stress])
    )
    errors = potential_errors(potential, [strange, *moved], labels)
    assert [one.reason for one in errors.skipped] == ["element Og is unknown to the model"]
    assert errors.rows.tolist() == list(range(1, 11))
    assert errors.mae("forces") < ROUNDING
    with pytest.raises(InputError, match="can take 0 of 1 labelled crystals; Og: element Og is unknown"):
        potential_errors(potential, [strange], Labels(np.zeros(1), [np.zeros((1, 3))], np.zeros((1, 3, 3))))


def test_two_potentials_are_compared_crystal_by_crystal(potential, moved, own):
    shaken = [f + np.where(np.arange(f.size).reshape(f.shape) % 2, 0.1, -0.1) for f in own.forces]
    labels = replace(own, forces=shaken)
    before = potential_errors(potential, moved, labels)
    other = potential_errors(with_noise(mf.get_adapter(potential).clone(), 0.3), moved, labels)
    change = compare_errors(before, other).change("forces")
    assert change.n == 10
    assert change.before == pytest.approx(0.1, abs=ROUNDING)
    assert change.change_percent == pytest.approx(100 * (change.after / change.before - 1))
    assert 0 < change.low < change.change_percent < change.high
    same = compare_errors(before, before).change("forces")
    assert (same.change_percent, same.low, same.high) == pytest.approx((0, 0, 0), abs=1e-9)


def test_errors_on_different_crystals_are_not_compared(potential, moved, own):
    first = potential_errors(potential, moved, own)
    fewer = potential_errors(potential, moved[:9], Labels(own.energy[:9], own.forces[:9], own.stress[:9]))
    with pytest.raises(InputError, match="different crystals"):
        compare_errors(first, fewer)


def test_labels_of_another_shape_are_refused(potential, moved, own):
    with pytest.raises(InputError, match=r"not \(9,\), 10 and"):
        potential_errors(potential, moved, replace(own, energy=own.energy[:9]))
    with pytest.raises(InputError, match="forces 0 of"):
        potential_errors(potential, moved, replace(own, forces=[np.zeros((99, 3)), *own.forces[1:]]))


def test_an_interval_draws_whole_groups():
    """Copies of a row tell nothing more of the scatter, as they would if each were drawn alone."""
    rng = np.random.default_rng(0)
    up, down = rng.uniform(1, 2, 30), np.ones(30)
    once = ratio_interval(up, down, list(range(30)))
    copied = ratio_interval(np.repeat(up, 9), np.repeat(down, 9), list(np.repeat(range(30), 9)))
    assert copied == pytest.approx(once)
    low, high = ratio_interval(np.repeat(up, 9), np.repeat(down, 9), list(range(270)))
    assert high - low < 0.5 * (once[1] - once[0])
    assert np.isnan(ratio_interval(up, down, ["one"] * 30)).all()
