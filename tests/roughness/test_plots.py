from __future__ import annotations

import builtins
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection

from matgl_fill.errors import InputError
from matgl_fill.roughness import RoughnessResult, StationaryNetwork, graph_roughness
from matgl_fill.roughness.plots import (
    LEAVES,
    TOP,
    disconnectivity_graph,
    figure_bytes,
    frustration_contributions,
    project,
)

PNG = b"\x89PNG\r\n\x1a\n"


def random_network(n: int, m: int, seed: int = 0) -> StationaryNetwork:
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, n, size=(m, 2))
    values = rng.uniform(size=n)
    barrier = values[pairs].max(axis=1) + rng.uniform(size=m)
    return StationaryNetwork(rng.uniform(size=(n, 4)), values, rng.uniform(size=(m, 4)), barrier, pairs)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(300, 4)) * [5, 1, 1, 0.1] + 3


@pytest.fixture(scope="module")
def result(points) -> RoughnessResult:
    return graph_roughness(points, 40 * np.sin(3 * points[:, 0]) + np.cos(9 * points[:, 1]))


def scatters(figure) -> list[PathCollection]:
    return [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]


def lines(figure) -> tuple[np.ndarray, np.ndarray]:
    """Joining and rising lines of a disconnectivity graph, (k, 2, 2) each."""
    found = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    return tuple(np.array(c.get_segments()).reshape(-1, 2, 2) for c in found)


def test_map_shows_every_point_maximum_and_proposal(points, result):
    proposals = points[:7] + 0.01
    figure = result.plot_map(points, proposals=proposals, maxima=5)
    pool, maxima, made = scatters(figure)
    assert [len(c.get_offsets()) for c in (pool, maxima, made)] == [300, 5, 7]
    assert np.sort(pool.get_array()).tolist() == np.sort(result.local(points)).tolist()
    assert pool.get_array()[-1] == result.local(points).max()
    assert {len(c.get_paths()[0].vertices) for c in (maxima, made)} == {13, 4}
    axes, colours = figure.axes
    assert colours.get_ylabel() == "local roughness"
    assert axes.get_xlabel().startswith("1st principal component (9")
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["roughest point (5)", "proposal (7)"]


def test_map_without_points_shows_the_stationary_ones(result):
    (pool, _) = scatters(result.plot_map())
    assert len(pool.get_offsets()) == len(result.network.minima) + len(result.network.ts)


def test_projection_by_pca_keeps_distances_in_a_plane():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(6, 2)))[0].T
    flat = rng.normal(size=(40, 2))
    shown, (others,), _ = project(flat @ axes + 5, [flat[:3] @ axes + 5])
    distance = np.linalg.norm(shown[:, None] - shown, axis=2)
    np.testing.assert_allclose(distance, np.linalg.norm(flat[:, None] - flat, axis=2), atol=1e-9)
    np.testing.assert_allclose(others, shown[:3], atol=1e-9)


def test_projection_of_one_dimension_is_a_line():
    shown, _, labels = project(np.arange(5.0)[:, None], [])
    np.testing.assert_allclose(np.abs(np.diff(shown, axis=0)), [[1, 0]] * 4, atol=1e-12)
    assert labels == ("1st principal component (100 %)", "2nd principal component (0 %)")


def test_umap_without_the_extra_says_how_to_get_it(result, points, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InputError, match=r"pip install 'matgl_fill\[plots\]'"):
        result.plot_map(points, projection="umap")


def test_umap_is_seeded_and_shows_the_same_points(points, result):
    pytest.importorskip("umap")
    one, again = (
        scatters(result.plot_map(points[:60], maxima=3, projection="umap", seed=1))[0].get_offsets() for _ in range(2)
    )
    assert one.shape == (60, 2)
    np.testing.assert_array_equal(one, again)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda r, Z: r.plot_map(Z, projection="tsne"), "'pca' and 'umap'"),
        (lambda r, Z: r.plot_map(Z[:0]), "finite points"),
        (lambda r, Z: r.plot_map(np.full((3, 4), np.nan)), "finite points"),
        (lambda r, Z: r.plot_map(Z, proposals=np.zeros((2, 3))), "cannot show points"),
    ],
)
def test_maps_of_unusable_points_are_input_errors(bad, message, points, result):
    with pytest.raises(InputError, match=message):
        bad(result, points)


