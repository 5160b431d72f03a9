from __future__ import annotations

import numpy as np
import pytest

import matgl_fill as mf
from matgl_fill.adapters import predict
from matgl_fill.structures import elements_of, formulas_of
from matgl_fill.training import LabelledSet, Labels
from matgl_fill.training.potential import crystals as made
from matgl_fill.training.potential.relax import relax
from tests.helpers import DGL, displaced, pool_of, salt

pytestmark = pytest.mark.skipif(DGL, reason="a potential learns from labels on PyG")


@pytest.fixture(scope="module")
def potential():
    return mf.get_adapter(mf.load_model("potential"))


def labelled_by(potential, crystals) -> LabelledSet:
    found = predict(potential, potential.graphs(crystals))
    return LabelledSet(crystals, Labels(found.energy, found.forces, found.stress))


def test_general_crystals_are_of_all_elements_and_half_of_them_away_from_rest(potential):
    crystals = made.general_crystals(potential.element_types, 700, 0)
    assert len(crystals) >= 650
    assert len(elements_of(crystals)) >= 70
    assert len(set(formulas_of(crystals))) >= 600
    forces = [np.abs(f).max() for f in predict(potential, potential.graphs(crystals)).forces]
    assert np.mean(np.array(forces[:350]) < 0.5) > 0.65
    assert np.mean(np.array(forces[350:]) > 0.1) > 0.7


def test_general_crystals_keep_to_the_elements_and_the_seed():
    few = made.general_crystals(("Na", "K", "Cl", "Br", "F"), 40, 3)
    assert set(elements_of(few)) <= {"Na", "K", "Cl", "Br", "F"}
    again = made.general_crystals(("Na", "K", "Cl", "Br", "F"), 40, 3)
    assert [s.lattice.matrix.tobytes() for s in few] == [s.lattice.matrix.tobytes() for s in again]


def test_relaxation_lowers_forces_and_stress(potential):
    moved = [displaced(salt(5.3, pair), 0.15) for pair in (("Na", "Cl"), ("K", "Cl"), ("Na", "Br"))]
    done = relax(potential, moved, 25)
    before, after = (predict(potential, potential.graphs(x)) for x in (moved, done))
    assert len(done) == 3
    assert formulas_of(done) == formulas_of(moved)
    for was, now in zip(before.forces, after.forces, strict=True):
        assert np.abs(now).max() < 0.5 * np.abs(was).max()
    assert np.abs(after.stress).mean() < 0.5 * np.abs(before.stress).mean()


def test_the_class_at_rest_has_known_crystals_and_new_members(potential, monkeypatch):
    monkeypatch.setattr(made, "MEMBERS", 60)  # of each known crystal enough draws that a rare exchange comes
    moved = [displaced(salt(5.6, pair), 0.1) for pair in (("Na", "Cl"), ("K", "Br"), ("Na", "Br"))]
    own = pool_of(potential, [salt(5.7), salt(4.2, ("Mg", "O"))])
    found = made.crystals_at_rest(potential, own, labelled_by(potential, moved), 0)
    formulas = formulas_of(found)
    assert formulas[:4] == ["NaCl", *sorted(formulas[1:4], key=formulas.index)]
    assert set(formulas[1:4]) == {"NaCl", "KBr", "NaBr"}
    assert set(elements_of(found)) <= {"Na", "K", "Cl", "Br"}
    assert "KCl" in formulas[4:]
    forces = [np.abs(f).max() for f in predict(potential, potential.graphs(found)).forces]
    assert np.median(forces) < 0.1


def test_own_labels_leave_out_what_the_potential_cannot_take(potential):
    kept = made.own_labels(potential, [salt(5.7), salt(5.7, ("Na", "Og")), salt(5.2)])
    assert formulas_of(kept.structures) == ["NaCl", "NaCl"]
    np.testing.assert_allclose(
        kept.labels.energy, potential.embed_graphs(potential.graphs(kept.structures))[1], rtol=1e-6
    )
