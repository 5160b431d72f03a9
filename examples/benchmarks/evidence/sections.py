"""The tables about one group of measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from examples.benchmarks.evidence.statistics import (
    AS_IS,
    Arm,
    Group,
    correlation,
    differences,
    learnable,
    sign_test,
)
from examples.benchmarks.evidence.suite import DESCRIBED, PLAIN
from examples.benchmarks.evidence.tables import COMPARED, Table, both, compared, mean_text, signed
from matgl_fill.evaluation.probes import PROBES

KINDS = (PLAIN, DESCRIBED)
FRUSTRATION, LOCAL = "frustration", "local roughness, generated crystals"
FIGURES = ("mean", "worst task", "up, down", "lowest run")
"""What is said of the gains of an arm, see :func:`figures`."""


def main_arms(group: Group) -> list[Arm]:
    """Arms without a change of the config."""
    return [a for a in group.arms if a.variant in ("", AS_IS)]


def varied_arms(group: Group) -> list[Arm]:
    """Arms with one: the ablation."""
    return [a for a in group.arms if a.variant not in ("", AS_IS)]


def filled_arms(group: Group) -> list[Arm]:
    """Arms that were fill-tuned."""
    return [a for a in group.arms if a.rows[0]["fill"]]


def figures(group: Group, arm: Arm, kind: str, some: np.ndarray | None = None) -> list[str]:
    """Mean, worst task, tasks up and down, lowest run; of some tasks only, if these are named."""
    if kind not in arm.gains:
        return [""] * len(FIGURES)
    shown = np.ones(len(group.tasks), dtype=bool) if some is None else some
    tasks = [t for t, there in zip(group.tasks, shown, strict=True) if there]
    values = arm.gains[kind][shown]
    by_task = values.mean(axis=1)
    worst, lowest = int(by_task.argmin()), np.unravel_index(values.argmin(), values.shape)
    signs, seed = sign_test(values), arm.seeds[lowest[1]]
    where = f"{tasks[lowest[0]]}" + ("" if seed is None else f", seed {seed}")
    return [
        mean_text(values),
        f"{signed(by_task[worst])} ({tasks[worst]})",
        f"{signs.up}, {signs.down}",
        f"{signed(values.min())} ({where})",
    ]


def seconds(arm: Arm) -> str:
    """Mean time of the runs of an arm, empty for arms without training."""
    fills = [row["fill"] for row in arm.rows if row["fill"]]
    return f"{np.mean([f['seconds'] for f in fills]):.0f}" if fills else ""


def arms_table(group: Group, arms: Sequence[Arm]) -> Table:
    """One row an arm."""
    halves = list(dict.fromkeys(group.halves)) if len(set(group.halves)) > 1 else []
    described = (f"{name}, {DESCRIBED}" for name in FIGURES)
    columns = ["arm", "seeds", *FIGURES, *(f"mean, {half}" for half in halves), *described, "seconds", "accepted"]
    rows = []
    for arm in arms:
        cells = [arm.name, str(len(arm.seeds)) if arm.variant else "", *figures(group, arm, PLAIN)]
        for half in halves:
            cells.append(mean_text(arm.gains[PLAIN][[h == half for h in group.halves]]))
        cells += figures(group, arm, DESCRIBED)
        fills = [row["fill"] for row in arm.rows if row["fill"]]
        rows.append([*cells, seconds(arm), f"{sum(f['accepted'] for f in fills)} of {len(fills)}" if fills else ""])
    return Table(columns, rows)


def probes_table(arms: Sequence[Arm]) -> Table:
    """Gains by each probe, those that the other tables do not contain too."""
    probes = [p for p in dict.fromkeys(p for a in arms for p in a.by_probe) if all(p in a.by_probe for a in arms)]
    rows = []
    for arm in arms:
        cells = []
        for probe in probes:
            values = arm.by_probe[probe]
            signs = sign_test(values)
            cells += [mean_text(values), signed(values.mean(axis=1).min()), f"{signs.up}, {signs.down}"]
        rows.append([arm.name, *cells])
    return Table(["arm", *(x for p in probes for x in (p, f"{p}, worst task", f"{p}, up, down"))], rows)


def tasks_table(group: Group, arms: Sequence[Arm], kind: str) -> Table:
    """Mean over seeds and their standard deviation: a row a task, a column an arm."""
    shown = [a for a in arms if kind in a.gains]
    rows = []
    for i, task in enumerate(group.tasks):
        each = [a.gains[kind][i] for a in shown]
        spread = [f" ± {v.std(ddof=1):.1f}" if len(v) > 1 else "" for v in each]
        rows.append([task, *(f"{signed(v.mean())}{s}" for v, s in zip(each, spread, strict=True))])
    return Table(["task", *(a.name for a in shown)], rows if shown else [])


def arms_by_task(group: Group) -> Table:
    """The same of all arms, turned: a row an arm and kind of embedding, a column a task."""
    rows, names = [], [*group.tasks, *(f"trained for: {task}" for task in (group.aside.tasks if group.aside else ()))]
    for kind in KINDS:
        parts = [tasks_table(g, g.arms, kind) for g in (group, group.aside) if g is not None]
        cells = list(zip(*(row[1:] for part in parts for row in part.rows), strict=True))
        rows += [[arm, kind, *values] for arm, values in zip(parts[0].columns[1:], cells, strict=True)]
    return Table(["arm", "embedding", *names], rows)


def original_table(group: Group) -> Table:
    """Errors of the original's plain embedding beside those of one value."""
    others = [p for p in group.original[0][PLAIN] if p not in PROBES]
    rows = []
    for score in group.original:
        errors = [float(np.mean(score[PLAIN][p])) for p in (*PROBES, *others)]
        rows.append([score["task"], str(score["n"]), *(f"{e:.3g}" for e in (*errors, score["median"]))])
    return Table(["task", "crystals", *PROBES, *others, "median of all labels"], rows)


