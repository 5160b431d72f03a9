"""Fill-tune a real model on real crystals and score it on real downstream tasks.

Uses the folder ``shared/`` beside the repository (models, pool, labelled crystals), which only the developers'
machines have. The tasks fall in two halves, fixed before any experiment: settings were chosen on ``choosing``,
``reporting`` is only looked at. Prints one line per run and a table per task.

    python examples/shared_tasks.py MEGNet-MP-2018.6.1-Eform --seeds 0 1 2
    python examples/shared_tasks.py MEGNet-MP-2018.6.1-Eform --set choice=random --seeds 0 1 2
    python examples/shared_tasks.py MEGNet-MP-2018.6.1-Eform --descriptors
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import matgl_fill as mf
from matgl_fill.evaluate import Task, compare

SHARED = Path(__file__).resolve().parents[2] / "shared"
CHOOSING = (
    ("mp_eval", "bulk_modulus_vrh_GPa"),
    ("mp_eval", "shear_modulus_vrh_GPa"),
    ("mp_eval", "poisson_ratio"),
    ("phonons_eval", "last_phdos_peak_per_cm"),
    ("mp_eval", "refractive_index_n"),
    ("mp_eval", "eps_poly_total"),
    ("mp_eval", "e_above_hull_2015_eV_per_atom"),
    ("perovskites_eval", "heat_of_formation_eV"),
)
REPORTING = (
    ("mp_eval", "K_VRH_2015_GPa"),
    ("mp_eval", "G_VRH_2015_GPa"),
    ("mp_eval", "elastic_anisotropy"),
    ("mp_eval", "heat_capacity_300K_per_atom_J_per_mol_K"),
    ("mp_eval", "eps_poly_electronic"),
    ("mp_eval", "piezo_eij_max_C_per_m2"),
    ("mp_eval", "band_gap_petousis_eV"),
    ("perovskites_eval", "band_gap_eV"),
    ("mp_eval", "formation_energy_2015_eV_per_atom"),
)
LINEAR = {
    "poisson_ratio",
    "e_above_hull_2015_eV_per_atom",
    "heat_of_formation_eV",
    "formation_energy_2015_eV_per_atom",
    "heat_capacity_300K_per_atom_J_per_mol_K",
    "band_gap_petousis_eV",
    "band_gap_eV",
}
"""Labels predicted as they are; all others have heavy tails and are predicted as log10."""
OFFSET = {"elastic_anisotropy": 0.01, "piezo_eij_max_C_per_m2": 0.01}
"""Heavy tails that touch zero: log10(value + offset)."""


def tasks_of(names: tuple[tuple[str, str], ...], rows: int) -> list[Task]:
    """Tasks from ``shared/data``, each cut to at most ``rows`` random crystals."""
    tasks = []
    for file, label in names:
        data = mf.read_structures(SHARED / "data" / f"{file}.jsonl.gz")
        y = data.labels[label]
        keep = np.flatnonzero(np.isfinite(y))
        keep = np.random.default_rng(0).permutation(keep)[:rows]
        part = data.subset(keep)
        target, name = y[keep], label
        if label not in LINEAR:
            target, name = np.log10(target + OFFSET.get(label, 0.0)), f"log {label}"
        tasks.append(Task(name, label, part.structures, target, np.array(part.formulas)))
    return tasks


def changes(pairs: list[str]) -> dict[str, object]:
    """Config changes from ``FIELD=VALUE`` words."""
    split = (p.split("=", 1) for p in pairs)
    return {k: json.loads(v) if v[0] in "-.0123456789" else v for k, v in split}


def parse() -> argparse.Namespace:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="name of a folder of shared/models")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of the whole pipeline")
    parser.add_argument("--folds", type=int, default=5, help="fold shuffles of every probe")
    parser.add_argument("--rows", type=int, default=1600, help="crystals per task at most")
    parser.add_argument("--n", type=int, default=100, help="crystals to generate")
    parser.add_argument("--oracle", help="sevennet, chgnet, or the name of a folder of shared/models")
    parser.add_argument("--descriptors", action="store_true", help="concatenate plain descriptors before and after")
    parser.add_argument("--half", choices=["choosing", "reporting", "both"], default="choosing")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="changes of the config")
    return parser.parse_args()


def main() -> None:
    """Run every seed and print what changed."""
    args, console = parse(), Console(width=120)
    names = {"choosing": CHOOSING, "reporting": REPORTING, "both": CHOOSING + REPORTING}[args.half]
    tasks = tasks_of(names, args.rows)
    oracle = args.oracle
    if oracle and (SHARED / "models" / oracle).is_dir():
        oracle = SHARED / "models" / oracle
    config = changes(args.set)
    model = mf.load_model(SHARED / "models" / args.model)
    before = mf.evaluate(model, tasks, args.folds, args.descriptors)
    if args.descriptors:
        plain = compare(mf.evaluate(model, tasks, args.folds), before)
        console.print(f"no training, descriptors concatenated: mean {plain.mean:+.2f} %", highlight=False)
    runs = []
    for seed in args.seeds:
        start = time.perf_counter()
        result = mf.fill_tune(
            model, SHARED / "data" / "mp_pool.jsonl.gz", n=args.n, oracle=oracle, seed=seed, config=config
        )
        wall = time.perf_counter() - start
        change = compare(before, mf.evaluate(result.model, tasks, args.folds, args.descriptors))
        runs.append([c.change_percent for c in change.changes])
        worst = change.worst
        console.print(
            f"seed {seed}: mean {change.mean:+.2f} %, worst {worst.change_percent:+.2f} % ({worst.task}), "
            f"{result.report['verdict']['headline']}, {wall:.0f} s",
            highlight=False,
        )
    table = Table(title=f"{args.model}: MAE change over {len(runs)} seeds, % (positive is better)")
    for name in ("task", "n", "mean", "deviation", "lowest seed"):
        table.add_column(name, justify="left" if name == "task" else "right")
    for task, values in zip(tasks, np.array(runs).T, strict=True):
        spread = f"{values.std(ddof=1):.2f}" if len(values) > 1 else ""
        table.add_row(task.name, str(len(task)), f"{values.mean():+.2f}", spread, f"{values.min():+.2f}")
    console.print(table)
    mean, lowest = np.mean(runs), np.mean(runs, axis=0).min()
    console.print(f"mean over tasks and seeds {mean:+.2f} %, worst task {lowest:+.2f} %", highlight=False)
    console.print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}", highlight=False
    )


if __name__ == "__main__":
    main()
