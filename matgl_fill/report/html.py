"""Texts of a report: the page (one self-contained HTML file), the model card, and the summary for notebooks."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from pymatgen.core import Structure

from matgl_fill.config import settings_toml
from matgl_fill.errors import InputError
from matgl_fill.guard import Check
from matgl_fill.report.model import ErrorRow, RunReport, TaskRow
from matgl_fill.report.pictures import draw_pictures
from matgl_fill.report.reproduce import command_line, python_call
from matgl_fill.report.thumbnails import thumbnail
from matgl_fill.report.words import budgets, elsewhere, meaning, remark, typeset
from matgl_fill.structures import read_structures
from matgl_fill.utils.files import atomic_write

NONE = "–"


def write_report(
    report: RunReport, out: Path, pictures: Mapping[str, str], thumbnails: Mapping[str, str] | None = None
) -> Path:
    """Write ``report.html``.

    Args:
        report: Report of the run; a section that is None is left out.
        out: Folder of the page, which is made if missing.
        pictures: SVG text by name, from :func:`matgl_fill.report.pictures.draw_pictures`.
        thumbnails: SVG text of the generated crystals by id.

    Returns:
        Path of the page.

    Raises:
        OSError: The page cannot be written; an older one is then still whole.
    """
    probes = dict.fromkeys(p for task in report.tasks or [] for p in task.probes)
    page = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            pictures={name: Markup(svg) for name, svg in pictures.items()},
            thumbnails={name: Markup(svg) for name, svg in (thumbnails or {}).items()},
            probes=list(probes),
            commands=[c for c in (command_line(report.call), python_call(report.call)) if c],
            settings=_settings_text(report),
            **_sentences(report),
        )
    )
    path = Path(out) / "report.html"
    atomic_write(path, page.encode("utf-8", "backslashreplace"))
    return path


def rebuild_report(out: str | Path) -> Path:
    """Draw and write ``report.html`` again, from the ``report.json`` and ``proposals.extxyz`` that lie beside it.

    Args:
        out: Folder of a run.

    Returns:
        Path of the page.

    Raises:
        InputError: There is no ``report.json``, or it is no report.
        OSError: The page cannot be written.
    """
    out = Path(out)
    if not (out / "report.json").is_file():
        raise InputError(f"no report.json in '{out}'; give the folder that 'matgl-fill run' wrote.")
    report = RunReport.read(out / "report.json")
    crystals = read_structures(out / "proposals.extxyz") if (out / "proposals.extxyz").is_file() else None
    drawn = dict(zip(crystals.ids, crystals.structures, strict=True)) if crystals else {}
    return write_report(report, out, draw_pictures(report), draw_thumbnails(drawn))


def draw_thumbnails(crystals: Mapping[str, Structure]) -> dict[str, str]:
    """Draw a small picture of each crystal; the SVG texts are given by the crystals' ids."""
    return {name: thumbnail(structure, name) for name, structure in crystals.items()}


def model_card(report: RunReport) -> str:
    """Model card that says what was done to a model, as Markdown for its folder or its page on a hub."""
    command = command_line(report.call) or python_call(report.call)
    page = _environment().get_template("model_card.md.jinja")
    return page.render(report=report, command=command, settings=_settings_text(report))


def notebook_summary(report: RunReport) -> str:
    """The verdict and the figures behind it, as HTML for notebooks."""
    return _environment().get_template("summary.html.jinja").render(report=report, **_sentences(report))


def _sentences(report: RunReport) -> dict[str, Any]:
    """What the page and the summary for notebooks say in sentences, and what changed outside of a potential's class."""
    return {f.__name__: f(report) for f in (meaning, budgets, elsewhere, remark)}


def _settings_text(report: RunReport) -> str | None:
    """The settings of a run as TOML, if the report has any."""
    return settings_toml(report.config, explain=False) if report.config else None


def _environment() -> Environment:
    """Templates of this folder, with filters that format numbers."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=lambda name: bool(name and ".html." in name),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (significant, signed, interval, count, crystals, duration, relative, sentence, limit, used, cell, typeset)
    environment.filters |= {f.__name__: f for f in filters} | {"sig": significant}
    return environment


def significant(value: Any) -> str:
    """Write a number in four significant digits (five or six where that saves an exponent), anything else as a dash."""
    if not _is_number(value):
        return NONE
    return _minus(f"{value:.0f}" if 9999.5 <= abs(value) < 1e6 else f"{value:.4g}")


def signed(value: object) -> str:
    """Write a number with its sign and one decimal, anything else as a dash."""
    return _minus(f"{value:+.1f}") if _is_number(value) else NONE


def interval(row: TaskRow | ErrorRow) -> str:
    """Write the 95 % interval of a change, or a dash where there is none."""
    return f"{signed(row.low)} to {signed(row.high)}" if _is_number(row.low) else NONE


def count(value: object) -> str:
    """Write a whole number in groups of three digits, anything else as a dash."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if _is_number(value) else NONE


def crystals(value: object) -> str:
    """Write a number of crystals, such as ``1 crystal``."""
    return f"{count(value)} crystal{'' if value == 1 else 's'}"


def duration(value: Any) -> str:
    """Write seconds in words, such as ``3.2 s``, ``2 min 5 s`` or ``1 h 4 min``."""
    if not _is_number(value):
        return NONE
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def relative(after: Any, before: Any) -> str:
    """Write the change from ``before`` to ``after`` in percent of ``before``."""
    if not (_is_number(before) and _is_number(after)) or before == 0:
        return NONE
    return signed(100 * (after - before) / abs(before)) + "\N{NO-BREAK SPACE}%"


def sentence(text: object) -> str:
    """Write the first letter of a text in upper case and leave the rest as it is."""
    words = str(text)
    return words[:1].upper() + words[1:]


def limit(check: Check) -> str:
    """Write the budget of a guard measure with ≤ or ≥; a measure that passed above its budget has a lower limit."""
    at_most = (check.value <= check.budget) == check.passed
    return f"{'≤' if at_most else '≥'}\N{NO-BREAK SPACE}{significant(check.budget)}"


def used(check: Check) -> float | None:
    """Share of a guard measure's budget that was used, in percent; a lower limit is counted downwards from 1."""
    value, budget = check.value, check.budget
    if not (_is_number(value) and _is_number(budget)):
        return None
    if (value <= budget) != check.passed:
        value, budget = 1 - value, 1 - budget
    return 100 * max(value, 0.0) / budget if budget > 0 else None


def cell(text: object) -> str:
    """Write a text so that a cell of a Markdown table can hold it."""
    return " ".join(str(text).split()).replace("|", "\\|")


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
