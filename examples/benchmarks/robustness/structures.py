"""Mutated files of crystals, and what reading and embedding make of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pymatgen.core import Structure
from torch import nn

import matgl_fill as mf
from examples.benchmarks.robustness import witness
from examples.benchmarks.robustness.mutators import Mutant, Rng
from examples.benchmarks.robustness.structure_files import FORMATS, crystals, written
from examples.benchmarks.robustness.structure_mutators import MUTATORS
from examples.benchmarks.robustness.verdict import Case, Outcome, Right, Verdict, of_error, warned
from examples.benchmarks.robustness.witness import Facts
from matgl_fill.errors import InputError
from matgl_fill.structures import Skipped
from matgl_fill.training.labels import read_labelled


@dataclass(frozen=True)
class Usual:
    """What the unchanged file gives: the crystals and their embedding."""

    structures: list[Structure]
    facts: list[Facts]
    Z: np.ndarray


def found_in(path: Path) -> tuple[list[Structure], list[Skipped], list[Facts]]:
    """Crystals of a file as the package reads them, what it skipped, and the crystals' facts with their labels.

    Raises:
        MatglFillError: The file is refused.
    """
    if not path.name.startswith("labelled"):
        found = mf.read_structures(path)
        return found.structures, found.skipped, [Facts.of_structure(s) for s in found]
    read = read_labelled(path)
    labels = zip(read.labels.energy, read.labels.forces, read.labels.stress, strict=True)
    facts = [Facts.of_structure(s).labelled(*own) for s, own in zip(read.structures, labels, strict=True)]
    return read.structures, read.skipped, facts


def cases(seed: int, n: int) -> list[Case]:
    """``n`` mutants, all mutators in turn on all formats in turn."""
    model = mf.load_model("default")
    files: dict[str, bytes] = {}
    usual: dict[str, Usual] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMATS:
            files[name] = written(name, list(crystals()), Path(folder))
            path = Path(folder, name)
            path.write_bytes(files[name])
            try:
                read, _, facts = found_in(path)
                usual[name] = Usual(read, facts, mf.embed(model, read))
            except InputError:  # an earlier version, which reads no such files
                usual[name] = Usual([], [], np.zeros(0))
    made = []
    for number, (mutate, name) in zip(range(n), _plan(), strict=False):
        judge = partial(_judge, mutate, name, files, seed + number, usual[name], model)
        made.append(Case("structure files", f"{name}, {mutate.__name__.strip('_')}", seed + number, judge))
    return made


def _plan() -> Iterator[tuple[Callable[[str, bytes, Rng], Mutant], str]]:
    turn = 0
    while True:
        for k, (mutate, takes) in enumerate(MUTATORS):
            names = [name for name in FORMATS if takes in name or not takes]
            yield mutate, names[(turn + k) % len(names)]
        turn += 1


def _judge(
    mutate: Callable[[str, bytes, Rng], Mutant],
    name: str,
    files: dict[str, bytes],
    seed: int,
    usual: Usual,
    model: nn.Module,
    folder: Path,
    tell: Callable[[str], None],
) -> Verdict:
    """Read one mutant and embed what was read."""
    mutant = mutate(name, files[name], np.random.default_rng(seed))
    tell(mutant.what)
    path = folder / name
    path.write_bytes(mutant.data)
    early = True
    try:
        with warned() as told:
            found, skipped, facts = found_in(path)
            early = False
            if wrong := [s for s in skipped if not s.reason.strip() or "\n" in s.reason]:
                return Verdict(Outcome.RAW, f"skipped without a reason in one line: {wrong[0]}")
            Z = mf.embed(model, found)
    except Exception as error:
        return of_error(error, early, mutant.right)
    reason = f"skipped {skipped[0].where}: {skipped[0].reason}" if skipped else "; ".join(told.texts[:1])
    if not np.isfinite(Z).all():
        return Verdict(Outcome.SILENT, "NaN or infinite embedding")
    same = len(found) == len(usual.structures) and all(map(_equal, found, usual.structures))
    if same and not any(one.differs(old) for one, old in zip(facts, usual.facts, strict=True)):
        return Verdict(Outcome.SAME) if np.array_equal(Z, usual.Z) else Verdict(Outcome.SILENT, "another embedding")
    if mutant.right is Right.SAME:
        return Verdict(Outcome.NEEDLESS, reason) if skipped else _same_crystals(facts, Z, usual)
    return _compared(path, mutant, facts, usual, reason)


def _compared(path: Path, mutant: Mutant, facts: list[Facts], usual: Usual, reason: str) -> Verdict:
    """Verdict of what was read, against the unchanged file, what the file declares, and another reader."""
    for one in facts:
        if word := witness.contradicted(path, one):
            return Verdict(Outcome.SILENT, f"the file says {word}")
    before = usual.facts
    new = [one for one in facts if all(one.differs(old) for old in before)]
    if not new and (reason or len(facts) >= len(before)):
        return Verdict(Outcome.TYPED, reason) if reason else Verdict(Outcome.SAME, "but for digits")
    if new and mutant.right is Right.REFUSE:
        return Verdict(Outcome.SILENT, f"read as {new[0].differs(before[0])}")
    try:
        says = witness.read(path)
    except Exception as error:
        word = new[0].differs(before[0]) if new else f"{len(facts)} of {len(before)} crystals"
        return Verdict(Outcome.SILENT, f"read as {word}; another reader: {error}")
    if len(facts) < len(says) and not reason:
        return Verdict(Outcome.SILENT, f"{len(facts)} of {len(says)} crystals, none skipped")
    if strange := [one for one in new if all(one.differs(other) for other in says)]:
        return Verdict(Outcome.SILENT, f"{strange[0].differs(says[0])} as another reader has it")
    return Verdict(Outcome.TYPED, reason) if reason else Verdict(Outcome.SAME, "what the file says")


def _equal(one: Structure, other: Structure) -> bool:
    """Whether two crystals are the same to the bit, where pymatgen's equality has a tolerance."""
    return (
        one.species == other.species
        and np.array_equal(one.lattice.matrix, other.lattice.matrix)
        and np.array_equal(one.frac_coords, other.frac_coords)
    )


def _same_crystals(facts: list[Facts], Z: np.ndarray, usual: Usual) -> Verdict:
    """The same crystals in another description have nearly the same embedding."""
    if len(facts) != len(usual.facts):
        return Verdict(Outcome.SILENT, f"{len(facts)} of {len(usual.facts)} crystals, none skipped")
    for one, old in zip(facts, usual.facts, strict=True):
        if word := one.differs(old):
            return Verdict(Outcome.SILENT, word)
    worst = float(np.abs(Z - usual.Z).max())
    return Verdict(Outcome.SILENT, f"embedding differs by {worst:.2g}") if worst > 1e-3 else Verdict(Outcome.SAME, "")
