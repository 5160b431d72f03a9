"""Interface of every adapter: from graphs to invariant embeddings, predictions and forces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from matgl.ext.pymatgen import Structure2Graph
from pymatgen.core import Lattice, Structure
from torch import Tensor, nn

from matgl_fill.adapters.backends import backend
from matgl_fill.adapters.batching import (
    FEW_EDGES,
    PEAK,
    edges_within_budget,
    in_threads,
    packed,
    probe_crystal,
    tensor_budget,
)
from matgl_fill.adapters.correction import KernelCorrection
from matgl_fill.adapters.filled import Filled, attached, bound, with_tuned_core
from matgl_fill.adapters.graphs import Batch, Graph, Output
from matgl_fill.adapters.modes import evaluation_mode
from matgl_fill.adapters.wrappers import copied, core_of, is_potential, on_device, scale_prediction
from matgl_fill.utils.machine import memory_bytes
from matgl_fill.utils.modes import usual_autograd


class Adapter(ABC):
    """Adapter of one MatGL model, which builds its graphs and reads its embedding.

    A subclass names the core class that it serves, and says which tensors are the embedding.
    Only adapters know MatGL layers; everything downstream sees :class:`Batch` and :class:`Output`.

    Args:
        model: Property model, ``TransformedTargetModel``, ``Potential`` or bare core model.
        state: State attribute for models that need one (multi-fidelity index), by default 0.
    """

    core_class: ClassVar[type[nn.Module]]
    filled_class: ClassVar[type[Filled]]
    """``core_class`` with :class:`matgl_fill.adapters.filled.Filled` mixed in."""
    training_rate: ClassVar[float] = 8e-3
    """Peak learning rate unless the config says otherwise; TensorNet learns much less at twice this rate."""
    label_rate: ClassVar[float] = 3e-4
    """Peak learning rate of a potential's weights on labels, unless the config says otherwise."""
    training_replay: ClassVar[int] = 16
    """Number of pool crystals per step unless the config says otherwise."""
    search_by_gradient: ClassVar[bool] = False
    """Whether gradients are cheap enough to seek a crystal's elements by them."""
    core_dim: int
    """Width of the structure embedding of one core."""
    core_dim_atom: int
    """Width of the atom embedding of one core."""

    def __init__(self, model: nn.Module, state: int | None = None) -> None:
        self.model = model
        self.core: Any = core_of(model)
        self.is_branch = False
        """Whether the model is a tuned branch, to be attached to an original, and is read as such."""
        branch = self.core.tuned_branch if self.is_filled else None
        self.cores: list[Any] = [self.core] if branch is None else [self.core, branch]
        self.is_potential = is_potential(model)
        self.element_types: tuple[str, ...] = tuple(self.core.element_types)
        self.cutoff = float(self.core.cutoff)
        self.fidelity = state
        """State attribute that was given; None for the default."""
        self._converter = Structure2Graph(element_types=self.element_types, cutoff=self.cutoff)

    @abstractmethod
    def read_layers(self, features: dict[str, Any]) -> list[Tensor]:
        """Invariant atom features (N, k) after every block, first to last, from a core's ``feature_dict``."""

    @property
    def name(self) -> str:
        """Name of the architecture, for example ``MEGNet``."""
        return type(self.core).__name__

    @property
    def dim(self) -> int:
        """Width of the structure embedding."""
        return self.branch_dim if self.is_branch else self.core_dim + self.branch_dim * (len(self.cores) - 1)

    @property
    def branch_dim(self) -> int:
        """Width of the structure embedding of a tuned branch."""
        return self.core_dim

    @property
    def dim_atom(self) -> int:
        """Width of the atom embedding."""
        return self.core_dim_atom * len(self.cores)

    @abstractmethod
    def read(self, features: dict[str, Any], batch: Batch) -> tuple[Tensor, Tensor]:
        """Structure embedding (B, core_dim) and atom embedding (N, core_dim_atom) from a core's ``feature_dict``."""

    def read_branch(self, features: dict[str, Any], batch: Batch) -> tuple[Tensor, Tensor]:
        """Structure embedding (B, branch_dim) and atom embedding (N, core_dim_atom) of a tuned branch.

        What a branch learns need not pass through the readout of the original's prediction, by which :meth:`read`
        reads.
        """
        return self.read(features, batch)

    @property
    def reads_branch_apart(self) -> bool:
        """Whether :meth:`read_branch` is not :meth:`read`, so that a new branch's embedding is not the original's."""
        return type(self).read_branch is not Adapter.read_branch

    def read_core(self, i: int, features: dict[str, Any], batch: Batch) -> tuple[Tensor, Tensor]:
        """Read one of ``cores`` by :meth:`read` or :meth:`read_branch`, within the bounds that it may have."""
        embedding, atoms = (self.read_branch if self.is_branch or i else self.read)(features, batch)
        bounds = getattr(self.cores[i], "bounds", None)
        return (embedding if bounds is None else torch.clamp(embedding, bounds[0], bounds[1])), atoms

    @property
    def device(self) -> torch.device:
        """Device of the model, to which batches are sent."""
        return next(self.core.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the model's weights, in which batches are made."""
        return next(p.dtype for p in self.core.parameters() if p.is_floating_point())

    @cached_property
    def edges_per_batch(self) -> int:
        """Number of edges at which :meth:`batches` closes a batch, see :mod:`matgl_fill.adapters.batching`."""
        graph = self.graph(probe_crystal(self.element_types[0], self.cutoff))
        batch = self.collate([graph])
        with evaluation_mode(self.model):
            return edges_within_budget(lambda: self.forward(batch), graph.n_edges, self.device)

    def finish(self, embedding: Tensor, atoms: Tensor, batch: Batch) -> Tensor | None:  # noqa: ARG002
        """Output of the core, before any scaling, made from its embedding by the layers that remain.

        Args:
            embedding: Structure embedding (B, core_dim).
            atoms: Atom embedding (N, core_dim_atom).
            batch: The crystals that were embedded.

        Returns:
            Output (B,); None where the layers that remain need more than the embedding.
        """
        return None

    def clone(self) -> Adapter:
        """Copy the adapter and its model; the copy is independent."""
        return self._on(copied(self.model))

    def on(self, device: str | torch.device | None) -> Adapter:
        """The adapter on a device: on a copy of its model there, or itself where it is there already or none is named.

        Raises:
            InputError: There is no such device.
        """
        there = on_device(self.model, device)
        return self if there is self.model else self._on(there)

    def _on(self, model: nn.Module) -> Adapter:
        """The same adapter on another model of the same architecture."""
        other = type(self)(model, self.fidelity)
        other.is_branch = self.is_branch
        return other

    def replica(self) -> Adapter:
        """Copy the adapter for another thread, on copies of the modules that share their weights."""
        twin = self._on(copied(self.model, (*self.model.parameters(), *self.model.buffers())))
        if "edges_per_batch" in vars(self):
            vars(twin)["edges_per_batch"] = self.edges_per_batch
        return twin

    @property
    def is_filled(self) -> bool:
        """Whether a tuned branch, a correction or a tuned core is attached to the model."""
        return isinstance(self.core, Filled)

    @property
    def tuned_elements(self) -> tuple[str, ...]:
        """Elements among whose atoms alone a tuned core takes the original's place; none without such a core."""
        return tuple(self.core._init_args.get("class_elements") or ()) if self.is_filled else ()

    def filled(self, branch: Adapter | None = None, correction: KernelCorrection | None = None) -> Adapter:
        """Adapter on a copy of the model with a branch, and a correction of its energies in eV, attached."""
        if correction is not None:
            model: Any = self.model
            correction = correction.scaled(1 / float(model.data_std)).to(self.device)
        core = None if branch is None else branch.core
        return type(self)(attached(self.model, self.filled_class, core, correction), self.fidelity)

    def with_tuned_core(self, tuned: Adapter, elements: Sequence[str]) -> Adapter:
        """Adapter on a copy of the model whose energies are ``tuned``'s among atoms of some elements alone.

        Args:
            tuned: Adapter of a trained copy of this potential; its core becomes part of the new model.
            elements: Elements of the class that it was trained on.
        """
        return type(self)(with_tuned_core(self.model, self.filled_class, tuned.core, elements), self.fidelity)

    def bound(self, Z: np.ndarray) -> None:
        """Bound the branch's embedding to its range on reference crystals, widened on both ends by that range.

        For crystals unlike any of its training set a network can give any value, and one is enough to spoil a probe.

        Args:
            Z: Embedding (n, branch_dim) of the reference crystals by the branch.
        """
        low, high = torch.from_numpy(Z.min(axis=0)), torch.from_numpy(Z.max(axis=0))
        bound(self.core, torch.stack([low - (high - low), high + (high - low)]).to(self.device))

    def tuned_branch(self) -> Adapter:
        """Adapter of the tuned branch alone; on an original, of a new branch: a copy that is to be fill-tuned."""
        other = type(self)(self.core.tuned_branch, self.fidelity) if len(self.cores) > 1 else self.clone()
        other.is_branch = True
        return other

    def unsupported_reason(self, structure: Structure) -> str | None:
        """Reason why the model cannot take ``structure``, or None."""
        if reason := self.unknown_elements(s.symbol for s in structure.elements):
            return reason
        return self.oversize_reason(self.expected_edges(len(structure), structure.volume))

    def expected_edges(self, n_atoms: int, volume: float) -> float:
        """Number of edges of a crystal of uniform density, from its number of atoms and its volume (A^3)."""
        return float(n_atoms**2 * 4 / 3 * np.pi * self.cutoff**3 / volume)

    def oversize_reason(self, n_edges: float, gradients: bool = False) -> str | None:
        """Reason why a crystal alone needs more than half of the memory of this machine or accelerator, or None.

        Args:
            n_edges: Number of its edges, which may be an estimate made before its graph is.
            gradients: Whether forces are wanted, for which the pass is remembered.
        """
        if n_edges < FEW_EDGES:
            return None
        needed = n_edges * tensor_budget(self.device) / self.edges_per_batch * PEAK[gradients]
        allowed = memory_bytes(self.device) / 2
        if needed <= allowed:
            return None
        return (
            f"too large: {n_edges:.1e} edges need {needed / 1e9:.0f} GB of memory; {allowed / 1e9:.0f} GB are allowed"
        )

    def unknown_elements(self, symbols: Iterable[str]) -> str | None:
        """Name the elements that the model does not support, in words; None if it supports all."""
        unknown = sorted(set(symbols) - set(self.element_types))
        told = f"element {unknown[0]} is" if len(unknown) == 1 else f"elements {', '.join(unknown)} are"
        return f"{told} unknown to the model" if unknown else None

    def graphs(self, structures: Sequence[Structure]) -> list[Graph]:
        """Build one :class:`Graph` per structure, in order."""
        return [self.graph(s) for s in structures]

    @usual_autograd()
    def graph(self, structure: Structure) -> Graph:
        """Build the graph of one structure by MatGL's own converter."""
        matrix = structure.lattice.matrix
        if not matrix.flags.c_contiguous:  # as pymatgen's apply_strain leaves it; its neighbour search refuses that
            lattice = Lattice(np.ascontiguousarray(matrix))
            structure = Structure(lattice, structure.species, structure.frac_coords)
        data, lattice, state = self._converter.get_graph(structure)
        return Graph(data, lattice.reshape(3, 3), self.state_attribute(state))

    def state_attribute(self, default: Any) -> Tensor:
        """State attribute of one crystal; the converter's default unless the model takes an index."""
        return torch.as_tensor(np.asarray(default), dtype=torch.float32)

    def collate(self, graphs: Sequence[Graph]) -> Batch:
        """Join graphs into a :class:`Batch`."""
        data = backend.join([g.data for g in graphs])
        return self.joined(data, torch.stack([g.lattice for g in graphs]), torch.stack([g.state for g in graphs]))

    def joined(self, data: Any, lattice: Tensor, state: Tensor) -> Batch:
        """Make a :class:`Batch` of a backend graph that is joined already, lattices (B, 3, 3) and states (B, ...)."""
        data, lattice, state = data.to(self.device), lattice.to(self.device, self.dtype), state.to(self.device)
        if state.is_floating_point():
            state = state.to(self.dtype)
        node_batch = backend.node_batch(data)
        n_atoms = torch.bincount(node_batch, minlength=len(lattice))
        return Batch(data=data, lattice=lattice, state=state, node_batch=node_batch, n_atoms=n_atoms)

    def groups(self, graphs: Sequence[Graph], max_crystals: int | None = None) -> list[list[int]]:
        """Group the indices of graphs into batches by size, or of ``max_crystals`` each.

        A batch has at most ``edges_per_batch`` edges, and no more atoms than that; a crystal that has more goes alone.
        """
        sizes = [max(g.n_edges, g.n_atoms) for g in graphs]
        order = sorted(range(len(sizes)), key=sizes.__getitem__)
        if max_crystals is not None:
            return packed(order, sizes.__getitem__, np.inf, max_crystals)
        return packed(order, sizes.__getitem__, self.edges_per_batch if len(order) > 1 else np.inf, np.inf)

    def batches(self, graphs: Sequence[Graph], max_crystals: int | None = None) -> Iterator[tuple[list[int], Batch]]:
        """Iterate over the batches of :meth:`groups`, each with the indices of its graphs."""
        for group in self.groups(graphs, max_crystals):
            yield group, self.collate([graphs[i] for i in group])

    def forward(self, batch: Batch, layers: bool = False) -> Output:
        """Run one differentiable pass; gradients reach parameters, ``displacement`` and ``strain``.

        Args:
            batch: The crystals.
            layers: Also read the atom features after every block.
        """
        graph = batch.placed()
        raw, embeddings, atoms, blocks = [], [], [], []
        for i, core in enumerate(self.cores):
            out, features = backend.call(core, graph, batch.state)
            if getattr(core, "gate", None) is not None:  # the embedding stays the original's
                features = backend.call(core.original(), batch.placed(), batch.state)[1]
            embedding, each = self.read_core(i, features, batch)
            raw.append(out)
            embeddings.append(embedding)
            atoms.append(each)
            blocks += self.read_layers(features) if layers else []
        prediction = scale_prediction(self.model, raw[0], graph)
        return Output(torch.cat(embeddings, dim=1), torch.cat(atoms, dim=1), prediction, tuple(blocks))

    @property
    def element_tables(self) -> list[nn.Embedding]:
        """Modules that turn elements into vectors, those of the tuned branch among them."""
        return [
            module
            for name, module in self.core.named_modules()
            if isinstance(module, nn.Embedding)
            and module.num_embeddings == len(self.element_types)
            and "state" not in name
        ]

    @contextmanager
    def mixed_elements(self, shares: Callable[[], Tensor]) -> Iterator[None]:
        """Make every atom a mixture of elements inside the block: its vector is the weighted mean of theirs.

        Args:
            shares: Function that gives, at every forward pass, the share (N, elements) of each of ``element_types`` in
                each atom of the batch; gradients reach the shares.
        """

        def mixed(table: nn.Embedding, _ids: Any, _out: Tensor) -> Tensor:
            return shares() @ table.weight

        hooks = [table.register_forward_hook(mixed) for table in self.element_tables]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def predict_batch(self, batch: Batch) -> Tensor:
        """Prediction (B,) of the model, as :meth:`forward` gives it, without what only the embedding needs."""
        graph = batch.placed()
        return scale_prediction(self.model, backend.call(self.core, graph, batch.state)[0], graph)

    def embed_batch(self, batch: Batch) -> Tensor:
        """Structure embedding (B, dim), differentiable."""
        return self.forward(batch).embedding

    def intensive(self, prediction: Any, n_atoms: Any) -> Any:
        """Predictions (B,) that do not grow with the cell: per atom for potentials, else as they are."""
        return prediction / n_atoms if self.is_potential else prediction

    @usual_autograd()
    def embed_graphs(self, graphs: Sequence[Graph]) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings (n, dim) in float32 and predictions (n,) of many graphs, in evaluation mode without gradients."""
        Z = np.empty((len(graphs), self.dim), dtype=np.float32)
        y = np.empty(len(graphs))

        def job(adapter: Adapter, group: list[int]) -> Output:
            with torch.no_grad():
                return adapter.forward(adapter.collate([graphs[i] for i in group]))

        groups = self.groups(graphs)
        with evaluation_mode(self.model):
            for group, out in zip(groups, in_threads(self, job, groups), strict=True):
                Z[group] = out.embedding.cpu().numpy()
                y[group] = out.prediction.cpu().numpy()
        return Z, y

    @usual_autograd()
    def forces(self, graphs: Sequence[Graph]) -> np.ndarray:
        """Forces (atoms, 3) of a potential in eV/Angstrom, of all crystals in the order of the batches."""

        def job(adapter: Adapter, group: list[int]) -> np.ndarray:
            moving = adapter.collate([graphs[i] for i in group]).movable()
            assert moving.displacement is not None
            energy = adapter.forward(moving).prediction.sum()
            return -torch.autograd.grad(energy, moving.displacement)[0].cpu().numpy()

        with evaluation_mode(self.model):
            return np.concatenate(list(in_threads(self, job, self.groups(graphs))))
