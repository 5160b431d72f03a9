"""What every move does to a pool, in short."""

from __future__ import annotations

import pytest
from matplotlib.image import imread

from examples.benchmarks.generation.moves import count_draws, draw_gallery, draw_table
from matgl_fill import get_adapter


@pytest.fixture(scope="module")
def counts(model, pool):
    return {c.move: c for c in count_draws(get_adapter(model), pool.structures, 24)}


def test_draws_keep_symmetry_as_claimed_and_count_every_call(counts):
    assert all(c.same_group == 1 for c in counts.values() if c.claims_symmetry)
    assert all(c.same_group < 0.9 for c in counts.values() if not c.claims_symmetry and c.not_applicable < 12)
    assert all(0 <= c.accepted <= c.drawn - c.not_applicable for c in counts.values())
    shown = draw_table(list(counts.values()), "draws")
    assert shown.row_count == len(counts)


def test_moves_of_composition_make_new_crystals_and_small_displacements_do_not(counts):
    for name in ("substitution", "supercell", "vacancy, 12 atoms", "decoration"):
        assert counts[name].accepted > 12
    assert counts["volume"].accepted == 0
    assert counts["rattle"].duplicates > 18


def test_gallery_shows_every_move(tmp_path, counts):
    files = draw_gallery(tmp_path)
    assert len(files) == len(counts)
    for file in files:
        assert imread(file)[..., :3].std() > 0.05
