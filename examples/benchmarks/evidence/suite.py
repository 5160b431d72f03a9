"""The standing tasks: 17 properties of three files of labelled crystals, in two halves fixed before any experiment.

Settings were chosen on the half ``choosing``; ``reporting`` is only looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import typer
from pymatgen.core import Structure
from torch import nn

from matgl_fill import embed
from matgl_fill.errors import InputError
from matgl_fill.evaluation import Task, read_tasks
from matgl_fill.evaluation.probes import FITS, PROBES
from matgl_fill.evaluation.scores import score_embedding
from matgl_fill.structures import describe_structures, read_structures

Half = Literal["choosing", "reporting", "both"]
Names = tuple[tuple[str, str], ...]
PLAIN, DESCRIBED = "plain", "with descriptors"
"""Embeddings that are scored: as they are, and with :func:`matgl_fill.describe` concatenated."""
CHOOSING: Names = (
    ("mp_eval", "bulk_modulus_vrh_GPa"),
    ("mp_eval", "shear_modulus_vrh_GPa"),
    ("mp_eval", "poisson_ratio"),
    ("phonons_eval", "last_phdos_peak_per_cm"),
    ("mp_eval", "refractive_index_n"),
    ("mp_eval", "eps_poly_total"),
    ("mp_eval", "e_above_hull_2015_eV_per_atom"),
    ("perovskites_eval", "heat_of_formation_eV"),
)
REPORTING: Names = (
    ("mp_eval", "K_VRH_2015_GPa"),
    ("mp_eval", "G_VRH_2015_GPa"),
    ("mp_eval", "elastic_anisotropy"),
    ("mp_eval", "heat_capacity_300K_per_atom_J_per_mol_K"),
    ("mp_eval", "eps_poly_electronic"),
    ("mp_eval", "piezo_eij_max_C_per_m2"),
    ("mp_eval", "band_gap_petousis_eV"),
    ("perovskites_eval", "band_gap_eV"),
    ("mp_eval", "formation_energy_2015_eV_per_atom"),
)
LINEAR = {
    "poisson_ratio",
    "e_above_hull_2015_eV_per_atom",
    "heat_of_formation_eV",
    "formation_energy_2015_eV_per_atom",
    "heat_capacity_300K_per_atom_J_per_mol_K",
    "band_gap_petousis_eV",
    "band_gap_eV",
}
"""Labels predicted as they are; all others have heavy tails and are predicted as log10."""
OFFSET = {"elastic_anisotropy": 0.01, "piezo_eij_max_C_per_m2": 0.01}
"""Heavy tails that touch zero: log10(value + offset)."""

TRAINED_ON = {"Eform": "formation_energy_2015_eV_per_atom", "BandGap": "band_gap_petousis_eV"}
"""Standing tasks that are what models with a word in their name were trained for: no downstream tasks of theirs."""


def trained_on(model: str, task: str) -> bool:
    """Whether a task is what a model of that name was trained for.

    Example:
        >>> trained_on("MEGNet-MP-2018.6.1-Eform", "formation_energy_2015_eV_per_atom")
        True
    """
    return any(word in model and task == label for word, label in TRAINED_ON.items())


def tasks_of(folder: Path, names: Names, rows: int) -> list[Task]:
    """Tasks from a folder of labelled crystals, each cut to at most ``rows`` random ones.

    Args:
        folder: holds ``FILE.jsonl.gz`` for every file of ``names``.
        names: (file, label) of each task.
        rows: crystals per task at most.

    Raises:
        InputError: a file or a label is missing.
    """
    files = {}
    for file in dict.fromkeys(file for file, _ in names):
        path = folder / f"{file}.jsonl.gz"
        if not path.is_file():
            raise InputError(f"no file '{path}'; --data takes the folder that holds {file}.jsonl.gz.")
        files[file] = read_structures(path)
    tasks = []
    for file, label in names:
        data = files[file]
        if label not in data.labels:
            raise InputError(f"no label '{label}' in {folder / file}.jsonl.gz; there are {sorted(data.labels)}.")
        value = data.labels[label]
        keep = np.random.default_rng(0).permutation(np.flatnonzero(np.isfinite(value)))[:rows]
        part, y, name = data.subset(keep), value[keep], label
        if label not in LINEAR:
            y, name = np.log10(y + OFFSET.get(label, 0.0)), f"log {label}"
        tasks.append(Task(name, label, part.structures, y, np.array(part.formulas)))
    return tasks


def check_one(data: Path | None, tasks: str | None) -> None:
    """Refuse a command line that does not say where the tasks are, or says it twice.

    Raises:
        BadParameter: it does.
    """
    if (data is None) == (tasks is None):
        raise typer.BadParameter("give either --data or --tasks.")


@dataclass(frozen=True)
class Suite:
    """Tasks that share crystals, each of which is embedded and described once.

    Attributes:
        tasks: t of them.
        halves: (t) half of each, empty for tasks of the user's own.
    """

    tasks: Sequence[Task]
    halves: Sequence[str]

    @classmethod
    def of_folder(cls, folder: Path, half: Half, rows: int) -> Suite:
        """The standing tasks of one half or both.

        Raises:
            InputError: as in :func:`tasks_of`.
        """
        names = {"choosing": CHOOSING, "reporting": REPORTING, "both": CHOOSING + REPORTING}[half]
        halves = ["choosing" if name in CHOOSING else "reporting" for name in names]
        return cls(tasks_of(folder, names, rows), halves)

    @classmethod
    def of_file(cls, path: str, rows: int) -> Suite:
        """Every label of a file, ``default`` for those of the bundled one, cut to at most ``rows`` random crystals.

        Raises:
            InputError: as in :func:`matgl_fill.evaluate.read_tasks`.
        """
        tasks = []
        for task in read_tasks(path):
            keep = np.random.default_rng(0).permutation(len(task))[:rows]
            tasks.append(task.subset(keep))
        return cls(tasks, [""] * len(tasks))

    @classmethod
    def asked(cls, data: Path | None, tasks: str | None, half: Half, rows: int) -> Suite:
        """Tasks of a folder or of a file, whichever a command line gives.

        Raises:
            BadParameter: both are given, or neither.
            InputError: as in :func:`tasks_of` and :func:`matgl_fill.evaluate.read_tasks`.
        """
        check_one(data, tasks)
        return cls.of_folder(data, half, rows) if data else cls.of_file(str(tasks), rows)

    @cached_property
    def structures(self) -> list[Structure]:
        """Crystals of all tasks, each once."""
        return list({id(s): s for task in self.tasks for s in task.structures}.values())

    @cached_property
    def descriptors(self) -> np.ndarray:
        """(crystals, k) of :func:`matgl_fill.describe`."""
        return describe_structures(self.structures)

    def embed(self, model: nn.Module, layers: Literal["last", "all"] = "last") -> np.ndarray:
        """(crystals, dim) embedding as :func:`matgl_fill.embed` gives it.

        Raises:
            InputError: the model does not know an element.
        """
        return embed(model, self.structures, layers=layers)

    def scores(self, embeddings: dict[str, np.ndarray], folds: int) -> list[dict[str, Any]]:
        """Probe errors on every task, as JSON has them.

        Args:
            embeddings: (crystals, dim) each, by name.
            folds: shuffles of the five folds.

        Returns:
            One row a task: name, half, unit, crystals, error of the median of all labels, and under the name of each
            embedding probe -> errors of the shuffles; :data:`PLAIN` embeddings are probed by a small network too.
        """
        place = {id(s): i for i, s in enumerate(self.structures)}
        rows = []
        for task, half in zip(self.tasks, self.halves, strict=True):
            row: dict[str, Any] = {"task": task.name, "half": half, "unit": task.unit, "n": len(task)}
            row["median"] = float(np.abs(task.y - np.median(task.y)).mean())
            own = [place[id(s)] for s in task.structures]
            for name, Z in embeddings.items():
                score = score_embedding(Z[own], task, folds, tuple(FITS) if name == PLAIN else PROBES)
                row[name] = {probe: errors.tolist() for probe, errors in score.mae.items()}
            rows.append(row)
        return rows
