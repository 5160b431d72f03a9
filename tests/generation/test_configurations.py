"""Each kind of configuration as physics: distances, amplitudes, atoms, vacuum, and dynamics that obey their laws."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ase import units
from helpers import NACL
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from scipy.stats import kstest

import matgl_fill as mf
from matgl_fill.generation.configurations import MAKERS, amplitudes, langevin, surfaces
from matgl_fill.generation.configurations.base import grown
from matgl_fill.generation.filters import closest_ratio
from matgl_fill.structures import rebuilt

COPPER = Structure(Lattice([[0, 1.805, 1.805], [1.805, 0, 1.805], [1.805, 1.805, 0]]), ["Cu"], [[0, 0, 0]])
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
CRYSTALS = (COPPER, NACL.get_primitive_structure(), RUTILE)
MOST = 24


@pytest.fixture(scope="module")
def potential():
    return mf.get_adapter(mf.load_model("potential"))


def many(kind, crystal, count, adapter=None, most=MOST, seed=0):
    rngs = [np.random.default_rng((seed, k)) for k in range(count)]
    return MAKERS[kind](adapter, [crystal] * count, rngs, most)


def principal_strains(structure, crystal):
    """Of a cell against that of a crystal with the same number of repeats."""
    stretch = np.linalg.inv(crystal.lattice.matrix) @ structure.lattice.matrix
    np.testing.assert_allclose(stretch, stretch.T, atol=1e-9)
    return np.linalg.eigvalsh(stretch) - 1


@pytest.mark.parametrize("kind", ["displaced", "strained", "supercell", "vacancy", "surface"])
@pytest.mark.parametrize("crystal", CRYSTALS, ids=lambda s: s.composition.reduced_formula)
def test_atoms_stay_apart_within_the_cell_that_is_allowed(kind, crystal):
    made = many(kind, crystal, 20)
    assert all(made)
    for one in made:
        assert len(one.structure) <= MOST
        assert closest_ratio(one.structure) >= amplitudes.least_ratio(crystal)
        assert one.displacement <= amplitudes.LINDEMANN * amplitudes.nearest_distances(crystal).max() * 1.1
        assert one.strain <= amplitudes.STRAIN
        assert one.structure.lattice.volume > 0
    assert len({one.structure.frac_coords.tobytes() + one.structure.lattice.matrix.tobytes() for one in made}) == 20


def test_every_amplitude_up_to_lindemann_s_is_as_frequent_as_any_other():
    cell = NACL.get_primitive_structure()
    base, _ = grown(cell, amplitudes.LEAST_ATOMS, MOST)
    nearest = amplitudes.nearest_distances(base)
    np.testing.assert_allclose(nearest, 5.64 / 2)
    made = many("displaced", cell, 400)
    ratio = np.array([one.displacement for one in made]) / nearest[0]
    assert ratio.max() <= amplitudes.LINDEMANN
    assert kstest(ratio / amplitudes.LINDEMANN, "uniform").pvalue > 0.01
    assert kstest([one.strain / amplitudes.STRAIN for one in made], "uniform").pvalue > 0.01


def test_the_displacement_that_is_told_is_that_of_the_atoms():
    for one in many("displaced", RUTILE, 20):
        strains = principal_strains(one.structure, RUTILE)
        assert np.abs(strains).max() == pytest.approx(one.strain, rel=1e-6)
        rest = rebuilt(RUTILE, one.structure.lattice.matrix)
        u = one.structure.cart_coords - rest.cart_coords
        assert np.sqrt((u**2).sum(axis=1).mean()) == pytest.approx(one.displacement, rel=1e-6)
        np.testing.assert_allclose(u.mean(axis=0), 0, atol=1e-9)


def test_an_atom_in_a_short_bond_moves_less():
    """Carbon and oxygen of a molecule move by their bond's length, sodium beside it by its own distance."""
    nearest = np.array([1.1, 1.1, 2.8])
    rng = np.random.default_rng(0)
    u = np.array([amplitudes.displacements(np.tile(nearest, 20), 0.1, rng) for _ in range(50)])
    size = np.sqrt((u**2).sum(axis=2)).reshape(-1, 3).mean(axis=0)
    assert size[2] / size[0] == pytest.approx(2.8 / 1.1, rel=0.1)


