from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster

import matgl_fill as mf
from matgl_fill.errors import InputError
from matgl_fill.roughness import graph_roughness, measures
from matgl_fill.roughness.measures import MEANING, alpha_req, measure, rankme, rogi, rogi_xd


@pytest.fixture
def reference(monkeypatch):
    """The authors' package. It imports rdkit for molecules, which vectors do not need: an empty stand-in will do."""
    if find_spec("rogi") is None:
        pytest.skip("needs the package rogi")
    if find_spec("rdkit") is None:
        chem = ModuleType("rdkit.Chem")
        for name in ("AllChem", "DataStructs", "MACCSkeys"):
            setattr(chem, name, None)
        rdkit = ModuleType("rdkit")
        rdkit.Chem = chem
        monkeypatch.setitem(sys.modules, "rdkit", rdkit)
        monkeypatch.setitem(sys.modules, "rdkit.Chem", chem)
    return pytest.importorskip("rogi").RoughnessIndex


def cloud(n: int = 200, d: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, d)) * np.linspace(1, 3, d)
    return Z, np.sin(Z[:, 0]) + 0.2 * rng.normal(size=n)


@pytest.mark.parametrize(("n", "d"), [(25, 1), (60, 2), (200, 6), (300, 128)])
@pytest.mark.parametrize("copies", [1, 3])
def test_rogi_and_rogi_xd_agree_with_the_authors_package(reference, n, d, copies):
    """Also where points occur several times. ROGI-XD is made from the package's own clusters and moments."""
    Z, y = (np.repeat(a, copies, axis=0) for a in cloud(n, d))
    y = np.random.default_rng(1).permutation(y)
    index = reference(Y=y, X=Z, metric="euclidean", verbose=False)
    assert rogi(Z, y) == pytest.approx(index.compute_index(), abs=1e-9)
    index.compute_index(min_dt=0)
    counts = [len(set(fcluster(index.Z, t, "distance"))) for t in index.distance_thresholds[1:-1]]
    x = 1 - np.log([len(Z), *counts, 1]) / np.log(len(Z))
    moments = index.property_moments
    expected = moments[0] - np.dot(np.diff(x), (moments[1:] + moments[:-1]) / 2)
    assert rogi_xd(Z, y) == pytest.approx(expected, abs=1e-9)


def names(table: list[measures.Measure]) -> dict[str, float]:
    return {m.name: m.value for m in table}


@given(scale=st.floats(0.01, 100), gain=st.floats(-10, 10).filter(lambda g: abs(g) > 0.1), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_measures_have_the_stated_invariances(scale, gain, seed):
    Z, y = cloud()
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    shift = rng.normal(size=6)
    order = rng.permutation(len(Z))
    assert rogi(scale * Z + shift, gain * y) == pytest.approx(rogi(Z, y), rel=1e-6)
    assert rogi_xd(scale * Z @ rotation + shift, gain * y + 1) == pytest.approx(rogi_xd(Z, y), rel=1e-6)
    assert alpha_req(scale * Z @ rotation + shift) == pytest.approx(alpha_req(Z), rel=1e-6)
    assert rankme(scale * Z @ rotation) == pytest.approx(rankme(Z), rel=1e-6)
    D = np.hstack([Z, Z**2])
    once = names(measure(Z, y, D))
    again = names(measure((Z * rng.uniform(0.5, 2, 6) + shift)[order], gain * y[order], scale * D[order]))
    for name in (measures.RESPONSE_ENERGY, measures.DESCRIPTOR_ENERGY, measures.AGREEMENT):
        assert again[name] == pytest.approx(once[name], rel=1e-6), name


def test_measures_of_known_cases():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(1500, 3))
    smooth, noise = Z[:, 0], rng.normal(size=1500)
    related = names(measure(Z, smooth, Z @ np.diag([1, 2, 3])))
    unrelated = names(measure(Z, noise, noise[:, None]))
    assert unrelated[measures.FRUSTRATION] > related[measures.FRUSTRATION]
    assert unrelated[measures.ROGI] > 2 * related[measures.ROGI]
    assert unrelated[measures.ROGI_XD] > 2 * related[measures.ROGI_XD]
    assert related[measures.RESPONSE_ENERGY] < 0.1
    assert unrelated[measures.RESPONSE_ENERGY] == pytest.approx(1, abs=0.1)
    assert related[measures.AGREEMENT] > 0.8
    assert unrelated[measures.AGREEMENT] == pytest.approx(10 / 1499, abs=0.01)
    assert rankme(Z @ np.diag([1, 1e-9, 1e-9])) == pytest.approx(1, abs=1e-4)
    flat = names(measure(Z, np.ones(1500)))
    for name in (measures.FRUSTRATION, measures.ROGI, measures.ROGI_XD, measures.RESPONSE_ENERGY):
        assert flat[name] == 0, name


