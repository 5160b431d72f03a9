from __future__ import annotations

import itertools
import re
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from helpers import PAIRS, shared
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RBFInterpolator
from scipy.optimize import brentq
from scipy.spatial import Delaunay, cKDTree
from threadpoolctl import threadpool_limits

import matgl_fill as mf
from matgl_fill.errors import InputError
from matgl_fill.roughness import LocalRoughness, RoughnessResult, StationaryNetwork, landscape_network
from matgl_fill.roughness.landscape.descent import free_coordinates, minimise
from matgl_fill.roughness.landscape.explore import CONVERGED, SAME_DISTANCE, SAME_VALUE, explore, near_pairs
from matgl_fill.roughness.landscape.explore import PAIRS as PAIR_ROOM
from matgl_fill.roughness.landscape.stationary import EXACT_DIMENSIONS, follow
from matgl_fill.roughness.landscape.surface import ThinPlateSurface, dense_hessian, distinct
from matgl_fill.utils.checkpoint import SAFE_NUMPY
from matgl_fill.utils.console import console

SECONDS = 30
"""Of processor time, all threads and six published sets together."""
MINIMA_FOUND = 1.0
TS_FOUND = 0.97
FRUSTRATION = 0.10
"""Relative difference from the published frustration."""
INCOMPLETE = pytest.param(
    "0_3",
    marks=pytest.mark.xfail(
        strict=True, reason="20 % higher: the published network lacks a quarter of the verified passes"
    ),
)
ROUGHEST = 642.9967
ROUGHEST_WITHIN = 1e-3


@pytest.fixture(scope="module")
def published():
    folder = shared("reference/topsearch/pairwise")
    Z, response = np.loadtxt(folder / "training.txt"), np.loadtxt(folder / "response.txt")
    return folder, {pair: (Z[:, [int(c) for c in pair.split("_")]], response) for pair in PAIRS}


@pytest.fixture(scope="module")
def found(published):
    start = time.process_time()
    networks = {pair: landscape_network(*data) for pair, data in published[1].items()}
    return networks, time.process_time() - start


def contained(points, values, among, among_values):
    """Which stationary points are among others, by the published criterion."""
    near = np.linalg.norm(points[:, None] - among, axis=2) <= SAME_DISTANCE
    return (near & (np.abs(values[:, None] - among_values) < SAME_VALUE)).any(axis=1)


def scaled(Z, response):
    X = (Z - Z.min(axis=0)) / np.ptp(Z, axis=0)
    kept = distinct(X)
    y = response[kept]
    return X[kept], (y - y.min()) / np.ptp(y)


def test_published_sets_take_seconds(found):
    assert found[1] < SECONDS


@pytest.mark.parametrize("pair", PAIRS)
def test_published_stationary_points_are_found(published, found, pair):
    folder, data = published
    reference, network = StationaryNetwork.from_topsearch(folder, pair), found[0][pair]
    minima = contained(reference.minima, reference.minima_values, network.minima, network.minima_values)
    in_hull = Delaunay(scaled(*data[pair])[0]).find_simplex(reference.minima) >= 0
    assert minima[in_hull].mean() >= MINIMA_FOUND
    assert contained(reference.ts, reference.ts_values, network.ts, network.ts_values).mean() >= TS_FOUND


def assert_stationary(surface, starts, network):
    """Every point has the gradient and the number of descending modes that it should, by the full Hessian."""
    scale = np.median(np.linalg.norm(surface.gradient(starts), axis=1))
    for points, index in ((network.minima, 0), (network.ts, 1)):
        gradient = surface.gradient(points)
        free = free_coordinates(points, gradient)
        assert np.linalg.norm(gradient * free, axis=1).max() <= CONVERGED * scale
        for H, f in zip(dense_hessian(surface, points), free, strict=True):
            assert (np.linalg.eigvalsh(H[np.ix_(f, f)]) < 0).sum() == index


