"""Make the demonstration potential that ``matgl_fill`` carries in ``matgl_fill/structures/assets/potential``.

Strained, rattled and redecorated copies of the package's pool crystals are labelled by SevenNet (7net-l3i5, from PyPI,
weights inside), and a small MatGL ``TensorNet`` is trained on energies, forces and stresses. Run from the repository
root with the ``sevennet`` extra installed::

    export OMP_NUM_THREADS=1
    python examples/make_assets/make_potential.py --out matgl_fill/structures/assets --work work --seed 0

Each stage is kept under ``--work`` and taken up again when the script is restarted: labels crystal by crystal, the
training as a whole. ``--quick`` makes a tiny version of everything in less than a minute.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as pl
import matgl
import numpy as np
import torch
from ase.units import GPa
from matgl.apps.pes import Potential
from matgl.ext.pymatgen import Structure2Graph
from matgl.graph.data import MGLDataLoader, MGLDataset
from matgl.models import TensorNet
from matgl.utils.training import PotentialLightningModule
from pretrain_megnet import CUTOFF, Row, as_dict, as_structure, read_rows
from pymatgen.core import Element, Structure
from rich.console import Console
from rich.progress import track

from matgl_fill import get_adapter, read_structures
from matgl_fill.generation.augment import augmentations
from matgl_fill.structures import bundled, elements_of
from matgl_fill.training import elemental_shifts, label, resolve
from matgl_fill.utils.machine import package_facts

warnings.filterwarnings("ignore")
console = Console()

RATTLE, STRAIN = 0.25, 0.03
"""Largest deviation of displacements (A) and deviation of strain components."""
MIN_ATOMS = 4
"""Smaller cells are doubled along their shortest axis, so that an atom's neighbours are not all its own images."""
MAX_FORCE, MAX_STRESS = 15.0, 100.0
"""Copies beyond (eV/A, GPa) are left out."""


def copies_of(crystals: Sequence[Structure], count: int, seed: int, elements: tuple[str, ...]) -> list[Structure]:
    """Altered copies, three in five with other elements put in."""
    cells = []
    for crystal in crystals:
        cell = crystal.copy()
        while len(cell) < MIN_ATOMS:
            shape = np.ones(3, dtype=int)
            shape[int(np.argmin(cell.lattice.abc))] = 2
            cell = cell * tuple(shape.tolist())
        cells.append(cell)
    return augmentations(cells, count, np.random.default_rng(seed), RATTLE, STRAIN, 0.6, elements)


def labelled(structures: Sequence[Structure], path: Path) -> list[Row]:
    """Rows of the crystals with SevenNet's labels; what ``path`` has is not asked again."""
    rows = read_rows(path)
    _, oracle = resolve("sevennet")
    with path.open("a") as file:
        left = structures[len(rows) :]
        for structure in track(left, f"label {path.stem}", console=console, refresh_per_second=0.2):
            row: Row = {"structure": as_dict(structure)}
            found = label([as_structure(row)], oracle)
            row |= {"energy": float(found.energy[0]), "forces": found.forces[0].round(6).tolist()}
            row["stress_GPa"] = (found.stress[0] / GPa).round(5).tolist()
            file.write(json.dumps(row) + "\n")
            file.flush()
            rows.append(row)
    return [r for r in rows if np.abs(r["forces"]).max() < MAX_FORCE and np.abs(r["stress_GPa"]).max() < MAX_STRESS]


def dataset(rows: Sequence[Row], elements: tuple[str, ...]) -> MGLDataset:
    """MatGL's data set of labelled rows."""
    labels = {key: [r[name] for r in rows] for key, name in (("energies", "energy"), ("forces", "forces"))}
    labels["stresses"] = [r["stress_GPa"] for r in rows]
    converter = Structure2Graph(element_types=elements, cutoff=CUTOFF)
    structures = [as_structure(r) for r in rows]
    with tempfile.TemporaryDirectory() as root:
        return MGLDataset(structures=structures, labels=labels, converter=converter, save_cache=False, root=root)


