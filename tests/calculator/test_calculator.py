from __future__ import annotations

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.md.langevin import Langevin
from ase.md.nptberendsen import NPTBerendsen
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import FIRE
from ase.phonons import Phonons
from helpers import LENIENT
from hypothesis import given, settings
from hypothesis import strategies as st
from matgl.apps.pes import Potential
from matgl.ext.ase import PESCalculator
from matgl.models import QET, CHGNet
from pymatgen.io.ase import AseAtomsAdaptor

import matgl_fill as mf
from matgl_fill.calculator.learn import FrameSet
from matgl_fill.calculator.watch import Watcher, bare, measured
from matgl_fill.errors import InputError, MatglFillWarning, OracleError
from matgl_fill.structures import bundled

SAME = 1e-6
"""eV, eV/Angstrom and the stress unit: agreement with MatGL's own calculator."""
LATENT = {"roughness", "novelty", "roughness_per_atom", "novelty_per_atom"}


@pytest.fixture(scope="module")
def potential():
    return mf.load_model(bundled.POTENTIAL)


@pytest.fixture(scope="module")
def known(potential):
    return bundled.bundled_pool(potential.model.element_types).subset(range(60))


@pytest.fixture(scope="module")
def calc(potential, known):
    return mf.FillCalculator(potential, pool=known, stress_unit="eV/A3")


@pytest.fixture(scope="module")
def crystals(potential):
    """Twenty rattled and strained crystals of the evaluation set, one of them a molecule's box."""
    rng = np.random.default_rng(0)
    found = mf.read_structures(bundled.EVALUATION)
    usable = [s for s in found.structures if {e.symbol for e in s.elements} <= set(potential.model.element_types)]
    out = []
    for s in usable[:20]:
        atoms = AseAtomsAdaptor.get_atoms(s, msonable=False)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        out.append(atoms)
    return out


def salt(calc, repeat=(1, 1, 1), rattle=0.0) -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.69, cubic=True) * repeat
    atoms.rattle(rattle, seed=0)
    atoms.calc = calc
    return atoms


def velocities(atoms, temperature):
    width = np.sqrt(units.kB * temperature / atoms.get_masses())[:, None]
    return width * np.random.default_rng(0).normal(size=(len(atoms), 3))


@pytest.mark.parametrize("options", [{}, {"stress_unit": "eV/A3"}, {"stress_unit": "eV/A3", "use_voigt": True}])
def test_results_are_matgls(potential, known, crystals, options):
    ours, theirs = mf.FillCalculator(potential, pool=known, **options), PESCalculator(potential, **options)
    ours.reference = ours.reference
    for atoms in crystals if options.get("stress_unit") and "use_voigt" not in options else crystals[:3]:
        theirs.calculate(atoms)
        ours.calculate(atoms)
        assert set(ours.results) == set(theirs.results)
        for name, value in theirs.results.items():
            np.testing.assert_allclose(ours.results[name], value, rtol=0, atol=SAME)


def test_magmoms_and_charges_are_there_where_the_model_has_them(known):
    torch.manual_seed(0)
    elements = tuple(sorted({e.symbol for s in known.structures for e in s.elements} | {"Na", "Cl"}))
    chgnet = CHGNet(element_types=elements, dim_atom_embedding=16, dim_bond_embedding=16, n_sites=1)
    qet = QET(element_types=elements, units=16, is_intensive=False)
    for model, name in (
        (Potential(chgnet, calc_magmom=True), "magmoms"),
        (Potential(qet, calc_charge=True), "charges"),
    ):
        ours, theirs = mf.FillCalculator(model, pool=known), PESCalculator(model)
        for calculator in (ours, theirs):
            calculator.calculate(salt(None, rattle=0.1))
        assert set(ours.results) == set(theirs.results)
        np.testing.assert_allclose(ours.results[name], theirs.results[name], atol=SAME)


