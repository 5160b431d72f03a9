"""Models of old MatGL on MatGL 4: the predictions of their time, by what their files say of who made them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from helpers import DGL, SAVED_BY_MATGL_2, run_here, shared
from hypothesis import given
from hypothesis import strategies as st
from matgl.apps.pes import Potential
from matgl.ext.ase import PESCalculator
from matgl.models import M3GNet
from pymatgen.io.ase import AseAtomsAdaptor

import matgl_fill as mf
from matgl_fill.adapters import core_of
from matgl_fill.adapters.files import read_files
from matgl_fill.adapters.legacy.messages import turn_messages
from matgl_fill.adapters.legacy.origin import MatGL, origin_of
from matgl_fill.errors import MatglFillWarning, ModelError

pytestmark = pytest.mark.skipif(DGL, reason="on DGL old checkpoints run on the MatGL of their time")
if not DGL:
    from matgl_fill.adapters.legacy.judge import molecules, structures_at_rest, the_right_one
    from matgl_fill.adapters.legacy.m3gnet import LegacyM3GNet, bond_ranks

ENERGY, FORCE = 1e-5, 5e-5
"""eV/atom and eV/Angstrom: agreement with what the MatGL of its time predicted."""
MADE_BY: dict[str, set[MatGL]] = {
    "saved_by_matgl_2/m3gnet": {MatGL.UNTIL_2_1, MatGL.V2_2},
    "saved_by_matgl_2/m3gnet_smooth": {MatGL.UNTIL_2_1, MatGL.V2_2},
    "saved_by_matgl_2/m3gnet_molecules": {MatGL.UNTIL_2_1, MatGL.V2_2},
    "saved_by_matgl_2/m3gnet_set2set": {MatGL.UNTIL_2_1, MatGL.V2_2},
    "saved_by_matgl_2/m3gnet_weighted": {MatGL.UNTIL_2_1, MatGL.V2_2},
    "saved_by_matgl_2/m3gnet_reduced": set(MatGL) - {MatGL.V3},
    "saved_by_matgl_2/chgnet": {MatGL.UNTIL_2_1, MatGL.V2_2, MatGL.V3},
    "saved_by_matgl_2/megnet": set(MatGL) - {MatGL.V3},
    "saved_by_matgl_2/tensornet_dgl": {MatGL.UNTIL_2_1},
    "saved_by_matgl_2/tensornet_dgl_molecules": {MatGL.UNTIL_2_1},
    "saved_by_matgl_2/tensornet_pyg": {MatGL.UNTIL_2_1},
    "saved_by_matgl_2/tensornet_pyg_so3": {MatGL.UNTIL_2_1},
    "saved_by_matgl_2/so3net": {MatGL.UNTIL_2_1, MatGL.V2_2, MatGL.V3},
    "saved_by_matgl_2/so3net_set2set": {MatGL.UNTIL_2_1, MatGL.V2_2, MatGL.V3},
    "saved_by_matgl_3/m3gnet": {MatGL.V3},
    "saved_by_matgl_3/m3gnet_reduced": {MatGL.V3},
    "saved_by_matgl_3/megnet": {MatGL.V3},
    "saved_by_matgl_3/tensornet_pyg": {MatGL.V3},
}
"""What the files of each model say of the MatGL that made them; the folder has the truth."""
UNTOLD = ("saved_by_matgl_2/m3gnet_reduced", "saved_by_matgl_2/megnet")
"""Of these neither the files nor the predictions tell, as the weights are random."""


def folder_of(name: str) -> Path:
    return SAVED_BY_MATGL_2.parent / name


def structures_of(folder: Path) -> list[Atoms]:
    file = "molecules.extxyz" if folder.name.endswith("molecules") else "crystals.extxyz"
    return ase.io.read(folder.parent / file, ":")


def predicted(model, structures: list[Atoms]) -> tuple[np.ndarray, np.ndarray | None]:
    """Energies per atom (eV) or predictions, and all forces (eV/Angstrom) of a potential, by MatGL's own means."""
    if not isinstance(model, Potential):
        return np.array([float(model.predict_structure(AseAtomsAdaptor.get_structure(a))) for a in structures]), None
    values, forces = [], []
    for atoms in structures:
        placed = atoms.copy()
        placed.calc = PESCalculator(model, stress_unit="eV/A3")
        values.append(placed.get_potential_energy() / len(placed))
        forces.append(placed.get_forces())
    return np.array(values), np.concatenate(forces)


def deviation(model, folder: Path) -> tuple[float, float]:
    """Largest errors of energies per atom (eV) or predictions, and of forces (eV/Angstrom)."""
    expected, structures = np.load(folder / "expected.npz"), structures_of(folder)
    values, forces = predicted(model.eval(), structures)
    per = 1 if forces is None else np.array([len(a) for a in structures])
    worst = 0.0 if forces is None else float(np.abs(forces - expected["forces"]).max())
    return float(np.abs(values - expected["values"] / per).max()), worst


@pytest.mark.parametrize("name", MADE_BY)
def test_files_say_which_matgl_made_them(name):
    assert origin_of(read_files(folder_of(name))) == MADE_BY[name]