@pytest.mark.parametrize("seed", range(5))
def test_branches_of_a_disconnectivity_graph_are_the_tree_and_never_cross(seed):
    network = random_network(60, 90, seed)
    tree = network.tree()
    figure = disconnectivity_graph(tree, "energy, eV", -1.0, 3.0)
    joining, rising = lines(figure)
    roots = len(tree.roots)
    assert (len(rising), len(joining)) == (60, 60 - roots)
    np.testing.assert_allclose(np.sort(rising[:, 0, 1]), np.sort(4 * network.minima_values - 1))
    np.testing.assert_allclose(np.sort(rising[:, 1, 1] - rising[:, 0, 1]), np.sort(4 * tree.persistence()), atol=1e-12)
    assert len(set(rising[:, 0, 0])) == 60
    for (x, y), (end, _) in joining:
        between = (rising[:, 0, 0] > min(x, end)) & (rising[:, 0, 0] < max(x, end))
        assert not (between & (rising[:, 0, 1] < y) & (rising[:, 1, 1] > y + 1e-12)).any()
        assert any(a[0] == end and a[1] <= y <= b[1] + 1e-12 for a, b in rising)
    assert figure.axes[0].get_ylabel() == "energy, eV"
    assert figure.get_supxlabel() == f"dots: minima, 60 in {roots} connected set{'s' if roots > 1 else ''}"


def test_disconnectivity_graph_is_in_the_units_of_the_response(result):
    _, rising = lines(result.plot_disconnectivity())
    assert rising[:, :, 1].min() == pytest.approx(result.response.min())
    assert rising[:, :, 1].max() <= result.response.max()
    assert rising[:, :, 1].max() == pytest.approx(
        result.response.min() + np.ptp(result.response) * result.network.tree().height.max()
    )


def test_many_leaves_are_pruned_and_the_caption_says_so():
    network = random_network(500, 300)
    tree = network.tree()
    figure = disconnectivity_graph(tree)
    _, rising = lines(figure)
    assert len(rising) == LEAVES
    kept = np.argsort(-tree.persistence(), kind="stable")[:LEAVES]
    np.testing.assert_array_equal(np.sort(rising[:, 0, 1]), np.sort(network.minima_values[kept]))
    alone = int((tree.persistence() == 0).sum())
    assert alone > 0
    assert "shown: the 200 of largest persistence; left out: 300, " in figure.get_supxlabel()
    assert figure.get_supxlabel().endswith(f"without any barrier: {min(alone, 300)}")


def test_contributions_name_the_largest_vectors_and_sum_to_all():
    network = random_network(30, 40)
    minimum, ts = network.links()
    part = network.contributions()
    figure = frustration_contributions(network, [f"m{i}" for i in range(30)], [f"t{i}" for i in range(40)])
    share, bars = figure.axes
    order = np.argsort(-part)[:TOP]
    np.testing.assert_allclose([b.get_width() for b in bars.patches], 100 * part[order] / part.sum())
    assert [t.get_text() for t in bars.get_yticklabels()] == [f"m{minimum[v]} → t{ts[v]}" for v in order]
    x, y = share.lines[0].get_data()
    assert (x[0], y[0], x[-1]) == (0, 0, 100)
    assert y[-1] == pytest.approx(100)
    assert (np.diff(y, 2) <= 1e-9).all()
    half = int(np.argmax(y >= 50))
    assert share.texts[0].get_text() == f"half of it in {half} of {len(part)} vectors"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [1, 3])
def test_minima_without_transition_states_are_drawn(n):
    network = StationaryNetwork(np.eye(n, 2), np.zeros(n), np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2), dtype=int))
    tree = disconnectivity_graph(network.tree())
    assert len(tree.axes[0].lines[0].get_xdata()) == n
    parts = frustration_contributions(network)
    assert [t.get_text() for t in parts.axes[1].texts] == ["no vector has a share"]
    flat = graph_roughness(np.random.default_rng(0).normal(size=(30, 2)), np.full(30, 0.5))
    for figure in (tree, parts, flat.plot_map(), flat.plot_disconnectivity()):
        assert figure_bytes(figure, "png").startswith(PNG)


def test_pictures_leave_no_trace_and_ignore_the_readers_style(points, result):
    plain = [figure_bytes(f, "svg") for f in (result.plot_map(points), result.plot_disconnectivity())]
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "black", "xtick.color": "red"}):
        before = dict(mpl.rcParams)
        styled = [figure_bytes(f, "svg") for f in (result.plot_map(points), result.plot_disconnectivity())]
        assert dict(mpl.rcParams) == before
    assert styled == plain
    assert b"local roughness" in plain[0]


def test_pictures_do_without_pyplot(points, result, monkeypatch):
    real = builtins.__import__

    def guarded(name, *args, **kwargs):
        assert name != "matplotlib.pyplot"
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", guarded)
    assert figure_bytes(result.plot_map(points), "png").startswith(PNG)
