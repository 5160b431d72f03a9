"""Copies of a potential that are trained side by side: the same bits, and processes that end when they should."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch
from helpers import DGL, alive, salt, until

import matgl_fill as mf
from matgl_fill import FillConfig
from matgl_fill.errors import ExecutorError, InputError
from matgl_fill.training.potential import copies
from matgl_fill.training.potential.copies import Copy, train_copies
from matgl_fill.training.potential.crystals import own_labels
from matgl_fill.training.potential.objective import PotentialObjective
from matgl_fill.utils.hashing import hash_model

pytestmark = pytest.mark.skipif(DGL, reason="a potential learns from labels on PyG")
LONG = copies.WORTH
"""Estimated time from which on processes are begun."""
LONGER = 40
"""Steps of a copy's training, of which some are done when they are interrupted, and others are not."""


@pytest.fixture(scope="module")
def adapter():
    return mf.get_adapter(mf.load_model("potential"))


def settings(steps):
    return FillConfig(steps=steps).resolved(True, 6, 1e-3, on_labels=True).training


def copies_of(adapter, folder=None, n=3):
    """Copies that learn to be a potential that is stiffer, each from other crystals."""
    teacher = adapter.clone()
    teacher.model.data_std *= 1.2
    lessons = [own_labels(teacher, [salt(5.4 + 0.1 * i + 0.03 * k) for i in range(3)]) for k in range(n)]
    files = [folder / f"{k}.pt" if folder else None for k in range(n)]
    return [
        Copy(adapter.clone(), [PotentialObjective("labels", lesson, 1.0, 2)], k, file)
        for k, (lesson, file) in enumerate(zip(lessons, files, strict=True))
    ]


def outcome(adapter, threads, seconds, steps=6, folder=None):
    """Losses and hashes of the weights of copies trained on some threads."""
    before, several = torch.get_num_threads(), copies_of(adapter, folder)
    torch.set_num_threads(threads)
    try:
        losses = train_copies(several, settings(steps), seconds)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    return losses, [hash_model(copy.adapter.model) for copy in several]


def test_side_by_side_gives_the_bits_of_one_after_the_other(adapter, capfd):
    losses, weights = outcome(adapter, 1, LONG)
    assert "3 copies, 6 steps each: about 30 s" in capfd.readouterr().err
    assert len({*weights, hash_model(adapter.model)}) == 4
    assert outcome(adapter, 2, LONG) == (losses, weights)
    assert "3 copies, 6 steps each, 2 at a time: about 15 s" in capfd.readouterr().err
    assert outcome(adapter, 2, LONG / 2) == (losses, weights)


def test_what_fails_in_a_process_reaches_the_caller(adapter, tmp_path):
    outcome(adapter, 1, 0.0, steps=4, folder=tmp_path)
    with pytest.raises(InputError, match="belongs to another model, data, settings or seed"):
        outcome(adapter, 2, LONG, steps=5, folder=tmp_path)


def _training(adapter, folder):
    """A training in a process of its own, which is to be interrupted."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest's workers ignore it
    try:
        outcome(adapter, 2, LONG, steps=LONGER, folder=folder)
    except ExecutorError as error:
        os._exit(error.exit_code)
    except KeyboardInterrupt:
        os._exit(130)


@pytest.fixture(scope="module")
def whole(adapter):
    return outcome(adapter, 1, 0.0, steps=LONGER)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", ["interrupted", "killed", "a copy is killed"])
def test_no_process_is_left_and_the_training_goes_on_to_the_same_bits(adapter, whole, tmp_path, how):
    run = multiprocessing.get_context("fork").Process(target=_training, args=(adapter, tmp_path))
    run.start()
    until(lambda: any(tmp_path.glob("*.pt")), 60)
    processes = [int(p) for p in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    training = [p for p in processes if b"popen_loky" in Path(f"/proc/{p}/cmdline").read_bytes()]
    assert len(training) == 2
    whom, signal_, code = {
        "interrupted": (run.pid, signal.SIGINT, 130),
        "killed": (run.pid, signal.SIGKILL, -signal.SIGKILL),
        "a copy is killed": (training[-1], signal.SIGKILL, ExecutorError.exit_code),
    }[how]
    os.kill(whom, signal_)
    run.join(30)
    assert run.exitcode == code
    until(lambda: not any(map(alive, training)), 30)
    assert 1 <= len(list(tmp_path.glob("*.pt"))) < 3
    assert outcome(adapter, 1, 0.0, steps=LONGER, folder=tmp_path) == whole
