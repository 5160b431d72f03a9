"""The correction of a potential in closed form: exact derivatives, physics, what it learns and what it refuses."""

from __future__ import annotations

import matgl
import numpy as np
import pytest
import torch
from helpers import DGL, FRESH, dft_frames, load
from hypothesis import given, settings
from hypothesis import strategies as st

import matgl_fill as mf
from matgl_fill.adapters import KernelCorrection, core_of, make_savable
from matgl_fill.config import GuardConfig
from matgl_fill.errors import InputError, ModelError
from matgl_fill.generation.moves import Rattle
from matgl_fill.structures import bundled
from matgl_fill.testing import double_precision, permuted, rotated, supercell
from matgl_fill.training import LabelledSet, Labels, label
from matgl_fill.training.correction.solve import REFERENCE_LEAST, make_correction, solve_correction
from matgl_fill.training.correction.tangents import random_directions, tangents
from matgl_fill.training.run_state import RunState

pytestmark = pytest.mark.skipif(DGL, reason="corrections are for PyG")
POTENTIALS = [name for name in FRESH if "potential" in name or name == "fresh TensorNet"]
ROOMY = {"max_prediction_drift": 9.0, "max_energy_shift": 9.0, "max_force_drift": 9.0}


def corrected(adapter, structures, seed=0, size=0.3):
    """The potential with a correction of random weights around atoms of the given crystals."""
    atoms = mf.embed(adapter.model, structures, level="atom")
    rng = np.random.default_rng(seed)
    centres = atoms[rng.permutation(len(atoms))[:12]]
    new = KernelCorrection(len(centres), atoms.shape[1])
    new.origin, new.spread = torch.tensor(atoms.mean(axis=0)), torch.tensor(atoms.std(axis=0) + 1e-6)
    new.centres = (torch.tensor(centres) - new.origin) / new.spread
    new.weights = torch.tensor(size * rng.normal(size=len(centres)), dtype=torch.float32)
    new.width = torch.tensor(2.0)
    return adapter.filled(correction=new)


def energies(adapter, structures):
    return adapter.embed_graphs(adapter.graphs(structures))[1]


@pytest.fixture(scope="module", params=[*POTENTIALS, "bundled potential"])
def potential(request):
    return mf.get_adapter(
        mf.load_model(bundled.POTENTIAL) if request.param == "bundled potential" else load(request.param)
    )


def test_derivatives_are_those_of_the_potential(potential, crystals):
    """Along every direction the energy's slope is -F.d or V stress:e, and the embedding's that of differences."""
    structure = crystals[0]
    found = tangents(potential, structure, 5, 3, np.random.default_rng(0))
    own = label([structure], potential)
    assert found.energy == pytest.approx(own.energy[0], abs=1e-5)
    forces = -np.einsum("qnc,nc->q", found.displacements, own.forces[0])
    stress = structure.volume * np.einsum("pij,ij->p", found.strains, own.stress[0])
    np.testing.assert_allclose(found.slopes, np.concatenate([forces, stress]), rtol=1e-3, atol=1e-4)
    with double_precision(potential) as twin:
        h, moved = 1e-4, []
        for sign in (1, -1):
            other = structure.copy()
            coords = structure.cart_coords + sign * h * found.displacements[0]
            for i, x in enumerate(coords):
                other[i] = structure[i].species, structure.lattice.get_fractional_coords(x)
            with torch.no_grad():
                moved.append(twin.forward(twin.collate([twin.graph(other)])).atoms.numpy())
        difference = (moved[0] - moved[1]) / (2 * h)
    scale = np.abs(difference).max()
    np.testing.assert_allclose(found.along[0], difference, rtol=0, atol=5e-3 * scale + 1e-6)


@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_directions_are_orthonormal(n, q, p, seed):
    moves, strains = random_directions(n, q, p, np.random.default_rng(seed))
    assert len(moves) == min(q, 3 * n)
    for group in (moves.flatten(1), strains.flatten(1)):
        np.testing.assert_allclose(group @ group.T, np.eye(len(group)), atol=1e-5)
    assert torch.equal(strains, strains.transpose(1, 2))


