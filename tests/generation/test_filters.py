from __future__ import annotations

import numpy as np
import pytest
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from helpers import salt
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.core.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor

from matgl_fill.errors import InputError
from matgl_fill.generation import filters as module
from matgl_fill.generation.charge import catenated_anions, charge_balanced
from matgl_fill.generation.filters import MIN_DISTANCE, NAMES, Filters, closest_ratio, density
from matgl_fill.generation.moves import Chain, Gap, Interstitial, Rattle, Strain, Substitute, Supercell, Vacancy, Volume

ELEMENTS = ("Na", "K", "Mg", "Ca", "O", "S", "F", "Cl", "Ti", "Zr", "Fe", "Ni", "Al", "Ga")
WILD = (
    Rattle(0.1, 0.4),
    Chain((Strain(0.1), Rattle(0.05, 0.2))),
    Volume(0.6),
    Chain((Substitute(ELEMENTS), Strain(0.05))),
    Supercell(ELEMENTS),
    Vacancy(),
    Interstitial(closest=0.5),
    Gap(0.5, 8.0),
)


@pytest.fixture(scope="module")
def filters(adapter, pool):
    return Filters(adapter, pool.structures, max_atoms=24)


@given(seed=st.integers(0, 10**6), row=st.integers(0, 200), move=st.sampled_from(WILD))
@settings(max_examples=120, deadline=None)
def test_nothing_accepted_violates_any_bound(filters, pool, seed, row, move):
    done = move(pool.structures[row % len(pool)], np.random.default_rng(seed))
    if done is None or (reason := filters.refuse(done[0])):
        assert done is None or reason.split(":")[0] in NAMES
        return
    s = done[0]
    atoms = AseAtomsAdaptor.get_atoms(s)
    i, j, d = neighbor_list("ijd", atoms, filters.adapter.cutoff, self_interaction=False)
    r = covalent_radii[atoms.numbers]
    assert (d / (r[i] + r[j])).min() >= MIN_DISTANCE
    assert set(i) == set(range(len(s)))
    assert {e.symbol for e in s.elements} <= set(filters.adapter.element_types)
    assert len(s) <= 24
    assert filters.packing[0] <= (4 / 3 * np.pi * r**3).sum() / atoms.get_volume() <= filters.packing[1]
    assert filters.density[0] <= float(s.density) * (1 + 1e-3)
    assert float(s.density) * (1 - 1e-3) <= filters.density[1]
    cell = s.lattice.get_lll_reduced_lattice()
    assert max(cell.abc) / min(cell.abc) <= module.MAX_ASPECT
    assert charge_balanced(s.composition.reduced_formula, catenated_anions(s)) is not False


def near(a, b, distance):
    """Two atoms at a distance, in a cell dense enough for the other filters."""
    return Structure(Lattice.orthorhombic(3.4, 3.4, 3.4), [a, b], [[0, 0, 0], [distance / 3.4, 0, 0]])


def long_cell():
    return Structure(Lattice.orthorhombic(2.6, 2.6, 60), ["Fe"] * 23, [[0, 0, k / 23] for k in range(23)])


@pytest.mark.parametrize(
    ("crystal", "reason"),
    [
        (salt(symbols=("Na", "Rn")), "elements: element Rn is unknown to the model"),
        (salt() * (2, 2, 1), "atoms: 32, more than 24"),
        (long_cell(), "cell: longest over shortest vector 23.1, more than 20"),
        (salt(12.0), "packing: covalent spheres fill 0.05 of the cell, outside"),
        (near("Na", "Cl", 1.4), "distance: Cl-Na at 0.52 of the sum of covalent radii"),
        (salt(symbols=("Ca", "Cl")), "charge: CaCl cannot be balanced"),
    ],
)
def test_reasons_name_the_filter_and_what_is_wrong(filters, crystal, reason):
    assert filters.refuse(crystal).startswith(reason)


def test_acceptable_crystals_are_not_refused(filters, pool):
    assert filters.refuse(salt()) is None
    small = [s for s in pool.structures if len(s) <= 24]
    assert np.mean([filters.refuse(s) is None for s in small]) > 0.9


