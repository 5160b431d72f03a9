"""A potential heated on crystals that it does not know: where it is on new ground, and what filling that brings."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from ase import Atoms, units
from ase.md.langevin import Langevin
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from rich.table import Table
from scipy.stats import spearmanr
from torch import nn

from examples.benchmarks.common.options import settings_of
from examples.benchmarks.common.printing import console, new_table
from examples.benchmarks.common.rows import Lines
from matgl_fill import FillCalculator, get_adapter, load_model, read_structures
from matgl_fill.adapters import Adapter
from matgl_fill.calculator.watch import bare, measured
from matgl_fill.embedding import graph_or_reason
from matgl_fill.errors import InputError
from matgl_fill.structures import StructureSet
from matgl_fill.training import Labels, label, resolve

COLD, HOT = 300.0, 1500.0
"""Kelvin, at the start and at the end."""
TIME_STEP, FRICTION = 2.0, 0.02
"""Of the Langevin dynamics, fs and 1/fs."""
EVERY = 5
"""Steps from one look to the next."""
ATOMS = 24
"""A cell is repeated until it has as many atoms."""
BUDGET = 30
"""Frames of a run that are labelled at most."""
TESTED = 24
"""Frames of the second run that the oracle labels."""
BINS = 4
"""Parts of a run in the table, equally long."""
MEASURES = ("roughness", "novelty", "max_roughness_per_atom", "max_novelty_per_atom")
DRIFTS = {"force drift": "force drift on the pool", "mean energy shift": "energy shift on the pool (eV/atom)"}
"""Of the guard's measures, those that are shown."""


@dataclass(frozen=True)
class Heating:
    """One run from ``COLD`` to ``HOT``.

    Attributes:
        temperature: (m,) of the thermostat at each look, kelvin.
        measures: (m,) values of each of :data:`MEASURES`.
        frames: m frames.
    """

    temperature: np.ndarray
    measures: dict[str, np.ndarray]
    frames: list[Atoms]

    def correlation(self, name: str) -> float:
        """Spearman's rank correlation of a measure with the temperature; NaN if it never changes."""
        if np.ptp(self.measures[name]) == 0:
            return float("nan")
        return float(spearmanr(self.temperature, self.measures[name]).statistic)


def supercell(structure: Structure) -> Atoms:
    """The crystal, repeated along its shortest axis until it has :data:`ATOMS` atoms."""
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    while len(atoms) < ATOMS:
        shape = np.ones(3, dtype=int)
        shape[int(np.argmin(atoms.cell.lengths()))] = 2
        atoms = atoms.repeat(shape.tolist())
    return bare(atoms)


def heat(
    calc: FillCalculator, crystal: Structure, steps: int, seed: int, watch: dict[str, Any] | None = None
) -> Heating:
    """Langevin dynamics at the crystal's own volume, from rest, under a temperature that rises evenly.

    Args:
        calc: calculator.
        crystal: what is heated.
        steps: of :data:`TIME_STEP` fs.
        seed: of the thermostat.
        watch: settings of a watcher that looks on, if one is wanted.
    """
    atoms = supercell(crystal)
    atoms.calc = calc
    rng = np.random.RandomState(seed)
    thermostat = {"temperature_K": COLD, "friction": FRICTION / units.fs, "fixcm": False, "rng": rng}
    dynamics = Langevin(atoms, TIME_STEP * units.fs, **thermostat)
    watcher = None if watch is None else calc.watch(atoms, **watch)
    temperature, rows, frames = [], [], []

    def look() -> None:
        now = COLD + (HOT - COLD) * dynamics.get_number_of_steps() / steps
        dynamics.set_temperature(temperature_K=now)
        temperature.append(now)
        rows.append(measured(calc, atoms))
        frames.append(bare(atoms))
        if watcher is not None:
            watcher()

    dynamics.attach(look, interval=EVERY)
    dynamics.run(steps)
    measures = {name: np.array([row[name] for row in rows]) for name in MEASURES}
    return Heating(np.array(temperature), measures, frames)


