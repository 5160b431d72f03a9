from __future__ import annotations

import numpy as np

import matgl_fill as mf
from matgl_fill.generation import choose_targets


def test_farthest_targets_are_further_apart_than_random_ones(model, pool):
    Z = mf.embed(model, pool)
    rough = mf.analyze_roughness(Z, structures=pool)
    spread = {}
    for choice in ("farthest", "random"):
        T = choose_targets(Z, rough, 20, choice, 0)[0] / Z.std(axis=0)
        distance = np.linalg.norm(T[:, None] - T[None], axis=2) + np.eye(20) * 1e9
        spread[choice] = distance.min()
    assert spread["farthest"] > 1.5 * spread["random"]


def test_where_maxima_are_few_every_region_gives_its_roughest_crystal(model, pool):
    Z = mf.embed(model, pool)
    rough = mf.analyze_roughness(Z, structures=pool)
    few, _ = rough.maxima(60)
    assert len(few) < 30
    T, height = choose_targets(Z, rough, 60, "roughness", 0)
    assert len(np.unique(T, axis=0)) == 60
    np.testing.assert_array_equal(T[: len(few)], few)
    np.testing.assert_allclose(height, rough.local(T), rtol=1e-9)
    assert (np.diff(height[len(few) :]) <= 0).all()
    random, _ = choose_targets(Z, rough, 60, "random", 0)
    assert height.mean() > 1.5 * rough.local(random).mean()

    def covered(places):
        return np.linalg.norm((Z[:, None] - places) / Z.std(axis=0), axis=2).min(axis=1).mean()

    assert covered(T) < 1.05 * covered(random) < 0.9 * covered(few)


def test_dissimilar_targets_resemble_their_neighbours_least(model, pool):
    Z = mf.embed(model, pool)
    rough = mf.analyze_roughness(Z, structures=pool)
    T, _ = choose_targets(Z, rough, 5, "dissimilar", 0)
    chosen = [int(np.flatnonzero((t == Z).all(axis=1))[0]) for t in T]
    assert rough.response[chosen].max() <= np.delete(rough.response, chosen).min()
