"""Sections of the report on a potential's errors: held-out labels and physics."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from reports import FACTS, potential_report

from matgl_fill.errors import InputError
from matgl_fill.report.errors import PARITY_POINTS
from matgl_fill.report.html import model_card, write_report
from matgl_fill.report.model import ParityPoints, RunReport
from matgl_fill.report.pictures import draw_pictures, parity


@pytest.fixture(scope="module")
def report() -> RunReport:
    return potential_report()


def test_sections_hold_what_was_compared(report):
    labels = {row.measure: row for row in report.label_errors.errors}
    assert list(labels) == ["energy", "forces", "large forces"]
    assert labels["forces"].change_percent == pytest.approx(-75)
    assert (report.label_errors.slope_before, report.label_errors.slope_after) == pytest.approx((0.8, 0.95))
    forces = report.label_errors.forces
    assert len(forces.true) == len(forces.before) == PARITY_POINTS
    np.testing.assert_allclose(forces.before, 0.8 * np.array(forces.true), rtol=1e-3)
    np.testing.assert_allclose(forces.after, 0.95 * np.array(forces.true), rtol=1e-3)
    row = report.physics.errors[0]
    assert (row.measure, row.n, row.before, row.after, row.change_percent) == ("bulk modulus", 9, 8, 4, -50)
    assert (report.physics.failed_before, report.physics.failed_after, report.physics.failed_both) == (1, 0, 0)


def test_sections_come_back_from_the_file(report, tmp_path):
    (tmp_path / "report.json").write_text(report.to_json())
    json.loads(report.to_json(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    again = RunReport.read(tmp_path / "report.json")
    assert again.label_errors.forces == report.label_errors.forces
    assert again.to_json() == report.to_json()


def test_page_and_card_show_them(report, tmp_path):
    pictures = draw_pictures(report)
    assert {"force_parity", "energy_parity"} <= set(pictures)
    text = write_report(report, tmp_path, pictures).read_text()
    for words in (
        "Errors on held-out labels",
        "Softening slope before",
        "Large forces",
        "Physics",
        "Bulk modulus",
        "−75.0",
        "−50.0",
    ):
        assert words in text
    assert "1 only before, 0 only after, 0 in both" in text
    assert text.count("slope 0.8") <= 1  # letters are drawn or written, once
    assert len(set(re.findall(r' id="([^"]+)"', text))) == len(re.findall(r' id="([^"]+)"', text))
    card = model_card(report)
    assert "| forces | eV/A | 400 |" in card
    assert "| bulk modulus | GPa | 9 | 8 | 4 | −50.0 |" in card
    plain = write_report(RunReport.model_validate(FACTS), tmp_path, {}).read_text()
    assert "Errors on held-out labels" not in plain
    assert "<h2>Physics" not in plain


def test_parity_plots_are_the_same_bytes_and_refuse_what_does_not_fit(report):
    assert draw_pictures(report) == draw_pictures(report)
    points = ParityPoints(true=[1.0, 2.0], before=[1.0, float("nan")], after=[1.0, 2.0])
    assert parity(points, "energy", "eV").startswith("<svg")
    with pytest.raises(InputError, match="needs at least one true value"):
        parity(ParityPoints(true=[], before=[], after=[]), "energy", "eV")
    with pytest.raises(InputError, match="both predictions of each"):
        parity(ParityPoints(true=[1.0], before=[], after=[1.0]), "energy", "eV")
