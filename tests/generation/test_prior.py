from __future__ import annotations

import numpy as np
import pytest

from matgl_fill.generation.prior import CompositionPrior, MixLikely


def test_the_prior_knows_what_a_pool_crystal_is_made_of(prepared):
    Z, pool = prepared.Z, prepared
    X = (Z - Z.mean(axis=0)) / Z.std(axis=0)
    elements = pool.elements
    rest = np.arange(20, len(pool))
    prior = CompositionPrior(prepared.subset(rest), X[rest], elements)
    hits, volumes = [], []
    for i in range(20):
        prediction, s = prior.predict(X[i]), pool.structures[i]
        assert prediction.fractions.sum() == pytest.approx(1)
        likely = {elements[k] for k in np.argsort(-prediction.fractions)[: len(s.elements) + 6]}
        hits.append(len(likely & {e.symbol for e in s.elements}) / len(s.elements))
        volumes.append(abs(np.log(prediction.volume * len(s) / s.volume)))
    assert np.mean(hits) > 0.5
    assert np.median(volumes) < 0.25


def test_mixing_changes_some_sites_and_keeps_the_cell_in_bounds(prepared):
    elements = prepared.elements
    prediction = CompositionPrior(prepared, prepared.Z, elements).predict(prepared.Z[0])
    rng = np.random.default_rng(0)
    made = 0
    for s in prepared.structures[:40]:
        done = MixLikely(prediction, 16)(s, rng)
        if done is not None:
            made += 1
            assert len(done[0]) in (len(s), 2 * len(s))
            assert len(done[0]) <= 16
            assert {e.symbol for e in s.elements} <= {e.symbol for e in done[0].elements}
    assert made > 10