@dataclass(frozen=True)
class SecondRun:
    """Frames of a run with an oracle's forces.

    Attributes:
        temperature: (n,) of each, kelvin.
        novelty: (n,) of each.
        structures: n frames.
        labels: the oracle's.
    """

    temperature: np.ndarray
    novelty: np.ndarray
    structures: list[Structure]
    labels: Labels

    @classmethod
    def of(cls, run: Heating, source: Any) -> SecondRun:
        """About :data:`TESTED` frames, evenly spread over a run, that the oracle can label."""
        chosen = np.unique(np.linspace(0, len(run.frames) - 1, TESTED).round().astype(int))
        structures = read_structures([run.frames[i] for i in chosen]).structures
        labels = label(structures, source)
        good = np.flatnonzero(labels.usable())
        at = chosen[good]
        return cls(run.temperature[at], run.measures["novelty"][at], [structures[i] for i in good], labels.subset(good))

    def errors(self, model: nn.Module) -> np.ndarray:
        """(n,) mean absolute error of a potential's force components in each frame, eV/Angstrom."""
        own = label(self.structures, get_adapter(model))
        return np.array([np.abs(a - b).mean() for a, b in zip(own.forces, self.labels.forces, strict=True)])


@dataclass(frozen=True)
class TwoRuns:
    """What a first run met, and what filling it brought on a second one.

    Attributes:
        heating: the first run.
        collected: frames of it that the watcher kept.
        test: frames of the second run.
        errors: (n,) force errors on these by arm: ``before``, ``watched`` and ``control``.
        guard: verdict and measures of both arms.
    """

    heating: Heating
    collected: list[Atoms]
    test: SecondRun
    errors: dict[str, np.ndarray]
    guard: dict[str, dict[str, Any]]


def heated(
    calc: FillCalculator,
    crystal: Structure,
    oracle: Any,
    steps: int = 600,
    seed: int = 0,
    watch: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
) -> TwoRuns:
    """Heat, fill what was met, and test on a second run.

    The second run has another seed and is driven by the original potential; all potentials
    are tested on the same frames of it. The control learns as many frames of the first run, drawn at random in time.

    Args:
        calc: calculator of the potential, which is left as it was.
        crystal: what is heated.
        oracle: as in :func:`matgl_fill.fill_tune`.
        steps: of each run.
        seed: of everything drawn at random.
        watch: settings of the watcher, with ``budget``, the frames that are labelled at most.
        settings: changes to :class:`matgl_fill.FillConfig`.
    """
    calc.undo()
    calc.watchers.clear()
    first = heat(calc, crystal, steps, seed, {"budget": BUDGET, **(watch or {})})
    collected = list(calc.watchers[0].frames)
    second = heat(calc, crystal, steps, seed + 1)
    _, source = resolve(oracle)
    test = SecondRun.of(second, source)
    rng = np.random.default_rng(seed)
    drawn = sorted(rng.permutation(len(first.frames))[: len(collected)].tolist())
    given = source.model if isinstance(source, Adapter) else source
    errors: dict[str, np.ndarray] = {"before": test.errors(calc.original)}
    guard: dict[str, dict[str, Any]] = {}
    for arm, frames in (("watched", collected), ("control", [first.frames[i] for i in drawn])):
        if frames:
            result = calc.fill(given, frames=frames, seed=seed, config=settings)
            errors[arm] = test.errors(result.model)
            checks = {c.measure: c.value for c in result.report.guard or []}
            guard[arm] = {"verdict": result.report.verdict.headline, "accepted": result.accepted} | checks
            calc.undo()
    return TwoRuns(first, collected, test, errors, guard)


def _parts(n: int) -> list[slice]:
    """Equal parts of a run of n looks."""
    edges = np.linspace(0, n, BINS + 1).round().astype(int)
    return [slice(a, b) for a, b in pairwise(edges)]


def _tables(name: str, result: TwoRuns) -> list[Table]:
    first, test, errors = result.heating, result.test, result.errors
    columns = ["temperature (K)", *MEASURES, *(f"force error, {arm} (eV/A)" for arm in errors)]
    table = new_table(f"{name}: heated from {COLD:g} to {HOT:g} K", [c.replace("_", " ") for c in columns])
    for part, tested in zip(_parts(len(first.frames)), _parts(len(test.structures)), strict=True):
        cells = [f"{first.temperature[part].mean():.0f}", *(f"{first.measures[m][part].mean():.2f}" for m in MEASURES)]
        table.add_row(*cells, *(f"{e[tested].mean():.4f}" for e in errors.values()))
    table.add_section()
    table.add_row("rank correlation with it", *(f"{first.correlation(m):+.2f}" for m in MEASURES))
    table.add_row("all", *[""] * len(MEASURES), *(f"{e.mean():.4f}" for e in errors.values()))
    title = f"{len(result.collected)} frames labelled, {len(test.structures)} tested"
    arms = new_table(title, ("frames", "change of the force error", *DRIFTS.values(), "verdict"), left=(0, 4))
    for arm, guard in result.guard.items():
        change = 100 * (errors[arm].mean() / errors["before"].mean() - 1)
        arms.add_row(arm, f"{change:+.1f} %", *(f"{guard.get(m, 0.0):.4f}" for m in DRIFTS), guard["verdict"])
    return [table, arms]


