"""The state that an unfinished run leaves in its folder, from which it goes on to the same bits."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pymatgen.core import Structure
from torch import nn

from matgl_fill.adapters import Adapter
from matgl_fill.embedding import Pool
from matgl_fill.errors import InputError
from matgl_fill.generation import Proposal
from matgl_fill.training.correction.tangents import Tangents
from matgl_fill.training.labels import Labels, Responses, Source, responses
from matgl_fill.training.request import FillRequest
from matgl_fill.training.supplied import SuppliedCrystals
from matgl_fill.utils.checkpoint import Checkpoint
from matgl_fill.utils.console import console
from matgl_fill.utils.counting import counted
from matgl_fill.utils.files import atomic_write, check_unused
from matgl_fill.utils.hashing import hash_model, hash_parts, hash_structure
from matgl_fill.utils.machine import machine_facts

FOLDER = "run.partial"
"""Name of the state's folder in the run's folder."""
WRITTEN = ("model", "proposals.extxyz", "cif", "config.toml", "report.json", "report.html")
"""What a finished run leaves in its folder."""
SEARCH, TRAINING = "search.pt", "training.pt"
"""Names of the files that search and training write themselves."""
FACTS, PROPOSALS = "run.json", "proposals.pt"
TOGETHER = 10
"""Number of crystals that are labelled, with nine calculations each, before their labels are saved."""


def check_free(out: str | Path | None, resume: bool, overwrite: bool) -> None:
    """Refuse the folder of a finished run, unless it may be replaced or an unfinished run in it goes on.

    Raises:
        InputError: ``out`` holds files that would be replaced.
    """
    if out is not None and not overwrite and not (resume and (Path(out) / FOLDER).exists()):
        check_unused(out, WRITTEN)


def run_fingerprint(request: FillRequest, pool: Pool, supplied: SuppliedCrystals | None) -> dict[str, Any]:
    """All that a run depends on, by name, in types that JSON has.

    Args:
        request: Request of the run.
        pool: Pool of the run.
        supplied: Crystals that came with the call, if any did.
    """
    model = request.adapter.model
    return model_and_pool(model, pool.structures, pool.ids) | {
        "oracle": oracle_fingerprint(request.oracle.source if request.oracle else None),
        "n": request.n,
        "seed": request.seed,
        "objective": request.objective,
        "settings": request.settings.model_dump(),
        "crystals": supplied.fingerprint() if supplied else None,
        "frozen": [name for name, p in model.named_parameters() if not p.requires_grad],
    }


def model_and_pool(model: nn.Module, structures: Sequence[Structure], ids: Sequence[str]) -> dict[str, Any]:
    """Hashes of a model and of n crystals with their ids, and versions on which results depend."""
    return {
        "model": hash_model(model),
        "pool": hash_parts(json.dumps(list(ids)), *map(hash_structure, structures)),
        "versions": machine_facts()["versions"] | {"matgl_fill": version("matgl_fill")},
    }


def oracle_fingerprint(oracle: Source | None) -> str:
    """All that an oracle's labels depend on: class, weights of networks and, as far as JSON holds them, parameters."""
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
        out: Folder of the run, in which the stages are kept in :data:`FOLDER`; None keeps nothing.
        fingerprint: All that the run depends on, from :func:`run_fingerprint`.
        resume: Whether the run goes on from a saved state; otherwise that state is removed.

    Raises:
        InputError: The saved state belongs to another run.
    """

    def __init__(self, out: str | Path | None, fingerprint: dict[str, Any], resume: bool) -> None:
        self._folder = None if out is None else Path(out) / FOLDER
        self._run = json.dumps(fingerprint, sort_keys=True)
        if self._folder is None:
            return
        path = self._folder / FACTS
        if resume and path.exists():
            self._check(path, fingerprint)
            console.print(f"going on from {self._folder}", highlight=False)
            return
        if path.exists():
            console.print(f"starting over: the unfinished run in {self._folder} is dropped", highlight=False)
        self.remove()
        atomic_write(path, json.dumps(fingerprint, indent=2) + "\n")

    @staticmethod
    def _check(path: Path, fingerprint: dict[str, Any]) -> None:
        """Refuse the state of another run."""
        try:
            saved = dict(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise InputError(
                f"the run cannot be resumed: {path} does not say what was run; remove {path.parent} to start over."
            ) from error
        given = json.loads(json.dumps(fingerprint))
        if other := [name for name in given if saved.get(name) != given[name]]:
            raise InputError(
                f"the run cannot be resumed: {path.parent} belongs to a run with another {', another '.join(other)}; "
                "give what was given then, or start over without resume."
            )

    def file(self, name: str) -> Path | None:
        """Path of the file to which the stage ``name`` saves itself; None if nothing is kept."""
        return None if self._folder is None else self._folder / name

    def remove(self) -> None:
        """Remove the saved state; what makes it valid goes first, so that an interruption leaves no valid part."""
        if self._folder is not None and self._folder.exists():
            (self._folder / FACTS).unlink(missing_ok=True)
            shutil.rmtree(self._folder)

    def proposals(self, make: Callable[[], list[Proposal]]) -> list[Proposal]:
        """The saved crystals, or those that ``make`` gives, which are then saved."""
        checkpoint = self._checkpoint(PROPOSALS)
        if (saved := checkpoint.load()) is not None:
            return [Proposal(**row | {"structure": Structure.from_dict(row["structure"])}) for row in saved["rows"]]
        made = make()
        checkpoint.save({"rows": [vars(p) | {"structure": p.structure.as_dict()} for p in made]})
        return made

    def responses(self, structures: Sequence[Structure], source: Source, *, plain: bool = False) -> Responses:
        """Responses as from :func:`matgl_fill.training.labels.responses`, saved after every :data:`TOGETHER` crystals.

        The remaining time is printed after the first crystals that had to be calculated.

        Args:
            structures: Crystals to ask about.
            source: Energy model.
            plain: Whether only labels are calculated.
        """
        parts: list[Responses] = []
        told = False
        for first in range(0, len(structures), TOGETHER):
            start = time.perf_counter()
            some = structures[first : first + TOGETHER]
            part, known = self._responses(some, source, first, plain)
            parts.append(part)
            left = len(structures) - first - len(some)
            if left and not known and not told:
                seconds = (time.perf_counter() - start) / len(some) * left
                console.print(f"labelling {counted(left, 'more crystal')}, about {seconds:.0f} s", highlight=False)
                told = True
        return Responses.joined(parts)

    def _responses(
        self, structures: Sequence[Structure], source: Source, seed: int, plain: bool
    ) -> tuple[Responses, bool]:
        """Responses of a few crystals, and whether they had been saved."""
        key = hash_parts(f"{seed} {plain}".encode(), *map(hash_structure, structures))
        checkpoint = self._checkpoint(f"labels-{key[:20]}.pt")
        if (saved := checkpoint.load()) is not None:
            return Responses(saved["values"], Labels(saved["energy"], saved["forces"], saved["stress"])), True
        found = responses(structures, source, seed, plain)
        checkpoint.save({"values": found.values} | vars(found.labels))
        return found, False

    def tangents(self, number: int, make: Callable[[], Tangents]) -> Tangents:
        """The saved derivatives of crystal ``number``, or those that ``make`` gives, which are then saved."""
        checkpoint = self._checkpoint(f"tangents-{number:05d}.pt")
        if (saved := checkpoint.load()) is not None:
            return Tangents(**saved)
        made = make()
        checkpoint.save(asdict(made))
        return made

    def _checkpoint(self, name: str) -> Checkpoint:
        """Checkpoint of a stage; its key says which stage of which run it is."""
        return Checkpoint(self.file(name), hash_parts(name, self._run), "the run")
