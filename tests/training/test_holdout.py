"""What is held out of a pool, and what the guard of a run asks for."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import pool_of

import matgl_fill as mf
from matgl_fill.structures import bundled
from matgl_fill.training.request import FillRequest
from matgl_fill.training.train import FEW, LEAST_JUDGED, make_guard, parted


@pytest.mark.parametrize(
    ("n", "holdout", "kept"),
    [(20, 0.2, 10), (60, 0.2, 30), (200, 0.2, 60), (300, 0.2, 60), (300, 0.05, 60), (9000, 0.2, 400)],
)
def test_of_a_small_pool_a_larger_share_is_held_out(n, holdout, kept):
    held, rest = parted(n, holdout, np.random.default_rng(0))
    assert len(held) == kept
    assert sorted([*held, *rest]) == list(range(n))


@pytest.fixture(scope="module")
def models(model):
    return {"default": mf.get_adapter(model), "potential": mf.get_adapter(mf.load_model(bundled.POTENTIAL))}


def request(adapter, **config):
    oracle = adapter.model if config.get("form") == "correct" else None
    return FillRequest.checked(adapter, 3, "auto", oracle, 0, config, False)


@pytest.mark.parametrize(
    ("name", "config", "beyond"),
    [
        ("default", {}, False),
        ("default", {"lr": 1.6e-2, "steps": 400}, False),
        ("default", {"lr": 1.7e-2}, True),
        ("default", {"steps": 401}, True),
        ("potential", {"lr": 1.6e-2}, True),
        ("potential", {"form": "overwrite"}, False),
        ("potential", {"form": "overwrite", "lr": 8e-3}, True),
    ],
)
def test_a_larger_rate_or_more_steps_than_the_models_own_are_beyond_the_defaults(models, name, config, beyond):
    assert request(models[name], **config).beyond_defaults == beyond


@pytest.mark.parametrize(
    ("config", "asks"),
    [({}, False), ({"lr": 0.1}, True), ({"lr": 0.1, "must_gain": False}, False), ({"must_gain": True}, True)],
)
def test_beyond_the_defaults_a_gain_is_asked_for_unless_the_user_says(models, prepared, config, asks):
    asked = request(models["default"], **config)
    assert make_guard(asked, prepared, np.arange(FEW)).held_out.must_gain == asks


def test_few_held_out_crystals_are_judged_with_the_packages_or_have_to_gain(models, prepared):
    """The pool of all of the package's crystals leaves none to add, a part of it does."""
    asked, part = request(models["default"]), prepared.subset(range(60))
    checks = make_guard(asked, part, np.arange(30)).held_out
    assert len(checks.pool) == 30
    assert len(checks.judged) == LEAST_JUDGED
    assert not checks.must_gain
    whole = make_guard(asked, prepared, np.arange(FEW - 1)).held_out
    assert len(whole.judged) == len(whole.pool) == FEW - 1
    assert whole.must_gain
    assert not make_guard(asked, prepared, np.arange(FEW)).held_out.must_gain


def test_of_a_correction_no_gain_of_the_embedding_is_asked_for(models, pool):
    adapter = models["potential"]
    few = pool_of(adapter, pool.structures[:12])
    checks = make_guard(request(adapter, form="correct", lr=1.0), few, np.arange(6)).held_out
    assert not checks.must_gain
    assert len(checks.judged) == 6