def test_units_are_those_that_ase_and_matgl_state(potential, known, calc, crystals):
    """Forces are -dE/dx, stress is dE/dstrain over the volume, positive in tension; GPa as MatGL says."""
    atoms = crystals[0].copy()
    atoms.calc = calc
    forces, stress, h = atoms.get_forces().copy(), atoms.get_stress(voigt=False), 5e-3
    moved = []
    for sign in (1, -1):
        other = atoms.copy()
        other.calc = calc
        other.positions[0, 1] += sign * h
        moved.append(other.get_potential_energy())
    assert forces[0, 1] == pytest.approx(-(moved[0] - moved[1]) / (2 * h), abs=5e-3)
    strained = []
    for sign in (1, -1):
        other = atoms.copy()
        other.calc = calc
        other.set_cell(atoms.cell.array @ (np.eye(3) * (1 + sign * h)), scale_atoms=True)
        strained.append(other.get_potential_energy())
    slope = (strained[0] - strained[1]) / (2 * h) / atoms.get_volume()
    assert np.trace(stress) == pytest.approx(slope, rel=0.02)
    assert atoms.get_stress().shape == (6,)
    in_gpa = mf.FillCalculator(potential, pool=known)
    in_gpa.reference = calc.reference
    in_gpa.calculate(atoms)
    np.testing.assert_allclose(in_gpa.results["stress"] * units.GPa, stress, rtol=0, atol=SAME)


def test_one_forward_pass_gives_everything(calc, potential):
    calls = []
    hook = potential.model.register_forward_hook(lambda *_: calls.append(1))
    try:
        atoms = salt(calc, rattle=0.05)
        atoms.get_forces()
        facts = measured(calc, atoms)
        atoms.get_stress()
    finally:
        hook.remove()
    assert len(calls) == 1
    assert set(facts) == {"roughness", "novelty", "max_roughness_per_atom", "max_novelty_per_atom"}
    assert potential.model.feature_dict == {}


def test_the_embedding_is_that_of_embed(calc, potential, crystals):
    for atoms in crystals[:3]:
        calc.calculate(atoms)
        structure = AseAtomsAdaptor.get_structure(atoms)
        np.testing.assert_allclose(calc.embedding[0], mf.embed(potential, [structure])[0], rtol=1e-4, atol=1e-5)
        each = mf.embed(potential, [structure], level="atom")
        np.testing.assert_allclose(calc.embedding[1], each, rtol=1e-4, atol=1e-5)


def test_bounds_of_a_tuned_copy_hold_in_the_calculator_too(potential, known, crystals):
    adapter = mf.get_adapter(potential)
    both = adapter.filled(adapter.tuned_branch())
    both.bound(adapter.embed_graphs(adapter.graphs(known.structures[:2]))[0])
    squeezed = crystals[0].copy()
    squeezed.set_cell(0.7 * squeezed.cell, scale_atoms=True)
    calc = mf.FillCalculator(both.model, pool=known)
    calc.calculate(squeezed)
    structure = AseAtomsAdaptor.get_structure(squeezed)
    Z = mf.embed(both.model, [structure])[0]
    assert np.abs(Z[adapter.core_dim :] - mf.embed(potential, [structure])[0]).max() > 0.01
    np.testing.assert_allclose(calc.embedding[0], Z, rtol=1e-4, atol=1e-5)


def test_novelty_is_zero_at_what_is_known_and_one_is_the_typical_distance(calc, potential, known):
    Z = mf.embed(potential, known)
    nearest = []
    for i, structure in enumerate(known.structures):
        facts = measured(calc, AseAtomsAdaptor.get_atoms(structure * (1, 1, 2), msonable=False))
        assert facts["novelty"] < 0.02
        assert facts["max_novelty_per_atom"] < 0.02
        X = calc.reference.crystals.standard(np.delete(Z, i, axis=0).astype(float))
        nearest.append(calc.reference.crystals.distance(Z[i : i + 1].astype(float), X)[0])
    assert np.median(nearest) == pytest.approx(1.0, abs=0.05)


