"""Make models of ``tests/saved_by_matgl_2`` and ``_3``: tiny, of random weights, saved with what an old MatGL predicts.

Needs environments of their own, in which this package is not installed, and runs once in each::

    python -m venv old && old/bin/pip install torch==2.8.0 matgl==2.0.6 dgl==1.1.3
    export MATGL_BACKEND=DGL DGLBACKEND=pytorch OMP_NUM_THREADS=1
    old/bin/python examples/make_assets/make_legacy_models.py --out tests/saved_by_matgl_2
    MATGL_BACKEND=PYG old/bin/python examples/make_assets/make_legacy_models.py --out tests/saved_by_matgl_2

and likewise with matgl==3.0.5 and MATGL_BACKEND=PYG for ``tests/saved_by_matgl_3``. Each model's folder holds MatGL's
three files and ``expected.npz``: the energies (eV) or predictions of the structures, in order, and the forces
(eV/Angstrom) of all their atoms.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import matgl
import matgl.models
import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from matgl.apps.pes import Potential
from matgl.data.transformer import Normalizer
from matgl.ext.ase import PESCalculator
from pymatgen.io.ase import AseAtomsAdaptor
from torch import nn

ELEMENTS = ("H", "C", "N", "O", "Na", "Al", "Si", "Cl", "Ti", "Sr")
ORGANIC = ("H", "C", "N", "O")
DGL = os.environ.get("MATGL_BACKEND", "DGL") == "DGL"


def m3gnet(**settings: Any) -> Any:
    """M3GNet in small, with a three-body cutoff below the other."""
    defaults = {"units": 8, "dim_node_embedding": 8, "dim_edge_embedding": 8, "nblocks": 2, "max_l": 2, "max_n": 2}
    return matgl.models.M3GNet(**{"element_types": ELEMENTS} | defaults | settings)


def tensornet(**settings: Any) -> Any:
    """TensorNet in small."""
    return matgl.models.TensorNet(
        **{"element_types": ELEMENTS, "units": 8, "num_rbf": 6, "nblocks": 2, "is_intensive": False} | settings
    )


def so3net(**settings: Any) -> Any:
    """SO3Net in small."""
    return matgl.models.SO3Net(
        **{"element_types": ELEMENTS, "dim_node_embedding": 8, "units": 8, "nblocks": 2, "lmax": 2} | settings
    )


def potential(core: Any) -> nn.Module:
    """The core as a potential with elemental references."""
    return Potential(core, data_std=1.7, element_refs=torch.linspace(-4.0, -1.0, len(core.element_types)))


def scaled(core: Any) -> nn.Module:
    """The core behind a normalised target."""
    return matgl.models.TransformedTargetModel(core, target_transformer=Normalizer(-1.3, 0.7))


ON_DGL: dict[str, Callable[[], nn.Module]] = {
    "m3gnet": lambda: potential(m3gnet(is_intensive=False)),
    "m3gnet_smooth": lambda: potential(m3gnet(is_intensive=False, use_smooth=True, threebody_cutoff=3.5, nblocks=1)),
    "m3gnet_molecules": lambda: potential(m3gnet(is_intensive=False, element_types=ORGANIC, nblocks=1)),
    "m3gnet_set2set": lambda: scaled(m3gnet(readout_type="set2set", niters_set2set=2, nlayers_set2set=1, nblocks=1)),
    "m3gnet_weighted": lambda: m3gnet(readout_type="weighted_atom", nblocks=1),
    "m3gnet_reduced": lambda: m3gnet(readout_type="reduce_atom", nblocks=1),
    "chgnet": lambda: potential(
        matgl.models.CHGNet(
            element_types=ELEMENTS, dim_atom_embedding=8, dim_bond_embedding=8, dim_angle_embedding=8, num_blocks=2,
            max_n=5, max_f=2, atom_conv_hidden_dims=(8,), bond_conv_hidden_dims=(8,), final_hidden_dims=(8, 8),
        )
    ),
    "megnet": lambda: scaled(
        matgl.models.MEGNet(
            element_types=ELEMENTS, dim_edge_embedding=20, hidden_layer_sizes_input=(16, 8), nblocks=2,
            hidden_layer_sizes_conv=(16, 16, 8), hidden_layer_sizes_output=(8, 8), dim_node_embedding=8,
            bond_expansion=None, activation_type="softplus2", niters_set2set=2,
        )
    ),
    "tensornet_dgl": lambda: potential(tensornet()),
    "tensornet_dgl_molecules": lambda: potential(tensornet(element_types=ORGANIC)),
    "so3net": lambda: potential(so3net(target_property="atomwise", is_intensive=False)),
    "so3net_set2set": lambda: so3net(target_property="graph", is_intensive=True, readout_type="set2set"),
}  # fmt: skip
ON_PYG = {
    "tensornet_pyg": lambda: potential(tensornet()),
    "tensornet_pyg_so3": lambda: potential(tensornet(equivariance_invariance_group="SO(3)")),
}
ON_PYG_3 = {"tensornet_pyg": ON_PYG["tensornet_pyg"]} | {
    name: ON_DGL[name] for name in ("m3gnet", "m3gnet_reduced", "megnet")
}


def structures(organic: bool) -> list[Atoms]:
    """Distorted molecules in vacuum or crystals, without symmetry."""
    if organic:
        made = [molecule(name) for name in ("CH3CH2OH", "C6H6", "HCN", "H2O2", "CH3CONH2")]
    else:
        perovskite = Atoms("SrTiO3", [[0, 0, 0], [1.95] * 3, [1.95, 1.95, 0], [1.95, 0, 1.95], [0, 1.95, 1.95]])
        perovskite.set_cell([3.9] * 3)
        perovskite.pbc = True
        made = [bulk("NaCl", "rocksalt", a=5.69, cubic=True), perovskite, bulk("Si"), bulk("Al") * (1, 1, 2)]
    rng = np.random.default_rng(0)
    for atoms in made:
        if not organic:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
    return made


def with_weights(model: nn.Module, seed: int) -> nn.Module:
    """The model with random weights of a seed, large enough that each part of the network shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            scale = 0.2 if weight.dim() < 2 else 1.6 / weight.shape[1] ** 0.5
            weight.copy_(scale * torch.randn(weight.shape, generator=generator))
    return model.eval()


