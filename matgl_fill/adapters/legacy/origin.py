"""Which MatGL made a model's files, as far as that decides what their weights mean."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

import numpy as np

from matgl_fill.adapters.files import ModelFiles
from matgl_fill.adapters.legacy.messages import READS_ENDS
from matgl_fill.utils.hashing import hash_parts


class MatGL(IntEnum):
    """Ranges of MatGL's versions; between two of them one of its architectures began to compute something else."""

    UNTIL_2_1 = 0
    """Messages of all architectures are summed at the destination atom."""
    V2_2 = 1
    """Those of TensorNet and QET are summed at the source atom."""
    V3 = 2
    """Those of MEGNet and M3GNet too. M3GNet's triplets still name bonds by their rank within the cutoff."""
    V4_0 = 3
    """As MatGL 3; names and settings in the files differ."""
    SINCE_4_1 = 4
    """M3GNet's triplets name bonds by their index."""

    def __str__(self) -> str:
        """Name in words."""
        return ("MatGL until 2.1", "MatGL 2.2", "MatGL 3", "MatGL 4.0", "MatGL 4.1 and newer")[self]


PUBLISHED = {
    "4a2f97c21b8ca667": "MEGNet-MP-2018.6.1-Eform",
    "373b0611618af5e7": "MEGNet-MP-2019.4.1-BandGap-mfi",
    "c04cae5b4120ad8b": "TensorNet-MatPES-PBE-v2025.1-PES",
}
"""Models of MatGL's repository that its authors turned for MatGL 3, of which the files say nothing.

By the start of the hash of the first weight that reads a bond's ends.
"""
NEW = frozenset({MatGL.V4_0, MatGL.SINCE_4_1})
OLD = frozenset({MatGL.UNTIL_2_1, MatGL.V2_2})
V3 = frozenset({MatGL.V3})
ALL = frozenset(MatGL)


def origin_of(files: ModelFiles) -> frozenset[MatGL]:
    """The versions of MatGL that can have made a model's files, by what is in them.

    These say something (all found by running MatGL 0.9 to 4.1.2 side by side):

    ===================================================  ==========================================================
    in the files                                         made by
    ===================================================  ==========================================================
    weights of ``PUBLISHED``                             MatGL 4.1 and newer
    metadata of this package, ``backend`` PYG / DGL      MatGL 4.1 and newer / 2.2
    module of M3GNet or MEGNet ends in _pyg or _dgl      MatGL 3
    ... does not                                         MatGL until 2.2, 4 and newer
    version 1 of TensorNet                               MatGL until 2.1
    version 2 of TensorNet                               MatGL 2.2 and newer
    ... in module _tensornet / _tensornet_pyg, _dgl      MatGL 4 and newer / 2.2, 3
    module of QET: _qet / _qet_pyg                       MatGL 4 and newer / 3
    ... _qet_dgl                                         MatGL until 2.1, 2.2, 3
    version 1 or 2 of Potential                          MatGL until 2.1
    Potential with the setting ``compile_model``         MatGL 3 (from 3.0.3) and newer
    ... without                                          MatGL until 2.2, 3 (until 3.0.2)
    ... with, elemental references in a list / an array  MatGL 4.1 and newer / 3, 4.0
    M3GNet without the setting ``dropout``               MatGL until 2.1
    weights ``readout.set2set.*`` or ``emb3``            MatGL until 2.2, 3 (on DGL)
    weights ``readout.lstm.*`` of M3GNet                 MatGL 3 and newer
    weights ``readout.weight.0.*``                       MatGL until 2.2, 3 (until 3.0.1)
    weights ``readout.weight.layers.*``                  MatGL 3 and newer
    ``state.pt`` without a record of the byte order      PyTorch until 2.0, so MatGL until 2.2
    ===================================================  ==========================================================

    MatGL saves an ordered dictionary of weights. Where ``state.pt`` holds a plain one, somebody has changed the
    weights since, as the authors of MatGL have in models of their repository, so that MatGL 4.1 and newer stays
    possible whatever the names say.

    Returns:
        All versions that can have made the files; one if they leave no doubt, none if they contradict themselves.
    """
    if _hash_of_ends(files) in PUBLISHED:
        return frozenset({MatGL.SINCE_4_1})
    here = files.metadata.get("matgl_fill", {}).get("backend")
    if here in ("PYG", "DGL"):
        return frozenset({MatGL.SINCE_4_1 if here == "PYG" else MatGL.V2_2})
    if not files.core.module.startswith("matgl."):
        return frozenset({MatGL.SINCE_4_1})  # a class of this package or of another one computes as it says
    possible = ALL
    for versions in _evidence(files):
        possible &= versions
    return possible if files.as_saved else possible | {MatGL.SINCE_4_1}


def _evidence(files: ModelFiles) -> Iterator[frozenset[MatGL]]:
    """Versions that each piece of evidence leaves possible."""
    core, wrapper = files.core, files.entry
    suffixed = core.module.endswith(("_pyg", "_dgl"))
    if core.name in ("M3GNet", "MEGNet") and core.module != "matgl.models":
        yield V3 if suffixed else OLD | NEW
    if core.name == "TensorNet":
        yield frozenset({MatGL.UNTIL_2_1}) if core.version < 2 else ALL - {MatGL.UNTIL_2_1}
        yield OLD | V3 if suffixed else ALL - V3
    if core.name == "QET":
        yield V3 if core.module.endswith("_pyg") else OLD | V3 if suffixed else NEW
    if wrapper.name == "Potential":
        yield from _evidence_of_potential(files)
    if core.name == "M3GNet" and "dropout" not in core.args:
        yield frozenset({MatGL.UNTIL_2_1})
    names = [name.removeprefix("model.") for name in files.state]
    if any(name.startswith(("readout.set2set.", "readout.weight.0.", "tensor_embedding.emb3.")) for name in names):
        yield OLD | V3
    if core.name == "M3GNet" and any(name.startswith(("readout.lstm.", "readout.weight.layers.")) for name in names):
        yield V3 | NEW
    if not files.has_byte_order:
        yield OLD


def _evidence_of_potential(files: ModelFiles) -> Iterator[frozenset[MatGL]]:
    """Versions that the settings of a ``Potential`` leave possible."""
    wrapper = files.entry
    if wrapper.version < 3:
        yield frozenset({MatGL.UNTIL_2_1})
    if "compile_model" not in wrapper.args:
        yield OLD | V3
        return
    yield V3 | NEW
    references = wrapper.args.get("element_refs")
    if isinstance(references, list):
        yield frozenset({MatGL.SINCE_4_1})
    elif isinstance(references, np.ndarray):
        yield ALL - {MatGL.SINCE_4_1}


def _hash_of_ends(files: ModelFiles) -> str | None:
    """Start of the hash of the first weight that reads a bond's ends; None for other architectures."""
    ending = READS_ENDS.get(files.core.name, ("", 0))[0]
    weight = next((files.state[name] for name in sorted(files.state) if ending and name.endswith(ending)), None)
    return None if weight is None else hash_parts(weight.detach().cpu().numpy())[:16]
