"""From a request to objectives."""

from __future__ import annotations

import numpy as np

from matgl_fill.training.build import COVERED, alignment_sample


def test_the_alignment_covers_every_element_that_is_learnt(pool):
    """A missing element would get no reference energy: labels would be wrong by electronvolts."""
    crystals = pool.structures[:40]
    wanted = {e.symbol for s in crystals for e in s.elements}
    held = {e: sum(e in {x.symbol for x in s.elements} for s in pool.structures) for e in wanted}
    rows = alignment_sample(pool.structures, crystals, 10, np.random.default_rng(0))
    found = {e: sum(e in {x.symbol for x in pool.structures[i].elements} for i in rows) for e in wanted}
    assert len(set(rows)) == len(rows)
    assert all(found[e] >= min(COVERED, held[e]) for e in wanted)
    assert rows == alignment_sample(pool.structures, crystals, 10, np.random.default_rng(0))
    small = alignment_sample(pool.structures, [], 10, np.random.default_rng(0))
    assert len(small) == 10