def chgnet_as_trained(model: Any, atoms: Atoms) -> tuple[float, np.ndarray]:
    """Energy and forces of CHGNet with the bond graph given, as while it was trained.

    A bond graph that it made itself passed no gradient on, so that the calculator's forces lacked those of angles.
    """
    from matgl.ext._ase_dgl import Atoms2Graph
    from matgl.graph._compute_dgl import compute_pair_vector_and_distance, create_line_graph

    graph, lattice, state = Atoms2Graph(model.model.element_types, model.model.cutoff).get_graph(atoms)
    placed = graph.clone()
    placed.edata["pbc_offshift"] = placed.edata["pbc_offset"] @ lattice[0]
    placed.ndata["pos"] = placed.ndata["frac_coords"] @ lattice[0]
    placed.edata["bond_vec"], placed.edata["bond_dist"] = compute_pair_vector_and_distance(placed)
    bonds = create_line_graph(placed, model.model.three_body_cutoff, directed=True)
    energy, forces, *_ = model(graph, lattice, torch.tensor(state), bonds)
    return float(energy), forces.detach().numpy()


def main() -> None:
    """Write the folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    makers = ON_DGL if DGL else (ON_PYG if matgl.__version__ < "3" else ON_PYG_3)
    for seed, (name, make) in enumerate(makers.items()):
        model = with_weights(make(), seed)
        model.save(out / name)
        organic = tuple(getattr(model, "model", model).element_types) == ORGANIC
        file = out / ("molecules.extxyz" if organic else "crystals.extxyz")
        ase.io.write(file, structures(organic))
        found: dict[str, list[Any]] = {"values": [], "forces": []}
        for atoms in ase.io.read(file, ":"):
            if name == "chgnet":
                energy, forces = chgnet_as_trained(model, atoms)
                found["values"].append(energy)
                found["forces"].append(forces)
            elif isinstance(model, Potential):
                atoms.calc = PESCalculator(model)
                found["values"].append(float(atoms.get_potential_energy()))
                found["forces"].append(atoms.get_forces())
            else:
                found["values"].append(float(model.predict_structure(AseAtomsAdaptor.get_structure(atoms))))
        arrays = {"values": np.array(found["values"])}
        if found["forces"]:
            arrays["forces"] = np.concatenate(found["forces"])
        np.savez_compressed(out / name / "expected.npz", **arrays)
        print(name, arrays["values"], np.abs(arrays.get("forces", np.zeros(1))).max())


if __name__ == "__main__":
    main()
