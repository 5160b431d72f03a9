"""Every code block of the README and of the pages runs as it stands, from the top of its page to the bottom.

A page is run in a fresh folder with what a reader has: crystals, labels, an old model. The package is the real one;
only training, searches and simulations are shorter. Blocks that cannot run here stand in :data:`SKIPPED`.
"""

from __future__ import annotations

import gzip
import json
import shlex
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

import ase.io
import pytest
from ase.build import bulk
from ase.md.md import MolecularDynamics
from helpers import DGL, lennard_jones, run_here
from markdown_it import MarkdownIt
from pymatgen.io.ase import AseAtomsAdaptor

from matgl_fill.config import FillConfig
from matgl_fill.generation import SearchRequest
from matgl_fill.structures import bundled
from matgl_fill.training import registry
from matgl_fill.training.potential import crystals, tune

pytestmark = pytest.mark.skipif(DGL, reason="the pages are written for PyG")
ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
A_NETWORK_OF_YOURS = "stands for a network of the reader's; examples/add_an_architecture.py does all of it"
OF_TWO_MACHINES = "a scheduler and workers that run on; tests/embedding/test_shards.py starts such"
SKIPPED = {
    ("docs/CONTRIBUTING.md", ".venv/bin/pre-commit"): "would write hooks into the repository",
    ("docs/guides/architectures.md", "@mf.register_adapter"): A_NETWORK_OF_YOURS,
    ("docs/guides/architectures.md", "import pytest"): A_NETWORK_OF_YOURS,
    ("docs/guides/labelling.md", "from atomate2"): "needs atomate2 and VASP",
    ("docs/guides/labelling.md", "from jobflow_remote"): "needs a database and a queue",
    ("docs/guides/labelling.md", "from fireworks"): "needs a database and a queue",
    ("docs/guides/real_dft.md", "apt-get install libxc-dev"): "GPAW is an installation of the reader's own",
    ("docs/guides/real_dft.md", ".venv-gpaw/bin/gpaw"): "GPAW is an installation of the reader's own",
    ("docs/guides/roughness.md", "python -m examples.benchmarks"): "needs ../shared; examples/benchmarks/tests runs it",
    ("docs/guides/scale.md", "dask scheduler"): OF_TWO_MACHINES,
    ("docs/guides/scale.md", "dask worker"): OF_TWO_MACHINES,
    ("docs/guides/scale.md", "matgl-fill embed default my_crystals.jsonl -o Z --executor dask"): OF_TWO_MACHINES,
}
"""Blocks and lines of bash that cannot run here: the page and how they begin, and why."""
SHORT = {"steps": 3, "copies": 1, "enlarge_pool": 0, "replay_size": 40}
FEW = 4
"""Crystals that a search proposes at most."""
STEPS = 40
"""Steps that a simulation makes at most."""
EXTRAS = {
    "docs/guides/labelling.md": "jobflow",
    "docs/guides/simulations.md": "matcalc",
}
"""What a page needs beside the package."""
BY_HAND = "import ase.io"
"""Beginning of the block before which a reader calculates what was proposed."""


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


PAGES = [
    page
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if path.name != "commands.md" and "gallery" not in path.parts and blocks_of(page := str(path.relative_to(ROOT)))
]


def is_skipped(page: str, text: str) -> bool:
    return any(where == page and text.startswith(start) for where, start in SKIPPED)


