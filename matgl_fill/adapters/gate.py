"""Where tuned weights of a potential act: on atoms among the elements that they were tuned on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

INNER = 0.5
"""Distance, as a share of the cutoff, within which one atom of another element closes the gate wholly."""


class ElementGate(nn.Module):
    r"""Share in which an atom's energy is that of the tuned weights, by the elements around it.

    .. math:: g_i = [Z_i \in C] \, (1 - \min(1, s_i))^3, \qquad s_i = \sum_{j : Z_j \notin C} t(r_{ij})

    C are the elements of the class, and t falls smoothly (with continuous second derivatives) from 1 at half of the
    cutoff to 0 at the cutoff. So g is 1 among elements of the class alone, 0 in any other crystal but for atoms whose
    neighbours of other elements are all far away, and smooth in positions and cell: the mixed energy is conserved in
    dynamics, extensive, and as invariant as the model's.

    Args:
        inside: Whether each element of the model is of the class, in the order of its ``element_types``.
        cutoff: Cutoff of the model in Angstrom.
    """

    inside: Tensor

    def __init__(self, inside: Tensor, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("inside", inside, persistent=False)  # the settings of the model hold the elements

    def forward(self, graph: Any) -> Tensor | None:
        """Shares (N,) of the atoms of a graph with positions; None where all are 0, and a single 1 where all are 1."""
        member = self.inside[graph.node_type.long()]
        if member.all():
            return graph.pos.new_ones(1)
        if not member.any():
            return None
        start, end = graph.edge_index[0].long(), graph.edge_index[1].long()
        vectors = graph.pos[end] - graph.pos[start] + graph.pbc_offshift
        foreign = torch.zeros_like(graph.pos[:, 0]).index_add(
            0, start, torch.where(member[end], 0.0, fall(vectors.norm(dim=1) / self.cutoff))
        )
        shares = torch.where(member, (1 - foreign).clamp_min(0) ** 3, 0.0)
        return shares if shares.detach().any() else None


def fall(x: Tensor) -> Tensor:
    """Smooth fall from 1 at ``INNER`` to 0 at 1, with continuous first and second derivatives.

    Example:
        >>> fall(torch.tensor([0.2, 0.5, 0.75, 1.0, 1.3])).tolist()
        [1.0, 1.0, 0.5, 0.0, 0.0]
    """
    u = ((x - INNER) / (1 - INNER)).clamp(0, 1)
    return 1 - u**3 * (10 - 15 * u + 6 * u**2)


class _Reading(nn.Module):
    """Last layer of a core, which keeps what it gave: the energies of the atoms."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.energies = layer, torch.empty(0)

    def forward(self, *args: Any) -> Tensor:
        """Energies (N, 1) of the atoms."""
        self.energies = self.layer(*args)
        return self.energies


class _Mixing(nn.Module):
    """Last layer of a core, whose energies of atoms are moved to others by shares (N,)."""

    def __init__(self, layer: nn.Module, others: Tensor, shares: Tensor) -> None:
        super().__init__()
        self.layer, self.others, self.shares = layer, others, shares

    def forward(self, *args: Any) -> Tensor:
        """Energies (N, 1) of the atoms."""
        own = self.layer(*args)
        return own + self.shares.reshape(own.shape) * (self.others - own)


def twin_with(core: Any, **layers: nn.Module | None) -> Any:
    """Twin of a core that shares all its weights and layers but those given by name; the core stays as it is."""
    twin = core.__class__.__new__(core.__class__)
    twin.__dict__ = core.__dict__ | {"_modules": core._modules | layers, "feature_dict": {}}
    return twin


def mixed_call(original: Any, tuned: Any, shares: Tensor, call: Callable[[Any], Any]) -> tuple[Any, dict[str, Any]]:
    """Call two cores on the same graph and mix the energies of their atoms.

    Args:
        original: Core whose output is given where a share is 0.
        tuned: Core whose output is given where a share is 1.
        shares: Shares (N,) of the tuned core.
        call: Function that calls a core on the graph.

    Returns:
        What the original's call gives, of mixed energies, and the original's features.
    """
    reading = _Reading(tuned.final_layer)
    call(twin_with(tuned, final_layer=reading))
    twin = twin_with(original, final_layer=_Mixing(original.final_layer, reading.energies, shares))
    output = call(twin)
    return output, twin.feature_dict
