"""What takes how long, before and after a change: two checkouts in turn, on one machine in one run."""

from __future__ import annotations

import csv
import io
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from examples.benchmarks.common.options import numbers
from examples.benchmarks.common.printing import console, print_table
from matgl_fill.errors import InputError
from matgl_fill.utils.files import atomic_write

ROOT = Path(__file__).resolve().parents[3]
COLUMNS = (
    "what",
    "repeats",
    *(f"{kind} {when} (s)" for kind in ("clock", "CPU") for when in ("before", "after")),
    "ratio",
)
COMMAND = "from matgl_fill.cli import main; import sys; sys.argv = ['matgl-fill', {}]; main()"
HELP = COMMAND.format("'--help'")
GRAPH = """
from time import perf_counter, process_time
from examples.benchmarks.roughness.analysis import synthetic_embedding
from matgl_fill.roughness import graph_roughness
data = synthetic_embedding({}, 128)
start = perf_counter(), process_time()
result = graph_roughness(*data)
result.local(data[0]), result.maxima(100)
"""
SEARCH = """
from time import perf_counter, process_time
from matgl_fill import get_adapter, load_model, read_structures
from matgl_fill.embedding import prepare_pool
from matgl_fill.generation import choose_targets
from matgl_fill.generation.decoder import Decoder
from matgl_fill.roughness import graph_roughness
adapter, found = get_adapter(load_model({!r})), read_structures({!r})
pool = prepare_pool(adapter, found.subset(range(0, len(found), max(1, len(found) // {}))), 20)
wanted = {}
targets = choose_targets(pool.Z, graph_roughness(pool.Z, pool.D), wanted, "roughness", 0).points
start = perf_counter(), process_time()
Decoder(adapter, pool, 0).decode(targets, wanted)
"""
RUN = """
from time import perf_counter, process_time
from matgl_fill import fill_tune, load_model, read_structures
model, pool = load_model({!r}), read_structures({!r})
start = perf_counter(), process_time()
fill_tune(model, pool, n={}, seed=0)
"""
SPENT = "\nprint('SPENT', perf_counter() - start[0], process_time() - start[1])"


@dataclass(frozen=True)
class Task:
    """Something that is timed in a process of its own.

    Attributes:
        name: What it is, for the table.
        code: Python code. Where it notes ``start``, what comes before is not counted; otherwise the whole process is.
        old_code: What it is compared with in the older checkout, if that is not the same.
    """

    name: str
    code: str
    old_code: str | None = None


def tasks(points: Sequence[int], models: Sequence[str], pool: str | None, n: int, size: int, whole: bool) -> list[Task]:
    """What is timed.

    Args:
        points: Points of graph mode, 128 dimensions each.
        models: Models that search, and make whole runs.
        pool: Crystals of the pool; needed for those.
        n: Crystals that are searched.
        size: Crystals of the pool of a search alone, about.
        whole: Whether whole runs are made.
    """
    found = [
        Task("import matgl (before), import matgl_fill (after)", "import matgl_fill", "import matgl"),
        Task("import of all public names", "from matgl_fill import *"),
        Task("matgl-fill --help", HELP),
        Task("matgl-fill --version (before: --help)", COMMAND.format("'--version'"), HELP),
        Task("matgl-fill tune --help", COMMAND.format("'tune', '--help'")),
        *(Task(f"graph mode, {one} x 128", GRAPH.format(one) + SPENT) for one in points),
    ]
    if models and pool is None:
        raise InputError("models search in a pool; give --pool FILE.")
    for model in models:
        name = Path(model).name
        found.append(Task(f"search of {n}, {name}", SEARCH.format(model, pool, size, n) + SPENT))
        found += [Task(f"whole run with {n}, {name}", RUN.format(model, pool, n) + SPENT)] if whole else []
    return found


def timed(code: str, checkout: Path, threads: int) -> tuple[float, float]:
    """Clock and processor time (s) of code in a process of its own, which imports a checkout.

    Raises:
        InputError: It fails.
    """
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": str(threads)}
    clock, cpu = time.perf_counter(), _children()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=checkout)
    spent = time.perf_counter() - clock, _children() - cpu
    if done.returncode:
        raise InputError(f"the measurement fails in '{checkout}': {done.stderr.strip()[-300:]}")
    told = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("SPENT ")]
    return (float(told[0][0]), float(told[0][1])) if told else spent


def _children() -> float:
    """Processor time (s) of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compared(task: Task, before: Path, repeats: int, threads: int) -> list[str]:
    """A row of the table: both checkouts in turn, medians, and the ratio of processor times."""
    times: list[list[float]] = []
    for _ in range(repeats):
        old = timed(task.old_code or task.code, before, threads)
        times.append([*old, *timed(task.code, ROOT, threads)])
    old_clock, old_cpu, clock, cpu = (statistics.median(column) for column in zip(*times, strict=True))
    seconds = [f"{value:.2f}" for value in (old_clock, clock, old_cpu, cpu)]
    return [task.name, str(repeats), *seconds, f"{old_cpu / max(cpu, 1e-3):.2f}"]


def speed(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="Checkout of the older version.")],
    points: Annotated[str, typer.Option(help="Points of graph mode, 128 dimensions.")] = "100000",
    model: Annotated[list[str] | None, typer.Option(help="Model that searches; may be given again.")] = None,
    pool: Annotated[str | None, typer.Option(help="Crystals of the pool.")] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Crystals that are searched.")] = 16,
    size: Annotated[int, typer.Option(help="Crystals of the pool that a search alone starts from, about.")] = 400,
    whole: Annotated[bool, typer.Option(help="Whole runs too, with all of the pool.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Of what takes seconds; what takes longer is run once.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Of every process.")] = 1,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="CSV file of the table.")] = None,
) -> None:
    """Time of help, imports, graph mode, searches and whole runs, before and after, in turn on one machine."""
    rows = []
    for task in tasks(numbers(points), model or [], pool, n, size, whole):
        console.print(task.name, highlight=False)
        rows.append(compared(task, before.resolve(), 1 if "start" in task.code else repeats, threads))
        if out is not None:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
            atomic_write(out, text.getvalue())
    print_table(f"{threads} threads, medians", COLUMNS, rows)