@pytest.fixture
def short(monkeypatch):
    """Shorter training, searches and simulations than a reader gets, by the numbers alone; its own objectives go."""
    resolved, search, run = FillConfig.resolved, SearchRequest.__init__, MolecularDynamics.run

    def few_steps(self, *args, **kwargs):
        settings = resolved(self, *args, **kwargs)
        less = {name: min(getattr(settings.training, name), most) for name, most in SHORT.items()}
        return settings.model_copy(update={"training": settings.training.model_copy(update=less)})

    monkeypatch.setattr(FillConfig, "resolved", few_steps)
    monkeypatch.setattr(SearchRequest, "__init__", lambda self, n, *a, **k: search(self, min(n, FEW), *a, **k))
    for module, name, few in ((tune, "GENERAL", 100), (tune, "ELSEWHERE", 40), (crystals, "MEMBERS", 20)):
        monkeypatch.setattr(module, name, few)
    monkeypatch.setattr(MolecularDynamics, "run", lambda self, steps: run(self, min(steps, STEPS)))
    monkeypatch.setattr(registry, "_MAKERS", {**registry._MAKERS})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What a reader has: crystals, properties and labels of them, an old model, an engine; and the examples."""
    known = bundled.bundled_pool()
    small = known.subset(sorted(range(len(known)), key=lambda i: len(known.structures[i]))[:30])
    (tmp_path / "my_crystals").mkdir()
    for name, crystal in zip(small.ids, small, strict=True):
        crystal.to(tmp_path / f"my_crystals/{name}.vasp", fmt="poscar")
    for name, source in (("my_crystals", bundled.POOL), ("my_labelled_crystals", bundled.EVALUATION)):
        with gzip.open(source, "rt", encoding="utf-8") as file:
            (tmp_path / f"{name}.jsonl").write_text("".join(next(file) for _ in range(60)))
    shutil.copytree(ROOT / "examples/real_dft", tmp_path / "examples/real_dft")
    shutil.copy(ROOT / "examples/real_dft/labels.extxyz", tmp_path / "labelled.extxyz")
    shutil.copytree(ROOT / "tests/saved_by_matgl_2/m3gnet", tmp_path / "old/M3GNet-MP-2021.2.8-PES")
    gold = bulk("Au", a=4.1)
    elastic = {"structure": AseAtomsAdaptor.get_structure(gold).as_dict(), "bulk_modulus_vrh": 173.0}
    with gzip.open(tmp_path / "elasticity.json.gz", "wt", encoding="utf-8") as file:
        json.dump([elastic], file)
    (tmp_path / "mypackage.py").write_text(
        "from ase.calculators.lj import LennardJones\n\n\n"
        "def make_calculator():\n    return LennardJones(sigma=2.2, epsilon=0.5, rc=6.0, smooth=True)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def calculate_by_hand() -> None:
    """What the reader's own code does to proposals: a file of results each."""
    Path("runs").mkdir()
    for atoms in ase.io.read("new/proposals.extxyz", ":"):
        atoms.calc = lennard_jones()
        atoms.get_potential_energy()
        ase.io.write(f"runs/{atoms.info['id']}.traj", atoms)


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
            case ["python3", "-m", "venv", folder, "&&", "source", script]:
                assert script == f"{folder}/bin/activate"
            case ["export", *pairs]:
                for pair in pairs:
                    self.monkeypatch.setenv(*pair.split("=", 1))
            case ["cd", where]:
                self.monkeypatch.chdir(where)
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
    if page in EXTRAS:
        pytest.importorskip(EXTRAS[page])
    shell, namespace = Shell(monkeypatch, capsys), {"__name__": "__main__"}
    for block in blocks_of(page):
        if is_skipped(page, block.text):
            continue
        if block.text.startswith(BY_HAND):
            calculate_by_hand()
        match block.language:
            case "python":
                # Empty lines before it, so that a traceback shows the line of the page.
                exec(compile("\n" * block.line + block.text, ROOT / page, "exec"), namespace)
            case "bash":
                for line in block.text.replace("\\\n", " ").splitlines():
                    if not is_skipped(page, line):
                        shell.run(line)
            case "toml":
                settings = tomllib.loads(block.text)
                if "project" not in settings:
                    FillConfig.make(settings)
            case language:
                assert language in ("text", "yaml"), f"{page}:{block.line}: say what a {language!r} block is"


@pytest.mark.parametrize(("page", "start"), SKIPPED)
def test_skipped_blocks(page, start):
    lines = [text for b in blocks_of(page) for text in (b.text, *b.text.splitlines()) if text.startswith(start)]
    assert lines, f"{page} has no such block any more; take it out of SKIPPED"
    pytest.skip(f"{page}: {start!r}: {SKIPPED[page, start]}")
