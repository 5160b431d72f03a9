"""TensorNet as MatGL ran it on DGL before version 2.2; see :mod:`matgl_fill.adapters.legacy.tensornet_layers`."""

from __future__ import annotations

from typing import Any

from matgl.models import TensorNet

from matgl_fill.adapters.architectures.tensornet import TensorNetAdapter
from matgl_fill.adapters.filled import Filled, FilledTensorNet
from matgl_fill.adapters.legacy.tensornet_layers import use_legacy_layers


class LegacyTensorNet(TensorNet):
    """TensorNet with the predictions of MatGL before version 2.2 on DGL.

    Args:
        kwargs: Keyword arguments of MatGL's TensorNet; ``use_warp`` is False whatever is said, as Warp's kernels
            compute as MatGL 4 does.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs | {"use_warp": False})
        self._init_args = kwargs
        use_legacy_layers(self)


class FilledLegacyTensorNet(Filled, LegacyTensorNet):
    """:class:`LegacyTensorNet` with a tuned branch, a correction, or both."""

    atom_features = staticmethod(FilledTensorNet.atom_features)


class LegacyTensorNetAdapter(TensorNetAdapter):
    """Adapter of :class:`LegacyTensorNet`; the embedding is TensorNet's."""

    core_class = LegacyTensorNet
    filled_class = FilledLegacyTensorNet
