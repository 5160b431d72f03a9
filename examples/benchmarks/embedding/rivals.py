"""Features that a user would install instead, for ``features run --rival``: each runs in an environment of its own.

``python rivals.py magpie|chgnet|sevennet CRYSTALS.extxyz OUT.npz``, with matminer, chgnet or sevenn installed. matminer
keeps pandas below version 3, so that it is no extra of this package.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

import ase.io
import numpy as np
from ase import Atoms
from pymatgen.io.ase import AseAtomsAdaptor

Features = Callable[[Sequence[Atoms]], np.ndarray]
"""Function from n crystals to features (n, k)."""
CHUNK = 16
"""Crystals of one call."""


def magpie() -> Features:
    """Statistics (n, 132) of elemental properties, matminer's preset of Ward et al. (2016)."""
    from matminer.featurizers.composition import ElementProperty
    from pymatgen.core import Composition

    preset = ElementProperty.from_preset("magpie", impute_nan=True)
    return lambda frames: np.array([preset.featurize(Composition(f.get_chemical_formula())) for f in frames])


def chgnet() -> Features:
    """Crystal features (n, 64) of the frozen pretrained CHGNet."""
    from chgnet.model.model import CHGNet

    model = CHGNet.load(use_device="cpu", verbose=False)

    def features(frames: Sequence[Atoms]) -> np.ndarray:
        graphs = [model.graph_converter(AseAtomsAdaptor.get_structure(f)) for f in frames]
        found = model.predict_graph(graphs, task="e", return_crystal_feas=True)
        return np.array([one["crystal_fea"] for one in (found if isinstance(found, list) else [found])])

    return features


def sevennet() -> Features:
    """Mean over atoms (n, 128) of the scalars that enter the last layers of SevenNet-0."""
    from sevenn.calculator import SevenNetCalculator

    calculator = SevenNetCalculator("7net-0", device="cpu")
    read: list[np.ndarray] = []
    last = calculator.model._modules["reduce_input_to_hidden"]
    last.register_forward_pre_hook(lambda _, given: read.append(given[0]["x"].detach().mean(dim=0).numpy()))

    def features(frames: Sequence[Atoms]) -> np.ndarray:
        read.clear()
        for frame in frames:
            calculator.calculate(frame, ["energy"])
        return np.array(read)

    return features


WAYS: dict[str, Callable[[], Features]] = {"magpie": magpie, "chgnet": chgnet, "sevennet": sevennet}


def main(way: str, crystals: str, out: str) -> None:
    """Write the features of the crystals that ``features crystals`` wrote, with their ids."""
    frames = ase.io.read(crystals, index=":")
    features, start, rows = WAYS[way](), time.process_time(), []
    for k in range(0, len(frames), CHUNK):
        rows.append(features(frames[k : k + CHUNK]))
    print(f"{way}: {len(frames)} crystals, {time.process_time() - start:.0f} s of CPU")
    np.savez(out, features=np.vstack(rows), ids=[f.info["id"] for f in frames])


if __name__ == "__main__":
    main(*sys.argv[1:])
