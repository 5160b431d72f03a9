from __future__ import annotations

import numpy as np
import pytest
from ase.geometry import get_distances
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Element, Lattice, Structure
from pymatgen.core.structure_matcher import StructureMatcher
from pymatgen.core.structure_prediction.substitution_probability import SubstitutionProbability
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from matgl_fill.generation.filters import MIN_DISTANCE, closest_ratio
from matgl_fill.generation.moves import (
    MAX_ANION_MISMATCH,
    MAX_RADIUS_MISMATCH,
    Antisite,
    Chain,
    Decorate,
    Gap,
    Interpolate,
    Interstitial,
    MonteCarloRattle,
    Rattle,
    Strain,
    Substitute,
    Supercell,
    SymmetricStrain,
    Vacancy,
    Volume,
    atomic_volumes,
    radius,
    radius_mismatch,
    replacements,
    scaled_volume,
)
from matgl_fill.generation.moves.sites import voids

ELEMENTS = (
    "Na",
    "K",
    "Rb",
    "Mg",
    "Ca",
    "Sr",
    "O",
    "S",
    "Se",
    "F",
    "Cl",
    "Br",
    "Ti",
    "Zr",
    "Fe",
    "Co",
    "Ni",
    "Al",
    "Ga",
)


NAMES = (
    "rattle",
    "monte carlo",
    "strain",
    "symmetric strain",
    "volume",
    "substitute",
    "mined",
    "antisite",
    "vacancy",
    "interstitial",
    "supercell",
    "decorate",
    "interpolate",
    "gap",
    "chain",
)


KEEPERS = ("symmetric strain", "volume", "substitute", "mined", "chain")


seeds = st.integers(0, 10**6)


rows = st.integers(0, 200)


@pytest.fixture(scope="module")
def small(pool):
    return tuple(s for s in pool.structures if 2 <= len(s) <= 10)


@pytest.fixture(scope="module")
def moves(small):
    made = (
        Rattle(),
        MonteCarloRattle(),
        Strain(),
        SymmetricStrain(),
        Volume(),
        Substitute(ELEMENTS, volumes=atomic_volumes(small)),
        Substitute(ELEMENTS, mined=True),
        Antisite(),
        Vacancy(least_atoms=8),
        Interstitial(),
        Supercell(ELEMENTS),
        Decorate(small),
        Interpolate(small),
        Gap(),
        Chain((Substitute(ELEMENTS), Volume(), SymmetricStrain())),
    )
    return dict(zip(NAMES, made, strict=True))


def cubic(symbols, spacegroup, a, sites):
    return Structure.from_spacegroup(spacegroup, Lattice.cubic(a), symbols, sites).get_primitive_structure()


@pytest.fixture(scope="module")
def fluorite():
    return cubic(["Ca", "F"], "Fm-3m", 5.46, [[0, 0, 0], [0.25] * 3])


@pytest.mark.parametrize("name", NAMES)
@given(seed=seeds, row=rows)
@settings(max_examples=8, deadline=None)
def test_moves_leave_their_input_and_follow_the_seed(moves, small, name, seed, row):
    old = small[row % len(small)]
    before = old.as_dict()
    done, again = (moves[name](old, np.random.default_rng(seed)) for _ in range(2))
    assert old.as_dict() == before
    assert (done is None) == (again is None)
    if done:
        assert done[0] is not old
        assert done[0].as_dict() == again[0].as_dict()
        assert done[1] == again[1]
        assert done[1]
        assert done[0].is_ordered


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_gives_another_crystal(moves, small, name):
    made = [done[0] for s in small[:20] for k in range(4) if (done := moves[name](s, np.random.default_rng(k)))]
    assert len({str(m) for m in made}) > 20


@pytest.mark.parametrize("name", KEEPERS)
@given(seed=seeds, row=rows)
@settings(max_examples=15, deadline=None)
def test_moves_keep_the_space_group_where_they_say_so(moves, small, name, seed, row):
    move = moves[name]
    ideal = SpacegroupAnalyzer(small[row % len(small)], 0.01).get_primitive_standard_structure()
    done = move(ideal, np.random.default_rng(seed))
    if done:
        kept = [SpacegroupAnalyzer(s, 0.01).get_space_group_number() for s in (ideal, done[0])]
        assert kept[0] == kept[1]


