from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from matgl_fill.generation.candidate import Candidate
from matgl_fill.generation.charge import balance
from matgl_fill.generation.filters import Filters
from matgl_fill.generation.select import MAX_PER_FORMULA, MAX_PER_PARENT, select
from matgl_fill.generation.targets import Targets
from matgl_fill.structures import StructureSet

KNOWN = 60


@dataclass
class Found:
    """A decoder that found certain candidates."""

    filters: Filters
    pool: StructureSet
    X: np.ndarray
    queues: list
    refused: Counter

    def decode(self, targets, n):
        return self.queues


def found(adapter, pool, rows, groups, alloys_known):
    """Candidates of several targets, in a pool of which a share has no oxidation states."""
    rng = np.random.default_rng(0)
    alloys, salts = [], []
    for i in range(KNOWN):
        (alloys if balance(pool.structures[i]) is None else salts).append(i)
    known = [pool.structures[i] for i in (alloys[:alloys_known] + salts)[:20]]
    x = rng.normal(size=(len(pool), 8))
    every = [Candidate(pool.structures[i], i // 3, "moved", float(k), x[i]) for k, i in enumerate(rows)]
    queues = [every[g::groups] for g in range(groups)]
    named = StructureSet(known, [f"p{i}" for i in range(len(pool))], {}, [])
    return Found(Filters(adapter, known), named, x[:20], queues, Counter())


@given(data=st.data(), groups=st.integers(1, 6), alloys_known=st.integers(0, 20), n=st.integers(1, 25))
@settings(max_examples=40, deadline=None)
def test_a_set_never_holds_a_larger_share_without_oxidation_states_than_the_pool(
    adapter, pool, data, groups, alloys_known, n
):
    rows = data.draw(st.lists(st.integers(KNOWN, len(pool) - 1), min_size=1, max_size=50, unique=True))
    decoder = found(adapter, pool, rows, groups, alloys_known)
    share = np.mean([balance(s) is None for s in decoder.pool.structures])
    selection = select(decoder, Targets(np.zeros((groups, 8)), np.ones(groups)), n)
    alloys = [balance(p.structure) is None for p in selection.proposals]
    assert all(sum(alloys[:k]) <= share * k for k in range(1, len(alloys) + 1))
    assert max(Counter(p.parent for p in selection.proposals).values(), default=0) <= MAX_PER_PARENT
    formulas = Counter(p.structure.composition.reduced_formula for p in selection.proposals)
    assert max(formulas.values(), default=0) <= MAX_PER_FORMULA
    if len(selection.proposals) < n:  # then nothing was lost on the way
        assert len(selection.proposals) + selection.passed_over.total() == len(rows)
        put_off = [c for queue in decoder.queues for c in queue]
        assert all(balance(c.structure) is None for c in put_off)
        assert selection.passed_over["alloys"] == len(put_off)


def test_alloys_that_had_to_wait_come_as_soon_as_there_is_room(adapter, pool):
    rows = list(range(KNOWN, KNOWN + 60))
    rows.sort(key=lambda i: balance(pool.structures[i]) is not None)  # all alloys first
    decoder = found(adapter, pool, rows, 1, 8)
    share = np.mean([balance(s) is None for s in decoder.pool.structures])
    alloys = [
        balance(p.structure) is None for p in select(decoder, Targets(np.zeros((1, 8)), np.ones(1)), 12).proposals
    ]
    expected: list[bool] = []
    while len(expected) < 12:
        expected.append(sum(expected) + 1 <= share * (len(expected) + 1))
    assert alloys == expected
    assert 0 < sum(alloys) < 12
