"""Relaxed volumes, elastic moduli and heat capacities of a potential against a reference, by matcalc."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.lj import LennardJones
from helpers import run_here, shared, with_noise
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

import matgl_fill as mf
from matgl_fill.errors import InputError, ModelError
from matgl_fill.evaluation import compare_physics, crystal_properties, evaluate_physics, made_of
from matgl_fill.evaluation.crystal_properties import PROPERTIES, measure
from matgl_fill.structures import bundled

pytest.importorskip("matcalc", reason="needs the extra 'physics'")


@pytest.fixture(scope="module", autouse=True)
def small_supercells():
    """As long as the bundled potential sees, so that phonons take a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crystal_properties, "SUPERCELL", 8.0)
        yield


@pytest.fixture(scope="module")
def potential():
    return mf.load_model(bundled.POTENTIAL)


@pytest.fixture(scope="module")
def other(potential):
    """The same potential with noise in its weights."""
    return with_noise(mf.get_adapter(potential).clone(), 0.1).model


@pytest.fixture(scope="module")
def crystals():
    """Three small crystals."""
    salt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    cesium = Structure.from_spacegroup("Pm-3m", Lattice.cubic(4.2), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    copper = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    return [one.get_primitive_structure() for one in (salt, cesium, copper)]


@pytest.fixture(scope="module")
def file(potential, crystals, tmp_path_factory):
    """A plain file of crystals with what the bundled potential itself gives as references, heat capacity of one."""
    rows = []
    for k, crystal in enumerate(crystals):
        found = measure(potential.eval(), crystal, [name for name in PROPERTIES if k == 2 or name != "heat_capacity"])
        labels = {name: one.value for name, one in found.items()}
        labels["volume"] *= len(crystal)
        rows.append({"mp_id": f"c-{k}", "formula": crystal.reduced_formula, "structure": crystal.as_dict()} | labels)
    path = tmp_path_factory.mktemp("physics") / "crystals.json"
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture(scope="module")
def results(potential, other, file):
    return evaluate_physics(potential, file), evaluate_physics(other, file)


def test_a_potential_is_right_on_its_own_references_and_another_is_not(results):
    own, noisy = results
    assert [row.property for row in own.rows].count("heat_capacity") == 1
    assert len(own.rows) == 10
    assert own.failed == []
    for row in own.rows:
        assert row.predicted == pytest.approx(row.reference, rel=1e-3)
    assert noisy.mae("volume") > 100 * own.mae("volume")


def test_an_argon_crystal_of_lennard_jones_has_the_moduli_and_heat_capacity_of_textbooks(monkeypatch):
    """K = 75 epsilon / sigma^3 at the lattice sum's volume, C44 = C12, and heat capacity towards Dulong and Petit."""
    epsilon, sigma = 0.0104, 3.4
    calculator = LennardJones(epsilon=epsilon, sigma=sigma, rc=4 * sigma, smooth=False)
    monkeypatch.setattr(crystal_properties, "_WatchedCalculator", lambda *_: calculator)
    argon = AseAtomsAdaptor.get_structure(bulk("Ar", "fcc", a=5.25))
    found = measure(None, argon, list(PROPERTIES))
    assert found["volume"].value == pytest.approx((1.09 * sigma) ** 3 / np.sqrt(2), rel=0.02)
    assert found["bulk_modulus_vrh"].value == pytest.approx(75 * epsilon / sigma**3 / units.GPa, rel=0.05)
    assert 0.5 < found["shear_modulus_vrh"].value / found["bulk_modulus_vrh"].value < 0.7
    assert 0.97 * 24.94 < found["heat_capacity"].value < 24.95


def test_two_potentials_are_compared_crystal_by_crystal(results):
    own, noisy = results
    compared = compare_physics(noisy, own)
    by_name = {change.measure: change for change in compared.changes}
    assert list(by_name) == ["volume", "bulk modulus", "shear modulus", "heat capacity"]
    assert by_name["volume"].n == 3
    assert by_name["volume"].change_percent < -99
    assert by_name["volume"].high < -98
    with pytest.raises(InputError, match="different crystals"):
        compare_physics(own, type(own)(own.rows[:-1], []))


def test_a_crystal_that_fails_says_why_and_does_not_stop_the_others(potential, file, monkeypatch):
    relax = crystal_properties._relaxed
    stretched = mf.read_structures(file)
    stretched.structures[0].scale_lattice(1.5 * stretched.structures[0].volume)

    def hurried(matcalc, calculator, structure):
        with monkeypatch.context() as patch:
            patch.setattr(crystal_properties, "MAX_STEPS", 1 if structure is stretched.structures[0] else 500)
            return relax(matcalc, calculator, structure)

    monkeypatch.setattr(crystal_properties, "_relaxed", hurried)
    found = evaluate_physics(potential, stretched)
    assert len(found.rows) == 10
    assert {row.id for row in found.failed} == {"c-0"}
    assert all("the relaxation did not end in 1 steps: forces up to" in row.remark for row in found.failed)
    assert compare_physics(found, found).failed_both == {
        "volume": 1, "bulk_modulus_vrh": 1, "shear_modulus_vrh": 1, "heat_capacity": 0,
    }  # fmt: skip


def test_a_crystal_that_collapses_is_given_up(potential, crystals):
    calculator = crystal_properties._WatchedCalculator(potential, 10 * crystals[0].volume / len(crystals[0]))
    atoms = AseAtomsAdaptor.get_atoms(crystals[0], msonable=False)
    atoms.calc = calculator
    with pytest.raises(Exception, match=r"does not hold together: its volume changes by a factor of 0\.1"):
        atoms.get_potential_energy()


def test_references_are_chosen_by_element_and_number(potential, file):
    references = mf.read_structures(file)
    assert made_of(references, ["Na", "Cl", "Cu"]).ids == ["c-0", "c-2"]
    assert made_of(references, ["Na", "Cl", "Cu"], others=True).ids == ["c-1"]
    alone = references.subset([0, 1, 2])
    alone.labels.clear()
    two = evaluate_physics(potential, alone, limit=2)
    one = evaluate_physics(potential, alone, limit=1)
    assert {row.property for row in two.rows} == {"volume"}
    assert len({row.id for row in two.rows}) == 2
    assert {row.id for row in one.rows} < {row.id for row in two.rows}
    assert two.rows[0].reference == pytest.approx(alone.structures[0].volume / len(alone.structures[0]))


def test_interrupted_work_goes_on_and_other_work_is_refused(potential, other, file, tmp_path, monkeypatch, results):
    monkeypatch.setattr("matgl_fill.evaluation.physics.SAVE_SECONDS", 0.0)
    calculated = []

    def count(model, structure, properties):
        if len(calculated) == 2:
            raise KeyboardInterrupt
        calculated.append(structure.reduced_formula)
        return measure(model, structure, properties)

    state = tmp_path / "state"
    with monkeypatch.context() as patch:
        patch.setattr("matgl_fill.evaluation.physics.measure", count)
        with pytest.raises(KeyboardInterrupt):
            evaluate_physics(potential, file, state=state)
    with pytest.raises(InputError, match="belongs to another model"):
        evaluate_physics(other, file, state=state)
    done = calculated.copy()
    monkeypatch.setattr(
        "matgl_fill.evaluation.physics.measure",
        lambda *given: calculated.append(given[1].reduced_formula) or measure(*given),
    )
    assert evaluate_physics(potential, file, state=state).rows == results[0].rows
    assert calculated[2:] == [s.reduced_formula for s in mf.read_structures(file)][len(done) :]
    assert evaluate_physics(potential, file, state=state).rows == results[0].rows
    assert len(calculated) == 3


def test_what_cannot_be_used_is_refused(model, potential, file, monkeypatch):
    with pytest.raises(ModelError, match="is a property model"):
        evaluate_physics(model, file)
    with pytest.raises(InputError, match="limit is 0"):
        evaluate_physics(potential, file, limit=0)
    monkeypatch.setitem(__import__("sys").modules, "matcalc", None)
    with pytest.raises(InputError, match=r"pip install 'matgl_fill\[physics\]'"):
        evaluate_physics(potential, file)


def test_matcalc_is_imported_without_asking_the_hub(monkeypatch):
    import sys

    import matgl

    for name in [name for name in sys.modules if name.split(".")[0] == "matcalc"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("matgl.get_available_pretrained_models", lambda: pytest.fail("the hub was asked"))
    asked = matgl.get_available_pretrained_models
    assert crystal_properties.load_matcalc().RelaxCalc
    assert matgl.get_available_pretrained_models is asked


def test_physics_on_the_command_line(file, tmp_path, monkeypatch, capsys):
    out = tmp_path / "physics.csv"
    given = "evaluate", bundled.POTENTIAL, "--physics", file, "--limit", 2
    code, printed, _ = run_here(monkeypatch, capsys, *given, "--against", bundled.POTENTIAL, "-o", out)
    assert code == 0
    assert "bulk" in printed
    with out.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["property"] for row in rows} >= {"volume", "bulk_modulus_vrh"}
    assert len({row["id"] for row in rows}) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["physics.csv"]
    code, _, error = run_here(monkeypatch, capsys, "evaluate", bundled.POTENTIAL)
    assert (code, "give either TASKS or --physics" in error) == (2, True)


@pytest.mark.parametrize(
    "name", ["alexandria-binary-pbe-phonon", "mp-binary-pbe-elasticity", "wbm-random-pbe52-equilibrium"]
)
def test_matcalcs_benchmark_files_are_references(name, potential):
    references = mf.read_structures(shared(f"benchmark/{name}-2025.1.json.gz"))
    small = references.subset(np.argsort([len(s) for s in references], kind="stable")[:9])
    found = evaluate_physics(potential, small, limit=1)
    assert {row.property for row in found.rows} == {"volume"} | (set(PROPERTIES) & set(references.labels))
    assert all(np.isfinite(row.reference) for row in found.rows)
