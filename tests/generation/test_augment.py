from __future__ import annotations

import numpy as np

from matgl_fill.generation.augment import augmentations
from matgl_fill.generation.filters import MIN_DISTANCE, closest_ratio


def test_augmentations_keep_their_distance_and_change_elements(crystals):
    elements = ("Na", "K", "Cl", "Br", "Sr", "Ba", "Ti", "Zr", "O", "S", "Si", "Ge")
    plain = augmentations(crystals, 5, np.random.default_rng(0), 0.25, 0.04)
    other = augmentations(crystals, 5, np.random.default_rng(0), 0.25, 0.04, 1.0, elements)
    assert min(closest_ratio(s) for s in plain + other) >= MIN_DISTANCE
    formulas = {s.formula for s in crystals}
    assert {s.formula for s in plain} <= formulas
    assert np.mean([s.formula not in formulas for s in other]) > 0.6
