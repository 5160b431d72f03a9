"""Several processes train as one does."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import matgl
import numpy as np
import pytest
import torch
from ase.calculators.lj import LennardJones
from helpers import alive, pool_of, until

import matgl_fill as mf
from matgl_fill.config import FillConfig
from matgl_fill.errors import InputError
from matgl_fill.training import OracleObjective, ReadoutObjective, Replay, fit, label, module, standard_scaling

STEPS = int(os.environ.get("MATGL_FILL_DDP_STEPS", "12"))
"""Of a whole fill-tuning; give more by hand."""
ROUNDING = 1e-5
"""Largest difference of weights, over the largest weight, that other orders of the same sums bring in a few steps."""
NOTHING, REPLAY = (0.0, 0.0), (1.0, 3.0)
CONFIG = {"steps": 6, "lr": 2e-3, "batch_size": 25, "replay_batch": 9}
"""Both batches are odd: 13 and 12, 5 and 4."""
SHORT = {"steps": 15, "batch_size": 3, "replay_batch": 2}
"""Steps that cost little, for what is about processes and not about figures."""

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are forked")


@pytest.fixture(autouse=True)
def _one_thread():
    """What several processes have each; more threads sum in other orders."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def known(pool):
    """Fifty-two crystals with labels and descriptors: the first half is learnt, the other replayed."""
    structures = pool.structures[:52]
    labels = label(structures, LennardJones(sigma=2.2, epsilon=0.05, rc=5.0))
    usable = np.flatnonzero(labels.usable())
    structures = [structures[i] for i in usable]
    return structures, labels.subset(usable), mf.describe(structures)


def parts(model, known, kind, replay=REPLAY, **changes):
    """All that :func:`fit` needs."""
    structures, labels, D = known
    original = mf.get_adapter(model)
    prepared = pool_of(original, structures)
    Z, scale, half = prepared.Z, standard_scaling(prepared.Z), len(structures) // 2
    if kind == "descriptor":
        objective = ReadoutObjective(kind, scale, (Z, D), structures[:half], D[:half], 1.0, pool_weight=1.0)
    else:
        head = None if original.is_potential else (Z[:half], (labels.energy / prepared.n_atoms)[:half])
        objective = OracleObjective(kind, structures[:half], labels.subset(range(half)), 1.0, scale, head)
    term = Replay(original, prepared, np.arange(half, len(Z)), *replay)
    config = FillConfig(**CONFIG | changes).resolved(original.is_potential, 9, original.training_rate)
    return original.clone(), [objective], term, config.training, 0


def trained(given, path=None) -> tuple[dict[str, list[float]], np.ndarray, list[torch.Tensor]]:
    """Losses, embedding of the replayed crystals, and weights with those of the heads."""
    history = fit(*given, path)
    adapter, objectives, replay = given[:3]
    heads = [p.detach() for o in objectives for p in o.parameters()]
    return history, adapter.embed_graphs(replay.graphs)[0], [*adapter.core.state_dict().values(), *heads]


def difference(a, b) -> float:
    """Largest difference of weights and of embeddings, each over its largest value."""
    u, v = (torch.cat([x.detach().flatten().double() for x in many]) for many in (a, b))
    return float((u - v).abs().max() / u.abs().max())


def assert_same(one, two) -> None:
    """To the bit, but for the losses' means."""
    assert all(torch.equal(a, b) for a, b in zip(one[2], two[2], strict=True))
    np.testing.assert_array_equal(one[1], two[1])
    assert one[0].keys() == two[0].keys()
    for name, losses in one[0].items():
        np.testing.assert_allclose(two[0][name], losses, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("name", "kind"), [("default", "descriptor"), ("default", "oracle"), ("potential", "oracle")])
def test_two_processes_give_the_weights_of_one(model, known, name, kind):
    model = model if name == "default" else mf.load_model(name)
    one, two = (trained(parts(model, known, kind, processes=n)) for n in (1, 2))
    before = list(mf.get_adapter(model).core.state_dict().values())
    assert difference(before, one[2][: len(before)]) > 1e-4
    assert_same(one, two)


@pytest.mark.parametrize(("kind", "processes"), [("descriptor", 1), ("oracle", 1), ("oracle", 3)])
def test_parts_of_a_batch_weigh_as_the_whole(model, known, kind, processes, monkeypatch):
    in_parts = trained(parts(model, known, kind, NOTHING, processes=processes))
    monkeypatch.setattr(module, "PARTS", 1)
    whole = trained(parts(model, known, kind, NOTHING))
    assert 0 < difference(in_parts[2], whole[2]) <= ROUNDING
    for name, losses in whole[0].items():
        np.testing.assert_allclose(in_parts[0][name], losses, rtol=1e-3, atol=1e-9)


