"""From what a run measured to its report."""

from __future__ import annotations

from matgl_fill.guard import Verdict
from matgl_fill.report.build import verdict_section


def test_reasons_name_weights_that_failed_and_not_one_beyond_that_accepted():
    verdict = Verdict(True, 0.85, (), {1.0: ("force drift",), 0.85: (), 0.7: ("mean energy shift",)})
    assert verdict_section(verdict, None).reasons == ["at weight 1: force drift outside the budget"]
    lost = verdict.diverged(3)
    assert (lost.accepted, lost.alpha, lost.checks[-1].value) == (False, 0.0, 3)
    assert verdict_section(lost, None).reasons[1].startswith("at weight 0.85: not finite")
