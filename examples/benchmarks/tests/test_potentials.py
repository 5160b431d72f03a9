from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones
from helpers import LENIENT, csv_rows, fresh_tensornet, lennard_jones
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from typer.testing import CliRunner

import matgl_fill as mf
from examples.benchmarks.__main__ import app
from examples.benchmarks.potentials.labels import Remembering, compare_labels
from examples.benchmarks.potentials.physics import (
    DIMER,
    VOLUMES,
    compare_physics,
    count_minima,
    count_rising,
    dimer_energies,
    double_precision,
    drift,
    dynamics,
    force_error,
    volume_energies,
)
from matgl_fill.errors import InputError
from matgl_fill.generation.moves import Rattle
from matgl_fill.training import label

ORACLE = "helpers:lennard_jones"
WEAKLY_HELD = LENIENT | {
    "steps": 100, "lr": 1e-2, "batch_size": 6, "replay_batch": 4, "align_size": 10, "oracle_copies": 0, "copies": 0,
    "descriptor_weight": 0.0, "response_weight": 0.0, "replay_weight": 0.01, "prediction_weight": 1e-4,
    "max_prediction_drift": 1e9, "max_force_drift": 1e9,
}  # fmt: skip
"""An untrained potential has next to no forces, over which everything is a large drift; replay is weak likewise."""


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


@pytest.fixture(scope="module")
def rattled(pool):
    """Twelve rattled copies each of two crystals: elemental references cannot explain what tells copies apart."""
    rng = np.random.default_rng(0)
    groups = ([Rattle(0.02, 0.15)(s, rng)[0] for _ in range(12)] for s in pool.structures if 2 <= len(s) <= 4)
    moderate = (g for g in groups if all(0.2 < np.abs(f).max() < 8 for f in label(g, lennard_jones()).forces))
    return [s for group in islice(moderate, 2) for s in group]


@pytest.fixture(scope="module")
def comparison(potential, pool, rattled, tmp_path_factory):
    out = tmp_path_factory.mktemp("labels")
    known = pool.subset(range(100))
    return compare_labels(potential, known, rattled, ORACLE, seed=1, settings=WEAKLY_HELD, out=out), out


def test_what_is_learnt_on_half_of_the_crystals_holds_for_the_others(comparison, rattled):
    found, _ = comparison
    assert (found.training, found.test) == (len(rattled) // 2, len(rattled) // 2)
    before = found.before
    assert before.compared == len(rattled) // 2
    errors = found.tuned.errors
    assert errors.energy < 0.75 * before.energy
    assert errors.forces < 0.8 * before.forces
    assert errors.stress < 0.9 * before.stress


def test_replay_keeps_what_naive_tuning_loses(comparison):
    found, _ = comparison
    for measure in ("prediction drift", "mean energy shift", "force drift"):
        assert found.tuned.drift(measure) < 0.5 * found.naive.drift(measure)


def test_forces_are_gradients_after_tuning(comparison, pool):
    _, out = comparison
    for arm in ("tuned", "naive"):
        model = mf.load_model(out / arm)
        with double_precision(model) as exact:
            assert max(force_error(s, exact) for s in pool.structures[:3]) < 1e-4
        assert next(model.parameters()).dtype == torch.float32


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


def test_an_oracle_that_remembers_is_asked_once(crystals):
    oracle = _Made(lambda a: float(a.positions.sum()))
    remembering = Remembering(oracle)
    first, again = label(crystals, remembering), label(crystals, remembering)
    asked = oracle.asked
    np.testing.assert_array_equal(first.energy, label(crystals, oracle).energy)
    assert asked == len(crystals)
    np.testing.assert_array_equal(first.energy, again.energy)


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


def test_a_property_model_is_refused(model, potential, pool, rattled):
    with pytest.raises(InputError, match="give a MatGL Potential"):
        compare_labels(model, pool, rattled, ORACLE)
    with pytest.raises(InputError, match="give a MatGL Potential"):
        compare_physics(potential, model, pool)


def test_the_command_trains_and_appends_a_line(potential, pool, rattled, tmp_path):
    potential.save(tmp_path / "potential")
    mf.structures.write_structures(rattled[:6], tmp_path / "new.extxyz")
    mf.structures.write_structures(pool.subset(range(40)), tmp_path / "pool.extxyz")
    paths = [str(tmp_path / name) for name in ("potential", "pool.extxyz")]
    command = ["labels", *paths, "--proposals", str(tmp_path / "new.extxyz"), "--oracle", ORACLE, "-o", str(tmp_path)]
    quick = ["--set", "steps=2", "--set", "align_size=10", "--set", "copies=1", "--json", str(tmp_path / "line.jsonl")]
    done = CliRunner().invoke(app, [*command, *quick], catch_exceptions=False)
    assert "error of forces" in done.output
    line = json.loads((tmp_path / "line.jsonl").read_text())
    assert line["training"] == line["test"] == 3
    assert line["settings"]["steps"] == "2"
    assert f"{line['naive']['errors']['forces']:.4g}" in done.output
    assert isinstance(mf.load_model(tmp_path / "tuned"), type(potential))
    with pytest.raises(InputError, match="FIELD=VALUE"):
        CliRunner().invoke(app, [*command, "--set", "steps"], catch_exceptions=False)
