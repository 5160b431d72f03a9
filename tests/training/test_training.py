from __future__ import annotations

import copy
import json

import matgl
import numpy as np
import pytest
import torch
from ase.calculators.calculator import Calculator
from ase.calculators.lj import LennardJones
from helpers import same, weights

import matgl_fill as mf
from examples.benchmarks.potentials.physics import double_precision, force_error
from matgl_fill.adapters import core_of
from matgl_fill.errors import InputError, ModelError, OracleError
from matgl_fill.structures import bundled

QUICK = {"steps": 12, "copies": 2, "enlarge_pool": 0, "replay_size": 60, "lr": 2e-3, "replay_weight": 3.0}
LENIENT = QUICK | {
    "max_prediction_drift": 1.0,
    "min_recovery": 0.0,
    "max_proxy_loss": 100.0,
    "must_gain": False,
}
"""Twelve steps at full learning rate are too few to settle; the tests of the loop are not about the verdict."""


def branch_part(model) -> dict[str, torch.Tensor]:
    """Weights of the fill-tuned copy, without the bounds of its embedding."""
    return {k: v for k, v in weights(core_of(model).tuned_branch).items() if k != "bounds"}


def original_part(model) -> dict[str, torch.Tensor]:
    """Weights of a filled model without those of its fill-tuned copy."""
    return {k: v for k, v in weights(model).items() if "tuned_branch." not in k}


@pytest.fixture(scope="module")
def tuned(model, pool):
    return mf.fill_tune(model, pool, n=8, seed=3, config=LENIENT)


@pytest.fixture(scope="module")
def few(tuned):
    """Crystals for the tests that are not about the search."""
    return tuned.proposals[:4]


@pytest.mark.parametrize("config", [{"steps": 0}, {"lr": 0.0}])
@pytest.mark.parametrize("form", ["add", "overwrite"])
def test_no_training_is_the_identity_bitwise(model, pool, few, config, form):
    result = mf.fill_tune(model, pool, proposals=few, config=QUICK | config | {"form": form})
    assert same(original_part(result.model), weights(model))
    if form == "add":
        assert same(branch_part(result.model), weights(core_of(model)))


def test_one_seed_gives_the_same_weights_to_the_bit(model, pool, tuned):
    again = mf.fill_tune(model, pool, n=8, seed=3, config=LENIENT)
    assert same(weights(again.model), weights(tuned.model))
    assert [p.structure for p in again.proposals] == [p.structure for p in tuned.proposals]
    other = mf.fill_tune(model, pool, proposals=tuned.proposals, seed=4, config=LENIENT)
    assert not same(weights(other.model), weights(tuned.model))


def test_the_callers_model_is_untouched_and_undo_returns_it(model, pool, few):
    before, random_state = weights(model), torch.get_rng_state()
    flags = [p.requires_grad for p in model.parameters()]
    result = mf.fill_tune(model, pool, proposals=few, seed=0, config=LENIENT)
    assert same(weights(model), before)
    assert flags == [p.requires_grad for p in model.parameters()]
    assert result.undo() is model
    assert not same(weights(result.model), before)
    assert torch.equal(random_state, torch.get_rng_state())


def test_threads_do_not_disturb_the_bits(model, pool, few):
    """Two threads add in a fixed order; without deterministic algorithms the last bits differ from run to run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        runs = [weights(mf.fill_tune(model, pool, proposals=few, config=LENIENT).model) for _ in range(2)]
    finally:
        torch.set_num_threads(threads)
    assert same(*runs)


def test_what_is_added_leaves_the_original_bitwise(model, pool, tuned):
    """Embedding = original ⊕ tuned, and predictions are the original's to the bit."""
    assert isinstance(core_of(tuned.model), type(core_of(model)))
    assert same(original_part(tuned.model), weights(model))
    Z, Z_tuned = mf.embed(model, pool), mf.embed(tuned.model, pool)
    graphs = mf.get_adapter(model).graphs(pool.structures)
    untrained = mf.get_adapter(model).tuned_branch().embed_graphs(graphs)[0]
    np.testing.assert_array_equal(Z_tuned[:, : Z.shape[1]], Z)
    assert Z_tuned[:, Z.shape[1] :].shape == untrained.shape
    assert np.abs(Z_tuned[:, Z.shape[1] :] - untrained).max() > 1e-3
    predictions = [mf.get_adapter(m).embed_graphs(graphs)[1] for m in (model, tuned.model)]
    np.testing.assert_array_equal(*predictions)


