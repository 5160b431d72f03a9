"""Interrupted runs go on to the bits of the uninterrupted one."""

from __future__ import annotations

import signal

import pytest
import torch

import matgl_fill as mf
from matgl_fill.config import FillConfig
from matgl_fill.errors import InputError
from matgl_fill.train import FillModule, ReadoutObjective, Replay, Standardiser, fit
from matgl_fill.train import checkpoint as checkpoint_module

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
    Z, y = original.embed_graphs(original.graphs(known))
    D = mf.describe(known)

    def make(seed=0, rows=slice(14), **changes):
        adapter, scale = original.clone(), Standardiser(Z)
        objective = ReadoutObjective("descriptor", scale, (Z, D), known[rows], D[rows], 1.0)
        replay = Replay(Z, Z[30:52], y[30:52], (1.0, 3.0))
        config = FillConfig(**CONFIG | changes).resolved(False, False, STEPS, 1e-3, 5)
        return adapter, [objective], replay, adapter.graphs(known[30:52]), config, seed

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
        patch.setattr("matgl_fill.train.module.HISTORY_POINTS", STEPS // 2)
        yield


@pytest.fixture(scope="module")
def whole(start):
    parts = start()
    return fit(*parts), tensors(parts)


@pytest.fixture
def stop_after(monkeypatch):
    """Trains until a step has been saved, every step being saved, and no further."""
    monkeypatch.setattr(checkpoint_module, "SAVE_SECONDS", 0.0)

    def stop(steps, parts, path):
        class Interrupted(checkpoint_module.TrainingCheckpoint):
            def save(self, state):
                super().save(state)
                if state["step"] == steps:
                    raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("matgl_fill.train.module.TrainingCheckpoint", Interrupted)
            with pytest.raises(KeyboardInterrupt):
                fit(*parts, path)

    return stop


@pytest.mark.parametrize("steps", [1, EPOCH, AVERAGED, 17, STEPS])
def test_interrupted_training_ends_in_the_same_bits(start, whole, stop_after, tmp_path, steps):
    path = tmp_path / "training.pt"
    stop_after(steps, start(), path)
    parts = start()
    assert fit(*parts, path) == whole[0]
    assert all(torch.equal(a, b) for a, b in zip(tensors(parts), whole[1], strict=True))


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
    assert len(steps) == STEPS - 15


@pytest.mark.parametrize("other", [{"seed": 1}, {"lr": 1e-3}, {"rows": slice(1, 15)}, {"batch_size": 3}])
def test_state_of_another_training_is_refused(start, stop_after, tmp_path, other):
    path = tmp_path / "training.pt"
    stop_after(1, start(), path)
    with pytest.raises(InputError, match="belongs to another"):
        fit(*start(**other), path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="not the state of a training"):
        fit(*start(), path)


def test_interrupt_reaches_the_caller_and_may_come_again(start, stop_after, tmp_path):
    """Lightning answers Ctrl-C by exiting the process, and ignores it from then on."""
    answer = signal.getsignal(signal.SIGINT)
    stop_after(1, start(), tmp_path / "training.pt")
    assert signal.getsignal(signal.SIGINT) is answer