def test_a_corrected_potential_is_physics(potential, crystals):
    """Extensive, invariant, forces are gradients of the corrected energy; the embedding stays to the bit."""
    new = corrected(potential, crystals)
    before, after = energies(potential, crystals), energies(new, crystals)
    assert np.abs(after - before).min() > 1e-3
    for change, factor in ((rotated, 1), (permuted, 1), (supercell, len(supercell(crystals[0])) / len(crystals[0]))):
        changed = [change(s) for s in crystals]
        np.testing.assert_allclose(energies(new, changed), factor * after, rtol=2e-4, atol=1e-3)
    np.testing.assert_array_equal(mf.embed(new.model, crystals), mf.embed(potential.model, crystals))
    with double_precision(new) as twin:
        batch = twin.collate([twin.graph(crystals[0])]).movable()
        forces = -torch.autograd.grad(twin.forward(batch).prediction.sum(), batch.displacement)[0]
        h, found = 1e-4, []
        for sign in (1, -1):
            moved = twin.collate([twin.graph(crystals[0])]).movable()
            with torch.no_grad():
                moved.displacement[1, 2] = sign * h
                found.append(float(twin.forward(moved).prediction))
    assert float(forces[1, 2]) == pytest.approx(-(found[0] - found[1]) / (2 * h), abs=1e-4)


def test_a_corrected_potential_is_saved_and_read_by_plain_matgl(potential, crystals, tmp_path):
    new = corrected(potential, crystals)
    new.model.save(tmp_path)
    read = mf.get_adapter(matgl.load_model(str(tmp_path)))
    assert type(core_of(read.model)) is potential.filled_class
    np.testing.assert_array_equal(energies(read, crystals), energies(new, crystals))
    again = new.clone()
    np.testing.assert_array_equal(energies(again, crystals), energies(new, crystals))
    with pytest.raises(ModelError, match="fill-tuned already"):
        mf.fill_tune(read.model)


def test_a_batch_is_corrected_as_its_crystals_are(potential, crystals):
    new = corrected(potential, crystals)
    singles = np.concatenate([energies(new, [s]) for s in crystals])
    np.testing.assert_allclose(energies(new, crystals), singles, rtol=1e-5, atol=1e-4)


@pytest.fixture(scope="module")
def own():
    return mf.get_adapter(mf.load_model(bundled.POTENTIAL))


@pytest.fixture(scope="module")
def known(own):
    return bundled.bundled_pool(own.element_types).structures[:80]


@pytest.fixture(scope="module")
def met(known):
    """Rattled frames of one crystal that the pool has not at rest."""
    rng = np.random.default_rng(0)
    crystal = next(s for s in known if len(s) == 4)
    stretched = crystal.copy()
    stretched.scale_lattice(1.25 * crystal.volume)
    return [Rattle(0.02, 0.25)(stretched, rng)[0] for _ in range(30)]


def test_it_learns_what_can_be_learnt_and_keeps_what_is_known(own, known, met):
    """The oracle is the potential with another correction: frames that were not taught come nearer, known ones stay."""
    oracle = corrected(own, met, seed=1, size=1.0)
    taught, tested = met[:20], met[20:]
    found = make_correction(own, LabelledSet(taught, label(taught, oracle)), known, GuardConfig(), seed=0)
    new = own.filled(correction=found.correction)
    truth = label(tested, oracle)

    def error(adapter):
        return np.abs(np.concatenate(label(tested, adapter).forces) - np.concatenate(truth.forces)).mean()

    assert error(new) < 0.5 * error(own)
    assert found.facts.force_error_left_out_after < 0.7 * found.facts.force_error_left_out_before
    before, after = label(known, own), label(known, new)
    size = np.abs(np.concatenate(before.forces)).mean()
    drift = np.abs(np.concatenate(after.forces) - np.concatenate(before.forces)).mean() / size
    shift = np.mean((after.energy - before.energy) / [len(s) for s in known])
    assert drift < GuardConfig().max_force_drift
    assert abs(shift) < GuardConfig().max_energy_shift
    again = make_correction(own, LabelledSet(taught, label(taught, oracle)), known, GuardConfig(), seed=0)
    assert torch.equal(again.correction.weights, found.correction.weights)


def test_labels_that_do_not_hold_elsewhere_give_no_correction(own, known, met):
    """Noise can be fitted, but frames that were left out do not come nearer."""
    labels = label(met[:10], own)
    rng = np.random.default_rng(0)
    noisy = Labels(labels.energy, [f + rng.normal(0, 0.1, f.shape) for f in labels.forces], labels.stress)
    found = make_correction(own, LabelledSet(met[:10], noisy), known, GuardConfig(), seed=0)
    assert found.correction is None
    assert "does not lower the force error of labelled crystals left out" in found.unsupported_reason


def test_what_is_not_known_is_not_learnt(own, known, met):
    """Without stresses and some energies the forces alone are enough."""
    labels = label(met[:16], corrected(own, met, seed=1, size=1.0))
    energy, stress = labels.energy.copy(), np.full_like(labels.stress, np.nan)
    energy[::2] = np.nan
    labelled = LabelledSet(met[:16], Labels(energy, labels.forces, stress))
    found = make_correction(own, labelled, known, GuardConfig(), seed=0)
    assert found.facts.force_error_left_out_after < 0.8 * found.facts.force_error_left_out_before


