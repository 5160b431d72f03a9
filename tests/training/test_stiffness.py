"""Responses of crystals to strain and displacement."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from helpers import fresh_tensornet
from pymatgen.core import Structure
from scipy.spatial.transform import Rotation

import matgl_fill as mf
from matgl_fill.training.labels.stiffness import DRAWS, SCALES, responses


class _Springs(Calculator):
    """Every atom on an isotropic spring around a fixed site, and a cell of given stiffness."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, sites, cell, spring: float, stiffness: float) -> None:
        super().__init__()
        self.sites, self.cell0, self.spring, self.stiffness = sites, cell, spring, stiffness

    def calculate(self, atoms=None, properties=None, system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        strain = np.linalg.solve(self.cell0, atoms.cell.array) - np.eye(3)
        d = atoms.positions - self.sites @ (np.eye(3) + strain)
        energy = 0.5 * self.spring * (d**2).sum()
        self.results = {"energy": energy, "forces": -self.spring * d, "stress": self.stiffness * strain}


def test_response_of_springs_is_exact(crystals):
    s = crystals[0]
    oracle = _Springs(s.cart_coords, s.lattice.matrix, spring=5.0, stiffness=0.7)
    Y = responses([s], oracle, seed=1).values
    bulk, shear, constant, squared, pressure, residual = np.sinh(Y[0]) * SCALES
    d = np.random.default_rng(1).standard_normal((DRAWS, len(s), 3))
    mass = np.array([site.specie.atomic_mass for site in s])[:, None]
    assert bulk == pytest.approx(0.7, rel=1e-6)
    assert shear == pytest.approx(0.7, rel=1e-6)
    assert constant == pytest.approx(5.0 * (d**2).mean(), rel=1e-6)
    assert squared == pytest.approx(5.0 * (d**2 / mass).mean(), rel=1e-3)  # masses of ASE and pymatgen
    assert abs(pressure) < 1e-9
    assert residual < 1e-9


def test_response_does_not_depend_on_orientation(crystals):
    adapter = mf.get_adapter(fresh_tensornet())
    R = Rotation.from_euler("xyz", [0.4, -0.8, 1.3]).as_matrix()
    turned = [Structure(s.lattice.matrix @ R.T, s.species, s.frac_coords) for s in crystals]
    exact = [0, 1, 4, 5]  # the traces of the Hessian are estimated from random draws
    a, b = (np.sinh(responses(x, adapter).values[:, exact]) for x in (crystals, turned))
    np.testing.assert_allclose(a, b, atol=2e-3)
