"""What tests of several rooms share: models, labelled frames, where the shared inputs are, the command line."""

from __future__ import annotations

import csv
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import strategies as st
from matgl.apps.pes import Potential
from matgl.models import QET, CHGNet, M3GNet, SO3Net, TensorNet
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.stats import ortho_group

import matgl_fill as mf
from matgl_fill import cli
from matgl_fill.adapters import backend
from matgl_fill.embedding import Pool
from matgl_fill.roughness import StationaryNetwork
from matgl_fill.structures import bundled

SHARED = Path(__file__).resolve().parents[2] / "shared"
SAVED = Path(__file__).with_name("saved_by_0_1")
"""Runs and models that version 0.1.0 saved before the package had rooms."""
SAVED_BY_MATGL_2 = Path(__file__).with_name("saved_by_matgl_2")
"""Models of an old MatGL with what it predicted."""
DGL = backend.NAME == "DGL"
FOLDER = "models_legacy" if DGL else "models"
"""Of shared/: MatGL 4 reads the upgraded copies, MatGL 2.2.1 on DGL the checkpoints of its own time."""
PYG_MODELS = ("MEGNet-MP-2018.6.1-Eform", "MEGNet-MP-2019.4.1-BandGap-mfi", "TensorNet-MatPES-PBE-v2025.1-PES")
DGL_MODELS = (
    "MEGNet-MP-2018.6.1-Eform",
    "M3GNet-MP-2018.6.1-Eform",
    "M3GNet-MP-2021.2.8-PES",
    "M3GNet-MatPES-PBE-v2025.1-PES",
)
MODELS = DGL_MODELS if DGL else PYG_MODELS


def shared(relative: str) -> Path:
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs {path}, which only the developers' machines have")
    return path


PAIRS = ("0_1", "0_2", "0_3", "1_2", "1_3", "2_3")
"""Published two-dimensional landscapes of shared/, by their latent dimensions."""


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_here(monkeypatch, capsys, *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line in this process."""
    monkeypatch.setattr(sys, "argv", ["matgl-fill", *map(str, words)])
    with warnings.catch_warnings(), pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0), *capsys.readouterr()


def fresh_tensornet():
    torch.manual_seed(0)
    return Potential(TensorNet(units=16, num_rbf=8, is_intensive=False))


def fresh_so3net(**settings):
    """Of a seed's weights: matgl 2.2.1 keeps new blocks in sets, so that memory addresses decide which is which."""
    model = SO3Net(dim_node_embedding=16, units=16, **settings)
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            module.reset_parameters()
    return model


FRESH = {
    "fresh TensorNet": fresh_tensornet,
    "fresh M3GNet": lambda: M3GNet(is_intensive=True, readout_type="set2set", units=16),
    "fresh M3GNet potential": lambda: Potential(M3GNet(is_intensive=False, units=16)),
    "fresh CHGNet potential": lambda: Potential(CHGNet(dim_atom_embedding=16, dim_bond_embedding=16)),
    "fresh SO3Net": lambda: fresh_so3net(target_property="graph", is_intensive=True),
    "fresh SO3Net potential": lambda: Potential(fresh_so3net(target_property="atomwise", is_intensive=False)),
}
if not DGL:
    from matgl_fill.adapters.legacy.m3gnet import LegacyM3GNet
    from matgl_fill.adapters.legacy.qet import LegacyQET
    from matgl_fill.adapters.legacy.tensornet import LegacyTensorNet

    FRESH["fresh QET potential"] = lambda: Potential(QET(units=16))
    FRESH["fresh LegacyQET potential"] = lambda: Potential(LegacyQET(units=16))
    FRESH["fresh LegacyM3GNet"] = lambda: LegacyM3GNet(is_intensive=True, readout_type="set2set", units=16)
    FRESH["fresh LegacyM3GNet potential"] = lambda: Potential(LegacyM3GNet(is_intensive=False, units=16))
    FRESH["fresh LegacyTensorNet potential"] = lambda: Potential(
        LegacyTensorNet(units=16, num_rbf=8, is_intensive=False)
    )
"""Architectures without pretrained weights here, and those of shared/ in small."""


def load(name: str):
    if name == "bundled":
        return mf.load_model(bundled.MODEL)
    if name in FRESH:
        torch.manual_seed(0)
        return FRESH[name]()
    return mf.load_model(shared(f"{FOLDER}/{name}"))


QUICK = {"steps": 40, "copies": 2, "enlarge_pool": 0, "replay_size": 60}
LENIENT = QUICK | {
    "max_prediction_drift": 9.0, "max_energy_shift": 9.0, "max_energy_drift": 9.0, "max_force_drift": 9.0,
    "min_recovery": -9.0, "max_proxy_loss": 900.0, "must_gain": False,
}  # fmt: skip


def lennard_jones() -> LennardJones:
    return LennardJones(sigma=2.2, epsilon=0.5, rc=6.0, smooth=True)


def weights(model) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def with_noise(adapter, size):
    """The same adapter, each tensor of its weights changed by noise of ``size`` times their mean."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in adapter.core.parameters():
            p += size * p.abs().mean() * torch.randn(p.shape, generator=generator)
    return adapter


def pool_of(adapter, structures) -> Pool:
    """Crystals with all that is computed once per crystal, however few."""
    graphs = adapter.graphs(structures)
    ids = [str(k) for k in range(len(graphs))]
    return Pool(list(structures), ids, graphs, *adapter.embed_graphs(graphs), mf.describe(structures), [], 0.0)


def dft_frames(structures, per_atom: float = 0.0):
    """Crystals with the results of a calculator, as they come back from another code."""
    frames = []
    for k, s in enumerate(structures):
        atoms = AseAtomsAdaptor.get_atoms(s, msonable=False)
        atoms.calc = lennard_jones()
        e, f, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, energy=e + per_atom * len(atoms), forces=f, stress=stress)
        atoms.info = {"id": f"dft-{k}"}
        frames.append(atoms)
    return frames


def salt(a=5.69, symbols=("Na", "Cl")):
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return Structure(Lattice.cubic(a), [el for el in symbols for _ in corners], np.vstack([corners, corners + 0.5]))


def displaced(structure: Structure, distance: float) -> Structure:
    """A crystal whose atoms are all moved by a distance (Angstrom), in directions that are the same at every call."""
    directions = np.random.default_rng(0).normal(size=(len(structure), 3))
    coords = structure.cart_coords + distance * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return Structure(structure.lattice, structure.species, coords, coords_are_cartesian=True)


def line(values: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.linspace(0, 1, len(values))[:, None], np.array(values)


def bumpy(n: int = 400, d: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    Z = rng.uniform(size=(n, d))
    return Z, np.sin(9 * Z[:, 0]) + np.cos(7 * Z[:, 1])


def turned(quarter: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, a response, and the points after a quarter turn, which keeps the ranges, or another, which does not."""
    Z, response = bumpy()
    Q = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) if quarter else ortho_group.rvs(3, random_state=0)
    return Z, response, Z @ Q.T


