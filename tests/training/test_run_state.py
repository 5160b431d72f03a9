"""Interrupted runs go on to the bits of the uninterrupted one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.calculators.lj import LennardJones
from helpers import pool_of
from matgl.ext.ase import PESCalculator

import matgl_fill as mf
from matgl_fill.config import FillConfig
from matgl_fill.errors import InputError
from matgl_fill.structures import bundled, write_structures
from matgl_fill.training import FillModule, ReadoutObjective, Replay, fit, module, resolve, standard_scaling
from matgl_fill.training.module import PARTS
from matgl_fill.training.run_state import TOGETHER, RunState, check_free, oracle_fingerprint
from matgl_fill.utils.checkpoint import Checkpoint

KILLS = int(os.environ.get("MATGL_FILL_KILLS", "2"))
"""Random moments at which a run is killed; give more by hand."""
QUICK = {"steps": 40, "copies": 2, "replay_size": 40}
STEPS = 20
CONFIG = {"steps": STEPS, "lr": 2e-3, "batch_size": 4, "replay_batch": 5, "average_from": 0.6}
AVERAGED = 12
"""The last step before weights are averaged."""
EPOCH = 3
"""Steps in which 14 crystals are seen once, 4 at a time."""


@pytest.fixture(scope="module")
def start(model, pool):
    """Makes a model and all that :func:`fit` needs to train it: 14 crystals to learn, 22 to replay."""
    original = mf.get_adapter(model)
    known = pool.subset(range(60)).structures
    prepared = pool_of(original, known)
    Z, D = prepared.Z, prepared.D

    def make(seed=0, rows=slice(14), **changes):
        adapter, scale = original.clone(), standard_scaling(Z)
        objective = ReadoutObjective("descriptor", scale, (Z, D), known[rows], D[rows], 1.0)
        replay = Replay(original, prepared, np.arange(30, 52), 1.0, 3.0)
        settings = FillConfig(**CONFIG | changes).resolved(False, 5, 8e-3).training
        return adapter, [objective], replay, settings, seed

    return make


def tensors(parts) -> list[torch.Tensor]:
    """Everything that was trained: the model and the heads."""
    adapter, objectives = parts[:2]
    heads = [p.detach() for o in objectives for p in o.parameters()]
    return [*adapter.model.state_dict().values(), *heads]


@pytest.fixture(scope="module", autouse=True)
def _losses_of_two_steps_make_a_point():
    """So that an interruption also meets a point of the loss curve that is half done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matgl_fill.training.module.HISTORY_POINTS", STEPS // 2)
        yield


@pytest.fixture(scope="module")
def whole(start):
    parts = start()
    return fit(*parts), tensors(parts)


@pytest.mark.parametrize("steps", [1, EPOCH, AVERAGED, 17, STEPS])
def test_interrupted_training_ends_in_the_same_bits(start, whole, stop_after, tmp_path, steps):
    path = tmp_path / "training.pt"
    stop_after(steps, start(), path)
    parts = start()
    assert fit(*parts, path) == whole[0]
    assert all(torch.equal(a, b) for a, b in zip(tensors(parts), whole[1], strict=True))