def test_parts_are_replayed_as_the_whole_in_double_precision(model, known, monkeypatch):
    """Held this hard, in single precision, rounding grows to 2.5e-5 in six steps."""

    def in_double_precision():
        given = parts(mf.get_adapter(model).clone().model.double(), known, "descriptor", steps=3)
        given[2]._metric = given[2]._metric.double()
        given[1][0]._head.double()
        return trained(given)

    matgl.set_default_dtype("float", 64)
    try:
        in_parts = in_double_precision()
        monkeypatch.setattr(module, "PARTS", 1)
        whole = in_double_precision()
    finally:
        matgl.set_default_dtype("float", 32)
    assert difference(in_parts[2], whole[2]) <= ROUNDING
    assert difference([torch.tensor(in_parts[1])], [torch.tensor(whole[1])]) <= ROUNDING
    for name, losses in whole[0].items():
        np.testing.assert_allclose(in_parts[0][name], losses, rtol=1e-3, atol=1e-9)


def test_a_batch_of_two_is_for_two_processes_at_most(model, known):
    assert_same(*(trained(parts(model, known, "descriptor", steps=3, batch_size=2, processes=n)) for n in (1, 5)))


def test_a_batch_of_one_is_taken_as_it_is(model, known):
    assert_same(*(trained(parts(model, known, "descriptor", steps=3, batch_size=1, processes=n)) for n in (1, 2)))


def test_fill_tune_takes_as_many_processes_as_it_is_told(model, pool, monkeypatch):
    asked, start = [], torch.multiprocessing.start_processes
    monkeypatch.setattr("torch.multiprocessing.start_processes", lambda *a, **k: asked.append(k) or start(*a, **k))
    pool, port = pool.subset(range(80)), os.environ.get("MASTER_PORT")
    config = {"steps": STEPS, "copies": 12, "replay_size": 60, "max_prediction_drift": 9.0}
    given = {"proposals": mf.propose(model, pool, n=2), "seed": 1}
    one, two = (mf.fill_tune(model, pool, config=config | {"processes": n}, **given) for n in (1, 2))
    assert [k["nprocs"] for k in asked] == [2]
    assert one.accepted
    assert two.accepted
    found = [(r.report.history, mf.embed(r.model, pool), list(r.model.state_dict().values())) for r in (one, two)]
    assert_same(*found)
    assert os.environ.get("MASTER_PORT") == port


def _interruptible(given, path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest's workers ignore it
    fit(*given, path)


@pytest.fixture(scope="module")
def whole(model, known):
    return trained(parts(model, known, "descriptor", **SHORT, processes=2))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_processes_are_gone_and_training_goes_on_to_the_same_bits(
    model, known, whole, tmp_path, monkeypatch, how
):
    monkeypatch.setattr(module, "SAVE_SECONDS", 0.0)
    path, args = tmp_path / "training.pt", (model, known, "descriptor")
    run = multiprocessing.get_context("fork").Process(
        target=_interruptible, args=(parts(*args, **SHORT, processes=2), path)
    )
    run.start()
    until(path.exists)
    children = [int(p) for p in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    os.kill(run.pid, how)
    run.join(20)
    assert run.exitcode == (1 if how == signal.SIGINT else -signal.SIGKILL)
    assert len(children) == 2
    until(lambda: not any(map(alive, children)))
    with pytest.raises(InputError, match="belongs to another"):
        fit(*parts(*args, **SHORT, processes=1), path)
    assert torch.load(path, weights_only=True)["state"]["step"] < SHORT["steps"]
    history, _, weights = trained(parts(*args, **SHORT, processes=2), path)
    assert history == whole[0]
    assert all(torch.equal(a, b) for a, b in zip(weights, whole[2], strict=True))


def test_what_fails_in_a_process_reaches_the_caller_and_ends_the_others(model, known, monkeypatch):
    def fails(*_arguments):
        raise ValueError("no such crystal")

    given = parts(model, known, "descriptor", **SHORT, processes=2)
    monkeypatch.setattr(given[1][0], "loss", fails)
    with pytest.raises(Exception, match="no such crystal"):
        fit(*given)
    assert not multiprocessing.active_children()
