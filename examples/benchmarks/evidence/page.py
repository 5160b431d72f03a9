"""All measurements as tables: one page in Markdown, and CSV files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from examples.benchmarks.common.rows import Row
from examples.benchmarks.evidence.figure import task_dots
from examples.benchmarks.evidence.pairs import pairs_of_arms, pairs_of_settings
from examples.benchmarks.evidence.sections import (
    KINDS,
    arms_by_task,
    arms_table,
    controls_table,
    correlations_table,
    crystals_shared,
    crystals_table,
    curves,
    filled_arms,
    learnable_table,
    main_arms,
    original_table,
    probes_table,
    roughness_table,
    tasks_table,
    varied_arms,
)
from examples.benchmarks.evidence.statistics import SCORED, Arm, Group, groups, learnable
from examples.benchmarks.evidence.summary import summary
from examples.benchmarks.evidence.tables import Table, joined, listed
from matgl_fill.errors import InputError
from matgl_fill.roughness.plots import figure_bytes
from matgl_fill.utils.files import atomic_write

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
SUMMARY = """## Summary

*Learnable*: only tasks on which probes of the original embedding err less than the median of all labels. *Network*: the
small network, which no setting was chosen by. No setting was chosen with the M3GNet potentials and the distilled
models.

"""
PAIRS = """## Pairs of runs, over all models