def test_the_weights_handed_over_are_the_mean_of_those_of_the_last_steps(start, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAVE_SECONDS", 0.0)
    seen = {}

    class Spying(Checkpoint):
        def save(self, state):
            super().save(state)
            seen[state["step"]] = {k: v.clone() for k, v in state["weights"].items() if torch.is_tensor(v)}

    monkeypatch.setattr("matgl_fill.training.module.Checkpoint", Spying)
    parts = start()
    fit(*parts, tmp_path / "training.pt")
    last = [seen[step] for step in range(AVERAGED + 1, STEPS + 1)]
    for name, p in parts[0].core.named_parameters():
        mean = torch.stack([weights[f"core.{name}"] for weights in last]).mean(dim=0)
        torch.testing.assert_close(p, mean)
    moved = [not torch.equal(p, last[-1][f"core.{name}"]) for name, p in parts[0].core.named_parameters()]
    assert any(moved)


def test_training_may_be_interrupted_again_and_again(start, whole, stop_after, tmp_path):
    for steps in (2, 9, 14):
        stop_after(steps, start(), tmp_path / "training.pt")
    parts = start()
    assert fit(*parts, tmp_path / "training.pt") == whole[0]
    assert all(torch.equal(a, b) for a, b in zip(tensors(parts), whole[1], strict=True))


def test_what_was_done_is_not_done_again(start, stop_after, tmp_path, monkeypatch):
    stop_after(15, start(), tmp_path / "training.pt")
    steps = []
    step = FillModule.training_step
    monkeypatch.setattr(FillModule, "training_step", lambda *a: steps.append(1) or step(*a))
    fit(*start(), tmp_path / "training.pt")
    assert len(steps) == PARTS * (STEPS - 15)


@pytest.mark.parametrize("other", [{"seed": 1}, {"lr": 1e-3}, {"rows": slice(1, 15)}, {"batch_size": 3}])
def test_state_of_another_training_is_refused(start, stop_after, tmp_path, other):
    path = tmp_path / "training.pt"
    stop_after(1, start(), path)
    with pytest.raises(InputError, match="belongs to another"):
        fit(*start(**other), path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="the training cannot be resumed"):
        fit(*start(), path)


def test_interrupt_reaches_the_caller_and_may_come_again(start, stop_after, tmp_path):
    """Lightning answers Ctrl-C by exiting the process, and ignores it from then on."""
    answer = signal.getsignal(signal.SIGINT)
    stop_after(1, start(), tmp_path / "training.pt")
    assert signal.getsignal(signal.SIGINT) is answer


class Counting(LennardJones):
    """An oracle that counts its calculations, and is interrupted after some."""

    left = 10**9
    done = 0

    def calculate(self, *arguments, **keywords) -> None:
        if self.done == self.left:
            raise KeyboardInterrupt
        self.done += 1
        super().calculate(*arguments, **keywords)


def test_the_oracle_is_not_asked_twice(pool, tmp_path):
    crystals, settings = pool.structures[: 2 * TOGETHER + 3], {"sigma": 2.2, "epsilon": 0.05, "rc": 5.0}
    first, second, whole = Counting(**settings), Counting(**settings), Counting(**settings)
    asked = RunState(None, {}, False).responses(crystals, whole)
    first.left = whole.done - 1
    with pytest.raises(KeyboardInterrupt):
        RunState(tmp_path, {}, True).responses(crystals, first)
    again = RunState(tmp_path, {}, True).responses(crystals, second)
    assert second.done == whole.done * 3 // len(crystals)
    np.testing.assert_array_equal(again.values, asked.values)
    for a, b in (
        (again.labels.energy, asked.labels.energy),
        (again.labels.stress, asked.labels.stress),
        *zip(again.labels.forces, asked.labels.forces, strict=True),
    ):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def unfinished(model, pool, tmp_path_factory):
    """A folder with a run that was interrupted before its search."""
    out = tmp_path_factory.mktemp("unfinished")

    def interrupted(*_arguments):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matgl_fill.pipeline.propose_from", interrupted)
        with pytest.raises(KeyboardInterrupt):
            mf.fill_tune(model, pool, n=3, config=QUICK, out=out)
    return out


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"n": 4}, "n"),
        ({"config": QUICK | {"copies": 3}}, "settings"),
        ({"structures": range(100)}, "pool"),
        ({"objective": "oracle", "oracle": LennardJones()}, "oracle, another objective"),
        ({"model": 1e-7}, "model"),
        ({"model": None}, "frozen"),
    ],
)
def test_run_with_anything_else_is_refused(model, pool, unfinished, other, named):
    given = {"model": model, "structures": pool, "n": 3, "config": QUICK} | other
    if "structures" in other:
        given["structures"] = pool.subset(other["structures"])
    if "model" in other:
        given["model"] = mf.load_model(bundled.MODEL)
        if other["model"] is None:
            list(given["model"].parameters())[-1].requires_grad_(False)
        else:
            with torch.no_grad():
                next(given["model"].parameters())[0] += other["model"]
    with pytest.raises(InputError, match=f"belongs to a run with another {named};"):
        mf.fill_tune(**given, out=unfinished, resume=True)


def test_oracles_are_told_apart_by_their_networks(pool):
    first, second = mf.load_model(bundled.POTENTIAL), mf.load_model(bundled.POTENTIAL)
    with torch.no_grad():
        next(second.parameters())[0] += 1e-3
    facts = [oracle_fingerprint(resolve(PESCalculator(p)).source) for p in (first, first, second)]
    assert facts[0] == facts[1] != facts[2]


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_run_is_replaced_when_asked_only(model, pool, tmp_path, monkeypatch, resume):
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "model").mkdir()
    monkeypatch.setattr("matgl_fill.pipeline.prepare_pool", lambda *_: pytest.fail("computed first"))
    with pytest.raises(InputError, match=r"holds model, report.json already, .* overwrite=True \(--overwrite"):
        mf.fill_tune(model, pool, out=tmp_path, resume=resume)
    assert (tmp_path / "report.json").read_text() == "{}"
    check_free(tmp_path, resume, overwrite=True)


