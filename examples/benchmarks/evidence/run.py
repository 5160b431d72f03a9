"""The standing benchmark: models x tasks x seeds x arms, one JSON line a measurement, tables rebuilt from them.

An arm is what becomes of the embedding: nothing, concatenated descriptors, the features of all layers, or fill-tuning
with one choice of where to fill. A variant is a change of the config by which an ablation differs.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, get_args

import numpy as np
import typer
from torch import nn

from examples.benchmarks.common.ledger import Lines, Row, read_rows, whole_numbers
from examples.benchmarks.evidence.devices import DEVICES
from examples.benchmarks.evidence.page import write_tables
from examples.benchmarks.evidence.statistics import AS_IS
from examples.benchmarks.evidence.suite import DESCRIBED, PLAIN, Half, Suite, check_one
from matgl_fill import fill_tune, get_adapter, load_model
from matgl_fill.config.config import Choice, FillConfig
from matgl_fill.errors import GenerationError, InputError
from matgl_fill.report.result import FillResult
from matgl_fill.structures.bundled import pool_named
from matgl_fill.structures.read import StructureSet
from matgl_fill.training.registry import check_objective
from matgl_fill.training.run_state import RunState, what_it_depends_on
from matgl_fill.utils.console import console
from matgl_fill.utils.files import atomic_write
from matgl_fill.utils.machine import machine_facts

app = typer.Typer(no_args_is_help=True, help="The evidence: models, tasks, seeds and arms, and an ablation.")
BASELINES = ("none", "descriptors")
"""Scored in any case: what the others are compared with."""
UNTRAINED = (*BASELINES, "layers")
FILL = get_args(Choice)
SECONDS = "seconds.json"
"""File beside kept crystals: what the search took."""
SEARCHED = "propose crystals"
"""Stage of the search."""
CHECKOUT = Path(__file__).parents[3]
MEASURED_BY = ("matgl_fill", "examples/benchmarks", ":!examples/benchmarks/results")
"""What a measurement depends on, as paths of git."""
ABLATION: dict[str, dict[str, Any]] = {
    AS_IS: {},
    "pool alone": {"descriptor_weight": 1e-6, "pool_descriptor_weight": 1e6},
    "untrained copy": {"steps": 0},
    "no prediction replay": {"prediction_weight": 0.0},
    "embedding replay": {"replay_weight": 1.0},
    "no copies": {"copies": 0},
    "no redecoration": {"redecorate": 0.0},
    "no averaging": {"average_from": 1.0},
    "half the steps": {"steps": 200},
    "overwrite": {"form": "overwrite"},
    "descriptor weight 0.3": {"descriptor_weight": 0.3},
    "overwrite, L2-SP": {"form": "overwrite", "objective": "descriptor+l2sp"},
    "overwrite, first half frozen": {"form": "overwrite", "device": "first half frozen"},
    "overwrite, low rank": {"form": "overwrite", "device": "low rank"},
    "L2-SP": {"objective": "descriptor+l2sp"},
    "first half frozen": {"device": "first half frozen"},
    "low rank": {"device": "low rank"},
    "denoising alone": {"objective": "denoise"},
    "descriptors and denoising": {"objective": "descriptor+denoise"},
}
"""Changes by name, of the config, the objective and the model (``device``, see
:mod:`examples.benchmarks.evidence.devices`). In "pool alone" the generated crystals weigh nothing and the descriptors
of the pool what they always do; "untrained copy" is what reading the original a second time, as copies are read,
gives by itself."""


@dataclass(frozen=True)
class Measurement:
    """What one line measures, and by what it is found again.

    Attributes:
        model: name.
        tasks: name of the folder or file of labelled crystals.
        half: of the standing tasks, empty for a file.
        rows: crystals per task at most.
        folds: fold shuffles of every probe.
        arm: one of :data:`UNTRAINED` or :data:`FILL`; the others only matter to the latter.
        pool: name.
        n: crystals to fill with.
        oracle: name.
        base: changes of the config that all variants share.
        variant: name of the further changes.
        changes: these, of the config, the objective and the model.
        seed: of the whole run.
    """

    model: str
    tasks: str
    half: str
    rows: int
    folds: int
    arm: str
    pool: str | None = None
    n: int | None = None
    oracle: str | None = None
    base: dict[str, Any] = field(default_factory=dict)
    variant: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None


def changes_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Changes of config and objective from ``FIELD=VALUE`` words.

    Raises:
        InputError: a word is none, or there is no such field, value or objective.

    Example:
        >>> changes_of(["steps=3", "form=overwrite"])
        {'steps': 3, 'form': 'overwrite'}
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"'{pair}' is no change of the config; write FIELD=VALUE, for example steps=50.")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    if "choice" in found:
        raise InputError("choice is what --arms says; leave it out of --set.")
    objective = found.get("objective", "auto")
    check_objective(objective, labels="oracle" in objective)
    if (device := found.get("device")) not in (None, *DEVICES):
        raise InputError(f"no device '{device}'; there are {', '.join(DEVICES)}.")
    FillConfig.make({k: v for k, v in found.items() if k not in ("objective", "device")})
    return found


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
        neighbours = FillConfig.make(config).neighbours
        asked_for = {"n": asked.n, "seed": asked.seed, "choice": asked.arm, "neighbours": neighbours}
        facts = what_it_depends_on(self.model, self.crystals.structures, self.crystals.ids, None, **asked_for)
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        state, kept = RunState(self.folder / key, facts, resume=True), self.folder / key / SECONDS
        known = state.proposals(list) if kept.exists() else None
        n, seed = asked.n or 0, asked.seed or 0
        result = fill_tune(model, self.crystals, n, objective, self.oracle, seed, config, proposals=known)
        stages = dict(result.report["run"]["stages"])
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
        "verdict": report["verdict"]["headline"],
        "reasons": report["verdict"]["reasons"],
        "alpha": report["verdict"]["alpha"],
        "embedding": report["run"]["embedding"],
        "generated": len(result.proposals),
        "crystals": key,
        "seconds": round(sum(stages.values()), 2),
        "stages": stages,
        "roughness": {row["measure"]: [row["before"], row["after"]] for row in report["roughness"]},
        "config": report["config"],
    }


def plan(
    shared: dict[str, Any], filling: dict[str, Any], arms: Sequence[str], seeds: Sequence[int], changes: dict[str, Any]
) -> list[Measurement]:
    """Measurements of one call: the untrained arms, then seed by seed, so that what is there early compares.

    Args:
        shared: fields of every measurement.
        filling: further fields of those that fill.
        arms: of :data:`UNTRAINED` and :data:`FILL`; the baselines are measured in any case.
        seeds: of the arms that fill.
        changes: of the config, by name of the variant.
    """
    first = [Measurement(**shared, arm=arm) for arm in UNTRAINED if arm in (*BASELINES, *arms)]
    return first + [
        Measurement(**shared, **filling, arm=arm, variant=name, changes=change, seed=seed)
        for seed in seeds
        for name, change in changes.items()
        for arm in FILL
        if arm in arms
    ]


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


def _arms(text: str) -> list[str]:
    arms = text.split(",")
    if unknown := sorted(set(arms) - {*UNTRAINED, *FILL}):
        raise typer.BadParameter(f"no arm {', '.join(unknown)}; there are {', '.join((*UNTRAINED, *FILL))}.")
    return arms


def _name(path: str) -> str:
    return Path(path).resolve().name


@app.command()
def run(
    model: Annotated[str, typer.Argument(help="Model directory or hub name; 'default' is the bundled one.")],
    pool: Annotated[str, typer.Argument(help="Crystals to fill among; 'default' are the bundled ones.")],
    out: Annotated[Path, typer.Option(help="One JSON line a measurement; what is there is not measured again.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the standing tasks' labelled crystals.")] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Instead: file of labelled crystals; 'default' is the bundled one.")
    ] = None,
    arms: Annotated[
        str, typer.Option(help="Of none, descriptors, layers, roughness, random, farthest, dissimilar.")
    ] = "layers,roughness,random,farthest",
    seeds: Annotated[str, typer.Option(help="Of every arm that fills.")] = "0,1,2",
    half: Annotated[Half, typer.Option(help="Of the standing tasks.")] = "both",
    rows: Annotated[int, typer.Option(min=20, help="Crystals per task at most.")] = 800,
    folds: Annotated[int, typer.Option(min=1, help="Fold shuffles of every probe.")] = 1,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Crystals to fill with.")] = 100,
    oracle: Annotated[str | None, typer.Option(help="sevennet, chgnet or the directory of a MatGL potential.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change of config, objective or device; may be given again."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Name of the variant that --set makes; without it all variants have --set.")
    ] = None,
    ablation: Annotated[bool, typer.Option("--ablation", help="Run every variant of the ablation.")] = False,
) -> None:
    """Measure MODEL filled among the crystals of POOL, and controls, on every task.

    An interrupted call goes on when it is given again. Crystals are kept
    in OUT.crystals; variants of an arm share them.
    """
    check_one(data, tasks)
    if ablation and label:
        raise typer.BadParameter("--ablation names its variants itself; leave --label out.")
    chosen, listed, given = _arms(arms), whole_numbers(seeds), changes_of(changes or [])
    loaded = load_model(model)
    named: dict[str, dict[str, Any]] = {label: given} if label else {AS_IS: {}}
    base = {} if label else given
    if ablation:
        named = ABLATION
    shared = {"model": _name(model), "rows": rows, "folds": folds}
    shared |= {"tasks": _name(str(data)), "half": half} if data else {"tasks": _name(str(tasks)), "half": ""}
    filling = {"pool": _name(pool), "n": n, "oracle": _name(oracle) if oracle else None, "base": base}
    wanted = plan(shared, filling, chosen, listed, named)

    bench = Bench(loaded, pool, partial(Suite.asked, data, tasks, half, rows), oracle, out.with_suffix(".crystals"))
    if not measure_all(bench, wanted, Lines(out)):
        raise typer.Exit(GenerationError.exit_code)


@app.command()
def table(
    results: Annotated[list[Path], typer.Argument(help="Files that 'run' wrote.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Markdown file, with figures beside it; default: terminal.")
    ] = None,
) -> None:
    """Tables of everything in RESULTS: each arm, each task, and each arm against the controls."""
    rows = [row for path in results for row in read_rows(path)]
    if out is None:
        typer.echo(write_tables(rows))
        return
    write_tables(rows, out)
    console.print(f"{len(rows)} measurements, tables written to {out}", highlight=False)