def train(rows: Sequence[Row], val: Sequence[Row], elements: tuple[str, ...], seed: int, epochs: int) -> Potential:
    """A small TensorNet fitted to energies, forces and stresses."""
    pl.seed_everything(seed, verbose=False)
    structures = [as_structure(r) for r in rows]
    shifts, _ = elemental_shifts(structures, np.array([r["energy"] for r in rows]), elements)
    spread = float(np.sqrt(np.mean(np.concatenate([np.ravel(r["forces"]) for r in rows]) ** 2)))
    options = {"units": 32, "nblocks": 1, "num_rbf": 16, "cutoff": CUTOFF, "is_intensive": False, "use_warp": False}
    core = TensorNet(element_types=elements, **options)
    module = PotentialLightningModule(
        core,
        element_refs=np.array([shifts[e] for e in elements]),
        data_std=spread,
        stress_weight=0.02,
        loss="huber_loss",
        loss_params={"delta": 0.2},
        lr=3e-3,
        decay_steps=epochs,
        decay_alpha=0.01,
    )
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    bar = pl.pytorch.callbacks.RichProgressBar(refresh_rate=50)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        inference_mode=False,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=5,
        callbacks=[bar],
        **quiet,
    )
    trainer.fit(module, *MGLDataLoader(dataset(rows, elements), dataset(val, elements), batch_size=32, num_workers=0))
    potential = module.model.eval()
    potential.model.feature_dict = {}
    return potential


def errors(potential: Potential, rows: Sequence[Row]) -> dict[str, Any]:
    """Mean absolute errors against the labels, and the labels' mean absolute values."""
    structures = [as_structure(r) for r in rows]
    own = label(structures, get_adapter(potential))
    atoms = np.array([len(s) for s in structures])
    forces = np.concatenate([np.array(r["forces"]) for r in rows])
    stress = np.array([r["stress_GPa"] for r in rows])
    return {
        "crystals": len(rows),
        "energy_eV_per_atom": float(np.abs((own.energy - [r["energy"] for r in rows]) / atoms).mean()),
        "force_eV_per_A": float(np.abs(np.concatenate(own.forces) - forces).mean()),
        "mean_force_eV_per_A": float(np.abs(forces).mean()),
        "stress_GPa": float(np.abs(own.stress / GPa - stress).mean()),
        "mean_stress_GPa": float(np.abs(stress).mean()),
    }


def main() -> None:
    """Read the options and make everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("matgl_fill/structures/assets"), help="folder for the results")
    parser.add_argument("--work", type=Path, default=Path("work"), help="folder for finished stages")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--copies", type=int, default=12, help="of every pool crystal")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--quick", action="store_true", help="a tiny version of everything; give another --out")
    args = parser.parse_args()
    crystals, evaluation = (
        read_structures(bundled.ASSETS / f"crystals_{part}.jsonl.gz").structures for part in ("pool", "eval")
    )
    if args.quick:
        args.copies, args.epochs, args.work = 1, 2, args.work / "quick"
        crystals, evaluation = crystals[:40], evaluation[:40]
    started = time.time()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    elements = tuple(sorted(elements_of(crystals), key=lambda e: Element(e).Z))
    tests = [s for s in evaluation if {e.symbol for e in s.elements} <= set(elements)][:150]
    name = f"{args.seed}-{args.copies}-{len(crystals)}"
    rows = labelled(copies_of(crystals, args.copies, args.seed, elements), args.work / f"potential-{name}.jsonl")
    test = labelled(copies_of(tests, 1, args.seed + 1, elements), args.work / f"potential-test-{name}.jsonl")
    console.print(f"labelled after {time.time() - started:.0f} s")
    held = np.random.default_rng([args.seed, 2]).permutation(len(rows))[: len(rows) // 20].tolist()
    val = [rows[i] for i in held]
    kept = [r for i, r in enumerate(rows) if i not in set(held)]
    fitted = args.work / f"potential-{name}-{args.epochs}"
    potential = matgl.load_model(fitted) if fitted.exists() else train(kept, val, elements, args.seed, args.epochs)
    note = "demonstration potential on SevenNet labels; made by examples/make_assets/make_potential.py"
    for folder in (fitted, args.out / "potential"):
        potential.save(
            folder, metadata={"description": note, "oracle": "SevenNet 7net-l3i5", "matgl_fill": package_facts()}
        )
    potential = matgl.load_model(args.out / "potential")
    for part, some in (("training", kept[:300]), ("validation", val), ("test", test)):
        console.print(part, {k: round(v, 4) for k, v in errors(potential, some).items()})
    sizes = {p.name: p.stat().st_size for p in sorted((args.out / "potential").iterdir())}
    console.print(sizes, f"{len(elements)} elements, wall time {time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
