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
from helpers import PAIRS, bumpy, shared
from scipy.optimize import brentq
from scipy.spatial import Delaunay, cKDTree
from threadpoolctl import threadpool_limits

from matgl_fill.errors import InputError
from matgl_fill.roughness import StationaryNetwork, landscape_network
from matgl_fill.roughness.landscape.descent import free_coordinates
from matgl_fill.roughness.landscape.explore import CONVERGED, SAME_DISTANCE, SAME_VALUE, explore, near_pairs
from matgl_fill.roughness.landscape.explore import PAIRS as PAIR_ROOM
from matgl_fill.roughness.landscape.surface import ThinPlateSurface, dense_hessian, distinct
from matgl_fill.utils.archive import read_archive
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
    return set(read_archive(path.read_bytes())["state"])


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
    Z, response = bumpy(60, 2)
    path = tmp_path / "c.pt"
    landscape_network(Z, response, checkpoint=path)
    for data, seed in (((Z, response), 1), ((Z, response**2), 0), ((Z + response[:, None] / 99, response), 0)):
        with pytest.raises(InputError, match="another model, data, settings or seed"):
            landscape_network(*data, seed, checkpoint=path)
    for other in (b"", b"text"):
        path.write_bytes(other)
        with pytest.raises(InputError, match=r"the landscape cannot be resumed: .* is not a saved state"):
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
    Z, response = bumpy(60, 2)
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


def test_frustration_ignores_shift_scale_and_order_of_axes_and_constant_ones():
    Z, response = bumpy(200, 2)
    before = landscape_network(Z, response).frustration()
    other = np.column_stack([Z[:, 1] * 4 - 1, np.full(len(Z), 2.0), Z[:, 0] * 0.3 + 5])
    network = landscape_network(other, 3 * response - 1)
    assert network.frustration() == pytest.approx(before, rel=1e-6)
    assert not network.minima[:, 1].any()
