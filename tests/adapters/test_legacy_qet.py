"""QET as it was before MatGL 2.2: the predictions of its own time, and its physics, on MatGL 4."""

from __future__ import annotations

import json

import ase.build
import ase.io
import ase.units
import matgl
import numpy as np
import pytest
import torch
from ase import Atoms
from helpers import DGL, SAVED_BY_MATGL_2, shared
from matgl.ext.ase import PESCalculator
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.spatial.transform import Rotation

import matgl_fill as mf
from matgl_fill.adapters import core_of
from matgl_fill.testing import double_precision, relative

pytestmark = pytest.mark.skipif(DGL, reason="on DGL old checkpoints run on the MatGL of their time")
if not DGL:
    from matgl_fill.adapters.legacy.qet import LegacyQET, to_legacy_qet

ENERGY, FORCE, STRESS, CHARGE = 1e-6, 1e-6, 1e-5, 1e-6
"""eV/atom, eV/Angstrom, GPa and e: agreement with what MatGL 2.0.6 predicted."""
R = Rotation.from_euler("xyz", [0.3, 1.1, -0.7]).as_matrix()


def results(potential, atoms: Atoms, charge: float = 0.0) -> dict[str, np.ndarray]:
    """Energy, forces, stress and charges of MatGL's own calculator."""
    atoms = atoms.copy()
    atoms.calc = PESCalculator(potential, total_charge=torch.tensor(charge), stress_unit="GPa")
    atoms.get_potential_energy()
    return atoms.calc.results


@pytest.fixture(params=["qet", "qet_so3"])
def folder(request):
    return SAVED_BY_MATGL_2 / request.param


@pytest.fixture
def old(folder):
    return to_legacy_qet(matgl.load_model(str(folder)).eval())


@pytest.fixture
def crystals() -> list[Atoms]:
    return ase.io.read(SAVED_BY_MATGL_2 / "crystals.extxyz", ":")


def test_predictions_are_those_of_their_time(folder, old, crystals):
    expected = np.load(folder / "expected.npz")
    for i, atoms in enumerate(crystals):
        found = results(old, atoms)
        assert found["energy"] / len(atoms) == pytest.approx(expected[f"{i}/energy at 0 e"] / len(atoms), abs=ENERGY)
        np.testing.assert_allclose(found["forces"], expected[f"{i}/forces at 0 e"], atol=FORCE)
        np.testing.assert_allclose(found["stress"], expected[f"{i}/stress at 0 e"], atol=STRESS)
        np.testing.assert_allclose(found["charges"], expected[f"{i}/charges at 0 e"], atol=CHARGE)
        charged = results(old, atoms, 1.0)["energy"]
        assert charged / len(atoms) == pytest.approx(expected[f"{i}/energy at 1 e"] / len(atoms), abs=ENERGY)


def test_matgl_4_alone_predicts_something_else(folder, crystals):
    """The crystals tell the two apart, by far more than the tolerances."""
    expected, plain = np.load(folder / "expected.npz"), matgl.load_model(str(folder)).eval()
    off = [abs(results(plain, a)["energy"] - expected[f"{i}/energy at 0 e"]) / len(a) for i, a in enumerate(crystals)]
    assert max(off) > 1e3 * ENERGY


def test_forces_and_stress_are_derivatives_of_the_energy(old, crystals):
    structures = [AseAtomsAdaptor.get_structure(a) for a in crystals[:2]]
    with double_precision(mf.get_adapter(old)) as twin:
        step = 1e-4
        for structure in structures:
            atoms = AseAtomsAdaptor.get_atoms(structure)
            found = results(twin.model, atoms)
            for k in (0, 4):
                moved = [atoms.copy(), atoms.copy()]
                for sign, copy in zip((1, -1), moved, strict=True):
                    copy.positions[k, 1] += sign * step
                up, down = (results(twin.model, copy)["energy"] for copy in moved)
                assert found["forces"][k, 1] == pytest.approx(-(up - down) / (2 * step), rel=1e-5, abs=1e-9)
            strained = [atoms.copy(), atoms.copy()]
            for sign, copy in zip((1, -1), strained, strict=True):
                strain = np.eye(3)
                strain[0, 0] += sign * step
                copy.set_cell(copy.cell.array @ strain, scale_atoms=True)
            up, down = (results(twin.model, copy)["energy"] for copy in strained)
            stress = (up - down) / (2 * step) / atoms.get_volume() / ase.units.GPa
            assert found["stress"][0, 0] == pytest.approx(stress, rel=1e-5, abs=1e-7)


