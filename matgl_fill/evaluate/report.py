"""The report page: one HTML file that needs nothing but itself."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from matgl_fill.files import atomic_write

NONE = "–"


def write_report(report: Mapping[str, Any], out: Path, pictures: Mapping[str, str]) -> Path:
    """Write ``report.html``.

    Args:
        report: everything measured, as in ``report.json``; a section that is missing or None is left out.
        out: folder; made if missing.
        pictures: SVG text by the name of the function of :mod:`matgl_fill.evaluate.pictures` that drew it.

    Returns:
        Path of the page.

    Raises:
        OSError: the page cannot be written; an older one is then still whole.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "sig": significant,
        "signed": signed,
        "count": count,
        "duration": duration,
        "relative": relative,
        "sentence": sentence,
        "limit": limit,
        "pretty": pretty,
    }
    probes = dict.fromkeys(p for task in report.get("tasks") or [] for p in task.get("probes") or {})
    page = environment.get_template("report.html.jinja").render(
        report=report, pictures={name: Markup(svg) for name, svg in pictures.items()}, probes=list(probes)
    )
    path = Path(out) / "report.html"
    atomic_write(path, page.encode("utf-8", "backslashreplace"))
    return path


def significant(value: Any) -> str:
    """Four significant digits (five or six where that saves an exponent), or a dash if there is no number."""
    if not _is_number(value):
        return NONE
    return _minus(f"{value:.0f}" if 9999.5 <= abs(value) < 1e6 else f"{value:.4g}")


def signed(value: object) -> str:
    """One decimal with its sign, or a dash if there is no number."""
    return _minus(f"{value:+.1f}") if _is_number(value) else NONE


def count(value: object) -> str:
    """A whole number with groups of three digits."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if _is_number(value) else NONE


def duration(value: Any) -> str:
    """Seconds in words: ``3.2 s``, ``2 min 5 s``, ``1 h 4 min``."""
    if not _is_number(value):
        return NONE
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def relative(after: Any, before: Any) -> str:
    """Change from before to after in percent of before."""
    if not (_is_number(before) and _is_number(after)) or before == 0:
        return NONE
    return signed(100 * (after - before) / abs(before)) + "\N{NO-BREAK SPACE}%"


def sentence(text: object) -> str:
    """First letter in upper case, the rest as it is."""
    words = str(text)
    return words[:1].upper() + words[1:]


def limit(check: Mapping[str, Any]) -> str:
    """Budget of a guard measure with its direction: a measure that passed above its budget has a lower limit."""
    at_most = (check["value"] <= check["budget"]) == check["passed"]
    return f"{'≤' if at_most else '≥'}\N{NO-BREAK SPACE}{significant(check['budget'])}"


def pretty(value: object) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