def test_roughness_is_a_share_of_the_known_crystals(calc, potential, known):
    local = calc.reference.roughness.local(mf.embed(potential, known).astype(float))
    ranks = [measured(calc, AseAtomsAdaptor.get_atoms(s, msonable=False))["roughness"] for s in known.structures]
    assert np.corrcoef(np.argsort(np.argsort(local)), ranks)[0, 1] > 0.999
    assert max(ranks) == pytest.approx(1.0, abs=0.02)
    levels = calc.reference.crystals
    assert levels.percentile(np.sort(local)[[0, 29, -1]]).tolist() == pytest.approx([1 / 60, 0.5, 1.0])


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_values_follow_atoms_and_not_their_order_or_place(calc, seed):
    rng = np.random.default_rng(seed)
    atoms = salt(calc, rattle=0.1)
    first = {name: np.array(calc.get_property(name, atoms)) for name in LATENT}
    order = rng.permutation(len(atoms))
    other = atoms[order]
    other.positions += rng.uniform(-3, 3, 3)
    other.rotate(rng.uniform(0, 180), rng.normal(size=3), rotate_cell=True)
    for name in LATENT:
        again = np.array(calc.get_property(name, other))
        expected = first[name][order] if name.endswith("atom") else first[name]
        np.testing.assert_allclose(again, expected, atol=2e-2 if "roughness" in name else 1e-3)


def test_relaxation_of_atoms_and_cell(calc):
    atoms = salt(calc, rattle=0.1)
    atoms.set_cell(atoms.cell * 1.04, scale_atoms=True)
    before = atoms.get_potential_energy()
    pulled = atoms.get_stress()[:3].mean()
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.05, steps=150)
    assert atoms.get_potential_energy() < before - 0.01
    assert np.abs(atoms.get_forces()).max() < 0.05
    assert abs(atoms.get_stress()[:3].mean()) < 0.2 * abs(pulled)


def test_energy_is_conserved(calc):
    atoms = salt(calc)
    atoms.set_velocities(velocities(atoms, 600))
    start, kinetic = atoms.get_total_energy(), atoms.get_kinetic_energy()
    totals, kinetics = [], []
    dynamics = VelocityVerlet(atoms, 1 * units.fs)
    dynamics.attach(lambda: (totals.append(atoms.get_total_energy()), kinetics.append(atoms.get_kinetic_energy())))
    dynamics.run(100)
    assert np.ptp(kinetics) > 0.2 * kinetic
    assert np.abs(np.array(totals) - start).max() < 0.02 * np.ptp(kinetics)


def test_a_thermostat_warms(calc):
    atoms = salt(calc)
    settings = {"temperature_K": 900, "friction": 0.1 / units.fs, "fixcm": False, "rng": np.random.RandomState(0)}
    Langevin(atoms, 2 * units.fs, **settings).run(80)
    assert 300 < atoms.get_temperature() < 1800


def test_a_barostat_goes_where_the_pressure_pushes(calc):
    volumes = []
    for pressure in (0.0, 20.0):
        atoms = salt(calc)
        atoms.set_velocities(velocities(atoms, 100))
        options = {"compressibility_au": 0.02 / units.GPa, "taup": 200 * units.fs, "taut": 100 * units.fs}
        NPTBerendsen(atoms, 2 * units.fs, 100, pressure_au=pressure * units.GPa, **options).run(40)
        volumes.append(atoms.get_volume())
    assert volumes[1] < 0.95 * volumes[0]


def test_a_band_of_images(calc):
    """An atom hops into a vacancy: the relaxed band's barrier is below the straight one's."""
    first = salt(calc)
    del first[0]  # a vacancy at the origin
    last = first.copy()
    hopping = int(np.argmin(np.linalg.norm(first.positions - first.cell.sum(axis=0) * [0.5, 0.5, 0], axis=1)))
    last.positions[hopping] = 0
    images = [first, *(first.copy() for _ in range(3)), last]
    band = NEB(images, allow_shared_calculator=True, method="improvedtangent")
    band.interpolate(mic=True)
    for image in images:
        image.calc = calc
    straight = [image.get_potential_energy() for image in images]
    watcher = Watcher(calc, novelty=1e-3, budget=3)
    optimiser = FIRE(band, logfile=None)
    optimiser.attach(lambda: [watcher(image) for image in images[1:-1]])
    optimiser.run(fmax=0.01, steps=10)
    relaxed = [image.get_potential_energy() for image in images]
    assert max(relaxed) < max(straight)
    assert len(watcher.frames) == 3


