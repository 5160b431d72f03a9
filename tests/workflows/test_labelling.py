"""Labelling by jobs: what is gathered, what is done again, what fails, and who a job is of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

pytest.importorskip("jobflow", reason="needs the extra 'workflows'")

from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from helpers import run_here
from jobflow import JobStore, Maker, job, run_locally
from maggma.stores import MemoryStore
from matgl.ext.ase import PESCalculator
from monty.json import MontyDecoder, jsanitize
from pymatgen.core import Lattice, Structure

import matgl_fill as mf
from matgl_fill.errors import InputError, MatglFillWarning, OracleError
from matgl_fill.training import label, read_labelled, resolve
from matgl_fill.workflows import gather, jobs, label_flow, label_locally

N = 6
ENGINE = """
    import json
    import time
    from pathlib import Path

    from matgl.ext.ase import PESCalculator

    import matgl_fill as mf

    HERE = Path(__file__).parent


    class Counted(PESCalculator):
        def calculate(self, atoms=None, *arguments):
            with (HERE / "log").open("a") as file:
                file.write(atoms.get_chemical_formula() + "\\n")
            if (HERE / "hang").exists() and len((HERE / "log").read_text().split()) > 3:
                time.sleep(600)
            super().calculate(atoms, *arguments)


    def make():
        return Counted(mf.load_model("potential"), stress_unit="eV/A3")