def learnable_table(group: Group, arms: Sequence[Arm]) -> Table:
    """Gains on the tasks that probes on the original embedding can learn; no row if these are all or none."""
    learnt = learnable(group)
    some = [] if learnt.all() or not learnt.any() else arms
    rows = [[arm.name, *(x for kind in KINDS for x in figures(group, arm, kind, learnt)[:3])] for arm in some]
    return Table(["arm", *both(FIGURES[:3])], rows)


def controls_table(group: Group, arms: Sequence[Arm]) -> Table:
    """Every arm that fills against its controls."""
    rows = []
    for arm in arms:
        for control in group.controls(arm):
            cells = []
            for kind in KINDS:
                cells += compared(differences(arm, control, kind) if kind in control.gains else np.empty((0, 0)))
            rows.append([arm.name, control.name, *cells])
    return Table(["arm", "control", *both(COMPARED)], rows)


def roughness_table(group: Group) -> Table:
    """Frustration and local roughness before and after, means over seeds."""
    rows = []
    for arm in filled_arms(group):
        means = [np.mean([r["fill"]["roughness"][m] for r in arm.rows], axis=0) for m in (FRUSTRATION, LOCAL)]
        widths = dict.fromkeys(r["fill"]["embedding"] for r in arm.rows)
        rows.append([arm.name, *(f"{before:.3g} → {after:.3g}" for before, after in means), "; ".join(widths)])
    return Table(["arm", FRUSTRATION, LOCAL, "embedding"], rows)


def correlations_table(group: Group) -> Table:
    """Whether frustration and local roughness, after over before, go with the mean gain over runs."""
    runs = [
        (r["fill"], gain)
        for a in filled_arms(group)
        for r, gain in zip(a.rows, a.gains[PLAIN].mean(axis=0), strict=True)
    ]
    rows = []
    for width in dict.fromkeys(fill["embedding"] for fill, _ in runs):
        alike = [(fill["roughness"], gain) for fill, gain in runs if fill["embedding"] == width]
        for measure in (FRUSTRATION, LOCAL):
            ratio = [after / before if before else np.nan for before, after in (f[measure] for f, _ in alike)]
            found = correlation(ratio, [gain for _, gain in alike]) if np.isfinite(ratio).all() else None
            said = [signed(found[0], 2), f"{found[1]:.2g}"] if found else ["not defined", ""]
            rows.append([measure, width, str(len(alike)), *said])
    return Table(["after over before", "embedding", "runs", "Spearman correlation with the mean gain", "p"], rows)


def crystals_shared(group: Group) -> str:
    """Whether variants of an arm learned from the same crystals; empty without variants."""
    filled = filled_arms(group)
    crystals: dict[tuple[str, int | None], set[str]] = {}
    for arm in filled:
        for row in arm.rows:
            crystals.setdefault((arm.arm, row["seed"]), set()).add(row["fill"]["crystals"])
    if len({a.variant for a in filled}) < 2:
        return ""
    apart = ", ".join(f"{arm} seed {seed}" for (arm, seed), keys in crystals.items() if len(keys) > 1)
    return "Variants learned from the same crystals" + (f", except {apart}.\n" if apart else ".\n")


def curves(found: Sequence[Group]) -> list[list[Group]]:
    """Groups that differ in the number of generated crystals only."""
    alike: dict[str, list[Group]] = {}
    for group in found:
        alike.setdefault(group.facts_but("n"), []).append(group)
    return list(alike.values())


def crystals_table(found: Sequence[Sequence[Group]]) -> Table:
    """Gain by the number of generated crystals, where more than one number was measured."""
    columns = ["model, arm", "crystals", "seeds", *both(FIGURES[:3]), "seconds"]
    return Table(columns, [row for curve in found if len(curve) > 1 for row in _curve_rows(curve)])


def _curve_rows(curve: Sequence[Group]) -> Iterator[list[str]]:
    """Arms one after the other, each by rising number."""
    by_n = sorted(curve, key=lambda group: group.facts["n"])
    for name in dict.fromkeys(a.name for g in by_n for a in g.arms if a.variant == AS_IS):
        for group, arm in ((g, a) for g in by_n for a in g.arms if a.name == name):
            kinds = [figures(group, arm, k)[:3] for k in KINDS]
            where, n = f"{group.model}, {name}", str(group.facts["n"])
            yield [where, n, str(len(arm.seeds)), *kinds[0], *kinds[1], seconds(arm)]
