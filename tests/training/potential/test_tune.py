"""What a potential is after it learnt from labels: better on its class, unchanged elsewhere, and still physics."""

from __future__ import annotations

import json

import matgl
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from matgl.ext.ase import PESCalculator
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

import matgl_fill as mf
from matgl_fill.adapters import predict
from matgl_fill.errors import InputError
from matgl_fill.evaluation import potential_errors
from matgl_fill.training import LabelledSet, read_labelled
from matgl_fill.training.labels import Labels
from matgl_fill.training.potential import crystals as made_crystals
from matgl_fill.training.potential.tune import GENERAL, crystals_per_step
from tests.helpers import DGL, salt, same, shared, weights

pytestmark = pytest.mark.skipif(DGL, reason="a potential learns from labels on PyG")
SALTS = [(a, b) for a in ("Na", "K", "Rb", "Li") for b in ("F", "Cl", "Br")]
M3GNET = "models_legacy/M3GNet-MP-2021.2.8-PES"


def frames_by(adapter, count: int, seed: int) -> list[Atoms]:
    """Displaced rock salts with the labels of a potential."""
    rng = np.random.default_rng(seed)
    crystals = []
    for k in range(count):
        base = salt(rng.uniform(5.3, 6.0), SALTS[k % len(SALTS)])
        coords = base.cart_coords + rng.uniform(0.02, 0.15) * rng.normal(size=(8, 3))
        crystals.append(Structure(base.lattice, base.species, coords, coords_are_cartesian=True))
    found = predict(adapter, adapter.graphs(crystals))
    frames = []
    for crystal, energy, forces, stress in zip(crystals, found.energy, found.forces, found.stress, strict=True):
        atoms = AseAtomsAdaptor.get_atoms(crystal, msonable=False)
        voigt = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        atoms.calc = SinglePointCalculator(atoms, energy=float(energy), forces=forces, stress=voigt)
        frames.append(atoms)
    return frames


def stiffer(adapter):
    """A copy of a potential whose energies but for the elements' are 1.4 times as large."""
    other = adapter.clone()
    other.model.data_std *= 1.4
    return other


@pytest.mark.parametrize(("repeated", "atoms", "taken"), [(1, 8, 5), (2, 64, 2), (3, 216, 1)])
def test_a_step_takes_fewer_crystals_that_are_large(repeated, atoms, taken):
    crystal = salt(5.6) * (repeated, repeated, repeated)
    assert len(crystal) == atoms
    labels = Labels(np.zeros(3), [np.zeros((atoms, 3))] * 3, np.zeros((3, 3, 3)))
    assert crystals_per_step(LabelledSet([crystal] * 3, labels), 5) == taken


@pytest.fixture(scope="module", params=["bundled TensorNet", "M3GNet-MP-2021"])
def filled(request):
    """The original potential, its teacher, and the result of filling it by labels of the teacher, which is stiffer."""
    bundled = request.param == "bundled TensorNet"
    original = mf.load_model("potential") if bundled else mf.load_model(shared(M3GNET), legacy=True)
    teacher = stiffer(mf.get_adapter(original))
    before = weights(original)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("MEMBERS", 16), ("KNOWN", 12), ("RELAX_STEPS", 8)):
            patch.setattr(made_crystals, name, value)
        patch.setattr("matgl_fill.training.potential.tune.GENERAL", GENERAL // 10)
        # too few labels to hold any out: what the guard accepts is tested in tests/guard/test_label_guard.py
        result = mf.fill_tune(original, labelled=frames_by(teacher, 19, 0), config={"steps": 150})
    assert same(weights(original), before)
    return original, teacher, result


@pytest.fixture
def quick(monkeypatch):
    """Few crystals to hold it by, for tests that look at what is asked and told, not at what is gained."""
    for name, value in (("MEMBERS", 4), ("KNOWN", 4), ("RELAX_STEPS", 2)):
        monkeypatch.setattr(made_crystals, name, value)
    monkeypatch.setattr("matgl_fill.training.potential.tune.GENERAL", 40)
    monkeypatch.setattr("matgl_fill.training.potential.tune.ELSEWHERE", 20)
    return mf.get_adapter(mf.load_model("potential"))


def test_energies_alone_are_enough(quick):
    frames = frames_by(stiffer(quick), 24, 0)
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy())
    result = mf.fill_tune(quick.model, labelled=frames, config={"steps": 2})
    report = result.report
    assert report.guard[0].measure.startswith("error of energy")
    assert [e.measure for e in report.label_errors.errors] == ["energy"]
    assert "each by weights that had not seen it" in str(result)


def test_few_labels_are_learnt_and_what_was_not_judged_is_told(quick):
    result = mf.fill_tune(quick.model, labelled=frames_by(quick, 5, 0), config={"steps": 2})
    assert result.report.label_errors is None
    assert any("only of 20 or more crystals" in reason for reason in result.report.verdict.reasons)
    assert result.report.verdict.headline == "accepted, but not judged by any label"


def test_an_oracle_labels_configurations_of_a_small_class(quick, tmp_path):
    crystals = frames_by(quick, 3, 0)
    result = mf.fill_tune(quick.model, crystals, n=6, oracle=quick.model, config={"steps": 2}, out=tmp_path)
    assert {p.kind for p in result.proposals} >= {"displaced", "strained"}
    assert result.report.roughness is None
    again = json.loads((tmp_path / "report.json").read_text())
    assert again["run"]["objective"][0] == "labels"
    assert (tmp_path / "report.html").exists()


