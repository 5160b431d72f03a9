"""Runs of the standing benchmark in pairs, over all models: one number a run, so that seeds of all models add up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from examples.benchmarks.evidence.statistics import AS_IS, Arm, Group, differences
from examples.benchmarks.evidence.suite import DESCRIBED, PLAIN
from examples.benchmarks.evidence.tables import COMPARED, Table, both, compared, listed

CONTRASTS = (
    ("roughness", "random"),
    ("roughness", "farthest"),
    ("roughness", "dissimilar"),
    ("roughness", "random, pool alone"),
    ("random", "random, pool alone"),
)
"""Arms, and those that they are compared with."""
Runs = Mapping[str, Sequence[float]]
"""Kind of embedding -> differences, one a pair."""


def pairs_of_arms(found: Sequence[Group]) -> Table:
    """Differences of arms that share model, pool, seed and settings; intervals and sign tests are over runs.

    Args:
        found: groups of measurements, in the order of the page.
    """
    return _table(("arms", "pool"), _arms(found))


def pairs_of_settings(found: Sequence[Group]) -> Table:
    """Differences of the same arm at other settings than today's, of the same model, pool and seed.

    Args:
        found: groups of measurements, in the order of the page.
    """
    return _table(("settings less today's", "model and pool"), _settings(found))


def _arms(found: Sequence[Group]) -> Iterator[tuple[str, str, Runs]]:
    """Arms, pool and their differences, a group at a time."""
    for one, other in CONTRASTS:
        for group in found:
            arms = {arm.name: arm for arm in group.arms}
            if one in arms and other in arms:
                yield listed(f"{one} less {other}", group.settings), group.pool, _runs(arms[one], arms[other])


def _settings(found: Sequence[Group]) -> Iterator[tuple[str, str, Runs]]:
    """Settings, model and differences from the same arm at today's, a group at a time."""
    today = {group.facts_but("base"): group for group in found if not group.settings}
    for group in (g for g in found if g.settings and g.facts_but("base") in today):
        arms = {arm.name: arm for arm in today[group.facts_but("base")].arms if arm.variant == AS_IS}
        for arm in (a for a in group.arms if a.variant == AS_IS and a.name in arms):
            yield group.settings, listed(group.model, group.pool), _runs(arm, arms[arm.name])


def _runs(one: Arm, other: Arm) -> Runs:
    """Mean over tasks of the gain of one arm less another's, for every seed that both have."""
    kinds = (kind for kind in (PLAIN, DESCRIBED) if kind in one.gains and kind in other.gains)
    return {kind: differences(one, other, kind).mean(axis=0).tolist() for kind in kinds}


def _table(columns: tuple[str, str], pairs: Iterator[tuple[str, str, Runs]]) -> Table:
    """A row for each name and place, and before them one for all places if they are more than one."""
    found: dict[str, dict[str, list[Runs]]] = {}
    for name, place, runs in pairs:
        if runs[PLAIN]:
            found.setdefault(name, {}).setdefault(place, []).append(runs)
    rows = []
    for name, places in found.items():
        if len(places) > 1:
            rows.append([name, "all", *_cells([runs for some in places.values() for runs in some])])
        rows += [[name, place, *_cells(some)] for place, some in places.items()]
    return Table([*columns, "runs", *both(COMPARED)], rows)


def _cells(runs: Sequence[Runs]) -> list[str]:
    """How many pairs there are, and what they say."""
    values = [np.array([x for r in runs for x in r.get(kind, ())])[:, None] for kind in (PLAIN, DESCRIBED)]
    return [str(len(values[0])), *(cell for v in values for cell in compared(v))]
