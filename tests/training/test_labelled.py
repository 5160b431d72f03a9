from __future__ import annotations

import json
import sys
from dataclasses import replace

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from helpers import LENIENT, QUICK, dft_frames, fresh_tensornet, pool_of, with_noise
from matgl.ext.ase import PESCalculator
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from typer.testing import CliRunner

import matgl_fill as mf
from matgl_fill.cli import app
from matgl_fill.config import GuardConfig
from matgl_fill.errors import InputError, OracleError
from matgl_fill.generation.moves import Rattle
from matgl_fill.guard import Guard
from matgl_fill.structures import bundled
from matgl_fill.training import read_labelled, resolve

LABELS_ONLY = LENIENT | {"form": "overwrite", "steps": 100, "lr": 1e-2, "replay_weight": 0.0, "prediction_weight": 0.0}


@pytest.fixture(scope="module")
def frames(pool):
    """Rattled copies of two crystals: elemental references cannot explain what tells them apart."""
    rng = np.random.default_rng(0)
    copies = [Rattle(0.02, 0.15)(s, rng)[0] for s in pool.structures if 3 <= len(s) <= 6 for _ in range(4)]
    found = dft_frames(copies[:40])
    return [a for a in found if 0.2 < np.abs(a.get_forces()).max() < 20][:8]


def test_a_file_gives_back_what_the_code_calculated(frames, tmp_path):
    ase.io.write(tmp_path / "dft.extxyz", frames)
    found = read_labelled(tmp_path / "dft.extxyz")
    assert found.ids == [a.info["id"] for a in frames]
    for i, atoms in enumerate(frames):
        assert [s.symbol for s in found.structures[i].species] == atoms.get_chemical_symbols()
        assert found.labels.energy[i] == pytest.approx(atoms.get_potential_energy())
        np.testing.assert_allclose(found.labels.forces[i], atoms.get_forces(), atol=1e-7)
        np.testing.assert_allclose(found.labels.stress[i], atoms.get_stress(voigt=False), atol=1e-7)
        np.testing.assert_allclose(found.structures[i].cart_coords, atoms.positions, atol=1e-7)


def test_what_cannot_be_learnt_from_is_told_and_skipped(frames):
    bare = frames[0].copy()
    torn = frames[1].copy()
    torn.calc = SinglePointCalculator(torn, energy=1.0, forces=np.full((len(torn), 3), 99.0))
    found = read_labelled([bare, torn, frames[2]])
    assert found.ids == [frames[2].info["id"]]
    assert [s.where for s in found.skipped] == [a.info["id"] for a in frames[:2]]
    assert found.skipped[0].reason == "no energy"
    assert "force of 99 eV/A" in found.skipped[1].reason
    with pytest.raises(InputError, match="no frame has an energy"):
        read_labelled([bare])
    with pytest.raises(InputError, match="no file"):
        read_labelled("absent.extxyz")


def test_results_of_another_frame_are_no_labels(frames):
    """ASE writes frames that share a calculator with what it calculated last."""
    stale = [a.copy() for a in frames[:3]]
    for atoms in stale:
        atoms.rattle(0.05, seed=len(atoms))
        atoms.calc = SinglePointCalculator(atoms, **frames[3].calc.results)
    stale = [a for a in stale if len(a) == len(frames[3])]
    assert stale
    found = read_labelled([*stale, *frames[3:]])
    assert found.ids == [a.info["id"] for a in frames[3:]]
    assert [s.reason.split(":")[0] for s in found.skipped] == [
        "energy and forces equal those of a later crystal with other positions"
    ] * len(stale)


def test_energies_alone_are_enough(model, pool, frames):
    bare = [a.copy() for a in frames]
    for a, full in zip(bare, frames, strict=True):
        a.calc = SinglePointCalculator(a, energy=full.get_potential_energy())
    result = mf.fill_tune(model, pool, labelled=bare, objective="oracle", config=LABELS_ONLY | {"lr": 1e-3})
    losses = result.report.history["labels"]
    assert 0 < np.mean(losses[-5:]) < 0.1 * losses[0]
    assert all(torch.isfinite(p).all() for p in result.model.parameters())


