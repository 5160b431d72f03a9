"""An observer that collects those frames of a simulation that are rough or new for the model."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import ase.db
import ase.io
import numpy as np
from ase import Atoms
from matgl.apps.pes import Potential

from matgl_fill.calculator.reference import LatentReference
from matgl_fill.errors import InputError
from matgl_fill.structures import read_frames
from matgl_fill.utils.files import atomic_write


class LatentCalculator(Protocol):
    """Calculator that a watcher can use, such as :class:`~matgl_fill.calculator.FillCalculator`."""

    potential: Potential
    lock: AbstractContextManager[Any]
    """Held while results and embedding are read, which have to be those of the same atoms."""
    embedding: tuple[np.ndarray, np.ndarray]
    """Structure (d,) and atom (N, d) embedding of the last calculation."""

    @property
    def reference(self) -> LatentReference:
        """The reference by which novelty is measured."""

    def get_property(self, name: str, atoms: Atoms) -> Any:
        """A result of the calculator, which is calculated only if it was not yet."""


class Watcher:
    """Observer that collects frames of dynamics or an optimiser: ``dynamics.attach(calc.watch(atoms), interval=10)``.

    A frame is kept if its novelty or roughness reaches a threshold, unless all its atoms lie within ``spacing`` of
    atoms of frames that are kept already: the mean over many atoms hardly moves in dynamics, single atoms do. Beyond
    the budget a new frame replaces the one that is least above its threshold, if it is further above its own: a
    simulation that goes on to stranger structures ends with the strangest.

    Kept frames hold atoms and cell without results: a label can only come from an oracle.

    Args:
        calc: Calculator that gives roughness and novelty.
        atoms: Atoms that are simulated; they may instead be given at each call, for bands of images.
        novelty: Frames are kept whose novelty is at least this; None leaves it out.
        per_atom: The same for the largest novelty of an atom: one atom in a strange environment is enough.
        roughness: The same for roughness, 0 to 1.
        spacing: Least distance of the newest atom of a kept frame from the atoms of the others, in units of novelty.
        budget: Number of frames that are kept at most.
        path: ``.extxyz`` file or ASE ``.db``, rewritten whole or not at all at every new frame. Frames that the file
            holds already are taken up and count.

    Attributes:
        frames: Frames that were kept and not learnt from yet, with ``info`` for novelty, roughness and ``call``, the
            number of the call.
        calls: Number of calls.
        seen: Number of frames that reached a threshold.
        nearest: Largest ratio of a measure to its threshold over the frames since the last that were learnt from.

    Raises:
        InputError: No threshold is given, one is not positive, the budget is below 1, or the file is of another kind.
    """

    def __init__(
        self,
        calc: LatentCalculator,
        atoms: Atoms | None = None,
        novelty: float | None = 1.0,
        per_atom: float | None = 1.0,
        roughness: float | None = None,
        spacing: float = 0.1,
        budget: int = 50,
        path: str | Path | None = None,
    ) -> None:
        limits = {"novelty": novelty, "max_novelty_per_atom": per_atom, "roughness": roughness}
        self.thresholds = {name: limit for name, limit in limits.items() if limit is not None}
        if not self.thresholds:
            raise InputError("a watcher needs a threshold; give novelty, per_atom or roughness.")
        if min(self.thresholds.values()) <= 0 or budget < 1:
            given = {"novelty": novelty, "per_atom": per_atom, "roughness": roughness, "budget": budget}
            told = ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)
            raise InputError(f"a watcher cannot use {told}; give positive thresholds and a budget of at least 1.")
        self.calc, self.atoms, self.spacing, self.budget = calc, atoms, spacing, budget
        self.path = None if path is None else Path(path)
        if self.path is not None and self.path.suffix not in (".extxyz", ".db"):
            raise InputError(f"frames cannot be written to '{self.path}'; give a name that ends in .extxyz or .db.")
        self.frames: list[Atoms] = []
        self.calls = self.seen = 0
        self.nearest = 0.0
        self._embeddings: list[np.ndarray] = []
        self._measured_by = calc.potential
        self._learnt: list[Atoms] = []
        if self.path is not None and self.path.exists():
            for frame in read_frames(self.path):
                facts = measured(calc, frame)
                self._add(bare(frame), facts, self.calls)

    def __call__(self, atoms: Atoms | None = None) -> bool:
        """Measure the present frame and keep it if it is rough or new; True if it was kept.

        Args:
            atoms: Frame to measure; the watcher's own atoms if not given.

        Raises:
            InputError: There are no atoms.
        """
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise InputError("the watcher has no atoms; give them to calc.watch(atoms), or when you call the watcher.")
        with self.calc.lock:
            return self._watch(atoms)

    def _watch(self, atoms: Atoms) -> bool:
        """Measure a frame and keep it if it is rough or new."""
        self.calls += 1
        if self._measured_by is not self.calc.potential:
            self._measure_again()
        facts = measured(self.calc, atoms)
        excess = self._excess(facts)
        self.nearest = max(self.nearest, excess)
        if excess < 1:
            return False
        self.seen += 1
        embedding = self.calc.embedding[1]
        others = list(self._embeddings)
        full = len(self.frames) >= self.budget
        if full:
            least = int(np.argmin([self._excess(frame.info) for frame in self.frames]))
            if self._excess(self.frames[least].info) >= excess:
                return False
            del others[least]
        if others:
            known = self.calc.reference.atoms
            if known.distance(embedding, known.standard(np.concatenate(others))).max() < self.spacing:
                return False
        if full:
            del self.frames[least], self._embeddings[least]
        self._add(bare(atoms), facts, self.calls)
        if self.path is not None:
            self._write(self.path)
        return True

    def clear(self) -> None:
        """Start anew after the frames were learnt; frames in the file stay there."""
        self._learnt += self.frames
        self.frames, self._embeddings, self.nearest = [], [], 0.0

    def _measure_again(self) -> None:
        """Take the kept frames' measures and embeddings from the calculator's present model."""
        kept, self.frames, self._embeddings = self.frames, [], []
        for frame in kept:
            self._add(frame, measured(self.calc, frame), frame.info["call"])
        self._measured_by = self.calc.potential

    def _excess(self, facts: dict[str, float]) -> float:
        """Largest ratio of a frame's measures to their thresholds."""
        return max(facts[name] / limit for name, limit in self.thresholds.items())

    def _add(self, frame: Atoms, facts: dict[str, float], call: int) -> None:
        frame.info = facts | {"call": call}
        self.frames.append(frame)
        self._embeddings.append(self.calc.embedding[1])

    def _write(self, path: Path) -> None:
        """Put everything that was kept in the file."""
        frames = [*self._learnt, *self.frames]
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / path.name
            if path.suffix == ".db":
                with ase.db.connect(whole) as database:
                    for frame in frames:
                        database.write(frame, key_value_pairs=frame.info)
            else:
                ase.io.write(whole, frames)
            atomic_write(path, whole.read_bytes())


def bare(atoms: Atoms) -> Atoms:
    """A copy of atoms that holds only elements, positions, cell and periodicity."""
    return Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def measured(calc: LatentCalculator, atoms: Atoms) -> dict[str, float]:
    """Roughness and novelty of a frame and the largest of its atoms, calculated only if they were not yet."""
    values = {name: calc.get_property(name, atoms) for name in ("roughness", "novelty")}
    for name in ("roughness", "novelty"):
        values[f"max_{name}_per_atom"] = float(np.max(calc.get_property(f"{name}_per_atom", atoms)))
    return values
