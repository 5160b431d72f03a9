"""Command line of the campaign: what damaged, hostile and odd input does."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer

from examples.benchmarks.common.printing import console, print_table
from examples.benchmarks.common.rows import Lines, Row
from examples.benchmarks.robustness import models, processes, saved, structures
from examples.benchmarks.robustness.verdict import BAD, Case, Outcome
from examples.benchmarks.robustness.workers import LIMIT, judge_all
from matgl_fill.errors import InputError
from matgl_fill.structures import csv_text
from matgl_fill.utils.files import atomic_write

REMEMBERED = "cases.jsonl"


@dataclass(frozen=True)
class Suite:
    """A group of cases that are made together.

    Attributes:
        name: Word by which ``--only`` asks for it.
        cases: Function of seed and number.
        number: How many there are in the long form.
        limit: Seconds of a case.
    """

    name: str
    cases: Callable[[int, int], list[Case]]
    number: int
    limit: float


SUITES = (
    Suite("models", models.cases, 300, LIMIT),
    Suite("structures", structures.cases, 600, LIMIT),
    Suite("saved", saved.cases, 100, 3 * LIMIT),
    Suite("terminal", processes.terminal_cases, 60, 2 * LIMIT),
    Suite("kills", processes.kill_cases, 20, processes.LIMIT),
    Suite("disks", processes.disk_cases, 45, processes.LIMIT),
    Suite("writers", processes.writer_cases, 4, processes.LIMIT),
)


def robustness(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the results; a call goes on with it.")] = Path(
        "robustness"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of all mutants.")] = 0,
    only: Annotated[str, typer.Option(help="Some suites: " + ",".join(s.name for s in SUITES))] = "",
    share: Annotated[float, typer.Option(min=0, max=1, help="Share of the mutants of every suite.")] = 1.0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that judge at the same time.")] = 1,
) -> None:
    """Give the package mutated models, crystals, run files and caches, kill it, fill its disk, and count what happens.

    Right are an error of matgl_fill in one line (typed, refused), a skipped structure with a reason (typed), and the
    result of the unchanged or of the changed valid file (same). Of raw, hang, silent and ran there has to be none.
    OUT/cases.jsonl holds every case, OUT/counts.csv the table. The exit code is 1 if a case is bad.
    """
    wanted = [w for w in only.split(",") if w] or [s.name for s in SUITES]
    if unknown := set(wanted) - {s.name for s in SUITES}:
        raise InputError(f"no suite '{min(unknown)}'; there are {', '.join(s.name for s in SUITES)}.")
    torch.set_num_threads(1)
    lines = Lines(out / REMEMBERED)
    for suite in SUITES:
        if suite.name in wanted:
            _run(suite, seed, max(1, round(share * suite.number)), jobs, lines)
    rows = [r for r in lines.rows if r["seed"] == seed]
    table = counts(rows)
    atomic_write(out / "counts.csv", csv_text(table))
    print_table("mutants", list(table[0]) if table else ["suite"], [list(map(str, r.values())) for r in table])
    bad = [r for r in rows if r["outcome"] in BAD]
    for row in bad:
        console.print(f"{row['outcome']}: {row['key']}: {row['what']}: {row['detail']}", highlight=False, markup=False)
    raise typer.Exit(1 if bad else 0)


def _run(suite: Suite, seed: int, n: int, jobs: int, lines: Lines) -> None:
    """Judge those cases of a suite that are not judged yet."""
    if f"{suite.name} {n}" in {r["key"] for r in lines.rows if r["suite"] == "finished" and r["seed"] == seed}:
        return
    done = {r["key"] for r in lines.rows if r["seed"] == seed}
    began = time.monotonic()
    cases = [case for case in suite.cases(seed, n) if case.key not in done]
    console.print(f"{suite.name}: {len(cases)} cases, prepared in {time.monotonic() - began:.0f} s", highlight=False)
    for judged in judge_all(cases, jobs, suite.limit):
        told = {"what": judged.what, "outcome": judged.verdict.outcome, "detail": judged.verdict.detail}
        lines.append(
            {"suite": judged.case.suite, "key": judged.case.key, "seed": seed, "seconds": round(judged.seconds, 2)}
            | told
        )
    lines.append({"suite": "finished", "key": f"{suite.name} {n}", "seed": seed, "outcome": ""})
    console.print(f"{suite.name}: {time.monotonic() - began:.0f} s", highlight=False)


def counts(rows: Sequence[Row]) -> list[dict[str, object]]:
    """How many cases of every suite had every outcome, and of all together."""
    suites = [name for name in dict.fromkeys(r["suite"] for r in rows) if name != "finished"]
    table: list[dict[str, object]] = []
    for name in [*suites, "all"]:
        found = Counter(r["outcome"] for r in rows if r["outcome"] and name in ("all", r["suite"]))
        table.append({"suite": name, "cases": sum(found.values())} | {o.value: found[o.value] for o in Outcome})
    return table