def test_a_potential_learns_labels_of_another_level_of_theory(pool, frames):
    """A shift of all energies is a matter of references: training is the same."""
    moved = [a.copy() for a in frames]
    for a, full in zip(moved, frames, strict=True):
        r = full.calc.results
        a.calc = SinglePointCalculator(a, **r | {"energy": r["energy"] - 7.0 * len(a)})
    losses, shifts = [], []
    for labelled in (frames, moved):
        result = mf.fill_tune(
            fresh_tensornet(), pool.subset(range(100)), objective="oracle", labelled=labelled, config=LABELS_ONLY
        )
        assert result.report.run.oracle == "labelled crystals"
        assert [p.id for p in result.proposals] == [a.info["id"] for a in frames]
        losses.append(np.array(result.report.history["labels"]))
        shifts.append(result.report.alignment.shifts_eV_per_atom)
    for each in losses:
        assert each[-5:].mean() < 0.7 * each[0]
    np.testing.assert_allclose(losses[1][:10], losses[0][:10], rtol=0.05)  # later, rounding has grown
    for atoms in frames:  # of few crystals only the sums are determined
        symbols = atoms.get_chemical_symbols()
        assert np.mean([shifts[1][e] - shifts[0][e] for e in symbols]) == pytest.approx(-7.0, abs=0.05)


def test_a_bad_frame_is_told_and_the_others_are_read(frames):
    torn = frames[1].copy()
    torn.positions[1] = torn.positions[0]
    torn.calc = SinglePointCalculator(torn, energy=1.0)
    found = read_labelled([frames[0], torn, frames[2]])
    assert found.ids == [frames[0].info["id"], frames[2].info["id"]]
    assert [s.where for s in found.skipped] == [torn.info.get("id")]
    assert "overlap" in found.skipped[0].reason


def test_frames_of_one_name_and_names_that_no_file_can_have_are_saved(model, pool, frames, tmp_path):
    named = [a.copy() for a in frames[:4]]
    for a, full, name in zip(named, frames, ("fill-0001", "fill-0001", "a/b", "a_b"), strict=False):
        a.calc = SinglePointCalculator(a, **full.calc.results)
        a.info = {"id": name}
    result = mf.fill_tune(model, pool, labelled=named, config=LENIENT | {"steps": 2}, out=tmp_path)
    assert [p.id for p in result.proposals] == ["fill-0001", "fill-0001_2", "a/b", "a_b"]
    files = {"fill-0001.cif", "fill-0001_2.cif", "a_b.cif", "a_b_2.cif"}
    assert {p.name for p in (tmp_path / "cif").iterdir()} == files
    assert [a.info["id"] for a in ase.io.read(tmp_path / "proposals.extxyz", index=":")] == [
        p.id for p in result.proposals
    ]
    (tmp_path / "cif" / "mine.cif").write_text("")
    mf.fill_tune(model, pool, labelled=named[2:], config=LENIENT | {"steps": 2}, out=tmp_path, overwrite=True)
    assert {p.name for p in (tmp_path / "cif").iterdir()} == {"a_b.cif", "a_b_2.cif", "mine.cif"}


def test_labels_and_an_oracle_exclude_each_other(model, pool, frames):
    with pytest.raises(InputError, match="neither an oracle nor proposals"):
        mf.fill_tune(model, pool, labelled=frames, oracle=LennardJones())


def test_stale_results_are_no_labels(frames):
    moved = frames[0].copy()
    moved.calc = frames[0].calc
    moved.rattle(0.1)
    found = read_labelled((moved, frames[1]))
    assert found.ids == [frames[1].info["id"]]
    assert "of other positions" in found.skipped[0].reason


def test_the_pascals_of_matgls_calculator_are_converted():
    potential = mf.load_model(bundled.POTENTIAL)
    given = []
    for unit in ("GPa", "eV/A3"):
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.rattle(0.1, seed=0)
        atoms.calc = PESCalculator(potential, stress_unit=unit)
        atoms.get_stress()
        given.append(atoms)
    stress = read_labelled(given).labels.stress
    np.testing.assert_allclose(stress[0], stress[1], rtol=1e-6)
    assert np.abs(stress).max() < 1