@pytest.mark.parametrize("pair", PAIRS)
def test_every_stationary_point_is_one(published, found, pair):
    X, y = scaled(*published[1][pair])
    assert_stationary(ThinPlateSurface(X, y), X, found[0][pair])


def clustered(n, d, seed=0):
    """Points around 20 centres on a curved manifold of 4 dimensions, with a response that is smooth along it."""
    rng = np.random.default_rng(seed)
    inner = rng.normal(size=(20, 4))[rng.integers(20, size=n)] + 0.3 * rng.normal(size=(n, 4))
    Z = np.tanh(inner @ rng.normal(size=(4, d))) + 0.02 * rng.normal(size=(n, d))
    return Z, np.sin(3 * inner[:, 0]) + np.cos(2 * inner[:, 1]) + np.sin(4 * inner[:, 2])


@pytest.mark.parametrize(("n", "d"), [(400, 8), (300, 128)])
def test_stationary_points_of_high_dimension_are_ones(n, d):
    Z, response = clustered(n, d)
    network = landscape_network(Z, response)
    assert len(network.minima) > 1
    assert len(network.ts) > 0
    X, y = scaled(Z, response)
    assert_stationary(ThinPlateSurface(X, y), X, network)


@pytest.mark.parametrize("pair", [INCOMPLETE if p == "0_3" else p for p in PAIRS])
def test_frustration_agrees_with_the_published(published, found, pair):
    reference = np.loadtxt(published[0] / "frustration.txt")[PAIRS.index(pair)]
    assert found[0][pair].frustration() == pytest.approx(reference, rel=FRUSTRATION)


def test_landscape_is_deterministic(published, found):
    again = landscape_network(*published[1]["1_2"])
    for name, array in found[0]["1_2"].arrays().items():
        np.testing.assert_array_equal(getattr(again, name), array)


@dataclass
class Muller:
    """Müller-Brown over x in [-1.5, 1.2], y in [-0.2, 2], in units of 100."""

    A = np.array([-200.0, -100.0, -170.0, 15.0])
    a = np.array([-1.0, -1.0, -6.5, 0.7])
    b = np.array([0.0, 0.0, 11.0, 0.6])
    c = np.array([-10.0, -10.0, -6.5, 0.7])
    x0 = np.array([1.0, 0.0, -0.5, -1.0])
    y0 = np.array([0.0, 0.5, 1.5, 1.0])
    low, span = np.array([-1.5, -0.2]), np.array([2.7, 2.2])

    def _terms(self, points):
        p = self.low + points * self.span
        u, v = p[:, :1] - self.x0, p[:, 1:] - self.y0
        e = self.A / 100 * np.exp(self.a * u**2 + self.b * u * v + self.c * v**2)
        return e, 2 * self.a * u + self.b * v, self.b * u + 2 * self.c * v

    def value(self, points):
        return self._terms(points)[0].sum(axis=1)

    def gradient(self, points):
        e, p, q = self._terms(points)
        return np.stack([(e * p).sum(1), (e * q).sum(1)], axis=1) * self.span

    def hvp(self, points, vectors):
        e, p, q = self._terms(points)
        H = np.array(
            [[e * (p * p + 2 * self.a), e * (p * q + self.b)], [e * (p * q + self.b), e * (q * q + 2 * self.c)]]
        )
        return np.einsum("ijm,mkj->mki", H.sum(-1) * self.span[:, None, None] * self.span[None, :, None], vectors)


def test_muller_brown_exact():
    network = explore(Muller(), np.random.default_rng(0).uniform(size=(300, 2)))
    minima = network.minima * Muller.span + Muller.low
    ts = network.ts * Muller.span + Muller.low
    np.testing.assert_allclose(minima, [[-0.5582, 1.4417], [0.6235, 0.0280], [-0.0500, 0.4667]], atol=1e-4)
    np.testing.assert_allclose(network.minima_values, [-1.46700, -1.08167, -0.80768], atol=1e-5)
    np.testing.assert_allclose(ts, [[0.2125, 0.2930], [-0.8220, 0.6243]], atol=1e-4)
    np.testing.assert_allclose(network.ts_values, [-0.72249, -0.40665], atol=1e-5)
    np.testing.assert_array_equal(network.pairs, [[1, 2], [0, 2]])


