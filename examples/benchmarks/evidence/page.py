"""Markdown and figures of the standing benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from examples.benchmarks.common.ledger import Row
from examples.benchmarks.evidence.pairs import MEASURED, against, pairs_of_runs
from examples.benchmarks.evidence.statistics import (
    AS_IS,
    Arm,
    Group,
    correlation,
    differences,
    groups,
    learnable,
    sign_test,
)
from examples.benchmarks.evidence.suite import DESCRIBED, PLAIN
from examples.benchmarks.evidence.summary import summary
from examples.benchmarks.evidence.text import both, listed, markdown_table, mean_text, signed
from matgl_fill.errors import InputError
from matgl_fill.evaluation.probes import PROBES
from matgl_fill.roughness.plots import DARK, figure_bytes, house_style
from matgl_fill.utils.files import atomic_write

KINDS = (PLAIN, DESCRIBED)
STYLES = {
    "roughness": ("#d55e00", "o"),
    "random": ("#0072b2", "s"),
    "farthest": ("#009e73", "D"),
    "dissimilar": ("#e69f00", "P"),
    "layers": ("#cc79a7", "^"),
    "descriptors": ("#222222", "v"),
}
"""Colour and marker of the arms in the figure, told apart by either."""
FRUSTRATION, LOCAL = "frustration", "local roughness, generated crystals"
HEAD = """# Benchmarks

Frozen embeddings of crystals, from which ridge and Gaussian kernel ridge predict a property: change of the mean
absolute error in percent of the original embedding's, positive is better, mean over both probes, 5 folds that split no
formula. *With descriptors*: descriptors concatenated to both embeddings. A small network (32 hidden units) probes the
plain embeddings too; its figures stand apart, under *every probe*.

In square brackets the bootstrap 95 % interval of the mean, tasks and seeds resampled, for differences in pairs; with
one seed it is over tasks only, and with few seeds it is somewhat too narrow. *Worst task*: its mean over seeds. *Up,
down*: tasks whose mean over seeds is better or worse. *Lowest run*: the lowest of all tasks and seeds. The sign test is
exact and two-sided, over tasks; its p is optimistic, for some tasks are one quantity from two sources. A task that a
model was trained for is none of its downstream tasks: it counts in no mean and stands apart, under *trained for*.
"""


def _summary(group: Group, arms: Sequence[Arm]) -> str:
    """One row an arm."""
    halves = list(dict.fromkeys(group.halves)) if len(set(group.halves)) > 1 else []
    of_kind = ("mean", "worst task", "up, down", "lowest run")
    columns = ["arm", "seeds", *of_kind, *(f"mean, {half}" for half in halves)]
    columns += [*(f"{name}, with descriptors" for name in of_kind), "seconds", "accepted"]
    rows = []
    for arm in arms:
        cells = [arm.name, str(len(arm.seeds)) if arm.variant else "", *_figures(group, arm, PLAIN)]
        for half in halves:
            cells.append(mean_text(arm.gains[PLAIN][[h == half for h in group.halves]]))
        cells += _figures(group, arm, DESCRIBED)
        fills = [row["fill"] for row in arm.rows if row["fill"]]
        rows.append([*cells, _seconds(arm), f"{sum(f['accepted'] for f in fills)} of {len(fills)}" if fills else ""])
    return markdown_table(columns, rows)


def _seconds(arm: Arm) -> str:
    """Mean time of the runs of an arm, empty for arms without training."""
    fills = [row["fill"] for row in arm.rows if row["fill"]]
    return f"{np.mean([f['seconds'] for f in fills]):.0f}" if fills else ""


def _figures(group: Group, arm: Arm, kind: str, some: np.ndarray | None = None) -> list[str]:
    """Mean, worst task, tasks up and down, lowest run; of some tasks only, if these are told."""
    if kind not in arm.gains:
        return [""] * 4
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


def _main(group: Group) -> list[Arm]:
    """Arms without a change of the config."""
    return [a for a in group.arms if a.variant in ("", AS_IS)]


def _original(group: Group, arms: Sequence[Arm]) -> str:
    """Errors of the original's plain embedding beside those of one value, and the worst of the tasks where it wins."""
    rows, learnt = [], learnable(group)
    for score in group.original:
        errors = [float(np.mean(score[PLAIN][p])) for p in PROBES]
        others = [float(np.mean(e)) for p, e in score[PLAIN].items() if p not in PROBES]
        rows.append([score["task"], str(score["n"]), *(f"{e:.3g}" for e in (*errors, *others, score["median"]))])
    names = [*PROBES, *(p for p in group.original[0][PLAIN] if p not in PROBES)]
    parts = [markdown_table(["task", "crystals", *names, "median of all labels"], rows)]
    if learnt.all() or not learnt.any():
        return parts[0]
    hard = ", ".join(t for t, good in zip(group.tasks, learnt, strict=True) if not good)
    parts.append(
        f"The median of all labels is a better guess than the original's probes make: {hard}. The other tasks:\n"
    )
    found = [[arm.name, *(x for kind in KINDS for x in _figures(group, arm, kind, learnt)[:3])] for arm in arms]
    of_kind = ("mean", "worst task", "up, down")
    parts.append(markdown_table(["arm", *both(of_kind)], found))
    return "\n".join(parts)