def test_what_is_no_labelled_crystal_is_an_input_error(frames, pool):
    assert read_labelled(frames[0]).ids == read_labelled(iter(frames[:1])).ids == ["dft-0"]
    with pytest.raises(InputError, match="labelled holds a Structure; give"):
        read_labelled(pool.structures[:2])


def test_proposals_of_another_model_are_learnt_where_they_lie(model, pool):
    """Those of the tuned model aim at places of a wider latent space; one holds an element unknown to the model."""
    quick = LENIENT | {"steps": 2}
    first = mf.propose(model, pool, n=3, seed=5)
    wide = [replace(p, target=np.zeros(400)) for p in first]
    unknown = replace(first[0], structure=Structure(Lattice.cubic(3), ["Og"], [[0, 0, 0]]))
    result = mf.fill_tune(model, pool, proposals=[*wide, unknown], config=quick)
    assert [p.structure for p in result.proposals] == [p.structure for p in first]
    np.testing.assert_array_equal([p.target for p in result.proposals], mf.embed(model, [p.structure for p in first]))
    assert "Og is unknown" in result.report.skipped[-1].reason
    with pytest.raises(InputError, match="proposals hold a Structure"):
        mf.fill_tune(model, pool, proposals=pool.structures[:2])
    with pytest.raises(InputError, match="there is no proposal; give at least one"):
        mf.fill_tune(model, pool, proposals=[])


def test_a_pool_without_forces_is_judged():
    """Forces of elements at rest vanish: a share of them is a share of rounding."""
    rng = np.random.default_rng(0)
    cells = [bulk(e, "bcc", a=a * rng.uniform(0.97, 1.03)) for e, a in (("Fe", 2.87), ("W", 3.16), ("Cr", 2.9)) * 8]
    adapter = mf.get_adapter(mf.load_model(bundled.POTENTIAL))
    pool = pool_of(adapter, [AseAtomsAdaptor.get_structure(c) for c in cells])
    checks = Guard(adapter, pool, GuardConfig()).checks(with_noise(adapter.clone(), 1e-7))
    drift = next(c for c in checks if c.measure == "force drift")
    assert drift.passed
    assert np.isfinite(drift.value)


def test_given_proposals_are_learnt_from(model, pool):
    proposals = mf.propose(model, pool, n=3, seed=5)
    result = mf.fill_tune(model, pool, proposals=proposals, config=LENIENT)
    assert [p.structure for p in result.proposals] == [p.structure for p in proposals]


def test_the_command_line_takes_labels_back(frames, tmp_path):
    ase.io.write(tmp_path / "dft.extxyz", frames)
    settings = tmp_path / "quick.toml"
    settings.write_text("".join(f"{k} = {v}\n" for k, v in QUICK.items()))
    labels = ["--labelled", str(tmp_path / "dft.extxyz")]
    asked = ["tune", "default", *labels, "-o", str(tmp_path / "out"), "--config", str(settings)]
    result = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert result.exit_code == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["run"]["oracle"] == "labelled crystals"
    assert [row["id"] for row in report["proposals"]] == [a.info["id"] for a in frames]
    mf.load_model(tmp_path / "out" / "model")
    for wrong in (["tune", "default", *labels, "--oracle", "chgnet"], ["tune", "default"]):
        refused = CliRunner().invoke(app, wrong)
        assert refused.exit_code == 2
        assert "give either --labelled or --oracle" in " ".join(refused.output.replace("│", " ").split())


def test_an_oracle_by_name_of_its_factory(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from ase.calculators.lj import LennardJones\n"
        "def make():\n    return LennardJones()\n"
        "def wrong():\n    return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    name, calculator = resolve("mine:make")
    assert name == "mine:make"
    assert isinstance(calculator, LennardJones)
    with pytest.raises(OracleError, match="not an ASE calculator"):
        resolve("mine:wrong")
    with pytest.raises(OracleError, match="cannot be made"):
        resolve("mine:absent")
    assert "mine" in sys.modules
