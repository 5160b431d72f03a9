"""An observer that collects the frames of a simulation in which the model is on rough or new ground."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import ase.db
import ase.io
import numpy as np
from ase import Atoms

from matgl_fill.errors import InputError
from matgl_fill.files import atomic_write

if TYPE_CHECKING:
    from matgl_fill.calculator.pes import FillCalculator


class Watcher:
    """Collects frames, to attach to dynamics or an optimiser: ``dynamics.attach(calc.watch(atoms), interval=10)``.

    A frame is kept if its novelty or its roughness reaches a threshold, unless a frame kept already lies within
    ``spacing`` in latent space. Per-atom values count by their largest, so that one atom in a strange place is enough.
    Kept frames hold atoms and cell without results: a label can only come from an oracle.

    Args:
        calc: calculator that gives roughness and novelty.
        atoms: what is simulated; may instead be given at each call, for bands of images.
        novelty: keep frames whose novelty is at least this; None to leave it out.
        roughness: the same for roughness, 0 to 1.
        per_atom: the same for the largest novelty of an atom.
        spacing: least novelty of a kept frame with respect to the others kept, in the same unit.
        budget: frames at most.
        path: ``.extxyz`` file, rewritten whole at every new frame, or ASE ``.db``, in which every frame is one
            transaction. Frames that are there already are taken up and count.

    Attributes:
        frames: what was kept and is not learnt yet, with ``info`` for novelty, roughness and ``call``, the number of
            the call.
        calls: how often it was called.
        seen: how many frames reached a threshold.

    Raises:
        InputError: no threshold, or a file of another kind.
    """

    def __init__(
        self,
        calc: FillCalculator,
        atoms: Atoms | None = None,
        novelty: float | None = 1.0,
        roughness: float | None = None,
        per_atom: float | None = None,
        spacing: float = 0.1,
        budget: int = 50,
        path: str | Path | None = None,
    ) -> None:
        self.thresholds = {"novelty": novelty, "roughness": roughness, "max_novelty_per_atom": per_atom}
        if all(limit is None for limit in self.thresholds.values()):
            raise InputError("a watcher needs a threshold; give novelty, roughness or per_atom.")
        self.calc, self.atoms, self.spacing, self.budget = calc, atoms, spacing, budget
        self.path = None if path is None else Path(path)
        if self.path is not None and self.path.suffix not in (".extxyz", ".db"):
            raise InputError(f"frames cannot be written to '{self.path}'; give a name that ends in .extxyz or .db.")
        self.frames: list[Atoms] = []
        self.calls = self.seen = 0
        self._places: list[np.ndarray] = []
        self._written: list[Atoms] = []
        if self.path is not None and self.path.exists():
            for frame in ase.io.read(self.path, index=":"):
                self._keep(bare(frame), measured(self.calc, frame))

    def __call__(self, atoms: Atoms | None = None) -> bool:
        """Look at the present frame; True if it was kept.

        Args:
            atoms: frame; the watcher's own if not given.

        Raises:
            InputError: there are no atoms.
        """
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise InputError("the watcher has no atoms; give them when it is made or called.")
        self.calls += 1
        if len(self.frames) >= self.budget:
            return False
        facts = measured(self.calc, atoms)
        if not any(limit is not None and facts[name] >= limit for name, limit in self.thresholds.items()):
            return False
        self.seen += 1
        place = self.calc.embedding[0]
        if self._places:
            known = self.calc.reference.crystals
            others = known.standard(np.stack(self._places))
            if known.distance(place[None], others)[0] < self.spacing:
                return False
        self._keep(bare(atoms), facts)
        if self.path is not None:
            self._write(self.path)
        return True

    def clear(self) -> None:
        """Start anew; what was written stays in the file."""
        self.frames.clear()
        self._places.clear()

    def _keep(self, frame: Atoms, facts: dict[str, float]) -> None:
        frame.info |= facts | {"call": self.calls}
        self.frames.append(frame)
        self._written.append(frame)
        self._places.append(self.calc.embedding[0])

    def _write(self, path: Path) -> None:
        """Add the last frame to the file."""
        if path.suffix == ".db":
            path.parent.mkdir(parents=True, exist_ok=True)
            with ase.db.connect(path) as database:
                database.write(self._written[-1], key_value_pairs=self._written[-1].info)
            return
        text = io.StringIO()
        ase.io.write(text, self._written, format="extxyz")
        atomic_write(path, text.getvalue())


def bare(atoms: Atoms) -> Atoms:
    """Elements, positions and cell alone."""
    return Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def measured(calc: FillCalculator, atoms: Atoms) -> dict[str, float]:
    """Roughness and novelty of a frame, and the largest of its atoms; calculated only if it was not yet."""
    values = {name: calc.get_property(name, atoms) for name in ("roughness", "novelty")}
    for name in ("roughness", "novelty"):
        values[f"max_{name}_per_atom"] = float(np.max(calc.get_property(f"{name}_per_atom", atoms)))
    return values