def _by_probe(arms: Sequence[Arm]) -> str:
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
    return markdown_table(["arm", *(x for p in probes for x in (p, "worst task", "up, down"))], rows)


def _curves(found: Sequence[Group]) -> list[list[Group]]:
    """Groups that differ in the number of generated crystals only."""
    curves: dict[str, list[Group]] = {}
    for group in found:
        curves.setdefault(group.facts_but("n"), []).append(group)
    return list(curves.values())


def _curve(curves: Sequence[Sequence[Group]]) -> str:
    """Gain by the number of generated crystals, where more than one number was measured."""
    rows = []
    for curve in (c for c in curves if len(c) > 1):
        by_n = sorted(curve, key=lambda group: group.facts["n"])
        for name in dict.fromkeys(a.name for g in by_n for a in g.arms if a.variant == AS_IS):
            for group, arm in ((g, a) for g in by_n for a in g.arms if a.name == name):
                kinds = [_figures(group, arm, k)[:3] for k in KINDS]
                where, n = f"{group.facts['model']}, {name}", str(group.facts["n"])
                rows.append([where, n, str(len(arm.seeds)), *kinds[0], *kinds[1], _seconds(arm)])
    if not rows:
        return ""
    of_kind = ("mean", "worst task", "up, down")
    columns = ("model, arm", "crystals", "seeds", *both(of_kind), "seconds")
    return "## How many crystals\n\n" + markdown_table(columns, rows)


def _every_task(group: Group, arms: Sequence[Arm]) -> str:
    """Mean over seeds and their standard deviation, plain and with descriptors."""
    parts = []
    for kind in KINDS:
        shown = [a for a in arms if kind in a.gains]
        rows = []
        for i, task in enumerate(group.tasks):
            each = [a.gains[kind][i] for a in shown]
            spread = [f" ± {v.std(ddof=1):.1f}" if len(v) > 1 else "" for v in each]
            rows.append([task, *(f"{signed(v.mean())}{s}" for v, s in zip(each, spread, strict=True))])
        if shown:
            parts.append(f"Mean over seeds ± standard deviation, {kind}:\n")
            parts.append(markdown_table(["task", *(a.name for a in shown)], rows))
    return "\n".join(parts)


def _paired(group: Group, arms: Sequence[Arm]) -> str:
    """Every arm that fills against its controls."""
    rows = []
    for arm in arms:
        for control in group.controls(arm):
            cells = []
            for kind in KINDS:
                cells += against(differences(arm, control, kind) if kind in control.gains else np.empty((0, 0)))
            rows.append([arm.name, control.name, *cells])
    return markdown_table(["arm", "control", *both(MEASURED)], rows)


def _landscape(group: Group) -> str:
    """Frustration and local roughness before and after, and whether they go with the gain."""
    filled = [a for a in group.arms if a.rows[0]["fill"]]
    rows = []
    for arm in filled:
        means = [np.mean([r["fill"]["roughness"][m] for r in arm.rows], axis=0) for m in (FRUSTRATION, LOCAL)]
        widths = dict.fromkeys(r["fill"]["embedding"] for r in arm.rows)
        rows.append([arm.name, *(f"{before:.3g} → {after:.3g}" for before, after in means), "; ".join(widths)])
    parts = [markdown_table(["arm", FRUSTRATION, LOCAL, "embedding"], rows)]
    parts.append("Means over seeds. Values compare between embeddings of the same width only.\n")
    runs = [(r["fill"], g) for a in filled for r, g in zip(a.rows, a.gains[PLAIN].mean(axis=0), strict=True)]
    for width in dict.fromkeys(fill["embedding"] for fill, _ in runs):
        alike = [(fill["roughness"], g) for fill, g in runs if fill["embedding"] == width]
        for measure in (FRUSTRATION, LOCAL):
            parts.append(_going_together(measure, [(f[measure], g) for f, g in alike], width))
    parts.append(_sharing(filled))
    return "\n".join(p for p in parts if p)


def _going_together(measure: str, runs: Sequence[tuple[Sequence[float], float]], width: str) -> str:
    """Rank correlation of (before, after) of a measure with the gain."""
    ratio = [after / before if before else np.nan for (before, after), _ in runs]
    found = correlation(ratio, [gain for _, gain in runs]) if np.isfinite(ratio).all() else None
    said = f"{signed(found[0], 2)} (p {found[1]:.2g})" if found else "not defined"
    of = f"{len(runs)} runs, {width}"
    return f"- Spearman correlation of {measure}, after over before, with the mean gain ({of}): {said}"


