from __future__ import annotations

import numpy as np

from matgl_fill.generation.candidate import PER_FORMULA, Candidate, survivors


def test_survivors_are_the_nearest_and_few_of_a_formula(crystals):
    candidates = [Candidate(s, 0, "x", float(d), np.zeros(2)) for s in crystals for d in range(PER_FORMULA + 2)]
    out = survivors(candidates, 1000)
    formulas = [c.structure.composition.reduced_formula for c in out]
    assert max(formulas.count(f) for f in formulas) == PER_FORMULA
    assert [c.distance for c in out] == sorted(c.distance for c in out)
    assert len(survivors(candidates, 2)) == 2
