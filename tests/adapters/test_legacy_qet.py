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
from matgl.models import QET
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.spatial.transform import Rotation

import matgl_fill as mf
from matgl_fill.adapters import core_of
from matgl_fill.errors import MatglFillWarning
from matgl_fill.testing import batch_of, double_precision, relative

pytestmark = pytest.mark.skipif(DGL, reason="on DGL old checkpoints run on the MatGL of their time")
if not DGL:
    from matgl_fill.adapters.legacy.qet import LegacyQET

ENERGY, FORCE, STRESS, CHARGE = 1e-6, 1e-5, 5e-5, 1e-6
"""eV/atom, eV/Angstrom, GPa and e: agreement with MatGL 2.0.6, whose forces here reach 12 eV/Angstrom."""
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
    with pytest.warns(MatglFillWarning, match="made before MatGL 3"):
        return mf.load_model(folder, legacy=True).eval()


@pytest.fixture
def double(old):
    """The same in float64, so that rounding hides nothing."""
    with double_precision(mf.get_adapter(old)) as twin:
        yield twin.model


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


def todays(core, part: str) -> None:
    """Make one part of a LegacyQET compute as MatGL 4 does."""
    for name, module in core.named_modules():
        if name.split(".")[0] == part and type(module).__module__.startswith("matgl_fill"):
            module.__class__ = type(module).__mro__[1]


@pytest.mark.parametrize("part", ["tensor_embedding", "layers", "elec_pot"])
def test_each_difference_to_matgl_4_counts(folder, old, crystals, part):
    """The crystals tell the old code from today's in every part that differs, by far more than the tolerances."""
    expected = np.load(folder / "expected.npz")
    todays(core_of(old), part)
    off = [abs(results(old, a)["energy"] - expected[f"{i}/energy at 0 e"]) / len(a) for i, a in enumerate(crystals)]
    assert max(off) > 1e3 * ENERGY


def test_forces_and_stress_are_derivatives_of_the_energy(double, crystals):
    step = 1e-5
    for atoms in crystals:
        found = results(double, atoms)

        def slope(change, atoms=atoms) -> float:
            moved = [change(atoms.copy(), sign * step) for sign in (1, -1)]
            up, down = (results(double, m)["energy"] for m in moved)
            return (up - down) / (2 * step)

        def displaced(atoms, size):
            atoms.positions[-1, 1] += size
            return atoms

        def strained(atoms, size):
            strain = np.eye(3)
            strain[0, 0] += size
            atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            return atoms

        assert found["forces"][-1, 1] == pytest.approx(-slope(displaced), rel=1e-6, abs=1e-8)
        stress = slope(strained) / atoms.get_volume() / ase.units.GPa
        assert found["stress"][0, 0] == pytest.approx(stress, rel=1e-6, abs=1e-6)


def test_energy_and_charges_are_invariant_and_forces_turn(double, crystals):
    for atoms in crystals:
        before = results(double, atoms)
        turned, moved = atoms.copy(), atoms.copy()
        turned.set_cell(atoms.cell.array @ R.T, scale_atoms=True)
        moved.positions += [0.7, -0.3, 0.2]
        for changed, rotation in ((turned, R), (moved, np.eye(3))):
            after = results(double, changed)
            assert after["energy"] == pytest.approx(before["energy"], abs=1e-9)
            np.testing.assert_allclose(after["charges"], before["charges"], atol=1e-9)
            np.testing.assert_allclose(after["forces"], before["forces"] @ rotation.T, atol=1e-8)


@pytest.mark.parametrize("charge", [0.0, -1.5])
def test_charges_sum_to_the_total_charge(double, crystals, charge):
    for atoms in crystals:
        assert results(double, atoms, charge)["charges"].sum() == pytest.approx(charge, abs=1e-10)


def test_crystals_of_a_batch_do_not_see_each_other(double, crystals):
    """Each crystal of a batch has the charges, energy and forces that it has alone, at a total charge of its own."""
    twin = mf.get_adapter(double)
    batch = batch_of(twin, [AseAtomsAdaptor.get_structure(a) for a in crystals])
    totals = torch.tensor([0.0, 1.0, -0.5, 2.0])
    energy, forces, _, _, charges = double(batch.data, batch.lattice, total_charge=totals)
    ends = np.cumsum([len(a) for a in crystals])[:-1]
    together = zip(energy.tolist(), *(np.split(x.detach().numpy(), ends) for x in (forces, charges)), strict=True)
    for atoms, total, (e, f, q) in zip(crystals, totals.tolist(), together, strict=True):
        alone = results(double, atoms, total)
        assert e == pytest.approx(alone["energy"], abs=1e-9)
        np.testing.assert_allclose(f, alone["forces"], atol=1e-8)
        np.testing.assert_allclose(q, alone["charges"], atol=1e-9)


def test_a_single_atom_is_its_supercell(double):
    """On DGL a cell of one atom raised."""
    atom = ase.build.bulk("Al")
    assert 8 * results(double, atom)["energy"] == pytest.approx(results(double, atom * (2, 2, 2))["energy"], abs=1e-9)


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


def test_untold_it_is_read_as_of_its_time_with_a_warning(folder):
    """Weights are random and MatGL 2.1, 2.2 and 3.0 write the same files on DGL; the last two lived for weeks."""
    with pytest.warns(MatglFillWarning, match="it is unclear which MatGL made .* as by the oldest"):
        assert isinstance(core_of(mf.load_model(folder)), LegacyQET)
    assert type(core_of(mf.load_model(folder, legacy=False))) is QET


@pytest.mark.parametrize(("version", "said"), [(2, "was made before MatGL 3"), (3, "MatGL until 2.1")])
def test_published_potential_is_known_by_its_files_and_read_right_without(version, said, tmp_path):
    """Version 2 of ``Potential`` is from before MatGL 2.0, version 3 of any until 3.0."""
    for file in shared("models_legacy/QET-MatQ-PES").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    described = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(described | {"@model_version": version}))
    with pytest.warns(MatglFillWarning, match=said):
        assert isinstance(core_of(mf.load_model(tmp_path)), LegacyQET)


@pytest.mark.filterwarnings("ignore::matgl_fill.errors.MatglFillWarning")
def test_published_potential_predicts_what_it_did():
    """QET-MatQ-PES on 30 relaxed crystals, whose predictions by MatGL 2.0.6 lie in shared/."""
    potential = mf.load_model(shared("models_legacy/QET-MatQ-PES")).eval()
    rows = json.loads(shared("reference/legacy_predictions_matgl206.json").read_text())["QET-MatQ-PES"]
    pool = mf.read_structures(shared("data/mp_pool.jsonl.gz"))
    index = {name: i for i, name in enumerate(pool.ids)}
    for row in rows:
        atoms = AseAtomsAdaptor.get_atoms(pool.structures[index[row["id"]]])
        found = results(potential, atoms)
        assert found["energy"] / len(atoms) == pytest.approx(row["energy_eV"] / len(atoms), abs=1e-5)
        assert np.abs(found["forces"]).max() == pytest.approx(row["max_abs_force"], abs=1e-4)
        np.testing.assert_allclose(found["forces"][0], row["force0"], atol=1e-4)