@pytest.mark.parametrize("name", [name for name in MADE_BY if name not in UNTOLD])
def test_old_models_predict_what_they_did(name, recwarn):
    model = mf.load_model(folder_of(name))
    energy, force = deviation(model, folder_of(name))
    assert energy < ENERGY
    assert force < FORCE
    said = any("made before MatGL" in str(w.message) for w in recwarn)
    as_is = mf.load_model(folder_of(name), legacy=False) if "weighted" not in name else None
    assert said is (as_is is None or deviation(as_is, folder_of(name))[0] > 1e-4)


@pytest.mark.parametrize("name", UNTOLD)
def test_where_nothing_tells_the_caller_is_told_and_decides(name):
    with pytest.warns(MatglFillWarning, match="it is unclear which MatGL made"):
        as_is = mf.load_model(folder_of(name))
    with pytest.warns(MatglFillWarning, match="made before MatGL 3"):
        old = mf.load_model(folder_of(name), legacy=True)
    assert deviation(as_is, folder_of(name))[0] > 1e-3
    assert deviation(old, folder_of(name))[0] < ENERGY


def test_a_changed_file_may_be_of_today_whatever_it_names(tmp_path):
    """Authors of MatGL upgraded weights in files that still name the old version; their dictionary is a plain one."""
    folder = folder_of("saved_by_matgl_2/tensornet_pyg")
    for file in ("model.json", "model.pt"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    state = torch.load(folder / "state.pt", weights_only=True)
    for kind, versions in ((OrderedDict, {MatGL.UNTIL_2_1}), (dict, {MatGL.UNTIL_2_1, MatGL.SINCE_4_1})):
        torch.save(kind(state), tmp_path / "state.pt")
        assert origin_of(read_files(tmp_path)) == versions


def test_predictions_decide_where_an_edited_file_contradicts_itself(tmp_path, crystals):
    """A setting of MatGL 3 and newer in a file that is older by all else."""
    source = shared("models_legacy/M3GNet-MP-2021.2.8-PES")
    described = json.loads((source / "model.json").read_text())
    described["kwargs"]["compile_model"] = False
    (tmp_path / "model.json").write_text(json.dumps(described))
    torch.save(torch.load(source / "model.pt", weights_only=True) | {"compile_model": False}, tmp_path / "model.pt")
    (tmp_path / "state.pt").write_bytes((source / "state.pt").read_bytes())
    assert not origin_of(read_files(tmp_path))
    with pytest.warns(MatglFillWarning, match="was made before MatGL 3"):
        edited = mf.load_model(tmp_path)
    with pytest.warns(MatglFillWarning, match="was made before MatGL 3"):
        original = mf.load_model(source)
    np.testing.assert_array_equal(mf.embed(edited, crystals), mf.embed(original, crystals))


@pytest.mark.parametrize("turn", [False, True])
def test_forces_at_rest_tell_how_a_potential_is_read(turn):
    """A trained TensorNet beside the same with its messages turned, as crystals and as molecules."""
    model, other = mf.load_model("potential"), mf.load_model("potential")
    turn_messages(core_of(other))
    assert the_right_one([other, model] if turn else [model, other]) == int(turn)


def test_models_of_organic_elements_are_judged_on_molecules():
    elements = ("H", "C", "N", "O")
    found = structures_at_rest(elements)
    assert len(found) == len(molecules(elements)) > 50
    assert all({e.symbol for e in s.elements} <= set(elements) and s.is_valid(0.5) for s in found)
    assert len(structures_at_rest(("Na", "Cl", "H", "C", "N", "O"))) > 0


def test_untrained_models_do_not_tell():
    torch.manual_seed(0)
    models = [Potential(kind(is_intensive=False, units=8)).eval() for kind in (M3GNet, LegacyM3GNet)]
    models[1].load_state_dict(models[0].state_dict())
    assert the_right_one(models) is None


READ_BY_MATGL = """
import sys, ase.io, matgl
from matgl.ext.ase import PESCalculator
from pymatgen.io.ase import AseAtomsAdaptor

crystals = ase.io.read(sys.argv[1], ":")
for folder in sys.argv[2:]:
    model = matgl.load_model(folder).eval()
    for atoms in crystals:
        if hasattr(model, "data_std"):
            atoms.calc = PESCalculator(model)
            print("value", atoms.get_potential_energy() / len(atoms))
        else:
            print("value", float(model.predict_structure(AseAtomsAdaptor.get_structure(atoms))))
"""
"""Prints what the models of folders predict; it imports MatGL only."""


def test_upgrade_writes_what_plain_matgl_predicts_right(tmp_path, monkeypatch, capsys):
    names = ("m3gnet", "m3gnet_set2set", "tensornet_dgl", "chgnet")
    for name in names:
        code, _, _ = run_here(monkeypatch, capsys, "upgrade", folder_of(f"saved_by_matgl_2/{name}"), tmp_path / name)
        assert code == 0
    crystals = SAVED_BY_MATGL_2 / "crystals.extxyz"
    words = [sys.executable, "-c", READ_BY_MATGL, crystals, *(tmp_path / name for name in names)]
    run = subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, timeout=600)
    found = [float(line.split()[1]) for line in run.stdout.splitlines() if line.startswith("value")]
    expected = [np.load(SAVED_BY_MATGL_2 / name / "expected.npz") for name in names]
    n_atoms = np.array([len(a) for a in ase.io.read(crystals, ":")])
    wanted = [e["values"] / n_atoms if "forces" in e.files else e["values"] for e in expected]
    np.testing.assert_allclose(found, np.concatenate(wanted), atol=ENERGY)


