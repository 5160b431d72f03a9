"""What labels of generated crystals bring to a potential on others like them, and what it forgets, by an oracle."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator, all_changes
from ase.units import GPa
from matgl.apps.pes import Potential
from pymatgen.core import Structure
from rich.table import Table

from examples.benchmarks.common.options import settings_of
from examples.benchmarks.common.printing import console, new_table
from examples.benchmarks.common.rows import Lines
from matgl_fill import fill_tune, get_adapter, load_model, read_structures
from matgl_fill.adapters import Adapter
from matgl_fill.embedding import usable_crystals
from matgl_fill.errors import InputError
from matgl_fill.generation import Proposal
from matgl_fill.guard import Check
from matgl_fill.structures import StructureSet
from matgl_fill.training import Labels, Source, elemental_shifts, label, resolve
from matgl_fill.utils.files import atomic_folder

LEAST_SEEN = 4
"""Labelled crystals with an element below which it has no reference, so that energies of it are not compared."""
OPEN: dict[str, float] = {
    "max_prediction_drift": 1e9,
    "max_energy_shift": 1e9,
    "max_force_drift": 1e9,
    "min_recovery": -1e9,
    "max_proxy_loss": 1e9,
    "must_gain": False,
}
"""Budgets that every model keeps."""
NAIVE: dict[str, Any] = OPEN | {
    "form": "overwrite",
    "replay_weight": 0.0,
    "prediction_weight": 0.0,
    "force_replay_weight": 0.0,
}
"""The same training without replay and guard."""
DRIFTS = {
    "prediction drift": "own energy on the pool",
    "mean energy shift": "energy shift on the pool",
    "force drift": "force drift on the pool",
    "original embedding recovered": "embedding recovered on the pool",
}
"""The guard's measures that are shown, and what they are called."""


class Remembering(Calculator):
    """A calculator that is asked only once about each crystal.

    Args:
        calculator: of energy, forces and stress.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, calculator: BaseCalculator) -> None:
        super().__init__()
        self._calculator = calculator
        self._known: dict[bytes, dict[str, Any]] = {}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """All results at once."""
        super().calculate(atoms, properties, system_changes)
        assert atoms is not None
        key = b"".join(x.tobytes() for x in (atoms.numbers, atoms.positions, atoms.cell.array))
        if key not in self._known:
            asked = atoms.copy()
            asked.calc = self._calculator
            energy, forces = asked.get_potential_energy(), asked.get_forces()
            self._known[key] = {"energy": energy, "forces": forces, "stress": asked.get_stress()}
        self.results = dict(self._known[key])


@dataclass(frozen=True)
class Errors:
    """Mean absolute errors against the oracle.

    Attributes:
        energy: eV/atom, of what elemental references do not explain; NaN where no crystal has references.
        forces: eV/Angstrom, per component.
        stress: GPa, per component.
        compared: crystals whose elements all have references.
    """

    energy: float
    forces: float
    stress: float
    compared: int


@dataclass(frozen=True)
class Outcome:
    """What became of a potential that was trained.

    Attributes:
        errors: on the crystals of the test set.
        verdict: of the guard, in words.
        guard: its measures and budgets.
        seconds: wall time, pool, oracle and guard included.
        training: seconds of it that labelling and training took.
    """

    errors: Errors
    verdict: str
    guard: list[Check]
    seconds: float
    training: float

    def drift(self, measure: str) -> float | None:
        """Value of one of the guard's measures; None where nothing was learnt that it could judge."""
        return next((check.value for check in self.guard if check.measure == measure), None)


@dataclass(frozen=True)
class Comparison:
    """A potential trained on half of some crystals, with and without replay and guard.

    Attributes:
        oracle: its name.
        training: crystals of the training set.
        test: crystals of the test set.
        before: errors of the potential as it was.
        tuned: with replay and guard.
        naive: without.
    """

    oracle: str
    training: int
    test: int
    before: Errors
    tuned: Outcome
    naive: Outcome


def read_proposals(adapter: Adapter, source: Any) -> list[Proposal]:
    """Crystals of a file that ``matgl-fill propose`` wrote, those that the model can take.

    Args:
        adapter: of the model.
        source: anything :func:`matgl_fill.read_structures` takes.

    Raises:
        InputError: fewer than two can be used.
    """
    found = read_structures(source)
    usable = usable_crystals(adapter, found.ids, found.structures, graphs=True).rows
    if len(usable) < 2:
        raise InputError(f"{source} holds {len(usable)} crystals that {adapter.name} can take; two halves need more.")
    kept = found.subset(usable)
    Z = adapter.embed_graphs(adapter.graphs(kept.structures))[0]
    rows = enumerate(zip(kept.ids, kept.structures, Z, strict=True))
    return [Proposal(name, structure, "", "given", z, k, 0.0, 0.0) for k, (name, structure, z) in rows]


def oracle_errors(
    adapter: Adapter,
    training: tuple[Sequence[Structure], Labels],
    test: tuple[Sequence[Structure], Labels],
) -> Errors:
    """How far a potential is from the oracle on the crystals of the test set.

    Args:
        adapter: of the potential.
        training: crystals with the oracle's labels, on which least squares fit the elemental references.
        test: crystals with the oracle's labels.
    """
    counts = Counter(e.symbol for s in training[0] for e in s.elements)
    own = label(training[0], adapter)
    shifts, _ = elemental_shifts(training[0], training[1].energy - own.energy, adapter.element_types)
    structures, labels = test
    own = label(structures, adapter)
    known = np.array([all(counts[e.symbol] >= LEAST_SEEN for e in s.elements) for s in structures])
    references = np.array([sum(shifts[e.symbol] for e in s.species) for s in structures])
    each = np.abs(labels.energy - own.energy - references) / np.array([len(s) for s in structures])
    forces = np.concatenate(labels.forces) - np.concatenate(own.forces)
    return Errors(
        float(each[known].mean()) if known.any() else np.nan,
        float(np.abs(forces).mean()),
        float(np.abs(labels.stress - own.stress).mean() / GPa),
        int(known.sum()),
    )


