"""What filling brings to a potential across a class, what it changes elsewhere, and what other ways bring."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pymatgen.core import Structure
from sklearn.neighbors import NearestNeighbors

from examples.benchmarks.common.options import numbers, settings_of
from examples.benchmarks.common.printing import console, new_table
from examples.benchmarks.common.rows import Lines, Row, read_rows
from examples.benchmarks.evidence.bench import commit
from examples.benchmarks.potentials.filling_arms import ARMS, Lesson, Trained
from examples.benchmarks.potentials.filling_data import CHOICES, Labelled, crystals_elsewhere, force_differences, order
from matgl_fill import get_adapter, load_model
from matgl_fill.adapters import Adapter, predict
from matgl_fill.errors import InputError
from matgl_fill.evaluation import compare_errors, potential_errors
from matgl_fill.evaluation.potential import UNITS
from matgl_fill.guard import Drift
from matgl_fill.structures import csv_text, elements_of, rattled
from matgl_fill.utils.files import atomic_write
from matgl_fill.utils.machine import machine_facts
from matgl_fill.utils.scaling import Scaling

DECILE, LEAST = 0.1, 5
"""Share of the test crystals that is looked at by itself, and the least number of them."""
ELSEWHERE, MAX_ATOMS, DISPLACEMENT = 70, 16, 0.1
"""Crystals that hold an element outside of the class: how many, their largest number of atoms, and the standard
deviation of their displacements, Angstrom."""
WORST = ("forces", "energy")
"""Measures of the worst decile."""
SCORES = ("distance", "disagreement")
"""What says before labelling which test crystals will be wrong: the latent distance to the nearest crystal that is
calculated, and the difference of forces from a second potential."""


@dataclass(frozen=True)
class Elsewhere:
    """Crystals outside of a class, at rest and displaced.

    Attributes:
        sets: crystals by name.
    """

    sets: dict[str, list[Structure]]

    @classmethod
    def of(cls, crystals: Sequence[Structure]) -> Elsewhere:
        """Crystals, and the same displaced."""
        rng = np.random.default_rng(0)
        moved = [rattled(s, DISPLACEMENT, DISPLACEMENT, rng)[0] for s in crystals]
        return cls({"at rest": list(crystals), "displaced": moved})

    def drift(self, before: Adapter, after: Adapter) -> dict[str, dict[str, float]]:
        """Change of energies (eV/atom, elemental shifts apart) and of forces (over their mean) by set."""
        found = {}
        for name, crystals in self.sets.items():
            was, now = (predict(x, x.graphs(crystals)) for x in (before, after))
            found[name] = asdict(Drift.of(crystals, was, now))
        return found


@dataclass(frozen=True)
class Study:
    """A potential with the files by which it is filled and judged.

    Attributes:
        adapter: of the potential, which stays as it is.
        second: another potential, which says where they disagree; there may be none.
        train: labelled crystals to choose from.
        test: labelled crystals of the class that no one learns from.
        elsewhere: crystals outside of the class.
    """

    adapter: Adapter
    second: Adapter | None
    train: Labelled
    test: Labelled
    elsewhere: Elsewhere

    def scores(self, chosen: Labelled) -> dict[str, np.ndarray]:
        """Scores (n,) of the n test crystals that are known before anything is labelled."""
        Z = [self.adapter.embed_graphs(self.adapter.graphs(x.structures))[0] for x in (self.train, chosen, self.test)]
        whole, near, far = (x.astype(float) for x in Z)
        scaling = Scaling.of(whole)
        neighbours = NearestNeighbors(n_neighbors=1).fit(scaling(near))
        found = {"distance": neighbours.kneighbors(scaling(far))[0][:, 0]}
        if self.second is not None:
            found["disagreement"] = force_differences(self.adapter, self.second, self.test.structures)
        return found

    def measure(self, arm: str, choice: str, n: int, seed: int, settings: dict[str, Any]) -> Row:
        """Choose n crystals, let an arm learn from them, and measure what comes out.

        Raises:
            InputError: there are fewer than n crystals.
        """
        if n > len(self.train):
            raise InputError(f"there are {len(self.train)} labelled crystals to choose from; {n} are too many.")
        chosen = self.train.subset(order(choice, self.adapter, self.second, self.train, seed)[:n])
        lesson = Lesson(self.adapter.model, chosen, seed, settings)
        start = time.perf_counter()
        trained = ARMS[arm](lesson)
        seconds = time.perf_counter() - start
        return {"seconds": round(seconds, 1)} | self._judged(lesson, trained)

    def _judged(self, lesson: Lesson, trained: Trained) -> Row:
        """Errors across the class, of the worst deciles, and the drift elsewhere."""
        after = get_adapter(trained.potential)
        whole = compared(self.adapter, after, self.test, lesson.shifts)
        size = max(LEAST, round(DECILE * len(self.test)))
        worst = {}
        for name, score in self.scores(lesson.crystals).items():
            part = self.test.subset(np.argsort(-score, kind="stable")[:size])
            changes = compared(self.adapter, after, part, lesson.shifts)["changes"]
            worst[name] = {measure: changes[measure] for measure in WORST if measure in changes}
        return whole | {
            "worst": worst,
            "elsewhere": self.elsewhere.drift(self.adapter, after),
            "accepted": trained.accepted,
            "weight": trained.weight,
            "notes": list(trained.notes),
        }


def compared(before: Adapter, after: Adapter, test: Labelled, shifts: dict[str, float]) -> Row:
    """Errors of two potentials on labelled crystals by measure, and the softening slopes."""
    errors = [potential_errors(adapter, test.structures, test.labels, shifts) for adapter in (before, after)]
    found = compare_errors(*errors)
    return {"changes": {c.measure: asdict(c) for c in found.changes}, "slope": [found.slope_before, found.slope_after]}


def _known(names: str, among: Collection[str], what: str) -> list[str]:
    """Names of a word such as ``default,naive``."""
    found = [name.strip() for name in names.split(",") if name.strip()]
    if wrong := [name for name in found if name not in among]:
        raise typer.BadParameter(f"no {what} '{wrong[0]}'; there are {', '.join(among)}.")
    return found


def filling(
    model: Annotated[str, typer.Argument(help="Directory of a potential, or 'potential', the bundled one.")],
    train: Annotated[Path, typer.Option(help="Labelled crystals to choose from (extended XYZ).")],
    test: Annotated[Path, typer.Option(help="Labelled crystals of the class to test on, of other formulas.")],
    elsewhere: Annotated[Path, typer.Option(help="Crystals of all kinds, of which those outside are looked at.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File of rows; those that it has are not made again.")],
    arms: Annotated[str, typer.Option(help=f"Of {', '.join(ARMS)}.")] = "default,naive",
    n: Annotated[str, typer.Option("-n", help="Numbers of labelled crystals.")] = "100",
    seeds: Annotated[str, typer.Option(help="Of choice and training.")] = "0,1,2",
    choice: Annotated[str, typer.Option(help=f"Of {', '.join(CHOICES)}.")] = "random",
    second: Annotated[str, typer.Option(help="Another potential, for disagreement; empty for none.")] = "potential",
    changes: Annotated[list[str] | None, typer.Option("--set", help="FIELD=VALUE of the config.")] = None,
) -> None:
    """What labelled crystals of a class bring to a potential on others of it, and what they change elsewhere."""
    wanted: list[Row] = [
        {"model": Path(model).name, "data": train.parent.name, "choice": how, "n": size, "arm": arm, "seed": seed}
        | {"settings": settings_of(changes or [])}
        for how in _known(choice, CHOICES, "choice")
        for size in numbers(n)
        for seed in numbers(seeds)
        for arm in _known(arms, ARMS, "arm")
    ]
    lines = Lines(out)
    left = [facts for facts in wanted if facts not in [{k: row.get(k) for k in facts} for row in lines.rows]]
    console.print(f"{len(left)} of {len(wanted)} measurements to be made", highlight=False)
    if not left:
        return
    adapter = get_adapter(load_model(model))
    others = get_adapter(load_model(second)) if second and second != model else None
    crystals = Labelled.read(train, adapter)
    outside = crystals_elsewhere(elsewhere, elements_of(crystals.structures), ELSEWHERE, MAX_ATOMS, adapter)
    study = Study(adapter, others, crystals, Labelled.read(test, adapter), Elsewhere.of(outside))
    made_by = {"commit": commit(), "matgl_fill": version("matgl_fill")} | machine_facts()
    for facts in left:
        asked = {k: facts[k] for k in ("arm", "choice", "n", "seed", "settings")}
        lines.append(facts | study.measure(**asked) | made_by)
        console.print(_line(lines.rows[-1]), highlight=False, markup=False)


def _line(row: Row) -> str:
    """A row in short."""
    found = ", ".join(f"{name} {c['change_percent']:+.1f}" for name, c in row["changes"].items())
    drift = ", ".join(f"{k} {1e3 * v['energy']:.1f} meV, {v['forces']:.1%}" for k, v in row["elsewhere"].items())
    what = f"{row['model']}, {row['data']}, {row['choice']} {row['n']}, {row['arm']}, seed {row['seed']}"
    return f"{what}: {found}; elsewhere {drift}; weight {row['weight']:g}, {row['seconds']:.0f} s"


def flat(row: Row) -> dict[str, Any]:
    """A row as a line of a table: changes of errors in percent, with the ends of their intervals."""
    line = {k: row[k] for k in ("model", "data", "choice", "n", "arm", "seed")}
    line["settings"] = " ".join(f"{k}={v}" for k, v in row["settings"].items())
    line |= {"accepted": row["accepted"], "weight": row["weight"], "seconds": row["seconds"]}
    for measure in UNITS:
        found = row["changes"].get(measure, {})
        line[f"{measure} before"] = _figure(found.get("before"), 5)
        for column, key in ((measure, "change_percent"), (f"{measure} low", "low"), (f"{measure} high", "high")):
            line[column] = _figure(found.get(key), 1)
    line["slope before"], line["slope after"] = (_figure(slope, 3) for slope in row["slope"])
    for score in SCORES:
        for measure in WORST:
            found = row["worst"].get(score, {}).get(measure, {})
            line[f"{measure} of the worst by {score}"] = _figure(found.get("change_percent"), 1)
    for name, drift in row["elsewhere"].items():
        line[f"energy elsewhere, {name} (meV/atom)"] = _figure(1e3 * drift["energy"], 2)
        line[f"forces elsewhere, {name} (%)"] = _figure(100 * drift["forces"], 2)
    return line


def _figure(value: float | None, digits: int) -> float | str:
    """A rounded number; nothing where there is none."""
    return "" if value is None or np.isnan(value) else round(value, digits)


def filling_table(
    files: Annotated[list[Path], typer.Argument(help="Files of rows.")],
    csv: Annotated[Path | None, typer.Option(help="File of all rows as a table.")] = None,
) -> None:
    """Means over seeds on the terminal, and every row as CSV."""
    lines = [flat(row) for path in files for row in read_rows(path)]
    if not lines:
        raise InputError("the files hold no row.")
    if csv is not None:
        atomic_write(csv, csv_text(lines))
    keys = ("model", "data", "choice", "n", "arm", "settings")
    skipped = {*keys, "seed", "accepted"} | {k for k in lines[0] if k.endswith((" before", " low", " high"))}
    columns = [name for name in lines[0] if name not in skipped]
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault(tuple(line[k] for k in keys), []).append(line)
    for group, members in groups.items():
        title = ", ".join(str(part) for part in group if part != "")
        table = new_table(f"{title}: {len(members)} seeds", ("measure", "mean", "lowest", "highest"))
        for name in columns:
            values = [line[name] for line in members if line[name] != ""]
            if values:
                table.add_row(name, *(f"{f(values):.4g}" for f in (np.mean, np.min, np.max)))
        console.print(table)
