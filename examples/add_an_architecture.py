"""
Add an architecture
===================

An adapter is all that fill-tuning has to know of a network. This example brings a network that MatGL does not have,
a small one that passes messages between pairs of atoms, writes its adapter, holds the adapter to the contract that
all of ours keep, and fill-tunes it.

In a package of your own, network and adapter are modules, the contract is a test, and an entry point of the group
``matgl_fill.adapters`` makes ``import matgl_fill`` find the adapter by itself.
"""

import sys

import numpy as np
import pytest
import torch
from matgl.config import DEFAULT_ELEMENTS
from matgl.ext.pymatgen import Structure2Graph
from matgl.models._core import MatGLModel
from torch import nn

import matgl_fill as mf
from matgl_fill.adapters import Adapter, evaluation_mode
from matgl_fill.adapters.filled import Filled
from matgl_fill.adapters.graphs import mean_over_atoms
from matgl_fill.evaluation import read_tasks
from matgl_fill.structures import bundled
from matgl_fill.testing import AdapterContract, low_symmetry_crystals

# %%
# A network
# ---------
#
# Like MatGL's own it takes a graph ``g`` with positions ``pos``, edges ``edge_index`` and their cell offsets
# ``pbc_offshift``, gives one number a crystal, and leaves its features in ``feature_dict``. ``save_args`` lets it be
# saved and read again.


class Block(nn.Module):
    """Messages between pairs, weighted by distance and summed at each atom."""

    def __init__(self, width: int, radial: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(radial, width)
        self.update = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x, pairs, radial):
        """Atom features (N, width) after one round; pairs (2, E), radial basis (E, k)."""
        messages = x[pairs[1]] * self.weigh(radial)
        return x + self.update(torch.zeros_like(x).index_add(0, pairs[0], messages))


class PairNet(MatGLModel):
    """Embedding of elements, some blocks, mean over atoms, two layers."""

    def __init__(self, width: int = 32, blocks: int = 2, element_types=DEFAULT_ELEMENTS, cutoff: float = 5.0, **kwargs):
        super().__init__()
        self.save_args(locals(), kwargs)
        self.element_types, self.cutoff = tuple(element_types), cutoff
        self.register_buffer("centres", torch.linspace(0.5, cutoff, 16))
        self.embedding = nn.Embedding(len(self.element_types), width)
        self.blocks = nn.ModuleList(Block(width, 16) for _ in range(blocks))
        self.output = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, g, state_attr=None, **kwargs):
        """One value (B,) a crystal; features in ``feature_dict``."""
        pairs, batch = g.edge_index.long(), getattr(g, "batch", None)
        batch = torch.zeros(len(g.pos), dtype=torch.long) if batch is None else batch
        d = (g.pos[pairs[1]] + g.pbc_offshift - g.pos[pairs[0]]).norm(dim=1)
        smooth = 0.5 * (torch.cos(torch.pi * d / self.cutoff) + 1)
        radial = torch.exp(-4 * (d[:, None] - self.centres) ** 2) * smooth[:, None]
        x = self.embedding(g.node_type)
        layers = [x := block(x, pairs, radial) for block in self.blocks]
        counts = torch.bincount(batch)
        readout = x.new_zeros(len(counts), x.shape[1]).index_add(0, batch, x) / counts[:, None]
        self.feature_dict = {"layers": layers, "readout": readout}
        return self.output(readout).flatten()

    def predict_structure(self, structure):
        """The value of one crystal."""
        graph, lattice, _ = Structure2Graph(self.element_types, self.cutoff).get_graph(structure)
        graph.pbc_offshift, graph.pos = graph.pbc_offset @ lattice[0], graph.frac_coords @ lattice[0]
        return self(graph).detach()


# %%
# Its adapter
# -----------
#
# ``read`` says which tensors are the embedding: of a crystal, invariant and of a width that does not grow with the
# cell; and of each atom. ``read_layers`` gives invariant atom features after every block. ``finish`` is optional: the
# layers between embedding and prediction. The second class is the network to which a fill-tuned copy of itself can be
# attached.


class FilledPairNet(Filled, PairNet):
    """PairNet and its fill-tuned copy."""


@mf.register_adapter
class PairNetAdapter(Adapter):
    """Embedding of PairNet: the mean over atoms that enters its output layers."""

    core_class = PairNet
    filled_class = FilledPairNet

    def __init__(self, model, state=None):
        super().__init__(model, state)
        self.core_dim = self.core_dim_atom = self.core.embedding.embedding_dim

    def read(self, features, batch):
        """Mean over atoms, and the atoms."""
        atoms = features["layers"][-1]
        return mean_over_atoms(atoms, batch), atoms

    def finish(self, embedding, atoms, batch):
        """The output layers."""
        return self.core.output(embedding).flatten()

    def read_layers(self, features):
        """Atoms after every block."""
        return features["layers"]


# %%
# The contract
# ------------
#
# Inherit it and give it a model and some crystals: invariance under rotation, translation, permutation, choice of the
# lattice and of the cell, in single and double precision; batches; gradients against finite differences; predictions
# equal to the model's own; nothing left behind. Here pytest runs it on this very file.


class TestPairNet(AdapterContract):
    """The contract for PairNet."""

    @pytest.fixture
    def adapted(self):
        """The adapter of a fresh network."""
        torch.manual_seed(0)
        return mf.get_adapter(PairNet())

    @pytest.fixture
    def crystals(self):
        """Crystals without symmetry."""
        return low_symmetry_crystals()


if __name__ == "__main__":
    verdict = pytest.main(
        [sys.argv[0], "-q", "--no-header", "-p", "no:cacheprovider", "-o", "addopts=", "-W", "ignore"]
    )
    print("the contract:", verdict.name)

# %%
# A little pretraining
# --------------------
#
# Enough to have something to fill-tune: formation energies of the package's 300 labelled crystals, 40 passes. The
# adapter makes the batches.

if __name__ == "__main__":
    torch.manual_seed(0)
    labelled = mf.read_structures(bundled.EVALUATION)
    y = torch.tensor(labelled.labels["formation_energy_chgnet_eV_per_atom"], dtype=torch.float32)
    adapter = mf.get_adapter(PairNet())
    graphs = adapter.graphs(labelled.structures)
    optimiser = torch.optim.Adam(adapter.core.parameters(), lr=3e-3)
    for _ in range(30):
        for rows, batch in adapter.batches(graphs, 32):
            loss = (adapter.forward(batch).prediction - y[rows]).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with evaluation_mode(adapter.model):
        error = np.abs(adapter.embed_graphs(graphs)[1] - y.numpy()).mean()
    print(f"error on the crystals it was trained on {error:.2f} eV/atom, deviation {float(y.std()):.2f}")

# %%
# Fill-tuning
# -----------
#
# All else follows: embedding, roughness, generation of crystals by gradient, training, guard, saving. The probes are
# asked for three other properties of the crystals that the network saw above.

if __name__ == "__main__":
    tasks = read_tasks(bundled.EVALUATION, bundled.TASKS)
    result = mf.fill_tune(adapter.model, n=5, seed=0, config={"steps": 100}, tasks=tasks)
    verdict = result.report.verdict.headline
    print(f"{type(result.model).__name__}, guard: {verdict}")
    for change in result.comparison.changes:
        print(f"{change.task}: error of probes {change.change_percent:+.1f} % better")
