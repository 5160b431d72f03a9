"""What measurements of the standing benchmark say: gains per task and seed, their intervals and their differences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest, spearmanr

from examples.benchmarks.common.rows import Row
from examples.benchmarks.evidence.suite import DESCRIBED, PLAIN, trained_on
from matgl_fill.errors import InputError
from matgl_fill.evaluation import PROBES, compare
from matgl_fill.evaluation.scores import Score

AS_IS = "as is"
"""Variant whose config is not changed."""
RESAMPLES = 10_000
MIN_RUNS = 4
"""Runs without which a rank correlation says nothing."""
DISTILLED = "student-"
"""How the names of distilled models begin in the rows that are kept."""
SCORED = ("model", "tasks", "half", "rows", "folds")
"""What measurements must share to be compared at all ..."""
FILLED = ("pool", "n", "oracle", "base")
"""... and what those that fill must share besides."""


def gains(
    before: Sequence[Row], after: Sequence[Row], first: str, second: str, probes: Sequence[str] = PROBES
) -> np.ndarray:
    """Reduction of the MAE on each of t tasks, percent; mean over probes and fold shuffles.

    Args:
        before: (t) rows of :meth:`examples.benchmarks.evidence.suite.Suite.scores`.
        after: (t) the same of another embedding.
        first: name of the embedding in ``before``.
        second: name of the embedding in ``after``.
        probes: that the mean is of.

    Raises:
        InputError: the tasks differ.
    """
    old, new = (
        [Score(r["task"], r["unit"], r["n"], {p: np.array(r[kind][p]) for p in probes}, r["median"]) for r in rows]
        for rows, kind in ((before, first), (after, second))
    )
    return np.array([c.change_percent for c in compare(old, new).changes])


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean of values (t, s) over tasks and seeds.

    Tasks and seeds are drawn with replacement, each seed for all tasks at once: one seed is one tuned model, whose
    fortune all tasks share. Of differences of two arms this is the paired interval. One seed gives an interval over
    tasks only; few seeds, like few tasks, one that is somewhat too narrow.

    Example:
        >>> interval(np.array([[1.0, 1.0], [3.0, 3.0]]))
        (1.0, 3.0)
    """
    rng = np.random.default_rng(seed)
    t, s = values.shape
    tasks, seeds = (rng.multinomial(k, np.full(k, 1 / k), RESAMPLES) / k for k in (t, s))
    low, high = np.percentile(np.einsum("rt,ts,rs->r", tasks, values, seeds, optimize=True), [2.5, 97.5])
    return float(low), float(high)


class Signs(NamedTuple):
    """Tasks that are better and worse, and the two-sided p of the exact sign test."""

    up: int
    down: int
    p: float


def sign_test(values: np.ndarray) -> Signs:
    """Exact sign test over tasks of values (t, s), which are averaged over seeds first; ties are left out.

    Example:
        >>> sign_test(np.array([[1.0], [2.0], [-1.0], [0.0]]))
        Signs(up=2, down=1, p=1.0)
    """
    mean = values.mean(axis=1)
    up, down = int((mean > 0).sum()), int((mean < 0).sum())
    return Signs(up, down, float(binomtest(up, up + down).pvalue) if up + down else 1.0)


