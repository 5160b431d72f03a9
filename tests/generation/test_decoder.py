from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

import matgl_fill as mf
from matgl_fill.embedding.pool import prepare_pool
from matgl_fill.errors import InputError
from matgl_fill.generation.candidate import PER_FORMULA, Candidate, survivors
from matgl_fill.generation.decoder import BUDGETS, Decoder
from matgl_fill.generation.filters import MIN_DISTANCE, closest_ratio
from matgl_fill.generation.moves import Rattle, Strain
from matgl_fill.generation.prior import CompositionPrior, MixLikely
from matgl_fill.generation.refine import refine
from matgl_fill.structures import bundled
from matgl_fill.utils.scaling import Scaling

WITHHELD = 4
ROUNDS = 2


class Interrupted(Decoder):
    """Stops in the middle of a search, like a user who presses Ctrl-C."""

    rounds_left = 3

    def _embedded(self, drafts, T):
        if self.rounds_left == 0:
            raise KeyboardInterrupt
        self.rounds_left -= 1
        return super()._embedded(drafts, T)


@pytest.fixture(scope="module")
def known(adapter, pool):
    return prepare_pool(adapter, pool)


@pytest.fixture(scope="module")
def small(pool):
    return [i for i, s in enumerate(pool.structures) if 2 <= len(s) <= 6][:WITHHELD]


def some(known, rows):
    """A pool of some of the crystals."""
    structures, ids, graphs = ([part[i] for i in rows] for part in (known.structures, known.ids, known.graphs))
    return replace(
        known, structures=structures, ids=ids, graphs=graphs, Z=known.Z[rows], y=known.y[rows], D=known.D[rows]
    )


def without(small, known, model, kind=Decoder, seed=0, rounds=None, checkpoint=None):
    """Decoder of a pool from which some crystals are withheld."""
    gone = {known.structures[i].composition.reduced_formula for i in small}
    keep = [i for i, s in enumerate(known.structures) if s.composition.reduced_formula not in gone]
    return kind(mf.get_adapter(model), some(known, keep), seed, rounds, checkpoint)


def nearest_known(decoder, targets):
    """Scaled distance of each target to the nearest known crystal."""
    scaled = decoder.scaling(targets)
    return np.linalg.norm(scaled[:, None] - decoder.X[None], axis=2).min(axis=1)


@pytest.fixture(scope="module")
def make(model, known, small):
    """Makes decoders of a pool from which some crystals are withheld; and their embedding as targets."""
    return partial(without, small, known, model, rounds=ROUNDS), known.Z[small]


@pytest.fixture(scope="module")
def found(make):
    decoder, targets = make
    return decoder().decode(targets, len(targets))


def summary(found):
    return [[(c.structure.as_dict(), c.parent, c.moves, c.distance) for c in group] for group in found]


def test_decoding_withheld_crystals_comes_nearer_than_any_known_one(make, found):
    decoder, targets = make
    ratio = np.array([group[0].distance for group in found]) / nearest_known(decoder(), targets)
    assert np.median(ratio) < 0.7
    assert ratio.max() < 1


def test_candidates_are_sorted_new_and_at_the_distance_they_claim(make, model, found):
    decoder, targets = make
    d = decoder()
    for group, target in zip(found, targets, strict=True):
        best = group[:5]
        x = (mf.embed(model, [c.structure for c in best]) - target) / d.scaling.extent
        np.testing.assert_allclose([c.distance for c in best], np.linalg.norm(x, axis=1), rtol=1e-3, atol=1e-4)
        assert all(c.moves for c in group)
        assert [c.distance for c in group] == sorted(c.distance for c in group)
        assert all(d.filters.refuse(c.structure) is None for c in group)


def test_one_seed_gives_one_result_on_one_and_on_two_threads(make, found):
    decoder, targets = make
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        again = decoder().decode(targets, len(targets))
    finally:
        torch.set_num_threads(threads)
    assert summary(again) == summary(found)
    other = decoder(seed=1).decode(targets, len(targets))
    assert summary(other) != summary(found)


def test_an_interrupted_search_goes_on_to_the_same_crystals(make, found, tmp_path):
    decoder, targets = make
    path = tmp_path / "search.pt"
    with pytest.raises(KeyboardInterrupt):
        decoder(Interrupted, checkpoint=path).decode(targets, len(targets))
    resumed = decoder(checkpoint=path)
    assert summary(resumed.decode(targets, len(targets))) == summary(found)
    with pytest.raises(InputError, match="another model, data, settings or seed"):
        decoder(seed=1, checkpoint=path).decode(targets, len(targets))
    path.write_bytes(b"no search")
    with pytest.raises(InputError, match="not the state of a search"):
        decoder(checkpoint=path).decode(targets, len(targets))


