"""What the weights of an old file mean: the class that computes as MatGL did then, and the weights for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from matgl_fill.adapters.classes import Entry
from matgl_fill.adapters.files import ModelFiles
from matgl_fill.adapters.legacy.m3gnet import LegacyM3GNet
from matgl_fill.adapters.legacy.messages import turned
from matgl_fill.adapters.legacy.origin import MatGL
from matgl_fill.adapters.legacy.qet import LegacyQET
from matgl_fill.adapters.legacy.tensornet import LegacyTensorNet

RENAMED = {
    "M3GNet": (("readout.set2set.lstm.", "readout.lstm."),),
    "TensorNet": (("readout.set2set.lstm.", "readout.lstm."),),
    "SO3Net": (("readout.set2set.lstm.", "readout.lstm."),),
    "CHGNet": (
        (".conv_layer.", ".conv."),
        ("_update_func.layers.layers.", "_update_func.value.layers."),
        ("_update_func.gates.layers.", "_update_func.gate.layers."),
    ),
}
"""Names of weights on DGL and on PyG, by architecture."""
UNUSED = "tensor_embedding.emb3."
"""Weights on DGL that entered no result."""
LEGACY = {"M3GNet": LegacyM3GNet, "TensorNet": LegacyTensorNet, "QET": LegacyQET}
"""Classes that compute as an old MatGL did, by the architecture's name."""


@dataclass(frozen=True)
class Reading:
    """A meaning of a file's weights.

    Attributes:
        legacy: Whether a class of ``LEGACY`` computes with them.
        settings: Settings of that class beside those of the file.
        turned: Whether the weights that read the two ends of a bond are exchanged.
    """

    legacy: bool = False
    settings: tuple[tuple[str, Any], ...] = ()
    turned: bool = False


TODAYS = Reading()
"""The reading of the MatGL that is installed."""


def reading_of(files: ModelFiles, made_by: MatGL) -> Reading:
    """The meaning of a file's weights if that MatGL made it."""
    core = files.core
    if core.name == "MEGNet":
        return Reading(turned=made_by <= MatGL.V2_2)
    if core.name == "TensorNet" and made_by == MatGL.UNTIL_2_1:
        return Reading(turned=True) if core.module.endswith("_pyg") else Reading(legacy=True)
    if core.name == "QET":
        return Reading(legacy=made_by == MatGL.UNTIL_2_1)
    if core.name == "M3GNet":
        return _reading_of_m3gnet(files, made_by)
    return TODAYS


def _reading_of_m3gnet(files: ModelFiles, made_by: MatGL) -> Reading:
    sums_readout = any(name.endswith("readout.weight.0.weight") for name in files.state)
    if made_by <= MatGL.V2_2:
        return Reading(legacy=True, settings=(("sums_at", "destination"), ("sums_readout", sums_readout)))
    ranks_are_ids = files.core.args.get("threebody_cutoff", 4.0) >= files.core.args.get("cutoff", 5.0)
    if made_by == MatGL.SINCE_4_1 or (ranks_are_ids and not sums_readout):
        return TODAYS
    return Reading(legacy=True, settings=(("sums_at", "source"), ("sums_readout", sums_readout)))


def read_as(files: ModelFiles, reading: Reading) -> ModelFiles:
    """The files of a model of today's MatGL, or of a legacy class, with the same predictions; no file is read again."""
    core, state = files.core, dict(files.state)
    for old, new in RENAMED.get(core.name, ()):
        state = {name.replace(old, new): tensor for name, tensor in state.items()}
    state = {name: tensor for name, tensor in state.items() if UNUSED not in name}
    if reading.turned:
        state = turned(core.name, state, core.args.get("equivariance_invariance_group", "O(3)"))
    if reading.legacy:
        legacy: type[Any] = LEGACY[core.name]
        args = dict(core.args) | dict(reading.settings)
        core = Entry(legacy.__name__, legacy.__module__, core.version, args)
    entry = core if files.entry is files.core else replace(files.entry, args=dict(files.entry.args) | {"model": core})
    return replace(files, entry=entry, state=state)
