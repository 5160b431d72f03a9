from __future__ import annotations

import json

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones
from helpers import csv_rows, fresh_tensornet, lennard_jones
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from typer.testing import CliRunner

from examples.benchmarks.__main__ import app
from examples.benchmarks.potentials.physics import (
    DIMER,
    VOLUMES,
    compare_physics,
    count_minima,
    count_rising,
    dimer_energies,
    drift,
    dynamics,
    force_error,
    volume_energies,
)
from matgl_fill.errors import InputError


class _Made(Calculator):
    """Energy and forces as functions of the atoms."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, energy, forces=lambda atoms: np.zeros((len(atoms), 3))) -> None:
        super().__init__()
        self._energy, self._forces, self.asked = energy, forces, 0

    def calculate(self, atoms=None, properties=None, system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.asked += 1
        self.results = {"energy": self._energy(atoms), "forces": self._forces(atoms), "stress": np.zeros(6)}


@pytest.fixture(scope="module")
def potential():
    return fresh_tensornet()


def test_forces_that_are_no_gradients_are_found(crystals):
    honest = _Made(lambda a: float((a.positions**2).sum()), lambda a: -2 * a.positions)
    wrong = _Made(lambda a: float((a.positions**2).sum()), lambda a: -2 * a.positions + 0.01)
    assert force_error(crystals[0], honest) < 1e-7
    assert force_error(crystals[0], wrong) == pytest.approx(0.01, rel=1e-5)


def test_a_lennard_jones_crystal_has_one_minimum_and_a_double_well_two():
    cell = 2 ** (1 / 6) * np.sqrt(2) * 2.2 * 0.97
    fcc = Structure.from_spacegroup("Fm-3m", Lattice.cubic(cell), ["Cu"], [[0, 0, 0]])
    assert count_minima(volume_energies(fcc, lennard_jones())) == 1
    well = _Made(lambda a: (a.get_volume() / fcc.volume - 0.95) ** 2 * (a.get_volume() / fcc.volume - 1.06) ** 2)
    energies = volume_energies(fcc, well)
    assert count_minima(energies) == 2
    assert abs(VOLUMES[np.argmin(energies)] - 0.95) < 0.006 or abs(VOLUMES[np.argmin(energies)] - 1.06) < 0.006
    assert count_minima(volume_energies(fcc, _Made(lambda a: a.get_volume()))) == 0


def test_a_lennard_jones_dimer_repels_everywhere_and_a_hole_is_counted():
    repulsive = LennardJones(sigma=2.2, epsilon=0.5, rc=8.0)
    assert count_rising(dimer_energies(("Cu", "Cu"), repulsive)) == 0
    hole = _Made(lambda a: abs(a.get_distance(0, 1) / 2.64 - 0.5))
    assert count_rising(dimer_energies(("Cu", "Cu"), hole)) == (DIMER[1:] > 0.5 + 1e-9).sum()


def test_drift_of_an_euler_oscillator_is_the_known_one():
    """Explicit Euler multiplies the energy of an oscillator by 1 + (omega dt)^2 at every step."""
    dt, omega, x, v, energies = 1e-3, 2.0, 1.0, 0.0, []  # ps, 1/ps
    for _ in range(2001):
        energies.append(0.5 * (v**2 + omega**2 * x**2))
        x, v = x + dt * v, v - dt * omega**2 * x
    known = 1000 * energies[0] * ((1 + (omega * dt) ** 2) ** 2000 - 1) / 2.0
    assert drift(np.arange(2001) * dt, np.array(energies)) == pytest.approx(known, rel=0.01)


def test_energy_that_forces_know_nothing_of_drifts_as_it_must(crystals):
    """Free atoms in an energy linear in the positions: its rate is the gradient times the velocities."""
    atoms = AseAtomsAdaptor.get_atoms(crystals[0], msonable=False)
    gradient = np.random.default_rng(0).standard_normal(atoms.positions.shape)
    times, energies = dynamics(atoms, _Made(lambda a: float((gradient * a.positions).sum())), steps=40)
    known = 1000 * (gradient * atoms.get_velocities()).sum() * 1000 * units.fs / len(atoms)
    assert abs(known) > 1
    assert drift(times, energies) == pytest.approx(known, rel=1e-6)


def test_springs_keep_their_energy(crystals):
    atoms = AseAtomsAdaptor.get_atoms(crystals[0], msonable=False)
    sites = atoms.positions.copy()
    springs = _Made(lambda a: float(((a.positions - sites) ** 2).sum()), lambda a: -2 * (a.positions - sites))
    times, energies = dynamics(atoms, springs, steps=1000)
    assert abs(drift(times, energies)) < 0.05
    assert np.abs(atoms.positions - sites).max() > 0.05


def test_one_potential_twice_measures_the_same(potential, pool):
    before, after = compare_physics(potential, potential, pool, n=2, steps=5)
    assert before == after
    assert before.force_error < 1e-4
    assert before.one_minimum + before.no_minimum + before.more_minima == 2


@pytest.mark.filterwarnings("ignore:No Pauling electronegativity")
def test_a_class_and_others_are_measured_by_matcalcs_sets(potential, tmp_path):
    pytest.importorskip("matcalc", reason="needs the extra 'physics'")
    metals = [AseAtomsAdaptor.get_structure(bulk(element)) for element in ("Al", "Cu", "Na")]
    crystals = [*metals, Structure(Lattice.cubic(3), ["Og"], [[0, 0, 0]])]
    rows = [{"mp_id": f"m-{k}", "structure": s.as_dict(), "bulk_modulus_vrh": 50.0 + k} for k, s in enumerate(crystals)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "elastic.json").write_text(json.dumps(rows))
    (tmp_path / "data" / "volumes.json").write_text(json.dumps([{"mp_id": "v", "structure": crystals[1].as_dict()}]))
    out = tmp_path / "out"
    command = ["matcalc", "potential", "--against", "potential", "--data", str(tmp_path / "data"), "-o", str(out)]
    done = CliRunner().invoke(app, [*command, "--class-elements", "Al, Cu", "--each", "1"], catch_exceptions=False)
    assert "class" in done.output
    changes = {(row["crystals_of"], row["measure"]): row for row in csv_rows(out / "changes.csv")}
    assert set(changes) == {(g, m) for g in ("class", "others") for m in ("volume", "bulk modulus")}
    assert changes["class", "volume"]["n"] == "2"
    assert float(changes["class", "volume"]["change_percent"]) == 0
    crystals = csv_rows(out / "crystals.csv")
    assert {row["potential"] for row in crystals} == {"before", "after"}
    assert {row["id"] for row in crystals} >= {"volumes/v", "elastic/m-2"}
    again = CliRunner().invoke(app, [*command, "--class-elements", "Al, Cu", "--each", "1"], catch_exceptions=False)
    assert again.output == done.output


def test_a_property_model_is_refused(model, potential, pool):
    with pytest.raises(InputError, match="give a MatGL Potential"):
        compare_physics(potential, model, pool)