@dataclass
class Rastrigin:
    """Over [-2.4, 2.4] in every dimension; separable, so that its stationary points are a grid of roots."""

    half = 2.4

    def slope(self, x):
        return 2 * x + 20 * np.pi * np.sin(2 * np.pi * x)

    def value(self, points):
        x = (2 * points - 1) * self.half
        return (x**2 + 10 - 10 * np.cos(2 * np.pi * x)).sum(axis=1)

    def gradient(self, points):
        return self.slope((2 * points - 1) * self.half) * 2 * self.half

    def hvp(self, points, vectors):
        x = (2 * points - 1) * self.half
        return ((2 + 40 * np.pi**2 * np.cos(2 * np.pi * x)) * (2 * self.half) ** 2)[:, None] * vectors


def test_rastrigin_exact():
    surface = Rastrigin()
    network = explore(surface, np.random.default_rng(0).uniform(size=(600, 2)))
    low = [brentq(surface.slope, i - 0.2, i + 0.2) for i in range(-2, 3)]
    high = [brentq(surface.slope, i + 0.3, i + 0.7) for i in range(-2, 2)]
    saddles = [*itertools.product(low, high), *itertools.product(high, low)]
    for points, exact in ((network.minima, list(itertools.product(low, low))), (network.ts, saddles)):
        x = (2 * points - 1) * surface.half
        distance = np.linalg.norm(x[:, None] - np.array(exact), axis=2)
        assert len(x) == len(exact)
        assert distance.min(axis=0).max() < 1e-6
    steps = np.abs(network.minima[network.pairs[:, 0]] - network.minima[network.pairs[:, 1]]) * 2 * surface.half
    np.testing.assert_allclose(np.sort(steps, axis=1), [[0.0, 1.0]] * len(saddles), atol=0.02)


@dataclass
class Wells:
    """Equal Gaussian wells at the corners of a regular tetrahedron, in 8 dimensions."""

    deviation = 0.15
    corners = 0.5 + 0.18 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) @ np.eye(3, 8)

    def _terms(self, points):
        r = points[:, None] - self.corners
        return np.exp(-(r**2).sum(-1) / (2 * self.deviation**2)), r / self.deviation**2

    def value(self, points):
        return -self._terms(points)[0].sum(axis=1)

    def gradient(self, points):
        e, r = self._terms(points)
        return np.einsum("mw,mwd->md", e, r)

    def hvp(self, points, vectors):
        e, r = self._terms(points)
        along = np.einsum("mwd,mkd->mkw", r, vectors)
        return e.sum(axis=1)[:, None, None] * vectors / self.deviation**2 - np.einsum("mw,mkw,mwd->mkd", e, along, r)


def test_gaussian_wells_in_eight_dimensions_exact():
    """By symmetry minima lie on the rays through the corners, passes on those through the middles of edges."""
    surface = Wells()
    network = explore(surface, np.random.default_rng(0).uniform(0.2, 0.8, size=(300, 8)))
    centre = np.full(8, 0.5)

    def along(direction):
        slope = lambda s: surface.gradient((centre + s * direction)[None])[0] @ direction  # noqa: E731
        return centre + brentq(slope, 0.3, 1.2, xtol=1e-14) * direction

    minima = np.array([along(c - centre) for c in surface.corners])
    ts = np.array([along((a + b) / 2 - centre) for a, b in itertools.combinations(surface.corners, 2)])
    for points, exact in ((network.minima, minima), (network.ts, ts)):
        assert len(points) == len(exact)
        assert np.linalg.norm(points[:, None] - exact, axis=2).min(axis=0).max() < 1e-5
    assert {tuple(p) for p in network.pairs.tolist()} == set(itertools.combinations(range(4), 2))


