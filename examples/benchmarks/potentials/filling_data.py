"""Labelled crystals to fill a potential with: files of the study as extended XYZ, and which of them to calculate."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.stress import full_3x3_to_voigt_6_stress
from pymatgen.core import Composition, Structure

from examples.benchmarks.common.printing import console
from matgl_fill import describe
from matgl_fill.adapters import Adapter, predict
from matgl_fill.embedding import usable_crystals
from matgl_fill.errors import InputError
from matgl_fill.roughness import graph_roughness
from matgl_fill.structures import Skipped, elements_of, formulas_of, read_each, read_frames, read_structures
from matgl_fill.training import Labels, read_labelled
from matgl_fill.training.labels.oracle import MAX_FORCE
from matgl_fill.utils.files import atomic_folder
from matgl_fill.utils.scaling import Scaling

TEST_SEED, TEST_SHARE = 7, 1 / 3
"""Seed by which configurations are held out where a file does not say which are to test, and share of the formulas of
a file of extended XYZ that are held out."""


@dataclass(frozen=True)
class Labelled:
    """The n labelled crystals of a file.

    Attributes:
        frames: as ASE reads them, with their labels.
        structures: as the package reads them.
        labels: of the crystals.
    """

    frames: list[Atoms]
    structures: list[Structure]
    labels: Labels

    def __len__(self) -> int:
        """Number of crystals."""
        return len(self.frames)

    @classmethod
    def read(cls, path: Path, adapter: Adapter) -> Labelled:
        """Read the labelled crystals of a file that a potential can take.

        Raises:
            InputError: there is no labelled crystal, or no one that the potential can take.
        """
        frames = [atoms for atoms in read_frames(path) if isinstance(atoms, Atoms)]
        crystals = read_each(frames)
        found = [(a, s) for a, s in zip(frames, crystals, strict=True) if not isinstance(s, Skipped)]
        rows = usable_crystals(adapter, formulas_of([s for _, s in found]), [s for _, s in found], graphs=True).rows
        kept = [found[i][0] for i in rows]
        labelled = read_labelled(kept)
        if labelled.skipped:
            first = labelled.skipped[0]
            raise InputError(f"{path}: {first.where}: {first.reason}; the study needs a label on every crystal.")
        return cls(kept, labelled.structures, labelled.labels)

    def subset(self, rows: np.ndarray) -> Labelled:
        """Some of the crystals."""
        return Labelled([self.frames[i] for i in rows], [self.structures[i] for i in rows], self.labels.subset(rows))


def force_differences(a: Adapter, b: Adapter, structures: list[Structure]) -> np.ndarray:
    """Mean absolute difference (n,) between the force components of two potentials on each of n crystals, eV/A."""
    first, second = (predict(x, x.graphs(structures)).forces for x in (a, b))
    return np.array([np.abs(f - g).mean() for f, g in zip(first, second, strict=True)])


CHOICES = ("random", "farthest", "rough", "disagreement")
"""Which crystals are calculated first: random ones; those farthest from each other in the potential's embedding; those
where its local roughness is highest; or those on whose forces the potential and a second one differ most."""


def order(choice: str, adapter: Adapter, second: Adapter | None, crystals: Labelled, seed: int) -> np.ndarray:
    """Order (n,) in which n crystals are calculated; no choice looks at a label.

    Args:
        choice: one of :data:`CHOICES`.
        adapter: of the potential.
        second: of another potential, for disagreement.
        crystals: to choose from.
        seed: of random and farthest ones; the others are the same at every seed.

    Raises:
        InputError: disagreement is asked for without another potential.
    """
    rng = np.random.default_rng(seed)
    if choice == "random":
        return rng.permutation(len(crystals))
    if choice == "disagreement":
        if second is None:
            raise InputError("choice 'disagreement' needs another potential; give one by --second.")
        return np.argsort(-force_differences(adapter, second, crystals.structures), kind="stable")
    Z = adapter.embed_graphs(adapter.graphs(crystals.structures))[0].astype(float)
    if choice == "rough":
        return np.argsort(-graph_roughness(Z, describe(crystals.structures)).local(Z), kind="stable")
    X, picked = Scaling.of(Z)(Z), [int(rng.integers(len(Z)))]
    distance = np.linalg.norm(X - X[picked[0]], axis=1)
    while len(picked) < len(Z):
        distance[picked] = -1.0
        picked.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(X - X[picked[-1]], axis=1))
    return np.array(picked)


def crystals_elsewhere(source: Any, elements: tuple[str, ...], count: int, max_atoms: int, adapter: Adapter) -> list:
    """Draw crystals that hold an element outside of a class, always the same.

    Args:
        source: anything :func:`matgl_fill.read_structures` takes.
        elements: of the class.
        count: crystals, at most.
        max_atoms: largest number of atoms.
        adapter: of the potential, which can take them.

    Raises:
        InputError: there is no such crystal.
    """
    found = read_structures(source)
    fits = [s for s in found.structures if len(s) <= max_atoms and set(elements_of([s])) - set(elements)]
    order = np.random.default_rng(0).permutation(len(fits))
    drawn = [fits[i] for i in order[: 4 * count]]
    rows = usable_crystals(adapter, formulas_of(drawn), drawn, graphs=True).rows[:count]
    if not rows:
        raise InputError(f"{source} holds no crystal of up to {max_atoms} atoms with an element outside of the class.")
    return [drawn[i] for i in rows]


def _frame(row: dict[str, Any]) -> Atoms:
    """A line of a file of the study, in one of its two forms, as ASE's atoms with their labels."""
    if "structure" in row:
        made = row["structure"]
        atoms = Atoms(made["species"], cell=made["lattice"], scaled_positions=made["frac_coords"], pbc=True)
    else:
        atoms = Atoms(row["numbers"], cell=row["cell"], positions=row["positions"], pbc=True)
    labels = {"energy": row["energy_eV"], "forces": np.array(row["forces_eV_per_A"], dtype=float)}
    if "stress_eV_per_A3" in row:
        labels["stress"] = full_3x3_to_voigt_6_stress(np.array(row["stress_eV_per_A3"]))
    atoms.calc = SinglePointCalculator(atoms, **labels)
    atoms.info["id"] = row["id"]
    return atoms


