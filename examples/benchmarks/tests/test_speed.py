from __future__ import annotations

import pytest

from examples.benchmarks.embedding.speed import COLUMNS, GRAPH, ROOT, SPENT, Task, compared, tasks, timed
from matgl_fill.errors import InputError


def test_what_comes_before_the_start_is_not_counted():
    code = "from time import perf_counter, process_time, sleep\nsleep(1)\nstart = perf_counter(), process_time()\n"
    clock, cpu = timed(code + "sleep(0.2)" + SPENT, ROOT, 1)
    assert 0.2 <= clock < 1
    assert cpu < 0.2
    assert timed("import time; time.sleep(0.5)", ROOT, 1)[0] >= 0.5


def test_both_checkouts_take_their_turns_and_a_failure_is_told(tmp_path):
    note = f"open({str(tmp_path / 'turns')!r}, 'a').write"
    row = compared(Task("waiting", f"{note}('a')", f"{note}('b')"), ROOT, 2, 1)
    assert (tmp_path / "turns").read_text() == "baba"
    assert len(row) == len(COLUMNS)
    with pytest.raises(InputError, match="nothing_like_it"):
        timed("import nothing_like_it", ROOT, 1)


def test_graph_mode_is_timed_and_searches_need_a_pool():
    clock, cpu = timed(GRAPH.format(300) + SPENT, ROOT, 1)
    assert cpu > 0
    assert 0 < clock < 30
    with pytest.raises(InputError, match="--pool"):
        tasks([], ["default"], None, 4, 60, False)