@st.composite
def networks(draw) -> StationaryNetwork:
    """Any graph: ties, self-loops, several states between two minima, and states below their minima."""
    n, m = draw(st.integers(1, 12)), draw(st.integers(0, 25))
    level = st.integers(0, 8).map(lambda k: k / 4)
    values = [draw(st.lists(level, min_size=k, max_size=k)) for k in (n, m)]
    end = st.integers(0, n - 1)
    pairs = draw(st.lists(st.tuples(end, end), min_size=m, max_size=m))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return StationaryNetwork(
        rng.normal(size=(n, 3)),
        np.array(values[0], dtype=float),
        rng.normal(size=(m, 3)),
        np.array(values[1], dtype=float),
        np.array(pairs, dtype=int).reshape(m, 2),
    )


@dataclass
class Bowl:
    """Separable parabolas, some of which open downwards."""

    curvature: np.ndarray
    at: np.ndarray

    def value(self, x):
        return (self.curvature * (x - self.at) ** 2).sum(axis=1) / 2

    def gradient(self, x):
        return self.curvature * (x - self.at)

    def hvp(self, x, v):
        return self.curvature * v


NACL = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
QUARTZ = Structure(
    [[4.91, 0.1, 0.0], [-2.455, 4.252, 0.2], [0.3, 0.0, 5.40]],
    ["Si", "O", "O", "Fe"],
    [[0.47, 0.0, 2 / 3], [0.41, 0.27, 0.79], [-0.2, 1.3, 0.1], [0.0, 0.47, 0.33]],
)


def assert_same_structure(a: Structure, b: Structure, tolerance: float = 1e-5) -> None:
    assert [site.species_string for site in a] == [site.species_string for site in b]
    np.testing.assert_allclose(a.lattice.matrix, b.lattice.matrix, atol=tolerance)
    np.testing.assert_allclose(a.frac_coords, b.frac_coords, atol=tolerance)


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(true, seconds=20.0) -> None:
    """Wait for something, no longer than some seconds."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.01)
