"""Students: potentials of architectures that no pretrained model is at hand of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import DGL
from typer.testing import CliRunner

import matgl_fill as mf
from examples.benchmarks.__main__ import app
from examples.benchmarks.potentials.distillation import School, Schooling, fresh, school, teach
from matgl_fill.errors import InputError
from matgl_fill.structures import bundled
from matgl_fill.training import label

pytestmark = pytest.mark.skipif(DGL, reason="the bundled teacher is for PyG")


@pytest.fixture(scope="module")
def teacher():
    return mf.get_adapter(mf.load_model(bundled.POTENTIAL))


@pytest.fixture(scope="module")
def lessons(teacher, pool):
    return school(teacher, pool.structures, 4, seed=0)


def test_a_crystal_and_its_copy_teach_or_test_together(lessons):
    formulas = [s.reduced_formula for s in lessons.structures]
    tested = {formulas[i] for i in lessons.test}
    taught = {f for i, f in enumerate(formulas) if i not in set(lessons.test)}
    assert tested
    assert not tested & taught
    assert len(lessons.structures) == len(lessons.labels.energy) == len(lessons.labels.forces)


def test_a_pool_that_the_teacher_does_not_know_is_refused(teacher, pool):
    with pytest.raises(InputError, match="at most 1 atoms"):
        school(teacher, [s for s in pool.structures if len(s) > 1], 1, seed=0)


def test_a_student_learns_what_it_is_taught_and_repeats_to_the_bit(lessons, teacher):
    rows = list(range(36))
    few = School([lessons.structures[i] for i in rows], lessons.labels.subset(rows), test=[34, 35])
    students = [fresh("CHGNet", teacher.element_types, few, seed=0) for _ in range(2)]

    def error():
        forces = label(few.structures[:34], students[0]).forces
        return np.mean([np.abs(f - wanted).mean() for f, wanted in zip(forces, few.labels.forces, strict=False)])

    untaught = error()
    errors = [teach(student, few, epochs=20, seed=0) for student in students]
    assert errors[0] == errors[1]
    assert error() < 0.5 * untaught
    for mine, other in zip(students[0].model.parameters(), students[1].model.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_an_interrupted_schooling_goes_on_to_the_same_bits(lessons, teacher, tmp_path, monkeypatch):
    rows = list(range(36))
    few = School([lessons.structures[i] for i in rows], lessons.labels.subset(rows), test=[34, 35])
    whole, killed, later = (fresh("CHGNet", teacher.element_types, few, seed=0) for _ in range(3))
    errors = teach(whole, few, epochs=4, seed=0)
    saved, step, batches = tmp_path / "state.ckpt", Schooling.step, []

    def die(self, batch):
        batches.append(batch)
        if len(batches) == 8:  # the second of the third epoch
            raise RuntimeError("killed")
        return step(self, batch)

    monkeypatch.setattr(Schooling, "step", die)
    with pytest.raises(RuntimeError, match="killed"):
        teach(killed, few, 4, 0, saved)
    monkeypatch.undo()
    assert torch.load(saved, weights_only=True)["epoch"] == 1
    assert teach(later, few, 4, 0, saved) == errors
    for mine, other in zip(whole.model.parameters(), later.model.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("architecture", ["CHGNet", "QET", "SO3Net", "TensorNet"])
def test_the_command_saves_a_potential_with_the_error_that_it_prints(architecture, tmp_path, teacher, lessons):
    where = tmp_path / "student"
    words = ["student", architecture, "potential", "default", "-o", str(where), "--epochs", "1", "--max-atoms", "4"]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    assert f"{len(lessons.structures)} crystals, {len(lessons.test)} of them to test" in found.output
    assert sorted(p.name for p in where.iterdir()) == ["model.json", "model.pt", "state.pt"]
    adapter = mf.get_adapter(mf.load_model(where))
    crystals = [lessons.structures[i] for i in lessons.test]
    atoms = np.array([len(s) for s in crystals])
    energy = adapter.embed_graphs(adapter.graphs(crystals))[1]
    error = np.abs((energy - lessons.labels.energy[lessons.test]) / atoms).mean()
    assert f"{1000 * error:.0f} meV/atom" in found.output
