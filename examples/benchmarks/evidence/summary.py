"""What all measurements say in one table: a row a model, pool and way to choose crystals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from examples.benchmarks.evidence.statistics import AS_IS, SCORED, Arm, Group, learnable, sign_test
from examples.benchmarks.evidence.suite import DESCRIBED, PLAIN
from examples.benchmarks.evidence.tables import Table, both, listed, mean_text, signed

PLACES = {
    "roughness": "{n} at rough places",
    "random": "{n} at random places",
    "farthest": "{n} at farthest points",
    "dissimilar": "{n} least similar",
    "descriptors": "none, descriptors added",
    "layers": "none, all layers read",
}
"""Arms, by where their crystals are."""
CONTROLS = {"pool alone": "none, the pool alone", "untrained copy": "none, copy not trained"}
"""Variants that belong among the arms."""
NETWORK = "MLP"
COLUMNS = ("model", "pool", "crystals", "seeds", *both(("mean", "worst", "up")))
LEARNABLE = ("learnable, mean", "learnable, worst")


def summary(found: Sequence[Group]) -> Table:
    """All arms that stand for themselves.

    Args:
        found: groups of measurements, in the order of the page.
    """
    rows, shown = [], set()
    for group in (g for g in found if not g.facts["oracle"]):
        scored = tuple(group.facts[k] for k in SCORED)
        rows += _rows(group, trained_only=scored in shown)
        shown.add(scored)
    return Table([*COLUMNS, *both(LEARNABLE), "network"], rows)


def _rows(group: Group, trained_only: bool) -> list[list[str]]:
    """Arms of one group, those without training last; these need no pool, so that once a model is enough."""
    named = {
        arm.name: CONTROLS.get(arm.variant, PLACES[arm.arm]).format(n=group.facts["n"])
        for arm in group.arms
        if arm.variant in ("", AS_IS, *CONTROLS)
    }
    some = (a for a in group.arms if a.name in named and (a.variant or not trained_only))
    arms = sorted(some, key=lambda a: (not a.variant, list(PLACES).index(a.arm)))
    good, rows = learnable(group), []
    for arm in arms:
        pool, settings = (group.pool, group.settings) if arm.variant else ("", "")
        rows.append([group.model, pool, listed(named[arm.name], settings), *_figures(arm, good)])
    return rows


def _figures(arm: Arm, good: np.ndarray) -> list[str]:
    """Seeds, and change on all tasks and on those that can be learnt."""
    cells = [str(len(arm.seeds)) if arm.variant else ""]
    for kind in (PLAIN, DESCRIBED):
        values = arm.gains.get(kind)
        cells += ["", "", ""] if values is None else [mean_text(values), *_worst_and_up(values)]
    for kind in (PLAIN, DESCRIBED):
        values = arm.gains[kind][good] if kind in arm.gains and good.any() else None
        cells += ["", ""] if values is None else [signed(values.mean()), signed(values.mean(axis=1).min())]
    return [*cells, signed(arm.by_probe[NETWORK].mean()) if NETWORK in arm.by_probe else ""]


def _worst_and_up(values: np.ndarray) -> list[str]:
    """Worst task in the mean over seeds, and how many gain."""
    return [signed(values.mean(axis=1).min()), f"{sign_test(values).up} of {len(values)}"]