def test_overwriting_keeps_class_and_width(model, pool, few):
    result = mf.fill_tune(model, pool, proposals=few, config=LENIENT | {"form": "overwrite"})
    assert result.accepted
    assert type(core_of(result.model)) is type(core_of(model))
    assert weights(result.model).keys() == weights(model).keys()
    assert not same(weights(result.model), weights(model))


def test_a_filled_model_is_not_filled_again(pool, tuned):
    with pytest.raises(ModelError, match="fill-tuned already"):
        mf.fill_tune(tuned.model, pool, n=4, config=QUICK)


def test_training_lowers_the_descriptor_loss(tuned):
    losses = tuned.report.history["descriptor"]
    assert np.mean(losses[-3:]) < 0.97 * losses[0]


def test_refused_model_is_the_original(model, pool, few):
    result = mf.fill_tune(model, pool, proposals=few, config=QUICK | {"form": "overwrite", "max_prediction_drift": 0.0})
    assert not result.accepted
    assert same(weights(result.model), weights(model))
    assert "original model is returned" in result.report.verdict.headline
    assert any("prediction drift" in r for r in result.report.verdict.reasons)


def test_a_model_in_double_precision_is_embedded_in_single_and_not_trained(model, pool):
    double = copy.deepcopy(model).double()
    matgl.set_default_dtype("float", 64)
    try:
        assert mf.embed(double, pool.structures[:3]).dtype == np.float32
    finally:
        matgl.set_default_dtype("float", 32)
    with pytest.raises(ModelError, match=r"weights are torch.float64.*give model.float"):
        mf.fill_tune(double, pool)


def test_training_that_diverges_gives_the_original_back_and_says_so(model, pool, few, tmp_path):
    result = mf.fill_tune(model, pool, proposals=few, config=QUICK | {"lr": 1e8, "form": "overwrite"}, out=tmp_path)
    assert not result.accepted
    assert any("diverged" in reason for reason in result.report.verdict.reasons)
    assert np.isfinite(mf.embed(result.model, pool)).all()
    report = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)  # NaN is no JSON
    assert None in report["history"]["descriptor"]


@pytest.mark.filterwarnings("ignore:. of 16 crystals left out")
def test_any_calculator_is_an_oracle_and_the_embedding_learns_its_response(model, pool, tuned):
    oracle = LennardJones(sigma=2.2, epsilon=0.05, rc=5.0)
    config = LENIENT | {"steps": 60, "align_size": 60}
    result = mf.fill_tune(model, pool, proposals=tuned.proposals, oracle=oracle, config=config)
    assert result.report.run.objective == ["descriptor", "oracle", "response"]
    losses = result.report.history["response"]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])


class _Broken(Calculator):
    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, *_args, **_kwargs) -> None:
        raise RuntimeError("no convergence")


@pytest.mark.filterwarnings("ignore:the oracle failed")
def test_oracle_that_fails_everywhere_is_an_oracle_error(model, pool, few):
    with pytest.raises(OracleError, match="usable labels for 0 of"):
        mf.fill_tune(model, pool, proposals=few, oracle=_Broken(), config=QUICK)


def test_an_objective_and_its_labels_belong_together(model, pool):
    with pytest.raises(InputError, match="needs labelled crystals or an oracle"):
        mf.fill_tune(model, pool, n=4, objective="oracle", config=QUICK)
    with pytest.raises(InputError, match="give 'descriptor\\+oracle'"):
        mf.fill_tune(model, pool, n=4, objective="descriptor", oracle=LennardJones(), config=QUICK)


@pytest.mark.filterwarnings("ignore:. of 8 crystals left out")
@pytest.mark.parametrize("taught", [True, False])
def test_a_potential_that_is_overwritten_stays_one(pool, few, taught):
    """It learns an oracle's labels or, without one, goes on with its own; its forces are gradients of its energy."""
    student = mf.load_model(bundled.POTENTIAL)
    near = [p for p in few if set(p.structure.chemical_system.split("-")) <= set(student.model.element_types)]
    oracle = LennardJones(sigma=2.2, epsilon=0.05, rc=5.0) if taught else None
    budgets = dict.fromkeys(("max_energy_shift", "max_energy_drift", "max_force_drift"), 9.0)
    config = LENIENT | budgets | {"form": "overwrite", "steps": 4, "align_size": 20}
    result = mf.fill_tune(student, pool.subset(range(100)), proposals=near, oracle=oracle, config=config)
    assert result.accepted
    assert type(result.model) is type(student)
    assert not same(weights(result.model), weights(student))
    terms = (
        ["labels", "class at rest", "outside of the class"] if taught else ["descriptor", "force replay", "response"]
    )
    assert result.report.run.objective == terms
    with double_precision(result.model) as calculator:
        assert force_error(near[0].structure, calculator) < 1e-4