def test_which_moves_keep_the_space_group(moves):
    keep = {name for name, move in moves.items() if move.keeps_symmetry}
    assert keep == set(KEEPERS)
    assert not Chain((Volume(), Rattle())).keeps_symmetry


@pytest.mark.parametrize(
    ("spacegroup", "lattice", "free"),
    [
        ("Pm-3m", Lattice.cubic(4.0), 1),
        ("P4/mmm", Lattice.tetragonal(4.0, 5.0), 2),
        ("P6/mmm", Lattice.hexagonal(3.0, 5.0), 2),
        ("Pmmm", Lattice.orthorhombic(3, 4, 5), 3),
        ("P2/m", Lattice.monoclinic(3, 4, 5, 100), 4),
        ("P-1", Lattice.from_parameters(3, 4, 5, 80, 95, 105), 6),
    ],
)
def test_symmetric_strain_has_as_many_components_as_the_crystal_system_leaves_free(spacegroup, lattice, free):
    s = Structure.from_spacegroup(spacegroup, lattice, ["Cu"], [[0, 0, 0]])
    rng = np.random.default_rng(0)
    strains = [np.linalg.solve(s.lattice.matrix, SymmetricStrain(0.02)(s, rng)[0].lattice.matrix) for _ in range(12)]
    values = np.linalg.svd(np.array([e - np.eye(3) for e in strains]).reshape(12, 9), compute_uv=False)
    assert (values > 1e-6).sum() == free


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
    swollen, _ = Volume(0.1)(s, rng)
    assert 0.9 <= swollen.volume / s.volume <= 1.1
    np.testing.assert_allclose(swollen.frac_coords, s.frac_coords)


@given(seed=seeds, row=rows)
@settings(max_examples=20, deadline=None)
def test_monte_carlo_rattle_keeps_its_distances(small, seed, row):
    old = small[row % len(small)]
    new, _ = MonteCarloRattle(closest=0.8, reach=0.4)(old, np.random.default_rng(seed))
    assert closest_ratio(new) >= min(closest_ratio(old), 0.8) - 1e-9
    assert np.linalg.norm(new.cart_coords - old.cart_coords, axis=1).max() <= 0.4 + 1e-9


def test_monte_carlo_rattle_avoids_contacts_that_a_plain_one_of_the_same_size_makes(small):
    rng = np.random.default_rng(0)
    large = [s for s in small if len(s) > 4][:30]
    moved = [(s, MonteCarloRattle(0.15, closest=0.8, reach=1.0)(s, rng)[0]) for s in large]
    size = np.sqrt(np.mean(np.concatenate([(b.cart_coords - a.cart_coords).ravel() for a, b in moved]) ** 2))
    plain = [Rattle(size, size)(s, rng)[0] for s in large]
    assert size > 0.2
    assert np.mean([closest_ratio(s) < MIN_DISTANCE for s in plain]) > 0.3
    assert np.mean([closest_ratio(s) < MIN_DISTANCE for _, s in moved]) == 0


def mismatches(old, new):
    cation, anion = radius_mismatch(old, new), radius_mismatch(old, new, anion=True)
    return cation / MAX_RADIUS_MISMATCH, np.inf if anion is None else anion / MAX_ANION_MISMATCH


@pytest.mark.parametrize("mined", [False, True])
@given(seed=seeds, row=rows)
@settings(max_examples=30, deadline=None)
def test_substitutes_are_alike_and_fill_the_same_share_of_space(small, mined, seed, row):
    old = small[row % len(small)]
    done = Substitute(ELEMENTS, mined)(old, np.random.default_rng(seed))
    if done is None:
        return
    new = done[0]
    pairs = {(a.symbol, b.symbol) for a, b in zip(old.species, new.species, strict=True) if a != b}
    assert pairs
    assert all(min(mismatches(a, b)) <= 1 for a, b in pairs)
    assert len(new.elements) == len(old.elements)
    share = [sum(radius(e.symbol) ** 3 for e in s.species) / s.volume for s in (old, new)]
    assert share[0] == pytest.approx(share[1], rel=1e-6)


