"""How far proposed crystals are from mechanical equilibrium, by SevenNet."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from ase.calculators.calculator import BaseCalculator
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from examples.benchmarks.common.printing import console, new_table
from examples.benchmarks.common.rows import Lines
from matgl_fill import load_model, propose, read_structures
from matgl_fill.errors import InputError
from matgl_fill.generation import Proposal
from matgl_fill.generation.filters import closest_pair
from matgl_fill.structures import elements_of
from matgl_fill.training.build import covering
from matgl_fill.training.labels.oracle import elemental_shifts, resolve
from matgl_fill.utils.console import track

Rows = list[dict[str, Any]]
TYPICAL_STEPS = 80
"""Of a proposal's relaxation, for the cost that is said first."""
EXPLODED_VOLUME = 2.0
"""A relaxation that changes the volume by more than this factor left its crystal."""
EXPLODED_DISTANCE = 0.5
"""So did one that leaves two atoms nearer than this fraction of their covalent sum."""
SEEN = 12
"""Pool crystals with each element that the elemental references are fitted on, where there are as many ..."""
LEAST_SEEN = 4
"""... and below which an element has no reference."""
MAX_REFERENCE = 12
"""Atoms of those crystals."""


@dataclass(frozen=True)
class Relaxation:
    """A crystal before and after relaxation of atoms and cell.

    Attributes:
        before: energy, eV per atom.
        after: energy, eV per atom.
        steps: of the optimiser.
        converged: whether force and stress met the threshold.
        displacement: median over the atoms of how far they went, the cell's change taken out, Angstrom.
        volume: after over before.
        closest: smallest distance of two atoms over their covalent sum, after; infinite where none come near.
        exploded: why the crystal counts as lost, empty if it does not.
        seconds: wall time.
    """

    before: float
    after: float
    steps: int
    converged: bool
    displacement: float
    volume: float
    closest: float
    exploded: str
    seconds: float


def relax_crystal(structure: Structure, calculator: BaseCalculator, fmax: float, steps: int) -> Relaxation:
    """Relax atoms and cell (Frechet cell filter, FIRE).

    Args:
        structure: to relax; left as it is.
        calculator: of energy, forces and stress.
        fmax: threshold of forces in eV/Angstrom.
        steps: of the optimiser at most.
    """
    start = time.perf_counter()
    atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
    atoms.calc = calculator
    before = float(atoms.get_potential_energy()) / len(atoms)
    optimiser = FIRE(FrechetCellFilter(atoms), logfile=None)
    converged, after, volume, gone, closest, lost = False, np.nan, np.nan, np.nan, np.nan, []
    try:
        converged = bool(optimiser.run(fmax=fmax, steps=steps))
        after = float(atoms.get_potential_energy()) / len(atoms)
    except (RuntimeError, ValueError, np.linalg.LinAlgError) as error:
        lost.append(f"the calculator failed: {error}")
    if np.isfinite(after):
        final = AseAtomsAdaptor.get_structure(atoms)
        shift = atoms.get_scaled_positions(wrap=False) - structure.frac_coords
        gone = float(np.median(np.linalg.norm((shift - shift.mean(axis=0)) @ final.lattice.matrix, axis=1)))
        volume, (closest, pair) = float(final.volume / structure.volume), closest_pair(final)
        if not 1 / EXPLODED_VOLUME <= volume <= EXPLODED_VOLUME:
            lost.append(f"volume times {volume:.2f}")
        if closest < EXPLODED_DISTANCE:
            lost.append(f"{pair} at {closest:.2f} of the covalent sum")
    else:
        lost.append("energy is not finite")
    seconds = round(time.perf_counter() - start, 2)
    return Relaxation(before, after, optimiser.nsteps, converged, gone, volume, closest, "; ".join(lost), seconds)


def reference_crystals(pool: Sequence[Structure], elements: set[str], seed: int) -> list[int]:
    """Rows of random small pool crystals, about :data:`SEEN` with each of the elements, where there are as many."""
    order = np.random.default_rng(seed).permutation(len(pool)).tolist()
    return covering(pool, [i for i in order if len(pool[i]) <= MAX_REFERENCE], elements, SEEN)


