"""Labels are read under every name that people give them, in the right unit and for the right volume, or it is said."""

from __future__ import annotations

import warnings

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.stress import full_3x3_to_voigt_6_stress
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import matgl_fill as mf
from matgl_fill.calculator.learn import FrameSet
from matgl_fill.cli import app
from matgl_fill.errors import InputError, MatglFillWarning
from matgl_fill.structures import bundled, bundled_pool
from matgl_fill.training import LabelKeys, read_labelled

rng = np.random.default_rng(0)
ENERGY, FORCES = -7.25, rng.normal(size=(4, 3)).round(6)
STRESS = (lambda s: (s + s.T).round(6))(rng.normal(size=(3, 3)) * 0.01)


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    return atoms


def labelled(atoms: Atoms, energy: str, forces: str | None = None, stress: str | None = None, value=STRESS) -> Atoms:
    """Frame with its labels in ``info`` and ``arrays``, as readers leave names that they do not know."""
    atoms.info[energy] = ENERGY
    if forces:
        atoms.arrays[forces] = FORCES
    if stress:
        atoms.info[stress] = value
    return atoms


def check(found, stress: np.ndarray = STRESS) -> None:
    assert found.labels.energy.tolist() == [ENERGY]
    np.testing.assert_allclose(found.labels.forces[0], FORCES, atol=1e-9)
    np.testing.assert_allclose(found.labels.stress[0], stress, atol=1e-9)


NAMES = [
    ("REF_energy", "REF_forces", "REF_stress"),
    ("ref_energy", "ref_forces", "ref_stress"),
    ("dft_energy", "dft_force", "dft_virial"),
    ("DFT_energy", "DFT_forces", "DFT_stress"),
    ("energy", "force", "virial"),
    ("free_energy", "forces", "stress"),
    ("REF_free_energy", "REF_forces", "REF_virials"),
]


@pytest.mark.parametrize("names", NAMES, ids=lambda n: n[0])
def test_the_usual_names_are_read(names, tmp_path):
    atoms = crystal()
    value = -STRESS * atoms.get_volume() if "virial" in names[2] else STRESS
    labelled(atoms, *names, value=value)
    ase.io.write(tmp_path / "a.extxyz", atoms)
    sources = [tmp_path / "a.extxyz", atoms]
    if "_e" in names[0] and names[0] != "free_energy":  # ase.db keeps its own names for itself
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        connect(tmp_path / "a.db").write(bare, {names[0]: ENERGY}, data={names[1]: FORCES, names[2]: value})
        sources.append(tmp_path / "a.db")
    for source in sources:
        with warnings.catch_warnings():
            warnings.simplefilter("error", MatglFillWarning)
            check(read_labelled(source))


@pytest.mark.parametrize("shape", [(9,), (3, 3), (6,)])
def test_a_stress_may_have_any_of_three_shapes(shape):
    value = full_3x3_to_voigt_6_stress(STRESS) if shape == (6,) else STRESS.reshape(shape)
    check(read_labelled(labelled(crystal(), "REF_energy", "REF_forces", "REF_stress", value)))


def test_reference_labels_go_before_plain_ones_and_it_is_said():
    atoms = labelled(crystal(), "REF_energy", "REF_forces", "REF_stress")
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.ones((4, 3)), stress=np.ones(6))
    with pytest.warns(MatglFillWarning, match=r"read from REF_energy, REF_forces, REF_stress, not from energy, forces"):
        check(read_labelled(atoms))
    with pytest.warns(MatglFillWarning, match=r"read from energy, forces, stress, not from REF_energy"):
        found = read_labelled(atoms, LabelKeys(energy="energy"))
    assert found.labels.energy.tolist() == [1.0]
    assert found.labels.forces[0].tolist() == np.ones((4, 3)).tolist()


def test_forces_of_another_family_are_not_mixed_in():
    atoms = labelled(crystal(), "REF_energy", "mace_forces")
    with pytest.warns(MatglFillWarning, match="read from REF_energy, not from mace_forces"):
        found = read_labelled(atoms)
    assert np.isnan(found.labels.forces[0]).all()
    check(read_labelled(labelled(crystal(), "vasp_energy", "vasp_forces", "vasp_stress"), LabelKeys("vasp_energy")))
    mixed = labelled(crystal(), "E", "F", "virial_of_gap", STRESS)
    found = read_labelled(mixed, LabelKeys("E", "F"))
    assert np.isnan(found.labels.stress).all()


def test_an_error_lists_the_names_that_are_there(tmp_path):
    ase.io.write(tmp_path / "a.extxyz", labelled(crystal(), "vasp_energy", "vasp_forces"))
    usual = r"\(REF_energy, REF_free_energy, DFT_energy, DFT_free_energy, energy, free_energy, in any case\)"
    there = r"the frames have vasp_energy, vasp_forces\. Give .* energy_key \(--energy-key on the command line\)"
    with pytest.raises(InputError, match=rf"a.extxyz: no frame has an energy under a usual name {usual}; {there}"):
        read_labelled(tmp_path / "a.extxyz")
    with pytest.raises(InputError, match=r"the given list: no frame has an energy.*; the frames have no labels"):
        read_labelled([crystal()])
    with pytest.raises(InputError, match=r"no frame has 'stress'; the frames have vasp_energy, vasp_forces"):
        read_labelled(tmp_path / "a.extxyz", LabelKeys("vasp_energy", stress="stress"))