@pytest.mark.parametrize("mined", [False, True])
def test_replacements_are_a_distribution_over_like_elements(mined):
    options = dict(replacements("Na", ("Li", "Na", "K", "Mg", "Cl", "Ag"), mined))
    assert sum(options.values()) == pytest.approx(1)
    assert set(options) <= {"Li", "K", "Ag"}
    assert dict(replacements("O", ("S", "F", "Ti"), mined)).get("Ti") is None
    assert replacements("Sr", ("Ba", "Ca", "Mg"), mined)[0][0] in {"Ba", "Ca"}


def test_mined_likelihoods_are_those_of_the_icsd():
    mined = dict(replacements("Sr", ("Ca", "Ba", "Mg", "K"), mined=True))
    table = SubstitutionProbability()
    conditional = {el: table.cond_prob(f"{el}2+", "Sr2+") for el in ("Ca", "Ba")}
    assert mined["Ca"] / mined["Ba"] == pytest.approx(conditional["Ca"] / conditional["Ba"])
    assert "K" not in mined
    assert dict(replacements("Sr", ("Ca", "Ba")))["Ca"] != pytest.approx(mined["Ca"], rel=0.02)


@pytest.mark.parametrize(("symbol", "expected"), [("O", "S"), ("F", "Cl"), ("S", "Se"), ("Cl", "Br")])
def test_anions_are_replaced_by_anions(symbol, expected):
    options = dict(replacements(symbol, (*ELEMENTS, "Si", "B", "Ge"), anion=True))
    assert expected in options
    assert not {"Si", "B", "Ge", "Ti"} & set(options)
    salt = cubic(["Mg", symbol], "Fm-3m", 5, [[0, 0, 0], [0.5] * 3])
    rng = np.random.default_rng(0)
    drawn = {done[1] for _ in range(8) if (done := Substitute((expected, "Si"))(salt, rng))}
    assert drawn == {f"{symbol}->{expected}"}


def test_antisite_swaps_two_alike_atoms_and_nothing_else(small):
    rng = np.random.default_rng(0)
    seen = 0
    for old in small:
        done = Antisite()(old, rng)
        if done is None:
            continue
        seen += 1
        changed = [(a, b) for a, b in zip(old.species, done[0].species, strict=True) if a != b]
        assert len(changed) == 2
        assert changed[0] == changed[1][::-1]
        assert abs(float(Element(changed[0][0].symbol).X) - float(Element(changed[0][1].symbol).X)) <= 1
        assert done[0].composition == old.composition
    assert seen > 5
    assert Antisite(9)(cubic(["Na", "Cl"], "Fm-3m", 5.6, [[0, 0, 0], [0.5] * 3]), rng) is None


@given(seed=seeds, row=rows)
@settings(max_examples=30, deadline=None)
def test_atoms_are_counted_as_claimed(small, seed, row):
    old, rng = small[row % len(small)], np.random.default_rng(seed)
    if done := Vacancy()(old, rng):
        assert len(done[0]) == len(old) - 1
        assert done[0].elements == old.elements
    if done := Vacancy(least_atoms=12)(old, rng):
        assert len(done[0]) >= 11
        assert (len(done[0]) + 1) % len(old) == 0
    if done := Interstitial()(old, rng):
        assert len(done[0]) == len(old) + 1
    if done := Supercell(ELEMENTS)(old, rng):
        assert len(done[0]) == 2 * len(old)
        assert not StructureMatcher().fit(done[0], old)
    if done := Gap(max_atoms=30)(old, rng):
        assert len(done[0]) <= 30
        assert len(done[0]) % len(old) == 0


def test_vacancies_leave_some_of_each_element():
    assert (
        Vacancy()(Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3]), np.random.default_rng(0)) is None
    )


def test_voids_of_fluorite_are_the_octahedral_sites(fluorite):
    points, distance = voids(fluorite)
    widest = points[distance.min(axis=1).argmax()]
    frac = fluorite.lattice.get_fractional_coords(widest)
    np.testing.assert_allclose(frac - np.floor(frac), 0.5, atol=1e-6)
    assert distance.min(axis=1).max() == pytest.approx(5.46 * np.sqrt(3) / 4, rel=1e-6)