def test_labels_of_another_unit_are_refused_before_training(quick):
    frames = frames_by(quick, 8, 0)
    for atoms in frames:
        found = dict(atoms.calc.results)
        atoms.calc = SinglePointCalculator(atoms, **found | {"forces": found["forces"] / 51.42})
    with pytest.raises(InputError, match="Hartree/Bohr"):
        mf.fill_tune(quick.model, labelled=frames)


def calculator(potential) -> PESCalculator:
    return PESCalculator(potential, stress_unit="eV/A3")


def test_it_is_better_on_crystals_that_it_has_not_seen(filled):
    original, teacher, result = filled
    assert result.accepted
    unseen = read_labelled(frames_by(teacher, 24, 1))
    was, now = (potential_errors(p, unseen.structures, unseen.labels).mae("forces") for p in (original, result.model))
    assert now < (0.6 if "M3GNet" in type(original.model).__name__ else 0.9) * was


def test_elsewhere_it_is_to_the_bit_what_it_was(filled):
    original, _, result = filled
    others = [salt(4.2, ("Mg", "O")), salt(4.8, ("Ca", "S")), salt(5.6, ("Na", "O"))]
    before, after = mf.get_adapter(original), mf.get_adapter(result.model)
    assert np.array_equal(*(a.embed_graphs(a.graphs(others))[1] for a in (before, after)))
    np.testing.assert_array_equal(*(np.concatenate(predict(a, a.graphs(others)).forces) for a in (before, after)))
    assert result.report.run.tuned_elements == tuple(sorted({x for pair in SALTS for x in pair}))


def test_a_seed_gives_the_same_weights_and_plain_matgl_reads_them(filled, tmp_path):
    _, _, result = filled
    result.save(tmp_path)
    again = matgl.load_model(tmp_path / "model")
    assert same(weights(again), weights(result.model))


def test_forces_are_gradients(filled):
    _, _, result = filled
    atoms = AseAtomsAdaptor.get_atoms(salt(5.5), msonable=False)
    atoms.rattle(0.1, seed=0)
    atoms.calc = calculator(result.model)
    forces, h = atoms.get_forces(), 0.01
    for i, axis in ((0, 0), (3, 1), (6, 2)):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, axis] += sign * h
            moved.calc = calculator(result.model)
            ends.append(moved.get_potential_energy())
        assert forces[i, axis] == pytest.approx((ends[1] - ends[0]) / (2 * h), abs=0.01)


@pytest.mark.parametrize("pair", [("Na", "Cl"), ("K", "F"), ("Cl", "Cl"), ("Na", "Na")])
def test_dimers_repel_no_worse(filled, pair):
    """The steepest climb between two and four Angstrom, and no hole below that the original does not have."""
    original, _, result = filled
    energies = []
    for potential in (original, result.model):
        curve = []
        for distance in np.linspace(1.2, 4.0, 15):
            atoms = Atoms(pair, [[0, 0, 0], [0, 0, distance]], cell=[12, 12, 12], pbc=True)
            atoms.calc = calculator(potential)
            curve.append(atoms.get_potential_energy())
        energies.append(np.array(curve))
    holes = [max(0.0, float(e[5:].min() - e[:5].min())) for e in energies]
    assert holes[1] <= holes[0] + 0.2


def test_an_equation_of_state_keeps_one_minimum(filled):
    _, _, result = filled
    atoms, curve = bulk("NaCl", "rocksalt", a=5.69), []
    for scale in np.linspace(0.9, 1.12, 23):
        strained = atoms.copy()
        strained.set_cell(atoms.cell * scale, scale_atoms=True)
        strained.calc = calculator(result.model)
        curve.append(strained.get_potential_energy())
    minima = [k for k in range(1, 22) if curve[k] < min(curve[k - 1], curve[k + 1])]
    assert len(minima) == 1


@pytest.mark.parametrize("temperature", [300, 1000])
def test_five_picoseconds_of_dynamics_run(filled, temperature):
    """NVE keeps its energy to 1 meV/atom, and NPT keeps the crystal whole."""
    _, _, result = filled
    atoms = bulk("NaCl", "rocksalt", a=5.69) * (2, 1, 1)
    for dynamics in ("NVE", "NPT"):
        moving = atoms.copy()
        moving.calc = calculator(result.model)
        MaxwellBoltzmannDistribution(moving, temperature_K=temperature, rng=np.random.default_rng(0))
        if dynamics == "NVE":
            run = VelocityVerlet(moving, 2 * units.fs)
        else:
            times = {"tdamp": 100 * units.fs, "pdamp": 1000 * units.fs}
            run = IsotropicMTKNPT(moving, 2 * units.fs, temperature_K=temperature, pressure_au=0.0, **times)
        energies = []
        for _ in range(25):
            run.run(100)
            energies.append(moving.get_total_energy() / len(moving))
        assert np.isfinite(energies).all()
        assert 0.7 < moving.get_volume() / atoms.get_volume() < 1.6
        if dynamics == "NVE":
            assert np.ptp(energies) < 1e-3