"""


def potential():
    return PESCalculator(mf.load_model("potential"), stress_unit="eV/A3")


@pytest.fixture(scope="module")
def some(pool):
    return pool.subset(range(N))


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """A folder with a module whose calculator writes down what it calculates, and hangs at the fourth if told to."""
    (tmp_path / "counted.py").write_text(textwrap.dedent(ENGINE))
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    return tmp_path


def forget():
    """As in a new process."""
    sys.modules.pop("counted", None)
    jobs._code_of.cache_clear()
    jobs._made.cache_clear()


def calculated(folder):
    log = folder / "log"
    return log.read_text().split() if log.exists() else []


def test_labels_are_those_of_the_calculator_and_go_to_the_reader_of_labels(some, tmp_path):
    found = label_locally(some, potential(), tmp_path)
    assert found.skipped == []
    found.write(tmp_path / "labelled.extxyz")
    read = read_labelled(tmp_path / "labelled.extxyz")
    want = label(some.structures, resolve(potential()).source)
    assert read.ids == some.ids
    np.testing.assert_array_equal(read.labels.energy, want.energy)
    np.testing.assert_allclose(read.labels.stress, want.stress, atol=1e-9)
    for got, forces, structure, back in zip(
        read.labels.forces, want.forces, some.structures, read.structures, strict=True
    ):
        np.testing.assert_allclose(got, forces, atol=1e-8)
        np.testing.assert_allclose(back.cart_coords, structure.cart_coords, atol=1e-7)


def test_the_stress_of_a_potential_is_in_the_units_of_ase(some, tmp_path):
    """MatGL's own calculators give GPa unless told otherwise."""
    given = (mf.load_model("potential"), PESCalculator(mf.load_model("potential")), potential())
    stress = [label_locally(some.subset([0]), one, tmp_path).frames[0].get_stress() for one in given]
    np.testing.assert_allclose(stress[1], stress[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(stress[2], stress[0])
    assert np.abs(stress[0]).max() > 1e-3


def test_a_killed_call_goes_on_and_ends_with_the_same_file(some, engine):
    source = engine / "in.extxyz"
    mf.structures.write_structures(some, source)
    (engine / "hang").touch()
    words = [sys.executable, "-m", "matgl_fill", "label", "in.extxyz", "--oracle", "counted:make", "-o", "first.extxyz"]
    killed = subprocess.Popen(words, cwd=engine, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    try:
        while len(calculated(engine)) < 4:
            assert killed.poll() is None, killed.stderr.read().decode()
            time.sleep(0.1)
    finally:
        killed.kill()
        killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (engine / "first.extxyz").exists()
    assert len(json.loads((engine / "first.jobs" / "jobs.json").read_text())) == 3

    (engine / "hang").unlink()
    formulas = {s.composition.reduced_formula for s in some}
    assert len(formulas) == N
    assert len(calculated(engine)) == 4
    label_locally(source, "counted:make", engine / "first.jobs").write(engine / "first.extxyz")
    assert len(calculated(engine)) == 4 + N - 3
    label_locally(source, "counted:make", engine / "whole.jobs").write(engine / "whole.extxyz")
    assert len(calculated(engine)) == 4 + N - 3 + N
    assert calculated(engine)[:3] + calculated(engine)[4 : 4 + N - 3] == calculated(engine)[-N:]
    assert len(set(calculated(engine))) == N
    assert (engine / "first.extxyz").read_bytes() == (engine / "whole.extxyz").read_bytes()


def test_a_crystal_on_which_the_calculator_fails_is_told_and_left_out(some, tmp_path, monkeypatch, capsys):
    """EMT knows seven metals; an unreadable frame is left out before."""
    metals = [Structure(Lattice.cubic(4.0), [e], [[0, 0, 0]]) for e in ("Al", "Na", "Cu")]
    with pytest.warns(MatglFillWarning) as told:
        found = label_locally(metals, EMT(), tmp_path)
    assert [str(w.message) for w in told] == ["1 is not labelled: NotImplementedError: No EMT-potential for Na"]
    assert [a.get_chemical_formula() for a in found.frames] == ["Al", "Cu"]
    assert [(s.where, s.reason) for s in found.skipped] == [("1", "NotImplementedError: No EMT-potential for Na")]

    mf.structures.write_structures(metals, tmp_path / "in.extxyz", [{"id": f"0{k}"} for k in range(3)])
    words = ("label", tmp_path / "in.extxyz", "--oracle", "ase.calculators.emt:EMT", "-o", tmp_path / "out.extxyz")
    code, out, err = run_here(monkeypatch, capsys, *words)
    assert code == 0
    assert " ".join(out.split()).startswith("2 crystals labelled in")
    assert " ".join(out.split()).partition(" Next: ")[0].endswith(", 1 left out.")
    assert "01 is not labelled: NotImplementedError: No EMT-potential for Na" in err
    assert read_labelled(tmp_path / "out.extxyz").ids == ["00", "02"]


def test_nothing_labelled_is_an_error(tmp_path):
    sodium = Structure(Lattice.cubic(4.0), ["Na"], [[0, 0, 0]])
    with pytest.warns(MatglFillWarning):
        found = label_locally([sodium], EMT(), tmp_path)
    with pytest.raises(OracleError, match=r"no crystal was labelled; first: 0: .*No EMT-potential for Na"):
        found.write(tmp_path / "out.extxyz")
    assert not (tmp_path / "out.extxyz").exists()


def test_a_calculator_that_gives_no_number_fails_on_the_crystal(some, tmp_path):
    class Lost(LennardJones):
        def calculate(self, *arguments, **named):
            super().calculate(*arguments, **named)
            self.results["energy"] = np.nan

    with pytest.warns(MatglFillWarning, match="not finite"):
        assert label_locally(some.subset([0]), Lost(), tmp_path).frames == []


def test_flow_and_gather_serve_a_store_of_ones_own(some):
    """As on a cluster: jobs go as text, some have not run, the next flow holds those."""
    store = JobStore(MemoryStore())
    store.connect()
    flow = label_flow(some, "potential", store)
    assert len(flow.jobs) == N
    first = label_flow(some.subset(range(4)), "potential", store)
    sent = MontyDecoder().process_decoded(json.loads(json.dumps(jsanitize(first.as_dict(), strict=True))))
    assert sent.job_uuids == flow.job_uuids[:4]
    run_locally(sent, store=store, log=False)
    with pytest.warns(MatglFillWarning, match="has not run, or failed") as told:
        found = gather(some, "potential", store)
    assert len(told) == 2
    assert [a.info["id"] for a in found.frames] == some.ids[:4]
    rest = label_flow(some, "potential", store)
    assert rest.job_uuids == flow.job_uuids[4:]
    run_locally(rest, store=store, log=False)
    assert len(gather(some, "potential", store).frames) == N
    assert len(label_flow(some, "potential", store).jobs) == 0


def test_a_calculator_itself_serves_in_its_own_process_only(some, monkeypatch):
    flow = label_flow(some.subset([0]), LennardJones(rc=4))
    monkeypatch.setattr("matgl_fill.workflows.jobs._given", {})
    with pytest.raises(OracleError, match="give label_flow 'module:factory'"):
        run_locally(flow, store=JobStore(MemoryStore()), log=False, raise_immediately=True)


def test_uuids_follow_crystal_settings_weights_and_code(some, engine):
    one = some.subset([0])
    moved = some.structures[0].copy().perturb(1e-6)
    other = mf.load_model("potential")
    next(other.parameters()).data[0] += 1e-3
    engines = [LennardJones(), LennardJones(rc=4), EMT(), potential(), PESCalculator(other), "counted:make"]
    uuids = [label_flow(one, e).job_uuids for e in engines] + [label_flow(moved, engines[0]).job_uuids]
    assert len(set(uuids)) == len(uuids)
    assert label_flow(one, LennardJones(rc=4)).job_uuids == uuids[1]
    assert label_flow(one, potential()).job_uuids == uuids[3]
    (engine / "counted.py").write_text((engine / "counted.py").read_text() + "# of another functional\n")
    assert label_flow(one, "counted:make").job_uuids == uuids[5]  # what this process has imported is as it was
    forget()
    assert label_flow(one, "counted:make").job_uuids != uuids[5]
    with pytest.raises(InputError, match="has a setting that differs between processes"):
        label_flow(one, LennardJones(cutoff=object()))


def test_crystals_that_are_alike_share_a_job(some, tmp_path):
    twice = [some.structures[0], some.structures[1], some.structures[0]]
    assert len(label_flow(twice, "potential").jobs) == 2
    assert len(label_locally(twice, "potential", tmp_path).frames) == 3


class SpringMaker(Maker):
    """Of the form of atomate2's: settings, and a job that gives a document."""

    name: str = "spring"

    def __init__(self, k=1.0, keys=("structure", "energy", "forces", "stress")):
        self.k, self.keys = k, keys

    @job
    def make(self, structure):
        if structure.composition.reduced_formula == "Na":
            raise ValueError("no spring for Na")
        forces = -self.k * (structure.cart_coords - structure.cart_coords.mean(axis=0))
        document = {"energy": float((forces**2).sum() / 2 / self.k), "forces": forces.tolist()}
        document |= {"structure": structure, "stress": np.diag([0.1, 0.2, 0.3]).tolist()}
        return {key: document[key] for key in self.keys}


def test_a_maker_labels_by_its_jobs_and_is_resumed(some, tmp_path):
    sodium = Structure(Lattice.cubic(4.0), ["Na"], [[0, 0, 0]])
    frames = [*some.structures[:2], sodium]
    with pytest.warns(MatglFillWarning, match="2 is not labelled: no spring for Na"):
        found = label_locally(frames, SpringMaker(k=2.0), tmp_path)
    assert [s.where for s in found.skipped] == ["2"]
    for atoms, structure in zip(found.frames, some.structures, strict=False):
        want = -2.0 * (structure.cart_coords - structure.cart_coords.mean(axis=0))
        np.testing.assert_allclose(atoms.get_forces(), want)
        np.testing.assert_allclose(atoms.get_stress(), [0.1, 0.2, 0.3, 0, 0, 0])
    documents = len(json.loads((tmp_path / "jobs.json").read_text()))
    again = label_locally(frames[:2], SpringMaker(k=2.0), tmp_path)
    assert len(json.loads((tmp_path / "jobs.json").read_text())) == documents
    assert len(again.frames) == 2
    assert label_flow(frames, SpringMaker(k=2.0)).job_uuids != label_flow(frames, SpringMaker(k=3.0)).job_uuids


def test_a_makers_result_without_forces_is_refused_and_without_stress_taken(some, tmp_path):
    one = some.subset([0])
    with pytest.warns(MatglFillWarning, match="the Maker's result has no forces"):
        assert label_locally(one, SpringMaker(keys=("structure", "energy")), tmp_path).frames == []
    found = label_locally(one, SpringMaker(keys=("structure", "energy", "forces")), tmp_path)
    assert sorted(found.frames[0].calc.results) == ["energy", "forces"]


def test_atomate2s_documents_have_their_stress_turned_into_ases(some, tmp_path):
    makers = pytest.importorskip("atomate2.ase.jobs", reason="atomate2 is the user's own")
    settings = {"sigma": 2.2, "epsilon": 0.5, "rc": 6.0, "smooth": True}
    made = label_locally(some, makers.LennardJonesStaticMaker(calculator_kwargs=settings), tmp_path)
    plain = label_locally(some, LennardJones(**settings), tmp_path / "plain")
    for one, other in zip(made.frames, plain.frames, strict=True):
        np.testing.assert_allclose(one.get_potential_energy(), other.get_potential_energy())
        np.testing.assert_allclose(one.get_forces(), other.get_forces(), atol=1e-10)
        np.testing.assert_allclose(one.get_stress(), other.get_stress(), atol=1e-10)


def test_damaged_results_are_refused_and_kept(some, tmp_path):
    (tmp_path / "jobs.json").write_text('[{"uuid": "a')
    with pytest.raises(InputError, match="holds no results of jobs"):
        label_locally(some, EMT(), tmp_path)
    assert (tmp_path / "jobs.json").read_text() == '[{"uuid": "a'


def test_without_jobflow_one_line_names_the_extra(some, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jobflow", None)
    mf.structures.write_structures(some, tmp_path / "in.extxyz")
    code, _, err = run_here(monkeypatch, capsys, "label", tmp_path / "in.extxyz", "--oracle", "potential")
    assert code == 5
    assert err.strip().splitlines()[-1].endswith("pip install 'matgl_fill[workflows]'.")


def test_all_that_is_missing_is_named_at_once(some, tmp_path, monkeypatch):
    for package in ("jobflow", "sevenn"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(OracleError, match=r"needs jobflow and sevenn, .*'matgl_fill\[workflows,sevennet\]'"):
        label_locally(some, "sevennet", tmp_path)
