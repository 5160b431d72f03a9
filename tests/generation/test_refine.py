from __future__ import annotations

import numpy as np
import pytest
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

import matgl_fill as mf
from matgl_fill.generation.filters import MIN_DISTANCE, closest_ratio
from matgl_fill.generation.moves import Rattle, Strain
from matgl_fill.generation.refine import refine
from matgl_fill.utils.scaling import Scaling


@pytest.fixture(scope="module")
def scale(prepared):
    return Scaling(prepared.Z.mean(axis=0), prepared.Z.std(axis=0) + 1e-9)


def distances(model, structures, targets, scale):
    return np.linalg.norm((mf.embed(model, structures) - targets) / scale.extent, axis=1)


def test_refinement_finds_the_geometry_back(model, pool, prepared, scale):
    rng = np.random.default_rng(0)
    rows = [i for i, s in enumerate(pool.structures) if 2 <= len(s) <= 6][:12]
    moved = [Rattle(0.08, 0.08)(Strain(0.02)(pool.structures[i], rng)[0], rng)[0] for i in rows]
    targets = prepared.Z[rows]
    before = distances(model, moved, targets, scale)
    trails = refine(mf.get_adapter(model), moved, targets, scale)
    after = distances(model, [t[-1] for t in trails], targets, scale)
    assert np.median(after / before) < 0.1
    assert all(closest_ratio(s) > MIN_DISTANCE for t in trails for s in t)


def test_refinement_keeps_the_space_group(model, pool, prepared, scale):
    chosen = [i for i, s in enumerate(pool.structures) if SpacegroupAnalyzer(s, 0.01).get_space_group_number() > 194][
        :3
    ]
    swollen = [pool.structures[i].copy() for i in chosen]
    for s in swollen:
        s.scale_lattice(1.1 * s.volume)
    trails = refine(mf.get_adapter(model), swollen, prepared.Z[chosen], scale)
    for start, trail in zip(swollen, trails, strict=True):
        groups = [SpacegroupAnalyzer(s, 0.01).get_space_group_number() for s in (start, trail[-1])]
        assert groups[0] == groups[1]


def test_refinement_does_not_follow_a_target_into_overlap(model, pool, scale):
    i = next(i for i, s in enumerate(pool.structures) if len(s) == 2)
    start, tight = pool.structures[i].copy(), pool.structures[i].copy()
    start.scale_lattice(start.volume * (0.85 / closest_ratio(start)) ** 3)
    tight.scale_lattice(tight.volume * (0.5 / closest_ratio(tight)) ** 3)
    trail = refine(mf.get_adapter(model), [start], mf.embed(model, [tight]), scale)[0]
    assert 0.66 < closest_ratio(trail[-1]) < 0.8
