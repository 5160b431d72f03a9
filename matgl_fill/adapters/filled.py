"""Core models that carry a fill-tuned copy of themselves beside the untouched original."""

from __future__ import annotations

import copy
from typing import Any

from matgl.apps.pes import Potential
from matgl.models import QET, CHGNet, M3GNet, MEGNet, SO3Net, TensorNet, TransformedTargetModel
from torch import nn

from matgl_fill.adapters.wrappers import core_of


class Filled:
    """A MatGL core model whose embedding is original ⊕ fill-tuned.

    It *is* the original model: class, weights, forward pass and predictions are inherited and bitwise the same. Beside
    them it carries ``side``, a copy of the same architecture that was fill-tuned, and :func:`matgl_fill.embed`
    concatenates the embeddings of both. What the original embedding knew cannot be lost, because it is still in it.

    ``save`` and ``matgl.load_model`` work as for any MatGL model; this package has to be installed where it is read.
    """

    side: nn.Module

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._init_args = kwargs
        self.side = type(self).__mro__[2](**kwargs)


class FilledMEGNet(Filled, MEGNet):
    """MEGNet and its fill-tuned copy."""


class FilledTensorNet(Filled, TensorNet):
    """TensorNet and its fill-tuned copy."""


class FilledM3GNet(Filled, M3GNet):
    """M3GNet and its fill-tuned copy."""


class FilledCHGNet(Filled, CHGNet):
    """CHGNet and its fill-tuned copy."""


class FilledSO3Net(Filled, SO3Net):
    """SO3Net and its fill-tuned copy."""


class FilledQET(Filled, QET):
    """QET and its fill-tuned copy."""


def filled(model: nn.Module, side: nn.Module, filled_class: type[Any]) -> nn.Module:
    """A copy of ``model`` whose core carries ``side``.

    Args:
        model: original model, wrapped or bare; untouched.
        side: fill-tuned core of the same architecture; becomes part of the new model.
        filled_class: the core's class with :class:`Filled` mixed in.
    """
    new = copy.deepcopy(model)
    core = core_of(new)
    core.__class__ = filled_class
    core.side = side
    if isinstance(new, Potential | TransformedTargetModel):
        new._init_args["model"] |= {"@class": filled_class.__name__, "@module": filled_class.__module__}
    return new