def test_phonons(calc, tmp_path):
    """No force on a crystal that is shifted as a whole, and displacements give the stiffness that energies give."""
    primitive = bulk("NaCl", "rocksalt", a=5.69)
    phonons = Phonons(primitive, calc, supercell=(2, 2, 2), delta=0.02, name=tmp_path / "phonon")
    phonons.run()
    phonons.read(acoustic=True)
    frequencies = phonons.band_structure([[0, 0, 0]])[0]
    assert np.abs(frequencies[:3]).max() < 1e-3
    mass = primitive.get_masses()
    shares = mass[::-1, None] / mass.sum() * [[1, 0, 0], [-1, 0, 0]]  # one sort of atoms against the other
    energies = []
    for step in (-0.02, 0, 0.02):
        moved = primitive.copy()
        moved.positions += step * shares
        moved.calc = calc
        energies.append(moved.get_potential_energy())
    stiffness = (energies[0] - 2 * energies[1] + energies[2]) / 0.02**2
    expected = units._hbar * 1e10 * np.sqrt(stiffness / (mass.prod() / mass.sum()) / (units._e * units._amu))
    np.testing.assert_allclose(frequencies[3:], expected, rtol=0.02)


def test_a_given_roughness_is_used_and_one_of_another_width_refused(potential, known, calc):
    Z = mf.embed(potential, known)
    rough = mf.analyze_roughness(Z, np.random.default_rng(0).normal(size=len(Z)))
    given_one = mf.FillCalculator(potential, rough, pool=known)
    assert given_one.reference.roughness is rough
    narrow = mf.FillCalculator(potential, mf.analyze_roughness(Z[:, :5], Z[:, 0]), pool=known)
    with pytest.raises(InputError, match="width 5, this model's has 32"):
        narrow.calculate(salt(None))


def test_a_property_model_is_refused(model):
    with pytest.raises(InputError, match="give a MatGL Potential"):
        mf.FillCalculator(model)


@pytest.fixture
def heated(calc):
    """Frames of salt that is rattled more and more."""
    return [salt(calc, rattle=amplitude) for amplitude in np.linspace(0.01, 0.6, 25)]


def test_a_watcher_keeps_the_strangest_frames_apart_from_each_other(calc, heated):
    values = [measured(calc, a)["novelty"] for a in heated]
    limit = float(np.median(values))
    watcher = Watcher(calc, novelty=limit, per_atom=None, spacing=0.05, budget=100)
    kept = [watcher(a) for a in heated]
    assert watcher.calls == 25
    assert watcher.seen == sum(v >= limit for v in values)
    assert not any(k for k, v in zip(kept, values, strict=True) if v < limit)
    assert 2 < len(watcher.frames) <= watcher.seen
    assert watcher(heated[-1]) is False  # a frame that is there already
    known = calc.reference.atoms
    for k, embedding in enumerate(watcher._embeddings[1:], 1):
        assert known.distance(embedding, known.standard(np.concatenate(watcher._embeddings[:k]))).max() >= 0.05
    few = Watcher(calc, novelty=limit, per_atom=None, spacing=0.0, budget=4)
    for a in heated:
        few(a)
    strangest = sorted(values)[-4:]
    np.testing.assert_allclose(sorted(f.info["novelty"] for f in few.frames), strangest, rtol=1e-6)


@pytest.mark.parametrize("name", ["gaps.extxyz", "gaps.db"])
def test_frames_are_written_without_results_and_taken_up_again(calc, heated, tmp_path, name):
    watcher = Watcher(calc, novelty=1e-3, spacing=0.0, budget=3, path=tmp_path / name)
    for a in heated[:8]:
        watcher(a)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    found = ase.io.read(tmp_path / name, index=":")
    assert len(found) == 3
    for frame, kept in zip(found, watcher.frames, strict=True):
        assert frame.calc is None
        np.testing.assert_allclose(frame.positions, kept.positions, atol=1e-7)
    again = Watcher(calc, novelty=1e-3, spacing=0.01, budget=10, path=tmp_path / name)
    assert len(again.frames) == 3
    assert again(found[1]) is False
    assert again(heated[20]) is True
    assert len(ase.io.read(tmp_path / name, index=":")) == 4