Difference of the means over tasks of two runs that share model, pool, seed and all settings that are not named;
intervals and sign tests are over runs.
"""


@dataclass(frozen=True)
class Evidence:
    """Everything that was measured.

    Attributes:
        rows: lines of ``evidence run``, of any models and files.
    """

    rows: Sequence[Row]

    def __post_init__(self) -> None:
        """Check that there is a row.

        Raises:
            InputError: there is none.
        """
        if not self.rows:
            raise InputError("no measurement in these files; make some with 'evidence run'.")

    @cached_property
    def curves(self) -> list[list[Group]]:
        """Groups that differ in the number of generated crystals only.

        Raises:
            InputError: a measurement is there twice, or its original is missing.
        """
        return curves(groups(self.rows))

    @cached_property
    def shown(self) -> list[Group]:
        """Of each curve the number of crystals with the most runs."""
        return [max(curve, key=lambda g: sum(len(a.seeds) for a in g.arms)) for curve in self.curves]

    def page(self, figures: Sequence[str] = ()) -> str:
        """Everything in Markdown.

        Args:
            figures: names of files that :meth:`write_page` wrote, one a group.
        """
        names = figures or [""] * len(self.shown)
        sections = [_section(group, name) for group, name in zip(self.shown, names, strict=True)]
        by_number = crystals_table(self.curves).markdown()
        pairs = [t for t in (f(self.shown).markdown() for f in (pairs_of_arms, pairs_of_settings)) if t]
        parts = [HEAD, self._made_by(), SUMMARY + summary(self.shown).markdown(), *sections]
        parts += [PAIRS, *pairs] if pairs else []
        parts += ["## How many crystals\n", by_number] if by_number else []
        return "\n".join(parts).rstrip("\n") + "\n"

    def write_page(self, path: Path) -> None:
        """Write the page to a file, with a figure a group beside it."""
        names = [f"{path.stem}-{k}.svg" for k in range(1, len(self.shown) + 1)]
        for name, group in zip(names, self.shown, strict=True):
            atomic_write(path.with_name(name), figure_bytes(task_dots(group), "svg"))
        atomic_write(path, self.page(names))

    def tables(self) -> Mapping[str, Table]:
        """Everything as tables, by name."""
        found = {
            "summary": summary(self.shown),
            "pairs_of_arms": pairs_of_arms(self.shown),
            "pairs_of_settings": pairs_of_settings(self.shown),
            "number_of_crystals": crystals_table(self.curves),
        }
        each = {
            "arms": [_labelled(arms_table(g, g.arms), g) for g in self.shown],
            "tasks": [_labelled(arms_by_task(g), g) for g in self.shown],
            "probes": [_labelled(probes_table(g.arms), g) for g in self.shown],
            "learnable": [_labelled(learnable_table(g, main_arms(g)), g) for g in self.shown],
            "controls": [_labelled(controls_table(g, [*main_arms(g), *varied_arms(g)]), g) for g in self.shown],
            "frustration": [_labelled(roughness_table(g), g) for g in self.shown],
            "frustration_and_gain": [_labelled(correlations_table(g), g) for g in self.shown],
        }
        originals = {tuple(g.facts[k] for k in SCORED): original_table(g).labelled(model=g.model) for g in self.shown}
        each["original"] = list(originals.values())
        return found | {name: joined(parts) for name, parts in each.items()}

    def write_tables(self, folder: Path) -> None:
        """Write every table to a CSV file of a folder."""
        for name, table in self.tables().items():
            atomic_write(folder / f"{name}.csv", table.csv())

    def _made_by(self) -> str:
        """Machines, versions and commits."""
        machines = "; ".join(dict.fromkeys(r["machine"] for r in self.rows))
        versions = "; ".join(dict.fromkeys(", ".join(f"{k} {v}" for k, v in r["versions"].items()) for r in self.rows))
        commits = ", ".join(dict.fromkeys(str(r["commit"]) for r in self.rows))
        return f"{len(self.rows)} measurements. Machine: {machines}. Versions: {versions}. Commit: {commits}.\n"


def _labelled(table: Table, group: Group) -> Table:
    """A table of one group behind what tells groups apart."""
    facts = {"model": group.model, "pool": group.pool, "oracle": str(group.facts["oracle"] or "")}
    return table.labelled(**facts, settings=group.settings)


def _section(group: Group, figure: str) -> str:
    """Everything about one group."""
    main, varied = main_arms(group), varied_arms(group)
    parts = [_title(group), _asked(group), arms_table(group, main).markdown()]
    if figure:
        parts.append(f"![change on every task]({figure})")
    parts += ["### Every probe", probes_table(main).markdown(), "### Every task", *_every_task(group, main)]
    if group.aside:
        parts += ["### Trained for", *_every_task(group.aside, main_arms(group.aside))]
    parts += ["### Errors of the original", original_table(group).markdown(), *_learnable(group)]
    if any(a.variant for a in group.arms):
        parts += ["### Against the controls", controls_table(group, main).markdown()]
    if varied:
        parts += ["### Ablation", arms_table(group, varied).markdown(), controls_table(group, varied).markdown()]
        parts += _every_task(group, varied)
    if filled_arms(group):
        parts += ["### Frustration and gain", roughness_table(group).markdown()]
        parts.append("Means over seeds. Values compare between embeddings of the same width only.")
        parts += [correlations_table(group).markdown(), crystals_shared(group)]
    return "\n\n".join(p.strip("\n") for p in parts if p) + "\n"


def _title(group: Group) -> str:
    f = group.facts
    oracle = f"oracle {f['oracle']}" if f["oracle"] else ""
    half = f"{f['half']} tasks" if f["half"] not in ("", "both") else ""
    return "## " + listed(group.model, group.pool, oracle, group.settings, half)


def _asked(group: Group) -> str:
    """What the tasks are, and what was filled."""
    f = group.facts
    text = f"Tasks of {f['tasks']}, at most {f['rows']} crystals each, {f['folds']} fold shuffle(s)."
    if any(a.variant for a in group.arms):
        text += f" {f['n']} crystals filled among those of {f['pool']}, oracle: {f['oracle'] or 'none'}"
        text += f"; {group.settings}." if group.settings else "."
    return text


def _every_task(group: Group, arms: Sequence[Arm]) -> list[str]:
    """Gains on every task, plain and with descriptors."""
    tables = [(kind, tasks_table(group, arms, kind).markdown()) for kind in KINDS]
    return [part for kind, text in tables if text for part in (f"Mean over seeds ± standard deviation, {kind}:", text)]


def _learnable(group: Group) -> list[str]:
    """The tasks that one value guesses better, and the gains on the others."""
    others = learnable_table(group, main_arms(group)).markdown()
    if not others:
        return []
    hard = ", ".join(t for t, good in zip(group.tasks, learnable(group), strict=True) if not good)
    text = f"The median of all labels is a better guess than the original's probes make: {hard}. The other tasks:"
    return [text, others]
