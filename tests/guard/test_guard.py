"""The guard: budgets, interpolation, and what counts as a loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import fresh_tensornet, pool_of, same, weights, with_noise
from pymatgen.core import Lattice, Structure

import matgl_fill as mf
from matgl_fill.config import FillConfig, GuardConfig
from matgl_fill.evaluation import read_tasks
from matgl_fill.guard import Guard, package_crystals
from matgl_fill.guard.checks import FORCE_LEAST, kernel_errors, probe_errors, recovery, significant_loss
from matgl_fill.guard.guard import ALPHAS, interpolate
from matgl_fill.structures import bundled


@pytest.mark.parametrize(
    ("budget", "value", "measure"),
    [
        ("max_prediction_drift", 0.0, "prediction drift"),
        ("min_recovery", 1.0, "original embedding recovered"),
        ("max_proxy_loss", 0.0, "proxy probe"),
        ("max_energy_shift", 0.0, "mean energy shift"),
        ("max_force_drift", 0.0, "force drift"),
    ],
)
def test_every_budget_refuses(pool, model, budget, value, measure):
    """Its own measure and no other, on a spoiled model."""
    potential = budget in ("max_energy_shift", "max_force_drift")
    adapter = mf.get_adapter(fresh_tensornet() if potential else model)
    held = pool_of(adapter, pool.structures[:120])
    loose = {"max_prediction_drift": 1e9, "max_energy_shift": 1e9, "max_force_drift": 1e9, "max_proxy_loss": 1e9}
    config = FillConfig(**{"form": "overwrite", "min_recovery": -1e9} | loose | {budget: value})
    spoiled = adapter.clone()
    with torch.no_grad():
        for p in spoiled.core.parameters():
            p *= 0.1
    failed = [c.measure for c in Guard(adapter, held, config.guard).checks(spoiled) if not c.passed]
    assert failed
    assert all(name.startswith(measure) for name in failed)


def test_forces_are_compared_on_the_smallest_crystals_where_all_are_large(pool):
    adapter = mf.get_adapter(mf.load_model(bundled.POTENTIAL))
    known = [s for s in pool.structures if adapter.unsupported_reason(s) is None and len(s) <= 4][:12]
    large = [s * (3, 3, 1) for s in known if len(s) > 2]
    held = pool_of(adapter, large)
    guard = Guard(adapter, held, GuardConfig())
    assert (
        sorted(len(large[held.graphs.index(g)]) for g in guard.held_out.small)
        == sorted(map(len, large))[: len(guard.held_out.small)]
    )
    assert len(guard.held_out.small) == min(len(large), FORCE_LEAST)
    assert all(c.passed for c in guard.checks(adapter))


def test_guard_interpolates_back_from_a_spoiled_model(model, pool):
    adapter = mf.get_adapter(model)
    guard = Guard(adapter, pool_of(adapter, pool.structures), GuardConfig())
    assert all(c.passed for c in guard.checks(adapter))
    spoiled = with_noise(adapter.clone(), 0.1)
    kept, verdict = guard.judge(adapter, spoiled)
    assert verdict.accepted
    assert 0 < verdict.alpha < 1
    further = ALPHAS[ALPHAS.index(verdict.alpha) + 1]
    assert list(verdict.tried) == [alpha for alpha in ALPHAS if alpha >= further]
    passed = [alpha for alpha, failed in verdict.tried.items() if not failed and alpha >= verdict.alpha]
    assert all(failed for alpha, failed in verdict.tried.items() if alpha > passed[0])
    assert passed == [alpha for alpha in ALPHAS if passed[0] >= alpha >= verdict.alpha]
    losses = [guard.checks(interpolate(adapter, spoiled, alpha))[-1].value for alpha in passed]
    assert losses == sorted(losses, reverse=True)
    assert all(c.passed for c in guard.checks(kept))
    assert same(weights(kept.model), weights(interpolate(adapter, spoiled, verdict.alpha).model))


@pytest.mark.parametrize(("scatter", "left"), [(0.05, ["stiffness", "frequency"]), (0.0, [])])
def test_guard_leaves_out_what_is_the_same_for_all_crystals(model, scatter, left):
    """Strained silicon has no ionicity and one melting point; copies of one crystal have nothing that varies."""
    rng = np.random.default_rng(0)
    silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    held = [silicon.apply_strain(rng.normal(0, scatter), inplace=False) for _ in range(20)]
    adapter = mf.get_adapter(model)
    guard = Guard(adapter, pool_of(adapter, held), GuardConfig())
    probed = [c.measure for c in guard.checks(adapter) if c.measure.startswith("proxy")]
    assert probed == [f"proxy probe: pair {name}" for name in left] + ["proxy probe: mean of all"] * bool(left)
    assert guard.judge(adapter, adapter.tuned_branch())[1].accepted


def test_guard_goes_further_back_while_the_probes_gain(model, pool):
    """From a copy that is noise, which no budget refuses here."""
    adapter = mf.get_adapter(model)
    guard = Guard(adapter, pool_of(adapter, pool.structures), GuardConfig(max_proxy_loss=1e9))
    spoiled = with_noise(adapter.tuned_branch(), 10)
    kept, verdict = guard.judge(adapter, spoiled)
    assert verdict.accepted
    assert verdict.alpha < 1
    assert not any(verdict.tried.values())
    assert guard.checks(kept)[-1].value < guard.checks(adapter.filled(spoiled))[-1].value - 5


def test_interpolation_is_linear_and_its_ends_are_exact(model):
    a = mf.get_adapter(model)
    b = with_noise(a.clone(), 0.1)
    assert same(weights(interpolate(a, b, 0).model), weights(model))
    assert same(weights(interpolate(a, b, 1).model), weights(b.model))
    quarter = interpolate(a, b, 0.25)
    for p, q, between in zip(*(x.core.parameters() for x in (a, b, quarter)), strict=True):
        torch.testing.assert_close(between, 0.75 * p + 0.25 * q)


def test_a_loss_counts_only_as_far_as_it_is_resolved():
    rng = np.random.default_rng(0)
    before = rng.uniform(1, 2, 50)
    assert significant_loss(before, before * 1.1) > 5
    assert significant_loss(before, rng.permutation(before) * 1.02) < 0
    assert significant_loss(before, before) == 0


@pytest.mark.parametrize("n", [5, 400])
def test_one_crystal_thrown_out_is_a_loss(n):
    before = np.random.default_rng(0).uniform(1, 2, n)
    after = before.copy()
    after[0] = 1e6
    assert significant_loss(before, after) > 1e4


def test_a_loss_of_many_probes_is_resolved_where_that_of_each_is_not():
    rng = np.random.default_rng(0)
    before = rng.exponential(1, (9, 400)) * np.logspace(-2, 2, 9)[:, None]  # units differ
    after = before * rng.normal(1.05, 0.5, before.shape)
    assert np.median([*map(significant_loss, before, after)]) < 0
    assert 1 < significant_loss(before, after) < 5
    assert significant_loss(before[:1], after[:1]) == significant_loss(before[0], after[0])


def test_nine_probes_judged_one_by_one_lose_by_chance_as_rarely_as_one():
    """Of 60 crystals whose residuals only scatter: how often is a loss resolved, in one probe and in any of nine?"""
    rng = np.random.default_rng(0)
    was, new = rng.normal(size=(2, 9000, 60))
    before, after = np.abs(was), np.abs(0.8 * was + 0.6 * new)

    def lost(judged: int) -> np.ndarray:
        losses = [significant_loss(b, a, judged) for b, a in zip(before, after, strict=True)]
        return np.reshape(losses, (1000, 9)) > 0

    assert 0.02 < lost(judged=9).any(axis=1).mean() < 0.08
    assert 0.02 < lost(judged=1)[:, 0].mean() < 0.08
    assert lost(judged=1).any(axis=1).mean() > 0.35


def test_one_probe_of_nine_that_really_loses_is_resolved():
    """A quarter more error on 60 crystals, where differences scatter half as much as errors."""
    rng = np.random.default_rng(0)
    before = rng.exponential(1, (200, 60))
    after = np.abs(before + rng.normal(0.35, 0.5, before.shape))
    assert np.mean([significant_loss(b, a, judged=9) > 1 for b, a in zip(before, after, strict=True)]) > 0.9


def test_recovery_is_one_for_a_rotation_and_none_for_noise():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(300, 6))
    Q = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert recovery(Z @ Q, Z) > 0.999
    assert recovery(rng.normal(size=(300, 6)), Z) < 0.05


def test_a_gain_is_asked_for_only_where_it_is_to_be_shown(model, pool):
    """An untrained copy of MEGNet holds more than its original, a repetition of the original's embedding does not."""
    adapter = mf.get_adapter(model)
    held = pool_of(adapter, pool.structures)
    asking, plain = Guard(adapter, held, GuardConfig(), must_gain=True), Guard(adapter, held, GuardConfig())
    assert asking.judge(adapter, adapter.tuned_branch())[1].accepted
    repeated = adapter.clone()  # as a model that overwrites the original
    assert plain.judge(adapter, repeated)[1].accepted
    kept, verdict = asking.judge(adapter, repeated)
    assert not verdict.accepted
    assert set(verdict.tried.values()) == {("gain of all proxy probes",)}
    assert same(weights(kept.model), weights(model))


