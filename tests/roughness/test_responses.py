from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

import matgl_fill as mf
from matgl_fill.adapters import get_adapter
from matgl_fill.errors import InputError
from matgl_fill.roughness.responses import sensitivity


def test_named_responses_are_what_the_model_says(model, pool):
    few = pool.subset(range(60))
    Z = mf.embed(model, few)
    adapter = get_adapter(model)
    by_name = mf.analyze_roughness(Z, "prediction", few, model=model)
    np.testing.assert_allclose(by_name.response, adapter.embed_graphs(adapter.graphs(few.structures))[1], rtol=1e-5)
    first, second = (mf.analyze_roughness(Z, "perturbation_sensitivity", few, model=model, seed=1) for _ in range(2))
    assert (first.response == second.response).all()
    assert np.isfinite(first.response).all()
    assert np.ptp(first.response) > 0.5
    volume = mf.analyze_roughness(Z, lambda crystals: np.array([s.volume for s in crystals]), few)
    assert volume.frustration == mf.analyze_roughness(Z, np.array([s.volume for s in few.structures])).frustration


def test_sensitivity_does_not_depend_on_the_cell_and_serves_a_single_atom(model, pool):
    adapter = get_adapter(model)
    others = pool.structures[:20]
    copper = Structure(Lattice.cubic(3.61), ["Cu"] * 4, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    one, four = (
        np.mean([sensitivity(adapter, [s, *others], seed)[0] for seed in range(2)])
        for s in (copper.get_primitive_structure(), copper)
    )
    assert one == pytest.approx(four, abs=0.5)


@pytest.mark.parametrize(
    ("response", "given", "message"),
    [
        ("similarity", {}, "no response 'similarity'"),
        ("prediction", {}, "needs the structures"),
        ("prediction", {"structures": True}, "needs model="),
        (lambda crystals: np.zeros(3), {"structures": True}, r"shape \(3,\) for 30"),
    ],
)
def test_unusable_responses_are_input_errors(pool, response, given, message):
    few = pool.subset(range(30))
    with pytest.raises(InputError, match=message):
        mf.analyze_roughness(np.eye(30), response, few if given else None)
