"""Measures one model: fill-tunes it, embeds the tasks' crystals, probes; one JSON line a measurement."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
from torch import nn

from examples.benchmarks.common.rows import Lines, Row
from examples.benchmarks.evidence.devices import DEVICES
from examples.benchmarks.evidence.measurement import BASELINES, FILL, Measurement
from examples.benchmarks.evidence.suite import DESCRIBED, PLAIN, Suite
from matgl_fill import fill_tune, get_adapter
from matgl_fill.config.config import FillConfig
from matgl_fill.errors import GenerationError
from matgl_fill.report.result import FillResult
from matgl_fill.structures import StructureSet, pool_named
from matgl_fill.training.run_state import RunState, model_and_pool
from matgl_fill.utils.console import console
from matgl_fill.utils.files import atomic_write
from matgl_fill.utils.machine import machine_facts

SECONDS = "seconds.json"
"""File beside kept crystals: what the search took."""
SEARCHED = "propose crystals"
"""Stage of the search."""
CHECKOUT = Path(__file__).parents[3]
MEASURED_BY = ("matgl_fill", "examples/benchmarks", ":!examples/benchmarks/results")
"""What a measurement depends on, as paths of git."""


def commit() -> str | None:
    """Last commit of package and benchmarks, ``+`` behind it if files differ from it; None outside a repository."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(CHECKOUT), *words, "--", *MEASURED_BY]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    try:
        last = git("log", "-1", "--format=%h").strip()
        return last + ("+" if git("status", "--porcelain") else "") if last else None
    except (OSError, subprocess.CalledProcessError):
        return None


@dataclass
class Bench:
    """A model with its pool and tasks, which are read when they are needed.

    Attributes:
        model: to be tuned.
        pool: file of crystals, ``default`` for the bundled ones.
        read_suite: gives the tasks.
        oracle: as in :func:`matgl_fill.fill_tune`.
        folder: where generated crystals are kept, so that variants of an arm share them.
    """

    model: nn.Module
    pool: str
    read_suite: Callable[[], Suite]
    oracle: str | None
    folder: Path

    @cached_property
    def crystals(self) -> StructureSet:
        """The pool."""
        return pool_named(self.pool, get_adapter(self.model).element_types)

    @cached_property
    def suite(self) -> Suite:
        """The tasks."""
        return self.read_suite()

    def measure(self, asked: Measurement) -> Row:
        """What the line says besides what was asked."""
        model, found = self.model, {}
        if asked.arm in FILL:
            result, stages, key = self.filled(asked)
            model, found = result.model, fill_facts(result, stages, key)
        start = time.perf_counter()
        Z = self.suite.embed(model, "all" if asked.arm == "layers" else "last")
        described = np.hstack([Z, self.suite.descriptors])
        embeddings = {PLAIN: Z, DESCRIBED: described}
        if asked.arm in BASELINES:
            embeddings = {PLAIN: Z if asked.arm == "none" else described}
        scores = self.suite.scores(embeddings, asked.folds)
        return {"scores": scores, "score_seconds": round(time.perf_counter() - start, 2), "fill": found}

    def filled(self, asked: Measurement) -> tuple[FillResult, dict[str, float], str]:
        """Fill-tune; seconds per stage, in which the search counts though another variant did it; crystals' key."""
        config = asked.base | asked.changes | {"choice": asked.arm}
        objective, device = config.pop("objective", "auto"), config.pop("device", None)
        model = DEVICES[device](self.model) if device else self.model
        neighbours = FillConfig.make(config).search.neighbours
        asked_for = {"n": asked.n, "seed": asked.seed, "choice": asked.arm, "neighbours": neighbours}
        facts = model_and_pool(self.model, self.crystals.structures, self.crystals.ids) | asked_for
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        state, kept = RunState(self.folder / key, facts, resume=True), self.folder / key / SECONDS
        known = state.proposals(list) if kept.exists() else None
        n, seed = asked.n or 0, asked.seed or 0
        result = fill_tune(model, self.crystals, n, objective, self.oracle, seed, config, proposals=known)
        stages = dict(result.report.run.stages)
        if known is None:
            state.proposals(lambda: result.proposals)
            atomic_write(kept, json.dumps(stages[SEARCHED]) + "\n")
        else:
            stages[SEARCHED] = json.loads(kept.read_text())
        return result, stages, key


def fill_facts(result: FillResult, stages: dict[str, float], key: str) -> Row:
    """What a line says of a fill-tuning run."""
    report = result.report
    return {
        "accepted": result.accepted,
        "verdict": report.verdict.headline,
        "reasons": report.verdict.reasons,
        "alpha": report.verdict.alpha,
        "embedding": report.run.embedding,
        "generated": len(result.proposals),
        "crystals": key,
        "seconds": round(sum(stages.values()), 2),
        "stages": stages,
        "roughness": {row.measure: [row.before, row.after] for row in report.roughness or []},
        "config": report.config.flat() if report.config else None,
    }


def measure_all(bench: Bench, wanted: Sequence[Measurement], lines: Lines) -> bool:
    """Measure what the file does not have yet; False if for one of them no crystal could be generated."""
    done = [{f.name: row.get(f.name) for f in fields(Measurement)} for row in lines.rows]
    left = [m for m in wanted if asdict(m) not in done]
    console.print(f"{len(left)} of {len(wanted)} measurements to be made", highlight=False)
    facts = {"commit": commit()} | machine_facts()
    facts["versions"] = {"matgl_fill": version("matgl_fill")} | facts["versions"]
    start, complete = time.perf_counter(), True
    for i, asked in enumerate(left):
        minutes = (time.perf_counter() - start) / 60 * (len(left) - i) / i if i else None
        seed = "" if asked.seed is None else f", {asked.variant}, seed {asked.seed}"
        ahead = "" if minutes is None else f", about {minutes:.0f} min left"
        console.print(f"{i + 1} of {len(left)}: {asked.model}, {asked.arm}{seed}{ahead}", highlight=False)
        try:
            lines.append(asdict(asked) | bench.measure(asked) | facts)
        except GenerationError as error:
            console.print(f"not measured: {error}", highlight=False, markup=False)
            complete = False
    return complete
