from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition, Element, Lattice, Structure

import matgl_fill as mf
from matgl_fill.adapters import predict
from matgl_fill.config import GuardConfig
from matgl_fill.guard import CrystalClass, Drift, LabelGuard, folds_by_formula
from matgl_fill.guard.guard import ALPHAS
from matgl_fill.guard.labels import FEW_LABELS, FOLDS
from matgl_fill.structures import formulas_of
from matgl_fill.training import LabelledSet, Labels
from tests.helpers import DGL, displaced, salt, with_noise

pytestmark = pytest.mark.skipif(DGL, reason="a potential learns from labels on PyG")
SALTS = [(a, b) for a in ("Na", "K", "Rb", "Li") for b in ("F", "Cl", "Br", "I")]


def moved(count: int, seed: int = 0):
    """Displaced rock salts of many formulas."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(count):
        structure = salt(5.2 + 0.05 * (k % 16), SALTS[k % len(SALTS)])
        away = rng.uniform(0.02, 0.15) * rng.normal(size=(8, 3))
        coords = structure.cart_coords + away
        made.append(Structure(structure.lattice, structure.species, coords, coords_are_cartesian=True))
    return made


@pytest.fixture(scope="module")
def potential():
    return mf.get_adapter(mf.load_model("potential"))


def stiff(adapter):
    """A copy of a potential with other energies."""
    other = adapter.clone()
    other.model.data_std *= 1.2
    return other


def labels_by(adapter, structures) -> Labels:
    found = predict(adapter, adapter.graphs(structures))
    return Labels(found.energy, found.forces, found.stress)


def parts_by(adapter, structures) -> list[LabelledSet]:
    """All labelled crystals as one part, which judges one copy."""
    return [LabelledSet(structures, labels_by(adapter, structures))]


@given(st.lists(st.integers(0, 15), min_size=1, max_size=60), st.integers(0, 9))
def test_every_label_judges_at_most_once_and_no_copy_learns_from_what_judges_it(kinds, seed):
    structures = [salt(5.5, SALTS[k]) for k in kinds]
    folds = folds_by_formula(structures, seed)
    if len(structures) < FEW_LABELS:
        assert not folds
        return
    judged = [i for fold in folds for i in fold.judged]
    assert len(judged) == len(set(judged))
    formulas = np.array(formulas_of(structures))
    shown = Counter(e.symbol for name in set(formulas) for e in Composition(name).elements)
    for fold in folds:
        assert sorted([*fold.taught, *fold.judged]) == list(range(len(structures)))
        learnt = {e.symbol for i in fold.taught for e in structures[i].elements}
        assert {e.symbol for i in fold.judged for e in structures[i].elements} <= learnt
        for name in set(formulas[fold.taught]) & set(formulas[fold.judged]):  # shared out crystal by crystal
            assert len(set(formulas)) < FOLDS or any(shown[e.symbol] == 1 for e in Composition(name).elements)


def test_elemental_crystals_judge_one_by_one():
    metals = [Structure(Lattice.cubic(3.0 + 0.01 * k), [("Cu", "Ni", "Li")[k % 3]], [[0, 0, 0]]) for k in range(30)]
    folds = folds_by_formula(metals, 0)
    assert sorted(i for fold in folds for i in fold.judged) == list(range(30))
    assert all({metals[i].species[0].symbol for i in fold.taught} == {"Cu", "Ni", "Li"} for fold in folds)


def test_crystals_of_elements_of_their_own_judge_nothing():
    symbols = [e.symbol for e in Element if e.Z <= 30]
    assert folds_by_formula([Structure(Lattice.cubic(3), [x], [[0, 0, 0]]) for x in symbols], 0) == []


def test_no_change_is_no_gain(potential):
    held = moved(32)
    guard = LabelGuard(potential, parts_by(stiff(potential), held), [], GuardConfig())
    _, found = guard.judge(potential, [potential.clone()], lambda weights: weights)
    assert not found.verdict.accepted
    assert len(found.verdict.tried) == len(ALPHAS)


def test_the_truth_is_accepted_and_what_is_worse_is_not(potential):
    held, elsewhere = moved(32), [displaced(salt(4.2, ("Mg", "O")), 0.05), salt(4.8, ("Ca", "O"))]
    teacher = with_noise(potential.clone(), 0.1)
    guard = LabelGuard(potential, parts_by(teacher, held), elsewhere, GuardConfig())
    elements = CrystalClass(potential, held).elements

    def placed(weights):
        return potential.with_tuned_core(weights, elements)

    accepted, found = guard.judge(potential, [teacher], placed)
    assert found.verdict.accepted
    assert found.verdict.alpha == 1.0
    assert all(c.after < 1e-3 * c.before for c in found.comparison.changes)
    assert "forces at rest" in found.unjudged[0]
    assert np.array_equal(
        accepted.embed_graphs(accepted.graphs(elsewhere))[1], potential.embed_graphs(potential.graphs(elsewhere))[1]
    )
    _, refused = guard.judge(potential, [with_noise(teacher.clone(), -0.5)], placed)
    assert not refused.verdict.accepted
    assert refused.verdict.tried[1.0]


def test_a_handful_of_crystals_at_rest_refuses_nothing_and_is_told(potential):
    crystals, rest = moved(32), [salt(5.7, ("Na", "Cl")), salt(6.3, ("K", "Cl")), salt(5.2, ("Li", "Cl"))]
    teacher = with_noise(potential.clone(), 0.1)
    known = [LabelledSet(crystals, labels_by(teacher, crystals)), LabelledSet(rest, labels_by(potential, rest))]
    assert all(np.abs(f).max() < 0.05 for f in known[1].labels.forces)
    guard = LabelGuard(potential, known, [], GuardConfig())
    _, found = guard.judge(potential, [teacher, teacher], lambda weights: weights)
    assert found.verdict.accepted
    assert found.comparison.change("forces at rest").n == 3
    assert "fewer than 8 crystals have labels: forces at rest" in found.unjudged[0]


def test_each_copy_is_judged_on_its_own_part_and_their_mean_is_handed_over(potential):
    crystals = moved(32)
    teacher = with_noise(potential.clone(), 0.1)
    whole = LabelledSet(crystals, labels_by(teacher, crystals))
    parts = [whole.subset(range(16)), whole.subset(range(16, 32))]
    guard = LabelGuard(potential, parts, [], GuardConfig())
    accepted, found = guard.judge(potential, [teacher, potential.clone()], lambda weights: weights)
    errors = found.comparison.after.crystal_errors("forces")
    assert errors[:16].max() < 1e-3 * errors[16:].max()
    np.testing.assert_array_equal(errors[16:], found.comparison.before.crystal_errors("forces")[16:])
    name, p = next(iter(accepted.core.named_parameters()))
    both = [dict(a.core.named_parameters())[name] for a in (teacher, potential)]
    torch.testing.assert_close(p, (both[0] + both[1]) / 2)


def test_weights_that_act_everywhere_are_refused_where_they_move_the_rest(potential):
    held, elsewhere = moved(32), [displaced(salt(4.2, ("Mg", "O")), 0.05), displaced(salt(4.8, ("Ca", "O")), 0.05)]
    teacher = with_noise(potential.clone(), 0.1)
    guard = LabelGuard(potential, parts_by(teacher, held), elsewhere, GuardConfig())
    _, found = guard.judge(potential, [teacher], lambda weights: weights)
    assert "forces outside of the class" in found.verdict.tried[1.0]


def test_a_few_labels_judge_nothing_and_that_is_said(potential):
    guard = LabelGuard(potential, [], [salt(4.2, ("Mg", "O"))], GuardConfig())
    _, found = guard.judge(potential, [potential.clone()], lambda weights: weights)
    assert found.comparison is None
    assert "only of 20 or more crystals" in found.unjudged[0]


def test_a_drift_leaves_elemental_shifts_out(potential):
    structures = [salt(4.2, ("Mg", "O")), salt(4.8, ("Ca", "O")), salt(5.7), salt(6.2, ("K", "Cl"))]
    before = labels_by(potential, structures)
    shifted = Labels(before.energy + np.array([8 * 0.3] * 4), before.forces, before.stress)
    turned = Labels(before.energy, [1.1 * f + 0.0 for f in before.forces], before.stress)
    assert Drift.of(structures, before, shifted).energy < 0.05
    if any(np.abs(f).max() > 1e-4 for f in before.forces):
        assert Drift.of(structures, before, turned).forces == pytest.approx(0.1, rel=1e-3)


def test_the_class_is_what_is_near_and_made_of_its_elements(potential):
    kind = CrystalClass(potential, moved(32))
    near, foreign = salt(5.6, ("K", "Cl")), salt(4.2, ("Mg", "O"))
    metal = Structure(Lattice.cubic(4.2), ["Na", "Na"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    found = kind.outside(potential, [near, foreign, metal], potential.graphs([near, foreign, metal]))
    assert found.tolist() == [False, True, True]