@pytest.mark.filterwarnings("ignore::matgl_fill.errors.MatglFillWarning")
def test_the_calculator_runs_an_old_m3gnet():
    folder = folder_of("saved_by_matgl_2/m3gnet")
    structures = structures_of(folder)
    model = mf.load_model(folder)
    atoms = structures[0].copy()
    atoms.calc = mf.FillCalculator(model, pool=[AseAtomsAdaptor.get_structure(a) for a in structures] * 6)
    assert atoms.get_potential_energy() == pytest.approx(np.load(folder / "expected.npz")["values"][0], abs=1e-4)


def test_without_its_two_differences_it_is_todays_m3gnet(crystals):
    settings = {"is_intensive": False, "units": 16, "cutoff": 4.0, "threebody_cutoff": 4.0}
    torch.manual_seed(0)
    new = M3GNet(**settings)
    old = LegacyM3GNet(sums_at="source", **settings)
    old.load_state_dict(new.state_dict())
    np.testing.assert_array_equal(mf.embed(old, crystals), mf.embed(new, crystals))
    for change in ({"sums_at": "destination"}, {"threebody_cutoff": 3.0}):
        other = LegacyM3GNet(**{"sums_at": "source"} | settings | change)
        other.load_state_dict(new.state_dict())
        like = M3GNet(**settings | {k: v for k, v in change.items() if k != "sums_at"})
        like.load_state_dict(new.state_dict())
        assert np.abs(mf.embed(other, crystals) - mf.embed(like, crystals)).max() > 1e-6


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=9), min_size=1, max_size=5))
def test_ranks_count_from_the_first_bond_of_the_crystal(inside):
    """Of every crystal of a batch the ranks are those that it has alone, moved by the number of bonds before it."""
    crystal = torch.tensor([i for i, bonds in enumerate(inside) for _ in bonds])
    ranks = bond_ranks(torch.tensor([x for bonds in inside for x in bonds]), crystal).tolist()
    first = 0
    for bonds in inside:
        alone = bond_ranks(torch.tensor(bonds), None).tolist()
        kept = [k for k, x in enumerate(bonds) if x]
        assert [alone[k] for k in kept] == list(range(len(kept)))
        assert [ranks[first + k] for k in kept] == [first + alone[k] for k in kept]
        first += len(bonds)


def test_what_cannot_be_run_is_refused():
    """The readout of other architectures than M3GNet changed too; MatGL lacks the weights and says so."""
    with pytest.raises(ModelError, match="lacks"):
        mf.load_model(folder_of("saved_by_matgl_2/m3gnet_weighted"), legacy=False)


REFERENCES = {
    "legacy_predictions.json": (
        "M3GNet-MP-2018.6.1-Eform",
        "M3GNet-MP-2021.2.8-PES",
        "M3GNet-MatPES-PBE-v2025.1-PES",
        "MEGNet-MP-2018.6.1-Eform",
        "TensorNet-MatPES-PBE-v2025.1-PES",
    ),
    "legacy_predictions_matgl206.json": (
        "QET-MatQ-PES",
        "SO3Net-ANI-1x-Subset-PES",
        "TensorNet-ANI-1x-Subset-PES",
    ),
}
"""Published models by the file of ``shared/reference`` with the predictions of their time."""


@pytest.mark.parametrize("name", [n for names in REFERENCES.values() for n in names])
@pytest.mark.filterwarnings("ignore::matgl_fill.errors.MatglFillWarning")
def test_published_models_predict_what_they_did(name):
    file = next(f for f, names in REFERENCES.items() if name in names)
    model = mf.load_model(shared(f"models/{name}" if name.startswith("SO3Net") else f"models_legacy/{name}")).eval()
    rows = json.loads(shared(f"reference/{file}").read_text())[name]
    if "id" in rows[0]:
        pool = mf.read_structures(shared("data/mp_pool.jsonl.gz"))
        crystals = dict(zip(pool.ids, pool.structures, strict=True))
        structures = [AseAtomsAdaptor.get_atoms(crystals[row["id"]], msonable=False) for row in rows]
    else:
        structures = [Atoms(row["numbers"], row["positions"]) for row in rows]
    values, forces = predicted(model, structures)
    per = 1 if forces is None else np.array([len(a) for a in structures])
    np.testing.assert_allclose(
        values, [r.get("energy_eV", r.get("prediction")) for r in rows] / np.asarray(per), atol=1e-5
    )
    if forces is not None and "forces_eV_per_A" in rows[0]:
        np.testing.assert_allclose(forces, np.concatenate([row["forces_eV_per_A"] for row in rows]), atol=1e-4)