def test_table_is_in_order_seeded_and_its_frustration_is_that_of_graph_mode():
    Z, y = cloud(400)
    table = measure(Z, y, Z, bootstrap=10, seed=3)
    assert [m.name for m in table] == list(MEANING)
    assert table == measure(Z, y, Z, bootstrap=10, seed=3)
    assert table != measure(Z, y, Z, bootstrap=10, seed=4)
    assert names(table)[measures.FRUSTRATION] == graph_roughness(Z, y).frustration
    assert names(measure(Z, y)).keys() == MEANING.keys() - {measures.DESCRIPTOR_ENERGY, measures.AGREEMENT}


def test_half_sample_intervals_are_as_wide_as_the_spread_of_fresh_samples():
    """Width of a 95 % interval against 2 x 1.96 deviations of the value over independent draws of the same cloud."""
    tables = [{m.name: m for m in measure(*cloud(200, seed=s), bootstrap=40)} for s in range(12)]
    fresh = [names(measure(*cloud(200, seed=s))) for s in range(100, 180)]
    for name in (measures.ALPHA_REQ, measures.RESPONSE_ENERGY, measures.ROGI_XD):
        width = np.mean([t[name].high - t[name].low for t in tables])
        assert 0.6 < width / (2 * 1.96 * np.std([f[name] for f in fresh])) < 1.6, name


def test_four_thousand_by_128_take_seconds_and_more_points_are_drawn(monkeypatch):
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(4000, 128))
    start = time.perf_counter()
    measure(Z, Z[:, 0], Z[:, :70])
    assert time.perf_counter() - start < 20
    monkeypatch.setattr(measures, "MAX_PAIRED", 300)
    few, again, other = (names(measure(Z[:500], Z[:500, 0], seed=s))[measures.ROGI] for s in (0, 0, 1))
    assert few == again != other
    assert few == pytest.approx(rogi(Z[:500], Z[:500, 0]), rel=0.1)


@pytest.mark.parametrize(
    ("Z", "response", "descriptors", "message"),
    [
        (np.zeros((19, 2)), np.zeros(19), None, "at least 20 points"),
        (np.zeros((30, 2)), np.zeros(29), None, "30 and 29 for response"),
        (np.zeros((30, 2)), np.zeros(30), np.full((30, 2), np.nan), "descriptors must be finite"),
        (np.zeros(30), np.zeros(30), None, "2 dimension"),
    ],
)
def test_unusable_points_are_input_errors(Z, response, descriptors, message):
    with pytest.raises(InputError, match=message):
        measure(Z, response, descriptors)


def test_a_noisy_copy_of_the_embedding_measures_worse(model, pool):
    """Short form of the comparison of models: the package's own, on its own crystals, against noise added to it."""
    Z, D = mf.embed(model, pool).astype(float), mf.describe(pool)
    noisy = Z + 2 * Z.std(axis=0) * np.random.default_rng(0).normal(size=Z.shape)
    values = [names(measure(X, D[:, 0], D)) for X in (Z, noisy)]
    for name in (measures.RESPONSE_ENERGY, measures.DESCRIPTOR_ENERGY, measures.ROGI_XD):
        assert values[0][name] < values[1][name], name
    assert values[0][measures.AGREEMENT] > 2 * values[1][measures.AGREEMENT]