def test_isolated_atoms_and_densities_are_refused(adapter):
    sparse = Structure(Lattice.cubic(9), ["Xe"], [[0, 0, 0]])
    filters = Filters(adapter, [sparse, salt()])
    filters.packing = filters.density = (0, 99)
    assert filters.refuse(sparse) == f"isolated: Xe without a neighbour within {adapter.cutoff:g} A"
    filters = Filters(adapter, [salt(), salt(5.5)])
    filters.packing = (0, 99)
    assert filters.refuse(salt(6.5)).startswith("density: 1.41 g/cm³ outside")
    assert density(salt()) == pytest.approx(float(salt().density), rel=1e-3)


def described_otherwise(s, rng):
    s = s.copy()
    s.make_supercell([[1, 1, 0], [0, 1, 0], [0, 0, 2]])
    order = rng.permutation(len(s))
    s = Structure(s.lattice.matrix * 1.02, [s.species[i] for i in order], s.frac_coords[order] + rng.random(3))
    return Rattle(0.01, 0.01)(s, rng)[0]


def test_duplicates_are_those_of_the_structure_matcher(adapter, pool):
    rng = np.random.default_rng(0)
    known = [s for s in pool.structures if len(s) <= 8][:40]
    filters = Filters(adapter, known)
    matcher = StructureMatcher()
    candidates = [described_otherwise(s, rng) for s in known[:10]]
    candidates += [Rattle(0.4, 0.4)(s, rng)[0] for s in known]
    candidates += [done[0] for s in known if (done := Vacancy()(s, rng))]
    expected = [any(matcher.fit(c, s) for s in known) for c in candidates]
    assert [filters.duplicate(c) for c in candidates] == expected
    assert all(expected[:10])
    assert 0.1 < np.mean(expected[10:]) < 0.9


def test_accepted_crystals_count_as_known(adapter):
    filters = Filters(adapter, [salt()])
    sulphide = salt(5.2, ("Mg", "S"))
    assert not filters.duplicate(sulphide)
    filters.accept(sulphide)
    assert filters.duplicate(described_otherwise(sulphide, np.random.default_rng(0)))


def test_latent_neighbours_count_as_duplicates(adapter):
    filters = Filters(adapter, [salt()])
    with pytest.raises(InputError, match="set_latent"):
        filters.latent_duplicates(np.zeros((1, 3)))
    filters.set_latent(np.array([[0.0, 0, 0], [5, 0, 0]]), 1.0)
    X = np.array([[0, 0.9, 0], [0, 1.1, 0], [5, 0, 0.5], [2.5, 0, 0]])
    assert filters.latent_duplicates(X).tolist() == [True, False, True, False]
    other = salt(5.2, ("Mg", "S"))
    assert filters.duplicate(other, X[0])
    assert not filters.duplicate(other, X[3])
    filters.accept(other, X[3])
    assert filters.latent_duplicates(X[3:] + 0.1).tolist() == [True]


@given(share=st.floats(0, 1), alloys=st.lists(st.booleans(), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_the_share_of_unassignable_crystals_holds_at_every_moment(adapter, share, alloys):
    filters = Filters(adapter, [salt()], unassignable=share)
    alloy, accepted = salt(5.7, ("Al", "Ni")), []
    for is_alloy in alloys:
        crystal = alloy if is_alloy else salt()
        if filters.surplus(crystal):
            assert is_alloy
            continue
        filters.accept(crystal)
        accepted.append(is_alloy)
        assert sum(accepted) <= share * len(accepted)
    if share == 1:
        assert accepted == alloys


def test_bad_settings_are_refused(adapter):
    with pytest.raises(InputError, match="empty"):
        Filters(adapter, [])
    with pytest.raises(InputError, match="share"):
        Filters(adapter, [salt()], unassignable=1.5)


def test_closest_ratio_sees_periodic_images():
    s = Structure(Lattice.orthorhombic(1.5, 9, 9), ["Cu"], [[0, 0, 0]])
    assert closest_ratio(s) == pytest.approx(1.5 / (2 * 1.32), rel=1e-6)