def heating(
    model: Annotated[
        str, typer.Argument(help="Directory or hub name of a potential, or 'potential', the bundled one.")
    ],
    crystals: Annotated[str, typer.Argument(help="Crystals; those whose formula the pool has are left out.")],
    oracle: Annotated[str, typer.Option(help="sevennet, chgnet, directory of a potential, or module:factory.")],
    pool: Annotated[str, typer.Option(help="Known crystals; 'default' are the package's own.")] = "default",
    known: Annotated[int, typer.Option(help="Crystals of the pool, the first ones.")] = 1000,
    n: Annotated[int, typer.Option("-n", help="Crystals to heat, drawn at random from those of 2 to 8 atoms.")] = 3,
    steps: Annotated[int, typer.Option(help="Steps of each run, 2 fs each.")] = 600,
    budget: Annotated[int, typer.Option(help="Frames that are labelled at most.")] = 30,
    novelty: Annotated[float, typer.Option(help="Novelty from which frames are collected.")] = 0.3,
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.")] = 0,
    changes: Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE of the config.")] = None,
    json: Annotated[Path | None, typer.Option(help="File to which the figures are appended, a line a crystal.")] = None,
) -> None:
    """Roughness and novelty of a crystal that is heated, and what filling brings on a second run."""
    loaded = load_model(model)
    calc = FillCalculator(loaded, pool=None if pool == "default" else _first(read_structures(pool), known))
    unknown = _unknown(calc, read_structures(crystals))
    order = np.random.default_rng(seed).permutation(len(unknown))[:n]
    for name, crystal in (unknown[i] for i in order):
        watch = {"novelty": novelty, "budget": budget}
        result = heated(calc, crystal, oracle, steps, seed, watch, settings_of(changes or []))
        title = f"{name}, {crystal.composition.reduced_formula}"
        for table in _tables(title, result):
            console.print(table)
        if json is not None:
            facts = {"model": model, "crystal": title, "steps": steps, "seed": seed}
            Lines(json).append(facts | watch | _figures(result))
    text = "Force errors are mean absolute ones of a component against the oracle, in the same frames of a second run "
    text += (
        "with another seed, driven by the original. watched: the frames that the watcher collected in the first run; "
    )
    text += "control: as many drawn from it at random in time. Drifts are of the model that is handed over; without a "
    text += "correction there is none."
    console.print(text, highlight=False)


def _first(pool: StructureSet, n: int) -> StructureSet:
    return pool.subset(range(min(n, len(pool))))


def _unknown(calc: FillCalculator, found: StructureSet) -> list[tuple[str, Structure]]:
    """Small crystals whose formula the pool has not and that the potential can take.

    Raises:
        InputError: there are none.
    """
    adapter = get_adapter(calc.original)
    known = {s.composition.reduced_formula for s in calc.pool.structures}
    rows = [
        (name, s)
        for name, s in zip(found.ids, found.structures, strict=True)
        if 2 <= len(s) <= 8
        and s.composition.reduced_formula not in known
        and not isinstance(graph_or_reason(adapter, s), str)
    ]
    if not rows:
        raise InputError("no crystal of 2 to 8 atoms that the pool has not; give others.")
    return rows


def _figures(result: TwoRuns) -> dict[str, Any]:
    """What is kept of a result as a line."""
    first, test, errors = result.heating, result.test, result.errors
    return {
        "correlation": {m: round(first.correlation(m), 3) for m in MEASURES},
        "novelty_and_error": round(float(spearmanr(test.novelty, errors["before"]).statistic), 3),
        "collected": len(result.collected),
        "force_error": {arm: round(float(e.mean()), 5) for arm, e in errors.items()},
        "guard": result.guard,
    }
