"""Checks of what works on this machine, tried on a small crystal, with remedies for what does not."""

from __future__ import annotations

import io
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from matgl_fill.adapters import backend, get_adapter, load_model, on_device
from matgl_fill.embedding.embed import embed
from matgl_fill.structures import bundled
from matgl_fill.training.labels.oracle import PACKAGED, label, resolve
from matgl_fill.utils.console import track

PACKAGES = ("matgl", "torch", "lightning", "pymatgen-core", "ase", "numpy", "scipy", "scikit-learn")
MALICIOUS = ("2.6.2", "2.6.3")
"""Releases of lightning that carried malware."""
OTHER_BACKEND = {
    "DGL": (
        "dgl",
        "in a clone of matgl_fill: python -m venv .venv-dgl && .venv-dgl/bin/pip install torch==2.13.0 && "
        ".venv-dgl/bin/pip install '.[dgl]'; then export MATGL_BACKEND=DGL DGLBACKEND=pytorch",
    ),
    "PyG": (
        "torch_geometric",
        "in a clone of matgl_fill: python -m venv .venv && .venv/bin/pip install .; then unset MATGL_BACKEND",
    ),
}
NEEDED_FOR = {
    "DGL": "only for models on MatGL 2.2.1 itself: old checkpoints run on PyG too",
    "PyG": "for MatGL 4, and for all that is not of MatGL's DGL time",
}
EXTRAS = {
    "umap-learn": ("umap", "plots", "maps by UMAP: roughness --projection umap"),
    "jobflow": ("jobflow", "workflows", "labelling by jobs that resume: label"),
    "distributed": ("distributed", "scale", "embedding on a dask cluster: embed --executor dask://HOST:PORT"),
    "matcalc": ("matcalc", "physics", "potentials against DFT: evaluate --physics"),
}
AGREE = 1e-3
"""Largest difference of embeddings and forces on a device from those on the CPU, over the largest value."""
SPEED = 128
"""Number of crystals by which the speed of a device is measured."""


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        group: Group of the check: package, backend, device, model, oracle or extra.
        name: Name of what was tried.
        works: Whether it works; None if it is not there.
        detail: Result in words.
        remedy: How to get it to work, empty if there is nothing to do.
        needed: Whether nothing works without it.
    """

    group: str
    name: str
    works: bool | None
    detail: str
    remedy: str = ""
    needed: bool = False


def examine(models: Sequence[str | Path] = (), device: str | None = None) -> list[Finding]:
    """Try everything; a failure is a finding, not an error.

    Args:
        models: Directories or hub names of models to try beside the bundled ones.
        device: Device to try beside those that this system can have, for example ``"cuda:1"``.

    Returns:
        Findings by group: package, backend, model, device, oracle, extra.
    """
    steps: list[Callable[[], Finding]] = [_lightning, _active_backend, _inactive_backend]
    steps += [partial(_model, "default", bundled.MODEL, True)]
    steps += [partial(_model, "potential", bundled.POTENTIAL, True)] if backend.NAME != "DGL" else []  # saved on PyG
    steps += [partial(_model, str(path), path) for path in models]
    usual = [name for name in ("cpu", "cuda", "mps") if name != "mps" or sys.platform == "darwin"]
    steps += [partial(_device, name) for name in dict.fromkeys([*usual, *([device] if device else [])])]
    steps += [partial(_oracle, name) for name in PACKAGED]
    return [*_packages(), *(step() for step in track(steps, "trying")), *_extras()]


def _packages() -> Iterator[Finding]:
    yield Finding("package", "python", True, f"{platform.python_version()}, {platform.machine()}")
    for name in ("matgl_fill", *PACKAGES):
        if name != "lightning":
            yield Finding("package", name, True, version(name))


def _lightning() -> Finding:
    here = version("lightning")
    if here in MALICIOUS:
        remedy = "pip install 'lightning!=2.6.2,!=2.6.3', and treat this machine's credentials as stolen"
        return Finding("package", "lightning", False, f"{here} is a release that carried malware", remedy, True)
    return Finding("package", "lightning", True, here, needed=True)


def _active_backend() -> Finding:
    name = "DGL" if backend.NAME == "DGL" else "PyG"
    package = OTHER_BACKEND[name][0]
    return _tried("backend", name, lambda: f"{_version(package)}, in use; {_embed_one(bundled.MODEL)}", needed=True)


def _inactive_backend() -> Finding:
    name = "PyG" if backend.NAME == "DGL" else "DGL"
    package, remedy = OTHER_BACKEND[name]
    here = f"{_version(package)} is installed, but MatGL runs on {backend.NAME} here" if find_spec(package) else ""
    return Finding("backend", name, None, here or f"not installed; {NEEDED_FOR[name]}", remedy)


def _model(name: str, path: str | Path, needed: bool = False) -> Finding:
    return _tried("model", name, lambda: _embed_one(path), needed=needed)


def _device(name: str) -> Finding:
    if name == "cpu":
        return _tried("device", name, lambda: f"threads: {torch.get_num_threads()}; {_speed('cpu')}")
    if name == "cuda" and not torch.cuda.is_available():
        if torch.version.cuda:
            return Finding("device", name, None, f"PyTorch has CUDA {torch.version.cuda}, but no GPU is found")
        remedy = "with an NVIDIA GPU: pip install --force-reinstall torch  (PyPI's wheels for Linux have CUDA)"
        return Finding("device", name, None, "this PyTorch was built without CUDA", remedy)
    if name == "mps" and not torch.backends.mps.is_available():
        return Finding("device", name, None, "PyTorch finds no Apple GPU")
    return _tried("device", name, lambda: _on_device(name))


def _oracle(name: str) -> Finding:
    if find_spec(PACKAGED[name]) is None:
        return Finding("oracle", name, None, "not installed", f"pip install 'matgl_fill[{name}]'")

    def work() -> str:
        crystal = bundled.bundled_pool(["Na", "Cl", "Li", "F", "Mg", "O"]).structures[0]
        formula = crystal.composition.reduced_formula
        with redirect_stdout(io.StringIO()):  # CHGNet says how many parameters it has
            labels = label([crystal], resolve(name).source)
        if not labels.usable().all():
            raise RuntimeError(f"gave no usable energy, forces and stress of {formula}")
        return f"{_version(PACKAGED[name])}; {formula}: {labels.energy[0] / len(crystal):.3f} eV/atom"

    return _tried("oracle", name, work, f"pip install --upgrade 'matgl_fill[{name}]'")


def _extras() -> Iterator[Finding]:
    for name, (module, extra, what) in EXTRAS.items():
        there = find_spec(module) is not None
        remedy = "" if there else f"pip install 'matgl_fill[{extra}]'"
        yield Finding("extra", name, True if there else None, f"{_version(name) or 'not installed'}; {what}", remedy)


def _tried(group: str, name: str, work: Callable[[], str], remedy: str = "", needed: bool = False) -> Finding:
    """A finding from ``work``, which tries something and returns its result in words."""
    start = time.perf_counter()
    try:
        detail = work()
    except Exception as error:  # whatever is wrong is what is to be told
        reason = " ".join(str(error).split()) or type(error).__name__
        return Finding(group, name, False, reason, remedy, needed)
    return Finding(group, name, True, f"{detail} ({time.perf_counter() - start:.1f} s)", "", needed)


def _embed_one(path: str | Path) -> str:
    """Load a model, embed one bundled crystal, and for a potential compute its forces."""
    model = load_model(path)
    adapter = get_adapter(model)
    crystal = bundled.bundled_pool(adapter.element_types).structures[:1]
    Z = embed(model, crystal)
    if not np.isfinite(Z).all():
        raise ValueError(f"the embedding of {crystal[0].formula} is not finite")
    if adapter.is_potential and not np.isfinite(adapter.forces(adapter.graphs(crystal))).all():
        raise ValueError(f"the forces in {crystal[0].formula} are not finite")
    kind = "potential" if adapter.is_potential else "property model"
    return f"{adapter.name}, {kind}, {Z.shape[1]} dimensions"


def _on_device(name: str) -> str:
    """Embed on a device, calculate forces there, and compare both with the CPU."""
    model = load_model(bundled.MODEL)
    crystals = bundled.bundled_pool(get_adapter(model).element_types).structures[:8]
    differences = [_difference(embed(model, crystals, device=name), embed(model, crystals))]
    if backend.NAME != "DGL":
        here = get_adapter(load_model(bundled.POTENTIAL))
        there = here.on(name)
        differences.append(_difference(*(one.forces(one.graphs(crystals)) for one in (there, here))))
    for what, difference in zip(("an embedding", "a force"), differences, strict=False):
        if difference > AGREE:
            raise ValueError(f"{what} differs from the CPU's by {difference:.1e} of the largest value")
    named = torch.cuda.get_device_name(name) if name.startswith("cuda") else name
    agree = " and forces to ".join(f"{difference:.1e}" for difference in differences)
    return f"{named}; embedding agrees with the CPU's to {agree}; {_speed(name)}"


def _difference(there: np.ndarray, here: np.ndarray) -> float:
    """Largest difference over the largest value."""
    return float(np.abs(there - here).max() / np.abs(here).max())


def _speed(device: str) -> str:
    """How many of the package's crystals the bundled model embeds in a second."""
    model = on_device(load_model(bundled.MODEL), device)
    crystals = bundled.bundled_pool(get_adapter(model).element_types).structures[:SPEED]
    embed(model, crystals[:32])
    start = time.perf_counter()
    embed(model, crystals)
    return f"{len(crystals) / (time.perf_counter() - start):.0f} crystals/s"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
