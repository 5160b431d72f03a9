"""Ways to hold a model back that are no settings of the package, so that the evidence can say what they are worth.

Freezing needs no help: weights that do not require gradients stay as they are. Low rank is a parametrisation of the
layers, as PyTorch has it; L2-SP is an objective of one's own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from pymatgen.core import Structure
from torch import Tensor, nn
from torch.nn.utils import parametrize

from matgl_fill import get_adapter
from matgl_fill.adapters import Adapter, Batch, Output
from matgl_fill.training import Objective, ObjectiveContext, register_objective

RANK = 4
"""Of the update of a weight matrix."""
PULL = 0.01
"""Weight of L2-SP."""


class LowRank(nn.Module):
    r"""A weight matrix :math:`W + B A` of which only B (out, r), which starts at zero, and A (r, in) are trained.

    Source: LoRA, arXiv 2106.09685.

    Args:
        weight: (out, in) to be held.
        rank: r.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(rank, weight.shape[1], generator=generator) / weight.shape[1] ** 0.5
        self.down = nn.Parameter(start.to(weight))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))

    def forward(self, weight: Tensor) -> Tensor:
        """(out, in) changed matrix."""
        return weight + self.up @ self.down


def low_rank(model: nn.Module) -> nn.Module:
    """A copy that computes the same and of which only low-rank updates of the larger linear layers can be trained."""
    new = copy.deepcopy(model).requires_grad_(False)
    for layer in [m for m in get_adapter(new).core.modules() if isinstance(m, nn.Linear)]:
        if min(layer.weight.shape) > RANK:
            parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, RANK))
    return new


def first_half_frozen(model: nn.Module) -> nn.Module:
    """A copy of which only the later half of the weights, in the order in which they were defined, can be trained."""
    new = copy.deepcopy(model)
    weights = list(get_adapter(new).core.parameters())
    whole, before = sum(w.numel() for w in weights), 0
    for weight in weights:
        if 2 * before < whole:
            weight.requires_grad_(False)
        before += weight.numel()
    return new


DEVICES: dict[str, Callable[[nn.Module], nn.Module]] = {"low rank": low_rank, "first half frozen": first_half_frozen}
"""Models to be tuned in place of the original, by name."""


class StartingPoint:
    r"""L2-SP, :math:`\frac{w}{2} \|\theta - \theta_0\|^2` with the pretrained weights :math:`\theta_0`.

    Source: arXiv 1802.01483, equation 4.

    Args:
        adapter: of the model, with the pretrained weights.
        structures: what a step passes through the model; the term does not look at it.
        weight: w.
    """

    name = "l2sp"
    needs_geometry = False

    def __init__(self, adapter: Adapter, structures: Sequence[Structure], weight: float) -> None:
        self.weight, self.structures = weight, structures
        self._start = [p.detach().clone() for p in adapter.core.parameters()]

    def loss(self, adapter: Adapter, output: Output, batch: Batch, rows: Tensor) -> Tensor:
        """Half the squared distance of all weights."""
        pairs = zip(adapter.core.parameters(), self._start, strict=True)
        return torch.stack([(now - start).square().sum() for now, start in pairs]).sum() / 2

    def parameters(self) -> list[nn.Parameter]:
        """None."""
        return []


@register_objective("l2sp")
def _l2sp(context: ObjectiveContext) -> Objective:
    return StartingPoint(context.adapter, context.training_set.crystals, PULL)