def test_a_watcher_needs_a_threshold_atoms_and_a_file_it_can_write(calc):
    with pytest.raises(InputError, match="needs a threshold"):
        Watcher(calc, novelty=None, per_atom=None)
    with pytest.raises(InputError, match=r"ends in \.extxyz or \.db"):
        Watcher(calc, path="frames.traj")
    with pytest.raises(InputError, match="no atoms"):
        Watcher(calc)()
    with pytest.raises(InputError, match="no frames to learn from"):
        mf.FillCalculator(calc.original).fill()


def test_filling_from_a_watcher_that_kept_nothing_says_how_near_it_came(potential, known):
    calc = mf.FillCalculator(potential, pool=known)
    watcher = calc.watch(heated := known.structures[0].to_ase_atoms(), novelty=1e3, per_atom=2e3)
    heated.rattle(0.1, seed=0)
    assert not watcher()
    novelty, per_atom = calc.get_property("novelty", heated), calc.get_property("novelty_per_atom", heated).max()
    assert watcher.nearest == pytest.approx(max(novelty / 1e3, per_atom / 2e3))
    with pytest.raises(InputError, match=r"reached at most 0\.\d\d of a threshold.* lower"):
        calc.fill()
    watcher.clear()
    assert watcher.nearest == 0


def test_filling_improves_the_model_in_place_and_undo_brings_the_original_back(potential, known):
    calc = mf.FillCalculator(potential, pool=known, stress_unit="eV/A3")
    weights = {k: v.clone() for k, v in potential.state_dict().items()}
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.calc = calc
    watcher = calc.watch(atoms, novelty=1e-3, spacing=0.0, budget=8)
    for seed in range(8):
        atoms.rattle(0.1, seed=seed)
        watcher()
    test = bulk("Cu", cubic=True) * (2, 1, 1)
    test.rattle(0.15, seed=99)
    truth = test.copy()
    truth.calc = EMT()
    test.calc = calc
    before, novelty = test.get_forces().copy(), calc.get_property("novelty", test)
    result = calc.fill(EMT(), config=LENIENT, seed=1)
    assert result.accepted
    assert calc.potential is result.model
    assert not watcher.frames
    after = test.get_forces()
    assert np.abs(after - truth.get_forces()).mean() < 0.7 * np.abs(before - truth.get_forces()).mean()
    assert calc.get_property("novelty", test) < novelty
    assert result.report.guard
    assert calc.undo() is potential
    np.testing.assert_array_equal(test.get_forces(), before)
    assert calc.get_property("novelty", test) == novelty
    assert all(torch.equal(v, weights[k]) for k, v in potential.state_dict().items())


def test_without_an_oracle_forces_stay_and_the_embedding_grows(potential, known, crystals):
    calc = mf.FillCalculator(potential, pool=known, stress_unit="eV/A3")
    calc.calculate(crystals[0])
    before = dict(calc.results)
    result = calc.fill(frames=crystals[:6], config=LENIENT | {"steps": 5})
    assert result.accepted
    calc.calculate(crystals[0])
    for name in ("energy", "forces", "stress"):
        np.testing.assert_array_equal(calc.results[name], before[name])
    np.testing.assert_allclose(
        calc.embedding[0], mf.embed(result.model, [AseAtomsAdaptor.get_structure(crystals[0])])[0], rtol=1e-4, atol=1e-5
    )
    assert calc.get_property("novelty") < 0.02


class _Counting(EMT):
    asked = 0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        type(self).asked += 1


def test_an_oracle_is_asked_once_about_each_frame(potential, known):
    calc = mf.FillCalculator(potential, pool=known)
    frames = []
    for seed in range(6):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        frames.append(atoms)
    quick = LENIENT | {"steps": 2}
    calc.fill(_Counting(), frames=frames[:4], config=quick)
    asked = _Counting.asked
    result = calc.fill(_Counting(), frames=frames[4:], config=quick)
    assert len(result.proposals) == 6
    assert _Counting.asked == asked * 6 // 4
    assert len(calc.learnt) == 6


