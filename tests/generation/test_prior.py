from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from matgl_fill.generation.prior import CompositionPrior, MixLikely


def some(prepared, rows):
    """A pool of some of the crystals."""
    structures, ids, graphs = ([part[i] for i in rows] for part in (prepared.structures, prepared.ids, prepared.graphs))
    return replace(
        prepared,
        structures=structures,
        ids=ids,
        graphs=graphs,
        Z=prepared.Z[rows],
        y=prepared.y[rows],
        D=prepared.D[rows],
    )


def test_the_prior_knows_what_a_pool_crystal_is_made_of(prepared):
    Z, pool = prepared.Z, prepared
    X = (Z - Z.mean(axis=0)) / Z.std(axis=0)
    elements = sorted({e.symbol for s in pool.structures for e in s.elements})
    rest = np.arange(20, len(pool.structures))
    prior = CompositionPrior(some(prepared, rest), X[rest], elements)
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
    elements = sorted({e.symbol for s in prepared.structures for e in s.elements})
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
