from __future__ import annotations

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

import matgl_fill as mf
from matgl_fill.generation.alchemy import KEPT, start, transmute
from matgl_fill.utils.scaling import Scaling

ELEMENTS = ("Na", "K", "Rb", "Mg", "Ca", "Cl", "Br", "I", "O", "S")


def rocksalt(cation: str, anion: str, a: float) -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture(scope="module")
def latent(model, pool):
    Z = mf.embed(model, pool)
    return Scaling.of(Z)


@pytest.fixture(scope="module")
def goals(model, latent):
    wanted = [rocksalt("Mg", "S", 5.2), rocksalt("Ca", "O", 4.8)]
    return wanted, latent(mf.embed(model, wanted))


def test_elements_are_found_by_gradient(model, latent, goals):
    wanted, T = goals
    adapter = mf.get_adapter(model)
    likely = dict.fromkeys(ELEMENTS, 0.1)
    base = rocksalt("Na", "Cl", 5.64)
    found = transmute(adapter, [start(adapter, base, 0, t, likely) for t in range(len(T))], T, latent)
    distance = np.linalg.norm(latent(mf.embed(model, base)[0]) - T, axis=1)
    for m, crystal in zip(found, wanted, strict=True):
        made, record = m.crystals(adapter.element_types, 0, np.random.default_rng(0))[0]
        assert m.distance < 0.5 * distance[m.target]
        assert made.composition.reduced_formula == crystal.composition.reduced_formula
        assert made.volume == pytest.approx(crystal.volume, rel=0.25)
        assert record.count("->") == 2


def test_only_the_nearest_go_on_and_draws_follow_the_shares(model, latent, goals):
    _, T = goals
    adapter = mf.get_adapter(model)
    likely = dict.fromkeys(ELEMENTS, 0.1)
    many = [
        start(adapter, rocksalt("Na", "Cl", a), i, 0, likely) for i, a in enumerate(np.linspace(5.2, 6.2, KEPT + 2))
    ]
    found = transmute(adapter, many, T[:1], latent)
    assert len(found) == KEPT
    assert [m.distance for m in found] == sorted(m.distance for m in found)
    for made, _ in found[0].crystals(adapter.element_types, 20, np.random.default_rng(0)):
        assert {e.symbol for e in made.elements} <= set(ELEMENTS)


def test_elements_the_prior_does_not_know_get_no_share(model):
    adapter = mf.get_adapter(model)
    mixture = start(adapter, rocksalt("Na", "Cl", 5.64), 0, 0, {"Na": 0.5, "Cl": 0.5})
    shares = torch.softmax(mixture.logits, dim=1)
    assert shares.shape == (2, len(adapter.element_types))
    assert np.count_nonzero(shares.numpy()) == 4
    assert shares[0].argmax() == adapter.element_types.index("Na")
    assert shares[1].argmax() == adapter.element_types.index("Cl")
