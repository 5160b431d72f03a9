from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core.structure_matcher import StructureMatcher

import matgl_fill as mf
from matgl_fill.errors import GenerationError, InputError, MatglFillWarning
from matgl_fill.generation.filters import Filters
from matgl_fill.generation.select import MAX_PER_PARENT

N = 8


@pytest.fixture(scope="module")
def proposals(model, pool):
    return mf.propose(model, pool, n=N, seed=0)


def test_proposals_are_valid_new_and_distinct(model, pool, proposals):
    filters = Filters(mf.get_adapter(model), pool.structures)
    matcher = StructureMatcher()
    assert len(proposals) == N
    for i, p in enumerate(proposals):
        assert filters.refuse(p.structure) is None
        known = [s for s in pool.structures if s.composition.reduced_formula == p.structure.composition.reduced_formula]
        assert not any(matcher.fit(p.structure, s) for s in known)
        assert not any(matcher.fit(p.structure, q.structure) for q in proposals[:i])
        assert p.parent in pool.ids
        assert p.moves


def test_proposals_lie_nearer_to_their_own_target_than_to_the_others(model, pool, proposals):
    scale = mf.embed(model, pool).std(axis=0)
    made = mf.embed(model, [p.structure for p in proposals])
    targets = np.unique([p.target for p in proposals], axis=0)
    nearer = []
    for z, p in zip(made, proposals, strict=True):
        others = targets[np.abs(targets - p.target).max(axis=1) > 0]
        own = np.linalg.norm((z - p.target) / scale)
        nearer.append(own < np.median(np.linalg.norm((z - others) / scale, axis=1)))
    assert len(targets) > 3
    assert np.mean(nearer) >= 0.9


def test_one_seed_gives_the_same_crystals(model, pool, proposals):
    again = mf.propose(model, pool, n=N, seed=0)
    other = mf.propose(model, pool, n=N, seed=1)
    assert [p.structure for p in again] == [p.structure for p in proposals]
    assert [p.structure for p in other] != [p.structure for p in proposals]


@pytest.mark.parametrize("choice", ["random", "farthest", "dissimilar"])
def test_controls_differ_in_the_targets_only(model, pool, proposals, choice):
    control = mf.propose(model, pool, n=N, seed=0, choice=choice)
    assert len(control) == N
    assert not np.array_equal(control[0].target, proposals[0].target)


def test_too_many_crystals_are_a_warning_with_the_count(model, pool):
    with pytest.warns(MatglFillWarning, match=r"only \d+ of 60 crystals"):
        got = mf.propose(model, pool.subset(range(25)), n=60)
    assert 0 < len(got) <= 25 * MAX_PER_PARENT


def test_no_crystal_at_all_is_a_generation_error(model, pool):
    with pytest.raises(GenerationError, match="at least 1"):
        mf.propose(model, pool, n=0)


def test_a_choice_or_seed_that_is_none_is_refused(model, pool):
    with pytest.raises(InputError, match="no choice 'rough'; there are roughness, random"):
        mf.propose(model, pool, n=2, choice="rough")
    for call in (mf.propose, mf.fill_tune):
        with pytest.raises(InputError, match="seed is -1"):
            call(model, pool, n=2, seed=-1)
        with pytest.raises(InputError, match=r"seed is 0.5; give a whole number"):
            call(model, pool, n=2, seed=0.5)
        with pytest.raises(InputError, match=r"n is 2.0; give a whole number"):
            call(model, pool, n=2.0)


def test_numbers_of_numpy_are_numbers(model, pool, tmp_path):
    quick = {"steps": 2, "copies": 1, "replay_size": 1, "max_proxy_loss": 100.0, "enlarge_pool": 0}
    one = mf.fill_tune(model, pool, n=np.int64(2), seed=np.int32(3), config=quick, out=tmp_path)
    two = mf.fill_tune(model, pool, n=2, seed=3, config=quick)
    np.testing.assert_array_equal(mf.embed(one.model, pool), mf.embed(two.model, pool))
    assert np.isfinite(one.report.history["replay"]).all()


def test_roughness_of_another_embedding_is_refused(model, pool):
    rough = mf.analyze_roughness(mf.embed(model, pool, descriptors=True), structures=pool)
    with pytest.raises(InputError, match="roughness is of an embedding of width"):
        mf.propose(model, pool, rough, n=2)
