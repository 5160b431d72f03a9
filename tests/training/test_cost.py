"""What a training will cost is measured, and the measurement leaves no trace."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from helpers import DGL, pool_of, salt

import matgl_fill as mf
from matgl_fill import FillConfig
from matgl_fill.training import LabelledSet, Replay
from matgl_fill.training.cost import seconds_per_step
from matgl_fill.training.labels import Labels
from matgl_fill.training.module import fit
from matgl_fill.training.potential.objective import PotentialObjective
from matgl_fill.utils.hashing import hash_model

SETTINGS = FillConfig(steps=12, replay_batch=8).resolved(True, 8, 1e-3).training


@pytest.mark.skipif(DGL, reason="forces on DGL are another path")
def test_it_is_near_the_time_that_a_training_takes_and_leaves_no_trace():
    adapter = mf.get_adapter(mf.load_model("potential"))
    before, random = hash_model(adapter.model), torch.get_rng_state()
    crystals = [salt(5.5) * (2, 1, 1)] * 6
    labels = Labels(np.zeros(6), [np.zeros((16, 3))] * 6, np.zeros((6, 3, 3)))
    objectives = [PotentialObjective("labels", LabelledSet(crystals, labels), 1.0, 6)]
    pool = pool_of(adapter, [salt(5.2 + 0.02 * k) for k in range(30)])
    replay = Replay(adapter, pool, np.arange(20), 0.0, 1.0)
    per_step = min(seconds_per_step(adapter, objectives, replay, SETTINGS) for _ in range(3))
    assert hash_model(adapter.model) == before
    assert torch.equal(torch.get_rng_state(), random)
    start = time.perf_counter()
    fit(adapter.clone(), objectives, replay, SETTINGS, 0)
    assert SETTINGS.steps * per_step / 4 < time.perf_counter() - start < 8 * SETTINGS.steps * per_step + 2
