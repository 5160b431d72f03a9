"""The page of a run in a real browser: it says nothing in the console, fetches nothing, fits its window, and prints."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from reports import make_crystals, make_facts, potential_report

from matgl_fill.report.html import draw_thumbnails, write_report
from matgl_fill.report.model import RunReport
from matgl_fill.report.pictures import draw_pictures

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium (apt-get install chromium)")
WIDTHS = (390, 1280)
"""Widths of a telephone and of a desk's screen, CSS pixels."""
MEASURE = """<!DOCTYPE html><meta charset="utf-8"><body><script>
const page = PAGE, found = {};
for (const width of WIDTHS) {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: 2000px; border: 0`;
  frame.srcdoc = page;
  frame.onload = () => {
    const seen = frame.contentDocument, root = seen.documentElement;
    const wide = e => e.getBoundingClientRect().right > width + 1 && !e.closest(".scroll");
    found[width] = {
      inner: frame.contentWindow.innerWidth,
      scroll: root.scrollWidth,
      wide: [...seen.querySelectorAll("body *")].filter(wide).map(e => e.outerHTML.slice(0, 120)),
      tables: [...seen.querySelectorAll("table")].map(e =>
        [e.caption.firstElementChild.id, e.rows.length, e.offsetHeight]),
      figures: [...seen.querySelectorAll("figure svg")].map(e => e.getBoundingClientRect().width),
      text: seen.body.innerText,
      fetched: frame.contentWindow.performance.getEntriesByType("resource").map(e => e.name),
    };
    if (Object.keys(found).length == WIDTHS.length) {
      const said = document.createElement("pre");
      said.id = "found";
      said.textContent = JSON.stringify(found);
      document.body.replaceChildren(said);
    }
  };
  document.body.append(frame);
}
</script></body>"""
"""Shows a page in frames of both widths, and leaves what it measured in them as text."""


@dataclass(frozen=True)
class Visit:
    """What Chromium gave on its output, and what the page said in the console."""

    output: str
    console: list[str]


def visit(page: Path, folder: Path, *options: str) -> Visit:
    """Open a page in Chromium, without a window and as an empty user."""
    command = [
        BROWSER, "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        f"--user-data-dir={folder / 'user'}", "--enable-logging=stderr", "--virtual-time-budget=10000", *options,
    ]  # fmt: skip
    if os.geteuid() == 0:  # as in a container, where Chromium has no sandbox
        command.append("--no-sandbox")
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return Visit(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line])


def seen_in_frames(page: Path, folder: Path) -> dict[int, dict[str, Any]]:
    """What a page is in windows of several widths."""
    outer = folder / "frames.html"
    text = json.dumps(page.read_text(encoding="utf-8")).replace("</", "<\\/")
    outer.write_text(MEASURE.replace("WIDTHS", json.dumps(WIDTHS)).replace("PAGE", text), encoding="utf-8")
    got = visit(outer, folder, "--dump-dom")
    assert not got.console
    found = re.search(r'<pre id="found">(.*)</pre>', got.output, re.DOTALL)
    assert found, got.output[:2000]
    return {int(width): seen for width, seen in json.loads(html.unescape(found[1])).items()}


def property_page(folder: Path) -> Path:
    facts = make_facts()
    facts["tasks"][4] |= {"one_value": 0.5 * facts["tasks"][4]["mae_after"]}
    report = RunReport.model_validate(facts)
    return write_report(report, folder, draw_pictures(report), draw_thumbnails(make_crystals(report)))


def potential_page(folder: Path) -> Path:
    report = potential_report()
    return write_report(report, folder, draw_pictures(report))


PAGES = {
    "property model": (property_page, ["tasks-caption", "guard-caption", "roughness-caption"], 4),
    "potential": (potential_page, ["label-errors-caption", "physics-caption", "guard-caption"], 2),
}
"""How each page is made, its first tables, and its number of figures."""


@pytest.fixture(scope="module", params=PAGES)
def seen(request, tmp_path_factory):
    """A page in windows of every width, with the tables and the number of figures that it has to show."""
    make, tables, figures = PAGES[request.param]
    folder = tmp_path_factory.mktemp("page")
    page = make(folder)
    return page, seen_in_frames(page, folder), tables, figures


def test_nothing_is_wider_than_the_window(seen):
    _, frames, _, _ = seen
    for width, found in frames.items():
        assert found["inner"] == width
        assert found["scroll"] <= width
        assert not found["wide"]


def test_tables_and_figures_are_shown(seen):
    _, frames, tables, figures = seen
    for width, found in frames.items():
        assert [name for name, _, _ in found["tables"]][: len(tables)] == tables
        assert all(rows > 1 and height > 40 for _, rows, height in found["tables"])
        assert len(found["figures"]) == figures
        assert min(found["figures"]) > 0.4 * min(width, 560)


def test_the_verdict_is_seen_first_and_what_means_little_is_said(seen):
    _, frames, _, _ = seen
    for found in frames.values():
        top = found["text"][:600]
        if "label-errors-caption" in [name for name, _, _ in found["tables"]]:
            assert re.search(r"✓ Accepted.*Error of forces\s+−75.0", top, re.DOTALL)
        else:
            assert re.search(r"✓ Accepted.*Mean reduction of the MAE\s+\+3.4", top, re.DOTALL)
            assert "One value for all crystals, the median of the labels, errs less on dielectric than" in found["text"]


def test_the_page_fetches_nothing_says_nothing_and_prints(seen, tmp_path):
    page, frames, _, _ = seen
    assert not any(found["fetched"] for found in frames.values())
    printed = visit(page, tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}")
    assert not printed.console
    text = (tmp_path / "page.pdf").read_bytes()
    assert text.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", text)) >= 2
