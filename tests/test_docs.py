"""The documentation builds without a warning, leads nowhere wrong, names all that is public, and needs no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import matgl_fill as mf

pytest.importorskip("sphinx_gallery", reason="needs the extra 'docs'")
ROOT = Path(__file__).resolve().parents[1]
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "srcset", "object": "data"}
"""Attributes by which a page fetches something when it is opened."""


class Page(HTMLParser):
    """Links, anchors and fetched addresses of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.fetched: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[k] for k in ("id", "name") if given.get(k)}
        self.links += [given[k] for k in ("href", "src") if given.get(k)]
        if LOADED.get(tag) in given and given.get("rel") not in (
            "canonical",
            "index",
            "search",
            "next",
            "prev",
            "author",
        ):
            self.fetched.append(given[LOADED[tag]])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """All pages, the gallery without its output; a copy, for Sphinx writes beside its sources."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("docs", "examples"):
        left_out = shutil.ignore_patterns("_build", "gallery", "page")
        shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    for name in ("CHANGELOG.md", "CITATION.cff"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-D", "plot_gallery=0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*command, folder / "docs", folder / "html"], capture_output=True, text=True, env=environment, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return {path: Page(path) for path in sorted((folder / "html").rglob("*.html"))}


def test_internal_links_and_anchors_exist(built):
    wrong = []
    for path, page in built.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                wrong.append(f"{path.name}: {link}")
            elif parts.fragment and target in built and unquote(parts.fragment) not in built[target].anchors:
                wrong.append(f"{path.name}: no anchor {link}")
    assert sum(len(page.links) for page in built.values()) > 500
    assert not wrong


def test_pages_fetch_nothing_from_elsewhere(built):
    assert not [(p.name, a) for p, page in built.items() for a in page.fetched if urlsplit(a).netloc]


def test_every_public_name_and_command_is_documented(built):
    from typer.main import get_command

    from matgl_fill.cli import app

    by_name = {path.name: page for path, page in built.items()}
    documented = by_name["api.html"].anchors
    assert {f"matgl_fill.{name}" for name in mf.__all__} <= documented
    commands = set(get_command(app).commands)
    assert {f"matgl-fill-{name}" for name in commands} <= by_name["commands.html"].anchors


def test_kept_reference_is_what_the_code_says(built):
    made = next(path for path in built if path.name == "commands.html").parents[2] / "docs/reference"
    for name in ("commands.md", "settings.toml"):
        assert (ROOT / "docs/reference" / name).read_text() == (made / name).read_text(), "make docs writes it"


def test_formulas_are_shown(built):
    text = next(path for path in built if path.name == "how_it_works.html").read_text()
    assert text.count("<math") > 30
    assert "math-error" not in text


def test_every_example_is_in_the_gallery(built):
    pages = {path.stem for path in built if path.parent.name == "gallery"}
    scripts = {p.stem for p in (ROOT / "examples").glob("*.py")}
    assert scripts
    assert scripts <= pages