@dataclass(frozen=True)
class Arm:
    """One way to an embedding, with all its seeds.

    Attributes:
        arm: see :mod:`examples.benchmarks.evidence.measurement`.
        variant: name of the change of the config, empty for arms without training.
        seeds: (s) of the runs; None stands for the one run of an arm without training.
        gains: embedding name -> (t, s) percent: plain over the original, with descriptors over the original with
            descriptors.
        rows: (s) measurements.
        by_probe: probe -> (t, s) percent, plain over the original.
    """

    arm: str
    variant: str
    seeds: tuple[int | None, ...]
    gains: Mapping[str, np.ndarray]
    rows: tuple[Row, ...]
    by_probe: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For tables."""
        return self.arm if self.variant in ("", AS_IS) else f"{self.arm}, {self.variant}"


def differences(one: Arm, other: Arm, kind: str) -> np.ndarray:
    """Gains (t, s) of one arm less those of another, over the seeds that both have.

    An arm without training has the same gains whatever the seed.
    """
    a, b = one.gains[kind], other.gains[kind]
    if None in (*one.seeds, *other.seeds):
        return a - b
    common = [s for s in one.seeds if s in other.seeds]
    return a[:, [one.seeds.index(s) for s in common]] - b[:, [other.seeds.index(s) for s in common]]


@dataclass(frozen=True)
class Group:
    """Arms that may be compared: one model, one set of tasks, one pool.

    Attributes:
        facts: what they share.
        tasks: (t) names.
        halves: (t) of each task.
        arms: without the original itself.
        original: (t) errors of the original's plain embedding.
        aside: the same arms on the tasks that the model was trained for, which are not among the others.
    """

    facts: Row
    tasks: tuple[str, ...]
    halves: tuple[str, ...]
    arms: tuple[Arm, ...]
    original: tuple[Row, ...] = ()
    aside: Group | None = None

    @property
    def model(self) -> str:
        """Name of the model, for tables."""
        name = str(self.facts["model"])
        return f"distilled-{name.removeprefix(DISTILLED)}" if name.startswith(DISTILLED) else name

    @property
    def pool(self) -> str:
        """Name of the pool, for tables; empty where nothing was filled."""
        return str(self.facts["pool"] or "").removesuffix(".jsonl.gz")

    @property
    def settings(self) -> str:
        """Changes of the config that all its arms share, for tables."""
        return ", ".join(f"{name} = {value}" for name, value in self.facts["base"].items())

    def facts_but(self, name: str) -> str:
        """What groups share that differ in the fact of this name only."""
        return json.dumps({k: v for k, v in self.facts.items() if k != name}, sort_keys=True)

    def controls(self, of: Arm) -> list[Arm]:
        """Arms that an arm has to beat.

        Those without training; for crystals at rough places, other crystals; for a variant, the same arm as it is, and
        other crystals in that variant.
        """
        if of.seeds == (None,):
            return []
        return [
            a
            for a in self.arms
            if (a.seeds == (None,) and of.variant == AS_IS)
            or (a.variant == of.variant and of.arm == "roughness" and a.arm != "roughness")
            or (a.variant == AS_IS and of.variant != AS_IS and a.arm == of.arm)
        ]


def learnable(group: Group) -> np.ndarray:
    """Of each task (t,) whether probes of the original's plain embedding err less than the median of all labels."""
    errors = [np.mean([np.mean(score[PLAIN][probe]) for probe in PROBES]) for score in group.original]
    return np.array(errors) < np.array([score["median"] for score in group.original])


def groups(rows: Sequence[Row]) -> list[Group]:
    """Measurements grouped by what they must share, in order of appearance.

    Raises:
        InputError: a measurement is there twice, or its original is missing.
    """
    made = []
    for scored in _split(rows, SCORED):
        alone = [r for r in scored if r["seed"] is None]
        filled = [r for r in scored if r["seed"] is not None]
        made += [_group(alone, some) for some in _split(filled, FILLED) or [[]]]
    return made


def _split(rows: Sequence[Row], fields: Sequence[str]) -> list[list[Row]]:
    """Rows that share their fields."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(json.dumps([row[k] for k in fields], sort_keys=True), []).append(row)
    return list(found.values())


def _group(alone: Sequence[Row], filled: Sequence[Row]) -> Group:
    rows = [*alone, *filled]
    own, others = (_of_tasks(rows, own) for own in (True, False))
    aside = _group_of(own) if own[0]["scores"] else None
    return replace(_group_of(others), aside=aside)


def _of_tasks(rows: Sequence[Row], own: bool) -> list[Row]:
    """Rows with the scores of the tasks that the model was trained for, or of the others."""
    return [r | {"scores": [s for s in r["scores"] if trained_on(r["model"], s["task"]) == own]} for r in rows]


def _group_of(rows: Sequence[Row]) -> Group:
    facts = {k: rows[-1][k] for k in (*SCORED, *FILLED)}
    runs: dict[tuple[str, str], dict[int | None, Row]] = {}
    for row in rows:
        of_arm = runs.setdefault((row["arm"], row["variant"]), {})
        if row["seed"] in of_arm:
            what = f"{row['arm']} {row['variant']}, seed {row['seed']}"
            raise InputError(f"{facts['model']}: two measurements of {what}; leave one of them out.")
        of_arm[row["seed"]] = row
    try:
        plain, described = (runs[arm, ""][None]["scores"] for arm in ("none", "descriptors"))
    except KeyError as error:
        raise InputError(f"{facts['model']}: no measurement of the original; run its arms again.") from error
    bases = {PLAIN: (plain, PLAIN), DESCRIBED: (described, PLAIN)}
    arms = []
    for (arm, variant), by_seed in runs.items():
        if arm != "none":
            found = {
                kind: np.stack([gains(base, r["scores"], first, kind) for r in by_seed.values()], axis=1)
                for kind, (base, first) in bases.items()
                if all(kind in score for r in by_seed.values() for score in r["scores"])
            }
            probed = {
                probe: np.stack([gains(plain, r["scores"], PLAIN, PLAIN, [probe]) for r in by_seed.values()], axis=1)
                for probe in plain[0][PLAIN]
            }
            arms.append(Arm(arm, variant, tuple(by_seed), found, tuple(by_seed.values()), probed))
    return Group(facts, tuple(r["task"] for r in plain), tuple(r["half"] for r in plain), tuple(arms), tuple(plain))


def correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float] | None:
    """Spearman correlation and its two-sided p; None for fewer than ``MIN_RUNS`` points or a constant."""
    if len(x) < MIN_RUNS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    found = spearmanr(x, y)
    return float(found.statistic), float(found.pvalue)