def test_where_gradients_are_dear_chance_alone_comes_nearer_too(pool, small):
    model = mf.load_model(bundled.POTENTIAL)
    known = prepare_pool(mf.get_adapter(model), pool)
    Z = known.Z
    decoder = without(small, known, model)
    assert decoder.budget == BUDGETS[False]
    found = decoder.decode(Z[small], len(small))
    distance = np.array([group[0].distance for group in found])
    assert (distance < 0.95 * nearest_known(decoder, Z[small])).all()


@pytest.fixture(scope="module")
def scale(known):
    return Scaling(known.Z.mean(axis=0), known.Z.std(axis=0) + 1e-9)


def distances(model, structures, targets, scale):
    return np.linalg.norm((mf.embed(model, structures) - targets) / scale.extent, axis=1)


def test_refinement_finds_the_geometry_back(model, pool, known, scale):
    rng = np.random.default_rng(0)
    rows = [i for i, s in enumerate(pool.structures) if 2 <= len(s) <= 6][:12]
    moved = [Rattle(0.08, 0.08)(Strain(0.02)(pool.structures[i], rng)[0], rng)[0] for i in rows]
    targets = known.Z[rows]
    before = distances(model, moved, targets, scale)
    trails = refine(mf.get_adapter(model), moved, targets, scale)
    after = distances(model, [t[-1] for t in trails], targets, scale)
    assert np.median(after / before) < 0.1
    assert all(closest_ratio(s) > MIN_DISTANCE for t in trails for s in t)


def test_refinement_keeps_the_space_group(model, pool, known, scale):
    chosen = [i for i, s in enumerate(pool.structures) if SpacegroupAnalyzer(s, 0.01).get_space_group_number() > 194][
        :3
    ]
    swollen = [pool.structures[i].copy() for i in chosen]
    for s in swollen:
        s.scale_lattice(1.1 * s.volume)
    trails = refine(mf.get_adapter(model), swollen, known.Z[chosen], scale)
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


def test_the_prior_knows_what_a_pool_crystal_is_made_of(known):
    Z, pool = known.Z, known
    X = (Z - Z.mean(axis=0)) / Z.std(axis=0)
    elements = sorted({e.symbol for s in pool.structures for e in s.elements})
    rest = np.arange(20, len(pool.structures))
    prior = CompositionPrior(some(known, rest), X[rest], elements)
    hits, volumes = [], []
    for i in range(20):
        prediction, s = prior.predict(X[i]), pool.structures[i]
        assert prediction.fractions.sum() == pytest.approx(1)
        likely = {elements[k] for k in np.argsort(-prediction.fractions)[: len(s.elements) + 6]}
        hits.append(len(likely & {e.symbol for e in s.elements}) / len(s.elements))
        volumes.append(abs(np.log(prediction.volume * len(s) / s.volume)))
    assert np.mean(hits) > 0.5
    assert np.median(volumes) < 0.25


def test_mixing_changes_some_sites_and_keeps_the_cell_in_bounds(known):
    elements = sorted({e.symbol for s in known.structures for e in s.elements})
    prediction = CompositionPrior(known, known.Z, elements).predict(known.Z[0])
    rng = np.random.default_rng(0)
    made = 0
    for s in known.structures[:40]:
        done = MixLikely(prediction, 16)(s, rng)
        if done is not None:
            made += 1
            assert len(done[0]) in (len(s), 2 * len(s))
            assert len(done[0]) <= 16
            assert {e.symbol for e in s.elements} <= {e.symbol for e in done[0].elements}
    assert made > 10


def test_survivors_are_the_nearest_and_few_of_a_formula(crystals):
    candidates = [Candidate(s, 0, "x", float(d), np.zeros(2)) for s in crystals for d in range(PER_FORMULA + 2)]
    out = survivors(candidates, 1000)
    formulas = [c.structure.composition.reduced_formula for c in out]
    assert max(formulas.count(f) for f in formulas) == PER_FORMULA
    assert [c.distance for c in out] == sorted(c.distance for c in out)
    assert len(survivors(candidates, 2)) == 2