def test_thin_plate_is_that_of_scipy_with_its_derivatives():
    rng = np.random.default_rng(0)
    X, y, x = rng.uniform(size=(60, 3)), rng.uniform(size=60), rng.uniform(size=(7, 3))
    surface = ThinPlateSurface(X, y)
    np.testing.assert_allclose(surface.value(x), RBFInterpolator(X, y, smoothing=1e-4)(x), rtol=1e-9)
    step = 1e-6 * np.eye(3)
    slope = np.stack([(surface.value(x + e) - surface.value(x - e)) / 2e-6 for e in step], axis=1)
    np.testing.assert_allclose(surface.gradient(x), slope, rtol=1e-5, atol=1e-6)
    bend = np.stack([(surface.gradient(x + e) - surface.gradient(x - e)) / 2e-6 for e in step], axis=1)
    np.testing.assert_allclose(dense_hessian(surface, x), bend, rtol=1e-5, atol=1e-4)


def test_thin_plate_of_high_dimension_is_exact_next_to_data_points():
    """There expanded distances would lose all digits."""
    rng = np.random.default_rng(0)
    X, y = rng.uniform(size=(300, 40)), rng.uniform(size=300)
    surface, reference = ThinPlateSurface(X, y), RBFInterpolator(X, y, smoothing=1e-4)
    directions = rng.normal(size=(300, 40))
    for distance in (0.0, 1e-9, 1e-6, 1e-3, 1e-1):
        x = X + distance * directions
        r = x[:, None] - X
        square = np.maximum((r**2).sum(axis=2), 1e-300)
        slope = np.einsum("mn,mnd->md", surface.weights * (np.log(square) + 1), r) + surface.slope
        np.testing.assert_allclose(surface.value(x), reference(x), rtol=1e-9)
        np.testing.assert_allclose(surface.gradient(x), slope, rtol=1e-9, atol=1e-11)
        np.testing.assert_array_equal(surface.value_gradient(x)[0], surface.value(x))


def test_thin_plate_needs_points_that_span_the_space():
    line = np.linspace(0, 1, 20)[:, None] * np.ones(3)
    with pytest.raises(InputError, match="fewer than 3 dimensions"):
        landscape_network(line, np.sin(9 * line[:, 0]))


@dataclass
class Bowl:
    """Separable parabolas, some of which open downwards."""

    curvature: np.ndarray
    at: np.ndarray

    def value(self, x):
        return (self.curvature * (x - self.at) ** 2).sum(axis=1) / 2

    def gradient(self, x):
        return self.curvature * (x - self.at)

    def hvp(self, x, v):
        return self.curvature * v


def test_above_exact_hessians_the_krylov_space_finds_the_minimum():
    d = EXACT_DIMENSIONS + 20
    bowl = Bowl(np.geomspace(1, 1000, d), np.linspace(0.2, 0.8, d))
    end = follow(bowl, np.random.default_rng(0).uniform(size=(3, d)), 0, 1.0, 1e-8)
    np.testing.assert_allclose(end.points, np.tile(bowl.at, (3, 1)), atol=1e-7)
    assert end.of_index(0, 1e-8, 1e-6).all()


@settings(max_examples=25, deadline=None)
@given(d=st.integers(1, 40), seed=st.integers(0, 2**20))
def test_minimisation_reaches_the_constrained_minimum(d, seed):
    """Of parabolas whose centres may lie outside the box: the nearest end of it; downward ones end at a bound.

    Rounding of values up to 4500 hides displacements of 1e-6.
    """
    rng = np.random.default_rng(seed)
    curvature = np.where(rng.uniform(size=d) < 0.2, -1, 1) * 10 ** rng.uniform(0, 2, size=d)
    bowl = Bowl(curvature, rng.uniform(-0.5, 1.5, size=d))
    start = rng.uniform(size=(6, d))
    exact = np.where(curvature > 0, np.clip(bowl.at, 0, 1), np.where(start > bowl.at, 1.0, 0.0))
    np.testing.assert_allclose(minimise(bowl, start, 0.3, 1e-8), exact, atol=3e-6)


