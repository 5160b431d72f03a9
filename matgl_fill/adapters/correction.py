"""A correction of a potential's energies that acts near its training set and nowhere else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class KernelCorrection(nn.Module):
    r"""Energy of atoms from their embedding, as a sum of Gaussians around the environments of its training set.

    .. math:: \Delta E = \sum_i \sum_k w_k \exp\!\left(-\frac{\|s_i - s_k\|^2}{2\ell^2}\right),
        \quad s = (x - \mu) / \sigma

    It is smooth in the embedding x of every atom i, hence in positions and cell; it is extensive, as invariant as the
    embedding, and zero far from the environments k. It differs from kernel regression of atomic energies (Bartok et
    al., Phys. Rev. Lett. 104, 136403) in the features, which are those of a trained network.

    Args:
        centres: Number K of environments at which a Gaussian is centred.
        dim: Width of the atom embedding.
    """

    origin: Tensor
    spread: Tensor
    centres: Tensor
    weights: Tensor
    width: Tensor

    def __init__(self, centres: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(dim, dtype=torch.float32))
        self.register_buffer("spread", torch.ones(dim, dtype=torch.float32))
        self.register_buffer("centres", torch.zeros(centres, dim, dtype=torch.float32))
        self.register_buffer("weights", torch.zeros(centres, dtype=torch.float32))
        self.register_buffer("width", torch.ones((), dtype=torch.float32))

    @property
    def size(self) -> tuple[int, int]:
        """Number of centres and width of the atom embedding, the arguments of the constructor."""
        return len(self.weights), len(self.origin)

    def forward(self, atoms: Tensor) -> Tensor:
        """Energies (N,) of atoms with embeddings (N, dim), in the unit of the core model's output, in float64.

        Squared distances are differences of larger numbers, and weights of both signs cancel: in float32 the energy
        would carry a noise that finite differences show.
        """
        precise = torch.float32 if atoms.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        x, *rest = (t.to(precise) for t in (atoms, self.origin, self.spread, self.centres, self.weights, self.width))
        origin, spread, centres, weights, width = rest
        s = (x - origin) / spread
        squares = s.square().sum(1)[:, None] + centres.square().sum(1) - 2 * s @ centres.T
        return torch.exp(-squares / (2 * width**2)) @ weights

    def scaled(self, factor: float) -> KernelCorrection:
        """Make a new correction whose energies are ``factor`` times as large."""
        new = KernelCorrection(*self.size)
        new.load_state_dict(self.state_dict() | {"weights": factor * self.weights})
        return new


def add_correction(core: Any, args: tuple[Any, ...], given: dict[str, Any], output: Any) -> Any:
    """Add the ``correction`` of a core model to its output, a total energy per crystal; a forward hook."""
    each = core.correction(core.atom_features(core, core.feature_dict))
    graph = given["g"] if "g" in given else args[0]
    energy = output[0] if isinstance(output, tuple) else output
    total = each.new_zeros(energy.numel())
    owner = getattr(graph, "batch", None)
    if owner is None:
        owner = torch.zeros(len(each), dtype=torch.long, device=each.device)
    change = total.index_add(0, owner, each).reshape(energy.shape)
    corrected = (energy + change).to(energy.dtype)
    return (corrected, *output[1:]) if isinstance(output, tuple) else corrected