def test_where_a_gain_is_asked_for_the_weight_that_gains_most_is_taken(model, pool):
    adapter = mf.get_adapter(model)
    guard = Guard(adapter, pool_of(adapter, pool.structures), GuardConfig(), must_gain=True)
    spoiled = with_noise(adapter.tuned_branch(), 3)
    _, verdict = guard.judge(adapter, spoiled)
    assert verdict.accepted
    assert list(verdict.tried) == list(ALPHAS)
    passed = [alpha for alpha, failed in verdict.tried.items() if not failed]
    assert len(passed) > 1
    gains = {}
    for alpha in passed:
        errors = guard.held_out.measure(adapter.filled(interpolate(adapter, spoiled, alpha)))[1]
        gains[alpha] = guard.held_out.gain(errors)
    assert verdict.alpha == max(gains, key=gains.get)
    assert 0 < verdict.alpha < 1


def test_where_no_proxy_varies_no_gain_can_be_shown(model):
    silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    adapter = mf.get_adapter(model)
    guard = Guard(adapter, pool_of(adapter, [silicon] * 20), GuardConfig(), must_gain=True)
    assert not guard.judge(adapter, adapter.tuned_branch())[1].accepted


def test_noise_beside_the_embedding_spoils_the_kernel_probe_where_ridge_passes_over_it():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(150, 6))
    Y = np.column_stack([Z[:, 0], Z[:, 1] + Z[:, 2], np.sin(Z[:, 3])])
    noisy = np.hstack([Z, rng.normal(size=(150, 30))])
    ridge, kernel = (probe(noisy, Y).mean() / probe(Z, Y).mean() for probe in (probe_errors, kernel_errors))
    assert kernel > 2 > ridge


