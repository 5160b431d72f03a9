"""Short form of the campaign: no mutant, kill or full disk gives a raw error, a hang, a silent number, or runs."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from examples.benchmarks.robustness import mutators, verdict, workers
from examples.benchmarks.robustness.verdict import Case, Outcome, Right, Verdict
from matgl_fill.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
FEWEST = {"model folders": 24, "structure files": 48, "run and cache files": 8, "command line": 5, "kills": 2}


def test_short_campaign_finds_nothing_bad(tmp_path):
    """A process of its own, because it forks."""
    command = [
        sys.executable,
        "-m",
        "examples.benchmarks",
        "robustness",
        "-o",
        tmp_path,
        "--share",
        "0.08",
        "--jobs",
        "2",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr[-2000:])
    with (tmp_path / "counts.csv").open() as file:
        rows = {row["suite"]: row for row in csv.DictReader(file)}
    assert {outcome: int(rows["all"][outcome]) for outcome in verdict.BAD} == dict.fromkeys(verdict.BAD, 0)
    assert done.returncode == 0
    for suite, fewest in FEWEST.items():
        assert int(rows[suite]["cases"]) >= fewest
    for outcome in ("typed", "same", "refused"):
        assert int(rows["all"][outcome]) > 5


def _told(case):
    return next(iter(workers.judge_all([case], limit=1.0)))


def _raises(error):
    def judge(folder, tell):
        tell("something")
        try:
            raise error
        except Exception as caught:
            return verdict.of_error(caught, True, Right.REFUSE)

    return judge


def _never(folder, tell):
    while True:
        pass


def _dies(folder, tell):
    os._exit(7)


def _canary(folder, tell):
    (folder / workers.CANARY).touch()
    return Verdict(Outcome.REFUSED)


def _greedy(folder, tell):
    return _raises(MemoryError())(folder, tell) if np.ones(2**32) is None else Verdict(Outcome.SAME)


@pytest.mark.parametrize(
    ("judge", "outcome"),
    [
        (_raises(InputError("no file 'a'; give another.")), Outcome.REFUSED),
        (_raises(InputError("two\nlines")), Outcome.RAW),
        (_raises(KeyError("a")), Outcome.RAW),
        (_never, Outcome.HANG),
        (_dies, Outcome.RAW),
        (_canary, Outcome.RAN),
        (_greedy, Outcome.RAW),
    ],
)
def test_the_yardstick_sees_what_is_bad(judge, outcome):
    """So that a campaign without findings is not one that cannot find."""
    assert _told(Case("tests", "case", 0, judge)).verdict.outcome is outcome


def test_mutators_repeat_by_their_seed_and_change_something():
    data, tree = bytes(range(256)) * 4, {"a": {"b": [1, 2.5, "c"]}, "d": (1, 2)}
    for mutate in mutators.BYTES:
        one, other = (mutate(data, np.random.default_rng(3)) for _ in range(2))
        assert one == other
        assert one[0] != data
    for mutate in (*mutators.TREES, mutators.hostile):
        one, other = (mutate(tree, np.random.default_rng(3)) for _ in range(2))
        assert repr(one) == repr(other)
        assert one[0] != tree
        assert tree == {"a": {"b": [1, 2.5, "c"]}, "d": (1, 2)}