def _sharing(filled: Sequence[Arm]) -> str:
    """Whether variants of an arm learned from the same crystals."""
    crystals: dict[tuple[str, int | None], set[str]] = {}
    for arm in filled:
        for row in arm.rows:
            crystals.setdefault((arm.arm, row["seed"]), set()).add(row["fill"]["crystals"])
    if len({a.variant for a in filled}) < 2:
        return ""
    apart = ", ".join(f"{arm} seed {seed}" for (arm, seed), keys in crystals.items() if len(keys) > 1)
    return "\nVariants learned from the same crystals" + (f", except {apart}.\n" if apart else ".\n")


def task_dots(group: Group) -> Figure:
    """Change on every task: mean over seeds as a dot, lowest to highest seed as a line; without the ablation."""
    arms = _main(group)
    with house_style("evidence"):
        figure = Figure((8.0, 1.2 + (0.085 * len(arms) + 0.1) * len(group.tasks)), layout="constrained")
        ax = figure.subplots()
        for k, arm in enumerate(arms):
            colour, marker = STYLES[arm.arm]
            values, row = arm.gains[PLAIN], np.arange(len(group.tasks)) + 0.8 * ((k + 0.5) / len(arms) - 0.5)
            ax.hlines(row, values.min(axis=1), values.max(axis=1), color=colour, linewidth=1.2)
            ax.plot(values.mean(axis=1), row, marker, color=colour, markersize=4, label=arm.name)
        for i in range(0, len(group.tasks), 2):
            ax.axhspan(i - 0.5, i + 0.5, color="#f2f2f2", linewidth=0, zorder=0)
        ax.axvline(0, color=DARK, linewidth=1)
        ax.set_yticks(range(len(group.tasks)), group.tasks)
        ax.set(ylim=(len(group.tasks) - 0.5, -0.5), xlabel="reduction of the MAE, % (dot: mean, line: all seeds)")
        ax.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper left", ncols=5)
    return figure


def _section(group: Group, picture: str | None) -> str:
    """Everything about one group."""
    f = group.facts
    oracle = f"oracle {f['oracle']}" if f["oracle"] else ""
    half = f"{f['half']} tasks" if f["half"] not in ("", "both") else ""
    title = "## " + listed(f["model"], group.pool, oracle, group.settings, half)
    text = f"Tasks of {f['tasks']}, at most {f['rows']} crystals each, {f['folds']} fold shuffle(s)."
    filled = any(a.variant for a in group.arms)
    if filled:
        text += f" {f['n']} crystals filled among those of {f['pool']}, oracle: {f['oracle'] or 'none'}"
        text += f"; {group.settings}." if group.settings else "."
    main = _main(group)
    varied = [a for a in group.arms if a not in main]
    parts = [title, text, _summary(group, main)]
    if picture:
        parts.append(f"![change on every task]({picture})")
    parts += ["### Every probe", _by_probe(main), "### Every task", _every_task(group, main)]
    if group.aside:
        parts += ["### Trained for", _every_task(group.aside, _main(group.aside))]
    parts += ["### Errors of the original", _original(group, main)]
    if filled:
        parts += ["### Against the controls", _paired(group, main)]
    if varied:
        parts += ["### Ablation", _summary(group, varied), _paired(group, varied), _every_task(group, varied)]
    if filled:
        parts += ["### Frustration and gain", _landscape(group)]
    return "\n\n".join(p.strip("\n") for p in parts if p) + "\n"


def _made_by(rows: Sequence[Row]) -> str:
    """Machines, versions and commits."""
    machines = "; ".join(dict.fromkeys(r["machine"] for r in rows))
    versions = "; ".join(dict.fromkeys(", ".join(f"{k} {v}" for k, v in r["versions"].items()) for r in rows))
    commits = ", ".join(dict.fromkeys(str(r["commit"]) for r in rows))
    return f"{len(rows)} measurements. Machine: {machines}. Versions: {versions}. Commit: {commits}.\n"


def write_tables(rows: Sequence[Row], out: Path | None = None) -> str:
    """Markdown of measurements.

    Args:
        rows: lines of ``evidence run``, of any models and files.
        out: file to write it to, with a figure a model beside it.

    Raises:
        InputError: no measurement, one that is there twice, or one whose original is missing.
    """
    if not rows:
        raise InputError("no measurement in these files; make some with 'evidence run'.")
    sections, curves = [], _curves(groups(rows))
    shown = [max(curve, key=lambda g: sum(len(a.seeds) for a in g.arms)) for curve in curves]
    for k, group in enumerate(shown, 1):
        picture = None
        if out is not None:
            picture = f"{out.stem}-{k}.svg"
            atomic_write(out.with_name(picture), figure_bytes(task_dots(group), "svg"))
        sections.append(_section(group, picture))
    parts = [HEAD, _made_by(rows), summary(shown), *sections, pairs_of_runs(shown), _curve(curves)]
    text = "\n".join(parts).rstrip("\n") + "\n"
    if out is not None:
        atomic_write(out, text)
    return text