def test_strains_have_both_signs_and_half_of_them_are_of_the_volume_alone():
    made = many("strained", RUTILE, 200)
    strains = np.array([principal_strains(one.structure, RUTILE) for one in made])
    assert np.abs(strains).max() <= amplitudes.STRAIN + 1e-9
    pure = np.ptp(strains, axis=1) < 1e-9
    assert 0.35 < pure.mean() < 0.65
    assert 0.3 < (strains[pure, 0] > 0).mean() < 0.7
    volume = np.array([one.structure.volume for one in made]) / RUTILE.volume
    assert volume.min() < 0.94
    assert volume.max() > 1.06
    for one in made:
        np.testing.assert_allclose(one.structure.frac_coords, RUTILE.frac_coords, atol=1e-12)
        assert one.displacement == 0


def test_supercells_grow_along_the_shortest_vector_to_several_sizes():
    made = many("supercell", RUTILE, 60)
    sizes = Counter(len(one.structure) for one in made)
    assert set(sizes) == {12, 24}
    small = next(one.structure for one in made if len(one.structure) == 12)
    assert small.lattice.c == pytest.approx(2 * RUTILE.lattice.c, rel=0.05)
    assert small.lattice.a == pytest.approx(RUTILE.lattice.a, rel=0.05)
    assert many("supercell", RUTILE, 3, most=11) == [None] * 3


@given(
    lengths=st.tuples(*[st.floats(2.0, 12.0)] * 3),
    n=st.integers(1, 6),
    least=st.integers(1, 40),
    most=st.integers(6, 40),
)
@settings(max_examples=60, deadline=None)
def test_grown_cells_hold_as_many_atoms_as_wanted_or_as_allowed(lengths, n, least, most):
    points = np.linspace(0, 1, n, endpoint=False)[:, None] * np.ones(3)
    cell = Structure(Lattice.orthorhombic(*lengths), ["Cu"] * n, points)
    large, words = grown(cell, least, most)
    times = np.round(np.array(large.lattice.abc) / lengths).astype(int)
    assert len(large) == n * times.prod() <= max(most, n)
    assert (words == "") == (times.prod() == 1)
    if len(large) < least:
        shortest = int(np.argmin(large.lattice.abc))
        assert len(large) // times[shortest] * (times[shortest] + 1) > most


def test_a_vacancy_is_one_atom_less_and_never_the_last_of_its_element():
    gone = Counter()
    for one in many("vacancy", RUTILE, 20):
        full = RUTILE * (2, 2, 1) if len(one.structure) == 23 else None
        assert full is not None
        missing = full.composition - one.structure.composition
        assert sum(missing.values()) == 1
        gone.update(str(e) for e, count in missing.items() if count)
    assert set(gone) == {"Ti", "O"}
    assert many("vacancy", COPPER, 1, most=3) == [None]
    assert many("vacancy", NACL.get_primitive_structure(), 1, most=3) == [None]


@pytest.mark.parametrize("crystal", CRYSTALS, ids=lambda s: s.composition.reduced_formula)
def test_a_surface_has_vacuum_on_one_axis_and_the_composition_of_the_crystal(crystal):
    planes = set()
    for one in many("surface", crystal, 12):
        slab = one.structure
        planes.add(one.record.split()[0])
        assert slab.composition.reduced_formula == crystal.composition.reduced_formula
        assert slab.lattice.alpha == pytest.approx(90)
        assert slab.lattice.beta == pytest.approx(90)
        normal = slab.lattice.matrix[2] / slab.lattice.c
        heights = np.sort(slab.cart_coords @ normal)
        gaps = np.append(np.diff(heights), heights[0] + slab.lattice.c - heights[-1])
        assert gaps.max() > surfaces.VACUUM - 4 * one.displacement - 1e-6
        assert np.sort(gaps)[-2] < 5
    assert len(planes) > 2


