from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

import matgl_fill as mf
from matgl_fill.embedding import prepare_pool
from matgl_fill.errors import InputError
from matgl_fill.generation.decoder import BUDGETS, Decoder
from matgl_fill.structures import bundled

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
def small(pool):
    return [i for i, s in enumerate(pool.structures) if 2 <= len(s) <= 6][:WITHHELD]


def without(small, prepared, model, kind=Decoder, seed=0, rounds=None, checkpoint=None):
    """Decoder of a pool from which some crystals are withheld."""
    gone = {prepared.structures[i].composition.reduced_formula for i in small}
    keep = [i for i, s in enumerate(prepared.structures) if s.composition.reduced_formula not in gone]
    return kind(mf.get_adapter(model), prepared.subset(keep), seed, rounds, checkpoint)


def nearest_known(decoder, targets):
    """Scaled distance of each target to the nearest known crystal."""
    scaled = decoder.scaling(targets)
    return np.linalg.norm(scaled[:, None] - decoder.X[None], axis=2).min(axis=1)


@pytest.fixture(scope="module")
def make(model, prepared, small):
    """Makes decoders of a pool from which some crystals are withheld; and their embedding as targets."""
    return partial(without, small, prepared, model, rounds=ROUNDS), prepared.Z[small]


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
    with pytest.raises(InputError, match=r"the search cannot be resumed: .* is not a saved state"):
        decoder(checkpoint=path).decode(targets, len(targets))


def test_where_gradients_are_dear_chance_alone_comes_nearer_too(pool, small):
    model = mf.load_model(bundled.POTENTIAL)
    prepared = prepare_pool(mf.get_adapter(model), pool)
    Z = prepared.Z
    decoder = without(small, prepared, model)
    assert decoder.budget == BUDGETS[False]
    found = decoder.decode(Z[small], len(small))
    distance = np.array([group[0].distance for group in found])
    assert (distance < 0.95 * nearest_known(decoder, Z[small])).all()
