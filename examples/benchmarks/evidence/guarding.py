"""What the guard accepts: runs over learning rates, steps, pools and seeds, each judged by several guards.

A run is trained once. Then the guard of the package judges it, and so do two others, so that every rule sees the same
trainings; the bundled tasks, whose crystals no pool and no guard holds, say what each of them should have said.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from examples.benchmarks.common.options import numbers
from examples.benchmarks.common.printing import console, print_table
from examples.benchmarks.common.rows import Lines, Row
from matgl_fill import get_adapter, load_model, read_structures
from matgl_fill.adapters import Adapter, Graph
from matgl_fill.embedding import Pool, prepare_pool
from matgl_fill.errors import InputError
from matgl_fill.evaluation import Score, Task, compare, read_tasks, usable_tasks
from matgl_fill.evaluation.scores import score_embedding
from matgl_fill.generation import Proposal, SearchRequest, propose_from
from matgl_fill.generation.start import SearchStart
from matgl_fill.guard import Guard
from matgl_fill.roughness import graph_roughness
from matgl_fill.structures import StructureSet, bundled_pool, csv_text
from matgl_fill.training.request import FillRequest
from matgl_fill.training.run_state import RunState
from matgl_fill.training.train import TrainingOutcome, train_copy
from matgl_fill.utils.files import atomic_write

QUICK = {"copies": 2, "enlarge_pool": 0}
"""Settings of every run beside its own, which keep it short; three crystals are generated."""
GENERATED = 3
FOLDS = 2
"""Fold shuffles by which tasks are scored."""
GUARDS = ("held-out crystals alone", "no gain asked for", "the guard")
"""By which each run is judged: on the held-out crystals of the pool and asking for no gain, also on the package's
crystals, and the guard as it is."""
LOSS = -1.0
"""Mean change of the tasks, percent, below which a run should not have been accepted."""


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Attributes:
        model: name of the bundled model.
        rate: learning rate, as a multiple of the model's default.
        steps: optimiser steps.
        pool: crystals in the pool.
        seed: of the run, and of the draw of the pool.
    """

    model: str
    rate: int
    steps: int
    pool: int
    seed: int


class Subject:
    """A bundled model with its crystals, and what the tasks' probes err with the original.

    Args:
        name: of the model.
        more: file from which pools come that are larger than the bundled one.
    """

    def __init__(self, name: str, more: str | None) -> None:
        self.model, self._more = load_model(name), more
        self.adapter = get_adapter(self.model)
        self.bundled = bundled_pool(self.adapter.element_types)
        self._searched: dict[tuple[int, int], tuple[Pool, list[Proposal]]] = {}

    @cached_property
    def tasks(self) -> list[tuple[Task, list[Graph]]]:
        """The bundled tasks, with the graphs of their crystals."""
        tasks, _ = usable_tasks(self.adapter, read_tasks("default"))
        return [(task, self.adapter.graphs(task.structures)) for task in tasks]

    @cached_property
    def before(self) -> list[Score]:
        """Scores of the original on the tasks."""
        return self.scores(self.adapter)

    def scores(self, adapter: Adapter) -> list[Score]:
        """Scores of a model on the tasks."""
        return [score_embedding(adapter.embed_graphs(graphs)[0], task, FOLDS) for task, graphs in self.tasks]

    @cached_property
    def larger(self) -> StructureSet:
        """The crystals of the further file that the model knows.

        Raises:
            InputError: no file was given.
        """
        if self._more is None:
            raise InputError(f"the package holds {len(self.bundled)} crystals; give --more FILE for larger pools.")
        data = read_structures(self._more)
        return data.subset([i for i, s in enumerate(data.structures) if self.adapter.unsupported_reason(s) is None])

    def crystals(self, n: int, seed: int) -> StructureSet:
        """A pool of n crystals: the bundled ones, some of these, or some of the further file."""
        source = self.bundled if n <= len(self.bundled) else self.larger
        if n == len(source):
            return source
        return source.subset(np.random.default_rng(seed).permutation(len(source))[:n])

    def searched(self, n: int, seed: int) -> tuple[Pool, list[Proposal]]:
        """A pool, and the crystals that are generated from it; kept for the next run with the same."""
        if (n, seed) not in self._searched:
            pool = prepare_pool(self.adapter, self.crystals(n, seed))
            search = SearchRequest(GENERATED, seed)
            found = propose_from(self.adapter, SearchStart.of(pool, graph_roughness(pool.Z, pool.D)), search)
            self._searched[n, seed] = pool, found.proposals
        return self._searched[n, seed]

    def measured(self, cell: Cell) -> Row:
        """Train one run, and judge it by every guard; what each accepts is measured on the bundled tasks."""
        pool, proposals = self.searched(cell.pool, cell.seed)
        own = QUICK | {"lr": cell.rate * self.adapter.training_rate, "steps": cell.steps}
        request = FillRequest.checked(self.adapter, GENERATED, "auto", None, cell.seed, own, False)
        start = time.perf_counter()
        outcome = train_copy(request, pool, proposals, None, RunState(None, {}, False))
        found: Row = {"seconds": round(time.perf_counter() - start, 1)}
        changes: dict[float, Row] = {0.0: {"mean": 0.0, "worst": 0.0, "task": None}}
        for name, guard in self._guards(outcome, request).items():
            judged, verdict = guard.judge(self.adapter, outcome.tuned)
            if verdict.alpha not in changes:
                judged.bound(judged.tuned_branch().embed_graphs(pool.graphs)[0])
                comparison = compare(self.before, self.scores(judged))
                worst = comparison.worst
                figures = {"mean": round(comparison.mean, 2), "worst": round(worst.change_percent, 2)}
                changes[verdict.alpha] = figures | {"task": worst.task}
            facts = {"alpha": verdict.alpha, "crystals": len(guard.held_out.judged)}
            found[name] = facts | changes[verdict.alpha]
        return found

    def _guards(self, outcome: TrainingOutcome, request: FillRequest) -> dict[str, Guard]:
        checks, budgets = outcome.guard.held_out, request.settings.guard
        alone = Guard(self.adapter, checks.pool, budgets)
        rows = range(len(checks.pool), len(checks.judged))
        more = checks.judged.subset(rows) if len(rows) else None
        lenient = Guard(self.adapter, checks.pool, budgets, more)
        return dict(zip(GUARDS, (alone, lenient, outcome.guard), strict=True))


