from __future__ import annotations

import numpy as np
import pytest

from matgl_fill.errors import InputError
from matgl_fill.roughness.similarity import perturbation_sensitivity


def test_sensitivity_is_the_logarithm_of_the_slope():
    """A map with slope 1 on one half and 4 on the other, against the plain coordinate: log 4 apart."""
    x = np.linspace(-1, 1, 41)

    def bent(items):
        return np.array([[i if i < 0 else 4 * i] for i in items])

    def nudge(item, rng):
        return item + 0.01 * rng.choice([-1, 1])

    s = perturbation_sensitivity(bent, lambda items: np.array(items)[:, None], nudge, list(x))
    assert s[-5:].mean() - s[:5].mean() == pytest.approx(np.log(4), rel=1e-9)
    with pytest.raises(InputError, match="does not change item 0"):
        perturbation_sensitivity(bent, bent, lambda item, rng: item, list(x))
