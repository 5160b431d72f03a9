"""A potential before and after by matcalc's benchmarks, on crystals of a class and on others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from examples.benchmarks.common.printing import console
from matgl_fill import get_adapter, load_model, read_structures
from matgl_fill.adapters import Adapter
from matgl_fill.embedding import usable_crystals
from matgl_fill.errors import InputError
from matgl_fill.evaluation import PhysicsComparison, PhysicsResult, compare_physics, evaluate_physics, made_of
from matgl_fill.evaluation.physics import physics_rows
from matgl_fill.evaluation.potential import change_table
from matgl_fill.structures import StructureSet, csv_text
from matgl_fill.utils.files import atomic_write

GROUPS = ("class", "others")


@dataclass(frozen=True)
class Sample:
    """Crystals of all files.

    Attributes:
        crystals: with the labels of their files.
        groups: of each crystal, one of :data:`GROUPS`.
    """

    crystals: StructureSet
    groups: list[str]

    def of(self, group: str, result: PhysicsResult) -> PhysicsResult:
        """The rows of one group."""
        ids = {one for one, name in zip(self.crystals.ids, self.groups, strict=True) if name == group}
        return PhysicsResult(tuple(row for row in result.rows if row.id in ids), [])


def draw(files: Sequence[Path], elements: Collection[str], each: int, adapters: Sequence[Adapter]) -> Sample:
    """Draw crystals from every file at random, always the same.

    Args:
        files: of crystals with reference values, such as those of matcalc's benchmarks.
        elements: of the class: crystals of these alone belong to it, all others do not.
        each: crystals of each group from each file, at most.
        adapters: of the potentials, which must be able to take the crystals.

    Raises:
        InputError: no crystal can be used.
    """
    parts: list[tuple[str, str, StructureSet]] = []
    for path in files:
        found = read_structures(path)
        for adapter in adapters:
            found = found.subset(usable_crystals(adapter, found.ids, found.structures).rows)
        for group in GROUPS:
            some = made_of(found, elements, others=group == "others")
            rows = np.sort(np.random.default_rng(0).permutation(len(some))[:each])
            parts.append((path.name.split(".")[0], group, some.subset(rows)))
    names = dict.fromkeys(name for _, _, part in parts for name in part.labels)
    missing = [{name: np.full(len(part), np.nan) for name in names} | part.labels for _, _, part in parts]
    crystals = StructureSet(
        [structure for _, _, part in parts for structure in part],
        [f"{file}/{one}" for file, _, part in parts for one in part.ids],
        {name: np.concatenate([labels[name] for labels in missing]) for name in names},
        [],
    )
    if not len(crystals):
        raise InputError(f"no crystal of {', '.join(map(str, files))} that both potentials can take.")
    return Sample(crystals, [group for _, group, part in parts for _ in range(len(part))])


def compare_yardsticks(
    sample: Sample, before: Adapter, after: Adapter, out: Path
) -> tuple[dict[str, PhysicsComparison], list[tuple[str, PhysicsResult]]]:
    """Both potentials on all crystals of a sample.

    Args:
        sample: the crystals.
        before: adapter of one potential.
        after: adapter of the other.
        out: folder that keeps what has been calculated; when interrupted, the same call goes on.

    Returns:
        The comparison of each group that has crystals, and the results of both potentials.
    """
    out.mkdir(parents=True, exist_ok=True)
    results = [
        (name, evaluate_physics(adapter, sample.crystals, state=out / f"{name}.state"))
        for name, adapter in (("before", before), ("after", after))
    ]
    groups = [group for group in GROUPS if group in sample.groups]
    return {g: compare_physics(*(sample.of(g, result) for _, result in results)) for g in groups}, results


def matcalc(
    model: Annotated[str, typer.Argument(help="Potential after tuning: directory, or 'potential'.")],
    against: Annotated[str, typer.Option(help="The same before tuning.")],
    data: Annotated[Path, typer.Option(help="Folder of matcalc's benchmark files (.json.gz), or one file.")],
    class_elements: Annotated[str, typer.Option(help="Elements of the class, such as Al,Cu,Ni.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of changes.csv and crystals.csv.")],
    each: Annotated[int, typer.Option(min=1, help="Crystals of the class and as many others, from every file.")] = 100,
) -> None:
    """Relaxed volume, elasticity and heat capacity of a class and of other crystals against DFT, before and after."""
    before, after = (get_adapter(load_model(name)) for name in (against, model))
    files = sorted(data.glob("*.json*")) if data.is_dir() else [data]
    sample = draw(files, {e.strip() for e in class_elements.split(",")}, each, [before, after])
    compared, results = compare_yardsticks(sample, before, after, out)
    rows = [{"crystals_of": group} | asdict(change) for group, found in compared.items() for change in found.changes]
    atomic_write(out / "changes.csv", csv_text(rows))
    atomic_write(out / "crystals.csv", csv_text(physics_rows(results)))
    for group, found in compared.items():
        lost = [sum(n.values()) for n in (found.failed_before, found.failed_after, found.failed_both)]
        console.print(change_table(f"{group}: {lost[0]} failed only before, {lost[1]} only after", found.changes))