def grid(cells: Sequence[Cell], lines: Lines, more: str | None) -> None:
    """Measure what the file does not have yet."""
    done = {Cell(*(row[field.name] for field in fields(Cell))) for row in lines.rows}
    subjects: dict[str, Subject] = {}
    for cell in cells:
        if cell in done:
            continue
        if cell.model not in subjects:
            subjects[cell.model] = Subject(cell.model, more)
        row = asdict(cell) | subjects[cell.model].measured(cell)
        lines.append(row)
        verdicts = (f"{row[name]['alpha']:g} ({row[name]['mean']:+.1f}, {row[name]['worst']:+.1f})" for name in GUARDS)
        console.print(f"{cell}, {row['seconds']} s: {', '.join(verdicts)}", highlight=False)


def summary(rows: Sequence[Row]) -> list[dict[str, str]]:
    """For each guard: runs accepted, how many of these lose, and the change of the tasks' errors.

    A run that is not accepted changes nothing.

    Args:
        rows: of the grid.
    """
    table = []
    for name in GUARDS:
        every = [row[name] for row in rows]
        accepted = [found for found in every if found["alpha"]]
        means = [found["mean"] for found in every]
        line = {"judged by": name, "runs": str(len(every)), "accepted": str(len(accepted))}
        line[f"of these below {LOSS:g} %"] = str(sum(found["mean"] < LOSS for found in accepted))
        line |= {"mean, %": f"{np.mean(means):+.1f}", "lowest mean, %": f"{min(means):+.1f}"}
        table.append(line | {"worst task, %": f"{min(found['worst'] for found in every):+.1f}"})
    return table


def by_rate(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The summary of every model and learning rate.

    Args:
        rows: of the grid.
    """
    table = []
    for model, rate in sorted({(row["model"], row["rate"]) for row in rows}):
        group = [row for row in rows if (row["model"], row["rate"]) == (model, rate)]
        table += [{"model": model, "learning rate": f"{rate} x"} | line for line in summary(group)]
    return table


def guard_command(
    file: Annotated[Path, typer.Option("--out", help="File of rows; what it has is not measured again.")],
    models: Annotated[str, typer.Option(help="Bundled models.")] = "default,potential",
    rates: Annotated[str, typer.Option(help="Learning rates, as multiples of the default.")] = "1,3,10,30",
    steps: Annotated[str, typer.Option(help="Optimiser steps.")] = "10,40",
    pools: Annotated[str, typer.Option(help="Crystals in the pool.")] = "60,200,300",
    seeds: Annotated[str, typer.Option(help="Seeds.")] = "0,1,2",
    more: Annotated[str | None, typer.Option(help="Crystals of pools larger than the bundled one.")] = None,
    csv: Annotated[Path | None, typer.Option(help="File that gets the table by model and learning rate.")] = None,
) -> None:
    """Which runs the guard accepts over learning rates, steps, pools and seeds, and what they do to the tasks."""
    lines = Lines(file)
    axes = map(numbers, (seeds, pools, steps, rates))
    cells = [Cell(m, r, k, n, s) for s, n, k, r in product(*axes) for m in models.split(",")]
    grid(cells, lines, more)
    table = summary(lines.rows)
    title = f"{len(lines.rows)} runs, change of the bundled tasks' errors"
    print_table(title, list(table[0]), [list(line.values()) for line in table])
    if csv is not None:
        atomic_write(csv, csv_text(by_rate(lines.rows)))