def filling_data(
    source: Annotated[Path, typer.Argument(help="Labelled crystals: JSON lines of the study, or extended XYZ.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of train.extxyz and test.extxyz.")],
    max_atoms: Annotated[int, typer.Option(min=1, help="Largest number of atoms of a crystal.")] = 64,
    test: Annotated[int, typer.Option(min=1, help="Configurations to test on, where the file names none.")] = 80,
) -> None:
    """Labelled crystals of the study as extended XYZ, to learn from and to test on.

    The study's files say which are to test, or they are drawn by a seed; of extended XYZ a third of the formulas is.
    Crystals with a force on which the package does not rely are left out.
    """
    parts = _by_formula(source, max_atoms) if source.suffix == ".extxyz" else _by_row(source, test, max_atoms)
    if not all(parts.values()):
        raise InputError(f"{source} does not hold crystals of up to {max_atoms} atoms to learn from and to test on.")

    def save(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for name, frames in parts.items():
            write(folder / f"{name}.extxyz", frames)

    atomic_folder(out, save)
    console.print(f"{len(parts['train'])} labelled crystals to learn from, {len(parts['test'])} to test on")


def _by_formula(source: Path, max_atoms: int) -> dict[str, list[Atoms]]:
    """Frames to learn from and to test on, of different formulas."""
    read = [atoms for atoms in read_frames(source) if isinstance(atoms, Atoms)]
    frames = [a for a in read if len(a) <= max_atoms and np.abs(a.get_forces()).max() <= MAX_FORCE]
    formulas = [Composition(atoms.get_chemical_formula()).reduced_formula for atoms in frames]
    names = np.random.default_rng(TEST_SEED).permutation(sorted(set(formulas)))
    tested = set(names[: int(len(names) * TEST_SHARE)])
    pairs = list(zip(frames, formulas, strict=True))
    return {"train": [a for a, f in pairs if f not in tested], "test": [a for a, f in pairs if f in tested]}


def _by_row(source: Path, test: int, max_atoms: int) -> dict[str, list[Atoms]]:
    """Frames to learn from and to test on, as the rows of a file say or by a seed."""
    with gzip.open(source, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    rows = [row for row in rows if len(row["forces_eV_per_A"]) <= max_atoms]
    rows = [row for row in rows if np.abs(row["forces_eV_per_A"]).max() <= MAX_FORCE]
    if rows and "split" not in rows[0]:
        order = np.random.default_rng(TEST_SEED).permutation(len(rows)).tolist()
        tested = set(order[: min(test, len(rows) // 2)])
        rows = [row | {"split": "test" if i in tested else "train"} for i, row in enumerate(rows)]
    return {name: [_frame(row) for row in rows if row["split"] == name] for name in ("train", "test")}