def test_a_potential_feels_that_a_surface_lacks_neighbours(potential):
    """The slab's energy an atom is above that of the bulk, as every surface energy is positive."""
    slab = surfaces._slab(COPPER, (1, 1, 1), 6.0, MOST)
    energy = potential.embed_graphs(potential.graphs([COPPER, slab]))[1] / [1, len(slab)]
    assert energy[1] > energy[0] + 0.02


def test_temperature_is_that_of_the_thermostat(potential):
    """Equipartition: the mean kinetic energy is 3/2 kT an atom, within the error of the mean."""
    runs = [langevin.Run(NACL, 600.0, np.random.default_rng(k)) for k in range(12)]
    langevin.simulate(potential, runs, 60)
    found = []
    for _ in range(6):
        langevin.simulate(potential, runs, 10)
        found += [float((r.mass * r.v**2).sum() / (3 * len(r.x) * units.kB)) for r in runs if not r.exploded]
    assert np.mean(found) == pytest.approx(600, rel=0.12)


def test_without_the_thermostat_energy_is_conserved(potential):
    cell, _ = grown(NACL.get_primitive_structure(), 16, MOST)
    run = langevin.Run(cell, 300.0, np.random.default_rng(0))

    def energies():
        potential_energy = potential.embed_graphs(potential.graphs([run.structure]))[1][0]
        return float(potential_energy), float((run.mass * run.v**2).sum() / 2)

    before, kinetic = energies()
    langevin.simulate(potential, [run], 100, friction_time=np.inf)
    after, left = energies()
    assert not run.exploded
    assert abs(after - before) > 0.1 * kinetic
    assert after + left == pytest.approx(before + kinetic, abs=0.03 * kinetic)


def test_a_run_that_explodes_is_cut_before_that_and_says_so(potential):
    hot = langevin.Run(NACL.copy(), 1e6, np.random.default_rng(0))
    calm = langevin.Run(NACL.copy(), 300.0, np.random.default_rng(1))
    langevin.simulate(potential, [hot, calm], 20)
    assert hot.exploded
    assert langevin._snapshot(hot, "", 0.0) is None
    assert not calm.exploded
    assert calm.kept[1] == 20
    calm.exploded = True
    assert langevin._snapshot(calm, "", 0.0).record.startswith("strain 0; 40 fs at 300 K, then exploded; displaced")


def test_dynamics_displaces_more_where_it_is_hotter(potential):
    cell, _ = grown(NACL.get_primitive_structure(), 16, MOST)
    cold, hot = ([langevin.Run(cell, t, np.random.default_rng(k)) for k in range(4)] for t in langevin.TEMPERATURES)
    langevin.simulate(potential, [*cold, *hot], 60)
    size = [np.mean([langevin._snapshot(r, "", 0.0).displacement for r in runs]) for runs in (cold, hot)]
    assert size[1] > 1.4 * size[0]


def test_light_atoms_take_shorter_steps():
    water = Structure(Lattice.cubic(4), ["O", "H", "H"], [[0, 0, 0], [0.24, 0, 0], [0, 0.24, 0]])
    rng = np.random.default_rng(0)
    assert langevin.Run(water, 300, rng).dt == pytest.approx(units.fs)
    assert langevin.Run(NACL, 300, rng).dt == pytest.approx(2 * units.fs)


@pytest.mark.parametrize("kind", list(MAKERS))
def test_a_generator_s_seed_gives_the_bits_and_crystals_stay_as_they_are(kind, potential):
    crystal = NACL.get_primitive_structure()
    before = crystal.copy()
    first, again, other = (many(kind, crystal, 1, potential, seed=s) for s in (0, 0, 1))
    assert first[0].structure == again[0].structure
    assert first[0].record == again[0].record
    assert first[0].structure != other[0].structure
    assert crystal == before
    assert not crystal.site_properties
