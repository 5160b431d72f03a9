"""What every move does to a pool, what the filters make of it, and what a draw costs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from ase.visualize.plot import plot_atoms
from matplotlib.figure import Figure
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from rich.table import Table

from examples.benchmarks.common.printing import console, new_table
from matgl_fill import get_adapter, load_model, read_structures
from matgl_fill.adapters import Adapter
from matgl_fill.errors import InputError
from matgl_fill.generation.filters import NAMES, Filters
from matgl_fill.generation.moves import (
    Antisite,
    Decorate,
    Gap,
    Interpolate,
    Interstitial,
    MonteCarloRattle,
    Move,
    Rattle,
    Strain,
    Substitute,
    Supercell,
    SymmetricStrain,
    Vacancy,
    Volume,
    atomic_volumes,
)
from matgl_fill.structures import bundled, elements_of
from matgl_fill.utils.console import track

MAX_PARENT = 24
"""Atoms of the crystals drawn from."""
SYMMETRY_SAMPLE = 200
"""Draws per move whose space group is determined, since that takes longer than the move."""
SYMMETRY_TOLERANCE = 0.01
"""Angstrom."""


@dataclass
class DrawCount:
    """What became of the draws of one move.

    Attributes:
        move: its name.
        claims_symmetry: whether it says that it keeps the space group.
        drawn: how often it was called.
        not_applicable: how often it gave None.
        refused: by each filter that was the first to refuse.
        duplicates: of the pool, among those that no filter refused.
        same_group: share of the sampled results with the parent's space group.
        milliseconds: processor time per call.
    """

    move: str
    claims_symmetry: bool
    drawn: int = 0
    not_applicable: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    same_group: float = np.nan
    milliseconds: float = np.nan

    @property
    def accepted(self) -> int:
        """New crystals that pass all filters."""
        return self.drawn - self.not_applicable - self.refused.total() - self.duplicates


def all_moves(pool: Sequence[Structure], elements: tuple[str, ...]) -> dict[str, Move]:
    """Every move at its default amplitude, by name.

    Args:
        pool: crystals that serve as partners and for atomic volumes.
        elements: that may be put in.
    """
    volumes = atomic_volumes(pool)
    return {
        "rattle": Rattle(),
        "Monte-Carlo rattle": MonteCarloRattle(),
        "strain": Strain(),
        "symmetric strain": SymmetricStrain(),
        "volume": Volume(),
        "substitution": Substitute(elements, volumes=volumes),
        "substitution, mined": Substitute(elements, mined=True, volumes=volumes),
        "antisite": Antisite(),
        "vacancy": Vacancy(),
        "vacancy, 12 atoms": Vacancy(least_atoms=12),
        "interstitial": Interstitial(),
        "supercell": Supercell(elements, volumes=volumes),
        "decoration": Decorate(tuple(pool), volumes=volumes),
        "interpolation": Interpolate(tuple(pool), volumes=volumes),
        "gap": Gap(),
    }


def count_draws(adapter: Adapter, pool: Sequence[Structure], n: int, seed: int = 0) -> list[DrawCount]:
    """Draw from every move and filter what comes.

    Nothing is accepted along the way, so novelty is against the pool alone and every move sees the same filters.

    Args:
        adapter: of the model.
        pool: crystals; those of at most ``MAX_PARENT`` atoms are parents.
        n: draws per move.
        seed: of parents and moves.

    Raises:
        InputError: no crystal is small enough.
    """
    parents = [s for s in pool if len(s) <= MAX_PARENT]
    if not parents:
        raise InputError(f"no crystal of the pool has at most {MAX_PARENT} atoms; add smaller ones.")
    filters = Filters(adapter, pool)
    present = tuple(e for e in elements_of(pool) if e in adapter.element_types)
    moves = all_moves(pool, present)
    return [_count(name, move, parents, filters, n, seed) for name, move in track(moves.items(), "drawing moves")]


def _count(name: str, move: Move, parents: Sequence[Structure], filters: Filters, n: int, seed: int) -> DrawCount:
    rng = np.random.default_rng(seed)
    count = DrawCount(name, move.keeps_symmetry, drawn=n)
    move(parents[0], rng)  # fills the tables
    same: list[bool] = []
    seconds = 0.0
    for row in rng.integers(len(parents), size=n):
        start = time.process_time()
        done = move(parents[row], rng)
        seconds += time.process_time() - start
        if done is None:
            count.not_applicable += 1
            continue
        if len(same) < SYMMETRY_SAMPLE:
            same.append(_space_group(done[0]) == _space_group(parents[row]))
        if reason := filters.refuse(done[0]):
            count.refused[reason.split(":")[0]] += 1
        else:
            count.duplicates += filters.duplicate(done[0])
    count.milliseconds = 1e3 * seconds / n
    count.same_group = float(np.mean(same)) if same else np.nan
    return count


def _space_group(structure: Structure) -> int:
    return int(SpacegroupAnalyzer(structure, SYMMETRY_TOLERANCE).get_space_group_number())


def draw_table(counts: Sequence[DrawCount], title: str) -> Table:
    """The counts as shares of all draws."""
    hit = [name for name in NAMES if any(c.refused[name] for c in counts)]
    columns = ("move", "does not apply", *hit, "known", "accepted", "same group", "claimed", "ms")
    table = new_table(title, columns)
    for c in counts:
        shares = [c.not_applicable, *(c.refused[name] for name in hit), c.duplicates, c.accepted]
        group = "" if np.isnan(c.same_group) else f"{c.same_group:.0%}"
        claim = "yes" if c.claims_symmetry else ""
        table.add_row(c.move, *(f"{x / c.drawn:.1%}" for x in shares), group, claim, f"{c.milliseconds:.2f}")
    return table


def _examples() -> Mapping[str, Structure]:
    perovskite = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    polar = [[0, 0, 0], [0.5, 0.5, 0.56], [0.5, 0.5, -0.05], [0.5, 0, 0.42], [0, 0.5, 0.42]]
    return {
        "perovskite": Structure(Lattice.cubic(3.9), ["Sr", "Ti", "O", "O", "O"], perovskite),
        "polar": Structure(Lattice.tetragonal(3.8, 4.5), ["Ba", "Ti", "O", "O", "O"], polar),
        "rutile": Structure.from_spacegroup(
            "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
        ),
        "fluorite": Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.46), ["Ca", "F"], [[0] * 3, [0.25] * 3]),
    }


PARENT_OF = {"interstitial": "fluorite", "antisite": "perovskite", "interpolation": "perovskite"}
"""Crystals that show a move best; rutile shows the others."""


def draw_gallery(folder: Path, seed: int = 0) -> list[Path]:
    """One picture per move: a crystal before and after.

    Args:
        folder: for the PNG files; made if absent.
        seed: of the moves.

    Returns:
        The files.
    """
    examples = _examples()
    moves = all_moves(tuple(examples.values()), ("Ca", "Ba", "Sr", "Zr", "Hf", "Sn", "S", "Mn"))
    # Amplitudes that the eye can see.
    moves |= {
        "volume": Volume(0.5),
        "strain": Strain(0.08),
        "symmetric strain": SymmetricStrain(0.12),
        "gap": Gap(2, 3),
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, move in track(moves.items(), "drawing pictures"):
        before = examples[PARENT_OF.get(name, "rutile")]
        done = next(d for k in range(seed, seed + 100) if (d := move(before, np.random.default_rng(k))))
        written.append(folder / f"{name.replace(', ', '-').replace(' ', '-').lower()}.png")
        _draw_pair(before, done[0], name, done[1], written[-1])
    return written


def _draw_pair(before: Structure, after: Structure, name: str, record: str, path: Path) -> None:
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, structure, title in zip(panels, (before, after), ("before", record), strict=True):
        atoms = AseAtomsAdaptor.get_atoms(structure)
        plot_atoms(atoms, axes, rotation="-75x,15y,0z", radii=0.35)
        axes.set_title(f"{structure.composition.reduced_formula}, {len(structure)} atoms\n{title}", fontsize=9)
        axes.set_axis_off()
    span = max(limit for axes in panels for limit in (axes.get_xlim()[1], axes.get_ylim()[1]))
    for axes in panels:
        middle = [np.mean(limits) for limits in (axes.get_xlim(), axes.get_ylim())]
        axes.set(xlim=(middle[0] - span / 2, middle[0] + span / 2), ylim=(middle[1] - span / 2, middle[1] + span / 2))
    figure.suptitle(name, fontsize=11)
    figure.savefig(path, dpi=110)


def draws(
    structures: Annotated[str, typer.Argument(help="Crystals; the bundled pool if left out.")] = "",
    model: Annotated[str, typer.Option(help="Model directory or hub name.")] = str(bundled.MODEL),
    n: Annotated[int, typer.Option(help="Draws per move.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of parents and moves.")] = 0,
    gallery: Annotated[Path | None, typer.Option(help="Folder for one picture per move.")] = None,
) -> None:
    """Share of draws that do not apply, that each filter refuses and that are accepted; symmetry kept; cost."""
    adapter = get_adapter(load_model(model))
    pool = (read_structures(structures) if structures else bundled.bundled_pool(adapter.element_types)).structures
    counts = count_draws(adapter, pool, n, seed)
    console.print(draw_table(counts, f"{n} draws per move from {len(pool)} crystals, {adapter.name}"))
    if gallery is not None:
        console.print(f"{len(draw_gallery(gallery, seed))} pictures in {gallery}", highlight=False)
