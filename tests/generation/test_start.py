"""A search that starts from a folder of shards: the same targets, crystals around them, new against all."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import matgl_fill as mf
from matgl_fill.config.config import SearchConfig
from matgl_fill.errors import InputError
from matgl_fill.generation import start
from matgl_fill.generation.filters import Filters
from matgl_fill.generation.start import rows_around, search_start

N = 120


@pytest.fixture(scope="module")
def known(pool):
    return pool.subset(range(N))


@pytest.fixture(scope="module")
def shards(known, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    rows = [{"id": i, "structure": s.as_dict()} for i, s in zip(known.ids, known.structures, strict=True)]
    (folder / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return mf.embed_shards(model, folder / "in.jsonl", folder / "Z")


@pytest.mark.parametrize("choice", ["roughness", "farthest", "dissimilar"])
def test_targets_are_those_of_all_crystals(adapter, known, shards, choice, monkeypatch):
    """However few of them the search knows."""
    monkeypatch.setattr(start, "NEAREST", 2)
    monkeypatch.setattr(start, "DRAWN", 25)
    asked = SearchConfig(choice=choice)
    whole, part = (search_start(adapter, source, asked, 6, 0) for source in (known, shards.path))
    assert len(whole.pool) == N
    assert 25 <= len(part.pool) <= 37
    expected, found = (one.targets(6, asked, 0) for one in (whole, part))
    np.testing.assert_allclose(found.points, expected.points, rtol=1e-3, atol=1e-3)
    distance = np.linalg.norm(part.pool.Z[:, None] - found.points, axis=2).min(axis=0)
    nearest = np.linalg.norm(whole.Z[:, None] - found.points, axis=2).min(axis=0)
    assert np.median(distance / np.maximum(nearest, 1e-6)) < 1.2


def test_what_is_known_besides_the_part_is_not_proposed(adapter, known, shards, monkeypatch):
    monkeypatch.setattr(start, "NEAREST", 2)
    monkeypatch.setattr(start, "DRAWN", 25)
    part = search_start(adapter, shards, SearchConfig(), 6, 0)
    filters = Filters(adapter, part.pool.structures, others=part.pool.others)
    alone = Filters(adapter, part.pool.structures)
    others = [i for i, name in enumerate(known.ids) if name not in part.pool.ids]
    formulas = {s.composition.reduced_formula for s in part.pool.structures}
    unseen = [i for i in others if known.formulas[i] not in formulas][:10]
    assert len(unseen) == 10
    for i in unseen:
        assert filters.duplicate(known.structures[i])
        assert not alone.duplicate(known.structures[i])


def test_proposals_from_shards_are_those_from_the_crystals_where_the_part_is_all(model, known, shards):
    """Shards hold the same crystals; embeddings differ by the batches in the seventh digit."""
    one, other = (mf.propose(model, source, n=3, choice="farthest", seed=1) for source in (known, shards.path))
    assert [p.target_row for p in one] == [p.target_row for p in other]
    np.testing.assert_allclose([p.target for p in one], [p.target for p in other], rtol=1e-3, atol=1e-4)
    assert {p.parent for p in other} <= set(known.ids)


def test_a_folder_that_a_search_cannot_use_is_refused(model, shards, tmp_path):
    with pytest.raises(InputError, match="was embedded by another model"):
        mf.propose(mf.load_model("potential"), shards, n=2)
    source = shards.path.parent / "in.jsonl"
    pooled = mf.embed_shards(model, source, tmp_path / "mean", pooling="mean")
    with pytest.raises(InputError, match="pooling or layers that no search can use"):
        mf.propose(model, pooled, n=2)
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(source.read_text().split("\n")[:5]))
    with pytest.raises(InputError, match="5 usable crystals"):
        mf.propose(model, mf.embed_shards(model, few, tmp_path / "few"), n=2)


POINTS = hnp.arrays(
    np.float32, st.tuples(st.integers(30, 60), st.integers(1, 5)), elements=st.floats(-3, 3, width=32), unique=True
)


@given(POINTS, st.integers(1, 5), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_rows_around_targets_hold_the_nearest_of_each(Z, targets, seed):
    """At whatever size of the blocks in which they are sought."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "NEAREST", 4)
        patch.setattr(start, "DRAWN", 3)
        patch.setattr(start, "TOGETHER", 2)
        patch.setattr(start, "BLOCK", 20)
        T = Z[:targets] + 0.01
        rows = rows_around(Z, T, seed)
    scale = Z.astype(float).std(axis=0)
    for t in T:
        distance = np.linalg.norm((Z - t) / np.maximum(scale, 1e-9), axis=1)
        assert distance[rows].min() <= distance.min() * (1 + 1e-3) + 1e-3
        assert (np.sort(distance[rows])[:4] <= np.sort(distance)[:4] * (1 + 1e-3) + 1e-3).all()
    assert len(rows) <= 4 * targets + 3
    assert (np.diff(rows) > 0).all()
