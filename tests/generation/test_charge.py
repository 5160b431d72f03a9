from __future__ import annotations

import numpy as np
import pytest
from helpers import salt, shared
from pymatgen.core import Composition, Lattice, Structure

import matgl_fill as mf
from matgl_fill.generation.charge import NEGATIVE, catenated_anions, charge_balanced


@pytest.mark.parametrize(
    ("formula", "verdict"),
    [
        ("NaCl", True),
        ("SrTiO3", True),
        ("Fe3O4", True),
        ("LaOF", True),
        ("BiTeI", True),
        ("NH4Br", True),
        ("Sr3SnO", True),
        ("CaCO3", True),
        ("Na2Cl", False),
        ("CaCl", False),
        ("K3F", False),
        ("AlNi", None),
        ("Si", None),
        ("PtAs2", None),
        ("XeF2", None),
    ],
)
def test_charge_balance(formula, verdict):
    assert charge_balanced(formula) is verdict


def test_bonds_between_anions_save_electrons():
    peroxide = Structure.from_spacegroup(
        "I4/mmm", Lattice.tetragonal(3.8, 6.8), ["Ba", "O"], [[0, 0, 0], [0, 0, 0.392]]
    )
    assert catenated_anions(peroxide) == {"O"}
    assert catenated_anions(salt(5.5, ("Ba", "O"))) == frozenset()
    assert charge_balanced("NaS2") is False
    assert charge_balanced("NaS2", frozenset({"S"})) is True
    assert charge_balanced("Na3S", frozenset({"S"})) is False


def test_charge_filter_refuses_few_real_and_many_made_up_compounds():
    pool = mf.read_structures(shared("data/mp_pool.jsonl.gz")).structures
    real = [charge_balanced(s.composition.reduced_formula, catenated_anions(s)) for s in pool]
    judged = [v for v in real if v is not None]
    assert np.mean([v is False for v in judged]) < 0.04
    assert len(judged) > 0.55 * len(pool)
    rng = np.random.default_rng(0)
    cations = sorted({e.symbol for s in pool for e in s.elements} - NEGATIVE)
    made_up = []
    for s in pool:
        names = rng.permutation(cations).tolist()
        amounts = s.composition.reduced_composition.get_el_amt_dict()
        other = {el if el in NEGATIVE else names.pop(): n for el, n in amounts.items()}
        made_up.append(charge_balanced(Composition(other).reduced_formula))
    wrong = np.mean([v is False for v in made_up if v is not None])
    assert wrong > 4 * np.mean([v is False for v in judged])
