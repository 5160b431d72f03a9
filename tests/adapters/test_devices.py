"""Whatever computes on a model's device does so on any: on a GPU where there is one, on a stand-in everywhere."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import DGL, FRESH, load
from second_device import ELSEWHERE, Elsewhere, second_device

import matgl_fill as mf
from matgl_fill.adapters import evaluation_mode
from matgl_fill.adapters.correction import KernelCorrection
from matgl_fill.calculator.reference import embed_atoms
from matgl_fill.embedding import prepare_pool
from matgl_fill.errors import InputError
from matgl_fill.generation.alchemy import start, transmute
from matgl_fill.generation.refine import refine
from matgl_fill.structures import bundled
from matgl_fill.testing import relative
from matgl_fill.training import Labels, OracleObjective, Replay
from matgl_fill.training.objectives import ReadoutObjective, standard_scaling
from matgl_fill.training.potential.objective import PotentialObjective
from matgl_fill.utils.scaling import Scaling

pytestmark = pytest.mark.skipif(DGL, reason="DGL's graphs are in C++, which the stand-in cannot follow")
PACKAGE = Path(mf.__file__).parent
DEVICES = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
"""Accelerators of this machine."""
AGREE = 1e-3
"""Relative difference of an accelerator from the CPU."""


def passes(adapter, crystals) -> list[np.ndarray]:
    """All that a forward pass gives, and the forces of a potential."""
    with evaluation_mode(adapter.model):
        batch = adapter.collate(adapter.graphs(crystals)).movable()
        out = adapter.forward(batch, layers=True)
        found = [out.embedding, out.atoms, out.prediction, *out.layers]
        if adapter.is_potential:
            found += torch.autograd.grad(out.prediction.sum(), [batch.displacement, batch.strain])
    return [t.detach().cpu().numpy() for t in found]


def few(adapter):
    return bundled.bundled_pool(adapter.element_types).structures[:3]


def filled(model):
    """The model with a tuned branch; a potential also has a correction, and one more has a tuned core and its gate."""
    adapter = mf.get_adapter(model)
    crystals = few(adapter)
    correction = None
    if adapter.is_potential:
        correction = KernelCorrection(4, adapter.core_dim_atom)
        correction.weights.fill_(0.1)
    yield adapter.filled(adapter.clone(), correction).model
    if adapter.is_potential:
        inside = [e.symbol for e in crystals[0].elements]
        yield adapter.with_tuned_core(adapter.clone(), inside).model


def test_the_stand_in_is_another_device():
    with second_device() as device:
        there = torch.arange(3.0).to(device)
        assert (type(there), there.device) == (Elsewhere, ELSEWHERE)
        assert type(torch.zeros(3, device=device)) is Elsewhere
        assert (there + torch.ones(3, device=device)).cpu().tolist() == [1, 2, 3]
        assert (2 * there[torch.tensor([2])]).cpu().tolist() == [4]
        other = torch.ones(3)
        for mixed in (lambda: there + other, lambda: there @ torch.eye(3), lambda: torch.cat([there, other])):
            with pytest.raises(RuntimeError, match="on the same device"):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()


@pytest.mark.parametrize("name", ["bundled", *FRESH])
def test_a_pass_makes_nothing_elsewhere(name):
    """Of the model and of what filling makes of it: embedding, atoms, prediction, layers and forces."""
    original = load(name)
    for model in (original, *filled(original)):
        adapter = mf.get_adapter(model)
        expected = passes(adapter, few(adapter))
        with second_device() as device:
            there = adapter.on(device)
            assert there.device == ELSEWHERE
            assert adapter.device.type == "cpu"
            found = passes(there, few(adapter))
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * max(np.abs(b).max(), 1e-6))


def test_embedding_is_brought_back(model, crystals):
    with second_device() as device:
        found = [mf.embed(model, crystals, device=device, **how) for how in ({}, {"level": "atom"}, {"layers": "all"})]
    expected = [mf.embed(model, crystals, **how) for how in ({}, {"level": "atom"}, {"layers": "all"})]
    assert next(model.parameters()).device.type == "cpu"
    for a, b in zip(found, expected, strict=True):
        assert relative(a, b) < 1e-5


def test_terms_of_the_loss_are_where_the_model_is():
    """Their gradients too; rows of crystals stay on the CPU, as Lightning would move them."""
    adapter = mf.get_adapter(mf.load_model("potential"))
    pool = prepare_pool(adapter, bundled.bundled_pool(adapter.element_types).subset(range(25)))
    some = pool.subset(range(3))
    labels = Labels(np.arange(3.0), [np.zeros((len(s), 3)) for s in some.structures], np.zeros((3, 3, 3)))
    scale, known = standard_scaling(pool.Z), (pool.Z, pool.D)
    labelled = type("Labelled", (), {"structures": some.structures, "labels": labels})
    terms = {
        "descriptor": lambda: ReadoutObjective("d", scale, known, some.structures, some.D, 1.0, 0.5),
        "oracle": lambda: OracleObjective("o", some.structures, labels, 1.0, scale, (pool.Z, pool.y)),
        "potential": lambda: PotentialObjective("p", labelled, 1.0, 3),
        "replay": lambda: Replay(adapter, pool, np.arange(25), 1.0, 1.0),
    }

    def loss(term, local) -> list[float]:
        with evaluation_mode(local.model):
            batch = local.collate(some.graphs).movable()
            value = term.loss(local, local.forward(batch), batch, torch.arange(3))
            first = next(p for p in local.core.parameters() if p.requires_grad)
            gradient = torch.autograd.grad(value, first, allow_unused=True)[0]
        return [float(value.detach().cpu()), 0.0 if gradient is None else float(gradient.abs().sum().cpu())]

    for make in terms.values():
        expected = loss(make(), adapter)
        with second_device() as device:
            found = loss(make(), adapter.on(device))
        assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["bundled", "fresh TensorNet"])
def test_a_search_descends_where_the_model_is(name):
    """By elements, and by atoms and cell; what differs is rounding, which a descent enlarges."""
    adapter = mf.get_adapter(load(name))
    crystals = few(adapter)[:1]
    Z = adapter.embed_graphs(adapter.graphs(few(adapter)))[0]
    scaling = Scaling.of(Z, narrow=1.0)

    def made(local):
        mixture = start(local, crystals[0], 0, 0, dict.fromkeys(local.element_types[:5], 0.2))
        mixed = transmute(local, [mixture], scaling(Z[1:2]), scaling)[0]
        refined = refine(local, crystals, Z[1:2], scaling)[0][-1]
        return [mixed.distance, refined.volume, *embed_atoms(local, local.graphs(crystals))[0][0, :3]]

    expected = made(adapter)
    with second_device() as device:
        found = made(adapter.on(device))
    assert found == pytest.approx(expected, rel=0.02)


def test_every_array_is_brought_back_before_it_is_numpys():
    """``numpy`` follows ``cpu`` in one chain, but in the rooms that work on arrays of NumPy's alone."""
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in ("roughness", "testing.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "numpy":
                chain, one = [], node.func.value
                while isinstance(one, ast.Call | ast.Attribute | ast.Subscript):
                    chain += [one.attr] if isinstance(one, ast.Attribute) else []
                    one = one.value if not isinstance(one, ast.Call) else one.func
                if "cpu" not in chain:
                    wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert wrong == []


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "nowhere", ""])
def test_a_device_that_is_not_there_is_told_in_one_line(model, crystals, device):
    with pytest.raises(InputError, match=r"cannot be used .*'matgl-fill doctor' says which can") as caught:
        mf.embed(model, crystals, device=device)
    assert "\n" not in str(caught.value)


def test_the_cpu_by_name_is_the_model_itself(model):
    adapter = mf.get_adapter(model)
    assert adapter.on("cpu") is adapter
    assert adapter.on(None) is adapter


@pytest.mark.skipif(not DEVICES, reason="this machine has no accelerator")
@pytest.mark.parametrize("device", DEVICES)
def test_an_accelerator_agrees_with_the_cpu(device, model, pool):
    assert relative(mf.embed(model, pool, device=device), mf.embed(model, pool)) < AGREE
    potential = mf.load_model("potential")
    adapter = mf.get_adapter(potential)
    crystals = bundled.bundled_pool(adapter.element_types).structures[:20]
    graphs = adapter.graphs(crystals)
    assert relative(adapter.on(device).forces(graphs), adapter.forces(graphs)) < AGREE
    result = mf.fill_tune(model, pool.subset(range(60)), n=2, device=device, config={"steps": 3, "copies": 1})
    assert next(result.model.parameters()).device.type == "cpu"
    proposals = mf.propose(model, pool.subset(range(60)), n=2, device=device)
    assert len(proposals) == 2