class _Constant(Calculator):
    """Energy of a given number, or a failure."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, value) -> None:
        super().__init__(value=value)

    def calculate(self, atoms=None, properties=None, system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        if self.parameters["value"] is None:
            raise RuntimeError("no convergence")
        self.results = {
            "energy": self.parameters["value"], "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)
        }  # fmt: skip


@pytest.mark.filterwarnings("ignore:the oracle failed")
def test_results_are_kept_by_oracle_and_failures_are_not(calc, heated):
    frame_set = FrameSet(calc._adapter, calc.reference, calc.pool, heated[:3], {})
    with pytest.raises(OracleError, match="usable labels for 0 of 3 frames"):
        frame_set.labelled(_Constant(None))
    for value in (1.0, 2.0):
        assert [a.get_potential_energy() for a in frame_set.labelled(_Constant(value))] == [value] * 3


def test_two_networks_in_one_kind_of_calculator_are_two_oracles(calc, heated):
    other = mf.load_model(bundled.POTENTIAL)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter *= 1.05
    frame_set = FrameSet(calc._adapter, calc.reference, calc.pool, heated[:2], {})
    for potential in (mf.load_model(bundled.POTENTIAL), other):
        oracle = PESCalculator(potential, stress_unit="eV/A3")
        told = [a.get_potential_energy() for a in frame_set.labelled(oracle)]
        np.testing.assert_allclose(told, [oracle.get_potential_energy(a) for a in heated[:2]], rtol=1e-6)


def test_a_frame_that_is_no_crystal_is_told_and_left_out(calc, heated):
    torn = heated[1].copy()
    torn.positions[1] = torn.positions[0]
    frame_set = FrameSet(calc._adapter, calc.reference, calc.pool, [heated[0], torn, heated[2]], {})
    with pytest.warns(MatglFillWarning, match="1 of 3 frames left out; frame 2: "):
        labelled = frame_set.labelled(_Constant(1.0))
    assert [a.info["id"] for a in labelled] == ["frame-0001", "frame-0003"]
    np.testing.assert_array_equal(labelled[1].positions, heated[2].positions)
    with pytest.raises(InputError, match="frames can be used; frame 1: "):
        FrameSet(calc._adapter, calc.reference, calc.pool, [torn], {}).labelled(_Constant(1.0))


def test_a_watcher_goes_on_when_the_model_changes(potential, known, heated):
    """Places of kept frames are those of the present model; frames that were not learnt are kept."""
    calc = mf.FillCalculator(potential, pool=known, stress_unit="eV/A3")
    watcher = calc.watch(novelty=1e-6, per_atom=None, spacing=1e-6)
    assert watcher(heated[5])
    first = dict(watcher.frames[0].info)
    assert calc.fill(frames=heated[:6], config=LENIENT | {"steps": 5}).accepted
    assert len(watcher.frames) == 1
    assert watcher(heated[20])
    assert watcher.frames[0].info["novelty"] == pytest.approx(measured(calc, heated[5])["novelty"])
    assert watcher.frames[0].info["novelty"] != first["novelty"]
    calc.undo()
    assert watcher(heated[24])
    assert watcher.frames[0].info == pytest.approx(first)


@pytest.mark.parametrize("settings", [{"novelty": 0.0}, {"per_atom": -1.0}, {"budget": 0}])
def test_a_watcher_with_senseless_limits_is_refused(calc, settings):
    with pytest.raises(InputError, match="give positive thresholds and a budget of at least 1"):
        calc.watch(**settings)


def test_what_cannot_be_calculated_or_read_is_an_input_error(calc, heated, tmp_path):
    with pytest.raises(InputError, match="element Og is unknown"):
        calc.calculate(Atoms("Og", cell=[3, 3, 3], pbc=True))
    for name in ("empty.extxyz", "broken.db"):
        (tmp_path / name).write_text("" if name == "empty.extxyz" else "no database " * 100)
        with pytest.raises(InputError, match="holds no frames that ASE can read"):
            calc.watch(heated[0], path=tmp_path / name)


def test_frames_of_a_file_or_a_single_one_are_learnt(potential, known, heated, tmp_path):
    calc = mf.FillCalculator(potential, pool=known)
    ase.io.write(tmp_path / "gaps.extxyz", [bare(a) for a in heated[:2]])
    quick = LENIENT | {"steps": 2}
    assert len(calc.fill(frames=tmp_path / "gaps.extxyz", config=quick).proposals) == 2
    assert len(calc.fill(frames=heated[2], config=quick).proposals) == 3
