from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.core.structure_matcher import StructureMatcher

import matgl_fill as mf
from matgl_fill.errors import GenerationError, MatglFillWarning
from matgl_fill.generate import choose_targets
from matgl_fill.generate.copies import altered_copies
from matgl_fill.generate.filters import MIN_DISTANCE, Filters, charge_balanced, closest_ratio
from matgl_fill.generate.moves import MAX_RADIUS_MISMATCH, Rattle, Strain, Substitute, radius, replacements

N = 12


@pytest.fixture(scope="module")
def proposals(model, pool):
    return mf.propose(model, pool, n=N, seed=0)


def test_proposals_are_valid_new_and_distinct(model, pool, proposals):
    filters = Filters(mf.get_adapter(model), pool.structures)
    matcher = StructureMatcher()
    assert len(proposals) == N
    for i, p in enumerate(proposals):
        assert filters.refuse(p.structure) is None
        known = [s for s in pool.structures if s.composition.reduced_formula == p.structure.composition.reduced_formula]
        assert not any(matcher.fit(p.structure, s) for s in known)
        assert not any(matcher.fit(p.structure, q.structure) for q in proposals[:i])
        assert p.parent in pool.ids
        assert p.moves


def test_proposals_lie_nearer_to_their_own_target_than_to_the_others(model, pool, proposals):
    scale = mf.embed(model, pool).std(axis=0)
    made = mf.embed(model, [p.structure for p in proposals])
    targets = np.unique([p.target for p in proposals], axis=0)
    nearer = []
    for z, p in zip(made, proposals, strict=True):
        others = targets[np.abs(targets - p.target).max(axis=1) > 0]
        own = np.linalg.norm((z - p.target) / scale)
        nearer.append(own < np.median(np.linalg.norm((z - others) / scale, axis=1)))
    assert len(targets) > 3
    assert np.mean(nearer) >= 0.9


def test_one_seed_gives_the_same_crystals(model, pool, proposals):
    again = mf.propose(model, pool, n=N, seed=0)
    other = mf.propose(model, pool, n=N, seed=1)
    assert [p.structure for p in again] == [p.structure for p in proposals]
    assert [p.structure for p in other] != [p.structure for p in proposals]


@pytest.mark.parametrize("choice", ["random", "farthest"])
def test_controls_differ_in_the_targets_only(model, pool, proposals, choice):
    control = mf.propose(model, pool, n=N, seed=0, choice=choice)
    assert len(control) == N
    assert not np.array_equal(control[0].target, proposals[0].target)


def test_farthest_targets_are_further_apart_than_random_ones(model, pool):
    Z = mf.embed(model, pool)
    rough = mf.analyze_roughness(Z, structures=pool)
    spread = {}
    for choice in ("farthest", "random"):
        T = choose_targets(Z, rough, 20, choice, 0)[0] / Z.std(axis=0)
        distance = np.linalg.norm(T[:, None] - T[None], axis=2) + np.eye(20) * 1e9
        spread[choice] = distance.min()
    assert spread["farthest"] > 1.5 * spread["random"]


def test_too_many_crystals_are_a_warning_with_the_count(model, pool):
    with pytest.warns(MatglFillWarning, match=r"only \d+ of 2000 crystals"):
        got = mf.propose(model, pool.subset(range(25)), n=2000)
    assert 0 < len(got) < 2000


def test_no_crystal_at_all_is_a_generation_error(model, pool):
    with pytest.raises(GenerationError, match="at least 1"):
        mf.propose(model, pool, n=0)


seeds = st.integers(0, 10**6)


@given(seed=seeds, row=st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_substitutes_are_alike_and_fill_the_same_share_of_space(pool, seed, row):
    old = pool.structures[row % len(pool)]
    done = Substitute(("Na", "K", "Rb", "Mg", "Ca", "Sr", "O", "S", "Se", "F", "Cl", "Ti", "Zr"))(
        old, np.random.default_rng(seed)
    )
    if done is None:
        return
    new = done[0]
    for a, b in zip(old.species, new.species, strict=True):
        assert abs(radius(a.symbol) - radius(b.symbol)) <= MAX_RADIUS_MISMATCH * radius(a.symbol)
    share = [sum(radius(e.symbol) ** 3 for e in s.species) / s.volume for s in (old, new)]
    assert share[0] == pytest.approx(share[1], rel=1e-6)


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_rattle_and_strain_keep_to_their_amplitudes(crystals, seed):
    rng = np.random.default_rng(seed)
    s = crystals[1]
    moved, _ = Rattle(0.05, 0.05)(s, rng)
    assert np.abs(moved.cart_coords - s.cart_coords).max() < 0.05 * 6
    strained, _ = Strain(0.03)(s, rng)
    e = np.linalg.solve(s.lattice.matrix, strained.lattice.matrix) - np.eye(3)
    np.testing.assert_allclose(e, e.T, atol=1e-9)
    assert 0 < np.abs(e).max() <= 0.09 + 1e-9


def test_replacements_are_a_distribution_without_the_element_itself():
    options = dict(replacements("Na", ("Li", "Na", "K", "Mg", "Cl", "Ag")))
    assert sum(options.values()) == pytest.approx(1)
    assert "Na" not in options
    assert "Cl" not in options


@pytest.mark.parametrize(
    ("formula", "verdict"),
    [("NaCl", True), ("SrTiO3", True), ("Fe3O4", True), ("Na2Cl", False), ("AlNi", None), ("Si", None)],
)
def test_charge_balance(formula, verdict):
    assert charge_balanced(formula) is verdict


def test_closest_ratio_sees_periodic_images():
    s = Structure(Lattice.orthorhombic(1.5, 9, 9), ["Cu"], [[0, 0, 0]])
    assert closest_ratio(s) == pytest.approx(1.5 / (2 * 1.32), rel=1e-6)


def test_copies_keep_their_distance_and_change_elements(crystals):
    elements = ("Na", "K", "Cl", "Br", "Sr", "Ba", "Ti", "Zr", "O", "S", "Si", "Ge")
    plain = altered_copies(crystals, 5, np.random.default_rng(0), 0.25, 0.04)
    other = altered_copies(crystals, 5, np.random.default_rng(0), 0.25, 0.04, 1.0, elements)
    assert min(closest_ratio(s) for s in plain + other) >= MIN_DISTANCE
    formulas = {s.formula for s in crystals}
    assert {s.formula for s in plain} <= formulas
    assert np.mean([s.formula not in formulas for s in other]) > 0.6
