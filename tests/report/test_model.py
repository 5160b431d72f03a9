"""Reports as types, and those that version 0.1.0 wrote."""

from __future__ import annotations

import json

import pytest
from helpers import SAVED

from matgl_fill.config import FillConfig
from matgl_fill.report.model import CallSection, GivenObject, RunReport


@pytest.mark.parametrize("run", ["run", "labelled"])
def test_a_run_that_an_earlier_version_saved_is_read_whole(run):
    report, facts = RunReport.read(SAVED / run / "report.json"), json.loads((SAVED / run / "report.json").read_text())
    assert report.config == FillConfig.make(SAVED / run / "config.toml")
    assert report.config.flat() == FillConfig().flat() | facts["config"]  # settings that came later have their defaults
    assert report.run.model_dump() == {"tuned_elements": None} | facts["run"]
    assert report.verdict.model_dump() == facts["verdict"]
    assert [c.measure for c in report.guard] == [c["measure"] for c in facts["guard"]]
    assert [t.model_dump(exclude={"one_value"}) for t in report.tasks or []] == [
        {k: v for k, v in t.items() if k != "task"} for t in facts["tasks"] or []
    ]
    later = dict.fromkeys(("kind", "displacement", "strain"))
    assert [p.model_dump() for p in report.proposals] == [later | p for p in facts["proposals"]]
    assert report.history == facts["history"]
    assert (report.correction is None) == (facts["correction"] is None)
    if report.correction:
        assert report.correction.reference_crystals == facts["correction"]["known_crystals"]
        assert report.alignment.model_dump() == facts["alignment"]
    assert RunReport.model_validate_json(report.to_json()) == report


def test_arguments_that_are_no_text_leave_their_type():
    call = CallSection.of(3, 0, "auto", model=[1], structures=SAVED, oracle=None)
    assert call.model == GivenObject(type="list")
    assert call.structures == str(SAVED)
    assert call.oracle is None
