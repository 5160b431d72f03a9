"""One electronegativity for the whole package."""

from __future__ import annotations

import pytest
from pymatgen.core import Lattice, Structure

import matgl_fill as mf
from matgl_fill.structures import electronegativity, elements_of
from matgl_fill.structures.descriptors import names


@pytest.mark.parametrize(
    ("symbol", "value"),
    [("F", 3.98), ("Cs", 0.79), ("Kr", 3.0), ("Xe", 2.6), ("He", 0), ("Ne", 0), ("Ar", 0), ("Og", 0)],
)
def test_values_are_paulings_and_zero_where_he_gives_none(symbol, value, recwarn):
    electronegativity.cache_clear()
    assert electronegativity(symbol) == value
    assert not recwarn


def test_descriptors_know_that_xenon_is_no_metal():
    fluoride = Structure(Lattice.cubic(5), ["Xe", "F"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    row = dict(zip(names(), mf.describe(fluoride)[0], strict=True))
    assert (row["X min"], row["X max"]) == (2.6, 3.98)


def test_elements_that_occur_are_sorted():
    crystals = [
        Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]),
        Structure(Lattice.cubic(4), ["Ar"], [[0] * 3]),
    ]
    assert elements_of(crystals) == ("Ar", "Cl", "Na")
