"""What an unfinished run leaves in its folder, so that it goes on from there to the same bits."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure
from torch import nn

from matgl_fill.adapters import Adapter
from matgl_fill.errors import InputError
from matgl_fill.generation import Proposal
from matgl_fill.training import Labels, Source
from matgl_fill.training.correction.tangents import Tangents
from matgl_fill.training.labels.stiffness import responses
from matgl_fill.utils.console import console
from matgl_fill.utils.files import atomic_write, read_arrays, write_arrays
from matgl_fill.utils.hashing import hash_model, hash_structure
from matgl_fill.utils.machine import machine_facts

FOLDER = "run.partial"
"""Name in the run's folder."""
SEARCH, TRAINING = "search.pt", "training.pt"
"""Files that search and training write themselves."""
FACTS, PROPOSALS = "run.json", "proposals.npz"
TOGETHER = 10
"""Crystals that are labelled, nine calculations each, before their labels are saved."""


def what_it_depends_on(
    model: nn.Module, structures: Sequence[Structure], ids: Sequence[str], oracle: Source | None, **settings: Any
) -> dict[str, Any]:
    """All that a run depends on, by name, as JSON has it.

    Args:
        model: to be tuned.
        structures: (n) usable crystals of the pool.
        ids: (n) their ids.
        oracle: that labels, as :func:`matgl_fill.training.resolve` gives it.
        settings: whatever else matters.
    """
    pool = hashlib.sha256(json.dumps(list(ids)).encode())
    for structure in structures:
        pool.update(hash_structure(structure))
    facts = {
        "model": hash_model(model),
        "pool": pool.hexdigest(),
        "oracle": oracle_fact(oracle),
        "versions": machine_facts()["versions"] | {"matgl_fill": version("matgl_fill")},
    }
    return facts | settings


def oracle_fact(oracle: Source | None) -> str:
    """What an oracle's labels depend on: weights of its networks, class and, as far as JSON holds them, parameters."""
    if oracle is None:
        return str(None)
    if isinstance(oracle, Adapter):
        return hash_model(oracle.model)
    kind = type(oracle)
    parameters = json.dumps(dict(oracle.parameters), sort_keys=True, default=lambda x: type(x).__name__)
    networks = [hash_model(part) for _, part in sorted(vars(oracle).items()) if isinstance(part, nn.Module)]
    return " ".join([f"{kind.__module__}.{kind.__qualname__}", parameters, *networks])


class RunState:
    """The saved stages of one run.

    Args:
        out: folder of the run, in which they are kept in :data:`FOLDER`; None keeps nothing.
        facts: what the run depends on, from :func:`what_it_depends_on`.
        resume: go on from what is there; otherwise it is removed.

    Raises:
        InputError: what is there belongs to another run.
    """

    def __init__(self, out: str | Path | None, facts: dict[str, Any], resume: bool) -> None:
        self._folder = None if out is None else Path(out) / FOLDER
        if self._folder is None:
            return
        path = self._folder / FACTS
        if resume and path.exists():
            self._check(path, facts)
            console.print(f"going on from {self._folder}", highlight=False)
            return
        if path.exists():
            console.print(f"starting over; the unfinished run in {self._folder} is dropped", highlight=False)
        self.remove()
        atomic_write(path, json.dumps(facts, indent=2) + "\n")

    @staticmethod
    def _check(path: Path, facts: dict[str, Any]) -> None:
        """Refuse the state of another run."""
        try:
            saved = dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path} does not say what was run; remove {path.parent} to start over.") from error
        given = json.loads(json.dumps(facts))
        if other := [name for name in given if saved.get(name) != given[name]]:
            raise InputError(
                f"{path.parent} belongs to a run with another {', another '.join(other)}; "
                "give what was given then, or start over without resume."
            )

    def file(self, name: str) -> Path | None:
        """Where a stage of that name saves itself; None if nothing is kept."""
        return None if self._folder is None else self._folder / name

    def remove(self) -> None:
        """Remove what is kept; first what makes it valid, so that an interruption leaves nothing half valid."""
        if self._folder is not None and self._folder.exists():
            (self._folder / FACTS).unlink(missing_ok=True)
            shutil.rmtree(self._folder)

    def proposals(self, make: Callable[[], list[Proposal]]) -> list[Proposal]:
        """The saved crystals, or those that ``make`` gives, which are then saved."""
        path = self.file(PROPOSALS)
        if path is not None and path.exists():
            saved = read_arrays(path, "a state of a run")
            rows = zip(json.loads(saved["rows"].item()), saved["targets"], strict=True)
            return [Proposal(structure=Structure.from_dict(r.pop("structure")), target=t, **r) for r, t in rows]
        made = make()
        if path is not None:
            kept = ("id", "parent", "moves", "target_row", "distance", "roughness")
            table = [{k: getattr(p, k) for k in kept} | {"structure": p.structure.as_dict()} for p in made]
            write_arrays(path, {"rows": json.dumps(table), "targets": np.array([p.target for p in made])})
        return made

    def responses(
        self, structures: Sequence[Structure], source: Source, plain: bool = False
    ) -> tuple[np.ndarray, Labels]:
        """As :func:`matgl_fill.training.labels.stiffness.responses`, saved after every :data:`TOGETHER` crystals.

        What is left is told after the first that had to be calculated.
        """
        parts: list[tuple[np.ndarray, Labels]] = []
        told = False
        for first in range(0, len(structures), TOGETHER):
            start = time.perf_counter()
            some = structures[first : first + TOGETHER]
            part, known = self._responses(some, source, first, plain)
            parts.append(part)
            left = len(structures) - first - len(some)
            if left and not known and not told:
                seconds = (time.perf_counter() - start) / len(some) * left
                console.print(f"labelling {left} more crystals, about {seconds:.0f} s", highlight=False)
                told = True
        Y = np.concatenate([y for y, _ in parts])
        energy, stress = (np.concatenate([getattr(x, k) for _, x in parts]) for k in ("energy", "stress"))
        return Y, Labels(energy, [f for _, x in parts for f in x.forces], stress)

    def _responses(
        self, structures: Sequence[Structure], source: Source, seed: int, plain: bool
    ) -> tuple[tuple[np.ndarray, Labels], bool]:
        """Responses of a few crystals, and whether they had been saved."""
        key = hashlib.sha256(f"{seed} {plain}".encode() + b"".join(hash_structure(s) for s in structures))
        path = self.file(f"labels-{key.hexdigest()[:20]}.npz")
        if path is not None and path.exists():
            saved = read_arrays(path, "a state of a run")
            forces = np.split(saved["forces"], np.cumsum([len(s) for s in structures])[:-1])
            return (saved["Y"], Labels(saved["energy"], forces, saved["stress"])), True
        Y, labels = responses(structures, source, seed, plain)
        if path is not None:
            joined = np.concatenate(labels.forces)
            write_arrays(path, {"Y": Y, "energy": labels.energy, "forces": joined, "stress": labels.stress})
        return (Y, labels), False

    def tangents(self, number: int, make: Callable[[], Tangents]) -> Tangents:
        """The saved derivatives of crystal ``number``, or those that ``make`` gives, which are then saved."""
        path = self.file(f"tangents-{number:05d}.npz")
        if path is not None and path.exists():
            saved = read_arrays(path, "a state of a run")
            return Tangents(float(saved.pop("energy")), float(saved.pop("volume")), **saved)
        made = make()
        if path is not None:
            write_arrays(path, {f.name: np.asarray(getattr(made, f.name)) for f in fields(Tangents)})
        return made
