from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk
from matgl.ext.ase import PESCalculator
from pymatgen.io.ase import AseAtomsAdaptor

import matgl_fill as mf
from matgl_fill.adapters import KernelCorrection

STEP = 1e-3
"""Displacement of finite differences, Angstrom."""


@pytest.fixture(scope="module")
def alloy():
    """Sixteen atoms of distorted Cu14Au2."""
    atoms = bulk("Cu", "fcc", a=3.7, cubic=True) * (1, 2, 2)
    atoms.symbols[[0, 3]] = "Au"
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.fixture(scope="module")
def corrected(alloy):
    """A potential without and with a correction, whose weights are solved for a smooth energy of all embeddings."""
    adapter = mf.get_adapter(mf.load_model("potential"))
    rattled = []
    for seed in range(8):
        other = alloy.copy()
        other.rattle(0.15, seed=seed)
        rattled.append(AseAtomsAdaptor.get_structure(other))
    with torch.no_grad():
        atoms = adapter.forward(adapter.collate(adapter.graphs(rattled))).atoms.double()
    origin, spread = atoms.mean(dim=0), atoms.std(dim=0)
    centres, width = (atoms - origin) / spread, 20.0
    kernel = torch.exp(-(torch.cdist(centres, centres) ** 2) / (2 * width**2))
    wanted = 0.3 * torch.tanh(centres.mean(dim=1))
    weights = torch.linalg.solve(kernel + 1e-7 * torch.eye(len(kernel), dtype=kernel.dtype), wanted)
    assert weights.abs().max() > 100 * wanted.abs().max()  # they cancel, as the solved weights of fillings do
    correction = KernelCorrection(*atoms.shape)
    parts = {"origin": origin, "spread": spread, "centres": centres, "weights": weights, "width": torch.tensor(width)}
    correction.load_state_dict({name: value.float() for name, value in parts.items()})
    return adapter.model, adapter.filled(correction=correction).model


def along_one_atom(potential, atoms):
    """Energies (eV) of a path of an atom in steps of STEP, less a smooth curve, and slope and force in its middle."""
    calc, x = PESCalculator(potential, stress_unit="eV/A3"), STEP * np.arange(-20, 21)
    energies, forces = [], []
    for d in x:
        moved = atoms.copy()
        moved.positions[0, 0] += d
        calc.calculate(moved)
        energies.append(calc.results["energy"])
        forces.append(calc.results["forces"][0, 0])
    curve = np.polynomial.Polynomial.fit(x, energies, 4)
    return energies - curve(x), float(curve.deriv()(0.0)), float(forces[20])


def test_a_correction_adds_no_noise_to_energies(alloy, corrected):
    """Energies of a path in steps of 1e-3 A are as smooth with the correction as without, and forces are its slope."""
    plain, filled = (along_one_atom(potential, alloy) for potential in corrected)
    assert abs(filled[2] - plain[2]) > 0.01  # the correction acts here
    assert np.std(filled[0]) < 2 * np.std(plain[0])
    assert filled[2] == pytest.approx(-filled[1], abs=2e-3)


def test_the_correction_is_its_formula(corrected):
    """Energies are sums of Gaussians, as written out with differences in float64."""
    correction = corrected[1].model.correction
    x = torch.randn(5, correction.size[1], generator=torch.Generator().manual_seed(1))
    x = correction.origin + correction.spread * x
    s = ((x - correction.origin) / correction.spread).double()
    distance = (s[:, None] - correction.centres.double()).square().sum(dim=2)
    expected = torch.exp(-distance / (2 * correction.width.double() ** 2)) @ correction.weights.double()
    np.testing.assert_allclose(correction(x), expected, rtol=1e-5)
