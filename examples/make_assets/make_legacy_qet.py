"""Make the QETs of ``tests/saved_by_matgl_2``: tiny, of random weights, saved by an old MatGL with what it predicts.

Needs an environment of its own, in which this package is not installed::

    python -m venv old && old/bin/pip install torch==2.8.0 matgl==2.0.6 dgl==1.1.3
    export MATGL_BACKEND=DGL DGLBACKEND=pytorch OMP_NUM_THREADS=1
    old/bin/python examples/make_assets/make_legacy_qet.py --out tests/saved_by_matgl_2

Each model's folder holds MatGL's three files and ``expected.npz``: of each of ``crystals.extxyz``, by its number, the
energy (eV), forces (eV/Angstrom), stress (GPa) and charges (e) at a total charge of 0, and the energy at one of 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from make_legacy_models import structures
from matgl.apps.pes import Potential
from matgl.ext.ase import PESCalculator
from matgl.models._qet_dgl import QET

ELEMENTS = ("O", "Na", "Al", "Si", "Cl", "Ti", "Sr")
SMALL: dict[str, Any] = {"element_types": ELEMENTS, "units": 8, "cutoff": 4.0}
MODELS: dict[str, dict[str, Any]] = {
    "qet": SMALL | {"rbf_type": "SphericalBessel", "use_smooth": True, "max_n": 5, "is_hardness_envs": True},
    "qet_so3": SMALL | {"num_rbf": 8, "equivariance_invariance_group": "SO(3)", "is_sigma_train": True, "nblocks": 1},
}
"""As the published model is set up, and with all else that changes what is computed."""


def potential(settings: dict[str, Any], seed: int) -> Potential:
    """A potential of random weights, large enough that each part of the network shows in the energy."""
    model = QET(**settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            scale = 0.3 if weight.dim() < 2 else 1.0 / weight.shape[1] ** 0.5
            weight.copy_((weight.dim() < 2) + scale * torch.randn(weight.shape, generator=generator))
    references = torch.linspace(-4.0, -1.0, len(ELEMENTS))
    return Potential(model, data_std=1.7, element_refs=references, calc_charge=True).eval()


def main() -> None:
    """Write the folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    for seed, (name, settings) in enumerate(MODELS.items()):
        pot = potential(settings, seed)
        pot.save(out / name)
        ase.io.write(out / "crystals.extxyz", structures(organic=False))
        found: dict[str, np.ndarray] = {}
        for i, atoms in enumerate(ase.io.read(out / "crystals.extxyz", ":")):
            for charge, keys in ((0.0, ("energy", "forces", "stress", "charges")), (1.0, ("energy",))):
                atoms.calc = PESCalculator(pot, total_charge=torch.tensor(charge))
                atoms.get_potential_energy()
                found |= {f"{i}/{key} at {charge:.0f} e": np.array(atoms.calc.results[key]) for key in keys}
        np.savez(out / name / "expected.npz", **found)


if __name__ == "__main__":
    main()