@given(seed=seeds, row=rows)
@settings(max_examples=20, deadline=None)
def test_interstitials_have_the_room_they_ask_for(small, seed, row):
    old = small[row % len(small)]
    done = Interstitial(("Li",), closest=0.9)(old, np.random.default_rng(seed))
    if done is None:
        return
    new = done[0]
    _, d = get_distances(new.cart_coords[-1:], new.cart_coords[:-1], cell=new.lattice.matrix, pbc=True)
    sums = radius("Li") + np.array([radius(e.symbol) for e in old.species])
    assert (d[0] / sums).min() >= 0.9 - 1e-6


def test_decoration_puts_the_elements_on_the_other_crystals_sites():
    caesium = Structure(Lattice.cubic(4.1), ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3])
    blende = cubic(["S", "Zn"], "F-43m", 5.4, [[0] * 3, [0.25] * 3])
    new, record = Decorate((caesium, blende))(caesium, np.random.default_rng(0))
    assert new.composition.reduced_formula == "CsCl"
    assert new.get_space_group_info()[0] == "F-43m"
    assert [e.symbol for e in new.species] == ["Cl" if e.symbol == "S" else "Cs" for e in blende.species]
    assert new.volume == pytest.approx(scaled_volume(blende, ["Cs", "Cl"], None))
    assert "ZnS" in record
    assert Decorate((caesium,))(caesium, np.random.default_rng(0)) is None


@pytest.fixture
def perovskites():
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    ideal = Structure(Lattice.cubic(3.9), ["Sr", "Ti", "O", "O", "O"], sites)
    sites[1] = [0.5, 0.5, 0.54]
    # Another origin, order of atoms and axes, which the matching has to undo.
    polar = Structure(Lattice.tetragonal(3.9, 4.2), ["Ba", "Ti", "O", "O", "O"], sites)
    polar = Structure(polar.lattice, polar.species[::-1], polar.frac_coords[::-1] + np.array([0.2, 0.1, 0.4]))
    return ideal, Structure(polar.lattice.matrix[[2, 0, 1]], polar.species, polar.frac_coords[:, [2, 0, 1]])


def test_interpolation_goes_from_one_parent_to_the_other(perovskites):
    ideal, polar = perovskites
    rng = np.random.default_rng(0)
    ratios = []
    for share in (0.25, 0.5, 1.0):
        new, _ = Interpolate((polar,), low=share, high=share)(ideal, rng)
        assert [e.symbol for e in new.species] == ["Sr", "Ti", "O", "O", "O"]
        ratios.append(max(new.lattice.abc) / min(new.lattice.abc))
    assert ratios == pytest.approx([1 + k * (4.2 / 3.9 - 1) for k in (0.25, 0.5, 1)], abs=2e-3)
    end = StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.5)
    polar.replace_species({"Ba": "Sr"})
    assert end.fit(new, polar)
    assert not end.fit(new, ideal)
    assert Interpolate((polar,), low=0, high=0)(ideal, rng) is None
    assert Interpolate((ideal,))(ideal, rng) is None


@given(seed=seeds, row=rows)
@settings(max_examples=20, deadline=None)
def test_a_gap_opens_one_plane_and_brings_no_atoms_together(small, seed, row):
    old = small[row % len(small)]
    done = Gap(1.5, 1.5)(old, np.random.default_rng(seed))
    if done is None:
        return
    new = done[0]
    cells = len(new) // len(old)
    area = np.linalg.norm(np.cross(*new.lattice.matrix[:2]))
    assert new.volume == pytest.approx(cells * old.volume + 1.5 * area, rel=1e-6)
    assert closest_ratio(new) >= closest_ratio(old) - 1e-6


def test_atomic_volumes_predict_unseen_crystals_better_than_radii(pool):
    known, unseen = pool.structures[::2], pool.structures[1::2]
    fitted = atomic_volumes(known)
    unseen = [s for s in unseen if {e.symbol for e in s.elements} <= fitted.keys()]
    scale = np.median([s.volume / sum(radius(e.symbol) ** 3 for e in s.species) for s in known])
    by_fit = [abs(np.log(sum(fitted[e.symbol] for e in s.species) / s.volume)) for s in unseen]
    by_radius = [abs(np.log(scale * sum(radius(e.symbol) ** 3 for e in s.species) / s.volume)) for s in unseen]
    assert len(unseen) > 50
    assert np.mean(by_fit) < 0.8 * np.mean(by_radius)