def test_energy_and_charges_are_invariant_and_forces_turn(old, crystals):
    for atoms in crystals:
        before = results(old, atoms)
        turned, moved = atoms.copy(), atoms.copy()
        turned.set_cell(atoms.cell.array @ R.T, scale_atoms=True)
        moved.positions += [0.7, -0.3, 0.2]
        for changed, rotation in ((turned, R), (moved, np.eye(3))):
            after = results(old, changed)
            assert after["energy"] == pytest.approx(before["energy"], abs=2e-5)
            np.testing.assert_allclose(after["charges"], before["charges"], atol=1e-6)
            np.testing.assert_allclose(after["forces"], before["forces"] @ rotation.T, atol=1e-5)


@pytest.mark.parametrize("charge", [0.0, -1.5])
def test_charges_sum_to_the_total_charge(old, crystals, charge):
    for atoms in crystals:
        assert results(old, atoms, charge)["charges"].sum() == pytest.approx(charge, abs=1e-6)


def test_crystals_of_a_batch_do_not_see_each_other(old, crystals):
    """Each crystal of a batch has the charges, energy and forces that it has alone, at a total charge of its own."""
    adapter = mf.get_adapter(old)
    batch = adapter.collate(adapter.graphs([AseAtomsAdaptor.get_structure(a) for a in crystals]))
    totals = torch.tensor([0.0, 1.0, -0.5, 2.0])
    energy, forces, _, _, charges = old(batch.data, batch.lattice, total_charge=totals)
    ends = np.cumsum([len(a) for a in crystals])[:-1]
    together = zip(energy.tolist(), *(np.split(x.detach().numpy(), ends) for x in (forces, charges)), strict=True)
    for atoms, total, (e, f, q) in zip(crystals, totals.tolist(), together, strict=True):
        alone = results(old, atoms, total)
        assert e == pytest.approx(alone["energy"], abs=1e-5)
        np.testing.assert_allclose(f, alone["forces"], atol=1e-6)
        np.testing.assert_allclose(q, alone["charges"], atol=1e-6)


def test_a_single_atom_is_its_supercell(old):
    """On DGL a cell of one atom raised."""
    atom = ase.build.bulk("Al")
    assert 8 * results(old, atom)["energy"] == pytest.approx(results(old, atom * (2, 2, 2))["energy"], abs=1e-5)


def test_what_is_saved_is_read_by_plain_matgl(old, crystals, tmp_path, caplog):
    old.save(tmp_path)
    again = matgl.load_model(str(tmp_path)).eval()
    assert not caplog.records
    assert isinstance(core_of(again), LegacyQET)
    for atoms in crystals:
        for key, value in results(old, atoms).items():
            np.testing.assert_array_equal(results(again, atoms)[key], value)


def test_the_calculator_gives_the_same_energy_and_an_embedding(old, crystals):
    atoms = crystals[0].copy()
    atoms.calc = mf.FillCalculator(old, pool=[AseAtomsAdaptor.get_structure(a) for a in crystals] * 6)
    assert atoms.get_potential_energy() == results(old, atoms)["energy"]
    Z = mf.embed(old, [AseAtomsAdaptor.get_structure(atoms)])
    assert relative(atoms.calc.embedding[0], Z[0]) < 1e-6


def test_published_potential_predicts_what_it_did(recwarn):
    """QET-MatQ-PES on 30 relaxed crystals, whose predictions by MatGL 2.0.6 lie in shared/."""
    potential = to_legacy_qet(matgl.load_model(str(shared("models_legacy/QET-MatQ-PES"))).eval())
    rows = json.loads(shared("reference/legacy_predictions_matgl206.json").read_text())["QET-MatQ-PES"]
    pool = mf.read_structures(shared("data/mp_pool.jsonl.gz"))
    index = {name: i for i, name in enumerate(pool.ids)}
    for row in rows:
        atoms = AseAtomsAdaptor.get_atoms(pool.structures[index[row["id"]]])
        found = results(potential, atoms)
        assert found["energy"] / len(atoms) == pytest.approx(row["energy_eV"] / len(atoms), abs=1e-5)
        assert np.abs(found["forces"]).max() == pytest.approx(row["max_abs_force"], abs=1e-4)
        np.testing.assert_allclose(found["forces"][0], row["force0"], atol=1e-4)
