"""Every code block of the README and of the pages runs as it stands, from the top of its page to the bottom.

A page is run in a fresh folder with what a reader has: crystals, labels, an old model. The package is the real one;
only training, searches and simulations are shorter. Blocks that cannot run here stand in :data:`SKIPPED`.
"""

from __future__ import annotations

import gzip
import shlex
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from ase.md.md import MolecularDynamics
from helpers import DGL, run_here
from markdown_it import MarkdownIt

from matgl_fill.config import FillConfig
from matgl_fill.generation import SearchRequest
from matgl_fill.structures import bundled

pytestmark = pytest.mark.skipif(DGL, reason="the pages are written for PyG")
ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGES = ("README.md", "docs/index.md", "docs/quickstart.md", "docs/guides/embedding.md", "docs/guides/potentials.md")
SKIPPED: dict[tuple[str, str], str] = {}
"""Blocks and lines of bash that cannot run here: the page and how they begin, and why."""
SHORT = {"steps": 3, "copies": 1, "enlarge_pool": 0, "replay_size": 40}
FEW = 4
"""Crystals that a search proposes at most."""
STEPS = 40
"""Steps that a simulation makes at most."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and the line of the page where the text begins."""

    language: str
    text: str
    line: int


def blocks_of(page: str) -> list[Block]:
    """Blocks of code of a page; what is written in braces, such as {toctree}, Sphinx reads."""
    tokens = MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8"))
    fences = [t for t in tokens if t.type == "fence" and not t.info.startswith("{")]
    return [Block(t.info.strip(), t.content, t.map[0] + 1) for t in fences]


def is_skipped(page: str, text: str) -> bool:
    return any(where == page and text.startswith(start) for where, start in SKIPPED)


@pytest.fixture
def short(monkeypatch):
    """Shorter training, searches and simulations than a reader gets, by the numbers alone."""
    resolved, search, run = FillConfig.resolved, SearchRequest.__init__, MolecularDynamics.run

    def few_steps(self, *args, **kwargs):
        settings = resolved(self, *args, **kwargs)
        less = {name: min(getattr(settings.training, name), most) for name, most in SHORT.items()}
        return settings.model_copy(update={"training": settings.training.model_copy(update=less)})

    monkeypatch.setattr(FillConfig, "resolved", few_steps)
    monkeypatch.setattr(SearchRequest, "__init__", lambda self, n, *a, **k: search(self, min(n, FEW), *a, **k))
    monkeypatch.setattr(MolecularDynamics, "run", lambda self, steps: run(self, min(steps, STEPS)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What a reader has: a folder of crystals, crystals with a property, and labels from DFT."""
    mine = tmp_path / "my_crystals"
    mine.mkdir()
    known = bundled.bundled_pool()
    for name, crystal in sorted(zip(known.ids, known, strict=True), key=lambda row: len(row[1]))[:30]:
        crystal.to(mine / f"{name}.vasp", fmt="poscar")
    with gzip.open(bundled.EVALUATION, "rt", encoding="utf-8") as file:
        (tmp_path / "my_labelled_crystals.jsonl").write_text("".join(next(file) for _ in range(60)))
    shutil.copytree(ROOT / "examples/real_dft", tmp_path / "examples/real_dft")
    shutil.copy(ROOT / "examples/real_dft/labels.extxyz", tmp_path / "labelled.extxyz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Shell:
    """Runs the lines of bash that pages have: our commands in this process, installations by their names alone."""

    def __init__(self, monkeypatch, capsys):
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def run(self, line: str) -> None:
        match shlex.split(line, comments=True):
            case []:
                return
            case ["matgl-fill", *words]:
                code, _, errors = run_here(self.monkeypatch, self.capsys, *words)
                assert code == 0, f"{line}: exit code {code}\n{errors}"
            case ["pip", "install", *wanted]:
                self.install(wanted)
            case ["make", *targets]:
                self.make(targets)
            case ["echo", text, ">", file]:
                Path(file).write_text(text + "\n")
            case _:
                pytest.fail(f"no way to run {line!r}; write it otherwise, or name it in SKIPPED with the reason")

    @staticmethod
    def install(wanted: list[str]) -> None:
        """The pinned torch, and this package with extras that it has."""
        extras = PROJECT["optional-dependencies"]
        for requirement in wanted:
            name, _, named = requirement.removesuffix("]").partition("[")
            assert name in (".", "matgl_fill", "torch==2.13.0"), requirement
            assert set(named.split(",") if named else ()) <= set(extras), requirement

    @staticmethod
    def make(targets: list[str]) -> None:
        rules = [line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines()]
        assert set(targets) <= set(rules)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_a_page_run(page, folder, short, monkeypatch, capsys):
    shell, namespace = Shell(monkeypatch, capsys), {"__name__": "__main__"}
    for block in blocks_of(page):
        if is_skipped(page, block.text):
            continue
        match block.language:
            case "python":
                # Empty lines before it, so that a traceback shows the line of the page.
                exec(compile("\n" * block.line + block.text, ROOT / page, "exec"), namespace)
            case "bash":
                for line in block.text.replace("\\\n", " ").splitlines():
                    if not is_skipped(page, line):
                        shell.run(line)
            case "toml":
                FillConfig.make(tomllib.loads(block.text))
            case language:
                assert language in ("text", "yaml"), f"{page}:{block.line}: say what a {language!r} block is"


@pytest.mark.parametrize(("page", "start"), SKIPPED)
def test_skipped_blocks(page, start):
    lines = [text for b in blocks_of(page) for text in (b.text, *b.text.splitlines()) if text.startswith(start)]
    assert lines, f"{page} has no such block any more; take it out of SKIPPED"
    pytest.skip(f"{page}: {start!r}: {SKIPPED[page, start]}")
