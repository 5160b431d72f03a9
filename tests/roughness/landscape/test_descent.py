from __future__ import annotations

import numpy as np
from helpers import Bowl
from hypothesis import given, settings
from hypothesis import strategies as st

from matgl_fill.roughness.landscape.descent import minimise


@settings(max_examples=25, deadline=None)
@given(d=st.integers(1, 40), seed=st.integers(0, 2**20))
def test_minimisation_reaches_the_constrained_minimum(d, seed):
    """Of parabolas whose centres may lie outside the box: the nearest end of it; downward ones end at a bound.

    Rounding of values up to 4500 hides displacements of 1e-6.
    """
    rng = np.random.default_rng(seed)
    curvature = np.where(rng.uniform(size=d) < 0.2, -1, 1) * 10 ** rng.uniform(0, 2, size=d)
    bowl = Bowl(curvature, rng.uniform(-0.5, 1.5, size=d))
    start = rng.uniform(size=(6, d))
    exact = np.where(curvature > 0, np.clip(bowl.at, 0, 1), np.where(start > bowl.at, 1.0, 0.0))
    np.testing.assert_allclose(minimise(bowl, start, 0.3, 1e-8), exact, atol=3e-6)