def test_more_crystals_judge_the_embedding_and_not_the_predictions(pool):
    adapter = mf.get_adapter(mf.load_model(bundled.POTENTIAL))
    own, more = pool_of(adapter, pool.structures[:40]), pool_of(adapter, pool.structures[40:100])
    spoiled = with_noise(adapter.clone(), 0.02)
    alone, joined = (Guard(adapter, own, GuardConfig(), other).checks(spoiled) for other in (None, more))
    about = {c.measure: (c.value, d.value) for c, d in zip(alone, joined, strict=True)}
    for measure in ("prediction drift", "mean energy shift", "force drift"):
        assert about[measure][0] == pytest.approx(about[measure][1], rel=1e-4)
    assert about["original embedding recovered"][0] != pytest.approx(about["original embedding recovered"][1], rel=1e-3)


def test_the_package_lends_crystals_of_formulas_that_no_pool_and_no_task_holds(model, pool):
    adapter = mf.get_adapter(model)
    own = pool_of(adapter, pool.structures[:100])
    more = package_crystals(adapter, own, 120)
    assert len(more) == 120
    assert len(package_crystals(adapter, own, 1000)) == len(pool) - 100
    assert package_crystals(adapter, own, 0) is None
    assert package_crystals(adapter, pool_of(adapter, pool.structures), 50) is None
    lent = {s.composition.reduced_formula for s in more.structures}
    tasks = {s.composition.reduced_formula for s in mf.read_structures(bundled.EVALUATION).structures}
    assert not lent & ({s.composition.reduced_formula for s in own.structures} | tasks)
    assert not tasks & {s.composition.reduced_formula for s in pool.structures}


def test_a_model_that_knows_none_of_the_packages_elements_gets_none(pool):
    from matgl.models import TensorNet

    adapter = mf.get_adapter(TensorNet(element_types=("He", "Ne"), units=16))
    helium = [Structure(Lattice.cubic(a), ["He"], [[0, 0, 0]]) for a in np.linspace(2.5, 3.0, 8)]
    assert package_crystals(adapter, pool_of(adapter, helium), 200) is None


@pytest.mark.parametrize("n", [60, 200])
def test_no_run_far_beyond_the_default_rate_is_accepted_that_spoils_the_tasks(n):
    """Twelve times the rate, on few crystals: at its full weight it costs four and six percent."""
    potential = mf.load_model(bundled.POTENTIAL)
    pool = bundled.bundled_pool(mf.get_adapter(potential).element_types).subset(range(n))
    config = {"lr": 0.1, "steps": 40, "copies": 2, "enlarge_pool": 0}
    result = mf.fill_tune(potential, pool, n=3, config=config)
    verdict = result.report.verdict
    assert verdict.alpha < 0.5
    assert "gain of all proxy probes" in verdict.reasons[0]
    if verdict.accepted:
        assert mf.compare(potential, result.model, read_tasks("default"), seeds=2).mean > -1