class Ledger(Lines):
    """A file of one JSON line per crystal done, behind a first line that says what is done and with which crystals.

    Args:
        path: the file.
        settings: of the run.

    Raises:
        InputError: the file is of other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        super().__init__(path)
        self._settings = settings
        if self.rows and {k: self.rows[0].get(k) for k in settings} != settings:
            raise InputError(f"{path} is of another run; remove it or give another --out.")

    def proposals(self, make: Callable[[], Sequence[Proposal]]) -> list[dict[str, Any]]:
        """Proposed crystals of the first line, which is written if there is none."""
        if not self.rows:
            found = [
                {"id": p.id, "parent": p.parent, "moves": p.moves, "structure": p.structure.as_dict()} for p in make()
            ]
            self.append(self._settings | {"proposals": found})
        return self.rows[0]["proposals"]

    def done(self, kind: str) -> dict[str, dict[str, Any]]:
        """Rows of one kind of crystals, by id."""
        return {row["id"]: row for row in self.rows[1:] if row["kind"] == kind}


def _say_cost(jobs: Sequence[tuple[str, str, Structure]], calculator: BaseCalculator, steps: int) -> None:
    """Say how long the jobs will take, from two evaluations of one crystal."""
    atoms = Counter({"proposal": 0, "parent": 0, "reference": 0})
    for kind, _, structure in jobs:
        atoms[kind] += len(structure)
    if not jobs:
        return
    probe = AseAtomsAdaptor.get_atoms(jobs[-1][2], msonable=False)
    probe.calc = calculator
    probe.get_potential_energy()
    start = time.perf_counter()
    probe.rattle(0.01)
    probe.get_potential_energy()
    each = (time.perf_counter() - start) / len(probe)
    likely, most = (
        each * (atoms["reference"] + k * (atoms["proposal"] + atoms["parent"])) / 60 for k in (TYPICAL_STEPS, steps)
    )
    text = f"{len(jobs)} crystals: about {likely:.0f} min at {TYPICAL_STEPS} steps each, {most:.0f} min at {steps}"
    console.print(text, highlight=False)


def excess_energies(rows: Rows, references: Rows, structures: Mapping[str, Structure]) -> tuple[np.ndarray, float]:
    """Energies of crystals above elemental references, which least squares fit to the energies of pool crystals.

    Args:
        rows: (n) relaxed crystals.
        references: pool crystals as they are.
        structures: of both, by id.

    Returns:
        (n,) eV per atom, NaN for crystals that are lost or hold an element without reference; and the root mean
        square of the pool crystals' own, which no such references explain.
    """
    crystals = [structures[r["id"]] for r in references]
    seen = Counter(e.symbol for s in crystals for e in s.elements)
    energy = np.array([r["after"] * len(s) for r, s in zip(references, crystals, strict=True)])
    shifts, rest = elemental_shifts(crystals, energy, tuple(sorted(seen)))
    excess = []
    for row in rows:
        shares = structures[row["id"]].composition.fractional_composition.get_el_amt_dict()
        known = all(seen[e] >= LEAST_SEEN for e in shares) and not row["exploded"]
        excess.append(row["after"] - sum(shifts[e] * x for e, x in shares.items()) if known else np.nan)
    return np.array(excess), rest


def _median(values: Sequence[float] | np.ndarray, form: str) -> str:
    """Median and, in brackets, 10th and 90th percentile of what is finite."""
    some = np.asarray(values, dtype=float)
    some = some[np.isfinite(some)]
    if not len(some):
        return ""
    low, middle, high = np.percentile(some, (10, 50, 90))
    return f"{middle:{form}} ({low:{form}} {high:{form}})"


def _column(rows: Rows, excess: np.ndarray) -> list[str]:
    """Figures of one kind of crystals."""
    kept = [r for r in rows if not r["exploded"]]
    share = [sum(bool(r[key]) for r in rows) / max(len(rows), 1) for key in ("converged", "exploded")]
    return [
        str(len(rows)),
        *(f"{s:.0%}" for s in share),
        _median([r["steps"] for r in rows], ".0f"),
        _median([1e3 * (r["after"] - r["before"]) for r in kept], "+.0f"),
        _median([r["displacement"] for r in kept], ".3f"),
        _median([100 * (r["volume"] - 1) for r in kept], "+.1f"),
        _median([100 * abs(r["volume"] - 1) for r in kept], ".1f"),
        _median(1e3 * excess, "+.0f"),
        f"{sum(r['seconds'] for r in rows):.0f}",
    ]


ROWS = (
    "crystals",
    "converged",
    "exploded",
    "steps",
    "energy, after - before (meV/atom)",
    "displacement of atoms (A)",
    "volume change (%)",
    "size of volume change (%)",
    "energy above references (meV/atom)",
    "seconds",
)


def report(ledger: Ledger, structures: Mapping[str, Structure]) -> None:
    """Print the figures of the crystals done so far, and which proposals failed.

    Args:
        ledger: of the run.
        structures: its crystals by id, before relaxation.
    """
    made, parents, references = (ledger.done(k) for k in ("proposal", "parent", "reference"))
    pairs = [p for p in ledger.rows[0]["proposals"] if p["id"] in made and p["parent"] in parents]
    known = [list(x.values()) for x in (made, parents)]
    excess = [excess_energies(rows, list(references.values()), structures) for rows in known]
    by_id = {r["id"]: e for rows, (es, _) in zip(known, excess, strict=True) for r, e in zip(rows, es, strict=True)}
    title = "relaxed with SevenNet: median (percentiles 10 and 90)"
    table = new_table(title, ("quantity", "proposals", "parents"))
    columns = [_column(rows, es) for rows, (es, _) in zip(known, excess, strict=True)]
    for cells in zip(ROWS, *columns, strict=True):
        table.add_row(*cells)
    console.print(table)
    above = [1e3 * (by_id[p["id"]] - by_id[p["parent"]]) for p in pairs]
    console.print(
        f"proposal above its parent, both relaxed: {_median(above, '+.0f')} meV/atom, "
        f"{int(np.isfinite(above).sum())} pairs. Compositions differ, so energies are compared above elemental "
        f"references, which least squares fit to {len(references)} pool crystals; those scatter about them by "
        f"{1e3 * excess[0][1]:.0f} meV/atom. This is no energy above the hull.",
        highlight=False,
    )
    for p in ledger.rows[0]["proposals"]:
        row = made.get(p["id"])
        if row is not None and (row["exploded"] or not row["converged"]):
            why = row["exploded"] or f"not converged after {row['steps']} steps"
            text = (
                f"{p['id']} {structures[p['id']].composition.reduced_formula} from {p['parent']} ({p['moves']}): {why}"
            )
            console.print(text, highlight=False, markup=False)


def relax(
    model: Annotated[str, typer.Argument(help="Model directory or hub name.")],
    pool: Annotated[str, typer.Argument(help="Crystals to propose from.")],
    n: Annotated[int, typer.Option("-n", help="Crystals to propose, at the roughest places.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the proposals.")] = 0,
    fmax: Annotated[float, typer.Option(help="Forces at which a crystal is relaxed, eV/Angstrom.")] = 0.05,
    steps: Annotated[int, typer.Option(help="Of FIRE at most.")] = 300,
    out: Annotated[Path, typer.Option(help="One JSON line per crystal; a run goes on from it.")] = Path(
        "relaxed.jsonl"
    ),
) -> None:
    """Proposed crystals and their parents relaxed with SevenNet: converged, exploded, energy, displacement, volume."""
    calculator = resolve("sevennet").source
    assert isinstance(calculator, BaseCalculator)
    crystals = read_structures(pool)
    settings = {"model": Path(model).name, "pool": Path(pool).name, "n": n, "seed": seed, "fmax": fmax, "steps": steps}
    ledger = Ledger(out, settings)
    proposals = ledger.proposals(lambda: propose(load_model(model), crystals, n=n, seed=seed))
    structures = dict(zip(crystals.ids, crystals.structures, strict=True))
    structures |= {p["id"]: Structure.from_dict(p["structure"]) for p in proposals}
    keys = [key for p in proposals for key in (("proposal", p["id"]), ("parent", p["parent"]))]
    elements = set(elements_of(structures[i] for _, i in keys))
    chosen = reference_crystals(crystals.structures, elements, seed)
    keys = [("reference", crystals.ids[i]) for i in chosen] + list(dict.fromkeys(keys))
    done = {(row["kind"], row["id"]) for row in ledger.rows[1:]}
    jobs = [(*key, structures[key[1]]) for key in keys if key not in done]
    _say_cost(jobs, calculator, steps)
    for kind, name, structure in track(jobs, "relaxing crystals"):
        result = relax_crystal(structure, calculator, fmax, 0 if kind == "reference" else steps)
        ledger.append({"kind": kind, "id": name} | asdict(result))
    report(ledger, structures)
