"""Label-free proxy properties."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from matgl_fill.guard.proxies import NAMES, proxies


def test_proxies_do_not_depend_on_the_choice_of_cell(crystals):
    cells = [s * (2, 1, 1) for s in crystals]
    np.testing.assert_allclose(proxies(crystals), proxies(cells), rtol=1e-9)


def test_elemental_proxies_are_means_over_atoms():
    salt = Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    found = dict(zip(NAMES, proxies([salt])[0], strict=True))
    assert found["melting point"] == pytest.approx((370.87 + 171.6) / 2)  # K, of sodium and chlorine
    assert found["max oxidation state"] == pytest.approx((1 + 7) / 2)


def test_an_element_without_data_does_not_spoil_proxies():
    francium = Structure(Lattice.cubic(4.0), ["Fr", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert np.isfinite(proxies([francium])).all()