@pytest.mark.parametrize("name", ["disordered.cif", "POSCAR", "a.vasp", "run_CONTCAR"])
def test_a_file_that_holds_no_energies_by_its_format_is_told(tmp_path, name):
    ase.io.write(tmp_path / name, crystal(), format="cif" if name.endswith("cif") else "vasp")
    with pytest.raises(InputError, match=f"{name}: CIF and POSCAR files hold no energies; give extended XYZ"):
        read_labelled(tmp_path / name)


def test_a_frame_without_the_label_or_with_a_strange_one_is_skipped():
    plain, strange = (
        labelled(crystal(), "energy"),
        labelled(crystal(), "REF_energy", stress="REF_stress", value=[1.0, 2]),
    )
    wordy = crystal()
    wordy.info["REF_energy"] = "unconverged"
    good = labelled(crystal(), "REF_energy", "REF_forces")
    with pytest.warns(MatglFillWarning, match="not from energy"):
        found = read_labelled([plain, strange, wordy, good])
    assert [s.reason for s in found.skipped] == [
        "no energy under REF_energy",
        "REF_stress is no array of 9 numbers",
        "REF_energy is no array of 1 numbers",
    ]
    assert len(found.structures) == 1


@given(c=st.floats(6, 40), name=st.sampled_from(["REF_stress", "REF_virial", "stress"]))
def test_the_stress_of_a_slab_is_of_the_cell_that_is_trained_on(c, name):
    """Volume times stress, the strain derivative of the energy, is what a calculation gives for any vacuum."""
    slab = fcc111("Cu", (1, 1, 4), vacuum=1)
    slab.cell[2, 2] = max(c, np.ptp(slab.positions[:, 2]) + 1)
    slab.pbc = [True, True, False]
    value = -STRESS * slab.get_volume() if "virial" in name else STRESS
    labelled(slab, "energy" if name == "stress" else "REF_energy", "forces" if name == "stress" else "REF_forces")
    slab.info[name] = value
    found = read_labelled(slab)
    (periodic,) = found.structures
    np.testing.assert_allclose(found.labels.stress[0] * periodic.volume, STRESS * slab.get_volume(), atol=1e-9)


def test_without_a_volume_there_is_a_virial_or_no_stress():
    slab = labelled(fcc111("Cu", (1, 1, 4)), "REF_energy", "REF_forces", "REF_stress")
    assert np.isnan(read_labelled(slab).labels.stress).all()
    slab = labelled(fcc111("Cu", (1, 1, 4)), "REF_energy", "REF_forces", "REF_virial", -STRESS)
    found = read_labelled(slab)
    np.testing.assert_allclose(found.labels.stress[0] * found.structures[0].volume, STRESS, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*stress.*GPa")
def test_frames_that_got_vacuum_are_labelled_for_their_own_cell():
    """What an oracle says of the fully periodic crystal comes back as the label of that crystal."""
    potential = mf.load_model(bundled.POTENTIAL)
    pool = bundled_pool(mf.get_adapter(potential).element_types).subset(range(25))
    calc = mf.FillCalculator(potential, pool=pool, stress_unit="eV/A3")
    thin, bare, ethanol = fcc111("Cu", (1, 1, 3), vacuum=2), fcc111("Cu", (1, 1, 3)), molecule("CH3CH2OH")
    for k, atoms in enumerate((thin, bare, ethanol)):
        atoms.rattle(0.05, seed=k)
    frames = FrameSet(calc._adapter, calc.reference, calc.pool, [thin, bare, ethanol], {}).labelled(calc)
    found = read_labelled(frames)
    assert np.isnan(found.labels.stress[1:]).all()
    thin.calc = calc
    assert frames[0].get_stress() == pytest.approx(thin.get_stress(), abs=1e-6)
    crystal_ = found.structures[0].to_ase_atoms()
    crystal_.calc = calc
    np.testing.assert_allclose(found.labels.stress[0], crystal_.get_stress(voigt=False), atol=1e-6)


def test_the_command_line_takes_names(tmp_path):
    frames = [labelled(bulk("Cu", cubic=True), "vasp_e", "vasp_f") for _ in range(4)]
    for k, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=k)
        atoms.info["vasp_e"] = ENERGY + k
    ase.io.write(tmp_path / "dft.extxyz", frames)
    (tmp_path / "quick.toml").write_text("steps = 2\ncopies = 0\nenlarge_pool = 0\nreplay_size = 60\n")
    asked = ["tune", "default", "--labelled", str(tmp_path / "dft.extxyz"), "-o", str(tmp_path / "out")]
    asked += ["--config", str(tmp_path / "quick.toml")]
    refused = CliRunner().invoke(app, asked)
    assert isinstance(refused.exception, InputError)
    assert "the frames have vasp_e, vasp_f" in str(refused.exception)
    named = CliRunner().invoke(
        app, [*asked, "--energy-key", "vasp_e", "--forces-key", "vasp_f"], catch_exceptions=False
    )
    assert named.exit_code == 0
    assert 'energy_key = "vasp_e"' in (tmp_path / "out" / "config.toml").read_text()