def test_curvatures_are_those_of_the_free_coordinates():
    """With two of five coordinates held the second lowest of the other three counts, and held ones have no share."""
    bowl = Bowl(np.array([5.0, -3.0, 2.0, -4.0, 7.0]), np.array([1.5, 0.5, 0.5, 0.2, 0.5]))
    end = follow(bowl, np.array([[1.0, 0.5, 0.5, 1.0, 0.5]]), 1, 0.1, 1e-10)
    np.testing.assert_allclose(end.points, [[1.0, 0.5, 0.5, 1.0, 0.5]])
    np.testing.assert_allclose(end.curvature, [[-3.0, 2.0]])
    np.testing.assert_allclose(np.abs(end.mode), [[0, 1, 0, 0, 0]], atol=1e-12)
    assert end.of_index(1, 1e-10, 1e-10).all()


def same(one, other):
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(getattr(other, name), array)


class Interrupted(Rastrigin):
    """Raises after some evaluations."""

    def __init__(self, left):
        self.left = left

    def value(self, points):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().value(points)


@pytest.fixture
def one_thread():
    """Batches one after the other, so that a count of evaluations says which batches are done."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def kept(path):
    """Names of the batches that a checkpoint holds."""
    with torch.serialization.safe_globals(list(SAFE_NUMPY)):
        return set(torch.load(path, weights_only=True)["state"])


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("left", [60, 150, 250])
def test_resumed_search_is_bitwise_the_uninterrupted_one(tmp_path, left):
    """Interrupted among the minima, between stages and among the transition states."""
    starts, path = np.random.default_rng(0).uniform(size=(600, 2)), tmp_path / "c.pt"
    whole = explore(Rastrigin(), starts)
    with pytest.raises(KeyboardInterrupt):
        explore(Interrupted(left), starts, checkpoint=path)
    before = kept(path)
    again = Interrupted(10**6)
    same(whole, explore(again, starts, checkpoint=path))
    assert before < kept(path)
    redone = Interrupted(10**6)
    same(whole, explore(redone, starts, checkpoint=path))
    assert redone.left > again.left
    assert not list(tmp_path.glob("*.partial"))


def test_run_that_was_killed_resumes_to_the_same_bits(tmp_path):
    path, data = tmp_path / "c.pt", clustered(600, 24)
    whole = landscape_network(*data)
    np.savez(tmp_path / "data.npz", Z=data[0], response=data[1])
    code = "import sys, numpy as np; from matgl_fill.roughness import landscape_network as f; d = np.load(sys.argv[1])"
    code += "; f(d['Z'], d['response'], checkpoint=sys.argv[2])"
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path / "data.npz", path])
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
    before = kept(path)
    same(whole, landscape_network(*data, checkpoint=path))
    assert "paths/0" in kept(path)
    assert "paths/0" not in before


def test_checkpoint_of_other_data_seed_or_nothing_is_refused(tmp_path):
    Z, response = bumpy(60)
    path = tmp_path / "c.pt"
    landscape_network(Z, response, checkpoint=path)
    for data, seed in (((Z, response), 1), ((Z, response**2), 0), ((Z + response[:, None] / 99, response), 0)):
        with pytest.raises(InputError, match="another model, data, settings or seed"):
            landscape_network(*data, seed, checkpoint=path)
    for other in (b"", b"text"):
        path.write_bytes(other)
        with pytest.raises(InputError, match="not the state of an analysis"):
            landscape_network(Z, response, checkpoint=path)


def test_threads_do_not_change_the_bits():
    data, before = clustered(300, 20), torch.get_num_threads()
    networks = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            with threadpool_limits(threads):
                networks.append(landscape_network(*data))
    finally:
        torch.set_num_threads(before)
    same(*networks)


def test_progress_says_what_runs_and_how_long(capsys):
    Z, response = bumpy(60)
    landscape_network(Z, response)
    assert not capsys.readouterr().err
    with console.capture() as said:
        landscape_network(Z, response, progress=True)
    assert re.search(r"minima from 60 points in 2 dimensions: about \d+ s", said.get())
    assert re.search(r"transition states from \d+ candidates between \d+ minima: about \d+ s", said.get())


def test_pairs_are_of_near_minima_and_bounded():
    points = np.random.default_rng(0).uniform(size=(600, 128))
    pairs = near_pairs(points)
    assert len(pairs) == PAIR_ROOM // 128
    nearest = cKDTree(points).query(points, 2)[1][:, 1]
    assert {tuple(sorted(pair)) for pair in enumerate(nearest.tolist())} <= {tuple(pair) for pair in pairs.tolist()}
    assert len(near_pairs(points[:5])) == 10
    assert near_pairs(points[:1]).shape == near_pairs(points[:0]).shape == (0, 2)


def test_constant_field_has_no_frustration():
    Z = np.random.default_rng(0).uniform(size=(50, 2))
    result = mf.analyze_roughness(Z, np.full(50, 3.0), method="landscape")
    assert result.frustration == 0.0
    assert not result.local(Z).any()


def bumpy(n=200, seed=0):
    Z = np.random.default_rng(seed).uniform(size=(n, 2))
    return Z, np.sin(9 * Z[:, 0]) + np.cos(7 * Z[:, 1])


def test_frustration_ignores_shift_scale_and_order_of_axes_and_constant_ones():
    Z, response = bumpy()
    before = landscape_network(Z, response).frustration()
    other = np.column_stack([Z[:, 1] * 4 - 1, np.full(len(Z), 2.0), Z[:, 0] * 0.3 + 5])
    network = landscape_network(other, 3 * response - 1)
    assert network.frustration() == pytest.approx(before, rel=1e-6)
    assert not network.minima[:, 1].any()


def test_network_and_result_survive_files(tmp_path):
    result = mf.analyze_roughness(*bumpy(), method="landscape")
    result.save(tmp_path / "r.npz")
    result.network.to_topsearch(tmp_path / "text", "_x")
    again = RoughnessResult.load(tmp_path / "r.npz")
    text = StationaryNetwork.from_topsearch(tmp_path / "text", "_x")
    for name, array in result.network.arrays().items():
        np.testing.assert_array_equal(getattr(again.network, name), array)
        np.testing.assert_array_equal(getattr(text, name), array)
    points, values = result.maxima(5)
    np.testing.assert_array_equal(again.maxima(5)[0], points)
    np.testing.assert_array_equal(again.local(points), values)
    assert again.frustration == result.frustration
    with pytest.raises(InputError, match="missing or not a roughness file"):
        RoughnessResult.load(tmp_path / "none.npz")


def test_script_preset_has_the_published_highest_maximum():
    folder = shared("reference/topsearch/latent")
    surface = LocalRoughness(StationaryNetwork.from_topsearch(folder, "_all_dimensions"), preset="script")
    start = time.perf_counter()
    _, values = surface.maxima(10)
    assert time.perf_counter() - start < 60
    assert values[0] == pytest.approx(ROUGHEST, abs=ROUGHEST_WITHIN)
    published = np.sort(-np.loadtxt(folder / "min.data.roughness")[:, 1])[::-1]
    assert values[0] >= published[0]
    assert np.abs(published - values[1]).min() < 0.01


def test_unknown_preset_and_method_say_what_there_is():
    network = StationaryNetwork(*[np.zeros((0, 2)), np.zeros(0)] * 2, np.zeros((0, 2), dtype=int))
    with pytest.raises(InputError, match="default, script, readme"):
        LocalRoughness(network, preset="wide")
    with pytest.raises(InputError, match="own widths"):
        LocalRoughness(network, preset="script", width=0.1)
    with pytest.raises(InputError, match="'graph' and 'landscape'"):
        mf.analyze_roughness(np.zeros((5, 2)), np.zeros(5), method="tree")
