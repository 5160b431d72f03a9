"""Frozen layers, low-rank updates and L2-SP: they hold what they say they hold."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils import parametrize

import matgl_fill as mf
from examples.benchmarks.evidence import devices
from matgl_fill.adapters import core_of

MOVED = {
    "form": "overwrite",
    "steps": 8,
    "copies": 1,
    "replay_size": 60,
    "lr": 2e-3,
    "max_prediction_drift": 10.0,
    "min_recovery": -10.0,
    "max_proxy_loss": 1000.0,
}
"""A few steps that the guard lets through as they are."""


@pytest.fixture(scope="module")
def few(model, pool):
    return mf.propose(model, pool, n=3, choice="random")


def tuned_by(model, pool, few, **other):
    result = mf.fill_tune(model, pool, proposals=few, config=MOVED, **other)
    assert result.report.verdict.alpha == 1.0
    return result.model


def test_a_low_rank_copy_computes_the_same_and_moves_by_low_rank_only(model, pool, few):
    start = devices.low_rank(model)
    assert (mf.embed(start, pool) == mf.embed(model, pool)).all()
    tuned = tuned_by(start, pool, few)
    ranks = []
    for old, new in zip(start.modules(), tuned.modules(), strict=True):
        if parametrize.is_parametrized(old):
            ranks.append(int(torch.linalg.matrix_rank((new.weight - old.weight).detach(), rtol=1e-4)))
        elif isinstance(old, torch.nn.Linear):
            assert torch.equal(old.weight, new.weight)
    assert max(ranks) == devices.RANK


def test_frozen_weights_stay_bitwise_and_the_others_move(model, pool, few):
    start = devices.first_half_frozen(model)
    tuned = tuned_by(start, pool, few)
    pairs = list(zip(core_of(start).parameters(), core_of(tuned).parameters(), strict=True))
    frozen, free = ([not torch.equal(a, b) for a, b in pairs if a.requires_grad is flag] for flag in (False, True))
    assert not any(frozen)
    assert sum(free) > 0.5 * len(free)


def test_what_the_model_fixes_is_not_trained_and_a_wholly_frozen_model_is(model, pool, few):
    """MatGL fixes the centres of its Gaussians."""
    fixed = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert fixed
    tuned = tuned_by(model, pool, few)
    before, after = model.state_dict(), tuned.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in fixed)
    frozen = mf.load_model("default").requires_grad_(False)
    assert not all(torch.equal(after[n], p) for n, p in frozen.named_parameters())
    assert (mf.embed(tuned_by(frozen, pool, few), pool) != mf.embed(frozen, pool)).any()


def test_l2sp_pulls_to_the_start(model, pool, few, monkeypatch):
    moved = {}
    for pull in (1e-6, 10.0):
        monkeypatch.setattr(devices, "PULL", pull)
        tuned = tuned_by(model, pool, few, objective="descriptor+l2sp")
        pairs = zip(model.parameters(), tuned.parameters(), strict=True)
        moved[pull] = float(sum((a - b).detach().square().sum() for a, b in pairs))
    assert 0 < moved[10.0] < 0.2 * moved[1e-6]