def test_energies_alone_do_not_correct(own, known, met):
    frames = dft_frames(met[:4])
    for atoms in frames:
        del atoms.calc.results["forces"], atoms.calc.results["stress"]
    result = mf.fill_tune(own.model, known, labelled=frames, config={"form": "correct"})
    assert not result.accepted
    assert result.report.verdict.reasons[0].startswith("no correction: the labels hold no forces")


def test_known_crystals_may_all_be_large(own, known, met):
    """But one: it alone could not be parted into those that are held and those that are judged by."""
    large = [s * (2, 2, 2) for s in known if len(s) > 2][:12]
    labels = label(met[:8], corrected(own, met, seed=1, size=1.0))
    found = make_correction(own, LabelledSet(met[:8], labels), [*large, known[0]], GuardConfig(), seed=0)
    assert found.facts.reference_crystals == REFERENCE_LEAST


def test_one_crystal_is_not_enough(own, known, met):
    made = [tangents(own, s, 8, 3, np.random.default_rng(0)) for s in (*met[:1], *known[:10])]
    labels = label(met[:1], corrected(own, met, seed=1, size=1.0))
    assert solve_correction(made[:1], labels, made[1:], GuardConfig(), np.random.default_rng(0)).correction is None


def test_derivatives_are_kept_for_a_run_that_goes_on(own, met, tmp_path):
    state = RunState(tmp_path, {"a": 1}, resume=False)
    made = tangents(own, met[0], 3, 2, np.random.default_rng(0))
    state.tangents(7, lambda: made)

    def never():
        raise AssertionError

    kept = RunState(tmp_path, {"a": 1}, resume=True).tangents(7, never)
    for name, value in vars(made).items():
        np.testing.assert_array_equal(getattr(kept, name), value)


@pytest.fixture(scope="module")
def result(own, known, met):
    config = ROOMY | {"form": "correct"}
    return mf.fill_tune(own.model, known, labelled=dft_frames(met[:20]), config=config)


def test_the_verb_corrects_and_undoes(own, known, met, result):
    """Labels of another calculator: forces of further frames come nearer; weights and embedding stay to the bit."""
    assert result.accepted
    new = mf.get_adapter(result.model)
    truth = np.concatenate([a.get_forces() for a in dft_frames(met[20:])])
    errors = [np.abs(np.concatenate(label(met[20:], a).forces) - truth).mean() for a in (own, new)]
    assert errors[1] < 0.7 * errors[0]
    kept = {k: v for k, v in new.model.state_dict().items() if ".correction." not in k}
    assert all(torch.equal(v, kept[k]) for k, v in own.model.state_dict().items())
    np.testing.assert_array_equal(mf.embed(result.model, known), mf.embed(own.model, known))
    assert result.undo() is own.model
    assert "environments" in result.report.run.correction
    assert result.report.history is None


def test_a_branch_and_a_correction_are_attached_together(own, known, met, tmp_path):
    """Models of version 0.1.0 may have both: embedding original ⊕ tuned, corrected predictions, saved and read."""
    config = ROOMY | {"form": "correct"}
    result = mf.fill_tune(own.model, known, labelled=dft_frames(met[:20]), config=config)
    assert result.accepted
    correction = result.model.model.correction.scaled(float(own.model.data_std))
    new = own.filled(own.tuned_branch(), correction)
    make_savable(new.model)
    new.model.save(tmp_path)
    read = mf.get_adapter(mf.load_model(tmp_path))
    assert new.dim == 2 * own.dim
    assert np.abs(energies(new, met[20:]) - energies(own, met[20:])).max() > 1e-3
    for a, b in zip(read.embed_graphs(read.graphs(met)), new.embed_graphs(new.graphs(met)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_refused_correction_says_why(own, known, met):
    frames = dft_frames(met[:10])
    rng = np.random.default_rng(0)
    for atoms, own_forces in zip(frames, label(met[:10], own).forces, strict=True):
        atoms.calc.results["forces"] = own_forces + rng.normal(0, 0.1, own_forces.shape)
        del atoms.calc.results["stress"]
    result = mf.fill_tune(own.model, known, labelled=frames, config={"form": "correct"})
    assert not result.accepted
    assert "no correction: it does not lower the force error" in result.report.verdict.reasons[0]
    np.testing.assert_array_equal(energies(mf.get_adapter(result.model), met), energies(own, met))


def test_only_potentials_with_labels_are_corrected(model, pool, own):
    for given_one, labels in ((model, {"oracle": own.model}), (own.model, {})):
        with pytest.raises(InputError, match="it needs a MatGL Potential on PyG, and an oracle or labelled crystals"):
            mf.fill_tune(given_one, pool, config={"form": "correct"}, **labels)