def _labelled(structures: Sequence[Structure], source: Source) -> tuple[list[Structure], Labels]:
    """Crystals that the oracle can label, and their labels."""
    labels = label(structures, source)
    good = np.flatnonzero(labels.usable()).tolist()
    return [structures[i] for i in good], labels.subset(good)


def compare_labels(
    model: Any,
    pool: StructureSet,
    crystals: Any,
    oracle: Any,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    out: Path | None = None,
) -> Comparison:
    """Train a potential on half of the crystals, with and without replay and guard, and test it on the other half.

    Args:
        model: MatGL ``Potential``, left as it is.
        pool: known crystals, which are replayed and which the guard judges on.
        crystals: anything :func:`matgl_fill.read_structures` takes.
        oracle: as in :func:`matgl_fill.fill_tune`.
        seed: of the halves and of the training.
        settings: changes to :class:`matgl_fill.FillConfig`, for both.
        out: folder for the models ``tuned`` and ``naive``.

    Raises:
        InputError: the model is no potential, or fewer than two crystals can be used.
        OracleError: there is no such oracle.
    """
    if not isinstance(model, Potential):
        raise InputError(f"{type(model).__name__} predicts no energy that an oracle knows; give a MatGL Potential.")
    adapter = get_adapter(model)
    name, source = resolve(oracle)
    if isinstance(source, BaseCalculator):
        source = Remembering(source)
    proposals = read_proposals(adapter, crystals)
    order = np.random.default_rng(seed).permutation(len(proposals))
    first, second = ([proposals[i] for i in sorted(half)] for half in np.array_split(order, 2))
    test = _labelled([p.structure for p in second], source)
    training = _labelled([p.structure for p in first], source)
    before = oracle_errors(adapter, training, test)
    oracle_given = source.model if isinstance(source, Adapter) else source

    def outcome(arm: str, changes: dict[str, Any]) -> Outcome:
        start = time.perf_counter()
        config = {**(settings or {}), **changes}
        result = fill_tune(model, pool, oracle=oracle_given, seed=seed, config=config, proposals=first)
        seconds = round(time.perf_counter() - start, 1)
        if out is not None:
            save: Any = result.model.save
            atomic_folder(out / arm, partial(save, metadata=result.metadata))
        errors = oracle_errors(get_adapter(result.model), training, test)
        report = result.report
        return Outcome(errors, report.verdict.headline, report.guard or [], seconds, report.run.stages["train"])

    sizes = len(training[0]), len(test[0])
    return Comparison(name, *sizes, before, outcome("tuned", {}), outcome("naive", NAIVE))


def _table(found: Comparison) -> Table:
    before, outcomes = found.before, (found.tuned, found.naive)
    title = f"{found.training} crystals labelled by {found.oracle}, tested on {found.test} others"
    table = new_table(title, ("measure", "before", "replay and guard", "naive", "budget"))
    rows = (
        (f"energy, {before.compared} crystals (meV/atom)", "energy", 1e3),
        ("forces (eV/A)", "forces", 1.0),
        ("stress (GPa)", "stress", 1.0),
    )
    for words, field, unit in rows:
        values = [unit * getattr(e, field) for e in (before, *(outcome.errors for outcome in outcomes))]
        table.add_row(f"error of {words}", *(f"{v:.4g}" for v in values), "")
    table.add_section()
    budgets = {check.measure: f"{check.budget:g} {check.unit}" for check in outcomes[0].guard}
    for measure, words in DRIFTS.items():
        drifts = ["" if (v := outcome.drift(measure)) is None else f"{v:.3g}" for outcome in outcomes]
        if any(drifts):
            table.add_row(words, "", *drifts, budgets.get(measure, ""))
    table.add_section()
    table.add_row("verdict", "", outcomes[0].verdict, "no guard", "")
    table.add_row("seconds, of them training", "", *(f"{x.seconds:.0f}, {x.training:.0f}" for x in outcomes), "")
    return table


def labels_command(
    model: Annotated[str, typer.Argument(help="Directory or hub name of a potential.")],
    pool: Annotated[str, typer.Argument(help="Known crystals, on which nothing is to change.")],
    proposals: Annotated[Path, typer.Option(help="Crystals that matgl-fill propose wrote; half train, half test.")],
    oracle: Annotated[str, typer.Option(help="sevennet, chgnet, directory of a potential, or module:factory.")],
    seed: Annotated[int, typer.Option(help="Of the halves and of the training.")] = 0,
    changes: Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE of the config.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the models tuned and naive.")] = Path("labels"),
    json: Annotated[Path | None, typer.Option(help="File to which the figures are appended as a line.")] = None,
) -> None:
    """What labels of half of the proposed crystals bring on the other half, with and without replay and guard."""
    settings = settings_of(changes or [])
    found = compare_labels(load_model(model), read_structures(pool), proposals, oracle, seed, settings, out)
    console.print(_table(found))
    text = "Errors are mean absolute ones against the oracle; energies without elemental references, which least "
    text += "squares fit on the training set for each model. Drifts are of the model that is handed over, of a "
    text += "refused one at the smallest weight tried. The oracle's answers to the first are remembered for the second."
    console.print(text, highlight=False)
    if json is not None:
        facts = {"model": Path(model).name, "pool": Path(pool).name, "seed": seed, "settings": settings}
        Lines(json).append(facts | asdict(found))