def test_an_unfinished_run_goes_on_beside_a_finished_one(unfinished, tmp_path):
    check_free(unfinished, resume=False, overwrite=False)
    check_free(unfinished, resume=True, overwrite=False)
    (tmp_path / "run.partial").mkdir()
    (tmp_path / "report.json").write_text("{}")
    check_free(tmp_path, resume=True, overwrite=False)
    with pytest.raises(InputError, match=r"holds report\.json already"):
        check_free(tmp_path, resume=False, overwrite=False)


def test_resume_needs_a_folder(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="out is the file"):
        mf.fill_tune(model, out=tmp_path / "file")
    with pytest.raises(InputError, match="give it as out"):
        mf.fill_tune(model, resume=True)


def content(out: Path) -> dict[str, object]:
    """Everything a run wrote except pictures and times."""
    report = json.loads((out / "report.json").read_text())
    assert report["run"].pop("stages")
    assert report["run"].pop("wall_seconds")
    files = [out / "proposals.extxyz", out / "config.toml", *sorted(out.glob("cif/*"))]
    return {"report": report} | {str(f.relative_to(out)): f.read_bytes() for f in files}


def test_runs_killed_at_random_moments_end_as_the_undisturbed_one(pool, tmp_path):
    write_structures(pool.structures[:80], tmp_path / "pool.extxyz")
    (tmp_path / "quick.toml").write_text("".join(f"{name} = {value}\n" for name, value in QUICK.items()))
    arguments = [bundled.MODEL, tmp_path / "pool.extxyz", "--n", 3, "--config", tmp_path / "quick.toml"]
    command = [sys.executable, Path(__file__).with_name("kill_runs.py"), tmp_path, KILLS, 0, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stderr
    whole = content(tmp_path / "whole")
    weights = mf.load_model(tmp_path / "whole" / "model").state_dict()
    resumed = sorted(tmp_path.glob("killed-*"))
    assert resumed
    for out in resumed:
        assert content(out) == whole
        again = mf.load_model(out / "model").state_dict()
        assert again.keys() == weights.keys()
        assert all(torch.equal(again[k], weights[k]) for k in weights)
        assert not (out / "run.partial").exists()


def test_a_damaged_run_is_refused_in_one_line_or_goes_on_as_it_was(model, pool, tmp_path, monkeypatch):
    """Every file of an unfinished run, each with random flipped bits, cut, and of another run."""
    seen = []

    def stop(request, some, fill, labels, state):
        seen.append([(p.id, p.structure.as_dict()) for p in fill])
        raise KeyboardInterrupt

    monkeypatch.setattr("matgl_fill.pipeline.train_copy", stop)
    given = {"structures": pool.subset(range(60)), "n": 2, "config": QUICK, "out": tmp_path / "out"}
    with pytest.raises(KeyboardInterrupt):
        mf.fill_tune(model, **given)
    partial, rng, refused = tmp_path / "out" / "run.partial", np.random.default_rng(0), 0
    assert sorted(p.name for p in partial.iterdir()) == ["proposals.pt", "run.json", "search.pt"]
    for name in ("proposals.pt", "run.json"):
        whole = (partial / name).read_bytes()
        for k in range(8):
            damaged = bytearray(whole[: len(whole) // 2] if k == 0 else whole)
            damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
            (partial / name).write_bytes(damaged)
            try:
                with pytest.raises(KeyboardInterrupt):
                    mf.fill_tune(model, **given, resume=True)
                assert seen[-1] == seen[0]
            except InputError as error:
                assert str(error).startswith("the run cannot be resumed: ")  # noqa: PT017 either outcome is right
                assert "\n" not in str(error)  # noqa: PT017
                refused += 1
        (partial / name).write_bytes(whole)
    assert refused > 8
    other = Checkpoint(partial / "proposals.pt", "of another run", "the run")
    other.save({"rows": []})
    with pytest.raises(InputError, match="belongs to another model, data, settings or seed"):
        mf.fill_tune(model, **given, resume=True)
