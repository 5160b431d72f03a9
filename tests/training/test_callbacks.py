"""A training that spoils the embedding ends early, and its best weights are taken."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import pool_of

import matgl_fill as mf
from matgl_fill.config import FillConfig
from matgl_fill.guard import Guard
from matgl_fill.training import ReadoutObjective, Replay, fit, standard_scaling
from matgl_fill.training.callbacks import CHECKS, EarlyStop

STEPS = 15
MOMENTS = [3, 6, 9, 12, 15]
GOOD, BETTER, BAD, LOST = 0.9, 0.8, 1.5, float("nan")


def watched(values, steps=STEPS):
    """What is left, and the weight after it, where the errors of three probes are those before times ``values``."""
    core = torch.nn.Linear(1, 1, bias=False)
    usual = np.random.default_rng(0).uniform(1, 2, (3, 40))
    left = iter([1.0, *values])

    def errors():
        value = next(left)
        return usual * value if np.isfinite(value) else np.empty((0, 40))

    stop = EarlyStop(errors)
    for step in range(steps + 1):
        core.weight.data.fill_(step)
        stop.check(core, step, steps) if step else stop.begin(core)
        if stop.after is not None:
            core.load_state_dict(stop.weights)
            break
    return stop, core.weight.item()


@pytest.mark.parametrize(
    ("values", "after", "best"),
    [
        ([GOOD] * CHECKS, None, 3),
        ([GOOD, BETTER, GOOD, GOOD, GOOD], None, 6),
        ([GOOD, BAD, GOOD, BAD, GOOD], None, 3),
        ([GOOD, BETTER, BAD, BAD], 12, 6),
        ([GOOD, LOST, LOST], 9, 3),
        ([BAD, LOST], 6, 0),
        ([GOOD, GOOD, GOOD, BAD, BAD], 15, 3),
    ],
)
def test_two_bad_checks_in_a_row_end_it_and_the_best_weights_come_back(values, after, best):
    stop, weight = watched(values)
    assert (stop.after, stop.best) == (after, best)
    assert weight == (STEPS if after is None else best)


def test_what_is_not_resolved_is_not_bad():
    rng = np.random.default_rng(0)
    usual = rng.uniform(1, 2, (3, 40))
    stop = EarlyStop(lambda: usual + rng.normal(0, 0.1, usual.shape) + 0.001)
    core = torch.nn.Linear(1, 1)
    stop.begin(core)
    for step in MOMENTS:
        stop.check(core, step, STEPS)
    assert stop.after is None


def test_where_no_proxy_varies_nothing_is_watched():
    stop = EarlyStop(lambda: np.empty((0, 40)))
    core = torch.nn.Linear(1, 1)
    stop.begin(core)
    for step in MOMENTS:
        stop.check(core, step, STEPS)
    assert stop.after is None


@pytest.fixture(scope="module")
def start(model, pool):
    """Makes all that :func:`fit` needs, the guard's probes with it; the rate decides whether the training spoils."""
    original = mf.get_adapter(model)
    known, held = pool.subset(range(60)).structures, pool.subset(range(60, 160)).structures
    Z = original.tuned_branch().embed_graphs(original.graphs(known))[0]
    D, prepared, held_out = mf.describe(known), pool_of(original, known), pool_of(original, held)

    def make(lr, processes=1):
        torch.set_num_threads(1)
        config = FillConfig(steps=STEPS, lr=lr, batch_size=4, replay_batch=5, processes=processes, average_from=0.6)
        adapter, scale = original.tuned_branch(), standard_scaling(Z)
        guard = Guard(original, held_out, config.guard)
        objective = ReadoutObjective("descriptor", scale, (Z, D), known[:14], D[:14], 1.0)
        replay = Replay(original, replace(prepared, Z=Z), np.arange(30, 52), 0.0, 0.1)
        given = adapter, [objective], replay, config.resolved(False, 5, lr).training, 0
        return given, EarlyStop(lambda: guard.held_out.errors_with(adapter))

    return make


SPOILS, SERVES = 0.05, 2e-3


def trained(given, stop, path=None):
    """Losses, what watched, and the weights."""
    history = fit(*given, path, stop)
    return history, (stop.after, stop.best), list(given[0].core.state_dict().values())


def assert_same(one, two):
    assert one[:2] == two[:2]
    assert all(torch.equal(a, b) for a, b in zip(one[2], two[2], strict=True))


@pytest.fixture(scope="module")
def whole(start):
    return trained(*start(SPOILS))


def test_a_training_that_spoils_ends_early(start, whole):
    history, (after, _), _ = whole
    assert after in MOMENTS[1:]
    assert len(history["descriptor"]) == after < STEPS


def test_a_training_that_serves_is_left_alone_to_the_bit(start):
    given, stop = start(SERVES)
    watched = trained(given, stop)
    assert watched[1][0] is None
    alone = start(SERVES)[0]
    assert fit(*alone) == watched[0]
    assert all(torch.equal(a, b) for a, b in zip(alone[0].core.state_dict().values(), watched[2], strict=True))


@pytest.mark.parametrize("step", [1, 3, 5, None])
def test_interrupted_it_ends_where_it_would_have(start, whole, stop_after, tmp_path, step):
    path = tmp_path / "training.pt"
    given, stop = start(SPOILS)
    stop_after(step or whole[1][0], given, path, stop)
    assert_same(trained(*start(SPOILS), path), whole)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are forked")
def test_two_processes_end_where_one_does(start, whole):
    two = trained(*start(SPOILS, processes=2))
    assert two[1] == whole[1]
    assert all(torch.equal(a, b) for a, b in zip(two[2], whole[2], strict=True))


def test_the_report_says_so_and_the_embedding_is_sound(model, pool):
    proposals = mf.propose(model, pool, n=2)
    config = {"steps": STEPS, "copies": 4, "replay_size": 60, "lr": 1e8}
    result = mf.fill_tune(model, pool, proposals=proposals, config=config)
    (reason,) = (r for r in result.report.verdict.reasons if "spoiled the embedding" in r)
    assert reason == "training spoiled the embedding and ended after step 6; the weights of step 0 are used"
    assert np.isfinite(mf.embed(result.model, pool)).all()
