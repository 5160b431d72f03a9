"""QET as MatGL had it before version 2.2, with which the published QET-MatQ-PES was trained.

How a file is known to be of that time:

- ``model.json`` and ``model.pt`` name the module ``matgl.models._qet_dgl``, and ``state.pt`` holds
  ``tensor_embedding.emb3``: it was saved on DGL, by MatGL 2.0 to 3.0. PyG never had either;
- the ``Potential`` around it has ``@model_version`` 2: it is from before the release of MatGL 2.0, as QET-MatQ-PES is,
  and surely of that time;
- with ``@model_version`` 3 nothing in the file tells MatGL 2.0 and 2.1, which computed as here, from MatGL 2.2 and 3.0
  on DGL, which computed as MatGL 4 does: class, version, settings and weights are the same. What the model predicts
  has to decide, or the user.
"""

from __future__ import annotations

from typing import Any

import torch
from matgl.layers import ElectrostaticPotential
from matgl.models import QET
from torch import Tensor

from matgl_fill.adapters.architectures.qet import QETAdapter
from matgl_fill.adapters.filled import Filled, FilledQET
from matgl_fill.adapters.legacy.tensornet_layers import use_legacy_layers


class LegacyElectrostaticPotential(ElectrostaticPotential):
    """Potential before MatGL 2.2: at an atom, that of *its own* charge smeared as if it stood at its neighbours."""

    def forward(self, g: Any, charge: Tensor, sigma: Tensor) -> Tensor:
        """Potential (N,) in V at the atoms, from charges (N,) in e and Gaussian widths (N,) in Angstrom."""
        return charge * super().forward(g, torch.ones_like(charge), sigma)


class LegacyQET(QET):
    """QET as MatGL had it before version 2.2, on PyG.

    Weights are loaded key for key; these three layers differ from MatGL 4, all because MatGL 2.2 moved the sums over
    bonds from their destination to their source without turning the messages round:

    - ``tensor_embedding`` read the two ends of a bond in the other order (the column halves of ``emb2``) and the bond's
      vector from its other end, ``LegacyTensorEmbedding``;
    - ``layers`` gave every atom its own features back instead of its neighbours',
      ``LegacyTensorNetInteraction``;
    - ``elec_pot`` was the potential of the atom's own charge instead of its neighbours',
      ``LegacyElectrostaticPotential``.

    The charge equilibration, the radial basis, the output network, units and signs are the same. ``emb3``, which
    entered no result, is dropped.

    Args:
        settings: Arguments of :class:`matgl.models.QET`; ``use_warp`` is False whatever is said, as Warp's kernels
            compute as MatGL 4 does.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"use_warp": False})
        self._init_args = settings
        use_legacy_layers(self)
        self.elec_pot.__class__ = LegacyElectrostaticPotential


class FilledLegacyQET(Filled, LegacyQET):
    """:class:`LegacyQET` with a tuned branch, a correction, or both."""

    atom_features = staticmethod(FilledQET.atom_features)


class LegacyQETAdapter(QETAdapter):
    """Adapter of :class:`LegacyQET`; the embedding is QET's."""

    core_class = LegacyQET
    filled_class = FilledLegacyQET
